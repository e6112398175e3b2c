"""Chapters 3 and 4: every classic model with the same search budget, for lists and for ratings."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
from tqdm.auto import tqdm

from book.experiments.common import Grid, settings, top10_parts
from book.experiments.registry import Result, Row, draw, experiment, find
from llmrec_lite import recommenders, splits
from llmrec_lite.data import Dataset, load_movielens
from llmrec_lite.evaluate import evaluate, evaluate_ratings, search

# Twelve settings a model.
TOP10_GRIDS: dict[str, Grid] = {
    "ContentBased": {"weights": ["binary", "liked"], "min_df": [1, 2, 5], "stop_words": [[], ["the", "a", "of"]]},
    "UserKNN": {"k": [20, 50, 100, 200], "shrink": [0.0, 5.0, 20.0]},
    "ItemKNN": {"k": [50, 100, 200, 400], "shrink": [0.0, 5.0, 20.0]},
    "ALS": {"factors": [16, 32, 64], "alpha": [1.0, 4.0], "l2": [10.0, 40.0]},
    "BPR": {"factors": [64, 128], "learning_rate": [0.05, 0.1], "l2": [0.005, 0.01, 0.02]},
    "NeuMF": {"factors": [16, 32], "learning_rate": [0.001, 0.003], "n_epochs": [10, 20, 30]},
    "EASE": {"l2": [50.0, 100.0, 200.0, 300.0, 400.0, 500.0, 700.0, 1000.0, 1400.0, 2000.0, 3000.0, 5000.0]},
    "DenoisingAutoencoder": {"dropout": [0.35, 0.5, 0.65, 0.8], "l2": [300.0, 700.0, 1500.0]},
}
RATING_GRIDS: dict[str, Grid] = {
    "ItemMean": {"damping": [0.0, 0.5, 1.0, 1.5, 2.0, 3.0, 4.0, 5.0, 7.0, 10.0, 15.0, 25.0]},
    "BiasBaseline": {"item_damping": [1.0, 2.0, 5.0, 10.0], "user_damping": [2.0, 5.0, 10.0]},
    "BaselineKNN": {"k": [20, 40, 60, 80], "shrink": [50.0, 100.0, 200.0]},
    "BiasedMF": {"factors": [32, 64, 128], "l2": [0.08, 0.1], "n_epochs": [40, 60]},
}
QUICK = ["Random", "Popularity", "ContentBased", "UserKNN", "ItemKNN", "ALS", "EASE", "DenoisingAutoencoder"]
SEEDED = {"ALS", "BPR", "NeuMF"}


def _choose(
    name: str, grid: Grid, train: Dataset, valid: Dataset, metric: str
) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    """Search the grid; return the best setting, and all that were tried with what they reached."""
    tried = search(getattr(recommenders, name), tqdm(list(settings(grid)), desc=name), train, valid, metric)
    rows = tried.astype(object).to_dict("records")  # as objects, whole numbers stay whole
    return {key: rows[0][key] for key in grid}, rows


def _ranked(name: str, setting: dict[str, Any], train: Dataset, test: Dataset, seeds: Sequence[int]) -> dict[str, Any]:
    """Fit with each seed on all of train and measure on test."""
    runs = []
    for seed in seeds if name in SEEDED else [0]:
        extra = {"seed": seed} if name in SEEDED else {}
        report = evaluate(getattr(recommenders, name)(**setting, **extra).fit(train), train, test)
        low, high = report.interval.loc["ndcg"]
        runs.append({**report.mean.to_dict(), "ndcg_low": low, "ndcg_high": high})
    mean = {metric: float(np.mean([run[metric] for run in runs])) for metric in runs[0]}
    return {"model": name, "setting": setting, **mean, "runs": [run["ndcg"] for run in runs]}


@experiment
def top10() -> dict[str, Any]:
    """Top-10 table of the recommenders-team benchmark: twelve settings a model, chosen inside train.

    Outer split: `recommenders_split` with seed 42. Inner split: the same rule with seed 1 on the training part.
    """
    inner, valid, train, test = top10_parts()
    table, tried = [], {}
    for name in ("Random", "Popularity"):
        table.append(_ranked(name, {}, train, test, [0]))
    for name, grid in TOP10_GRIDS.items():
        setting, tried[name] = _choose(name, grid, inner, valid, "ndcg")
        table.append(_ranked(name, setting, train, test, range(3)))
    return {"table": table, "tried": tried}


@top10.check
def _top10_again(stored: Result, rng: np.random.Generator) -> Iterator[Row]:
    inner, valid, train, test = top10_parts()
    name = draw(rng, QUICK)
    setting = find(stored["table"], model=name)["setting"]
    yield Row.of(name, stored["table"], _ranked(name, setting, train, test, range(3)), "model")
    name = draw(rng, QUICK[2:])
    tried = draw(rng, stored["tried"][name])
    grid = {key: [tried[key]] for key in TOP10_GRIDS[name]}
    yield Row(f"{name} inside train", [tried], _choose(name, grid, inner, valid, "ndcg")[1])


@experiment
def ratings() -> dict[str, Any]:
    """Rating errors by Surprise's protocol, KFold(5, random_state 0): twelve settings a model.

    Settings are chosen on an inner fold of the first training part, and used for all five folds.
    """
    folds = _rating_folds()
    inner, valid = next(splits.kfold(folds[0][0], 5, seed=1))
    table, tried = [], {}
    for name, grid in RATING_GRIDS.items():
        setting, tried[name] = _choose(name, grid, inner, valid, "rmse")
        rmse, mae = np.transpose([_errors(name, setting, *fold) for fold in tqdm(folds, desc=name)]).tolist()
        row = {"rmse": float(np.mean(rmse)), "mae": float(np.mean(mae)), "rmse_folds": rmse, "mae_folds": mae}
        table.append({"model": name, "setting": setting, **row})
    return {"table": table, "tried": tried}


def _rating_folds() -> list[tuple[Dataset, Dataset]]:
    return list(splits.kfold(load_movielens(), 5, seed=0))


def _errors(name: str, setting: dict[str, Any], train: Dataset, test: Dataset) -> tuple[float, float]:
    """Return RMSE and MAE on one fold."""
    mean = evaluate_ratings(getattr(recommenders, name)(**setting).fit(train), test).mean
    return float(mean["rmse"]), float(mean["mae"])


@ratings.check
def _ratings_again(stored: Result, rng: np.random.Generator) -> Iterator[Row]:
    folds, fold = _rating_folds(), int(rng.integers(5))
    for row in stored["table"]:
        errors = _errors(row["model"], row["setting"], *folds[fold])
        yield Row(f"{row['model']}, fold {fold}", (row["rmse_folds"][fold], row["mae_folds"][fold]), errors)

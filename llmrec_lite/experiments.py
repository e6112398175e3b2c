"""Experiments that take longer than a chapter may: every model with the same search budget, and several seeds.

Run them with `python -m llmrec_lite.results run NAME`; chapters show what `book/results/NAME.json` holds.
Settings are chosen on data cut from train; test is touched once, by the chosen setting.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from functools import partial
from itertools import product
from typing import Any

import numpy as np
from sklearn.utils.parallel import Parallel, delayed
from tqdm.auto import tqdm

from llmrec_lite import recommenders, splits
from llmrec_lite.data import Dataset, load_movielens
from llmrec_lite.evaluate import Report, compare, evaluate, evaluate_ratings, search
from llmrec_lite.recommenders.base import BaseRecommender
from llmrec_lite.results import experiment

Grid = Mapping[str, Sequence[Any]]
Make = Callable[..., BaseRecommender]
Parts = tuple[Dataset, Dataset, Dataset, Dataset]  # to search on, to choose by, to fit on, to measure on

# Twelve settings a model.
TOP10_GRIDS: dict[str, Grid] = {
    "ContentBased": {"weights": ["binary", "liked"], "min_df": [1, 2, 5], "stop_words": [[], ["the", "a", "of"]]},
    "UserKNN": {"k": [20, 50, 100, 200], "shrink": [0.0, 5.0, 20.0]},
    "ItemKNN": {"k": [50, 100, 200, 400], "shrink": [0.0, 5.0, 20.0]},
    "ALS": {"factors": [16, 32, 64], "alpha": [1.0, 4.0], "l2": [10.0, 40.0]},
    "BPR": {"factors": [64, 128], "learning_rate": [0.05, 0.1], "l2": [0.005, 0.01, 0.02]},
    "NeuMF": {"factors": [16, 32], "learning_rate": [0.001, 0.003], "epochs": [10, 20, 30]},
    "EASE": {"l2": [50.0, 100.0, 200.0, 300.0, 400.0, 500.0, 700.0, 1000.0, 1400.0, 2000.0, 3000.0, 5000.0]},
    "DenoisingAutoencoder": {"dropout": [0.35, 0.5, 0.65, 0.8], "l2": [300.0, 700.0, 1500.0]},
}
RATING_GRIDS: dict[str, Grid] = {
    "ItemMean": {"damping": [0.0, 0.5, 1.0, 1.5, 2.0, 3.0, 4.0, 5.0, 7.0, 10.0, 15.0, 25.0]},
    "Baseline": {"item_damping": [1.0, 2.0, 5.0, 10.0], "user_damping": [2.0, 5.0, 10.0]},
    "BaselineKNN": {"k": [20, 40, 60, 80], "shrink": [50.0, 100.0, 200.0]},
    "BiasedMF": {"factors": [32, 64, 128], "l2": [0.08, 0.1], "epochs": [40, 60]},
}
# Six settings a model: the networks take minutes each.
NETWORKS: Grid = {"epochs": [20], "dropout": [0.3, 0.5], "learning_rate": [0.004, 0.008, 0.016]}
NEXT_ITEM_GRIDS: dict[str, Grid] = {
    "EASE": {"l2": [50.0, 100.0, 300.0, 500.0, 1000.0, 2000.0]},
    "ItemKNN": {"k": [50, 100, 200], "shrink": [0.0, 20.0]},
    "DecayedBigram": {"decay": [0.7, 0.8, 0.9], "normalize": [0.75, 1.0]},
    "Caser": NETWORKS,
    "GRU4Rec": NETWORKS,
    "SASRec": NETWORKS,
}
SEEDED = {"ALS", "BPR", "NeuMF"}


def settings(grid: Grid) -> Iterator[dict[str, Any]]:
    """Every combination of the values of a grid."""
    for values in product(*grid.values()):
        yield dict(zip(grid, values, strict=True))


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
    train, test = splits.recommenders_split(load_movielens())
    inner, valid = splits.recommenders_split(train, seed=1)
    table, tried = [], {}
    for name in ("Random", "Popularity"):
        table.append(_ranked(name, {}, train, test, [0]))
    for name, grid in TOP10_GRIDS.items():
        setting, tried[name] = _choose(name, grid, inner, valid, "ndcg")
        table.append(_ranked(name, setting, train, test, range(3)))
    return {"table": table, "tried": tried}


@experiment
def ratings() -> dict[str, Any]:
    """Rating errors by Surprise's protocol, KFold(5, random_state 0): twelve settings a model.

    Settings are chosen on an inner fold of the first training part, and used for all five folds.
    """
    folds = list(splits.kfold(load_movielens(), 5, seed=0))
    inner, valid = next(splits.kfold(folds[0][0], 5, seed=1))
    table, tried = [], {}
    for name, grid in RATING_GRIDS.items():
        setting, tried[name] = _choose(name, grid, inner, valid, "rmse")
        reports = [
            evaluate_ratings(getattr(recommenders, name)(**setting).fit(train), test)
            for train, test in tqdm(folds, desc=name)
        ]
        rmse, mae = ([float(r.mean[metric]) for r in reports] for metric in ("rmse", "mae"))
        row = {"rmse": float(np.mean(rmse)), "mae": float(np.mean(mae)), "rmse_folds": rmse, "mae_folds": mae}
        table.append({"model": name, "setting": setting, **row})
    return {"table": table, "tried": tried}


@experiment
def next_item() -> dict[str, Any]:
    """Next item, all items as candidates, ties in time by the order of the file: six settings a model.

    Outer split: `leave_last_out`. Inner split: the same on the training part. Networks train with a softmax
    over the catalogue, and SASRec once more with sampled binary cross-entropy. Three seeds where a model has one;
    intervals are over users, of each user's mean over the seeds; leads over the counting model are paired.
    """
    train, test = splits.leave_last_out(load_movielens())
    inner, valid = splits.leave_last_out(train)
    models: dict[str, Any] = {name: (getattr(recommenders, name), {}, {}) for name in ("Random", "Popularity")}
    models |= {name: (getattr(recommenders, name), {}, grid) for name, grid in NEXT_ITEM_GRIDS.items()}
    models["SASRec, BCE"] = recommenders.SASRec, {"loss": "bce"}, NETWORKS
    against = {name: ["DecayedBigram"] for name in (*NEXT_ITEM_GRIDS, "SASRec, BCE") if name != "DecayedBigram"}
    against["SASRec, BCE"] += ["SASRec"]
    return table_of_models(models, (inner, valid, train, test), against, 3)


def table_of_models(
    models: Mapping[str, tuple[Make, Mapping[str, Any], Grid]],
    parts: Parts,
    against: Mapping[str, Sequence[str]],
    seeds: int,
) -> dict[str, Any]:
    """Search, fit and measure models side by side, a process each.

    Args:
        models: by name how to make one, what is fixed of it, and what is searched.
        parts: see `Parts`.
        against: for a model the names of those over which its lead is wanted.
        seeds: how often a model that takes a seed is fitted.

    Returns:
        "table", a row a model, and "tried", what each search found.
    """
    work = Parallel(n_jobs=-1, max_nbytes=None, return_as="generator_unordered")
    jobs = (delayed(_measured)(name, *model, parts, seeds) for name, model in models.items())
    done = {found[0]: found[1:] for found in tqdm(work(jobs), total=len(models), desc="models")}
    rows = []
    for name in models:
        chosen, _, report, runs = done[name]
        row: dict[str, Any] = {"model": name, "setting": chosen, "runs": runs, **report.mean.to_dict()}
        row |= dict(zip(("ndcg_low", "ndcg_high"), report.interval.loc["ndcg"], strict=True))
        for other in against.get(name, ()):
            lead = compare(report, done[other][2]).loc["ndcg"]
            row |= {
                f"lead over {other}": lead["difference"],
                f"low {other}": lead["low"],
                f"high {other}": lead["high"],
            }
        rows.append(row)
    return {"table": rows, "tried": {name: done[name][1] for name in models}}


def _measured(
    name: str, make: Make, fixed: Mapping[str, Any], grid: Grid, parts: Parts, seeds: int
) -> tuple[str, dict[str, Any], list[dict[str, Any]], Report, list[float]]:
    """Choose inside train, then fit with each seed.

    The report holds each user's mean over the seeds, and coverage and gini of the first.
    """
    inner, valid, train, test = parts
    tried = search(partial(make, **fixed), list(settings(grid)), inner, valid).astype(object).to_dict("records")
    chosen = {key: tried[0][key] for key in grid}
    takes = inspect.signature(make).parameters.values()  # a seed of its own, or whatever its base class takes
    seeded = any(p.name == "seed" or p.kind is p.VAR_KEYWORD for p in takes)
    each = [{"seed": seed} for seed in range(seeds)] if seeded else [{}]
    reports = [evaluate(make(**fixed, **chosen, **seed).fit(train), train, test) for seed in each]
    mean = sum(report.per_user for report in reports) / len(reports)
    runs = [float(report.mean["ndcg"]) for report in reports]
    return name, chosen, tried, replace(reports[0], name=name, per_user=mean), runs

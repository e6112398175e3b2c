"""Experiments of chapter 9: what an encoder of sentences is worth to a recommender."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from functools import partial
from typing import Any

import numpy as np
from tqdm.auto import tqdm

from book.experiments.common import settings
from book.experiments.registry import Result, Row, draw, experiment, find
from llmrec_lite import splits
from llmrec_lite.data import Dataset, load_movielens
from llmrec_lite.evaluate import Report, compare, evaluate
from llmrec_lite.language.encoder import TextEncoder
from llmrec_lite.language.text_recommender import ConcatEncoder, TextRecommender, TfidfEncoder
from llmrec_lite.recommenders import ContentBased, DenoisingAutoencoder, Popularity, Random

L2 = [0.3, 1.0, 3.0, 10.0, 30.0, 100.0]


class SameForAll(TextRecommender):
    """A control: the mean of everybody's scores, so that only the text's predicted popularity is left."""

    def _score(self, users: np.ndarray) -> np.ndarray:
        mean = super()._score(np.arange(self.matrix_.shape[0])).mean(0)
        return np.repeat(mean[None], len(users), axis=0)


def contenders(encoder: TextEncoder) -> dict[str, tuple[Any, Mapping[str, Sequence[Any]]]]:
    """Each model of the comparison with its grid, at most six settings each."""
    joined = ConcatEncoder([TfidfEncoder(), encoder])
    return {
        "random": (Random, {}),
        "TF-IDF profile": (ContentBased, {"weights": ["binary", "liked"], "min_df": [1, 2, 5]}),
        "TF-IDF ridge": (partial(TextRecommender, TfidfEncoder()), {"l2": L2}),
        "MiniLM profile": (
            partial(TextRecommender, encoder, head="profile"),
            {"weights": ["binary", "liked"], "center": [True, False]},
        ),
        "MiniLM ridge": (partial(TextRecommender, encoder), {"l2": L2}),
        "MiniLM + TF-IDF ridge": (partial(TextRecommender, joined), {"l2": L2}),
        "MiniLM ridge, the same for all users": (partial(SameForAll, encoder), {"l2": L2}),
    }


def best_setting(
    make: Any, grid: Mapping[str, Sequence[Any]], train: Dataset, valid: Dataset, **how: Any
) -> dict[str, Any]:
    """Return the setting of the grid with the highest nDCG on `valid`."""
    tried = list(settings(grid))
    if len(tried) == 1:
        return tried[0]
    return max(tried, key=lambda setting: evaluate(make(**setting).fit(train), train, valid, **how).mean["ndcg"])


@experiment
def new_items() -> dict[str, Any]:
    """Rank films that nobody has rated, by text alone: five draws of a fifth of the films, at most six settings each.

    Settings are chosen on a second cold-item split inside train. Candidates are the new films only.
    """
    data, encoder = load_movielens(), TextEncoder()
    table, gaps = [], []
    for seed in tqdm(range(5), desc="draws"):
        (train, test, new), (inner, valid, inner_new) = cold_item_draw(data, seed)
        reports: dict[str, Report] = {}
        for name, (make, grid) in contenders(encoder).items():
            setting = best_setting(make, grid, inner, valid, candidates=inner_new)
            reports[name] = report = evaluate(make(**setting).fit(train), train, test, candidates=new)
            row = {"model": name, "seed": seed, "setting": setting, **with_interval(report)}
            table.append(row | {"precision": report.mean["precision"]})
        for rival in ("TF-IDF profile", "TF-IDF ridge", "MiniLM ridge, the same for all users"):
            gap = compare(reports["MiniLM ridge"], reports[rival]).loc["ndcg"]
            gaps.append({"rival": rival, "seed": seed, **gap[["difference", "low", "high"]].to_dict()})
    return {"table": table, "gaps": gaps}


def cold_item_draw(data: Dataset, seed: int) -> list[tuple[Dataset, Dataset, np.ndarray]]:
    """Cold-item split and a second one inside its train, for choosing; each with the indices of its cold items."""
    train, test = splits.cold_items(data, 0.2, seed=seed)
    inner, valid = splits.cold_items(train, 0.2, seed=100 + seed)
    return [(a, b, np.unique(b.item_index)) for a, b in ((train, test), (inner, valid))]


def with_interval(report: Report) -> dict[str, float]:
    """Return nDCG and its interval."""
    low, high = report.interval.loc["ndcg"]
    return {"ndcg": report.mean["ndcg"], "low": low, "high": high}


@new_items.check
def _new_items_again(stored: Result, rng: np.random.Generator) -> Iterator[Row]:
    seed, rows = draw(rng, range(5)), []
    train, test, new = cold_item_draw(load_movielens(), seed)[0]
    for name, (make, _) in contenders(TextEncoder()).items():
        setting = find(stored["table"], model=name, seed=seed)["setting"]
        report = evaluate(make(**setting).fit(train), train, test, candidates=new)
        rows.append({"model": name, "seed": seed, **with_interval(report)})
    yield Row.of(f"draw {seed}", stored["table"], rows, "model", "seed")


@experiment
def sparse() -> dict[str, Any]:
    """Thin out the training ratings, from all to one in fifty, and rank all films: crowd against text.

    Split of the recommenders team; settings chosen for each share on an inner split of what is left.
    """
    train, test = splits.recommenders_split(load_movielens())
    table = []
    for share in tqdm(SHARES, desc="shares"):
        thin = _thinned(train, share)
        inner, valid = splits.recommenders_split(thin, seed=1)
        for name, (make, grid) in _crowd_and_text().items():
            setting = best_setting(make, grid, inner, valid)
            # Seen films of all of train are masked, so that every share ranks the same candidates.
            report = evaluate(make(**setting).fit(thin), train, test)
            row = {"model": name, "share": share, "ratings": len(thin), "setting": setting}
            table.append(row | with_interval(report))
    return {"table": table}


SHARES = (1.0, 0.5, 0.25, 0.1, 0.05, 0.02)


def _thinned(train: Dataset, share: float) -> Dataset:
    rows = train.interactions
    return train.with_interactions(rows[np.random.default_rng(0).random(len(rows)) < share])


def _crowd_and_text() -> dict[str, tuple[Any, Mapping[str, Sequence[Any]]]]:
    encoder = TextEncoder()
    return {
        "random": (Random, {}),
        "popularity": (Popularity, {}),
        "denoising autoencoder": (DenoisingAutoencoder, {"dropout": [0.5, 0.65], "l2": [100.0, 300.0, 700.0]}),
        "TF-IDF ridge": (partial(TextRecommender, TfidfEncoder()), {"l2": L2}),
        "MiniLM ridge": (partial(TextRecommender, encoder), {"l2": L2}),
        "MiniLM profile": (
            partial(TextRecommender, encoder, head="profile"),
            {"weights": ["binary", "liked"], "center": [True, False]},
        ),
    }


@sparse.check
def _sparse_again(stored: Result, rng: np.random.Generator) -> Iterator[Row]:
    train, test = splits.recommenders_split(load_movielens())
    share, rows = draw(rng, SHARES), []
    thin = _thinned(train, share)
    for name, (make, _) in _crowd_and_text().items():
        setting = find(stored["table"], model=name, share=share)["setting"]
        report = evaluate(make(**setting).fit(thin), train, test)
        rows.append({"model": name, "share": share, "ratings": len(thin), **with_interval(report)})
    yield Row.of(f"a share of {share}", stored["table"], rows, "model", "share")

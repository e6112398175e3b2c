"""Experiments of chapter 9: what an encoder of sentences is worth to a recommender."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any

import numpy as np
from tqdm.auto import tqdm

from book.experiments.common import settings
from book.experiments.registry import experiment
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
        mean = super()._score(np.arange(self.histories_.shape[0])).mean(0)
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
        train, test = splits.cold_items(data, 0.2, seed=seed)
        inner, valid = splits.cold_items(train, 0.2, seed=100 + seed)
        new, inner_new = np.unique(test.item_index), np.unique(valid.item_index)
        reports: dict[str, Report] = {}
        for name, (make, grid) in contenders(encoder).items():
            setting = best_setting(make, grid, inner, valid, candidates=inner_new)
            reports[name] = report = evaluate(make(**setting).fit(train), train, test, candidates=new)
            low, high = report.interval.loc["ndcg"]
            row = {"model": name, "seed": seed, "setting": setting, "ndcg": report.mean["ndcg"]}
            table.append({**row, "low": low, "high": high, "precision": report.mean["precision"]})
        for rival in ("TF-IDF profile", "TF-IDF ridge", "MiniLM ridge, the same for all users"):
            gap = compare(reports["MiniLM ridge"], reports[rival]).loc["ndcg"]
            gaps.append({"rival": rival, "seed": seed, **gap[["difference", "low", "high"]].to_dict()})
    return {"table": table, "gaps": gaps}


@experiment
def sparse() -> dict[str, Any]:
    """Thin out the training ratings, from all to one in fifty, and rank all films: crowd against text.

    Split of the recommenders team; settings chosen for each share on an inner split of what is left.
    """
    train, test = splits.recommenders_split(load_movielens())
    encoder = TextEncoder()
    models: dict[str, tuple[Any, Mapping[str, Sequence[Any]]]] = {
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
    table = []
    for share in tqdm([1.0, 0.5, 0.25, 0.1, 0.05, 0.02], desc="shares"):
        rows = train.interactions
        thin = train.with_interactions(rows[np.random.default_rng(0).random(len(rows)) < share])
        inner, valid = splits.recommenders_split(thin, seed=1)
        for name, (make, grid) in models.items():
            setting = best_setting(make, grid, inner, valid)
            # Seen films of all of train are masked, so that every share ranks the same candidates.
            report = evaluate(make(**setting).fit(thin), train, test)
            low, high = report.interval.loc["ndcg"]
            row = {"model": name, "share": share, "ratings": len(thin), "setting": setting}
            table.append({**row, "ndcg": report.mean["ndcg"], "low": low, "high": high})
    return {"table": table}

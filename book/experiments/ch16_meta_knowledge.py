"""Experiments of chapter 16; see `book.experiments` for the rules."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np

from book.experiments.common import Grid, Model, compute_again, next_item_parts, table_of_models, top10_parts
from book.experiments.registry import Result, Row, draw, experiment
from llmrec_lite.data import Dataset
from llmrec_lite.knowledge.meta_knowledge import Correction, LSTM4Rec, MetaKnowledge, PooledHistory
from llmrec_lite.recommenders import ALS, SASRec
from llmrec_lite.recommenders.base import BaseRecommender

SEEDS = 5

CORRECTED: Grid = {"learning_rate": [0.01, 0.02], "dropout": [0.5, 0.65], "n_epochs": [30, 60]}
TUNED_ON: Grid = {"learning_rate": [0.0001, 0.0003, 0.001], "scale": [4.0, 12.0, 24.0], "n_epochs": [3]}
HISTORIES: Grid = {"n_epochs": [20], "dropout": [0.3, 0.5], "learning_rate": [0.002, 0.004, 0.008]}


class _Begun(BaseRecommender):
    """Begin with factors of ALS on the same data, of the setting that chapter 3 chose inside train."""

    def __init__(self, correction: Correction, seed: int = 0, **setting: Any) -> None:
        self.correction, self.seed, self.setting = correction, seed, setting

    def _fit(self, train: Dataset) -> None:
        als = ALS(factors=64, alpha=4.0, l2=40.0, seed=self.seed).fit(train)
        start = als.user_, als.item_
        self.model_ = MetaKnowledge(self.correction, start=start, seed=self.seed, **self.setting).fit(train)

    def _score(self, users: Any) -> Any:
        return self.model_.score_indices(users)


@experiment
def corrected() -> dict[str, Any]:
    """Correct the dot product for every pair, or not: eight to twelve settings a model, chosen inside train.

    The split of `top10`, outer and inner, five seeds. "none" is plain matrix factorization, "vector" has learned
    weights of the factors, "network" corrects every pair; each begins at random, or with the factors of ALS and is then
    trained on. Intervals, of the difference to the same beginning without a correction, are over users.
    """
    models = _corrected_models()
    begun = [name for name in models if name.startswith("ALS, then")]
    against = {"vector": ["none"], "network": ["none", "vector"]}
    against |= {name: ["ALS", "ALS, then none"] for name in begun if name != "ALS, then none"}
    against["ALS, then none"] = ["ALS"]
    return table_of_models(models, top10_parts(), against, SEEDS)


def _corrected_models() -> dict[str, Model]:
    models: dict[str, Model] = {}
    for correction in ("none", "vector", "network"):
        models[correction] = MetaKnowledge, {"correction": correction}, CORRECTED
        models[f"ALS, then {correction}"] = _Begun, {"correction": correction}, TUNED_ON
    models["ALS"] = ALS, {"factors": 64}, {"alpha": [2.0, 4.0, 8.0], "l2": [20.0, 40.0, 60.0, 80.0]}
    return models


@corrected.check
def _corrected_again(stored: Result, rng: np.random.Generator) -> Iterator[Row]:
    models, parts = _corrected_models(), top10_parts()
    yield compute_again("ALS", models["ALS"], stored, parts, 1)
    name = draw(rng, [name for name in models if name.startswith("ALS, then")])  # three epochs, not sixty
    yield compute_again(name, models[name], stored, parts, 1)


@experiment
def histories() -> dict[str, Any]:
    """Make a state of a history: a mean, a mean by distance, attention, both, an LSTM, a Transformer.

    Next item, the protocol of `next_item`: six settings a model chosen inside train, five seeds. All train with a
    softmax over the catalog for at most 20 epochs. Intervals of differences are over users.
    """
    against = {
        "recency": ["mean"],
        "attention": ["mean", "recency"],
        "attention and recency": ["mean", "recency", "attention"],
        "LSTM": ["mean", "recency", "attention and recency"],
        "Transformer": ["mean", "recency", "attention and recency"],
    }
    return table_of_models(_history_models(), next_item_parts(), against, SEEDS)


def _history_models() -> dict[str, Model]:
    pools = ["mean", "recency", "attention", "attention and recency"]
    models: dict[str, Model] = {pool: (PooledHistory, {"pool": pool}, HISTORIES) for pool in pools}
    models["LSTM"] = LSTM4Rec, {}, HISTORIES
    models["Transformer"] = SASRec, {}, {**HISTORIES, "learning_rate": [0.001, 0.002, 0.004]}
    return models


@histories.check
def _histories_again(stored: Result, rng: np.random.Generator) -> Iterator[Row]:
    models = _history_models()
    name = draw(rng, [name for name in models if name not in ("LSTM", "Transformer")])
    yield compute_again(name, models[name], stored, next_item_parts(), 1)

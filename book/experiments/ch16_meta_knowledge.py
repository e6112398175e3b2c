"""Experiments of chapter 16; see `book.experiments` for the rules."""

from __future__ import annotations

from typing import Any

from book.experiments.common import table_of_models
from book.experiments.registry import experiment
from llmrec_lite import splits
from llmrec_lite.data import Dataset, load_movielens
from llmrec_lite.knowledge.meta_knowledge import Correction, LSTM4Rec, MetaKnowledge, Pooled
from llmrec_lite.recommenders import ALS, SASRec
from llmrec_lite.recommenders.base import BaseRecommender

SEEDS = 5

CORRECTED = {"learning_rate": [0.01, 0.02], "dropout": [0.5, 0.65], "n_epochs": [30, 60]}
TUNED_ON = {"learning_rate": [0.0001, 0.0003, 0.001], "scale": [4.0, 12.0, 24.0], "n_epochs": [3]}
HISTORIES = {"n_epochs": [20], "dropout": [0.3, 0.5], "learning_rate": [0.002, 0.004, 0.008]}


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
    train, test = splits.recommenders_split(load_movielens())
    inner, valid = splits.recommenders_split(train, seed=1)
    models: dict[str, Any] = {}
    for correction in ("none", "vector", "network"):
        models[correction] = MetaKnowledge, {"correction": correction}, CORRECTED
        models[f"ALS, then {correction}"] = _Begun, {"correction": correction}, TUNED_ON
    models["ALS"] = ALS, {"factors": 64}, {"alpha": [2.0, 4.0, 8.0], "l2": [20.0, 40.0, 60.0, 80.0]}
    begun = [name for name in models if name.startswith("ALS, then")]
    against = {"vector": ["none"], "network": ["none", "vector"]}
    against |= {name: ["ALS", "ALS, then none"] for name in begun if name != "ALS, then none"}
    against["ALS, then none"] = ["ALS"]
    return table_of_models(models, (inner, valid, train, test), against, SEEDS)


@experiment
def histories() -> dict[str, Any]:
    """Make a state of a history: a mean, a mean by distance, attention, both, an LSTM, a Transformer.

    Next item, the protocol of `next_item`: six settings a model chosen inside train, five seeds. All train with a
    softmax over the catalogue for at most 20 epochs. Intervals of differences are over users.
    """
    train, test = splits.leave_last_out(load_movielens())
    inner, valid = splits.leave_last_out(train)
    pools = ["mean", "recency", "attention", "attention and recency"]
    models: dict[str, Any] = {pool: (Pooled, {"pool": pool}, HISTORIES) for pool in pools}
    models["LSTM"] = LSTM4Rec, {}, HISTORIES
    models["Transformer"] = SASRec, {}, HISTORIES | {"learning_rate": [0.001, 0.002, 0.004]}
    against = {
        "recency": ["mean"],
        "attention": ["mean", "recency"],
        "attention and recency": ["mean", "recency", "attention"],
        "LSTM": ["mean", "recency", "attention and recency"],
        "Transformer": ["mean", "recency", "attention and recency"],
    }
    return table_of_models(models, (inner, valid, train, test), against, SEEDS)

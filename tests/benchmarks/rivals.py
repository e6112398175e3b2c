"""What `evaluate` and `EASE` are timed against: the published definitions in pandas, ranx, and bare numpy.

Each rival gets its data in the form it likes best, prepared before the clock starts.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable
from importlib.util import find_spec
from typing import Any

import numpy as np
import pandas as pd
from scipy import sparse

HAS_RANX = find_spec("ranx") is not None
NAMES = ["ndcg", "precision", "recall", "f1", "hit_rate", "mrr", "map"]


def top_k(scores: np.ndarray, seen: sparse.csr_array, k: int) -> tuple[np.ndarray, np.ndarray]:
    """The common way from scores to lists: hide what was seen, argpartition, sort the k that are left."""
    scores = scores.copy()
    scores[np.repeat(np.arange(len(scores)), np.diff(seen.indptr)), seen.indices] = -np.inf
    part = np.argpartition(scores, -k, axis=1)[:, -k:]
    values = np.take_along_axis(scores, part, 1)
    order = np.argsort(-values, axis=1, kind="stable")
    return np.take_along_axis(part, order, 1), np.take_along_axis(values, order, 1)


def ranking_frame(lists: np.ndarray) -> pd.DataFrame:
    """Lists as a table with the columns user, item, rank."""
    users, ranks = np.divmod(np.arange(lists.size), lists.shape[1])
    return pd.DataFrame({"user": users, "item": lists.ravel(), "rank": ranks + 1})


def pandas_metrics(ranking: pd.DataFrame, truth: pd.DataFrame, k: int) -> dict[str, float]:
    """All ranking metrics by joins and groups, as the recommenders-team library defines them.

    Kinder to the rival than the library, which joins anew for every metric. MAP divides by the number of
    relevant items.
    """
    relevant = truth.groupby("user").size()
    hits = ranking.merge(truth, on=["user", "item"]).sort_values(["user", "rank"])
    hits["gain"] = 1 / np.log2(hits["rank"] + 1)
    hits["precision"] = (hits.groupby("user").cumcount() + 1) / hits["rank"]
    found = hits.groupby("user").agg(
        count=("item", "size"), first=("rank", "min"), gain=("gain", "sum"), precision=("precision", "sum")
    )
    found = found.reindex(relevant.index)  # users without a hit count as zeros
    count = found["count"].fillna(0)
    ideal = np.cumsum(1 / np.log2(np.arange(2, k + 2)))[np.minimum(relevant, k) - 1]
    per_user = {
        "ndcg": found["gain"].fillna(0) / ideal,
        "precision": count / k,
        "recall": count / relevant,
        "f1": 2 * count / (k + relevant),
        "hit_rate": (count > 0).astype(float),
        "mrr": (1 / found["first"]).fillna(0),
        "map": found["precision"].fillna(0) / relevant,
    }
    return {name: float(values.mean()) for name, values in per_user.items()}


class Ranx:
    """ranx with the relevant items converted once, and compiled before the clock starts."""

    def __init__(self, truth: pd.DataFrame, k: int) -> None:
        import ranx

        self.ranx, self.metrics = ranx, [f"{name}@{k}" for name in NAMES]
        # ranx asks for columns of type object, which pandas 3 no longer gives to text by itself.
        text = truth.astype({"user": str, "item": str}).astype(object).assign(score=1)
        self.qrels = ranx.Qrels.from_df(text, q_id_col="user", doc_id_col="item", score_col="score")

    def run(self, lists: np.ndarray, values: np.ndarray) -> Any:
        """Lists in the form that ranx evaluates, from a dictionary, the fastest way it offers."""
        names = lists.astype(str).tolist()
        pairs = (dict(zip(n, v, strict=True)) for n, v in zip(names, values.astype(float).tolist(), strict=True))
        return self.ranx.Run(dict(zip(map(str, range(len(names))), pairs, strict=True)))

    def evaluate(self, run: Any) -> dict[str, float]:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # numba on ranx's own integer types
            means = self.ranx.evaluate(self.qrels, run, self.metrics)
        return {name: float(means[metric]) for name, metric in zip(NAMES, self.metrics, strict=True)}


def bare_ease(x: sparse.csr_array, l2: float) -> Callable[[], np.ndarray]:
    """EASE in four lines of numpy, from a matrix that is ready."""

    def fit() -> np.ndarray:
        gram = (x.T @ x).toarray().astype(np.float64)
        inverse = np.linalg.inv(gram + l2 * np.eye(len(gram)))
        weights = inverse / -np.diag(inverse)
        np.fill_diagonal(weights, 0.0)
        return weights

    return fit

"""Chapter 4: how good is a list, how good is a prediction, and what else a recommender does.

Ranking metrics take `recommended` and `relevant` and come in two shapes:

* one user: a ranked list of items, best first, and a collection of the relevant items; the result is a float;
* many users: an array (n_users, >= k) of item indices, -1 where a list is shorter, and a scipy sparse array
  (n_users, n_items) whose stored entries are relevant; the result is an array (n_users,).

A user with no relevant item gets nan: there is nothing to measure, and a zero would be a lie.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import wraps
from typing import Any, Literal

import numpy as np
from scipy import sparse

from llmrec_lite.errors import SettingError

Ranked = Sequence[Any] | np.ndarray
Relevant = Any  # Collection[Any] | sparse.csr_array; scipy has no types that a checker could tell apart by issparse
Metric = Callable[..., Any]


def hits_at_k(recommended: Ranked, relevant: Relevant, k: int = 10) -> tuple[np.ndarray, np.ndarray]:
    """Relevance of the first k recommendations.

    Returns:
        hits (n_users, min(k, n_items)) bool, and n_relevant (n_users,), the number of relevant items of each user. One
        user gives n_users = 1, and as many places as the list has, at most k.
    """
    if k < 1:
        raise SettingError(f"k must be at least 1, not {k}")
    if isinstance(relevant, Mapping):
        raise SettingError("these are grades, and a hit has none; take graded_ndcg_at_k, or give the relevant items")
    if not sparse.issparse(relevant):
        ranked, wanted = list(recommended)[:k], set(relevant)
        if len(set(ranked)) < len(ranked):
            raise SettingError(f"the list {ranked} recommends an item twice")
        hits = np.array([[item in wanted for item in ranked]], bool).reshape(1, len(ranked))
        return hits, np.array([len(wanted)])
    lists = np.asarray(recommended)[:, :k]
    if lists.shape[0] != relevant.shape[0]:
        raise SettingError(f"{lists.shape[0]} lists but the relevant items of {relevant.shape[0]} users")
    ordered = np.sort(lists, axis=1)
    if ((ordered[:, 1:] == ordered[:, :-1]) & (ordered[:, 1:] >= 0)).any():
        raise SettingError("a list recommends an item twice")
    if lists.size and ordered[:, -1].max() >= relevant.shape[1]:
        raise SettingError(f"a list recommends item {ordered[:, -1].max()}, but there are {relevant.shape[1]} items")
    # One sorted search over (user, item) codes: faster than indexing a sparse matrix entry by entry.
    rows, n_items = np.arange(len(lists))[:, None], relevant.shape[1]
    relevant = relevant.tocsr()
    per_user = np.diff(relevant.indptr)
    known = np.zeros(len(lists) * n_items + 1, bool)  # the last place answers for item -1
    known[np.repeat(rows[:, 0], per_user) * n_items + relevant.indices] = True
    hits = np.zeros((len(lists), max(min(k, n_items), lists.shape[1])), bool)
    hits[:, : lists.shape[1]] = known[np.where(lists >= 0, rows * n_items + lists, -1)]
    return hits, per_user


def _per_user(metric: Metric) -> Metric:
    """Let a metric of (hits, n_relevant, k) take one user or many, and give nan where nothing is relevant."""

    @wraps(metric)
    def measured(recommended: Ranked, relevant: Relevant, k: int = 10, **options: Any) -> Any:
        hits, n_relevant = hits_at_k(recommended, relevant, k)
        with np.errstate(divide="ignore", invalid="ignore"):
            values = np.where(n_relevant > 0, metric(hits, n_relevant, k, **options), np.nan)
        return values if sparse.issparse(relevant) else float(values[0])

    measured.on_hits = metric  # type: ignore[attr-defined]  # evaluate() marks the hits once for all metrics
    return measured


@_per_user
def precision_at_k(hits: np.ndarray, n_relevant: np.ndarray, k: int) -> np.ndarray:
    """Share of the k places that hold a relevant item; empty places count as misses."""
    return hits.sum(1) / k


@_per_user
def recall_at_k(hits: np.ndarray, n_relevant: np.ndarray, k: int) -> np.ndarray:
    """Share of the relevant items that are among the first k."""
    return hits.sum(1) / n_relevant


@_per_user
def f1_at_k(hits: np.ndarray, n_relevant: np.ndarray, k: int) -> np.ndarray:
    """Harmonic mean of precision and recall at k, which is 2 * hits / (k + n_relevant)."""
    return 2 * hits.sum(1) / (k + n_relevant)


@_per_user
def hit_rate_at_k(hits: np.ndarray, n_relevant: np.ndarray, k: int) -> np.ndarray:
    """1 if any of the first k is relevant, else 0."""
    return hits.any(1).astype(float)


@_per_user
def mrr_at_k(hits: np.ndarray, n_relevant: np.ndarray, k: int) -> np.ndarray:
    """Reciprocal of the rank of the first relevant item, 0 if it is not among the first k."""
    first = np.hstack([hits, np.ones((len(hits), 1), bool)]).argmax(1)  # where no list has a place, too
    return np.where(hits.any(1), 1.0 / (first + 1), 0.0)


@_per_user
def average_precision_at_k(
    hits: np.ndarray, n_relevant: np.ndarray, k: int, divide_by: Literal["ideal", "relevant"] = "ideal"
) -> np.ndarray:
    """Sum of the precisions at the ranks of the hits, divided by its largest possible number of terms.

    With "ideal" that is min(k, n_relevant), so a perfect list scores 1. With "relevant" it is n_relevant, as
    in trec_eval's `map_cut`, ranx and the recommenders-team benchmark; then a user with more than k relevant
    items cannot reach 1.
    """
    precision_at_rank = hits.cumsum(1) / np.arange(1, hits.shape[1] + 1)
    terms = np.minimum(k, n_relevant) if divide_by == "ideal" else n_relevant
    return (precision_at_rank * hits).sum(1) / terms


@_per_user
def ndcg_at_k(hits: np.ndarray, n_relevant: np.ndarray, k: int) -> np.ndarray:
    """Discounted cumulative gain with binary relevance, divided by that of an ideal list of length k.

    Jarvelin and Kekalainen, "Cumulated gain-based evaluation of IR techniques", TOIS 2002, with the usual
    discount 1 / log2(rank + 1). The ideal list has min(k, n_relevant) hits.
    """
    best = np.minimum(n_relevant, k)  # hits of the ideal list
    discount = 1.0 / np.log2(np.arange(2, max(hits.shape[1], best.max(initial=0)) + 2))
    ideal = np.concatenate([[np.nan], np.cumsum(discount)])
    return hits @ discount[: hits.shape[1]] / ideal[best]


def graded_ndcg_at_k(recommended: Ranked, grades: Mapping[Any, float], k: int = 10) -> float:
    """Discounted cumulative gain with graded relevance, divided by that of the best list of length k, for one user.

    The gain of an item is its grade, as in the article named at `ndcg_at_k`, and 0 where it has none.

    Raises:
        SettingError: k is below 1, a grade is no finite number from 0, or an item is recommended twice.
    """
    if wrong := [item for item, grade in grades.items() if not 0 <= grade < np.inf]:
        raise SettingError(f"the grade of {wrong[0]!r} is {grades[wrong[0]]!r}; a grade is a finite number from 0")
    hits_at_k(recommended, set(grades), k)  # refuses what is no list
    ideal = sorted(grades.values(), reverse=True)[:k]
    best = np.array(ideal) @ (1 / np.log2(np.arange(2, len(ideal) + 2)))
    gains = [grades.get(item, 0.0) for item in list(recommended)[:k]]
    return float(np.array(gains) @ (1 / np.log2(np.arange(2, len(gains) + 2))) / best) if best else float("nan")


RANKING_METRICS: dict[str, Metric] = {
    "ndcg": ndcg_at_k,
    "precision": precision_at_k,
    "recall": recall_at_k,
    "f1": f1_at_k,
    "hit_rate": hit_rate_at_k,
    "mrr": mrr_at_k,
    "map": average_precision_at_k,
}


# ---- beyond accuracy: a property of all lists together, or of a list without any test data ----


def _filled(recommended: Ranked) -> np.ndarray:
    lists = np.atleast_2d(np.asarray(recommended))
    if lists.size == 0 or (lists < 0).all():
        raise SettingError("there is no recommendation to measure")
    return lists


def coverage(recommended: Ranked, n_items: int) -> float:
    """Share of the catalog that is in any list."""
    lists = _filled(recommended)
    return len(np.unique(lists[lists >= 0])) / n_items


def gini(recommended: Ranked, n_items: int) -> float:
    """Inequality of exposure: 0 if all items are recommended equally often, near 1 if one item gets it all."""
    lists = _filled(recommended)
    counts = np.sort(np.bincount(lists[lists >= 0], minlength=n_items))
    rank = np.arange(1, n_items + 1)
    return float(((2 * rank - n_items - 1) * counts).sum() / (n_items * counts.sum()))


def novelty(recommended: Ranked, n_interactions: np.ndarray, n_users: int) -> np.ndarray:
    """Mean self-information -log2(share of users who know the item) of each list, shape (n_lists,), in bits.

    Vargas and Castells, RecSys 2011. An item without interactions counts as known to one user, else its
    surprise would be infinite.
    """
    lists = _filled(recommended)
    bits = -np.log2(np.maximum(np.asarray(n_interactions), 1) / n_users)
    return _mean_where(bits[np.maximum(lists, 0)], lists >= 0)


def intra_list_diversity(recommended: Ranked, item_vectors: np.ndarray) -> np.ndarray:
    """Mean of 1 - cosine over all pairs of items within each list, shape (n_lists,).

    Ziegler et al., WWW 2005. Features of the items are (n_items, d); a row of zeros is unlike everything. A list with
    fewer than two items gets nan.
    """
    lists = _filled(recommended)
    present = lists >= 0
    norm = np.linalg.norm(item_vectors, axis=1, keepdims=True)
    unit = item_vectors / np.where(norm > 0, norm, 1.0)
    chosen = unit[np.maximum(lists, 0)] * present[:, :, None]
    n = present.sum(1)
    # |sum of unit vectors|^2 = sum of all pairwise cosines, the pairs of an item with itself included.
    itself = (chosen**2).sum((1, 2))
    pairs = (chosen.sum(1) ** 2).sum(1) - itself
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.where(n > 1, 1.0 - pairs / (n * (n - 1)), np.nan)


def _mean_where(values: np.ndarray, mask: np.ndarray) -> np.ndarray:
    with np.errstate(invalid="ignore"):
        return np.where(mask, values, 0.0).sum(1) / mask.sum(1)


# ---- predictions of a rating ----


def rmse(true: Ranked, predicted: Ranked) -> float:
    """Root of the mean squared error of two non-empty arrays of one shape, in units of the rating."""
    a, b = np.asarray(true, dtype=float), np.asarray(predicted, dtype=float)
    if a.shape != b.shape or a.size == 0:
        raise SettingError(f"need two equally long, non-empty arrays, got shapes {a.shape} and {b.shape}")
    return float(np.sqrt(np.mean((a - b) ** 2)))

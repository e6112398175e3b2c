"""The one interface: what evaluation and fusion ask of a recommender, and how a list is taken from its scores."""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from math import isqrt
from typing import Protocol, Self, runtime_checkable

import numpy as np
import pandas as pd
from scipy import sparse

from llmrec_lite.data import Dataset
from llmrec_lite.errors import SettingError

# One user's past: (raw item id, rating) or (raw item id, rating, timestamp), in order of time.
History = Sequence[tuple[Hashable, float] | tuple[Hashable, float, float]]


@runtime_checkable
class Recommender(Protocol):
    """What evaluation and fusion ask of a model."""

    def fit(self, train: Dataset) -> Self:
        """Learn from the interactions of `train` and return the model itself."""
        ...

    def score(self, user_ids: Sequence[Hashable]) -> np.ndarray:
        """Return (len(user_ids), n_items) float32, higher is better, for raw user ids."""
        ...

    def recommend(self, user_ids: Sequence[Hashable], k: int = 10, exclude_seen: bool = True) -> pd.DataFrame:
        """Return columns user_id, item_id, rank (from 1) and score."""
        ...


@runtime_checkable
class RatingPredictor(Protocol):
    """A model that predicts a rating for a pair of user and item."""

    def predict(self, user_ids: Sequence[Hashable], item_ids: Sequence[Hashable]) -> np.ndarray:
        """Rating expected of user user_ids[j] for item item_ids[j], shape (len(user_ids),)."""
        ...


def top_k_unseen(
    scores: np.ndarray, seen: sparse.csr_array | None, k: int, places: np.ndarray | None = None
) -> tuple[np.ndarray, np.ndarray]:
    """Indices and scores of the k best items of every row that the row's user has not seen, best first.

    Args:
        scores: (n, n_items); -inf and nan exclude an item. Not changed.
        seen: (n, n_items) sparse, or None to exclude nothing.
        k: at least 1.
        places: (n_items,) by which equal scores are ordered, or (n, n_items); item indices where None.

    Returns:
        Both (n, min(k, n_items)). Where candidates run out, item is -1 and score -inf. A list never depends on the
        sorting routine.
    """
    if k < 1:
        raise SettingError(f"k must be at least 1, not {k}")
    scores = np.asarray(scores)
    n_items = scores.shape[1]
    n = min(k, n_items)
    # Deal the items out to groups. The n best group winners are n items, so the n-th best item is no worse than
    # the n-th best winner: only what reaches it, ties included, needs sorting. Cheaper than a partition of all.
    n_groups = isqrt(n * n_items)  # at least n
    size = -(-n_items // n_groups)
    dealt = np.full((len(scores), size * n_groups), -np.inf, np.float32)
    dealt[:, :n_items] = scores
    if seen is not None:
        dealt[np.repeat(np.arange(len(scores)), np.diff(seen.indptr)), seen.indices] = -np.inf
    dealt[np.isnan(dealt)] = -np.inf
    winners = dealt.reshape(len(scores), size, n_groups).max(1)
    border = np.partition(winners, n_groups - n, axis=1)[:, n_groups - n]
    lowest = np.finfo(np.float32).min  # above -inf: what is excluded stays out where candidates run out
    rows, items = np.divmod(np.flatnonzero(dealt >= np.maximum(border, lowest)[:, None]), dealt.shape[1])
    values = dealt[rows, items]
    by = items if places is None else places[items] if np.ndim(places) == 1 else places[rows, items]
    order = np.lexsort((by, -values, rows))
    rows, items, values = rows[order], items[order], values[order]
    place = np.arange(len(rows)) - np.searchsorted(rows, rows)
    rows, items, values, place = (a[place < n] for a in (rows, items, values, place))
    best, best_scores = np.full((len(scores), n), -1), np.full((len(scores), n), -np.inf, np.float32)
    best[rows, place], best_scores[rows, place] = items, values
    return best, best_scores

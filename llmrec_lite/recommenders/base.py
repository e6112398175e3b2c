"""The one interface: everything that recommends has `fit` and `score`."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Hashable, Iterable, Sequence
from math import isqrt
from typing import Protocol, Self, runtime_checkable

import numpy as np
import pandas as pd
from scipy import sparse
from sklearn.exceptions import NotFittedError

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

    def score(self, users: Sequence[int] | np.ndarray) -> np.ndarray:
        """Return (len(users), n_items) float32, higher is better. `users` are indices, not raw ids."""
        ...


@runtime_checkable
class RatingPredictor(Protocol):
    """A model that predicts a rating for a pair of user and item."""

    def predict(self, users: np.ndarray, items: np.ndarray) -> np.ndarray:
        """Return the rating expected of user users[j] for item items[j], shape (len(users),).

        Raises:
            IndexError: an index outside 0..n_users-1 or 0..n_items-1.
            ValueError: not as many users as items.
        """
        ...


def top_k_unseen(scores: np.ndarray, seen: sparse.csr_array | None, k: int) -> tuple[np.ndarray, np.ndarray]:
    """Pick the k best items of every row that the row's user has not seen.

    Args:
        scores: (n, n_items); -inf and nan exclude an item. Not changed.
        seen: (n, n_items) sparse, or None to exclude nothing.
        k: at least 1.

    Returns:
        items and scores, both (n, k), best first; equal scores go by item index, so that a list does not
        depend on the sorting routine. Where candidates run out, item is -1 and score -inf.
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
    order = np.lexsort((items, -values, rows))
    rows, items, values = rows[order], items[order], values[order]
    place = np.arange(len(rows)) - np.searchsorted(rows, rows)
    rows, items, values, place = (a[place < k] for a in (rows, items, values, place))
    best, best_scores = np.full((len(scores), k), -1), np.full((len(scores), k), -np.inf, np.float32)
    best[rows, place], best_scores[rows, place] = items, values
    return best, best_scores


class BaseRecommender(ABC):
    """Checks and conveniences that every model of the book shares; a model writes `_fit` and `_score`."""

    train_: Dataset | None = None

    def fit(self, train: Dataset) -> Self:
        """Learn from the interactions of `train` and return the model itself."""
        self._fit(train)
        self.train_ = train
        return self

    def score(self, users: Sequence[int] | np.ndarray) -> np.ndarray:
        """Score every item for the given user indices.

        Args:
            users: indices 0..n_users-1 (see `Dataset.users_to_index` for raw ids).

        Returns:
            (len(users), n_items) float32, higher is better. Scores of one user can be compared, scores of
            two users need not be on one scale.

        Raises:
            NotFittedError: before `fit`.
            IndexError: an index outside 0..n_users-1.
        """
        train = self._fitted()
        index = _inside(users, train.n_users, "user")
        if not len(index):
            return np.empty((0, train.n_items), np.float32)
        return np.asarray(self._score(index), dtype=np.float32)

    def recommend(self, users: Iterable[Hashable], k: int = 10, exclude_seen: bool = True) -> pd.DataFrame:
        """Recommend the k best items to users given by their raw ids.

        Returns:
            Columns user_id, item_id, rank (from 1), score. A user who has seen nearly everything gets fewer
            than k rows, one who has seen everything none.

        Raises:
            UnknownIdError: a user who is not in the training data (use `score_new` for new users).
        """
        train = self._fitted()
        ids = list(users)
        index = train.users_to_index(ids)
        seen = train.matrix()[index] if exclude_seen else None
        items, scores = top_k_unseen(self.score(index), seen, k)
        rows, places = np.nonzero(items >= 0)
        return pd.DataFrame(
            {
                "user_id": train.users["user_id"].to_numpy()[index[rows]],
                "item_id": train.items["item_id"].to_numpy()[items[rows, places]],
                "rank": places + 1,
                "score": scores[rows, places],
            }
        )

    def _fitted(self) -> Dataset:
        if self.train_ is None:
            raise NotFittedError(f"{type(self).__name__} is not fitted; call fit(train) first")
        return self.train_

    def _pairs(self, users: np.ndarray, items: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Check the user and item indices that a rating is asked for."""
        train = self._fitted()
        pairs = _inside(users, train.n_users, "user"), _inside(items, train.n_items, "item")
        if len(pairs[0]) != len(pairs[1]):
            raise SettingError(f"{len(pairs[0])} users and {len(pairs[1])} items are no pairs")
        return pairs

    @abstractmethod
    def _fit(self, train: Dataset) -> None:
        """Learn from `train`."""

    @abstractmethod
    def _score(self, users: np.ndarray) -> np.ndarray:
        """Score all items for user indices that were checked, at least one, (len(users), n_items)."""


def _inside(indices: Sequence[int] | np.ndarray, n: int, what: str) -> np.ndarray:
    """Return indices as numbers, (len(indices),), if all are within 0..n-1."""
    index = np.asarray(indices, dtype=np.int64).reshape(-1)
    outside = index[(index < 0) | (index >= n)]
    if len(outside):
        raise IndexError(f"{what} index {outside[0]} is outside 0..{n - 1}")
    return index


def histories_to_matrix(histories: Sequence[History], train: Dataset, rating: bool = False) -> sparse.csr_array:
    """Turn the histories of new users into rows over the items of `train`, (len(histories), n_items) float32.

    Args:
        histories: one list a user of (item id, rating[, timestamp]).
        train: the data set whose catalogue gives the columns.
        rating: whether an entry is the rating (the last one, where an item occurs twice) or 1.

    Raises:
        UnknownIdError: an item that is not in the catalogue.
    """
    cells = {
        (row, item): float(entry[1]) if rating else 1.0
        for row, history in enumerate(histories)
        for item, entry in zip(train.items_to_index([e[0] for e in history]), history, strict=True)
    }
    rows, columns = zip(*cells, strict=True) if cells else ((), ())
    shape = (len(histories), train.n_items)
    index = (np.array(rows, dtype=np.int64), np.array(columns, dtype=np.int64))
    return sparse.csr_array((np.array(list(cells.values()), np.float32), index), shape=shape)

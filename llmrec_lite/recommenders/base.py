"""Base classes of recommenders: `fit`, `score` and `recommend`, and scores of a matrix of interactions."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Hashable, Iterable, Mapping, Sequence
from typing import Self

import numpy as np
import pandas as pd
from scipy import sparse
from sklearn.base import BaseEstimator
from sklearn.exceptions import NotFittedError

from llmrec_lite.data import Dataset
from llmrec_lite.errors import SettingError
from llmrec_lite.interface import History, top_k_unseen


class BaseRecommender(BaseEstimator, ABC):
    """Base of the recommenders: a model writes `_fit` and `_score`, which work on indices.

    An estimator in the sense of scikit-learn: settings are stored untouched, so that `clone`, `get_params` and `repr`
    work; what is learned ends with an underscore.
    """

    train_: Dataset | None = None

    def fit(self, train: Dataset) -> Self:
        """Learn from the interactions of `train` and return the model itself."""
        self._fit(train)
        self.train_ = train
        return self

    def score(self, user_ids: Iterable[Hashable]) -> np.ndarray:
        """Scores of all items for users given by their raw ids.

        Returns:
            (len(user_ids), n_items) float32, higher is better; column i is row i of `train_.items`. Scores of one user
            can be compared, scores of two users need not be on one scale.

        Raises:
            NotFittedError: before `fit`.
            UnknownIdError: a user who is not in the training data (use `score_new` for new users).
        """
        return self.score_indices(self._fitted().users_to_index(user_ids))

    def score_indices(self, users: Sequence[int] | np.ndarray) -> np.ndarray:
        """Scores of all items for users given by their indices 0..n_users-1, else IndexError; see `score`."""
        train = self._fitted()
        index = _inside(users, train.n_users, "user")
        if not len(index):
            return np.empty((0, train.n_items), np.float32)
        return np.asarray(self._score(index), dtype=np.float32)

    def recommend(self, user_ids: Iterable[Hashable], k: int = 10, exclude_seen: bool = True) -> pd.DataFrame:
        """Top-k lists for users of the training data, given by their raw ids.

        Returns:
            Columns user_id, item_id, rank (from 1), score. A user who has seen nearly everything gets fewer
            than k rows, one who has seen everything none.
        """
        train = self._fitted()
        index = train.users_to_index(user_ids)
        seen = train.matrix()[index] if exclude_seen else None
        return self._lists(index, *top_k_unseen(self.score_indices(index), seen, k))

    def _lists(self, users: np.ndarray, items: np.ndarray, scores: np.ndarray) -> pd.DataFrame:
        """Turn item indices, (len(users), k), -1 where a list is shorter, and their scores into a table of ids."""
        train = self._fitted()
        rows, ranks = np.nonzero(items >= 0)
        return pd.DataFrame(
            {
                "user_id": train.users["user_id"].to_numpy()[users[rows]],
                "item_id": train.items["item_id"].to_numpy()[items[rows, ranks]],
                "rank": ranks + 1,
                "score": scores[rows, ranks],
            }
        )

    def _fitted(self) -> Dataset:
        if self.train_ is None:
            raise NotFittedError(f"{type(self).__name__} is not fitted; call fit(train) first")
        return self.train_

    @abstractmethod
    def _fit(self, train: Dataset) -> None:
        """Learn from `train`."""

    @abstractmethod
    def _score(self, users: np.ndarray) -> np.ndarray:
        """Score all items for user indices that were checked, at least one, (len(users), n_items)."""


class BaseRatingPredictor(BaseRecommender):
    """Base of the models that predict ratings: a model writes `_predict` besides."""

    def predict(self, user_ids: Sequence[Hashable], item_ids: Sequence[Hashable]) -> np.ndarray:
        """Rating expected for each pair of raw ids, (len(user_ids),), not clipped to the scale.

        Raises:
            UnknownIdError: a user or an item that is not in the training data.
        """
        train = self._fitted()
        return self.predict_indices(train.users_to_index(user_ids), train.items_to_index(item_ids))

    def predict_indices(self, users: np.ndarray, items: np.ndarray) -> np.ndarray:
        """Rating expected for each pair of indices, else IndexError; see `predict`."""
        train = self._fitted()
        users, items = _inside(users, train.n_users, "user"), _inside(items, train.n_items, "item")
        if len(users) != len(items):
            raise SettingError(f"{len(users)} users and {len(items)} items are no pairs")
        return self._predict(users, items)

    @abstractmethod
    def _predict(self, users: np.ndarray, items: np.ndarray) -> np.ndarray:
        """Predict the ratings of pairs of indices that were checked."""


class FoldInRecommender(BaseRecommender):
    """Base of the models that score users by their history alone, so that new users cost no training (fold-in).

    A model writes `score_matrix` and `contributions`, and names in `_learned` the arrays that it has learned; that is
    all that `llma` asks of a part.
    """

    _learned: tuple[str, ...]

    @abstractmethod
    def score_matrix(self, interactions: sparse.csr_array) -> np.ndarray:
        """Scores of all items for rows of interactions, (n, n_items) of 0 and 1 or of ratings -> (n, n_items)."""

    @abstractmethod
    def contributions(self, items: np.ndarray, seen: np.ndarray) -> np.ndarray:
        """Share of each seen item, (m,), in the score of each item, (n,), for a user who has seen just these, (n, m).

        The sum of a row is the item's score, up to a constant of the user.
        """

    def score_new(self, histories: Sequence[History]) -> np.ndarray:
        """Scores of all items for users who were not in train, (len(histories), n_items) float32."""
        matrix = histories_to_matrix(histories, self._fitted(), rating=True)
        return np.asarray(self.score_matrix(matrix), dtype=np.float32)

    def get_state(self) -> dict[str, np.ndarray]:
        """Arrays that were learned and cannot be computed again from the interactions at once."""
        self._fitted()
        return {name: np.asarray(getattr(self, name)) for name in self._learned}

    def set_state(self, train: Dataset, state: Mapping[str, np.ndarray]) -> Self:
        """Become the model that `get_state` was asked of, fitted on the same data."""
        for name in self._learned:
            setattr(self, name, state[name])
        self._prepare(train)
        self.train_ = train
        return self

    def _prepare(self, train: Dataset) -> None:
        """Compute what follows from the interactions at once; `_fit` calls this too."""
        self.matrix_ = train.matrix()

    def _score(self, users: np.ndarray) -> np.ndarray:
        return self.score_matrix(self.matrix_[users])


def _inside(indices: Sequence[int] | np.ndarray, n: int, what: str) -> np.ndarray:
    """Return indices as numbers, (len(indices),), if all are within 0..n-1."""
    index = np.asarray(indices, dtype=np.int64).reshape(-1)
    outside = index[(index < 0) | (index >= n)]
    if len(outside):
        raise IndexError(f"{what} index {outside[0]} is outside 0..{n - 1}")
    return index


def binary(matrix: sparse.csr_array) -> sparse.csr_array:
    """Return the matrix with 1 for every stored entry."""
    return sparse.csr_array((np.ones_like(matrix.data), matrix.indices, matrix.indptr), shape=matrix.shape)


def histories_to_matrix(histories: Sequence[History], train: Dataset, rating: bool = False) -> sparse.csr_array:
    """Histories of new users as rows over the items of `train`, (len(histories), n_items) float32.

    An entry is the `rating` (the last one, where an item occurs twice) or 1.

    Raises:
        UnknownIdError: an item that is not in the catalog.
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

"""Chapter 3: collaborative filtering by neighbors, for lists and for ratings."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from scipy import sparse

from llmrec_lite.data import Dataset
from llmrec_lite.errors import SettingError
from llmrec_lite.interface import History
from llmrec_lite.recommenders.base import BaseRatingPredictor, BaseRecommender, histories_to_matrix


def cosine_neighbors(matrix: sparse.csr_array, k: int, shrink: float = 0.0) -> np.ndarray:
    """Cosine similarity of all pairs of rows, kept for the k most similar of each row, ties included.

    `shrink` is added to the product of the norms: similarities that rest on few entries are pulled to 0. From (n, d) to
    (n, n) float32 with a zero diagonal; row i holds the neighbors of i. Memory is 4 n^2 bytes.
    """
    if k < 1:
        raise SettingError(f"the number of neighbors must be at least 1, not {k}")
    product = (matrix @ matrix.T).toarray().astype(np.float32)
    norm = np.sqrt(product.diagonal())
    similarity = product / np.maximum(np.outer(norm, norm) + shrink, 1e-9)
    np.fill_diagonal(similarity, 0.0)
    if k < len(similarity):
        border = np.partition(similarity, len(similarity) - k, axis=1)[:, len(similarity) - k]
        similarity[similarity < border[:, None]] = 0.0
    return similarity


class UserKNN(BaseRecommender):
    """User-based neighbors: score(u, i) = sum of sim(u, v) over the k nearest users v who interacted with i.

    Resnick et al., "GroupLens", CSCW 1994, in its form for binary data; for `shrink` see `cosine_neighbors`. Memory is
    4 n_users^2 bytes.
    """

    def __init__(self, k: int = 100, shrink: float = 0.0) -> None:
        self.k, self.shrink = k, shrink

    def _fit(self, train: Dataset) -> None:
        self.matrix_ = train.matrix()
        self.similarity_ = cosine_neighbors(self.matrix_, self.k, self.shrink)

    def _score(self, users: np.ndarray) -> np.ndarray:
        return self.similarity_[users] @ self.matrix_

    def score_new(self, histories: Sequence[History]) -> np.ndarray:
        """Score all items for users who were not in train, (len(histories), n_items) float32."""
        new = histories_to_matrix(histories, self._fitted())
        norms = np.sqrt(np.outer(new.sum(1), self.matrix_.sum(1)))
        similarity = (new @ self.matrix_.T).toarray() / np.maximum(norms + self.shrink, 1e-9)
        border = -np.partition(-similarity, min(self.k, similarity.shape[1]) - 1, axis=1)
        similarity[similarity < border[:, [min(self.k, similarity.shape[1]) - 1]]] = 0.0
        return (similarity @ self.matrix_).astype(np.float32)


class ItemKNN(BaseRecommender):
    """Item-based neighbors: items with the same users as the items in the history.

    score(u, i) = sum of sim(i, j) over the j in the history of u that are among the k nearest of i (Sarwar et al., WWW
    2001; Linden, Smith and York, 2003); for `shrink` see `cosine_neighbors`. Memory is 4 n_items^2 bytes.
    """

    def __init__(self, k: int = 200, shrink: float = 0.0) -> None:
        self.k, self.shrink = k, shrink

    def _fit(self, train: Dataset) -> None:
        self.matrix_ = train.matrix()
        self.similarity_ = cosine_neighbors(self.matrix_.T.tocsr(), self.k, self.shrink)

    def _score(self, users: np.ndarray) -> np.ndarray:
        return self.matrix_[users] @ self.similarity_.T

    def score_new(self, histories: Sequence[History]) -> np.ndarray:
        """Score all items for users who were not in train, (len(histories), n_items) float32."""
        return histories_to_matrix(histories, self._fitted()) @ self.similarity_.T


class BiasBaseline(BaseRatingPredictor):
    """Predict r_ui = mu + b_u + b_i: how generous the user is, how good the item is.

    Biases by alternating damped means (Koren, "Factor in the Neighbors", TKDD 2010, section 2.1): the damping pulls
    those of items and users with few ratings to 0; both are computed in turn, `sweeps` times.
    """

    def __init__(self, item_damping: float = 5.0, user_damping: float = 5.0, sweeps: int = 10) -> None:
        self.item_damping, self.user_damping, self.sweeps = item_damping, user_damping, sweeps

    def _fit(self, train: Dataset) -> None:
        users, items, ratings = train.user_index, train.item_index, train.ratings.astype(float)
        n_user = np.bincount(users, minlength=train.n_users)
        n_item = np.bincount(items, minlength=train.n_items)
        self.mean_ = ratings.mean()
        self.user_bias_, self.item_bias_ = np.zeros(train.n_users), np.zeros(train.n_items)
        for _ in range(self.sweeps):
            rest = ratings - self.mean_ - self.user_bias_[users]
            # Without damping and without ratings this is 0 / 1e-9: the bias of an unrated item is 0, not nan.
            self.item_bias_ = np.bincount(items, rest, train.n_items) / np.maximum(n_item + self.item_damping, 1e-9)
            rest = ratings - self.mean_ - self.item_bias_[items]
            self.user_bias_ = np.bincount(users, rest, train.n_users) / np.maximum(n_user + self.user_damping, 1e-9)

    def _score(self, users: np.ndarray) -> np.ndarray:
        return self.mean_ + self.user_bias_[users][:, None] + self.item_bias_

    def _predict(self, users: np.ndarray, items: np.ndarray) -> np.ndarray:
        return self.mean_ + self.user_bias_[users] + self.item_bias_[items]


class BaselineKNN(BaseRatingPredictor):
    """Predict a rating from the user's ratings of the k most similar items, around the baseline.

    r_ui = b_ui + sum_j s_ij (r_uj - b_uj) / sum_j s_ij over the k items j rated by u with the largest similarity to i
    (ties with the k-th included), which is the Pearson correlation around the baseline (`BiasBaseline()` where None),
    shrunk by n_ij / (n_ij + shrink) where n_ij users rated both (Koren, TKDD 2010, eq. 2 and 3). Negative similarities
    are set to 0: an item that is unlike this one says nothing about it. Where a user rated an item twice, the latest
    rating counts. Memory is 8 n_items^2 bytes.
    """

    def __init__(self, k: int = 40, shrink: float = 100.0, baseline: BiasBaseline | None = None) -> None:
        if k < 1:
            raise SettingError(f"the number of neighbors must be at least 1, not {k}")
        self.k, self.shrink, self.baseline = k, shrink, baseline

    def _fit(self, train: Dataset) -> None:
        self.baseline_ = (self.baseline or BiasBaseline()).fit(train)
        latest = train.matrix("rating").tocoo()  # one rating a pair: csr_array would add up repeated ones
        pairs, shape = latest.coords, latest.shape
        rest = latest.data - self.baseline_.predict_indices(*pairs)
        # Rated cells, and their residuals: a residual of exactly 0 is still a rating, so keep both.
        rated = sparse.csr_array((np.ones(len(rest)), pairs), shape=shape)
        self.residual_ = sparse.csr_array((rest, pairs), shape=shape)
        squares = sparse.csr_array((rest**2, pairs), shape=shape)
        both = (rated.T @ rated).toarray()
        norm = (squares.T @ rated).toarray()  # [i, j]: sum of residual_ui^2 over users who rated i and j
        covariance = (self.residual_.T @ self.residual_).toarray()
        correlation = covariance / np.sqrt(np.maximum(norm * norm.T, 1e-12))
        self.similarity_ = np.maximum(correlation * both / np.maximum(both + self.shrink, 1e-9), 0.0).astype(np.float32)

    def _predict(self, users: np.ndarray, items: np.ndarray) -> np.ndarray:
        predicted = self.baseline_.predict_indices(users, items)
        order = np.argsort(users, kind="stable")
        starts = np.unique(users[order], return_index=True)[1]
        for block in np.split(order, starts)[1:]:
            predicted[block] += self._correction(users[block[0]], items[block])
        return predicted

    def _score(self, users: np.ndarray) -> np.ndarray:
        every = np.arange(self.similarity_.shape[0])
        corrections = np.stack([self._correction(user, every) for user in users])
        return self.baseline_.score_indices(users) + corrections

    def _correction(self, user: int, items: np.ndarray) -> np.ndarray:
        """Weighted mean residual of the user's nearest rated items, (len(items),); 0 without neighbors."""
        start, stop = self.residual_.indptr[user : user + 2]
        rated, rest = self.residual_.indices[start:stop], self.residual_.data[start:stop]
        weight = self.similarity_[np.ix_(items, rated)] * (items[:, None] != rated)
        if len(rated) > self.k:
            border = np.partition(weight, len(rated) - self.k, axis=1)[:, [len(rated) - self.k]]
            weight = np.where(weight >= border, weight, 0.0)
        total = weight.sum(1)
        return np.where(total > 0, weight @ rest / np.where(total > 0, total, 1.0), 0.0)

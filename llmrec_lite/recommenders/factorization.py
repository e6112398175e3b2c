"""Chapter 3: matrix factorization, for ratings (SGD), for implicit feedback (ALS) and for order (BPR)."""

from __future__ import annotations

import numpy as np
from scipy import sparse
from tqdm.auto import trange

from llmrec_lite.data import Dataset
from llmrec_lite.errors import DivergedError, SettingError
from llmrec_lite.recommenders.base import BaseRatingPredictor, BaseRecommender, FoldInRecommender

MAX_BLOCK = 1_000_000  # numbers of the rows of ALS that are solved together


class BiasedMF(BaseRatingPredictor):
    """Predict r_ui = mu + b_u + b_i + p_u . q_i, fitted by stochastic gradient descent in small batches.

    Minimizes the squared error plus l2 * (b_u^2 + b_i^2 + |p_u|^2 + |q_i|^2) over the known ratings
    (Koren, Bell and Volinsky, "Matrix Factorization Techniques for Recommender Systems", 2009, eq. 5).

    Args:
        factors: length of p_u and q_i.
        learning_rate: size of a step at first; it falls to zero in a straight line.
        l2: penalty on factors; `bias_l2` on biases.

    Memory is 8 (n_users + n_items) factors bytes. Ratings that are far apart, such as play counts, make the descent
    diverge, which is a DivergedError.
    """

    def __init__(
        self,
        factors: int = 64,
        n_epochs: int = 40,
        learning_rate: float = 0.02,
        l2: float = 0.08,
        bias_l2: float = 0.01,
        batch_size: int = 64,
        seed: int = 0,
        progress: bool = False,
    ) -> None:
        self.factors, self.n_epochs, self.learning_rate = factors, n_epochs, learning_rate
        self.l2, self.bias_l2, self.batch_size, self.seed, self.progress = l2, bias_l2, batch_size, seed, progress

    def _fit(self, train: Dataset) -> None:
        rng = np.random.default_rng(self.seed)
        self.mean_ = float(train.ratings.mean())
        # One more column for the biases: p_u = [factors, b_u, 1] and q_i = [factors, 1, b_i] give
        # p_u . q_i + b_u + b_i in a single product, so that one update serves all.
        f = self.factors
        self.user_ = rng.normal(0, 0.1, (train.n_users, f + 2)).astype(np.float32)
        self.item_ = rng.normal(0, 0.1, (train.n_items, f + 2)).astype(np.float32)
        self.user_[:, f], self.user_[:, f + 1], self.item_[:, f], self.item_[:, f + 1] = 0, 1, 1, 0
        penalty = np.full(f + 2, self.l2, np.float32)
        penalty[f:] = self.bias_l2
        user_free, item_free = np.ones(f + 2, np.float32), np.ones(f + 2, np.float32)
        user_free[f + 1], item_free[f] = 0, 0  # the two constant ones stay
        users, items, ratings = train.user_index, train.item_index, train.ratings - self.mean_
        n_batches = -(-len(ratings) // self.batch_size)
        for epoch in trange(self.n_epochs, disable=not self.progress, desc="BiasedMF"):
            step = self.learning_rate * (1 - epoch / self.n_epochs)
            for rows in np.array_split(rng.permutation(len(ratings)), n_batches):
                u, i = users[rows], items[rows]
                p, q = self.user_[u], self.item_[i]
                with np.errstate(over="ignore", invalid="ignore"):  # looked at after the epoch
                    error = (ratings[rows] - np.einsum("nf,nf->n", p, q))[:, None]
                    _add_rows(self.user_, u, step * user_free * (error * q - penalty * p))
                    _add_rows(self.item_, i, step * item_free * (error * p - penalty * q))
            if not (np.isfinite(self.user_).all() and np.isfinite(self.item_).all()):
                low, high = train.ratings.min(), train.ratings.max()
                raise DivergedError(
                    f"BiasedMF diverged in epoch {epoch + 1} on ratings from {low:g} to {high:g}; scale the ratings, "
                    f"to 1 to 5 for example, or take a learning_rate below {self.learning_rate:g}"
                )

    def _score(self, users: np.ndarray) -> np.ndarray:
        return self.mean_ + self.user_[users] @ self.item_.T

    def _predict(self, users: np.ndarray, items: np.ndarray) -> np.ndarray:
        return self.mean_ + np.einsum("nf,nf->n", self.user_[users], self.item_[items])


def _add_rows(table: np.ndarray, rows: np.ndarray, update: np.ndarray) -> None:
    """table[rows[j]] += update[j] for every j, also where a row occurs more than once.

    (Plain `table[rows] += update` keeps only one of the updates of a row that occurs twice.)
    """
    if not len(rows):
        return
    order = np.argsort(rows, kind="stable")
    rows = rows[order]
    starts = np.flatnonzero(np.concatenate([[True], rows[1:] != rows[:-1]]))
    table[rows[starts]] += np.add.reduceat(update[order], starts, axis=0)


class ALS(FoldInRecommender):
    """Implicit-feedback factorization with more confidence in interactions, by alternating least squares.

    Minimizes sum over all u, i of c_ui (x_ui - p_u . q_i)^2 + l2 (|p|^2 + |q|^2) with c_ui = 1 + alpha x_ui
    (Hu, Koren and Volinsky, "Collaborative Filtering for Implicit Feedback Datasets", ICDM 2008).

    Args:
        factors: length of p_u and q_i.
        alpha: extra confidence in an interaction.
        sweeps: how often users and items are solved in turn.

    A sweep costs at most (n_users + n_items) factors^3 + n_interactions factors^2 operations; a user or an item with n
    interactions, n < factors, costs n factors^2 + n^3.
    """

    _learned = ("user_", "item_")

    def __init__(
        self, factors: int = 64, alpha: float = 4.0, l2: float = 40.0, sweeps: int = 15, seed: int = 0
    ) -> None:
        if sweeps < 1:
            raise SettingError(f"sweeps must be at least 1, not {sweeps}")
        self.factors, self.alpha, self.l2, self.sweeps, self.seed = factors, alpha, l2, sweeps, seed

    def _fit(self, train: Dataset) -> None:
        self._prepare(train)
        by_user, by_item = self.matrix_, self.matrix_.T.tocsr()
        rng = np.random.default_rng(self.seed)
        self.item_ = rng.normal(0, 0.1, (train.n_items, self.factors))
        for _ in range(self.sweeps):
            self.user_ = self._solve(by_user, self.item_)
            self.item_ = self._solve(by_item, self.user_)

    def _solve(self, seen: sparse.csr_array, other: np.ndarray) -> np.ndarray:
        """Best rows given the other side, (seen.shape[0], factors).

        Row u solves (Y^T Y + alpha Y_u^T Y_u + l2 I) p_u = (1 + alpha) Y_u^T 1, Y_u being the rows of Y that u
        interacted with.
        """
        shared = other.T @ other + self.l2 * np.eye(self.factors)
        inverse = np.linalg.inv(shared)
        solved, counts = np.zeros((seen.shape[0], self.factors)), np.diff(seen.indptr)
        for n in np.unique(counts[counts > 0]):  # rows with equally many interactions are solved together
            rows = np.flatnonzero(counts == n)
            for some in np.array_split(rows, -(-len(rows) * max(n, self.factors) * self.factors // MAX_BLOCK)):
                own = other[seen.indices[seen.indptr[some, None] + np.arange(n)]]  # (rows, n, factors)
                if n < self.factors:  # by Woodbury's identity, with n equations instead of `factors`
                    scaled = own @ inverse
                    left = np.eye(n) + self.alpha * scaled @ own.transpose(0, 2, 1)
                    weights = np.linalg.solve(left, np.ones((len(some), n, 1)))
                    solved[some] = (1 + self.alpha) * (weights * scaled).sum(1)
                else:
                    left = shared + self.alpha * own.transpose(0, 2, 1) @ own
                    solved[some] = (1 + self.alpha) * np.linalg.solve(left, own.sum(1)[..., None])[..., 0]
        return solved

    def _score(self, users: np.ndarray) -> np.ndarray:
        return self.user_[users] @ self.item_.T

    def score_matrix(self, interactions: sparse.csr_array) -> np.ndarray:
        """Scores of all items by solving for the factors of each row, (n, n_items) -> (n, n_items)."""
        return self._solve(interactions, self.item_) @ self.item_.T

    def contributions(self, items: np.ndarray, seen: np.ndarray) -> np.ndarray:
        """Share of each seen item in the score of each item, (n, m) (Hu, Koren and Volinsky, 2008, section 5)."""
        own = self.item_[seen]
        gram = self.item_.T @ self.item_ + self.l2 * np.eye(self.factors) + self.alpha * own.T @ own
        return self.item_[items] @ ((1 + self.alpha) * np.linalg.solve(gram, own.T))


class BPR(BaseRecommender):
    """Pairwise ranking of a user's items above all others, by stochastic gradient ascent.

    Maximizes ln sigmoid(s_ui - s_uj) over items i of user u and j drawn at random, with s_ui = b_i + p_u . q_i
    (Rendle et al., "BPR: Bayesian Personalized Ranking from Implicit Feedback", UAI 2009).

    Args:
        factors: length of p_u and q_i.
        learning_rate: size of a step at first; it falls to zero in a straight line.
        l2: penalty on everything learned.
    """

    def __init__(
        self,
        factors: int = 64,
        n_epochs: int = 60,
        learning_rate: float = 0.1,
        l2: float = 0.01,
        batch_size: int = 256,
        seed: int = 0,
        progress: bool = False,
    ) -> None:
        self.factors, self.n_epochs, self.learning_rate = factors, n_epochs, learning_rate
        self.l2, self.batch_size, self.seed, self.progress = l2, batch_size, seed, progress

    def _fit(self, train: Dataset) -> None:
        rng = np.random.default_rng(self.seed)
        f = self.factors
        # As in BiasedMF, a last column carries the item's bias: 1 for users, b_i for items.
        self.user_ = rng.normal(0, 0.1, (train.n_users, f + 1)).astype(np.float32)
        self.item_ = rng.normal(0, 0.1, (train.n_items, f + 1)).astype(np.float32)
        self.user_[:, f], self.item_[:, f] = 1, 0
        user_free = np.append(np.ones(f, np.float32), np.float32(0))
        seen = train.matrix().toarray() > 0
        users, items = np.nonzero(seen)
        n_batches = -(-len(users) // self.batch_size)
        for epoch in trange(self.n_epochs, disable=not self.progress, desc="BPR"):
            step = self.learning_rate * (1 - epoch / self.n_epochs)
            order, negatives = rng.permutation(len(users)), rng.integers(train.n_items, size=len(users))
            for rows in np.array_split(order, n_batches):
                keep = ~seen[users[rows], negatives[rows]]  # a drawn item that the user has seen teaches nothing
                u, i, j = users[rows][keep], items[rows][keep], negatives[rows][keep]
                p, q_i, q_j = self.user_[u], self.item_[i], self.item_[j]
                wrong = 1 / (1 + np.exp(np.einsum("nf,nf->n", p, q_i - q_j)))[:, None]  # 1 - sigmoid
                _add_rows(self.user_, u, step * user_free * (wrong * (q_i - q_j) - self.l2 * p))
                both = np.concatenate([wrong * p - self.l2 * q_i, -wrong * p - self.l2 * q_j])
                _add_rows(self.item_, np.concatenate([i, j]), step * both)

    def _score(self, users: np.ndarray) -> np.ndarray:
        return self.user_[users] @ self.item_.T

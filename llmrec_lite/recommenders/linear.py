"""Chapter 3: linear autoencoders, item-item models in closed form, and the bar of the book.

Both minimize ||X - X B||^2 plus a penalty over item-item weights B, where X is the binary user-item matrix. Catalogs
too long for n_items^2 numbers get weights of a low rank.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Sequence
from typing import Self

import numpy as np
from scipy import sparse
from scipy.linalg import lapack, qr

from llmrec_lite.data import Dataset
from llmrec_lite.errors import SettingError
from llmrec_lite.recommenders.base import FoldInRecommender, binary

MAX_BLOCK = 4_000_000  # numbers of a block of rows times directions
WeightedRows = Sequence[tuple[sparse.csr_array, float]]
Directions = tuple[np.ndarray, np.ndarray, np.ndarray]


class _LinearAutoencoder(FoldInRecommender):
    """Score = X B, X being binary. Subclasses solve for B, (n_items, n_items)."""

    _learned: tuple[str, ...] = ("weights_",)
    weights_: np.ndarray

    def _fit(self, train: Dataset) -> None:
        self._prepare(train)
        gram = np.zeros((train.n_items, train.n_items))
        for rows, weight in self.weighted_rows(train):
            gram += weight * (rows.T @ rows).toarray()
        self.weights_ = self._solve(gram).astype(np.float32, order="C")  # rows of it are read

    def weighted_rows(self, train: Dataset) -> WeightedRows:
        """Rows that are reconstructed, (rows, n_items) each, and what they weigh: here the users' interactions."""
        return [(train.matrix(), 1.0)]

    @abstractmethod
    def _solve(self, gram: np.ndarray) -> np.ndarray:
        """Return the weights for the Gram matrix X^T X, which may be overwritten."""

    def score_matrix(self, interactions: sparse.csr_array) -> np.ndarray:
        """Scores of all items, (n, n_items) -> (n, n_items); ratings are ignored, as in training."""
        return binary(interactions) @ self.weights_

    def contributions(self, items: np.ndarray, seen: np.ndarray) -> np.ndarray:
        """Share of each seen item in the score of each item, (n, m)."""
        return self.weights_[np.ix_(seen, items)].T


class EASE(_LinearAutoencoder):
    """Embarrassingly shallow autoencoder: ridge regression of every item on all others.

    With G = X^T X + l2 I and P = G^-1, B_ij = -P_ij / P_jj off the diagonal and 0 on it
    (Steck, "Embarrassingly Shallow Autoencoders for Sparse Data", WWW 2019, eq. 8).

    Fitting inverts an n_items x n_items matrix: time grows with n_items^3, memory is about 20 n_items^2 bytes
    (60 MB for 1,682 items, 8 GB for 20,000).
    """

    def __init__(self, l2: float = 1000.0) -> None:
        if not l2 > 0:
            raise SettingError(f"l2 must be positive, not {l2!r}: without it the Gram matrix has no inverse")
        self.l2 = l2

    def _solve(self, gram: np.ndarray) -> np.ndarray:
        gram[np.diag_indices_from(gram)] += self.l2
        inverse = _inverse(gram)
        weights = inverse / -np.diag(inverse)
        np.fill_diagonal(weights, 0.0)
        return weights


class DenoisingAutoencoder(_LinearAutoencoder):
    """Linear denoising autoencoder: reconstruct X from copies of X with entries dropped at random.

    Averaged over all ways of dropping each entry with probability p, `dropout`, the loss is a ridge regression whose
    penalty grows with an item's popularity: B = (G + diag(L))^-1 G with L_j = l2 + G_jj p / (1 - p)
    (Steck, "Autoencoders that don't overfit towards the Identity", NeurIPS 2020, eq. 4 with weight decay).
    The diagonal of B stays: masking seen items makes it harmless. Time and memory are those of `EASE`.

    With a `rank` k, the Gram matrix is replaced by its k main directions, G ~ V diag(e) V', found by `gram_directions`,
    but for its diagonal in L. By Woodbury's identity B = diag(L)^-1 V (diag(e)^-1 + V' diag(L)^-1 V)^-1 V', so that
    fitting holds a few (n_items, k) numbers and none of n_items^2. Where k is at least the rank of G, B is the same.
    """

    def __init__(self, dropout: float = 0.65, l2: float = 700.0, rank: int | None = None) -> None:
        if not (0 <= dropout < 1 and l2 > 0):
            raise SettingError(f"need 0 <= dropout < 1 and l2 > 0, got dropout={dropout!r}, l2={l2!r}")
        if rank is not None and rank < 1:
            raise SettingError(f"rank must be at least 1, or None for weights between all pairs of items, not {rank!r}")
        self.dropout, self.l2, self.rank = dropout, l2, rank

    @property
    def _learned(self) -> tuple[str, ...]:  # type: ignore[override]  # a form for each rank
        return ("weights_",) if self.rank is None else ("left_", "right_")

    def _fit(self, train: Dataset) -> None:
        if self.rank is None:
            super()._fit(train)
            return
        self._prepare(train)
        rows = self.weighted_rows(train)
        self.set_directions(*gram_directions(rows, train.n_items, self.rank))

    def fit_directions(self, train: Dataset, directions: Directions) -> Self:
        """Fit with directions that `gram_directions` has found for the rows of `train`; several settings share them."""
        self._prepare(train)
        self.set_directions(*directions)
        self.train_ = train
        return self

    def set_directions(self, diagonal: np.ndarray, values: np.ndarray, vectors: np.ndarray) -> None:
        """Solve for weights of a low rank, from the Gram matrix's diagonal, (n_items,), and its main directions."""
        penalty = self._penalty(diagonal)
        scaled = vectors / penalty[:, None]
        middle = np.linalg.inv(np.diag(1 / values) + vectors.T @ scaled)
        self.left_, self.right_ = (scaled @ middle).astype(np.float32), vectors.astype(np.float32)

    def _penalty(self, diagonal: np.ndarray) -> np.ndarray:
        return self.l2 + diagonal * self.dropout / (1 - self.dropout)

    def _solve(self, gram: np.ndarray) -> np.ndarray:
        penalty = self._penalty(np.diag(gram))
        gram[np.diag_indices_from(gram)] += penalty
        # (G + L)^-1 G = I - (G + L)^-1 L, so one inverse is all we need.
        weights = _inverse(gram) * -penalty
        weights[np.diag_indices_from(weights)] += 1.0
        return weights

    def score_matrix(self, interactions: sparse.csr_array) -> np.ndarray:
        """Scores of all items, (n, n_items) -> (n, n_items); ratings are ignored, as in training."""
        if self.rank is None:
            return super().score_matrix(interactions)
        return (binary(interactions) @ self.left_) @ self.right_.T

    def contributions(self, items: np.ndarray, seen: np.ndarray) -> np.ndarray:
        """Share of each seen item in the score of each item, (n, m)."""
        if self.rank is None:
            return super().contributions(items, seen)
        return self.right_[items] @ self.left_[seen].T


def gram_directions(rows: WeightedRows, n_items: int, rank: int, iterations: int = 4, seed: int = 0) -> Directions:
    """Diagonal, (n_items,), largest eigenvalues, (k,), and their vectors, (n_items, k), of weighted rows' Gram matrix.

    Randomized subspace iteration (Halko, Martinsson and Tropp, "Finding Structure with Randomness", SIAM Review 2011,
    algorithm 4.4 on a symmetric matrix). The Gram matrix is never formed: it is applied to blocks of rows. There are
    `rank` directions, fewer where the Gram matrix has fewer.
    """
    most = min(n_items, sum(matrix.shape[0] for matrix, _ in rows))  # of the Gram matrix's rank
    width = min(rank + 10, most)
    basis = np.random.default_rng(seed).normal(size=(n_items, width)).astype(np.float32)
    for _ in range(iterations if width < most else min(iterations, 2)):  # the first finds the whole range then
        # NumPy's QR computes in float64: twice the memory, and time.
        basis = qr(_gram_times(rows, basis), mode="economic", overwrite_a=True, check_finite=False)[0]
    values, turned = np.linalg.eigh((basis.T @ _gram_times(rows, basis)).astype(float))
    largest = np.flatnonzero(values > 1e-6 * max(values[-1], 1e-30))[::-1][:rank]
    diagonal = sum((weight * (matrix**2).sum(0) for matrix, weight in rows), np.zeros(n_items))
    return diagonal, values[largest], (basis @ turned[:, largest].astype(basis.dtype))


def _gram_times(rows: WeightedRows, basis: np.ndarray) -> np.ndarray:
    """Product of the Gram matrix and a basis, (n_items, k), a block of rows at a time."""
    total = np.zeros_like(basis)
    size = max(1, MAX_BLOCK // basis.shape[1])
    for matrix, weight in rows:
        for begin in range(0, matrix.shape[0], size):
            block = matrix[begin : begin + size]
            total += (weight * (block.T @ (block @ basis))).astype(basis.dtype)
    return total


def _inverse(matrix: np.ndarray) -> np.ndarray:
    """Inverse of a symmetric positive definite matrix by Cholesky, half the work of a general inverse."""
    factor, failed = lapack.dpotrf(matrix.T, lower=True, overwrite_a=True)
    if failed:
        raise np.linalg.LinAlgError("the Gram matrix is not positive definite; raise l2")
    inverse, _ = lapack.dpotri(factor, lower=True, overwrite_c=True)
    lower = np.tril_indices_from(inverse, -1)
    inverse.T[lower] = inverse[lower]
    return inverse

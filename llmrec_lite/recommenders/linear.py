"""Chapter 3: linear autoencoders, item-item models in closed form, and the bar of the book.

Both minimize ||X - X B||^2 plus a penalty over item-item weights B, where X is the binary user-item matrix.
"""

from __future__ import annotations

from abc import abstractmethod

import numpy as np
from scipy import sparse
from scipy.linalg import lapack

from llmrec_lite.data import Dataset
from llmrec_lite.errors import SettingError
from llmrec_lite.recommenders.base import FoldInRecommender, binary


class _LinearAutoencoder(FoldInRecommender):
    """Score = X B, X being binary. Subclasses solve for B, (n_items, n_items)."""

    _learned = ("weights_",)
    weights_: np.ndarray

    def _fit(self, train: Dataset) -> None:
        self._prepare(train)
        gram = (self.matrix_.T @ self.matrix_).toarray().astype(np.float64)
        self.weights_ = self._solve(gram).astype(np.float32, order="C")  # rows of it are read

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
    """

    def __init__(self, dropout: float = 0.65, l2: float = 700.0) -> None:
        if not (0 <= dropout < 1 and l2 > 0):
            raise SettingError(f"need 0 <= dropout < 1 and l2 > 0, got dropout={dropout!r}, l2={l2!r}")
        self.dropout, self.l2 = dropout, l2

    def _solve(self, gram: np.ndarray) -> np.ndarray:
        penalty = self.l2 + np.diag(gram) * self.dropout / (1 - self.dropout)
        gram[np.diag_indices_from(gram)] += penalty
        # (G + L)^-1 G = I - (G + L)^-1 L, so one inverse is all we need.
        weights = _inverse(gram) * -penalty
        weights[np.diag_indices_from(weights)] += 1.0
        return weights


def _inverse(matrix: np.ndarray) -> np.ndarray:
    """Inverse of a symmetric positive definite matrix by Cholesky, half the work of a general inverse."""
    factor, failed = lapack.dpotrf(matrix.T, lower=True, overwrite_a=True)
    if failed:
        raise np.linalg.LinAlgError("the Gram matrix is not positive definite; raise l2")
    inverse, _ = lapack.dpotri(factor, lower=True, overwrite_c=True)
    lower = np.tril_indices_from(inverse, -1)
    inverse.T[lower] = inverse[lower]
    return inverse

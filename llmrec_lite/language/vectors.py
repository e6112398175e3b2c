"""Chapter 9: are vectors spread over all directions, and what to do where they are not."""

from __future__ import annotations

import numpy as np

from llmrec_lite.recommenders.content import unit_rows


def mean_cosine(vectors: np.ndarray) -> float:
    """Average cosine of all pairs of different rows, (n, d) -> about 0 where directions are spread evenly.

    All pairs without a loop over them: |sum of unit rows|^2 counts every pair twice and every row once. Ethayarajh,
    "How Contextual are Contextualized Word Representations?", EMNLP 2019, measures anisotropy by it.

    Raises:
        ValueError: fewer than two rows.
    """
    unit = unit_rows(np.asarray(vectors, dtype=float))
    if len(unit) < 2:
        raise ValueError(f"a pair needs two vectors, and there are {len(unit)}")
    total = unit.sum(0)
    return float((total @ total - np.square(unit).sum()) / (len(unit) * (len(unit) - 1)))


class Whitening:
    """Take out of vectors what all of them share, so that what is left tells them apart.

    Fitting learns the mean and the principal components; transforming subtracts the mean, drops the strongest
    `drop` components, and with `scale` divides each of the next `keep` by its standard deviation. Then rows
    are scaled to length 1. `Whitening(drop=3, scale=False)` is "all but the top" (Mu and Viswanath, ICLR 2018);
    `Whitening()` is whitening (Su et al., "Whitening Sentence Representations", 2021).

    Args:
        drop: how many of the strongest components to leave out.
        keep: how many of the others to keep; None for all. With `scale` only those with some variance count.
        scale: whether every component is to have the same variance.
    """

    mean_: np.ndarray  # (d,)
    matrix_: np.ndarray  # (d, k)

    def __init__(self, drop: int = 0, keep: int | None = None, scale: bool = True) -> None:
        if drop < 0 or (keep is not None and keep < 1):
            raise ValueError(f"need drop >= 0 and keep >= 1, got drop={drop!r}, keep={keep!r}")
        self.drop, self.keep, self.scale = drop, keep, scale

    def fit(self, vectors: np.ndarray) -> Whitening:
        """Learn from (n, d) vectors, at least two."""
        vectors = np.asarray(vectors, dtype=float)
        if len(vectors) < 2:
            raise ValueError(f"variance needs two vectors, and there are {len(vectors)}")
        self.mean_ = vectors.mean(0)
        variance, components = np.linalg.eigh(np.cov(vectors.T, ddof=0).reshape(len(self.mean_), -1))
        variance, components = variance[::-1], components[:, ::-1]  # strongest first
        some = (variance > 1e-9 * variance[0]) if self.scale else np.ones(len(variance), bool)
        chosen = np.flatnonzero(some)[self.drop :][: self.keep]
        if not len(chosen):
            raise ValueError(f"drop={self.drop} leaves no component of the {int(some.sum())} there are")
        self.matrix_ = components[:, chosen] / (np.sqrt(variance[chosen]) if self.scale else 1.0)
        return self

    def transform(self, vectors: np.ndarray) -> np.ndarray:
        """Return (n, k) float32 rows of length 1, for the vectors of `fit` or for new ones."""
        return unit_rows((np.asarray(vectors, dtype=float) - self.mean_) @ self.matrix_).astype(np.float32)

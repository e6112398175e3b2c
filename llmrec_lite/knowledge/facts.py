"""Chapter 17: facts as rows of the autoencoder of chapter 3, and as vectors beside texts."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from scipy import sparse

from llmrec_lite.data import Dataset
from llmrec_lite.errors import SettingError
from llmrec_lite.recommenders.linear import DenoisingAutoencoder, WeightedRows


class FactAutoencoder(DenoisingAutoencoder):
    """The denoising autoencoder of chapter 3 with every fact as one more user, who has seen the items that it holds of.

    The rows of facts, those of `fact_matrix`, are added below the matrix of interactions, times the root of `weight`, 0
    being the plain autoencoder; items that share facts then look as if they had been seen together, and an item without
    interactions still gets a score (collective matrix factorization has the same idea: Singh and Gordon, KDD 2008).
    """

    def __init__(
        self,
        facts: sparse.csr_array,
        weight: float = 50.0,
        dropout: float = 0.65,
        l2: float = 700.0,
        rank: int | None = None,
    ) -> None:
        if weight < 0:
            raise SettingError(f"weight must not be negative, but is {weight!r}")
        super().__init__(dropout, l2, rank)
        self.facts, self.weight = facts, weight

    def weighted_rows(self, train: Dataset) -> WeightedRows:
        """Rows of users and of facts, and what they weigh."""
        if self.facts.shape[0] != train.n_items:
            raise SettingError(f"there are facts for {self.facts.shape[0]} items, but the data have {train.n_items}")
        return [*super().weighted_rows(train), (self.facts.T.tocsr(), self.weight)]


class FactEncoder:
    """Encoder of facts, (n_items, n_facts), found by the item's text, to stand beside a text encoder.

    Facts are those of `fact_matrix`; a `TextRecommender` reads them through a `ConcatEncoder`. Items with the same text
    should have the same facts.
    """

    def __init__(self, facts: sparse.csr_array, texts: Sequence[str]) -> None:
        if facts.shape[0] != len(texts):
            raise SettingError(f"there are facts for {facts.shape[0]} items and {len(texts)} texts")
        self.facts, self.row = facts, {text: row for row, text in enumerate(texts)}

    def encode(self, texts: Sequence[str]) -> np.ndarray:
        """Return the facts of the items with these texts, (len(texts), n_facts) float32; zeros for other texts."""
        found = np.array([self.row.get(text, -1) for text in texts])
        vectors = self.facts[np.maximum(found, 0)].toarray().astype(np.float32)
        vectors[found < 0] = 0.0
        return vectors

"""Chapter 19: the parts that LLMA fuses, and the one table that knows them.

A new part is a `FoldInRecommender` (scores of a matrix of interactions, contributions for reasons, state for storage)
and an entry in `PARTS`; its name may then stand in `LLMAConfig.parts`.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from scipy import sparse

from llmrec_lite.data import Dataset
from llmrec_lite.knowledge.recommend import FactAutoencoder, FactEncoder
from llmrec_lite.language.text_recommender import ConcatEncoder, Encoder, TextRecommender
from llmrec_lite.recommenders.base import FoldInRecommender
from llmrec_lite.recommenders.factorization import ALS

if TYPE_CHECKING:
    from llmrec_lite.llma.config import LLMAConfig


@dataclass(frozen=True)
class ItemKnowledge:
    """What is known of the items beside their interactions.

    Attributes:
        text_vectors: (n_items, d) embeddings of the texts, zeros for an empty text; None where no text is read.
        facts: (n_items, n_facts) sparse.
        fact_vectors: (n_items, f) the facts in fewer dimensions (`truncated_svd`).
        encoder: gives the text encoder, which is loaded only when a new text is to be read.
    """

    text_vectors: np.ndarray | None
    facts: sparse.csr_array
    fact_vectors: np.ndarray
    encoder: Callable[[], Encoder]


@dataclass(frozen=True)
class Part:
    """A part of LLMA.

    Attributes:
        make: makes the recommender, not fitted yet; None where the data or the settings do not allow it.
        reason: why an item is recommended, with {items} for the seen items that contribute most.
    """

    make: Callable[[LLMAConfig, Dataset, ItemKnowledge], FoldInRecommender | None]
    reason: str


def _factors(config: LLMAConfig, train: Dataset, knowledge: ItemKnowledge) -> FoldInRecommender:
    return ALS(config.factors, config.alpha, config.factors_l2, seed=config.seed)


def _autoencoder(config: LLMAConfig, train: Dataset, knowledge: ItemKnowledge) -> FoldInRecommender | None:
    if train.n_items > config.largest_autoencoder:
        return None
    return FactAutoencoder(knowledge.facts, config.fact_weight, config.dropout, config.autoencoder_l2)


def _text(config: LLMAConfig, train: Dataset, knowledge: ItemKnowledge) -> FoldInRecommender | None:
    texts = train.items["text"].fillna("").tolist()
    # Facts are found by the items' texts, so without texts they cannot be either.
    if knowledge.text_vectors is None and not (knowledge.fact_vectors.any() and any(texts)):
        return None
    vectors = np.zeros((len(texts), 1), np.float32) if knowledge.text_vectors is None else knowledge.text_vectors
    facts = FactEncoder(sparse.csr_array(knowledge.fact_vectors), texts)
    return TextRecommender(ConcatEncoder([CachedEncoder(texts, vectors, knowledge.encoder), facts]), l2=config.text_l2)


PARTS: dict[str, Part] = {
    "factors": Part(_factors, "users who chose {items} tend to choose it too"),
    "autoencoder": Part(_autoencoder, "it goes with {items}, by shared users or shared facts"),
    "text": Part(_text, "its text and facts are like those of {items}"),
}


class CachedEncoder:
    """Embeddings of the catalog's texts, kept; other texts are encoded when they come."""

    def __init__(self, texts: Sequence[str], vectors: np.ndarray, encoder: Callable[[], Encoder]) -> None:
        self.row, self.vectors, self.encoder = {text: row for row, text in enumerate(texts)}, vectors, encoder

    def encode(self, texts: Sequence[str]) -> np.ndarray:
        """Return (len(texts), d)."""
        rows = np.array([self.row.get(text, -1) for text in texts], dtype=int)
        found = self.vectors[np.maximum(rows, 0)].copy()
        new = np.flatnonzero(rows < 0)
        if len(new):
            found[new] = self.encoder().encode([texts[int(place)] for place in new])
        return found


def truncated_svd(matrix: sparse.csr_array, d: int) -> np.ndarray:
    """Rows along the d main directions, (n, d or fewer) float32 (Deerwester et al., 1990)."""
    if min(matrix.shape) <= d:
        return matrix.toarray().astype(np.float32)
    u, s, _ = sparse.linalg.svds(matrix, k=d, random_state=0)
    return (u * s).astype(np.float32)

"""Chapter 19: the settings of LLMA, and the one table that knows its parts.

A new part is a `FoldInRecommender` (scores of a matrix of interactions, contributions for reasons, state for storage)
and an entry in `PARTS`; its name may then stand in `LLMAConfig.parts`.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from scipy import sparse

from llmrec_lite.data import Dataset
from llmrec_lite.errors import SettingError
from llmrec_lite.knowledge.facts import FactEncoder
from llmrec_lite.knowledge.sessions import PAUSES, SessionAutoencoder
from llmrec_lite.language.text_recommender import ConcatEncoder, Encoder, TextRecommender
from llmrec_lite.meta.tasks import HistoryOrder
from llmrec_lite.recommenders.base import FoldInRecommender
from llmrec_lite.recommenders.factorization import ALS

_SHARES = {"diversity": 1.0, "request_share": 1.0, "dropout": 0.999, "user_exponent": 1.0}
_POSITIVE = ("text_l2", "alpha", "factors_l2", "autoencoder_l2")
_FROM_ZERO = ("fact_weight", "session_weight")
_WHOLE = (
    "fact_dimensions", "factors", "largest_autoencoder", "autoencoder_rank", "request_items", "candidates",
    "max_users", "draws",
)  # fmt: skip


@dataclass(frozen=True)
class LLMAConfig:
    """Settings of LLMA; the parts' defaults are those that the earlier chapters chose inside train.

    `request_share` and `request_items` are chosen on two catalogs (the experiment `llma_genres`). The rest is set and
    not tuned: `fact_dimensions`, `autoencoder_rank`, `candidates`, `diversity`.

    Attributes:
        parts: names of `PARTS`.
        encoder: language model that reads texts and requests (`TextEncoder`); None does without.
        text_l2: penalty of the ridge on texts and facts.
        fact_dimensions: dimension of the facts beside an item's text.
        factors: of `ALS`, with `alpha` and `factors_l2`.
        alpha: of `ALS`.
        factors_l2: of `ALS`.
        dropout: of `SessionAutoencoder`, with the five settings that follow.
        autoencoder_l2: its penalty, `l2`.
        fact_weight: of each fact's row.
        session_weight: of each session's row.
        pauses: in seconds, between two sessions.
        user_exponent: a user with n interactions weighs n^-user_exponent.
        largest_autoencoder: a longer catalog gets an autoencoder of low rank, as the whole holds n_items^2 numbers.
        autoencoder_rank: the rank then.
        order: whether the history of a cold-start user holds the first interactions, "time", or any, "random".
        candidates: how many of the best items by the fused score are re-ranked.
        diversity: from 0, relevance alone, to 1, dissimilarity alone.
        request_share: weight of nearness to a request, beside the user or popularity (`request_scores`).
        request_items: how many of the nearest items answer a request; a hundredth of a long catalog.
        draws: quarters of the interactions from which fusion weights are learned in turn, 1 to 4.
        max_users: most users that the fusion weights are learned from.
        seed: of all that is random.
    """

    parts: Sequence[str] = ("factors", "autoencoder", "text")
    encoder: str | None = "minilm"
    text_l2: float = 3.0
    fact_dimensions: int = 256
    factors: int = 64
    alpha: float = 4.0
    factors_l2: float = 40.0
    dropout: float = 0.6
    autoencoder_l2: float = 1000.0
    fact_weight: float = 141.4
    session_weight: float = 1.0
    pauses: Sequence[float] = PAUSES
    user_exponent: float = 0.25
    largest_autoencoder: int = 5000
    autoencoder_rank: int = 512
    order: HistoryOrder = "time"
    candidates: int = 100
    diversity: float = 0.1
    request_share: float = 0.4
    request_items: int = 50
    draws: int = 4
    max_users: int = 1000
    seed: int = 0

    def __post_init__(self) -> None:
        if isinstance(self.parts, str) or not self.parts or set(self.parts) - set(PARTS):
            raise SettingError(f"parts must be some of {', '.join(PARTS)}, not {self.parts!r}")
        object.__setattr__(self, "parts", tuple(self.parts))
        object.__setattr__(self, "pauses", tuple(self.pauses))
        if any(type(pause) not in (int, float) or not (np.isfinite(pause) and pause >= 0) for pause in self.pauses):
            raise SettingError(f"pauses must be finite numbers of seconds from 0, not {self.pauses!r}")
        if self.order not in ("time", "random"):
            raise SettingError(f'order must be "time" or "random", not {self.order!r}')
        for name, most in _SHARES.items():
            if not 0 <= getattr(self, name) <= most:
                raise SettingError(f"{name} must lie between 0 and {most:g}, not {getattr(self, name)!r}")
        for name in (*_POSITIVE, *_FROM_ZERO):
            value, least = getattr(self, name), "from" if name in _FROM_ZERO else "above"
            if not np.isfinite(value) or value < 0 or (value == 0 and least == "above"):
                raise SettingError(f"{name} must be a finite number {least} 0, not {value!r}")
        if self.draws not in range(1, 5):
            raise SettingError(f"draws must be 1 to 4, as there are four quarters, not {self.draws!r}")
        for name in (*_WHOLE, "seed"):
            value = getattr(self, name)
            if type(value) is not int or value < (name != "seed"):
                raise SettingError(f"{name} must be a whole number from {int(name != 'seed')}, not {value!r}")


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

    def read(self, texts: Sequence[str]) -> np.ndarray:
        """Embeddings of texts that need not be the catalog's, (len(texts), d)."""
        vectors, known = np.asarray(self.encoder().encode(texts)), self.text_vectors
        if known is not None and vectors.shape[1] != known.shape[1]:
            raise SettingError(
                f"the encoder gives {vectors.shape[1]} numbers a text, and the model was fitted with {known.shape[1]}; "
                "load it with the encoder it was fitted with"
            )
        return vectors


@dataclass(frozen=True)
class Part:
    """A part of LLMA.

    Attributes:
        make: makes the recommender, not fitted yet; None where the data or the settings do not allow it.
        reason: why an item is recommended, with {items} for the seen items that contribute most; a function of the
            fitted part and what is known of the items where the words depend on them.
    """

    make: Callable[[LLMAConfig, Dataset, ItemKnowledge], FoldInRecommender | None]
    reason: str | Callable[[FoldInRecommender, ItemKnowledge], str]

    def reason_of(self, fitted: FoldInRecommender, knowledge: ItemKnowledge) -> str:
        """Reason that names only what the fitted part has learned from, with {items} in it."""
        return self.reason if isinstance(self.reason, str) else self.reason(fitted, knowledge)


def _factors(config: LLMAConfig, train: Dataset, knowledge: ItemKnowledge) -> FoldInRecommender:
    return ALS(config.factors, config.alpha, config.factors_l2, seed=config.seed)


def _autoencoder(config: LLMAConfig, train: Dataset, knowledge: ItemKnowledge) -> FoldInRecommender:
    rank = None if train.n_items <= config.largest_autoencoder else config.autoencoder_rank
    return SessionAutoencoder(
        knowledge.facts,
        config.pauses,
        config.session_weight,
        config.fact_weight,
        config.user_exponent,
        config.dropout,
        config.autoencoder_l2,
        rank,
    )


def _text(config: LLMAConfig, train: Dataset, knowledge: ItemKnowledge) -> FoldInRecommender | None:
    texts = train.items["text"].fillna("").tolist()
    # Facts are found by the items' texts, so without texts they cannot be either.
    if knowledge.text_vectors is None and not (knowledge.fact_vectors.any() and any(texts)):
        return None
    vectors = np.zeros((len(texts), 1), np.float32) if knowledge.text_vectors is None else knowledge.text_vectors
    facts = FactEncoder(sparse.csr_array(knowledge.fact_vectors), texts)
    return TextRecommender(ConcatEncoder([CachedEncoder(texts, vectors, knowledge.read), facts]), l2=config.text_l2)


def _autoencoder_reason(fitted: FoldInRecommender, knowledge: ItemKnowledge) -> str:
    *others, last = fitted.row_kinds() if isinstance(fitted, SessionAutoencoder) else ["users"]
    return f"it goes with {{items}}, by shared {', '.join(others)}{' or ' if others else ''}{last}"


def _text_reason(fitted: FoldInRecommender, knowledge: ItemKnowledge) -> str:
    if knowledge.text_vectors is None:
        return "its facts are like those of {items}"
    if not knowledge.fact_vectors.any():
        return "its text is like that of {items}"
    return "its text and facts are like those of {items}"


PARTS: dict[str, Part] = {
    "factors": Part(_factors, "users who chose {items} tend to choose it too"),
    "autoencoder": Part(_autoencoder, _autoencoder_reason),
    "text": Part(_text, _text_reason),
}


class CachedEncoder:
    """Embeddings of the catalog's texts, kept; other texts are encoded when they come."""

    def __init__(self, texts: Sequence[str], vectors: np.ndarray, read: Callable[[Sequence[str]], np.ndarray]) -> None:
        self.row, self.vectors, self.read = {text: row for row, text in enumerate(texts)}, vectors, read

    def encode(self, texts: Sequence[str]) -> np.ndarray:
        """Return (len(texts), d)."""
        rows = np.array([self.row.get(text, -1) for text in texts], dtype=int)
        found = self.vectors[np.maximum(rows, 0)].copy()
        new = np.flatnonzero(rows < 0)
        if len(new):
            found[new] = self.read([texts[int(place)] for place in new])
        return found


def truncated_svd(matrix: sparse.csr_array, d: int) -> np.ndarray:
    """Rows along the d main directions, (n, d or fewer) float32 (Deerwester et al., 1990)."""
    if min(matrix.shape) <= d:
        return matrix.toarray().astype(np.float32)
    u, s, _ = sparse.linalg.svds(matrix, k=d, random_state=0)
    return (u * s).astype(np.float32)

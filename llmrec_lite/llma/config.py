"""Chapter 19: what LLMA is made of: its settings, and how texts, facts and fitted parts are asked."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy import sparse

from llmrec_lite.errors import SettingError
from llmrec_lite.language.text_recommender import Encoder
from llmrec_lite.meta.tasks import HistoryOrder
from llmrec_lite.recommenders import ALS, TextRecommender


@dataclass(frozen=True)
class LLMAConfig:
    """What LLMA is made of; the parts' defaults are the settings that the earlier chapters chose inside train.

    The rest is set and not tuned: `fact_dimensions`, `candidates`, `diversity`, `request_share`.

    Attributes:
        parts: which of "factors", "autoencoder" and "text" there are.
        encoder: language model that reads texts and requests, see `TextEncoder`; None does without.
        text_l2: strength of the ridge on texts and facts.
        fact_dimensions: numbers that an item's facts are pressed into beside its text.
        factors: of the factorization, with `alpha` and `factors_l2` (`ALS`).
        alpha: see `ALS`.
        factors_l2: see `ALS`.
        dropout: of the autoencoder, with `autoencoder_l2` and `fact_weight` (`FactAutoencoder`).
        autoencoder_l2: see `FactAutoencoder`.
        fact_weight: see `FactAutoencoder`.
        largest_autoencoder: a longer catalogue does without the autoencoder, which holds n_items^2 numbers.
        order: whether newcomers' first choices will be known, "time", or any, "random".
        candidates: the best items by the fused score, among which a list is chosen.
        diversity: from 0, relevance alone, to 1, unlikeness alone.
        request_share: of a request in a list for somebody who is known as well.
        people: at most so many people are learned from when weights are chosen.
        seed: of all that is random.
    """

    parts: Sequence[str] = ("factors", "autoencoder", "text")
    encoder: str | None = "minilm"
    text_l2: float = 3.0
    fact_dimensions: int = 256
    factors: int = 64
    alpha: float = 4.0
    factors_l2: float = 40.0
    dropout: float = 0.65
    autoencoder_l2: float = 300.0
    fact_weight: float = 50.0
    largest_autoencoder: int = 5000
    order: HistoryOrder = "time"
    candidates: int = 100
    diversity: float = 0.1
    request_share: float = 0.7
    people: int = 1000
    seed: int = 0

    def __post_init__(self) -> None:
        if isinstance(self.parts, str) or not self.parts or set(self.parts) - {"factors", "autoencoder", "text"}:
            raise SettingError(f'parts must be some of "factors", "autoencoder", "text", not {self.parts!r}')
        object.__setattr__(self, "parts", tuple(self.parts))
        if self.order not in ("time", "random"):
            raise SettingError(f'order must be "time" or "random", not {self.order!r}')
        for name, least, most in (("diversity", 0, 1), ("request_share", 0, 1), ("dropout", 0, 0.999)):
            if not least <= getattr(self, name) <= most:
                raise SettingError(f"{name} must lie between {least} and {most}, not {getattr(self, name)!r}")
        for name in ("text_l2", "alpha", "factors_l2", "autoencoder_l2", "fact_weight"):
            value = getattr(self, name)
            if not (value > 0 or (value == 0 and name == "fact_weight")) or not np.isfinite(value):
                raise SettingError(f"{name} must be a finite number above 0, not {value!r}")
        for name in ("fact_dimensions", "factors", "largest_autoencoder", "candidates", "people", "seed"):
            value = getattr(self, name)
            least = 0 if name == "seed" else 1
            if type(value) is not int or value < least:
                raise SettingError(f"{name} must be a whole number from {least}, not {value!r}")


class KnownTexts:
    """The catalogue's texts, already encoded; other texts are read when they come."""

    def __init__(self, texts: Sequence[str], vectors: np.ndarray, encoder: Callable[[], Encoder]) -> None:
        self.row, self.vectors, self.encoder = {text: row for row, text in enumerate(texts)}, vectors, encoder

    def encode(self, texts: Sequence[str]) -> np.ndarray:
        """Return (len(texts), d)."""
        rows = [self.row.get(text, -1) for text in texts]
        found = self.vectors[np.maximum(rows, 0)].copy()
        new = [place for place, row in enumerate(rows) if row < 0]
        if new:
            found[new] = self.encoder().encode([texts[place] for place in new])
        return found


def scorer(part: Any) -> Callable[[sparse.csr_array], np.ndarray]:
    """Return how a fitted part scores choices, (n, n_items) of 0 and 1 -> (n, n_items)."""
    if isinstance(part, ALS):
        return lambda given: part._solve(given, part.item_) @ part.item_.T
    if isinstance(part, TextRecommender):
        return lambda given: part._users(given, part.items_)
    return lambda given: given @ part.weights_


def pressed(facts: sparse.csr_array, d: int) -> np.ndarray:
    """Return the facts along their d main directions, (n_items, d or fewer) float32 (Deerwester et al., 1990)."""
    if min(facts.shape) <= d:
        return facts.toarray().astype(np.float32)
    u, s, _ = sparse.linalg.svds(facts, k=d, random_state=0)
    return (u * s).astype(np.float32)


def rerank(scores: np.ndarray, alike: np.ndarray, diversity: float, k: int) -> np.ndarray:
    """Take candidates one by one, those like what is taken already a little later, equation (19.2).

    Maximal marginal relevance (Carbonell and Goldstein, SIGIR 1998), with relevance on a scale from 0 to 1.

    Args:
        scores: (n,) of the candidates, finite.
        alike: (n, n) cosines between them; to be unlike counts as 0.
        diversity: from 0, relevance alone, to 1, unlikeness alone.
        k: how many are taken.

    Returns:
        (k,) places among the candidates, fewer where they run out.
    """
    low, high = (float(scores.min()), float(scores.max())) if len(scores) else (0.0, 0.0)
    # Rounding is no opinion: scores that differ by no more than that are equal, as in `normalise_scores`.
    flat = high - low <= 1e-6 * max(abs(low), abs(high))
    relevance = np.zeros(len(scores)) if flat else (scores - low) / (high - low)
    nearest = np.zeros(len(scores))
    taken: list[int] = []
    for _ in range(min(k, len(scores))):
        value = (1 - diversity) * relevance - diversity * nearest
        value[taken] = -np.inf
        taken.append(int(value.argmax()))
        nearest = np.maximum(nearest, alike[:, taken[-1]])
    return np.array(taken, int)

"""Chapter 9: recommending from what texts mean: new users, new items, and a request in words."""

from __future__ import annotations

import copy
from collections.abc import Collection, Mapping, Sequence
from functools import cache
from typing import Literal, Protocol, Self

import numpy as np
from scipy import sparse

from llmrec_lite.data import Dataset
from llmrec_lite.errors import SettingError
from llmrec_lite.recommenders.base import FoldInRecommender
from llmrec_lite.recommenders.content import TfidfVectorizer, unit_rows
from llmrec_lite.text import STOP_WORDS


class Encoder(Protocol):
    """What turns texts into vectors; one that learns from the catalogue first has `fit(texts)` as well."""

    def encode(self, texts: Sequence[str]) -> np.ndarray:
        """Return (len(texts), d)."""
        ...


class TfidfEncoder:
    """TF-IDF with the face of an encoder, so that counted words and a language model can be compared in one place.

    Args:
        min_df: words in fewer texts than this are left out.
        stop_words: words that say nothing about an item.
    """

    def __init__(self, min_df: int = 1, stop_words: Collection[str] = STOP_WORDS) -> None:
        self.min_df, self.stop_words = min_df, stop_words

    def fit(self, texts: Sequence[str]) -> TfidfEncoder:
        """Learn the words of the catalogue."""
        self.vectorizer_ = TfidfVectorizer(self.min_df, self.stop_words).fit(texts)
        return self

    def encode(self, texts: Sequence[str]) -> np.ndarray:
        """Return (len(texts), n_words) dense float32 rows of length 1, zeros where no word is known."""
        return self.vectorizer_.transform(texts).toarray().astype(np.float32)


class ConcatEncoder:
    """Vectors of several encoders side by side: the cosine of two texts is the mean of the encoders' cosines.

    Args:
        encoders: their vectors should be of length 1.
    """

    def __init__(self, encoders: Sequence[Encoder]) -> None:
        if not encoders:
            raise SettingError("there is no encoder to join; name at least one")
        self.encoders = list(encoders)

    def fit(self, texts: Sequence[str]) -> ConcatEncoder:
        """Let those learn that learn."""
        self.encoders = [_fitted_copy(encoder, texts) for encoder in self.encoders]
        return self

    def encode(self, texts: Sequence[str]) -> np.ndarray:
        """Return (len(texts), sum of the lengths)."""
        return np.hstack([encoder.encode(texts) for encoder in self.encoders]) / len(self.encoders) ** 0.5


class TextRecommender(FoldInRecommender):
    """Recommend by the vectors of the items' texts, `train.items["text"]`.

    Two heads stand on the same vectors. "profile" is chapter 2's: a user is the weighted sum of the vectors of the
    items met, and the score is the cosine of user and item (Lops, de Gemmis and Semeraro, 2011). "ridge" gives
    every user a linear model of the items met, w_u = (F'F + l2 I)^-1 F' x_u, which learns which directions
    matter to the user (Pazzani and Billsus, 1997, ask for the same with other
    models; the closed form is Hoerl and Kennard, 1970). One matrix is solved for, whatever the number of users, so
    that a new user costs one product. Items nobody has met are not taken for disliked: they are left out.

    Args:
        encoder: something with `encode(texts) -> (n, d)`; a `TextEncoder` where None. One with `fit(texts)` is
            copied and fitted on the catalogue first.
        head: "ridge" or "profile".
        weights: "binary" counts all items of a history alike, "liked" by rating minus the user's mean rating, so that
            disliked items push away.
        l2: strength of the ridge; vectors of length 1 ask for less with a short catalogue than with a long one.
        center: whether the mean of the catalogue's vectors is taken off each in a profile. (A ridge always has an
            intercept, which comes to the same.)

    Fitting takes n_items * d^2, or n_items^2 * d where that is less, and holds (n_items, d) dense numbers.
    """

    _learned = ("vectors_", "known_", "mean_", "items_", "solution_")

    def __init__(
        self,
        encoder: Encoder | None = None,
        head: Literal["ridge", "profile"] = "ridge",
        weights: Literal["binary", "liked"] = "binary",
        l2: float = 10.0,
        center: bool = True,
    ) -> None:
        if head not in ("ridge", "profile"):
            raise SettingError(f'head must be "ridge" or "profile", not {head!r}')
        if weights not in ("binary", "liked"):
            raise SettingError(f'weights must be "binary" or "liked", not {weights!r}')
        if not l2 > 0:
            raise SettingError(f"l2 must be above 0, not {l2!r}")
        if isinstance(encoder, str) or (encoder is not None and not hasattr(encoder, "encode")):
            raise TypeError(f"encoder must have a method encode(texts), such as TextEncoder(name), not be {encoder!r}")
        self.encoder, self.head, self.weights, self.l2, self.center = encoder, head, weights, l2, center

    def _fit(self, train: Dataset) -> None:
        texts = train.items["text"].tolist()
        if not any(text.strip() for text in texts):
            raise SettingError("no item has a text, so there is nothing to read; give the items a title or a text")
        self.encoder_ = _fitted_copy(default_encoder() if self.encoder is None else self.encoder, texts)
        self.vectors_ = self._encode(texts)  # (n_items, d)
        self._prepare(train)
        # A mean over items that nobody has met or described would say what is missing, not what is common.
        self.known_ = self.vectors_.any(1) & (np.bincount(train.item_index, minlength=train.n_items) > 0)
        centered = (self.center or self.head == "ridge") and self.known_.any()
        self.mean_ = self.vectors_[self.known_].mean(0) if centered else np.zeros(self.vectors_.shape[1])
        self.items_ = self._features(self.vectors_)
        if self.head == "ridge":
            self.solution_ = _ridge(self.items_ * self.known_[:, None], self.l2)

    def _prepare(self, train: Dataset) -> None:
        self.matrix_ = train.matrix("rating")

    def set_state(self, train: Dataset, state: Mapping[str, np.ndarray]) -> Self:
        """Become the model that `get_state` was asked of, fitted on the same data with the same encoder."""
        encoder = default_encoder() if self.encoder is None else self.encoder
        self.encoder_ = _fitted_copy(encoder, train.items["text"].tolist())
        return super().set_state(train, state)

    def contributions(self, items: np.ndarray, seen: np.ndarray) -> np.ndarray:
        """Share of each seen item in the score of each item, (n, m); of the ridge with binary weights.

        Raises:
            SettingError: another head, or other weights.
        """
        if (self.head, self.weights) != ("ridge", "binary"):
            raise SettingError(f"a {self.head} with {self.weights} weights has no shares; use a ridge with binary ones")
        return self.items_[items] @ self.solution_[:, seen]

    def score_items(self, texts: Sequence[str]) -> np.ndarray:
        """Score new items, known only by their text, for all users, (n_users, len(texts)) float32."""
        self._fitted()
        return self._users(self.matrix_, self._features(self._encode(texts)))

    def score_request(self, text: str) -> np.ndarray:
        """Score all items by the cosine of their vectors with a request's, (n_items,) float32.

        Raises:
            ValueError: the request is empty.
        """
        self._fitted()
        if not text.strip():
            raise SettingError("the request is empty; say in a few words what you would like")
        return (unit_rows(self.vectors_) @ unit_rows(self._encode([text]))[0]).astype(np.float32)

    def _encode(self, texts: Sequence[str]) -> np.ndarray:
        """Vectors, (len(texts), d); zeros for an empty text."""
        told = [i for i, text in enumerate(texts) if text.strip()]
        some = np.asarray(self.encoder_.encode([texts[i] for i in told]), dtype=float)
        vectors = np.zeros((len(texts), some.shape[1]))
        vectors[told] = some
        return vectors

    def _features(self, vectors: np.ndarray) -> np.ndarray:
        """Turn vectors into what the heads see: centered, for a profile of length 1 too; zeros for an empty text."""
        centered = (vectors - self.mean_) * vectors.any(1, keepdims=True)
        return centered if self.head == "ridge" else unit_rows(centered)

    def score_matrix(self, interactions: sparse.csr_array) -> np.ndarray:
        """Scores of all items for rows of ratings, (n, n_items) -> (n, n_items) float32."""
        return self._users(interactions, self.items_)

    def _users(self, histories: sparse.csr_array, items: np.ndarray) -> np.ndarray:
        """Score items, (m, d), for users who have met what `histories`, (n, n_items) of ratings, say -> (n, m)."""
        weights = histories.copy().astype(float)
        count = np.diff(weights.indptr)
        if self.weights == "binary":
            weights.data[:] = 1.0
        else:
            weights.data -= np.repeat(weights.sum(1) / np.maximum(count, 1), count)
        if self.head == "ridge":
            users = weights @ self.solution_.T
            level = weights @ self.known_ / max(self.known_.sum(), 1)
            return (level[:, None] + users @ items.T).astype(np.float32)
        profiles = weights @ self.items_
        # Likes and dislikes of one text cancel out but for rounding, and noise must not be scaled to length 1.
        noise = np.linalg.norm(profiles, axis=1) <= 1e-6 * abs(weights).sum(1)
        return (unit_rows(np.where(noise[:, None], 0.0, profiles)) @ items.T).astype(np.float32)


@cache
def default_encoder() -> Encoder:
    """Return the encoder that is meant where none is named, one for all."""
    from llmrec_lite.language.encoder import TextEncoder  # torch and transformers, which TF-IDF does without

    return TextEncoder()


def _fitted_copy(encoder: Encoder, texts: Sequence[str]) -> Encoder:
    """Fit a copy, so that two recommenders with one encoder do not spoil each other's words."""
    return copy.copy(encoder).fit([text for text in texts if text.strip()]) if hasattr(encoder, "fit") else encoder


def _ridge(items: np.ndarray, l2: float) -> np.ndarray:
    """Return (F'F + l2 I)^-1 F', (d, n), by the smaller of its two equal forms: F'(FF' + l2 I)^-1 is the other."""
    n, d = items.shape
    if d <= n:
        return np.linalg.solve(items.T @ items + l2 * np.eye(d), items.T)
    return np.linalg.solve(items @ items.T + l2 * np.eye(n), items).T

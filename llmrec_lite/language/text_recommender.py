"""Chapter 9: recommending from what texts mean: new users, new items, and a request in words."""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence
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
    """Text encoder; one that learns from the catalog first has `fit(texts)` as well."""

    def encode(self, texts: Sequence[str]) -> np.ndarray:
        """Vectors, (len(texts), d)."""
        ...


def encode_described(encoder: Encoder, texts: Sequence[str]) -> np.ndarray:
    """Vectors, (len(texts), d) of the encoder's type; zeros for an empty text, which the encoder is not shown."""
    described = [i for i, text in enumerate(texts) if text.strip()]
    some = np.asarray(encoder.encode([texts[i] for i in described]))
    vectors = np.zeros((len(texts), some.shape[1]), some.dtype)
    vectors[described] = some
    return vectors


class TfidfEncoder:
    """TF-IDF as an encoder."""

    def fit(self, texts: Sequence[str]) -> TfidfEncoder:
        """Learn the words of the catalog."""
        self.vectorizer_ = TfidfVectorizer(1, STOP_WORDS).fit(texts)
        return self

    def encode(self, texts: Sequence[str]) -> np.ndarray:
        """Vectors, (len(texts), n_words) dense float32 rows of length 1, zeros where no word is known."""
        return self.vectorizer_.transform(texts).toarray().astype(np.float32)


class ConcatEncoder:
    """Vectors of length 1 of several encoders side by side: a cosine is the mean of the encoders' cosines."""

    def __init__(self, encoders: Sequence[Encoder]) -> None:
        if not encoders:
            raise SettingError("there is no encoder to join; name at least one")
        self.encoders = list(encoders)

    def fit(self, texts: Sequence[str]) -> ConcatEncoder:
        """Fit the encoders that learn."""
        self.encoders = [_fitted_copy(encoder, texts) for encoder in self.encoders]
        return self

    def encode(self, texts: Sequence[str]) -> np.ndarray:
        """Vectors, (len(texts), sum of the lengths)."""
        return np.hstack([encoder.encode(texts) for encoder in self.encoders]) / len(self.encoders) ** 0.5


class TextRecommender(FoldInRecommender):
    """Recommender on the vectors of the items' texts, `train.items["text"]`.

    Two heads stand on the same vectors. "profile": a user is the weighted sum of the vectors of the items seen, and
    the score is the cosine of user and item (Lops, de Gemmis and Semeraro, 2011). "ridge" gives every user a linear
    model of the items seen, w_u = (F'F + l2 I)^-1 F' x_u (Hoerl and Kennard, 1970; for users, Pazzani and Billsus,
    1997). Items without interactions are not taken for disliked: they are left out.

    Args:
        encoder: a `TextEncoder` where None. One with `fit(texts)` is copied and fitted on the catalog first.
        head: "ridge" or "profile".
        weights: "binary" counts all items of a history alike, "liked" by rating minus the user's mean rating, so that
            disliked items push away.
        l2: strength of the ridge; vectors of length 1 ask for less with a short catalog than with a long one.
        center: whether the mean of the catalog's vectors is taken off each in a profile; a ridge has an intercept.

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
        # A mean over items without interactions or text would show what is missing, not what is common.
        self.known_ = self.vectors_.any(1) & (np.bincount(train.item_index, minlength=train.n_items) > 0)
        centered = (self.center or self.head == "ridge") and self.known_.any()
        self.mean_ = self.vectors_[self.known_].mean(0) if centered else np.zeros(self.vectors_.shape[1])
        self.items_ = self._features(self.vectors_)
        if self.head == "ridge":
            self.solution_ = _ridge(self.items_ * self.known_[:, None], self.l2)

    def _prepare(self, train: Dataset) -> None:
        self.matrix_ = train.matrix("rating")

    def set_state(self, train: Dataset, state: Mapping[str, np.ndarray]) -> Self:
        """Restore the state of `get_state`, of a model fitted on the same data with the same encoder."""
        encoder = default_encoder() if self.encoder is None else self.encoder
        self.encoder_ = _fitted_copy(encoder, train.items["text"].tolist())
        return super().set_state(train, state)

    def contributions(self, items: np.ndarray, seen: np.ndarray) -> np.ndarray:
        """Share of each seen item in the score of each item, (n, m); of the ridge with binary weights only."""
        if (self.head, self.weights) != ("ridge", "binary"):
            raise SettingError(f"a {self.head} with {self.weights} weights has no shares; use a ridge with binary ones")
        return self.items_[items] @ self.solution_[:, seen]

    def score_items(self, texts: Sequence[str]) -> np.ndarray:
        """Scores of new items, known only by their text, for all users, (n_users, len(texts)) float32."""
        self._fitted()
        return self._users(self.matrix_, self._features(self._encode(texts)))

    def score_request(self, text: str) -> np.ndarray:
        """Scores of all items, the cosine of their vectors with a request's, (n_items,) float32."""
        self._fitted()
        if not text.strip():
            raise SettingError("the request is empty; say in a few words what you would like")
        return (unit_rows(self.vectors_) @ unit_rows(self._encode([text]))[0]).astype(np.float32)

    def _encode(self, texts: Sequence[str]) -> np.ndarray:
        """Vectors, (len(texts), d); zeros for an empty text."""
        return encode_described(self.encoder_, texts).astype(float)

    def _features(self, vectors: np.ndarray) -> np.ndarray:
        """Vectors as the heads see them: centered, for a profile of length 1 too; zeros for an empty text."""
        centered = (vectors - self.mean_) * vectors.any(1, keepdims=True)
        return centered if self.head == "ridge" else unit_rows(centered)

    def score_matrix(self, interactions: sparse.csr_array) -> np.ndarray:
        """Scores of all items for rows of ratings, (n, n_items) -> (n, n_items) float32."""
        return self._users(interactions, self.items_)

    def _users(self, histories: sparse.csr_array, items: np.ndarray) -> np.ndarray:
        """Scores of items, (m, d), for users with ratings `histories`, (n, n_items) -> (n, m)."""
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
    """Encoder where none is named, one for all."""
    from llmrec_lite.language.encoder import TextEncoder  # torch and transformers, which TF-IDF does without

    return TextEncoder()


def _fitted_copy(encoder: Encoder, texts: Sequence[str]) -> Encoder:
    """Fitted copy, so that two recommenders with one encoder do not spoil each other's words."""
    return copy.copy(encoder).fit([text for text in texts if text.strip()]) if hasattr(encoder, "fit") else encoder


def _ridge(items: np.ndarray, l2: float) -> np.ndarray:
    """Solution (F'F + l2 I)^-1 F', (d, n), by the smaller of its two equal forms: F'(FF' + l2 I)^-1 is the other."""
    n, d = items.shape
    if d <= n:
        return np.linalg.solve(items.T @ items + l2 * np.eye(d), items.T)
    return np.linalg.solve(items @ items.T + l2 * np.eye(n), items).T

"""Chapter 2: cosine similarity, TF-IDF, and content-based recommendation."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterable, Sequence

import numpy as np
from scipy import sparse

from llmrec_lite.data import Dataset
from llmrec_lite.errors import SettingError
from llmrec_lite.interface import History
from llmrec_lite.recommenders.base import BaseRecommender, histories_to_matrix
from llmrec_lite.text import STOP_WORDS, tokenize


def cosine_similarity(x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """Cosine of the angle between every row of x and every row of y: x . y / (|x| |y|).

    Shapes: (n, d) or (d,), and (m, d) or (d,) -> (n, m) values in [-1, 1], without the axes of single vectors. A vector
    of zeros has no direction; its similarity to everything is 0.
    """
    rows, columns = (np.atleast_2d(np.asarray(a, dtype=float)) for a in (x, y))
    if rows.shape[1] != columns.shape[1]:
        raise SettingError(f"cannot compare vectors of length {rows.shape[1]} and {columns.shape[1]}")
    cosine = np.clip(unit_rows(rows) @ unit_rows(columns).T, -1.0, 1.0)
    return cosine.reshape(np.shape(x)[:-1] + np.shape(y)[:-1])


def unit_rows(vectors: np.ndarray) -> np.ndarray:
    """Scale every row to length 1; a row of zeros stays as it is."""
    norm = np.linalg.norm(vectors, axis=1, keepdims=True)
    return vectors / np.where(norm > 0, norm, 1.0)


class TfidfVectorizer:
    """Turn texts into vectors: how often a word occurs here, times how rare it is elsewhere.

    The weight of word w in text d is tf(w, d) * (ln((1 + n) / (1 + df(w))) + 1), where n is the number of
    texts and df(w) the number that hold w; each vector is then scaled to length 1. Rarity is Sparck Jones
    (1972); the smoothing is scikit-learn's, to whose result this one is equal.

    Args:
        min_df: words in fewer texts than this are left out.
        stop_words: words to leave out whatever they count, such as `STOP_WORDS`.
    """

    vocabulary_: dict[str, int]
    idf_: np.ndarray

    def __init__(self, min_df: int = 1, stop_words: Collection[str] = ()) -> None:
        if min_df < 1:
            raise SettingError(f"min_df must be at least 1, not {min_df}")
        self.min_df, self.stop_words = min_df, frozenset(stop_words)

    def fit(self, texts: Iterable[str]) -> TfidfVectorizer:
        """Learn the vocabulary (in alphabetical order) and how rare each word is."""
        bags = [set(tokenize(text)) - self.stop_words for text in texts]
        document_frequency = Counter(word for bag in bags for word in bag)
        words = sorted(word for word, count in document_frequency.items() if count >= self.min_df)
        if not words:
            raise SettingError(f"no word occurs in at least {self.min_df} of the {len(bags)} texts")
        self.vocabulary_ = {word: column for column, word in enumerate(words)}
        self.idf_ = np.log((1 + len(bags)) / (1 + np.array([document_frequency[w] for w in words]))) + 1.0
        return self

    def transform(self, texts: Iterable[str]) -> sparse.csr_array:
        """Return (n_texts, n_words) rows of length 1; a text without any known word gives a row of zeros."""
        counts = [Counter(w for w in tokenize(text) if w in self.vocabulary_) for text in texts]
        rows = np.repeat(np.arange(len(counts)), [len(c) for c in counts])
        columns = np.array([self.vocabulary_[w] for c in counts for w in c], dtype=np.int64)
        weights = np.array([n for c in counts for n in c.values()], dtype=float) * self.idf_[columns]
        length = np.sqrt(np.bincount(rows, weights**2, len(counts)))
        shape = (len(counts), len(self.vocabulary_))
        return sparse.csr_array((weights / length[rows], (rows, columns)), shape=shape)

    def fit_transform(self, texts: Sequence[str]) -> sparse.csr_array:
        """Learn from the texts and transform them."""
        return self.fit(texts).transform(texts)


class ContentBased(BaseRecommender):
    """Recommend items whose text is like the texts of the items the user liked.

    A user's profile is the weighted sum of the TF-IDF vectors of the items in the user's history; the score
    of an item is the cosine of the profile and the item (Lops, de Gemmis and Semeraro, 2011).

    Args:
        weights: "liked" weighs an item by its rating minus the user's mean rating, so that disliked items
            push away; "binary" weighs all items of the history alike.
        min_df: words in fewer items than this are left out.
        stop_words: words that say nothing about an item.

    Fitting holds two sparse matrices: one entry a word of a text, and one a rating.
    """

    def __init__(self, weights: str = "binary", min_df: int = 1, stop_words: Collection[str] = STOP_WORDS) -> None:
        if weights not in ("binary", "liked"):
            raise SettingError(f'weights must be "binary" or "liked", not {weights!r}')
        self.weights, self.min_df, self.stop_words = weights, min_df, stop_words

    def _fit(self, train: Dataset) -> None:
        self.vectorizer_ = TfidfVectorizer(self.min_df, self.stop_words)
        self.items_ = self.vectorizer_.fit_transform(train.items["text"].tolist())  # (n_items, n_words)
        self.histories_ = train.matrix("rating")

    def _score(self, users: np.ndarray) -> np.ndarray:
        return self._score_rows(self.histories_[users])

    def score_new(self, histories: Sequence[History]) -> np.ndarray:
        """Score all items for users who were not in train, (len(histories), n_items) float32."""
        return self._score_rows(histories_to_matrix(histories, self._fitted(), rating=True))

    def score_items(self, texts: Sequence[str]) -> np.ndarray:
        """Score new items, known only by their text, for all users, (n_users, len(texts)) float32."""
        self._fitted()
        profiles = self._profiles(self.histories_)
        return (profiles @ self.vectorizer_.transform(texts).T).toarray().astype(np.float32)

    def score_request(self, text: str) -> np.ndarray:
        """Score all items by their cosine with a request in words, (n_items,) float32.

        Only the request's own words count: "sci-fi" finds nothing that is called "science fiction".
        """
        self._fitted()
        return (self.items_ @ self.vectorizer_.transform([text]).T).toarray()[:, 0].astype(np.float32)

    def _score_rows(self, histories: sparse.csr_array) -> np.ndarray:
        return (self._profiles(histories) @ self.items_.T).toarray().astype(np.float32)

    def _profiles(self, histories: sparse.csr_array) -> sparse.csr_array:
        """Profiles of length 1, one row a history, (n, n_words)."""
        weights = histories.copy()
        if self.weights == "binary":
            weights.data[:] = 1.0
        else:
            count = np.diff(weights.indptr)
            mean = weights.sum(1) / np.maximum(count, 1)
            weights.data -= np.repeat(mean, count).astype(weights.data.dtype)
        profiles = (weights @ self.items_).tocsr()
        norm = np.sqrt(np.asarray(profiles.multiply(profiles).sum(1)).reshape(-1))
        # Likes and dislikes of one text cancel out but for rounding, and noise must not be scaled to length 1.
        noise = 1e-6 * np.asarray(abs(weights).sum(1)).reshape(-1)
        scale = sparse.diags_array(np.where(norm > noise, 1.0 / np.where(norm > 0, norm, 1.0), 0.0))
        return (scale @ profiles).tocsr()

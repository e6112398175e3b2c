"""Chapter 1: recommenders that are not personalized, and are hard to beat for a new user."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from llmrec_lite.data import Dataset
from llmrec_lite.interface import History
from llmrec_lite.recommenders.base import BaseRatingPredictor, BaseRecommender


class Popularity(BaseRecommender):
    """Popularity: items with the most users first."""

    counts_: np.ndarray  # (n_items,) number of users of the item

    def _fit(self, train: Dataset) -> None:
        self.counts_ = np.asarray(train.matrix().sum(0)).reshape(-1)

    def _score(self, users: np.ndarray) -> np.ndarray:
        return np.tile(self.counts_, (len(users), 1))

    def score_new(self, histories: Sequence[History]) -> np.ndarray:
        """Score all items for users who were not in train, (len(histories), n_items); the past is ignored."""
        self._fitted()
        return np.tile(self.counts_, (len(histories), 1)).astype(np.float32)


class Random(BaseRecommender):
    """Score every item at random: the floor under every table.

    The scores depend on the seed and the user only, so that the same user always gets the same list.
    """

    def __init__(self, seed: int = 0) -> None:
        self.seed = seed

    def _fit(self, train: Dataset) -> None:
        self.n_items_ = train.n_items

    def _score(self, users: np.ndarray) -> np.ndarray:
        return np.stack([np.random.default_rng((self.seed, user)).random(self.n_items_) for user in users])


class ItemMean(BaseRatingPredictor):
    """Predict an item's mean rating, pulled towards the mean of all ratings where ratings are few.

    mean_i = (sum of ratings of i + damping * global mean) / (number of ratings of i + damping)
    """

    def __init__(self, damping: float = 5.0) -> None:
        self.damping = damping

    def _fit(self, train: Dataset) -> None:
        total = np.bincount(train.item_index, train.ratings, train.n_items)
        count = np.bincount(train.item_index, minlength=train.n_items)
        mean = float(train.ratings.mean())
        with np.errstate(invalid="ignore"):
            damped = (total + self.damping * mean) / (count + self.damping)
        self.means_ = np.where(count + self.damping > 0, damped, mean)

    def _score(self, users: np.ndarray) -> np.ndarray:
        return np.tile(self.means_, (len(users), 1))

    def _predict(self, users: np.ndarray, items: np.ndarray) -> np.ndarray:
        return self.means_[items]

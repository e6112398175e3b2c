"""Chapter 19: somebody of whom a few choices are known, served by all that the system has."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Self

import numpy as np
from scipy import sparse

from llmrec_lite.data import Dataset
from llmrec_lite.fusion import fuse
from llmrec_lite.fusion_weights import HeldOut, learn_weights
from llmrec_lite.meta.coldstart import AUTOENCODERS, FEWEST
from llmrec_lite.meta.people import EpisodeRidge, NextChoices, Order, PeopleAttention, chosen
from llmrec_lite.meta.tasks import SHOTS
from llmrec_lite.recommenders import DenoisingAutoencoder

CELLS = 8_000_000  # people times items that are held densely
Score = Callable[[sparse.csr_array], np.ndarray]  # choices (n, n_items) of 0 and 1 -> scores (n, n_items)


class Newcomers:
    """Weigh the parts of a system for people of whom K choices are known, K by K.

    A quarter of the people is set aside. The parts learn from the others; from what those set aside chose after their
    first K, or any K, the weights are learned that find most of it (`learn_weights`). Besides the parts that the system
    has for everybody there are two for newcomers alone: popularity, and the people who chose alike (`NextChoices`).

    Args:
        order: "time" where newcomers' first choices will be known, "random" where any will be.
        people: at most so many people are learned from.
        seed: of who is set aside.
    """

    def __init__(self, order: Order = "time", people: int = 1000, seed: int = 0) -> None:
        self.order, self.people, self.seed = order, people, seed

    def fit(
        self, data: Dataset, make: Callable[[Dataset], Mapping[str, Score]], vectors: np.ndarray | None = None
    ) -> Self:
        """Learn the weights.

        Args:
            data: the interactions of everybody.
            make: fits the parts on some people, and returns how each scores choices.
            vectors: (n_items, v) of the items' texts.
        """
        self.learn_, valid = self._divided(data)
        self.count_ = _popularity(data)
        parts = dict(make(self.learn_))
        self.next_: dict[int, NextChoices] = {}
        self.held_: dict[int, HeldOut] = {}  # what the weights were learned from; `save` does not keep it
        self.weights_: dict[int, dict[str, float]] = {}
        autoencoders = None
        for k in SHOTS[1:]:
            users, known, later = chosen(valid, k, self.order, seed=self.seed)
            if len(users) < FEWEST:
                continue
            if self._small(data) and len(chosen(self.learn_, k, self.order)[0]) >= FEWEST:
                autoencoders = autoencoders or [DenoisingAutoencoder(*one).fit(self.learn_) for one in AUTOENCODERS]
                self.next_[k] = NextChoices(k, self.order, seed=self.seed).fit(
                    self.learn_, valid, autoencoders, vectors
                )
            given = sparse.csr_array(known)
            scores = self._scores(given, k, parts)
            self.held_[k] = HeldOut.of(scores, given, sparse.csr_array(later), self.count_)
            self.weights_[k] = learn_weights([self.held_[k]])
        return self

    def score(self, given: sparse.csr_array, parts: Mapping[str, Score]) -> np.ndarray:
        """Score all items for people of whom some choices are known.

        Args:
            given: (n, n_items) of 0 and 1.
            parts: how each part scores choices, fitted on everybody.

        Returns:
            (n, n_items) float32; popularity where nothing is known.
        """
        sizes = np.diff(given.indptr)
        scores = np.tile(self.count_, (given.shape[0], 1)).astype(np.float32)
        if not self.weights_:
            return scores
        known = np.array(list(self.weights_))
        nearest = known[np.abs(np.log1p(known) - np.log1p(sizes)[:, None]).argmin(1)]
        for k in np.unique(nearest[sizes > 0]):
            rows = np.flatnonzero((nearest == k) & (sizes > 0))
            some = given[rows]
            unmet = some.toarray() == 0
            scores[rows] = fuse(self._scores(some, k, parts), self.weights_[k], "zscore", unmet)
        return scores

    def state(self) -> dict[str, Any]:
        """Return what was learned, as JSON values; what can be computed again at once is not in it."""
        learned = {
            str(k): {
                "attention": one.attention_.weights_.tolist(),
                "ridge": one.ridge_.l2,
                "autoencoder": [one.autoencoder_.dropout, one.autoencoder_.l2],
                "weights": np.asarray(one.weights_).tolist(),
            }
            for k, one in self.next_.items()
        }
        return {"weights": {str(k): weights for k, weights in self.weights_.items()}, "people": learned}

    def restore(self, state: Mapping[str, Any], data: Dataset, vectors: np.ndarray | None) -> Self:
        """Take what was learned before, of the same data."""
        self.learn_, _ = self._divided(data)
        self.count_ = _popularity(data)
        self.weights_ = {int(k): dict(weights) for k, weights in state["weights"].items()}
        self.next_, fitted = {}, {}
        for k, one in ((int(k), one) for k, one in state["people"].items()):
            setting = tuple(one["autoencoder"])
            if setting not in fitted:
                fitted[setting] = DenoisingAutoencoder(*setting).fit(self.learn_)
            alike = NextChoices(k, self.order, seed=self.seed)
            alike.people_, given, rest = chosen(self.learn_, k, self.order, seed=self.seed)
            alike.attention_ = PeopleAttention(seed=self.seed).restore(one["attention"], given, rest, vectors)
            alike.ridge_ = EpisodeRidge(one["ridge"]).fit(given, rest)
            alike.autoencoder_, alike.weights_ = fitted[setting], np.array(one["weights"])
            self.next_[k] = alike
        return self

    def _scores(self, given: sparse.csr_array, k: int, parts: Mapping[str, Score]) -> dict[str, np.ndarray]:
        scores = {name: np.asarray(part(given), np.float32) for name, part in parts.items()}
        scores["popularity"] = np.tile(self.count_, (given.shape[0], 1)).astype(np.float32)
        if k in self.next_:
            scores["people alike"] = np.asarray(self.next_[k].predict(given.toarray()), np.float32)
        return scores

    def _divided(self, data: Dataset) -> tuple[Dataset, Dataset]:
        """Return the interactions of people to learn from, and of others to weigh by."""
        people = np.random.default_rng(self.seed).permutation(np.unique(data.user_index))
        most = min(self.people, max(4 * FEWEST, CELLS // data.n_items))
        cut = len(people) // 4
        aside, others = people[:cut][:most], people[cut:]
        rows = data.interactions
        return (
            data.with_interactions(rows[np.isin(data.user_index, others)]),
            data.with_interactions(rows[np.isin(data.user_index, aside)]),
        )

    def _small(self, data: Dataset) -> bool:
        """Tell whether everybody fits into a dense table, and all pairs of items into another."""
        return data.n_users * data.n_items <= CELLS and data.n_items**2 <= 4 * CELLS


def _popularity(data: Dataset) -> np.ndarray:
    return np.asarray(data.matrix().sum(0)).reshape(-1)

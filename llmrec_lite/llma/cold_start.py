"""Chapter 19: somebody of whom a few choices are known, served by all that the system has."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any, Self

import numpy as np
from scipy import sparse

from llmrec_lite.data import Dataset
from llmrec_lite.llma.fusion import fuse
from llmrec_lite.llma.scales import normalise_scores
from llmrec_lite.llma.weights import HeldOut, learn_weights
from llmrec_lite.meta.cold_start import AUTOENCODERS, MIN_USERS
from llmrec_lite.meta.tasks import SHOTS, HistoryOrder, rows_of_users
from llmrec_lite.meta.user_attention import ColdStartRanker, split_histories
from llmrec_lite.recommenders import DenoisingAutoencoder

CELLS = 8_000_000  # people times items that are held densely
JUDGED = 30  # choices of the people that weights are learned from, so that they are the same for each K
DRAWS = 2  # quarters of the people that are set aside in turn
Score = Callable[[sparse.csr_array], np.ndarray]  # choices (n, n_items) of 0 and 1 -> scores (n, n_items)


class Newcomers:
    """Weigh the parts of a system for people of whom K choices are known, K by K.

    A quarter of the people is set aside, then another. The parts learn from the others; from what those set aside chose
    after their first K, or any K, the weights are learned that find most of it (`learn_weights`), together with the
    numbers of choices next to K. Besides the parts that the system has for everybody there are two for newcomers alone:
    how popular each item is among later choices, and the people who chose alike (`ColdStartRanker`), who in the end are
    all people.

    Args:
        order: "time" where newcomers' first choices will be known, "random" where any will be.
        people: at most so many people are learned from.
        seed: of who is set aside.
    """

    def __init__(self, order: HistoryOrder = "time", people: int = 1000, seed: int = 0) -> None:
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
        self.held_: dict[int, list[HeldOut]] = {}  # what weights are learned from; `save` does not keep it
        alike: dict[int, list[dict[str, Any]]] = {}
        for draw in range(DRAWS):
            learn, aside = self._divided(data, draw)
            parts, found = make(learn), self._people_alike(learn, aside, draw, vectors)
            for k in SHOTS[1:]:
                people = self._enough(aside, k, draw)
                if people is None:
                    continue
                given, later = (sparse.csr_array(part) for part in people)
                popular = _later_choices(learn, k, self.order)
                ones = [found[k]] if k in found else []
                held = HeldOut.of(_said(given, parts, popular, ones), given, later, popular)
                self.held_.setdefault(k, []).append(held)
                alike.setdefault(k, []).extend(one.state() for one in ones)
        self.weights_ = {k: learn_weights(self.held_near(k)) for k in sorted(self.held_)}
        return self._know(data, {k: states for k, states in alike.items() if k in self.weights_}, vectors)

    def held_near(self, k: int) -> list[HeldOut]:
        """Return what was held out for K choices and for the numbers next to it: it is little for each alone.

        Only parts that there are for all of them take part.
        """
        known = sorted(self.held_)
        place = known.index(k)
        near = [held for other in known[max(0, place - 1) : place + 2] for held in self.held_[other]]
        shared = [name for name in self.held_[k][0].parts if all(name in held.parts for held in near)]
        return [replace(held, parts={name: held.parts[name] for name in shared}) for held in near]

    def score(self, given: sparse.csr_array, parts: Mapping[str, Score], users: np.ndarray | None = None) -> np.ndarray:
        """Score all items for people of whom some choices are known.

        Args:
            given: (n, n_items) of 0 and 1.
            parts: how each part scores choices, fitted on everybody.
            users: (n,) user indices where they are people of the data, so that nobody is alike to himself.

        Returns:
            (n, n_items) float32; popularity where nothing is known.
        """
        sizes = np.diff(given.indptr)
        scores = np.tile(self.later_[0], (given.shape[0], 1)).astype(np.float32)
        if not self.weights_:
            return scores
        known = np.array(list(self.weights_))
        nearest = known[np.abs(np.log1p(known) - np.log1p(sizes)[:, None]).argmin(1)]
        for k in np.unique(nearest[sizes > 0]):
            rows = np.flatnonzero((nearest == k) & (sizes > 0))
            some, who = given[rows], None if users is None else users[rows]
            said = _said(some, parts, self.later_[k], self.next_.get(k, []), who)
            asked = {name: said[name] for name in self.weights_[k]}
            scores[rows] = fuse(asked, self.weights_[k], "zscore", some.toarray() == 0)
        return scores

    def state(self) -> dict[str, Any]:
        """Return what was learned, as JSON values; what can be computed again at once is not in it."""
        alike = {str(k): [one.state() for one in ones] for k, ones in self.next_.items()}
        return {"weights": {str(k): weights for k, weights in self.weights_.items()}, "people": alike}

    def restore(self, state: Mapping[str, Any], data: Dataset, vectors: np.ndarray | None) -> Self:
        """Take what was learned before, of the same data."""
        self.weights_ = {int(k): dict(weights) for k, weights in state["weights"].items()}
        return self._know(data, {int(k): states for k, states in state["people"].items()}, vectors)

    def _know(self, data: Dataset, alike: Mapping[int, list[dict[str, Any]]], vectors: np.ndarray | None) -> Self:
        """Answer from everybody, with what was learned from some."""
        self.later_ = {k: _later_choices(data, k, self.order) for k in SHOTS}
        self.next_: dict[int, list[ColdStartRanker]] = {}
        fitted: dict[tuple[float, float], DenoisingAutoencoder] = {}
        for k, states in alike.items():
            for draw, state in enumerate(states):
                dropout, l2 = state["autoencoder"]
                if (dropout, l2) not in fitted:
                    fitted[dropout, l2] = DenoisingAutoencoder(dropout, l2).fit(data)
                one = ColdStartRanker(k, self.order, seed=self.seed + draw)
                self.next_.setdefault(k, []).append(one.restore(state, data, fitted[dropout, l2], vectors))
        return self

    def _people_alike(
        self, learn: Dataset, aside: Dataset, draw: int, vectors: np.ndarray | None
    ) -> dict[int, ColdStartRanker]:
        """Learn whom to go by, for each K of which there are people enough."""
        if learn.n_users * learn.n_items > CELLS or learn.n_items**2 > 4 * CELLS:
            return {}  # everybody in a dense table, and all pairs of items in another, would not fit
        enough = [
            k
            for k in SHOTS[1:]
            if min(len(split_histories(part, k, self.order)[0]) for part in (learn, aside)) >= MIN_USERS
        ]
        autoencoders = [DenoisingAutoencoder(*one).fit(learn) for one in AUTOENCODERS if enough]
        return {
            k: ColdStartRanker(k, self.order, seed=self.seed + draw).fit(learn, aside, autoencoders, vectors)
            for k in enough
        }

    def _enough(self, aside: Dataset, k: int, draw: int) -> tuple[np.ndarray, np.ndarray] | None:
        """Return what people chose first and later, (n, n_items) each; people of few choices only where need be."""
        for least in (max(JUDGED - k, 1), 1):
            _, given, later = split_histories(aside, k, self.order, least, seed=self.seed + draw)
            if len(given) >= MIN_USERS:
                return given, later
        return None

    def _divided(self, data: Dataset, draw: int) -> tuple[Dataset, Dataset]:
        """Return the interactions of people to learn from, and of others to weigh by."""
        people = np.random.default_rng(self.seed + draw).permutation(np.unique(data.user_index))
        most = min(self.people, max(4 * MIN_USERS, CELLS // data.n_items))
        cut = len(people) // 4
        aside, others = people[:cut][:most], people[cut:]
        rows = data.interactions
        return (
            data.with_interactions(rows[np.isin(data.user_index, others)]),
            data.with_interactions(rows[np.isin(data.user_index, aside)]),
        )


def _said(
    given: sparse.csr_array,
    parts: Mapping[str, Score],
    popular: np.ndarray,
    alike: Sequence[ColdStartRanker],
    users: np.ndarray | None = None,
) -> dict[str, np.ndarray]:
    """Return the scores of all parts, (n, n_items) each."""
    said = {name: np.asarray(part(given), np.float32) for name, part in parts.items()}
    said["popularity"] = np.tile(popular, (given.shape[0], 1)).astype(np.float32)
    if alike:
        dense = given.toarray().astype(np.float32)
        scaled = [normalise_scores(one.predict(dense, users), "zscore", dense == 0) for one in alike]
        said["user_attention"] = np.sum(scaled, axis=0).astype(np.float32)
    return said


def _later_choices(data: Dataset, k: int, order: HistoryOrder) -> np.ndarray:
    """Return how many people choose each item after k choices, (n_items,); expected, where these are any k."""
    later = np.ones(len(data))
    for _, rows in rows_of_users(data):
        if order == "time":
            later[rows[:k]] = 0
        else:
            later[rows] = max(1 - k / len(rows), 0)
    return np.bincount(data.item_index, later, minlength=data.n_items)

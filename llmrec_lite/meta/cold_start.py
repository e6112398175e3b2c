"""Chapter 14: new users. From the first few ratings: stars for any item, a list, and what to ask next."""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from typing import Literal, Self

import numpy as np
import pandas as pd
from scipy import sparse
from scipy.special import ndtr

from llmrec_lite.data import LIKED, Dataset
from llmrec_lite.errors import SettingError
from llmrec_lite.language.text_recommender import Encoder, default_encoder
from llmrec_lite.meta.bayesian_mf import LearnedPrior
from llmrec_lite.meta.features import item_features
from llmrec_lite.meta.learners import Support
from llmrec_lite.meta.tasks import SHOTS, Task, rows_of_users, user_tasks
from llmrec_lite.meta.user_attention import NextChoices, Order, chosen
from llmrec_lite.recommenders import DenoisingAutoencoder
from llmrec_lite.recommenders.base import BaseRecommender, History, top_k_unseen

EVIDENCE = (0.3, 0.5, 0.7, 1.0)
AUTOENCODERS = ((0.5, 200.0), (0.65, 700.0), (0.8, 2e3), (0.9, 5e3), (0.95, 1e4))  # dropout and l2
FEWEST = 10  # people that a setting may be chosen by


class ColdStartRecommender(BaseRecommender):
    """Recommend to somebody who is not in the data, from a handful of ratings, in milliseconds.

    Two heads are learned from many people and answer in closed form. Stars come from a prior over people
    (`LearnedPrior`) and its posterior after the ratings given; what is chosen next comes from the people
    who resemble the choices made so far (`NextChoices`). Some of the people are set aside to choose settings by, one
    for each number of ratings: how much a rating counts, and by how much people rate what they choose themselves
    above what the prior expects of any item.

    Args:
        factors: numbers that an item has besides its bias.
        encoder: turns the items' texts into vectors; MiniLM (`TextEncoder`) where None. Items without texts do
            without.
        order: "time" where newcomers' first ratings will be known, "random" where any will be.
        goal: what `score` and `score_new` order by: "chosen", how likely an item is to be chosen, or "liked", to be
            chosen and then rated `LIKED` stars or more.
        held_out: share of the people that settings are chosen by.
        seed: of who they are, and of all draws.
        progress: show a progress bar.

    `score` takes a user of train for a newcomer with all their ratings. As the heads have learned from these, it is
    for looking, not for measuring.

    Fitting holds a few (n_users, n_items) dense matrices of float32 and one of (n_items, n_items).

    Raises:
        ValueError: a setting is out of its range.
    """

    def __init__(
        self,
        factors: int = 8,
        encoder: Encoder | None = None,
        order: Order = "time",
        goal: Literal["chosen", "liked"] = "chosen",
        held_out: float = 0.25,
        seed: int = 0,
        progress: bool = False,
    ) -> None:
        if order not in ("time", "random") or goal not in ("chosen", "liked"):
            raise SettingError(f'order must be "time" or "random", goal "chosen" or "liked", not {order!r}, {goal!r}')
        if not 0 < held_out < 1:
            raise SettingError(f"held_out={held_out!r} must lie between 0 and 1")
        self.factors, self.encoder, self.order, self.goal = factors, encoder, order, goal
        self.held_out, self.seed, self.progress = held_out, seed, progress

    def fit_on(self, train: Dataset, valid: Dataset) -> Self:
        """Learn from the people of `train`, and choose the settings by the other people of `valid`."""
        self._learn(train, valid)
        self.train_ = train
        return self

    def _fit(self, train: Dataset) -> None:
        people = np.unique(train.user_index)
        n = round(self.held_out * len(people))
        if min(n, len(people) - n) < 2:
            raise SettingError(f"{len(people)} people are too few to set {self.held_out:.0%} of them aside; bring more")
        aside = np.isin(train.user_index, np.random.default_rng(self.seed).permutation(people)[:n])
        self._learn(*(train.with_interactions(train.interactions[rows]) for rows in (~aside, aside)))

    def _learn(self, learn: Dataset, valid: Dataset) -> None:
        texts = learn.items["text"].fillna("").tolist()
        told = [place for place, text in enumerate(texts) if text.strip()]
        vectors = None
        if told:
            some = np.asarray((self.encoder or default_encoder()).encode([texts[place] for place in told]))
            vectors = np.zeros((len(texts), some.shape[1]), some.dtype)
            vectors[told] = some
        # Column 0, the item's mean rating, is left out: the prior has a bias of its own for each item.
        features = item_features(learn, vectors, factors=0)[:, 1:]
        self.prior_ = LearnedPrior(self.factors, seed=self.seed, progress=self.progress).fit(learn, features)
        self.offsets_: dict[int, dict[float, float]] = {}  # K -> evidence -> offset in stars
        self.settings_ = {k: self._calibrated(valid, k) for k in SHOTS}  # K -> (evidence, its offset)
        autoencoders = [DenoisingAutoencoder(*setting).fit(learn) for setting in AUTOENCODERS]
        self.next_: dict[int, NextChoices] = {}
        for k in SHOTS[1:]:
            if all(len(chosen(part, k, self.order)[0]) >= FEWEST for part in (learn, valid)):
                self.next_[k] = NextChoices(k, self.order, seed=self.seed).fit(learn, valid, autoencoders, vectors)
        self.popularity_ = np.bincount(learn.item_index, minlength=learn.n_items) / len(np.unique(learn.user_index))

    def score_new(self, histories: Sequence[History]) -> np.ndarray:
        """Score all items for people who were not in train, (len(histories), n_items) float32; see `goal`.

        Args:
            histories: one list a person of (item id, rating[, timestamp]), empty where nothing is known. An item that
                comes twice counts with its last rating.

        Raises:
            UnknownIdError: an item that is not in the catalogue.
            ValueError: a rating is not a finite number.
        """
        return self.scores(self._supports(histories))

    def score_new_ratings(self, histories: Sequence[History], items: Sequence[Hashable]) -> np.ndarray:
        """Return the stars to expect of each person for each of the items, (len(histories), len(items)) float32.

        Args:
            histories: see `score_new`.
            items: raw item ids.

        Raises:
            UnknownIdError: an item that is not in the catalogue.
            ValueError: a rating is not a finite number.
        """
        index = self._fitted().items_to_index(list(items))
        return self.stars(self._supports(histories))[0][:, index]

    def stars(self, supports: Sequence[Support]) -> tuple[np.ndarray, np.ndarray]:
        """Return mean and variance of each person's rating for every item, (people, n_items) float32 each.

        Args:
            supports: what is known of each, item indices (k,) and ratings (k,); k may be 0.
        """
        mean, variance = np.empty((2, len(supports), self._fitted().n_items), np.float32)
        settings = [self.setting(len(y)) for _, y in supports]
        for evidence, offset in set(settings):
            rows = [row for row, setting in enumerate(settings) if setting == (evidence, offset)]
            mean[rows], variance[rows] = self.prior_.moments([supports[row] for row in rows], evidence)
            mean[rows] += offset
        return np.clip(mean, self.prior_.low_, self.prior_.high_), variance

    def choices(self, supports: Sequence[Support], users: np.ndarray | None = None) -> np.ndarray:
        """Score how likely each person is to choose each item next, (people, n_items) float32 above 0.

        Args:
            supports: see `stars`.
            users: (people,) user indices where they are people of train, so that nobody resembles himself.
        """
        likely = np.tile(self.popularity_, (len(supports), 1)).astype(np.float32)
        given = self._given(supports)
        sizes = np.array([len(y) for _, y in supports], dtype=int)
        if self.next_:
            known = np.array(list(self.next_))
            nearest = known[np.abs(np.log1p(known) - np.log1p(sizes)[:, None]).argmin(1)]
            for k in np.unique(nearest[sizes > 0]):
                rows = (nearest == k) & (sizes > 0)
                likely[rows] = self.next_[k].predict(given[rows], None if users is None else users[rows])
        return np.maximum(likely, 1e-6)

    def scores(self, supports: Sequence[Support], users: np.ndarray | None = None) -> np.ndarray:
        """Return what `score_new` says of supports, (people, n_items) float32; see `choices`."""
        scores = self.choices(supports, users)
        if self.goal == "liked":
            stars, variance = self.stars(supports)
            # A rating is rounded to whole stars, so that one of LIKED begins half a star below it.
            scores = scores * ndtr((stars - LIKED + 0.5) / np.sqrt(variance))
        return scores.astype(np.float32)

    def setting(self, k: int) -> tuple[float, float]:
        """Return evidence and offset for k ratings: those of the nearest number in `SHOTS`."""
        return self.settings_[min(self.settings_, key=lambda known: abs(np.log1p(known) - np.log1p(k)))]

    def recommend_new(self, history: History, k: int = 10) -> pd.DataFrame:
        """Recommend to one person who was not in train.

        Returns:
            Columns item_id, rank (from 1), score and stars (to expect), best first, without the items of the history.
        """
        supports = self._supports([history])
        found = self._listed(self.scores(supports), supports, k)
        index = self._fitted().items_to_index(found["item_id"])
        return found.assign(stars=self.stars(supports)[0][0, index])

    def questions(self, history: History = (), k: int = 5) -> pd.DataFrame:
        """Return the k items that it is best to ask a person about next.

        The score of an item is how much its rating would tell about the stars of the items that people choose, times
        the share of people who have rated it, and so could answer.

        Returns:
            Columns item_id, rank (from 1) and score, best first, without the items of the history.
        """
        supports = self._supports([history])
        told = self.prior_.worth_asking(supports[0], self.popularity_ + 1e-9, self.setting(len(supports[0][1]))[0])
        return self._listed((told * self.popularity_)[None], supports, k)

    def _listed(self, scores: np.ndarray, supports: Sequence[Support], k: int) -> pd.DataFrame:
        """Return the k best items for one person, (1, n_items), without those of the support."""
        items, values = top_k_unseen(scores, sparse.csr_array(self._given(supports)), k)
        found = items[0][items[0] >= 0]
        ids = self._fitted().items["item_id"].to_numpy()[found]
        return pd.DataFrame({"item_id": ids, "rank": np.arange(1, len(ids) + 1), "score": values[0][: len(ids)]})

    def _score(self, users: np.ndarray) -> np.ndarray:
        train = self._fitted()
        rows = dict(rows_of_users(train))
        mine = [rows.get(int(user), np.zeros(0, int)) for user in users]
        return self.scores([(train.item_index[r], train.ratings[r]) for r in mine], users)

    def _calibrated(self, valid: Dataset, k: int) -> tuple[float, float]:
        """Return what a rating counts, and what to add to all stars, after k ratings, by what others rated later."""
        tasks = [
            task
            for task in user_tasks(valid, k, 10, self.seed, self.order)
            if len(task.support_y) == k and len(task.query_y) == 10
        ]
        if len(tasks) < FEWEST:
            self.offsets_[k] = {1.0: 0.0}
            return 1.0, 0.0
        found = []
        for evidence in EVIDENCE if k else (1.0,):
            off = np.stack([task.query_y for task in tasks]) - answers(self.prior_, tasks, evidence)
            found.append((np.square(off - off.mean()).mean(), evidence, float(off.mean())))
        self.offsets_[k] = {evidence: offset for _, evidence, offset in found}
        return min(found)[1:]

    def _supports(self, histories: Sequence[History]) -> list[Support]:
        train, supports = self._fitted(), []
        for history in histories:
            items = train.items_to_index([entry[0] for entry in history])
            ratings = np.array([entry[1] for entry in history], dtype=float)
            if not np.isfinite(ratings).all():
                raise SettingError(f"a rating of the history is {ratings[~np.isfinite(ratings)][0]}; give a number")
            last = {int(item): place for place, item in enumerate(items)}  # the last of equal ones
            kept = sorted(last.values())
            supports.append((items[kept], ratings[kept]))
        return supports

    def _given(self, supports: Sequence[Support]) -> np.ndarray:
        given = np.zeros((len(supports), self._fitted().n_items), np.float32)
        for row, (items, _) in enumerate(supports):
            given[row, items] = 1
        return given


def answers(prior: LearnedPrior, tasks: Sequence[Task], evidence: float = 1.0) -> np.ndarray:
    """Return what the prior expects of the queries of tasks of one size, whose inputs are item indices, (tasks, q)."""
    return of_queries(prior.predict([(task.support_x, task.support_y) for task in tasks], evidence), tasks)


def of_queries(expected: np.ndarray, tasks: Sequence[Task]) -> np.ndarray:
    """Pick what is expected of the queries from what is expected of all items, (tasks, n_items) -> (tasks, q)."""
    return np.take_along_axis(expected, np.stack([task.query_x for task in tasks]), 1)

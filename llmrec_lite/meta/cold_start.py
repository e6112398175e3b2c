"""Chapter 14: a recommender for new users: ratings, rankings and preference elicitation from a few ratings."""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from typing import Literal, Self

import numpy as np
import pandas as pd
from scipy import sparse
from scipy.special import ndtr

from llmrec_lite.data import LIKED, Dataset
from llmrec_lite.errors import SettingError
from llmrec_lite.interface import History, top_k_unseen
from llmrec_lite.language.text_recommender import Encoder, default_encoder, encode_described
from llmrec_lite.meta.bayesian_mf import BayesianMF
from llmrec_lite.meta.features import item_features
from llmrec_lite.meta.learners import Support
from llmrec_lite.meta.tasks import SHOTS, HistoryOrder, Task, nearest_shots, rows_of_users, user_tasks
from llmrec_lite.meta.user_attention import AUTOENCODERS, MIN_USERS, ColdStartRanker, split_histories
from llmrec_lite.recommenders import DenoisingAutoencoder
from llmrec_lite.recommenders.base import BaseRecommender

LIKELIHOOD_WEIGHTS = (0.3, 0.5, 0.7, 1.0)


class ColdStartRecommender(BaseRecommender):
    """Recommender for users who are not in the data, from a handful of ratings and without training.

    Ratings are predicted by the posterior of `BayesianMF`; the next interaction is ranked by `ColdStartRanker`. Some
    users are set aside to choose settings by, for each number of ratings: the likelihood weight of a rating, and the
    offset by which users rate items of their own choice above what the prior expects of any item.

    Args:
        factors: of `BayesianMF`.
        encoder: of the items' texts; MiniLM (`TextEncoder`) where None. Items without texts do without.
        order: "time" where the first ratings of new users will be known, "random" where any will be.
        goal: what `score` and `score_new` order by: "interaction", how likely an item is to be interacted with, or
            "liked", to be interacted with and rated `LIKED` stars or more.
        held_out: share of the users that settings are chosen by.

    `score` takes a user of train for a new user with all their ratings. As the models have learned from these, it is
    for looking, not for measuring. Fitting holds a few (n_users, n_items) dense matrices of float32 and one of
    (n_items, n_items).
    """

    def __init__(
        self,
        factors: int = 8,
        encoder: Encoder | None = None,
        order: HistoryOrder = "time",
        goal: Literal["interaction", "liked"] = "interaction",
        held_out: float = 0.25,
        seed: int = 0,
        progress: bool = False,
    ) -> None:
        if order not in ("time", "random"):
            raise SettingError(f'order must be "time" or "random", not {order!r}')
        if goal not in ("interaction", "liked"):
            raise SettingError(f'goal must be "interaction" or "liked", not {goal!r}')
        if not 0 < held_out < 1:
            raise SettingError(f"held_out={held_out!r} must lie between 0 and 1")
        self.factors, self.encoder = factors, encoder
        self.order, self.goal = order, goal
        self.held_out, self.seed, self.progress = held_out, seed, progress

    def fit_with_validation(self, train: Dataset, valid: Dataset) -> Self:
        """Learn from the users of `train`, and choose the settings by the other users of `valid`."""
        self._learn(train, valid)
        self.train_ = train
        return self

    def _fit(self, train: Dataset) -> None:
        users = np.unique(train.user_index)
        n = round(self.held_out * len(users))
        if min(n, len(users) - n) < 2:
            raise SettingError(f"{len(users)} users are too few to set {self.held_out:.0%} of them aside")
        aside = np.isin(train.user_index, np.random.default_rng(self.seed).permutation(users)[:n])
        self._learn(*(train.with_interactions(train.interactions[rows]) for rows in (~aside, aside)))

    def _learn(self, learn: Dataset, valid: Dataset) -> None:
        vectors = self._text_vectors(learn)
        # Column 0, the item's mean rating, is left out: the model has a bias of its own for each item.
        features = item_features(learn, vectors, factors=0)[:, 1:]
        self.prior_ = BayesianMF(self.factors, seed=self.seed, progress=self.progress).fit(learn, features)
        self.offsets_: dict[int, dict[float, float]] = {}  # K -> likelihood weight -> offset in stars
        self.settings_ = {k: self._calibrated(valid, k) for k in SHOTS}  # K -> (likelihood weight, its offset)
        autoencoders = [DenoisingAutoencoder(*setting).fit(learn) for setting in AUTOENCODERS]
        self.rankers_: dict[int, ColdStartRanker] = {}
        for k in SHOTS[1:]:
            if all(len(split_histories(part, k, self.order)[0]) >= MIN_USERS for part in (learn, valid)):
                ranker = ColdStartRanker(k, self.order, seed=self.seed)
                self.rankers_[k] = ranker.fit(learn, valid, autoencoders, vectors)
        self.popularity_ = np.bincount(learn.item_index, minlength=learn.n_items) / len(np.unique(learn.user_index))

    def _text_vectors(self, data: Dataset) -> np.ndarray | None:
        """Vectors of the items' texts, zeros where an item has none; None where no item has one."""
        texts = data.items["text"].fillna("").tolist()
        if not any(text.strip() for text in texts):
            return None
        return encode_described(self.encoder or default_encoder(), texts)

    def score_new(self, histories: Sequence[History]) -> np.ndarray:
        """Scores of all items for new users, (len(histories), n_items) float32; see `goal`.

        A history may be empty; an item that comes twice counts with its last rating.

        Raises:
            UnknownIdError: an item that is not in the catalog.
        """
        return self.scores(self._supports(histories))

    def score_new_ratings(self, histories: Sequence[History], items: Sequence[Hashable]) -> np.ndarray:
        """Predicted ratings of new users for the items, by raw ids, (len(histories), len(items)) float32."""
        index = self._fitted().items_to_index(list(items))
        return self.predict_ratings(self._supports(histories))[0][:, index]

    def predict_ratings(self, supports: Sequence[Support]) -> tuple[np.ndarray, np.ndarray]:
        """Predictive mean and variance of each user's rating for every item, (users, n_items) float32 each."""
        mean, variance = np.empty((2, len(supports), self._fitted().n_items), np.float32)
        settings = [self.setting(len(y)) for _, y in supports]
        for weight, offset in set(settings):
            rows = [row for row, setting in enumerate(settings) if setting == (weight, offset)]
            mean[rows], variance[rows] = self.prior_.moments([supports[row] for row in rows], weight)
            mean[rows] += offset
        return np.clip(mean, self.prior_.low_, self.prior_.high_), variance

    def score_interaction(self, supports: Sequence[Support], users: np.ndarray | None = None) -> np.ndarray:
        """Scores of each user's next interaction with each item, (users, n_items) float32 above 0.

        `users` are (users,) user indices where they are users of train, who then do not attend to themselves.
        """
        scores = np.tile(self.popularity_, (len(supports), 1)).astype(np.float32)
        interactions = self._interactions(supports)
        sizes = np.array([len(y) for _, y in supports], dtype=int)
        if self.rankers_:
            nearest = nearest_shots(list(self.rankers_), sizes)
            for k in np.unique(nearest[sizes > 0]):
                rows = (nearest == k) & (sizes > 0)
                scores[rows] = self.rankers_[k].predict(interactions[rows], None if users is None else users[rows])
        return np.maximum(scores, 1e-6)

    def scores(self, supports: Sequence[Support], users: np.ndarray | None = None) -> np.ndarray:
        """Scores of supports by `goal`, (users, n_items) float32; see `score_interaction`."""
        scores = self.score_interaction(supports, users)
        if self.goal == "liked":
            mean, variance = self.predict_ratings(supports)
            # A rating is rounded to whole stars, so that one of LIKED begins half a star below it.
            scores = scores * ndtr((mean - LIKED + 0.5) / np.sqrt(variance))
        return scores.astype(np.float32)

    def setting(self, k: int) -> tuple[float, float]:
        """Likelihood weight and offset for k ratings: those of the nearest number in `SHOTS`."""
        return self.settings_[min(self.settings_, key=lambda shots: abs(np.log1p(shots) - np.log1p(k)))]

    def recommend_new(self, history: History, k: int = 10) -> pd.DataFrame:
        """Recommend the k best items to a new user.

        Returns:
            Columns item_id, rank (from 1), score and stars (predicted), best first, without the items of the history.
        """
        supports = self._supports([history])
        found = self._listed(self.scores(supports), supports, k)
        index = self._fitted().items_to_index(found["item_id"])
        return found.assign(stars=self.predict_ratings(supports)[0][0, index])

    def elicit(self, history: History = (), k: int = 5) -> pd.DataFrame:
        """Preference elicitation: the k items that a user should be asked to rate next.

        The score is the expected reduction of the variance of the ratings of popular items, times the share of users
        who have rated the item and so could answer.

        Returns:
            Columns item_id, rank (from 1) and score, best first, without the items of the history.
        """
        (support,) = supports = self._supports([history])
        weight, _ = self.setting(len(support[1]))
        reduction = self.prior_.expected_variance_reduction(support, self.popularity_ + 1e-9, weight)
        return self._listed((reduction * self.popularity_)[None], supports, k)

    def _listed(self, scores: np.ndarray, supports: Sequence[Support], k: int) -> pd.DataFrame:
        """Return the k best items for one user, (1, n_items), without those of the support."""
        items, values = top_k_unseen(scores, sparse.csr_array(self._interactions(supports)), k)
        found = items[0][items[0] >= 0]
        ids = self._fitted().items["item_id"].to_numpy()[found]
        return pd.DataFrame({"item_id": ids, "rank": np.arange(1, len(ids) + 1), "score": values[0][: len(ids)]})

    def _score(self, users: np.ndarray) -> np.ndarray:
        train = self._fitted()
        rows = dict(rows_of_users(train))
        mine = [rows.get(int(user), np.zeros(0, int)) for user in users]
        return self.scores([(train.item_index[r], train.ratings[r]) for r in mine], users)

    def _calibrated(self, valid: Dataset, k: int) -> tuple[float, float]:
        """Return likelihood weight and offset after k ratings, by the later ratings of the validation users."""
        tasks = [
            task
            for task in user_tasks(valid, k, 10, self.seed, self.order)
            if len(task.support_y) == k and len(task.query_y) == 10
        ]
        if len(tasks) < MIN_USERS:
            self.offsets_[k] = {1.0: 0.0}
            return 1.0, 0.0
        found = []
        for weight in LIKELIHOOD_WEIGHTS if k else (1.0,):
            off = np.stack([task.query_y for task in tasks]) - predict_queries(self.prior_, tasks, weight)
            found.append((np.square(off - off.mean()).mean(), weight, float(off.mean())))
        self.offsets_[k] = {weight: offset for _, weight, offset in found}
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

    def _interactions(self, supports: Sequence[Support]) -> np.ndarray:
        interactions = np.zeros((len(supports), self._fitted().n_items), np.float32)
        for row, (items, _) in enumerate(supports):
            interactions[row, items] = 1
        return interactions


def predict_queries(prior: BayesianMF, tasks: Sequence[Task], likelihood_weight: float = 1.0) -> np.ndarray:
    """Predicted ratings of the queries of tasks of one size, whose inputs are item indices, (tasks, q)."""
    supports = [(task.support_x, task.support_y) for task in tasks]
    return gather_queries(prior.predict(supports, likelihood_weight), tasks)


def gather_queries(predicted: np.ndarray, tasks: Sequence[Task]) -> np.ndarray:
    """Predictions for the queries out of those for all items, (tasks, n_items) -> (tasks, q)."""
    return np.take_along_axis(predicted, np.stack([task.query_x for task in tasks]), 1)

"""Chapter 19: score fusion for cold-start users, with weights of its own for each number of known interactions."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from typing import Any, Self

import numpy as np
from scipy import sparse
from sklearn.base import BaseEstimator

from llmrec_lite.data import Dataset
from llmrec_lite.errors import ModelFileError
from llmrec_lite.llma.fusion import fuse
from llmrec_lite.llma.scales import normalize_scores
from llmrec_lite.llma.weights import ScoredSplit, learn_weights
from llmrec_lite.meta.tasks import SHOTS, HistoryOrder, nearest_shots, rows_of_users
from llmrec_lite.meta.user_attention import (
    AUTOENCODERS,
    MAX_DENSE_CELLS,
    MIN_USERS,
    ColdStartRanker,
    as_many_as_fit,
    fit_autoencoders,
    split_histories,
)
from llmrec_lite.recommenders.base import FoldInRecommender
from llmrec_lite.recommenders.linear import DenoisingAutoencoder

COLD_USER_MAX = 10  # a user of the data with fewer items is scored as a cold-start user
N_EVAL_ITEMS = 30  # interactions of the users that weights are learned from, so that they are the same for each K
N_FOLDS = 2  # quarters of the users that are held out in turn
ATTENTION_STATE = {"attention": 6, "autoencoder": 2, "weights": 3}  # numbers of each that a `ColdStartRanker` learns
LARGEST = 1e9  # number that a state may hold
Parts = Mapping[str, FoldInRecommender]


class ColdStartFusion(BaseEstimator):
    """Cold-start score fusion with weights for each K, the number of known interactions.

    A quarter of the users is held out, then another. The parts learn from the others; from what the held-out users
    chose after their first K interactions, or any K, the weights with the highest nDCG are learned (`learn_weights`),
    together with the numbers of interactions next to K. Besides the given parts there are two for cold start alone:
    the popularity of each item among later interactions, and attention over users (`ColdStartRanker`), which in the end
    attends to all users.

    Args:
        order: "time" where the first interactions of cold-start users will be known, "random" where any will be.
        max_users: most users that weights are learned from.
    """

    def __init__(self, order: HistoryOrder = "time", max_users: int = 1000, seed: int = 0) -> None:
        self.order, self.max_users, self.seed = order, max_users, seed

    def fit(self, data: Dataset, fit_parts: Callable[[Dataset], Parts], vectors: np.ndarray | None = None) -> Self:
        """Learn the weights from interactions of all users and vectors of the texts, (n_items, v).

        `fit_parts` fits the parts on the interactions of some users.
        """
        self.splits_: dict[int, list[ScoredSplit]] = {}  # what weights are learned from; `get_state` leaves it out
        attention: dict[int, list[dict[str, Any]]] = {}
        for fold in range(N_FOLDS):
            learn, held_out = self.hold_out(data, fold)
            parts, attending = fit_parts(learn), self.user_attention(learn, held_out, fold, vectors)
            for k in SHOTS[1:]:
                users = self._support_and_query(held_out, k, fold)
                if users is None:
                    continue
                support, query = (sparse.csr_array(part) for part in users)
                popular = _later_interactions(learn, k, self.order)
                rankers = [attending[k]] if k in attending else []
                scored = ScoredSplit.of(_scores(support, parts, popular, rankers), support, query, popular)
                self.splits_.setdefault(k, []).append(scored)
                attention.setdefault(k, []).extend(ranker.state() for ranker in rankers)
        self.weights_ = {k: learn_weights(self.splits_near(k)) for k in sorted(self.splits_)}
        return self.attend(data, {k: states for k, states in attention.items() if k in self.weights_}, vectors)

    def splits_near(self, k: int) -> list[ScoredSplit]:
        """Scored splits of K interactions and of the numbers next to it, as there are few for each alone.

        Only parts that all of them have take part.
        """
        known = sorted(self.splits_)
        place = known.index(k)
        near = [split for other in known[max(0, place - 1) : place + 2] for split in self.splits_[other]]
        shared = [name for name in self.splits_[k][0].parts if all(name in split.parts for split in near)]
        return [replace(split, parts={name: split.parts[name] for name in shared}) for split in near]

    def score_matrix(self, interactions: sparse.csr_array, parts: Parts, users: np.ndarray | None = None) -> np.ndarray:
        """Scores of all items for users with few interactions, (n, n_items) float32; popularity where nothing is known.

        Interactions are (n, n_items) of 0 and 1, and the parts are fitted on all users. `users` are (n,) user indices
        where they are users of the data, so that none attends to itself.
        """
        sizes = np.diff(interactions.indptr)
        scores = np.tile(self.later(0), (interactions.shape[0], 1)).astype(np.float32)
        if not self.weights_:
            return scores
        nearest = nearest_shots(list(self.weights_), sizes)
        for k in np.unique(nearest[sizes > 0]):
            rows = np.flatnonzero((nearest == k) & (sizes > 0))
            support, own = interactions[rows], None if users is None else users[rows]
            every = _scores(support, parts, self.later(k), self.rankers(k), own)
            weighted = {name: every[name] for name in self.weights_[k]}
            scores[rows] = fuse(weighted, self.weights_[k], "zscore", support.toarray() == 0)
        return scores

    def get_state(self) -> dict[str, Any]:
        """What was learned, as JSON values, without what can be computed again at once."""
        attention = {str(k): states for k, states in self.states_.items()}
        return {"weights": {str(k): weights for k, weights in self.weights_.items()}, "attention": attention}

    def set_state(self, data: Dataset, state: Mapping[str, Any], vectors: np.ndarray | None) -> Self:
        """Become the fusion that `get_state` was asked of, fitted on the same data.

        Attention is made when it is first asked for, so what it is made of is checked here.

        Raises:
            ValueError: a state that is not one of `get_state`, or does not fit the data.
        """
        self.weights_ = {int(k): dict(weights) for k, weights in state["weights"].items()}
        attention = {int(k): list(states) for k, states in state["attention"].items()}
        for k, weights in self.weights_.items():
            if k not in SHOTS[1:] or not weights or not _all_between(0, weights.values(), 1.001):
                raise ValueError(f"{weights} are no weights for {k} interactions")
            if "user attention" in weights and not attention.get(k):
                raise ValueError(f"there is no attention for {k} interactions")
        for k, states in attention.items():
            if k not in self.weights_ or len(states) > N_FOLDS or not all(map(_is_attention, states)):
                raise ValueError(f"what is held of attention for {k} interactions is none")
        self.attend(data, attention, vectors)
        lengths = np.bincount(self._attends_to[0].user_index)
        if too_long := [k for k, states in attention.items() if states and (lengths > k).sum() < 2]:
            raise ValueError(f"no two users can be attended to after {too_long[0]} interactions")
        self.is_restored_ = True
        return self

    def attend(self, data: Dataset, attention: Mapping[int, list[dict[str, Any]]], vectors: np.ndarray | None) -> Self:
        """Let what was learned from some users attend to all, from the first time that it is asked."""
        self.is_restored_ = False
        self.data_, self.later_ = data, dict[int, np.ndarray]()
        self.states_ = {k: list(states) for k, states in attention.items()}
        self.attention_: dict[int, list[ColdStartRanker]] = {}
        self.n_users_ = len(np.unique(data.user_index))
        self._attends_to: tuple[Dataset, np.ndarray | None] = (as_many_as_fit(data, self.seed), vectors)
        self._autoencoders: dict[tuple[float, float], DenoisingAutoencoder] = {}
        return self

    def later(self, k: int) -> np.ndarray:
        """How many users choose each item after k interactions, (n_items,)."""
        if k not in self.later_:
            self.later_[k] = _later_interactions(self.data_, k, self.order)
        return self.later_[k]

    def rankers(self, k: int) -> list[ColdStartRanker]:
        """Attention for K interactions, made when it is first asked for; known users never ask.

        Raises:
            ModelFileError: what was read from a file makes no attention.
        """
        if k not in self.attention_:
            with self._blaming_the_file():
                self.attention_[k] = [self._ranker(k, *numbered) for numbered in enumerate(self.states_.get(k, []))]
        return self.attention_[k]

    def _ranker(self, k: int, fold: int, state: dict[str, Any]) -> ColdStartRanker:
        data, vectors = self._attends_to
        dropout, l2 = state["autoencoder"]
        if (dropout, l2) not in self._autoencoders:
            self._autoencoders[dropout, l2] = fit_autoencoders(data, [(dropout, l2)])[0]
        ranker = ColdStartRanker(k, self.order, seed=self.seed + fold)
        ranker.restore(state, data, self._autoencoders[dropout, l2], vectors)
        probe = np.zeros((1, data.n_items), np.float32)
        probe[0, :k] = 1
        if self.is_restored_ and not np.isfinite(ranker.predict(probe)).all():
            raise ValueError("its scores are no finite numbers")
        return ranker

    @contextmanager
    def _blaming_the_file(self) -> Iterator[None]:
        try:
            yield
        except Exception as error:
            if not self.is_restored_ or isinstance(error, MemoryError):
                raise
            raise ModelFileError(
                f"the model's attention over users does not fit its data ({type(error).__name__}: {error!s:.200}); "
                "fit it again"
            ) from error

    def user_attention(
        self, learn: Dataset, held_out: Dataset, fold: int, vectors: np.ndarray | None
    ) -> dict[int, ColdStartRanker]:
        """Learn attention over users for each K that enough users have."""
        learn = as_many_as_fit(learn, self.seed)
        parts = (learn, held_out)
        enough = [
            k for k in SHOTS[1:] if min(len(split_histories(part, k, self.order)[0]) for part in parts) >= MIN_USERS
        ]
        autoencoders = fit_autoencoders(learn, AUTOENCODERS) if enough else []
        return {
            k: ColdStartRanker(k, self.order, seed=self.seed + fold).fit(learn, held_out, autoencoders, vectors)
            for k in enough
        }

    def limits(self) -> list[str]:
        """What the data did not allow, a sentence each."""
        found, data = [], self._attends_to[0]
        if not self.weights_:
            found.append(f"cold-start users get popularity, as fewer than {MIN_USERS} users can be held out")
        elif not self.states_:
            found.append(f"no attention over users, as fewer than {MIN_USERS} can be held out")
        elif (n_users := len(np.unique(data.user_index))) < self.n_users_:
            found.append(f"attention over {n_users:,} of {self.n_users_:,} users, as no more fit")
        return found

    def _support_and_query(self, held_out: Dataset, k: int, fold: int) -> tuple[np.ndarray, np.ndarray] | None:
        """Return K interactions of each user and the later ones, (n, n_items) each; short histories only if needed."""
        for least in (max(N_EVAL_ITEMS - k, 1), 1):
            _, support, query = split_histories(held_out, k, self.order, least, seed=self.seed + fold)
            if len(support) >= MIN_USERS:
                return support, query
        return None

    def hold_out(self, data: Dataset, fold: int) -> tuple[Dataset, Dataset]:
        """Return the interactions of users to learn from, and of the held-out users."""
        users = np.random.default_rng(self.seed + fold).permutation(np.unique(data.user_index))
        most = min(self.max_users, max(4 * MIN_USERS, MAX_DENSE_CELLS // data.n_items))
        cut = len(users) // 4
        held_out, others = users[:cut][:most], users[cut:]
        rows = data.interactions
        return (
            data.with_interactions(rows[np.isin(data.user_index, others)]),
            data.with_interactions(rows[np.isin(data.user_index, held_out)]),
        )


def _scores(
    support: sparse.csr_array,
    parts: Parts,
    popular: np.ndarray,
    attention: Sequence[ColdStartRanker],
    users: np.ndarray | None = None,
) -> dict[str, np.ndarray]:
    """Return the scores of all parts, (n, n_items) each."""
    scores = {name: np.asarray(part.score_matrix(support), np.float32) for name, part in parts.items()}
    scores["popularity"] = np.tile(popular, (support.shape[0], 1)).astype(np.float32)
    if attention:
        dense = support.toarray().astype(np.float32)
        scaled = [normalize_scores(ranker.predict(dense, users), "zscore", dense == 0) for ranker in attention]
        scores["user attention"] = np.sum(scaled, axis=0).astype(np.float32)
    return scores


def _later_interactions(data: Dataset, k: int, order: HistoryOrder) -> np.ndarray:
    """Return how many users choose each item after k interactions, (n_items,); expected, where these are any k."""
    later = np.ones(len(data))
    for _, rows in rows_of_users(data):
        if order == "time":
            later[rows[:k]] = 0
        else:
            later[rows] = max(1 - k / len(rows), 0)
    return np.bincount(data.item_index, later, minlength=data.n_items)


def _is_attention(state: Mapping[str, Any]) -> bool:
    """Whether these are the numbers that a `ColdStartRanker` learns, whatever they are."""
    if not isinstance(state, dict) or state.keys() != {*ATTENTION_STATE, "ridge"}:
        return False
    known = all(
        len(state[name]) == n and _all_between(-LARGEST, state[name], LARGEST) for name, n in ATTENTION_STATE.items()
    )
    dropout, l2 = state["autoencoder"]
    return known and 0 <= dropout < 1 and _all_between(1 / LARGEST, (l2, state["ridge"]), LARGEST)


def _all_between(low: float, values: Iterable[Any], high: float) -> bool:
    """Whether all are numbers of this range."""
    return all(type(value) in (int, float) and low <= value <= high for value in values)

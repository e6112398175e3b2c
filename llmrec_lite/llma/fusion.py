"""Chapter 18: the scores of several recommenders put together."""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from itertools import islice
from typing import Literal, get_args

import numpy as np
from scipy import sparse
from scipy.stats import rankdata

from llmrec_lite import splits
from llmrec_lite.data import Dataset
from llmrec_lite.errors import SettingError
from llmrec_lite.llma.scales import Normalise, normalise_scores
from llmrec_lite.llma.weights import Gate, HeldOut, Weight, learn_front, learn_gate, learn_weights, mean_gate
from llmrec_lite.recommenders.base import BaseRecommender, History, Recommender, histories_to_matrix

__all__ = ["FusedRecommender", "fuse", "normalise_scores", "reciprocal_rank_fusion"]

FEWEST = 20  # users, items and interactions that weights may be learned from
CELLS = 5_000_000  # scores held at a time, of each part


def fuse(
    scores: Mapping[str, np.ndarray],
    weights: Mapping[str, Weight] | None = None,
    normalise: Normalise = "zscore",
    among: np.ndarray | None = None,
) -> np.ndarray:
    """Add up weighted scores on a common scale, equation (18.1); for two parts, a * first + (1 - a) * second.

    Every item that any part has scored takes part: to be missing from a part's list counts as its last place there.

    Args:
        scores: of each part by name, all (n_items,) or all (n, n_items); see `normalise_scores`.
        weights: of each part by name, a number, or an array that fits the scores: (n, 1) where users differ, (n_items,)
            where items do. All equal where None.
        normalise: see `normalise_scores`.
        among: see `normalise_scores`.

    Returns:
        The shape of the scores, float32.

    Raises:
        ValueError: names or shapes do not agree, a weight is below 0 or not finite, a score is +inf, or there is no
            part.
    """
    named = _checked(scores, weights)
    total = np.zeros(np.shape(next(iter(scores.values()))), np.float32)
    for name, weight in named.items():
        if np.any(weight):
            total += (weight * normalise_scores(scores[name], normalise, among)).astype(np.float32)
    return total


def reciprocal_rank_fusion(
    scores: Mapping[str, np.ndarray],
    weights: Mapping[str, Weight] | None = None,
    k: float = 60.0,
    among: np.ndarray | None = None,
) -> np.ndarray:
    """Add up weighted 1 / (k + rank), the best item of a part having rank 1; what a part has not scored adds nothing.

    Cormack, Clarke and Buettcher, "Reciprocal Rank Fusion", SIGIR 2009. Ties share the mean of their ranks.

    Args:
        scores: see `fuse`.
        weights: see `fuse`.
        k: the larger, the less the first places stand out.
        among: see `normalise_scores`; what is not among them takes no place in the lists.

    Returns:
        The shape of the scores, float32.

    Raises:
        ValueError: as `fuse`, or k is below 0.
    """
    if not k >= 0:
        raise SettingError(f"k must be at least 0, not {k!r}")
    total = np.zeros(np.shape(next(iter(scores.values()), 0)), np.float32)
    for name, weight in _checked(scores, weights).items():
        values = np.asarray(scores[name], dtype=float)
        if np.isposinf(values).any():
            raise SettingError(f"a score of {name} is +inf, and nothing can be compared with it; give a finite one")
        scored = np.isfinite(values) if among is None else np.isfinite(values) & among
        rank = rankdata(np.where(scored, -values, np.inf), axis=-1)
        total += np.where(scored, weight / (k + rank), 0).astype(np.float32)
    return total


def _checked(scores: Mapping[str, np.ndarray], weights: Mapping[str, Weight] | None) -> dict[str, Weight]:
    """Return the weight of each part."""
    if not scores:
        raise SettingError("there is nothing to fuse; give the scores of at least one part")
    named: dict[str, Weight] = dict.fromkeys(scores, 1 / len(scores)) if weights is None else dict(weights)
    if set(named) != set(scores):
        raise SettingError(f"there are scores of {sorted(scores)}, but weights of {sorted(named)}; name the same parts")
    shapes = {name: np.shape(values) for name, values in scores.items()}
    if len(set(shapes.values())) > 1:
        raise SettingError(f"the parts score different items or users: {shapes}")
    for name, weight in named.items():
        if not (np.isfinite(weight) & (np.asarray(weight) >= 0)).all():
            raise SettingError(f"the weight of {name} is {weight!r}; give a finite one that is not below 0")
    return named


class FusedRecommender(BaseRecommender):
    """Several recommenders, fitted side by side, whose scores are put together (equations 18.1 and 18.4).

    Where no weights are given they are learned inside train: a quarter of the interactions is held out, copies of the
    parts learn from the rest, and the weights are those whose lists find most of what was held out (`learn_weights`).
    With a gate the weights move with how much is known: for its part of the learning, some users and items keep only a
    few interactions (`learn_gate`). Then all parts learn from everything.

    Args:
        models: the parts, not fitted yet, by name or in a row (then named by their classes). They are copied.
        weights: of each part by name; learned where None.
        normalise: "zscore", "rank" or "minmax", see `normalise_scores`.
        gate: whether the learned weights depend on how many items a user has met and how many users have met an item;
            "users" or "items" for one of the two.
        unmet_by: name of a part that alone orders the items that nobody has met (`learn_front`); it goes with learned
            weights, and with a gate for users or none.
        draws: how many of four quarters of the interactions are held out in turn; the learned weights are averaged.
        people: at most so many users of each draw are learned from.
        seed: of what is held out.

    Items that a user has met take no part in the scales, and no item that is left scores lower.

    Fitting takes 1 + draws times as long as the parts alone, 1 + 3 * draws with a gate, and holds a score of each part
    for each user of a batch and each item.

    Raises:
        ValueError: there is no part, two have one name, or the weights are of other parts; by `fit`, there are too few
            interactions to learn weights from.
    """

    def __init__(
        self,
        models: Mapping[str, Recommender] | Sequence[Recommender],
        weights: Mapping[str, float] | None = None,
        normalise: Normalise = "zscore",
        gate: bool | Literal["users", "items"] = False,
        unmet_by: str | None = None,
        draws: int = 2,
        people: int = 1000,
        seed: int = 0,
    ) -> None:
        named = list(models.items()) if isinstance(models, Mapping) else [(type(m).__name__, m) for m in models]
        self.models = dict(named)
        if not named or len(self.models) < len(named):
            raise SettingError(f"parts need different names, and there must be one; got {[name for name, _ in named]}")
        if weights is not None:
            fuse(dict.fromkeys(self.models, np.zeros(1)), weights, normalise)  # rejects what does not fit
        if not 1 <= draws <= 4 or people < 1:
            raise SettingError(f"need 1 to 4 draws and at least one of the people, got {draws!r} and {people!r}")
        if gate and weights is not None:
            raise SettingError("a gate is learned together with the weights; leave the weights out")
        if unmet_by is not None and unmet_by not in self.models:
            raise SettingError(f"unmet_by must name one of the parts {', '.join(self.models)}, not {unmet_by!r}")
        if unmet_by is not None and (weights is not None or gate in (True, "items")):
            raise SettingError("unmet_by needs learned weights and no gate for items; leave one of the two out")
        if normalise not in get_args(Normalise):
            raise SettingError(f"normalise must be one of {', '.join(get_args(Normalise))}, not {normalise!r}")
        if gate not in (False, True, "users", "items"):
            raise SettingError(f'gate must be True, False, "users" or "items", not {gate!r}')
        self.weights, self.normalise, self.gate = weights, normalise, gate
        self.unmet_by, self.draws, self.people, self.seed = unmet_by, draws, people, seed

    def _fit(self, train: Dataset) -> None:
        if self.weights is None and len(self.models) == 1:
            self.gate_ = Gate(dict.fromkeys(self.models, 1.0))  # nothing to weigh
        elif self.weights is None:
            if min(len(train), train.n_users, train.n_items) < FEWEST:
                raise SettingError(
                    f"{len(train)} interactions of {train.n_users} users and {train.n_items} items are too few to "
                    f"learn weights from; bring {FEWEST} of each, or name the weights"
                )
            self.gate_ = mean_gate([self._learned(train, draw) for draw in range(self.draws)])
        else:
            self.gate_ = Gate(dict(self.weights))
        self.parts_ = self._fitted_parts(train)
        self.matrix_ = train.matrix()
        self.met_by_ = np.bincount(self.matrix_.indices, minlength=train.n_items)

    def _fitted_parts(self, train: Dataset) -> dict[str, Recommender]:
        return {name: copy.copy(model).fit(train) for name, model in self.models.items()}

    def _learned(self, train: Dataset, draw: int) -> Gate:
        """Learn weights, and a gate, from one draw."""
        inner, valid = next(islice(splits.kfold(train, 4, seed=self.seed), draw, None))
        usual = self._said(inner, valid, np.ones(train.n_users, bool), draw)
        known = learn_weights(usual)
        front = Gate(known) if self.unmet_by is None else learn_front(known, usual, self.unmet_by)
        if not self.gate:
            return front
        rng = np.random.default_rng([self.seed, draw])
        per_user, all_users = _caps(train.n_users, (0, 1, 2, 3, 5, 8, 13, 20), rng), np.full(train.n_users, np.inf)
        per_item, all_items = _caps(train.n_items, (0, 1, 3, 10), rng), np.full(train.n_items, np.inf)
        of_users: list[HeldOut] = []
        of_items: list[HeldOut] = []
        if self.gate != "items":
            thinned = splits.thin(train, per_user, all_items, seed=self.seed + draw)
            of_users = self._said(*thinned, np.isfinite(per_user), draw)
        if self.gate != "users":
            thinned = splits.thin(train, all_users, per_item, seed=self.seed + draw)
            of_items = self._said(*thinned, np.isinf(all_users), draw, np.isfinite(per_item))
        gate = learn_gate(known, usual, of_users, of_items)
        return gate if self.unmet_by is None else replace(gate, new_item=front.new_item, item_pace=front.item_pace)

    def _said(
        self, inner: Dataset, held_out: Dataset, who: np.ndarray, draw: int, among: np.ndarray | None = None
    ) -> list[HeldOut]:
        """Ask parts that have learned from `inner` about what is held out of the users `who`, (n_users,) bool."""
        parts, seen, chosen = self._fitted_parts(inner), inner.matrix(), held_out.matrix()
        met_by = np.bincount(seen.indices, minlength=inner.n_items)
        users = np.flatnonzero(who & (np.diff(chosen.indptr) > 0))
        users = np.random.default_rng([self.seed, draw]).permutation(users)[: self.people]
        held = []
        for some in _batches(users, inner.n_items):
            scores = {name: part.score(some) for name, part in parts.items()}
            held.append(HeldOut.of(scores, seen[some], chosen[some], met_by, self.normalise, among))
        return held

    def _score(self, users: np.ndarray) -> np.ndarray:
        return self._fuse(self.matrix_[users], lambda part, rows: part.score(users[rows]))

    def score_new(self, histories: Sequence[History]) -> np.ndarray:
        """Score all items for users who were not in train, (len(histories), n_items) float32.

        Raises:
            TypeError: a part cannot meet new users.
            UnknownIdError: an item that is not in the catalog.
        """
        met = histories_to_matrix(histories, self._fitted())
        for name, part in self.parts_.items():
            if not hasattr(part, "score_new"):
                raise TypeError(f"{name} ({type(part).__name__}) cannot meet new users; fuse parts that can")
        return self._fuse(met, lambda part, rows: part.score_new([histories[row] for row in rows]))

    def _fuse(self, met: sparse.csr_array, score: Callable[..., np.ndarray]) -> np.ndarray:
        fused = np.empty(met.shape, np.float32)
        for rows in _batches(np.arange(met.shape[0]), met.shape[1]):
            scores = {name: score(part, rows) for name, part in self.parts_.items()}
            weights = self.gate_.weights(np.diff(met.indptr)[rows][:, None], self.met_by_)
            some = met[rows].tocoo()
            fused[rows] = fuse(scores, weights, self.normalise, met[rows].toarray() == 0)
            # An item that was met has its own weights under a gate, and could pass an item that is left.
            fused[rows[some.row], some.col] = fused[rows].min(1)[some.row]
        return fused


def _caps(n: int, caps: Sequence[int], rng: np.random.Generator) -> np.ndarray:
    """Let a quarter keep a few interactions, each of the numbers equally often, and the rest all, (n,)."""
    most = np.full(n, np.inf)
    few = rng.permutation(n)[: n // 4]
    most[few] = rng.choice(caps, len(few))
    return most


def _batches(rows: np.ndarray, n_items: int) -> list[np.ndarray]:
    return np.array_split(rows, max(1, -(-len(rows) * n_items // CELLS)))

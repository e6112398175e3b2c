"""Chapter 18: the scores of several recommenders put together."""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from itertools import islice
from typing import Literal, Self, get_args

import numpy as np
from scipy import sparse

from llmrec_lite import splits
from llmrec_lite.data import Dataset
from llmrec_lite.errors import SettingError
from llmrec_lite.interface import History, Recommender
from llmrec_lite.llma.scales import Normalize, normalize_scores
from llmrec_lite.llma.weights import (
    Gate,
    ScoredSplit,
    Weight,
    learn_cold_item_weight,
    learn_gate,
    learn_weights,
    mean_gate,
)
from llmrec_lite.recommenders.base import BaseRecommender, histories_to_matrix

__all__ = ["FusedRecommender", "fuse", "normalize_scores", "reciprocal_rank_fusion"]

MIN_DATA = 20  # users, items and interactions that weights may be learned from
MAX_CELLS = 5_000_000  # scores held at a time, of each part


def fuse(
    scores: Mapping[str, np.ndarray],
    weights: Mapping[str, Weight] | None = None,
    normalize: Normalize = "zscore",
    among: np.ndarray | None = None,
) -> np.ndarray:
    """Weighted sum of scores on a common scale, equation (18.1); for two parts, a * first + (1 - a) * second.

    Every item that any part has scored takes part: to be missing from a part's list counts as its last place there.

    Args:
        scores: of each part by name, all (n_items,) or all (n, n_items); nan and -inf mean "not scored".
        weights: of each part by name, a number, or an array that fits the scores: (n, 1) where users differ, (n_items,)
            where items do. All equal where None.
        normalize: "zscore", "rank" or "minmax" (`normalize_scores`).
        among: fits the scores; items that are False count as not scored.

    Returns:
        The shape of the scores, float32.
    """
    named = _checked(scores, weights)
    total = np.zeros(np.shape(next(iter(scores.values()))), np.float32)
    for name, weight in named.items():
        if np.any(weight):
            total += (weight * normalize_scores(scores[name], normalize, among)).astype(np.float32)
    return total


def reciprocal_rank_fusion(
    scores: Mapping[str, np.ndarray],
    weights: Mapping[str, Weight] | None = None,
    k: float = 60.0,
    among: np.ndarray | None = None,
) -> np.ndarray:
    """Weighted sum of 1 / (k + rank), the best item of a part having rank 1; what a part has not scored adds nothing.

    Cormack, Clarke and Buettcher, "Reciprocal Rank Fusion", SIGIR 2009. Ties share the mean of their ranks; the larger
    k, the less the first places stand out. Scores, weights and result are as in `fuse`; what is not `among` the items
    takes no place in the lists.
    """
    if not k >= 0:
        raise SettingError(f"k must be at least 0, not {k!r}")
    from scipy.stats import rankdata  # a second, which most programs never need

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
    """Weighted score fusion of several recommenders (equations 18.1 and 18.4).

    Where no weights are given they are learned inside train: a quarter of the interactions is held out, copies of the
    parts learn from the rest, and the weights are those whose lists have the highest nDCG on what was held out
    (`learn_weights`). With a gate the weights depend on the numbers of interactions: for its part of the learning, some
    users and items keep only a few interactions (`learn_gate`). Then all parts learn from everything.

    Args:
        models: the parts, not fitted yet, by name or in a row (then named by their classes). They are copied.
        weights: of each part by name; learned where None.
        normalize: "zscore", "rank" or "minmax" (`normalize_scores`).
        gate: whether the learned weights depend on how many interactions users and items have; "users" or "items" for
            one of the two.
        cold_item_model: name of a part that alone orders the items without interactions (`learn_cold_item_weight`); it
            goes with learned weights, and with a gate for users or none.
        draws: how many of four quarters of the interactions are held out in turn; the learned weights are averaged.
        max_users: most users of each draw that weights are learned from.

    Items that a user has seen take no part in the scales, and no unseen item scores lower.

    Fitting takes 1 + draws times as long as the parts alone, 1 + 3 * draws with a gate, and holds a score of each part
    for each user of a batch and each item.
    """

    def __init__(
        self,
        models: Mapping[str, Recommender] | Sequence[Recommender],
        weights: Mapping[str, float] | None = None,
        normalize: Normalize = "zscore",
        gate: bool | Literal["users", "items"] = False,
        cold_item_model: str | None = None,
        draws: int = 2,
        max_users: int = 1000,
        seed: int = 0,
    ) -> None:
        self.models, self.weights, self.normalize, self.gate = models, weights, normalize, gate
        self.cold_item_model, self.draws, self.max_users, self.seed = cold_item_model, draws, max_users, seed
        named = self._named()
        if weights is not None:
            fuse(dict.fromkeys(named, np.zeros(1)), weights, normalize)  # rejects what does not fit
        if not 1 <= draws <= 4 or max_users < 1:
            raise SettingError(f"need 1 to 4 draws and at least one of max_users, got {draws!r} and {max_users!r}")
        if gate and weights is not None:
            raise SettingError("a gate is learned together with the weights; leave the weights out")
        if cold_item_model is not None and cold_item_model not in named:
            raise SettingError(f"cold_item_model must be one of the parts {', '.join(named)}, not {cold_item_model!r}")
        if cold_item_model is not None and (weights is not None or gate in (True, "items")):
            raise SettingError("cold_item_model needs learned weights and no gate for items; leave one of the two out")
        if normalize not in get_args(Normalize):
            raise SettingError(f"normalize must be one of {', '.join(get_args(Normalize))}, not {normalize!r}")
        if gate not in (False, True, "users", "items"):
            raise SettingError(f'gate must be True, False, "users" or "items", not {gate!r}')

    def _named(self) -> dict[str, Recommender]:
        models = self.models
        pairs = list(models.items()) if isinstance(models, Mapping) else [(type(m).__name__, m) for m in models]
        if not pairs or len(dict(pairs)) < len(pairs):
            raise SettingError(f"parts need different names, and there must be one; got {[name for name, _ in pairs]}")
        return dict(pairs)

    def _fit(self, train: Dataset) -> None:
        named = self._named()
        if self.weights is not None:
            gate = Gate(dict(self.weights))
        elif len(named) == 1:
            gate = Gate(dict.fromkeys(named, 1.0))  # nothing to weigh
        elif min(len(train), train.n_users, train.n_items) < MIN_DATA:
            raise SettingError(
                f"{len(train)} interactions of {train.n_users} users and {train.n_items} items are too few to "
                f"learn weights from; bring {MIN_DATA} of each"
            )
        else:
            gate = mean_gate([self._learn_gate(train, draw) for draw in range(self.draws)])
        self.set_fitted(train, self._fit_parts(train), gate)

    def set_fitted(self, train: Dataset, parts: Mapping[str, Recommender], gate: Gate) -> Self:
        """Become a fitted model from parts that are fitted on `train` already, and the gate of their weights."""
        self.parts_, self.gate_, self.train_ = dict(parts), gate, train
        self.matrix_ = train.matrix()
        self.n_interactions_ = np.bincount(self.matrix_.indices, minlength=train.n_items)
        return self

    def _fit_parts(self, train: Dataset) -> dict[str, Recommender]:
        # A shallow copy, since `clone` would copy encoders of hundreds of megabytes.
        return {name: copy.copy(model).fit(train) for name, model in self._named().items()}

    def _learn_gate(self, train: Dataset, draw: int) -> Gate:
        """Learn weights, and a gate, from one draw."""
        inner, valid = next(islice(splits.kfold(train, 4, seed=self.seed), draw, None))
        warm = self._scored(inner, valid, np.ones(train.n_users, bool), draw)
        known = learn_weights(warm)
        cold = Gate(known)
        if self.cold_item_model is not None:
            cold = learn_cold_item_weight(known, warm, self.cold_item_model)
        if not self.gate:
            return cold
        rng = np.random.default_rng([self.seed, draw])
        per_user, all_users = _caps(train.n_users, (0, 1, 2, 3, 5, 8, 13, 20), rng), np.full(train.n_users, np.inf)
        per_item, all_items = _caps(train.n_items, (0, 1, 3, 10), rng), np.full(train.n_items, np.inf)
        of_users: list[ScoredSplit] = []
        of_items: list[ScoredSplit] = []
        if self.gate != "items":
            parts = splits.subsample(train, per_user, all_items, seed=self.seed + draw)
            of_users = self._scored(*parts, np.isfinite(per_user), draw)
        if self.gate != "users":
            parts = splits.subsample(train, all_users, per_item, seed=self.seed + draw)
            of_items = self._scored(*parts, np.isinf(all_users), draw, np.isfinite(per_item))
        gate = learn_gate(known, warm, of_users, of_items)
        return replace(gate, new_item=cold.new_item, item_half_point=cold.item_half_point) if cold.new_item else gate

    def _scored(
        self, inner: Dataset, held_out: Dataset, chosen: np.ndarray, draw: int, among: np.ndarray | None = None
    ) -> list[ScoredSplit]:
        """Score what is held out of the chosen users, (n_users,) bool, by parts that have learned from `inner`."""
        parts, seen, relevant = self._fit_parts(inner), inner.matrix(), held_out.matrix()
        n_interactions = np.bincount(seen.indices, minlength=inner.n_items)
        users = np.flatnonzero(chosen & (np.diff(relevant.indptr) > 0))
        users = np.random.default_rng([self.seed, draw]).permutation(users)[: self.max_users]
        ids = inner.users["user_id"].to_numpy()
        scored = []
        for batch in _batches(users, inner.n_items):
            scores = {name: part.score(ids[batch]) for name, part in parts.items()}
            scored.append(ScoredSplit.of(scores, seen[batch], relevant[batch], n_interactions, self.normalize, among))
        return scored

    def _score(self, users: np.ndarray) -> np.ndarray:
        ids = self._fitted().users["user_id"].to_numpy()[users]
        return self._fuse(self.matrix_[users], lambda part, rows: part.score(ids[rows]))

    def score_new(self, histories: Sequence[History]) -> np.ndarray:
        """Scores of all items for users who were not in train, (len(histories), n_items) float32.

        Raises:
            TypeError: a part cannot score new users.
            UnknownIdError: an item that is not in the catalog.
        """
        seen = histories_to_matrix(histories, self._fitted())
        for name, part in self.parts_.items():
            if not hasattr(part, "score_new"):
                raise TypeError(f"{name} ({type(part).__name__}) cannot score new users; fuse parts that can")
        return self._fuse(seen, lambda part, rows: part.score_new([histories[row] for row in rows]))

    def _fuse(self, seen: sparse.csr_array, score: Callable[..., np.ndarray]) -> np.ndarray:
        fused = np.empty(seen.shape, np.float32)
        for rows in _batches(np.arange(seen.shape[0]), seen.shape[1]):
            scores = {name: score(part, rows) for name, part in self.parts_.items()}
            weights = self.gate_.weights(np.diff(seen.indptr)[rows][:, None], self.n_interactions_)
            cells = seen[rows].tocoo()
            fused[rows] = fuse(scores, weights, self.normalize, seen[rows].toarray() == 0)
            # A seen item has its own weights under a gate, and could pass an item that is left.
            fused[rows[cells.row], cells.col] = fused[rows].min(1)[cells.row]
        return fused


def _caps(n: int, caps: Sequence[int], rng: np.random.Generator) -> np.ndarray:
    """Let a quarter keep a few interactions, each of the numbers equally often, and the rest all, (n,)."""
    most = np.full(n, np.inf)
    few = rng.permutation(n)[: n // 4]
    most[few] = rng.choice(caps, len(few))
    return most


def _batches(rows: np.ndarray, n_items: int) -> list[np.ndarray]:
    return np.array_split(rows, max(1, -(-len(rows) * n_items // MAX_CELLS)))

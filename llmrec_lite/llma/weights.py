"""Chapter 18: fusion weights, learned from interactions that no part has seen."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import numpy as np
from scipy import sparse

from llmrec_lite.interface import top_k_unseen
from llmrec_lite.llma.scales import Normalize, normalize_scores

Weight = float | np.ndarray
STEPS = (0.2, 0.1, 0.05)
COLD_ITEM_WEIGHTS = (1.0, 0.7, 0.5, 0.3, 0.2, 0.1, 0.05)
HALF_POINTS = (0.3, 1.0, 3.0, 10.0)
_DISCOUNT = 1 / np.log2(np.arange(2, 12))  # of the ten places of a list


@dataclass(frozen=True, eq=False)
class ScoredSplit:
    """Held-out interactions of users, and the scores that the parts gave before: what weights are learned from.

    Only candidates are kept, c of them for each of n users.

    Attributes:
        parts: (n, c) normalized scores of each part, by name.
        items: (n, c) item indices of the candidates.
        is_relevant: (n, c) whether the user chose the candidate.
        is_candidate: (n, c) whether there is a candidate in this place.
        idcg: (n,) gain of the best possible list of ten; what no part proposes counts in it.
        n_user: (n, 1) items that each user had seen.
        n_item: (n, c) users who had seen each candidate.
    """

    parts: dict[str, np.ndarray]
    items: np.ndarray
    is_relevant: np.ndarray
    is_candidate: np.ndarray
    idcg: np.ndarray
    n_user: np.ndarray
    n_item: np.ndarray

    @classmethod
    def of(
        cls,
        scores: Mapping[str, np.ndarray],
        seen: sparse.csr_array,
        relevant: sparse.csr_array,
        n_interactions: np.ndarray,
        normalize: Normalize = "zscore",
        among: np.ndarray | None = None,
        candidates: int = 60,
    ) -> ScoredSplit:
        """Keep of each user the items that any part has among its best.

        Args:
            scores: (n, n_items) of each part, by name.
            seen: (n, n_items) what each user had seen, and cannot be recommended any more.
            relevant: (n, n_items) what was held out.
            n_interactions: (n_items,) users who had seen each item.
            normalize: scale of the scores (`normalize_scores`).
            among: (n_items,) items that may be recommended; all where None. Scales are those of all items.
            candidates: of each part.
        """
        unseen = seen.toarray() == 0
        allowed = unseen if among is None else unseen & among
        candidate = np.zeros(unseen.shape, bool)
        for values in scores.values():
            items = top_k_unseen(np.where(allowed, values, -np.inf), None, candidates)[0]
            rows, ranks = np.nonzero(items >= 0)
            candidate[rows, items[rows, ranks]] = True
        width = candidate.sum(1).max(initial=1)
        kept = np.argsort(~candidate, axis=1, kind="stable")[:, :width]
        wanted = (relevant.toarray() > 0) & allowed

        def keep(values: np.ndarray) -> np.ndarray:
            return np.take_along_axis(values, kept, 1)

        return cls(
            parts={name: keep(normalize_scores(values, normalize, unseen)) for name, values in scores.items()},
            items=kept,
            is_relevant=keep(wanted),
            is_candidate=keep(candidate),
            idcg=np.concatenate([[np.nan], np.cumsum(_DISCOUNT)])[np.minimum(wanted.sum(1), 10)],
            n_user=np.diff(seen.indptr)[:, None],
            n_item=n_interactions[kept],
        )

    def fused(self, weights: Mapping[str, Weight]) -> np.ndarray:
        """Weighted sum of the parts, (n, c); weights are numbers or fit (n, c)."""
        return sum((weight * self.parts[name] for name, weight in weights.items()), np.zeros_like(self.idcg)[:, None])

    def ndcg(self, scores: np.ndarray) -> np.ndarray:
        """NDCG@10 of each user's list by scores of the candidates, (n, c) -> (n,); nan where nothing is relevant."""
        best = top_k_unseen(np.where(self.is_candidate, scores, -np.inf), None, 10)[0]
        hits = np.take_along_axis(self.is_relevant, best, 1) & (best >= 0)
        return hits @ _DISCOUNT[: hits.shape[1]] / self.idcg


@dataclass(frozen=True)
class Gate:
    """Fusion weights that depend on the numbers of interactions, equation (18.4).

    With h = p / (p + n), p being the half point, a user with n interactions has (1 - h) of the weights of warm users
    and h of those of cold ones; then the same for the item.

    Attributes:
        known: weight of each part for warm users and items.
        new_user: weights for a user without interactions; None makes no difference between users.
        user_half_point: number of interactions of a user after which half is reached.
        new_item: weights for an item without interactions; None makes no difference between items.
        item_half_point: number of interactions of an item after which half is reached.
    """

    known: Mapping[str, float]
    new_user: Mapping[str, float] | None = None
    user_half_point: float = 1.0
    new_item: Mapping[str, float] | None = None
    item_half_point: float = 1.0

    def weights(self, n_user: np.ndarray, n_item: np.ndarray) -> dict[str, Weight]:
        """Weights of each part: numbers, or arrays of the shape that n_user and n_item have together.

        n_user is (n, 1), items that each user has seen; n_item (n_items,) or (n, c), users who have seen each item.
        """
        weights: dict[str, Weight] = dict(self.known)
        sides = ((self.new_user, self.user_half_point, n_user), (self.new_item, self.item_half_point, n_item))
        for other, half, n in sides:
            if other is not None:
                new = (half / (half + n)).astype(np.float32)
                weights = {name: (1 - new) * weight + new * other[name] for name, weight in weights.items()}
        return weights

    def ndcg(self, splits: Sequence[ScoredSplit]) -> np.ndarray:
        """NDCG@10 of each user of what was held out, (users,)."""
        return np.concatenate([one.ndcg(one.fused(self.weights(one.n_user, one.n_item))) for one in splits])


def learn_weights(splits: Sequence[ScoredSplit], steps: Sequence[float] = STEPS) -> dict[str, float]:
    """Fusion weights, none below 0 and together 1, with the highest mean nDCG@10.

    Coordinate ascent (Metzler and Croft, "Linear feature-based models for information retrieval", Information Retrieval
    2007): from the best part alone, one weight at a time goes up or down by a step, a share of the whole, while that
    helps; then the steps shrink. nDCG has no gradient, and needs none here. A part that does not help stays out. The
    parts must have scored before they saw what is relevant.
    """

    def quality(weights: Mapping[str, float]) -> float:
        return _mean(Gate(weights), splits)

    alone: list[Mapping[str, float]] = [
        {name: float(name == best) for name in splits[0].parts} for best in splits[0].parts
    ]
    return _ascend(max(alone, key=quality), quality, steps)[0]


def learn_gate(
    known: Mapping[str, float],
    warm: Sequence[ScoredSplit],
    users: Sequence[ScoredSplit],
    items: Sequence[ScoredSplit],
    half_points: Sequence[float] = HALF_POINTS,
    steps: Sequence[float] = STEPS,
) -> Gate:
    """Gate with weights for cold users and cold items, and the half points at which these give way to warm ones.

    Sought is the highest nDCG@10 of the lists of cold users, and of cold items among themselves, that costs the warm
    lists nothing.

    Args:
        known: weights for warm users and items, as of `learn_weights`.
        warm: what `known` was learned from.
        users: of users of whom the parts had seen few interactions; empty to make no difference between users.
        items: of items of which the parts had seen few interactions; empty to make no difference between items.
        half_points: to choose from.
        steps: of a weight, as shares of the whole.
    """
    gate = Gate(dict(known))
    least = _mean(gate, warm)
    for who, few in (("user", users), ("item", items)):
        if not few:
            continue
        best, better = _mean(gate, few), gate
        for half in half_points:
            make = partial(_moved, gate, who, half)

            def quality(weights: dict[str, float], make: Any = make, few: Any = few) -> float:
                return _mean(make(weights), few) if _mean(make(weights), warm) >= least else -1.0

            weights, found = _ascend(known, quality, steps)
            if found > best:
                best, better = found, make(weights)
        gate = better
    return gate


def learn_cold_item_weight(
    known: Mapping[str, float],
    warm: Sequence[ScoredSplit],
    part: str,
    half_point: float = 0.3,
    weights: Sequence[float] = COLD_ITEM_WEIGHTS,
) -> Gate:
    """Gate in which one part alone orders the items without interactions, with the largest weight that costs nothing.

    The weight does not change the order of these items; it says how they mix with warm ones.

    Args:
        known: weights for warm items, as of `learn_weights`.
        warm: what `known` was learned from.
        part: name of a part that learns from texts or facts.
        half_point: number of interactions after which an item has half of the weights of warm ones.
        weights: to choose from; the first that costs the warm lists nothing, else the one that costs least.
    """
    gates = [
        Gate(dict(known), new_item={n: w * (n == part) for n in known}, item_half_point=half_point) for w in weights
    ]
    least = _mean(Gate(known), warm)
    quality = [_mean(gate, warm) for gate in gates]
    free = [gate for gate, found in zip(gates, quality, strict=True) if found >= least]
    return free[0] if free else gates[int(np.argmax(quality))]


def _moved(gate: Gate, who: str, half: float, weights: Mapping[str, float]) -> Gate:
    if who == "user":
        return replace(gate, new_user=weights, user_half_point=half)
    return replace(gate, new_item=weights, item_half_point=half)


def mean_gate(gates: Sequence[Gate]) -> Gate:
    """Mean of the weights of several gates; half points by their geometric mean."""

    def mean(weights: Sequence[Mapping[str, float]]) -> dict[str, float]:
        return {name: float(np.mean([one[name] for one in weights])) for name in weights[0]}

    found = Gate(mean([gate.known for gate in gates]))
    for who in ("user", "item"):
        new = [getattr(gate, f"new_{who}") for gate in gates]
        if any(new):
            # Where a draw makes no difference between old and new, its weights for new ones are the known ones.
            weights = mean([one or gate.known for one, gate in zip(new, gates, strict=True)])
            halves = [getattr(gate, f"{who}_half_point") for one, gate in zip(new, gates, strict=True) if one]
            found = _moved(found, who, float(np.exp(np.mean(np.log(halves)))), weights)
    return found


def _mean(gate: Gate, splits: Sequence[ScoredSplit]) -> float:
    values = gate.ndcg(splits)
    return float(np.nanmean(values)) if np.isfinite(values).any() else 0.0


def _ascend(
    start: Mapping[str, float], quality: Callable[[dict[str, float]], float], steps: Sequence[float]
) -> tuple[dict[str, float], float]:
    """Return the best weights found, together 1, and their quality."""
    weights = dict(start)
    best = quality(weights)
    for step in steps:
        moved = True
        while moved:
            moved = False
            for name in start:
                for change in (step, -step):
                    tried = weights | {name: max(weights[name] + change, 0.0)}
                    total = sum(tried.values())
                    if total <= 0:
                        continue
                    tried = {part: weight / total for part, weight in tried.items()}
                    if (found := quality(tried)) > best + 1e-9:
                        best, weights, moved = found, tried, True
    return weights, best

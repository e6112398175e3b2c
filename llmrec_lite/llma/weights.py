"""Chapter 18: the weights of a fusion, learned from choices that no part has seen."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import numpy as np
from scipy import sparse

from llmrec_lite.llma.scales import Normalise, normalise_scores
from llmrec_lite.recommenders.base import top_k_unseen

Weight = float | np.ndarray
STEPS = (0.2, 0.1, 0.05)
SHARES = (1.0, 0.7, 0.5, 0.3, 0.2, 0.1, 0.05)
PACES = (0.3, 1.0, 3.0, 10.0)
_DISCOUNT = 1 / np.log2(np.arange(2, 12))  # of the ten places of a list


@dataclass(frozen=True, eq=False)
class HeldOut:
    """What people chose, and what each part had said before: what weights are learned from.

    Only candidates are kept, c of them for each of n people.

    Attributes:
        parts: (n, c) normalised scores of each part, by name.
        items: (n, c) indices of the candidates.
        chosen: (n, c) which of the candidates each person chose.
        open: (n, c) which places hold a candidate.
        ideal: (n,) the gain of the best possible list of ten; what no part proposes counts in it.
        n_user: (n, 1) items that each person had met.
        n_item: (n, c) people who had met each candidate.
    """

    parts: dict[str, np.ndarray]
    items: np.ndarray
    chosen: np.ndarray
    open: np.ndarray
    ideal: np.ndarray
    n_user: np.ndarray
    n_item: np.ndarray

    @classmethod
    def of(
        cls,
        scores: Mapping[str, np.ndarray],
        seen: sparse.csr_array,
        chosen: sparse.csr_array,
        met_by: np.ndarray,
        normalise: Normalise = "zscore",
        among: np.ndarray | None = None,
        best: int = 60,
    ) -> HeldOut:
        """Keep of each person the items that any part has among its best.

        Args:
            scores: (n, n_items) of each part, by name.
            seen: (n, n_items) what each person had met, and cannot be recommended any more.
            chosen: (n, n_items) what was held out.
            met_by: (n_items,) people who had met each item.
            normalise: see `normalise_scores`.
            among: (n_items,) items that may be recommended; all where None. Scales are those of all items.
            best: candidates of each part.
        """
        unseen = seen.toarray() == 0
        allowed = unseen if among is None else unseen & among
        candidate = np.zeros(unseen.shape, bool)
        for values in scores.values():
            items = top_k_unseen(np.where(allowed, values, -np.inf), None, best)[0]
            rows, places = np.nonzero(items >= 0)
            candidate[rows, items[rows, places]] = True
        width = candidate.sum(1).max(initial=1)
        place = np.argsort(~candidate, axis=1, kind="stable")[:, :width]
        wanted = (chosen.toarray() > 0) & allowed

        def kept(values: np.ndarray) -> np.ndarray:
            return np.take_along_axis(values, place, 1)

        return cls(
            parts={name: kept(normalise_scores(values, normalise, unseen)) for name, values in scores.items()},
            items=place,
            chosen=kept(wanted),
            open=kept(candidate),
            ideal=np.concatenate([[np.nan], np.cumsum(_DISCOUNT)])[np.minimum(wanted.sum(1), 10)],
            n_user=np.diff(seen.indptr)[:, None],
            n_item=met_by[place],
        )

    def fused(self, weights: Mapping[str, Weight]) -> np.ndarray:
        """Return the weighted sum of the parts, (n, c); weights are numbers or fit (n, c)."""
        return sum((weight * self.parts[name] for name, weight in weights.items()), np.zeros_like(self.ideal)[:, None])

    def ndcg(self, scores: np.ndarray) -> np.ndarray:
        """Return nDCG@10 of each person's list by scores of the candidates, (n, c) -> (n,); nan who chose nothing."""
        best = top_k_unseen(np.where(self.open, scores, -np.inf), None, 10)[0]
        hits = np.take_along_axis(self.chosen, best, 1) & (best >= 0)
        return hits @ _DISCOUNT[: hits.shape[1]] / self.ideal


@dataclass(frozen=True)
class Gate:
    """Weights that move with how much is known, equation (18.4).

    With h = pace / (pace + n), a user who has met n items has (1 - h) of the weights of well-known users and h of
    those of new ones; then the same for the item.

    Attributes:
        known: weight of each part where much is known.
        new_user: for somebody of whom nothing is known; None makes no difference between users.
        user_pace: the number of items after which half is reached.
        new_item: for an item of which nothing is known; None makes no difference between items.
        item_pace: the number of people after which half is reached.
    """

    known: Mapping[str, float]
    new_user: Mapping[str, float] | None = None
    user_pace: float = 1.0
    new_item: Mapping[str, float] | None = None
    item_pace: float = 1.0

    def weights(self, n_user: np.ndarray, n_item: np.ndarray) -> dict[str, Weight]:
        """Return the weights of each part: numbers, or arrays of the shape that n_user and n_item have together.

        Args:
            n_user: (n, 1) items that each user has met.
            n_item: (n_items,) or (n, c) users who have met each item.
        """
        weights: dict[str, Weight] = dict(self.known)
        for other, pace, n in ((self.new_user, self.user_pace, n_user), (self.new_item, self.item_pace, n_item)):
            if other is not None:
                new = (pace / (pace + n)).astype(np.float32)
                weights = {name: (1 - new) * weight + new * other[name] for name, weight in weights.items()}
        return weights

    def ndcg(self, held: Sequence[HeldOut]) -> np.ndarray:
        """Return nDCG@10 of each person of what was held out, (people,)."""
        return np.concatenate([lot.ndcg(lot.fused(self.weights(lot.n_user, lot.n_item))) for lot in held])


def learn_weights(held: Sequence[HeldOut], steps: Sequence[float] = STEPS) -> dict[str, float]:
    """Find the weights of the parts, none below 0 and together 1, with the highest mean nDCG@10.

    Coordinate ascent (Metzler and Croft, "Linear feature-based models for information retrieval", Information
    Retrieval 2007): from the best part alone, one weight at a time goes up or down by a step while that helps; then
    the steps shrink. nDCG has no gradient, and needs none here. A part that does not help stays out.

    Args:
        held: one or more; what the parts said must come from models that had not met what was chosen.
        steps: as shares of the whole.
    """

    def quality(weights: Mapping[str, float]) -> float:
        return _mean(Gate(weights), held)

    alone: list[Mapping[str, float]] = [{name: float(name == best) for name in held[0].parts} for best in held[0].parts]
    return _ascend(max(alone, key=quality), quality, steps)[0]


def learn_gate(
    known: Mapping[str, float],
    usual: Sequence[HeldOut],
    users: Sequence[HeldOut],
    items: Sequence[HeldOut],
    paces: Sequence[float] = PACES,
    steps: Sequence[float] = STEPS,
) -> Gate:
    """Find the weights for new users and for new items, and how fast they give way to those of well-known ones.

    Sought is the highest nDCG@10 of the lists of new users, and of new items among themselves, that costs the usual
    lists nothing: else the new weights would reach for users and items that are well known.

    Args:
        known: weights where much is known, as of `learn_weights`.
        usual: what `known` was learned from.
        users: of people of whom the parts had seen few interactions; empty to make no difference between users.
        items: of lists of items of which the parts had seen few interactions; empty to make none between items.
        paces: to choose from.
        steps: see `learn_weights`.
    """
    gate = Gate(dict(known))
    least = _mean(gate, usual)
    for who, few in (("user", users), ("item", items)):
        if not few:
            continue
        best, better = _mean(gate, few), gate
        for pace in paces:
            make = partial(_moved, gate, who, pace)

            def quality(weights: dict[str, float], make: Any = make, few: Any = few) -> float:
                return _mean(make(weights), few) if _mean(make(weights), usual) >= least else -1.0

            weights, found = _ascend(known, quality, steps)
            if found > best:
                best, better = found, make(weights)
        gate = better
    return gate


def learn_front(
    known: Mapping[str, float], usual: Sequence[HeldOut], part: str, pace: float = 0.3, shares: Sequence[float] = SHARES
) -> Gate:
    """Let one part alone order the items that nobody has met, as far in front as costs the usual lists nothing.

    The weight that the part has there does not change their order; it says how they mix with items that are known.

    Args:
        known: see `learn_gate`.
        usual: see `learn_gate`.
        part: name of the part; one that learns from texts or facts.
        pace: the number of people after which an item has half of the weights of well-known ones.
        shares: weights to choose from; the largest that costs nothing, else the one that costs least.
    """
    gates = [Gate(dict(known), new_item={n: s * (n == part) for n in known}, item_pace=pace) for s in shares]
    least = _mean(Gate(known), usual)
    quality = [_mean(gate, usual) for gate in gates]
    free = [gate for gate, found in zip(gates, quality, strict=True) if found >= least]
    return free[0] if free else gates[int(np.argmax(quality))]


def _moved(gate: Gate, who: str, pace: float, weights: Mapping[str, float]) -> Gate:
    if who == "user":
        return replace(gate, new_user=weights, user_pace=pace)
    return replace(gate, new_item=weights, item_pace=pace)


def mean_gate(gates: Sequence[Gate]) -> Gate:
    """Return the mean of the weights of several draws; paces by their geometric mean."""

    def mean(weights: Sequence[Mapping[str, float]]) -> dict[str, float]:
        return {name: float(np.mean([one[name] for one in weights])) for name in weights[0]}

    found = Gate(mean([gate.known for gate in gates]))
    for who in ("user", "item"):
        new = [getattr(gate, f"new_{who}") for gate in gates]
        if any(new):
            # Where a draw makes no difference between old and new, its weights for new ones are the known ones.
            weights = mean([one or gate.known for one, gate in zip(new, gates, strict=True)])
            paces = [getattr(gate, f"{who}_pace") for one, gate in zip(new, gates, strict=True) if one]
            found = _moved(found, who, float(np.exp(np.mean(np.log(paces)))), weights)
    return found


def _mean(gate: Gate, held: Sequence[HeldOut]) -> float:
    values = gate.ndcg(held)
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

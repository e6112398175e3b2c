"""Chapter 19: why an item is in the list, in words that follow from the scores."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

import numpy as np
from scipy import sparse

from llmrec_lite.llma.cold_start import ColdStartFusion
from llmrec_lite.llma.config import PARTS, ItemKnowledge
from llmrec_lite.llma.fusion import FusedRecommender
from llmrec_lite.recommenders.base import FoldInRecommender


class Explained(Protocol):
    """What an explanation reads of a fitted LLMA."""

    parts_: dict[str, FoldInRecommender]
    knowledge_: ItemKnowledge
    fused_: FusedRecommender
    cold_start_: ColdStartFusion
    n_interactions_: np.ndarray
    labels_: list[str]


MAX_ITEMS = 2  # that a reason names
COLD_START_REASON = "what counts for it most is {items}"


def contributions(model: Explained, items: np.ndarray, seen: np.ndarray) -> dict[str, np.ndarray]:
    """Contribution of each seen item, (m,), to the fused score of each item of a list, (n,), part by part, (n, m) each.

    Each part's contributions are weighted as in the fusion and divided by the standard deviation of its scores over
    the unseen items, equation (19.4).
    """
    found = {}
    weights = model.fused_.gate_.weights(np.array([[len(seen)]]), model.n_interactions_[items])
    row = _rows([seen], len(model.n_interactions_))
    unseen = row.toarray()[0] == 0
    for name, part in model.parts_.items():
        spread = float(part.score_matrix(row)[0, unseen].std())
        shares = part.contributions(items, seen)
        found[name] = np.reshape(weights[name], (-1, 1)) * shares / max(spread, 1e-9)
    return found


def leave_one_out(model: Explained, items: np.ndarray, seen: np.ndarray) -> np.ndarray:
    """Fall of the cold-start score of each item of a list without each seen item, (n, m).

    Cold-start scores are no sum over the seen items, but there are few of these, so each is left out in turn. What
    falls is measured from the mean over all that may be left out.
    """
    others = _rows([np.delete(seen, place) for place in range(len(seen))], len(model.n_interactions_))
    scores = model.cold_start_.score_matrix(others, model.parts_)[:, items].T
    return scores.mean(1, keepdims=True) - scores


def reasons(
    model: Explained,
    items: np.ndarray,
    seen: np.ndarray,
    request: str | None = None,
    is_near: np.ndarray | None = None,
    cold: bool = False,
) -> list[str]:
    """Reason of each item of a list, one sentence.

    Args:
        model: a fitted LLMA.
        items: (n,) item indices of the list.
        seen: (m,) indices of the items that the user has seen.
        request: what was asked for, in words.
        is_near: (n,) whether each item is near the request (`requests.is_near`), which is then a reason.
        cold: whether the user was scored by the cold-start fusion.
    """
    popular = [
        f"{int(n):,} users chose it" if n else "it has no interactions yet" for n in model.n_interactions_[items]
    ]
    said = np.zeros(len(items), bool) if is_near is None else is_near
    near = [f"its text is near “{request}”" if request and one else "" for one in said]
    if not len(seen) or (cold and not model.cold_start_.weights_):  # then the list is popularity
        return [_sentence(clauses) for clauses in zip(near, popular, strict=True)]
    if cold:
        # One item alone cannot be compared with others; where it says anything, it is the reason.
        one = np.ones((len(items), 1))
        shares = {COLD_START_REASON: leave_one_out(model, items, seen) if len(seen) > 1 else one}
    else:
        shares = {
            PARTS[name].reason_of(model.parts_[name], model.knowledge_): found
            for name, found in contributions(model, items, seen).items()
        }
    total = sum(shares.values(), np.zeros((len(items), len(seen))))
    sentences = []
    for row in range(len(items)):
        largest = [place for place in np.argsort(-total[row])[:MAX_ITEMS] if total[row, place] > 0]
        if not largest:
            sentences.append(_sentence([near[row], popular[row]]))
            continue
        reason = max(shares, key=lambda reason: shares[reason][row, largest].sum())
        named = " and ".join(model.labels_[seen[place]] for place in largest)
        sentences.append(_sentence([near[row], reason.format(items=named)]))
    return sentences


def _rows(histories: Sequence[np.ndarray], n_items: int) -> sparse.csr_array:
    """Return a row of 0 and 1 for each history of item indices."""
    rows = np.zeros((len(histories), n_items), np.float32)
    for row, items in zip(rows, histories, strict=True):
        row[items] = 1
    return sparse.csr_array(rows)


def _sentence(clauses: Sequence[str]) -> str:
    text = ", and ".join(clause for clause in clauses if clause)
    return text[:1].upper() + text[1:] + "."

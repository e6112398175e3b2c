"""Chapter 19: why an item is in the list, in words that follow from the scores."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
from scipy import sparse

from llmrec_lite.recommenders import ALS, TextRecommender

if TYPE_CHECKING:
    from llmrec_lite.llma import LLMA

WHY = {
    "factors": "people who met {them} tend to meet it too",
    "autoencoder": "it goes with {them}, by who met them or by shared facts",
    "text": "what is known of it is like {them}",
    "newcomer": "what speaks for it most is {them}",
}


def contributions(model: LLMA, items: np.ndarray, met: np.ndarray) -> dict[str, np.ndarray]:
    """Return how much each item that was met adds to the score of each item of a list, part by part, equation (19.4).

    The autoencoder's and the text's scores are sums over the items met, and so are those of the factors once the
    person's matrix is fixed (Hu, Koren and Volinsky, ICDM 2008, section 5). Each part is weighted as in the fusion and
    divided by the spread of its scores over the items that were not met.

    Args:
        model: a fitted LLMA.
        items: (n,) item indices.
        met: (m,) indices of the items met.

    Returns:
        For each part (n, m).
    """
    found = {}
    weights = model.fused_.gate_.weights(np.array([[len(met)]]), model.met_by_[items])
    unmet = np.setdiff1d(np.arange(len(model.met_by_)), met)
    for name, part in model.fused_.parts_.items():
        if isinstance(part, ALS):
            own = part.item_[met]
            gram = part.item_.T @ part.item_ + part.l2 * np.eye(part.factors) + part.alpha * own.T @ own
            of_each = (1 + part.alpha) * np.linalg.solve(gram, own.T).T  # (m, factors)
            all_items = part.item_
        elif isinstance(part, TextRecommender):
            of_each, all_items = part.solution_[:, met].T, part.items_
        else:
            of_each, all_items = part.weights_[met], None  # type: ignore[attr-defined]
        scores = of_each.sum(0) if all_items is None else all_items @ of_each.sum(0)
        shares = of_each[:, items].T if all_items is None else all_items[items] @ of_each.T
        found[name] = np.reshape(weights[name], (-1, 1)) * shares / max(float(scores[unmet].std()), 1e-9)
    return found


def leave_one_out(model: LLMA, items: np.ndarray, met: np.ndarray) -> np.ndarray:
    """Return how far the score of each item of a newcomer's list falls without each item that was met, (n, m).

    Newcomers' scores are no sum over what they met, but they are asked for in milliseconds: so each item met is left
    out in turn. What falls is measured from the mean over all that may be left out.

    Args:
        model: a fitted LLMA.
        items: (n,) item indices.
        met: (m,) indices of the items met.
    """
    given = np.zeros((len(met), len(model.met_by_)), np.float32)
    given[:, met] = 1
    given[np.arange(len(met)), met] = 0
    scores = model.newcomers_.score(sparse.csr_array(given), model.scorers_)[:, items].T
    return scores.mean(1, keepdims=True) - scores


def reasons(
    model: LLMA,
    items: np.ndarray,
    met: np.ndarray,
    request: str | None = None,
    wished: np.ndarray | None = None,
    newcomer: bool = False,
) -> list[str]:
    """Say for each item of a list why it is there, in one sentence.

    Args:
        model: a fitted LLMA.
        items: (n,) item indices of the list.
        met: (m,) indices of the items that the person has met.
        request: what was asked for, in words.
        wished: (n,) what the request adds to the score of each; it is a reason where this is above 0.
        newcomer: whether the person was served as one of whom little is known.
    """
    popular = [f"{int(n):,} people chose it" if n else "nobody has chosen it yet" for n in model.met_by_[items]]
    adds = np.zeros(len(items)) if wished is None else wished
    wish = [f"its text is near “{request}”" if request and more > 0 else "" for more in adds]
    if not len(met) or (newcomer and not model.newcomers_.weights_):  # then the list is popularity
        return [_sentence([wanted, crowd]) for wanted, crowd in zip(wish, popular, strict=True)]
    if newcomer:
        # One item alone cannot be compared with others; where it says anything, it is the reason.
        one = np.ones((len(items), 1))
        parts = {"newcomer": leave_one_out(model, items, met) if len(met) > 1 else one}
    else:
        parts = contributions(model, items, met)
    total = sum(parts.values(), np.zeros((len(items), len(met))))
    said = []
    for row in range(len(items)):
        order = [place for place in np.argsort(-total[row])[:2] if total[row, place] > 0]
        if not order:
            said.append(_sentence([wish[row], popular[row]]))
            continue
        strongest = max(parts, key=lambda name: parts[name][row, order].sum())
        them = " and ".join(model.labels_[met[place]] for place in order)
        said.append(_sentence([wish[row], WHY[strongest].format(them=them)]))
    return said


def _sentence(clauses: Sequence[str]) -> str:
    text = ", and ".join(clause for clause in clauses if clause)
    return text[:1].upper() + text[1:] + "."

"""Chapter 19: why an item is in the list, in words that follow from the scores of the parts."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from llmrec_lite.recommenders import ALS, TextRecommender

if TYPE_CHECKING:
    from llmrec_lite.llma import LLMA

WHY = {
    "factors": "people who met {them} tend to meet it too",
    "autoencoder": "people who met {them} tend to meet it too",
    "text": "what is known of it is like {them}",
}


def contributions(model: LLMA, items: np.ndarray, met: np.ndarray) -> dict[str, np.ndarray]:
    """Return how much each item that was met adds to the score of each item of a list, part by part.

    The autoencoder's and the text's scores are sums over the items met, and so are those of the factors once the
    person's matrix is fixed (Hu, Koren and Volinsky, ICDM 2008, section 5). Each part is weighted as in the fusion and
    divided by the spread of its scores.

    Args:
        model: a fitted LLMA.
        items: (n,) item indices.
        met: (m,) indices of the items met.

    Returns:
        For each part (n, m).
    """
    found = {}
    weights = model.fused_.gate_.known
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
        spread = (of_each.sum(0) if all_items is None else all_items @ of_each.sum(0)).std()
        shares = of_each[:, items].T if all_items is None else all_items[items] @ of_each.T
        found[name] = weights[name] * shares / max(float(spread), 1e-9)
    return found


def reasons(model: LLMA, items: np.ndarray, met: np.ndarray, request: str | None = None) -> list[str]:
    """Say for each item of a list why it is there, in one sentence.

    The reason is that of the parts for everybody. A newcomer's list rests on people alike and on popularity as well
    (`Newcomers`), of which the reason does not speak.

    Args:
        model: a fitted LLMA.
        items: (n,) item indices of the list.
        met: (m,) indices of the items that the person has met.
        request: what was asked for, in words.
    """
    popular = [f"{int(n):,} people chose it" if n else "nobody has chosen it yet" for n in model.met_by_[items]]
    wish = [f"its text is near “{request}”"] * len(items) if request else [""] * len(items)
    if not len(met):
        return [_sentence([wanted, crowd]) for wanted, crowd in zip(wish, popular, strict=True)]
    parts = contributions(model, items, met)
    total = sum(parts.values(), np.zeros((len(items), len(met))))
    said = []
    for row, item in enumerate(items):
        order = [place for place in np.argsort(-total[row])[:2] if total[row, place] > 0]
        if not order:
            said.append(_sentence([wish[row], popular[row]]))
            continue
        strongest = max(parts, key=lambda name: parts[name][row, order].sum())
        if not model.met_by_[item]:
            strongest = "text" if "text" in parts else strongest
        them = " and ".join(model.labels_[met[place]] for place in order)
        said.append(_sentence([wish[row], WHY[strongest].format(them=them)]))
    return said


def _sentence(clauses: Sequence[str]) -> str:
    text = ", and ".join(clause for clause in clauses if clause)
    return text[:1].upper() + text[1:] + "."

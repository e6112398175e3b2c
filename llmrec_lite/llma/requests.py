"""Chapter 19: a wish in words, answered by the items nearest to it."""

from __future__ import annotations

import numpy as np

from llmrec_lite.errors import SettingError

NEAR = 100  # the nearest 1 / NEAR of the catalog are called near, and may answer a wish
AT_MOST = 10  # no more than 1 / AT_MOST of a short catalog may


def nearest_first(wish: np.ndarray, unseen: np.ndarray) -> np.ndarray:
    """Indices of the unseen items by their nearness to a wish, nearest first; ties by index."""
    items = np.flatnonzero(unseen)
    return items[np.argsort(-wish[items], kind="stable")]


def n_candidates(n_items: int, most: int) -> int:
    """How many of the nearest items may answer: `most`, or a tenth of a short catalog, or a hundredth of a long one."""
    return max(min(most, -(-n_items // AT_MOST)), -(-n_items // NEAR))


def rank_share(scores: np.ndarray) -> np.ndarray:
    """Share of the other items that each beats, (n,), ties counting half: `normalize_scores` by rank, for one row."""
    ordered = np.sort(scores)
    beaten = np.searchsorted(ordered, scores, "left") + np.searchsorted(ordered, scores, "right") - 1
    return beaten / 2 / max(len(scores) - 1, 1)


def request_scores(
    wish: np.ndarray, other: np.ndarray, share: float, most: int, unseen: np.ndarray | None = None
) -> np.ndarray:
    """Scores of all items for a wish in words and a user, or popularity, equation (19.3).

    The items nearest to the wish by text (`n_candidates`, and what ties with the last) score the weighted sum of two
    ranks among them, `share` * nearness + (1 - share) * other, from 0 to 1: a rank does not depend on how heavy the
    tail of popularity is. All others score below 0, by nearness, so that they come only where the nearest run out.

    Args:
        wish: (n_items,) nearness of each item to the wish.
        other: (n_items,) scores for the user, or popularity.
        share: weight of nearness, from 0 to 1.
        most: of the candidates (`n_candidates`).
        unseen: (n_items,) items that may be recommended; all where None.

    Returns:
        (n_items,) float32; what may not be recommended scores -1.
    """
    if not 0 <= share <= 1:
        raise SettingError(f"the share of a request must lie between 0 and 1, not {share!r}")
    order = nearest_first(wish, np.ones(len(wish), bool) if unseen is None else unseen)
    scores = np.full(len(wish), -1.0, np.float32)
    places = order[: n_candidates(len(wish), most)]
    as_near = wish[order] >= (wish[places[-1]] if len(places) else np.inf)
    near, rest = order[as_near], order[~as_near]
    scores[near] = share * rank_share(wish[near]) + (1 - share) * rank_share(other[near])
    scores[rest] = -np.arange(1, len(rest) + 1) / (len(rest) + 1)
    return scores


def is_near(wish: np.ndarray) -> np.ndarray:
    """Whether each item is among the nearest hundredth of the catalog, (n_items,) bool; none where all are as near."""
    border = np.sort(wish)[-n_candidates(len(wish), 1)]
    return (wish >= border) & (wish > wish.mean())

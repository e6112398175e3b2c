"""Chapter 18: scores of any model on a common scale."""

from __future__ import annotations

from typing import Literal, get_args

import numpy as np

from llmrec_lite.errors import SettingError

Normalize = Literal["zscore", "rank", "minmax"]


def normalize_scores(scores: np.ndarray, how: Normalize = "zscore", among: np.ndarray | None = None) -> np.ndarray:
    """Scores of each row on a common scale, equation (18.2).

    "minmax" runs from 0, the row's lowest, to 1, its highest; "zscore" counts standard deviations from the row's mean;
    "rank" is the share of the row's other items that an item beats, ties counting half (Borda's count). A row whose
    scores are all equal, or differ by no more than a millionth of their size, says nothing and becomes zeros.

    Args:
        scores: (n_items,) or (n, n_items); nan and -inf mean "not scored".
        how: "zscore", "rank" or "minmax".
        among: fits the shape of `scores`; items that are False count as not scored. All where None.

    Returns:
        The shape of `scores`, float32 and finite: what is not scored gets the lowest value that the row has.
    """
    if how not in get_args(Normalize):
        raise SettingError(f"normalize must be one of {', '.join(get_args(Normalize))}, not {how!r}")
    values = np.atleast_2d(np.asarray(scores, dtype=float))
    if np.isposinf(values).any():
        raise SettingError("a score is +inf, and nothing can be compared with it; give a finite one")
    scored = np.isfinite(values) if among is None else np.isfinite(values) & np.atleast_2d(among)
    low = np.min(values, 1, keepdims=True, initial=np.inf, where=scored)
    high = np.max(values, 1, keepdims=True, initial=-np.inf, where=scored)
    count = scored.sum(1, keepdims=True)
    # Scores that differ by no more than rounding are equal.
    flat = (count < 2) | (high - low <= 1e-6 * np.maximum(abs(low), abs(high)))
    with np.errstate(invalid="ignore", divide="ignore"):
        if how == "rank":
            from scipy.stats import rankdata  # a second, which most programs never need

            result = (rankdata(np.where(scored, values, -np.inf), axis=1) - 1 - (~scored).sum(1, keepdims=True)) / (
                count - 1
            )
        elif how == "minmax":
            result = (values - low) / (high - low)
        else:
            mean = np.sum(values, 1, keepdims=True, where=scored) / count
            spread = np.sum(np.square(values - mean), 1, keepdims=True, where=scored) / count
            result = (values - mean) / np.sqrt(spread)
        lowest = np.min(result, 1, keepdims=True, initial=np.inf, where=scored)
    result = np.where(scored, result, lowest)
    return np.where(flat, 0.0, result).astype(np.float32).reshape(np.shape(scores))

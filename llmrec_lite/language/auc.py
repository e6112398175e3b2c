"""Chapter 10: the area under the ROC curve, by which predicted probabilities are judged, with its interval."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from llmrec_lite.errors import SettingError
from llmrec_lite.stats import bootstrap_interval

Numbers = Sequence[float] | np.ndarray


def auc(labels: Numbers, scores: Numbers) -> float:
    """Area under the ROC curve: the probability that a random yes scores above a random no, ties one half.

    Hanley and McNeil, "The Meaning and Use of the Area under a Receiver Operating Characteristic (ROC) Curve",
    Radiology 1982.

    Args:
        labels: 1 for yes, 0 for no, (n,).
        scores: (n,) or (runs, n), of which it is the mean over runs.
    """
    y, rows = _checked(labels, scores)
    once = np.ones((1, len(y)))  # each example counts once
    return float(np.mean([_weighted(y, row, once) for row in rows]))


def auc_within(labels: Numbers, scores: Numbers, groups: Numbers) -> float:
    """Mean over groups of the AUC inside each; groups whose labels are all the same have none.

    With users as groups it measures the ranking of items for one user, not who says yes to everything.
    """
    y, rows = _checked(labels, scores)
    names = np.asarray(groups)
    if names.shape != y.shape:
        raise SettingError(f"there are {len(y)} labels but groups has the shape {names.shape}")
    inside = [np.flatnonzero(names == group) for group in np.unique(names)]
    mixed = [rows_of for rows_of in inside if 0 < y[rows_of].mean() < 1]
    if not mixed:
        raise SettingError("no group holds both a yes and a no, so nothing can be ranked inside of one")
    return float(np.mean([auc(y[rows_of], rows[:, rows_of]) for rows_of in mixed]))


def auc_interval(
    labels: Numbers,
    scores: Numbers,
    rival: Numbers | None = None,
    groups: Numbers | None = None,
    seed: int = 0,
    resamples: int = 1000,
) -> tuple[float, float]:
    """95% bootstrap interval of an AUC, or of its lead over a rival's: percentiles over resampled examples.

    Args:
        labels: 1 for yes, 0 for no, (n,).
        scores: (n,) or (runs, n); examples are resampled, not runs.
        rival: scores of another model for the same examples; the interval is then that of the paired difference.
        groups: resample whole groups, such as users, whose examples depend on each other, (n,).
        seed: of the bootstrap.
        resamples: number of resamples.
    """
    y, rows = _checked(labels, scores)
    places = np.arange(len(y)) if groups is None else np.unique(np.asarray(groups), return_inverse=True)[1]
    if places.shape != y.shape:
        raise SettingError(f"there are {len(y)} labels but groups has the shape {places.shape}")
    rivals = None if rival is None else _checked(labels, rival)[1]

    def statistic(counts: np.ndarray) -> np.ndarray:
        weights = counts[:, places]  # (resamples, n examples)
        weights = weights[(weights[:, y].sum(1) > 0) & (weights[:, ~y].sum(1) > 0)]  # without both there is no AUC
        value = np.mean([_weighted(y, row, weights) for row in rows], axis=0)
        if rivals is None:
            return value
        return value - np.mean([_weighted(y, row, weights) for row in rivals], axis=0)

    low, high = bootstrap_interval(statistic, int(places.max()) + 1, seed=seed, resamples=resamples)
    return float(low), float(high)


def _checked(labels: Numbers, scores: Numbers) -> tuple[np.ndarray, np.ndarray]:
    y, rows = np.asarray(labels, float), np.atleast_2d(np.asarray(scores, float))
    if y.ndim != 1 or rows.ndim != 2 or rows.shape[1] != len(y):
        raise SettingError(f"labels of shape {y.shape} and scores of shape {rows.shape} do not belong together")
    if not np.isin(y, (0, 1)).all():
        raise SettingError(f"a label must be 0 or 1, not {y[~np.isin(y, (0, 1))][0]}")
    if len(np.unique(y)) < 2:
        raise SettingError("all labels are the same, so there is no pair of a yes and a no to be ordered")
    if np.isnan(rows).any():
        raise SettingError("a score is not a number")
    return y == 1, rows


def _weighted(yes: np.ndarray, scores: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """Weighted AUC of one run for each row of weights, (resamples, n) -> (resamples,)."""
    order = np.argsort(scores, kind="stable")
    starts = np.flatnonzero(np.diff(scores[order], prepend=np.nan) != 0)  # where a new value begins
    positive = np.add.reduceat(np.where(yes, weights, 0)[:, order], starts, axis=1)
    negative = np.add.reduceat(np.where(yes, 0, weights)[:, order], starts, axis=1)
    below = np.cumsum(negative, axis=1) - negative / 2  # half of those with the same value
    return (positive * below).sum(1) / (positive.sum(1) * negative.sum(1))

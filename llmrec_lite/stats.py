"""Confidence intervals: the percentile bootstrap over units such as users, and Student's t over a few draws."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Literal

import numpy as np

PERCENTILES = (2.5, 97.5)


def bootstrap_counts(
    n: int, resamples: int, rng: np.random.Generator, draw: Literal["multinomial", "integers"] = "multinomial"
) -> np.ndarray:
    """Return how often each of n units occurs in each bootstrap sample, (resamples, n) float; rows sum to n.

    Both ways to draw have the same distribution; they use the random numbers differently.
    """
    if draw == "multinomial":
        return rng.multinomial(n, np.full(n, 1 / n), resamples).astype(float)
    places = rng.integers(n, size=(resamples, n)) + np.arange(resamples)[:, None] * n
    return np.bincount(places.ravel(), minlength=resamples * n).reshape(resamples, n).astype(float)


def bootstrap_interval(
    statistic: Callable[..., np.ndarray],
    n_units: int | Sequence[int],
    *,
    seed: int = 0,
    resamples: int = 1000,
    draw: Literal["multinomial", "integers"] = "multinomial",
) -> tuple[Any, Any]:
    """95% interval of a statistic: percentiles over samples of the units, drawn with replacement.

    Efron and Tibshirani, "An Introduction to the Bootstrap", 1993, chapter 13. A paired comparison is a statistic that
    takes the difference of two models under the same counts.

    The statistic takes counts (resamples, n), how often each unit was drawn, and gives values (resamples,) or
    (resamples, m); it may leave samples out. Several `n_units` are crossed kinds of units, such as seeds and users,
    drawn independently by "integers" (see `bootstrap_counts`); the statistic then takes the counts of each.

    Returns:
        low and high, numbers, or (m,) each.
    """
    rng = np.random.default_rng(seed)
    if isinstance(n_units, int | np.integer):
        counts = [bootstrap_counts(int(n_units), resamples, rng, draw)]
    else:
        samples = [[bootstrap_counts(n, 1, rng, "integers")[0] for n in n_units] for _ in range(resamples)]
        counts = [np.array(part) for part in zip(*samples, strict=True)]
    low, high = np.percentile(statistic(*counts), PERCENTILES, axis=0)
    return low, high


def mean_interval(values: np.ndarray, seed: int = 0, resamples: int = 2000) -> tuple[float, float]:
    """95% bootstrap interval of a mean, such as that of paired differences, (n,)."""
    n = len(values)
    low, high = bootstrap_interval(lambda counts: counts / n @ values, n, seed=seed, resamples=resamples)
    return float(low), float(high)


def t_interval(values: Sequence[float] | np.ndarray) -> tuple[float, float]:
    """95% interval of a mean by Student's t, for few values (n,) that are near to normal."""
    mean, n = np.mean(values), len(values)
    from scipy.stats import t as student_t  # a second, which most programs never need

    half = student_t.ppf(0.975, n - 1) * np.std(values, ddof=1) / n**0.5
    return float(mean - half), float(mean + half)

"""Chapter 11: baselines of few-shot rating prediction, and errors a user with paired intervals."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Literal

import numpy as np

from llmrec_lite.meta.learners import MetaLearner, predict_all
from llmrec_lite.meta.tasks import Task, collate

ORDERS: tuple[Literal["time"], Literal["random"]] = ("time", "random")


QUERY = 10


Tasks = Sequence[Task]


Answer = Callable[[Tasks], np.ndarray]  # predictions for the queries, (tasks, q), from the supports


def each(rule: Callable[[Task], np.ndarray]) -> Answer:
    """Apply a rule for one task to all of them."""
    return lambda tasks: np.stack([rule(task) for task in tasks])


def item_mean(task: Task) -> np.ndarray:
    """Predict what others think of the item, column 0 of the features."""
    return task.query_x[:, 0]


def shrunk_bias(task: Task, damping: float) -> np.ndarray:
    """Add how far the user's ratings lie from the items' means, drawn to zero where they are few."""
    return task.query_x[:, 0] + (task.support_y - task.support_x[:, 0]).sum() / (len(task.support_y) + damping)


def ridge(task: Task, l2: float, columns: slice = slice(1, None)) -> np.ndarray:
    """Fit the deviations from the items' means by a ridge regression on some of the features and a constant."""
    if not len(task.support_y):
        return item_mean(task)
    x, q = (np.c_[np.ones(len(part)), part[:, columns]] for part in (task.support_x, task.query_x))
    deviations = task.support_y - task.support_x[:, 0]
    return item_mean(task) + q @ x.T @ np.linalg.solve(x @ x.T + l2 * np.eye(len(x)), deviations)


def adapting(learner: MetaLearner, rate: float | None = None, steps: int | None = None) -> Answer:
    """Adapt a network to each support; by its own rates and steps, or by these."""

    def answer(tasks: Tasks) -> np.ndarray:
        n = learner.inner_steps if steps is None else steps
        rates = rate or learner.rates()
        return predict_all(learner.model, learner.weights_, collate(tasks), rates, n, learner.learns).numpy()

    return answer


def user_errors(answer: Answer, tasks: Tasks) -> np.ndarray:
    """Return the mean squared error of each task's query, (tasks,), predictions held to 1 to 5 stars."""
    return both_errors(answer, tasks)[0]


def both_errors(answer: Answer, tasks: Tasks) -> np.ndarray:
    """Return the mean squared and the mean absolute error of each task's query, (2, tasks); see `user_errors`."""
    errors = np.clip(answer(tasks), 1, 5) - np.stack([task.query_y for task in tasks])
    return np.stack([np.square(errors).mean(1), np.abs(errors).mean(1)])


def rmse(errors: np.ndarray) -> float:
    """Return the root of the mean over users."""
    return float(np.sqrt(errors.mean()))


def paired_interval(
    first: np.ndarray,
    second: np.ndarray,
    seed: int = 0,
    resamples: int = 2000,
    summary: Callable[[np.ndarray], np.ndarray] = np.sqrt,
) -> tuple[float, float]:
    """Return the 95% interval of rmse(first) - rmse(second), users drawn anew, the same ones for both, (users,).

    `summary` is what is taken of the mean over users: the root, or nothing where the errors are absolute.
    """
    n = len(first)
    counts = np.random.default_rng(seed).multinomial(n, np.full(n, 1 / n), resamples) / n
    low, high = np.percentile(summary(counts @ first) - summary(counts @ second), [2.5, 97.5])
    return float(low), float(high)


def mean_interval(differences: np.ndarray) -> tuple[float, float]:
    """Return the 95% interval of the mean of paired differences, (n,), drawn anew."""
    return paired_interval(differences, np.zeros(len(differences)), summary=np.asarray)


FACTORS, TEXT = slice(-64, -32), slice(-32, None)  # the last two blocks of `item_features`, 32 numbers each


SHARES = (0.6, 0.2, 0.2)  # of meta-train, meta-validation and meta-test; many people to choose settings by

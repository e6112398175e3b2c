"""Chapter 11: baselines of few-shot rating prediction, and errors per user with paired intervals."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

from llmrec_lite.meta.closed_form import ClosedFormHead
from llmrec_lite.meta.learners import MetaLearner, predict_batch
from llmrec_lite.meta.tasks import HistoryOrder, Task, collate
from llmrec_lite.stats import bootstrap_interval

ORDERS: tuple[HistoryOrder, ...] = ("time", "random")
QUERY = 10  # ratings that a user's error is measured on, throughout Part III
SHARES = (0.6, 0.2, 0.2)  # users of meta-train, meta-validation and meta-test
FACTORS, TEXT = slice(-64, -32), slice(-32, None)  # the last two blocks of `item_features`, 32 numbers each

Tasks = Sequence[Task]
Predict = Callable[[Tasks], np.ndarray]  # from tasks of one size to predictions for their queries, (tasks, q)


def each(rule: Callable[[Task], np.ndarray]) -> Predict:
    """Apply a rule for one task to every task."""
    return lambda tasks: np.stack([rule(task) for task in tasks])


def item_mean(task: Task) -> np.ndarray:
    """Item mean: column 0 of the features."""
    return task.query_x[:, 0]


def shrunk_bias(task: Task, damping: float) -> np.ndarray:
    """User bias: item mean plus the user's mean deviation from it, shrunk to zero where ratings are few."""
    deviations = task.support_y - task.support_x[:, 0]
    return item_mean(task) + deviations.sum() / (len(deviations) + damping)


def ridge(task: Task, l2: float, columns: slice = slice(1, None), bias_l2: float | None = None) -> np.ndarray:
    """Ridge regression of the user's deviations from the item means on a constant and some of the features.

    Args:
        task: with features as inputs.
        l2: penalty.
        columns: of the features.
        bias_l2: penalty of the constant; `l2` where None.
    """
    if not len(task.support_y):
        return item_mean(task)
    scale = 1.0 if bias_l2 is None else (l2 / bias_l2) ** 0.5  # of a constant that has the penalty l2
    x, q = (np.c_[np.full(len(part), scale), part[:, columns]] for part in (task.support_x, task.query_x))
    deviations = task.support_y - task.support_x[:, 0]
    return item_mean(task) + q @ x.T @ np.linalg.solve(x @ x.T + l2 * np.eye(len(x)), deviations)


def adapting(learner: MetaLearner, inner_lr: float | None = None, steps: int | None = None) -> Predict:
    """Adapt a learner's network to each support, by its own learning rates and steps or by these."""

    def predict(tasks: Tasks) -> np.ndarray:
        n = learner.inner_steps if steps is None else steps
        inner_lrs = inner_lr or learner.inner_lrs()
        batch = collate(tasks)
        return predict_batch(learner.model, learner.weights_, batch, inner_lrs, n, learner.adapted_params_).numpy()

    return predict


def solving(learner: ClosedFormHead, likelihood_weight: float) -> Predict:
    """Solve for the head of a learner on each support, with a likelihood weight."""

    def predict(tasks: Tasks) -> np.ndarray:
        learner.likelihood_weight = likelihood_weight
        return learner.predict_queries(collate(tasks)).numpy()

    return predict


def squared_and_absolute_errors(predict: Predict, tasks: Tasks) -> np.ndarray:
    """Mean squared and mean absolute error on each task's query, (2, tasks); predictions are clipped to 1 to 5."""
    errors = np.clip(predict(tasks), 1, 5) - np.stack([task.query_y for task in tasks])
    return np.stack([np.square(errors).mean(1), np.abs(errors).mean(1)])


def user_errors(predict: Predict, tasks: Tasks) -> np.ndarray:
    """Mean squared error on each task's query, (tasks,); predictions are clipped to 1 to 5."""
    return squared_and_absolute_errors(predict, tasks)[0]


def user_rmse(errors: np.ndarray) -> float:
    """Root of the mean over users of their mean squared errors, (users,)."""
    return float(np.sqrt(errors.mean()))


def paired_interval(first: np.ndarray, second: np.ndarray, seed: int = 0, resamples: int = 2000) -> tuple[float, float]:
    """95% bootstrap interval over users of user_rmse(first) - user_rmse(second), the same users for both, (users,)."""
    n = len(first)

    def difference(counts: np.ndarray) -> np.ndarray:
        return np.sqrt(counts / n @ first) - np.sqrt(counts / n @ second)

    low, high = bootstrap_interval(difference, n, seed=seed, resamples=resamples)
    return float(low), float(high)

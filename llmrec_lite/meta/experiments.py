"""Experiments of Part III that take longer than a chapter may; see `llmrec_lite.experiments` for the rules."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from itertools import product
from typing import Any

import numpy as np
from tqdm.auto import tqdm

from llmrec_lite.data import Dataset, load_movielens
from llmrec_lite.language.encoder import TextEncoder
from llmrec_lite.meta.features import RatingNetwork, item_features
from llmrec_lite.meta.objective import JointTraining
from llmrec_lite.meta.tasks import Task, age_bands, split_users, user_tasks
from llmrec_lite.results import experiment

SHOTS = (0, 1, 3, 5, 10, 20)
QUERY = 10
Answer = Callable[[Task], np.ndarray]  # predictions for the query, from the support


def item_mean(task: Task) -> np.ndarray:
    """Predict what others think of the item, column 0 of the features."""
    return task.query_x[:, 0]


def shrunk_bias(task: Task, damping: float) -> np.ndarray:
    """Add how far the user's ratings lie from the items' means, drawn to zero where they are few."""
    return task.query_x[:, 0] + (task.support_y - task.support_x[:, 0]).sum() / (len(task.support_y) + damping)


def ridge(task: Task, l2: float, bias: float = 1.0) -> np.ndarray:
    """Fit the deviations from the items' means by a ridge regression on the features and a constant."""
    if not len(task.support_y):
        return item_mean(task)
    x, q = (np.c_[np.full(len(part), bias), part[:, 1:]] for part in (task.support_x, task.query_x))
    return item_mean(task) + q @ x.T @ np.linalg.solve(
        x @ x.T + l2 * np.eye(len(x)), task.support_y - task.support_x[:, 0]
    )


def user_errors(answer: Answer, tasks: Sequence[Task]) -> np.ndarray:
    """Return the mean squared error of each task's query, (tasks,), predictions held to 1 to 5 stars."""
    return np.array([np.square(np.clip(answer(task), 1, 5) - task.query_y).mean() for task in tasks])


def rmse(errors: np.ndarray) -> float:
    """Return the root of the mean over users."""
    return float(np.sqrt(errors.mean()))


def paired_interval(first: np.ndarray, second: np.ndarray, seed: int = 0, resamples: int = 2000) -> tuple[float, float]:
    """Return the 95% interval of rmse(first) - rmse(second), users drawn anew, the same ones for both, (users,)."""
    n = len(first)
    counts = np.random.default_rng(seed).multinomial(n, np.full(n, 1 / n), resamples) / n
    low, high = np.percentile(np.sqrt(counts @ first) - np.sqrt(counts @ second), [2.5, 97.5])
    return float(low), float(high)


def _tuned(joint: JointTraining, rate: float, steps: int) -> Answer:
    def answer(task: Task) -> np.ndarray:
        joint.inner_lr, joint.inner_steps = rate, steps
        return joint.adapt(task)(task.query_x)

    return answer


def contenders(joint: JointTraining, fresh: JointTraining) -> dict[str, list[Answer]]:
    """Name each way to answer, with the settings to choose from, six at most."""
    steps = [(0.01, 5), (0.01, 20), (0.03, 5), (0.05, 1), (0.05, 5), (0.1, 1)]
    return {
        "item mean": [item_mean],
        "shrunk bias": [partial(shrunk_bias, damping=d) for d in (1.0, 2.0, 3.0, 5.0, 10.0, 20.0)],
        "ridge": [partial(ridge, l2=l2) for l2 in (2.0, 5.0, 10.0, 20.0, 40.0, 80.0)],
        "network, from scratch": [_tuned(fresh, *setting) for setting in steps],
        "joint training": [_tuned(joint, 0.01, 0)],
        "joint training + fine-tuning": [_tuned(joint, *setting) for setting in steps],
    }


@experiment
def adaptation() -> dict[str, Any]:
    """Predict ten ratings of new users from their first 0 to 20, or from any 0 to 20: the baselines of Part III.

    Five draws of meta-train, meta-validation and meta-test users (70, 10, 20 of 100). Each way has at most six
    settings, chosen for each number of ratings on meta-validation users. The joint network: 300 updates of 32 users,
    learning rate 0.003, the best on meta-validation kept. Intervals are over users of all draws.
    """
    data = load_movielens()
    vectors = TextEncoder().encode(data.items["text"].tolist())
    kept: dict[tuple[str, str, int], list[np.ndarray]] = {}
    chosen: list[dict[str, Any]] = []
    for seed in tqdm(range(5), desc="draws"):
        train, valid, test = split_users(data, seed=seed)
        features = item_features(train, vectors, seed=seed)
        network = RatingNetwork(features.shape[1], seed=seed)
        joint = JointTraining(network, inner_steps=0, steps=300, learning_rate=3e-3, seed=seed)
        joint.meta_fit(user_tasks(train, 20, None, features=features), user_tasks(valid, 10, QUERY, features=features))
        ways = contenders(joint, JointTraining(network))
        for order, k in product(("time", "random"), SHOTS):
            tasks, to_choose = (
                user_tasks(part, k, QUERY, seed, order, features)  # type: ignore[arg-type]
                for part in (test, valid)
            )
            for name, answers in ways.items():
                place = min(range(len(answers)), key=lambda i: user_errors(answers[i], to_choose).mean())
                kept.setdefault((order, name, k), []).append(user_errors(answers[place], tasks))
                chosen.append({"order": order, "model": name, "k": k, "seed": seed, "setting": place})
    table = []
    for (order, name, k), errors in kept.items():
        mine, mean = np.concatenate(errors), np.concatenate(kept[order, "item mean", k])
        low, high = paired_interval(mine, mean)
        row = {"order": order, "model": name, "k": k, "rmse": rmse(mine), "draws": [rmse(e) for e in errors]}
        table.append({**row, "lead": rmse(mine) - rmse(mean), "low": low, "high": high})
    return {"table": table, "chosen": chosen, "groups": _groups(data, vectors)}


def _groups(data: Dataset, vectors: np.ndarray) -> list[dict[str, Any]]:
    """Rate for new people of whom nothing is known but their group, by a ridge on the ratings of the group's others.

    Ages in seven bands; strength of the ridge, of three, chosen on meta-validation users.
    """
    bands = age_bands(data.users["age"].to_numpy())
    groups = {"age": bands, **{by: data.users[by].astype(str).to_numpy() for by in ("occupation", "gender")}}
    rows = []
    for seed in range(5):
        train, valid, test = split_users(data, seed=seed)
        features = item_features(train, vectors, seed=seed)
        parts = [user_tasks(part, 0, 20, seed, features=features) for part in (valid, test)]
        everybody = user_errors(item_mean, parts[1])
        for by, names in groups.items():
            tried = [
                [user_errors(_of_group(train, features, names, l2), tasks) for tasks in parts]
                for l2 in (100, 1000, 1e4)
            ]
            _, errors = min(tried, key=lambda pair: pair[0].mean())
            low, high = paired_interval(errors, everybody)
            row = {"group": by, "seed": seed, "rmse": rmse(errors), "everybody": rmse(everybody)}
            rows.append({**row, "low": low, "high": high})
    return rows


def _of_group(train: Dataset, features: np.ndarray, names: np.ndarray, l2: float) -> Answer:
    weights = {}
    for name in np.unique(names[train.user_index]):
        mine = names[train.user_index] == name
        x, deviation = features[train.item_index[mine]].copy(), train.ratings[mine]
        deviation = deviation - x[:, 0]
        x[:, 0] = 1  # the group's own constant
        weights[name] = np.linalg.solve(x.T @ x + l2 * np.eye(x.shape[1]), x.T @ deviation)
    nobody = np.zeros(features.shape[1])

    def answer(task: Task) -> np.ndarray:
        w = weights.get(names[int(str(task.owner))], nobody)
        return item_mean(task) + w[0] + task.query_x[:, 1:] @ w[1:]

    return answer

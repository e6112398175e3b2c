"""Part III: settings chosen on some users, errors kept on others, fold after fold."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, Self, TypeVar

import numpy as np
import torch
from joblib import Parallel, delayed
from threadpoolctl import threadpool_limits
from tqdm.auto import tqdm

from llmrec_lite.data import Dataset
from llmrec_lite.meta.baselines import (
    FACTORS,
    ORDERS,
    QUERY,
    SHARES,
    TEXT,
    Predict,
    adapting,
    each,
    item_mean,
    paired_interval,
    ridge,
    shrunk_bias,
    squared_and_absolute_errors,
    user_errors,
    user_rmse,
)
from llmrec_lite.meta.features import RatingNetwork, cross_fitted_features, item_features
from llmrec_lite.meta.learners import JointTraining
from llmrec_lite.meta.tasks import SHOTS, HistoryOrder, Task, nested_tasks, split_users
from llmrec_lite.stats import mean_interval

T = TypeVar("T")


class Study:
    """Errors of ways to answer: settings chosen on some users, errors kept on others, fold after fold.

    With the folds of one seed, each user is judged once, so that users of all folds can be drawn anew together; with
    those of several seeds, as often, and the mean of a user's errors is what is drawn.
    """

    def __init__(self) -> None:
        # (order, way, K) -> of each fold the squared and absolute errors, (2, tasks), and whose they are
        self.errors: dict[tuple[str, str, int], list[np.ndarray]] = {}
        self.task_ids: dict[tuple[str, int], list[np.ndarray]] = {}
        self.chosen: list[dict[str, Any]] = []

    def judge(
        self,
        ways: Mapping[str, Sequence[Predict]],
        valid: Dataset,
        test: Dataset,
        features: np.ndarray,
        order: HistoryOrder,
        fold: int,
    ) -> None:
        """Choose a setting of each way for each K on meta-validation users; keep its errors on meta-test users."""
        to_choose, tasks = (nested_tasks(part, SHOTS, QUERY, 0, order, features) for part in (valid, test))
        for k in SHOTS:
            self.task_ids.setdefault((order, k), []).append(np.array([int(str(task.task_id)) for task in tasks[k]]))
            for name, predictors in ways.items():
                tried = [user_errors(predict, to_choose[k]).mean() for predict in predictors]
                place = int(np.nanargmin(tried))
                errors = squared_and_absolute_errors(predictors[place], tasks[k])
                self.errors.setdefault((order, name, k), []).append(errors)
                choice = {"order": order, "model": name, "k": k, "fold": fold, "setting": place}
                self.chosen.append({**choice, "settings": len(predictors), "rmse": user_rmse(errors[0])})

    @classmethod
    def joined(cls, studies: Iterable[Study]) -> Study:
        """Return one study of all folds, in the order given."""
        whole = cls()
        for one in studies:
            for way, errors in one.errors.items():
                whole.errors.setdefault(way, []).extend(errors)
            for size, task_ids in one.task_ids.items():
                whole.task_ids.setdefault(size, []).extend(task_ids)
            whole.chosen += one.chosen
        return whole

    def table(self, *rivals: str, folds: slice = slice(None)) -> list[dict[str, Any]]:
        """Return the error of each way at each K, and its lead over each rival with an interval over users.

        `folds` takes a part of the folds that were judged, in their order.
        """
        rows = []
        for order, name, k in self.errors:
            mine, absolute = self.of_users(order, name, k, folds)
            row = {"order": order, "model": name, "k": k, "rmse": user_rmse(mine), "users": len(mine)}
            row["mae"] = float(absolute.mean())
            for rival in rivals:
                theirs, theirs_absolute = self.of_users(order, rival, k, folds)
                low, high = paired_interval(mine, theirs)
                row |= {
                    f"lead over {rival}": user_rmse(mine) - user_rmse(theirs),
                    f"low {rival}": low,
                    f"high {rival}": high,
                }
                low, high = mean_interval(absolute - theirs_absolute)
                lead = float((absolute - theirs_absolute).mean())
                row |= {f"mae lead over {rival}": lead, f"mae low {rival}": low, f"mae high {rival}": high}
            rows.append(row)
        return rows

    def of_users(self, order: str, name: str, k: int, folds: slice = slice(None)) -> np.ndarray:
        """Return the mean squared and absolute errors of each user, (2, users)."""
        task_ids = np.concatenate(self.task_ids[order, k][folds])
        _, place, times = np.unique(task_ids, return_inverse=True, return_counts=True)
        errors = np.concatenate(self.errors[order, name, k][folds], axis=1)
        return np.stack([np.bincount(place, part) / times for part in errors])


def draw_order(rng: np.random.Generator) -> HistoryOrder:
    """Draw which ratings of a user are known."""
    return ORDERS[int(rng.integers(len(ORDERS)))]


# Rate and steps of an adaptation; the first is none.
FINE_TUNING = ((0.05, 0), (0.01, 1), (0.02, 1), (0.05, 1), (0.05, 2), (0.05, 4), (0.05, 8), (0.05, 16))
L2 = (1.0, 3.0, 10.0, 30.0, 100.0, 300.0)
BIAS_L2 = (3.0, 10.0, 30.0, 100.0)
DAMPING = (1.0, 3.0, 6.0, 12.0, 25.0, 50.0)
FACTOR_COUNTS = (8, 16, 32)
TWO_PENALTIES = "ridge, two penalties"
FINE_TUNED, UNTRAINED = "joint training + fine-tuning", "untrained network + fine-tuning"
MAX_QUERY = 100  # ratings of a meta-train user after the 20th that are learned from
JOINT = ((3e-3, 0), (1e-3, 0), (3e-3, 3), (1e-3, 3))  # learning rate, and fine-tuning steps before a look


def rules() -> dict[str, list[Predict]]:
    """Name each way to answer that needs no training, with the settings to choose from."""
    return {
        "item mean": [each(item_mean)],
        "shrunk bias": [each(partial(shrunk_bias, damping=d)) for d in DAMPING],
        "ridge on factors": [each(partial(ridge, l2=l2, columns=FACTORS)) for l2 in L2],
        TWO_PENALTIES: two_penalties(FACTOR_COUNTS),
        "ridge on text": [each(partial(ridge, l2=l2, columns=TEXT)) for l2 in L2],
        "ridge": [each(partial(ridge, l2=l2)) for l2 in L2],
    }


def two_penalties(factor_counts: Sequence[int]) -> list[Predict]:
    """Return ridges on the first factors, with a penalty for the bias and one for the factors, for all settings."""
    return [
        each(partial(ridge, l2=l2, columns=slice(FACTORS.start, FACTORS.start + n), bias_l2=bias_l2))
        for n in factor_counts
        for l2 in L2
        for bias_l2 in BIAS_L2
    ]


@dataclass
class Fold:
    """One fold of users, with features for new users and, cross-fitted, for those of meta-train."""

    seed: int
    valid: Dataset
    test: Dataset
    features: np.ndarray
    parts: list[tuple[Dataset, np.ndarray]]  # users of meta-train, and features without their ratings

    @classmethod
    def of(cls, data: Dataset, vectors: np.ndarray, fold: int, deal: int = 0, leaking: bool = False) -> Self:
        """Split the users; where `leaking`, those of meta-train get features that contain their ratings."""
        train, valid, test = split_users(data, SHARES, seed=deal, fold=fold)
        seed = 5 * deal + fold
        if leaking:
            features = item_features(train, vectors, seed=seed)
            return cls(seed, valid, test, features, [(train, features)])
        features, parts = cross_fitted_features(train, vectors, seed=seed)
        return cls(seed, valid, test, features, parts)

    def network(self) -> RatingNetwork:
        """Return the network that all learners begin with."""
        return RatingNetwork(self.features.shape[1], seed=self.seed)

    def to_learn(self, order: HistoryOrder) -> dict[int, list[Task]]:
        """Return the tasks of meta-train users for each K: queries of 10 to `MAX_QUERY` ratings after the 20th."""
        found: dict[int, list[Task]] = {}
        for own, features in self.parts:
            made = nested_tasks(own, SHOTS, MAX_QUERY, self.seed, order, features, min_query=QUERY)
            for k, tasks in made.items():
                found.setdefault(k, []).extend(tasks)
        return found

    def to_stop(self, order: HistoryOrder) -> list[Task]:
        """Return the tasks of meta-validation users by which training stops, of every size but none."""
        return [
            t
            for k, tasks in nested_tasks(self.valid, SHOTS, QUERY, 0, order, self.features).items()
            if k
            for t in tasks
        ]

    def joint(self, setting: int) -> JointTraining:
        """Train the network of the baseline in one of its four settings, on the same ratings as the meta-learners.

        200 updates of 32 users; the best of ten looks at meta-validation users is kept, each with ten first ratings
        known.
        """
        rate, stop_after = JOINT[setting]
        options: dict[str, Any] = {"steps": 200, "valid_every": 20, "learning_rate": rate, "seed": self.seed}
        learner = JointTraining(self.network(), 0.05, stop_after, **options)
        looks = nested_tasks(self.valid, SHOTS, QUERY, features=self.features)[10]
        return learner.meta_fit(self.to_learn("time")[max(SHOTS)], looks)

    def contenders(self, joint: Sequence[JointTraining]) -> dict[str, list[Predict]]:
        """Name the baselines that have a network, with the settings to choose from."""
        fresh = JointTraining(self.network()).initialize()
        return {
            UNTRAINED: [adapting(fresh, *setting) for setting in FINE_TUNING],
            "joint training": [adapting(one, steps=0) for one in joint],
            FINE_TUNED: [adapting(one, *setting) for one in joint for setting in FINE_TUNING],
        }


def all_cores(work: Callable[..., T], *arguments: Sequence[Any]) -> list[T]:
    """Return what a function makes of each set of arguments, computed on all cores, one thread each."""
    with threadpool_limits(1):
        found = Parallel(n_jobs=os.cpu_count(), return_as="generator")(
            delayed(_one_thread)(work, *some) for some in zip(*arguments, strict=True)
        )
        return list(tqdm(found, total=len(arguments[0]), desc="folds"))


def _one_thread(work: Callable[..., T], *arguments: Any) -> T:
    torch.set_num_threads(1)
    return work(*arguments)

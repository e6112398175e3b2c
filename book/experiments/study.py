"""Part III: settings chosen on some users, errors kept on others, fold after fold."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any

import numpy as np

from llmrec_lite.data import Dataset
from llmrec_lite.meta.baselines import (
    FACTORS,
    ORDERS,
    QUERY,
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
from llmrec_lite.meta.features import RatingNetwork
from llmrec_lite.meta.learners import JointTraining
from llmrec_lite.meta.tasks import SHOTS, HistoryOrder, nested_tasks, user_tasks
from llmrec_lite.stats import mean_interval


class Study:
    """What ways to answer are worth: settings chosen on some users, errors kept on others, fold after fold.

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
                self.errors.setdefault((order, name, k), []).append(
                    squared_and_absolute_errors(predictors[place], tasks[k])
                )
                choice = {"order": order, "model": name, "k": k, "fold": fold, "setting": place}
                self.chosen.append({**choice, "settings": len(predictors)})

    def table(self, *rivals: str, folds: slice = slice(None)) -> list[dict[str, Any]]:
        """Return the error of each way at each K, and its lead over each rival with an interval over users.

        `folds` takes a part of the folds that were judged, in their order.
        """
        rows = []
        for order, name, k in self.errors:
            mine, absolute = self._of_users(order, name, k, folds)
            row = {"order": order, "model": name, "k": k, "rmse": user_rmse(mine), "users": len(mine)}
            row["mae"] = float(absolute.mean())
            for rival in rivals:
                theirs, theirs_absolute = self._of_users(order, rival, k, folds)
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

    def _of_users(self, order: str, name: str, k: int, folds: slice) -> np.ndarray:
        """Return the mean squared and absolute errors of each user, (2, users)."""
        task_ids = np.concatenate(self.task_ids[order, k][folds])
        _, place, times = np.unique(task_ids, return_inverse=True, return_counts=True)
        errors = np.concatenate(self.errors[order, name, k][folds], axis=1)
        return np.stack([np.bincount(place, part) / times for part in errors])


def draw_order(rng: np.random.Generator) -> HistoryOrder:
    """Draw which ratings of a user are known."""
    return ORDERS[int(rng.integers(len(ORDERS)))]


FINE_TUNING = ((0.02, 1), (0.05, 1), (0.05, 3), (0.05, 6), (0.05, 12), (0.05, 24))  # rate, steps


L2 = (1.0, 3.0, 10.0, 30.0, 100.0, 300.0)


DAMPING = (1.0, 3.0, 6.0, 12.0, 25.0, 50.0)


def rules() -> dict[str, list[Predict]]:
    """Name each way to answer that needs no training, with the settings to choose from."""
    return {
        "item mean": [each(item_mean)],
        "shrunk bias": [each(partial(shrunk_bias, damping=d)) for d in DAMPING],
        "ridge on factors": [each(partial(ridge, l2=l2, columns=FACTORS)) for l2 in L2],
        "ridge on text": [each(partial(ridge, l2=l2, columns=TEXT)) for l2 in L2],
        "ridge": [each(partial(ridge, l2=l2)) for l2 in L2],
    }


def contenders(joint: JointTraining, fresh: JointTraining) -> dict[str, list[Predict]]:
    """Name each way to answer, with the settings to choose from, six at most."""
    return rules() | {
        "untrained network + fine-tuning": [adapting(fresh, *setting) for setting in FINE_TUNING],
        "joint training": [adapting(joint, steps=0)],
        "joint training + fine-tuning": [adapting(joint, *setting) for setting in FINE_TUNING],
    }


def trained_jointly(
    train: Dataset, valid: Dataset, features: np.ndarray, seed: int, learning_rate: float = 3e-3, stop_after: int = 0
) -> JointTraining:
    """Train the network of the baseline: 300 updates of 32 users, up to 120 ratings of each.

    The best of six looks at meta-validation users is kept, each with ten first ratings known: by the error after
    `stop_after` steps on these.
    """
    network = RatingNetwork(features.shape[1], seed=seed)
    options = {"steps": 300, "learning_rate": learning_rate, "seed": seed}
    joint = JointTraining(network, 0.05, stop_after, **options)  # type: ignore[arg-type]
    looks = nested_tasks(valid, SHOTS, QUERY, features=features)[10]
    return joint.meta_fit(user_tasks(train, 20, 100, features=features), looks)

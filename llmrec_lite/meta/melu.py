"""Chapter 14: MeLU's idea: what a person says of himself goes in, and only the layers that decide adapt."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import pandas as pd

from llmrec_lite.meta.features import RatingNetwork
from llmrec_lite.meta.maml import MAML
from llmrec_lite.meta.tasks import Task, age_bands


def person_features(users: pd.DataFrame) -> np.ndarray:
    """Describe people by gender, band of age and occupation, as far as the table has them.

    Returns:
        (n_users, p) float32; each of the three has mean square 1 in total over the people. No columns where the
        table has none of the three.
    """
    told = {name: users[name].astype(str) for name in ("gender", "occupation") if name in users}
    if "age" in users:
        told["age"] = pd.Series(age_bands(users["age"].to_numpy()))
    blocks = [np.empty((len(users), 0))]
    for column in told.values():
        block = pd.get_dummies(column).to_numpy(float)
        block = block - block.mean(0)
        size = np.sqrt(np.square(block).sum(1).mean())
        blocks.append(block / size if size > 0 else block)
    return np.hstack(blocks).astype(np.float32)


def with_person(tasks: Sequence[Task], people: np.ndarray) -> list[Task]:
    """Append to each input of a task the features of the person whose task it is.

    Args:
        tasks: of `user_tasks`, with inputs (k, d).
        people: (n_users, p), see `person_features`.

    Returns:
        The same tasks with inputs (k, d + p).
    """

    def joined(x: np.ndarray, owner: object) -> np.ndarray:
        mine = people[int(str(owner))]
        return np.hstack([x, np.broadcast_to(mine, (len(x), len(mine)))])

    return [
        replace(task, support_x=joined(task.support_x, task.owner), query_x=joined(task.query_x, task.owner))
        for task in tasks
    ]


class PreferenceEstimator(MAML):
    """MeLU: an embedding of item and person that is the same for all, and layers above it that adapt to each person.

    Lee et al., KDD 2019, algorithm 1: the layers that decide take a few steps on a person's support; the embedding
    learns from the queries only. Their published code loads the adapted weights back into the network, which cuts the
    way from the query to the beginning (chapter 12); this one keeps it.

    Args:
        d: length of the inputs, column 0 the item's mean rating (`item_features`).
        hidden: units of the embedding, then of the layers that decide.
        inner_lr: step size of the adaptation.
        inner_steps: how many steps it takes.
        seed: of the first weights and of the order of the tasks.
        options: of `MAML`.

    Raises:
        ValueError: there is no layer between embedding and head.
    """

    def __init__(
        self,
        d: int,
        hidden: tuple[int, ...] = (64, 64, 64),
        inner_lr: float = 0.05,
        inner_steps: int = 5,
        seed: int = 0,
        **options: Any,
    ) -> None:
        if len(hidden) < 2:
            raise ValueError(f"hidden={hidden} needs two numbers or more: of the embedding, and of what decides")
        deciding = tuple(f"hidden.{i}." for i in range(1, len(hidden)))
        network = RatingNetwork(d, hidden, seed)
        super().__init__(network, inner_lr, inner_steps, parameters=(*deciding, "head"), seed=seed, **options)

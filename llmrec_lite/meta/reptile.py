"""Chapter 13: Reptile, which adapts to a task as usual and then moves the beginning toward where that led."""

from __future__ import annotations

from math import isfinite
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from llmrec_lite.compute import random_seed
from llmrec_lite.errors import SettingError
from llmrec_lite.meta.learners import MetaLearner, Weights, adapt_all
from llmrec_lite.meta.tasks import Batch


class Reptile(MetaLearner):
    """Learn a beginning by theta <- theta + outer_lr * (mean of theta' - theta), theta' being adapted to a task.

    Nichol, Achiam, Schulman, "On First-Order Meta-Learning Algorithms", 2018, algorithm 2; equation (13.1). No query is
    kept apart: in training a task's support and query are one set, and each step of the inner loop sees a part of it.

    Args:
        model: maps inputs to predictions, (k, ...) -> (k,). It is copied.
        inner_lr: step size of the adaptation.
        inner_steps: of the adaptation to a new task.
        outer_lr: how far the beginning moves toward the mean of the adapted weights, 1 for all the way; it falls in a
            line to 0 over training.
        train_steps: inner steps in training; those of `inner_steps` where None. One step would make it joint training.
        minibatch: examples of a task that an inner step sees in training.
        options: of `MetaLearner`, but `learning_rate`, which is `outer_lr` here.

    Raises:
        ValueError: a setting is out of its range.
    """

    def __init__(
        self,
        model: nn.Module,
        inner_lr: float = 0.05,
        inner_steps: int = 5,
        outer_lr: float = 0.5,
        train_steps: int | None = None,
        minibatch: int = 10,
        **options: Any,
    ) -> None:
        if not (isfinite(outer_lr) and 0 < outer_lr <= 1):
            raise SettingError(f"outer_lr={outer_lr!r} must lie above 0 and not above 1")
        for name, value in (("train_steps", train_steps), ("minibatch", minibatch)):
            if value is not None and value < 1:
                raise SettingError(f"{name}={value!r} must be at least 1")
        unclipped = {"clip_norm": 1e12, **options}  # a shortened way would be another interpolation
        super().__init__(model, inner_lr, inner_steps, learning_rate=outer_lr, **unclipped)
        self.train_steps = train_steps or max(1, inner_steps)
        self.minibatch = minibatch

    def optimizer(self) -> torch.optim.Optimizer:
        """Return plain gradient descent: with the gradient theta - theta' that is the interpolation."""
        return torch.optim.SGD(self.weights_.values(), lr=self.learning_rate)

    def meta_loss(self, batch: Batch) -> Tensor:
        """Return half the squared distance to the mean of the adapted weights, so that its gradient is the way back.

        It is weighted by what is left of training, which makes the interpolation shorter and shorter.
        """
        target = self.mean_adapted(batch)
        left = 1 - len(self.losses_) % self.steps / self.steps
        return left * sum(((w - target[name]).square().sum() for name, w in self.weights_.items()), torch.zeros(())) / 2

    def mean_adapted(self, batch: Batch) -> Weights:
        """Return the mean over tasks of the weights after `train_steps` steps, each on some examples of the task."""
        x = torch.cat([batch.support_x, batch.query_x], 1)
        y = torch.cat([batch.support_y, batch.query_y], 1)
        mask = torch.cat([batch.support_mask, batch.query_mask], 1)
        rng = np.random.default_rng(random_seed(self.seed, len(self.losses_)))
        parts = [_some(mask, self.minibatch, rng) for _ in range(self.train_steps)]
        adapted = adapt_all(self.model, self.weights_, x, y, parts, self.inner_lr)
        return {name: weight.detach().mean(0) for name, weight in adapted.items()}


def _some(mask: Tensor, size: int, rng: np.random.Generator) -> Tensor:
    """Draw `size` of the real examples of each task, (tasks, k) -> (tasks, k); all where there are fewer."""
    chance = np.where(mask.numpy(), rng.random(tuple(mask.shape)), 2.0)
    place = chance.argsort(1).argsort(1)
    return mask & torch.from_numpy(place < size)

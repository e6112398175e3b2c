"""Chapter 13: Reptile, which moves the initialization toward where adapting to tasks leads."""

from __future__ import annotations

from math import isfinite
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from llmrec_lite.compute import random_seed
from llmrec_lite.errors import SettingError
from llmrec_lite.meta.learners import MetaLearner, Weights, adapt_batch
from llmrec_lite.meta.tasks import Batch


class Reptile(MetaLearner):
    """Reptile: theta <- theta + outer_lr * (mean of theta' - theta), where theta' has adapted to a task.

    Nichol, Achiam, Schulman, "On First-Order Meta-Learning Algorithms", 2018, algorithm 2; equation (13.1). In training
    a task's support and query are one set, and each inner step sees a minibatch of it.

    Args:
        model: maps inputs to predictions, (k, ...) -> (k,).
        inner_lr: step size of the adaptation.
        inner_steps: of the adaptation to a new task.
        outer_lr: interpolation toward the mean of the adapted weights, 1 for all the way; it falls linearly to 0 over
            training.
        train_steps: inner steps in training; `inner_steps`, or one, where None. One step makes it joint training.
        minibatch: examples of a task that an inner step sees in training.
        options: of `MetaLearner`; `learning_rate` is not used.
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
        # A clipped gradient would be a shorter interpolation.
        super().__init__(model, inner_lr, inner_steps, **{"clip_norm": 1e12, **options})
        self.outer_lr = outer_lr
        self.train_steps = train_steps
        self.minibatch = minibatch

    def optimizer(self) -> torch.optim.Optimizer:
        """Plain gradient descent: with the gradient theta - mean of theta' it is the interpolation."""
        return torch.optim.SGD(self.weights_.values(), lr=self.outer_lr)

    def meta_loss(self, batch: Batch) -> Tensor:
        """Half the squared distance to the mean of the adapted weights, times the share of training that is left."""
        target = self.mean_adapted(batch)
        left = 1 - len(self.losses_) / self.steps
        return left * sum(((w - target[name]).square().sum() for name, w in self.weights_.items()), torch.zeros(())) / 2

    def mean_adapted(self, batch: Batch) -> Weights:
        """Mean over tasks of the weights after the inner steps of training."""
        x = torch.cat([batch.support_x, batch.query_x], 1)
        y = torch.cat([batch.support_y, batch.query_y], 1)
        mask = torch.cat([batch.support_mask, batch.query_mask], 1)
        rng = np.random.default_rng(random_seed(self.seed, len(self.losses_)))
        steps = self.train_steps or max(1, self.inner_steps)
        minibatches = [_minibatch(mask, self.minibatch, rng) for _ in range(steps)]
        adapted = adapt_batch(self.model, self.weights_, x, y, minibatches, self.inner_lr)
        return {name: weight.detach().mean(0) for name, weight in adapted.items()}


def _minibatch(mask: Tensor, size: int, rng: np.random.Generator) -> Tensor:
    """Draw `size` of the real examples of each task, (tasks, k) -> (tasks, k); all where there are fewer."""
    chance = np.where(mask.numpy(), rng.random(tuple(mask.shape)), 2.0)
    place = chance.argsort(1).argsort(1)
    return mask & torch.from_numpy(place < size)

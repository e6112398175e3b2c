"""Chapter 11: what is learned from many tasks: one model for all of them, or one that adapts well to each."""

from __future__ import annotations

import copy
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from math import isfinite
from typing import Self

import numpy as np
import torch
from torch import Tensor, nn
from torch.func import functional_call
from tqdm.auto import trange

from llmrec_lite.meta.tasks import Batch, Task, episodes

Weights = dict[str, Tensor]
Support = tuple[np.ndarray, np.ndarray]
Predictor = Callable[[np.ndarray], np.ndarray]


def masked_mse(predictions: Tensor, targets: Tensor, mask: Tensor) -> Tensor:
    """Return the mean squared error of each task over what is real, (tasks, k) -> (tasks,); 0 where nothing is."""
    errors = torch.where(mask, predictions - targets, 0).square()
    return errors.sum(-1) / mask.sum(-1).clamp(min=1)


def gradient_descent(
    model: nn.Module,
    weights: Weights,
    x: Tensor,
    y: Tensor,
    mask: Tensor,
    rates: float | Weights,
    steps: int,
    learns: Sequence[str] | None = None,
    create_graph: bool = False,
) -> Weights:
    """Adapt weights to one task by plain gradient descent on its mean squared error; nothing is changed in place.

    Args:
        model: what maps x to predictions, (k, ...) -> (k,).
        weights: its parameters by name, where to begin.
        x: inputs of the support, (k, ...).
        y: targets, (k,).
        mask: which of them are real, (k,).
        rates: step size, or one for each number of each weight.
        steps: how many.
        learns: names of the weights that move; all where None.
        create_graph: keep how the result depends on where it began (for a second-order meta-gradient). Without it the
            result is a constant plus the beginning, as first-order methods take it.

    Returns:
        The weights after the last step.
    """
    names = list(weights) if learns is None else list(learns)
    for _ in range(steps):
        loss = masked_mse(functional_call(model, weights, (x,)), y, mask)
        moving = [weights[name] for name in names]
        gradients = torch.autograd.grad(loss, moving, create_graph=create_graph)
        moved = {
            name: weight - (rates if isinstance(rates, float) else rates[name]) * gradient
            for name, weight, gradient in zip(names, moving, gradients, strict=True)
        }
        weights = {**weights, **moved}
    return weights


class MetaLearner(ABC):
    """What all learners of Part III share: they learn from many tasks, then adapt to one from its support.

    Args:
        model: maps inputs to predictions, (k, ...) -> (k,). It is copied; its weights are where training begins.
        inner_lr: step size of the adaptation.
        inner_steps: how many steps the adaptation takes; 0 for none.
        steps: updates of what is learned from all tasks.
        batch_size: tasks an update.
        learning_rate: of these updates, by Adam.
        clip_norm: longer gradients of these updates are shortened to it.
        valid_every: updates from one look at the validation tasks to the next.
        seed: of the order of the tasks.
        progress: show a progress bar.

    Raises:
        ValueError: a setting is out of its range.
    """

    def __init__(
        self,
        model: nn.Module,
        inner_lr: float = 0.05,
        inner_steps: int = 5,
        *,
        steps: int = 500,
        batch_size: int = 32,
        learning_rate: float = 1e-3,
        clip_norm: float = 10.0,
        valid_every: int = 50,
        seed: int = 0,
        progress: bool = False,
    ) -> None:
        for name, value in (("inner_lr", inner_lr), ("learning_rate", learning_rate), ("clip_norm", clip_norm)):
            if not (value > 0 and isfinite(value)):
                raise ValueError(f"{name}={value!r} must be a number above 0")
        least = {"inner_steps": 0, "steps": 0, "batch_size": 1, "valid_every": 1}
        given = {"inner_steps": inner_steps, "steps": steps, "batch_size": batch_size, "valid_every": valid_every}
        for name, number in given.items():
            if number < least[name]:
                raise ValueError(f"{name}={number!r} must be at least {least[name]}")
        self.model, self.inner_lr, self.inner_steps = copy.deepcopy(model), float(inner_lr), inner_steps
        self.steps, self.batch_size, self.learning_rate, self.clip_norm = steps, batch_size, learning_rate, clip_norm
        self.valid_every, self.seed, self.progress = valid_every, seed, progress
        self.weights_: Weights = {n: p.detach().clone().requires_grad_() for n, p in self.model.named_parameters()}
        self.losses_: list[float] = []  # one an update
        self.valid_losses_: list[tuple[int, float]] = []  # (updates done, mean query loss after adapting)

    @abstractmethod
    def meta_loss(self, batch: Batch) -> Tensor:
        """Return what an update makes smaller, a scalar that depends on `learned()`."""

    def learned(self) -> Weights:
        """Return what is learned from all tasks, by name."""
        return self.weights_

    def optimizer(self) -> torch.optim.Optimizer:
        """Return what makes the updates."""
        return torch.optim.Adam(self.learned().values(), lr=self.learning_rate)

    def meta_fit(self, tasks: Sequence[Task], valid: Sequence[Task] | None = None) -> Self:
        """Learn from many tasks; where validation tasks are given, the best of what was seen is kept at the end.

        Raises:
            ValueError: there is no task.
            FloatingPointError: the loss or its gradient is no longer a number.
        """
        optimizer = self.optimizer()
        best: tuple[float, Weights] | None = None
        batches = episodes(tasks, self.batch_size, self.steps, self.seed)
        for step in trange(1, self.steps + 1, disable=not self.progress, desc=type(self).__name__):
            optimizer.zero_grad()
            loss = self.meta_loss(next(batches))
            loss.backward()
            norm = nn.utils.clip_grad_norm_(self.learned().values(), self.clip_norm)
            if not (isfinite(loss.item()) and isfinite(norm.item())):
                raise FloatingPointError(
                    f"update {step}: the loss is {loss.item()}, its gradient's length {norm.item()}; "
                    f"take an inner_lr below {self.inner_lr} or a learning_rate below {self.learning_rate}"
                )
            optimizer.step()
            self.losses_.append(loss.item())
            if valid is not None and (step % self.valid_every == 0 or step == self.steps):
                value = self.query_loss(valid)
                self.valid_losses_.append((step, value))
                if best is None or value < best[0]:
                    best = value, {name: w.detach().clone() for name, w in self.learned().items()}
        if best is not None:
            with torch.no_grad():
                for name, weight in self.learned().items():
                    weight.copy_(best[1][name])
        return self

    def adapted(self, x: Tensor, y: Tensor, mask: Tensor, create_graph: bool = False) -> Weights:
        """Return the weights for one task, from its support."""
        return gradient_descent(
            self.model, self.weights_, x, y, mask, self.inner_lr, self.inner_steps, create_graph=create_graph
        )

    def adapt(self, support: Support | Task) -> Predictor:
        """Adapt to one task; what was learned from all tasks stays as it is.

        Args:
            support: inputs and targets, ((k, ...), (k,)), with k = 0 where nothing is known; or a task, whose support
                is taken.

        Returns:
            A function from inputs (n, ...) to predictions (n,) float32.

        Raises:
            ValueError: inputs and targets do not fit each other, or a target is not a finite number.
            FloatingPointError: the adaptation diverged.
        """
        x, y = (support.support_x, support.support_y) if isinstance(support, Task) else map(np.asarray, support)
        if y.ndim != 1 or len(x) != len(y):
            raise ValueError(f"a support needs as many targets as inputs, got {len(x)} inputs and targets {y.shape}")
        if not np.isfinite(y).all():
            raise ValueError(f"a target of the support is {y[~np.isfinite(y)][0]}; drop it")
        weights = self.weights_
        if len(y):
            inputs, targets = torch.from_numpy(np.ascontiguousarray(x)), torch.from_numpy(y.astype(np.float32))
            weights = self.adapted(inputs, targets, torch.ones(len(y), dtype=torch.bool))
        weights = {name: weight.detach() for name, weight in weights.items()}
        if not all(bool(torch.isfinite(weight).all()) for weight in weights.values()):
            raise FloatingPointError(f"adapting to {len(y)} examples diverged; take an inner_lr below {self.inner_lr}")

        def predict(inputs: np.ndarray) -> np.ndarray:
            with torch.no_grad():
                return functional_call(self.model, weights, (torch.from_numpy(np.ascontiguousarray(inputs)),)).numpy()

        return predict

    def query_loss(self, tasks: Sequence[Task]) -> float:
        """Return the mean squared error on the queries after adapting to each support, mean over tasks."""
        losses = [np.square(self.adapt(task)(task.query_x) - task.query_y).mean() for task in tasks]
        return float(np.mean(losses))


class JointTraining(MetaLearner):
    """The baseline that meta-learning must beat: one model for all tasks, then fine-tuning on the support.

    It minimizes the mean over tasks of the loss on everything a task has, sum_i L_i(theta). For tasks of one size that
    is multi-task maximum likelihood, which S1 presents as meta-learning: no adaptation stands inside the objective.
    The arguments are those of `MetaLearner`; inner_lr and inner_steps are of the fine-tuning.
    """

    def meta_loss(self, batch: Batch) -> Tensor:
        """Return the mean over tasks of the mean squared error on support and query together."""
        x = torch.cat([batch.support_x, batch.query_x], dim=1)
        y = torch.cat([batch.support_y, batch.query_y], dim=1)
        mask = torch.cat([batch.support_mask, batch.query_mask], dim=1)
        predictions = functional_call(self.model, self.weights_, (x.flatten(0, 1),)).unflatten(0, y.shape)
        return masked_mse(predictions, y, mask).mean()

"""Chapter 11: meta-learners, joint training, and adaptation by gradient descent."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from inspect import signature
from math import isfinite
from typing import Literal, Self

import numpy as np
import torch
from sklearn.base import BaseEstimator
from sklearn.exceptions import NotFittedError
from torch import Tensor, nn
from torch.func import functional_call, vmap
from torch.utils.checkpoint import checkpoint
from tqdm.auto import trange

from llmrec_lite.errors import DivergedError, SettingError
from llmrec_lite.meta.tasks import Batch, Task, collate, episodes

Weights = dict[str, Tensor]
GradientOrder = Literal[1, 2]
Support = tuple[np.ndarray, np.ndarray]
Predictor = Callable[[np.ndarray], np.ndarray]


def masked_mse(predictions: Tensor, targets: Tensor, mask: Tensor) -> Tensor:
    """Mean squared error of each task over its real examples, (tasks, k) -> (tasks,); 0 where there are none."""
    errors = torch.where(mask, predictions - targets, 0).square()
    return errors.sum(-1) / mask.sum(-1).clamp(min=1)


def gradient_descent(
    model: nn.Module,
    weights: Weights,
    x: Tensor,
    y: Tensor,
    mask: Tensor,
    inner_lrs: float | Weights,
    steps: int,
    adapted_params: Sequence[str] | None = None,
    create_graph: bool = False,
) -> Weights:
    """Weights after steps of gradient descent on one task's mean squared error; nothing is changed in place.

    Args:
        model: maps x to predictions, (k, ...) -> (k,).
        weights: its parameters by name, the initialization.
        x: inputs of the support, (k, ...).
        y: targets, (k,).
        mask: which of them are real, (k,).
        inner_lrs: step size, or one for each number of each weight.
        steps: how many.
        adapted_params: names of the weights that adapt; all where None.
        create_graph: keep how the result depends on the initialization (for a second-order meta-gradient). Without it
            the result is the initialization plus a constant, as first-order methods take it.
    """
    names = list(weights) if adapted_params is None else list(adapted_params)
    for _ in range(steps):
        loss = masked_mse(functional_call(model, weights, (x,)), y, mask)
        moving = [weights[name] for name in names]
        gradients = torch.autograd.grad(loss, moving, create_graph=create_graph, materialize_grads=True)
        moved = {
            name: weight - _lr_of(inner_lrs, name) * gradient
            for name, weight, gradient in zip(names, moving, gradients, strict=True)
        }
        weights = {**weights, **moved}
    return weights


def adapt_batch(
    model: nn.Module,
    weights: Weights,
    x: Tensor,
    y: Tensor,
    masks: Sequence[Tensor],
    inner_lrs: float | Weights,
    adapted_params: Sequence[str] | None = None,
    order: GradientOrder = 1,
    checkpointing: bool = False,
) -> Weights:
    """Weights adapted to all tasks at once; those that adapt have a first axis for the tasks.

    No weight touches two tasks, so the gradient of the sum of the tasks' losses is the gradient of each.

    Args:
        model: maps x to predictions, (k, ...) -> (k,). It may have a method `stacked(weights, x)`, (tasks, k, ...) ->
            (tasks, k), that takes weights with a first axis for the tasks, or without where they are shared by all;
            without such a method its `forward` is run through vmap, which knows no recurrent layers, and no dropout
            and batch normalization while they train: a SettingError names the layer (`gradient_descent` can).
        weights: the initialization.
        x: inputs, (tasks, k, ...).
        y: targets, (tasks, k).
        masks: for each step, which examples count, (tasks, k).
        inner_lrs: step size, or one for each number of each weight.
        adapted_params: names of the weights that adapt; all where None.
        order: 2 to keep how the result depends on the initialization, as `create_graph` of `gradient_descent` does.
        checkpointing: keep only the weights between steps, and compute the inside again in the backward pass.
    """
    names = list(weights) if adapted_params is None else list(adapted_params)
    forward = stacked_forward(model, names)
    fixed = {name: weight for name, weight in weights.items() if name not in names}

    def step(mask: Tensor, *moving: Tensor) -> tuple[Tensor, ...]:
        predictions = forward({**fixed, **dict(zip(names, moving, strict=True))}, x)
        total = masked_mse(predictions, y, mask).sum()
        # A weight that the loss does not use stays as it is.
        gradients = torch.autograd.grad(total, moving, create_graph=order == 2, materialize_grads=True)
        moved = zip(names, moving, gradients, strict=True)
        if not isinstance(inner_lrs, dict):  # one pass over the memory instead of two
            return tuple(torch.sub(weight, gradient, alpha=inner_lrs) for _, weight, gradient in moved)
        return tuple(weight - inner_lrs[name] * gradient for name, weight, gradient in moved)

    moving = tuple(weights[name].expand(len(y), *weights[name].shape) for name in names)
    if not all(weight.requires_grad for weight in moving):  # only the values are wanted
        moving = tuple(weight.detach().requires_grad_() for weight in moving)
    for mask in masks if y.shape[1] else ():
        moving = checkpoint(step, mask, *moving, use_reentrant=False) if checkpointing else step(mask, *moving)
    return {**fixed, **dict(zip(names, moving, strict=True))}


def predict_batch(
    model: nn.Module,
    weights: Weights,
    batch: Batch,
    inner_lrs: float | Weights,
    steps: int,
    adapted_params: Sequence[str] | None = None,
) -> Tensor:
    """Predictions for each task's query, (tasks, q), after adapting as in `adapt_batch`, without a graph."""
    weights = {name: weight.detach() for name, weight in weights.items()}
    names = list(weights) if adapted_params is None else list(adapted_params)
    masks = [batch.support_mask] * steps
    adapted = adapt_batch(model, weights, batch.support_x, batch.support_y, masks, inner_lrs, names)
    return stacked_forward(model, names)(adapted, batch.query_x).detach()


def stacked_forward(model: nn.Module, names: Sequence[str]) -> Callable[[Weights, Tensor], Tensor]:
    """Return a function of weights, those named with a first axis for the tasks, and x that predicts."""
    if (ready := getattr(model, "stacked", None)) is not None:
        return ready

    def forward(weights: Weights, x: Tensor) -> Tensor:
        axes = ({name: 0 if name in names else None for name in weights}, 0)
        try:
            return vmap(lambda weights, x: functional_call(model, weights, (x,)), in_dims=axes)(weights, x)
        except RuntimeError as error:
            if not any(word in str(error) for word in ("vmap", "atching rule", "batched tensor")):
                raise
            raise SettingError(
                f"{_not_stackable(model)} cannot be computed for many tasks at once; put it into eval mode where it "
                "has one, leave it out, or give the model a method `stacked`"
            ) from error

    return forward


def _not_stackable(model: nn.Module) -> str:
    """Name the layers that vmap does not know, or the model."""
    kinds = (nn.RNNBase, nn.modules.batchnorm._BatchNorm, nn.modules.dropout._DropoutNd)
    found = {type(layer).__name__ for layer in model.modules() if isinstance(layer, kinds) and layer.training}
    return ", ".join(sorted(found)) or type(model).__name__


def _lr_of(inner_lrs: float | Weights, name: str) -> float | Tensor:
    return inner_lrs[name] if isinstance(inner_lrs, dict) else inner_lrs


class MetaLearner(BaseEstimator, ABC):
    """Base of the meta-learners: they learn from many tasks, then adapt to one from its support.

    Args:
        model: maps inputs to predictions, (k, ...) -> (k,); its weights are the initial ones, and stay.
        inner_lr: step size of the adaptation.
        inner_steps: how many steps the adaptation takes; 0 for none.
        steps: meta-updates.
        learning_rate: of the meta-updates, by Adam.
        clip_norm: longer meta-gradients are shortened to it.
        valid_every: meta-updates between two evaluations on the validation tasks.

    Attributes:
        weights_: the initialization, by name.
        adapted_params_: names of the weights that adapt; all where None.
        losses_: one a meta-update.
        valid_losses_: (meta-updates done, mean query loss after adapting).
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
                raise SettingError(f"{name}={value!r} must be a number above 0")
        for name, number, least in (
            ("inner_steps", inner_steps, 0), ("steps", steps, 0),
            ("batch_size", batch_size, 1), ("valid_every", valid_every, 1),
        ):  # fmt: skip
            if number < least:
                raise SettingError(f"{name}={number!r} must be at least {least}")
        self.model = model
        self.inner_lr = inner_lr
        self.inner_steps = inner_steps
        self.steps = steps
        self.batch_size = batch_size
        self.learning_rate = learning_rate
        self.clip_norm = clip_norm
        self.valid_every = valid_every
        self.seed = seed
        self.progress = progress

    @classmethod
    def _get_param_names(cls) -> list[str]:
        """Names of the settings, with those that subclasses take as **options."""
        return sorted({*super()._get_param_names(), *signature(MetaLearner).parameters})

    @abstractmethod
    def meta_loss(self, batch: Batch) -> Tensor:
        """Scalar that a meta-update makes smaller, as a function of `meta_parameters()`."""

    def initialize(self) -> Self:
        """Take the weights of `model` as the initialization; what was learned before is forgotten."""
        self.weights_: Weights = {n: p.detach().clone().requires_grad_() for n, p in self.model.named_parameters()}
        self.adapted_params_: list[str] | None = None
        self.losses_: list[float] = []
        self.valid_losses_: list[tuple[int, float]] = []
        return self

    def meta_parameters(self) -> Weights:
        """Return what is learned from all tasks, by name."""
        return self.weights_

    def optimizer(self) -> torch.optim.Optimizer:
        """Optimizer of the meta-updates."""
        return torch.optim.Adam(self.meta_parameters().values(), lr=self.learning_rate)

    def meta_fit(self, tasks: Sequence[Task], valid: Sequence[Task] | None = None) -> Self:
        """Learn from many tasks; with validation tasks, the meta-parameters of the lowest validation loss are kept.

        Raises:
            FloatingPointError: the loss or its gradient is no longer a number.
        """
        self.initialize()
        learned, optimizer = self.meta_parameters(), self.optimizer()
        best: tuple[float, Weights] | None = None
        batches = episodes(tasks, self.batch_size, self.steps, self.seed)
        for step in trange(1, self.steps + 1, disable=not self.progress, desc=type(self).__name__):
            optimizer.zero_grad()
            loss = self.meta_loss(next(batches))
            loss.backward()
            norm = nn.utils.clip_grad_norm_(learned.values(), self.clip_norm)
            if not (isfinite(loss.item()) and isfinite(norm.item())):
                raise DivergedError(
                    f"update {step}: the loss is {loss.item()}, its gradient's length {norm.item()}; "
                    f"take an inner_lr below {self.inner_lr} or a learning_rate below {self.learning_rate}"
                )
            optimizer.step()
            self.losses_.append(loss.item())
            if valid is not None and (step % self.valid_every == 0 or step == self.steps):
                value = self.query_loss(valid)
                self.valid_losses_.append((step, value))
                if best is None or value < best[0]:
                    best = value, {name: w.detach().clone() for name, w in learned.items()}
        if best is not None:
            with torch.no_grad():
                for name, weight in learned.items():
                    weight.copy_(best[1][name])
        return self

    def inner_lrs(self) -> float | Weights:
        """Step sizes of the adaptation."""
        return self.inner_lr

    def _check_fitted(self) -> None:
        if not hasattr(self, "weights_"):
            raise NotFittedError(
                f"{type(self).__name__} has no weights yet; call meta_fit(tasks) or initialize() first"
            )

    def adapted(self, x: Tensor, y: Tensor, mask: Tensor) -> Weights:
        """Weights for one task, from its support."""
        return gradient_descent(
            self.model, self.weights_, x, y, mask, self.inner_lrs(), self.inner_steps, self.adapted_params_
        )

    def adapt(self, support: Support | Task) -> Predictor:
        """Predictor of one task, (n, ...) -> (n,) float32, adapted to it; the initialization stays as it is.

        The support is ((k, ...), (k,)), inputs and targets, where k may be 0; or a task, whose support is taken.

        Raises:
            NotFittedError: before `meta_fit` or `initialize`.
            DivergedError: the adaptation diverged.
        """
        self._check_fitted()
        x, y = (support.support_x, support.support_y) if isinstance(support, Task) else map(np.asarray, support)
        if y.ndim != 1 or len(x) != len(y):
            raise SettingError(f"a support needs as many targets as inputs, got {len(x)} inputs and targets {y.shape}")
        if not np.isfinite(y).all():
            raise SettingError(f"a target of the support is {y[~np.isfinite(y)][0]}; drop it")
        weights = self.weights_
        if len(y):
            inputs, targets = torch.from_numpy(np.ascontiguousarray(x)), torch.from_numpy(y.astype(np.float32))
            weights = self.adapted(inputs, targets, torch.ones(len(y), dtype=torch.bool))
        weights = {name: weight.detach() for name, weight in weights.items()}
        if not all(bool(torch.isfinite(weight).all()) for weight in weights.values()):
            raise DivergedError(f"adapting to {len(y)} examples diverged; take an inner_lr below {self.inner_lr}")

        def predict(inputs: np.ndarray) -> np.ndarray:
            with torch.no_grad():
                return functional_call(self.model, weights, (torch.from_numpy(np.ascontiguousarray(inputs)),)).numpy()

        return predict

    def predict_queries(self, batch: Batch) -> Tensor:
        """Predictions for each task's query, (tasks, q), after adapting to its support, without a graph."""
        self._check_fitted()
        return predict_batch(self.model, self.weights_, batch, self.inner_lrs(), self.inner_steps, self.adapted_params_)

    def query_loss(self, tasks: Sequence[Task]) -> float:
        """Mean over tasks of the squared error on queries after adapting, else DivergedError."""
        batch = collate(tasks)
        loss = masked_mse(self.predict_queries(batch), batch.query_y, batch.query_mask).mean().item()
        if not isfinite(loss):
            raise DivergedError(f"adapting to some tasks diverged; take an inner_lr below {self.inner_lr}")
        return loss


class JointTraining(MetaLearner):
    """Joint training, the baseline of meta-learning: one model for all tasks, then fine-tuning on the support.

    It minimizes the mean over tasks of the loss on everything a task has, sum_i L_i(theta). For tasks of one size that
    is multi-task maximum likelihood, which S1 presents as meta-learning: no adaptation stands inside the objective.
    The arguments are those of `MetaLearner`; inner_lr and inner_steps are of the fine-tuning.
    """

    def meta_loss(self, batch: Batch) -> Tensor:
        """Mean over tasks of the mean squared error on support and query together."""
        x = torch.cat([batch.support_x, batch.query_x], dim=1)
        y = torch.cat([batch.support_y, batch.query_y], dim=1)
        mask = torch.cat([batch.support_mask, batch.query_mask], dim=1)
        predictions = functional_call(self.model, self.weights_, (x.flatten(0, 1),)).unflatten(0, y.shape)
        return masked_mse(predictions, y, mask).mean()

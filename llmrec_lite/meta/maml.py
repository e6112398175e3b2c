"""Chapter 12: model-agnostic meta-learning, its cheaper relatives, and three ways to compute their gradient."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Literal

import torch
from torch import Tensor, nn
from torch.func import functional_call, grad, vmap

from llmrec_lite.errors import SettingError
from llmrec_lite.meta.learners import (
    MetaLearner,
    Order,
    Weights,
    adapt_all,
    gradient_descent,
    masked_mse,
    rate_of,
    stacked_forward,
)
from llmrec_lite.meta.tasks import Batch

Path = Literal["stacked", "vmap", "loop"]


def query_losses(
    model: nn.Module,
    weights: Weights,
    batch: Batch,
    rates: float | Weights,
    steps: int,
    learns: Sequence[str] | None = None,
    order: Order = 2,
    path: Path = "stacked",
    checkpointing: bool = False,
) -> Tensor:
    """Return the loss on each task's query after adapting to its support, (tasks,), as a function of the beginning.

    The three paths give the same numbers and the same gradients. "loop" adapts to one task after the other and is
    there to be read. "vmap" writes down one task and lets torch run all of them at once. "stacked" gives each weight a
    first axis for the tasks, and takes the gradient of the sum of the tasks' losses: as no weight touches two tasks,
    that is the gradient of each.

    Args:
        model: maps x to predictions, (k, ...) -> (k,); for the stacked path it may have a method `stacked`, see
            `adapt_all`.
        weights: where to begin, by name.
        batch: tasks side by side.
        rates: step size, or one for each number of each weight.
        steps: of the adaptation.
        learns: names of the weights that adapt; all where None.
        order: 2 for the whole gradient; 1 to take the adapted weights as the beginning plus a constant (Finn et al.,
            ICML 2017, section 5.2).
        path: how it is computed.
        checkpointing: keep only the weights between steps and compute the inside again in the backward pass: a third
            more time, less memory. Stacked path, order 2 only.

    Raises:
        ValueError: an unknown path or order, or checkpointing where there is none.
    """
    _check(order, path, checkpointing)
    names = list(weights) if learns is None else list(learns)
    if path == "loop":
        return _loop(model, weights, batch, rates, steps, names, order)
    if path == "vmap":
        return _vmapped(model, weights, batch, rates, steps, names, order)
    masks = [batch.support_mask] * steps
    adapted = adapt_all(model, weights, batch.support_x, batch.support_y, masks, rates, names, order, checkpointing)
    return masked_mse(stacked_forward(model, names)(adapted, batch.query_x), batch.query_y, batch.query_mask)


def _check(order: Order, path: Path, checkpointing: bool) -> None:
    if order not in (1, 2) or path not in ("stacked", "vmap", "loop"):
        raise SettingError(f'order must be 1 or 2 and path "stacked", "vmap" or "loop", not {order!r} and {path!r}')
    if checkpointing and (path, order) != ("stacked", 2):
        raise SettingError(f"checkpointing needs the stacked path and order 2, not {path!r} and order {order}")


def _loop(
    model: nn.Module, weights: Weights, batch: Batch, rates: float | Weights, steps: int, names: list[str], order: Order
) -> Tensor:
    losses = []
    for i in range(len(batch.query_y)):
        adapted = gradient_descent(
            model, weights, batch.support_x[i], batch.support_y[i], batch.support_mask[i],
            rates, steps, names, create_graph=order == 2,
        )  # fmt: skip
        predictions = functional_call(model, adapted, (batch.query_x[i],))
        losses.append(masked_mse(predictions, batch.query_y[i], batch.query_mask[i]))
    return torch.stack(losses)


def _vmapped(
    model: nn.Module, weights: Weights, batch: Batch, rates: float | Weights, steps: int, names: list[str], order: Order
) -> Tensor:
    def one_task(x: Tensor, y: Tensor, mask: Tensor, query_x: Tensor, query_y: Tensor, query_mask: Tensor) -> Tensor:
        now = weights

        def support_loss(moving: Weights, fixed: Weights) -> Tensor:
            return masked_mse(functional_call(model, {**fixed, **moving}, (x,)), y, mask)

        for _ in range(steps):
            gradients = grad(support_loss)({name: now[name] for name in names}, now)
            if order == 1:
                gradients = {name: gradient.detach() for name, gradient in gradients.items()}
            now = {**now, **{name: now[name] - rate_of(rates, name) * gradients[name] for name in names}}
        return masked_mse(functional_call(model, now, (query_x,)), query_y, query_mask)

    return vmap(one_task)(
        batch.support_x, batch.support_y, batch.support_mask, batch.query_x, batch.query_y, batch.query_mask
    )


class MAML(MetaLearner):
    """Model-agnostic meta-learning: a beginning from which a few steps of gradient descent fit a new task.

    Finn, Abbeel, Levine, ICML 2017, algorithm 1: minimize the mean over tasks of the loss on the query after adapting
    to the support, equation (11.3).

    Args:
        model: maps inputs to predictions, (k, ...) -> (k,). It is copied.
        inner_lr: step size of the adaptation; where rates are learned, what they begin with.
        inner_steps: how many steps the adaptation takes.
        order: 2 for the whole gradient, 1 for first-order MAML.
        parameters: what adapts: "all", or "head": the weights whose names begin with "head", else those of the last
            layer. With "head" it is ANIL (Raghu et al., ICLR 2020). Or beginnings of names, ("hidden.1.", "head").
        learn_rates: learn a step size for each number, Meta-SGD (Li et al., 2017).
        path: see `query_losses`.
        checkpointing: see there.
        options: of `MetaLearner`.

    Raises:
        ValueError: a setting is out of its range.
    """

    def __init__(
        self,
        model: nn.Module,
        inner_lr: float = 0.05,
        inner_steps: int = 5,
        order: Order = 2,
        parameters: Literal["all", "head"] | tuple[str, ...] = "all",
        learn_rates: bool = False,
        path: Path = "stacked",
        checkpointing: bool = False,
        **options: Any,
    ) -> None:
        super().__init__(model, inner_lr, inner_steps, **options)
        self.learns = _chosen(self.weights_, parameters)
        self.rates_: Weights = {}
        if learn_rates:
            self.rates_ = {n: torch.full_like(self.weights_[n], self.inner_lr).requires_grad_() for n in self.learns}
        _check(order, path, checkpointing)
        self.order, self.path, self.checkpointing = order, path, checkpointing

    def learned(self) -> Weights:
        """Return the beginning, and the rates where they are learned."""
        return {**self.weights_, **{f"rate of {name}": rate for name, rate in self.rates_.items()}}

    def meta_loss(self, batch: Batch) -> Tensor:
        """Return the mean over tasks of the loss on the query after adapting, equation (11.3)."""
        return query_losses(
            self.model, self.weights_, batch, self.rates(), self.inner_steps,
            self.learns, self.order, self.path, self.checkpointing,
        ).mean()  # fmt: skip

    def rates(self) -> float | Weights:
        """Return the step sizes of the adaptation."""
        return self.rates_ or self.inner_lr


def _chosen(weights: Mapping[str, Tensor], parameters: str | tuple[str, ...]) -> list[str]:
    if parameters in ("all", "head"):
        return list(weights) if parameters == "all" else head_of(weights)
    beginnings = () if isinstance(parameters, str) else tuple(parameters)
    if not beginnings or any(not any(n.startswith(b) for n in weights) for b in beginnings):
        known = ", ".join(weights)
        raise SettingError(f'parameters={parameters!r} must be "all", "head" or beginnings of these names: {known}')
    return [name for name in weights if name.startswith(beginnings)]


def head_of(weights: Mapping[str, Tensor]) -> list[str]:
    """Return the names that begin with "head", else those of the last layer.

    Raises:
        ValueError: there is no weight.
    """
    if not weights:
        raise SettingError("the model has no weights, so there is nothing to adapt")
    last = list(weights)[-1].rpartition(".")[0]
    return [n for n in weights if n.startswith("head")] or [n for n in weights if n.rpartition(".")[0] == last]

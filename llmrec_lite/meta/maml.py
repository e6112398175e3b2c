"""Chapter 12: model-agnostic meta-learning and its cheaper relatives."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Literal

import torch
from torch import Tensor, nn

from llmrec_lite.errors import SettingError
from llmrec_lite.meta.learners import GradientOrder, MetaLearner, Weights, adapt_batch, masked_mse, stacked_forward
from llmrec_lite.meta.tasks import Batch


def query_losses(
    model: nn.Module,
    weights: Weights,
    batch: Batch,
    inner_lrs: float | Weights,
    steps: int,
    adapted_params: Sequence[str] | None = None,
    order: GradientOrder = 2,
    checkpointing: bool = False,
) -> Tensor:
    """Query loss of each task after adapting to its support, (tasks,), as a function of the initialization.

    The arguments are those of `adapt_batch`. With order 1 the adapted weights count as the initialization plus a
    constant (Finn et al., ICML 2017, section 5.2). Checkpointing, for order 2 only, takes a third more time and less
    memory.
    """
    _check(order, checkpointing)
    names = list(weights) if adapted_params is None else list(adapted_params)
    masks = [batch.support_mask] * steps
    adapted = adapt_batch(
        model, weights, batch.support_x, batch.support_y, masks, inner_lrs, names, order, checkpointing
    )
    return masked_mse(stacked_forward(model, names)(adapted, batch.query_x), batch.query_y, batch.query_mask)


def _check(order: GradientOrder, checkpointing: bool) -> None:
    if order not in (1, 2):
        raise SettingError(f"order must be 1 or 2, not {order!r}")
    if checkpointing and order == 1:
        raise SettingError("checkpointing needs order 2: first order keeps nothing between steps")


class MAML(MetaLearner):
    """Model-agnostic meta-learning: an initialization from which a few steps of gradient descent fit a new task.

    Finn, Abbeel, Levine, ICML 2017, algorithm 1: minimize the mean over tasks of the query loss after adapting to the
    support, equation (11.3).

    Args:
        model: maps inputs to predictions, (k, ...) -> (k,).
        inner_lr: step size of the adaptation; where it is learned, its initial value.
        inner_steps: of the adaptation.
        order: 2 for the whole gradient, 1 for first-order MAML.
        parameters: what adapts: "all"; "head", the weights whose names begin with "head", else those of the last layer
            (ANIL; Raghu et al., ICLR 2020); or prefixes of names, ("hidden.1.", "head").
        learn_inner_lrs: learn a step size for each number, Meta-SGD (Li et al., 2017).
        checkpointing: see `query_losses`.
        options: of `MetaLearner`.
    """

    def __init__(
        self,
        model: nn.Module,
        inner_lr: float = 0.05,
        inner_steps: int = 5,
        order: GradientOrder = 2,
        parameters: Literal["all", "head"] | tuple[str, ...] = "all",
        learn_inner_lrs: bool = False,
        checkpointing: bool = False,
        **options: Any,
    ) -> None:
        _check(order, checkpointing)
        super().__init__(model, inner_lr, inner_steps, **options)
        self.order = order
        self.parameters = parameters
        self.learn_inner_lrs = learn_inner_lrs
        self.checkpointing = checkpointing

    def initialize(self) -> MAML:
        """Take the weights of `model`, and `inner_lr` where step sizes are learned, as the initialization."""
        super().initialize()
        self.adapted_params_ = names = _selected(self.weights_, self.parameters)
        self.inner_lrs_: Weights = {}
        if self.learn_inner_lrs:
            self.inner_lrs_ = {n: torch.full_like(self.weights_[n], self.inner_lr).requires_grad_() for n in names}
        return self

    def meta_parameters(self) -> Weights:
        """Return the initialization, and the inner learning rates where they are learned."""
        return {**self.weights_, **{f"inner_lr of {name}": rate for name, rate in self.inner_lrs_.items()}}

    def meta_loss(self, batch: Batch) -> Tensor:
        """Mean over tasks of the query loss after adapting, equation (11.3)."""
        return query_losses(
            self.model, self.weights_, batch, self.inner_lrs(), self.inner_steps,
            self.adapted_params_, self.order, self.checkpointing,
        ).mean()  # fmt: skip

    def inner_lrs(self) -> float | Weights:
        """Step sizes of the adaptation."""
        return self.inner_lrs_ or self.inner_lr


def _selected(weights: Mapping[str, Tensor], parameters: str | tuple[str, ...]) -> list[str]:
    if parameters in ("all", "head"):
        return list(weights) if parameters == "all" else head_of(weights)
    prefixes = () if isinstance(parameters, str) else tuple(parameters)
    if not prefixes or any(not any(n.startswith(prefix) for n in weights) for prefix in prefixes):
        known = ", ".join(weights)
        raise SettingError(f'parameters={parameters!r} must be "all", "head" or prefixes of these names: {known}')
    return [name for name in weights if name.startswith(prefixes)]


def head_of(weights: Mapping[str, Tensor]) -> list[str]:
    """Names that begin with "head", else those of the last layer."""
    if not weights:
        raise SettingError("the model has no weights, so there is nothing to adapt")
    last = list(weights)[-1].rpartition(".")[0]
    return [n for n in weights if n.startswith("head")] or [n for n in weights if n.rpartition(".")[0] == last]

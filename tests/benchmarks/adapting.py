"""Races of chapter 12: the gradient of one meta-batch, beside a loop over tasks, higher and torchopt."""

from __future__ import annotations

from collections.abc import Callable

import higher
import numpy as np
import torch
import torchopt
from race import Race
from torch.func import functional_call

from llmrec_lite.meta.features import RatingNetwork
from llmrec_lite.meta.learners import gradient_descent, masked_mse
from llmrec_lite.meta.maml import query_losses
from llmrec_lite.meta.tasks import Batch, Task, collate

TASKS, SUPPORT, QUERY, STEPS, RATE, INPUTS = 32, 20, 10, 5, 0.05, 128
MOST_SECOND, MOST_FIRST = 0.25, 0.2  # our time over the fastest rival's
Gradients = tuple[torch.Tensor, ...]


def made_up() -> Batch:
    """Return tasks of random numbers; column 0 of the inputs is what `RatingNetwork` takes as it is."""
    rng = np.random.default_rng(0)

    def part(n: int) -> tuple[np.ndarray, np.ndarray]:
        return rng.normal(size=(n, INPUTS + 1)).astype(np.float32), rng.normal(size=n).astype(np.float32)

    return collate([Task(*part(SUPPORT), *part(QUERY)) for _ in range(TASKS)])


def with_higher(model: torch.nn.Module, batch: Batch) -> Gradients:
    """Second-order gradient by higher."""
    optimizer, losses = torch.optim.SGD(model.parameters(), lr=RATE), []
    for i in range(TASKS):
        with higher.innerloop_ctx(model, optimizer, copy_initial_weights=False) as (twin, inner):
            for _ in range(STEPS):
                inner.step(masked_mse(twin(batch.support_x[i]), batch.support_y[i], batch.support_mask[i]))
            losses.append(masked_mse(twin(batch.query_x[i]), batch.query_y[i], batch.query_mask[i]))
    return torch.autograd.grad(torch.stack(losses).mean(), list(model.parameters()))


def with_torchopt(model: torch.nn.Module, batch: Batch) -> Gradients:
    """Second-order gradient by torchopt."""
    begin, losses = list(model.parameters()), []
    inner = torchopt.MetaSGD(model, lr=RATE)
    states = [torchopt.extract_state_dict(part, by="reference") for part in (model, inner)]
    for i in range(TASKS):
        for _ in range(STEPS):
            inner.step(masked_mse(model(batch.support_x[i]), batch.support_y[i], batch.support_mask[i]))
        losses.append(masked_mse(model(batch.query_x[i]), batch.query_y[i], batch.query_mask[i]))
        for part, state in zip((model, inner), states, strict=True):
            torchopt.recover_state_dict(part, state)
    return torch.autograd.grad(torch.stack(losses).mean(), begin)


def with_a_loop(model: torch.nn.Module, weights: dict[str, torch.Tensor], batch: Batch, order: int) -> Gradients:
    """Gradient by our own adaptation of one task after the other."""
    losses = []
    for i in range(TASKS):
        support = batch.support_x[i], batch.support_y[i], batch.support_mask[i]
        end = gradient_descent(model, weights, *support, RATE, STEPS, create_graph=order == 2)
        predictions = functional_call(model, end, (batch.query_x[i],))
        losses.append(masked_mse(predictions, batch.query_y[i], batch.query_mask[i]))
    return torch.autograd.grad(torch.stack(losses).mean(), list(weights.values()))


def races() -> list[Race]:
    """Time the whole gradient against both libraries, and the first-order one against our own loop."""
    batch, model = made_up(), RatingNetwork(INPUTS + 1)
    with torch.no_grad():
        model.head.weight.normal_(0, 0.1, generator=torch.Generator().manual_seed(0))
    weights = {name: p.detach().clone().requires_grad_() for name, p in model.named_parameters()}

    def ours(order: int) -> Callable[[], Gradients]:
        def work() -> Gradients:
            losses = query_losses(model, weights, batch, RATE, STEPS, order=order)
            return torch.autograd.grad(losses.mean(), list(weights.values()))

        return work

    second: dict[str, Callable[[], Gradients]] = {
        "llmrec, stacked": ours(2),
        "higher": lambda: with_higher(model, batch),
        "torchopt": lambda: with_torchopt(model, batch),
        "llmrec, loop": lambda: with_a_loop(model, weights, batch, 2),
    }
    first = {"llmrec, stacked": ours(1), "llmrec, loop": lambda: with_a_loop(model, weights, batch, 1)}
    for runners in (second, first):
        wanted, *others = (work() for work in runners.values())
        for found in others:
            for a, b in zip(found, wanted, strict=True):
                torch.testing.assert_close(a, b, rtol=1e-3, atol=1e-6)
    against = {name: work for name, work in second.items() if not name.startswith("llmrec, ") or "stacked" in name}
    own: dict[str, Callable[[], object]] = {name: work for name, work in second.items() if "llmrec" in name}
    size = f"{TASKS} tasks, {STEPS} steps"
    return [
        Race(f"meta-gradient of {size}, second order", dict(against), MOST_SECOND, repeats=15),
        Race("the same by our own two ways (no target)", own, repeats=4),
        Race(f"meta-gradient of {size}, first order", dict(first), MOST_FIRST, repeats=30),
    ]

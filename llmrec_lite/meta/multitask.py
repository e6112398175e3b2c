"""Chapter 15: multi-task learning with a shared bottom or a mixture of experts, and conflicting gradients."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from typing import Literal, Self, get_args

import numpy as np
import torch
from sklearn.base import BaseEstimator
from torch import Tensor, nn
from torch.nn import functional as F

from llmrec_lite.compute import random_seed
from llmrec_lite.errors import SettingError

Kind = Literal["regression", "binary"]
Sharing = Literal["bottom", "experts", "single_task"]
Combine = Literal["sum", "uncertainty", "pcgrad"]
Keep = Literal["each", "sum"]


class SharedBottom(nn.Module):
    """Shared bottom: one hidden layer for all tasks, and a tower for each (Caruana, 1997), (n, d) -> (n, tasks)."""

    def __init__(self, d: int, tasks: int, hidden: int = 64, tower: int = 16) -> None:
        super().__init__()
        self.shared = nn.Sequential(nn.Linear(d, hidden), nn.ReLU())
        self.heads = nn.ModuleList(_tower(hidden, tower) for _ in range(tasks))

    def forward(self, x: Tensor) -> Tensor:
        """(n, d) -> (n, tasks)."""
        states = self.shared(x)
        return torch.cat([head(states) for head in self.heads], dim=1)


class MMoE(nn.Module):
    """Multi-gate mixture of experts, mixed by a gate for each task, (n, d) -> (n, tasks).

    Ma et al., KDD 2018, equations 6 and 7: h_k = sum_e softmax(G_k x)_e f_e(x). `hidden` counts the units of all
    experts together, so that it costs what a `SharedBottom` costs.
    """

    def __init__(self, d: int, tasks: int, hidden: int = 64, tower: int = 16, experts: int = 4) -> None:
        super().__init__()
        if experts < 1 or hidden % experts:
            raise SettingError(f"hidden={hidden} units cannot be divided among experts={experts}")
        units = hidden // experts
        self.shared = nn.ModuleList(nn.Sequential(nn.Linear(d, units), nn.ReLU()) for _ in range(experts))
        self.gates = nn.ModuleList(nn.Linear(d, experts, bias=False) for _ in range(tasks))
        self.heads = nn.ModuleList(_tower(units, tower) for _ in range(tasks))

    def mixture(self, x: Tensor) -> Tensor:
        """Weights of the experts for each task, (tasks, n, experts), summing to 1."""
        return torch.stack([torch.softmax(gate(x), 1) for gate in self.gates])

    def forward(self, x: Tensor) -> Tensor:
        """(n, d) -> (n, tasks)."""
        states = torch.stack([expert(x) for expert in self.shared], dim=1)
        mixed = torch.einsum("tne,neh->tnh", self.mixture(x), states)
        return torch.cat([head(one) for head, one in zip(self.heads, mixed, strict=True)], dim=1)


def _tower(inputs: int, units: int) -> nn.Sequential:
    return nn.Sequential(nn.Linear(inputs, units), nn.ReLU(), nn.Linear(units, 1))


def task_losses(outputs: Tensor, targets: Tensor, kinds: Sequence[Kind]) -> Tensor:
    """Mean loss of each task over the rows whose label is known, (tasks,); 0 where none is.

    Args:
        outputs: (n, tasks), numbers or logits.
        targets: (n, tasks), nan where a label is missing; binary ones may be anything from 0 to 1.
        kinds: of each task: "regression" has a squared error, "binary" a cross-entropy.
    """
    losses = []
    for output, target, kind in zip(outputs.T, targets.T, kinds, strict=True):
        known = ~torch.isnan(target)
        if not known.any():
            losses.append(output.sum() * 0)
        elif kind == "regression":
            losses.append(F.mse_loss(output[known], target[known]))
        else:
            losses.append(F.binary_cross_entropy_with_logits(output[known], target[known]))
    return torch.stack(losses)


def pcgrad(gradients: Sequence[Tensor], rng: np.random.Generator) -> Tensor:
    """Sum of the tasks' gradients, (p,) each, after projecting conflicting ones, (p,).

    PCGrad, or gradient surgery (Yu et al., NeurIPS 2020, algorithm 1): where g_i . g_j < 0, g_i loses its part along
    g_j; the other tasks are taken in random order.
    """
    projected = []
    scaled = [_without_exponent(gradient) for gradient in gradients]
    for i, (current, exponent) in enumerate(scaled):
        for j in rng.permutation([j for j in range(len(gradients)) if j != i]):
            other, _ = scaled[int(j)]
            dot = current @ other
            if dot < 0:
                current = current - dot / (other @ other) * other
        projected.append(torch.ldexp(current, exponent))
    return torch.stack(projected).sum(0)


def _without_exponent(gradient: Tensor) -> tuple[Tensor, Tensor]:
    """Return the gradient times a power of two that lets its squares be no zeros, and that power; exact."""
    exponent = torch.frexp(gradient.abs().max()).exponent
    half = -exponent // 2  # in two steps, as the whole may be no number of this type
    return torch.ldexp(torch.ldexp(gradient, half), -exponent - half), exponent


class MultiTask(BaseEstimator):
    """Multi-task network: several targets from one input.

    Args:
        kinds: of each task: "regression" (squared error, in units of the training labels' spread) or "binary"
            (cross-entropy).
        sharing: "bottom" (`SharedBottom`) and "experts" (`MMoE`) share parameters; "single_task" is a network of the
            same form for each task, trained and stopped by itself.
        combine: of the tasks' losses: their "sum"; a sum weighted by a learned "uncertainty" of each (Kendall, Gal and
            Cipolla, CVPR 2018, equation 10); or their sum with "pcgrad" on the shared parameters.
        steps: updates at most.
        learning_rate: of AdamW.
        valid_every: updates between two evaluations on the validation rows; the best is kept.
        keep: what "best" means where parameters are shared: "each" keeps for every task the weights that were best for
            it, so one training gives a network a task; "sum" keeps one network, by the sum of the tasks' losses.
        hidden: see `MMoE`.
        tower: units of each task's own layer.
        experts: of `MMoE`.
    """

    def __init__(
        self,
        kinds: Sequence[Kind],
        sharing: Sharing = "bottom",
        combine: Combine = "sum",
        *,
        steps: int = 600,
        batch_size: int = 64,
        learning_rate: float = 1e-3,
        weight_decay: float = 0.01,
        valid_every: int = 50,
        keep: Keep = "each",
        seed: int = 0,
        hidden: int = 64,
        tower: int = 16,
        experts: int = 4,
    ) -> None:
        if not len(kinds):
            raise SettingError("kinds is empty: there is no task")
        allowed = {"kinds": Kind, "sharing": Sharing, "combine": Combine, "keep": Keep}
        for name, values in (("kinds", kinds), ("sharing", [sharing]), ("combine", [combine]), ("keep", [keep])):
            if unknown := set(values) - set(get_args(allowed[name])):
                raise SettingError(f"{name}={unknown.pop()!r} is none of {', '.join(get_args(allowed[name]))}")
        if min(steps, batch_size, valid_every) < 1:
            raise SettingError("steps, batch_size and valid_every must be at least 1")
        self.kinds, self.sharing, self.combine, self.keep = kinds, sharing, combine, keep
        self.steps, self.batch_size, self.valid_every, self.seed = steps, batch_size, valid_every, seed
        self.learning_rate, self.weight_decay = learning_rate, weight_decay
        self.hidden, self.tower, self.experts = hidden, tower, experts

    def fit(
        self,
        x: np.ndarray,
        y: np.ndarray,
        valid: tuple[np.ndarray, np.ndarray] | None = None,
        start: MultiTask | None = None,
        *,
        with_heads: bool = False,
    ) -> Self:
        """Learn from labeled rows; `valid_losses_` are the tasks' losses on `valid`, nan without.

        Args:
            x: (n, d) float32.
            y: (n, tasks), nan where a label is missing.
            valid: rows to stop by, alike; the last weights are kept where None.
            start: a fitted model whose shared parameters are the initialization of these.
            with_heads: take the heads of `start` as well, for the same tasks.
        """
        if y.ndim != 2 or y.shape != (len(x), len(self.kinds)):
            raise SettingError(f"y has the shape {y.shape}; {len(x)} rows and {len(self.kinds)} tasks are expected")
        if np.isnan(y).all(0).any():
            raise SettingError(f"task {int(np.isnan(y).all(0).argmax())} has no label at all")
        if start is not None and not hasattr(start, "networks_"):
            raise SettingError("the model to start from is not fitted, call its fit first")
        if with_heads and (start is None or [*start.kinds, start.sharing] != [*self.kinds, self.sharing]):
            raise SettingError("with_heads=True needs a model to start from with the same tasks and the same sharing")
        regression = np.array([kind == "regression" for kind in self.kinds])
        self.mean_ = np.where(regression, np.nanmean(y, 0), 0)
        self.scale_ = np.where(regression & (np.nanstd(y, 0) > 0), np.nanstd(y, 0), 1)
        tasks = list(range(len(self.kinds)))
        groups = [[t] for t in tasks] if self.sharing == "single_task" else [tasks]
        self.networks_: list[SharedBottom | MMoE] = []  # one a task
        losses: list[float] = []
        for place, group in enumerate(groups):
            network = self._network(x.shape[1], len(group), random_seed(self.seed, place))
            if start is not None:
                theirs = start.networks_[place if with_heads else 0]
                _take_over(network if with_heads else network.shared, theirs if with_heads else theirs.shared)
            kept, values = self._trained(network, x, y, valid, group, place)
            self.networks_ += kept
            losses += values
        self.valid_losses_ = np.array(losses)
        return self

    def outputs(self, x: np.ndarray) -> Tensor:
        """Standardized predictions and logits, (n, tasks)."""
        inputs, columns = torch.from_numpy(np.asarray(x, np.float32)), []
        with torch.no_grad():
            for t, network in enumerate(self.networks_):
                columns.append(network(inputs)[:, 0 if self.sharing == "single_task" else t])
        return torch.stack(columns, dim=1)

    def predict(self, x: np.ndarray) -> np.ndarray:
        """Predictions in the units of the labels, and probabilities, (n, tasks) float32."""
        out = self.outputs(x).numpy() * self.scale_ + self.mean_
        for t, kind in enumerate(self.kinds):
            if kind == "binary":
                out[:, t] = 1 / (1 + np.exp(-out[:, t]))
        return out.astype(np.float32)

    def gradients(self, x: np.ndarray, y: np.ndarray) -> np.ndarray:
        """Gradient of each task's loss with respect to the shared parameters, (tasks, p)."""
        if self.sharing == "single_task":
            raise SettingError('with sharing="single_task" no parameter is shared, so no gradients can conflict')
        network = self.networks_[0]
        losses = task_losses(network(torch.from_numpy(np.asarray(x, np.float32))), self._targets(y), self.kinds)
        return torch.stack([_flat_gradient(loss, network) for loss in losses]).numpy()

    def _targets(self, y: np.ndarray) -> Tensor:
        return torch.from_numpy(((y - self.mean_) / self.scale_).astype(np.float32))

    def _network(self, d: int, tasks: int, seed: int) -> SharedBottom | MMoE:
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            if self.sharing == "experts":
                return MMoE(d, tasks, self.hidden, self.tower, self.experts)
            return SharedBottom(d, tasks, self.hidden, self.tower)

    def _trained(
        self,
        network: SharedBottom | MMoE,
        x: np.ndarray,
        y: np.ndarray,
        valid: tuple[np.ndarray, np.ndarray] | None,
        group: list[int],
        place: int,
    ) -> tuple[list[SharedBottom | MMoE], list[float]]:
        """Return a network for each task of the group, and its loss on the validation rows."""
        kinds = [self.kinds[t] for t in group]
        inputs, targets = torch.from_numpy(np.asarray(x, np.float32)), self._targets(y)[:, group]
        weights = torch.zeros(len(group), requires_grad=True)  # log variances
        parameters = [*network.parameters(), *([weights] if self.combine == "uncertainty" else [])]
        optimizer = torch.optim.AdamW(parameters, lr=self.learning_rate, weight_decay=self.weight_decay)
        rng = np.random.default_rng(random_seed(self.seed, place, 1))
        best = [(float("inf"), network)] * len(group)
        order = np.empty(0, int)
        for step in range(self.steps + 1):
            if valid is not None and (step % self.valid_every == 0 or step == self.steps):
                values = self._losses(network, valid, group, kinds)
                if self.keep == "sum":
                    better = [sum(values) < sum(value for value, _ in best)] * len(group)
                else:
                    better = [value < old for value, (old, _) in zip(values, best, strict=True)]
                if any(better):
                    now = copy.deepcopy(network)
                    best = [(v, now) if is_ else old for is_, v, old in zip(better, values, best, strict=True)]
            if step == self.steps:
                break
            if len(order) < self.batch_size:
                order = np.concatenate([order, rng.permutation(len(x))])
            rows, order = order[: self.batch_size], order[self.batch_size :]
            losses = task_losses(network(inputs[rows]), targets[rows], kinds)
            optimizer.zero_grad()
            if self.combine == "uncertainty":
                (losses * torch.exp(-weights) + weights).sum().backward()
            else:
                losses.sum().backward(retain_graph=self.combine == "pcgrad")
            if self.combine == "pcgrad" and len(group) > 1:
                projected = pcgrad([_flat_gradient(loss, network) for loss in losses], rng)
                shared = list(network.shared.parameters())
                for parameter, part in zip(shared, projected.split([p.numel() for p in shared]), strict=True):
                    parameter.grad = part.view_as(parameter)
            optimizer.step()
        if valid is None:
            return [network] * len(group), [float("nan")] * len(group)
        return [kept for _, kept in best], [value for value, _ in best]

    def _losses(
        self, network: nn.Module, valid: tuple[np.ndarray, np.ndarray], group: list[int], kinds: Sequence[Kind]
    ) -> list[float]:
        with torch.no_grad():
            outputs = network(torch.from_numpy(np.asarray(valid[0], np.float32)))
            return task_losses(outputs, self._targets(valid[1])[:, group], kinds).tolist()


def _take_over(mine: nn.Module, theirs: nn.Module) -> None:
    """Copy the parameters of a part of another model."""
    try:
        mine.load_state_dict(theirs.state_dict())
    except RuntimeError as error:
        raise SettingError("the model to start from has parameters of another form") from error


def _flat_gradient(loss: Tensor, network: SharedBottom | MMoE) -> Tensor:
    """Return the gradient of the shared parameters, (p,); the graph is kept for the other tasks."""
    shared = list(network.shared.parameters())
    return torch.cat([g.flatten() for g in torch.autograd.grad(loss, shared, retain_graph=True)])

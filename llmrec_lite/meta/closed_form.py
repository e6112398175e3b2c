"""Chapter 13: meta-learners that solve for the head in closed form, R2D2 and ALPaCA."""

from __future__ import annotations

from abc import abstractmethod
from math import isfinite, log
from typing import Any, Protocol, Self, cast

import torch
from torch import Tensor, nn

from llmrec_lite.errors import SettingError
from llmrec_lite.meta.learners import MetaLearner, Weights, masked_mse
from llmrec_lite.meta.tasks import Batch


class Representation(Protocol):
    """What `ClosedFormHead` asks of a model, beside a linear layer `head`."""

    def represent(self, weights: Weights, x: Tensor) -> Tensor:
        """States below the head, (tasks, k, d) -> (tasks, k, h)."""
        ...

    def baseline(self, x: Tensor) -> Tensor:
        """Part of the prediction that no weight changes, (..., d) -> (...,)."""
        ...


class ClosedFormHead(MetaLearner):
    """Base of the meta-learners whose representation is learned and whose head is a linear regression on the support.

    The head's weights w, a constant first, have the prior N(m, R R'); a rating is the model's baseline plus w'phi(x)
    plus noise of variance v. With S and Q the representations of support and query times R, and r the deviations of the
    support from what m predicts, the query has the mean m'phi + Q S'(S S' + v I)^-1 r: one system of k equations.

    Args:
        model: `RatingNetwork`, or a module with the methods of `Representation` and a linear layer `head`, whose
            weights are m at first.
        l2: penalty of the first regression, v at first with R = I.
        likelihood_weight: power on the likelihood of each rating of a support in use, as in chapter 14; in training it
            is 1.
        options: of `MetaLearner`; `inner_lr` and `inner_steps` are not used.
    """

    def __init__(self, model: nn.Module, l2: float = 10.0, likelihood_weight: float = 1.0, **options: Any) -> None:
        for name, value in (("l2", l2), ("likelihood_weight", likelihood_weight)):
            if not (value > 0 and isfinite(value)):
                raise SettingError(f"{name}={value!r} must be a number above 0")
        super().__init__(model, **options)
        self.l2 = l2
        self.likelihood_weight = likelihood_weight

    def initialize(self) -> Self:
        """Take the weights of `model` and the first prior."""
        super().initialize()
        head = self.weights_["head.weight"]
        first = self.first_prior(head.shape[1] + 1)
        self.prior_: Weights = {name: value.to(head.dtype).requires_grad_() for name, value in first.items()}
        return self

    @property
    def body(self) -> Representation:
        """The model, for its representation."""
        return cast(Representation, self.model)

    @abstractmethod
    def first_prior(self, width: int) -> Weights:
        """Parameters of the prior before training, by name, for a head of `width` weights with its constant."""

    @abstractmethod
    def prior_root(self) -> Tensor:
        """R, whose product with its transpose is the covariance of the prior, (width, width)."""

    def noise(self) -> Tensor:
        """Variance v of a rating around its prediction, or the penalty that takes its place."""
        return self.prior_["log_noise"].exp()

    def predict_queries(self, batch: Batch) -> Tensor:
        """Predictions for each task's query, (tasks, q), given its support, without a graph."""
        self._check_fitted()
        with torch.no_grad():
            return self.posterior_predictive(batch, self.likelihood_weight)[0]

    def posterior_predictive(self, batch: Batch, likelihood_weight: float = 1.0) -> tuple[Tensor, Tensor]:
        """Mean and variance of each rating of the queries given the supports, (tasks, q) each."""
        query = self._represented(batch.query_x)
        scaled, cross, solved = self._solved(batch, query, likelihood_weight)
        mean = self.body.baseline(batch.query_x) + query @ self._prior_mean()
        explained = (cross * solved[..., 1:].mT).sum(-1)
        return mean + (cross @ solved[..., :1])[..., 0], scaled.square().sum(-1) - explained + self.noise()

    def _solved(self, batch: Batch, query: Tensor, likelihood_weight: float) -> tuple[Tensor, Tensor, Tensor]:
        """Return Q, Q S', (tasks, q, k), and (S S' + v I)^-1 (r, S Q'), (tasks, k, 1 + q)."""
        root, mask = self.prior_root(), batch.support_mask
        support = self._represented(batch.support_x) * mask[..., None]
        expected = self.body.baseline(batch.support_x) + support @ self._prior_mean()
        deviations = torch.where(mask, batch.support_y - expected, 0)
        scaled, known = query @ root, support @ root
        cross = scaled @ known.mT
        gram = known @ known.mT + self.noise() / likelihood_weight * torch.eye(mask.shape[1], dtype=known.dtype)
        return scaled, cross, torch.linalg.solve(gram, torch.cat([deviations[..., None], cross.mT], -1))

    def _represented(self, x: Tensor) -> Tensor:
        """(tasks, k, d) -> (tasks, k, 1 + h), a constant first."""
        states = self.body.represent(self.weights_, x)
        return torch.cat([torch.ones_like(states[..., :1]), states], -1)

    def _prior_mean(self) -> Tensor:
        return torch.cat([self.weights_["head.bias"], self.weights_["head.weight"][0]])

    def adapted(self, x: Tensor, y: Tensor, mask: Tensor) -> Weights:
        """Weights for one task: those of the representation, and the head that its support gives."""
        nothing = x[None, :0], y[None, :0], mask[None, :0]
        batch = Batch(x[None], y[None], mask[None], *nothing)
        root = self.prior_root()
        with torch.no_grad():
            _, cross, solved = self._solved(batch, torch.eye(len(root), dtype=root.dtype)[None], self.likelihood_weight)
            head = self._prior_mean() + (cross @ solved[..., :1])[0, :, 0]
        return {**self.weights_, "head.bias": head[:1], "head.weight": head[None, 1:]}


class R2D2(ClosedFormHead):
    """R2D2: a representation on which a ridge regression on the support predicts the query.

    Bertinetto, Henriques, Torr, Vedaldi, "Meta-learning with differentiable closed-form solvers", ICLR 2019, section
    3.2. The penalty is learned with the representation; so is the strength of the constant, which has no penalty of its
    own in the paper. The arguments are those of `ClosedFormHead`.
    """

    def first_prior(self, width: int) -> Weights:
        """Logarithms of the penalty and of the constant's scale."""
        return {"log_noise": torch.tensor(log(self.l2)), "log_constant": torch.tensor(0.0)}

    def meta_parameters(self) -> Weights:
        """Weights of the representation, and the prior."""
        return {name: w for name, w in self.weights_.items() if not name.startswith("head.")} | self.prior_

    def prior_root(self) -> Tensor:
        """Diagonal matrix: the constant has a scale, all other weights have 1."""
        constant = self.prior_["log_constant"].exp()[None]
        return torch.cat([constant, torch.ones_like(self.weights_["head.weight"][0])]).diag()

    def meta_loss(self, batch: Batch) -> Tensor:
        """Mean over tasks of the mean squared error on the queries."""
        mean, _ = self.posterior_predictive(batch)
        return masked_mse(mean, batch.query_y, batch.query_mask).mean()


class ALPaCA(ClosedFormHead):
    """ALPaCA: a representation and a Gaussian prior over the head, by the likelihood of the queries.

    Harrison, Sharma, Pavone, "Meta-learning priors for efficient online Bayesian regression", WAFR 2018, algorithm 1;
    here the variance of the noise is learned as well. The arguments are those of `ClosedFormHead`.
    """

    def first_prior(self, width: int) -> Weights:
        """Root of the covariance, and the logarithm of the variance of the noise, 1 star squared at first."""
        return {"log_noise": torch.tensor(0.0), "root": torch.eye(width) / self.l2**0.5}

    def meta_parameters(self) -> Weights:
        """All weights, those of the head being the prior's mean, and the prior."""
        return self.weights_ | self.prior_

    def prior_root(self) -> Tensor:
        """A full matrix that is learned."""
        return self.prior_["root"]

    def meta_loss(self, batch: Batch) -> Tensor:
        """Mean over tasks of the mean negative log likelihood of a query rating."""
        mean, variance = self.posterior_predictive(batch)
        losses = ((batch.query_y - mean).square() / variance + variance.log()) / 2
        counts = batch.query_mask.sum(-1).clamp(min=1)
        return (torch.where(batch.query_mask, losses, 0).sum(-1) / counts).mean()

"""Chapter 14: Bayesian matrix factorization, and the closed-form posterior of one user after a few ratings."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Self

import numpy as np
from scipy import sparse
from sklearn.base import BaseEstimator
from tqdm.auto import trange

from llmrec_lite.data import Dataset
from llmrec_lite.errors import SettingError
from llmrec_lite.meta.learners import Support


@dataclass(frozen=True)
class PosteriorSample:
    """Posterior sample of all that users share; a user's ratings follow N(bias + loadings w, 1 / noise)."""

    bias: np.ndarray  # (n_items,) stars, around the mean of all ratings
    loadings: np.ndarray  # (n_items, d), the first column 1
    mean: np.ndarray  # (d,) of the prior of w
    precision: np.ndarray  # (d, d) of the prior of w
    noise: float  # precision of a rating, 1 / stars^2


def posterior(
    mean: np.ndarray, precision: np.ndarray, x: np.ndarray, y: np.ndarray, noise: float | np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Posterior mean and precision of a linear model's weights, equations (14.3) and (14.4).

    For y ~ N(x w, 1 / noise) and the prior w ~ N(mean, precision^-1) (Bishop, 2006, equations 3.50 and 3.51). With
    mean 0 and precision l2 * noise * I the posterior mean is ridge regression.

    Shapes: mean (..., d), precision (..., d, d), x (..., k, d), y (..., k); k may be 0. The noise is the precision of
    an example, a number, or one each, (..., k); 0 leaves an example out.
    """
    weighted = x * np.broadcast_to(noise, y.shape)[..., None]
    after = precision + np.swapaxes(weighted, -1, -2) @ x
    right = precision @ mean[..., None] + np.swapaxes(weighted, -1, -2) @ y[..., None]
    return np.linalg.solve(after, right)[..., 0], after


def learn_prior(tasks: Sequence[Support], steps: int = 30) -> tuple[np.ndarray, np.ndarray, float]:
    """Prior over users' weights by expectation-maximization, equation (14.5): mean (d,), precision (d, d) and noise.

    Each user's y (k,) follows N(x w, 1 / noise) with x (k, d) and w from N(mean, precision^-1) (Dempster, Laird and
    Rubin, 1977; for this model Bishop, 2006, section 9.3.4).
    """
    if not tasks:
        raise SettingError("there is no task to learn a prior from")
    d, n = tasks[0][0].shape[1], sum(len(y) for _, y in tasks)
    mean, precision, noise = np.zeros(d), np.eye(d), 1.0
    for _ in range(steps):
        expected, covariance, residual = np.zeros((len(tasks), d)), np.zeros((d, d)), 0.0
        for row, (x, y) in enumerate(tasks):
            expected[row], after = posterior(mean, precision, x, y, noise)
            uncertain = np.linalg.inv(after)
            covariance += uncertain
            residual += np.square(y - x @ expected[row]).sum() + ((x @ uncertain) * x).sum()
        mean = expected.mean(0)
        off = expected - mean
        # One made-up user with a little of everything keeps the covariance from falling to zero.
        precision = np.linalg.inv((off.T @ off + covariance + 0.01 * np.eye(d)) / (len(tasks) + 1))
        noise = n / residual
    return mean, precision, float(noise)


class BayesianMF(BaseEstimator):
    """Bayesian matrix factorization with features of items, by Gibbs sampling.

    r_ui ~ N(mu + b_i + z_i . w_u, 1 / beta) with z_i = (1, v_i); a user's w_u ~ N(m, L^-1); an item's
    (b_i, v_i) ~ N(B' x_i, Q^-1), where x_i are its features, on which an item with few ratings depends most. m, L, B, Q
    and beta have vague priors (Salakhutdinov and Mnih, ICML 2008, section 3; features of items as in Simm et al.,
    2017). A new user costs one small linear system for each sample.

    Args:
        factors: length of v_i.
        burn_in: sweeps that are thrown away.
        draws: posterior samples that are kept.
        thin: sweeps from one that is kept to the next.

    A sweep takes about n_ratings * factors^2 operations and (n_users + n_items) systems of factors + 1 unknowns.
    """

    def __init__(
        self,
        factors: int = 8,
        burn_in: int = 60,
        draws: int = 30,
        thin: int = 3,
        seed: int = 0,
        progress: bool = False,
    ) -> None:
        for name, value, least in (
            ("factors", factors, 0), ("burn_in", burn_in, 0), ("draws", draws, 1), ("thin", thin, 1)
        ):  # fmt: skip
            if value < least:
                raise SettingError(f"{name}={value!r} must be at least {least}")
        self.factors, self.seed, self.progress = factors, seed, progress
        self.burn_in, self.draws, self.thin = burn_in, draws, thin

    def fit(self, train: Dataset, features: np.ndarray) -> Self:
        """Learn from the ratings of `train`, with features of the items, (n_items, p), to which a constant is added."""
        if len(features) != train.n_items:
            raise SettingError(f"features has {len(features)} rows for {train.n_items} items")
        if not len(train):
            raise SettingError("there is no rating to learn from")
        self.mu_ = float(train.ratings.mean())
        self.low_, self.high_ = float(train.ratings.min()), float(train.ratings.max())
        sampler = GibbsSampler(train, np.c_[np.ones(len(features)), features], self.factors, self.seed)
        self.samples_: list[PosteriorSample] = []
        for sweep in trange(self.burn_in + self.draws * self.thin, disable=not self.progress, desc="BayesianMF"):
            sample = sampler.sweep()
            if sweep >= self.burn_in and (sweep - self.burn_in) % self.thin == self.thin - 1:
                self.samples_.append(sample)
        return self

    def predict(self, supports: Sequence[Support], likelihood_weight: float = 1.0) -> np.ndarray:
        """Posterior mean of each user's rating for every item, (users, n_items), not clipped to the scale.

        A support has item indices (k,) and ratings (k,) of a user; k may be 0. The likelihood weight of its ratings is
        1 for that of a training rating.
        """
        total = sum(
            self.mu_ + sample.bias + mean @ sample.loadings.T
            for sample, mean, _ in self._posteriors(supports, likelihood_weight)
        )
        return np.asarray(total) / len(self.samples_)

    def moments(self, supports: Sequence[Support], likelihood_weight: float = 1.0) -> tuple[np.ndarray, np.ndarray]:
        """Predictive mean and variance of each user's rating for every item, both (users, n_items).

        The variance is that of the user's weights, of the items' parameters, and of the noise of a rating.
        """
        first = second = spread = np.zeros((1, 1))
        for sample, mean, precision in self._posteriors(supports, likelihood_weight):
            z = sample.loadings
            expected = self.mu_ + sample.bias + mean @ z.T
            around = np.einsum("id,pde,ie->pi", z, np.linalg.inv(precision), z, optimize=True)
            first, second = first + expected, second + np.square(expected)
            spread = spread + around + 1 / sample.noise
        n = len(self.samples_)
        return first / n, spread / n + np.maximum(second / n - np.square(first / n), 0)

    def expected_variance_reduction(
        self, support: Support, weights: np.ndarray, likelihood_weight: float = 1.0
    ) -> np.ndarray:
        """Fall of the variance of a user's expected ratings if an item were rated next, (n_items,) stars^2.

        The mean over items is weighted, (n_items,); the fall does not depend on what the rating will be, equation
        (14.8) (MacKay, 1992).
        """
        share, reduction = weights / weights.sum(), np.zeros(len(weights))
        for sample, _, precision in self._posteriors([support], likelihood_weight):
            z = sample.loadings
            covariance = z @ np.linalg.inv(precision[0])  # (n_items, d): of each rating with w
            noise = 1 / (sample.noise * likelihood_weight)
            falls = np.einsum("id,de,ie->i", covariance, (z * share[:, None]).T @ z, covariance, optimize=True)
            reduction += falls / (noise + (covariance * z).sum(1))
        return reduction / len(self.samples_)

    def _posteriors(
        self, supports: Sequence[Support], likelihood_weight: float
    ) -> Iterator[tuple[PosteriorSample, np.ndarray, np.ndarray]]:
        """Yield each sample, with mean (users, d) and precision (users, d, d) of w after the supports."""
        items, ratings, real = _padded(supports)
        for sample in self.samples_:
            y = ratings - self.mu_ - sample.bias[items]
            noise = real * sample.noise * likelihood_weight
            yield sample, *posterior(sample.mean, sample.precision, sample.loadings[items], y, noise)


def _padded(supports: Sequence[Support]) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Supports side by side, (users, longest) each: items, ratings, and 1 where an entry is real."""
    longest = max((len(y) for _, y in supports), default=0)
    items, ratings, real = (np.zeros((len(supports), longest), kind) for kind in (np.int64, float, float))
    for row, (x, y) in enumerate(supports):
        items[row, : len(y)], ratings[row, : len(y)], real[row, : len(y)] = x, y, 1
    return items, ratings, real


class GibbsSampler:
    """Gibbs sampler of `BayesianMF`: each block of unknowns is drawn from its conditional given the others.

    x is (n_items, p), features of the items with a constant.
    """

    def __init__(self, train: Dataset, x: np.ndarray, factors: int, seed: int) -> None:
        self.rng = np.random.default_rng(seed)
        users, self.users = np.unique(train.user_index, return_inverse=True)
        self.items, self.y = train.item_index, train.ratings - train.ratings.mean(dtype=float)
        self.x, n, m, d = x, len(users), len(x), factors + 1
        shape, index = (n, m), (self.users, self.items)
        self.rated = sparse.csr_array((np.ones(len(self.y)), index), shape=shape)
        self.ratings = sparse.csr_array((self.y, index), shape=shape)
        self.gram = x.T @ x + np.eye(x.shape[1])  # a vague prior on B
        self.half = np.linalg.cholesky(np.linalg.inv(self.gram))
        self.w = np.zeros((n, d))
        self.v = np.c_[np.zeros(m), self.rng.normal(0, 0.3, (m, factors))]  # b_i and v_i side by side
        self.b = np.zeros((x.shape[1], d))
        self.mean, self.precision, self.item_precision, self.noise = np.zeros(d), 4 * np.eye(d), 10 * np.eye(d), 1.0

    def sweep(self) -> PosteriorSample:
        """Draw every block once."""
        self._draw_items()
        loadings = np.hstack([np.ones((len(self.v), 1)), self.v[:, 1:]])
        # Beyond b_i a rating is (1, v_i) . w, linear in the user's numbers.
        prior = np.tile(self.mean, (len(self.w), 1))
        self.w = self._draw_rows(loadings, self.v[:, 0], self.rated, self.ratings, prior, self.precision)
        self._draw_user_prior()
        residual = self.y - self.v[self.items, 0] - (loadings[self.items] * self.w[self.users]).sum(1)
        self.noise = self.rng.gamma(len(residual) / 2 + 1) / (residual @ residual / 2 + 1)
        return PosteriorSample(self.v[:, 0].copy(), loadings, self.mean, self.precision, self.noise)

    def _draw_items(self) -> None:
        # Beyond w's first number a rating is b_i + v_i . w, linear in the item's numbers.
        beyond = np.hstack([np.ones((len(self.w), 1)), self.w[:, 1:]])
        self.v = self._draw_rows(
            beyond, self.w[:, 0], self.rated.T, self.ratings.T, self.x @ self.b, self.item_precision
        )
        # Then the regression of the items' numbers on their features, and the precision around it.
        center = np.linalg.solve(self.gram, self.x.T @ self.v)
        off = self.v - self.x @ center
        self.item_precision = _wishart(self.rng, off.T @ off + center.T @ center, len(off))
        root = np.linalg.cholesky(np.linalg.inv(self.item_precision))
        self.b = center + self.half @ self.rng.normal(size=center.shape) @ root.T

    def _draw_user_prior(self) -> None:
        n, mean = len(self.w), self.w.mean(0)
        off = self.w - mean
        self.precision = _wishart(self.rng, off.T @ off + n / (n + 1) * np.outer(mean, mean), n)
        root = np.linalg.cholesky(np.linalg.inv((n + 1) * self.precision))
        self.mean = n / (n + 1) * mean + root @ self.rng.normal(size=len(mean))

    def _draw_rows(
        self,
        x: np.ndarray,
        offset: np.ndarray,
        rated: sparse.sparray,
        ratings: sparse.sparray,
        center: np.ndarray,
        precision: np.ndarray,
    ) -> np.ndarray:
        """Draw a vector for each row of `rated`, whose entries follow N(offset + x . vector, 1 / noise)."""
        n, d = center.shape
        squares = (x[:, :, None] * x[:, None, :]).reshape(len(x), d * d)
        after = precision + self.noise * (rated @ squares).reshape(n, d, d)
        right = center @ precision + self.noise * (ratings @ x - rated @ (x * offset[:, None]))
        root = np.linalg.cholesky(after)
        mean = np.linalg.solve(after, right[..., None])
        return (mean + np.linalg.solve(np.swapaxes(root, 1, 2), self.rng.normal(size=(n, d, 1))))[..., 0]


def _wishart(rng: np.random.Generator, scatter: np.ndarray, n: int) -> np.ndarray:
    """Draw the precision of n vectors around their center, given their scatter, (d, d), by Bartlett's factors."""
    d = len(scatter)
    root = np.linalg.cholesky(np.linalg.inv(scatter + 0.02 * d * np.eye(d)))
    factor = np.tril(rng.normal(size=(d, d)), -1)
    factor[np.diag_indices(d)] = np.sqrt(rng.chisquare(n + d + 2 - np.arange(d)))
    factor = root @ factor
    return factor @ factor.T

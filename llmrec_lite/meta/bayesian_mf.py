"""Chapter 14: a prior over people, learned from many of them, and its closed-form answer to one person's ratings."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Self

import numpy as np
from scipy import sparse
from tqdm.auto import trange

from llmrec_lite.data import Dataset
from llmrec_lite.errors import SettingError
from llmrec_lite.meta.learners import Support


@dataclass(frozen=True)
class Draw:
    """One draw of all that is shared by people; a person's ratings follow N(bias + loadings w, 1 / noise)."""

    bias: np.ndarray  # (n_items,) stars, around the mean of all ratings
    loadings: np.ndarray  # (n_items, d), the first column 1
    mean: np.ndarray  # (d,) of the prior of w
    precision: np.ndarray  # (d, d) of the prior of w
    noise: float  # precision of a rating, 1 / stars^2


def posterior(
    mean: np.ndarray, precision: np.ndarray, x: np.ndarray, y: np.ndarray, noise: float | np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Return mean and precision of a linear model's weights after seeing examples, equations (14.3) and (14.4).

    For y ~ N(x w, 1 / noise) and the prior w ~ N(mean, precision^-1) (Bishop, 2006, equations 3.50 and 3.51). With
    mean 0 and precision l2 * noise * I the posterior mean is ridge regression.

    Args:
        mean: (..., d).
        precision: (..., d, d).
        x: (..., k, d); k may be 0.
        y: (..., k).
        noise: precision of an example, a number, or one each, (..., k); 0 leaves an example out.
    """
    weighted = x * np.broadcast_to(noise, y.shape)[..., None]
    after = precision + np.swapaxes(weighted, -1, -2) @ x
    right = precision @ mean[..., None] + np.swapaxes(weighted, -1, -2) @ y[..., None]
    return np.linalg.solve(after, right)[..., 0], after


def learn_prior(tasks: Sequence[Support], steps: int = 30) -> tuple[np.ndarray, np.ndarray, float]:
    """Learn what people's weights are like from many of them, by expectation and maximization, equation (14.5).

    Each person's y follows N(x w, 1 / noise) with a w of his own from N(mean, precision^-1); mean, precision and noise
    are made as likely as can be (Dempster, Laird and Rubin, 1977; for this model Bishop, 2006, section 9.3.4).

    Args:
        tasks: x (k, d) and y (k,) of each person.
        steps: how often all people are gone through.

    Returns:
        mean (d,), precision (d, d) and noise.

    Raises:
        ValueError: there is no task.
    """
    if not tasks:
        raise SettingError("there is no task to learn a prior from")
    d, n = tasks[0][0].shape[1], sum(len(y) for _, y in tasks)
    mean, precision, noise = np.zeros(d), np.eye(d), 1.0
    for _ in range(steps):
        expected, covariance, residual = np.zeros((len(tasks), d)), np.zeros((d, d)), 0.0
        for row, (x, y) in enumerate(tasks):
            expected[row], after = posterior(mean, precision, x, y, noise)
            unsure = np.linalg.inv(after)
            covariance += unsure
            residual += np.square(y - x @ expected[row]).sum() + ((x @ unsure) * x).sum()
        mean = expected.mean(0)
        off = expected - mean
        # One made-up person with a little of everything keeps the covariance from falling to zero.
        precision = np.linalg.inv((off.T @ off + covariance + 0.01 * np.eye(d)) / (len(tasks) + 1))
        noise = n / residual
    return mean, precision, float(noise)


class LearnedPrior:
    """Bayesian matrix factorization: what people are like, and how films differ, as distributions.

    r_ui ~ N(mu + b_i + z_i . w_u, 1 / beta) with z_i = (1, v_i); a person's w_u ~ N(m, L^-1); an item's
    (b_i, v_i) ~ N(B' x_i, Q^-1), where x_i are its features, so that an item with few ratings is what its text says.
    m, L, B, Q and beta have vague priors, and all is drawn in turn by Gibbs sampling (Salakhutdinov and Mnih, ICML
    2008, section 3; features of items as in Simm et al., 2017). A new person costs one small linear system a draw.

    Args:
        factors: length of v_i.
        burn_in: sweeps that are thrown away.
        draws: how many are kept.
        thin: sweeps from one that is kept to the next.
        seed: of all draws.
        progress: show a progress bar.

    A sweep takes about n_ratings * factors^2 operations and (n_users + n_items) systems of factors + 1 unknowns.

    Raises:
        ValueError: a setting is out of its range.
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
        least = {"factors": 0, "burn_in": 0, "draws": 1, "thin": 1}
        given = {"factors": factors, "burn_in": burn_in, "draws": draws, "thin": thin}
        for name, value in given.items():
            if value < least[name]:
                raise SettingError(f"{name}={value!r} must be at least {least[name]}")
        self.factors, self.burn_in, self.draws, self.thin = factors, burn_in, draws, thin
        self.seed, self.progress = seed, progress

    def fit(self, train: Dataset, features: np.ndarray) -> Self:
        """Learn from the ratings of `train`.

        Args:
            train: ratings.
            features: (n_items, p) of the items; a constant is added.

        Raises:
            ValueError: there is no rating, or features are not one row an item.
        """
        if len(features) != train.n_items:
            raise SettingError(f"features has {len(features)} rows for {train.n_items} items")
        if not len(train):
            raise SettingError("there is no rating to learn from")
        self.mu_ = float(train.ratings.mean())
        self.low_, self.high_ = float(train.ratings.min()), float(train.ratings.max())
        sweeps = _Sweeps(train, np.c_[np.ones(len(features)), features], self.factors, self.seed)
        self.draws_: list[Draw] = []
        for sweep in trange(self.burn_in + self.draws * self.thin, disable=not self.progress, desc="LearnedPrior"):
            draw = sweeps.next()
            if sweep >= self.burn_in and (sweep - self.burn_in) % self.thin == self.thin - 1:
                self.draws_.append(draw)
        return self

    def predict(self, supports: Sequence[Support], evidence: float = 1.0) -> np.ndarray:
        """Return the rating to expect of each person for every item, (people, n_items), not held to the scale.

        Args:
            supports: what is known of each, item indices (k,) and ratings (k,); k may be 0.
            evidence: what a rating of a support counts, as a share of what one of training does.
        """
        total = sum(self.mu_ + draw.bias + mean @ draw.loadings.T for draw, mean, _ in self._known(supports, evidence))
        return np.asarray(total) / len(self.draws_)

    def moments(self, supports: Sequence[Support], evidence: float = 1.0) -> tuple[np.ndarray, np.ndarray]:
        """Return mean and variance of each person's rating for every item, both (people, n_items).

        The variance holds what is unknown of the person and of the items, and the noise of a rating.
        """
        first = second = spread = np.zeros((1, 1))
        for draw, mean, precision in self._known(supports, evidence):
            expected = self.mu_ + draw.bias + mean @ draw.loadings.T
            around = np.einsum("id,pde,ie->pi", draw.loadings, np.linalg.inv(precision), draw.loadings, optimize=True)
            first, second = first + expected, second + np.square(expected)
            spread = spread + around + 1 / draw.noise
        n = len(self.draws_)
        return first / n, spread / n + np.maximum(second / n - np.square(first / n), 0)

    def worth_asking(self, support: Support, weights: np.ndarray, evidence: float = 1.0) -> np.ndarray:
        """Return how much the rating of each item would tell about the others, (n_items,) stars^2.

        By so much the variance of the person's expected ratings falls, in the mean over items by `weights`; it does
        not depend on what the answer will be, equation (14.8) (MacKay, 1992).

        Args:
            support: what is known of the person.
            weights: (n_items,) how much each item matters.
            evidence: see `predict`.
        """
        share, worth = weights / weights.sum(), np.zeros(len(weights))
        for draw, _, precision in self._known([support], evidence):
            z = draw.loadings
            told = z @ np.linalg.inv(precision[0])  # (n_items, d): covariance of each rating with w
            noise = 1 / (draw.noise * evidence)
            falls = np.einsum("id,de,ie->i", told, (z * share[:, None]).T @ z, told, optimize=True)
            worth += falls / (noise + (told * z).sum(1))
        return worth / len(self.draws_)

    def _known(self, supports: Sequence[Support], evidence: float) -> Iterator[tuple[Draw, np.ndarray, np.ndarray]]:
        """Yield each draw, with mean (people, d) and precision (people, d, d) of w after the supports."""
        items, ratings, known = _padded(supports)
        for draw in self.draws_:
            y = ratings - self.mu_ - draw.bias[items]
            yield draw, *posterior(draw.mean, draw.precision, draw.loadings[items], y, known * draw.noise * evidence)


def _padded(supports: Sequence[Support]) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Put supports side by side, (people, longest) each: items, ratings, and 1 where there is something."""
    longest = max((len(y) for _, y in supports), default=0)
    items, ratings, known = (np.zeros((len(supports), longest), kind) for kind in (np.int64, float, float))
    for row, (x, y) in enumerate(supports):
        items[row, : len(y)], ratings[row, : len(y)], known[row, : len(y)] = x, y, 1
    return items, ratings, known


class _Sweeps:
    """The Gibbs sampler: each of its unknowns is drawn from what the others leave possible."""

    def __init__(self, train: Dataset, x: np.ndarray, factors: int, seed: int) -> None:
        self.rng = np.random.default_rng(seed)
        users, self.users = np.unique(train.user_index, return_inverse=True)
        self.items, self.y = train.item_index, train.ratings - train.ratings.mean(dtype=float)
        self.x, n, m, d = x, len(users), len(x), factors + 1
        shape, index = (n, m), (self.users, self.items)
        self.met = sparse.csr_array((np.ones(len(self.y)), index), shape=shape)
        self.rated = sparse.csr_array((self.y, index), shape=shape)
        self.gram = x.T @ x + np.eye(x.shape[1])  # a vague prior on B
        self.half = np.linalg.cholesky(np.linalg.inv(self.gram))
        self.w = np.zeros((n, d))
        self.items_at = np.c_[np.zeros(m), self.rng.normal(0, 0.3, (m, factors))]  # b and v side by side
        self.b = np.zeros((x.shape[1], d))
        self.mean, self.precision, self.item_precision, self.noise = np.zeros(d), 4 * np.eye(d), 10 * np.eye(d), 1.0

    def next(self) -> Draw:
        rng, ones = self.rng, np.ones((len(self.w), 1))
        # Items: what a rating is beyond w's first number is b_i + v_i . w, linear in the item's numbers.
        self.items_at = self._rows(
            np.hstack([ones, self.w[:, 1:]]), self.w[:, 0], self.met.T, self.rated.T,
            self.x @ self.b, self.item_precision,
        )  # fmt: skip
        centre = np.linalg.solve(self.gram, self.x.T @ self.items_at)
        off = self.items_at - self.x @ centre
        self.item_precision = _wishart(rng, off.T @ off + centre.T @ centre, len(off))
        root = np.linalg.cholesky(np.linalg.inv(self.item_precision))
        self.b = centre + self.half @ rng.normal(size=centre.shape) @ root.T
        # People: beyond b_i it is (1, v_i) . w, linear in the person's numbers.
        loadings = np.hstack([np.ones((len(self.items_at), 1)), self.items_at[:, 1:]])
        self.w = self._rows(
            loadings, self.items_at[:, 0], self.met, self.rated, np.tile(self.mean, (len(self.w), 1)), self.precision
        )
        n, middle = len(self.w), self.w.mean(0)
        off = self.w - middle
        self.precision = _wishart(rng, off.T @ off + n / (n + 1) * np.outer(middle, middle), n)
        root = np.linalg.cholesky(np.linalg.inv((n + 1) * self.precision))
        self.mean = n / (n + 1) * middle + root @ rng.normal(size=len(middle))
        residual = self.y - self.items_at[self.items, 0] - (loadings[self.items] * self.w[self.users]).sum(1)
        self.noise = rng.gamma(len(residual) / 2 + 1) / (residual @ residual / 2 + 1)
        return Draw(self.items_at[:, 0].copy(), loadings, self.mean, self.precision, self.noise)

    def _rows(
        self,
        x: np.ndarray,
        offset: np.ndarray,
        met: sparse.sparray,
        rated: sparse.sparray,
        centre: np.ndarray,
        precision: np.ndarray,
    ) -> np.ndarray:
        """Draw a vector for each row of `met`, whose entries follow N(offset + x . vector, 1 / noise)."""
        n, d = centre.shape
        squares = (x[:, :, None] * x[:, None, :]).reshape(len(x), d * d)
        after = precision + self.noise * (met @ squares).reshape(n, d, d)
        right = centre @ precision + self.noise * (rated @ x - met @ (x * offset[:, None]))
        root = np.linalg.cholesky(after)
        mean = np.linalg.solve(after, right[..., None])
        return (mean + np.linalg.solve(np.swapaxes(root, 1, 2), self.rng.normal(size=(n, d, 1))))[..., 0]


def _wishart(rng: np.random.Generator, scatter: np.ndarray, n: int) -> np.ndarray:
    """Draw the precision of n vectors around their centre, given their scatter, (d, d), by Bartlett's factors."""
    d = len(scatter)
    root = np.linalg.cholesky(np.linalg.inv(scatter + 0.02 * d * np.eye(d)))
    factor = np.tril(rng.normal(size=(d, d)), -1)
    factor[np.diag_indices(d)] = np.sqrt(rng.chisquare(n + d + 2 - np.arange(d)))
    factor = root @ factor
    return factor @ factor.T

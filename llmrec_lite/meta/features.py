"""Chapter 11: features of items, and a network that predicts ratings from them."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import torch
from scipy.linalg import orthogonal_procrustes
from sklearn.decomposition import PCA
from torch import Tensor, nn
from torch.nn import functional as F

from llmrec_lite.data import Dataset
from llmrec_lite.errors import SettingError
from llmrec_lite.recommenders import BiasedMF, ItemMean


def item_features(
    train: Dataset, vectors: np.ndarray | None = None, factors: int = 32, text: int = 32, seed: int = 0
) -> np.ndarray:
    """Item features: mean rating, number of ratings, genres, latent factors and text, (n_items, d) float32.

    Column 0 is the item's mean rating in stars, shrunk to the mean of all where ratings are few; then the logarithm of
    its number of ratings, its genres, factors, text. Factors are turned to their principal axes, the largest first.
    Apart from column 0 each block has mean square 1 in total over the rated items, so that no block outweighs another
    by its length.

    Args:
        train: ratings of the users that may be learned from.
        vectors: (n_items, v) of the items' texts (`TextEncoder`); None leaves this block out.
        factors: item factors of a matrix factorization of `train`; 0 leaves them out.
        text: principal components of the vectors; 0 leaves them out.
        seed: of the factorization.
    """
    if factors < 0 or text < 0:
        raise SettingError(f"factors={factors} and text={text} must not be negative")
    if vectors is not None and len(vectors) != train.n_items:
        raise SettingError(f"vectors has {len(vectors)} rows for {train.n_items} items")
    rated = np.bincount(train.item_index, minlength=train.n_items)
    genres = train.items["genres"].str.get_dummies("|").drop(columns=["", "unknown"], errors="ignore")
    blocks = [np.log1p(rated)[:, None], genres.to_numpy(float)]
    if factors:
        found = BiasedMF(factors=factors, seed=seed).fit(train).item_[:, :factors]
        centered = found - found[rated > 0].mean(0)
        blocks.append(centered @ np.linalg.svd(centered[rated > 0], full_matrices=False)[2].T)
    if vectors is not None and text:
        most = min(text, *vectors.shape)
        blocks.append(PCA(most, random_state=seed).fit(vectors[rated > 0]).transform(vectors))
    mean = ItemMean().fit(train).means_[:, None]
    return np.hstack([mean, *(_scaled(block, rated > 0) for block in blocks)]).astype(np.float32)


def cross_fitted_features(
    train: Dataset,
    vectors: np.ndarray | None = None,
    folds: int = 5,
    factors: int = 32,
    text: int = 32,
    seed: int = 0,
) -> tuple[np.ndarray, list[tuple[Dataset, np.ndarray]]]:
    """Item features for new users, and for the users of each fold those that the ratings of the other users make.

    A task whose features contain the ratings of its query trains a meta-learner to remember them. With cross-fitting
    (Chernozhukov et al., "Double/debiased machine learning", The Econometrics Journal 2018) every user is trained on,
    by features without a rating of theirs. Each factorization has axes of its own, so the factors of a fold are rotated
    to those of all users (orthogonal Procrustes problem; Schoenemann, Psychometrika 1966). The other arguments are
    those of `item_features`.

    Returns:
        The features of `item_features(train, ...)`, (n_items, d); and the interactions of the users of each fold with
        their features, (n_items, d).
    """
    users = np.random.default_rng(seed).permutation(np.unique(train.user_index))
    if not 2 <= folds <= len(users):
        raise SettingError(f"folds={folds} must lie between 2 and the number of users, {len(users)}")
    whole = item_features(train, vectors, factors, text, seed)
    parts = []
    for some in np.array_split(users, folds):
        inside = np.isin(train.user_index, some)
        own, others = (train.with_interactions(train.interactions[rows]) for rows in (inside, ~inside))
        made, table = item_features(others, factors=factors, seed=seed), whole.copy()
        table[:, :2] = made[:, :2]
        if factors:
            block = slice(made.shape[1] - factors, made.shape[1])
            rotation, _ = orthogonal_procrustes(made[:, block], whole[:, block])
            table[:, block] = made[:, block] @ rotation
        parts.append((own, table))
    return whole, parts


def _scaled(block: np.ndarray, known: np.ndarray) -> np.ndarray:
    centered = block - block[known].mean(0)
    size = np.sqrt(np.square(centered[known]).sum(1).mean())
    return centered / size if size > 0 else centered


class RatingNetwork(nn.Module):
    """Rating network, (..., d) -> (...,): the item's mean rating, column 0, and a correction from the other features.

    The last layer is zero at first, so that before any training the mean is predicted.
    """

    def __init__(self, d: int, hidden: tuple[int, ...] = (64, 64), seed: int = 0) -> None:
        super().__init__()
        sizes = [d - 1, *hidden]
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            layers = [nn.Linear(a, b) for a, b in pairwise(sizes)]
            self.hidden = nn.ModuleList(layers)
            self.head = nn.Linear(sizes[-1], 1)
        nn.init.zeros_(self.head.weight)
        nn.init.zeros_(self.head.bias)

    def forward(self, x: Tensor) -> Tensor:
        """(..., d) -> (...,)."""
        states = x[..., 1:]
        for layer in self.hidden:
            states = torch.tanh(layer(states))
        return self.baseline(x) + self.head(states)[..., 0]

    def baseline(self, x: Tensor) -> Tensor:
        """Part of the prediction that no weight changes, (..., d) -> (...,): the item's mean rating."""
        return x[..., 0]

    def represent(self, weights: dict[str, Tensor], x: Tensor) -> Tensor:
        """States below the head, (tasks, k, d) -> (tasks, k, h), by weights as `stacked` takes them."""
        states = x[..., 1:]
        for i in range(len(self.hidden)):
            states = torch.tanh(_stacked_linear(states, weights[f"hidden.{i}.weight"], weights[f"hidden.{i}.bias"]))
        return states

    def stacked(self, weights: dict[str, Tensor], x: Tensor) -> Tensor:
        """Predictions for many tasks at once, (tasks, k, d) -> (tasks, k).

        Weights, by name, have a first axis for the tasks, or none where they are shared.
        """
        states = self.represent(weights, x)
        return self.baseline(x) + _stacked_linear(states, weights["head.weight"], weights["head.bias"])[..., 0]


def _stacked_linear(x: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
    """(tasks, k, a) -> (tasks, k, b), with a weight (tasks, b, a) or (b, a)."""
    if weight.dim() == 2:
        return F.linear(x, weight, bias)
    return torch.baddbmm(bias[..., None, :], x, weight.transpose(1, 2))

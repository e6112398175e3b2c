"""Chapter 14: the next interactions of a new user, by attention to users with similar histories."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Self

import numpy as np
from scipy import sparse
from scipy.special import softmax
from sklearn.base import BaseEstimator

from llmrec_lite.compute import random_seed
from llmrec_lite.data import Dataset
from llmrec_lite.errors import SettingError
from llmrec_lite.interface import top_k_unseen
from llmrec_lite.meta.tasks import HistoryOrder, rows_of_users
from llmrec_lite.metrics import ndcg_at_k
from llmrec_lite.recommenders import DenoisingAutoencoder
from llmrec_lite.recommenders.content import unit_rows
from llmrec_lite.recommenders.linear import gram_directions

AUTOENCODERS = ((0.5, 200.0), (0.65, 700.0), (0.8, 2e3), (0.9, 5e3), (0.95, 1e4))  # dropout and l2
MIN_USERS = 10  # that a setting may be chosen by
MAX_USERS = 2000  # that attention is over: its ridge takes their number to the third power
MAX_DENSE_CELLS = 8_000_000  # users times items that are held densely; four times as many for pairs of items
LOW_RANK = 128  # of autoencoders where pairs of items are too many


def pairs_fit(n_items: int) -> bool:
    """Whether a number for each pair of items may be held."""
    return n_items**2 <= 4 * MAX_DENSE_CELLS


def as_many_as_fit(data: Dataset, seed: int = 0) -> Dataset:
    """Interactions of as many users as attention may be over, drawn at random; the same data where all fit."""
    users, most = np.unique(data.user_index), min(MAX_USERS, MAX_DENSE_CELLS // max(data.n_items, 1))
    if len(users) <= most:
        return data
    kept = np.random.default_rng(seed).permutation(users)[:most]
    return data.with_interactions(data.interactions[np.isin(data.user_index, kept)])


def fit_autoencoders(data: Dataset, settings: Sequence[tuple[float, float]]) -> list[DenoisingAutoencoder]:
    """Autoencoders of several dropouts and penalties; of a low rank, with shared directions, for a long catalog."""
    if pairs_fit(data.n_items):
        return [DenoisingAutoencoder(dropout, l2).fit(data) for dropout, l2 in settings]
    directions = gram_directions([(data.matrix(), 1.0)], data.n_items, LOW_RANK)
    return [DenoisingAutoencoder(dropout, l2, LOW_RANK).fit_directions(data, directions) for dropout, l2 in settings]


def split_histories(
    dataset: Dataset, shots: int, order: HistoryOrder = "time", min_query: int = 1, seed: int = 0
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Support and query of each user's interactions: the first `shots` items, or any, and the others.

    The order is "time" for the first items (ties by the order of the file), "random" for any. Users with fewer than
    `min_query` items for the query are left out.

    Returns:
        The users that are left, (n,), support and query, both (n, n_items) float32 of 0 and 1.
    """
    users, parts = [], []
    for user, rows in rows_of_users(dataset):
        if len(rows) < shots + min_query:
            continue
        if order == "random":
            rows = np.random.default_rng(random_seed(seed, user)).permutation(rows)
        users.append(user)
        parts.append((dataset.item_index[rows[:shots]], dataset.item_index[rows[shots:]]))
    support, query = np.zeros((2, len(users), dataset.n_items), np.float32)
    for row, (first, others) in enumerate(parts):
        query[row, others], support[row, first] = 1, 1
    return np.array(users, dtype=int), support, query * (support == 0)


def _times(support: np.ndarray | sparse.sparray, matrix: np.ndarray) -> np.ndarray:
    """Product of supports (n, n_items), most of whose columns are zero, and a matrix (n_items, m)."""
    if sparse.issparse(support):
        return support @ matrix
    items = np.flatnonzero(support.any(0))
    return support[:, items] @ matrix[items]


class EpisodeRidge(BaseEstimator):
    """Ridge regression over episodes: from a user's support s to the query y, both (n_items,) of 0 and 1.

    With X and Y the episodes' rows and c the mean of Y, it predicts c + s X' (X X' + l2 I)^-1 (Y - c), equation (14.6).
    """

    def __init__(self, l2: float = 30.0) -> None:
        if not l2 > 0:
            raise SettingError(f"l2 must be above 0, not {l2!r}")
        self.l2 = l2

    def fit(self, support: np.ndarray, query: np.ndarray) -> Self:
        """Learn from episodes, both (n, n_items)."""
        self.mean_ = query.mean(0)
        gram = support @ support.T + self.l2 * np.eye(len(support))
        solved = np.linalg.solve(gram, query - self.mean_)
        if pairs_fit(support.shape[1]):
            self.weights_: tuple[np.ndarray, ...] = ((support.T @ solved).astype(np.float32),)
        else:
            self.weights_ = (support.T.astype(np.float32), solved.astype(np.float32))
        return self

    def predict(self, support: np.ndarray | sparse.sparray) -> np.ndarray:
        """Scores near the probability that each item is in the query, (n, n_items)."""
        scores = _times(support, self.weights_[0])
        return self.mean_ + (scores @ self.weights_[1] if self.weights_[1:] else scores)


class UserAttention(BaseEstimator):
    """Attention over the users of the training data: p(item | support) = sum_u a_u(support) y_u(item).

    y_u is the query of user u, and the weights a_u are a softmax over all users of a linear function of six signals of
    similarity (`signals`): items shared with u (counted, by rarity, and among u's own support), the length of u's
    history, and the similarity of texts. The function's six weights are learned by gradient descent on the squared
    error over episodes in which users do not attend to themselves. (Matching networks, Vinyals et al., NeurIPS 2016,
    with a kernel one can read.)

    Args:
        steps: of Adam.
        learning_rate: of Adam.
        episodes: number of users to learn from, at most; all of them are attended to.
        popular: number of items, the most frequent, that the error is taken over; rare ones change it little.

    Holds (users, n_items) dense numbers; a prediction costs users * n_items operations.
    """

    losses_: list[float]
    signals = ("log(1 + shared)", "shared", "shared, by rarity", "shared with first", "log(how many)", "text")

    def __init__(
        self, steps: int = 60, learning_rate: float = 0.2, episodes: int = 500, popular: int = 500, seed: int = 0
    ) -> None:
        for name, value in (("steps", steps), ("episodes", episodes), ("popular", popular)):
            if value < 1:
                raise SettingError(f"{name}={value!r} must be at least 1")
        self.steps, self.learning_rate, self.seed = steps, learning_rate, seed
        self.episodes, self.popular = episodes, popular

    def fit(self, support: np.ndarray, query: np.ndarray, vectors: np.ndarray | None = None) -> Self:
        """Learn whom to attend to, from support and query, (n, n_items) of 0 and 1, and text vectors, (n_items, v)."""
        self._memorize(support, query, vectors)
        self._learn(support, query)
        return self

    def restore(
        self, weights: Sequence[float], support: np.ndarray, query: np.ndarray, vectors: np.ndarray | None
    ) -> Self:
        """Take six weights that were learned before; otherwise as `fit`."""
        self._memorize(support, query, vectors)
        self.weights_ = np.array(weights, np.float32)
        self.losses_ = []
        return self

    def _memorize(self, support: np.ndarray, query: np.ndarray, vectors: np.ndarray | None) -> None:
        self.support_, self.query_, self.history_ = support, query, support + query
        self.count_ = self.history_.sum(1)
        self.rarity_ = np.log(len(support) / (1 + self.history_.sum(0))).astype(np.float32)
        self.vectors_ = None
        if vectors is not None:
            # Centered over the interactions: else all texts are similar, and nothing tells users apart (chapter 9).
            shares = self.history_.sum(0) / self.history_.sum()
            self.vectors_ = unit_rows(vectors - shares @ vectors).astype(np.float32)
            self.texts_ = self.history_ @ self.vectors_ / self.count_[:, None]

    def _learn(self, support: np.ndarray, query: np.ndarray) -> None:
        import torch  # only to learn

        learn = np.random.default_rng(self.seed).permutation(len(support))[: self.episodes]
        often = np.argsort(-query.sum(0), kind="stable")[: self.popular]
        signals = torch.from_numpy(self.similarity_features(support[learn]))
        itself = torch.zeros(signals.shape[:2], dtype=torch.bool)
        itself[torch.arange(len(learn)), torch.from_numpy(learn)] = True
        signals = torch.where(itself[..., None], 0, signals)
        values, target = torch.from_numpy(query[:, often]), torch.from_numpy(query[np.ix_(learn, often)])
        candidates = torch.from_numpy(support[np.ix_(learn, often)]) == 0
        weights = torch.tensor([1.0, 0, 0, 0, -0.5, 0], requires_grad=True)
        optimizer = torch.optim.Adam([weights], lr=self.learning_rate)
        self.losses_ = []
        for _ in range(self.steps):
            scores = torch.where(itself, -torch.inf, signals @ weights)
            errors = (torch.softmax(scores, 1) @ values - target).square() * candidates
            loss = errors.sum(1).mean()
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            self.losses_.append(loss.item())
        self.weights_ = weights.detach().numpy()

    def similarity_features(self, support: np.ndarray) -> np.ndarray:
        """Similarity of each support to each user, (n, users, 6) float32, in the order of `signals`."""
        size = np.maximum(support.sum(1, keepdims=True), 1)
        items = np.flatnonzero(support.any(0))  # the other columns add nothing, and are most of them
        support, history = support[:, items], self.history_[:, items].T
        shared = support @ history
        rare = (support * self.rarity_[items]) @ history / size
        text = np.zeros_like(shared)
        if self.vectors_ is not None:
            text = 5 * (support @ self.vectors_[items] / size) @ self.texts_.T
        length = np.broadcast_to(np.log(self.count_), shared.shape)
        first = support @ self.support_[:, items].T / size
        return np.stack([np.log1p(shared), shared / size, rare, first, length, text], -1)

    def attention(self, support: np.ndarray, exclude_self: np.ndarray | None = None) -> np.ndarray:
        """Attention of each support, (n, n_items), to each user, (n, users), rows summing to 1.

        `exclude_self` is (n,), the row of each support's own user in `fit`, who is left out; -1 for new users.
        """
        scores = self.similarity_features(support) @ self.weights_
        if exclude_self is not None:
            rows = np.flatnonzero(exclude_self >= 0)
            scores[rows, exclude_self[rows]] = -np.inf
        return softmax(scores, 1)

    def predict(self, support: np.ndarray, exclude_self: np.ndarray | None = None) -> np.ndarray:
        """Scores near the probability that each item is in the query, (n, n_items); see `attention`."""
        return self.attention(support, exclude_self) @ self.query_


class ColdStartRanker(BaseEstimator):
    """Ranking after K interactions: a weighted sum of user attention, a ridge over episodes, and an autoencoder.

    The weights are the least squares over episodes of other users than those the parts learned from. Another weight of
    the autoencoder, or another autoencoder, is taken where its nDCG@10 on the same episodes is higher by two standard
    errors.

    Args:
        shots: K.
        order: "time" for supports of first interactions, "random" for any.
        l2: strengths of the ridge to choose from.
        shares: weights of the autoencoder to try besides.
    """

    def __init__(
        self,
        shots: int,
        order: HistoryOrder = "time",
        l2: Sequence[float] = (30.0, 100.0),
        shares: Sequence[float] = (0.0, 0.5, 1.0, 2.0, 4.0, 8.0),
        seed: int = 0,
    ) -> None:
        if shots < 1:
            raise SettingError(f"shots={shots} must be at least 1; with no interaction, popularity is all there is")
        self.shots, self.order, self.seed = shots, order, seed
        self.l2, self.shares = l2, shares

    def fit(
        self,
        train: Dataset,
        valid: Dataset,
        autoencoders: Sequence[DenoisingAutoencoder],
        vectors: np.ndarray | None = None,
    ) -> Self:
        """Learn the parts from the users of `train`, and their weights from other users, those of `valid`.

        The autoencoders to choose from are fitted on `train`; vectors (n_items, v) are of the items' texts.
        """
        self.users_, support, query = split_histories(train, self.shots, self.order, seed=self.seed)
        _, valid_support, valid_query = split_histories(valid, self.shots, self.order, seed=self.seed)
        if min(len(support), len(valid_support)) < 2:
            raise SettingError(f"fewer than two users of train or valid have more than {self.shots} interactions")
        self.attention_ = UserAttention(seed=self.seed).fit(support, query, vectors)
        ridges = [EpisodeRidge(l2).fit(support, query) for l2 in self.l2]
        candidates = valid_support == 0
        errors = [np.square((ridge.predict(valid_support) - valid_query)[candidates]).sum() for ridge in ridges]
        self.ridge_ = ridges[int(np.argmin(errors))]
        first, second = self.attention_.predict(valid_support), self.ridge_.predict(valid_support)
        thirds = [_reconstruct(valid_support, autoencoder) for autoencoder in autoencoders]
        solved = [
            _least_squares([part[candidates] for part in (first, second, third)], valid_query[candidates])
            for third in thirds
        ]
        place = int(np.argmin([error for _, error in solved]))
        self.autoencoder_, (self.weights_, _) = autoencoders[place], solved[place]
        base = self.weights_[0] * first + self.weights_[1] * second
        usual, best = list_ndcg(base + self.weights_[2] * thirds[place], valid_support, valid_query), 0.0
        for autoencoder, third in zip(autoencoders, thirds, strict=True):
            for share in self.shares:
                gain = np.nan_to_num(list_ndcg(base + share * third, valid_support, valid_query) - usual)
                # Many are tried, so that the best of them is taken only where it is clearly better.
                if gain.mean() > max(best, 2 * gain.std() / len(gain) ** 0.5):
                    best = gain.mean()
                    self.autoencoder_, self.weights_ = autoencoder, np.append(self.weights_[:2], share)
        return self

    def state(self) -> dict[str, Any]:
        """Return what was learned, as JSON values; everything else follows from the users."""
        return {
            "attention": self.attention_.weights_.tolist(),
            "ridge": self.ridge_.l2,
            "autoencoder": [self.autoencoder_.dropout, self.autoencoder_.l2],
            "weights": np.asarray(self.weights_).tolist(),
        }

    def restore(
        self,
        state: Mapping[str, Any],
        train: Dataset,
        autoencoder: DenoisingAutoencoder,
        vectors: np.ndarray | None = None,
    ) -> Self:
        """Take a learned `state`, and predict from users of `train`, who may be more than it was learned from.

        The ridge is solved anew; the autoencoder is fitted on `train`, with the settings that the state names.
        """
        self.users_, support, query = split_histories(train, self.shots, self.order, seed=self.seed)
        self.attention_ = UserAttention(seed=self.seed).restore(state["attention"], support, query, vectors)
        self.ridge_ = EpisodeRidge(state["ridge"]).fit(support, query)
        self.autoencoder_, self.weights_ = autoencoder, np.array(state["weights"])
        return self

    def parts(self, support: np.ndarray, users: np.ndarray | None = None) -> list[np.ndarray]:
        """Scores by attention, ridge and autoencoder, (n, n_items) each; see `predict`."""
        exclude_self = None
        if users is not None:
            places = np.minimum(np.searchsorted(self.users_, users), len(self.users_) - 1)
            exclude_self = np.where(self.users_[places] == users, places, -1)
        attended = self.attention_.predict(support, exclude_self)
        return [attended, self.ridge_.predict(support), _reconstruct(support, self.autoencoder_)]

    def predict(self, support: np.ndarray, users: np.ndarray | None = None) -> np.ndarray:
        """Scores of all items, higher for a likelier next interaction, (n, n_items).

        `users` are (n,) user indices where they are users of `train`, who then do not attend to themselves.
        """
        parts = self.parts(support, users)
        return sum((w * part for w, part in zip(self.weights_, parts, strict=True)), np.zeros(1))


def _reconstruct(support: np.ndarray | sparse.sparray, autoencoder: DenoisingAutoencoder) -> np.ndarray:
    """Scores by an autoencoder, (n, n_items), of supports that are 0 and 1."""
    if autoencoder.rank is None:
        return _times(support, autoencoder.weights_)
    return _times(support, autoencoder.left_) @ autoencoder.right_.T


def _least_squares(parts: Sequence[np.ndarray], target: np.ndarray) -> tuple[np.ndarray, float]:
    """Weights of the parts, each (n,), whose sum is nearest to the target, and the squared error left."""
    x = np.stack(parts, 1)
    gram = x.T @ x
    # A small ridge towards the first part alone: the parts may be nearly the same.
    pull = 1e-3 * np.trace(gram) / len(gram) * np.eye(len(gram))
    weights = np.linalg.solve(gram + pull, x.T @ target + pull[0])
    return weights, float(np.square(x @ weights - target).sum())


def top_ten_unseen(scores: np.ndarray, support: np.ndarray) -> np.ndarray:
    """Rank the ten items of the highest scores that are not in the support, (n, 10)."""
    return top_k_unseen(np.where(support > 0, -np.inf, scores), None, 10)[0]


def list_ndcg(scores: np.ndarray, support: np.ndarray, query: np.ndarray) -> np.ndarray:
    """nDCG@10 of each row's list of items that are not in the support, (n,); nan where the query is empty."""
    return ndcg_at_k(top_ten_unseen(scores, support), sparse.csr_array(query), 10)

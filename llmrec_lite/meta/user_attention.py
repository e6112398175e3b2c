"""Chapter 14: what a new person will choose next, told by the people who resemble the little that is known."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Literal, Self

import numpy as np
import torch
from scipy import sparse
from scipy.special import softmax

from llmrec_lite.compute import random_seed
from llmrec_lite.data import Dataset
from llmrec_lite.errors import SettingError
from llmrec_lite.meta.tasks import rows_of_users
from llmrec_lite.metrics import ndcg_at_k
from llmrec_lite.recommenders import DenoisingAutoencoder
from llmrec_lite.recommenders.base import top_k_unseen
from llmrec_lite.recommenders.content import unit_rows

Order = Literal["time", "random"]


def chosen(
    dataset: Dataset, shots: int, order: Order = "time", least: int = 1, seed: int = 0
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Divide what each user chose into the first `shots` items, or any, and the rest.

    Args:
        dataset: users with interactions; what they were rated does not matter.
        shots: items of the first part.
        order: "time" takes the first (ties by the order of the file), "random" any.
        least: users with fewer than shots + least interactions are left out.
        seed: of what is drawn, for each user.

    Returns:
        The users that are left, (n,), and the two parts, both (n, n_items) float32 of 0 and 1.
    """
    users, parts = [], []
    for user, rows in rows_of_users(dataset):
        if len(rows) < shots + least:
            continue
        if order == "random":
            rows = np.random.default_rng(random_seed(seed, user)).permutation(rows)
        users.append(user)
        parts.append((dataset.item_index[rows[:shots]], dataset.item_index[rows[shots:]]))
    given, rest = np.zeros((2, len(users), dataset.n_items), np.float32)
    for row, (first, later) in enumerate(parts):
        rest[row, later], given[row, first] = 1, 1
    return np.array(users, dtype=int), given, rest * (given == 0)


def _times(given: np.ndarray | sparse.sparray, matrix: np.ndarray) -> np.ndarray:
    """Return `given @ matrix` where most columns of `given` are zero, (n, n_items) times (n_items, m)."""
    if sparse.issparse(given):
        return given @ matrix
    met = np.flatnonzero(given.any(0))
    return given[:, met] @ matrix[met]


class EpisodeRidge:
    """Predict what people choose later from what they chose first: one ridge regression over episodes.

    An episode is a person's support s, (n_items,) of 0 and 1, and rest y. With X and Y the episodes' rows and c the
    mean of Y, the answer to s is c + s X' (X X' + l2 I)^-1 (Y - c), equation (14.6).
    """

    def __init__(self, l2: float = 30.0) -> None:
        if not l2 > 0:
            raise SettingError(f"l2 must be above 0, not {l2!r}")
        self.l2 = l2

    def fit(self, given: np.ndarray, rest: np.ndarray) -> Self:
        """Learn from episodes, both (n, n_items)."""
        self.mean_ = rest.mean(0)
        gram = given @ given.T + self.l2 * np.eye(len(given))
        self.weights_ = (given.T @ np.linalg.solve(gram, rest - self.mean_)).astype(np.float32)
        return self

    def predict(self, given: np.ndarray | sparse.sparray) -> np.ndarray:
        """Return a score for each item, near the probability that it is chosen later, (n, n_items)."""
        return self.mean_ + _times(given, self.weights_)


class PeopleAttention:
    """Attend to the people of the training data: p(item | support) = sum_u a_u(support) y_u(item).

    y_u is what person u chose after the first K, and the weights a_u are a softmax over all people of a linear
    function of how u resembles the support: what both chose (counted, by rarity, and among u's own first K), how much
    u chose in all, and how near their texts are. What is learned, by gradient descent on the squared error over
    episodes in which nobody attends to himself, is that function: six numbers. (Matching networks, Vinyals et al.,
    NeurIPS 2016, with a kernel one can read.)

    Args:
        steps: of Adam.
        learning_rate: of Adam.
        episodes: at most so many people are learned from; all of them are attended to.
        popular: the error is taken over so many most chosen items; rare ones change it little.
        seed: of which people are learned from.

    Holds (people, n_items) dense numbers; an answer costs people * n_items operations.
    """

    losses_: list[float]
    signals = ("log(1 + shared)", "shared", "shared, by rarity", "shared with first", "log(how many)", "text")

    def __init__(
        self, steps: int = 60, learning_rate: float = 0.2, episodes: int = 500, popular: int = 500, seed: int = 0
    ) -> None:
        for name, value in (("steps", steps), ("episodes", episodes), ("popular", popular)):
            if value < 1:
                raise SettingError(f"{name}={value!r} must be at least 1")
        self.steps, self.learning_rate, self.episodes = steps, learning_rate, episodes
        self.popular, self.seed = popular, seed

    def fit(self, given: np.ndarray, rest: np.ndarray, vectors: np.ndarray | None = None) -> Self:
        """Learn whom to attend to.

        Args:
            given: (n, n_items) the first choices of each person, of 0 and 1.
            rest: (n, n_items) the later ones.
            vectors: (n_items, v) of the items' texts; None does without.
        """
        self._meet(given, rest, vectors)
        self._learn(given, rest)
        return self

    def restore(
        self, weights: Sequence[float], given: np.ndarray, rest: np.ndarray, vectors: np.ndarray | None
    ) -> Self:
        """Take the six numbers that were learned before, instead of learning them; otherwise as `fit`."""
        self._meet(given, rest, vectors)
        self.weights_ = torch.tensor(list(weights))
        self.losses_ = []
        return self

    def _meet(self, given: np.ndarray, rest: np.ndarray, vectors: np.ndarray | None) -> None:
        self.given_, self.rest_, self.whole_ = given, rest, given + rest
        self.count_ = self.whole_.sum(1)
        self.rarity_ = np.log(len(given) / (1 + self.whole_.sum(0))).astype(np.float32)
        self.vectors_ = None
        if vectors is not None:
            # Centered over what is chosen: else all texts are alike, and nothing tells people apart (chapter 9).
            shares = self.whole_.sum(0) / self.whole_.sum()
            self.vectors_ = unit_rows(vectors - shares @ vectors).astype(np.float32)
            self.texts_ = self.whole_ @ self.vectors_ / self.count_[:, None]

    def _learn(self, given: np.ndarray, rest: np.ndarray) -> None:
        learn = np.random.default_rng(self.seed).permutation(len(given))[: self.episodes]
        often = np.argsort(-rest.sum(0), kind="stable")[: self.popular]
        signals = torch.from_numpy(self.signals_of(given[learn]))
        signals[torch.arange(len(learn)), torch.from_numpy(learn)] = -torch.inf  # nobody attends to himself
        himself = torch.isinf(signals[..., 0])
        signals = torch.where(himself[..., None], 0, signals)
        values, target = torch.from_numpy(rest[:, often]), torch.from_numpy(rest[np.ix_(learn, often)])
        open_ = torch.from_numpy(given[np.ix_(learn, often)]) == 0
        self.weights_ = torch.tensor([1.0, 0, 0, 0, -0.5, 0], requires_grad=True)
        optimizer = torch.optim.Adam([self.weights_], lr=self.learning_rate)
        self.losses_ = []
        for _ in range(self.steps):
            scores = torch.where(himself, -torch.inf, signals @ self.weights_)
            errors = (torch.softmax(scores, 1) @ values - target).square() * open_
            loss = errors.sum(1).mean()
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            self.losses_.append(loss.item())
        self.weights_ = self.weights_.detach()

    def signals_of(self, given: np.ndarray) -> np.ndarray:
        """Return how each support resembles each person, (n, people, 6) float32, in the order of `signals`."""
        size = np.maximum(given.sum(1, keepdims=True), 1)
        met = np.flatnonzero(given.any(0))  # the other columns add nothing, and are most of them
        given, whole = given[:, met], self.whole_[:, met].T
        shared = given @ whole
        rare = (given * self.rarity_[met]) @ whole / size
        text = np.zeros_like(shared)
        if self.vectors_ is not None:
            text = 5 * (given @ self.vectors_[met] / size) @ self.texts_.T
        many = np.broadcast_to(np.log(self.count_), shared.shape)
        first = given @ self.given_[:, met].T / size
        return np.stack([np.log1p(shared), shared / size, rare, first, many, text], -1)

    def attention(self, given: np.ndarray, himself: np.ndarray | None = None) -> np.ndarray:
        """Return how much each support attends to each person, (n, people), rows summing to 1.

        Args:
            given: (n, n_items) supports.
            himself: (n,) whose support it is, a row of what `fit` was given, who is then left out; -1 for nobody's.
        """
        scores = self.signals_of(given) @ self.weights_.numpy()
        if himself is not None:
            rows = np.flatnonzero(himself >= 0)
            scores[rows, himself[rows]] = -np.inf
        return softmax(scores, 1)

    def predict(self, given: np.ndarray, himself: np.ndarray | None = None) -> np.ndarray:
        """Return a score near the probability that each item is chosen later, (n, n_items); see `attention`."""
        return self.attention(given, himself) @ self.rest_


class NextChoices:
    """What a person chooses next, from K choices: attention to people, a ridge over episodes, and an autoencoder.

    Their weights are the least squares over episodes of other people than those they learned from. Another share of
    the autoencoder, or another autoencoder, is taken where that is clearly better by nDCG@10 on the same episodes, by
    two standard errors.

    Args:
        shots: K, choices that are known.
        order: "time" for the first K of a person, "random" for any.
        l2: strengths of the ridge to choose from.
        shares: weights of the autoencoder to try besides.
        seed: of what is drawn.

    Raises:
        ValueError: shots is below 1, or there are not at least two people with more choices in each part.
    """

    def __init__(
        self,
        shots: int,
        order: Order = "time",
        l2: Sequence[float] = (30.0, 100.0),
        shares: Sequence[float] = (0.0, 0.5, 1.0, 2.0, 4.0, 8.0),
        seed: int = 0,
    ) -> None:
        if shots < 1:
            raise SettingError(f"shots={shots} must be at least 1; with nothing known, popularity is all there is")
        self.shots, self.order, self.l2, self.shares, self.seed = shots, order, tuple(l2), tuple(shares), seed

    def fit(
        self,
        train: Dataset,
        valid: Dataset,
        autoencoders: Sequence[DenoisingAutoencoder],
        vectors: np.ndarray | None = None,
    ) -> Self:
        """Learn from the people of `train`, and how to weigh from those of `valid`.

        Args:
            train: interactions of some people.
            valid: interactions of other people.
            autoencoders: one or more to choose from, fitted on `train`.
            vectors: (n_items, v) of the items' texts.
        """
        self.people_, given, rest = chosen(train, self.shots, self.order, seed=self.seed)
        _, known, later = chosen(valid, self.shots, self.order, seed=self.seed)
        if min(len(given), len(known)) < 2:
            raise SettingError(f"too few people have more than the {self.shots} choices that are to be known of them")
        self.attention_ = PeopleAttention(seed=self.seed).fit(given, rest, vectors)
        ridges = [EpisodeRidge(l2).fit(given, rest) for l2 in self.l2]
        open_ = known == 0
        errors = [np.square((ridge.predict(known) - later)[open_]).sum() for ridge in ridges]
        self.ridge_ = ridges[int(np.argmin(errors))]
        first, second = self.attention_.predict(known), self.ridge_.predict(known)
        extras = [known @ autoencoder.weights_ for autoencoder in autoencoders]
        solved = [_least_squares([part[open_] for part in (first, second, extra)], later[open_]) for extra in extras]
        place = int(np.argmin([error for _, error in solved]))
        self.autoencoder_, (self.weights_, _) = autoencoders[place], solved[place]
        base = self.weights_[0] * first + self.weights_[1] * second
        usual, sure = _ndcg(base + self.weights_[2] * extras[place], known, later), 0.0
        for autoencoder, extra in zip(autoencoders, extras, strict=True):
            for share in self.shares:
                gain = _ndcg(base + share * extra, known, later) - usual
                # Many are tried, so that the best of them is taken only where it is clearly better.
                if gain.mean() > max(sure, 2 * gain.std() / len(gain) ** 0.5):
                    sure = gain.mean()
                    self.autoencoder_, self.weights_ = autoencoder, np.append(self.weights_[:2], share)
        return self

    def state(self) -> dict[str, Any]:
        """Return what was learned in few numbers, as JSON values; the rest follows from the people."""
        return {
            "attention": self.attention_.weights_.tolist(),
            "ridge": self.ridge_.l2,
            "autoencoder": [self.autoencoder_.dropout, self.autoencoder_.l2],
            "weights": np.asarray(self.weights_).tolist(),
        }

    def restore(
        self,
        state: Mapping[str, Any],
        people: Dataset,
        autoencoder: DenoisingAutoencoder,
        vectors: np.ndarray | None = None,
    ) -> Self:
        """Take what was learned before and answer from people who may be more than it was learned from.

        Args:
            state: see `state`.
            people: interactions of those to attend to; the ridge is solved anew.
            autoencoder: fitted on them, with the settings that the state names.
            vectors: see `fit`.
        """
        self.people_, given, rest = chosen(people, self.shots, self.order, seed=self.seed)
        self.attention_ = PeopleAttention(seed=self.seed).restore(state["attention"], given, rest, vectors)
        self.ridge_ = EpisodeRidge(state["ridge"]).fit(given, rest)
        self.autoencoder_, self.weights_ = autoencoder, np.array(state["weights"])
        return self

    def parts(self, given: np.ndarray, users: np.ndarray | None = None) -> list[np.ndarray]:
        """Return the scores by attention, ridge and autoencoder, (n, n_items) each; see `predict`."""
        himself = None
        if users is not None:
            places = np.minimum(np.searchsorted(self.people_, users), len(self.people_) - 1)
            himself = np.where(self.people_[places] == users, places, -1)
        attended = self.attention_.predict(given, himself)
        return [attended, self.ridge_.predict(given), _times(given, self.autoencoder_.weights_)]

    def predict(self, given: np.ndarray, users: np.ndarray | None = None) -> np.ndarray:
        """Return a score for each item, higher for those more likely to be chosen later, (n, n_items).

        Args:
            given: (n, n_items) of 0 and 1, what each person chose.
            users: (n,) user indices where they are people of `train`, so that nobody attends to himself.
        """
        parts = self.parts(given, users)
        return sum((w * part for w, part in zip(self.weights_, parts, strict=True)), np.zeros(1))


def _least_squares(parts: Sequence[np.ndarray], target: np.ndarray) -> tuple[np.ndarray, float]:
    """Return the weights of the parts, each (n,), that come nearest to the target, and the squared error left."""
    x = np.stack(parts, 1)
    gram = x.T @ x
    # A little of a ridge towards the first part alone: they may say nearly the same.
    pull = 1e-3 * np.trace(gram) / len(gram) * np.eye(len(gram))
    weights = np.linalg.solve(gram + pull, x.T @ target + pull[0])
    return weights, float(np.square(x @ weights - target).sum())


def first_ten(scores: np.ndarray, known: np.ndarray) -> np.ndarray:
    """Return the ten items with the best scores that are not known yet, (n, 10), best first."""
    return top_k_unseen(np.where(known > 0, -np.inf, scores), None, 10)[0]


def _ndcg(scores: np.ndarray, known: np.ndarray, later: np.ndarray) -> np.ndarray:
    return np.nan_to_num(ndcg_at_k(first_ten(scores, known), sparse.csr_array(later), 10))

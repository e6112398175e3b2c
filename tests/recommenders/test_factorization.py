"""Gradients against torch, alternating solutions against dense ones, planted structure found again."""

import warnings

import numpy as np
import pandas as pd
import pytest
import torch

from llmrec_lite import Dataset, evaluate_ratings, splits
from llmrec_lite.errors import DivergedError, SettingError
from llmrec_lite.recommenders.factorization import ALS, BPR, BiasedMF


def dataset(matrix: np.ndarray) -> Dataset:
    """Users and items by number; a cell that is not 0 is a rating."""
    users, items = np.nonzero(matrix)
    log = pd.DataFrame({"user_id": users, "item_id": items, "rating": matrix[users, items].astype(float)})
    everything = pd.DataFrame({"item_id": range(matrix.shape[1])})
    return Dataset.from_frames(log, everything, pd.DataFrame({"user_id": range(len(matrix))}))


# ---- ratings ----


def leaves(*tables: np.ndarray) -> list[torch.Tensor]:
    return [torch.tensor(table, dtype=torch.float64, requires_grad=True) for table in tables]


def test_biased_mf_descends_along_the_gradient_of_its_loss():
    ratings = np.array([[5, 3, 0], [1, 0, 2], [0, 4, 4], [0, 0, 1]])
    data, rate, l2, bias_l2 = dataset(ratings), 0.05, 0.3, 0.7
    settings = {"factors": 3, "learning_rate": rate, "l2": l2, "bias_l2": bias_l2, "batch_size": 100, "seed": 3}
    start, model = (BiasedMF(n_epochs=n_epochs, **settings).fit(data) for n_epochs in (0, 2))

    p, q = leaves(start.user_[:, :3], start.item_[:, :3])
    b_u, b_i = leaves(np.zeros(4), np.zeros(3))
    u, i = torch.tensor(data.user_index), torch.tensor(data.item_index)
    r = torch.tensor(data.ratings, dtype=torch.float64)
    for step in (rate, rate / 2):  # falls to zero in a straight line; all ratings are in one batch_size
        error = r - r.mean() - b_u[u] - b_i[i] - (p[u] * q[i]).sum(1)
        penalty = l2 * (p[u] ** 2 + q[i] ** 2).sum(1) + bias_l2 * (b_u[u] ** 2 + b_i[i] ** 2)
        gradients = torch.autograd.grad(0.5 * (error**2 + penalty).sum(), (p, q, b_u, b_i))
        with torch.no_grad():
            for parameter, gradient in zip((p, q, b_u, b_i), gradients, strict=True):
                parameter -= step * gradient
    np.testing.assert_allclose(model.user_[:, :4], torch.column_stack([p, b_u]).detach(), atol=1e-6)
    np.testing.assert_allclose(model.item_[:, [0, 1, 2, 4]], torch.column_stack([q, b_i]).detach(), atol=1e-6)
    assert (model.user_[:, 4] == 1).all()
    assert (model.item_[:, 3] == 1).all()
    expected = r.mean() + b_u[:, None] + b_i + p @ q.T
    np.testing.assert_allclose(model.score_indices(range(4)), expected.detach(), atol=1e-5)


def test_biased_mf_finds_a_planted_product():
    rng = np.random.default_rng(1)
    rank_one = 3 + np.outer(rng.choice([-1, 1], 40), rng.choice([-1, 1], 25)) * rng.uniform(0.8, 1.2, (40, 1))
    known = rng.random(rank_one.shape) < 0.6
    model = BiasedMF(factors=2, n_epochs=80, learning_rate=0.1, l2=0.01, seed=0).fit(dataset(rank_one * known))
    error = (model.score_indices(range(40)) - rank_one)[~known]
    assert np.sqrt(np.mean(error**2)) < 0.1
    # The biases alone cannot know it: they miss by about 1.
    assert np.std(rank_one[~known]) > 0.9


def test_every_rating_is_visited_once_an_epoch():
    ratings, rate = np.random.default_rng(0).integers(1, 6, (7, 5)), 1e-4
    settings = {"factors": 2, "learning_rate": rate, "l2": 0.0, "bias_l2": 0.0, "batch_size": 4}
    start, model = (BiasedMF(n_epochs=n, **settings).fit(dataset(ratings)) for n in (0, 1))
    error = ratings - start.score_indices(range(7))
    # At so small a rate a bias moves by the sum of the errors of its ratings.
    np.testing.assert_allclose(model.user_[:, 2] / rate, error.sum(1), atol=0.02)
    np.testing.assert_allclose(model.item_[:, 3] / rate, error.sum(0), atol=0.02)


# ---- implicit data, alternating ----


@pytest.fixture(scope="module")
def met() -> np.ndarray:
    """25 users, the last without any item, and 15 items, the last never met."""
    rng = np.random.default_rng(6)
    x = rng.random((25, 15)) < 0.3
    x[-1] = x[:, -1] = False
    return x.astype(float)


def als_loss(model: ALS, met: np.ndarray) -> float:
    fit = ((1 + model.alpha * met) * (met - model.user_ @ model.item_.T) ** 2).sum()
    return fit + model.l2 * ((model.user_**2).sum() + (model.item_**2).sum())


def test_no_sweep_of_als_increases_the_loss(met):
    losses = [als_loss(ALS(factors=4, alpha=3, l2=0.5, sweeps=n).fit(dataset(met)), met) for n in range(1, 9)]
    assert (np.diff(losses) <= 1e-9).all()
    assert losses[-1] < 0.95 * losses[0]


@pytest.mark.parametrize("factors", [4, 20])  # fewer and more than an item has interactions
def test_each_half_of_a_sweep_is_optimal(met, factors):
    model = ALS(factors=factors, alpha=3, l2=0.5, sweeps=2).fit(dataset(met))
    for item in range(15):  # items are solved last, each a weighted ridge regression on the users' factors
        root = np.sqrt(1 + 3 * met[:, item])
        design = np.vstack([root[:, None] * model.user_, 0.5**0.5 * np.eye(factors)])
        dense = np.linalg.lstsq(design, np.concatenate([root * met[:, item], np.zeros(factors)]), rcond=None)[0]
        np.testing.assert_allclose(model.item_[item], dense, atol=1e-8)
    assert not model.item_[14].any()
    assert not model.user_[24].any()


def test_folding_in_solves_for_a_user_as_training_does(met):
    data = dataset(met)
    model = ALS(factors=4, l2=0.5, sweeps=3).fit(data)
    model.user_ = model._solve(data.matrix(), model.item_)  # the items moved last; let the users follow
    histories = [[(item, 1.0) for item in np.flatnonzero(row)] for row in met]
    np.testing.assert_allclose(model.score_new(histories), model.score_indices(range(25)), atol=1e-6)


def test_als_ranks_the_other_items_of_a_group_first():
    met = np.kron(np.eye(2), np.ones((10, 6)))
    met[0, 0] = met[10, 6] = 0
    scores = ALS(factors=2, l2=0.1).fit(dataset(met)).score_indices([0, 10])
    assert scores[0, 0] > scores[0, 6:].max() + 0.5
    assert scores[1, 6] > scores[1, :6].max() + 0.5


def test_als_needs_a_sweep():
    with pytest.raises(SettingError, match="0"):
        ALS(sweeps=0)


# ---- implicit data, in pairs ----


def bpr_steps(start: BPR, steps: list[float], l2: float) -> tuple[np.ndarray, np.ndarray]:
    """User and item rows after ascending on ln sigmoid(s_00 - s_01) - l2/2 (|p|^2 + |q|^2 + b^2)."""
    p, q = leaves(start.user_[:, :-1], start.item_)
    for step in steps:
        s = q[:, -1] + q[:, :-1] @ p[0]
        goal = torch.nn.functional.logsigmoid(s[0] - s[1]) - l2 / 2 * ((p**2).sum() + (q**2).sum())
        gradients = torch.autograd.grad(goal, (p, q))
        with torch.no_grad():
            p += step * gradients[0]
            q += step * gradients[1]
    return p.detach().numpy(), q.detach().numpy()


def test_bpr_ascends_along_the_gradient_of_its_pairs():
    data, rate, l2, seen = dataset(np.array([[1, 0]])), 0.4, 0.25, set()
    for seed in range(12):
        start, model = (BPR(3, n_epochs, rate, l2, seed=seed).fit(data) for n_epochs in (0, 2))
        # In each of the two n_epochs the item drawn is the unmet one, or the met one, which teaches nothing.
        for steps in ([], [rate], [rate / 2], [rate, rate / 2]):
            p, q = bpr_steps(start, steps, l2)
            if np.allclose(model.user_[:, :3], p, atol=1e-6) and np.allclose(model.item_, q, atol=1e-6):
                seen.add(tuple(steps))
                break
        else:
            raise AssertionError(f"seed {seed}: no sequence of steps leads to {model.user_}, {model.item_}")
        assert (model.user_[:, 3] == 1).all()
    assert (rate, rate / 2) in seen


def test_bpr_learns_a_planted_preference():
    met = np.kron(np.eye(2), np.ones((12, 8)))
    held_out = [(user, user % 8 + 8 * (user // 12)) for user in range(24)]
    for user, item in held_out:
        met[user, item] = 0
    scores = BPR(factors=4, n_epochs=60, batch_size=16).fit(dataset(met)).score_indices(range(24))
    for user, item in held_out:
        strangers = scores[user, 8:] if user < 12 else scores[user, :8]
        assert scores[user, item] > strangers.max()


def test_bpr_biases_learn_popularity():
    met = np.zeros((30, 6))
    met[:, 0] = 1
    met[np.arange(30), np.arange(30) % 5 + 1] = 1
    model = BPR(factors=2, n_epochs=30, batch_size=8).fit(dataset(met))
    assert model.item_[:, -1].argmax() == 0


# ---- real data ----


@pytest.mark.data
def test_biased_mf_reaches_the_measured_rmse(movielens):
    train, test = next(splits.kfold(movielens, 5))
    assert evaluate_ratings(BiasedMF().fit(train), test).mean["rmse"] <= 0.925


def test_ratings_too_far_apart_are_named():
    log = pd.DataFrame([(1, 1, 1), (1, 2, 90_000), (2, 1, 1), (2, 3, 90_000)], columns=["user_id", "item_id", "rating"])
    data = Dataset.from_frames(log)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        with pytest.raises(DivergedError, match=r"90000.*scale"):
            BiasedMF().fit(data)

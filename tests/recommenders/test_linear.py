"""Closed forms against the problems they claim to solve."""

import numpy as np
import pandas as pd
import pytest
from sklearn.linear_model import Ridge

from llmrec_lite import Dataset, evaluate, splits
from llmrec_lite.errors import SettingError
from llmrec_lite.recommenders.linear import EASE, DenoisingAutoencoder, gram_directions


@pytest.fixture(scope="module")
def met() -> np.ndarray:
    """30 users, 8 items, of which the last was never met."""
    rng = np.random.default_rng(4)
    groups = rng.integers(2, size=30)[:, None] == np.arange(8) % 2
    x = (rng.random((30, 8)) < np.where(groups, 0.6, 0.2)).astype(float)
    x[:, 7] = 0
    return x


@pytest.fixture(scope="module")
def data(met) -> Dataset:
    users, items = np.nonzero(met)
    log = pd.DataFrame({"user_id": users, "item_id": items})
    return Dataset.from_frames(log, pd.DataFrame({"item_id": range(8)}), pd.DataFrame({"user_id": range(30)}))


def test_a_matrix_without_an_inverse_is_named():
    twins = pd.DataFrame([(u, i) for u in range(4) for i in range(2)], columns=["user_id", "item_id"])
    with pytest.raises(np.linalg.LinAlgError, match="l2"):
        EASE(1e-300).fit(Dataset.from_frames(twins))


@pytest.mark.parametrize("l2", [0.5, 20.0])
def test_ease_regresses_every_item_on_all_others(met, data, l2):
    weights = EASE(l2).fit(data).weights_
    for item in range(8):
        others = np.delete(np.arange(8), item)
        ridge = Ridge(alpha=l2, fit_intercept=False).fit(met[:, others], met[:, item])
        np.testing.assert_allclose(weights[others, item], ridge.coef_, atol=1e-5)
        assert weights[item, item] == 0


def test_ease_is_a_minimum_off_the_diagonal(met, data):
    weights = EASE(3.0).fit(data).weights_.astype(float)
    gradient = met.T @ (met @ weights - met) + 3.0 * weights
    assert abs(gradient[~np.eye(8, dtype=bool)]).max() < 1e-4 < abs(np.diag(gradient)).max()


def test_ease_equals_the_published_formula(met, data):
    p = np.linalg.inv(met.T @ met + 7 * np.eye(8))
    expected = np.eye(8) - p / np.diag(p)
    model = EASE(7).fit(data)
    np.testing.assert_allclose(model.weights_, expected * (1 - np.eye(8)), atol=1e-6)
    np.testing.assert_allclose(model.score_indices([2, 0]), met[[2, 0]] @ model.weights_, atol=1e-6)


@pytest.mark.parametrize(("dropout", "l2"), [(0.0, 2.0), (0.65, 5.0)])
def test_the_denoising_autoencoder_equals_its_formula(met, data, dropout, l2):
    gram = met.T @ met
    penalty = np.diag(l2 + np.diag(gram) * dropout / (1 - dropout))
    weights = DenoisingAutoencoder(dropout, l2).fit(data).weights_
    np.testing.assert_allclose(weights, np.linalg.solve(gram + penalty, gram), atol=1e-6)


def test_the_denoising_autoencoder_is_the_limit_of_many_dropouts(met, data):
    dropout, l2, copies = 0.4, 2.0, 4000
    rng = np.random.default_rng(0)
    noisy_gram, to_clean = np.zeros((8, 8)), np.zeros((8, 8))
    for _ in range(copies):
        # What stays is scaled up, as dropout layers do, so that the mean of a copy is X.
        noisy = met * (rng.random(met.shape) >= dropout) / (1 - dropout)
        noisy_gram += noisy.T @ noisy / copies
        to_clean += noisy.T @ met / copies
    sampled = np.linalg.solve(noisy_gram + l2 * np.eye(8), to_clean)
    weights = DenoisingAutoencoder(dropout, l2).fit(data).weights_
    np.testing.assert_allclose(weights, sampled, atol=0.01)
    assert abs(DenoisingAutoencoder(0.0, l2).fit(data).weights_ - sampled).max() > 0.05  # the bound can fail


@pytest.mark.parametrize("model", [EASE(5.0), DenoisingAutoencoder(0.5, 5.0)])
def test_repeated_interactions_count_once_and_new_users_by_their_history(met, data, model):
    twice = data.with_interactions(pd.concat([data.interactions] * 2))
    scores = model.fit(data).score_indices(range(30))
    np.testing.assert_array_equal(model.fit(twice).score_indices(range(30)), scores)
    history = [(item, 1.0) for item in np.flatnonzero(met[3])]
    np.testing.assert_allclose(model.score_new([history, history * 2, []]), [scores[3], scores[3], np.zeros(8)])


@pytest.mark.parametrize("l2", [0, -1.0, float("nan")])
def test_ease_rejects_a_penalty_that_is_not_positive(l2):
    with pytest.raises(SettingError, match=f"l2.*{l2}"):
        EASE(l2)


@pytest.mark.parametrize("settings", [{"dropout": -0.1}, {"dropout": 1.0}, {"dropout": float("nan")}, {"l2": 0}])
def test_the_denoising_autoencoder_rejects_bad_settings(settings):
    name, value = next(iter(settings.items()))
    with pytest.raises(SettingError, match=f"{name}={value}"):
        DenoisingAutoencoder(**settings)


@pytest.mark.data
@pytest.mark.parametrize(("model", "ndcg"), [(EASE(1000.0), 0.4767), (DenoisingAutoencoder(0.65, 700.0), 0.4852)])
def test_linear_autoencoders_reach_the_measured_ndcg(movielens, model, ndcg):
    train, test = splits.recommenders_split(movielens)
    assert evaluate(model.fit(train), train, test).mean["ndcg"] == pytest.approx(ndcg, abs=0.0005)


def test_a_small_penalty_is_allowed(crowd):
    for l2 in (0.5, 1.0):
        assert np.isfinite(DenoisingAutoencoder(0.5, l2).fit(crowd).score_indices([0])).all()


@pytest.mark.parametrize("rank", [8, 30])
def test_a_full_rank_is_the_whole_autoencoder(met, data, rank):
    whole, low = DenoisingAutoencoder(0.4, 2.0).fit(data), DenoisingAutoencoder(0.4, 2.0, rank).fit(data)
    np.testing.assert_allclose(low.left_ @ low.right_.T, whole.weights_, atol=1e-5)
    np.testing.assert_allclose(low.score_indices([3, 1]), whole.score_indices([3, 1]), atol=1e-5)
    items, seen = np.array([1, 4]), np.array([0, 2, 5])
    np.testing.assert_allclose(low.contributions(items, seen), whole.contributions(items, seen), atol=1e-5)
    copy = DenoisingAutoencoder(0.4, 2.0, rank).set_state(data, low.get_state())
    np.testing.assert_array_equal(copy.score_indices([3]), low.score_indices([3]))


def test_a_low_rank_keeps_the_main_directions(met, data):
    gram = met.T @ met
    diagonal, values, vectors = gram_directions([(data.matrix(), 2.0)], 8, 3)
    np.testing.assert_allclose(diagonal, np.diag(2 * gram))
    expected = np.linalg.eigvalsh(2 * gram)[::-1][:3]
    np.testing.assert_allclose(values, expected, rtol=1e-4)
    np.testing.assert_allclose(2 * gram @ vectors, vectors * values, atol=1e-2)
    low = (vectors * values) @ vectors.T
    penalty = np.diag(2.0 + np.diag(2 * gram))
    model = DenoisingAutoencoder(0.5, 2.0, 3)
    model.set_directions(np.diag(2 * gram), values, vectors)
    np.testing.assert_allclose(model.left_ @ model.right_.T, np.linalg.solve(low + penalty, low), atol=1e-4)


def test_directions_are_found_in_blocks(met, data, monkeypatch):
    whole = gram_directions([(data.matrix(), 1.0)], 8, 3)
    monkeypatch.setattr("llmrec_lite.recommenders.linear.MAX_BLOCK", 16)
    parts = gram_directions([(data.matrix(), 1.0)], 8, 3)
    np.testing.assert_allclose(parts[1], whole[1], rtol=1e-5)


def test_a_rank_below_one_is_refused():
    with pytest.raises(SettingError):
        DenoisingAutoencoder(rank=0)

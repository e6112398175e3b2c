"""Bayesian matrix factorization: equations by hand and against scikit-learn, the sampler in a known world."""

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn.linear_model import Ridge

from llmrec_lite.data import Dataset
from llmrec_lite.errors import SettingError
from llmrec_lite.meta.bayesian_mf import BayesianMF, GibbsSampler, PosteriorSample, learn_prior, posterior


def test_posterior_by_hand():
    # Precision diag(4, 1) and a film (1, 1) rated two above its level: [[5, 1], [1, 2]] has the inverse
    # [[2, -1], [-1, 5]] / 9, times (2, 2) gives (2, 8) / 9.
    mean, precision = posterior(np.zeros(2), np.diag([4.0, 1.0]), np.ones((1, 2)), np.array([2.0]), 1.0)
    np.testing.assert_allclose(precision, [[5, 1], [1, 2]])
    np.testing.assert_allclose(mean, [2 / 9, 8 / 9])


@given(st.integers(0, 10**6), st.integers(0, 6), st.integers(1, 4))
def test_posterior_is_a_ridge_around_its_mean(seed, k, d):
    rng = np.random.default_rng(seed)
    x, y, mean = rng.normal(size=(k, d)), rng.normal(size=k), rng.normal(size=d)
    found, precision = posterior(mean, 0.5 * 3.0 * np.eye(d), x, y, 3.0)
    wanted = mean + (Ridge(0.5, fit_intercept=False).fit(x, y - x @ mean).coef_ if k else 0)
    np.testing.assert_allclose(found, wanted, atol=1e-8)
    assert (np.linalg.eigvalsh(precision) >= 1.5 - 1e-9).all()  # ratings never make one less sure


def test_ratings_one_after_the_other_or_at_once_and_left_out_by_no_noise():
    rng = np.random.default_rng(0)
    x, y = rng.normal(size=(4, 3)), rng.normal(size=4)
    at_once = posterior(np.ones(3), np.eye(3), x, y, 2.0)
    step = np.ones(3), np.eye(3)
    for row, value in zip(x, y, strict=True):
        step = posterior(*step, row[None], np.array([value]), 2.0)
    for a, b in zip(at_once, step, strict=True):
        np.testing.assert_allclose(a, b)
    some = posterior(np.ones(3), np.eye(3), x, y, np.array([2.0, 0, 2.0, 0]))
    for a, b in zip(some, posterior(np.ones(3), np.eye(3), x[[0, 2]], y[[0, 2]], 2.0), strict=True):
        np.testing.assert_allclose(a, b)


def test_many_people_at_once_are_as_one_by_one():
    rng = np.random.default_rng(1)
    x, y = rng.normal(size=(5, 4, 3)), rng.normal(size=(5, 4))
    means, precisions = posterior(np.ones(3), 2 * np.eye(3), x, y, 0.7)
    for i in range(5):
        mean, precision = posterior(np.ones(3), 2 * np.eye(3), x[i], y[i], 0.7)
        np.testing.assert_allclose(means[i], mean)
        np.testing.assert_allclose(precisions[i], precision)


def test_expectation_and_maximization_find_the_world_that_made_the_ratings():
    rng = np.random.default_rng(0)
    mean, covariance = np.array([0.5, -1.0]), np.array([[1.0, 0.6], [0.6, 0.5]])
    tasks = []
    for w in rng.multivariate_normal(mean, covariance, 800):
        x = rng.normal(size=(6, 2))
        tasks.append((x, x @ w + rng.normal(0, 0.5, 6)))
    found, precision, noise = learn_prior(tasks, 60)
    np.testing.assert_allclose(found, mean, atol=0.1)
    np.testing.assert_allclose(np.linalg.inv(precision), covariance, atol=0.1)
    assert noise == pytest.approx(4, rel=0.1)


def test_each_round_makes_what_was_seen_more_likely():
    rng = np.random.default_rng(2)
    tasks = [(x := rng.normal(size=(4, 2)), x @ rng.normal(size=2) + rng.normal(size=4)) for _ in range(30)]

    def likelihood(mean, precision, noise):
        # The made-up person who keeps the covariance from falling to zero is part of what is made likely.
        total = 0.5 * np.linalg.slogdet(precision)[1] - 0.5 * 0.01 * np.trace(precision)
        for x, y in tasks:
            cov = x @ np.linalg.inv(precision) @ x.T + np.eye(4) / noise
            off = y - x @ mean
            total -= 0.5 * (np.linalg.slogdet(cov)[1] + off @ np.linalg.solve(cov, off))
        return total

    values = [likelihood(*learn_prior(tasks, steps)) for steps in (1, 2, 5, 20)]
    assert values == sorted(values)


def test_no_task_is_an_error():
    with pytest.raises(SettingError):
        learn_prior([])


@pytest.fixture(scope="module")
def world():
    """Ratings of a made-up world with two tastes that the items' features tell, and what is true of it."""
    rng = np.random.default_rng(0)
    v = rng.normal(size=(60, 2))
    bias, w = rng.normal(0, 0.5, 60), np.c_[rng.normal(0, 0.4, 250), rng.normal(size=(250, 2))]
    stars = 3 + bias + w[:, :1] + w[:, 1:] @ v.T
    rows = [
        (u, int(i), stars[u, i] + rng.normal(0, 0.3)) for u in range(200) for i in rng.permutation(60)[:20] if i != 59
    ]
    items = pd.DataFrame({"item_id": range(60)})
    data = Dataset.from_frames(pd.DataFrame(rows, columns=["user_id", "item_id", "rating"]), items)
    return data, v, stars


@pytest.fixture(scope="module")
def fitted(world):
    data, v, _ = world
    return BayesianMF(3, burn_in=40, draws=10, thin=2, seed=1).fit(data, v)


def support_of(stars, user, k):
    items = np.random.default_rng(user).permutation(59)[:k]
    return items, stars[user, items]


def test_new_people_of_a_known_world(world, fitted):
    _, _, stars = world
    new = range(200, 250)
    errors = []
    for k in (0, 1, 3, 10, 20):
        expected = fitted.predict([support_of(stars, user, k) for user in new])
        errors.append(np.sqrt(np.square(expected[:, :59] - stars[200:, :59]).mean()))
    assert errors == sorted(errors, reverse=True)
    assert errors[0] > 1  # mood and two tastes are unknown
    assert errors[-1] < 0.3


def test_how_sure_it_says_it_is_is_how_sure_it_may_be(world, fitted):
    _, _, stars = world
    for k in (0, 3, 10):
        mean, variance = fitted.moments([support_of(stars, user, k) for user in range(200, 250)])
        np.testing.assert_allclose(mean, fitted.predict([support_of(stars, user, k) for user in range(200, 250)]))
        off = np.square(mean - stars[200:])[:, :59].mean() + 0.09  # noise of a rating
        assert 0.5 < off / variance[:, :59].mean() < 2


def test_an_item_that_nobody_rated_is_what_its_features_say(world, fitted):
    data, _, stars = world
    assert 59 not in data.item_index
    expected = fitted.predict([support_of(stars, user, 20) for user in range(200, 250)])[:, 59]
    assert np.corrcoef(expected, stars[200:, 59])[0, 1] > 0.8
    blind = BayesianMF(3, burn_in=40, draws=10, thin=2, seed=1).fit(data, np.empty((60, 0)))
    unknown = blind.predict([support_of(stars, user, 20) for user in range(200, 250)])[:, 59]
    assert np.corrcoef(expected, stars[200:, 59])[0, 1] > np.corrcoef(unknown, stars[200:, 59])[0, 1] + 0.1


def test_less_evidence_stays_nearer_to_what_everybody_gets(world, fitted):
    _, _, stars = world
    nobody, one = (np.zeros(0, int), np.zeros(0)), support_of(stars, 210, 5)
    usual = fitted.predict([nobody])[0]
    away = [
        np.linalg.norm(fitted.predict([one], likelihood_weight)[0] - usual) for likelihood_weight in (0.01, 0.1, 1.0)
    ]
    assert away[0] < 0.7 * away[1] < 0.7 * away[2]


def test_ragged_supports_go_together(world, fitted):
    _, _, stars = world
    supports = [support_of(stars, user, k) for user, k in ((201, 0), (202, 7), (203, 1))]
    together = fitted.predict(supports)
    for row, support in zip(together, supports, strict=True):
        np.testing.assert_allclose(row, fitted.predict([support])[0])


def test_expected_variance_reduction_is_the_fall_of_the_variance():
    loadings = np.array([[1.0, 0.0], [1.0, 2.0], [1.0, -1.0]])
    prior = BayesianMF()
    prior.mu_ = 0.0
    prior.samples_ = [PosteriorSample(np.zeros(3), loadings, np.zeros(2), np.array([[2.0, 0.3], [0.3, 1.0]]), 4.0)]
    weights = np.array([1.0, 2.0, 1.0])
    support = np.array([0]), np.array([1.0])
    worth = prior.expected_variance_reduction(support, weights)
    _, before = prior.moments([support])
    for item in range(3):
        _, after = prior.moments([(np.array([0, item]), np.array([1.0, -3.0]))])  # whatever the answer
        assert worth[item] == pytest.approx((before - after)[0] @ weights / weights.sum())
    half = prior.expected_variance_reduction(support, weights, likelihood_weight=0.5)
    assert (half[1:] < worth[1:]).all()


def test_the_mood_that_everybody_has_in_common_is_learned():
    """Unless items are told apart by features, only the prior's mean can say that all is rated above the mean."""
    rng = np.random.default_rng(0)
    rows = [(u, i, 4 + rng.normal(0, 0.2)) for u in range(60) for i in rng.permutation(20)[:6]]
    data = Dataset.from_frames(pd.DataFrame(rows, columns=["user_id", "item_id", "rating"]))
    prior = BayesianMF(0, burn_in=0, draws=200, thin=1).fit(data, np.empty((20, 0)))
    for draw in prior.samples_[50:]:
        assert draw.mean[0] + draw.bias.mean() == pytest.approx(0, abs=0.1)  # around the mean of all ratings
    moved = np.array([draw.mean[0] for draw in prior.samples_])
    assert np.corrcoef(moved, [draw.bias.mean() for draw in prior.samples_])[0, 1] < -0.5


def test_the_prior_of_users_is_drawn_around_their_mean():
    """Given users far from zero, the conditional of the prior's mean and covariance is that of a Gaussian sample."""
    rng = np.random.default_rng(0)
    rows = [(u, i, float(rng.integers(1, 6))) for u in range(400) for i in range(2)]
    data = Dataset.from_frames(pd.DataFrame(rows, columns=["user_id", "item_id", "rating"]))
    sampler = GibbsSampler(data, np.ones((2, 1)), factors=1, seed=0)
    covariance = np.array([[0.5, 0.2], [0.2, 0.3]])
    users = rng.multivariate_normal([3.0, -2.0], covariance, 400)
    means, covariances = [], []
    for _ in range(300):
        sampler.w = users
        sampler._draw_user_prior()
        means.append(sampler.mean)
        covariances.append(np.linalg.inv(sampler.precision))
    np.testing.assert_allclose(np.mean(means, axis=0), users.mean(0), atol=0.02)  # 1 / 401 nearer to zero
    # The vague prior of the mean, around zero, adds the square of the mean over n to the covariance.
    expected = np.cov(users.T) + np.outer(users.mean(0), users.mean(0)) / 400
    np.testing.assert_allclose(np.mean(covariances, axis=0), expected, atol=0.02)
    np.testing.assert_allclose(np.cov(np.transpose(means)), expected / 400, rtol=0.5, atol=2e-4)


def test_worlds_that_differ_make_one_less_sure():
    prior = BayesianMF()
    prior.mu_ = 3.0
    one, other = (
        PosteriorSample(np.array([bias]), np.ones((1, 1)), np.zeros(1), np.eye(1), 1.0) for bias in (1.0, -1.0)
    )
    prior.samples_ = [one, other]
    mean, variance = prior.moments([(np.zeros(0, int), np.zeros(0))])
    assert mean[0, 0] == pytest.approx(3)
    assert variance[0, 0] == pytest.approx(1 + 1 + 1)  # the person, the noise, and the worlds


def test_seeds_repeat_and_differ(world):
    data, v, _ = world
    nobody = [(np.zeros(0, int), np.zeros(0))]
    first, again, other = (
        BayesianMF(2, burn_in=2, draws=2, thin=1, seed=s).fit(data, v).predict(nobody) for s in (0, 0, 1)
    )
    np.testing.assert_array_equal(first, again)
    assert not np.allclose(first, other)


def test_equal_ratings_and_one_rating_are_fine():
    same = pd.DataFrame({"user_id": [0, 0, 1, 1], "item_id": [0, 1, 0, 1], "rating": 4.0})
    found = BayesianMF(1, burn_in=20, draws=10).fit(Dataset.from_frames(same), np.zeros((2, 1)))
    np.testing.assert_allclose(found.predict([(np.array([0]), np.array([4.0]))]), 4, atol=0.7)
    one = Dataset.from_frames(same.iloc[:1])
    assert np.isfinite(BayesianMF(1, burn_in=2, draws=2).fit(one, np.zeros((1, 1))).predict([([], [])])).all()


@pytest.mark.parametrize("options", [{"factors": -1}, {"draws": 0}, {"thin": 0}, {"burn_in": -2}])
def test_bad_settings(options):
    with pytest.raises(SettingError, match=next(iter(options))):
        BayesianMF(**options)


def test_bad_data(world):
    data, v, _ = world
    with pytest.raises(SettingError, match="59"):
        BayesianMF().fit(data, v[:59])
    with pytest.raises(SettingError):
        BayesianMF().fit(data.with_interactions(data.interactions.iloc[:0]), v)

"""Baselines of few-shot rating prediction by hand, and errors per user with paired intervals."""

import numpy as np
import pytest
from sklearn.linear_model import Ridge

from llmrec_lite.meta.baselines import (
    adapting,
    each,
    item_mean,
    paired_interval,
    ridge,
    shrunk_bias,
    solving,
    squared_and_absolute_errors,
    user_errors,
    user_rmse,
)
from llmrec_lite.meta.closed_form import R2D2
from llmrec_lite.meta.features import RatingNetwork
from llmrec_lite.meta.learners import JointTraining
from llmrec_lite.meta.maml import MAML
from llmrec_lite.meta.tasks import Task


def task(k=3, q=2, d=6, seed=0):
    """Column 0 holds the items' means."""
    rng = np.random.default_rng(seed)
    x, y = rng.normal(size=(k, d)).astype(np.float32), rng.uniform(1, 5, k).astype(np.float32)
    return Task(x, y, rng.normal(size=(q, d)).astype(np.float32), rng.uniform(1, 5, q).astype(np.float32))


def test_rules_by_hand():
    one = Task(
        np.array([[3, 1], [4, 0]], np.float32), np.array([5, 4], np.float32), np.array([[2, 1]], np.float32), np.ones(1)
    )
    assert item_mean(one).tolist() == [2]
    assert shrunk_bias(one, 2.0) == pytest.approx(2 + 2 / 4)  # deviations 2 and 0, two ratings and a damping of two
    # Constant and one feature: a = [[1, 1], [1, 0]], deviations (2, 0), l2 = 1. a a' + 1 = [[3, 1], [1, 2]], its
    # inverse times (2, 0) is (0.8, -0.4); a' of that is (0.4, 0.8).
    assert ridge(one, 1.0) == pytest.approx(2 + 0.4 + 0.8)


def test_ridge_is_that_of_scikit_learn():
    one = task(k=9)
    # A constant that is shrunk like the others is a column of ones there.
    fitted = Ridge(2.5, fit_intercept=False).fit(
        np.c_[np.ones(9), one.support_x[:, 1:]], one.support_y - one.support_x[:, 0]
    )
    wanted = one.query_x[:, 0] + fitted.predict(np.c_[np.ones(2), one.query_x[:, 1:]])
    np.testing.assert_allclose(ridge(one, 2.5), wanted, rtol=1e-4)
    some = ridge(one, 2.5, slice(2, 4))
    fitted.fit(np.c_[np.ones(9), one.support_x[:, 2:4]], one.support_y - one.support_x[:, 0])
    np.testing.assert_allclose(
        some, one.query_x[:, 0] + fitted.predict(np.c_[np.ones(2), one.query_x[:, 2:4]]), rtol=1e-4
    )


def test_a_bias_with_a_penalty_of_its_own():
    one = task(k=9)
    x, q = np.c_[np.ones(9), one.support_x[:, 1:]].astype(float), np.c_[np.ones(2), one.query_x[:, 1:]]
    penalties = np.diag([0.5, *[2.5] * 5])
    w = np.linalg.solve(x.T @ x + penalties, x.T @ (one.support_y - one.support_x[:, 0]))
    np.testing.assert_allclose(ridge(one, 2.5, bias_l2=0.5), one.query_x[:, 0] + q @ w, rtol=1e-4)
    np.testing.assert_allclose(ridge(one, 2.5, bias_l2=2.5), ridge(one, 2.5))


def test_a_closed_form_answers_with_a_likelihood_weight():
    tasks = [task(seed=i) for i in range(3)]
    learner = R2D2(RatingNetwork(6, (4,)), 2.0).initialize()
    for weight in (0.25, 1.0):
        found = solving(learner, weight)(tasks)
        learner.likelihood_weight = weight
        np.testing.assert_allclose(found, [learner.adapt(t)(t.query_x) for t in tasks], rtol=1e-4)


def test_an_empty_support_gives_the_item_mean():
    empty = task(k=0)
    for rule in (lambda t: ridge(t, 1.0), lambda t: shrunk_bias(t, 2.0)):
        np.testing.assert_array_equal(rule(empty), item_mean(empty))


def test_errors_are_a_mean_over_each_query_of_predictions_clipped_to_the_scale():
    one = Task(np.zeros((0, 2)), np.zeros(0), np.array([[9, 0], [2, 0]], np.float32), np.array([5, 4], np.float32))
    assert user_errors(each(item_mean), [one]).tolist() == [2.0]  # 5 against 5, 2 against 4
    assert user_rmse(np.array([2.0, 4.0])) == pytest.approx(3**0.5)


def test_a_learner_answers_as_it_does_one_by_one_and_with_other_steps():
    tasks = [task(seed=i) for i in range(3)]
    learner = MAML(RatingNetwork(6, (4,)), 0.1, 2, learn_inner_lrs=True).initialize()
    learner.inner_lrs_["head.weight"].data.fill_(0.3)
    one_by_one = [learner.adapt(t)(t.query_x) for t in tasks]
    np.testing.assert_allclose(adapting(learner)(tasks), one_by_one, rtol=1e-4)
    joint = JointTraining(RatingNetwork(6, (4,)), 0.1, 2).initialize()
    quick = adapting(joint, 0.05, 1)(tasks)
    joint.inner_lr, joint.inner_steps = 0.05, 1
    np.testing.assert_allclose(quick, [joint.adapt(t)(t.query_x) for t in tasks], rtol=1e-4)


def test_intervals_hold_what_is_there_and_zero_where_nothing_is():
    rng = np.random.default_rng(0)
    errors = rng.uniform(0.5, 1.5, 300)
    assert paired_interval(errors, errors) == (0.0, 0.0)
    low, high = paired_interval(errors + 0.2, errors)
    assert low < user_rmse(errors + 0.2) - user_rmse(errors) < high
    assert low > 0
    low, high = paired_interval(errors, rng.permutation(errors))
    assert low < 0 < high


def test_absolute_errors_stand_beside_the_squared_ones():
    one = Task(np.zeros((0, 2)), np.zeros(0), np.array([[9, 0], [2, 0]], np.float32), np.array([5, 4], np.float32))
    np.testing.assert_allclose(squared_and_absolute_errors(each(item_mean), [one]), [[2.0], [1.0]])

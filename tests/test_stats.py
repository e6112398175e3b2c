"""Bootstrap intervals: by theory, paired, crossed, and the same from the same seed."""

import numpy as np
import pytest
from scipy import stats as scipy_stats

from llmrec_lite.stats import bootstrap_counts, bootstrap_interval, mean_interval, t_interval


@pytest.mark.parametrize("draw", ["multinomial", "integers"])
def test_counts_are_of_samples_with_replacement(draw):
    counts = bootstrap_counts(50, 4000, np.random.default_rng(0), draw)
    assert counts.shape == (4000, 50)
    assert (counts.sum(1) == 50).all()
    np.testing.assert_allclose(counts.mean(0), 1, atol=0.1)
    np.testing.assert_allclose(counts.var(0), 1 - 1 / 50, atol=0.15)


@pytest.mark.parametrize("draw", ["multinomial", "integers"])
def test_the_interval_of_a_mean_is_that_of_theory(draw):
    values = np.random.default_rng(0).normal(0.1, 1, 400)
    low, high = bootstrap_interval(lambda counts: counts @ values / 400, 400, resamples=4000, draw=draw)
    assert low < values.mean() < high
    assert high - low == pytest.approx(2 * 1.96 * values.std() / 20, rel=0.1)
    assert mean_interval(values) == pytest.approx((low, high), abs=0.02)


def test_a_paired_difference_is_surer_than_two_intervals():
    rng = np.random.default_rng(0)
    hard = rng.normal(0, 5, 300)
    first, second = hard + rng.normal(0.3, 0.5, 300), hard + rng.normal(0, 0.5, 300)
    low, high = bootstrap_interval(lambda counts: counts / 300 @ first - counts / 300 @ second, 300)
    assert 0 < low < 0.3 < high
    alone = mean_interval(first)
    assert alone[1] - alone[0] > 5 * (high - low)
    assert bootstrap_interval(lambda counts: counts @ first - counts @ first, 300) == (0, 0)


def test_several_columns_and_samples_that_are_left_out():
    values = np.random.default_rng(1).normal([0, 1, 2], 1, (200, 3))
    low, high = bootstrap_interval(lambda counts: counts @ values / 200, 200)
    assert low.shape == high.shape == (3,)
    assert ((low < [0.2, 1.2, 2.2]) & (high > [-0.2, 0.8, 1.8])).all()
    seen = []
    bootstrap_interval(lambda counts: seen.append(counts) or counts[:7] @ values[:, 0], 200)
    assert seen[0].shape == (1000, 200)


def test_crossed_units_are_drawn_independently():
    # Rows differ by 1 in the mean, columns not at all: the interval is that of the rows' mean.
    table = np.random.default_rng(0).normal(size=(30, 1)) + np.zeros((30, 50))

    def mean(rows, columns):
        assert rows.shape == (500, 30)
        assert columns.shape == (500, 50)
        assert (rows.sum(1) == 30).all()
        assert (columns.sum(1) == 50).all()
        return np.einsum("br,rc,bc->b", rows, table, columns) / (30 * 50)

    low, high = bootstrap_interval(mean, (30, 50), resamples=500)
    assert high - low == pytest.approx(2 * 1.96 * table[:, 0].std() / 30**0.5, rel=0.2)


def test_seeds_repeat_and_differ():
    values = np.random.default_rng(0).normal(size=100)
    assert mean_interval(values, seed=1) == mean_interval(values, seed=1) != mean_interval(values, seed=2)


def test_t_interval_is_that_of_scipy():
    values = np.random.default_rng(0).normal(size=10)
    wanted = scipy_stats.ttest_1samp(values, 0).confidence_interval(0.95)
    assert t_interval(values) == pytest.approx((wanted.low, wanted.high))

"""Scores on a common scale, by hand and against scipy and scikit-learn."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from scipy.stats import rankdata, zscore
from sklearn.preprocessing import minmax_scale

from llmrec_lite.errors import SettingError
from llmrec_lite.llma.scales import normalize_scores

WAYS = ("zscore", "rank", "minmax")


def test_by_hand():
    row = np.array([1.0, 3.0, 4.0])
    np.testing.assert_allclose(normalize_scores(row, "minmax"), [0, 2 / 3, 1], rtol=1e-6)
    np.testing.assert_allclose(normalize_scores(row, "rank"), [0, 0.5, 1])
    np.testing.assert_allclose(normalize_scores(np.array([0.0, 0.0, 2.0, 2.0])), [-1, -1, 1, 1])


def test_ties_share_their_rank():
    assert normalize_scores(np.array([5.0, 1.0, 5.0]), "rank").tolist() == [0.75, 0.0, 0.75]


@given(arrays(float, (3, 7), elements=st.floats(-50, 50).map(lambda x: round(x, 2)), unique=True))
def test_as_scipy_and_scikit_learn(scores):
    np.testing.assert_allclose(normalize_scores(scores), zscore(scores, axis=1), atol=1e-4)
    np.testing.assert_allclose(normalize_scores(scores, "minmax"), minmax_scale(scores, axis=1), atol=1e-5)
    np.testing.assert_allclose(normalize_scores(scores, "rank"), (rankdata(scores, axis=1) - 1) / 6, atol=1e-6)


@pytest.mark.parametrize("how", WAYS)
@given(scores=arrays(float, (2, 6), elements=st.integers(-20, 20)), shift=st.integers(-9, 9), factor=st.integers(1, 9))
def test_shift_and_scale_do_not_matter(how, scores, shift, factor):
    np.testing.assert_allclose(normalize_scores(scores * factor + shift, how), normalize_scores(scores, how), atol=1e-4)


@pytest.mark.parametrize("how", WAYS)
def test_a_row_that_says_nothing_becomes_zeros(how):
    rows = np.array([[2.0, 2.0, 2.0], [np.nan, np.nan, np.nan], [np.nan, 7.0, -np.inf], [1e6, 1e6 + 0.1, 1e6]])
    assert (normalize_scores(rows, how) == 0).all()


@pytest.mark.parametrize("how", WAYS)
def test_what_is_not_scored_comes_last_and_does_not_shape_the_scale(how):
    full = normalize_scores(np.array([4.0, 1.0, 2.5]), how)
    with_gaps = normalize_scores(np.array([np.nan, 4.0, 1.0, -np.inf, 2.5]), how)
    np.testing.assert_allclose(with_gaps, [full[1], *full[:2], full[1], full[2]], rtol=1e-6)


@pytest.mark.parametrize("how", WAYS)
def test_among_is_the_same_as_a_gap(how):
    scores, among = np.array([[9.0, 4.0, 1.0, 2.5]]), np.array([[False, True, True, True]])
    gap = np.array([[np.nan, 4.0, 1.0, 2.5]])
    np.testing.assert_array_equal(normalize_scores(scores, how, among), normalize_scores(gap, how))


def test_zscores_and_minmax_keep_distances_and_ranks_do_not():
    row = np.array([0.0, 1.0, 10.0])
    for how in ("zscore", "minmax"):
        gaps = np.diff(normalize_scores(row, how))
        assert gaps[1] / gaps[0] == pytest.approx(9, rel=1e-5)
    assert np.diff(normalize_scores(row, "rank")).tolist() == [0.5, 0.5]


def test_the_shape_and_the_type_stay():
    assert normalize_scores(np.arange(5)).shape == (5,)
    assert normalize_scores(np.arange(6).reshape(2, 3)).dtype == np.float32


def test_the_input_stays():
    scores = np.array([[1.0, np.nan, 3.0]])
    normalize_scores(scores)
    assert np.isnan(scores[0, 1])


def test_bad_input():
    with pytest.raises(SettingError, match="softmax"):
        normalize_scores(np.arange(3), "softmax")
    with pytest.raises(SettingError, match=r"\+inf"):
        normalize_scores(np.array([1.0, np.inf]))

"""A wish in words: what answers it, whatever the tail of popularity, and what is called near."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from llmrec_lite.errors import SettingError
from llmrec_lite.llma.requests import is_near, n_candidates, request_scores


def test_ranks_among_the_nearest_by_hand():
    wish, popular = np.arange(30.0), np.full(30, 100.0)
    popular[27:] = 30, 2, 1
    scores = request_scores(wish, popular, 0.75, 5)
    # A tenth may answer: nearness ranks 0, 1/2, 1 and popularity ranks 1, 1/2, 0; then all others, nearest first.
    np.testing.assert_allclose(scores[27:], [0.25, 0.5, 0.75])
    assert scores[26] < 0
    assert (np.diff(scores[:27]) > 0).all()
    assert scores[0] > -1


def test_what_is_seen_is_no_candidate():
    wish = np.array([0.9, 0.8, 0.7, 0.1])
    scores = request_scores(wish, np.zeros(4), 1.0, 2, np.array([False, True, True, True]))
    assert scores.argsort()[::-1].tolist() == [1, 2, 3, 0]
    assert scores[0] == -1


@given(st.integers(0, 2**32 - 1), st.sampled_from([0.0, 0.3, 0.5, 1.0]), st.floats(1, 30))
def test_the_tail_of_popularity_changes_nothing(seed, share, power):
    rng = np.random.default_rng(seed)
    wish, popular = rng.normal(size=300), rng.random(300)
    scores = request_scores(wish, popular, share, 50)
    np.testing.assert_allclose(scores, request_scores(wish, popular**power, share, 50), atol=1e-6)
    nearest = np.argsort(-wish)[:30]
    assert set(np.argsort(-scores)[:10]) <= set(nearest)


def test_what_ties_with_the_last_candidate_takes_part():
    wish = np.array([1.0, 1, 1, 0, 0])
    scores = request_scores(wish, np.array([1.0, 2, 3, 9, 8]), 0.5, 1)
    assert scores.argsort()[::-1][:3].tolist() == [2, 1, 0]


def test_a_tenth_of_a_short_and_a_hundredth_of_a_long_catalog_answer():
    assert [n_candidates(n, 50) for n in (84, 1682, 9066)] == [9, 50, 91]


def test_near_is_the_nearest_hundredth():
    wish = np.random.default_rng(0).normal(size=400)
    assert np.flatnonzero(is_near(wish)).tolist() == sorted(np.argsort(-wish)[:4].tolist())
    assert not is_near(np.zeros(3)).any()
    assert is_near(np.array([1.0, 0, 1])).tolist() == [True, False, True]


def test_an_empty_catalog_of_unseen_items_is_no_fault():
    assert request_scores(np.ones(3), np.ones(3), 0.5, 2, np.zeros(3, bool)).tolist() == [-1, -1, -1]


def test_a_share_above_one_is_refused():
    with pytest.raises(SettingError):
        request_scores(np.ones(2), np.ones(2), 1.5, 1)

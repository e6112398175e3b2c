"""The list of the best unseen items."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from scipy import sparse

from llmrec_lite.errors import SettingError
from llmrec_lite.interface import top_k_unseen


def slow_top_k(scores, seen, k):
    items, values, k = [], [], min(k, scores.shape[1])
    for row, hidden in zip(scores.astype(np.float32).tolist(), seen.tolist(), strict=True):
        open_items = [i for i, s in enumerate(row) if not hidden[i] and not np.isnan(s) and s != -np.inf]
        best = sorted(open_items, key=lambda i: (-row[i], i))[:k]
        items.append(best + [-1] * (k - len(best)))
        values.append([row[i] for i in best] + [-np.inf] * (k - len(best)))
    return items, values


# Few values, so that ties are common.
SCORES = st.sampled_from([0.0, -0.0, 1.0, 0.5, -3.0, np.nan, np.inf, -np.inf]) | st.floats(width=32)


@given(st.data(), st.integers(1, 5), st.integers(1, 7), st.integers(1, 9))
def test_top_k_is_a_sort_of_the_unseen_items(data, n, n_items, k):
    scores = data.draw(arrays(np.float64, (n, n_items), elements=SCORES))
    seen = data.draw(arrays(bool, (n, n_items)))
    before = scores.copy()
    items, values = top_k_unseen(scores, sparse.csr_array(seen), k)
    expected_items, expected_values = slow_top_k(scores, seen, k)
    np.testing.assert_array_equal(items, expected_items)
    np.testing.assert_array_equal(values, np.array(expected_values, np.float32))
    np.testing.assert_array_equal(scores, before)


@pytest.mark.parametrize(("n_items", "k"), [(200, 10), (211, 1), (97, 96), (64, 64)])
def test_top_k_of_many_items_with_many_ties(n_items, k):
    rng = np.random.default_rng(n_items)
    scores = rng.integers(0, 40, (30, n_items)).astype(np.float32)
    scores[rng.random(scores.shape) < 0.02] = -np.inf
    seen = rng.random(scores.shape) < 0.3
    seen[0] = True
    items, values = top_k_unseen(scores, sparse.csr_array(seen), k)
    expected_items, expected_values = slow_top_k(scores, seen, k)
    np.testing.assert_array_equal(items, expected_items)
    np.testing.assert_array_equal(values, expected_values)


def test_top_k_without_anything_seen_and_with_equal_scores_goes_by_index():
    items, values = top_k_unseen(np.array([[1.0, 2.0, 2.0, 2.0]]), None, 2)
    assert items.tolist() == [[1, 2]]
    assert values.tolist() == [[2.0, 2.0]]
    assert values.dtype == np.float32


def test_top_k_of_no_users_is_an_empty_list():
    items, values = top_k_unseen(np.empty((0, 4)), None, 3)
    assert items.shape == values.shape == (0, 3)


@pytest.mark.parametrize("k", [0, -1])
def test_top_k_rejects_a_k_below_one(k):
    with pytest.raises(SettingError, match=f"{k}"):
        top_k_unseen(np.ones((1, 2)), None, k)


def test_equal_scores_go_by_places_where_these_are_given():
    scores = np.array([[1.0, 2.0, 2.0, 2.0], [3.0, 3.0, 3.0, 0.0]])
    items, _ = top_k_unseen(scores, None, 2, places=np.array([3, 2, 0, 1]))
    assert items.tolist() == [[2, 3], [2, 1]]


def test_equal_scores_go_by_places_of_each_row():
    scores = np.array([[2.0, 2.0, 1.0], [2.0, 2.0, 1.0]])
    items, _ = top_k_unseen(scores, None, 2, places=np.array([[0, 1, 2], [1, 0, 2]]))
    assert items.tolist() == [[0, 1], [1, 0]]


def test_a_k_beyond_the_catalog_takes_no_more_memory():
    items, values = top_k_unseen(np.array([[1.0, 2.0]]), None, 10**12)
    assert items.tolist() == [[1, 0]]
    assert values.tolist() == [[2.0, 1.0]]

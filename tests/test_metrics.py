"""Every metric by hand, against scikit-learn, and one user against many."""

import numpy as np
import pytest
import sklearn.metrics as sk
from hypothesis import given
from hypothesis import strategies as st
from numpy.testing import assert_allclose, assert_array_equal
from scipy import sparse

from llmrec_lite import metrics
from llmrec_lite.errors import SettingError
from llmrec_lite.metrics import RANKING_METRICS, average_precision_at_k

BEYOND = {
    "coverage": lambda lists: metrics.coverage(lists, 3),
    "gini": lambda lists: metrics.gini(lists, 3),
    "novelty": lambda lists: metrics.novelty(lists, np.ones(3), 2),
    "diversity": lambda lists: metrics.intra_list_diversity(lists, np.eye(3)),
}

# What one person saw and liked: hits at ranks 1 and 4 of 5, and a third relevant item that is not in the list.
RANKED, RELEVANT = ["a", "x", "y", "b", "z"], {"a", "b", "c"}
BY_HAND = {
    # (1/log2(2) + 1/log2(5)) / (1/log2(2) + 1/log2(3) + 1/log2(4)) = 1.430677 / 2.130930
    "ndcg": 1.430677 / 2.130930,
    "precision": 2 / 5,
    "recall": 2 / 3,
    "f1": 1 / 2,  # 2 * (2/5 * 2/3) / (2/5 + 2/3) = (8/15) / (16/15)
    "hit_rate": 1,
    "mrr": 1,
    "map": (1 / 1 + 2 / 4) / 3,  # precision at the ranks of the hits, three terms at most
}


@st.composite
def users(draw):
    """Lists of 1 to 5 users over 8 items, 0 to 8 long, and their relevant items, maybe none."""
    n = draw(st.integers(1, 5))
    items = st.permutations(range(8))
    lists = [draw(items)[: draw(st.integers(0, 8))] for _ in range(n)]
    relevant = [set(draw(st.lists(st.integers(0, 7), unique=True))) for _ in range(n)]
    return lists, relevant, draw(st.integers(1, 9))


def as_arrays(lists, relevant):
    padded = np.full((len(lists), 9), -1)
    wanted = np.zeros((len(lists), 8))
    for row, (ranked, items) in enumerate(zip(lists, relevant, strict=True)):
        padded[row, : len(ranked)] = ranked
        wanted[row, list(items)] = 1
    return padded, sparse.csr_array(wanted)


# ---- ranking ----


def test_graded_gain_by_hand_and_as_scikit_learn():
    """The list of the article on DCG in Wikipedia, its ideal list with two more documents."""
    grades = {"D1": 3, "D2": 2, "D3": 3, "D4": 0, "D5": 1, "D6": 2}
    ranked = list(grades)
    assert metrics.graded_ndcg_at_k(ranked, grades, 6) == pytest.approx(0.961, abs=1e-3)
    assert metrics.graded_ndcg_at_k(ranked, grades | {"D7": 3, "D8": 2}, 6) == pytest.approx(0.785, abs=1e-3)
    for k in (1, 3, 6):
        expected = sk.ndcg_score([list(grades.values())], [[6, 5, 4, 3, 2, 1]], k=k)
        assert metrics.graded_ndcg_at_k(ranked, grades, k) == pytest.approx(expected)
    assert metrics.graded_ndcg_at_k(RANKED, dict.fromkeys(RELEVANT, 1), 5) == pytest.approx(BY_HAND["ndcg"], abs=1e-6)
    assert np.isnan(metrics.graded_ndcg_at_k(ranked, {}, 5))
    assert metrics.graded_ndcg_at_k([], grades, 5) == 0


@pytest.mark.parametrize("grades", [{"a": -1}, {"a": float("nan")}, {"a": float("inf")}])
def test_grades_that_are_none(grades):
    with pytest.raises(SettingError, match="'a'"):
        metrics.graded_ndcg_at_k(RANKED, grades)


@pytest.mark.parametrize("name", RANKING_METRICS)
def test_grades_are_not_taken_for_hits(name):
    with pytest.raises(SettingError, match="graded_ndcg_at_k"):
        RANKING_METRICS[name](RANKED, {"a": 3, "b": 0})


@pytest.mark.parametrize("name", RANKING_METRICS)
def test_by_hand(name):
    assert RANKING_METRICS[name](RANKED, RELEVANT, 5) == pytest.approx(BY_HAND[name], abs=1e-6)


def test_by_hand_where_the_list_is_cut_short_or_too_short():
    assert metrics.precision_at_k(RANKED, RELEVANT, 3) == pytest.approx(1 / 3)
    assert metrics.precision_at_k(["a"], RELEVANT, 4) == 1 / 4  # empty places are misses
    assert metrics.mrr_at_k(["x", "y", "b"], RELEVANT, 3) == pytest.approx(1 / 3)
    assert metrics.mrr_at_k(["x", "y", "b"], RELEVANT, 2) == 0
    # Four relevant items and room for two: ideal divides by 2, trec_eval's cut by 4.
    assert average_precision_at_k(["a", "b"], "abcd", 2) == 1
    assert average_precision_at_k(["a", "b"], "abcd", 2, divide_by="relevant") == 1 / 2
    assert metrics.ndcg_at_k(["a", "b"], "abcd", 2) == pytest.approx(1)


@given(users())
def test_one_user_equals_many_users(case):
    lists, relevant, k = case
    many = as_arrays(lists, relevant)
    for metric in RANKING_METRICS.values():
        alone = [metric(ranked, items, k) for ranked, items in zip(lists, relevant, strict=True)]
        assert_allclose(metric(*many, k), alone, rtol=1e-12)
        assert all(isinstance(value, float) for value in alone)


@given(users())
def test_equal_to_scikit_learn(case):
    lists, relevant, k = case
    for ranked, items in zip(lists, relevant, strict=True):
        values = {name: metric(ranked, items, k) for name, metric in RANKING_METRICS.items()}
        if not items:
            assert np.isnan(list(values.values())).all()
            continue
        truth = np.isin(np.arange(8), list(items)).astype(int)
        order = np.full(8, -1.0)  # the rest of the catalog comes behind the list, in an order we must not count
        order[ranked] = -np.arange(len(ranked)) + 8.0
        chosen = np.isin(np.arange(8), ranked[:k]).astype(int)
        assert values["recall"] == pytest.approx(sk.recall_score(truth, chosen))
        if len(ranked) >= k:
            assert values["precision"] == pytest.approx(sk.precision_score(truth, chosen))
            assert values["f1"] == pytest.approx(sk.f1_score(truth, chosen))
            assert values["ndcg"] == pytest.approx(sk.ndcg_score([truth], [order], k=k))
        if len(ranked) == 8 and k >= 8:
            assert values["map"] == pytest.approx(sk.average_precision_score(truth, order))


@given(users())
def test_bounds_and_the_perfect_list(case):
    _, relevant, k = case
    for items in relevant:
        perfect = [*items, *(set(range(8)) - items)]
        for name, metric in RANKING_METRICS.items():
            value = metric(perfect, items, k)
            assert np.isnan(value) if not items else 0 <= value <= 1 + 1e-12
            if items and name in ("ndcg", "map", "mrr", "hit_rate"):
                assert value == pytest.approx(1)
            if items:
                assert metric([item for item in perfect if item not in items], items, k) == 0


def test_hits_mark_places_and_count_relevant_items():
    hits, n_relevant = metrics.hits_at_k(*as_arrays([[3, 0], [7]], [{0, 5}, {7}]), 3)
    assert_array_equal(hits, [[False, True, False], [True, False, False]])
    assert_array_equal(n_relevant, [2, 1])
    hits, _ = metrics.hits_at_k(np.array([[-1], [7]]), sparse.csr_array(np.eye(2, 8, 6)), 2)
    assert_array_equal(hits, [[False, False], [True, False]])  # -1 is nobody's last item


@pytest.mark.parametrize(
    ("recommended", "relevant", "k", "message"),
    [
        (["a"], {"a"}, 0, "k .*0"),
        (["a", "b", "a"], {"a"}, 3, None),
        (np.array([[1, 0, 1]]), sparse.csr_array(np.eye(3)[:1]), 3, None),
        (np.array([[0], [3]]), sparse.csr_array(np.eye(3)[:2]), 1, "3.*3"),
        (np.array([[0]]), sparse.csr_array(np.eye(3)), 1, "1 .*3"),
    ],
)
def test_bad_lists_are_refused(recommended, relevant, k, message):
    with pytest.raises(SettingError, match=message):
        metrics.ndcg_at_k(recommended, relevant, k)


def test_a_repetition_behind_the_cut_and_empty_places_are_fine():
    assert metrics.precision_at_k(["a", "b", "a"], {"a"}, 2) == 1 / 2
    lists = np.array([[1, -1, -1, 1]])
    assert_array_equal(metrics.recall_at_k(lists, sparse.csr_array(np.eye(3)[[1]]), 3), [1])


# ---- beyond accuracy ----


def test_coverage_and_gini_by_hand():
    lists = np.array([[0, 1, 2], [0, 1, -1], [0, -1, -1]])
    assert metrics.coverage(lists, 6) == 3 / 6
    # Sorted counts 0 0 0 1 2 3, ranks 1..6: sum (2 r - 7) c = 1 + 2 * 3 + 3 * 5 = 22; 22 / (6 * 6).
    assert metrics.gini(lists, 6) == pytest.approx(22 / 36)
    assert metrics.gini(np.arange(6), 6) == pytest.approx(0)
    assert metrics.gini(np.zeros((9, 1), int), 6) == pytest.approx(5 / 6)


@given(st.lists(st.lists(st.integers(0, 5), min_size=1, max_size=4), min_size=1, max_size=6))
def test_gini_is_the_mean_difference_over_twice_the_mean(lists):
    padded = np.array([row + [-1] * (4 - len(row)) for row in lists])
    counts = np.array([sum(row.count(item) for row in lists) for item in range(6)])
    difference = abs(counts[:, None] - counts).mean()
    assert metrics.gini(padded, 6) == pytest.approx(difference / (2 * counts.mean()))


def test_novelty_by_hand():
    # Of 8 users, item 0 is known to 8 (0 bits), item 1 to 2 (2 bits), item 2 to none, counted as one (3 bits).
    lists = np.array([[0, 1], [2, -1], [-1, -1]])
    assert_array_equal(metrics.novelty(lists, np.array([8, 2, 0]), 8), [1, 3, np.nan])


@given(st.lists(st.permutations(range(5)), min_size=1, max_size=4), st.integers(1, 5), st.integers(0, 9))
def test_diversity_equals_all_pairs(lists, k, seed):
    vectors = np.random.default_rng(seed).integers(-2, 3, size=(5, 3)).astype(float)
    chosen = np.array(lists)[:, :k]
    padded = np.hstack([chosen, np.full((len(lists), 2), -1)])
    # scikit-learn calls a row of zeros unlike everything, as we do
    similarity = sk.pairwise.cosine_similarity(vectors)
    pairs = [[1 - similarity[a, b] for a in row for b in row if a != b] for row in chosen]
    expected = [np.mean(values) if values else np.nan for values in pairs]
    assert_allclose(metrics.intra_list_diversity(padded, vectors), expected, atol=1e-12)


@pytest.mark.parametrize("name", BEYOND)
@pytest.mark.parametrize("lists", [np.full((2, 3), -1), np.empty((0, 3), int)], ids=["all -1", "no list"])
def test_no_recommendation_cannot_be_measured(name, lists):
    with pytest.raises(SettingError):
        BEYOND[name](lists)


# ---- ratings ----


def test_rmse_by_hand():
    # Errors 1, -2, 0: squares 1 + 4 + 0 = 5.
    assert metrics.rmse([3, 2, 5], [4, 0, 5]) == pytest.approx((5 / 3) ** 0.5)


@given(st.lists(st.tuples(st.floats(-5, 5), st.floats(-5, 5)), min_size=1, max_size=20))
def test_rmse_equals_scikit_learn(pairs):
    true, predicted = map(list, zip(*pairs, strict=True))
    assert metrics.rmse(true, predicted) == pytest.approx(sk.mean_squared_error(true, predicted) ** 0.5)


@pytest.mark.parametrize("arrays", [([], []), ([1, 2], [1]), ([[1, 2]], [1, 2])])
def test_arrays_that_do_not_match_are_refused(arrays):
    with pytest.raises(SettingError):
        metrics.rmse(*arrays)


def test_an_item_that_is_not_there_is_refused_beside_one_that_is():
    relevant = sparse.csr_array(np.array([[0, 0, 0], [0, 1, 0]]))
    for lists in ([[0, 4], [1, 2]], [[4, 0], [1, 2]]):
        with pytest.raises(SettingError, match="4"):
            metrics.hits_at_k(np.array(lists), relevant, 2)

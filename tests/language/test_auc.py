"""The area under the ROC curve by hand and against scikit-learn, and intervals that cover what they should."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn.metrics import roc_auc_score

from llmrec_lite.errors import SettingError
from llmrec_lite.language.auc import auc, auc_interval, auc_within

LABELS = [1, 0, 1, 0]


@pytest.mark.parametrize(
    ("scores", "expected"),
    [([4, 3, 2, 1], 0.75), ([4, 1, 3, 2], 1.0), ([1, 3, 2, 4], 0.0), ([1, 1, 1, 1], 0.5), ([2, 1, 1, 1], 0.75)],
)
def test_four_examples_by_hand(scores, expected):
    assert auc(LABELS, scores) == expected


@given(st.lists(st.tuples(st.booleans(), st.integers(-3, 3)), min_size=2, max_size=40))
def test_equal_to_scikit_learn_with_ties(pairs):
    labels, scores = np.array([int(label) for label, _ in pairs]), np.array([score for _, score in pairs])
    if labels.min() == labels.max():
        with pytest.raises(SettingError):
            auc(labels, scores)
    else:
        assert auc(labels, scores) == pytest.approx(roc_auc_score(labels, scores), abs=1e-12)
        assert auc(labels, -scores) == pytest.approx(1 - auc(labels, scores), abs=1e-12)


def test_several_runs_give_their_mean():
    assert auc(LABELS, [[4, 3, 2, 1], [1, 3, 2, 4]]) == 0.375


def test_inside_of_groups_only_pairs_of_one_group_count():
    # Two users: the first likes nothing that the second does not; pooled order is perfect, inside it is reversed.
    labels, users = [1, 0, 1, 0], [0, 0, 1, 1]
    assert auc_within(labels, [8, 9, 1, 2], users) == 0
    assert auc_within(labels, [9, 8, 1, 2], users) == 0.5
    assert auc_within([1, 1, 1, 0], [9, 8, 1, 2], users) == 0  # the first user says yes to all and is left out
    with pytest.raises(SettingError):
        auc_within([1, 1, 0, 0], [1, 2, 3, 4], users)


def test_the_interval_covers_the_truth_about_95_times_in_100():
    rng, inside = np.random.default_rng(0), 0
    truth = 0.7602499  # of two normal distributions, one unit apart: Phi(1 / sqrt(2))
    for seed in range(200):
        labels = np.repeat([0, 1], 60)
        low, high = auc_interval(labels, rng.normal(labels), seed=seed, resamples=300)
        inside += low <= truth <= high
    assert 0.9 <= inside / 200 <= 0.985


def test_the_interval_of_a_lead_is_paired():
    rng = np.random.default_rng(0)
    labels = np.repeat([0, 1], 200)
    worse = rng.normal(labels)
    better = worse + 0.1 * labels  # the same noise: paired, the lead is certain
    low, high = auc_interval(labels, better, rival=worse)
    assert 0 < low < auc(labels, better) - auc(labels, worse) < high
    assert auc_interval(labels, worse)[1] > auc(labels, better)  # unpaired it is not
    assert auc_interval(labels, worse, rival=worse) == (0, 0)
    swapped = auc_interval(labels, worse, rival=better)
    assert swapped == pytest.approx((-high, -low))


def test_whole_groups_are_drawn_where_there_are_some():
    rng = np.random.default_rng(0)
    labels, scores = np.repeat([0, 1], 20), rng.normal(np.repeat([0, 1], 20))
    # Ten copies of an example in one group are no more evidence than the example.
    alone = auc_interval(labels, scores)
    copied = auc_interval(np.repeat(labels, 10), np.repeat(scores, 10), groups=np.repeat(np.arange(40), 10))
    assert copied == pytest.approx(alone, abs=0.01)
    free = auc_interval(np.repeat(labels, 10), np.repeat(scores, 10))
    assert free[1] - free[0] < 0.5 * (alone[1] - alone[0])


def test_seeds_repeat_and_resamples_without_both_labels_are_left_out():
    assert auc_interval(LABELS, [4, 3, 2, 1], seed=1) == auc_interval(LABELS, [4, 3, 2, 1], seed=1)
    low, high = auc_interval([1, 0], [2, 1])
    assert (low, high) == (1, 1)


@pytest.mark.parametrize(
    ("labels", "scores", "message"),
    [
        ([1, 0], [1, 2, 3], None),
        ([1, 2], [1, 2], "2"),
        ([], [], None),
        ([1, 0], [1, float("nan")], None),
    ],
)
def test_what_cannot_be_judged_is_rejected(labels, scores, message):
    with pytest.raises(SettingError, match=message):
        auc(labels, scores)
    with pytest.raises(SettingError, match=message):
        auc_interval(labels, scores)


def test_groups_must_fit():
    for function in (auc_within, lambda y, s, g: auc_interval(y, s, groups=g)):
        with pytest.raises(SettingError, match="groups"):
            function(LABELS, [1, 2, 3, 4], [0, 1])

"""Splits cut every log in two without a leak, and follow the protocols they name."""

from functools import partial

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from llmrec_lite import Dataset, evaluate, splits
from llmrec_lite.errors import SettingError
from llmrec_lite.recommenders import EASE, DenoisingAutoencoder, Popularity

COLUMNS = ["user_id", "item_id", "rating", "timestamp"]
SEEDED = [splits.random_split, splits.recommenders_split, splits.cold_users, splits.cold_items]
ALL = [*SEEDED, splits.temporal_split, splits.leave_last_out, lambda data: next(splits.kfold(data))]


def keys(data: Dataset) -> list[tuple]:
    return list(data.interactions[["user_id", "item_id", "timestamp"]].itertuples(index=False, name=None))


@pytest.mark.parametrize("split", ALL)
def test_a_split_cuts_in_two_and_keeps_the_order_of_the_file(split, crowd):
    whole = {key: row for row, key in enumerate(keys(crowd))}
    train, test = split(crowd)
    parts = [[whole[key] for key in keys(part)] for part in (train, test)]
    assert sorted(parts[0] + parts[1]) == list(range(len(crowd)))
    assert parts == [sorted(part) for part in parts]
    assert train.items is test.items is crowd.items
    assert train.users is test.users is crowd.users


@pytest.mark.parametrize("split", [*SEEDED, lambda data, seed=0: next(splits.kfold(data, seed=seed))])
def test_a_seed_gives_one_split_and_another_seed_another(split, crowd):
    state = np.random.get_state()[1].copy()  # noqa: NPY002
    first, again, other = (keys(split(crowd, seed=seed)[1]) for seed in (3, 3, 4))
    assert first == again != other
    assert (np.random.get_state()[1] == state).all()  # noqa: NPY002  # nothing leaks into the global generator


@given(st.integers(2, 60), st.floats(0.05, 0.95), st.integers(0, 5))
@settings(max_examples=50)
def test_random_split_has_the_size_asked_for(n, fraction, seed):
    data = Dataset.from_frames(pd.DataFrame({"user_id": range(n), "item_id": 0}))
    if 0 < round(fraction * n) < n:
        assert len(splits.random_split(data, fraction, seed)[1]) == round(fraction * n)
    else:
        with pytest.raises(SettingError):
            splits.random_split(data, fraction, seed)


def test_recommenders_split_by_hand(crowd):
    train, _ = splits.recommenders_split(crowd, 0.6, seed=5)
    draws = np.random.RandomState(5).random_sample(len(crowd))
    rows = crowd.interactions.assign(draw=draws)
    for item, group in rows.groupby("item_id"):
        expected = group.nsmallest(round(0.6 * len(group)), "draw")
        kept = train.interactions[train.interactions["item_id"] == item]
        assert set(kept["user_id"]) == set(expected["user_id"])


def test_temporal_split_knows_nothing_of_the_future(crowd):
    train, test = splits.temporal_split(crowd, 0.3)
    assert len(test) == round(0.3 * len(crowd))
    assert train.interactions["timestamp"].max() <= test.interactions["timestamp"].min()
    # Ties at the border: the rows that come first in the file are train.
    log = pd.DataFrame([(1, 1, 1, 5), (1, 2, 1, 5), (1, 3, 1, 5), (1, 4, 1, 1)], columns=COLUMNS)
    train, test = splits.temporal_split(Dataset.from_frames(log), 0.5)
    assert train.interactions["item_id"].tolist() == [1, 4]
    assert test.interactions["item_id"].tolist() == [2, 3]


@given(
    st.lists(st.tuples(st.integers(0, 3), st.integers(0, 3)), min_size=4, max_size=30),
    st.integers(1, 3),
)
def test_leave_last_out_equals_brute_force(visits, n):
    log = pd.DataFrame([(user, item, 1, time) for item, (user, time) in enumerate(visits)], columns=COLUMNS)
    expected = set()
    for user in range(4):
        mine = sorted((time, item) for item, (u, time) in enumerate(visits) if u == user)
        if len(mine) > n:
            expected |= {item for _, item in mine[-n:]}
    data = Dataset.from_frames(log)
    if expected:
        assert set(splits.leave_last_out(data, n)[1].interactions["item_id"]) == expected
    else:
        with pytest.raises(SettingError, match="test"):
            splits.leave_last_out(data, n)


@pytest.mark.parametrize(
    ("split", "column"), [(splits.cold_users, "user_id"), (splits.cold_items, "item_id")], ids=["users", "items"]
)
def test_cold_splits_part_the_ids(split, column, crowd):
    train, test = split(crowd, 0.25)
    known, cold = set(train.interactions[column]), set(test.interactions[column])
    assert not known & cold
    assert len(cold) == round(0.25 * crowd.interactions[column].nunique())  # the unrated item cannot be chosen


@pytest.mark.parametrize(("n", "k"), [(10, 5), (11, 5), (14, 5), (7, 7), (9, 2)])
def test_kfold_follows_surprise(n, k):
    # Surprise 1.1, KFold.split: shuffle the indices; fold f takes the next n // k, plus one if f < n % k.
    order = np.arange(n)
    np.random.RandomState(3).shuffle(order)
    data = Dataset.from_frames(pd.DataFrame({"user_id": range(n), "item_id": 0}))
    start = 0
    folds = list(splits.kfold(data, k, seed=3))
    assert len(folds) == k
    for fold, (_, test) in enumerate(folds):
        stop = start + n // k + (fold < n % k)
        assert set(test.interactions["user_id"]) == set(order[start:stop])
        start = stop
    assert start == n


@pytest.mark.parametrize("bad", [0, 1, -0.5, 1.5, float("nan")])
@pytest.mark.parametrize("split", [*SEEDED, splits.temporal_split])
def test_a_fraction_lies_between_0_and_1(split, bad, crowd):
    with pytest.raises(SettingError, match=rf"fraction.*{bad!r}"):
        split(crowd, bad)


def test_splits_that_cannot_be():
    one_user = Dataset.from_frames(pd.DataFrame({"user_id": 1, "item_id": range(4)}))
    for split, message in [
        (splits.temporal_split, "timestamps"),
        (splits.cold_users, "test"),
        (partial(splits.cold_users, fraction=0.9), "train"),
        (partial(splits.leave_last_out, n=4), "test"),
        (partial(splits.leave_last_out, n=0), "n .*0"),
        (lambda data: list(splits.kfold(data, 1)), "4 .*1"),
        (lambda data: list(splits.kfold(data, 5)), "4 .*5"),
    ]:
        with pytest.raises(SettingError, match=message):
            split(one_user)
    train, test = splits.leave_last_out(one_user)
    assert test.interactions["item_id"].tolist() == [3]  # no times: the order of the file
    assert len(train) == 3


@pytest.mark.data
def test_movielens_sizes(movielens):
    train, test = splits.recommenders_split(movielens)
    assert (len(train), len(test)) == (75_066, 24_934)
    assert [len(test) for _, test in splits.kfold(movielens)] == [20_000] * 5
    _, last = splits.leave_last_out(movielens)
    assert sorted(last.interactions["user_id"]) == list(range(1, 944))
    assert len(splits.temporal_split(movielens)[1]) == 20_000


@pytest.mark.data
@pytest.mark.parametrize(
    ("model", "ndcg"), [(Popularity(), 0.2521), (EASE(1000), 0.4767), (DenoisingAutoencoder(), 0.4852)]
)
def test_movielens_benchmark_to_four_digits(movielens, model, ndcg):
    train, test = splits.recommenders_split(movielens)
    assert round(evaluate(model.fit(train), train, test).mean["ndcg"], 4) == ndcg


def test_thin_keeps_at_most_so_many(crowd):
    per_user = np.full(crowd.n_users, np.inf)
    per_user[:20] = np.arange(20) % 4
    per_item = np.full(crowd.n_items, np.inf)
    per_item[:3] = [0, 1, 2]
    kept, left_out = splits.subsample(crowd, per_user, per_item, seed=1)
    assert len(kept) + len(left_out) == len(crowd)
    by_user = np.bincount(kept.user_index, minlength=crowd.n_users)
    by_item = np.bincount(kept.item_index, minlength=crowd.n_items)
    assert (by_user <= per_user).all()
    assert (by_item <= per_item).all()
    only_items = splits.subsample(crowd, np.full(crowd.n_users, np.inf), per_item, seed=1)[0]
    counts = np.bincount(crowd.item_index, minlength=crowd.n_items)
    kept_of = np.bincount(only_items.item_index, minlength=crowd.n_items)
    assert (kept_of == np.minimum(counts, per_item)).all()  # exactly, where users have no limit
    # Nobody loses more than the limits ask for: of users without a limit only thinned items are left out.
    rows = left_out.user_index >= 20
    assert (left_out.item_index[rows] < 3).all()
    assert by_item[2] == 2 or (left_out.item_index == 2).sum() == 0 or (by_user[:20] == per_user[:20]).any()


def test_thin_keeps_the_order_of_the_file_and_depends_on_the_seed(crowd):
    limits = np.full(crowd.n_users, 2.0), np.full(crowd.n_items, np.inf)
    kept = [splits.subsample(crowd, *limits, seed=seed)[0].interactions for seed in (0, 0, 1)]
    assert kept[0].equals(kept[1])
    assert not kept[0].equals(kept[2])
    # Any interaction of a user is as likely to be kept as another: not those of the first items, or in time.
    often = np.zeros(crowd.n_items)
    for seed in range(50):
        often += np.bincount(splits.subsample(crowd, *limits, seed=seed)[0].item_index, minlength=crowd.n_items)
    share = often[:29] / np.maximum(np.bincount(crowd.item_index, minlength=30)[:29], 1)
    assert abs(np.corrcoef(share, np.arange(29))[0, 1]) < 0.5
    rows = crowd.interactions.reset_index().merge(kept[0], on=["user_id", "item_id", "timestamp"])["index"]
    assert rows.is_monotonic_increasing


def test_thin_checks_its_limits(crowd):
    with pytest.raises(SettingError):
        splits.subsample(crowd, np.ones(3), np.ones(crowd.n_items))
    with pytest.raises(SettingError, match="test"):
        splits.subsample(crowd, np.full(crowd.n_users, np.inf), np.full(crowd.n_items, np.inf))

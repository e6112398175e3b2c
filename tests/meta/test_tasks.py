"""Tasks: the support comes first, no user is in two parts, and padding is masked."""

import numpy as np
import pandas as pd
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from llmrec_lite.data import Dataset
from llmrec_lite.errors import SettingError
from llmrec_lite.meta.tasks import (
    Task,
    age_bands,
    collate,
    episodes,
    group_tasks,
    nested_tasks,
    split_users,
    user_tasks,
)


def made_up(counts=(12, 5, 1, 30), seed=0):
    """Users with so many ratings each; the rows are shuffled, the timestamps rise within a user."""
    rng = np.random.default_rng(seed)
    rows = [
        (u, int(i), int(rng.integers(1, 6)), 1000 * u + t)
        for u, n in enumerate(counts)
        for t, i in enumerate(rng.permutation(40)[:n])
    ]
    frame = pd.DataFrame(rows, columns=["user_id", "item_id", "rating", "timestamp"])
    n = len(counts)
    users = pd.DataFrame(
        {"user_id": range(n), "age": np.resize([17, 18, 56, 30], n), "job": np.resize(list("aabb"), n)}
    )
    return Dataset.from_frames(frame.sample(frac=1, random_state=seed), pd.DataFrame({"item_id": range(40)}), users)


@pytest.fixture
def data():
    return made_up()


def by_time(data, user):
    order = data.time_order
    mine = order[data.user_index[order] == user]
    return data.item_index[mine], data.ratings[mine]


def test_the_support_is_what_came_first(data):
    tasks = user_tasks(data, support=4, query=None)
    assert [t.task_id for t in tasks] == [0, 1, 2, 3]
    for task in tasks:
        items, ratings = by_time(data, task.task_id)
        k = min(4, len(items) - 1)
        np.testing.assert_array_equal(task.support_x, items[:k])
        np.testing.assert_array_equal(task.support_y, ratings[:k])
        np.testing.assert_array_equal(task.query_x, items[k:])
        np.testing.assert_array_equal(task.query_y, ratings[k:])


def test_one_rating_is_the_query_and_leaves_an_empty_support(data):
    task = user_tasks(data, support=4)[2]
    assert task.support_x.shape == (0,)
    assert len(task.query_x) == 1


def test_the_query_is_drawn_from_the_rest_and_belongs_to_its_item(data):
    for task in user_tasks(data, support=4, query=6):
        items, ratings = by_time(data, task.task_id)
        stars = dict(zip(items.tolist(), ratings.tolist(), strict=True))
        assert not set(task.query_x) & set(task.support_x)
        assert len(task.query_x) == min(6, max(1, len(items) - 4))
        assert [stars[i] for i in task.query_x.tolist()] == task.query_y.tolist()


def test_a_longer_support_keeps_the_query_that_lies_behind_it(data):
    short, long = user_tasks(data, support=4, query=6)[3], user_tasks(data, support=8, query=6)[3]
    items, _ = by_time(data, 3)
    taken = set(items[4:8].tolist())
    behind = [i for i in short.query_x.tolist() if i not in taken]
    assert long.query_x.tolist()[: len(behind)] == behind


def test_draws_depend_on_the_seed_and_on_the_user_only(data):
    def queries(d, seed):
        return {t.task_id: t.query_x.tolist() for t in user_tasks(d, support=4, query=3, seed=seed)}

    assert queries(data, 0) == queries(data, 0) != queries(data, 1)
    alone = data.with_interactions(data.interactions[data.user_index == 3])
    assert queries(alone, 0)[3] == queries(data, 0)[3]
    first, second = (user_tasks(data, support=4, seed=s, order="random")[3].support_x.tolist() for s in (0, 1))
    assert first != second


def test_features_stand_in_the_place_of_items(data):
    features = np.arange(80, dtype=np.float32).reshape(40, 2)
    plain, rich = user_tasks(data, support=4)[0], user_tasks(data, support=4, features=features)[0]
    np.testing.assert_array_equal(rich.support_x, features[plain.support_x])
    assert rich.query_x.shape == (len(plain.query_x), 2)


def test_meta_train_valid_and_test_are_different_people():
    data = made_up((3,) * 4)
    data = Dataset.from_frames(
        pd.concat([data.interactions.assign(user_id=lambda t, k=k: t.user_id + 4 * k) for k in range(5)])
    )
    parts = split_users(data, seed=1)
    people = [set(part.user_index.tolist()) for part in parts]
    assert [len(p) for p in people] == [14, 2, 4]
    assert set.union(*people) == set(range(20))
    assert sum(len(p) for p in people) == 20
    assert sum(len(part) for part in parts) == len(data)
    assert people != [set(part.user_index.tolist()) for part in split_users(data, seed=2)]


def test_groups_are_tasks_of_their_own_people(data):
    tasks = {t.task_id: t for t in group_tasks(data, "job", support=10, query=None)}
    assert set(tasks) == {"a", "b"}
    assert len(tasks["a"].query_y) == 12 + 5 - 10
    stars = sorted(np.concatenate([tasks["b"].support_y, tasks["b"].query_y]).tolist())
    assert stars == sorted(data.ratings[np.isin(data.user_index, [2, 3])].tolist())
    assert {t.task_id for t in group_tasks(data, "age", support=0)} == {"0-17", "18-24", "25-34", "56+"}


def test_bands_of_age():
    bands = age_bands(np.array([0, 17, 18, 24, 25, 55, 56, 99]))
    assert bands.tolist() == ["0-17", "0-17", "18-24", "18-24", "25-34", "50-55", "56+", "56+"]


def test_shorter_tasks_are_filled_up_and_the_mask_tells(data):
    tasks = user_tasks(data, support=4, query=6)
    batch = collate(tasks)
    assert batch.support_mask.sum(1).tolist() == [4, 4, 0, 4]
    assert batch.query_mask.sum(1).tolist() == [6, 1, 1, 6]
    for i, task in enumerate(tasks):
        np.testing.assert_array_equal(batch.query_x[i][batch.query_mask[i]], task.query_x)
        np.testing.assert_array_equal(batch.query_y[i][batch.query_mask[i]], task.query_y)
        np.testing.assert_array_equal(batch.support_y[i][batch.support_mask[i]], task.support_y)
    assert (batch.support_y[~batch.support_mask] == 0).all()
    rich = collate(user_tasks(data, support=4, query=6, features=np.ones((40, 3), np.float32)))
    assert rich.support_x.shape == (4, 4, 3)
    assert rich.support_x.dtype == torch.float32


@given(st.integers(1, 9), st.integers(1, 12), st.integers(0, 3))
def test_every_task_comes_once_before_any_comes_again(n, size, seed):
    tasks = [Task(np.zeros(0, int), np.zeros(0, np.float32), np.array([i]), np.ones(1, np.float32)) for i in range(n)]
    drawn = [batch.query_x[:, 0].tolist() for batch in episodes(tasks, size, 12, seed)]
    assert len(drawn) == 12
    for batch in drawn:
        assert len(batch) == min(size, n) == len(set(batch))  # none twice in a batch
    flat = [i for batch in drawn for i in batch]
    counts = np.bincount(flat, minlength=n)
    assert counts.max() - counts.min() <= 1
    again = [batch.query_x[:, 0].tolist() for batch in episodes(tasks, size, 12, seed)]
    assert again == drawn


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda d: user_tasks(d, support=-1), "support"),
        (lambda d: user_tasks(d, query=0), "query"),
        (lambda d: user_tasks(d, order="first"), "order.*first"),
        (lambda d: user_tasks(d, features=np.ones((3, 2))), "3 .*40"),
        (lambda d: group_tasks(d, "town"), "'town'.*age, job"),
        (lambda d: split_users(d, (0.5, 0.5)), "0.5"),
        (lambda d: split_users(d, (-0.4, 1.2, 0.2)), "-0.4"),
        (lambda d: split_users(d, (0.98, 0.01, 0.01)), "0.98"),
        (lambda d: collate([]), "task"),
        (lambda d: next(episodes(user_tasks(d), 0, 1, 0)), "size"),
        (lambda d: collate(user_tasks(d) + user_tasks(d, features=np.ones((40, 2)))), None),
        (lambda d: Task(np.zeros(2), np.zeros(3), np.zeros(1), np.zeros(1)), "support .*2"),
        (lambda d: Task(np.zeros(1), np.zeros(1), np.zeros(0), np.zeros(0), "x"), "'x'"),
        (lambda d: Task(np.zeros(1), np.array([np.nan]), np.zeros(1), np.zeros(1)), "nan"),
    ],
)
def test_what_makes_no_task_is_rejected(data, call, message):
    with pytest.raises(SettingError, match=message):
        call(data)


# ---- the same query for every support ----


@pytest.mark.parametrize("order", ["time", "random"])
def test_supports_grow_and_the_query_stays(data, order):
    nested = nested_tasks(data, supports=(0, 2, 6), query=3, order=order)
    assert {k: [t.task_id for t in tasks] for k, tasks in nested.items()} == {k: [0, 3] for k in (0, 2, 6)}
    for tasks in zip(*nested.values(), strict=True):
        items, ratings = by_time(data, tasks[0].task_id)
        rating_of = dict(zip(items, ratings, strict=True))
        for k, task in zip((0, 2, 6), tasks, strict=True):
            assert len(task.support_x) == k
            np.testing.assert_array_equal(task.query_x, tasks[0].query_x)
            np.testing.assert_array_equal(task.support_x, tasks[-1].support_x[:k])
            assert set(task.query_x) <= set(items[6:])  # after the longest support
            assert not set(task.query_x) & set(task.support_x)
            assert len(set(task.query_x)) == 3
            assert [rating_of[i] for i in task.support_x] == task.support_y.tolist()
            assert [rating_of[i] for i in task.query_x] == task.query_y.tolist()
        if order == "time":
            np.testing.assert_array_equal(tasks[-1].support_x, items[:6])


def test_both_orders_have_the_same_queries_and_other_supports(data):
    first, later = (nested_tasks(data, (6,), 3, seed=1, order=order)[6] for order in ("time", "random"))
    for a, b in zip(first, later, strict=True):
        np.testing.assert_array_equal(a.query_x, b.query_x)
    assert any(set(a.support_x) != set(b.support_x) for a, b in zip(first, later, strict=True))
    again = nested_tasks(data, (6,), 3, seed=2)[6]
    assert any(a.query_x.tolist() != b.query_x.tolist() for a, b in zip(first, again, strict=True))


def test_queries_may_differ_in_size(data):
    sizes = np.bincount(data.user_index)
    some = nested_tasks(data, (0, 2), 100, min_query=3)
    for tasks in some.values():
        assert [len(t.query_y) for t in tasks] == [n - 2 for n in sizes if n >= 5]
    capped = nested_tasks(data, (2,), 4, min_query=3)[2]
    assert [len(t.query_y) for t in capped] == [min(n - 2, 4) for n in sizes if n >= 5]
    for wrong in (0, 5):
        with pytest.raises(SettingError, match=f"min_query={wrong}"):
            nested_tasks(data, (2,), 4, min_query=wrong)


def test_supports_that_cannot_be_are_named(data):
    with pytest.raises(SettingError, match="43"):
        nested_tasks(data, (40,), 3)
    with pytest.raises(SettingError, match=r"\(\).*query=3"):
        nested_tasks(data, (), 3)
    with pytest.raises(SettingError, match="order"):
        nested_tasks(data, (2,), 3, order="last")
    with pytest.raises(SettingError, match=r"5 .*40"):
        nested_tasks(data, (2,), 3, features=np.zeros((5, 2)))


@pytest.mark.parametrize("n", [10, 23])
def test_folds_judge_each_user_once(n):
    data = made_up((3,) * n)
    judged = []
    for fold in range(5):
        parts = [set(np.unique(part.user_index)) for part in split_users(data, seed=3, fold=fold)]
        assert set.union(*parts) == set(range(n))
        assert sum(map(len, parts)) == n
        judged.append(parts[2])
    assert set.union(*judged) == set(range(n))
    assert sum(map(len, judged)) == n
    with pytest.raises(SettingError, match="fold=5"):
        split_users(data, fold=5)

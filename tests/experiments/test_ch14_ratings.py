"""The parts that chapter 14's experiments are made of."""

import numpy as np
import pandas as pd
import pytest

from book.experiments.ch14_lists import Histories, episode_rankers, strong_penalties
from book.experiments.ch14_questions import (
    GROUP_WEIGHTS,
    SUPPORTS,
    answers_to,
    drawn_tasks,
    elicitation,
    group_errors,
    ndcg_of_five,
)
from book.experiments.ch14_ratings import (
    by_item_index,
    prior_on_factors,
    ratings_of,
    reached,
    task_index,
    with_offset,
    with_settings,
)
from book.experiments.study import Study
from llmrec_lite.data import Dataset
from llmrec_lite.meta.baselines import QUERY
from llmrec_lite.meta.tasks import SHOTS, Task, nested_tasks
from llmrec_lite.meta.user_attention import split_histories
from llmrec_lite.recommenders import EASE, DenoisingAutoencoder


def log(n=6, k=32, items=50, seed=0):
    rng = np.random.default_rng(seed)
    rows = [
        (u, int(i), float(rng.integers(1, 6)), t) for u in range(n) for t, i in enumerate(rng.permutation(items)[:k])
    ]
    table = pd.DataFrame({"item_id": range(items)})
    return Dataset.from_frames(pd.DataFrame(rows, columns=["user_id", "item_id", "rating", "timestamp"]), table)


def test_histories_by_hand():
    data = log(2)
    histories = Histories(data, 5, "time")
    assert histories.users.tolist() == [0, 1]
    row = data.time_order[data.user_index[data.time_order] == 1]
    assert set(np.flatnonzero(histories.support[1])) == set(data.item_index[row[:5]])
    assert set(np.flatnonzero(histories.query[1])) == set(data.item_index[row[5:]])
    liked = data.item_index[row[5:]][data.ratings[row[5:]] >= 4]
    assert set(np.flatnonzero(histories.liked[1])) == set(liked)
    items, stars = histories.supports[1]
    expected = dict(zip(data.item_index[row[:5]], data.ratings[row[:5]], strict=True))
    assert dict(zip(items, stars, strict=True)) == expected
    best = histories.query + histories.liked
    np.testing.assert_allclose(histories.ndcg(best), 1)
    assert (histories.ndcg(-histories.query - 5 * histories.support)[0] < 1).all()
    # An item of the support is no candidate, however high its score.
    np.testing.assert_allclose(histories.ndcg(best + 100 * histories.support), 1)
    assert Histories(log(2, k=29), 5, "time").users.tolist() == []


def test_the_same_tasks_by_items():
    data, features = log(), np.arange(100.0).reshape(50, 2)
    with_features = nested_tasks(data, (0, 3, 20), 10, 0, "random", features)
    places = task_index([nested_tasks(data, (0, 3, 20), 10, 0, "random")])
    seen = []
    answer = by_item_index(lambda tasks: seen.extend(tasks) or np.zeros(1), places)
    answer(with_features[3])
    for mine, theirs in zip(seen, with_features[3], strict=True):
        np.testing.assert_array_equal(features[mine.support_x], theirs.support_x)
        np.testing.assert_array_equal(features[mine.query_x], theirs.query_x)


def test_an_offset_is_learned_for_each_k_on_other_people():
    valid, features = log(), np.zeros((50, 3), np.float32)
    (shifted,) = with_offset([lambda tasks: np.zeros((len(tasks), 10))], valid, features, "time")
    for k in (0, 5):
        tasks = nested_tasks(valid, SHOTS, QUERY, 0, "time", features)[k]
        np.testing.assert_allclose(shifted(tasks), np.stack([t.query_y for t in tasks]).mean(), rtol=1e-5)


def test_five_of_ten_by_hand():
    task = Task(np.zeros(0), np.zeros(0), np.arange(10), np.array([1, 2, 3, 4, 5, 5, 4, 3, 2, 1.0]))
    assert ndcg_of_five(task.query_y, task) == pytest.approx(1)
    # Relevant are 4, 5, 3, 6 and, of equal ones, the first: 2. The other way round none of the first five is.
    assert ndcg_of_five(-np.array([0, 0, 1, 1, 1, 1, 1, 0, 0, 0.0]), task) == 0
    only_second = np.array([9, 0, 0, 0, 8, 0, 0, 7, 7, 7.0])
    weights = 1 / np.log2(np.arange(2, 7))
    assert ndcg_of_five(only_second, task) == pytest.approx(weights[1] / weights.sum())


def test_ten_are_drawn_and_all_others_are_the_support():
    data = log()
    for task in drawn_tasks(data, 3):
        mine = data.user_index == task.task_id
        assert len(task.query_x) == 10
        assert sorted(np.concatenate([task.support_x, task.query_x])) == sorted(data.item_index[mine])
    again, other = drawn_tasks(data, 3), drawn_tasks(data, 4)
    np.testing.assert_array_equal(again[0].query_x, drawn_tasks(data, 3)[0].query_x)
    assert (again[0].query_x != other[0].query_x).any()


class Asker:
    """A model that would ask about films in their order, backwards once it has an answer."""

    popularity_ = np.linspace(1, 0.1, 50)

    class prior_:
        @staticmethod
        def expected_variance_reduction(support, weights, likelihood_weight):
            return np.arange(50.0) if len(support[1]) else np.arange(50.0, 0, -1)

    @staticmethod
    def setting(k):
        return 1.0, 0.0

    @staticmethod
    def score_interaction(supports):
        return np.eye(50)[[7]] + 0.01


def test_elicitation_by_hand():
    task = Task(np.array([2, 5]), np.array([4.0, 1.0]), np.array([0, 49]), np.ones(2), task_id=3)
    assert elicitation(Asker, task, "telling", 0, n=4) == [1, 2, 48, 47]  # 0 and 49 are of the query
    assert elicitation(Asker, task, "popular", 0, n=4) == [1, 2, 3, 4]
    assert elicitation(Asker, task, "telling and likely", 0, n=4)[0] == 7
    drawn = elicitation(Asker, task, "any", 0, n=4)
    assert len(set(drawn)) == 4
    assert not {0, 49} & set(drawn)
    items, stars = answers_to(task, [1, 5])
    assert items.tolist() == [5]
    assert stars.tolist() == [1.0]
    assert [len(part) for part in answers_to(task, [])] == [0, 0]


def test_people_of_several_folds_are_drawn_once():
    study = Study()
    study.task_ids["time", 3] = [np.array([1, 2]), np.array([2, 1]), np.array([5])]
    study.errors["time", "a", 3] = [np.array([[1.0, 3], [1, 1]]), np.array([[5.0, 3], [3, 1]]), np.array([[2.0], [2]])]
    study.errors["time", "b", 3] = [e + 1 for e in study.errors["time", "a", 3]]
    first, second = study.table("a")
    # Squared errors of person 1 are 1 and 3, of person 2 are 3 and 5, of person 5 it is 2.
    assert first["users"] == 3
    assert first["rmse"] == pytest.approx(np.sqrt((2 + 4 + 2) / 3))
    assert first["mae"] == pytest.approx((1 + 2 + 2) / 3)
    assert second["mae lead over a"] == pytest.approx(1)
    assert [second["mae low a"], second["mae high a"]] == pytest.approx([1, 1])
    assert study.table("a", folds=slice(2, None))[0]["users"] == 1


def test_groups_are_judged_by_people_outside_the_support():
    data = log(30)
    members = np.arange(30) < 15
    errors = group_errors(data, np.random.default_rng(0).normal(size=(50, 2)), members)
    assert set(errors) == {(k, weight) for k in SUPPORTS for weight in GROUP_WEIGHTS}
    supports = [np.random.default_rng(seed).permutation(15)[: max(SUPPORTS)] for seed in range(3)]
    judged = set().union(*(set(range(15)) - set(support.tolist()) for support in supports))
    assert {len(found) for found in errors.values()} == {len(judged)}
    nothing = errors[0, 0.0]
    np.testing.assert_allclose(errors[10, 0.0], nothing)  # ratings of no weight
    np.testing.assert_allclose(errors[0, 0.1], nothing)  # no ratings
    assert not np.allclose(errors[10, 0.1], nothing)


def test_settings_are_put_in_for_a_prediction_only():
    class Model:
        settings_ = "own"

        def predict_ratings(self, supports):
            return np.full((len(supports), 50), 2.0 if self.settings_ == "own" else 4.0), None

    model = Model()
    tasks = drawn_tasks(log(), 0)
    assert (with_settings(model, {})(tasks) == 4).all()
    assert model.settings_ == "own"
    assert (ratings_of(model)(tasks) == 2).all()


def test_a_prior_on_fixed_factors_by_hand():
    """Everybody rates a star above the items' means: with no factor that is all the prior can learn."""
    rows = [(u, i, 4.0) for u in range(30) for i in range(12)]
    data = Dataset.from_frames(pd.DataFrame(rows, columns=["user_id", "item_id", "rating"]))
    answer = prior_on_factors(data, np.full((12, 1), 3.0), np.zeros((12, 0)))
    empty = Task(np.zeros(0, int), np.zeros(0), np.arange(3), np.ones(3))
    np.testing.assert_allclose(answer([empty]), 4, atol=0.05)


def test_rules_for_lists_by_hand():
    data = log(40)
    ways = episode_rankers(data, 3, "time")
    new = np.zeros((1, 50), np.float32)
    new[0, [1, 2, 3]] = 1
    _, support, query = split_histories(data, 3)
    np.testing.assert_allclose(ways["popularity by place"][0](new), [query.mean(0)])
    shared = new @ (support + query).T
    settings = [(weight, power) for weight in (0.3, 0.7, 1.0) for power in (0.0, 0.5, 1.0)]
    for (weight, power), ranker in zip(settings, ways["neighbors, later choices"], strict=True):
        overlap = shared / (support + query).sum(1) ** power
        wanted = (1 - weight) * query.mean(0) + weight * overlap @ query / overlap.sum()
        np.testing.assert_allclose(ranker(new), wanted, rtol=1e-5)
    only = ways["neighbors, whole histories"][6](new)
    np.testing.assert_allclose(only, shared @ (support + query) / shared.sum(), rtol=1e-5)
    first, *_, last = [ranker(new) for ranker in ways["popularity by place + autoencoder"][:8]]
    np.testing.assert_allclose(first, np.tile(query.mean(0) / query.mean(0).std(), (len(new), 1)), rtol=1e-5)
    near = new @ DenoisingAutoencoder(0.5, 200.0).fit(data).weights_
    np.testing.assert_allclose(last, near / near.std(1, keepdims=True), rtol=1e-4)
    assert list(episode_rankers(data, 0, "time")) == ["popularity by place"]


def test_ratings_needed_by_hand():
    shots = np.array([1, 3, 10])
    assert reached(np.array([0.9, 0.8, 0.5]), 0.8, shots) == pytest.approx(3)
    assert reached(np.array([0.9, 0.7, 0.5]), 0.8, shots) == pytest.approx(3**0.5)  # half of the way in log K
    assert reached(np.array([0.7, 0.6, 0.5]), 0.8, shots) == pytest.approx(1)
    assert reached(np.array([0.9, 0.9, 0.9]), 0.8, shots) == 20


def test_strong_penalties_are_limits_of_the_autoencoders():
    data = log(40)
    mine, free, counts = strong_penalties(data, (0.0, 30.0, np.inf))
    strong = DenoisingAutoencoder(1 - 1e-7, 1e-3).fit(data).weights_
    np.testing.assert_allclose(strong / strong.max(), mine / mine.max(), atol=1e-3)
    strong = DenoisingAutoencoder(1 - 1e-4, 30 * 1e4).fit(data).weights_  # c = l2 (1 - p) / p, nearly 30
    np.testing.assert_allclose(strong / strong.max(), free / free.max(), atol=1e-2)
    ease = EASE(1e7).fit(data).weights_
    off = ~np.eye(len(counts), dtype=bool)
    np.testing.assert_allclose(ease[off] / ease[off].max(), counts[off] / counts[off].max(), atol=1e-3)

"""The parts that chapter 14's experiments are made of."""

import numpy as np
import pandas as pd
import pytest

from book.experiments import ch14_lists as newcomer
from book.experiments import ch14_questions as interview
from book.experiments import ch14_ratings as cold
from book.experiments.study import Study
from llmrec_lite.data import Dataset
from llmrec_lite.meta.baselines import QUERY, mean_interval, paired_interval
from llmrec_lite.meta.tasks import Task, nested_tasks


def log(n=6, k=32, items=50, seed=0):
    rng = np.random.default_rng(seed)
    rows = [
        (u, int(i), float(rng.integers(1, 6)), t) for u in range(n) for t, i in enumerate(rng.permutation(items)[:k])
    ]
    table = pd.DataFrame({"item_id": range(items)})
    return Dataset.from_frames(pd.DataFrame(rows, columns=["user_id", "item_id", "rating", "timestamp"]), table)


def test_later_choices_by_hand():
    data = log(2)
    later = newcomer._Later(data, 5, "time")
    assert later.users.tolist() == [0, 1]
    row = data.time_order[data.user_index[data.time_order] == 1]
    assert set(np.flatnonzero(later.given[1])) == set(data.item_index[row[:5]])
    assert set(np.flatnonzero(later.rest[1])) == set(data.item_index[row[5:]])
    liked = data.item_index[row[5:]][data.ratings[row[5:]] >= 4]
    assert set(np.flatnonzero(later.liked[1])) == set(liked)
    items, stars = later.supports[1]
    told = dict(zip(data.item_index[row[:5]], data.ratings[row[:5]], strict=True))
    assert dict(zip(items, stars, strict=True)) == told
    perfect, blind = later.ndcg(later.rest + later.liked), later.ndcg(-later.rest - 5 * later.given)
    np.testing.assert_allclose(perfect, 1)
    assert (blind[0] < 1).all()
    # What was told is no candidate, however high its score.
    np.testing.assert_allclose(later.ndcg(later.rest + later.liked + 100 * later.given), 1)
    assert newcomer._Later(log(2, k=29), 5, "time").users.tolist() == []


def test_the_same_tasks_by_items():
    data, features = log(), np.arange(100.0).reshape(50, 2)
    with_features = nested_tasks(data, (0, 3, 20), 10, 0, "random", features)
    places = cold._places([nested_tasks(data, (0, 3, 20), 10, 0, "random")])
    seen = []
    answer = cold._by_index(lambda tasks: seen.extend(tasks) or np.zeros(1), places)
    answer(with_features[3])
    for mine, theirs in zip(seen, with_features[3], strict=True):
        np.testing.assert_array_equal(features[mine.support_x], theirs.support_x)
        np.testing.assert_array_equal(features[mine.query_x], theirs.query_x)


def test_an_offset_is_learned_for_each_k_on_other_people():
    valid, features = log(), np.zeros((50, 3), np.float32)
    (shifted,) = cold._shifted([lambda tasks: np.zeros((len(tasks), 10))], valid, features, "time")
    for k in (0, 5):
        tasks = nested_tasks(valid, cold.SHOTS, QUERY, 0, "time", features)[k]
        np.testing.assert_allclose(shifted(tasks), np.stack([t.query_y for t in tasks]).mean(), rtol=1e-5)


def test_five_of_ten_by_hand():
    task = Task(np.zeros(0), np.zeros(0), np.arange(10), np.array([1, 2, 3, 4, 5, 5, 4, 3, 2, 1.0]))
    assert interview._of_five(task.query_y, task) == pytest.approx(1)
    # Relevant are 4, 5, 3, 6 and, of equal ones, the first: 2. The other way round none of the first five is.
    assert interview._of_five(-np.array([0, 0, 1, 1, 1, 1, 1, 0, 0, 0.0]), task) == 0
    only_second = np.array([9, 0, 0, 0, 8, 0, 0, 7, 7, 7.0])
    weights = 1 / np.log2(np.arange(2, 7))
    assert interview._of_five(only_second, task) == pytest.approx(weights[1] / weights.sum())


def test_ten_are_drawn_and_all_others_told():
    data = log()
    for task in interview._drawn(data, 3):
        mine = data.user_index == task.task_id
        assert len(task.query_x) == 10
        assert sorted(np.concatenate([task.support_x, task.query_x])) == sorted(data.item_index[mine])
    again, other = interview._drawn(data, 3), interview._drawn(data, 4)
    np.testing.assert_array_equal(again[0].query_x, interview._drawn(data, 3)[0].query_x)
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
    def choices(supports):
        return np.eye(50)[[7]] + 0.01


def test_an_interview(monkeypatch):
    monkeypatch.setattr(interview, "ASKED", (0, 4))
    task = Task(np.array([2, 5]), np.array([4.0, 1.0]), np.array([0, 49]), np.ones(2), task_id=3)
    assert interview._interview(Asker, task, "telling", 0) == [1, 2, 48, 47]  # 0 and 49 are of the query
    assert interview._interview(Asker, task, "popular", 0) == [1, 2, 3, 4]
    assert interview._interview(Asker, task, "telling and likely", 0)[0] == 7
    drawn = interview._interview(Asker, task, "any", 0)
    assert len(set(drawn)) == 4
    assert not {0, 49} & set(drawn)
    items, stars = interview._answers_to(task, [1, 5])
    assert items.tolist() == [5]
    assert stars.tolist() == [1.0]
    assert [len(part) for part in interview._answers_to(task, [])] == [0, 0]


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


def test_intervals_of_means_and_of_roots():
    rng = np.random.default_rng(0)
    lead = rng.normal(0.1, 1, 400)
    low, high = mean_interval(lead)
    assert low < lead.mean() < high
    assert high - low == pytest.approx(2 * 1.96 * lead.std() / 20, rel=0.1)
    other = rng.uniform(1, 2, 400)
    assert paired_interval(other + 1, other, summary=np.asarray) == pytest.approx((1.0, 1.0))


def test_groups_are_judged_by_people_who_were_not_told(monkeypatch):
    monkeypatch.setattr(interview, "item_features", lambda data, *args, **options: np.zeros((50, 1)))
    made = []

    class Prior:
        def fit(self, data, features):
            made.append(set(np.unique(data.user_index)))
            return self

        def predict(self, supports, likelihood_weight):
            made.append(len(supports[0][1]))
            return np.full((1, 50), 3.0)

    monkeypatch.setattr(interview, "BayesianMF", Prior)
    data = log(30)
    errors = interview._group_errors(data, np.zeros((50, 2)), np.arange(30) < 15)
    assert made[0] == set(range(15, 30))
    assert set(made[1:]) == {0, 3 * 32, 10 * 32}
    assert len(errors) == 3 * len(interview.GROUP_WEIGHTS)
    assert all(len(found) <= 15 for found in errors.values())
    for found in errors.values():
        assert (found >= 0).all()


def test_settings_are_put_in_for_an_answer_only():
    class Model:
        settings_ = "own"

        def stars(self, supports):
            return np.full((len(supports), 50), 2.0 if self.settings_ == "own" else 4.0), None

    model = Model()
    tasks = interview._drawn(log(), 0)
    assert (cold._with_settings(model, {})(tasks) == 4).all()
    assert model.settings_ == "own"
    assert (cold._starred(model)(tasks) == 2).all()


def test_a_prior_on_fixed_factors_by_hand():
    """Everybody rates a star above the items' means: with no factor that is all the prior can learn."""
    rows = [(u, i, 4.0) for u in range(30) for i in range(12)]
    data = Dataset.from_frames(pd.DataFrame(rows, columns=["user_id", "item_id", "rating"]))
    answer = cold._fixed_factors(data, np.full((12, 1), 3.0), np.zeros((12, 0)))
    nobody = Task(np.zeros(0, int), np.zeros(0), np.arange(3), np.ones(3))
    np.testing.assert_allclose(answer([nobody]), 4, atol=0.05)


def test_rules_for_lists_by_hand():
    data = log(40)
    ways = newcomer.episode_rankers(data, 3, "time")
    new = np.zeros((1, 50), np.float32)
    new[0, [1, 2, 3]] = 1
    _, first, rest = newcomer.split_histories(data, 3)
    np.testing.assert_allclose(ways["popularity by place"][0](new), [rest.mean(0)])
    shared = new @ (first + rest).T
    settings = [(weight, power) for weight in (0.3, 0.7, 1.0) for power in (0.0, 0.5, 1.0)]
    for (weight, power), ranker in zip(settings, ways["neighbours, later choices"], strict=True):
        alike = shared / (first + rest).sum(1) ** power
        wanted = (1 - weight) * rest.mean(0) + weight * alike @ rest / alike.sum()
        np.testing.assert_allclose(ranker(new), wanted, rtol=1e-5)
    only = ways["neighbours, whole histories"][6](new)
    np.testing.assert_allclose(only, shared @ (first + rest) / shared.sum(), rtol=1e-5)
    lifted = [ranker(new) - rest.mean(0) for ranker in ways["popularity by place + autoencoder"][:2]]
    np.testing.assert_allclose(lifted[1], 2 * lifted[0], atol=1e-5)
    assert list(newcomer.episode_rankers(data, 0, "time")) == ["popularity by place"]

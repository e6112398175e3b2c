"""The recommender for new users: settings by episodes, ratings, lists, elicitation, and odd histories."""

import numpy as np
import pandas as pd
import pytest
from scipy.special import ndtr

from llmrec_lite.data import Dataset
from llmrec_lite.errors import SettingError, UnknownIdError
from llmrec_lite.meta.cold_start import ColdStartRecommender, predict_queries
from llmrec_lite.meta.tasks import user_tasks
from llmrec_lite.recommenders import Recommender


class Letters:
    """An encoder without a language model."""

    def encode(self, texts):
        return np.array([[text.count(letter) for letter in "abc"] for text in texts], float)


def made_up(n=160, items=40, seed=0, kinds=2):
    """People who like one kind of film and choose more of it; ids are strings."""
    rng = np.random.default_rng(seed)
    kind = np.arange(items) % kinds
    rows = []
    for user in range(n):
        odds = np.where(kind == user % kinds, 4.0, 1.0)
        picked = rng.choice(items, 32, replace=False, p=odds / odds.sum())
        stars = np.clip(np.round(3 + (kind[picked] == user % kinds) + rng.normal(0, 0.7, 32)), 1, 5)
        rows += [(f"u{user}", f"i{i}", s, t) for t, (i, s) in enumerate(zip(picked, stars, strict=True))]
    table = pd.DataFrame({"item_id": [f"i{i}" for i in range(items)], "title": ["abc"[k] * 3 for k in kind]})
    return Dataset.from_frames(pd.DataFrame(rows, columns=["user_id", "item_id", "rating", "timestamp"]), table)


@pytest.fixture(scope="module")
def model():
    return ColdStartRecommender(2, Letters(), seed=1).fit(made_up())


def fans(kind, k=5):
    return [(f"i{i}", 5.0) for i in range(kind, 40, 2)][:k]


def test_it_is_a_recommender(model):
    assert isinstance(model, Recommender)
    scores = model.score_indices([0, 5])
    assert scores.shape == (2, 40)
    assert scores.dtype == np.float32
    assert len(model.recommend(["u0"], 3)) == 3


def test_lists_and_stars_follow_the_kind_that_was_liked(model):
    scores = model.score_new([fans(0), fans(1)])
    others = np.arange(10, 40)
    assert scores[0, others[others % 2 == 0]].mean() > 1.3 * scores[0, others[others % 2 == 1]].mean()
    assert scores[1, others[others % 2 == 1]].mean() > 1.3 * scores[1, others[others % 2 == 0]].mean()
    stars = model.score_new_ratings([fans(0, 10)], ["i38", "i39"])
    assert stars.shape == (1, 2)
    assert stars[0, 0] > stars[0, 1] + 0.3


def test_people_of_train_do_not_resemble_themselves(model):
    data = model.train_
    user = model.rankers_[20].users_[0]
    rows = data.time_order[data.user_index[data.time_order] == user]
    supports = [(data.item_index[rows], data.ratings[rows])]
    head, support = model.rankers_[20], np.isin(np.arange(40), data.item_index[rows])[None].astype(np.float32)
    np.testing.assert_allclose(
        model.score_indices([user])[0], np.maximum(head.predict(support, np.array([user]))[0], 1e-6), rtol=1e-5
    )
    assert not np.array_equal(model.scores(supports), model.score_indices([user]))


def test_nothing_known_is_popularity_and_the_mean_of_people(model):
    np.testing.assert_allclose(model.score_new([[]])[0], np.maximum(model.popularity_, 1e-6), rtol=1e-6)
    likelihood_weight, offset = model.setting(0)
    assert likelihood_weight == 1.0
    expected = np.clip(model.prior_.predict([(np.zeros(0, int), np.zeros(0))]) + offset, 1, 5)
    np.testing.assert_allclose(model.score_new_ratings([[]], model.train_.items["item_id"]), expected, rtol=1e-5)


def test_ragged_histories_go_together_as_alone(model):
    histories = [[], fans(0, 1), fans(1, 12), fans(0, 3)]
    for one in (model.score_new, lambda h: model.score_new_ratings(h, ["i7", "i8"])):
        np.testing.assert_allclose(one(histories), np.vstack([one([h]) for h in histories]), rtol=1e-4)


def test_settings_are_chosen_by_what_other_people_rated_later():
    data = made_up()
    even = data.user_index % 2 == 0
    learn, valid = (data.with_interactions(data.interactions[rows]) for rows in (even, ~even))
    model = ColdStartRecommender(2, Letters()).fit_with_validation(learn, valid)
    for k in (0, 5):
        tasks = user_tasks(valid, k, 10)
        left = {}
        for likelihood_weight in (0.3, 0.5, 0.7, 1.0) if k else (1.0,):
            off = np.stack([t.query_y for t in tasks]) - predict_queries(model.prior_, tasks, likelihood_weight)
            left[likelihood_weight] = np.square(off - off.mean()).mean(), off.mean()
        likelihood_weight, offset = model.settings_[k]
        assert model.offsets_[k] == pytest.approx({e: float(found) for e, (_, found) in left.items()})
        assert left[likelihood_weight][0] == min(left.values())[0]
        assert offset == pytest.approx(left[likelihood_weight][1])
    assert set(np.unique(learn.user_index)).isdisjoint(np.unique(valid.user_index))


def test_a_number_between_takes_the_nearest_setting(model):
    assert model.setting(2) == model.settings_[3]  # log(3) lies nearer to log(4) than to log(2)
    assert model.setting(7) == model.settings_[5]  # and log(8) to log(6) than to log(11)
    assert model.setting(500) == model.settings_[20]


def test_liked_is_an_interaction_times_the_chance_of_four_stars():
    model = ColdStartRecommender(2, Letters(), seed=1).fit(made_up())
    supports = [(np.array([0, 2]), np.array([5.0, 2.0]))]
    stars, variance = model.predict_ratings(supports)
    interaction = model.scores(supports)
    model.goal = "liked"
    np.testing.assert_allclose(model.scores(supports), interaction * ndtr((stars - 3.5) / np.sqrt(variance)), rtol=1e-4)


def test_recommend_new_leaves_out_the_history(model):
    found = model.recommend_new(fans(0), 40)
    assert list(found) == ["item_id", "rank", "score", "stars"]
    assert set(found["item_id"]) == {f"i{i}" for i in range(40)} - {item for item, _ in fans(0)}
    assert found["score"].is_monotonic_decreasing
    assert found["rank"].tolist() == list(range(1, 36))
    wanted = model.score_new_ratings([fans(0)], found["item_id"])[0]
    np.testing.assert_allclose(found["stars"], wanted, rtol=1e-5)


def test_elicited_items_reduce_variance_and_can_be_answered(model):
    asked = model.elicit(fans(0, 3), 37)
    assert not {item for item, _ in fans(0, 3)} & set(asked["item_id"])
    assert len(asked) == 37
    supports = [(np.array([0, 2, 4]), np.full(3, 5.0))]
    worth = (
        model.prior_.expected_variance_reduction(supports[0], model.popularity_, model.setting(3)[0])
        * model.popularity_
    )
    best = model.train_.items["item_id"].to_numpy()[
        np.argsort(-np.where(np.isin(np.arange(40), [0, 2, 4]), -1, worth))[0]
    ]
    assert asked["item_id"][0] == best
    assert len(model.elicit()) == 5


def test_odd_histories(model):
    twice = model.score_new_ratings([[("i1", 1.0), ("i3", 4.0), ("i1", 5.0)]], ["i5"])
    np.testing.assert_allclose(twice, model.score_new_ratings([[("i3", 4.0), ("i1", 5.0)]], ["i5"]), rtol=1e-6)
    equal = model.score_new_ratings([[(f"i{i}", 5.0) for i in range(30)]], [f"i{i}" for i in range(40)])
    assert np.isfinite(equal).all()
    assert equal.max() <= 5
    with_time = model.score_new([[("i1", 4.0, 7), ("i2", 3.0, 9)]])
    np.testing.assert_allclose(with_time, model.score_new([[("i1", 4.0), ("i2", 3.0)]]), rtol=1e-6)
    assert model.score_new([]).shape == (0, 40)
    with pytest.raises(UnknownIdError, match="nowhere"):
        model.score_new([[("nowhere", 4.0)]])
    with pytest.raises(UnknownIdError, match="nowhere"):
        model.score_new_ratings([[]], ["nowhere"])
    with pytest.raises(SettingError, match="nan"):
        model.score_new([[("i1", float("nan"))]])


def test_data_without_texts_times_or_different_stars():
    data = made_up(60)
    plain = data.interactions.drop(columns="timestamp").assign(rating=1.0)
    unary = Dataset.from_frames(
        plain.assign(user_id=data.users["user_id"].to_numpy()[data.user_index],
                     item_id=data.items["item_id"].to_numpy()[data.item_index])[["user_id", "item_id", "rating"]]
    )  # fmt: skip
    model = ColdStartRecommender(2).fit(unary)  # nothing to read: no language model is asked for
    assert np.isfinite(model.score_new([[(unary.items["item_id"].iloc[0], 1.0)]])).all()
    np.testing.assert_allclose(model.score_new_ratings([[]], unary.items["item_id"][:3]), 1)


def test_some_items_without_a_text():
    data = made_up(60)
    items = data.items.assign(text=["" if i % 3 == 0 else text for i, text in enumerate(data.items["text"])])

    class Strict(Letters):
        def encode(self, texts):
            assert all(text.strip() for text in texts)
            return super().encode(texts)

    log = data.interactions.assign(
        user_id=data.users["user_id"].to_numpy()[data.user_index],
        item_id=data.items["item_id"].to_numpy()[data.item_index],
    )
    some = Dataset.from_frames(log[["user_id", "item_id", "rating", "timestamp"]], items)
    assert np.isfinite(ColdStartRecommender(2, Strict()).fit(some).score_new([fans(0)])).all()


def test_few_people_learn_what_they_can():
    data = made_up(16)
    model = ColdStartRecommender(1, Letters()).fit(data)  # four are set aside: too few to choose anything by
    assert model.rankers_ == {}
    assert set(model.settings_.values()) == {(1.0, 0.0)}
    assert np.isfinite(model.score_new([fans(0)])).all()
    with pytest.raises(SettingError, match="25%"):
        ColdStartRecommender(1, Letters()).fit(made_up(2))


@pytest.mark.parametrize(
    ("options", "message"),
    [({"order": "later"}, "'later'"), ({"goal": "chosen"}, "'chosen'"), ({"held_out": 1.0}, "held_out=1.0")],
)
def test_bad_settings(options, message):
    with pytest.raises(SettingError, match=message):
        ColdStartRecommender(**options)

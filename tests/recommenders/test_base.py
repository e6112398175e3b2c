"""The contract that every model of the book keeps."""

import inspect
import random

import numpy as np
import pandas as pd
import pytest
import torch
from scipy import sparse
from sklearn.base import clone
from sklearn.exceptions import NotFittedError

from llmrec_lite import Dataset, UnknownIdError, recommenders
from llmrec_lite.errors import SettingError
from llmrec_lite.interface import RatingPredictor, Recommender
from llmrec_lite.language.text_recommender import TextRecommender
from llmrec_lite.recommenders.base import histories_to_matrix

MODELS = [*recommenders.MODELS, "TextRecommender"]


def find(name):
    return TextRecommender if name == "TextRecommender" else getattr(recommenders, name)


FOLD_IN = [name for name in MODELS if hasattr(find(name), "score_new")]
SEEDED = [name for name in MODELS if "seed" in inspect.signature(find(name)).parameters]
# For a user of the training data, what these say about the history is what they say about the user. (The factors
# of ALS are one half step old, and UserKNN meets the user's own row: see their tests.)
HISTORY_IS_ALL = [name for name in FOLD_IN if name not in ("ALS", "UserKNN")]


# ---- recommend ----


class Fixed(recommenders.BaseRecommender):
    """Scores made of the indices: user u gives item i the score 10 u + i."""

    def _fit(self, train):
        self.n_items_ = train.n_items

    def _score(self, users):
        return 10.0 * users[:, None] + np.arange(self.n_items_)


@pytest.fixture
def three() -> Dataset:
    """User "a" has seen x and z, "b" everything; items in the order z, x, y."""
    log = pd.DataFrame({"user_id": list("aabbb"), "item_id": list("zxzxy")})
    return Dataset.from_frames(log, pd.DataFrame({"item_id": list("zxy")}))


def test_recommend_gives_ranked_raw_ids_without_what_was_seen(three):
    table = Fixed().fit(three).recommend(["a"], k=3)
    assert table.to_dict("list") == {"user_id": ["a"], "item_id": ["y"], "rank": [1], "score": [2.0]}


def test_recommend_can_include_what_was_seen_and_takes_a_user_twice(three):
    table = Fixed().fit(three).recommend(["b", "a", "b"], k=2, exclude_seen=False)
    assert table["user_id"].tolist() == list("bbaabb")
    assert table["item_id"].tolist() == list("yxyxyx")
    assert table["rank"].tolist() == [1, 2] * 3
    assert table["score"].tolist() == [12, 11, 2, 1, 12, 11]


def test_recommend_gives_nothing_to_a_user_who_has_seen_everything(three):
    table = Fixed().fit(three).recommend(["b"])
    assert table.empty
    assert table.columns.tolist() == ["user_id", "item_id", "rank", "score"]


def test_recommend_takes_any_iterable_of_users(three):
    assert len(Fixed().fit(three).recommend(user for user in "ab")) == 1


def test_recommend_names_an_unknown_user(three):
    with pytest.raises(UnknownIdError, match="'nobody'"):
        Fixed().fit(three).recommend(["a", "nobody"])


@pytest.mark.parametrize("user", [-1, 2])
def test_score_names_an_index_that_is_outside(three, user):
    with pytest.raises(IndexError, match=f"{user}"):
        Fixed().fit(three).score_indices([0, user])


@pytest.mark.parametrize("name", [name for name in MODELS if issubclass(find(name), RatingPredictor)])
def test_predict_names_an_index_that_is_outside(three, name):
    model = find(name)().fit(three)
    for users, items, what in (([0, -1], [0, 0], "user index -1"), ([0, 1], [0, three.n_items], "item index")):
        with pytest.raises(IndexError, match=what):
            model.predict_indices(np.array(users), np.array(items))
    with pytest.raises(SettingError, match=r"1 .*2"):
        model.predict_indices(np.array([0]), np.array([0, 1]))


# ---- histories of new users ----


def test_histories_become_rows_and_the_last_rating_of_an_item_counts(three):
    histories = [[("y", 4.0), ("z", 2.0, 100), ("y", 5.0)], [], [("x", 0.0)]]
    ratings = histories_to_matrix(histories, three, rating=True)
    assert ratings.toarray().tolist() == [[2, 0, 5], [0, 0, 0], [0, 0, 0]]
    assert np.diff(ratings.indptr).tolist() == [2, 0, 1]  # a rating of 0 is a rating
    assert histories_to_matrix(histories, three).toarray().tolist() == [[1, 0, 1], [0, 0, 0], [0, 1, 0]]
    assert ratings.dtype == np.float32
    assert histories_to_matrix([], three).shape == (0, 3)


# ---- the contract ----


@pytest.fixture(scope="module")
def fitted(club, make):
    """Every model fitted once on the club; tests only look."""
    return {name: make(name).fit(club) for name in MODELS}


def test_the_package_lists_its_models():
    assert {"Popularity", "EASE", "SASRec"} <= set(recommenders.MODELS) <= set(recommenders.__all__)
    with pytest.raises(AttributeError, match="EASY"):
        recommenders.EASY  # noqa: B018


@pytest.mark.parametrize("name", MODELS)
def test_fit_returns_the_model_itself(club, make, name):
    model = make(name)
    assert model.fit(club) is model
    assert isinstance(model, Recommender)


@pytest.mark.parametrize("name", MODELS)
def test_scores_are_finite_float32_of_the_right_shape(club, fitted, name):
    scores = fitted[name].score_indices(range(club.n_users))
    assert scores.shape == (12, 9)
    assert scores.dtype == np.float32
    assert np.isfinite(scores).all()
    assert fitted[name].score_indices([]).shape == (0, 9)


@pytest.mark.parametrize("name", MODELS)
def test_scores_do_not_depend_on_who_else_is_scored(club, fitted, name):
    together = fitted[name].score_indices(range(club.n_users))
    for users in ([3], [5, 0, 5], [11]):
        np.testing.assert_allclose(fitted[name].score_indices(users), together[users], rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("name", MODELS)
def test_the_same_settings_give_the_same_scores(club, make, fitted, name):
    users = range(club.n_users)
    np.testing.assert_array_equal(make(name).fit(club).score_indices(users), fitted[name].score_indices(users))


@pytest.mark.parametrize("name", SEEDED)
def test_another_seed_gives_other_scores(club, make, fitted, name):
    users = range(club.n_users)
    assert not np.allclose(
        make(name, seed=1).fit(club).score_indices(users), fitted[name].score_indices(users), atol=1e-4
    )


@pytest.mark.parametrize("name", MODELS)
def test_the_global_random_state_is_left_alone(club, make, name):
    def states():
        return random.getstate(), np.random.get_state()[1].tolist(), torch.get_rng_state().tolist()  # noqa: NPY002

    before = states()
    make(name).fit(club).score_indices([0, 1])
    assert states() == before


@pytest.mark.parametrize("name", MODELS)
def test_nothing_seen_is_recommended(club, fitted, name):
    table = fitted[name].recommend(club.users["user_id"], k=20)
    seen = set(zip(club.interactions["user_id"], club.interactions["item_id"], strict=True))
    pairs = list(zip(table["user_id"], table["item_id"], strict=True))
    assert not seen & set(pairs)
    assert len(pairs) == len(set(pairs)) == club.n_users * club.n_items - len(seen)


@pytest.mark.parametrize("name", MODELS)
def test_a_user_and_an_item_without_interactions_are_served(club, fitted, name):
    assert len(fitted[name].recommend(["ghost"], k=9)) == 9
    assert "dusty" in set(fitted[name].recommend(["reader3"], k=9)["item_id"])


@pytest.mark.parametrize("name", MODELS)
def test_nothing_can_be_asked_before_fit(make, name):
    model = make(name)
    calls = [lambda: model.score_indices([0]), lambda: model.recommend(["reader1"])]
    if hasattr(model, "score_new"):
        calls.append(lambda: model.score_new([[("emma", 5.0)]]))
    if hasattr(model, "predict"):
        calls.append(lambda: model.predict_indices(np.array([0]), np.array([0])))
    if hasattr(model, "score_request"):
        calls += [lambda: model.score_request("love"), lambda: model.score_items(["love"])]
    for call in calls:
        with pytest.raises(NotFittedError, match=name):
            call()


@pytest.mark.parametrize("name", MODELS)
def test_a_second_fit_forgets_the_first(club, make, fitted, name):
    other = club.with_interactions(club.interactions.iloc[::2])
    refitted = make(name).fit(other).fit(club)
    np.testing.assert_array_equal(refitted.score_indices(range(12)), fitted[name].score_indices(range(12)))


@pytest.mark.parametrize("name", MODELS)
def test_one_user_is_enough(make, name):
    log = pd.DataFrame({"user_id": [7, 7], "item_id": [1, 2], "rating": [4.0, 4.0], "timestamp": [1, 2]})
    items = pd.DataFrame({"item_id": [1, 2, 3], "title": ["Red", "Red car", "Blue car"]})
    model = make(name).fit(Dataset.from_frames(log, items))
    assert np.isfinite(model.score_indices([0])).all()
    assert model.recommend([7])["item_id"].tolist() == [3]


@pytest.mark.parametrize("name", MODELS)
def test_everybody_has_seen_everything(make, name):
    log = pd.DataFrame({"user_id": list("aabb"), "item_id": list("xyyx"), "timestamp": range(4)})
    items = pd.DataFrame({"item_id": list("xy"), "title": ["Red", "Blue"]})
    model = make(name).fit(Dataset.from_frames(log, items))
    assert np.isfinite(model.score_indices([0, 1])).all()
    assert model.recommend(["a", "b"]).empty


@pytest.mark.parametrize("name", FOLD_IN)
def test_new_users_are_scored_and_unknown_items_named(fitted, name):
    scores = fitted[name].score_new([[("emma", 5.0), ("kim", 1.0)], [], [("dune", 3.0, 9)]])
    assert scores.shape == (3, 9)
    assert scores.dtype == np.float32
    assert np.isfinite(scores).all()
    assert fitted[name].score_new([]).shape == (0, 9)


@pytest.mark.parametrize("name", [name for name in FOLD_IN if name != "Popularity"])
def test_an_unknown_item_in_a_history_is_named(fitted, name):
    with pytest.raises(UnknownIdError, match="'bible'"):
        fitted[name].score_new([[("emma", 5.0), ("bible", 5.0)]])


@pytest.mark.parametrize("name", HISTORY_IS_ALL)
def test_the_own_history_gives_the_own_scores(club, fitted, history_of, name):
    users = [0, 1, 4, 9]
    scores = fitted[name].score_new([history_of(club, user) for user in users])
    np.testing.assert_allclose(scores, fitted[name].score_indices(users), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("name", ["ItemMean", "BiasBaseline", "BaselineKNN", "BiasedMF"])
def test_rating_models_predict_what_they_score(club, fitted, name):
    assert isinstance(fitted[name], RatingPredictor)
    users, items = np.array([4, 0, 4, 11, 2]), np.array([8, 0, 3, 0, 8])
    predicted = fitted[name].predict_indices(users, items)
    assert predicted.shape == (5,)
    assert np.isfinite(predicted).all()
    np.testing.assert_allclose(predicted, fitted[name].score_indices(users)[range(5), items], rtol=1e-5)
    assert fitted[name].predict_indices(users[:0], items[:0]).shape == (0,)


@pytest.mark.parametrize("name", MODELS)
def test_it_is_an_estimator_of_scikit_learn(club, make, fitted, name):
    model = make(name)
    copy = clone(model)
    assert copy is not model
    assert copy.get_params(deep=False).keys() == inspect.signature(find(name)).parameters.keys()
    assert repr(copy).startswith(f"{name}(")
    assert not [key for key in vars(model) if key.endswith("_")]  # nothing is learned before fit
    np.testing.assert_allclose(copy.fit(club).score_indices([1, 2]), fitted[name].score_indices([1, 2]), atol=1e-5)


@pytest.mark.parametrize("name", MODELS)
def test_scores_are_asked_for_by_raw_ids(club, fitted, name):
    users = ["reader3", "ghost", "reader3"]
    expected = fitted[name].score_indices(club.users_to_index(users))
    np.testing.assert_array_equal(fitted[name].score(users), expected)
    with pytest.raises(UnknownIdError, match="stranger"):
        fitted[name].score(["reader3", "stranger"])


def test_an_id_is_no_index():
    log = pd.DataFrame({"user_id": [1, 2, 2], "item_id": [5, 5, 7]})
    model = recommenders.ItemMean().fit(Dataset.from_frames(log.assign(rating=[1.0, 2.0, 4.0])))
    random = recommenders.Random().fit(model.train_)
    np.testing.assert_array_equal(random.score([2]), random.score_indices([1]))
    with pytest.raises(UnknownIdError, match="0"):
        random.score([0])
    np.testing.assert_array_equal(model.predict([2], [7]), model.predict_indices([1], [1]))
    with pytest.raises(UnknownIdError, match="1"):
        model.predict([2], [1])


@pytest.mark.parametrize("name", ["ALS", "EASE", "DenoisingAutoencoder", "TextRecommender"])
def test_a_part_scores_matrices_explains_itself_and_comes_back(club, make, fitted, name):
    model, seen = fitted[name], np.array([1, 4, 6])
    row = np.zeros((1, club.n_items), np.float32)
    row[0, seen] = 1
    scores = model.score_matrix(sparse.csr_array(row))[0]
    shares = model.contributions(np.arange(club.n_items), seen)
    assert shares.shape == (club.n_items, 3)
    np.testing.assert_allclose(shares.sum(1) - scores, (shares.sum(1) - scores)[0], atol=1e-5)  # but for a constant
    history = [(club.items["item_id"].iloc[item], 4.0) for item in seen]
    np.testing.assert_allclose(model.score_new([history])[0], scores, atol=1e-5)
    state = model.get_state()
    again = clone(model).set_state(club, state)
    np.testing.assert_allclose(again.score_indices([1, 2]), model.score_indices([1, 2]), atol=1e-5)
    assert state
    assert all(isinstance(values, np.ndarray) for values in state.values())

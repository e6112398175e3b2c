"""Recommending from vectors of texts: both heads by hand, new users, new items, requests, and bad input."""

import numpy as np
import pandas as pd
import pytest
from sklearn.exceptions import NotFittedError
from sklearn.linear_model import Ridge

from llmrec_lite import Dataset, evaluate, splits
from llmrec_lite.errors import SettingError
from llmrec_lite.interface import Recommender
from llmrec_lite.language.text_recommender import ConcatEncoder, TextRecommender, TfidfEncoder
from llmrec_lite.recommenders.content import ContentBased, unit_rows


class Table:
    """An encoder that looks vectors up, and counts how often it is asked."""

    def __init__(self, vectors: dict[str, list[float]]) -> None:
        self.vectors, self.asked = vectors, 0

    def encode(self, texts):
        self.asked += 1
        assert all(texts), "an empty text must not reach the encoder"
        return np.array([self.vectors[text] for text in texts], np.float32).reshape(len(texts), 2)


VECTORS = {"east": [1, 0], "north": [0, 1], "west": [-1, 0], "northeast": [0.6, 0.8]}


def shop(histories: dict[str, dict[str, float]], texts: dict[str, str]) -> Dataset:
    rows = [(user, item, rating) for user, history in histories.items() for item, rating in history.items()]
    log = pd.DataFrame(rows, columns=["user_id", "item_id", "rating"])
    return Dataset.from_frames(log, pd.DataFrame({"item_id": list(texts), "text": list(texts.values())}))


COMPASS = {"a": "east", "b": "north", "c": "west", "d": "northeast", "e": ""}


# ---- heads ----


def test_a_profile_by_hand():
    model = TextRecommender(Table(VECTORS), "profile", center=False).fit(shop({"me": {"a": 5, "b": 1}}, COMPASS))
    half = 0.5**0.5
    np.testing.assert_allclose(model.score_indices([0]), [[half, half, -half, 1.4 * half, 0]], atol=1e-6)
    liked = TextRecommender(Table(VECTORS), "profile", "liked", center=False).fit(model.train_)
    np.testing.assert_allclose(liked.score_indices([0]), [[half, -half, -half, -0.2 * half, 0]], atol=1e-6)


def test_a_centered_profile_by_hand():
    # Met are east and north, their mean is (0.5, 0.5): both of them lie across from what is taken off.
    data = shop({"me": {"a": 5}, "you": {"b": 5}}, COMPASS)
    scores = TextRecommender(Table(VECTORS), "profile").fit(data).score_indices([0])[0]
    west, northeast = np.array([-1.5, -0.5]), np.array([0.1, 0.3])
    toward = np.array([1, -1]) / 2**0.5
    expected = [1, -1, west @ toward / np.hypot(*west), northeast @ toward / np.hypot(*northeast), 0]
    np.testing.assert_allclose(scores, expected, atol=1e-6)


@pytest.mark.parametrize("ratings", [(5, 4, 4), (3, 3, 3)])
def test_likes_and_dislikes_of_one_text_cancel_out(ratings):
    texts = {"a": "northeast", "b": "northeast", "c": "northeast", "d": "east"}
    data = shop({"me": dict(zip("abc", ratings, strict=True))}, texts)
    assert not TextRecommender(Table(VECTORS), "profile", "liked", center=False).fit(data).score_indices([0]).any()


class Hashed:
    """Random vectors of length d, the same for the same text."""

    def __init__(self, d: int) -> None:
        self.d = d

    def encode(self, texts):
        rows = [np.random.default_rng(list(text.encode())).normal(0.3, 1, self.d) for text in texts]
        return unit_rows(np.reshape(rows, (len(texts), self.d))).astype(np.float32)


@pytest.mark.parametrize("d", [3, 200])  # fewer and more numbers than items
@pytest.mark.parametrize("weights", ["binary", "liked"])
def test_ridge_equals_scikit_learns_on_the_items_somebody_met(crowd, d, weights):
    model = TextRecommender(Hashed(d), "ridge", weights, l2=2.0).fit(crowd)
    vectors, ratings = Hashed(d).encode(crowd.items["text"].tolist()), crowd.matrix("rating").toarray()
    met = ratings.any(0)
    assert (~met).any()
    mean = ratings.sum(1) / (ratings > 0).sum(1)
    targets = (ratings > 0) * (1 if weights == "binary" else ratings - mean[:, None])
    theirs = Ridge(alpha=2.0).fit(vectors[met], targets[:, met].T)
    np.testing.assert_allclose(model.score_indices(range(60)), theirs.predict(vectors).T, atol=1e-5)
    new = ["a text nobody has seen", "another"]
    np.testing.assert_allclose(model.score_items(new), theirs.predict(Hashed(d).encode(new)).T, atol=1e-5)


def test_on_the_same_words_the_profile_is_chapter_2s(crowd):
    ours = TextRecommender(TfidfEncoder(), "profile", center=False).fit(crowd)
    theirs = ContentBased().fit(crowd)
    np.testing.assert_allclose(ours.score_indices(range(60)), theirs.score_indices(range(60)), atol=1e-5)
    np.testing.assert_allclose(ours.score_items(["Film 3", "no"]), theirs.score_items(["Film 3", "no"]), atol=1e-5)
    np.testing.assert_allclose(ours.score_request("film 3"), theirs.score_request("film 3"), atol=1e-6)


# ---- new users, new items, requests ----


@pytest.mark.parametrize(
    "settings", [{"head": h, "weights": w} for h in ("ridge", "profile") for w in ("binary", "liked")]
)
def test_a_new_user_and_a_new_item_score_as_if_they_had_been_there(club, history_of, settings):
    model = TextRecommender(TfidfEncoder(), **settings).fit(club)
    assert isinstance(model, Recommender)
    everyone = model.score_indices(range(club.n_users))
    assert everyone.shape == (12, 9)
    assert everyone.dtype == np.float32
    folded = model.score_new([history_of(club, user) for user in range(club.n_users)])
    np.testing.assert_allclose(folded, everyone, atol=1e-5)
    np.testing.assert_allclose(model.score_items(club.items["text"].tolist()), everyone, atol=1e-5)
    assert model.score_new([]).shape == (0, 9)
    assert model.score_items([]).shape == (12, 0)
    assert np.ptp(model.score_new([[]])[0]) == 0  # nothing is known of the user: no item is better


def test_an_empty_text_is_neither_liked_nor_disliked():
    data = shop({"me": {"a": 5, "c": 5, "e": 1}, "you": {"b": 1}}, COMPASS)
    for head in ("ridge", "profile"):
        model = TextRecommender(Table(VECTORS), head).fit(data)
        scores = model.score_items(["", "  ", "east"])
        assert (scores[:, 0] == scores[:, 1]).all()
        assert (scores[:, 0] != scores[:, 2]).all()
        np.testing.assert_allclose(scores[:, 0], model.score_indices([0, 1])[:, 4])


def test_a_request_finds_the_nearest_items():
    table = Table(VECTORS | {"to the north, please": [0, 2]})
    model = TextRecommender(table).fit(shop({"me": {"a": 5}}, COMPASS))
    scores = model.score_request("to the north, please")
    np.testing.assert_allclose(scores, [0, 1, 0, 0.8, 0], atol=1e-6)
    assert scores.dtype == np.float32


def test_the_catalogue_is_read_once():
    table = Table(VECTORS)
    model = TextRecommender(table).fit(shop({"me": {"a": 5}, "you": {"b": 2}}, COMPASS))
    model.score_indices([0, 1])
    model.score_new([[("b", 5.0)]])
    assert table.asked == 1


# ---- encoders ----


def test_joined_vectors_have_the_mean_of_the_cosines():
    texts = ["red sea", "red sky", "old film"]
    first, second = TfidfEncoder().fit(texts), Hashed(7)
    joined = ConcatEncoder([TfidfEncoder(), second]).fit(texts).encode(texts)
    parts = [e.encode(texts) @ e.encode(texts).T for e in (first, second)]
    np.testing.assert_allclose(joined @ joined.T, sum(parts) / 2, atol=1e-6)


def test_one_encoder_in_two_recommenders_keeps_its_words_apart():
    shared = ConcatEncoder([TfidfEncoder()])
    colors = shop({"me": {"a": 1}, "you": {"b": 1}}, {"a": "red", "b": "blue", "c": "green"})
    first = TextRecommender(shared).fit(colors)
    before = first.score_items(["red"])
    assert before[0] > before[1]
    TextRecommender(shared).fit(shop({"me": {"a": 1}}, {"a": "something else", "b": "altogether"}))
    np.testing.assert_array_equal(first.score_items(["red"]), before)


# ---- what is wrong ----


def test_bad_settings_and_input_are_named():
    for settings, message in (
        ({"head": "tail"}, "tail"),
        ({"weights": "loved"}, "loved"),
        ({"l2": 0}, "l2.*0"),
    ):
        with pytest.raises(SettingError, match=message):
            TextRecommender(**settings)
    with pytest.raises(TypeError, match="minilm"):
        TextRecommender("minilm")
    with pytest.raises(SettingError):
        ConcatEncoder([])
    with pytest.raises(SettingError):
        TextRecommender(Table(VECTORS)).fit(shop({"me": {"a": 1}}, {"a": "", "b": " "}))
    with pytest.raises(NotFittedError):
        TextRecommender().score_request("red")
    model = TextRecommender(Table(VECTORS)).fit(shop({"me": {"a": 5}}, COMPASS))
    with pytest.raises(SettingError, match="request"):
        model.score_request(" ")


# ---- the real thing ----


@pytest.mark.data
def test_minilm_finds_new_films_and_understands_a_request(movielens):
    train, test = splits.cold_items(movielens, 0.2, seed=0)
    new = np.unique(test.item_index)
    text, words = (
        evaluate(model.fit(train), train, test, candidates=new).mean["ndcg"]
        for model in (TextRecommender(), TextRecommender(TfidfEncoder()))
    )
    assert text > 0.34
    assert 0.29 < words < text
    model = TextRecommender().fit(train)
    best = np.argsort(-model.score_request("I would like some science fiction"))[:10]
    assert movielens.items["genres"].iloc[best].str.contains("Sci-Fi").sum() >= 8

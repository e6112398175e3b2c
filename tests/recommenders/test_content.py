"""Cosine similarity, TF-IDF and profiles, by hand and beside scikit-learn."""

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from sklearn.feature_extraction.text import TfidfVectorizer as SklearnTfidf
from sklearn.metrics.pairwise import cosine_similarity as sklearn_cosine

from llmrec_lite import Dataset
from llmrec_lite.errors import SettingError
from llmrec_lite.recommenders.content import ContentBased, TfidfVectorizer, cosine_similarity, unit_rows
from llmrec_lite.text import tokenize

# ---- cosine ----


def test_the_worked_example_of_the_article():
    users, items = np.array([[1, 2, 3], [2, 3, 4]]), np.array([[4, 5, 6], [5, 6, 7]])
    expected = [[0.9746, 0.9683], [0.9946, 0.9915]]
    np.testing.assert_allclose(cosine_similarity(users, items), expected, atol=5e-5)


VALUES = st.floats(-1e3, 1e3).map(lambda v: round(v, 2))


@given(st.data(), st.integers(1, 4), st.integers(1, 4), st.integers(1, 5))
def test_cosine_equals_scikit_learns(data, n, m, d):
    x, y = (data.draw(arrays(float, (rows, d), elements=VALUES)) for rows in (n, m))
    ours = cosine_similarity(x, y)
    np.testing.assert_allclose(ours, sklearn_cosine(x, y), atol=1e-12)


def test_cosine_of_single_vectors_drops_their_axes():
    assert cosine_similarity([3, 4], [3, 4]).shape == ()
    assert cosine_similarity([3, 4], [3, 4]) == pytest.approx(1)
    assert cosine_similarity([1, 0], [-2, 0]) == pytest.approx(-1)
    assert cosine_similarity([1, 0], [[0, 9], [1, 0]]).tolist() == [0, 1]
    assert cosine_similarity([[0, 9], [1, 0]], [1, 0]).tolist() == [0, 1]


def test_a_zero_vector_is_similar_to_nothing():
    assert cosine_similarity([0, 0], [[0, 0], [1, 2]]).tolist() == [0, 0]
    assert unit_rows(np.array([[0.0, 0.0], [3.0, 4.0]])).tolist() == [[0, 0], [0.6, 0.8]]


def test_cosine_rejects_vectors_of_different_lengths():
    with pytest.raises(SettingError, match=r"3 .*2"):
        cosine_similarity([1, 2, 3], [1, 2])


# ---- TF-IDF ----

TEXTS = ["The Postman Always Rings Twice", "Always, always! 12 postmen's_ways", "", "twice the THE the", "Amélie été"]


def same_as_scikit_learn(texts, new, **settings):
    ours, theirs = TfidfVectorizer(**settings), SklearnTfidf(token_pattern=r"(?u)\w+", **settings)
    np.testing.assert_allclose(ours.fit_transform(texts).toarray(), theirs.fit_transform(texts).toarray(), atol=1e-12)
    assert ours.vocabulary_ == theirs.vocabulary_
    np.testing.assert_allclose(ours.idf_, theirs.idf_)
    np.testing.assert_allclose(ours.transform(new).toarray(), theirs.transform(new).toarray(), atol=1e-12)


@pytest.mark.parametrize("settings", [{}, {"min_df": 2}, {"stop_words": ["the", "always"]}])
def test_tfidf_equals_scikit_learns(settings):
    same_as_scikit_learn(TEXTS, ["postman twice twice", "nothing known", ""], **settings)


@given(st.lists(st.text("ab 9_é-É", max_size=12), min_size=1, max_size=6))
def test_tfidf_equals_scikit_learns_on_any_text(texts):
    same_as_scikit_learn(["a", *texts], texts[::-1])


@given(st.lists(st.text(max_size=12), min_size=1, max_size=5))
def test_tfidf_equals_scikit_learns_with_our_words_of_any_script(texts):
    texts = ["word", *texts]
    theirs = SklearnTfidf(analyzer=tokenize).fit_transform(texts).toarray()
    np.testing.assert_allclose(TfidfVectorizer().fit_transform(texts).toarray(), theirs, atol=1e-12)


def test_tfidf_by_hand():
    rows = TfidfVectorizer().fit_transform(["red red car", "blue car"]).toarray()  # columns blue, car, red
    rare = np.log(3 / 2) + 1
    np.testing.assert_allclose(rows[0], np.array([0, 1, 2 * rare]) / np.hypot(1, 2 * rare))
    np.testing.assert_allclose(rows[1], np.array([rare, 1, 0]) / np.hypot(1, rare))


def test_a_text_without_known_words_is_a_row_of_zeros_and_no_text_no_row():
    vectorizer = TfidfVectorizer().fit(["red car"])
    assert vectorizer.transform(["sky", "", "car"]).toarray().tolist() == [[0, 0], [0, 0], [1, 0]]
    assert vectorizer.transform([]).shape == (0, 2)


def test_tfidf_says_what_is_wrong():
    with pytest.raises(SettingError, match="0"):
        TfidfVectorizer(min_df=0)
    with pytest.raises(SettingError, match="2"):
        TfidfVectorizer(min_df=2).fit(["red", "blue"])


# ---- profiles ----


def shop(ratings: dict[str, float], titles: dict[str, str]) -> Dataset:
    log = pd.DataFrame({"user_id": "me", "item_id": list(ratings), "rating": list(ratings.values())})
    items = pd.DataFrame({"item_id": list(titles), "text": list(titles.values()), "title": list(titles)})
    return Dataset.from_frames(log, items)


WORDS = {"a": "red", "b": "blue", "c": "green", "d": "red blue", "e": ""}


def test_a_binary_profile_by_hand():
    # "red" and "blue" are equally rare and so is their sum: the profile points at "d", halfway at "a" and "b".
    scores = ContentBased().fit(shop({"a": 5, "b": 1}, WORDS)).score_indices([0])[0]
    np.testing.assert_allclose(scores, [0.5**0.5, 0.5**0.5, 0, 1, 0], atol=1e-6)


def test_a_liked_profile_by_hand():
    # The mean is 3: weights 2, -1, -1, so the profile is (2, -1, -1) / sqrt(6) over red, blue, green rows.
    scores = ContentBased("liked").fit(shop({"a": 5, "b": 2, "c": 2}, WORDS)).score_indices([0])[0]
    np.testing.assert_allclose(scores * 6**0.5, [2, -1, -1, 0.5**0.5, 0], atol=1e-5)


@pytest.mark.parametrize("rating", [3.0, 0.1])
def test_equal_ratings_say_nothing_about_what_is_liked(rating):
    scores = ContentBased("liked").fit(shop(dict.fromkeys("abc", rating), WORDS)).score_indices([0])
    assert not scores.any()


@pytest.mark.parametrize("ratings", [(5, 4, 4), (5, 3, 3), (1, 2, 2)])
def test_likes_and_dislikes_of_one_text_cancel_out(ratings):
    twins = {"a": "red car", "b": "red car", "c": "red car", "d": "red sky"}
    scores = ContentBased("liked").fit(shop(dict(zip("abc", ratings, strict=True)), twins)).score_indices([0])
    assert not scores.any()  # and not rounding errors blown up to a profile


def test_new_users_items_and_requests_are_cosines():
    model = ContentBased("liked").fit(shop({"a": 5, "b": 1}, WORDS))
    np.testing.assert_allclose(model.score_new([[("a", 5.0), ("b", 1.0)]]), model.score_indices([0]))
    np.testing.assert_allclose(model.score_items(["red", "blue blue", "pink", ""]), [[0.5**0.5, -(0.5**0.5), 0, 0]])
    assert model.score_items([]).shape == (1, 0)
    request = model.score_request("Something RED, please")
    np.testing.assert_allclose(request, [1, 0, 0, 0.5**0.5, 0], atol=1e-6)
    assert request.dtype == np.float32


def test_stop_words_and_rare_words_can_be_left_out():
    titles = {"a": "the red", "b": "the blue", "c": "red"}
    default = ContentBased().fit(shop({"a": 1}, titles))
    assert default.vectorizer_.vocabulary_ == {"blue": 0, "red": 1}
    everything = ContentBased(stop_words=()).fit(shop({"a": 1}, titles))
    assert "the" in everything.vectorizer_.vocabulary_
    assert ContentBased(min_df=2).fit(shop({"a": 1}, titles)).vectorizer_.vocabulary_ == {"red": 0}


def test_content_says_what_is_wrong():
    with pytest.raises(SettingError, match="loved"):
        ContentBased("loved")
    with pytest.raises(SettingError):
        ContentBased().fit(shop({"a": 1}, {"a": "", "b": ""}))

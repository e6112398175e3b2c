"""Ranking of the next interactions: episodes, the ridge over them, attention to users, and the three together."""

import numpy as np
import pandas as pd
import pytest
import torch
from sklearn.linear_model import Ridge

from llmrec_lite.data import Dataset
from llmrec_lite.errors import SettingError
from llmrec_lite.meta.user_attention import (
    ColdStartRanker,
    EpisodeRidge,
    UserAttention,
    as_many_as_fit,
    fit_autoencoders,
    split_histories,
)
from llmrec_lite.recommenders import DenoisingAutoencoder


def clans(n=90, seed=0, items=30):
    """Three clans of users, each with films of its own; a few choices are anybody's."""
    rng = np.random.default_rng(seed)
    rows = []
    for user in range(n):
        own = rng.permutation(np.arange(10) + 10 * (user % 3))[:8]
        mine = np.unique(np.append(own, rng.integers(0, items, 2)))
        rows += [(user, int(item), 5.0, t) for t, item in enumerate(rng.permutation(mine))]
    return Dataset.from_frames(pd.DataFrame(rows, columns=["user_id", "item_id", "rating", "timestamp"]))


def halves(data):
    even = data.user_index % 2 == 0
    return (data.with_interactions(data.interactions[rows]) for rows in (even, ~even))


def test_what_was_chosen_first_and_later_by_hand():
    log = pd.DataFrame(
        [(0, 2, 5.0, 30), (0, 0, 1.0, 10), (0, 1, 3.0, 20), (1, 2, 4.0, 5), (2, 0, 4.0, 1), (2, 2, 2.0, 2)],
        columns=["user_id", "item_id", "rating", "timestamp"],
    )
    data = Dataset.from_frames(log, pd.DataFrame({"item_id": [0, 1, 2]}))
    users, support, query = split_histories(data, 1)
    assert users.tolist() == [0, 2]  # the other has nothing left
    assert support.tolist() == [[1, 0, 0], [1, 0, 0]]
    assert query.tolist() == [[0, 1, 1], [0, 0, 1]]
    assert split_histories(data, 1, min_query=2)[0].tolist() == [0]
    users, support, query = split_histories(data, 0)
    assert users.tolist() == [0, 1, 2]
    assert not support.any()
    assert query.sum() == 6


def test_any_choices_are_drawn_for_each_user():
    data = clans()
    (users, first, _), (_, any_, query) = split_histories(data, 3), split_histories(data, 3, "random")
    assert (first != any_).any()
    assert (any_.sum(1) == 3).all()
    np.testing.assert_array_equal(any_ + query, data.matrix().toarray()[users])
    np.testing.assert_array_equal(split_histories(data, 3, "random")[1], any_)
    assert (split_histories(data, 3, "random", seed=1)[1] != any_).any()


def test_ridge_over_episodes_is_that_of_scikit_learn():
    rng = np.random.default_rng(0)
    support, query, new = ((rng.random((n, 7)) < 0.4).astype(np.float32) for n in (12, 12, 3))
    mean = query.mean(0)
    wanted = mean + Ridge(2.0, fit_intercept=False).fit(support, query - mean).predict(new)
    np.testing.assert_allclose(EpisodeRidge(2.0).fit(support, query).predict(new), wanted, atol=1e-5)
    np.testing.assert_allclose(EpisodeRidge(2.0).fit(support, query).predict(np.zeros((1, 7))), [mean], atol=1e-6)
    with pytest.raises(SettingError, match="0"):
        EpisodeRidge(0)


def test_signals_by_hand():
    support = np.array([[1, 0, 0, 0], [0, 1, 0, 0]], np.float32)
    query = np.array([[0, 1, 0, 0], [0, 0, 1, 1]], np.float32)
    attention = UserAttention(steps=1).fit(support, query)
    log_2 = np.log(2)
    # Chosen in all: films 0 and 1 by the first, 1, 2 and 3 by the second; counts 1, 2, 1, 1 of two people.
    rarity = np.log(2 / (1 + np.array([1, 2, 1, 1])))
    new = np.array([[1, 1, 0, 0]], np.float32)
    first, second = attention.similarity_features(new)[0]
    np.testing.assert_allclose(first, [np.log(3), 1, (rarity[0] + rarity[1]) / 2, 0.5, log_2, 0], rtol=1e-5)
    np.testing.assert_allclose(second, [log_2, 0.5, rarity[1] / 2, 0.5, np.log(3), 0], rtol=1e-5)
    assert len(UserAttention.signals) == 6


def test_the_prediction_is_the_attended_mean_and_attention_sums_to_one():
    data = clans()
    _, support, query = split_histories(data, 3)
    attention = UserAttention(steps=5).fit(support, query)
    a = attention.attention(support[:4])
    np.testing.assert_allclose(a.sum(1), 1, rtol=1e-5)
    np.testing.assert_allclose(attention.predict(support[:4]), a @ query, rtol=1e-5)
    alone = attention.attention(support[:4], np.array([0, -1, 2, 3]))
    assert alone[[0, 2, 3], [0, 2, 3]].tolist() == [0, 0, 0]
    np.testing.assert_allclose(alone[1], a[1], rtol=1e-5)
    np.testing.assert_allclose(alone.sum(1), 1, rtol=1e-5)


def test_attention_learns_to_look_at_the_clan():
    train, test = halves(clans(180))
    users, support, query = split_histories(train, 3)
    attention = UserAttention().fit(support, query)
    assert attention.losses_[-1] < attention.losses_[0]
    people, new_support, new_query = split_histories(test, 3)
    a = attention.attention(new_support)
    of_clan = np.array([[u % 3 == v % 3 for v in users] for u in people])
    assert (a * of_clan).sum(1).mean() > 0.8
    popular = np.tile(query.mean(0), (len(new_support), 1))
    errors = [np.square(scores - new_query).sum() for scores in (popular, attention.predict(new_support))]
    assert errors[1] < 0.9 * errors[0]


def test_the_first_loss_leaves_out_each_user_themselves():
    _, support, query = split_histories(clans(12), 2)
    attention = UserAttention(steps=1, popular=30)
    attention.fit(support, query)
    start = torch.tensor([1.0, 0, 0, 0, -0.5, 0])
    scores = torch.from_numpy(attention.similarity_features(support)) @ start
    scores.fill_diagonal_(-torch.inf)
    predicted = torch.softmax(scores, 1).numpy() @ query
    wanted = (np.square(predicted - query) * (support == 0)).sum(1).mean()
    assert attention.losses_[0] == pytest.approx(wanted, rel=1e-4)


def test_texts_tell_people_apart_where_little_is_shared():
    rng = np.random.default_rng(0)
    kinds = np.arange(120) // 40  # three kinds of 40 films, each person chooses six of one kind
    rows = [(user, int(item), 5.0) for user in range(60) for item in 40 * (user % 3) + rng.permutation(40)[:6]]
    data = Dataset.from_frames(
        pd.DataFrame(rows, columns=["user_id", "item_id", "rating"]), pd.DataFrame({"item_id": range(120)})
    )
    vectors = np.eye(3)[kinds] + 0.1 * rng.normal(size=(120, 3)) + 5  # all texts have most in common
    _, support, query = split_histories(data, 1)
    with_text, without = (UserAttention().fit(support, query, v) for v in (vectors, None))
    assert with_text.losses_[-1] < 0.95 * without.losses_[-1]
    assert with_text.weights_[5] > 0


def test_three_together_are_better_than_popularity_and_leave_oneself_out():
    train, remaining = halves(clans(240))
    even = remaining.user_index % 4 == 1
    valid, test = (remaining.with_interactions(remaining.interactions[rows]) for rows in (even, ~even))
    autoencoders = [DenoisingAutoencoder(0.5, 5.0).fit(train), DenoisingAutoencoder(0.5, 50.0).fit(train)]
    model = ColdStartRanker(3).fit(train, valid, autoencoders)
    _, support, query = split_histories(test, 3)
    top = np.argsort(-np.where(support > 0, -np.inf, model.predict(support)), 1)[:, :5]
    popular = np.argsort(-np.where(support > 0, -np.inf, query.mean(0)), 1)[:, :5]
    hits = [np.take_along_axis(query, lists, 1).mean() for lists in (top, popular)]
    assert hits[0] > 1.5 * hits[1]
    parts = model.parts(support)
    np.testing.assert_allclose(model.predict(support), sum(w * p for w, p in zip(model.weights_, parts, strict=True)))
    # A user of train: their own query must not be read off their own row.
    users, known_support, _ = split_histories(train, 3)
    aside = model.attention_.attention(known_support[:3], np.arange(3))
    np.testing.assert_allclose(model.parts(known_support[:3], users[:3])[0], aside @ model.attention_.query_, rtol=1e-5)
    strangers = np.array([10**6, 10**6 + 1, 10**6 + 2])
    np.testing.assert_allclose(
        model.parts(known_support[:3], strangers)[0], model.parts(known_support[:3])[0], rtol=1e-5
    )


def test_weights_are_the_least_squares_unless_another_is_clearly_better():
    train, valid = halves(clans(120))
    noise = DenoisingAutoencoder(0.5, 5.0).fit(train)
    noise.weights_ = np.zeros_like(noise.weights_)  # adds nothing, whatever its share
    model = ColdStartRanker(3).fit(train, valid, [noise])
    _, known_support, known_query = split_histories(valid, 3)
    candidates = known_support == 0
    x = np.stack([part[candidates] for part in model.parts(known_support)[:2]], 1)
    wanted = np.linalg.lstsq(x, known_query[candidates], rcond=None)[0]
    left = [np.square(x @ w - known_query[candidates]).sum() for w in (wanted, model.weights_[:2])]
    assert left[1] == pytest.approx(left[0], rel=0.01)
    assert model.weights_[2] == pytest.approx(0)  # no other share is clearly better


@pytest.mark.parametrize("options", [{"steps": 0}, {"episodes": 0}, {"popular": -1}])
def test_bad_settings(options):
    with pytest.raises(SettingError, match=next(iter(options))):
        UserAttention(**options)


def test_too_little_is_said():
    with pytest.raises(SettingError, match="shots=0"):
        ColdStartRanker(0)
    train, valid = halves(clans(6))
    with pytest.raises(SettingError, match="50"):
        ColdStartRanker(50).fit(train, valid, [DenoisingAutoencoder().fit(train)])


def test_no_more_users_are_held_than_fit(monkeypatch):
    log = pd.DataFrame({"user_id": np.repeat(range(20), 3), "item_id": np.tile(range(6), 10)})
    data = Dataset.from_frames(log)
    assert as_many_as_fit(data) is data
    monkeypatch.setattr("llmrec_lite.meta.user_attention.MAX_DENSE_CELLS", 42)
    some = as_many_as_fit(data)
    assert len(np.unique(some.user_index)) == 7
    assert len(some) == 21
    assert some.n_users == data.n_users
    monkeypatch.setattr("llmrec_lite.meta.user_attention.MAX_USERS", 5)
    assert len(np.unique(as_many_as_fit(data).user_index)) == 5


def test_where_pairs_of_items_do_not_fit_the_ridge_is_the_same_and_autoencoders_are_of_low_rank(monkeypatch):
    rng = np.random.default_rng(0)
    support, query = ((rng.random((9, 12)) < 0.4).astype(np.float32) for _ in range(2))
    log = pd.DataFrame(np.argwhere(support), columns=["user_id", "item_id"])
    data = Dataset.from_frames(log, pd.DataFrame({"item_id": range(12)}))
    whole = EpisodeRidge(2.0).fit(support, query).predict(support)
    settings = [(0.5, 2.0), (0.3, 5.0)]
    dense = [one.score_indices([0, 1]) for one in fit_autoencoders(data, settings)]
    monkeypatch.setattr("llmrec_lite.meta.user_attention.MAX_DENSE_CELLS", 1)
    ridge = EpisodeRidge(2.0).fit(support, query)
    assert max(one.size for one in ridge.weights_) < 12 * 12
    np.testing.assert_allclose(ridge.predict(support), whole, atol=1e-5)
    low = fit_autoencoders(data, settings)
    assert all(one.rank is not None for one in low)
    for one, expected in zip(low, dense, strict=True):
        np.testing.assert_allclose(one.score_indices([0, 1]), expected, atol=1e-5)

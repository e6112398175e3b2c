"""People of whom little is known: weights K by K, by hand and on the made-up world."""

import copy
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from scipy import sparse

from llmrec_lite import Dataset
from llmrec_lite.llma import LLMA
from llmrec_lite.llma.cold_start import ColdStartFusion, _later_interactions
from llmrec_lite.llma.explain import contributions, leave_one_out, reasons
from llmrec_lite.llma.weights import Gate
from llmrec_lite.meta.tasks import SHOTS


def choices(world, *items):
    row = np.zeros((1, world.n_items), np.float32)
    row[0, list(items)] = 1
    return sparse.csr_array(row)


def test_later_interactions_by_hand():
    rows = [("a", 0, 3), ("a", 1, 1), ("a", 2, 2), ("b", 0, 1), ("b", 2, 2)]
    log = pd.DataFrame(rows, columns=["user_id", "item_id", "timestamp"])
    data = Dataset.from_frames(log, pd.DataFrame({"item_id": range(3)}))
    assert _later_interactions(data, 0, "time").tolist() == [2, 1, 2]
    assert _later_interactions(data, 1, "time").tolist() == [1, 0, 2]  # without 1 of a, and 0 of b
    assert _later_interactions(data, 2, "time").tolist() == [1, 0, 0]
    expected = [2 / 3 + 1 / 2, 2 / 3, 2 / 3 + 1 / 2]  # the share of a person's choices that are later ones
    np.testing.assert_allclose(_later_interactions(data, 1, "random"), expected)
    assert _later_interactions(data, 9, "random").tolist() == [0, 0, 0]


def test_weights_are_learned_from_two_draws_and_their_neighbors(fitted):
    fusion = fitted.cold_start_
    assert list(fusion.weights_) == list(SHOTS[1:])
    for k, weights in fusion.weights_.items():
        assert sum(weights.values()) == pytest.approx(1)
        assert {"popularity", "user attention"} <= set(weights)
        assert len(fusion.splits_[k]) == 2
    assert [len(fusion.splits_near(k)) for k in SHOTS[1:]] == [4, 6, 6, 6, 4]


def test_people_set_aside_differ_and_are_not_learned_from(world):
    fusion = ColdStartFusion(seed=3)
    divided = [fusion.hold_out(world, draw) for draw in (0, 1)]
    for learn, aside in divided:
        assert not set(learn.user_index) & set(aside.user_index)
        assert len(set(aside.user_index)) == 30
    assert set(divided[0][1].user_index) != set(divided[1][1].user_index)


def test_in_the_end_everybody_is_attended_to(fitted, world):
    assert set(fitted.cold_start_.states_) >= {1, 3, 5}
    for k in fitted.cold_start_.states_:
        ones = fitted.cold_start_.rankers(k)
        assert len(ones) == 2
        for one in ones:
            assert len(one.users_) == (np.diff(world.matrix().indptr) > k).sum()


def test_where_a_part_is_missing_in_one_lot_it_takes_no_part(fitted):
    other = ColdStartFusion()
    other.splits_ = dict(fitted.cold_start_.splits_)
    poor = other.splits_[3][0]
    without = {name: values for name, values in poor.parts.items() if name != "user attention"}
    other.splits_[3] = [replace(poor, parts=without), other.splits_[3][1]]
    assert all("user attention" not in held.parts for k in (1, 3, 5) for held in other.splits_near(k))
    assert all("user attention" in held.parts for held in other.splits_near(10))


def test_nothing_known_is_popularity(fitted, world):
    scores = fitted.cold_start_.score_matrix(sparse.csr_array((2, world.n_items)), fitted.parts_)
    np.testing.assert_array_equal(scores, np.tile(fitted.n_interactions_, (2, 1)))


def test_no_user_attends_to_itself(fitted, world):
    """Somebody who is in the data with later choices of a rare item would recommend it to attending."""
    user = 7
    first = [int(i) for i in world.sequences()[user][:3]]
    given = choices(world, *first)
    own = [int(i) for i in world.sequences()[user][3:]]
    attending, excluded = (
        fitted.cold_start_.score_matrix(given, fitted.parts_, who)[0] for who in (None, np.array([user]))
    )
    assert (attending - excluded)[own].mean() > 0


def test_what_was_learned_comes_back(fitted, world):
    fusion = fitted.cold_start_
    again = ColdStartFusion(fusion.order, fusion.max_users, fusion.seed).set_state(
        world, fusion.get_state(), fitted.knowledge_.text_vectors
    )
    given = choices(world, 1, 25, 50)
    scores = [one.score_matrix(given, fitted.parts_) for one in (fusion, again)]
    np.testing.assert_allclose(*scores, atol=1e-5)


def test_shares_add_up_to_the_fused_score(world, reads_kinds, small):
    """Equation (19.4), with z-scores over what was not met, and the weights of each item under the gate."""
    log = world.interactions
    rare = log["item_id"] == 3
    some = world.with_interactions(log[~rare | (rare.cumsum() <= 2)])
    model = LLMA(replace(small, parts=("autoencoder", "text")), encoder=reads_kinds()).fit(some)
    user = some.users_to_index(["u9"])
    met = some.matrix()[user].indices
    unmet = np.setdiff1d(np.arange(84), met)
    shares = contributions(model, unmet, met)
    weights = model.fused_.gate_.weights(np.array([[len(met)]]), model.n_interactions_[unmet])
    fused = model.fused_.score_indices(user)[0, unmet]
    expected = np.zeros(len(unmet))
    for name, part in model.fused_.parts_.items():
        scores, weight = part.score_indices(user)[0, unmet], np.ravel(weights[name])
        expected += weight * (scores - scores.mean()) / scores.std()
        # The ridge has a constant besides, the same for all items.
        constant = (scores / scores.std() - shares[name].sum(1) / np.maximum(weight, 1e-9))[weight > 0]
        np.testing.assert_allclose(constant, constant[0], atol=1e-3)
        assert name == "text" or abs(constant[0]) < 1e-3
    np.testing.assert_allclose(fused, expected, atol=1e-3)
    assert not shares["autoencoder"][unmet >= 80].any()  # what nobody has met is up to the text


def test_a_cold_start_reason_is_what_the_score_falls_without(fitted, world):
    met, items = np.array([1, 2, 45]), np.array([5, 50])  # two of space and one of war; one item of each
    shares = leave_one_out(fitted, items, met)
    assert shares.shape == (2, 3)
    np.testing.assert_allclose(shares.sum(1), 0, atol=1e-5)
    assert shares[0].argmax() in (0, 1)
    assert shares[1].argmax() == 2
    without = fitted.cold_start_.score_matrix(choices(world, 1, 2), fitted.parts_)[0, items]
    others = [
        fitted.cold_start_.score_matrix(choices(world, *pair), fitted.parts_)[0, items] for pair in ((2, 45), (1, 45))
    ]
    np.testing.assert_allclose(shares[:, 2], np.mean([without, *others], 0) - without, atol=1e-5)
    told = reasons(fitted, items, met, cold=True)
    assert "A war film, no. 45" in told[1]
    assert "A space film, no. 1" in reasons(fitted, items[:1], met[:1], cold=True)[0]


def test_where_cold_start_get_popularity_the_reason_says_so(world, fitted):
    poor = copy.copy(fitted)
    poor.cold_start_ = copy.copy(fitted.cold_start_)
    poor.cold_start_.weights_ = {}
    told = poor.recommend_for(history=[(1, 5.0)], k=3)["reason"]
    assert told.str.fullmatch(r"\d+ users chose it\.").all()


@pytest.mark.parametrize("name", ["factors", "autoencoder", "text"])
def test_contributions_of_each_part_add_up_to_its_own_score(fitted, world, name):
    """With all weight on one part, whatever weight was learned for it."""
    model, fused = copy.copy(fitted), copy.copy(fitted.fused_)
    fused.gate_ = Gate({part: float(part == name) for part in fitted.parts_})
    model.fused_ = fused
    user = world.users_to_index(["u9"])
    seen = world.matrix()[user].indices
    unseen = np.setdiff1d(np.arange(84), seen)
    shares = contributions(model, unseen, seen)
    scores = fitted.parts_[name].score_matrix(world.matrix()[user])[0, unseen]
    constant = scores / scores.std() - shares[name].sum(1)
    np.testing.assert_allclose(constant, constant[0], atol=1e-3)
    if name != "text":  # the ridge has a constant, the same for all items
        np.testing.assert_allclose(constant, 0, atol=1e-3)
    assert np.abs(shares[name]).max() > 0.01
    assert all(not shares[other].any() for other in shares if other != name)


@pytest.mark.parametrize("kind", range(4))
def test_one_known_choice_is_no_popularity(fitted, kind):
    scores = fitted.score_new([[(kind * 20 + 1, 5.0)]])[0]
    assert not np.allclose(scores, fitted.n_interactions_)
    best = np.argsort(-scores)[:5]
    assert (best // 20 == kind).mean() > 0.5


def test_of_two_known_items_the_reason_is_the_one_without_which_the_score_falls(fitted):
    seen = np.array([1, 45])  # of space and of war
    for item, named in ((50, "A war film, no. 45"), (5, "A space film, no. 1")):
        shares = leave_one_out(fitted, np.array([item]), seen)[0]
        assert shares.max() > 0 > shares.min()
        (reason,) = reasons(fitted, np.array([item]), seen, cold=True)
        assert named in reason
        assert reason.count("film, no.") == 1


def test_a_reason_names_two_items_at_most(fitted, world):
    user = world.users_to_index(["u2"])
    seen = world.matrix()[user].indices
    unseen = np.setdiff1d(np.arange(84), seen)
    named = [reason.count("film, no.") for reason in reasons(fitted, unseen, seen)]
    assert max(named) == 2

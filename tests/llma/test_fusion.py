"""Fusing scores: by hand, on made-up judges with a known answer, and as a recommender."""

from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from llmrec_lite import Dataset, evaluate, splits
from llmrec_lite.errors import SettingError
from llmrec_lite.llma.fusion import FusedRecommender, fuse, reciprocal_rank_fusion
from llmrec_lite.llma.scales import normalize_scores
from llmrec_lite.llma.weights import Gate, ScoredSplit, learn_gate
from llmrec_lite.recommenders import ALS, BPR, EASE, Popularity, Random
from llmrec_lite.recommenders.base import BaseRecommender

FINITE = arrays(float, (2, 6), elements=st.integers(-20, 20))


def test_the_example_of_the_chapter():
    scores = {"words": np.array([0.6, 0.5, 0.2]), "crowd": np.array([1.0, 3.0, 4.0])}
    fused = fuse(scores, {"words": 0.7, "crowd": 0.3}, "minmax")
    np.testing.assert_allclose(fused, [0.7, 0.725, 0.3], rtol=1e-6)


def test_over_the_union_of_two_lists():
    nan = np.nan
    scores = {"words": np.array([0.8, 0.4, nan, nan]), "crowd": np.array([nan, 5.0, 1.0, nan])}
    fused = fuse(scores, {"words": 0.7, "crowd": 0.3}, "minmax")
    np.testing.assert_allclose(fused, [0.7, 0.3, 0.0, 0.0], rtol=1e-6)


@given(FINITE, FINITE)
def test_a_weight_of_one_is_that_part_alone(first, second):
    fused = fuse({"a": first, "b": second}, {"a": 1.0, "b": 0.0})
    np.testing.assert_allclose(fused, normalize_scores(first), atol=1e-6)


@given(FINITE, FINITE, FINITE)
def test_names_and_order_do_not_matter(first, second, third):
    scores, weights = {"a": first, "b": second, "c": third}, {"a": 0.2, "b": 0.3, "c": 0.5}
    turned = {name: scores[name] for name in ("c", "a", "b")}
    np.testing.assert_allclose(fuse(scores, weights, "rank"), fuse(turned, weights, "rank"), atol=1e-6)


def test_equal_weights_where_none_are_given():
    scores = {"a": np.array([0.0, 1.0]), "b": np.array([3.0, 1.0])}
    assert fuse(scores, normalize="minmax").tolist() == [0.5, 0.5]


def test_weights_may_differ_by_user_and_by_item():
    scores = {"a": np.array([[0.0, 1.0], [0.0, 1.0]]), "b": np.array([[1.0, 0.0], [1.0, 0.0]])}
    by_user = fuse(scores, {"a": np.array([[1.0], [0.0]]), "b": np.array([[0.0], [1.0]])}, "minmax")
    assert by_user.tolist() == [[0, 1], [1, 0]]
    by_item = fuse(scores, {"a": np.array([0.0, 1.0]), "b": np.array([2.0, 0.0])}, "minmax")
    assert by_item.tolist() == [[2, 1], [2, 1]]


@pytest.mark.parametrize(
    ("weights", "message"),
    [
        ({"a": 1.0, "b": -0.1}, "b"),
        ({"a": 1.0}, "b"),
        ({"a": 1.0, "b": np.nan}, "b"),
        ({"a": 1, "c": 1}, "c"),
    ],
)
def test_bad_weights(weights, message):
    scores = {"a": np.zeros(3), "b": np.ones(3)}
    with pytest.raises(SettingError, match=message):
        fuse(scores, weights)
    with pytest.raises(SettingError, match=message):
        reciprocal_rank_fusion(scores, weights)


def test_bad_scores():
    with pytest.raises(SettingError):
        fuse({})
    with pytest.raises(SettingError):
        fuse({"a": np.zeros(3), "b": np.zeros(4)})


def test_reciprocal_ranks_by_hand():
    scores = {"a": np.array([3.0, 2.0, 1.0]), "b": np.array([1.0, 2.0, np.nan])}
    fused = reciprocal_rank_fusion(scores, {"a": 1.0, "b": 2.0}, k=1.0)
    np.testing.assert_allclose(fused, [1 / 2 + 2 / 3, 1 / 3 + 2 / 2, 1 / 4], rtol=1e-6)


def test_reciprocal_ranks_among_some_items():
    scores = {"a": np.array([[9.0, 3.0, 2.0], [1.0, 3.0, 2.0]])}
    fused = reciprocal_rank_fusion(scores, k=1.0, among=np.array([False, True, True]))
    np.testing.assert_allclose(fused, [[0, 1 / 2, 1 / 3], [0, 1 / 2, 1 / 3]], rtol=1e-6)
    with pytest.raises(SettingError, match=r"\+inf"):
        reciprocal_rank_fusion({"a": np.array([np.inf, 1.0])})


def test_too_few_to_learn_from():
    log = pd.DataFrame({"user_id": [0, 0, 1], "item_id": [0, 1, 2]})
    with pytest.raises(SettingError, match=r"3 .*2 .*3"):
        FusedRecommender([Popularity(), Random()]).fit(Dataset.from_frames(log))
    FusedRecommender([Popularity()]).fit(Dataset.from_frames(log))  # nothing to weigh
    FusedRecommender([Popularity()], {"Popularity": 1.0}).fit(Dataset.from_frames(log))


def test_reciprocal_ranks_of_ties_and_of_rows():
    fused = reciprocal_rank_fusion({"a": np.array([[5.0, 5.0], [1.0, 2.0]])}, k=0.5)
    np.testing.assert_allclose(fused, [[0.5, 0.5], [1 / 2.5, 1 / 1.5]], rtol=1e-6)
    with pytest.raises(SettingError, match="-1"):
        reciprocal_rank_fusion({"a": np.zeros(2)}, k=-1)


@given(FINITE)
def test_reciprocal_ranks_keep_the_order_of_one_part(scores):
    fused = reciprocal_rank_fusion({"a": scores})
    for row, original in zip(fused, scores, strict=True):
        assert (np.sign(np.subtract.outer(row, row)) == np.sign(np.subtract.outer(original, original))).all()


# ---- the recommender ----


def test_fixed_weights_are_those_of_fuse(crowd):
    fused = FusedRecommender([EASE(10.0), Popularity()], {"EASE": 0.7, "Popularity": 0.3}, "minmax").fit(crowd)
    unmet = crowd.matrix().toarray() == 0
    parts = {"EASE": EASE(10.0).fit(crowd), "Popularity": Popularity().fit(crowd)}
    users = np.array([5, 2, 5])
    scores = {name: part.score_indices(users) for name, part in parts.items()}
    expected = fuse(scores, {"EASE": 0.7, "Popularity": 0.3}, "minmax", unmet[users])
    np.testing.assert_allclose(fused.score_indices(users), expected, atol=1e-6)


def test_what_was_met_comes_last(crowd):
    scores = FusedRecommender([EASE(10.0), Popularity()]).fit(crowd).score_indices(range(crowd.n_users))
    met = crowd.matrix().toarray() > 0
    for row, seen in zip(scores, met, strict=True):
        assert row[seen].max() <= row[~seen].min() + 1e-5


def test_a_useless_part_gets_no_weight(movielens):
    some = movielens.with_interactions(movielens.interactions.iloc[:30_000])
    model = FusedRecommender({"good": EASE(300.0), "noise": Random()}, draws=1).fit(some)
    assert model.gate_.known["noise"] < 0.02
    assert model.gate_.known["good"] > 0.98


def test_parts_that_know_different_things_are_better_together():
    """People choose the good films of their group: one part knows the groups, the other what is good."""
    rng = np.random.default_rng(0)
    quality = np.tile(np.linspace(1, 12, 20) ** 2, 4)
    rows = []
    for user in range(200):
        share = quality[:20] / quality[:20].sum()
        rows += [(user, int(i)) for i in rng.choice(20, 8, replace=False, p=share) + 20 * (user % 4)]
    log = pd.DataFrame(rows, columns=["user_id", "item_id"])
    data = Dataset.from_frames(log, pd.DataFrame({"item_id": range(80)}), pd.DataFrame({"user_id": range(200)}))
    train, test = splits.random_split(data, 0.3, seed=1)

    class Group(BaseRecommender):
        def _fit(self, train):
            pass

        def _score(self, users):
            return (np.arange(80) // 20 == users[:, None] % 4).astype(float)

    parts = {"group": Group(), "good": Popularity()}
    alone = [evaluate(part.fit(train), train, test).mean["ndcg"] for part in parts.values()]
    together = evaluate(FusedRecommender(parts).fit(train), train, test).mean["ndcg"]
    assert together > max(alone) + 0.1


def test_new_users_get_what_known_users_with_the_same_history_get(crowd):
    model = FusedRecommender([EASE(10.0), ALS(4), Popularity()], gate=True, draws=1).fit(crowd)
    ids = crowd.items["item_id"].to_numpy()
    users = [3, 8]
    histories = [[(ids[i], 1.0) for i in crowd.matrix()[[user]].indices] for user in users]
    np.testing.assert_allclose(model.score_new(histories), model.score_indices(users), atol=2e-3)


def test_parts_that_cannot_meet_new_users_are_named(crowd):
    model = FusedRecommender([EASE(10.0), BPR(4, n_epochs=1)], {"EASE": 1.0, "BPR": 1.0}).fit(crowd)
    with pytest.raises(TypeError, match="BPR"):
        model.score_new([[(0, 1.0)]])


def test_the_given_models_are_not_touched(crowd):
    part = EASE(10.0)
    FusedRecommender([part], {"EASE": 1.0}).fit(crowd)
    assert part.train_ is None


def test_a_gate_gives_cold_start_other_weights(movielens):
    some = movielens.with_interactions(movielens.interactions.iloc[:40_000])
    model = FusedRecommender({"crowd": EASE(200.0), "popular": Popularity()}, gate=True, draws=1).fit(some)
    gate = model.gate_
    assert isinstance(gate, Gate)
    few, many = (gate.weights(np.array([[n]]), np.full(1, 50))["popular"].item() for n in (0, 200))
    assert few > many + 0.1  # with nothing known, popularity is all there is
    assert np.isfinite(model.score_new([[], [(50, 5.0)]])).all()


def test_a_gate_weighs_each_user_and_item_by_what_is_known_of_them(crowd):
    parts = {"EASE": EASE(10.0), "Popularity": Popularity()}
    model = FusedRecommender(parts, {"EASE": 0.5, "Popularity": 0.5}).fit(crowd)
    model.gate_ = Gate(
        {"EASE": 1.0, "Popularity": 0.0}, {"EASE": 0.0, "Popularity": 1.0}, 6.0, {"EASE": 0.2, "Popularity": 0.8}, 3.0
    )
    met = crowd.matrix().toarray() > 0
    share = (6 / (6 + met.sum(1)))[:, None]
    new = 3 / (3 + met.sum(0))
    popular = (1 - new) * share + new * 0.8
    z = {name: normalize_scores(part.fit(crowd).score_indices(range(60)), among=~met) for name, part in parts.items()}
    expected = popular * z["Popularity"] + (1 - popular) * z["EASE"]
    found = model.score_indices(range(60))
    np.testing.assert_allclose(found[~met], expected[~met], atol=1e-5)
    # Here an item that was met could pass one that is left, by its own weights; it must not.
    assert (np.where(met, expected, -9).max(1) > np.where(met, 9, expected).min(1) + 1e-3).any()
    assert (np.where(met, found, -9).max(1) <= np.where(met, 9, found).min(1) + 1e-6).all()


@pytest.mark.parametrize("gate", [False, "users"])
def test_items_that_nobody_has_met_are_in_the_order_of_one_part(crowd, gate):
    unmet = np.arange(20, 30)
    rows = crowd.interactions
    train = crowd.with_interactions(rows[~np.isin(crowd.item_index, unmet)])
    parts = {"crowd": EASE(10.0), "chance": Random(seed=5)}
    model = FusedRecommender(parts, cold_item_model="chance", gate=gate, draws=1).fit(train)
    assert set(model.gate_.new_item) == {"crowd", "chance"}
    scores, alone = model.score_indices([4, 9])[:, unmet], model.parts_["chance"].score_indices([4, 9])[:, unmet]
    np.testing.assert_array_equal(np.argsort(scores), np.argsort(alone))


def test_the_same_seed_gives_the_same_scores(crowd):
    scores = [
        FusedRecommender([EASE(10.0), ALS(4)], seed=3, gate=True).fit(crowd).score_indices([0, 1]) for _ in range(2)
    ]
    np.testing.assert_array_equal(*scores)


def test_batches_do_not_matter(crowd, monkeypatch):
    model = FusedRecommender([EASE(10.0), Popularity()], {"EASE": 1.0, "Popularity": 0.5}).fit(crowd)
    whole = model.score_indices(range(60))
    monkeypatch.setattr("llmrec_lite.llma.fusion.MAX_CELLS", 7 * crowd.n_items)
    np.testing.assert_allclose(model.score_indices(range(60)), whole, atol=1e-6)


def test_bad_settings(crowd):
    with pytest.raises(SettingError):
        FusedRecommender([EASE(), EASE(3.0)])
    with pytest.raises(SettingError):
        FusedRecommender([])
    with pytest.raises(SettingError, match="ALS"):
        FusedRecommender([EASE()], {"ALS": 1.0})
    with pytest.raises(SettingError, match="4"):
        FusedRecommender([EASE()], draws=5)
    with pytest.raises(SettingError, match="weights"):
        FusedRecommender([EASE()], {"EASE": 1.0}, gate=True)
    with pytest.raises(SettingError, match=r"cold_item_model.*'text'"):
        FusedRecommender([EASE()], cold_item_model="text")
    for wrong in ({"weights": {"EASE": 1.0}}, {"gate": True}, {"gate": "items"}):
        with pytest.raises(SettingError, match="cold_item_model"):
            FusedRecommender([EASE()], cold_item_model="EASE", **wrong)


def test_any_recommender_can_be_a_part(crowd):
    class Reversed(BaseRecommender):
        def _fit(self, train):
            self.n = train.n_items

        def _score(self, users):
            return np.tile(-np.arange(self.n, dtype=float), (len(users), 1))

    found = FusedRecommender([Reversed()], {"Reversed": 1.0}).fit(crowd).recommend(["u0"], k=3)
    unmet = np.flatnonzero(crowd.matrix().toarray()[crowd.users_to_index(["u0"])[0]] == 0)
    assert found["item_id"].tolist() == crowd.items["item_id"].to_numpy()[unmet[:3]].tolist()


def test_the_gate_for_cold_users_learns_from_subsampled_users_alone(crowd, monkeypatch):
    learned, held_out = [], []

    def spy_on_gate(known, warm, users, items, *settings):
        learned.extend(users)
        return learn_gate(known, warm, users, items, *settings)

    def spy_on_split(scores, seen, relevant, *rest):
        held_out.append(relevant.sum(axis=1))
        return ScoredSplit.of(scores, seen, relevant, *rest)

    monkeypatch.setattr("llmrec_lite.llma.fusion.learn_gate", spy_on_gate)
    monkeypatch.setattr("llmrec_lite.llma.fusion.ScoredSplit", SimpleNamespace(of=spy_on_split))
    FusedRecommender([EASE(10.0), Popularity()], gate="users", draws=1).fit(crowd)
    assert sum(len(split.n_user) for split in learned) in range(1, crowd.n_users // 4 + 1)
    assert all((n > 0).all() for n in held_out)  # users of whom nothing is held out teach nothing

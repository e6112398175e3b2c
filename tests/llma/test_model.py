"""LLMA: the assembled system on a made-up world whose tastes and texts are known."""

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from scipy import sparse
from sklearn.base import clone
from sklearn.exceptions import NotFittedError

from llmrec_lite import Dataset, UnknownIdError, evaluate, splits
from llmrec_lite.errors import SettingError
from llmrec_lite.interface import Recommender
from llmrec_lite.knowledge.graph import genre_facts
from llmrec_lite.knowledge.sessions import SessionAutoencoder
from llmrec_lite.llma import LLMA, LLMAConfig
from llmrec_lite.llma.config import PARTS, Part
from llmrec_lite.llma.explain import contributions
from llmrec_lite.llma.model import rerank
from llmrec_lite.llma.requests import is_near, request_scores
from llmrec_lite.recommenders import Popularity
from llmrec_lite.recommenders.base import FoldInRecommender
from llmrec_lite.recommenders.content import cosine_similarity

KINDS = ["space", "love", "war", "music"]


def test_it_has_the_one_interface(fitted, world):
    assert isinstance(fitted, Recommender)
    scores = fitted.score_indices([3, 0, 3])
    assert scores.shape == (3, world.n_items)
    assert scores.dtype == np.float32
    np.testing.assert_array_equal(scores[0], scores[2])
    with pytest.raises(NotFittedError):
        LLMA().score_indices([0])


def test_it_is_better_than_popularity(world, reads_kinds, small):
    train, test = splits.random_split(world, 0.25, seed=2)
    model = LLMA(small, encoder=reads_kinds()).fit(train)
    ours, popular = (evaluate(m, train, test).mean["ndcg"] for m in (model, Popularity().fit(train)))
    assert ours > popular + 0.2


def test_the_same_seed_gives_the_same_scores(world, fitted, reads_kinds, small):
    again = LLMA(small, encoder=reads_kinds()).fit(world)
    np.testing.assert_allclose(again.score_indices(range(120)), fitted.score_indices(range(120)), atol=1e-5)


def test_adapting_follows_the_history(fitted):
    for kind in range(4):
        scores = fitted.score_new([[(kind * 20, 5.0), (kind * 20 + 1, 5.0), (kind * 20 + 2, 5.0)]])[0]
        best = np.argsort(-scores)[:5]
        assert (best // 20 == kind).mean() >= 0.8
    np.testing.assert_array_equal(fitted.score_new([[]])[0], fitted.n_interactions_)
    with pytest.raises(UnknownIdError, match="999"):
        fitted.score_new([[(999, 5.0)]])[0]


def test_somebody_known_well_is_served_as_everybody_else(fitted, world):
    user = 7
    met = world.matrix()[[user]].indices
    ids = world.items["item_id"].to_numpy()
    longer = [*met, *(i for i in range(80) if i not in met)][:45]
    history = [(ids[i], 4.0) for i in longer]
    expected = fitted.fused_.score_new([history])[0]
    np.testing.assert_allclose(fitted.score_new([history])[0], expected, atol=1e-5)


def test_a_user_of_whom_little_is_known_is_served_as_a_newcomer(world, reads_kinds, small):
    log = world.interactions
    few = log[(log["user_id"] != "u5") | (log["timestamp"] < 3)]
    model = LLMA(small, encoder=reads_kinds()).fit(world.with_interactions(few))
    user = world.users_to_index(["u5"])
    history = [(item, 5.0) for item in few.loc[few["user_id"] == "u5", "item_id"]]
    np.testing.assert_allclose(model.score_indices(user)[0], model.score_new([history])[0], atol=1e-5)
    assert not np.allclose(model.score_indices(user), model.fused_.score_indices(user))


def test_a_request_and_a_person_are_weighed(fitted, world):
    user = world.users_to_index(["u3"])
    found = fitted.recommend_for("u3", request="war", k=3)
    unseen = world.matrix()[user].toarray()[0] == 0
    wish, own, config = fitted.score_request("war"), fitted.score_indices(user)[0], fitted.config_
    expected = request_scores(wish, own, config.request_share, config.request_items, unseen)
    index = world.items_to_index(found["item_id"])
    np.testing.assert_allclose(found["score"], expected[index], atol=1e-5)


def test_a_new_item_is_found_by_its_text(fitted, world):
    lovers = [user for user in range(120) if user % 4 == 1]
    rows = world.users_to_index([f"u{u}" for u in lovers])
    new = fitted.score_indices(rows)[:, 80:]
    assert (new.argmax(1) == 1).mean() > 0.9
    texts = [f"A {kind} film, just out" for kind in KINDS]
    assert (fitted.score_items(texts)[rows].argmax(1) == 1).mean() > 0.9


def test_items_that_nobody_has_met_are_in_the_order_of_the_text(fitted):
    scores, alone = (model.score_indices(range(120))[:, 80:] for model in (fitted, fitted.fused_.parts_["text"]))
    np.testing.assert_array_equal(np.argsort(scores), np.argsort(alone))


def test_a_request_in_words(fitted):
    found = fitted.recommend_for(request="I would like some music", k=5)
    assert list(found.columns) == ["item_id", "rank", "item", "score", "reason"]
    assert found["rank"].tolist() == [1, 2, 3, 4, 5]
    assert found["item"].str.contains("music").all()
    assert found["reason"].str.contains("I would like some music").any()


def test_a_request_is_a_reason_only_where_an_item_is_near(fitted, world):
    wish = "I would like some music"
    found = fitted.recommend_for(request=wish, k=84)
    near = is_near(fitted.score_request(wish))[world.items_to_index(found["item_id"])]
    assert found["reason"].str.startswith("Its text is near").tolist() == near.tolist()
    assert 0 < near.sum() < 84


def test_a_request_of_somebody_leaves_out_what_was_met(fitted, world):
    found = fitted.recommend_for("u3", request="space", k=8)
    met = set(world.interactions.loc[world.interactions["user_id"] == "u3", "item_id"])
    assert not met & set(found["item_id"])
    assert found["item"].str.contains("space").mean() > 0.5
    everything = fitted.recommend_for("u3", k=84)["item_id"]
    assert set(everything) == set(world.items["item_id"]) - met


def test_reasons_name_what_was_met(fitted, world):
    found = fitted.recommend_for("u2", k=5)
    met = world.labels().iloc[world.matrix()[world.users_to_index(["u2"])].indices]
    for reason in found["reason"]:
        assert any(label in reason for label in met)
        assert reason.endswith(".")


@pytest.mark.parametrize("has_times", [True, False])
@pytest.mark.parametrize("has_facts", [True, False])
def test_a_reason_of_the_autoencoder_names_only_what_the_data_have(world, small, tmp_path, has_times, has_facts):
    data = world if has_times else world.with_interactions(world.interactions.assign(timestamp=0))
    facts = sparse.csr_array(np.repeat(np.eye(4), 21, axis=0)) if has_facts else None
    model = LLMA(replace(small, parts=("autoencoder",), encoder=None), facts=facts).fit(data)
    reasons = model.recommend_for("u2", k=5)["reason"]
    for kind, is_held in {"users": True, "sessions": has_times, "facts": has_facts}.items():
        assert reasons.str.contains(kind).tolist() == [is_held] * 5
    again = LLMA.load(model.save(tmp_path / "model"))
    assert again.recommend_for("u2", k=5)["reason"].tolist() == reasons.tolist()


@pytest.mark.parametrize(("has_text", "has_facts"), [(True, True), (True, False), (False, True)])
def test_a_reason_of_the_text_names_only_what_was_read(world, reads_kinds, small, has_text, has_facts):
    facts = sparse.csr_array(np.repeat(np.eye(4), 21, axis=0)) if has_facts else None
    encoder = reads_kinds() if has_text else None
    model = LLMA(replace(small, parts=("text",), encoder=None), facts=facts, encoder=encoder).fit(world)
    reasons = model.recommend_for("u2", k=5)["reason"]
    assert reasons.str.contains("text").tolist() == [has_text] * 5
    assert reasons.str.contains("facts").tolist() == [has_facts] * 5


def test_reasons_are_what_moves_the_score(fitted, world):
    """Without the two items that a reason names, the score falls more than without two others."""
    user = world.users_to_index(["u6"])
    met = world.matrix()[user].indices
    ids = world.items["item_id"].to_numpy()
    fallen, others = [], []
    rng = np.random.default_rng(0)
    items = np.argsort(-np.where(world.matrix()[user].toarray()[0] > 0, -9, fitted.score_indices(user)[0]))[:5]
    shares = sum(contributions(fitted, items, met).values())

    def without(left_out, item):
        history = [(ids[i], 1.0) for i in met if i not in left_out]
        return fitted.fused_.score_new([history])[0][item]

    for row, item in enumerate(items):
        named = met[np.argsort(-shares[row])[:2]]
        whole = without([], item)
        fallen.append(whole - without(named, item))
        drawn = [rng.choice(np.setdiff1d(met, named), 2, replace=False) for _ in range(5)]
        others.append(whole - np.mean([without(pair, item) for pair in drawn]))
    assert np.mean(fallen) > np.mean(others)


def test_reranking_by_hand():
    alike = np.array([[1, 0.9, 0.0], [0.9, 1, 0.1], [0.0, 0.1, 1]])
    scores = np.array([5.0, 4.5, 3.0])  # relevance 1, 0.75, 0
    assert rerank(scores, alike, 0.0, 3).tolist() == [0, 1, 2]
    assert rerank(scores, alike, 0.4, 3).tolist() == [0, 1, 2]  # 0.6 * 0.75 - 0.4 * 0.9 = 0.09 beats 0
    assert rerank(scores, alike, 0.5, 3).tolist() == [0, 2, 1]  # 0.5 * 0.75 - 0.5 * 0.9 < 0
    opposite = np.array([[1, 0, -1], [0, 1, 0], [-1, 0, 1]])
    assert rerank(scores, opposite, 0.5, 2).tolist() == [0, 1]  # a cosine below 0 earns nothing more
    assert rerank(np.array([2.0, 2.0]), np.eye(2), 0.3, 5).tolist() == [0, 1]
    assert rerank(np.zeros(0), np.zeros((0, 0)), 0.3, 5).tolist() == []
    assert rerank(np.array([3, 1, 2]), np.eye(3), 0.0, 3).tolist() == [0, 2, 1]
    equal = np.array([1, np.nextafter(np.float32(1), np.float32(2)), 1], np.float32)
    assert rerank(equal, np.eye(3), 0.0, 3).tolist() == [0, 1, 2]


def test_diversity_spreads_the_list(world, reads_kinds, small):
    mixed = [(i, 5.0) for i in (0, 1, 2, 20, 21, 22)]
    lists = {}
    for share in (0.0, 0.9):
        model = LLMA(replace(small, diversity=share), encoder=reads_kinds()).fit(world)
        lists[share] = model.recommend_for(history=mixed, k=6)["item"].str.split().str[1].nunique()
    assert lists[0.9] > lists[0.0]


def test_bad_questions(fitted):
    with pytest.raises(SettingError):
        fitted.recommend_for()
    with pytest.raises(SettingError):
        fitted.recommend_for("u1", history=[(1, 5.0)])
    with pytest.raises(UnknownIdError, match="nobody"):
        fitted.recommend_for("nobody")
    with pytest.raises(SettingError, match="request"):
        fitted.recommend_for(request="  ")
    with pytest.raises(SettingError, match="k "):
        fitted.recommend_for("u1", k=0)


def test_without_a_language_model(world, small):
    model = LLMA(replace(small, encoder=None)).fit(world)
    assert "text" not in model.fused_.parts_
    assert len(model.recommend_for("u1", k=3)) == 3
    for ask in (lambda: model.recommend_for(request="space"), lambda: model.score_items(["a"])):
        with pytest.raises(SettingError, match="texts"):
            ask()


def test_unary_feedback_without_times_titles_and_genres(world, reads_kinds, small):
    log = world.interactions[["user_id", "item_id"]].astype({"item_id": str})
    model = LLMA(small, encoder=reads_kinds()).fit(Dataset.from_frames(log))
    found = model.recommend_for(history=[("3", 1.0)], k=4)
    assert len(found) == 4
    assert found["reason"].str.contains(r"\d").all()  # the number of an item or of its users


def test_a_long_catalog_has_an_autoencoder_of_low_rank(world, reads_kinds, small, fitted):
    long = replace(small, largest_autoencoder=10, autoencoder_rank=84)
    model = LLMA(long, encoder=reads_kinds()).fit(world)
    assert model.fused_.parts_["autoencoder"].rank == 84
    whole = fitted.fused_.parts_["autoencoder"].score_indices([3])
    np.testing.assert_allclose(model.fused_.parts_["autoencoder"].score_indices([3]), whole, atol=1e-4)


def test_facts_must_fit(world, reads_kinds, small):

    with pytest.raises(SettingError, match="3"):
        LLMA(small, facts=sparse.csr_array(np.eye(3)), encoder=reads_kinds()).fit(world)


@pytest.mark.parametrize(
    ("setting", "message"),
    [
        ({"order": "newest"}, "order"),
        ({"diversity": 1.5}, "diversity"),
        ({"factors": 0}, "factors.*0"),
        ({"candidates": 2.5}, "candidates.*2.5"),
        ({"seed": -1}, "seed.*-1"),
        ({"text_l2": 0.0}, "text_l2.*0.0"),
        ({"alpha": float("nan")}, "alpha.*nan"),
        ({"parts": "text"}, "parts.*'text'"),
        ({"parts": ("magic",)}, "parts"),
        ({"parts": ()}, "parts"),
    ],
)
def test_bad_settings(setting, message):
    with pytest.raises(SettingError, match=message):
        LLMAConfig(**setting)


def test_too_few_data_are_refused(small):
    log = pd.DataFrame({"user_id": [1, 2], "item_id": [1, 2]})
    with pytest.raises(SettingError):
        LLMA(replace(small, encoder=None)).fit(Dataset.from_frames(log))


def test_lists_of_all_users_are_reranked_like_those_of_one(fitted, world):
    ids = world.users["user_id"].tolist()
    lists = fitted.recommend(ids, k=5)
    assert list(lists.columns) == ["user_id", "item_id", "rank", "score"]
    assert (lists.groupby("user_id").size() == 5).all()
    for user in ("u2", "u77"):
        own = lists[lists["user_id"] == user]
        assert own["item_id"].tolist() == fitted.recommend_for(user, k=5)["item_id"].tolist()
        np.testing.assert_allclose(own["score"], fitted.recommend_for(user, k=5)["score"])
    seen = fitted.recommend(["u2"], k=84, exclude_seen=False)
    assert set(seen["item_id"]) == set(world.items["item_id"])
    with pytest.raises(UnknownIdError, match="stranger"):
        fitted.recommend(["stranger"])


def test_a_fourth_part_is_an_entry_of_the_table(world, reads_kinds, small, tmp_path, monkeypatch):
    class Neighbors(FoldInRecommender):
        """Scores an item by its cosine with the seen ones."""

        _learned = ("cosine_",)

        def _fit(self, train):
            self._prepare(train)
            self.cosine_ = cosine_similarity(self.matrix_.T.toarray(), self.matrix_.T.toarray())

        def score_matrix(self, interactions):
            return interactions @ self.cosine_

        def contributions(self, items, seen):
            return self.cosine_[np.ix_(items, seen)]

    with pytest.raises(SettingError, match="neighbors"):
        LLMAConfig(parts=("neighbors",))
    monkeypatch.setitem(PARTS, "neighbors", Part(lambda *_: Neighbors(), "it is a neighbor of {items}"))
    model = LLMA(replace(small, parts=("neighbors", "text")), encoder=reads_kinds()).fit(world)
    assert set(model.fused_.gate_.known) == {"neighbors", "text"}
    object.__setattr__(model.fused_.gate_, "known", {"neighbors": 1.0, "text": 0.0})
    assert model.recommend_for("u2", k=3)["reason"].str.startswith("It is a neighbor of ").all()
    again = LLMA.load(model.save(tmp_path / "model"))
    np.testing.assert_allclose(again.score(["u2"]), model.score(["u2"]), atol=1e-5)


def test_it_is_an_estimator_of_scikit_learn(small):
    model = LLMA(small)
    copy = clone(model)
    assert copy.config == small
    assert set(copy.get_params(deep=False)) == {"config", "facts", "encoder", "progress"}
    assert repr(copy).startswith("LLMA(")


def test_sessions_reach_the_autoencoder_and_their_absence_is_told(world, small):
    config = replace(small, parts=("autoencoder",), encoder=None, pauses=(3.0,), session_weight=3.0, user_exponent=0.5)
    timed = world.with_interactions(world.interactions.assign(timestamp=lambda log: 10 * (log["timestamp"] // 7)))
    timeless = world.with_interactions(world.interactions.assign(timestamp=0))
    models = [LLMA(config).fit(data) for data in (timed, timeless)]
    alone = SessionAutoencoder(genre_facts(world), (3.0,), 3.0, config.fact_weight, 0.5, config.dropout, 5.0).fit(timed)
    learned = [model.parts_["autoencoder"].weights_ for model in models]
    np.testing.assert_allclose(learned[0], alone.weights_, atol=1e-5)
    assert abs(learned[1] - learned[0]).max() > 1e-3
    assert len(models[1].limits()) == len(models[0].limits()) + 1
    assert set(models[1].limits()) - set(models[0].limits()) < {*models[1].parts_["autoencoder"].limits()}


@pytest.mark.parametrize(
    "wrong", [{"draws": 5}, {"draws": 0}, {"pauses": (-1.0,)}, {"pauses": ("long",)}, {"session_weight": np.inf}]
)
def test_wrong_settings_of_the_parts_are_refused(wrong):
    ((name, _),) = wrong.items()
    with pytest.raises(SettingError, match=name):
        LLMAConfig(**wrong)

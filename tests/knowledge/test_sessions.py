"""Sessions by hand, the Gram matrix by hand, and the models that the autoencoder of sessions contains."""

from itertools import pairwise

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import sparse
from sklearn.base import clone

from llmrec_lite import Dataset
from llmrec_lite.errors import SettingError
from llmrec_lite.knowledge.recommend import FactAutoencoder
from llmrec_lite.knowledge.sessions import SessionAutoencoder, session_index, session_matrix, user_weights
from llmrec_lite.recommenders import DenoisingAutoencoder

# The file is not in order of time, and user 1's first interaction comes at the second of user 0's last.
LOG = [(0, 2, 100), (0, 0, 0), (1, 1, 100), (0, 1, 10), (1, 3, 131), (1, 0, 161)]


@pytest.fixture(scope="module")
def data() -> Dataset:
    log = pd.DataFrame(LOG, columns=["user_id", "item_id", "timestamp"])
    return Dataset.from_frames(log, pd.DataFrame({"item_id": range(5)}))


@pytest.fixture(scope="module")
def larger() -> Dataset:
    rng = np.random.default_rng(0)
    log = pd.DataFrame({"user_id": rng.integers(40, size=400), "item_id": rng.integers(12, size=400)})
    log = log.assign(timestamp=rng.integers(3000, size=400)).drop_duplicates(["user_id", "item_id"])
    return Dataset.from_frames(log)


@pytest.fixture(scope="module")
def facts() -> sparse.csr_array:
    return sparse.csr_array((np.random.default_rng(1).random((12, 6)) < 0.3).astype(np.float32))


def test_sessions_end_after_a_pause_and_with_the_user(data):
    assert session_index(data, 30).tolist() == [1, 0, 2, 0, 3, 3]
    assert session_index(data, 31).tolist() == [1, 0, 2, 0, 2, 2]
    assert session_index(data, 90).tolist() == [0, 0, 1, 0, 1, 1]
    assert session_index(data, 0).tolist() == [2, 0, 3, 1, 4, 5]


def test_a_session_holds_an_item_once():
    log = pd.DataFrame({"user_id": [0, 0, 0], "item_id": [1, 1, 0], "timestamp": [0, 5, 7]})
    rows = session_matrix(Dataset.from_frames(log), 10)
    np.testing.assert_array_equal(rows.toarray(), [[1, 1]])


@given(st.lists(st.tuples(st.integers(0, 3), st.integers(0, 50)), min_size=1, max_size=30), st.integers(0, 20))
def test_sessions_are_those_of_a_loop(rows, pause):
    log = pd.DataFrame(rows, columns=["user_id", "timestamp"]).assign(item_id=range(len(rows)))
    data = Dataset.from_frames(log)
    index = session_index(data, pause)
    for user in log["user_id"].unique():
        own = log[log["user_id"] == user].sort_values("timestamp", kind="stable").index
        for before, after in pairwise(own):
            same = log["timestamp"][after] - log["timestamp"][before] <= pause
            assert (index[before] == index[after]) == same
    assert set(index) == set(range(index.max() + 1))
    assert log.groupby(index)["user_id"].nunique().max() == 1


def test_the_gram_matrix_by_hand(data):
    facts = sparse.csr_array(np.array([[1], [0], [0], [1], [1]], np.float32))
    model = SessionAutoencoder(facts, (30, 90), 2.0, 5.0, user_exponent=0.0, dropout=0.25, l2=3.0).fit(data)
    users = np.array([[1, 1, 1, 0, 0], [1, 1, 0, 1, 0]])
    short = np.array([[1, 1, 0, 0, 0], [0, 0, 1, 0, 0], [0, 1, 0, 0, 0], [1, 0, 0, 1, 0]])
    fact = facts.toarray()
    gram = users.T @ users + 2 * (short.T @ short + users.T @ users) + 5 * fact @ fact.T
    penalty = np.diag(3 + np.diag(gram) / 3)
    np.testing.assert_allclose(model.weights_, np.linalg.solve(gram + penalty, gram), atol=1e-6)


@pytest.mark.parametrize("exponent", [0.0, 0.25, 1.0])
def test_users_weigh_by_their_number_of_interactions(exponent):
    weights = user_weights(np.array([1, 16, 0]), exponent)
    assert weights[0] / weights[1] == pytest.approx(16**exponent)
    assert np.array([1, 16, 0]) @ weights == pytest.approx(17)


def test_weighted_users_count_in_the_gram_matrix(larger):
    model = SessionAutoencoder(None, (), user_exponent=0.5, dropout=0.5, l2=4.0).fit(larger)
    x = larger.matrix().toarray().astype(float)
    gram = x.T @ np.diag(user_weights(x.sum(1), 0.5)) @ x
    expected = np.linalg.solve(gram + np.diag(4 + np.diag(gram)), gram)
    np.testing.assert_allclose(model.weights_, expected, atol=1e-5)


def test_without_weights_it_is_the_denoising_autoencoder(larger, facts):
    plain = DenoisingAutoencoder(0.4, 20.0).fit(larger)
    ours = SessionAutoencoder(facts, (60,), 0.0, 0.0, user_exponent=0.0, dropout=0.4, l2=20.0).fit(larger)
    np.testing.assert_array_equal(ours.weights_, plain.weights_)
    assert not np.allclose(clone(ours).set_params(session_weight=1.0).fit(larger).weights_, plain.weights_)


def test_without_times_it_is_the_autoencoder_of_facts_and_says_so(larger, facts):
    timeless = larger.with_interactions(larger.interactions.assign(timestamp=7))
    known = FactAutoencoder(facts, 30.0, 0.4, 20.0).fit(timeless)
    ours = SessionAutoencoder(facts, (60,), 5.0, 30.0, user_exponent=0.0, dropout=0.4, l2=20.0)
    assert "Session" in repr(ours)
    ours.fit(timeless)
    np.testing.assert_allclose(ours.weights_, known.weights_, atol=1e-6)
    assert len(ours.limits()) == 1
    assert ours.limits()[0] in repr(ours)
    assert clone(ours).fit(larger).limits() == []
    assert len(clone(ours).set_params(facts=None).fit(timeless).limits()) == 2


def test_the_kinds_of_rows_are_those_that_were_fitted(larger, facts):
    timeless = larger.with_interactions(larger.interactions.assign(timestamp=7))
    model = SessionAutoencoder(facts, (60,), 5.0, 30.0, dropout=0.4, l2=20.0)
    for settings, data, kinds in (
        ({}, larger, ["users", "sessions", "facts"]),
        ({}, timeless, ["users", "facts"]),
        ({"facts": None}, larger, ["users", "sessions"]),
        ({"session_weight": 0.0}, larger, ["users", "facts"]),
        ({"pauses": ()}, larger, ["users", "facts"]),
        ({"fact_weight": 0.0}, timeless, ["users"]),
    ):
        fitted = clone(model).set_params(**settings).fit(data)
        assert fitted.row_kinds() == kinds
        assert len(fitted.weighted_rows(data)) == len(kinds)


def test_scores_need_no_training(larger, facts):
    model = SessionAutoencoder(facts).fit(larger)
    own = larger.interactions[larger.user_index == 3]
    history = list(zip(own["item_id"], own["rating"], strict=True))
    user = larger.users["user_id"][3]
    np.testing.assert_allclose(model.score_new([history]), model.score([user]), atol=1e-6)
    copy = SessionAutoencoder(facts).set_state(larger, model.get_state())
    np.testing.assert_array_equal(copy.score([user]), model.score([user]))


@pytest.mark.parametrize(
    "wrong",
    [{"session_weight": -1}, {"fact_weight": np.inf}, {"user_exponent": 2}, {"pauses": (-1,)}, {"l2": 0}],
)
def test_wrong_settings_are_named(wrong):
    with pytest.raises(SettingError):
        SessionAutoencoder(**wrong)


def test_facts_of_other_items_are_named(data):
    with pytest.raises(SettingError):
        SessionAutoencoder(sparse.csr_array((4, 1))).fit(data)


def test_a_full_rank_is_the_whole_autoencoder(larger, facts):
    whole = SessionAutoencoder(facts, (60,), dropout=0.4, l2=20.0).fit(larger)
    low = SessionAutoencoder(facts, (60,), dropout=0.4, l2=20.0, rank=12).fit(larger)
    np.testing.assert_allclose(low.left_ @ low.right_.T, whole.weights_, atol=1e-4)
    np.testing.assert_allclose(low.score_indices([3, 1]), whole.score_indices([3, 1]), atol=1e-4)

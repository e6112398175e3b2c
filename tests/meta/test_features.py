"""What is known of items, and the network that rates by it."""

import numpy as np
import pandas as pd
import pytest
import torch

from llmrec_lite.data import Dataset
from llmrec_lite.errors import SettingError
from llmrec_lite.meta.features import RatingNetwork, cross_fitted_features, item_features
from llmrec_lite.recommenders import ItemMean


@pytest.fixture
def data():
    rng = np.random.default_rng(0)
    rows = [(u, int(i), int(rng.integers(1, 6))) for u in range(15) for i in rng.permutation(9)[:6]]
    items = pd.DataFrame({"item_id": range(10), "genres": ["A|B", "A", "B", "", "A", "B", "A|C", "C", "A", "B"]})
    return Dataset.from_frames(pd.DataFrame(rows, columns=["user_id", "item_id", "rating"]), items)


def test_the_first_column_is_the_mean_and_no_block_outweighs_another(data):
    vectors = np.random.default_rng(1).normal(size=(10, 7)) * 1000
    x = item_features(data, vectors, factors=4, text=3)
    assert x.shape == (10, 1 + 1 + 3 + 4 + 3)
    assert x.dtype == np.float32
    np.testing.assert_allclose(x[:, 0], ItemMean().fit(data).means_, rtol=1e-6)
    rated = np.bincount(data.item_index, minlength=10) > 0
    assert not rated[9]
    for start, stop in ((1, 2), (2, 5), (5, 9), (9, 12)):
        block = x[rated, start:stop]
        assert np.square(block).sum(1).mean() == pytest.approx(1, rel=1e-4)
        np.testing.assert_allclose(block.mean(0), 0, atol=1e-5)


def test_blocks_can_be_left_out_and_seeds_repeat(data):
    assert item_features(data, factors=0).shape == (10, 5)
    np.testing.assert_array_equal(item_features(data, factors=2), item_features(data, factors=2))
    assert not np.array_equal(item_features(data, factors=2), item_features(data, factors=2, seed=1))
    three = np.random.default_rng(2).normal(size=(10, 3))
    assert item_features(data, three, factors=0, text=9).shape == (10, 5 + 3)  # there are no more directions
    assert item_features(data, three, factors=0, text=0).shape == (10, 5)


def test_cross_fitted_features_of_a_user_contain_no_rating_of_theirs(data):
    vectors = np.random.default_rng(1).normal(size=(10, 7))
    whole, parts = cross_fitted_features(data, vectors, folds=3, factors=2, text=3)
    np.testing.assert_array_equal(whole, item_features(data, vectors, factors=2, text=3))
    users = np.concatenate([np.unique(own.user_index) for own, _ in parts])
    assert sorted(users) == list(range(15))
    own, table = parts[0]
    changed = data.interactions.copy()
    mine = np.isin(data.user_index, np.unique(own.user_index))
    changed.loc[mine, "rating"] = 6 - changed.loc[mine, "rating"]
    again = cross_fitted_features(data.with_interactions(changed), vectors, folds=3, factors=2, text=3)[1]
    np.testing.assert_array_equal(again[0][1][:, :2], table[:, :2])  # mean and number of ratings
    # The factors of a fold are rotated to axes that all users' ratings make, and nothing else of these is in them.
    one, two = (t[:, 5:7].astype(float) for t in (table, again[0][1]))
    np.testing.assert_allclose(one @ one.T, two @ two.T, atol=1e-4)
    assert not np.allclose(again[1][1][:, 0], parts[1][1][:, 0])  # the other folds see the change


def test_factors_of_a_fold_have_the_axes_of_all_users():
    rng = np.random.default_rng(0)
    users, items = rng.normal(size=(120, 2)) * (1.5, 0.7), rng.normal(size=(30, 2))
    log = pd.DataFrame([(u, i) for u in range(120) for i in range(30)], columns=["user_id", "item_id"])
    stars = 3 + users[log["user_id"]] @ np.eye(2) * items[log["item_id"]]
    data = Dataset.from_frames(log.assign(rating=stars.sum(1)), pd.DataFrame({"item_id": range(30), "genres": "A"}))
    whole, parts = cross_fitted_features(data, folds=2, factors=2)
    for _, table in parts:
        cosines = (table[:, -2:] * whole[:, -2:]).sum(0) / np.linalg.norm(table[:, -2:], axis=0)
        assert (cosines / np.linalg.norm(whole[:, -2:], axis=0) > 0.95).all()


@pytest.mark.parametrize("folds", [1, 16])
def test_cross_fitting_needs_users_for_each_fold(data, folds):
    with pytest.raises(SettingError, match=f"folds={folds}"):
        cross_fitted_features(data, folds=folds)


def test_only_the_users_that_were_given_are_told(data):
    part = data.with_interactions(data.interactions[data.user_index < 10])
    assert not np.array_equal(item_features(part, factors=2)[:, 0], item_features(data, factors=2)[:, 0])
    np.testing.assert_allclose(item_features(part, factors=0)[:, 0], ItemMean().fit(part).means_, rtol=1e-6)


def test_before_training_the_network_predicts_the_mean():
    x = torch.randn(4, 3, 6, generator=torch.Generator().manual_seed(0))
    network = RatingNetwork(6, hidden=(5, 4))
    assert torch.equal(network(x), x[..., 0])
    assert [tuple(p.shape) for p in network.parameters()] == [(5, 5), (5,), (4, 5), (4,), (1, 4), (1,)]


def test_the_network_by_hand():
    network = RatingNetwork(3, hidden=(2,))
    with torch.no_grad():
        network.hidden[0].weight.copy_(torch.eye(2))
        network.hidden[0].bias.zero_()
        network.head.weight.copy_(torch.tensor([[1.0, -2.0]]))
        network.head.bias.fill_(0.5)
    expected = 3 + np.tanh(0.1) - 2 * np.tanh(0.2) + 0.5
    assert network(torch.tensor([3.0, 0.1, 0.2])).item() == pytest.approx(expected, rel=1e-6)


def test_seeds_and_no_trace_in_the_global_state():
    state = torch.get_rng_state()
    first, again, other = (RatingNetwork(6, seed=s).hidden[0].weight for s in (0, 0, 1))
    assert torch.equal(first, again)
    assert not torch.equal(first, other)
    assert torch.equal(torch.get_rng_state(), state)


@pytest.mark.parametrize(
    ("options", "message"), [({"factors": -1}, "factors=-1"), ({"vectors": np.ones((3, 2))}, "3 .*10")]
)
def test_bad_input(data, options, message):
    with pytest.raises(SettingError, match=message):
        item_features(data, **options)

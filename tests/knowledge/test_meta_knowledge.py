"""The corrected dot product and the weighted means of a history: by hand, against loops, on made-up tastes."""

import numpy as np
import pandas as pd
import pytest
import torch

from llmrec_lite import Dataset
from llmrec_lite.errors import SettingError
from llmrec_lite.knowledge.meta_knowledge import (
    LSTM4Rec,
    MetaKnowledge,
    MetaKnowledgeNet,
    PairCorrection,
    PooledHistory,
    PoolingNet,
    corrected_score,
)

POOLS = ["mean", "recency", "attention", "attention and recency"]


def tastes(n_users: int = 40, n_items: int = 20, seed: int = 0) -> Dataset:
    """Two kinds of users, who meet the first half of the items or the second."""
    rng = np.random.default_rng(seed)
    rows = []
    for u in range(n_users):
        half = u % 2 * (n_items // 2)
        for t, i in enumerate(rng.permutation(n_items // 2)[:6] + half):
            rows.append((u, i, 1.0, t))
    log = pd.DataFrame(rows, columns=["user_id", "item_id", "rating", "timestamp"])
    return Dataset.from_frames(log, pd.DataFrame({"item_id": range(n_items)}))


# ---- the score ----


def test_corrected_score_by_hand():
    u, i, k = torch.tensor([1.0, 2.0]), torch.tensor([3.0, 4.0]), torch.tensor([0.5, -1.0])
    assert corrected_score(u, i, k) == 1 * 3 + 2 * 4 + 0.5 * 1 * 3 - 1 * 2 * 4
    assert corrected_score(u, i, torch.zeros(2)) == u @ i


@pytest.mark.parametrize("correction", ["none", "vector", "network"])
def test_the_corrected_score_begins_as_the_dot_product(correction):
    torch.manual_seed(0)
    u, i = torch.randn(5, 1, 4), torch.randn(5, 3, 4)
    k = PairCorrection(4, correction)(u, i)
    assert k.shape == (5, 3, 4)
    torch.testing.assert_close(corrected_score(u, i, k), (u * i).sum(-1))


def test_network_reads_both_side_by_side():
    torch.manual_seed(0)
    knowledge = PairCorrection(4, "network", hidden=6)
    torch.nn.init.normal_(knowledge.out.weight)
    u, i = torch.randn(7, 4), torch.randn(7, 4)
    first = torch.cat([knowledge.of_user.weight, knowledge.of_item.weight], 1)
    expected = knowledge.out(torch.relu(torch.cat([u, i], 1) @ first.T + knowledge.of_user.bias))
    torch.testing.assert_close(knowledge(u, i), expected)


def test_a_vector_is_the_same_for_every_pair():
    knowledge = PairCorrection(3, "vector")
    with torch.no_grad():
        knowledge.k.copy_(torch.tensor([1.0, 2.0, 3.0]))
    assert knowledge(torch.zeros(2, 3), torch.ones(2, 3)).tolist() == [[1, 2, 3]] * 2


# ---- the recommender ----


@pytest.mark.parametrize("correction", ["none", "vector", "network"])
def test_learns_two_tastes(correction):
    data = tastes()
    model = MetaKnowledge(
        correction, dim=8, n_epochs=30, learning_rate=0.02, negatives=4, dropout=0.0, batch_size=64
    ).fit(data)
    scores = model.score_indices([0, 1])
    assert scores.shape == (2, 20)
    assert scores[0, :10].min() > scores[0, 10:].max()
    assert scores[1, 10:].min() > scores[1, :10].max()
    assert model.losses_[-1] < 0.6 * model.losses_[0]


def test_scores_in_chunks_are_the_scores_of_pairs():
    data = tastes(n_users=70)
    model = MetaKnowledge("network", dim=4, n_epochs=2, batch_size=64).fit(data)
    scores = model.score_indices(range(70))
    net = model.net_.eval()
    with torch.no_grad():
        for u, i in ((0, 0), (33, 19), (69, 7)):
            pair = net(torch.tensor([u]), torch.tensor([[i]]))
            np.testing.assert_allclose(pair.numpy(), [[scores[u, i]]], rtol=1e-5)


def test_an_item_drawn_twice_is_not_its_own_rival():
    """With one item in the catalog everything drawn is the item itself: nothing is left to learn, and no nan."""
    log = pd.DataFrame({"user_id": [0, 1], "item_id": [0, 0], "rating": 1.0, "timestamp": [0, 1]})
    model = MetaKnowledge("network", dim=2, n_epochs=2).fit(Dataset.from_frames(log))
    assert model.losses_ == [0.0, 0.0]
    assert np.isfinite(model.score_indices([0, 1])).all()


def test_seeds_repeat_and_leave_no_trace():
    data, state = tastes(), torch.get_rng_state()
    first, again, other = (
        MetaKnowledge("network", dim=4, n_epochs=1, seed=s).fit(data).score_indices([0]) for s in (0, 0, 1)
    )
    np.testing.assert_array_equal(first, again)
    assert not np.allclose(first, other)
    assert torch.equal(torch.get_rng_state(), state)


def test_without_negatives_there_is_nothing_to_contrast_with():
    with pytest.raises(SettingError, match="negatives"):
        MetaKnowledge(negatives=0)


def test_nothing_to_learn_from_is_named():
    data = Dataset.from_frames(pd.DataFrame({"user_id": [0], "item_id": [0]}))
    with pytest.raises(SettingError):
        MetaKnowledge().fit(data.with_interactions(data.interactions.head(0)))
    with pytest.raises(SettingError, match="correction"):
        PairCorrection(4, "netwrok")


def test_dropout_is_off_when_scoring():
    net = MetaKnowledgeNet(3, 4, 8, "network", 8, dropout=0.9).eval()
    users, items = torch.tensor([0, 1]), torch.tensor([[0, 1], [2, 3]])
    torch.testing.assert_close(net(users, items), net(users, items))


def test_given_factors_are_the_beginning():
    data = tastes()
    rng = np.random.default_rng(0)
    p, q = rng.normal(size=(40, 3)), rng.normal(size=(20, 3))
    model = MetaKnowledge("network", start=(p, q), scale=4.0, n_epochs=1, learning_rate=1e-9).fit(data)
    np.testing.assert_allclose(model.score_indices(range(40)), 4 * p @ q.T, atol=1e-4)
    with pytest.raises(SettingError, match="start"):
        MetaKnowledge(start=(p, q[:5])).fit(data)


# ---- histories ----


@pytest.mark.parametrize("pool", POOLS)
def test_weights_look_back_only_and_sum_to_one(pool):
    torch.manual_seed(0)
    net = PoolingNet(10, 8, 0.0, 6, pool)
    items = torch.tensor([[0, 0, 3, 5, 1, 2], [4, 4, 3, 9, 10, 6]])
    weights = net.weights(items)
    for row, first in ((0, 2), (1, 0)):
        for t in range(6):
            assert (weights[row, t, t + 1 :] == 0).all(), "looks ahead"
            assert (weights[row, t, :first] == 0).all(), "looks at padding"
            assert weights[row, t].sum().item() == pytest.approx(float(t >= first))


def test_a_mean_is_a_mean():
    net = PoolingNet(10, 8, 0.0, 6, "mean")
    items = torch.tensor([[0, 7, 2, 9]])
    e = net.embed(items)[0]
    for t, mean in ((1, e[1]), (2, e[1:3].mean(0)), (3, e[1:4].mean(0))):
        torch.testing.assert_close(net(items)[0, t], net.out(mean))


def test_attention_by_a_loop():
    torch.manual_seed(1)
    net = PoolingNet(10, 8, 0.0, 6, "attention and recency")
    with torch.no_grad():
        net.by_distance.copy_(torch.tensor([3.0, 1.0, 0.0, -1.0, -2.0, -3.0]))
    items = torch.tensor([[4, 7, 2]])
    e = net.embed(items)[0]
    for t in range(3):
        logits = [net.query(e[t]) @ net.key(e[s]) / 8**0.5 + net.by_distance[t - s] for s in range(t + 1)]
        expected = torch.softmax(torch.stack(logits), 0)
        torch.testing.assert_close(net.weights(items)[0, t, : t + 1], expected)


def test_nothing_to_look_at_is_finite_and_trains():
    net = PoolingNet(10, 8, 0.0, 6, "attention")
    out = net(torch.zeros(2, 4, dtype=torch.long))
    assert torch.isfinite(out).all()
    out.sum().backward()
    assert all(torch.isfinite(p.grad).all() for p in net.parameters() if p.grad is not None)


def test_what_is_far_away_shares_the_last_distance():
    net = PoolingNet(10, 8, 0.0, 2, "recency")
    with torch.no_grad():
        net.by_distance.copy_(torch.tensor([1.0, 0.0]))
    weights = net.weights(torch.tensor([[1, 2, 3, 4]]))[0, 3]
    torch.testing.assert_close(weights, torch.softmax(torch.tensor([0.0, 0.0, 0.0, 1.0]), 0))


def test_unknown_pool_is_named():
    with pytest.raises(SettingError, match="pool"):
        PoolingNet(10, 8, 0.0, 6, "max")


def walks(n: int = 60) -> Dataset:
    """Each user walks round a circle of ten items from a place of their own: what comes next is known."""
    rows = [(u, (u + t) % 10, 1.0, t) for u in range(n) for t in range(8)]
    log = pd.DataFrame(rows, columns=["user_id", "item_id", "rating", "timestamp"])
    return Dataset.from_frames(log, pd.DataFrame({"item_id": range(10)}))


@pytest.mark.parametrize("pool", ["recency", "attention and recency"])
def test_recency_finds_what_comes_next(pool):
    model = PooledHistory(pool, dim=16, length=8, n_epochs=40, learning_rate=0.02, dropout=0.0).fit(walks())
    assert model.score_new([[(3, 1.0), (4, 1.0), (5, 1.0)]])[0].argmax() == 6
    assert model.net_.by_distance.argmax() == 0


def test_lstm_finds_what_comes_next():
    model = LSTM4Rec(dim=16, length=8, n_epochs=40, learning_rate=0.02, dropout=0.0).fit(walks())
    assert isinstance(model.net_.recur, torch.nn.LSTM)
    assert model.score_new([[(3, 1.0), (4, 1.0), (5, 1.0)]])[0].argmax() == 6


def test_a_mean_does_not_know_the_order():
    model = PooledHistory("mean", dim=8, length=8, n_epochs=3).fit(walks())
    there, back = model.score_new([[(3, 1.0), (4, 1.0), (5, 1.0)], [(5, 1.0), (4, 1.0), (3, 1.0)]])
    np.testing.assert_allclose(there, back, atol=1e-5)

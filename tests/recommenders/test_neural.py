"""Neural matrix factorization: shapes, training, and what dropout must not do when it scores."""

import numpy as np
import pandas as pd
import pytest
import torch

from llmrec_lite import Dataset
from llmrec_lite.recommenders.neural import NeuMF, NeuMFNet


def test_the_network_gives_a_logit_a_pair_and_equals_its_formula():
    torch.manual_seed(0)
    net = NeuMFNet(n_users=3, n_items=5, factors=4, dropout=0.5).eval()
    users, items = torch.tensor([0, 2, 2]), torch.tensor([4, 0, 1])
    logits = net(users, items)
    assert logits.shape == (3,)
    first, second = net.deep[0], net.deep[3]
    for n, (user, item) in enumerate(zip(users, items, strict=True)):
        product = net.user_product.weight[user] * net.item_product.weight[item]
        deep = torch.cat([net.user_deep.weight[user], net.item_deep.weight[item]])
        deep = (second.weight @ (first.weight @ deep + first.bias).relu() + second.bias).relu()
        expected = net.join.weight[0] @ torch.cat([product, deep]) + net.join.bias[0]
        torch.testing.assert_close(logits[n], expected)


@pytest.fixture(scope="module")
def groups() -> tuple[Dataset, list[tuple[int, int]]]:
    """Two groups of readers and of books; every reader misses one book of the own group."""
    met = np.kron(np.eye(2), np.ones((12, 8)))
    held_out = [(user, user % 8 + 8 * (user // 12)) for user in range(24)]
    for user, item in held_out:
        met[user, item] = 0
    users, items = np.nonzero(met)
    log = pd.DataFrame({"user_id": users, "item_id": items})
    return Dataset.from_frames(log), held_out


def test_it_learns_a_planted_preference(groups):
    data, held_out = groups
    model = NeuMF(factors=8, n_epochs=60, learning_rate=0.01, batch_size=32, dropout=0.1).fit(data)
    assert model.losses_[-1] < 0.5 * model.losses_[0]
    assert len(model.losses_) == 60
    scores = model.score_indices(range(24))
    for user, item in held_out:
        strangers = scores[user, 8:] if user < 12 else scores[user, :8]
        assert scores[user, item] > strangers.max()


def test_scores_are_the_networks_logits_without_dropout(groups):
    model = NeuMF(factors=4, n_epochs=1, dropout=0.9).fit(groups[0])
    scores = model.score_indices([5, 1])
    np.testing.assert_array_equal(model.score_indices([5, 1]), scores)
    with torch.no_grad():
        logits = model.net_(torch.full((16,), 1), torch.arange(16))
    np.testing.assert_allclose(scores[1], logits, atol=1e-6)


def test_negatives_that_were_met_are_labelled_as_met(monkeypatch):
    # A reader of everything: whatever is drawn was met, so that every label is 1.
    labels = []
    real = torch.nn.functional.binary_cross_entropy_with_logits
    monkeypatch.setattr(
        "llmrec_lite.recommenders.neural.F.binary_cross_entropy_with_logits",
        lambda logits, target: labels.append(target) or real(logits, target),
    )
    log = pd.DataFrame({"user_id": [1] * 4, "item_id": range(4)})
    NeuMF(factors=4, n_epochs=2, negatives=3).fit(Dataset.from_frames(log))
    assert [len(target) for target in labels] == [16, 16]
    assert all((target == 1).all() for target in labels)

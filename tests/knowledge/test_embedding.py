"""Vectors of facts: scores against loops and PyKEEN, ranks by hand and against PyKEEN, learning on made-up graphs."""

import numpy as np
import pandas as pd
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from sklearn.exceptions import NotFittedError

from llmrec_lite.errors import SettingError
from llmrec_lite.knowledge.embedding import (
    SCORERS,
    KGEModel,
    KnowledgeEmbedding,
    RelationFrequency,
    add_inverse_triples,
    filtered_rank,
    graph_loss,
    link_prediction,
    mrr_and_hits,
)
from llmrec_lite.knowledge.graph import KnowledgeGraph


def families(n: int = 24, size: int = 4) -> KnowledgeGraph:
    """Children of the same parent are siblings of each other; every parent has `size` children."""
    rows = []
    for child in range(n):
        rows.append((f"child {child}", "parent", f"parent {child // size}"))
        rows += [
            (f"child {child}", "sibling", f"child {other}")
            for other in range(child // size * size, child // size * size + size)
            if other != child
        ]
    return KnowledgeGraph.from_frame(pd.DataFrame(rows, columns=["head", "relation", "tail"]))


def random_net(scorer: str, n: int = 7, relations: int = 2, d: int = 6) -> KGEModel:
    torch.manual_seed(0)
    net = KGEModel(n, relations, d, scorer)
    torch.nn.init.normal_(net.entity.weight)
    torch.nn.init.normal_(net.relation.weight)
    return net


# ---- scores ----


def test_scores_by_hand():
    for scorer, expected in (("transe", -np.hypot(1 + 2 - 5, 0 + 1 - 2)), ("distmult", 1 * 2 * 5 + 0 * 1 * 2)):
        net = KGEModel(2, 1, 2, scorer)
        net.entity.weight.data = torch.tensor([[1.0, 0.0], [5.0, 2.0]])
        net.relation.weight.data = torch.tensor([[2.0, 1.0], [0.0, 0.0]])
        assert net(torch.tensor([0]), torch.tensor([0]), torch.tensor([1])).item() == pytest.approx(expected)
    net = KGEModel(2, 1, 2, "complex")  # one complex number: (1 + 2i)(3 + i) conj(4 + 5i) = 39 + 23i
    net.entity.weight.data = torch.tensor([[1.0, 2.0], [4.0, 5.0]])
    net.relation.weight.data = torch.tensor([[3.0, 1.0], [0.0, 0.0]])
    assert net(torch.tensor([0]), torch.tensor([0]), torch.tensor([1])).item() == pytest.approx(39)


@pytest.mark.parametrize("scorer", SCORERS)
def test_scores_equal_pykeen(scorer):
    modules = pytest.importorskip("pykeen.nn.modules")
    theirs = {
        "transe": lambda: modules.TransEInteraction(p=2),
        "distmult": modules.DistMultInteraction,
        "complex": modules.ComplExInteraction,
    }[scorer]()
    net = random_net(scorer)
    h, r = torch.tensor([0, 3, 6]), torch.tensor([0, 1, 1])

    def entry(vectors):
        a, b = vectors.chunk(2, -1)
        return torch.complex(a, b) if scorer == "complex" else vectors

    ours = net(h, r, torch.arange(7))
    for row in range(3):
        for tail in range(7):
            parts = net.entity(h[row]), net.relation(r[row]), net.entity(torch.tensor(tail))
            expected = theirs(*(entry(part)[None] for part in parts))
            torch.testing.assert_close(ours[row, tail], expected.real.squeeze())


def test_distmult_cannot_tell_directions_and_complex_can():
    h, r, t = torch.tensor([1]), torch.tensor([0]), torch.tensor([4])
    same = random_net("distmult")
    assert same(h, r, t).item() == pytest.approx(same(t, r, h).item())
    for scorer in ("transe", "complex"):
        net = random_net(scorer)
        assert net(h, r, t).item() != pytest.approx(net(t, r, h).item(), abs=0.01)


def test_unknown_scorers_are_refused():
    with pytest.raises(SettingError, match="'rescal'"):
        KGEModel(3, 1, 4, "rescal")
    with pytest.raises(SettingError, match="'rescal'"):
        KnowledgeEmbedding("rescal").fit(families())


def test_complex_needs_pairs():
    with pytest.raises(SettingError, match="5"):
        KGEModel(3, 1, 5, "complex")


# ---- the loss ----


@pytest.mark.parametrize("scorer", SCORERS)
def test_the_loss_is_a_softmax_over_the_true_tail_and_those_drawn(scorer):
    net = random_net(scorer)
    facts, drawn = torch.tensor([[0, 1, 2], [3, 0, 5]]), torch.tensor([2, 4, 4])
    by_hand = []
    for h, r, t in facts:
        rivals = drawn[drawn != t]  # a copy of the true tail does not count against it
        scores = net(h[None], r[None], torch.cat([t[None], rivals]))[0]
        by_hand.append(-torch.log_softmax(scores, 0)[0])
    torch.testing.assert_close(graph_loss(net, facts, drawn), torch.stack(by_hand).mean())


def test_no_gradient_is_lost_where_a_vector_meets_itself():
    net = KGEModel(3, 1, 4, "transe")
    with torch.no_grad():
        net.relation.weight.zero_()
    graph_loss(net, torch.tensor([[1, 0, 1]]), torch.tensor([0, 2])).backward()
    assert torch.isfinite(net.entity.weight.grad).all()


# ---- learning ----


@pytest.mark.parametrize("scorer", SCORERS)
def test_missing_facts_of_families_are_found(scorer):
    train, test = families().split(0.1, seed=3)
    model = KnowledgeEmbedding(
        scorer, dim=16, n_epochs=150, learning_rate=0.02, negatives=32, dropout=0.1, batch_size=64
    )
    found = mrr_and_hits(link_prediction(model.fit(train), test, train))["mrr"]
    guessed = mrr_and_hits(link_prediction(RelationFrequency().fit(train), test, train))["mrr"]
    assert found > 0.6 > 2 * guessed
    assert model.losses_[-1] < model.losses_[0]


def test_the_same_seed_gives_the_same_vectors():
    def vectors(seed):
        model = KnowledgeEmbedding(dim=8, n_epochs=2, seed=seed).fit(families())
        return model.net_.entity.weight.detach().numpy()

    np.testing.assert_array_equal(vectors(1), vectors(1))
    assert (vectors(1) != vectors(2)).any()


def test_an_unfitted_model_and_an_empty_graph_are_errors():
    with pytest.raises(NotFittedError):
        KnowledgeEmbedding().score_tails(np.array([0]), np.array([0]))
    graph = families()
    with pytest.raises(SettingError):
        KnowledgeEmbedding().fit(KnowledgeGraph(graph.entities, graph.relations, graph.triples[:0]))


def test_facts_read_both_ways():
    assert add_inverse_triples(np.array([[1, 0, 2], [3, 1, 4]]), 2).tolist() == [
        [1, 0, 2],
        [3, 1, 4],
        [2, 2, 1],
        [4, 3, 3],
    ]


def test_frequency_counts_tails_and_heads():
    graph = KnowledgeGraph.from_frame(
        pd.DataFrame([("a", "r", "x"), ("b", "r", "x"), ("b", "r", "y")], columns=["head", "relation", "tail"])
    )
    scores = RelationFrequency().fit(graph).score_tails(np.array([0, 0]), np.array([0, 1]))
    assert scores.tolist() == [[0, 0, 2, 1], [1, 2, 0, 0]]  # entities a, b, x, y


# ---- ranks ----


def test_filtered_rank_by_hand():
    scores = np.array([5.0, 4.0, 4.0, 3.0, 9.0])
    assert filtered_rank(scores, 3, np.array([3])) == 5
    assert filtered_rank(scores, 3, np.array([3, 4, 0])) == 3  # two others that are right are left out
    assert filtered_rank(scores, 1, np.array([1])) == 3.5  # ranks 3 and 4 are shared
    assert filtered_rank(np.zeros(9), 4, np.array([4])) == 5  # who says the same of all is in the middle
    assert scores.tolist() == [5.0, 4.0, 4.0, 3.0, 9.0]
    lowest = np.array([1.0, -np.inf, -np.inf, -np.inf])
    assert filtered_rank(lowest, 1, np.array([1, 2])) == 2.5  # entity 2 is left out, though it scores the same


@given(st.lists(st.integers(0, 4), min_size=2, max_size=12), st.data())
def test_filtered_rank_is_the_mean_place_over_all_orders_of_ties(values, data):
    true = data.draw(st.integers(0, len(values) - 1))
    others = data.draw(st.sets(st.integers(0, len(values) - 1)))
    rivals = [v for i, v in enumerate(values) if i != true and i not in others]
    first = 1 + sum(v > values[true] for v in rivals)
    last = first + sum(v == values[true] for v in rivals)
    scores = np.array(values, np.float32)
    assert filtered_rank(scores, true, np.array([*others, true])) == (first + last) / 2


def test_link_prediction_equals_pykeen():
    pytest.importorskip("pykeen")
    from pykeen.evaluation import RankBasedEvaluator
    from pykeen.models import DistMult
    from pykeen.triples import CoreTriplesFactory

    rng = np.random.default_rng(0)
    rows = np.unique(rng.integers([30, 3, 30], size=(200, 3)), axis=0)
    graph = KnowledgeGraph(pd.RangeIndex(30).astype(str), pd.RangeIndex(3).astype(str), rng.permutation(rows))
    cut = len(rows) // 4
    test, train = (
        KnowledgeGraph(graph.entities, graph.relations, p) for p in (graph.triples[:cut], graph.triples[cut:])
    )
    ours = KnowledgeEmbedding("distmult", dim=8, n_epochs=3).fit(train)
    # PyKEEN reads a relation backwards with the same vector.
    ours.net_.relation.weight.data[3:] = ours.net_.relation.weight.data[:3]

    parts = [CoreTriplesFactory(torch.from_numpy(p.triples), 30, 3) for p in (train, test)]
    theirs = DistMult(triples_factory=parts[0], embedding_dim=8)
    theirs.entity_representations[0]._embeddings.weight.data = ours.net_.entity.weight.data
    theirs.relation_representations[0]._embeddings.weight.data = ours.net_.relation.weight.data[:3]
    found = RankBasedEvaluator().evaluate(
        theirs, parts[1].mapped_triples, additional_filter_triples=[parts[0].mapped_triples], use_tqdm=False
    )
    measured = mrr_and_hits(link_prediction(ours, test, train))
    assert measured["mrr"] == pytest.approx(found.get_metric("both.realistic.inverse_harmonic_mean_rank"), abs=1e-6)
    for k in (1, 3, 10):
        assert measured[f"hits@{k}"] == pytest.approx(found.get_metric(f"both.realistic.hits_at_{k}"), abs=1e-6)


def test_link_prediction_names_the_questions():
    graph = families()
    train, test = graph.split(0.05)
    ranks = link_prediction(RelationFrequency().fit(train), test, train)
    assert len(ranks) == 2 * len(test)
    assert set(ranks["relation"]) <= {"parent", "sibling"}
    assert (ranks["side"] == "head").sum() == len(test)
    assert mrr_and_hits(pd.DataFrame({"rank": [1, 2, 10, 20]})).round(4).to_dict() == {
        "mrr": round((1 + 0.5 + 0.1 + 0.05) / 4, 4),
        "hits@1": 0.25,
        "hits@3": 0.5,
        "hits@10": 0.75,
    }


@pytest.mark.parametrize("d", [4, 64])
def test_vectors_start_with_length_one(d):
    net = KGEModel(2000, 2000, d, "distmult")
    for table in (net.entity, net.relation):
        assert table.weight.std().item() == pytest.approx(d**-0.5, rel=0.05)


def test_the_loss_of_an_epoch_is_the_mean_over_facts():
    """A learning rate of almost 0 leaves the vectors, and so the loss, where they start."""
    graph = families()
    losses = [
        KnowledgeEmbedding(dim=8, n_epochs=1, batch_size=size, learning_rate=1e-12, dropout=0.0).fit(graph).losses_[0]
        for size in (8, 10_000)
    ]
    assert losses[0] == pytest.approx(losses[1], rel=0.05)

"""Recommenders that know facts: against what they are without them, and on films that nobody has met."""

import numpy as np
import pandas as pd
import pytest
import torch
from scipy import sparse

from llmrec_lite import Dataset
from llmrec_lite.errors import SettingError
from llmrec_lite.knowledge.embedding import KnowledgeEmbedding, graph_loss
from llmrec_lite.knowledge.graph import KnowledgeGraph, fact_matrix
from llmrec_lite.knowledge.recommend import CKE, FactAutoencoder, FactEncoder, GraphRecommender
from llmrec_lite.language.text_recommender import TextRecommender
from llmrec_lite.recommenders import DenoisingAutoencoder

N = 20


def tastes(n_users: int = 40, unmet: tuple[int, ...] = (9, 19)) -> Dataset:
    """Users of two kinds meet items 0 to 9 or 10 to 19, of which nobody has met those in `unmet`."""
    rng = np.random.default_rng(0)
    rows = []
    for u in range(n_users):
        mine = [i for i in range(u % 2 * 10, u % 2 * 10 + 10) if i not in unmet]
        rows += [(u, i, 5.0, t) for t, i in enumerate(rng.permutation(mine)[:5])]
    log = pd.DataFrame(rows, columns=["user_id", "item_id", "rating", "timestamp"])
    return Dataset.from_frames(log, pd.DataFrame({"item_id": range(N), "title": [f"film {i}" for i in range(N)]}))


FACTS = pd.DataFrame(
    {"head": [f"e{i}" for i in range(N)], "relation": "kind", "tail": [f"k{i // 10}" for i in range(N)]}
)
LINKS = pd.Series({i: f"e{i}" for i in range(N)}, name="entity")


def knows_the_kinds(scores: np.ndarray, share: float = 1.0) -> bool:
    """Say whether every user, or a share, gets the unmet item of the right kind above the other one."""
    right = scores[np.arange(len(scores)), 9 + 10 * (np.arange(len(scores)) % 2)]
    wrong = scores[np.arange(len(scores)), 19 - 10 * (np.arange(len(scores)) % 2)]
    return bool((right > wrong).mean() >= share)


# ---- facts as people ----


def test_facts_are_rows_below_the_matrix():
    data = tastes()
    rng = np.random.default_rng(1)
    facts = sparse.csr_array(rng.random((N, 6)) * (rng.random((N, 6)) < 0.5))
    ours = FactAutoencoder(facts, weight=3.0, dropout=0.4, l2=2.0).fit(data)
    x = np.vstack([data.matrix().toarray(), 3.0**0.5 * facts.toarray().T])
    gram = x.T @ x
    penalty = np.diag(2.0 + np.diag(gram) * 0.4 / 0.6)
    np.testing.assert_allclose(ours.weights_, np.linalg.solve(gram + penalty, gram), atol=1e-5)


def test_without_weight_it_is_the_autoencoder():
    data, facts = tastes(), fact_matrix(FACTS, LINKS, tastes())[0]
    plain = DenoisingAutoencoder(l2=5.0).fit(data)
    np.testing.assert_allclose(
        FactAutoencoder(facts, 0.0, l2=5.0).fit(data).score_indices([0, 1]), plain.score_indices([0, 1]), atol=1e-6
    )
    assert not knows_the_kinds(plain.score_indices(range(40)))


def test_facts_recommend_what_nobody_has_met():
    data = tastes()
    model = FactAutoencoder(fact_matrix(FACTS, LINKS, data)[0], weight=5.0, l2=5.0).fit(data)
    assert knows_the_kinds(model.score_indices(range(40)))
    assert model.score_new([[(0, 5.0), (1, 5.0)]])[0, 9] > model.score_new([[(10, 5.0)]])[0, 9]


def test_bad_facts_are_refused():
    with pytest.raises(SettingError, match=r"weight.*-1"):
        FactAutoencoder(sparse.csr_array((N, 2)), weight=-1)
    with pytest.raises(SettingError, match=r"3 .*20"):
        FactAutoencoder(sparse.csr_array((3, 2))).fit(tastes())


# ---- facts where texts stand ----


def test_facts_stand_where_a_text_stands():
    data = tastes()
    texts = data.items["text"].tolist()
    encoder = FactEncoder(fact_matrix(FACTS, LINKS, data)[0], texts)
    vectors = encoder.encode([texts[3], "unheard of", texts[12]])
    assert vectors.tolist() == [[1, 0], [0, 0], [0, 1]]
    assert knows_the_kinds(TextRecommender(encoder).fit(data).score_indices(range(40)))


def test_an_encoder_needs_facts_for_all_texts():
    with pytest.raises(SettingError, match=r"2 .*3"):
        FactEncoder(sparse.csr_array((2, 1)), ["a", "b", "c"])


# ---- learned together ----


def test_cke_learns_tastes_with_and_without_facts():
    data, graph = tastes(unmet=()), KnowledgeGraph.from_frame(FACTS)
    for weight in (0.0, 1.0):
        scores = (
            CKE(graph, LINKS, weight, dim=8, n_epochs=30, learning_rate=0.05, dropout=0.1)
            .fit(data)
            .score_indices(range(40))
        )
        own = np.repeat(np.arange(2) == 0, 10)
        assert (scores[::2][:, own].mean(1) > scores[::2][:, ~own].mean(1)).all()
        assert (scores[1::2][:, ~own].mean(1) > scores[1::2][:, own].mean(1)).all()


def test_cke_scores_as_it_trains():
    data, graph = tastes(), KnowledgeGraph.from_frame(FACTS)
    model = CKE(graph, LINKS.drop([3]), dim=8, n_epochs=1).fit(data)
    model.net_.eval()
    with torch.no_grad():
        slow = model.net_(torch.arange(40), torch.arange(N).expand(40, -1)).numpy()
    np.testing.assert_allclose(model.score_indices(range(40)), slow, atol=1e-5)
    assert model.net_.entity[3] == -1
    own = model.net_.item.weight
    vectors = model.net_.vectors(torch.arange(N))
    torch.testing.assert_close(vectors[3], own[3])
    torch.testing.assert_close(vectors[4], own[4] + model.net_.graph.entity.weight[model.net_.entity[4]])


def test_cke_learns_the_facts_too():
    data, graph = tastes(), KnowledgeGraph.from_frame(FACTS)

    def loss_of_facts(weight):
        net = CKE(graph, LINKS, weight, dim=8, n_epochs=30, learning_rate=0.05).fit(data).net_.graph
        return graph_loss(net.eval(), torch.from_numpy(graph.triples), torch.arange(len(graph.entities))).item()

    assert loss_of_facts(1.0) < 0.9 * loss_of_facts(0.0)


def test_cke_without_weight_leaves_the_entities_out():
    model = CKE(KnowledgeGraph.from_frame(FACTS), LINKS, 0.0, dim=8, n_epochs=1).fit(tastes())
    assert (model.net_.entity == -1).all()


def test_cke_refuses_what_it_cannot_learn_from():
    data, graph = tastes(), KnowledgeGraph.from_frame(FACTS)
    with pytest.raises(SettingError, match=r"weight.*-1"):
        CKE(graph, LINKS, -1.0)
    with pytest.raises(SettingError):
        CKE(graph, LINKS).fit(data.with_interactions(data.interactions.head(0)))


# ---- one graph ----


def test_one_graph_of_people_and_films():
    data = tastes()
    learned = KnowledgeEmbedding("complex", dim=16, n_epochs=60, negatives=32, batch_size=128, dropout=0.1)
    model = GraphRecommender(FACTS, LINKS, learned).fit(data)
    assert np.isfinite(model.score_indices(range(40))).all()
    assert knows_the_kinds(model.score_indices(range(40)), share=0.9)


def test_items_and_users_that_are_not_in_the_graph_come_last():
    data = tastes()
    model = GraphRecommender(None, None, KnowledgeEmbedding(dim=8, n_epochs=1)).fit(data)
    assert np.isneginf(model.score_indices([0])[0, [9, 19]]).all()
    shy = data.with_interactions(data.interactions[data.interactions["user_id"] != 5])
    assert np.isneginf(
        GraphRecommender(None, None, KnowledgeEmbedding(dim=8, n_epochs=1)).fit(shy).score_indices([5])
    ).all()

"""Chapter 17: vectors for the entities and relations of a knowledge graph, trained to predict missing facts."""

from __future__ import annotations

from functools import partial
from typing import Literal, Protocol

import numpy as np
import pandas as pd
import torch
from sklearn.exceptions import NotFittedError
from torch import Tensor, nn
from torch.nn import functional as F

from llmrec_lite.compute import adam_epochs, pick_device, shuffled_batches
from llmrec_lite.errors import SettingError
from llmrec_lite.knowledge.graph import KnowledgeGraph

Scorer = Literal["transe", "distmult", "complex"]
SCORERS = ("transe", "distmult", "complex")


class KGEModel(nn.Module):
    """Score facts (h, r, t); relation r read backwards is relation r + n_relations.

    - "transe": -|e_h + w_r - e_t| (Bordes et al., NIPS 2013)
    - "distmult": sum of e_h * w_r * e_t (Yang et al., ICLR 2015)
    - "complex": the real part of the sum of e_h * w_r * conj(e_t), e and w complex (Trouillon et al., ICML 2016)

    Complex vectors have dim / 2 entries: first the real parts, then the imaginary ones.
    """

    def __init__(self, n_entities: int, n_relations: int, dim: int, scorer: Scorer) -> None:
        super().__init__()
        if scorer not in SCORERS:
            raise SettingError(f"scorer must be one of {', '.join(SCORERS)}, not {scorer!r}")
        if dim % 2 and scorer == "complex":
            raise SettingError(f"complex needs an even d, for real and imaginary parts, not {dim}")
        self.scorer = scorer
        self.entity, self.relation = nn.Embedding(n_entities, dim), nn.Embedding(2 * n_relations, dim)
        for table in (self.entity, self.relation):
            nn.init.normal_(table.weight, std=dim**-0.5)

    def query(self, head: Tensor, relation: Tensor) -> Tensor:
        """Return where the tail should be, (n,), (n,) -> (n, d)."""
        e, w = self.entity(head), self.relation(relation)
        if self.scorer == "transe":
            return e + w
        if self.scorer == "distmult":
            return e * w
        (a, b), (c, s) = e.chunk(2, -1), w.chunk(2, -1)
        return torch.cat([a * c - b * s, a * s + b * c], -1)

    def compare(self, query: Tensor, tails: Tensor) -> Tensor:
        """Score entity vectors for queries, (n, d), (m, d) -> (n, m)."""
        if self.scorer == "transe":
            return -torch.cdist(query, tails)
        return query @ tails.T

    def forward(self, head: Tensor, relation: Tensor, tails: Tensor) -> Tensor:
        """Score m entities as tails, (n,), (n,), (m,) -> (n, m)."""
        return self.compare(self.query(head, relation), self.entity(tails))


def graph_loss(net: KGEModel, facts: Tensor, negatives: Tensor, dropout: float = 0.0) -> Tensor:
    """Tell the true tail from entities drawn for the whole batch, (n, 3), (m,) -> (): cross-entropy over 1 + m.

    The softmax over the entities is that of Lacroix, Usunier and Obozinski, "Canonical Tensor Decomposition for
    Knowledge Base Completion", ICML 2018; a copy of the true tail among those drawn does not count against it.
    """
    head, relation, tail = facts.T
    query = F.dropout(net.query(head, relation), dropout, net.training)
    rivals = net.compare(query, net.entity(negatives)).masked_fill(negatives == tail[:, None], -torch.inf)
    e = net.entity(tail)
    true = -(query - e).norm(dim=-1) if net.scorer == "transe" else (query * e).sum(-1)
    return F.cross_entropy(torch.cat([true[:, None], rivals], 1), torch.zeros_like(tail))


def add_inverse_triples(triples: np.ndarray, n_relations: int) -> np.ndarray:
    """Add each fact read backwards, as relation r + n_relations: (n, 3) -> (2 n, 3)."""
    head, relation, tail = triples.T
    return np.concatenate([triples, np.stack([tail, relation + n_relations, head], 1)])


class TailScorer(Protocol):
    """What link prediction asks of a model."""

    def score_tails(self, heads: np.ndarray, relations: np.ndarray) -> np.ndarray:
        """Return (n, n_entities), higher is better; relation r + n_relations is r read backwards."""
        ...


class KnowledgeEmbedding:
    """Vectors of entities and relations, trained by contrasting true facts, read both ways, with made-up ones.

    Args:
        scorer: see `KGEModel`.
        dim: length of the vectors.
        learning_rate: of Adam, falling to zero along half a cosine.
        negatives: entities drawn for each step.
        dropout: of the vector that a tail is compared with.
    """

    net_: KGEModel

    def __init__(
        self,
        scorer: Scorer = "complex",
        dim: int = 64,
        n_epochs: int = 30,
        learning_rate: float = 0.01,
        negatives: int = 512,
        dropout: float = 0.3,
        batch_size: int = 1024,
        seed: int = 0,
        device: str = "auto",
        progress: bool = False,
    ) -> None:
        self.scorer: Scorer = scorer
        self.dim, self.n_epochs, self.learning_rate, self.negatives = dim, n_epochs, learning_rate, negatives
        self.dropout, self.batch_size = dropout, batch_size
        self.seed, self.device, self.progress = seed, device, progress

    def fit(self, graph: KnowledgeGraph) -> KnowledgeEmbedding:
        """Learn from the facts of a graph; `losses_` holds the mean loss of every epoch."""
        if not len(graph):
            raise SettingError("the graph has no fact to learn from")
        device, n_entities = pick_device(self.device), len(graph.entities)
        facts = torch.from_numpy(add_inverse_triples(graph.triples, len(graph.relations)))
        generator = torch.Generator().manual_seed(self.seed)
        with torch.random.fork_rng(devices=range(torch.cuda.device_count())):
            torch.manual_seed(self.seed)
            self.net_ = KGEModel(n_entities, len(graph.relations), self.dim, self.scorer).to(device)

            def loss(rows: Tensor) -> Tensor:
                drawn = torch.randint(n_entities, (self.negatives,), generator=generator).to(device)
                return graph_loss(self.net_, facts[rows].to(device), drawn, self.dropout)

            batches = partial(shuffled_batches, len(facts), self.batch_size, generator)
            bar = self.scorer if self.progress else None
            self.losses_ = list(adam_epochs(self.net_, batches, loss, self.n_epochs, self.learning_rate, progress=bar))
        self.net_.eval()
        return self

    @torch.no_grad()
    def score_tails(self, heads: np.ndarray, relations: np.ndarray) -> np.ndarray:
        """Scores of all entities as tails, (n,), (n,) -> (n, n_entities) float32; r + n_relations is r backwards."""
        if not hasattr(self, "net_"):
            raise NotFittedError("call fit(graph) before score_tails")
        device = self.net_.entity.weight.device
        head, relation = (torch.from_numpy(np.asarray(part, np.int64)).to(device) for part in (heads, relations))
        return self.net_.compare(self.net_.query(head, relation), self.net_.entity.weight).cpu().numpy()


class RelationFrequency:
    """The baseline: how often an entity is the tail of the relation, whatever the head is."""

    def fit(self, graph: KnowledgeGraph) -> RelationFrequency:
        """Count."""
        _, relation, tail = add_inverse_triples(graph.triples, len(graph.relations)).T
        self.counts_ = np.zeros((2 * len(graph.relations), len(graph.entities)), np.float32)
        np.add.at(self.counts_, (relation, tail), 1)
        return self

    def score_tails(self, heads: np.ndarray, relations: np.ndarray) -> np.ndarray:
        """Return the counts, (n, n_entities)."""
        return self.counts_[relations]


def link_prediction(model: TailScorer, test: KnowledgeGraph, known: KnowledgeGraph) -> pd.DataFrame:
    """Filtered rank of the true entity among all, for every fact of `test` from both ends.

    Bordes et al., NIPS 2013. Other true answers are left out, those of `test` and of `known`, which holds the facts of
    training and validation. Equal scores get the mean of their ranks, so that a constant model is not the best.

    Returns:
        A row for each question: relation (its name), side ("tail" or "head"), rank (1 is best).
    """
    n = len(test.relations)
    facts = add_inverse_triples(test.triples, n)
    true = pd.DataFrame(np.concatenate([facts, add_inverse_triples(known.triples, n)]), columns=["h", "r", "t"])
    answers = true.groupby(["h", "r"])["t"].agg(np.array)
    ranks = np.empty(len(facts))
    for start in range(0, len(facts), 512):
        part = facts[start : start + 512]
        for row, (scores, (h, r, t)) in enumerate(zip(model.score_tails(part[:, 0], part[:, 1]), part, strict=True)):
            ranks[start + row] = filtered_rank(scores, int(t), answers[h, r])
    side = np.repeat(["tail", "head"], len(test))
    return pd.DataFrame({"relation": test.relations[facts[:, 1] % n], "side": side, "rank": ranks})


def filtered_rank(scores: np.ndarray, true: int, answers: np.ndarray) -> float:
    """Return the rank of entity `true` by `scores`, (n_entities,), without the other right `answers`; ties share."""
    rivals = np.ones(len(scores), bool)
    rivals[answers] = rivals[true] = False
    others = np.asarray(scores)[rivals]
    return float(1 + (others > scores[true]).sum() + (others == scores[true]).sum() / 2)


def mrr_and_hits(ranks: pd.DataFrame) -> pd.Series:
    """Return mrr (mean of 1 / rank) and hits@1, 3, 10 of a table of `link_prediction`."""
    rank = ranks["rank"]
    return pd.Series({"mrr": (1 / rank).mean()} | {f"hits@{k}": (rank <= k).mean() for k in (1, 3, 10)})

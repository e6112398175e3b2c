"""Chapter 17: recommenders that know facts about the items."""

from __future__ import annotations

from functools import partial

import numpy as np
import pandas as pd
import torch
from torch import Tensor, nn

from llmrec_lite.compute import adam_epochs, pick_device, shuffled_batches
from llmrec_lite.data import Dataset
from llmrec_lite.errors import SettingError
from llmrec_lite.knowledge.embedding import KGEModel, KnowledgeEmbedding, Scorer, add_inverse_triples, graph_loss
from llmrec_lite.knowledge.facts import FactAutoencoder, FactEncoder
from llmrec_lite.knowledge.graph import KnowledgeGraph, people_and_context
from llmrec_lite.knowledge.meta_knowledge import sampled_softmax
from llmrec_lite.recommenders.base import BaseRecommender

__all__ = ["CKE", "CKENet", "FactAutoencoder", "FactEncoder", "GraphRecommender"]


class CKENet(nn.Module):
    """Matrix factorization in which an item is its own vector and that of its entity in the graph.

    Shapes: users (n,), items (n, m) -> scores (n, m).
    """

    entity: Tensor  # of each item, (n_items,); -1 where there is none

    def __init__(self, n_users: int, dim: int, dropout: float, entity: Tensor, graph: KGEModel) -> None:
        super().__init__()
        self.user, self.item = nn.Embedding(n_users, dim), nn.Embedding(len(entity), dim)
        self.bias = nn.Embedding(len(entity), 1)
        self.graph, self.dropout = graph, nn.Dropout(dropout)
        self.register_buffer("entity", entity)
        for table in (self.user, self.item):
            nn.init.normal_(table.weight, std=0.1)
        nn.init.zeros_(self.bias.weight)

    def vectors(self, items: Tensor) -> Tensor:
        """Return item + entity, (...) -> (..., d)."""
        entity = self.entity[items]
        return self.item(items) + self.graph.entity(entity.clamp(min=0)) * (entity >= 0)[..., None]

    def forward(self, users: Tensor, items: Tensor) -> Tensor:
        """Return the score of each pair."""
        vectors = self.dropout(self.vectors(items))
        return (self.dropout(self.user(users))[:, None] * vectors).sum(-1) + self.bias(items).squeeze(-1)


class CKE(BaseRecommender):
    """Learn to recommend and to predict facts at once; the item's entity is a part of its vector.

    Zhang et al., "Collaborative Knowledge Base Embedding for Recommender Systems", KDD 2016, eq. 9 and 10, without
    their texts and pictures, with a softmax over sixteen items drawn at random in place of pairs, and a scorer of
    `KGEModel` in place of TransR.

    Args:
        graph: the facts.
        links: the entity of each item, by raw item id.
        weight: of the loss of the facts; 0 trains no fact, and leaves the entities out.
        scorer: of the facts, see `KGEModel`.
        dim: length of all vectors.
        learning_rate: of Adam, falling to zero along half a cosine.
        dropout: of the vectors of users and items.
        negatives: items drawn for each interaction.
    """

    def __init__(
        self,
        graph: KnowledgeGraph,
        links: pd.Series,
        weight: float = 1.0,
        scorer: Scorer = "transe",
        dim: int = 64,
        n_epochs: int = 30,
        learning_rate: float = 0.01,
        dropout: float = 0.5,
        negatives: int = 16,
        batch_size: int = 1024,
        seed: int = 0,
        device: str = "auto",
        progress: bool = False,
    ) -> None:
        if weight < 0:
            raise SettingError(f"weight must not be negative, but is {weight!r}")
        self.graph, self.links, self.weight, self.scorer = graph, links, weight, scorer
        self.dim, self.n_epochs, self.learning_rate, self.dropout = dim, n_epochs, learning_rate, dropout
        self.negatives, self.batch_size, self.seed, self.device, self.progress = (
            negatives,
            batch_size,
            seed,
            device,
            progress,
        )

    def _fit(self, train: Dataset) -> None:
        device = pick_device(self.device)
        users, items = (torch.from_numpy(side.astype(np.int64)) for side in train.matrix().nonzero())
        if not len(users):
            raise SettingError("there is no interaction to learn from")
        entity = self.graph.entities.get_indexer([self.links.get(item, "") for item in train.items["item_id"]])
        facts = torch.from_numpy(add_inverse_triples(self.graph.triples, len(self.graph.relations)))
        generator = torch.Generator().manual_seed(self.seed)
        with torch.random.fork_rng(devices=range(torch.cuda.device_count())):
            torch.manual_seed(self.seed)
            known = torch.from_numpy(entity if self.weight else np.full_like(entity, -1))
            net = KGEModel(len(self.graph.entities), len(self.graph.relations), self.dim, self.scorer)
            nn.init.normal_(net.entity.weight, std=0.1)
            self.net_ = CKENet(train.n_users, self.dim, self.dropout, known, net).to(device)

            def loss(rows: Tensor) -> Tensor:
                pairs = users[rows].to(device), items[rows].to(device)
                value = sampled_softmax(self.net_, *pairs, train.n_items, self.negatives, generator)
                if not self.weight:
                    return value
                some = facts[torch.randint(len(facts), (self.batch_size,), generator=generator)].to(device)
                rivals = torch.randint(len(self.graph.entities), (256,), generator=generator).to(device)
                return value + self.weight * graph_loss(net, some, rivals)

            batches = partial(shuffled_batches, len(users), self.batch_size, generator)
            bar = "CKE" if self.progress else None
            self.losses_ = list(adam_epochs(self.net_, batches, loss, self.n_epochs, self.learning_rate, progress=bar))

    @torch.no_grad()
    def _score(self, users: np.ndarray) -> np.ndarray:
        self.net_.eval()
        device = self.net_.bias.weight.device
        vectors = self.net_.vectors(torch.arange(self.net_.item.num_embeddings, device=device))
        scores = self.net_.user(torch.from_numpy(users).to(device)) @ vectors.T + self.net_.bias.weight.T
        return scores.cpu().numpy()


class GraphRecommender(BaseRecommender):
    """People, items, facts and context in one graph; what to recommend is the missing tail of (user, liked, ?).

    Args:
        facts: about the items' entities, columns head, relation, tail; None for what the data hold alone.
        links: the entity of each item, by raw item id.
        embedding: what learns the graph; a `KnowledgeEmbedding` with its defaults where None.
        liked: the lowest rating that makes a film liked.
    """

    def __init__(
        self,
        facts: pd.DataFrame | None = None,
        links: pd.Series | None = None,
        embedding: KnowledgeEmbedding | None = None,
        liked: float = 4.0,
    ) -> None:
        self.facts, self.links, self.liked = facts, links, liked
        self.embedding = KnowledgeEmbedding() if embedding is None else embedding

    def _fit(self, train: Dataset) -> None:
        known = people_and_context(train, self.links, self.liked)
        if self.facts is not None:
            known = pd.concat([known, self.facts], ignore_index=True)
        self.graph_ = KnowledgeGraph.from_frame(known)
        self.embedding_ = self.embedding.fit(self.graph_)
        items, users = train.items["item_id"], train.users["user_id"]
        linked = {} if self.links is None else self.links.to_dict()
        entity = [linked.get(item, f"item {item}") for item in items]
        self.items_ = self.graph_.entities.get_indexer(entity)
        self.users_ = self.graph_.entities.get_indexer("user " + users.astype(str))
        self.liked_ = self.graph_.relations.get_loc("liked")

    def _score(self, users: np.ndarray) -> np.ndarray:
        scores = np.full((len(users), len(self.items_)), -np.inf, np.float32)
        found = self.users_[users] >= 0
        if found.any():
            tails = self.embedding_.score_tails(self.users_[users][found], np.full(found.sum(), self.liked_))
            scores[found] = np.where(self.items_ >= 0, tails[:, self.items_], -np.inf)
        return scores

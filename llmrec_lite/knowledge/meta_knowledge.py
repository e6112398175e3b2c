"""Chapter 16: meta-knowledge, a correction of the dot product for every pair, and what to make of a history."""

from __future__ import annotations

from functools import partial
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from llmrec_lite.compute import adam_epochs, pick_device, shuffled_batches
from llmrec_lite.data import Dataset
from llmrec_lite.errors import SettingError
from llmrec_lite.recommenders.base import BaseRecommender
from llmrec_lite.recommenders.sequential import GRUNet, SequenceNet, SequenceRecommender

Correction = Literal["none", "vector", "network"]
Pool = Literal["mean", "recency", "attention", "attention and recency"]


class PairCorrection(nn.Module):
    """The vector k_ui by which a pair's dot product is corrected, equation (16.2): (..., d), (..., d) -> (..., d).

    "none" is zero, "vector" one learned vector for all pairs, "network" a perceptron with one hidden layer that reads
    the factors of user and item. The last layer begins at zero, so that the corrected score begins as the dot product.
    """

    def __init__(self, dim: int, correction: Correction, hidden: int = 64) -> None:
        super().__init__()
        if correction not in ("none", "vector", "network"):
            raise SettingError(f'correction must be "none", "vector" or "network", not {correction!r}')
        self.correction = correction
        if correction == "vector":
            self.k = nn.Parameter(torch.zeros(dim))
        elif correction == "network":
            # The first layer of [u; i] in two parts: what is the same for all items, or users, is computed once.
            self.of_user, self.of_item = nn.Linear(dim, hidden), nn.Linear(dim, hidden, bias=False)
            self.out = nn.Linear(hidden, dim)
            nn.init.zeros_(self.out.weight)
            nn.init.zeros_(self.out.bias)

    def forward(self, u: Tensor, i: Tensor) -> Tensor:
        """Return k_ui; the shapes of u and i need only be broadcast to each other."""
        if self.correction == "network":
            return self.out(torch.relu(self.of_user(u) + self.of_item(i)))
        if self.correction == "vector":
            return self.k.expand(torch.broadcast_shapes(u.shape, i.shape))
        return torch.zeros((), device=u.device).expand(torch.broadcast_shapes(u.shape, i.shape))


def corrected_score(u: Tensor, i: Tensor, k: Tensor) -> Tensor:
    """Return s' = u . i + k . (u * i), equation (16.2): (..., d) each -> (...)."""
    return (u * i * (1 + k)).sum(-1)


class MetaKnowledgeNet(nn.Module):
    """Factors of users and items, an item's bias, and the correction of their products.

    Shapes: users (n,), items (n, m) -> scores (n, m).
    """

    def __init__(
        self, n_users: int, n_items: int, dim: int, correction: Correction, hidden: int, dropout: float
    ) -> None:
        super().__init__()
        self.user, self.item = nn.Embedding(n_users, dim), nn.Embedding(n_items, dim)
        self.bias = nn.Embedding(n_items, 1)
        self.knowledge = PairCorrection(dim, correction, hidden)
        self.dropout = nn.Dropout(dropout)
        for table in (self.user, self.item):
            nn.init.normal_(table.weight, std=0.1)
        nn.init.zeros_(self.bias.weight)

    def forward(self, users: Tensor, items: Tensor) -> Tensor:
        """Return the corrected score of each pair."""
        u, i = self.dropout(self.user(users))[:, None], self.dropout(self.item(items))  # (n, 1, d), (n, m, d)
        return corrected_score(u, i, self.knowledge(u, i)) + self.bias(items).squeeze(-1)


def sampled_softmax(
    net: nn.Module, users: Tensor, items: Tensor, n_items: int, negatives: int, generator: torch.Generator
) -> Tensor:
    """Sampled softmax loss of seen items against `negatives` items drawn at random for each, (n,), (n,) -> ().

    Jean et al., "On Using Very Large Target Vocabulary for Neural Machine Translation", ACL 2015. All items are drawn
    alike, so nothing is corrected for how they are drawn. The net scores users (n,) and items (n, m), on its device, as
    (n, m); the generator is on the CPU.
    """
    drawn = torch.randint(n_items, (len(users), negatives), generator=generator)
    choice = torch.cat([items[:, None], drawn.to(items.device)], dim=1)
    # What was drawn may be the item itself; its copy would halve the pull on it, and more.
    same = choice == choice[:, :1]
    same[:, 0] = False
    scores = net(users, choice).masked_fill(same, -torch.inf)
    return F.cross_entropy(scores, torch.zeros_like(items))


class MetaKnowledge(BaseRecommender):
    """Matrix factorization whose dot product is corrected for every pair by a small network.

    S3's idea with shapes that fit, trained by `sampled_softmax`. With "none" this is plain matrix factorization, with
    "vector" its factors have learned weights (the generalized matrix factorization of He et al., WWW 2017, without
    their sigmoid).

    Args:
        correction: "none", "vector" or "network", see `PairCorrection`.
        dim: length of the factors.
        learning_rate: of Adam, falling to zero along half a cosine.
        negatives: items drawn anew in each epoch for each interaction.
        hidden: units of the network.
        start: factors of the users (n_users, d) and items (n_items, d) to begin with, such as those of `ALS`; d is
            then theirs.
        scale: by what the dot products of `start` are multiplied; a softmax asks for larger ones than ALS gives.
    """

    def __init__(
        self,
        correction: Correction = "network",
        dim: int = 64,
        n_epochs: int = 20,
        learning_rate: float = 0.003,
        negatives: int = 16,
        weight_decay: float = 0.0,
        dropout: float = 0.3,
        hidden: int = 64,
        batch_size: int = 1024,
        start: tuple[np.ndarray, np.ndarray] | None = None,
        scale: float = 8.0,
        seed: int = 0,
        device: str = "auto",
        progress: bool = False,
    ) -> None:
        if negatives < 1:
            raise SettingError(f"negatives must be at least 1, not {negatives}: there is nothing to contrast with")
        self.correction: Correction = correction
        self.dim, self.n_epochs, self.learning_rate, self.negatives = dim, n_epochs, learning_rate, negatives
        self.weight_decay, self.dropout, self.hidden, self.batch_size = weight_decay, dropout, hidden, batch_size
        self.start, self.scale, self.seed, self.device, self.progress = start, scale, seed, device, progress

    def _fit(self, train: Dataset) -> None:
        device, dim = pick_device(self.device), self.dim
        if self.start is not None:
            dim = self.start[0].shape[1]
            shapes, expected = tuple(a.shape for a in self.start), ((train.n_users, dim), (train.n_items, dim))
            if shapes != expected:
                raise SettingError(f"start has the shapes {shapes}, the data ask for {expected}")
        users, items = (torch.from_numpy(side.astype(np.int64)) for side in train.matrix().nonzero())
        if not len(users):
            raise SettingError("there is no interaction to learn from")
        generator = torch.Generator().manual_seed(self.seed)
        with torch.random.fork_rng(devices=range(torch.cuda.device_count())):
            torch.manual_seed(self.seed)
            self.net_ = MetaKnowledgeNet(train.n_users, train.n_items, dim, self.correction, self.hidden, self.dropout)
            if self.start is not None:
                for table, factors in zip((self.net_.user, self.net_.item), self.start, strict=True):
                    table.weight.data.copy_(torch.from_numpy(factors * self.scale**0.5))
            self.net_.to(device)

            def loss(rows: Tensor) -> Tensor:
                pairs = users[rows].to(device), items[rows].to(device)
                return sampled_softmax(self.net_, *pairs, train.n_items, self.negatives, generator)

            batches = partial(shuffled_batches, len(users), self.batch_size, generator)
            how: dict[str, Any] = {
                "weight_decay": self.weight_decay,
                "progress": "MetaKnowledge" if self.progress else None,
            }
            self.losses_ = list(adam_epochs(self.net_, batches, loss, self.n_epochs, self.learning_rate, **how))

    @torch.no_grad()
    def _score(self, users: np.ndarray) -> np.ndarray:
        self.net_.eval()
        device = self.net_.bias.weight.device
        every = torch.arange(self.net_.item.num_embeddings, device=device)
        rows = [
            self.net_(one, every.expand(len(one), -1)).cpu().numpy()
            for one in torch.from_numpy(users).to(device).split(32)  # (32, n_items, d) numbers at a time
        ]
        return np.concatenate(rows)


class PoolingNet(SequenceNet):
    """Make a state of a history by a weighted mean of its items; each position looks back only.

    The weight of item s for the state after item t is the softmax over s of a logit: 0 for "mean"; a learned number
    for each distance t - s for "recency", the last one for all that is farther away; q(e_t) . k(e_s) / sqrt(d) for
    "attention" (Vaswani et al., 2017); the sum of the two for "attention and recency". A linear layer follows.

    Shapes: items (n, t) -> states (n, t, d).
    """

    def __init__(self, n_items: int, dim: int, dropout: float, length: int, pool: Pool) -> None:
        super().__init__()
        if pool not in ("mean", "recency", "attention", "attention and recency"):
            raise SettingError(f'pool must be "mean", "recency", "attention" or both together, not {pool!r}')
        self.embed = nn.Embedding(n_items + 1, dim, padding_idx=0)
        self.out, self.dropout = nn.Linear(dim, dim), nn.Dropout(dropout)
        self.attend = "attention" in pool
        if self.attend:
            self.query, self.key = nn.Linear(dim, dim, bias=False), nn.Linear(dim, dim, bias=False)
        self.by_distance = nn.Parameter(torch.zeros(length)) if "recency" in pool else None

    def weights(self, items: Tensor) -> Tensor:
        """Return how much the state after t takes of item s, (n, t, t); 0 for the future and for padding."""
        e = self.embed(items)
        t = items.shape[1]
        logits = torch.zeros(len(items), t, t, device=items.device)
        if self.attend:
            logits = self.query(e) @ self.key(e).transpose(1, 2) / e.shape[-1] ** 0.5
        distance = torch.arange(t, device=items.device)[:, None] - torch.arange(t, device=items.device)
        if self.by_distance is not None:
            logits = logits + self.by_distance[distance.clamp(0, len(self.by_distance) - 1)]
        may = (distance >= 0) & (items > 0)[:, None, :]
        # A position with nothing to look at would be nan; it gets zeros.
        return torch.softmax(logits.masked_fill(~may, -1e9), -1) * may

    def forward(self, items: Tensor) -> Tensor:
        """Return the state after every item."""
        return self.out(self.dropout(self.weights(items) @ self.dropout(self.embed(items))))


class PooledHistory(SequenceRecommender):
    """Sequence model whose state is a weighted mean of the history; `pool` as in `PoolingNet`, the rest inherited."""

    def __init__(self, pool: Pool = "attention", **options: object) -> None:
        super().__init__(**options)  # type: ignore[arg-type]
        self.pool: Pool = pool

    def _network(self, n_items: int) -> SequenceNet:
        return PoolingNet(n_items, self.dim, self.dropout, self.length, self.pool)


class LSTM4Rec(SequenceRecommender):
    """Sequence model with a long short-term memory, see `GRUNet`."""

    def _network(self, n_items: int) -> SequenceNet:
        return GRUNet(n_items, self.dim, self.dropout, cell="lstm")

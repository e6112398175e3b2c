"""Chapter 5: neural collaborative filtering, and what every network of the chapter shares."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from llmrec_lite.compute import adam_epochs, pick_device
from llmrec_lite.data import Dataset
from llmrec_lite.recommenders.base import BaseRecommender


class NeuMFNet(nn.Module):
    """Two views of a user and an item, joined by a linear layer.

    One view multiplies two embeddings element by element (matrix factorization with a weight per factor),
    the other feeds two embeddings through a small multilayer perceptron.

    Shapes: users (n,), items (n,) -> logits (n,).
    """

    def __init__(self, n_users: int, n_items: int, factors: int, dropout: float) -> None:
        super().__init__()
        self.user_product, self.item_product = nn.Embedding(n_users, factors), nn.Embedding(n_items, factors)
        self.user_deep, self.item_deep = nn.Embedding(n_users, factors), nn.Embedding(n_items, factors)
        self.deep = nn.Sequential(
            nn.Linear(2 * factors, factors),
            nn.ReLU(),
            nn.Dropout(dropout),
            nn.Linear(factors, factors // 2),
            nn.ReLU(),
        )
        self.join = nn.Linear(factors + factors // 2, 1)
        for table in (self.user_product, self.item_product, self.user_deep, self.item_deep):
            nn.init.normal_(table.weight, std=0.05)

    def forward(self, users: Tensor, items: Tensor) -> Tensor:
        """Return the logit of "user interacted with item" for every pair."""
        product = self.user_product(users) * self.item_product(items)
        deep = self.deep(torch.cat([self.user_deep(users), self.item_deep(items)], dim=-1))
        return self.join(torch.cat([product, deep], dim=-1)).squeeze(-1)


class NeuMF(BaseRecommender):
    """Neural matrix factorization: learn from seen pairs (1) and randomly drawn ones (0) by binary cross-entropy.

    He et al., "Neural Collaborative Filtering", WWW 2017, trained in one go instead of from two pre-trained halves.

    Args:
        factors: length of each of the four embeddings.
        negatives: pairs drawn anew in each epoch for each seen pair.
        dropout: inside the perceptron.
    """

    def __init__(
        self,
        factors: int = 32,
        n_epochs: int = 20,
        learning_rate: float = 0.002,
        negatives: int = 4,
        weight_decay: float = 1e-5,
        dropout: float = 0.2,
        batch_size: int = 1024,
        seed: int = 0,
        device: str = "auto",
        progress: bool = False,
    ) -> None:
        self.factors, self.negatives = factors, negatives
        self.n_epochs, self.learning_rate = n_epochs, learning_rate
        self.weight_decay, self.dropout, self.batch_size, self.seed = weight_decay, dropout, batch_size, seed
        self.device, self.progress = device, progress

    def _fit(self, train: Dataset) -> None:
        device = pick_device(self.device)
        # A seed that is passed, and no trace in the global state: manual_seed seeds every GPU as well.
        with torch.random.fork_rng(devices=range(torch.cuda.device_count())):
            torch.manual_seed(self.seed)
            self.net_ = NeuMFNet(train.n_users, train.n_items, self.factors, self.dropout).to(device)
            self.losses_ = self._train(train, device)
        self.n_items_ = train.n_items

    def _train(self, train: Dataset, device: torch.device) -> list[float]:
        rng = np.random.default_rng(self.seed)
        seen = train.matrix().toarray() > 0
        users, items = np.nonzero(seen)

        def batches() -> list[np.ndarray]:
            return np.array_split(rng.permutation(len(users)), -(-len(users) // self.batch_size))

        def loss(rows: np.ndarray) -> Tensor:
            u = np.repeat(users[rows], 1 + self.negatives)
            i = rng.integers(train.n_items, size=(len(rows), 1 + self.negatives))
            i[:, 0] = items[rows]
            target = torch.from_numpy(seen[u, i.reshape(-1)].astype(np.float32)).to(device)
            logits = self.net_(*(torch.from_numpy(a.reshape(-1)).to(device) for a in (u, i)))
            return F.binary_cross_entropy_with_logits(logits, target)

        options: dict[str, Any] = {"weight_decay": self.weight_decay, "progress": "NeuMF" if self.progress else None}
        return list(adam_epochs(self.net_, batches, loss, self.n_epochs, self.learning_rate, cosine=False, **options))

    @torch.no_grad()
    def _score(self, users: np.ndarray) -> np.ndarray:
        self.net_.eval()
        device = next(self.net_.parameters()).device
        every = torch.arange(self.n_items_, device=device)
        rows = [self.net_(torch.full_like(every, int(user)), every).cpu().numpy() for user in users]
        return np.stack(rows) if rows else np.empty((0, self.n_items_), np.float32)

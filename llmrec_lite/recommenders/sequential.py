"""Chapter 5: what comes next? From counting followers to networks that read the history in order."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable, Sequence
from typing import Literal

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from llmrec_lite.compute import adam_epochs, pick_device, shuffled_batches
from llmrec_lite.data import Dataset
from llmrec_lite.errors import SettingError
from llmrec_lite.interface import History
from llmrec_lite.recommenders.base import BaseRecommender


class SequenceNet(nn.Module):
    """What training asks of a network: items (n, t), 0 for padding -> states (n, t, d), and `embed`.

    `embed` holds item i at row i + 1 and zeros for padding at row 0.
    """

    embed: nn.Embedding


class CaserNet(SequenceNet):
    """Read the last `window` items as a picture of window x dim with small filters, as a CNN reads an image.

    Horizontal filters look at a few neighboring items at once, vertical ones take weighted sums over the
    window (Tang and Wang, "Personalized Top-N Sequential Recommendation via Convolutional Sequence
    Embedding", WSDM 2018, without its user embedding, so that it can serve new users).

    Shapes: items (n, t) -> states (n, t, d), the state at position s reading items s-window+1 .. s.
    """

    def __init__(self, n_items: int, dim: int, dropout: float, window: int = 5, filters: int = 16) -> None:
        super().__init__()
        self.window = window
        self.embed = nn.Embedding(n_items + 1, dim, padding_idx=0)
        # A filter as wide as dim slides along one axis only, so it is a 1-d convolution over time.
        self.horizontal = nn.ModuleList([nn.Conv1d(dim, filters, height) for height in range(2, window + 1)])
        self.vertical = nn.Linear(window, 4)
        self.out = nn.Sequential(nn.Dropout(dropout), nn.Linear(filters * (window - 1) + 4 * dim, dim))

    def forward(self, items: Tensor) -> Tensor:
        """Return the state after every item."""
        padded = F.pad(self.embed(items), (0, 0, self.window - 1, 0)).transpose(1, 2)  # (n, d, window - 1 + t)
        # The strongest answer of each filter within the window that ends at each position.
        across = [
            F.max_pool1d(F.relu(conv(padded)), self.window + 1 - height, stride=1)
            for height, conv in enumerate(self.horizontal, start=2)
        ]  # each (n, filters, t)
        down = self.vertical(padded.unfold(2, self.window, 1))  # (n, d, t, 4)
        return self.out(torch.cat([*(a.transpose(1, 2) for a in across), down.transpose(1, 2).flatten(2)], dim=2))


class GRUNet(SequenceNet):
    """Carry a state from item to item with a gated recurrent unit, or an LSTM.

    Shapes: items (n, t) -> states (n, t, d). Hidasi et al., "Session-based Recommendations with Recurrent
    Neural Networks", ICLR 2016.
    """

    def __init__(self, n_items: int, dim: int, dropout: float, cell: Literal["gru", "lstm"] = "gru") -> None:
        super().__init__()
        self.embed = nn.Embedding(n_items + 1, dim, padding_idx=0)
        self.dropout = nn.Dropout(dropout)
        self.recur = (nn.GRU if cell == "gru" else nn.LSTM)(dim, dim, batch_first=True)

    def forward(self, items: Tensor) -> Tensor:
        """Return the state after every item."""
        return self.dropout(self.recur(self.dropout(self.embed(items)))[0])


class SASRecBlock(nn.Module):
    """SASRec block: causal self-attention over the history, then a feed-forward network.

    Both are added to what came in (residual), after a layer normalization of their input.
    """

    def __init__(self, dim: int, heads: int, dropout: float) -> None:
        super().__init__()
        self.heads, self.dropout = heads, dropout
        self.norm_attn, self.norm_mlp = nn.LayerNorm(dim), nn.LayerNorm(dim)
        self.qkv, self.out_proj = nn.Linear(dim, 3 * dim), nn.Linear(dim, dim)
        self.mlp = nn.Sequential(nn.Linear(dim, 2 * dim), nn.ReLU(), nn.Dropout(dropout), nn.Linear(2 * dim, dim))

    def forward(self, x: Tensor, mask: Tensor) -> Tensor:
        """X (n, t, d), mask (n, 1, t, t) True where a query may look -> (n, t, d)."""
        n, t, dim = x.shape
        qkv = self.qkv(self.norm_attn(x)).view(n, t, 3, self.heads, dim // self.heads)
        q, k, v = qkv.permute(2, 0, 3, 1, 4)  # each (n, heads, t, d / heads)
        p = self.dropout if self.training else 0.0
        seen = F.scaled_dot_product_attention(q, k, v, attn_mask=mask, dropout_p=p)
        x = x + F.dropout(self.out_proj(seen.transpose(1, 2).reshape(n, t, dim)), self.dropout, self.training)
        return x + F.dropout(self.mlp(self.norm_mlp(x)), self.dropout, self.training)


class SASRecNet(SequenceNet):
    """Embedding -> Transformer -> state: self-attention over the history, each position looking back only.

    Shapes: items (n, t) -> states (n, t, d). Kang and McAuley, "Self-Attentive Sequential Recommendation", ICDM 2018.
    """

    def __init__(self, n_items: int, dim: int, dropout: float, length: int, blocks: int = 2, heads: int = 2) -> None:
        super().__init__()
        self.embed = nn.Embedding(n_items + 1, dim, padding_idx=0)
        self.pos_embedding = nn.Embedding(length, dim)
        self.dropout = nn.Dropout(dropout)
        self.blocks = nn.ModuleList([SASRecBlock(dim, heads, dropout) for _ in range(blocks)])
        self.norm = nn.LayerNorm(dim)

    def forward(self, items: Tensor) -> Tensor:
        """Return the state after every item."""
        t = items.shape[1]
        # Positions are counted from the end, so that the last item always has the same one.
        position = torch.arange(
            self.pos_embedding.num_embeddings - t, self.pos_embedding.num_embeddings, device=items.device
        )
        x = self.dropout(self.embed(items) * self.embed.embedding_dim**0.5 + self.pos_embedding(position))
        back = torch.ones(t, t, dtype=torch.bool, device=items.device).tril()
        itself = torch.eye(t, dtype=torch.bool, device=items.device)  # a padded position needs somewhere to look
        mask = (back & (items > 0)[:, None, :]) | itself
        for block in self.blocks:
            x = block(x, mask[:, None])
        return self.norm(x)


def histories_to_sequences(histories: Sequence[History], train: Dataset) -> list[np.ndarray]:
    """Item indices of each history in order of time (of the list, where no times are given)."""
    ordered = [sorted(h, key=lambda e: e[2]) if h and len(h[0]) > 2 else h for h in histories]  # type: ignore[misc]
    return [train.items_to_index([entry[0] for entry in history]) for history in ordered]


class _SequenceBased(BaseRecommender):
    """Recommender whose scores are those of a sequence, of a user of train (`sequences_`) or of a new one."""

    sequences_: list[np.ndarray]

    @abstractmethod
    def _score_sequences(self, sequences: Sequence[np.ndarray]) -> np.ndarray:
        """Scores of all items after each sequence of item indices, (len(sequences), n_items) float32."""

    def _score(self, users: np.ndarray) -> np.ndarray:
        return self._score_sequences([self.sequences_[user] for user in users])

    def score_new(self, histories: Sequence[History]) -> np.ndarray:
        """Score all items for users who were not in train, (len(histories), n_items) float32."""
        return self._score_sequences(histories_to_sequences(histories, self._fitted()))


class DecayedBigram(_SequenceBased):
    """Count what follows what, within a window of `steps`, and let older items count less.

    C[j, i] = sum over all i that come d <= steps positions after j of decay^(d-1), and each row is divided by
    its sum to the power `normalize`. A user's scores add up the rows of the last `steps` items, the d-th last
    weighted by decay^(d-1). It is a bigram language model with films for words.

    Memory is 4 n_items^2 bytes.
    """

    def __init__(self, steps: int = 10, decay: float = 0.8, normalize: float = 1.0) -> None:
        if steps < 1 or not 0 < decay <= 1:
            raise SettingError(f"need steps >= 1 and 0 < decay <= 1, got steps={steps!r}, decay={decay!r}")
        self.steps, self.decay, self.normalize = steps, decay, normalize

    def _fit(self, train: Dataset) -> None:
        self.sequences_ = train.sequences()
        counts = np.zeros((train.n_items, train.n_items), np.float32)
        for d in range(1, self.steps + 1):
            pairs = [(s[:-d], s[d:]) for s in self.sequences_ if len(s) > d]
            if pairs:
                before, after = (np.concatenate(side) for side in zip(*pairs, strict=True))
                np.add.at(counts, (before, after), self.decay ** (d - 1))
        total = counts.sum(1, keepdims=True)
        self.follows_ = counts / np.where(total > 0, total, 1.0) ** self.normalize

    def _score_sequences(self, sequences: Sequence[np.ndarray]) -> np.ndarray:
        weights = self.decay ** np.arange(self.steps, dtype=np.float32)
        scores = np.zeros((len(sequences), len(self.follows_)), np.float32)
        for row, sequence in enumerate(sequences):
            recent = sequence[-self.steps :][::-1]
            scores[row] = weights[: len(recent)] @ self.follows_[recent]
        return scores


class SequenceRecommender(_SequenceBased):
    """Train a network that turns a history into a state, and score items by state . embedding + bias.

    At every position of every history the next item is classified against others: with loss "bce" from randomly drawn
    ones by binary cross-entropy, with "ce" from all items by cross-entropy (a softmax over the catalog).

    Args:
        dim: length of embeddings and states.
        length: items of the history that are read; longer histories are cut into pieces for training.
        learning_rate: of Adam, falling to zero along half a cosine.
        negatives: items drawn at each position, for "bce".
        on_epoch: called with (epoch, model) after each epoch, to watch the training; return True to stop.
    """

    def __init__(
        self,
        dim: int = 64,
        length: int = 50,
        n_epochs: int = 30,
        learning_rate: float = 0.003,
        dropout: float = 0.3,
        loss: Literal["bce", "ce"] = "ce",
        negatives: int = 16,
        weight_decay: float = 0.0,
        batch_size: int = 64,
        seed: int = 0,
        device: str = "auto",
        progress: bool = False,
        on_epoch: Callable[[int, SequenceRecommender], bool | None] | None = None,
    ) -> None:
        if loss not in ("bce", "ce"):
            raise SettingError(f'loss must be "bce" or "ce", not {loss!r}')
        self.dim, self.length, self.dropout = dim, length, dropout
        self.n_epochs, self.learning_rate = n_epochs, learning_rate
        self.loss, self.negatives, self.weight_decay, self.batch_size = loss, negatives, weight_decay, batch_size
        self.seed, self.device, self.progress, self.on_epoch = seed, device, progress, on_epoch

    def _network(self, n_items: int) -> SequenceNet:
        """Return the untrained network."""
        raise TypeError("SequenceRecommender is abstract; use Caser, GRU4Rec or SASRec")

    def _fit(self, train: Dataset) -> None:
        device = pick_device(self.device)
        sequences = train.sequences()
        pieces = []  # each of length + 1 items at most: inputs are all but the last, targets all but the first
        for sequence in sequences:
            for stop in range(len(sequence), 1, -self.length):
                pieces.append(sequence[max(0, stop - self.length - 1) : stop] + 1)
        if not pieces:
            raise SettingError("no user has two interactions: there is no next item to learn from")
        self.train_, self.sequences_ = train, sequences  # now, since on_epoch may ask for scores
        padded = torch.from_numpy(_left_pad(pieces, self.length + 1)).to(device)
        with torch.random.fork_rng(devices=range(torch.cuda.device_count())):
            torch.manual_seed(self.seed)
            self.net_ = self._network(train.n_items).to(device)
            nn.init.normal_(self.net_.embed.weight, std=self.dim**-0.5)
            self.net_.embed.weight.data[0] = 0.0
            self.bias_ = nn.Parameter(torch.zeros(train.n_items + 1, device=device))
            self._train(padded)

    def _train(self, padded: Tensor) -> None:
        generator = torch.Generator().manual_seed(self.seed)
        self.losses_: list[float] = []
        passes = adam_epochs(
            self.net_,
            lambda: shuffled_batches(len(padded), self.batch_size, generator),
            lambda rows: self._loss(padded[rows], generator),
            self.n_epochs,
            self.learning_rate,
            extra=[self.bias_],
            weight_decay=self.weight_decay,
            clip_norm=5.0,
            progress=type(self).__name__ if self.progress else None,
        )
        for epoch, loss in enumerate(passes):
            self.losses_.append(loss)
            if self.on_epoch is not None and self.on_epoch(epoch, self):
                break

    def _loss(self, pieces: Tensor, generator: torch.Generator) -> Tensor:
        inputs, targets = pieces[:, :-1], pieces[:, 1:]
        real = inputs > 0
        states, wanted = self.net_(inputs)[real], targets[real]  # (m, d), (m,)
        if self.loss == "ce":
            return F.cross_entropy(states @ self.net_.embed.weight[1:].T + self.bias_[1:], wanted - 1)
        n_items = len(self.bias_) - 1
        drawn = torch.randint(1, n_items + 1, (len(wanted), self.negatives), generator=generator).to(wanted.device)
        items = torch.cat([wanted[:, None], drawn], dim=1)  # (m, 1 + negatives)
        logits = torch.einsum("md,mnd->mn", states, self.net_.embed(items)) + self.bias_[items]
        is_next = (items == wanted[:, None]).float()
        return F.binary_cross_entropy_with_logits(logits, is_next, reduction="sum") / len(wanted)

    @torch.no_grad()
    def _score_sequences(self, sequences: Sequence[np.ndarray]) -> np.ndarray:
        if not sequences:
            return np.empty((0, len(self.bias_) - 1), np.float32)
        self.net_.eval()
        inputs = _left_pad([s[-self.length :] + 1 for s in sequences], self.length)
        states = self.net_(torch.from_numpy(inputs).to(self.bias_.device))[:, -1]
        return (states @ self.net_.embed.weight[1:].T + self.bias_[1:]).cpu().numpy()


def _left_pad(sequences: Sequence[np.ndarray], length: int) -> np.ndarray:
    padded = np.zeros((len(sequences), length), np.int64)
    for row, sequence in enumerate(sequences):
        if len(sequence):
            padded[row, -len(sequence) :] = sequence
    return padded


class Caser(SequenceRecommender):
    """Sequence model with a convolutional network, see `CaserNet`."""

    def _network(self, n_items: int) -> SequenceNet:
        return CaserNet(n_items, self.dim, self.dropout)


class GRU4Rec(SequenceRecommender):
    """Sequence model with a recurrent network, see `GRUNet`."""

    def _network(self, n_items: int) -> SequenceNet:
        return GRUNet(n_items, self.dim, self.dropout)


class SASRec(SequenceRecommender):
    """Sequence model with a Transformer, see `SASRecNet`."""

    def _network(self, n_items: int) -> SequenceNet:
        return SASRecNet(n_items, self.dim, self.dropout, self.length)

"""Chapter 5: the networks that turn a history into a state after every item."""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn import functional as F


class SequenceNet(nn.Module):
    """What training asks of a network: items (n, t), 0 for padding -> states (n, t, d), and `embed`.

    `embed` holds item i at row i + 1 and zeros for padding at row 0.
    """

    embed: nn.Embedding


class CaserNet(SequenceNet):
    """Read the last `window` items as a picture of window x d with small filters, as a CNN reads an image.

    Horizontal filters look at a few neighboring items at once, vertical ones take weighted sums over the
    window (Tang and Wang, "Personalized Top-N Sequential Recommendation via Convolutional Sequence
    Embedding", WSDM 2018, without its user embedding, so that it can serve new users).

    Shapes: items (n, t) -> states (n, t, d), the state at place s reading items s-window+1 .. s.
    """

    def __init__(self, n_items: int, d: int, dropout: float, window: int = 5, filters: int = 16) -> None:
        super().__init__()
        self.window = window
        self.embed = nn.Embedding(n_items + 1, d, padding_idx=0)
        # A filter as wide as d slides along one axis only, so it is a 1-d convolution over time.
        self.horizontal = nn.ModuleList([nn.Conv1d(d, filters, height) for height in range(2, window + 1)])
        self.vertical = nn.Linear(window, 4)
        self.out = nn.Sequential(nn.Dropout(dropout), nn.Linear(filters * (window - 1) + 4 * d, d))

    def forward(self, items: Tensor) -> Tensor:
        """Return the state after every item."""
        padded = F.pad(self.embed(items), (0, 0, self.window - 1, 0)).transpose(1, 2)  # (n, d, window - 1 + t)
        # The strongest answer of each filter within the window that ends at each place.
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

    def __init__(self, n_items: int, d: int, dropout: float, cell: Literal["gru", "lstm"] = "gru") -> None:
        super().__init__()
        self.embed = nn.Embedding(n_items + 1, d, padding_idx=0)
        self.dropout = nn.Dropout(dropout)
        self.recur = (nn.GRU if cell == "gru" else nn.LSTM)(d, d, batch_first=True)

    def forward(self, items: Tensor) -> Tensor:
        """Return the state after every item."""
        return self.dropout(self.recur(self.dropout(self.embed(items)))[0])


class SASRecBlock(nn.Module):
    """Look back at the whole history, then think: causal self-attention and a feed-forward layer.

    Both are added to what came in (residual), after a layer normalization of their input.
    """

    def __init__(self, d: int, heads: int, dropout: float) -> None:
        super().__init__()
        self.heads, self.dropout = heads, dropout
        self.norm_attend, self.norm_feed = nn.LayerNorm(d), nn.LayerNorm(d)
        self.qkv, self.merge = nn.Linear(d, 3 * d), nn.Linear(d, d)
        self.feed = nn.Sequential(nn.Linear(d, 2 * d), nn.ReLU(), nn.Dropout(dropout), nn.Linear(2 * d, d))

    def forward(self, x: Tensor, mask: Tensor) -> Tensor:
        """X (n, t, d), mask (n, 1, t, t) True where a query may look -> (n, t, d)."""
        n, t, d = x.shape
        qkv = self.qkv(self.norm_attend(x)).view(n, t, 3, self.heads, d // self.heads)
        q, k, v = qkv.permute(2, 0, 3, 1, 4)  # each (n, heads, t, d / heads)
        p = self.dropout if self.training else 0.0
        seen = F.scaled_dot_product_attention(q, k, v, attn_mask=mask, dropout_p=p)
        x = x + F.dropout(self.merge(seen.transpose(1, 2).reshape(n, t, d)), self.dropout, self.training)
        return x + F.dropout(self.feed(self.norm_feed(x)), self.dropout, self.training)


class SASRecNet(SequenceNet):
    """Embedding -> Transformer -> state: self-attention over the history, each place looking back only.

    Shapes: items (n, t) -> states (n, t, d). Kang and McAuley, "Self-Attentive Sequential Recommendation",
    ICDM 2018.
    """

    def __init__(self, n_items: int, d: int, dropout: float, length: int, blocks: int = 2, heads: int = 2) -> None:
        super().__init__()
        if d % heads:
            raise ValueError(f"d={d} does not divide into {heads} heads; take a multiple of {heads}")
        self.embed = nn.Embedding(n_items + 1, d, padding_idx=0)
        self.place = nn.Embedding(length, d)
        self.dropout = nn.Dropout(dropout)
        self.blocks = nn.ModuleList([SASRecBlock(d, heads, dropout) for _ in range(blocks)])
        self.norm = nn.LayerNorm(d)

    def forward(self, items: Tensor) -> Tensor:
        """Return the state after every item."""
        t = items.shape[1]
        # Places are counted from the end, so that the last item always has the same one.
        place = torch.arange(self.place.num_embeddings - t, self.place.num_embeddings, device=items.device)
        x = self.dropout(self.embed(items) * self.embed.embedding_dim**0.5 + self.place(place))
        back = torch.ones(t, t, dtype=torch.bool, device=items.device).tril()
        itself = torch.eye(t, dtype=torch.bool, device=items.device)  # a padded place needs somewhere to look
        mask = (back & (items > 0)[:, None, :]) | itself
        for block in self.blocks:
            x = block(x, mask[:, None])
        return self.norm(x)

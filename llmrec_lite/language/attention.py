"""Chapter 7: attention and the Transformer, as first published, written to be read.

Masks are boolean, (n, t, t) or what broadcasts to it; True at (i, j) means that query i may look at key j.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from llmrec_lite.errors import SettingError


def scaled_dot_product_attention(
    query: Tensor, key: Tensor, value: Tensor, mask: Tensor | None = None
) -> tuple[Tensor, Tensor]:
    """Scaled dot-product attention: query (..., t, d), key (..., s, d), value (..., s, e), mask (..., t, s).

    softmax(Q K^T / sqrt(d)) V: Vaswani et al., "Attention Is All You Need", NeurIPS 2017, equation 1. A query
    with no allowed position gets weights and output of zero: a softmax over nothing has no value.

    Returns:
        The output (..., t, e) and the weights (..., t, s).
    """
    scores = query @ key.transpose(-2, -1) / key.shape[-1] ** 0.5
    if mask is None:
        weights = scores.softmax(-1)
    elif mask.dtype != torch.bool:
        raise SettingError(f"the mask is {mask.dtype}; give a boolean one, True where a query may look")
    else:
        # The lowest number, not -inf: the softmax of a row of nothing but -inf is 0/0. Such a row becomes zeros below.
        scores = scores.masked_fill(~mask, torch.finfo(scores.dtype).min)
        weights = scores.softmax(-1).masked_fill(~mask, 0.0)
    return weights @ value, weights


def causal_mask(n: int, device: torch.device | str | None = None) -> Tensor:
    """Causal mask, (n, n), True where the column is not after the row: a position sees itself and the past."""
    return torch.ones(n, n, dtype=torch.bool, device=device).tril()


def padding_mask(lengths: Sequence[int] | Tensor, n: int) -> Tensor:
    """Padding mask, (len(lengths), 1, n), True at the first `lengths[i]` positions of row i."""
    lengths = torch.as_tensor(lengths)
    return (torch.arange(n, device=lengths.device) < lengths[:, None])[:, None]


class MultiHeadAttention(nn.Module):
    """Multi-head attention: each head makes dim / heads numbers of all dim (Vaswani et al. 2017, section 3.2.2).

    Shapes: x (n, t, d) -> (n, t, d). Dropout is of the attention weights.
    """

    def __init__(self, dim: int, heads: int, dropout: float = 0.0) -> None:
        super().__init__()
        self.heads, self.dropout = heads, nn.Dropout(dropout)
        self.query, self.key, self.value, self.out_proj = (nn.Linear(dim, dim) for _ in range(4))

    def forward(
        self, x: Tensor, mask: Tensor | None = None, return_weights: bool = False
    ) -> Tensor | tuple[Tensor, Tensor]:
        """New states; with `return_weights` the weights (n, heads, t, t) as well (before dropout)."""
        n, t, dim = x.shape
        # (n, t, d) -> (n, heads, t, d / heads): a head is one more batch axis.
        query, key, value = (
            project(x).view(n, t, self.heads, -1).transpose(1, 2) for project in (self.query, self.key, self.value)
        )
        if mask is not None and mask.dim() > 2:
            mask = mask.unsqueeze(-3)  # (n, t, t) -> (n, 1, t, t): the same for every head
        seen, weights = scaled_dot_product_attention(query, key, value, mask)
        if self.training and self.dropout.p:
            seen = self.dropout(weights) @ value
        out = self.out_proj(seen.transpose(1, 2).reshape(n, t, dim))
        return (out, weights) if return_weights else out


class FeedForward(nn.Module):
    """Position-wise feed-forward network: linear, activation, linear (Vaswani et al. 2017, equation 2).

    Shapes: (..., d) -> (..., d). The paper has ReLU; BERT and GPT-2 have GELU.
    """

    def __init__(self, dim: int, d_ff: int, dropout: float = 0.0, activation: Literal["relu", "gelu"] = "relu") -> None:
        super().__init__()
        self.fc1, self.fc2 = nn.Linear(dim, d_ff), nn.Linear(d_ff, dim)
        self.activation, self.dropout = getattr(F, activation), nn.Dropout(dropout)

    def forward(self, x: Tensor) -> Tensor:
        """New states."""
        return self.fc2(self.dropout(self.activation(self.fc1(x))))


class TransformerBlock(nn.Module):
    """Transformer block: attention, then a feed-forward network, each with a residual connection.

    Shapes: x (n, t, d) -> (n, t, d). The paper has norm(x + f(x)); here it is x + f(norm(x)), which trains without
    warm-up (Xiong et al., "On Layer Normalization in the Transformer Architecture", ICML 2020).

    Dropout is of attention weights, of hidden units, and of what each part adds.
    """

    def __init__(
        self,
        dim: int,
        heads: int,
        d_ff: int,
        dropout: float = 0.0,
        activation: Literal["relu", "gelu"] = "relu",
    ) -> None:
        super().__init__()
        self.dropout = nn.Dropout(dropout)
        self.attn, self.norm_attn = MultiHeadAttention(dim, heads, dropout), nn.LayerNorm(dim)
        self.mlp, self.norm_mlp = FeedForward(dim, d_ff, dropout, activation), nn.LayerNorm(dim)

    def forward(self, x: Tensor, mask: Tensor | None = None) -> Tensor:
        """New states."""
        x = x + self.dropout(self.attn(self.norm_attn(x), mask))
        return x + self.dropout(self.mlp(self.norm_mlp(x)))


class TransformerEncoder(nn.Module):
    """Transformer encoder: embeddings, learned positions, `layers` blocks (pre-norm, GELU), a last normalization.

    Shapes: tokens (n, t) -> states (n, t, d), t at most max_length. With no mask or a `padding_mask` it reads both
    ways, as BERT does; with a `causal_mask` it reads as GPT-2 does. The seed is that of the first weights.
    """

    def __init__(
        self,
        vocab_size: int,
        dim: int,
        heads: int,
        layers: int,
        d_ff: int,
        max_length: int,
        dropout: float = 0.0,
        seed: int = 0,
    ) -> None:
        super().__init__()
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            self.embed, self.pos_embedding = nn.Embedding(vocab_size, dim), nn.Embedding(max_length, dim)
            self.blocks = nn.ModuleList(
                [TransformerBlock(dim, heads, d_ff, dropout, activation="gelu") for _ in range(layers)]
            )
            for table in (self.embed, self.pos_embedding):
                nn.init.normal_(table.weight, std=0.02)  # torch's own start, of size one, drowns the blocks
        self.norm, self.dropout = nn.LayerNorm(dim), nn.Dropout(dropout)

    def forward(self, tokens: Tensor, mask: Tensor | None = None) -> Tensor:
        """States."""
        x = self.dropout(self.embed(tokens) + self.pos_embedding.weight[: tokens.shape[1]])
        for block in self.blocks:
            x = block(x, mask)
        return self.norm(x)

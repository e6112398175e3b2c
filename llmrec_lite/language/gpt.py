"""Chapter 7: the decoder of the Llama family.

Letters in shapes: n texts, t tokens, d = dim numbers in a state, h heads of c = d / h numbers, g key-value heads.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from llmrec_lite.errors import SettingError
from llmrec_lite.language import pretrained
from llmrec_lite.language.attention import causal_mask, scaled_dot_product_attention
from llmrec_lite.language.decoding import KVCache, encode_prompt, generate
from llmrec_lite.language.pretrained import model_folder

if TYPE_CHECKING:
    from tokenizers import Tokenizer

Store = Callable[[Tensor, Tensor], tuple[Tensor, Tensor]]  # takes new keys and values, gives all there are


@dataclass(frozen=True)
class GPTConfig:
    """Sizes of a model."""

    vocab_size: int  # tokens are 0 .. vocab_size - 1
    dim: int = 128  # numbers in a state
    layers: int = 4
    heads: int = 4  # query heads; each has dim / heads numbers, an even count
    kv_heads: int = 2  # key-value heads, each shared by heads / kv_heads query heads
    d_ff: int = 384  # width of the feed-forward layer
    max_length: int = 256  # most tokens in a text
    rope_theta: float = 10_000.0  # rotary positions: how slowly the slowest pair of numbers turns
    norm_eps: float = 1e-5
    tied: bool = True  # is the output matrix the table of embeddings?
    end_tokens: tuple[int, ...] = ()  # generation ends at one of these

    def __post_init__(self) -> None:
        if self.dim % (2 * self.heads):
            raise SettingError(f"dim={self.dim} must be a multiple of 2 * heads={2 * self.heads}: rotation turns pairs")
        if self.heads % self.kv_heads:
            raise SettingError(f"heads={self.heads} must be a multiple of kv_heads={self.kv_heads}")


class RMSNorm(nn.Module):
    """Root mean square normalization: layer normalization without the mean (Zhang and Sennrich 2019)."""

    def __init__(self, dim: int, eps: float) -> None:
        super().__init__()
        self.weight, self.eps = nn.Parameter(torch.ones(dim)), eps

    def forward(self, x: Tensor) -> Tensor:
        """(..., d) -> (..., d)."""
        return x * (x.square().mean(-1, keepdim=True) + self.eps).rsqrt() * self.weight


def rotary_angles(config: GPTConfig) -> tuple[Tensor, Tensor]:
    """Cosines and sines (max_length, c) by which each position turns each pair of numbers.

    Pair i turns by position / theta^(2i/c): Su et al., "RoFormer", 2021, section 3.2.2.
    """
    c = config.dim // config.heads
    frequency = 1.0 / config.rope_theta ** (torch.arange(0, c, 2, device="cpu") / c)  # (c / 2,)
    angle = torch.arange(config.max_length, device="cpu")[:, None] * frequency  # (max_length, c / 2)
    # Llama pairs number i with number i + c / 2. (x, y) turns into (x cos - y sin, y cos + x sin).
    return torch.cat([angle, angle], 1).cos(), torch.cat([-angle, angle], 1).sin()


def rotate(x: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
    """Queries or keys (n, h, t, c) turned by the angles (t, c) of their positions."""
    return x * cos + torch.cat(x.chunk(2, -1)[::-1], -1) * sin


class Attention(nn.Module):
    """Causal attention with fewer key-value heads than query heads (Ainslie et al., "GQA", EMNLP 2023)."""

    def __init__(self, config: GPTConfig) -> None:
        super().__init__()
        self.c = config.dim // config.heads
        self.query = nn.Linear(config.dim, config.dim, bias=False)
        self.key, self.value = (nn.Linear(config.dim, config.kv_heads * self.c, bias=False) for _ in range(2))
        self.out_proj = nn.Linear(config.dim, config.dim, bias=False)

    def forward(
        self, x: Tensor, cos: Tensor, sin: Tensor, mask: Tensor | None, store: Store | None, maps: list[Tensor] | None
    ) -> Tensor:
        """(n, t, d) -> (n, t, d); with `store`, look at the tokens before as well; with `maps`, add (n, h, t, t)."""
        n, t, dim = x.shape
        heads = (project(x).view(n, t, -1, self.c).transpose(1, 2) for project in (self.query, self.key, self.value))
        query, key, value = heads  # (n, h, t, c), (n, g, t, c), (n, g, t, c)
        query, key = rotate(query, cos, sin), rotate(key, cos, sin)
        if store is not None:
            key, value = store(key, value)
        group = query.shape[1] // key.shape[1]  # query heads that share one key-value head
        if maps is not None:
            key, value = key.repeat_interleave(group, 1), value.repeat_interleave(group, 1)
            seen, weights = scaled_dot_product_attention(query, key, value, mask)
            maps.append(weights)
        elif t == 1:  # one token looks at all: the heads of a group are as good as `group` queries of one head
            seen = F.scaled_dot_product_attention(query.reshape(n, -1, group, self.c), key, value)
        else:
            seen = F.scaled_dot_product_attention(query, key, value, mask, is_causal=mask is None, enable_gqa=True)
        return self.out_proj(seen.reshape(n, -1, t, self.c).transpose(1, 2).reshape(n, t, dim))


class SwiGLU(nn.Module):
    """Feed-forward layer whose units are switched by a second projection (Shazeer, "GLU Variants", 2020)."""

    def __init__(self, dim: int, d_ff: int) -> None:
        super().__init__()
        self.gate, self.up = (nn.Linear(dim, d_ff, bias=False) for _ in range(2))
        self.down = nn.Linear(d_ff, dim, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        """(n, t, d) -> (n, t, d)."""
        return self.down(F.silu(self.gate(x)) * self.up(x))


class Block(nn.Module):
    """Pre-norm Transformer block: causal attention, then SwiGLU, each with a residual connection."""

    def __init__(self, config: GPTConfig) -> None:
        super().__init__()
        self.norm_attn, self.norm_mlp = (RMSNorm(config.dim, config.norm_eps) for _ in range(2))
        self.attn, self.mlp = Attention(config), SwiGLU(config.dim, config.d_ff)

    def forward(self, x: Tensor, *how: Any) -> Tensor:
        """(n, t, d) -> (n, t, d); the rest goes to the attention."""
        x = x + self.attn(self.norm_attn(x), *how)
        return x + self.mlp(self.norm_mlp(x))


class GPT(nn.Module):
    """Causal language model: tokens (n, t) -> logits of the token after each, (n, t, vocab).

    Texts of one batch are padded at the end, with any token. The first weights are normal with deviation 0.02, and
    0.02 / sqrt(2 layers) for what is added to the states (Radford et al. 2019, GPT-2); seed=None leaves them empty.
    A tokenizer is needed only for text in and text out.
    """

    cos: Tensor
    sin: Tensor
    generate = generate

    def __init__(self, config: GPTConfig, seed: int | None = 0, tokenizer: Tokenizer | None = None) -> None:
        super().__init__()
        self.config, self.tokenizer = config, tokenizer
        with torch.device("meta"):  # no memory and no random numbers before we know the weights
            self.embed = nn.Embedding(config.vocab_size, config.dim)
            self.blocks = nn.ModuleList([Block(config) for _ in range(config.layers)])
            self.norm = RMSNorm(config.dim, config.norm_eps)
            self.head = None if config.tied else nn.Linear(config.dim, config.vocab_size, bias=False)
        self.to_empty(device="cpu")
        for name, angles in zip(("cos", "sin"), rotary_angles(config), strict=True):
            self.register_buffer(name, angles, persistent=False)
        if seed is None:
            return
        generator = torch.Generator().manual_seed(seed)
        for name, weight in self.named_parameters():
            added = name.endswith(("out_proj.weight", "down.weight"))
            if weight.dim() == 1:
                nn.init.ones_(weight)
            else:
                nn.init.normal_(weight, 0, 0.02 / (2 * config.layers) ** 0.5 if added else 0.02, generator)

    @classmethod
    def from_pretrained(cls, name_or_path: str | Path = "smollm2") -> Self:
        """Pre-trained model of the Llama family: "smollm2", a folder as on the Hugging Face hub, or an id there.

        Raises:
            ModelFileError: there is no such model, it is of another kind, or its files are damaged or do not fit.
        """
        folder = model_folder(name_or_path)
        model = cls(pretrained.read_config(folder, GPTConfig), None, pretrained.read_tokenizer(folder))
        pretrained.load_weights(folder, model)
        return model

    def save_pretrained(self, folder: str | Path) -> None:
        """Write a folder that `from_pretrained` reads, and `transformers` too."""
        pretrained.write_model(Path(folder), vars(self.config), self.state_dict(), self.tokenizer)

    def states(self, tokens: Tensor, cache: KVCache | None = None, maps: list[Tensor] | None = None) -> Tensor:
        """Last states (n, t, d) of tokens (n, t); with a cache, tokens are those not yet read."""
        start, t = (cache.length if cache else 0), tokens.shape[1]
        room = cache.keys.shape[3] if cache else self.config.max_length
        if start + t > min(room, self.config.max_length):
            raise SettingError(f"{start + t} tokens are too many for {min(room, self.config.max_length)}")
        x = self.embed(tokens)
        cos, sin = self.cos[start : start + t], self.sin[start : start + t]
        # (t, start + t); None for the plain causal one, which torch knows a faster way for.
        mask = causal_mask(start + t, tokens.device)[start:] if start or maps is not None else None
        for i, block in enumerate(self.blocks):
            x = block(x, cos, sin, mask, partial(cache.append, i) if cache else None, maps)
        if cache:
            cache.length += t
        return self.norm(x)

    def logits(self, states: Tensor) -> Tensor:
        """(..., d) -> (..., vocab)."""
        return F.linear(states, (self.head or self.embed).weight)

    def forward(self, tokens: Tensor, cache: KVCache | None = None) -> Tensor:
        """Logits of the next token at every position, (n, t, vocab)."""
        return self.logits(self.states(tokens, cache))

    def log_probabilities(self, tokens: Tensor) -> Tensor:
        """Log-probabilities ln p(token s+1 | tokens up to s), (n, t - 1)."""
        return self(tokens[:, :-1]).log_softmax(-1).gather(2, tokens[:, 1:, None])[..., 0]

    @torch.inference_mode()
    def attention_maps(self, prompt: str | Sequence[int]) -> Tensor:
        """Attention weights (layers, h, t, t), each row those of one token on the tokens up to it."""
        maps: list[Tensor] = []
        self.states(torch.tensor([encode_prompt(self, prompt)], device=self.embed.weight.device), maps=maps)
        return torch.cat(maps)

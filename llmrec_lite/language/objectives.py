"""Chapter 8: the objectives of language models, perplexity, and the masked model."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from contextlib import AbstractContextManager, nullcontext
from functools import lru_cache
from itertools import chain

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from llmrec_lite.compute import explain_oom, random_seed
from llmrec_lite.errors import SettingError

IGNORE = -100  # the target of a position that is not to be predicted


def pack(token_lists: Iterable[Sequence[int]], length: int, end_id: int) -> Tensor:
    """Rows of a stream of documents, an end token after each, (n, length + 1) int64.

    Row i holds tokens i * length .. (i + 1) * length of the stream, so that the last token of a row is the first
    of the next: as inputs and targets, every kept token but the first is predicted exactly once. What does not fill a
    row at the end is dropped.
    """
    stream = np.fromiter(chain.from_iterable(chain(tokens, (end_id,)) for tokens in token_lists), np.int64)
    if len(stream) <= length:
        raise SettingError(
            f"{len(stream)} tokens, end tokens included, do not fill one row of length + 1 = {length + 1}; "
            "give more text or a smaller length"
        )
    return torch.from_numpy(stream).unfold(0, length + 1, length).contiguous()


def batch_rows(n: int, batch_size: int, seed: int, step: int) -> Tensor:
    """Row numbers of a step, (batch_size,): every row once an epoch, in an order that follows from seed and epoch."""
    position = torch.arange(step * batch_size, (step + 1) * batch_size)
    epoch = position // n
    return torch.cat([_order(n, seed, e)[position[epoch == e] % n] for e in epoch.unique().tolist()])


@lru_cache(maxsize=2)  # the epoch we are in and the next
def _order(n: int, seed: int, epoch: int) -> Tensor:
    return torch.randperm(n, generator=torch.Generator().manual_seed(random_seed(seed, epoch)))


def mask_tokens(
    tokens: Tensor,
    mask_id: int,
    vocab_size: int,
    special_ids: Sequence[int],
    generator: torch.Generator,
    rate: float = 0.15,
) -> tuple[Tensor, Tensor]:
    """Masking of BERT: of a share `rate` of tokens, 80% become the mask, 10% a random token, 10% stay.

    Devlin et al., "BERT: Pre-training of Deep Bidirectional Transformers", NAACL 2019, section 3.1.

    Args:
        tokens: (n, t) int64.
        mask_id: mask token.
        vocab_size: tokens are 0 .. vocab_size - 1.
        special_ids: never chosen, nor put in at random, as the mask.
        generator: of the CPU; the same one gives the same masks on every device.
        rate: share of the other tokens that is chosen.

    Returns:
        Inputs (n, t) and targets (n, t): the token where one was chosen, else -100, which cross-entropy ignores.
    """
    ordinary = torch.ones(vocab_size, dtype=torch.bool)
    ordinary[[mask_id, *special_ids]] = False
    candidates = ordinary.nonzero().squeeze(1)  # the ids of ordinary tokens
    draw = torch.rand(tokens.shape, generator=generator)
    fate = torch.rand(tokens.shape, generator=generator)
    other = candidates[torch.randint(len(candidates), tokens.shape, generator=generator)]
    device = tokens.device
    chosen = (draw.to(device) < rate) & ordinary.to(device)[tokens]
    fate, other = fate.to(device), other.to(device)
    inputs = tokens.masked_fill(chosen & (fate < 0.8), mask_id)
    inputs = torch.where(chosen & (fate >= 0.8) & (fate < 0.9), other, inputs)
    return inputs, tokens.masked_fill(~chosen, IGNORE)


class MaskedLM(nn.Module):
    """Masked language model: an encoder, a small layer, and its own embedding as output matrix (weight tying).

    Shapes: tokens (n, t) -> logits (n, t, vocab). Devlin et al. 2019; the tying is from Press and Wolf, "Using
    the Output Embedding to Improve Language Models", EACL 2017.

    `encoder` maps tokens (n, t) and a mask to states (n, t, d); its `embed` is the (vocab, d) embedding.
    """

    def __init__(self, encoder: nn.Module, dim: int, vocab: int, seed: int = 0) -> None:
        super().__init__()
        self.encoder = encoder
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            self.mlm_head = nn.Sequential(nn.Linear(dim, dim), nn.GELU(), nn.LayerNorm(dim))
        self.bias = nn.Parameter(torch.zeros(vocab))

    def forward(self, tokens: Tensor, mask: Tensor | None = None) -> Tensor:
        """Logits; `mask` goes to the encoder."""
        states = self.mlm_head(self.encoder(tokens, mask))
        return F.linear(states, self.encoder.get_parameter("embed.weight"), self.bias)


def loss_sum(logits: Tensor, targets: Tensor) -> Tensor:
    """Summed cross-entropy in nats of logits (n, t, vocab) and targets (n, t), -100 left out."""
    return F.cross_entropy(logits.float().flatten(0, 1), targets.flatten(), ignore_index=IGNORE, reduction="sum")


@torch.no_grad()
def mean_loss(
    model: nn.Module,
    inputs: Tensor,
    targets: Tensor,
    batch_size: int,
    precision: AbstractContextManager[object] | None = None,
) -> float:
    """Loss in nats a predicted token of inputs (n, t) and targets (n, t), without dropout.

    The model maps tokens (n, t) to logits (n, t, vocab) and keeps its mode; `precision` is an autocast to run it in.
    """
    was_training, device = model.training, next(model.parameters()).device
    model.eval()
    total = 0.0
    try:
        for x, y in zip(inputs.split(batch_size), targets.split(batch_size), strict=True):
            with explain_oom(f"batch_size={batch_size}", "take a smaller one"), precision or nullcontext():
                total += loss_sum(model(x.to(device)), y.to(device)).item()
    finally:
        model.train(was_training)
    return total / max(1, int((targets != IGNORE).sum()))


def perplexity(model: nn.Module, rows: Tensor, batch_size: int = 32) -> float:
    """Perplexity of a causal model, exp(mean loss), on rows (n, length + 1) of `pack`."""
    return torch.tensor(mean_loss(model, rows[:, :-1], rows[:, 1:], batch_size), dtype=torch.float64).exp().item()

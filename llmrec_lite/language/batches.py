"""Chapter 8: from documents to batches, in an order that depends on nothing but the seed and the step."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from functools import lru_cache
from itertools import chain

import numpy as np
import torch
from torch import Tensor

IGNORE = -100  # the target of a place that is not to be predicted


def random_seed(*numbers: int) -> int:
    """Mix whole numbers >= 0, such as (seed, purpose, step), into one seed; near numbers give unlike seeds."""
    return int(np.random.SeedSequence(numbers).generate_state(1, np.uint64)[0])


def pack(token_lists: Iterable[Sequence[int]], length: int, end_id: int) -> Tensor:
    """Join the documents, an end token after each, and cut the stream into rows.

    Row i holds tokens i * length .. (i + 1) * length of the stream, so that the last token of a row is the first
    of the next. With all but the last as inputs and all but the first as targets, every kept token
    but the first is predicted exactly once. What does not fill a row at the end is dropped.

    Args:
        token_lists: documents as lists of ids.
        length: tokens that a model reads at once.
        end_id: of the token between documents.

    Returns:
        (n, length + 1) int64.

    Raises:
        ValueError: length < 1, a negative id, or too few tokens for one row.
    """
    if length < 1:
        raise ValueError(f"length={length} must be at least 1")
    stream = np.fromiter(chain.from_iterable(chain(tokens, (end_id,)) for tokens in token_lists), np.int64)
    if len(stream) <= length:
        raise ValueError(
            f"{len(stream)} tokens, end tokens included, do not fill one row of length + 1 = {length + 1}; "
            "give more text or a smaller length"
        )
    if stream.min() < 0:
        raise ValueError(f"token ids must not be negative, got {stream.min()}")
    return torch.from_numpy(stream).unfold(0, length + 1, length).contiguous()


def batch_rows(n: int, batch_size: int, seed: int, step: int) -> Tensor:
    """Return the (batch_size,) row numbers of a step: every row once an epoch, each epoch in an order of its own.

    It is computed from (seed, step) alone: a training that goes on at step 1,000 needs no memory of the 999 before.
    """
    place = torch.arange(step * batch_size, (step + 1) * batch_size)
    epoch = place // n
    return torch.cat([_order(n, seed, e)[place[epoch == e] % n] for e in epoch.unique().tolist()])


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
    """Hide tokens as BERT does: of a share `rate`, 80% become the mask, 10% a random token, 10% stay.

    A model cannot know which of the tokens it sees are true, so it has to think about all of them. Devlin et
    al., "BERT: Pre-training of Deep Bidirectional Transformers", NAACL 2019, section 3.1.

    Args:
        tokens: (n, t) int64.
        mask_id: of the mask token.
        vocab_size: tokens are 0 .. vocab_size - 1.
        special_ids: are never chosen, nor put in at random; the mask never is either.
        generator: of the CPU; the same one gives the same masks on every device.
        rate: share of the other tokens that is chosen.

    Returns:
        Inputs (n, t) and targets (n, t): the token where one was chosen, else -100, which cross-entropy ignores.

    Raises:
        ValueError: rate is not in (0, 1], mask_id is out of range, or no token may be put in.
    """
    if not 0 < rate <= 1:
        raise ValueError(f"rate={rate} must lie in (0, 1]")
    if not 0 <= mask_id < vocab_size:
        raise ValueError(f"mask_id={mask_id} must lie between 0 and vocab_size - 1 = {vocab_size - 1}")
    ordinary = torch.ones(vocab_size, dtype=torch.bool)
    ordinary[[mask_id, *special_ids]] = False
    candidates = ordinary.nonzero().squeeze(1)  # the ids of ordinary tokens
    if not len(candidates):
        raise ValueError(f"all {vocab_size} tokens are special: there is nothing to hide")
    draw = torch.rand(tokens.shape, generator=generator)
    fate = torch.rand(tokens.shape, generator=generator)
    other = candidates[torch.randint(len(candidates), tokens.shape, generator=generator)]
    device = tokens.device
    chosen = (draw.to(device) < rate) & ordinary.to(device)[tokens]
    fate, other = fate.to(device), other.to(device)
    inputs = tokens.masked_fill(chosen & (fate < 0.8), mask_id)
    inputs = torch.where(chosen & (fate >= 0.8) & (fate < 0.9), other, inputs)
    return inputs, tokens.masked_fill(~chosen, IGNORE)

"""What all that torch computes shares: device, seed, mini-batch training, the message when memory is out."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import numpy as np
from tqdm.auto import trange

from llmrec_lite.errors import OutOfMemoryError

if TYPE_CHECKING:  # torch takes seconds, and what only predicts may do without
    import torch
    from torch import Tensor, nn


def pick_device(device: str = "auto") -> torch.device:
    """Return the named device.

    "auto" is the device that the environment variable LLMREC_DEVICE names, else CUDA where there is one, else the CPU.
    """
    import torch

    if device == "auto":
        device = os.environ.get("LLMREC_DEVICE") or "auto"
    if device == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    return torch.device(device)


def random_seed(*numbers: int) -> int:
    """Mix whole numbers >= 0, such as (seed, purpose, step), into one seed; near numbers give unlike seeds."""
    return int(np.random.SeedSequence(numbers).generate_state(1, np.uint64)[0])


def adam_epochs(
    net: nn.Module,
    batches: Callable[[], Sequence[Any]],
    loss: Callable[[Any], Tensor],
    n_epochs: int,
    learning_rate: float,
    *,
    extra: Iterable[nn.Parameter] = (),
    weight_decay: float = 0.0,
    clip_norm: float | None = None,
    cosine: bool = True,
    progress: str | None = None,
) -> Iterator[float]:
    """Minimize a loss with Adam over mini-batches; yields the mean loss of each epoch, and stops when not asked on.

    `batches` is called once an epoch for sequences of row numbers, and `loss` gives the mean loss of one, a scalar. The
    learning rate of Adam (Kingma and Ba, ICLR 2015) falls to zero along half a `cosine`, or is constant. `extra` are
    parameters beside those of the net, gradients longer than `clip_norm` are shortened to it, and `progress` is the
    name of a progress bar.
    """
    import torch

    parameters = [*net.parameters(), *extra]
    optimizer = torch.optim.Adam(parameters, lr=learning_rate, weight_decay=weight_decay)
    schedule: Any = None
    for _ in trange(n_epochs, disable=progress is None, desc=progress, leave=False):
        net.train()
        total, n, parts = 0.0, 0, batches()
        if cosine and schedule is None:
            schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, n_epochs * len(parts))
        for rows in parts:
            value = loss(rows)
            optimizer.zero_grad()
            value.backward()
            if clip_norm is not None:
                torch.nn.utils.clip_grad_norm_(parameters, clip_norm)
            optimizer.step()
            if cosine:
                schedule.step()
            total, n = total + value.item() * len(rows), n + len(rows)
        yield total / n


def shuffled_batches(n: int, batch_size: int, generator: torch.Generator) -> tuple[Tensor, ...]:
    """Return the rows 0 .. n - 1 in random order, cut into batches of about equal size, `batch_size` at most."""
    import torch

    return torch.randperm(n, generator=generator).tensor_split(-(-n // batch_size))


@contextmanager
def explain_oom(what: str, fix: str) -> Iterator[None]:
    """Turn torch's several errors of full memory into an OutOfMemoryError that names what did not fit and the fix."""
    try:
        yield
    except (RuntimeError, MemoryError) as error:  # torch.OutOfMemoryError is a RuntimeError, the CPU's is a bare one
        texts = ("not enough memory", "can't allocate memory", "out of memory")
        if not isinstance(error, MemoryError) and not any(text in str(error) for text in texts):
            raise
        raise OutOfMemoryError(f"out of memory with {what}: {fix}") from error

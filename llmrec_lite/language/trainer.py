"""Chapter 10: what surrounds a fine-tuning: its history, what its checkpoints hold, its log."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pandas as pd
import torch
from torch import Tensor, nn

from llmrec_lite.errors import OutOfMemoryError, SettingError
from llmrec_lite.language.objectives import explain_out_of_memory


@dataclass
class TrainingHistory:
    """Training history: one value a step, and one a validation.

    Losses are in nats a predicted token (pre-training), or what the model's `loss` gives (fine-tuning).
    """

    train_losses: list[float] = field(default_factory=list)
    learning_rates: list[float] = field(default_factory=list)
    gradient_norms: list[float] = field(default_factory=list)  # before clipping
    seconds: list[float] = field(default_factory=list)
    valid_steps: list[int] = field(default_factory=list)  # how many steps had been done
    valid_losses: list[float] = field(default_factory=list)

    def add(self, loss: float, learning_rate: float, gradient_norm: float, seconds: float) -> None:
        """Note a step."""
        self.train_losses.append(loss)
        self.learning_rates.append(learning_rate)
        self.gradient_norms.append(gradient_norm)
        self.seconds.append(seconds)

    def frame(self) -> pd.DataFrame:
        """Return one row a step, from 1; valid_loss is NaN where it was not measured."""
        columns = {
            "train_loss": self.train_losses,
            "learning_rate": self.learning_rates,
            "gradient_norm": self.gradient_norms,
            "seconds": self.seconds,
        }
        frame = pd.DataFrame(columns, index=pd.RangeIndex(1, len(self.seconds) + 1, name="step"))
        frame.insert(1, "valid_loss", pd.Series(self.valid_losses, self.valid_steps, dtype=float))
        return frame

    @property
    def best_step(self) -> int | None:
        """How many steps had been done when the validation loss was lowest; None without a validation."""
        return self.valid_steps[int(np.argmin(self.valid_losses))] if self.valid_losses else None

    @property
    def waited(self) -> int:
        """How many validations there have been since the best."""
        return len(self.valid_losses) - 1 - int(np.argmin(self.valid_losses)) if self.valid_losses else 0


class Learned(nn.Module):
    """What a checkpoint holds of a model: what learns, what batches change, and the best weights so far."""

    def __init__(self, model: nn.Module, keep_best: bool) -> None:
        super().__init__()
        self.weights = {name: p for name, p in model.named_parameters() if p.requires_grad}
        stored = model.state_dict(keep_vars=True)
        self.others = {name: buffer for name, buffer in model.named_buffers() if name in stored}
        self.others |= {name: p for name, p in model.named_parameters() if ".ranknum." in name}  # of AdaLoRA
        self.best = {f"best/{name}": p.detach().clone() for name, p in self.weights.items()} if keep_best else {}

    def named_parameters(self, *args: Any, **options: Any) -> Iterator[tuple[str, nn.Parameter]]:
        """Give what learns, for `checkpoint`."""
        yield from self.weights.items()

    def named_buffers(self, *args: Any, **options: Any) -> Iterator[tuple[str, Tensor]]:
        """Give the rest."""
        yield from (self.others | self.best).items()

    @torch.no_grad()
    def keep(self) -> None:
        """Note the weights as the best so far."""
        for name, tensor in self.best.items():
            tensor.copy_(self.weights[name.removeprefix("best/")])

    @torch.no_grad()
    def restore(self) -> None:
        """Go back to the best."""
        for name, tensor in self.best.items():
            self.weights[name.removeprefix("best/")].copy_(tensor)


@contextmanager
def prepared(model: nn.Module, gradient_checkpointing: bool, compiled: bool) -> Iterator[None]:
    """Switch on what is asked of the model, and off again at the end."""
    if gradient_checkpointing:
        model.gradient_checkpointing = True  # type: ignore[assignment]
    if compiled:
        model.compile(dynamic=True)  # texts differ in length
    cudnn = torch.backends.cuda.cudnn_sdp_enabled()
    torch.backends.cuda.enable_cudnn_sdp(False)  # it plans anew for each length, which takes longer than the step
    try:
        yield
    finally:
        torch.backends.cuda.enable_cudnn_sdp(cudnn)
        if gradient_checkpointing:
            model.gradient_checkpointing = False  # type: ignore[assignment]
        model._compiled_call_impl = None


@contextmanager
def event_log(folder: str | None, start: int) -> Iterator[Callable[..., None]]:
    """Give a function (step, name=value ...) that writes event files, or does nothing where there is no folder."""
    if folder is None:
        yield lambda step, **values: None
        return
    try:
        from torch.utils.tensorboard import SummaryWriter  # its import takes a second
    except ImportError as error:
        raise SettingError(f"log_dir={folder!r} needs tensorboard; run: pip install tensorboard") from error

    with SummaryWriter(folder, purge_step=start + 1 if start else None) as writer:

        def add(step: int, **values: float) -> None:
            for name, value in values.items():
                writer.add_scalar(name, value, step)

        yield add


@contextmanager
def name_the_mends(batch_size: int, accumulate: int) -> Iterator[None]:
    """Say what helps where memory is out.

    Raises:
        MemoryError: memory is out.
    """
    try:
        with explain_out_of_memory(batch_size, 0, accumulate):
            yield
    except MemoryError as error:
        raise OutOfMemoryError(
            f"out of memory with batch_size={batch_size} in accumulate={accumulate} pieces: set accumulate="
            f"{2 * accumulate} (the same update in less memory) or gradient_checkpointing=True (slower), or take a "
            "smaller batch_size, shorter texts or fewer layers to train"
        ) from error

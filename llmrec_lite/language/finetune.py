"""Chapter 10: fine-tuning, which goes on from what a model knows already, on few examples with labels."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from math import ceil
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from llmrec_lite.compute import pick_device
from llmrec_lite.errors import SettingError
from llmrec_lite.language.checkpoint import fingerprint
from llmrec_lite.language.lora import LoRALinear as LoRALinear
from llmrec_lite.language.lora import add_lora as add_lora
from llmrec_lite.language.lora import merge_lora as merge_lora
from llmrec_lite.language.lora import trainable_parameters as trainable_parameters
from llmrec_lite.language.objectives import batch_rows
from llmrec_lite.language.text_models import BiEncoder as BiEncoder
from llmrec_lite.language.text_models import Example as Example
from llmrec_lite.language.text_models import TextClassifier as TextClassifier
from llmrec_lite.language.trainer import TrainConfig, train_model
from llmrec_lite.language.trainer import TrainingHistory as TrainingHistory
from llmrec_lite.language.yes_no import YesNoClassifier as YesNoClassifier


@dataclass(frozen=True, kw_only=True)
class FinetuneConfig(TrainConfig):
    """Settings of fine-tuning, besides those of `TrainConfig`."""

    n_epochs: float = 3  # may be a part of one
    max_steps: int | None = None  # instead of n_epochs
    warmup: float = 0.1  # share of the steps in which the rate rises; then it falls along a cosine to 0

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.warmup >= 1:
            raise SettingError(f"warmup={self.warmup} is a share of the steps: it must lie between 0 and 1")

    def steps(self, n: int) -> int:
        """Number of steps for n training examples."""
        return self.max_steps or ceil(self.n_epochs * n / min(self.batch_size, n))


def finetune(
    model: nn.Module,
    train: Sequence[Any],
    valid: Sequence[Any] | None,
    config: FinetuneConfig,
    checkpoint: str | Path | None = None,
    progress: bool = True,
    *,
    on_step: Callable[[int, TrainingHistory], bool | None] | None = None,
) -> TrainingHistory:
    """Fine-tuning by `train_model`; the model is moved to the device and left in evaluation mode.

    Args:
        model: a module with `loss(examples)`, the mean loss as a scalar, such as `TextClassifier`.
        train: examples, in a form that the model's `loss` takes lists of. Different ones must have a different `repr`.
        valid: examples to measure the loss on, or None.
        config: settings.
        checkpoint: folder of checkpoints to resume from. (AdaLoRA keeps averages elsewhere, so with it not exactly.)
        progress: show a progress bar.
        on_step: called with (steps done, history) after each step; return True to stop.

    Raises:
        SettingError, ModelFileError, DivergedError, OutOfMemoryError: as `train_model`.
    """
    n = len(train)
    if not n or (valid is not None and not len(valid)):
        raise SettingError(f"there is no example in {'valid; give None for no validation' if n else 'train'}")
    model.to(pick_device(config.device))
    size, steps = min(config.batch_size, n), config.steps(n)
    loss_of: Any = model.loss

    def losses(step: int) -> Iterator[Tensor]:
        batch = [train[i] for i in batch_rows(n, size, config.seed, step).tolist()]
        for rows in np.array_split(np.arange(size), min(config.accumulate, size)):
            with config.autocast():
                loss = loss_of([batch[i] for i in rows]) * (len(rows) / size)
            yield loss

    @torch.no_grad()
    def valid_loss() -> float:
        assert valid is not None
        model.eval()
        total, most = 0.0, max(1, config.batch_size // config.accumulate)
        for start in range(0, len(valid), most):
            piece = [valid[i] for i in range(start, min(start + most, len(valid)))]
            with config.autocast():
                total += loss_of(piece).item() * len(piece)
        return total / len(valid)

    return train_model(
        model,
        config,
        losses,
        None if valid is None else valid_loss,
        lambda: {"train": fingerprint(repr(list(train))), "valid": fingerprint(repr(list(valid or [])))},
        steps=steps,
        warmup=int(config.warmup * steps),
        valid_every=config.valid_every or ceil(n / size),
        checkpoint=checkpoint,
        progress="finetune" if progress else None,
        on_step=on_step,
    )

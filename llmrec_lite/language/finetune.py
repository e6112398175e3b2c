"""Chapter 10: fine-tuning, which goes on from what a model knows already, on few examples with labels."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, ExitStack
from dataclasses import asdict, dataclass
from math import ceil, inf, isfinite
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from torch import nn
from tqdm.auto import tqdm

from llmrec_lite.compute import pick_device, random_seed
from llmrec_lite.errors import DivergedError, SettingError
from llmrec_lite.language.checkpoint import fingerprint, load_checkpoint, locked, save_checkpoint
from llmrec_lite.language.lora import LoRALinear as LoRALinear
from llmrec_lite.language.lora import add_lora as add_lora
from llmrec_lite.language.lora import base_fingerprint
from llmrec_lite.language.lora import merge_lora as merge_lora
from llmrec_lite.language.lora import trainable_parameters as trainable_parameters
from llmrec_lite.language.objectives import batch_rows
from llmrec_lite.language.pretrain import cosine_schedule
from llmrec_lite.language.text_models import Example as Example
from llmrec_lite.language.text_models import MatchModel as MatchModel
from llmrec_lite.language.text_models import TextClassifier as TextClassifier
from llmrec_lite.language.trainer import Learned, event_log, name_the_mends, prepared
from llmrec_lite.language.trainer import TrainingHistory as TrainingHistory
from llmrec_lite.language.yes_no import YesNo as YesNo

_NOISE = 1  # what randomness is for, besides the order
_NOT_THE_RESULT = ("device", "compile", "checkpoint_every", "gradient_checkpointing", "log_dir")


@dataclass(frozen=True)
class FinetuneConfig:
    """How to fine-tune.

    Args:
        epochs: passes over the training examples; a part of one is allowed.
        max_steps: updates of the weights, in the place of epochs.
        batch_size: examples an update; all of them where there are fewer.
        learning_rate: the highest one. LoRA and a head bear 100 times what full fine-tuning does.
        warmup: share of the steps in which the rate rises; then it falls along a cosine to 0.
        weight_decay: of matrices; biases and gains are left alone.
        clip_norm: gradients longer than this are shortened to it.
        accumulate: pieces a batch is computed in, one after another: the same update in less memory.
        patience: stop after so many validations in a row without a new best, and go back to the best weights at the
            end; 0 trains to the end and keeps the last ones.
        valid_every: steps from one validation to the next; None for once an epoch. There is one at the end.
        seed: of order and dropout.
        device: "auto", "cpu", "cuda".
        precision: "float32", "bfloat16" (autocast; weights stay float32) or "auto": the latter on CUDA.
        gradient_checkpointing: compute the inside of layers again in the backward pass: a third slower, less memory.
        compile: run the model's `forward` through `torch.compile`, which pays on long trainings.
        log_dir: folder for the event files of TensorBoard; None for none.
        checkpoint_every: steps from one checkpoint to the next; there is always one at the end.

    Raises:
        ValueError: a value is out of its range.
    """

    epochs: float = 3
    max_steps: int | None = None
    batch_size: int = 16
    learning_rate: float = 1e-3
    warmup: float = 0.1
    weight_decay: float = 0.01
    clip_norm: float = 1.0
    accumulate: int = 1
    patience: int = 0
    valid_every: int | None = None
    seed: int = 0
    device: str = "auto"
    precision: Literal["auto", "float32", "bfloat16"] = "auto"
    gradient_checkpointing: bool = False
    compile: bool = False
    log_dir: str | None = None
    checkpoint_every: int = 100

    def __post_init__(self) -> None:
        for name in ("max_steps", "batch_size", "accumulate", "valid_every", "checkpoint_every"):
            if (value := getattr(self, name)) is not None and value < 1:
                raise SettingError(f"{name}={value} must be at least 1")
        for name in ("epochs", "learning_rate", "clip_norm"):
            if not 0 < getattr(self, name) < inf:
                raise SettingError(f"{name}={getattr(self, name)} must be above 0")
        for name in ("weight_decay", "patience", "seed"):
            if not 0 <= getattr(self, name) < inf:
                raise SettingError(f"{name}={getattr(self, name)} must not be negative")
        if not 0 <= self.warmup < 1:
            raise SettingError(f"warmup={self.warmup} is a share of the steps: it must lie between 0 and 1")
        if self.accumulate > self.batch_size:
            raise SettingError(f"accumulate={self.accumulate} pieces are more than batch_size={self.batch_size}")
        if self.precision not in ("auto", "float32", "bfloat16"):
            raise SettingError(f'precision must be "auto", "float32" or "bfloat16", not {self.precision!r}')

    def steps(self, n: int) -> int:
        """Return how many steps n training examples take."""
        return self.max_steps or ceil(self.epochs * n / min(self.batch_size, n))


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
    """Train what requires grad in a model; it is moved to the device, trained in place and left in evaluation mode.

    AdamW (Loshchilov and Hutter, ICLR 2019) with clipping, a warm-up and a cosine; early stopping (Prechelt 1998).
    All randomness is a function of seed and step, so a killed training goes on as if it had not been.

    Args:
        model: a module with `loss(examples)`, the mean loss as a scalar, such as `TextClassifier`. Where it has
            `after_step(step)`, that is called after each update, before the gradients are cleared.
        train: examples, in a form that the model's `loss` takes lists of. Their `repr` must tell them apart.
        valid: examples to measure the loss on, or None.
        config: how to train.
        checkpoint: folder of checkpoints to go on from. (AdaLoRA keeps averages elsewhere, so with it not exactly.)
        progress: show a progress bar.
        on_step: called with (steps done, history) after each step; return True to stop.

    Returns:
        What happened, the part before a restart included.

    Raises:
        ValueError: there is no example, nothing to train, or a setting that the model does not know.
        ModelFileError: the checkpoint is damaged, in use, or of another training.
        FloatingPointError: a loss or a gradient is no longer a number.
        MemoryError: memory is out; the message names the mends.
    """
    device, n = pick_device(config.device), len(train)
    if not n or (valid is not None and not len(valid)):
        raise SettingError(f"there is no example in {'valid; give None for no validation' if n else 'train'}")
    if config.patience and valid is None:
        raise SettingError(f"patience={config.patience} needs validation examples to see when to stop")
    if config.gradient_checkpointing and not hasattr(model, "gradient_checkpointing"):
        raise SettingError(f"{type(model).__name__} has no attribute gradient_checkpointing; set it to False")
    model.to(device)
    learned = Learned(model, config.patience > 0)
    if not learned.weights:
        raise SettingError("nothing in the model requires grad, so there is nothing to train; choose what learns")
    groups = [
        {"params": [p for p in learned.weights.values() if p.dim() >= 2], "weight_decay": config.weight_decay},
        {"params": [p for p in learned.weights.values() if p.dim() < 2], "weight_decay": 0.0},
    ]
    optimizer = torch.optim.AdamW(groups, lr=config.learning_rate)
    low = config.precision == "bfloat16" or (config.precision == "auto" and device.type == "cuda")
    autocast = torch.autocast(device.type, torch.bfloat16, enabled=low)
    size, total = min(config.batch_size, n), config.steps(n)
    valid_every = config.valid_every or ceil(n / size)
    history, start = TrainingHistory(), 0
    with ExitStack() as stack:
        if checkpoint is not None:
            identity = {key: value for key, value in asdict(config).items() if key not in _NOT_THE_RESULT}
            identity |= {"train": fingerprint(repr(list(train))), "valid": fingerprint(repr(list(valid or [])))}
            identity |= {"model": fingerprint(str(model)), "base": base_fingerprint(model)}
            stack.enter_context(locked(checkpoint))
            if (found := load_checkpoint(checkpoint, learned, optimizer, identity)) is not None:
                start, history = found[0], TrainingHistory(**found[1])
        stack.enter_context(torch.random.fork_rng(devices=range(torch.cuda.device_count())))
        stack.enter_context(prepared(model, config.gradient_checkpointing, config.compile))
        log = stack.enter_context(event_log(config.log_dir, start))
        bar = stack.enter_context(tqdm(initial=start, total=total, disable=not progress, desc="finetune"))
        for step in range(start, total):
            if config.patience and history.waited >= config.patience:  # it had stopped before the restart
                break
            began = time.perf_counter()
            torch.manual_seed(random_seed(config.seed, _NOISE, step))  # for dropout
            rate = cosine_schedule(step, total, int(config.warmup * total), config.learning_rate, 0.0)
            for group in optimizer.param_groups:
                group["lr"] = rate
            batch = [train[i] for i in batch_rows(n, size, config.seed, step).tolist()]
            model.train()
            loss, norm = _update(model, optimizer, batch, step, config, autocast)
            history.add(loss, rate, norm, time.perf_counter() - began)
            done, last = step + 1, step + 1 == total
            log(done, train_loss=loss, learning_rate=rate, gradient_norm=norm)
            if valid is not None and (done % valid_every == 0 or last):
                value = _mean_loss(model, valid, config, autocast)
                if not isfinite(value):
                    raise DivergedError(f"step {done}: the validation loss is {value}; look for broken examples")
                history.valid_steps.append(done)
                history.valid_losses.append(value)
                log(done, valid_loss=value)
                if history.best_step == done:
                    learned.keep()
                last = last or 0 < config.patience <= history.waited
            if checkpoint is not None and (done % config.checkpoint_every == 0 or last):
                save_checkpoint(checkpoint, done, learned, optimizer, identity, asdict(history))
            bar.set_postfix(loss=f"{loss:.3f}", refresh=False)
            bar.update()
            if (on_step is not None and on_step(done, history)) or last:
                break
        if history.valid_losses:
            learned.restore()
    model.eval()
    return history


def _update(
    model: Any,
    optimizer: torch.optim.Optimizer,
    batch: list[Any],
    step: int,
    config: FinetuneConfig,
    autocast: AbstractContextManager[object],
) -> tuple[float, float]:
    """Do one step, unless loss or gradient is no number; return the loss and the gradient's length."""
    total = 0.0
    with name_the_mends(config.batch_size, config.accumulate):
        for places in np.array_split(np.arange(len(batch)), min(config.accumulate, len(batch))):
            piece = [batch[i] for i in places]
            with autocast:
                loss = model.loss(piece) * (len(piece) / len(batch))
            loss.backward()
            total += loss.item()
        parameters = [p for group in optimizer.param_groups for p in group["params"]]
        norm = nn.utils.clip_grad_norm_(parameters, config.clip_norm).item()
        if not (isfinite(total) and isfinite(norm)):
            optimizer.zero_grad()
            raise DivergedError(
                f"step {step + 1}: the loss is {total}, the gradient's length {norm}; the weights are those of "
                f"step {step}. Take a learning_rate below {config.learning_rate} or a longer warmup"
            )
        optimizer.step()
        if hasattr(model, "after_step"):
            model.after_step(step)
        optimizer.zero_grad()
    return total, norm


@torch.no_grad()
def _mean_loss(
    model: Any, examples: Sequence[Any], config: FinetuneConfig, autocast: AbstractContextManager[object]
) -> float:
    model.eval()
    size, total = max(1, config.batch_size // config.accumulate), 0.0
    for i in range(0, len(examples), size):
        piece = [examples[j] for j in range(i, min(i + size, len(examples)))]
        with name_the_mends(config.batch_size, config.accumulate), autocast:
            total += model.loss(piece).item() * len(piece)
    return total / len(examples)

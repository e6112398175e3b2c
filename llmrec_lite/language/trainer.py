"""Chapters 8 and 10: the training loop of `pretrain` and `finetune`.

All randomness is a function of the seed and the number of the step, so that a resumed training ends bit for bit as an
uninterrupted one (with the same machine and number of threads; on CUDA as far as its kernels are deterministic).
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager
from dataclasses import asdict, dataclass, field
from math import cos, inf, isfinite, pi
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pandas as pd
import torch
from torch import Tensor, nn
from tqdm.auto import tqdm

from llmrec_lite.compute import explain_oom, pick_device, random_seed
from llmrec_lite.errors import DivergedError, SettingError
from llmrec_lite.language.checkpoint import fingerprint, load_checkpoint, locked, save_checkpoint
from llmrec_lite.language.lora import base_fingerprint

_DROPOUT = 1  # what randomness is for, besides the order
NOT_THE_RESULT = (
    "device",
    "compile",
    "checkpoint_every",
    "gradient_checkpointing",
    "log_dir",
)  # may change on resuming


@dataclass(frozen=True, kw_only=True)
class TrainConfig:
    """Settings of every training; a validation and a checkpoint always end it.

    With `patience` it stops after so many validations in a row without a new best, and ends with the best weights.
    """

    batch_size: int = 16  # examples an update; all of them where there are fewer
    learning_rate: float = 1e-3  # the highest one
    weight_decay: float = 0.01  # of matrices only
    clip_norm: float = 1.0  # greatest length of the gradient
    accumulate: int = 1  # pieces a batch is computed in, one after another: the same update in less memory
    patience: int = 0  # 0 trains to the end and keeps the last weights
    valid_every: int | None = None  # steps; None for once an epoch
    checkpoint_every: int = 100  # steps
    seed: int = 0  # of order, dropout and masks
    device: str = "auto"
    precision: Literal["auto", "float32", "bfloat16"] = "auto"  # autocast to bfloat16; "auto" does so on CUDA
    gradient_checkpointing: bool = False  # recompute the inside of layers in the backward pass: slower, less memory
    compile: bool = False  # run the model through `torch.compile`, which pays on long trainings
    log_dir: str | None = None  # folder for the event files of TensorBoard

    def __post_init__(self) -> None:
        for name, value in vars(self).items():
            if name in ("learning_rate", "clip_norm", "n_epochs") and not 0 < value < inf:
                raise SettingError(f"{name}={value} must be above 0")
            if name in ("weight_decay", "min_learning_rate", "patience", "seed", "warmup") and not 0 <= value < inf:
                raise SettingError(f"{name}={value} must not be negative")
            counts = ("steps", "max_steps", "batch_size", "accumulate", "valid_every", "checkpoint_every")
            if name in counts and value is not None and value < 1:
                raise SettingError(f"{name}={value} must be at least 1")
        if self.accumulate > self.batch_size:
            raise SettingError(f"accumulate={self.accumulate} pieces are more than batch_size={self.batch_size}")
        if self.precision not in ("auto", "float32", "bfloat16"):
            raise SettingError(f'precision must be "auto", "float32" or "bfloat16", not {self.precision!r}')

    def autocast(self) -> AbstractContextManager[object]:
        """Context in which losses are computed."""
        kind = pick_device(self.device).type
        low = self.precision == "bfloat16" or (self.precision == "auto" and kind == "cuda")
        return torch.autocast(kind, torch.bfloat16, enabled=low)

    def explain_oom(self) -> AbstractContextManager[object]:
        """Context that names the settings which need less memory, where it is out."""
        return explain_oom(
            f"batch_size={self.batch_size} in accumulate={self.accumulate} pieces",
            f"set accumulate={2 * self.accumulate} (the same update in less memory) or gradient_checkpointing=True "
            "(slower; not every model has it), or take a smaller batch_size, shorter texts or fewer layers to train",
        )


def cosine_schedule(step: int, total: int, warmup: int, peak: float, floor: float) -> float:
    """Learning rate of a step: linear warm-up, then half a cosine.

    peak (step + 1) / (warmup + 1) for step < warmup, then
    floor + (peak - floor) (1 + cos(pi (step - warmup) / (total - 1 - warmup))) / 2,
    so that step `warmup` has the peak and step total - 1 the floor. Loshchilov and Hutter, "SGDR: Stochastic
    Gradient Descent with Warm Restarts", ICLR 2017, equation 5, with one period and a warm-up.
    """
    if step < warmup:
        return peak * (step + 1) / (warmup + 1)
    done = min(1.0, (step - warmup) / max(1, total - 1 - warmup))
    return floor + (peak - floor) * (1 + cos(pi * done)) / 2


@dataclass
class TrainingHistory:
    """Training history: one value a step, and one a validation; losses in nats."""

    train_losses: list[float] = field(default_factory=list)
    learning_rates: list[float] = field(default_factory=list)
    gradient_norms: list[float] = field(default_factory=list)  # before clipping
    seconds: list[float] = field(default_factory=list)
    valid_steps: list[int] = field(default_factory=list)  # steps done at each validation
    valid_losses: list[float] = field(default_factory=list)

    def add(self, loss: float, learning_rate: float, gradient_norm: float, seconds: float) -> None:
        """Note a step."""
        self.train_losses.append(loss)
        self.learning_rates.append(learning_rate)
        self.gradient_norms.append(gradient_norm)
        self.seconds.append(seconds)

    def frame(self) -> pd.DataFrame:
        """Table of one row a step, from 1; valid_loss is NaN where it was not measured."""
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
        """Steps done when the validation loss was lowest; None without a validation."""
        return self.valid_steps[int(np.argmin(self.valid_losses))] if self.valid_losses else None

    @property
    def waited(self) -> int:
        """Number of validations since the best."""
        return len(self.valid_losses) - 1 - int(np.argmin(self.valid_losses)) if self.valid_losses else 0


class TrainingState(nn.Module):
    """State of a model in a checkpoint: what learns, what batches change, and the best weights so far."""

    def __init__(self, model: nn.Module, keep_best: bool) -> None:
        super().__init__()
        self.weights = {name: p for name, p in model.named_parameters() if p.requires_grad}
        stored = model.state_dict(keep_vars=True)
        self.others = {name: buffer for name, buffer in model.named_buffers() if name in stored}
        self.others |= {name: p for name, p in model.named_parameters() if ".ranknum." in name}  # of AdaLoRA
        self.best = {f"best/{name}": p.detach().clone() for name, p in self.weights.items()} if keep_best else {}

    def named_parameters(self, *args: Any, **options: Any) -> Iterator[tuple[str, nn.Parameter]]:
        """Trainable weights, for `checkpoint`."""
        yield from self.weights.items()

    def named_buffers(self, *args: Any, **options: Any) -> Iterator[tuple[str, Tensor]]:
        """All other state."""
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
def tensorboard_writer(folder: str | None, start: int) -> Iterator[Callable[..., None]]:
    """Function (step, name=value ...) that writes event files, or does nothing where there is no folder."""
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


def train_model(
    model: Any,
    config: TrainConfig,
    losses: Callable[[int], Iterator[Tensor]],
    valid_loss: Callable[[], float] | None,
    identity: Callable[[], dict[str, Any]],
    *,
    steps: int,
    warmup: int,
    valid_every: int,
    min_learning_rate: float = 0.0,
    betas: tuple[float, float] = (0.9, 0.999),
    checkpoint: str | Path | None = None,
    progress: str | None = None,
    on_step: Callable[[int, TrainingHistory], bool | None] | None = None,
) -> TrainingHistory:
    """Training of what requires grad in a model, on its device; it is left in evaluation mode.

    AdamW with weight decay on matrices only (Loshchilov and Hutter, "Decoupled Weight Decay Regularization", ICLR
    2019), clipping of the gradient's length (Pascanu et al., ICML 2013), early stopping (Prechelt 1998).

    Args:
        model: where it has `after_step(step)`, that is called after each update, before the gradients are cleared.
        config: settings.
        losses: gives for a step the parts of its loss, one after another; the gradient is that of their sum.
        valid_loss: loss on the validation data; None for no validation.
        identity: what must be the same for a checkpoint to be resumed, besides settings and model.
        steps: updates in all.
        warmup: steps in which the learning rate rises.
        valid_every: steps from one validation to the next.
        min_learning_rate: where the cosine ends.
        betas: of AdamW.
        checkpoint: folder of checkpoints. Where it has one, training resumes there; a finished one is loaded.
        progress: name of a progress bar; None for none.
        on_step: called with (steps done, history) after each step; return True to stop.

    Returns:
        History, the part before a restart included.

    Raises:
        SettingError: nothing is to be trained, or a setting does not go with the model or without validation.
        ModelFileError: the checkpoint is damaged, in use, or of another training.
        DivergedError: a loss or a gradient is no longer a number; the weights are those before it.
        OutOfMemoryError: the message names the settings that need less.
    """
    if config.patience and valid_loss is None:
        raise SettingError(f"patience={config.patience} needs validation examples to see when to stop")
    if config.gradient_checkpointing and not hasattr(model, "gradient_checkpointing"):
        raise SettingError(f"{type(model).__name__} has no attribute gradient_checkpointing; set it to False")
    learned = TrainingState(model, config.patience > 0)
    if not learned.weights:
        raise SettingError("nothing in the model requires grad, so there is nothing to train; choose what learns")
    matrices, vectors = ([p for p in learned.weights.values() if (p.dim() >= 2) == wide] for wide in (True, False))
    groups = [{"params": matrices, "weight_decay": config.weight_decay}, {"params": vectors, "weight_decay": 0.0}]
    optimizer = torch.optim.AdamW(groups, lr=config.learning_rate, betas=betas)
    history, start = TrainingHistory(), 0
    with ExitStack() as stack:
        if checkpoint is not None:
            who = {key: value for key, value in asdict(config).items() if key not in NOT_THE_RESULT} | identity()
            who |= {"model": fingerprint(str(model)), "base": base_fingerprint(model)}
            stack.enter_context(locked(checkpoint))
            if (found := load_checkpoint(checkpoint, learned, optimizer, who)) is not None:
                start, history = found[0], TrainingHistory(**found[1])
        stack.enter_context(torch.random.fork_rng(devices=range(torch.cuda.device_count())))
        stack.enter_context(prepared(model, config.gradient_checkpointing, config.compile))
        log = stack.enter_context(tensorboard_writer(config.log_dir, start))
        bar = stack.enter_context(tqdm(initial=start, total=steps, disable=progress is None, desc=progress))
        for step in range(start, steps):
            if 0 < config.patience <= history.waited:  # it had stopped before the restart
                break
            began = time.perf_counter()
            torch.manual_seed(random_seed(config.seed, _DROPOUT, step))
            rate = cosine_schedule(step, steps, warmup, config.learning_rate, min_learning_rate)
            for group in optimizer.param_groups:
                group["lr"] = rate
            model.train()
            loss = 0.0
            with config.explain_oom():
                for part in losses(step):
                    part.backward()
                    loss += part.item()
                norm = nn.utils.clip_grad_norm_([*matrices, *vectors], config.clip_norm).item()
                if not (isfinite(loss) and isfinite(norm)):
                    optimizer.zero_grad()
                    raise DivergedError(
                        f"step {step + 1}: the loss is {loss}, the gradient's length {norm}; the weights are those of "
                        f"step {step}. Take a learning_rate below {config.learning_rate} or a longer warmup"
                    )
                optimizer.step()
            if hasattr(model, "after_step"):
                model.after_step(step)
            optimizer.zero_grad()
            history.add(loss, rate, norm, time.perf_counter() - began)
            done, last = step + 1, step + 1 == steps
            log(done, train_loss=loss, learning_rate=rate, gradient_norm=norm)
            if valid_loss is not None and (done % valid_every == 0 or last):
                with config.explain_oom():
                    value = valid_loss()
                if not isfinite(value):
                    raise DivergedError(f"step {done}: the validation loss is {value}; look for broken examples")
                history.valid_steps.append(done)
                history.valid_losses.append(value)
                log(done, valid_loss=value)
                if history.best_step == done:
                    learned.keep()
                last = last or 0 < config.patience <= history.waited
            if checkpoint is not None and (done % config.checkpoint_every == 0 or last):
                save_checkpoint(checkpoint, done, learned, optimizer, who, asdict(history))
            bar.set_postfix(loss=f"{loss:.3f}", refresh=False)
            bar.update()
            if (on_step is not None and on_step(done, history)) or last:
                break
        if history.valid_losses:
            learned.restore()
    model.eval()
    return history

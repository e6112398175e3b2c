"""Chapter 8: pre-training, which learns a language from text that nobody has labeled.

`pretrain` serves the causal objective (tell the next token from those before it) and the masked one (tell hidden
tokens from those around them). All randomness is a function of the seed and the number of the step, so a training
that was killed and goes on from a checkpoint ends bit for bit where it would have ended (on the same machine with
the same number of threads; on CUDA as far as its kernels are deterministic).
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, ExitStack
from dataclasses import asdict, dataclass
from math import cos, isfinite, pi
from pathlib import Path
from typing import Literal

import torch
from torch import Tensor, nn
from tqdm.auto import trange

from llmrec_lite.compute import pick_device, random_seed
from llmrec_lite.errors import DivergedError, SettingError
from llmrec_lite.language.checkpoint import fingerprint, load_checkpoint, locked, save_checkpoint
from llmrec_lite.language.objectives import (
    IGNORE,
    batch_rows,
    check_rows,
    explain_out_of_memory,
    loss_sum,
    mask_tokens,
    mean_loss,
    vocabulary_size,
)
from llmrec_lite.language.objectives import MaskedLM as MaskedLM
from llmrec_lite.language.objectives import pack as pack
from llmrec_lite.language.objectives import perplexity as perplexity
from llmrec_lite.language.trainer import TrainingHistory as TrainingHistory

_NOISE, _MASK, _VALID = range(1, 4)  # what randomness is for, besides the order
_NOT_THE_RESULT = ("device", "compile", "checkpoint_every")  # settings that a resumed training may change


@dataclass(frozen=True)
class PretrainConfig:
    """How to train.

    Args:
        steps: updates of the weights.
        batch_size: rows an update.
        learning_rate: the highest one, reached after `warmup` steps.
        warmup: steps in which the learning rate rises.
        min_learning_rate: where it ends.
        weight_decay: of matrices; biases and gains of normalizations are left alone.
        clip_norm: gradients longer than this are shortened to it.
        accumulate: pieces a batch is computed in, one after another: the same update in less memory.
        valid_every: steps from one validation to the next; there is always one at the end.
        checkpoint_every: steps from one checkpoint to the next; there is always one at the end.
        seed: of order, dropout and masks. The start of the weights is the model's own affair.
        device: "auto", "cpu", "cuda".
        precision: "float32", "bfloat16" (autocast; weights stay float32) or "auto": the latter on CUDA.
        compile: run the model through `torch.compile`, which pays on long trainings.

    Raises:
        ValueError: a value is out of its range.
    """

    steps: int = 1000
    batch_size: int = 32
    learning_rate: float = 1e-3
    warmup: int = 50
    min_learning_rate: float = 1e-4
    weight_decay: float = 0.1
    clip_norm: float = 1.0
    accumulate: int = 1
    valid_every: int = 100
    checkpoint_every: int = 100
    seed: int = 0
    device: str = "auto"
    precision: Literal["auto", "float32", "bfloat16"] = "auto"
    compile: bool = False

    def __post_init__(self) -> None:
        for name in ("steps", "batch_size", "accumulate", "valid_every", "checkpoint_every"):
            if getattr(self, name) < 1:
                raise SettingError(f"{name}={getattr(self, name)} must be at least 1")
        if self.batch_size % self.accumulate:
            raise SettingError(f"batch_size={self.batch_size} does not divide into accumulate={self.accumulate} pieces")
        if not 0 <= self.warmup < self.steps:
            raise SettingError(f"warmup={self.warmup} must lie between 0 and steps - 1 = {self.steps - 1}")
        if not 0 <= self.min_learning_rate <= self.learning_rate or self.learning_rate <= 0:
            rates = f"learning_rate={self.learning_rate}, min_learning_rate={self.min_learning_rate}"
            raise SettingError(f"need 0 <= min_learning_rate <= learning_rate and learning_rate > 0, got {rates}")
        if self.weight_decay < 0 or self.clip_norm <= 0 or self.seed < 0:
            values = f"weight_decay={self.weight_decay}, clip_norm={self.clip_norm}, seed={self.seed}"
            raise SettingError(f"need weight_decay >= 0, clip_norm > 0 and seed >= 0, got {values}")
        if self.precision not in ("auto", "float32", "bfloat16"):
            raise SettingError(f'precision must be "auto", "float32" or "bfloat16", not {self.precision!r}')


def cosine_schedule(step: int, total: int, warmup: int, peak: float, floor: float) -> float:
    """Return the learning rate of a step: up along a line, then down along half a cosine.

    peak (step + 1) / (warmup + 1) for step < warmup, then
    floor + (peak - floor) (1 + cos(pi (step - warmup) / (total - 1 - warmup))) / 2,
    so that step `warmup` has the peak and step total - 1 the floor. Loshchilov and Hutter, "SGDR: Stochastic
    Gradient Descent with Warm Restarts", ICLR 2017, equation 5, with one period and a warm-up.
    """
    if step < warmup:
        return peak * (step + 1) / (warmup + 1)
    done = min(1.0, (step - warmup) / max(1, total - 1 - warmup))
    return floor + (peak - floor) * (1 + cos(pi * done)) / 2


def pretrain(
    model: nn.Module,
    train: Tensor,
    valid: Tensor | None,
    config: PretrainConfig,
    objective: Literal["causal", "masked"] = "causal",
    checkpoint: str | Path | None = None,
    progress: bool = True,
    *,
    mask_id: int | None = None,
    special_ids: Sequence[int] = (),
    on_step: Callable[[int, TrainingHistory], bool | None] | None = None,
) -> TrainingHistory:
    """Train a language model; it is moved to the device, trained in place and left in evaluation mode.

    AdamW with weight decay on matrices only (Loshchilov and Hutter, "Decoupled Weight Decay Regularization",
    ICLR 2019), `cosine_schedule`, and clipping of the gradient's length (Pascanu et al., ICML 2013).

    Args:
        model: tokens (n, t) -> logits (n, t, vocab).
        train: rows (n, length + 1) from `pack`. "causal" reads all but the last token of a row and tells all
            but the first; "masked" reads all length + 1 tokens.
        valid: rows to measure the loss on, with the same masks each time; None for no validation.
        config: how to train.
        objective: "causal" or "masked".
        checkpoint: folder of checkpoints. Where it has one, training goes on from there; a finished one is loaded.
        progress: show a progress bar.
        mask_id: of the mask token, for "masked".
        special_ids: tokens that are never hidden, for "masked".
        on_step: called with (steps done, history) after each step; return True to stop.

    Returns:
        What happened, the part before a restart included.

    Raises:
        ValueError: rows or settings do not fit the model.
        ModelFileError: the checkpoint is damaged, in use, or of another training.
        FloatingPointError: the loss or the gradient is no longer a number.
        MemoryError: memory is out; the message names the mend.
    """
    if objective not in ("causal", "masked"):
        raise SettingError(f'objective must be "causal" or "masked", not {objective!r}')
    if objective == "masked" and mask_id is None:
        raise SettingError('objective="masked" needs mask_id, the id of the mask token')
    device = pick_device(config.device)
    low = config.precision == "bfloat16" or (config.precision == "auto" and device.type == "cuda")
    autocast = torch.autocast(device.type, torch.bfloat16, enabled=low)
    train = check_rows(train, "train")
    valid = None if valid is None else check_rows(valid, "valid")
    model.to(device)
    vocab = vocabulary_size(model, train.shape[1] - (objective == "causal"), train=train, valid=valid)

    def examples(rows: Tensor, seed: int) -> tuple[Tensor, Tensor]:
        if mask_id is None or objective == "causal":
            return rows[:, :-1], rows[:, 1:]
        return mask_tokens(rows, mask_id, vocab, special_ids, torch.Generator().manual_seed(seed))

    matrices = [p for p in model.parameters() if p.requires_grad and p.dim() >= 2]
    vectors = [p for p in model.parameters() if p.requires_grad and p.dim() < 2]
    groups = [{"params": matrices, "weight_decay": config.weight_decay}, {"params": vectors, "weight_decay": 0.0}]
    optimizer = torch.optim.AdamW(groups, lr=config.learning_rate, betas=(0.9, 0.95))
    forward = torch.compile(model) if config.compile else model
    history, start = TrainingHistory(), 0
    settings = {key: value for key, value in asdict(config).items() if key not in _NOT_THE_RESULT}
    data = {"objective": objective, "mask_id": mask_id, "special_ids": list(special_ids)}
    identity = (
        settings | data | {"train": fingerprint(train), "valid": fingerprint(valid), "model": fingerprint(str(model))}
    )
    with ExitStack() as stack:
        if checkpoint is not None:
            stack.enter_context(locked(checkpoint))
            if (found := load_checkpoint(checkpoint, model, optimizer, identity)) is not None:
                start, history = found[0], TrainingHistory(**found[1])
        stack.enter_context(torch.random.fork_rng(devices=range(torch.cuda.device_count())))
        steps = stack.enter_context(
            trange(start, config.steps, initial=start, total=config.steps, disable=not progress, desc="pretrain")
        )
        for step in steps:
            began = time.perf_counter()
            torch.manual_seed(random_seed(config.seed, _NOISE, step))  # for dropout
            rate = cosine_schedule(step, config.steps, config.warmup, config.learning_rate, config.min_learning_rate)
            for group in optimizer.param_groups:
                group["lr"] = rate
            rows = train[batch_rows(len(train), config.batch_size, config.seed, step)]
            batch = examples(rows, random_seed(config.seed, _MASK, step))
            loss, norm = _update(forward, optimizer, *batch, config, device, autocast)
            if not (isfinite(loss) and isfinite(norm)):
                raise DivergedError(
                    f"step {step + 1}: the loss is {loss}, the gradient's length {norm}; the weights are those of "
                    f"step {step}. Take a learning_rate below {config.learning_rate} or a longer warmup"
                )
            history.add(loss, rate, norm, time.perf_counter() - began)
            done, last = step + 1, step + 1 == config.steps
            if valid is not None and (done % config.valid_every == 0 or last):
                hidden = examples(valid, random_seed(config.seed, _VALID))
                history.valid_steps.append(done)
                history.valid_losses.append(mean_loss(model, *hidden, config.batch_size // config.accumulate, autocast))
            if checkpoint is not None and (done % config.checkpoint_every == 0 or last):
                save_checkpoint(checkpoint, done, model, optimizer, identity, asdict(history))
            steps.set_postfix(loss=f"{loss:.3f}", refresh=False)
            if on_step is not None and on_step(done, history):
                break
    model.eval()
    return history


def _update(
    forward: Callable[[Tensor], Tensor],
    optimizer: torch.optim.Optimizer,
    inputs: Tensor,
    targets: Tensor,
    config: PretrainConfig,
    device: torch.device,
    autocast: AbstractContextManager[object],
) -> tuple[float, float]:
    """Do one step, unless loss or gradient is no number; return the loss and the gradient's length."""
    # Divided by the tokens of the whole batch, the pieces add up to its mean, however they are cut.
    n_tokens = max(1, int((targets != IGNORE).sum()))
    total = torch.zeros((), device=device)
    with explain_out_of_memory(config.batch_size, inputs.shape[1], config.accumulate):
        for x, y in zip(inputs.chunk(config.accumulate), targets.chunk(config.accumulate), strict=True):
            with autocast:
                logits = forward(x.to(device))
            loss = loss_sum(logits, y.to(device)) / n_tokens
            loss.backward()
            total += loss.detach()
        parameters = [p for group in optimizer.param_groups for p in group["params"]]
        norm = nn.utils.clip_grad_norm_(parameters, config.clip_norm).item()
        if isfinite(total.item()) and isfinite(norm):
            optimizer.step()
        optimizer.zero_grad()
    return total.item(), norm

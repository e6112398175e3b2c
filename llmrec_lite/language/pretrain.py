"""Chapter 8: pre-training on unlabeled text, causal or masked."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import torch
from torch import Tensor, nn

from llmrec_lite.compute import pick_device, random_seed
from llmrec_lite.errors import SettingError
from llmrec_lite.language.checkpoint import fingerprint
from llmrec_lite.language.objectives import IGNORE, batch_rows, loss_sum, mask_tokens, mean_loss
from llmrec_lite.language.objectives import MaskedLM as MaskedLM
from llmrec_lite.language.objectives import pack as pack
from llmrec_lite.language.objectives import perplexity as perplexity
from llmrec_lite.language.trainer import TrainConfig, TrainingHistory, train_model
from llmrec_lite.language.trainer import cosine_schedule as cosine_schedule

_MASK, _VALID = 2, 3  # what randomness is for, besides order and dropout


@dataclass(frozen=True, kw_only=True)
class PretrainConfig(TrainConfig):
    """Settings of pre-training, besides those of `TrainConfig`."""

    steps: int = 1000
    batch_size: int = 32
    warmup: int = 50  # steps in which the learning rate rises
    min_learning_rate: float = 1e-4  # at the last step
    weight_decay: float = 0.1
    valid_every: int = 100

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.warmup >= self.steps:
            raise SettingError(f"warmup={self.warmup} must lie between 0 and steps - 1 = {self.steps - 1}")
        if self.min_learning_rate > self.learning_rate:
            raise SettingError(f"min_learning_rate={self.min_learning_rate} is above {self.learning_rate}")


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
    """Pre-training by `train_model`; the model is moved to the device and left in evaluation mode.

    Args:
        model: tokens (n, t) -> logits (n, t, vocab).
        train: rows (n, length + 1) from `pack`.
        valid: rows to measure the loss on, with the same masks each time; None for no validation.
        config: settings.
        objective: "causal" predicts the next token, "masked" the hidden tokens of a row, all length + 1 of it.
        checkpoint: folder of checkpoints to resume from.
        progress: show a progress bar.
        mask_id: mask token, for "masked".
        special_ids: tokens that are never hidden, for "masked".
        on_step: called with (steps done, history) after each step; return True to stop.

    Raises:
        SettingError, ModelFileError, DivergedError, OutOfMemoryError: as `train_model`.
    """
    if objective not in ("causal", "masked"):
        raise SettingError(f'objective must be "causal" or "masked", not {objective!r}')
    if objective == "masked" and mask_id is None:
        raise SettingError('objective="masked" needs mask_id, the id of the mask token')
    device = pick_device(config.device)
    model.to(device)
    vocab = 0
    if objective == "masked":
        with torch.no_grad():
            vocab = model.eval()(train[:1].to(device)).shape[2]

    def examples(rows: Tensor, seed: int) -> tuple[Tensor, Tensor]:
        if mask_id is None or objective == "causal":
            return rows[:, :-1], rows[:, 1:]
        return mask_tokens(rows, mask_id, vocab, special_ids, torch.Generator().manual_seed(seed))

    def losses(step: int) -> Iterator[Tensor]:
        rows = train[batch_rows(len(train), config.batch_size, config.seed, step)]
        inputs, targets = examples(rows, random_seed(config.seed, _MASK, step))
        # Divided by the tokens of the whole batch, the pieces add up to its mean, however they are cut.
        n_tokens = max(1, int((targets != IGNORE).sum()))
        for x, y in zip(inputs.chunk(config.accumulate), targets.chunk(config.accumulate), strict=True):
            with config.autocast():
                logits = model(x.to(device))
            yield loss_sum(logits, y.to(device)) / n_tokens

    def valid_loss() -> float:
        assert valid is not None
        hidden = examples(valid, random_seed(config.seed, _VALID))
        return mean_loss(model, *hidden, config.batch_size // config.accumulate, config.autocast())

    def identity() -> dict[str, Any]:
        data = {"objective": objective, "mask_id": mask_id, "special_ids": list(special_ids)}
        return data | {"train": fingerprint(train), "valid": fingerprint(valid)}

    return train_model(
        model,
        config,
        losses,
        None if valid is None else valid_loss,
        identity,
        steps=config.steps,
        warmup=config.warmup,
        valid_every=config.valid_every,
        min_learning_rate=config.min_learning_rate,
        betas=(0.9, 0.95),
        checkpoint=checkpoint,
        progress="pretrain" if progress else None,
        on_step=on_step,
    )

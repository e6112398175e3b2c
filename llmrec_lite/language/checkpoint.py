"""Chapter 8: checkpoints, from which a killed training resumes as if nothing had happened.

A checkpoint is a folder `step-00000100` of `model.safetensors`, `optimizer.safetensors`, `training.json` and
`SHA256SUMS`. Nothing is pickled, so a checkpoint from an unknown source can be wrong but cannot run code.
"""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from filelock import FileLock, Timeout
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from llmrec_lite.errors import ModelFileError
from llmrec_lite.files import atomic_folder, damage, remove_unfinished, unfinished_names

WEIGHTS, OPTIMIZER, TRAINING = "model.safetensors", "optimizer.safetensors", "training.json"
_PREFIX = "step-"


def fingerprint(data: Tensor | str | None) -> str | None:
    """Fingerprint of the data of a training: 16 hexadecimal digits."""
    if data is None:
        return None
    content = data.encode() if isinstance(data, str) else data.cpu().contiguous().numpy().tobytes()
    shape = "" if isinstance(data, str) else f"{data.dtype} {tuple(data.shape)}"
    return hashlib.sha256(shape.encode() + content).hexdigest()[:16]


@contextmanager
def locked(folder: str | Path) -> Iterator[None]:
    """Lock on the folder, which is made; it ends with the process, however that ends."""
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    try:
        with FileLock(folder / ".lock", timeout=0):
            yield
    except Timeout as error:
        raise ModelFileError(f"another training uses {folder}: wait until it ends, or name another folder") from error


def latest_checkpoint(folder: str | Path) -> Path | None:
    """Checkpoint of the most steps in the folder, None where there is none."""
    return max(Path(folder).glob(f"{_PREFIX}*"), key=lambda path: path.name, default=None)


def save_checkpoint(
    folder: str | Path,
    step: int,
    model: nn.Module,
    optimizer: torch.optim.Optimizer,
    identity: dict[str, Any],
    history: dict[str, Any],
) -> Path:
    """Write a checkpoint, then remove the ones before it.

    Args:
        folder: of all checkpoints of this training.
        step: steps done.
        model: its weights and buffers are stored; one that is used twice (tied) is stored once.
        optimizer: its state is stored by the name of the weight.
        identity: what must be the same for training to resume; JSON values.
        history: JSON values.

    Raises:
        ModelFileError: the disk is full or read-only.
    """
    folder = Path(folder)
    path = folder / f"{_PREFIX}{step:08d}"
    try:
        with atomic_folder(path) as part:
            save_file(_model_tensors(model), part / WEIGHTS)
            save_file(_optimizer_tensors(model, optimizer), part / OPTIMIZER)
            text = json.dumps({"step": step, "identity": identity, "history": history})
            (part / TRAINING).write_text(text, encoding="utf-8")
    except OSError as error:
        raise ModelFileError(
            f"cannot write the checkpoint {path}: {error}; free some space or name another folder"
        ) from error
    for old in folder.glob(f"{_PREFIX}*"):
        if old != path:
            shutil.rmtree(old, ignore_errors=True)
    return path


def load_checkpoint(
    folder: str | Path, model: nn.Module, optimizer: torch.optim.Optimizer, identity: dict[str, Any]
) -> tuple[int, dict[str, Any]] | None:
    """Put the last checkpoint of the folder into the model and the optimizer, bit for bit, if it fits.

    Returns:
        The steps done and the history, or None where the folder has no checkpoint.

    Raises:
        ModelFileError: the checkpoint is damaged, or of another training, configuration or model.
    """
    for name in unfinished_names(folder):
        remove_unfinished(Path(folder) / name)
    path = latest_checkpoint(folder)
    if path is None:
        return None
    if trouble := damage(path, (WEIGHTS, OPTIMIZER, TRAINING)):
        raise ModelFileError(f"{trouble}; delete the folder {path} and train again")
    training = json.loads((path / TRAINING).read_text(encoding="utf-8"))
    weights, state = load_file(path / WEIGHTS), load_file(path / OPTIMIZER)
    mine = _model_tensors(model)
    for name in sorted(mine.keys() | weights.keys()):
        was_shape, now_shape = (_describe(tensors.get(name)) for tensors in (weights, mine))
        if was_shape != now_shape:
            raise ModelFileError(
                f"{path / WEIGHTS} is of another model: {name} is {was_shape} there and {now_shape} here; "
                "build the model that was trained, name another folder, or delete this one"
            )
    if changed := [key for key in identity if training["identity"].get(key) != identity[key]]:
        was, now = training["identity"].get(changed[0]), identity[changed[0]]
        raise ModelFileError(
            f"{path} is of another training: it has {changed[0]}={was}, this one {changed[0]}={now}; "
            "go on with the same settings, name another folder, or delete this one"
        )
    with torch.no_grad():
        for name, tensor in _named_tensors(model).items():
            tensor.copy_(weights[name])
    for name, parameter in model.named_parameters():
        entries = {key.removeprefix(f"{name}/"): value for key, value in state.items() if key.startswith(f"{name}/")}
        # The count of steps, a single number, stays on the CPU, where AdamW keeps it.
        optimizer.state[parameter] = {key: v.to(parameter.device) if v.dim() else v for key, v in entries.items()}
    return training["step"], training["history"]


def _named_tensors(model: nn.Module) -> dict[str, Tensor]:
    return {**dict(model.named_parameters()), **dict(model.named_buffers())}  # each tied weight once


def _model_tensors(model: nn.Module) -> dict[str, Tensor]:
    return {name: tensor.detach().contiguous() for name, tensor in _named_tensors(model).items()}


def _optimizer_tensors(model: nn.Module, optimizer: torch.optim.Optimizer) -> dict[str, Tensor]:
    return {
        f"{name}/{key}": value.contiguous()
        for name, parameter in model.named_parameters()
        for key, value in optimizer.state.get(parameter, {}).items()
    }


def _describe(tensor: Tensor | None) -> str:
    return "missing" if tensor is None else f"{str(tensor.dtype).removeprefix('torch.')} {tuple(tensor.shape)}"

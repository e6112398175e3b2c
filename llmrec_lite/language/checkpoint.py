"""Chapter 8: checkpoints of a training that can be killed at any moment and goes on as if nothing had happened.

A checkpoint is a folder `step-00000100` with four files: `model.safetensors` (weights and buffers),
`optimizer.safetensors` (its state of every weight), `training.json` (what was trained, and its history) and
`SHA256SUMS`, the checksums of the three, which `sha256sum -c` reads too. Nothing is pickled, so a checkpoint from
somebody else can be wrong but cannot run code.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from filelock import FileLock, Timeout
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from llmrec_lite.assets import file_sha256
from llmrec_lite.errors import ModelFileError

WEIGHTS, OPTIMIZER, TRAINING, SUMS = "model.safetensors", "optimizer.safetensors", "training.json", "SHA256SUMS"
_PREFIX, _UNFINISHED = "step-", ".unfinished-"


def fingerprint(data: Tensor | str | None) -> str | None:
    """Return 16 hexadecimal digits that tell these data from others, for the identity of a training."""
    if data is None:
        return None
    content = data.encode() if isinstance(data, str) else data.cpu().contiguous().numpy().tobytes()
    shape = "" if isinstance(data, str) else f"{data.dtype} {tuple(data.shape)}"
    return hashlib.sha256(shape.encode() + content).hexdigest()[:16]


@contextmanager
def locked(folder: str | Path) -> Iterator[None]:
    """Make the folder and keep it for this process; the lock goes when the process does, however it ends.

    Raises:
        ModelFileError: another process trains into the folder.
    """
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    try:
        with FileLock(folder / ".lock", timeout=0):
            yield
    except Timeout as error:
        raise ModelFileError(f"another training uses {folder}: wait until it ends, or name another folder") from error


def latest_checkpoint(folder: str | Path) -> Path | None:
    """Return the whole checkpoint of the most steps in the folder, None where there is none."""
    return max(Path(folder).glob(f"{_PREFIX}*"), key=lambda path: path.name, default=None)


def save_checkpoint(
    folder: str | Path,
    step: int,
    model: nn.Module,
    optimizer: torch.optim.Optimizer,
    identity: dict[str, Any],
    history: dict[str, Any],
) -> Path:
    """Write a checkpoint and remove the ones before it.

    It is written beside them under another name, down to the disk, and gets its own name by one rename. So at
    every moment the folder holds a whole checkpoint, or none where there has been none.

    Args:
        folder: of all checkpoints of this training.
        step: how many steps have been done.
        model: its weights and buffers are stored; one that is used twice (tied) is stored once.
        optimizer: its state is stored by the name of the weight.
        identity: what must be the same for training to go on; JSON values.
        history: JSON values.

    Raises:
        ModelFileError: the disk is full or read-only.
    """
    folder = Path(folder)
    path = folder / f"{_PREFIX}{step:08d}"
    try:
        unfinished = Path(tempfile.mkdtemp(prefix=_UNFINISHED, dir=folder))
        try:
            save_file(_model_tensors(model), unfinished / WEIGHTS)
            save_file(_optimizer_tensors(model, optimizer), unfinished / OPTIMIZER)
            text = json.dumps({"step": step, "identity": identity, "history": history})
            (unfinished / TRAINING).write_text(text, encoding="utf-8")
            names = (WEIGHTS, OPTIMIZER, TRAINING)
            (unfinished / SUMS).write_text("".join(f"{file_sha256(unfinished / name)}  {name}\n" for name in names))
            for name in (*names, SUMS):
                with open(unfinished / name, "rb+") as file:
                    os.fsync(file.fileno())
            unfinished.chmod(0o755)  # mkdtemp lets only the owner in
            os.replace(unfinished, path)
        except BaseException:
            shutil.rmtree(unfinished, ignore_errors=True)
            raise
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
    """Put the last checkpoint of the folder into the model and the optimizer, bit for bit.

    What a killed process left unfinished is removed. Model and optimizer are touched only when all is well.

    Returns:
        The steps done and the history, or None where the folder has no checkpoint.

    Raises:
        ModelFileError: the checkpoint is damaged, or of another training, configuration or model.
    """
    for unfinished in Path(folder).glob(f"{_UNFINISHED}*"):
        shutil.rmtree(unfinished, ignore_errors=True)
    path = latest_checkpoint(folder)
    if path is None:
        return None
    training = _verified(path)
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


def _verified(path: Path) -> dict[str, Any]:
    """Return `training.json` after every file of the checkpoint has proved to be what was written."""
    mend = f"delete the folder {path} and train again"
    try:
        lines = [line.split("  ", 1) for line in (path / SUMS).read_text(encoding="utf-8").splitlines()]
        sums = {name: digest for digest, name in lines}
    except (OSError, ValueError) as error:
        raise ModelFileError(f"{path / SUMS} is missing or damaged ({error}); {mend}") from error
    for name in (WEIGHTS, OPTIMIZER, TRAINING):
        if not (path / name).is_file():
            raise ModelFileError(f"{path / name} is missing; {mend}")
        if file_sha256(path / name) != sums.get(name):
            raise ModelFileError(f"{path / name} is damaged: it is not what was written; {mend}")
    return json.loads((path / TRAINING).read_text(encoding="utf-8"))


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

"""Errors that a user can put right: each message names the value and the fix, and the command line shows it alone."""

from __future__ import annotations

import json
import shlex
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar

import numpy as np


class LlmrecError(Exception):
    """Base of every error that a user can put right."""


class SettingError(LlmrecError, ValueError):
    """A setting or an argument that cannot be used as it is."""


class DataError(LlmrecError, ValueError):
    """Input data that cannot be used as they are; the message names the rows or columns."""


class UnknownIdError(LlmrecError, ValueError):
    """A user or item id that is not in the data."""


class AssetError(LlmrecError, RuntimeError):
    """An asset is unknown, or cannot be fetched, verified or stored."""


class ModelFileError(LlmrecError, RuntimeError):
    """A model, an adapter or a checkpoint on disk cannot be read, written or used."""


class OutOfMemoryError(LlmrecError, MemoryError):
    """A model or a batch does not fit into memory."""


class DivergedError(LlmrecError, FloatingPointError):
    """A training has left the finite numbers."""


class DataWarning(UserWarning):
    """What a reader of data has left unused or taken for granted: to be known, not to be mended."""


# ---- hints in the words of the caller: `invalid="drop"` in Python, `--invalid drop` on the command line ----

_on_command_line: ContextVar[bool] = ContextVar("on_command_line", default=False)


@contextmanager
def command_line_hints() -> Iterator[None]:
    """Context in which hints name options of the command and not arguments of a function."""
    token = _on_command_line.set(True)
    try:
        yield
    finally:
        _on_command_line.reset(token)


def hint(name: str, value: object) -> str:
    """Argument as the caller writes it, `separator=";"` or `--separator ';'`; False is `--no-NAME` there."""
    if not _on_command_line.get():
        return f"{name}={json.dumps(value, ensure_ascii=False) if isinstance(value, str | dict) else repr(value)}"
    if value is False:
        return f"--no-{name}"
    said = ",".join(f"{key}={cell}" for key, cell in value.items()) if isinstance(value, dict) else str(value)
    return f"--{name} {shlex.quote(said)}"


def shorten(value: object, width: int = 60) -> str:
    """Value as a message shows it: its `repr`, cut in the middle where it is longer than `width` characters."""
    # Of a long text the middle is cut before it is quoted, which may take as long as reading the file did.
    if isinstance(value, str) and len(value) > 4 * width:
        value = value[: 2 * width] + "..." + value[-2 * width :]
    if value is None or (not isinstance(value, str) and type(value).__name__ in ("NAType", "NaTType")):
        return "nan"
    shown = repr(value.item() if isinstance(value, np.generic) else value)
    return shown if len(shown) <= width else f"{shown[: width // 2]} ... {shown[-width // 4 :]}"

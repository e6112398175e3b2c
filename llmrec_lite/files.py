"""Files and folders that are on disk whole or not at all, and their checksums."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

SUMS = "SHA256SUMS"


def file_sha256(file: Path) -> str:
    """Return the SHA-256 of a file's content, in hexadecimal digits."""
    with file.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


@contextmanager
def atomic_file(path: str | Path) -> Iterator[Path]:
    """Path to write to; what was written takes the name `path` when the block ends without an error."""
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, name = tempfile.mkstemp(prefix=f".{path.name}.", suffix=".part", dir=path.parent)
    os.close(handle)
    part = Path(name)
    try:
        yield part
        part.chmod(0o644)  # a temporary file is private; a result is not
        _to_disk(part)
        os.replace(part, path)
    except BaseException:
        part.unlink(missing_ok=True)
        raise


@contextmanager
def atomic_folder(path: str | Path) -> Iterator[Path]:
    """Folder to write files into; with their checksums it takes the name `path` when the block ends without an error.

    A folder of that name is replaced at the last moment. What a killed process left beside it is removed.
    """
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    remove_unfinished(path)
    part = Path(tempfile.mkdtemp(prefix=f".{path.name}.", suffix=".part", dir=path.parent))
    try:
        yield part
        names = sorted(file.name for file in part.iterdir())
        (part / SUMS).write_text("".join(f"{file_sha256(part / name)}  {name}\n" for name in names), encoding="utf-8")
        for name in (*names, SUMS):
            (part / name).chmod(0o644)
            _to_disk(part / name)
        part.chmod(0o755)
        _put(part, path)
    except BaseException:
        shutil.rmtree(part, ignore_errors=True)
        raise


def remove_unfinished(path: str | Path) -> None:
    """Remove what a killed process has left of `atomic_file` or `atomic_folder`."""
    path = Path(path)
    for part in path.parent.glob(f".{path.name}.*.part"):
        if part.is_dir():
            shutil.rmtree(part, ignore_errors=True)
        else:
            part.unlink(missing_ok=True)


def damage(folder: Path, names: Sequence[str]) -> str | None:
    """Compare the files of a folder with the checksums that `atomic_folder` wrote.

    Returns:
        What is wrong, beginning with the path of the file; None where every file is what was written.
    """
    try:
        lines = [line.split("  ", 1) for line in (folder / SUMS).read_text(encoding="utf-8").splitlines()]
        sums = {name: digest for digest, name in lines}
    except (OSError, ValueError) as error:
        return f"{folder / SUMS} is missing or damaged ({error})"
    for name in names:
        if not (folder / name).is_file():
            return f"{folder / name} is missing"
        if file_sha256(folder / name) != sums.get(name):
            return f"{folder / name} is damaged or changed: it is not what was written"
    return None


def write_json(path: str | Path, content: Any) -> None:
    """Write JSON with an indent, numbers and arrays of numpy included."""
    text = to_json(content)  # fails before there is a file
    with atomic_file(path) as part:
        part.write_text(text, encoding="utf-8")


def to_json(content: Any) -> str:
    """JSON with an indent, numbers and arrays of numpy included."""
    return json.dumps(content, indent=1, ensure_ascii=False, default=_plain) + "\n"


def _plain(value: object) -> object:
    """Return what JSON knows for a number or an array of numpy: it must not lose a run of half an hour."""
    if isinstance(value, np.generic | np.ndarray):
        return value.tolist()
    raise TypeError(f"{value!r} is not JSON serializable")


def _to_disk(file: Path) -> None:
    with file.open("rb+") as stream:
        os.fsync(stream.fileno())


def _put(part: Path, path: Path) -> None:
    """Give the folder its name; a folder of that name goes once the new one is in its place."""
    if not path.exists():
        os.replace(part, path)
        return
    old = Path(tempfile.mkdtemp(prefix=f".{path.name}.", suffix=".part", dir=path.parent))
    os.replace(path, old / path.name)
    try:
        os.replace(part, path)
    except BaseException:
        os.replace(old / path.name, path)
        raise
    finally:
        shutil.rmtree(old, ignore_errors=True)

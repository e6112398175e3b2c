"""Files and folders that are on disk whole or not at all, and their checksums."""

from __future__ import annotations

import hashlib
import json
import os
import re
import shutil
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import numpy as np
from filelock import FileLock
from safetensors import SafetensorError

SUMS = "SHA256SUMS"
MARK = ".llmrec-unfinished"  # in a folder that is being written
LARGEST_SUMS = 1 << 16


def file_sha256(file: Path) -> str:
    """Return the SHA-256 of a file's content, in hexadecimal digits."""
    with file.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


@contextmanager
def atomic_file(path: str | Path) -> Iterator[Path]:
    """Path to write to; what was written takes the name `path` when the block ends without an error.

    Raises:
        OSError: it cannot be written, such as on a full disk.
    """
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, name = tempfile.mkstemp(prefix=f".{path.name}.", suffix=".part", dir=path.parent)
    os.close(handle)
    part = Path(name)
    try:
        with _as_os_error():
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

    A folder of that name is replaced at the last moment; where `path` is a link, what it points to is. Processes that
    write to one path take turns. What a killed one left beside it is removed, or put back where it took the old folder
    away and did not come to put the new one in its place.

    Raises:
        OSError: it cannot be written, such as on a full disk, or another process has been writing it for ten minutes.
    """
    path = Path(os.path.realpath(path))
    path.parent.mkdir(parents=True, exist_ok=True)
    with _turn(path):
        _clean(path)
        own = Path(tempfile.mkdtemp(prefix=f".{path.name}.", suffix=".part", dir=path.parent))
        try:
            (own / MARK).write_text("written by llmrec; of no use once no process writes it\n", encoding="utf-8")
            part = own / "new"
            part.mkdir()
            with _as_os_error():
                yield part
            names = sorted(file.name for file in part.iterdir())
            sums = "".join(f"{file_sha256(part / name)}  {name}\n" for name in names)
            (part / SUMS).write_text(sums, encoding="utf-8")
            for name in (*names, SUMS):
                (part / name).chmod(0o644)
                _to_disk(part / name)
            part.chmod(0o755)
            _put(own, path)
        finally:
            shutil.rmtree(own, ignore_errors=True)


def remove_unfinished(path: str | Path) -> None:
    """Remove what killed processes have left of `atomic_folder`, or put back what they have taken away.

    They are known by their name and the mark inside; nothing else is touched, nor what a living process writes.
    """
    path = Path(os.path.realpath(path))
    if _unfinished(path):
        with suppress(OSError), _turn(path, timeout=0):
            _clean(path)


def recover(path: str | Path) -> None:
    """Put back the folder of a process that was killed between taking the old one away and naming the new one.

    Raises:
        OSError: it cannot be put back; the message names where it lies.
    """
    path = Path(os.path.realpath(path))
    if path.exists() or not _unfinished(path):
        return
    try:
        with _turn(path):
            _clean(path)
    except OSError as error:
        raise OSError(f"{path} lies in {_unfinished(path)[0] / 'old'}; rename it ({error})") from error


def unfinished_names(folder: str | Path) -> set[str]:
    """Names of the folders in `folder` that killed processes have left unfinished."""
    found = {match[1]: Path(folder) / match[1] for file in Path(folder).glob(".*.part") if (match := _part_of(file))}
    return {name for name, path in found.items() if _unfinished(path)}


def _part_of(file: Path) -> re.Match[str] | None:
    return re.fullmatch(r"\.(.+)\.[a-z0-9_]{8}\.part", file.name)  # as `tempfile` names what it makes


def _unfinished(path: Path) -> list[Path]:
    """Folders of `atomic_folder` beside a path, of killed processes or living ones."""
    found = []
    with suppress(OSError):
        for file in path.parent.iterdir():
            match = _part_of(file)
            named = match and match[1] == path.name and file.is_dir() and not file.is_symlink()
            # Killed before the mark was written, it is empty.
            if named and ((file / MARK).is_file() or not any(file.iterdir())):
                found.append(file)
    return sorted(found)


def _clean(path: Path) -> None:
    """Put back or remove what was left; only for who has the turn, so that nobody else is at work."""
    for left in _unfinished(path):
        if (left / "old").is_dir() and not path.exists():
            os.replace(left / "old", path)
        shutil.rmtree(left, ignore_errors=True)


@contextmanager
def _turn(path: Path, timeout: float = 600) -> Iterator[None]:
    """Let one process at a time write to a path; the lock ends with the process, however that ends."""
    file = path.parent / f".{path.name}.lock"
    with FileLock(file, timeout=timeout):
        try:
            yield
        finally:
            # While it is held: who has opened the file meanwhile finds it without a name and opens the next.
            with suppress(OSError):
                file.unlink()


@contextmanager
def _as_os_error() -> Iterator[None]:
    """Let a failed write be an OSError, whatever the library that writes makes of it."""
    try:
        yield
    except SafetensorError as error:
        raise OSError(str(error)) from error


def damage(folder: Path, names: Sequence[str]) -> str | None:
    """Compare the files of a folder with the checksums that `atomic_folder` wrote.

    Returns:
        What is wrong, beginning with the path of the file; None where every file is what was written.
    """
    try:
        text = read_bounded(folder / SUMS, LARGEST_SUMS).decode()
        sums = {name: digest for digest, name in (line.split("  ", 1) for line in text.splitlines())}
    except (OSError, ValueError) as error:
        return f"{folder / SUMS} is missing or damaged ({error})"
    for name in names:
        if not (folder / name).is_file():
            return f"{folder / name} is missing"
        if file_sha256(folder / name) != sums.get(name):
            return f"{folder / name} is damaged or changed: it is not what was written"
    return None


def read_bounded(path: Path, most: int) -> bytes:
    """Content of a regular file of at most so many bytes; a pipe or a device is not waited for.

    Raises:
        OSError: it is no such file.
    """
    if not path.is_file():
        raise OSError(f"{path} is no file")
    if path.stat().st_size > most:
        raise OSError(f"{path} has more than {most:,} bytes")
    with path.open("rb") as stream:
        return stream.read(most)


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


def _put(own: Path, path: Path) -> None:
    """Give the new folder its name; a folder of that name stays in `own` until the new one is in its place."""
    if path.exists():
        os.replace(path, own / "old")
    try:
        os.replace(own / "new", path)
    except BaseException:
        if (own / "old").exists():
            os.replace(own / "old", path)
        raise

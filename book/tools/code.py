"""Which code a module rests on, as one hash: what results and executed chapters were made by."""

from __future__ import annotations

import ast
import hashlib
import io
import tokenize
from collections.abc import Iterable
from functools import cache
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]


def closure(files: Iterable[Path], root: Path = ROOT) -> list[Path]:
    """Import closure: the files, and every module of the checkout that they import, at once or lazily.

    Args:
        files: Python files.
        root: folder that holds the packages.

    Returns:
        Paths in alphabetical order.
    """
    found: set[Path] = set()
    waiting = [file.resolve() for file in files]
    while waiting:
        file = waiting.pop()
        if file not in found:
            found.add(file)
            waiting.extend(_imports(file, root.resolve()))
    return sorted(found)


def code_hash(files: Iterable[Path], root: Path = ROOT) -> str:
    """Hash of what Python files do: names, code, constants; comments, docstrings and empty lines do not count."""
    digest = hashlib.sha256()
    for file in sorted(files):
        digest.update(f"{file.resolve().relative_to(root.resolve()).as_posix()}\0".encode())
        digest.update(essence(file.read_text("utf-8")).encode() + b"\0")
    return digest.hexdigest()[:16]


@cache
def _imports(file: Path, root: Path) -> list[Path]:
    names: set[str] = set()
    for node in ast.walk(ast.parse(file.read_text("utf-8"))):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            names |= {node.module, *(f"{node.module}.{alias.name}" for alias in node.names)}
    return [path for name in names for path in _files_of(name, root)]


def _files_of(name: str, root: Path) -> list[Path]:
    """Return the module, and the packages above it, whose code runs first."""
    parts = name.split(".")
    candidates = [root.joinpath(*parts[:depth], "__init__.py") for depth in range(1, len(parts) + 1)]
    candidates.append(root.joinpath(*parts).with_suffix(".py"))
    return [path for path in candidates if path.is_file()]


def essence(source: str) -> str:
    """Return Python source without comments, docstrings, empty lines and blanks at the ends of lines.

    Spans are cut out of the text, so that the result does not depend on the version of Python.
    """
    lines = source.splitlines()
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
            first = node.body[0] if node.body else None
            if (
                isinstance(first, ast.Expr)
                and isinstance(first.value, ast.Constant)
                and isinstance(first.value.value, str)
            ):
                for number in range(first.lineno - 1, first.end_lineno or first.lineno):
                    lines[number] = ""
    for token in tokenize.generate_tokens(io.StringIO(source).readline):
        if token.type == tokenize.COMMENT:
            row, column = token.start
            lines[row - 1] = lines[row - 1][:column]
    return "\n".join(line.rstrip() for line in lines if line.strip())

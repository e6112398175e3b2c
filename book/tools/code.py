"""Which code a module rests on, as one hash: what results and executed chapters were made by."""

from __future__ import annotations

import ast
import hashlib
import io
import tokenize
from collections.abc import Iterable, Iterator
from functools import cache
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]


def closure(files: Iterable[Path], root: Path = ROOT, without: Iterable[Path] = ()) -> list[Path]:
    """Import closure: the files, and every module of the checkout that they import, at once or lazily.

    Args:
        files: Python files.
        root: folder that holds the packages.
        without: files that do not count, nor what only they import.

    Returns:
        Paths in alphabetical order.
    """
    root, left_out = root.resolve(), {file.resolve() for file in without}
    found: set[Path] = set()
    waiting = [file.resolve() for file in files]
    while waiting:
        file = waiting.pop()
        if file not in found | left_out:
            found.add(file)
            package = ".".join(file.relative_to(root).parent.parts)
            names = {package, *_imports(read(file), package)}
            waiting.extend(path for name in names for path in _files_of(name, root))
    return sorted(found)


def code_hash(files: Iterable[Path], root: Path = ROOT) -> str:
    """Hash of what Python files do: names, code, constants; comments, docstrings and empty lines do not count."""
    digest = hashlib.sha256()
    for file in sorted(files):
        digest.update(f"{file.resolve().relative_to(root.resolve()).as_posix()}\0".encode())
        digest.update(essence(read(file)).encode() + b"\0")
    return digest.hexdigest()[:16]


def read(file: Path) -> str:
    """Text of a file with the line ends of Unix, whatever git has made of them."""
    return file.read_text("utf-8-sig")


@cache
def strings(source: str) -> frozenset[str]:
    """Every string constant of Python source."""
    nodes = ast.walk(ast.parse(source))
    return frozenset(n.value for n in nodes if isinstance(n, ast.Constant) and isinstance(n.value, str))


@cache
def _imports(source: str, package: str) -> frozenset[str]:
    """Return the names of all modules, or of what is in them, that source in a package imports."""
    names: set[str] = set()
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            above = package.split(".")[: -node.level + 1 or None] if node.level else []
            module = ".".join([*above, *([node.module] if node.module else [])])
            names |= {module, *(f"{module}.{alias.name}" for alias in node.names)}
    return frozenset(names)


def _files_of(name: str, root: Path) -> list[Path]:
    """Return the module, and the packages above it, whose code runs first."""
    parts = name.split(".")
    candidates = [root.joinpath(*parts[:depth], "__init__.py") for depth in range(1, len(parts) + 1)]
    candidates.append(root.joinpath(*parts).with_suffix(".py"))
    return [path for path in candidates if path.is_file()]


@cache
def essence(source: str) -> str:
    """Return Python source without comments, docstrings, empty lines and blanks at the ends of lines.

    Spans are cut out of the text, so that the result does not depend on the version of Python. What lies inside a
    string stays as it is. Left out, too, are functions under a decorator `@NAME.check`: they look at a result, and do
    not make it.
    """
    text = source.split("\n")  # the lines as Python counts them
    lines = [line.encode() for line in text]  # `ast` counts columns in bytes
    tree = ast.parse(source)
    spans = []
    for node in ast.walk(tree):
        if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
            first = node.body[0] if node.body else None
            value = first.value if isinstance(first, ast.Expr) else None
            if isinstance(value, ast.Constant) and isinstance(value.value, str):
                spans.append(_span(value))
            if isinstance(node, ast.FunctionDef) and any(_is_check(one) for one in node.decorator_list):
                spans.append((node.decorator_list[0].lineno, 0, *_span(node)[2:]))
    for token in tokenize.generate_tokens(io.StringIO(source).readline):
        if token.type == tokenize.COMMENT:
            row, column = token.start
            spans.append((row, len(text[row - 1][:column].encode()), row, len(lines[row - 1])))
    inside = {row for span in _strings(tree) for row in range(span[0], span[2])}  # lines that end inside a string
    for row, column, last, end in sorted(spans, reverse=True):
        inside -= set(range(row, last + 1))
        for number in range(row, last + 1):
            line = lines[number - 1]
            start, stop = column if number == row else 0, end if number == last else len(line)
            lines[number - 1] = line[:start] + line[stop:]
    kept = []
    for number, line in enumerate(lines, start=1):
        if number in inside:
            kept.append(line)
        elif number - 1 in inside or line.strip():
            kept.append(line.rstrip())
    return b"\n".join(kept).decode()


def _is_check(decorator: ast.expr) -> bool:
    return isinstance(decorator, ast.Attribute) and decorator.attr == "check"


def _span(node: ast.stmt | ast.expr) -> tuple[int, int, int, int]:
    return node.lineno, node.col_offset, node.end_lineno or 0, node.end_col_offset or 0  # Python's parser sets all


def _strings(tree: ast.Module) -> Iterator[tuple[int, int, int, int]]:
    """Yield where strings are; what lies inside an f-string has no true place before Python 3.12."""
    waiting: list[ast.AST] = [tree]
    while waiting:
        node = waiting.pop()
        if isinstance(node, ast.JoinedStr) or (isinstance(node, ast.Constant) and isinstance(node.value, str | bytes)):
            yield _span(node)
        else:
            waiting.extend(ast.iter_child_nodes(node))

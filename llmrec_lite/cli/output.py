"""What a command prints: JSON and tables that any console can show, and the end of a program that met an error."""

from __future__ import annotations

import json
import math
import os
import re
import sys
from typing import Any, NoReturn

import pandas as pd
from rich.console import Console
from rich.markup import escape
from rich.table import Table

# What moves the cursor, colors, renames or clears a terminal begins with one of these (ECMA-48).
_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029]")


def printable(text: object) -> str:
    """Text without control characters and without halves of characters, each of which becomes a replacement sign."""
    return _CONTROL.sub("\ufffd", str(text)).encode("utf-8", "replace").decode("utf-8")


def print_json(content: Any) -> None:
    """JSON with an indent on standard output; escaped where it could not show a character, null for nan."""
    text = json.dumps(_finite(content), ensure_ascii=False, indent=1, allow_nan=False)
    try:
        text.encode(getattr(sys.stdout, "encoding", None) or "utf-8")
    except UnicodeEncodeError:
        text = json.dumps(_finite(content), indent=1)
    print(text)


def _finite(content: Any) -> Any:
    if isinstance(content, dict):
        return {key: _finite(value) for key, value in content.items()}
    if isinstance(content, list | tuple):
        return [_finite(value) for value in content]
    return None if isinstance(content, float) and not math.isfinite(content) else content


def ranked_table(rows: pd.DataFrame, title: str) -> Table:
    """Table of a list; the first column is the rank."""
    table = Table("", *rows.columns[1:], title=escape(printable(title)), title_justify="left")
    for row in rows.itertuples(index=False):
        table.add_row(*(escape(printable(cell)) for cell in row))
    return table


def let_any_character_through() -> None:
    """Print a sign in place of what a console cannot show, rather than stop."""
    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="replace")


def fail(error: BaseException) -> NoReturn:
    """Say what is wrong on standard error, and end with exit code 2."""
    lines = [printable(line)[:4000] for line in str(error).split("\n")]
    said = "\n".join(lines) if any(lines) else type(error).__name__
    Console(stderr=True).print(f"llmrec: {said}", style="red", markup=False, highlight=False, soft_wrap=True)
    sys.exit(2)


def forget_output() -> None:
    """Drop what standard output could not take, which Python would try to write once more at its end."""
    try:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    except (OSError, ValueError):  # no real file, such as in a test
        return

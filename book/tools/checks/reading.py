"""Checks that a chapter reads as a book: what a student would type is seen, all else is folded and says what it holds.

A folded cell has the tag ``hide-input``, and its first line is a comment that becomes its label ("# The code of the
figure"), unless its metadata hold ``{"mystnb": {"code_prompt_show": "..."}}``. Cells with ``remove-input`` show their
output only, cells with ``remove-cell`` nothing: glue and records belong there.
"""

import ast
import re

from nbformat import NotebookNode

from book.tools.checks.markdown import blocks, walk
from book.tools.checks.shared import Check, Complaint, python

COLUMNS = 80
#: Python in the text, such as a solution's.
FENCE = re.compile(r"^(`{3,}|~{3,})(?:\{code-block\} )?python\n(.*?)^\1", re.M | re.S)
MAX_IMPORTS = 2
HIDDEN = {"hide-input", "hide-cell", "remove-input", "remove-cell"}
BEHIND_THE_SCENES = {"glue", "glued", "record_claim"}


def _code(notebook: NotebookNode) -> list[tuple[int, NotebookNode, ast.Module]]:
    """Code cells with their place and syntax tree; those that are no Python have a complaint of their own."""
    found = []
    for index, cell in enumerate(notebook.cells):
        if cell.cell_type == "code":
            try:
                found.append((index, cell, python(cell.source)))
            except SyntaxError:
                continue
    return found


def _hidden(cell: NotebookNode) -> bool:
    return bool(HIDDEN & set(cell.metadata.get("tags", [])))


def check_visible(notebook: NotebookNode) -> list[Complaint]:
    """Check that visible code is what a student would type: no glue, no records, no blocks of imports."""
    found = []
    for index, cell, tree in _code(notebook):
        if _hidden(cell):
            continue
        calls = [node for node in ast.walk(tree) if isinstance(node, ast.Call)]
        names = {ast.unparse(call.func).rpartition(".")[2] for call in calls} & BEHIND_THE_SCENES
        if any(k.arg == "display" and ast.unparse(k.value) == "False" for call in calls for k in call.keywords):
            names.add("display=False")
        if names:
            fix = "move it into a cell tagged `remove-cell`"
            found.append(Complaint(index, f"shows {', '.join(sorted(names))}", fix))
        imports = [node for node in ast.walk(tree) if isinstance(node, ast.Import | ast.ImportFrom)]
        lines = sum((node.end_lineno or node.lineno) - node.lineno + 1 for node in imports)
        if lines > MAX_IMPORTS:
            fix = f"at most {MAX_IMPORTS}, the others in a cell tagged `hide-input`"
            found.append(Complaint(index, f"shows {lines} lines of imports", fix))
    return found


def check_labels(notebook: NotebookNode) -> list[Complaint]:
    """Check that a folded cell says what it holds."""
    found = []
    for index, cell in enumerate(notebook.cells):
        tags = set(cell.metadata.get("tags", []))
        if cell.cell_type != "code" or not tags & {"hide-input", "hide-cell"}:
            continue
        first = next(iter(cell.source.strip().splitlines()), "")
        labeled = first.startswith("#") and len(first.strip("# .")) > 0
        if not labeled and not cell.metadata.get("mystnb", {}).get("code_prompt_show"):
            found.append(
                Complaint(index, "is folded without a label", "begin it with a comment that says what it holds")
            )
    return found


def check_columns(notebook: NotebookNode) -> list[Complaint]:
    """Check that lines of code fit the page, those of docstrings, comments and solutions, too."""
    found = []
    for index, cell in enumerate(notebook.cells):
        if {"remove-input", "remove-cell"} & set(cell.metadata.get("tags", [])):
            continue
        code = [cell.source] if cell.cell_type == "code" else [match[2] for match in FENCE.finditer(cell.source)]
        widest = max((len(line) for text in code for line in text.splitlines()), default=0)
        if widest > COLUMNS:
            found.append(Complaint(index, f"has a line of {widest} characters", f"keep to {COLUMNS}"))
    return found


def check_captions(notebook: NotebookNode) -> list[Complaint]:
    """Check that every figure has a caption beside its text for those who cannot see it."""
    found = []
    for index, _, tree in _code(notebook):
        for call in (node for node in ast.walk(tree) if isinstance(node, ast.Call)):
            if ast.unparse(call.func) != "plots.show":
                continue
            given = {k.arg for k in call.keywords if ast.unparse(k.value) not in {"''", "None"}}
            given |= {name for name, _ in zip(("fig", "alt", "caption"), call.args, strict=False)}
            if missing := [name for name in ("alt", "caption") if name not in given]:
                fix = "say what is seen, and what follows from it"
                found.append(Complaint(index, f"shows a figure without {' and '.join(missing)}", fix))
    for directive in walk(blocks(notebook)):
        if directive.name == "figure" and not directive.body.strip():
            found.append(Complaint(directive.cell, f"shows {directive.title} without a caption", "write it inside"))
    return found


READING: tuple[Check, ...] = (check_visible, check_labels, check_columns, check_captions)

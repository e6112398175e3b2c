"""What a complaint is, and the checks that chapters and assignments share."""

import ast
import re
from collections.abc import Callable
from symtable import SymbolTable, symtable
from typing import NamedTuple

from nbformat import NotebookNode

MAX_WIDTH = 110
#: What no cell may hold: a pattern, what is wrong with it, how to fix it.
BANNED = (
    (r"(?<![\w/:.<])/(?:home|Users|root|tmp|mnt|opt|var|usr|srv|data|work|workspace|content)/|\b[A-Z]:\\|file://",
     "an absolute path",
     "use llmrec_lite's loaders, or a path relative to the notebook"),
    (r"(?m)^\s*[!%]\s*(?:pip|conda)\b", "an install command", "add the package to requirements.txt"),
    (r"(?:filterwarnings|simplefilter)\(\s*(?:action\s*=\s*)?[\"']ignore[\"']\s*\)",
     "all warnings are silenced", "fix the cause, or name the one category and message"),
    (r"\b(?:TODO|FIXME|XXX)\b", "a note to ourselves", "do it, or take it out"),
)  # fmt: skip


class Complaint(NamedTuple):
    """One thing that is wrong in a notebook."""

    cell: int | None  # index from 0; None: the notebook as a whole
    what: str
    fix: str

    def __str__(self) -> str:
        """Return the complaint with the cell counted from 1, as a reader counts."""
        where = "notebook" if self.cell is None else f"cell {self.cell + 1}"
        return f"{where}: {self.what}, {self.fix}"


Check = Callable[[NotebookNode], list[Complaint]]


def python(source: str) -> ast.Module:
    """Parse the code of a cell; lines of IPython magic count as ``pass``.

    Raises:
        SyntaxError: the cell is no Python.
    """
    return ast.parse(re.sub(r"(?m)^(\s*)[%!].*$", r"\1pass", source))


def names_of(source: str, imports: bool = True) -> tuple[set[str], set[str]]:
    """Return the names that code defines for later cells, imported ones included or not, and the outer names it uses.

    Raises:
        SyntaxError: the code is no Python.
    """
    return _names(symtable(ast.unparse(python(source)), "cell", "exec"), imports)


def _names(table: SymbolTable, imports: bool) -> tuple[set[str], set[str]]:
    top = table.get_type() == "module"
    symbols = table.get_symbols()
    defined = {s.get_name() for s in symbols if top and (s.is_assigned() or (imports and s.is_imported()))}
    used = {s.get_name() for s in symbols if s.is_referenced() and (top or s.is_global())}
    for child in table.get_children():
        used |= _names(child, imports)[1]
    return defined, used


def check_stripped(notebook: NotebookNode) -> list[Complaint]:
    """Check that outputs are left to the build."""
    fix = "run `make format` (nbstripout)"
    found = [
        Complaint(index, "has outputs or an execution count", fix)
        for index, cell in enumerate(notebook.cells)
        if cell.get("outputs") or cell.get("execution_count") is not None
    ]
    if "widgets" in notebook.metadata:
        found.append(Complaint(None, "carries the state of widgets", fix))
    return found


def check_kernel(notebook: NotebookNode) -> list[Complaint]:
    """Check for the kernel ``python3``, which every reader has."""
    name = notebook.metadata.get("kernelspec", {}).get("name")
    if name == "python3":
        return []
    return [Complaint(None, f"asks for the kernel {name!r}", 'set metadata.kernelspec.name to "python3"')]


def check_banned(notebook: NotebookNode) -> list[Complaint]:
    """Check for what works on one machine only, hides warnings or is unfinished."""
    return [
        Complaint(index, f"{what} ({match[0].strip()})", fix)
        for index, cell in enumerate(notebook.cells)
        for pattern, what, fix in BANNED
        if (match := re.search(pattern, cell.source))
    ]


def check_code(notebook: NotebookNode) -> list[Complaint]:
    """Check that code parses and that no line is wider than the page."""
    found = []
    for index, cell in enumerate(notebook.cells):
        if cell.cell_type != "code":
            continue
        try:
            python(cell.source)
        except SyntaxError as error:
            found.append(Complaint(index, f"is no Python ({error.msg}, line {error.lineno})", "fix the syntax"))
        widest = max(map(len, cell.source.splitlines()), default=0)
        if widest > MAX_WIDTH:
            found.append(Complaint(index, f"has a line of {widest} characters", f"keep to {MAX_WIDTH}"))
    return found


SHARED: tuple[Check, ...] = (check_stripped, check_kernel, check_banned, check_code)

"""Notebooks in the form that JupyterLab and the site both show: ``python -m book.tools.inline NOTEBOOK ...``.

Authors may type the short roles of MyST; this rewrites them as what jupyterlab-myst, too, can resolve, and running it
twice changes nothing more:

- ``{cite:t}`` and ``{cite:p}`` become links with authors and year, ``[Steck, 2019](#steck2019ease)``;
- ``{term}`` becomes a link into the glossary, ``{ref}`` to a label of another file a link to that file;
- ``{zh}`` becomes a span with a language;
- ``glue("gain", value, display=False)`` becomes ``glued.gain = value``, ``{glue:text}`gain` `` becomes
  ``{eval}`glued.gain` ``.

It also keeps the metadata in order: a dash for each number that no cell has measured yet (also where a reader's run
has left its own), folded code where the site folds or leaves out a cell's code, and in a chapter's first cell how
equations, exercises and theorems are numbered.
"""

import argparse
import ast
import keyword
import re
import subprocess
import sys
from collections.abc import Iterable
from pathlib import Path

import nbformat
from nbformat import NotebookNode

from book.tools import references
from book.tools.checks.shared import python
from book.tools.code import ROOT
from llmrec_lite.files import atomic_file
from llmrec_lite.glued import DASH

FOLDED = {"hide-input", "remove-input", "hide-cell", "remove-cell"}
NUMBERED = ("equation", "exercise", "proof:theorem")
EVALUATED = re.compile(r"\{eval\}(`+)(?P<expression>.*?)(?<!`)\1(?!`)", re.S)
FRONT_MATTER = re.compile(r"\A---\n.*?^---\n+", re.M | re.S)
ROLE = re.compile(r"\{(?P<role>glue:text|cite:t|cite:p|cite|term|ref|zh)\}`(?P<content>[^`]+)`")
IMPORT = re.compile(r"^from myst_nb import glue$", re.M)


def expression(name: str) -> str:
    """Return the Python expression of a glued value's name."""
    plain = re.fullmatch(r"[A-Za-z]\w*", name, re.ASCII) and not keyword.iskeyword(name)
    return f"glued.{name}" if plain else f'glued["{name}"]'


def glued_name(code: str) -> str | None:
    """Return the name in ``glued.name`` or ``glued["name"]``, None for any other expression."""
    try:
        node = ast.parse(code.strip(), mode="eval").body
    except SyntaxError:
        return None
    match node:
        case ast.Attribute(value=ast.Name(id="glued"), attr=name):
            return name
        case ast.Subscript(value=ast.Name(id="glued"), slice=ast.Constant(value=str(name))):
            return name
    return None


def expressions(text: str) -> list[str]:
    """Return the expressions that a text evaluates, each once, in order."""
    return list(dict.fromkeys(match["expression"] for match in EVALUATED.finditer(text)))


def rewrite_text(text: str, file: Path, known: references.References) -> str:
    """Replace the short roles of a markdown cell by what both readers understand.

    Args:
        text: of the cell.
        file: of the notebook, for relative links.
        known: what can be linked to.

    Raises:
        KeyError: a citation that the bibliography does not have.
    """

    def replaced(match: re.Match[str]) -> str:
        content = " ".join(match["content"].split())
        titled = re.fullmatch(r"(.*?)\s*<([^<>]+)>", content)
        title, target = titled.groups() if titled else (content, content)
        match match["role"]:
            case "glue:text":
                return f"{{eval}}`{expression(content)}`"
            case "zh":
                return f'<span class="zh" lang="zh-Hans">{content}</span>'
            case "term":
                return f"[{title}]({references.relative(references.GLOSSARY, file)}#{references.term_id(target)})"
            case "ref":
                where = known.labels.get(target)
                if where in (None, file):
                    return match[0]
                return f"[{title}]({references.relative(where, file)}#{target})"
            case role:
                return references.citation(content.split(","), known.works, textual=role == "cite:t")

    return ROLE.sub(replaced, text)


def rewrite_code(source: str) -> str:
    """Replace calls of ``glue`` by assignments to ``glued``; code that does not parse is left as it is."""
    source = IMPORT.sub("from llmrec_lite.glued import glued", source)
    try:
        calls = [node for node in ast.walk(python(source)) if isinstance(node, ast.Expr) and _is_glue(node.value)]
    except SyntaxError:
        return source
    lines = [line.encode() for line in source.split("\n")]  # ast counts columns in bytes
    for statement in sorted(calls, key=lambda node: node.lineno, reverse=True):
        call = statement.value
        assert isinstance(call, ast.Call)
        name, value = (_segment(lines, argument) for argument in call.args[:2])
        target = f"glued[{name}]"
        if isinstance(call.args[0], ast.Constant):
            target = expression(str(call.args[0].value))
        value = f"({value})" if "\n" in value else value
        first, last = statement.lineno - 1, (statement.end_lineno or statement.lineno) - 1
        new = lines[first][: statement.col_offset] + f"{target} = {value}".encode()
        lines[first : last + 1] = (new + lines[last][statement.end_col_offset :]).split(b"\n")
    return b"\n".join(lines).decode()


def _is_glue(node: ast.expr) -> bool:
    return isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == "glue"


def _segment(lines: list[bytes], node: ast.expr) -> str:
    assert node.end_lineno is not None
    chosen = lines[node.lineno - 1 : node.end_lineno]
    chosen = [*chosen[:-1], chosen[-1][: node.end_col_offset]]
    return b"\n".join([chosen[0][node.col_offset :], *chosen[1:]]).decode()


def front_matter(number: int) -> str:
    """Return how jupyterlab-myst shall number a chapter: equation (2.1), exercise 2.1, theorem 2.1."""
    kinds = "".join(f"  {kind}:\n    enumerator: {number}.%s\n" for kind in NUMBERED)
    return f"---\nnumbering:\n{kinds}---\n\n"


def without_front_matter(text: str) -> str:
    """Return the text of a first cell as a reader sees it."""
    return FRONT_MATTER.sub("", text)


def set_metadata(cell: NotebookNode) -> None:
    """Put a dash for each number of a markdown cell, and fold the code that the site folds or leaves out."""
    if cell.cell_type == "markdown":
        shown = {"status": "ok", "data": {"text/plain": repr(DASH)}, "metadata": {}}
        cell.metadata.pop("user_expressions", None)
        if named := expressions(cell.source):
            cell.metadata["user_expressions"] = [{"expression": one, "result": shown} for one in named]
    elif cell.cell_type == "code":
        jupyter = {key: value for key, value in cell.metadata.pop("jupyter", {}).items() if key != "source_hidden"}
        if FOLDED.intersection(cell.metadata.get("tags", [])):
            jupyter["source_hidden"] = True
        if jupyter:
            cell.metadata["jupyter"] = jupyter


def rewrite(notebook: NotebookNode, file: Path, known: references.References) -> None:
    """Bring a notebook into the form that both readers show, in place."""
    for cell in notebook.cells:
        if cell.cell_type == "markdown":
            cell.source = rewrite_text(cell.source, file, known)
        elif cell.cell_type == "code":
            cell.source = rewrite_code(cell.source)
        set_metadata(cell)
    if file.parent.name == "notebooks":
        first = notebook.cells[0]
        first.source = front_matter(int(file.name[:2])) + without_front_matter(first.source)


def write(files: Iterable[Path], root: Path = ROOT) -> list[Path]:
    """Rewrite notebooks in place and put their code into the one shape; return those that changed."""
    known, changed = references.known(root), []
    for file in files:
        before = file.read_text(encoding="utf-8")
        notebook = nbformat.reads(before, as_version=4)
        rewrite(notebook, file.resolve(), known)
        after = nbformat.writes(notebook) + "\n"
        if after != before.rstrip("\n") + "\n":
            with atomic_file(file) as part:
                part.write_text(after, encoding="utf-8")
            changed.append(file)
    if changed:
        names = [str(file) for file in changed]
        ruff = [sys.executable, "-m", "ruff"]
        subprocess.run([*ruff, "check", "--quiet", "--fix", "--select", "I", *names], cwd=root, check=True)
        subprocess.run([*ruff, "format", "--quiet", "--line-length", "80", *names], cwd=root, check=True)
    return changed


def main(arguments: list[str] | None = None) -> int:
    """Run the command line; return its exit status."""
    parser = argparse.ArgumentParser(prog="python -m book.tools.inline", description=(__doc__ or "").splitlines()[0])
    parser.add_argument("notebooks", nargs="+", type=Path)
    for file in write([file.resolve() for file in parser.parse_args(arguments).notebooks]):
        print(f"{file.name}: rewritten")
    return 0


if __name__ == "__main__":
    sys.exit(main())

"""Portable copies of notebooks: plain Markdown and ``<details>``, numbers filled in, for VS Code, Colab, a download.

``python -m book.tools.portable NOTEBOOK ... --to FOLDER`` writes copies without a build, with a dash for each number.
"""

import argparse
import ast
import json
import re
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import nbformat
from nbformat import NotebookNode

from book.tools import inline, references
from book.tools.checks.markdown import PARSER, Directive, blocks, directive_of, walk
from llmrec_lite.files import atomic_file
from llmrec_lite.glued import DASH

COUNTED = {"math": "", "exercise": "Exercise ", "prf:theorem": "Theorem "}
BOXES = {"admonition", "note", "tip", "hint", "important", "warning", "caution", "attention", "seealso"}
MULTILINE = re.compile(r"\\\\|(?<!\\)&")
REFERENCE = re.compile(r"\{(?:eq|ref|numref|prf:ref)\}`([^`]+)`")
LINK = re.compile(r"\[((?:[^\[\]]|\[[^\[\]]*\])*)\]\(([^()\s]*)\)")
CODE = re.compile(r"(^(?P<fence>`{3,}|~{3,})[^{\n]*\n.*?^(?P=fence)`*[ \t]*$)", re.M | re.S)


class PortableError(ValueError):
    """A notebook holds a directive that has no plain form."""


@dataclass(frozen=True)
class Page:
    """What the text of a notebook refers to: its file, numbers of its labels, its glued values, all references."""

    file: Path
    numbers: Mapping[str, str]
    values: Mapping[str, str]
    known: references.References


def numbers(notebook: NotebookNode, chapter: int) -> dict[str, str]:
    """Return the numbers of a notebook's labeled equations, exercises and theorems, as on the site."""
    counts, found = dict.fromkeys(COUNTED, 0), {}
    for directive in walk(blocks(notebook)):
        label = directive.options.get("label")
        if directive.name in COUNTED and (label or directive.name != "math"):
            counts[directive.name] += 1
            number = f"{chapter}.{counts[directive.name]}"
            found[label or ""] = f"{COUNTED[directive.name]}{number}" if directive.name != "math" else f"({number})"
    return found


def values(executed: NotebookNode, glued_apart: Mapping[str, Any] | None = None) -> dict[str, str]:
    """Return the glued values of an executed notebook.

    Args:
        executed: the notebook, with its outputs.
        glued_apart: outputs by name, as myst-nb takes them out of the notebook that it has executed.
    """
    found = {}
    outputs = [output for cell in executed.cells for output in cell.get("outputs", [])]
    for output in [*outputs, *(glued_apart or {}).values()]:
        if glued := output.get("metadata", {}).get("scrapbook"):
            data = output["data"]
            text = data.get(f"{glued.get('mime_prefix', '')}text/plain", data.get("text/plain", repr(DASH)))
            found[glued["name"]] = ast.literal_eval(text) if text[:1] in "'\"" else text
    return found


def plain(text: str, page: Page) -> str:
    """Return a markdown text without directives and roles.

    Raises:
        PortableError: a directive without a plain form.
    """
    parts = CODE.split(_blocks(re.sub(r"(?m)^\([\w:-]+\)=\n", "", text), page))
    # the pattern has two groups: text, code, fence, text, code, fence, ...
    return "".join(part if place % 3 else _inlines(part, page) for place, part in enumerate(parts) if place % 3 < 2)


def _blocks(text: str, page: Page) -> str:
    lines, out, at = text.splitlines(), [], 0
    for token in PARSER.parse(text):
        directive = directive_of(token, 0)
        if directive and token.map and token.level == 0:
            out += [*lines[at : token.map[0]], _block(directive, page)]
            at = token.map[1]
    return "\n".join([*out, *lines[at:]])


def _block(directive: Directive, page: Page) -> str:
    name, title, label = directive.name, directive.title, directive.options.get("label", "")
    if name == "math":
        body = directive.body.strip()
        if MULTILINE.search(body) and "\\begin" not in body:
            body = f"\\begin{{aligned}}\n{body}\n\\end{{aligned}}"
        tag = f"\n\\tag{{{page.numbers[label].strip('()')}}}" if label else ""
        return f"$$\n{body}{tag}\n$$"
    body = _blocks(directive.body.strip("\n"), page)
    match name:
        case "solution":
            return _folded(f"Solution to {page.numbers.get(title, title)}", body)
        case "exercise":
            title = f"{page.numbers.get(label, 'Exercise')}: {title}"
        case "prf:theorem":
            title = f"{page.numbers.get(label, 'Theorem')}" + (f" ({title})" if title else "")
        case "prf:proof":
            return f"*Proof.* {body}"
        case "dropdown":
            return _folded(title, body)
        case name if name in BOXES:
            title = title if name == "admonition" else title or name.capitalize()
        case _:
            raise PortableError(f"{page.file.name}: no plain form for the directive {name!r}: use an admonition")
    if directive.folded:
        return _folded(title, body)
    if "<details>" in body:  # which stands badly in a quotation
        return f"**{title}**\n\n{body}\n"
    return "\n".join(f"> {line}".rstrip() for line in [f"**{title}**", "", *body.splitlines()]) + "\n"


def _folded(title: str, body: str) -> str:
    words = re.sub(r"`([^`]+)`", lambda match: f"<code>{match[1]}</code>", title.replace("&", "&amp;"))
    return f"<details>\n<summary>{words}</summary>\n\n{body}\n\n</details>\n"


def _inlines(text: str, page: Page) -> str:
    text = inline.EVALUATED.sub(lambda m: page.values.get(inline.glued_name(m["expression"]) or "", DASH), text)
    text = REFERENCE.sub(lambda match: _reference(" ".join(match[1].split()), page), text)
    text = LINK.sub(lambda match: _link(match, page), text)
    return re.sub(r"\{[a-z]+(?::[a-z]+)?\}`([^`]+)`", lambda match: match[1].partition(" <")[0], text)


def _reference(content: str, page: Page) -> str:
    titled = re.fullmatch(r"(.*?)\s*<([^<>]+)>", content)
    title, label = titled.groups() if titled else ("", content)
    number = page.numbers.get(label, "")
    if title.lower() == number.partition(" ")[0].lower():  # "exercise", "Theorem"
        return f"{title} {number.partition(' ')[2]}"
    return title or number or label


def _link(match: re.Match[str], page: Page) -> str:
    text, target = match.groups()
    path, _, anchor = target.partition("#")
    if work := None if path else page.known.works.get(anchor):
        return f"[{text}]({work.address})" if work.address else text
    if not path:
        return text or _reference(anchor, page)
    if path.endswith(".ipynb"):
        return f"[{text}]({path})"
    return match[0] if "://" in path else text  # pages of the site are not beside a copy


def portable(notebook: NotebookNode, page: Page) -> NotebookNode:
    """Return a copy of a notebook in plain Markdown, without outputs."""
    copy = nbformat.from_dict(notebook)
    change: Callable[[str], str] = inline.without_front_matter
    for place, cell in enumerate(copy.cells):
        if cell.cell_type == "markdown":
            cell.source = plain(change(cell.source) if place == 0 else cell.source, page)
            cell.metadata.pop("user_expressions", None)
        elif cell.cell_type == "code":
            cell.outputs, cell.execution_count = [], None
    return copy


def write(source: Path, executed: Path | None, target: Path, known: references.References) -> None:
    """Write the portable copy of a notebook.

    Args:
        source: the notebook.
        executed: the same with its outputs, where the numbers are found; None for dashes.
        target: file of the copy.
        known: what the text may refer to.
    """
    notebook = nbformat.read(source, as_version=4)
    measured = {}
    if executed:
        apart = executed.with_suffix(".glue.json")  # of myst-nb
        kept = json.loads(apart.read_text(encoding="utf-8")) if apart.is_file() else {}
        measured = values(nbformat.read(executed, as_version=4), kept)
    page = Page(source, numbers(notebook, int(source.name[:2])), measured, known)
    with atomic_file(target) as part:
        part.write_text(nbformat.writes(portable(notebook, page)) + "\n", encoding="utf-8")


def main(arguments: list[str] | None = None) -> int:
    """Run the command line; return its exit status."""
    parser = argparse.ArgumentParser(prog="python -m book.tools.portable", description=(__doc__ or "").splitlines()[0])
    parser.add_argument("notebooks", nargs="+", type=Path)
    parser.add_argument("--to", type=Path, required=True, metavar="FOLDER")
    options = parser.parse_args(arguments)
    known = references.known()
    for file in options.notebooks:
        write(file.resolve(), None, options.to / file.name, known)
    return 0


if __name__ == "__main__":
    sys.exit(main())

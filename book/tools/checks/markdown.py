"""Reads the MyST markdown of a notebook: its sections, its directives, its prose."""

import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from itertools import pairwise
from typing import NamedTuple

from markdown_it import MarkdownIt
from markdown_it.token import Token
from mdit_py_plugins.amsmath import amsmath_plugin
from mdit_py_plugins.colon_fence import colon_fence_plugin
from mdit_py_plugins.dollarmath import dollarmath_plugin
from mdit_py_plugins.front_matter import front_matter_plugin
from nbformat import NotebookNode

PARSER = (
    MarkdownIt("commonmark")
    .enable("table")
    .use(front_matter_plugin)
    .use(colon_fence_plugin)
    .use(dollarmath_plugin)
    .use(amsmath_plugin)
)
#: Directives whose body is not prose, and those whose title is a file, a class or a key.
VERBATIM = {"math", "code", "code-block", "code-cell", "mermaid", "raw", "bibliography", "literalinclude"}
NO_TITLE = {"figure", "image", "include", "div", "container", "solution", "solution-start", "glue:figure"}
#: Addresses and identifiers that look like decimal numbers.
ADDRESS = re.compile(r"https?://\S+|\b(?:arxiv|doi)[:\s]\s*\S+", re.IGNORECASE)


@dataclass(frozen=True)
class Directive:
    """A MyST directive, fenced by backticks or by colons.

    Attributes:
        cell: index of the cell it stands in.
        name: for example ``exercise``.
        title: the text behind the name.
        options: the ``:key: value`` lines.
        body: the rest.
    """

    cell: int
    name: str
    title: str
    options: Mapping[str, str]
    body: str

    @property
    def classes(self) -> set[str]:
        """All its classes, whichever option (``class``, ``class-container``, ...) sets them."""
        classes = " ".join(value for key, value in self.options.items() if key.startswith("class"))
        return set((classes + " " + self.title if self.name in {"div", "container"} else classes).split())

    @property
    def folded(self) -> bool:
        """Whether the reader has to open it."""
        return self.name == "dropdown" or bool(self.classes & {"dropdown", "toggle"})

    def inside(self) -> list["Directive"]:
        """Return the directives directly in its body."""
        return directives(self.body, self.cell)


class Block(NamedTuple):
    """A code cell, or the part of a markdown cell that lies in one section."""

    cell: int
    kind: str
    text: str
    section: str  # the level-2 heading above it, "" before the first


class Heading(NamedTuple):
    """A heading and the line of the text it stands on, from 0."""

    level: int
    title: str
    line: int


def headings(text: str) -> list[Heading]:
    """Return the headings of a markdown text (those within code are none)."""
    tokens = PARSER.parse(text)
    return [
        Heading(int(token.tag[1]), following.content, token.map[0])
        for token, following in pairwise(tokens)
        if token.type == "heading_open" and token.map
    ]


def blocks(notebook: NotebookNode) -> list[Block]:
    """Cut a notebook at its level-2 headings, which may stand in the middle of a cell."""
    found: list[Block] = []
    section = ""
    for index, cell in enumerate(notebook.cells):
        if cell.cell_type != "markdown":
            found.append(Block(index, cell.cell_type, cell.source, section))
            continue
        lines, start = cell.source.splitlines(), 0
        for heading in headings(cell.source):
            if heading.level == 2:
                found.append(Block(index, "markdown", "\n".join(lines[start : heading.line]), section))
                section, start = heading.title, heading.line
        found.append(Block(index, "markdown", "\n".join(lines[start:]), section))
    return [block for block in found if block.text.strip()]


def section(notebook: NotebookNode, name: str, kind: str = "markdown") -> list[Block]:
    """Return the blocks of the section whose heading begins with ``name``."""
    return [block for block in blocks(notebook) if block.kind == kind and block.section.startswith(name)]


def directive_of(token: Token, cell: int) -> Directive | None:
    """Return the directive that a fenced block is, None if it is none."""
    named = re.match(r"\{([^}]+)\}\s*(.*)", token.info) if token.type in {"fence", "colon_fence"} else None
    if named is None:
        return None
    lines, options = token.content.splitlines(), {}
    while lines and (option := re.match(r":([\w-]+):\s*(.*)", lines[0])):
        options[option[1]] = option[2].strip()
        del lines[0]
    return Directive(cell, named[1], named[2].strip(), options, "\n".join(lines))


def directives(text: str, cell: int = 0) -> list[Directive]:
    """Return the outermost directives of a text, in order."""
    return [found for token in PARSER.parse(text) if (found := directive_of(token, cell))]


def walk(parts: Iterable[Block]) -> Iterator[Directive]:
    """Yield the directives of the markdown among some blocks, and all that are nested in them."""
    for part in parts:
        for directive in directives(part.text, part.cell) if part.kind == "markdown" else []:
            yield directive
            if directive.name not in VERBATIM:
                yield from walk([part._replace(text=directive.body)])


def list_items(text: str) -> list[str]:
    """Return the source of the items of the outermost lists of a text."""
    lines = text.splitlines()
    return [
        "\n".join(lines[slice(*token.map)])
        for token in PARSER.parse(text)
        if token.type == "list_item_open" and token.level == 1 and token.map
    ]


def prose(text: str, nested: bool = True) -> Iterator[str]:
    """Yield the sentences of a text as a reader sees them, a paragraph at a time.

    Code, mathematics, roles such as ``{glue:text}``, link texts, addresses and references (list items that
    begin with a link or a citation) are left out: the numbers in them are no results.

    Args:
        text: MyST markdown.
        nested: whether to go into directives.
    """
    for token in PARSER.parse(text):
        directive = directive_of(token, 0)
        if directive and nested and directive.name not in VERBATIM:
            yield from prose("" if directive.name in NO_TITLE else directive.title)
            yield from prose(directive.body)
        elif token.type == "html_block":
            yield re.sub(r"<[^>]*>", " ", token.content)
        elif token.type == "inline" and token.children:
            if token.level > 2 and (token.children[0].type == "link_open" or token.content.startswith("{cite")):
                continue
            yield ADDRESS.sub(" ", "".join(_words(token.children)))


def _words(children: list[Token]) -> Iterator[str]:
    in_link = 0
    for child in children:
        in_link += child.nesting if child.type.startswith("link_") else 0
        if child.type in {"softbreak", "hardbreak"}:
            yield " "
        elif child.type == "text" and not in_link:
            yield child.content

"""Checks that a chapter has the anatomy that every chapter of the book has."""

import ast
import re

from nbformat import NotebookNode

from book.tools.checks.links import LINKS, cites
from book.tools.checks.markdown import PARSER, Heading, blocks, headings, prose, section, walk
from book.tools.checks.practice import PRACTICE
from book.tools.checks.shared import SHARED, Check, Complaint, python

SECTIONS = (
    "By the end you can", "Before you start", "The problem", "Intuition", "Mathematics", "From scratch",
    "The same with the package", "Experiment", "What the articles said", "When it fails", "Exercises", "Quiz",
    "Takeaways",
)  # fmt: skip
FACTS = ("reading", "run", "memory", "download", "difficulty")
#: Cells that a reader does not see do not count.
REMOVED = {"remove-input", "remove-cell"}
MIN_CELLS, MAX_CELLS = 20, 60
MAX_LINES, MAX_STEP = 40, 30
#: Calls of pyplot that make a figure, and functions of llmrec_lite.plots that make none.
FIGURES = {"subplots", "subplot_mosaic", "figure", "plot", "hist", "bar", "barh", "scatter", "imshow", "show"}
NO_FIGURES = {"show", "use_style", "leaderboard"}
DECIMAL = re.compile(r"(?<![\w.])\d*\.\d+(?!\d|\.\d)")


def _headings(notebook: NotebookNode, level: int) -> list[tuple[int, Heading]]:
    return [
        (index, heading)
        for index, cell in enumerate(notebook.cells)
        if cell.cell_type == "markdown"
        for heading in headings(cell.source)
        if heading.level == level
    ]


def check_size(notebook: NotebookNode) -> list[Complaint]:
    """Check that a chapter is read in one sitting and that no cell is longer than a screen."""
    shown = [c for c in notebook.cells if not REMOVED & set(c.metadata.get("tags", []))]
    count, found = len(shown), []
    if not MIN_CELLS <= count <= MAX_CELLS:
        found.append(Complaint(None, f"has {count} cells", f"keep to {MIN_CELLS} to {MAX_CELLS}"))
    for block in blocks(notebook):
        step = block.section.startswith("From scratch")
        length, limit = len(block.text.splitlines()), MAX_STEP if step else MAX_LINES
        if block.kind == "code" and length > limit:
            where = " of a from-scratch step" if step else ""
            found.append(Complaint(block.cell, f"has {length} lines{where}", f"split it: at most {limit}"))
    return found


def check_title(notebook: NotebookNode) -> list[Complaint]:
    """Check the opening: the only level-1 heading, a promise in one sentence, the row of facts."""
    titles = _headings(notebook, 1)
    if len(titles) != 1 or titles[0][0] != 0:
        return [Complaint(0, f"has {len(titles)} level-1 headings in the notebook", "one, in the first cell")]
    found = []
    below = "\n".join(notebook.cells[0].source.splitlines()[titles[0][1].line + 1 :])
    opening = [token.type for token in PARSER.parse(below)[:1]]
    promise = next(prose(below), "").strip() if opening == ["paragraph_open"] else ""
    if not promise.endswith(".") or re.search(r"[.!?]\s+\S", promise):
        found.append(Complaint(0, f"promises {promise!r}", "write one sentence right under the title"))
    above = [block for block in blocks(notebook) if block.kind == "markdown" and not block.section]
    facts = " ".join(d.body for d in walk(above) if "facts" in d.classes)
    missing = [fact for fact in FACTS if fact not in facts.lower()]
    if missing:
        found.append(Complaint(0, f"lacks the facts {missing}", "add them to a directive of class `facts`"))
    return found


def check_sections(notebook: NotebookNode) -> list[Complaint]:
    """Check that the level-2 headings are those of every chapter, in the same order."""
    have = [(index, heading.title) for index, heading in _headings(notebook, 2)]
    names = [next((name for name in SECTIONS if title.startswith(name)), None) for _, title in have]
    found = [
        Complaint(index, f"has the section {title!r}", "use a level-3 heading, or a name of the anatomy")
        for (index, title), name in zip(have, names, strict=True)
        if name is None
    ]
    found += [
        Complaint(None, f"has {names.count(name)} sections {name!r}", "every chapter has one")
        for name in SECTIONS
        if names.count(name) != 1
    ]
    if not found and names != list(SECTIONS):
        found.append(Complaint(None, f"has its sections in the order {names}", f"follow {list(SECTIONS)}"))
    return found


def check_predict(notebook: NotebookNode) -> list[Complaint]:
    """Check that the reader says, before a surprise, what will happen."""
    if any("predict" in directive.classes for directive in walk(blocks(notebook))):
        return []
    return [Complaint(None, "asks for no prediction", "add an admonition of class `predict` before a surprise")]


def check_claims(notebook: NotebookNode) -> list[Complaint]:
    """Check that what the articles said is tested, and the verdict kept."""
    name = "What the articles said"
    parts = section(notebook, name) + section(notebook, name, "code")
    if any("record_claim(" in part.text or "errata" in part.text.lower() for part in parts):
        return []
    at = parts[0].cell if parts else None
    return [Complaint(at, "records no verdict", "call results.record_claim, or point at the errata")]


def check_figures(notebook: NotebookNode) -> list[Complaint]:
    """Check that every figure and picture has a text for those who cannot see it."""
    found = []
    for index, cell in enumerate(notebook.cells):
        if cell.cell_type == "code" and _draws(cell.source):
            fix = 'end the cell with plots.show(fig, alt="...")'
            found.append(Complaint(index, "makes a figure without alt text", fix))
        if cell.cell_type == "markdown" and re.search(r"!\[\s*\]\(", cell.source):
            found.append(Complaint(index, "shows a picture without alt text", "write it between the brackets"))
    for directive in walk(blocks(notebook)):
        if directive.name in {"figure", "image"} and not directive.options.get("alt"):
            found.append(Complaint(directive.cell, f"shows {directive.title} without alt text", "add :alt:"))
    return found


def _draws(source: str) -> bool:
    """Say whether code makes a figure and does not show it by ``plots.show`` with a text."""
    try:
        calls = [node for node in ast.walk(python(source)) if isinstance(node, ast.Call)]
    except SyntaxError:  # check_code complains
        return False
    draws = shows = False
    for call in calls:
        where, _, what = ast.unparse(call.func).rpartition(".")
        draws |= (where == "plt" and what in FIGURES) or (where == "plots" and what not in NO_FIGURES)
        texts = [*call.args[1:], *(keyword.value for keyword in call.keywords if keyword.arg == "alt")]
        shows |= (where, what) == ("plots", "show") and bool(texts) and ast.unparse(texts[0]) not in {"''", "None"}
    return draws and not shows


def check_numbers(notebook: NotebookNode) -> list[Complaint]:
    """Check that measured numbers are glued, never typed into prose."""
    found = []
    for index, cell in enumerate(notebook.cells):
        tags = cell.metadata.get("tags", [])
        if cell.cell_type != "markdown" or "hand-example" in tags:
            continue
        if "published" in tags:
            if not cites(cell.source):
                fix = "link a work, [Steck, 2019](#steck2019ease)"
                found.append(Complaint(index, "is tagged `published` and cites nothing", fix))
            continue
        typed = [number for words in prose(cell.source) for number in DECIMAL.findall(words)]
        if typed:
            fix = "glue what a run measures; tag a cell `hand-example` or `published` otherwise"
            found.append(Complaint(index, f"has the hand-typed numbers {typed}", fix))
    return found


CHAPTER: tuple[Check, ...] = (
    *SHARED, *LINKS, check_size, check_title, check_sections, *PRACTICE, check_predict, check_claims, check_figures,
    check_numbers,
)  # fmt: skip

"""The book's own Sphinx extension: what Jupyter Book has no setting for.

- the execution cache lives where ``LLMREC_EXECUTED`` says (``book.tools.site`` sets it);
- repository, issue, Binder and Colab buttons appear only once the book has a public address;
- the directive ``system-map`` draws the system of the book and links each box to its chapter, if there is one;
- the directive ``claims-ledger`` lists what the chapters have found about each claim of the articles;
- a chapter that shows a stored result which the code at hand may not give any more says so at its top;
- the directive ``results-status`` lists the stored results and whether they belong to the code at hand;
- the role ``chapter`` names a chapter, with a link as soon as it is written;
- the role ``zh`` marks Chinese words, and ``{{ machine }}`` says what the chapters were run on;
- of MathJax only the files that a page can ask for are kept, and ``index.html`` leads to the cover.
"""

import functools
import html
import json
import os
import platform
import re
import shutil
import xml.etree.ElementTree as ET
from collections.abc import Iterable, Mapping, Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any, ClassVar

from docutils import nodes
from docutils.parsers.rst import directives
from sphinx.application import Sphinx
from sphinx.builders.html import StandaloneHTMLBuilder
from sphinx.config import Config
from sphinx.util.docutils import SphinxDirective, SphinxRole
from sphinx.util.nodes import split_explicit_title

from llmrec_lite import results

SVG = "http://www.w3.org/2000/svg"
BUTTONS = ("use_repository_button", "use_issues_button")
MATHJAX_KEPT = {"tex-chtml.js", "input/tex/extensions", "output/chtml/fonts"}
LOADED = re.compile(r"""\bresults\.load\(\s*(f?)["']([^"']+)["']""")
COUNTED = {
    "holds": "hold", "partly": "hold in part", "fails": "do not hold", "open": "are open",
}  # fmt: skip
STATUS_COLUMNS = {"name": "Result", "chapter": "Chapter", "status": "Status", "date": "Computed",
                  "checked": "Last check", "seconds": "Seconds"}  # fmt: skip
INDEX = """<!DOCTYPE html>
<html lang="en"><head><meta charset="utf-8"><title>{title}</title>
<meta http-equiv="refresh" content="0; url={cover}"><link rel="canonical" href="{cover}"></head>
<body><main><h1>{title}</h1><p><a href="{cover}">Open the book</a></p></main></body></html>
"""


def configure(app: Sphinx, config: Config) -> None:
    """Set what depends on the environment or on another setting."""
    if folder := os.environ.get("LLMREC_EXECUTED"):
        config.nb_execution_cache_path = folder
    options = config.html_theme_options
    if options.get("repository_url"):
        options.update(dict.fromkeys(BUTTONS, True))
    else:
        options.pop("launch_buttons", None)
    config.myst_substitutions = {**config.myst_substitutions, "machine": machine()}


def machine() -> str:
    """Say in words what this book is being run on."""
    return (
        f"{platform.system()} on {platform.machine()}, {os.cpu_count()} processor cores, "
        f"Python {platform.python_version()}, torch {version('torch')}"
    )


class SystemMap(nodes.General, nodes.Element):
    """Stands for the drawing until it is known which chapters exist."""


class SystemMapDirective(SphinxDirective):
    """``{system-map} drawing.svg``: an SVG whose groups with ``data-doc`` link to that chapter."""

    required_arguments = 1
    option_spec: ClassVar[dict[str, Any]] = {"class": directives.class_option}

    def run(self) -> list[nodes.Node]:
        """Remember where the drawing is."""
        relative, absolute = self.env.relfn2path(self.arguments[0])
        self.env.note_dependency(relative)
        return [SystemMap(source=absolute, classes=self.options.get("class", []))]


def draw(svg: str, exists: Any, address: Any) -> str:
    """Link the boxes of chapters that exist, and mute those that do not.

    Args:
        svg: the drawing; a group of it names its chapter in ``data-doc``.
        exists: whether there is a chapter of that name.
        address: the address of a chapter, seen from the page.
    """
    ET.register_namespace("", SVG)
    root = ET.fromstring(svg)
    for parent in list(root.iter()):
        for place, group in enumerate(list(parent)):
            if (name := group.attrib.pop("data-doc", None)) is None:
                continue
            if exists(name):
                link = ET.Element(f"{{{SVG}}}a", {"href": address(name)})
                link.append(group)
                parent[place] = link
            else:
                group.set("class", f"{group.get('class', '')} planned".strip())
    return ET.tostring(root, encoding="unicode")


def visit_system_map(translator: Any, node: SystemMap) -> None:
    """Write the drawing into the page."""
    builder = translator.builder
    svg = draw(
        Path(node["source"]).read_text(encoding="utf-8"),
        exists=lambda name: name in builder.env.found_docs,
        address=lambda name: builder.get_relative_uri(translator.docnames[0], name),
    )
    translator.body.append(f'<div class="{" ".join(["system-map", *node["classes"]])}">{svg}</div>')
    raise nodes.SkipNode


class Chinese(SphinxRole):
    """``{zh}`` marks words as Chinese, so that browsers choose the right glyphs and voices."""

    def run(self) -> tuple[list[nodes.Node], list[nodes.system_message]]:
        """Wrap the words in a span with a language."""
        words = f'<span class="zh" lang="zh-Hans">{html.escape(self.text)}</span>'
        return [nodes.raw("", words, format="html")], []


class ChapterRole(SphinxRole):
    """``{chapter}`TITLE <notebooks/NAME>``` names a chapter, and links to it once it exists."""

    def run(self) -> tuple[list[nodes.Node], list[nodes.system_message]]:
        """Leave a mark that `link_chapters` replaces when all pages are known."""
        _, title, name = split_explicit_title(self.text)
        return [Chapter(title=title, name=name)], []


class Chapter(nodes.Inline, nodes.Element):
    """Stands for the name of a chapter until it is known which chapters exist."""


def link_chapters(app: Sphinx, doctree: nodes.document, page: str) -> None:
    """Turn names of chapters into links, or say that they are not written yet."""
    for mark in list(doctree.findall(Chapter)):
        title, name = mark["title"], mark["name"]
        if name in app.env.found_docs:
            address = app.builder.get_relative_uri(page, name)
            mark.replace_self(nodes.reference(title, title, refuri=address, internal=True))
        else:
            mark.replace_self(nodes.inline(title, f"{title} (not written yet)"))


class Ledger(nodes.General, nodes.Element):
    """Stands for the ledger until all chapters have been executed."""


class LedgerDirective(SphinxDirective):
    """``{claims-ledger}``: every claim of the articles, what was measured, and the verdict."""

    def run(self) -> list[nodes.Node]:
        """Leave a mark that `write_ledger` replaces."""
        return [Ledger()]


def write_ledger(app: Sphinx, doctree: nodes.document, page: str) -> None:
    """Replace the mark by what the chapters have recorded while they ran."""
    for mark in list(doctree.findall(Ledger)):
        found = results.ledger()
        entries = [entry for claim in found.items() for entry in _claim(app, page, *claim)]
        mark.replace_self([nodes.paragraph(text=count_verdicts(found)), *entries])


def count_verdicts(found: Mapping[str, Sequence[results.Claim]]) -> str:
    """Return a sentence with the number of claims of each verdict."""
    verdicts = [records[-1].verdict if records else "open" for records in found.values()]
    counts = [f"{verdicts.count(key)} {words}" for key, words in COUNTED.items()]
    return f"Of {len(verdicts)} claims, {', '.join(counts[:-1])}, and {counts[-1]}."


def _claim(app: Sphinx, page: str, claim: str, records: list[results.Claim]) -> list[nodes.Node]:
    verdict = records[-1].verdict if records else "open"
    title = nodes.paragraph("", "", classes=["claim"], ids=[f"claim-{claim.lower()}"])
    title += nodes.strong(text=f"{claim}. {results.CLAIMS[claim].text} ")
    title += nodes.inline(text=results.VERDICTS[verdict], classes=["verdict", f"verdict-{verdict}"])
    claimed = results.CLAIMS[claim]
    source = nodes.paragraph(classes=["claim-source"])
    source += [nodes.emphasis(text=f"{claimed.kind.capitalize()}."), nodes.Text(f" {claimed.source} ")]
    source += [nodes.emphasis(text="Measured against:"), nodes.Text(f" {claimed.rival}")]
    items = nodes.bullet_list()
    for record in records:
        name = f"notebooks/{record.chapter}"
        called = app.env.titles[name].astext() if name in app.env.titles else name
        where = f"Chapter {int(record.chapter[:2])}, {called}"
        link = nodes.reference(text=where, refuri=app.builder.get_relative_uri(page, name), internal=True)
        found = f": {results.VERDICTS[record.verdict]}. {record.measured}"
        items += nodes.list_item("", nodes.paragraph("", "", link, nodes.Text(found)))
    if not records:
        items += nodes.list_item("", nodes.paragraph(text="Not tested yet; a later part of the book does."))
    return [title, source, items]


@functools.cache
def stored_results() -> list[dict[str, Any]]:
    """Return what is known of each stored result, computed once a build: it imports every experiment."""
    from book.experiments.registry import overview

    return overview()


def loaded(sources: Iterable[str], names: Iterable[str]) -> list[str]:
    """Return the results that a chapter's code loads; a name in braces may stand for any word."""
    patterns = []
    for source in sources:
        for is_f_string, name in LOADED.findall(source):
            parts = re.split(r"\{[^}]*\}", name) if is_f_string else [name]
            patterns.append(r"\w+".join(map(re.escape, parts)))
    return [name for name in names if any(re.fullmatch(pattern, name) for pattern in patterns)]


def code_cells(notebook: Path) -> list[str]:
    """Return the sources of a notebook's code cells."""
    cells = json.loads(notebook.read_text(encoding="utf-8"))["cells"]
    return ["".join(cell["source"]) for cell in cells if cell["cell_type"] == "code"]


def stale_note(names: Sequence[str]) -> nodes.admonition:
    """Say which results of a page may not be those of the code at hand, and how to look."""
    note = nodes.admonition("", nodes.title(text="Results to check"), classes=["warning", "stale-results"])
    first = nodes.paragraph(text="The code has changed since these results, shown below, were computed or checked: ")
    for place, name in enumerate(names):
        first += [*([nodes.Text(", ")] if place else []), nodes.literal(text=name)]
    first += nodes.Text(". To compute some of their rows again:")
    note += first
    command = f"python -m book.experiments check {' '.join(names)}"
    note += nodes.literal_block(command, command, language="bash")
    return note


def mark_stale(app: Sphinx, doctree: nodes.document, page: str) -> None:
    """Put a note on top of a chapter that shows stale results."""
    source = Path(app.env.doc2path(page))
    cells = code_cells(source) if source.suffix == ".ipynb" else []
    if not any(LOADED.search(cell) for cell in cells):
        return
    if names := loaded(cells, [row["name"] for row in stored_results() if row["status"] == "stale"]):
        section = next(iter(doctree.findall(nodes.section)))
        section.insert(1, stale_note(names))  # behind the title


class ResultsStatus(SphinxDirective):
    """``{results-status}``: a row a stored result, with its status, dates and seconds."""

    def run(self) -> list[nodes.Node]:
        """Make the table."""
        return [status_table(stored_results())]


def status_table(rows: Sequence[Mapping[str, Any]]) -> nodes.table:
    """Return a table of stored results."""

    def line(cells: Iterable[Any]) -> nodes.row:
        return nodes.row("", *(nodes.entry("", nodes.paragraph(text=str(cell))) for cell in cells))

    group = nodes.tgroup("", *(nodes.colspec(colwidth=1) for _ in STATUS_COLUMNS), cols=len(STATUS_COLUMNS))
    group += nodes.thead("", line(STATUS_COLUMNS.values()))
    group += nodes.tbody("", *(line(row[key] for key in STATUS_COLUMNS) for row in rows))
    return nodes.table("", group, classes=["colwidths-auto", "results-status"])


def tidy_page(app: Sphinx, page: str, template: str, context: dict[str, Any], doctree: nodes.document | None) -> None:
    """Leave out the scripts of Thebe, which this book does not use, and mend the roles of the bibliography."""
    for kind in ("script_files", "css_files"):
        context[kind] = [
            file for file in context[kind] if "thebe" not in f"{file} {getattr(file, 'attributes', '')}".lower()
        ]
    if "body" in context:  # a list in the sense of ARIA may not hold docutils' entries
        context["body"] = context["body"].replace('role="list" class="citation-list"', 'class="citation-list"')


def finish(app: Sphinx, error: Exception | None) -> None:
    """Trim MathJax, and make the first page of the site a real one."""
    if error is not None or not isinstance(app.builder, StandaloneHTMLBuilder):
        return
    out = Path(app.outdir)
    trim(out / "_static" / "mathjax", MATHJAX_KEPT)
    for template in [*(out / "_static").rglob("*.html"), *(out / "_static").rglob("*.map")]:
        template.unlink()  # the theme copies its own templates and source maps, which no page asks for
    cover = app.builder.get_target_uri(app.config.root_doc)
    page = INDEX.format(title=html.escape(app.config.html_title), cover=cover)
    (out / "index.html").write_text(page, encoding="utf-8")


def trim(folder: Path, kept: set[str]) -> None:
    """Remove from a folder every file that is neither named in ``kept`` nor inside a folder named there."""
    for path in sorted(folder.rglob("*"), reverse=True):
        name = path.relative_to(folder).as_posix()
        if any(name == keep or name.startswith(keep + "/") or keep.startswith(name + "/") for keep in kept):
            continue
        if path.is_dir():
            shutil.rmtree(path)
        else:
            path.unlink()


def setup(app: Sphinx) -> dict[str, bool]:
    """Register everything with Sphinx."""
    app.connect("config-inited", configure, priority=100)
    app.connect("doctree-resolved", link_chapters)
    app.connect("doctree-resolved", write_ledger)
    app.connect("doctree-resolved", mark_stale)
    app.connect("html-page-context", tidy_page, priority=900)
    app.connect("build-finished", finish, priority=900)
    app.add_node(SystemMap, html=(visit_system_map, None))
    app.add_directive("system-map", SystemMapDirective)
    app.add_directive("claims-ledger", LedgerDirective)
    app.add_directive("results-status", ResultsStatus)
    app.add_node(Ledger)
    app.add_node(Chapter)
    app.add_role("zh", Chinese())
    app.add_role("chapter", ChapterRole())
    return {"parallel_read_safe": True, "parallel_write_safe": True}

"""The frame of every page, as a Sphinx extension: tables, numbers of figures, labels of folded code, light pages.

- a table of a code cell has one row of headings, words on the left, numbers on the right, small intervals;
- figures of ``llmrec_lite.plots.show`` are numbered ("Figure 3.2."), the chapter's number first;
- a folded cell is labeled by the comment in its first line, or ``mystnb.code_prompt_show`` of its metadata;
- every page has a description and a picture for links; scripts that a page does not need are left out;
- the theme's icon font gives way to a few drawings; state of widgets is dropped; there is a page ``404.html``.
"""

import html
import re
from itertools import count
from pathlib import Path
from typing import Any

from bs4 import BeautifulSoup, Tag
from docutils import nodes
from sphinx.application import Sphinx
from sphinx.builders.html import StandaloneHTMLBuilder

CHAPTER = re.compile(r"notebooks/(\d\d)_")
NUMBER = re.compile(
    r"[-−+±≈~<>≤≥$€]*\s*(?:[\d.,:/ ]|e[-+]?\d|[-−–+±×%()\[\]]|to|of|in)*\d(?:[\d.,:/ ]|e[-+]?\d|[-−–+±×%()\[\]]|to|of)*"
    r"\s*(?:%|×|x|k|m|M|s|ms|min|h|B|kB|KB|MB|GB|GiB|MiB|px|points?|stars?|years?|days?)?[.*]?"
)
NEUTRAL = {"", "-", "–", "—", "nan", "NaN", "None", "NaT", "<NA>", "inf", "-inf", "...", "…"}
INTERVAL = re.compile(r"^\s*([-−+]?[\d.,]+%?)\s*([\[(][-−+]?[\d.,]+%?(?:,| to|–) ?[-−+]?[\d.,]+%?[\])])\s*$")
LONG = re.compile(r"\S{14}")
JOINT = re.compile(r"(?<=[|/_.])(?=[A-Za-z])|(?<=[a-z])(?=[A-Z])")
TIED = re.compile(r"(?<![\w-])\w{1,4}-\w{1,6}(?![\w-])")
TABLE = re.compile(r"<table\b.*?</table>", re.S)
FIGURE = re.compile(r'<figure class="plot\b[^>]*>')
ICONS = {
    "angle-left": "M15 5l-7 7 7 7",
    "angle-right": "M9 5l7 7-7 7",
    "arrow-up": "M12 20V5M5 12l7-7 7 7",
    "bars": "M4 6h16M4 12h16M4 18h16",
    "list": "M9 6h11M9 12h11M9 18h11M4 6h1M4 12h1M4 18h1",
    "magnifying-glass": "M10.5 4a6.5 6.5 0 1 0 0 13 6.5 6.5 0 0 0 0-13M15.5 15.5 21 21",
    "download": "M12 4v11M7 11l5 5 5-5M5 20h14",
    "file": "M7 3h7l4 4v14H7zM14 3v5h4",
    "file-pdf": "M7 9V3h10v6M7 17H4V9h16v8h-3M7 14h10v7H7z",
    "circle-half-stroke": "M12 3a9 9 0 1 0 0 18 9 9 0 0 0 0-18v18M14 4v16M17 6v12",
    "moon": "M20 14A8.5 8.5 0 1 1 10 4a7 7 0 0 0 10 10z",
    "sun": "M12 8a4 4 0 1 0 0 8 4 4 0 0 0 0-8M12 2v3M12 19v3M2 12h3M19 12h3M5 5l2 2M17 17l2 2M5 19l2-2M17 7l2-2",
    "xmark": "M5 5l14 14M19 5 5 19",
    "github": "M8 7l-5 5 5 5M16 7l5 5-5 5",
    "rocket": "M7 4l12 8-12 8z",
    "lightbulb": "M9 17h6M10 21h4M8 14a6 6 0 1 1 8 0l-1 3H9z",
    "chevron-down": "M5 9l7 7 7-7",
}
ICON = re.compile(r'<i class="([^"]*\bfa-[^"]*)"([^>]*)>\s*</i>')
WIDGET = re.compile(r'<script type="application/vnd\.jupyter\.widget-(?:state|view)\+json">.*?</script>', re.S)
FONT_RULE = re.compile(r"(?<=[};])(?:\.fa(?:[srbl]|-[\w-]+)?(?![\w-])[^{},;]*,?)+\{[^{}]*\}")
FONT_FACE = re.compile(r"@font-face\{[^{}]*(?:Awesome|fa-)[^{}]*\}")
NOT_FOUND = """<!DOCTYPE html>
<html lang="en"><head><meta charset="utf-8"><meta name="viewport" content="width=device-width, initial-scale=1">
<title>No such page</title><link rel="icon" href="data:,"><meta name="robots" content="noindex">
<style>:root {{ color-scheme: light dark }} body {{ font: 1.1rem/1.6 Georgia, serif; max-width: 34rem;
margin: 18vh auto 0; padding: 0 1.2rem }} h1 {{ font: 700 1.9rem/1.2 system-ui, sans-serif }}</style></head>
<body><main><h1>There is no such page</h1><p>The address may be old, or mistyped.
The <a href="index.html">cover of the book</a> lists all chapters.</p></main>
<script>
// On a site of a project the first folder is the book's; the page itself is shown at any depth.
const [, first] = location.pathname.split("/");
const root = location.hostname.endsWith("github.io") && first ? `/${{first}}/` : "/";
if (location.protocol.startsWith("http")) document.querySelector("a").href = root + "index.html";
</script></body></html>
"""


# ---- tables ----


def is_number(text: str) -> bool:
    """Whether a cell holds a number: with a sign, a unit, an interval, or a range."""
    return bool(NUMBER.fullmatch(text.strip()))


def tidy_table(markup: str) -> str:
    """Table of pandas with one row of headings, marked columns of words, and intervals apart from their numbers."""
    soup = BeautifulSoup(markup, "html.parser")
    table = soup.table
    assert table is not None
    for tag in [table, *table.find_all(["tr", "th"])]:
        for key in ("style", "border"):
            del tag[key]
    head = table.thead.find_all("tr") if table.thead else []
    if len(head) > 1:
        _merge_names(head)
    _hide_counter(table)
    rows = table.tbody.find_all("tr") if table.tbody else []
    _mark_columns(table, rows)
    for cell in table.find_all("td"):
        if not cell.find(True) and (found := INTERVAL.match(cell.get_text())):
            cell.string = f"{found[1]} "
            interval = soup.new_tag("span", attrs={"class": "interval"})
            interval.string = found[2]
            cell.append(interval)
    for cell in table.find_all(["th", "td"], class_="txt"):
        _may_break(cell, soup)
    for cell in table.thead.find_all("th") if table.thead else []:
        _tie(cell, soup)
    for cell in table.find_all("th"):
        if not cell.get_text(strip=True):
            cell.name = "td"  # an empty heading heads nothing
        else:
            cell["scope"] = "col" if cell.find_parent("thead") else "row"
    return str(table)


def _may_break(cell: Tag, soup: BeautifulSoup) -> None:
    """Let long words of a cell break where they are put together: ``Action|Drama``, ``DenoisingAutoencoder``."""
    for text in list(cell.find_all(string=LONG)):
        pieces = [piece for part in JOINT.split(text) for piece in (part, soup.new_tag("wbr"))]
        text.replace_with(*pieces[:-1])


def _tie(cell: Tag, soup: BeautifulSoup) -> None:
    """Keep short compounds of a heading in one line: ``TF-IDF``."""
    for text in list(cell.find_all(string=TIED)):
        pieces: list[Any] = TIED.split(text)
        for place, word in reversed(list(enumerate(TIED.findall(text), 1))):
            tied = soup.new_tag("span", attrs={"class": "tied"})
            tied.string = word
            pieces.insert(place, tied)
        text.replace_with(*filter(None, pieces))


def _width(cell: Tag) -> int:
    return int(str(cell.get("colspan", 1)))


def _merge_names(head: list[Tag]) -> None:
    """Move the names of the index from the last row of headings into the one above it."""
    last, above = head[-1].find_all(["th", "td"]), head[-2].find_all(["th", "td"])
    names = [cell.get_text(strip=True) for cell in last]
    filled = [place for place, name in enumerate(names) if name]
    if not filled or any("col_heading" in (cell.get("class") or []) for cell in last):
        return
    levels = filled[-1] + 1
    if any(_width(cell) > 1 for cell in last) or len(last) < levels:
        return
    corner: list[Tag] = []
    for cell in above:  # blank cells, or one over several columns, above the names
        if sum(map(_width, corner)) >= levels:
            break
        corner.append(cell)
    if sum(map(_width, corner)) != levels:
        return
    across = " ".join(filter(None, (cell.get_text(strip=True) for cell in corner)))
    for cell in reversed(last[:levels]):
        head[-2].insert(0, cell.extract())
    for cell in corner:
        cell.decompose()
    if across:  # what the columns are
        label = BeautifulSoup(f' <span class="across">by {html.escape(across)}</span>', "html.parser")
        last[levels - 1].append(label)
    head[-1].decompose()


def _hide_counter(table: Tag) -> None:
    """Leave out row numbers that pandas gave and nobody named."""
    rows = table.tbody.find_all("tr") if table.tbody else []
    first = [row.find(["th", "td"]) for row in rows]
    heads = [row.find(["th", "td"]) for row in table.thead.find_all("tr")] if table.thead else []
    if len(heads) != 1 or not rows or heads[0] is None or heads[0].get_text(strip=True) or _width(heads[0]) > 1:
        return
    if all(c and c.name == "th" and c.get_text(strip=True) == str(place) for place, c in enumerate(first)):
        for cell in [*heads, *first]:
            cell.decompose()


def _mark_columns(table: Tag, rows: list[Tag]) -> None:
    """Give every cell the class ``txt`` or ``num``, by what most cells of its column hold."""
    grid = [row.find_all(["th", "td"]) for row in rows]
    wide = max(map(len, grid), default=0)
    kinds = []
    for place in range(wide):
        # rows that a cell of several rows makes shorter are counted from the right
        column = [row[place - wide] for row in grid if len(row) >= wide - place]
        texts = [text for cell in column if (text := cell.get_text(" ", strip=True)) not in NEUTRAL]
        words = sum(not is_number(text) for text in texts)
        kinds.append("txt" if 2 * words >= max(1, len(texts)) else "num")
    for row in [*grid, *([r.find_all(["th", "td"]) for r in table.thead.find_all("tr")] if table.thead else [])]:
        start = wide - sum(map(_width, row))
        for cell in row:
            kind = kinds[start] if 0 <= start < wide else "txt"
            cell["class"] = [*(cell.get("class") or []), kind if _width(cell) == 1 else "group"]
            start += _width(cell)


def tidy_outputs(app: Sphinx, doctree: nodes.document, page: str) -> None:
    """Tidy the tables, number the figures and label the folded cells of a page."""
    chapter, number = CHAPTER.match(page), count(1)
    for node in doctree.findall(nodes.raw):
        if "html" not in node.get("format", ""):
            continue
        text = node.astext()
        if "<table" in text:
            text = re.sub(r"<style scoped>.*?</style>", "", text, flags=re.S)
            text = TABLE.sub(lambda table: tidy_table(table[0]), text)
        if chapter and "<figure" in text:
            text = number_figures(text, int(chapter[1]), number)
        if text != node.astext():
            node.children = [nodes.Text(text)]
            node.rawsource = text
    for question in doctree.findall(nodes.admonition):
        if "quiz" in question["classes"] and re.match(r"\d+\. ", question.children[0].astext()):
            question["classes"].append("numbered")
    for cell in doctree.findall(nodes.container):
        if cell.get("nb_element") == "cell_code":
            _label(cell)


def number_figures(text: str, chapter: int, number: Any) -> str:
    """Figures with an id and the number of the chapter and their own before the caption."""
    pieces = re.split(r"(?=<figure class=\"plot)", text)
    for place, piece in enumerate(pieces):
        if piece.startswith("<figure"):
            own = f"{chapter}.{next(number)}"
            piece = piece.replace("<figure ", f'<figure id="figure-{own.replace(".", "-")}" ', 1)
            told = f'<span class="number">Figure {own}.</span> '
            pieces[place] = piece.replace("<figcaption>", f"<figcaption>{told}", 1)
    return "".join(pieces)


# ---- folded cells ----


def label_of(source: str) -> str:
    """Label of a folded cell: the comment in its first line, else what the code seems to do, with its length."""
    lines = source.strip().splitlines()
    first = lines[0].strip() if lines else ""
    length = f"{len(lines)} line{'s' if len(lines) != 1 else ''}"
    if first.startswith("#"):
        words = first.lstrip("#").strip().rstrip(".:")
    elif "plots.show" in source:
        words = "Code of the figure"
    elif first.startswith(("import ", "from ", "%")):
        words = "Imports and data"
    else:
        words = "Code"
    return f"{words} ({length})"


def _label(cell: nodes.container) -> None:
    for fold in cell.findall(lambda node: "prompt_show" in getattr(node, "attributes", {}) and node is not cell):
        code = next(iter(fold.findall(nodes.literal_block)), None)
        if code is None or "code cell" not in fold["prompt_show"]:
            continue  # an output, or labeled in the metadata
        fold["prompt_show"] = fold["prompt_hide"] = label_of(code.astext())


# ---- pages ----


def head_of(app: Sphinx, page: str, template: str, context: dict[str, Any], doctree: nodes.document | None) -> None:
    """Say in the head what the page is about, and leave out scripts that it does not need."""
    body = context.get("body", "")
    if 'class="math' not in body:
        context["script_files"] = [
            file for file in context["script_files"] if "mathjax" not in f"{file} {_attributes(file)}".lower()
        ]
    context["script_files"] = [f for f in context["script_files"] if "vnd.jupyter.widget" not in _attributes(f)]
    title = re.sub(r"<[^>]+>", "", context.get("title", "")) or app.config.html_title
    tags = {"og:title": html.unescape(title), "og:type": "article", "og:site_name": app.config.html_title}
    if doctree is not None and (words := description(doctree)):
        tags |= {"description": words, "og:description": words}
    if (Path(app.srcdir) / "book" / "_static" / "cover.png").exists():
        base = app.config.html_baseurl or context["pathto"]("", resource=True)
        tags["og:image"] = f"{base.rstrip('/')}/_static/cover.png" if base else "_static/cover.png"
    context["metatags"] = context.get("metatags", "") + "".join(
        f'\n<meta {"property" if ":" in name else "name"}="{name}" content="{html.escape(content)}" />'
        for name, content in tags.items()
    )


def _attributes(file: Any) -> str:
    return str(getattr(file, "attributes", ""))


def description(doctree: nodes.document, most: int = 200) -> str:
    """First paragraph of a page, cut at a word."""
    first = next((p for p in doctree.findall(nodes.paragraph) if isinstance(p.parent, nodes.section)), None)
    words = " ".join(first.astext().split()) if first else ""
    return words if len(words) <= most else words[:most].rsplit(" ", 1)[0] + " …"


def icon(found: re.Match[str]) -> str:
    """Drawing in place of a sign of the icon font."""
    classes = found[1].split()
    name = next((c[3:] for c in classes if c[3:] in ICONS), None)
    kept = [c for c in classes if not re.fullmatch(r"fa[srbl]?|fa-.*", c)]
    path = ICONS.get(name or "", "M12 10a2 2 0 1 0 0 4 2 2 0 0 0 0-4")
    drawing = f'<svg viewBox="0 0 24 24" aria-hidden="true" focusable="false"><path d="{path}"/></svg>'
    return f'<i class="{" ".join([*kept, "icon"])}"{found[2]}>{drawing}</i>'


def lighten(page: str, is_search: bool = False) -> str:
    """Page without what no reader needs: icon font, state of widgets, the search's index where nobody searches."""
    page = re.sub(
        r'<script type="application/vnd\.jupyter\.widget-(?:state|view)\+json">.*?</script>', "", page, flags=re.S
    )
    page = re.sub(r"<!-- So that users can add custom icons -->\s*", "", page)
    page = re.sub(r"<script[^>]*scripts/fontawesome\.js[^>]*></script>\s*", "", page)
    page = ICON.sub(icon, page)
    page = page.replace('<summary aria-label="Toggle hidden content">', "<summary>")
    if not is_search:
        page = re.sub(r'\s*<script src="[^"]*(?:searchtools|language_data|searchindex)\.js[^"]*"></script>', "", page)
    return page


def finish(app: Sphinx, error: Exception | None) -> None:
    """Rewrite the pages and the theme's style sheet, and add the page for addresses that lead nowhere."""
    if error is not None or not isinstance(app.builder, StandaloneHTMLBuilder):
        return
    out = Path(app.outdir)
    for file in out.rglob("*.html"):
        page = file.read_text(encoding="utf-8")
        file.write_text(lighten(page, file.name == "search.html"), encoding="utf-8")
    for sheet in out.glob("_static/styles/pydata-sphinx-theme.css"):
        rules = FONT_RULE.sub("", FONT_FACE.sub("", sheet.read_text(encoding="utf-8")))
        sheet.write_text(rules, encoding="utf-8")
    for file in [*out.glob("_static/vendor/fontawesome/**/*"), *out.glob("_static/scripts/fontawesome*")]:
        if file.is_file():
            file.unlink()
    (out / "404.html").write_text(NOT_FOUND.format(), encoding="utf-8")


def setup(app: Sphinx) -> dict[str, bool]:
    """Register everything with Sphinx."""
    app.connect("doctree-resolved", tidy_outputs, priority=900)
    app.connect("html-page-context", head_of, priority=950)
    app.connect("build-finished", finish, priority=950)
    return {"parallel_read_safe": True, "parallel_write_safe": True}

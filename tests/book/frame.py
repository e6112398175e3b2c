"""How a chapter stands in its page, measured in a browser: what fills it, when the first picture comes, what is cut.

`measures` looks at one page at a desk and on a phone, `complaints` holds them against `LIMITS`. By hand::

    python -m tests.book.frame _build/html notebooks/01_the_problem.html
"""

import argparse
import gzip
import json
from pathlib import Path
from typing import Any

from playwright.sync_api import Page, sync_playwright

from tests.book import browser as looks

#: What the page of every chapter keeps to: measure -> the most, or the least where the name ends in "at least".
LIMITS: dict[str, float] = {
    "code, share of the height at most": 0.42,
    "prose, share of the height at least": 0.20,
    "figures, share of the height at least": 0.03,
    "screens to the first picture at most": 2.0,
    "characters a line of prose at most": 76,
    "code cells cut at 1280": 0,
    "outputs cut at 1280": 0,
    "tables cut at 1280": 0,
    "tables as cards at 1280": 0,
    "equations cut at 1280": 0,
    "outputs cut at 390": 0,
    "tables cut at 390": 0,
    "figures without a caption": 0,
    "figures with texts that cannot be read": 0,
    "second heading rows": 0,
    "first visit, MB compressed": 1.0,
}
#: Mean over the chapters of the share of the height that is code, at most.
MEAN_CODE = 0.31
MEASURE = r"""() => {
  const article = document.querySelector('.bd-article');
  const seen = one => one.checkVisibility() && one.getClientRects().length > 0;  // not in a closed <details>
  const all = query => [...article.querySelectorAll(query)].filter(seen);
  const height = list => list.reduce((sum, one) => sum + one.getBoundingClientRect().height, 0);
  const inside = (one, query) => one.parentElement.closest(query);
  const cut = list => list.filter(one => one.scrollWidth > one.clientWidth + 1).length;
  const total = article.getBoundingClientRect().height;
  const figures = all('figure, .system-map').filter(one => !inside(one, 'figure'));
  const code = all('div.highlight').filter(one => !one.closest('.cell_output'));
  const text = 'p, li, dd, blockquote';
  const prose = all(text).filter(one => !inside(one, `${text}, figure, table, .cell_output, nav`));
  const tables = all('table').filter(one => !inside(one, 'table'));
  const box = table => table.closest('.text_html, .pst-scrollable-table-container') ?? table.parentElement;
  const first = [...figures, ...all('img')].map(one => one.getBoundingClientRect().top + scrollY);
  // words of the opening and of plain paragraphs, at the width of their boxes
  const canvas = document.createElement('canvas').getContext('2d');
  const lines = all('section > p').filter(one => one.textContent.length > 200).map(one => {
    const style = getComputedStyle(one);
    canvas.font = `${style.fontSize} ${style.fontFamily}`;
    const text = one.textContent.replace(/\s+/g, ' ').slice(0, 200);
    return one.clientWidth / (canvas.measureText(text).width / text.length);
  });
  const filled = row => [...row.cells].filter(cell => cell.textContent.trim()).length;
  const almostEmpty = row => row.cells.length > 2 && filled(row) <= 1;
  return {
    total,
    code: height(code) / total, prose: height(prose) / total,
    figures: height(figures) / total, tables: height(tables) / total,
    first: (first.length ? Math.min(...first) : total) / innerHeight,
    characters: lines.sort((one, other) => one - other)[lines.length >> 1] ?? 0,
    codeCut: cut(all('div.highlight pre').filter(one => !one.closest('.cell_output'))),
    outputsCut: cut(all('.cell_output pre')),
    tablesCut: tables.filter(table => box(table).scrollWidth > box(table).clientWidth + 1).length,
    asCards: tables.filter(table => table.matches('.cards')).length,
    figuresCut: cut(all('figure.plot > div')),
    equationsCut: cut(all('mjx-container[display="true"]')),
    nFigures: figures.length, nTables: tables.length, nCode: code.length,
    uncaptioned: figures.filter(one => !one.matches('.system-map, :has(figcaption:not(:empty))')).length,
    faults: all('figure[data-faults]').length,
    secondRows: tables.filter(table => table.tHead?.rows.length > 1 && [...table.tHead.rows].some(almostEmpty)).length,
  };
}"""


def weight(page: Page, base: str, name: str) -> float:
    """Megabytes, compressed, that a first visit to a page asks for."""
    responses: list[Any] = []

    def answered(response: Any) -> None:
        responses.append(response)

    page.on("response", answered)
    page.goto(base + name, wait_until="networkidle", timeout=120_000)  # the machine may be busy
    page.evaluate(looks.SETTLED)
    page.remove_listener("response", answered)
    size = 0
    for response in responses:
        if response.ok:
            packed = response.url.partition("?")[0].endswith((".woff2", ".woff", ".png", ".jpg"))
            size += len(response.body() if packed else gzip.compress(response.body(), 6))
    return size / 1e6


def code_share(page: Page, base: str, name: str) -> float:
    """Share of a page's height that is code, at a desk."""
    page.set_viewport_size(looks.DESKTOP)
    page.goto(base + name, wait_until="load", timeout=120_000)
    page.evaluate(looks.SETTLED)
    return page.evaluate(MEASURE)["code"]


def measures(page: Page, base: str, name: str) -> dict[str, float]:
    """Measures of one page, named as in `LIMITS` and a few more."""
    page.set_viewport_size(looks.DESKTOP)
    megabytes = weight(page, base, name)
    desk = page.evaluate(MEASURE)
    # what is folded has to fit, too
    page.evaluate("document.querySelectorAll('.bd-article details').forEach(one => { one.open = true })")
    opened = page.evaluate(MEASURE)
    page.set_viewport_size(looks.PHONE)
    page.wait_for_timeout(300)
    phone = page.evaluate(MEASURE)
    return {
        "screens": desk["total"] / looks.DESKTOP["height"],
        "code, share of the height at most": desk["code"],
        "prose, share of the height at least": desk["prose"],
        "figures, share of the height at least": desk["figures"],
        "tables, share of the height": desk["tables"],
        "screens to the first picture at most": desk["first"],
        "characters a line of prose at most": desk["characters"],
        "code cells": opened["nCode"],
        "tables": desk["nTables"],
        "figures": desk["nFigures"],
        "code cells cut at 1280": opened["codeCut"],
        "outputs cut at 1280": opened["outputsCut"],
        "tables cut at 1280": opened["tablesCut"],
        "tables as cards at 1280": opened["asCards"],
        "equations cut at 1280": opened["equationsCut"],
        "code cells cut at 390": phone["codeCut"],
        "outputs cut at 390": phone["outputsCut"],
        "tables cut at 390": phone["tablesCut"],
        "tables as cards at 390": phone["asCards"],
        "figures cut at 390": phone["figuresCut"],
        "equations cut at 390": phone["equationsCut"],
        "figures without a caption": desk["uncaptioned"],
        "figures with texts that cannot be read": desk["faults"],
        "second heading rows": desk["secondRows"],
        "first visit, MB compressed": megabytes,
    }


def complaints(found: dict[str, float], limits: dict[str, float] = LIMITS) -> list[str]:
    """Measures of a page that are beyond their limits, a line each."""
    bad = []
    for name, limit in limits.items():
        least = name.endswith("at least")
        if (found[name] < limit) if least else (found[name] > limit):
            bad.append(f"{name}: {found[name]:.3g}, wanted {limit:g}")
    return bad


def main() -> None:
    """Print the measures of some pages, and what is beyond the limits."""
    parser = argparse.ArgumentParser(prog="python -m tests.book.frame", description=main.__doc__)
    parser.add_argument("site", type=Path)
    parser.add_argument("pages", nargs="+")
    options = parser.parse_args()
    with looks.served(options.site) as base, sync_playwright() as playwright:
        browser = looks.launch(playwright)
        for name in options.pages:
            context = browser.new_context(viewport=looks.DESKTOP)  # empty cache: a first visit
            found = measures(context.new_page(), base, name)
            print(name, json.dumps({key: round(value, 3) for key, value in found.items()}, indent=1))
            print(*complaints(found), sep="\n")
            context.close()
        browser.close()


if __name__ == "__main__":
    main()

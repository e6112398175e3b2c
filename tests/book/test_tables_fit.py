"""A table takes the widest form that fits its box: as it is, tight, headed by the names of the rows, or as cards."""

import shutil

import pytest

from book.tools.code import ROOT
from tests.book import browser as looks

pytestmark = pytest.mark.site

PAGE = """<!DOCTYPE html><html lang="en" data-theme="light" style="font-size: 17px"><head><title>x</title>
<link rel="stylesheet" href="llmrec.css"><script defer src="llmrec.js"></script></head><body class="bd-content">
<div class="bd-article" style="padding: 0 16px"><div class="cell_output"><div class="text_html" style="max-width:730px">
{}</div></div></div></body></html>"""
FORMS = ["tight", "headed", "cards"]


def table(headings, rows):
    """Markup as the Sphinx extension leaves it: a column of words, then numbers, or words where a cell is long."""
    head = "".join(f'<th class="num" scope="col">{name}</th>' for name in headings[1:])
    body = "".join(
        f'<tr><th class="txt" scope="row">{first}</th>'
        + "".join(f'<td class="{"txt" if len(cell) > 30 else "num"}">{cell}</td>' for cell in cells)
        + "</tr>"
        for first, *cells in rows
    )
    return f'<table><thead><tr><th class="txt">{headings[0]}</th>{head}</tr></thead><tbody>{body}</tbody></table>'


SMALL = table(["model", "nDCG"], [["EASE", "0.483"]])
COUNTS = table(
    ["RMSE", *(f"K = {k}" for k in (0, 1, 3, 5, 10, 20))], [["joint training and fine-tuning", *["1.0061"] * 6]]
)
MEAN = '0.4859 <span class="interval">[-0.0034, +0.0060]</span>'
SQUEEZED = table(
    ["model", "nDCG", "precision", "recall"], [["text and autoencoder, fused by reciprocal ranks", *[MEAN] * 3]]
)
LONG = table(
    ["use", "nDCG@10 before", "nDCG@10 after", "draws", "better", "worse", "remarks"],
    [["words for five likes", "0.136", "0.122", "3", "0", "2", "a sentence " + "that is long, " * 8]] * 2,
)


@pytest.fixture
def shown(page, tmp_path):
    """Show a table at some width; return what was chosen for it, and whether it is cut."""
    for name in ("llmrec.css", "llmrec.js"):
        shutil.copy(ROOT / "book" / "_static" / name, tmp_path)

    def show(markup, width):
        (tmp_path / "page.html").write_text(PAGE.format(markup), encoding="utf-8")
        page.set_viewport_size({"width": width, "height": 800})
        with looks.served(tmp_path) as base:
            page.goto(f"{base}page.html", wait_until="load")
            return form(page)

    return show


def form(page):
    """Names of the form of the one table, after its box has settled, and whether it is cut."""
    page.wait_for_timeout(100)
    classes = page.eval_on_selector("table", "table => [...table.classList]")
    cut = page.eval_on_selector(".text_html", "box => box.scrollWidth > box.clientWidth + 1")
    return [name for name in FORMS if name in classes], cut


@pytest.mark.parametrize(
    ("markup", "width", "wanted"),
    [
        (SMALL, 1280, []),
        (SMALL, 390, []),
        (COUNTS, 1280, []),
        (SQUEEZED, 1280, ["tight"]),
        (COUNTS, 390, ["tight", "headed"]),
        (LONG, 390, ["cards"]),
    ],
)
def test_a_table_takes_the_first_form_that_fits(shown, markup, width, wanted):
    assert shown(markup, width) == (wanted, False)


def test_a_table_follows_the_width_of_the_window(shown, page):
    assert shown(COUNTS, 390)[0]
    page.set_viewport_size({"width": 1280, "height": 800})
    assert form(page) == ([], False)


def test_numbers_of_a_headed_table_keep_their_columns(shown, page):
    shown(COUNTS, 390)
    right = "cells => cells.map(cell => Math.round(cell.getBoundingClientRect().right))"
    assert page.eval_on_selector_all("thead th:not(:first-child)", right) == page.eval_on_selector_all(
        "tbody td", right
    )


def test_cards_say_what_each_value_is(shown, page):
    shown(LONG, 390)
    row = page.locator("tbody tr").first
    assert row.locator("> *").evaluate_all("cells => cells.map(cell => cell.dataset.label)") == [
        "use", "nDCG@10 before", "nDCG@10 after", "draws", "better", "worse", "remarks",
    ]  # fmt: skip
    assert page.get_by_role("row").count() >= 2  # still a table for a screen reader


def test_headings_above_headings_and_cells_of_several_rows_are_labeled(shown, page):
    words = "a sentence " + "that is long, " * 8
    markup = (
        '<table><thead><tr><td></td><td></td><th colspan="2">RMSE</th><td></td></tr>'
        "<tr><th>model</th><th>split</th><th>mean</th><th>std</th><th>remarks</th></tr></thead><tbody>"
        f'<tr><th rowspan="2">UserKNN-or-fallback</th><th>past-and-future</th><td>1</td><td>2</td><td>{words}</td></tr>'
        f"<tr><th>past</th><td>3</td><td>4</td><td>{words}</td></tr></tbody></table>"
    )
    shown(markup.replace("<td>", '<td class="num">'), 390)
    labels = "rows => rows.map(row => [...row.cells].map(cell => cell.dataset.label))"
    assert page.eval_on_selector_all("tbody tr", labels) == [
        ["model", "split", "RMSE, mean", "RMSE, std", "remarks"],
        ["split", "RMSE, mean", "RMSE, std", "remarks"],
    ]


def test_a_table_in_a_closed_fold_fits_once_it_is_open(shown, page):
    shown(f"<details><summary>more</summary>{COUNTS}</details>".replace("<table", '<div class="text_html"><table'), 390)
    page.locator("summary").click()
    page.wait_for_timeout(100)
    assert "headed" in page.eval_on_selector("table", "table => table.className")


@pytest.mark.parametrize(("markup", "width"), [(SMALL, 390), (SQUEEZED, 1280), (COUNTS, 390), (LONG, 390)])
def test_words_and_numbers_do_not_touch_the_edges_of_a_table(shown, page, markup, width):
    shown(markup, width)
    edges = """table => {
      const box = table.getBoundingClientRect();
      const cells = [...table.querySelectorAll('tbody :is(th, td)')].map(cell => {
        const range = document.createRange();
        range.selectNodeContents(cell);
        return range.getBoundingClientRect();
      });
      return Math.min(...cells.flatMap(one => [one.left - box.left, box.right - one.right]));
    }"""
    assert page.eval_on_selector("table", edges) >= 3

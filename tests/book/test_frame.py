"""A page with a fault of each kind, and one without: the measures of the frame tell them apart."""

import pytest

from tests.book import browser as looks
from tests.book import frame

pytestmark = pytest.mark.site

STYLE = """<style>.bd-article { width: 480px; max-width: 100% } p { font: 17px serif; margin: 0 }
pre, .text_html { overflow-x: auto } figure { margin: 0 } td { white-space: nowrap }</style>"""
PAGE = (
    "<!DOCTYPE html><html><head><title>x</title>{style}</head><body><div class='bd-article'>{body}</div></body></html>"
)
WORDS = "<section><p>" + "We count the words of a line of prose, which is as wide as its box. " * 30 + "</p></section>"
FIGURE = "<figure {}><div style='height: {}px'></div>{}</figure>"
CAPTION = "<figcaption>Figure 1.1. A line.</figcaption>"
GOOD = WORDS + FIGURE.format("", 300, CAPTION) + "<div class='highlight'><pre>x = 1</pre></div>"
HEAD = "<thead><tr><th></th><th>a</th><th>b</th></tr><tr><th>model</th><th></th><th></th></tr></thead>"
WIDE = (
    "<div class='cell_output'><div class='text_html'><table>{}<tr><td>{}</td><td>1</td><td>2</td></tr></table>"
    "</div></div>"
)
BAD = {
    "screens to the first picture at most": "<p style='height: 2000px'>words</p>" + GOOD,
    "code, share of the height at most": GOOD + "<div class='highlight' style='height: 2000px'></div>",
    "prose, share of the height at least": "<p>few</p>" + FIGURE.format("", 900, CAPTION),
    "figures, share of the height at least": WORDS,
    "characters a line of prose at most": "<style>.bd-article { width: 1100px }</style>" + GOOD,
    "code cells cut at 1280": GOOD + "<div class='highlight'><pre>" + "x" * 200 + "</pre></div>",
    "outputs cut at 1280": GOOD + "<div class='cell_output'><pre>" + "x" * 200 + "</pre></div>",
    "outputs cut at 390": GOOD + "<div class='cell_output'><pre>" + "x" * 55 + "</pre></div>",
    "tables cut at 1280": GOOD + WIDE.format("", "x" * 200),
    "tables cut at 390": GOOD + WIDE.format("", "x" * 50),
    "tables as cards at 1280": GOOD + WIDE.format("", "x").replace("<table>", "<table class='cards'>"),
    "equations cut at 1280": GOOD + "<mjx-container display='true' style='display: block; overflow-x: auto'>"
    "<div style='width: 900px'>x</div></mjx-container>",
    "figures without a caption": GOOD + FIGURE.format("", 100, ""),
    "figures with texts that cannot be read": GOOD + FIGURE.format("data-faults='cut off'", 100, CAPTION),
    "second heading rows": GOOD + WIDE.format(HEAD, "x"),
}


def told(page, folder, body):
    (folder / "page.html").write_text(PAGE.format(style=STYLE, body=body), encoding="utf-8")
    with looks.served(folder) as base:
        return frame.complaints(frame.measures(page, base, "page.html"))


def test_a_good_page_keeps_to_every_limit(page, tmp_path):
    assert told(page, tmp_path, GOOD) == []


@pytest.mark.parametrize("name", BAD)
def test_each_fault_is_told(page, tmp_path, name):
    assert name in " ".join(told(page, tmp_path, BAD[name]))


def test_a_heavy_page_is_told(page, tmp_path):
    (tmp_path / "a.png").write_bytes(bytes(1_100_000))
    assert "first visit" in " ".join(told(page, tmp_path, GOOD + "<img src='a.png' alt='x' style='height: 1px'>"))


def test_every_fault_has_its_page():
    assert set(BAD) | {"first visit, MB compressed"} == set(frame.LIMITS)

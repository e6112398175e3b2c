"""The frame of pages: tables that can be read, numbered figures, labels of folded code, light pages."""

import importlib.util
import sys
from itertools import count

import pandas as pd
import pytest
from bs4 import BeautifulSoup
from docutils import nodes

from book.tools.code import ROOT


@pytest.fixture(scope="module")
def pages():
    spec = importlib.util.spec_from_file_location("llmrec_pages", ROOT / "book" / "_ext" / "llmrec_pages.py")
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


def rows(markup):
    table = BeautifulSoup(markup, "html.parser").table
    return [[cell.get_text(" ", strip=True) for cell in row.find_all(["th", "td"])] for row in table.find_all("tr")]


def kinds(markup, row=-1):
    line = BeautifulSoup(markup, "html.parser").find_all("tr")[row]
    return [next(k for k in cell["class"] if k in ("txt", "num", "group")) for cell in line.find_all(["th", "td"])]


FRAME = pd.DataFrame({"film": ["Alien", "Heat"], "rating": [4.5, 4.0], "when": ["0.121 to 0.128", "0.1 [0.05, 0.15]"]})


@pytest.mark.parametrize("markup", [FRAME.to_html(), FRAME.style.to_html(), FRAME.style.hide().to_html()])
def test_words_stand_left_and_numbers_right(pages, markup):
    tidy = pages.tidy_table(markup)
    assert rows(tidy)[0] == ["film", "rating", "when"]  # the row numbers are gone
    assert kinds(tidy) == kinds(tidy, 0) == ["txt", "num", "num"]


@pytest.mark.parametrize(
    ("text", "number"),
    [
        ("12", True), ("-0.5", True), ("1,682", True), ("45%", True), ("0.12 to 0.13", True), ("3.2 s", True),
        ("0.475 [0.462, 0.489]", True), ("1e-05", True), ("±0.01", True), ("8 of 10", True), ("93 MB", True),
        ("1997-12-04", True), ("-0.0043*", True), ("Alien", False), ("Alien (1979)", False), ("12 Angry Men", False),
        ("two", False), ("7 years in Tibet", False), ("", False),
    ],
)  # fmt: skip
def test_numbers_are_told_from_words(pages, text, number):
    assert pages.is_number(text) == number


@pytest.mark.parametrize(
    ("text", "parts"),
    [
        ("Action|Animation|Sci-Fi", ["Action|", "Animation|", "Sci-Fi"]),
        ("film.film.written_by", ["film.", "film.", "written_", "by"]),
        ("DenoisingAutoencoder, 0.5", ["Denoising", "Autoencoder, 0.5"]),
        ("ItemKNN <two> & 3", ["ItemKNN <two> & 3"]),  # short enough
        ("12345.12345678901", ["12345.12345678901"]),
    ],
)
def test_long_words_of_tables_may_break_where_they_are_joined(pages, text, parts):
    tidy = pages.tidy_table(pd.DataFrame({"what": [text, "words", "words"]}).to_html(index=False))
    cell = BeautifulSoup(tidy, "html.parser").tbody.td
    assert cell.get_text() == text
    assert list(cell.find_all(string=True)) == parts
    assert len(cell.find_all("wbr")) == len(parts) - 1


@pytest.mark.parametrize(
    ("name", "tied"),
    [("TF-IDF, genre's name", ["TF-IDF"]), ("a TF-IDF - e-mail x", ["TF-IDF", "e-mail"]), ("meta-gradient", [])],
)
def test_short_compounds_of_a_heading_stay_in_one_line(pages, name, tied):
    heading = BeautifulSoup(pages.tidy_table(pd.DataFrame({name: [1]}).to_html(index=False)), "html.parser").thead.th
    assert heading.get_text() == name
    assert [span.get_text() for span in heading.find_all("span")] == tied


def test_names_of_rows_share_the_one_row_of_headings(pages):
    frame = FRAME.set_index("film")
    for markup in (frame.to_html(), frame.style.to_html()):
        assert rows(pages.tidy_table(markup))[0] == ["film", "rating", "when"]


def test_names_of_rows_and_columns_are_both_kept(pages):
    frame = pd.DataFrame([[1, 2]], index=pd.Index(["EASE"], name="model"), columns=pd.Index([5, 10], name="k"))
    for markup in (frame.to_html(), frame.style.to_html()):
        assert rows(pages.tidy_table(markup)) == [["model by k", "5", "10"], ["EASE", "1", "2"]]


def test_two_levels_of_columns_stay_two_rows(pages):
    columns = pd.MultiIndex.from_product([["old", "new"], ["ndcg", "recall"]])
    frame = pd.DataFrame([[1, 2, 3, 4]], index=pd.Index(["EASE"], name="model"), columns=columns)
    for markup in (frame.to_html(), frame.style.to_html()):
        tidy = rows(pages.tidy_table(markup))
        assert tidy[0][-2:] == ["old", "new"]
        assert tidy[1] == ["model", "ndcg", "recall", "ndcg", "recall"]
        assert len(tidy) == 3


def test_two_levels_of_rows_are_both_named(pages):
    frame = pd.DataFrame({"x": [1, 2, 3], "group": ["a", "a", "b"], "model": ["m", "n", "m"]}).set_index(
        ["group", "model"]
    )
    for markup in (frame.to_html(), frame.style.to_html()):
        tidy = rows(pages.tidy_table(markup))
        assert tidy[0] == ["group", "model", "x"]
        assert tidy[2] == ["n", "2"]


@pytest.mark.parametrize("index", [pd.Index([1, 2]), pd.Index([0, 1], name="epoch"), pd.Index([0, 2])])
def test_row_numbers_that_mean_something_stay(pages, index):
    frame = FRAME.set_axis(index)
    assert rows(pages.tidy_table(frame.to_html()))[1][0] == str(index[0])


def test_intervals_stand_apart_and_headings_have_a_scope(pages):
    tidy = BeautifulSoup(pages.tidy_table(FRAME.set_axis(["a", "b"]).to_html()), "html.parser")
    assert [one.get_text() for one in tidy.select(".interval")] == ["[0.05, 0.15]"]
    assert [th["scope"] for th in tidy.find_all("th")] == ["col"] * 3 + ["row"] * 2  # an empty corner is no heading


def test_bold_and_colors_of_a_style_stay(pages):
    styled = pd.DataFrame({"x": [0.5, 0.7]}).style.highlight_max(props="font-weight: bold")
    tidy = BeautifulSoup(pages.tidy_table(styled.to_html()), "html.parser")
    bold = styled.to_html().split("#")[1].split(" {")[0]
    assert tidy.find(id=bold).get_text() == "0.700000"


def test_figures_are_numbered_by_chapter(pages):
    figure = '<figure class="plot"><svg></svg><figcaption>A line.</figcaption></figure>'
    numbered = BeautifulSoup(pages.number_figures(figure * 2, 3, count(4)), "html.parser")
    assert [one.get_text() for one in numbered.find_all("figcaption")] == ["Figure 3.4. A line.", "Figure 3.5. A line."]
    assert [one["id"] for one in numbered.find_all("figure")] == ["figure-3-4", "figure-3-5"]


@pytest.mark.parametrize(
    ("source", "start"),
    [
        ("# Imports, and the log of ratings.\nimport numpy", "Imports, and the log of ratings (2 lines)"),
        ("x = 1", "Code (1 line)"),
        ("import numpy as np\nx = 1", "Imports"),
        ("fig, ax = plt.subplots()\nplots.show(fig, alt='x')", "Code of the figure"),
    ],
)
def test_a_folded_cell_says_what_it_holds(pages, source, start):
    assert pages.label_of(source).startswith(start)


def test_pages_are_made_light(pages):
    page = (
        '<script defer src="../_static/scripts/fontawesome.js?digest=1"></script>'
        '<script src="../searchindex.js"></script><script src="../_static/a.js"></script>'
        '<script type="application/vnd.jupyter.widget-state+json">{"a": 1}</script>'
        '<i class="theme-switch fa-solid fa-sun fa-lg" data-mode="light"></i>'
        '<summary aria-label="Toggle hidden content">'
    )
    light = pages.lighten(page)
    assert "fontawesome" not in light
    assert "fa-" not in light
    assert "widget" not in light
    assert "searchindex" not in light
    assert "aria-label" not in light
    assert 'src="../_static/a.js"' in light
    sun = BeautifulSoup(light, "html.parser").i
    assert sun["data-mode"] == "light"
    assert "theme-switch" in sun["class"]
    assert sun.svg
    assert "searchindex" in pages.lighten(page, is_search=True)


def test_only_rules_of_the_icon_font_go(pages):
    sheet = (
        "a{b:c}.fa-sun:before,.fa-moon:before{content:'x'}@font-face{font-family:\"Font Awesome\"}.fade{d:e}.x .fa{f:g}"
    )
    assert pages.FONT_RULE.sub("", pages.FONT_FACE.sub("", sheet)) == "a{b:c}.fade{d:e}.x .fa{f:g}"


def test_a_page_is_described_by_its_first_paragraph(pages):
    section = nodes.section("", nodes.title(text="T"), nodes.paragraph(text="We learn to count\nfilms. " * 20))
    document = nodes.document(None, None, "", section)
    words = pages.description(document)
    assert words.startswith("We learn to count films.")
    assert len(words) <= 202
    assert pages.description(nodes.document(None, None)) == ""

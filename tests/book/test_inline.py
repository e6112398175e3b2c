"""Notebooks in the form that JupyterLab and the site both show."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook

from book.tools import inline
from book.tools.checks.markdown import headings
from book.tools.references import References, Work
from llmrec_lite.glued import DASH

FILE = inline.ROOT / "notebooks" / "02_two.ipynb"
OTHER = inline.ROOT / "notebooks" / "14_new.ipynb"
WORKS = {"steck2019": Work("Steck", "2019"), "finn2017": Work("Finn et al.", "2017", "https://doi.org/1")}
KNOWN = References(WORKS, frozenset({"term-item"}), {"ex-here": FILE, "ex-there": OTHER})


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("{cite:t}`steck2019`", "[Steck (2019)](#steck2019)"),
        ("{cite:p}`steck2019,finn2017`", "([Steck, 2019](#steck2019); [Finn et al., 2017](#finn2017))"),
        ("{term}`items <item>`", "[items](../book/glossary.md#term-item)"),
        ("{term}`TF-IDF`", "[TF-IDF](../book/glossary.md#term-tf-idf)"),
        ("{ref}`exercise <ex-here>` {eq}`eq-a`", "{ref}`exercise <ex-here>` {eq}`eq-a`"),
        ("{ref}`exercise\n<ex-there>`", "[exercise](14_new.ipynb#ex-there)"),
        ("{glue:text}`gain`", "{eval}`glued.gain`"),
        ("{glue:text}`few both, 0`", '{eval}`glued["few both, 0"]`'),
        ("{zh}`科幻`", '<span class="zh" lang="zh-Hans">科幻</span>'),
        ("`x` and $y$", "`x` and $y$"),
    ],
)
def test_roles_become_what_both_readers_resolve(old, new):
    assert inline.rewrite_text(old, FILE, KNOWN) == new
    assert inline.rewrite_text(new, FILE, KNOWN) == new


def test_a_citation_of_nothing_is_an_error():
    with pytest.raises(KeyError):
        inline.rewrite_text("{cite:p}`nobody2000`", FILE, KNOWN)


class Kept(dict):
    """Keeps what is assigned under either form, as `Glued` does."""

    __setattr__ = dict.__setitem__


def test_a_call_of_glue_becomes_an_assignment():
    loop = 'for k in "é±": glue(f"a_{k}", 1, display=False)'
    old = f'from myst_nb import glue\n{loop}\nglue(\n    "b",\n    int(\n        2),\n)'
    new, kept = inline.rewrite_code(old), Kept()
    assert new.startswith("from llmrec_lite.glued import glued\n")
    exec(new.partition("\n")[2], {"glued": kept})
    assert kept == {"a_é": 1, "a_±": 1, "b": 2}
    assert inline.rewrite_code(new) == new


def test_code_without_glue_or_that_does_not_parse_stays():
    for code in ("x = 1", "glue = 3", "def broken(:\n glue('a', 1)", "%timeit x\ny.glue('a', 1)"):
        assert inline.rewrite_code(code) == code


@given(st.text(min_size=1, alphabet=st.characters(exclude_characters='"\\`\n\r', exclude_categories=["C"])))
def test_an_expression_leads_back_to_its_name(name):
    assert inline.glued_name(inline.expression(name)) == name


@pytest.mark.parametrize("code", ["other.x", "glued", "glued.f()", "glued[1]", "1 +"])
def test_other_expressions_name_no_value(code):
    assert inline.glued_name(code) is None


def test_metadata_hold_a_dash_for_each_number_and_fold_code():
    measured = {"user_expressions": [{"expression": "glued.a", "result": {"data": {"text/plain": "'1'"}}}]}
    cells = [
        new_markdown_cell("# Title"),
        new_markdown_cell("{eval}`glued.a`, {eval}`glued.b` and {eval}`glued.a`", metadata=measured),
        new_markdown_cell("no number", metadata=measured),
        new_code_cell("1", metadata={"tags": ["hide-input"]}),
        new_code_cell("2", metadata={"jupyter": {"source_hidden": True, "outputs_hidden": True}}),
    ]
    notebook = new_notebook(cells=cells)
    for _ in range(2):
        inline.rewrite(notebook, FILE, KNOWN)
        shown = cells[1].metadata["user_expressions"]
        assert [one["expression"] for one in shown] == ["glued.a", "glued.b"]
        assert {one["result"]["data"]["text/plain"].strip("'") for one in shown} == {DASH}
        assert cells[2].metadata == {}
        assert cells[3].metadata["jupyter"] == {"source_hidden": True}
        assert cells[4].metadata["jupyter"] == {"outputs_hidden": True}
        assert cells[0].source.count("enumerator: 2.%s") == 3
        assert inline.without_front_matter(cells[0].source) == "# Title"
        assert [heading.title for heading in headings(cells[0].source)] == ["Title"]


def test_an_assignment_is_not_numbered():
    notebook = new_notebook(cells=[new_markdown_cell("# Title")])
    inline.rewrite(notebook, FILE.parent / "assignments" / FILE.name, KNOWN)
    assert notebook.cells[0].source == "# Title"

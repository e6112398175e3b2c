"""Checks of what the text of a notebook refers to."""

import pytest
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook

from book.tools import inline
from book.tools.checks.links import check_links, check_roles, cites


def text(source):
    return new_notebook(cells=[new_markdown_cell(source)])


@pytest.mark.parametrize("source", ["{cite:p}`steck2019ease`", "{term}`item`", "{glue:text}`a`", "{eval}`glued.f()`"])
def test_what_jupyterlab_cannot_show_is_named(source):
    notebook = text(source)
    inline.set_metadata(notebook.cells[0])
    assert len(check_roles(notebook)) == 1


def test_metadata_and_calls_of_glue_are_named():
    notebook = text("{eval}`glued.a`")
    notebook.cells.append(new_code_cell('glue("a", 1, display=False)', metadata={"tags": ["hide-input"]}))
    assert {complaint.cell for complaint in check_roles(notebook)} == {0, 1}
    notebook.cells[1].source = inline.rewrite_code(notebook.cells[1].source)
    for cell in notebook.cells:
        inline.set_metadata(cell)
    assert check_roles(notebook) == []


@pytest.mark.parametrize(
    ("source", "faults"),
    [
        ("[Steck, 2019](#steck2019ease), [Steck (2019)](#steck2019ease)", 0),
        ("[Stock, 2019](#steck2019ease)", 1),
        ("[Steck, 2018](#steck2019ease)", 1),
        ("[Nobody, 1999](#nobody1999)", 1),
        ("[items](../book/glossary.md#term-item)", 0),
        ("[items](../book/glossary.md#term-thing)", 1),
        ("[errata](../book/errata.md#erratum-cosine) [web](https://example.org/#a)", 0),
        ("[errata](../book/errata.md#erratum-lost)", 1),
        ("(here)=\n## A\n\n[above](#here)", 0),
    ],
)
def test_links_lead_somewhere_and_works_are_named_as_they_are(source, faults):
    assert len(check_links(text(source))) == faults


def test_a_link_to_a_work_cites_it():
    assert cites("[Steck, 2019](#steck2019ease)")
    assert not cites("[above](#here) [items](../book/glossary.md#term-item)")

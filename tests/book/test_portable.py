"""Portable copies: plain Markdown that says the same."""

import re

import nbformat
import pytest
from markdown_it import MarkdownIt
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook, new_output

from book.tools import inline, portable
from book.tools.checks.markdown import blocks, walk
from book.tools.code import ROOT
from book.tools.references import References, Work, known
from llmrec_lite.glued import DASH, PREFIX

WORKS = {"finn2017": Work("Finn et al.", "2017", "https://doi.org/1"), "nowhere": Work("A", "1999")}
PAGE = portable.Page(
    ROOT / "notebooks" / "02_two.ipynb",
    {"eq-a": "(2.1)", "ex-a": "Exercise 2.1", "thm-a": "Theorem 2.1"},
    {"gain": "7 of 9"},
    References(WORKS, frozenset(), {}),
)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("{eval}`glued.gain`, {eval}`glued.lost`", f"7 of 9, {DASH}"),
        ("by {eq}`eq-a`, {ref}`exercise <ex-a>`, {prf:ref}`thm-a`", "by (2.1), exercise 2.1, Theorem 2.1"),
        ("[Finn et al., 2017](#finn2017) [A, 1999](#nowhere)", "[Finn et al., 2017](https://doi.org/1) A, 1999"),
        ("[item](../book/glossary.md#term-item) [next](03_b.ipynb#ex-b)", "item [next](03_b.ipynb)"),
        ("```{math}\n:label: eq-a\nx\n```", "$$\nx\n\\tag{2.1}\n$$"),
        ("```python\n{eval}`glued.gain`\n```", "```python\n{eval}`glued.gain`\n```"),
        ("(label)=\ntext", "text"),
    ],
)
def test_what_only_myst_knows_is_said_plainly(text, expected):
    assert portable.plain(text, PAGE) == expected


def test_answers_stay_folded_also_within_other_boxes():
    text = "::::{admonition} Which?\n:class: quiz\nWords.\n:::{dropdown} This `x`\nNo: {eval}`glued.gain`.\n:::\n::::"
    page = MarkdownIt().render(portable.plain(text, PAGE))
    assert re.search(r"<details>\s*<summary>This <code>x</code></summary>\s*<p>No: 7 of 9.</p>\s*</details>", page)
    solution = portable.plain("````{solution} ex-a\n:class: dropdown\n```python\nx\n```\n````", PAGE)
    assert "<summary>Solution to Exercise 2.1</summary>" in solution
    assert "```python\nx\n```" in solution


def test_a_directive_without_a_plain_form_is_an_error():
    with pytest.raises(portable.PortableError, match="mermaid"):
        portable.plain("```{mermaid}\na\n```", PAGE)


def test_values_come_from_the_outputs_of_the_executed_notebook():
    meta = {"scrapbook": {"name": "gain", "mime_prefix": PREFIX}}
    hidden = new_output("display_data", {f"{PREFIX}text/plain": '"it\'s 7"'}, metadata=meta)
    cell = new_code_cell(outputs=[new_output("stream", text="x"), hidden])
    assert portable.values(new_notebook(cells=[cell])) == {"gain": "it's 7"}


@pytest.mark.parametrize("file", sorted((ROOT / "notebooks").rglob("[0-9]*.ipynb")), ids=lambda file: file.stem)
def test_no_notebook_keeps_a_directive_or_a_role(file):
    source = nbformat.read(file, as_version=4)
    numbers = portable.numbers(source, int(file.name[:2]))
    copy = portable.portable(source, portable.Page(file, numbers, {}, known()))
    text = "\n\n".join(cell.source for cell in copy.cells if cell.cell_type == "markdown")
    assert not re.search(r"^\s*(?::::|`{3,}\{)|\{[a-z:]+\}`|^numbering:", text, re.M)
    folded = sum(directive.folded for directive in walk(blocks(source)))
    assert text.count("<details>") == text.count("</details>") == folded
    assert not any("user_expressions" in cell.metadata for cell in copy.cells)


def test_a_copy_says_nothing_of_how_another_reader_numbers():
    notebook = new_notebook(cells=[new_markdown_cell(inline.front_matter(2) + "# Title")])
    assert portable.portable(notebook, PAGE).cells[0].source == "# Title"


def test_values_that_myst_nb_has_taken_out_of_the_notebook_are_found():
    kept = {
        "gain": {"data": {"text/plain": "'+0.1'"}, "metadata": {"scrapbook": {"name": "gain", "mime_prefix": "x/"}}}
    }
    assert portable.values(new_notebook(), kept) == {"gain": "+0.1"}

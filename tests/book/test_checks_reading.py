"""What a chapter that is finished for reading may not show, and what its folded cells have to say."""

import nbformat
import pytest
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook

from book.tools.checks import __main__ as command
from book.tools.checks.reading import READING
from tests.book.test_checks import chapter

FIGURE = 'plots.show(fig, alt="A line.", caption="It falls.")'
LONG = "# " + "x" * 79


def complaints(source, *tags, **metadata):
    cell = new_code_cell(source, metadata={"tags": list(tags), **metadata})
    return [str(complaint) for check in READING for complaint in check(new_notebook(cells=[cell]))]


@pytest.mark.parametrize(
    ("source", "tags"),
    [
        ("import numpy as np\nfrom pathlib import Path\nx = 1", []),
        (FIGURE, []),
        ('plots.show(fig, "A line.", "It falls.")', []),
        ("# Imports and data\nimport a\nimport b\nimport c", ["hide-input"]),
        ('glue("n", 1, display=False)\nresults.record_claim("C01")', ["remove-cell"]),
        (LONG, ["remove-cell"]),
        (LONG[:80], []),
        ("%matplotlib inline\nx = 1", []),
        ("glue_together = 1", []),
    ],
)
def test_good_cells_pass(source, tags):
    assert complaints(source, *tags) == []


@pytest.mark.parametrize(
    ("source", "tags", "told"),
    [
        ('glue("n", 1)', [], "shows glue"),
        ('glued("n", 1)', [], "shows glued"),
        ('results.record_claim("C01")', [], "shows record_claim"),
        ("f(1, display=False)", [], "display=False"),
        ("import a\nimport b\nimport c", [], "3 lines of imports"),
        ("from a import (\n    b,\n)", [], "3 lines of imports"),
        ("import a\nx = 1", ["hide-input"], "without a label"),
        ("#\nx = 1", ["hide-input"], "without a label"),
        (LONG, [], "81 characters"),
        ("# A figure\n" + LONG, ["hide-input"], "81 characters"),
        ('def f():\n    """' + "x" * 80 + '"""', [], "characters"),
        ('plots.show(fig, alt="A line.")', [], "without caption"),
        ('plots.show(fig, alt="A line.", caption="")', [], "without caption"),
        ("plots.show(fig)", [], "without alt and caption"),
        ('# Figure\nplots.show(fig, alt="A line.")', ["hide-input"], "without caption"),
    ],
)
def test_each_fault_is_told(source, tags, told):
    (complaint,) = complaints(source, *tags)
    assert told in complaint


def test_metadata_can_label_a_folded_cell():
    assert complaints("x = 1", "hide-input", mystnb={"code_prompt_show": "How x is made"}) == []


def test_figures_in_the_text_need_a_caption_and_solutions_their_columns():
    text = f"```{{figure}} a.svg\n:alt: A\n```\n\n~~~~{{solution}} ex\n```python\n{LONG}\n```\n~~~~\n"
    notebook = new_notebook(cells=[new_markdown_cell(text)])
    told = "".join(str(complaint) for check in READING for complaint in check(notebook))
    assert "without a caption" in told
    assert "81 characters" in told


def test_every_chapter_is_held_to_it_and_no_assignment(tmp_path):
    (tmp_path / "assignments").mkdir()
    paths = [tmp_path / "01_one.ipynb", tmp_path / "assignments" / "01_one.ipynb"]
    notebook = chapter()
    for cell in notebook.cells:
        cell.source = cell.source.replace(', caption="It falls."', "")
    for path in paths:
        nbformat.write(notebook, path)
    told = ["caption" in " ".join(map(str, command.check_file(path))) for path in paths]
    assert told == [True, False]

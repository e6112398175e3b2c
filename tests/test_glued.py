"""Numbers of the text: kept, displayed unseen, and a dash before."""

import ast

import IPython.display
import pytest
from hypothesis import given
from hypothesis import strategies as st

from llmrec_lite.errors import LlmrecError
from llmrec_lite.glued import DASH, Glued


@pytest.fixture
def outputs(monkeypatch):
    """Collect what is displayed."""
    shown = []
    monkeypatch.setattr(IPython.display, "display", lambda data, **options: shown.append((data, options)))
    return shown


def test_a_name_without_a_value_reads_as_a_dash():
    empty = Glued()
    assert empty.gain == empty["gain of ten"] == DASH
    assert dir(empty) == []


def test_an_assignment_keeps_the_text_of_a_value_under_either_form(outputs):
    numbers = Glued()
    numbers.gain = 7
    numbers["low 1"] = "1.25 [1, 2]"
    assert (numbers["gain"], numbers.gain, numbers["low 1"]) == ("7", "7", "1.25 [1, 2]")
    assert dir(numbers) == ["gain", "low 1"]


def test_the_output_is_what_the_site_reads(outputs):
    from myst_nb.ext.glue import extract_glue_data_cell
    from nbformat.v4 import new_code_cell, new_output

    numbers = Glued()
    numbers.gain = "it's ± 0.1"
    (data, options) = outputs[0]
    cell = new_code_cell(outputs=[new_output("display_data", data, metadata=options["metadata"])])
    [(name, found)] = extract_glue_data_cell(cell)
    assert (name, ast.literal_eval(found["data"]["text/plain"])) == ("gain", "it's ± 0.1")
    assert cell.outputs == []  # nothing to see below the cell


@given(st.text(min_size=1))
def test_any_text_is_a_name(name):
    assert Glued()[name] == DASH


@pytest.mark.parametrize("name", ["", 3, None])
def test_what_is_no_name_is_refused(name):
    with pytest.raises(LlmrecError):
        Glued()[name] = 1


def test_ipython_finds_no_representations():
    with pytest.raises(AttributeError):
        Glued()._repr_html_  # noqa: B018

"""What the book's Sphinx extension says of stored results: a note on a chapter, and a table."""

import importlib.util
import json
from types import SimpleNamespace

import pytest
from docutils import nodes
from docutils.utils import new_document

from book.tools import site
from book.tools.code import ROOT

spec = importlib.util.spec_from_file_location("llmrec_book", ROOT / "book" / "_ext" / "llmrec_book.py")
extension = importlib.util.module_from_spec(spec)
spec.loader.exec_module(extension)

ROWS = [
    {"name": name, "chapter": 3, "status": status, "date": "2026-01-02", "seconds": 7, "checked": ""}
    for name, status in (("top10", "stale"), ("ratings", "checked"), ("fused_new_users", "stale"), ("ngram", "fresh"))
]


@pytest.fixture
def marked(monkeypatch, tmp_path):
    """Mark a chapter with some code; return its nodes behind the title."""
    monkeypatch.setattr(extension, "stored_results", lambda: ROWS)

    def mark(*sources, kind="code", name="03_chapter.ipynb"):
        (tmp_path / name).write_text(json.dumps({"cells": [{"cell_type": kind, "source": [s]} for s in sources]}))
        page = new_document("page")
        page += nodes.section("", nodes.title(text="A chapter"), nodes.paragraph(text="Words."))
        app = SimpleNamespace(env=SimpleNamespace(doc2path=lambda page: str(tmp_path / name)))
        extension.mark_stale(app, page, "notebooks/03_chapter")
        return page[0][1:]

    return mark


def test_a_chapter_names_its_stale_results_and_the_command(marked):
    note, words = marked('results.load("ratings")', "x = results.load( 'top10', \"table\")")
    assert "warning" in note["classes"]
    assert [literal.astext() for literal in note.findall(nodes.literal)] == ["top10"]
    assert note[-1].astext() == "python -m book.experiments check top10"
    assert words.astext() == "Words."


def test_a_name_in_braces_stands_for_any(marked):
    note, _ = marked('results.load(f"fused_new_{kind}", "chosen")')
    assert note[-1].astext().endswith("check fused_new_users")


def test_what_is_fresh_or_checked_or_not_shown_gets_no_note(marked):
    assert len(marked('results.load("ratings")\nresults.load("ngram")')) == 1
    assert len(marked('results.load("top10")', kind="markdown")) == 1
    assert len(marked('results.load("{top10}")', "top10 = 1")) == 1


def test_only_a_chapter_that_loads_results_asks_for_their_status(marked, monkeypatch):
    monkeypatch.setattr(extension, "stored_results", lambda: [].pop())
    assert len(marked("1 + 1")) == 1
    assert len(marked('results.load("top10")', name="index.md")) == 1


def test_the_table_has_a_row_a_result():
    head, *rows = (
        [entry.astext() for entry in row.findall(nodes.entry)]
        for row in extension.status_table(ROWS).findall(nodes.row)
    )
    assert head[:3] == ["Result", "Chapter", "Status"]
    assert rows[1] == ["ratings", "3", "checked", "2026-01-02", "", "7"]
    assert len(rows) == len(ROWS)


def test_the_ledger_counts_the_last_verdicts():
    def records(*verdicts):
        return [SimpleNamespace(verdict=verdict) for verdict in verdicts]

    found = {"C01": records("open", "holds"), "C02": records("partly"), "C03": [], "C04": records("holds", "fails")}
    numbers = extension.re.findall(r"\d+", extension.count_verdicts(found))
    assert numbers == ["4", "1", "1", "1", "1"]
    assert extension.re.findall(r"\d+", extension.count_verdicts({**found, "C05": []})) == ["5", "1", "1", "1", "2"]


def test_a_build_can_import_the_experiments(monkeypatch, tmp_path):
    monkeypatch.setenv("PYTHONPATH", "elsewhere")
    environment = site.build_environment(tmp_path)
    assert environment["PYTHONPATH"].split(site.os.pathsep) == [str(ROOT), "elsewhere"]

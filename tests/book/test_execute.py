"""Chapters are executed once, side by side, and only those that run through are remembered."""

import json

import pytest

from book.tools.execute import execute, unknown_chapters


def chapter(root, name, *sources):
    cells = [
        {"cell_type": "code", "id": f"c{n}", "metadata": {}, "source": source, "outputs": [], "execution_count": None}
        for n, source in enumerate(sources)
    ]
    kernel = {"kernelspec": {"name": "python3", "display_name": "Python 3", "language": "python"}}
    notebook = {"nbformat": 4, "nbformat_minor": 5, "metadata": kernel, "cells": cells}
    (root / "notebooks" / f"{name}.ipynb").write_text(json.dumps(notebook))


@pytest.fixture
def root(tmp_path):
    for folder in ("book", "notebooks"):
        (tmp_path / folder).mkdir()
    (tmp_path / "_config.yml").write_text("execute: {execute_notebooks: cache}\n")
    chapters = "".join(f"- file: notebooks/{name}\n" for name in ("01_one", "02_two", "03_not_written"))
    (tmp_path / "book" / "_toc.yml").write_text(f"format: jb-book\nroot: book/index\nchapters:\n{chapters}")
    (tmp_path / "book" / "index.md").write_text("# Small\n")
    return tmp_path


def test_what_runs_through_is_remembered_and_the_rest_is_not(root):
    chapter(root, "01_one", "from pathlib import Path\nPath('ran').open('a').write('x')")
    chapter(root, "02_two", "1 / 0")
    cache = root / "cache"
    assert [file.stem for file in unknown_chapters(root, cache)] == ["02_two", "01_one"]
    found = {file.stem: seconds for file, seconds in execute(root, cache)}
    assert found["01_one"] > 0
    assert found["02_two"] is None
    assert [file.stem for file in unknown_chapters(root, cache)] == ["02_two"]
    chapter(root, "02_two", "import os\nos._exit(1)")  # a kernel that dies
    assert [(file.stem, seconds) for file, seconds in execute(root, cache)] == [("02_two", None)]
    chapter(root, "02_two", "2")
    assert len(list(execute(root, cache))) == 1
    assert unknown_chapters(root, cache) == []
    assert (root / "notebooks" / "ran").read_text() == "x"

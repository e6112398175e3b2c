"""Every chapter and assignment passes the checks (the build of the site executes the chapters)."""

from pathlib import Path

import pytest

from book.tools.checks.__main__ import check_file, check_names

FOLDER = Path(__file__).parents[2] / "notebooks"
NOTEBOOKS = [*sorted(FOLDER.glob("*.ipynb")), *sorted(FOLDER.glob("assignments/*.ipynb"))]


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: str(path.relative_to(FOLDER)))
def test_notebook_passes_the_checks(path: Path) -> None:
    assert [str(complaint) for complaint in check_file(path)] == []


def test_every_chapter_has_its_assignment() -> None:
    assert {path.name: str(complaint) for path, complaint in check_names(FOLDER).items()} == {}

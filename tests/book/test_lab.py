"""A student opens the notebooks in JupyterLab, and sees what the site shows."""

import pytest

from book.tools.code import ROOT
from tests.book import jupyterlab

FOLDER = ROOT / "notebooks"
NOTEBOOKS = [file.relative_to(FOLDER).as_posix() for file in sorted(FOLDER.rglob("[0-9]*.ipynb"))]
RUN = ("02_cosine_similarity.ipynb", "12_maml.ipynb", "18_fusion.ipynb")
MAX_SECONDS = 900  # of one chapter


@pytest.mark.site
def test_every_notebook_is_drawn_with_its_answers_folded(page, tmp_path):
    complaints = []
    with jupyterlab.lab(tmp_path, imports=False) as address:
        jupyterlab.enter(page, address)
        for name in NOTEBOOKS:
            complaints += [f"{name}: {complaint}" for complaint in jupyterlab.read(page, name)]
            page.evaluate(jupyterlab.CLOSE)
    assert len(NOTEBOOKS) >= 38
    assert complaints == []


@pytest.mark.site
@pytest.mark.data
def test_numbers_take_the_place_of_dashes_once_the_cells_have_run(page, tmp_path):
    complaints = []
    with jupyterlab.lab(tmp_path, imports=True) as address:
        jupyterlab.enter(page, address)
        for name in RUN:
            jupyterlab.read(page, name)
            complaints += [f"{name}: {complaint}" for complaint in jupyterlab.run(page, MAX_SECONDS)]
            page.evaluate(jupyterlab.CLOSE)
    assert complaints == []

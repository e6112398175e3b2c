"""A small site of one notebook: what JupyterLab understands is resolved by Sphinx, too."""

import json
import shutil
from pathlib import Path

import nbformat
import pytest
from bs4 import BeautifulSoup
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook, new_output
from sphinx.application import Sphinx

from book.tools import inline
from book.tools.code import ROOT
from llmrec_lite.glued import PREFIX

TEXT = """The gain is {eval}`glued.gain`, and {eval}`glued["low 1"]`.

By [Steck (2019)](#steck2019ease), [similar items](../book/glossary.md#term-item), and the
[errata](../book/errata.md#erratum-one): equation {eq}`eq-a`, {ref}`the exercise <ex-a>`.

```{math}
:label: eq-a
x = 1
```

```{exercise} Do it
:label: ex-a
Now.
```
"""
PAGES = {
    "index.md": "# Book\n\n```{toctree}\nnotebooks/02_two\nbook/glossary\nbook/errata\nbook/bibliography\n```\n",
    "book/glossary.md": "# Glossary\n\n```{glossary}\nitem\n  A film.\n```\n",
    "book/errata.md": "# Errata\n\n(erratum-one)=\n\n## One\n\nText.\n",
    "book/bibliography.md": "# Works\n\n```{bibliography}\n:all:\n```\n",
}


def value(name: str, text: str) -> dict:
    metadata = {"scrapbook": {"name": name, "mime_prefix": PREFIX}}
    return new_output("display_data", {f"{PREFIX}text/plain": repr(text)}, metadata=metadata)


@pytest.fixture
def built(tmp_path):
    """Build a site whose notebook has this text; return its page, its source, the copy to download and the warnings."""

    def build(text: str) -> tuple[BeautifulSoup, Path, list[str]]:
        for name, page in PAGES.items():
            (tmp_path / name).parent.mkdir(exist_ok=True)
            (tmp_path / name).write_text(page)
        shutil.copy(ROOT / "book" / "references.bib", tmp_path / "book")
        (tmp_path / "notebooks").mkdir()
        code = new_code_cell("glued.gain = 7", outputs=[value("gain", "7 of 9"), value("low 1", "so low")])
        cells = [new_markdown_cell(inline.front_matter(2) + "# Two"), code, new_markdown_cell(text)]
        language = {"language_info": {"name": "python", "pygments_lexer": "ipython3"}}
        nbformat.write(new_notebook(cells=cells, metadata=language), tmp_path / "notebooks" / "02_two.ipynb")
        extensions = ["myst_nb", "sphinxcontrib.bibtex", "sphinx_exercise", "llmrec_inline"]
        settings = {
            "extensions": extensions,
            "myst_enable_extensions": ["colon_fence", "dollarmath"],
            "nb_execution_mode": "off",
            "html_sourcelink_suffix": "",
            "bibtex_bibfiles": ["book/references.bib"],
            "suppress_warnings": ["myst.domains"],
        }
        with pytest.MonkeyPatch.context() as patch, (tmp_path / "warnings").open("w") as warnings:
            patch.syspath_prepend(ROOT / "book" / "_ext")
            out = tmp_path / "_build" / "html"
            folders = {"srcdir": tmp_path, "confdir": None, "outdir": out, "doctreedir": tmp_path / "_build" / "trees"}
            app = Sphinx(**folders, buildername="html", confoverrides=settings, status=None, warning=warnings)
            app.build()
        page = BeautifulSoup((out / "notebooks" / "02_two.html").read_text(), "html.parser")
        return page, out / "_sources" / "notebooks" / "02_two.ipynb", (tmp_path / "warnings").read_text().splitlines()

    return build


def test_values_links_and_the_copy_to_download(built):
    page, copy, warnings = built(TEXT)
    assert warnings == []
    words = page.find("div", role="main").get_text(" ", strip=True)
    assert "The gain is 7 of 9 , and so low" in words
    assert "numbering" not in words
    links = {link.get_text(strip=True): link["href"] for link in page.find_all("a", href=True)}
    assert links["Steck (2019)"].startswith("../book/bibliography.html#")
    assert links["similar items"] == "../book/glossary.html#term-item"
    assert links["errata"] == "../book/errata.html#erratum-one"
    copied = "".join("".join(cell["source"]) for cell in json.loads(copy.read_text())["cells"])
    assert "The gain is 7 of 9, and so low" in copied
    assert "(2.1)" in copied


@pytest.mark.parametrize(
    "text",
    ["{eval}`glued.lost`", "{eval}`other.gain`", "[Nobody (1999)](#nobody1999)", "[a](../book/glossary.md#term-lost)"],
)
def test_what_cannot_be_resolved_is_a_warning_that_fails_the_build_of_the_book(built, text):
    assert built(text)[2]

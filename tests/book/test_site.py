import json
import multiprocessing
import os
import threading
import time
import urllib.request

import pytest

from book.tools import site
from book.tools.site_checks import check_html
from llmrec_lite import assets
from tests.book.conftest import built_once

GOOD = """<!DOCTYPE html><html lang="en"><head><title>t</title><link rel="stylesheet" href="a.css"></head>
<body data-default-mode="auto"><h1 id="top">t</h1><a href="#top">up</a><a href="sub/b.html#there">b</a>
<a href="https://example.org/">elsewhere</a><img src="p.png" alt="A plot"><pre>{cite}`x` [y?]</pre></body></html>"""


@pytest.fixture
def pages(tmp_path):
    (tmp_path / "sub").mkdir()
    (tmp_path / "index.html").write_text(GOOD)
    (tmp_path / "sub/b.html").write_text("<html><body><h1 id='there'>b</h1></body></html>")
    (tmp_path / "a.css").write_text("body { background: url(p.png) }")
    (tmp_path / "p.png").write_bytes(b"")
    return tmp_path


def test_a_good_folder_has_no_complaints(pages):
    assert check_html(pages) == []


@pytest.mark.parametrize(
    ("fault", "complaint"),
    [
        ('<a href="gone.html">x</a>', "link to gone.html leads nowhere"),
        ('<a href="../secret">x</a>', "link to ../secret leads nowhere"),
        ('<a href="sub/b.html#gone">x</a>', "link to sub/b.html#gone: there is no such anchor"),
        ('<a href="#gone">x</a>', "link to #gone: there is no such anchor"),
        ('<script src="gone.js"></script>', "link to gone.js leads nowhere"),
        ('<meta http-equiv="Refresh" content="0; url=gone.html">', "link to gone.html leads nowhere"),
        ('<img src="p.png">', "image p.png has no alt text"),
        ('<img src="p.png" alt=" ">', "image p.png has no alt text"),
        ('<img src="p.png" alt="_images/ab12.png">', "image p.png has no alt text"),
        ('<script src="https://cdn.example/x.js"></script>', "loads https://cdn.example/x.js"),
        ('<script src="//cdn.example/x.js"></script>', "loads //cdn.example/x.js"),
        ('<img alt="a plot" src="http://cdn.example/x.png">', "loads http://cdn.example/x.png"),
        ('<link rel="preload" href="https://cdn.example/f.woff2">', "loads https://cdn.example/f.woff2"),
        ("<style>@import 'https://cdn.example/x.css';</style>", "loads https://cdn.example/x.css"),
        ('<p style="background: url(//cdn.example/x.png)">x</p>', "loads //cdn.example/x.png"),
        ('<div class="cell_output"><div class="output traceback">x</div></div>', "a cell ended in an error"),
        ('<div class="highlight-ipythontb"><pre>x</pre></div>', "a cell ended in an error"),
        ("<p>Traceback (most recent call last)</p>", "a cell ended in an error"),
        ("<p>{glue:text}`x`</p>", "unresolved {glue:text}"),
        ("<p>{cite:p}`x`</p>", "unresolved {cite:p}"),
        ("<p>see [he2017ncf?]</p>", "unresolved [he2017ncf?]"),
        ('<span class="problematic">x</span>', "Sphinx left a problem in the page"),
    ],
)
def test_each_fault_is_found(pages, fault, complaint):
    (pages / "index.html").write_text(GOOD.replace("</body>", fault + "</body>"))
    assert check_html(pages) == [f"index.html: {complaint}"]


def test_an_invalid_theme_mode_is_found(pages):
    (pages / "index.html").write_text(GOOD.replace('mode="auto"', 'mode=""'))
    assert check_html(pages) == ["index.html: invalid theme mode ''"]


def test_outside_addresses_in_style_sheets_are_found(pages):
    (pages / "a.css").write_text("@font-face { src: url('https://fonts.example/f.woff2') }")
    assert check_html(pages) == ["a.css: loads https://fonts.example/f.woff2"]


def test_a_missing_first_page_is_found(tmp_path):
    assert check_html(tmp_path) == ["index.html: missing"]


@pytest.fixture
def checkout(tmp_path, monkeypatch):
    """A small checkout with one chapter, and a cache of its own."""
    root = tmp_path / "checkout"
    for folder in ("llmrec_lite", "book", "notebooks"):
        (root / folder).mkdir(parents=True)
    (root / "llmrec_lite" / "one.py").write_text("X = 1\n")
    (root / "requirements.txt").write_text("numpy\n")
    (root / "_config.yml").write_text(
        "title: small\nonly_build_toc_files: true\nexecute: {execute_notebooks: cache}\n"
        "parse: {myst_enable_extensions: [dollarmath]}\n"
        f"sphinx:\n  local_extensions: {{llmrec_book: {site.ROOT / 'book' / '_ext'}}}\n  recursive_update: true\n"
        "  extra_extensions: [sphinx-mathjax-offline]\n  config:\n    html_context: {default_mode: auto}\n"
        "    nb_ipywidgets_js: {}\n    nb_execution_raise_on_error: true\n    nb_execution_show_tb: true\n"
    )
    (root / "book" / "_toc.yml").write_text(
        "format: jb-book\nroot: book/index\nchapters:\n- file: notebooks/01_small\n"
    )
    (root / "book" / "index.md").write_text("# Small\n\nWords.\n")
    monkeypatch.setenv("LLMREC_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(assets, "fetch", dict)
    return root


def write_chapter(checkout, *sources):
    cells = [{"cell_type": "markdown", "id": "title", "metadata": {}, "source": "# A chapter"}]
    for number, source in enumerate(sources):
        cells.append(
            {
                "cell_type": "code",
                "id": f"c{number}",
                "metadata": {},
                "source": source,
                "outputs": [],
                "execution_count": None,
            }
        )
    kernel = {"kernelspec": {"name": "python3", "display_name": "Python 3", "language": "python"}}
    notebook = {"nbformat": 4, "nbformat_minor": 5, "metadata": kernel, "cells": cells}
    (checkout / "notebooks" / "01_small.ipynb").write_text(json.dumps(notebook))


def put(checkout, path, text):
    (checkout / path).parent.mkdir(parents=True, exist_ok=True)
    (checkout / path).write_text(text)


@pytest.mark.parametrize(
    ("path", "text"),
    [
        ("llmrec_lite/one.py", "X = 2\n"),
        ("llmrec_lite/meta/two.py", ""),
        ("requirements.txt", "scipy\n"),
        ("book/results/top10.json", '{"date": "today", "result": {"ndcg": 0.6}}'),
        ("book/results/new.json", '{"result": {}}'),
    ],
)
def test_what_chapters_rest_on_changes_the_fingerprint(checkout, path, text):
    put(checkout, "book/results/top10.json", '{"date": "today", "result": {"ndcg": 0.5}}')
    first = site.fingerprint(checkout)
    put(checkout, path, text)
    assert site.fingerprint(checkout) != first


@pytest.mark.parametrize(
    ("path", "text"),
    [
        ("notebooks/02_other.ipynb", "{}"),
        ("book/tools/site.py", "X = 2\n"),
        ("book/experiments/ch03.py", "X = 2\n"),
        ("llmrec_lite/cli/main.py", "X = 2\n"),
        ("llmrec_lite/one.py", '"""What it is."""\n\nX = 1  # one\n'),
        ("book/results/top10.json", '{"date": "today", "checked": {"code": "1"}, "result": {"ndcg": 0.5}}'),
    ],
)
def test_tools_and_prose_do_not(checkout, path, text):
    put(checkout, "book/results/top10.json", '{"date": "today", "result": {"ndcg": 0.5}}')
    first = site.fingerprint(checkout)
    put(checkout, path, text)
    assert site.fingerprint(checkout) == first


def test_only_the_newest_two_folders_of_executed_chapters_are_kept(checkout):
    folders = []
    for version in range(4):
        (checkout / "llmrec_lite" / "one.py").write_text(f"X = {version}\n")
        folders.append(site.executed_folder(checkout))
        os.utime(folders[-1], (version, version))
    assert [folder.exists() for folder in folders] == [False, False, True, True]
    assert (folders[-1] / "records").is_dir()


def test_fresh_forgets_what_was_executed(checkout):
    folder = site.executed_folder(checkout)
    (folder / "old").touch()
    assert (site.executed_folder(checkout) / "old").exists()
    assert not (site.executed_folder(checkout, fresh=True) / "old").exists()


@pytest.mark.site
def test_a_chapter_is_executed_once_and_remembered(checkout, capfd):
    write_chapter(
        checkout, "import os\nfrom pathlib import Path\nPath(os.environ['LLMREC_RECORDS'], 'n').open('a').write('x')"
    )
    for _ in range(2):
        folder = site.build(checkout)
    count = site.executed_folder(checkout) / "records" / "n"
    assert count.read_text() == "x"
    assert "The book is at" in capfd.readouterr().out
    assert "book/index.html" in (folder / "index.html").read_text()
    (checkout / "llmrec_lite" / "one.py").write_text("X = 2\n")
    site.build(checkout)
    assert (site.executed_folder(checkout) / "records" / "n").read_text() == "x"
    site.build(checkout, fresh=True)
    assert (site.executed_folder(checkout) / "records" / "n").read_text() == "x"


@pytest.mark.site
def test_a_crashed_cell_fails_the_build_every_time_and_is_named(checkout):
    write_chapter(checkout, "x = 1", "y = x / 0\nprint(y)", "x")
    for _ in range(2):
        with pytest.raises(site.SiteError, match=r"01_small\.ipynb.* 3 .*ZeroDivisionError"):
            site.build(checkout)


@pytest.mark.site
def test_a_dead_kernel_fails_the_build_and_is_named(checkout):
    write_chapter(checkout, "import os\nos._exit(1)")
    with pytest.raises(site.SiteError, match="01_small"):
        site.build(checkout)


@pytest.mark.site
def test_a_warning_fails_the_build(checkout):
    write_chapter(checkout, "1")
    (checkout / "book" / "index.md").write_text("# Small\n\n[gone](gone.md)\n")
    with pytest.raises(site.SiteError):
        site.build(checkout)


@pytest.mark.site
def test_a_page_that_fails_a_check_fails_the_build(checkout):
    write_chapter(checkout, "1")
    (checkout / "book" / "index.md").write_text('# Small\n\n<img src="https://example.org/x.png">\n')
    with pytest.raises(site.SiteError, match=r"https://example\.org/x\.png"):
        site.build(checkout)


def test_the_command_tells_a_failure_and_its_mend(monkeypatch, capsys):
    def fail(fresh):
        raise site.SiteError("notebooks/01.ipynb, cell 3")

    monkeypatch.setattr(site, "build", fail)
    assert site.main(["build", "--fresh"]) == 1
    assert "notebooks/01.ipynb, cell 3" in capsys.readouterr().err


def test_serving_needs_a_site_and_a_free_port(pages, tmp_path):
    with pytest.raises(site.SiteError, match="make book"):
        site.serve(tmp_path / "none")
    server = site.make_server(pages, 0)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{server.server_port}/index.html") as answer:
            assert b"A plot" in answer.read()
        with pytest.raises(site.SiteError, match="--port"):
            site.make_server(pages, server.server_port)
    finally:
        server.shutdown()
        server.server_close()


def _take_site(shared, fails, results):
    def build():
        with (shared / "builds").open("a") as log:
            log.write("x")
        time.sleep(0.2)
        if fails:
            raise site.SiteError("cell 3")
        return shared / "html"

    try:
        results.put(str(built_once(shared, build)))
    except site.SiteError as error:
        results.put(str(error))


@pytest.mark.parametrize("fails", [False, True])
def test_several_processes_build_the_site_once(tmp_path, fails):
    context = multiprocessing.get_context("fork")
    results = context.Queue()
    processes = [context.Process(target=_take_site, args=(tmp_path, fails, results)) for _ in range(3)]
    for process in processes:
        process.start()
    found = {results.get(timeout=60) for _ in processes}
    for process in processes:
        process.join()
    assert found == {"SiteError: cell 3" if fails else str(tmp_path / "html")}
    assert (tmp_path / "builds").read_text() == "x"

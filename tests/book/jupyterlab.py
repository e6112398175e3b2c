"""A JupyterLab as `make lab` starts it, on a copy of the notebooks, and what a reader must not meet in one of them."""

import contextlib
import os
import shutil
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import nbformat
from playwright.sync_api import Page

from book.tools.checks.markdown import blocks, walk
from book.tools.code import ROOT
from book.tools.inline import FOLDED

START_SECONDS = 120
OPEN = """async path => {
    const app = window.jupyterapp;
    const panel = await app.commands.execute('docmanager:open', { path });
    await panel.context.ready;
    window.panel = panel;
}"""
CLOSE = """async () => {
    await window.panel.sessionContext.ready;
    await window.panel.sessionContext.shutdown();
    window.panel.dispose();
}"""
# What stands in the markdown cells: raw syntax, names of variables, open answers, what could not be resolved.
LOOK = r"""() => {
    const found = [], cells = [...window.panel.node.querySelectorAll('.jp-MarkdownCell')];
    for (const cell of cells) {
        const text = cell.querySelector('.myst');
        if (!text || !text.textContent.trim()) { found.push('a cell is not drawn yet'); continue; }
        const copy = text.cloneNode(true);
        if (/\bglued\b/.test(copy.textContent)) found.push(`a variable's name: ${copy.textContent.slice(0, 60)}`);
        copy.querySelectorAll('code, pre, .katex, .myst-code').forEach(node => node.remove());
        const raw = copy.textContent.match(/:::.{0,30}|```.{0,30}|\{[a-z:-]+\}.{0,30}|^\([\w:-]+\)=/m);
        if (raw) found.push(`raw syntax: ${raw[0]}`);
        for (const open of text.querySelectorAll('details[open]'))
            found.push(`open: ${open.textContent.slice(0, 60)}`);
        for (const lost of text.querySelectorAll('.katex-error, [title="Citation Not Found"], a[href="#"]'))
            found.push(`not resolved: ${lost.textContent.slice(0, 60)}`);
    }
    return {
        found,
        folded: window.panel.node.querySelectorAll('.jp-MarkdownCell .myst details').length,
        hidden: window.panel.content.widgets.filter(one => one.model.type === 'code' && one.inputHidden).length,
    };
}"""
# Whether all cells have run, and each expression of the text with its value and whether the reader sees it.
STATE = """() => {
    const cells = window.panel.content.widgets, kernel = window.panel.sessionContext.session?.kernel;
    const code = cells.filter(one => one.model.type === 'code' && one.model.sharedModel.getSource().trim());
    const failed = code.filter(one => one.model.outputs.toJSON().some(output => output.output_type === 'error'));
    const values = cells.filter(one => one.model.type === 'markdown').flatMap(one =>
        (one.model.getMetadata('user_expressions') ?? []).map(({ expression, result }) => {
            const value = (result.data?.['text/plain'] ?? '').slice(1, -1);
            return { expression, value, shown: result.status === 'ok' && one.node.textContent.includes(value) };
        }));
    return {
        busy: kernel?.status !== 'idle' || code.some(one => one.prompt === '*'),
        executed: code.filter(one => one.model.executionCount !== null).length, code: code.length,
        failed: failed.map(one => one.model.sharedModel.getSource().slice(0, 80)), values,
    };
}"""


@contextlib.contextmanager
def lab(folder: Path, imports: bool) -> Iterator[str]:
    """Start JupyterLab on a copy of the notebooks; give its address, which ends with a slash.

    Args:
        folder: an empty one for all that it writes.
        imports: whether kernels import the package as they start, which takes a few seconds each.
    """
    root = folder / "root"
    shutil.copytree(ROOT / "notebooks", root / "notebooks", ignore=shutil.ignore_patterns(".ipynb_checkpoints"))
    (root / "book").mkdir()
    for page in (ROOT / "book").glob("*.md"):
        shutil.copy(page, root / "book")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    environment = {
        **os.environ,
        **{f"JUPYTER_{kind}_DIR": str(folder / kind.lower()) for kind in ("CONFIG", "DATA", "RUNTIME")},
        **{f"JUPYTERLAB_{kind}_DIR": str(folder / kind.lower()) for kind in ("SETTINGS", "WORKSPACES")},
        "JUPYTER_CONFIG_PATH": str(ROOT / "book" / "lab"),
        "PYTHONSTARTUP": str(ROOT / "book" / "lab" / "startup.py") if imports else "",
        "PYTHONPATH": str(ROOT),
        "LLMREC_RECORDS": str(folder / "records"),
        "LLMREC_RESULTS": str(ROOT / "book" / "results"),
        "OMP_NUM_THREADS": "1",  # other tests run beside it
    }
    command = [sys.executable, "-m", "jupyterlab", "--no-browser", "--allow-root", "--expose-app-in-browser"]
    command += [f"--ServerApp.port={port}", "--ServerApp.port_retries=0", f"--ServerApp.root_dir={root}"]
    command += ["--IdentityProvider.token="]
    with (folder / "log").open("w") as log:
        server = subprocess.Popen(command, cwd=root, env=environment, stdout=log, stderr=log)
    try:
        address = f"http://127.0.0.1:{port}/"
        _wait_for(address, server, folder / "log")
        yield address
    finally:
        server.terminate()  # shuts the kernels down
        try:
            server.wait(timeout=30)
        except subprocess.TimeoutExpired:
            server.kill()


def _wait_for(address: str, server: subprocess.Popen, log: Path) -> None:
    end = time.monotonic() + START_SECONDS
    while time.monotonic() < end and server.poll() is None:
        try:
            with urllib.request.urlopen(address + "api", timeout=5):
                return
        except OSError:
            time.sleep(0.3)
    raise RuntimeError(f"JupyterLab did not start:\n{log.read_text()[-2000:]}")


def enter(page: Page, address: str) -> None:
    """Load JupyterLab."""
    page.goto(f"{address}lab?reset", wait_until="domcontentloaded")
    page.wait_for_function("window.jupyterapp !== undefined", timeout=START_SECONDS * 1000)
    page.evaluate("window.jupyterapp.restored.then(() => true)")


def read(page: Page, notebook: str, seconds: float = 40) -> list[str]:
    """Open a notebook; return what a reader must not meet, once it is drawn and stays so."""
    source = nbformat.read(ROOT / "notebooks" / notebook, as_version=4)
    folded = sum(directive.folded for directive in walk(blocks(source)))
    hidden = sum(c.cell_type == "code" and bool(FOLDED.intersection(c.metadata.get("tags", []))) for c in source.cells)
    page.evaluate(OPEN, f"notebooks/{notebook}")
    end = time.monotonic() + seconds
    while True:
        seen = page.evaluate(LOOK)
        found = seen["found"]
        if seen["folded"] != folded:
            found.append(f"{seen['folded']} folded boxes in place of {folded}")
        if seen["hidden"] != hidden:
            found.append(f"{seen['hidden']} cells with folded code in place of {hidden}")
        if not found or time.monotonic() > end:
            return found
        page.wait_for_timeout(250)


def run(page: Page, seconds: float) -> list[str]:
    """Run all cells of the notebook that is open; return what is wrong with the numbers of its text."""
    page.evaluate("window.panel.sessionContext.ready.then(() => true)")
    page.evaluate("() => { window.jupyterapp.commands.execute('notebook:run-all-cells'); }")
    end, found = time.monotonic() + seconds, ["it has not run"]
    while found and time.monotonic() < end:
        page.wait_for_timeout(500)
        state = page.evaluate(STATE)
        if state["failed"]:
            return [f"failed: {source}" for source in state["failed"]]
        if state["busy"] or state["executed"] < state["code"]:
            found = [f"{state['executed']} of {state['code']} cells have run"]
            continue
        found = [
            f"{one['expression']} is {one['value']!r}"
            for one in state["values"]
            if not one["shown"] or not any(map(str.isalnum, one["value"]))
        ]
        found = found if state["values"] else ["its text shows no numbers"]
    return found

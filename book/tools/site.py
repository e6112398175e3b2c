"""Build the book's site, check it, and show it: ``python -m book.tools.site build [--fresh]`` and ``serve``.

The build executes every chapter, remembers what it executed, and lets Jupyter Book write the pages. What was
executed is kept in the user's cache folder, under the `fingerprint` of all that chapters rest on, so that a second
clone is warm and a change of the package starts afresh (the execution cache itself sees only the notebooks).
"""

import argparse
import contextlib
import functools
import hashlib
import http.server
import json
import os
import re
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

from filelock import FileLock, Timeout

from book.tools.code import ROOT, code_hash
from book.tools.site_checks import check_html
from llmrec_lite import assets

ANSI = re.compile(r"\x1b\[[0-9;]*m")
FAILED = re.compile(
    r"^(\S+\.ipynb): WARNING: Executing notebook failed: (\w+)(.*?)(?:\[mystnb\.exec\]|\Z)", re.M | re.S
)
QUOTED = re.compile(r"^-{10,}\n(.*?)\n-{10,}$", re.M | re.S)


class SiteError(RuntimeError):
    """The site cannot be built or served. The message says what to do."""


def fingerprint(root: Path = ROOT) -> str:
    """Hash what an executed chapter rests on, and nothing else.

    That is every module that a chapter can import (the command line is none), the requirements, and what chapters
    can show of the committed results. Comments and docstrings do not count, nor which code a result was checked with.
    """
    package = root / "llmrec_lite"
    modules = [file for file in package.rglob("*.py") if file.relative_to(package).parts[0] != "cli"]
    digest = hashlib.sha256(code_hash(modules, root).encode() + (root / "requirements.txt").read_bytes())
    for file in sorted((root / "book" / "results").glob("*.json")):
        shown = {key: value for key, value in json.loads(file.read_text("utf-8")).items() if key != "checked"}
        digest.update(f"{file.name}\0{json.dumps(shown, sort_keys=True)}\0".encode())
    return digest.hexdigest()[:16]


def executed_folder(root: Path = ROOT, fresh: bool = False) -> Path:
    """Make and return the folder of executed chapters that fits this code; forget all but the newest two.

    Args:
        root: The checkout.
        fresh: Forget what this very code has executed, too.
    """
    folder = assets.cache_dir() / "executed" / fingerprint(root)
    if fresh and folder.exists():
        shutil.rmtree(folder)
    (folder / "records").mkdir(parents=True, exist_ok=True)
    os.utime(folder)
    others = sorted((f for f in folder.parent.iterdir() if f.is_dir() and f != folder), key=lambda f: f.stat().st_mtime)
    for old in others[:-1]:
        shutil.rmtree(old, ignore_errors=True)
    return folder


def build(root: Path = ROOT, fresh: bool = False) -> Path:
    """Fetch the data, execute the chapters, write the site and check its pages.

    Args:
        root: The checkout; the site goes to its ``_build/html``.
        fresh: Execute every chapter again.

    Returns:
        The folder of the site.

    Raises:
        SiteError: A chapter crashed, Sphinx warned, or a page fails a check.
        llmrec_lite.assets.AssetError: The data cannot be fetched.
    """
    begun = time.monotonic()
    assets.fetch()
    site = root / "_build" / "html"
    for stale in (site, root / "_build" / ".doctrees", root / "_build" / "jupyter_execute"):
        shutil.rmtree(stale, ignore_errors=True)
    with _one_build_at_a_time():
        code, log = _run_jupyter_book(root, executed_folder(root, fresh))
    if code:
        reasons = failed_cells(log) or ["see the warnings above"]
        raise SiteError("The book was not built:\n" + "\n".join(f"  {reason}" for reason in reasons))
    if complaints := check_html(site):
        raise SiteError("The pages were built, but:\n" + "\n".join(f"  {complaint}" for complaint in complaints))
    size = sum(file.stat().st_size for file in site.rglob("*") if file.is_file())
    minutes = (time.monotonic() - begun) / 60
    print(f"\nThe book is at {site / 'index.html'} ({size / 2**20:.0f} MB, built in {minutes:.1f} minutes).")
    print("To read it: make serve")
    return site


@contextlib.contextmanager
def _one_build_at_a_time() -> Iterator[None]:
    """Keep two clones from writing to the executed chapters at once."""
    folder = assets.cache_dir() / "executed"
    folder.mkdir(parents=True, exist_ok=True)
    lock = FileLock(folder / ".lock")
    try:
        lock.acquire(timeout=0)
    except Timeout:
        print("Another build is running on this machine; waiting for it to end.", flush=True)
        lock.acquire()
    try:
        yield
    finally:
        lock.release()


def build_environment(executed: Path) -> dict[str, str]:
    """Environment variables of the processes that execute the chapters and write the pages."""
    return {
        "OMP_NUM_THREADS": "1",  # chapters run side by side, and results must not depend on how many cores there are
        **os.environ,
        "LLMREC_EXECUTED": str(executed),
        "LLMREC_RECORDS": str(executed / "records"),
        "PYTHONPATH": os.pathsep.join(filter(None, [str(ROOT), os.environ.get("PYTHONPATH")])),  # for book.experiments
        "PYTHONHASHSEED": "0",
        "PYTHONUNBUFFERED": "1",
    }


def _run_jupyter_book(root: Path, executed: Path) -> tuple[int, str]:
    """Execute the chapters and run jupyter-book; show its output as it comes, return its exit status and output."""
    environment = build_environment(executed)
    subprocess.run([sys.executable, "-m", "book.tools.execute", str(root), str(executed)], env=environment, check=True)
    command = [sys.executable, "-c", "from jupyter_book.cli.main import main; main()", "build", "."]
    command += ["--toc", "book/_toc.yml", "-W", "-n", "--keep-going"]
    process = subprocess.Popen(
        command,
        cwd=root,
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        encoding="utf-8",
        errors="replace",
    )
    assert process.stdout is not None
    lines = []
    for line in process.stdout:
        print(line, end="", flush=True)
        lines.append(line)
    return process.wait(), ANSI.sub("", "".join(lines))


def failed_cells(log: str) -> list[str]:
    """Name the notebook and the cell of every crash that a build log tells of."""
    found = []
    for path, kind, rest in FAILED.findall(log):
        where = f"{Path(path).parent.name}/{Path(path).name}"
        quoted = QUOTED.search(rest)
        cells = json.loads(Path(path).read_text(encoding="utf-8"))["cells"] if Path(path).exists() else []
        sources = ["".join(cell["source"]).strip() if cell["cell_type"] == "code" else None for cell in cells]
        if quoted and quoted[1].strip() in sources:
            where += f", cell {sources.index(quoted[1].strip()) + 1} of {len(cells)}"
        errors = re.findall(r"^\w*(?:Error|Exception|Interrupt|Exit|Warning)\b.*$", rest, re.M)
        found.append(f"{where}: {errors[-1] if errors else kind}")
    if not found and re.search(r"Exception occurred|DeadKernelError", log):
        pages = re.findall(r"reading sources\.\.\. \[\s*\d+%\] (\S+)", log)
        found = [f"the build broke at page {pages[-1]}"] if pages else []
    return found


def make_server(site: Path, port: int) -> http.server.ThreadingHTTPServer:
    """Return a server of a built site that only this machine can reach; port 0 takes any free one.

    Raises:
        SiteError: There is no site yet, or the port is taken.
    """
    if not (site / "index.html").exists():
        raise SiteError(f"There is no site at {site} yet. Build it first: make book")
    handler = functools.partial(http.server.SimpleHTTPRequestHandler, directory=str(site))
    try:
        return http.server.ThreadingHTTPServer(("127.0.0.1", port), handler)
    except OSError as error:
        raise SiteError(f"Port {port} cannot be used ({error}). Name another: --port {port + 1}") from error


def serve(site: Path = ROOT / "_build" / "html", port: int = 8000) -> None:
    """Serve a built site on this machine until interrupted."""
    with make_server(site, port) as server:
        print(f"The book is at http://127.0.0.1:{server.server_port}/ (Ctrl+C ends it)", flush=True)
        with contextlib.suppress(KeyboardInterrupt):
            server.serve_forever()


def main(arguments: list[str] | None = None) -> int:
    """Run the command line; return its exit status."""
    parser = argparse.ArgumentParser(prog="python -m book.tools.site", description="Build or show the book's site.")
    verbs = parser.add_subparsers(dest="verb", required=True)
    verbs.add_parser("build", help="execute the chapters and write the site").add_argument(
        "--fresh", action="store_true", help="forget what was executed before"
    )
    verbs.add_parser("serve", help="show the built site").add_argument("--port", type=int, default=8000)
    options = parser.parse_args(arguments)
    try:
        if options.verb == "build":
            build(fresh=options.fresh)
        else:
            serve(port=options.port)
    except (SiteError, assets.AssetError) as error:
        print(f"\n{error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())

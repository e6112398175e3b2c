"""Looks at the reader's machine and says how to put right what is missing: `make doctor`.

Importing this module is cheap. Each check imports what it looks at itself, so a broken torch or Jupyter is a
line of the report and not a traceback.
"""

import importlib.metadata
import os
import re
import shutil
import sys
import sysconfig
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from platformdirs import user_cache_path
from rich import box
from rich.console import Console
from rich.table import Table
from rich.text import Text

from book.tools.code import ROOT
from llmrec_lite import assets

REQUIREMENTS = ROOT / "requirements.txt"
REINSTALL = "python -m pip install -r requirements.txt"
BROWSERS = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable", "chrome")
GIGABYTE = 10**9


@dataclass(frozen=True)
class Check:
    """One line of the report.

    Attributes:
        name: What was looked at.
        ok: True when all is well.
        found: What is there.
        fix: What to do when it is not well; empty when it is.
        level: How bad a check that is not ok is: "fail" stops the book, "warn" stops a part of it.
    """

    name: str
    ok: bool
    found: str
    fix: str = ""
    level: Literal["fail", "warn"] = "fail"


def checks() -> list[Check]:
    """Make every check; nothing on the machine is changed."""
    return [
        _python(),
        _environment(),
        _versions(),
        _torch(),
        _memory(),
        _disk(),
        _cache(),
        *(_asset(name) for name in assets.ASSETS),
        _kernel(),
        _browser(),
        _command(),
    ]


def run(console: Console | None = None) -> int:
    """Print the checks as a table.

    Args:
        console: Where to print; None means standard output.

    Returns:
        1 when a check of level "fail" is not ok, else 0: the exit status of `make doctor`.
    """
    console = console or Console()
    table = Table("", "check", box=box.SIMPLE_HEAD)
    for header in ("found", "how to fix it"):
        table.add_column(header, overflow="fold")  # paths and commands are shown whole
    made = checks()
    for check in made:
        word, style = ("ok", "green") if check.ok else (check.level, "red" if check.level == "fail" else "yellow")
        # Text, because a path may hold square brackets, which rich reads as markup.
        table.add_row(Text(word, style), Text(check.name), Text(check.found), Text(check.fix))
    console.print(table)
    failed = [check.name for check in made if not check.ok and check.level == "fail"]
    warned = [check.name for check in made if not check.ok and check.level == "warn"]
    for word, names in (("To fix", failed), ("Worth a look", warned)):
        if names:
            console.print(Text(f"{word}: {', '.join(names)}."))
    if not failed:
        console.print("This machine can build the book.")
    return 1 if failed else 0


def _verdict(name: str, ok: bool, found: str, fix: str, level: Literal["fail", "warn"] = "fail") -> Check:
    return Check(name, ok, found, "" if ok else fix, level)


def _here(program: str | Path) -> bool:
    """Say whether a program lies in the folder of this environment's programs."""
    # The folder is resolved and the program is not: python itself is a link out of the environment.
    folders = {Path(sysconfig.get_path("scripts")).resolve(), Path(sys.executable).parent.resolve()}
    return Path(program).parent.resolve() in folders


def _python() -> Check:
    found = ".".join(map(str, sys.version_info[:3]))
    fix = "Install Python 3.11 or later, then: make clean book PYTHON=python3.12 (the name of yours)"
    return _verdict("Python 3.11 or later", sys.version_info >= (3, 11), found, fix)


def _environment() -> Check:
    ok = sys.prefix != sys.base_prefix or "CONDA_PREFIX" in os.environ
    fix = "Run `make test` once, which makes .venv, then: source .venv/bin/activate"
    return _verdict("virtual environment", ok, sys.prefix, fix, "warn")


def _versions() -> Check:
    name = "pinned versions"
    if not REQUIREMENTS.is_file():
        return Check(name, True, "no requirements.txt beside the package, nothing to compare with")
    wrong = []
    pins = re.findall(r"^([\w.-]+)==([^\s;#]+)", REQUIREMENTS.read_text("utf-8"), re.MULTILINE)
    for package, pin in pins:
        try:
            installed = importlib.metadata.version(package)
        except importlib.metadata.PackageNotFoundError:
            wrong.append(f"{package} is missing")
            continue
        if installed.partition("+")[0] != pin:  # 2.13.0+cpu is a build of 2.13.0
            wrong.append(f"{package} is {installed}, not {pin}")
    return _verdict(name, not wrong, "; ".join(wrong) or f"all {len(pins)}", REINSTALL, "warn")


def _torch() -> Check:
    name = "torch"
    try:
        import torch

        cuda = torch.cuda.is_available()
        device = torch.cuda.get_device_name(0) if cuda else f"CPU with {torch.get_num_threads()} threads"
    except (ImportError, OSError, RuntimeError) as error:  # OSError: a library of the system is missing
        return Check(name, False, f"does not work: {error}", REINSTALL)
    return Check(name, True, f"{torch.__version__} on {device}")


def _memory() -> Check:
    name = "memory available"
    try:
        import psutil  # type: ignore[import-untyped]
    except ImportError:
        return Check(name, False, "unknown, because psutil is not installed", REINSTALL, "warn")
    available = psutil.virtual_memory().available
    fix = "Close other programs; the book needs 4 GB free, and some later chapters would crash"
    return _verdict(name, available >= 4 * GIGABYTE, f"{available / GIGABYTE:.1f} GB", fix, "warn")


def _nearest(folder: Path) -> Path:
    """Return the folder itself, or the nearest one above it that exists."""
    return next(place for place in (folder, *folder.parents) if os.path.exists(place))


def _disk() -> Check:
    folder = assets.cache_dir()
    free = shutil.disk_usage(_nearest(folder)).free
    fix = "Make room, or set the environment variable LLMREC_CACHE to a folder on another disk"
    found = f"{free / GIGABYTE:.1f} GB free for {folder}"
    return _verdict("disk", free >= GIGABYTE, found, fix, "warn")


def _cache() -> Check:
    name, folder = "cache folder is writable", assets.cache_dir()
    fix = "Make it writable, or set the environment variable LLMREC_CACHE to a folder of yours"
    try:
        with tempfile.TemporaryFile(dir=_nearest(folder)):
            return Check(name, True, str(folder))
    except OSError as error:
        # A class may share a full cache that nobody may change: then only new downloads fail.
        level: Literal["fail", "warn"] = "warn" if assets.is_present("movielens-100k") else "fail"
        return Check(name, False, f"{folder}: {error}", fix, level)


def _asset(name: str) -> Check:
    asset = assets.ASSETS[name]
    special = {"movielens-100k": "All chapters need it", "movielens-titles": "Part IV needs it"}
    needed = special.get(name, "Part II needs it")
    fix = f"{needed}: llmrec fetch {name} ({asset.bytes / 1e6:.0f} MB)"
    ok = assets.is_present(name)
    return _verdict(f"asset {name}", ok, "present" if ok else "not in the cache folder", fix, "warn")


def _kernel() -> Check:
    name = "Jupyter kernel python3"
    fix = "python -m ipykernel install --sys-prefix --name python3"
    try:
        from jupyter_client.kernelspec import KernelSpecManager, NoSuchKernel
    except ImportError as error:
        return Check(name, False, f"Jupyter cannot be imported: {error}", REINSTALL)
    try:
        program = KernelSpecManager().get_kernel_spec("python3").argv[0]
    except (NoSuchKernel, OSError, ValueError, IndexError) as error:
        return Check(name, False, f"not found or unreadable: {error!r}", fix)
    # Jupyter starts its own interpreter where the kernel says just "python".
    if program in {"python", "python3", f"python3.{sys.version_info.minor}"}:
        program = sys.executable
    if not Path(program).is_file():
        return Check(name, False, f"starts {program}, which does not exist", fix)
    return _verdict(name, _here(program), f"starts {program}", fix)


def _browser() -> Check:
    # Playwright keeps its own browsers; asking it would start a server, so we look where it puts them.
    home = os.environ.get("PLAYWRIGHT_BROWSERS_PATH") or user_cache_path("ms-playwright", False, opinion=False)
    own = sorted(Path(home).glob("chromium*"))
    found = next(filter(None, map(shutil.which, BROWSERS)), None) or (str(own[-1]) if own else "")
    fix = "Only the tests of the site need it: playwright install chromium, or your system's package chromium"
    return _verdict("Chromium", bool(found), found or "not found", fix, "warn")


def _command() -> Check:
    found = shutil.which("llmrec")
    fix = f"Activate this environment, or type {Path(sysconfig.get_path('scripts')) / 'llmrec'} in full"
    found_here = found is not None and _here(found)
    return _verdict("command llmrec", found_here, found or "not on PATH", fix, "warn")


if __name__ == "__main__":
    sys.exit(run())

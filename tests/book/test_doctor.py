"""The doctor's checks on well and ill machines, and its report."""

import importlib.metadata
import io
import json
import shutil
import subprocess
import sys
import sysconfig
from pathlib import Path
from types import SimpleNamespace
from typing import NamedTuple

import jupyter_client.kernelspec  # noqa: F401  (before a test changes what Python says of itself)
import psutil
import pytest
import torch
from rich.console import Console

from book.tools import doctor
from book.tools.doctor import Check
from llmrec_lite import assets

SCRIPTS = Path(sysconfig.get_path("scripts"))


class Version(NamedTuple):
    major: int
    minor: int
    micro: int


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch) -> Path:
    folder = tmp_path / "not made yet" / "cache"
    monkeypatch.setenv("LLMREC_CACHE", str(folder))
    return folder


def check(name: str) -> Check:
    """Make all checks and return the one whose name begins like this."""
    (found,) = [line for line in doctor.checks() if line.name.startswith(name)]
    return found


def ill(name: str, level: str, *values: str) -> None:
    """Assert that a check fails at this level and that its line names these values."""
    line = check(name)
    assert not line.ok
    assert line.level == level
    assert line.fix
    for value in values:
        assert value in f"{line.found}\n{line.fix}"


def well(name: str, *values: str) -> None:
    line = check(name)
    assert line.ok
    assert line.fix == ""
    for value in values:
        assert value in line.found


def test_python_version(monkeypatch):
    for version in (Version(3, 11, 0), Version(3, 14, 2), Version(4, 0, 0)):
        monkeypatch.setattr(sys, "version_info", version)
        well("Python", ".".join(map(str, version)))
    monkeypatch.setattr(sys, "version_info", Version(3, 10, 14))
    ill("Python", "fail", "3.10.14")


def test_virtual_environment(monkeypatch):
    monkeypatch.setattr(sys, "base_prefix", "/base")
    monkeypatch.delenv("CONDA_PREFIX", raising=False)
    monkeypatch.setattr(sys, "prefix", "/base/venv")
    well("virtual environment", "/base/venv")
    monkeypatch.setattr(sys, "prefix", "/base")
    ill("virtual environment", "warn")
    monkeypatch.setenv("CONDA_PREFIX", "/base")
    well("virtual environment")


def test_pinned_versions(monkeypatch, tmp_path):
    installed = {"one": "1.0+cpu", "two-b": "2.0", "three": "3.5.post1"}

    def version(name: str) -> str:
        if name not in installed:
            raise importlib.metadata.PackageNotFoundError(name)
        return installed[name]

    assert "torch==" in doctor.REQUIREMENTS.read_text("utf-8")
    monkeypatch.setattr(importlib.metadata, "version", version)
    monkeypatch.setattr(doctor, "REQUIREMENTS", tmp_path / "requirements.txt")
    well("pinned versions")  # nothing to compare with
    pins = "# a comment, one==9\none==1.0\ntwo-b==2.0  # why\n\nthree==3.5.post1; python_version > '3'\n"
    doctor.REQUIREMENTS.write_text(pins, "utf-8")
    well("pinned versions", "3")
    doctor.REQUIREMENTS.write_text(pins.replace("b==2.0", "b==2.1") + "absent==1.0\n", "utf-8")
    ill("pinned versions", "warn", "two-b", "2.0", "2.1", "absent", "requirements.txt")
    assert "one" not in check("pinned versions").found
    assert "three" not in check("pinned versions").found


def test_torch_and_its_device(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr(torch, "get_num_threads", lambda: 7)
    well("torch", torch.__version__, "CPU", "7")
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda index: f"Big GPU {index}")
    well("torch", "Big GPU 0")

    def broken() -> bool:
        raise RuntimeError("driver too old")

    monkeypatch.setattr(torch.cuda, "is_available", broken)
    ill("torch", "fail", "driver too old")


@pytest.mark.parametrize(
    ("module", "name", "level"),
    [
        ("torch", "torch", "fail"),
        ("psutil", "memory", "warn"),
        ("jupyter_client.kernelspec", "Jupyter kernel", "fail"),
    ],
)
def test_a_package_that_is_missing_is_a_line_and_not_a_traceback(monkeypatch, module, name, level):
    monkeypatch.setitem(sys.modules, module, None)
    ill(name, level, module.partition(".")[0], "requirements.txt")


def test_memory_and_disk(monkeypatch, tmp_path, cache):
    asked = []
    for memory, disk, verdict in ((4.0e9, 1.0e9, well), (3.9e9, 0.9e9, lambda *line: ill(line[0], "warn", *line[1:]))):
        state, room = SimpleNamespace(available=int(memory)), SimpleNamespace(free=int(disk))
        monkeypatch.setattr(psutil, "virtual_memory", lambda state=state: state)
        monkeypatch.setattr(shutil, "disk_usage", lambda folder, room=room: asked.append(folder) or room)
        verdict("memory", f"{memory / 1e9} GB")
        verdict("disk", f"{disk / 1e9} GB", str(cache))
    assert set(asked) == {tmp_path}  # the nearest folder that exists


def test_cache_folder(monkeypatch, tmp_path, cache):
    well("cache", str(cache))
    assert list(tmp_path.iterdir()) == []  # looking has made nothing
    cache.parent.mkdir()
    cache.write_text("a file where the folder should be", "utf-8")
    ill("cache", "fail", str(cache), "LLMREC_CACHE")
    monkeypatch.setattr(assets, "is_present", lambda name: name == "movielens-100k")
    ill("cache", "warn", str(cache))  # only new downloads fail


def test_assets(monkeypatch):
    for name in assets.ASSETS:
        ill(f"asset {name}", "warn", f"llmrec fetch {name}")
    monkeypatch.setattr(assets, "is_present", lambda name: True)
    for name in assets.ASSETS:
        well(f"asset {name}")


def test_jupyter_kernel(monkeypatch, tmp_path):
    monkeypatch.setenv("JUPYTER_PATH", str(tmp_path / "jupyter"))
    file = tmp_path / "jupyter" / "kernels" / "python3" / "kernel.json"
    file.parent.mkdir(parents=True)

    def install(program: str) -> None:
        kernel = {"argv": [program, "-m", "ipykernel_launcher"], "display_name": "x", "language": "python"}
        file.write_text(json.dumps(kernel), "utf-8")

    for program in ("python", "python3", sys.executable):
        install(program)
        well("Jupyter kernel", sys.executable)
    other = tmp_path / "other" / "python"
    other.parent.mkdir()
    other.symlink_to(sys.executable)  # the very same interpreter: it is the environment that differs
    for program in (str(other), str(SCRIPTS / "python-gone")):
        install(program)
        ill("Jupyter kernel", "fail", program, "ipykernel install --sys-prefix")
    for text in ("{", '{"argv": [], "display_name": "x", "language": "python"}'):
        file.write_text(text, "utf-8")
        ill("Jupyter kernel", "fail", "ipykernel install --sys-prefix")


def test_browser(monkeypatch, tmp_path):
    browsers = {"google-chrome": "/opt/google-chrome"}
    monkeypatch.setattr(shutil, "which", browsers.get)
    monkeypatch.setenv("PLAYWRIGHT_BROWSERS_PATH", str(tmp_path))
    well("Chromium", "/opt/google-chrome")
    browsers.clear()
    (tmp_path / "firefox-1").mkdir()
    ill("Chromium", "warn", "playwright install chromium")
    (tmp_path / "chromium-1234").mkdir()
    well("Chromium", "chromium-1234")


def test_command(monkeypatch, tmp_path):
    monkeypatch.setattr(shutil, "which", lambda name: str(SCRIPTS / name))
    well("command", str(SCRIPTS / "llmrec"))
    monkeypatch.setattr(shutil, "which", lambda name: str(tmp_path / name))
    ill("command", "warn", str(tmp_path / "llmrec"), str(SCRIPTS / "llmrec"))
    monkeypatch.setattr(shutil, "which", lambda name: None)
    ill("command", "warn", str(SCRIPTS / "llmrec"))


GOOD = Check("good", True, "here")
SOSO = Check("soso", False, "old [bench] path", "renew it", "warn")
BAD = Check("bad", False, "gone", "bring it back", "fail")


@pytest.mark.parametrize(("made", "status"), [([GOOD], 0), ([GOOD, SOSO], 0), ([GOOD, SOSO, BAD], 1)])
def test_report(monkeypatch, made, status):
    monkeypatch.setattr(doctor, "checks", lambda: made)
    text = io.StringIO()
    assert doctor.run(Console(file=text, width=200)) == status
    lines = {words[1]: line for line in text.getvalue().splitlines() if len(words := line.split()) > 2}
    for line in made:
        assert lines[line.name].split()[0] == ("ok" if line.ok else line.level)
        assert line.found in lines[line.name]  # the brackets of SOSO are not eaten as markup
        assert line.fix in lines[line.name]


def test_report_on_a_narrow_screen_shows_the_whole_command(monkeypatch):
    path = "/home/" + "q" * 60
    monkeypatch.setattr(doctor, "checks", lambda: [Check("bad", False, path, path)])
    text = io.StringIO()
    doctor.run(Console(file=text, width=60))
    assert text.getvalue().count("q") == 120


def test_report_of_this_machine_goes_to_standard_output(capsys):
    doctor.run()
    assert "asset movielens-100k" in " ".join(capsys.readouterr().out.split())


def test_importing_the_doctor_is_cheap() -> None:
    # The doctor must be able to say that torch or Jupyter is broken.
    script = "import sys, book.tools.doctor; print({'torch', 'jupyter_client', 'psutil'} & set(sys.modules))"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True)
    assert done.stdout.strip() == "set()", done.stderr

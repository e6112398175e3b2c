"""Every check of the doctor, well and ill, and the report."""

import builtins
import importlib.metadata
import io
import json
import shutil
import subprocess
import sys
import sysconfig
import tempfile
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import psutil
import pytest
import torch
from rich.console import Console

from book.tools.doctor import Check
from llmrec_lite import assets, doctor

SCRIPTS = Path(sysconfig.get_path("scripts"))


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    folder = tmp_path / "not made yet" / "cache"
    monkeypatch.setenv("LLMREC_CACHE", str(folder))
    return folder


@pytest.fixture
def without(monkeypatch: pytest.MonkeyPatch) -> Callable[[str], None]:
    """Make the import of a module fail, as if it were not installed."""

    def remove(name: str) -> None:
        real = builtins.__import__

        def importer(module: str, *args: object, **options: object) -> object:
            if module.partition(".")[0] == name:
                raise ImportError(f"No module named {name!r}")
            return real(module, *args, **options)

        monkeypatch.setattr(builtins, "__import__", importer)

    return remove


def ill(check: Check, level: str, *words: str) -> None:
    """Check that a line is not ok, has this level, and names these words."""
    assert not check.ok
    assert check.level == level
    assert check.fix
    for word in words:
        assert word in f"{check.found}\n{check.fix}"


def well(check: Check, *words: str) -> None:
    assert check.ok
    assert check.fix == ""
    for word in words:
        assert word in check.found


@pytest.mark.parametrize("version", [(3, 11, 0), (3, 14, 2), (4, 0, 0)])
def test_python_is_new_enough(monkeypatch: pytest.MonkeyPatch, version: tuple[int, ...]) -> None:
    monkeypatch.setattr(sys, "version_info", version)
    well(doctor._python(), ".".join(map(str, version)))


def test_python_is_too_old(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "version_info", (3, 10, 14))
    ill(doctor._python(), "fail", "3.10.14", "Install Python 3.11")


def test_virtual_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "base_prefix", "/base")
    monkeypatch.delenv("CONDA_PREFIX", raising=False)
    monkeypatch.setattr(sys, "prefix", "/base/venv")
    well(doctor._environment(), "/base/venv")
    monkeypatch.setattr(sys, "prefix", "/base")
    ill(doctor._environment(), "warn", "source .venv/bin/activate")
    monkeypatch.setenv("CONDA_PREFIX", "/base")
    well(doctor._environment())


def test_versions(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    installed = {"one": "1.0+cpu", "two-b": "2.0", "three": "3.5.post1"}

    def version(name: str) -> str:
        if name not in installed:
            raise importlib.metadata.PackageNotFoundError(name)
        return installed[name]

    monkeypatch.setattr(importlib.metadata, "version", version)
    monkeypatch.setattr(doctor, "REQUIREMENTS", tmp_path / "requirements.txt")
    well(doctor._versions(), "nothing to compare")
    lines = [
        "# a comment, one==9",
        "one==1.0",
        "two-b==2.0  # why",
        "",
        "three==3.5.post1; python_version > '3'",
    ]
    doctor.REQUIREMENTS.write_text("\n".join(lines), "utf-8")
    well(doctor._versions(), "all 3")
    doctor.REQUIREMENTS.write_text("\n".join([*lines, "absent==1.0"]).replace("b==2.0", "b==2.1"), "utf-8")
    check = doctor._versions()
    ill(check, "warn", "two-b is 2.0, not 2.1", "absent is missing", "pip install -r requirements.txt")
    assert "one" not in check.found
    assert "three" not in check.found


def test_the_real_requirements_are_found() -> None:
    assert doctor.REQUIREMENTS.is_file()
    assert "torch==" in doctor.REQUIREMENTS.read_text("utf-8")


def test_torch_on_the_processor(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr(torch, "get_num_threads", lambda: 7)
    well(doctor._torch(), torch.__version__, "CPU", "7 threads")


def test_torch_on_cuda(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda index: f"Big GPU {index}")
    well(doctor._torch(), "Big GPU 0")


def test_torch_is_missing(without: Callable[[str], None]) -> None:
    without("torch")
    ill(doctor._torch(), "fail", "No module named 'torch'", "pip install -r requirements.txt")


def test_torch_and_a_broken_driver(monkeypatch: pytest.MonkeyPatch) -> None:
    def broken() -> bool:
        raise RuntimeError("driver too old")

    monkeypatch.setattr(torch.cuda, "is_available", broken)
    ill(doctor._torch(), "fail", "driver too old")


def test_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    for available, ok in ((4.0e9, True), (3.9e9, False)):
        state = SimpleNamespace(available=int(available))
        monkeypatch.setattr(psutil, "virtual_memory", lambda state=state: state)
        if ok:
            well(doctor._memory(), "4.0 GB")
        else:
            ill(doctor._memory(), "warn", "3.9 GB", "Close other programs")


def test_memory_without_psutil(without: Callable[[str], None]) -> None:
    without("psutil")
    ill(doctor._memory(), "warn", "psutil is not installed", "pip install")


def test_disk(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, cache: Path) -> None:
    asked = []

    def usage(free: float) -> Callable[[Path], SimpleNamespace]:
        return lambda folder: asked.append(folder) or SimpleNamespace(free=int(free))

    monkeypatch.setattr(shutil, "disk_usage", usage(1e9))
    well(doctor._disk(), "1.0 GB", str(cache))
    assert asked == [tmp_path]  # the nearest folder that exists
    monkeypatch.setattr(shutil, "disk_usage", usage(0.9e9))
    ill(doctor._disk(), "warn", "0.9 GB", "LLMREC_CACHE")


def test_cache_is_writable_and_is_left_as_it_was(tmp_path: Path, cache: Path) -> None:
    well(doctor._cache(), str(cache))
    assert list(tmp_path.iterdir()) == []


def test_cache_is_not_writable(monkeypatch: pytest.MonkeyPatch, cache: Path) -> None:
    cache.parent.mkdir()
    cache.write_text("a file where the folder should be", "utf-8")
    ill(doctor._cache(), "fail", str(cache), "LLMREC_CACHE")

    def refuse(**options: object) -> None:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(tempfile, "TemporaryFile", refuse)
    ill(doctor._cache(), "fail", "Permission denied")
    monkeypatch.setattr(assets, "is_present", lambda name: name == "movielens-100k")
    ill(doctor._cache(), "warn", "Permission denied")


def test_assets(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in assets.ASSETS:
        ill(doctor._asset(name), "warn", f"llmrec fetch {name}")
    assert "All chapters need it" in doctor._asset("movielens-100k").fix
    assert "Part II needs it" in doctor._asset("minilm").fix
    monkeypatch.setattr(assets, "is_present", lambda name: True)
    for name in assets.ASSETS:
        well(doctor._asset(name), "present")


@pytest.fixture
def kernel(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[str], None]:
    """Install a kernel python3 with this text as kernel.json, before all others on Jupyter's path."""
    monkeypatch.setenv("JUPYTER_PATH", str(tmp_path / "jupyter"))

    def install(text: str) -> None:
        folder = tmp_path / "jupyter" / "kernels" / "python3"
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "kernel.json").write_text(text, "utf-8")

    return install


def spec(program: str) -> str:
    return json.dumps({"argv": [program, "-m", "ipykernel_launcher"], "display_name": "x", "language": "python"})


@pytest.mark.parametrize("program", ["python", "python3", sys.executable])
def test_kernel_of_this_environment(kernel: Callable[[str], None], program: str) -> None:
    kernel(spec(program))
    well(doctor._kernel(), sys.executable)


def test_kernel_of_another_environment(kernel: Callable[[str], None], tmp_path: Path) -> None:
    other = tmp_path / "other" / "python"
    other.parent.mkdir()
    # A link to the very same interpreter: it is the environment that differs.
    other.symlink_to(sys.executable)
    kernel(spec(str(other)))
    ill(doctor._kernel(), "fail", str(other), "ipykernel install --sys-prefix")


def test_kernel_of_a_deleted_environment(kernel: Callable[[str], None]) -> None:
    kernel(spec(str(SCRIPTS / "python-gone")))
    ill(doctor._kernel(), "fail", "does not exist", "ipykernel install --sys-prefix")


@pytest.mark.parametrize("text", ["{", '{"argv": [], "display_name": "x", "language": "python"}'])
def test_kernel_file_is_broken(kernel: Callable[[str], None], text: str) -> None:
    kernel(text)
    ill(doctor._kernel(), "fail", "unreadable", "ipykernel install --sys-prefix")


def test_kernel_is_not_installed(monkeypatch: pytest.MonkeyPatch) -> None:
    from jupyter_client import kernelspec

    def none(self: object, name: str) -> None:
        raise kernelspec.NoSuchKernel(name)

    monkeypatch.setattr(kernelspec.KernelSpecManager, "get_kernel_spec", none)
    ill(doctor._kernel(), "fail", "not found", "ipykernel install --sys-prefix")


def test_jupyter_is_missing(without: Callable[[str], None]) -> None:
    without("jupyter_client")
    ill(doctor._kernel(), "fail", "jupyter_client", "pip install -r requirements.txt")


def test_browser_of_the_system(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("PLAYWRIGHT_BROWSERS_PATH", str(tmp_path / "none"))
    browsers = {"google-chrome": "/opt/google-chrome"}
    monkeypatch.setattr(shutil, "which", browsers.get)
    well(doctor._browser(), "/opt/google-chrome")
    browsers.clear()
    ill(doctor._browser(), "warn", "not found", "playwright install chromium")


def test_browser_of_playwright(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(shutil, "which", lambda name: None)
    monkeypatch.setenv("PLAYWRIGHT_BROWSERS_PATH", str(tmp_path))
    (tmp_path / "firefox-1").mkdir()
    ill(doctor._browser(), "warn", "not found")
    (tmp_path / "chromium-1234").mkdir()
    well(doctor._browser(), "chromium-1234")


def test_command(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(shutil, "which", lambda name: str(SCRIPTS / name))
    well(doctor._command(), str(SCRIPTS / "llmrec"))
    monkeypatch.setattr(shutil, "which", lambda name: str(tmp_path / name))
    ill(doctor._command(), "warn", str(tmp_path / "llmrec"), str(SCRIPTS / "llmrec"))
    monkeypatch.setattr(shutil, "which", lambda name: None)
    ill(doctor._command(), "warn", "not on PATH", str(SCRIPTS / "llmrec"))


def test_every_check_is_made_once() -> None:
    names = [check.name for check in doctor.checks()]
    assert len(set(names)) == len(names) == 10 + len(assets.ASSETS)
    assert [name for name in names if name.startswith("asset ")] == [f"asset {name}" for name in assets.ASSETS]


def report(monkeypatch: pytest.MonkeyPatch, made: list[Check]) -> tuple[int, str]:
    monkeypatch.setattr(doctor, "checks", lambda: made)
    text = io.StringIO()
    return doctor.run(Console(file=text, width=200)), text.getvalue()


GOOD = Check("good", True, "here")
SOSO = Check("soso", False, "old [bench] path", "renew it", "warn")
BAD = Check("bad", False, "gone", "bring it back", "fail")


def test_report_when_all_is_well(monkeypatch: pytest.MonkeyPatch) -> None:
    status, text = report(monkeypatch, [GOOD])
    assert status == 0
    assert "can build the book" in text
    assert "To fix" not in text
    assert "Worth a look" not in text


def test_report_with_a_warning(monkeypatch: pytest.MonkeyPatch) -> None:
    status, text = report(monkeypatch, [GOOD, SOSO])
    assert status == 0
    assert "Worth a look: soso." in text
    assert "can build the book" in text


def test_report_with_a_failure(monkeypatch: pytest.MonkeyPatch) -> None:
    status, text = report(monkeypatch, [GOOD, SOSO, BAD])
    assert status == 1
    assert "To fix: bad." in text
    assert "can build the book" not in text
    lines = {line.split()[1]: line for line in text.splitlines() if line.split()[:1] in (["ok"], ["warn"], ["fail"])}
    assert lines["good"].split() == ["ok", "good", "here"]
    assert "old [bench] path" in lines["soso"]  # not eaten as markup
    assert lines["bad"].split() == ["fail", "bad", "gone", "bring", "it", "back"]


def test_report_on_a_narrow_screen_shows_the_whole_command(monkeypatch: pytest.MonkeyPatch) -> None:
    path = "/home/" + "x" * 60
    monkeypatch.setattr(doctor, "checks", lambda: [Check("bad", False, path, path)])
    text = io.StringIO()
    doctor.run(Console(file=text, width=60))
    assert text.getvalue().count("x") == 120


def test_report_of_this_machine_goes_to_standard_output(capsys: pytest.CaptureFixture[str]) -> None:
    doctor.run()
    assert "asset movielens-100k" in " ".join(capsys.readouterr().out.split())


def test_importing_the_doctor_is_cheap() -> None:
    # The doctor must be able to say that torch or Jupyter is broken.
    script = "import sys, book.tools.doctor; print({'torch', 'jupyter_client', 'psutil'} & set(sys.modules))"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True)
    assert done.stdout.strip() == "set()", done.stderr

"""Imports that wait until they are used."""

import subprocess
import sys

import pytest

from llmrec_lite.cli.lazy import import_later


def in_a_new_process(script):
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout.split()


@pytest.fixture
def package(tmp_path, monkeypatch):
    (tmp_path / "slowly").mkdir()
    (tmp_path / "slowly" / "__init__.py").write_text("from slowly.part import count\nloaded = True\n")
    (tmp_path / "slowly" / "part.py").write_text("count = 3\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    yield "slowly"
    for name in [name for name in sys.modules if name.split(".")[0] == "slowly"]:
        del sys.modules[name]


def test_a_module_is_imported_when_a_name_of_it_is_asked_for(package):
    import_later(package)
    import slowly

    assert "slowly.part" not in sys.modules
    assert not hasattr(slowly, "__warningregistry__")
    assert "slowly.part" not in sys.modules
    assert slowly.count == 3
    assert sys.modules[package] is not slowly
    assert sys.modules[package].loaded
    import_later(package)  # what is there stays
    assert slowly.loaded
    with pytest.raises(AttributeError):
        _ = slowly.nothing


def test_a_part_of_a_module_can_be_imported_first(package):
    import_later(package)
    from slowly.part import count

    assert count == 3
    from slowly import loaded

    assert loaded


def test_what_is_not_there():
    with pytest.raises(ModuleNotFoundError):
        import_later("no_such_module")


def test_the_command_starts_without_what_it_does_not_need():
    heavy = "'torch', 'transformers', 'scipy.stats._stats_py', 'matplotlib', 'IPython', 'sklearn.linear_model'"
    script = f"import sys, llmrec_lite.cli.main, llmrec_lite.llma.model; print(*{{{heavy}}} & set(sys.modules))"
    assert in_a_new_process(script) == []


@pytest.mark.parametrize(
    "use", ["from scipy.stats import rankdata", "import scipy; rankdata = scipy.stats.rankdata", "from scipy import "
            "stats; rankdata = stats.rankdata", "import scipy.stats as s; rankdata = s.rankdata",
            "from scipy.stats._stats_py import rankdata", "import sklearn.utils.fixes as f; f._mode([1]); "
            "from scipy.stats import rankdata"]
)  # fmt: skip
def test_statistics_are_there_for_who_uses_them(use):
    script = f"import llmrec_lite.cli.main\n{use}\nprint(*rankdata([3, 1, 2]))"
    assert in_a_new_process(script) == ["3.0", "1.0", "2.0"]

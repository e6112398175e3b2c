"""How the command starts: without what it does not need, and nothing is missing later."""

import subprocess
import sys

import pytest


def in_a_new_process(script):
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout.split()


def test_the_command_starts_without_what_it_does_not_need():
    heavy = "'torch', 'transformers', 'scipy.stats._stats_py', 'matplotlib', 'IPython', 'sklearn.linear_model'"
    script = f"import sys, llmrec_lite.cli.main, llmrec_lite.llma.storage; print(*{{{heavy}}} & set(sys.modules))"
    assert in_a_new_process(script) == []


USES = [
    "from scipy.stats import rankdata",
    "import scipy; rankdata = scipy.stats.rankdata",
    "from scipy.stats._stats_py import rankdata",
    "import sklearn.utils.fixes as fixes; fixes._mode([1]); from scipy.stats import rankdata",
]


@pytest.mark.parametrize("use", USES)
def test_statistics_are_there_for_who_uses_them(use):
    script = f"import llmrec_lite.cli.main\n{use}\nprint(*rankdata([3, 1, 2]))"
    assert in_a_new_process(script) == ["3.0", "1.0", "2.0"]


@pytest.mark.parametrize("first", ["import scipy.stats", "import sklearn.base"])
def test_what_was_imported_before_stays(first):
    script = f"{first}\nimport sys; before = dict(sys.modules)\nimport llmrec_lite.cli.main\n"
    script += "print(all(sys.modules.get(name) is module for name, module in before.items()))"
    assert in_a_new_process(script) == ["True"]


def test_a_module_that_needs_more_than_the_name_is_imported_as_usual(tmp_path):
    (tmp_path / "wanting.py").write_text("from scipy.stats import rankdata\n")
    script = f"import sys; sys.path.insert(0, {str(tmp_path)!r})\nfrom llmrec_lite.cli import _import_without\n"
    script += "_import_without('wanting', 'scipy.stats')\nimport wanting\nprint(*wanting.rankdata([2, 1]))"
    assert in_a_new_process(script) == ["2.0", "1.0"]

"""Every module has a test file named after it, or is tested with a neighbor, in a file that is named here."""

from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
EXPERIMENTS = [ROOT / "book/experiments" / f"{name}.py" for name in ("common", "study", "registry")]
ELSEWHERE = {
    "llmrec_lite/cli/finetune_job.py": "tests/cli/test_finetune.py",
    "llmrec_lite/knowledge/facts.py": "tests/knowledge/test_recommend.py",
    "llmrec_lite/llma/config.py": "tests/llma/test_model.py",
    "llmrec_lite/llma/explain.py": "tests/llma/test_cold_start.py",
    "book/experiments/study.py": "tests/experiments/test_ch14_ratings.py",
    "book/tools/checks/assignments.py": "tests/book/test_checks.py",
    "book/tools/checks/chapters.py": "tests/book/test_checks.py",
    "book/tools/checks/links.py": "tests/book/test_links.py",
    "book/tools/checks/markdown.py": "tests/book/test_checks.py",
    "book/tools/checks/practice.py": "tests/book/test_checks.py",
    "book/tools/checks/reading.py": "tests/book/test_checks_reading.py",
    "book/tools/checks/shared.py": "tests/book/test_checks.py",
    "book/tools/site_checks.py": "tests/book/test_site.py",
}


def file_for(module: Path) -> Path:
    """Return the file named after a module: the tests' folders mirror the rooms."""
    parts = module.relative_to(ROOT).parent.parts
    room = parts[1:] if parts[0] == "llmrec_lite" else ("book" if parts[1] == "tools" else parts[1], *parts[2:])
    return ROOT.joinpath("tests", *room, f"test_{module.name}")


def test_every_module_has_its_test_file():
    modules = [*(ROOT / "llmrec_lite").rglob("*.py"), *(ROOT / "book/tools").rglob("*.py"), *EXPERIMENTS]
    lacking = [
        str(module.relative_to(ROOT))
        for module in modules
        if not module.name.startswith("__") and not file_for(module).exists()
    ]
    assert sorted(set(lacking) - set(ELSEWHERE)) == []


@pytest.mark.parametrize("module", ELSEWHERE)
def test_a_module_without_a_file_of_its_own_is_named_where_it_is_tested(module):
    path = ROOT / module
    assert path.exists()
    assert not file_for(path).exists()
    names = (path.stem, path.parent.name)  # a room's modules are imported from it
    assert any(name in (ROOT / ELSEWHERE[module]).read_text("utf-8") for name in names)

"""The graders are right: they give full marks to the solution and nothing to an empty or a wrong answer.

How wrong answers are kept (in wrong/NN_name.py) and graded is told in tests/assignments/grading.py.
"""

import functools
import os
import sysconfig
from pathlib import Path

import nbformat
import pytest
from nbformat.v4 import new_code_cell, new_notebook

from book.tools.checks.assignments import graders
from tests.assignments.grading import Course, Wrong, pack, read_wrong

# nbgrader's own use of its database.
pytestmark = pytest.mark.filterwarnings("ignore::sqlalchemy.exc.SAWarning")

SOURCES = sorted((Path(__file__).parents[2] / "notebooks/assignments").glob("[0-9]*.ipynb"))
WRONG = Path(__file__).parent / "wrong"
MIN_WRONG = 5


def _packed(source: Path) -> list[dict[str, Wrong]]:
    tests = graders(nbformat.read(source, as_version=4))
    return pack(read_wrong(WRONG / f"{source.stem}.py"), tests)


@pytest.fixture(scope="session")
def course(tmp_path_factory: pytest.TempPathFactory):
    """Makes the course of an assignment, once: that takes as long as a grading, and each has a student of its own."""

    @functools.cache
    def of(source: Path) -> Course:
        return Course(source, tmp_path_factory.mktemp("course").resolve() / "course")

    with pytest.MonkeyPatch.context() as patch:  # nbgrader looks for the program alembic on the PATH
        patch.setenv("PATH", sysconfig.get_path("scripts") + os.pathsep + os.environ["PATH"])
        yield of


each = pytest.mark.parametrize("source", SOURCES, ids=lambda path: path.stem)


@each
def test_the_student_version_tells_nothing(course, source: Path) -> None:
    assert course(source).leaks() == set()


@each
def test_the_solution_scores_full_marks(course, source: Path) -> None:
    assert course(source).faults("solution", {}) == []


@each
def test_an_empty_answer_scores_nothing(course, source: Path) -> None:
    scores = course(source).grade("empty", {}).scores
    assert scores == dict.fromkeys(scores, 0.0)


@each
def test_every_question_has_wrong_answers(source: Path) -> None:
    wrong, tests = _packed(source), graders(nbformat.read(source, as_version=4))
    assert sum(map(len, wrong)) >= MIN_WRONG
    assert set(wrong[0]) == set(tests)


@pytest.mark.parametrize(
    ("source", "n"), [pytest.param(s, n, id=f"{s.stem}-{n}") for s in SOURCES for n in range(len(_packed(s)))]
)
def test_wrong_answers_score_nothing(course, source: Path, n: int) -> None:
    assert course(source).faults(f"wrong-{n}", _packed(source)[n]) == []


def test_every_file_of_wrong_answers_has_its_assignment() -> None:
    assert {path.stem for path in WRONG.glob("*.py")} <= {source.stem for source in SOURCES}


# The harness itself, on a made-up assignment with one good question and three bad ones.
QUESTIONS = {
    "strict": ("    return 2 * n", "assert strict(1) == 2", "assert strict(3) == 6"),
    "lax": ("    return 3 * n", "assert lax(0) == 0", "assert True"),
    "careless": ("    return 4 * n", "assert True", "assert callable(careless)"),
    "chained": ("    return strict(n)", "assert chained(1) == 2", "assert chained(2) == 4"),
}


@pytest.fixture
def made_up(course, tmp_path: Path) -> Course:
    cells = []
    for name, (answer, shown, hidden) in QUESTIONS.items():
        code = f"def {name}(n):\n    ### BEGIN SOLUTION\n{answer}\n    ### END SOLUTION"
        test = f"{shown}\n### BEGIN HIDDEN TESTS\n{hidden}\n### END HIDDEN TESTS"
        common = {"schema_version": 3, "task": False}
        solution = common | {"grade_id": name, "grade": False, "solution": True, "locked": False}
        grader = common | {
            "grade_id": f"test-{name}",
            "grade": True,
            "solution": False,
            "locked": True,
            "points": 2,
        }
        cells.append(new_code_cell(code, metadata={"nbgrader": solution}))
        cells.append(new_code_cell(test, metadata={"nbgrader": grader}))
    kernel = {"kernelspec": {"name": "python3", "display_name": "Python 3", "language": "python"}}
    nbformat.write(new_notebook(cells=cells, metadata=kernel), tmp_path / "00_made_up.ipynb")
    return course(tmp_path / "00_made_up.ipynb")


def test_the_harness_finds_bad_graders(made_up: Course) -> None:
    assert made_up.faults("solution", {}) == []
    wrong = {
        "test-strict": Wrong("strict", "adds", "def strict(n):\n    return n + 2"),
        "test-lax": Wrong("lax", "adds", "def lax(n):\n    return n"),
    }
    assert made_up.faults("wrong", wrong) == [
        "test-lax accepts the wrong answer 'adds'",
        "test-chained takes points for an answer to another question, or for the solution",
    ]
    empty = made_up.grade("empty", {})
    assert empty.scores == {"test-strict": 0, "test-lax": 0, "test-careless": 2, "test-chained": 0}


def test_the_harness_finds_wrong_answers_that_test_nothing(made_up: Course) -> None:
    slip = {
        "test-strict": Wrong("strict", "slip", "def strict(n):\n    return m"),
        "test-lax": Wrong("lax", "broken", "def lax(n):\n    return 1\n\n1 / 0"),
    }
    assert made_up.faults("slip", slip)[0] == "test-strict fails with NameError on 'slip': mend the answer"
    assert made_up.faults("again", slip)[-1] == "the cell lax raises ZeroDivisionError"


def test_the_harness_finds_leaks(made_up: Course) -> None:
    assert made_up.leaks() == set()
    for leak in ["    return 2 * n", "assert strict(3) == 6", "### BEGIN SOLUTION"]:
        made_up.student.cells[-1].source += f"\n{leak}"
        assert leak.strip() in made_up.leaks()


def test_wrong_answers_are_read_and_packed(tmp_path: Path) -> None:
    path = tmp_path / "01_x.py"
    path.write_text("# ruff: noqa\n# %% a | one\nx = 1\n\n# %% b-part | two\ny = 2\n# %% a | three\nx = 3\n")
    first, second, third = wrong = read_wrong(path)
    assert first == Wrong("a", "one", "x = 1")
    assert pack(wrong, {"test-a": 0, "test-b": 0}) == [{"test-a": first, "test-b": second}, {"test-a": third}]
    with pytest.raises(ValueError, match="no test cell grades 'b-part'"):
        pack(wrong, {"test-a": 0})
    path.write_text("# %% a\nx = 1\n")
    with pytest.raises(ValueError, match=r"write '# %% grade_id \| why'"):
        read_wrong(path)
    assert read_wrong(tmp_path / "none.py") == []

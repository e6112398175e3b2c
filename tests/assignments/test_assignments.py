"""The graders are right: they give full marks to the solution and nothing to an empty or a wrong answer.

How wrong answers are kept (in wrong/NN_name.diff) and graded is told in tests/assignments/grading.py.
"""

import copy
import functools
import os
import sysconfig
from pathlib import Path

import nbformat
import pytest
from nbformat.v4 import new_code_cell, new_notebook

from book.tools.checks.assignments import graders
from book.tools.checks.assignments import test_of as grader_of
from tests.assignments.grading import Course, Wrong, faults, patched, read_wrong

# nbgrader's own use of its database.
pytestmark = pytest.mark.filterwarnings("ignore::sqlalchemy.exc.SAWarning")

SOURCES = sorted((Path(__file__).parents[2] / "notebooks/assignments").glob("[0-9]*.ipynb"))
WRONG = Path(__file__).parent / "wrong"
MIN_WRONG = 5

each = pytest.mark.parametrize("source", SOURCES, ids=lambda path: path.stem)


@pytest.fixture(scope="session")
def course(tmp_path_factory: pytest.TempPathFactory):
    """Makes the course of an assignment, once; all share a folder, so that the grade book is made only once."""
    folder = tmp_path_factory.mktemp("course").resolve() / "course"
    with pytest.MonkeyPatch.context() as patch:  # nbgrader looks for the program alembic on the PATH
        patch.setenv("PATH", sysconfig.get_path("scripts") + os.pathsep + os.environ["PATH"])
        yield functools.cache(lambda source: Course(source, folder))


@each
def test_the_student_version_tells_nothing(course, source: Path) -> None:
    assert course(source).leaks() == set()


@each
def test_the_solution_scores_full_marks(course, source: Path) -> None:
    graded = course(source).grade("solution", course(source).right)
    assert graded.scores == graded.points
    assert graded.errors == {}


@each
def test_an_empty_answer_scores_nothing(course, source: Path) -> None:
    scores = course(source).grade("empty", {}).scores
    assert scores == dict.fromkeys(graders(course(source).source), 0.0)


@each
def test_wrong_answers_score_nothing(source: Path) -> None:
    notebook = nbformat.read(source, as_version=4)
    wrong = read_wrong(WRONG / f"{source.stem}.diff", notebook)
    assert len(wrong) >= MIN_WRONG
    assert {grader_of(answer.cell, graders(notebook)) for answer in wrong} == set(graders(notebook))
    assert faults(notebook, wrong) == []


def test_every_file_of_wrong_answers_has_its_assignment() -> None:
    assert {path.stem for path in WRONG.iterdir()} <= {source.stem for source in SOURCES}


# The harness itself, on a made-up assignment with one good question and three bad ones.
QUESTIONS = {
    "strict": ("    return 2 * n", "assert strict(1) == 2", "assert strict(3) == 6"),
    "lax": ("    return 3 * n", "assert lax(0) == 0", "assert True"),
    "careless": ("    return 4 * n", "assert True", "assert callable(careless)"),
    "chained": ("    return strict(n)", "assert chained(1) == 2", "assert chained(2) == 4"),
}


@pytest.fixture(scope="module")
def made_up(course, tmp_path_factory) -> Course:
    path = tmp_path_factory.mktemp("made_up") / "00_made_up.ipynb"
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
    nbformat.write(new_notebook(cells=cells, metadata=kernel), path)
    return course(path)


def test_nbgrader_takes_points_where_a_test_cell_raises(made_up: Course) -> None:
    wrong = {"strict": "def strict(n):\n    return n + 2", "lax": "def lax(n):\n    return n"}
    graded = made_up.grade("wrong", made_up.right | wrong)
    assert graded.scores == {"test-strict": 0, "test-lax": 2, "test-careless": 2, "test-chained": 0}
    assert graded.errors == {"test-strict": "AssertionError", "test-chained": "AssertionError"}


def test_an_empty_answer_to_a_careless_question_scores(made_up: Course) -> None:
    scores = made_up.grade("empty", {}).scores
    assert scores == {"test-strict": 0, "test-lax": 0, "test-careless": 2, "test-chained": 0}


@pytest.mark.parametrize(
    ("answer", "expected"),
    [
        (Wrong("strict", "adds", "def strict(n):\n    return n + 2"), []),
        (Wrong("lax", "adds", "def lax(n):\n    return n"), ["test-lax accepts the wrong answer 'adds'"]),
        (
            Wrong("strict", "slip", "def strict(n):\n    return m"),
            ["test-strict fails with NameError on 'slip': mend the answer"],
        ),
        (
            Wrong("lax", "broken", "def lax(n):\n    return 1\n\n1 / 0"),
            ["lax raises ZeroDivisionError on 'broken'"],
        ),
    ],
)
def test_the_harness_finds_bad_graders_and_bad_answers(made_up: Course, answer: Wrong, expected: list[str]) -> None:
    assert faults(made_up.source, [answer]) == expected


def test_the_harness_finds_leaks(made_up: Course) -> None:
    assert made_up.leaks() == set()
    leaky = copy.deepcopy(made_up)
    for leak in ["    return 2 * n", "assert strict(3) == 6", "### BEGIN SOLUTION"]:
        leaky.student.cells[-1].source += f"\n{leak}"
        assert leak.strip() in leaky.leaks()


def test_wrong_answers_are_read(made_up: Course, tmp_path: Path) -> None:
    path = tmp_path / "01_x.diff"
    path.write_text(
        "# %% strict | one\nx = 1\n\n# %% lax | two\n-    return 3 * n\n+    m = n\n+    return m\n"
        "# %% lax | three\n def lax(n):\n+    n = 1\n@@\n-    return 3 * n\n+    return n\n"
    )
    assert read_wrong(path, made_up.source) == [
        Wrong("strict", "one", "x = 1"),
        Wrong("lax", "two", "def lax(n):\n    m = n\n    return m"),
        Wrong("lax", "three", "def lax(n):\n    n = 1\n    return n"),
    ]
    assert read_wrong(tmp_path / "none.diff", made_up.source) == []


@pytest.mark.parametrize("text", ["# %% strict\nx = 1\n", "# %% strict | no code\n\n", "# %% gone | no cell\nx = 1\n"])
def test_wrong_answers_have_a_cell_a_reason_and_code(made_up: Course, tmp_path: Path, text: str) -> None:
    path = tmp_path / "01_x.diff"
    path.write_text(text)
    with pytest.raises(ValueError, match=r"01_x\.diff"):
        read_wrong(path, made_up.source)


@pytest.mark.parametrize("patch", [["-c", "+d"], ["-a", "+d"], ["+d"], ["-b", "@@", " b", "+d"]])
def test_a_patch_fits_exactly_once(patch: list[str]) -> None:
    with pytest.raises(ValueError, match=r"hunk"):
        patched(["a", "b", "a"], patch)

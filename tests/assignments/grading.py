"""Grading with nbgrader, to find out whether a grader tells right answers from wrong ones.

Wrong answers are kept in percent format: ``# %% grade_id | why a student would write this`` and, below, the
code that replaces the whole solution cell of that grade_id. The n-th wrong answers of all questions make one
submission, in which every other cell keeps the right solution: so few notebooks are executed.
"""

import re
from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

import nbformat
from nbgrader.api import Gradebook
from nbgrader.converters import Autograde
from nbgrader.coursedir import CourseDirectory
from nbgrader.utils import capture_log
from traitlets.config import Config

from book.tools.checks.assignments import HIDDEN, SOLUTION, generate, grade_id, graders, region, solutions, test_of

#: What a slip of ours raises, and no honest try of a student: such an answer tests nothing.
SLIPS = {"NameError", "SyntaxError", "IndentationError", "ImportError", "NotImplementedError"}


class Wrong(NamedTuple):
    """One wrong answer: the solution cell it replaces, why a student would write it, its code."""

    cell: str
    why: str
    code: str


class Graded(NamedTuple):
    """What nbgrader made of a submission, by grade_id: points lost are points - scores."""

    scores: dict[str, float]
    points: dict[str, float]
    errors: dict[str, str]  # name of the exception in a cell, of solutions as well


class Course:
    """One assignment in a course folder of nbgrader."""

    def __init__(self, source: Path, folder: Path) -> None:
        self.name, self.folder = source.stem, folder
        self.source = nbformat.read(source, as_version=4)
        self.student = nbformat.read(generate(source, folder, gradebook=True), as_version=4)
        self.right = {name: cell.source for name, cell in solutions(self.source).items()}
        self.tests = graders(self.source)

    def grade(self, student: str, answers: Mapping[str, str]) -> Graded:
        """Hand in the student version with some answers (grade_id -> code) filled in, and autograde it.

        Raises:
            RuntimeError: nbgrader fails (an error in the student's code is no failure).
        """
        notebook = nbformat.from_dict(self.student)
        for name, cell in solutions(notebook).items():
            cell.source = answers.get(name, cell.source)
        path = self.folder / "submitted" / student / self.name / f"{self.name}.ipynb"
        path.parent.mkdir(parents=True)
        nbformat.write(notebook, path)
        course = CourseDirectory(root=str(self.folder), assignment_id=self.name, student_id=student)
        # The first cell may import torch, which takes long on a busy machine.
        result = capture_log(Autograde(course, config=Config(Execute={"timeout": 120})))
        if not result["success"]:
            raise RuntimeError(f"nbgrader cannot grade {path}: {result.get('log', result['error'])}")
        done = nbformat.read(self.folder / "autograded" / student / self.name / path.name, as_version=4)
        errors = {
            grade_id(cell) or f"cell {index + 1}": output.ename
            for index, cell in enumerate(done.cells)
            for output in cell.get("outputs", [])
            if output.output_type == "error"
        }
        with Gradebook(course.db_url) as gradebook:
            grades = gradebook.find_submission_notebook(self.name, self.name, student).grades
            marks = {g.name: (float(g.auto_score), float(g.max_score)) for g in grades if g.name in self.tests}
        return Graded({k: score for k, (score, _) in marks.items()}, {k: p for k, (_, p) in marks.items()}, errors)

    def leaks(self) -> set[str]:
        """Return the lines of solutions and hidden tests that the student version shows."""
        given, secret, shown = set(), set(), set()
        for cell in self.source.cells:
            for marks in [SOLUTION, HIDDEN]:
                secret |= {line.strip() for line in region(cell.source, marks) or []}
            given |= {line.strip() for line in _outside(cell.source).splitlines()}
        for cell in self.student.cells:
            shown |= {line.strip() for line in cell.source.splitlines()}
        marked = {line for line in shown if re.search("(BEGIN|END) (SOLUTION|HIDDEN TESTS)", line)}
        return (secret - given) & shown | marked

    def faults(self, student: str, wrong: Mapping[str, Wrong]) -> list[str]:
        """Grade the right solution with some answers (by test cell) replaced by wrong ones; say what went wrong."""
        graded = self.grade(student, self.right | {answer.cell: answer.code for answer in wrong.values()})
        found = []
        for test, points in graded.points.items():
            if test not in wrong and graded.scores[test] < points:
                found.append(f"{test} takes points for an answer to another question, or for the solution")
            elif test in wrong and graded.scores[test] > 0:
                found.append(f"{test} accepts the wrong answer {wrong[test].why!r}")
            elif test in wrong and graded.errors.get(test, "no error") in {"no error", *SLIPS}:
                found.append(f"{test} fails with {graded.errors.get(test)} on {wrong[test].why!r}: mend the answer")
        cells = [name for name in graded.errors if name not in self.tests]
        return found + [f"the cell {name} raises {graded.errors[name]}" for name in cells]


def _outside(source: str) -> str:
    return re.sub(r"(?ms)^[^\n]*BEGIN (SOLUTION|HIDDEN TESTS).*?END \1[^\n]*$", "", source)


def read_wrong(path: Path) -> list[Wrong]:
    """Return the wrong answers of a file in percent format (none if there is no file)."""
    parts = re.split(r"(?m)^# %% +", path.read_text("utf-8"))[1:] if path.exists() else []
    found = []
    for part in parts:
        title, _, code = part.partition("\n")
        cell, bar, why = title.partition("|")
        if not (bar and why.strip() and code.strip()):
            raise ValueError(f"{path}: write '# %% grade_id | why' and code below, not {title!r}")
        found.append(Wrong(cell.strip(), why.strip(), code.strip()))
    return found


def pack(wrong: list[Wrong], tests: Mapping[str, object]) -> list[dict[str, Wrong]]:
    """Put the n-th wrong answers of all questions into one submission, by test cell."""
    seen: Counter[str] = Counter()
    submissions: list[dict[str, Wrong]] = []
    for answer in wrong:
        test = test_of(answer.cell, tests)
        if test is None:
            raise ValueError(f"no test cell grades {answer.cell!r} ({answer.why}): the tests are {sorted(tests)}")
        if seen[test] == len(submissions):
            submissions.append({})
        submissions[seen[test]][test] = answer
        seen[test] += 1
    return submissions

"""Grading, to find out whether a grader tells right answers from wrong ones.

nbgrader grades what a student hands in. A wrong answer is only executed: the cells that every question shares, the
answer in place of its solution cell, and the test cell, which has to raise (nbgrader then gives no points).

Wrong answers are kept in ``wrong/NN_name.diff``: ``# %% grade_id | why a student would write this`` and, below, the
code that replaces the solution cell of that grade_id, or a patch of it: hunks of a unified diff (lines that begin with
a space, ``-`` or ``+``), with ``@@`` between two hunks and without line numbers, so that the old lines of a hunk must
stand exactly once in the solution.
"""

import contextlib
import copy
import io
import re
import warnings
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import BuiltinFunctionType, FunctionType, ModuleType
from typing import NamedTuple

import nbformat
from nbformat import NotebookNode
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
    """One assignment in a course folder of nbgrader, which several assignments can share."""

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


def _outside(source: str) -> str:
    return re.sub(r"(?ms)^[^\n]*BEGIN (SOLUTION|HIDDEN TESTS).*?END \1[^\n]*$", "", source)


def read_wrong(path: Path, notebook: NotebookNode) -> list[Wrong]:
    """Return the wrong answers to an assignment, patches applied to its solutions (none if there is no file).

    Raises:
        ValueError: an answer has no cell, no reason, no code, or its patch does not fit.
    """
    parts = re.split(r"(?m)^# %% +", path.read_text("utf-8"))[1:] if path.exists() else []
    right = {
        name: [line for line in cell.source.splitlines() if not re.search("(BEGIN|END) SOLUTION", line)]
        for name, cell in solutions(notebook).items()
    }
    found = []
    for part in parts:
        title, _, code = part.partition("\n")
        cell, why = (text.strip() for text in (title + "|").split("|")[:2])
        if not (cell in right and why and code.strip()):
            raise ValueError(f"{path}: write '# %% grade_id | why' and code below, not {title!r}")
        if code.startswith((" ", "+", "-")):
            try:
                code = patched(right[cell], code.rstrip().splitlines())
            except ValueError as error:
                raise ValueError(f"{path}: {title}: {error}") from None
        found.append(Wrong(cell, why, code.strip()))
    return found


def patched(lines: list[str], patch: list[str]) -> str:
    """Apply the hunks of a patch.

    Raises:
        ValueError: the old lines of a hunk do not stand exactly once in ``lines``, or two hunks overlap.
    """
    places = []
    for hunk in "\n".join(patch).split("\n@@\n"):
        old, new = ([line[1:] for line in hunk.splitlines() if line[:1] != mark] for mark in "+-")
        at = [i for i in range(len(lines) - len(old) + 1) if lines[i : i + len(old)] == old]
        if not old or len(at) != 1:
            raise ValueError(f"the old lines of a hunk stand {len(at)} times in the solution: {old}")
        places.append((at[0], at[0] + len(old), new))
    done = 0
    result: list[str] = []
    for start, end, new in sorted(places):
        if start < done:
            raise ValueError("two hunks overlap")
        result += lines[done:start] + new
        done = end
    return "\n".join(result + lines[done:])


def execute(notebook: NotebookNode, wrong: Sequence[Wrong]) -> list[dict[str, str]]:
    """Execute an assignment with wrong answers; return the exceptions' names by cell, a dict for each answer.

    The cells that no question owns run once. Each answer finds a copy of what those before its question have made, and
    runs with them up to its test cell; other questions are left out, as questions are independent
    (book.tools.checks.assignments).
    """
    tests = graders(notebook)
    cells = [
        (name or f"cell {index + 1}", name if name in tests else test_of(name, tests), cell.source)
        for index, cell in enumerate(notebook.cells)
        if cell.cell_type == "code"
        for name in [grade_id(cell)]
    ]
    shared: dict[str, object] = {"__name__": "__main__"}
    shared_errors: dict[str, str] = {}
    errors: dict[Wrong, dict[str, str]] = {}
    asked = set()
    for start, (name, question, source) in enumerate(cells):
        if question is None:
            shared_errors |= _run(name, source, shared)
        elif question not in asked:
            asked.add(question)
            end = next(index for index, (other, *_) in enumerate(cells) if other == question)
            for answer in wrong:
                if test_of(answer.cell, tests) != question:
                    continue
                namespace, errors[answer] = _copied(shared), dict(shared_errors)
                for other, owner, code in cells[start : end + 1]:
                    if owner in (None, question):
                        errors[answer] |= _run(other, answer.code if other == answer.cell else code, namespace)
    return [errors[answer] for answer in wrong]


def _run(name: str, source: str, namespace: dict[str, object]) -> dict[str, str]:
    try:
        with contextlib.redirect_stdout(io.StringIO()), warnings.catch_warnings(action="ignore"):
            exec(compile(source, name, "exec"), namespace)
    except Exception as error:
        return {name: type(error).__name__}
    return {}


def _copied(namespace: dict[str, object]) -> dict[str, object]:
    """Copy what an answer could change; modules, functions and classes stay the same."""
    fixed = (ModuleType, FunctionType, BuiltinFunctionType, type)
    return {k: v if k == "__builtins__" or isinstance(v, fixed) else copy.deepcopy(v) for k, v in namespace.items()}


def faults(notebook: NotebookNode, wrong: Sequence[Wrong]) -> list[str]:
    """Say which wrong answers are not simply rejected by the test cell of their question, and why."""
    found = []
    for answer, errors in zip(wrong, execute(notebook, wrong), strict=True):
        test = test_of(answer.cell, graders(notebook))
        error = errors.pop(test or "", None)
        found += [f"{name} raises {raised} on {answer.why!r}" for name, raised in errors.items()]
        if error is None:
            found.append(f"{test} accepts the wrong answer {answer.why!r}")
        elif error in SLIPS:
            found.append(f"{test} fails with {error} on {answer.why!r}: mend the answer")
    return found

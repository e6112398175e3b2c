"""Checks of the assignments, and their student versions.

A question is a solution cell with the grade_id X and a test cell with the grade_id ``test-X``. A solution
cell ``X-part`` without a test of its own is graded by ``test-X`` as well.
"""

import os
import shutil
import tempfile
from collections.abc import Iterable
from pathlib import Path

from nbformat import NotebookNode
from nbgrader.converters import GenerateAssignment
from nbgrader.coursedir import CourseDirectory
from nbgrader.nbgraderformat import MetadataValidator, ValidationError
from nbgrader.nbgraderformat.common import SchemaMismatchError
from nbgrader.preprocessors import SaveCells
from nbgrader.utils import capture_log, is_grade, is_solution

from book.tools.checks.links import LINKS
from book.tools.checks.shared import SHARED, Check, Complaint, names_of

SOLUTION = ("BEGIN SOLUTION", "END SOLUTION")
HIDDEN = ("BEGIN HIDDEN TESTS", "END HIDDEN TESTS")


def grade_id(cell: NotebookNode) -> str:
    """Return the grade_id of a cell, "" when it has none."""
    return str(cell.metadata.get("nbgrader", {}).get("grade_id", ""))


def test_of(solution: str, tests: Iterable[str]) -> str | None:
    """Return the grade_id of the test cell that grades a solution cell, None if there is none."""
    name, known = solution, set(tests)
    while f"test-{name}" not in known and "-" in name:
        name = name.rpartition("-")[0]
    return f"test-{name}" if f"test-{name}" in known else None


def solutions(notebook: NotebookNode) -> dict[str, NotebookNode]:
    """Return the solution cells that hold code, by grade_id."""
    return {grade_id(c): c for c in notebook.cells if is_solution(c) and c.cell_type == "code"}


def graders(notebook: NotebookNode) -> dict[str, NotebookNode]:
    """Return the test cells, by grade_id."""
    return {grade_id(c): c for c in notebook.cells if is_grade(c) and not is_solution(c)}


def region(source: str, marks: tuple[str, str]) -> list[str] | None:
    """Return the lines between two marks (all regions of the cell together).

    Returns:
        None when there is no region, or one that is empty, nested or not closed.
    """
    lines: list[str] = []
    inside = False
    for line in source.splitlines():
        if marks[0] in line or marks[1] in line:
            if inside == (marks[0] in line):
                return None
            inside = not inside
        elif inside:
            lines.append(line)
    return lines if not inside and any(line.strip() for line in lines) else None


def check_metadata(notebook: NotebookNode) -> list[Complaint]:
    """Check the metadata of nbgrader against its schema."""
    try:
        MetadataValidator().validate_nb(notebook)
    except (ValidationError, SchemaMismatchError) as error:
        what = str(error).splitlines()[0]
        return [Complaint(None, f"has invalid nbgrader metadata ({what})", "see CONTRIBUTING, or JupyterLab's panel")]
    if not any(is_grade(cell) for cell in notebook.cells):
        return [Complaint(None, "grades nothing", "add test cells")]
    return []


def check_solutions(notebook: NotebookNode) -> list[Complaint]:
    """Check that each solution is marked, and graded by a test."""
    found, tests = [], graders(notebook)
    for index, cell in enumerate(notebook.cells):
        if not is_solution(cell):
            continue
        name = grade_id(cell)
        # A text needs no marks: nbgrader takes out the whole cell.
        if cell.cell_type == "code" and region(cell.source, SOLUTION) is None:
            fix = f"put it between ### {SOLUTION[0]} and ### {SOLUTION[1]}"
            found.append(Complaint(index, f"has no marked solution ({name})", fix))
        if is_grade(cell) and cell.metadata.nbgrader.get("points"):
            fix = "give it 0 points, or a test cell of its own"
            found.append(Complaint(index, f"needs a person to grade it ({name})", fix))
        if cell.cell_type == "code" and not is_grade(cell) and test_of(name, tests) is None:
            found.append(Complaint(index, f"has an answer that nothing grades ({name})", f"add a cell test-{name}"))
    return found


def check_tests(notebook: NotebookNode) -> list[Complaint]:
    """Check that each test cell is worth points, hides a part, and grades a solution."""
    found, tests = [], graders(notebook)
    graded = {test_of(name, tests) for name in solutions(notebook)}
    for index, cell in enumerate(notebook.cells):
        name = grade_id(cell)
        if name not in tests:
            continue
        if not cell.metadata.nbgrader.get("points"):
            found.append(Complaint(index, f"is worth nothing ({name})", "give it points"))
        if region(cell.source, HIDDEN) is None:
            fix = f"put some between ### {HIDDEN[0]} and ### {HIDDEN[1]}"
            found.append(Complaint(index, f"has no hidden tests ({name})", fix))
        if name not in graded:
            fix = "call it test- and the grade_id of the solution cell"
            found.append(Complaint(index, f"grades no solution ({name})", fix))
    return found


def check_independent(notebook: NotebookNode) -> list[Complaint]:
    """Check that no question uses the answer to another: a mistake is to cost its own points only."""
    tests = graders(notebook)
    code: dict[str, str] = {}
    for name, cell in {**solutions(notebook), **tests}.items():
        question = name if name in tests else test_of(name, tests) or name
        code[question] = code.get(question, "") + cell.source + "\n"
    try:
        names = {question: names_of(text, imports=False) for question, text in code.items()}
    except SyntaxError:  # check_code complains
        return []
    return [
        Complaint(None, f"{one} uses {sorted(shared)}, defined in {other}", "define it in a cell of its own before")
        for one, (own, used) in names.items()
        for other, (defined, _) in names.items()
        if one != other and (shared := (used - own) & defined)
    ]


ASSIGNMENT: tuple[Check, ...] = (
    *SHARED, *LINKS, check_metadata, check_solutions, check_tests, check_independent,
)  # fmt: skip


def generate(source: Path, course: Path, gradebook: bool = False) -> Path:
    """Make the student version of one assignment in a course folder of nbgrader.

    Args:
        source: the notebook with the solutions.
        course: a folder for nbgrader's files, as an absolute path.
        gradebook: whether to enter the assignment in ``course/gradebook.db``, so that submissions can be
            graded (nbgrader then calls the program ``alembic``, which has to be on the PATH).

    Returns:
        The student version, without solutions and hidden tests.

    Raises:
        ValueError: nbgrader refuses the notebook.
    """
    name = source.stem
    folder = course / "source" / name
    folder.mkdir(parents=True)
    shutil.copy(source, folder)
    # Nothing of the user's own nbgrader settings is read: the same notebook gives the same student version.
    maker = GenerateAssignment(CourseDirectory(root=str(course), assignment_id=name), no_database=not gradebook)
    if not gradebook:
        maker.preprocessors = [step for step in maker.preprocessors if step is not SaveCells]
    result = capture_log(maker)
    if not result["success"]:
        said = result.get("log", result["error"]).splitlines()[0]
        raise ValueError(f"nbgrader refuses {source} ({said}): fix what `python -m book.tools.checks` names")
    return course / "release" / name / source.name


def release(folder: Path, out: Path) -> list[Path]:
    """Write the student versions of all assignments of a folder.

    Args:
        folder: the notebooks with the solutions.
        out: where the student versions go; each is replaced as a whole.

    Returns:
        The files written.

    Raises:
        FileNotFoundError: the folder has no notebook.
        ValueError: nbgrader refuses one of them.
    """
    sources = sorted(folder.glob("*.ipynb"))
    if not sources:
        raise FileNotFoundError(f"no notebook in {folder}: run this at the root of the repository")
    out.mkdir(parents=True, exist_ok=True)
    written = []
    for source in sources:
        with tempfile.TemporaryDirectory() as course:
            student = generate(source, Path(course).resolve())
            # The temporary folder may lie on another disk, from where a rename is a copy.
            partial = out / f".{source.name}.{os.getpid()}"
            shutil.copyfile(student, partial)
            written.append(partial.replace(out / source.name))
    return written

"""The command ``python -m book.tools.checks``."""

import argparse
import re
import sys
from pathlib import Path

import nbformat

from book.tools.checks.assignments import ASSIGNMENT, release
from book.tools.checks.chapters import CHAPTER
from book.tools.checks.reading import READING
from book.tools.checks.shared import Complaint


def check_file(path: Path) -> list[Complaint]:
    """Check one notebook: an assignment if it lies in a folder ``assignments``, else a chapter."""
    try:
        notebook = nbformat.read(path, as_version=4)
        nbformat.validate(notebook)
    except (nbformat.ValidationError, nbformat.reader.NotJSONError) as error:
        return [Complaint(None, f"is no valid notebook ({error})", "save it again in JupyterLab")]
    checks = ASSIGNMENT if path.parent.name == "assignments" else (*CHAPTER, *READING)
    return [complaint for check in checks for complaint in check(notebook)]


def check_names(folder: Path) -> dict[Path, Complaint]:
    """Check that chapters are called NN_name, and that each has one assignment of the same name."""
    chapters, assignments = sorted(folder.glob("*.ipynb")), sorted(folder.glob("assignments/*.ipynb"))
    found = {}
    for path in chapters:
        if not re.fullmatch(r"\d\d_[a-z0-9_]+", path.stem):
            found[path] = Complaint(None, f"is called {path.name}", "call it NN_name.ipynb, in small letters")
        elif path.stem not in {assignment.stem for assignment in assignments}:
            found[path] = Complaint(None, "has no assignment", f"add assignments/{path.name}")
    for path in assignments:
        if path.stem not in {chapter.stem for chapter in chapters}:
            found[path] = Complaint(None, "belongs to no chapter", "call it as its chapter")
    return found


def check_folder(folder: Path) -> list[str]:
    """Check all notebooks of a folder; return one line a complaint."""
    lines = [f"{path}: {complaint}" for path, complaint in check_names(folder).items()]
    for path in sorted(folder.rglob("*.ipynb")):
        if not any(part.startswith(".") for part in path.relative_to(folder).parts):
            lines += [f"{path}: {complaint}" for complaint in check_file(path)]
    return lines


def main(arguments: list[str] | None = None) -> int:
    """Run the command; return its exit code (0: no complaint)."""
    parser = argparse.ArgumentParser(prog="python -m book.tools.checks", description=__doc__)
    parser.add_argument("verb", nargs="?", choices=["check", "release"], default="check")
    parser.add_argument("--notebooks", type=Path, default=Path("notebooks"), help="folder of the chapters")
    parser.add_argument("--out", type=Path, default=Path("_build/assignments"), help="folder of student versions")
    options = parser.parse_args(arguments)
    if not options.notebooks.is_dir():
        parser.error(f"no folder {options.notebooks}: run this at the root of the repository, or give --notebooks")
    if options.verb == "release":
        try:
            print(*release(options.notebooks / "assignments", options.out), sep="\n")
        except (FileNotFoundError, ValueError) as error:
            parser.error(str(error))
        return 0
    lines = check_folder(options.notebooks)
    print(*lines, sep="\n" if lines else "", end="\n" if lines else "")
    return 1 if lines else 0


if __name__ == "__main__":
    sys.exit(main())

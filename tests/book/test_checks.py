"""A good chapter and a good assignment pass; one thing made wrong at a time is named."""

import os
import subprocess
import sys
from collections.abc import Callable

import nbformat
import pytest
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook, new_output

from book.tools import inline
from book.tools.checks.__main__ import check_file, check_folder, main
from book.tools.checks.assignments import ASSIGNMENT, region, release, test_of
from book.tools.checks.chapters import CHAPTER

# pytest would take the function for a test.
grader_of = test_of
del test_of

KERNEL = {"kernelspec": {"name": "python3", "display_name": "Python 3", "language": "python"}}
TITLE = """# Counting films

We count films in one line, as [chapter 1](01_one.ipynb) of [Harper and Konstan (2015)](#harper2015movielens) does.

:::{div} facts
Reading 20 min | run time 10 s | memory 1 GB | download 5 MB | difficulty ★
:::
"""
OBJECTIVES = """## By the end you can

- count films ({ref}`ex-one`),
- count users ([exercise 2](#ex-two)),
- count {numref}`both <ex-three>`.
"""
QUESTION = """```{dropdown} What is a film?
A work of %d minutes.
```
"""
FIRST_QUESTION = QUESTION % 0
EXERCISE = """````{exercise} %s
:label: ex-%s

Count them.

```{dropdown} Hint
Use len.
```
````
"""
SOLUTION = """```{solution} ex-%s
:class: dropdown

The answer is $0.5$, or `0.25`.

~~~python
assert sum([data for _, data in enumerate([1])]) == 1
~~~
```
"""
CHOICE = """:::{dropdown} %s
%s. It is what len gives back.
:::
"""
QUIZ = (
    """::::{admonition} Question %d
:class: quiz

Which one?

"""
    + CHOICE % ("One", "**Right**")
    + CHOICE % ("Two", "**Wrong**")
    + CHOICE % ("Three", "**Wrong**")
    + "::::\n"
)
PREDICT = """:::{admonition} Predict
:class: predict
How many?
:::
"""
FIGURE = 'fig, ax = plt.subplots()\nplots.show(fig, alt="A line that falls.", caption="It falls.")'
ALLOWED = """We get {eval}`glued.ndcg` with Python 3.11.7, as $x = 0.25$ and `.75`.

$$ y = 0.125 $$

```python
x = 0.5
```

- [A paper of 2015](https://doi.org/10.1145/2827872) on 0.5 million films.
"""


def chapter() -> nbformat.NotebookNode:
    """The smallest chapter that has all a chapter needs."""
    exercises = "".join(
        EXERCISE % (title, name) + (SOLUTION % name if "★" in title else "")
        for title, name in [("★ A", "one"), ("★★ B", "two"), ("★★★ C", "three"), ("Open: D", "four")]
    )
    sources = [
        TITLE,
        OBJECTIVES,
        "## Before you start\n\n" + "\n".join(QUESTION % n for n in range(3)),
        "## The problem\n\n" + ALLOWED,
        "import llmrec_lite",
        "## Intuition: a picture",
        FIGURE,
        "## Mathematics",
        "## From scratch: one line",
        PREDICT,
        "count = 0",
        "### A level-3 heading is free",
        "assert count == 0",
        "## The same with the package",
        "## Experiment",
        "## What the articles said",
        '# Verdict\nresults.record_claim("C01", holds=True)',
        "## When it fails",
        "## Exercises\n\n" + exercises,
        "## Quiz\n\n" + "\n".join(QUIZ % n for n in range(3)),
        "## Takeaways",
    ]
    markdown = ("# Counting", "##", "We", ":", "`")
    cells = [new_markdown_cell(s) if s.startswith(markdown) else new_code_cell(s) for s in sources]
    for cell in cells:
        if "record_claim" in cell.source:
            cell.metadata["tags"] = ["hide-input"]
    notebook = new_notebook(cells=cells, metadata=KERNEL)
    for cell in notebook.cells:
        inline.set_metadata(cell)
    return notebook


def meta(grade_id: str, grade: bool = False, solution: bool = False, **more: object) -> dict:
    """The metadata of a cell of an assignment."""
    nbgrader = {"grade_id": grade_id, "grade": grade, "solution": solution, "locked": grade and not solution}
    return {"nbgrader": nbgrader | {"schema_version": 3, "task": False} | more}


def question(name: str) -> list[nbformat.NotebookNode]:
    """A solution cell and its test cell."""
    answer = f"def {name}(n):\n    ### BEGIN SOLUTION\n    return 2 * n\n    ### END SOLUTION"
    test = f"assert {name}(1) == 2\n### BEGIN HIDDEN TESTS\nassert {name}(factor) == 6\n### END HIDDEN TESTS"
    return [
        new_code_cell(answer, metadata=meta(name, solution=True)),
        new_code_cell(test, metadata=meta("test-" + name, grade=True, points=2)),
    ]


def assignment() -> nbformat.NotebookNode:
    """The smallest assignment with two questions."""
    cells = [
        new_markdown_cell("# Doubling"),
        new_code_cell("factor = 3"),
        *question("double"),
        *question("twice"),
    ]
    return new_notebook(cells=cells, metadata=KERNEL)


def complaints(notebook: nbformat.NotebookNode, checks: tuple) -> list[str]:
    return [str(complaint) for check in checks for complaint in check(notebook)]


def change(old: str, new: str, first: bool = False) -> Callable[[nbformat.NotebookNode], None]:
    """A mutation that replaces a text that has to be there: everywhere, or only where it stands first."""

    def mutate(notebook: nbformat.NotebookNode) -> None:
        cells = [cell for cell in notebook.cells if old in cell.source]
        assert cells, f"{old!r} is not in the notebook"
        for cell in cells[:1] if first else cells:
            cell.source = cell.source.replace(old, new, 1 if first else -1)

    return mutate


def add(cell: nbformat.NotebookNode, at: int = 10) -> Callable[[nbformat.NotebookNode], None]:
    return lambda notebook: notebook.cells.insert(at, cell)


def text(source: str, *tags: str) -> nbformat.NotebookNode:
    return new_markdown_cell(source, metadata={"tags": list(tags)})


def swap(notebook: nbformat.NotebookNode) -> None:
    notebook.cells[13:15] = notebook.cells[14:12:-1]


def with_output(notebook: nbformat.NotebookNode) -> None:
    notebook.cells[4].outputs = [new_output("stream", text="ran")]


def with_count(notebook: nbformat.NotebookNode) -> None:
    notebook.cells[4].execution_count = 1


def set_metadata(**values: object) -> Callable[[nbformat.NotebookNode], None]:
    return lambda notebook: notebook.metadata.update(values)


COMMON = {
    "outputs": (with_output, "cell 5: has outputs"),
    "execution count": (with_count, "cell 5: has outputs"),
    "widgets": (set_metadata(widgets={}), "carries the state of widgets"),
    "kernel": (set_metadata(kernelspec={"name": "mine"}), "asks for the kernel 'mine'"),
    "no kernel": (set_metadata(kernelspec={}), "asks for the kernel None"),
    "path": (add(new_code_cell('open("/home/me/x")')), "an absolute path"),
    "path in prose": (add(text("See /Users/me/x.")), "an absolute path"),
    "Windows path": (add(new_code_cell(r'open(r"C:\x")')), "an absolute path"),
    "pip": (add(new_code_cell("!pip install x")), "an install command"),
    "pip magic": (add(new_code_cell("%pip install x")), "an install command"),
    "warnings": (add(new_code_cell('warnings.filterwarnings("ignore")')), "all warnings are silenced"),
    "note": (add(text("TODO: write this.")), "a note to ourselves"),
    "syntax": (add(new_code_cell("1 +")), "is no Python"),
    "width": (add(new_code_cell("x = " + "1" * 107)), "has a line of 111 characters"),
}
CHAPTERS = COMMON | {
    "too few cells": (lambda nb: nb.cells.__delitem__(slice(9, 13)), "has 17 cells"),
    "too many cells": (lambda nb: nb.cells.extend(new_code_cell("") for _ in range(40)), "has 61 cells"),
    "long cell": (add(new_code_cell("x = 1\n" * 41), 4), "has 41 lines"),
    "long step": (add(new_code_cell("x = 1\n" * 31)), "has 31 lines of a from-scratch step"),
    "no title": (change("# Counting films", "Counting films"), "cell 1: has 0 level-1 headings"),
    "two titles": (add(text("# Another")), "cell 1: has 2 level-1 headings"),
    "late title": (add(text("Hello."), 0), "cell 1: has 1 level-1 headings"),
    "two sentences": (change("in one line, as", "one line. As"), "promises"),
    "no promise": (
        lambda nb: nb.cells[0].update(source="# A" + TITLE[TITLE.index("\n\n:::") :]),
        "promises ''",
    ),
    "no facts": (change("{div} facts", "{div} row"), "lacks the facts ['reading'"),
    "one fact less": (change("memory 1 GB", "1 GB"), "lacks the facts ['memory']"),
    "section gone": (change("## Experiment", "### Experiment"), "has 0 sections 'Experiment'"),
    "section twice": (add(text("## From scratch, again")), "has 2 sections 'From scratch'"),
    "section unknown": (add(text("## History")), "has the section 'History'"),
    "sections swapped": (swap, "has its sections in the order"),
    "two objectives": (change("- count films ({ref}`ex-one`),\n", ""), "lists 2 objectives"),
    "six objectives": (change("- count films", "- a\n- b\n- c\n- count films"), "lists 6 objectives"),
    "loose objective": (change("({ref}`ex-one`)", "well"), "has the objective '- count films well,'"),
    "lost exercise": (change("{ref}`ex-one`", "{ref}`ex-none`"), "has the objective '- count films ({ref}"),
    "shared exercise": (change("(#ex-two)", "(#ex-one)"), "ties two objectives to 'ex-one'"),
    "question gone": (change(FIRST_QUESTION, ""), "has 2 folded answers"),
    "answer in the open": (
        change("{dropdown} What is", "{note} What is", first=True),
        "has 2 folded answers",
    ),
    "answer empty": (change("A work of 0 minutes.", ""), "has 2 folded answers"),
    "no label": (change(":label: ex-four", ":class: x"), "leaves 'Open: D' without a label"),
    "no level": (change("Open: D", "D"), "gives 'D' no level"),
    "four stars": (change("★★★ C", "★★★★ C"), "gives '★★★★ C' no level"),
    "level missing": (change("★★ B", "★ B"), "has no exercise of the level ★★"),
    "no open exercise": (change("Open: D", "★ D"), "has no exercise of the level open"),
    "no solution": (change(SOLUTION % "two", ""), "leaves '★★ B' without a folded solution"),
    "open solution": (
        change("ex-two\n:class: dropdown", "ex-two\n:class: note"),
        "leaves '★★ B' without a folded solution",
    ),
    "solution is no Python": (change("assert sum(", "assert sum((", first=True), "with what is no Python ("),
    "solution uses what is nowhere": (
        change("enumerate([1])", "inverses([1])", first=True),
        "uses ['inverses'] in the solution of ex-one",
    ),
    "open hint": (change("{dropdown} Hint", "{admonition} Hint", first=True), "has an open hint"),
    "hint in words": (
        change("Count them.", "Hint: count them.", first=True),
        "gives the hint of 'ex-one' openly",
    ),
    "quiz of two": (change(":class: quiz", ":class: note", first=True), "has 2 questions"),
    "two choices": (change(CHOICE % ("Two", "**Wrong**"), "", first=True), "offers 2 choices"),
    "choice in the open": (change("{dropdown} Two", "{note} Two", first=True), "offers 2 choices"),
    "choice unexplained": (
        change("**Wrong**. It is what len gives back.", "**Wrong**.", first=True),
        "not explain ['Two']",
    ),
    "none right": (change("**Right**", "**Wrong**", first=True), "marks 0 choices as right"),
    "two right": (change("**Wrong**", "**Right**", first=True), "marks 2 choices as right"),
    "no prediction": (change(":class: predict", ":class: note"), "asks for no prediction"),
    "no claim": (change("results.record_claim(", "print("), "records no verdict"),
    "figure without alt": (change("plots.show(fig,", "show(fig,"), "makes a figure without alt text"),
    "figure with empty alt": (change('"A line that falls."', '""'), "makes a figure without alt text"),
    "shared figure": (add(new_code_cell("plots.long_tail(data)")), "makes a figure without alt text"),
    "picture": (add(text("![](a.svg)")), "shows a picture without alt text"),
    "picture directive": (add(text("```{figure} a.svg\nA film.\n```")), "shows a.svg without alt text"),
    "decimal": (add(text("EASE gets .4767 here.")), "has the hand-typed numbers ['.4767']"),
    "decimal in a sentence": (add(text("It is **0.934**.")), "has the hand-typed numbers ['0.934']"),
    "percentage": (add(text("That is 93.7% of all.")), "has the hand-typed numbers ['93.7']"),
    "factor": (add(text("That is 1.5x faster.")), "has the hand-typed numbers ['1.5']"),
    "decimal in a box": (add(text(":::{note} 0.5\n0.25\n:::")), "has the hand-typed numbers ['0.5', '0.25']"),
    "decimal in a table": (add(text("| a |\n|---|\n| 0.5 |")), "has the hand-typed numbers ['0.5']"),
    "decimal in HTML": (add(text("<p>0.5</p>")), "has the hand-typed numbers ['0.5']"),
    "published without source": (add(text("They had 0.475.", "published")), "cites nothing"),
}
ASSIGNMENTS = COMMON | {
    "schema": (lambda nb: nb.cells[2].metadata.nbgrader.pop("grade"), "invalid nbgrader metadata ('grade'"),
    "old schema": (lambda nb: nb.cells[2].metadata.nbgrader.update(schema_version=2), "invalid nbgrader"),
    "twice the same id": (add(question("double")[0], 6), "Duplicate grade id"),
    "nothing graded": (lambda nb: nb.cells.__delitem__(slice(2, 6)), "grades nothing"),
    "solution not marked": (
        change("### BEGIN SOLUTION", "###", first=True),
        "has no marked solution (double)",
    ),
    "solution not closed": (change("### END SOLUTION", "###", first=True), "has no marked solution (double)"),
    "solution empty": (change("    return 2 * n\n", "", first=True), "has no marked solution (double)"),
    "solution not graded": (lambda nb: nb.cells.pop(3), "has an answer that nothing grades (double)"),
    "test of nothing": (lambda nb: nb.cells.pop(2), "grades no solution (test-double)"),
    "no points": (lambda nb: nb.cells[3].metadata.nbgrader.update(points=0), "is worth nothing"),
    "no hidden tests": (
        change("### BEGIN HIDDEN TESTS", "", first=True),
        "cell 4: has no hidden tests (test-double)",
    ),
    "graded by a person": (
        add(new_markdown_cell("Why.", metadata=meta("why", True, True, points=1)), 6),
        "cell 7: needs a person to grade it (why)",
    ),
    "one answer in another": (change("return 2 * n", "return double(n)"), "test-twice uses ['double']"),
}


def test_a_good_chapter_passes() -> None:
    assert complaints(chapter(), CHAPTER) == []


def test_a_good_assignment_passes() -> None:
    assert complaints(assignment(), ASSIGNMENT) == []


@pytest.mark.parametrize("name", CHAPTERS)
def test_what_is_wrong_in_a_chapter_is_named(name: str) -> None:
    mutate, expected = CHAPTERS[name]
    notebook = chapter()
    mutate(notebook)
    found = complaints(notebook, CHAPTER)
    assert any(expected in complaint for complaint in found), found


@pytest.mark.parametrize("name", ASSIGNMENTS)
def test_what_is_wrong_in_an_assignment_is_named(name: str) -> None:
    mutate, expected = ASSIGNMENTS[name]
    notebook = assignment()
    mutate(notebook)
    found = complaints(notebook, ASSIGNMENT)
    assert any(expected in complaint for complaint in found), found


@pytest.mark.parametrize(
    "cell",
    [
        text("By hand, 0.5 plus 0.25 is 0.75.", "hand-example"),
        text("They had 0.475 ([Steck, 2019](#steck2019ease)).", "published"),
        text("See [version 3.11](x.md), arXiv:1905.03375 and https://doi.org/10.1145/2827872."),
        text("```python\n## no heading: 0.5\n```"),
        new_code_cell("%matplotlib inline\nax.plot(x)"),
        new_code_cell("plots.use_style()"),
        new_code_cell('plots.leaderboard(reports, ["ndcg"])'),
        new_code_cell('plots.show(plots.long_tail(data), "Few films have most ratings.")'),
        new_code_cell('warnings.filterwarnings("ignore", message="x", category=UserWarning)'),
        new_code_cell("x = 1\n" * 30),
    ],
)
def test_what_is_allowed_passes(cell: nbformat.NotebookNode) -> None:
    notebook = chapter()
    notebook.cells.insert(10, cell)
    assert complaints(notebook, CHAPTER) == []


def test_solutions_may_hold_executed_cells() -> None:
    # sphinx-exercise's gated form: the code between start and end is run by the build.
    notebook = chapter()
    change(SOLUTION % "one", "")(notebook)
    gated = "```{solution-start} ex-one\n:class: dropdown\n```"
    notebook.cells[19:19] = [text(gated), new_code_cell("len([])"), text("```{solution-end}\n```")]
    assert complaints(notebook, CHAPTER) == []


def test_a_helper_cell_is_graded_by_its_question() -> None:
    assert grader_of("double-helper", ["test-double"]) == "test-double"
    assert grader_of("double-helper", ["test-double", "test-double-helper"]) == "test-double-helper"
    assert grader_of("other-helper", ["test-double"]) is None


def test_questions_may_share_imports_local_names_and_what_is_given() -> None:
    notebook = assignment()
    local = "import numpy as np\n\n\ndef {}(n):\n    local = np.int64(n) * 1\n    return helper(local)"
    for cell, name in [(notebook.cells[2], "double"), (notebook.cells[4], "twice")]:
        body = local.format(name) + "\n\n\ndef helper(n):\n    return factor * n - n"
        cell.source = f"### BEGIN SOLUTION\n{body}\n### END SOLUTION"
    assert complaints(notebook, ASSIGNMENT) == []


def test_an_import_or_a_local_name_of_one_answer_is_none_of_another() -> None:
    notebook = assignment()
    notebook.cells[2].source = "import math\nlimit = 2\n" + notebook.cells[2].source
    change("return 2 * n", "limit = math.inf\n    return min(limit, factor) + n")(notebook)
    assert complaints(notebook, ASSIGNMENT) == []


def test_regions_that_are_broken_are_none() -> None:
    marks = ("BEGIN", "END")
    assert region("a\n# BEGIN\nb\n# END\nc\n# BEGIN\nd\n# END", marks) == ["b", "d"]
    for broken in ["a", "BEGIN\n\nEND", "BEGIN\na", "BEGIN\nBEGIN\na\nEND", "BEGIN\na\nEND\nEND"]:
        assert region(broken, marks) is None


@pytest.fixture
def book(tmp_path, monkeypatch):
    """A folder with a good chapter and its assignment."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "notebooks/assignments").mkdir(parents=True)
    nbformat.write(chapter(), tmp_path / "notebooks/01_counting.ipynb")
    nbformat.write(assignment(), tmp_path / "notebooks/assignments/01_counting.ipynb")
    return tmp_path


def test_the_command_is_silent_on_good_notebooks(book, capsys) -> None:
    assert main([]) == 0
    assert capsys.readouterr().out == ""


def test_the_command_prints_one_line_a_complaint(book) -> None:
    path = book / "notebooks/01_counting.ipynb"
    path.write_text(path.read_text().replace("## Experiment", "## Trial"))
    done = subprocess.run(
        [sys.executable, "-m", "book.tools.checks"], capture_output=True, text=True, cwd=book, env=os.environ
    )
    lines = done.stdout.splitlines()
    assert done.returncode == 1
    assert len(lines) == 2
    assert lines[0].startswith("notebooks/01_counting.ipynb: cell 15: has the section 'Trial', ")
    assert lines[1].startswith("notebooks/01_counting.ipynb: notebook: has 0 sections 'Experiment', ")


def test_names_are_checked(book) -> None:
    notebooks = book / "notebooks"
    (notebooks / "01_counting.ipynb").rename(notebooks / "02_Counting.ipynb")
    nbformat.write(chapter(), notebooks / "03_lonely.ipynb")
    (notebooks / ".ipynb_checkpoints").mkdir()
    (notebooks / ".ipynb_checkpoints/01_x-checkpoint.ipynb").write_text("not looked at")
    lines = [line.removeprefix(f"{notebooks}/") for line in check_folder(notebooks)]
    assert [line.split(",")[0] for line in sorted(lines)] == [
        "02_Counting.ipynb: notebook: is called 02_Counting.ipynb",
        "03_lonely.ipynb: notebook: has no assignment",
        "assignments/01_counting.ipynb: notebook: belongs to no chapter",
    ]


def test_a_broken_file_is_a_complaint(tmp_path) -> None:
    path = tmp_path / "01_x.ipynb"
    path.write_text("{")
    assert "is no valid notebook" in str(check_file(path)[0])
    path.write_text('{"cells": [{"cell_type": "code"}], "metadata": {}, "nbformat": 4, "nbformat_minor": 5}')
    assert "is no valid notebook" in str(check_file(path)[0])


def test_a_missing_folder_is_one_clear_error(tmp_path, monkeypatch, capsys) -> None:
    monkeypatch.chdir(tmp_path)
    for verb in ["check", "release"]:
        with pytest.raises(SystemExit, match="2"):
            main([verb])
        assert "no folder notebooks: run this at the root" in capsys.readouterr().err


def test_release_writes_student_versions(book, capsys) -> None:
    assert main(["release"]) == 0
    out = book / "_build/assignments"
    assert [path.name for path in out.iterdir()] == ["01_counting.ipynb"]  # no temporary file is left
    student = (out / "01_counting.ipynb").read_text()
    assert "raise NotImplementedError" in student
    assert "2 * n" not in student
    assert "== 6" not in student
    assert capsys.readouterr().out.strip() == "_build/assignments/01_counting.ipynb"
    assert main(["release"]) == 0  # again, over the old one


def test_release_refuses_what_it_cannot_make(book, capsys) -> None:
    path = book / "notebooks/assignments/01_counting.ipynb"
    path.write_text(path.read_text().replace("### END SOLUTION", "###"))
    with pytest.raises(SystemExit, match="2"):
        main(["release"])
    assert "nbgrader refuses notebooks/assignments/01_counting.ipynb" in capsys.readouterr().err
    assert list((book / "_build/assignments").iterdir()) == []
    path.unlink()
    with pytest.raises(FileNotFoundError):
        release(path.parent, book / "out")

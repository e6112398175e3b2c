"""Checks of what the reader does: objectives, questions, exercises, quiz."""

import builtins
import contextlib
import re

from nbformat import NotebookNode

from book.tools.checks.markdown import PARSER, Block, Directive, list_items, prose, section, walk
from book.tools.checks.shared import Check, Complaint, names_of

LEVELS = {1: "★", 2: "★★", 3: "★★★", 0: "open"}
#: A link to a label of the same notebook, in any of the ways of MyST.
LINK = re.compile(r"\{(?:ref|numref|prf:ref|exercise:[\w-]+)\}`(?:[^`<]*<)?([^`>]+)>?`|\]\(#([^)\s]+)\)|<#([^>\s]+)>")


def _at(parts: list[Block]) -> int | None:
    return parts[0].cell if parts else None


def _exercises(notebook: NotebookNode) -> list[Directive]:
    every = walk(section(notebook, "Exercises"))
    return [directive for directive in every if directive.name in {"exercise", "exercise-start"}]


def check_objectives(notebook: NotebookNode) -> list[Complaint]:
    """Check for three to five objectives, each tied to an exercise of its own."""
    parts = section(notebook, "By the end you can")
    items = [item for part in parts for item in list_items(part.text)]
    exercises = {d.options.get("label") for d in _exercises(notebook)}
    found: list[Complaint] = []
    seen: set[str] = set()
    if not 3 <= len(items) <= 5:
        found.append(Complaint(_at(parts), f"lists {len(items)} objectives", "three to five, as a list"))
    for item in items:
        labels = {next(filter(None, match)) for match in LINK.findall(item)} & exercises
        if not labels:
            found.append(Complaint(_at(parts), f"has the objective {item!r}", "link one of the exercises below"))
        for label in sorted(labels & seen):
            found.append(Complaint(_at(parts), f"ties two objectives to {label!r}", "each to its own exercise"))
        seen |= labels
    return found


def check_questions(notebook: NotebookNode) -> list[Complaint]:
    """Check for three quick questions before the start, their answers folded away."""
    parts = section(notebook, "Before you start")
    answers = [d for d in walk(parts) if d.folded and d.body.strip()]
    if len(answers) == 3:
        return []
    return [Complaint(_at(parts), f"has {len(answers)} folded answers", "three questions, each with a dropdown")]


def check_exercises(notebook: NotebookNode) -> list[Complaint]:
    """Check for exercises of every level, with folded solutions and hints."""
    parts, found = section(notebook, "Exercises"), []
    every = list(walk(parts))
    solved = {d.title for d in every if d.name in {"solution", "solution-start"} and d.folded}
    levels = set()
    for exercise in _exercises(notebook):
        label, stars = exercise.options.get("label", ""), exercise.title.count("★")
        if not label:
            found.append(Complaint(exercise.cell, f"leaves {exercise.title!r} without a label", "add :label:"))
        if stars > 3 or (stars == 0 and "open" not in exercise.title.lower()):
            found.append(Complaint(exercise.cell, f"gives {exercise.title!r} no level", "★, ★★, ★★★ or open"))
        levels.add(stars)
        if stars and label not in solved:
            fix = f"add {{solution}} {label} with :class: dropdown"
            found.append(Complaint(exercise.cell, f"leaves {exercise.title!r} without a folded solution", fix))
        if any(re.search(r"\bhint", words, re.IGNORECASE) for words in prose(exercise.body, nested=False)):
            found.append(Complaint(exercise.cell, f"gives the hint of {label!r} openly", "fold it in a dropdown"))
    for hint in every:
        if (hint.name == "hint" or hint.title.lower().startswith("hint")) and not hint.folded:
            found.append(Complaint(hint.cell, "has an open hint", "make it a dropdown"))
    for missing in sorted(LEVELS.keys() - levels):
        found.append(Complaint(_at(parts), f"has no exercise of the level {LEVELS[missing]}", "add one"))
    return found


def check_solution_code(notebook: NotebookNode) -> list[Complaint]:
    """Check that the code of solutions parses, and uses no name that neither it nor the chapter defines."""
    known, found = set(dir(builtins)) | {"display"}, []
    with contextlib.suppress(SyntaxError):  # check_code complains
        for cell in notebook.cells:
            if cell.cell_type == "code":
                known |= names_of(cell.source)[0]
    for solution in walk(section(notebook, "Exercises")):
        if solution.name not in {"solution", "solution-start"}:
            continue
        own: set[str] = set()  # a solution may go on in a second block
        for token in PARSER.parse(solution.body):
            if token.type != "fence" or token.info.strip() != "python":
                continue
            try:
                defined, used = names_of(token.content)
            except SyntaxError as error:
                what = f"solves {solution.title} with what is no Python ({error.msg}, line {error.lineno})"
                found.append(Complaint(solution.cell, what, "fix the syntax"))
                continue
            own |= defined
            if lost := sorted(used - own - known):
                what = f"uses {lost} in the solution of {solution.title}"
                found.append(Complaint(solution.cell, what, "define it there, or in the chapter"))
    return found


def check_quiz(notebook: NotebookNode) -> list[Complaint]:
    """Check for three questions, each with three choices or more, all explained, one right."""
    parts = section(notebook, "Quiz")
    questions = [d for d in walk(parts) if "quiz" in d.classes]
    found = []
    if len(questions) != 3:
        found.append(Complaint(_at(parts), f"has {len(questions)} questions", "three directives of class `quiz`"))
    for question in questions:
        choices = [d for d in question.inside() if d.folded]
        # "Right." alone tells nobody why.
        empty = [choice.title for choice in choices if len(re.findall(r"\w+", choice.body)) < 4]
        right = [c for c in choices if re.match(r"\W*(right|correct)\b", c.body.strip(), re.IGNORECASE)]
        if len(choices) < 3:
            found.append(Complaint(question.cell, f"offers {len(choices)} choices", "at least three dropdowns"))
        if empty:
            found.append(Complaint(question.cell, f"does not explain {empty}", "say why in a sentence"))
        if len(right) != 1:
            fix = "begin the body of the one right choice with **Right.**"
            found.append(Complaint(question.cell, f"marks {len(right)} choices as right", fix))
    return found


PRACTICE: tuple[Check, ...] = (
    check_objectives,
    check_questions,
    check_exercises,
    check_solution_code,
    check_quiz,
)

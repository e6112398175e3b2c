"""Checks that JupyterLab and the site can both show what the text of a notebook refers to."""

import functools
import re

import nbformat
from nbformat import NotebookNode

from book.tools import inline, references
from book.tools.checks.shared import Check, Complaint

LINK = re.compile(r"\[([^\[\]]*)\]\(([^()\s#]*)#([^()\s]+)\)")
FIX = "run `make format`"


@functools.cache
def _known() -> references.References:
    return references.known()


def cites(text: str) -> bool:
    """Whether a text links a work of the bibliography, or cites one by a role."""
    return "{cite" in text or any(not path and key in _known().works for _, path, key in LINK.findall(text))


def check_roles(notebook: NotebookNode) -> list[Complaint]:
    """Check for no role that JupyterLab cannot show, and for metadata as `book.tools.inline` leaves them."""
    found = []
    for index, cell in enumerate(notebook.cells):
        if cell.cell_type == "markdown":
            roles = sorted({f"{{{match['role']}}}" for match in inline.ROLE.finditer(cell.source)} - {"{ref}"})
            found += [Complaint(index, f"has the role {role}, which JupyterLab shows raw", FIX) for role in roles]
            for code in inline.expressions(cell.source):
                if inline.glued_name(code) is None:
                    found.append(Complaint(index, f"evaluates {code!r}", "evaluate a glued value, glued.name"))
        elif inline.rewrite_code(cell.source) != cell.source:
            found.append(Complaint(index, "calls glue", FIX))
        tidy = nbformat.from_dict(cell)
        inline.set_metadata(tidy)
        if tidy.metadata != cell.metadata:
            found.append(Complaint(index, "has other dashes or folded code than its text and tags", FIX))
    return found


def check_links(notebook: NotebookNode) -> list[Complaint]:
    """Check that links to works, terms and labels lead somewhere, and that works are named by author and year."""
    known, found = _known(), []
    text = [(index, cell.source) for index, cell in enumerate(notebook.cells) if cell.cell_type == "markdown"]
    labels = {label for _, source in text for label in references.labels_of(source)}
    for index, source in text:
        for words, path, anchor in LINK.findall(source):
            if path.endswith("glossary.md"):
                if anchor not in known.terms:
                    found.append(Complaint(index, f"links {words!r} to no term ({anchor})", "name one of the glossary"))
            elif path:
                if "://" not in path and anchor not in known.labels:
                    found.append(Complaint(index, f"links {words!r} to no label ({anchor})", "name one that exists"))
            elif work := known.works.get(anchor):
                first = re.split(r" and | et al\.", work.authors)[0]
                if first not in words or work.year not in words:
                    fix = f"write {work.authors}, {work.year}"
                    found.append(Complaint(index, f"calls {anchor} {words!r}", fix))
            elif anchor not in labels:
                fix = "name a label of this notebook or a key of references.bib"
                found.append(Complaint(index, f"links {words!r} to nothing (#{anchor})", fix))
    return found


LINKS: tuple[Check, ...] = (check_roles, check_links)

"""What the text of a notebook can refer to: works of the bibliography, terms of the glossary, labels of any file."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from os.path import relpath
from pathlib import Path

import nbformat
from pybtex.database import Entry, parse_file
from pybtex.richtext import Text

from book.tools.code import ROOT

GLOSSARY = ROOT / "book" / "glossary.md"
LABEL = re.compile(r"^(?::label:\s*(\S+)|\((\S+)\)=|```\{math\}\n:label:\s*(\S+))\s*$", re.M)
TERM = re.compile(r"^(?! |```|:)(\S.*)\n(?=  \S)", re.M)


@dataclass(frozen=True)
class Work:
    """An entry of the bibliography.

    Attributes:
        authors: as in a citation, "Koren", "Finn and Abbeel" or "Koren et al.".
        year: four digits.
        address: of the work on the web, None if the entry has none.
    """

    authors: str
    year: str
    address: str | None = None


@dataclass(frozen=True)
class References:
    """All that can be referred to: works by key, ids of terms, files by the label they define."""

    works: Mapping[str, Work]
    terms: frozenset[str]
    labels: Mapping[str, Path]


def known(root: Path = ROOT) -> References:
    """Read the bibliography, the glossary and the labels of a checkout."""
    book, folder = root / "book", root / "notebooks"
    works = {key: work(entry) for key, entry in parse_file(str(book / "references.bib")).entries.items()}
    files = [*book.glob("*.md"), *folder.glob("*.ipynb"), *folder.glob("assignments/*.ipynb")]
    labels = {label: file for file in files for label in labels_of(read(file))}
    terms = TERM.findall((book / "glossary.md").read_text(encoding="utf-8").partition("```{glossary}")[2])
    return References(works, frozenset(map(term_id, terms)), labels)


def read(file: Path) -> str:
    """Return the markdown of a page or of a notebook."""
    if file.suffix != ".ipynb":
        return file.read_text(encoding="utf-8")
    cells = nbformat.read(file, as_version=4).cells
    return "\n\n".join(cell.source for cell in cells if cell.cell_type == "markdown")


def labels_of(text: str) -> list[str]:
    """Return the labels that a text defines, by ``:label:`` or ``(label)=``."""
    return [next(filter(None, match)) for match in LABEL.findall(text)]


def work(entry: Entry) -> Work:
    """Return how an entry of the bibliography is cited, and where its work is on the web."""
    people = entry.persons.get("author") or entry.persons.get("editor") or []
    names = [str(Text.from_latex(" ".join([*one.prelast_names, *one.last_names]))) for one in people]
    fields = entry.fields
    address = fields.get("url")
    if doi := fields.get("doi"):
        address = f"https://doi.org/{doi}"
    elif (found := fields.get("eprint")) and "/" not in found:
        address = f"https://arxiv.org/abs/{found}"
    elif found := re.search(r"arXiv:\s*(\d{4}\.\d{4,5})", " ".join(map(str, fields.values()))):
        address = f"https://arxiv.org/abs/{found[1]}"
    return Work(joined(names), fields.get("year", ""), address)


def joined(names: Sequence[str]) -> str:
    """Return the names of authors as a citation has them: both of two, else the first and "et al."."""
    if len(names) == 2 and names[1] != "others":
        return f"{names[0]} and {names[1]}"
    return f"{names[0]} et al." if len(names) > 1 else "".join(names)


def citation(keys: Sequence[str], works: Mapping[str, Work], textual: bool) -> str:
    """Return works as links with authors and year, to their keys.

    Args:
        keys: of the works.
        works: the bibliography.
        textual: as a part of the sentence, "Steck (2019)"; else in parentheses, "(Steck, 2019)".

    Raises:
        KeyError: a key that the bibliography does not have.
    """
    links = []
    for key in map(str.strip, keys):
        one = works[key]
        year = f" ({one.year})" if textual else f", {one.year}"
        links.append(f"[{one.authors}{year}](#{key})")
    return " and ".join(links) if textual else f"({'; '.join(links)})"


def term_id(term: str) -> str:
    """Return the id of a term in the glossary, as docutils and jupyterlab-myst make it."""
    return "term-" + re.sub(r"[^a-z0-9]+", "-", term.lower()).strip("-")


def relative(target: Path, file: Path) -> str:
    """Return the path of one file as a link from another."""
    return Path(relpath(target, file.parent)).as_posix()

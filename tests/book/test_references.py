"""What the text of a notebook can refer to."""

import pytest
from pybtex.database import parse_string

from book.tools import references
from book.tools.references import Work


@pytest.mark.parametrize(
    ("authors", "expected"),
    [
        ("Steck, Harald", "Steck"),
        ("Finn, C. and Levine, S.", "Finn and Levine"),
        ("Finn, C. and others", "Finn et al."),
        ("A, B and C, D and E, F", "A et al."),
        (r"Sp{\"a}rck Jones, Karen", "Spärck Jones"),
        ("van den Oord, A.", "van den Oord"),
        ("{MinishLab}", "MinishLab"),
    ],
)
def test_authors_are_cited_by_last_names(authors, expected):
    entry = parse_string(f"@article{{k, author = {{{authors}}}, year = {{2019}}, doi = {{10.1/x}}}}", "bibtex")
    assert references.work(entry.entries["k"]) == Work(expected, "2019", "https://doi.org/10.1/x")


def test_labels_are_found_in_directives_and_before_paragraphs():
    assert references.labels_of(":label: ex-a\ntext :label: no\n(erratum-b)=\n") == ["ex-a", "erratum-b"]


def test_the_book_knows_its_works_terms_and_labels():
    known = references.known()
    assert known.works["steck2019ease"].authors == "Steck"
    assert "term-cosine-similarity" in known.terms
    assert known.labels["erratum-cosine"].name == "errata.md"
    assert known.labels["eq-cosine"].name == "02_cosine_similarity.ipynb"

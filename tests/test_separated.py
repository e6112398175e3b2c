"""Separated text: the separator is found, and a quotation mark means what it can mean."""

import csv
import io

import pytest
from hypothesis import given
from hypothesis import strategies as st

from llmrec_lite.errors import DataError
from llmrec_lite.separated import SEPARATORS, guess_separator, separated_rows, text_lines

cells = st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"]), max_size=8)


@given(st.integers(2, 5).flatmap(lambda n: st.lists(st.lists(cells, min_size=n, max_size=n), min_size=1, max_size=6)))
def test_what_csv_writes_is_read_back(rows):
    sink = io.StringIO()
    csv.writer(sink, lineterminator="\n", quoting=csv.QUOTE_ALL).writerows(rows)
    assert separated_rows(sink.getvalue(), ",", "f", []).to_numpy().tolist() == rows


plain = st.text(st.characters(exclude_characters='\0\r\n\x1f:,;|\t"', exclude_categories=["Cs"]), max_size=8)


@pytest.mark.parametrize("separator", SEPARATORS)
@given(st.integers(2, 5).flatmap(lambda n: st.lists(st.lists(plain, min_size=n, max_size=n), min_size=1, max_size=6)))
def test_unquoted_cells_are_what_stands_between(separator, rows):
    text = "".join(separator.join(["x", *row]) + "\n" for row in rows)
    assert separated_rows(text, separator, "f", []).to_numpy().tolist() == [["x", *row] for row in rows]


@pytest.mark.parametrize(
    ("text", "separator"),
    [
        ("user_id;item_id\n1,5;2\n", ";"),
        ("1|Toy Story (1995)|01-Jan-1995||http://x/y,z|0|1\n2|GoldenEye, The (1995)|x||y|0|1\n", "|"),
        ("1::Toy Story (1995)::Animation|Children's\n2::Jumanji (1995)::Adventure\n", "::"),
        ("196\t242\t3\t881250949\n", "\t"),
        ('"User-ID";"ISBN"\n"a,b";"c,d"\n', ";"),
        ("user_id,item_id,genres\n1,2,a|b|c\n", ","),
        ("alone\n", ","),
    ],
)
def test_the_separator_is_found(text, separator):
    assert guess_separator(text, None) == separator


def test_a_quotation_mark_in_a_tab_separated_title_is_a_character():
    rows = separated_rows('1\t"Great" Cats\n2\tDogs"\n3\t"Birds\n', "\t", "f", [])
    assert rows[1].tolist() == ['"Great" Cats', 'Dogs"', '"Birds']


def test_quoted_cells_are_told_where_they_are_not_unwrapped_and_unwrapped_where_all_names_are():
    notes = []
    assert separated_rows('1\t"Cats"\n2\tDogs\n', "\t", "f", notes)[1].tolist() == ['"Cats"', "Dogs"]
    assert len(notes) == 1
    assert separated_rows('"a"\t"b"\n"1"\t"x ""y"""\n', "\t", "f", []).to_numpy().tolist()[1] == ["1", 'x "y"']


def test_backslashes_before_quotation_marks_are_read_as_escapes_and_told():
    notes = []
    rows = separated_rows('"1";"The \\"Real\\"; One"\n"2";"x"\n', ";", "f", notes)
    assert rows.to_numpy().tolist() == [["1", 'The "Real"; One'], ["2", "x"]]
    assert len(notes) == 1


@pytest.mark.parametrize("row", ["1", "1,2,3", "1,2,3,4"])
@pytest.mark.parametrize("quoted", ["", '"q",q\n'])
def test_a_row_of_another_width_is_named(row, quoted):
    text = f"a,b\n{quoted}1,2\n\n{row}\n5,6\n"
    with pytest.raises(DataError, match=rf"row {3 if quoted else 2} \(line {5 if quoted else 4}\)"):
        separated_rows(text, ",", "f", [])


def test_lines_end_where_files_end_them():
    assert list(text_lines("a\x0bb\u2028c\r\nd\re\n\n f ")) == ["a\x0bb\u2028c", "d", "e", " f "]

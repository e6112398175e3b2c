"""Columns by their well-known names, by the reader's word, or by the shape of a file without a header."""

import pandas as pd
import pytest

from llmrec_lite.errors import DataError, SettingError
from llmrec_lite.schema import FLAGS, arrange, check_columns, count_known, headless_names, parse_columns


def columns_of(names, kind="interactions", said=None):
    table = pd.DataFrame([range(len(names))], columns=names)
    found = arrange(table, kind, check_columns(said), "f.csv")
    return {c: names[int(found.frame[c].iloc[0])] for c in found.frame.columns if c not in names} | {
        c: c for c in found.frame.columns if c in names
    }, found


@pytest.mark.parametrize(
    "names",
    [
        ["userId", "movieId", "rating", "timestamp"],
        ["User-ID", "ISBN", "Book-Rating", "Date"],
        ["reviewerID", "asin", "overall", "unixReviewTime"],
        ["user_id:token", "item_id:token", "rating:float", "timestamp:float"],
        ["USER ID", "Item_Id", " Rating", "Timestamp "],
    ],
)
def test_well_known_names_are_recognized_in_any_order(names):
    for order in (names, names[::-1]):
        found, arranged = columns_of(order)
        assert [found[c].strip() for c in ("user_id", "item_id", "rating", "timestamp")] == [n.strip() for n in names]
        assert arranged.unused == []


def test_what_is_nearly_right_is_not_used_and_named():
    assert columns_of(["user_id", "item_id", "ratng", "ttmestamp"])[1].unused == ["ratng", "ttmestamp"]


def test_of_several_known_names_the_first_in_the_list_is_meant():
    found, arranged = columns_of(["asin", "parent_asin", "user_id"])
    assert found["item_id"] == "parent_asin"
    assert arranged.unused == ["asin"]


@pytest.mark.parametrize("names", [["user_id", "item_id", "item_id"], ["user_id", "item_id", "Rating", "rating"]])
def test_two_columns_of_one_name_are_refused(names):
    with pytest.raises(DataError, match=r"f\.csv"):
        columns_of(names)


def test_missing_columns_and_those_there_are_named():
    with pytest.raises(DataError, match=r"item_id.*Artikel"):
        columns_of(["user", "Artikel"])


def test_the_readers_word_goes_first():
    said = {"user_id": "Kunde", "item_id": ["Artikel", "elsewhere"]}
    found, arranged = columns_of(["user", "Kunde", "Artikel"], said=said)
    assert (found["user_id"], found["item_id"]) == ("Kunde", "Artikel")
    assert arranged.unused == ["user"]
    assert arranged.said == {("user_id", "Kunde"), ("item_id", "Artikel")}


def test_one_column_is_not_two():
    with pytest.raises(SettingError):
        columns_of(["a", "b"], said={"user_id": "a", "item_id": "a"})


def test_words_of_a_command_line():
    assert parse_columns("user_id=a, item_id = b ,item_id=c") == {"user_id": ["a"], "item_id": ["b", "c"]}
    assert parse_columns(None) == {}
    for wrong in ("user_id", "user_id=", "colour=red"):
        with pytest.raises(SettingError):
            parse_columns(wrong)


def test_known_shapes_without_a_header():
    log = [["196", "242", "3", "881250949"], ["186", "302", "3", "891717742"]]
    assert headless_names(log, "interactions", "\t") == ["user_id", "item_id", "rating", "timestamp"]
    assert headless_names([row[:3] for row in log], "interactions", ",") == ["user_id", "item_id", "rating"]
    assert headless_names([["a", "b", "c", "d"], *log], "interactions", "\t") is None
    flags = ["0"] * len(FLAGS)
    names = headless_names([["1", "Toy Story (1995)", "01-Jan-1995", "", "http", *flags]], "items", "|")
    assert names is not None
    assert names[:2] == ["item_id", "title"]
    assert tuple(names[-19:]) == FLAGS
    assert headless_names([["1", "Toy Story", "Animation"]], "items", "::") == ["item_id", "title", "genres"]
    assert headless_names([["1", "Toy Story", "Animation"]], "items", ",") is None


def test_known_names_are_counted_by_kind():
    assert count_known(["userId", "x", None, "title"]) == 2
    assert count_known(["userId", "x", "title"], "interactions") == 1

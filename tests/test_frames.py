"""Ids, times, titles, years and genres of any origin, kept or refused."""

from decimal import Decimal

import numpy as np
import pandas as pd
import pytest

from llmrec_lite.errors import DataError
from llmrec_lite.frames import (
    as_text,
    id_texts,
    interaction_table,
    item_table,
    natural_types,
    plain_ids,
    same_type,
    seconds,
    tidy_catalog,
    with_all_ids,
    years,
)


def times(values, **options):
    notes = []
    return seconds(pd.Series(values, **options), "f", notes).tolist(), notes


# ---- ids ----


@pytest.mark.parametrize(
    ("texts", "whole"),
    [
        (["1", "20", "-3", "0"], True),
        (["007", "7"], False),
        (["1e5", "2"], False),
        (["+4", "4"], False),
        (["-0", "0"], False),
        (["9223372036854775807", "1"], True),
        (["9223372036854775808", "1"], False),
        (["1", "2 "], False),
        (["1", "２"], False),
        (["1", "1.0"], False),
        (["1", None, "3"], True),
    ],
)
def test_ids_are_integers_where_every_one_is_written_so(texts, whole):
    for ids in (texts, [*texts, *texts]):
        (found,) = same_type([pd.Series(ids, dtype="str")])
        assert [str(i) for i in found.dropna()] == [i for i in ids if i is not None]
        assert all(isinstance(i, str) for i in found.dropna()) != whole
    first, second = same_type([pd.Series(texts, dtype="str"), pd.Series(["a"], dtype="str")])
    assert first.dropna().tolist() == [i for i in texts if i is not None]
    assert second.tolist() == ["a"]


def test_ids_as_text():
    def texts(values, **options):
        return [None if pd.isna(t) else t for t in id_texts(pd.Series(values, **options), "user_id", "f", [])]

    big = 2**53 + 1
    assert texts([big, None, 3], dtype=object) == [str(big), None, "3"]
    assert texts([1.0, np.nan, 4.5]) == ["1", None, "4.5"]
    assert texts(["NA", " ", "", "x"], dtype="str") == ["NA", None, None, "x"]
    assert texts(["a", "b"], dtype="category") == ["a", "b"]
    assert texts([Decimal("12"), Decimal("1.50")], dtype=object) == ["12", "1.50"]
    assert texts(["1.0", "2.0", None], dtype="str") == ["1", "2", None]
    assert texts(["1.0", "2.5"], dtype="str") == ["1.0", "2.5"]


@pytest.mark.parametrize("cell", [[1], {"a": 1}, True, 1e300, np.inf, b"\xff", pd.Timestamp(0)])
def test_what_is_no_id_is_named_with_its_row(cell):
    with pytest.raises(DataError, match=r"f, row 2: user_id"):
        id_texts(pd.Series(["a", cell], dtype=object), "user_id", "f", [])


def test_floats_beyond_what_they_hold_exactly_stay_floats():
    assert plain_ids(pd.Series([1e300, 2.0])).dtype == float
    assert plain_ids(pd.Series([1, 2], dtype="Int64")).dtype == "int64"
    assert plain_ids(pd.Series([1, 2], dtype="float16")).tolist() == [1, 2]


# ---- times ----


@pytest.mark.parametrize("factor", [10**3, 10**6, 10**9])
def test_finer_units_become_seconds(factor):
    whole = [881_250_949, 1_588_687_728, 0]
    found, notes = times([t * factor + 1 for t in whole[:2]] + [0])
    assert found == whole
    assert len(notes) == 1


def test_seconds_stay_and_a_fraction_is_told():
    assert times([881_250_949, 5, 0]) == ([881_250_949, 5, 0], [])
    assert len(times([881_250_949.5, 5.0])[1]) == 1


@pytest.mark.parametrize(
    ("text", "second"),
    [
        ("1970-01-02", 86_400),
        ("1970-01-01T00:01", 60),
        ("1970-01-01 00:00:07", 7),
        ("1970-01-01T00:00:07Z", 7),
        ("1970-01-01T02:00:07+02:00", 7),
        ("1970-01-01T00:00:07.9Z", 7),
        ("1969-12-31", -86_400),
        ("2200-01-01T00:00:00Z", 7_258_118_400),
    ],
)
def test_iso_dates_become_seconds(text, second):
    found, notes = times([text, text])
    assert found == [second, second]
    assert bool(notes) == (("Z" not in text and "+" not in text) or "." in text)


def test_cells_that_are_no_time_are_left_to_be_named():
    found, _ = times(["2020-01-01", "2020-01-02", "2020-01-03", "soon", "5", None])
    assert found[0] == 1_577_836_800
    assert all(not isinstance(cell, int) for cell in found[3:])
    assert times(["5", "6", "2020-01-01"])[0] == ["5", "6", "2020-01-01"]
    assert isinstance(times(["2020-13-45", "2020-01-01"])[0][0], str)


def test_two_units_in_one_column_are_refused():
    with pytest.raises(DataError, match=r"row 1 .*row 3"):
        times([1_588_687_728_923, 1_588_687_728_924, 1_588_687_728])


# ---- the log ----


@pytest.mark.parametrize(
    "log",
    [
        pd.DataFrame({("user_id", "a"): [1], ("item_id", "b"): [2]}),
        pd.DataFrame([[1, 2, 3]], columns=["user_id", "item_id", "item_id"]),
        pd.DataFrame({"user_id": [[1]], "item_id": [2]}),
        pd.DataFrame({"user_id": [({},)], "item_id": [2]}),
        pd.DataFrame({"user_id": [1], "item_id": [2], "rating": pd.to_datetime(["2020-01-01"])}),
        pd.DataFrame({"user_id": [1], "item_id": [2], "rating": pd.to_timedelta([5], unit="s")}),
        pd.DataFrame({"user_id": [1], "item_id": [2], "rating": [1 + 2j]}),
        {"user_id": [1], "item_id": [2]},
    ],
    ids=lambda log: str(getattr(log, "dtypes", "dict")).replace("\n", " "),
)
def test_what_is_no_log_is_a_data_error(log):
    with pytest.raises(DataError):
        interaction_table(log)


def test_numbers_of_odd_types():
    log = pd.DataFrame({"user_id": [1, 2], "item_id": [1, 2], "rating": [Decimal("1.5"), "2"], "timestamp": 0})
    assert pd.to_numeric(interaction_table(log)["rating"]).tolist() == [1.5, 2]
    half = log.assign(rating=np.array([1, 2], np.float16), timestamp=np.array([1, 2], np.float16))
    assert interaction_table(half)["timestamp"].tolist() == [1, 2]


# ---- the catalog ----


@pytest.mark.parametrize(
    ("title", "year", "ordered", "found"),
    [
        ("Toy Story (1995)", None, "Toy Story", 1995),
        ("Godfather, The (1972)", None, "The Godfather", 1972),
        ("Postino, Il (1994)", "1994", "Il Postino", 1994),
        ("Heat (1995)", "1986", "Heat (1995)", 1986),
        ("Death Note (2006–2007)", None, "Death Note", 2006),
        ("2001: A Space Odyssey", "1968", "2001: A Space Odyssey", 1968),
        ("Seven (a.k.a. Se7en) (1995)", None, "Seven (a.k.a. Se7en)", 1995),
        ("Human Centipede II (Full Sequence), The (2011)", None, "The Human Centipede II (Full Sequence)", 2011),
        ("(500) Days of Summer", None, "(500) Days of Summer", None),
        ("1984", None, "1984", None),
    ],
)
def test_titles_are_put_into_order(title, year, ordered, found):
    notes = []
    frame = pd.DataFrame({"item_id": [1], "title": [title]})
    tidy = tidy_catalog(frame if year is None else frame.assign(year=year), {}, notes)
    table = item_table(tidy, pd.Series([1]))
    assert table["title"].tolist() == [ordered]
    assert table["year"].tolist() == [pd.NA if found is None else found] or (
        found is None and table["year"].isna().all()
    )
    assert bool(notes) == (title != ordered)


@pytest.mark.parametrize(
    ("genres", "found"),
    [
        (["Drama|War", "A, B"], ["Drama|War", "A, B"]),
        (["Drama, War", "Comedy"], ["Drama|War", "Comedy"]),
        (["Drama;War", "Drama,War"], ["Drama|War", "Drama|War"]),
        ([["Drama", "War"], None], ["Drama|War", ""]),
        (["(no genres listed)", "Drama"], ["", "Drama"]),
    ],
)
def test_genres_are_separated_by_bars(genres, found):
    tidy = tidy_catalog(pd.DataFrame({"item_id": [1, 2], "genres": genres}), {}, [])
    assert item_table(tidy, pd.Series([1, 2]))["genres"].tolist() == found
    spaced = pd.DataFrame({"item_id": [1], "genres": ["Film-Noir War"]})
    assert tidy_catalog(spaced, {"genres": "token_seq"}, [])["genres"].tolist() == ["Film-Noir|War"]


@pytest.mark.parametrize(
    ("cell", "year"),
    [
        ("1995", 1995), (" 1995 ", 1995), ("1995.0", 1995), (1995.0, 1995), ("9999", 9999), ("10000", None),
        (1e300, None), ("99999999999999999999", None), (2**70, None), ("1e3", None), ("V", None), (0, None), (-5, None),
        (2009.5, None), (np.inf, None), (None, None), ("", None), (True, None),
    ],
)  # fmt: skip
def test_years_are_years(cell, year):
    notes = []
    assert years(pd.Series([cell], dtype=object), notes).fillna(-1).tolist() == [-1 if year is None else year]
    assert bool(notes) == (year is None and cell not in (None, ""))


def test_titles_genres_and_texts_are_text():
    table = item_table(
        pd.DataFrame(
            {"item_id": [1, 2, 3], "title": [2012.0, np.nan, 7], "genres": [1, 2, 3], "text": [5, np.nan, 7.5]}
        ),
        pd.Series([1, 2, 3]),
    )
    assert table["title"].tolist() == ["2012", "item 2", "7"]
    assert table["genres"].tolist() == ["1", "2", "3"]
    assert table["text"].tolist() == ["5", "", "7.5"]
    assert as_text(pd.Series([pd.NA, b"x", ("a", None)], dtype=object)).tolist() == ["", "b'x'", "a"]


def test_a_catalog_that_matches_nothing_is_an_error_and_one_that_matches_little_a_note():
    catalog = pd.DataFrame({"item_id": [11, 12]})
    with pytest.raises(DataError, match="2 items"):
        with_all_ids(catalog, "item_id", pd.Series([1, 2]), "items.csv", [])
    notes = []
    assert len(with_all_ids(catalog, "item_id", pd.Series([1, 11, 1]), "items.csv", notes)) == 3
    assert len(notes) == 1
    assert "1 of 2" in notes[0]
    notes.clear()
    with_all_ids(catalog, "item_id", pd.Series([11]), "items.csv", notes)
    assert notes == []


def test_other_columns_become_numbers_only_where_every_cell_is_one():
    table = pd.DataFrame(
        {"a": ["1", "2"], "b": ["01", "2"], "c": ["1", ""], "d": ["1.5", "2"], "e": ["1e5", "2"]}, dtype="str"
    )
    found = natural_types(table.assign(item_id=["1", "2"]), ["item_id"])
    assert [found[name].dtype.kind for name in "ac"] == ["i", "i"]
    assert found["b"].tolist() == ["01", "2"]
    assert found["d"].tolist() == [1.5, 2]
    assert found["e"].tolist() == ["1e5", "2"]
    assert found["item_id"].tolist() == ["1", "2"]

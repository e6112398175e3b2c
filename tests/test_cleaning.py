"""Every problem of a log is found at its row, and cleaning accounts for every row it removes."""

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pandas.testing import assert_frame_equal

from llmrec_lite.cleaning import add_time_features, clean, describe_problems, find_bursts, find_problems

COLUMNS = ["user_id", "item_id", "rating", "timestamp"]
DIRTY = pd.DataFrame(
    [
        ("ann", "a", 4, 10),
        ("ann", "b", 9, 20),  # row 2: out of range
        (None, "b", np.nan, 30),  # row 3: two problems
        ("ann", "a", 4, 10),  # row 4: duplicate of row 1
        ("bob", "a", np.inf, 40),  # row 5
        ("bob", "b", "good", np.nan),  # row 6: two problems
        ("ann", "a", 2, 50),  # a later visit: no problem
        ("bob", "c", -1, 60),  # row 8: out of range
    ],
    columns=COLUMNS,
)
FOUND = [
    (2, "rating", "out of range 1 to 5"),
    (3, "user_id", "missing"),
    (3, "rating", "missing"),
    (4, "user_id", "duplicate of row 1"),
    (5, "rating", "infinite"),
    (6, "rating", "not a number"),
    (6, "timestamp", "missing"),
    (8, "rating", "out of range 1 to 5"),
]


@pytest.mark.parametrize("index", [range(8), range(100, 108), [0] * 8, pd.Index(list("abcdefgh"), name="item_id")])
def test_every_problem_is_found_whatever_the_row_labels(index):
    found = find_problems(DIRTY.set_axis(index), (1, 5))
    assert list(found[["row", "column", "problem"]].itertuples(index=False, name=None)) == FOUND
    assert found["value"].tolist()[3:6] == ["ann", np.inf, "good"]


def test_a_clean_log_has_no_problem():
    found = find_problems(DIRTY.iloc[[0, 6]], (1, 5))
    assert found.empty
    assert found.columns.tolist() == ["row", "column", "problem", "value"]
    assert find_problems(DIRTY[:0]).empty


def test_the_range_includes_its_ends_and_is_optional():
    log = pd.DataFrame([(1, i, rating, i) for i, rating in enumerate([0.9, 1, 5, 5.1])], columns=COLUMNS)
    assert find_problems(log, (1, 5))["row"].tolist() == [1, 4]
    assert find_problems(log).empty


def test_a_duplicate_names_the_first_valid_row():
    log = pd.DataFrame([(1, 1, np.nan, 7), (1, 1, 3, 7), (1, 1, 4, 7)], columns=COLUMNS)
    found = find_problems(log)
    assert found["problem"].tolist() == ["missing", "duplicate of row 2"]
    assert found["row"].tolist() == [1, 3]


def test_describe_counts_rows_and_shortens():
    found = find_problems(DIRTY, (1, 5))
    text = describe_problems(found, max_rows=2)
    assert text.splitlines() == [
        '6 rows cannot be used (mend the file, or pass invalid="drop" to leave those rows out):',
        "  row 2: rating 9: out of range 1 to 5",
        "  row 3: user_id nan: missing",
        "  ... and 6 more",
    ]
    assert "more" not in describe_problems(found, max_rows=8)


def test_clean_removes_and_accounts():
    kept, report = clean(DIRTY.set_axis([0] * 8), (1, 5))
    assert kept.to_numpy().tolist() == [["ann", "a", 2, 50]]  # rows 1 and 7 are one pair: the later one stays
    assert kept.index.tolist() == [0]
    # Row 3 and row 6 have two problems each, and are counted once, by their first.
    assert report.removed == {
        "out of range": 2,
        "missing": 1,
        "duplicate": 1,
        "infinite": 1,
        "not a number": 1,
        "rated again later": 1,
    }
    assert (report.before, report.after) == (8, 1)
    table = report.table()
    assert table["step"].tolist()[:2] == ["rows read", "- out of range"]
    assert table["rows"].tolist() == [8, 2, 1, 1, 1, 1, 1, 1]


def test_clean_names_a_range_with_a_negative_end():
    log = pd.DataFrame([(1, 1, -9, 1), (1, 2, 0, 2)], columns=COLUMNS)
    assert clean(log, (-1, 5))[1].removed == {"out of range": 1, "rated again later": 0}


def test_clean_keeps_the_order_of_the_file_and_breaks_ties_by_it():
    # Times of the two rows of (1, 1) run against the file: the one at time 9 is the latest.
    log = pd.DataFrame([(2, 1, 1, 5), (1, 1, 5, 9), (1, 2, 2, 1), (1, 1, 3, 4)], columns=COLUMNS)
    assert clean(log)[0]["rating"].tolist() == [1, 5, 2]


@given(
    st.lists(
        st.tuples(
            st.sampled_from([1, 2, None]),
            st.sampled_from([1, 2]),
            st.sampled_from([0.0, 3.0, 6.0, np.nan, np.inf]),
            st.sampled_from([1.0, 2.0, np.nan]),
        ),
        max_size=25,
    )
)
def test_after_cleaning_nothing_is_left_to_clean(rows):
    kept, report = clean(pd.DataFrame(rows, columns=COLUMNS), (1, 5))
    assert find_problems(kept, (1, 5)).empty
    assert not kept.duplicated(["user_id", "item_id"]).any()
    assert report.before == len(rows)
    assert report.after == len(kept) == report.before - sum(report.removed.values())
    assert_frame_equal(clean(kept, (1, 5))[0], kept)
    good = {(u, i) for u, i, rating, time in rows if u and 1 <= rating <= 5 and time == time}
    assert set(zip(kept["user_id"], kept["item_id"], strict=True)) == good  # no good pair is lost


def test_bursts_are_windows_of_one_user():
    def ratings(user, times):
        return pd.DataFrame({"user_id": user, "timestamp": times})

    log = pd.concat(
        [
            ratings("slow", range(0, 1000, 10)),  # at most 7 within 60 s: 0, 10, ..., 60
            ratings("robot", [500, *range(100, 110), 5]),  # 10 within a minute, from 100
            ratings("edge", [0] * 4 + [60] * 4),  # 8: the window includes its end
            ratings("late", [0] * 4 + [61] * 4),  # 4
        ]
    ).sample(frac=1, random_state=0)
    found = find_bursts(log, min_ratings=8)
    assert found.to_numpy().tolist() == [["robot", 10, 100], ["edge", 8, 0]]
    assert find_bursts(log, min_ratings=7)["user_id"].tolist() == ["robot", "edge", "slow"]
    assert find_bursts(log, min_ratings=11).empty
    assert find_bursts(log, min_ratings=8, seconds=61)["ratings"].tolist() == [10, 8, 8]


def test_time_features_are_utc():
    # 881,250,949 s = 4 December 1997, 15:55:49 UTC, a Thursday; 0 = 1 January 1970, a Thursday.
    log = pd.DataFrame({"timestamp": [881250949, 0]})
    features = add_time_features(log)[["year", "month", "day", "hour", "weekday"]]
    assert features.to_numpy().tolist() == [[1997, 12, 4, 15, 3], [1970, 1, 1, 0, 3]]
    assert log.columns.tolist() == ["timestamp"]


@pytest.mark.data
def test_movielens_has_no_problem_but_bursts(movielens):
    assert find_problems(movielens.interactions, (1, 5)).empty
    assert clean(movielens.interactions)[1].after == 100_000
    bursts = find_bursts(movielens.interactions, min_ratings=20)
    assert len(bursts) > 0
    _, ratings, start = bursts.iloc[0]
    times = movielens.interactions.groupby("user_id")["timestamp"].get_group(bursts["user_id"].iloc[0])
    assert times.between(start, start + 60).sum() == ratings


def test_problems_are_numbered_from_zero_in_the_order_of_the_rows():
    log = pd.DataFrame({"user_id": [1, 1, 1], "item_id": [1, 1, 2], "rating": [1.0, 1.0, np.nan], "timestamp": 0})
    problems = find_problems(log)
    assert problems["row"].tolist() == [2, 3]
    assert problems.index.tolist() == [0, 1]

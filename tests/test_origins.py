"""Files of a data set together: ids alike in all, what is not used or left out is told, one line a file."""

import warnings

import pandas as pd
import pytest

from llmrec_lite import DataError, Dataset
from llmrec_lite.errors import DataWarning, SettingError, command_line_hints
from llmrec_lite.origins import read_log

LOG = "user_id,item_id,rating,timestamp\nann,1,5,10\nbob,2,3,20\nbob,3,1,30\n"


@pytest.fixture
def load(tmp_path):
    """Data set of the texts of its files, and the warnings."""

    def read(log, items=None, users=None, **options):
        paths = []
        for name, text in (("log", log), ("items", items), ("users", users)):
            paths.append(None if text is None else tmp_path / f"{name}.csv")
            if text is not None:
                paths[-1].write_text(text, "utf-8")
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            data = Dataset.from_files(*paths, **options)
        assert all(warning.category is DataWarning for warning in caught)
        return data, [str(warning.message).partition(": ")[2] for warning in caught]

    return read


def test_a_file_of_the_usual_columns_is_read_without_a_word(load):
    data, told = load(LOG, "item_id,title\n1,A\n2,B\n3,C\n", "user_id,age\nann,20\nbob,30\n")
    assert told == []
    assert data.users["age"].tolist() == [20, 30]


@pytest.mark.parametrize(
    ("log", "items", "users", "ids"),
    [
        ("user_id,item_id\n007,1\n7,2\n", None, ["007", "7"], [1, 2]),
        ("user_id,item_id\n1,0012\n2,A13\n", "item_id\n0012\nA13\n", [1, 2], ["0012", "A13"]),
        ("user_id,item_id\n1,12\n2,13\n", "item_id\n12\n13\n14a\n", [1, 2], ["12", "13"]),
        ("user_id,item_id\nNA,1\nNone,2\nnull,3\n", None, ["NA", "None", "null"], [1, 2, 3]),
        ("user_id,item_id\n12e400,1\n13e400,2\n", None, ["12e400", "13e400"], [1, 2]),
        ("user_id,item_id\n9007199254740993,1\n9007199254740992,2\n", None, [2**53 + 1, 2**53], [1, 2]),
    ],
)
def test_ids_are_those_of_the_files(load, log, items, users, ids):
    data, _ = load(log, items)
    assert data.interactions["user_id"].tolist() == users
    assert data.interactions["item_id"].tolist() == ids
    assert data.items_to_index(ids).tolist() == data.item_index.tolist()


def test_long_ids_beside_a_missing_one_are_kept(load):
    data, told = load("user_id,item_id\n9007199254740993,1\n,2\n9007199254740992,3\n", invalid="drop")
    assert data.users["user_id"].tolist() == [2**53, 2**53 + 1]
    assert "1 of 3" in told[0]


def test_ids_of_one_kind_in_files_of_two_formats(load, tmp_path):
    pd.DataFrame({"item_id": [1, 2, 3], "title": ["A", "B", "C"]}).to_parquet(tmp_path / "items.parquet")
    (tmp_path / "log.csv").write_text(LOG)
    data = Dataset.from_files(tmp_path / "log.csv", tmp_path / "items.parquet")
    assert data.labels()[data.item_index].tolist() == ["A", "B", "C"]


def test_what_is_not_used_is_told_once_a_file(load):
    _, told = load("user_id,item_id,ratng,when\nann,1,5,3\n", "item_id,titel\n1,A\n")
    assert len(told) == 2
    assert "ratng, when" in told[0]
    assert "titel" in told[1]


def test_names_that_no_file_has_are_an_error(load):
    with pytest.raises(SettingError, match="Kunde"):
        load(LOG, columns={"user_id": "Kunde"})


def test_a_name_may_be_in_one_file_only(load):
    columns = {"item_id": ["Artikel", "Nummer"], "title": "Name der Ware"}
    data, told = load("user,Artikel\nann,1\n", "Nummer,Name der Ware\n1,A\n", columns=columns)
    assert data.labels().tolist() == ["A"]
    assert told == []


def test_files_without_a_header_are_told(load):
    data, told = load("196\t242\t3\t881250949\n")
    assert data.interactions.iloc[0].tolist() == [196, 242, 3, 881250949]
    assert len(told) == 1
    data, told = load("7,x,9\n8,y,9\n", header=False, columns={"user_id": "2", "item_id": "1"})
    assert data.users["user_id"].tolist() == ["x", "y"]
    _, told = load(LOG, header=False)
    assert len(told) == 1


def test_repeats_without_times_are_one_interaction(load):
    log = "user_id,item_id,rating\nann,1,5\nann,1,2\nbob,1,3\n"
    with pytest.raises(DataError, match=r"log\.csv.*\n.*row 2"):
        load(log)
    data, told = load(log, invalid="drop")
    assert data.ratings.tolist() == [5, 3]
    assert len(told) == 1


def test_only_what_is_liked(load):
    data, told = load(LOG, liked=3)
    assert data.ratings.tolist() == [5, 3]
    assert "1 of 3" in told[0]
    with pytest.raises(DataError, match="5"):
        load(LOG, liked=6)


def test_hints_are_in_the_words_of_the_caller(load):
    log = "user_id,item_id\nann,1\nann,1\n"
    with pytest.raises(DataError, match='invalid="drop"'):
        load(log)
    with command_line_hints(), pytest.raises(DataError, match="--invalid drop"):
        load(log)
    with pytest.raises(DataError, match="columns="):
        load("a,b\n1,2\n")
    with command_line_hints(), pytest.raises(DataError, match=r"--columns .*--no-header"):
        load("a,b\n1,2\n")


def test_errors_about_rows_name_the_file_and_are_short(load, tmp_path):
    with pytest.raises(DataError) as caught:
        load(LOG.replace("10", "x" * 100_000))
    assert str(tmp_path / "log.csv") in str(caught.value)
    assert "row 1" in str(caught.value)
    assert len(str(caught.value)) < 500 + len(str(tmp_path))


def test_a_log_for_what_is_known_looks_ids_up_by_their_text(tmp_path):
    (tmp_path / "later.csv").write_text("user,item\n0,7\n1,8\nanna,007\nstranger,7\n")
    told = {}
    frame = read_log(
        tmp_path / "later.csv",
        ["0", 1, "anna"],
        [7, "007", "8"],
        told=told,
        how={"separator": None, "encoding": None, "header": None},
    )
    assert frame["user_id"].tolist() == ["0", 1, "anna", "stranger"]
    assert frame["item_id"].tolist() == [7, "8", "007", 7]

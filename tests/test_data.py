"""Any ids in, indices inside, and every bad row or table named."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pandas.testing import assert_frame_equal

from llmrec_lite import DataError, Dataset, UnknownIdError, load_movielens
from llmrec_lite.errors import DataWarning, SettingError
from llmrec_lite.recommenders import ItemMean, Popularity
from llmrec_lite.schema import FLAGS

COLUMNS = ["user_id", "item_id", "rating", "timestamp"]
LOG = pd.DataFrame([(1, 10, 5, 100), (1, 20, 3, 200), (2, 10, 4, 300)], columns=COLUMNS)
ITEMS = pd.DataFrame({"item_id": [10, 20, 30], "title": ["Heat", "Alien", "Up"], "year": [1995, 1979, None]})
rows = st.lists(
    st.tuples(st.integers(-2, 2), st.integers(0, 4), st.integers(1, 5), st.integers(0, 3)),
    min_size=1,
    max_size=30,
    unique_by=lambda row: (row[0], row[1], row[3]),
)


# ---- ids and indices ----


@pytest.mark.parametrize(
    "ids",
    [
        ["ann", "bob", "ann"],
        [-5, 10**12, -5],
        [1, "1", 1],
        [(1, "a"), (2, "b"), (1, "a")],
        [2.5, 1.5, 2.5],
        pd.Categorical(["x", "y", "x"]),
        pd.array([7, 3, 7], dtype="Int64"),
        np.array([9, 8, 9], dtype=np.uint32),
        pd.Series(["x", "y", "x"], dtype=object),
    ],
    ids=str,
)
def test_ids_of_any_type_map_to_indices_and_back(ids):
    data = Dataset.from_frames(LOG.assign(user_id=ids, item_id=ids, timestamp=[1, 2, 3]))
    raw = list(pd.Series(ids))
    for index, table, column, to_index in [
        (data.user_index, data.users, "user_id", data.users_to_index),
        (data.item_index, data.items, "item_id", data.items_to_index),
    ]:
        assert (data.n_users, data.n_items) == (2, 2)
        assert [table[column].iloc[i] for i in index] == raw
        assert list(to_index(raw)) == list(index)
    recommended = Popularity().fit(data).recommend([raw[1]], 5)
    assert list(recommended["item_id"]) == [raw[0]]


def test_the_order_of_the_tables_is_the_order_of_the_indices():
    users = pd.DataFrame({"user_id": [2, 9, 1], "age": [20, 90, 10]})
    data = Dataset.from_frames(LOG, ITEMS.iloc[::-1], users)
    assert list(data.user_index) == [2, 2, 0]
    assert list(data.item_index) == [2, 1, 2]  # the reversed catalog is 30, 20, 10
    assert (data.n_users, data.n_items, len(data)) == (3, 3, 3)  # user 9 and item 30 have no interaction
    assert data.users["age"].tolist() == [20, 90, 10]
    assert repr(data) == "Dataset(3 interactions, 3 users, 3 items)"


def test_ids_that_only_the_log_knows_are_appended_without_text():
    data = Dataset.from_frames(LOG, ITEMS.iloc[[1]], pd.DataFrame({"user_id": [2], "age": [20]}))
    assert data.items["item_id"].tolist() == [20, 10]
    assert data.items["text"].tolist() == ["Alien (1979).", ""]
    assert data.labels().tolist() == ["Alien (1979)", "item 10"]
    assert data.users["user_id"].tolist() == [2, 1]
    assert np.isnan(data.users["age"].iloc[1])


def test_unknown_ids_are_named():
    data = Dataset.from_frames(LOG)
    with pytest.raises(UnknownIdError, match="'2', None, 7"):
        data.users_to_index([1, "2", None, 7])
    with pytest.raises(UnknownIdError, match="11"):
        data.items_to_index([10, 11])
    with pytest.raises(UnknownIdError, match="3"):
        Popularity().fit(data).recommend([3])
    assert data.users_to_index([]).shape == (0,)


# ---- matrix and sequences ----


@given(rows)
def test_matrix_and_sequences_equal_brute_force(log):
    data = Dataset.from_frames(pd.DataFrame(log, columns=COLUMNS))
    in_time = sorted(range(len(log)), key=lambda row: (log[row][3], row))
    latest, sequences = {}, {user: [] for user, *_ in log}
    for user, item, rating, _ in (log[row] for row in in_time):
        latest[user, item] = rating
        sequences[user].append(item)
    users, items = sorted(sequences), sorted({row[1] for row in log})
    dense = [[latest.get((user, item), 0) for item in items] for user in users]
    assert data.matrix("rating").toarray().tolist() == dense
    assert data.matrix().toarray().tolist() == [[float(value > 0) for value in row] for row in dense]
    assert [[items[i] for i in sequence] for sequence in data.sequences()] == [sequences[user] for user in users]


def test_ties_in_time_keep_the_order_of_the_file():
    log = pd.DataFrame([(1, 30, 1, 7), (1, 10, 1, 7), (2, 10, 1, 7), (1, 20, 1, 6)], columns=COLUMNS)
    data = Dataset.from_frames(log, users=pd.DataFrame({"user_id": [3, 1, 2]}))
    assert [data.items["item_id"].iloc[s].tolist() for s in data.sequences()] == [[], [20, 30, 10], [10]]


def test_a_rating_of_zero_is_still_a_meeting():
    data = Dataset.from_frames(LOG.assign(rating=0))
    assert data.matrix("rating").nnz == data.matrix().sum() == 3


def test_unary_feedback_without_rating_and_time():
    data = Dataset.from_frames(LOG[["user_id", "item_id"]])
    assert data.ratings.tolist() == [1, 1, 1]
    assert data.ratings.dtype == np.float32
    assert not data.has_timestamps
    assert data.sequences()[0].tolist() == [0, 1]
    assert Dataset.from_frames(LOG).has_timestamps


def test_one_user_and_a_user_who_has_seen_everything():
    data = Dataset.from_frames(LOG[:2])
    assert [s.tolist() for s in data.sequences()] == [[0, 1]]
    model = Popularity().fit(data)
    assert model.recommend([1], 10).empty
    assert model.recommend([1], 10, exclude_seen=False)["item_id"].tolist() == [10, 20]


def test_a_part_shares_users_and_items():
    data = Dataset.from_frames(LOG, ITEMS)
    part = data.with_interactions(data.interactions.iloc[[2]])
    assert part.items is data.items
    assert part.users is data.users
    assert (part.user_index.tolist(), part.interactions.index.tolist()) == ([1], [0])


@pytest.mark.parametrize("zone", [None, "UTC", "Asia/Shanghai"])
def test_dates_become_seconds(zone):
    times = pd.to_datetime([0, 86_400, 1.9], unit="s", utc=True).tz_convert(zone)
    assert Dataset.from_frames(LOG.assign(timestamp=times)).interactions["timestamp"].tolist() == [0, 86_400, 1]


# ---- bad rows ----


@pytest.mark.parametrize(
    ("column", "value", "message"),
    [
        ("user_id", np.nan, "row 2: user_id nan"),
        ("item_id", None, "row 2: item_id nan"),
        ("rating", np.nan, "row 2: rating nan"),
        ("rating", "four", "row 2: rating 'four'"),
        ("rating", np.inf, "row 2: rating inf"),
        ("rating", 1e39, "row 2: rating 1e+39"),
        ("rating", 6, "row 2: rating 6"),
        ("timestamp", "2020-01-01", "row 2: timestamp '2020-01-01'"),
        ("timestamp", -np.inf, "row 2: timestamp -inf"),
        ("timestamp", 1e30, "row 2: timestamp 1e+30"),
    ],
)
@pytest.mark.parametrize("from_file", [False, True], ids=["frame", "csv"])
def test_a_bad_row_is_named_or_dropped(column, value, message, from_file, tmp_path):
    values = LOG[column].tolist()
    values[1] = value
    log = LOG.assign(**{column: values})
    options = {} if value in (1e39, 1e30) else {"rating_range": (1, 5)}
    make = Dataset.from_frames
    if from_file:
        log.to_csv(tmp_path / "log.csv", index=False)
        log, make = tmp_path / "log.csv", Dataset.from_files
    with pytest.raises(DataError) as caught:
        make(log, **options)
    # Text in a column makes text of its numbers when pandas reads a file; a number is then shown as it is there.
    assert message.replace("'", "") in str(caught.value).replace("'", "").replace(".0", "")
    kept = Dataset.from_frames(LOG.iloc[[0, 2]])
    dropped = make(log, invalid="drop", **options)
    assert_frame_equal(dropped.interactions, kept.interactions)
    assert_frame_equal(dropped.users, kept.users)  # ids are integers again, no 1.0


def test_duplicates_are_named_and_a_later_visit_is_none():
    log = pd.concat([LOG, LOG.iloc[[0]], LOG.iloc[[0]].assign(timestamp=999)])
    with pytest.raises(DataError, match=r"row 4.*row 1"):
        Dataset.from_frames(log)
    assert len(Dataset.from_frames(log, invalid="drop")) == 4
    with pytest.raises(DataError, match=r"(?s)row 4.*row 5.*row 1"):
        Dataset.from_frames(log.drop(columns="timestamp"))


def test_the_good_copy_of_a_bad_row_stays():
    log = pd.DataFrame([(1, 1, np.nan, 7), (1, 1, 4, 7), (1, 1, 4, 7)], columns=COLUMNS)
    assert Dataset.from_frames(log, invalid="drop").ratings.tolist() == [4]


def test_an_unknown_treatment_of_invalid_rows_is_named():
    with pytest.raises(SettingError, match="dorp"):
        Dataset.from_frames(LOG, invalid="dorp")


def test_a_missing_date_is_missing():
    with pytest.raises(DataError, match=r"row 2.*timestamp"):
        Dataset.from_frames(LOG.assign(timestamp=pd.to_datetime([1, None, 3], unit="s")))


def test_numbers_written_as_text_are_numbers():
    data = Dataset.from_frames(LOG.assign(rating=["1", "2.5", "3"], timestamp=["1", "2.0", "1e3"]))
    assert data.ratings.tolist() == [1, 2.5, 3]
    assert data.interactions["timestamp"].tolist() == [1, 2, 1000]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda: Dataset.from_frames(LOG.drop(columns="item_id")), "item_id"),
        (lambda: Dataset.from_frames(LOG[:0]), None),
        (lambda: Dataset.from_frames(LOG.assign(rating=np.nan), invalid="drop"), None),
        (lambda: Dataset.from_frames(LOG, ITEMS.rename(columns={"item_id": "id"})), "item_id"),
        (lambda: Dataset.from_frames(LOG, ITEMS[:0]), "items"),
        (lambda: Dataset.from_frames(LOG, ITEMS.assign(item_id=[10, 20, 10])), "item_id 10 .*row 3"),
        (lambda: Dataset.from_frames(LOG, ITEMS.assign(item_id=[10, None, 20])), "item_id nan .*row 2"),
        (
            lambda: Dataset.from_frames(LOG, ITEMS.assign(item_id=["10", "20", "30"])),
            "item_id .*integer.*string",
        ),
        (
            lambda: Dataset.from_frames(LOG.astype({"user_id": str}), users=pd.DataFrame({"user_id": [1, 2]})),
            "user_id .*string.*integer",
        ),
        (
            lambda: Dataset.from_frames(LOG.astype({"item_id": object}), ITEMS.astype({"item_id": str})),
            "item_id .*integer.*string",
        ),
    ],
)
def test_bad_tables_give_one_clear_error(change, message):
    with pytest.raises(DataError, match=message):
        change()


@pytest.mark.parametrize(
    ("log_type", "table_type"),
    [("object", "str"), ("str", "object"), ("str", "category"), ("int64", "float64"), ("uint32", "int64")],
)
def test_one_type_of_id_in_two_dtypes_is_one_type(log_type, table_type):
    ids = ["10", "20", "10"] if "str" in (log_type, table_type) else [10, 20, 10]
    log = LOG.assign(item_id=pd.Series(ids, dtype=log_type))
    items = ITEMS[:2].assign(item_id=pd.Series(ids[:2], dtype=table_type))
    data = Dataset.from_frames(log, items)
    assert data.n_items == 2
    assert data.item_index.tolist() == [0, 1, 0]


def test_the_tables_of_the_caller_are_left_alone():
    log, items = LOG.set_index([[5, 5, 6]]), ITEMS.set_index([[7, 8, 9]])
    before = log.copy(), items.copy()
    Dataset.from_frames(log, items)
    assert_frame_equal(log, before[0])
    assert_frame_equal(items, before[1])


def test_items_without_title_year_or_text():
    items = pd.DataFrame(
        {
            "item_id": [10, 20, 30],
            "title": ["Heat", None, "Up"],
            "year": ["1995", "V", 2009.5],
            "genres": ["Crime|Drama", "Crime", None],
        }
    )
    data = Dataset.from_frames(LOG, items)
    assert data.labels().tolist() == ["Heat (1995)", "item 20", "Up"]
    assert data.items["text"].tolist() == ["Heat (1995). Crime, Drama.", "", "Up."]
    given_text = Dataset.from_frames(LOG, items.assign(text=["a heist", None, ""])).items["text"]
    assert given_text.tolist() == ["a heist", "", ""]
    assert Dataset.from_frames(LOG).labels().tolist() == ["item 10", "item 20"]


# ---- files ----


@pytest.mark.parametrize("ending", [".csv", ".tsv", ".parquet", ".CSV"])
def test_files_of_every_kind_give_the_same(ending, tmp_path):
    def write(frame: pd.DataFrame, name: str) -> Path:
        path = tmp_path / (name + ending)
        if ending == ".parquet":
            frame.to_parquet(path)
        else:
            frame.to_csv(path, sep="\t" if ending == ".tsv" else ",", index=False)
        return path

    users = pd.DataFrame({"user_id": [1, 2, 3]})
    read = Dataset.from_files(write(LOG, "log"), str(write(ITEMS, "items")), write(users, "users"))
    assert_frame_equal(read.interactions, Dataset.from_frames(LOG).interactions)
    assert_frame_equal(read.items, Dataset.from_frames(LOG, ITEMS).items)
    assert read.n_users == 3


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("log.csv", None, "log.csv"),
        ("log.json", "{}", ".json.*.csv"),
        ("log", "user_id", "log"),
        ("log.csv", "", "log.csv"),
        ("log.csv", "user_id,item_id\n", None),
        ("log.csv", "user_id;item_id\n1;2;3\n", None),
        ("log.csv", "user_id,item_id\n1,2,5\n", "item_id"),
        ("log.csv", "user_id,item_id\n1,2\n1,2,5\n", "line 3"),
        ("log.parquet", "not parquet", "(?i)parquet"),
    ],
)
def test_files_that_cannot_be_read(name, content, message, tmp_path):
    path = tmp_path / name
    if content is not None:
        path.write_text(content)
    with pytest.raises(DataError, match=message) as caught:
        Dataset.from_files(path)
    assert message is None or str(path) in str(caught.value)


# ---- MovieLens itself ----


@pytest.mark.data
def test_movielens_is_whole(movielens):
    assert repr(movielens) == "Dataset(100,000 interactions, 943 users, 1,682 items)"
    assert movielens.interactions.iloc[0].tolist() == [196, 242, 3.0, 881250949]  # the first row of u.data
    assert movielens.matrix("rating").nnz == 100_000
    assert movielens.ratings.mean() == pytest.approx(3.52986)
    assert set(movielens.users.columns) == {"user_id", "age", "gender", "occupation", "zip_code"}
    assert movielens.items["item_id"].tolist() == list(range(1, 1683))


@pytest.mark.data
def test_movielens_catalogue_is_mended(movielens):
    items = movielens.items.set_index("item_id")
    labels = movielens.labels().set_axis(items.index)
    assert labels[50] == "Star Wars (1977)"
    assert items.loc[50, "genres"] == "Action|Adventure|Romance|Sci-Fi|War"
    assert labels[127] == "The Godfather (1972)"
    assert labels[267] == "Unknown"
    assert items.index[items["year"].isna()].tolist() == [267]
    assert labels[1412] == "Land Before Time III: The Time of the Great Giving (1995)"
    assert (items["title"].value_counts() > 1).sum() == 22
    assert (labels.value_counts() > 1).sum() == 18


@pytest.mark.data
def test_movielens_titles_are_in_reading_order(movielens):
    titles = set(movielens.items["title"])
    assert {
        "Il Postino",
        "L'Enfer",
        "The Good, The Bad and The Ugly",
        "To Wong Foo, Thanks for Everything! Julie Newmar",
    } <= titles
    assert {"The Convent (O Convento)", "The Horseman on the Roof (Le Hussard sur le toit)"} <= titles
    assert not movielens.items["title"].str.contains(r", (?:The|A|An|[A-Z][a-z]{1,2})(?:$| \(|\))").any()


@pytest.mark.data
@pytest.mark.parametrize("model", [Popularity(), ItemMean()], ids=lambda m: type(m).__name__)
def test_movielens_recommends_to_everybody(movielens, model):
    lists = model.fit(movielens).recommend(movielens.users["user_id"], 10)
    assert len(lists) == 9430
    seen = movielens.interactions.merge(lists, on=["user_id", "item_id"])
    assert seen.empty


def test_ids_that_become_whole_numbers_do_so_in_a_copy():
    log = pd.DataFrame({"user_id": [1, 2], "item_id": [1, 2]})
    items, users = pd.DataFrame({"item_id": [1.0, 2.0]}), pd.DataFrame({"user_id": [1.0, 2.0]})
    data = Dataset.from_frames(log, items, users)
    assert data.items["item_id"].dtype.kind == data.users["user_id"].dtype.kind == "i"
    assert items["item_id"].dtype == users["user_id"].dtype == float


def test_absent_times_are_zero_and_absent_ratings_one():
    data = Dataset.from_frames(pd.DataFrame({"user_id": [1, 2], "item_id": [1, 2]}))
    assert data.interactions["timestamp"].tolist() == [0, 0]
    assert data.interactions["rating"].tolist() == [1.0, 1.0]


@pytest.mark.data
def test_the_later_edition_is_whole():
    data = load_movielens("latest-small")
    assert repr(data) == "Dataset(100,004 interactions, 671 users, 9,066 items)"
    assert data.interactions.iloc[0].tolist() == [1, 31, 2.5, 1260759144]
    assert data.has_timestamps
    items = data.items.set_index("item_id")
    labels = data.labels().set_axis(items.index)
    assert labels[858] == "The Godfather (1972)"
    assert items.loc[1, "genres"] == "Adventure|Animation|Children|Comedy|Fantasy"
    assert (items["year"].isna()).sum() == labels.str.startswith("item ").sum() == 5
    assert not items["genres"].str.contains("no genres").any()
    with pytest.raises(SettingError, match="latest-large"):
        load_movielens("latest-large")


@pytest.mark.data
def test_files_of_movielens_as_they_are_shipped_give_the_same(movielens, tmp_path):
    movielens.interactions.astype({"rating": int}).to_csv(tmp_path / "u.data", sep="\t", header=False, index=False)
    items = movielens.items
    lines = []
    for row in items.itertuples():
        title = row.title if pd.isna(row.year) else f"{row.title} ({row.year})"
        flags = "|".join(str(int(flag in row.genres.split("|"))) for flag in FLAGS)
        lines.append(f"{row.item_id}|{title}|01-Jan-{row.year}||http://us.imdb.com/{row.item_id}|{flags}\n")
    (tmp_path / "u.item").write_text("".join(lines), "latin-1")
    with pytest.warns(DataWarning):
        read = Dataset.from_files(tmp_path / "u.data", tmp_path / "u.item")
    assert_frame_equal(read.interactions, movielens.interactions)
    assert_frame_equal(read.items[items.columns], items)

"""Chapter 1: one shape for every data set, and the loader of the data the book runs on.

A `Dataset` is three tables. Its two id columns may hold anything hashable (integers with gaps, strings);
it maps them to 0..n-1 once, and everything numerical in the package works on those indices.
"""

from __future__ import annotations

import re
from collections.abc import Hashable, Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pandas as pd
from scipy import sparse

from llmrec_lite import assets
from llmrec_lite.cleaning import describe_problems, find_problems
from llmrec_lite.errors import DataError, SettingError, UnknownIdError
from llmrec_lite.text import film_label, item_text

INTERACTION_COLUMNS = ["user_id", "item_id", "rating", "timestamp"]


def read_table(path: Path) -> pd.DataFrame:
    """Read a CSV, TSV or Parquet file.

    Raises:
        DataError: no such file, another ending, or a content that cannot be read; the file is named.
    """
    if not path.is_file():
        raise DataError(f"there is no file {path}")
    readers = {".csv": pd.read_csv, ".tsv": lambda p: pd.read_csv(p, sep="\t"), ".parquet": pd.read_parquet}
    if path.suffix.lower() not in readers:
        raise DataError(f"{path}: cannot read {path.suffix or 'a file without ending'}; use .csv, .tsv or .parquet")
    try:
        table = readers[path.suffix.lower()](path)
    except Exception as error:  # pandas and pyarrow raise a dozen kinds; the reader needs the file's name
        raise DataError(f"{path}: {error}") from error
    if path.suffix.lower() != ".parquet" and not isinstance(table.index, pd.RangeIndex):
        # pandas would take the first column for row labels, and shift the meaning of all others
        raise DataError(f"{path}: the rows have more fields than the header {list(table.columns)} names")
    return table


def interaction_table(frame: pd.DataFrame) -> pd.DataFrame:
    """Return user_id, item_id, rating (1.0 where absent) and timestamp (seconds; 0 where absent).

    Raises:
        DataError: there is no column of users or of items.
    """
    missing = {"user_id", "item_id"} - set(frame.columns)
    if missing:
        raise DataError(f"the interactions lack {sorted(missing)}; their columns are {list(frame.columns)}")
    frame = frame.reset_index(drop=True)
    if "rating" not in frame:
        frame = frame.assign(rating=1.0)
    if "timestamp" not in frame:
        frame = frame.assign(timestamp=0)
    if pd.api.types.is_datetime64_any_dtype(frame["timestamp"]):
        epoch = pd.Timestamp(0, tz=frame["timestamp"].dt.tz)
        frame = frame.assign(timestamp=(frame["timestamp"] - epoch) // pd.Timedelta(seconds=1))
    return frame[INTERACTION_COLUMNS]


def plain_ids(ids: pd.Series) -> pd.Series:
    """Undo what storage did to ids: categories, and integers that became floats beside a missing one."""
    if isinstance(ids.dtype, pd.CategoricalDtype):
        ids = ids.astype(ids.cat.categories.dtype)
    return ids.astype("int64") if ids.dtype.kind == "f" and (ids % 1 == 0).all() else ids


def _with_all_ids(table: pd.DataFrame | None, column: str, seen: pd.Series) -> pd.DataFrame:
    """Return the table with a row for every id of `seen`, known ones in their place, new ones appended."""
    if table is None:
        ids = seen.unique()
        return pd.DataFrame({column: np.sort(ids) if seen.dtype.kind in "iuf" else ids})
    if column not in table:
        raise DataError(f"the table of {column[:-3]}s lacks the column {column!r}; it has {list(table.columns)}")
    table = table.reset_index(drop=True)
    if table.empty:
        raise DataError(f"the table of {column[:-3]}s is empty; leave it out if there is none")
    for wrong, problem in ((table[column].isna(), "is missing"), (table[column].duplicated(), "occurs twice")):
        if wrong.any():
            row = int(wrong.to_numpy().argmax())
            raise DataError(f"{column} {table[column].iloc[row]} {problem} in its table (row {row + 1})")
    table[column] = plain_ids(table[column])
    ours, theirs = (pd.api.types.infer_dtype(ids) for ids in (seen, table[column]))
    if ours != theirs and not (ours.startswith("mixed") or theirs.startswith("mixed")):
        raise DataError(f"{column} is {ours} in the interactions but {theirs} in its table; make them one type")
    new = seen[~seen.isin(table[column])].drop_duplicates()
    return pd.concat([table, new.to_frame()], ignore_index=True) if len(new) else table


def item_table(items: pd.DataFrame | None, seen: pd.Series) -> pd.DataFrame:
    """Catalog with every item of `seen` in it, and a title, year, genres and text for each.

    Raises:
        DataError: no column of ids, an empty table, a missing or repeated id, ids of another type than `seen`.
    """
    table = _with_all_ids(items, "item_id", seen).reset_index(drop=True)
    for column in ("title", "genres"):
        table[column] = table[column].fillna("").astype(str) if column in table else ""
    year = pd.to_numeric(table["year"], errors="coerce") if "year" in table else pd.Series(pd.NA, table.index)
    table["year"] = year.where(year % 1 == 0).astype("Int64")  # text, fractions and infinity are no years
    untitled = table["title"] == ""
    table["title"] = table["title"].where(~untitled, "item " + table["item_id"].astype(str))
    if "text" not in table:
        table["text"] = [item_text(row) for row in table.to_dict("records")]
        table["text"] = table["text"].where(~untitled, "")
    return table.assign(text=table["text"].fillna(""))


__all__ = ["DataError", "Dataset", "UnknownIdError", "load_movielens"]

# Articles that the catalog has moved behind a title or the second title in brackets: "Postino, Il".
_MOVED_ARTICLE = re.compile(r"([^()]+), (The|A|An|Il|La|Le|Les|El|Los|Das|Der|Die|Det|O|L')(?=\s*\(|\)|$)")


@dataclass(frozen=True, eq=False)
class Dataset:
    """Interactions, items and users, and the mapping from raw ids to indices.

    Make one with `from_frames` or `from_files`, which check the input; the constructor trusts it. Splits share the
    items and users of the whole, so that an index means the same item in train and in test, and an item that no user
    has rated is still a candidate.

    Attributes:
        interactions: columns user_id, item_id, rating, timestamp (seconds), in the order of the file.
        items: one row an item, at least item_id, title, year, genres, text; row i is item index i.
        users: one row a user, at least user_id; row u is user index u.
    """

    interactions: pd.DataFrame
    items: pd.DataFrame
    users: pd.DataFrame

    @classmethod
    def from_frames(
        cls,
        interactions: pd.DataFrame,
        items: pd.DataFrame | None = None,
        users: pd.DataFrame | None = None,
        *,
        rating_range: tuple[float, float] | None = None,
        invalid: Literal["raise", "drop"] = "raise",
    ) -> Dataset:
        """Build a data set from tables.

        Args:
            interactions: user_id and item_id; rating (1.0 where absent: unary feedback) and timestamp
                (0 where absent; the order of the rows then stands for time).
            items: the catalog. Items that only the interactions have are appended without a text.
            users: optional table of users, extended in the same way.
            rating_range: lowest and highest rating allowed.
            invalid: whether bad rows raise, or are dropped.

        Raises:
            DataError: a column is missing, a table is empty, an id occurs twice in a catalog, or rows are invalid
                (`find_problems`); each is named by its row number.
        """
        if invalid not in ("raise", "drop"):
            raise SettingError(f'invalid must be "raise" or "drop", not {invalid!r}')
        frame = interaction_table(interactions)
        problems = find_problems(frame, rating_range)
        if len(problems) and invalid == "raise":
            raise DataError(describe_problems(problems))
        frame = frame.drop(frame.index[problems["row"].unique() - 1]).reset_index(drop=True)
        if frame.empty:
            raise DataError("no interaction is left: the table is empty, or every row of it is invalid")
        frame = frame.assign(
            user_id=plain_ids(frame["user_id"]),
            item_id=plain_ids(frame["item_id"]),
            rating=pd.to_numeric(frame["rating"]).astype("float32"),  # a column with text is text throughout
            timestamp=pd.to_numeric(frame["timestamp"]).astype("int64"),
        )
        users = _with_all_ids(users, "user_id", frame["user_id"]).reset_index(drop=True)
        return cls(frame, item_table(items, frame["item_id"]), users)

    @classmethod
    def from_files(
        cls,
        interactions: str | Path,
        items: str | Path | None = None,
        users: str | Path | None = None,
        **options: Any,
    ) -> Dataset:
        """Build a data set from CSV, TSV or Parquet files; `options` are those of `from_frames`.

        Row numbers in errors count the rows after the header, from 1.
        """
        frames = [None if path is None else read_table(Path(path)) for path in (interactions, items, users)]
        assert frames[0] is not None
        return cls.from_frames(frames[0], frames[1], frames[2], **options)

    def with_interactions(self, interactions: pd.DataFrame) -> Dataset:
        """Return the same users and items with other interactions (a part of ours, as a split makes it)."""
        return Dataset(interactions.reset_index(drop=True), self.items, self.users)

    @property
    def n_users(self) -> int:
        """Number of users, with or without interactions."""
        return len(self.users)

    @property
    def n_items(self) -> int:
        """Number of items in the catalog, rated or not."""
        return len(self.items)

    def __len__(self) -> int:
        return len(self.interactions)

    def __repr__(self) -> str:
        return f"Dataset({len(self):,} interactions, {self.n_users:,} users, {self.n_items:,} items)"

    @cached_property
    def _user_lookup(self) -> pd.Index:
        return pd.Index(self.users["user_id"])

    @cached_property
    def _item_lookup(self) -> pd.Index:
        return pd.Index(self.items["item_id"])

    @cached_property
    def user_index(self) -> np.ndarray:
        """User index of every interaction, shape (n_interactions,)."""
        return self._user_lookup.get_indexer(self.interactions["user_id"])

    @cached_property
    def item_index(self) -> np.ndarray:
        """Item index of every interaction, shape (n_interactions,)."""
        return self._item_lookup.get_indexer(self.interactions["item_id"])

    @cached_property
    def ratings(self) -> np.ndarray:
        """Rating of every interaction, shape (n_interactions,), float32."""
        return self.interactions["rating"].to_numpy(np.float32)

    @cached_property
    def time_order(self) -> np.ndarray:
        """Positions of the interactions by time; ties keep the order of the file (never the item id)."""
        return np.argsort(self.interactions["timestamp"].to_numpy(), kind="stable")

    @property
    def has_timestamps(self) -> bool:
        """Whether the timestamps say anything, that is, differ at all."""
        timestamps = self.interactions["timestamp"]
        return bool(timestamps.min() < timestamps.max())

    def users_to_index(self, user_ids: Iterable[Hashable]) -> np.ndarray:
        """Indices of raw user ids; UnknownIdError names those that are not in the data set."""
        return _lookup(self._user_lookup, user_ids, "user")

    def items_to_index(self, item_ids: Iterable[Hashable]) -> np.ndarray:
        """Indices of raw item ids; UnknownIdError names those that are not in the catalog."""
        return _lookup(self._item_lookup, item_ids, "item")

    def matrix(self, values: Literal["rating", "binary"] = "binary") -> sparse.csr_array:
        """User-item matrix, shape (n_users, n_items), float32.

        With "binary" an entry is 1 where the user has interacted with the item. With "rating" it is the rating, the
        latest one where a user has rated an item more than once.
        """
        order = self.time_order[::-1]  # latest first, and np.unique keeps the first of equals
        cells = self.user_index[order] * np.int64(self.n_items) + self.item_index[order]
        cells, first = np.unique(cells, return_index=True)
        data = self.ratings[order][first] if values == "rating" else np.ones(len(cells), np.float32)
        shape = (self.n_users, self.n_items)
        return sparse.csr_array((data, np.divmod(cells, self.n_items)), shape=shape, dtype=np.float32)

    def sequences(self) -> list[np.ndarray]:
        """Item indices of every user in order of time; the u-th array belongs to user index u."""
        users, items = self.user_index[self.time_order], self.item_index[self.time_order]
        by_user = np.argsort(users, kind="stable")
        return np.split(items[by_user], np.searchsorted(users[by_user], np.arange(1, self.n_users)))

    def labels(self) -> pd.Series:
        """Text to show for every item, "Title (year)", indexed by item index. Labels may repeat."""
        shown = [film_label(t, y) for t, y in zip(self.items["title"], self.items["year"], strict=True)]
        return pd.Series(shown, name="item")


def load_movielens() -> Dataset:
    """Load MovieLens 100K: 943 users, 1,682 films, 100,000 ratings from 1 to 5.

    Harper and Konstan, "The MovieLens Datasets: History and Context", ACM TiiS 5(4), 2015. The rows keep
    the order of the original file, which the classic splits depend on. Titles are put into reading order
    ("Godfather, The" becomes "The Godfather"); three damaged entries of the catalog are corrected.
    """
    folder = assets.locate("movielens-100k")

    def read(kind: str, **options: Any) -> pd.DataFrame:
        # quoting=3: a quotation mark in a title is a character, not the start of a quoted field.
        return pd.read_csv(folder / f"ml-100k.{kind}", sep="\t", quoting=3, **options)

    interactions = read("inter")
    interactions.columns = INTERACTION_COLUMNS
    items = read("item", dtype=str, keep_default_na=False)
    items.columns = ["item_id", "title", "year", "genres"]
    items["item_id"] = items["item_id"].astype("int64")
    year_in_title = items["title"].str.extract(r"\((\d{4})\)$")[0]  # the one row whose year column says "V"
    items["year"] = pd.to_numeric(items["year"], errors="coerce").fillna(pd.to_numeric(year_in_title))
    items["title"] = items["title"].replace({"unkonwn": "Unknown"}).map(_reading_order)
    items["genres"] = items["genres"].str.replace(" ", "|")
    users = read("user", dtype={"zip_code:token": str})
    users.columns = ["user_id", "age", "gender", "occupation", "zip_code"]
    return Dataset.from_frames(interactions, items, users, rating_range=(1, 5))


def _reading_order(title: str) -> str:
    """Drop a trailing "(1995)" and move an article back to the front."""
    title = re.sub(r"\s*\(\d{4}\)$", "", title).strip()
    return _MOVED_ARTICLE.sub(lambda m: f"{m[2]}{'' if m[2].endswith(chr(39)) else ' '}{m[1]}", title)


def _lookup(index: pd.Index, ids: Iterable[Hashable], kind: str) -> np.ndarray:
    wanted: Sequence[Hashable] = list(ids)
    found = index.get_indexer(pd.Index(wanted, dtype=object if not wanted else None))
    unknown = [wanted[i] for i in np.flatnonzero(found < 0)[:5]]
    if unknown:
        raise UnknownIdError(f"unknown {kind} {', '.join(map(repr, unknown))}: not among the {len(index):,} {kind}s")
    return found


LIKED = 4.0  # a rating from here on is a like

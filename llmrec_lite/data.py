"""Chapter 1: one shape for every data set, and the loader of the data the book runs on.

A `Dataset` is three tables. Its two id columns may hold anything hashable (integers with gaps, strings);
it maps them to 0..n-1 once, and everything numerical in the package works on those indices.
"""

from __future__ import annotations

import warnings
from collections.abc import Hashable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pandas as pd
from scipy import sparse

from llmrec_lite import assets
from llmrec_lite.errors import DataError, DataWarning, SettingError, UnknownIdError
from llmrec_lite.frames import INTERACTION_COLUMNS, interaction_table, item_table, with_all_ids
from llmrec_lite.origins import read_frames, usable_rows
from llmrec_lite.text import film_label, reading_order

__all__ = ["DataError", "Dataset", "UnknownIdError", "load_movielens"]


# How messages name the tables of a caller.
_IN_PYTHON = {"interactions": "the interactions", "items": "the table of items", "users": "the table of users"}


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
        liked: float | None = None,
    ) -> Dataset:
        """Build a data set from tables.

        Args:
            interactions: user_id and item_id; rating (1.0 where absent: unary feedback) and timestamp
                (0 where absent; the order of the rows then stands for time). Times are seconds since 1970, or
                milliseconds or finer, ISO dates or a column of dates, which become seconds.
            items: the catalog. Items that only the interactions have are appended without a text.
            users: optional table of users, extended in the same way.
            rating_range: lowest and highest rating allowed.
            invalid: whether bad rows raise, or are dropped. A row of the same user, item and time as one before it is
                bad, so that "drop" keeps the first; without times that is every repeated interaction. With times, an
                interaction repeated at another time is kept.
            liked: keep only interactions rated at least so, as what the users like; all where None.

        Raises:
            DataError: a column is missing, a table is empty, an id occurs twice in a catalog, the catalog has none of
                the items of the interactions, or rows are invalid (`find_problems`); each is named by its row number.

        Warns:
            DataWarning: what is left out, or taken for granted.
        """
        told: dict[str, list[str]] = {}
        frames = {"interactions": interactions, "items": items, "users": users}
        data = cls._build(frames, dict(_IN_PYTHON), told, rating_range, invalid, liked)
        _warn(told)
        return data

    @classmethod
    def _build(
        cls,
        frames: dict[str, pd.DataFrame | None],
        where: dict[str, str],
        told: dict[str, list[str]],
        rating_range: tuple[float, float] | None = None,
        invalid: str = "raise",
        liked: float | None = None,
    ) -> Dataset:
        """Data set of checked tables; `where` is how messages name each, `told` collects what is to be known."""
        notes = {kind: told.setdefault(name, []) for kind, name in where.items()}
        assert frames["interactions"] is not None
        log = where["interactions"]
        frame = interaction_table(frames["interactions"], log, notes["interactions"])
        frame = usable_rows(frame, log, notes["interactions"], rating_range, invalid, liked)
        people = with_all_ids(frames["users"], "user_id", frame["user_id"], where["users"], notes["users"])
        catalog = item_table(frames["items"], frame["item_id"], where["items"], notes["items"])
        return cls(frame, catalog, people.reset_index(drop=True))

    @classmethod
    def from_files(
        cls,
        interactions: str | Path,
        items: str | Path | None = None,
        users: str | Path | None = None,
        *,
        columns: Mapping[str, str | Sequence[str]] | None = None,
        separator: str | None = None,
        encoding: str | None = None,
        header: bool | None = None,
        rating_range: tuple[float, float] | None = None,
        invalid: Literal["raise", "drop"] = "raise",
        liked: float | None = None,
    ) -> Dataset:
        """Build a data set from files of any origin; see `tables.read_table` for the formats.

        Well-known names of columns are recognized (`schema.NAMES`), as are the files of MovieLens without a header.
        Ids are integers where every id of every file is written as one, and text else. Titles such as
        "Godfather, The (1972)" are put into order. Row numbers in errors count the rows after the header, from 1.

        Args:
            interactions: the log; "-" is standard input.
            items: the catalog.
            users: the table of users.
            columns: names of columns by what they are, `{"user_id": "Kunde"}`; a list where two files differ.
            separator: of the columns of text files, guessed where None.
            encoding: of text files, found out where None.
            header: whether the first row names the columns, found out where None.
            rating_range: as in `from_frames`.
            invalid: as in `from_frames`.
            liked: as in `from_frames`.

        Raises:
            DataError: a file cannot be read as it is, or `from_frames` refuses it.
            SettingError: `columns` names what no file has.

        Warns:
            DataWarning: one for a file: columns that are not used, rows left out, and what is taken for granted.
        """
        paths = {"interactions": interactions, "items": items, "users": users}
        told: dict[str, list[str]] = {}
        how = {"separator": separator, "encoding": encoding, "header": header}
        frames, where = read_frames(paths, columns, how, told)
        data = cls._build(frames, dict(_IN_PYTHON) | where, told, rating_range, invalid, liked)
        _warn(told)
        return data

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


def load_movielens(edition: Literal["100k", "latest-small"] = "100k") -> Dataset:
    """Load MovieLens 100K: 943 users, 1,682 films, 100,000 ratings from 1 to 5.

    Harper and Konstan, "The MovieLens Datasets: History and Context", ACM TiiS 5(4), 2015. The rows keep
    the order of the original file, which the classic splits depend on. Titles are put into reading order
    ("Godfather, The" becomes "The Godfather"); three damaged entries of the catalog are corrected.

    Args:
        edition: "100k", or "latest-small": 671 users, 9,066 films and 100,004 ratings from 0.5 to 5, given between 1995
            and 2016, a sample of a later edition. Five of its films have no title.

    Raises:
        SettingError: there is no such edition.
    """
    if edition == "latest-small":
        return _latest_small()
    if edition != "100k":
        raise SettingError(f'the editions of MovieLens here are "100k" and "latest-small", not {edition!r}')
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
    titles = items["title"].replace({"unkonwn": "Unknown"}).str.replace(r"\s*\(\d{4}\)$", "", regex=True)
    items["title"] = titles.str.strip().map(reading_order)
    items["genres"] = items["genres"].str.replace(" ", "|")
    users = read("user", dtype={"zip_code:token": str})
    users.columns = ["user_id", "age", "gender", "occupation", "zip_code"]
    return Dataset.from_frames(interactions, items, users, rating_range=(1, 5))


def _latest_small() -> Dataset:
    table = assets.read_frame("movielens-titles", "movielens.pkl.compress")
    table = table.rename(columns={"userId": "user_id", "movieId": "item_id"})
    items = table.drop_duplicates("item_id")[["item_id", "title", "year", "genres"]]
    items["title"] = items["title"].fillna("").str.strip().map(reading_order)
    items["genres"] = items["genres"].replace("(no genres listed)", "")
    items = items.sort_values("item_id", ignore_index=True)
    return Dataset.from_frames(table[INTERACTION_COLUMNS], items, rating_range=(0.5, 5))


def _warn(told: Mapping[str, Sequence[str]]) -> None:
    """One warning for a file or table with all that is to be known about it, at the line of the caller."""
    for where, notes in told.items():
        if notes:
            warnings.warn(f"{where}: {'; '.join(dict.fromkeys(notes))}", DataWarning, stacklevel=3)


def _lookup(index: pd.Index, ids: Iterable[Hashable], kind: str) -> np.ndarray:
    wanted: Sequence[Hashable] = list(ids)
    found = index.get_indexer(pd.Index(wanted, dtype=object if not wanted else None))
    unknown = [wanted[i] for i in np.flatnonzero(found < 0)[:5]]
    if unknown:
        raise UnknownIdError(f"unknown {kind} {', '.join(map(repr, unknown))}: not among the {len(index):,} {kind}s")
    return found


LIKED = 4.0  # a rating from here on is a like

"""Chapter 1: tables of any origin brought into the one shape that `Dataset` holds."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd

from llmrec_lite.cleaning import DataError
from llmrec_lite.text import item_text

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


def _id_type(ids: pd.Series) -> str:
    """Name the type of the values, whatever the column's type: "integer", "string", "mixed-integer", ..."""
    return pd.api.types.infer_dtype(ids)


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
    ours, theirs = _id_type(seen), _id_type(table[column])
    if ours != theirs and not (ours.startswith("mixed") or theirs.startswith("mixed")):
        raise DataError(f"{column} is {ours} in the interactions but {theirs} in its table; make them one type")
    new = seen[~seen.isin(table[column])].drop_duplicates()
    return pd.concat([table, new.to_frame()], ignore_index=True) if len(new) else table


def item_table(items: pd.DataFrame | None, seen: pd.Series) -> pd.DataFrame:
    """Return the catalogue with every item of `seen` in it, and a title, year, genres and text for each.

    Args:
        items: the catalogue as given, or None.
        seen: the item ids of the interactions.

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


def user_table(users: pd.DataFrame | None, seen: pd.Series) -> pd.DataFrame:
    """Return the table of users with every user of `seen` in it; arguments and errors are those of `item_table`."""
    return _with_all_ids(users, "user_id", seen).reset_index(drop=True)

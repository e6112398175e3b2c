"""Tables of anybody put into the shape of a data set: ids, ratings, times, titles, years and genres.

What is converted keeps its meaning or is refused, with the row; what had to be taken for granted goes into `notes`.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from decimal import Decimal
from numbers import Number
from typing import Any

import numpy as np
import pandas as pd

from llmrec_lite.errors import DataError, shorten
from llmrec_lite.schema import FLAGS
from llmrec_lite.text import item_text, reading_order

INTERACTION_COLUMNS = ["user_id", "item_id", "rating", "timestamp"]

_INTEGER = r"(?:0|-?[1-9][0-9]{0,18})"
_DECIMAL = r"-?(?:0|[1-9][0-9]{0,14})(?:\.[0-9]{1,15})?"
_YEAR = r"\s*[0-9]{1,4}(?:\.0*)?\s*"
_ZONE = r"(?:Z|[+-][0-9]{2}(?::?[0-9]{2})?)"
_DATE = rf"[0-9]{{4}}-[0-9]{{2}}-[0-9]{{2}}(?:[T ][0-9]{{2}}:[0-9]{{2}}(?::[0-9]{{2}}(?:[.,][0-9]+)?)?\s?{_ZONE}?)?"
_TITLE_YEAR = re.compile(r"(.*\S)\s*\((\d{4})(?:\s*[-–]\s*(?:\d{4})?)?\)\s*")
# Seconds since 1970 reach 10^11 in the year 5138, milliseconds did in 1973.
_UNITS = ((1e17, "nanoseconds", 10**9), (1e14, "microseconds", 10**6), (1e11, "milliseconds", 10**3))
LATEST = 1e11
_FRACTIONS = "fractions of a second are left out of timestamp"


# ---- ids ----


def _without_categories(cells: pd.Series) -> pd.Series:
    return cells.astype(cells.cat.categories.dtype) if isinstance(cells.dtype, pd.CategoricalDtype) else cells


def plain_ids(ids: pd.Series) -> pd.Series:
    """Undo what storage did to ids: categories, and integers that became floats or nullable beside a missing one."""
    ids = _without_categories(ids)
    if isinstance(ids.dtype, pd.Int64Dtype) and not ids.hasnans:
        return ids.astype("int64")
    if ids.dtype == np.float16:
        ids = ids.astype("float64")
    whole = ids.dtype.kind == "f" and bool((ids % 1 == 0).all()) and bool((ids.abs() < 2.0**53).all())
    return ids.astype("int64") if whole else ids


def id_texts(ids: pd.Series, column: str, where: str, notes: list[str]) -> pd.Series:
    """Ids as text, missing ones as NaN: what is written in a text file, and whole numbers without a fraction.

    Where every id of a text file ends in ".0", a program has written integers as floats; ".0" is left out and told.

    Raises:
        DataError: an id is of a kind that has no text of its own, or a number that was not kept exactly.
    """
    ids = _without_categories(ids)
    if ids.dtype.kind in "iu":
        return ids.astype("str")
    if isinstance(ids.dtype, pd.StringDtype):
        text = ids.astype("str").where(ids.str.strip() != "")
        if (present := text.dropna()).str.fullmatch(rf"{_INTEGER}\.0").all() and len(present):
            notes.append(f"{column} read without the .0 of every id")
            return text.str.slice(stop=-2)
        return text
    cells = ids.tolist() if ids.dtype.kind == "f" else ids
    return pd.Series([_id_text(cell, column, where, row) for row, cell in enumerate(cells, 1)], dtype="str")


def _id_text(cell: Any, column: str, where: str, row: int) -> str | None:
    if cell is None or cell is pd.NaT or cell is pd.NA or (isinstance(cell, float) and np.isnan(cell)):
        return None
    if isinstance(cell, str):
        return cell if cell.strip() else None
    if isinstance(cell, bool | np.bool_) or not isinstance(cell, Number):
        kind = type(cell).__name__
        raise DataError(f"{where}, row {row}: {column} {shorten(cell)} is a {kind}; ids are text or whole numbers")
    if isinstance(cell, float | np.floating):
        if abs(float(cell)) >= 2**53:
            raise DataError(
                f"{where}, row {row}: {column} {cell!r} is a floating-point number too large to be exact; write ids "
                "as text or whole numbers"
            )
        return str(int(cell)) if cell.is_integer() else repr(float(cell))
    return str(cell)


def same_type(texts: Sequence[pd.Series]) -> list[pd.Series]:
    """Ids of several tables as integers where every one of them is written as an integer is, else all as text."""
    present = [ids.dropna() for ids in texts]
    if all(bool(ids.str.fullmatch(_INTEGER).all()) for ids in present):
        try:
            return [_integers(ids) for ids in texts]
        except (OverflowError, ValueError):  # more than 64 bits
            pass
    return list(texts)


def _integers(ids: pd.Series) -> pd.Series:
    missing = ids.isna().to_numpy()
    numbers = np.array([int(cell) for cell in ids.fillna("0")], dtype="int64")
    return pd.Series(pd.arrays.IntegerArray(numbers, missing) if missing.any() else numbers)


# ---- the log ----


def check_frame(frame: pd.DataFrame, where: str) -> pd.DataFrame:
    """The table with a fresh index, or a DataError where its columns have no or several meanings."""
    if not isinstance(frame, pd.DataFrame):
        raise DataError(f"{where} must be a DataFrame, not {type(frame).__name__}; read files with Dataset.from_files")
    if isinstance(frame.columns, pd.MultiIndex):
        raise DataError(f"{where} has column names of {frame.columns.nlevels} levels; give it one")
    names = list(frame.columns)
    if twice := [name for name in [*INTERACTION_COLUMNS, "title", "year", "genres", "text"] if names.count(name) > 1]:
        raise DataError(f"{where} has the column {twice[0]!r} {names.count(twice[0])} times; leave one")
    return frame.reset_index(drop=True)


def check_ids(ids: pd.Series, column: str, where: str) -> None:
    """Refuse ids that no table can look up, such as lists, by a DataError."""
    if ids.dtype == object:
        for row, cell in enumerate(ids, 1):
            try:
                hash(cell)
            except TypeError as error:
                kind = type(cell).__name__
                raise DataError(
                    f"{where}, row {row}: {column} {shorten(cell)} is a {kind}, which cannot be an id"
                ) from error


def interaction_table(
    frame: pd.DataFrame, where: str = "the table of interactions", notes: list[str] | None = None
) -> pd.DataFrame:
    """User_id, item_id, rating (1.0 where absent) and timestamp (seconds; 0 where absent) of every row.

    Raises:
        DataError: there is no column of users or of items, a column is there twice, or is of no usable type.
    """
    frame = check_frame(frame, where)
    if missing := {"user_id", "item_id"} - set(frame.columns):
        raise DataError(f"{where} lacks {' and '.join(sorted(missing))}; its columns are {list(frame.columns)[:12]}")
    for column in ("user_id", "item_id"):
        check_ids(frame[column], column, where)
    rating = numbers(frame["rating"], "rating", where) if "rating" in frame else 1.0
    timestamp = seconds(frame["timestamp"], where, [] if notes is None else notes) if "timestamp" in frame else 0
    return frame[["user_id", "item_id"]].assign(rating=rating, timestamp=timestamp)


def numbers(cells: pd.Series, column: str, where: str) -> pd.Series:
    """Cells that `pandas.to_numeric` can work on: numbers and text as they are, anything else as its text."""
    if cells.dtype.kind in "mMc" or isinstance(cells.dtype, pd.PeriodDtype | pd.IntervalDtype | pd.SparseDtype):
        raise DataError(f"{where}: {column} is of type {cells.dtype}, which is no number")
    cells = _without_categories(cells)
    if cells.dtype == np.float16:
        return cells.astype("float32")
    if cells.dtype == object:
        return cells.map(_number_or_text)
    return cells.where(cells.str.strip() != "") if isinstance(cells.dtype, pd.StringDtype) else cells


def _number_or_text(cell: Any) -> Any:
    if isinstance(cell, Decimal):
        return float(cell)
    if isinstance(cell, str):
        return cell if cell.strip() else None
    known = cell is None or cell is pd.NA or cell is pd.NaT or isinstance(cell, int | float | np.number | np.bool_)
    return cell if known else str(cell)


def seconds(times: pd.Series, where: str, notes: list[str]) -> pd.Series:
    """Times in seconds since 1970 of seconds, milliseconds or finer, ISO 8601 dates, or a column of dates.

    A cell that is none of them stays as it is, for `find_problems` to name. The unit is that of the whole column; where
    a column mixes two, a DataError names a row of each.
    """
    if pd.api.types.is_datetime64_any_dtype(times):
        return _whole_seconds(times - pd.Timestamp(0, tz=times.dt.tz), notes)
    times = numbers(times, "timestamp", where)
    number = pd.to_numeric(times, errors="coerce")
    present = times.notna()
    if times.dtype == object or isinstance(times.dtype, pd.StringDtype):
        text = times.where(present, "").astype("str").str.strip()
        dates = text.str.fullmatch(_DATE) & number.isna()
        if 2 * dates.sum() > present.sum():
            return _date_seconds(times, text, dates, notes)
    if isinstance(number.dtype, pd.api.extensions.ExtensionDtype):
        number = number.astype("float64" if number.isna().any() else "int64")
    size = number.abs().to_numpy(dtype="float64", na_value=np.nan)
    size = np.where(np.isfinite(size), size, np.nan)
    told = size[size > 0]
    typical = float(np.median(told)) if len(told) else 0.0
    unit = next(((name, n) for least, name, n in _UNITS if least < typical < 1e20), None)
    if unit is not None:
        odd = (size > 0) & (size < LATEST / 10)
        if odd.any():
            row, other = int(odd.argmax()), int((size >= LATEST).argmax())
            raise DataError(
                f"{where}: timestamp is in {unit[0]} in row {other + 1} ({times.iloc[other]}) but not in row {row + 1} "
                f"({times.iloc[row]}); write all in one unit"
            )
        notes.append(f"timestamp is taken for {unit[0]} and cut to seconds")
        return (number // unit[1]).where(number.notna(), times)
    if (size % 1 > 0).any():
        notes.append(_FRACTIONS)
    return times


def _whole_seconds(since: pd.Series, notes: list[str]) -> pd.Series:
    second = pd.Timedelta(seconds=1)
    if bool((since % second > pd.Timedelta(0)).any()):
        notes.append(_FRACTIONS)
    return since // second


def _date_seconds(times: pd.Series, text: pd.Series, dates: pd.Series, notes: list[str]) -> pd.Series:
    moment = pd.to_datetime(text.where(dates).str.replace(",", "."), format="ISO8601", utc=True, errors="coerce")
    if not bool(text[dates].str.contains(rf":.*{_ZONE}$", regex=True).all()):
        notes.append("dates of timestamp are taken for UTC")
    whole = _whole_seconds(moment - pd.Timestamp(0, tz="UTC"), notes)
    # A number among dates is no date; as text it is one of the problems that are named.
    other = times.where(times.isna(), "not a date: " + text)
    return whole.astype(object).where(moment.notna(), other)


# ---- the catalog ----


def with_all_ids(
    table: pd.DataFrame | None, column: str, seen: pd.Series, where: str | None = None, notes: list[str] | None = None
) -> pd.DataFrame:
    """The table with a row for every id of `seen`, known ones in their place, new ones appended.

    Raises:
        DataError: no column of ids, an empty table, a missing or repeated id, or none of `seen` in it.
    """
    kind = column[:-3]
    where = where or f"the table of {kind}s"
    if table is None:
        ids = seen.unique()
        return pd.DataFrame({column: np.sort(ids) if seen.dtype.kind in "iuf" else ids})
    table = check_frame(table, where)
    if column not in table:
        raise DataError(f"{where} lacks the column {column!r}; it has {list(table.columns)[:12]}")
    if table.empty:
        raise DataError(f"{where} is empty; leave it out if there is none")
    check_ids(table[column], column, where)
    for wrong, problem in ((table[column].isna(), "is missing"), (table[column].duplicated(), "occurs twice")):
        if wrong.any():
            row = int(wrong.to_numpy().argmax())
            value = shorten(table[column].iloc[row])
            raise DataError(f"{where}: {column} {value} {problem} in its table (row {row + 1})")
    table[column] = plain_ids(table[column])
    _check_types(seen, table[column], column, where)
    new = seen[~seen.isin(table[column])].drop_duplicates()
    if len(new):
        n = seen.nunique()
        if len(new) == n:
            raise DataError(
                f"{where}: none of the {n:,} {kind}s of the log is in it; write ids alike, here "
                f"{shorten(table[column].iloc[0])}, there {shorten(seen.iloc[0])}"
            )
        if notes is not None:
            notes.append(f"{len(new):,} of {n:,} {kind}s of the log are not in the {_TABLES[kind]}")
        table = pd.concat([table, new.to_frame()], ignore_index=True)
    return table


_TABLES = {"item": "catalog", "user": "table of users"}


def _check_types(seen: pd.Series, ids: pd.Series, column: str, where: str) -> None:
    ours, theirs = (pd.api.types.infer_dtype(cells) for cells in (seen, ids))
    if ours != theirs and not (ours.startswith("mixed") or theirs.startswith("mixed")):
        raise DataError(
            f"{column} is {ours} in the interactions, such as {shorten(seen.iloc[0])}, but {theirs} in {where}, such "
            f"as {shorten(ids.iloc[0])}; make them one type"
        )


def as_text(cells: pd.Series) -> pd.Series:
    """Cells as text: missing ones empty, whole numbers without a fraction, lists joined by a bar."""
    if isinstance(cells.dtype, pd.StringDtype):
        return cells.fillna("").astype("str")
    return pd.Series([_cell_text(cell) for cell in cells], index=cells.index, dtype="str")


def _cell_text(cell: Any) -> str:
    if isinstance(cell, list | tuple | np.ndarray):
        return "|".join(text for inner in cell if (text := _cell_text(inner)))
    if cell is None or (pd.api.types.is_scalar(cell) and pd.isna(cell)):
        return ""
    return str(int(cell)) if isinstance(cell, float | np.floating) and cell.is_integer() else str(cell)


def years(cells: pd.Series, notes: list[str] | None = None) -> pd.Series:
    """Years from 1 to 9999 as nullable integers; whatever else stands there is no year, and told."""
    if pd.api.types.is_datetime64_any_dtype(cells):
        return cells.dt.year.astype("Int64")
    text = as_text(cells)
    fits = text.str.fullmatch(_YEAR)
    number = pd.to_numeric(text.where(fits), errors="coerce")
    number = number.where(number > 0)
    odd = number.isna() & (text.str.strip() != "")
    if notes is not None and odd.any():
        more = f" and {odd.sum() - 1:,} more" if odd.sum() > 1 else ""
        notes.append(f"no year: {shorten(text[odd].iloc[0])} (row {int(odd.to_numpy().argmax()) + 1}){more}")
    return number.astype("Int64")


def item_table(
    items: pd.DataFrame | None, seen: pd.Series, where: str | None = None, notes: list[str] | None = None
) -> pd.DataFrame:
    """Catalog with every item of `seen` in it, and a title, year, genres and text for each.

    Raises:
        DataError: no column of ids, an empty table, a missing or repeated id, ids of another type than `seen`, or no
            item of `seen` in it.
    """
    table = with_all_ids(items, "item_id", seen, where, notes).reset_index(drop=True)
    for column in ("title", "genres"):
        table[column] = as_text(table[column]) if column in table else ""
    table["year"] = years(table["year"], notes) if "year" in table else pd.Series(pd.NA, table.index, dtype="Int64")
    untitled = table["title"] == ""
    table["title"] = table["title"].where(~untitled, "item " + table["item_id"].astype(str))
    if "text" not in table:
        table["text"] = [item_text(row) for row in table[["title", "year", "genres"]].to_dict("records")]
        table["text"] = table["text"].where(~untitled, "")
    return table.assign(text=as_text(table["text"]))


def tidy_catalog(items: pd.DataFrame, types: dict[str, str], notes: list[str]) -> pd.DataFrame:
    """Catalog of a file, put into order: years out of titles, moved articles back, genres separated by bars.

    Args:
        items: a table with item_id, and title, year, genres and text as far as there are any.
        types: RecBole's types of columns; genres that are a token_seq are separated by blanks.
        notes: list that what was changed is appended to.
    """
    items = items.copy()
    if set(FLAGS) <= set(items.columns) and "genres" not in items:
        held = zip(*(items[name].astype("str") == "1" for name in FLAGS), strict=True)
        items["genres"] = ["|".join(n for n, has in zip(FLAGS, row, strict=True) if has) for row in held]
        items = items.drop(columns=list(FLAGS))
    if "title" in items:
        items = _tidy_titles(items, notes)
    if "genres" in items:
        genres = as_text(items["genres"]).replace("(no genres listed)", "")
        if types.get("genres") == "token_seq":
            genres = genres.str.replace(r"\s+", "|", regex=True)
        elif not genres.str.contains("|", regex=False).any() and genres.str.contains("[,;]").any():
            notes.append("genres are separated at commas")
            genres = genres.str.replace(r"\s*[,;]\s*", "|", regex=True).str.strip("|")
        items["genres"] = genres
    if "text" in items:
        items["text"] = as_text(items["text"])
    return items


def _tidy_titles(items: pd.DataFrame, notes: list[str]) -> pd.DataFrame:
    titles = as_text(items["title"])
    known = years(items["year"]) if "year" in items else pd.Series(pd.NA, items.index, dtype="Int64")
    out, found = [], known.tolist()
    for row, title in enumerate(titles):
        if (match := _TITLE_YEAR.fullmatch(title)) and (pd.isna(found[row]) or found[row] == int(match[2])):
            found[row] = int(match[2]) or pd.NA
            title = match[1]
        out.append(reading_order(title))
    changed = [row for row, title in enumerate(titles) if title != out[row]]
    if changed:
        row = changed[0]
        notes.append(f"titles put into order, such as {shorten(titles.iloc[row])} into {shorten(out[row])}")
        given = as_text(items["year"]) if "year" in items else pd.Series("", items.index, dtype="str")
        filled = [str(year) if not pd.isna(year) else text for year, text in zip(found, given, strict=True)]
        items = items.assign(title=pd.Series(out, items.index, dtype="str"), year=pd.Series(filled, items.index))
    return items


def natural_types(table: pd.DataFrame, but: Sequence[str]) -> pd.DataFrame:
    """The table with its columns of text as numbers where every cell of a column is written as a number is."""
    out = table.copy()
    for name in table.columns.difference(pd.Index(list(but), dtype=object), sort=False):
        cells = table[name]
        if not isinstance(cells.dtype, pd.StringDtype) and not (cells.map(type).isin([str, type(None)]).all()):
            continue
        text = as_text(cells)
        present = text[text != ""]
        if len(present) and present.str.fullmatch(_INTEGER).all() and present.str.len().max() < 16:
            number = pd.to_numeric(text.where(text != ""))
            out[name] = number.astype("int64" if len(present) == len(text) else "Int64")
        elif len(present) and present.str.fullmatch(_DECIMAL).all():
            out[name] = pd.to_numeric(text.where(text != "")).astype("float64")
        else:
            out[name] = text
    return out

"""From files and tables of any origin to the frames of a data set: columns found, ids alike, bad rows named."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import pandas as pd

from llmrec_lite.cleaning import describe_problems, find_problems
from llmrec_lite.errors import DataError, SettingError, hint, shorten
from llmrec_lite.frames import id_texts, interaction_table, natural_types, plain_ids, same_type, tidy_catalog
from llmrec_lite.schema import COLUMNS, FLAGS, Arranged, Kind, arrange, check_columns
from llmrec_lite.tables import name_of, read_table

KINDS: tuple[Kind, ...] = ("interactions", "items", "users")


def read_frames(
    paths: Mapping[str, str | Path | None],
    columns: Mapping[str, str | Sequence[str]] | None,
    how: Mapping[str, Any],
    told: dict[str, list[str]],
) -> tuple[dict[str, pd.DataFrame | None], dict[str, str]]:
    """Frames of the files of a data set under the names of its columns, ids of one type in all, and their names.

    Args:
        paths: file by kind, "interactions", "items" and "users".
        columns: names of columns by what they are.
        how: separator, encoding and header, as `read_table` takes them.
        told: what is to be known, by file; it is added to.
    """
    if [str(path) for path in paths.values()].count("-") > 1:
        raise SettingError("standard input is one file; name the others")
    named = check_columns(columns)
    where = {kind: name_of(path) for kind in KINDS if (path := paths.get(kind)) is not None}
    found = {kind: _arranged(paths[kind] or "", kind, named, how, told) for kind in where}
    said = {pair for table in found.values() for pair in table.said}
    for column, names in named.items():
        for wrong in (name for name in names if (column, name) not in said):
            raise SettingError(f"no file here has a column {wrong!r} to take for {column}")
    frames: dict[str, pd.DataFrame | None] = {kind: None for kind in KINDS}
    for kind, table in found.items():
        notes, frame = told[where[kind]], table.frame
        if kind == "items":
            frame = natural_types(tidy_catalog(frame, table.types, notes), COLUMNS["items"])
        elif kind == "users":
            frame = natural_types(frame, COLUMNS["users"])
        frames[kind] = frame
    for column in ("user_id", "item_id"):
        holders = [kind for kind in where if column in COLUMNS[kind]]
        ids = [id_texts(_frame(frames[kind])[column], column, where[kind], told[where[kind]]) for kind in holders]
        for kind, cells in zip(holders, same_type(ids), strict=True):
            frames[kind] = _frame(frames[kind]).assign(**{column: cells})
    return frames, {str(kind): name for kind, name in where.items()}


def _arranged(
    path: str | Path,
    kind: Kind,
    columns: Mapping[str, Sequence[str]],
    how: Mapping[str, Any],
    told: dict[str, list[str]],
) -> Arranged:
    """Table of a file with its columns under the names of a data set; what is not used is told."""
    where = name_of(path)
    notes = told.setdefault(where, [])
    # Columns that are named by number are those of a file without a header.
    numbered = any(name.isdecimal() for names in columns.values() for name in names)
    table = arrange(read_table(path, kind, numbered=numbered, notes=notes, **how), kind, columns, where)
    unused = [] if kind == "users" else [name for name in table.unused if kind != "items" or name not in FLAGS]
    if unused:
        more = f" and {len(unused) - 8} more" if len(unused) > 8 else ""
        notes.append(f"not used: {', '.join(map(_shown, unused[:8]))}{more}")
    return table


def _shown(name: str) -> str:
    return shorten(name, 40)[1:-1] if len(name) > 38 or not name.isprintable() else name


def _frame(frame: pd.DataFrame | None) -> pd.DataFrame:
    assert frame is not None
    return frame


def usable_rows(
    frame: pd.DataFrame,
    where: str,
    notes: list[str],
    rating_range: tuple[float, float] | None = None,
    invalid: str = "raise",
    liked: float | None = None,
) -> pd.DataFrame:
    """Rows of an `interaction_table` that can be used, in the types of a data set; what is left out is told.

    Raises:
        DataError: rows are bad and `invalid` is "raise", or none is left.
        SettingError: `invalid` is another word.
    """
    if invalid not in ("raise", "drop"):
        raise SettingError(f"the treatment of bad rows must be raise or drop, not {invalid!r}")
    problems = find_problems(frame, rating_range)
    if len(problems) and invalid == "raise":
        raise DataError(describe_problems(problems, where=where))
    if n := problems["row"].nunique():
        first = problems.iloc[0]
        example = f"row {first['row']}, {first['column']} {shorten(first['value'])}: {first['problem']}"
        notes.append(f"{n:,} of {len(frame):,} rows are left out (the first: {example})")
    kept = frame.drop(frame.index[problems["row"].unique() - 1]).reset_index(drop=True)
    if kept.empty:
        raise DataError(f"{where}: no interaction is left: the table is empty, or every row of it is invalid")
    kept = kept.assign(
        user_id=plain_ids(kept["user_id"]),
        item_id=plain_ids(kept["item_id"]),
        rating=pd.to_numeric(kept["rating"]).astype("float32"),  # a column with text is text throughout
        timestamp=pd.to_numeric(kept["timestamp"]).astype("int64"),
    )
    if liked is None:
        return kept
    likes = kept[kept["rating"] >= liked].reset_index(drop=True)
    if likes.empty:
        best = kept["rating"].max()
        raise DataError(
            f"{where}: no interaction is rated {liked:g} or more; the best rating is {best:g}, see {hint('liked', 4)}"
        )
    if len(likes) < len(kept):
        notes.append(f"{len(kept) - len(likes):,} of {len(kept):,} interactions are rated under {liked:g} and left out")
    return likes


def read_log(
    path: str | Path,
    user_ids: Iterable[Any],
    item_ids: Iterable[Any],
    *,
    columns: Mapping[str, str | Sequence[str]] | None = None,
    told: dict[str, list[str]],
    how: Mapping[str, Any],
    invalid: str = "raise",
    liked: float | None = None,
) -> pd.DataFrame:
    """Interactions in a file, for users and items that are known: an id is the known one that is written like it.

    Ids that nobody knows stay text. The other arguments are those of `read_frames` and `usable_rows`.
    """
    name, frame = name_of(path), _arranged(path, "interactions", check_columns(columns), how, told).frame
    notes = told[name]
    ids = {column: id_texts(frame[column], column, name, notes) for column in ("user_id", "item_id")}
    frame = interaction_table(frame.assign(**ids), name, notes)
    frame = usable_rows(frame, name, notes, None, invalid, liked)
    for column, known in (("user_id", user_ids), ("item_id", item_ids)):
        by_text = {str(raw): raw for raw in known}
        found = [by_text.get(text, text) for text in frame[column].astype("str")]
        frame[column] = pd.Series(found, dtype=object).infer_objects()
    return frame

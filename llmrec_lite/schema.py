"""Columns of other people's tables: well-known names, names that the reader gives, files without a header.

Names are compared without case, blanks, underscores, hyphens and dots, and without the types that RecBole writes
behind them ("user_id:token"). Nothing is guessed beyond the lists below: what they lack is left unused, and told.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import pandas as pd

from llmrec_lite.errors import DataError, SettingError, hint, shorten

Kind = Literal["interactions", "items", "users"]

# Of several known names in one table the first in the list is meant: the catalog of Amazon lists parent_asin.
_NAMES: dict[str, str] = {
    "user_id": "userid user uid reviewerid customerid customer memberid accountid visitorid personid playerid",
    "item_id": "itemid item iid movieid movie filmid isbn parentasin asin bookid productid product articleid artistid "
    "songid trackid gameid businessid newsid beerid recipeid sku",
    "rating": "rating ratings bookrating userrating starrating overall stars score",
    "timestamp": "timestamp unixreviewtime unixtime time datetime date ts eventtime createdat",
    "title": "title itemtitle movietitle filmtitle booktitle producttitle name itemname moviename productname",
    "year": "year releaseyear yearofpublication publicationyear yearpublished",
    "genres": "genres genre categories category",
    "text": "text itemtext description overview plot abstract",
}
NAMES: dict[str, list[str]] = {column: names.split() for column, names in _NAMES.items()}
COLUMNS: dict[Kind, tuple[str, ...]] = {
    "interactions": ("user_id", "item_id", "rating", "timestamp"),
    "items": ("item_id", "title", "year", "genres", "text"),
    "users": ("user_id",),
}
_NEEDED: dict[Kind, tuple[str, ...]] = {
    "interactions": ("user_id", "item_id"),
    "items": ("item_id",),
    "users": ("user_id",),
}
_TYPED = re.compile(r":(token|token_seq|float|float_seq)$")

# The 19 flags at the end of MovieLens 100K's u.item, in the order of its u.genre.
_FLAGS = (
    "unknown Action Adventure Animation Children's Comedy Crime Documentary Drama Fantasy Film-Noir Horror Musical "
    "Mystery Romance Sci-Fi Thriller War Western"
)
FLAGS = tuple(_FLAGS.split())
_NUMBER = re.compile(r"\s*[+-]?(\d+\.?\d*|\.\d+)\s*")


def plain_name(name: str) -> str:
    """Name of a column without what does not count; RecBole's "class", its name for genres, is spelled out."""
    kind = _TYPED.search(name.strip())
    bare = re.sub(r"[\s_.\-]+", "", _TYPED.sub("", name.strip())).casefold()
    return "genres" if kind and bare == "class" else bare


def count_known(names: Sequence[object], kind: Kind | None = None) -> int:
    """Number of cells that are well-known names of columns, of one kind of table or of any."""
    known = {name for column in (COLUMNS[kind] if kind else NAMES) for name in NAMES[column]}
    return sum(isinstance(name, str) and plain_name(name) in known for name in names)


def headless_names(rows: Sequence[Sequence[str | None]], kind: Kind, separator: str | None) -> list[str] | None:
    """Names of the columns of a file without header, where its first rows have the shape of a known one.

    Known are logs of user, item, rating and time, the last left out or not (u.data, ratings.dat), and catalogs and
    users of MovieLens (u.item, movies.dat; u.user, users.dat). None where the rows have another shape.
    """
    if not rows or len({len(row) for row in rows}) != 1:
        return None
    columns = list(zip(*rows, strict=True))
    n = len(columns)

    def all_match(cells: Sequence[str | None], pattern: re.Pattern[str]) -> bool:
        return all(cell is not None and pattern.fullmatch(cell) for cell in cells)

    if kind == "interactions" and n in (3, 4) and all(all_match(cells, _NUMBER) for cells in columns[2:]):
        return ["user_id", "item_id", "rating", "timestamp"][:n]
    if kind == "items" and n == 5 + len(FLAGS) and all(set(cells) <= {"0", "1"} for cells in columns[5:]):
        return ["item_id", "title", "release date", "video release date", "IMDb URL", *FLAGS]
    if kind == "items" and n == 3 and separator == "::":
        return ["item_id", "title", "genres"]
    if kind == "users" and n == 5 and separator == "|":
        return ["user_id", "age", "gender", "occupation", "zip_code"]
    if kind == "users" and n == 5 and separator == "::":
        return ["user_id", "gender", "age", "occupation", "zip_code"]
    return None


def default_names(n: int, kind: Kind | None) -> list[str]:
    """Names of n columns without a header that somebody has said are none: user, item, rating, time, or numbers."""
    usual = {"interactions": ["user_id", "item_id", "rating", "timestamp"], "items": ["item_id", "title", "genres"]}
    names = usual.get(kind or "", ["user_id"] if kind == "users" else [])
    return [names[i] if i < len(names) and n <= max(len(names), 2) else str(i + 1) for i in range(n)]


def parse_columns(text: str | None) -> dict[str, list[str]]:
    """Columns that a command line names, "user_id=Kunde,item_id=Artikel"; one may be named twice, for two files.

    Raises:
        SettingError: no equals sign, or no column of a data set before it.
    """
    found: dict[str, list[str]] = {}
    for part in (text or "").split(",") if text else []:
        column, sign, name = (piece.strip() for piece in part.partition("="))
        if not (sign and name):
            raise SettingError(f"{part!r} names no column; write user_id=..., item_id=... with commas between")
        found.setdefault(column, []).append(name)
    return check_columns(found)


def check_columns(columns: Mapping[str, str | Sequence[str]] | None) -> dict[str, list[str]]:
    """Names by column of a data set, each a list; a SettingError where a data set has no such column."""
    found = {c: [names] if isinstance(names, str) else list(names) for c, names in (columns or {}).items()}
    if wrong := found.keys() - NAMES.keys():
        raise SettingError(f"a data set has no column {min(wrong)!r}; it has {', '.join(NAMES)}")
    return found


@dataclass(frozen=True)
class Arranged:
    """A table with the columns of a data set under their names, and how it came to them."""

    frame: pd.DataFrame  # the columns of its kind, then all others under their own names
    unused: list[str]  # names of the others
    said: set[tuple[str, str]]  # pairs of `columns` that this table has
    types: dict[str, str]  # RecBole's type by column, where there is one


def arrange(frame: pd.DataFrame, kind: Kind, columns: Mapping[str, Sequence[str]], where: str) -> Arranged:
    """Put the columns of a table under the names of a data set.

    A name in `columns` is one of the table's, or the number of a column, from 1, where it has no header.

    Raises:
        DataError: a needed column is missing, or two columns could be meant.
    """
    names = [str(name).strip() for name in frame.columns]
    plain = [plain_name(name) for name in names]
    places: dict[str, int] = {}
    said: set[tuple[str, str]] = set()
    for column in COLUMNS[kind]:
        for name in columns.get(column, ()):
            if found := [i for i, own in enumerate(names) if own == name]:
                _only(found, name, where)
                if column in places:
                    raise DataError(f"{where} has both columns that are named for {column}; name one")
                places[column] = found[0]
                said.add((column, name))
    if len(set(places.values())) < len(places):
        raise SettingError(f"one column of {where} is named for two of {', '.join(sorted(places))}")
    for column in COLUMNS[kind]:
        if column in places:
            continue
        free = [i for i in range(len(names)) if i not in places.values()]
        for known in NAMES[column]:
            if found := [i for i in free if plain[i] == known]:
                _only(found, names[found[0]], where)
                places[column] = found[0]
                break
    missing = [column for column in _NEEDED[kind] if column not in places]
    if missing:
        raise DataError(_lacking(missing, names, where))
    rest = [i for i in range(len(names)) if i not in places.values()]
    kept = list(dict.fromkeys(names[i] for i in rest))  # of two columns that nobody uses the first is kept
    out = pd.concat([frame.iloc[:, i] for i in places.values()], axis=1, ignore_index=True)
    out.columns = list(places)
    extras = {name: frame.iloc[:, next(i for i in rest if names[i] == name)] for name in kept if name not in places}
    types = {c: m[1] for c, i in places.items() if (m := _TYPED.search(names[i]))}
    return Arranged(out.assign(**extras), [names[i] for i in rest], said, types)


def _only(found: Sequence[int], name: str, where: str) -> None:
    if len(found) > 1:
        raise DataError(
            f"{where} has {len(found)} columns called {name!r}, columns {' and '.join(str(i + 1) for i in found)}; "
            "leave one or rename it"
        )


def _lacking(missing: Sequence[str], names: Sequence[str], where: str) -> str:
    example = hint("columns", dict.fromkeys(missing, "..."))
    if len(names) < 2:
        how = f"if they are not separated by {hint('separator', ',')}, say by what"
    else:
        how = f"say which they are with {example}, or {hint('header', False)} if the first row is data"
    shown = ", ".join(shorten(name, 40) for name in names[:8]) + (" ..." if len(names) > 8 else "")
    return f"{where} lacks {' and '.join(missing)}; its columns are {shown}; {how}"

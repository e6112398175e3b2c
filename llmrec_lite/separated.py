"""Text in columns: the separator found, quoted cells where it allows them, and all rows of one width."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterator
from itertools import islice
from typing import Any

import pandas as pd
import pyarrow as pa
import pyarrow.csv

from llmrec_lite.errors import DataError, hint, shorten
from llmrec_lite.schema import Kind, count_known

SEPARATORS = ("::", "\t", "|", ";", ",")
SAMPLE = 50  # rows that a guess is made from
_QUOTED = (",", ";")  # in the others a quotation mark is a character like any other


def text_lines(text: str) -> Iterator[str]:
    """Lines that are not blank; a line ends as files end theirs, and not at the other ends that Unicode knows."""
    return (line.rstrip("\n") for line in io.StringIO(text, newline=None) if line.strip())


def _split(line: str, separator: str) -> list[str]:
    if separator in _QUOTED and '"' in line:
        return next(csv.reader([line], delimiter=separator), [])
    return line.split(separator)


def guess_separator(text: str, kind: Kind | None) -> str:
    """Separator that finds the most known names in the first line, or else as many cells in every line."""
    lines = list(islice(text_lines(text[:1_000_000]), SAMPLE))
    lines = lines[:-1] if len(lines) > 1 and len(text) > 1_000_000 else lines  # the last may be cut

    def fit(separator: str) -> tuple[int, float, int]:
        cells = [_split(line, separator) for line in lines]
        if (width := len(cells[0])) < 2:
            return 0, 0.0, 1
        return count_known(cells[0], kind), sum(len(row) == width for row in cells) / len(cells), width

    best = max(SEPARATORS, key=fit)
    return best if fit(best)[1] > 0 else ","


def separated_rows(text: str, separator: str, where: str, notes: list[str]) -> pd.DataFrame:
    """Cells of a text, one row a line, all rows of one width; quoted cells where the separator allows them."""
    if "\0" in text:
        raise DataError(f"{where} holds NUL characters and is no text as it stands; another {hint('encoding', '...')}?")
    first = next(text_lines(text)).split(separator)
    wrapped = len(first) > 1 and all(len(c := cell.strip()) > 1 and c[0] == c[-1] == '"' for cell in first)
    if '"' in text and (separator in _QUOTED or wrapped) and len(separator) == 1:
        try:
            return _quoted(text, separator, where, None)
        except DataError:
            if '\\"' not in text:
                raise
            rows = _quoted(text, separator, where, "\\")
            notes.append('read \\" as a quotation mark within a cell')
            return rows
    if '"' in text and any(cell[:1] == cell[-1:] == '"' != cell for cell in _cells(text, separator)):
        notes.append("quotation marks around cells are read as a part of them")
    return _plain(text, separator, where)


def _cells(text: str, separator: str) -> Iterator[str]:
    return (cell for line in text_lines(text) if '"' in line for cell in line.split(separator))


def _ragged(where: str, row: int, line: int | None, cells: int, first: list[str], shown: str) -> str:
    place = f"row {row}" + (f" (line {line})" if line else "")
    names = shorten(", ".join(first))
    return f"{where}, {place} has {cells} cells and the first row {len(first)}, {names}: {shorten(shown)}"


def _quoted(text: str, separator: str, where: str, escape: str | None) -> pd.DataFrame:
    rows: list[list[str]] = []
    limit = csv.field_size_limit(2**31 - 1)
    try:
        reader = csv.reader(io.StringIO(text, newline=""), delimiter=separator, strict=True, escapechar=escape)
        for row in reader:
            if row:
                if rows and len(row) != len(rows[0]):
                    shown, line = separator.join(row), reader.line_num
                    raise DataError(_ragged(where, len(rows), line, len(row), rows[0], shown))
                rows.append(row)
    except csv.Error as error:
        raise DataError(
            f"{where}, row {len(rows)} (line {reader.line_num}): a quotation mark is never closed, or something other "
            f"than {separator!r} follows the closing one; double those within a cell"
        ) from error
    finally:
        csv.field_size_limit(limit)
    return pd.DataFrame(dict(enumerate(map(list, zip(*rows, strict=True)))), dtype="str")


def _plain(text: str, separator: str, where: str) -> pd.DataFrame:
    """Cells of a text without quoted ones, read by pyarrow, which reads millions of rows in a second."""
    if "\r" in text:
        text = text.replace("\r\n", "\n").replace("\r", "\n")
    if len(separator) > 1:
        if "\x1f" in text:
            raise DataError(f"{where} holds the control character 0x1f; separate its columns by one character")
        text, separator = text.replace(separator, "\x1f"), "\x1f"
    try:
        data = text.encode()
    except UnicodeEncodeError as error:
        raise DataError(f"{where} holds half a character; write it in UTF-8") from error
    width = next(text_lines(text)).count(separator) + 1
    bad: list[Any] = []

    def note(row: Any) -> str:
        bad.append(row)
        return "error"

    try:
        table = pa.csv.read_csv(
            io.BytesIO(data),
            pa.csv.ReadOptions(use_threads=False, autogenerate_column_names=True, block_size=len(data) + 16),
            pa.csv.ParseOptions(delimiter=separator, quote_char=False, invalid_row_handler=note),
            pa.csv.ConvertOptions(column_types={f"f{i}": pa.string() for i in range(width)}, strings_can_be_null=False),
        )
    except (pa.ArrowInvalid, pa.ArrowNotImplementedError, OverflowError) as error:
        if bad:
            row, line = _first_ragged(text, separator, width)
            shown = bad[0].text.replace("\x1f", "::")
            raise DataError(
                _ragged(where, row, line, bad[0].actual_columns, next(text_lines(text)).split(separator), shown)
            ) from error
        raise DataError(f"{where} cannot be read as text separated by {separator!r}") from error
    return table.to_pandas().set_axis(range(table.num_columns), axis=1).astype("str")


def _first_ragged(text: str, separator: str, width: int) -> tuple[int, int | None]:
    """Row, from 0 for the first one, and line, from 1, of the first row of another width."""
    row = -1
    for line, content in enumerate(io.StringIO(text, newline=None), 1):
        row += bool(content.rstrip("\n"))
        if content.rstrip("\n") and content.count(separator) + 1 != width:
            return row, line
    return row, None

"""Files of any origin as tables: separated text, JSON, Parquet or Excel, plain or gzip, or standard input.

A cell of a text file stays the text it is: "007", "1e5" and "NA" are themselves, and an empty cell is "". What a file
says about itself (byte order mark, magic number, header) decides how it is read; its ending never does. Whatever had
to be assumed is told in `notes`.
"""

from __future__ import annotations

import codecs
import datetime
import io
import json
import math
import sys
import zipfile
import zlib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow as pa
import pyarrow.parquet

from llmrec_lite.errors import DataError, OutOfMemoryError, SettingError, hint, shorten
from llmrec_lite.schema import Kind, count_known, default_names, headless_names
from llmrec_lite.separated import SAMPLE, guess_separator, separated_rows, text_lines

_MOST = 200  # a table shrinks to a tenth, perhaps a fiftieth; what shrinks more was made to fill the memory
_BOMS = (
    (codecs.BOM_UTF8, "utf-8-sig"),
    (codecs.BOM_UTF32_LE, "utf-32"),
    (codecs.BOM_UTF32_BE, "utf-32"),
    (codecs.BOM_UTF16_LE, "utf-16"),
    (codecs.BOM_UTF16_BE, "utf-16"),
)
_OTHER = ((b"BZh", "bzip2"), (b"\xfd7zXZ\0", "xz"), (b"\x28\xb5\x2f\xfd", "zstd"), (b"7z\xbc\xaf\x27\x1c", "7z"))


def read_table(
    path: str | Path,
    kind: Kind | None = None,
    *,
    separator: str | None = None,
    encoding: str | None = None,
    header: bool | None = None,
    numbered: bool = False,
    notes: list[str] | None = None,
) -> pd.DataFrame:
    """Table in a file, its columns under the names of the header; "-" is standard input.

    Args:
        path: text separated by a comma, semicolon, tab, "|" or "::"; JSON lines or one JSON list of objects;
            Parquet; Excel (.xlsx). Each may be compressed with gzip.
        kind: what the table is of, which tells known files without header from unknown headers.
        separator: of the columns; guessed where None.
        encoding: of the text; where None UTF-8, UTF-16 or UTF-32 by their mark, and Latin-1 (cp1252) where not UTF-8.
        header: whether the first row names the columns; guessed where None.
        numbered: name the columns of a file without a header "1", "2", ..., and not by what they usually are.
        notes: list that what was assumed is appended to.

    Returns:
        Columns of `str` for text files; for Parquet, of the file's types, integers beside a missing cell exactly.

    Raises:
        DataError: no such file, or a content that cannot be read as it is; file and row are named.
        OutOfMemoryError: the content needs more memory than there is.
    """
    where = name_of(path)
    how = _How(where, kind, separator, encoding, header, numbered, [] if notes is None else notes)
    try:
        return _read(_bytes(path, where), how)
    except MemoryError as error:
        if isinstance(error, OutOfMemoryError):
            raise
        raise OutOfMemoryError(f"{where} does not fit into memory; take a part of it") from error


def name_of(path: str | Path) -> str:
    """File as messages name it."""
    return "standard input" if str(path) == "-" else str(path)


def _bytes(path: str | Path, where: str) -> bytes:
    """Content of a file, unpacked if it is compressed with gzip."""
    try:
        if str(path) == "-":
            data = sys.stdin.buffer.read()
        else:
            if Path(path).is_dir():
                raise DataError(f"{where} is a folder; name a file")
            if not Path(path).exists():
                raise DataError(f"there is no file {where}")
            data = Path(path).read_bytes()
    except OSError as error:
        raise DataError(f"{shorten(where, 120)} cannot be read: {error.strerror or 'the system refuses'}") from error
    except ValueError as error:  # a NUL in the name
        raise DataError(f"there is no file {where!r}") from error
    return _unzipped(data, where) if data[:2] == b"\x1f\x8b" else data


def _unzipped(data: bytes, where: str) -> bytes:
    parts: list[bytes] = []
    size, rest = 0, data
    while rest:  # members may follow one another, as in a file that was appended to
        member = zlib.decompressobj(wbits=31)
        chunk = rest
        try:
            while chunk and not member.eof:
                parts.append(member.decompress(chunk, 1 << 24))
                size += len(parts[-1])
                if size > 1 << 28 and size > _MOST * len(data):
                    raise DataError(f"{where} is {len(data):,} bytes that unpack to more than {size:,}; no table does")
                chunk = member.unconsumed_tail
        except zlib.error as error:
            raise DataError(f"{where} is damaged: its gzip stream breaks off or is not one") from error
        if not member.eof:
            raise DataError(f"{where} is damaged: its gzip stream breaks off")
        rest = member.unused_data.lstrip(b"\0")
    return b"".join(parts)


@dataclass(frozen=True)
class _How:
    """How a file is read: the arguments of `read_table`."""

    where: str
    kind: Kind | None
    separator: str | None
    encoding: str | None
    header: bool | None
    numbered: bool
    notes: list[str]


def _read(data: bytes, how: _How) -> pd.DataFrame:
    where, kind, separator = how.where, how.kind, how.separator
    if data[:4] == b"PAR1":
        return _parquet(data, where, how.notes)
    if data[:4] == b"PK\x03\x04":
        return _framed(_excel(data, where), how, None)
    if data[:8] == b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1":
        raise DataError(f"{where} is an Excel file of the old kind; save it as .xlsx or .csv")
    for magic, what in _OTHER:
        if data.startswith(magic):
            raise DataError(f"{where} is compressed with {what}; unpack it, or use gzip")
    text = _decoded(data, where, how.encoding, how.notes)
    if not text.strip():
        raise DataError(f"{where} is empty")
    if text.lstrip()[0] in "[{":
        return _json(text, where)
    if separator is not None and (not separator or set(separator) & set('"\r\n')):
        raise SettingError(f"columns cannot be separated by {separator!r}; take one such as {hint('separator', ';')}")
    separator = {"\\t": "\t", "tab": "\t"}.get(separator or "", separator) or guess_separator(text, kind)
    return _framed(separated_rows(text, separator, where, how.notes), how, separator)


# ---- text ----


def _decoded(data: bytes, where: str, encoding: str | None, notes: list[str]) -> str:
    if encoding is not None:
        try:
            text = data.decode(codecs.lookup(encoding).name)
            return text.removeprefix("\ufeff")
        except (LookupError, TypeError) as error:
            raise SettingError(f"there is no encoding {encoding!r}; take one such as utf-8, utf-16, latin-1") from error
        except UnicodeError as error:
            raise DataError(f"{where} is not written in {encoding}{_place(data, error)}") from error
    for mark, name in _BOMS:
        if data.startswith(mark):
            try:
                return data.decode(name)
            except UnicodeError as error:
                raise DataError(f"{where} begins as {name.upper()} and does not go on so") from error
    if b"\0" in data:
        raise DataError(
            f"{where} holds NUL bytes and is no text as it stands; if it is UTF-16, say {hint('encoding', 'utf-16-le')}"
        )
    try:
        return data.decode("utf-8")
    except UnicodeDecodeError as error:
        # Where some letters are good UTF-8 and one is not, the file is damaged and not of another encoding.
        damaged = any(ord(letter) > 127 for letter in data.decode("utf-8", "ignore"))
        if not damaged:
            try:
                text = data.decode("cp1252")
            except UnicodeDecodeError:
                damaged = True
        if damaged:
            raise DataError(
                f"{where} is not UTF-8{_place(data, error)}; mend it, or say {hint('encoding', 'latin-1')}"
            ) from error
    notes.append("not UTF-8, read as Latin-1")
    return text


def _place(data: bytes, error: UnicodeError) -> str:
    if not isinstance(error, UnicodeDecodeError):
        return ""
    return f" (line {data.count(10, 0, error.start) + 1}, byte {data[error.start]:#04x})"


def _framed(rows: pd.DataFrame, how: _How, separator: str | None) -> pd.DataFrame:
    """Table of rows of cells, under the names of its first row, or those of a file without header."""
    first, header, n = rows.iloc[0].tolist(), how.header, rows.shape[1]
    names = headless_names(rows.head(SAMPLE).to_numpy().tolist(), how.kind, separator) if how.kind else None
    has_names = count_known(first, how.kind) > 0
    if has_names and header is False:
        how.notes.append(f"the first row names columns and is read as a header, {hint('header', False)} or not")
    elif header is False or (header is None and not has_names and (how.numbered or names is not None)):
        named = [str(i + 1) for i in range(n)] if how.numbered else names or default_names(n, how.kind)
        how.notes.append(f"no header, columns read as {', '.join(named[:5])}" + " ..." * (n > 5))
        return rows.set_axis(named, axis=1)
    named = [str(cell or "").strip() or f"column {i + 1}" for i, cell in enumerate(first)]
    return rows.iloc[1:].set_axis(named, axis=1).reset_index(drop=True)


# ---- JSON ----


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        names = [name for name, _ in pairs]
        raise DataError(f"an object has {max(names, key=names.count)!r} twice")
    return found


# Numbers stay the text they are in the file: an id such as 1e5 or one of twenty digits is kept.
_JSON = json.JSONDecoder(object_pairs_hook=_object, parse_int=str, parse_float=str, parse_constant=str)


def _json(text: str, where: str) -> pd.DataFrame:
    """Table of a JSON object a line, of one list of objects, or of an object that holds one such list."""
    records: list[Any] = []
    try:
        if text.lstrip()[0] == "[":
            records = _JSON.decode(text)
        else:
            for line in text_lines(text):
                records.append(_JSON.decode(line.strip()))
    except DataError as error:
        raise DataError(f"{where}, row {len(records) + 1}: {error}") from error
    except (ValueError, RecursionError) as error:
        records = _inner_list(text, where, len(records) + 1, error)
    if len(records) == 1 and isinstance(records[0], dict):
        inner = [cell for cell in records[0].values() if isinstance(cell, list) and cell]
        if len(inner) == 1 and all(isinstance(cell, dict) for cell in inner[0]):
            records = inner[0]
    if not records:
        raise DataError(f"{where} is empty")
    for row, record in enumerate(records, 1):
        if not isinstance(record, dict):
            raise DataError(f"{where}, row {row} is {shorten(record)} and no object with a name for every value")
    names = list(dict.fromkeys(name for record in records for name in record))
    if not names:
        raise DataError(f"{where} names no value; save the table as .csv, or as one JSON object a line")
    return pd.DataFrame({name: pd.Series([record.get(name) for record in records], dtype=object) for name in names})


def _inner_list(text: str, where: str, row: int, error: Exception) -> list[Any]:
    """The whole text as one JSON value, where it is not one a line."""
    try:
        return [_JSON.decode(text.strip())]
    except DataError as twice:
        raise DataError(f"{where}: {twice}") from twice
    except (ValueError, RecursionError):
        raise DataError(
            f"{where}, row {row} is no JSON; write one object a line, its names in double quotes"
        ) from error


# ---- typed files ----


def _excel(data: bytes, where: str) -> pd.DataFrame:
    """Rows of the first sheet, every cell as text; dates in the way of ISO 8601."""
    try:
        with zipfile.ZipFile(io.BytesIO(data)) as archive:
            members = archive.infolist()
    except (zipfile.BadZipFile, OSError, ValueError, NotImplementedError) as error:
        raise DataError(f"{where} is a damaged zip archive or Excel file") from error
    if "xl/workbook.xml" not in {member.filename for member in members}:
        raise DataError(f"{where} is a zip archive; unpack it, and name the file in it")
    if (size := sum(member.file_size for member in members)) > max(1 << 28, _MOST * len(data)):
        raise DataError(f"{where} is {len(data):,} bytes that unpack to {size:,}; no table does")
    try:
        table = pd.read_excel(io.BytesIO(data), header=None, dtype=object, na_values=[], keep_default_na=False)
    except ImportError as error:
        raise DataError(
            f"{where}: reading Excel needs one more package: pip install 'llmrec-lite[excel]', or save it as .csv"
        ) from error
    except MemoryError:
        raise
    except Exception as error:  # the reader of Excel files raises whatever it stumbles over
        raise DataError(f"{where} is damaged and cannot be read as an Excel file") from error
    table = table.map(_excel_cell).dropna(how="all")
    if table.empty:
        raise DataError(f"{where} is empty")
    return table.reset_index(drop=True)


def _excel_cell(cell: Any) -> str | None:
    if cell is None or cell == "" or (isinstance(cell, float) and math.isnan(cell)):
        return None
    if isinstance(cell, float) and cell.is_integer() and abs(cell) < 2**53:
        return str(int(cell))
    return cell.isoformat() if isinstance(cell, datetime.date | datetime.time) else str(cell)


def _parquet(data: bytes, where: str, notes: list[str]) -> pd.DataFrame:
    try:
        table = pa.parquet.ParquetFile(pa.BufferReader(data)).read()
        columns = [_column(table.column(i), name, notes) for i, name in enumerate(table.column_names)]
    except MemoryError:
        raise
    except (pa.ArrowException, OSError, ValueError, TypeError, KeyError, NotImplementedError) as error:
        raise DataError(f"{where} is a damaged Parquet file, or holds what cannot be read") from error
    frame = pd.concat(columns, axis=1, ignore_index=True) if columns else pd.DataFrame()
    return frame.set_axis(table.column_names, axis=1)


def _column(column: pa.ChunkedArray, name: str, notes: list[str]) -> pd.Series:
    """Column of a Parquet file in a type that keeps every value as it is."""
    kind = column.type
    if pa.types.is_dictionary(kind):
        column = column.cast(kind.value_type)
        kind = column.type
    if pa.types.is_binary(kind) or pa.types.is_large_binary(kind) or pa.types.is_fixed_size_binary(kind):
        try:
            column = column.cast(pa.binary()).cast(pa.string())
            notes.append(f"bytes of {name!r} read as UTF-8")
        except (pa.ArrowInvalid, pa.ArrowNotImplementedError):
            return pd.Series(column.to_pylist(), dtype=object)
    elif pa.types.is_float16(kind):
        return pd.Series([None if cell is None else float(cell) for cell in column.to_pylist()], dtype="float64")
    elif pa.types.is_date(kind):
        column = column.cast(pa.timestamp("ms"))
    elif pa.types.is_nested(kind) or pa.types.is_null(kind):
        return pd.Series(column.to_pylist(), dtype=object)
    return column.to_pandas(integer_object_nulls=True)

"""Damaged files against an independent strict reader: what is accepted is the file, or what differs is told.

`python tests/test_files_under_fuzz.py 5000 1` tries more and prints the counts.
"""

import csv
import io
import json
import random
import re
import sys
import tempfile
import warnings
from collections import Counter
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from llmrec_lite import Dataset
from llmrec_lite.errors import DataError, OutOfMemoryError, SettingError

FORMATS = ("csv", "tsv", "jsonl", "parquet")
LOG = ["user_id", "item_id", "rating", "timestamp"]
CATALOG = ["item_id", "title", "year", "genres"]
# Cells that other readers take for something else: numbers, missing values, quoted text, dates, formulas.
ODD = [
    "", " ", "007", "0", "-0", "1e5", "+4", "3.0", "12e400", "9223372036854775808", "NA", "None", "null", "nan", "inf",
    "True", "1_000", "0x10", "3,5", "2020-01-01", "1588687728923", "-1", "x" * 3000, "é", "日本", '"', 'a"b', "a,b",
    "a\tb", "a\nb", " 1", "1 ", "99999", "Heat (1995)", "Hobbit, The", "1|2", "'", "=1+1", "\x1b[2J",
]  # fmt: skip


def tables(rng):
    users = rng.choice([["ann", "bob", "cyd"], ["1", "2", "30"], ["007", "7", "8"]])
    items = [str(i) for i in range(1, 8)]
    log = [[rng.choice(users), item, str(rng.randint(1, 5)), str(880_000_000 + i)] for i, item in enumerate(items)]
    catalog = [[item, f"Film {item}", str(1990 + i), "Drama|War"] for i, item in enumerate(items)]
    return [LOG, *log], [CATALOG, *catalog]


def damage_rows(rng, rows):
    rows = [list(row) for row in rows]
    for _ in range(rng.choice([0, 0, 0, 1, 1, 2])):
        row, how = rng.randrange(1, len(rows)), rng.randrange(8)
        if how <= 2:
            rows[row][rng.randrange(len(rows[row]))] = rng.choice(ODD)
        elif how == 3:
            name = rng.randrange(len(rows[0]))
            old = rows[0][name]
            rows[0][name] = rng.choice([old.title(), f" {old}", old.replace("_", ""), old[:-1], "x", rows[0][0]])
        elif how == 4:
            rows[row] = rows[row][:-1] if rng.random() < 0.5 else [*rows[row], "1"]
        elif how == 5:
            rows.insert(row, list(rows[row]))
        elif how == 6:
            del rows[row]
        else:
            gone = rng.randrange(len(rows[0]))
            rows = [[cell for i, cell in enumerate(r) if i != gone] for r in rows]
    return rows


def written(rng, rows, kind):
    """Bytes of a table, None where the format cannot hold it."""
    width = len(rows[0])
    if kind in ("csv", "tsv"):
        out = io.StringIO()
        end = rng.choice(["\n", "\n", "\r\n"])
        if kind == "csv":
            csv.writer(out, lineterminator=end).writerows(rows)
        else:
            out.write("".join("\t".join(row) + end for row in rows))
        return out.getvalue().encode()
    if any(len(row) != width for row in rows) or len(set(rows[0])) < width:
        return None
    if kind == "jsonl":
        lines = [json.dumps(dict(zip(rows[0], row, strict=True)), ensure_ascii=rng.random() < 0.5) for row in rows[1:]]
        return "\n".join(lines).encode()
    columns = []
    for cells in zip(*rows[1:], strict=True):
        try:
            types = [[float(c) for c in cells], [int(c) for c in cells], [int(c) if c != "3" else None for c in cells]]
            columns.append(rng.choice([*types, list(cells), [[c] for c in cells], [c.encode() for c in cells]]))
        except ValueError:
            columns.append(list(cells))
    sink = io.BytesIO()
    pq.write_table(pa.table(dict(zip(rows[0], columns, strict=True))), sink)
    return sink.getvalue()


def damage_bytes(rng, data):
    data = bytearray(data)
    for _ in range(rng.choice([0, 0, 0, 0, 0, 1, 2])):
        place, how = rng.randrange(len(data)), rng.randrange(5)
        if how == 0:
            data[place] ^= 1 << rng.randrange(8)
        elif how == 1:
            del data[place : place + rng.randrange(1, 20)]
        elif how == 2:
            data[place:place] = rng.choice(
                [b'"', b"\0", b"\r", b"\n", b",", b"\t", b"\xe9", b"\xff", b"\xef\xbb\xbf", b"}"]
            )
        elif how == 3:
            del data[place:]
        else:
            data[place:place] = data[place : place + 30]
        if not data:
            return b""
    return bytes(data)


# ---- the judge: csv, json and pyarrow alone, and no allowance ----


def judged(data, kind):
    """Header and rows of a file as a strict reader has them, None where it refuses or another reading is possible."""
    try:
        if kind == "parquet":
            table = pq.read_table(io.BytesIO(data))
            return table.column_names, [list(row) for row in zip(*(c.to_pylist() for c in table.columns), strict=True)]
        text = data.decode("utf-8-sig")
        if kind == "jsonl":
            records = [
                json.loads(line, parse_float=str, parse_int=str)
                for line in re.split("\r\n|\r|\n", text)
                if line.strip()
            ]
            names = list(dict.fromkeys(name for record in records for name in record))
            return names, [[record.get(name) for name in names] for record in records]
        if kind == "csv":
            rows = [row for row in csv.reader(io.StringIO(text, newline=""), strict=True) if row]
        else:
            rows = [line.split("\t") for line in re.split("\r\n|\r|\n", text) if line]
        return (rows[0], rows[1:]) if len({len(row) for row in rows}) == 1 else None
    except Exception:  # whatever it is: this judge refuses the file
        return None


def text_of(cell):
    if isinstance(cell, bytes):
        return cell.decode()
    return str(int(cell)) if isinstance(cell, float) and cell.is_integer() else str(cell)


def number_of(cell, absent):
    return absent if cell is None else float(cell)


def expected(data, kind, columns):
    """Cells under each name, as text; None for a column that is not there under its very name."""
    found = judged(data, kind)
    if found is None:
        return None
    names, rows = found
    plain = [re.sub("[ _]", "", name.strip().lower()) for name in names]
    plain = ["genres" if name == "genre" else name for name in plain]  # a well-known name
    wanted = [column.replace("_", "") for column in columns]
    if len(set(plain)) < len(plain) or set(plain) - set(wanted):
        return None  # a column twice, or one of another name: to be told or refused
    return [[row[plain.index(name)] for row in rows] if name in plain else None for name in wanted]


def differs(data, log, catalog, kind):
    """Whether a data set says anything else than its two files."""
    expects = expected(log, kind, LOG), expected(catalog, kind, CATALOG)
    if None in expects:
        return True
    (users, items, ratings, times), (ids, titles, years, genres) = expects
    try:
        rows = list(data.interactions.itertuples(index=False, name=None))
        ratings, times = ratings or [1.0] * len(users), times or [0] * len(users)
        same = [(str(u), str(i)) for u, i, _, _ in rows] == [
            (text_of(u), text_of(i)) for u, i in zip(users, items, strict=True)
        ]
        for _, _, rating, time in rows:
            same &= abs(rating - float(ratings.pop(0))) <= 1e-6 * abs(rating) and time == float(times.pop(0))
        table = data.items.iloc[: len(ids)]
        same &= list(map(str, data.items["item_id"])) == [text_of(i) for i in ids]
        for column, cells in (("title", titles), ("genres", genres)):
            for own, cell in zip(table[column], cells or [""] * len(ids), strict=True):
                same &= own == ("" if cell is None else text_of(cell)) or (
                    column == "title" and own.startswith("item ")
                )
        for own, cell in zip(table["year"].tolist(), years or [""] * len(ids), strict=True):
            same &= str(own) == text_of(cell).strip().removesuffix(".0") or (
                str(own) == "<NA>" and (cell is None or not text_of(cell).strip())
            )
        return not same
    except (ValueError, TypeError, AttributeError):
        return True


def outcome(folder, kind, log, catalog):
    paths = folder / f"log.{kind}", folder / f"items.{kind}"
    for path, content in zip(paths, (log, catalog), strict=True):
        path.write_bytes(content)
    with warnings.catch_warnings(record=True) as told:
        warnings.simplefilter("always")
        try:
            data = Dataset.from_files(*paths)
        except (DataError, SettingError, OutOfMemoryError) as error:
            return "DataError" if len(str(error)) < 1500 and str(folder) in str(error) else f"other: {error!s:.200}"
        except Exception as error:
            return f"other: {type(error).__name__}: {error!s:.200}"
    if not differs(data, log, catalog, kind):
        return "same"
    return "differs, told" if any(w.category.__name__ == "DataWarning" for w in told) else "differs, untold"


def tries(folder, n, seed):
    for number in range(n):
        rng = random.Random(f"{seed} {number}")
        kind = FORMATS[number % len(FORMATS)]
        files = [written(rng, damage_rows(rng, rows), kind) for rows in tables(rng)]
        if None in files:
            continue
        log, catalog = (damage_bytes(rng, content) for content in files)
        yield outcome(folder, kind, log, catalog), kind, log, catalog


@pytest.mark.parametrize("seed", [0, 1])
def test_a_damaged_file_is_read_as_it_is_or_told_or_refused(tmp_path, seed):
    found = list(tries(tmp_path, 200, seed))
    counts = Counter(result for result, *_ in found)
    wrong = [case for case in found if case[0] not in ("same", "differs, told", "DataError")]
    assert not wrong, wrong[:3]
    assert min(counts["same"], counts["differs, told"], counts["DataError"]) > 4  # each of the three is met


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as name:
        results = list(tries(Path(name), int(sys.argv[1]), sys.argv[2]))
    for result, kind, log, catalog in results:
        if result not in ("same", "differs, told", "DataError"):
            print(result, kind, log[:400], catalog[:400], sep="\n  ")
    print(Counter(result.split(":")[0] for result, *_ in results))

"""Files of any origin: every format the same table, and what is no table one line."""

import bz2
import datetime
import gzip
import hashlib
import io
import json
import lzma
import sys
import zipfile

import numpy as np
import openpyxl
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from llmrec_lite import Dataset
from llmrec_lite.errors import DataError, OutOfMemoryError, SettingError
from llmrec_lite.tables import read_table

ROWS = [["user_id", "item_id", "note"], ["007", "NA", "é"], ["1e5", "None", ""], ["x", "null", "a b"]]


def text(separator, end="\n"):
    return end.join(separator.join(row) for row in ROWS) + end


def as_excel(rows):
    sink = io.BytesIO()
    pd.DataFrame(rows).to_excel(sink, header=False, index=False)
    return sink.getvalue()


def as_parquet(columns):
    sink = io.BytesIO()
    pq.write_table(pa.table(columns), sink)
    return sink.getvalue()


@pytest.mark.parametrize(
    "content",
    [
        *[text(separator).encode() for separator in (",", ";", "\t", "|", "::")],
        text(",", "\r\n").encode(),
        text(",", "\r").encode(),
        text(";").encode("utf-8-sig"),
        text("\t").encode("utf-16"),
        text(",").encode("utf-32"),
        text(",").encode("latin-1"),
        gzip.compress(text(",").encode(), mtime=0),
        gzip.compress(text(",").encode()[:20], mtime=0) + gzip.compress(text(",").encode()[20:], mtime=0),
        "\n".join(",".join(f'"{cell}"' for cell in row) for row in ROWS).encode(),
        ("\n\n" + text(",").replace("\n", "\n\n")).encode(),
        "\n".join(json.dumps(dict(zip(ROWS[0], row, strict=True))) for row in ROWS[1:]).encode(),
        json.dumps([dict(zip(ROWS[0], row, strict=True)) for row in ROWS[1:]], indent=1).encode(),
        json.dumps({"rows": [dict(zip(ROWS[0], row, strict=True)) for row in ROWS[1:]]}, indent=1).encode(),
        as_parquet({name: [row[i] for row in ROWS[1:]] for i, name in enumerate(ROWS[0])}),
    ],
    ids=lambda content: hashlib.sha256(content).hexdigest()[:8],
)
@pytest.mark.parametrize("name", ["log.csv", "log", "log.tsv.gz"])
def test_every_format_is_the_same_table_whatever_the_ending(content, name, tmp_path):
    (tmp_path / name).write_bytes(content)
    table = read_table(tmp_path / name)
    assert table.columns.tolist() == ROWS[0]
    assert table.to_numpy().tolist() == ROWS[1:]


def test_excel_where_it_can_be_read(tmp_path):
    (tmp_path / "log.xlsx").write_bytes(as_excel([["user_id", "item_id"], [7, "007"], [1.5, 12]]))
    assert read_table(tmp_path / "log.xlsx").to_numpy().tolist() == [["7", "007"], ["1.5", "12"]]


def test_an_excel_workbook_is_a_data_set(tmp_path):
    """As people keep them: ids as text and as numbers, dates in the cells, a second sheet, an empty row."""
    book = openpyxl.Workbook()
    rows = [
        ["Customer ID", "ISBN", "Rating", "Date"],
        ["007", 12, 4, datetime.datetime(1970, 1, 2)],
        ["7", 12, 3.5, datetime.datetime(1970, 1, 1, 0, 1)],
        [None, None, None, None],
        ["007", 13, 1, datetime.datetime(2020, 2, 29)],
    ]
    for row in rows:
        book.active.append(row)
    book.create_sheet("notes").append(["user_id", "item_id"])
    book.save(tmp_path / "log.xlsx")
    catalog = openpyxl.Workbook()
    for row in (
        ["isbn", "book title", "year of publication"],
        [12, "NA", 1999],
        [13, "=1+1", 2001.0],
        [14, "012", None],
    ):
        catalog.active.append(row)
    catalog.active["B3"].data_type = "s"  # a title that looks like a formula
    catalog.save(tmp_path / "books.xlsx")
    data = Dataset.from_files(tmp_path / "log.xlsx", tmp_path / "books.xlsx")
    assert data.users["user_id"].tolist() == ["007", "7"]
    assert data.interactions["item_id"].tolist() == [12, 12, 13]
    assert data.interactions["rating"].tolist() == [4, 3.5, 1]
    assert data.interactions["timestamp"].tolist() == [86400, 60, 1582934400]
    assert data.items["title"].tolist() == ["NA", "=1+1", "012"]
    assert data.items["year"].tolist()[:2] == [1999, 2001]
    packed = gzip.compress((tmp_path / "log.xlsx").read_bytes())
    (tmp_path / "log.xlsx.gz").write_bytes(packed)
    pd.testing.assert_frame_equal(read_table(tmp_path / "log.xlsx.gz"), read_table(tmp_path / "log.xlsx"))


def test_a_damaged_excel_workbook_is_refused(tmp_path):
    content = as_excel([["user_id", "item_id"], ["a", 1], ["b", 2]])
    for place in range(0, len(content), len(content) // 25):
        damaged = bytearray(content)
        damaged[place : place + 40] = bytes(40)
        (tmp_path / "log.xlsx").write_bytes(damaged)
        try:
            found = Dataset.from_files(tmp_path / "log.xlsx")
        except DataError:
            continue
        assert found.interactions[["user_id", "item_id"]].to_numpy().tolist() == [["a", 1], ["b", 2]]


def test_excel_without_its_package_names_it(tmp_path, monkeypatch):
    with zipfile.ZipFile(tmp_path / "log.xlsx", "w") as archive:
        archive.writestr("xl/workbook.xml", "")
    monkeypatch.setitem(sys.modules, "openpyxl", None)
    with pytest.raises(DataError, match=r"log.xlsx.*pip install 'llmrec-lite\[excel\]'"):
        read_table(tmp_path / "log.xlsx")


def test_standard_input(monkeypatch):
    class Input:
        buffer = io.BytesIO(b"user_id,item_id\nann,1\n")

    monkeypatch.setattr(sys, "stdin", Input)
    assert Dataset.from_files("-").users["user_id"].tolist() == ["ann"]
    with pytest.raises(SettingError, match="standard input"):
        Dataset.from_files("-", "-")


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b" \n\n",
        b"\0\0\0",
        "user_id,item_id\nä,1\n".encode("utf-16-le"),
        gzip.compress(b"user_id,item_id\n1,2\n", mtime=0)[:-9],
        gzip.compress(b"user_id,item_id\n1,2\n", mtime=0)[:15] + b"rubbish" * 9,
        gzip.compress(b"user_id,item_id\n1,2\n", mtime=0) + b"rubbish",
        bz2.compress(b"user_id,item_id\n1,2\n"),
        lzma.compress(b"user_id,item_id\n1,2\n"),
        b"PK\x03\x04 and no more",
        b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1 an old workbook",
        b"PAR1 and no more",
        b'{"user_id": 1, "item_id": 2',
        b'{"user_id": 1, "item_id": 2}\n{"user_id": 1',
        b'{"user_id": 1, "user_id": 2, "item_id": 3}',
        b"[1, 2]",
        b"[" * 100_000,
        b"{}",
        b"user_id,item_id\n1,2,3\n",
        b"user_id,item_id\n1\n",
        b"user_id\titem_id\n1\t2\t3\n",
        b"user_id::item_id\n1::2::3\n",
        b'user_id,item_id\n"a"b,2\n',
        b'user_id,item_id\n"a,2\n',
        "user_id,item_id\nä,1\n".encode() + b"\xe4,2\n",
        b"user_id,item_id\n" + b"x" * 5_000_000 + b",2,3\n",
    ],
    ids=lambda content: repr(content[:30]),
)
def test_what_is_no_table_is_one_line_that_names_the_file(content, tmp_path):
    (tmp_path / "log.csv").write_bytes(content)
    with pytest.raises(DataError) as caught:
        read_table(tmp_path / "log.csv")
    assert str(caught.value).startswith(str(tmp_path / "log.csv"))
    assert "\n" not in str(caught.value)
    assert len(str(caught.value)) < 400 + len(str(tmp_path))


@pytest.mark.parametrize("name", ["absent.csv", ".", "x" * 300, "a\0b"])
def test_what_is_no_file_is_one_line(name, tmp_path):
    with pytest.raises(DataError):
        read_table(tmp_path / name)


def test_a_zip_archive_is_to_be_unpacked(tmp_path):
    with zipfile.ZipFile(tmp_path / "log.zip", "w") as archive:
        archive.writestr("log.csv", "user_id,item_id\n1,2\n")
    with pytest.raises(DataError, match="zip"):
        read_table(tmp_path / "log.zip")


def test_what_unpacks_to_more_than_any_table_does_is_refused(tmp_path, monkeypatch):
    (tmp_path / "bomb.csv.gz").write_bytes(gzip.compress(b"0" * 300_000_000, 1))
    with pytest.raises(DataError, match="unpack"):
        read_table(tmp_path / "bomb.csv.gz")


def test_memory_that_runs_out_stays_that(tmp_path, monkeypatch):
    def fail(*_):
        raise MemoryError

    (tmp_path / "log.csv").write_text("user_id,item_id\n1,2\n")
    monkeypatch.setattr("llmrec_lite.tables.separated_rows", fail)
    with pytest.raises(MemoryError) as caught:
        read_table(tmp_path / "log.csv")
    assert isinstance(caught.value, OutOfMemoryError)
    assert "log.csv" in str(caught.value)


def test_an_encoding_is_taken_as_given(tmp_path):
    (tmp_path / "log.csv").write_bytes("user_id,item_id\nжан,1\n".encode("cp1251"))
    assert read_table(tmp_path / "log.csv", encoding="cp1251")["user_id"].tolist() == ["жан"]
    with pytest.raises(DataError, match=r"utf-8.*line 2"):
        read_table(tmp_path / "log.csv", encoding="utf-8")
    for wrong in ("klingon", "rot13"):
        with pytest.raises(SettingError, match=wrong):
            read_table(tmp_path / "log.csv", encoding=wrong)


def test_latin_1_is_assumed_and_told(tmp_path):
    (tmp_path / "log.csv").write_bytes("user_id,item_id\nRené,1\n".encode("latin-1"))
    notes = []
    assert read_table(tmp_path / "log.csv", notes=notes)["user_id"].tolist() == ["René"]
    assert len(notes) == 1


def test_typed_columns_keep_every_value(tmp_path):
    big = 2**53 + 1
    columns = {
        "whole": pa.array([big, None, 3]),
        "half": pa.array(np.array([1, 2, 3], np.float16)),
        "bytes": pa.array([b"a", None, "é".encode()]),
        "day": pa.array([0, 1, None], pa.date32()),
        "word": pa.array(["x", None, "x"]).dictionary_encode(),
        "list": pa.array([[1], None, []]),
        "none": pa.nulls(3),
    }
    (tmp_path / "t.parquet").write_bytes(as_parquet(columns))
    table = read_table(tmp_path / "t.parquet")
    assert table["whole"].tolist()[0::2] == [big, 3]
    assert table["half"].tolist() == [1, 2, 3]
    assert table["bytes"].tolist()[0::2] == ["a", "é"]
    assert table["day"].tolist()[1] == pd.Timestamp("1970-01-02")
    assert table["word"].tolist()[0] == "x"
    assert table["list"].tolist()[0] == [1]


def test_a_row_index_of_pandas_is_a_column_like_any_other(tmp_path):
    frame = pd.DataFrame({"item_id": ["a", "b"]}, index=pd.Index(["ann", "bob"], name="user_id"))
    frame.to_parquet(tmp_path / "log.parquet")
    assert Dataset.from_files(tmp_path / "log.parquet").users["user_id"].tolist() == ["ann", "bob"]

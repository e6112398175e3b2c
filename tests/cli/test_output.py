"""What is printed reaches any console whole, and moves no cursor."""

import json
import math
import os
import re
import subprocess
import sys
from pathlib import Path

import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.console import Console

from llmrec_lite.cli.output import print_json, printable, ranked_table

ROOT = Path(__file__).resolve().parents[2]
EVIL = "\x1b]0;owned\x07\x1b[2J\x1b[31mB\x9b1mC\r\n"
CONTROL = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f]")


@given(st.text() | st.binary().map(lambda b: b.decode("utf-8", "surrogateescape")))
def test_what_is_printable_is_text_of_one_line(text):
    shown = printable(text)
    shown.encode("utf-8")
    assert len(shown.splitlines()) <= 1
    assert not CONTROL.search(shown)
    assert printable(shown) == shown


def test_what_can_be_shown_stays_as_it_is():
    assert printable("Amélie — 天使愛美麗 [b] 🎬") == "Amélie — 天使愛美麗 [b] 🎬"


def test_a_table_of_evil_titles():
    console = Console(width=100, record=True, file=open(os.devnull, "w"))  # noqa: SIM115
    console.print(ranked_table(pd.DataFrame({"rank": [1], "item": [EVIL], "why": ["[red]"]}), f"For {EVIL}"))
    text = console.export_text()
    assert not CONTROL.search(text)
    assert "[red]" in text


def test_json_has_no_nan(capsys):
    print_json({"a": math.nan, "b": [1.5, math.inf], "c": "天"})
    shown = capsys.readouterr().out
    assert json.loads(shown) == {"a": None, "b": [1.5, None], "c": "天"}
    assert "天" in shown


# ---- the command itself, on consoles and disks of all kinds ----


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    folder = tmp_path_factory.mktemp("shop")
    log = pd.DataFrame([("ann", 1), ("bob", 1), ("bob", 2), ("cyd", 3)], columns=["user_id", "item_id"])
    log.to_csv(folder / "log.csv", index=False)
    titles = pd.DataFrame({"item_id": [1, 2, 3], "title": ["Heat", "天使愛美麗", EVIL.strip()]})
    titles.to_parquet(folder / "items.parquet")
    return ["--interactions", folder / "log.csv", "--items", folder / "items.parquet", "--model", "Popularity"]


def llmrec(*arguments, out=subprocess.PIPE, **environment):
    code = "from llmrec_lite.cli.main import main; import sys; sys.argv[0] = 'llmrec'; main()"
    command = [sys.executable, "-c", code, *(a if isinstance(a, bytes) else str(a) for a in arguments)]
    env = os.environ | environment
    return subprocess.run(command, stdout=out, stderr=subprocess.PIPE, env=env, cwd=ROOT, check=False)


@pytest.mark.parametrize("encoding", ["cp1252", "ascii", "utf-8"])
def test_a_console_that_lacks_the_characters(files, encoding):
    asked = ["recommend", "--user", "ann", *files]
    done = llmrec(*asked, "--json", PYTHONIOENCODING=encoding)
    assert done.returncode == 0, done.stderr
    assert {row["item"] for row in json.loads(done.stdout.decode(encoding))} == {"天使愛美麗", EVIL.strip()}
    done = llmrec(*asked, PYTHONIOENCODING=encoding)
    assert done.returncode == 0, done.stderr
    assert not CONTROL.search(done.stdout.decode(encoding))
    done = llmrec("recommend", "--likes", "owned", *files, PYTHONIOENCODING=encoding)
    assert done.returncode == 2
    assert not CONTROL.search(done.stderr.decode(encoding))
    assert done.stderr.count(b"\n") == 1


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="no such device here")
@pytest.mark.parametrize("options", [["--json"], []])
def test_a_full_device_is_one_line(files, options):
    with open("/dev/full", "w") as full:
        done = llmrec("recommend", "--user", "ann", *files, *options, out=full)
    assert done.returncode == 2
    assert done.stderr.startswith(b"llmrec: ")
    assert done.stderr.count(b"\n") == 1


def test_a_reader_who_left_is_told_nothing(files):
    reading, writing = os.pipe()
    os.close(reading)
    done = llmrec("recommend", "--user", "ann", "--json", *files, out=writing)
    os.close(writing)
    assert done.returncode == 1
    assert done.stderr == b""


@pytest.mark.parametrize("option", ["--user", "--likes", "--request"])
def test_bytes_that_are_no_text_are_one_line(files, option):
    done = llmrec("recommend", option, b"\xff\xfe", *files)
    assert done.returncode == 2
    assert done.stderr.count(b"\n") == 1
    assert b"UTF-8" in done.stderr

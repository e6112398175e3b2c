"""Options of the data, the same in every command that takes data."""

import gzip
import json
import subprocess
import sys

import pytest
from typer.testing import CliRunner

from llmrec_lite.cli import main as cli
from llmrec_lite.cli.options import DataSource
from llmrec_lite.errors import DataError, LlmrecError, SettingError

COMMANDS = ("recommend", "adapt", "evaluate", "compare", "finetune", "fit")
OPTIONS = (
    "interactions",
    "items",
    "users",
    "data",
    "columns",
    "separator",
    "encoding",
    "no-header",
    "invalid",
    "liked",
)


def run(*arguments, **options):
    result = CliRunner().invoke(cli.app, [str(a) for a in arguments], **options)
    if result.exception and not isinstance(result.exception, SystemExit):
        raise result.exception
    return result


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_has_them(command):
    said = run(command, "-h", env={"COLUMNS": "200"}).output
    assert [option for option in OPTIONS if f"--{option}" not in said] == []
    assert run(command, "--help", env={"COLUMNS": "200"}).output == said


def test_version_and_module():
    assert run("--version").output.startswith("llmrec ")
    command = [sys.executable, "-m", "llmrec_lite", "--version"]
    assert subprocess.run(command, capture_output=True, text=True, check=True).stdout == run("--version").output


@pytest.mark.parametrize("command", ["recommend", "evaluate", "compare", "adapt"])
def test_a_file_of_other_origin_is_read_by_every_command(command, tmp_path, monkeypatch):
    rows = ["Kunde;Artikel;Note"] + [f"k{u};a{i};{1 + (u * i) % 5}" for u in range(12) for i in range(9)] + ["k1;a1;5"]
    (tmp_path / "log.csv.gz").write_bytes(gzip.compress("\n".join(rows).encode("utf-16")))
    said = ["--columns", "user_id=Kunde,item_id=Artikel,rating=Note", "--separator", ";", "--encoding", "utf-16"]
    loaded = []
    load = DataSource.load
    monkeypatch.setattr(DataSource, "load", lambda source: loaded.append(load(source)) or pytest.skip("read"))
    whom = {"recommend": ["--user", "k1"], "adapt": ["--likes", "a1"]}.get(command, [])
    with pytest.raises(pytest.skip.Exception):
        run(command, *whom, "--interactions", tmp_path / "log.csv.gz", *said, "--invalid", "drop", "--liked", "4")
    assert set(loaded[0].ratings) == {4, 5}


def test_what_is_to_be_known_goes_to_standard_error(tmp_path):
    (tmp_path / "log.csv").write_text("user_id,item_id,colour\nann,1,x\nann,1,x\nbob,2,y\n")
    files = ["--interactions", tmp_path / "log.csv", "--model", "Popularity", "--user", "ann", "--json"]
    with pytest.raises(DataError, match="--invalid drop"):
        run("recommend", *files)
    result = run("recommend", *files, "--invalid", "drop")
    assert [row["item_id"] for row in json.loads(result.stdout)] == [2]
    assert len(result.stderr.splitlines()) == 1
    assert "colour" in result.stderr
    assert "1 of 3" in result.stderr


def test_standard_input():
    text = "196\t242\t3\t881250949\n186\t302\t3\t891717742\n"
    command = [sys.executable, "-m", "llmrec_lite", "recommend", "--interactions", "-", "--model", "Popularity"]
    command += ["--user", "196", "--json"]
    done = subprocess.run(command, input=text, capture_output=True, text=True, check=True)
    assert [row["item_id"] for row in json.loads(done.stdout)] == [302]


@pytest.mark.parametrize(
    ("said", "message"),
    [
        (["--items", "x.csv"], "--interactions"),
        (["--separator", ";"], "--separator"),
        (["--no-header"], "--no-header"),
        (["--data", "netflix"], "netflix"),
        (["--data", "latest-small", "--interactions", "x.csv"], "--data"),
        (["--interactions", "x.csv"], "x.csv"),
    ],
)
def test_options_that_do_not_go_together(said, message):
    with pytest.raises(LlmrecError, match=message):
        run("recommend", "--user", "1", "--model", "Popularity", *said)


def test_columns_that_are_none(tmp_path):
    (tmp_path / "log.csv").write_text("user_id,item_id\nann,1\n")
    for wrong in ("user_id", "colour=x", "user_id=Kunde"):
        with pytest.raises(SettingError):
            DataSource(interactions=tmp_path / "log.csv", columns=wrong).load()


@pytest.mark.data
def test_the_later_edition():
    found = run("recommend", "--data", "latest-small", "--model", "Popularity", "--user", 1, "-k", 1, "--json").stdout
    assert json.loads(found)[0]["item"] == "Forrest Gump (1994)"

"""A log cut into two files that the other commands read."""

import json
import sys

import pandas as pd
import pytest
from typer.testing import CliRunner

from llmrec_lite import Dataset
from llmrec_lite.cli import main as cli
from llmrec_lite.cli.split import SPLITS
from llmrec_lite.errors import SettingError


def output(*arguments) -> str:
    result = CliRunner().invoke(cli.app, [str(a) for a in arguments])
    if result.exception:
        raise result.exception
    return result.stdout


@pytest.fixture
def log(tmp_path):
    rows = [(f"00{user}", item, (user + item) % 5 + 1, 100 * user + item) for user in range(9) for item in range(6)]
    frame = pd.DataFrame(rows, columns=["user_id", "item_id", "rating", "timestamp"])
    frame.to_csv(tmp_path / "log.csv", index=False)
    return tmp_path / "log.csv"


@pytest.mark.parametrize("name", SPLITS)
def test_two_files_are_the_log_and_share_no_row(log, tmp_path, name):
    output("split", "--interactions", log, "--train", tmp_path / "a.csv", "--test", tmp_path / "b.csv", "--split", name)
    parts = [Dataset.from_files(tmp_path / file) for file in ("a.csv", "b.csv")]
    expected = SPLITS[name](Dataset.from_files(log))
    for found, part in zip(parts, expected, strict=True):
        columns = ["user_id", "item_id", "rating", "timestamp"]
        pd.testing.assert_frame_equal(found.interactions[columns], part.interactions[columns].reset_index(drop=True))
    assert sum(map(len, parts)) == 54
    assert set(parts[0].users["user_id"]) <= {f"00{user}" for user in range(9)}


def test_latest_by_default_and_read_by_evaluate(log, tmp_path):
    output("split", "--interactions", log, "--train", tmp_path / "a.csv", "--test", tmp_path / "b.csv")
    train, test = (pd.read_csv(tmp_path / file) for file in ("a.csv", "b.csv"))
    assert train["timestamp"].max() < test["timestamp"].min()
    report = output(
        "evaluate", "--interactions", tmp_path / "a.csv", "--split", "random", "--model", "Popularity", "--json"
    )
    assert "ndcg" in json.loads(report)


def test_without_times_there_are_none_in_the_files(log, tmp_path):
    pd.read_csv(log, dtype=str).drop(columns="timestamp").to_csv(log, index=False)
    arguments = ["--interactions", log, "--train", tmp_path / "a.csv", "--test", tmp_path / "b.csv"]
    with pytest.raises(SettingError, match="timestamps"):
        output("split", *arguments)
    assert not (tmp_path / "a.csv").exists()
    output("split", *arguments, "--split", "random")
    assert list(pd.read_csv(tmp_path / "a.csv")) == ["user_id", "item_id", "rating"]


def test_nothing_is_overwritten(log, tmp_path):
    before = log.read_bytes()
    for train, test in ((log, tmp_path / "b.csv"), (tmp_path / "a.csv", log), (tmp_path / "a.csv", tmp_path / "a.csv")):
        with pytest.raises(SettingError):
            output("split", "--interactions", log, "--train", train, "--test", test)
    assert log.read_bytes() == before
    assert [path.name for path in tmp_path.iterdir()] == ["log.csv"]


def test_what_cannot_be_written_is_one_line(log, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(
        sys, "argv", ["llmrec", "split", "--interactions", str(log), "--train", "/proc/no/a.csv", "--test", "b.csv"]
    )
    with pytest.raises(SystemExit) as caught:
        cli.main()
    assert caught.value.code == 2
    assert len(capsys.readouterr().err.splitlines()) == 1

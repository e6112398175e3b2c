"""What the book has measured is written whole or not at all, with its provenance."""

import json
import stat
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from llmrec_lite import files, results
from llmrec_lite.errors import SettingError
from llmrec_lite.files import write_json
from llmrec_lite.results import CLAIMS, VERDICTS, record_claim


@pytest.fixture(autouse=True)
def records(tmp_path, monkeypatch):
    folder = tmp_path / "deep" / "records"
    monkeypatch.setenv("LLMREC_RECORDS", str(folder))
    return folder


# ---- claims ----


def test_a_claim_is_recorded_and_shown(records):
    claim = record_claim("C02", "03_collaborative_filtering", "partly", "Down by 0.1 — at 10%.", {"drop": 1})
    (file,) = records.iterdir()
    assert file.name == "C02-03_collaborative_filtering.json"
    assert json.loads(file.read_text("utf8")) == {
        "claim": "C02",
        "chapter": "03_collaborative_filtering",
        "verdict": "partly",
        "measured": "Down by 0.1 — at 10%.",
        "evidence": {"drop": 1.0},
    }
    assert "—" in file.read_text("utf8")  # a person can read it
    assert stat.S_IMODE(file.stat().st_mode) == 0o644
    shown = claim._repr_markdown_()
    assert shown == f"**C02. {CLAIMS['C02']}** Verdict: *holds in part*. Down by 0.1 — at 10%."


def test_a_later_verdict_of_the_chapter_replaces_the_earlier(records):
    for verdict in VERDICTS:
        record_claim("C01", "02_cosine", verdict, "seen")
    record_claim("C01", "08_language", "holds", "seen")
    assert sorted(file.name for file in records.iterdir()) == ["C01-02_cosine.json", "C01-08_language.json"]
    assert json.loads((records / "C01-02_cosine.json").read_text())["verdict"] == "open"


def test_the_ledger_has_every_claim_and_its_records_in_order(records):
    results.record_claim("C02", "09_text_as_features", "partly", "Later.")
    results.record_claim("C02", "03_collaborative_filtering", "open", "Earlier.")
    found = results.ledger(records)
    assert list(found) == list(results.CLAIMS)
    assert [record.verdict for record in found["C02"]] == ["open", "partly"]
    assert found["C01"] == []


UNKNOWN = '{"claim": "C77", "chapter": "01_a", "verdict": "holds", "measured": ""}'


@pytest.mark.parametrize("content", ["{", '{"claim": "C99"}', '["C01"]', UNKNOWN])
def test_a_damaged_record_is_named(records, content):
    records.mkdir(parents=True, exist_ok=True)
    (records / "C01-01_a.json").write_text(content)
    with pytest.raises(SettingError, match=r"C01-01_a\.json"):
        results.ledger(records)


@pytest.mark.parametrize(
    ("claim", "chapter", "verdict", "evidence", "message"),
    [
        ("C77", "02_cosine", "holds", {}, "C77"),
        ("C01", "02_cosine", "true", {}, "'true'"),
        ("C01", "cosine", "holds", {}, "'cosine'"),
        ("C01", "../02_cosine", "holds", {}, r"\.\./02_cosine"),
        ("C01", "02_cosine", "holds", {"ndcg": "high"}, "high"),
    ],
)
def test_a_bad_claim_is_refused_and_leaves_nothing(claim, chapter, verdict, evidence, message, records):
    with pytest.raises(ValueError, match=message):
        record_claim(claim, chapter, verdict, "seen", evidence)
    assert not records.exists()


def test_without_a_folder_named_records_go_to_the_cache(monkeypatch, tmp_path):
    monkeypatch.delenv("LLMREC_RECORDS")
    monkeypatch.setenv("LLMREC_CACHE", str(tmp_path))
    assert results.records_dir() == tmp_path / "records"


def test_a_write_that_is_cut_off_leaves_the_old_record(records, monkeypatch):
    record_claim("C01", "02_cosine", "open", "before")

    def cut(source, target):
        raise OSError("no space left")

    monkeypatch.setattr(files.os, "replace", cut)
    with pytest.raises(OSError, match="no space left"):
        record_claim("C01", "02_cosine", "holds", "after")
    assert json.loads((records / "C01-02_cosine.json").read_text())["measured"] == "before"


# ---- results ----


def test_a_result_is_found_from_any_folder_of_the_checkout(tmp_path, monkeypatch):
    write_json(tmp_path / "book/results/tiny.json", {"seconds": 2, "result": {"table": [{"ndcg": 0.5}]}})
    (tmp_path / "notebooks/deep").mkdir(parents=True)
    monkeypatch.chdir(tmp_path / "notebooks/deep")
    assert results.load("tiny")["seconds"] == 2
    assert results.load("tiny", "table")["ndcg"].tolist() == [0.5]
    with pytest.raises(FileNotFoundError, match="run huge"):
        results.load("huge")


def test_a_folder_of_results_can_be_named(tmp_path, monkeypatch):
    write_json(tmp_path / "tiny.json", {"result": {"table": [{"ndcg": 0.25}]}})
    monkeypatch.setenv("LLMREC_RESULTS", str(tmp_path))
    assert results.load("tiny", "table")["ndcg"].tolist() == [0.25]


@pytest.mark.parametrize(
    "content",
    ['{"name": "tiny", "result": {"tab', "", "<<<<<<< ours", '{"name": "tiny", "result": null}', "[]",
     '{"name": "tiny"}', '{"name": "other", "result": {"table": []}}',
     '{"name": "tiny", "result": {"others": []}}', "[" * 100_000],
)  # fmt: skip
def test_a_file_that_is_not_the_result_is_named(tmp_path, content):
    (tmp_path / "tiny.json").write_text(content)
    with pytest.raises(SettingError, match=r"tiny\.json"):
        results.load("tiny", "table", tmp_path)


# ---- what is committed ----

COMMITTED = sorted((Path(__file__).resolve().parents[1] / "book" / "results").glob("*.json"))
# What an interval may be of, the first of these that lies inside it in every row of a table.
VALUES = ("lead", "difference", "LLMA's lead", "lead over popular", "over five choices", "over no wish", "auc",
          "ndcg", "rmse", "value", "perplexity", "mrr", "share")  # fmt: skip

APART = {("meta_learning", "convergence")}  # of the difference to joint training after as many steps


def intervals(table):
    """Columns of the lower and the upper end of each interval, and those that its value may stand in."""
    for low in table.columns:
        if low == "low":
            yield low, "high", [name for name in VALUES if name in table]
        elif low.endswith("_low"):
            yield low, low.replace("_low", "_high"), [low.removesuffix("_low")]
        elif " low " in f" {low} ":
            before, after = f" {low} ".split(" low ")
            named = [f"{before} {word} {after}" for word in ("lead", "difference", "lead over")]
            yield low, f" {low} ".replace(" low ", " high ").strip(), [" ".join(name.split()) for name in named]


def tables(result):
    parts = {name: part for name, part in result.items() if isinstance(part, list) and part}
    return {name: pd.DataFrame(part) for name, part in parts.items() if all(isinstance(row, dict) for row in part)}


@pytest.mark.parametrize("path", COMMITTED, ids=[path.stem for path in COMMITTED])
def test_a_committed_result_agrees_with_itself(path):
    from book.experiments.registry import register_all

    record = results.load(path.stem, folder=path.parent)
    assert record["name"] == path.stem
    assert path.stem in register_all()
    assert record["seconds"] > 0
    for name, table in tables(record["result"]).items():
        for metric, runs in (("ndcg", "runs"), ("mrr", "runs"), ("rmse", "rmse_folds"), ("mae", "mae_folds")):
            if metric in table and runs in table:
                single = table[runs].map(lambda values: isinstance(values, list))
                means = table.loc[single, runs].map(np.mean).to_numpy(float)
                np.testing.assert_allclose(table.loc[single, metric].to_numpy(float), means, rtol=1e-9, err_msg=name)
                break
        for low, high, values in intervals(table):
            ends = table[[low, high]].astype(float)
            assert ((ends[low] <= ends[high]) | ends.isna().any(axis=1)).all(), (name, low)
            inside = [
                ((ends[low] <= table[value]) & (table[value] <= ends[high])) | ends.isna().any(axis=1)
                for value in values
                if value in table and pd.api.types.is_numeric_dtype(table[value])
            ]
            # Some are of a difference from what stands elsewhere.
            assert not inside or any(column.all() for column in inside) or (path.stem, name) in APART, (name, low)

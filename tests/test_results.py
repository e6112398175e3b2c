"""What the book has measured is written whole or not at all, with its provenance."""

import json
import stat

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

"""What the book has measured is written whole or not at all, with its provenance."""

import json
import re
import stat
import sys
from types import ModuleType

import numpy as np
import pytest

from llmrec_lite import results
from llmrec_lite.results import CLAIMS, VERDICTS, record_claim


@pytest.fixture(autouse=True)
def records(tmp_path, monkeypatch):
    folder = tmp_path / "deep" / "records"
    monkeypatch.setenv("LLMREC_RECORDS", str(folder))
    return folder


@pytest.fixture
def made_up(monkeypatch, tmp_path):
    """Two experiments instead of the book's, in modules that take the place of the real ones."""
    language = ("experiments", "film_experiments", "gpu_experiments", "text_experiments", "tuning_experiments")
    for name in (
        "experiments",
        "knowledge.experiments",
        "fusion_experiments",
        "fusion_known_experiments",
        "llma_experiments",
        "llma_newcomer_experiments",
        "knowledge.fact_experiments",
        "knowledge.graph_experiments",
        "meta.cold_experiments",
        "meta.experiments",
        "meta.interview_experiments",
        "meta.distill_experiments",
        "meta.multitask_experiments",
        "meta.newcomer_experiments",
        *(f"language.{name}" for name in language),
    ):
        monkeypatch.setitem(sys.modules, f"llmrec_lite.{name}", ModuleType(f"llmrec_lite.{name}"))
    monkeypatch.setattr(results, "EXPERIMENTS", {})
    monkeypatch.setattr(results, "RESULTS_DIR", tmp_path / "results")

    @results.experiment
    def tiny():
        """Count to two.

        Not a line of the list.
        """
        return {"table": [{"seed": 0, "ndcg": 0.5}, {"seed": 1, "ndcg": 0.25}], "note": "生"}

    @results.experiment
    def broken():
        """Give what JSON cannot hold."""
        return {"table": object()}

    return tmp_path / "results"


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
    with pytest.raises(ValueError, match=r"C01-01_a\.json is no record"):
        results.ledger(records)


@pytest.mark.parametrize(
    ("claim", "chapter", "verdict", "evidence", "message"),
    [
        ("C24", "02_cosine", "holds", {}, "no claim 'C24'; they run from C01 to C23"),
        ("C01", "02_cosine", "true", {}, r"one of \['fails', 'holds', 'open', 'partly'\], not 'true'"),
        ("C01", "cosine", "holds", {}, "notebook's name such as .*, not 'cosine'"),
        ("C01", "../02_cosine", "holds", {}, "notebook's name"),
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

    monkeypatch.setattr(results.os, "replace", cut)
    with pytest.raises(OSError, match="no space left"):
        record_claim("C01", "02_cosine", "holds", "after")
    assert json.loads((records / "C01-02_cosine.json").read_text())["measured"] == "before"


# ---- experiments ----


def test_numbers_of_numpy_do_not_lose_a_run(made_up):
    @results.experiment
    def arrays():
        """Give what JSON does not know."""
        return {"one": np.float32(0.5), "many": np.arange(3)}

    results.run("arrays")
    assert results.load("arrays")["result"] == {"one": 0.5, "many": [0, 1, 2]}


def test_run_then_load(made_up, tmp_path):
    assert results.main(["run", "tiny"]) == 0
    record = results.load("tiny")
    assert list(made_up.iterdir()) == [made_up / "tiny.json"]
    assert record["name"] == "tiny"
    assert record["about"].startswith("Count to two.")
    assert record["seconds"] == 0
    assert record["result"]["note"] == "生"
    assert set(record["packages"]) >= {"llmrec-lite", "numpy", "torch"}
    assert {"date", "python", "machine"} <= set(record)
    table = results.load("tiny", "table")
    assert table["ndcg"].tolist() == [0.5, 0.25]
    assert results.run("tiny", tmp_path / "elsewhere") == tmp_path / "elsewhere" / "tiny.json"
    assert results.load("tiny", "table", tmp_path / "elsewhere").equals(table)


def test_list_names_every_experiment_in_a_line(made_up, capsys):
    assert results.main(["list"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert [line.split(maxsplit=1) for line in lines] == [
        ["broken", "Give what JSON cannot hold."],
        ["tiny", "Count to two."],
    ]


def test_all_are_run_and_what_fails_is_named_at_the_end(made_up, capsys):
    def needs_a_card():
        """Cannot run here."""
        raise RuntimeError("there is no graphics card")

    results.EXPERIMENTS["a_first"] = needs_a_card
    assert results.main(["run", "--all"]) == 2
    captured = capsys.readouterr()
    assert len(captured.out.splitlines()) == len(results.EXPERIMENTS) - 2  # "broken" cannot be written either
    assert "a_first: there is no graphics card" in captured.err
    assert captured.err.splitlines()[-1] == "not run: a_first, broken"
    for arguments in (["run"], ["run", "--all", "a_first"]):
        with pytest.raises(SystemExit):
            results.main(arguments)


def test_unknown_experiments_and_results_are_named(made_up, capsys):
    assert results.main(["run", "tinny"]) == 2
    assert capsys.readouterr().err == "there is no experiment 'tinny'; known: broken, tiny\n"
    with pytest.raises(FileNotFoundError, match=r"python -m llmrec_lite\.results run tiny"):
        results.load("tiny")
    with pytest.raises(SystemExit) as caught:
        results.main([])
    assert caught.value.code == 2


def test_a_result_that_cannot_be_written_leaves_no_file(made_up):
    with pytest.raises(TypeError, match="not JSON serializable"):
        results.run("broken")
    assert not list(made_up.iterdir())


def test_provenance_does_not_name_the_machine():
    assert re.fullmatch(r"\w+ [\w-]+, \d+ cores", results.provenance()["machine"])
    assert set(results.provenance()) == {"date", "python", "packages", "machine"}

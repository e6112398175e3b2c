"""A result belongs to the code and the data that made it, and says so; what is checked again is compared."""

import json
import os
import re
import runpy
import subprocess
import sys

import numpy as np
import pytest
import torch
from threadpoolctl import threadpool_info
from typer.testing import CliRunner

from book._ext.llmrec_book import code_cells, loaded
from book.experiments import registry
from book.experiments.__main__ import app
from book.tools.code import ROOT
from llmrec_lite import results


@pytest.fixture
def made_up(monkeypatch, tmp_path):
    """Experiments instead of the book's."""
    monkeypatch.setattr(registry, "EXPERIMENTS", {})
    monkeypatch.setattr(registry, "register_all", lambda: dict(sorted(registry.EXPERIMENTS.items())))
    monkeypatch.setattr(registry.run, "__defaults__", (tmp_path / "results",))
    monkeypatch.setattr(registry.check, "__defaults__", (None, tmp_path / "results"))

    @registry.experiment
    def tiny():
        """Count to two.

        Not a line of the list.
        """
        return {"table": [{"seed": 0, "ndcg": 0.5}, {"seed": 1, "ndcg": 0.25}], "note": "生"}

    @tiny.check
    def row(stored, rng):
        seed = int(rng.integers(2))
        yield registry.Row(f"seed {seed}", stored["table"][seed], {"seed": seed, "ndcg": 0.5 / (1 + seed)})

    @registry.experiment
    def broken():
        """Give what JSON cannot hold."""
        return {"table": object()}

    return tmp_path / "results"


def command(*arguments):
    return CliRunner().invoke(app, arguments)


def test_numbers_of_numpy_do_not_lose_a_run(made_up):
    @registry.experiment
    def arrays():
        """Give what JSON does not know."""
        return {"one": np.float32(0.5), "many": np.arange(3)}

    registry.run("arrays")
    assert results.load("arrays", folder=made_up)["result"] == {"one": 0.5, "many": [0, 1, 2]}


def test_run_then_load(made_up, tmp_path):
    assert command("run", "tiny").exit_code == 0
    assert list(made_up.iterdir()) == [made_up / "tiny.json"]
    record = results.load("tiny", folder=made_up)
    assert (record["name"], record["seconds"]) == ("tiny", 0)
    assert record["about"].startswith("Count to two.")
    assert record["result"]["note"] == "生"
    assert set(record["packages"]) >= {"llmrec-lite", "numpy", "torch"}
    assert {"date", "python", "machine"} <= set(record)
    assert all(re.fullmatch("[0-9a-f]{16}", record[key]) for key in ("code", "data"))
    assert registry.run("tiny", tmp_path / "elsewhere") == tmp_path / "elsewhere" / "tiny.json"
    assert results.load("tiny", "table", tmp_path / "elsewhere")["ndcg"].tolist() == [0.5, 0.25]


def test_the_origin_is_known_before_the_hours_are_spent(made_up, monkeypatch):
    ran = []
    monkeypatch.setattr(registry, "provenance", lambda: [].pop())
    registry.EXPERIMENTS["tiny"].function = lambda: ran.append(1)
    with pytest.raises(IndexError):
        registry.run("tiny")
    assert not ran


def test_a_checkout_that_was_never_installed_loses_nothing(monkeypatch):
    def missing(name):
        raise registry.PackageNotFoundError(name)

    monkeypatch.setattr(registry, "version", missing)
    assert set(registry.provenance()["packages"].values()) == {"not installed"}


def test_list_names_every_experiment_in_a_line(made_up):
    lines = command("list").output.splitlines()
    assert [line.split()[0] for line in lines] == ["broken", "tiny"]
    assert lines[1].endswith("Count to two.")


def test_all_are_run_and_what_fails_is_named_at_the_end(made_up):
    @registry.experiment
    def a_first():
        """Cannot run here."""
        raise RuntimeError("there is no graphics card")

    done = command("run", "--all")
    assert done.exit_code == 2
    assert [path.name for path in made_up.iterdir()] == ["tiny.json"]  # "broken" cannot be written either
    assert "a_first: there is no graphics card" in done.output
    assert "not run: a_first, broken" in done.output
    for arguments in (["run"], ["run", "--all", "a_first"], ["run", "tinny"], ["check", "tinny"]):
        assert command(*arguments).exit_code == 2


def test_a_result_that_cannot_be_written_leaves_no_file(made_up):
    with pytest.raises(TypeError, match="JSON"):
        registry.run("broken")
    assert not made_up.exists()


def test_provenance_does_not_name_the_machine():
    assert re.fullmatch(r"\w+ [\w-]+, \d+ cores", registry.provenance()["machine"])
    assert set(registry.provenance()) == {"date", "python", "packages", "machine"}


# ---- fresh, checked, stale ----


def change(path, **parts):
    path.write_text(json.dumps(json.loads(path.read_text()) | parts))


def test_a_result_is_fresh_then_stale_then_checked(made_up):
    path = registry.run("tiny")
    one = registry.EXPERIMENTS["tiny"]
    assert registry.status(json.loads(path.read_text()), one) == "fresh"
    change(path, code="0" * 16)
    assert registry.status(json.loads(path.read_text()), one) == "stale"
    verdict, rows = registry.check("tiny", seed=0)
    assert verdict == "checked"
    assert [far for _, far in rows] == [0.0]
    record = json.loads(path.read_text())
    assert record["code"] == "0" * 16  # what made it stays known
    assert record["checked"]["rows"] == [rows[0][0].name]
    assert record["result"] == one()
    change(path, data="1" * 16, checked=record["checked"] | {"data": "1" * 16})  # other data, too, make it stale
    assert registry.status(json.loads(path.read_text()), one) == "stale"


def test_other_numbers_stay_stale_and_change_nothing(made_up):
    path = registry.run("tiny")
    change(path, code="0" * 16, result={"table": [{"seed": 0, "ndcg": 0.6}, {"seed": 1, "ndcg": 0.35}]})
    before = path.read_bytes()
    verdict, rows = registry.check("tiny", seed=0)
    assert verdict == "stale"
    assert rows[0][1] == pytest.approx(0.1)
    assert path.read_bytes() == before
    done = command("check", "tiny")
    assert done.exit_code == 1
    assert "differs" in done.output


def test_a_fresh_result_with_other_numbers_is_stale(made_up):
    path = registry.run("tiny")
    change(path, result={"table": [{"seed": 0, "ndcg": 0.6}, {"seed": 1, "ndcg": 0.35}]})
    assert registry.check("tiny", seed=0)[0] == "stale"
    assert command("check", "tiny").exit_code == 1


def test_several_are_checked_side_by_side_and_one_that_fails_does_not_stop_the_others(made_up):
    here = os.getpid()

    @registry.experiment
    def apart():
        """Say whether this is another process, and how many threads it has."""
        return {"apart": [True, 1]}

    @apart.check
    def again(stored, rng):
        threads = {one["num_threads"] for one in threadpool_info()} | {torch.get_num_threads()}
        yield registry.Row("apart", stored["apart"], [os.getpid() != here, *threads])

    @registry.experiment
    def moved():
        """Have a check that fails."""
        return {}

    moved.check(lambda stored, rng: [].pop())
    for name in ("tiny", "apart", "moved"):
        change(registry.run(name), code="0" * 16)
    done = command("check", "--all")
    assert done.exit_code == 1
    lines = {line.split(": ")[0]: line.split(": ")[1] for line in done.stderr.splitlines()}
    assert lines == {"tiny": "checked", "apart": "checked", "moved": "stale", "broken": "not run"}
    assert "IndexError" in done.stdout


def test_an_experiment_that_was_never_run_is_no_fault_of_the_results(made_up):
    registry.run("tiny")
    assert registry.check("broken") == ("not run", [])
    assert command("check", "--all").exit_code == 0


def test_a_second_check_can_refute_the_first(made_up):
    path = registry.run("tiny")
    change(path, code="0" * 16)
    assert registry.check("tiny", seed=0)[0] == "checked"
    change(path, result={"table": [{"seed": 0, "ndcg": 0.6}, {"seed": 1, "ndcg": 0.35}]})
    assert registry.check("tiny", seed=0)[0] == "stale"
    assert "checked" not in json.loads(path.read_text())


def test_the_overview_has_what_is_stored(made_up, monkeypatch):
    path = registry.run("tiny")
    monkeypatch.setattr(registry.EXPERIMENTS["tiny"], "file", registry.EXPERIMENTS["tiny"].file.with_name("ch03_x.py"))
    monkeypatch.setattr(registry, "status", lambda record, one: "stale")
    (row,) = registry.overview(made_up)
    assert (row["name"], row["chapter"], row["status"], row["checked"]) == ("tiny", 3, "stale", "")
    assert row["date"] == json.loads(path.read_text())["date"]


def test_a_row_is_set_beside_the_one_with_its_labels():
    table = [{"model": "EASE", "k": 1, "ndcg": 0.5, "seconds": 3}, {"model": "EASE", "k": 5, "ndcg": 0.6, "low": 0.4}]
    row = registry.Row.of("EASE", table, {"model": "EASE", "k": 5, "ndcg": 0.7, "mae": 1, "seconds": 9}, "model", "k")
    assert row.stored == [{"model": "EASE", "k": 5, "ndcg": 0.6}]
    assert row.computed == [{"model": "EASE", "k": 5, "ndcg": 0.7}]
    gone = registry.Row.of("ALS", table, [{"model": "ALS", "ndcg": 0.7}], "model")
    assert registry.difference(gone.stored, gone.computed) == np.inf


def test_without_a_check_nothing_is_confirmed(made_up):
    path = registry.run("tiny")
    change(path, code="0" * 16)
    registry.EXPERIMENTS["tiny"].recompute = None
    assert registry.check("tiny") == ("stale", [])


@pytest.mark.parametrize(
    ("stored", "computed", "far"),
    [
        ({"a": [1.0, 2.0]}, {"a": [1.0, 2.02]}, 0.01),
        (0.5, 0.4, 0.1),
        ({"a": 1}, {"b": 1}, np.inf),
        ([1, 2], [1], np.inf),
        ("ALS", "ALS", 0),
        ("ALS", "EASE", np.inf),
        (None, None, 0),
        (float("nan"), float("nan"), 0),
        (float("nan"), 1.0, np.inf),
        (True, False, np.inf),
        (1.0, None, np.inf),
        (1.0, "1", np.inf),
    ],
)
def test_differences_by_hand(stored, computed, far):
    assert registry.difference(stored, computed) == pytest.approx(far)


# ---- the book's own ----

OWN = """
import json
import numpy as np
from book.experiments import registry
every = registry.register_all()
rows = {}
for name, seed in (("few_shot_gpu", 0), ("top10", 22)):
    stored = json.loads((registry.RESULTS_DIR / f"{name}.json").read_text("utf-8"))["result"]
    again = every[name].recompute(stored, np.random.default_rng(seed))
    rows[name] = [registry.difference(row.stored, row.computed) for row in again]
print(json.dumps({"names": list(every), "rows": rows,
                  "without": [one.name for one in every.values() if one.recompute is None]}))
"""


@pytest.fixture(scope="module")
def own():
    """What the book's own experiments say, in a process of their own, or they would stay registered here."""
    done = subprocess.run([sys.executable, "-c", OWN], capture_output=True, text=True, cwd=ROOT, check=True)
    return json.loads(done.stdout.splitlines()[-1])


def test_every_committed_result_has_an_experiment_and_the_chapters_show_no_other(own):
    stored = {path.stem for path in registry.RESULTS_DIR.glob("*.json")}
    assert stored <= set(own["names"])
    for chapter in (ROOT / "notebooks").glob("*.ipynb"):
        assert set(loaded(code_cells(chapter), own["names"])) <= stored


def test_every_experiment_but_those_for_graphics_cards_has_a_check(own):
    assert set(own["without"]) <= {"gpu_speed", "few_shot_gpu"}


@pytest.mark.parametrize("name", ["few_shot_gpu", "top10"])
def test_stored_numbers_are_computed_again(own, name):
    assert len(own["rows"][name]) == 2
    assert max(own["rows"][name]) <= registry.TOLERANCE


def test_two_files_cannot_have_an_experiment_of_one_name(tmp_path, monkeypatch):
    monkeypatch.setattr(registry, "EXPERIMENTS", {})
    text = "from book.experiments.registry import experiment\n@experiment\ndef twin():\n    return {}\n"
    for name in ("ch98_one.py", "ch99_two.py"):
        (tmp_path / name).write_text(text)
    runpy.run_path(str(tmp_path / "ch98_one.py"))
    runpy.run_path(str(tmp_path / "ch98_one.py"))  # the same file once more is no other experiment
    with pytest.raises(ValueError, match=r"ch98_one\.py.*twin"):
        runpy.run_path(str(tmp_path / "ch99_two.py"))

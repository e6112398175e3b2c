"""`llmrec fit`, and `recommend` and `evaluate` with what it has made, on data of other shapes than MovieLens."""

import json
import os
import signal
import subprocess
import sys
import time

import numpy as np
import pandas as pd
import pytest
from typer.testing import CliRunner

from llmrec_lite.cli import main as cli
from llmrec_lite.errors import DataError, LlmrecError, SettingError
from llmrec_lite.llma import LLMA


def run(*arguments):
    result = CliRunner().invoke(cli.app, [str(a) for a in arguments])
    if result.exception and not isinstance(result.exception, SystemExit):
        raise result.exception
    return result


@pytest.fixture(scope="module")
def shop(tmp_path_factory):
    """A shop's log: ids are strings, one column of users and one of items, and no more."""
    folder = tmp_path_factory.mktemp("shop")
    rng = np.random.default_rng(1)
    rows = [
        (f"client-{user}", f"sku/{rng.choice(40) + 40 * (user % 2) if rng.random() < 0.8 else rng.choice(80)}")
        for user in range(90)
        for _ in range(20)
    ]
    log = pd.DataFrame(rows, columns=["user_id", "item_id"]).drop_duplicates()
    log[~log.index.isin(log.groupby("user_id").tail(2).index)].to_csv(folder / "log.csv", index=False)
    log.groupby("user_id").tail(2).to_csv(folder / "later.csv", index=False)
    return folder


@pytest.fixture(scope="module")
def model(shop):
    result = run("fit", "--interactions", shop / "log.csv", "--no-text", "--out", shop / "model")
    assert result.exit_code == 0
    assert "weights: factors" in result.output
    return shop / "model"


def test_the_folder_is_a_model(model):
    assert LLMA.load(model).train_.n_users == 90


def test_recommend_with_it(model):
    found = json.loads(run("recommend", "--model", model, "--user", "client-3", "-k", 4, "--json").output)
    assert [row["rank"] for row in found] == [1, 2, 3, 4]
    assert all(row["item_id"].startswith("sku/") and row["reason"].endswith(".") for row in found)
    table = run("recommend", "--model", model, "--likes", "item sku/3", "-k", 2).output
    assert "a user who likes item sku/3" in table
    assert "why" in table


def test_a_list_of_a_thousand_million_is_one_of_all_items(model):
    found = json.loads(run("recommend", "--model", model, "--user", "client-3", "-k", 10**9, "--json").output)
    assert 40 < len(found) < 80


def test_evaluate_it_on_what_came_later(model, shop):
    found = json.loads(run("evaluate", "--model", model, "--test", shop / "later.csv", "--json").output)
    assert 0 < found["ndcg"]["low"] < found["ndcg"]["mean"] < found["ndcg"]["high"] < 1


def test_what_the_model_does_not_know_is_left_out_and_said(model, shop, tmp_path):
    later = pd.read_csv(shop / "later.csv")
    more = pd.DataFrame({"user_id": ["stranger", "client-1"], "item_id": ["sku/1", "sku/new"]})
    pd.concat([later, more]).to_csv(tmp_path / "more.csv", index=False)
    result = run("evaluate", "--model", model, "--test", tmp_path / "more.csv", "--json")
    assert result.exit_code == 0
    left_out = "1 of unknown users, 1 of unknown items"
    assert result.stderr.strip().endswith(f"Left out: {left_out}.")
    more.to_csv(tmp_path / "unknown.csv", index=False)
    with pytest.raises(DataError, match="'client-0'"):
        run("evaluate", "--model", model, "--test", tmp_path / "unknown.csv")


def test_what_the_model_was_fitted_on_does_not_count_as_missed(model, shop, tmp_path):
    later, before = pd.read_csv(shop / "later.csv"), pd.read_csv(shop / "log.csv").sample(40, random_state=0)
    pd.concat([later, before]).to_csv(tmp_path / "both.csv", index=False)
    files = shop / "later.csv", tmp_path / "both.csv"
    alone, both = (run("evaluate", "--model", model, "--test", path, "--json") for path in files)
    assert "Left out: 40 that the model was fitted on." in both.stderr
    assert both.stdout == alone.stdout
    before.to_csv(tmp_path / "before.csv", index=False)
    with pytest.raises(DataError, match="40"):
        run("evaluate", "--model", model, "--test", tmp_path / "before.csv")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["recommend", "--model", "MODEL", "--user", "nobody"], "'nobody'"),
        (["recommend", "--model", "MODEL", "--request", "shoes"], "texts"),
        (["recommend", "--model", "MODEL", "--user", "client-1", "--interactions", "x.csv"], "--interactions"),
        (["recommend", "--model", "nowhere/at/all", "--user", "client-1"], "llmrec fit --out"),
        (["evaluate", "--model", "MODEL"], "--test"),
        (["evaluate", "--test", "x.csv"], "--model"),
        (["evaluate", "--model", "MODEL", "--test", "x.csv", "--split", "random"], "--split"),
        (["evaluate", "--model", "MODEL", "--test", "x.csv", "--interactions", "y.csv"], "--interactions"),
        (["evaluate", "--model", "MODEL", "--test", "x.csv"], r"x\.csv"),
        (["fit", "--items", "x.csv", "--out", "new"], "--items.*--interactions"),
        (["fit", "--interactions", "x.csv", "--out", "new"], r"x\.csv"),
    ],
)
def test_errors_say_what_to_do(model, arguments, message):
    with pytest.raises(LlmrecError, match=message):
        run(*(model if argument == "MODEL" else argument for argument in arguments))


def test_another_folder_is_not_overwritten_and_nothing_is_fitted_first(shop, tmp_path, monkeypatch):
    (tmp_path / "photos").mkdir()
    (tmp_path / "photos" / "a.jpg").write_text("x")
    monkeypatch.setattr(LLMA, "fit", lambda *a: pytest.fail("fitted before the folder was looked at"))
    with pytest.raises(LlmrecError, match="photos"):
        run("fit", "--interactions", shop / "log.csv", "--out", tmp_path / "photos")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda log: log.drop(columns="item_id"), "item_id"),
        (lambda log: log.assign(rating=float("inf")), "rating"),
        (lambda log: log.assign(user_id=log["user_id"].where(log.index > 3)), "user_id"),
        (lambda log: log.head(0), None),
    ],
)
def test_bad_data_are_named(shop, tmp_path, change, message):
    change(pd.read_csv(shop / "log.csv")).to_csv(tmp_path / "bad.csv", index=False)
    with pytest.raises(DataError, match=message):
        run("fit", "--interactions", tmp_path / "bad.csv", "--no-text", "--out", tmp_path / "model")
    assert [path.name for path in tmp_path.iterdir()] == ["bad.csv"]


def test_too_few_data_are_refused(shop, tmp_path):
    pd.read_csv(shop / "log.csv").head(5).to_csv(tmp_path / "few.csv", index=False)
    with pytest.raises(SettingError, match="5 "):
        run("fit", "--interactions", tmp_path / "few.csv", "--no-text", "--out", tmp_path / "model")


def test_bad_rows_can_be_dropped(shop, tmp_path):
    log = pd.read_csv(shop / "log.csv")
    log.loc[2, "user_id"] = None
    log.to_csv(tmp_path / "log.csv", index=False)
    run("fit", "--interactions", tmp_path / "log.csv", "--no-text", "--invalid", "drop", "--out", tmp_path / "model")
    assert len(LLMA.load(tmp_path / "model").train_) == len(log) - 1


def test_five_point_ratings_with_times_and_a_catalog(tmp_path):
    rng = np.random.default_rng(2)
    rows = [(u, int(i), int(rng.integers(1, 6)), t) for u in range(60) for t, i in enumerate(rng.permutation(50)[:15])]
    pd.DataFrame(rows, columns=["user_id", "item_id", "rating", "timestamp"]).to_parquet(tmp_path / "log.parquet")
    kinds = ["Jazz|Live", "Rock", "Folk"]
    items = pd.DataFrame({"item_id": range(52), "title": [f"Record {i}" for i in range(52)], "year": 1970})
    items.assign(genres=[kinds[i % 3] for i in range(52)]).to_csv(tmp_path / "items.tsv", sep="\t", index=False)
    files = ("--interactions", tmp_path / "log.parquet", "--items", tmp_path / "items.tsv")
    run("fit", *files, "--no-text", "--out", tmp_path / "model")
    found = json.loads(run("recommend", "--model", tmp_path / "model", "--user", 7, "-k", 3, "--json").output)
    assert all(row["item"].startswith("Record") and "(1970)" in row["item"] for row in found)


def test_twenty_thousand_items(tmp_path):
    rng = np.random.default_rng(3)
    items = np.minimum(rng.pareto(1.0, 6000) * 30, 19_999).astype(int)
    log = pd.DataFrame({"user_id": rng.integers(300, size=6000), "item_id": items}).drop_duplicates()
    log.to_csv(tmp_path / "log.csv", index=False)
    pd.DataFrame({"item_id": range(20_000)}).to_csv(tmp_path / "items.csv", index=False)
    files = ("--interactions", tmp_path / "log.csv", "--items", tmp_path / "items.csv")
    run("fit", *files, "--no-text", "--out", tmp_path / "model")
    model = LLMA.load(tmp_path / "model")
    assert model.train_.n_items == 20_000
    assert len(model.recommend_for(history=[(0, 1.0)], k=10)) == 10


def test_a_killed_fit_leaves_nothing(shop, tmp_path):
    """Killed at different moments, the last while the folder is being written."""
    code = "from llmrec_lite.cli.main import main; import sys; sys.argv[0] = 'llmrec'; main()"
    command = [sys.executable, "-c", code, "fit", "--interactions", shop / "log.csv", "--no-text"]
    for seconds in (2.0, 4.0):
        process = subprocess.Popen([*map(str, command), "--out", str(tmp_path / "model")], stdout=subprocess.DEVNULL)
        time.sleep(seconds)
        process.send_signal(signal.SIGKILL)
        process.wait()
        if (tmp_path / "model").exists():  # it had finished: then it is whole
            LLMA.load(tmp_path / "model")
    slow = "import os, time\ndef put(*a):\n print('writing', flush=True); time.sleep(60)\nos.replace = put\n" + code
    command[2] = slow
    out = tmp_path / "other"
    process = subprocess.Popen([*map(str, command), "--out", str(out)], stdout=subprocess.PIPE, text=True)
    for line in process.stdout:
        if line.startswith("writing"):
            break
    os.kill(process.pid, signal.SIGKILL)
    process.wait()
    assert not out.exists()
    result = run("fit", "--interactions", shop / "log.csv", "--no-text", "--out", out)  # the same command again
    assert result.exit_code == 0
    assert LLMA.load(out).train_.n_users == 90
    assert not [path.name for path in tmp_path.iterdir() if path.name.startswith(".other")]  # what was left is gone


def test_facts_of_ones_own(shop, tmp_path):
    facts = pd.DataFrame({"head": [f"sku/{i}" for i in range(40)], "relation": "shelf", "tail": "left"})
    facts.to_csv(tmp_path / "facts.csv", index=False)
    log = ("--interactions", shop / "log.csv", "--no-text")
    result = run("fit", *log, "--facts", tmp_path / "facts.csv", "--out", tmp_path / "told")
    assert result.exit_code == 0
    assert "40" in result.output
    vectors = LLMA.load(tmp_path / "told").knowledge_.fact_vectors
    assert (vectors != 0).any(1).sum() == 40
    facts.assign(head="elsewhere").to_csv(tmp_path / "facts.csv", index=False)
    with pytest.raises(DataError):
        run("fit", *log, "--facts", tmp_path / "facts.csv", "--out", tmp_path / "other")
    with pytest.raises(SettingError):
        run("fit", "--facts", tmp_path / "facts.csv", "--out", tmp_path / "other")


def test_what_a_model_does_without_is_said(shop, tmp_path):
    output = run("fit", "--interactions", shop / "log.csv", "--no-text", "--out", tmp_path / "model").output
    limits = LLMA.load(tmp_path / "model").limits()
    assert limits
    assert all(limit in output for limit in limits)


def test_a_known_user_is_served_without_torch(model):
    program = (
        "import sys; from llmrec_lite.cli import main as cli; sys.argv = sys.argv[:1] + sys.argv[2:];"
        "cli.app(sys.argv[1:], standalone_mode=False); assert 'torch' not in sys.modules"
    )
    words = ["-", "recommend", "--model", str(model), "--user", "client-3"]
    done = subprocess.run([sys.executable, "-c", program, *words], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr

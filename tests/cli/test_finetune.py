"""`llmrec finetune`: what it learns, measures and writes; stopped and resumed; and its errors."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from safetensors.torch import load_file, save_file
from sklearn.metrics import roc_auc_score
from tokenizers import Tokenizer, models, pre_tokenizers

from llmrec_lite import Dataset
from llmrec_lite.cli import finetune_job
from llmrec_lite.cli import main as cli
from llmrec_lite.cli.finetune_job import load_finetuned, text_parts
from llmrec_lite.errors import DivergedError, LlmrecError, ModelFileError, OutOfMemoryError, SettingError
from llmrec_lite.language.auc import auc_interval
from llmrec_lite.language.gpt import GPT, GPTConfig
from llmrec_lite.language.lora import trainable_parameters
from llmrec_lite.language.preferences import item_positive_rate, preference_split, user_positive_rate
from llmrec_lite.language.text_models import Example, TextClassifier
from llmrec_lite.language.yes_no import YesNoClassifier

ROOT = Path(__file__).parents[2]
WORDS = ["space", "war", "love", "film", "ship", "star", "sea", "funny", "sad", "old", "new", "robot", "red", "blue"]
FILES = ["checkpoint", "history.csv", "model.safetensors", "report.json"]


@pytest.fixture(scope="module")
def bert(tmp_path_factory, save_bert):
    return save_bert(tmp_path_factory.mktemp("bert"), ["candidate", "liked", "disliked", ":", ".", *WORDS])


@pytest.fixture(scope="module")
def gpt(tmp_path_factory):
    vocabulary = {word: i for i, word in enumerate(["[UNK]", *WORDS, "Yes", "No", "liked", ":", "."])}
    tokenizer = Tokenizer(models.WordLevel(vocabulary, "[UNK]"))
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    sizes = {"dim": 16, "layers": 3, "heads": 2, "kv_heads": 1, "d_ff": 32, "max_length": 200}
    model = GPT(GPTConfig(vocab_size=len(vocabulary), **sizes), 0, tokenizer)
    with torch.no_grad():
        for p in model.parameters():
            p.mul_(4 if p.dim() > 1 else 1)
    folder = tmp_path_factory.mktemp("gpt")
    model.save_pretrained(folder)
    return folder


@pytest.fixture(scope="module")
def ratings(tmp_path_factory):
    """60 users with 5 to 9 ratings each of 14 films; a film with an even number is liked by most."""
    folder, rng = tmp_path_factory.mktemp("ratings"), np.random.default_rng(0)
    rows = [
        (user, int(item), int(rng.choice([4, 5] if rng.random() < (0.9, 0.2)[item % 2] else [1, 3])), time)
        for user in range(60)
        for time, item in enumerate(rng.choice(14, rng.integers(5, 10), replace=False))
    ]
    pd.DataFrame(rows, columns=["user_id", "item_id", "rating", "timestamp"]).to_csv(folder / "log.tsv", sep="\t")
    items = pd.DataFrame({"item_id": range(14), "title": WORDS, "year": 1990})
    items.to_parquet(folder / "items.parquet")
    return ["--interactions", str(folder / "log.tsv"), "--items", str(folder / "items.parquet")]


@pytest.fixture(scope="module")
def texts(tmp_path_factory):
    """100 texts, some of them twice; the label says whether a robot is in it."""
    file, rng = tmp_path_factory.mktemp("texts") / "texts.csv", np.random.default_rng(0)
    told = [" ".join(rng.choice(WORDS, rng.integers(1, 9))) for _ in range(80)]
    told = told + told[:20]
    pd.DataFrame({"id": 7, "label": [int("robot" in text) for text in told], "text": told}).to_csv(file, index=False)
    return file


@pytest.fixture
def llmrec(monkeypatch, capsys):
    """Run the command as the shell does: exit code, standard output, standard error."""

    def run(*arguments):
        monkeypatch.setattr(sys, "argv", ["llmrec", "finetune", "--device", "cpu", *map(str, arguments)])
        capsys.readouterr()
        with pytest.raises(SystemExit) as caught:
            cli.main()
        return caught.value.code, *capsys.readouterr()

    return run


def read(out):
    return json.loads((out / "report.json").read_text())


def files(out):
    return sorted(path.name for path in out.iterdir() if path.name != ".lock")


def drawn(part, most):
    return [part[i] for i in np.random.default_rng(0).permutation(len(part))[:most]]


# ---- what it does ----


def test_likes_of_users_by_an_encoder(llmrec, bert, ratings, tmp_path):
    out = tmp_path / "new" / "folder"
    code, shown, progress = llmrec("--out", out, "--model", bert, "--examples", 50, "--epochs", 4, *ratings)
    assert code == 0
    assert files(out) == FILES
    report = read(out)
    known, *parts = preference_split(Dataset.from_files(ratings[1], ratings[3]))
    train, valid, test = (drawn(part, most) for part, most in zip(parts, (50, 100, 500), strict=True))
    model = load_finetuned(out)
    learns, weights = trainable_parameters(model)
    sizes = {"train": 50, "valid": len(valid), "test": len(test)}
    assert report["counts"] == {"learns": learns, "weights": weights, **sizes, "steps": 13}  # 50 * 4 / 16
    assert not {e.user for e in train} & {e.user for e in test}

    assert isinstance(model, TextClassifier)
    assert model.settings["train"] == report["settings"]["train"] == "lora-top2"
    assert report["settings"]["learning_rate"] == 0.003
    found = report["metrics"]
    history = pd.read_csv(out / "history.csv", index_col="step")
    assert found["steps"] == len(history)
    assert found["best_step"] == found["kept_step"] == history["valid_loss"].idxmin()
    assert model.loss(valid).item() == pytest.approx(history["valid_loss"].min(), rel=1e-4)
    y, users = [e.label for e in test], [e.user for e in test]
    scores = {
        "fine-tuned": model.predict(test),
        "like share": user_positive_rate(test),
        "item rate": item_positive_rate(known, test),
    }
    assert list(found["test"]) == [*scores, "lead over item rate"]
    for name, told in scores.items():
        assert found["test"][name]["auc"] == pytest.approx(roc_auc_score(y, told), abs=1e-9)
        interval = found["test"][name]["low"], found["test"][name]["high"]
        assert interval == pytest.approx(auc_interval(y, told, groups=users), abs=1e-9)
        assert f"{interval[0]:.3f} to {interval[1]:.3f}" in shown
    assert found["test"]["item rate"]["auc"] > 0.75  # of what the ratings are made
    lead = found["test"]["lead over item rate"]
    assert lead["auc"] == found["test"]["fine-tuned"]["auc"] - found["test"]["item rate"]["auc"]
    interval = auc_interval(y, scores["fine-tuned"], rival=scores["item rate"], groups=users)
    assert (lead["low"], lead["high"]) == pytest.approx(interval, abs=1e-9)

    assert f"{learns:,}" in shown
    assert "lead over item rate" in shown
    line = next(line for line in shown.splitlines() if line.startswith("In Python: "))
    loaded = {}
    exec(line.removeprefix("In Python: "), loaded)
    np.testing.assert_array_equal(loaded["model"].predict(test), scores["fine-tuned"])
    assert "finetune:" in progress
    assert "finetune:" not in shown


def test_labels_of_texts_by_a_head(llmrec, bert, texts, tmp_path):
    arguments = [
        "--model",
        bert,
        "--train",
        "head",
        "--texts",
        texts,
        "--patience",
        0,
        "--learning-rate",
        0.5,
        "--json",
    ]
    code, shown, said = llmrec("--out", tmp_path, *arguments)
    assert code == 0
    report = json.loads(shown)
    assert report == read(tmp_path)
    assert said
    train, valid, test = text_parts(texts, seed=0)
    assert [len(part) for part in (train, valid, test)] == [
        report["counts"][name] for name in ("train", "valid", "test")
    ]
    found, model = report["metrics"], load_finetuned(tmp_path)
    y, told = [e.label for e in drawn(test, 500)], model.predict(drawn(test, 500))
    assert found["test"].keys() == {"fine-tuned"}
    row = found["test"]["fine-tuned"]
    assert row["auc"] == pytest.approx(roc_auc_score(y, told), abs=1e-9)
    assert (row["low"], row["high"]) == pytest.approx(auc_interval(y, told), abs=1e-9)
    assert found["kept_step"] == found["steps"] == report["counts"]["steps"]
    history = pd.read_csv(tmp_path / "history.csv")
    assert model.loss(valid).item() == pytest.approx(history["valid_loss"].iloc[-1], rel=1e-4)


def test_likes_of_users_by_a_chat_model(llmrec, gpt, ratings, tmp_path):
    before = (gpt / "model.safetensors").read_bytes()
    code, _, said = llmrec("--out", tmp_path, "--model", gpt, "--examples", 20, "--epochs", 2, *ratings)
    assert code == 0, said
    model, report = load_finetuned(tmp_path), read(tmp_path)
    assert isinstance(model, YesNoClassifier)
    assert report["settings"]["train"] == "lora-top3"  # as it has only three layers
    _, _, _, test = preference_split(Dataset.from_files(ratings[1], ratings[3]), style="chat")
    test = drawn(test, 500)
    assert test[0].text.endswith("<|im_start|>assistant\n")
    told = model.predict(test)
    assert not np.allclose(told, YesNoClassifier(GPT.from_pretrained(gpt), train="lora").predict(test), atol=1e-4)
    assert report["metrics"]["test"]["fine-tuned"]["auc"] == pytest.approx(roc_auc_score([e.label for e in test], told))
    assert (gpt / "model.safetensors").read_bytes() == before


@pytest.mark.parametrize(
    ("train", "rate"), [("head", 0.01), ("full", 0.00005), ("top1", 0.0002), ("lora", 0.003), ("lora-top1", 0.003)]
)
def test_the_learning_rate_suits_what_learns(llmrec, bert, texts, tmp_path, train, rate):
    arguments = ["--out", tmp_path, "--model", bert, "--texts", texts, "--train", train, "--epochs", 0.1]
    assert llmrec(*arguments)[0] == 0
    assert read(tmp_path)["settings"]["learning_rate"] == rate
    assert load_finetuned(tmp_path).settings["train"] == train


def test_every_option_arrives(llmrec, bert, texts, tmp_path, monkeypatch):
    seen, real = [], finetune_job.finetune

    def spy(model, train, valid, config, checkpoint):
        seen.append(config)
        return real(model, train, valid, config, checkpoint, progress=False)

    monkeypatch.setattr(finetune_job, "finetune", spy)
    monkeypatch.setattr(TextClassifier, "compile", lambda self, **options: seen.append("compiled"))
    words = "--epochs 0.5 --batch-size 6 --learning-rate 0.02 --accumulate 2 --patience 3 --seed 5 --precision bfloat16"
    words += f" --gradient-checkpointing --compile --log-dir {tmp_path / 'log'}"
    assert llmrec("--out", tmp_path / "out", "--model", bert, "--texts", texts, *words.split())[0] == 0
    config, compiled = seen
    expected = {"n_epochs": 0.5, "batch_size": 6, "learning_rate": 0.02, "accumulate": 2, "patience": 3, "seed": 5}
    expected |= {"precision": "bfloat16", "gradient_checkpointing": True, "compile": True, "device": "cpu"}
    assert {name: getattr(config, name) for name in expected} == expected
    assert compiled == "compiled"
    assert list((tmp_path / "log").glob("events*"))
    assert load_finetuned(tmp_path / "out").settings["seed"] == 5


def test_a_folder_may_be_named_from_anywhere(llmrec, bert, texts, tmp_path, monkeypatch):
    monkeypatch.chdir(bert.parent)
    assert llmrec("--out", tmp_path, "--model", bert.name, "--texts", texts, "--train", "head", "--epochs", 0.1)[0] == 0
    monkeypatch.chdir(tmp_path)
    assert load_finetuned(tmp_path).predict([Example("red robot")]).shape == (1,)


# ---- texts ----


def test_texts_are_dealt_out_by_the_seed_and_equal_ones_stay_together(texts):
    parts = text_parts(texts, seed=0)
    together = [{e.text for e in part} for part in parts]
    n = len(set.union(*together))
    assert sum(map(len, together)) == n  # no text is in two parts
    assert [len(words) for words in together] == pytest.approx([0.7 * n, 0.1 * n, 0.2 * n], abs=1)
    table = pd.read_csv(texts)
    made = [(e.text, e.label) for part in parts for e in part]
    assert sorted(made) == sorted(zip(table["text"], table["label"].astype(float), strict=True))
    assert text_parts(texts, seed=0) == parts
    assert text_parts(texts, seed=1) != parts


@pytest.mark.parametrize(
    ("ending", "labels"), [("csv", ["True", "False"]), ("tsv", ["1.0", "0"]), ("parquet", [True, False])]
)
def test_texts_of_other_files(tmp_path, ending, labels):
    file = tmp_path / f"texts.{ending}"
    table = pd.DataFrame({"text": [f" w{i}\u00a0 x " for i in range(20)], "label": labels * 10})
    writers = {"csv": table.to_csv, "parquet": table.to_parquet, "tsv": lambda path: table.to_csv(path, sep="\t")}
    writers[ending](file)
    made = {e.text: e.label for part in text_parts(file, 0) for e in part}
    assert made == {f"w{i} x": float(i % 2 == 0) for i in range(20)}


@pytest.mark.parametrize(
    ("content", "named"),
    [
        ("text,label\na,1\nb,\n", "row 2"),
        ("text,label\na,1\n,0\n", "row 2"),
        ("text,label\na,1\nb,0\nc,2\n", "label=2"),
        ("text,label\na,yes\nb,no\n", "label=yes"),
        ("text,recommended\na,1\n", "'label'"),
        ("text,label\n" + "".join(f"{i},1\n{i},1\n" for i in range(9)), "9 different texts"),
        ("", "texts.csv"),
    ],
)
def test_wrong_texts_are_named(tmp_path, content, named):
    (tmp_path / "texts.csv").write_text(content)
    with pytest.raises(LlmrecError, match=named):
        text_parts(tmp_path / "texts.csv", 0)


# ---- stopped, and gone on with ----


def stop_at(monkeypatch, step):
    real = finetune_job.finetune

    def on_step(done, history):
        if done == step:
            raise KeyboardInterrupt

    def stopping(*arguments):
        return real(*arguments, progress=False, on_step=on_step)

    monkeypatch.setattr(finetune_job, "finetune", stopping)


def same_result(one, other):
    assert files(one) == files(other) == FILES
    assert (one / "model.safetensors").read_bytes() == (other / "model.safetensors").read_bytes()
    assert read(one) == read(other)
    histories = [pd.read_csv(out / "history.csv").drop(columns="seconds") for out in (one, other)]
    pd.testing.assert_frame_equal(*histories)


@pytest.mark.parametrize("step", [7, 23])
def test_ctrl_c_and_the_same_command_again(llmrec, bert, texts, tmp_path, monkeypatch, step):
    arguments = ["--model", bert, "--texts", texts, "--epochs", 8, "--patience", 8]  # 36 steps
    assert llmrec("--out", tmp_path / "whole", *arguments)[0] == 0
    out = tmp_path / "stopped"
    with monkeypatch.context() as patch:
        stop_at(patch, step)
        assert llmrec("--out", out, *arguments)[0] == 130
    assert not (out / "report.json").exists()
    assert llmrec("--out", out, *arguments)[0] == 0
    same_result(tmp_path / "whole", out)
    stop_at(monkeypatch, 1)  # what has finished is not trained again
    assert llmrec("--out", out, *arguments)[0] == 0
    same_result(tmp_path / "whole", out)


def test_another_setting_needs_another_folder(llmrec, bert, texts, tmp_path):
    arguments = ["--out", tmp_path / "out", "--model", bert]
    other = tmp_path / "other.csv"
    pd.read_csv(texts).assign(label=lambda table: 1 - table["label"]).to_csv(other)
    assert llmrec(*arguments, "--texts", texts)[0] == 0
    written = [(tmp_path / "out" / name).read_bytes() for name in FILES[1:]]
    for more in (["--texts", texts, "--learning-rate", 0.1], ["--texts", texts, "--train", "head"], ["--texts", other]):
        code, _, said = llmrec(*arguments, *more)
        assert (code, said.startswith("llmrec: ")) == (2, True)
    assert [(tmp_path / "out" / name).read_bytes() for name in FILES[1:]] == written


def test_another_base_model_is_seen_by_the_checkpoint(llmrec, bert, texts, tmp_path, monkeypatch):
    copy = shutil.copytree(bert, tmp_path / "bert")
    arguments = ["--out", tmp_path / "out", "--model", copy, "--texts", texts]
    with monkeypatch.context() as patch:
        stop_at(patch, 12)
        assert llmrec(*arguments)[0] == 130
    weights = load_file(copy / "model.safetensors")
    save_file({name: tensor + 1 for name, tensor in weights.items()}, copy / "model.safetensors", {"format": "pt"})
    code, _, said = llmrec(*arguments)
    assert code == 2
    assert "base=" in said


# ---- what is wrong is said in a line ----


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--model", "no-such-folder"], "no-such-folder"),
        (["--train", "tail"], "'tail'"),
        (["--train", "top7"], "top7"),
        (["--batch-size", 0], "batch_size=0"),
        (["--device", "tpu9"], "tpu9"),
        (["--texts", "texts.csv"], "--texts"),
        (["--interactions", "none.csv"], "none.csv"),
    ],
)
def test_wrong_use_is_one_line(llmrec, bert, ratings, tmp_path, arguments, message):
    code, shown, said = llmrec("--out", tmp_path / "out", "--model", bert, *ratings, *arguments)
    *notes, last = said.splitlines()
    assert code == 2, said
    assert last.startswith("llmrec: "), said
    assert message in last, said
    assert all("not used" in note for note in notes), said
    assert shown == ""
    assert not (tmp_path / "out" / "report.json").exists()


def test_items_and_chat_models_need_their_company(llmrec, bert, gpt, ratings, texts, tmp_path):
    assert "--interactions" in llmrec("--out", tmp_path, "--model", bert, *ratings[2:])[2]
    assert "--texts" in llmrec("--out", tmp_path, "--model", gpt, "--texts", texts)[2]


def test_ratings_that_teach_nothing_are_one_line(llmrec, bert, tmp_path):
    seen = [(user, item) for user in range(20) for item in range(6)]
    for rows in (seen, seen[:9]):  # no rating is a like; too few users
        pd.DataFrame(rows, columns=["user_id", "item_id"]).to_csv(tmp_path / "log.csv", index=False)
        code, _, said = llmrec("--out", tmp_path / "out", "--model", bert, "--interactions", tmp_path / "log.csv")
        assert (code, said.count("\n")) == (2, 1)


def test_folders_that_cannot_be_used_are_one_line(llmrec, bert, texts, tmp_path):
    arguments, file = ["--model", bert, "--texts", texts], tmp_path / "file"
    file.write_text("mine")
    assert str(file) in llmrec("--out", file, *arguments)[2]
    assert file.read_text() == "mine"
    weights = (bert / "model.safetensors").read_bytes()
    assert llmrec("--out", bert, *arguments)[0] == 2  # the base model itself
    assert (bert / "model.safetensors").read_bytes() == weights
    code, _, said = llmrec("--out", tmp_path / "full", *arguments, "--log-dir", file)
    assert (code, said.count("\n")) == (2, 1)
    assert str(file) in said


@pytest.mark.parametrize("error", [ModelFileError, OutOfMemoryError, DivergedError, SettingError])
def test_what_the_user_can_fix_is_one_line(llmrec, tmp_path, monkeypatch, error):
    def fail(*arguments, **options):
        raise error("do this [and that]")

    monkeypatch.setattr(finetune_job, "run_job", fail)
    assert llmrec("--out", tmp_path) == (2, "", "llmrec: do this [and that]\n")


def test_a_fault_of_ours_is_a_traceback(llmrec, tmp_path, monkeypatch):
    monkeypatch.setattr(finetune_job, "run_job", lambda *arguments, **options: [].pop())
    monkeypatch.setattr(sys, "argv", ["llmrec", "finetune", "--out", str(tmp_path)])
    with pytest.raises(IndexError):
        cli.main()


@pytest.mark.parametrize("arguments", ["--help", "finetune --help", "finetune --examples 1 --out x"])
def test_help_does_without_torch(arguments):
    script = (
        "import sys; from llmrec_lite.cli import main as cli; sys.argv = ['llmrec', *sys.argv[1:]]\n"
        "try: cli.main()\n"
        "finally: print('heavy:', sorted({'torch', 'transformers'} & set(sys.modules)))"
    )
    command = [sys.executable, "-c", script, *arguments.split()]
    done = subprocess.run(command, capture_output=True, text=True, cwd=ROOT, env=os.environ | {"COLUMNS": "200"})
    assert done.stdout.endswith("heavy: []\n")
    told = done.stdout + done.stderr
    assert ("--learning-rate" in told) == (arguments == "finetune --help")
    assert ("Teach a language model" in told) != ("Invalid value for '--examples'" in told)

"""`llmrec finetune`: what it learns, measures and writes; killed and gone on with; and what is said of wrong use."""

import json
import os
import shutil
import signal
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
from llmrec_lite.errors import DivergedError, ModelFileError, OutOfMemoryError, SettingError
from llmrec_lite.language.auc import auc_interval
from llmrec_lite.language.checkpoint import locked
from llmrec_lite.language.gpt import GPT, GPTConfig
from llmrec_lite.language.lora import trainable_parameters
from llmrec_lite.language.preferences import item_rate, like_share, preference_split
from llmrec_lite.language.text_models import Example, TextClassifier
from llmrec_lite.language.yes_no import YesNo

ROOT = Path(__file__).parents[2]
WORDS = ["space", "war", "love", "film", "ship", "star", "sea", "funny", "sad", "old", "new", "robot", "red", "blue"]
FILES = ["history.csv", "model.safetensors", "report.json"]


@pytest.fixture(scope="module")
def bert(tmp_path_factory, save_bert):
    return save_bert(tmp_path_factory.mktemp("bert"), ["candidate", "liked", "disliked", ":", ".", *WORDS])


@pytest.fixture(scope="module")
def gpt(tmp_path_factory):
    vocabulary = {word: i for i, word in enumerate(["[UNK]", *WORDS, "Yes", "No", "liked", ":", "."])}
    tokenizer = Tokenizer(models.WordLevel(vocabulary, "[UNK]"))
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    sizes = {"d": 16, "layers": 3, "heads": 2, "kv_heads": 1, "d_ff": 32, "max_length": 200}
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
    assert found["valid_loss"] == pytest.approx(model.loss(valid).item(), rel=1e-5)
    y, users = [e.label for e in test], [e.user for e in test]
    scores = {
        "fine-tuned": model.predict(test),
        "like share": like_share(test),
        "item rate": item_rate(known, test),
    }
    assert list(found["test"]) == list(scores)
    for name, told in scores.items():
        assert found["test"][name]["auc"] == pytest.approx(roc_auc_score(y, told), abs=1e-9)
        interval = found["test"][name]["low"], found["test"][name]["high"]
        assert interval == pytest.approx(auc_interval(y, told, groups=users), abs=1e-9)
        assert f"{interval[0]:.3f} to {interval[1]:.3f}" in shown
    assert found["test"]["item rate"]["auc"] > 0.75  # of what the ratings are made
    lead = found["lead"]
    assert lead["over"] == "item rate"
    assert lead["auc"] == found["test"]["fine-tuned"]["auc"] - found["test"]["item rate"]["auc"]
    interval = auc_interval(y, scores["fine-tuned"], rival=scores["item rate"], groups=users)
    assert (lead["low"], lead["high"]) == pytest.approx(interval, abs=1e-9)

    assert f"{learns:,} of {weights:,} weights learn" in shown
    assert f"Examples: 50 train, {len(valid)} valid, {len(test)} test. Steps: 13." in shown
    assert f"{len(history)} steps done; validation was best after step {found['best_step']}" in shown
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
    assert "weights learn" in said
    train, valid, test = text_parts(texts, seed=0)
    assert [len(part) for part in (train, valid, test)] == [
        report["counts"][name] for name in ("train", "valid", "test")
    ]
    found, model = report["metrics"], load_finetuned(tmp_path)
    y, told = [e.label for e in drawn(test, 500)], model.predict(drawn(test, 500))
    assert found["test"].keys() == {"fine-tuned"}
    assert found["lead"] is None
    row = found["test"]["fine-tuned"]
    assert row["auc"] == pytest.approx(roc_auc_score(y, told), abs=1e-9)
    assert (row["low"], row["high"]) == pytest.approx(auc_interval(y, told), abs=1e-9)
    assert found["kept_step"] == found["steps"] == report["counts"]["steps"]
    assert found["valid_loss"] == pytest.approx(model.loss(valid).item(), rel=1e-5)


def test_without_patience_the_last_weights_are_kept(llmrec, bert, texts, tmp_path):
    # A rate so high that the validation loss is best before the end.
    arguments = ["--model", bert, "--train", "full", "--texts", texts, "--learning-rate", 0.05, "--epochs", 12]
    *_, valid = text_parts(texts, seed=0)[:2]
    for patience in (0, 4):
        out = tmp_path / str(patience)
        assert llmrec("--out", out, *arguments, "--patience", patience)[0] == 0
        found = read(out)["metrics"]
        assert found["best_step"] < found["steps"]
        assert found["kept_step"] == found["steps" if patience == 0 else "best_step"]
        assert found["valid_loss"] == pytest.approx(load_finetuned(out).loss(valid).item(), rel=1e-4)


def test_likes_of_users_by_a_chat_model(llmrec, gpt, ratings, tmp_path):
    before = (gpt / "model.safetensors").read_bytes()
    code, _, said = llmrec("--out", tmp_path, "--model", gpt, "--examples", 20, "--epochs", 2, *ratings)
    assert code == 0, said
    model, report = load_finetuned(tmp_path), read(tmp_path)
    assert isinstance(model, YesNo)
    assert report["settings"]["train"] == "lora-top3"  # as it has only three layers
    _, _, _, test = preference_split(Dataset.from_files(ratings[1], ratings[3]), style="chat")
    test = drawn(test, 500)
    assert test[0].text.endswith("<|im_start|>assistant\n")
    told = model.predict(test)
    assert not np.allclose(told, YesNo(GPT.from_pretrained(gpt), train="lora").predict(test), atol=1e-4)
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
    expected = {"epochs": 0.5, "batch_size": 6, "learning_rate": 0.02, "accumulate": 2, "patience": 3, "seed": 5}
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
    ("content", "message"),
    [
        ("text,label\na,1\nb,\n", "row 2: the label is missing; make it 0 or 1"),
        ("text,label\na,1\n,0\n", "row 2: the text is missing; give one"),
        ("text,label\na,1\n  ,0\n", "row 2: the text is missing"),
        ("text,label\na,1\nb,0\nc,2\n", "row 3: the label is '2'"),
        ("text,label\na,yes\nb,no\n", "row 1: the label is 'yes'"),
        ("text,label\na,0.5\n", "row 1: the label is '0.5'"),
        ("text,recommended\na,1\n", "lacks the column 'label'; it has ['text', 'recommended']"),
        ("text,label\n" + "".join(f"{i},1\n{i},1\n" for i in range(9)), "9 different texts are too few"),
        ("text,label\n" + "".join(f"{i},1\n" for i in range(40)), "train has 28 examples, 28 of them a yes"),
        ("", "texts.csv: No columns"),
    ],
)
def test_wrong_texts_are_one_line(llmrec, bert, tmp_path, content, message):
    file = tmp_path / "texts.csv"
    file.write_text(content)
    code, shown, said = llmrec("--out", tmp_path / "out", "--model", bert, "--texts", file)
    assert (code, shown, said.count("\n")) == (2, "", 1)
    assert said.startswith("llmrec: ")
    assert str(file) in said or "train has" in said
    assert message in said
    assert not (tmp_path / "out").exists()


# ---- stopped, killed, and gone on with ----


def stop_at(monkeypatch, step, what=KeyboardInterrupt):
    real = finetune_job.finetune

    def on_step(done, history):
        if done == step:
            raise what

    def stopping(*arguments):
        return real(*arguments, progress=False, on_step=on_step)

    monkeypatch.setattr(finetune_job, "finetune", stopping)


def same_result(one, other):
    assert files(one) == files(other) == FILES
    assert (one / "model.safetensors").read_bytes() == (other / "model.safetensors").read_bytes()
    assert read(one) == read(other)
    histories = [pd.read_csv(out / "history.csv").drop(columns="seconds") for out in (one, other)]
    pd.testing.assert_frame_equal(*histories)


@pytest.mark.parametrize(("step", "last"), [(7, 0), (10, 0), (23, 20)])
def test_ctrl_c_and_the_same_command_again(llmrec, bert, texts, tmp_path, monkeypatch, step, last):
    arguments = ["--model", bert, "--texts", texts, "--epochs", 8, "--patience", 8]  # 36 steps
    assert llmrec("--out", tmp_path / "whole", *arguments)[0] == 0
    out = tmp_path / "stopped"
    with monkeypatch.context() as patch:
        stop_at(patch, step)
        code, _, said = llmrec("--out", out, *arguments)
    last = last or step // 10 * 10
    assert code == 130
    then = f"goes on from step {last}" if last else "begins anew, for there is no checkpoint yet"
    assert said == f"llmrec: stopped; the same command {then}\n"
    assert "metrics" not in read(out)
    (out / ".report.json.99.part").write_text("half a rep")  # as a process leaves it that is killed while it writes
    code, shown, _ = llmrec("--out", out, *arguments)
    assert code == 0
    assert (f"Going on from step {last}." in shown) == (last > 0)
    same_result(tmp_path / "whole", out)


def test_ctrl_c_after_the_training_and_before_the_report(llmrec, bert, texts, tmp_path, monkeypatch):
    arguments = ["--model", bert, "--texts", texts]
    assert llmrec("--out", tmp_path / "whole", *arguments)[0] == 0
    with monkeypatch.context() as patch:
        patch.setattr(finetune_job, "auc_interval", lambda *a, **k: (_ for _ in ()).throw(KeyboardInterrupt))
        code, _, said = llmrec("--out", tmp_path / "stopped", *arguments)
    assert code == 130
    assert "goes on from step 14" in said
    stop_at(monkeypatch, 14)  # no step is done any more
    assert llmrec("--out", tmp_path / "stopped", *arguments)[0] == 0
    same_result(tmp_path / "whole", tmp_path / "stopped")


SCRIPT = """
import sys
from llmrec_lite.cli import main as cli
from llmrec_lite.cli import finetune_job

real = finetune_job.finetune

def wait(done, history):
    if done == 13:
        print("ready", flush=True)
        sys.stdin.readline()  # wait for the signal, which comes from outside

finetune_job.finetune = lambda *arguments: real(*arguments, progress=False, on_step=wait)
sys.argv[0] = "llmrec"
cli.main()
"""


@pytest.fixture
def one_thread():
    """Sums in another process are the same to the last bit only with as many threads."""
    n = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(n)


@pytest.mark.skipif(not hasattr(signal, "SIGKILL"), reason="no SIGKILL on this system")
def test_sigkill_and_the_same_command_again(llmrec, bert, ratings, tmp_path, one_thread):
    arguments = ["--model", str(bert), "--epochs", "2", *ratings]
    whole, killed = tmp_path / "whole", tmp_path / "killed"
    command = [sys.executable, "-c", SCRIPT, "finetune", "--device", "cpu", "--out", str(killed), *arguments]
    environment, pipes = os.environ | {"OMP_NUM_THREADS": "1"}, {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE}
    with subprocess.Popen(command, text=True, cwd=ROOT, env=environment, **pipes) as process:
        for line in process.stdout:
            if line == "ready\n":
                process.kill()
    assert process.returncode == -signal.SIGKILL
    assert files(killed) == ["checkpoint", "report.json"]
    code, shown, _ = llmrec("--out", killed, *arguments)
    assert code == 0
    assert "Going on from step 10." in shown
    assert llmrec("--out", whole, *arguments)[0] == 0
    same_result(whole, killed)


def test_what_has_finished_is_only_shown(llmrec, bert, texts, tmp_path, monkeypatch):
    arguments = ["--out", tmp_path, "--model", bert, "--texts", texts, "--epochs", 1]
    _, first, _ = llmrec(*arguments)
    written = [(tmp_path / name).read_bytes() for name in FILES]
    stop_at(monkeypatch, 0, AssertionError)
    monkeypatch.setattr(finetune_job, "TextClassifier", None)
    code, again, _ = llmrec(*arguments, "--gradient-checkpointing")  # which is not of the result
    assert code == 0
    assert "it has finished: nothing is trained again" in again
    assert again.splitlines()[1:] == first.splitlines()[2:]
    assert json.loads(llmrec(*arguments, "--json")[1]) == read(tmp_path)
    assert [(tmp_path / name).read_bytes() for name in FILES] == written


def test_another_setting_needs_another_folder(llmrec, bert, texts, tmp_path, monkeypatch):
    arguments = ["--out", tmp_path / "out", "--model", bert, "--epochs", 4]
    other = tmp_path / "other.csv"
    pd.read_csv(texts).assign(label=lambda table: 1 - table["label"]).to_csv(other)
    with monkeypatch.context() as patch:
        stop_at(patch, 15)
        assert llmrec(*arguments, "--texts", texts)[0] == 130
    for _ in ("stopped", "finished"):
        for more, message in [
            (["--texts", texts, "--learning-rate", 0.1], "learning_rate=0.003, and this one has learning_rate=0.1"),
            (["--texts", texts, "--train", "head"], "train=lora-top2, and this one has train=head"),
            (["--texts", other], "holds a training with data="),
        ]:
            code, _, said = llmrec(*arguments, *more)
            assert (code, said.count("\n")) == (2, 1)
            assert message in said
            assert "take another --out" in said
        assert llmrec(*arguments, "--texts", texts)[0] == 0


def test_before_the_first_checkpoint_settings_may_change(llmrec, bert, texts, tmp_path, monkeypatch):
    arguments = ["--out", tmp_path, "--model", bert, "--texts", texts]
    with monkeypatch.context() as patch:
        stop_at(patch, 3)
        assert llmrec(*arguments)[0] == 130
    assert llmrec(*arguments, "--batch-size", 8)[0] == 0
    assert read(tmp_path)["settings"]["batch_size"] == 8


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
    assert "step-00000010 is of another training: it has base=" in said
    assert "take another --out" in said


# ---- what is wrong is said in a line ----


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--model", "no-such-folder"], "There is no folder 'no-such-folder'"),
        (["--model", "no-such-folder"], "Or take --model minilm."),
        (["--train", "tail"], "--train must be head, full, top<k>, lora or lora-top<k>, not 'tail'"),
        (["--train", "top7"], "the model has 1 to 2 top layers"),
        (["--batch-size", 0], "batch_size=0 must be at least 1"),
        (["--epochs", 0], "epochs=0.0 must be above 0"),
        (["--learning-rate", 0], "learning_rate=0.0 must be above 0"),
        (["--accumulate", 20], "accumulate=20 pieces are more than batch_size=16"),
        (["--patience", -1], "patience=-1 must not be negative"),
        (["--seed", -1], "seed=-1 must not be negative"),
        (["--precision", "float16"], "precision must be"),
        (["--device", "tpu9"], "torch cannot use --device tpu9 here; take auto or cpu"),
        (["--texts", "texts.csv"], "give --texts, or --interactions with --items or without"),
        (["--interactions", "none.csv"], "there is no file none.csv"),
    ],
)
def test_wrong_use_is_one_line(llmrec, bert, ratings, tmp_path, arguments, message):
    code, shown, said = llmrec("--out", tmp_path / "out", "--model", bert, *ratings, *arguments)
    assert (code, said.count("\n")) == (2, 1), said
    assert said.startswith("llmrec: ")
    assert message in said
    assert shown == ""
    assert not (tmp_path / "out" / "report.json").exists()


@pytest.mark.skipif(torch.cuda.is_available(), reason="here is a CUDA device")
def test_no_cuda_is_one_line(llmrec, bert, texts, tmp_path):
    code, _, said = llmrec("--out", tmp_path, "--model", bert, "--texts", texts, "--device", "cuda")
    assert (code, said) == (2, "llmrec: torch cannot use --device cuda here; take auto or cpu\n")


def test_items_and_chat_models_need_their_company(llmrec, bert, gpt, ratings, texts, tmp_path):
    said = llmrec("--out", tmp_path, "--model", bert, *ratings[2:])[2]
    assert "give --texts, or --interactions with --items" in said
    said = llmrec("--out", tmp_path, "--model", gpt, "--texts", texts)[2]
    assert "--texts needs an encoder such as --model minilm; a chat model would need a question too" in said


def test_ratings_that_teach_nothing_are_one_line(llmrec, bert, tmp_path):
    seen = [(user, item) for user in range(20) for item in range(6)]
    pd.DataFrame(seen, columns=["user_id", "item_id"]).to_csv(tmp_path / "log.csv", index=False)
    said = llmrec("--out", tmp_path / "out", "--model", bert, "--interactions", tmp_path / "log.csv")[2]
    assert "train has 56 examples, 0 of them a yes (a rating of 4 or more)" in said
    pd.DataFrame(seen[:9], columns=["user_id", "item_id"]).to_csv(tmp_path / "log.csv", index=False)
    assert "too few" in llmrec("--out", tmp_path / "out", "--model", bert, "--interactions", tmp_path / "log.csv")[2]


def test_folders_that_cannot_be_used_are_one_line(llmrec, bert, texts, tmp_path):
    arguments = ["--model", bert, "--texts", texts]
    file = tmp_path / "file"
    file.write_text("mine")
    assert "take another --out" in llmrec("--out", file, *arguments)[2]
    assert file.read_text() == "mine"
    weights = (bert / "model.safetensors").read_bytes()
    code, _, said = llmrec("--out", bert, *arguments)  # the base model itself
    assert code == 2
    assert "holds a model.safetensors without a report.json, which would be lost" in said
    assert (bert / "model.safetensors").read_bytes() == weights
    out = tmp_path / "out"
    with locked(out):
        assert "another training uses" in llmrec("--out", out, *arguments)[2]
    for content in ("{", "[]", '{"metrics": 1}'):
        (out / "report.json").write_text(content)
        assert "report.json is damaged; delete the folder" in llmrec("--out", out, *arguments)[2]
    code, _, said = llmrec("--out", tmp_path / "full", *arguments, "--log-dir", file)
    assert (code, said.count("\n")) == (2, 1)
    assert str(file) in said
    assert "take another --out or --log-dir" in said


@pytest.mark.parametrize("error", [ModelFileError, OutOfMemoryError, DivergedError, SettingError])
def test_what_the_user_can_mend_is_one_line(llmrec, tmp_path, monkeypatch, error):
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

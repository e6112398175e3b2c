"""Fine-tuning: the first steps by hand, early stopping, errors, and exact resume after SIGKILL."""

import json
import math
import os
import signal
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from llmrec_lite.errors import DivergedError, ModelFileError, OutOfMemoryError, SettingError
from llmrec_lite.language.checkpoint import latest_checkpoint
from llmrec_lite.language.finetune import FinetuneConfig, finetune

ROOT = Path(__file__).parents[2]
CONFIG = FinetuneConfig(n_epochs=2, batch_size=4, checkpoint_every=3, device="cpu", learning_rate=0.01)
WORDS = ["space", "war", "love", "film", "ship", "star", "sea", "funny", "sad", "old", "new", "robot", "red", "blue"]


class Line(nn.Module):
    """w x + b by squared error, with dropout on x and a frozen part that must not move."""

    def __init__(self, dropout: float = 0.0, seed: int = 0) -> None:
        super().__init__()
        self.w = nn.Parameter(torch.randn(3, 1, generator=torch.Generator().manual_seed(seed)))
        self.b, self.frozen = nn.Parameter(torch.zeros(1)), nn.Parameter(torch.ones(1), requires_grad=False)
        self.drop = nn.Dropout(dropout)
        self.register_buffer("seen", torch.zeros(()))

    def loss(self, examples):
        x, y = torch.tensor([e[0] for e in examples]), torch.tensor([e[1] for e in examples])
        if self.training:
            self.seen += len(examples)
        x, y = x.to(self.w.device), y.to(self.w.device)
        return ((self.drop(x) @ self.w)[:, 0] + self.b * self.frozen - y).square().mean()


def points(n, seed=0):
    rng = np.random.default_rng(seed)
    x = rng.normal(size=(n, 3))
    y = x @ [1.0, -2.0, 0.5] + rng.normal(size=n)
    return [(row.astype(np.float32).tolist(), float(np.float32(v))) for row, v in zip(x, y, strict=True)]


def run(model, config=CONFIG, train=None, valid=None, **more):
    return finetune(model, train or points(10), valid or points(5, 1), config, progress=False, **more)


def values(history):
    return {name: value for name, value in vars(history).items() if name != "seconds"}


def same_weights(a, b):
    return all(torch.equal(x, y) for x, y in zip(a.state_dict().values(), b.state_dict().values(), strict=True))


# ---- the loop ----


def test_the_first_steps_are_those_of_torch():
    model, reference, data = Line(), Line(), points(4)
    config = replace(CONFIG, max_steps=3, warmup=0.0, clip_norm=0.5, weight_decay=0.3)
    history = finetune(model, data, None, config, progress=False)  # 4 examples a batch: the order does not matter
    groups = [{"params": [reference.w], "weight_decay": 0.3}, {"params": [reference.b], "weight_decay": 0.0}]
    optimizer = torch.optim.AdamW(groups, lr=0.01)
    for step in range(3):
        for group in optimizer.param_groups:
            group["lr"] = 0.01 * (1 + math.cos(math.pi * step / 2)) / 2
        optimizer.zero_grad()
        loss = reference.loss(data)
        loss.backward()
        norm = nn.utils.clip_grad_norm_([reference.w, reference.b], 0.5)
        optimizer.step()
        assert norm > 0.6  # it was clipped
        assert history.train_losses[step] == pytest.approx(loss.item(), rel=1e-6)
        assert history.gradient_norms[step] == pytest.approx(norm.item(), rel=1e-5)
    torch.testing.assert_close(model.w, reference.w)
    torch.testing.assert_close(model.b, reference.b)
    assert not model.training
    assert history.best_step is None


def test_steps_and_validations_by_hand():
    assert FinetuneConfig(n_epochs=3, batch_size=4).steps(10) == 8
    assert FinetuneConfig(n_epochs=0.5, batch_size=4).steps(10) == 2
    assert FinetuneConfig(n_epochs=3, batch_size=99).steps(10) == 3
    assert FinetuneConfig(max_steps=7).steps(10) == 7
    model = Line()
    history = run(model)
    assert history.valid_steps == [3, 5]  # once an epoch of 2.5 steps, and at the end
    assert history.valid_losses[-1] == pytest.approx(model.loss(points(5, 1)).item(), rel=1e-5)
    assert run(Line(), replace(CONFIG, valid_every=2)).valid_steps == [2, 4, 5]
    frame = history.frame()
    assert len(frame) == 5
    assert frame["valid_loss"].dropna().index.tolist() == [3, 5]


def test_the_bar_reaches_its_end(capsys):
    finetune(Line(), points(8), None, FinetuneConfig(max_steps=3, device="cpu"))
    assert "3/3" in capsys.readouterr().err


def test_the_warmup_is_a_share():
    history = run(Line(), replace(CONFIG, max_steps=11, warmup=0.2))
    np.testing.assert_allclose(history.learning_rates[:3], [0.01 / 3, 0.02 / 3, 0.01])
    assert history.learning_rates[-1] == pytest.approx(0, abs=1e-9)


@pytest.mark.parametrize("pieces", [2, 3, 4])
def test_a_batch_in_pieces_is_the_same_update(pieces):
    whole, cut = Line(), Line()
    expected = run(whole, replace(CONFIG, clip_norm=0.5))
    got = run(cut, replace(CONFIG, clip_norm=0.5, accumulate=pieces))
    np.testing.assert_allclose(got.train_losses, expected.train_losses, rtol=1e-5)
    np.testing.assert_allclose(got.gradient_norms, expected.gradient_norms, rtol=1e-4)
    np.testing.assert_allclose(got.valid_losses, expected.valid_losses, rtol=1e-5)
    torch.testing.assert_close(cut.w, whole.w, rtol=1e-4, atol=1e-6)


def test_early_stopping_goes_back_to_the_best():
    train, valid = points(4), points(40, 1)
    seen = {}

    def note(done, history):
        seen[done] = model.w.detach().clone()

    config = replace(CONFIG, max_steps=400, learning_rate=0.1, warmup=0.0, valid_every=5, patience=3)
    model = Line()
    history = run(model, config, train, valid, on_step=note)
    best = history.best_step
    assert best == history.valid_steps[int(np.argmin(history.valid_losses))]
    assert len(history.train_losses) == best + 3 * 5 < 400
    assert torch.equal(model.w, seen[best])
    assert not torch.equal(model.w, seen[max(seen)])
    assert model.loss(valid).item() == pytest.approx(min(history.valid_losses), rel=1e-5)
    last = Line()
    assert len(run(last, replace(config, patience=0), train, valid).train_losses) == 400


def test_only_what_requires_grad_moves_and_is_stored(tmp_path):
    model = Line()
    model.b.requires_grad_(False)
    run(model, checkpoint=tmp_path)
    assert model.b.item() == 0
    assert model.frozen.item() == 1
    assert not torch.equal(model.w, Line().w)
    from safetensors.torch import load_file

    assert load_file(latest_checkpoint(tmp_path) / "model.safetensors").keys() == {"w", "seen"}


def test_the_same_seed_gives_the_same_run_and_global_randomness_is_left_alone():
    state = torch.get_rng_state()
    models = [Line(0.5) for _ in range(3)]
    histories = [run(m, replace(CONFIG, seed=seed)) for m, seed in zip(models, (4, 4, 5), strict=True)]
    assert torch.equal(torch.get_rng_state(), state)
    assert values(histories[0]) == values(histories[1])
    assert same_weights(models[0], models[1])
    assert histories[0].train_losses != histories[2].train_losses


def test_event_files_hold_the_curves(tmp_path):
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    history = run(Line(), replace(CONFIG, log_dir=str(tmp_path)))
    events = EventAccumulator(str(tmp_path))
    events.Reload()
    np.testing.assert_allclose([e.value for e in events.Scalars("train_loss")], history.train_losses, rtol=1e-6)
    assert [e.step for e in events.Scalars("valid_loss")] == history.valid_steps
    assert [e.step for e in events.Scalars("learning_rate")] == [1, 2, 3, 4, 5]


def test_bfloat16_keeps_the_weights_in_float32():
    model = Line()
    history = run(model, replace(CONFIG, precision="bfloat16"))
    exact = run(Line())
    assert model.w.dtype == torch.float32
    np.testing.assert_allclose(history.train_losses, exact.train_losses, rtol=0.05)
    assert history.train_losses != exact.train_losses


# ---- what goes wrong ----


@pytest.mark.parametrize(
    "wrong",
    [
        {"n_epochs": 0},
        {"max_steps": 0},
        {"batch_size": 0},
        {"accumulate": 5},
        {"warmup": 1.0},
        {"learning_rate": 0.0},
        {"weight_decay": -1.0},
        {"clip_norm": math.nan},
        {"patience": -1},
        {"valid_every": 0},
        {"seed": -1},
        {"precision": "float16"},
        {"checkpoint_every": 0},
    ],
)
def test_settings_out_of_range_are_named(wrong):
    with pytest.raises(SettingError, match=next(iter(wrong))):
        replace(CONFIG, **wrong)


def test_what_cannot_be_trained_is_named():
    with pytest.raises(SettingError, match="train"):
        finetune(Line(), [], None, CONFIG)
    with pytest.raises(SettingError, match="valid"):
        finetune(Line(), points(3), [], CONFIG)
    with pytest.raises(SettingError, match="patience=2"):
        finetune(Line(), points(3), None, replace(CONFIG, patience=2))
    with pytest.raises(SettingError):
        run(Line().requires_grad_(False))
    with pytest.raises(SettingError, match=r"Line.*gradient_checkpointing"):
        run(Line(), replace(CONFIG, gradient_checkpointing=True))


class Breaking(Line):
    def __init__(self, at, how):
        super().__init__()
        self.at, self.how, self.done = at, how, 0

    def loss(self, examples):
        self.done += 1
        return self.how(super().loss(examples)) if self.done == self.at else super().loss(examples)


def test_a_loss_that_is_no_number_stops_before_the_weights_are_spoilt():
    broken, whole = Breaking(3, lambda loss: loss * math.nan), Line()
    with pytest.raises(DivergedError, match=r"step 3.*nan.*learning_rate.*0\.01"):
        run(broken)
    run(whole, on_step=lambda done, _: done == 2)
    assert torch.equal(broken.w, whole.w)
    with pytest.raises(DivergedError, match=r"step 3.*inf"):
        run(Breaking(4, lambda loss: loss + math.inf))


@pytest.mark.parametrize("at", [2, 7])  # in training, and in the validation after step 3
def test_out_of_memory_names_the_settings(at):
    with pytest.raises(OutOfMemoryError, match=r"batch_size=4 .* accumulate=4 .* gradient_checkpointing"):
        run(Breaking(at, lambda loss: loss + torch.empty(2**50)), replace(CONFIG, accumulate=2))


# ---- kill it and go on ----


@pytest.fixture(scope="module")
def bert(tmp_path_factory, save_bert):
    return save_bert(tmp_path_factory.mktemp("bert"), WORDS)


def interrupted(step):
    def stop(done, history):
        if done == step:
            raise KeyboardInterrupt

    return stop


@pytest.mark.parametrize("step", [2, 3, 13, 14])
def test_a_run_that_was_interrupted_ends_where_it_would_have(tmp_path, step):
    config = replace(CONFIG, n_epochs=20, learning_rate=0.1, valid_every=2, patience=3, warmup=0.0)
    valid = points(5, 3)
    whole = Line(0.3)
    expected = run(whole, config, valid=valid)
    assert 14 < len(expected.train_losses) < 50  # it stops early, after the interruption
    broken = Line(0.3)
    with pytest.raises(KeyboardInterrupt):
        run(broken, config, valid=valid, checkpoint=tmp_path, on_step=interrupted(step))
    fresh, steps = Line(0.3), []
    if step > 2:
        with torch.no_grad():
            fresh.w += 1.0  # the start does not matter: weights come from the checkpoint
    got = run(fresh, config, valid=valid, checkpoint=tmp_path, on_step=lambda done, _: steps.append(done))
    assert steps[0] == step // 3 * 3 + 1
    assert values(got) == values(expected)
    assert same_weights(fresh, whole)
    again = Line(0.3)
    assert (
        run(again, config, valid=valid, checkpoint=tmp_path, on_step=lambda *_: pytest.fail("a step was done")) == got
    )
    assert same_weights(again, whole)


def test_a_checkpoint_of_another_training_is_refused(tmp_path):
    run(Line(), checkpoint=tmp_path)
    with pytest.raises(ModelFileError, match="train="):
        run(Line(), train=points(11), checkpoint=tmp_path)
    with pytest.raises(ModelFileError, match="learning_rate="):
        run(Line(), replace(CONFIG, learning_rate=0.02), checkpoint=tmp_path)
    other = Line()
    other.frozen.data += 1
    with pytest.raises(ModelFileError, match="base="):
        run(other, checkpoint=tmp_path)


SCRIPT = """
import sys
import torch
from llmrec_lite.language.finetune import Example, FinetuneConfig, TextClassifier, finetune

torch.set_num_threads(1)
model = TextClassifier(sys.argv[2], max_length=32, train="lora-top1", rank=2)
words = "space war love film ship star sea funny sad old".split()
data = [Example(" ".join(words[i % 7 : i % 7 + 1 + i % 4]), float(i % 2)) for i in range(20)]
config = FinetuneConfig(
    max_steps=20, batch_size=6, learning_rate=0.01, checkpoint_every=4, valid_every=3, patience=9, device="cpu"
)
def say(done, history):
    print(done, flush=True)
    if sys.argv[3] == "kill" and done == 11:
        sys.stdin.readline()  # wait for the signal, which comes from outside
finetune(model, data[:15], data[15:], config, checkpoint=sys.argv[1], progress=False, on_step=say)
"""


def child(folder, bert, what):
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE}
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    command = [sys.executable, "-c", SCRIPT, str(folder), str(bert), what]
    return subprocess.Popen(command, text=True, cwd=ROOT, env=environment, **pipes)


@pytest.mark.skipif(not hasattr(signal, "SIGKILL"), reason="no SIGKILL on this system")
def test_sigkill_and_resume_are_bit_identical(tmp_path, bert):
    whole, killed = tmp_path / "whole", tmp_path / "killed"
    assert child(whole, bert, "go").communicate()[0].split() == [str(i) for i in range(1, 21)]
    process = child(killed, bert, "kill")
    for line in process.stdout:
        if line == "11\n":
            process.kill()
    process.communicate()
    assert process.returncode == -signal.SIGKILL
    assert child(killed, bert, "go").communicate()[0].split() == [str(i) for i in range(9, 21)]
    one, other = latest_checkpoint(whole), latest_checkpoint(killed)
    for name in ("model.safetensors", "optimizer.safetensors"):
        assert (one / name).read_bytes() == (other / name).read_bytes()
    histories = [json.loads((path / "training.json").read_text())["history"] for path in (one, other)]
    assert len(histories[0].pop("seconds")) == len(histories[1].pop("seconds")) == 20
    assert histories[0] == histories[1]

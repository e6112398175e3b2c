"""Pre-training: both objectives, the same update in pieces, errors, and exact resume after SIGKILL."""

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
from torch import Tensor, nn

from llmrec_lite.errors import DivergedError, OutOfMemoryError, SettingError
from llmrec_lite.language.attention import TransformerEncoder
from llmrec_lite.language.checkpoint import latest_checkpoint
from llmrec_lite.language.gpt import GPT, GPTConfig
from llmrec_lite.language.objectives import MaskedLM, perplexity
from llmrec_lite.language.pretrain import PretrainConfig, pretrain
from llmrec_lite.language.trainer import TrainingHistory

ROOT = Path(__file__).parents[2]
CONFIG = PretrainConfig(steps=12, batch_size=4, warmup=2, valid_every=5, checkpoint_every=5, device="cpu")


class Tiny(nn.Module):
    """Any module that maps tokens (n, t) to logits (n, t, vocab) will do: one that forgets, with dropout."""

    def __init__(self, vocab: int = 11, d: int = 8, dropout: float = 0.2) -> None:
        super().__init__()
        with torch.random.fork_rng():
            torch.manual_seed(3)
            self.embed, self.recur, self.out = (
                nn.Embedding(vocab, d),
                nn.GRU(d, d, batch_first=True),
                nn.Linear(d, vocab),
            )
        self.drop = nn.Dropout(dropout)

    def forward(self, tokens: Tensor) -> Tensor:
        return self.out(self.drop(self.recur(self.embed(tokens))[0]))


def some_rows(n: int = 10, vocab: int = 11, length: int = 6, seed: int = 0) -> Tensor:
    return torch.randint(vocab, (n, length + 1), generator=torch.Generator().manual_seed(seed))


def run(model: nn.Module, config: PretrainConfig = CONFIG, **more) -> TrainingHistory:
    return pretrain(model, some_rows(), some_rows(3, seed=1), config, progress=False, **more)


def values(history: TrainingHistory) -> tuple[list[float], ...]:
    """All but the seconds, which no two runs share."""
    return (
        history.train_losses,
        history.learning_rates,
        history.gradient_norms,
        history.valid_steps,
        history.valid_losses,
    )


def same_weights(a: nn.Module, b: nn.Module) -> bool:
    return all(torch.equal(x, y) for x, y in zip(a.state_dict().values(), b.state_dict().values(), strict=True))


# ---- settings ----


@pytest.mark.parametrize(
    "wrong",
    [
        {"steps": 0},
        {"batch_size": 0},
        {"accumulate": 5},
        {"warmup": 12},
        {"warmup": -1},
        {"learning_rate": 0.0, "min_learning_rate": 0.0},
        {"min_learning_rate": 1.0},
        {"weight_decay": -0.1},
        {"clip_norm": 0.0},
        {"seed": -1},
        {"precision": "float16"},
        {"valid_every": 0},
        {"checkpoint_every": 0},
    ],
)
def test_settings_out_of_range_are_named(wrong):
    with pytest.raises(SettingError, match=next(iter(wrong))):
        replace(CONFIG, **wrong)


# ---- training ----


def alphabet(n: int, length: int) -> Tensor:
    """Rows that count 2, 3, 4, ..., 9, 2, ... from any start: all but the first token can be told."""
    start = torch.arange(n)[:, None]
    return (start + torch.arange(length + 1)) % 8 + 2


def test_a_causal_model_learns_what_comes_next():
    model = GPT(GPTConfig(vocab_size=11, dim=16, layers=1, heads=2, kv_heads=1, d_ff=32, max_length=8))
    rows = alphabet(16, 8)
    before = perplexity(model, rows)
    config = PretrainConfig(steps=80, batch_size=8, learning_rate=0.02, warmup=5, device="cpu", valid_every=40)
    history = pretrain(model, rows, rows[:3], config, progress=False)
    assert before > 8
    assert perplexity(model, rows) < 1.1
    assert history.valid_losses[-1] == pytest.approx(math.log(perplexity(model, rows[:3])), rel=1e-4)
    assert history.valid_steps == [40, 80]
    assert not model.training


def test_a_masked_model_learns_from_both_sides():
    model = MaskedLM(TransformerEncoder(11, 32, 2, 1, 64, 9, 0.0), 32, 11)
    config = PretrainConfig(steps=150, batch_size=32, learning_rate=0.01, warmup=10, device="cpu")
    rows = alphabet(16, 8)
    history = pretrain(model, rows, rows, config, "masked", progress=False, mask_id=0, special_ids=(1,))
    assert history.train_losses[0] > 1.9
    assert history.valid_losses[-1] < 0.3
    tokens = rows.clone()
    tokens[:, 0] = 0  # only what comes after can tell it
    assert (model(tokens)[:, 0].argmax(-1) == rows[:, 0]).float().mean() > 0.9


@pytest.mark.parametrize("objective", ["causal", "masked"])
def test_a_batch_in_pieces_is_the_same_update(objective):
    def train(accumulate: int) -> tuple[nn.Module, TrainingHistory]:
        model = Tiny(dropout=0.0)
        config = replace(CONFIG, batch_size=12, accumulate=accumulate, clip_norm=0.5)
        return model, run(model, config, objective=objective, mask_id=0)

    (whole, expected), (pieces, got) = train(1), train(4)
    np.testing.assert_allclose(got.train_losses, expected.train_losses, rtol=1e-5)
    np.testing.assert_allclose(got.gradient_norms, expected.gradient_norms, rtol=1e-4)
    for a, b in zip(whole.parameters(), pieces.parameters(), strict=True):
        torch.testing.assert_close(a, b, rtol=1e-3, atol=1e-5)


def test_the_first_steps_are_those_of_torch():
    model, reference, rows = Tiny(dropout=0.0), Tiny(dropout=0.0), some_rows(4)
    config = replace(CONFIG, clip_norm=0.01, steps=3, warmup=0, min_learning_rate=CONFIG.learning_rate)
    history = pretrain(model, rows, None, config, progress=False)  # 4 rows a batch: the order does not matter
    groups = [
        {"params": [p for p in reference.parameters() if p.dim() == 2], "weight_decay": 0.1},
        {"params": [p for p in reference.parameters() if p.dim() == 1], "weight_decay": 0.0},
    ]
    optimizer = torch.optim.AdamW(groups, lr=1e-3, betas=(0.9, 0.95))
    for step in range(3):
        optimizer.zero_grad()
        loss = nn.functional.cross_entropy(reference(rows[:, :-1]).flatten(0, 1), rows[:, 1:].flatten())
        loss.backward()
        norm = nn.utils.clip_grad_norm_(reference.parameters(), 0.01)
        optimizer.step()
        assert history.train_losses[step] == pytest.approx(loss.item(), rel=1e-6)
        assert history.gradient_norms[step] == pytest.approx(norm.item(), rel=1e-5)
        assert norm > 0.02  # it was clipped
    for a, b in zip(model.parameters(), reference.parameters(), strict=True):
        torch.testing.assert_close(a, b, rtol=1e-5, atol=1e-7)


def test_only_matrices_decay():
    class Deaf(Tiny):
        def forward(self, tokens: Tensor) -> Tensor:
            return 0.0 * super().forward(tokens)

    model = Deaf()
    before = {name: p.detach().clone() for name, p in model.named_parameters()}
    config = replace(CONFIG, learning_rate=0.1, min_learning_rate=0.1, warmup=0, weight_decay=0.5)
    history = run(model, config)
    np.testing.assert_allclose(history.train_losses, np.log(11), rtol=1e-6)
    for name, parameter in model.named_parameters():
        shrunk = before[name] * (1 - 0.1 * 0.5) ** 12 if parameter.dim() == 2 else before[name]
        torch.testing.assert_close(parameter.detach(), shrunk)


def test_the_same_seed_gives_the_same_run_and_global_randomness_is_left_alone():
    state = torch.get_rng_state()
    models = [Tiny(), Tiny(), Tiny()]
    histories = [run(model, replace(CONFIG, seed=seed)) for model, seed in zip(models, (4, 4, 5), strict=True)]
    assert torch.equal(torch.get_rng_state(), state)
    assert values(histories[0]) == values(histories[1])
    assert same_weights(models[0], models[1])
    assert histories[0].train_losses != histories[2].train_losses


def test_on_step_watches_and_may_stop():
    seen = []
    history = run(Tiny(), on_step=lambda done, h: seen.append((done, len(h.train_losses))) or done == 3)
    assert seen == [(1, 1), (2, 2), (3, 3)]
    assert len(history.train_losses) == 3


# ---- where it runs ----


def test_bfloat16_keeps_the_weights_in_float32():
    seen = []

    class Watched(Tiny):
        def forward(self, tokens: Tensor) -> Tensor:
            seen.append(self.out(self.embed(tokens)).dtype)
            return super().forward(tokens)

    model = Watched(dropout=0.0)
    history = run(model, replace(CONFIG, precision="bfloat16"))
    assert torch.bfloat16 in seen
    assert {p.dtype for p in model.parameters()} == {torch.float32}
    np.testing.assert_allclose(history.train_losses, run(Tiny(dropout=0.0)).train_losses, rtol=0.02)
    assert history.train_losses != run(Tiny(dropout=0.0)).train_losses


def test_compile_is_used_where_asked_for(monkeypatch):
    calls = []
    monkeypatch.setattr(Tiny, "compile", lambda self, **options: calls.append(1))
    plain = run(Tiny())
    assert not calls
    assert run(Tiny(), replace(CONFIG, compile=True)).train_losses == plain.train_losses
    assert calls == [1]


@pytest.mark.gpu
def test_cuda_trains_in_bfloat16_and_resumes(tmp_path):
    config = replace(CONFIG, device="auto")
    model = Tiny()
    history = run(model, config, checkpoint=tmp_path)
    assert next(model.parameters()).device.type == "cuda"
    np.testing.assert_allclose(history.train_losses, run(Tiny(), CONFIG).train_losses, rtol=0.2)
    again = Tiny()
    assert values(run(again, config, checkpoint=tmp_path)) == values(history)
    assert same_weights(model, again)


# ---- what goes wrong ----


class Greedy(Tiny):
    """Asks for more memory than any machine has, once it trains."""

    def forward(self, tokens: Tensor) -> Tensor:
        return super().forward(tokens) + (torch.empty(2**50) if self.training else 0.0)


def test_out_of_memory_names_the_settings():
    with pytest.raises(OutOfMemoryError, match=r"batch_size=4 .* accumulate=2"):
        run(Greedy())


class Breaking(Tiny):
    """Gives no number in its third step."""

    done = 0

    def forward(self, tokens: Tensor) -> Tensor:
        self.done += self.training
        return super().forward(tokens) * (math.nan if self.done == 3 else 1.0)


def test_a_loss_that_is_no_number_stops_before_the_weights_are_spoilt():
    broken, whole = Breaking(), Tiny()
    with pytest.raises(DivergedError, match=r"step 3.*nan.*learning_rate.*0\.001"):
        run(broken)
    run(whole, on_step=lambda done, _: done == 2)
    assert same_weights(broken, whole)


@pytest.mark.parametrize(
    ("more", "match"),
    [
        ({"objective": "both"}, "objective"),
        ({"objective": "masked"}, "mask_id"),
    ],
)
def test_objectives_that_do_not_fit(more, match):
    with pytest.raises(SettingError, match=match):
        run(Tiny(), **more)


# ---- kill it and go on ----


def interrupted(step: int):
    def stop(done: int, history: TrainingHistory) -> None:
        if done == step:
            raise KeyboardInterrupt

    return stop


@pytest.mark.parametrize("objective", ["causal", "masked"])
@pytest.mark.parametrize("step", [2, 5, 9, 10])
def test_a_run_that_was_interrupted_ends_where_it_would_have(tmp_path, objective, step):
    whole, broken = Tiny(), Tiny()
    expected = run(whole, objective=objective, mask_id=0)
    with pytest.raises(KeyboardInterrupt):
        run(broken, objective=objective, mask_id=0, checkpoint=tmp_path, on_step=interrupted(step))
    fresh, steps = Tiny(), []
    with torch.no_grad():
        fresh.out.bias += 1.0  # the start does not matter: weights come from the checkpoint
    if step < 5:  # there is none yet
        fresh = Tiny()
    got = run(fresh, objective=objective, mask_id=0, checkpoint=tmp_path, on_step=lambda done, _: steps.append(done))
    assert steps == list(range(step // 5 * 5 + 1, 13))
    assert values(got) == values(expected)
    assert same_weights(fresh, whole)


def test_a_finished_run_is_loaded_and_not_repeated(tmp_path):
    model = Tiny()
    expected = run(model, checkpoint=tmp_path)
    again = Tiny()
    got = run(again, checkpoint=tmp_path, on_step=lambda done, _: pytest.fail("a step was done"))
    assert got == expected
    assert same_weights(again, model)
    assert not again.training


SCRIPT = """
import os, signal, sys
import torch
from llmrec_lite import files
from llmrec_lite.language.gpt import GPT, GPTConfig
from llmrec_lite.language.pretrain import PretrainConfig, pretrain

torch.set_num_threads(1)
folder, kill = sys.argv[1], sys.argv[2]
if kill == "writing":  # die when the second checkpoint is written but has not got its name
    rename = files.os.replace
    files.os.replace = lambda a, b: os.kill(os.getpid(), signal.SIGKILL) if str(b).endswith("8") else rename(a, b)
rows = torch.randint(50, (40, 17), generator=torch.Generator().manual_seed(0))
model = GPT(GPTConfig(vocab_size=50, dim=16, layers=2, heads=2, kv_heads=1, d_ff=32, max_length=16))
config = PretrainConfig(steps=30, batch_size=8, warmup=3, checkpoint_every=4, valid_every=6, device="cpu")
def say(done, history):
    print(done, flush=True)
    if kill == "training" and done == 14:
        sys.stdin.readline()  # wait for the signal, which comes from outside
pretrain(model, rows, rows[:5], config, checkpoint=folder, progress=False, on_step=say)
"""


def child(folder: Path, kill: str) -> subprocess.Popen:
    return subprocess.Popen(
        [sys.executable, "-c", SCRIPT, str(folder), kill],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        cwd=ROOT,
        env=os.environ | {"OMP_NUM_THREADS": "1"},
    )


@pytest.fixture(scope="module")
def uninterrupted(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("whole")
    process = child(folder, "never")
    process.communicate()
    assert process.returncode == 0
    return folder


@pytest.mark.skipif(not hasattr(signal, "SIGKILL"), reason="no SIGKILL on this system")
@pytest.mark.parametrize(("kill", "reached", "start"), [("training", 14, 13), ("writing", 7, 5)])
def test_sigkill_and_resume_are_bit_identical(tmp_path, uninterrupted, kill, reached, start):
    process = child(tmp_path, kill)
    assert process.stdout is not None
    steps = []
    for line in process.stdout:
        steps.append(int(line))
        if kill == "training" and steps[-1] == reached:
            process.kill()
    process.communicate()
    assert process.returncode == -signal.SIGKILL
    assert steps == list(range(1, reached + 1))
    unfinished = [path.name for path in tmp_path.glob(".step-*.part")]
    assert len(unfinished) == (kill == "writing")

    process = child(tmp_path, "never")
    out, _ = process.communicate()
    assert process.returncode == 0
    assert out.split() == [str(step) for step in range(start, 31)]
    ours, theirs = latest_checkpoint(tmp_path), latest_checkpoint(uninterrupted)
    for name in ("model.safetensors", "optimizer.safetensors"):
        assert (ours / name).read_bytes() == (theirs / name).read_bytes()
    ours, theirs = (history_in(path / "training.json") for path in (ours, theirs))
    assert ours == theirs
    assert not list(tmp_path.glob(".step-*.part"))


def history_in(path: Path) -> dict:
    history = json.loads(path.read_text())["history"]
    assert len(history.pop("seconds")) == 30
    return history

"""Pre-training: packing, order, masks, schedule, the same update in pieces, exact resume after SIGKILL."""

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

from llmrec_lite.compute import random_seed
from llmrec_lite.language.attention import TransformerEncoder
from llmrec_lite.language.checkpoint import latest_checkpoint
from llmrec_lite.language.gpt import GPT, GPTConfig
from llmrec_lite.language.objectives import MaskedLM, batch_rows, explain_out_of_memory, mask_tokens, pack, perplexity
from llmrec_lite.language.pretrain import PretrainConfig, cosine_schedule, pretrain
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


# ---- rows ----


def test_pack_by_hand():
    rows = pack([[1, 2, 3], [], [4, 5], [6]], length=3, end_id=0)
    # stream: 1 2 3 0 0 4 5 0 6 0; each row begins with the last token of the row before, and every token but the
    # first is a target once.
    assert rows.tolist() == [[1, 2, 3, 0], [0, 0, 4, 5], [5, 0, 6, 0]]
    assert rows.dtype == torch.int64
    assert pack([[1, 2, 3, 4]], 3, 0).tolist() == [[1, 2, 3, 4]]  # what does not fill a row is dropped


@pytest.mark.parametrize(
    ("lists", "length", "end", "match"),
    [
        ([[1]], 2, 0, "2 tokens, .* length \\+ 1 = 3"),
        ([], 1, 0, "0 tokens"),
        ([[1, 2]], 0, 0, "length=0"),
        ([[-1, 2]], 1, 0, "-1"),
    ],
)
def test_pack_refuses(lists, length, end, match):
    with pytest.raises(ValueError, match=match):
        pack(lists, length, end)


def test_every_row_comes_once_an_epoch_in_an_order_of_its_own():
    stream = torch.cat([batch_rows(10, 4, 7, step) for step in range(5)])
    first, second = stream[:10].tolist(), stream[10:].tolist()
    assert sorted(first) == sorted(second) == list(range(10))
    assert first != second
    assert first != list(range(10))
    assert torch.equal(batch_rows(10, 4, 7, 3), stream[12:16])  # asked for alone
    assert not torch.equal(stream[:10], torch.cat([batch_rows(10, 5, 8, step) for step in range(2)]))
    assert sorted(batch_rows(3, 7, 0, 0)[:6].tolist()) == [0, 0, 1, 1, 2, 2]  # a batch of two epochs and a bit


def test_seeds_of_neighbors_are_unlike():
    seeds = {random_seed(a, b, c) for a in range(10) for b in range(3) for c in range(50)}
    assert len(seeds) == 1500
    assert max(seeds) > 2**62


# ---- schedule and settings ----


def test_the_schedule_by_hand():
    rates = [cosine_schedule(step, total=9, warmup=4, peak=1.0, floor=0.2) for step in range(10)]
    half = 0.2 + 0.4 * (1 + math.sqrt(0.5))
    expected = [0.2, 0.4, 0.6, 0.8, 1.0, half, 0.6, 0.2 + 0.4 * (1 - math.sqrt(0.5)), 0.2, 0.2]
    np.testing.assert_allclose(rates, expected)
    assert cosine_schedule(0, 1, 0, 1.0, 0.0) == 1.0


def test_the_schedule_equals_torch_without_a_warmup():
    weight = nn.Parameter(torch.zeros(1))
    optimizer = torch.optim.SGD([weight], lr=0.3)
    theirs = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, T_max=19, eta_min=0.01)
    for step in range(20):
        assert cosine_schedule(step, 20, 0, 0.3, 0.01) == pytest.approx(theirs.get_last_lr()[0])
        optimizer.step()
        theirs.step()


@pytest.mark.parametrize(
    "wrong",
    [
        {"steps": 0},
        {"batch_size": 0},
        {"batch_size": 5, "accumulate": 2},
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
    with pytest.raises(ValueError, match=next(iter(wrong))):
        replace(CONFIG, **wrong)


# ---- masks ----


def test_masks_are_those_of_bert():
    tokens = torch.randint(1000, (400, 500), generator=torch.Generator().manual_seed(0))
    inputs, targets = mask_tokens(tokens, 3, 1000, (0, 1), torch.Generator().manual_seed(1))
    chosen = targets != -100
    ordinary = (tokens != 3) & (tokens > 1)
    assert not (chosen & ~ordinary).any()
    assert chosen[ordinary].float().mean().item() == pytest.approx(0.15, abs=0.003)
    assert torch.equal(targets[chosen], tokens[chosen])
    assert torch.equal(inputs[~chosen], tokens[~chosen])
    hidden, kept = inputs[chosen] == 3, inputs[chosen] == tokens[chosen]
    assert hidden.float().mean().item() == pytest.approx(0.8, abs=0.01)
    assert kept.float().mean().item() == pytest.approx(0.1, abs=0.01)
    drawn = inputs[chosen][~hidden & ~kept]
    assert not torch.isin(drawn, torch.tensor([0, 1, 3])).any()
    assert len(drawn.unique()) > 900
    again = mask_tokens(tokens, 3, 1000, (0, 1), torch.Generator().manual_seed(1))
    assert torch.equal(again[0], inputs)
    assert torch.equal(again[1], targets)
    everything = mask_tokens(tokens, 3, 1000, (0, 1), torch.Generator().manual_seed(1), rate=1.0)[1]
    assert torch.equal(everything != -100, ordinary)


@pytest.mark.parametrize(
    ("mask_id", "special", "rate", "match"),
    [
        (4, (), 0.1, "mask_id=4"),
        (0, (), 0.0, "rate=0"),
        (0, (), 1.5, "rate=1.5"),
        (0, (1, 2, 3), 0.1, "nothing to hide"),
    ],
)
def test_masks_refuse(mask_id, special, rate, match):
    with pytest.raises(ValueError, match=match):
        mask_tokens(torch.zeros(1, 2, dtype=torch.int64), mask_id, 4, special, torch.Generator(), rate)


def test_the_masked_model_is_tied_and_counts_by_hand():
    encoder = TransformerEncoder(11, 8, 2, 1, 16, 7, 0.0)
    model = MaskedLM(encoder, 8, 11).eval()
    tokens = some_rows(2)
    expected = model.think(encoder(tokens, None)) @ encoder.embed.weight.T + model.bias
    torch.testing.assert_close(model(tokens), expected)
    assert sum(p is encoder.embed.weight for p in model.parameters()) == 1
    twin = MaskedLM(encoder, 8, 11)
    assert same_weights(twin, model)
    assert not same_weights(MaskedLM(encoder, 8, 11, seed=1), model)
    nn.init.constant_(model.bias, 5.0)
    torch.testing.assert_close(model(tokens), expected + 5.0)
    seen = torch.ones(1, 1, 7, dtype=torch.bool)
    seen[..., 3:] = False
    assert not torch.allclose(model(tokens, seen), model(tokens))
    for d, vocab in ((8, 12), (4, 11)):
        with pytest.raises(ValueError, match=rf"Embedding\({vocab}, {d}\)"):
            MaskedLM(encoder, d, vocab)
    with pytest.raises(ValueError, match=r"encoder\.embed"):
        MaskedLM(nn.Linear(2, 2), 8, 11)


# ---- training ----


def alphabet(n: int, length: int) -> Tensor:
    """Rows that count 2, 3, 4, ..., 9, 2, ... from any start: all but the first token can be told."""
    start = torch.arange(n)[:, None]
    return (start + torch.arange(length + 1)) % 8 + 2


def test_a_causal_model_learns_what_comes_next():
    model = GPT(GPTConfig(vocab_size=11, d=16, layers=1, heads=2, kv_heads=1, d_ff=32, max_length=8))
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


def test_perplexity_of_a_model_that_knows_nothing_is_the_vocabulary():
    model = Tiny(vocab=11, dropout=0.9).train()
    nn.init.zeros_(model.out.weight)
    nn.init.zeros_(model.out.bias)
    assert perplexity(model, some_rows()) == pytest.approx(11)
    assert model.training  # as it was
    with torch.no_grad():
        model.out.bias[0] = 1000.0  # sure of a token that never comes
    assert perplexity(model, some_rows().clamp(min=1)) == math.inf  # and no error
    known = Tiny()
    logits = known.eval()(some_rows()[:, :-1]).log_softmax(-1)
    expected = -logits.gather(2, some_rows()[:, 1:, None]).mean()
    assert perplexity(known.train(), some_rows(), batch_size=3) == pytest.approx(expected.exp().item(), rel=1e-5)


def test_the_history_as_a_table():
    frame = run(Tiny()).frame()
    assert frame.columns.tolist() == ["train_loss", "valid_loss", "learning_rate", "gradient_norm", "seconds"]
    assert frame.index.tolist() == list(range(1, 13))
    assert frame["valid_loss"].dropna().index.tolist() == [5, 10, 12]
    assert frame["learning_rate"].max() == CONFIG.learning_rate
    assert (frame["seconds"] > 0).all()
    assert len(TrainingHistory().frame()) == 0


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
    monkeypatch.setattr(torch, "compile", lambda model: lambda tokens: calls.append(1) or model(tokens))
    plain = run(Tiny())
    assert not calls
    assert run(Tiny(), replace(CONFIG, compile=True)).train_losses == plain.train_losses
    assert len(calls) == 12


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


def test_out_of_memory_names_the_mend():
    with pytest.raises(MemoryError, match=r"batch_size=4 rows of length=6 .* set accumulate=2"):
        run(Greedy())
    with pytest.raises(MemoryError, match="batch_size=8"), explain_out_of_memory(8, 3):
        raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB")
    with pytest.raises(RuntimeError, match="shapes"), explain_out_of_memory(8, 3):
        raise RuntimeError("shapes do not fit")


class Breaking(Tiny):
    """Gives no number in its third step."""

    done = 0

    def forward(self, tokens: Tensor) -> Tensor:
        self.done += self.training
        return super().forward(tokens) * (math.nan if self.done == 3 else 1.0)


def test_a_loss_that_is_no_number_stops_before_the_weights_are_spoilt():
    broken, whole = Breaking(), Tiny()
    with pytest.raises(FloatingPointError, match=r"step 3: the loss is nan.*learning_rate below 0\.001"):
        run(broken)
    run(whole, on_step=lambda done, _: done == 2)
    assert same_weights(broken, whole)


@pytest.mark.parametrize(
    ("more", "match"),
    [
        ({"objective": "both"}, "objective must be"),
        ({"objective": "masked"}, "needs mask_id"),
        ({"objective": "masked", "mask_id": 11}, "mask_id=11"),
    ],
)
def test_objectives_that_do_not_fit(more, match):
    with pytest.raises(ValueError, match=match):
        run(Tiny(), **more)


@pytest.mark.parametrize(
    ("train", "valid", "match"),
    [
        (some_rows(vocab=30), None, r"train has ids from 0 to \d\d, but the model knows 0 to 10"),
        (some_rows(), some_rows() - 1, "valid has ids from -1"),
        (some_rows().float(), None, "train must be whole numbers"),
        (some_rows()[0], None, "train must be"),
        (some_rows()[:0], None, "train must be"),
        (some_rows()[:, :1], None, "train must be"),
        ([[1, 2]], None, "train must be .* got list"),
        (some_rows(), [[1, 2]], "valid must be"),
    ],
)
def test_rows_that_do_not_fit(train, valid, match):
    with pytest.raises(ValueError, match=match):
        pretrain(Tiny(), train, valid, CONFIG, progress=False)


def test_a_model_that_gives_no_logits_is_refused():
    with pytest.raises(ValueError, match=r"must give logits \(n, t, vocab\).*\(1, 6, 11, 1\)"):
        run(nn.Sequential(Tiny(), nn.Unflatten(2, (11, 1))))


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
from llmrec_lite.language import checkpoint as store
from llmrec_lite.language.gpt import GPT, GPTConfig
from llmrec_lite.language.pretrain import PretrainConfig, pretrain

torch.set_num_threads(1)
folder, kill = sys.argv[1], sys.argv[2]
if kill == "writing":  # die when the second checkpoint is written but has not got its name
    rename = store.os.replace
    store.os.replace = lambda a, b: os.kill(os.getpid(), signal.SIGKILL) if str(b).endswith("8") else rename(a, b)
rows = torch.randint(50, (40, 17), generator=torch.Generator().manual_seed(0))
model = GPT(GPTConfig(vocab_size=50, d=16, layers=2, heads=2, kv_heads=1, d_ff=32, max_length=16))
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
    unfinished = [path.name for path in tmp_path.glob(".unfinished-*")]
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
    assert not list(tmp_path.glob(".unfinished-*"))


def history_in(path: Path) -> dict:
    history = json.loads(path.read_text())["history"]
    assert len(history.pop("seconds")) == 30
    return history

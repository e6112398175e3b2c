"""Fine-tuning: the loop, exact resume after SIGKILL, and models whose frozen part is computed once."""

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
from peft import AdaLoraConfig, IA3Config, LoraConfig, PromptTuningConfig
from tokenizers import Tokenizer, models, pre_tokenizers
from torch import nn
from torch.nn import functional as F

from llmrec_lite.errors import ModelFileError
from llmrec_lite.language.checkpoint import latest_checkpoint
from llmrec_lite.language.finetune import FinetuneConfig, finetune
from llmrec_lite.language.gpt import GPT, GPTConfig
from llmrec_lite.language.lora import LoRALinear, base_fingerprint, trainable_parameters
from llmrec_lite.language.text_models import Example, MatchModel, TextClassifier
from llmrec_lite.language.trainer import TrainingHistory
from llmrec_lite.language.yes_no import YesNo

ROOT = Path(__file__).parents[2]
CONFIG = FinetuneConfig(epochs=2, batch_size=4, checkpoint_every=3, device="cpu", learning_rate=0.01)
WORDS = ["space", "war", "love", "film", "ship", "star", "sea", "funny", "sad", "old", "new", "robot", "red", "blue"]
TRAIN = ("head", "full", "top1", "lora", "lora-top1")


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
    assert FinetuneConfig(epochs=3, batch_size=4).steps(10) == 8
    assert FinetuneConfig(epochs=0.5, batch_size=4).steps(10) == 2
    assert FinetuneConfig(epochs=3, batch_size=99).steps(10) == 3
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
        {"epochs": 0},
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
    with pytest.raises(ValueError, match=next(iter(wrong))):
        replace(CONFIG, **wrong)


def test_what_cannot_be_trained_is_named():
    with pytest.raises(ValueError, match="no example in train"):
        finetune(Line(), [], None, CONFIG)
    with pytest.raises(ValueError, match="no example in valid; give None"):
        finetune(Line(), points(3), [], CONFIG)
    with pytest.raises(ValueError, match="patience=2 needs validation"):
        finetune(Line(), points(3), None, replace(CONFIG, patience=2))
    with pytest.raises(ValueError, match="nothing in the model requires grad"):
        run(Line().requires_grad_(False))
    with pytest.raises(ValueError, match="Line has no attribute gradient_checkpointing"):
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
    with pytest.raises(FloatingPointError, match=r"step 3: the loss is nan.*learning_rate below 0\.01"):
        run(broken)
    run(whole, on_step=lambda done, _: done == 2)
    assert torch.equal(broken.w, whole.w)
    with pytest.raises(FloatingPointError, match="step 3: the validation loss is inf"):
        run(Breaking(4, lambda loss: loss + math.inf))


@pytest.mark.parametrize("at", [2, 7])  # in training, and in the validation after step 3
def test_out_of_memory_names_the_mends(at):
    with pytest.raises(MemoryError, match=r"batch_size=4 .* accumulate=4 .* gradient_checkpointing=True"):
        run(Breaking(at, lambda loss: loss + torch.empty(2**50)), replace(CONFIG, accumulate=2))


# ---- kill it and go on ----


def interrupted(step):
    def stop(done, history):
        if done == step:
            raise KeyboardInterrupt

    return stop


@pytest.mark.parametrize("step", [2, 3, 13, 14])
def test_a_run_that_was_interrupted_ends_where_it_would_have(tmp_path, step):
    config = replace(CONFIG, epochs=20, learning_rate=0.1, valid_every=2, patience=3, warmup=0.0)
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


# ---- encoders ----


@pytest.fixture(scope="module")
def bert(tmp_path_factory, save_bert):
    return save_bert(tmp_path_factory.mktemp("bert"), WORDS)


@pytest.fixture
def classifier(bert):
    return lambda train="lora-top1", **settings: TextClassifier(bert, max_length=32, train=train, **settings)


def sentences(n, seed=0, longest=9):
    """Does the text name a robot?"""
    rng = np.random.default_rng(seed)
    texts = [" ".join(rng.choice(WORDS, rng.integers(1, longest))) for _ in range(n)]
    return [Example(text, float("robot" in text)) for text in texts]


def plain_loss(model, examples, how="mean"):
    """One padded batch through the whole encoder as `transformers` runs it."""
    batch = model._tokenizer([e.text for e in examples], padding=True, return_tensors="pt")
    states = model.encoder(**batch).last_hidden_state
    mask = batch["attention_mask"][:, :, None].float()
    pooled = (states * mask).sum(1) / mask.sum(1) if how == "mean" else states[:, 0]
    labels = torch.tensor([e.label for e in examples])
    return F.binary_cross_entropy_with_logits(model.head(pooled)[:, 0], labels)


@pytest.mark.parametrize("train", TRAIN)
def test_loss_and_gradients_are_those_of_the_plain_forward(classifier, train):
    model, examples = classifier(train), sentences(40)
    for module in model.modules():
        if isinstance(module, LoRALinear):
            nn.init.normal_(module.B, generator=torch.Generator().manual_seed(1))
    expected = torch.autograd.grad(plain_loss(model, examples), parameters := learning(model), allow_unused=True)
    for _ in range(2):  # the second time from the cache
        loss = model.loss(examples)
        torch.testing.assert_close(loss, plain_loss(model, examples))
        for got, want in zip(torch.autograd.grad(loss, parameters, allow_unused=True), expected, strict=True):
            torch.testing.assert_close(got, want, rtol=1e-4, atol=1e-6)
    assert len(model._cache) == (len({e.text for e in examples}) if train in ("head", "top1", "lora-top1") else 0)


def learning(model):
    return [p for p in model.parameters() if p.requires_grad]


@pytest.mark.parametrize("train", TRAIN)
def test_what_is_frozen_does_not_move_and_what_learns_does(classifier, train):
    model = classifier(train, rank=2)
    before = {name: p.detach().clone() for name, p in model.named_parameters()}
    learns = {name for name, p in model.named_parameters() if p.requires_grad}
    finetune(model, sentences(30), None, CONFIG, progress=False)
    for name, p in model.named_parameters():
        assert torch.equal(p, before[name]) == (name not in learns), name
    n, total = trainable_parameters(model)
    lora = 2 * 2 * (24 + 24)  # rank 2 on query and value
    expected = {"head": 25, "full": total, "lora": 25 + 2 * lora, "lora-top1": 25 + lora}
    assert n == expected.get(train, n)
    assert {"head": 2, "full": -1, "top1": 1, "lora": 0, "lora-top1": 1}[train] == model.first_layer()


@pytest.mark.parametrize("train", ["head", "top1", "lora-top1"])
def test_lower_layers_run_once_a_text(classifier, train, monkeypatch):
    model, rows, examples = classifier(train), [], sentences(20)
    embed = model._embed
    monkeypatch.setattr(model, "_embed", lambda ids: rows.extend(ids.tolist()) or embed(ids))
    finetune(model, examples, sentences(5, 1), CONFIG, progress=False)
    assert len(rows) == len({e.text for e in examples + sentences(5, 1)})
    model.predict(examples)
    assert len(rows) == len({e.text for e in examples + sentences(5, 1)})
    rows.clear()
    model.predict(sentences(9, 2, 20))
    model.predict(sentences(9, 2, 20))
    assert len(rows) > 9  # what is only asked for once is not kept
    model.clear_cache()
    model.cache_bytes = 0
    expected = model.loss(examples)
    assert not model._cache
    model.cache_bytes = 2**20
    torch.testing.assert_close(model.loss(examples), expected)
    assert model._cache


def test_a_change_of_what_learns_empties_the_cache(classifier):
    model, examples = classifier("head"), sentences(10)
    model.loss(examples)
    for weight in model.layers[1].requires_grad_(True).parameters():
        nn.init.normal_(weight, generator=torch.Generator().manual_seed(2))
    torch.testing.assert_close(model.loss(examples), plain_loss(model, examples))


def test_frozen_layers_have_no_dropout_and_others_do(classifier):
    model = classifier("top1").train()
    assert not model.layers[0].training
    assert not model.embedding.training
    assert model.layers[1].training
    examples = sentences(10)
    assert model.loss(examples) != model.loss(examples)
    first = model.predict(examples)
    assert model.training
    np.testing.assert_array_equal(first, model.predict(examples))
    whole = classifier("full").train()
    assert whole.embedding.training


@pytest.mark.parametrize("train", ["top1", "full", "lora"])
def test_gradient_checkpointing_gives_the_same_run(classifier, train):
    one, other = classifier(train), classifier(train)
    expected = finetune(one, sentences(12), None, CONFIG, progress=False)
    calls, forward = [], type(other)._layer
    other._layer = lambda layer, *rest: calls.append(1) or forward(other, layer, *rest)
    got = finetune(other, sentences(12), None, replace(CONFIG, gradient_checkpointing=True), progress=False)
    np.testing.assert_allclose(got.train_losses, expected.train_losses, rtol=1e-5)
    once = len(calls)
    calls.clear()
    third = classifier(train)
    third._layer = lambda layer, *rest: calls.append(1) or forward(third, layer, *rest)
    finetune(third, sentences(12), None, CONFIG, progress=False)
    assert once > len(calls)
    assert not other.gradient_checkpointing


def test_compile_is_used_where_asked_for(classifier, monkeypatch):
    calls = []
    monkeypatch.setattr(TextClassifier, "compile", lambda self, **options: calls.append(options))
    finetune(classifier(), sentences(4), None, CONFIG, progress=False)
    assert not calls
    finetune(classifier(), sentences(4), None, replace(CONFIG, compile=True), progress=False)
    assert calls == [{"dynamic": True}]


@pytest.mark.parametrize("train", ["full", "lora"])
def test_a_classifier_learns(classifier, train):
    model = classifier(train, pretrained=False)
    config = replace(CONFIG, epochs=25, batch_size=16, learning_rate=0.01)
    train_set, test = sentences(80), sentences(40, 1)
    history = finetune(model, train_set, test, config, progress=False)
    assert history.valid_losses[-1] < 0.6 * history.valid_losses[0]
    hits = (model.predict(test) > 0.5) == np.array([e.label > 0.5 for e in test])
    assert hits.mean() > 0.85


def test_predictions_keep_the_order_and_lie_between_0_and_1(classifier):
    model, examples = classifier(), sentences(50, longest=20)
    together = model.predict(examples)
    alone = np.concatenate([model.predict([e]) for e in examples])
    np.testing.assert_allclose(together, alone, atol=1e-5)
    assert together.dtype == np.float32
    assert len(np.unique(together)) > 30
    assert (together > 0).all()
    assert (together < 1).all()


def test_random_weights_come_from_the_seed(classifier, bert):
    one, same, other = (classifier(pretrained=False, seed=seed) for seed in (1, 1, 2))
    assert base_fingerprint(one) == base_fingerprint(same)
    assert base_fingerprint(one) != base_fingerprint(other) != base_fingerprint(classifier())
    assert trainable_parameters(one) == trainable_parameters(classifier())


CONFIGS = {
    "lora": lambda: LoraConfig(r=2, target_modules=["query"], layers_to_transform=[1]),
    "adalora": lambda: AdaLoraConfig(init_r=3, target_r=1, total_step=6, tinit=1, tfinal=2, target_modules=["query"]),
    "ia3": lambda: IA3Config(target_modules=["key", "value"], feedforward_modules=[]),
}


@pytest.mark.parametrize("kind", CONFIGS)
def test_adapters_of_peft_train_save_and_load(classifier, kind, tmp_path):
    model, examples = classifier(peft_config=CONFIGS[kind]()), sentences(12)
    before = base_fingerprint(model)
    history = finetune(model, examples, None, replace(CONFIG, learning_rate=0.05), progress=False)
    assert len(history.train_losses) == 6
    assert base_fingerprint(model) == before
    assert model.first_layer() == (1 if kind == "lora" else 0)
    assert not np.allclose(model.predict(examples), classifier(peft_config=CONFIGS[kind]()).predict(examples))
    if kind == "adalora":  # one rank a layer is left of three
        ranks = [p for name, p in model.named_parameters() if "lora_E" in name]
        assert sum(int((p != 0).sum()) for p in ranks) <= 2
        assert model._regularizer() > 0
    model.save(tmp_path / "a.safetensors")
    again = TextClassifier.load(tmp_path / "a.safetensors")
    np.testing.assert_array_equal(again.predict(examples), model.predict(examples))


def test_prompt_tuning_is_refused(classifier):
    with pytest.raises(ValueError, match="PromptTuningConfig adds to the prompt"):
        classifier(peft_config=PromptTuningConfig(num_virtual_tokens=2, task_type="FEATURE_EXTRACTION"))


@pytest.mark.parametrize("train", TRAIN)
def test_a_model_comes_back(classifier, train, tmp_path):
    model, examples = classifier(train), sentences(12)
    finetune(model, examples, None, CONFIG, progress=False)
    model.save(tmp_path / "a.safetensors")
    again = TextClassifier.load(tmp_path / "a.safetensors")
    np.testing.assert_allclose(again.predict(examples), model.predict(examples), atol=1e-6)
    (tmp_path / "a.safetensors").write_bytes(b"nothing")
    with pytest.raises(ModelFileError, match="damaged"):
        TextClassifier.load(tmp_path / "a.safetensors")


@pytest.mark.parametrize(
    ("settings", "match"),
    [
        ({"train": "tail"}, "not 'tail'"),
        ({"train": "top3"}, "1 to 2 top layers"),
        ({"train": "lora-top0"}, "1 to 2 top layers"),
        ({"max_length": 41}, "not 41"),
        ({"pooling": "median"}, "median"),
        ({"train": "lora", "targets": ["q_proj"]}, "q_proj"),
    ],
)
def test_bad_settings_are_named(bert, settings, match):
    with pytest.raises(ValueError, match=match):
        TextClassifier(bert, **({"max_length": 32} | settings))


@pytest.mark.parametrize(
    ("values", "match"),
    [({"text": " "}, "empty"), ({"text": "a", "label": 2.0}, "label=2"), ({"text": "a \ud83d"}, "half a character")],
)
def test_bad_examples_are_named(values, match):
    with pytest.raises(ValueError, match=match):
        Example(**values)
    with pytest.raises(ValueError, match="label=nan"):
        Example("a", math.nan)


# ---- user and item ----


def pairs(n, seed=0):
    """A text belongs to the one with the same first word."""
    rng = np.random.default_rng(seed)
    rows = [(WORDS[i % len(WORDS)], rng.choice(WORDS, 4)) for i in range(n)]
    return [Example(f"{word} {a} {b}", other=f"{word} {c} {d}") for word, (a, b, c, d) in rows]


def test_the_match_loss_is_infonce(bert):
    model, examples = MatchModel(bert, max_length=32, train="full"), pairs(9)
    left, right = (
        F.normalize(torch.tensor(model.encode(texts)))
        for texts in zip(*((e.text, e.other) for e in examples), strict=True)
    )
    expected = F.cross_entropy(20 * left @ right.T, torch.arange(9))
    assert model.loss(examples).item() == pytest.approx(expected.item(), rel=1e-4)
    np.testing.assert_allclose(model.predict(examples), (left * right).sum(1), atol=1e-6)
    np.testing.assert_allclose(np.linalg.norm(model.encode(["red ship"]), axis=1), 1, rtol=1e-5)
    assert model.encode([]).shape == (0, 24)


def test_what_is_shared_is_no_negative(bert):
    model = MatchModel(bert, max_length=32)
    twice = [Example("red", other="ship"), Example("red", other="sea"), Example("war", other="ship")]
    u, v = (torch.tensor(model.encode(texts)) for texts in (["red", "red", "war"], ["ship", "sea", "ship"]))
    scores = 20 * u @ v.T
    for i, j in ((0, 1), (1, 0), (0, 2), (2, 0)):
        scores[i, j] = -torch.inf
    expected = F.cross_entropy(scores, torch.arange(3))
    assert model.loss(twice).item() == pytest.approx(expected.item(), rel=1e-4)


@pytest.mark.parametrize(("train", "gain"), [("head", 0.1), ("full", 1.5), ("lora", 1.0)])
def test_a_matcher_learns_and_comes_back(bert, train, gain, tmp_path):
    model, data = MatchModel(bert, max_length=32, train=train), pairs(112)
    config = replace(CONFIG, epochs=8, batch_size=14, learning_rate=0.003 if train == "head" else 0.01)
    history = finetune(model, data, pairs(28, 1), config, progress=False)
    assert history.valid_losses[-1] < history.valid_losses[0] - gain
    model.save(tmp_path / "m")
    np.testing.assert_allclose(MatchModel.load(tmp_path / "m").predict(data), model.predict(data), atol=1e-6)


def test_pairs_that_are_none_are_named(bert):
    model = MatchModel(bert, max_length=32)
    with pytest.raises(ValueError, match="needs its other text"):
        model.predict([Example("red")])
    with pytest.raises(ValueError, match=r"leave out label=0\.0"):
        model.loss([Example("red", 0.0, other="sea")])


# ---- a chat model ----


def small_gpt(seed=0, tied=True):
    vocabulary = {word: i for i, word in enumerate(["[UNK]", *WORDS, "Yes", "No"])}
    tokenizer = Tokenizer(models.WordLevel(vocabulary, "[UNK]"))
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    sizes = {"d": 16, "layers": 3, "heads": 2, "kv_heads": 1, "d_ff": 32, "max_length": 16, "tied": tied}
    model = GPT(GPTConfig(vocab_size=len(vocabulary), **sizes), seed, tokenizer)
    with torch.no_grad():
        for p in model.parameters():
            p.mul_(4 if p.dim() > 1 else 1)  # states that differ by more than rounding
    return model


def asked(gpt, text):
    logits = gpt(torch.tensor([gpt.tokenizer.encode(text).ids]))[0, -1]
    yes, no = (gpt.tokenizer.token_to_id(word) for word in ("Yes", "No"))
    return logits[yes] - logits[no]


@pytest.mark.parametrize("tied", [True, False])
@pytest.mark.parametrize("train", ["lora", "lora-top1", "lora-top2", "top1", "full"])
def test_yes_less_no_at_the_last_token_with_gradients(train, tied):
    model, examples = YesNo(small_gpt(tied=tied), train=train), sentences(30)
    for module in model.modules():
        if isinstance(module, LoRALinear):
            nn.init.normal_(module.B, generator=torch.Generator().manual_seed(1))
    parameters, labels = learning(model), torch.tensor([e.label for e in examples])
    plain = torch.stack([asked(model.gpt, e.text) for e in examples])
    expected = F.binary_cross_entropy_with_logits(plain, labels)
    gradients = torch.autograd.grad(expected, parameters, allow_unused=True)
    for _ in range(2):
        loss = model.loss(examples)
        torch.testing.assert_close(loss, expected)
        for got, want in zip(torch.autograd.grad(loss, parameters, allow_unused=True), gradients, strict=True):
            torch.testing.assert_close(got, want, rtol=1e-4, atol=1e-6)
    assert bool(model._cache) == (train in ("lora-top1", "lora-top2", "top1"))
    np.testing.assert_allclose(model.predict(examples), plain.detach().sigmoid(), atol=1e-5)


def test_a_chat_model_learns_from_a_few_examples():
    model, data = YesNo(small_gpt(), train="lora-top2", rank=4), sentences(40)
    config = replace(CONFIG, epochs=25, batch_size=8, learning_rate=0.02)
    history = finetune(model, data, None, config, progress=False)
    assert history.train_losses[-1] < 0.5 * history.train_losses[0]
    n = 2 * 4 * (16 + 16) + 2 * 4 * (16 + 8)  # rank 4 on query (16 -> 16) and value (16 -> 8) of two blocks
    assert trainable_parameters(model)[0] == n


def test_a_chat_model_that_does_not_fit_is_named():
    gpt = small_gpt()
    with pytest.raises(ValueError, match="'red ship' is 2 tokens"):
        YesNo(gpt, yes="red ship")
    with pytest.raises(ValueError, match="no head to train"):
        YesNo(gpt, train="head")
    with pytest.raises(ValueError, match="17 tokens, above max_length=16"):
        YesNo(gpt, train="lora-top1").predict([Example("red " * 17)])
    gpt.tokenizer = None
    with pytest.raises(ValueError, match="no tokenizer"):
        YesNo(gpt)


# ---- on a GPU ----


@pytest.mark.gpu
@pytest.mark.parametrize("train", TRAIN)
def test_cuda_trains_in_bfloat16_and_resumes(classifier, train, tmp_path):
    config, data = replace(CONFIG, device="auto", epochs=4), sentences(20)
    model = classifier(train)
    history = finetune(model, data, data[:5], config, tmp_path, progress=False)
    assert next(model.parameters()).device.type == "cuda"
    on_cpu = finetune(classifier(train), data, data[:5], replace(config, device="cpu"), progress=False)
    np.testing.assert_allclose(history.train_losses[0], on_cpu.train_losses[0], rtol=0.05)
    again = classifier(train)
    assert values(finetune(again, data, data[:5], config, tmp_path, progress=False)) == values(history)
    assert same_weights(model, again)
    assert isinstance(history, TrainingHistory)
    assert model.predict(data).shape == (20,)

"""Text models: the plain forward, frozen layers computed once, adapters, pairs, and what comes back from disk."""

import math
from dataclasses import replace

import numpy as np
import pytest
import torch
from peft import AdaLoraConfig, IA3Config, LoraConfig, PromptTuningConfig
from torch import nn
from torch.nn import functional as F

from llmrec_lite.errors import ModelFileError, SettingError
from llmrec_lite.language.finetune import FinetuneConfig, finetune
from llmrec_lite.language.lora import LoRALinear, base_fingerprint, trainable_parameters
from llmrec_lite.language.text_models import BiEncoder, Example, TextClassifier
from llmrec_lite.language.trainer import TrainingHistory

CONFIG = FinetuneConfig(n_epochs=2, batch_size=4, checkpoint_every=3, device="cpu", learning_rate=0.01)
WORDS = ["space", "war", "love", "film", "ship", "star", "sea", "funny", "sad", "old", "new", "robot", "red", "blue"]
TRAIN = ("head", "full", "top1", "lora", "lora-top1")


def values(history):
    return {name: value for name, value in vars(history).items() if name != "seconds"}


def same_weights(a, b):
    return all(torch.equal(x, y) for x, y in zip(a.state_dict().values(), b.state_dict().values(), strict=True))


# ---- a classifier ----


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
def test_lower_layers_run_once_a_text(classifier, train):
    model, rows, examples = classifier(train), [], sentences(20)
    model.encoder.embeddings.register_forward_pre_hook(
        lambda module, args, named: rows.extend(named["input_ids"].tolist()), with_kwargs=True
    )
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
    rows.clear()
    expected = model.loss(examples)
    once = len(rows)
    model.loss(examples)
    assert len(rows) == 2 * once  # there is no room to keep them
    model.cache_bytes = 2**20
    torch.testing.assert_close(model.loss(examples), expected)
    once = len(rows)
    model.loss(examples)
    assert len(rows) == once


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
    model = classifier(train)
    config = replace(CONFIG, n_epochs=10, batch_size=16, learning_rate=0.01)
    train_set, test = sentences(300), sentences(40, 1)
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
        p, y = model.predict(examples), np.array([e.label for e in examples])
        assert model.loss(examples).item() > -np.log(np.where(y, p, 1 - p)).mean() + 1e-6  # AdaLoRA adds a penalty
    model.save(tmp_path / "a.safetensors")
    again = TextClassifier.load(tmp_path / "a.safetensors")
    np.testing.assert_allclose(again.predict(examples), model.predict(examples), atol=1e-6)  # batches differ


def test_prompt_tuning_is_refused(classifier):
    with pytest.raises(SettingError, match="PromptTuningConfig"):
        classifier(peft_config=PromptTuningConfig(num_virtual_tokens=2, task_type="FEATURE_EXTRACTION"))


@pytest.mark.parametrize("train", TRAIN)
def test_a_model_comes_back(classifier, train, tmp_path):
    model, examples = classifier(train), sentences(12)
    finetune(model, examples, None, CONFIG, progress=False)
    model.save(tmp_path / "a.safetensors")
    again = TextClassifier.load(tmp_path / "a.safetensors")
    np.testing.assert_allclose(again.predict(examples), model.predict(examples), atol=1e-6)
    (tmp_path / "a.safetensors").write_bytes(b"nothing")
    with pytest.raises(ModelFileError, match=r"a\.safetensors"):
        TextClassifier.load(tmp_path / "a.safetensors")


@pytest.mark.parametrize(
    ("settings", "match"),
    [
        ({"train": "tail"}, "tail"),
        ({"train": "top3"}, "top"),
        ({"train": "lora-top0"}, "top"),
        ({"max_length": 41}, "41"),
        ({"pooling": "median"}, "median"),
        ({"train": "lora", "targets": ["q_proj"]}, "q_proj"),
    ],
)
def test_bad_settings_are_named(bert, settings, match):
    with pytest.raises(SettingError, match=match):
        TextClassifier(bert, **({"max_length": 32} | settings))


@pytest.mark.parametrize(
    ("values", "match"),
    [({"text": " "}, "text"), ({"text": "a", "label": 2.0}, "label=2"), ({"text": "a \ud83d"}, "ud83d")],
)
def test_bad_examples_are_named(values, match):
    with pytest.raises(SettingError, match=match):
        Example(**values)
    with pytest.raises(SettingError, match="label=nan"):
        Example("a", math.nan)


# ---- user and item ----


def pairs(n, seed=0):
    """A text belongs to the one with the same first word."""
    rng = np.random.default_rng(seed)
    rows = [(WORDS[i % len(WORDS)], rng.choice(WORDS, 4)) for i in range(n)]
    return [Example(f"{word} {a} {b}", other=f"{word} {c} {d}") for word, (a, b, c, d) in rows]


def test_the_match_loss_is_infonce(bert):
    model, examples = BiEncoder(bert, max_length=32, train="full"), pairs(9)
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
    model = BiEncoder(bert, max_length=32)
    twice = [Example("red", other="ship"), Example("red", other="sea"), Example("war", other="ship")]
    u, v = (torch.tensor(model.encode(texts)) for texts in (["red", "red", "war"], ["ship", "sea", "ship"]))
    scores = 20 * u @ v.T
    for i, j in ((0, 1), (1, 0), (0, 2), (2, 0)):
        scores[i, j] = -torch.inf
    expected = F.cross_entropy(scores, torch.arange(3))
    assert model.loss(twice).item() == pytest.approx(expected.item(), rel=1e-4)


@pytest.mark.parametrize(("train", "gain"), [("head", 0.1), ("full", 1.5), ("lora", 1.0)])
def test_a_matcher_learns_and_comes_back(bert, train, gain, tmp_path):
    model, data = BiEncoder(bert, max_length=32, train=train), pairs(112)
    config = replace(CONFIG, n_epochs=8, batch_size=14, learning_rate=0.003 if train == "head" else 0.01)
    history = finetune(model, data, pairs(28, 1), config, progress=False)
    assert history.valid_losses[-1] < history.valid_losses[0] - gain
    model.save(tmp_path / "m")
    np.testing.assert_allclose(BiEncoder.load(tmp_path / "m").predict(data), model.predict(data), atol=1e-6)


def test_pairs_that_are_none_are_named(bert):
    model = BiEncoder(bert, max_length=32)
    with pytest.raises(SettingError):
        model.predict([Example("red")])
    with pytest.raises(SettingError, match=r"label=0\.0"):
        model.loss([Example("red", 0.0, other="sea")])


# ---- on a GPU ----


@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device here: the same code on a GPU is not tested")
@pytest.mark.parametrize("train", TRAIN)
def test_cuda_trains_in_bfloat16_and_resumes(classifier, train, tmp_path):
    config, data = replace(CONFIG, device="auto", n_epochs=4), sentences(20)
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

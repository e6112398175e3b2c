"""A chat model as a classifier: its logits and gradients by hand, what it learns, and bad input."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from tokenizers import Tokenizer, models, pre_tokenizers
from torch import nn
from torch.nn import functional as F

from llmrec_lite.errors import SettingError
from llmrec_lite.language.finetune import FinetuneConfig, finetune
from llmrec_lite.language.gpt import GPT, GPTConfig
from llmrec_lite.language.lora import LoRALinear, trainable_parameters
from llmrec_lite.language.text_models import Example
from llmrec_lite.language.yes_no import YesNoClassifier

CONFIG = FinetuneConfig(n_epochs=2, batch_size=4, checkpoint_every=3, device="cpu", learning_rate=0.01)
WORDS = ["space", "war", "love", "film", "ship", "star", "sea", "funny", "sad", "old", "new", "robot", "red", "blue"]


def sentences(n, seed=0, longest=9):
    """Does the text name a robot?"""
    rng = np.random.default_rng(seed)
    texts = [" ".join(rng.choice(WORDS, rng.integers(1, longest))) for _ in range(n)]
    return [Example(text, float("robot" in text)) for text in texts]


def learning(model):
    return [p for p in model.parameters() if p.requires_grad]


def small_gpt(seed=0, tied=True):
    vocabulary = {word: i for i, word in enumerate(["[UNK]", *WORDS, "Yes", "No"])}
    tokenizer = Tokenizer(models.WordLevel(vocabulary, "[UNK]"))
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    sizes = {"dim": 16, "layers": 3, "heads": 2, "kv_heads": 1, "d_ff": 32, "max_length": 16, "tied": tied}
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
    model, examples = YesNoClassifier(small_gpt(tied=tied), train=train), sentences(30)
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
    model, data = YesNoClassifier(small_gpt(), train="lora-top2", rank=4), sentences(40)
    config = replace(CONFIG, n_epochs=25, batch_size=8, learning_rate=0.02)
    history = finetune(model, data, None, config, progress=False)
    assert history.train_losses[-1] < 0.5 * history.train_losses[0]
    n = 2 * 4 * (16 + 16) + 2 * 4 * (16 + 8)  # rank 4 on query (16 -> 16) and value (16 -> 8) of two blocks
    assert trainable_parameters(model)[0] == n


def test_a_chat_model_that_does_not_fit_is_named():
    gpt = small_gpt()
    with pytest.raises(SettingError, match="head"):
        YesNoClassifier(gpt, train="head")
    with pytest.raises(SettingError, match=r"17.*max_length=16"):
        YesNoClassifier(gpt, train="lora-top1").predict([Example("red " * 17)])
    gpt.tokenizer = None
    with pytest.raises(SettingError, match="tokenizer"):
        YesNoClassifier(gpt)

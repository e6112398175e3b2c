"""What several tests of Part II share: tiny chat models."""

import pytest
import torch
from tokenizers import Tokenizer, models, pre_tokenizers

from llmrec_lite.language.gpt import GPT, GPTConfig

SMALL = GPTConfig(vocab_size=50, dim=24, layers=2, heads=6, kv_heads=2, d_ff=40, max_length=40)


def _random(model, seed=0):
    """Give large random weights to a model, norms included, so that a wrong part shows in the logits."""
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for weight in model.parameters():
            scale, middle = (0.3, 1.0) if weight.dim() == 1 else (2 / weight.shape[1] ** 0.5, 0.0)
            weight.copy_(torch.randn(weight.shape, generator=generator) * scale + middle)
    return model


@pytest.fixture(scope="session")
def randomize():
    return _random


@pytest.fixture(scope="module")
def small():
    return _random(GPT(SMALL))


@pytest.fixture(scope="module")
def talker():
    """A small model whose tokens are words and letters, so that it has text to write."""
    words = ["<end>", *"abcdefghijklmnopqrstuvwxyz", *(f"w{i}" for i in range(23))]
    tokenizer = Tokenizer(models.WordLevel({word: i for i, word in enumerate(words)}, unk_token="<end>"))
    tokenizer.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    return _random(GPT(SMALL, tokenizer=tokenizer))

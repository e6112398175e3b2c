"""What several tests of Part II share: a tiny encoder in a folder, and tiny chat models."""

import pytest
import torch
from tokenizers import Tokenizer, models, pre_tokenizers
from transformers import BertConfig, BertModel, BertTokenizerFast

from llmrec_lite.language.gpt import GPT, GPTConfig

SMALL = GPTConfig(vocab_size=50, dim=24, layers=2, heads=6, kv_heads=2, d_ff=40, max_length=40)


@pytest.fixture(scope="session")
def save_bert():
    """Give a function (folder, words) that saves a BERT of two layers, 24 numbers wide, which knows these words."""

    def save(folder, words):
        vocabulary = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *words]
        (folder / "vocab.txt").write_text("\n".join(vocabulary))
        BertTokenizerFast(vocab=str(folder / "vocab.txt"), model_max_length=40).save_pretrained(folder)
        torch.manual_seed(0)
        shape = {"hidden_size": 24, "num_hidden_layers": 2, "num_attention_heads": 3, "intermediate_size": 48}
        config = BertConfig(vocab_size=len(vocabulary), max_position_embeddings=40, initializer_range=0.3, **shape)
        BertModel(config, add_pooling_layer=False).save_pretrained(folder)
        return folder

    return save


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

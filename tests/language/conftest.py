"""What several tests of Part II share: a tiny encoder in a folder."""

import pytest
import torch
from transformers import BertConfig, BertModel, BertTokenizerFast


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

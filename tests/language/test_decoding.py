"""Writing text: what is new, where it ends, how it is drawn, and prompts of a chat."""

from collections import Counter

import pytest
import torch

from llmrec_lite.errors import SettingError
from llmrec_lite.language.decoding import KVCache, chat_prompt, pick_token
from llmrec_lite.language.gpt import GPT, GPTConfig


def test_generate_returns_what_is_new(small, talker):
    tokens = small.generate([1, 2, 3], 6)
    assert len(tokens) == 6
    assert small.generate((1, 2, 3), 6, use_cache=False) == tokens
    assert small.generate([1, 2, 3], 0) == []
    text = talker.generate("a b c", 6)
    assert talker.tokenizer is not None
    assert talker.tokenizer.encode(text).ids == talker.generate([1, 2, 3], 6) == tokens


def test_generate_ends(small, talker):
    tokens = small.generate([1, 2, 3], 8)
    end = tokens[4]
    assert small.generate([1, 2, 3], 8, stop=[end]) == tokens[: tokens.index(end)]
    ending = GPT(GPTConfig(**{**vars(small.config), "end_tokens": (end,)}))
    ending.load_state_dict(small.state_dict())
    assert ending.generate([1, 2, 3], 8) == tokens[: tokens.index(end)]
    words = talker.generate("a b c", 8).split()
    assert talker.generate("a b c", 8, stop=[end]).split() == words[: tokens.index(end)]


def test_the_seed_decides_what_is_drawn(small):
    state = torch.random.get_rng_state()
    drawn = [small.generate([1, 2], 12, temperature=1.5, seed=seed) for seed in (1, 1, 2)]
    assert drawn[0] == drawn[1] != drawn[2]
    assert small.generate([1, 2], 12, temperature=2.0) != small.generate([1, 2], 12, temperature=2.0)
    assert torch.equal(torch.random.get_rng_state(), state)
    assert small.generate([1, 2], 12, temperature=1.5, top_k=1, seed=1) == small.generate([1, 2], 12)


@pytest.mark.parametrize(
    ("temperature", "top_k", "top_p"),
    [(1.0, None, None), (0.5, None, None), (2.0, 3, None), (1.0, None, 0.7), (1.5, 4, 0.8), (1.0, 99, 1.0)],
)
def test_drawing_follows_the_probabilities_of_transformers(temperature, top_k, top_p):
    from transformers import LogitsProcessorList, TemperatureLogitsWarper, TopKLogitsWarper, TopPLogitsWarper

    logits = torch.tensor([0.3, 2.0, -1.0, 1.5, 0.0, 1.2])
    steps = [TemperatureLogitsWarper(temperature)]
    steps += [TopKLogitsWarper(top_k)] if top_k else []
    steps += [TopPLogitsWarper(top_p)] if top_p else []
    expected = LogitsProcessorList(steps)(torch.tensor([[0]]), logits[None])[0].softmax(0)
    generator = torch.Generator().manual_seed(0)
    counts = Counter(pick_token(logits, temperature, top_k, top_p, generator) for _ in range(4000))
    for token, p in enumerate(expected.tolist()):
        if p == 0:
            assert counts[token] == 0
        assert counts[token] / 4000 == pytest.approx(p, abs=0.03)
    assert pick_token(logits) == 1


@pytest.mark.parametrize(
    ("call", "said"),
    [
        (lambda m: m.generate([], 3), "prompt"),
        (lambda m: m.generate("a b", 3), "tokenizer"),
        (lambda m: m.generate([1] * 38, 3), "38 .*3 .*max_length=40"),
        (lambda m: m.generate([1], -1), "max_new_tokens.*-1"),
        (lambda m: m.generate([1], 3, temperature=-0.5), "temperature.*-0.5"),
        (lambda m: m.generate([1], 3, temperature=float("nan")), "temperature.*nan"),
        (lambda m: m.generate([1], 3, top_k=0), "top_k.*0"),
        (lambda m: m.generate([1], 3, top_p=0.0), "top_p"),
        (lambda m: m.generate([1], 3, top_p=1.5), "top_p"),
        (lambda m: m(torch.zeros(1, 41, dtype=torch.int64)), "41"),
        (
            lambda m: m(torch.zeros(1, 5, dtype=torch.int64), KVCache(m, 1, 4)),
            "5",
        ),
    ],
)
def test_bad_input_is_one_clear_error(small, call, said):
    with pytest.raises(SettingError, match=said):
        call(small)


def test_a_text_of_nothing(talker):
    with pytest.raises(SettingError, match="prompt"):
        talker.generate("  ", 3)


def test_chat_prompt():
    assert chat_prompt([{"role": "user", "content": "Hi"}], "Be brief.") == (
        "<|im_start|>system\nBe brief.<|im_end|>\n<|im_start|>user\nHi<|im_end|>\n<|im_start|>assistant\n"
    )
    with pytest.raises(SettingError):
        chat_prompt([])


@pytest.mark.parametrize(
    "options", [{"top_p": 0.0}, {"top_p": 1.5}, {"temperature": -1.0}, {"temperature": float("nan")}, {"top_k": 0}]
)
def test_drawing_by_settings_that_cannot_be_is_refused(options):
    with pytest.raises(SettingError, match=next(iter(options))):
        pick_token(torch.tensor([0.0, 1.0]), **{"temperature": 1.0, **options})

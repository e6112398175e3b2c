"""Our GPT beside `transformers`: the same logits, the same text; and what is true of any causal model."""

import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from llmrec_lite.errors import SettingError
from llmrec_lite.language.decoding import KVCache, chat_prompt
from llmrec_lite.language.gpt import GPT, GPTConfig, RMSNorm, rotary_angles, rotate
from llmrec_lite.language.pretrained import smollm2_folder

SMALL = GPTConfig(vocab_size=50, dim=24, layers=2, heads=6, kv_heads=2, d_ff=40, max_length=40)
PROMPTS = (
    "A recommender system is",
    "Once upon a time there was a film in 1995 that",
    "I would like some science fiction. 我想看科幻片。",
    chat_prompt([{"role": "user", "content": "Name three old films, with a sentence about each."}]),
)


def _tokens(*shape: int, vocab: int = 50) -> Tensor:
    return torch.randint(0, vocab, shape, generator=torch.Generator().manual_seed(sum(shape)))


@pytest.fixture(scope="module", params=["tied", "untied"])
def pair(request, tmp_path_factory, randomize) -> tuple[GPT, Any]:
    """A random Llama of `transformers`, saved, and what we load."""
    from transformers import LlamaConfig, LlamaForCausalLM

    config = LlamaConfig(
        vocab_size=300,
        hidden_size=256,
        intermediate_size=512,
        num_hidden_layers=4,
        num_attention_heads=8,
        num_key_value_heads=2,
        max_position_embeddings=128,
        rms_norm_eps=1e-6,
        rope_parameters={"rope_type": "default", "rope_theta": 5000.0},
        tie_word_embeddings=request.param == "tied",
        bos_token_id=None,
        eos_token_id=None,
    )
    theirs = randomize(LlamaForCausalLM(config)).eval()
    folder = tmp_path_factory.mktemp(request.param)
    theirs.save_pretrained(folder)
    return GPT.from_pretrained(folder), theirs


@torch.inference_mode()
def test_a_random_llama_has_the_logits_of_transformers(pair):
    ours, theirs = pair
    tokens = _tokens(3, 100, vocab=300)
    expected = theirs(tokens).logits
    assert expected.std() > 1  # else the tolerance would say little
    torch.testing.assert_close(ours(tokens), expected, atol=1e-4, rtol=0)


@torch.inference_mode()
def test_a_random_llama_writes_the_text_of_transformers(pair):
    ours, theirs = pair
    for tokens in _tokens(2, 12, vocab=300):
        expected = theirs.generate(
            tokens[None], attention_mask=torch.ones(1, 12), max_new_tokens=80, do_sample=False, pad_token_id=0
        )
        assert len(expected[0]) == 92
        for use_cache in (True, False):
            assert ours.generate(tokens.tolist(), 80, use_cache=use_cache) == expected[0, 12:].tolist()


@torch.inference_mode()
def test_attention_maps_equal_transformers(pair):
    ours, theirs = pair
    tokens = _tokens(1, 20, vocab=300)
    theirs.set_attn_implementation("eager")
    expected = torch.cat(theirs(tokens, output_attentions=True).attentions)
    theirs.set_attn_implementation("sdpa")
    maps = ours.attention_maps(tokens[0].tolist())
    assert maps.shape == (4, 8, 20, 20)
    torch.testing.assert_close(maps, expected, atol=1e-5, rtol=0)


def test_gradients_equal_transformers(pair):
    ours, theirs = pair
    tokens = _tokens(2, 30, vocab=300)
    theirs.zero_grad()
    theirs(tokens, labels=tokens).loss.backward()
    ours.zero_grad()
    (-ours.log_probabilities(tokens).mean()).backward()
    expected = theirs.model.layers[1].self_attn.k_proj.weight.grad
    torch.testing.assert_close(ours.blocks[1].attn.key.weight.grad, expected, atol=1e-5, rtol=1e-3)
    torch.testing.assert_close(ours.embed.weight.grad, theirs.model.embed_tokens.weight.grad, atol=1e-5, rtol=1e-3)


def test_what_we_save_transformers_reads(small, tmp_path):
    from transformers import AutoModelForCausalLM

    small.save_pretrained(tmp_path)
    theirs = AutoModelForCausalLM.from_pretrained(tmp_path)
    tokens = _tokens(2, 9)
    with torch.inference_mode():
        torch.testing.assert_close(theirs(tokens).logits, small(tokens), atol=1e-4, rtol=0)
        again = GPT.from_pretrained(tmp_path)
        assert again.config == small.config
        torch.testing.assert_close(again(tokens), small(tokens), rtol=0, atol=0)


@given(cuts=st.lists(st.integers(1, 11), max_size=4, unique=True))
@torch.inference_mode()
def test_reading_in_pieces_with_a_cache_is_reading_at_once(small, cuts):
    tokens = _tokens(3, 12)
    cache = KVCache(small, 3, 12)
    pieces = [small(piece, cache) for piece in tokens.tensor_split(sorted(cuts), dim=1)]
    assert cache.length == 12
    torch.testing.assert_close(torch.cat(pieces, 1), small(tokens), atol=1e-5, rtol=1e-4)


@torch.inference_mode()
def test_a_batch_is_its_texts_and_padding_at_the_end_is_not_seen(small):
    tokens = _tokens(3, 10)
    together = small(tokens)
    for row, alone in zip(together, tokens, strict=True):
        torch.testing.assert_close(row, small(alone[None])[0], atol=1e-5, rtol=1e-4)
    padded = tokens.clone()
    padded[:, 6:] = 0
    torch.testing.assert_close(small(padded)[:, :6], together[:, :6], atol=1e-5, rtol=1e-4)
    assert not torch.allclose(small(padded)[:, 6:], together[:, 6:])


@torch.inference_mode()
def test_attention_maps_look_back_only(small):
    maps = small.attention_maps(list(range(7)))
    assert maps.shape == (2, 6, 7, 7)
    torch.testing.assert_close(maps.sum(-1), torch.ones(2, 6, 7))
    assert (maps.triu(1) == 0).all()
    assert (maps.tril() > 0).any(-1).all()


def test_log_probabilities_follow_the_text(small):
    tokens = _tokens(2, 8)
    scores = small.log_probabilities(tokens)
    assert scores.shape == (2, 7)
    logits = small(tokens)
    assert scores[1, 4].item() == pytest.approx(logits[1, 4].log_softmax(0)[tokens[1, 5]].item(), abs=1e-5)


def test_rotation_keeps_length_and_knows_only_distance():
    cos, sin = rotary_angles(SMALL)
    generator = torch.Generator().manual_seed(1)
    query, key = (torch.randn(4, generator=generator).expand(1, 1, 40, 4) for _ in range(2))
    turned, turned_key = rotate(query, cos, sin)[0, 0], rotate(key, cos, sin)[0, 0]
    torch.testing.assert_close(turned.norm(dim=1), query[0, 0].norm(dim=1))
    products = turned @ turned_key.T
    torch.testing.assert_close(products[5, 2], products[30, 27])
    assert abs(products[5, 2] - products[5, 4]) > 1e-3


def test_rms_norm():
    norm = RMSNorm(2, eps=0.5)
    torch.nn.init.constant_(norm.weight, 2.0)
    torch.testing.assert_close(norm(torch.tensor([3.0, 4.0])), torch.tensor([6.0, 8.0]) / 13**0.5)


def test_first_weights():
    config = GPTConfig(vocab_size=400, dim=128, layers=8, heads=4, kv_heads=4, d_ff=256, tied=False)
    state = torch.random.get_rng_state()
    first, again, other = (GPT(config, seed=seed).state_dict() for seed in (1, 1, 2))
    assert torch.equal(torch.random.get_rng_state(), state)
    for name, weight in first.items():
        assert torch.equal(weight, again[name])
        expected = 0.0 if "norm" in name else 0.005 if name.endswith(("out_proj.weight", "down.weight")) else 0.02
        assert weight.std().item() == pytest.approx(expected, rel=0.03)
        assert weight.mean().item() == pytest.approx(float("norm" in name), abs=1e-3)
        assert "norm" in name or not torch.equal(weight, other[name])


@pytest.mark.parametrize("precision", [torch.float32, torch.bfloat16])
def test_it_learns(precision):
    """A text that repeats itself must become sure, in full precision and in half (autocast)."""
    model = GPT(SMALL)
    tokens = torch.arange(5).repeat(2, 6)
    optimizer = torch.optim.AdamW(model.parameters(), lr=0.01)
    for _ in range(30):
        with torch.autocast("cpu", torch.bfloat16, enabled=precision == torch.bfloat16):
            loss = -model.log_probabilities(tokens).mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    assert loss.item() < 0.1
    assert model.generate([0, 1, 2], 4) == [3, 4, 0, 1]


@pytest.mark.parametrize(
    ("sizes", "said"),
    [
        ({"dim": 30, "heads": 4}, "dim=30.*heads"),
        ({"heads": 6, "kv_heads": 4, "dim": 24}, "heads=6.*kv_heads=4"),
    ],
)
def test_bad_sizes(sizes, said):
    with pytest.raises(SettingError, match=said):
        GPTConfig(vocab_size=10, **sizes)


# The real SmolLM2 ---------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def smollm2() -> GPT:
    return GPT.from_pretrained("smollm2")


@pytest.fixture(scope="module")
def theirs(smollm2) -> Any:
    from transformers import AutoModelForCausalLM

    return AutoModelForCausalLM.from_pretrained(smollm2_folder(), dtype=torch.float32).eval()


@pytest.fixture(scope="module")
def their_tokenizer(smollm2) -> Any:
    from transformers import AutoTokenizer

    return AutoTokenizer.from_pretrained(smollm2_folder())


@pytest.mark.data
@torch.inference_mode()
def test_smollm2_has_the_logits_of_transformers(smollm2, theirs):
    for prompt in PROMPTS:
        tokens = torch.tensor([smollm2.tokenizer.encode(prompt).ids])
        torch.testing.assert_close(smollm2(tokens), theirs(tokens).logits, atol=1e-4, rtol=0)


@pytest.mark.data
@torch.inference_mode()
def test_smollm2_writes_the_text_of_transformers(smollm2, theirs, their_tokenizer):
    for prompt in PROMPTS[1:]:
        batch = their_tokenizer(prompt, return_tensors="pt")
        given = batch["input_ids"][0].tolist()
        assert smollm2.tokenizer.encode(prompt).ids == given
        new = theirs.generate(**batch, max_new_tokens=64, do_sample=False)[0, len(given) :].tolist()
        ended = new[-1] == 2
        assert ended or len(new) == 64
        assert smollm2.generate(given, 64) == new[: len(new) - ended]
    text = their_tokenizer.decode(new, skip_special_tokens=True)
    start = smollm2.generate(prompt, 12)
    assert len(start) > 12
    assert text.startswith(start)


@pytest.mark.data
@torch.inference_mode()
def test_smollm2_writes_the_same_with_and_without_cache(smollm2):
    """Without the cache in one reading: greedy means that the likeliest token after each place is the next one."""
    given = smollm2.tokenizer.encode(PROMPTS[0]).ids
    new = smollm2.generate(given, 64)
    assert len(new) == 64
    assert smollm2(torch.tensor([given + new]))[0, len(given) - 1 : -1].argmax(1).tolist() == new
    assert smollm2.generate(given, 10, use_cache=False) == new[:10]


@pytest.mark.data
def test_smollm2_chat_is_that_of_transformers(their_tokenizer):
    talks = [
        [{"role": "user", "content": "Which film?"}],
        [{"role": "system", "content": "Be short."}, {"role": "user", "content": "Which film?"}],
        [
            {"role": "user", "content": " Two\nlines "},
            {"role": "assistant", "content": "Alien."},
            {"role": "user", "content": "另一部"},
        ],
    ]
    for talk in talks:
        expected = their_tokenizer.apply_chat_template(talk, tokenize=False, add_generation_prompt=True)
        assert chat_prompt(talk) == expected


@pytest.mark.data
def test_smollm2_loads_without_transformers(smollm2):
    code = (
        "import sys; from llmrec_lite.language.gpt import GPT; "
        "GPT.from_pretrained(); print('transformers' in sys.modules)"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=Path(__file__).parents[2]
    )
    assert done.stdout.strip() == "False"

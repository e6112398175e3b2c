"""Our attention and Transformer beside torch's own, and what only a causal or a blind model can and cannot know."""

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn
from torch.nn import functional as F

from llmrec_lite.errors import SettingError
from llmrec_lite.language.attention import (
    MultiHeadAttention,
    TransformerBlock,
    TransformerEncoder,
    causal_mask,
    padding_mask,
    scaled_dot_product_attention,
)


@pytest.fixture
def generator() -> torch.Generator:
    return torch.Generator().manual_seed(3)


def _copy(ours: MultiHeadAttention, theirs: nn.MultiheadAttention) -> None:
    parts = (ours.query, ours.key, ours.value)
    with torch.no_grad():
        theirs.in_proj_weight.copy_(torch.cat([part.weight for part in parts]))
        theirs.in_proj_bias.copy_(torch.cat([part.bias for part in parts]))
        theirs.out_proj.load_state_dict(ours.out_proj.state_dict())


def _randomize(module: nn.Module, generator: torch.Generator) -> None:
    """No weight may keep a start (a bias of zero, a norm of one) that would hide a fault."""
    with torch.no_grad():
        for weight in module.parameters():
            weight.copy_(torch.randn(weight.shape, generator=generator) * 0.3)


def test_the_worked_example_of_one_query():
    query, key = torch.tensor([[1.0, 0.0]]), torch.tensor([[1.0, 0.0], [0.0, 1.0]])
    output, weights = scaled_dot_product_attention(query, key, torch.tensor([[10.0], [20.0]]))
    first = math.exp(1 / math.sqrt(2)) / (math.exp(1 / math.sqrt(2)) + 1)
    torch.testing.assert_close(weights, torch.tensor([[first, 1 - first]]))
    torch.testing.assert_close(output, torch.tensor([[10 * first + 20 * (1 - first)]]))


@given(
    batch=st.lists(st.integers(1, 3), max_size=2),
    t=st.integers(1, 6),
    s=st.integers(1, 6),
    d=st.integers(1, 9),
    e=st.integers(1, 5),
    masked=st.booleans(),
    seed=st.integers(0, 1000),
)
def test_attention_equals_torch(batch, t, s, d, e, masked, seed):
    generator = torch.Generator().manual_seed(seed)
    query, key, value = (
        torch.randn(*batch, *shape, generator=generator, dtype=torch.float64) for shape in ((t, d), (s, d), (s, e))
    )
    mask = torch.rand(*batch, t, s, generator=generator) < 0.6 if masked else None
    if mask is not None:
        mask[..., 0] = True  # a row with no place to look has its own test
    output, weights = scaled_dot_product_attention(query, key, value, mask)
    torch.testing.assert_close(output, F.scaled_dot_product_attention(query, key, value, attn_mask=mask))
    torch.testing.assert_close(weights.sum(-1), torch.ones(*batch, t, dtype=torch.float64))
    if mask is not None:
        assert (weights[~mask] == 0).all()


def test_a_row_that_may_look_nowhere_gives_zeros_and_sound_gradients(generator):
    x = torch.randn(3, 4, generator=generator, requires_grad=True)
    mask = torch.tensor([[True, True, False], [False, False, False], [False, False, True]])
    output, weights = scaled_dot_product_attention(x, x, x, mask)
    assert (output[1] == 0).all()
    assert (weights[1] == 0).all()
    torch.testing.assert_close(output[2], x[2])
    output.sum().backward()
    assert x.grad is not None
    assert x.grad.isfinite().all()


def test_a_mask_of_numbers_is_refused():
    x = torch.zeros(2, 2)
    with pytest.raises(SettingError, match="float32"):
        scaled_dot_product_attention(x, x, x, torch.ones(2, 2))


def test_masks():
    assert causal_mask(3).tolist() == [[True, False, False], [True, True, False], [True, True, True]]
    assert padding_mask([2, 0, 3], 3).tolist() == [[[True, True, False]], [[False] * 3], [[True] * 3]]
    assert padding_mask(torch.tensor([1]), 2).tolist() == [[[True, False]]]


@pytest.mark.parametrize("mask", [None, "causal", "padding", "both"])
def test_heads_equal_torch(mask, generator):
    ours, theirs = MultiHeadAttention(12, 3), nn.MultiheadAttention(12, 3, batch_first=True)
    _randomize(ours, generator)
    _copy(ours, theirs)
    x = torch.randn(2, 5, 12, generator=generator)
    look = {
        None: None,
        "causal": causal_mask(5),
        "padding": padding_mask([5, 3], 5),
        "both": causal_mask(5) & padding_mask([5, 3], 5),
    }[mask]
    output, weights = ours(x, look, return_weights=True)
    expected, expected_weights = theirs(
        x,
        x,
        x,
        attn_mask=~causal_mask(5) if mask in ("causal", "both") else None,
        key_padding_mask=~padding_mask([5, 3], 5)[:, 0] if mask in ("padding", "both") else None,
        average_attn_weights=False,
    )
    torch.testing.assert_close(output, expected)
    torch.testing.assert_close(weights, expected_weights)
    torch.testing.assert_close(ours(x, look), output)


def test_padding_does_not_reach_the_text(generator):
    ours = MultiHeadAttention(8, 2)
    x = torch.randn(2, 4, 8, generator=generator)
    padded = x.clone()
    padded[0, 2:] = 99.0
    mask = padding_mask([2, 4], 4)
    torch.testing.assert_close(ours(x, mask)[0, :2], ours(padded, mask)[0, :2], rtol=0, atol=0)
    torch.testing.assert_close(ours(x, mask)[0, :2], ours(x[:1, :2])[0])


def test_dropout_falls_on_the_weights_in_training_only(generator):
    ours = MultiHeadAttention(8, 2, dropout=0.5)
    x = torch.randn(1, 6, 8, generator=generator)
    with torch.random.fork_rng():
        torch.manual_seed(0)
        assert not torch.equal(ours(x), ours(x))
    ours.eval()
    torch.testing.assert_close(ours(x), ours(x), rtol=0, atol=0)


@pytest.mark.parametrize("activation", ["relu", "gelu"])
def test_block_equals_torch(activation, generator):
    ours = TransformerBlock(12, 3, 20, 0.0, activation)
    theirs = nn.TransformerEncoderLayer(12, 3, 20, 0.0, activation, batch_first=True, norm_first=True)
    _randomize(ours, generator)
    _copy(ours.attn, theirs.self_attn)
    for mine, its in (
        (ours.norm_attn, theirs.norm1),
        (ours.norm_mlp, theirs.norm2),
        (ours.mlp.fc1, theirs.linear1),
        (ours.mlp.fc2, theirs.linear2),
    ):
        its.load_state_dict(mine.state_dict())
    x = torch.randn(2, 5, 12, generator=generator)
    torch.testing.assert_close(ours(x), theirs(x))
    torch.testing.assert_close(ours(x, causal_mask(5)), theirs(x, src_mask=~causal_mask(5)))


def test_encoder_is_its_parts(generator):
    encoder = TransformerEncoder(11, 8, 2, 2, 16, 6)
    _randomize(encoder, generator)
    tokens = torch.tensor([[1, 2, 3], [4, 5, 0]])
    x = encoder.embed.weight[tokens] + encoder.pos_embedding.weight[:3]
    for block in encoder.blocks:
        x = block(x, padding_mask([3, 2], 3))
    torch.testing.assert_close(encoder(tokens, padding_mask([3, 2], 3)), encoder.norm(x))


def test_the_future_does_not_change_the_past(generator):
    encoder = TransformerEncoder(11, 8, 2, 2, 16, 6)
    _randomize(encoder, generator)
    before, after = torch.tensor([[1, 2, 3, 4, 5]]), torch.tensor([[1, 2, 3, 9, 7]])
    torch.testing.assert_close(
        encoder(before, causal_mask(5))[:, :3], encoder(after, causal_mask(5))[:, :3], rtol=0, atol=0
    )
    assert not torch.allclose(encoder(before, causal_mask(5))[:, 3:], encoder(after, causal_mask(5))[:, 3:])
    assert not torch.allclose(encoder(before)[:, :3], encoder(after)[:, :3])  # one that reads both ways sees it


def test_without_positions_order_means_nothing(generator):
    encoder = TransformerEncoder(11, 8, 2, 2, 16, 6)
    _randomize(encoder, generator)
    tokens, order = torch.tensor([[1, 2, 3, 4, 5]]), torch.tensor([3, 0, 4, 1, 2])
    assert not torch.allclose(encoder(tokens)[:, order], encoder(tokens[:, order]), atol=1e-3)
    nn.init.zeros_(encoder.pos_embedding.weight)
    torch.testing.assert_close(encoder(tokens)[:, order], encoder(tokens[:, order]))


def test_the_seed_alone_decides_the_first_weights():
    state = torch.random.get_rng_state()
    first, again, other = (TransformerEncoder(11, 8, 2, 1, 16, 6, seed=seed).state_dict() for seed in (1, 1, 2))
    assert torch.equal(torch.random.get_rng_state(), state)
    for name, weight in first.items():
        assert torch.equal(weight, again[name])
    assert not torch.equal(first["embed.weight"], other["embed.weight"])
    assert not torch.equal(first["blocks.0.mlp.fc1.weight"], other["blocks.0.mlp.fc1.weight"])


def test_one_head_is_an_attention(generator):
    ours, theirs = MultiHeadAttention(6, 1), nn.MultiheadAttention(6, 1, batch_first=True)
    _copy(ours, theirs)
    x = torch.randn(2, 3, 6, generator=generator)
    torch.testing.assert_close(ours(x), theirs(x, x, x)[0])


def test_embeddings_start_small_and_dropout_falls_on_them():
    encoder = TransformerEncoder(400, dim=32, heads=2, layers=0, d_ff=8, max_length=300, dropout=0.5)
    for table in (encoder.embed, encoder.pos_embedding):
        assert table.weight.std().item() == pytest.approx(0.02, rel=0.05)
    tokens = torch.arange(300)[None]
    assert torch.equal(encoder.eval()(tokens), encoder(tokens))
    torch.manual_seed(0)
    kept = encoder.train()(tokens)
    assert not torch.allclose(kept, encoder.eval()(tokens))

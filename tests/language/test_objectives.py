"""Objectives of language models: packing, order, masks, the masked model, perplexity."""

import math

import pytest
import torch
from torch import Tensor, nn

from llmrec_lite.errors import SettingError
from llmrec_lite.language.attention import TransformerEncoder
from llmrec_lite.language.objectives import MaskedLM, batch_rows, mask_tokens, pack, perplexity


def bag(dropout: float = 0.2) -> nn.Sequential:
    """Logits from the last token alone."""
    torch.manual_seed(3)
    return nn.Sequential(nn.Embedding(11, 8), nn.Dropout(dropout), nn.Linear(8, 11))


def some_rows(n: int = 10, vocab: int = 11, length: int = 6, seed: int = 0) -> Tensor:
    return torch.randint(vocab, (n, length + 1), generator=torch.Generator().manual_seed(seed))


def same_weights(a: nn.Module, b: nn.Module) -> bool:
    return all(torch.equal(x, y) for x, y in zip(a.state_dict().values(), b.state_dict().values(), strict=True))


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
        ([[1]], 2, 0, "2 .*3"),
        ([], 1, 0, "0 "),
    ],
)
def test_pack_refuses(lists, length, end, match):
    with pytest.raises(SettingError, match=match):
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


def test_the_masked_model_is_tied_and_counts_by_hand():
    encoder = TransformerEncoder(11, 8, 2, 1, 16, 7, 0.0)
    model = MaskedLM(encoder, 8, 11).eval()
    tokens = some_rows(2)
    expected = model.mlm_head(encoder(tokens, None)) @ encoder.embed.weight.T + model.bias
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


def test_perplexity_of_a_model_that_knows_nothing_is_the_vocabulary():
    model = bag(dropout=0.9).train()
    nn.init.zeros_(model[2].weight)
    nn.init.zeros_(model[2].bias)
    assert perplexity(model, some_rows()) == pytest.approx(11)
    assert model.training  # as it was
    with torch.no_grad():
        model[2].bias[0] = 1000.0  # sure of a token that never comes
    assert perplexity(model, some_rows().clamp(min=1)) == math.inf  # and no error
    known = bag()
    logits = known.eval()(some_rows()[:, :-1]).log_softmax(-1)
    expected = -logits.gather(2, some_rows()[:, 1:, None]).mean()
    assert perplexity(known.train(), some_rows(), batch_size=3) == pytest.approx(expected.exp().item(), rel=1e-5)

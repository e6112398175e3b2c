import numpy as np
import pytest
import torch

from llmrec_lite.errors import SettingError
from llmrec_lite.language.neural_ngram import NeuralNgram, NgramNet
from llmrec_lite.language.ngram import END, AddK

PATTERN = [["the", color, thing, "is", verdict] for color in ("red", "blue") for thing in ("dress", "shirt")
           for verdict in ("fine", "bad")] * 20  # fmt: skip


def small(**options):
    return NeuralNgram(order=3, dim=8, hidden=16, batch_size=64, min_count=1, device="cpu", **options)


def test_logits_are_those_of_the_equation():
    net = NgramNet(n_words=7, order=3, dim=4, hidden=5, dropout=0.5).eval()
    context = torch.tensor([[2, 7]])
    joined = torch.cat([net.embed.weight[2], net.embed.weight[7]])
    hidden = torch.tanh(net.hidden.weight @ joined + net.hidden.bias)
    torch.testing.assert_close(net(context)[0], net.out.weight @ hidden + net.out.bias)


def test_it_learns_what_follows_what():
    model = small(n_epochs=8, learning_rate=0.02).fit(PATTERN)
    assert model.probability("is", ["the", "red", "dress"]) > 0.95
    assert model.probability("fine", ["dress", "is"]) == pytest.approx(0.5, abs=0.1)
    # Two bits of color, thing and verdict in 6 words: no model can do better than 2^(3/6).
    assert 2**0.5 <= model.perplexity(PATTERN) < 1.1 * 2**0.5
    assert "shirt" in model.similar("dress", k=1)


def test_probabilities_agree_with_each_other():
    model = small(n_epochs=1).fit(PATTERN)
    p = model.distribution(["the"])
    assert p.sum() == pytest.approx(1.0)
    logs = model.log_probability(["the", "red", "dress"])
    steps = [model.probability(w, c) for w, c in [("the", []), ("red", ["the"]), ("dress", ["the", "red"]),
                                                  (END, ["the", "red", "dress"])]]  # fmt: skip
    np.testing.assert_allclose(np.exp(logs), steps, rtol=1e-5)


def test_the_seed_decides():
    one, two, other = (small(n_epochs=1, seed=seed).fit(PATTERN).perplexity(PATTERN) for seed in (3, 3, 4))
    assert one == two != other


def test_the_callers_generator_is_left_alone():
    torch.manual_seed(5)
    expected = torch.rand(1)
    torch.manual_seed(5)
    small(n_epochs=1).fit(PATTERN[:4])
    assert torch.rand(1) == expected


def test_training_can_be_watched_and_stopped():
    seen = []
    small(n_epochs=5, on_epoch=lambda epoch, model: seen.append(model.perplexity(PATTERN)) or epoch == 1).fit(PATTERN)
    assert len(seen) == 2
    assert seen[1] < seen[0]


def test_it_beats_counting_where_words_are_alike():
    # "green" was met once; that colors behave alike must be read off the other place it was seen in.
    train = [*PATTERN, ["the", "green", "dress"]]
    test = [["the", "green", "shirt", "is", "fine"]]
    assert small(n_epochs=8, learning_rate=0.02).fit(train).perplexity(test) < AddK(3, 0.1).fit(train).perplexity(test)


def test_bad_questions():
    with pytest.raises(SettingError, match=r"order.*1"):
        NeuralNgram(order=1)
    with pytest.raises(KeyError, match="trousers"):
        small(n_epochs=1).fit(PATTERN[:4]).similar("trousers")

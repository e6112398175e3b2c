import pytest
import torch

from book.experiments.ch10_tuning import WAYS
from llmrec_lite.language.text_models import Example, TextClassifier


@pytest.mark.data
@pytest.mark.parametrize("way", WAYS)
def test_every_way_of_tuning_makes_a_model(way):
    model = TextClassifier(max_length=64, **WAYS[way][0](10))
    assert model.predict([Example("a dress", 1.0), Example("a shirt that fits", 0.0)]).shape == (2,)
    assert any(parameter.requires_grad for parameter in model.parameters())


@pytest.mark.data
def test_from_scratch_has_random_weights_by_its_seed():
    loaded, scratch = ({"train": "full"}, {"train": "full", "pretrained": False})
    first, second, other, known = (
        TextClassifier(**how, seed=seed).layers[0].attention.self.query.weight
        for how, seed in ((scratch, 1), (scratch, 1), (scratch, 2), (loaded, 1))
    )
    assert torch.equal(first, second)
    assert not torch.allclose(first, other)
    assert not torch.allclose(first, known, atol=1e-3)

"""The training loop's parts: schedule, history, best weights, and what is switched on while it runs."""

import math

import numpy as np
import pytest
import torch
from torch import nn

from book.experiments import ch10_gpu
from llmrec_lite.language.trainer import TrainingHistory, TrainingState, cosine_schedule, prepared


@pytest.mark.parametrize("before", [True, False])
def test_attention_that_plans_for_each_length_is_off_while_training_and_then_as_it_was(before):
    cuda, was = torch.backends.cuda, torch.backends.cuda.cudnn_sdp_enabled()
    try:
        cuda.enable_cudnn_sdp(before)
        with prepared(nn.Linear(1, 1), gradient_checkpointing=False, compiled=False):
            assert not cuda.cudnn_sdp_enabled()
        assert cuda.cudnn_sdp_enabled() == before
    finally:
        cuda.enable_cudnn_sdp(was)


def test_the_schedule_by_hand():
    rates = [cosine_schedule(step, total=9, warmup=4, peak=1.0, floor=0.2) for step in range(10)]
    half = 0.2 + 0.4 * (1 + math.sqrt(0.5))
    expected = [0.2, 0.4, 0.6, 0.8, 1.0, half, 0.6, 0.2 + 0.4 * (1 - math.sqrt(0.5)), 0.2, 0.2]
    np.testing.assert_allclose(rates, expected)
    assert cosine_schedule(0, 1, 0, 1.0, 0.0) == 1.0


def test_the_schedule_equals_torch_without_a_warmup():
    weight = nn.Parameter(torch.zeros(1))
    optimizer = torch.optim.SGD([weight], lr=0.3)
    theirs = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, T_max=19, eta_min=0.01)
    for step in range(20):
        assert cosine_schedule(step, 20, 0, 0.3, 0.01) == pytest.approx(theirs.get_last_lr()[0])
        optimizer.step()
        theirs.step()


def test_the_history_as_a_table():
    history = TrainingHistory(valid_steps=[2, 3], valid_losses=[0.5, 0.7])
    for step in range(3):
        history.add(1.0 / (step + 1), 0.1, 2.0, 0.01)
    frame = history.frame()
    assert frame.columns.tolist() == ["train_loss", "valid_loss", "learning_rate", "gradient_norm", "seconds"]
    assert frame.index.tolist() == [1, 2, 3]
    assert frame["valid_loss"].dropna().to_dict() == {2: 0.5, 3: 0.7}
    assert (history.best_step, history.waited) == (2, 1)
    assert len(TrainingHistory().frame()) == 0
    assert TrainingHistory().best_step is None


def test_only_the_best_weights_come_back():
    model = nn.Linear(2, 1)
    model.bias.requires_grad_(False)
    learned = TrainingState(model, keep_best=True)
    nn.init.zeros_(model.weight)
    learned.keep()
    nn.init.ones_(model.weight)
    nn.init.ones_(model.bias)
    learned.restore()
    assert not model.weight.any()
    assert model.bias.item() == 1


@pytest.mark.skipif(torch.cuda.is_available(), reason="here is a CUDA device")
@pytest.mark.parametrize("name", ["gpu_speed", "few_shot_gpu"])
def test_experiments_for_a_gpu_say_that_there_is_none(name):
    with pytest.raises(ValueError, match="CUDA"):
        getattr(ch10_gpu, name)()

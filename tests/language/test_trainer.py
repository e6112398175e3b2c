"""What a training switches on for its time, and off again."""

import pytest
import torch
from torch import nn

from book.experiments import ch10_gpu
from llmrec_lite.language.trainer import prepared


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


@pytest.mark.skipif(torch.cuda.is_available(), reason="here is a CUDA device")
@pytest.mark.parametrize("name", ["gpu_speed", "few_shot_gpu"])
def test_experiments_for_a_gpu_say_that_there_is_none(name):
    with pytest.raises(ValueError, match="needs a CUDA device"):
        getattr(ch10_gpu, name)()

"""The device that "auto" means, and seeds."""

import numpy as np
import pytest
import torch

from llmrec_lite.compute import pick_device, random_seed


def test_auto_is_the_cpu_in_tests_that_are_not_for_cuda():
    assert pick_device("auto") == pick_device() == torch.device("cpu")


@pytest.mark.parametrize("there", [False, True])
@pytest.mark.parametrize("setting", [None, "", "auto"])
def test_auto_takes_cuda_where_there_is_one(monkeypatch, there, setting):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: there)
    if setting is None:
        monkeypatch.delenv("LLMREC_DEVICE")
    else:
        monkeypatch.setenv("LLMREC_DEVICE", setting)
    assert pick_device("auto").type == ("cuda" if there else "cpu")


def test_the_environment_says_what_auto_is_and_a_name_is_kept(monkeypatch):
    monkeypatch.setenv("LLMREC_DEVICE", "meta")
    assert pick_device("auto").type == "meta"
    assert pick_device("cpu").type == "cpu"
    assert pick_device("cuda").type == "cuda"


@pytest.mark.gpu
def test_auto_is_cuda_in_tests_for_cuda():
    assert pick_device("auto").type == "cuda"


def test_seeds_are_the_same_every_time_and_unlike_for_near_numbers():
    seeds = [random_seed(seed, step) for seed in range(20) for step in range(20)]
    assert seeds == [random_seed(seed, step) for seed in range(20) for step in range(20)]
    assert len(set(seeds)) == 400
    assert all(0 <= seed < 2**64 for seed in seeds)
    # Bits of near numbers differ in about half of the places.
    unlike = np.mean([(random_seed(n) ^ random_seed(n + 1)).bit_count() for n in range(200)])
    assert 30 < unlike < 34

"""The device that "auto" means, mini-batch training, random seeds and running out of memory."""

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional as F

from llmrec_lite.compute import adam_epochs, explain_oom, pick_device, random_seed, shuffled_batches
from llmrec_lite.errors import OutOfMemoryError


def line(seed=0):
    torch.manual_seed(seed)
    return nn.Sequential(nn.Linear(3, 1), nn.Dropout(0.0))


X = torch.randn(11, 3, generator=torch.Generator().manual_seed(1))
Y = X @ torch.tensor([1.0, -2.0, 0.5])


@pytest.mark.parametrize("cosine", [True, False])
def test_epochs_are_those_of_a_loop_written_out(cosine):
    ours, theirs, bias = line(), line(), [nn.Parameter(torch.zeros(1)) for _ in range(2)]

    def loss(net, b, rows):
        return F.mse_loss(net(X[rows])[:, 0] + b, Y[rows])

    order = torch.Generator().manual_seed(2)
    epochs = adam_epochs(
        ours,
        lambda: shuffled_batches(11, 4, order),
        lambda rows: loss(ours, bias[0], rows),
        3,
        0.1,
        extra=[bias[0]],
        weight_decay=0.01,
        clip_norm=0.5,
        cosine=cosine,
    )
    losses = list(epochs)
    order, parameters = torch.Generator().manual_seed(2), [*theirs.parameters(), bias[1]]
    optimizer = torch.optim.Adam(parameters, 0.1, weight_decay=0.01)
    for epoch in range(3):
        total = 0.0
        for i, rows in enumerate(torch.randperm(11, generator=order).tensor_split(3)):
            done = (3 * epoch + i) / 9
            optimizer.param_groups[0]["lr"] = 0.1 * (1 + np.cos(np.pi * done)) / 2 if cosine else 0.1
            value = loss(theirs, bias[1], rows)
            optimizer.zero_grad()
            value.backward()
            nn.utils.clip_grad_norm_(parameters, 0.5)
            optimizer.step()
            total += value.item() * len(rows)
        assert losses[epoch] == pytest.approx(total / 11, rel=1e-5)
    for a, b in zip([*ours.parameters(), bias[0]], parameters, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-4, atol=1e-6)


def test_epochs_train_and_stop_when_not_asked_on():
    net = line().eval()
    epochs = adam_epochs(net, lambda: [torch.arange(11)], lambda rows: net(X).square().mean(), 5, 0.1)
    before = net[0].weight.detach().clone()
    next(epochs)
    assert net.training
    after = net[0].weight.detach().clone()
    assert not torch.equal(before, after)
    epochs.close()
    assert torch.equal(net[0].weight, after)


def test_shuffled_batches_hold_every_row_once():
    batches = shuffled_batches(11, 4, torch.Generator().manual_seed(0))
    assert [len(rows) for rows in batches] == [4, 4, 3]
    assert sorted(torch.cat(batches).tolist()) == list(range(11))
    assert torch.cat(batches).tolist() != list(range(11))


@pytest.mark.parametrize(
    "error",
    [
        torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB"),
        RuntimeError("DefaultCPUAllocator: can't allocate memory"),
        MemoryError(),
    ],
)
def test_every_way_to_run_out_of_memory_is_one_error(error):
    with pytest.raises(OutOfMemoryError, match=r"8 rows.*take fewer"), explain_oom("8 rows", "take fewer"):
        raise error


def test_other_errors_stay_what_they_are():
    with pytest.raises(RuntimeError, match="shapes") as caught, explain_oom("8 rows", "take fewer"):
        raise RuntimeError("shapes do not fit")
    assert not isinstance(caught.value, MemoryError)


def test_seeds_of_near_numbers_are_unlike():
    seeds = {random_seed(a, b) for a in range(20) for b in range(20)}
    assert len(seeds) == 400
    assert random_seed(1, 2) == random_seed(1, 2)


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

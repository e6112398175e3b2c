"""Several tasks from one input: losses, gates, gradients that disagree, and what is shared."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch.nn import functional as F

from llmrec_lite.errors import SettingError
from llmrec_lite.meta.multitask import MMoE, MultiTask, SharedBottom, pcgrad, task_losses


def made_up(n=400, seed=0):
    """A number and a yes that depend on the same direction of the inputs."""
    rng = np.random.default_rng(seed)
    x = rng.normal(size=(n, 8)).astype(np.float32)
    signal = x[:, 0] - x[:, 1]
    return x, np.c_[3 + 2 * signal + rng.normal(0, 0.2, n), signal > 0].astype(float)


def test_losses_by_hand_with_labels_missing():
    outputs = torch.tensor([[1.0, 0.0], [3.0, 2.0], [5.0, -1.0]])
    targets = torch.tensor([[2.0, 1.0], [torch.nan, 0.3], [5.0, torch.nan]])
    losses = task_losses(outputs, targets, ["regression", "binary"])
    assert losses[0] == pytest.approx(0.5)  # errors 1 and 0
    expected = F.binary_cross_entropy(torch.sigmoid(torch.tensor([0.0, 2.0])), torch.tensor([1.0, 0.3]))
    assert losses[1].item() == pytest.approx(expected.item(), rel=1e-5)
    nothing = task_losses(outputs, torch.full((3, 2), torch.nan), ["regression", "binary"])
    assert nothing.tolist() == [0, 0]


def test_a_missing_label_has_no_gradient():
    outputs = torch.ones(2, 2, requires_grad=True)
    targets = torch.tensor([[torch.nan, 1.0], [4.0, torch.nan]])
    task_losses(outputs, targets, ["regression", "binary"]).sum().backward()
    assert outputs.grad is not None
    assert outputs.grad[0, 0] == outputs.grad[1, 1] == 0
    assert (outputs.grad[[0, 1], [1, 0]] != 0).all()


def test_gates_mix_the_experts():
    network = MMoE(5, 2, hidden=6, tower=4, experts=3)
    x = torch.randn(7, 5, generator=torch.Generator().manual_seed(0))
    mixture = network.mixture(x)
    assert mixture.shape == (2, 7, 3)
    torch.testing.assert_close(mixture.sum(-1), torch.ones(2, 7))
    one = sum(mixture[1, :, e, None] * expert(x) for e, expert in enumerate(network.shared))
    torch.testing.assert_close(network(x)[:, 1:], network.heads[1](one))
    with torch.no_grad():
        for gate in network.gates:
            gate.weight.zero_()
    torch.testing.assert_close(network.mixture(x), torch.full((2, 7, 3), 1 / 3))
    with pytest.raises(SettingError, match="hidden=7"):
        MMoE(5, 2, hidden=7, experts=3)


def test_experts_cost_about_what_a_bottom_costs():
    bottom, experts = (sum(p.numel() for p in make(384, 2).parameters()) for make in (SharedBottom, MMoE))
    assert experts < 1.15 * bottom


@given(st.integers(0, 10**6), st.integers(2, 4))
def test_pcgrad_leaves_nothing_of_two_that_disagree(seed, p):
    rng = np.random.default_rng(seed)
    first, second = (torch.from_numpy(rng.normal(size=p)) for _ in range(2))
    projected = pcgrad([first, second], rng)
    if first @ second >= 0:
        torch.testing.assert_close(projected, first + second)
    else:
        one = first - (first @ second) / (second @ second) * second
        other = second - (first @ second) / (first @ first) * first
        torch.testing.assert_close(projected, one + other)
        assert projected @ first >= -1e-9  # neither task is made worse, to first order
        assert projected @ second >= -1e-9


@pytest.mark.parametrize("size", [1e-30, 1e-12, 1e-7, 1.0, 1e25])
def test_pcgrad_projects_gradients_of_any_size(size):
    gradients = [torch.tensor([1.0, 0.0]), torch.tensor([-1.0, 1.0])]
    projected = pcgrad([gradient * size for gradient in gradients], np.random.default_rng(0))
    torch.testing.assert_close(projected / size, torch.tensor([0.5, 1.5]))
    uneven = pcgrad([gradients[0] * size, gradients[1]], np.random.default_rng(0))
    torch.testing.assert_close(uneven, torch.tensor([0.5, 0.5]) * size + torch.tensor([0.0, 1.0]))


def test_pcgrad_of_a_gradient_of_zeros():
    projected = pcgrad([torch.zeros(2), torch.tensor([-1.0, 1.0])], np.random.default_rng(0))
    torch.testing.assert_close(projected, torch.tensor([-1.0, 1.0]))


def test_pcgrad_by_hand():
    projected = pcgrad([torch.tensor([1.0, 0.0]), torch.tensor([-1.0, 1.0])], np.random.default_rng(0))
    # (1, 0) loses its part along (-1, 1): (1, 0) + (-1, 1) / 2; (-1, 1) loses its part along (1, 0): (0, 1).
    torch.testing.assert_close(projected, torch.tensor([0.5, 1.5]))


@pytest.mark.parametrize(
    "options",
    [{}, {"sharing": "single_task"}, {"sharing": "experts"}, {"combine": "uncertainty"}, {"combine": "pcgrad"}],
)
def test_every_way_learns_both_tasks(options):
    x, y = made_up()
    model = MultiTask(["regression", "binary"], steps=400, learning_rate=0.01, **options).fit(x[:300], y[:300])
    predicted = model.predict(x[300:])
    assert predicted.dtype == np.float32
    assert np.sqrt(np.square(predicted[:, 0] - y[300:, 0]).mean()) < 0.8  # of a spread of 2.8
    assert ((predicted[:, 1] > 0.5) == y[300:, 1]).mean() > 0.9
    assert predicted[:, 1].min() >= 0
    assert predicted[:, 1].max() <= 1


def test_single_task_is_a_network_for_each_task():
    x, y = made_up()
    both = MultiTask(["regression", "binary"], "single_task", steps=30, seed=3).fit(x, y)
    number = MultiTask(["regression"], "single_task", steps=30, seed=3).fit(x, y[:, :1])
    np.testing.assert_allclose(both.predict(x)[:, :1], number.predict(x), rtol=1e-5)
    assert len(both.networks_) == 2
    with pytest.raises(SettingError, match="single_task"):
        both.gradients(x, y)


def test_a_task_with_few_labels_gains_from_one_with_many():
    x, y = made_up(600)
    few = y.copy()
    few[15:, 0] = np.nan
    errors = []
    for sharing in ("single_task", "bottom"):
        found = []
        for seed in range(3):
            model = MultiTask(["regression", "binary"], sharing, steps=300, learning_rate=0.005, seed=seed)
            model.fit(x[:400], few[:400], (x[400:500], y[400:500]))
            found.append(np.square(model.predict(x[500:])[:, 0] - y[500:, 0]).mean())
        errors.append(np.mean(found))
    assert errors[1] < 0.8 * errors[0]


def test_gradients_of_tasks_that_agree_and_that_do_not():
    x, y = made_up()
    model = MultiTask(["regression", "regression"], steps=1).fit(x, np.c_[y[:, 0], -y[:, 0]])
    # The same tower for both: then opposite labels have opposite gradients, but for the outputs' own size.
    model.networks_[0].heads[1].load_state_dict(model.networks_[0].heads[0].state_dict())
    first, second = model.gradients(x, np.c_[y[:, 0], y[:, 0]] * [1, -1])
    again = model.gradients(x, np.c_[y[:, 0], -y[:, 0]])
    np.testing.assert_array_equal(again, [first, second])
    assert first @ second < 0
    loss = task_losses(model.networks_[0](torch.from_numpy(x)), model._targets(np.c_[y[:, 0], -y[:, 0]]), model.kinds)[
        0
    ]
    wanted = torch.autograd.grad(loss, list(model.networks_[0].shared.parameters()))
    np.testing.assert_allclose(first, torch.cat([g.flatten() for g in wanted]).numpy(), rtol=1e-5)


def test_pcgrad_changes_only_what_is_shared():
    x, y = made_up(64)
    y[:, 1] = 1 - y[:, 1]  # against the first
    options = {"steps": 1, "batch_size": 64, "weight_decay": 0.0}
    plain, cut = (
        MultiTask(["regression", "binary"], combine=c, **options).fit(x, y).networks_[0] for c in ("sum", "pcgrad")
    )
    for one, other in zip(plain.heads.parameters(), cut.heads.parameters(), strict=True):
        torch.testing.assert_close(one, other)
    shared = zip(plain.shared.parameters(), cut.shared.parameters(), strict=True)
    assert not all(torch.equal(one, other) for one, other in shared)


def test_the_best_look_is_kept():
    x, y = made_up(120)
    valid = x[80:], y[80:]
    model = MultiTask(["regression", "binary"], steps=300, learning_rate=0.05, valid_every=10).fit(
        x[:30], y[:30], valid
    )
    last = MultiTask(["regression", "binary"], steps=300, learning_rate=0.05, valid_every=10).fit(x[:30], y[:30])
    kept, ended = (task_losses(m.outputs(x[80:]), m._targets(y[80:]), m.kinds) for m in (model, last))
    assert (kept < ended).all()
    np.testing.assert_allclose(model.valid_losses_, kept, rtol=1e-5)


def test_each_task_stops_when_it_is_best():
    x, y = made_up(120)
    valid = x[80:], y[80:]
    options = {"steps": 300, "learning_rate": 0.05, "valid_every": 10}
    each, one = (
        MultiTask(["regression", "binary"], keep=s, **options).fit(x[:30], y[:30], valid) for s in ("each", "sum")
    )
    assert (each.valid_losses_ <= one.valid_losses_ + 1e-7).all()
    assert each.valid_losses_.sum() < one.valid_losses_.sum()
    assert each.networks_[0] is not each.networks_[1]
    assert one.networks_[0] is one.networks_[1]


def test_another_model_to_start_from():
    x, y = made_up()
    source = MultiTask(["binary"], steps=200).fit(x, y[:, 1:])
    begun = MultiTask(["regression"], steps=1, learning_rate=1e-12).fit(x, y[:, :1], start=source)
    for one, other in zip(source.networks_[0].shared.parameters(), begun.networks_[0].shared.parameters(), strict=True):
        torch.testing.assert_close(one, other)
    with pytest.raises(SettingError):
        MultiTask(["regression"], hidden=32).fit(x, y[:, :1], start=source)


def test_heads_of_another_model_too():
    x, y = made_up()
    source = MultiTask(["regression", "binary"], steps=20).fit(x, y)
    again = MultiTask(["regression", "binary"], steps=1, learning_rate=1e-12, seed=5).fit(
        x, y, start=source, with_heads=True
    )
    np.testing.assert_allclose(again.predict(x), source.predict(x), atol=1e-5)
    with pytest.raises(SettingError):
        MultiTask(["binary", "regression"]).fit(x, y[:, ::-1], start=source, with_heads=True)
    with pytest.raises(SettingError):
        MultiTask(["regression", "binary"]).fit(x, y, with_heads=True)
    with pytest.raises(SettingError):
        MultiTask(["regression", "binary"]).fit(x, y, start=MultiTask(["regression", "binary"]))


def test_a_start_that_is_best_is_kept():
    x, y = made_up()
    source = MultiTask(["regression", "binary"], steps=300).fit(x, y)
    wild = MultiTask(["regression", "binary"], steps=5, learning_rate=1.0, valid_every=5)
    wild.fit(x, y, (x, y), source, with_heads=True)
    np.testing.assert_allclose(wild.predict(x), source.predict(x), atol=1e-5)
    assert wild.valid_losses_.sum() == pytest.approx(
        float(
            task_losses(
                source.outputs(x),
                torch.from_numpy(((y - source.mean_) / source.scale_).astype(np.float32)),
                source.kinds,
            ).sum()
        ),
        rel=1e-5,
    )
    assert np.isnan(MultiTask(["regression"], steps=1).fit(x, y[:, :1]).valid_losses_).all()


def test_seeds_repeat_and_leave_no_trace():
    x, y = made_up(100)
    state = torch.get_rng_state()
    first, again, other = (MultiTask(["regression", "binary"], steps=5, seed=s).fit(x, y).predict(x) for s in (0, 0, 1))
    np.testing.assert_array_equal(first, again)
    assert not np.allclose(first, other)
    assert torch.equal(torch.get_rng_state(), state)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: MultiTask([]), "kinds"),
        (lambda: MultiTask(["stars"]), "stars"),
        (lambda: MultiTask(["binary"], "both"), "sharing='both'"),
        (lambda: MultiTask(["binary"], combine="max"), "combine='max'"),
        (lambda: MultiTask(["binary"], keep="last"), "last"),
        (lambda: MultiTask(["binary"], steps=0), "steps"),
        (lambda: MultiTask(["binary"]).fit(np.ones((3, 2)), np.ones((3, 2))), "3 rows"),
        (lambda: MultiTask(["binary"]).fit(np.ones((3, 2)), np.full((3, 1), np.nan)), "task 0"),
    ],
)
def test_bad_input(make, message):
    with pytest.raises(SettingError, match=message):
        make()

"""Meta-learners: by hand, against torch's own optimizers, and what must stay as it is."""

import copy

import numpy as np
import pytest
import torch
from torch import nn

from llmrec_lite.errors import DivergedError, SettingError
from llmrec_lite.meta.learners import JointTraining, gradient_descent, masked_mse
from llmrec_lite.meta.tasks import Task, collate


class Line(nn.Module):
    """y = x . w + b, the model that a hand can follow."""

    def __init__(self, d=1):
        super().__init__()
        self.w, self.b = nn.Parameter(torch.zeros(d)), nn.Parameter(torch.zeros(()))

    def forward(self, x):
        return x @ self.w + self.b


def task(slope, n=5, m=6, d=1, seed=0, task_id=None):
    """A line through the origin with its own slope."""
    rng = np.random.default_rng(seed)
    x = rng.normal(size=(n + m, d)).astype(np.float32)
    y = (x.sum(1) * slope).astype(np.float32)
    return Task(x[:n], y[:n], x[n:], y[n:], task_id)


def network(seed=0):
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        return nn.Sequential(nn.Linear(3, 8), nn.Tanh(), nn.Linear(8, 1), nn.Flatten(0))


def tensors(t):
    return torch.from_numpy(t.support_x), torch.from_numpy(t.support_y), torch.ones(len(t.support_y), dtype=torch.bool)


def test_errors_count_only_what_is_real():
    predictions, targets = (
        torch.tensor([[1.0, 2.0, 9.0], [0.0, 0.0, 0.0]]),
        torch.tensor([[0.0, 4.0, 0.0], [7.0, 7.0, 7.0]]),
    )
    mask = torch.tensor([[True, True, False], [False, False, False]])
    assert masked_mse(predictions, targets, mask).tolist() == [2.5, 0.0]
    bad = torch.full((1, 1), torch.nan, requires_grad=True)
    masked_mse(bad, torch.zeros(1, 1), torch.zeros(1, 1, dtype=torch.bool)).sum().backward()
    assert bad.grad.item() == 0  # what fills up never reaches a gradient


def test_one_step_by_hand():
    # f = w x + b from 0 on (x, y) = (1, 2), (2, 2): mean gradient of w is -(1 * 2 + 2 * 2) = -6, of b -4.
    x, y, mask = torch.tensor([[1.0], [2.0]]), torch.tensor([2.0, 2.0]), torch.ones(2, dtype=torch.bool)
    weights = dict(Line().named_parameters())
    after = gradient_descent(Line(), weights, x, y, mask, 0.1, 1)
    assert after["w"].tolist() == pytest.approx([0.6])
    assert after["b"].item() == pytest.approx(0.4)
    only = gradient_descent(Line(), weights, x, y, mask, 0.1, 1, adapted_params=["b"])
    assert only["w"].tolist() == [0.0]
    own = gradient_descent(Line(), weights, x, y, mask, {"w": torch.tensor([0.2]), "b": torch.tensor(0.0)}, 1)
    assert (own["w"].item(), own["b"].item()) == (pytest.approx(1.2), 0.0)


def test_several_steps_are_those_of_torch():
    model, t = network(), task(2.0, d=3)
    x, y, mask = tensors(t)
    after = gradient_descent(model, dict(model.named_parameters()), x, y, mask, 0.05, 4)
    twin = copy.deepcopy(model)
    optimizer = torch.optim.SGD(twin.parameters(), lr=0.05)
    for _ in range(4):
        optimizer.zero_grad()
        nn.functional.mse_loss(twin(x), y).backward()
        optimizer.step()
    for name, weight in twin.named_parameters():
        torch.testing.assert_close(after[name], weight, rtol=1e-5, atol=1e-6)


def test_the_graph_holds_the_second_order_only_where_it_is_asked_for():
    # From w = 0, b frozen: w' = w - r 2 mean(x (w x - y)), so dw'/dw = 1 - 2 r mean(x^2); without a graph it is 1.
    x, y, mask = torch.tensor([[1.0], [2.0]]), torch.tensor([2.0, 2.0]), torch.ones(2, dtype=torch.bool)
    for create_graph, slope in ((True, 1 - 2 * 0.1 * 2.5), (False, 1.0)):
        weights = {"w": torch.zeros(1, requires_grad=True), "b": torch.zeros(())}
        after = gradient_descent(Line(), weights, x, y, mask, 0.1, 1, adapted_params=["w"], create_graph=create_graph)
        (gradient,) = torch.autograd.grad(after["w"].sum(), weights["w"])
        assert gradient.item() == pytest.approx(slope)


def test_joint_training_is_training_on_everything():
    tasks = [task(s, n=n, d=3, seed=i) for i, (s, n) in enumerate(((1.0, 5), (2.0, 2), (-1.0, 0)))]
    joint = JointTraining(network(), steps=20, batch_size=3, learning_rate=0.01)
    joint.meta_fit(tasks)
    twin = network()
    optimizer = torch.optim.Adam(twin.parameters(), lr=0.01)
    for _ in range(20):
        optimizer.zero_grad()
        losses = [
            nn.functional.mse_loss(
                twin(torch.from_numpy(np.r_[t.support_x, t.query_x])), torch.from_numpy(np.r_[t.support_y, t.query_y])
            )
            for t in tasks
        ]
        torch.stack(losses).mean().backward()
        nn.utils.clip_grad_norm_(twin.parameters(), 10.0)
        optimizer.step()
    for name, weight in twin.named_parameters():
        torch.testing.assert_close(joint.weights_[name].detach(), weight.detach(), rtol=1e-4, atol=1e-5)


def test_two_opposed_tasks_have_a_joint_optimum_that_serves_neither_until_it_adapts():
    tasks = [task(2.0, n=8, seed=1), task(-2.0, n=8, seed=1)]
    joint = JointTraining(Line(), inner_lr=0.2, inner_steps=20, steps=300, learning_rate=0.05).meta_fit(tasks)
    assert abs(joint.weights_["w"].item()) < 0.05  # the mean of the slopes
    for t, slope in zip(tasks, (2, -2), strict=True):
        predict = joint.adapt(t)
        assert predict(np.array([[1.0]], np.float32))[0] == pytest.approx(slope, abs=0.1)


def test_adapting_leaves_the_initialization():
    joint, t = JointTraining(network(), steps=3).meta_fit([task(1.0, d=3)]), task(5.0, d=3, seed=3)
    before = {name: weight.detach().clone() for name, weight in joint.weights_.items()}
    predict = joint.adapt(t)
    assert not np.allclose(predict(t.query_x), joint.adapt((t.support_x[:0], t.support_y[:0]))(t.query_x))
    for name, weight in joint.weights_.items():
        assert torch.equal(weight, before[name])
    np.testing.assert_array_equal(predict(t.query_x), joint.adapt((t.support_x, t.support_y))(t.query_x))


def test_an_empty_support_gives_what_all_have_in_common():
    joint = JointTraining(network(), inner_steps=5).initialize()
    x = task(1.0, d=3).query_x
    predicted = joint.adapt((np.zeros((0, 3), np.float32), np.zeros(0)))(x)
    np.testing.assert_allclose(predicted, network()(torch.from_numpy(x)).detach().numpy(), rtol=1e-6)
    assert predicted.dtype == np.float32


def test_the_best_validation_is_kept_and_seeds_repeat():
    # Training pulls to slope 3, validation wants slope 1 without adapting: the best lies on the way.
    fit, valid = [task(3.0, seed=i) for i in range(4)], [task(1.0, seed=9)]
    options = {"inner_steps": 0, "steps": 60, "learning_rate": 0.1, "valid_every": 2, "batch_size": 2}
    joint = JointTraining(Line(), **options).meta_fit(fit, valid)
    step, lowest = min(joint.valid_losses_, key=lambda pair: pair[1])
    assert 2 <= step < 60
    assert joint.query_loss(valid) == pytest.approx(lowest)
    assert joint.valid_losses_[-1][1] > 2 * lowest
    again = JointTraining(Line(), **options).meta_fit(fit, valid)
    assert again.losses_ == joint.losses_
    assert JointTraining(Line(), **options, seed=1).meta_fit(fit).losses_ != joint.losses_


def test_the_model_that_was_given_is_not_trained():
    model = network()
    before = copy.deepcopy(model.state_dict())
    JointTraining(model, steps=5).meta_fit([task(1.0, d=3)])
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())


def test_what_diverges_is_said():
    with pytest.raises(DivergedError, match="1000"):
        JointTraining(Line(), inner_lr=1000.0, inner_steps=40).initialize().adapt(task(2.0))
    huge = Task(
        np.full((1, 1), 1e30, np.float32), np.ones(1, np.float32), np.ones((1, 1), np.float32), np.ones(1, np.float32)
    )
    model = Line()
    nn.init.ones_(model.w)
    with pytest.raises(DivergedError, match="inf"):
        JointTraining(model).meta_fit([huge])


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"inner_lr": 0.0}, "inner_lr=0.0"),
        ({"inner_lr": float("nan")}, "inner_lr=nan"),
        ({"inner_steps": -1}, "inner_steps=-1"),
        ({"batch_size": 0}, "batch_size=0"),
        ({"learning_rate": float("inf")}, "learning_rate=inf"),
    ],
)
def test_bad_settings(options, message):
    with pytest.raises(SettingError, match=message):
        JointTraining(Line(), **options)


def test_bad_supports():
    joint = JointTraining(Line()).initialize()
    with pytest.raises(SettingError, match="2"):
        joint.adapt((np.ones((2, 1), np.float32), np.ones(3)))
    with pytest.raises(SettingError, match="nan"):
        joint.adapt((np.ones((1, 1), np.float32), np.array([np.nan])))
    with pytest.raises(SettingError):
        joint.meta_fit([])
    assert collate([task(1.0)]).query_y.shape == (1, 6)

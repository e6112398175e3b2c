"""Reptile: the interpolation by hand, its own special cases, and that it learns to adapt."""

import numpy as np
import pytest
import torch
from torch import nn
from torch.func import functional_call

from llmrec_lite.errors import DivergedError, SettingError
from llmrec_lite.meta import reptile
from llmrec_lite.meta.features import RatingNetwork
from llmrec_lite.meta.learners import JointTraining, masked_mse
from llmrec_lite.meta.reptile import Reptile
from llmrec_lite.meta.tasks import Task, collate


class Slope(nn.Module):
    """f(x) = w x."""

    def __init__(self, w=0.0):
        super().__init__()
        self.w = nn.Parameter(torch.tensor(w))

    def forward(self, x):
        return self.w * x


def point(x, y):
    """A task of two equal examples, one in the support and one in the query."""
    a, b = np.array([x], np.float32), np.array([y], np.float32)
    return Task(a, b, a, b)


def test_one_update_by_hand():
    # Loss (w x - y)^2 at x = 1: a step of rate 0.1 from w = 0 leads to 0.2 y, a second one to 0.36 y.
    # Tasks y = 1 and y = 3: mean of the ends 0.72; half of the way there is 0.36.
    learner = Reptile(Slope(), 0.1, 2, outer_lr=0.5, steps=1).meta_fit([point(1, 1), point(1, 3)])
    assert learner.weights_["w"].item() == pytest.approx(0.36)


def test_the_way_grows_shorter_and_the_end_is_nearly_the_mean():
    learner = Reptile(Slope(), 0.1, 2, outer_lr=1.0, steps=2).meta_fit([point(1, 1), point(1, 3)])
    # First all the way to 0.72; from there w' = y + 0.64 (w - y), mean 1.1808; then half of that way.
    assert learner.weights_["w"].item() == pytest.approx(0.72 + (1.1808 - 0.72) / 2)


def test_the_gradient_of_its_loss_is_the_way_back():
    rng = np.random.default_rng(0)
    tasks = [Task(*(v.astype(np.float32) for v in (rng.normal(size=(4, 5)), rng.normal(size=4)) * 2)) for _ in range(3)]
    learner = Reptile(RatingNetwork(5, (4,)), 0.1, 3, minibatch=99).initialize()
    batch = collate(tasks)
    target = learner.mean_adapted(batch)
    by_hand = []
    for task in tasks:  # one after the other, on support and query together
        x, y = (
            torch.from_numpy(np.concatenate(p))
            for p in ((task.support_x, task.query_x), (task.support_y, task.query_y))
        )
        weights = dict(learner.weights_)
        for _ in range(3):
            loss = masked_mse(functional_call(learner.model, weights, (x,)), y, torch.ones(8, dtype=torch.bool))
            slopes = torch.autograd.grad(loss, list(weights.values()))
            weights = {n: w - 0.1 * g for (n, w), g in zip(weights.items(), slopes, strict=True)}
        by_hand.append(weights)
    for name, mean in target.items():
        torch.testing.assert_close(mean, torch.stack([w[name] for w in by_hand]).mean(0).detach())
    learner.meta_loss(batch).backward()
    for name, w in learner.weights_.items():
        torch.testing.assert_close(w.grad, w.detach() - target[name])


def test_one_inner_step_is_joint_training():
    """theta - theta' is then the rate times the mean gradient."""
    tasks = [point(1.0, 1.0), point(2.0, 1.0), point(0.5, -1.0)]
    learner = Reptile(Slope(0.3), 0.1, 1, outer_lr=1.0, train_steps=1, steps=1, batch_size=3)
    before = {n: w.detach().clone().requires_grad_() for n, w in learner.initialize().weights_.items()}
    joint = JointTraining(Slope(0.3)).initialize()
    joint.weights_ = before
    (slope,) = torch.autograd.grad(joint.meta_loss(collate(tasks)), list(before.values()))
    learner.meta_fit(tasks)
    assert learner.weights_["w"].item() == pytest.approx(0.3 - 0.1 * slope.item(), rel=1e-5)


def test_each_step_sees_some_real_examples(monkeypatch):
    seen, ready = [], reptile.adapt_batch

    def spy(model, weights, x, y, parts, rate):
        seen.extend(parts)
        return ready(model, weights, x, y, parts, rate)

    monkeypatch.setattr(reptile, "adapt_batch", spy)
    rng = np.random.default_rng(0)
    tasks = [Task(*(rng.normal(size=n).astype(np.float32) for n in (k, k, 3, 3))) for k in (9, 2)]
    Reptile(Slope(), 0.01, 4, minibatch=6, steps=1).meta_fit(tasks)
    assert len(seen) == 4
    for part in seen:
        assert sorted(part.sum(1).tolist()) == [5, 6]  # the shorter task has five in all
    assert len({tuple(part.flatten().tolist()) for part in seen}) > 1


def wave(seed, n=10):
    rng = np.random.default_rng(seed)
    height, shift, x = rng.uniform(0.5, 2), rng.uniform(0, 3), rng.uniform(-1, 1, (n + 20, 1)).astype(np.float32)
    y = (height * np.sin(3 * x[:, 0] + shift)).astype(np.float32)
    return Task(x[:n], y[:n], x[n:], y[n:])


def test_it_learns_to_adapt_where_joint_training_cannot():
    with torch.random.fork_rng():
        torch.manual_seed(0)
        layers = nn.Linear(1, 24), nn.Tanh(), nn.Linear(24, 24), nn.Tanh(), nn.Linear(24, 1)
        small = nn.Sequential(*layers, nn.Flatten(-2))
    train, new = [wave(i) for i in range(120)], [wave(1000 + i) for i in range(30)]
    joint = JointTraining(small, 0.1, 8, steps=300, batch_size=16, learning_rate=3e-3).meta_fit(train)
    learner = Reptile(small, 0.1, 8, 1.0, train_steps=16, steps=300, batch_size=16).meta_fit(train)
    assert learner.query_loss(new) < 0.6 * joint.query_loss(new)


def test_training_again_gives_the_same():
    runs = [Reptile(Slope(), 0.1, 3, steps=4).meta_fit([point(1, 1), point(1, 3)]).weights_["w"].item() for _ in "ab"]
    assert runs[0] == runs[1]


def test_training_once_more_forgets_what_was_learned():
    learner = Reptile(Slope(), 0.1, 2, outer_lr=0.5, steps=1)
    for _ in range(2):
        learner.meta_fit([point(1, 1), point(1, 3)])
    assert learner.weights_["w"].item() == pytest.approx(0.36)
    assert len(learner.losses_) == 1


def test_without_inner_steps_it_trains_with_one_and_does_not_adapt():
    tasks = [point(1, 1), point(1, 3)]
    none, one = (Reptile(Slope(), 0.1, steps, outer_lr=0.5, steps=1).meta_fit(tasks) for steps in (0, 1))
    # One step of rate 0.1 from 0 leads to 0.2 y, mean 0.4; half of the way there is 0.2.
    assert none.weights_["w"].item() == one.weights_["w"].item() == pytest.approx(0.2)
    assert none.adapt(tasks[0])(np.ones(1, np.float32)) == pytest.approx(0.2)


def test_what_cannot_be_is_named():
    with pytest.raises(SettingError, match=r"outer_lr=1.5"):
        Reptile(Slope(), outer_lr=1.5)
    with pytest.raises(SettingError, match="train_steps=0"):
        Reptile(Slope(), train_steps=0)
    with pytest.raises(SettingError, match="minibatch=0"):
        Reptile(Slope(), minibatch=0)
    with pytest.raises(DivergedError, match="inner_lr"):
        Reptile(Slope(), 1e9, 9, steps=3).meta_fit([point(1, 1)])

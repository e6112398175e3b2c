"""MAML: the gradient against a loop, finite differences and two libraries, and what must go wrong loudly."""

import numpy as np
import pytest
import torch
from torch import nn
from torch.func import functional_call

from llmrec_lite.errors import DivergedError, SettingError
from llmrec_lite.meta.features import RatingNetwork
from llmrec_lite.meta.learners import JointTraining, adapt_batch, gradient_descent, masked_mse, predict_batch
from llmrec_lite.meta.maml import MAML, head_of, query_losses
from llmrec_lite.meta.tasks import Batch, Task, collate

ORDERS = (1, 2)


def rating_network(d=7, seed=0, head=True):
    model = RatingNetwork(d, (6, 5), seed=seed).double()
    if head:  # a head of zeros hides mistakes in the layers below
        with torch.no_grad():
            model.head.weight.normal_(generator=torch.Generator().manual_seed(seed))
    return model


def sequential(d=7, seed=0):
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        return nn.Sequential(nn.Linear(d, 6), nn.Tanh(), nn.Linear(6, 1), nn.Flatten(-2)).double()


def batch(d=7, seed=0, supports=(5, 3, 1, 0), queries=(4, 2, 3, 1)):
    """Ragged tasks, one with a single example and one with none."""
    rng = np.random.default_rng(seed)
    tasks = [
        Task(rng.normal(size=(k, d)), rng.normal(size=k), rng.normal(size=(q, d)), rng.normal(size=q))
        for k, q in zip(supports, queries, strict=True)
    ]
    made = collate(tasks)
    return Batch(**{n: v.double() if v.dtype == torch.float32 else v for n, v in vars(made).items()})


def weights_of(model):
    return {name: p.detach().clone().requires_grad_() for name, p in model.named_parameters()}


def meta_gradient(model, *args, weights=None, **options):
    weights = weights or weights_of(model)
    losses = query_losses(model, weights, *args, **options)
    return losses.detach(), torch.autograd.grad(losses.mean(), list(weights.values()))


def loop_losses(model, weights, batch, inner_lrs, steps, adapted_params=None, order=2):
    """Query losses, one task after the other."""
    losses = []
    for i in range(len(batch.query_y)):
        support = batch.support_x[i], batch.support_y[i], batch.support_mask[i]
        end = gradient_descent(model, weights, *support, inner_lrs, steps, adapted_params, create_graph=order == 2)
        losses.append(
            masked_mse(functional_call(model, end, (batch.query_x[i],)), batch.query_y[i], batch.query_mask[i])
        )
    return torch.stack(losses)


@pytest.mark.parametrize("make", [rating_network, sequential])
@pytest.mark.parametrize("head", [False, True])
@pytest.mark.parametrize("order", ORDERS)
@pytest.mark.parametrize("own_rates", [False, True])
def test_all_tasks_at_once_are_a_loop_over_tasks(make, head, order, own_rates):
    model, inner_lrs = make(), 0.1
    weights = weights_of(model)
    names = head_of(weights) if head else None
    if own_rates:
        generator = torch.Generator().manual_seed(1)
        inner_lrs = {n: torch.rand(p.shape, generator=generator).double() / 5 for n, p in model.named_parameters()}
    wanted = loop_losses(model, weights, batch(), inner_lrs, 4, names, order)
    losses, gradients = meta_gradient(model, batch(), inner_lrs, 4, adapted_params=names, order=order, weights=weights)
    torch.testing.assert_close(losses, wanted.detach(), rtol=0, atol=1e-10)
    for got, slope in zip(gradients, torch.autograd.grad(wanted.mean(), list(weights.values())), strict=True):
        torch.testing.assert_close(got, slope, rtol=0, atol=1e-10)


@pytest.mark.parametrize("make", [rating_network, sequential])
@pytest.mark.parametrize("steps", [0, 1, 3])
def test_the_whole_gradient_is_that_of_finite_differences(make, steps):
    model, tasks = make(), batch()
    weights = weights_of(model)
    names = list(weights)

    def losses(*values):
        return query_losses(model, dict(zip(names, values, strict=True)), tasks, 0.2, steps)

    assert torch.autograd.gradcheck(losses, tuple(weights.values()))


def test_first_order_is_another_gradient_of_the_same_loss():
    first, second = (meta_gradient(rating_network(), batch(), 0.2, 3, order=order) for order in ORDERS)
    torch.testing.assert_close(first[0], second[0])
    gaps = [(a - b).abs().max().item() for a, b in zip(first[1], second[1], strict=True)]
    assert max(gaps) > 1e-3


def test_first_order_is_the_gradient_where_the_adaptation_ends():
    model, tasks = rating_network(), batch(supports=(5,), queries=(4,))
    _, got = meta_gradient(model, tasks, 0.2, 3, order=1)
    learner = MAML(model, 0.2, 3).initialize()
    end = learner.adapted(tasks.support_x[0], tasks.support_y[0], tasks.support_mask[0])
    end = {name: w.detach().requires_grad_() for name, w in end.items()}
    loss = masked_mse(functional_call(model, end, (tasks.query_x[0],)), tasks.query_y[0], tasks.query_mask[0])
    for a, b in zip(got, torch.autograd.grad(loss, list(end.values())), strict=True):
        torch.testing.assert_close(a, b)


class Slope(nn.Module):
    """f(x) = w x."""

    def __init__(self, w=0.5):
        super().__init__()
        self.w = nn.Parameter(torch.tensor(w, dtype=torch.float64))

    def forward(self, x):
        return self.w * x


def test_by_hand():
    # Support (1, 2): loss (w - 2)^2, gradient 2 (w - 2) = -3 at w = 0.5; rate 0.1 leads to 0.8, with dw'/dw = 0.8.
    # Query (2, 0): loss 4 w'^2 = 2.56, and its gradient 8 w' = 6.4, times 0.8 for the second order.
    one = Batch(*(torch.tensor([[v]]) for v in (1.0, 2.0, True, 2.0, 0.0, True)))
    one = Batch(**{n: v.double() if v.dtype == torch.float32 else v for n, v in vars(one).items()})
    for order, slope in ((1, 6.4), (2, 5.12)):
        losses, (gradient,) = meta_gradient(Slope(), one, 0.1, 1, order=order)
        assert losses.item() == pytest.approx(2.56)
        assert gradient.item() == pytest.approx(slope)


@pytest.mark.parametrize("make", [rating_network, sequential])
def test_checkpointing_keeps_less_and_changes_nothing(make):
    kept = []

    def count(tensor):
        kept[-1] += tensor.numel()
        return tensor

    found = []
    for checkpointing in (False, True):
        kept.append(0)
        model = make()
        weights = weights_of(model)
        with torch.autograd.graph.saved_tensors_hooks(count, lambda tensor: tensor):
            losses = query_losses(model, weights, batch(), 0.1, 12, checkpointing=checkpointing)
        found.append(torch.autograd.grad(losses.mean(), list(weights.values())))
    for got, wanted in zip(*found, strict=True):
        torch.testing.assert_close(got, wanted)
    assert kept[1] < 0.5 * kept[0]


@pytest.mark.parametrize("order", ORDERS)
def test_higher_finds_the_same_gradient(order):
    higher = pytest.importorskip("higher", reason="higher is not installed: `pip install higher` to compare with it")
    model, tasks = rating_network(), batch()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    for i in range(len(tasks.query_y)):
        with higher.innerloop_ctx(model, optimizer, copy_initial_weights=False, track_higher_grads=order == 2) as (
            twin,
            inner,
        ):
            for _ in range(3):
                inner.step(masked_mse(twin(tasks.support_x[i]), tasks.support_y[i], tasks.support_mask[i]))
            loss = masked_mse(twin(tasks.query_x[i]), tasks.query_y[i], tasks.query_mask[i]) / len(tasks.query_y)
            if order == 2:
                loss.backward()
            else:  # higher leaves it to the caller to carry the gradient back to the beginning
                ends = torch.autograd.grad(loss, list(twin.parameters()))
                for p, g in zip(model.parameters(), ends, strict=True):
                    p.grad = g if p.grad is None else p.grad + g
    _, ours = meta_gradient(model, tasks, 0.1, 3, order=order)
    for p, gradient in zip(model.parameters(), ours, strict=True):
        torch.testing.assert_close(gradient, p.grad, rtol=0, atol=1e-6)


def test_torchopt_finds_the_same_gradient():
    torchopt = pytest.importorskip("torchopt", reason="torchopt is not installed: `pip install torchopt` to compare")
    model, tasks = rating_network(), batch()
    losses = []
    inner = torchopt.MetaSGD(model, lr=0.1)
    begin, state = (
        torchopt.extract_state_dict(model, by="reference"),
        torchopt.extract_state_dict(inner, by="reference"),
    )
    originals = list(model.parameters())
    for i in range(len(tasks.query_y)):
        for _ in range(3):
            inner.step(masked_mse(model(tasks.support_x[i]), tasks.support_y[i], tasks.support_mask[i]))
        losses.append(masked_mse(model(tasks.query_x[i]), tasks.query_y[i], tasks.query_mask[i]))
        torchopt.recover_state_dict(model, begin)
        torchopt.recover_state_dict(inner, state)
    theirs = torch.autograd.grad(torch.stack(losses).mean(), originals)
    _, ours = meta_gradient(rating_network(), tasks, 0.1, 3)
    for got, wanted in zip(ours, theirs, strict=True):
        torch.testing.assert_close(got, wanted, rtol=0, atol=1e-6)


# ---- learning ----


def sine(amplitude, phase, seed, n=10):
    rng = np.random.default_rng(seed)
    x = rng.uniform(-1, 1, (n + 20, 1)).astype(np.float32)
    y = (amplitude * np.sin(3 * x[:, 0] + phase)).astype(np.float32)
    return Task(x[:n], y[:n], x[n:], y[n:])


def sines(n, seed):
    rng = np.random.default_rng(seed)
    return [sine(rng.uniform(0.5, 2), rng.uniform(0, 3), seed * 1000 + i) for i in range(n)]


def small(seed=0):
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        return nn.Sequential(
            nn.Linear(1, 24), nn.Tanh(), nn.Linear(24, 24), nn.Tanh(), nn.Linear(24, 1), nn.Flatten(-2)
        )


@pytest.mark.parametrize(
    "options",
    [{}, {"order": 1}, {"parameters": "head"}, {"learn_inner_lrs": True}],
    ids=["maml", "first", "anil", "rates"],
)
def test_it_learns_to_adapt_where_joint_training_cannot(options):
    train, new = sines(120, 1), sines(30, 2)
    fit = {"steps": 250, "batch_size": 16, "learning_rate": 3e-3}
    joint = JointTraining(small(), 0.1, 5, **fit).meta_fit(train).query_loss(new)
    learner = MAML(small(), 0.1, 5, **fit, **options).meta_fit(train)
    assert learner.query_loss(new) < 0.6 * joint
    assert learner.losses_[-1] < learner.losses_[0]


def test_only_the_head_adapts_in_anil():
    learner = MAML(rating_network(), 0.1, 2, parameters="head").initialize()
    assert learner.adapted_params_ == ["head.weight", "head.bias"]
    tasks = batch()
    after = learner.adapted(tasks.support_x[0], tasks.support_y[0], tasks.support_mask[0])
    moved = {name for name, w in after.items() if not torch.equal(w, learner.weights_[name])}
    assert moved == {"head.weight", "head.bias"}
    assert head_of(weights_of(sequential())) == ["2.weight", "2.bias"]


def test_learned_rates_are_learned_kept_and_used():
    train, valid = sines(60, 1), sines(10, 2)
    learner = MAML(small(), 0.05, 3, learn_inner_lrs=True, steps=40, valid_every=20, learning_rate=0.01)
    assert all((rate == 0.05).all() for rate in learner.initialize().inner_lrs_.values())
    before = learner.query_loss(valid)
    learner.meta_fit(train, valid)
    assert any((rate != 0.05).any() for rate in learner.inner_lrs_.values())
    assert learner.query_loss(valid) == pytest.approx(min(v for _, v in learner.valid_losses_), rel=1e-5)
    assert learner.query_loss(valid) < before
    assert set(learner.meta_parameters()) == {*learner.weights_, *(f"inner_lr of {n}" for n in learner.weights_)}


# ---- what goes wrong ----


def test_a_rate_that_diverges_is_named():
    with pytest.raises(DivergedError, match="100000000"):
        MAML(small(), 1e8, 8, steps=3).meta_fit(sines(10, 1))
    with pytest.raises(DivergedError):
        MAML(small(), 1e12, 20).initialize().adapt(sines(1, 1)[0])
    with pytest.raises(DivergedError):
        MAML(small(), 1e12, 20).initialize().query_loss(sines(2, 1))


def test_settings_that_do_not_fit_are_named():
    with pytest.raises(SettingError, match="3"):
        MAML(small(), order=3)
    with pytest.raises(SettingError, match="order 2"):
        MAML(small(), order=1, checkpointing=True)
    with pytest.raises(SettingError, match="body"):
        MAML(small(), parameters="body").initialize()
    with pytest.raises(SettingError):
        MAML(nn.Flatten(-2), parameters="head").initialize()


def test_the_head_is_the_last_layer_with_or_without_a_bias():
    layers = nn.Linear(3, 4), nn.Tanh(), nn.Linear(4, 1, bias=False)
    assert head_of(dict(nn.Sequential(*layers).named_parameters())) == ["2.weight"]
    assert head_of(dict(nn.Linear(3, 1, bias=False).named_parameters())) == ["weight"]
    named = nn.ModuleDict({"head": nn.Linear(3, 1), "tail": nn.Linear(3, 1)})
    assert head_of(dict(named.named_parameters())) == ["head.weight", "head.bias"]


def test_maml_adapts_all_weights_by_one_rate_and_the_whole_gradient():
    learner = MAML(small()).initialize()
    assert learner.inner_lrs() == learner.inner_lr
    assert set(learner.meta_parameters()) == set(learner.weights_)
    assert learner.adapted_params_ == list(learner.weights_)
    assert learner.order == 2


def test_equal_ratings_one_rating_and_none_are_tasks_like_others():
    x = np.random.default_rng(0).normal(size=(6, 7)).astype(np.float32)
    learner = MAML(RatingNetwork(7), 0.05, 5).initialize()
    for k in (0, 1, 6):
        task = Task(x[:k], np.full(k, 4, np.float32), x, np.full(6, 4, np.float32))
        assert np.isfinite(learner.adapt(task)(x)).all()
    np.testing.assert_array_equal(learner.adapt((x[:0], np.zeros(0)))(x), x[:, 0])


def test_an_update_is_judged_by_the_mean_over_tasks():
    learner, tasks = MAML(rating_network(), 0.1, 3).initialize(), batch()
    losses = query_losses(learner.model, learner.weights_, tasks, 0.1, 3)
    torch.testing.assert_close(learner.meta_loss(tasks), losses.mean())


def test_adapting_uses_the_learned_rates():
    learner, tasks = MAML(rating_network(), 0.1, 3, learn_inner_lrs=True).initialize(), batch()
    with torch.no_grad():
        for name, rate in learner.inner_lrs_.items():
            rate.fill_(0.0 if name.startswith("head") else 0.2)
    after = learner.adapted(tasks.support_x[0], tasks.support_y[0], tasks.support_mask[0])
    stayed = {name for name, w in after.items() if torch.equal(w, learner.weights_[name])}
    assert stayed == {"head.weight", "head.bias"}


@pytest.mark.parametrize("options", [{}, {"parameters": "head"}, {"learn_inner_lrs": True}])
def test_all_tasks_at_once_are_the_tasks_one_by_one(options):
    rng = np.random.default_rng(0)
    shapes = [((k, 7), k, (3, 7), 3) for k in (4, 0, 1, 2)]
    tasks = [Task(*(rng.normal(size=shape).astype(np.float32) for shape in some)) for some in shapes]
    model = rating_network().float()
    learner = MAML(model, 0.1, 3, **options).initialize()
    if learner.inner_lrs_:
        with torch.no_grad():
            learner.inner_lrs_["head.weight"].fill_(0.3)
    rates = learner.inner_lrs_ or 0.1
    at_once = predict_batch(learner.model, learner.weights_, collate(tasks), rates, 3, learner.adapted_params_)
    assert not at_once.requires_grad
    one_by_one = [learner.adapt(t)(t.query_x) for t in tasks]
    np.testing.assert_allclose(at_once, one_by_one, rtol=1e-4, atol=1e-5)
    losses = [np.square(predicted - t.query_y).mean() for predicted, t in zip(one_by_one, tasks, strict=True)]
    assert learner.query_loss(tasks) == pytest.approx(np.mean(losses), rel=1e-4)
    alone = predict_batch(learner.model, learner.weights_, collate(tasks[1:2]), rates, 3)[0]  # nothing is known
    np.testing.assert_allclose(alone, learner.adapt(tasks[1])(tasks[1].query_x), rtol=1e-5)


def test_values_alone_need_no_gradient():
    model = rating_network()
    weights = {name: w.detach() for name, w in weights_of(model).items()}
    wanted = loop_losses(model, weights_of(model), batch(), 0.1, 2)
    torch.testing.assert_close(query_losses(model, weights, batch(), 0.1, 2).detach(), wanted.detach())


class Halves(nn.Module):
    """A layer that the predictions use and one that they do not, or one that is not a product."""

    def __init__(self, layer=None):
        super().__init__()
        torch.manual_seed(0)
        self.used, self.unused, self.layer = nn.Linear(2, 3), nn.Linear(2, 3), layer

    def forward(self, x):
        states = self.used(x)
        if self.layer is not None:
            states = self.layer(states)
        return (states[0] if isinstance(states, tuple) else states).sum(-1)


@pytest.mark.parametrize("checkpointing", [False, True])
@pytest.mark.parametrize("order", [1, 2])
def test_a_weight_that_the_loss_does_not_use_gets_zeros(order, checkpointing):
    if order == 1 and checkpointing:
        return
    model = Halves()
    weights = {n: p.detach().clone().requires_grad_() for n, p in model.named_parameters()}
    x, y, mask = torch.randn(3, 4, 2), torch.randn(3, 4), torch.ones(3, 4, dtype=torch.bool)
    together = adapt_batch(model, weights, x, y, [mask] * 2, 0.1, order=order, checkpointing=checkpointing)
    for task in range(3):
        alone = gradient_descent(model, weights, x[task], y[task], mask[task], 0.1, 2, create_graph=order == 2)
        for name, weight in alone.items():
            torch.testing.assert_close(together[name][task], weight)
        torch.testing.assert_close(alone["unused.weight"], weights["unused.weight"])


@pytest.mark.parametrize(
    ("layer", "name"), [(nn.GRU(3, 3), "GRU"), (nn.Dropout(), "Dropout"), (nn.BatchNorm1d(3), "BatchNorm1d")]
)
def test_a_layer_that_cannot_be_stacked_is_named(layer, name):
    model = Halves(layer)
    weights = {n: p.detach().clone().requires_grad_() for n, p in model.named_parameters()}
    x, y, mask = torch.randn(3, 4, 2), torch.randn(3, 4), torch.ones(3, 4, dtype=torch.bool)
    gradient_descent(model, weights, x[0], y[0], mask[0], 0.1, 1)  # one by one it can
    with pytest.raises(SettingError, match=name):
        adapt_batch(model, weights, x, y, [mask], 0.1)
    with pytest.raises(RuntimeError, match="size"):  # what is no fault of the layers stays what it is
        adapt_batch(Halves(), {n: w for n, w in weights.items() if "layer" not in n}, x[..., :1], y, [mask], 0.1)

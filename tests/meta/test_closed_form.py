"""Closed-form heads against scikit-learn, the posterior of chapter 14 and finite differences."""

import numpy as np
import pytest
import torch
from sklearn.linear_model import Ridge

from llmrec_lite.errors import SettingError
from llmrec_lite.meta.bayesian_mf import posterior
from llmrec_lite.meta.closed_form import R2D2, ALPaCA
from llmrec_lite.meta.features import RatingNetwork
from llmrec_lite.meta.tasks import Task, collate

HEADS = (R2D2, ALPaCA)


def task(rng, k, q=4, d=6):
    x, y = rng.normal(size=(k + q, d)).astype(np.float32), rng.normal(3.5, 1, k + q).astype(np.float32)
    return Task(x[:k], y[:k], x[k:], y[k:])


def tasks(seed=0, sizes=(5, 3, 1, 0)):
    rng = np.random.default_rng(seed)
    return [task(rng, k) for k in sizes]


def learner(kind, seed=0, **options):
    """A head with a prior that is not the first one, as after training."""
    made = kind(RatingNetwork(6, (5, 4), seed=seed), **options).initialize()
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for weight in made.meta_parameters().values():
            weight.add_(0.3 * torch.randn(weight.shape, generator=generator))
    return made


def represented(made, x):
    with torch.no_grad():
        states = made.model.represent(made.weights_, torch.from_numpy(x)[None])[0].numpy()
    return np.c_[np.ones(len(x)), states].astype(float)


def test_r2d2_is_a_ridge_on_the_representation():
    made, one = learner(R2D2), tasks()[0]
    scale = made.prior_["log_constant"].exp().item()
    phi, q = (represented(made, x) * np.r_[scale, np.ones(4)] for x in (one.support_x, one.query_x))
    fit = Ridge(made.noise().item(), fit_intercept=False).fit(phi, one.support_y - one.support_x[:, 0])
    expected = one.query_x[:, 0] + fit.predict(q)
    np.testing.assert_allclose(made.predict_queries(collate([one]))[0], expected, rtol=1e-4)


@pytest.mark.parametrize("weight", [0.3, 1.0])
def test_alpaca_is_the_posterior_under_its_prior(weight):
    made, one = learner(ALPaCA), tasks()[0]
    root = made.prior_["root"].detach().numpy().astype(float)
    prior = torch.cat([made.weights_["head.bias"], made.weights_["head.weight"][0]]).detach().numpy()
    noise = weight / made.noise().item()
    deviations = (one.support_y - one.support_x[:, 0]).astype(float)
    covariance = root @ root.T
    mean, precision = posterior(prior, np.linalg.inv(covariance), represented(made, one.support_x), deviations, noise)
    phi = represented(made, one.query_x)
    found, variance = made.posterior_predictive(collate([one]), weight)
    np.testing.assert_allclose(found[0].detach(), one.query_x[:, 0] + phi @ mean, rtol=1e-3, atol=1e-3)
    expected = ((phi @ np.linalg.inv(precision)) * phi).sum(1) + made.noise().item()
    np.testing.assert_allclose(variance[0].detach(), expected, rtol=1e-3)


@pytest.mark.parametrize("kind", HEADS)
def test_tasks_do_not_touch_each_other(kind):
    made, some = learner(kind), tasks()
    together = made.predict_queries(collate(some))
    for row, one in zip(together, some, strict=True):
        np.testing.assert_allclose(row, made.predict_queries(collate([one]))[0], rtol=1e-4, atol=1e-5)
        np.testing.assert_allclose(row, made.adapt(one)(one.query_x), rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("kind", HEADS)
def test_the_meta_gradient_is_that_of_finite_differences(kind):
    made, some = learner(kind), collate(tasks())
    made.weights_ = {name: w.detach().double().requires_grad_() for name, w in made.weights_.items()}
    made.prior_ = {name: w.detach().double().requires_grad_() for name, w in made.prior_.items()}
    batch = type(some)(**{n: v.double() if v.dtype == torch.float32 else v for n, v in vars(some).items()})
    names = list(made.meta_parameters())
    values = tuple(made.meta_parameters().values())

    def loss(*values):
        given = dict(zip(names, values, strict=True))
        made.weights_ = {n: given.get(n, w) for n, w in made.weights_.items()}
        made.prior_ = {n: given[n] for n in made.prior_}
        return made.meta_loss(batch)

    assert torch.autograd.gradcheck(loss, values, fast_mode=True)


def related(rng, n, slope=(1.0, -0.5)):
    """Tasks whose users all prefer one direction, but for a little."""
    made = []
    for _ in range(n):
        x = rng.normal(size=(25, 3)).astype(np.float32)
        w = np.array(slope) + 0.1 * rng.normal(size=2)
        y = (x[:, 0] + x[:, 1:] @ w + 0.3 * rng.normal(size=25)).astype(np.float32)
        made.append(Task(x[:3], y[:3], x[3:], y[3:]))
    return made


@pytest.mark.parametrize("kind", HEADS)
def test_training_helps_new_tasks(kind):
    rng = np.random.default_rng(0)
    learn, new = related(rng, 64), related(rng, 40)
    made = kind(RatingNetwork(3, (), seed=0), steps=150, learning_rate=0.03).initialize()
    before = made.query_loss(new)
    after = made.meta_fit(learn).query_loss(new)
    assert after < (0.5 if kind is ALPaCA else 0.95) * before  # ALPaCA learns where the slopes lie, R2D2 how far


def test_alpaca_finds_the_noise_and_the_prior():
    rng = np.random.default_rng(1)
    made = ALPaCA(RatingNetwork(3, (), seed=0), steps=400, learning_rate=0.03).meta_fit(related(rng, 200))
    assert made.noise().item() == pytest.approx(0.09, rel=0.2)
    np.testing.assert_allclose(made.weights_["head.weight"][0].detach(), [1.0, -0.5], atol=0.1)


def test_a_small_likelihood_weight_trusts_the_support_less():
    made, one = learner(R2D2), tasks()[:1]
    moved = []
    for made.likelihood_weight in (1e-6, 0.1, 1.0):
        moved.append(np.abs(made.predict_queries(collate(one))[0].numpy() - one[0].query_x[:, 0]).sum())
    assert moved[0] < 1e-3 < moved[1] < moved[2]


@pytest.mark.parametrize("kind", HEADS)
@pytest.mark.parametrize("wrong", [{"l2": 0.0}, {"l2": np.inf}, {"likelihood_weight": -1.0}])
def test_settings_are_checked(kind, wrong):
    with pytest.raises(SettingError, match=next(iter(wrong))):
        kind(RatingNetwork(6), **wrong)

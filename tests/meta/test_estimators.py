"""Estimators of Part III follow scikit-learn: settings stay as they are given, and a clone has the same ones."""

import numpy as np
import pytest
from sklearn.base import clone
from sklearn.exceptions import NotFittedError

from llmrec_lite.meta.bayesian_mf import BayesianMF
from llmrec_lite.meta.cold_start import ColdStartRecommender
from llmrec_lite.meta.distill import StaticEncoder
from llmrec_lite.meta.features import RatingNetwork
from llmrec_lite.meta.learners import JointTraining
from llmrec_lite.meta.maml import MAML
from llmrec_lite.meta.multitask import MultiTask
from llmrec_lite.meta.reptile import Reptile
from llmrec_lite.meta.user_attention import ColdStartRanker, EpisodeRidge, UserAttention

NETWORK = RatingNetwork(4, (3,))
ESTIMATORS = [
    (JointTraining(NETWORK, 0.1, steps=3), {"inner_lr": 0.1, "steps": 3, "batch_size": 32}),
    (MAML(NETWORK, order=1, parameters=("hidden.",), clip_norm=1.0), {"parameters": ("hidden.",), "clip_norm": 1.0}),
    (Reptile(NETWORK, outer_lr=0.2, seed=4), {"outer_lr": 0.2, "train_steps": None, "seed": 4}),
    (BayesianMF(3, thin=2), {"factors": 3, "thin": 2, "draws": 30}),
    (ColdStartRecommender(3, order="random"), {"factors": 3, "order": "random", "goal": "interaction"}),
    (ColdStartRanker(3, l2=[1.0]), {"shots": 3, "l2": [1.0]}),
    (EpisodeRidge(2.0), {"l2": 2.0}),
    (UserAttention(popular=7), {"popular": 7, "steps": 60}),
    (MultiTask(["binary"], "experts", experts=2), {"kinds": ["binary"], "sharing": "experts", "experts": 2}),
    (StaticEncoder(32), {"dim": 32, "l2": 0.01}),
]


@pytest.mark.parametrize(("estimator", "settings"), ESTIMATORS, ids=lambda part: type(part).__name__)
def test_settings_are_kept_shown_and_cloned(estimator, settings):
    given = estimator.get_params(deep=False)
    assert settings.items() <= given.items()
    twin = clone(estimator)
    assert type(twin) is type(estimator)
    assert {name: value for name, value in twin.get_params(deep=False).items() if name in settings} == settings
    assert type(estimator).__name__ in repr(estimator)
    name, value = next(iter(settings.items()))
    assert estimator.set_params(**{name: value}) is estimator
    assert not [name for name in vars(estimator) if name.endswith("_")]  # nothing is fitted yet


@pytest.mark.parametrize("learner", [JointTraining(NETWORK), MAML(NETWORK), Reptile(NETWORK)])
def test_a_learner_without_weights_says_so(learner):
    support = np.zeros((1, 4), np.float32), np.ones(1)
    with pytest.raises(NotFittedError):
        learner.adapt(support)
    assert np.isfinite(learner.initialize().adapt(support)(np.zeros((2, 4), np.float32))).all()

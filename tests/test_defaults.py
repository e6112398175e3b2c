"""Defaults that the numbers of the book rest on."""

from inspect import signature

import pytest

from llmrec_lite import evaluate, metrics
from llmrec_lite.evaluate import search
from llmrec_lite.language.lora import LoRALinear
from llmrec_lite.llma import LLMA
from llmrec_lite.recommenders import ALS, BPR, EASE, BaselineKNN, DenoisingAutoencoder, ItemKNN, UserKNN
from llmrec_lite.recommenders.base import BaseRecommender


@pytest.mark.parametrize(
    ("function", "expected"),
    [
        (evaluate, {"k": 10}),
        (search, {"k": 10}),
        *[(metric, {"k": 10}) for metric in metrics.RANKING_METRICS.values()],
        (BaseRecommender.recommend, {"k": 10, "exclude_seen": True}),
        (LLMA.recommend, {"k": 10, "exclude_seen": True}),
        (LLMA.recommend_for, {"k": 10}),
        (EASE, {"l2": 1000.0}),
        (DenoisingAutoencoder, {"dropout": 0.65, "l2": 700.0}),
        (ALS, {"factors": 64, "alpha": 4.0, "l2": 40.0}),
        (BPR, {"n_epochs": 60, "learning_rate": 0.1}),
        (UserKNN, {"k": 100, "shrink": 0.0}),
        (ItemKNN, {"k": 200, "shrink": 0.0}),
        (BaselineKNN, {"k": 40, "shrink": 100.0}),
        (LoRALinear, {"rank": 8, "alpha": 16}),
    ],
)
def test_defaults(function, expected):
    parameters = signature(function, follow_wrapped=False).parameters
    assert {name: parameters[name].default for name in expected} == expected

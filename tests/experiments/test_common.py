"""Grids and tables of models, on a made-up log."""

import numpy as np
import pytest

from book.experiments.common import settings, table_of_models
from llmrec_lite import compare, evaluate, splits
from llmrec_lite.recommenders import EASE, Popularity, Random


def test_a_grid_is_every_combination():
    found = list(settings({"a": [1, 2], "b": ["x"]}))
    assert found == [{"a": 1, "b": "x"}, {"a": 2, "b": "x"}]
    assert list(settings({})) == [{}]


def test_a_table_chooses_inside_train_and_measures_on_test(world):
    train, test = splits.random_split(world, 0.25, seed=0)
    inner, valid = splits.random_split(train, 0.25, seed=1)
    models = {
        "EASE": (EASE, {}, {"l2": [1e6, 10.0]}),
        "popular": (Popularity, {}, {}),
        "random": (Random, {}, {}),
    }
    found = table_of_models(models, (inner, valid, train, test), {"EASE": ["popular"]}, seeds=2)
    rows = {row["model"]: row for row in found["table"]}
    assert list(rows) == list(models)
    tried = {l2: evaluate(EASE(l2).fit(inner), inner, valid).mean["ndcg"] for l2 in (1e6, 10.0)}
    assert {row["l2"]: row["ndcg"] for row in found["tried"]["EASE"]} == pytest.approx(tried)
    chosen = max(tried, key=lambda l2: tried[l2])
    assert rows["EASE"]["setting"] == {"l2": chosen}
    reports = [evaluate(model.fit(train), train, test) for model in (EASE(chosen), Popularity())]
    assert rows["EASE"]["ndcg"] == pytest.approx(reports[0].mean["ndcg"])
    lead = compare(*reports).loc["ndcg", "difference"]
    assert rows["EASE"]["lead over popular"] == pytest.approx(lead)
    assert [len(rows[name]["runs"]) for name in models] == [1, 1, 2]  # a model with a seed is fitted with two
    assert np.ptp(rows["random"]["runs"]) > 0

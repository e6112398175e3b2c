"""The table that compares models with one search budget."""

import numpy as np
import pandas as pd
import pytest

from book.experiments.common import table_of_models
from llmrec_lite import Dataset, compare, evaluate, recommenders, splits


@pytest.fixture
def parts() -> tuple[Dataset, Dataset, Dataset, Dataset]:
    rng = np.random.default_rng(0)
    users, items = np.nonzero(rng.random((40, 30)) < 0.4)
    log = pd.DataFrame({"user_id": users, "item_id": items, "rating": 5.0, "timestamp": rng.permutation(len(users))})
    train, test = splits.leave_last_out(Dataset.from_frames(log))
    inner, valid = splits.leave_last_out(train)
    return inner, valid, train, test


def test_settings_are_chosen_on_the_inner_split_and_measured_on_the_outer(parts):
    inner, valid, train, test = parts
    grid = {"l2": [1.0, 100.0, 1e6]}
    models = {"Random": (recommenders.Random, {}, {}), "EASE": (recommenders.EASE, {}, grid)}
    found = table_of_models(models, parts, {"EASE": ["Random"]}, seeds=2)
    random, ease = found["table"]

    by_valid = {l2: evaluate(recommenders.EASE(l2).fit(inner), inner, valid).mean["ndcg"] for l2 in grid["l2"]}
    assert {row["l2"]: row["ndcg"] for row in found["tried"]["EASE"]} == pytest.approx(by_valid)
    assert ease["setting"] == {"l2": max(by_valid, key=by_valid.get)}

    measured = evaluate(recommenders.EASE(**ease["setting"]).fit(train), train, test)
    drawn = [evaluate(recommenders.Random(seed=seed).fit(train), train, test) for seed in range(2)]
    assert ease["runs"] == pytest.approx([measured.mean["ndcg"]])
    assert random["runs"] == pytest.approx([report.mean["ndcg"] for report in drawn])
    assert random["ndcg"] == pytest.approx(np.mean(random["runs"]))
    lead = measured.mean["ndcg"] - random["ndcg"]
    assert ease["lead over Random"] == pytest.approx(lead)
    assert ease["low Random"] < lead < ease["high Random"]
    wider = compare(measured, drawn[0]).loc["ndcg"]
    assert ease["high Random"] - ease["low Random"] < wider["high"] - wider["low"]  # two seeds say more than one


def test_a_model_that_hands_its_settings_on_is_seeded_as_well(parts):
    class Handed(recommenders.Random):
        def __init__(self, **settings):
            super().__init__(**settings)

    found = table_of_models({"handed": (Handed, {}, {})}, parts, {}, seeds=3)
    assert len(set(found["table"][0]["runs"])) == 3

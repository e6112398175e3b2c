"""MeLU: features of users, and an embedding that does not adapt."""

import numpy as np
import pandas as pd
import pytest
import torch

from book.experiments.ch14_ratings import PreferenceEstimator, person_features, with_person
from llmrec_lite.errors import SettingError
from llmrec_lite.meta.maml import MAML
from llmrec_lite.meta.tasks import Task


def users():
    return pd.DataFrame(
        {
            "user_id": range(4),
            "gender": ["M", "F", "M", "M"],
            "age": [20, 60, 20, 30],
            "occupation": ["a", "b", "a", "a"],
        }
    )


def test_people_as_numbers_of_equal_weight():
    x = person_features(users())
    assert x.shape == (4, 2 + 2 + 3)
    assert x.dtype == np.float32
    for start, stop in ((0, 2), (2, 4), (4, 7)):
        assert np.square(x[:, start:stop]).sum(1).mean() == pytest.approx(1)
        np.testing.assert_allclose(x[:, start:stop].mean(0), 0, atol=1e-6)
    np.testing.assert_array_equal(x[0], x[2])
    assert (x[0] != x[1]).any()
    assert person_features(users()[["user_id"]]).shape == (4, 0)
    assert not person_features(users().assign(gender="M", age=20, occupation="a")).any()


def tasks(n=6, d=4, seed=0):
    rng = np.random.default_rng(seed)

    def part(k):
        return rng.normal(size=(k, d)).astype(np.float32), rng.uniform(1, 5, k).astype(np.float32)

    return [Task(*part(i % 3), *part(5), task_id=i % 4) for i in range(n)]


def test_each_input_of_a_task_gets_its_user():
    people = person_features(users())
    for before, after in zip(tasks(), with_person(tasks(), people), strict=True):
        for name in ("support", "query"):
            x, joined = getattr(before, f"{name}_x"), getattr(after, f"{name}_x")
            assert joined.dtype == np.float32
            np.testing.assert_array_equal(joined[:, :4], x)
            np.testing.assert_array_equal(joined[:, 4:], np.tile(people[int(before.task_id)], (len(x), 1)))
            np.testing.assert_array_equal(getattr(after, f"{name}_y"), getattr(before, f"{name}_y"))
        assert after.task_id == before.task_id


def test_the_embedding_stays_and_what_decides_moves():
    model = PreferenceEstimator(4, (6, 5, 3), 0.1, 2, seed=1).initialize()
    with torch.no_grad():
        model.weights_["head.weight"].fill_(0.3)
    one = tasks()[2]
    x, y = torch.from_numpy(one.support_x), torch.from_numpy(one.support_y)
    adapted = model.adapted(x, y, torch.ones(len(y), dtype=torch.bool))
    moved = {name for name, weight in adapted.items() if not torch.equal(weight, model.weights_[name])}
    assert moved == {f"{layer}.{part}" for layer in ("hidden.1", "hidden.2", "head") for part in ("weight", "bias")}


def test_the_embedding_learns_from_the_queries_through_the_steps():
    model = PreferenceEstimator(4, (6, 5), 0.1, 2, steps=3, batch_size=6, seed=0)
    before = {name: weight.detach().clone() for name, weight in model.initialize().weights_.items()}
    model.meta_fit(tasks())
    assert all(not torch.equal(weight, before[name]) for name, weight in model.weights_.items())
    assert model.order == 2


def test_layers_by_the_prefixes_of_their_names():
    ten = PreferenceEstimator(3, (2,) * 11).initialize()
    assert not any(name.startswith("hidden.0.") for name in ten.adapted_params_)
    assert {"hidden.1.weight", "hidden.10.weight", "head.bias"} <= set(ten.adapted_params_)
    assert len(ten.adapted_params_) == len(ten.weights_) - 2
    with pytest.raises(SettingError, match="body"):
        MAML(ten.model, parameters=("hidden.1.", "body")).initialize()


def test_one_layer_is_too_few():
    with pytest.raises(ValueError, match=r"hidden=\(6,\)"):
        PreferenceEstimator(4, (6,))

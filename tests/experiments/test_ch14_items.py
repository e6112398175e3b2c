"""New films with a few ratings: roles exchanged, and the posterior against the one of chapter 14."""

import numpy as np
import pandas as pd
import pytest

from book.experiments.ch14_items import Samples, with_roles_exchanged
from llmrec_lite.data import Dataset
from llmrec_lite.meta.tasks import nested_tasks


@pytest.fixture(scope="module")
def data():
    rng = np.random.default_rng(0)
    n_users, n_films = 60, 40
    taste, kind = rng.normal(size=n_users), rng.normal(size=n_films)
    rows = [(u, i) for u in range(n_users) for i in range(n_films) if rng.random() < 0.7]
    log = pd.DataFrame(rows, columns=["user_id", "item_id"]).assign(timestamp=rng.permutation(len(rows)))
    stars = 3.5 + taste[log["user_id"]] * kind[log["item_id"]] + 0.3 * rng.normal(size=len(log))
    users = pd.DataFrame({"user_id": range(n_users), "gender": "F", "age": 30, "occupation": "other"})
    return Dataset.from_frames(log.assign(rating=stars), pd.DataFrame({"item_id": range(n_films)}), users), kind


def test_roles_are_exchanged_and_nothing_else(data):
    plain, _ = data
    exchanged = with_roles_exchanged(plain)
    assert (exchanged.n_users, exchanged.n_items) == (plain.n_items, plain.n_users)
    assert np.allclose(exchanged.matrix("rating").toarray(), plain.matrix("rating").toarray().T)
    assert exchanged.items["genres"].iloc[0] == "F|25-34|other"


def test_ratings_tell_of_a_new_film_and_its_features_too(data):
    plain, kind = data
    exchanged = with_roles_exchanged(plain)
    known = exchanged.with_interactions(exchanged.interactions[exchanged.user_index < 30])
    new = exchanged.with_interactions(exchanged.interactions[exchanged.user_index >= 30])
    tasks = nested_tasks(new, (0, 5, 20), 5, order="random")
    truth = np.stack([t.query_y for t in tasks[0]])

    def error(samples, k, **options):
        return np.square(samples.predict(tasks[k], **options) - truth).mean()

    blind, told = Samples(known, np.zeros((40, 0)), 0), Samples(known, kind[:, None], 0)
    assert error(blind, 20) < error(blind, 5) < 0.7 * error(blind, 0)
    assert error(told, 0) < 0.6 * error(blind, 0)  # the feature is what the ratings would tell
    assert error(told, 20) < error(told, 0)
    np.testing.assert_allclose(told.predict(tasks[20], known=False), told.predict(tasks[0]), atol=1e-6)

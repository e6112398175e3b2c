"""Counting, averaging and guessing."""

import numpy as np
import pandas as pd
import pytest

from llmrec_lite import Dataset
from llmrec_lite.recommenders import ItemMean, Popularity, Random


@pytest.fixture
def films() -> Dataset:
    """A has ratings 5, 3, 4 (one user twice), B has 1, nobody has rated C; the mean of all is 13 / 4."""
    log = pd.DataFrame(
        {
            "user_id": [1, 2, 2, 1],
            "item_id": ["A", "A", "A", "B"],
            "rating": [5.0, 3.0, 4.0, 1.0],
            "timestamp": range(4),
        }
    )
    return Dataset.from_frames(log, pd.DataFrame({"item_id": ["C", "B", "A"]}))


def test_popularity_counts_users_not_ratings(films):
    model = Popularity().fit(films)
    assert model.score_indices([0, 1]).tolist() == [[0, 1, 2]] * 2
    assert model.score_new([[("C", 5.0)]]).tolist() == [[0, 1, 2]]
    assert model.recommend([2])["item_id"].tolist() == ["B", "C"]


def test_item_mean_without_damping_is_the_mean_and_the_global_mean_for_an_unrated_item(films):
    np.testing.assert_allclose(ItemMean(damping=0).fit(films).score_indices([0]), [[13 / 4, 1, 4]])


def test_item_mean_is_pulled_towards_the_global_mean(films):
    model = ItemMean(damping=2).fit(films)
    expected = [13 / 4, (1 + 2 * 13 / 4) / 3, (12 + 2 * 13 / 4) / 5]
    np.testing.assert_allclose(model.score_indices([1]), [expected], rtol=1e-6)
    np.testing.assert_allclose(model.predict_indices(np.array([0, 1, 0]), np.array([2, 1, 0])), expected[::-1])


def test_random_gives_every_user_a_list_of_its_own(films):
    scores = Random(seed=3).fit(films).score_indices([0, 1])
    assert not np.allclose(scores[0], scores[1])
    assert ((scores >= 0) & (scores < 1)).all()


def test_random_ranks_every_item_first_about_equally_often():
    log = pd.DataFrame({"user_id": range(900), "item_id": np.arange(900) % 3})
    first = Random().fit(Dataset.from_frames(log)).score_indices(range(900)).argmax(1)
    assert (np.abs(np.bincount(first, minlength=3) - 300) < 60).all()  # four standard deviations

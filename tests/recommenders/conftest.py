"""A club of readers that every model is tried on, and each model in a size that fits in a blink."""

from collections.abc import Callable

import numpy as np
import pandas as pd
import pytest

from llmrec_lite import Dataset, recommenders
from llmrec_lite.language.text_recommender import TfidfEncoder

# Everything else runs at its default settings.
QUICK = {
    "BiasedMF": {"factors": 4, "epochs": 3},
    "ALS": {"factors": 4, "l2": 0.5, "sweeps": 3},
    "BPR": {"factors": 4, "epochs": 3, "batch": 4},
    "NeuMF": {"factors": 4, "n_epochs": 2},
    "Caser": {"dim": 8, "n_epochs": 2, "length": 6},
    "GRU4Rec": {"dim": 8, "n_epochs": 2, "length": 6},
    "SASRec": {"dim": 8, "n_epochs": 2, "length": 6},
    "TextRecommender": {"encoder": TfidfEncoder()},
}


@pytest.fixture(scope="session")
def club() -> Dataset:
    """12 readers and 9 books with string ids; "ghost" has read nothing, nobody has read "dusty"."""
    rng = np.random.default_rng(5)
    books = ["emma", "dune", "ulysses", "faust", "hamlet", "ivanhoe", "kim", "candide"]
    rows = [
        (f"reader{r}", str(book), float(rng.integers(1, 6)), int(rng.integers(10**6)))
        for r in range(11)
        for book in rng.permutation(books)[: 1 if r == 0 else rng.integers(2, 7)]
    ]
    log = pd.DataFrame(rows, columns=["user_id", "item_id", "rating", "timestamp"])
    genres = ["Love", "Space", "Sea", "Devil|Love", "Death", "Love|War", "War", "Travel", "Travel|Sea"]
    shelf = pd.DataFrame({"item_id": ["dusty", *books], "genres": genres})
    shelf["title"], shelf["year"] = shelf["item_id"].str.title(), 1900
    people = pd.DataFrame({"user_id": ["ghost", *(f"reader{r}" for r in range(11))]})
    return Dataset.from_frames(log, shelf, people)


@pytest.fixture(scope="session")
def make() -> Callable[..., recommenders.BaseRecommender]:
    """Make a model by name, in its quick size unless told otherwise."""
    return lambda name, **settings: getattr(recommenders, name)(**(QUICK.get(name, {}) | settings))


@pytest.fixture(scope="session")
def history_of() -> Callable[[Dataset, int], list[tuple]]:
    """What a user of a data set has done, in order of time, as `score_new` takes it."""

    def history(data: Dataset, user: int) -> list[tuple]:
        rows = data.interactions.iloc[data.time_order]
        own = rows[rows["user_id"] == data.users["user_id"].iloc[user]]
        return list(own[["item_id", "rating", "timestamp"]].itertuples(index=False, name=None))

    return history

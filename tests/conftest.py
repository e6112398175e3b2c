"""What several test modules share: the real data once a session, and a small made-up crowd."""

import numpy as np
import pandas as pd
import pytest
from hypothesis import settings

from llmrec_lite import Dataset, load_movielens

# The same examples on every machine, however slow it is.
settings.register_profile("llmrec", deadline=None, derandomize=True)
settings.load_profile("llmrec")


@pytest.fixture(scope="session")
def movielens() -> Dataset:
    return load_movielens()


@pytest.fixture(scope="session")
def crowd() -> Dataset:
    """60 users, 30 items (the last one unrated), a long tail, ratings from 1 to 5, times with ties."""
    rng = np.random.default_rng(7)
    share = 1 / np.arange(1, 30)
    rows = [
        (f"u{user}", int(item) * 10, int(rng.integers(1, 6)), int(rng.integers(1000)) // 10)
        for user in range(60)
        for item in rng.choice(29, size=rng.integers(4, 12), replace=False, p=share / share.sum())
    ]
    log = pd.DataFrame(rows, columns=["user_id", "item_id", "rating", "timestamp"])
    items = pd.DataFrame({"item_id": np.arange(30) * 10, "title": [f"Film {i}" for i in range(30)]})
    return Dataset.from_frames(log.sample(frac=1, random_state=0), items)

"""Every model in a size that fits in a blink."""

from collections.abc import Callable

import pytest

from llmrec_lite import recommenders
from llmrec_lite.language.text_recommender import TextRecommender, TfidfEncoder

# Everything else runs at its default settings.
QUICK = {
    "BiasedMF": {"factors": 4, "n_epochs": 3},
    "ALS": {"factors": 4, "l2": 0.5, "sweeps": 3},
    "BPR": {"factors": 4, "n_epochs": 3, "batch_size": 4},
    "NeuMF": {"factors": 4, "n_epochs": 2},
    "Caser": {"dim": 8, "n_epochs": 2, "length": 6},
    "GRU4Rec": {"dim": 8, "n_epochs": 2, "length": 6},
    "SASRec": {"dim": 8, "n_epochs": 2, "length": 6},
    "TextRecommender": {"encoder": TfidfEncoder()},
}


def find(name: str) -> type[recommenders.BaseRecommender]:
    """Return the class of a model."""
    return TextRecommender if name == "TextRecommender" else getattr(recommenders, name)


@pytest.fixture(scope="session")
def make() -> Callable[..., recommenders.BaseRecommender]:
    """Make a model by name, in its quick size unless told otherwise."""
    return lambda name, **settings: find(name)(**(QUICK.get(name, {}) | settings))

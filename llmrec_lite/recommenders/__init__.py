"""Part I: recommenders without a language model, by name: `recommenders.EASE(l2=500).fit(train)`."""

from importlib import import_module
from typing import TYPE_CHECKING, Any

from llmrec_lite.interface import Recommender
from llmrec_lite.recommenders.base import BaseRecommender
from llmrec_lite.recommenders.content import ContentBased
from llmrec_lite.recommenders.factorization import ALS, BPR, BiasedMF
from llmrec_lite.recommenders.linear import EASE, DenoisingAutoencoder
from llmrec_lite.recommenders.neighbors import BaselineKNN, BiasBaseline, ItemKNN, UserKNN
from llmrec_lite.recommenders.popularity import ItemMean, Popularity, Random

if TYPE_CHECKING:
    from llmrec_lite.recommenders.neural import NeuMF
    from llmrec_lite.recommenders.sequential import Caser, DecayedBigram, GRU4Rec, SASRec

# Imported when they are asked for, so that counting films does not wait for torch.
_LAZY = {
    "NeuMF": "neural",
    "DecayedBigram": "sequential",
    "Caser": "sequential",
    "GRU4Rec": "sequential",
    "SASRec": "sequential",
}
__all__ = [
    "ALS",
    "BPR",
    "EASE",
    "BaseRecommender",
    "BaselineKNN",
    "BiasBaseline",
    "BiasedMF",
    "Caser",
    "ContentBased",
    "DecayedBigram",
    "DenoisingAutoencoder",
    "GRU4Rec",
    "ItemKNN",
    "ItemMean",
    "NeuMF",
    "Popularity",
    "Random",
    "Recommender",
    "SASRec",
    "UserKNN",
]
MODELS = [name for name in __all__ if name not in ("BaseRecommender", "Recommender")]


def __getattr__(name: str) -> Any:
    if name not in _LAZY:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}; its models are {', '.join(MODELS)}")
    return getattr(import_module(f"{__name__}.{_LAZY[name]}"), name)

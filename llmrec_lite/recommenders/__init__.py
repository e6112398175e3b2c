"""Every recommender of the book by name: `recommenders.EASE(l2=500).fit(train)`.

A module is imported when one of its models is asked for, so that counting films does not wait for torch.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from llmrec_lite.language.text_recommender import TextRecommender as TextRecommender
    from llmrec_lite.recommenders.base import BaseRecommender as BaseRecommender
    from llmrec_lite.recommenders.base import Recommender as Recommender
    from llmrec_lite.recommenders.content import ContentBased as ContentBased
    from llmrec_lite.recommenders.factorization import ALS as ALS
    from llmrec_lite.recommenders.factorization import BPR as BPR
    from llmrec_lite.recommenders.factorization import BiasedMF as BiasedMF
    from llmrec_lite.recommenders.linear import EASE as EASE
    from llmrec_lite.recommenders.linear import DenoisingAutoencoder as DenoisingAutoencoder
    from llmrec_lite.recommenders.neighbors import Baseline as Baseline
    from llmrec_lite.recommenders.neighbors import BaselineKNN as BaselineKNN
    from llmrec_lite.recommenders.neighbors import ItemKNN as ItemKNN
    from llmrec_lite.recommenders.neighbors import UserKNN as UserKNN
    from llmrec_lite.recommenders.neural import NeuMF as NeuMF
    from llmrec_lite.recommenders.popularity import ItemMean as ItemMean
    from llmrec_lite.recommenders.popularity import Popularity as Popularity
    from llmrec_lite.recommenders.popularity import Random as Random
    from llmrec_lite.recommenders.sequential import Caser as Caser
    from llmrec_lite.recommenders.sequential import DecayedBigram as DecayedBigram
    from llmrec_lite.recommenders.sequential import GRU4Rec as GRU4Rec
    from llmrec_lite.recommenders.sequential import SASRec as SASRec

_MODULE_OF = {
    "BaseRecommender": "base",
    "Recommender": "base",
    "Random": "popularity",
    "Popularity": "popularity",
    "ItemMean": "popularity",
    "ContentBased": "content",
    "UserKNN": "neighbors",
    "ItemKNN": "neighbors",
    "Baseline": "neighbors",
    "BaselineKNN": "neighbors",
    "BiasedMF": "factorization",
    "ALS": "factorization",
    "BPR": "factorization",
    "EASE": "linear",
    "DenoisingAutoencoder": "linear",
    "NeuMF": "neural",
    "DecayedBigram": "sequential",
    "Caser": "sequential",
    "GRU4Rec": "sequential",
    "SASRec": "sequential",
    "TextRecommender": ".language.text_recommender",
}
MODELS = [name for name, module in _MODULE_OF.items() if module != "base"]
RATING_MODELS = ["ItemMean", "Baseline", "BaselineKNN", "BiasedMF"]
__all__ = [*_MODULE_OF, "MODELS", "RATING_MODELS"]


def __getattr__(name: str) -> Any:
    if name not in _MODULE_OF:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}; its models are {', '.join(MODELS)}")
    return getattr(import_module(f".{_MODULE_OF[name]}", __name__), name)


def __dir__() -> list[str]:
    return __all__

"""Chapter 19: the settings of LLMA."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from llmrec_lite.errors import SettingError
from llmrec_lite.llma.parts import PARTS
from llmrec_lite.meta.tasks import HistoryOrder

_SHARES = {"diversity": 1.0, "request_share": 1.0, "dropout": 0.999}
_POSITIVE = ("text_l2", "alpha", "factors_l2", "autoencoder_l2")
_WHOLE = ("fact_dimensions", "factors", "largest_autoencoder", "candidates", "max_users")


@dataclass(frozen=True)
class LLMAConfig:
    """Settings of LLMA; the parts' defaults are those that the earlier chapters chose inside train.

    The rest is set and not tuned: `fact_dimensions`, `candidates`, `diversity`, `request_share`.

    Attributes:
        parts: names of `PARTS`.
        encoder: language model that reads texts and requests (`TextEncoder`); None does without.
        text_l2: penalty of the ridge on texts and facts.
        fact_dimensions: dimension of the facts beside an item's text.
        factors: of `ALS`, with `alpha` and `factors_l2`.
        alpha: of `ALS`.
        factors_l2: of `ALS`.
        dropout: of `FactAutoencoder`, with `autoencoder_l2` and `fact_weight`.
        autoencoder_l2: of `FactAutoencoder`.
        fact_weight: of `FactAutoencoder`.
        largest_autoencoder: a longer catalog does without the autoencoder, which holds n_items^2 numbers.
        order: whether the history of a cold-start user holds the first interactions, "time", or any, "random".
        candidates: how many of the best items by the fused score are re-ranked.
        diversity: from 0, relevance alone, to 1, dissimilarity alone.
        request_share: weight of a request in a list for a user who is known as well.
        max_users: most users that the fusion weights are learned from.
        seed: of all that is random.
    """

    parts: Sequence[str] = ("factors", "autoencoder", "text")
    encoder: str | None = "minilm"
    text_l2: float = 3.0
    fact_dimensions: int = 256
    factors: int = 64
    alpha: float = 4.0
    factors_l2: float = 40.0
    dropout: float = 0.65
    autoencoder_l2: float = 300.0
    fact_weight: float = 50.0
    largest_autoencoder: int = 5000
    order: HistoryOrder = "time"
    candidates: int = 100
    diversity: float = 0.1
    request_share: float = 0.7
    max_users: int = 1000
    seed: int = 0

    def __post_init__(self) -> None:
        if isinstance(self.parts, str) or not self.parts or set(self.parts) - set(PARTS):
            raise SettingError(f"parts must be some of {', '.join(PARTS)}, not {self.parts!r}")
        object.__setattr__(self, "parts", tuple(self.parts))
        if self.order not in ("time", "random"):
            raise SettingError(f'order must be "time" or "random", not {self.order!r}')
        for name, most in _SHARES.items():
            if not 0 <= getattr(self, name) <= most:
                raise SettingError(f"{name} must lie between 0 and {most:g}, not {getattr(self, name)!r}")
        for name in (*_POSITIVE, "fact_weight"):
            value = getattr(self, name)
            if not np.isfinite(value) or value < 0 or (value == 0 and name != "fact_weight"):
                raise SettingError(f"{name} must be a finite number above 0, not {value!r}")
        for name in (*_WHOLE, "seed"):
            value = getattr(self, name)
            if type(value) is not int or value < (name != "seed"):
                raise SettingError(f"{name} must be a whole number from {int(name != 'seed')}, not {value!r}")

"""Our encoder beside sentence-transformers on the same texts: an eighth of the films and of 5,000 reviews of clothes.

`make bench` runs it with the other races; `python tests/benchmarks/encoding.py` runs it alone.
"""

from __future__ import annotations

import os
from collections.abc import Callable

for _library in ("OMP", "OPENBLAS", "MKL"):
    os.environ.setdefault(f"{_library}_NUM_THREADS", "1")  # read when a library is first imported
os.environ["HF_HUB_OFFLINE"] = "1"  # all there is to load is in the cache folder

import numpy as np  # noqa: E402
import pandas as pd  # noqa: E402
import torch  # noqa: E402
from race import Race  # noqa: E402

from llmrec_lite import assets, load_movielens  # noqa: E402
from llmrec_lite.language.encoder import TextEncoder  # noqa: E402

try:
    from sentence_transformers import SentenceTransformer
except ImportError:
    SentenceTransformer = None

HAS_RIVAL = SentenceTransformer is not None
MOST_ENCODE = 1 / 1.2  # our time over sentence-transformers'
N_REVIEWS = 5000
STEP = 8  # every eighth text: three short measurements say more than one long one on a busy machine


def corpus() -> list[str]:
    """Texts of films, and of the first reviews that say anything, spread evenly over both."""
    reviews = pd.read_parquet(next(assets.locate("womens-clothing").glob("*.brotli")))["Review Text"].dropna()
    texts = load_movielens().items["text"].tolist() + reviews[reviews.str.strip() != ""].head(N_REVIEWS).tolist()
    return texts[::STEP]


def races(texts: list[str] | None = None, repeats: int = 3) -> list[Race]:
    """Return the race, or none where sentence-transformers is not installed. Each repeat takes about a minute.

    Raises:
        SystemExit: the two do not find the same vectors; then their times mean nothing.
    """
    if not HAS_RIVAL:
        return []
    torch.set_num_threads(1)
    texts = corpus() if texts is None else texts
    ours = TextEncoder(device="cpu", cache=False)
    theirs = SentenceTransformer(str(assets.locate("minilm")), device="cpu")
    sample = texts[::5]
    largest = float(np.abs(ours.encode(sample) - theirs.encode(sample, show_progress_bar=False)).max())
    if largest > 1e-5:
        raise SystemExit(f"sentence-transformers finds vectors that differ from ours by up to {largest:.1e}")
    runners: dict[str, Callable[[], object]] = {
        "llmrec TextEncoder.encode": lambda: ours.encode(texts),
        "sentence-transformers": lambda: theirs.encode(texts, show_progress_bar=False),
    }
    return [Race(f"embeddings of {len(texts):,} texts, computed afresh", runners, MOST_ENCODE, repeats)]


if __name__ == "__main__":
    for race in races():
        seconds = race.run()
        for name, value in seconds.items():
            print(f"{name:30} {value:8.1f} s of processor time")
        own, rival = seconds.values()
        print(
            f"ours / theirs = {own / rival:.2f}, target at most {race.most:.2f}; they take {rival / own:.2f} times ours"
        )

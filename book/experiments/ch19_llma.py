"""Experiments of chapter 19; see `book.experiments` for the rules."""

from __future__ import annotations

import copy
import json
import subprocess
import sys
import time
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import replace
from typing import Any

import numpy as np
from scipy import sparse
from tqdm.auto import tqdm

from book.experiments.ch17_facts import fact_choices, without_twins
from book.experiments.ch18_fusion import genre_vectors
from book.experiments.registry import Result, Row, draw, experiment
from llmrec_lite import splits
from llmrec_lite.data import Dataset, load_movielens
from llmrec_lite.evaluate import Report, compare, evaluate
from llmrec_lite.knowledge.graph import film_facts
from llmrec_lite.knowledge.recommend import FactAutoencoder
from llmrec_lite.language.encoder import TextEncoder
from llmrec_lite.language.text_recommender import Encoder, TextRecommender, TfidfEncoder
from llmrec_lite.llma import LLMA, LLMAConfig
from llmrec_lite.llma.fusion import FusedRecommender
from llmrec_lite.llma.weights import Gate
from llmrec_lite.metrics import average_precision_at_k
from llmrec_lite.recommenders import ALS, DenoisingAutoencoder

SPLITS = (42, 43, 44)  # of the benchmark; 42 is the published one
# What is left out, one at a time.
VARIANTS: dict[str, dict[str, Any]] = {
    "LLMA": {},
    "without the part text": {"parts": ("factors", "autoencoder")},
    "without the language model": {"encoder": None},
    "without the factors": {"parts": ("autoencoder", "text")},
    "without the autoencoder": {"parts": ("factors", "text")},
}


def _known(config: LLMAConfig, facts: sparse.csr_array | None, train: Dataset) -> FusedRecommender:
    """Fit what LLMA asks for people it knows; newcomers are left out, to save time."""
    model = LLMA(config, facts=facts).encode_items(train)
    return model.make_fusion(model.make_parts(train)).fit(train)


@experiment
def llma_known() -> dict[str, Any]:
    """Rank films for people who are known, with LLMA whole and with a part left out: the top-10 benchmark.

    The published split and two more of its kind. The settings of the parts are those that earlier chapters chose
    inside train of the published split; weights are learned inside train. "the whole class" is fitted with all that it
    has for newcomers; "seconds" are those of the others, without it. "MAP of the benchmark" divides by all of a user's
    test items, as its table does.
    """
    return _benchmarked(SPLITS, VARIANTS | {"without facts": {}}, whole=True)


def _benchmarked(seeds: Iterable[int], variants: Mapping[str, dict[str, Any]], whole: bool) -> dict[str, Any]:
    data = load_movielens()
    facts, nothing = film_facts(data), sparse.csr_array((data.n_items, 1))
    genres = genre_vectors(data)
    table, weights = [], []
    for seed in tqdm(seeds, desc="splits"):
        train, test = splits.recommenders_split(data, seed=seed)
        models: dict[str, Any] = {
            "autoencoder, 0.65 and 700": DenoisingAutoencoder(dropout=0.65, l2=700.0).fit(train),
            "autoencoder": DenoisingAutoencoder(dropout=0.5, l2=700.0).fit(train),
            "ALS": ALS(factors=64, alpha=4.0, l2=40.0).fit(train),
            "autoencoder with facts": FactAutoencoder(facts, weight=50.0, dropout=0.65, l2=300.0).fit(train),
        }
        for name, left_out in variants.items():
            began = time.perf_counter()
            models[name] = _known(
                replace(LLMAConfig(), **left_out), nothing if name == "without facts" else facts, train
            )
            spent = time.perf_counter() - began
            weights.append({"model": name, "seed": seed, "seconds": spent, **models[name].gate_.known})
        if whole and seed == SPLITS[0]:
            models["the whole class"] = LLMA(facts=facts).fit(train)
        reports = {name: evaluate(model, train, test, name=name, item_vectors=genres) for name, model in models.items()}
        table += [_row(name, seed, report, reports, test) for name, report in reports.items()]
    return {"table": table, "weights": weights}


@llma_known.check
def _llma_known_again(stored: Result, rng: np.random.Generator) -> Iterator[Row]:
    seed = draw(rng, SPLITS)
    again = _benchmarked([seed], {"LLMA": {}}, whole=False)
    for part in ("table", "weights"):
        yield Row.of(f"{part}, LLMA and rivals, split {seed}", stored[part], again[part], "model", "seed")


def _row(name: str, seed: int, report: Report, reports: dict[str, Report], test: Dataset) -> dict[str, Any]:
    low, high = report.interval.loc["ndcg"]
    row = {"model": name, "seed": seed, "low": low, "high": high}
    assert report.lists is not None
    relevant = test.matrix()[test.users_to_index(report.per_user.index)]
    row["MAP of the benchmark"] = average_precision_at_k(report.lists, relevant, 10, divide_by="relevant").mean()
    row |= {m: report.mean[m] for m in ("ndcg", "map", "precision", "recall", "coverage", "novelty", "diversity")}
    for rival in ("LLMA", "autoencoder, 0.65 and 700", "autoencoder", "ALS", "autoencoder with facts"):
        lead = compare(report, reports[rival]).loc["ndcg"]
        row |= {f"{column} over {rival}": lead[column] for column in ("difference", "low", "high")}
    return row


def _text_part(train: Dataset, facts: sparse.csr_array, encoder: Encoder | None) -> Any:
    """Fit the part of LLMA that orders films that nobody has met; no encoder does without a language model."""
    config = LLMAConfig() if encoder else LLMAConfig(encoder=None)
    model = LLMA(config, facts=facts, encoder=encoder).encode_items(train)
    return model.make_parts(train)["text"].fit(train)


@experiment
def llma_new_items() -> dict[str, Any]:
    """Rank films that nobody has rated: the draws and the protocol of `new_films_facts`.

    LLMA orders them as its part "text" does, so that of its other forms only this part is fitted: with counted words in
    place of the language model, without either, without facts, and with facts but nominations and prizes, which a film
    does not have on its first day. "one set of weights" ranks them by the weights of films that are known.
    """
    return {"table": _new_films(range(5))}


def _new_films(seeds: Iterable[int]) -> list[dict[str, Any]]:
    data, minilm = without_twins(load_movielens()), TextEncoder()
    texts = data.items["text"].tolist()
    words = TfidfEncoder().fit(texts)
    kinds = dict(fact_choices(data))
    facts, early, nothing = film_facts(data), kinds["facts but awards"], sparse.csr_array((data.n_items, 1))
    table = []
    for seed in tqdm(seeds, desc="draws"):
        train, test = splits.cold_items(data, 0.2, seed=seed)
        new = np.unique(test.item_index)
        models: dict[str, Any] = {
            "text": TextRecommender(minilm, l2=LLMAConfig.text_l2).fit(train),
            "autoencoder with facts": FactAutoencoder(facts, weight=50.0, dropout=0.65, l2=300.0).fit(train),
            "LLMA": _known(LLMAConfig(), facts, train),
            "without the part text": _known(LLMAConfig(parts=("factors", "autoencoder")), facts, train),
            "without facts": _text_part(train, nothing, minilm),
        }
        for name, known in (("", facts), (", no awards", early)):
            models[f"LLMA{name}"] = models.get(f"LLMA{name}") or _text_part(train, known, minilm)
            models[f"counted words{name}"] = _text_part(train, known, words)
            models[f"without the language model{name}"] = _text_part(train, known, None)
        models["one set of weights"] = copy.copy(models["LLMA"])
        models["one set of weights"].gate_ = Gate(models["LLMA"].gate_.known)
        reports = {name: evaluate(model, train, test, candidates=new) for name, model in models.items()}
        for name, report in reports.items():
            row = {"model": name, "seed": seed, "ndcg": report.mean["ndcg"]}
            for rival in ("text", "LLMA", "LLMA, no awards"):
                lead = compare(report, reports[rival]).loc["ndcg"]
                row |= {f"{column} over {rival}": lead[column] for column in ("difference", "low", "high")}
            table.append(row)
    return table


@llma_new_items.check
def _llma_new_items_again(stored: Result, rng: np.random.Generator) -> Iterator[Row]:
    seed = draw(rng, range(5))
    yield Row.of(f"draw {seed}", stored["table"], _new_films([seed]), "model", "seed")


# Users, items, interactions of made-up data: one of the three grows at a time.
SIZES = ((10_000, 4000, 100_000), (10_000, 4000, 300_000), (10_000, 4000, 1_000_000), (3000, 4000, 300_000),
         (30_000, 4000, 300_000), (10_000, 1000, 300_000), (10_000, 20_000, 300_000),
         (10_000, 100_000, 300_000), (30_000, 100_000, 1_000_000))  # fmt: skip
_GROWTH = """
import json, resource, sys, time
import numpy as np, pandas as pd
from llmrec_lite import Dataset
from llmrec_lite.llma import LLMA, LLMAConfig
users, items, n = map(int, sys.argv[1:])
rng = np.random.default_rng(0)
drawn = np.minimum(rng.pareto(0.8, 2 * n) * items / 50, items - 1).astype(int)
log = pd.DataFrame({"user_id": rng.integers(users, size=2 * n), "item_id": drawn}).drop_duplicates().head(n)
data = Dataset.from_frames(log, pd.DataFrame({"item_id": range(items)}))
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
began = time.perf_counter()
model = LLMA(LLMAConfig(encoder=None)).fit(data)
fit = time.perf_counter() - began
peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
began = time.perf_counter()
model.score_indices(range(min(1000, users)))
score = time.perf_counter() - began
history = [(int(i), 1.0) for i in log["item_id"].head(10).unique()]
model.recommend_for(history=history)
began = time.perf_counter()
for _ in range(5):
    model.recommend_for(history=history)
ask = (time.perf_counter() - began) / 5
print(json.dumps({"users": users, "items": items, "interactions": len(log), "fit_seconds": fit,
                  "peak_mb": peak / 1024, "before_mb": before / 1024, "score_1000_seconds": score,
                  "ask_seconds": ask, "parts": list(model.fused_.parts_),
                  "limits": model.limits()}))
"""


@experiment
def llma_growth() -> dict[str, Any]:
    """Measure time and memory of LLMA, without texts, on made-up data up to a million interactions.

    Each size in a process of its own. Popularity follows a power law; who meets what is otherwise random. Texts come on
    top: a language model reads each text once (chapter 9).
    """
    return {"table": [_grown(*size) for size in tqdm(SIZES, desc="sizes")]}


def _grown(users: int, items: int, interactions: int) -> dict[str, Any]:
    command = [sys.executable, "-c", _GROWTH, *map(str, (users, items, interactions))]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    return json.loads(done.stdout.splitlines()[-1])


@llma_growth.check
def _llma_growth_again(stored: Result, rng: np.random.Generator) -> Iterator[Row]:
    row = {key: value for key, value in _grown(10_000, 1000, 300_000).items() if not key.endswith(("_seconds", "_mb"))}
    yield Row.of("the fewest items, but for time and memory", stored["table"], row, "users", "items", "interactions")

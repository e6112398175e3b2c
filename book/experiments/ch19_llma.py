"""Experiments of chapter 19; see `book.experiments` for the rules."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any, cast

import numpy as np
from scipy import sparse
from tqdm.auto import tqdm

from book.experiments.ch09_text_as_features import cold_item_draw
from book.experiments.ch17_facts import fact_choices, without_twins
from book.experiments.ch17_sessions import INNER, SEEDS, Parts, Setting, fitted, searched, shuffled_times
from book.experiments.ch18_fusion import genre_vectors
from book.experiments.registry import Result, Row, draw, experiment
from llmrec_lite import splits
from llmrec_lite.data import Dataset, load_movielens
from llmrec_lite.evaluate import Report, compare, evaluate
from llmrec_lite.knowledge.graph import film_facts
from llmrec_lite.knowledge.sessions import SessionAutoencoder
from llmrec_lite.language.encoder import TextEncoder
from llmrec_lite.language.text_recommender import Encoder, TextRecommender, TfidfEncoder
from llmrec_lite.llma import LLMA, LLMAConfig
from llmrec_lite.llma.fusion import FusedRecommender
from llmrec_lite.llma.weights import Gate
from llmrec_lite.metrics import average_precision_at_k

BEST = "autoencoder with sessions and facts"
TEXT_L2 = (1.0, 3.0, 10.0, 30.0, 100.0, 300.0)  # penalties of the ridge on texts and facts
SINGLE = ("users", "weighted users, sessions, facts", "ALS")  # searched inside train: a rival, and parts of LLMA
# What is left out, one at a time.
VARIANTS: dict[str, dict[str, Any]] = {
    "LLMA": {},
    "without the part text": {"parts": ("factors", "autoencoder")},
    "without the language model": {"encoder": None},
    "without the factors": {"parts": ("autoencoder", "text")},
    "without the autoencoder": {"parts": ("factors", "text")},
    "without facts": {},
    "without sessions": {"session_weight": 0.0},
    "shuffled times": {},
}


def _known(config: LLMAConfig, facts: sparse.csr_array | None, train: Dataset) -> FusedRecommender:
    """Fit what LLMA asks for users of train; the part for cold-start users is left out, to save time."""
    model = LLMA(config, facts=facts).encode_items(train)
    return model.make_fusion(model.make_parts(train)).fit(train)


def _cut(data: Dataset, seed: int) -> Parts:
    return splits.recommenders_split(data, seed=seed)


def with_settings(config: LLMAConfig, chosen: Mapping[str, Setting]) -> LLMAConfig:
    """Configuration of LLMA with the settings that `searched` chose for its autoencoder and its factors."""
    rows, als = chosen[SINGLE[1]], chosen["ALS"]
    own = {"autoencoder_l2" if name == "l2" else name: value for name, value in rows.items()}
    return replace(config, alpha=als["alpha"], factors_l2=als["l2"], **own)


def with_text_l2(
    config: LLMAConfig,
    facts: sparse.csr_array,
    train: Dataset,
    inner: Sequence[Parts],
    candidates: np.ndarray | None = None,
    encoder: Encoder | None = None,
) -> LLMAConfig:
    """Configuration with the penalty of the ridge that has the highest mean nDCG@10 on splits inside train."""
    ridge = LLMA(config, facts=facts, encoder=encoder).encode_items(train).make_parts(train).get("text")
    if not isinstance(ridge, TextRecommender):
        return config
    quality = {}
    for l2 in TEXT_L2:
        ridge.l2 = l2
        reports = (evaluate(ridge.fit(learn), learn, valid, candidates=candidates) for learn, valid in inner)
        quality[l2] = float(np.mean([report.mean["ndcg"] for report in reports]))
    return replace(config, text_l2=max(quality, key=lambda l2: quality[l2]))


@experiment
def llma_known() -> dict[str, Any]:
    """Rank films for users of train, with LLMA whole and with a part left out: the top-10 benchmark.

    The published split and four more of its kind. All settings are chosen inside train of each split, as the mean over
    two inner splits: those of the autoencoder with sessions and facts and of ALS by the search of `sessions`, the
    penalty of the ridge among six for each form of its vectors. Weights are learned inside train, from four quarters.
    "autoencoder" has the users' rows alone. "without sessions" and "without facts" keep the other settings.
    "shuffled times" is LLMA with the times of each user's interactions in another order. "the whole class" is fitted
    with all that it has for cold-start users; "seconds" are those of the others, without it. "MAP of the benchmark"
    divides by all of a user's test items, as its table does.
    """
    return _benchmarked(SEEDS, VARIANTS, whole=True)


def _benchmarked(
    seeds: Iterable[int],
    variants: Mapping[str, dict[str, Any]],
    whole: bool,
    stored: Mapping[int, Mapping[str, Setting]] | None = None,
) -> dict[str, Any]:
    data = load_movielens()
    facts, nothing = film_facts(data), sparse.csr_array((data.n_items, 1))
    genres = genre_vectors(data)
    table, weights, choices = [], [], []
    for seed in tqdm(seeds, desc="splits"):
        train, test = splits.recommenders_split(data, seed=seed)
        chosen = stored[seed] if stored else {name: one for name, one, _ in searched(train, _cut, facts, SINGLE)}
        choices.append({"seed": seed, "chosen": chosen})
        models: dict[str, Any] = {name: fitted(name, chosen[name], train, facts) for name in SINGLE}
        models = {"autoencoder": models["users"], "ALS": models["ALS"], BEST: models[SINGLE[1]]}
        inner = [_cut(train, number) for number in INNER]
        for name, left_out in variants.items():
            known = nothing if name == "without facts" else facts
            times = shuffled_times(train) if name == "shuffled times" else train
            config = replace(with_settings(LLMAConfig(), chosen), **left_out)
            config = with_text_l2(config, known, train, inner)
            began = time.perf_counter()
            models[name] = _known(config, known, times)
            spent = time.perf_counter() - began
            row = {"model": name, "seed": seed, "seconds": spent, "text_l2": config.text_l2}
            weights.append(row | models[name].gate_.known)
            if whole and (name, seed) == ("LLMA", SEEDS[0]):
                models["the whole class"] = LLMA(config, facts=facts).fit(train)
        reports = {name: evaluate(model, train, test, name=name, item_vectors=genres) for name, model in models.items()}
        table += [_row(name, seed, report, reports, test) for name, report in reports.items()]
    return {"table": table, "weights": weights, "chosen": choices}


@llma_known.check
def _llma_known_again(stored: Result, rng: np.random.Generator) -> Iterator[Row]:
    seed = draw(rng, SEEDS)
    chosen = {row["seed"]: row["chosen"] for row in stored["chosen"]}
    again = _benchmarked([seed], {"LLMA": {}}, whole=False, stored=chosen)
    for part in ("table", "weights"):
        yield Row.of(f"{part}, LLMA and rivals, split {seed}", stored[part], again[part], "model", "seed")


def _row(name: str, seed: int, report: Report, reports: dict[str, Report], test: Dataset) -> dict[str, Any]:
    low, high = report.interval.loc["ndcg"]
    row = {"model": name, "seed": seed, "low": low, "high": high}
    assert report.lists is not None
    relevant = test.matrix()[test.users_to_index(report.per_user.index)]
    row["MAP of the benchmark"] = average_precision_at_k(report.lists, relevant, 10, divide_by="relevant").mean()
    row |= {m: report.mean[m] for m in ("ndcg", "map", "precision", "recall", "coverage", "novelty", "diversity")}
    for rival in ("LLMA", "autoencoder", "ALS", BEST):
        lead = compare(report, reports[rival]).loc["ndcg"]
        row |= {f"{column} over {rival}": lead[column] for column in ("difference", "low", "high")}
    return row


@experiment
def llma_new_items() -> dict[str, Any]:
    """Rank films that nobody has rated: the draws and the protocol of `new_films_facts`.

    LLMA orders them as its part "text" does, so that of its other forms only this part is fitted: with counted words in
    place of the language model, without either, without facts, and with facts but nominations and prizes, which a film
    does not have on its first day. The penalty of each form's ridge is chosen among six, by films without ratings
    inside train. "one set of weights" ranks these films by the weights of films with ratings.
    """
    return {"table": _new_films(range(5))}


def _new_films(seeds: Iterable[int]) -> list[dict[str, Any]]:
    data, minilm = without_twins(load_movielens()), TextEncoder()
    words = TfidfEncoder().fit(data.items["text"].tolist())
    kinds = dict(fact_choices(data))
    facts, early, nothing = film_facts(data), kinds["facts but awards"], sparse.csr_array((data.n_items, 1))
    read: dict[str, tuple[sparse.csr_array, Encoder | None]] = {
        "LLMA": (facts, minilm),
        "counted words": (facts, words),
        "without the language model": (facts, None),
        "LLMA, no awards": (early, minilm),
        "counted words, no awards": (early, words),
        "without the language model, no awards": (early, None),
        "without facts": (nothing, minilm),
        "counted words without facts": (nothing, words),
    }
    table = []
    for seed in tqdm(seeds, desc="draws"):
        (train, test, new), (inner, valid, inner_new) = cold_item_draw(data, seed)
        models: dict[str, Any] = {BEST: _session_autoencoder(facts).fit(train)}
        chosen: dict[str, float] = {}
        for name, (known, encoder) in read.items():
            config = LLMAConfig() if encoder else LLMAConfig(encoder=None)
            config = with_text_l2(config, known, train, [(inner, valid)], inner_new, encoder)
            chosen[name] = config.text_l2
            model = LLMA(config, facts=known, encoder=encoder).encode_items(train)
            models[name] = model.make_parts(train)["text"].fit(train)
        llma = LLMAConfig(text_l2=chosen["LLMA"])
        models["one set of weights"] = _known(llma, facts, train)
        models["one set of weights"].gate_ = Gate(models["one set of weights"].gate_.known)
        models["without the part text"] = _known(replace(llma, parts=("factors", "autoencoder")), facts, train)
        reports = {name: evaluate(model, train, test, candidates=new) for name, model in models.items()}
        for name, report in reports.items():
            row = {"model": name, "seed": seed, "l2": chosen.get(name), "ndcg": report.mean["ndcg"]}
            for rival in ("without facts", "LLMA", "LLMA, no awards"):
                lead = compare(report, reports[rival]).loc["ndcg"]
                row |= {f"{column} over {rival}": lead[column] for column in ("difference", "low", "high")}
            table.append(row)
    return table


def _session_autoencoder(facts: sparse.csr_array) -> SessionAutoencoder:
    """LLMA's part of that name, by itself."""
    model = LLMA(LLMAConfig(parts=("autoencoder",)), facts=facts).encode_items(load_movielens())
    return cast(SessionAutoencoder, model.make_parts(load_movielens())["autoencoder"])


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

"""Experiments of chapter 19; see `llmrec_lite.experiments` for the rules."""

from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import replace
from typing import Any

import numpy as np
from scipy import sparse
from tqdm.auto import tqdm

from llmrec_lite import splits
from llmrec_lite.data import Dataset, load_movielens
from llmrec_lite.evaluate import Report, compare, evaluate
from llmrec_lite.fusion import FusedRecommender, fuse
from llmrec_lite.fusion_experiments import genre_vectors
from llmrec_lite.knowledge.links import film_facts
from llmrec_lite.knowledge.recommend import FactAutoencoder, FactEncoder
from llmrec_lite.language.encoder import TextEncoder
from llmrec_lite.llma import LLMA, LLMAConfig
from llmrec_lite.llma_newcomers import Newcomers
from llmrec_lite.llma_parts import scorer
from llmrec_lite.meta.coldstart import ColdStartRecommender
from llmrec_lite.meta.experiments import ORDERS, QUERY, SHARES, mean_interval
from llmrec_lite.meta.newcomer_experiments import classic_rankers, episode_rankers
from llmrec_lite.meta.people import Order, chosen, first_ten
from llmrec_lite.meta.tasks import SHOTS, split_users
from llmrec_lite.metrics import average_precision_at_k, ndcg_at_k
from llmrec_lite.recommenders import ALS, DenoisingAutoencoder, Popularity, TextRecommender
from llmrec_lite.recommenders.text import JoinedEncoder
from llmrec_lite.results import experiment

SPLITS = (42, 43, 44)  # of the benchmark; 42 is the published one
# What is left out, one at a time.
VARIANTS: dict[str, dict[str, Any]] = {
    "LLMA": {},
    "without the part text": {"parts": ("factors", "autoencoder")},
    "without the language model": {"encoder": None},
    "without the factors": {"parts": ("autoencoder", "text")},
    "without the autoencoder": {"parts": ("factors", "text")},
}


def _known(config: LLMAConfig, facts: sparse.csr_array | None, train: Dataset, gate: Any = "items") -> FusedRecommender:
    """Fit what LLMA asks for people it knows; newcomers are left out, to save time."""
    model = LLMA(config, facts=facts)
    model._describe(train)
    return FusedRecommender(model._parts(train), gate=gate, people=config.people, seed=config.seed).fit(train)


@experiment
def llma_known() -> dict[str, Any]:
    """Rank films for people who are known, with LLMA whole and with a part left out: the top-10 benchmark.

    The published split and two more of its kind. The settings of the parts are those that earlier chapters chose
    inside train of the published split; weights are learned inside train. "the whole class" is fitted with all
    that it has for newcomers. "MAP of the benchmark" divides by all of a user's test items, as its table does.
    """
    data = load_movielens()
    facts, nothing = film_facts(data), sparse.csr_array((data.n_items, 1))
    genres = genre_vectors(data)
    table, weights = [], []
    for seed in tqdm(SPLITS, desc="splits"):
        train, test = splits.recommenders_split(data, seed=seed)
        models: dict[str, Any] = {
            "autoencoder, 0.65 and 700": DenoisingAutoencoder(dropout=0.65, l2=700.0).fit(train),
            "autoencoder": DenoisingAutoencoder(dropout=0.5, l2=700.0).fit(train),
            "ALS": ALS(factors=64, alpha=4.0, l2=40.0).fit(train),
            "autoencoder with facts": FactAutoencoder(facts, weight=50.0, dropout=0.65, l2=300.0).fit(train),
        }
        for name, left_out in VARIANTS.items():
            models[name] = _known(replace(LLMAConfig(), **left_out), facts, train)
            weights.append({"model": name, "seed": seed, **models[name].gate_.known})
        models["without facts"] = _known(LLMAConfig(), nothing, train)
        models["without the gate"] = _known(LLMAConfig(), facts, train, gate=False)
        if seed == SPLITS[0]:
            models["the whole class"] = LLMA(facts=facts).fit(train)
        reports = {name: evaluate(model, train, test, name=name, item_vectors=genres) for name, model in models.items()}
        table += [_row(name, seed, report, reports, test) for name, report in reports.items()]
    return {"table": table, "weights": weights}


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


def _newcomers(both: Dataset, order: Order, facts: sparse.csr_array) -> tuple[LLMA, Newcomers, Any]:
    """Fit what LLMA asks for people of whom few choices are known."""
    model = LLMA(LLMAConfig(order=order), facts=facts)
    model._describe(both)

    def make(some: Dataset) -> Any:
        return {name: scorer(part.fit(some)) for name, part in model._parts(both).items()}

    newcomers = Newcomers(order, model.config.people, model.config.seed).fit(both, make, model.text_vectors_)
    return model, newcomers, make(both)


@experiment
def llma_new_users() -> dict[str, Any]:
    """Rank films for new people from 0 to 20 choices: nDCG@10 of what they chose later, among all other films.

    Five folds of 60, 20 and 20 of 100 people; people with 30 ratings or more are judged, as in `newcomers`. LLMA and
    chapter 14's recommender learn from the 80, and divide them as they like; the other rivals' settings are chosen for
    each K on the 20, and then fitted to the 80. Intervals are over people, with the models held fixed.
    """
    data = load_movielens()
    facts = film_facts(data)
    found: dict[tuple[str, int, str], list[np.ndarray]] = {}
    weights = []
    for fold in tqdm(range(5), desc="folds"):
        train, valid, test = split_users(data, SHARES, seed=0, fold=fold)
        rows = data.interactions
        both = data.with_interactions(rows[~np.isin(data.user_index, np.unique(test.user_index))])
        shared = [classic_rankers(part) for part in (train, both)]
        for order in ORDERS:
            _, newcomers, parts = _newcomers(both, order, facts)
            cold = ColdStartRecommender(order=order, seed=fold).fit(both)
            weights += [{"order": order, "fold": fold, "k": k, **w} for k, w in newcomers.weights_.items()]
            for k in SHOTS:
                of_k = [ways | episode_rankers(p, k, order) for ways, p in zip(shared, (train, both), strict=True)]
                (_, tell, later), (_, given, rest) = (
                    chosen(part, k, order, least=max(SHOTS) + QUERY - k) for part in (valid, test)
                )
                scores = {}
                for name in of_k[0]:
                    tried = [_ndcg(one(tell), tell, later).mean() for one in of_k[0][name]]
                    scores[name] = of_k[1][name][int(np.argmax(tried))](given)
                supports = [(np.flatnonzero(row), np.full(int(row.sum()), 4.0)) for row in given]
                scores["chapter 14"] = cold.choices(supports)
                scores["LLMA"] = newcomers.score(sparse.csr_array(given), parts)
                for name, values in scores.items():
                    found.setdefault((order, k, name), []).append(_ndcg(values, given, rest))
    table = []
    for (order_, k, name), lists in found.items():
        ours, row = np.concatenate(lists), {"order": order_, "k": k, "model": name}
        gap = np.concatenate(found[order_, k, "LLMA"]) - ours
        low, high = mean_interval(gap)
        table.append(row | {"ndcg": float(ours.mean()), "LLMA's lead": float(gap.mean()), "low": low, "high": high})
    return {"table": table, "weights": weights}


def _ndcg(scores: np.ndarray, given: np.ndarray, rest: np.ndarray) -> np.ndarray:
    return ndcg_at_k(first_ten(scores, given), sparse.csr_array(rest), 10)


@experiment
def llma_new_items() -> dict[str, Any]:
    """Rank films that nobody has rated: the draws and the protocol of `new_films_facts`."""
    data, encoder = load_movielens(), TextEncoder()
    data = data.with_interactions(data.interactions[~data.items["text"].duplicated().to_numpy()[data.item_index]])
    facts = film_facts(data)
    both = JoinedEncoder([encoder, FactEncoder(facts, data.items["text"].tolist())])
    table = []
    for seed in tqdm(range(5), desc="draws"):
        train, test = splits.cold_items(data, 0.2, seed=seed)
        new = np.unique(test.item_index)
        models: dict[str, Any] = {
            "text": TextRecommender(encoder, l2=3.0).fit(train),
            "text and facts": TextRecommender(both, l2=3.0).fit(train),
            "autoencoder with facts": FactAutoencoder(facts, weight=50.0, dropout=0.65, l2=300.0).fit(train),
            "LLMA": _known(LLMAConfig(), facts, train),
            "without the gate": _known(LLMAConfig(), facts, train, gate=False),
        }
        reports = {name: evaluate(model, train, test, candidates=new) for name, model in models.items()}
        for name, report in reports.items():
            row = {"model": name, "seed": seed, "ndcg": report.mean["ndcg"]}
            for rival in ("text", "text and facts"):
                lead = compare(report, reports[rival]).loc["ndcg"]
                row |= {f"{column} over {rival}": lead[column] for column in ("difference", "low", "high")}
            table.append(row)
    return {"table": table}


@experiment
def llma_requests() -> dict[str, Any]:
    """Serve new people who say what they would like: by the request, by five first choices, by both.

    Five folds. A person's wish names the two genres most frequent among the liked films of the first half of the
    ratings; judged by the second half, nDCG@10 among all films but the first half.
    """
    data = load_movielens()
    facts, genres = film_facts(data), data.items["genres"].str.get_dummies("|")
    found: dict[str, list[np.ndarray]] = {}
    for fold in tqdm(range(5), desc="folds"):
        test = split_users(data, SHARES, seed=0, fold=fold)[2]
        both = data.with_interactions(data.interactions[~np.isin(data.user_index, np.unique(test.user_index))])
        model, newcomers, parts = _newcomers(both, "time", facts)
        model.train_ = both
        popular = Popularity().fit(both).counts_.astype(np.float32)
        ratings, met = test.matrix("rating"), test.sequences()
        for user in np.unique(test.user_index):
            half = len(met[user]) // 2
            first, later = met[user][:half], met[user][half:]
            liked = [item for item in first if ratings[user, item] >= 4] or list(first)
            wish = genres.iloc[liked].sum().nlargest(2).index
            asked = model.score_request(f"I would like some {wish[0].lower()} or {wish[1].lower()} films")
            given = np.zeros((1, data.n_items), np.float32)
            given[0, first[:5]] = 1
            person = newcomers.score(sparse.csr_array(given), parts)[0]
            share = {"request": model.config.request_share, "person": 1 - model.config.request_share}
            little = {"request": 0.2, "person": 0.8}
            scores = {
                "popularity": popular,
                "request": asked,
                "request, then popularity": fuse({"request": asked, "person": popular}, share),
                "five choices": person,
                "five choices and request": fuse({"request": asked, "person": person}, share),
                "five choices, a little request": fuse({"request": asked, "person": person}, little),
            }
            closed, rest = np.zeros(data.n_items, bool), np.zeros((1, data.n_items))
            closed[first], rest[0, later] = True, 1
            for name, one in scores.items():
                value = _ndcg(one[None], closed[None].astype(np.float32), rest)
                found.setdefault(name, []).append(value)
    table = []
    for name, values in found.items():
        mine, gap = np.concatenate(values), np.concatenate(values) - np.concatenate(found["five choices"])
        low, high = mean_interval(gap)
        table.append({"model": name, "ndcg": float(np.nanmean(mine)), "over five choices": float(gap.mean()),
                      "low": low, "high": high})  # fmt: skip
    return {"table": table}


# Users, items, interactions of made-up data.
SIZES = ((1000, 500, 20_000), (2000, 1000, 100_000), (5000, 2000, 300_000), (10_000, 4000, 1_000_000),
         (10_000, 20_000, 300_000), (2000, 100_000, 100_000))  # fmt: skip
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
model.score(range(min(1000, users)))
score = time.perf_counter() - began
history = [(int(i), 1.0) for i in log["item_id"].head(10).unique()]
model.recommend(history=history)
began = time.perf_counter()
for _ in range(5):
    model.recommend(history=history)
ask = (time.perf_counter() - began) / 5
print(json.dumps({"users": users, "items": items, "interactions": len(log), "fit_seconds": fit,
                  "peak_mb": peak / 1024, "before_mb": before / 1024, "score_1000_seconds": score,
                  "ask_seconds": ask, "parts": list(model.fused_.parts_)}))
"""


@experiment
def llma_growth() -> dict[str, Any]:
    """Measure time and memory of LLMA, without texts, on made-up data up to a million interactions.

    Each size in a process of its own. Popularity follows a power law; who meets what is otherwise random. Texts come on
    top: a language model reads each text once (chapter 9).
    """
    rows = []
    for size in tqdm(SIZES, desc="sizes"):
        command = [sys.executable, "-c", _GROWTH, *map(str, size)]
        done = subprocess.run(command, capture_output=True, text=True, check=True)
        rows.append(json.loads(done.stdout.splitlines()[-1]))
    return {"table": rows}

"""Experiments of chapter 17 on recommending with facts; see `book.experiments` for the rules."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import replace
from functools import partial
from typing import Any

import numpy as np
import pandas as pd
from scipy import sparse
from sklearn.utils.parallel import Parallel, delayed
from tqdm.auto import tqdm

from book.experiments.ch09_text_as_features import L2, best_setting, cold_item_draw, with_interval
from book.experiments.ch17_link_prediction import dense_facts
from book.experiments.common import settings, top10_parts
from book.experiments.registry import Result, Row, draw, experiment, find
from llmrec_lite.data import Dataset, load_movielens
from llmrec_lite.evaluate import Report, compare, evaluate
from llmrec_lite.knowledge.embedding import KnowledgeEmbedding
from llmrec_lite.knowledge.graph import (
    KnowledgeGraph,
    fact_matrix,
    fact_sentences,
    genre_facts,
    link_by_title,
    load_film_facts,
    load_shipped_links,
)
from llmrec_lite.knowledge.recommend import CKE, FactAutoencoder, FactEncoder, GraphRecommender
from llmrec_lite.language.encoder import TextEncoder
from llmrec_lite.language.text_recommender import ConcatEncoder, Encoder, TextRecommender, TfidfEncoder
from llmrec_lite.recommenders import ALS, DenoisingAutoencoder

SEEDS = 2
AWARDS = ["nominated for", "won"]  # known only some time after the premiere
AUTOENCODER = {"dropout": [0.5, 0.65], "l2": [150.0, 300.0, 700.0]}
WEIGHTS = {"weight": [10.0, 20.0, 50.0, 100.0]}
# The plain autoencoder may try as many settings as those that have a weight to choose.
PLAIN = {"dropout": [0.4, 0.5, 0.6, 0.65, 0.7], "l2": [150.0, 300.0, 700.0, 1500.0, 3000.0]}
# Films by how often they were met in train; "all" is the usual list.
GROUPS = {"all": (0, np.inf), "at most 20": (0, 20), "21 to 100": (21, 100), "over 100": (101, np.inf)}


def _shuffled(links: pd.Series, seed: int = 0) -> pd.Series:
    """Link each film to the entity of another, as a control; a film that the catalog has twice stays one film."""
    entities = links.unique()
    return links.map(dict(zip(entities, np.random.default_rng(seed).permutation(entities), strict=True)))


def fact_choices(data: Dataset) -> Iterator[tuple[str, sparse.csr_array]]:
    """Each kind of facts of the comparison, (n_items, n_facts)."""
    facts, right = load_film_facts(), link_by_title(data)
    genre, late = facts["relation"] == "genre", facts["relation"].isin(AWARDS)
    yield "facts, shipped links", fact_matrix(facts, load_shipped_links(), data)[0]
    for seed in range(3):
        yield f"facts, shuffled links {seed + 1}", fact_matrix(facts, _shuffled(right, seed), data)[0]
    yield "facts, right links", fact_matrix(facts, right, data)[0]
    yield "genres of the graph", fact_matrix(facts[genre], right, data)[0]
    yield "facts but genres", fact_matrix(facts[~genre], right, data)[0]
    yield "facts but awards", fact_matrix(facts[~late], right, data)[0]
    yield "genres of the catalog", genre_facts(data)


def _by_group(model: Any, train: Dataset, test: Dataset, name: str) -> dict[str, Report]:
    """Measure the usual list, and lists of the films of each group alone, for the users with such films in test."""
    met = np.bincount(train.item_index, minlength=train.n_items)
    reports = {}
    for group, (low, high) in GROUPS.items():
        films = np.flatnonzero((met >= low) & (met <= high))
        part = test.with_interactions(test.interactions[np.isin(test.item_index, films)])
        reports[group] = evaluate(model, train, part, candidates=films, name=name)
    return reports


def _autoencoder(name: str, make: Any, grid: Any, parts: Any) -> tuple[str, Any, list[Any], dict[str, Report]]:
    inner, valid, train, test = parts
    tried = [
        {**setting, "ndcg": evaluate(make(**setting).fit(inner), inner, valid).mean["ndcg"]}
        for setting in settings(grid)
    ]
    best = max(tried, key=lambda row: row["ndcg"])
    chosen = {key: best[key] for key in grid}
    return name, chosen, tried, _by_group(make(**chosen).fit(train), train, test, name)


def _rows(name: str, setting: Any, reports: dict[str, Report], rivals: Mapping[str, dict[str, Report]]) -> list[Any]:
    """Return a row for each group of films, with the lead over each rival."""
    rows = []
    for group, report in reports.items():
        low, high = report.interval.loc["ndcg"]
        row = {"model": name, "films": group, "setting": setting, "users": len(report.per_user)}
        row |= {"ndcg": report.mean["ndcg"], "low": low, "high": high}
        for rival, theirs in rivals.items():
            lead = compare(report, theirs[group]).loc["ndcg"]
            row |= {f"{column} over {rival}": lead[column] for column in ("difference", "low", "high")}
        rows.append(row)
    return rows


def _fact_model(name: str, facts: sparse.csr_array, parts: Any) -> tuple[str, Any, list[Any], Any, Any]:
    """As `_autoencoder`, and the same setting with a weight of zero: what the facts add, and nothing else."""
    found = _autoencoder(name, partial(FactAutoencoder, facts), WEIGHTS | AUTOENCODER, parts)
    return *found, _weightless(name, facts, found[1], parts)


def _weightless(name: str, facts: sparse.csr_array, setting: dict[str, Any], parts: Any) -> dict[str, Report]:
    without = FactAutoencoder(facts, **(setting | {"weight": 0.0})).fit(parts[2])
    return _by_group(without, parts[2], parts[3], name)


@experiment
def facts_fused() -> dict[str, Any]:
    """Recommend films with and without facts about them: the denoising autoencoder, 24 or 25 settings each.

    The split of `top10`; settings chosen inside train by the usual list. Besides the usual list, the films of each
    group are ranked among themselves. "over weight 0" compares with the same setting and a weight of zero for the
    facts. Shuffled links give each linked film the facts of another, three times.
    """
    data, parts = load_movielens(), top10_parts()
    train, test = parts[2:]
    _, setting, tried, plain = _autoencoder("no facts", DenoisingAutoencoder, PLAIN, parts)
    als = _by_group(ALS(factors=64, alpha=4.0, l2=40.0).fit(train), train, test, "ALS")
    choices = dict(fact_choices(data))
    work = Parallel(n_jobs=-1, max_nbytes=None, return_as="generator_unordered")
    jobs = [delayed(_fact_model)(name, facts, parts) for name, facts in choices.items()]
    done = {found[0]: found[1:] for found in tqdm(work(jobs), total=len(jobs), desc="models")}
    table = _rows("no facts", setting, plain, {}) + _rows("ALS", {}, als, {})
    genres = done["genres of the catalog"][2]
    for name in choices:
        rivals = {"no facts": plain, "weight 0": done[name][3]}
        if name == "facts, right links":
            rivals |= {"genres of the catalog": genres, "ALS": als}
        table += _rows(name, done[name][0], done[name][2], rivals)
    return {"table": table, "tried": {"no facts": tried} | {name: found[1] for name, found in done.items()}}


@facts_fused.check
def _facts_fused_again(stored: Result, rng: np.random.Generator) -> Iterator[Row]:
    parts = top10_parts()
    name, facts = draw(rng, fact_choices(load_movielens()))
    setting = find(stored["table"], model=name)["setting"]
    mine = _by_group(FactAutoencoder(facts, **setting).fit(parts[2]), parts[2], parts[3], name)
    plain = DenoisingAutoencoder(**find(stored["table"], model="no facts")["setting"]).fit(parts[2])
    rivals = {
        "no facts": _by_group(plain, parts[2], parts[3], "no facts"),
        "weight 0": _weightless(name, facts, setting, parts),
    }
    yield Row.of(name, stored["table"], _rows(name, setting, mine, rivals), "model", "films")


def _embedding_model(name: str, make: Any, grid: Any, parts: Any) -> tuple[str, Any, list[Any], dict[str, Report]]:
    """As `_autoencoder`, for models with a seed: each user's mean over two seeds."""
    _, chosen, tried, _ = found = _autoencoder(name, partial(make, seed=0), grid, parts)
    _, _, train, test = parts
    runs = [found[3]] + [_by_group(make(**chosen, seed=seed).fit(train), train, test, name) for seed in range(1, SEEDS)]
    means = {
        group: replace(runs[0][group], per_user=sum(run[group].per_user for run in runs) / SEEDS) for group in GROUPS
    }
    return name, chosen, tried, means


def _in_one_graph(facts: pd.DataFrame | None, links: pd.Series | None, seed: int, **setting: Any) -> GraphRecommender:
    return GraphRecommender(facts, links, KnowledgeEmbedding("complex", seed=seed, **setting), liked=0.0)


@experiment
def facts_learned() -> dict[str, Any]:
    """Learn vectors of facts and of tastes together: CKE, and one graph of people, films, facts and context.

    The split of `top10`, two seeds, two settings each, chosen inside train. "CKE, no facts" is the same factorization
    with the entities left out. In the one graph everything met counts as liked, as in the test; without facts it still
    has the catalog's genres and decades, and the people. Lists as in `facts_fused`.
    """
    models, parts = _learned_models(), top10_parts()
    work = Parallel(n_jobs=-1, max_nbytes=None, return_as="generator_unordered")
    jobs = [delayed(_embedding_model)(name, *model, parts) for name, model in models.items()]
    done = {found[0]: found[1:] for found in tqdm(work(jobs), total=len(jobs), desc="models")}
    table = []
    for name in models:
        kind = name.split(",")[0]
        table += _rows(name, done[name][0], done[name][2], {"no facts": done[f"{kind}, no facts"][2]})
    return {"table": table, "tried": {name: found[1] for name, found in done.items()}}


def _learned_models() -> dict[str, tuple[Any, Any]]:
    facts, right = dense_facts(), link_by_title(load_movielens())
    graph = KnowledgeGraph.from_frame(facts)
    cke, one = {"weight": [0.1, 1.0]}, {"n_epochs": [10], "dropout": [0.3, 0.5]}
    return {
        "CKE, no facts": (partial(CKE, graph, right, 0.0), {"dropout": [0.5, 0.6]}),
        "CKE, shuffled links": (partial(CKE, graph, _shuffled(right)), cke),
        "CKE, right links": (partial(CKE, graph, right), cke),
        "one graph, no facts": (partial(_in_one_graph, None, None), one),
        "one graph, right links": (partial(_in_one_graph, facts, right), one),
    }


@facts_learned.check
def _facts_learned_again(stored: Result, rng: np.random.Generator) -> Iterator[Row]:
    inner, valid = top10_parts()[:2]
    name, tried = draw(rng, [(name, row) for name in QUICK for row in stored["tried"][name]])
    make, grid = _learned_models()[name]
    found = evaluate(make(seed=0, **{key: tried[key] for key in grid}).fit(inner), inner, valid)
    yield Row(f"{name} inside train", tried["ndcg"], found.mean["ndcg"])


QUICK = ("CKE, no facts", "CKE, shuffled links", "CKE, right links")


@experiment
def new_films_facts() -> dict[str, Any]:
    """Rank films that nobody has rated, by text, by facts and by both: the draws and the protocol of `new_items`.

    Of films that the catalog has twice only the first entry is kept, or a new film could be known from its twin.
    "MiniLM, facts as sentences" reads who made a film as "By the director of Alien (1979)." behind its text. The films
    named there are those most met in the part that a model may see.
    """
    data = without_twins(load_movielens())
    facts, links, encoders = load_film_facts(), link_by_title(data), _film_encoders(data)
    table, gaps = [], []
    for seed in tqdm(range(5), desc="draws"):
        (train, test, new), (inner, valid, inner_new) = cold_item_draw(data, seed)
        reports: dict[str, Report] = {}
        for name, one in encoders.items():
            told, whole = [inner, valid], [train, test]
            if name.endswith("sentences"):
                told = [_told(part, inner, facts, links) for part in told]
                whole = [_told(part, train, facts, links) for part in whole]
            make = partial(TextRecommender, one)
            setting = best_setting(make, {"l2": L2}, *told, candidates=inner_new)
            reports[name] = report = evaluate(make(**setting).fit(whole[0]), whole[0], whole[1], candidates=new)
            table.append({"model": name, "seed": seed, "setting": setting, **with_interval(report)})
        for name in reports:
            gap = compare(reports[name], reports["MiniLM"]).loc["ndcg"]
            gaps.append({"model": name, "seed": seed, **gap[["difference", "low", "high"]].to_dict()})
    return {"table": table, "gaps": gaps}


def without_twins(data: Dataset) -> Dataset:
    """Leave out the second entry of films that the catalog has twice."""
    return data.with_interactions(data.interactions[~data.items["text"].duplicated().to_numpy()[data.item_index]])


def _film_encoders(data: Dataset) -> dict[str, Encoder]:
    encoder, texts = TextEncoder(), data.items["text"].tolist()
    chosen = ("facts, shipped links", "facts, shuffled links 1", "facts but awards", "facts, right links")
    known = {name: FactEncoder(matrix, texts) for name, matrix in fact_choices(data) if name in chosen}
    return {
        "TF-IDF": TfidfEncoder(),
        "MiniLM": encoder,
        "MiniLM + TF-IDF": ConcatEncoder([encoder, TfidfEncoder()]),
        "MiniLM, facts as sentences": encoder,
        **known,
        **{f"MiniLM + {name}": ConcatEncoder([encoder, facts_only]) for name, facts_only in known.items()},
    }


@new_films_facts.check
def _new_films_facts_again(stored: Result, rng: np.random.Generator) -> Iterator[Row]:
    data = without_twins(load_movielens())
    seed, rows = draw(rng, range(5)), []
    train, test, new = cold_item_draw(data, seed)[0]
    for name, one in _film_encoders(data).items():
        if not name.endswith("sentences"):  # which MiniLM would have to read for minutes
            model = TextRecommender(one, **find(stored["table"], model=name, seed=seed)["setting"]).fit(train)
            report = evaluate(model, train, test, candidates=new)
            rows.append({"model": name, "seed": seed, **with_interval(report)})
    yield Row.of(f"draw {seed}", stored["table"], rows, "model", "seed")


def _told(part: Dataset, known: Dataset, facts: pd.DataFrame, links: pd.Series) -> Dataset:
    """Put the sentences of the facts behind the items' texts."""
    sentences = fact_sentences(facts, links, known)
    items = part.items.assign(text=[f"{t} {s}".strip() for t, s in zip(part.items["text"], sentences, strict=True)])
    return replace(part, items=items)

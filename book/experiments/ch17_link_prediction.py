"""Experiments of chapter 17 on predicting facts; see `book.experiments` for the rules."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import Any

import numpy as np
import pandas as pd
from sklearn.utils.parallel import Parallel, delayed
from tqdm.auto import tqdm

from book.experiments.common import settings
from book.experiments.registry import Result, Row, experiment
from llmrec_lite.knowledge.embedding import (
    KnowledgeEmbedding,
    RelationFrequency,
    TailScorer,
    add_inverse_triples,
    link_prediction,
    mrr_and_hits,
)
from llmrec_lite.knowledge.graph import KnowledgeGraph, load_film_facts, load_triples

SEEDS = 3
EMBEDDINGS = {"n_epochs": [20], "learning_rate": [0.01, 0.02], "dropout": [0.0, 0.3, 0.6], "dim": [128]}


def dense_facts() -> pd.DataFrame:
    """Return the film facts whose head and tail occur in two facts at least: only those can be predicted."""
    facts = load_film_facts()
    degree = pd.concat([facts["head"], facts["tail"]]).value_counts()
    return facts[(facts["head"].map(degree) >= 2) & (facts["tail"].map(degree) >= 2)]


def _parts(graph: KnowledgeGraph) -> tuple[KnowledgeGraph, KnowledgeGraph, KnowledgeGraph]:
    """Cut a tenth off for the test, then a tenth for the validation."""
    rest, test = graph.split(0.1, seed=0)
    train, valid = rest.split(0.1, seed=1)
    return train, valid, test


def _predicted(model: TailScorer, test: KnowledgeGraph, *known: KnowledgeGraph) -> pd.DataFrame:
    """Rank the facts of a test; what any part knows is filtered."""
    everything = replace(test, triples=np.concatenate([part.triples for part in known]))
    return link_prediction(model, test, everything)


def _embedded(name: str, scorer: Any, parts: Any, grid: Mapping[str, Any]) -> tuple[str, Any, Any, list[pd.DataFrame]]:
    """Choose a setting on the validation facts, then train with every seed and rank the test's."""
    train, valid, test = parts
    tried = []
    for setting in settings(grid):
        ranks = _predicted(KnowledgeEmbedding(scorer, **setting).fit(train), valid, train)
        tried.append({**setting, "mrr": mrr_and_hits(ranks)["mrr"]})
    best = max(tried, key=lambda row: row["mrr"])
    chosen = {key: best[key] for key in grid}
    models = (KnowledgeEmbedding(scorer, **chosen, seed=seed).fit(train) for seed in range(SEEDS))
    return name, chosen, tried, [_predicted(model, test, train, valid) for model in models]


class ReadBackwards:
    """The rule that a graph with inverse relations invites: t follows (h, r) if (t, the inverse of r, h) is known."""

    def fit(self, graph: KnowledgeGraph) -> ReadBackwards:
        """Find, for each relation, the one that most often holds of the same pair."""
        n = len(graph.relations)
        facts = pd.DataFrame(graph.triples, columns=["h", "r", "t"])
        pairs = facts.merge(facts, left_on=["h", "t"], right_on=["t", "h"], suffixes=("", "_back"))
        count = pairs.groupby(["r", "r_back"]).size().sort_values().reset_index().drop_duplicates("r", keep="last")
        self.inverse_ = dict(zip(count["r"], count["r_back"], strict=True))
        self.known_ = {(h, r): part["t"].to_numpy() for (h, r), part in facts.groupby(["h", "r"])}
        self.known_ |= {(t, r + n): part["h"].to_numpy() for (t, r), part in facts.groupby(["t", "r"])}
        self.n_entities_, self.n_relations_ = len(graph.entities), n
        return self

    def score_tails(self, heads: np.ndarray, relations: np.ndarray) -> np.ndarray:
        """Return 1 for those that the rule names and 0 for the others, (n, n_entities)."""
        scores = np.zeros((len(heads), self.n_entities_), np.float32)
        for row, (head, relation) in enumerate(zip(heads, relations, strict=True)):
            n, back = self.n_relations_, relation >= self.n_relations_
            inverse = self.inverse_.get(relation % n)
            if inverse is not None:
                scores[row, self.known_.get((head, inverse if back else inverse + n), [])] = 1
        return scores


class AnotherRole:
    """The rule that people with several roles invite: who wrote a film may have directed it too.

    The score of (h, r, t) is how often r holds of a pair of which another relation is known, the most telling of those
    known of h and t, plus the share of t among the tails of r.
    """

    def fit(self, graph: KnowledgeGraph) -> AnotherRole:
        """Count how often two relations hold of one pair."""
        n = len(graph.relations)
        facts = pd.DataFrame(add_inverse_triples(graph.triples, n), columns=["h", "r", "t"])
        pairs = facts.merge(facts, on=["h", "t"], suffixes=("", "_known"))
        pairs = pairs[pairs["r"] != pairs["r_known"]]
        self.often_ = np.zeros((2 * n, 2 * n), np.float32)
        np.add.at(self.often_, (pairs["r"].to_numpy(), pairs["r_known"].to_numpy()), 1)
        self.often_ /= np.maximum(np.bincount(facts["r"], minlength=2 * n), 1)
        self.known_ = {h: (part["t"].to_numpy(), part["r"].to_numpy()) for h, part in facts.groupby("h")}
        self.frequency_ = RelationFrequency().fit(graph)
        return self

    def score_tails(self, heads: np.ndarray, relations: np.ndarray) -> np.ndarray:
        """Return (n, n_entities)."""
        scores = self.frequency_.score_tails(heads, relations)
        scores = scores / np.maximum(scores.sum(1, keepdims=True), 1)
        for row, (head, relation) in enumerate(zip(heads, relations, strict=True)):
            if head in self.known_:
                tails, known = self.known_[head]
                np.maximum.at(scores[row], tails, self.often_[relation, known] + scores[row, tails])
        return scores


@experiment
def facts_missing() -> dict[str, Any]:
    """Predict a tenth of the facts about films: filtered ranks, six settings a model, three seeds.

    Settings are chosen on a validation tenth. "known pairs" are test facts whose head and tail stand in train under
    another relation, "new pairs" the others. "facts twice" is the graph as it comes with the data, in which nine
    relations stand forwards and backwards, with a tenth drawn apart: other questions, so other numbers.
    """
    parts, twice = _graphs()
    jobs = [delayed(_embedded)(scorer, scorer, parts, EMBEDDINGS) for scorer in ("transe", "distmult", "complex")]
    one = {"n_epochs": [20], "learning_rate": [0.01], "dropout": [0.3], "dim": [64]}
    jobs.append(delayed(_embedded)("complex, facts twice", "complex", twice, one))
    work = Parallel(n_jobs=-1, max_nbytes=None, return_as="generator_unordered")
    done = {found[0]: found[1:] for found in tqdm(work(jobs), total=len(jobs), desc="models")}
    ranks = _ranks_by_rules(parts) | {name: done[name][2] for name in ("transe", "distmult", "complex")}
    again = _ranks_twice(twice) | {"complex": done["complex, facts twice"][2]}
    chosen = {name: found[0] for name, found in done.items()}
    tried = {name: found[1] for name, found in done.items()}
    tables, sizes = _tables(parts, ranks, again, chosen)
    return {**tables, "tried": tried, "sizes": sizes}


Graphs = tuple[KnowledgeGraph, KnowledgeGraph, KnowledgeGraph]  # train, validation, test


def _graphs() -> tuple[Graphs, Graphs]:
    """Return the facts once, and as they come with the data."""
    return _parts(KnowledgeGraph.from_frame(dense_facts())), _parts(KnowledgeGraph.from_frame(load_triples()))


def _ranks_by_rules(parts: Graphs) -> dict[str, list[pd.DataFrame]]:
    train, valid, test = parts
    ranks = {"frequency": [_predicted(RelationFrequency().fit(train), test, train, valid)]}
    return ranks | {"another role": [_predicted(AnotherRole().fit(train), test, train, valid)]}


def _ranks_twice(twice: Graphs) -> dict[str, list[pd.DataFrame]]:
    return {
        "frequency": [_predicted(RelationFrequency().fit(twice[0]), twice[2], *twice[:2])],
        "read backwards": [_predicted(ReadBackwards().fit(twice[0]), twice[2], *twice[:2])],
    }


def _tables(
    parts: Graphs,
    ranks: Mapping[str, list[pd.DataFrame]],
    again: Mapping[str, list[pd.DataFrame]],
    chosen: Mapping[str, Any],
) -> tuple[dict[str, list[dict[str, Any]]], dict[str, int]]:
    """Return the three tables of models, and the sizes of the graphs."""
    train, valid, test = parts
    pairs = {(h, t) for h, _, t in train.triples}
    known = np.tile([(h, t) in pairs or (t, h) in pairs for h, _, t in test.triples], 2)
    table = []
    for name, runs in ranks.items():
        measured = pd.DataFrame([mrr_and_hits(run) for run in runs])
        row = {"model": name, "setting": chosen.get(name, {}), **measured.mean()}
        row["known pairs"] = np.mean([mrr_and_hits(run[known])["mrr"] for run in runs])
        row["new pairs"] = np.mean([mrr_and_hits(run[~known])["mrr"] for run in runs])
        table.append({**row, "runs": measured["mrr"].tolist()})
    by_relation = [
        {"model": name, "relation": relation, "side": side, "facts": len(part), "mrr": (1 / part["rank"]).mean()}
        for name in ranks
        for (relation, side), part in ranks[name][0].groupby(["relation", "side"])
    ]
    twice_table = [
        {"model": name, **pd.DataFrame([mrr_and_hits(run) for run in runs]).mean()} for name, runs in again.items()
    ]
    sizes = {"train": len(train), "valid": len(valid), "test": len(test), "entities": len(train.entities)}
    sizes |= {"known pairs": int(known.sum() // 2), "all facts": len(load_triples())}
    return {"table": table, "by_relation": by_relation, "twice": twice_table}, sizes


@facts_missing.check
def _facts_missing_again(stored: Result, rng: np.random.Generator) -> Iterator[Row]:
    parts, twice = _graphs()  # what is trained takes minutes a run
    tables, sizes = _tables(parts, _ranks_by_rules(parts), _ranks_twice(twice), {})
    yield Row("sizes", stored["sizes"], sizes)
    yield Row.of("rules", stored["table"], tables["table"], "model")
    yield Row.of("rules by relation", stored["by_relation"], tables["by_relation"], "model", "relation", "side")
    yield Row.of("rules, facts twice", stored["twice"], tables["twice"], "model")

"""Experiment of chapter 19 on the later edition of MovieLens; see `book.experiments` for the rules."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import replace
from functools import partial
from typing import Any

import numpy as np
from scipy import sparse
from tqdm.auto import tqdm

from book.experiments.ch17_sessions import (
    ALS_GRID,
    ALS_START,
    GRID,
    PLAIN,
    ROWS,
    Parts,
    Setting,
    climb,
    fitted,
    shuffled_times,
)
from book.experiments.ch19_llma import BEST, SINGLE, VARIANTS, with_settings, with_text_l2
from book.experiments.registry import Result, Row, experiment
from llmrec_lite.data import Dataset, load_movielens
from llmrec_lite.evaluate import Report, compare, evaluate
from llmrec_lite.knowledge.graph import film_facts
from llmrec_lite.knowledge.sessions import SessionAutoencoder
from llmrec_lite.llma import LLMA, LLMAConfig
from llmrec_lite.recommenders import Popularity
from llmrec_lite.recommenders.linear import Directions, gram_directions

RANK = LLMAConfig.autoencoder_rank
OFF: Setting = {"pauses": (), "session_weight": 0.0, "fact_weight": 0.0, "user_exponent": 0.0}
SHORT = {
    name: VARIANTS[name]
    for name in ("LLMA", "without the part text", "without the language model", "without sessions", "shuffled times")
}
RIVALS = ("LLMA", "popularity", "autoencoder", "ALS", BEST)


def last_tenth(data: Dataset) -> Parts:
    """Last tenth of each user's interactions as test, rounded; ties in time go by the order of the file."""
    by_user = data.time_order[np.argsort(data.user_index[data.time_order], kind="stable")]
    counts = np.bincount(data.user_index, minlength=data.n_users)
    from_end = np.concatenate([np.arange(n, 0, -1) for n in counts])
    in_test = np.zeros(len(data), bool)
    in_test[by_user] = from_end <= np.repeat(np.round(0.1 * counts), counts)
    rows = data.interactions
    return data.with_interactions(rows[~in_test]), data.with_interactions(rows[in_test])


class _Inner:
    """A split inside train, and the main directions of each choice of rows, which many settings share."""

    def __init__(self, train: Dataset, valid: Dataset, facts: sparse.csr_array) -> None:
        self.train, self.valid, self.facts = train, valid, facts
        self.found: dict[Any, Directions] = {}

    def ndcg(self, setting: Setting) -> float:
        """NDCG@10 inside train of the autoencoder of low rank."""
        model = SessionAutoencoder(self.facts, rank=RANK, **(OFF | setting))
        rows = tuple(model.get_params()[name] for name in OFF)
        if rows not in self.found:
            self.found[rows] = gram_directions(model.weighted_rows(self.train), self.train.n_items, RANK)
        return self.quality(model.fit_directions(self.train, self.found[rows]))

    def als(self, setting: Setting) -> float:
        """NDCG@10 inside train of ALS."""
        return self.quality(fitted("ALS", setting, self.train, self.facts))

    def quality(self, model: Any) -> float:
        """Return the mean nDCG@10 of a fitted model."""
        return float(evaluate(model, self.train, self.valid).mean["ndcg"])


def _searched(inner: list[_Inner]) -> dict[str, Setting]:
    """Choose the settings of LLMA's parts, and of the autoencoder of users alone, as means over the inner splits."""

    def mean(measure: str, setting: Setting) -> float:
        return float(np.mean([getattr(one, measure)(setting) for one in inner]))

    chosen: dict[str, Setting] = {}
    for name in tqdm(SINGLE, desc="search"):
        if name == "ALS":
            chosen[name] = climb(ALS_START, ALS_GRID, partial(mean, "als"), fine=False)[0]
        else:
            chosen[name] = climb(PLAIN | ROWS[name], GRID, partial(mean, "ndcg"), fine=True)[0]
    return chosen


@experiment
def llma_later() -> dict[str, Any]:
    """Rank films of the later edition of MovieLens: the last tenth of each user's interactions is test.

    There are 9,066 films, so that the autoencoder is of a low rank. Settings are chosen by two inner splits: the last
    tenth of each user in train, and the tenth before. The rest is as in `llma_known`. "full rank" is the autoencoder
    with all pairs of films, with the settings that were chosen for the low rank.
    """
    data = load_movielens("latest-small")
    facts, (train, test) = film_facts(data), last_tenth(data)
    first, second = last_tenth(train), last_tenth(last_tenth(train)[0])
    chosen = _searched([_Inner(*part, facts) for part in (first, second)])
    reports, weights = _reports(train, test, [first, second], facts, chosen, SHORT)
    return {"table": _rows(reports), "weights": weights, "chosen": chosen}


def _reports(
    train: Dataset,
    test: Dataset,
    inner: list[Parts],
    facts: sparse.csr_array,
    chosen: Mapping[str, Setting],
    variants: Mapping[str, Setting],
) -> tuple[dict[str, Report], list[Result]]:
    models: dict[str, Any] = {
        "popularity": Popularity().fit(train),
        "autoencoder": SessionAutoencoder(facts, rank=RANK, **(OFF | chosen[SINGLE[0]])).fit(train),
        "ALS": fitted("ALS", chosen["ALS"], train, facts),
        BEST: SessionAutoencoder(facts, rank=RANK, **chosen[SINGLE[1]]).fit(train),
    }
    weights = []
    if len(variants) > 1:
        models["full rank"] = SessionAutoencoder(facts, **chosen[SINGLE[1]]).fit(train)
    for name, left_out in variants.items():
        config = replace(with_settings(LLMAConfig(), chosen), **left_out)
        config = with_text_l2(config, facts, train, inner)
        model = LLMA(config, facts=facts).encode_items(train)
        models[name] = model.make_fusion(model.make_parts(train))
        models[name].fit(shuffled_times(train) if name == "shuffled times" else train)
        weights.append({"model": name, "text_l2": config.text_l2, **models[name].gate_.known})
    return {name: evaluate(model, train, test, name=name) for name, model in models.items()}, weights


def _rows(reports: Mapping[str, Report]) -> list[Result]:
    table = []
    for name, report in reports.items():
        low, high = report.interval.loc["ndcg"]
        row = {"model": name, "ndcg": report.mean["ndcg"], "low": low, "high": high}
        for rival in RIVALS:
            lead = compare(report, reports[rival]).loc["ndcg"]
            row |= {f"{column} over {rival}": lead[column] for column in ("difference", "low", "high")}
        table.append(row)
    return table


@llma_later.check
def _llma_later_again(stored: Result, rng: np.random.Generator) -> Iterator[Row]:
    data = load_movielens("latest-small")
    facts, (train, test) = film_facts(data), last_tenth(data)
    inner = [last_tenth(train), last_tenth(last_tenth(train)[0])]
    reports, weights = _reports(train, test, inner, facts, stored["chosen"], {"LLMA": {}})
    yield Row.of("LLMA and its parts", stored["table"], _rows(reports), "model")
    yield Row.of("weights", stored["weights"], weights, "model")

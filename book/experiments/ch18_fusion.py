"""Experiments of chapter 18; see `book.experiments` for the rules."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from functools import partial
from typing import Any

import numpy as np
from scipy import sparse
from sklearn.ensemble import HistGradientBoostingClassifier
from tqdm.auto import tqdm

from book.experiments.registry import Result, Row, draw, experiment, find
from llmrec_lite import splits
from llmrec_lite.data import Dataset, load_movielens
from llmrec_lite.evaluate import Report, compare, evaluate
from llmrec_lite.interface import top_k_unseen
from llmrec_lite.knowledge.graph import film_facts
from llmrec_lite.knowledge.recommend import FactAutoencoder, FactEncoder
from llmrec_lite.language.encoder import TextEncoder
from llmrec_lite.language.text_recommender import ConcatEncoder, Encoder, TextRecommender
from llmrec_lite.llma.fusion import fuse, reciprocal_rank_fusion
from llmrec_lite.llma.weights import ScoredSplit, learn_weights
from llmrec_lite.metrics import ndcg_at_k
from llmrec_lite.recommenders import ALS, DenoisingAutoencoder, Popularity
from llmrec_lite.recommenders.base import BaseRecommender

PENALTIES = (0.3, 1.0, 3.0, 10.0, 30.0, 100.0, 300.0)  # of a ridge
DRAWS = 2  # held out inside train, to learn weights from
SPLITS = (42, 43, 44, 45, 46)  # of the benchmark; 42 is the published one
SHARE_GRID = np.round(np.arange(0, 1.001, 0.05), 2)  # of a
STRENGTHS = (0.0, 0.3, 1.0, 3.0, 10.0, 30.0, np.inf)
TEXT, CROWD = "text", "autoencoder"
PARTS = ("text and facts", "ALS", "autoencoder with facts")
RIVALS = (TEXT, CROWD, "ALS", "autoencoder with facts", "two crowds with facts", "pair, zscore")
Scores = dict[str, np.ndarray]


def make_ridges(data: Dataset) -> dict[str, TextRecommender]:
    """Return the ridge regressions on texts, on facts and on both, each with the default penalty."""
    encoder, facts = TextEncoder(), film_facts(data)
    read = FactEncoder(facts, data.items["text"].tolist())
    features: dict[str, Encoder] = {TEXT: encoder, "facts": read, "text and facts": ConcatEncoder([encoder, read])}
    return {name: TextRecommender(some) for name, some in features.items()}


def choose_penalty(ridge: TextRecommender, held_out: Iterable[tuple[Dataset, Dataset]]) -> float:
    """Choose the penalty of a ridge by its nDCG@10 on held-out interactions, mean over the ways to hold out."""
    worth = np.zeros(len(PENALTIES))
    for inner, valid in held_out:
        for place, ridge.l2 in enumerate(PENALTIES):
            worth[place] += evaluate(ridge.fit(inner), inner, valid).mean["ndcg"]
    return PENALTIES[int(worth.argmax())]


def make_parts(data: Dataset, penalties: Mapping[str, float]) -> dict[str, Any]:
    """Return the parts of the chapter's fusions.

    The ridges have penalties that are chosen inside train of each split, the others the settings that chapters 3 and 17
    chose inside train of the benchmark.
    """
    ridges = make_ridges(data)
    for name, ridge in ridges.items():
        ridge.l2 = penalties[name]
    return {
        "popularity": Popularity(),
        **ridges,
        CROWD: DenoisingAutoencoder(dropout=0.5, l2=700.0),
        "ALS": ALS(factors=64, alpha=4.0, l2=40.0),
        "autoencoder with facts": FactAutoencoder(film_facts(data), weight=50.0, dropout=0.65, l2=300.0),
    }


class Fixed(BaseRecommender):
    """Scores of all users, already computed."""

    def __init__(self, scores: np.ndarray) -> None:
        self.scores = scores

    def _fit(self, train: Dataset) -> None:
        """There is nothing to learn."""

    def _score(self, users: np.ndarray) -> np.ndarray:
        return self.scores[users]


class Said:
    """What the parts, fitted on one side of a split, say of all users, and what these went on to do."""

    def __init__(self, parts: Mapping[str, Any], train: Dataset, test: Dataset) -> None:
        self.train, self.test, self.seen = train, test, train.matrix()
        everybody = np.arange(train.n_users)
        self.scores: Scores = {name: part.fit(train).score_indices(everybody) for name, part in parts.items()}
        self.unseen = self.seen.toarray() == 0
        self.met_by = np.bincount(self.seen.indices, minlength=train.n_items)

    def held(self, names: tuple[str, ...] | None = None) -> ScoredSplit:
        """Return what weights are learned from, of some parts or all."""
        some = {name: self.scores[name] for name in names or self.scores}
        return ScoredSplit.of(some, self.seen, self.test.matrix(), self.met_by)

    def fused(self, weights: Mapping[str, Any], how: Any = "zscore") -> np.ndarray:
        """Return (n_users, n_items)."""
        some = {name: self.scores[name] for name in weights}
        if how == "reciprocal ranks":
            return reciprocal_rank_fusion(some, weights, among=self.unseen)
        return fuse(some, weights, how, self.unseen)

    def report(self, scores: np.ndarray, name: str, vectors: np.ndarray | None = None) -> Report:
        """Measure scores of all users, (n_users, n_items)."""
        model = Fixed(scores).fit(self.train)
        return evaluate(model, self.train, self.test, name=name, item_vectors=vectors)

    def ndcg(self, scores: np.ndarray) -> np.ndarray:
        """Return nDCG@10 of every user, nan where nothing was held out."""
        items = top_k_unseen(scores, self.seen, 10)[0]
        return ndcg_at_k(items, self.test.matrix(), 10)


def genre_vectors(data: Dataset) -> np.ndarray:
    """Return the genres of each item, (n_items, n_genres) of 0 and 1."""
    return data.items["genres"].str.get_dummies("|").to_numpy(float)


def taste_vectors(train: Dataset, d: int = 32) -> np.ndarray:
    """Return who met each item, in d numbers: items are alike that the same people meet."""
    matrix = train.matrix()
    norms = np.sqrt(np.maximum(np.asarray(matrix.sum(0)).reshape(1, -1), 1))
    u, s, _ = np.linalg.svd((matrix.toarray() / norms).T, full_matrices=False)
    return u[:, :d] * s[:d]


def pair(a: float, first: str = TEXT, second: str = CROWD) -> dict[str, float]:
    """Return the weights a of the first part and 1 - a of the second."""
    return {first: a, second: 1 - a}


def _fused_pair(how: str, part: Said, a: float, first: str = TEXT, second: str = CROWD) -> np.ndarray:
    return part.fused(pair(a, first, second), how)


def _curves(said: list[Said], ways: Callable[[Said, float], np.ndarray]) -> np.ndarray:
    """Return nDCG of every user at every a of the grid, the mean over the draws, (n_users, n_grid)."""
    values = np.stack([[part.ndcg(ways(part, a)) for a in SHARE_GRID] for part in said])
    with np.errstate(invalid="ignore"):
        return np.nan_to_num(np.nansum(values, 0) / np.maximum(np.isfinite(values).sum(0), 1)).T


def own_or_common(own: np.ndarray, common: np.ndarray, strength: float) -> np.ndarray:
    """Return the place in the grid that is best for each user by own + strength * common, (n_users,).

    Args:
        own: (n_users, n_grid) nDCG of what was held out of each user.
        common: (n_grid,) the mean over all users.
        strength: how much the common curve counts; with inf it alone does.
    """
    if np.isinf(strength):
        return np.full(len(own), common.argmax())
    return (own + strength * common).argmax(1)


def choose_strength(said: list[Said], ways: Callable[[Said, float], np.ndarray]) -> tuple[float, dict[str, float]]:
    """Choose how much the common weight counts, by what a user's weight from one draw is worth on the other."""
    curves = [_curves([part], ways) for part in said]
    gains = {}
    for strength in STRENGTHS:
        found = []
        for support, query in ((0, 1), (1, 0)):
            place = own_or_common(curves[support], curves[support].mean(0), strength)
            found.append(np.take_along_axis(curves[query], place[:, None], 1).mean())
        gains[str(strength)] = float(np.mean(found))
    best = max(gains, key=lambda key: gains[key])
    return float(best), gains


def _boosted(said: list[Said], final: Said) -> tuple[np.ndarray, str]:
    """Let gradient boosting put all parts together; the better of two sizes on the second draw."""

    def features(held: ScoredSplit) -> np.ndarray:
        ranks = [np.argsort(np.argsort(-np.where(held.is_candidate, held.parts[name], -9), 1), 1) for name in PARTS]
        counts = [np.log1p(np.broadcast_to(n, held.is_candidate.shape)) for n in (held.n_user, held.n_item)]
        return np.stack([*held.parts.values(), *ranks, *counts], -1)

    sizes = {"small": (0.05, 150, 15), "large": (0.03, 300, 31)}

    def model(size: str, lots: list[ScoredSplit]) -> Any:
        rate, rounds, leaves = sizes[size]
        machine = HistGradientBoostingClassifier(
            learning_rate=rate, max_iter=rounds, max_leaf_nodes=leaves, min_samples_leaf=200, l2_regularization=10.0,
            early_stopping=False, random_state=0,
        )  # fmt: skip
        x = np.concatenate([features(held)[held.is_candidate] for held in lots])
        return machine.fit(x, np.concatenate([held.is_relevant[held.is_candidate] for held in lots]))

    def answers(machine: Any, held: ScoredSplit) -> np.ndarray:
        scores = np.full(held.is_candidate.shape, -np.inf)
        scores[held.is_candidate] = machine.decision_function(features(held)[held.is_candidate])
        return scores

    lots = [part.held() for part in said]
    quality = {size: np.nanmean(lots[1].ndcg(answers(model(size, lots[:1]), lots[1]))) for size in sizes}
    best = max(quality, key=lambda size: quality[size])
    held = final.held()
    found = answers(model(best, lots), held)
    scores = np.full(final.unseen.shape, -np.inf)  # what no part proposes comes last
    rows = np.broadcast_to(np.arange(len(scores))[:, None], found.shape)
    scores[rows[held.is_candidate], held.items[held.is_candidate]] = found[held.is_candidate]
    return scores, best


def _mean_weights(said: list[Said], names: tuple[str, ...]) -> dict[str, float]:
    found = [learn_weights([part.held(names)]) for part in said]
    return {name: float(np.mean([one[name] for one in found])) for name in names}


def _one_split(data: Dataset, seed: int) -> tuple[list[dict[str, Any]], list[dict[str, Any]], dict[str, Any]]:
    train, test = splits.recommenders_split(data, seed=seed)
    quarters = list(splits.kfold(train, 4, seed=0))[:DRAWS]
    penalties = {name: choose_penalty(ridge, quarters) for name, ridge in make_ridges(data).items()}
    parts = make_parts(data, penalties)
    said = [Said(parts, *quarter) for quarter in quarters]
    final = Said(parts, train, test)
    scores: Scores = dict(final.scores)
    chosen: dict[str, Any] = {"penalties": penalties}
    for how in ("zscore", "minmax", "rank", "reciprocal ranks"):
        curve = _curves(said, partial(_fused_pair, how)).mean(0)
        chosen[f"pair, {how}"] = a = float(SHARE_GRID[curve.argmax()])
        scores[f"pair, {how}"] = final.fused(pair(a), how)
    scores["pair, a = 0.7"] = final.fused(pair(0.7))
    for name, two in (("text + ALS", (TEXT, "ALS")), ("two crowds", ("ALS", CROWD))):
        ways = partial(_fused_pair, "zscore", first=two[0], second=two[1])
        chosen[name] = a = float(SHARE_GRID[_curves(said, ways).mean(0).argmax()])
        scores[name] = final.fused(pair(a, *two))
    own = _curves(said, partial(_fused_pair, "zscore"))
    strength, gains = choose_strength(said, partial(_fused_pair, "zscore"))
    for name, value in (("own", 0.0), ("meta-learned", strength)):
        shares = SHARE_GRID[own_or_common(own, own.mean(0), value)][:, None]
        scores[f"pair, a of each user, {name}"] = final.fused({TEXT: shares, CROWD: 1 - shares})
    chosen["strength of the common a"], chosen["nDCG by strength"] = strength, gains
    for name, names in {
        "two crowds with facts": ("ALS", "autoencoder with facts"),
        "two crowds with facts, and text": ("ALS", "autoencoder with facts", TEXT),
        "two crowds with facts, and facts": ("ALS", "autoencoder with facts", "facts"),
        "three parts": PARTS,
        "all parts": tuple(final.scores),
    }.items():
        chosen[name] = weights = _mean_weights(said, names)
        scores[name] = final.fused(weights)
    scores["three parts, equal"] = final.fused(dict.fromkeys(PARTS, 1 / 3))
    # Leakage: weights learned from what the parts have learned from themselves.
    leaky = ScoredSplit.of(
        {name: final.scores[name] for name in PARTS},
        sparse.csr_array(final.seen.shape),
        final.seen,
        final.met_by,
    )
    chosen["three parts, leaking"] = weights = learn_weights([leaky])
    scores["three parts, leaking"] = final.fused(weights)
    scores["boosted"], chosen["boosted"] = _boosted(said, final)
    table, genres = _measured(data, final, scores, seed), genre_vectors(data)
    curves = []
    if seed == SPLITS[0]:
        for place, a in enumerate(SHARE_GRID):
            report = final.report(final.fused(pair(a)), "pair", genres)
            row = {"a": a, "valid": own[:, place].mean(), "test": report.mean["ndcg"]}
            curves.append(row | {metric: report.mean[metric] for metric in ("diversity", "coverage", "novelty")})
    return table, curves, {"seed": seed, **chosen}


def _measured(data: Dataset, final: Said, scores: Scores, seed: int) -> list[dict[str, Any]]:
    """Return a row for each way to score, with its lead over the rivals."""
    genres, tastes = genre_vectors(data), taste_vectors(final.train)
    reports = {name: final.report(values, name, genres) for name, values in scores.items()}
    by_people = {name: final.report(values, name, tastes) for name, values in scores.items()}
    table = []
    for name, report in reports.items():
        low, high = report.interval.loc["ndcg"]
        row = {"model": name, "seed": seed, "ndcg": report.mean["ndcg"], "low": low, "high": high}
        row |= {metric: report.mean[metric] for metric in ("map", "precision", "recall", "coverage", "novelty")}
        row |= {"diversity, genres": report.mean["diversity"]}
        row |= {"diversity, people": by_people[name].mean["diversity"]}
        for rival in RIVALS:
            lead, apart = compare(report, reports[rival]), compare(by_people[name], by_people[rival])
            for column in ("difference", "low", "high"):
                row[f"{column} over {rival}"] = lead.loc["ndcg", column]
                row[f"diversity {column} over {rival}"] = lead.loc["diversity", column]
                row[f"people {column} over {rival}"] = apart.loc["diversity", column]
        table.append(row)
    return table


@experiment
def fused() -> dict[str, Any]:
    """Fuse text and crowd on the top-10 benchmark and four more splits of its kind.

    The penalty of each ridge is chosen inside train of each split, the settings of the other parts are those that
    earlier chapters chose inside train of the benchmark. All weights are chosen inside train, from two quarters of its
    interactions that are held out in turn: a of two parts from 0 to 1 in steps of 0.05, weights of more parts by
    coordinate ascent. ALS has one seed. "difference over" a rival has a paired interval over users; the five splits
    share their users and most of their interactions.
    """
    data = load_movielens()
    table, curves, chosen_ = [], [], []
    for seed in tqdm(SPLITS, desc="splits"):
        rows, some, weights = _one_split(data, seed)
        table += rows
        curves += some
        chosen_.append(weights)
    return {"table": table, "curves": curves, "chosen": chosen_}


@fused.check
def _fused_again(stored: Result, rng: np.random.Generator) -> Iterator[Row]:
    data, seed = load_movielens(), draw(rng, SPLITS)
    chosen = find(stored["chosen"], seed=seed)
    final = Said(make_parts(data, chosen["penalties"]), *splits.recommenders_split(data, seed=seed))
    scores = final.scores | {"pair, zscore": final.fused(pair(chosen["pair, zscore"]))}
    scores |= {name: final.fused(weights) for name, weights in chosen.items() if name in TUNED}
    rows = _measured(data, final, scores, seed)
    yield Row.of(f"parts, and fusions with the stored weights, split {seed}", stored["table"], rows, "model", "seed")


TUNED = ("two crowds with facts", "three parts", "all parts")

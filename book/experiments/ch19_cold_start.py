"""Experiments of chapter 19 with people of whom little is known; see `book.experiments` for the rules."""

from __future__ import annotations

import copy
from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
from scipy import sparse
from tqdm.auto import tqdm

from book.experiments.ch14_lists import classic_rankers, episode_rankers
from book.experiments.registry import Result, Row, draw, experiment
from book.experiments.study import draw_order
from llmrec_lite.data import Dataset, load_movielens
from llmrec_lite.knowledge.graph import film_facts
from llmrec_lite.llma import LLMA, LLMAConfig
from llmrec_lite.llma.cold_start import N_EVAL_ITEMS, N_FOLDS, ColdStartFusion
from llmrec_lite.llma.fusion import fuse
from llmrec_lite.llma.weights import learn_weights
from llmrec_lite.meta.baselines import ORDERS, QUERY, SHARES
from llmrec_lite.meta.cold_start import ColdStartRecommender
from llmrec_lite.meta.tasks import SHOTS, HistoryOrder, split_users
from llmrec_lite.meta.user_attention import list_ndcg, split_histories, top_ten_unseen
from llmrec_lite.recommenders import Popularity
from llmrec_lite.stats import mean_interval

WISHES = (0.0, 0.1, 0.2, 0.3, 0.5, 0.7, 0.9, 1.0)  # weights of a wish in words
NAMES = {"text": "the part text", "factors": "the factors", "autoencoder": "the autoencoder"}


def _described(both: Dataset, order: HistoryOrder, facts: sparse.csr_array, encoder: str | None = "minilm") -> LLMA:
    """Read the texts, and fit nothing yet."""
    return LLMA(LLMAConfig(order=order, encoder=encoder), facts=facts).encode_items(both)


def _cold_start(
    both: Dataset, order: HistoryOrder, facts: sparse.csr_array, encoder: str | None = "minilm"
) -> tuple[LLMA, ColdStartFusion, Any]:
    """Fit what LLMA asks for cold-start users."""
    model = _described(both, order, facts, encoder)
    config = model.config_

    def fit_parts(some: Dataset) -> Any:
        return {name: part.fit(some) for name, part in model.make_parts(both).items()}

    fusion = ColdStartFusion(order, config.max_users, config.seed)
    return model, fusion.fit(both, fit_parts, model.knowledge_.text_vectors), fit_parts(both)


def _without(fusion: ColdStartFusion, part: str) -> ColdStartFusion:
    """Learn the weights again without one of the parts."""
    other = copy.copy(fusion)
    other.weights_ = {}
    for k in fusion.weights_:
        near = fusion.splits_near(k)
        names = [name for name in near[0].parts if name != part]
        other.weights_[k] = learn_weights([replace(one, parts={n: one.parts[n] for n in names}) for one in near])
    return other


def _attention_alone(
    fusion: ColdStartFusion, both: Dataset, vectors: np.ndarray | None, least: int = 1
) -> ColdStartFusion:
    """Score by chapter 14's attention over users alone, trained as LLMA trains it.

    It attends to all users; its weights are learned in two folds, here from users with `least` interactions.
    """
    other = copy.copy(fusion)
    attention: dict[int, list[dict[str, Any]]] = {}
    for fold in range(N_FOLDS):
        learn, held_out = fusion.hold_out(both, fold)
        enough = np.bincount(held_out.user_index, minlength=held_out.n_users) >= least
        by = held_out.with_interactions(held_out.interactions[enough[held_out.user_index]])
        for k, ranker in fusion.user_attention(learn, by, fold, vectors).items():
            attention.setdefault(k, []).append(ranker.state())
    other.weights_ = {k: {"user attention": 1.0} for k in fusion.weights_}
    return other.attend(both, attention, vectors)


@experiment
def llma_new_users() -> dict[str, Any]:
    """Rank films for new people from 0 to 20 choices: nDCG@10 of what they chose later, among all other films.

    Five folds of 60, 20 and 20 of 100 people; people with 30 ratings or more are judged, as in `newcomers`. LLMA and
    chapter 14's recommender learn from the 80, and divide them as they like; the other rivals' settings are chosen for
    each K on the 20, and then fitted to the 80. "chapter 14, all users" has what LLMA gives its part of that name: two
    draws, and everybody to attend to; "chapter 14, all users, by 30" is also taught by people with 30 choices, as
    LLMA's weights are. Where first choices are known, LLMA is also taken apart: without one of its parts, and without
    what the language model or the facts tell. Intervals are over people, with the models held fixed.
    """
    data = load_movielens()
    facts, nothing = film_facts(data), sparse.csr_array((data.n_items, 1))
    found: dict[tuple[str, int, str], list[np.ndarray]] = {}
    weights = []
    for fold in tqdm(range(5), desc="folds"):
        train, valid, test = split_users(data, SHARES, seed=0, fold=fold)
        both = _others(data, test)
        shared = [classic_rankers(part) for part in (train, both)]
        for order in ORDERS:
            model, fusion, parts = _cold_start(both, order, facts)
            cold = ColdStartRecommender(order=order, seed=fold).fit(both)
            ours, vectors = {"LLMA": (fusion, parts)}, model.knowledge_.text_vectors
            for name, least in (
                ("chapter 14, all users", 1),
                (f"chapter 14, all users, by {N_EVAL_ITEMS}", N_EVAL_ITEMS),
            ):
                ours[name] = (_attention_alone(fusion, both, vectors, least), parts)
            if order == "time":
                for part in (*parts, "popularity", "user attention"):
                    ours[f"without {NAMES.get(part, part)}"] = (_without(fusion, part), parts)
                ours["without the language model"] = _cold_start(both, order, facts, encoder=None)[1:]
                ours["without facts"] = _cold_start(both, order, nothing)[1:]
            weights += _weights(fusion, order, fold)
            for k in SHOTS:
                of_k = [ways | episode_rankers(p, k, order) for ways, p in zip(shared, (train, both), strict=True)]
                (_, valid_support, valid_query), (_, support, query) = (
                    split_histories(part, k, order, min_query=max(SHOTS) + QUERY - k) for part in (valid, test)
                )
                scores = {}
                for name in of_k[0]:
                    tried = [list_ndcg(one(valid_support), valid_support, valid_query).mean() for one in of_k[0][name]]
                    scores[name] = of_k[1][name][int(np.argmax(tried))](support)
                supports = [(np.flatnonzero(row), np.full(int(row.sum()), 4.0)) for row in support]
                scores["chapter 14"] = cold.score_interaction(supports)
                for name, (some, fitted) in ours.items():
                    scores[name] = some.score_matrix(sparse.csr_array(support), fitted)
                for name, values in scores.items():
                    found.setdefault((order, k, name), []).append(list_ndcg(values, support, query))
    table = []
    for (order_, k, name), lists in found.items():
        one, row = np.concatenate(lists), {"order": order_, "k": k, "model": name}
        gap = np.concatenate(found[order_, k, "LLMA"]) - one
        low, high = mean_interval(gap)
        table.append(row | {"ndcg": float(one.mean()), "LLMA's lead": float(gap.mean()), "low": low, "high": high})
    return {"table": table, "weights": weights}


def _others(data: Dataset, test: Dataset) -> Dataset:
    """Leave out the people of a test."""
    return data.with_interactions(data.interactions[~np.isin(data.user_index, np.unique(test.user_index))])


def _weights(fusion: ColdStartFusion, order: HistoryOrder, fold: int) -> list[dict[str, Any]]:
    return [{"order": order, "fold": fold, "k": k, **w} for k, w in fusion.weights_.items()]


@llma_new_users.check
def _llma_new_users_again(stored: Result, rng: np.random.Generator) -> Iterator[Row]:
    data, order, fold = load_movielens(), draw_order(rng), draw(rng, range(5))
    both = _others(data, split_users(data, SHARES, seed=0, fold=fold)[2])
    rows = _weights(_cold_start(both, order, film_facts(data))[1], order, fold)
    yield Row.of(f"LLMA's weights, {order}, fold {fold}", stored["weights"], rows, "order", "fold", "k")


@experiment
def llma_requests() -> dict[str, Any]:
    """Serve new people who say what they would like: by the request, by five first choices, by both.

    Five folds. A person's wish names the two genres most frequent among the liked films of the first half of the
    ratings; judged by the second half, nDCG@10 among all films but the first half, and by the share of the list
    that has a genre of the wish. The rival of the language model looks the two words up in the catalog's genres.
    "share" is the weight of the wish.
    """
    found = _served(("popularity", "five choices"))
    table = []
    for (who, by, share), pairs in found.items():
        value, usual = np.transpose(pairs)[0], np.transpose(found["five choices", by, 0.0])[0]
        low, high = mean_interval(value - usual)
        row = _mean_row(who, by, share, pairs)
        table.append(row | {"over five choices": float((value - usual).mean()), "low": low, "high": high})
    return {"table": table}


Lists = dict[tuple[str, str, float], list[tuple[float, float]]]


def _served(people: Sequence[str]) -> Lists:
    """Return nDCG of each list and how many films fit, by what is known, who reads the wish, and its weight."""
    data = load_movielens()
    facts, genres = film_facts(data), data.items["genres"].str.get_dummies("|")
    found: Lists = {}
    for fold in tqdm(range(5), desc="folds"):
        test = split_users(data, SHARES, seed=0, fold=fold)[2]
        both = _others(data, test)
        if "five choices" in people:
            model, fusion, parts = _cold_start(both, "time", facts)
        else:
            model = _described(both, "time", facts)
        model.train_ = both
        popular = Popularity().fit(both).counts_.astype(np.float32)
        ratings, met = test.matrix("rating"), test.sequences()
        for user in np.unique(test.user_index):
            half = len(met[user]) // 2
            first, later = met[user][:half], met[user][half:]
            liked = [item for item in first if ratings[user, item] >= 4] or list(first)
            wish = genres.iloc[liked].sum().nlargest(2).index
            fits = genres[wish].sum(1).to_numpy(np.float32)
            asked = model.score_request(f"I would like some {wish[0].lower()} or {wish[1].lower()} films")
            rest_of = {"popularity": popular}
            if "five choices" in people:
                given = np.zeros((1, data.n_items), np.float32)
                given[0, first[:5]] = 1
                rest_of["five choices"] = fusion.score_matrix(sparse.csr_array(given), parts)[0]
            closed, rest = np.zeros((1, data.n_items), np.float32), np.zeros((1, data.n_items))
            closed[0, first], rest[0, later] = 1, 1
            for who in people:
                for by, wanted in (("language model", asked), ("genres", fits)):
                    for share in WISHES:
                        one = fuse({"wish": wanted, "rest": rest_of[who]}, {"wish": share, "rest": 1 - share})[None]
                        shown = top_ten_unseen(one, closed)[0]
                        pair = float(list_ndcg(one, closed, rest)[0]), float((fits[shown] > 0).mean())
                        found.setdefault((who, by, share), []).append(pair)
    return found


def _mean_row(who: str, by: str, share: float, pairs: list[tuple[float, float]]) -> dict[str, Any]:
    value, fit = np.transpose(pairs)
    return {"person": who, "wish by": by, "share": share, "ndcg": float(value.mean()), "fits": float(fit.mean())}


@llma_requests.check
def _llma_requests_again(stored: Result, rng: np.random.Generator) -> Iterator[Row]:
    rows = [_mean_row(*kind, pairs) for kind, pairs in _served(["popularity"]).items()]
    yield Row.of("nothing known but the request", stored["table"], rows, "person", "wish by", "share")

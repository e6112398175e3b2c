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
from llmrec_lite import splits
from llmrec_lite.data import Dataset, load_movielens
from llmrec_lite.knowledge.graph import film_facts
from llmrec_lite.llma import LLMA, LLMAConfig
from llmrec_lite.llma.cold_start import N_EVAL_ITEMS, N_FOLDS, ColdStartFusion
from llmrec_lite.llma.requests import request_scores
from llmrec_lite.llma.weights import learn_weights
from llmrec_lite.meta.baselines import ORDERS, QUERY, SHARES
from llmrec_lite.meta.cold_start import ColdStartRecommender
from llmrec_lite.meta.tasks import SHOTS, HistoryOrder, split_users
from llmrec_lite.meta.user_attention import list_ndcg, split_histories, top_ten_unseen
from llmrec_lite.recommenders import Popularity
from llmrec_lite.stats import mean_interval

WISHES = (0.0, 0.1, 0.2, 0.3, 0.5, 0.7, 0.9, 1.0)  # weights of a wish in words; with 0 there is none
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
    """Serve people who say what they would like: by the request, by what is known of them, by both.

    New people, in five folds. A person's wish names the two genres most frequent among the liked films of the first
    half of the ratings; judged by the second half, nDCG@10 among all films but the first half, and by the share of the
    list that has a genre of the wish. "known" does the same on the published split of the benchmark, for people whom
    LLMA knows by all of train; the wish is of their liked films of train, the judge is test. The rival of the language
    model looks the two words up in the catalog's genres. "share" is the weight of the wish among the films nearest to
    it (`request_scores`); with 0 there is no wish. Equal scores go by a random order. Differences are to the same
    person's list without a wish.
    """
    table = []
    found = _served(("popularity", "five choices"))
    for (who, by, share), pairs in found.items():
        usual = np.transpose(found["five choices", by, 0.0])[0]
        table.append(_compared(who, by, share, pairs, usual, "over five choices"))
    known = _served_known()
    rows = [
        _compared("known", by, share, pairs, np.transpose(known["known", by, 0.0])[0], "over no wish")
        for (_, by, share), pairs in known.items()
    ]
    return {"table": table, "known": rows}


Lists = dict[tuple[str, str, float], list[tuple[float, float]]]


def _compared(who: str, by: str, share: float, pairs: Any, usual: np.ndarray, column: str) -> dict[str, Any]:
    gain = np.transpose(pairs)[0] - usual
    low, high = mean_interval(gain[np.isfinite(gain)])
    return _mean_row(who, by, share, pairs) | {column: float(np.nanmean(gain)), "low": low, "high": high}


class _Wishes:
    """What people wish for, and which films fit."""

    def __init__(self, data: Dataset, model: LLMA) -> None:
        self.genres, self.model = data.items["genres"].str.get_dummies("|"), model
        self.asked: dict[tuple[str, ...], np.ndarray] = {}

    def of(self, films: Sequence[int], ratings: Any) -> tuple[np.ndarray, np.ndarray]:
        """Nearness of all films to the wish of somebody with these films, and whether each has its genres."""
        liked = [film for film, rating in zip(films, ratings, strict=True) if rating >= 4] or list(films)
        wish = tuple(self.genres.iloc[liked].sum().nlargest(2).index)
        if wish not in self.asked:
            words = f"I would like some {wish[0].lower()} or {wish[1].lower()} films"
            self.asked[wish] = self.model.score_request(words)
        return self.asked[wish], self.genres[list(wish)].sum(1).to_numpy(np.float32)


def _answers(
    asked: np.ndarray,
    fits: np.ndarray,
    rest: np.ndarray,
    closed: np.ndarray,
    later: np.ndarray,
    rng: np.random.Generator,
) -> Iterator[tuple[str, float, tuple[float, float]]]:
    """Answer a wish at each weight: nDCG, and the share of the list that fits; closed and later are (n_items,)."""
    most = LLMAConfig.request_items
    # A lookup has many ties, and in the order of the catalog what is popular comes early.
    order = rng.permutation(len(asked))
    asked, fits, rest, closed, later = (values[order] for values in (asked, fits, rest, closed, later))
    for by, wanted in (("language model", asked), ("genres", fits)):
        for share in WISHES:
            scores = request_scores(wanted, rest, share, most, closed == 0) if share else rest
            shown = top_ten_unseen(scores[None], closed[None])[0]
            pair = float(list_ndcg(scores[None], closed[None], later[None])[0]), float((fits[shown] > 0).mean())
            yield by, share, pair


def _served(people: Sequence[str]) -> Lists:
    """Return nDCG of each list and how many films fit, by what is known, who reads the wish, and its weight."""
    data = load_movielens()
    facts = film_facts(data)
    found: Lists = {}
    for fold in tqdm(range(5), desc="folds"):
        test = split_users(data, SHARES, seed=0, fold=fold)[2]
        both = _others(data, test)
        if "five choices" in people:
            model, fusion, parts = _cold_start(both, "time", facts)
        else:
            model = _described(both, "time", facts)
        model.train_ = both
        wishes, popular = _Wishes(data, model), Popularity().fit(both).counts_.astype(np.float32)
        ratings, met = test.matrix("rating"), test.sequences()
        for user in np.unique(test.user_index):
            half = len(met[user]) // 2
            first, later = met[user][:half], met[user][half:]
            asked, fits = wishes.of(list(first), [ratings[user, item] for item in first])
            rest_of = {"popularity": popular}
            if "five choices" in people:
                given = np.zeros((1, data.n_items), np.float32)
                given[0, first[:5]] = 1
                rest_of["five choices"] = fusion.score_matrix(sparse.csr_array(given), parts)[0]
            closed, wanted = np.zeros(data.n_items, np.float32), np.zeros(data.n_items)
            closed[first], wanted[later] = 1, 1
            for who in people:
                for by, share, pair in _answers(
                    asked, fits, rest_of[who], closed, wanted, np.random.default_rng([fold, user])
                ):
                    found.setdefault((who, by, share), []).append(pair)
    return found


def _served_known() -> Lists:
    """Return the same for people whom LLMA knows, on the published split of the benchmark."""
    data = load_movielens()
    train, test = splits.recommenders_split(data)
    model = LLMA(facts=film_facts(data)).encode_items(train)
    fused = model.make_fusion(model.make_parts(train)).fit(train)
    model.train_ = train
    wishes, seen, relevant = _Wishes(data, model), train.matrix("rating"), test.matrix()
    found: Lists = {}
    for user in np.unique(test.user_index):
        own = seen[[user]]
        asked, fits = wishes.of(own.indices.tolist(), own.data)
        closed = (own.toarray()[0] > 0).astype(np.float32)
        rest, wanted = fused.score_indices([user])[0], relevant[[user]].toarray()[0]
        for by, share, pair in _answers(asked, fits, rest, closed, wanted, np.random.default_rng(user)):
            found.setdefault(("known", by, share), []).append(pair)
    return found


def _mean_row(who: str, by: str, share: float, pairs: list[tuple[float, float]]) -> dict[str, Any]:
    value, fit = np.nanmean(pairs, axis=0)
    return {"person": who, "wish by": by, "share": share, "ndcg": float(value), "fits": float(fit)}


@llma_requests.check
def _llma_requests_again(stored: Result, rng: np.random.Generator) -> Iterator[Row]:
    rows = [_mean_row(*kind, pairs) for kind, pairs in _served(["popularity"]).items()]
    yield Row.of("nothing known but the request", stored["table"], rows, "person", "wish by", "share")

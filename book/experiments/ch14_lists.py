"""The experiment of chapter 14 on lists; see `book.experiments` for the rules."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np
from scipy import sparse

from book.experiments.registry import Result, Row, draw, experiment
from book.experiments.study import all_cores, draw_order
from llmrec_lite.data import LIKED, Dataset, load_movielens
from llmrec_lite.language.text_recommender import TextRecommender
from llmrec_lite.meta.baselines import ORDERS, QUERY, SHARES
from llmrec_lite.meta.cold_start import ColdStartRecommender
from llmrec_lite.meta.tasks import SHOTS, HistoryOrder, split_users
from llmrec_lite.meta.user_attention import EpisodeRidge, split_histories, top_ten_unseen
from llmrec_lite.metrics import ndcg_at_k
from llmrec_lite.recommenders import EASE, DenoisingAutoencoder
from llmrec_lite.stats import mean_interval

Found = dict[tuple[str, int, str], list[np.ndarray]]  # (order, K, model) -> of each fold nDCG, (2, users)
Ranker = Callable[[np.ndarray], np.ndarray]  # scores (n, n_items) from what was chosen, (n, n_items) of 0 and 1


@experiment
def newcomers() -> dict[str, Any]:
    """Recommend to new users from 0 to 20 choices: nDCG@10 of what they chose later among all other items.

    Two deals of five folds, so that each user is judged twice; 60, 20 and 20 of 100 are meta-train, meta-validation,
    meta-test. Users with 30 ratings or more are judged, by all they chose after the first K (or any K), whatever the
    stars; "liked" counts only what was rated 4 or more. Settings are chosen for each K on meta-validation users: 56 of
    popularity by place with an autoencoder, six to twelve of every other rule or model; ours chooses among two ridges,
    and among five autoencoders with seven shares of each. The grids of EASE and the autoencoder end with the limit of
    an infinite penalty, that of popularity by place with an autoencoder with each part alone. "user attention" is the
    attention alone. Intervals are over users, with the models held fixed.

    "second": the second deal alone. How the three parts of our model are weighed was settled while looking at folds of
    the first; the second has the same people with other teachers.
    """
    folds = all_cores(_fold, [deal for deal in range(2) for _ in range(5)], [*range(5), *range(5)])
    found: Found = {}
    task_ids: dict[tuple[str, int], list[np.ndarray]] = {}
    for errors, users, _ in folds:
        for way, values in errors.items():
            found.setdefault(way, []).append(values)
        for size, some in users.items():
            task_ids.setdefault(size, []).append(some)
    return {
        "table": _table_of_lists(found, task_ids, slice(None)),
        "second": _table_of_lists(found, task_ids, slice(5, None)),
        "chosen": [choice for _, _, picked in folds for choice in picked],
    }


def _fold(
    deal: int, fold: int
) -> tuple[dict[tuple[str, int, str], np.ndarray], dict[tuple[str, int], np.ndarray], list[dict[str, Any]]]:
    data, picked = load_movielens(), []
    found: dict[tuple[str, int, str], np.ndarray] = {}
    task_ids: dict[tuple[str, int], np.ndarray] = {}
    train, valid, test = split_users(data, SHARES, seed=deal, fold=fold)
    seed, shared = 5 * deal + fold, classic_rankers(train)
    for order in ORDERS:
        full = ColdStartRecommender(order=order, seed=seed).fit_with_validation(train, valid)
        for k in SHOTS:
            to_choose, to_judge = (Histories(part, k, order) for part in (valid, test))
            task_ids[order, k] = to_judge.users
            scores = {}
            rankers = shared | episode_rankers(train, k, order)
            for name, place in _places(rankers, to_choose).items():
                scores[name] = rankers[name][place](to_judge.support)
                choice = {"order": order, "model": name, "k": k, "fold": seed, "setting": place}
                picked.append({**choice, "settings": len(rankers[name])})
            full.goal = "interaction"
            scores["all three"] = full.scores(to_judge.supports)
            full.goal = "liked"
            scores["all three, liked"] = full.scores(to_judge.supports)
            if k in full.rankers_:
                scores["user attention"] = full.rankers_[k].attention_.predict(to_judge.support)
            found |= {(order, k, name): to_judge.ndcg(values) for name, values in scores.items()}
    return found, task_ids, picked


RIVALS = (
    "popularity",
    "popularity by place",
    "neighbors, whole histories",
    "neighbors, later choices",
    "ridge over episodes",
    "EASE",
    "autoencoder",
    "popularity by place + autoencoder",
)


def _table_of_lists(
    found: Found, task_ids: dict[tuple[str, int], list[np.ndarray]], folds: slice
) -> list[dict[str, Any]]:
    """Return the mean over users of the mean over the folds that judged them, and leads with intervals."""

    def of_users(order: str, k: int, name: str) -> np.ndarray:
        values = np.concatenate(found[order, k, name][folds], axis=1)
        _, place = np.unique(np.concatenate(task_ids[order, k][folds]), return_inverse=True)
        # A user who liked nothing of the query has no value.
        with np.errstate(invalid="ignore"):
            return np.stack([np.bincount(place, np.nan_to_num(v)) / np.bincount(place, np.isfinite(v)) for v in values])

    rows = []
    for order, k, name in found:
        interactions, liked = of_users(order, k, name)
        row: dict[str, Any] = {"order": order, "model": name, "k": k, "users": len(interactions)}
        row |= {"ndcg": float(interactions.mean()), "liked": float(np.nanmean(liked))}
        for rival in RIVALS:
            if (order, k, rival) in found:
                lead = interactions - of_users(order, k, rival)[0]
                low, high = mean_interval(lead)
                row |= {f"lead over {rival}": float(lead.mean()), f"low {rival}": low, f"high {rival}": high}
        rows.append(row)
    return rows


class Histories:
    """Support and query of the users of a part, and what they liked of the query."""

    def __init__(self, part: Dataset, k: int, order: HistoryOrder) -> None:
        self.users, self.support, self.query = split_histories(part, k, order, min_query=max(SHOTS) + QUERY - k)
        ratings = part.matrix("rating")[self.users].toarray()
        self.liked = self.query * (ratings >= LIKED)
        self.supports = [
            (np.flatnonzero(row), stars[row > 0]) for row, stars in zip(self.support, ratings, strict=True)
        ]

    def ndcg(self, scores: np.ndarray) -> np.ndarray:
        """Return for each user nDCG@10 of what was chosen, and of what was liked, (2, users)."""
        items = top_ten_unseen(scores, self.support)
        return np.stack([ndcg_at_k(items, sparse.csr_array(part), 10) for part in (self.query, self.liked)])


def _places(rankers: Mapping[str, list[Ranker]], to_choose: Histories) -> dict[str, int]:
    """Return which setting of each model is best on the people to choose by."""
    return {
        name: int(np.argmax([to_choose.ndcg(ranker(to_choose.support))[0].mean() for ranker in some]))
        for name, some in rankers.items()
    }


def classic_rankers(train: Dataset) -> dict[str, list[Ranker]]:
    """Return models of Parts I and II that answer to a new user, with their settings."""

    def linear(model: EASE | DenoisingAutoencoder) -> Ranker:
        weights = model.fit(train).weights_
        return lambda support: support @ weights

    def by_text(model: TextRecommender) -> Ranker:
        weights = model.fit(train).solution_.T @ model.items_.T
        return lambda support: support @ weights

    def counted(weights: np.ndarray) -> Ranker:
        return lambda support: support @ weights

    popular = np.bincount(train.item_index, minlength=train.n_items).astype(float)
    autoencoders = ((0.5, 200.0), (0.65, 700.0), (0.8, 2e3), (0.9, 5e3), (0.95, 1e4), (0.98, 3e4), (0.99, 1e5))
    return {
        "popularity": [lambda support: np.tile(popular, (len(support), 1))],
        "EASE": [
            *(linear(EASE(l2)) for l2 in (200.0, 1e3, 3e3, 1e4, 3e4, 1e5, 3e5)),
            counted(strong_penalties(train, (np.inf,))[0]),
        ],
        "autoencoder": [
            *(linear(DenoisingAutoencoder(*setting)) for setting in autoencoders),
            *map(counted, strong_penalties(train)),
        ],
        "ridge on text": [by_text(TextRecommender(l2=l2)) for l2 in (1.0, 3.0, 10.0, 30.0, 100.0, 300.0)],
    }


def strong_penalties(train: Dataset, offsets: Sequence[float] = (0.0, 30.0, 1000.0, np.inf)) -> list[np.ndarray]:
    """Return limits of linear autoencoders as their penalty grows, up to a factor, (n_items, n_items) each.

    With the Gram matrix G, B = (G + diag(L))^-1 G comes near diag(L)^-1 G where L is large. The denoising autoencoder
    has L_j in proportion to c + G_jj, where c is l2 (1 - p) / p; for an infinite c, as for EASE, what is left is G.
    """
    seen = train.matrix()
    gram = (seen.T @ seen).toarray().astype(np.float32)
    popular = np.maximum(gram.diagonal(), 1e-9)[:, None]
    return [gram if np.isinf(c) else gram / (c + popular) for c in offsets]


def episode_rankers(train: Dataset, k: int, order: HistoryOrder) -> dict[str, list[Ranker]]:
    """Return models that learn from the first choices of people and their later ones."""
    _, support, query = split_histories(train, k, order)
    by_place, whole = query.mean(0), support + query
    lengths = whole.sum(1)
    ways: dict[str, list[Ranker]] = {"popularity by place": [lambda new: np.tile(by_place, (len(new), 1))]}
    if not k:
        return ways

    def neighbors(weight: float, power: float, values: np.ndarray) -> Ranker:
        def ranker(new: np.ndarray) -> np.ndarray:
            overlap = new @ whole.T / lengths**power
            near = overlap @ values / np.maximum(overlap.sum(1, keepdims=True), 1e-9)
            return (1 - weight) * by_place + weight * near

        return ranker

    def lifted(a: float, weights: np.ndarray) -> Ranker:
        def ranker(new: np.ndarray) -> np.ndarray:
            near = new @ weights
            spread = np.maximum(near.std(1, keepdims=True), 1e-9)
            return (1 - a) * by_place / by_place.std() + a * near / spread

        return ranker

    settings = [(weight, power) for weight in (0.3, 0.7, 1.0) for power in (0.0, 0.5, 1.0)]
    ways["neighbors, whole histories"] = [neighbors(*setting, whole) for setting in settings]
    ways["neighbors, later choices"] = [neighbors(*setting, query) for setting in settings]
    settings_ = ((0.5, 200.0), (0.65, 700.0), (0.8, 2e3), (0.9, 5e3), (0.95, 1e4), (0.98, 3e4))
    encoders = [DenoisingAutoencoder(*setting).fit(train).weights_ for setting in settings_]
    encoders += strong_penalties(train, (0.0,))
    shares = (0.0, 0.1, 0.2, 0.35, 0.5, 0.7, 0.85, 1.0)
    ways["popularity by place + autoencoder"] = [lifted(a, w) for w in encoders for a in shares]
    l2s = (3.0, 10.0, 30.0, 100.0, 300.0, 1000.0)
    ways["ridge over episodes"] = [EpisodeRidge(l2).fit(support, query).predict for l2 in l2s]
    return ways


@newcomers.check
def _newcomers_again(stored: Result, rng: np.random.Generator) -> Iterator[Row]:
    data, order, k = load_movielens(), draw_order(rng), draw(rng, SHOTS)
    found: Found = {}
    task_ids = []
    for fold in range(5):
        train, valid, test = split_users(data, SHARES, seed=1, fold=fold)
        rankers = classic_rankers(train) | episode_rankers(train, k, order)
        to_judge = Histories(test, k, order)
        task_ids.append(to_judge.users)
        for name, place in _places(rankers, Histories(valid, k, order)).items():
            found.setdefault((order, k, name), []).append(to_judge.ndcg(rankers[name][place](to_judge.support)))
    rows = _table_of_lists(found, {(order, k): task_ids}, slice(None))
    yield Row.of(f"rivals with K = {k}, {order}, second deal", stored["second"], rows, "order", "model", "k")

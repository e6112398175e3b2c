"""Experiments of chapter 14: ten films in order, what to ask, new groups; see `book.experiments` for the rules."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import pandas as pd
from tqdm.auto import tqdm

from book.experiments.registry import Result, Row, experiment
from book.experiments.study import L2
from llmrec_lite.data import Dataset, load_movielens
from llmrec_lite.language.encoder import TextEncoder
from llmrec_lite.meta.baselines import FACTORS, QUERY, SHARES, Tasks, paired_interval, ridge, user_rmse
from llmrec_lite.meta.bayesian_mf import BayesianMF
from llmrec_lite.meta.cold_start import LIKELIHOOD_WEIGHTS, ColdStartRecommender, gather_queries, predict_queries
from llmrec_lite.meta.features import item_features
from llmrec_lite.meta.tasks import Task, age_bands, split_users
from llmrec_lite.metrics import ndcg_at_k
from llmrec_lite.recommenders import ItemMean
from llmrec_lite.stats import mean_interval


@experiment
def ten_to_rank() -> dict[str, Any]:
    """Rank ten films of a new user by stars: the rating protocol of RecBole-MetaRec, thirty seeds.

    Users with 13 to 100 ratings; 80, 10 and 10 of 100 are meta-train, meta-validation and meta-test; ten ratings drawn
    of each are the query, all others the support. nDCG@5 of ranking the ten, where the five with most stars count as
    relevant (equal stars by the order of the draw). Nothing is chosen on test; the likelihood weight is chosen on
    meta-validation users by their squared errors. Intervals are of the mean over seeds.
    """
    data = load_movielens()
    vectors = TextEncoder().encode(data.items["text"].tolist())
    counts = np.bincount(data.user_index, minlength=data.n_users)
    data = data.with_interactions(data.interactions[((counts >= 13) & (counts <= 100))[data.user_index]])
    found: dict[str, list[float]] = {}
    for seed in tqdm(range(30), desc="seeds"):
        train, valid, test = split_users(data, (0.8, 0.1, 0.1), seed=seed)
        features = item_features(train, vectors, seed=seed)
        prior = BayesianMF(seed=seed).fit(train, item_features(train, vectors, factors=0)[:, 1:])
        to_choose, tasks = (drawn_tasks(part, seed) for part in (valid, test))
        weight = min(LIKELIHOOD_WEIGHTS, key=lambda e: _mean_error(prior, to_choose, e))
        sums = np.bincount(train.item_index, train.ratings, data.n_items)
        rated = np.bincount(train.item_index, minlength=data.n_items)
        mean = np.where(rated > 0, sums / np.maximum(rated, 1), train.ratings.mean())
        shrunk = ItemMean().fit(train).means_
        rng = np.random.default_rng(seed)
        l2 = min(L2, key=lambda l2: _ridge_error(to_choose, features, l2))
        ways: dict[str, np.ndarray] = {
            "random": rng.random((len(tasks), QUERY)),
            "item mean": np.stack([mean[task.query_x] for task in tasks]),
            "item mean, drawn to the middle": np.stack([shrunk[task.query_x] for task in tasks]),
            "ridge on factors": np.stack([_on_factors(task, features, l2) for task in tasks]),
            "learned prior, likelihood weight 1": predict_queries(prior, tasks),
            "learned prior": predict_queries(prior, tasks, weight),
        }
        for name, answer in ways.items():
            found.setdefault(name, []).append(
                float(np.mean([ndcg_of_five(a, t) for a, t in zip(answer, tasks, strict=True)]))
            )
    rows = []
    for name, values in found.items():
        off = np.array(values) - np.array(found["item mean"])
        low, high = mean_interval(off)
        rows.append({"model": name, "ndcg": float(np.mean(values)), "lead": float(off.mean()), "low": low, "high": high,
                     "seeds won": int((off > 0).sum())})  # fmt: skip
    return {"table": rows}


@ten_to_rank.check
def _ten_to_rank_again(stored: Result, rng: np.random.Generator) -> Iterator[Row]:
    yield Row.of("all", stored["table"], ten_to_rank()["table"], "model")  # every row is a mean over all seeds


def drawn_tasks(part: Dataset, seed: int) -> list[Task]:
    """Make a task of each user: ten ratings drawn for the query, all others the support."""
    rng, tasks = np.random.default_rng(seed), []
    for user in np.unique(part.user_index):
        rows = rng.permutation(np.flatnonzero(part.user_index == user))
        support, query = rows[QUERY:], rows[:QUERY]
        items, ratings = part.item_index, part.ratings
        tasks.append(Task(items[support], ratings[support], items[query], ratings[query], int(user)))
    return tasks


def _mean_error(prior: BayesianMF, tasks: Tasks, weight: float) -> float:
    return float(np.square(predict_queries(prior, tasks, weight) - np.stack([t.query_y for t in tasks])).mean())


def _on_factors(task: Task, features: np.ndarray, l2: float) -> np.ndarray:
    x = Task(features[task.support_x], task.support_y, features[task.query_x], task.query_y)
    return ridge(x, l2, FACTORS)


def _ridge_error(tasks: Tasks, features: np.ndarray, l2: float) -> float:
    return float(np.mean([np.square(_on_factors(t, features, l2) - t.query_y).mean() for t in tasks]))


def ndcg_of_five(scores: np.ndarray, task: Task) -> float:
    """Return nDCG@5 of ranking a query by scores; its five highest ratings are relevant."""
    relevant = np.argsort(-task.query_y, kind="stable")[:5]
    return float(ndcg_at_k(np.argsort(-scores, kind="stable"), relevant, 5))


@experiment
def questions() -> dict[str, Any]:
    """Which films to ask a new user about: the error after 5 to 40 questions, asked in different orders.

    Five folds of users, each user in meta-test once. Users with 40 ratings or more are judged by ten ratings drawn;
    they can answer a question about a film if it is among their other ratings. Orders: any film; the films most people
    rated; the films whose rating would tell most; what it would tell times the share of people who rated the film
    (`ColdStartRecommender.elicit`); and times how likely people with such answers are to choose it. Stars are
    predicted by the same prior from the answers. Intervals are over users.
    """
    return {"table": _questioned(("any", "popular", "telling", "telling and popular", "telling and likely"))}


def _questioned(orders: Sequence[str]) -> list[dict[str, Any]]:
    data = load_movielens()
    errors: dict[tuple[str, int], list[np.ndarray]] = {}
    answered: dict[tuple[str, int], list[np.ndarray]] = {}
    for fold in tqdm(range(5), desc="folds"):
        train, valid, test = split_users(data, SHARES, fold=fold)
        model = ColdStartRecommender(order="random", seed=fold).fit_with_validation(train, valid)
        tasks = [task for task in drawn_tasks(test, fold) if len(task.support_y) >= 30]
        for name in orders:
            elicited = [elicitation(model, task, name, fold) for task in tasks]
            for n in N_QUESTIONS:
                supports = [answers_to(task, items[:n]) for task, items in zip(tasks, elicited, strict=True)]
                expected = gather_queries(model.predict_ratings(supports)[0], tasks)
                off = np.square(expected - np.stack([t.query_y for t in tasks])).mean(1)
                errors.setdefault((name, n), []).append(off)
                answered.setdefault((name, n), []).append(np.array([len(y) for _, y in supports], float))
    joined = {key: np.concatenate(folds) for key, folds in errors.items()}
    rows = []
    for (name, n), off in joined.items():
        low, high = paired_interval(off, joined["popular", n])
        row = {"order": name, "questions": n, "rmse": user_rmse(off), "users": len(off)}
        row["answers"] = float(np.concatenate(answered[name, n]).mean())
        lead = user_rmse(off) - user_rmse(joined["popular", n])
        rows.append(row | {"lead over popular": lead, "low": low, "high": high})
    return rows


@questions.check
def _questions_again(stored: Result, rng: np.random.Generator) -> Iterator[Row]:
    rows = _questioned(("any", "popular"))  # the others compute anew after each answer
    yield Row.of("any, popular", stored["table"], rows, "order", "questions")


N_QUESTIONS = (0, 5, 10, 20, 40)


def answers_to(task: Task, asked: Sequence[int]) -> tuple[np.ndarray, np.ndarray]:
    """Return the items and ratings of those asked about that the user has rated."""
    answered = np.isin(task.support_x, np.asarray(asked, dtype=int))
    return task.support_x[answered], task.support_y[answered]


def elicitation(model: ColdStartRecommender, task: Task, name: str, seed: int, n: int = max(N_QUESTIONS)) -> list[int]:
    """Return n items that a user is asked about, in order; those of the query are never asked about."""
    popular = model.popularity_.copy()
    popular[task.query_x] = 0
    if name == "any":
        rng = np.random.default_rng([seed, int(str(task.task_id))])
        return [int(i) for i in rng.permutation(np.setdiff1d(np.arange(len(popular)), task.query_x))[:n]]
    if name == "popular":
        return [int(i) for i in np.argsort(-popular, kind="stable")[:n]]
    asked: list[int] = []
    reduction = np.zeros(0)
    for _ in range(n):
        support = answers_to(task, asked)
        if not len(reduction) or (asked and asked[-1] in task.support_x):  # nothing is learned where there is no answer
            weight, _ = model.setting(len(support[1]))
            reduction = model.prior_.expected_variance_reduction(support, model.popularity_ + 1e-9, weight)
            if name == "telling and popular":
                reduction = reduction * popular
            elif name == "telling and likely":
                reduction = reduction * model.score_interaction([support])[0]
        candidates = np.where(np.isin(np.arange(len(reduction)), [*asked, *task.query_x]), -np.inf, reduction)
        asked.append(int(candidates.argmax()))
    return asked


@experiment
def new_groups() -> dict[str, Any]:
    """Meet a new group of users: what some of its people rated, to predict others of whom nothing is known.

    Occupations, and bands of age, of 20 people or more; one is left out at a time, and a prior learned from everybody
    else. The ratings of 0, 3 or 10 of the group's people stand for one made-up person; what such a rating counts is
    chosen on the other groups. Judged are ten ratings of each other person of the group, in three draws of who is in
    the support and who is judged, of which the mean is taken for each person. Intervals are over people, against
    knowing nothing of the group.
    """
    data = load_movielens()
    vectors = TextEncoder().encode(data.items["text"].tolist())
    rows = []
    for by in ("occupation", "age"):
        names = age_bands(data.users["age"].to_numpy()) if by == "age" else data.users[by].astype(str).to_numpy()
        sizes = pd.Series(names).value_counts()
        errors = {g: group_errors(data, vectors, names == g) for g in tqdm(sizes.index[sizes >= 20], desc=by)}
        for shots in SUPPORTS:
            mine, nothing, weights = [], [], []
            for group, found in errors.items():
                others = [error for other, error in errors.items() if other != group]
                weight = min(GROUP_WEIGHTS, key=lambda e: np.mean([np.mean(o[shots, e]) for o in others]))
                mine.append(found[shots, weight])
                nothing.append(found[0, GROUP_WEIGHTS[0]])
                weights.append(weight)
            first, second = np.concatenate(mine), np.concatenate(nothing)
            low, high = paired_interval(first, second)
            row = {"by": by, "groups": len(errors), "people": len(first), "support": shots, "rmse": user_rmse(first)}
            row |= {"lead": user_rmse(first) - user_rmse(second), "low": low, "high": high}
            rows.append(row | {"likelihood_weight": float(np.median(weights))})
    return {"table": rows}


@new_groups.check
def _new_groups_again(stored: Result, rng: np.random.Generator) -> Iterator[Row]:
    # The weight is chosen on all other groups.
    yield Row.of("all", stored["table"], new_groups()["table"], "by", "support")


SUPPORTS = (0, 3, 10)
GROUP_WEIGHTS = (0.0, 0.0003, 0.001, 0.003, 0.01, 0.03, 0.1)


def group_errors(data: Dataset, vectors: np.ndarray, members: np.ndarray) -> dict[tuple[int, float], np.ndarray]:
    """Return the mean squared error of each person, (people,), for each size of support and likelihood weight.

    It is the mean over the draws in which the person is judged.
    """
    inside = members[data.user_index]
    others, group = (data.with_interactions(data.interactions[rows]) for rows in (~inside, inside))
    prior = BayesianMF().fit(others, item_features(others, vectors, factors=0)[:, 1:])
    errors: dict[tuple[int, float], list[np.ndarray]] = {}
    task_ids = []
    for seed in range(3):
        people = np.random.default_rng(seed).permutation(np.unique(group.user_index))
        judged = [task for task in drawn_tasks(group, seed) if task.task_id not in people[: max(SUPPORTS)].tolist()]
        task_ids += [int(str(task.task_id)) for task in judged]
        for shots in SUPPORTS:
            rows = np.isin(group.user_index, people[:shots])
            support = group.item_index[rows], group.ratings[rows]
            for weight in GROUP_WEIGHTS:
                expected = np.tile(prior.predict([support], weight), (len(judged), 1))
                off = np.square(gather_queries(expected, judged) - np.stack([task.query_y for task in judged]))
                errors.setdefault((shots, weight), []).append(off.mean(1))
    _, place, times = np.unique(task_ids, return_inverse=True, return_counts=True)
    return {key: np.bincount(place, np.concatenate(found)) / times for key, found in errors.items()}

"""Experiments of chapter 14 that take longer than a chapter may; see `llmrec_lite.experiments` for the rules."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import numpy as np
import pandas as pd
from scipy import sparse
from tqdm.auto import tqdm

from llmrec_lite.data import Dataset, load_movielens
from llmrec_lite.language.encoder import TextEncoder
from llmrec_lite.language.recommend_text import LIKED
from llmrec_lite.meta.coldstart import EVIDENCE, ColdStartRecommender, answers
from llmrec_lite.meta.experiments import (
    FACTORS,
    FINE_TUNING,
    INNER,
    L2,
    ORDERS,
    QUERY,
    RULES,
    SHARES,
    USED,
    Answer,
    Study,
    Tasks,
    adapting,
    contenders,
    each,
    paired_interval,
    ridge,
    rmse,
    trained_jointly,
)
from llmrec_lite.meta.features import RatingNetwork, item_features
from llmrec_lite.meta.melu import PreferenceEstimator, person_features, with_person
from llmrec_lite.meta.objective import JointTraining
from llmrec_lite.meta.people import EpisodeRidge, Order, chosen
from llmrec_lite.meta.prior import LearnedPrior, learn_prior, posterior
from llmrec_lite.meta.tasks import SHOTS, Task, age_bands, nested_tasks, split_users, user_tasks
from llmrec_lite.metrics import ndcg_at_k
from llmrec_lite.recommenders import EASE, DenoisingAutoencoder, ItemMean, TextRecommender
from llmrec_lite.recommenders.base import top_k_unseen
from llmrec_lite.results import experiment

TOP = 10


@experiment
def cold_start() -> dict[str, Any]:
    """Stars of new users from 0 to 20 ratings: a learned prior, MeLU's idea, and the baselines of Part III.

    Two deals of five folds, so that each user is judged twice; 60, 20 and 20 of 100 are meta-train, meta-validation,
    meta-test. Users with 30 ratings or more are judged, by ten ratings drawn from those after their 20th, the same for
    all K and both orders. All settings are chosen for each K on meta-validation users; intervals are over users, the
    mean of whose two errors is drawn.

    MeLU is trained in four settings and used with 1, 5 or 10 steps; joint training has twelve as well.

    "second": the second deal alone. The form of the prior (eight factors, which features) was settled while looking at
    folds of the first; the second has the same people with other teachers.
    """
    data = load_movielens()
    vectors, people = TextEncoder().encode(data.items["text"].tolist()), person_features(data.users)
    study = Study()
    for deal, fold in tqdm([(deal, fold) for deal in range(2) for fold in range(5)], desc="folds"):
        train, valid, test = split_users(data, SHARES, seed=deal, fold=fold)
        seed = 5 * deal + fold
        features = item_features(train, vectors, seed=seed)
        joint = [trained_jointly(train, valid, features, seed, rate, 3) for rate in (3e-3, 1e-3)]
        known = contenders(joint[0], JointTraining(RatingNetwork(features.shape[1], seed=seed)))
        tuned = [adapting(one, *setting) for one in joint for setting in FINE_TUNING]
        for order in ORDERS:
            known_tasks = [nested_tasks(part, SHOTS, QUERY, 0, order) for part in (valid, test)]
            by_index = partial(_by_index, places=_places(known_tasks))
            full = ColdStartRecommender(order=order, seed=seed).fit_on(train, valid)
            melu = _melu(train, valid, features, people, order, seed)
            ways = {name: known[name] for name in RULES} | {"joint training + fine-tuning": tuned}
            ways["MeLU"] = [_with_person(adapting(one, steps=steps), people) for one in melu for steps in USED]
            ways["learned prior"] = [by_index(_starred(full))]
            study.judge(ways, valid, test, features, order, seed)
    table = study.table("ridge on factors", "joint training + fine-tuning", "item mean")
    second = study.table("ridge on factors", "joint training + fine-tuning", folds=slice(5, None))
    return {"table": table, "second": second, "chosen": study.chosen}


@experiment
def prior_parts() -> dict[str, Any]:
    """Take the learned prior to pieces: factors that are fixed or drawn, features of items, evidence, offset.

    Splits, people, questions and choices of `cold_start`. A prior learned on fixed factors, of 32 or 8 numbers, fitted
    with the people that the prior is learned from or with the other half of meta-train; with the items drawn as well,
    eight numbers; with features of the items, one block after the other (number of ratings, genres, text); with
    the evidence chosen by episodes, the offset, and both.

    "evidence": what was chosen in each split.
    """
    data = load_movielens()
    vectors = TextEncoder().encode(data.items["text"].tolist())
    study, settings = Study(), []
    for deal, fold in tqdm([(deal, fold) for deal in range(2) for fold in range(5)], desc="folds"):
        train, valid, test = split_users(data, SHARES, seed=deal, fold=fold)
        seed = 5 * deal + fold
        features = item_features(train, vectors, seed=seed)
        half = np.isin(train.user_index, np.unique(train.user_index)[::2])
        one, other = (train.with_interactions(train.interactions[rows]) for rows in (half, ~half))
        eight, apart = item_features(train, factors=8, seed=seed), item_features(other, factors=8, seed=seed)
        fixed = {
            "prior on 32 factors": _fixed_factors(train, features[:, :1], features[:, FACTORS]),
            "prior on 8 factors": _fixed_factors(train, eight[:, :1], eight[:, -8:]),
            "prior on 8 factors of other people": _fixed_factors(one, eight[:, :1], apart[:, -8:]),
        }
        count, genres = features[:, 1:2], features[:, 2 : FACTORS.start]
        blocks = {"items drawn": count[:, :0], "+ number of ratings": count, "+ genres": np.hstack([count, genres])}
        drawn = {name: LearnedPrior(seed=seed).fit(train, block) for name, block in blocks.items()}
        for order in ORDERS:
            by_index = partial(
                _by_index, places=_places([nested_tasks(p, SHOTS, QUERY, 0, order) for p in (valid, test)])
            )
            full = ColdStartRecommender(order=order, seed=seed).fit_on(train, valid)
            ridges = [each(partial(ridge, l2=l2, columns=FACTORS)) for l2 in L2]
            ways = {"ridge on factors": ridges, "ridge on factors + offset": _shifted(ridges, valid, features, order)}
            ways |= {name: [by_index(rule)] for name, rule in fixed.items()}
            ways |= {name: [by_index(partial(answers, prior))] for name, prior in drawn.items()}
            ways["+ text"] = [by_index(partial(answers, full.prior_))]
            chosen_, both = full.settings_, by_index(_starred(full))
            full_offsets = {k: (1.0, full.offsets_[k][1.0]) for k in SHOTS}
            ways["+ evidence"] = [by_index(_with_settings(full, {k: (e, 0.0) for k, (e, _) in chosen_.items()}))]
            ways["+ offset"] = [by_index(_with_settings(full, full_offsets))]
            ways["+ both"] = [both]
            study.judge(ways, valid, test, features, order, seed)
            settings += [{"order": order, "k": k, "evidence": e, "offset": c} for k, (e, c) in chosen_.items()]
    return {"table": study.table("ridge on factors"), "evidence": settings}


def _with_settings(model: ColdStartRecommender, settings: dict[int, tuple[float, float]]) -> Answer:
    """Answer as the model would with other settings, which are put in for the time of an answer."""

    def answer(tasks: Tasks) -> np.ndarray:
        own, model.settings_ = model.settings_, settings
        try:
            return _starred(model)(tasks)
        finally:
            model.settings_ = own

    return answer


def _melu(
    train: Dataset, valid: Dataset, features: np.ndarray, people: np.ndarray, order: Order, seed: int
) -> list[PreferenceEstimator]:
    """Train in the settings that chapter 12 gave its learners, by the same tasks, updates and looks."""
    to_learn, to_stop = (
        with_person([t for k in SHOTS[1:] for t in nested_tasks(part, SHOTS, QUERY, seed, order, features)[k]], people)
        for part in (train, valid)
    )
    d = features.shape[1] + people.shape[1]
    options: dict[str, Any] = {"steps": 300, "valid_every": 100, "seed": seed}
    return [
        PreferenceEstimator(d, inner_lr=rate, inner_steps=steps, **options).meta_fit(to_learn, to_stop)
        for rate, steps in INNER
    ]


def _with_person(answer: Answer, people: np.ndarray) -> Answer:
    return lambda tasks: answer(with_person(tasks, people))


def _places(parts: Sequence[dict[int, list[Task]]]) -> dict[tuple[object, int], Task]:
    """Find a task whose inputs are item indices by its owner and the size of its support."""
    return {(task.owner, k): task for part in parts for k, tasks in part.items() for task in tasks}


def _by_index(answer: Answer, places: dict[tuple[object, int], Task]) -> Answer:
    """Answer tasks of features by the same tasks of item indices."""
    return lambda tasks: answer([places[task.owner, len(task.support_y)] for task in tasks])


def _asked(expected: np.ndarray, tasks: Tasks) -> np.ndarray:
    return np.take_along_axis(expected, np.stack([task.query_x for task in tasks]), 1)


def _starred(model: ColdStartRecommender) -> Answer:
    return lambda tasks: _asked(model.stars([(task.support_x, task.support_y) for task in tasks])[0], tasks)


def _fixed_factors(people: Dataset, means: np.ndarray, factors: np.ndarray) -> Answer:
    """Answer by a prior over weights on a constant and factors, learned from all that some people rated.

    Args:
        people: whose ratings.
        means: (n_items, 1) of the items.
        factors: (n_items, f).
    """
    x = np.c_[np.ones(len(factors)), factors].astype(float)
    tasks = [(x[t.support_x], t.support_y - means[t.support_x, 0]) for t in user_tasks(people, 10**6, 1)]
    mean, precision, noise = learn_prior(tasks)

    def rule(task: Task) -> np.ndarray:
        y = (task.support_y - means[task.support_x, 0]).astype(float)
        w, _ = posterior(mean, precision, x[task.support_x], y, noise)
        return means[task.query_x, 0] + x[task.query_x] @ w

    return each(rule)


def _shifted(ways: Sequence[Answer], valid: Dataset, features: np.ndarray, order: Order) -> list[Answer]:
    """Add to each answer by how much it is too low in the mean over meta-validation users, for each K."""
    parts = nested_tasks(valid, SHOTS, QUERY, 0, order, features)

    def shifted(answer: Answer) -> Answer:
        offset = {k: (np.stack([t.query_y for t in tasks]) - answer(tasks)).mean() for k, tasks in parts.items()}
        return lambda tasks: answer(tasks) + offset[len(tasks[0].support_y)]

    return [shifted(answer) for answer in ways]


Ranker = Callable[[np.ndarray], np.ndarray]  # scores (n, n_items) from what was chosen, (n, n_items) of 0 and 1


@experiment
def newcomers() -> dict[str, Any]:
    """Recommend to new users from 0 to 20 choices: nDCG@10 of what they chose later among all other items.

    Two deals of five folds, so that each user is judged twice; 60, 20 and 20 of 100 are meta-train, meta-validation,
    meta-test. Users with 30 ratings or more are judged, by all they chose after the first K (or any K), whatever the
    stars; "liked" counts only what was rated 4 or more. Settings, six to nine a rule or model, are chosen for each K
    on meta-validation users; ours chooses among two ridges, and among five autoencoders with seven shares of each.
    "people" is the attention alone. Intervals are over users, with the models held fixed.

    "second": the second deal alone. How the three parts of our model are weighed was settled while looking at folds of
    the first; the second has the same people with other teachers.
    """
    data = load_movielens()
    found: dict[tuple[str, int, str], list[np.ndarray]] = {}
    owners: dict[tuple[str, int], list[np.ndarray]] = {}
    picked: list[dict[str, Any]] = []
    for deal, fold in tqdm([(deal, fold) for deal in range(2) for fold in range(5)], desc="folds"):
        train, valid, test = split_users(data, SHARES, seed=deal, fold=fold)
        seed = 5 * deal + fold
        shared = _rankers(train)
        for order in ORDERS:
            full = ColdStartRecommender(order=order, seed=seed).fit_on(train, valid)
            for k in SHOTS:
                to_choose, asked = (_Later(part, k, order) for part in (valid, test))
                owners.setdefault((order, k), []).append(asked.users)
                scores = {}
                for name, rankers in (shared | _rankers_of_episodes(train, k, order)).items():
                    tried = [to_choose.ndcg(ranker(to_choose.given))[0].mean() for ranker in rankers]
                    place = int(np.argmax(tried))
                    scores[name] = rankers[place](asked.given)
                    choice = {"order": order, "model": name, "k": k, "fold": seed, "setting": place}
                    picked.append({**choice, "settings": len(rankers)})
                full.goal = "chosen"
                scores["all three"] = full.scores(asked.supports)
                full.goal = "liked"
                scores["all three, liked"] = full.scores(asked.supports)
                if k in full.next_:
                    scores["people"] = full.next_[k].attention_.predict(asked.given)
                for name, values in scores.items():
                    found.setdefault((order, k, name), []).append(asked.ndcg(values))
    return {
        "table": _table_of_lists(found, owners, slice(None)),
        "second": _table_of_lists(found, owners, slice(5, None)),
        "chosen": picked,
    }


RIVALS = (
    "popularity",
    "popularity by place",
    "neighbours, whole histories",
    "neighbours, later choices",
    "ridge over episodes",
    "EASE",
    "autoencoder",
    "popularity by place + autoencoder",
)


def _table_of_lists(
    found: dict[tuple[str, int, str], list[np.ndarray]], owners: dict[tuple[str, int], list[np.ndarray]], folds: slice
) -> list[dict[str, Any]]:
    """Return the mean over users of the mean over the folds that judged them, and leads with intervals."""

    def of_users(order: str, k: int, name: str) -> np.ndarray:
        values = np.concatenate(found[order, k, name][folds], axis=1)
        _, place = np.unique(np.concatenate(owners[order, k][folds]), return_inverse=True)
        # Nobody liked anything later: no value, and no vote.
        with np.errstate(invalid="ignore"):
            return np.stack([np.bincount(place, np.nan_to_num(v)) / np.bincount(place, np.isfinite(v)) for v in values])

    rows = []
    for order, k, name in found:
        chosen_, liked = of_users(order, k, name)
        row: dict[str, Any] = {"order": order, "model": name, "k": k, "users": len(chosen_)}
        row |= {"ndcg": float(chosen_.mean()), "liked": float(np.nanmean(liked))}
        for rival in RIVALS:
            if (order, k, rival) in found:
                lead = chosen_ - of_users(order, k, rival)[0]
                low, high = _mean_interval(lead)
                row |= {f"lead over {rival}": float(lead.mean()), f"low {rival}": low, f"high {rival}": high}
        rows.append(row)
    return rows


class _Later:
    """What people of a part chose later, and liked of it."""

    def __init__(self, part: Dataset, k: int, order: Order) -> None:
        self.users, self.given, self.rest = chosen(part, k, order, least=max(SHOTS) + QUERY - k)
        ratings = part.matrix("rating")[self.users].toarray()
        self.liked = self.rest * (ratings >= LIKED)
        self.supports = [(np.flatnonzero(row), stars[row > 0]) for row, stars in zip(self.given, ratings, strict=True)]

    def ndcg(self, scores: np.ndarray) -> np.ndarray:
        """Return for each user nDCG@10 of what was chosen, and of what was liked, (2, users)."""
        items, _ = top_k_unseen(np.where(self.given > 0, -np.inf, scores), None, TOP)
        return np.stack([ndcg_at_k(items, sparse.csr_array(part), TOP) for part in (self.rest, self.liked)])


def _rankers(train: Dataset) -> dict[str, list[Ranker]]:
    """Models of Parts I and II that answer to a new user, with their settings."""

    def linear(model: EASE | DenoisingAutoencoder) -> Ranker:
        weights = model.fit(train).weights_
        return lambda given: given @ weights

    def by_text(model: TextRecommender) -> Ranker:
        weights = model.fit(train).solution_.T @ model.items_.T
        return lambda given: given @ weights

    popular = np.bincount(train.item_index, minlength=train.n_items).astype(float)
    autoencoders = ((0.5, 200.0), (0.65, 700.0), (0.8, 2e3), (0.9, 5e3), (0.95, 1e4), (0.98, 3e4), (0.99, 1e5))
    ways: dict[str, list[Ranker]] = {
        "popularity": [lambda given: np.tile(popular, (len(given), 1))],
        "EASE": [linear(EASE(l2)) for l2 in (200.0, 1e3, 3e3, 1e4, 3e4, 1e5, 3e5)],
        "autoencoder": [linear(DenoisingAutoencoder(*setting)) for setting in autoencoders],
        "ridge on text": [by_text(TextRecommender(l2=l2)) for l2 in (1.0, 3.0, 10.0, 30.0, 100.0, 300.0)],
    }
    return ways


def _rankers_of_episodes(train: Dataset, k: int, order: Order) -> dict[str, list[Ranker]]:
    """Models that learn from the first choices of people and their later ones."""
    _, given, rest = chosen(train, k, order)
    by_place, whole = rest.mean(0), given + rest
    many = whole.sum(1)
    ways: dict[str, list[Ranker]] = {"popularity by place": [lambda new: np.tile(by_place, (len(new), 1))]}
    if not k:
        return ways

    def neighbours(weight: float, power: float, values: np.ndarray) -> Ranker:
        def ranker(new: np.ndarray) -> np.ndarray:
            alike = new @ whole.T / many**power
            near = alike @ values / np.maximum(alike.sum(1, keepdims=True), 1e-9)
            return (1 - weight) * by_place + weight * near

        return ranker

    def lifted(share: float, weights: np.ndarray) -> Ranker:
        return lambda new: by_place + share * new @ weights

    settings = [(weight, power) for weight in (0.3, 0.7, 1.0) for power in (0.0, 0.5, 1.0)]
    ways["neighbours, whole histories"] = [neighbours(*setting, whole) for setting in settings]
    ways["neighbours, later choices"] = [neighbours(*setting, rest) for setting in settings]
    encoders = [DenoisingAutoencoder(*setting).fit(train).weights_ for setting in ((0.65, 700.0), (0.9, 5e3))]
    ways["popularity by place + autoencoder"] = [lifted(c, w) for w in encoders for c in (0.5, 1.0, 2.0, 4.0)]
    l2s = (3.0, 10.0, 30.0, 100.0, 300.0, 1000.0)
    ways["ridge over episodes"] = [EpisodeRidge(l2).fit(given, rest).predict for l2 in l2s]
    return ways


def _mean_interval(differences: np.ndarray) -> tuple[float, float]:
    """Return the 95% interval of the mean of paired differences, (n,), drawn anew."""
    return paired_interval(differences, np.zeros(len(differences)), summary=np.asarray)


@experiment
def ten_to_rank() -> dict[str, Any]:
    """Rank ten films of a new user by stars: the rating protocol of RecBole-MetaRec, thirty seeds.

    Users with 13 to 100 ratings; 80, 10 and 10 of 100 are meta-train, meta-validation and meta-test; ten ratings drawn
    of each are the query, all others the support. nDCG@5 of ranking the ten, where the five with most stars count as
    relevant (equal stars by the order of the draw). Nothing is chosen on test; evidence is chosen on meta-validation
    users by their squared errors. Intervals are of the mean over seeds.
    """
    data = load_movielens()
    vectors = TextEncoder().encode(data.items["text"].tolist())
    counts = np.bincount(data.user_index, minlength=data.n_users)
    data = data.with_interactions(data.interactions[((counts >= 13) & (counts <= 100))[data.user_index]])
    found: dict[str, list[float]] = {}
    for seed in tqdm(range(30), desc="seeds"):
        train, valid, test = split_users(data, (0.8, 0.1, 0.1), seed=seed)
        features = item_features(train, vectors, seed=seed)
        prior = LearnedPrior(seed=seed).fit(train, item_features(train, vectors, factors=0)[:, 1:])
        to_choose, tasks = (_drawn(part, seed) for part in (valid, test))
        evidence = min(EVIDENCE, key=lambda e: _mean_error(prior, to_choose, e))
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
            "learned prior, all evidence": answers(prior, tasks),
            "learned prior": answers(prior, tasks, evidence),
        }
        for name, answer in ways.items():
            found.setdefault(name, []).append(
                float(np.mean([_of_five(a, t) for a, t in zip(answer, tasks, strict=True)]))
            )
    rows = []
    for name, values in found.items():
        off = np.array(values) - np.array(found["item mean"])
        low, high = _mean_interval(off)
        rows.append({"model": name, "ndcg": float(np.mean(values)), "lead": float(off.mean()), "low": low, "high": high,
                     "seeds won": int((off > 0).sum())})  # fmt: skip
    return {"table": rows}


def _drawn(part: Dataset, seed: int) -> list[Task]:
    """Make a task of each user: ten ratings drawn for the query, all others the support."""
    rng, tasks = np.random.default_rng(seed), []
    for user in np.unique(part.user_index):
        rows = rng.permutation(np.flatnonzero(part.user_index == user))
        told, asked = rows[QUERY:], rows[:QUERY]
        items, ratings = part.item_index, part.ratings
        tasks.append(Task(items[told], ratings[told], items[asked], ratings[asked], int(user)))
    return tasks


def _mean_error(prior: LearnedPrior, tasks: Tasks, evidence: float) -> float:
    return float(np.square(answers(prior, tasks, evidence) - np.stack([t.query_y for t in tasks])).mean())


def _on_factors(task: Task, features: np.ndarray, l2: float) -> np.ndarray:
    x = Task(features[task.support_x], task.support_y, features[task.query_x], task.query_y)
    return ridge(x, l2, FACTORS)


def _ridge_error(tasks: Tasks, features: np.ndarray, l2: float) -> float:
    return float(np.mean([np.square(_on_factors(t, features, l2) - t.query_y).mean() for t in tasks]))


def _of_five(scores: np.ndarray, task: Task) -> float:
    relevant = np.argsort(-task.query_y, kind="stable")[:5]
    return float(ndcg_at_k(np.argsort(-scores, kind="stable"), relevant, 5))


@experiment
def questions() -> dict[str, Any]:
    """Which films to ask a new user about: the error after 5 to 40 questions, asked in different orders.

    Five folds of users, each user in meta-test once. Users with 40 ratings or more are judged by ten ratings drawn;
    they can answer a question about a film if it is among their other ratings. Orders: any film; the films most people
    rated; the films whose rating would tell most; what it would tell times the share of people who rated the film;
    and the same with the share for people with such answers (`ColdStartRecommender.questions`). Stars are predicted by
    the same prior from the answers. Intervals are over users.
    """
    data = load_movielens()
    errors: dict[tuple[str, int], list[np.ndarray]] = {}
    answered: dict[tuple[str, int], list[np.ndarray]] = {}
    for fold in tqdm(range(5), desc="folds"):
        train, valid, test = split_users(data, SHARES, fold=fold)
        model = ColdStartRecommender(order="random", seed=fold).fit_on(train, valid)
        tasks = [task for task in _drawn(test, fold) if len(task.support_y) >= 30]
        for name in ("any", "popular", "telling", "telling and popular", "telling and likely"):
            told = [_interview(model, task, name, fold) for task in tasks]
            for n in ASKED:
                supports = [_answers_to(task, asked[:n]) for task, asked in zip(tasks, told, strict=True)]
                expected = _asked(model.stars(supports)[0], tasks)
                off = np.square(expected - np.stack([t.query_y for t in tasks])).mean(1)
                errors.setdefault((name, n), []).append(off)
                answered.setdefault((name, n), []).append(np.array([len(y) for _, y in supports], float))
    joined = {key: np.concatenate(folds) for key, folds in errors.items()}
    rows = []
    for (name, n), off in joined.items():
        low, high = paired_interval(off, joined["popular", n])
        row = {
            "order": name,
            "questions": n,
            "rmse": rmse(off),
            "answers": float(np.concatenate(answered[name, n]).mean()),
        }
        row |= {
            "lead over popular": rmse(off) - rmse(joined["popular", n]),
            "low": low,
            "high": high,
            "users": len(off),
        }
        rows.append(row)
    return {"table": rows}


ASKED = (0, 5, 10, 20, 40)


def _answers_to(task: Task, asked: Sequence[int]) -> tuple[np.ndarray, np.ndarray]:
    known = np.isin(task.support_x, np.asarray(asked, dtype=int))
    return task.support_x[known], task.support_y[known]


def _interview(model: ColdStartRecommender, task: Task, name: str, seed: int) -> list[int]:
    """Return the items that a person is asked about, in order; those of the query are never asked about."""
    most = max(ASKED)
    popular = model.popularity_.copy()
    popular[task.query_x] = 0
    if name == "any":
        rng = np.random.default_rng([seed, int(str(task.owner))])
        return [int(i) for i in rng.permutation(np.setdiff1d(np.arange(len(popular)), task.query_x))[:most]]
    if name == "popular":
        return [int(i) for i in np.argsort(-popular, kind="stable")[:most]]
    asked: list[int] = []
    worth = np.zeros(0)
    for _ in range(most):
        support = _answers_to(task, asked)
        if not len(worth) or (asked and asked[-1] in task.support_x):  # nothing is learned where there is no answer
            evidence, _ = model.setting(len(support[1]))
            worth = model.prior_.worth_asking(support, model.popularity_ + 1e-9, evidence)
            if name == "telling and popular":
                worth = worth * popular
            elif name == "telling and likely":
                worth = worth * model.choices([support])[0]
        open_ = np.where(np.isin(np.arange(len(worth)), [*asked, *task.query_x]), -np.inf, worth)
        asked.append(int(open_.argmax()))
    return asked


@experiment
def new_groups() -> dict[str, Any]:
    """Meet a new group of users: what some of its people rated, to predict others of whom nothing is known.

    Occupations, and bands of age, of 20 people or more; one is left out at a time, and a prior learned from everybody
    else. The ratings of 0, 3 or 10 of the group's people stand for one made-up person; what such a rating counts is
    chosen on the other groups. Judged are ten ratings of each other person of the group, in three draws of who is told
    and who is asked, of which the mean is taken for each person. Intervals are over people, against knowing nothing of
    the group.
    """
    data = load_movielens()
    vectors = TextEncoder().encode(data.items["text"].tolist())
    rows = []
    for by in ("occupation", "age"):
        names = age_bands(data.users["age"].to_numpy()) if by == "age" else data.users[by].astype(str).to_numpy()
        sizes = pd.Series(names).value_counts()
        errors = {g: _group_errors(data, vectors, names == g) for g in tqdm(sizes.index[sizes >= 20], desc=by)}
        for told in TOLD:
            mine, nothing, chosen_for = [], [], []
            for group, found in errors.items():
                others = [error for other, error in errors.items() if other != group]
                evidence = min(GROUP_EVIDENCE, key=lambda e: np.mean([np.mean(o[told, e]) for o in others]))
                mine.append(found[told, evidence])
                nothing.append(found[0, GROUP_EVIDENCE[0]])
                chosen_for.append(evidence)
            first, second = np.concatenate(mine), np.concatenate(nothing)
            low, high = paired_interval(first, second)
            row = {"by": by, "groups": len(errors), "people": len(first), "told": told, "rmse": rmse(first)}
            row |= {"lead": rmse(first) - rmse(second), "low": low, "high": high}
            rows.append(row | {"evidence": float(np.median(chosen_for))})
    return {"table": rows}


TOLD = (0, 3, 10)
GROUP_EVIDENCE = (0.0, 0.0003, 0.001, 0.003, 0.01, 0.03, 0.1)


def _group_errors(data: Dataset, vectors: np.ndarray, members: np.ndarray) -> dict[tuple[int, float], np.ndarray]:
    """Return the mean squared error of each person, (people,), for each number told and evidence.

    It is the mean over the draws in which the person was asked.
    """
    inside = members[data.user_index]
    others, group = (data.with_interactions(data.interactions[rows]) for rows in (~inside, inside))
    prior = LearnedPrior().fit(others, item_features(others, vectors, factors=0)[:, 1:])
    errors: dict[tuple[int, float], list[np.ndarray]] = {}
    owners = []
    for seed in range(3):
        people = np.random.default_rng(seed).permutation(np.unique(group.user_index))
        asked = [task for task in _drawn(group, seed) if task.owner not in people[: max(TOLD)].tolist()]
        owners += [int(str(task.owner)) for task in asked]
        for told in TOLD:
            rows = np.isin(group.user_index, people[:told])
            support = group.item_index[rows], group.ratings[rows]
            for evidence in GROUP_EVIDENCE:
                expected = np.tile(prior.predict([support], evidence), (len(asked), 1))
                off = np.square(_asked(expected, asked) - np.stack([task.query_y for task in asked]))
                errors.setdefault((told, evidence), []).append(off.mean(1))
    _, place, times = np.unique(owners, return_inverse=True, return_counts=True)
    return {key: np.bincount(place, np.concatenate(found)) / times for key, found in errors.items()}

"""Experiments of chapter 14 on stars; see `book.experiments` for the rules."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from functools import partial
from typing import Any

import numpy as np
import pandas as pd
from tqdm.auto import tqdm

from book.experiments.ch12_maml import INNER, RULES, in_use, meta_learner
from book.experiments.registry import Result, Row, draw, experiment
from book.experiments.study import (
    FINE_TUNED,
    JOINT,
    L2,
    TWO_PENALTIES,
    UNTRAINED,
    Fold,
    Study,
    all_cores,
    draw_order,
    rules,
)
from llmrec_lite.data import Dataset, load_movielens
from llmrec_lite.language.encoder import TextEncoder
from llmrec_lite.meta.baselines import FACTORS, ORDERS, QUERY, SHARES, Predict, Tasks, each, ridge
from llmrec_lite.meta.bayesian_mf import BayesianMF, learn_prior, posterior
from llmrec_lite.meta.cold_start import ColdStartRecommender, gather_queries, predict_queries
from llmrec_lite.meta.features import RatingNetwork, item_features
from llmrec_lite.meta.learners import MetaLearner
from llmrec_lite.meta.maml import MAML
from llmrec_lite.meta.tasks import SHOTS, HistoryOrder, Task, age_bands, nested_tasks, split_users, user_tasks


def person_features(users: pd.DataFrame) -> np.ndarray:
    """Describe people by gender, band of age and occupation, as far as the table has them.

    Returns:
        (n_users, p) float32; each of the three has mean square 1 in total over the people. No columns where the
        table has none of the three.
    """
    columns = {name: users[name].astype(str) for name in ("gender", "occupation") if name in users}
    if "age" in users:
        columns["age"] = pd.Series(age_bands(users["age"].to_numpy()))
    blocks = [np.empty((len(users), 0))]
    for column in columns.values():
        block = pd.get_dummies(column).to_numpy(float)
        block = block - block.mean(0)
        size = np.sqrt(np.square(block).sum(1).mean())
        blocks.append(block / size if size > 0 else block)
    return np.hstack(blocks).astype(np.float32)


def with_person(tasks: Sequence[Task], people: np.ndarray) -> list[Task]:
    """Append to each input of a task the features of the person whose task it is.

    Args:
        tasks: of `user_tasks`, with inputs (k, d).
        people: (n_users, p), see `person_features`.

    Returns:
        The same tasks with inputs (k, d + p).
    """

    def joined(x: np.ndarray, task_id: object) -> np.ndarray:
        mine = people[int(str(task_id))]
        return np.hstack([x, np.broadcast_to(mine, (len(x), len(mine)))])

    return [
        replace(task, support_x=joined(task.support_x, task.task_id), query_x=joined(task.query_x, task.task_id))
        for task in tasks
    ]


class PreferenceEstimator(MAML):
    """MeLU: an embedding of item and person that is the same for all, and layers above it that adapt to each person.

    Lee et al., KDD 2019, algorithm 1: the layers that decide take a few steps on a person's support; the embedding
    learns from the queries only. Their published code loads the adapted weights back into the network, which cuts the
    way from the query to the beginning (chapter 12); this one keeps it.

    Args:
        d: length of the inputs, column 0 the item's mean rating (`item_features`).
        hidden: units of the embedding, then of the layers that decide.
        inner_lr: step size of the adaptation.
        inner_steps: how many steps it takes.
        seed: of the first weights and of the order of the tasks.
        options: of `MAML`.

    Raises:
        ValueError: there is no layer between embedding and head.
    """

    def __init__(
        self,
        d: int,
        hidden: tuple[int, ...] = (64, 64, 64),
        inner_lr: float = 0.05,
        inner_steps: int = 5,
        seed: int = 0,
        **options: Any,
    ) -> None:
        if len(hidden) < 2:
            raise ValueError(f"hidden={hidden} needs two numbers or more: of the embedding, and of what decides")
        deciding = tuple(f"hidden.{i}." for i in range(1, len(hidden)))
        network = RatingNetwork(d, hidden, seed)
        super().__init__(network, inner_lr, inner_steps, parameters=(*deciding, "head"), seed=seed, **options)


@experiment
def cold_start() -> dict[str, Any]:
    """Stars of new users from 0 to 20 ratings: a learned prior, MeLU's idea, and the baselines of Part III.

    Two deals of five folds, so that each user is judged twice; 60, 20 and 20 of 100 are meta-train, meta-validation,
    meta-test. Users with 30 ratings or more are judged, by ten ratings drawn from those after their 20th, the same for
    all K and both orders. All settings are chosen for each K on meta-validation users; intervals are over users, the
    mean of whose two errors is drawn.

    Training is that of `meta_learning`, cross-fitted: MeLU, R2D2 and joint training have four trainings each, MeLU and
    joint training eight ways of fine-tuning, R2D2 four likelihood weights.

    "second": the second deal alone. The form of the prior (eight factors, which features) was settled while looking at
    folds of the first; the second has the same people with other teachers. "needed": the ratings that reach the error
    of joint training with 20, with intervals over users.
    """
    study = Study.joined(all_cores(_split, [deal for deal in range(2) for _ in range(5)], [*range(5), *range(5)]))
    table = study.table("ridge on factors", TWO_PENALTIES, UNTRAINED, FINE_TUNED, "R2D2", "item mean")
    second = study.table("ridge on factors", TWO_PENALTIES, FINE_TUNED, folds=slice(5, None))
    return {"table": table, "second": second, "chosen": study.chosen, "needed": _needed(study)}


NEEDING = ("ridge on factors", TWO_PENALTIES, "MeLU", "R2D2", "learned prior")


def _needed(study: Study) -> list[dict[str, Any]]:
    """Return how many ratings each way needs for the error of joint training with twenty, with a bootstrap interval.

    Between two measured numbers of ratings a straight line in log K is drawn. Users are drawn anew; a draw in which a
    way does not reach the error counts as more than 20.
    """
    shots, rows = np.array(SHOTS[1:]), []
    for order in ORDERS:
        goal = study.of_users(order, FINE_TUNED, 20)[0]
        draws = np.random.default_rng(0).multinomial(len(goal), np.full(len(goal), 1 / len(goal)), 2000)
        counts = np.vstack([np.ones(len(goal)), draws]) / len(goal)
        for name in NEEDING:
            errors = np.stack([study.of_users(order, name, int(k))[0] for k in shots])
            found = np.array([reached(errors @ c, goal @ c, shots) for c in counts])
            low, high = np.quantile(found[1:], (0.025, 0.975))
            row = {"order": order, "model": name, "needed": float(found[0]), "low": float(low), "high": float(high)}
            rows.append(row | {"not reached": float((found[1:] > shots[-1]).mean())})
    return rows


def reached(errors: np.ndarray, goal: float, shots: np.ndarray) -> float:
    """Return at how many ratings the errors, (shots,), first fall to a goal; twice the most where they do not."""
    enough = np.flatnonzero(errors <= goal)
    if not len(enough):
        return 2.0 * shots[-1]
    last = enough[0]
    before = max(last - 1, 0)
    return float(np.exp(np.interp(goal, errors[[last, before]], np.log(shots[[last, before]]))))


def _split(deal: int, number: int) -> Study:
    data, study = load_movielens(), Study()
    vectors, people = TextEncoder().encode(data.items["text"].tolist()), person_features(data.users)
    train, valid, test = split_users(data, SHARES, seed=deal, fold=number)
    fold = Fold.of(data, vectors, number, deal)
    baselines = fold.contenders([fold.joint(setting) for setting in range(len(JOINT))])
    for order in ORDERS:
        heads = [_fit(meta_learner("R2D2", fold, setting), fold, order) for setting in range(4)]
        melu = [_with_person(way, people) for way in in_use(_melu(fold, people, order))]
        ways = {name: rules()[name] for name in RULES} | baselines | {"R2D2": in_use(heads), "MeLU": melu}
        ways["learned prior"] = [_learned_prior(train, valid, test, order, fold.seed)]
        study.judge(ways, valid, test, fold.features, order, fold.seed)
    return study


def _fit(learner: MetaLearner, fold: Fold, order: HistoryOrder) -> MetaLearner:
    tasks = [task for k, some in fold.to_learn(order).items() if k for task in some]
    return learner.meta_fit(tasks, fold.to_stop(order))


def _learned_prior(train: Dataset, valid: Dataset, test: Dataset, order: HistoryOrder, seed: int) -> Predict:
    """Predict as chapter 14's recommender does."""
    places = task_index([nested_tasks(part, SHOTS, QUERY, 0, order) for part in (valid, test)])
    full = ColdStartRecommender(order=order, seed=seed).fit_with_validation(train, valid)
    return by_item_index(ratings_of(full), places)


@cold_start.check
def _cold_start_again(stored: Result, rng: np.random.Generator) -> Iterator[Row]:
    data, study, order = load_movielens(), Study(), draw_order(rng)
    vectors = TextEncoder().encode(data.items["text"].tolist())
    for fold in range(5):
        train, valid, test = split_users(data, SHARES, seed=1, fold=fold)
        ways = {name: rules()[name] for name in ("item mean", "ridge on factors", TWO_PENALTIES)}
        ways["learned prior"] = [_learned_prior(train, valid, test, order, 5 + fold)]
        study.judge(ways, valid, test, item_features(train, vectors, seed=5 + fold), order, 5 + fold)
    rows = study.table("ridge on factors", TWO_PENALTIES)
    yield Row.of(f"learned prior and rules, {order}, second deal", stored["second"], rows, "order", "model", "k")


@experiment
def prior_parts() -> dict[str, Any]:
    """Take the learned prior to pieces: factors that are fixed or drawn, features of items, likelihood weight, offset.

    Splits, people, questions and choices of `cold_start`. A prior learned on fixed factors, of 32 or 8 numbers, fitted
    with the people that the prior is learned from or with the other half of meta-train; with the items drawn as well,
    eight numbers; with features of the items, one block after the other (number of ratings, genres, text); with
    the likelihood weight chosen by episodes, the offset, and both.

    "likelihood_weight": what was chosen in each split.
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
            "prior on 32 factors": _on_32_factors(train, features),
            "prior on 8 factors": prior_on_factors(train, eight[:, :1], eight[:, -8:]),
            "prior on 8 factors of other people": prior_on_factors(one, eight[:, :1], apart[:, -8:]),
        }
        count, genres = features[:, 1:2], features[:, 2 : FACTORS.start]
        blocks = {"items drawn": count[:, :0], "+ number of ratings": count, "+ genres": np.hstack([count, genres])}
        drawn = {name: BayesianMF(seed=seed).fit(train, block) for name, block in blocks.items()}
        for order in ORDERS:
            known_tasks = [nested_tasks(part, SHOTS, QUERY, 0, order) for part in (valid, test)]
            by_index = partial(by_item_index, places=task_index(known_tasks))
            full = ColdStartRecommender(order=order, seed=seed).fit_with_validation(train, valid)
            ridges = [each(partial(ridge, l2=l2, columns=FACTORS)) for l2 in L2]
            ways = {
                "ridge on factors": ridges,
                "ridge on factors + offset": with_offset(ridges, valid, features, order),
            }
            ways |= {name: [by_index(rule)] for name, rule in fixed.items()}
            ways |= {name: [by_index(partial(predict_queries, prior))] for name, prior in drawn.items()}
            ways["+ text"] = [by_index(partial(predict_queries, full.prior_))]
            settings_ = full.settings_
            offsets = {k: (1.0, full.offsets_[k][1.0]) for k in SHOTS}
            ways["+ likelihood weight"] = [
                by_index(with_settings(full, {k: (e, 0.0) for k, (e, _) in settings_.items()}))
            ]
            ways["+ offset"] = [by_index(with_settings(full, offsets))]
            ways["+ both"] = [by_index(ratings_of(full))]
            study.judge(ways, valid, test, features, order, seed)
            settings += [
                {"order": order, "k": k, "likelihood_weight": e, "offset": c} for k, (e, c) in settings_.items()
            ]
    return {"table": study.table("ridge on factors"), "likelihood_weight": settings}


def _on_32_factors(train: Dataset, features: np.ndarray) -> Predict:
    return prior_on_factors(train, features[:, :1], features[:, FACTORS])


@prior_parts.check
def _prior_parts_again(stored: Result, rng: np.random.Generator) -> Iterator[Row]:
    data, study, order, one = load_movielens(), Study(), draw_order(rng), draw(rng, range(10))
    vectors = TextEncoder().encode(data.items["text"].tolist())
    for seed in range(10):
        train, valid, test = split_users(data, SHARES, seed=seed // 5, fold=seed % 5)
        features = item_features(train, vectors, seed=seed)
        places = task_index([nested_tasks(part, SHOTS, QUERY, 0, order) for part in (valid, test)])
        ways = {"ridge on factors": rules()["ridge on factors"]}
        ways["prior on 32 factors"] = [by_item_index(_on_32_factors(train, features), places)]
        study.judge(ways, valid, test, features, order, seed)
        if seed == one:
            full = ColdStartRecommender(order=order, seed=seed).fit_with_validation(train, valid)
            settings = [
                {"order": order, "k": k, "likelihood_weight": e, "offset": c} for k, (e, c) in full.settings_.items()
            ]
            first = (2 * seed + ORDERS.index(order)) * len(SHOTS)
            old = stored["likelihood_weight"][first : first + len(SHOTS)]
            yield Row(f"likelihood weight, {order}, split {seed}", old, settings)
    rows = study.table("ridge on factors")
    yield Row.of(f"prior on 32 factors, {order}", stored["table"], rows, "order", "model", "k")


def with_settings(model: ColdStartRecommender, settings: dict[int, tuple[float, float]]) -> Predict:
    """Predict as the model would with other settings, which are put in for the time of a prediction."""

    def predict(tasks: Tasks) -> np.ndarray:
        own, model.settings_ = model.settings_, settings
        try:
            return ratings_of(model)(tasks)
        finally:
            model.settings_ = own

    return predict


def _melu(fold: Fold, people: np.ndarray, order: HistoryOrder) -> list[MetaLearner]:
    """Train in the settings that chapter 12 gave its learners, by the same tasks, updates and looks."""
    to_learn = with_person([task for k, some in fold.to_learn(order).items() if k for task in some], people)
    to_stop = with_person(fold.to_stop(order), people)
    d = fold.features.shape[1] + people.shape[1]
    options: dict[str, Any] = {"steps": 200, "valid_every": 20, "seed": fold.seed}
    return [
        PreferenceEstimator(d, inner_lr=rate, inner_steps=steps, **options).meta_fit(to_learn, to_stop)
        for rate, steps in INNER
    ]


def _with_person(predict: Predict, people: np.ndarray) -> Predict:
    return lambda tasks: predict(with_person(tasks, people))


def task_index(parts: Sequence[dict[int, list[Task]]]) -> dict[tuple[object, int], Task]:
    """Find a task whose inputs are item indices by its task_id and the size of its support."""
    return {(task.task_id, k): task for part in parts for k, tasks in part.items() for task in tasks}


def by_item_index(predict: Predict, places: dict[tuple[object, int], Task]) -> Predict:
    """Predict tasks of features by the same tasks of item indices."""
    return lambda tasks: predict([places[task.task_id, len(task.support_y)] for task in tasks])


def ratings_of(model: ColdStartRecommender) -> Predict:
    """Predict the ratings of the queries by a model."""
    return lambda tasks: gather_queries(
        model.predict_ratings([(task.support_x, task.support_y) for task in tasks])[0], tasks
    )


def prior_on_factors(people: Dataset, means: np.ndarray, factors: np.ndarray) -> Predict:
    """Predict by a prior over weights on a constant and factors, learned from all that some people rated.

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


def with_offset(ways: Sequence[Predict], valid: Dataset, features: np.ndarray, order: HistoryOrder) -> list[Predict]:
    """Add to each predict by how much it is too low in the mean over meta-validation users, for each K."""
    parts = nested_tasks(valid, SHOTS, QUERY, 0, order, features)

    def shifted(predict: Predict) -> Predict:
        offset = {k: (np.stack([t.query_y for t in tasks]) - predict(tasks)).mean() for k, tasks in parts.items()}
        return lambda tasks: predict(tasks) + offset[len(tasks[0].support_y)]

    return [shifted(predict) for predict in ways]

"""Chapters 12 and 13: MAML, its relatives and Reptile on new users."""

from __future__ import annotations

import time
from collections.abc import Iterator
from typing import Any

import numpy as np
from tqdm.auto import tqdm

from book.experiments.registry import Result, Row, draw, experiment, find
from book.experiments.study import FINE_TUNING, Study, contenders, draw_order, rules, trained_jointly
from llmrec_lite.data import Dataset, load_movielens
from llmrec_lite.language.encoder import TextEncoder
from llmrec_lite.meta.baselines import (
    ORDERS,
    QUERY,
    SHARES,
    Tasks,
    adapting,
    paired_interval,
    user_errors,
    user_rmse,
)
from llmrec_lite.meta.features import RatingNetwork, item_features
from llmrec_lite.meta.learners import JointTraining, MetaLearner
from llmrec_lite.meta.maml import MAML
from llmrec_lite.meta.reptile import Reptile
from llmrec_lite.meta.tasks import SHOTS, HistoryOrder, Task, nested_tasks, split_users

INNER = ((0.02, 5), (0.05, 1), (0.05, 5), (0.1, 5))  # rate and steps in training


USED = (1, 5, 10)  # steps in use


INTERPOLATION = ((0.02, 5, 1.0), (0.05, 5, 1.0), (0.05, 15, 1.0), (0.05, 15, 0.3))  # rate, steps, outer rate


RELATIVES: dict[str, dict[str, Any]] = {
    "MAML": {},
    "first-order MAML": {"order": 1},
    "ANIL": {"parameters": "head"},
    "Meta-SGD": {"learn_inner_lrs": True},
}


RULES = ("item mean", "shrunk bias", "ridge on factors", "ridge")


@experiment
def meta_learning() -> dict[str, Any]:
    """MAML, its relatives and Reptile on new users, against joint training plus fine-tuning and rules.

    Three of the five folds of `adaptation`, with its people, questions and rules. Every meta-learner is trained in
    four settings, with supports of 1, 3, 5, 10 and 20 ratings of each meta-train user with 30 ratings or more and
    queries after the 20th, 300 updates of 32 tasks, learning rate 0.001, the best of three looks at meta-validation
    users kept. Each may be used with 1, 5 or 10 steps: twelve settings. Joint training has two learning rates
    (stopped by the error after three steps of fine-tuning) and six ways of fine-tuning: twelve as well. They are
    chosen for each K on meta-validation users. Supports are the first ratings of a user, or any; training and use go
    together.

    "convergence": the error after 0 to 10 steps on the first ten ratings; of each learner's trainings the one with
    the lowest error of any step on meta-validation users. Intervals are of the difference to joint training after
    as many steps. All intervals are over users, with the trained networks held fixed.
    """
    data = load_movielens()
    vectors = TextEncoder().encode(data.items["text"].tolist())
    study, costs = Study(), []
    curves: dict[str, list[np.ndarray]] = {}
    for fold in tqdm(range(3), desc="folds"):
        train, valid, test = split_users(data, SHARES, fold=fold)
        features = item_features(train, vectors, seed=fold)
        network = RatingNetwork(features.shape[1], seed=fold)
        began = time.perf_counter()
        joint = [trained_jointly(train, valid, features, fold, rate, 3) for rate in (3e-3, 1e-3)]
        cost = {"order": "time", "fold": fold, "inner_steps": 0}
        costs.append({**cost, "model": "joint training", "seconds": (time.perf_counter() - began) / 2})
        predictors = contenders(joint[0], JointTraining(network).initialize())
        tuned = [adapting(one, *setting) for one in joint for setting in FINE_TUNING]
        for order in ORDERS:
            to_learn, to_stop = (_with_support(part, order, features, fold) for part in (train, valid))
            ways = {name: predictors[name] for name in RULES} | {"joint training + fine-tuning": tuned}
            trained: dict[str, list[MetaLearner]] = {}
            for name in (*RELATIVES, "Reptile"):
                trained[name] = [_meta_learner(name, network, setting, fold) for setting in range(4)]
                for learner in trained[name]:
                    began = time.perf_counter()
                    learner.meta_fit(to_learn, to_stop)
                    cost = {"order": order, "fold": fold, "inner_steps": learner.inner_steps}
                    costs.append({**cost, "model": name, "seconds": time.perf_counter() - began})
                ways[name] = [adapting(one, steps=steps) for one in trained[name] for steps in USED]
            study.judge(ways, valid, test, features, order, fold)
            if order == "time":
                to_choose, to_judge = (
                    nested_tasks(part, SHOTS, QUERY, 0, order, features)[10] for part in (valid, test)
                )
                trained |= {"untrained": [JointTraining(network).initialize()], "joint training": list(joint)}
                for name, learners in trained.items():
                    lowest = [_path(one, to_choose).mean(1).min() for one in learners]
                    curves.setdefault(name, []).append(_path(learners[int(np.argmin(lowest))], to_judge))
    joined = {name: np.concatenate(folds, axis=1) for name, folds in curves.items()}
    rows = []
    for name, path in joined.items():
        for step, (errors, rival) in enumerate(zip(path, joined["joint training"], strict=True)):
            low, high = paired_interval(errors, rival)
            rows.append({"initialization": name, "steps": step, "rmse": user_rmse(errors), "low": low, "high": high})
    table = study.table("joint training + fine-tuning", "ridge on factors", "MAML")
    return {"table": table, "chosen": study.chosen, "costs": costs, "convergence": rows}


def _with_support(part: Dataset, order: HistoryOrder, features: np.ndarray, fold: int) -> list[Task]:
    """Make tasks of every size but of none."""
    return [t for k, tasks in nested_tasks(part, SHOTS, QUERY, fold, order, features).items() if k for t in tasks]


def _meta_learner(name: str, network: RatingNetwork, setting: int, seed: int) -> MetaLearner:
    options: dict[str, Any] = {"steps": 300, "valid_every": 100, "seed": seed}
    if name == "Reptile":
        rate, steps, outer = INTERPOLATION[setting]
        return Reptile(network, rate, 5, outer, train_steps=steps, **options)
    rate, steps = INNER[setting]
    return MAML(network, rate, steps, **RELATIVES[name], **options)


def _path(learner: MetaLearner, tasks: Tasks) -> np.ndarray:
    """Return the mean squared errors of each task after 0 to 10 steps, (11, tasks)."""
    return np.stack([user_errors(adapting(learner, steps=steps), tasks) for steps in range(11)])


@meta_learning.check
def _meta_learning_again(stored: Result, rng: np.random.Generator) -> Iterator[Row]:
    data, study = load_movielens(), Study()
    vectors = TextEncoder().encode(data.items["text"].tolist())
    order, k, name = draw_order(rng), draw(rng, SHOTS[1:]), draw(rng, (*RELATIVES, "Reptile"))
    for fold in range(3):
        train, valid, test = split_users(data, SHARES, fold=fold)
        features = item_features(train, vectors, seed=fold)
        setting = find(stored["chosen"], order=order, model=name, k=k, fold=fold)["setting"]
        learner = _meta_learner(name, RatingNetwork(features.shape[1], seed=fold), setting // len(USED), fold)
        learner.meta_fit(*(_with_support(part, order, features, fold) for part in (train, valid)))
        ways = {rule: rules()[rule] for rule in RULES} | {name: [adapting(learner, steps=USED[setting % len(USED)])]}
        study.judge(ways, valid, test, features, order, fold)
    rows = [row for row in study.table("ridge on factors") if row["model"] in RULES or row["k"] == k]
    yield Row.of(f"{name} with K = {k} and rules, {order}", stored["table"], rows, "order", "model", "k")

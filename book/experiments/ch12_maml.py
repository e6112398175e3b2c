"""Chapters 12 and 13: MAML, its relatives, Reptile and closed forms on new users."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from book.experiments.registry import Result, Row, draw, experiment
from book.experiments.study import (
    FINE_TUNED,
    FINE_TUNING,
    JOINT,
    TWO_PENALTIES,
    UNTRAINED,
    Fold,
    Study,
    all_cores,
    draw_order,
    rules,
)
from llmrec_lite.data import load_movielens
from llmrec_lite.language.encoder import TextEncoder
from llmrec_lite.meta.baselines import (
    ORDERS,
    QUERY,
    Predict,
    adapting,
    each,
    item_mean,
    paired_interval,
    solving,
    user_errors,
    user_rmse,
)
from llmrec_lite.meta.closed_form import R2D2, ALPaCA, ClosedFormHead
from llmrec_lite.meta.learners import JointTraining, MetaLearner
from llmrec_lite.meta.maml import MAML
from llmrec_lite.meta.reptile import Reptile
from llmrec_lite.meta.tasks import SHOTS, HistoryOrder, nested_tasks

INNER = ((0.02, 5), (0.05, 1), (0.05, 5), (0.1, 5))  # rate and steps in training
INTERPOLATION = ((0.01, 5, 1.0), (0.02, 5, 1.0), (0.05, 5, 1.0), (0.05, 15, 0.3))  # rate, steps, outer rate
CLOSED = ((3.0, 1e-3), (30.0, 1e-3), (3.0, 3e-4), (30.0, 3e-4))  # first penalty, learning rate
LIKELIHOOD_WEIGHTS = (0.25, 0.5, 1.0, 2.0)
OWN_STEPS = (0, 1, 2, 3, 5, 10)  # in use, with the rates that Meta-SGD has learned
RELATIVES: dict[str, dict[str, Any]] = {
    "MAML": {},
    "first-order MAML": {"order": 1},
    "ANIL": {"parameters": "head"},
    "Meta-SGD": {"learn_inner_lrs": True},
}
HEADS = {"R2D2": R2D2, "ALPaCA": ALPaCA}
LEARNERS = (*RELATIVES, "Reptile", *HEADS)
RULES = ("item mean", "shrunk bias", "ridge on factors", TWO_PENALTIES, "ridge")
STEPS = (0, 1, 2, 3, 5)  # of convergence
RATES = (0.005, 0.01, 0.02, 0.05, 0.1, 0.2)
LEAKING = ("MAML", "R2D2")  # that are also trained on leaking features


@experiment
def meta_learning() -> dict[str, Any]:
    """MAML, its relatives, Reptile and closed-form heads on new users, against joint training and rules.

    Folds, users, ratings to predict and rules are those of `adaptation`. Every meta-learner is trained in four
    settings, with supports of 1, 3, 5, 10 and 20 ratings of each meta-train user with 30 ratings or more and queries
    of up to 100 ratings after the 20th, 200 updates of 32 tasks, the best of ten looks at meta-validation users kept.
    Training is cross-fitted: the features of a task contain no rating of its user. In use there are eight ways of
    adapting by gradient descent (six numbers of steps with the rates of Meta-SGD, four likelihood weights with a
    closed form), as there are for the four trainings of joint training. Training and use are chosen for each K on
    meta-validation users. Supports are the first ratings of a user, or any; training and use go together.

    "leaking": with the first ratings, MAML and R2D2 are also trained on features that contain the ratings of their
    tasks; the change of RMSE by adapting to ten ratings on the users that were trained on, and on new ones, and the
    error in the table ("MAML, leaking"), where joint training and fine-tuning is trained so as well.

    "convergence": the error on queries and supports after 0 to 5 steps on the first ten ratings; training and rate are
    chosen for each number of steps on meta-validation users. "curves": losses of one training in each fold.

    All intervals are over users, with the trained networks held fixed.
    """
    folds = all_cores(_fold, range(5))
    study = Study.joined(fold.study for fold in folds)
    table = study.table(FINE_TUNED, UNTRAINED, TWO_PENALTIES, "ridge on factors", "MAML")
    return {
        "table": table,
        "chosen": study.chosen,
        "costs": [row for fold in folds for row in fold.costs],
        "leaking": [row for fold in folds for row in fold.leaking],
        "curves": [row for fold in folds for row in fold.curves],
        "convergence": _convergence(folds),
    }


@dataclass
class _Found:
    """What one fold contributes."""

    study: Study = field(default_factory=Study)
    costs: list[dict[str, Any]] = field(default_factory=list)
    leaking: list[dict[str, Any]] = field(default_factory=list)
    curves: list[dict[str, Any]] = field(default_factory=list)
    # (initialization, steps) -> squared errors on queries and on supports, (2, users), and the rate
    paths: dict[tuple[str, int], tuple[np.ndarray, float]] = field(default_factory=dict)


def _fold(number: int) -> _Found:
    data, found = load_movielens(), _Found()
    vectors = TextEncoder().encode(data.items["text"].tolist())
    fold = Fold.of(data, vectors, number)
    began = time.perf_counter()
    joint = [fold.joint(setting) for setting in range(len(JOINT))]
    seconds = (time.perf_counter() - began) / len(JOINT)
    cost = {"order": "time", "fold": number, "inner_steps": 0}
    found.costs.append({**cost, "model": "joint training", "seconds": seconds})
    baselines = fold.contenders(joint)
    for order in ORDERS:
        trained = {name: _trained(name, fold, order, found) for name in LEARNERS}
        ways = {name: rules()[name] for name in RULES} | baselines
        ways |= {name: in_use(learners) for name, learners in trained.items()}
        if order == "time":
            _follow(fold, {"joint training": joint, **trained}, found)
            ways |= _leaking(Fold.of(data, vectors, number, leaking=True), trained, fold, found)
        found.study.judge(ways, fold.valid, fold.test, fold.features, order, number)
    return found


def _trained(name: str, fold: Fold, order: HistoryOrder, found: _Found) -> list[MetaLearner]:
    tasks = [task for k, some in fold.to_learn(order).items() if k for task in some]
    looks, learners = fold.to_stop(order), []
    for setting in range(4):
        learner = meta_learner(name, fold, setting)
        began = time.perf_counter()
        learner.meta_fit(tasks, looks)
        cost = {"order": order, "fold": fold.seed, "inner_steps": learner.inner_steps}
        found.costs.append({**cost, "model": name, "seconds": time.perf_counter() - began})
        learners.append(learner)
        if order == "time" and setting == 0:
            every = learner.valid_every
            means = np.array(learner.losses_).reshape(-1, every).mean(1)
            for (updates, valid), mean in zip(learner.valid_losses_, means, strict=True):
                row = {"model": name, "fold": fold.seed, "updates": updates}
                found.curves.append({**row, "meta-train": float(mean), "meta-validation": valid})
    return learners


def meta_learner(name: str, fold: Fold, setting: int) -> MetaLearner:
    """Return a meta-learner in one of its four settings, before training."""
    options: dict[str, Any] = {"steps": 200, "valid_every": 20, "seed": fold.seed}
    if name == "Reptile":
        rate, steps, outer = INTERPOLATION[setting]
        return Reptile(fold.network(), rate, 5, outer, train_steps=steps, **options)
    if name in HEADS:
        l2, learning_rate = CLOSED[setting]
        return HEADS[name](fold.network(), l2, learning_rate=learning_rate, **options)
    rate, steps = INNER[setting]
    return MAML(fold.network(), rate, steps, **RELATIVES[name], **options)


def in_use(learners: Sequence[MetaLearner]) -> list[Predict]:
    """Return every way of using some trained meta-learners."""
    ways = []
    for one in learners:
        if isinstance(one, ClosedFormHead):
            ways += [solving(one, weight) for weight in LIKELIHOOD_WEIGHTS]
        elif isinstance(one, MAML) and one.learn_inner_lrs:
            ways += [adapting(one, steps=steps) for steps in OWN_STEPS]
        else:
            ways += [adapting(one, *setting) for setting in FINE_TUNING]
    return ways


def _leaking(
    leaking: Fold, clean: Mapping[str, Sequence[MetaLearner]], fold: Fold, found: _Found
) -> dict[str, list[Predict]]:
    """Return what is trained on leaking features; keep what adapting gains on the users of training and on others."""
    joint = [leaking.joint(setting) for setting in range(len(JOINT))]
    ways = {f"{FINE_TUNED}, leaking": leaking.contenders(joint)[FINE_TUNED]}
    new = nested_tasks(fold.test, SHOTS, QUERY, 0, "time", fold.features)[10]
    for name in LEAKING:
        learners = _trained(name, leaking, "time", _Found())
        ways[f"{name}, leaking"] = in_use(learners)
        for features, source, some in (("leaking", leaking, learners), ("cross-fitted", fold, clean[name])):
            known = [t for own, x in source.parts for t in nested_tasks(own, SHOTS, QUERY, 0, "time", x)[10]]
            for users, tasks in (("meta-train", known), ("meta-test", new)):
                rule = in_use(some[:1])[2 if name == "R2D2" else 5]  # as it was trained, or four steps of 0.05
                gain = user_rmse(user_errors(rule, tasks)) - user_rmse(user_errors(each(item_mean), tasks))
                row = {"model": name, "features": features, "users": users, "fold": fold.seed}
                found.leaking.append({**row, "change": gain})
    return ways


def _follow(fold: Fold, trained: Mapping[str, Sequence[MetaLearner]], found: _Found) -> None:
    """Keep the errors after each number of steps, with the training and the rate that are best on other users."""
    to_choose, to_judge = (
        nested_tasks(part, SHOTS, QUERY, 0, "time", fold.features)[10] for part in (fold.valid, fold.test)
    )
    supports = [replace(t, query_x=t.support_x, query_y=t.support_y) for t in to_judge]
    followed = {name: trained[name] for name in ("joint training", "MAML", "first-order MAML", "Reptile")}
    followed["untrained"] = [JointTraining(fold.network()).initialize()]
    for name, learners in followed.items():
        for steps in STEPS:
            ways = [(adapting(one, rate, steps), rate) for one in learners for rate in RATES]
            way, rate = min(ways, key=lambda pair: user_errors(pair[0], to_choose).mean())
            errors = np.stack([user_errors(way, tasks) for tasks in (to_judge, supports)])
            found.paths[name, steps] = errors, rate


def _convergence(folds: Sequence[_Found]) -> list[dict[str, Any]]:
    rows = []
    for name, steps in folds[0].paths:
        query, support = np.concatenate([fold.paths[name, steps][0] for fold in folds], axis=1)
        row = {"initialization": name, "steps": steps, "rmse": user_rmse(query), "support": user_rmse(support)}
        row["rates"] = [fold.paths[name, steps][1] for fold in folds]
        for rival in ("joint training", "untrained"):
            theirs = np.concatenate([fold.paths[rival, steps][0][0] for fold in folds])
            low, high = paired_interval(query, theirs)
            row |= {f"difference to {rival}": user_rmse(query) - user_rmse(theirs)}
            row |= {f"low {rival}": low, f"high {rival}": high}
        rows.append(row)
    return rows


@meta_learning.check
def _meta_learning_again(stored: Result, rng: np.random.Generator) -> Iterator[Row]:
    data, study, order = load_movielens(), Study(), draw_order(rng)
    number, name = draw(rng, range(5)), draw(rng, LEARNERS)
    fold = Fold.of(data, TextEncoder().encode(data.items["text"].tolist()), number)
    ways = {rule: rules()[rule] for rule in RULES} | {name: in_use(_trained(name, fold, order, _Found()))}
    study.judge(ways, fold.valid, fold.test, fold.features, order, number)
    yield Row.of(
        f"{name} and rules, {order}, fold {number}", stored["chosen"], study.chosen, "order", "model", "k", "fold"
    )


USER_COUNTS = (25, 50, 100, 200, 400)


@experiment
def task_count() -> dict[str, Any]:
    """Error of MAML and R2D2 by the number of users whose tasks they learn from.

    Folds, tasks and looks of `meta_learning`, one training each (MAML with five steps of 0.02), ten first ratings
    known. The features are those of all meta-train users, cross-fitted: what grows is the number of tasks, not what is
    known of films. Use is chosen on meta-validation users.
    """
    errors: dict[tuple[str, int], list[np.ndarray]] = {}
    for found in all_cores(_by_count, range(5)):
        for key, some in found.items():
            errors.setdefault(key, []).append(some)
    joined = {key: np.concatenate(some) for key, some in errors.items()}
    rows = []
    for (name, count), some in joined.items():
        most = joined.get((name, USER_COUNTS[-1]), some)
        low, high = paired_interval(some, most)
        difference = user_rmse(some) - user_rmse(most)
        rows.append({"model": name, "users": count, "rmse": user_rmse(some), "difference to most": difference})
        rows[-1] |= {"low": low, "high": high}
    return {"table": rows}


def _by_count(number: int) -> dict[tuple[str, int], np.ndarray]:
    data = load_movielens()
    fold = Fold.of(data, TextEncoder().encode(data.items["text"].tolist()), number)
    to_choose, to_judge = (
        nested_tasks(part, SHOTS, QUERY, 0, "time", fold.features)[10] for part in (fold.valid, fold.test)
    )
    by_k = fold.to_learn("time")
    users = np.random.default_rng(number).permutation([int(str(t.task_id)) for t in by_k[10]])

    def errors(ways: Sequence[Predict]) -> np.ndarray:
        return user_errors(min(ways, key=lambda way: user_errors(way, to_choose).mean()), to_judge)

    found = {(UNTRAINED, 0): errors(fold.contenders([])[UNTRAINED]), (TWO_PENALTIES, 0): errors(rules()[TWO_PENALTIES])}
    for count in USER_COUNTS:
        some = set(users[:count].tolist())
        tasks = [t for k, tasks in by_k.items() if k for t in tasks if t.task_id in some]
        for name in ("MAML", "R2D2"):
            learner = meta_learner(name, fold, 0).meta_fit(tasks, fold.to_stop("time"))
            found[name, count] = errors(in_use([learner]))
    return found


@task_count.check
def _task_count_again(stored: Result, rng: np.random.Generator) -> Iterator[Row]:
    errors = [_rules_alone(number) for number in range(5)]
    row = {"model": TWO_PENALTIES, "users": 0, "rmse": user_rmse(np.concatenate(errors))}
    yield Row.of("the ridge with two penalties", stored["table"], [row], "model", "users")


def _rules_alone(number: int) -> np.ndarray:
    data = load_movielens()
    fold = Fold.of(data, TextEncoder().encode(data.items["text"].tolist()), number, leaking=True)
    to_choose, to_judge = (
        nested_tasks(part, SHOTS, QUERY, 0, "time", fold.features)[10] for part in (fold.valid, fold.test)
    )
    return user_errors(min(rules()[TWO_PENALTIES], key=lambda way: user_errors(way, to_choose).mean()), to_judge)

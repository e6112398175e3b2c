"""Chapter 11: the baselines of Part III on new users."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np

from book.experiments.registry import Result, Row, experiment
from book.experiments.study import JOINT, TWO_PENALTIES, UNTRAINED, Fold, Study, all_cores, draw_order, rules
from llmrec_lite.data import Dataset, load_movielens
from llmrec_lite.language.encoder import TextEncoder
from llmrec_lite.meta.baselines import (
    ORDERS,
    QUERY,
    SHARES,
    Predict,
    each,
    item_mean,
    paired_interval,
    user_errors,
    user_rmse,
)
from llmrec_lite.meta.features import item_features
from llmrec_lite.meta.tasks import Task, age_bands, nested_tasks, split_users


@experiment
def adaptation() -> dict[str, Any]:
    """Predict ten later ratings of new users from their first 0 to 20, or from any 0 to 20: the baselines of Part III.

    Five folds of users, each user in meta-test once; 60, 20 and 20 of 100 are meta-train, meta-validation, meta-test.
    Users with 30 ratings or more are judged, by ten ratings drawn from those after their 20th, the same for all K and
    both orders. Settings are chosen for each K on meta-validation users: eight ways of fine-tuning, of each of four
    trainings where the network is trained; six penalties of a ridge; where it has two, also the number of factors, 72
    settings. Training is cross-fitted: the features of a meta-train user contain no rating of theirs. Intervals are
    over users.
    """
    studies = all_cores(_fold, range(5))
    data = load_movielens()
    vectors = TextEncoder().encode(data.items["text"].tolist())
    study = Study.joined(studies)
    table = study.table("item mean", "shrunk bias", UNTRAINED, TWO_PENALTIES)
    return {"table": table, "chosen": study.chosen, "groups": _groups(data, vectors)}


def _fold(number: int) -> Study:
    data, study = load_movielens(), Study()
    fold = Fold.of(data, TextEncoder().encode(data.items["text"].tolist()), number)
    trained = fold.contenders([fold.joint(setting) for setting in range(len(JOINT))])
    for order in ORDERS:
        study.judge(rules() | trained, fold.valid, fold.test, fold.features, order, number)
    return study


@adaptation.check
def _adaptation_again(stored: Result, rng: np.random.Generator) -> Iterator[Row]:
    data, study, order = load_movielens(), Study(), draw_order(rng)
    vectors = TextEncoder().encode(data.items["text"].tolist())
    for number in range(5):
        fold = Fold.of(data, vectors, number, leaking=True)
        study.judge(rules(), fold.valid, fold.test, fold.features, order, number)
    rows = study.table("item mean", "shrunk bias", TWO_PENALTIES)
    yield Row.of(f"rules, {order}", stored["table"], rows, "order", "model", "k")
    yield Row.of("groups", stored["groups"], _groups(data, vectors), "group")


def _groups(data: Dataset, vectors: np.ndarray) -> list[dict[str, Any]]:
    """Rate for new users of whom nothing is known but their group, by a ridge on the ratings of the group's others.

    Ages in seven bands; strength of the ridge, of four, chosen on meta-validation users. "everybody" is one group of
    all, to tell what a group adds from what a ridge adds.
    """
    bands = age_bands(data.users["age"].to_numpy())
    groups = {"everybody": np.full(data.n_users, "all"), "age": bands}
    groups |= {by: data.users[by].astype(str).to_numpy() for by in ("occupation", "gender")}
    errors: dict[str, list[np.ndarray]] = {by: [] for by in ("item mean", *groups)}
    for fold in range(5):
        train, valid, test = split_users(data, SHARES, fold=fold)
        features = item_features(train, vectors, seed=fold)
        parts = [nested_tasks(part, (0, 20), QUERY, features=features)[0] for part in (valid, test)]
        errors["item mean"].append(user_errors(each(item_mean), parts[1]))
        for by, names in groups.items():
            rules = [_of_group(train, features, names, l2) for l2 in (100, 1000, 1e4, 1e5)]
            best = min(rules, key=lambda rule: user_errors(rule, parts[0]).mean())
            errors[by].append(user_errors(best, parts[1]))
    joined = {by: np.concatenate(found) for by, found in errors.items()}
    rows = []
    for by, found in joined.items():
        low, high = paired_interval(found, joined["everybody"])
        lead = user_rmse(found) - user_rmse(joined["everybody"])
        rows.append({"group": by, "rmse": user_rmse(found), "lead": lead, "low": low, "high": high})
    return rows


def _of_group(train: Dataset, features: np.ndarray, names: np.ndarray, l2: float) -> Predict:
    weights = {}
    for name in np.unique(names[train.user_index]):
        mine = names[train.user_index] == name
        x, deviation = features[train.item_index[mine]].copy(), train.ratings[mine]
        deviation = deviation - x[:, 0]
        x[:, 0] = 1  # the group's own constant
        weights[name] = np.linalg.solve(x.T @ x + l2 * np.eye(x.shape[1]), x.T @ deviation)
    unknown = np.zeros(features.shape[1])

    def rule(task: Task) -> np.ndarray:
        w = weights.get(names[int(str(task.task_id))], unknown)
        return item_mean(task) + w[0] + task.query_x[:, 1:] @ w[1:]

    return each(rule)

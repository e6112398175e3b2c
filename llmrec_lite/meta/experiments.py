"""Experiments of Part III that take longer than a chapter may; see `llmrec_lite.experiments` for the rules."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any, Literal

import numpy as np
from tqdm.auto import tqdm

from llmrec_lite.data import Dataset, load_movielens
from llmrec_lite.language.encoder import TextEncoder
from llmrec_lite.meta.features import RatingNetwork, item_features
from llmrec_lite.meta.maml import MAML
from llmrec_lite.meta.objective import JointTraining, MetaLearner, predict_all
from llmrec_lite.meta.reptile import Reptile
from llmrec_lite.meta.tasks import SHOTS, Task, age_bands, collate, nested_tasks, split_users, user_tasks
from llmrec_lite.results import experiment

ORDERS: tuple[Literal["time"], Literal["random"]] = ("time", "random")
QUERY = 10
Tasks = Sequence[Task]
Answer = Callable[[Tasks], np.ndarray]  # predictions for the queries, (tasks, q), from the supports


def each(rule: Callable[[Task], np.ndarray]) -> Answer:
    """Apply a rule for one task to all of them."""
    return lambda tasks: np.stack([rule(task) for task in tasks])


def item_mean(task: Task) -> np.ndarray:
    """Predict what others think of the item, column 0 of the features."""
    return task.query_x[:, 0]


def shrunk_bias(task: Task, damping: float) -> np.ndarray:
    """Add how far the user's ratings lie from the items' means, drawn to zero where they are few."""
    return task.query_x[:, 0] + (task.support_y - task.support_x[:, 0]).sum() / (len(task.support_y) + damping)


def ridge(task: Task, l2: float, columns: slice = slice(1, None)) -> np.ndarray:
    """Fit the deviations from the items' means by a ridge regression on some of the features and a constant."""
    if not len(task.support_y):
        return item_mean(task)
    x, q = (np.c_[np.ones(len(part)), part[:, columns]] for part in (task.support_x, task.query_x))
    deviations = task.support_y - task.support_x[:, 0]
    return item_mean(task) + q @ x.T @ np.linalg.solve(x @ x.T + l2 * np.eye(len(x)), deviations)


def adapting(learner: MetaLearner, rate: float | None = None, steps: int | None = None) -> Answer:
    """Adapt a network to each support; by its own rates and steps, or by these."""

    def answer(tasks: Tasks) -> np.ndarray:
        n = learner.inner_steps if steps is None else steps
        rates = rate or learner.rates()
        return predict_all(learner.model, learner.weights_, collate(tasks), rates, n, learner.learns).numpy()

    return answer


def user_errors(answer: Answer, tasks: Tasks) -> np.ndarray:
    """Return the mean squared error of each task's query, (tasks,), predictions held to 1 to 5 stars."""
    return both_errors(answer, tasks)[0]


def both_errors(answer: Answer, tasks: Tasks) -> np.ndarray:
    """Return the mean squared and the mean absolute error of each task's query, (2, tasks); see `user_errors`."""
    errors = np.clip(answer(tasks), 1, 5) - np.stack([task.query_y for task in tasks])
    return np.stack([np.square(errors).mean(1), np.abs(errors).mean(1)])


def rmse(errors: np.ndarray) -> float:
    """Return the root of the mean over users."""
    return float(np.sqrt(errors.mean()))


def paired_interval(
    first: np.ndarray,
    second: np.ndarray,
    seed: int = 0,
    resamples: int = 2000,
    summary: Callable[[np.ndarray], np.ndarray] = np.sqrt,
) -> tuple[float, float]:
    """Return the 95% interval of rmse(first) - rmse(second), users drawn anew, the same ones for both, (users,).

    `summary` is what is taken of the mean over users: the root, or nothing where the errors are absolute.
    """
    n = len(first)
    counts = np.random.default_rng(seed).multinomial(n, np.full(n, 1 / n), resamples) / n
    low, high = np.percentile(summary(counts @ first) - summary(counts @ second), [2.5, 97.5])
    return float(low), float(high)


def mean_interval(differences: np.ndarray) -> tuple[float, float]:
    """Return the 95% interval of the mean of paired differences, (n,), drawn anew."""
    return paired_interval(differences, np.zeros(len(differences)), summary=np.asarray)


class Study:
    """What ways to answer are worth: settings chosen on some users, errors kept on others, fold after fold.

    With the folds of one seed, each user is judged once, so that users of all folds can be drawn anew together; with
    those of several seeds, as often, and the mean of a user's errors is what is drawn.
    """

    def __init__(self) -> None:
        # (order, way, K) -> of each fold the squared and absolute errors, (2, tasks), and whose they are
        self.errors: dict[tuple[str, str, int], list[np.ndarray]] = {}
        self.owners: dict[tuple[str, int], list[np.ndarray]] = {}
        self.chosen: list[dict[str, Any]] = []

    def judge(
        self,
        ways: Mapping[str, Sequence[Answer]],
        valid: Dataset,
        test: Dataset,
        features: np.ndarray,
        order: Literal["time", "random"],
        fold: int,
    ) -> None:
        """Choose a setting of each way for each K on meta-validation users; keep its errors on meta-test users."""
        to_choose, tasks = (nested_tasks(part, SHOTS, QUERY, 0, order, features) for part in (valid, test))
        for k in SHOTS:
            self.owners.setdefault((order, k), []).append(np.array([int(str(task.owner)) for task in tasks[k]]))
            for name, answers in ways.items():
                tried = [user_errors(answer, to_choose[k]).mean() for answer in answers]
                place = int(np.nanargmin(tried))
                self.errors.setdefault((order, name, k), []).append(both_errors(answers[place], tasks[k]))
                choice = {"order": order, "model": name, "k": k, "fold": fold, "setting": place}
                self.chosen.append({**choice, "settings": len(answers)})

    def table(self, *rivals: str, folds: slice = slice(None)) -> list[dict[str, Any]]:
        """Return the error of each way at each K, and its lead over each rival with an interval over users.

        `folds` takes a part of the folds that were judged, in their order.
        """
        rows = []
        for order, name, k in self.errors:
            mine, absolute = self._of_users(order, name, k, folds)
            row = {"order": order, "model": name, "k": k, "rmse": rmse(mine), "users": len(mine)}
            row["mae"] = float(absolute.mean())
            for rival in rivals:
                theirs, theirs_absolute = self._of_users(order, rival, k, folds)
                low, high = paired_interval(mine, theirs)
                row |= {f"lead over {rival}": rmse(mine) - rmse(theirs), f"low {rival}": low, f"high {rival}": high}
                low, high = paired_interval(absolute, theirs_absolute, summary=np.asarray)
                lead = float((absolute - theirs_absolute).mean())
                row |= {f"mae lead over {rival}": lead, f"mae low {rival}": low, f"mae high {rival}": high}
            rows.append(row)
        return rows

    def _of_users(self, order: str, name: str, k: int, folds: slice) -> np.ndarray:
        """Return the mean squared and absolute errors of each user, (2, users)."""
        owners = np.concatenate(self.owners[order, k][folds])
        _, place, times = np.unique(owners, return_inverse=True, return_counts=True)
        errors = np.concatenate(self.errors[order, name, k][folds], axis=1)
        return np.stack([np.bincount(place, part) / times for part in errors])


FINE_TUNING = ((0.02, 1), (0.05, 1), (0.05, 3), (0.05, 6), (0.05, 12), (0.05, 24))  # rate, steps
L2 = (1.0, 3.0, 10.0, 30.0, 100.0, 300.0)
DAMPING = (1.0, 3.0, 6.0, 12.0, 25.0, 50.0)
FACTORS, TEXT = slice(-64, -32), slice(-32, None)  # the last two blocks of `item_features`, 32 numbers each


def contenders(joint: JointTraining, fresh: JointTraining) -> dict[str, list[Answer]]:
    """Name each way to answer, with the settings to choose from, six at most."""
    return {
        "item mean": [each(item_mean)],
        "shrunk bias": [each(partial(shrunk_bias, damping=d)) for d in DAMPING],
        "ridge on factors": [each(partial(ridge, l2=l2, columns=FACTORS)) for l2 in L2],
        "ridge on text": [each(partial(ridge, l2=l2, columns=TEXT)) for l2 in L2],
        "ridge": [each(partial(ridge, l2=l2)) for l2 in L2],
        "untrained network + fine-tuning": [adapting(fresh, *setting) for setting in FINE_TUNING],
        "joint training": [adapting(joint, steps=0)],
        "joint training + fine-tuning": [adapting(joint, *setting) for setting in FINE_TUNING],
    }


SHARES = (0.6, 0.2, 0.2)  # of meta-train, meta-validation and meta-test; many people to choose settings by


def trained_jointly(
    train: Dataset, valid: Dataset, features: np.ndarray, seed: int, learning_rate: float = 3e-3, stop_after: int = 0
) -> JointTraining:
    """Train the network of the baseline: 300 updates of 32 users, up to 120 ratings of each.

    The best of six looks at meta-validation users is kept, each with ten first ratings known: by the error after
    `stop_after` steps on these.
    """
    network = RatingNetwork(features.shape[1], seed=seed)
    options = {"steps": 300, "learning_rate": learning_rate, "seed": seed}
    joint = JointTraining(network, 0.05, stop_after, **options)  # type: ignore[arg-type]
    looks = nested_tasks(valid, SHOTS, QUERY, features=features)[10]
    return joint.meta_fit(user_tasks(train, 20, 100, features=features), looks)


@experiment
def adaptation() -> dict[str, Any]:
    """Predict ten later ratings of new users from their first 0 to 20, or from any 0 to 20: the baselines of Part III.

    Five folds of users, each user in meta-test once; 60, 20 and 20 of 100 are meta-train, meta-validation, meta-test.
    Users with 30 ratings or more are judged, by ten ratings drawn from those after their 20th, the same for all K and
    both orders. Each way has at most six settings, chosen for each K on meta-validation users. Intervals are over
    users.
    """
    data = load_movielens()
    vectors = TextEncoder().encode(data.items["text"].tolist())
    study = Study()
    for fold in tqdm(range(5), desc="folds"):
        train, valid, test = split_users(data, SHARES, fold=fold)
        features = item_features(train, vectors, seed=fold)
        joint = trained_jointly(train, valid, features, fold)
        untrained = JointTraining(RatingNetwork(features.shape[1], seed=fold))
        for order in ORDERS:
            study.judge(contenders(joint, untrained), valid, test, features, order, fold)
    table = study.table("item mean", "shrunk bias", "untrained network + fine-tuning")
    return {"table": table, "chosen": study.chosen, "groups": _groups(data, vectors)}


INNER = ((0.02, 5), (0.05, 1), (0.05, 5), (0.1, 5))  # rate and steps in training
USED = (1, 5, 10)  # steps in use
INTERPOLATION = ((0.02, 5, 1.0), (0.05, 5, 1.0), (0.05, 15, 1.0), (0.05, 15, 0.3))  # rate, steps, outer rate
RELATIVES: dict[str, dict[str, Any]] = {
    "MAML": {},
    "first-order MAML": {"order": 1},
    "ANIL": {"parameters": "head"},
    "Meta-SGD": {"learn_rates": True},
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
        known = contenders(joint[0], JointTraining(network))
        tuned = [adapting(one, *setting) for one in joint for setting in FINE_TUNING]
        for order in ORDERS:
            to_learn, to_stop = (
                [t for k, tasks in nested_tasks(part, SHOTS, QUERY, fold, order, features).items() if k for t in tasks]
                for part in (train, valid)
            )
            ways = {name: known[name] for name in RULES} | {"joint training + fine-tuning": tuned}
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
                to_choose, asked = (nested_tasks(part, SHOTS, QUERY, 0, order, features)[10] for part in (valid, test))
                trained |= {"untrained": [JointTraining(network)], "joint training": list(joint)}
                for name, learners in trained.items():
                    lowest = [_path(one, to_choose).mean(1).min() for one in learners]
                    curves.setdefault(name, []).append(_path(learners[int(np.argmin(lowest))], asked))
    joined = {name: np.concatenate(folds, axis=1) for name, folds in curves.items()}
    rows = []
    for name, path in joined.items():
        for step, (errors, rival) in enumerate(zip(path, joined["joint training"], strict=True)):
            low, high = paired_interval(errors, rival)
            rows.append({"begun at": name, "steps": step, "rmse": rmse(errors), "low": low, "high": high})
    table = study.table("joint training + fine-tuning", "ridge on factors", "MAML")
    return {"table": table, "chosen": study.chosen, "costs": costs, "convergence": rows}


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


def _groups(data: Dataset, vectors: np.ndarray) -> list[dict[str, Any]]:
    """Rate for new people of whom nothing is known but their group, by a ridge on the ratings of the group's others.

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
            answers = [_of_group(train, features, names, l2) for l2 in (100, 1000, 1e4, 1e5)]
            best = min(answers, key=lambda answer: user_errors(answer, parts[0]).mean())
            errors[by].append(user_errors(best, parts[1]))
    joined = {by: np.concatenate(found) for by, found in errors.items()}
    rows = []
    for by, found in joined.items():
        low, high = paired_interval(found, joined["everybody"])
        lead = rmse(found) - rmse(joined["everybody"])
        rows.append({"group": by, "rmse": rmse(found), "lead": lead, "low": low, "high": high})
    return rows


def _of_group(train: Dataset, features: np.ndarray, names: np.ndarray, l2: float) -> Answer:
    weights = {}
    for name in np.unique(names[train.user_index]):
        mine = names[train.user_index] == name
        x, deviation = features[train.item_index[mine]].copy(), train.ratings[mine]
        deviation = deviation - x[:, 0]
        x[:, 0] = 1  # the group's own constant
        weights[name] = np.linalg.solve(x.T @ x + l2 * np.eye(x.shape[1]), x.T @ deviation)
    nobody = np.zeros(features.shape[1])

    def rule(task: Task) -> np.ndarray:
        w = weights.get(names[int(str(task.owner))], nobody)
        return item_mean(task) + w[0] + task.query_x[:, 1:] @ w[1:]

    return each(rule)

"""The experiment of chapter 14 on new items with a few ratings; see `book.experiments` for the rules."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import partial
from types import SimpleNamespace
from typing import Any, cast

import numpy as np
import pandas as pd

from book.experiments.ch12_maml import INNER, in_use
from book.experiments.ch14_ratings import by_item_index, task_index, with_person
from book.experiments.registry import Result, Row, draw, experiment
from book.experiments.study import DAMPING, L2, Study, all_cores
from llmrec_lite.data import Dataset, load_movielens
from llmrec_lite.language.encoder import TextEncoder
from llmrec_lite.meta.baselines import ORDERS, QUERY, SHARES, Predict, Tasks, each, item_mean, ridge, shrunk_bias
from llmrec_lite.meta.bayesian_mf import GibbsSampler, posterior
from llmrec_lite.meta.features import RatingNetwork, cross_fitted_features
from llmrec_lite.meta.learners import MetaLearner
from llmrec_lite.meta.maml import MAML
from llmrec_lite.meta.tasks import SHOTS, HistoryOrder, Task, age_bands, nested_tasks, split_users

BURN_IN, DRAWS, THIN = 60, 30, 3  # sweeps, as in `BayesianMF`
FACTOR_COUNT = 8
COMPONENTS = 32  # principal components of the texts
MAX_QUERY = 100


def with_roles_exchanged(data: Dataset) -> Dataset:
    """Return the ratings with films as users and users as items, whose gender, age and occupation are genres."""
    log = data.interactions.rename(columns={"user_id": "item_id", "item_id": "user_id"})
    people = data.users
    groups = [people["gender"], pd.Series(age_bands(people["age"].to_numpy())), people["occupation"]]
    kinds = groups[0].astype(str).str.cat([group.astype(str) for group in groups[1:]], sep="|")
    films = data.items.rename(columns={"item_id": "user_id"})
    return Dataset.from_frames(log, pd.DataFrame({"item_id": people["user_id"], "genres": kinds}), films)


@experiment
def new_film_ratings() -> dict[str, Any]:
    """Predict the ratings of new films from 0 to 20 ratings: the posterior of `BayesianMF` with roles exchanged.

    A task is a film, and what is known of a rating's user are the user's mean, factors and groups. Five folds of films,
    each film in meta-test once; 60, 20 and 20 of 100 are meta-train, meta-validation, meta-test. Films with 30 ratings
    or more are judged, by ten ratings drawn from those after their 20th, the same for all K and both orders. Settings
    are chosen for each K on meta-validation films. Intervals are over films.

    "posterior": a film's numbers have a prior that its text predicts, or the same prior for all films; both are those
    of the Gibbs sampler on meta-train films. "MetaEmb's idea": a network that reads user and text, and takes a few
    gradient steps on the known ratings, trained for the error before and after (Pan et al., SIGIR 2019); four
    trainings, eight ways of adapting.
    """
    study = Study.joined(all_cores(_fold, range(5)))
    rivals = ("user mean", "shrunk film mean", "text alone", "posterior without text")
    return {"table": study.table(*rivals), "chosen": study.chosen}


def _fold(number: int, trained: bool = True) -> Study:
    data = load_movielens()
    vectors = TextEncoder().encode(data.items["text"].tolist())
    exchanged, study = with_roles_exchanged(data), Study()
    vectors = vectors[data.items_to_index(exchanged.users["user_id"])]
    train, valid, test = split_users(exchanged, SHARES, fold=number)
    features, parts = cross_fitted_features(train, seed=number)
    films = _main_directions(vectors, np.unique(train.user_index))
    samples = Samples(train, films, number), Samples(train, films[:, :0], number)
    for order in ORDERS:
        places = task_index([nested_tasks(part, SHOTS, QUERY, 0, order) for part in (valid, test)])
        ways: dict[str, Sequence[Predict]] = {
            "user mean": [each(item_mean)],
            "shrunk film mean": [each(partial(shrunk_bias, damping=d)) for d in DAMPING],
            "ridge on factors": [each(partial(ridge, l2=l2, columns=slice(-32, None))) for l2 in L2],
            "text alone": [by_item_index(partial(samples[0].predict, known=False), places)],
            "posterior without text": [by_item_index(samples[1].predict, places)],
            "posterior": [by_item_index(samples[0].predict, places)],
        }
        if trained:
            learners = _meta_embeddings(parts, valid, features, films, order, number)
            ways["MetaEmb's idea"] = [_with_films(way, films) for way in in_use(learners)]
        study.judge(ways, valid, test, features, order, number)
    return study


def _main_directions(vectors: np.ndarray, known: np.ndarray) -> np.ndarray:
    """Return principal components of the texts, (n, 32), those of the known films having mean square 1 in total."""
    centered = vectors - vectors[known].mean(0)
    axes = np.linalg.svd(centered[known], full_matrices=False)[2][:COMPONENTS]
    found = centered @ axes.T
    return (found / np.sqrt(np.square(found[known]).sum(1).mean())).astype(np.float32)


class Samples:
    """Posterior samples of users' numbers and of the films' prior, for predictions of new films.

    Given the numbers w of the users, a film's ratings are linear in its own numbers (b_i, v_i), whose prior is
    N(B' x_i, Q^-1) with the film's features x_i: equations (14.3) and (14.4) with the roles exchanged.
    """

    def __init__(self, train: Dataset, films: np.ndarray, seed: int) -> None:
        self.x = np.c_[np.ones(len(films)), films]
        # The sampler knows the films by their features; it is only here that they are the users of a data set.
        back = SimpleNamespace(user_index=train.item_index, item_index=train.user_index, ratings=train.ratings)
        sampler = GibbsSampler(cast(Dataset, back), self.x, FACTOR_COUNT, seed)
        self.people = np.full(train.n_items, -1)
        self.people[np.unique(train.item_index)] = np.arange(len(sampler.w))
        self.mu = float(train.ratings.mean())
        self.kept: list[tuple[np.ndarray, np.ndarray, np.ndarray, float]] = []
        for sweep in range(BURN_IN + DRAWS * THIN):
            sampler.sweep()
            if sweep >= BURN_IN and (sweep - BURN_IN) % THIN == THIN - 1:
                self.kept.append((sampler.w.copy(), sampler.b.copy(), sampler.item_precision.copy(), sampler.noise))

    def predict(self, tasks: Tasks, known: bool = True) -> np.ndarray:
        """Mean over samples of the ratings of the queries, (tasks, q); without the supports where not `known`."""
        films = np.array([int(str(task.task_id)) for task in tasks])
        support, query = (self.people[np.stack([getattr(t, part) for t in tasks])] for part in ("support_x", "query_x"))
        y = np.stack([task.support_y for task in tasks]).astype(float)
        total = np.zeros(query.shape)
        for w, b, precision, noise in self.kept:
            # A person without ratings in train is an average one.
            w = np.vstack([w, w.mean(0)])
            beyond = np.hstack([np.ones((len(w), 1)), w[:, 1:]])
            off, mean = y - self.mu - w[support, 0], self.x[films] @ b
            weight = noise * np.ones(y.shape) if known else np.zeros(y.shape)
            found, _ = posterior(mean, precision, beyond[support], off, weight)
            total += self.mu + w[query, 0] + (beyond[query] * found[:, None]).sum(-1)
        return total / len(self.kept)


def _meta_embeddings(
    parts: Sequence[tuple[Dataset, np.ndarray]],
    valid: Dataset,
    features: np.ndarray,
    films: np.ndarray,
    order: HistoryOrder,
    seed: int,
) -> list[MetaLearner]:
    """Train on the tasks of meta-train films, those without a support among them: the error before adapting counts."""
    learn: list[Task] = []
    for own, table in parts:
        for tasks in nested_tasks(own, SHOTS, MAX_QUERY, seed, order, table, min_query=QUERY).values():
            learn += tasks
    stop = [t for tasks in nested_tasks(valid, SHOTS, QUERY, 0, order, features).values() for t in tasks]
    learn, stop = with_person(learn, films), with_person(stop, films)
    network = RatingNetwork(features.shape[1] + films.shape[1], seed=seed)
    options: dict[str, Any] = {"steps": 200, "valid_every": 20, "seed": seed}
    return [MAML(network, rate, steps, **options).meta_fit(learn, stop) for rate, steps in INNER]


def _with_films(predict: Predict, films: np.ndarray) -> Predict:
    return lambda tasks: predict(with_person(tasks, films))


@new_film_ratings.check
def _new_film_ratings_again(stored: Result, rng: np.random.Generator) -> Iterator[Row]:
    number = draw(rng, range(5))
    again = _fold(number, trained=False)
    yield Row.of(f"all but the network, fold {number}", stored["chosen"], again.chosen, "order", "model", "k", "fold")

"""Experiments of chapter 15; see `book.experiments` for the rules."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from sklearn.linear_model import LogisticRegression, Ridge
from sklearn.utils.parallel import Parallel, delayed
from tqdm.auto import tqdm

from book.experiments.registry import Result, Row, draw, experiment
from llmrec_lite.data import load_movielens
from llmrec_lite.language.auc import auc
from llmrec_lite.language.encoder import TextEncoder
from llmrec_lite.language.text_recommender import TfidfEncoder
from llmrec_lite.meta.multitask import Kind, MultiTask
from llmrec_lite.metrics import rmse
from llmrec_lite.reviews import load_reviews
from llmrec_lite.stats import bootstrap_interval, t_interval

KINDS: tuple[Kind, ...] = ("regression", "binary", "regression")  # rating, would recommend, age of who writes
WAYS: dict[str, dict[str, Any]] = {
    "single task": {"sharing": "single_task"},
    "shared bottom": {},
    "MMoE": {"sharing": "experts"},
    "shared bottom, uncertainty": {"combine": "uncertainty"},
    "shared bottom, PCGrad": {"combine": "pcgrad"},
    "shared bottom, one stop": {"keep": "sum"},
}
SEEDS = 10


@dataclass(frozen=True)
class Reviews:
    """Vectors of reviews and what is to be predicted, in one random order; the last 3,000 are the test."""

    x: np.ndarray  # (n, 384)
    y: np.ndarray  # (n, 3)
    table: pd.DataFrame

    @classmethod
    def read(cls, n: int = 9000) -> Reviews:
        """Encode n reviews drawn at random."""
        table = load_reviews()
        table = table.iloc[np.random.default_rng(0).permutation(len(table))[:n]].reset_index(drop=True)
        y = table[["rating", "recommended", "age"]].to_numpy(float)
        return cls(TextEncoder().encode(table["text"].tolist()), y, table)


RATES = (1e-3, 3e-3, 1e-2)
STRENGTHS = (0.03, 0.1, 0.3, 1.0, 3.0, 10.0, 30.0, 100.0)
Rows = tuple[np.ndarray, np.ndarray]  # vectors and labels


@dataclass
class Chosen:
    """For each task a model, that of the learning rate which was best for it."""

    models: list[MultiTask]

    def predict(self, x: np.ndarray) -> np.ndarray:
        """Return (n, tasks)."""
        return np.stack([model.predict(x)[:, t] for t, model in enumerate(self.models)], axis=1)


def tuned(
    kinds: Sequence[Kind],
    learn: Rows,
    stop: Rows,
    start: MultiTask | None = None,
    with_heads: bool = False,
    rates: Sequence[float] = RATES,
    **options: Any,
) -> Chosen:
    """Return models of the learning rate with the lowest loss on the rows to stop by, for each task."""
    models = [
        MultiTask(kinds, learning_rate=rate, **options).fit(*learn, stop, start, with_heads=with_heads)
        for rate in rates
    ]
    losses = np.stack([model.valid_losses_ for model in models])
    return Chosen([models[best] for best in losses.argmin(0)])


def linear(kinds: Sequence[Kind], learn: Rows, stop: Rows, asked: np.ndarray) -> np.ndarray:
    """Return predictions of a ridge or a logistic regression for each task, strength chosen on the rows to stop by."""
    predictions = []
    for t, kind in enumerate(kinds):
        known, looked = ~np.isnan(learn[1][:, t]), ~np.isnan(stop[1][:, t])
        x, y, valid, truth = learn[0][known], learn[1][known, t], stop[0][looked], stop[1][looked, t]
        if kind == "regression":
            ridges = [Ridge(l2).fit(x, y) for l2 in STRENGTHS]
            best = min(ridges, key=lambda m: np.square(m.predict(valid) - truth).mean())
            predictions.append(best.predict(asked))
        else:
            regressions = [LogisticRegression(C=c, max_iter=2000).fit(x, y) for c in STRENGTHS]

            def loss(m: LogisticRegression, valid: np.ndarray = valid, truth: np.ndarray = truth) -> float:
                return float(-np.log(m.predict_proba(valid)[np.arange(len(truth)), truth.astype(int)]).mean())

            predictions.append(min(regressions, key=loss).predict_proba(asked)[:, 1])
    return np.transpose(predictions)


@experiment
def multi_task() -> dict[str, Any]:
    """Predict rating, "would recommend" and age from a review, alone or together: what sharing does for each.

    9,000 reviews by MiniLM's vectors: 3,000 for the test, of the others 100 to 3,000 to learn from and a quarter as
    many to stop and to choose the learning rate by. Ten draws of both and of the first weights. "two" are rating and
    recommendation, "three" all; "few ratings" has two tasks where only 50 ratings are known to learn from and 12 to
    stop by. Stop and rate are each task's own, but for "one stop", where the sum of the losses decides when to stop.
    Every network has 64 hidden units, and as many again for each further network of "single task"; "linear" is a ridge
    and a logistic regression. Intervals, of the difference to "single task", are over draws and reviews of the test.
    """
    data = Reviews.read()
    cases = [("two", n) for n in (3000, 1000, 300, 100)] + [("three", n) for n in (3000, 300)] + [("few ratings", 1000)]
    work = Parallel(n_jobs=-1, max_nbytes=None, return_as="generator")
    found = tqdm(work(delayed(_together_or_alone)(data, *case) for case in cases), desc="cases", total=len(cases))
    table = sorted((row for rows in found for row in rows), key=lambda row: (row["case"], row["n"]))
    return {"table": table, "conflict": _conflict(data)}


def _together_or_alone(
    data: Reviews, case: str, n: int, ways: Mapping[str, Mapping[str, Any]] = WAYS
) -> list[dict[str, Any]]:
    """Return what each way of sharing, and a linear model, reaches in one case, with the lead over "single task"."""
    test = slice(-3000, None)
    kinds = KINDS if case == "three" else KINDS[:2]
    found: dict[str, list[np.ndarray]] = {}
    for seed in range(SEEDS):
        drawn = np.random.default_rng(seed).permutation(len(data.x) - 3000)
        learn, stop = drawn[:n], drawn[n : n + max(n // 4, 50)]
        y = data.y[:, : len(kinds)].copy()
        if case == "few ratings":
            y[learn[50:], 0] = y[stop[12:], 0] = np.nan
        known = (data.x[learn], y[learn]), (data.x[stop], y[stop])
        for name, options in ways.items():
            model = tuned(kinds, *known, seed=seed, **options)
            found.setdefault(name, []).append(model.predict(data.x[test]))
        found.setdefault("linear", []).append(linear(kinds, *known, data.x[test]))
    rows = []
    for name, predictions in found.items():
        for t, label in enumerate(("rating", "recommended", "age")[: len(kinds)]):
            score = auc if label == "recommended" else rmse
            value, lead, low, high = against(predictions, found["single task"], data.y[test][:, t], t, score)
            row = {"case": case, "n": n, "model": name, "task": label, "value": value}
            rows.append(row | {"lead": lead, "low": low, "high": high})
    return rows


@multi_task.check
def _multi_task_again(stored: Result, rng: np.random.Generator) -> Iterator[Row]:
    data = Reviews.read()
    rows = _together_or_alone(data, "two", 100, {"single task": WAYS["single task"]})
    yield Row.of("single task, linear, 100 reviews", stored["table"], rows, "case", "n", "model", "task")
    steps = draw(rng, (1, 50, 200))
    yield Row.of(f"gradients after {steps} steps", stored["conflict"], _conflict(data, [steps]), "steps", "pair")


def _conflict(data: Reviews, after: Sequence[int] = (1, 50, 200, 600)) -> list[dict[str, Any]]:
    """Cosines of the tasks' gradients of what they share, over training, and how often two of them disagree."""
    rows = []
    for steps in after:
        model = MultiTask(KINDS, steps=steps, seed=0).fit(data.x[:1000], data.y[:1000])
        cosines = []
        for start in range(0, 1000, 50):  # small batches, as in training
            g = model.gradients(data.x[start : start + 50], data.y[start : start + 50])
            unit = g / np.linalg.norm(g, axis=1, keepdims=True)
            cosines.append((unit @ unit.T)[[0, 0, 1], [1, 2, 2]])
        for pair, values in zip(
            ("rating, recommended", "rating, age", "recommended, age"), np.transpose(cosines), strict=True
        ):
            rows.append(
                {"steps": steps, "pair": pair, "cosine": float(values.mean()), "disagree": float((values < 0).mean())}
            )
    return rows


Score = Callable[[np.ndarray, np.ndarray], float]


def against(
    mine: Sequence[np.ndarray], theirs: Sequence[np.ndarray], truth: np.ndarray, task: int, score: Score
) -> tuple[float, float, float, float]:
    """Return the mean score over draws, its lead over the others', and its interval over draws and rows."""

    def scores(predictions: Sequence[np.ndarray], rows: Any) -> np.ndarray:
        return np.array([score(truth[rows], one[rows, task]) for one in predictions])

    value = float(scores(mine, slice(None)).mean())
    if mine is theirs:
        return value, 0.0, 0.0, 0.0
    lead = value - float(scores(theirs, slice(None)).mean())

    def leads(row_counts: np.ndarray, draw_counts: np.ndarray) -> np.ndarray:
        of_draws = []
        for counts in row_counts.astype(int):
            rows = np.repeat(np.arange(len(truth)), counts)
            of_draws.append(scores(mine, rows) - scores(theirs, rows))
        return (draw_counts * of_draws).sum(1) / len(mine)

    low, high = bootstrap_interval(leads, (len(truth), len(mine)), resamples=300)
    return value, lead, float(low), float(high)


@experiment
def transfer() -> dict[str, Any]:
    """Begin with what another task has learned: from films to clothing, and from other clothes to dresses.

    The target is "would recommend" of dresses, from 20 to 300 labeled reviews; ten draws of these, of the sources and
    of the first weights. Sources: the mean rating of films with 20 ratings or more, from the films' texts; the
    recommendations of 3,000 reviews of other departments; the age of their writers. A fifth of each source is to stop
    by. The shared layer begins where the source's ended; one of five learning rates is chosen on the rows to stop by.
    Against it: to begin with the head of the other clothes as well, to use their model as it is, one model of both sets
    of labels, a logistic regression on MiniLM's vectors and one on TF-IDF. "sources" says how much better than its
    mean each source predicts what it was stopped by. Intervals, of the difference to beginning with nothing, are over
    draws, which share the reviews that they are drawn from.
    """
    data = Reviews.read()
    work = Parallel(n_jobs=-1, max_nbytes=None, return_as="generator")
    done = list(tqdm(work(delayed(_moved)(data, seed) for seed in range(SEEDS)), desc="draws", total=SEEDS))
    rows = []
    for n in (20, 50, 100, 300):
        draws = [found[n] for found, _ in done if n in found]
        for name in draws[0]:
            values, nothing = ([one[key] for one in draws] for key in (name, "nothing"))
            row = {"source": name, "n": n, "auc": float(np.mean(values)), "draws": values}
            rows.append(row | lead_by_draw(values, nothing))
    explained = [{"source": name, "explained": float(np.mean([e[name] for _, e in done]))} for name in done[0][1]]
    return {"table": rows, "sources": explained}


@transfer.check
def _transfer_again(stored: Result, rng: np.random.Generator) -> Iterator[Row]:
    seed = draw(rng, range(SEEDS))
    for n, found in _moved(Reviews.read(), seed)[0].items():
        old = {row["source"]: row["draws"] for row in stored["table"] if row["n"] == n}
        if all(len(draws) == SEEDS for draws in old.values()):  # else a draw's place is not its seed
            yield Row(f"draw {seed}, {n} labels", {name: draws[seed] for name, draws in old.items()}, found)


def _moved(data: Reviews, seed: int) -> tuple[dict[int, dict[str, float]], dict[str, float]]:
    """Return the AUC by number of labels and way to begin, and what share of a constant's loss each source saves."""
    rng = np.random.default_rng(seed)
    dress = (data.table["department"] == "Dresses").to_numpy()
    others = rng.permutation(np.flatnonzero(~dress))[:3000]
    yes = data.y[:, 1:2]
    films = load_movielens()
    counts = np.bincount(films.item_index, minlength=films.n_items)
    means = np.bincount(films.item_index, films.ratings, films.n_items) / np.maximum(counts, 1)
    known = rng.permutation(np.flatnonzero(counts >= 20))
    texts = TextEncoder().encode(films.items["text"].tolist())
    explained = {}

    def source(name: str, kind: Kind, x: np.ndarray, y: np.ndarray) -> MultiTask:
        cut = len(x) * 4 // 5
        model = tuned([kind], (x[:cut], y[:cut]), (x[cut:], y[cut:]), seed=seed).models[0]
        share, noise = y[cut:].mean(), float(np.square(y[cut:] - y[:cut].mean()).mean())
        constant = (
            noise / model.scale_[0] ** 2
            if kind == "regression"
            else -float(share * np.log(y[:cut].mean()) + (1 - share) * np.log(1 - y[:cut].mean()))
        )
        explained[name] = 1 - float(model.valid_losses_[0]) / constant
        return model

    clothes = source("other clothes", "binary", data.x[others], yes[others])
    starts: dict[str, MultiTask | None] = {
        "nothing": None,
        "films": source("films", "regression", texts[known], means[known, None]),
        "other clothes": clothes,
        "age of the writers": source("age of the writers", "regression", data.x[others], data.y[others, 2:]),
    }
    words = TfidfEncoder().fit(data.table["text"].tolist()).encode(data.table["text"].tolist())
    drawn = rng.permutation(np.flatnonzero(dress))
    asked = drawn[-1000:]
    found: dict[int, dict[str, float]] = {}
    for n in (20, 50, 100, 300):
        rows = drawn[:n], drawn[n : n + max(n // 4, 20)]
        if min(len(np.unique(yes[one])) for one in rows) < 2:
            continue  # one class alone teaches nothing
        learn, stop = ((data.x[one], yes[one]) for one in rows)
        options: dict[str, Any] = {"rates": (1e-4, 3e-4, *RATES), "steps": 300, "valid_every": 10, "seed": seed}
        guesses = {
            name: tuned(["binary"], learn, stop, start, **options).predict(data.x[asked])
            for name, start in starts.items()
        }
        whole = tuned(["binary"], learn, stop, clothes, with_heads=True, **options)
        guesses["other clothes, with the head"] = whole.predict(data.x[asked])
        guesses["other clothes, as it is"] = clothes.predict(data.x[asked])
        both = np.r_[rows[0], others]
        guesses["both together"] = tuned(["binary"], (data.x[both], yes[both]), stop, seed=seed).predict(data.x[asked])
        guesses["logistic regression"] = linear(["binary"], learn, stop, data.x[asked])
        counted = [(words[one], yes[one]) for one in rows]
        guesses["logistic regression, TF-IDF"] = linear(["binary"], counted[0], counted[1], words[asked])
        found[n] = {name: float(auc(yes[asked, 0], guess[:, 0])) for name, guess in guesses.items()}
    return found, explained


def lead_by_draw(mine: Sequence[float], theirs: Sequence[float]) -> dict[str, float]:
    """Return the mean difference of the same draws and its 95% interval by Student's t."""
    leads = np.subtract(mine, theirs)
    low, high = t_interval(leads)
    return {"lead": float(leads.mean()), "low": low, "high": high}

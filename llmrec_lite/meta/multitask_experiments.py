"""Experiments of chapter 15 that take longer than a chapter may; see `llmrec_lite.experiments` for the rules."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from scipy.stats import t as student_t
from sklearn.linear_model import LogisticRegression, Ridge
from tqdm.auto import tqdm

from llmrec_lite.data import load_movielens
from llmrec_lite.language.auc import auc
from llmrec_lite.language.encoder import TextEncoder
from llmrec_lite.meta.multitask import Kind, MultiTask
from llmrec_lite.results import experiment
from llmrec_lite.reviews import load_reviews

KINDS: tuple[Kind, ...] = ("number", "yes", "number")  # rating, would recommend, age of who writes
WAYS: dict[str, dict[str, Any]] = {
    "alone": {"sharing": "alone"},
    "shared bottom": {},
    "gated experts": {"sharing": "experts"},
    "shared bottom, uncertainty": {"combine": "uncertainty"},
    "shared bottom, surgery": {"combine": "surgery"},
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


def tuned(
    kinds: Sequence[Kind],
    learn: Rows,
    stop: Rows,
    start: MultiTask | None = None,
    with_heads: bool = False,
    **options: Any,
) -> MultiTask:
    """Return the model of the learning rate with the lowest loss on the rows to stop by."""
    models = [
        MultiTask(kinds, learning_rate=rate, **options).fit(*learn, stop, start, with_heads=with_heads)
        for rate in RATES
    ]
    return min(models, key=lambda model: model.valid_loss_)


def linear(kinds: Sequence[Kind], learn: Rows, stop: Rows, asked: np.ndarray) -> np.ndarray:
    """Return predictions of a ridge or a logistic regression for each task, strength chosen on the rows to stop by."""
    predictions = []
    for t, kind in enumerate(kinds):
        known, looked = ~np.isnan(learn[1][:, t]), ~np.isnan(stop[1][:, t])
        x, y, valid, truth = learn[0][known], learn[1][known, t], stop[0][looked], stop[1][looked, t]
        if kind == "number":
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
    stop by. Every network has 64 hidden units, and as many again for each further network of "alone"; "linear" is a
    ridge and a logistic regression. Intervals, of the difference to "alone", are over draws and reviews of the test.
    """
    data = Reviews.read()
    test = slice(-3000, None)
    rows = []
    cases = [("two", n) for n in (100, 300, 1000, 3000)] + [("three", n) for n in (300, 3000)] + [("few ratings", 1000)]
    for case, n in tqdm(cases, desc="cases"):
        kinds = KINDS if case == "three" else KINDS[:2]
        found: dict[str, list[np.ndarray]] = {}
        for seed in range(SEEDS):
            drawn = np.random.default_rng(seed).permutation(len(data.x) - 3000)
            learn, stop = drawn[:n], drawn[n : n + max(n // 4, 50)]
            y = data.y[:, : len(kinds)].copy()
            if case == "few ratings":
                y[learn[50:], 0] = y[stop[12:], 0] = np.nan
            known = (data.x[learn], y[learn]), (data.x[stop], y[stop])
            for name, options in WAYS.items():
                model = tuned(kinds, *known, seed=seed, **options)
                found.setdefault(name, []).append(model.predict(data.x[test]))
            found.setdefault("linear", []).append(linear(kinds, *known, data.x[test]))
        for name, predictions in found.items():
            for t, label in enumerate(("rating", "recommended", "age")[: len(kinds)]):
                score = auc if label == "recommended" else rmse
                values, lead, low, high = against(predictions, found["alone"], data.y[test][:, t], t, score)
                row = {"case": case, "n": n, "model": name, "task": label, "value": values}
                rows.append(row | {"lead": lead, "low": low, "high": high})
    return {"table": rows, "conflict": _conflict(data)}


def _conflict(data: Reviews) -> list[dict[str, Any]]:
    """Cosines of the tasks' gradients of what they share, over training, and how often two of them disagree."""
    rows = []
    for steps in (1, 50, 200, 600):
        model = MultiTask(KINDS, steps=steps, seed=0).fit(data.x[:1000], data.y[:1000])
        cosines = []
        for start in range(0, 1000, 50):  # small batches, as in training
            g = model.gradients(data.x[start : start + 50], data.y[start : start + 50])
            unit = g / np.linalg.norm(g, axis=1, keepdims=True)
            cosines.append((unit @ unit.T)[[0, 0, 1], [1, 2, 2]])
        for pair, values in zip(
            ("rating, recommended", "rating, age", "recommended, age"), np.transpose(cosines), strict=True
        ):
            rows.append({"steps": steps, "pair": pair, "cosine": values.mean(), "disagree": (values < 0).mean()})
    return rows


Score = Callable[[np.ndarray, np.ndarray], float]


def rmse(truth: np.ndarray, predicted: np.ndarray) -> float:
    """Return the root of the mean squared error."""
    return float(np.sqrt(np.square(truth - predicted).mean()))


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
    rng = np.random.default_rng(0)
    leads = []
    for _ in range(300):
        rows, draws = rng.integers(0, len(truth), len(truth)), rng.integers(0, len(mine), len(mine))
        leads.append((scores(mine, rows) - scores(theirs, rows))[draws].mean())
    low, high = np.percentile(leads, [2.5, 97.5])
    return value, lead, float(low), float(high)


@experiment
def transfer() -> dict[str, Any]:
    """Begin with what another task has learned: from films to clothing, and from other clothes to dresses.

    The target is "would recommend" of dresses, from 20 to 300 labeled reviews; ten draws. Sources: the mean rating of
    films with 20 ratings or more, from the films' texts; the recommendations of 3,000 reviews of other departments; the
    age of their writers. A fifth of each source is to stop by. The shared layer begins where the source's ended; the
    learning rate is chosen on the rows to stop by. Against it: to begin with the head of the other clothes as well, to
    use their model as it is, one model of both sets of labels, a logistic regression. All by MiniLM's vectors.
    Intervals, of the difference to beginning with nothing, are over draws.
    """
    data = Reviews.read()
    dress = (data.table["department"] == "Dresses").to_numpy()
    yes = data.y[:, 1:2]
    films = load_movielens()
    counts = np.bincount(films.item_index, minlength=films.n_items)
    means = np.bincount(films.item_index, films.ratings, films.n_items) / np.maximum(counts, 1)
    known = np.random.default_rng(0).permutation(np.flatnonzero(counts >= 20))
    texts = TextEncoder().encode(films.items["text"].tolist())
    others = np.flatnonzero(~dress)[:3000]

    def source(kind: Kind, x: np.ndarray, y: np.ndarray) -> MultiTask:
        cut = len(x) * 4 // 5
        return tuned([kind], (x[:cut], y[:cut]), (x[cut:], y[cut:]))

    clothes = source("yes", data.x[others], yes[others])
    sources: dict[str, MultiTask | None] = {
        "nothing": None,
        "films": source("number", texts[known], means[known, None]),
        "other clothes": clothes,
        "age of the writers": source("number", data.x[others], data.y[others, 2:]),
    }
    dresses = np.flatnonzero(dress)
    found: dict[tuple[str, int], list[float]] = {}
    for seed in tqdm(range(SEEDS), desc="draws"):
        drawn = np.random.default_rng(seed).permutation(dresses)
        asked = drawn[-1000:]
        for n in (20, 50, 100, 300):
            rows = drawn[:n], drawn[n : n + max(n // 4, 20)]
            if min(len(np.unique(yes[one])) for one in rows) < 2:
                continue  # one class alone teaches nothing
            learn, stop = ((data.x[one], yes[one]) for one in rows)
            guesses = {
                name: tuned(["yes"], learn, stop, start, steps=300, look_every=10, seed=seed).predict(data.x[asked])
                for name, start in sources.items()
            }
            whole = tuned(["yes"], learn, stop, clothes, with_heads=True, steps=300, look_every=10, seed=seed)
            guesses["other clothes, with the head"] = whole.predict(data.x[asked])
            guesses["other clothes, as it is"] = clothes.predict(data.x[asked])
            both = np.r_[rows[0], others]
            guesses["both together"] = tuned(["yes"], (data.x[both], yes[both]), stop, seed=seed).predict(data.x[asked])
            guesses["logistic regression"] = linear(["yes"], learn, stop, data.x[asked])
            for name, guess in guesses.items():
                found.setdefault((name, n), []).append(auc(yes[asked, 0], guess[:, 0]))
    rows_ = []
    for (name, n), values in found.items():
        row = {"source": name, "n": n, "auc": float(np.mean(values)), "draws": len(values)}
        rows_.append(row | lead_by_draw(values, found["nothing", n]))
    return {"table": rows_}


def lead_by_draw(mine: Sequence[float], theirs: Sequence[float]) -> dict[str, float]:
    """Return the mean difference of the same draws and its 95 percent interval by Student's t."""
    leads = np.array(mine) - np.array(theirs)
    half = student_t.ppf(0.975, len(leads) - 1) * leads.std(ddof=1) / len(leads) ** 0.5
    return {"lead": float(leads.mean()), "low": float(leads.mean() - half), "high": float(leads.mean() + half)}

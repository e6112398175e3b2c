"""Experiments of chapter 15 that take longer than a chapter may; see `llmrec_lite.experiments` for the rules."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from sklearn.linear_model import LogisticRegression
from tqdm.auto import tqdm

from llmrec_lite import assets, splits
from llmrec_lite.data import load_movielens
from llmrec_lite.evaluate import evaluate
from llmrec_lite.language.auc import auc
from llmrec_lite.language.encoder import TextEncoder
from llmrec_lite.meta.distill import StaticEncoder, WordPieces, mean_predictions
from llmrec_lite.meta.multitask import Kind, MultiTask
from llmrec_lite.recommenders import TextRecommender
from llmrec_lite.recommenders.text import Encoder, TfidfEncoder
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
SEEDS = 5


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


@experiment
def multi_task() -> dict[str, Any]:
    """Predict rating, "would recommend" and age from a review, alone or together: what sharing does for each.

    9,000 reviews by MiniLM's vectors: 3,000 for the test, of the others 100 to 3,000 to learn from and a quarter as
    many to stop by. Five seeds draw both and the first weights. "two" are rating and recommendation, "three" all;
    "few ratings" has two tasks where only 50 ratings are known. Every network has 64 hidden units, and as many again
    for each further network of "alone". Intervals are over the reviews of the test, of the difference to "alone".
    """
    data = Reviews.read()
    test = slice(-3000, None)
    rows = []
    cases = [("two", n) for n in (100, 300, 1000, 3000)] + [("three", n) for n in (300, 3000)] + [("few ratings", 1000)]
    for case, n in tqdm(cases, desc="cases"):
        tasks = 3 if case == "three" else 2
        found: dict[str, list[np.ndarray]] = {}
        for seed in range(SEEDS):
            drawn = np.random.default_rng(seed).permutation(len(data.x) - 3000)
            learn, stop = drawn[:n], drawn[n : n + max(n // 4, 50)]
            y = data.y[:, :tasks].copy()
            if case == "few ratings":
                y[learn[50:], 0] = np.nan
            for name, options in WAYS.items():
                model = MultiTask(KINDS[:tasks], seed=seed, **options)
                model.fit(data.x[learn], y[learn], (data.x[stop], y[stop]))
                found.setdefault(name, []).append(model.predict(data.x[test]))
        for name, predictions in found.items():
            for t, label in enumerate(("rating", "recommended", "age")[:tasks]):
                score = _auc if label == "recommended" else _rmse
                values, lead, low, high = _against(predictions, found["alone"], data.y[test][:, t], t, score)
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


def _rmse(truth: np.ndarray, predicted: np.ndarray) -> float:
    return float(np.sqrt(np.square(truth - predicted).mean()))


def _auc(truth: np.ndarray, predicted: np.ndarray) -> float:
    return float(auc(truth, predicted))


def _against(
    mine: Sequence[np.ndarray], theirs: Sequence[np.ndarray], truth: np.ndarray, task: int, score: Score
) -> tuple[float, float, float, float]:
    """Return the mean score over seeds, its difference to the others', and the interval of that over test rows."""

    def mean(predictions: Sequence[np.ndarray], rows: np.ndarray) -> float:
        return float(np.mean([score(truth[rows], one[rows, task]) for one in predictions]))

    everything = np.arange(len(truth))
    value = mean(mine, everything)
    lead = value - mean(theirs, everything)
    if mine is theirs:
        return value, 0.0, 0.0, 0.0
    rng = np.random.default_rng(0)
    draws = [rng.integers(0, len(truth), len(truth)) for _ in range(300)]
    low, high = np.percentile([mean(mine, rows) - mean(theirs, rows) for rows in draws], [2.5, 97.5])
    return value, lead, float(low), float(high)


@experiment
def transfer() -> dict[str, Any]:
    """Begin with what another task has learned: from films to clothing, and from other clothes to dresses.

    The target is "would recommend" of dresses, from 20 to 300 labeled reviews; ten draws. Sources: the mean rating of
    films with 20 ratings or more, from the films' texts; the same reviews' recommendations of other departments, 3,000
    of them; the age of their writers. The shared layer begins where the source's ended. All by MiniLM's vectors.
    Intervals are over draws.
    """
    data = Reviews.read()
    dress = (data.table["department"] == "Dresses").to_numpy()
    yes = data.y[:, 1:2]
    films = load_movielens()
    counts = np.bincount(films.item_index, minlength=films.n_items)
    means = np.bincount(films.item_index, films.ratings, films.n_items) / np.maximum(counts, 1)
    well_known = counts >= 20
    texts = TextEncoder().encode(films.items["text"].tolist())
    others = np.flatnonzero(~dress)[:3000]
    sources: dict[str, MultiTask | None] = {
        "nothing": None,
        "films": MultiTask(["number"]).fit(texts[well_known], means[well_known, None]),
        "other clothes": MultiTask(["yes"]).fit(data.x[others], yes[others]),
        "age of the writers": MultiTask(["number"]).fit(data.x[others], data.y[others, 2:]),
    }
    dresses = np.flatnonzero(dress)
    found: dict[tuple[str, int], list[float]] = {}
    for seed in tqdm(range(10), desc="draws"):
        drawn = np.random.default_rng(seed).permutation(dresses)
        asked = drawn[-1000:]
        for n in (20, 50, 100, 300):
            learn, stop = drawn[:n], drawn[n : n + max(n // 4, 20)]
            if len(np.unique(yes[learn])) < 2 or len(np.unique(yes[stop])) < 2:
                continue
            for name, start in sources.items():
                model = MultiTask(["yes"], steps=300, look_every=10, seed=seed)
                model.fit(data.x[learn], yes[learn], (data.x[stop], yes[stop]), start)
                found.setdefault((name, n), []).append(_auc(yes[asked, 0], model.predict(data.x[asked])[:, 0]))
    rows = []
    for (name, n), values in found.items():
        lead = np.array(values) - np.array(found["nothing", n])
        half = 2.262 * lead.std(ddof=1) / len(lead) ** 0.5 if len(lead) > 1 else 0.0  # t with nine degrees of freedom
        row = {"source": name, "n": n, "auc": float(np.mean(values)), "lead": float(lead.mean()), "draws": len(values)}
        rows.append(row | {"low": float(lead.mean() - half), "high": float(lead.mean() + half)})
    return {"table": rows}


@experiment
def static() -> dict[str, Any]:
    """Distil MiniLM into tables of 32 to 256 numbers a token: size, speed, and what is left of its quality.

    The tables learn from the texts of the films and of 6,000 reviews. Three uses: new films ranked by a ridge for each
    user (nDCG@10, five draws of a fifth of the films, strength chosen on a second cold split inside train), "would
    recommend" by logistic regression on 1,000 reviews (AUC on 3,000 others), and the correlation of the teacher's
    cosines of film texts with the table's. Speed is texts a second on one thread, reviews, nothing cached.
    """
    films = load_movielens()
    data = Reviews.read()
    reviews = data.table["text"].tolist()
    tokens = WordPieces(assets.locate("minilm") / "tokenizer.json")
    teacher = TextEncoder()
    encoders: dict[str, Encoder] = {"MiniLM": teacher, "TF-IDF": TfidfEncoder()}
    film_texts = films.items["text"].tolist()
    for d in (32, 64, 128, 256):
        encoders[f"table, {d}"] = StaticEncoder(d).distill(teacher, tokens, film_texts + reviews[:6000])
    undistilled = StaticEncoder(128, l2=1e9).distill(teacher, tokens, film_texts + reviews[:6000])
    encoders["table, 128, words alone"] = undistilled
    rows = []
    cosines = _cosines(teacher.encode(film_texts))
    yes = data.y[:, 1]
    for name, encoder in tqdm(encoders.items(), desc="encoders"):
        row: dict[str, Any] = {"encoder": name}
        row["bytes"] = encoder.size if isinstance(encoder, StaticEncoder) else None
        row["new films"] = float(np.mean(ndcgs := _new_films(encoder)))
        row["draws"] = ndcgs
        fitted = encoder.fit(reviews[:6000]) if isinstance(encoder, TfidfEncoder) else encoder
        x = fitted.encode(reviews)
        one = max((LogisticRegression(C=c, max_iter=2000).fit(x[:750], yes[:750]) for c in (0.3, 1, 3, 10, 30, 100)),
                  key=lambda m: auc(yes[750:1000], m.predict_proba(x[750:1000])[:, 1]))  # fmt: skip
        row["recommended"] = float(auc(yes[-3000:], one.predict_proba(x[-3000:])[:, 1]))
        if not isinstance(encoder, TfidfEncoder):
            row["cosines"] = float(np.corrcoef(cosines, _cosines(encoder.encode(film_texts)))[0, 1])
        fresh = TextEncoder(cache=False) if encoder is teacher else fitted
        began = time.perf_counter()
        fresh.encode(reviews[:500])
        row["texts a second"] = 500 / (time.perf_counter() - began)
        rows.append(row)
    return {"table": rows}


def _cosines(vectors: np.ndarray) -> np.ndarray:
    unit = vectors / np.maximum(np.linalg.norm(vectors, axis=1, keepdims=True), 1e-12)
    pairs = np.random.default_rng(0).integers(0, len(unit), (2, 20_000))
    return np.einsum("nd,nd->n", unit[pairs[0]], unit[pairs[1]])


def _new_films(encoder: Encoder) -> list[float]:
    """Return nDCG@10 of a ridge on the vectors over films that nobody has rated, for five draws."""
    values = []
    for seed in range(5):
        train, test = splits.cold_items(load_movielens(), 0.2, seed=seed)
        inner, valid = splits.cold_items(train, 0.2, seed=100 + seed)

        def ndcg(l2: float, learn: Any, asked: Any) -> float:
            fitted = TextRecommender(encoder, l2=l2).fit(learn)
            return float(evaluate(fitted, learn, asked, candidates=np.unique(asked.item_index)).mean["ndcg"])

        best = max((1.0, 3.0, 10.0, 30.0, 100.0, 300.0), key=lambda l2: ndcg(l2, inner, valid))
        values.append(ndcg(best, train, test))
    return values


@experiment
def one_for_many() -> dict[str, Any]:
    """Distil an ensemble of ten into one model of the same form, by soft labels on reviews without labels.

    300 labeled reviews; the ten differ in seed and in the rows drawn, with replacement. The student learns the mean of
    their predictions on 5,000 other reviews. Against one model on the labels, and one on the labels of the ten rounded
    to yes or no. Five draws; intervals over the 3,000 reviews of the test, of the difference to one model.
    """
    data = Reviews.read()
    test = slice(-3000, None)
    y = data.y[:, :2]
    found: dict[str, list[np.ndarray]] = {}
    for seed in tqdm(range(SEEDS), desc="draws"):
        drawn = np.random.default_rng(seed).permutation(len(data.x) - 3000)
        learn, stop, unlabeled = drawn[:300], drawn[300:375], drawn[375:5375]
        valid = data.x[stop], y[stop]
        rng = np.random.default_rng(100 + seed)
        ten = []
        for i in range(10):
            again = rng.choice(learn, len(learn))
            ten.append(MultiTask(KINDS[:2], seed=10 * seed + i).fit(data.x[again], y[again], valid))
        soft = mean_predictions(ten, data.x[unlabeled])
        hard = soft.copy()
        hard[:, 1] = soft[:, 1] > 0.5
        found.setdefault("one model", []).append(
            MultiTask(KINDS[:2], seed=seed).fit(data.x[learn], y[learn], valid).predict(data.x[test])
        )
        found.setdefault("ensemble of ten", []).append(mean_predictions(ten, data.x[test]))
        for name, labels in (("student, soft labels", soft), ("student, yes or no", hard)):
            student = MultiTask(KINDS[:2], steps=2000, seed=seed).fit(data.x[unlabeled], labels, valid)
            found.setdefault(name, []).append(student.predict(data.x[test]))
    rows = []
    for name, predictions in found.items():
        for t, (label, score) in enumerate((("rating", _rmse), ("recommended", _auc))):
            value, lead, low, high = _against(predictions, found["one model"], data.y[test][:, t], t, score)
            rows.append({"model": name, "task": label, "value": value, "lead": lead, "low": low, "high": high})
    return {"table": rows}

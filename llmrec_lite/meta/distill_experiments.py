"""Chapter 15's experiments with distillation; see `llmrec_lite.experiments` for the rules."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from sklearn.decomposition import TruncatedSVD
from tqdm.auto import tqdm

from llmrec_lite import assets, splits
from llmrec_lite.data import load_movielens
from llmrec_lite.evaluate import evaluate
from llmrec_lite.language.auc import auc
from llmrec_lite.language.encoder import TextEncoder
from llmrec_lite.meta.distill import StaticEncoder, WordPieces, mean_predictions
from llmrec_lite.meta.multitask_experiments import KINDS, SEEDS, Reviews, against, lead_by_draw, linear, rmse, tuned
from llmrec_lite.recommenders import TextRecommender
from llmrec_lite.recommenders.content import unit_rows
from llmrec_lite.recommenders.text import Encoder, TfidfEncoder
from llmrec_lite.results import experiment


@dataclass
class Lsa:
    """A table that no teacher taught: latent semantic analysis, TF-IDF's directions of most variance."""

    dimension: int

    def fit(self, texts: Sequence[str]) -> Lsa:
        """Learn words, weights and directions."""
        self.words_ = TfidfEncoder().fit(texts)
        self.svd_ = TruncatedSVD(self.dimension, random_state=0).fit(self.words_.encode(texts))
        return self

    def encode(self, texts: Sequence[str]) -> np.ndarray:
        """(texts,) -> (texts, dimension), of length 1."""
        return unit_rows(self.svd_.transform(self.words_.encode(texts))).astype(np.float32)


@experiment
def static() -> dict[str, Any]:
    """Distil MiniLM into tables of 32 to 256 numbers a token: size, speed, and what is left of its quality.

    The tables learn from the texts of the films and of 6,000 reviews; the strength of the ridge is the one whose
    cosines agree best with the teacher's on a tenth of these texts that was set aside. Three uses: new films ranked by
    a ridge for each user (nDCG@10, five draws of a fifth of the films, strength chosen on a second cold split inside
    train), "would recommend" by logistic regression on 1,000 reviews (AUC on 3,000 others), and the correlation of the
    teacher's cosines of film texts with the table's. "LSA" is a table without a teacher. Speed is texts a second on
    one thread, reviews, nothing cached. Intervals, of the difference to MiniLM, are over draws and over reviews.
    """
    films = load_movielens()
    data = Reviews.read()
    reviews, film_texts = data.table["text"].tolist(), films.items["text"].tolist()
    texts = film_texts + reviews[:6000]
    tokens = WordPieces(assets.locate("minilm") / "tokenizer.json")
    teacher = TextEncoder()
    strengths = []
    aside = np.random.default_rng(0).permutation(len(texts)) < len(texts) // 10
    held, kept = ([text for text, out in zip(texts, aside, strict=True) if out == side] for side in (True, False))
    for l2 in (0.001, 0.003, 0.01, 0.03, 0.1, 0.3):
        cosines = _cosines(StaticEncoder(l2=l2).distill(teacher, tokens, kept).encode(held))
        strengths.append({"l2": l2, "cosines": float(np.corrcoef(cosines, _cosines(teacher.encode(held)))[0, 1])})
    chosen = max(strengths, key=lambda row: row["cosines"])["l2"]
    encoders: dict[str, Encoder] = {"MiniLM": teacher, "TF-IDF": TfidfEncoder()}
    for d in (32, 64, 128, 256):
        encoders[f"table, {d}"] = StaticEncoder(d, l2=chosen).distill(teacher, tokens, texts)
    encoders["table, 128, words alone"] = StaticEncoder(128, l2=1e9).distill(teacher, tokens, texts)
    encoders["LSA, 128"] = Lsa(128).fit(texts)
    rows: list[dict[str, Any]] = []
    true_cosines = _cosines(teacher.encode(film_texts))
    yes = data.y[:, 1]
    scores: dict[str, np.ndarray] = {}
    for name, encoder in tqdm(encoders.items(), desc="encoders"):
        row: dict[str, Any] = {"encoder": name}
        row["bytes"] = encoder.size if isinstance(encoder, StaticEncoder) else None
        if encoder is teacher:
            row["bytes"] = (assets.locate("minilm") / "model.safetensors").stat().st_size
        row["new films"] = float(np.mean(ndcgs := _new_films(encoder)))
        row["draws"] = ndcgs
        fitted = encoder.fit(reviews[:6000]) if isinstance(encoder, TfidfEncoder) else encoder
        x = fitted.encode(reviews)
        scores[name] = linear(["yes"], (x[:750], yes[:750, None]), (x[750:1000], yes[750:1000, None]), x[-3000:])
        found = against([scores[name]], [scores["MiniLM"]], yes[-3000:], 0, auc)
        row |= dict(zip(("recommended", "lead", "low", "high"), found, strict=True))
        row |= {f"films {end}": value for end, value in lead_by_draw(ndcgs, rows[0]["draws"]).items()} if rows else {}
        if not isinstance(encoder, TfidfEncoder):
            row["cosines"] = float(np.corrcoef(true_cosines, _cosines(encoder.encode(film_texts)))[0, 1])
        fresh = TextEncoder(cache=False) if encoder is teacher else fitted
        began = time.perf_counter()
        fresh.encode(reviews[:500])
        row["texts a second"] = 500 / (time.perf_counter() - began)
        rows.append(row)
    return {"table": rows, "strengths": strengths}


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
    their predictions on 5,000 other reviews. Against one model on the labels; a student of that one; a student of the
    ten rounded to yes or no. All choose the learning rate on 75 reviews more. Ten draws; intervals, of the difference
    to one model, are over draws and the 3,000 reviews of the test.
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
        single = tuned(KINDS[:2], (data.x[learn], y[learn]), valid, seed=seed)
        ten = []
        for i in range(10):
            again = rng.choice(learn, len(learn))
            ten.append(tuned(KINDS[:2], (data.x[again], y[again]), valid, seed=10 * seed + i))
        soft = mean_predictions(ten, data.x[unlabeled])
        hard = soft.copy()
        hard[:, 1] = soft[:, 1] > 0.5
        found.setdefault("one model", []).append(single.predict(data.x[test]))
        found.setdefault("ensemble of ten", []).append(mean_predictions(ten, data.x[test]))
        taught = {
            "student of the ten": soft,
            "student of the ten, yes or no": hard,
            "student of the one": single.predict(data.x[unlabeled]),
        }
        for name, labels in taught.items():
            student = tuned(KINDS[:2], (data.x[unlabeled], labels), valid, steps=2000, seed=seed)
            found.setdefault(name, []).append(student.predict(data.x[test]))
    rows = []
    for name, predictions in found.items():
        for t, (label, score) in enumerate((("rating", rmse), ("recommended", auc))):
            value, lead, low, high = against(predictions, found["one model"], data.y[test][:, t], t, score)
            rows.append({"model": name, "task": label, "value": value, "lead": lead, "low": low, "high": high})
    return {"table": rows}

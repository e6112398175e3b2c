"""Chapter 15's experiments with distillation; see `book.experiments` for the rules."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
import torch
from sklearn.decomposition import TruncatedSVD
from sklearn.utils.parallel import Parallel, delayed
from tqdm.auto import tqdm

from book.experiments.ch15_multitask import KINDS, SEEDS, Reviews, against, linear, tuned
from book.experiments.common import Parts
from book.experiments.registry import Result, Row, draw, experiment, find
from llmrec_lite import assets, splits
from llmrec_lite.data import Dataset, load_movielens
from llmrec_lite.evaluate import evaluate
from llmrec_lite.language.auc import auc
from llmrec_lite.language.encoder import TextEncoder
from llmrec_lite.language.text_recommender import Encoder, TextRecommender, TfidfEncoder
from llmrec_lite.meta.distill import StaticEncoder, WordPieceTokenizer, mean_predictions
from llmrec_lite.metrics import rmse
from llmrec_lite.recommenders.content import unit_rows
from llmrec_lite.stats import bootstrap_interval


@dataclass
class Projected:
    """Vectors of another encoder along their directions of most variance in some texts."""

    encoder: Encoder
    dimension: int

    def learn(self, texts: Sequence[str]) -> Projected:
        """Find the directions (a recommender would call a `fit` again, on the catalog alone)."""
        self.svd_ = TruncatedSVD(self.dimension, random_state=0).fit(self.encoder.encode(texts))
        return self

    def encode(self, texts: Sequence[str]) -> np.ndarray:
        """(texts,) -> (texts, dimension), of length 1."""
        return unit_rows(self.svd_.transform(self.encoder.encode(texts))).astype(np.float32)


DRAWS = 5
SIZES = (32, 64, 128, 256)
L2 = (0.003, 0.01, 0.03, 0.1, 0.3, 1.0)  # of the table
STRENGTH = (1.0, 3.0, 10.0, 30.0, 100.0, 300.0)  # of the recommender


@experiment
def static() -> dict[str, Any]:
    """Distill MiniLM into tables of 32 to 256 numbers a token: size, speed, and what is left of its quality.

    Two uses. New films: a fifth of the films is new (five draws); the tables learn from the texts of the others and of
    6,000 reviews, with the strength of the ridge whose cosines agree best with the teacher's on a tenth of the other
    films that was set aside; a ridge for each user ranks the new ones (nDCG@10, strength chosen on a second cold split
    inside train). "catalog read" is a table that has learned from the new films' texts as well. "Would recommend": a
    logistic regression on 1,000 of the 6,000 reviews, ten draws (AUC on 3,000 others). "LSA" is a table without a
    teacher: TF-IDF's directions of most variance; "MiniLM, 128" are MiniLM's. "cosines" correlate the cosines of pairs
    of new films with the teacher's. Speed is texts a second on one thread, 200 reviews, nothing cached, median of
    five. Intervals, of differences to MiniLM and to TF-IDF, are over draws and users, or draws and reviews.
    """
    data = Reviews.read()
    read = data.table["text"].tolist()[:6000]
    work = Parallel(n_jobs=-1, max_nbytes=None, return_as="generator")
    done = list(tqdm(work(delayed(_new_films)(read, seed) for seed in range(DRAWS)), desc="draws", total=DRAWS))
    encoders = _encoders([*load_movielens().items["text"], *read], done[0]["l2"])
    scores = _recommended(data, encoders)
    texts = data.table["text"].tolist()[:200]
    rows = []
    for name in done[0]["ndcg"]:
        ndcg = pd.DataFrame([one["ndcg"][name] for one in done])  # (draws, users)
        row: dict[str, Any] = {"encoder": name, "new films": float(ndcg.mean(axis=1).mean())}
        row["draws"] = ndcg.mean(axis=1).tolist()
        row["cosines"] = float(np.mean([one["cosines"][name] for one in done])) if name in done[0]["cosines"] else None
        for other in ("MiniLM", "TF-IDF"):
            theirs = pd.DataFrame([one["ndcg"][other] for one in done])
            row |= {f"films {part} {other}": v for part, v in _two_ways(ndcg - theirs).items()}
        if name in encoders:
            for other in ("MiniLM", "TF-IDF"):
                value, *lead = against(scores[name], scores[other], data.y[-3000:, 1], 0, auc)
                row["recommended"] = value
                row |= {f"{part} {other}": v for part, v in zip(("lead", "low", "high"), lead, strict=True)}
            row["texts a second"] = _speed(TextEncoder(cache=False) if name == "MiniLM" else encoders[name], texts)
            row["bytes"] = _size(encoders[name])
        rows.append(row)
    return {"table": rows, "l2": [one["l2"] for one in done]}


def _encoders(texts: Sequence[str], l2: float) -> dict[str, Encoder]:
    teacher = TextEncoder()
    words = TfidfEncoder().fit(texts)
    found: dict[str, Encoder] = {"MiniLM": teacher, "MiniLM, 128": Projected(teacher, 128).learn(texts)}
    found |= {"TF-IDF": words, "LSA, 128": Projected(words, 128).learn(texts)}
    found |= {f"table, {dim}": _table(dim, l2, texts) for dim in SIZES}
    return found | {"table, 128, words alone": _table(128, 1e9, texts)}


def _table(dim: int, l2: float, texts: Sequence[str]) -> StaticEncoder:
    """Distill MiniLM into d numbers a token."""
    tokens = WordPieceTokenizer(assets.locate("minilm") / "tokenizer.json")
    return StaticEncoder(dim, l2=l2).distill(TextEncoder(), tokens, texts)


def _new_films(reviews: Sequence[str], seed: int) -> dict[str, Any]:
    """Return each user's nDCG@10 over films that nobody has rated, by encoder, and how the cosines agree."""
    inner, valid, train, test = _film_parts(seed)
    films = np.array(train.items["text"].tolist(), dtype=object)
    new = np.unique(test.item_index)
    old = np.random.default_rng(seed).permutation(np.setdiff1d(np.arange(len(films)), new))
    held, kept = films[old[: len(old) // 10]], films[old[len(old) // 10 :]]
    teacher, tokens = TextEncoder(), WordPieceTokenizer(assets.locate("minilm") / "tokenizer.json")

    def agreement(encoder: Encoder, texts: Sequence[str]) -> float:
        return float(np.corrcoef(_cosines(encoder.encode(list(texts))), _cosines(teacher.encode(list(texts))))[0, 1])

    tables = {l2: StaticEncoder(l2=l2).distill(teacher, tokens, [*kept, *reviews]) for l2 in L2}
    l2 = max(L2, key=lambda value: agreement(tables[value], held))
    encoders = _encoders([*films[old], *reviews], l2)
    encoders["table, 128, catalog read"] = StaticEncoder(128, l2=l2).distill(teacher, tokens, [*films, *reviews])
    found: dict[str, Any] = {"l2": l2, "ndcg": {}, "cosines": {}}
    for name, encoder in encoders.items():
        found["ndcg"][name] = _ranked_by(encoder, inner, valid, train, test)
        if "TF-IDF" not in name and "LSA" not in name:
            found["cosines"][name] = agreement(encoder, films[new])
    return found


def _film_parts(seed: int) -> Parts:
    train, test = splits.cold_items(load_movielens(), 0.2, seed=seed)
    return *splits.cold_items(train, 0.2, seed=100 + seed), train, test


def _ranked_by(encoder: Encoder, inner: Dataset, valid: Dataset, train: Dataset, test: Dataset) -> pd.Series:
    """Return each user's nDCG@10 by a ridge on an encoder's vectors, of the strength that is best inside train."""

    def per_user(strength: float, learn: Dataset, asked: Dataset) -> pd.Series:
        fitted = TextRecommender(encoder, l2=strength).fit(learn)
        return evaluate(fitted, learn, asked, candidates=np.unique(asked.item_index)).per_user["ndcg"]

    best = max(STRENGTH, key=lambda strength: float(per_user(strength, inner, valid).mean()))
    return per_user(best, train, test)


@static.check
def _static_again(stored: Result, rng: np.random.Generator) -> Iterator[Row]:
    data, seed = Reviews.read(), draw(rng, range(DRAWS))
    read, parts = data.table["text"].tolist()[:6000], _film_parts(seed)
    old = np.setdiff1d(np.arange(parts[2].n_items), np.unique(parts[3].item_index))
    order = np.random.default_rng(seed).permutation(old)
    texts = [*np.array(parts[2].items["text"].tolist(), dtype=object)[order], *read]
    encoders: dict[str, Encoder] = {"MiniLM": TextEncoder(), "TF-IDF": TfidfEncoder().fit(texts)}
    encoders["table, 32"] = _table(32, stored["l2"][seed], texts)
    for name, encoder in encoders.items():
        ndcg = _ranked_by(encoder, *parts).mean()
        yield Row(f"{name}, draw {seed}", find(stored["table"], encoder=name)["draws"][seed], ndcg)
    values = [auc(data.y[-3000:, 1], one[:, 0]) for one in _recommended(data, {"MiniLM": TextEncoder()})["MiniLM"]]
    yield Row("MiniLM, recommended", find(stored["table"], encoder="MiniLM")["recommended"], np.mean(values))


def _recommended(data: Reviews, encoders: Mapping[str, Encoder]) -> dict[str, list[np.ndarray]]:
    """Return what a logistic regression says of 3,000 reviews after 1,000 others, ten draws of these."""
    scores: dict[str, list[np.ndarray]] = {}
    for name, encoder in encoders.items():
        x, yes = encoder.encode(data.table["text"].tolist()), data.y[:, 1:2]
        for seed in range(SEEDS):
            rows = np.random.default_rng(seed).permutation(6000)[:1000]
            learn, stop = ((x[part], yes[part]) for part in (rows[:750], rows[750:]))
            scores.setdefault(name, []).append(linear(["binary"], learn, stop, x[-3000:]))
    return scores


def _two_ways(leads: pd.DataFrame) -> dict[str, float]:
    """Return the mean of differences (draws, users) and its interval over both; a user may lack a draw."""
    values = leads.to_numpy()
    there = np.isfinite(values)

    def mean(draws: np.ndarray, users: np.ndarray) -> np.ndarray:
        of_draws = users @ np.where(there, values, 0).T / (users @ there.T)  # (resamples, draws)
        return (draws * of_draws).sum(1) / len(values)

    low, high = bootstrap_interval(mean, values.shape)
    return {"lead": float(np.nanmean(values, axis=1).mean()), "low": float(low), "high": float(high)}


def _cosines(vectors: np.ndarray) -> np.ndarray:
    unit = unit_rows(vectors)
    return (unit @ unit.T)[np.triu_indices(len(unit), 1)]


def _size(encoder: Encoder) -> int | None:
    """Return the bytes of a table with eight bits a number, or of a model's weights."""
    if isinstance(encoder, StaticEncoder):
        return encoder.size
    if isinstance(encoder, TextEncoder):
        return (assets.locate("minilm") / "model.safetensors").stat().st_size
    return None


def _speed(encoder: Encoder, texts: Sequence[str]) -> float:
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    os.environ["TOKENIZERS_PARALLELISM"] = "false"
    seconds = []
    for _ in range(5):
        began = time.perf_counter()
        encoder.encode(texts)
        seconds.append(time.perf_counter() - began)
    torch.set_num_threads(threads)
    return len(texts) / float(np.median(seconds))


@experiment
def one_for_many() -> dict[str, Any]:
    """Distil an ensemble of ten into one model of the same form, by soft labels on reviews without labels.

    300 labeled reviews; the ten differ in seed and in the rows drawn, with replacement ("ten seeds": in seed only). The
    student learns the mean of their predictions on 5,000 other reviews. Against one model on the labels; a ridge and a
    logistic regression; a student of the one; a student of the ten whose recommendation is rounded to yes or no, at one
    half, or at the share of yes among the labels. All choose the learning rate on 75 reviews more. Ten draws;
    intervals, of the differences to one model and to the ten, are over draws and the 3,000 reviews of the test.
    """
    data = Reviews.read()
    work = Parallel(n_jobs=-1, max_nbytes=None, return_as="generator")
    done = list(tqdm(work(delayed(_taught)(data, seed) for seed in range(SEEDS)), desc="draws", total=SEEDS))
    found = {name: [predictions[name] for predictions, _ in done] for name in done[0][0]}
    return {
        "table": _rows(data, found, ("one model", "ensemble of ten")),
        "said no": float(np.mean([share for _, share in done])),
        "no": float(1 - data.y[:, 1].mean()),
    }


def _rows(data: Reviews, found: Mapping[str, list[np.ndarray]], others: Sequence[str]) -> list[dict[str, Any]]:
    """Return the score of each model on each task, and its leads over some of them."""
    rows = []
    for name, predictions in found.items():
        for t, (label, score) in enumerate((("rating", rmse), ("recommended", auc))):
            row: dict[str, Any] = {"model": name, "task": label}
            for other in others:
                row["value"], *lead = against(predictions, found[other], data.y[-3000:, t], t, score)
                row |= {f"{part} {other}": v for part, v in zip(("lead", "low", "high"), lead, strict=True)}
            rows.append(row)
    return rows


def _drawn(seed: int, n: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return which reviews are to learn from, to stop by, and without labels."""
    drawn = np.random.default_rng(seed).permutation(n)
    return drawn[:300], drawn[300:375], drawn[375:5375]


@one_for_many.check
def _one_for_many_again(stored: Result, rng: np.random.Generator) -> Iterator[Row]:
    data = Reviews.read()
    yield Row("no", stored["no"], 1 - data.y[:, 1].mean())
    found: dict[str, list[np.ndarray]] = {"one model": [], "linear": []}
    for seed in range(SEEDS):
        labeled, valid = ((data.x[rows], data.y[rows, :2]) for rows in _drawn(seed, len(data.x) - 3000)[:2])
        found["one model"].append(tuned(KINDS[:2], labeled, valid, seed=seed).predict(data.x[-3000:]))
        found["linear"].append(linear(KINDS[:2], labeled, valid, data.x[-3000:]))
    yield Row.of("one model, linear", stored["table"], _rows(data, found, ["one model"]), "model", "task")


def _taught(data: Reviews, seed: int) -> tuple[dict[str, np.ndarray], float]:
    """Return each model's predictions of the test, and the share of texts that the ten call a no at one half."""
    y, asked = data.y[:, :2], data.x[-3000:]
    learn, stop, unlabeled = _drawn(seed, len(data.x) - 3000)
    labeled, valid = (data.x[learn], y[learn]), (data.x[stop], y[stop])
    rng = np.random.default_rng(100 + seed)
    single = tuned(KINDS[:2], labeled, valid, seed=seed)
    bags = [rng.choice(learn, len(learn)) for _ in range(10)]
    ten = [tuned(KINDS[:2], (data.x[b], y[b]), valid, seed=10 * seed + i) for i, b in enumerate(bags)]
    seeds = [tuned(KINDS[:2], labeled, valid, seed=10 * seed + i) for i in range(10)]
    soft = mean_predictions(ten, data.x[unlabeled])
    halves, shares = soft.copy(), soft.copy()
    halves[:, 1] = soft[:, 1] > 0.5
    shares[:, 1] = soft[:, 1] > np.quantile(soft[:, 1], 1 - y[learn, 1].mean())
    found = {
        "one model": single.predict(asked),
        "linear": linear(KINDS[:2], labeled, valid, asked),
        "ten seeds": mean_predictions(seeds, asked),
        "ensemble of ten": mean_predictions(ten, asked),
    }
    taught = {
        "student of the ten": soft,
        "student of the ten, yes above one half": halves,
        "student of the ten, yes at the labels' share": shares,
        "student of the one": single.predict(data.x[unlabeled]),
    }
    for name, labels in taught.items():
        found[name] = tuned(KINDS[:2], (data.x[unlabeled], labels), valid, steps=2000, seed=seed).predict(asked)
    return found, float(1 - halves[:, 1].mean())

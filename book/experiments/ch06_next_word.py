"""Chapter 6: perplexity of n-gram models, counted and neural."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import partial
from typing import Any

import numpy as np
from tqdm.auto import tqdm

from book.experiments.registry import Result, Row, draw, experiment
from llmrec_lite.language.neural_ngram import NeuralNgram
from llmrec_lite.language.ngram import AddK, KneserNey, NgramModel, perplexity_interval
from llmrec_lite.reviews import load_reviews, split_texts
from llmrec_lite.text import tokenize

# The neural model takes minutes a setting, so it gets two tries.
NEURAL_GRID: list[dict[str, Any]] = [
    {"order": order, "dim": 64, "hidden": 128, "dropout": 0.1, "n_epochs": 4} for order in (4, 6)
]


def _logs(model: NgramModel, sentences: Sequence[list[str]]) -> list[np.ndarray]:
    return [model.log_probability(sentence) for sentence in sentences]


def _perplexity_row(name: str, setting: dict[str, Any], logs: list[np.ndarray]) -> dict[str, Any]:
    low, high = perplexity_interval(logs)
    perplexity = float(np.exp(-np.concatenate(logs).mean()))
    return {"model": name, "setting": setting, "perplexity": perplexity, "low": low, "high": high}


@experiment
def ngram() -> dict[str, Any]:
    """Perplexity of reviews: add-k, Kneser-Ney and neural n-grams, settings chosen on validation reviews.

    80/10/10 of the reviews, words seen five times or more. Add-k: five k for each order; neural: two settings,
    three seeds; the mixture of the best two: nine weights.
    """
    train, valid, test = _sentences()
    table = []
    for order in (1, 2, 3):
        tried = {k: AddK(order, k, min_count=5).fit(train) for k in (1.0, 0.1, 0.01, 0.003, 0.001)}
        k = min(tried, key=lambda k: tried[k].perplexity(valid))
        table.append(_perplexity_row(f"add-k, order {order}", {"order": order, "k": k}, _logs(tried[k], test)))
    counting = {}
    for order in tqdm((1, 2, 3, 4, 5), desc="Kneser-Ney"):
        counting[order] = KneserNey(order, min_count=5).fit(train)
        table.append(_kneser_ney_row(counting[order], order, valid, test))
    curves, tries = [], []
    for setting in NEURAL_GRID:
        curve: list[float] = []
        watch = partial(_watch, curve, valid)
        tries.append(NeuralNgram(**setting, on_epoch=watch).fit(train))
        curves.append({**setting, "valid": curve})
    best = int(np.argmin([curve["valid"][-1] for curve in curves]))
    setting = NEURAL_GRID[best]
    runs, best_order = [], min(counting, key=lambda order: counting[order].perplexity(valid))
    for seed in range(3):
        neural = NeuralNgram(**setting, seed=seed).fit(train) if seed else tries[best]
        runs.append(_perplexity_row("neural", setting, _logs(neural, test)))
        if seed == 0:
            words = {w: neural.similar(w) for w in ("dress", "small", "blue", "love", "jeans", "itchy")}
            p, q = ([np.exp(_flat(m, valid)), np.exp(_flat(m, test))] for m in (counting[best_order], neural))
            shares = np.linspace(0.1, 0.9, 9)
            share = shares[np.argmin([-np.log(s * p[0] + (1 - s) * q[0]).mean() for s in shares])]
            ends = np.cumsum([len(sentence) + 1 for sentence in test])[:-1]
            logs = np.split(np.log(share * p[1] + (1 - share) * q[1]), ends)
            mixed = _perplexity_row("mixture", {"order": best_order, "share": float(share)}, logs)
    table += [{**runs[0], "runs": [run["perplexity"] for run in runs]}, mixed]
    return {"table": table, "curves": curves, "similar": words}


def _watch(curve: list[float], valid: Sequence[list[str]], epoch: int, model: NeuralNgram) -> None:
    curve.append(model.perplexity(valid))


def _flat(model: NgramModel, sentences: Sequence[list[str]]) -> np.ndarray:
    return np.concatenate(_logs(model, sentences))


def _sentences() -> list[list[list[str]]]:
    """Return words of train, validation and test."""
    return [[tokenize(text) for text in part] for part in split_texts(load_reviews()["text"], seed=0)]


def _kneser_ney_row(
    model: KneserNey, order: int, valid: Sequence[list[str]], test: Sequence[list[str]]
) -> dict[str, Any]:
    row = _perplexity_row(f"Kneser-Ney, order {order}", {"order": order}, _logs(model, test))
    return {**row, "valid": model.perplexity(valid)}


@ngram.check
def _ngram_again(stored: Result, rng: np.random.Generator) -> Iterator[Row]:
    train, valid, test = _sentences()
    order = draw(rng, (1, 2, 3, 4, 5))
    row = _kneser_ney_row(KneserNey(order, min_count=5).fit(train), order, valid, test)
    yield Row.of(row["model"], stored["table"], row, "model")
    old = stored["table"][int(rng.integers(3))]
    logs = _logs(AddK(**old["setting"], min_count=5).fit(train), test)
    yield Row.of(old["model"], stored["table"], _perplexity_row(old["model"], old["setting"], logs), "model")

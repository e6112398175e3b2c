"""Experiments of chapter 10: what fine-tuning buys, on reviews and on films; see `book.experiments` for the rules."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from functools import partial
from typing import Any

import numpy as np
from tqdm.auto import tqdm

from book.experiments.registry import Result, Row, draw, experiment, find
from llmrec_lite.data import load_movielens
from llmrec_lite.language.auc import auc, auc_interval
from llmrec_lite.language.encoder import TextEncoder
from llmrec_lite.language.finetune import FinetuneConfig, finetune
from llmrec_lite.language.lora import trainable_parameters
from llmrec_lite.language.preferences import Preference, augment, preference_split
from llmrec_lite.language.text_models import Example, TextClassifier
from llmrec_lite.language.trainer import TrainingHistory
from llmrec_lite.reviews import load_reviews, split_texts

Examples = Sequence[Example]


def review_examples() -> tuple[list[Example], list[Example], list[Example]]:
    """Will the customer recommend what she reviews: train, 150 for validation and 600 for test."""
    reviews = load_reviews()
    told = dict(zip(reviews["text"], reviews["recommended"], strict=True))
    train, valid, test = ([Example(t, float(told[t])) for t in part] for part in split_texts(reviews["text"], seed=0))
    return train, valid[:150], test[:600]


def some(examples: Sequence[Any], n: int, seed: int) -> list[Any]:
    """Draw n examples at random."""
    return [examples[i] for i in np.random.default_rng(seed).permutation(len(examples))[:n]]


def labels_of(examples: Examples) -> np.ndarray:
    """Return the labels, (n,)."""
    return np.array([e.label for e in examples])


def _adalora(steps: int) -> Any:
    from peft import AdaLoraConfig

    return AdaLoraConfig(
        init_r=12, target_r=8, lora_alpha=16, target_modules=["query", "value"],
        total_step=steps, tinit=steps // 10, tfinal=steps // 3, deltaT=max(1, steps // 20),
    )  # fmt: skip


def _ia3(steps: int) -> Any:
    from peft import IA3Config

    return IA3Config(target_modules=["key", "value", "output.dense"], feedforward_modules=["output.dense"])


# How MiniLM is tuned: what is passed to TextClassifier, and two learning rates to choose from.
WAYS: dict[str, tuple[Callable[[int], dict[str, Any]], tuple[float, float]]] = {
    "head": (lambda steps: {"train": "head"}, (0.01, 0.03)),
    "IA3": (lambda steps: {"peft_config": _ia3(steps)}, (0.003, 0.01)),
    "AdaLoRA": (lambda steps: {"peft_config": _adalora(steps)}, (0.003, 0.01)),
    "LoRA": (lambda steps: {"train": "lora"}, (0.001, 0.003)),
    "LoRA, top 2 layers": (lambda steps: {"train": "lora-top2"}, (0.001, 0.003)),
    "full": (lambda steps: {"train": "full"}, (5e-5, 2e-4)),
    "full, from scratch": (lambda steps: {"train": "full", "pretrained": False}, (2e-4, 1e-3)),
}
EPOCHS = {64: 6, 256: 4}


def _tuned(
    parts: tuple[Examples, Examples, Examples], way: str, n: int, seed: int, rate: float, longer: int = 1
) -> tuple[float, dict[str, Any], np.ndarray]:
    """Tune MiniLM on n examples; return the validation loss, a row of the table, and what it says of the test."""
    train, valid, test = parts
    examples, epochs = some(train, n, seed), EPOCHS[n] * longer
    config = FinetuneConfig(n_epochs=epochs, learning_rate=rate, seed=seed, patience=2 * longer, device="cpu")
    model = TextClassifier(max_length=64, seed=seed, **WAYS[way][0](config.steps(n)))
    history = finetune(model, examples, valid, config, progress=False)
    told = model.predict(test)
    row = {"way": way, "n": n, "seed": seed, "learning_rate": rate, "auc": auc(labels_of(test), told)}
    learns, weights = trainable_parameters(model)
    row |= {"learns": learns, "weights": weights, "seconds": sum(history.seconds), "epochs": epochs}
    row |= {"best_step": history.best_step, "steps": len(history.seconds)}
    row |= {"train_loss": history.train_losses[-1], "valid_loss": min(history.valid_losses)}
    return min(history.valid_losses), row, told


@experiment
def fine_tuning() -> dict[str, Any]:
    """Ways to tune MiniLM on reviews (does she recommend?), with 64 and 256 labels, three draws each.

    Two learning rates a way, chosen by the validation loss of the first draw of 256; early stopping, patience 2;
    texts cut after 64 tokens; AUC on 600 test reviews. A logistic regression on TF-IDF of the whole texts, and one on
    MiniLM's frozen vectors, get six strengths, chosen on the same validation for each draw. The network from scratch
    is trained ten times as long once more, on the first draw of 256.
    """
    train, valid, test = parts = review_examples()
    y = labels_of(test)
    table: list[dict[str, Any]] = []
    scores: dict[tuple[str, int], np.ndarray] = {}

    run = partial(_tuned, parts)
    for way, (_, rates) in tqdm(WAYS.items(), desc="ways"):
        tried = {rate: run(way, 256, 0, rate) for rate in rates}
        rate = min(tried, key=lambda rate: tried[rate][0])
        for n in EPOCHS:
            told = []
            for seed in range(3):
                _, row, scored = tried[rate] if (n, seed) == (256, 0) else run(way, n, seed, rate)
                table.append(row)
                told.append(scored)
            scores[way, n] = np.stack(told)
    _, longer, _ = run("full, from scratch", 256, 0, rate, longer=10)  # the last way, which has most to learn
    for n in EPOCHS:
        for way, solve in SOLVED.items():
            draws = np.stack([solve(some(train, n, seed), valid, test) for seed in range(3)])
            scores[way, n] = draws
            table += [{"way": way, "n": n, "seed": s, "auc": auc(y, told)} for s, told in enumerate(draws)]
    summary, gaps = [], []
    for (way, n), scored in scores.items():
        low, high = auc_interval(y, scored)
        summary.append({"way": way, "n": n, "auc": auc(y, scored), "low": low, "high": high})
    for n in EPOCHS:
        pairs = [("full", "full, from scratch"), ("LoRA", "full"), ("LoRA", "head"), ("LoRA, top 2 layers", "LoRA")]
        pairs += [(way, "full") for way in ("IA3", "AdaLoRA")] + [("LoRA", "TF-IDF")]
        for way, rival in pairs:
            low, high = auc_interval(y, scores[way, n], rival=scores[rival, n])
            lead = auc(y, scores[way, n]) - auc(y, scores[rival, n])
            gaps.append({"way": way, "rival": rival, "n": n, "lead": lead, "low": low, "high": high})
    return {"table": table, "summary": summary, "gaps": gaps, "longer": [longer], "share_of_yes": float(y.mean())}


def _solve(x: Any, y: np.ndarray, x_valid: Any, y_valid: np.ndarray, x_test: Any) -> np.ndarray:
    from sklearn.linear_model import LogisticRegression

    fitted = [LogisticRegression(C=c, max_iter=2000).fit(x, y) for c in (0.1, 0.3, 1, 3, 10, 30)]
    best = max(fitted, key=lambda model: auc(y_valid, model.decision_function(x_valid)))
    return best.decision_function(x_test)


def _tfidf(train: Examples, valid: Examples, test: Examples) -> np.ndarray:
    from sklearn.feature_extraction.text import TfidfVectorizer

    vectorizer = TfidfVectorizer(sublinear_tf=True).fit([e.text for e in train])
    x, x_valid, x_test = (vectorizer.transform([e.text for e in part]) for part in (train, valid, test))
    return _solve(x, labels_of(train), x_valid, labels_of(valid), x_test)


def _frozen(train: Examples, valid: Examples, test: Examples) -> np.ndarray:
    encoder = TextEncoder(max_length=64)
    x, x_valid, x_test = (encoder.encode([e.text for e in part]) for part in (train, valid, test))
    return _solve(x, labels_of(train), x_valid, labels_of(valid), x_test)


SOLVED = {"TF-IDF": _tfidf, "frozen, solved": _frozen}


@fine_tuning.check
def _fine_tuning_again(stored: Result, rng: np.random.Generator) -> Iterator[Row]:
    parts = review_examples()
    y = labels_of(parts[2])
    yield Row("share of yes", stored["share_of_yes"], y.mean())
    n, seed = draw(rng, EPOCHS), draw(rng, range(3))
    for way, solve in SOLVED.items():
        row = {"way": way, "n": n, "seed": seed, "auc": auc(y, solve(some(parts[0], n, seed), *parts[1:]))}
        yield Row.of(f"{way}, {n}, draw {seed}", stored["table"], row, "way", "n", "seed")
    rate = find(stored["table"], way="head")["learning_rate"]
    yield Row.of(
        f"head, 64, draw {seed}", stored["table"], _tuned(parts, "head", 64, seed, rate)[1], "way", "n", "seed"
    )


def told_again(text: str, seed: int, drop: float = 0.3) -> str:
    """Tell a review differently: its sentences in another order, a share of them left out, one at least kept."""
    rng = np.random.default_rng(seed)
    sentences = [s.strip() for s in text.replace("!", ".").replace("?", ".").split(".") if s.strip()]
    kept = [s for s in rng.permutation(sentences) if rng.random() >= drop] or sentences[:1]
    return ". ".join(map(str, kept)) + "." if kept else text


@experiment
def overfitting() -> dict[str, Any]:
    """Train far too long on 64 examples, told once or in eight ways, and as long on 1,000: films and reviews.

    MiniLM, LoRA in its top two layers, learning rate 0.003, three draws; the validation loss at every eighth of the
    training, AUC of test at its end and where the validation loss was lowest.
    """
    table = []
    for task in ("films", "reviews"):
        parts = _examples_of(task)
        for seed in tqdm(range(3), desc=task):
            for n, tellings in ((64, 1), (64, 8), (1000, 1)):
                table.append(_overfitted(parts, task, n, seed, tellings))
    return {"table": table}


def _examples_of(task: str) -> Sequence[Sequence[Any]]:
    return preference_split(load_movielens())[1:] if task == "films" else review_examples()


def _overfitted(parts: Sequence[Sequence[Any]], task: str, n: int, seed: int, tellings: int) -> dict[str, Any]:
    train, valid, test = parts
    few = some(train, n, seed)
    told = few + [e for i in range(1, tellings) for e in _retold(few, 100 * seed + i)]
    row = {"task": task, "n": n, "seed": seed, "tellings": tellings}
    return row | _train_too_long(told, valid[:150], test[:500], 96, 96 if task == "films" else 64, seed)


@overfitting.check
def _overfitting_again(stored: Result, rng: np.random.Generator) -> Iterator[Row]:
    labels = ("task", "n", "seed", "tellings")
    old = draw(rng, [row for row in stored["table"] if row["task"] == "reviews"])  # their texts are shorter
    row = _overfitted(_examples_of(old["task"]), *(old[label] for label in labels))
    yield Row.of(", ".join(f"{label} {old[label]}" for label in labels), stored["table"], row, *labels)


def _train_too_long(
    train: Examples, valid: Examples, test: Examples, steps: int, length: int, seed: int
) -> dict[str, Any]:
    y, at_the_end = labels_of(test), []
    model = TextClassifier(max_length=length, seed=seed, train="lora-top2")

    def judge(step: int, history: TrainingHistory) -> None:
        if step == steps:
            at_the_end.append(auc(y, model.predict(test)))

    config = FinetuneConfig(
        max_steps=steps,
        learning_rate=0.003,
        seed=seed,
        valid_every=steps // 8,
        patience=8,  # as many as there are: it trains to the end, and then goes back to the best
        device="cpu",
    )
    history = finetune(model, train, valid, config, progress=False, on_step=judge)
    row = {"auc_last": at_the_end[0], "auc_best": auc(y, model.predict(test)), "best_step": history.best_step}
    losses = {"train_losses": history.train_losses, "valid_losses": history.valid_losses}
    return {**row, **losses, "valid_steps": history.valid_steps}


def _retold(examples: Sequence[Any], seed: int) -> list[Any]:
    if isinstance(examples[0], Preference):
        return augment(examples, seed)
    return [replace(e, text=told_again(e.text, seed + i)) for i, e in enumerate(examples)]

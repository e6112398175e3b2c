"""Chapter 8: what pre-training buys, and how quality grows with size and text."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any, Literal

import numpy as np
import torch
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import roc_auc_score
from sklearn.model_selection import GridSearchCV
from sklearn.pipeline import Pipeline
from sklearn.preprocessing import StandardScaler
from torch import Tensor, nn

from book.experiments.registry import Result, Row, draw, experiment
from llmrec_lite.language.attention import TransformerEncoder
from llmrec_lite.language.bpe import BPETokenizer
from llmrec_lite.language.encoder import TextEncoder
from llmrec_lite.language.gpt import GPT, GPTConfig
from llmrec_lite.language.objectives import MaskedLM, pack
from llmrec_lite.language.pretrain import PretrainConfig, pretrain
from llmrec_lite.language.trainer import TrainingHistory
from llmrec_lite.reviews import load_reviews, split_texts

# From 25,000 weights outside the embedding to 2.2 million.
SCALING_SIZES: list[dict[str, Any]] = [
    {"dim": 32, "layers": 2, "heads": 2, "kv_heads": 1, "d_ff": 96},
    {"dim": 64, "layers": 3, "heads": 4, "kv_heads": 2, "d_ff": 192},
    {"dim": 128, "layers": 4, "heads": 4, "kv_heads": 2, "d_ff": 384},
    {"dim": 192, "layers": 5, "heads": 6, "kv_heads": 2, "d_ff": 576},
]


@experiment
def scaling() -> dict[str, Any]:
    """Small GPTs pre-trained on the reviews: three sizes by three amounts of text, and one larger model.

    One tokenizer of 4,000 tokens for all, from the whole training part; 400 updates of 16 rows of 128 tokens
    each (0.8 million tokens read), learning rate 0.002; one seed, two for the largest amount of text.
    """
    text = _Text()
    table = []
    for share in (1, 4, 16):
        for size in SCALING_SIZES[: 4 if share == 1 else 3]:
            for seed in range(2 if share == 1 and size["dim"] <= 128 else 1):
                table.append(_scaled(text, share, size, seed))
    return {"table": table, "bytes_per_token": text.bytes_per_token}


class _Text:
    """Reviews in tokens, to learn from and to stop by."""

    def __init__(self) -> None:
        train, valid, _ = split_texts(load_reviews()["text"], seed=0)
        tokenizer = BPETokenizer.train(train, vocab_size=4000)
        self.end = tokenizer.vocabulary["<|end|>"]
        self.train = [tokenizer.encode(text) for text in train]
        encoded = [tokenizer.encode(text) for text in valid]
        self.valid_rows = pack(encoded, 128, self.end)[::4]
        self.bytes_per_token = sum(len(text.encode()) for text in valid) / sum(len(tokens) + 1 for tokens in encoded)


def _scaled(text: _Text, share: int, size: dict[str, Any], seed: int) -> dict[str, Any]:
    """Pre-train one model on a part of the reviews, one in `share`."""
    reviews = text.train[: len(text.train) // share]
    rows = pack(reviews, 128, text.end)
    model = GPT(GPTConfig(vocab_size=4000, max_length=128, **size), seed=seed)
    config = PretrainConfig(
        steps=400, batch_size=16, learning_rate=0.002, min_learning_rate=0.0002, seed=seed, valid_every=50
    )
    history = pretrain(model, rows, text.valid_rows, config)
    weights = sum(p.numel() for name, p in model.named_parameters() if not name.startswith("embed"))
    return {
        **size,
        "seed": seed,
        "reviews": len(reviews),
        "tokens": rows[:, 1:].numel(),
        "weights": weights,
        "train_loss": float(np.mean(history.train_losses[-20:])),
        "valid_loss": history.valid_losses[-1],
        "best_valid_loss": min(history.valid_losses),
        "valid_curve": history.valid_losses,
        "seconds": sum(history.seconds),
    }


@scaling.check
def _scaling_again(stored: Result, rng: np.random.Generator) -> Iterator[Row]:
    text, share = _Text(), draw(rng, (1, 4, 16))
    yield Row("bytes per token", stored["bytes_per_token"], text.bytes_per_token)
    row = _scaled(text, share, SCALING_SIZES[0], 0)
    yield Row.of(f"the smallest model, 1/{share} of the reviews", stored["table"], row, "dim", "reviews", "seed")


READ_AFTER = (300, 900, 2100)  # steps of pre-training after which a model is asked what it has learned
LABELS = (100, 1000)


@experiment
def pretraining() -> dict[str, Any]:
    """Judge by reviews what pre-training buys: will the customer recommend, from few labels and a frozen model.

    A GPT and a masked model (d 128, four layers, 2,000 tokens) pre-trained on the reviews of train, 32 rows of 96
    tokens a step. Features: mean of the last states. A logistic regression, its strength chosen by
    cross-validation among the labels; labels from validation reviews (ten draws), AUC on 2,000 test reviews.
    """
    (train, valid, test), (y_valid, y_test) = _labeled()
    tokenizer = BPETokenizer.train(train, vocab_size=2000, special_tokens=("<|end|>", "<|mask|>"))
    end, mask = tokenizer.vocabulary["<|end|>"], tokenizer.vocabulary["<|mask|>"]
    rows, valid_rows = (pack([tokenizer.encode(text) for text in part], 96, end) for part in (train, valid))
    ids = {text: torch.tensor([tokenizer.encode(text)[:96]]) for text in [*valid, *test]}
    table: list[dict[str, Any]] = []

    def judge(name: str, steps: int, loss: float | None, x_valid: Any, x_test: Any) -> None:
        for labels in LABELS:
            auc = _judged(name, labels, x_valid, y_valid, x_test, y_test)
            table.append({"model": name, "steps": steps, "labels": labels, "auc": auc, "valid_loss": loss})

    @torch.inference_mode()
    def read(states: Callable[[Tensor], Tensor]) -> tuple[np.ndarray, np.ndarray]:
        vectors = [[states(ids[text])[0].mean(0).numpy() for text in texts] for texts in (valid, test)]
        return np.stack(vectors[0]), np.stack(vectors[1])

    for name in ("TF-IDF", "MiniLM"):
        judge(name, 0, None, *_read_by(name, train, valid, test))
    gpt = GPT(GPTConfig(vocab_size=2000, dim=128, layers=4, heads=4, kv_heads=2, d_ff=384, max_length=97), seed=0)
    masked = MaskedLM(TransformerEncoder(2000, dim=128, heads=4, layers=4, d_ff=512, max_length=97, seed=0), 128, 2000)
    models: list[tuple[str, nn.Module, Callable[[Tensor], Tensor], Literal["causal", "masked"]]] = [
        ("GPT", gpt, gpt.states, "causal"),
        ("masked", masked, masked.encoder, "masked"),
    ]
    for name, model, states, objective in models:
        model.eval()
        judge(name, 0, None, *read(states))

        def watch(
            step: int, history: TrainingHistory, name: str = name, model: nn.Module = model, states: Any = states
        ) -> None:
            if step in READ_AFTER:
                model.eval()
                judge(name, step, history.train_losses[-1], *read(states))
                model.train()

        config = PretrainConfig(
            steps=READ_AFTER[-1],
            batch_size=32,
            learning_rate=0.002,
            min_learning_rate=0.0002,
            warmup=100,
            valid_every=300,
        )
        history = pretrain(
            model, rows, valid_rows[:160], config, objective, mask_id=mask, special_ids=[end], on_step=watch
        )
        for row in table:
            if row["model"] == name and row["steps"] in history.valid_steps:
                row["valid_loss"] = history.valid_losses[history.valid_steps.index(row["steps"])]
    return {"table": table}


def _labeled() -> tuple[tuple[list[str], list[str], list[str]], tuple[np.ndarray, np.ndarray]]:
    """Return train, validation and 2,000 test reviews, and of the last two whether the customer recommends."""
    reviews = load_reviews()
    train, valid, test = split_texts(reviews["text"], seed=0)
    recommended = dict(zip(reviews["text"], reviews["recommended"], strict=True))
    y_valid, y_test = (np.array([recommended[text] for text in texts]) for texts in (valid, test[:2000]))
    return (train, valid, test[:2000]), (y_valid, y_test)


def _judged(name: str, labels: int, x_valid: Any, y_valid: Any, x_test: Any, y_test: Any) -> list[float]:
    """Return the AUC of a logistic regression on features after ten draws of labels."""
    auc = []
    for seed in range(10):
        some = np.random.default_rng(seed).permutation(len(y_valid))[:labels]
        scale = "passthrough" if name == "TF-IDF" else StandardScaler()
        steps = [("scale", scale), ("judge", LogisticRegression(max_iter=2000))]
        choose = GridSearchCV(
            Pipeline(steps), {"judge__C": [1e-4, 1e-3, 1e-2, 0.1, 1.0, 10.0]}, cv=3, scoring="roc_auc"
        )
        told = choose.fit(x_valid[some], y_valid[some]).decision_function(x_test)
        auc.append(float(roc_auc_score(y_test, told)))
    return auc


def _read_by(name: str, train: list[str], valid: list[str], test: list[str]) -> tuple[Any, Any]:
    """Return the features of a rival that is not pre-trained here."""
    if name == "MiniLM":
        encoder = TextEncoder()
        return encoder.encode(valid), encoder.encode(test)
    vectorizer = TfidfVectorizer(sublinear_tf=True, min_df=2).fit(train)
    return vectorizer.transform(valid), vectorizer.transform(test)


@pretraining.check
def _pretraining_again(stored: Result, rng: np.random.Generator) -> Iterator[Row]:
    texts, (y_valid, y_test) = _labeled()
    for name in ("TF-IDF", "MiniLM"):
        labels = draw(rng, LABELS)
        x_valid, x_test = _read_by(name, *texts)
        row = {"model": name, "labels": labels, "auc": _judged(name, labels, x_valid, y_valid, x_test, y_test)}
        yield Row.of(f"{name}, {labels} labels", stored["table"], row, "model", "labels")

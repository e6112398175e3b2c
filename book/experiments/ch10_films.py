"""Experiments of chapter 10 on films: does this user like this film, asked in words."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from math import sqrt
from typing import Any

import numpy as np
import pandas as pd
import torch
from scipy.special import expit, logit
from torch import nn
from tqdm.auto import tqdm

from book.experiments.ch09_text_as_features import with_interval
from book.experiments.ch10_tuning import labels_of, some
from book.experiments.registry import Result, Row, draw, experiment, find
from llmrec_lite import splits
from llmrec_lite.data import LIKED, Dataset, load_movielens
from llmrec_lite.evaluate import compare, evaluate
from llmrec_lite.language.auc import auc, auc_interval, auc_within
from llmrec_lite.language.finetune import FinetuneConfig, finetune
from llmrec_lite.language.gpt import GPT
from llmrec_lite.language.lora import LoRALinear
from llmrec_lite.language.preferences import Preference, Style, item_positive_rate, preference_split, user_positive_rate
from llmrec_lite.language.text_models import BiEncoder, Example, TextClassifier
from llmrec_lite.language.text_recommender import TextRecommender
from llmrec_lite.language.yes_no import YesNoClassifier
from llmrec_lite.recommenders import BaseRecommender


def begin_again(model: nn.Module, seed: int) -> None:
    """Set every LoRA back to its beginning, A random and B zero; what a model keeps of frozen layers stays valid."""
    generator = torch.Generator().manual_seed(seed)
    for module in model.modules():
        if isinstance(module, LoRALinear):
            nn.init.kaiming_uniform_(module.A, sqrt(5), generator=generator)
            nn.init.zeros_(module.B)


SHOTS = (16, 64, 256)
BASELINES = ("like share", "item rate", "both", "both, earlier ratings only")


def earlier_item_rate(data: Dataset, known: Dataset, examples: Sequence[Preference]) -> np.ndarray:
    """Return `item_positive_rate` from the ratings in `known` before the one asked about in `data`, (n,)."""
    times = data.interactions["timestamp"].to_numpy()
    asked = dict(zip(zip(data.user_index, data.item_index, strict=True), times, strict=True))
    rates = []
    for example in examples:
        before = known.interactions["timestamp"].to_numpy() < asked[example.user, example.item]
        rates.append(item_positive_rate(known.with_interactions(known.interactions[before]), [example])[0])
    return np.array(rates)


@experiment
def few_shot() -> dict[str, Any]:
    """Ask SmolLM2 and MiniLM whether a user likes a film, after 0, 16, 64 and 256 examples; three draws each.

    Users of train, validation and test are different people; the last three ratings of each are asked about, the ten
    before are told. SmolLM2: LoRA in its top four layers, answer Yes or No; MiniLM: LoRA in its top two. Two learning
    rates each, chosen on the first draw of 64; epochs and early stopping by 71 validation examples. Baselines read
    no text: the share of likes told, the item's rate of likes among train users' ratings, both as odds.
    """
    data = load_movielens()
    known, train, valid, test = preference_split(data, asked=3)
    y, users, valid = labels_of(test), np.array([e.user for e in test]), valid[::4]
    table, scores = [], _without_text(data, known, test)

    def study(name: str, make: Callable[[int], Any], style: Style, rates: tuple[float, float]) -> None:
        parts = [[replace(e, style=style) for e in part] for part in (train, valid, test)]

        def run(n: int, seed: int, rate: float) -> tuple[float, dict[str, Any], np.ndarray]:
            return _shown(name, make(seed), parts, n, seed, rate)

        tried = {rate: run(64, 0, rate) for rate in rates}
        rate = min(tried, key=lambda rate: tried[rate][0])
        for n in SHOTS:
            told = []
            for seed in range(3):
                _, row, scored = tried[rate] if (n, seed) == (64, 0) else run(n, seed, rate)
                table.append({**row, "auc": auc(y, scored), "within": auc_within(y, scored, users)})
                told.append(scored)
            scores[name, n] = np.stack(told)

    study("MiniLM", _minilm, "text", (0.001, 0.003))
    asked = YesNoClassifier(GPT.from_pretrained("smollm2"), train="lora-top4")
    asked.cache_bytes = 4 * 2**30
    chats = [replace(e, style="chat") for e in test]
    with torch.no_grad():  # keeps the states below the upper four layers
        for i in tqdm(range(0, len(chats), 16), desc="zero-shot"):
            asked.loss(chats[i : i + 16])
    scores["SmolLM2", 0] = asked.predict(chats)[None]

    def again(seed: int) -> YesNoClassifier:
        begin_again(asked, seed)
        return asked

    study("SmolLM2", again, "chat", (0.001, 0.003))
    summary = _summary(scores, y, users)
    best = scores["SmolLM2", 256].mean(0)
    stars = dict(zip(zip(data.user_index, data.item_index, strict=True), data.ratings, strict=True))
    points = [{"stars": float(stars[e.user, e.item]), "yes": float(p)} for e, p in zip(test, best, strict=True)]
    return {"table": table, "summary": summary, "points": points, "n_known": len(known.interactions), "n": len(test)}


def _without_text(data: Dataset, known: Dataset, test: Sequence[Preference]) -> dict[tuple[str, int], np.ndarray]:
    """Return what the baselines say of the test, (1, n) each."""
    simple = [user_positive_rate(test)[None], item_positive_rate(known, test)[None]]
    simple.append(expit(logit(simple[0]) + logit(simple[1])))
    simple.append(expit(logit(simple[0]) + logit(earlier_item_rate(data, known, test))))
    return {(name, 0): told for name, told in zip(BASELINES, simple, strict=True)}


def _minilm(seed: int) -> TextClassifier:
    return TextClassifier(train="lora-top2", seed=seed)


def _shown(
    name: str, model: Any, parts: Sequence[Sequence[Preference]], n: int, seed: int, rate: float
) -> tuple[float, dict[str, Any], np.ndarray]:
    """Tune a model on n examples; return the validation loss, a row of the table, and what it says of the test."""
    config = FinetuneConfig(n_epochs={16: 8, 64: 6, 256: 3}[n], learning_rate=rate, seed=seed, patience=2, device="cpu")
    began = time.perf_counter()
    history = finetune(model, some(parts[0], n, seed), parts[1], config, progress=False)
    row = {"model": name, "n": n, "seed": seed, "learning_rate": rate, "best_step": history.best_step}
    row |= {"valid_loss": min(history.valid_losses), "seconds": time.perf_counter() - began}
    return min(history.valid_losses), row, model.predict(parts[2])


def _summary(scores: Mapping[tuple[str, int], np.ndarray], y: np.ndarray, users: np.ndarray) -> list[dict[str, Any]]:
    summary = []
    for (name, n), told in scores.items():
        low, high = auc_interval(y, told, groups=users)
        row = {"model": name, "n": n, "auc": auc(y, told), "low": low, "high": high}
        row["within"] = float(np.mean([auc_within(y, scored, users) for scored in told]))
        row["lead_low"], row["lead_high"] = auc_interval(y, told, rival=scores["both", 0], groups=users)
        summary.append(row)
    return summary


@few_shot.check
def _few_shot_again(stored: Result, rng: np.random.Generator) -> Iterator[Row]:
    data = load_movielens()
    known, train, valid, test = preference_split(data, asked=3)
    y, users = labels_of(test), np.array([e.user for e in test])
    yield Row("examples", (stored["n_known"], stored["n"]), (len(known.interactions), len(test)))
    summary = _summary(_without_text(data, known, test), y, users)
    yield Row.of("baselines", stored["summary"], summary, "model", "n")
    seed = draw(rng, range(3))
    rate = find(stored["table"], model="MiniLM", n=16)["learning_rate"]
    _, row, told = _shown("MiniLM", _minilm(seed), (train, valid[::4], test), 16, seed, rate)
    row |= {"auc": auc(y, told), "within": auc_within(y, told, users)}
    yield Row.of(f"MiniLM, 16 examples, draw {seed}", stored["table"], row, "model", "n", "seed")


def liked_pairs(train: Dataset, n: int, seed: int, told: int = 5) -> list[Example]:
    """Draw pairs to match: somebody told by five films they liked, and the text of another film they liked."""
    rng, titles, texts = np.random.default_rng(seed), train.labels().to_numpy(), train.items["text"].to_numpy()
    likes = train.ratings >= LIKED
    pairs = []
    for user, items in pd.Series(train.item_index[likes]).groupby(train.user_index[likes]):
        if len(items) > told:
            for item in rng.permutation(items)[: 1 + 2 * n // train.n_users]:
                others = rng.permutation(items[items != item])[:told]
                pairs.append(Example(taste(titles[others]), other=texts[item], user=int(str(user)), item=int(item)))
    return some(pairs, n, seed)


def taste(titles: Sequence[str]) -> str:
    """Write what somebody likes, as a text to be matched with an item's."""
    return f"Somebody who likes {'; '.join(titles)}."


class Matched(BaseRecommender):
    """Score an item by the cosine of its text and of the words for a user's last five likes.

    Args:
        model: gives the vectors.
    """

    def __init__(self, model: BiEncoder) -> None:
        self.model = model

    def _fit(self, train: Dataset) -> None:
        titles, order = train.labels().to_numpy(), train.time_order
        liked = order[train.ratings[order] >= LIKED]
        last = pd.Series(train.item_index[liked]).groupby(train.user_index[liked]).agg(lambda items: list(items)[-5:])
        words = [taste(titles[last.get(user, [])]) for user in range(train.n_users)]
        self.users_, self.items_ = self.model.encode(words), self.model.encode(train.items["text"].tolist())

    def _score(self, users: np.ndarray) -> np.ndarray:
        return self.users_[users] @ self.items_.T


@experiment
def matching() -> dict[str, Any]:
    """Rank new films by MiniLM before and after contrastive fine-tuning on 1,500 pairs of likes and a film liked.

    Three draws of a fifth of the films, those of `new_items`. LoRA in the top two layers, one setting (learning rate
    0.001, two epochs, batches of 32): nothing was searched. Three uses of the vectors: the cosine of the words for a
    user's last five likes and of the film's text; a profile; a ridge (both with their defaults).
    """
    data, table, gaps = load_movielens(), [], []
    for seed in tqdm(range(3), desc="draws"):
        train, test = splits.cold_items(data, 0.2, seed=seed)
        new = np.unique(test.item_index)
        model = _bi_encoder(seed)
        uses = _uses(model)
        before = {use: evaluate(r.fit(train), train, test, candidates=new) for use, r in uses.items()}
        config = FinetuneConfig(n_epochs=2, batch_size=32, learning_rate=0.001, seed=seed, device="cpu")
        finetune(model, liked_pairs(train, 1500, seed), None, config, progress=False)
        after = {use: evaluate(r.fit(train), train, test, candidates=new) for use, r in uses.items()}
        for use in uses:
            for name, report in (("before", before[use]), ("after", after[use])):
                table.append({"use": use, "tuned": name, "seed": seed, **with_interval(report)})
            gap = compare(after[use], before[use]).loc["ndcg"].to_dict()
            gaps.append({"use": use, "seed": seed, **gap})
    return {"table": table, "gaps": gaps}


def _bi_encoder(seed: int) -> BiEncoder:
    return BiEncoder(train="lora-top2", seed=seed, max_length=96)


def _uses(model: BiEncoder) -> dict[str, BaseRecommender]:
    return {
        "words": Matched(model),
        "profile": TextRecommender(model, head="profile"),
        "ridge": TextRecommender(model),
    }


@matching.check
def _matching_again(stored: Result, rng: np.random.Generator) -> Iterator[Row]:
    seed, rows = draw(rng, range(3)), []
    train, test = splits.cold_items(load_movielens(), 0.2, seed=seed)
    for use, recommender in _uses(_bi_encoder(seed)).items():
        report = evaluate(recommender.fit(train), train, test, candidates=np.unique(test.item_index))
        rows.append({"use": use, "tuned": "before", "seed": seed, **with_interval(report)})
    yield Row.of(f"before tuning, draw {seed}", stored["table"], rows, "use", "tuned", "seed")

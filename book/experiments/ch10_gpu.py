"""Experiments of chapter 10 that need a graphics card: how much faster it is, and what more examples buy."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from statistics import median
from typing import Any, Literal

import numpy as np
import torch
from scipy.special import expit, logit
from torch import nn

from book.experiments.ch10_tuning import labels_of, review_examples, some
from book.experiments.registry import Result, Row, experiment
from llmrec_lite.data import Dataset, load_movielens
from llmrec_lite.language.auc import auc, auc_interval, auc_within
from llmrec_lite.language.finetune import FinetuneConfig, finetune
from llmrec_lite.language.gpt import GPT
from llmrec_lite.language.preferences import Preference, item_positive_rate, preference_split, user_positive_rate
from llmrec_lite.language.text_models import Example, TextClassifier
from llmrec_lite.language.yes_no import YesNoClassifier

# How a step is computed: device, precision, compiled.
HOW: dict[str, tuple[str, Literal["float32", "bfloat16"], bool]] = {
    "CPU": ("cpu", "float32", False),
    "GPU, float32": ("cuda", "float32", False),
    "GPU, bfloat16": ("cuda", "bfloat16", False),
    "GPU, bfloat16, compiled": ("cuda", "bfloat16", True),
}
RATES = (3e-4, 1e-3)


def seconds_a_step(model: nn.Module, examples: Sequence[Example], config: FinetuneConfig) -> tuple[float, float]:
    """Return the median seconds of a step after the first five, and the memory of the GPU at its highest, in GiB."""
    if config.device == "cuda":
        torch.cuda.reset_peak_memory_stats()
    seconds = finetune(model, examples, None, config, progress=False).seconds[5:]
    peak = torch.cuda.max_memory_allocated() / 2**30 if config.device == "cuda" else 0.0
    torch.cuda.empty_cache()
    return median(seconds), peak


def asked_in_chat(asked: int) -> tuple[Dataset, list[Preference], list[Preference], list[Preference]]:
    """Return `preference_split` with its questions as chats."""
    known, *parts = preference_split(load_movielens(), asked=asked)
    train, valid, test = ([replace(e, style="chat") for e in part] for part in parts)
    return known, train, valid, test


def _need_a_gpu() -> str:
    if not torch.cuda.is_available():
        raise ValueError("this experiment needs a CUDA device, and there is none here")
    return torch.cuda.get_device_name()


@experiment
def gpu_speed() -> dict[str, Any]:
    """Seconds a step of fine-tuning on a CUDA device, beside the CPU of the same machine.

    Batches of 16: full MiniLM on reviews cut after 64 tokens, and LoRA in all layers of SmolLM2 on questions about
    films as chats. The median of 20 steps after 5 (of 3 after 5 for SmolLM2 on the CPU). `in_all` has what comes
    before the steps: loading, compiling. Only MiniLM is compiled; SmolLM2 took minutes.
    """
    gpu, table = _need_a_gpu(), []
    makers: dict[str, tuple[Callable[[], nn.Module], Sequence[Example]]] = {
        "MiniLM, full": (lambda: TextClassifier(max_length=64, train="full"), review_examples()[0]),
        "SmolLM2, LoRA": (lambda: YesNoClassifier(GPT.from_pretrained("smollm2"), train="lora"), asked_in_chat(3)[1]),
    }
    for how, (device, precision, compiled) in HOW.items():
        for name, (make, examples) in list(makers.items())[: 1 if compiled else None]:
            steps = 8 if (device, name) == ("cpu", "SmolLM2, LoRA") else 25
            config = FinetuneConfig(
                max_steps=steps, learning_rate=1e-4, device=device, precision=precision, compile=compiled
            )
            began = time.perf_counter()
            seconds, gib = seconds_a_step(make(), examples, config)
            row = {"model": name, "how": how, "seconds": seconds, "gib": gib}
            table.append(row | {"in_all": time.perf_counter() - began})
            print(table[-1], flush=True)
    return {"table": table, "gpu": gpu}


@experiment
def few_shot_gpu() -> dict[str, Any]:
    """Ask SmolLM2 with LoRA in all 30 layers whether a user likes a film, after 256 and after thousands of examples.

    The 564 questions of `few_shot`, in bfloat16 on a CUDA device. 256 examples for three epochs (three draws), all
    examples of `few_shot` for two (three seeds), the last 20 ratings of each of the same users for one (one seed).
    Two learning rates, chosen by the validation loss of the first draw of 256; of about eight validations the best
    is kept.
    """
    gpu = _need_a_gpu()
    known, train, valid, test = asked_in_chat(3)
    more = asked_in_chat(20)[1]
    y, users = labels_of(test), np.array([e.user for e in test])
    both = _both(known, test)

    def run(examples: Sequence[Example], epochs: int, seed: int, rate: float) -> tuple[dict[str, Any], np.ndarray]:
        model = YesNoClassifier(GPT.from_pretrained("smollm2"), train="lora", seed=seed)
        config = FinetuneConfig(n_epochs=epochs, learning_rate=rate, seed=seed, patience=8, device="cuda")
        config = replace(config, valid_every=max(1, config.steps(len(examples)) // 8))
        history = finetune(model, examples, valid, config, progress=False)
        told = model.predict(test)
        row: dict[str, Any] = {"n": len(examples), "seed": seed, "learning_rate": rate}
        row |= {
            "valid_loss": min(history.valid_losses),
            "auc": auc(y, told),
            "within": auc_within(y, told, users),
            "best_step": history.best_step,
        }
        row |= {"steps": len(history.seconds), "seconds": sum(history.seconds)}
        print(row, flush=True)
        return row, told

    table, summary = [], []
    tried = {rate: run(some(train, 256, 0), 3, 0, rate) for rate in RATES}
    rate = min(tried, key=lambda rate: tried[rate][0]["valid_loss"])
    for pool, n, epochs, seeds in ((train, 256, 3, 3), (train, len(train), 2, 3), (more, len(more), 1, 1)):
        told = []
        for seed in range(seeds):
            row, scored = tried[rate] if (n, seed) == (256, 0) else run(some(pool, n, seed), epochs, seed, rate)
            table.append(row)
            told.append(scored)
        scores = np.stack(told)
        low, high = auc_interval(y, scores, groups=users)
        line = {"n": n, "seeds": seeds, "auc": auc(y, scores), "low": low, "high": high}
        line["within"] = float(np.mean([auc_within(y, scored, users) for scored in told]))
        line["lead_low"], line["lead_high"] = auc_interval(y, scores, rival=both[None], groups=users)
        summary.append(line)
    return {"table": table, "summary": summary, "both": auc(y, both), "gpu": gpu}


def _both(known: Dataset, test: Sequence[Preference]) -> np.ndarray:
    """Return what the baseline of `few_shot` says that adds the odds of user and item, (n,)."""
    return expit(logit(user_positive_rate(test)) + logit(item_positive_rate(known, test)))


@few_shot_gpu.check
def _few_shot_gpu_again(stored: Result, rng: np.random.Generator) -> Iterator[Row]:
    known, train, _, test = asked_in_chat(3)
    yield Row("both, the baseline", stored["both"], auc(labels_of(test), _both(known, test)))
    sizes = [256, len(train), len(asked_in_chat(20)[1])]
    yield Row("examples to learn from", [row["n"] for row in stored["summary"]], sizes)

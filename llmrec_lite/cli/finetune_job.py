"""Chapter 10: the job of `llmrec finetune`: examples, training, and a report."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch

from llmrec_lite.cli.options import DataSource
from llmrec_lite.compute import pick_device
from llmrec_lite.errors import DataError, ModelFileError, SettingError
from llmrec_lite.files import atomic_file, write_json
from llmrec_lite.frames import as_text
from llmrec_lite.language.auc import auc, auc_interval
from llmrec_lite.language.finetune import FinetuneConfig, finetune
from llmrec_lite.language.gpt import GPT
from llmrec_lite.language.lora import load_adapter, read_adapter, save_adapter, trainable_parameters
from llmrec_lite.language.preferences import item_positive_rate, preference_split, user_positive_rate
from llmrec_lite.language.pretrained import model_folder, read_json
from llmrec_lite.language.text_models import Example, TextClassifier
from llmrec_lite.language.yes_no import YesNoClassifier
from llmrec_lite.tables import read_table
from llmrec_lite.text import normalize_text

RATES = {"head": 1e-2, "lora": 3e-3, "top": 2e-4, "full": 5e-5}  # learning rate by what learns
MAX_VALID, MAX_TEST = 100, 500
MODEL, CHECKPOINTS = "model.safetensors", "checkpoint"


def run_job(
    out: Path,
    say: Callable[[str], None],
    *,
    model: str = "minilm",
    train: str | None = None,
    examples: int = 512,
    learning_rate: float | None = None,
    texts: Path | None = None,
    source: DataSource | None = None,
    **training: Any,
) -> dict[str, Any]:
    """Report of a training, new or resumed from `out`; the options are those of `llmrec finetune --help`.

    It holds settings; counts of weights, examples and steps; metrics: AUC with its 95% interval on test, of the model
    ("fine-tuned") and, for ratings, of two baselines that read no text, and the lead over the better one.

    Raises:
        ModelFileError: the model is not there, or `out` holds another training or cannot be written.
    """
    about: dict[str, Any] = {"model_type": "llama"} if model == "smollm2" else {}
    if model not in ("minilm", "smollm2"):
        about = read_json(model_folder(model) / "config.json")
    name = str(Path(model).resolve()) if Path(model).is_dir() else model
    chat = about.get("model_type") == "llama"
    train = train or f"lora-top{min(4 if chat else 2, about.get('num_hidden_layers', 4))}"
    if not (kind := re.match("head|lora|top|full", train)):
        raise SettingError(f"--train must be head, full, top<k>, lora or lora-top<k>, not {train!r}")
    config = FinetuneConfig(learning_rate=RATES[kind[0]] if learning_rate is None else learning_rate, **training)
    try:
        torch.empty(0, device=pick_device(config.device))
    except (RuntimeError, AssertionError) as error:
        raise SettingError(f"torch cannot use --device {config.device} here; take auto or cpu") from error
    source = source or DataSource()
    if texts is not None and (chat or source.has_files or source.data is not None):
        raise SettingError("give --texts and an encoder, or --interactions with --items or without, or none of them")
    ratings = None
    if texts is not None:
        parts = text_parts(texts, config.seed, separator=source.separator, encoding=source.encoding)
    else:
        ratings, *parts = preference_split(source.load(), style="chat" if chat else "text", seed=config.seed)
    for i, most in enumerate((examples, MAX_VALID, MAX_TEST)):
        parts[i] = [parts[i][row] for row in np.random.default_rng(config.seed).permutation(len(parts[i]))[:most]]
        if not parts[i] or (i != 1 and len({e.label for e in parts[i]}) < 2):
            raise SettingError(f"{len(parts[i])} examples of train, valid or test are not of both kinds; bring more")
    if (out / MODEL).exists() and not (out / CHECKPOINTS).exists():
        raise ModelFileError(f"{out} holds another {MODEL}, which would be lost; take another --out")
    how: dict[str, Any] = {"train": train, "seed": config.seed}
    if not chat:
        how["max_length"] = min(128, about.get("max_position_embeddings", 128))
    with config.explain_oom():
        net = YesNoClassifier(GPT.from_pretrained(name), **how) if chat else TextClassifier(name, **how)
        learns, weights = trainable_parameters(net)
        counts = {"learns": learns, "weights": weights}
        counts |= dict(zip(("train", "valid", "test"), map(len, parts), strict=True))
        counts["steps"] = config.steps(len(parts[0]))
        say(f"{model}, {train}: {learns:,} of {weights:,} weights learn; learning rate {config.learning_rate}.")
        say(f"Examples: {len(parts[0])} train, {len(parts[1])} valid, {len(parts[2])} test. Steps: {counts['steps']}.")
        config = replace(config, checkpoint_every=10 if learns < 5e6 else 50)  # a large one takes seconds to write
        try:
            history = finetune(net, parts[0], parts[1], config, out / CHECKPOINTS)
            scores = {"fine-tuned": net.predict(parts[2])}
            if isinstance(net, TextClassifier):
                net.save(out / MODEL)
            else:
                save_adapter(net, out / MODEL, {"gpt": name, **how})
            with atomic_file(out / "history.csv") as part:
                history.frame().to_csv(part)
        except OSError as error:
            raise ModelFileError(f"{error}; free some space, or take another --out or --log-dir") from error
    y, users = [e.label for e in parts[2]], None
    if ratings is not None:
        users = [e.user for e in parts[2]]
        scores |= {"like share": user_positive_rate(parts[2]), "item rate": item_positive_rate(ratings, parts[2])}
    best, steps = history.best_step, len(history.train_losses)
    metrics: dict[str, Any] = {"steps": steps, "best_step": best, "kept_step": best if config.patience else steps}
    found = {key: (auc(y, p), *auc_interval(y, p, groups=users)) for key, p in scores.items()}
    if ratings is not None:
        rival = max(("like share", "item rate"), key=lambda key: found[key][0])
        lead = found["fine-tuned"][0] - found[rival][0]
        ends = auc_interval(y, scores["fine-tuned"], rival=scores[rival], groups=users)
        found[f"lead over {rival}"] = (lead, *ends)
    metrics["test"] = {key: dict(zip(("auc", "low", "high"), row, strict=True)) for key, row in found.items()}
    settings = {"model": name, "train": train, "examples": examples, **asdict(config)}
    report = {"settings": settings, "counts": counts, "metrics": metrics}
    write_json(out / "report.json", report)
    return report


def load_finetuned(folder: str | Path) -> TextClassifier | YesNoClassifier:
    """Model that was trained with `--out folder`; its `predict(examples)` gives p(yes), (n,).

    Raises:
        ModelFileError: the file is missing or damaged, or its base model is not there or has changed.
    """
    path = Path(folder) / MODEL
    settings = dict(read_adapter(path)[1]["settings"])
    if "gpt" not in settings:
        return TextClassifier.load(path)
    return load_adapter(YesNoClassifier(GPT.from_pretrained(settings.pop("gpt")), **settings), path).eval()


def text_parts(path: Path, seed: int, **how: Any) -> list[list[Any]]:
    """Train, validation and test, 70, 10 and 20 of 100, of a file of texts and labels, equal texts together."""
    table = read_table(path, **how)
    if missing := {"text", "label"} - set(table.columns):
        raise DataError(f"{path} lacks the column {min(missing)!r}; it has {list(table.columns)}")
    words = table["text"].fillna("").astype(str).map(normalize_text)
    told = as_text(table["label"]).str.strip().replace({"True": "1", "true": "1", "False": "0", "false": "0"})
    labels = pd.to_numeric(told, errors="coerce").astype(float)
    wrong = (words == "") | ~labels.isin([0, 1])
    if wrong.any():
        row = int(wrong.to_numpy().argmax())
        text, label = table["text"].iloc[row], table["label"].iloc[row]
        raise DataError(f"{path}, row {row + 1}: text={text!r}, label={label}; give a text and 0 or 1, or drop it")
    codes, different = words.factorize()
    if (n := len(different)) < 10:
        raise SettingError(f"{path}: {n} different texts are too few for train, validation and test; bring 10 or more")
    percent = np.random.default_rng(seed).permutation(np.arange(n) * 100 // n)[codes]
    rows = (np.flatnonzero((low <= percent) & (percent < high)) for low, high in ((0, 70), (70, 80), (80, 100)))
    return [[Example(words.iloc[i], labels.iloc[i]) for i in part] for part in rows]

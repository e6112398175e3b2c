"""Chapter 10: what `llmrec finetune` does: examples, a training that can be killed and goes on, and a report."""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch

from llmrec_lite.compute import pick_device
from llmrec_lite.data import Dataset, load_movielens, read_table
from llmrec_lite.errors import DataError, ModelFileError, SettingError
from llmrec_lite.files import atomic_file, remove_unfinished, write_json
from llmrec_lite.language.auc import auc, auc_interval
from llmrec_lite.language.checkpoint import fingerprint, latest_checkpoint, locked
from llmrec_lite.language.finetune import _NOT_THE_RESULT, FinetuneConfig, finetune
from llmrec_lite.language.gpt import GPT
from llmrec_lite.language.lora import load_adapter, read_adapter, save_adapter, trainable_parameters
from llmrec_lite.language.preferences import Style, item_rate, like_share, preference_split
from llmrec_lite.language.pretrained import model_folder
from llmrec_lite.language.text_models import Example, TextClassifier
from llmrec_lite.language.trainer import name_the_mends
from llmrec_lite.language.yes_no import YesNo
from llmrec_lite.text import normalize_text

RATES = {"head": 1e-2, "lora": 3e-3, "top": 2e-4, "full": 5e-5}  # learning rate by what learns
MOST_VALID, MOST_TEST = 100, 500
MODEL, HISTORY, REPORT, CHECKPOINTS = "model.safetensors", "history.csv", "report.json", "checkpoint"


def run_job(
    out: Path,
    say: Callable[[str], None],
    *,
    model: str = "minilm",
    train: str | None = None,
    examples: int = 512,
    learning_rate: float | None = None,
    texts: Path | None = None,
    interactions: Path | None = None,
    items: Path | None = None,
    **training: Any,
) -> dict[str, Any]:
    """Train and measure, or go on with it, or only return its report where that has been done.

    What can be chosen is explained by `llmrec finetune --help`; `training` is the rest of a `FinetuneConfig`, and `say`
    takes what there is to tell on the way, a line at a time.

    Returns:
        settings; counts (weights that learn, weights, examples of each part, steps at most); metrics: steps done, the
        best one, the one whose weights are kept, its validation loss, and AUC with its 95% interval on test, of the
        model ("fine-tuned") and, for ratings, of two predictors that read no text, and the lead over their better.

    Raises:
        ValueError: a setting is wrong, or does not go with another; DataError where a file is.
        ModelFileError: `out` holds another training, is in use, damaged, or cannot be written.
        ModelFileError: the model is not there.
        MemoryError, FloatingPointError: see `finetune`.
    """
    name, about = _base(model)
    chat = about.get("model_type") == "llama"
    train = train or f"lora-top{min(4 if chat else 2, about.get('num_hidden_layers') or 4)}"
    if not (kind := re.match("head|lora|top|full", train)):
        raise SettingError(f"--train must be head, full, top<k>, lora or lora-top<k>, not {train!r}")
    config = FinetuneConfig(learning_rate=RATES[kind[0]] if learning_rate is None else learning_rate, **training)
    try:
        torch.empty(0, device=pick_device(config.device))
    except (RuntimeError, AssertionError) as error:
        raise SettingError(f"torch cannot use --device {config.device} here; take auto or cpu") from error
    if texts is not None and chat:
        raise SettingError("--texts needs an encoder such as --model minilm; a chat model would need a question too")
    known, parts = _parts(texts, interactions, items, "chat" if chat else "text", examples, config.seed)
    settings = {"model": name, "train": train, "examples": examples, **asdict(config), "data": fingerprint(repr(parts))}
    settings = {key: value for key, value in settings.items() if key not in _NOT_THE_RESULT}
    with _mends_named(), locked(out), name_the_mends(config.batch_size, config.accumulate):
        report = _so_far(out, settings)
        if "metrics" in report:
            say(f"{out} holds this training, and it has finished: nothing is trained again.")
            return report
        how: dict[str, Any] = {"train": train, "seed": config.seed}
        how |= {} if chat else {"max_length": min(128, about.get("max_position_embeddings") or 128)}
        net = YesNo(GPT.from_pretrained(name), **how) if chat else TextClassifier(name, **how)
        learns, weights = trainable_parameters(net)
        sizes = dict(zip(("train", "valid", "test"), map(len, parts), strict=True))
        report = {"settings": settings, "counts": {"learns": learns, "weights": weights, **sizes}}
        report["counts"]["steps"] = config.steps(sizes["train"])
        say(f"{model}, {train}: {learns:,} of {weights:,} weights learn; learning rate {config.learning_rate}.")
        say(f"Examples: {', '.join(f'{n} {part}' for part, n in sizes.items())}. Steps: {report['counts']['steps']}.")
        if step := step_reached(out):
            say(f"Going on from step {step}.")
        write_json(out / REPORT, report)
        config = replace(config, checkpoint_every=10 if learns < 5e6 else 50)  # a large one takes seconds to write
        history = finetune(net, parts[0], parts[1], config, out / CHECKPOINTS)
        best, steps = history.best_step, len(history.train_losses)
        kept, loss = (best, min(history.valid_losses)) if config.patience else (steps, history.valid_losses[-1])
        report["metrics"] = {"steps": steps, "best_step": best, "kept_step": kept, "valid_loss": loss}
        report["metrics"] |= _on_test(net, known, parts[2])
        if isinstance(net, TextClassifier):
            net.save(out / MODEL)
        else:
            save_adapter(net, out / MODEL, {"gpt": name, **how})
        with atomic_file(out / HISTORY) as part:
            history.frame().to_csv(part)
        write_json(out / REPORT, report)  # the last one: it says that all is there
        shutil.rmtree(out / CHECKPOINTS, ignore_errors=True)
    return report


def load_finetuned(folder: str | Path) -> TextClassifier | YesNo:
    """Return the model that was trained with `--out folder`; its `predict(examples)` gives p(yes), (n,).

    Raises:
        ModelFileError: the file is missing or damaged, or its base model has changed.
        ModelFileError: the base model is not there.
    """
    path = Path(folder) / MODEL
    settings = dict(read_adapter(path)[1]["settings"])
    if "gpt" not in settings:
        return TextClassifier.load(path)
    return load_adapter(YesNo(GPT.from_pretrained(settings.pop("gpt")), **settings), path).eval()


def text_parts(path: Path, seed: int) -> list[list[Any]]:
    """Read texts and labels; deal them out to train, validation and test, 70, 10 and 20 of 100, equal ones together.

    Raises:
        DataError: the file cannot be read, lacks a column, or has a wrong value, whose row is named, from 1.
        ValueError: there are fewer than 10 different texts.
    """
    table = read_table(path)
    if missing := {"text", "label"} - set(table.columns):
        raise DataError(f"{path} lacks the column {min(missing)!r}; it has {list(table.columns)}")
    words = table["text"].fillna("").astype(str).map(normalize_text)
    labels = pd.to_numeric(table["label"], errors="coerce").astype(float)
    for column, wrong, mend in (("text", words == "", "give one"), ("label", ~labels.isin([0, 1]), "make it 0 or 1")):
        if wrong.any():
            value = table[column].iloc[row := int(wrong.to_numpy().argmax())]
            what = "is missing" if pd.isna(value) or not str(value).strip() else f"is {str(value)!r}"
            raise DataError(f"{path}, row {row + 1}: the {column} {what}; {mend}, or drop the row")
    codes, different = words.factorize()
    if (n := len(different)) < 10:
        raise SettingError(f"{path}: {n} different texts are too few for train, validation and test; bring 10 or more")
    place = np.random.default_rng(seed).permutation(np.arange(n) * 100 // n)[codes]
    rows = (np.flatnonzero((low <= place) & (place < high)) for low, high in ((0, 70), (70, 80), (80, 100)))
    return [[Example(words.iloc[i], labels.iloc[i]) for i in part] for part in rows]


def step_reached(out: Path) -> int:
    """Return the step of the last checkpoint, 0 where there is none."""
    path = latest_checkpoint(out / CHECKPOINTS)
    return int(path.name.rpartition("-")[2]) if path else 0


def _base(model: str) -> tuple[str, dict[str, Any]]:
    """Return the name of a model, the same from everywhere, and its config.json where it is not one of the book."""
    if model.lower() in ("minilm", "smollm2"):
        return model.lower(), {"model_type": "llama" if model.lower() == "smollm2" else "bert"}
    try:
        folder, about = model_folder(model), {}
    except ModelFileError as error:
        raise ModelFileError(f"{error} Or take --model minilm.") from error
    with suppress(OSError, ValueError):  # what loads the model will say it better
        about = json.loads((folder / "config.json").read_text("utf-8"))
    return (str(folder.resolve()) if Path(model).expanduser().is_dir() else model), about


def _parts(
    texts: Path | None, interactions: Path | None, items: Path | None, style: Style, most: int, seed: int
) -> tuple[Dataset | None, list[list[Any]]]:
    """Return the ratings of the users of train, None for texts, and the examples, no more than are used."""
    if (texts is not None and interactions is not None) or (items is not None and interactions is None):
        raise SettingError("give --texts, or --interactions with --items or without, or neither for MovieLens")
    if texts is not None:
        known, rule, parts = None, "a label of 1", text_parts(texts, seed)
    else:
        dataset = load_movielens() if interactions is None else Dataset.from_files(interactions, items)
        known, *parts = preference_split(dataset, style=style, seed=seed)
        rule = "a rating of 4 or more"
    for i, (name, size) in enumerate((("train", most), ("valid", MOST_VALID), ("test", MOST_TEST))):
        rows = np.random.default_rng(seed).permutation(len(parts[i]))[:size]
        parts[i] = [parts[i][row] for row in rows]
        n, yes = len(rows), sum(e.label for e in parts[i])
        if not n or (name != "valid" and yes in (0, n)):
            raise SettingError(f"{name} has {n} examples, {yes:.0f} of them a yes ({rule}); bring more, of both kinds")
    return known, parts


def _on_test(net: TextClassifier | YesNo, known: Dataset | None, test: list[Any]) -> dict[str, Any]:
    """Return AUC and interval of the model and of what reads no text, and the lead over the better of the latter."""
    y, users = [e.label for e in test], [e.user for e in test] if known is not None else None
    scores = {"fine-tuned": net.predict(test)}
    if known is not None:
        scores |= {"like share": like_share(test), "item rate": item_rate(known, test)}
    rows: dict[str, dict[str, Any]] = {}
    for name, told in scores.items():
        low, high = auc_interval(y, told, groups=users)
        rows[name] = {"auc": auc(y, told), "low": low, "high": high}
    if known is None:
        return {"test": rows, "lead": None}
    best = max(("like share", "item rate"), key=lambda name: rows[name]["auc"])
    low, high = auc_interval(y, scores["fine-tuned"], rival=scores[best], groups=users)
    lead = rows["fine-tuned"]["auc"] - rows[best]["auc"]
    return {"test": rows, "lead": {"over": best, "auc": lead, "low": low, "high": high}}


def _so_far(out: Path, settings: dict[str, Any]) -> dict[str, Any]:
    """Return the report of a finished training, or nothing where there is one to begin or to go on with."""
    for name in (MODEL, HISTORY, REPORT):
        remove_unfinished(out / name)
    path, finished = out / REPORT, (out / MODEL).exists()
    if not path.exists():
        if finished:
            raise ModelFileError(f"{out} holds a {MODEL} without a {REPORT}, which would be lost")
        return {}
    try:
        report = json.loads(path.read_text("utf-8"))
        was = report["settings"]
    except (ValueError, KeyError, TypeError) as error:
        raise ModelFileError(f"{path} is damaged; delete the folder {out}") from error
    finished = finished and "metrics" in report
    changed = [key for key, value in settings.items() if was.get(key) != value]
    if changed and (finished or step_reached(out)):
        told = f"{changed[0]}={was.get(changed[0])}, and this one has {changed[0]}={settings[changed[0]]}"
        raise ModelFileError(f"{out} holds a training with {told}; give the same settings")
    return report if finished and not changed else {}


@contextmanager
def _mends_named() -> Iterator[None]:
    """Add to what is wrong with a folder what helps on the command line."""
    try:
        yield
    except ModelFileError as error:
        raise ModelFileError(f"{error} (or take another --out)") from error
    except OSError as error:
        raise ModelFileError(f"{error}; free some space, or take another --out or --log-dir") from error

"""Chapter 19: LLMA on disk. A folder of numbers and JSON, written whole or not at all, and checked before it is used.

`model.json` names the format, the configuration and what was learned in a few numbers; `arrays.safetensors` holds the
interactions and what was learned in many; `catalogue.json` the items and users; `SHA256SUMS` their checksums.
Nothing is pickled, so a model from somebody else can be wrong but cannot run code. The interactions are those that the
model was fitted on: whoever has the folder has them.
"""

from __future__ import annotations

import json
import os
import shutil
import tempfile
from dataclasses import asdict, fields
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from safetensors.numpy import load_file, save_file
from scipy import sparse

from llmrec_lite.assets import file_sha256
from llmrec_lite.data import Dataset
from llmrec_lite.errors import ModelFileError, SettingError
from llmrec_lite.llma.cold_start import Newcomers
from llmrec_lite.llma.weights import Gate

FORMAT = 1
MODEL, ARRAYS, CATALOGUE, SUMS = "model.json", "arrays.safetensors", "catalogue.json", "SHA256SUMS"
ITEM_COLUMNS = ["item_id", "title", "year", "genres", "text"]
# What of each part is learned in many numbers; the rest follows from the configuration and the interactions.
LEARNED = {
    "factors": ("user_", "item_"),
    "autoencoder": ("weights_",),
    "text": ("vectors_", "known_", "mean_", "items_", "solution_"),
}


def save(model: Any, path: Path) -> Path:
    """Write a fitted LLMA into a folder; a model that is there is replaced at the last moment.

    Raises:
        NotFittedError: before `fit`.
        ModelFileError: the folder holds something else, an id is neither a whole number nor text, or the disk is full.
    """
    train = model._fitted()
    check_target(path)
    content = {
        "format": FORMAT,
        "kind": "LLMA",
        "config": asdict(model.config),
        "gate": asdict(model.fused_.gate_),
        "newcomers": model.newcomers_.state(),
        "parts": list(model.fused_.parts_),
        "has_texts": model.has_texts_,
    }
    catalogue = {
        "items": {column: _plain(train.items[column], column) for column in ITEM_COLUMNS},
        "users": {"user_id": _plain(train.users["user_id"], "user_id")},
    }
    arrays = {
        "user_index": train.user_index.astype(np.int64),
        "item_index": train.item_index.astype(np.int64),
        "rating": train.ratings,
        "timestamp": train.interactions["timestamp"].to_numpy(np.int64),
        "text_vectors": model.text_vectors_,
        "fact_vectors": model.fact_vectors_,
    }
    for name, part in model.fused_.parts_.items():
        arrays |= {f"{name}.{attribute}": np.asarray(getattr(part, attribute)) for attribute in LEARNED[name]}
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        for left in path.parent.glob(f".{path.name}-unfinished-*"):  # by a process that was killed
            shutil.rmtree(left, ignore_errors=True)
        unfinished = Path(tempfile.mkdtemp(prefix=f".{path.name}-unfinished-", dir=path.parent))
        try:
            (unfinished / MODEL).write_text(json.dumps(content, indent=1, ensure_ascii=False), encoding="utf-8")
            (unfinished / CATALOGUE).write_text(json.dumps(catalogue, ensure_ascii=False), encoding="utf-8")
            save_file({name: np.ascontiguousarray(array) for name, array in arrays.items()}, unfinished / ARRAYS)
            names = (MODEL, ARRAYS, CATALOGUE)
            (unfinished / SUMS).write_text("".join(f"{file_sha256(unfinished / name)}  {name}\n" for name in names))
            for name in (*names, SUMS):
                with open(unfinished / name, "rb+") as file:
                    os.fsync(file.fileno())
            (unfinished / ARRAYS).chmod(0o644)  # safetensors and mkdtemp let only the owner in
            unfinished.chmod(0o755)
            _put(unfinished, path)
        except BaseException:
            shutil.rmtree(unfinished, ignore_errors=True)
            raise
    except OSError as error:
        raise ModelFileError(
            f"cannot write the model {path}: {error}; free some space or name another folder"
        ) from error
    return path


def check_target(path: Path) -> None:
    """Make sure that a model may be written to a folder.

    Raises:
        ModelFileError: the folder holds something else.
    """
    if path.exists() and (not path.is_dir() or (any(path.iterdir()) and not (path / MODEL).is_file())):
        raise ModelFileError(f"{path} is there already and is no model; name another folder")


def load(cls: Any, path: Path) -> Any:
    """Read a fitted LLMA.

    Raises:
        ModelFileError: there is no model, it is of another version, or its files are not what was written.
    """
    from llmrec_lite.llma import LLMAConfig

    content = _checked(path)
    known = {field.name for field in fields(LLMAConfig)}
    if not isinstance(content.get("config"), dict):
        raise ModelFileError(f"{path / MODEL} has no settings; fit the model again")
    if unknown := set(content["config"]) ^ known:
        raise ModelFileError(
            f"{path / MODEL} has other settings than this version of llmrec knows ({', '.join(sorted(unknown))}); "
            "fit the model again with this version"
        )
    try:
        model = cls(LLMAConfig(**content["config"]))
        catalogue = json.loads((path / CATALOGUE).read_text(encoding="utf-8"))
        arrays = load_file(path / ARRAYS)
        train = _dataset(catalogue, arrays)
        model.has_texts_, model.facts = content["has_texts"], None
        model.text_vectors_, model.fact_vectors_ = arrays["text_vectors"], arrays["fact_vectors"]
        model.fact_matrix_ = sparse.csr_array(model.fact_vectors_)
        made = model._parts(train)
        if list(made) != content["parts"]:
            raise SettingError(f"it has the parts {content['parts']}, and its configuration makes {list(made)}")
        for name, part in made.items():
            for attribute in LEARNED[name]:
                setattr(part, attribute, arrays[f"{name}.{attribute}"])
            part.train_, part.matrix_ = train, train.matrix()
        if "text" in made:
            made["text"].histories_, made["text"].encoder_ = train.matrix("rating"), made["text"].encoder
        fused = model._fused(made)
        fused.gate_, fused.parts_, fused.train_ = Gate(**content["gate"]), made, train
        fused.matrix_, fused.met_by_ = train.matrix(), np.bincount(train.matrix().indices, minlength=train.n_items)
        model.fused_ = fused
        newcomers = Newcomers(model.config.order, model.config.people, model.config.seed)
        vectors = model.text_vectors_ if model.has_texts_ else None
        model.newcomers_ = newcomers.restore(content["newcomers"], train, vectors)
        model._ready(train)
        model.train_ = train
    except (KeyError, ValueError, TypeError, IndexError) as error:
        raise ModelFileError(f"{path} does not hold what a model needs ({error}); fit it again") from error
    return model


def _checked(path: Path) -> dict[str, Any]:
    """Return `model.json` after every file has proved to be what was written."""
    if not (path / MODEL).is_file():
        raise ModelFileError(f"there is no model at {path}; make one with: llmrec fit --out {path}")
    try:
        lines = [line.split("  ", 1) for line in (path / SUMS).read_text(encoding="utf-8").splitlines()]
        sums = {name: digest for digest, name in lines}
    except (OSError, ValueError) as error:
        raise ModelFileError(f"{path / SUMS} is missing or damaged ({error}); fit the model again") from error
    for name in (MODEL, ARRAYS, CATALOGUE):
        if not (path / name).is_file():
            raise ModelFileError(f"{path / name} is missing; fit the model again")
        if file_sha256(path / name) != sums.get(name):
            raise ModelFileError(f"{path / name} is not what was written: damaged or changed; fit the model again")
    try:
        content = json.loads((path / MODEL).read_text(encoding="utf-8"))
        kind, version = content["kind"], content["format"]
    except (ValueError, KeyError, TypeError) as error:
        raise ModelFileError(f"{path / MODEL} describes no model ({error}); fit the model again") from error
    if kind != "LLMA" or type(version) is not int or version != FORMAT:
        raise ModelFileError(
            f"{path} holds {kind} in format {version}, and this version of llmrec reads LLMA in format {FORMAT}; "
            "fit the model again, or use the version that wrote it"
        )
    return content


def _dataset(catalogue: dict[str, Any], arrays: dict[str, np.ndarray]) -> Dataset:
    items, users = pd.DataFrame(catalogue["items"]), pd.DataFrame(catalogue["users"])
    items["year"] = items["year"].astype("Int64")
    index = {"user": (arrays["user_index"], users["user_id"]), "item": (arrays["item_index"], items["item_id"])}
    for kind, (places, ids) in index.items():
        if len(places) and not 0 <= places.min() <= places.max() < len(ids):
            raise SettingError(f"an interaction is of {kind} number {places.max()}, but there are {len(ids)}")
    log = {f"{kind}_id": ids.to_numpy()[places] for kind, (places, ids) in index.items()}
    return Dataset(pd.DataFrame({**log, "rating": arrays["rating"], "timestamp": arrays["timestamp"]}), items, users)


def _plain(column: pd.Series, name: str) -> list[Any]:
    """Return the values as JSON knows them."""
    values = [None if pd.isna(value) else value.item() if isinstance(value, np.generic) else value for value in column]
    wrong = [value for value in values if value is not None and type(value) not in (int, str)]
    if wrong:
        raise ModelFileError(
            f"{name} {wrong[0]!r} is neither a whole number nor text, and cannot be written; change it"
        )
    return values


def _put(unfinished: Path, path: Path) -> None:
    """Give the folder its name; a model of that name goes once the new one is in its place."""
    if not path.exists():
        os.replace(unfinished, path)
        return
    old = Path(tempfile.mkdtemp(prefix=f".{path.name}-old-", dir=path.parent))
    os.replace(path, old / path.name)
    try:
        os.replace(unfinished, path)
    except BaseException:
        os.replace(old / path.name, path)
        raise
    finally:
        shutil.rmtree(old, ignore_errors=True)

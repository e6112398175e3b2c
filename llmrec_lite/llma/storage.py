"""Chapter 19: LLMA on disk. A folder of numbers and JSON, written whole or not at all, and checked before it is used.

`model.json` names the format, the configuration and what was learned in a few numbers; `arrays.safetensors` holds the
interactions and what was learned in many; `catalogue.json` the items and users; `SHA256SUMS` their checksums.
Nothing is pickled, so a model from somebody else can be wrong but cannot run code. The interactions are those that the
model was fitted on: whoever has the folder has them.
"""

from __future__ import annotations

import json
from dataclasses import asdict, fields
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from safetensors.numpy import load_file, save_file
from scipy import sparse

from llmrec_lite.data import Dataset
from llmrec_lite.errors import ModelFileError, SettingError
from llmrec_lite.files import atomic_folder, damage, write_json
from llmrec_lite.llma.cold_start import Newcomers
from llmrec_lite.llma.weights import Gate

FORMAT = 1
MODEL, ARRAYS, CATALOGUE = "model.json", "arrays.safetensors", "catalogue.json"
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
        with atomic_folder(path) as part:
            write_json(part / MODEL, content)
            write_json(part / CATALOGUE, catalogue)
            save_file({name: np.ascontiguousarray(array) for name, array in arrays.items()}, part / ARRAYS)
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
    if trouble := damage(path, (MODEL, ARRAYS, CATALOGUE)):
        raise ModelFileError(f"{trouble}; fit the model again")
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

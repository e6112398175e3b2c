"""Chapter 19: LLMA on disk: a folder of arrays and JSON, written whole or not at all, and checked before it is used.

`model.json` names the format, the configuration and the weights; `arrays.safetensors` holds the interactions and what
each part has learned; `catalog.json` the items and users; `SHA256SUMS` their checksums. Nothing is pickled, so a model
from elsewhere can be wrong but cannot run code. The interactions are those that the model was fitted on: whoever has
the folder has them.
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
from llmrec_lite.errors import ModelFileError
from llmrec_lite.files import atomic_folder, damage
from llmrec_lite.language.text_recommender import Encoder
from llmrec_lite.llma.cold_start import ColdStartFusion
from llmrec_lite.llma.config import ItemKnowledge, LLMAConfig
from llmrec_lite.llma.weights import Gate

FORMAT = 3
MODEL, ARRAYS, CATALOG = "model.json", "arrays.safetensors", "catalog.json"
ITEM_COLUMNS = ["item_id", "title", "year", "genres", "text"]


def save(model: Any, path: Path) -> Path:
    """Write a fitted LLMA into a folder; a model that is there is replaced at the last moment.

    Raises:
        NotFittedError: before `fit`.
        ModelFileError: the folder holds something else, an id is neither a whole number nor text, or the disk is full.
    """
    train = model._fitted()
    check_target(path)
    knowledge = model.knowledge_
    content = {
        "format": FORMAT,
        "kind": "LLMA",
        "config": asdict(model.config_),
        "gate": asdict(model.fused_.gate_),
        "cold_start": model.cold_start_.get_state(),
        "parts": list(model.fused_.parts_),
        "encoder_given": model.encoder is not None or model._lacks_encoder,
    }
    catalog = {
        "items": {column: _plain(train.items[column], column) for column in ITEM_COLUMNS},
        "users": {"user_id": _plain(train.users["user_id"], "user_id")},
    }
    arrays = {
        "user_index": train.user_index.astype(np.int64),
        "item_index": train.item_index.astype(np.int64),
        "rating": train.ratings,
        "timestamp": train.interactions["timestamp"].to_numpy(np.int64),
        "fact_vectors": knowledge.fact_vectors,
    }
    if knowledge.text_vectors is not None:
        arrays["text_vectors"] = knowledge.text_vectors
    for name, part in model.fused_.parts_.items():
        arrays |= {f"{name}.{array}": values for array, values in part.get_state().items()}
    try:
        with atomic_folder(path) as folder:
            (folder / MODEL).write_text(json.dumps(content, indent=1, ensure_ascii=False), encoding="utf-8")
            (folder / CATALOG).write_text(json.dumps(catalog, ensure_ascii=False), encoding="utf-8")
            save_file({name: np.ascontiguousarray(array) for name, array in arrays.items()}, folder / ARRAYS)
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


def load(cls: Any, path: Path, encoder: Encoder | None = None) -> Any:
    """Read a fitted LLMA; `encoder` is the one it was fitted with, where that is not the configuration's.

    Raises:
        ModelFileError: there is no model, it is of another version, or its files are not what was written.
    """
    content = _checked(path)
    try:
        model = cls(LLMAConfig(**content["config"]), encoder=encoder)
        model._lacks_encoder = encoder is None and content["encoder_given"]
        catalog = json.loads((path / CATALOG).read_text(encoding="utf-8"))
        arrays = load_file(path / ARRAYS)
        train = _dataset(catalog, arrays)
        vectors, facts = arrays.get("text_vectors"), arrays["fact_vectors"]
        model.knowledge_ = ItemKnowledge(vectors, sparse.csr_array(facts), facts, model._encoder)
        parts = model.make_parts(train)
        if list(parts) != content["parts"]:
            raise ValueError(f"it has the parts {content['parts']}, and its configuration makes {list(parts)}")
        for name, part in parts.items():
            own = {key.removeprefix(f"{name}."): value for key, value in arrays.items() if key.startswith(f"{name}.")}
            part.set_state(train, own)
        model.fused_ = model.make_fusion(parts).set_fitted(train, parts, Gate(**content["gate"]))
        config = model.config_
        cold_start = ColdStartFusion(config.order, config.max_users, config.seed)
        model.cold_start_ = cold_start.set_state(train, content["cold_start"], vectors)
        model._prepare(train)
        model.train_ = train
    except (KeyError, ValueError, TypeError, IndexError) as error:
        raise ModelFileError(f"{path} does not hold what a model needs ({error}); fit it again") from error
    return model


def _checked(path: Path) -> dict[str, Any]:
    """Return `model.json` after every file has proved to be what was written."""
    if not (path / MODEL).is_file():
        raise ModelFileError(f"there is no model at {path}; make one with: llmrec fit --out {path}")
    if fault := damage(path, (MODEL, ARRAYS, CATALOG)):
        raise ModelFileError(f"{fault}; fit the model again")
    try:
        content = json.loads((path / MODEL).read_text(encoding="utf-8"))
        kind, version, config = content["kind"], content["format"], content["config"]
    except (ValueError, KeyError, TypeError) as error:
        raise ModelFileError(f"{path / MODEL} describes no model ({error}); fit the model again") from error
    if kind != "LLMA" or type(version) is not int or version != FORMAT:
        raise ModelFileError(
            f"{path} holds {kind} in format {version}, and this version of llmrec reads LLMA in format {FORMAT}; "
            "fit the model again, or use the version that wrote it"
        )
    if not isinstance(config, dict):
        raise ModelFileError(f"{path / MODEL} has no settings; fit the model again")
    if unknown := set(config) ^ {field.name for field in fields(LLMAConfig)}:
        raise ModelFileError(
            f"{path / MODEL} has other settings than this version of llmrec knows ({', '.join(sorted(unknown))}); "
            "fit the model again with this version"
        )
    return content


def _dataset(catalog: dict[str, Any], arrays: dict[str, np.ndarray]) -> Dataset:
    items, users = pd.DataFrame(catalog["items"]), pd.DataFrame(catalog["users"])
    items["year"] = items["year"].astype("Int64")
    index = {"user": (arrays["user_index"], users["user_id"]), "item": (arrays["item_index"], items["item_id"])}
    for kind, (places, ids) in index.items():
        if len(places) and not 0 <= places.min() <= places.max() < len(ids):
            raise ValueError(f"an interaction is of {kind} number {places.max()}, but there are {len(ids)}")
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

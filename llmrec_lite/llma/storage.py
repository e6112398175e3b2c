"""Chapter 19: LLMA on disk: a folder of arrays and JSON, written whole or not at all, and checked before it is used.

`model.json` names the format, the configuration and the weights; `arrays.safetensors` holds the interactions and what
each part has learned; `catalog.json` the items and users; `SHA256SUMS` their checksums. Nothing is pickled, so a model
from elsewhere can be wrong but cannot run code. The interactions are those that the model was fitted on: whoever has
the folder has them.
"""

from __future__ import annotations

import json
import os
import tempfile
from dataclasses import asdict, fields
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from safetensors import safe_open
from safetensors.numpy import save_file
from scipy import sparse

from llmrec_lite.data import Dataset
from llmrec_lite.errors import ModelFileError
from llmrec_lite.files import atomic_folder, damage, read_bounded, recover
from llmrec_lite.language.text_recommender import Encoder
from llmrec_lite.llma.cold_start import COLD_USER_MAX, ColdStartFusion
from llmrec_lite.llma.config import ItemKnowledge, LLMAConfig
from llmrec_lite.llma.weights import Gate

FORMAT = 3
MODEL, ARRAYS, CATALOG = "model.json", "arrays.safetensors", "catalog.json"
LARGEST_JSON = {MODEL: 1 << 26, CATALOG: 1 << 30}  # bytes that are read
ENCODERS = (None, "minilm")  # that a model file may name; any other is given by who loads it
ITEM_COLUMNS = ["item_id", "title", "year", "genres", "text"]


def save(model: Any, path: Path) -> Path:
    """Write a fitted LLMA into a folder; a model that is there is replaced at the last moment.

    Raises:
        NotFittedError: before `fit`.
        ModelFileError: the folder holds something else or cannot be written, an id is neither a whole number nor text,
            or the disk is full.
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
    catalog = plain_catalog(train)
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
    """Make sure that a model may be written to a folder; where `path` is a link, to what it points to.

    Raises:
        ModelFileError: the folder holds something else, is the one we are in, or cannot be written.
    """
    real = Path(os.path.realpath(path))
    try:
        taken = real.exists() and (not real.is_dir() or (any(real.iterdir()) and not (real / MODEL).is_file()))
        if taken or (os.path.lexists(real) and not real.exists()):
            raise ModelFileError(f"{path} is there already and is no model; name another folder")
        if real in (Path.cwd(), *Path.cwd().parents) or os.path.ismount(real):
            raise ModelFileError(f"{path} cannot be replaced by a model; name a folder in it, such as {path / 'model'}")
        above = next(folder for folder in real.parents if folder.exists())
        with tempfile.TemporaryDirectory(prefix=f".{real.name}.", dir=above):
            pass  # what cannot be written is found here, before the work
    except OSError as error:
        raise ModelFileError(f"cannot write the model {path}: {error}; name another folder") from error


def plain_catalog(data: Dataset) -> dict[str, dict[str, list[Any]]]:
    """Items and users as JSON knows them.

    Raises:
        ModelFileError: an id or a text is neither a whole number nor text.
    """
    return {
        "items": {column: _plain(data.items[column], column) for column in ITEM_COLUMNS},
        "users": {"user_id": _plain(data.users["user_id"], "user_id")},
    }


def load(cls: Any, path: Path, encoder: Encoder | None = None) -> Any:
    """Read a fitted LLMA; `encoder` is the one it was fitted with, where that is not the configuration's.

    A model that another process replaces meanwhile is read anew.

    Raises:
        ModelFileError: there is no model, it is of another version, or its files are not what was written.
    """
    while True:
        try:
            recover(path)
            before = _identity(path)
            model = _load(cls, path, encoder)
        except OSError as error:
            raise ModelFileError(f"cannot read the model {path}: {_in_a_line(error)}") from error
        except ModelFileError:
            if _identity(path) == before:
                raise
        else:
            if _identity(path) == before:
                return model


def _identity(path: Path) -> tuple[int, int] | None:
    try:
        status = path.stat()
    except OSError:
        return None
    return status.st_dev, status.st_ino


def _load(cls: Any, path: Path, encoder: Encoder | None) -> Any:
    content = _checked(path)
    try:
        config = LLMAConfig(**content["config"])
        model = cls(config, encoder=encoder)
        # What a file names is not fetched: it may be from anybody.
        given = bool(content["encoder_given"]) or config.encoder not in ENCODERS
        model._lacks_encoder = encoder is None and given
        catalog = json.loads(read_bounded(path / CATALOG, LARGEST_JSON[CATALOG]))
        arrays = mapped_arrays(path / ARRAYS)
        train = _dataset(catalog, arrays)
        _check_arrays(arrays, train, config)
        vectors, facts = arrays.get("text_vectors"), arrays["fact_vectors"]
        model.knowledge_ = ItemKnowledge(vectors, sparse.csr_array(facts), facts, model._encoder)
        parts = model.make_parts(train)
        if list(parts) != content["parts"]:
            raise ValueError(f"it has the parts {content['parts']}, and its configuration makes {list(parts)}")
        for name, part in parts.items():
            own = {key.removeprefix(f"{name}."): value for key, value in arrays.items() if key.startswith(f"{name}.")}
            part.set_state(train, own)
        model.fused_ = model.make_fusion(parts).set_fitted(train, parts, Gate(**content["gate"]))
        cold_start = ColdStartFusion(config.order, config.max_users, config.seed)
        model.cold_start_ = cold_start.set_state(train, content["cold_start"], vectors)
        named = {name for weights in cold_start.weights_.values() for name in weights}
        if unknown := named - {*parts, "popularity", "user attention"}:
            raise ValueError(f"there are weights of {sorted(unknown)} for few interactions")
        model._prepare(train)
        model.train_ = train
        _try_out(model)
    except Exception as error:  # what a file holds can fail in any step, in the words of any library
        raise ModelFileError(f"{path} does not hold what a model needs ({_in_a_line(error)}); fit it again") from error
    return model


def _in_a_line(error: BaseException) -> str:
    return " ".join(str(error).split())[:300] or type(error).__name__


def mapped_arrays(path: Path) -> dict[str, np.ndarray]:
    """Arrays of a safetensors file, read from disk when they are used; what is written to them stays in memory.

    Raises:
        Exception: it is no such file, or has a type that numpy does not know.
    """
    with safe_open(path, "numpy"):
        pass  # which makes sure that every array lies in the file, and has the size of its shape
    content = np.memmap(path, np.uint8, "c")
    begin = 8 + int.from_bytes(content[:8].tobytes(), "little")
    header = json.loads(content[8:begin].tobytes())
    arrays = {}
    for name, told in header.items():
        if name != "__metadata__":
            first, last = told["data_offsets"]
            values = np.asarray(content)[begin + first : begin + last]
            arrays[name] = values.view(_numpy_type(told["dtype"])).reshape(told["shape"])
    return arrays


def _numpy_type(name: str) -> np.dtype:
    """Type by its name in a safetensors file: BOOL, or a letter and bits, such as F32."""
    return np.dtype(bool if name == "BOOL" else f"<{name[0].lower()}{int(name[1:]) // 8}")


def _try_out(model: Any) -> None:
    """Score users, so that what does not fit together is found now.

    Attention over users would take seconds to make, and is made when it is first asked for; `ColdStartFusion.set_state`
    has checked what it is made of.
    """
    train = model.train_
    scores = model.fused_.score_indices([0, train.n_users - 1])
    if scores.shape[1] != train.n_items or not np.isfinite(scores).all():
        raise ValueError("its scores are no finite numbers, one for each item")
    model.recommend_for(history=(), k=1)
    n_seen = np.diff(model.matrix_.indptr)
    if n_seen.max() >= COLD_USER_MAX:
        model.recommend_for(train.users["user_id"].iloc[int(n_seen.argmax())], k=1)


def _checked(path: Path) -> dict[str, Any]:
    """Return `model.json` after every file has proved to be what was written."""
    if not (path / MODEL).is_file():
        raise ModelFileError(f"there is no model at {path}; make one with: llmrec fit --out {path}")
    if fault := damage(path, (MODEL, ARRAYS, CATALOG)):
        raise ModelFileError(f"{fault}; fit the model again")
    try:
        content = json.loads(read_bounded(path / MODEL, LARGEST_JSON[MODEL]))
        kind, version, config = content["kind"], content["format"], content["config"]
    except (OSError, ValueError, KeyError, TypeError, RecursionError) as error:
        raise ModelFileError(f"{path / MODEL} describes no model ({_in_a_line(error)}); fit the model again") from error
    if kind != "LLMA" or type(version) is not int or version != FORMAT:
        raise ModelFileError(
            f"{path} holds {kind!s:.50} in format {version!s:.50}, and this version of llmrec reads LLMA in format "
            f"{FORMAT}; fit the model again, or use the version that wrote it"
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
    items, users = catalog["items"], catalog["users"]
    for name, values in (("item_id", items["item_id"]), ("user_id", users["user_id"])):
        if not values or {type(value) for value in values} not in ({int}, {str}) or len({*values}) < len(values):
            raise ValueError(f"{name} is not all whole numbers or all text, or names one twice")
    for name in ("title", "genres", "text"):
        if {type(value) for value in items[name]} - {str, type(None)}:
            raise ValueError(f"{name} is not all text")
    if {type(year) for year in items["year"]} - {int, type(None)}:
        raise ValueError("a year is no whole number")
    frames = pd.DataFrame(items), pd.DataFrame(users)
    frames[0]["year"] = frames[0]["year"].astype("Int64")
    index = {"user": (arrays["user_index"], frames[1]["user_id"]), "item": (arrays["item_index"], frames[0]["item_id"])}
    for kind, (places, ids) in index.items():
        if places.dtype.kind not in "iu" or places.ndim != 1 or not len(places):
            raise ValueError(f"{kind}_index is no row of whole numbers")
        if not 0 <= places.min() <= places.max() < len(ids):
            raise ValueError(f"an interaction is of {kind} number {places.max()}, but there are {len(ids)}")
    log = {f"{kind}_id": ids.to_numpy()[places] for kind, (places, ids) in index.items()}
    return Dataset(pd.DataFrame({**log, "rating": arrays["rating"], "timestamp": arrays["timestamp"]}), *frames)


def _check_arrays(arrays: dict[str, np.ndarray], train: Dataset, config: LLMAConfig) -> None:
    """Make sure that numbers are finite, and that shapes are those of the data and the settings."""
    for name, array in arrays.items():
        if array.dtype.kind not in "biuf" or not np.isfinite(array).all():
            raise ValueError(f"{name} holds what is no finite number")
    n_items, factors = train.n_items, config.factors
    shapes = {
        "rating": (len(train),), "timestamp": (len(train),),
        "fact_vectors": (n_items, None), "text_vectors": (n_items, None),
        "factors.item_": (n_items, factors), "factors.user_": (train.n_users, factors),
        "autoencoder.weights_": (n_items, n_items),
        "autoencoder.left_": (n_items, None), "autoencoder.right_": (n_items, None),
        "text.vectors_": (n_items, None), "text.items_": (n_items, None), "text.solution_": (None, n_items),
        "text.known_": (n_items,), "text.mean_": (None,),
    }  # fmt: skip
    for name in shapes.keys() & arrays.keys():
        found, expected = arrays[name].shape, shapes[name]
        if len(found) != len(expected) or any(e not in (None, f) for f, e in zip(found, expected, strict=True)):
            raise ValueError(f"{name} has the shape {found}")


def _plain(column: pd.Series, name: str) -> list[Any]:
    """Return the values as JSON knows them."""
    values = [None if pd.isna(value) else value.item() if isinstance(value, np.generic) else value for value in column]
    wrong = [value for value in values if value is not None and type(value) not in (int, str)]
    if wrong:
        raise ModelFileError(
            f"{name} {wrong[0]!r} is neither a whole number nor text, and cannot be written; change it"
        )
    return values

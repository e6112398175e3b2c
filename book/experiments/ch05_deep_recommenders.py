"""Chapter 5: next-item recommendation, counting models and networks."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np

from book.experiments.common import Grid, Model, compute_again, next_item_parts, table_of_models
from book.experiments.registry import Result, Row, draw, experiment
from llmrec_lite import recommenders

# Six settings a model: the networks take minutes each.
NETWORKS: Grid = {"n_epochs": [20], "dropout": [0.3, 0.5], "learning_rate": [0.004, 0.008, 0.016]}


NEXT_ITEM_GRIDS: dict[str, Grid] = {
    "EASE": {"l2": [50.0, 100.0, 300.0, 500.0, 1000.0, 2000.0]},
    "ItemKNN": {"k": [50, 100, 200], "shrink": [0.0, 20.0]},
    "DecayedBigram": {"decay": [0.7, 0.8, 0.9], "normalize": [0.75, 1.0]},
    "Caser": NETWORKS,
    "GRU4Rec": NETWORKS,
    "SASRec": NETWORKS,
}


@experiment
def next_item() -> dict[str, Any]:
    """Next item, all items as candidates, ties in time by the order of the file: six settings a model.

    Outer split: `leave_last_out`. Inner split: the same on the training part. Networks train with a softmax
    over the catalog, and SASRec once more with sampled binary cross-entropy. Three seeds where a model has one;
    intervals are over users, of each user's mean over the seeds; leads over the counting model are paired.
    """
    models = _models()
    against = {name: ["DecayedBigram"] for name in (*NEXT_ITEM_GRIDS, "SASRec, BCE") if name != "DecayedBigram"}
    against["SASRec, BCE"] += ["SASRec"]
    return table_of_models(models, next_item_parts(), against, 3)


def _models() -> dict[str, Model]:
    models: dict[str, Model] = {name: (getattr(recommenders, name), {}, {}) for name in ("Random", "Popularity")}
    models |= {name: (getattr(recommenders, name), {}, grid) for name, grid in NEXT_ITEM_GRIDS.items()}
    models["SASRec, BCE"] = recommenders.SASRec, {"loss": "bce"}, NETWORKS
    return models


@next_item.check
def _next_item_again(stored: Result, rng: np.random.Generator) -> Iterator[Row]:
    models, parts = _models(), next_item_parts()
    for name in ("Popularity", draw(rng, ("Random", "EASE", "ItemKNN", "DecayedBigram"))):
        yield compute_again(name, models[name], stored, parts, 3)
    name = draw(rng, ("Caser", "GRU4Rec", "SASRec"))
    yield compute_again(name, models[name], stored, parts, 1)

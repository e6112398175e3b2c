"""Chapter 4: a log cut into two files, to fit on one and to measure by the other."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Annotated

import typer

from llmrec_lite import splits
from llmrec_lite.cli.options import DataSource, takes_data
from llmrec_lite.data import Dataset
from llmrec_lite.errors import SettingError
from llmrec_lite.files import atomic_file

SPLITS: dict[str, Callable[[Dataset], splits.Split]] = {
    "benchmark": splits.recommenders_split,
    "random": splits.random_split,
    "temporal": splits.temporal_split,
    "leave-last-out": splits.leave_last_out,
}


def cut(dataset: Dataset, name: str) -> splits.Split:
    """Train and test by the name of a split.

    Raises:
        SettingError: there is no such split, or it leaves a part empty.
    """
    if name not in SPLITS:
        raise SettingError(f"there is no split {name!r}; there are {', '.join(SPLITS)}")
    return SPLITS[name](dataset)


@takes_data
def split_command(
    train: Annotated[Path, typer.Option(help="CSV file to write, for --interactions of `llmrec fit`.")],
    test: Annotated[Path, typer.Option(help="CSV file to write, for --test of `llmrec evaluate`.")],
    split: Annotated[str, typer.Option(help=f"One of {', '.join(SPLITS)}.")] = "temporal",
    *,
    source: DataSource,
) -> None:
    """Cut a log into two files: what a model may learn from, and what it is measured by."""
    if os.path.realpath(train) == os.path.realpath(test):
        raise SettingError(f"--train and --test are one file, {train}; name two")
    if there := [path for path in (train, test) if os.path.lexists(path)]:
        raise SettingError(f"{there[0]} is there already; name another file, or remove it")
    for path, part in zip((train, test), cut(source.load(), split), strict=True):
        rows = part.interactions[["user_id", "item_id", "rating", "timestamp"]]
        with atomic_file(path) as file:
            # Without times the order of the rows stands for them, and one time for all would be taken for a time.
            (rows if rows["timestamp"].any() else rows.drop(columns="timestamp")).to_csv(file, index=False)
        typer.echo(f"{path}: {len(part):,} interactions")

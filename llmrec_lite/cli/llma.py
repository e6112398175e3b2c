"""Chapter 19: LLMA from the command line."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Annotated, Any, Literal

import numpy as np
import pandas as pd
import typer
from rich.console import Console
from scipy import sparse

from llmrec_lite.cli.lookup import find_user, liked_items
from llmrec_lite.cli.options import DataSource, takes_data
from llmrec_lite.data import Dataset
from llmrec_lite.errors import DataError, SettingError, shorten
from llmrec_lite.tables import name_of, read_table

screen = Console()


@takes_data
def fit_command(
    out: Annotated[Path, typer.Option(help="Folder of the model; a model that is there is replaced.")],
    facts: Annotated[
        Path | None, typer.Option(help="Your facts about items: head (an item's id), relation, tail.")
    ] = None,
    text: Annotated[bool, typer.Option(help="Read the items' texts with a language model.")] = True,
    order: Annotated[
        Literal["time", "random"],
        typer.Option(help='History of a new user: first items, "time", or any, "random".'),
    ] = "time",
    seed: Annotated[int, typer.Option(min=0, max=2**31 - 1, help="Of all that is random.")] = 0,
    *,
    source: DataSource,
) -> None:
    """Fit LLMA to MovieLens or to your data, and write it into a folder, whole or not at all."""
    from llmrec_lite.llma.config import LLMAConfig
    from llmrec_lite.llma.model import LLMA
    from llmrec_lite.llma.storage import check_target, plain_catalog

    if facts is not None and source.interactions is None:
        raise SettingError("--facts needs --interactions too; MovieLens comes with facts of its own")
    check_target(out)  # before minutes of work
    config = LLMAConfig(encoder="minilm" if text else None, order=order, seed=seed)
    known = None
    data = source.load()
    plain_catalog(data)
    if source.edition is not None:
        from llmrec_lite.knowledge.graph import film_facts

        known = film_facts(data)
    elif facts is not None:
        known = _facts_of_items(facts, data, source)
    screen.print(f"Fitting LLMA to {data!r} ...", markup=False, soft_wrap=True)
    began = time.perf_counter()
    model = LLMA(config, facts=known, progress=True).fit(data)
    model.save(out)
    for limit in model.limits():
        screen.print(f"Note: {limit}.", markup=False, soft_wrap=True)
    weights = ", ".join(f"{name} {weight:.2f}" for name, weight in model.fused_.gate_.known.items())
    screen.print(f"Fitted in {time.perf_counter() - began:.0f} s; weights: {weights}.", markup=False, soft_wrap=True)
    screen.print(f"The model is at {out}. Try: llmrec recommend --model {out} --user ID", markup=False, soft_wrap=True)


def _facts_of_items(path: Path, data: Dataset, source: DataSource) -> sparse.csr_array:
    """Facts in a file, read as the other files are; how many are of items of the catalog is said."""
    from llmrec_lite.knowledge.graph import item_facts

    notes: list[str] = []
    table = read_table(path, separator=source.separator, encoding=source.encoding, notes=notes)
    found, n_used = item_facts(table, data, name_of(path), notes)
    notes.append(f"{n_used:,} of {len(table):,} facts are of items of the catalog")
    typer.echo(f"llmrec: {name_of(path)}: {'; '.join(notes)}", err=True)
    return found


def load_test(model: Any, path: Path, source: DataSource | None = None) -> tuple[Dataset, dict[str, int]]:
    """Test interactions for a fitted model, and the number of those left out, by reason.

    Raises:
        DataError: the file cannot be read, or the model cannot be measured by any of it.
    """
    train = model.train_
    rows = (source or DataSource()).load_log(path, train)
    known_users = pd.Index(train.users["user_id"]).get_indexer(rows["user_id"]) >= 0
    known_items = pd.Index(train.items["item_id"]).get_indexer(rows["item_id"]) >= 0
    known = rows[known_users & known_items]
    if known.empty:
        raise DataError(
            f"{path}: none of its {len(rows):,} interactions is of a user and an item that the model knows; write ids "
            f"as in the training data, such as user {shorten(train.users['user_id'].iloc[0])} and item "
            f"{shorten(train.items['item_id'].iloc[0])}"
        )
    found = train.with_interactions(known)
    fitted_on, pairs = (data.user_index * train.n_items + data.item_index for data in (train, found))
    again = np.isin(pairs, fitted_on)
    if again.all():
        raise DataError(
            f"{path}: the model was fitted on all of its {len(known):,} interactions, and recommends nothing twice; "
            "give what came later"
        )
    left_out = {
        "of unknown users": int((~known_users).sum()),
        "of unknown items": int((known_users & ~known_items).sum()),
        "that the model was fitted on": int(again.sum()),
    }
    return train.with_interactions(known[~again]), left_out


def is_folder(model: str) -> bool:
    """Whether it is a folder of a fitted model and no name of a recommender; what has a slash is meant as a folder."""
    return bool(model) and (Path(model).is_dir() or "/" in model)


def recommend_with_reasons(
    folder: str, user: str | None, likes: list[str] | None, request: str | None, k: int
) -> pd.DataFrame:
    """Recommendations of a fitted LLMA, as `LLMA.recommend_for` gives them, for one of user, likes and request."""
    from llmrec_lite.llma.model import LLMA  # torch, which most commands do without

    fitted = LLMA.load(folder)
    data: Any = fitted.train_
    user_id = None if user is None else find_user(data, user)
    history = liked_items(data, likes) if likes else None
    return fitted.recommend_for(user_id, history, request, min(k, data.n_items))

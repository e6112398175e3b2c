"""What experiments share: grids, and tables of models searched, fitted and measured side by side."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from functools import partial
from itertools import product
from typing import Any

from sklearn.utils.parallel import Parallel, delayed
from tqdm.auto import tqdm

from book.experiments.registry import Result, Row, find
from llmrec_lite import splits
from llmrec_lite.data import Dataset, load_movielens
from llmrec_lite.evaluate import Report, compare, evaluate, search
from llmrec_lite.recommenders.base import BaseRecommender

Grid = Mapping[str, Sequence[Any]]
Make = Callable[..., BaseRecommender]
Model = tuple[Make, Mapping[str, Any], Grid]  # how to make it, what is fixed of it, and what is searched
Parts = tuple[Dataset, Dataset, Dataset, Dataset]  # to search on, to choose by, to fit on, to measure on


def settings(grid: Grid) -> Iterator[dict[str, Any]]:
    """Every combination of the values of a grid."""
    for values in product(*grid.values()):
        yield dict(zip(grid, values, strict=True))


def top10_parts() -> Parts:
    """Split of the recommenders-team benchmark with seed 42, and the same rule with seed 1 inside its train."""
    train, test = splits.recommenders_split(load_movielens())
    return *splits.recommenders_split(train, seed=1), train, test


def next_item_parts() -> Parts:
    """Last interaction of each user as test, and the one before inside train."""
    train, test = splits.leave_last_out(load_movielens())
    return *splits.leave_last_out(train), train, test


def table_of_models(
    models: Mapping[str, Model],
    parts: Parts,
    against: Mapping[str, Sequence[str]],
    seeds: int,
) -> dict[str, Any]:
    """Search, fit and measure models side by side, a process each.

    Args:
        models: by name how to make one, what is fixed of it, and what is searched.
        parts: see `Parts`.
        against: for a model the names of those over which its lead is wanted.
        seeds: how often a model that takes a seed is fitted.

    Returns:
        "table", a row a model, and "tried", what each search found.
    """
    work = Parallel(n_jobs=-1, max_nbytes=None, return_as="generator_unordered")
    jobs = (delayed(_measured)(name, *model, parts, seeds) for name, model in models.items())
    done = {found[0]: found[1:] for found in tqdm(work(jobs), total=len(models), desc="models")}
    rows = []
    for name in models:
        chosen, _, report, runs = done[name]
        row: dict[str, Any] = {"model": name, "setting": chosen, "runs": runs, **report.mean.to_dict()}
        row |= dict(zip(("ndcg_low", "ndcg_high"), report.interval.loc["ndcg"], strict=True))
        for other in against.get(name, ()):
            lead = compare(report, done[other][2]).loc["ndcg"]
            row |= {
                f"lead over {other}": lead["difference"],
                f"low {other}": lead["low"],
                f"high {other}": lead["high"],
            }
        rows.append(row)
    return {"table": rows, "tried": {name: done[name][1] for name in models}}


def compute_again(name: str, model: Model, stored: Result, parts: Parts, seeds: int) -> Row:
    """Fit a model of `table_of_models` with its chosen setting and its first seeds."""
    setting = find(stored["table"], model=name)["setting"]
    report, runs = _fitted(*model[:2], setting, *parts[2:], seeds)
    row = {"model": name, "runs": runs}
    if seeds >= len(find(stored["table"], model=name)["runs"]):
        return Row.of(name, stored["table"], row | report.mean.to_dict(), "model")
    return Row(f"{name}, first runs", find(stored["table"], model=name)["runs"][:seeds], runs)


def _fitted(
    make: Make, fixed: Mapping[str, Any], chosen: Mapping[str, Any], train: Dataset, test: Dataset, seeds: int
) -> tuple[Report, list[float]]:
    takes = inspect.signature(make).parameters.values()  # a seed of its own, or whatever its base class takes
    seeded = any(p.name == "seed" or p.kind is p.VAR_KEYWORD for p in takes)
    each = [{"seed": seed} for seed in range(seeds)] if seeded else [{}]
    reports = [evaluate(make(**fixed, **chosen, **seed).fit(train), train, test) for seed in each]
    mean = sum(report.per_user for report in reports) / len(reports)
    return replace(reports[0], per_user=mean), [float(report.mean["ndcg"]) for report in reports]


def _measured(
    name: str, make: Make, fixed: Mapping[str, Any], grid: Grid, parts: Parts, seeds: int
) -> tuple[str, dict[str, Any], list[dict[str, Any]], Report, list[float]]:
    """Choose inside train, then fit with each seed.

    The report holds each user's mean over the seeds, and coverage and gini of the first.
    """
    inner, valid, train, test = parts
    tried = search(partial(make, **fixed), list(settings(grid)), inner, valid).astype(object).to_dict("records")
    chosen = {key: tried[0][key] for key in grid}
    report, runs = _fitted(make, fixed, chosen, train, test, seeds)
    return name, chosen, tried, replace(report, name=name), runs

"""The command `python -m book.experiments`: list, run, check."""

from __future__ import annotations

import multiprocessing
import os
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor, as_completed
from typing import Annotated

import torch
import typer
from rich.console import Console
from rich.table import Table
from threadpoolctl import threadpool_limits

from book.experiments import registry
from llmrec_lite.errors import LlmrecError

app = typer.Typer(no_args_is_help=True, add_completion=False, pretty_exceptions_enable=False)
Names = Annotated[list[str] | None, typer.Argument(help="Experiments; see `list`.")]
All = Annotated[bool, typer.Option("--all", help="Every experiment.")]
Checked = tuple[registry.Status, str, str, float]  # status, rows computed again, largest difference, seconds
WORKERS = 2  # checks at a time; each holds its data and models in memory


def _chosen(names: list[str] | None, every: bool) -> list[str]:
    known = registry.register_all()
    if bool(names) == every:
        raise typer.BadParameter("name the experiments, or --all")
    if unknown := [name for name in names or () if name not in known]:
        raise typer.BadParameter(f"there is no experiment {unknown[0]!r}; known: {', '.join(known)}")
    return list(known) if every else list(names or ())


@app.command(name="list")
def list_experiments() -> None:
    """Name the experiments, a line each."""
    for name, one in registry.register_all().items():
        print(f"{name:16} {one.file.stem[:4]}  {one.about.splitlines()[0]}")


@app.command()
def run(names: Names = None, every: All = False) -> None:
    """Run experiments and write book/results/NAME.json; one that cannot be run is named at the end."""
    failed = []
    for name in _chosen(names, every):
        try:
            print(registry.run(name), flush=True)
        except Exception as error:
            if not every and not isinstance(error, LlmrecError):
                raise
            print(f"{name}: {error}", file=sys.stderr)  # the others are not to be lost for one
            failed.append(name)
    if failed:
        print(f"not run: {', '.join(failed)}", file=sys.stderr)
        raise typer.Exit(2)


def _checked(name: str, seed: int | None) -> Checked:
    """Check an experiment, and write what it says as a line of the table."""
    start = time.perf_counter()
    verdict, rows = registry.check(name, seed)
    shown = (f"{row.name} (differs)" if far > registry.TOLERANCE else row.name for row, far in rows)
    far = f"{max(far for _, far in rows):.1e}" if rows else ""
    nothing = "none: never run" if verdict == "not run" else "none: needs other hardware"
    return verdict, "; ".join(shown) or nothing, far, time.perf_counter() - start


def _checked_side_by_side(names: list[str], seed: int | None) -> Iterator[tuple[str, Checked]]:
    """Check several, each with one thread; one that fails is stale, and the others go on."""
    context = multiprocessing.get_context("fork" if sys.platform == "linux" else "spawn")
    with ProcessPoolExecutor(WORKERS, context, _one_thread) as pool:
        waiting = {pool.submit(_checked, name, seed): name for name in names}
        for done in as_completed(waiting):
            if error := done.exception():
                yield waiting[done], ("stale", f"{type(error).__name__}: {error}", "", 0.0)
            else:
                yield waiting[done], done.result()


def _one_thread() -> None:
    os.environ["LOKY_MAX_CPU_COUNT"] = "1"  # for what an experiment itself does side by side
    threadpool_limits(1)
    torch.set_num_threads(1)


@app.command()
def check(
    names: Names = None,
    every: All = False,
    seed: Annotated[int | None, typer.Option(help="Of which rows are drawn; today's date where left out.")] = None,
) -> None:
    """Compute a few rows of stored results again, and say which results belong to the code at hand."""
    chosen = _chosen(names, every)
    found: dict[str, Checked] = {}
    for name, one in _checked_side_by_side(chosen, seed) if chosen[1:] else [(chosen[0], _checked(chosen[0], seed))]:
        found[name] = one
        print(f"{name}: {one[0]}", file=sys.stderr, flush=True)
    table = Table("experiment", "status", "rows computed again", "largest difference", "seconds")
    for name in chosen:
        verdict, what, far, spent = found[name]
        table.add_row(name, verdict, what, far, f"{spent:.0f}")
    Console(width=None if sys.stdout.isatty() else 160).print(table)
    raise typer.Exit(1 if any(verdict == "stale" for verdict, *_ in found.values()) else 0)


if __name__ == "__main__":
    app()

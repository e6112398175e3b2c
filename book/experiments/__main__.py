"""The command `python -m book.experiments`: list, run, check."""

from __future__ import annotations

import sys
import time
from typing import Annotated

import typer
from rich.console import Console
from rich.table import Table

from book.experiments import registry
from llmrec_lite.errors import LlmrecError

app = typer.Typer(no_args_is_help=True, add_completion=False, pretty_exceptions_enable=False)
Names = Annotated[list[str] | None, typer.Argument(help="Experiments; see `list`.")]
All = Annotated[bool, typer.Option("--all", help="Every experiment.")]


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


@app.command()
def check(
    names: Names = None,
    every: All = False,
    seed: Annotated[int | None, typer.Option(help="Of which rows are drawn; today's date where left out.")] = None,
) -> None:
    """Compute a few rows of stored results again, and say which results belong to the code at hand."""
    table = Table("experiment", "status", "rows computed again", "largest difference", "seconds")
    stale = False
    for name in _chosen(names, every):
        start = time.perf_counter()
        try:
            verdict, rows = registry.check(name, seed)
            differ = {row.name for row, far in rows if far > registry.TOLERANCE}
            shown = (f"{row.name} (differs)" if row.name in differ else row.name for row, _ in rows)
            what = "; ".join(shown) or "none: needs other hardware"
            far = f"{max(far for _, far in rows):.1e}" if rows else ""
        except Exception as error:
            if not every:
                raise
            verdict, what, far = "stale", f"{type(error).__name__}: {error}", ""
        stale |= verdict == "stale"
        table.add_row(name, verdict, what, far, f"{time.perf_counter() - start:.0f}")
        print(f"{name}: {verdict}", file=sys.stderr, flush=True)
    Console(width=None if sys.stdout.isatty() else 160).print(table)
    raise typer.Exit(1 if stale else 0)


if __name__ == "__main__":
    app()

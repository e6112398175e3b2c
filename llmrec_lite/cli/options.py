"""The options of every command that takes data, and the data that they name."""

from __future__ import annotations

import inspect
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, fields
from functools import wraps
from pathlib import Path
from typing import Annotated, Any, Literal

import pandas as pd
import typer

from llmrec_lite.data import Dataset, load_movielens
from llmrec_lite.errors import DataWarning, SettingError, command_line_hints
from llmrec_lite.origins import read_log
from llmrec_lite.schema import parse_columns

EDITIONS: dict[str, Literal["100k", "latest-small"]] = {"movielens-100k": "100k", "latest-small": "latest-small"}
_FORMATS = "CSV, TSV, JSON lines, Parquet or Excel, plain or .gz; - is standard input"


@dataclass(frozen=True)
class DataSource:
    """Where a command's data come from: an edition of MovieLens, or files and how to read them."""

    interactions: Annotated[
        Path | None, typer.Option(help=f"Your log: user, item[, rating, timestamp]. {_FORMATS}. MovieLens else.")
    ] = None
    items: Annotated[Path | None, typer.Option(help="Your catalog: item[, title, year, genres, text].")] = None
    users: Annotated[Path | None, typer.Option(help="Your table of users.")] = None
    data: Annotated[
        str | None, typer.Option(help=f"A data set instead of files: {' or '.join(EDITIONS)}.", show_default=False)
    ] = None
    columns: Annotated[
        str | None, typer.Option(help="Names of your columns: user_id=Kunde,item_id=Artikel. Usual names are known.")
    ] = None
    separator: Annotated[str | None, typer.Option(help="Between columns, such as ';' or tab. Found out else.")] = None
    encoding: Annotated[str | None, typer.Option(help="Of text files, such as latin-1. Found out else.")] = None
    header: Annotated[
        bool | None, typer.Option("--header/--no-header", help="Whether the first row names columns. Found out else.")
    ] = None
    invalid: Annotated[
        Literal["raise", "drop"],
        typer.Option(help='Bad rows: "raise" an error, or "drop" them, and of repeated ones all but the first.'),
    ] = "raise"
    liked: Annotated[
        float | None, typer.Option(metavar="MIN", help="Keep only what is rated MIN or more, as what users like.")
    ] = None

    @property
    def has_files(self) -> bool:
        """Whether a file is named."""
        return any(path is not None for path in (self.interactions, self.items, self.users))

    @property
    def given(self) -> list[str]:
        """Options that are not at their defaults, as they are typed."""
        changed = [field.name for field in fields(self) if getattr(self, field.name) != field.default]
        return ["--no-header" if name == "header" and not self.header else f"--{name}" for name in changed]

    @property
    def edition(self) -> Literal["100k", "latest-small"] | None:
        """Edition of MovieLens that is meant, None where files are."""
        if self.has_files:
            return None
        name = (self.data or "movielens-100k").lower()
        if name not in EDITIONS:
            raise SettingError(f"there is no data set {self.data!r} here; there are {' and '.join(EDITIONS)}")
        return EDITIONS[name]

    def load(self) -> Dataset:
        """Data set that the options name; what is to be known about it goes to standard error, a line a file.

        Raises:
            SettingError: options that do not go together, or a data set that is none.
            DataError: a file cannot be read as it is.
        """
        if self.has_files and self.data is not None:
            raise SettingError(f"--data {self.data} is a whole data set; leave it out, or the files")
        for name in ("items", "users"):
            if getattr(self, name) is not None and self.interactions is None:
                raise SettingError(f"--{name} needs --interactions too")
        if self.interactions is not None:
            with _told():
                return Dataset.from_files(self.interactions, self.items, self.users, **self._how(), **self._kept())
        if how := [name for name in self.given if name not in ("--data", "--liked")]:
            raise SettingError(f"{how[0]} is about files of yours; name them with --interactions and --items")
        assert self.edition is not None
        whole = load_movielens(self.edition)
        if self.liked is None:
            return whole
        with _told():
            return Dataset.from_frames(whole.interactions, whole.items, whole.users, liked=self.liked)

    def _how(self) -> dict[str, Any]:
        """How files are read, as `Dataset.from_files` takes it."""
        how = {"separator": self.separator, "encoding": self.encoding, "header": self.header}
        return {"columns": parse_columns(self.columns), **how}

    def _kept(self) -> dict[str, Any]:
        """Which rows are kept."""
        return {"invalid": self.invalid, "liked": self.liked}

    def load_log(self, path: Path, known: Dataset) -> pd.DataFrame:
        """Interactions in a file, ids as in `known` where they are written alike; read as these options say."""
        told: dict[str, list[str]] = {}
        how = self._how()
        columns = how.pop("columns")
        with _told():
            frame = read_log(
                path,
                known.users["user_id"],
                known.items["item_id"],
                columns=columns,
                told=told,
                how=how,
                **self._kept(),
            )
            for where, notes in told.items():
                if notes:
                    warnings.warn(f"{where}: {'; '.join(notes)}", DataWarning, stacklevel=2)
        return frame


@contextmanager
def _told() -> Iterator[None]:
    """Context in which hints name options, and warnings about data become lines of standard error."""
    with command_line_hints(), warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always", DataWarning)
        yield
    for warning in caught:
        if issubclass(warning.category, DataWarning):
            typer.echo(f"llmrec: {warning.message}", err=True)
        else:
            warnings.warn_explicit(warning.message, warning.category, warning.filename, warning.lineno)


def takes_data(command: Callable[..., None]) -> Callable[..., None]:
    """Command with the options of `DataSource`; it gets them as one in its argument `source`."""
    own = inspect.signature(command, eval_str=True).parameters
    shared = inspect.signature(DataSource, eval_str=True).parameters

    @wraps(command)
    def with_options(**given: Any) -> None:
        source = DataSource(**{name: given.pop(name) for name in shared})
        command(**given, source=source)

    keyword = inspect.Parameter.KEYWORD_ONLY
    parameters = [p.replace(kind=keyword) for p in (*own.values(), *shared.values()) if p.name != "source"]
    # typer reads the signature for the order and the annotations for the types.
    with_options.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]
    with_options.__annotations__ = {p.name: p.annotation for p in parameters}
    del with_options.__wrapped__
    return with_options

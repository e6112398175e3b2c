"""The experiments by name, what a result says of its origin, and whether it still belongs to the code at hand."""

from __future__ import annotations

import datetime
import hashlib
import inspect
import json
import os
import pkgutil
import platform
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from importlib import import_module
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any, Literal, TypeVar

import numpy as np

import book.experiments
from book.tools import code
from book.tools.code import ROOT, closure, code_hash
from llmrec_lite import assets
from llmrec_lite.files import to_json, write_json

RESULTS_DIR = ROOT / "book" / "results"
PACKAGES = ("numpy", "scipy", "pandas", "scikit-learn", "torch", "transformers", "tokenizers")
Result = dict[str, Any]
Status = Literal["fresh", "checked", "stale", "not run"]
# Bookkeeping: it decides no number. What `assets` fetches is in the hash of the data.
BOOKKEEPING = [Path(str(module.__file__)) for module in (assets, code)] + [Path(__file__)]
TIMES = {"seconds", "in_all", "texts a second"}  # of the machine, not of the model
T = TypeVar("T")


@dataclass(frozen=True)
class Row:
    """A part of a result, computed a second time.

    Attributes:
        name: what was computed again, such as "EASE" or "fold 2".
        stored: numbers of the committed result.
        computed: the same numbers, made by the code at hand.
    """

    name: str
    stored: Any
    computed: Any

    @classmethod
    def of(cls, name: str, table: Sequence[Result], computed: Result | Sequence[Result], *labels: str) -> Row:
        """Set rows beside those of a stored table with the same labels, as far as both have columns; but no times."""
        found = []
        for row in [computed] if isinstance(computed, Mapping) else computed:
            old = find(table, **{label: row[label] for label in labels})
            # Of a row that is not stored all columns are kept, so that it differs.
            both = {key: value for key, value in row.items() if key not in TIMES and (key in old or not old)}
            found.append(({key: old[key] for key in both if old}, both))
        return cls(name, [stored for stored, _ in found], [again for _, again in found])


def find(table: Sequence[Result], **labels: Any) -> Result:
    """Row of a table that has these labels; an empty one where none has."""
    return next((row for row in table if all(row[key] == value for key, value in labels.items())), {})


def draw(rng: np.random.Generator, choices: Iterable[T]) -> T:
    """Draw one of several."""
    options = list(choices)
    return options[int(rng.integers(len(options)))]


Check = Callable[[Result, np.random.Generator], Iterable[Row]]


class Experiment:
    """A function that computes a result, and one that computes a part of it again.

    Attributes:
        name: of the function, and of the result's file.
        about: first lines of its docstring.
    """

    def __init__(self, function: Callable[[], Result]) -> None:
        self.function, self.name = function, function.__name__
        self.about = inspect.cleandoc(function.__doc__ or "")
        self.recompute: Check | None = None
        self.file = Path(inspect.getfile(function))

    def __call__(self) -> Result:
        """Compute the result."""
        return self.function()

    def check(self, recompute: Check) -> Check:
        """Register the function that computes a few rows again; it is given the stored result and a generator."""
        self.recompute = recompute
        return recompute

    def origin(self) -> dict[str, str]:
        """Hashes of the code that the experiment rests on, and of the data it names."""
        files = closure([self.file], without=BOOKKEEPING)
        words = frozenset().union(*(code.strings(code.read(file)) for file in files))
        named = [a for a in assets.ASSETS.values() if a.name in words]
        data = hashlib.sha256("".join(f"{a.name} {a.sha256} {a.prefix}\n" for a in named).encode()).hexdigest()[:16]
        return {"code": code_hash(files), "data": data}


EXPERIMENTS: dict[str, Experiment] = {}


def experiment(function: Callable[[], Result]) -> Experiment:
    """Register a function as an experiment under its own name, which no other has."""
    if (other := EXPERIMENTS.get(function.__name__)) and other.file != Path(inspect.getfile(function)):
        raise ValueError(f"{other.file.name} has an experiment {function.__name__!r} already; name this one otherwise")
    EXPERIMENTS[function.__name__] = Experiment(function)
    return EXPERIMENTS[function.__name__]


def register_all() -> dict[str, Experiment]:
    """Import every file of experiments, and return all of them by name."""
    for module in pkgutil.iter_modules(book.experiments.__path__):
        if module.name.startswith("ch"):
            import_module(f"book.experiments.{module.name}")
    return dict(sorted(EXPERIMENTS.items()))


def provenance() -> dict[str, Any]:
    """Where and with what a result is computed, without the name of the machine or its user."""
    packages = {}
    for name in ("llmrec-lite", *PACKAGES):
        try:
            packages[name] = version(name)
        except PackageNotFoundError:  # a checkout that was never installed
            packages[name] = "not installed"
    return {
        "date": datetime.date.today().isoformat(),
        "python": platform.python_version(),
        "packages": packages,
        "machine": f"{platform.system()} {platform.machine()}, {os.cpu_count()} cores",
    }


def run(name: str, folder: Path = RESULTS_DIR) -> Path:
    """Run an experiment and write its result with its origin; return the file.

    Raises:
        ValueError: no such experiment.
    """
    if name not in register_all():
        raise ValueError(f"there is no experiment {name!r}; known: {', '.join(sorted(EXPERIMENTS))}")
    one = EXPERIMENTS[name]
    about = {"name": name, "about": one.about, **provenance(), **one.origin()}  # before the hours, not after
    start = time.perf_counter()
    result = one()
    write_json(folder / f"{name}.json", {**about, "seconds": round(time.perf_counter() - start), "result": result})
    return folder / f"{name}.json"


def status(record: Result, one: Experiment) -> Status:
    """Whether a stored result was made by this code ("fresh"), found equal with it ("checked"), or neither."""
    origin = one.origin()
    if {key: record.get(key) for key in origin} == origin:
        return "fresh"
    return "checked" if {key: record.get("checked", {}).get(key) for key in origin} == origin else "stale"


def overview(folder: Path = RESULTS_DIR) -> list[dict[str, Any]]:
    """Return for each result its name, chapter, status, date, seconds, and the date of its last check or ""."""
    rows = []
    for name, one in register_all().items():
        if (path := folder / f"{name}.json").is_file():
            record = json.loads(path.read_text("utf-8"))
            row = {"name": name, "chapter": int(one.file.stem[2:4]), "status": status(record, one)}
            row |= {"date": record["date"], "seconds": record["seconds"]}
            rows.append(row | {"checked": record.get("checked", {}).get("date", "")})
    return rows


def check(name: str, seed: int | None = None, folder: Path = RESULTS_DIR) -> tuple[Status, list[tuple[Row, float]]]:
    """Compute a few rows of a stored result again; where they agree, the record says by which code.

    Args:
        name: of an experiment.
        seed: of which rows are drawn; today's date where None.
        folder: of the results.

    Returns:
        The status afterwards, and each row with its largest relative difference; "not run" where nothing is stored.

    Raises:
        ValueError: no such experiment.
    """
    if name not in register_all():
        raise ValueError(f"there is no experiment {name!r}; known: {', '.join(sorted(EXPERIMENTS))}")
    one, path = EXPERIMENTS[name], folder / f"{name}.json"
    if not path.is_file():
        return "not run", []
    record = json.loads(path.read_text("utf-8"))
    if one.recompute is None:
        return status(record, one), []
    origin, rows = one.origin(), []
    rng = np.random.default_rng(datetime.date.today().toordinal() if seed is None else seed)
    for row in one.recompute(record["result"], rng):
        rows.append((row, difference(row.stored, json.loads(to_json(row.computed)))))  # as the stored were written
    agree = max((far for _, far in rows), default=np.inf) <= TOLERANCE
    if agree == (status(record, one) == "stale"):  # confirmed, or refuted after all
        result, _ = record.pop("result"), record.pop("checked", None)
        if agree:
            today = datetime.date.today().isoformat()
            record["checked"] = {**origin, "date": today, "rows": [row.name for row, _ in rows]}
        write_json(path, record | {"result": result})
    return status(record, one) if agree else "stale", rows


TOLERANCE = 1e-3  # relative; sums of float32 in another order move the last digits


def difference(stored: Any, computed: Any) -> float:
    """Largest difference between two nests of numbers, relative where a number is above one; inf for another shape."""
    if isinstance(stored, dict):
        if not isinstance(computed, dict) or set(stored) != set(computed):
            return float("inf")
        return max((difference(stored[key], computed[key]) for key in stored), default=0.0)
    if isinstance(stored, list | tuple):
        if not isinstance(computed, list | tuple | np.ndarray) or len(stored) != len(computed):
            return float("inf")
        return max((difference(a, b) for a, b in zip(stored, computed, strict=True)), default=0.0)
    if isinstance(stored, bool | str) or stored is None:
        return 0.0 if stored == computed else float("inf")
    if not isinstance(computed, int | float | np.number) or isinstance(computed, bool):
        return float("inf")
    if np.isnan(stored) or np.isnan(computed):
        return 0.0 if np.isnan(stored) and np.isnan(computed) else float("inf")
    return abs(stored - computed) / max(abs(stored), 1.0) if np.isfinite(stored) else float(stored != computed)

"""Chapter 1: errors in a log of interactions, row by row, and their removal.

`find_problems` and `find_bursts` only look; `clean` removes and reports. A row number counts the rows after the
header, from 1.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pandas as pd

from llmrec_lite.errors import hint, shorten

# What the columns of a data set can hold: float32 ratings, seconds until the year 5138.
LARGEST = {"rating": float(np.finfo(np.float32).max), "timestamp": 1e11}


def find_problems(interactions: pd.DataFrame, rating_range: tuple[float, float] | None = None) -> pd.DataFrame:
    """Rows that no recommender should be trained on: user_id, item_id, rating or timestamp are not valid.

    Returns:
        One row a problem: row (from 1), column, problem ("missing", "not a number", "infinite", "too large",
        "out of range" or "duplicate of row N") and value, ordered by row. Only valid rows count as duplicates.
    """
    interactions = interactions.reset_index(drop=True)
    found = []

    def note(mask: pd.Series | np.ndarray, column: str, problem: str) -> None:
        for position in np.flatnonzero(mask):
            found.append((position + 1, column, problem, interactions[column].iloc[position]))

    for column in ("user_id", "item_id"):
        note(interactions[column].isna(), column, "missing")
    for column in ("rating", "timestamp"):
        number = pd.to_numeric(interactions[column], errors="coerce").astype("float64")
        note(interactions[column].isna(), column, "missing")
        note(number.isna() & interactions[column].notna(), column, "not a number")
        note(np.isinf(number), column, "infinite")
        note(np.isfinite(number) & (number.abs() > LARGEST[column]), column, "too large")
        if column == "rating" and rating_range is not None:
            low, high = rating_range
            note(
                (np.isfinite(number) & ((number < low) | (number > high))),
                column,
                f"out of range {low} to {high}",
            )
    # A row that repeats an invalid one is the only usable copy, so it must not go as well.
    valid = interactions.drop(index=[row - 1 for row, *_ in found])
    # Rows at the same second are one visit logged twice. Without timestamps all rows are at second 0.
    key = [valid[name] for name in ("user_id", "item_id", "timestamp")]
    first = valid.index.to_series().groupby(key).transform("min")
    for position in valid.index[first != valid.index]:
        twin = f"duplicate of row {first[position] + 1}"
        found.append((position + 1, "user_id", twin, interactions["user_id"].iloc[position]))
    table = pd.DataFrame(found, columns=["row", "column", "problem", "value"])
    return table.astype({"row": "int64"}).sort_values("row", kind="stable", ignore_index=True)


def describe_problems(problems: pd.DataFrame, max_rows: int = 10, where: str | None = None) -> str:
    """Text that lists what `find_problems` found in a file or table, the first `max_rows` of them row by row."""
    lines = [
        f"  row {row.row}: {row.column} {shorten(row.value)}: {row.problem}"
        for row in problems.head(max_rows).itertuples()
    ]
    if len(problems) > max_rows:
        lines.append(f"  ... and {len(problems) - max_rows:,} more")
    n = problems["row"].nunique()
    what = f"{where}: " if where else ""
    advice = f"mend the file, or pass {hint('invalid', 'drop')} to leave those rows out"
    return "\n".join([f"{what}{n:,} rows cannot be used ({advice}):", *lines])


def find_bursts(interactions: pd.DataFrame, min_ratings: int = 100, seconds: int = 60) -> pd.DataFrame:
    """Find users who rate faster than a person can have watched, or even read.

    A burst is a window of `seconds` with at least `min_ratings` ratings of one user. It is a sign (a robot, a
    bulk import, a page that shows many films at once), not an error: nothing is removed.

    Returns:
        One row a user with a burst: user_id, ratings (the most within one window), start (timestamp).
    """
    rows = []
    for user_id, times in interactions.groupby("user_id", sort=False)["timestamp"]:
        times = np.sort(times.to_numpy())
        within = np.searchsorted(times, times + seconds, side="right") - np.arange(len(times))
        if within.max() >= min_ratings:
            rows.append((user_id, int(within.max()), int(times[within.argmax()])))
    table = pd.DataFrame(rows, columns=["user_id", "ratings", "start"])
    return table.sort_values("ratings", ascending=False, kind="stable", ignore_index=True)


@dataclass(frozen=True)
class CleaningReport:
    """Rows before and after `clean`, and the rows that each step removed, by name."""

    before: int
    after: int
    removed: dict[str, int]

    def table(self) -> pd.DataFrame:
        """Return the report as a table with the columns step and rows."""
        steps = [("rows read", self.before), *((f"- {k}", v) for k, v in self.removed.items())]
        return pd.DataFrame([*steps, ("rows kept", self.after)], columns=["step", "rows"])


def clean(
    interactions: pd.DataFrame, rating_range: tuple[float, float] | None = None
) -> tuple[pd.DataFrame, CleaningReport]:
    """Drop invalid rows, then keep only each user's latest rating of an item; order is kept, with a fresh index."""
    interactions = interactions.reset_index(drop=True)
    problems = find_problems(interactions, rating_range)
    kind = problems["problem"].str.replace(r" (of row|-|\d).*$", "", regex=True)
    removed = problems.assign(kind=kind).drop_duplicates("row").groupby("kind", sort=False).size().to_dict()
    kept = interactions.drop(interactions.index[problems["row"].unique() - 1])
    in_time = kept.assign(timestamp=pd.to_numeric(kept["timestamp"])).sort_values("timestamp", kind="stable")
    latest = in_time.drop_duplicates(["user_id", "item_id"], keep="last").index
    removed["rated again later"] = len(kept) - len(latest)
    kept = kept.loc[kept.index.isin(latest)].reset_index(drop=True)
    return kept, CleaningReport(len(interactions), len(kept), {str(k): int(v) for k, v in removed.items()})


def add_time_features(interactions: pd.DataFrame) -> pd.DataFrame:
    """Return the table with year, month, day, hour and weekday (0 = Monday) of every timestamp, in UTC."""
    moment = pd.to_datetime(interactions["timestamp"], unit="s", utc=True).dt
    parts = {name: getattr(moment, name) for name in ("year", "month", "day", "hour")}
    return interactions.assign(**parts, weekday=moment.day_of_week)

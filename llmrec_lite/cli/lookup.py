"""Users and items by the words of a command line."""

from __future__ import annotations

import difflib
from typing import Any

import pandas as pd

from llmrec_lite.cli.output import printable
from llmrec_lite.data import Dataset
from llmrec_lite.errors import SettingError


def find_user(dataset: Dataset, text: str) -> Any:
    """User id that reads like `text`: ids may be numbers, a command line has only strings."""
    ids = dataset.users["user_id"]
    matches = ids[ids.astype(str) == text]
    if matches.empty:
        some = ", ".join(map(str, ids.head(3)))
        raise SettingError(f"there is no user {text!r} among the {len(ids):,} users ({some}, ...)")
    return matches.iloc[0]


def check_words(*words: str | None) -> None:
    """Make sure that arguments are text.

    Raises:
        SettingError: one has bytes that are no text in the encoding of this system.
    """
    for word in words:
        try:
            (word or "").encode()
        except UnicodeEncodeError:
            raise SettingError(f"{word!a} is no valid text in UTF-8; type it again") from None


def liked_items(dataset: Dataset, titles: list[str]) -> list[tuple[Any, float]]:
    """History of a user who likes these titles; a title that is said twice counts once."""
    places = dict.fromkeys(find_title(dataset, title) for title in titles)
    return [(dataset.items["item_id"].iloc[place], 5.0) for place in places]


def find_title(dataset: Dataset, title: str) -> int:
    """Index of the item called `title`, with or without its year; the most popular of several."""
    labels, titles = dataset.labels().str.casefold(), dataset.items["title"].str.casefold()
    wanted = title.casefold().strip()
    matches = pd.Series(range(len(labels)))[(labels == wanted) | (titles == wanted)]
    if matches.empty:
        near = difflib.get_close_matches(wanted, labels.tolist(), n=3, cutoff=0.5)
        inside = labels[labels.str.contains(wanted, regex=False)].index[:3].tolist()
        similar = list(dict.fromkeys(inside + [labels[labels == n].index[0] for n in near]))[:4]
        called = [printable(label)[:80] for label in dataset.labels()[similar]]
        hint = "; did you mean " + " or ".join(called) + "?" if similar else ""
        raise SettingError(f"there is no item called {title!r}{hint}")
    counts = pd.Series(dataset.item_index).value_counts()
    return int(max(matches, key=lambda index: counts.get(index, 0)))

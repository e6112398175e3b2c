"""Items, users and requests as text: what a model that reads gets to read."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Mapping
from typing import Any

import pandas as pd

_WORD = re.compile(r"\w+", re.UNICODE)

# Words that hold a sentence together and say nothing about what it is about.
_STOP_WORDS = """
a an and are as at be but by for from had has have he her his i in into is it its me my no not of off on or our
out s she so t that the their them they this to up was we were what when where who will with you your
"""
STOP_WORDS = frozenset(_STOP_WORDS.split())

# Articles that a catalog has moved behind a title or the second title in brackets: "Postino, Il".
_ARTICLES = "The|A|An|Il|Lo|La|Le|Les|Un|Une|Una|El|Los|Las|Das|Der|Die|Den|Det|En|O|L'"
_MOVED_ARTICLE = re.compile(rf"([^()]+), ({_ARTICLES})(?=\s*\(|\)|$)")


def normalize_text(text: str) -> str:
    """Return one spelling for one string: Unicode NFKC, single spaces, none at the ends."""
    return " ".join(unicodedata.normalize("NFKC", text).split())


def tokenize(text: str) -> list[str]:
    """Split into lower-case words of letters, digits and underscores.

    An apostrophe splits ("Children's" gives "children" and "s"), and a run of Chinese characters stays one
    word: good enough to count words with; chapter 8 learns a real tokenizer.
    """
    return _WORD.findall(normalize_text(text).lower())


def film_label(title: str, year: Any) -> str:
    """Return "Title (year)", or the title alone where no year is known. Titles repeat; labels may too."""
    return title if pd.isna(year) else f"{title} ({int(year)})"


def reading_order(title: str) -> str:
    """Title with a moved article back in front, "Godfather, The" as "The Godfather"."""
    if title.endswith("), The"):
        return f"The {title[:-5]}"
    return _MOVED_ARTICLE.sub(lambda m: f"{m[2]}{'' if m[2].endswith(chr(39)) else ' '}{m[1]}", title)


def item_text(item: Mapping[str, Any]) -> str:
    """Describe an item in a sentence: label and genres, as far as they are known."""
    title, genres = ("" if pd.isna(item.get(key)) else str(item[key]) for key in ("title", "genres"))
    genres = ", ".join(g for g in genres.split("|") if g and g != "unknown")
    label = film_label(title, item.get("year"))
    return normalize_text(f"{label}. {genres}." if genres else f"{label}.")

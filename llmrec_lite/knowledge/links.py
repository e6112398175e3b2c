"""Chapter 17: which film of the catalogue is which entity of the knowledge graph."""

from __future__ import annotations

import lzma
import pickle
import re
from collections import defaultdict
from collections.abc import Iterable
from typing import Any

import pandas as pd
from scipy import sparse

from llmrec_lite import assets
from llmrec_lite.data import Dataset
from llmrec_lite.knowledge.graph import fact_matrix, load_film_facts

# All that a table of numbers and strings needs to come out of its pickle. Anything else in it is refused.
_ALLOWED = {
    "builtins": {"slice"},
    "numpy": {"dtype", "ndarray"},
    "numpy.core.multiarray": {"_reconstruct"},
    "numpy.core.numeric": {"_frombuffer"},
    "pandas._libs.internals": {"_unpickle_block"},
    "pandas.core.frame": {"DataFrame"},
    "pandas.core.indexes.base": {"Index", "_new_Index"},
    "pandas.core.indexes.range": {"RangeIndex"},
    "pandas.core.internals.managers": {"BlockManager"},
}

Words = tuple[str, ...]


class _TableUnpickler(pickle.Unpickler):
    """Reads a data frame and refuses every pickle that asks for more: a pickle can run any program."""

    def find_class(self, module: str, name: str) -> Any:
        if name not in _ALLOWED.get(module, ()):
            raise pickle.UnpicklingError(f"a table must not ask for {module}.{name}; the file is not what it should be")
        return super().find_class(module.replace("numpy.core", "numpy._core"), name)  # the place since numpy 2


def load_later_titles() -> pd.DataFrame:
    """Load the films of a later edition of MovieLens (2016), columns movie_id, title, year; one row a film.

    Harper and Konstan, "The MovieLens Datasets: History and Context", ACM TiiS 5(4), 2015.
    """
    with lzma.open(assets.locate("movielens-titles") / "movielens.pkl.compress") as stream:
        ratings = _TableUnpickler(stream).load()
    films = ratings[["movieId", "title", "year"]].drop_duplicates("movieId").dropna()
    films.columns = ["movie_id", "title", "year"]
    return films.astype({"movie_id": "int64", "year": "int64"}).sort_values("movie_id", ignore_index=True)


def load_shipped_links() -> pd.Series:
    """Load the links as they come with the data: the entity of the graph, indexed by `item_id`.

    They are wrong: their numbers are those of a later edition of MovieLens, see `link_by_title`.
    """
    links = pd.read_csv(assets.locate("movielens-100k") / "ml-100k.link", sep="\t")
    links.columns = ["item_id", "entity"]
    return links.set_index("item_id")["entity"]


def link_by_title(data: Dataset) -> pd.Series:
    """Return the entity of each film for which one is found, indexed by `item_id`.

    The shipped links go from the numbers of a later edition to entities; titles and years go from our films to those
    numbers. A film in the catalogue twice is linked twice. A handful of films may still get a wrong entity.
    """
    later = load_later_titles()
    found = match_titles(
        zip(data.items["title"], data.items["year"], strict=True), zip(later["title"], later["year"], strict=True)
    )
    numbers = later["movie_id"].iloc[list(found.values())].to_numpy()
    items = pd.Index(data.items["item_id"].iloc[list(found)], name="item_id")
    return pd.Series(numbers, items, name="entity").map(load_shipped_links()).dropna()


def match_titles(ours: Iterable[tuple[str, Any]], theirs: Iterable[tuple[str, Any]]) -> dict[int, int]:
    """Match films by title and year; return the place in `theirs` for places in `ours`, as far as one fits.

    Titles fit that have the same words, and years that are the same, or one apart where the articles are the same too;
    the nearest year wins. Where no title has the same words, one of a year at most one apart will do that is a part of
    the other ("Star Wars" of "Star Wars: Episode IV - A New Hope"), if it has two words at least and only one film
    fits. Films without a year match nothing.
    """
    by_year: dict[int, list[tuple[Words, Words, int]]] = defaultdict(list)
    for place, (title, year) in enumerate(theirs):
        if not pd.isna(year):
            by_year[int(year)].append((title_words(title), _articles(title), place))
    found = {}
    for ours_place, (title, year) in enumerate(ours):
        words = title_words(title)
        if pd.isna(year) or not words:
            continue
        near = [(y, *film) for y in (int(year), int(year) - 1, int(year) + 1) for film in by_year[y]]
        same = [p for y, w, articles, p in near if w == words and (y == year or articles == _articles(title))]
        part = [p for _, w, _, p in near if _contains(w, words) or _contains(words, w)]
        if same:
            found[ours_place] = same[0]
        elif len(part) == 1:
            found[ours_place] = part[0]
    return found


def title_words(title: str) -> Words:
    """Return the words of a title in lower case, without articles, "and", "of", and what stands in brackets."""
    return tuple(word for word in _all_words(title) if word not in {"a", "an", "and", "of", "the"})


def _articles(title: str) -> Words:
    return tuple(sorted(word for word in _all_words(title) if word in {"a", "an", "the"}))


def _all_words(title: str) -> list[str]:
    return re.findall(r"\w+", re.sub(r"\([^)]*\)", " ", title.lower()).replace("'", ""))


def _contains(longer: Words, shorter: Words) -> bool:
    """Say whether two words or more stand in a longer title one after the other."""
    starts = range(len(longer) - len(shorter) + 1)
    return len(shorter) >= 2 and any(longer[start : start + len(shorter)] == shorter for start in starts)


def film_facts(data: Dataset) -> sparse.csr_array:
    """Return the facts about MovieLens's films, through the mended links, (n_items, n_facts); see `fact_matrix`."""
    return fact_matrix(load_film_facts(), link_by_title(data), data)[0]

"""Chapter 17: facts about films as a graph, with people and their context in it, as features and as text."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from scipy import sparse

from llmrec_lite import assets
from llmrec_lite.cleaning import add_time_features
from llmrec_lite.data import Dataset
from llmrec_lite.errors import DataError, SettingError, shorten
from llmrec_lite.frames import id_texts
from llmrec_lite.schema import plain_name

COLUMNS = ["head", "relation", "tail"]
# What the graph says of films, in words; the other relations are these read backwards.
FILM_RELATIONS = {
    "film.film.actor": "actor",
    "film.film.award_nomination": "nominated for",
    "film.film.award_won": "won",
    "film.film.cinematography": "cinematographer",
    "film.film.country": "country",
    "film.film.directed_by": "director",
    "film.film.genre": "genre",
    "film.film.language": "language",
    "film.film.produced_by": "producer",
    "film.film.production_companies": "company",
    "film.film.rating": "age rating",
    "film.film.sequel": "sequel",
    "film.film.subjects": "subject",
    "film.film.written_by": "writer",
}


@dataclass(frozen=True)
class KnowledgeGraph:
    """Facts (head, relation, tail) as numbers.

    Attributes:
        entities: the name of each entity.
        relations: the name of each relation.
        triples: (n, 3) int64: head, relation, tail.
    """

    entities: pd.Index
    relations: pd.Index
    triples: np.ndarray

    @classmethod
    def from_frame(cls, facts: pd.DataFrame) -> KnowledgeGraph:
        """Make a graph of a frame with the columns head, relation, tail; facts that repeat count once."""
        if missing := [column for column in COLUMNS if column not in facts]:
            raise SettingError(f"facts need the columns head, relation and tail; there is no {', '.join(missing)}")
        facts = facts[COLUMNS].drop_duplicates()
        if facts.empty or facts.isna().any(axis=None):
            raise SettingError("there is no fact" if facts.empty else "a fact has a missing head, relation or tail")
        entities = pd.Index(np.unique(facts[["head", "tail"]].to_numpy(dtype=str)))
        relations = pd.Index(np.unique(facts["relation"].to_numpy(dtype=str)))
        columns = [
            index.get_indexer(facts[column].astype(str))
            for index, column in zip((entities, relations, entities), COLUMNS, strict=True)
        ]
        return cls(entities, relations, np.stack(columns, 1).astype(np.int64))

    def __len__(self) -> int:
        return len(self.triples)

    def frame(self) -> pd.DataFrame:
        """Return the facts by name."""
        head, relation, tail = self.triples.T
        parts = self.entities[head], self.relations[relation], self.entities[tail]
        return pd.DataFrame(dict(zip(COLUMNS, parts, strict=True)))

    def split(self, fraction: float = 0.1, seed: int = 0) -> tuple[KnowledgeGraph, KnowledgeGraph]:
        """Draw facts for a test whose entities and relations all stay in the rest; both parts keep the numbers.

        Fewer than the fraction are drawn where too few facts can be spared.
        """
        if not 0 < fraction < 1:
            raise SettingError(f"fraction must lie between 0 and 1, not {fraction!r}")
        head, relation, tail = self.triples.T
        degree = np.bincount(np.concatenate([head, tail]), minlength=len(self.entities))
        uses = np.bincount(relation, minlength=len(self.relations))
        taken = np.zeros(len(self), bool)
        for fact in np.random.default_rng(seed).permutation(len(self)):
            h, r, t = self.triples[fact]
            if taken.sum() >= round(fraction * len(self)):
                break
            if degree[h] > 1 + (h == t) and degree[t] > 1 + (h == t) and uses[r] > 1:
                taken[fact] = True
                degree[h] -= 1
                degree[t] -= 1
                uses[r] -= 1
        return tuple(  # type: ignore[return-value]
            KnowledgeGraph(self.entities, self.relations, self.triples[part]) for part in (~taken, taken)
        )


def load_triples() -> pd.DataFrame:
    """Load the 91,631 Freebase triples that come with MovieLens 100K, as they are: head, relation, tail.

    Zhao and others, "KB4Rec: A Data Set for Linking Knowledge Bases with Recommender Systems", Data Intelligence 1(2),
    2019. Entities have numbers such as m.0f4_l, no names.
    """
    triples = pd.read_csv(assets.locate("movielens-100k") / "ml-100k.kg", sep="\t", quoting=3)
    triples.columns = COLUMNS
    return triples


def load_film_facts() -> pd.DataFrame:
    """Load the facts whose head is a film, each once: those that say the same backwards are left out."""
    triples = load_triples()
    facts = triples[triples["relation"].isin(FILM_RELATIONS)]
    return facts.assign(relation=facts["relation"].map(FILM_RELATIONS)).reset_index(drop=True)


def inverse_relations(facts: pd.DataFrame) -> pd.DataFrame:
    """Find relations that say the same backwards: relation, inverse, and the share of its facts that are there twice.

    One row for each relation, with the relation that mirrors most of it; relations that nothing mirrors have none.
    """
    mirrored = facts.merge(facts, left_on=["head", "tail"], right_on=["tail", "head"], suffixes=("", "_back"))
    both = mirrored.groupby(["relation", "relation_back"]).size()
    share = both / facts.groupby("relation").size().reindex(both.index.get_level_values(0)).to_numpy()
    table = share.rename("share").reset_index().set_axis(["relation", "inverse", "share"], axis=1)
    return table.sort_values("share", ascending=False).drop_duplicates("relation").reset_index(drop=True)


def fact_matrix(
    facts: pd.DataFrame, links: pd.Series, data: Dataset, min_items: int = 2
) -> tuple[sparse.csr_array, pd.DataFrame]:
    """Features of items: one column for each pair (relation, tail) that at least `min_items` linked items share.

    A column weighs log(n_items / how many items have it), and a row has length 1, or is zero for an item without a
    link or without such a fact. Heads of the facts are entities; `links` has the entity of each item, by raw item id.

    Returns:
        (n_items, n_facts) float64, and a frame with the relation and tail of each column.
    """
    linked = pd.DataFrame({"item": data.items_to_index(links.index), "head": links.to_numpy()})
    known = linked.merge(facts, on="head").drop_duplicates(["item", "relation", "tail"])
    column = known.groupby(["relation", "tail"]).ngroup().to_numpy()
    count = np.bincount(column)
    keep = count[column] >= min_items
    used, column = np.unique(column[keep], return_inverse=True)
    weights = np.log(data.n_items / count[used])[column]
    matrix = sparse.csr_array((weights, (known["item"].to_numpy()[keep], column)), shape=(data.n_items, len(used)))
    length = np.sqrt((matrix**2).sum(1))
    matrix = sparse.csr_array(sparse.diags_array(1 / np.where(length > 0, length, 1.0)) @ matrix)
    names = known[["relation", "tail"]].drop_duplicates().sort_values(["relation", "tail"], ignore_index=True)
    return matrix, names.iloc[used].reset_index(drop=True)


def genre_facts(data: Dataset) -> sparse.csr_array:
    """Return the genres that the catalog names, weighed as `fact_matrix` does; (n_items, n_genres), none where none."""
    genres = data.items.assign(tail=data.items["genres"].fillna("").str.split("|")).explode("tail")
    facts = pd.DataFrame({"head": genres["item_id"].astype(str), "relation": "genre", "tail": genres["tail"]})
    itself = pd.Series(data.items["item_id"].astype(str).to_numpy(), data.items["item_id"])
    facts = facts[facts["tail"].notna() & (facts["tail"] != "")]
    return fact_matrix(facts, itself, data)[0] if len(facts) else sparse.csr_array((data.n_items, 1))


def item_facts(
    facts: pd.DataFrame, data: Dataset, where: str = "the table", notes: list[str] | None = None
) -> tuple[sparse.csr_array, int]:
    """Facts about items of any catalog, (n_items, n_facts) as `fact_matrix` weighs them, and how many are of its items.

    Columns are head, an item's id, relation and tail, in any case (RecBole's head_id, relation_id and tail_id too). Ids
    are compared as text, and rows with a gap are left out. `where` names the table; what was assumed is appended to
    `notes`.

    Raises:
        DataError: a column is missing or there twice, or no fact is of an item.
    """
    known = {name: column for column in COLUMNS for name in (column, f"{column}id")}
    found = [known.get(plain_name(str(name)), "") for name in facts.columns]
    if wrong := [column for column in COLUMNS if found.count(column) != 1]:
        raise DataError(
            f"{where}: facts have one column head, one relation and one tail; see {wrong[0]} among "
            f"{', '.join(map(str, facts.columns[:8]))}"
        )
    cells = [facts.iloc[:, found.index(column)] for column in COLUMNS]
    told = pd.DataFrame(
        {
            column: id_texts(cell, column, where, [] if notes is None else notes)
            for column, cell in zip(COLUMNS, cells, strict=True)
        }
    ).dropna()
    itself = pd.Series(data.items["item_id"].astype(str).to_numpy(), data.items["item_id"])
    n_used = int(told["head"].isin(itself).sum())
    if not n_used:
        raise DataError(
            f"{where}: none of its {len(facts):,} facts is of an item of the catalog; write ids as there, such as "
            f"{shorten(itself.iloc[0])}, into the column head"
        )
    return fact_matrix(told, itself, data)[0], n_used


def people_and_context(train: Dataset, links: pd.Series | None = None, liked: float = 4.0) -> pd.DataFrame:
    """Return the facts that the ratings and the people's table hold, to put users, items and context into one graph.

    User u is "user u" and liked the films rated `liked` or more; item i is its entity where it has one, else "item i".
    What is known of people (age by tens, gender, occupation) and of the films (genres, decade) are facts, and so is
    the context: the quarter of the day (UTC) in which a person mostly rates.
    """
    entity = {item: f"item {item}" for item in train.items["item_id"]} | ({} if links is None else links.to_dict())
    parts: list[tuple[Iterable[object], str, Iterable[object]]] = []
    ratings = train.interactions
    good = ratings[ratings["rating"] >= liked]
    parts.append(("user " + good["user_id"].astype(str), "liked", good["item_id"].map(entity)))
    users = train.users
    user = "user " + users["user_id"].astype(str)
    if "age" in users:
        parts.append((user, "age", (users["age"] // 10 * 10).astype(int).astype(str) + "s"))
    parts += [(user, column, users[column]) for column in ("gender", "occupation") if column in users]
    if train.has_timestamps and len(ratings):
        hours = add_time_features(ratings)["hour"]
        quarter = (hours // 6).map(dict(enumerate(("night", "morning", "afternoon", "evening"))))
        mostly = quarter.groupby(ratings["user_id"]).agg(lambda part: part.mode().iloc[0])
        parts.append(("user " + mostly.index.astype(str), "rates in the", mostly))
    items = train.items
    genres = items.assign(genre=items["genres"].str.split("|")).explode("genre").dropna(subset="genre")
    genres = genres[genres["genre"] != ""]
    parts.append((genres["item_id"].map(entity), "catalog genre", "genre " + genres["genre"]))
    dated = items.dropna(subset="year")
    decade = (dated["year"].astype(int) // 10 * 10).astype(str) + "s films"
    parts.append((dated["item_id"].map(entity), "decade", decade))
    frames = [pd.DataFrame({"head": list(h), "relation": r, "tail": list(t)}) for h, r, t in parts]
    return pd.concat(frames, ignore_index=True)


def fact_sentences(
    facts: pd.DataFrame, links: pd.Series, data: Dataset, relations: Sequence[str] = ("director", "writer"), n: int = 2
) -> list[str]:
    """Say of each item in words what it shares with others, "By the director of Alien (1979).", and so on.

    The graph has no names for people, but films have titles. Named are the up to `n` most frequent items of `data`
    that share the most tails of a relation; an item without a link or without such a fact gets "". A film that the
    catalog has twice is not named beside itself.
    """
    met = np.bincount(data.item_index, minlength=data.n_items)
    labels = data.labels()
    entity = data.items["item_id"].map(links)
    lines: list[list[str]] = [[] for _ in range(data.n_items)]
    for relation in relations:
        matrix, _ = fact_matrix(facts[facts["relation"] == relation], links, data)
        shared = ((matrix != 0).astype(np.int64) @ (matrix != 0).astype(np.int64).T).tolil()
        shared.setdiag(0)
        for item, (others, counts) in enumerate(zip(shared.rows, shared.data, strict=True)):
            found = sorted((-count, -met[other], other) for other, count in zip(others, counts, strict=True) if count)
            films = {entity[other]: labels[other] for *_, other in reversed(found) if entity[other] != entity[item]}
            if films:
                lines[item].append(f"By the {relation} of {' and '.join([*films.values()][::-1][:n])}.")
    return [" ".join(parts) for parts in lines]


Words = tuple[str, ...]


def load_later_titles() -> pd.DataFrame:
    """Load the films of a later edition of MovieLens (2016), columns movie_id, title, year; one row a film.

    Harper and Konstan, "The MovieLens Datasets: History and Context", ACM TiiS 5(4), 2015.
    """
    ratings = assets.read_frame("movielens-titles", "movielens.pkl.compress")
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
    numbers. A film in the catalog twice is linked twice. A handful of films may still get a wrong entity.
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
    """Return the facts about MovieLens's films, through the corrected links, (n_items, n_facts); see `fact_matrix`."""
    return fact_matrix(load_film_facts(), link_by_title(data), data)[0]

"""Films and entities: titles by hand, and facts that only the right links can fulfil."""

import numpy as np
import pandas as pd
import pytest

from llmrec_lite.data import load_movielens
from llmrec_lite.knowledge.graph import (
    link_by_title,
    load_film_facts,
    load_later_titles,
    load_shipped_links,
    match_titles,
    title_words,
)


@pytest.mark.parametrize(
    ("title", "words"),
    [
        ("Puppet Masters, The", ("puppet", "masters")),
        ("The Puppet Masters", ("puppet", "masters")),
        ("Wallace & Gromit: A Close Shave", ("wallace", "gromit", "close", "shave")),
        ("Shanghai Triad (Yao a yao yao dao waipo qiao)", ("shanghai", "triad")),
        ("Schindler's List", ("schindlers", "list")),
        ("(500)", ()),
    ],
)
def test_words_of_a_title(title, words):
    assert title_words(title) == words


THEIRS = [
    ("Star Wars: Episode IV - A New Hope", 1977),
    ("Sabrina", 1954),
    ("Sabrina", 1995),
    ("Wife, The", 1995),
    ("Police Story", 1985),
    ("Police Story 2", 1985),
    ("Dr. No", 1962),
]


@pytest.mark.parametrize(
    ("film", "place"),
    [
        (("Star Wars", 1977), 0),  # a part of one title only
        (("Star Wars", 1980), None),  # three years off
        (("Sabrina", 1995), 2),
        (("Sabrina", 1955), 1),
        (("Sabrina", 1975), None),
        (("Sabrina", pd.NA), None),
        (("Jupiter's Wife", 1995), None),  # one word in common is not enough
        (("The Wife", 1996), 3),
        (("Wife", 1995), 3),
        (("Wife", 1996), None),  # another year and another article: another film
        (("New Police Story", 1985), 4),  # "Police Story 2" is no part of it
        (("Story 2", 1985), 5),
        (("Police", 1985), None),
        (("Police Story II", 1985), 4),
        (("Dr No", 1962), 6),
        (("Star New", 1977), None),  # both words, but not one after the other
        (("(1977)", 1977), None),
    ],
)
def test_films_match_by_title_and_year(film, place):
    assert match_titles([film], THEIRS) == ({} if place is None else {0: place})


def test_a_part_of_two_titles_matches_neither():
    assert match_titles([("Police Story", 1986)], [("New Police Story", 1986), ("Police Story 2", 1986)]) == {}


def test_a_film_twice_in_the_catalogue_is_found_twice():
    assert match_titles([("Sabrina", 1995), ("Sabrina, The", 1995)], THEIRS) == {0: 2, 1: 2}


@pytest.fixture(scope="module")
def movielens():
    return load_movielens()


@pytest.fixture(scope="module")
def right(movielens):
    return link_by_title(movielens)


@pytest.mark.data
def test_later_titles_are_one_row_a_film():
    later = load_later_titles()
    assert len(later) > 9000
    assert later["movie_id"].is_unique
    assert later.loc[later["movie_id"] == 260, "title"].item() == "Star Wars: Episode IV - A New Hope"


@pytest.mark.data
def test_most_films_are_linked_and_hardly_any_as_the_file_says(movielens, right):
    assert 1290 <= len(right) <= 1330
    assert right.index.is_unique
    assert np.isin(movielens.interactions["item_id"], right.index).mean() > 0.93
    assert (load_shipped_links().reindex(right.index) == right).mean() < 0.01


@pytest.mark.data
def test_links_agree_with_what_both_sides_say_of_genres(movielens, right):
    # The catalog's comedies against the entity that most of them share; the shipped links find nothing in common.
    facts = load_film_facts()
    genres = facts[facts["relation"] == "genre"].groupby("tail")["head"].agg(set)
    comedy = movielens.items.set_index("item_id")["genres"].str.contains("Comedy")

    def best(found):
        comic = comedy.reindex(found.index)
        return max(np.corrcoef(comic, found.isin(heads))[0, 1] for heads in genres if len(heads) > 30)

    assert best(right) > 0.6
    assert best(load_shipped_links()) < 0.2


@pytest.mark.data
def test_sequels_come_later(movielens, right):
    facts = load_film_facts()
    sequels = facts[facts["relation"] == "sequel"]
    films = movielens.items.set_index("item_id")["year"]
    year = pd.Series(films.reindex(right.index).to_numpy(), right.to_numpy())
    year = year[~year.index.duplicated()]
    gap = year.reindex(sequels["tail"]).to_numpy(float) - year.reindex(sequels["head"]).to_numpy(float)
    gap = gap[~np.isnan(gap)]
    assert len(gap) >= 50
    assert (gap >= 0).all()
    assert (gap > 0).mean() > 0.9

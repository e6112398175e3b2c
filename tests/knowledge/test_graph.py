"""The graph: numbering, splitting, facts as features and as text, people and context."""

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from llmrec_lite import Dataset
from llmrec_lite.errors import DataError, SettingError, UnknownIdError
from llmrec_lite.knowledge.graph import (
    FILM_RELATIONS,
    KnowledgeGraph,
    fact_matrix,
    fact_sentences,
    inverse_relations,
    item_facts,
    load_film_facts,
    load_triples,
    people_and_context,
)

FACTS = pd.DataFrame(
    [
        ("a", "director", "x"),
        ("b", "director", "x"),
        ("c", "director", "y"),
        ("a", "genre", "comedy"),
        ("b", "genre", "comedy"),
        ("c", "genre", "comedy"),
        ("d", "genre", "drama"),
    ],
    columns=["head", "relation", "tail"],
)


def catalog() -> Dataset:
    """Films 1 to 5; 3 is met most; users with ages and ratings of good and bad."""
    log = pd.DataFrame(
        [(7, 1, 5.0, 0), (7, 3, 2.0, 60), (8, 3, 4.0, 13 * 3600), (8, 2, 4.0, 14 * 3600), (9, 3, 3.0, 3600)],
        columns=["user_id", "item_id", "rating", "timestamp"],
    )
    items = pd.DataFrame(
        {
            "item_id": [1, 2, 3, 4, 5],
            "title": ["One", "Two", "Three", "Four", "Five"],
            "year": [1991, 1992, 1983, None, 1995],
            "genres": ["Comedy|War", "Comedy", "Drama", "", "War"],
        }
    )
    users = pd.DataFrame({"user_id": [7, 8, 9], "age": [19, 30, 35], "occupation": ["poet", "poet", "cook"]})
    return Dataset.from_frames(log, items, users)


LINKS = pd.Series({1: "a", 2: "b", 3: "c", 4: "a"}, name="entity").rename_axis("item_id")

facts_at_random = st.lists(
    st.tuples(st.integers(0, 6), st.integers(0, 2), st.integers(0, 6)), min_size=1, max_size=40, unique=True
)


# ---- the graph ----


def test_names_become_numbers_and_come_back():
    graph = KnowledgeGraph.from_frame(pd.concat([FACTS, FACTS.head(2)]))
    assert len(graph) == len(FACTS)  # what is said twice counts once
    assert graph.triples.dtype == np.int64
    assert sorted(map(tuple, graph.frame().to_numpy())) == sorted(map(tuple, FACTS.to_numpy()))


@pytest.mark.parametrize(
    ("frame", "message"),
    [
        (FACTS.drop(columns="tail"), "tail"),
        (FACTS.head(0), None),
        (FACTS.assign(tail=[None, *FACTS["tail"][1:]]), None),
    ],
)
def test_bad_facts_get_an_error(frame, message):
    with pytest.raises(SettingError, match=message):
        KnowledgeGraph.from_frame(frame)


@given(facts_at_random, st.floats(0.05, 0.95), st.integers(0, 3))
def test_a_split_leaves_every_entity_and_relation_known(rows, fraction, seed):
    graph = KnowledgeGraph.from_frame(pd.DataFrame(rows, columns=["head", "relation", "tail"]))
    train, test = graph.split(fraction, seed)
    assert len(test) <= round(fraction * len(graph))
    both = np.concatenate([train.triples, test.triples])
    assert sorted(map(tuple, both)) == sorted(map(tuple, graph.triples))
    assert set(train.triples[:, [0, 2]].ravel()) == set(range(len(graph.entities)))
    assert set(train.triples[:, 1]) == set(range(len(graph.relations)))


def test_a_split_takes_what_it_may_and_depends_on_the_seed():
    full = pd.DataFrame([(h, "r", t) for h in range(12) for t in range(12)], columns=["head", "relation", "tail"])
    graph = KnowledgeGraph.from_frame(full)
    _, test = graph.split(0.25, seed=1)
    assert len(test) == 36
    assert (test.triples != graph.split(0.25, seed=2)[1].triples).any()
    assert (test.triples == graph.split(0.25, seed=1)[1].triples).all()


@pytest.mark.parametrize("fraction", [0, 1, -0.1])
def test_a_split_needs_a_fraction(fraction):
    with pytest.raises(SettingError, match=f"fraction.*{fraction}"):
        KnowledgeGraph.from_frame(FACTS).split(fraction)


def test_inverses_are_found():
    back = FACTS[FACTS["relation"] == "director"].rename(columns={"head": "tail", "tail": "head"})
    both = pd.concat([FACTS, back.assign(relation="directed").head(2)], ignore_index=True)
    table = inverse_relations(both).set_index("relation")
    assert table.loc["director", "inverse"] == "directed"
    assert table.loc["director", "share"] == pytest.approx(2 / 3)
    assert table.loc["directed", "share"] == 1
    assert "genre" not in table.index


# ---- facts as features ----


def test_fact_matrix_by_hand():
    matrix, names = fact_matrix(FACTS, LINKS, catalog())
    # Films 1, 2 and 4 (a, b, a) have director x; 1, 2, 3 and 4 are comedies; y has made one film only.
    assert names.to_numpy().tolist() == [["director", "x"], ["genre", "comedy"]]
    x, comedy = np.log(5 / 3), np.log(5 / 4)
    length = np.hypot(x, comedy)
    row = [x / length, comedy / length]
    np.testing.assert_allclose(matrix.toarray(), [row, row, [0, 1], row, [0, 0]])


def test_a_fact_that_is_said_twice_counts_once():
    once, _ = fact_matrix(FACTS, LINKS, catalog())
    again, _ = fact_matrix(pd.concat([FACTS, FACTS.head(3)]), LINKS, catalog())
    np.testing.assert_allclose(again.toarray(), once.toarray())


def test_facts_that_one_film_has_can_be_kept():
    matrix, names = fact_matrix(FACTS, LINKS, catalog(), min_items=1)
    assert ["director", "y"] in names.to_numpy().tolist()
    np.testing.assert_allclose(np.sqrt((matrix**2).sum(1)), [1, 1, 1, 1, 0])


def test_a_link_to_an_unknown_item_is_an_error():
    with pytest.raises(UnknownIdError, match="99"):
        fact_matrix(FACTS, pd.Series({99: "a"}), catalog())


def test_fact_sentences_name_the_best_known_first_and_never_the_film_itself():
    facts = pd.concat([FACTS, pd.DataFrame([("c", "director", "x")], columns=FACTS.columns)])
    told = fact_sentences(facts, LINKS, catalog(), relations=["director"])
    # Film 4 is film 1 once more in the catalog, so it is not named there; film 3 is met most.
    assert told[0] == "By the director of Three (1983) and Two (1992)."
    assert told[1] == "By the director of Three (1983) and One (1991)."
    assert told[3] == "By the director of Three (1983) and Two (1992)."
    assert told[4] == ""
    assert fact_sentences(facts, LINKS, catalog(), ["director"], n=1)[1] == "By the director of Three (1983)."
    assert fact_sentences(facts, LINKS, catalog(), ["genre", "director"])[2].startswith("By the genre of")


# ---- people and context ----


def test_people_items_and_context_in_one_graph():
    told = {tuple(row) for row in people_and_context(catalog(), LINKS).to_numpy()}
    assert told == {
        ("user 7", "liked", "a"),
        ("user 8", "liked", "b"),
        ("user 8", "liked", "c"),
        ("user 7", "age", "10s"),
        ("user 8", "age", "30s"),
        ("user 9", "age", "30s"),
        ("user 7", "occupation", "poet"),
        ("user 8", "occupation", "poet"),
        ("user 9", "occupation", "cook"),
        ("user 7", "rates in the", "night"),
        ("user 8", "rates in the", "afternoon"),
        ("user 9", "rates in the", "night"),
        ("a", "catalog genre", "genre Comedy"),
        ("a", "catalog genre", "genre War"),
        ("b", "catalog genre", "genre Comedy"),
        ("c", "catalog genre", "genre Drama"),
        ("item 5", "catalog genre", "genre War"),
        ("a", "decade", "1990s films"),
        ("b", "decade", "1990s films"),
        ("c", "decade", "1980s films"),
        ("item 5", "decade", "1990s films"),
    }


def test_without_people_times_and_links():
    log = pd.DataFrame({"user_id": ["u"], "item_id": ["i"], "rating": [1.0]})
    told = people_and_context(Dataset.from_frames(log), liked=1)
    assert told.to_numpy().tolist() == [["user u", "liked", "item i"]]


# ---- the real graph ----


@pytest.mark.data
def test_the_real_graph():
    triples, facts = load_triples(), load_film_facts()
    assert len(triples) == 91_631
    table = inverse_relations(triples).set_index("relation")
    assert table.loc["film.director.film", "inverse"] == "film.film.directed_by"
    assert (table["share"] == 1).sum() == 18
    assert set(facts["relation"]) == set(FILM_RELATIONS.values())
    assert not (inverse_relations(facts)["share"] > 0.05).any()


def test_facts_of_items_of_any_catalog():
    log = pd.DataFrame({"user_id": [1, 1, 2, 2], "item_id": [10, 11, 12, 13]})
    data = Dataset.from_frames(log)
    table = pd.DataFrame(
        [
            ("10", "maker", "Ann"),
            ("11", "maker", "Ann"),
            ("12", "maker", "Bob"),
            ("99", "maker", "Ann"),
            ("13", "x", None),
        ],
        columns=["head", "relation", "tail"],
    )
    facts, n_used = item_facts(table, data)
    assert n_used == 3
    np.testing.assert_allclose(facts.toarray(), [[1], [1], [0], [0]])  # one fact that two items share
    again, _ = item_facts(table[table["head"].str.len() == 2].assign(head=lambda t: t["head"].astype(int)), data)
    np.testing.assert_array_equal(again.toarray(), facts.toarray())
    other = table.assign(more=1)[["tail", "more", "relation", "head"]]
    for names in (["Tail", "more", "RELATION", " head"], ["tail_id:token", "x", "relation_id:token", "head_id:token"]):
        again, _ = item_facts(other.set_axis(names, axis=1), data)
        np.testing.assert_array_equal(again.toarray(), facts.toarray())
    twice = pd.concat([table, table[["tail"]]], axis=1)
    for wrong in (table.assign(head="film"), table.drop(columns="tail"), twice, table.assign(head=[0.5] * 5)):
        with pytest.raises(DataError):
            item_facts(wrong, data)

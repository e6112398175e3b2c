"""The rules and controls of the experiments with graphs, by hand."""

import numpy as np
import pandas as pd

from book.experiments.ch17_facts import _shuffled
from book.experiments.ch17_link_prediction import AnotherRole, ReadBackwards
from llmrec_lite.knowledge.graph import KnowledgeGraph


def graph_of(*facts: tuple[str, str, str]) -> KnowledgeGraph:
    return KnowledgeGraph.from_frame(pd.DataFrame(facts, columns=["head", "relation", "tail"]))


def test_read_backwards_looks_a_fact_up():
    graph = graph_of(("a", "wrote", "x"), ("x", "by", "a"), ("b", "wrote", "y"), ("y", "by", "b"), ("z", "by", "c"))
    entities = {name: i for i, name in enumerate(graph.entities)}
    by, wrote = graph.relations.get_loc("by"), graph.relations.get_loc("wrote")
    rule = ReadBackwards().fit(graph)
    assert rule.inverse_ == {by: wrote, wrote: by}
    # (c, wrote, ?) is answered by (z, by, c); (?, wrote, z), read backwards, by the same fact.
    scores = rule.score_tails(
        np.array([entities["c"], entities["z"], entities["z"]]), np.array([wrote, wrote + 2, wrote])
    )
    assert [row.nonzero()[0].tolist() for row in scores] == [[entities["z"]], [entities["c"]], []]


def test_another_role_names_who_is_known_of_the_pair():
    graph = graph_of(
        ("f", "director", "p"),
        ("f", "writer", "p"),
        ("g", "director", "q"),
        ("g", "writer", "q"),
        ("h", "director", "q"),
        ("i", "writer", "r"),
    )
    entities = {name: i for i, name in enumerate(graph.entities)}
    director, writer = graph.relations.get_loc("director"), graph.relations.get_loc("writer")
    rule = AnotherRole().fit(graph)
    # Two of three writers direct the same film, so "writer" tells 2/3 of a director; 1/3 of all directors are p.
    scores = rule.score_tails(np.array([entities["i"]]), np.array([director]))[0]
    np.testing.assert_allclose(scores[[entities["r"], entities["q"], entities["p"]]], [2 / 3, 2 / 3, 1 / 3], rtol=1e-6)
    # Read backwards: which film did r direct? The one that r wrote.
    backwards = rule.score_tails(np.array([entities["r"]]), np.array([director + 2]))[0]
    assert backwards.argmax() == entities["i"]
    assert rule.score_tails(np.array([entities["h"]]), np.array([writer]))[0].argmax() == entities["q"]


def test_shuffled_links_keep_twins_together():
    links = pd.Series({1: "a", 2: "b", 3: "a", 4: "c", 5: "d"})
    seen = [_shuffled(links, seed) for seed in range(5)]
    for one in seen:
        assert one[1] == one[3]
        assert sorted(one.unique()) == ["a", "b", "c", "d"]
    assert any(not one.equals(links) for one in seen)

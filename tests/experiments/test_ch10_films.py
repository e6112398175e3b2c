"""The parts that the experiments of chapter 10 are made of: no answer in a question, and fresh starts."""

import numpy as np
import pandas as pd
import pytest
import torch
from torch import nn

from book.experiments.ch10_films import Matched, begin_again, liked_pairs, taste
from book.experiments.ch10_tuning import told_again
from llmrec_lite.data import Dataset
from llmrec_lite.language.lora import add_lora


@pytest.fixture
def likes():
    """Two people with eight likes and two dislikes each, and one with three likes."""
    rows = [(u, i, 5 if i < 8 else 1, i) for u in range(2) for i in range(10)] + [(2, i, 5, i) for i in range(3)]
    return Dataset.from_frames(
        pd.DataFrame(rows, columns=["user_id", "item_id", "rating", "timestamp"]),
        pd.DataFrame(
            {"item_id": range(12), "title": [f"T{i}" for i in range(12)], "text": [f"text {i}" for i in range(12)]}
        ),
    )


def test_pairs_are_of_likes_and_never_tell_the_film_itself(likes):
    pairs = liked_pairs(likes, 100, seed=0)
    assert {p.user for p in pairs} == {0, 1}  # three likes are too few to tell five and ask for another
    for pair in pairs:
        told = pair.text.removeprefix("Somebody who likes ").removesuffix(".").split("; ")
        assert len(set(told)) == 5
        assert set(told) <= {f"T{i}" for i in range(8)}
        assert f"T{pair.item}" not in told
        assert pair.other == f"text {pair.item}"
        assert pair.item < 8
    assert liked_pairs(likes, 100, seed=0) == pairs != liked_pairs(likes, 100, seed=1)
    assert len(liked_pairs(likes, 3, seed=0)) == 3


class Lengths:
    """Vectors by hand: how many titles are told, and the number at the end of an item's text."""

    def encode(self, texts):
        return np.array([[1 + text.count(";"), float(text.split()[-1].strip("T."))] for text in texts], np.float32)


def test_a_user_is_matched_by_the_last_five_likes(likes):
    model = Matched(Lengths()).fit(likes)
    np.testing.assert_array_equal(model.users_[:, 0], [5, 5, 3])
    np.testing.assert_array_equal(model.users_[:, 1], [7, 7, 2])  # the most recent like stands last
    np.testing.assert_allclose(model.score_indices([2])[0], model.items_ @ [3, 2])
    assert taste(["A", "B"]) == "Somebody who likes A; B."


def test_a_lora_begins_again_as_if_nothing_had_happened():
    model = add_lora(nn.Sequential(nn.Linear(6, 4)), ["0"], rank=2)
    x = torch.randn(3, 6, generator=torch.Generator().manual_seed(0))
    before = model(x).detach()
    nn.init.normal_(model[0].B)
    changed = model[0].A.detach().clone()
    assert not torch.allclose(model(x), before)
    begin_again(model, seed=1)
    torch.testing.assert_close(model(x), before)
    first = model[0].A.detach().clone()
    assert not torch.equal(first, changed)
    begin_again(model, seed=1)
    assert torch.equal(model[0].A, first)


def test_a_review_told_again_keeps_whole_sentences():
    text = "Soft fabric. It runs small! Would buy again?"
    sentences = {"Soft fabric", "It runs small", "Would buy again"}
    tellings = [told_again(text, seed) for seed in range(30)]
    for told in tellings:
        assert set(told.removesuffix(".").split(". ")) <= sentences
    assert len(set(tellings)) > 5
    assert told_again(text, 3, drop=0.999999) == "Soft fabric."  # one stays
    assert told_again("...", 0) == "..."
    assert sorted(told_again(text, 1, drop=0).removesuffix(".").split(". ")) == sorted(sentences)

"""Items as text: one spelling, known parts only."""

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from llmrec_lite.text import STOP_WORDS, film_label, item_text, normalize_text, tokenize


@pytest.mark.parametrize(
    ("text", "normal"),
    [
        ("  two \t words\n", "two words"),
        ("e\u0301", "\u00e9"),  # e and an accent are one letter
        ("\uff21\u3000\ufb01", "A fi"),  # full-width A, ideographic space, the ligature fi
        ("", ""),
    ],
)
def test_normalize(text, normal):
    assert normalize_text(text) == normal


@given(st.text())
def test_normalizing_twice_changes_nothing(text):
    once = normalize_text(text)
    assert normalize_text(once) == once
    assert once == once.strip()
    assert "  " not in once


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("Children's Sci-Fi, 1995!", ["children", "s", "sci", "fi", "1995"]),
        ("Am\u00e9lie  snake_case", ["am\u00e9lie", "snake_case"]),
        ("\u63a8\u8350\u7cfb\u7edf, \uff21\uff22", ["\u63a8\u8350\u7cfb\u7edf", "ab"]),
        ("...", []),
    ],
)
def test_tokenize(text, words):
    assert tokenize(text) == words


@given(st.text())
def test_tokens_are_tokens(text):
    words = tokenize(text)
    assert all(word and not set(word) & set(" .,!'-\n") for word in words)


def test_stop_words_are_tokens():
    assert tokenize(" ".join(sorted(STOP_WORDS))) == sorted(STOP_WORDS)
    assert {"the", "of", "s"} <= STOP_WORDS
    assert not {"love", "war", "film"} & STOP_WORDS


@pytest.mark.parametrize("year", [None, np.nan, pd.NA])
def test_a_label_without_a_year_is_the_title(year):
    assert film_label("Heat", year) == "Heat"


@pytest.mark.parametrize("year", [1995, 1995.0, np.int64(1995)])
def test_a_label_with_a_year(year):
    assert film_label("Heat", year) == "Heat (1995)"


@pytest.mark.parametrize(
    ("item", "text"),
    [
        ({"title": "Heat", "year": 1995, "genres": "Crime|Drama"}, "Heat (1995). Crime, Drama."),
        ({"title": "Heat", "year": None, "genres": "unknown"}, "Heat."),
        ({"title": "Heat", "genres": "unknown|Crime||"}, "Heat. Crime."),
        ({"title": "Heat  2 "}, "Heat 2 ."),
        ({"title": "Heat", "genres": np.nan}, "Heat."),
        ({"title": "Heat", "year": pd.NA, "genres": pd.NA}, "Heat."),
    ],
)
def test_item_text(item, text):
    assert item_text(item) == text

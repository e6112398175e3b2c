import pandas as pd
import pytest

from llmrec_lite.errors import SettingError
from llmrec_lite.reviews import load_reviews, split_texts


@pytest.fixture(scope="module")
def reviews() -> pd.DataFrame:
    return load_reviews()


@pytest.mark.data
def test_every_review_has_a_text_of_its_own(reviews):
    assert len(reviews) == 22_634
    assert (reviews["text"].str.len() > 0).all()
    assert reviews["text"].is_unique
    assert reviews["rating"].between(1, 5).all()
    assert reviews["recommended"].dtype == bool
    assert not reviews.isna().any().any()


@pytest.mark.data
def test_the_columns_are_those_of_the_file(reviews):
    first = reviews.iloc[0]
    assert (first["review_id"], first["item_id"], first["age"], first["rating"]) == (0, 767, 33, 4)
    assert first["text"].startswith("Absolutely wonderful - silky")
    assert first["department"] == "Intimate"
    assert first["title"] == ""


def test_a_split_deals_every_text_out_once():
    texts = pd.Series([f"text {i}" for i in range(50)])
    train, valid, test = split_texts(texts, seed=3)
    assert (len(train), len(valid), len(test)) == (40, 5, 5)
    assert sorted(train + valid + test) == sorted(texts)
    assert split_texts(texts, seed=3) == (train, valid, test)
    assert split_texts(texts, seed=4)[2] != test


@pytest.mark.parametrize("share", [0.0, 0.6, -0.1])
def test_a_split_that_leaves_nothing_is_refused(share):
    with pytest.raises(SettingError):
        split_texts(pd.Series(["a", "b", "c", "d"]), seed=0, held_out=share)

"""Users and items as text: what is told, in which order, and never the answer."""

import numpy as np
import pandas as pd
import pytest

from llmrec_lite.data import Dataset
from llmrec_lite.errors import SettingError
from llmrec_lite.language.decoding import chat_prompt
from llmrec_lite.language.preferences import (
    SYSTEM,
    Preference,
    augment,
    describe,
    item_positive_rate,
    preference_examples,
    preference_split,
    user_positive_rate,
)

ITEMS = pd.DataFrame(
    {
        "item_id": [10, 20, 30, 40, 50],
        "title": ["Alien", "Brazil", "Casino", "Dune", "Alien"],
        "year": [1979, 1985, 1995, np.nan, 1979],
        "genres": ["Horror|Sci-Fi", "Comedy", "unknown", "Sci-Fi", "Horror"],
    }
)
TABLE = pd.DataFrame(
    [  # the rows are not in order of time
        (1, 20, 2, 5),
        (1, 10, 5, 1),
        (1, 30, 4, 9),
        (2, 30, 1, 3),
        (2, 50, 3, 4),
        (1, 40, 3, 7),
        (3, 10, 5, 6),
        (3, 20, 5, 6),
    ],
    columns=["user_id", "item_id", "rating", "timestamp"],
)


@pytest.fixture
def data():
    return Dataset.from_frames(TABLE, ITEMS)


def part(data, rows):
    return data.with_interactions(data.interactions.iloc[rows])


def test_a_question_by_hand():
    titles = {"liked": ("C", "A (1994)"), "disliked": ("D", "B (1999)")}
    text = Preference(candidate="E (1995), Comedy", **titles).text
    assert text == "Candidate: E (1995), Comedy. Liked: C; A (1994). Disliked: D; B (1999)."
    assert Preference(candidate="E").text == "Candidate: E. Liked: none. Disliked: none."
    question = "A user liked these films: C.\nThe user did not like: D.\nWill the user like E? Answer Yes or No."
    expected = chat_prompt([{"role": "user", "content": question}], SYSTEM)
    assert Preference(candidate="E", liked=("C",), disliked=("D",), style="chat").text == expected
    assert expected.endswith("<|im_start|>assistant\n")


def test_items_are_described_as_far_as_they_are_known(data):
    rows = data.items.to_dict("records")
    assert [describe(row) for row in rows[:4]] == [
        "Alien (1979), Horror, Sci-Fi",
        "Brazil (1985), Comedy",
        "Casino (1995)",
        "Dune, Sci-Fi",
    ]
    assert describe(rows[0], genres=False) == "Alien (1979)"
    assert describe({"title": "One; Two", "year": 2000}) == "One, Two (2000)"


def test_examples_tell_the_history_most_recent_first(data):
    (example,) = preference_examples(part(data, [0, 1, 3, 4, 5]), part(data, [2]))
    assert example.text == "Candidate: Casino (1995). Liked: Alien (1979). Disliked: Dune; Brazil (1985)."
    assert (example.user, example.item, example.label) == (0, 2, 1.0)
    (short,) = preference_examples(part(data, [0, 1, 3, 4, 5]), part(data, [2]), most=2)
    assert (short.liked, short.disliked) == ((), ("Dune", "Brazil (1985)"))
    (alone,) = preference_examples(part(data, [0, 1, 3, 4, 5]), part(data, [2]), most=0)
    assert (alone.liked, alone.disliked) == ((), ())


def test_labels_are_likes_and_the_order_is_that_of_what_is_asked(data):
    examples = preference_examples(data, data)
    assert [e.label for e in examples] == [0, 1, 1, 0, 0, 0, 1, 1]
    assert [e.user for e in examples] == [0, 0, 0, 1, 1, 0, 2, 2]
    assert [e.item for e in examples] == [1, 0, 2, 2, 4, 3, 0, 1]


def test_the_answer_is_never_told(data):
    for example in preference_examples(data, data):
        title = data.labels()[example.item]
        assert title not in example.text.replace(f"Candidate: {title}", "")
    twin = pd.concat([TABLE, pd.DataFrame([(1, 50, 5, 2)], columns=TABLE.columns)])  # another item, the same film
    both = Dataset.from_frames(twin, ITEMS)
    assert preference_examples(both, part(both, [1]))[0].liked == ("Casino (1995)",)


def test_bad_input_is_named(data):
    other = Dataset.from_frames(TABLE.iloc[:3], ITEMS.iloc[:3])
    with pytest.raises(SettingError):
        preference_examples(other, data)
    with pytest.raises(SettingError, match="most=-1"):
        preference_examples(data, data, most=-1)
    with pytest.raises(SettingError, match="poem"):
        preference_examples(data, data, style="poem")
    with pytest.raises(SettingError, match="drop=1"):
        augment([], 0, 1.0)


def many(n=40):
    history = [(f"film {i}", 5.0 if i % 3 else 1.0) for i in range(10)]
    table = pd.DataFrame([(u, i, r, i) for u in range(n) for i, (_, r) in enumerate(history)], columns=TABLE.columns)
    items = pd.DataFrame({"item_id": range(11), "title": [f"film {i}" for i in range(11)]})
    asked = pd.DataFrame([(u, 10, 5 - u % 5, 99) for u in range(n)], columns=TABLE.columns)
    whole = Dataset.from_frames(pd.concat([table, asked], ignore_index=True), items)
    return preference_examples(part(whole, range(10 * n)), part(whole, range(10 * n, 11 * n)))


def test_augmentation_shuffles_and_drops_and_keeps_the_label():
    examples = many()
    changed = augment(examples, seed=1, drop=0.3)
    assert [(e.label, e.user, e.item, e.candidate) for e in changed] == [
        (e.label, e.user, e.item, e.candidate) for e in examples
    ]
    kept = [len(e.liked) + len(e.disliked) for e in changed]
    assert np.mean(kept) == pytest.approx(7, abs=0.7)
    assert all(
        set(c.liked) <= set(e.liked) and set(c.disliked) <= set(e.disliked)
        for c, e in zip(changed, examples, strict=True)
    )
    assert len({c.text for c in changed}) == len(changed)
    assert any(list(c.liked) != [t for t in e.liked if t in c.liked] for c, e in zip(changed, examples, strict=True))
    assert changed == augment(examples, 1, 0.3)
    assert changed != augment(examples, 2, 0.3)
    whole = augment(examples, 1, drop=0.0)
    assert all(sorted(c.liked) == sorted(e.liked) for c, e in zip(whole, examples, strict=True))
    assert min(len(e.liked) + len(e.disliked) for e in augment(examples, 1, drop=0.99)) == 1
    for c in changed:
        assert all(title in c.text for title in c.liked + c.disliked)


def test_item_rate_by_hand(data):
    examples = preference_examples(data, data)
    # Likes are 4 of 8. Item 2 (Casino) has one like of two, item 3 (Dune) none of one.
    rates = item_positive_rate(data, examples, strength=4.0)
    assert rates[2] == pytest.approx((1 + 2) / (2 + 4))
    assert rates[5] == pytest.approx((0 + 2) / (1 + 4))
    assert rates[0] == pytest.approx((1 + 2) / (2 + 4))
    unseen = item_positive_rate(part(data, [0, 1]), examples[3:4])
    assert unseen == pytest.approx(0.5)
    from llmrec_lite.language.text_models import Example

    with pytest.raises(SettingError):
        item_positive_rate(data, [Example("red")])


def test_like_share_by_hand(data):
    (example,) = preference_examples(part(data, [0, 1, 5]), part(data, [2]))
    assert user_positive_rate([example]) == pytest.approx((1 + 0.5) / 4)
    assert user_positive_rate([example], strength=0) == pytest.approx(1 / 3)
    assert user_positive_rate(
        preference_examples(part(data, [3]), part(data, [2]), most=0), prior=0.6
    ) == pytest.approx(0.6)


# ---- the split into people ----


@pytest.fixture
def crowd():
    rng = np.random.default_rng(0)
    rows = [
        (u, i, int(rng.integers(1, 6)), 100 * u + t) for u in range(20) for t, i in enumerate(rng.permutation(30)[:9])
    ]
    return Dataset.from_frames(
        pd.DataFrame(rows, columns=["user_id", "item_id", "rating", "timestamp"]),
        pd.DataFrame({"item_id": range(30), "title": [f"Film {i}" for i in range(30)]}),
    )


def test_the_parts_of_the_split_are_different_people_and_ask_about_the_last_films(crowd):
    known, train, valid, test = preference_split(crowd, asked=2, most=3)
    people = [{e.user for e in part} for part in (train, valid, test)]
    assert [len(p) for p in people] == [14, 2, 4]
    assert not people[0] & people[1]
    assert not people[1] & people[2]
    assert not people[0] & people[2]
    assert set(known.user_index.tolist()) == people[0]
    assert len(known.interactions) == 14 * 9
    order = crowd.time_order
    for e in [*train, *valid, *test]:
        mine = order[crowd.user_index[order] == e.user]
        items, stars = crowd.item_index[mine], crowd.ratings[mine]
        assert e.item in items[-2:]
        assert e.label == (stars[items == e.item][0] >= 4)
        told = [f"Film {i}" for i in items[:-2][::-1][:3]]
        assert {*e.liked, *e.disliked} == set(told)
        assert len(e.liked) + len(e.disliked) == 3


def test_the_split_repeats_with_its_seed_and_writes_in_its_style(crowd):
    first, again, other = (preference_split(crowd, seed=seed)[3] for seed in (0, 0, 1))
    assert first == again
    assert {e.user for e in first} != {e.user for e in other}
    assert preference_split(crowd, style="chat")[3][0].text.startswith("<|im_start|>")


def test_too_few_people_for_three_parts(crowd):
    few = crowd.with_interactions(crowd.interactions.head(18))
    with pytest.raises(SettingError):
        preference_split(Dataset.from_frames(few.interactions, few.items))

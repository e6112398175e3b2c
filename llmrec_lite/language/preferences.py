"""Chapter 10: "does this user like this item?" as text, and baselines that read no text."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal

import numpy as np
import pandas as pd

from llmrec_lite.compute import random_seed
from llmrec_lite.data import LIKED, Dataset
from llmrec_lite.errors import SettingError
from llmrec_lite.language.decoding import chat_prompt
from llmrec_lite.language.text_models import Example
from llmrec_lite.splits import leave_last_out
from llmrec_lite.text import film_label, normalize_text

Style = Literal["text", "chat"]
SYSTEM = "You know films and people. Answer with one word: Yes or No."


@dataclass(frozen=True, kw_only=True)
class Preference(Example):
    """Question whether a user with these likes and dislikes likes the candidate; `text` is written from the parts."""

    text: str = ""
    liked: tuple[str, ...] = ()  # titles, most recent first
    disliked: tuple[str, ...] = ()
    candidate: str
    style: Style = "text"

    def __post_init__(self) -> None:
        if self.style not in ("text", "chat"):
            raise SettingError(f'style must be "text" or "chat", not {self.style!r}')
        write = _chat if self.style == "chat" else _text
        object.__setattr__(self, "text", write(self.liked, self.disliked, self.candidate))
        super().__post_init__()


def _text(liked: Sequence[str], disliked: Sequence[str], candidate: str) -> str:
    # The candidate comes first: an encoder cuts a long text at its end, and without it there is no question.
    return f"Candidate: {candidate}. Liked: {'; '.join(liked) or 'none'}. Disliked: {'; '.join(disliked) or 'none'}."


def _chat(liked: Sequence[str], disliked: Sequence[str], candidate: str) -> str:
    question = (
        f"A user liked these films: {'; '.join(liked) or 'none'}.\n"
        f"The user did not like: {'; '.join(disliked) or 'none'}.\n"
        f"Will the user like {candidate}? Answer Yes or No."
    )
    return chat_prompt([{"role": "user", "content": question}], SYSTEM)


def describe(item: Mapping[str, Any], genres: bool = True) -> str:
    """Description "Title (year), Genre, Genre", as far as it is known, in a form that may stand in a list."""
    known = item.get("genres") if genres else ""
    names = [name for name in ("" if pd.isna(known) else str(known)).split("|") if name and name != "unknown"]
    return normalize_text(", ".join([film_label(str(item["title"]), item.get("year")), *names])).replace(";", ",")


def _split(history: Sequence[tuple[str, float]], most: int) -> dict[str, Any]:
    if most < 0:
        raise SettingError(f"most={most} must not be negative; 0 leaves out the user")
    recent = list(reversed(history))[:most]
    return {
        "liked": tuple(title for title, rating in recent if rating >= LIKED),
        "disliked": tuple(title for title, rating in recent if rating < LIKED),
    }


def preference_examples(history: Dataset, asked: Dataset, most: int = 10, style: Style = "text") -> list[Preference]:
    """Examples from ratings; label 1 for a rating of 4 or more, else 0.

    The prompt never holds the answer: the item that is asked about, or another with its title and year, is left
    out of the user's history.

    Args:
        history: known ratings, such as train.
        asked: interactions to ask about, one example each, in their order: later ones, or held out.
        most: number of most recent titles in a prompt, liked (rated 4 or more) and disliked together, so that their
            shares are the user's.
        style: "text" for an encoder, candidate first; "chat" for a chat model, question last.
    """
    if not (history.items["item_id"].equals(asked.items["item_id"]) and len(history.users) == len(asked.users)):
        raise SettingError("history and asked must be parts of one data set, as a split makes them")
    rows: list[Mapping[str, Any]] = history.items.to_dict("records")
    labels, titles = history.labels().tolist(), [describe(row, genres=False) for row in rows]
    histories: dict[int, list[tuple[int, float]]] = {}
    for place in history.time_order:
        seen = histories.setdefault(int(history.user_index[place]), [])
        seen.append((int(history.item_index[place]), float(history.ratings[place])))
    examples = []
    for user, item, rating in zip(asked.user_index, asked.item_index, asked.ratings, strict=True):
        known = [(titles[i], r) for i, r in histories.get(int(user), ()) if labels[i] != labels[item]]
        examples.append(
            Preference(
                label=float(rating >= LIKED),
                user=int(user),
                item=int(item),
                candidate=describe(rows[item]),
                style=style,
                **_split(known, most),
            )
        )
    return examples


def preference_split(
    dataset: Dataset, asked: int = 4, most: int = 10, style: Style = "text", seed: int = 0
) -> tuple[Dataset, list[Preference], list[Preference], list[Preference]]:
    """Examples of the last ratings of each user, given the ones before; train, validation and test have other users.

    Args:
        dataset: ratings, with titles; users with fewer than asked + 1 ratings are left out.
        asked: number of last ratings of each user to ask about.
        most: see `preference_examples`, as for style.
        style: "text" or "chat".
        seed: of the parts: 70, 10 and 20 of 100 users.

    Returns:
        The ratings of the users of train, for `item_positive_rate`, and the examples of train, validation and test.
    """
    history, last = leave_last_out(dataset, asked)
    if dataset.n_users < 10:
        raise SettingError(f"{dataset.n_users} users are too few for train, validation and test; bring 10 or more")
    examples = preference_examples(history, last, most, style)
    percent = np.random.default_rng(seed).permutation(np.arange(dataset.n_users) * 100 // dataset.n_users)
    train, valid, test = (
        [e for e in examples if low <= percent[e.user] < high] for low, high in ((0, 70), (70, 80), (80, 100))
    )
    return dataset.with_interactions(dataset.interactions[percent[dataset.user_index] < 70]), train, valid, test


def augment(examples: Sequence[Preference], seed: int, drop: float = 0.3) -> list[Preference]:
    """Data augmentation of the prompts: titles in another order, each dropped with probability `drop`.

    Labels are kept, and one title at least, where there was one.
    """
    if not 0 <= drop < 1:
        raise SettingError(f"drop={drop} must lie between 0 and 1, 1 not included")
    changed = []
    for i, example in enumerate(examples):
        rng = np.random.default_rng(random_seed(seed, i))
        given = [("liked", title) for title in example.liked] + [("disliked", title) for title in example.disliked]
        kept = [given[j] for j in rng.permutation(len(given))]
        kept = [entry for entry in kept if rng.random() >= drop] or kept[:1]
        parts: dict[str, Any] = {kind: tuple(title for k, title in kept if k == kind) for kind in ("liked", "disliked")}
        changed.append(replace(example, **parts))
    return changed


def item_positive_rate(train: Dataset, examples: Sequence[Example], strength: float = 5.0) -> np.ndarray:
    """Item baseline: the item's share of likes in train, shrunk to the share of all, (n,) between 0 and 1.

    (likes + strength * share of all) / (ratings + strength).
    """
    items = np.array([e.item for e in examples], dtype=int)
    if (items < 0).any():
        raise SettingError("an example is about no item (item=-1), so its rate is not known")
    likes = (train.ratings >= LIKED).astype(float)
    n = np.bincount(train.item_index, minlength=train.n_items)
    liked = np.bincount(train.item_index, likes, train.n_items)
    return ((liked + strength * likes.mean()) / (n + strength))[items]


def user_positive_rate(examples: Sequence[Preference], strength: float = 1.0, prior: float = 0.5) -> np.ndarray:
    """User baseline: share of likes in the prompt, (liked + strength * prior) / (titles given + strength), (n,)."""
    return np.array([(len(e.liked) + strength * prior) / (len(e.liked) + len(e.disliked) + strength) for e in examples])

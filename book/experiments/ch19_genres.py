"""Experiment of chapter 19 on wishes that name a genre; see `book.experiments` for the rules."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Literal

import numpy as np
from tqdm.auto import tqdm

from book.experiments.registry import Result, Row, draw, experiment
from llmrec_lite.data import load_movielens
from llmrec_lite.language.encoder import TextEncoder
from llmrec_lite.language.text_recommender import encode_described
from llmrec_lite.llma.requests import request_scores
from llmrec_lite.llma.scales import normalize_scores
from llmrec_lite.recommenders import Popularity

# What is asked for, by how the catalogs name the genre. Settings are chosen by the first kind, judged by the second.
CHOOSE = {
    "action": "an action film", "adventure": "an adventure film", "child": "a film for children",
    "crime": "a crime film", "drama": "a drama", "fantasy": "a fantasy film", "mystery": "a mystery",
    "thriller": "a thriller",
}  # fmt: skip
JUDGE = {
    "western": "a western", "documentary": "a documentary", "horror": "a horror film", "musical": "a musical",
    "noir": "some film noir", "animation": "an animated film", "war": "a war film", "sci-fi": "a science fiction film",
    "romance": "a romance", "comedy": "a comedy",
}  # fmt: skip
WISHES = {"choose": CHOOSE, "judge": JUDGE}
SHARES = (0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 1.0)
NEAREST = (25, 50, 100, 200, 400)
ENOUGH = 0.95

EDITIONS: dict[str, Literal["100k", "latest-small"]] = {"100K": "100k", "later edition": "latest-small"}


def _asked(edition: str) -> list[Result]:
    """Return for each way to answer the share of the first ten that fit, wish by wish."""
    data, encoder = load_movielens(EDITIONS[edition]), TextEncoder()
    vectors = encode_described(encoder, data.items["text"].tolist()).astype(np.float32)
    popular = Popularity().fit(data).counts_.astype(np.float32)
    genres, table = data.items["genres"].str.lower(), []
    for kind, wishes in WISHES.items():
        for genre, words in wishes.items():
            fits = genres.str.contains(genre).to_numpy()
            wish = vectors @ encoder.encode([f"I would like {words}"])[0]
            ways: dict[tuple[str, int, float], np.ndarray] = {("popularity", 0, 0.0): popular, ("text", 0, 1.0): wish}
            for share in SHARES[:-1]:
                mixed = share * normalize_scores(wish) + (1 - share) * normalize_scores(popular)
                ways["z-scores of all", data.n_items, share] = mixed
            for most in NEAREST:
                for share in SHARES:
                    ways["ranks of the nearest", most, share] = request_scores(wish, popular, share, most)
            for (way, most, share), scores in ways.items():
                first = np.argsort(-scores, kind="stable")[:10]
                row = {"edition": edition, "wishes": kind, "genre": genre, "way": way, "nearest": most, "share": share}
                table.append(row | {"fits": float(fits[first].mean()), "chosen by": float(np.median(popular[first]))})
            table[-1]["in the catalog"] = float(fits.mean())
    return table


def _means(table: list[Result]) -> list[Result]:
    """Mean over the wishes of each kind."""
    kinds: dict[tuple[Any, ...], list[Result]] = {}
    for row in table:
        key = tuple(row[name] for name in ("edition", "wishes", "way", "nearest", "share"))
        kinds.setdefault(key, []).append(row)
    return [
        dict(zip(("edition", "wishes", "way", "nearest", "share"), key, strict=True))
        | {name: float(np.mean([row[name] for row in rows])) for name in ("fits", "chosen by")}
        for key, rows in kinds.items()
    ]


@experiment
def llma_genres() -> dict[str, Any]:
    """Answer wishes that name a genre, on two catalogs of different sizes, with nobody named.

    Eighteen wishes ("I would like a western"); a film fits that the catalog gives the genre. Ways to answer: the text
    alone; the weighted z-scores of text and popularity over all films; the weighted ranks among the films nearest by
    text (`request_scores`). The number of films and the weight are chosen by eight of the wishes: of the pairs that
    keep, on each catalog, ENOUGH of the share of films that fit when the text alone answers, the one whose films most
    users chose (mean logarithm over the catalogs). The other ten wishes judge. "chosen by" is the median number of
    users who chose the ten films.
    """
    table = [row for edition in tqdm(EDITIONS, desc="editions") for row in _asked(edition)]
    means = _means(table)
    return {"table": means, "wishes": [row for row in table if row["wishes"] == "judge"], "chosen": _chosen(means)}


def _chosen(means: list[Result]) -> Result:
    """Choose the number of films and the weight by the first kind of wishes."""
    by = {(r["edition"], r["way"], r["nearest"], r["share"]): r for r in means if r["wishes"] == "choose"}
    enough = {}
    for most in NEAREST:
        for share in SHARES:
            rows = [by[edition, "ranks of the nearest", most, share] for edition in EDITIONS]
            alone = [by[edition, "text", 0, 1.0] for edition in EDITIONS]
            if all(row["fits"] >= ENOUGH * text["fits"] for row, text in zip(rows, alone, strict=True)):
                enough[most, share] = float(np.mean([np.log(1 + row["chosen by"]) for row in rows]))
    most, share = max(enough, key=lambda one: enough[one])
    return {"nearest": most, "share": share}


@llma_genres.check
def _llma_genres_again(stored: Result, rng: np.random.Generator) -> Iterator[Row]:
    edition = draw(rng, EDITIONS)
    rows = _means(_asked(edition))
    yield Row.of(f"wishes on {edition}", stored["table"], rows, "edition", "wishes", "way", "nearest", "share")

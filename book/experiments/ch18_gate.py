"""Experiments of chapter 18 on what is known of people and films; see `book.experiments` for the rules."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from functools import partial
from itertools import product
from typing import Any

import numpy as np
from scipy import sparse
from tqdm.auto import tqdm

from book.experiments.ch14_lists import strong_penalties
from book.experiments.ch17_facts import without_twins
from book.experiments.ch18_fusion import CROWD, DRAWS, PENALTIES, SHARE_GRID, TEXT, Scores, choose_penalty, pair
from book.experiments.registry import Result, Row, draw, experiment
from book.experiments.study import draw_order
from llmrec_lite import splits
from llmrec_lite.data import Dataset, load_movielens
from llmrec_lite.evaluate import compare, evaluate
from llmrec_lite.interface import top_k_unseen
from llmrec_lite.language.encoder import TextEncoder
from llmrec_lite.language.text_recommender import TextRecommender
from llmrec_lite.llma.fusion import FusedRecommender, fuse
from llmrec_lite.llma.weights import ScoredSplit, learn_weights
from llmrec_lite.meta.baselines import ORDERS, SHARES
from llmrec_lite.meta.tasks import SHOTS, HistoryOrder, split_users
from llmrec_lite.meta.user_attention import list_ndcg, split_histories
from llmrec_lite.metrics import ndcg_at_k
from llmrec_lite.recommenders import DenoisingAutoencoder, Popularity
from llmrec_lite.recommenders.base import BaseRecommender
from llmrec_lite.stats import mean_interval

CROWD_GRID = tuple(product((0.3, 0.5, 0.65, 0.8, 0.9, 0.95, 0.98), (50.0, 200.0, 700.0, 2e3, 5e3, 1e4, 3e4)))
LIMITS = (0.0, 30.0, 1000.0, np.inf)  # of a penalty that grows without end


def _pooled(values: Mapping[tuple[Any, ...], list[np.ndarray]], keys: tuple[str, ...]) -> list[dict[str, Any]]:
    """Return a row for each kind of list: its mean over all people of all folds."""
    return [
        dict(zip(keys, key, strict=True)) | {"ndcg": float(np.nanmean(np.concatenate(v)))} for key, v in values.items()
    ]


def _lead(values: Mapping[tuple[Any, ...], list[np.ndarray]], first: Any, second: Any) -> dict[str, float]:
    gap = np.concatenate(values[first]) - np.concatenate(values[second])
    gap = gap[np.isfinite(gap)]
    low, high = mean_interval(gap)
    return {"difference": float(gap.mean()), "low": low, "high": high}


@experiment
def fused_new_users() -> dict[str, Any]:
    """Find the share a of the text for people of whom K choices are known, on other people.

    Five folds of 60, 20 and 20 of 100 people. All settings are chosen for each K on the 20 of validation: strength of
    the autoencoder (53 settings, with the limits of an infinite penalty) and of the ridge on texts, a, and the three
    weights with popularity (here the share of the people who chose a film after their first K). "fixed a" is that of
    K = 20 for all K.
    """
    return _shares_for_users(ORDERS)


def _shares_for_users(orders: Sequence[HistoryOrder]) -> dict[str, Any]:
    data = load_movielens()
    found: dict[tuple[str, int, str], list[np.ndarray]] = {}
    curves: dict[tuple[str, int, float], list[np.ndarray]] = {}
    choices = []
    for fold in tqdm(range(5), desc="folds"):
        parts = split_users(data, SHARES, seed=0, fold=fold)
        maps: dict[str, list[np.ndarray]] = {
            CROWD: [DenoisingAutoencoder(*setting).fit(parts[0]).weights_ for setting in CROWD_GRID]
            + strong_penalties(parts[0], LIMITS),
            TEXT: [_text_map(parts[0], l2) for l2 in PENALTIES],
        }
        for order in orders:
            for k in SHOTS[:0:-1]:  # from many to few: the fixed a is that of the most
                by_place = split_histories(parts[0], k, order)[2].mean(0)
                told = [split_histories(part, k, order, min_query=30 - k)[1:] for part in parts[1:]]
                best = {
                    name: int(np.argmax([list_ndcg(told[0][0] @ weights, *told[0]).mean() for weights in some]))
                    for name, some in maps.items()
                }
                maps_k = {name: maps[name][at] for name, at in best.items()}
                scored = [
                    {name: given @ weights for name, weights in maps_k.items()}
                    | {"popularity": np.tile(by_place, (len(given), 1))}
                    for given, _ in told
                ]
                grid = [
                    np.stack([list_ndcg(fuse_open(scores, pair(a), given), given, rest) for a in SHARE_GRID])
                    for scores, (given, rest) in zip(scored, told, strict=True)
                ]
                place = int(grid[0].mean(1).argmax())
                known, later = (sparse.csr_array(part) for part in told[0])
                held = ScoredSplit.of(scored[0], known, later, np.zeros(data.n_items))
                weights = learn_weights([held])
                given, rest = told[1]
                if k == max(SHOTS):
                    fixed = place
                values = {name: list_ndcg(scores, given, rest) for name, scores in scored[1].items()}
                values |= {"a of this K": grid[1][place], "fixed a": grid[1][fixed]}
                values["three weights of this K"] = list_ndcg(fuse_open(scored[1], weights, given), given, rest)
                for name, one in values.items():
                    found.setdefault((order, k, name), []).append(one)
                for a, one in zip(SHARE_GRID, grid[1], strict=True):
                    curves.setdefault((order, k, float(a)), []).append(one)
                dropout, l2 = [*CROWD_GRID, *((1.0, c) for c in LIMITS)][best[CROWD]]
                settings = {
                    "dropout": dropout,
                    "l2": l2 if np.isfinite(l2) else None,
                    "l2 of text": PENALTIES[best[TEXT]],
                }
                choices.append({"order": order, "k": k, "fold": fold, "a": SHARE_GRID[place], **weights, **settings})
    table = _pooled(found, ("order", "k", "model"))
    for row in table:
        for rival in (TEXT, CROWD, "popularity", "fixed a"):
            lead = _lead(found, (row["order"], row["k"], row["model"]), (row["order"], row["k"], rival))
            row |= {f"{column} over {rival}": value for column, value in lead.items()}
    return {"table": table, "curves": _pooled(curves, ("order", "k", "a")), "chosen": choices}


@fused_new_users.check
def _fused_new_users_again(stored: Result, rng: np.random.Generator) -> Iterator[Row]:
    order = draw_order(rng)
    again = _shares_for_users([order])
    yield Row.of(f"lists, {order}", stored["table"], again["table"], "order", "k", "model")
    yield Row.of(f"shares, {order}", stored["chosen"], again["chosen"], "order", "k", "fold")


def _text_map(train: Dataset, l2: float) -> np.ndarray:
    """Return what turns choices into scores by texts, (n_items, n_items)."""
    model = TextRecommender(TextEncoder(), l2=l2).fit(train)
    return (model.solution_.T @ model.items_.T).astype(np.float32)


def fuse_open(scores: Scores, weights: Mapping[str, float], given: np.ndarray) -> np.ndarray:
    """Fuse the parts that have a weight, on scales of what is not known yet."""
    return fuse({name: scores[name] for name in weights}, weights, "zscore", given == 0)


class Switch(BaseRecommender):
    """Scores of one fitted recommender for users without interactions, of another for all others.

    A switching hybrid (Burke, "Hybrid Recommender Systems: Survey and Experiments", UMUAI 2002).
    """

    def __init__(self, without: BaseRecommender, others: BaseRecommender) -> None:
        self.without, self.others = without, others

    def _fit(self, train: Dataset) -> None:
        self.n_seen_ = np.bincount(train.user_index, minlength=train.n_users)

    def _score(self, users: np.ndarray) -> np.ndarray:
        some, none = self.others.score_indices(users), self.without.score_indices(users)
        return np.where(self.n_seen_[users, None] > 0, some, none)


SWITCH = "switch, popularity or no gate"


@experiment
def fused_gate() -> dict[str, Any]:
    """Compare a gate that is learned inside train with the same fusion without one, and with the parts alone.

    Three draws, each in three ways: a quarter of the users keep 0 to 20 of their interactions, and are judged by the
    others; a fifth of the films keep 0 to 10 of theirs, and are ranked among themselves; and the benchmark's kind of
    split. Parts: MiniLM's ridge with a penalty chosen inside train, the autoencoder with the benchmark's settings, and
    popularity. Two switches are controls: users without interactions get popularity, all others the autoencoder, or
    the fusion without a gate.
    """
    return {"table": _gated(range(3))}


def _gated(draws: Iterable[int]) -> list[dict[str, Any]]:
    data = load_movielens()
    everybody, everything = np.full(data.n_users, np.inf), np.full(data.n_items, np.inf)
    table = []
    for number in tqdm(draws, desc="draws"):
        rng = np.random.default_rng([7, number])
        few_users, few_items = everybody.copy(), everything.copy()
        some = rng.permutation(data.n_users)[: data.n_users // 4]
        few_users[some] = rng.choice((0, 1, 3, 5, 10, 20), len(some))
        films = rng.permutation(data.n_items)[: data.n_items // 5]
        few_items[films] = rng.choice((0, 1, 3, 10), len(films))
        ways = {
            "new users": (splits.subsample(data, few_users, everything, seed=number), None),
            "new films": (splits.subsample(data, everybody, few_items, seed=number), films),
            "as usual": (splits.recommenders_split(data, seed=42 + number), None),
        }
        for way, ((train, test), candidates) in ways.items():
            text = TextRecommender(TextEncoder())
            text.l2 = choose_penalty(text, list(splits.kfold(train, 4, seed=0))[:DRAWS])
            parts = {TEXT: text, CROWD: DenoisingAutoencoder(dropout=0.5, l2=700.0), "popularity": Popularity()}
            models: dict[str, Any] = {
                "gate": FusedRecommender(parts, gate=True),
                "no gate": FusedRecommender(parts),
                **parts,
            }
            models = {name: model.fit(train) for name, model in models.items()}
            for name in (CROWD, "no gate"):
                models[f"switch, popularity or {name}"] = Switch(models["popularity"], models[name]).fit(train)
            reports = {
                name: evaluate(model, train, test, candidates=candidates, name=name) for name, model in models.items()
            }
            for name, report in reports.items():
                row = {"draw": number, "way": way, "model": name, "ndcg": report.mean["ndcg"], "l2": text.l2}
                for rival in ("no gate", SWITCH):
                    lead = compare(report, reports[rival]).loc["ndcg"]
                    row |= {f"{c} over {rival}": lead[c] for c in ("difference", "low", "high")}
                table.append(row)
    return table


@fused_gate.check
def _fused_gate_again(stored: Result, rng: np.random.Generator) -> Iterator[Row]:
    number = draw(rng, range(3))
    yield Row.of(f"draw {number}", stored["table"], _gated([number]), "draw", "way", "model")


@experiment
def fused_new_items() -> dict[str, Any]:
    """Find the share a of the text for films that n people have met: these films ranked among themselves.

    Five draws. Two fifths of the films keep n of their ratings; a is chosen on the one fifth and used on the other.
    Films that the catalog has twice are left out, or a new film could be known from its twin. The penalty of the ridge
    on texts is chosen for each n on the fifth that a is chosen on.
    """
    return _shares_for_films((0, 1, 3, 10, 30))


def _shares_for_films(known: Sequence[int]) -> dict[str, Any]:
    data, encoder = without_twins(load_movielens()), TextEncoder()
    found: dict[tuple[int, str], list[np.ndarray]] = {}
    curves: dict[tuple[int, float], list[np.ndarray]] = {}
    choices = []
    everybody = np.arange(data.n_users)
    for number in tqdm(range(5), desc="draws"):
        films = np.random.default_rng(number).permutation(np.unique(data.item_index))
        fifth = len(films) // 5
        groups = films[:fifth], films[fifth : 2 * fifth]
        for n in known:
            most = np.full(data.n_items, np.inf)
            most[np.concatenate(groups)] = n
            train, removed = splits.subsample(data, np.full(data.n_users, np.inf), most, seed=number)
            cf = DenoisingAutoencoder(dropout=0.5, l2=700.0).fit(train).score_indices(everybody)
            texts = [TextRecommender(encoder, l2=l2).fit(train).score_indices(everybody) for l2 in PENALTIES]
            seen, later = train.matrix().toarray() > 0, removed.matrix()
            order = np.random.default_rng(number).permutation(data.n_items)
            quality = partial(_film_ndcg, seen=seen, later=later, order=order)
            best = int(np.argmax([np.nanmean(quality(text, groups[0])) for text in texts]))
            scores = {TEXT: texts[best], CROWD: cf}
            fused = [_fuse_z(scores, a, seen) for a in SHARE_GRID]
            grid = [np.stack([quality(one, group) for one in fused]) for group in groups]
            means = np.nanmean(grid[0], 1)
            place = int(np.flatnonzero(means >= means.max() - 1e-9)[-1])  # where the crowd says nothing, a is 1
            for name, index in ((TEXT, len(SHARE_GRID) - 1), (CROWD, 0), ("a of this n", place)):
                found.setdefault((n, name), []).append(grid[1][index])
            for a, one in zip(SHARE_GRID, grid[1], strict=True):
                curves.setdefault((n, float(a)), []).append(one)
            choices.append({"n": n, "draw": number, "a": SHARE_GRID[place], "l2 of text": PENALTIES[best]})
    # A user is one person in all five draws.
    by_user = {key: [np.nanmean(np.stack(values), 0)] for key, values in found.items()}
    table = _pooled(by_user, ("n", "model"))
    for row in table:
        for rival in (TEXT, CROWD):
            lead = _lead(by_user, (row["n"], row["model"]), (row["n"], rival))
            row |= {f"{column} over {rival}": value for column, value in lead.items()}
    return {"table": table, "curves": _pooled(curves, ("n", "a")), "chosen": choices}


def _film_ndcg(
    scores: np.ndarray, group: np.ndarray, seen: np.ndarray, later: sparse.csr_array, order: np.ndarray
) -> np.ndarray:
    """Return nDCG@10 of each user, (n_users,), where the films of a group alone are ranked.

    Equal scores go by a random order of all films: that of the catalog knows what is popular.
    """
    closed = seen | ~np.isin(np.arange(seen.shape[1]), group)
    ranked = np.where(closed, -np.inf, scores)[:, order]
    return ndcg_at_k(order[top_k_unseen(ranked, None, 10)[0]], later.multiply(~closed).tocsr(), 10)


def _fuse_z(scores: Scores, a: float, seen: np.ndarray) -> np.ndarray:
    return fuse(scores, pair(a), "zscore", ~seen)


@fused_new_items.check
def _fused_new_items_again(stored: Result, rng: np.random.Generator) -> Iterator[Row]:
    n = draw(rng, (0, 1, 3, 10, 30))
    again = _shares_for_films([n])
    yield Row.of(f"lists, n = {n}", stored["table"], again["table"], "n", "model")
    yield Row.of(f"curve, n = {n}", stored["curves"], again["curves"], "n", "a")
    yield Row.of(f"shares, n = {n}", stored["chosen"], again["chosen"], "n", "draw")

"""Experiments of chapter 17 on sessions as rows of an autoencoder; see `book.experiments` for the rules."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property, partial
from typing import Any

import numpy as np
from scipy import sparse
from scipy.linalg import blas, lapack
from tqdm.auto import tqdm

from book.experiments.registry import Result, Row, draw, experiment
from llmrec_lite import splits
from llmrec_lite.data import Dataset, load_movielens
from llmrec_lite.evaluate import Report, compare, evaluate
from llmrec_lite.interface import top_k_unseen
from llmrec_lite.knowledge.graph import film_facts
from llmrec_lite.knowledge.sessions import SessionAutoencoder, session_matrix, user_weights
from llmrec_lite.metrics import ndcg_at_k
from llmrec_lite.recommenders import ALS
from llmrec_lite.recommenders.base import BaseRecommender

SEEDS = (42, 43, 44, 45, 46)  # of the benchmark; 42 is the published one
INNER = (1, 2)  # seeds of the splits inside train
NEXT = 10  # last interactions of each user that are the test of "next ten"
Setting = dict[str, Any]
Parts = tuple[Dataset, Dataset]

# Where a search begins, and what it may try for one setting after another.
PLAIN: Setting = {"dropout": 0.5, "l2": 1000.0}
GRID: dict[str, Sequence[Any]] = {
    "dropout": (0.3, 0.4, 0.5, 0.6, 0.7),
    "l2": (250.0, 500.0, 1000.0, 2000.0, 4000.0),
    "user_exponent": (0.0, 0.125, 0.25, 0.375, 0.5),
    "pauses": ((30.0,), (120.0,), (600.0,), (600.0, 30.0), (3600.0, 120.0)),
    "session_weight": (0.5, 1.0, 2.0, 4.0, 8.0),
    "fact_weight": (25.0, 50.0, 100.0, 200.0, 400.0),
}
USERS, SESSIONS, FACTS = (
    {"user_exponent": 0.25},
    {"pauses": (600.0, 30.0), "session_weight": 2.0},
    {"fact_weight": 100.0},
)
ROWS: dict[str, Setting] = {
    "users": {},
    "weighted users": USERS,
    "users and sessions": SESSIONS,
    "users and facts": FACTS,
    "weighted users, sessions, facts": USERS | SESSIONS | FACTS,
    "users and sessions, shuffled times": SESSIONS,
    "weighted users, sessions, facts, shuffled times": USERS | SESSIONS | FACTS,
}
ALS_GRID: dict[str, Sequence[Any]] = {
    "l2": (20.0, 40.0, 80.0), "alpha": (2.0, 4.0, 8.0), "user_exponent": (0.0, 0.25, 0.5),
}  # fmt: skip
ALS_START: Setting = {"l2": 40.0, "alpha": 4.0}
MODELS = (*ROWS, "ALS", "ALS, weighted users")
RIVALS = (
    "users", "weighted users", "users and facts", "weighted users, sessions, facts, shuffled times", "ALS",
    "ALS, weighted users",
)  # fmt: skip


class WeightedALS(ALS):
    """`ALS` in float32, whose loss weighs a user with n interactions n^-user_exponent (`user_weights`)."""

    def __init__(self, user_exponent: float = 0.25, alpha: float = 4.0, l2: float = 40.0, sweeps: int = 15) -> None:
        super().__init__(64, alpha, l2, sweeps)
        self.user_exponent = user_exponent

    def _fit(self, train: Dataset) -> None:
        self._prepare(train)
        root = np.sqrt(user_weights(np.diff(self.matrix_.indptr), self.user_exponent))[:, None]
        by_user, by_item = self.matrix_, self.matrix_.T.tocsr()
        self.item_ = np.random.default_rng(self.seed).normal(0, 0.1, (train.n_items, self.factors))
        for _ in range(self.sweeps):
            # A user who weighs w has the same solution as one whose penalty is divided by w.
            self.user_ = _solve_rows(by_user, self.item_, self.alpha, self.l2 / root**2)
            self.item_ = _solve_rows(by_item, self.user_, self.alpha, np.full((train.n_items, 1), self.l2), root)


def _solve_rows(
    seen: sparse.csr_array, other: np.ndarray, alpha: float, l2: np.ndarray, root: np.ndarray | None = None
) -> np.ndarray:
    """Solve each row of ALS, with a penalty of its own, (n, 1), and roots of the weights of the other side, (m, 1)."""
    roots = np.ones((len(other), 1)) if root is None else root
    scaled, solved = (other * roots).astype(np.float32), np.zeros((seen.shape[0], other.shape[1]), np.float32)
    shared, diagonal = scaled.T @ scaled, np.diag_indices(other.shape[1])
    doubled = (scaled * roots * (1 + alpha)).astype(np.float32)
    for row in np.flatnonzero(np.diff(seen.indptr)):
        columns = seen.indices[seen.indptr[row] : seen.indptr[row + 1]]
        own = scaled[columns]
        left = own.T @ own
        left *= alpha
        left += shared
        left[diagonal] += l2[row]
        solved[row] = lapack.sposv(left, doubled[columns].sum(0), overwrite_a=True)[1]
    return solved


@dataclass(frozen=True)
class _Inner:
    """A split inside train, with all that the trials of a search share: Gram matrices of each kind of row."""

    train: Dataset
    valid: Dataset
    facts: sparse.csr_array

    @cached_property
    def users(self) -> sparse.csr_array:
        return self.train.matrix()

    @cached_property
    def dense(self) -> np.ndarray:
        return self.users[self.judged].toarray()

    @cached_property
    def judged(self) -> np.ndarray:
        return np.flatnonzero(np.diff(self.valid.matrix().indptr))

    @cached_property
    def kept(self) -> dict[Any, np.ndarray]:
        return {}

    def _gram(self, key: Any, rows: Callable[[], sparse.csr_array]) -> np.ndarray:
        if key not in self.kept:
            one = rows()
            self.kept[key] = (one.T @ one).toarray().astype(np.float32)
        return self.kept[key]

    def _weighted(self, exponent: float) -> sparse.csr_array:
        root = np.sqrt(user_weights(np.diff(self.users.indptr), exponent))
        return sparse.csr_array(sparse.diags_array(root) @ self.users)

    def ndcg(self, setting: Setting) -> float:
        """NDCG@10 inside train of `SessionAutoencoder`, solved in float32."""
        exponent = setting.get("user_exponent", 0.0)
        gram = self._gram(("users", exponent), lambda: self._weighted(exponent)).copy()
        for pause in setting.get("pauses", ()):
            found = self._gram(("sessions", pause), partial(session_matrix, self.train, pause))
            gram += np.float32(setting["session_weight"]) * found
        if "fact_weight" in setting:
            gram += np.float32(setting["fact_weight"]) * self._gram("facts", lambda: self.facts.T.tocsr())
        diagonal, dropout = np.diag(gram).copy(), setting["dropout"]
        penalty = (setting["l2"] + diagonal * dropout / (1 - dropout)).astype(np.float32)
        left = gram
        left[np.diag_indices_from(left)] += penalty
        factor, failed = lapack.spotrf(left.T, lower=True, overwrite_a=True)
        if failed:
            return 0.0
        inverse, _ = lapack.spotri(factor, lower=True, overwrite_c=True)  # of a symmetric matrix, its lower half
        # X B = X - (X (G + L)^-1) L
        return self.quality(self.dense - blas.ssymm(1.0, inverse, self.dense.T, lower=True).T * penalty)

    def quality(self, scores: np.ndarray) -> float:
        """Return the mean nDCG@10 of users with something held out."""
        best = top_k_unseen(scores, self.users[self.judged], 10)[0]
        return float(np.nanmean(ndcg_at_k(best, self.valid.matrix()[self.judged], 10)))

    def als(self, setting: Setting) -> float:
        """NDCG@10 inside train of ALS; users weigh the same where the setting has no exponent."""
        return self.quality(_als(setting).fit(self.train).score_indices(self.judged))


def _mean_ndcg(parts: Sequence[_Inner], setting: Setting) -> float:
    return float(np.mean([part.ndcg(setting) for part in parts]))


def _als(setting: Setting) -> ALS:
    settings: Setting = {"user_exponent": 0.0} | setting
    return WeightedALS(**settings)


def climb(
    start: Setting, grid: Mapping[str, Sequence[Any]], quality: Callable[[Setting], float], fine: bool
) -> tuple[Setting, list[Setting]]:
    """Search one setting after another, twice; then, if `fine`, halfway to the neighbors of the best."""
    tried: list[Setting] = []

    def of(setting: Setting) -> float:
        old = next((row for row in tried if all(row[key] == value for key, value in setting.items())), None)
        if old is None:
            tried.append(old := {**setting, "ndcg": quality(setting)})
        return old["ndcg"]

    best = dict(start)
    for _ in range(2):
        for key in start:
            best = max(({**best, key: value} for value in grid[key]), key=of)
    if fine:
        for key in start:
            near = _between(grid[key], best[key])
            best = max([best, *({**best, key: value} for value in near)], key=of)
    return best, tried


def _between(values: Sequence[Any], best: Any) -> list[Any]:
    """Values halfway between the best of a grid and its neighbors, and beyond its ends; none between pauses."""
    if isinstance(best, tuple):
        return []
    place = values.index(best)
    if min(values) > 0 and max(values) / min(values) > 10:  # a grid of powers
        step = (values[1] / values[0]) ** 0.5
        return [best / step, best * step]
    step = (values[1] - values[0]) / 2
    ends = (best - step if place else None, best + step)
    return [value for value in ends if value is not None]


def shuffled_times(data: Dataset, seed: int = 0) -> Dataset:
    """Give each user's times to the same user's interactions in another order: the control of sessions."""
    rng, times = np.random.default_rng(seed), data.interactions["timestamp"].to_numpy().copy()
    by_user = np.argsort(data.user_index, kind="stable")
    for rows in np.split(by_user, np.cumsum(np.bincount(data.user_index, minlength=data.n_users))[:-1]):
        times[rows] = times[rng.permutation(rows)]
    return data.with_interactions(data.interactions.assign(timestamp=times))


def _inner_parts(train: Dataset, cut: Callable[[Dataset, int], Parts], facts: sparse.csr_array) -> list[_Inner]:
    return [_Inner(*cut(train, seed), facts) for seed in INNER]


def searched(
    train: Dataset, cut: Callable[[Dataset, int], Parts], facts: sparse.csr_array, names: Sequence[str] = MODELS
) -> Iterator[tuple[str, Setting, list[Setting]]]:
    """Choose the settings of models inside train: name, setting, and what was tried."""
    inner = _inner_parts(train, cut, facts)
    # Times are shuffled once the split is made, so that it is the same.
    control = [_Inner(shuffled_times(one.train), one.valid, facts) for one in inner]
    for name in names:
        if name in ROWS:
            parts = control if name.endswith("shuffled times") else inner
            yield name, *climb(PLAIN | ROWS[name], GRID, partial(_mean_ndcg, parts), fine=True)
        else:
            start = ALS_START | (USERS if name == "ALS, weighted users" else {})
            yield (
                name,
                *climb(start, ALS_GRID, lambda one: float(np.mean([part.als(one) for part in inner])), fine=False),
            )


def fitted(name: str, setting: Setting, train: Dataset, facts: sparse.csr_array) -> BaseRecommender:
    """Fit the model of a row of the table with its setting."""
    if name.startswith("ALS"):
        return _als(setting).fit(train)
    off: Setting = {"pauses": (), "session_weight": 0.0, "fact_weight": 0.0, "user_exponent": 0.0}
    model = SessionAutoencoder(facts, **(off | setting))
    return model.fit(shuffled_times(train) if name.endswith("shuffled times") else train)


def _rows(reports: Mapping[str, Report], chosen: Mapping[str, Setting], **labels: Any) -> list[Result]:
    table = []
    for name, report in reports.items():
        low, high = report.interval.loc["ndcg"]
        row = {"model": name, **labels, "setting": chosen[name], "ndcg": report.mean["ndcg"], "low": low, "high": high}
        for rival in RIVALS:
            lead = compare(report, reports[rival]).loc["ndcg"]
            row |= {f"{column} over {rival}": lead[column] for column in ("difference", "low", "high")}
        table.append(row)
    return table


def _next_ten(data: Dataset, seed: int) -> Parts:
    """Last ten interactions of each user; inside train the seed says how many of the last are left out before."""
    if seed > INNER[0]:
        data = splits.leave_last_out(data, NEXT)[0]
    return splits.leave_last_out(data, NEXT)


def _protocols(data: Dataset) -> Iterator[tuple[str, int, Dataset, Dataset, Callable[[Dataset, int], Parts]]]:
    def again(train: Dataset, seed: int) -> Parts:
        return splits.recommenders_split(train, seed=seed)

    for seed in SEEDS:
        yield "benchmark", seed, *splits.recommenders_split(data, seed=seed), again
    yield "next ten", 0, *splits.leave_last_out(data, NEXT), _next_ten


@experiment
def sessions() -> dict[str, Any]:
    """Rank films by a linear autoencoder whose rows are users, weighted users, sessions and facts; ALS beside it.

    The published split of the benchmark and four more of its kind; besides, the last ten interactions of each user.
    All settings are chosen inside train of each split, as the mean over two inner splits, one setting after another,
    twice, then halfway to the neighbors of the best. "shuffled times" gives each user's times to the same interactions
    in another order: sessions as many and as long, of films that do not belong together. The rival with the same
    weights of users is ALS in "ALS, weighted users". Facts are those of chapter 17 with the right links.
    """
    data = load_movielens()
    facts, table, tried = film_facts(data), [], []
    for protocol, seed, train, test, cut in tqdm(list(_protocols(data)), desc="splits"):
        reports: dict[str, Report] = {}
        chosen: dict[str, Setting] = {}
        for name, setting, every in searched(train, cut, facts):
            chosen[name] = setting
            reports[name] = evaluate(fitted(name, setting, train, facts), train, test, name=name)
            best = max(row["ndcg"] for row in every)
            tried.append({"model": name, "protocol": protocol, "seed": seed, "settings": len(every), "ndcg": best})
        table += _rows(reports, chosen, protocol=protocol, seed=seed)
    return {"table": table, "tried": tried, "sessions": _described(data)}


def _described(data: Dataset) -> list[Result]:
    """How many sessions there are for each pause, and how long they are."""
    described = []
    for pause in (10.0, 30.0, 120.0, 600.0, 1800.0, 3600.0):
        sizes = np.diff(session_matrix(data, pause).indptr)
        row = {"pause": pause, "sessions": len(sizes), "mean": float(sizes.mean()), "median": float(np.median(sizes))}
        described.append(row | {"of one item": float((sizes == 1).mean())})
    return described


@sessions.check
def _sessions_again(stored: Result, rng: np.random.Generator) -> Iterator[Row]:
    data = load_movielens()
    facts = film_facts(data)
    protocol, seed, train, test, _ = draw(rng, _protocols(data))
    of_split = [row for row in stored["table"] if (row["protocol"], row["seed"]) == (protocol, seed)]
    chosen = {row["model"]: row["setting"] for row in of_split}
    reports = {
        name: evaluate(fitted(name, setting, train, facts), train, test, name=name) for name, setting in chosen.items()
    }
    rows = _rows(reports, chosen, protocol=protocol, seed=seed)
    yield Row.of(f"{protocol}, split {seed}", stored["table"], rows, "model", "protocol", "seed")
    yield Row.of("sessions", stored["sessions"], _described(data), "pause")

"""Chapter 4: the one protocol behind every table of the book.

scores -> mask what the user has seen in train -> top k -> metrics, kept per user -> bootstrap interval.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, Literal

import numpy as np
import pandas as pd
from scipy import sparse

from llmrec_lite import metrics
from llmrec_lite.data import Dataset
from llmrec_lite.errors import SettingError
from llmrec_lite.interface import RatingPredictor, Recommender, top_k_unseen
from llmrec_lite.stats import bootstrap_interval

# A root mean square averages squares, every other metric averages itself: the p of the mean (sum v^p / n)^(1/p).
_POWER = {"rmse": 2}
_SEARCHED = (*metrics.RANKING_METRICS, "novelty", "coverage", "rmse", "mae")  # what `search` can order settings by


@dataclass(frozen=True, eq=False)
class Report:
    """Result of an evaluation: a value for every user, from which means and intervals follow.

    Attributes:
        name: the model's name.
        per_user: one row a user with test data (index: raw user id), one column a metric.
        weights: of each user in a mean, (n_users,): 1 for rankings, the number of test ratings for ratings, so that the
            mean is over ratings as in published tables.
        overall: metrics of all lists together, which no single user has: coverage and gini.
        lists: item indices recommended, (n_users, k or all candidates), -1 where a list is shorter; None for ratings.
        seed: of the bootstrap.
        resamples: of the bootstrap over users.
        repeated: test interactions that were left out, since their user had seen the item in train.
    """

    name: str
    per_user: pd.DataFrame
    weights: np.ndarray
    overall: dict[str, float] = field(default_factory=dict)
    lists: np.ndarray | None = None
    seed: int = 0
    resamples: int = 1000
    repeated: int = 0

    @cached_property
    def mean(self) -> pd.Series:
        """Every metric's mean over the users, and the overall metrics behind them."""
        means = self._means(np.ones((1, len(self.per_user))))[0]
        return pd.concat([pd.Series(means, self.per_user.columns), pd.Series(self.overall, dtype=float)])

    @cached_property
    def interval(self) -> pd.DataFrame:
        """95% interval of every mean, columns low and high: percentiles of a bootstrap over users.

        Efron and Tibshirani, "An Introduction to the Bootstrap", 1993, chapter 13.
        """
        return _interval(self._means, self.per_user, self.seed, self.resamples)

    def _means(self, counts: np.ndarray) -> np.ndarray:
        """Means when user u occurs counts[b, u] times, (n_draws, n_metrics); nan values do not take part."""
        values = self.per_user.to_numpy()
        power = np.array([_POWER.get(name, 1) for name in self.per_user.columns])
        weights = self.weights[:, None] * ~np.isnan(values)
        with np.errstate(invalid="ignore"):
            ratio = (counts @ (weights * np.nan_to_num(values) ** power)) / (counts @ weights)
        return ratio ** (1 / power)

    def __repr__(self) -> str:
        low, high = self.interval["low"], self.interval["high"]
        cells = [f"{m} {self.mean[m]:.4f} [{low[m]:.4f}, {high[m]:.4f}]" for m in self.per_user.columns[:4]]
        left_out = f"; {self.repeated:,} repeated interactions left out" if self.repeated else ""
        return f"Report({self.name}, {len(self.per_user):,} users: {', '.join(cells)}{left_out})"


def evaluate(
    model: Recommender,
    train: Dataset,
    test: Dataset,
    k: int = 10,
    *,
    candidates: np.ndarray | None = None,
    ties: Literal["random", "index"] = "random",
    repeats: bool = False,
    item_vectors: np.ndarray | None = None,
    name: str | None = None,
    batch_size: int = 1024,
    seed: int = 0,
) -> Report:
    """Top-k evaluation of a fitted model on every user who has test interactions.

    All items of the catalog that the user has not seen in `train` are candidates, unless `candidates` names fewer;
    every item of the user's `test` interactions is relevant (filter `test` first where only high ratings shall count).
    An item that the user has seen in `train` is neither a hit nor a miss; the report says how many were left out.

    Args:
        model: fitted on `train`.
        train: seen items are masked from the lists; the source of popularity for novelty.
        test: later interactions.
        k: length of the lists.
        candidates: indices of the items that may be recommended, such as the new ones; all where None.
        ties: how equal scores are ordered: "random", anew for each user; or "index", by the catalog, whose order often
            reflects popularity, so that it can flatter a model that cannot tell items apart.
        repeats: let items that a user has seen in `train` be recommended and be relevant, as where people buy again.
        item_vectors: (n_items, d); where given, the lists' diversity is measured as well.
        name: of the model in tables; its class name by default.
        batch_size: users scored at a time: memory is about batch_size * n_items * 8 bytes.
        seed: of the order of ties and of the bootstrap.
    """
    _check_shared(train, test)
    relevant, seen = test.matrix(), train.matrix()
    repeated = 0
    if not repeats:
        relevant, repeated = _without_repeats(train, test)
    users = np.flatnonzero(np.diff(relevant.indptr))
    allowed = np.arange(train.n_items) if candidates is None else np.unique(candidates)
    if not allowed.size or allowed[0] < 0 or allowed[-1] >= train.n_items:
        raise SettingError(f"candidates must be some of the item indices 0..{train.n_items - 1}, not {candidates!r}")
    rng = np.random.default_rng(seed)
    lists, ids = [], train.users["user_id"].to_numpy()
    for start in range(0, len(users), batch_size):
        some = users[start : start + batch_size]
        scores, known = np.asarray(model.score(ids[some]), dtype=np.float32), None if repeats else seen[some]
        places = None
        if ties == "random":
            places = rng.permuted(np.tile(np.arange(len(allowed), dtype=np.int32), (len(some), 1)), axis=1)
        if candidates is None:
            best, _ = top_k_unseen(scores, known, k, places)
        else:
            best, _ = top_k_unseen(scores[:, allowed], None if known is None else known[:, allowed], k, places)
            best = np.where(best >= 0, allowed[best], -1)
        lists.append(best)
    ranked = np.concatenate(lists)
    hits, n_relevant = metrics.hits_at_k(ranked, relevant[users], k)
    values = {m: f.on_hits(hits, n_relevant, k) for m, f in metrics.RANKING_METRICS.items()}  # type: ignore[attr-defined]
    popularity = np.diff(seen.tocsc().indptr)
    values["novelty"] = metrics.novelty(ranked, popularity, train.n_users)
    if item_vectors is not None:
        values["diversity"] = metrics.intra_list_diversity(ranked, item_vectors)
    overall = {
        "coverage": metrics.coverage(ranked, train.n_items),
        "gini": metrics.gini(ranked, train.n_items),
    }
    per_user = pd.DataFrame(values, index=pd.Index(train.users["user_id"].iloc[users], name="user_id"))
    return Report(name or type(model).__name__, per_user, np.ones(len(users)), overall, ranked, seed, repeated=repeated)


def evaluate_ratings(model: RatingPredictor, test: Dataset, *, name: str | None = None, seed: int = 0) -> Report:
    """Rating errors of a fitted model on the ratings in `test`, in units of the rating."""
    if not len(test):
        raise SettingError("test is empty: there is nothing to measure")
    predicted = np.asarray(model.predict(test.interactions["user_id"], test.interactions["item_id"]), dtype=float)
    if not np.isfinite(predicted).all():
        raise SettingError(f"{type(model).__name__} predicts {predicted[~np.isfinite(predicted)][0]} for a rating")
    error = predicted - test.ratings
    count = np.bincount(test.user_index, minlength=test.n_users)
    users = np.flatnonzero(count)
    squared = np.bincount(test.user_index, error**2, test.n_users)[users] / count[users]
    absolute = np.bincount(test.user_index, abs(error), test.n_users)[users] / count[users]
    index = pd.Index(test.users["user_id"].iloc[users], name="user_id")
    per_user = pd.DataFrame({"rmse": np.sqrt(squared), "mae": absolute}, index=index)
    return Report(name or type(model).__name__, per_user, count[users].astype(float), seed=seed)


def compare(first: Report, second: Report, resamples: int = 2000, seed: int = 0) -> pd.DataFrame:
    """Paired comparison of two reports on the same users, metric by metric.

    Pairing removes what makes a user easy or hard for every model, so a difference can be significant although the two
    intervals overlap.

    Returns:
        Columns difference (first minus second), low and high (95% interval of a paired bootstrap) and p (two-sided, of
        a randomization test that swaps the two models user by user; Smucker, Allan and Carterette, CIKM 2007).
    """
    if not first.per_user.index.equals(second.per_user.index):
        raise SettingError(f"{first.name} and {second.name} were evaluated on different users; nothing to pair")
    shared = [m for m in first.per_user.columns if m in second.per_user.columns]
    a, b = (Report(report.name, report.per_user[shared], report.weights) for report in (first, second))
    table = _interval(lambda counts: a._means(counts) - b._means(counts), a.per_user, seed, resamples)
    observed = a.mean[shared] - b.mean[shared]
    keep = np.random.default_rng(seed + 1).random((resamples, len(a.per_user))) < 0.5
    swapped = _swapped_difference(a, b, keep)
    p = ((abs(swapped) >= abs(observed.to_numpy()) - 1e-12).sum(0) + 1) / (resamples + 1)
    table.insert(0, "difference", observed)
    return table.assign(p=np.where(observed.isna(), np.nan, p))  # no difference, no verdict on it


def search(
    model: Callable[..., Recommender],
    settings: Iterable[Mapping[str, Any]],
    train: Dataset,
    valid: Dataset,
    metric: str = "ndcg",
    k: int = 10,
) -> pd.DataFrame:
    """Grid search on validation data that were cut from train, never on test.

    `model` makes a model of each setting's keyword arguments. "rmse" and "mae" are metrics of `evaluate_ratings`, where
    the smallest is best; the others are those of `evaluate`. One row a setting: its values and the metric, best first.
    """
    if metric not in _SEARCHED:
        raise SettingError(f"metric={metric!r} is none to search by; choose one of {', '.join(_SEARCHED)}")
    errors = metric in ("rmse", "mae")
    rows = []
    for setting in settings:
        fitted: Any = model(**setting).fit(train)
        report = evaluate_ratings(fitted, valid) if errors else evaluate(fitted, train, valid, k)
        rows.append({**setting, metric: report.mean[metric]})
    return pd.DataFrame(rows).sort_values(metric, ascending=errors, ignore_index=True)


def _interval(
    means: Callable[[np.ndarray], np.ndarray], per_user: pd.DataFrame, seed: int, resamples: int
) -> pd.DataFrame:
    low, high = bootstrap_interval(means, len(per_user), seed=seed, resamples=resamples, draw="integers")
    return pd.DataFrame({"low": low, "high": high}, index=per_user.columns)


def _swapped_difference(a: Report, b: Report, keep: np.ndarray) -> np.ndarray:
    """Difference of the means when user u's values change sides unless keep[s, u], (n_swaps, n_metrics)."""
    columns = a.per_user.columns
    both = Report("both", pd.DataFrame(np.vstack([a.per_user, b.per_user]), columns=columns), np.tile(a.weights, 2))
    kept = keep.astype(float)
    first = both._means(np.hstack([kept, 1 - kept]))
    second = both._means(np.hstack([1 - kept, kept]))
    return first - second


def _without_repeats(train: Dataset, test: Dataset) -> tuple[sparse.csr_array, int]:
    """Test interactions as a matrix without the pairs of train, and the number of interactions that go with them."""
    before, later = (data.user_index * np.int64(train.n_items) + data.item_index for data in (train, test))
    again = np.isin(later, before)
    if again.all():
        raise SettingError(
            f"all {len(again):,} interactions of test are in train, and nothing is recommended twice; give what came "
            "later, or pass repeats=True"
        )
    return test.with_interactions(test.interactions[~again]).matrix(), int(again.sum())


def _check_shared(train: Dataset, test: Dataset) -> None:
    for kind in ("user", "item"):
        ours, theirs = (getattr(d, f"{kind}s")[f"{kind}_id"] for d in (train, test))
        if not ours.equals(theirs):
            raise SettingError(
                f"train and test have different {kind} tables; cut them from one data set with llmrec_lite.splits"
            )
    if not len(test):
        raise SettingError("test is empty: there is nothing to measure")

"""Chapters 1 and 4: how a log is cut into what a model may learn from and what it is judged on.

Every split gives `(train, test)` data sets that share the users and items of the whole, so indices agree.
Validation data for choosing settings are cut from train with the same functions.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from llmrec_lite.data import Dataset
from llmrec_lite.errors import SettingError

Split = tuple[Dataset, Dataset]


def _cut(dataset: Dataset, in_test: np.ndarray) -> Split:
    """Cut by a boolean mask over the interactions; both parts keep the order of the file."""
    if in_test.all() or not in_test.any():
        which = "train" if in_test.all() else "test"
        raise SettingError(f"this split of {len(dataset):,} interactions leaves {which} empty; change its size")
    rows = dataset.interactions
    return dataset.with_interactions(rows[~in_test]), dataset.with_interactions(rows[in_test])


def _check_fraction(value: float, name: str) -> None:
    if not 0 < value < 1:
        raise SettingError(f"{name} must lie strictly between 0 and 1, not {value!r}")


def random_split(dataset: Dataset, test_fraction: float = 0.2, seed: int = 0) -> Split:
    """Put a random `test_fraction` of all interactions into test, ignoring time."""
    _check_fraction(test_fraction, "test_fraction")
    chosen = np.random.default_rng(seed).permutation(len(dataset))[: round(test_fraction * len(dataset))]
    return _cut(dataset, np.isin(np.arange(len(dataset)), chosen))


def recommenders_split(dataset: Dataset, train_fraction: float = 0.75, seed: int = 42) -> Split:
    """Split each item's interactions at random, as the recommenders-team benchmark does.

    One uniform draw a row in the order of the file; within each item, the rows with the smallest draws,
    round(train_fraction * count) of them, are train. With the defaults MovieLens 100K gives 75,066 / 24,934.
    """
    _check_fraction(train_fraction, "train_fraction")
    draws = np.random.RandomState(seed).random_sample(len(dataset))  # the benchmark's generator, not ours
    order = np.lexsort((draws, dataset.item_index))
    counts = np.bincount(dataset.item_index, minlength=dataset.n_items)
    starts = np.repeat(np.cumsum(counts) - counts, counts)
    rank = np.empty(len(dataset), np.int64)
    rank[order] = np.arange(len(dataset)) - starts
    return _cut(dataset, rank >= np.round(train_fraction * counts)[dataset.item_index])


def temporal_split(dataset: Dataset, test_fraction: float = 0.2) -> Split:
    """Put the latest `test_fraction` of all interactions into test: train knows nothing of the future."""
    _check_fraction(test_fraction, "test_fraction")
    if not dataset.has_timestamps:
        raise SettingError("a temporal split needs timestamps that differ; this data set has none")
    in_test = np.zeros(len(dataset), bool)
    in_test[dataset.time_order[len(dataset) - round(test_fraction * len(dataset)) :]] = True
    return _cut(dataset, in_test)


def leave_last_out(dataset: Dataset, n: int = 1) -> Split:
    """Put every user's last `n` interactions into test; users with at most `n` stay wholly in train.

    Ties in time, frequent in MovieLens 100K, are broken by the order of the file.
    """
    if n < 1:
        raise SettingError(f"n must be at least 1, not {n}")
    order = dataset.time_order
    users = dataset.user_index[order]
    by_user = order[np.argsort(users, kind="stable")]
    counts = np.bincount(dataset.user_index, minlength=dataset.n_users)
    position = np.arange(len(dataset)) - np.repeat(np.cumsum(counts) - counts, counts)
    from_end = np.repeat(counts, counts) - position
    in_test = np.zeros(len(dataset), bool)
    in_test[by_user] = (from_end <= n) & (np.repeat(counts, counts) > n)
    return _cut(dataset, in_test)


def cold_users(dataset: Dataset, fraction: float = 0.2, seed: int = 0) -> Split:
    """Put all interactions of a random `fraction` of the users into test: they are cold in train."""
    _check_fraction(fraction, "fraction")
    present = np.unique(dataset.user_index)
    chosen = np.random.default_rng(seed).permutation(present)[: round(fraction * len(present))]
    return _cut(dataset, np.isin(dataset.user_index, chosen))


def cold_items(dataset: Dataset, fraction: float = 0.2, seed: int = 0) -> Split:
    """Put all interactions of a random `fraction` of the items into test: they are cold in train."""
    _check_fraction(fraction, "fraction")
    present = np.unique(dataset.item_index)
    chosen = np.random.default_rng(seed).permutation(present)[: round(fraction * len(present))]
    return _cut(dataset, np.isin(dataset.item_index, chosen))


def kfold(dataset: Dataset, k: int = 5, seed: int = 0) -> Iterator[Split]:
    """Folds: k splits whose test parts together are the whole data set, each interaction exactly once.

    Shuffle and fold sizes are those of Surprise's `KFold(k, random_state=seed)`, whose published table can be compared.
    """
    if not 2 <= k <= len(dataset):
        raise SettingError(f"k must lie between 2 and the {len(dataset):,} interactions, not {k}")
    order = np.arange(len(dataset))
    np.random.RandomState(seed).shuffle(order)
    for fold in np.array_split(order, k):  # the first len % k folds are one longer, as in Surprise
        yield _cut(dataset, np.isin(np.arange(len(dataset)), fold))


def subsample(dataset: Dataset, per_user: np.ndarray, per_item: np.ndarray, seed: int = 0) -> Split:
    """Subsample with at most so many interactions of each user, (n_users,), and item, (n_items,), in train.

    Items are subsampled first, so that a user may keep fewer than allowed; inf allows all.
    """
    if np.shape(per_user) != (dataset.n_users,) or np.shape(per_item) != (dataset.n_items,):
        raise SettingError(
            f"there are {dataset.n_users:,} users and {dataset.n_items:,} items, but limits of shape "
            f"{np.shape(per_user)} and {np.shape(per_item)}"
        )
    order = np.random.default_rng(seed).permutation(len(dataset))
    for owner, most in ((dataset.item_index, per_item), (dataset.user_index, per_user)):
        by_owner = np.argsort(owner[order], kind="stable")  # within an owner still in the order that was drawn
        counts = np.bincount(owner[order], minlength=len(most))
        place = np.empty(len(order), np.int64)
        place[by_owner] = np.arange(len(order)) - np.repeat(np.cumsum(counts) - counts, counts)
        order = order[place < np.asarray(most)[owner[order]]]
    return _cut(dataset, ~np.isin(np.arange(len(dataset)), order))

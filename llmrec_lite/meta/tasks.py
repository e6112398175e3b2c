"""Chapter 11: tasks, each a small data set of its own with a support and a query."""

from __future__ import annotations

from collections.abc import Hashable, Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

import numpy as np

from llmrec_lite.compute import random_seed
from llmrec_lite.data import Dataset
from llmrec_lite.errors import SettingError

if TYPE_CHECKING:
    from torch import Tensor

HistoryOrder = Literal["time", "random"]  # whether a support holds the first ratings, or any
SHOTS = (0, 1, 3, 5, 10, 20)  # ratings in the support of a new user, throughout Part III
AGE_BANDS = (0, 18, 25, 35, 45, 50, 56)  # youngest of each band, years; those of MovieLens 1M


@dataclass(frozen=True, eq=False)
class Task:
    """Support and query of one user or group.

    Inputs are item indices, (k,), or feature vectors, (k, d). A support may be empty.
    """

    support_x: np.ndarray
    support_y: np.ndarray  # (k,) float32
    query_x: np.ndarray
    query_y: np.ndarray  # (q,) float32
    task_id: Hashable = None  # a user index, or the name of a group

    def __post_init__(self) -> None:
        for part in ("support", "query"):
            x, y = getattr(self, f"{part}_x"), getattr(self, f"{part}_y")
            if y.ndim != 1 or len(x) != len(y):
                raise SettingError(f"task {self.task_id!r}: {part} has {len(x)} inputs and targets of shape {y.shape}")
            if not np.isfinite(y).all():
                raise SettingError(f"task {self.task_id!r}: a target of its {part} is {y[~np.isfinite(y)][0]}")
        if not len(self.query_y):
            raise SettingError(f"task {self.task_id!r} has no query, so nothing can be learned about adapting to it")


def nearest_shots(shots: Sequence[int], sizes: np.ndarray) -> np.ndarray:
    """Number of shots that is nearest to each size of a history, as logarithms of 1 + n go, (n,)."""
    known = np.array(shots)
    return known[np.abs(np.log1p(known) - np.log1p(sizes)[:, None]).argmin(1)]


def split_users(
    dataset: Dataset, shares: Sequence[float] = (0.7, 0.1, 0.2), seed: int = 0, fold: int = 0
) -> tuple[Dataset, Dataset, Dataset]:
    """Disjoint sets of users, by shares: meta-train, meta-validation and meta-test.

    With the same seed, other folds have other users in meta-test; there are 1 / shares[2] of them.
    """
    if len(shares) != 3 or min(shares) <= 0 or abs(sum(shares) - 1) > 1e-9:
        raise SettingError(f"shares must be three numbers above 0 that sum to 1, not {tuple(shares)}")
    present = np.unique(dataset.user_index)
    if not 0 <= fold < int(1 / shares[2] + 1e-9):
        raise SettingError(f"fold={fold} is none of the {int(1 / shares[2] + 1e-9)} of shares[2]={shares[2]}")
    users = np.random.default_rng(seed).permutation(present)
    first, last = (len(users) - round((fold + more) * shares[2] * len(users)) for more in (1, 0))
    others = np.concatenate([users[last:], users[:first]])
    n_train = round(shares[0] * len(users))
    parts = [others[:n_train], others[n_train:], users[first:last]]
    if min(map(len, parts)) == 0:
        raise SettingError(f"{len(users)} users leave a part empty with shares {tuple(shares)}")
    train, valid, test = (
        dataset.with_interactions(dataset.interactions[np.isin(dataset.user_index, p)]) for p in parts
    )
    return train, valid, test


def user_tasks(
    dataset: Dataset,
    support: int = 10,
    query: int | None = 10,
    seed: int = 0,
    order: HistoryOrder = "time",
    features: np.ndarray | None = None,
) -> list[Task]:
    """One task for each user with ratings, in the order of user indices; `task_id` is that index.

    The query is drawn at random from the ratings after the support. The draw depends on seed and user only, so that a
    longer support takes nothing from the part of the query that lies behind it.

    Args:
        dataset: users with ratings.
        support: number of ratings; a user with fewer keeps one rating for the query.
        query: number of the other ratings, at most; all of them where None.
        seed: of what is drawn.
        order: "time" takes the first ratings (ties by the order of the file) for the support, "random" any.
        features: (n_items, d); where given, inputs are rows of it, else item indices.
    """
    if order not in ("time", "random"):
        raise SettingError(f'order must be "time" or "random", not {order!r}')
    return [_task(dataset, user, rows, support, query, seed, order, features) for user, rows in rows_of_users(dataset)]


def nested_tasks(
    dataset: Dataset,
    supports: Sequence[int] = SHOTS,
    query: int = 10,
    seed: int = 0,
    order: HistoryOrder = "time",
    features: np.ndarray | None = None,
    min_query: int | None = None,
) -> dict[int, list[Task]]:
    """Tasks of the same users for each length of support, with the same queries.

    A query is drawn from the ratings after the longest support, whatever the support and the order. Supports are the
    first ratings, or any but those of the query; a longer one begins with a shorter one. Users with too few ratings for
    the longest support and a query of `min_query` (or `query`, where it is None) are left out; with more, a query has
    `query` at most. Order and features are those of `user_tasks`.
    """
    if order not in ("time", "random"):
        raise SettingError(f'order must be "time" or "random", not {order!r}')
    if not supports or min(supports) < 0 or query < 1:
        raise SettingError(f"need supports of at least 0 and query >= 1, got {tuple(supports)} and query={query}")
    _fits(dataset, features)
    most, least = max(supports), query if min_query is None else min_query
    if not 1 <= least <= query:
        raise SettingError(f"min_query={min_query} must lie between 1 and query={query}")
    tasks: dict[int, list[Task]] = {k: [] for k in supports}
    for user, rows in rows_of_users(dataset):
        if len(rows) < most + least:
            continue
        rng = np.random.default_rng(random_seed(seed, user))
        query_rows = rng.permutation(rows[most:])[:query]
        support_rows = rows[:most] if order == "time" else rng.permutation(rows[~np.isin(rows, query_rows)])
        for k in supports:
            tasks[k].append(_of_rows(dataset, support_rows[:k], query_rows, user, features))
    if not tasks[most]:
        raise SettingError(f"no user has the {most + least} ratings that the longest support and a query take")
    return tasks


def group_tasks(
    dataset: Dataset,
    by: str,
    support: int = 100,
    query: int | None = 500,
    seed: int = 0,
    features: np.ndarray | None = None,
) -> list[Task]:
    """One task for each group of users, such as an occupation; the support is drawn from the group's ratings.

    Groups are those of a column of `dataset.users`; "age" is cut into seven bands. The rest is as in `user_tasks`.
    """
    if by not in dataset.users or by == "user_id":
        known = ", ".join(column for column in dataset.users if column != "user_id") or "none"
        raise SettingError(f"the table of users has no column {by!r} to group by; there are: {known}")
    groups = age_bands(dataset.users["age"].to_numpy()) if by == "age" else dataset.users[by].astype(str).to_numpy()
    of_row = groups[dataset.user_index]
    return [
        _task(dataset, str(group), np.flatnonzero(of_row == group), support, query, seed, "random", features)
        for group in np.unique(of_row)
    ]


def age_bands(ages: np.ndarray) -> np.ndarray:
    """Band of each age in years, (n,): "18-24", "56+"."""
    ends = [f"-{after - 1}" for after in AGE_BANDS[1:]]
    names = np.array([f"{first}{end}" for first, end in zip(AGE_BANDS, [*ends, "+"], strict=True)])
    return names[np.searchsorted(AGE_BANDS, ages, side="right") - 1]


def _task(
    dataset: Dataset,
    task_id: int | str,
    rows: np.ndarray,
    support: int,
    query: int | None,
    seed: int,
    order: str,
    features: np.ndarray | None,
) -> Task:
    if support < 0 or (query is not None and query < 1):
        raise SettingError(f"need support >= 0 and query >= 1 (or None), got support={support}, query={query}")
    _fits(dataset, features)
    rng = np.random.default_rng(random_seed(seed, *(task_id.encode() if isinstance(task_id, str) else (task_id,))))
    if order == "random":
        rows = rng.permutation(rows)
    k = min(support, len(rows) - 1)
    query_rows = rows[k:]
    if query is not None and query < len(query_rows):
        query_rows = query_rows[np.argsort(rng.random(len(rows))[k:], kind="stable")[:query]]
    return _of_rows(dataset, rows[:k], query_rows, task_id, features)


def _of_rows(
    dataset: Dataset, support: np.ndarray, query: np.ndarray, task_id: Hashable, features: np.ndarray | None
) -> Task:
    def inputs(rows: np.ndarray) -> np.ndarray:
        items = dataset.item_index[rows]
        return items if features is None else features[items]

    return Task(inputs(support), dataset.ratings[support], inputs(query), dataset.ratings[query], task_id)


def _fits(dataset: Dataset, features: np.ndarray | None) -> None:
    if features is not None and len(features) != dataset.n_items:
        raise SettingError(f"features has {len(features)} rows for {dataset.n_items} items")


def rows_of_users(dataset: Dataset) -> list[tuple[int, np.ndarray]]:
    """Rows of the log of each user with ratings, in order of time (ties by the order of the file)."""
    by_user = dataset.time_order[np.argsort(dataset.user_index[dataset.time_order], kind="stable")]
    users, starts = np.unique(dataset.user_index[by_user], return_index=True)
    return [(int(user), rows) for user, rows in zip(users, np.split(by_user, starts[1:]), strict=True)]


@dataclass(frozen=True)
class Batch:
    """Tasks side by side, padded to the longest; masks mark the real examples.

    Shapes: x (tasks, k) or (tasks, k, d), y (tasks, k), mask (tasks, k); k is the longest support, or query.
    """

    support_x: Tensor
    support_y: Tensor
    support_mask: Tensor
    query_x: Tensor
    query_y: Tensor
    query_mask: Tensor


def collate(tasks: Sequence[Task]) -> Batch:
    """Batch of tasks."""
    import torch

    if not tasks:
        raise SettingError("there is no task to put into a batch")
    if len({task.query_x.shape[1:] for task in tasks}) > 1:
        raise SettingError("some tasks have feature vectors of other lengths than others; make them in one way")
    tensors = []
    for part in ("support", "query"):
        xs, ys = ([getattr(task, f"{part}_{name}") for task in tasks] for name in "xy")
        longest, example = max(map(len, ys)), tasks[0].query_x
        x = np.zeros((len(tasks), longest, *example.shape[1:]), example.dtype)
        y, mask = np.zeros((len(tasks), longest), np.float32), np.zeros((len(tasks), longest), bool)
        for i, (some_x, some_y) in enumerate(zip(xs, ys, strict=True)):
            x[i, : len(some_y)], y[i, : len(some_y)], mask[i, : len(some_y)] = some_x, some_y, True
        tensors += [torch.from_numpy(x), torch.from_numpy(y), torch.from_numpy(mask)]
    return Batch(*tensors)


def episodes(tasks: Sequence[Task], size: int, steps: int, seed: int) -> Iterator[Batch]:
    """Meta-batches: `steps` batches of `size` tasks, or of all; each task comes once before any comes again."""
    if size < 1 or not tasks:
        raise SettingError(f"need size >= 1 and some tasks, got size={size} and {len(tasks)} tasks")
    size, queue, rounds = min(size, len(tasks)), np.empty(0, int), 0
    for _ in range(steps):
        if len(queue) < size:
            fresh = np.random.default_rng(random_seed(seed, rounds)).permutation(len(tasks))
            # What is left of the old round comes first, and not twice in one batch.
            queue = np.concatenate([queue, fresh[~np.isin(fresh, queue)], fresh[np.isin(fresh, queue)]])
            rounds += 1
        yield collate([tasks[i] for i in queue[:size]])
        queue = queue[size:]

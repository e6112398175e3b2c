"""Speed beside the named libraries, as ratios measured in one run: `make bench`.

Times of two machines cannot be compared, ratios of interleaved best times can. All run on one thread and the
clock counts the processor's time, not the wall's, which on a busy machine says more about its other guests: the
same code can differ fourfold. The exit code is 1 where a target is missed.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Hashable, Sequence

for _library in ("OMP", "OPENBLAS", "MKL", "NUMBA"):
    os.environ[f"{_library}_NUM_THREADS"] = "1"  # read when a library is first imported

import adapting  # noqa: E402
import decoding  # noqa: E402
import encoding  # noqa: E402
import finetuning  # noqa: E402
import numpy as np  # noqa: E402
import rivals  # noqa: E402
from race import Race  # noqa: E402
from rich.console import Console  # noqa: E402
from rich.table import Table  # noqa: E402

from llmrec_lite import Dataset, evaluate, load_movielens, metrics, splits  # noqa: E402
from llmrec_lite.recommenders import EASE  # noqa: E402

K, L2 = 10, 1000.0
MOST_EVALUATE, MOST_INTERVALS, MOST_EASE = 1.0, 1.5, 1.3  # our time over the fastest rival's


class Ready:
    """A model whose scores are known, so that only the evaluation is timed."""

    def __init__(self, scores: np.ndarray, train: Dataset) -> None:
        self.scores, self.train = scores, train

    def fit(self, train: Dataset) -> Ready:
        return self

    def score(self, user_ids: Sequence[Hashable]) -> np.ndarray:
        return self.scores[self.train.users_to_index(user_ids)]


def close(ours: dict[str, float], theirs: dict[str, float], rival: str) -> None:
    """Stop if two runners do not find the same values: then their times mean nothing."""
    for name in rivals.NAMES:
        if not np.isclose(ours[name], theirs[name], atol=1e-6):
            raise SystemExit(f"{rival} finds {name} {theirs[name]:.6f}, we find {ours[name]:.6f}")


def evaluation_races(train: Dataset, test: Dataset) -> list[Race]:
    """Evaluate one model, from its score matrix and from its ready-made lists."""
    users = np.flatnonzero(np.diff(test.matrix().indptr))
    scores, seen, relevant = (
        EASE(L2).fit(train).score_indices(range(train.n_users)),
        train.matrix()[users],
        test.matrix(),
    )
    model, relevant = Ready(scores, train), relevant[users]
    lists, values = rivals.top_k(scores[users], seen, K)
    rows = np.repeat(np.arange(len(users)), np.diff(relevant.indptr))
    truth = rivals.pd.DataFrame({"user": rows, "item": relevant.indices})
    frame = rivals.ranking_frame(lists)

    def ours_from_lists() -> dict[str, float]:
        return {name: float(measure(lists, relevant, K).mean()) for name, measure in metrics.RANKING_METRICS.items()}

    def pandas_from_scores() -> dict[str, float]:
        return rivals.pandas_metrics(rivals.ranking_frame(rivals.top_k(scores[users], seen, K)[0]), truth, K)

    from_scores: dict[str, Callable[[], object]] = {
        "llmrec evaluate().mean": lambda: evaluate(model, train, test, K).mean,
        "pandas formulas": pandas_from_scores,
    }
    from_lists: dict[str, Callable[[], object]] = {
        "llmrec metrics": ours_from_lists,
        "pandas formulas": lambda: rivals.pandas_metrics(frame, truth, K),
    }
    # The definitions agree, except that our default MAP divides by min(k, relevant).
    expected = ours_from_lists() | {
        "map": float(metrics.average_precision_at_k(lists, relevant, K, divide_by="relevant").mean())
    }
    close(expected, pandas_from_scores(), "pandas")
    report = evaluate(model, train, test, K).mean
    close({**expected, "map": report["map"]}, report.to_dict(), "evaluate()")
    if rivals.HAS_RANX:
        ranx = rivals.Ranx(truth, K)
        ready = ranx.run(lists, values)
        close(expected, ranx.evaluate(ready), "ranx")
        from_scores["ranx"] = lambda: ranx.evaluate(ranx.run(*rivals.top_k(scores[users], seen, K)))
        from_lists["ranx, building its Run"] = lambda: ranx.evaluate(ranx.run(lists, values))
        from_lists["ranx, Run ready"] = lambda: ranx.evaluate(ready)
    with_intervals: dict[str, Callable[[], object]] = {
        "llmrec evaluate().interval": lambda: evaluate(model, train, test, K).interval,
        **{name: work for name, work in from_scores.items() if not name.startswith("llmrec")},
    }
    size = f"{len(users):,} x {train.n_items:,}"
    return [
        Race(f"means of all ranking metrics at {K} from one {size} score matrix", from_scores, MOST_EVALUATE),
        Race("the same with 95% intervals, beside rivals that give none", with_intervals, MOST_INTERVALS),
        Race(f"means from ready-made top-{K} lists", from_lists, MOST_EVALUATE),
    ]


def ease_race(data: Dataset) -> Race:
    """Fit EASE on MovieLens 100K; the rival starts from a ready matrix, ours from the interactions."""
    bare = rivals.bare_ease(data.matrix(), L2)
    if not np.allclose(EASE(L2).fit(data).weights_, bare(), atol=1e-5):
        raise SystemExit("EASE and the bare numpy solution differ")
    runners: dict[str, Callable[[], object]] = {
        "llmrec EASE.fit": lambda: EASE(L2).fit(data),
        "numpy.linalg.inv": bare,
    }
    return Race(f"EASE on {len(data):,} interactions, {data.n_items:,} items", runners, MOST_EASE, repeats=8)


def main() -> int:
    """Run every race, print the table, and return 1 where a target is missed."""
    console = Console()
    data = load_movielens()
    races = [
        *evaluation_races(*splits.recommenders_split(data)),
        ease_race(data),
        *adapting.races(),
        *decoding.races(),
        *encoding.races(),
        *finetuning.races(),
    ]
    if not rivals.HAS_RANX:
        console.print("ranx is not installed and is skipped: pip install -e '.\\[bench]'")
    console.print("Processor time on one thread, best of several interleaved repeats.\n")
    missed = 0
    for race in races:
        times = race.run()
        (_, ours), *rest = times.items()
        ratio = ours / min(seconds for _, seconds in rest)
        table = Table(title=race.title, title_justify="left", caption_justify="left")
        table.add_column("", min_width=30)
        for column in ("ms", "times ours"):
            table.add_column(column, justify="right")
        for name, seconds in times.items():
            table.add_row(name, f"{seconds * 1e3:.2f}", f"{seconds / ours:.2f}")
        if race.most is not None:
            met = ratio <= race.most
            missed += not met
            verdict = "[green]met[/green]" if met else "[red]missed[/red]"
            table.caption = f"ours / fastest rival = {ratio:.2f}, target at most {race.most}: {verdict}"
        console.print(table)
        console.print()
    return int(missed > 0)


if __name__ == "__main__":
    sys.exit(main())

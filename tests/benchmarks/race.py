"""Several ways to do the same work, timed side by side."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass


@dataclass
class Race:
    """Things that do the same work, ours first; `most` is the target for ours over the fastest rival."""

    title: str
    runners: dict[str, Callable[[], object]]
    most: float | None = None
    repeats: int = 15

    def run(self) -> dict[str, float]:
        """Best processor seconds of each, interleaved, so that a busy moment of the machine hits all alike."""
        times: dict[str, list[float]] = {name: [] for name in self.runners}
        for _ in range(self.repeats + 1):
            for name, work in self.runners.items():
                start = time.process_time()
                work()
                times[name].append(time.process_time() - start)
        return {name: min(seconds[1:]) for name, seconds in times.items()}  # the first round warms up

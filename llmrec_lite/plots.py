"""Figures and tables in one style: readable in light and dark, by the color-blind, and by a screen reader."""

from __future__ import annotations

import base64
import html
import io
from collections.abc import Sequence
from typing import Any

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from IPython.display import HTML, display
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from pandas.io.formats.style import Styler

from llmrec_lite.errors import SettingError
from llmrec_lite.evaluate import Report

# Okabe and Ito's palette, distinct with any of the common color vision deficiencies.
BLUE, ORANGE, GREEN, RED, SKY, PINK, GRAY = (
    "#0072B2", "#E69F00", "#009E73", "#D55E00", "#56B4E9", "#CC79A7", "#6B6B6B",
)  # fmt: skip
STYLE: dict[Any, Any] = {
    "axes.prop_cycle": plt.cycler(color=[BLUE, ORANGE, GREEN, RED, SKY, PINK, GRAY]),
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "axes.axisbelow": True,
    "axes.titlelocation": "left",
    "axes.titlesize": 11,
    "axes.labelsize": 10,
    "grid.color": "#E4E4E4",
    "grid.linewidth": 0.7,
    "figure.figsize": (7.2, 3.6),
    "figure.facecolor": "white",
    "figure.constrained_layout.use": True,
    "font.size": 10,
    "legend.frameon": False,
    "lines.linewidth": 1.8,
}


def use_style() -> None:
    """Set the book's style for all figures that follow."""
    plt.rcParams.update(STYLE)


def show(fig: Figure, alt: str) -> None:
    """Show a figure together with its description, and close it.

    `alt` is a sentence or two with what a reader who cannot see the figure needs to know.
    """
    if not alt.strip():
        raise SettingError("a figure needs an alt text: what does it show?")
    buffer = io.BytesIO()
    fig.savefig(buffer, format="png", dpi=144)
    plt.close(fig)
    picture = base64.b64encode(buffer.getvalue()).decode()
    width = round(fig.get_figwidth() * 100)
    source = f'src="data:image/png;base64,{picture}" alt="{html.escape(alt, quote=True)}"'
    display(HTML(f'<figure class="plot"><img {source} width="{width}" style="max-width:100%;height:auto"></figure>'))


def long_tail(counts: np.ndarray, ax: Axes, head_share: float = 0.8) -> None:
    """Draw interactions, (n_items,), by rank on logarithmic axes, and mark the items that hold `head_share`."""
    ranked = np.sort(counts)[::-1]
    head = int(np.searchsorted(ranked.cumsum(), head_share * ranked.sum())) + 1
    rank = np.arange(1, len(ranked) + 1)
    ax.fill_between(rank[:head], ranked[:head], 0.5, color=SKY, alpha=0.5, lw=0)
    ax.loglog(rank, np.maximum(ranked, 0.5), color=BLUE)
    ax.axvline(head, color=GRAY, ls="--", lw=1)
    ax.annotate(
        f"{head} of {len(ranked)} items\nhold {head_share:.0%} of interactions",
        (head, 1), xytext=(-8, 6), textcoords="offset points", ha="right", va="bottom",
    )  # fmt: skip
    ax.set(xlabel="rank of the item (log scale)", ylabel="interactions (log scale)", ylim=(0.5, None))


def interval_plot(reports: Sequence[Report], metric: str, ax: Axes, low_is_good: bool = False) -> None:
    """Draw the mean of one metric with its 95% interval for every report, the best one on top."""
    ordered = sorted(reports, key=lambda r: r.mean[metric], reverse=low_is_good)
    for place, report in enumerate(ordered):
        low, high = report.interval.loc[metric]
        ax.plot([low, high], [place, place], color=BLUE, lw=2.5, solid_capstyle="round")
        ax.plot(report.mean[metric], place, "o", color=BLUE, ms=6)
    ax.set_yticks(range(len(ordered)), [r.name for r in ordered])
    ax.set_xlabel(f"{metric}, mean over users and 95% interval")
    ax.grid(axis="y", visible=False)


def leaderboard(
    reports: Sequence[Report],
    columns: Sequence[str] = ("ndcg", "precision", "recall"),
    low_is_good: bool = False,
) -> Styler:
    """Table of reports, best value of a column bold, 95% interval beside each mean (not of overall metrics)."""
    names = [r.name for r in reports]
    if len(set(names)) < len(names):
        raise SettingError(f"every row needs its own name, not {names}; pass name= to evaluate")
    means = pd.DataFrame({r.name: r.mean[list(columns)] for r in reports}).T

    def cell(report: Report, metric: str) -> str:
        mean = f"{report.mean[metric]:.4f}"
        if metric not in report.interval.index:
            return mean
        low, high = report.interval.loc[metric]
        return f"{mean} [{low:.3f}, {high:.3f}]"

    shown = pd.DataFrame({m: [cell(r, m) for r in reports] for m in columns}, index=means.index)
    best = means.min() if low_is_good else means.max()
    bold = means.eq(best, axis=1).map(lambda is_best: "font-weight: bold" if is_best else "")
    return shown.rename_axis("model").style.apply(lambda _: bold, axis=None)

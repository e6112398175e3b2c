"""Figures and tables in one style: readable in light and dark, by the color-blind, and by a screen reader."""

from __future__ import annotations

import html
import warnings
from collections.abc import Mapping, Sequence
from typing import Any

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from IPython.display import HTML, display
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from pandas.io.formats.style import Styler

from llmrec_lite import phone, pictures
from llmrec_lite.errors import SettingError
from llmrec_lite.evaluate import Report
from llmrec_lite.pictures import FigureWarning

# Okabe and Ito's palette, distinct with any of the common color vision deficiencies.
BLUE, ORANGE, GREEN, RED, SKY, PINK, GRAY = (
    "#0072B2", "#E69F00", "#009E73", "#D55E00", "#56B4E9", "#CC79A7", "#6B6B6B",
)  # fmt: skip
NAMES = {
    "ndcg": "nDCG", "map": "MAP", "mrr": "MRR", "auc": "AUC", "rmse": "RMSE", "mae": "MAE", "gini": "Gini",
    "ap": "AP", "f1": "F1", "user_id": "user", "item_id": "item",
}  # fmt: skip
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
    "svg.fonttype": "none",
    "figure.constrained_layout.use": True,
    "font.size": 10,
    "legend.frameon": False,
    "lines.linewidth": 1.8,
}


def use_style() -> None:
    """Set the book's style for all figures and tables that follow."""
    plt.rcParams.update(STYLE)
    pd.set_option("display.max_colwidth", None)


def show(fig: Figure, alt: str, caption: str | None = None) -> None:
    """Figure in the page, with its description and its caption; it is closed.

    The site numbers captions ("Figure 3.2."). A figure that is too wide for a phone is drawn a second time, its panels
    below each other; where texts would then collide, the phone scrolls the wide one inside its box.

    Args:
        fig: whose texts are checked: one that the canvas cuts off or that lies over another gives a `FigureWarning`.
        alt: a sentence or two with what a reader who cannot see the figure needs to know.
        caption: what is seen, and what follows from it; a sentence under the figure.

    Raises:
        SettingError: `alt` is empty, or `caption` is given and empty.
    """
    for name, words in {"alt": alt, "caption": caption}.items():
        if words is not None and not words.strip():
            raise SettingError(f"a figure needs {name}=, not {words!r}: say in a sentence what it shows")
    faults = pictures.text_faults(fig)
    for fault in faults:
        warnings.warn(f"a text of the figure is {fault}", FigureWarning, stacklevel=2)
    width = round(fig.get_figwidth() * 100)
    drawings = f'<div class="wide" style="max-width:{width}px">{pictures.svg(fig, alt)}</div>'
    small = width > 450 and phone.narrow(fig)
    if small:
        drawings += f'<div class="narrow" style="display:none">{pictures.svg(fig, alt)}</div>'
    plt.close(fig)
    told = f' data-faults="{html.escape("; ".join(faults))}"' if faults else ""
    below = f"<figcaption>{html.escape(caption)}</figcaption>" if caption else ""
    kind = "plot" if small or width <= 450 else "plot scrolls"
    display(HTML(f'<figure class="{kind}" style="margin:0"{told}>{drawings}{below}</figure>'))


def table(
    frame: pd.DataFrame | pd.Series | Styler,
    caption: str | None = None,
    formats: Mapping[str, str] | str | None = None,
    index: bool = False,
) -> Styler:
    """Table for people: headings in words, columns of words left, numbers right and rounded, nothing shortened.

    Args:
        frame: a frame, a series (one column), or a styled frame, whose formats and colors stay.
        caption: a sentence above the table.
        formats: a format string for some columns, or for all, such as ``"{:.2f}"``; fractions have three digits.
        index: show the names of the rows; a named index is always shown.

    Returns:
        A styled frame, which a notebook shows as the last line of a cell.
    """
    styled = isinstance(frame, Styler)
    if isinstance(frame, pd.Series):
        frame = frame.to_frame()
    data = frame.data if isinstance(frame, Styler) else frame
    shown = frame if isinstance(frame, Styler) else frame.style
    if isinstance(formats, str):
        formats = dict.fromkeys(data.select_dtypes("number").columns, formats)
    if not styled or formats:
        shown = shown.format({**({} if styled else _formats(data)), **(formats or {})}, na_rep="–")
    if data.columns.nlevels == 1:
        shown = shown.format_index(heading, axis=1)
    if not index and data.index.nlevels == 1 and data.index.name is None:
        shown = shown.hide()
    words = [column for column in data.columns if not pd.api.types.is_numeric_dtype(data[column])]
    if data.columns.is_unique and data.index.is_unique:
        shown = shown.set_properties(subset=words, **{"text-align": "left"})
    return shown.set_caption(caption) if caption else shown


def _formats(frame: pd.DataFrame) -> dict[Any, str]:
    """Format of each column of numbers: fractions with three digits, large counts with separators."""
    found = {}
    for name in frame.columns[[not isinstance(frame[c], pd.DataFrame) for c in frame.columns]]:
        if pd.api.types.is_float_dtype(frame[name]):
            whole = bool((frame[name].dropna() % 1 == 0).all())
            found[name] = "{:,.0f}" if whole else "{:,.3f}"
        elif pd.api.types.is_integer_dtype(frame[name]) and frame[name].abs().max() >= 10_000:
            found[name] = "{:,}"
    return found


def heading(name: object) -> str:
    """Name of a column in words: ``hit_rate`` is "hit rate", ``ndcg`` is "nDCG"."""
    words = str(name)
    return NAMES.get(words, words.replace("_", " "))


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
    ax.set_xlabel(f"{heading(metric)}, mean over users and 95% interval")
    ax.grid(axis="y", visible=False)


def leaderboard(
    reports: Sequence[Report],
    columns: Sequence[str] = ("ndcg", "precision", "recall"),
    low_is_good: bool = False,
) -> Styler:
    """Table of reports, best value of a column bold, 95% interval beside each mean (not of overall metrics).

    On a phone the interval stands below its mean.
    """
    names = [r.name for r in reports]
    if len(set(names)) < len(names):
        raise SettingError(f"every row needs its own name, not {names}; pass name= to evaluate")
    means = pd.DataFrame({r.name: r.mean[list(columns)] for r in reports}).T

    def cell(report: Report, metric: str) -> str:
        mean = f"{report.mean[metric]:.3f}"
        if metric not in report.interval.index:
            return mean
        low, high = report.interval.loc[metric]
        return f"{mean} [{low:.3f}, {high:.3f}]"

    shown = pd.DataFrame({m: [cell(r, m) for r in reports] for m in columns}, index=means.index)
    best = means.min() if low_is_good else means.max()
    bold = means.eq(best, axis=1).map(lambda is_best: "font-weight: bold" if is_best else "")
    return shown.rename_axis("model").style.format_index(heading, axis=1).apply(lambda _: bold, axis=None)

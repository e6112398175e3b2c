"""Figures that everybody can read, and tables that mark the best."""

import base64
import html
import re

import matplotlib as mpl
import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import pytest

from llmrec_lite import Report, plots
from llmrec_lite.errors import SettingError


@pytest.fixture(autouse=True)
def _no_window_and_no_figure_left():
    with mpl.rc_context({"backend": "agg"}):
        yield
    plt.close("all")


@pytest.fixture
def shown(monkeypatch):
    pages = []
    monkeypatch.setattr(plots, "display", lambda page: pages.append(page.data))
    return pages


def report(name, ndcg, **overall):
    values = np.array(ndcg) + np.array([-0.1, 0, 0.1])
    return Report(name, pd.DataFrame({"ndcg": values, "rmse": 1 - values}), np.ones(3), overall)


# ---- figures ----


def test_show_gives_a_picture_with_its_description_and_closes_it(shown):
    fig, ax = plt.subplots(figsize=(5, 2))
    ax.plot([1, 2])
    alt = 'Two "users" & <b>one</b> film\'s rating'
    plots.show(fig, alt)
    (page,) = shown
    assert html.unescape(re.search(r' alt="([^"]*)"', page)[1]) == alt
    assert "<b>" not in page
    assert 'width="500"' in page
    picture = base64.b64decode(re.search(r"base64,([^\"]+)", page)[1])
    assert picture.startswith(b"\x89PNG")
    assert not plt.fignum_exists(fig.number)


@pytest.mark.parametrize("alt", ["", " \n"])
def test_show_demands_a_description(alt, shown):
    with pytest.raises(SettingError, match="alt"):
        plots.show(plt.figure(), alt)
    assert not shown


def test_the_style_is_set():
    plots.use_style()
    assert mpl.rcParams["axes.prop_cycle"].by_key()["color"][0] == plots.BLUE
    assert not mpl.rcParams["axes.spines.top"]


@pytest.mark.parametrize(
    ("counts", "share", "head"),
    [
        ([1, 6, 3], 0.8, 2),  # 6 + 3 of 10
        ([1, 6, 3], 0.6, 1),  # 6 of 10 is just enough
        ([1, 6, 3], 0.61, 2),
        ([5, 0, 0], 1.0, 1),
        ([1, 1, 1], 1.0, 3),
    ],
)
def test_the_head_is_the_fewest_items_that_hold_the_share(counts, share, head):
    _, ax = plt.subplots()
    plots.long_tail(np.array(counts), ax, share)
    assert ax.texts[0].get_text() == f"{head} of 3 items\nhold {share:.0%} of interactions"
    assert list(ax.lines[0].get_ydata()) == sorted(np.maximum(counts, 0.5), reverse=True)
    assert ax.lines[1].get_xdata()[0] == head
    assert ax.get_xlabel()
    assert ax.get_ylabel()
    assert (ax.get_xscale(), ax.get_yscale()) == ("log", "log")


@pytest.mark.parametrize(
    ("metric", "low_is_good", "top"), [("ndcg", False, "good"), ("rmse", True, "good"), ("rmse", False, "poor")]
)
def test_interval_plot_has_the_best_on_top(metric, low_is_good, top):
    _, ax = plt.subplots()
    reports = [report("fair", 0.4), report("good", 0.6), report("poor", 0.2)]
    plots.interval_plot(reports, metric, ax, low_is_good)
    labels = [label.get_text() for label in ax.get_yticklabels()]
    assert labels[-1] == top
    assert labels[1] == "fair"
    bar, dot = ax.lines[4], ax.lines[5]  # of the one on top, the last drawn
    best = next(r for r in reports if r.name == top)
    assert list(bar.get_xdata()) == list(best.interval.loc[metric])
    assert dot.get_xdata()[0] == best.mean[metric]
    assert ax.get_xlabel().startswith(metric)


# ---- tables ----


def bold(styler) -> list[tuple[int, int]]:
    styler._compute()
    return sorted(cell for cell, style in styler.ctx.items() if ("font-weight", "bold") in style)


def test_leaderboard_bolds_the_best_of_every_column():
    reports = [report("a", 0.2, coverage=0.9), report("b", 0.6, coverage=0.5), report("c", 0.6, coverage=0.9)]
    table = plots.leaderboard(reports, ["ndcg", "coverage"])
    assert bold(table) == [(0, 1), (1, 0), (2, 0), (2, 1)]  # ties are both the best
    low, high = reports[0].interval.loc["ndcg"]
    assert table.data.loc["a"].tolist() == [f"0.2000 [{low:.3f}, {high:.3f}]", "0.9000"]  # coverage has no interval
    assert table.data.index.name == "model"
    assert bold(plots.leaderboard(reports, ["rmse"], low_is_good=True)) == [(1, 0), (2, 0)]
    assert bold(plots.leaderboard(reports, ["rmse"])) == [(0, 0)]
    assert "font-weight: bold" in table.to_html()


def test_leaderboard_needs_a_name_for_every_row():
    with pytest.raises(SettingError, match="EASE"):
        plots.leaderboard([report("EASE", 0.2), report("EASE", 0.4)], ["ndcg"])

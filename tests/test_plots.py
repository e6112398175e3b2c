"""Figures that everybody can read, and tables that mark the best."""

import matplotlib as mpl
import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import pytest
from bs4 import BeautifulSoup

from llmrec_lite import Report, plots
from llmrec_lite.errors import SettingError

pytestmark = pytest.mark.usefixtures("book_style")


@pytest.fixture
def shown(monkeypatch):
    pages = []
    monkeypatch.setattr(plots, "display", lambda page: pages.append(page.data))
    return pages


def report(name, ndcg, **overall):
    values = np.array(ndcg) + np.array([-0.1, 0, 0.1])
    return Report(name, pd.DataFrame({"ndcg": values, "rmse": 1 - values}), np.ones(3), overall)


# ---- figures ----


def test_show_gives_a_drawing_with_description_and_caption_and_closes_it(shown):
    fig, ax = plt.subplots(figsize=(4, 2))
    ax.plot([1, 2])
    alt, caption = 'Two "users" & <b>one</b> film\'s rating', "Ratings < 3 & others."
    plots.show(fig, alt, caption=caption)
    page = BeautifulSoup(shown[0], "html.parser")
    assert [drawing["aria-label"] for drawing in page.find_all("svg")] == [alt]
    assert page.figcaption.get_text() == caption
    assert page.select_one(".wide")["style"] == "max-width:400px"
    assert not page.select("[data-faults], b")
    assert not plt.fignum_exists(fig.number)


def test_a_wide_figure_is_drawn_for_the_phone_too(shown):
    for names in (["a", "b"], ["a name that is as long as the panel is wide"] * 20):
        fig, ax = plt.subplots(figsize=(7.2, 3))
        ax.plot([1, 2])
        for name in names:
            ax.text(0.5, 1.5, name)
        plots.show(fig, "A line")
    fits, collides = (BeautifulSoup(page, "html.parser") for page in shown)
    assert len(fits.select(".narrow svg")) == 1
    assert not fits.select("figure.scrolls")
    assert not collides.select(".narrow")
    assert collides.select("figure.scrolls")


def test_a_text_that_cannot_be_read_is_told(shown):
    fig, ax = plt.subplots()
    ax.set_title("a finding " * 20)
    with pytest.warns(plots.FigureWarning, match="cut off"):
        plots.show(fig, "Nothing")
    assert "cut off" in BeautifulSoup(shown[0], "html.parser").figure["data-faults"]


@pytest.mark.parametrize("words", [{"alt": ""}, {"alt": " \n"}, {"alt": "A line", "caption": " "}])
def test_show_demands_words(words, shown):
    with pytest.raises(SettingError, match=list(words)[-1]):
        plots.show(plt.figure(), **words)
    assert not shown


def test_the_style_is_set():
    plots.use_style()
    assert mpl.rcParams["axes.prop_cycle"].by_key()["color"][0] == plots.BLUE
    assert not mpl.rcParams["axes.spines.top"]
    long = " ".join(["word"] * 100)
    assert long in pd.DataFrame({"text": [long]}).to_html()


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
    assert ax.get_xlabel().lower().startswith(metric)


# ---- tables ----


def bold(styler) -> list[tuple[int, int]]:
    styler._compute()
    return sorted(cell for cell, style in styler.ctx.items() if ("font-weight", "bold") in style)


def test_leaderboard_bolds_the_best_of_every_column():
    reports = [report("a", 0.2, coverage=0.9), report("b", 0.6, coverage=0.5), report("c", 0.6, coverage=0.9)]
    table = plots.leaderboard(reports, ["ndcg", "coverage"])
    assert bold(table) == [(0, 1), (1, 0), (2, 0), (2, 1)]  # ties are both the best
    low, high = reports[0].interval.loc["ndcg"]
    assert table.data.loc["a"].tolist() == [f"0.200 [{low:.3f}, {high:.3f}]", "0.900"]  # coverage has no interval
    assert table.data.index.name == "model"
    assert bold(plots.leaderboard(reports, ["rmse"], low_is_good=True)) == [(1, 0), (2, 0)]
    assert bold(plots.leaderboard(reports, ["rmse"])) == [(0, 0)]
    assert "font-weight: bold" in table.to_html()


def test_leaderboard_needs_a_name_for_every_row():
    with pytest.raises(SettingError, match="EASE"):
        plots.leaderboard([report("EASE", 0.2), report("EASE", 0.4)], ["ndcg"])


def cells(styler) -> list[list[str]]:
    page = BeautifulSoup(styler.to_html(), "html.parser")
    return [[cell.get_text() for cell in row.find_all(["th", "td"])] for row in page.find_all("tr")]


def test_leaderboard_speaks_of_metrics_by_their_names():
    head = cells(plots.leaderboard([report("a", 0.2, hit_rate=0.9)], ["ndcg", "hit_rate"]))[0]
    assert head[1:] == ["nDCG", "hit rate"]


def test_table_rounds_counts_and_names():
    long = "A film with a very long title indeed. " * 5
    frame = pd.DataFrame(
        {"film": [long, "B"], "train_loss": [0.12345, np.nan], "users": [24736, 3], "epoch": [1.0, 2.0]}
    )
    table = plots.table(frame, caption="Two films.")
    assert cells(table) == [
        ["film", "train loss", "users", "epoch"],
        [long, "0.123", "24,736", "1"],
        ["B", "–", "3", "2"],
    ]
    assert BeautifulSoup(table.to_html(), "html.parser").caption.get_text() == "Two films."


def test_table_takes_formats_for_some_columns_and_for_all_numbers():
    frame = pd.DataFrame({"film": ["A"], "x": [0.5], "year": [1998]})
    assert cells(plots.table(frame, formats={"x": "{:.0%}"}))[1] == ["A", "50%", "1998"]
    assert cells(plots.table(frame, formats="{:.1f}"))[1] == ["A", "0.5", "1998.0"]


def test_table_shows_rows_that_have_names():
    series = pd.Series([0.5], ["Alien"], name="rating")
    assert cells(plots.table(series)) == [["rating"], ["0.500"]]
    assert cells(plots.table(series, index=True))[1] == ["Alien", "0.500"]
    assert cells(plots.table(series.rename_axis("film")))[-1] == ["Alien", "0.500"]


def test_table_leaves_a_styled_frame_its_formats():
    styled = pd.DataFrame({"x": [0.123456]}).style.format("{:.5f}")
    assert cells(plots.table(styled))[1] == ["0.12346"]
    assert cells(plots.table(styled, formats={"x": "{:.2f}"}))[1] == ["0.12"]

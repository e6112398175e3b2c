"""Legends and direct labels hide nothing when a figure becomes narrow."""

import matplotlib as mpl
import matplotlib.pyplot as plt
import numpy as np
import pytest
from matplotlib.text import Text

from llmrec_lite import labels, phone, plots

pytestmark = pytest.mark.usefixtures("book_style")


def names(legend):
    return [text.get_text() for text in legend.get_texts()]


def inside(outer, inner):
    return outer.x0 <= inner.x0 and inner.x1 <= outer.x1 and outer.y0 <= inner.y0 and inner.y1 <= outer.y1


# ---- what is drawn where ----


def test_points_lie_along_lines_marks_and_bars():
    fig, ax = plt.subplots(figsize=(4, 4))
    ax.set(xlim=(0, 1), ylim=(0, 1))
    ax.plot([0, 1], [0.5, 0.5])
    ax.scatter([0.25], [0.9])
    ax.add_patch(plt.Rectangle((0.6, 0.1), 0.2, 0.2))
    fig.canvas.draw()
    points = ax.transAxes.inverted().transform(labels.ink(ax))
    assert all(np.hypot(*(points - place).T).min() < 0.01 for place in [(0.37, 0.5), (0.25, 0.9), (0.7, 0.2)])
    assert np.hypot(*(points - (0.3, 0.3)).T).min() > 0.1


def test_covered_counts_the_points_under_a_label():
    fig, ax = plt.subplots()
    ax.plot([0, 1], [0, 0])
    over = ax.text(0.2, 0, "on the line", va="center")
    free = ax.text(0.2, 0.04, "above it")
    fig.canvas.draw()
    found = labels.covered(fig)
    assert found[id(over)] > labels.FREE
    assert found[id(free)] == 0


# ---- legends ----


def test_a_legend_that_would_hide_lines_stands_below():
    fig, ax = plt.subplots(figsize=(7, 2.5))
    for n in range(4):
        ax.plot(np.linspace(0, 1, 30), np.full(30, n), "o", label=f"the line with number {n}")
    ax.set_xlabel("time")
    ax.legend(loc="center left")
    assert phone.narrow(fig)
    box = ax.get_legend().get_window_extent()
    assert names(ax.get_legend()) == [f"the line with number {n}" for n in range(4)]
    assert box.y1 < Text.get_window_extent(ax.xaxis.label).y0
    assert inside(fig.bbox, box)


def test_a_legend_in_free_room_stays():
    fig, ax = plt.subplots(figsize=(7, 3))
    ax.plot([0, 1], [0, 0], label="low")
    ax.set_ylim(-0.1, 1)
    ax.legend(loc="upper right")
    assert phone.narrow(fig)
    assert inside(ax.bbox, ax.get_legend().get_window_extent())


def test_a_legend_of_the_figure_takes_as_many_columns_as_fit():
    fig, ax = plt.subplots(figsize=(9, 3))
    for n in range(5):
        ax.plot([n, n], label=f"a name of length {n}")
    fig.legend(loc="outside lower center", ncols=5)
    assert phone.narrow(fig)
    (legend,) = fig.legends
    assert len(names(legend)) == 5
    assert inside(fig.bbox, legend.get_window_extent())
    rows = {round(text.get_window_extent().y0) for text in legend.get_texts()}
    assert 1 < len(rows) < 5


# ---- direct labels ----


def test_a_label_that_would_leave_the_canvas_moves_in():
    fig, ax = plt.subplots(figsize=(7, 3))
    ax.plot([0, 1, 2], [0, 1, 0])
    ax.set_ylim(0, 3)
    label = ax.annotate("a summit with a long name", (1, 1), (4, 20), textcoords="offset points")
    assert phone.narrow(fig)
    assert inside(fig.bbox, Text.get_window_extent(label))
    assert labels.covered(fig)[id(label)] <= labels.FREE


def test_labels_without_room_become_a_legend_in_the_colors_of_their_lines():
    fig, ax = plt.subplots(figsize=(7, 3))
    for color, end, name in ((plots.BLUE, 1.0, "joint training, then tuned"), (plots.GREEN, 1.02, "ridge on factors")):
        ax.plot([0, 1], [0, end], color=color)
        ax.text(1.02, end, name, color=color, va="center" if end > 1 else "top")
    assert phone.narrow(fig)
    assert names(ax.get_legend()) == ["joint training, then tuned", "ridge on factors"]
    assert [mpl.colors.to_hex(one.get_color()).upper() for one in ax.get_legend().legend_handles] == [
        plots.BLUE, plots.GREEN,
    ]  # fmt: skip
    assert not any(text.get_visible() for text in ax.texts)
    assert ax.get_position().width > 0.6


def test_a_label_on_its_bar_stays():
    fig, ax = plt.subplots(figsize=(7, 3))
    ax.bar([0, 1], [1, 2])
    label = ax.text(1, 1, "two", ha="center")
    assert phone.narrow(fig)
    assert label.get_position() == (1, 1)


def test_words_of_a_diagram_stay_where_they_belong():
    fig, ax = plt.subplots(figsize=(7, 3))
    ax.axis("off")
    words = [ax.text(place, 0.5, "a box with a name") for place in (0.0, 0.3, 0.6)]
    assert not phone.narrow(fig)
    assert [word.get_position() for word in words] == [(0.0, 0.5), (0.3, 0.5), (0.6, 0.5)]


def test_a_panel_grows_and_its_neighbors_do_not():
    fig, axes = plt.subplots(2, 1, figsize=(4, 4), gridspec_kw={"height_ratios": [1.9, 1.9]})
    fig.canvas.draw()
    before = [ax.bbox.height for ax in axes]
    labels.grow(fig, axes[0], 1.0)
    fig.canvas.draw()
    assert axes[0].bbox.height - before[0] == pytest.approx(100, abs=12)
    assert axes[1].bbox.height == pytest.approx(before[1], abs=12)
    assert fig.get_figheight() == 5

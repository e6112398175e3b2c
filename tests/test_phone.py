"""Figures for a phone: one column, nothing cut off, nothing printed over anything."""

import matplotlib.pyplot as plt
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from matplotlib.text import Text

from llmrec_lite import phone, pictures, plots

LONG = ["Star Trek: The Wrath of Khan (1982)", "Willy Wonka and the Chocolate Factory (1971)", "Kingpin (1996)"]


pytestmark = pytest.mark.usefixtures("book_style")


def lines(text: str) -> int:
    return text.count("\n") + 1


# ---- one column ----


def test_panels_stand_below_each_other():
    fig, axes = plt.subplots(1, 3, figsize=(9, 3), sharey=True)
    axes[0].set_ylabel("share")
    for ax in axes:
        ax.plot([1, 2])
    assert phone.narrow(fig)
    assert fig.get_figwidth() == phone.WIDTH
    boxes = [ax.get_position() for ax in axes]
    assert boxes[0].y0 > boxes[1].y1
    assert boxes[1].y0 > boxes[2].y1
    assert all(tick.label1.get_visible() for ax in axes for tick in ax.yaxis.get_major_ticks())
    assert [ax.get_ylabel() for ax in axes] == ["share"] * 3


def test_panels_of_any_grid_are_read_row_by_row():
    fig = plt.figure(figsize=(8, 4))
    grid = fig.add_gridspec(2, 2, width_ratios=[2, 1])
    wide, small, smaller = fig.add_subplot(grid[:, 0]), fig.add_subplot(grid[0, 1]), fig.add_subplot(grid[1, 1])
    for ax in (smaller, small, wide):
        ax.plot([1, 2])
    assert phone.narrow(fig)
    tops = [ax.get_position().y1 for ax in (wide, small, smaller)]
    assert tops == sorted(tops, reverse=True)
    widths = [ax.get_position().width for ax in (wide, small, smaller)]
    assert min(widths) > 0.7


def test_the_two_axes_of_a_panel_stay_one_panel():
    fig, ax = plt.subplots(figsize=(7, 3))
    other = ax.twinx()
    ax.plot([1, 2])
    other.plot([30, 10], color=plots.ORANGE)
    assert phone.narrow(fig)
    assert np.allclose(ax.get_position().bounds, other.get_position().bounds)


@pytest.mark.parametrize("size", [(4, 2), (3.6, 3)])
def test_a_narrow_figure_needs_no_second_drawing(size):
    fig, ax = plt.subplots(figsize=size)
    ax.plot([1, 2])
    assert not phone.narrow(fig)
    assert tuple(fig.get_size_inches()) == size


def test_the_aspect_of_pictures_holds():
    fig, ax = plt.subplots(figsize=(7.2, 7.2))
    ax.imshow(np.eye(3))
    assert phone.narrow(fig)
    assert fig.get_figheight() == pytest.approx(3.6, abs=0.3)
    box = ax.get_position()
    assert box.width == pytest.approx(box.height * fig.get_figheight() / 3.6, rel=0.01)


def test_small_type_becomes_readable():
    fig, ax = plt.subplots(figsize=(7, 3))
    ax.plot([1, 2])
    ax.text(0, 1.8, "small", fontsize=6)
    assert phone.narrow(fig)
    assert ax.texts[0].get_fontsize() == phone.SMALLEST


def test_what_cannot_be_read_has_no_drawing():
    fig, ax = plt.subplots(figsize=(9, 3))
    ax.imshow(np.eye(40))
    ax.set_xticks(range(40), ["antidisestablishmentarianism"] * 40)
    ax.set_yticks(range(40), ["antidisestablishmentarianism"] * 40)
    assert not phone.narrow(fig)


# ---- names and ticks ----


def test_long_names_of_rows_leave_half_of_the_width_to_the_bars():
    fig, ax = plt.subplots(figsize=(7, 2))
    ax.barh(LONG, [1, 2, 3])
    assert phone.narrow(fig)
    names = [label.get_text() for label in ax.get_yticklabels()]
    assert [" ".join(name.split()) for name in names] == LONG
    assert [lines(name) > 1 for name in names] == [True, True, False]
    assert ax.get_position().width > 0.5


def test_names_in_lines_make_the_panel_taller():
    heights = []
    for names in (["a", "b", "c"], [f"{name} {name}" for name in LONG]):
        fig, ax = plt.subplots(figsize=(7, 2))
        ax.barh(names, [1, 2, 3])
        assert phone.narrow(fig)
        heights.append(fig.get_figheight())
    assert heights[1] > heights[0]


def test_numbers_below_an_axis_become_fewer():
    fig, ax = plt.subplots(figsize=(9, 3))
    ax.plot(range(20))
    ax.set_xticks(range(20), [f"{1000 * n:,}" for n in range(20)])
    assert phone.narrow(fig)
    shown = [label.get_text() for label in ax.get_xticklabels()]
    assert 2 < len(shown) < 20
    assert list(ax.get_xticks()) == [int(text.replace(",", "")) / 1000 for text in shown]


def test_words_below_an_axis_are_kept_in_lines_or_turned():
    turned = []
    for names in (["fact, right links", "fact, no link", "no fact at all"], ["attention"] * 9):
        fig, ax = plt.subplots(figsize=(9, 3))
        ax.plot(range(len(names)))
        ax.set_xticks(range(len(names)), names)
        assert phone.narrow(fig)
        labels = ax.get_xticklabels()
        assert [" ".join(label.get_text().split()) for label in labels] == names
        turned.append(labels[0].get_rotation() != 0)
    assert turned == [False, True]


# ---- titles and names of axes ----


def test_long_titles_are_broken():
    fig, ax = plt.subplots()
    ax.plot([1, 2])
    ax.set_title("With few ratings, counting beats comparing, in every split of the data")
    assert phone.narrow(fig)
    assert lines(ax.get_title(loc="left")) == 2


def test_a_title_may_stand_above_the_names_of_rows():
    fig, ax = plt.subplots(figsize=(7, 3))
    ax.barh(LONG, [1, 2, 3])
    ax.set_title("A title longer than the bars have room")
    assert phone.narrow(fig)
    assert lines(ax.get_title(loc="left")) == 1


def test_a_name_below_axes_that_stand_to_the_right_ends_with_them():
    fig, ax = plt.subplots(figsize=(7, 3))
    ax.barh(["a long name of a model", "another long name of one"], [1, 2])
    ax.set_xlabel("share of the list that has the genres")  # room on the left, none on the right
    assert phone.narrow(fig)
    assert Text.get_window_extent(ax.xaxis.label).x1 <= ax.bbox.x1 + 1


@given(st.lists(st.text("abcd ", min_size=1, max_size=12), min_size=1, max_size=8), st.integers(60, 300))
@settings(max_examples=30, deadline=None)
def test_lines_keep_all_words_and_fit(parts, room):
    text = plt.figure().text(0, 0, " ".join(parts))
    broken = phone.broken(text, room)
    assert broken.split() == text.get_text().split()
    words = [plt.gcf().text(0, 0, word).get_window_extent().width for word in broken.split()]
    if max(words, default=0) <= room:
        text.set_text(broken)
        assert text.get_window_extent().width <= room
    plt.close("all")


def test_formulas_are_not_broken():
    text = plt.figure().text(0, 0, r"a long name of $\alpha + \beta + \gamma$ and of others")
    assert r"$\alpha + \beta + \gamma$" in phone.broken(text, 90)


def test_a_good_drawing_passes_the_checks_of_texts():
    fig, axes = plt.subplots(1, 2, figsize=(9, 3))
    axes[0].barh(LONG, [1, 2, 3], label="films")
    axes[1].plot([1, 3], label="a line")
    axes[1].set_title("A title that is a good deal longer than its panel, so that it must be broken")
    fig.legend(loc="outside lower center", ncols=2)
    assert phone.narrow(fig)
    assert pictures.text_faults(fig, strict=True) == []

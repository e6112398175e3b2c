"""Figures as SVG in the page's colors, and texts that cannot be read are found."""

import re
import xml.etree.ElementTree as ET

import matplotlib.pyplot as plt
import numpy as np
import pytest

from llmrec_lite import pictures, plots

SVG = "{http://www.w3.org/2000/svg}"


pytestmark = pytest.mark.usefixtures("book_style")


def bars(**settings):
    fig, ax = plt.subplots()
    ax.bar(["a", "b"], [1, 2], color=plots.BLUE)
    ax.set(**settings)
    return fig


# ---- texts ----


def cut_title():
    return bars(title="a finding " * 20)


def cut_legend():
    fig = bars()
    fig.legend(["first"], loc="upper center", bbox_to_anchor=(0.5, 0))
    return fig


def crowded_ticks():
    fig = bars()
    fig.axes[0].set_xticks([0, 0.01], ["the first", "the second"])
    return fig


def crowded_log_axis():
    fig, axes = plt.subplots(1, 3, figsize=(4, 2))
    axes[0].semilogx([3e3, 6e3], [1, 2])
    axes[0].xaxis.set_minor_formatter("{x:.0f}")
    return fig


@pytest.mark.parametrize("draw", [cut_title, cut_legend, crowded_ticks, crowded_log_axis])
def test_a_text_that_cannot_be_read_is_found(draw):
    assert pictures.text_faults(draw())


def log_axis():
    fig, ax = plt.subplots()
    ax.loglog([1, 1e4], [1e-3, 1])
    return fig


def hidden_panel():
    fig, (left, right) = plt.subplots(1, 2)
    left.plot([1, 2])
    right.set_xticks([0, 0.01], ["the first", "the second"])
    right.axis("off")
    return fig


def empty_ticks_outside():
    fig = bars(xlim=(-0.5, 1.5))
    fig.axes[0].set_xticks([0, 1, 40], ["a", "b", "far away"])
    fig.axes[0].set_xlim(-0.5, 1.5)
    return fig


@pytest.mark.parametrize("draw", [bars, log_axis, hidden_panel, empty_ticks_outside])
def test_a_good_figure_has_no_faults(draw):
    assert pictures.text_faults(draw()) == []


def test_texts_over_each_other_count_only_where_asked():
    fig = bars()
    for place in (1.0, 1.02):
        fig.axes[0].text(0.5, place, "the same place")
    assert pictures.text_faults(fig) == []
    assert pictures.text_faults(fig, strict=True)


# ---- SVG ----


def test_drawing_takes_font_and_colors_of_the_page():
    fig = bars(title="A title", xlabel="letters")
    drawing = pictures.svg(fig, 'Two "bars" & <b>one</b>')
    root = ET.fromstring(drawing)  # well-formed
    assert root.get("aria-label") == 'Two "bars" & <b>one</b>'
    assert root.get("role") == "img"
    assert {"A title", "letters", "a", "b"} <= {text.text for text in root.iter(f"{SVG}text")}
    colors = set(re.findall(r"(?:fill|stroke): ([^;\"]+)", drawing))
    assert not any(color.startswith("#") for color in colors)
    assert any(color.startswith("var(--plot-blue") for color in colors)
    assert "currentColor" in colors
    assert "<style" not in drawing
    assert "DejaVu" not in drawing


def test_ids_are_used_and_unique_across_figures():
    drawings = [pictures.svg(bars(title=title), title) for title in ("one", "two")]
    ids = [set(re.findall(r' id="([^"]+)"', drawing)) for drawing in drawings]
    assert ids[0]
    assert not ids[0] & ids[1]
    for drawing, own in zip(drawings, ids, strict=True):
        assert set(re.findall(r'(?:href="#|url\(#)([^")]+)', drawing)) == own


def test_the_same_figure_gives_the_same_drawing():
    assert pictures.svg(bars(), "bars") == pictures.svg(bars(), "bars")


def test_numbers_in_texts_keep_their_digits():
    fig = bars()
    fig.axes[0].text(0, 1, "0.123456")
    assert "0.123456" in pictures.svg(fig, "a number")


@pytest.mark.parametrize(("points", "raster"), [(400, False), (4000, True)])
def test_clouds_of_marks_become_pictures_inside_the_drawing(points, raster):
    fig, ax = plt.subplots()
    ax.scatter(np.arange(points), np.arange(points) % 7)
    ax.set_title("a cloud")
    drawing = pictures.svg(fig, "a cloud")
    assert ("data:image/png;base64," in drawing) == raster
    assert "a cloud</text>" in drawing
    assert len(drawing) < 200_000

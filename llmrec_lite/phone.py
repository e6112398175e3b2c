"""The second drawing of a figure, as wide as a phone: panels in one column, long names in lines, labels that fit.

`llmrec_lite.plots.show` asks for it. A figure is stacked and shrunk first; then each remedy mends what it can, until
every text can be read.
"""

from __future__ import annotations

import re
import textwrap
import warnings
from collections.abc import Iterable, Sequence
from itertools import pairwise
from typing import Any, cast

import numpy as np
from matplotlib.axis import Axis
from matplotlib.figure import Figure
from matplotlib.gridspec import GridSpec
from matplotlib.text import Text
from matplotlib.ticker import AutoLocator, MaxNLocator, NullFormatter
from matplotlib.transforms import blended_transform_factory

from llmrec_lite import labels
from llmrec_lite.pictures import all_axes, overlap, seen, text_faults, tick_labels

WIDTH = 3.6  # inches; at 323 pixels of a phone, 10 pt are then 12 pixels
SMALLEST = 9.0  # points: 11 pixels on a phone
NAMES = 0.42  # share of the width that names of rows may take
MARGIN = 4.0  # pixels
NUMBER = re.compile(r"[-+\u2212]?\d[\d.,e+\u2212-]*[%kM]?")


def narrow(fig: Figure, width: float = WIDTH) -> bool:
    """Whether a figure could be made as narrow as a phone; its panels then stand below each other.

    The figure is changed either way. Not for figures that are narrow already.
    """
    panels = [ax for ax in fig.axes if ax.get_subplotspec() is not None and ax.get_visible()]
    if fig.get_figwidth() <= 1.25 * width or not panels or fig.subfigs:
        return False
    fig.draw_without_rendering()
    covered = labels.covered(fig)
    stack(fig, panels, width)
    for text in fig.findobj(Text):
        text.set_fontsize(max(SMALLEST, text.get_fontsize()))
    remedies = (
        break_names,
        thin_ticks,
        break_long_texts,
        labels.move_legends,
        lambda figure: labels.move_labels(figure, covered),
        part_names,
        thin_ticks,
        break_long_texts,
    )
    for remedy in remedies:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", UserWarning)
            fig.draw_without_rendering()
            remedy(fig)
    with warnings.catch_warnings():
        warnings.simplefilter("error", UserWarning)  # a layout that matplotlib had to give up
        try:
            return not text_faults(fig, strict=True)
        except UserWarning:
            return False


# ---- one column ----


def stack(fig: Figure, panels: Sequence[Any], width: float) -> None:
    """Put the panels of a drawn figure below each other in reading order, each about as tall as it was."""
    old_height = fig.get_figheight()
    cells: dict[tuple[float, ...], list[Any]] = {}
    for ax in panels:
        place = ax.get_subplotspec().get_position(fig)
        cells.setdefault((round(-place.y1, 3), round(place.x0, 3)), []).append(ax)
    rows = [cells[cell] for cell in sorted(cells)]
    side_by_side = len({left for _, left in cells}) > 1
    boxes = [[ax.get_tightbbox() for ax in row] for row in rows]
    outside = old_height - (max(b.y1 for r in boxes for b in r) - min(b.y0 for r in boxes for b in r)) / fig.dpi
    heights = []
    for row, box in zip(rows, boxes, strict=True):
        height = max(b.height for b in box) / fig.dpi + 0.1
        if any(ax.get_aspect() != "auto" for ax in row):
            height *= min(1.0, (width - 0.1) * fig.dpi / max(b.width for b in box))
        elif side_by_side:
            height = min(height, 0.75 * width)
        heights.append(height)
    column = GridSpec(len(rows), 1, figure=fig, height_ratios=heights)
    for place_in_column, row in enumerate(rows):
        for ax in row:
            ax.set_subplotspec(column[place_in_column])
            if side_by_side:
                _own_labels(ax)
    fig.set_size_inches(width, sum(heights) + max(outside, 0.0))


def _own_labels(ax: Any) -> None:
    """Give a panel the numbers and the name of the axis that it shared with its neighbor."""
    siblings = ax.get_shared_y_axes().get_siblings(ax)
    if len(siblings) > 1 and ax.yaxis.get_ticks_position() != "right":
        ax.tick_params(which="both", labelleft=True)
        names = {one.get_ylabel() for one in siblings} - {""}
        if not ax.get_ylabel() and len(names) == 1:
            ax.set_ylabel(names.pop())
    if len(ax.get_shared_x_axes().get_siblings(ax)) > 1 and ax.xaxis.get_ticks_position() != "top":
        ax.tick_params(which="both", labelbottom=True)


# ---- ticks ----


def _ticks(axis: Axis) -> tuple[list[float], list[Text]]:
    """Places and labels of the major ticks that are drawn, in order."""
    shown = {id(label) for label in tick_labels(axis)}
    found = [
        (tick.get_loc(), label)
        for tick in axis.get_major_ticks()
        for label in (tick.label1, tick.label2)
        if id(label) in shown
    ]
    found.sort(key=lambda one: one[0])
    return [place for place, _ in found], [label for _, label in found]


def _axes_with_ticks(fig: Figure) -> Iterable[tuple[Any, Axis]]:
    for ax in all_axes(fig):
        if ax.axison:
            yield from ((ax, axis) for axis in (ax.xaxis, ax.yaxis) if axis.get_visible())


def _crowded(texts: Sequence[Text], room: float = MARGIN) -> bool:
    boxes = sorted((Text.get_window_extent(text).padded(room / 2, 0) for text in texts), key=lambda b: (b.x0, b.y0))
    return any(overlap(one, other) for one, other in pairwise(boxes))


def _are_numbers(texts: Sequence[Text]) -> bool:
    bare = [re.sub(r"\\[a-z]+|[${}^\s]", "", text.get_text()) for text in texts]  # without the signs of a formula
    return all(NUMBER.fullmatch(text) for text in bare)


def break_names(fig: Figure) -> None:
    """Names of rows in several lines where they take too much of the width; the panel grows with them."""
    room = NAMES * fig.bbox.width
    for ax in all_axes(fig):
        places, texts = _ticks(ax.yaxis)
        if ax.axison and not _are_numbers(texts) and max(map(_width, texts), default=0) > room:
            ax.yaxis.set_ticks(places, [broken(text, room) for text in texts])
    fig.draw_without_rendering()
    part_names(fig)


def part_names(fig: Figure) -> None:
    """Taller panels where names of rows would collide."""
    for ax in all_axes(fig):
        places, texts = _ticks(ax.yaxis)
        if not ax.axison or len(texts) < 2 or _are_numbers(texts):
            continue
        heights = np.array([Text.get_window_extent(text).height + 2 for text in texts])
        gaps = np.abs(np.diff(ax.transData.transform([(0, place) for place in places])[:, 1]))
        need = np.max((heights[:-1] + heights[1:]) / 2 / np.maximum(gaps, 1), initial=0.0)
        if need > 1:
            labels.grow(fig, ax, (need - 1) * max(ax.bbox.height / fig.dpi, 0.2))


def thin_ticks(fig: Figure) -> None:
    """Fewer numbers where ticks would collide; names below an axis in lines, else turned."""
    for ax, axis in _axes_with_ticks(fig):
        places, texts = _ticks(axis)
        level = [text for text in tick_labels(axis) if text.get_rotation() == 0]
        if not _crowded(level, MARGIN if axis is ax.xaxis else 0.0):
            continue
        if len(tick_labels(axis)) > len(texts):
            axis.set_minor_formatter(NullFormatter())
        if _are_numbers(texts):
            _fewer(axis, places, texts)
        elif axis is ax.xaxis:
            _break_or_turn(ax, places, texts)


def _fewer(axis: Axis, places: Sequence[float], texts: Sequence[Text]) -> None:
    step = next((k for k in range(1, len(texts)) if not _crowded(texts[::k])), len(texts))
    if step == 1:
        return
    if isinstance(axis.get_major_locator(), AutoLocator):
        axis.set_major_locator(MaxNLocator(max(2, len(texts) // step), steps=[1, 2, 2.5, 5, 10]))
    else:
        axis.set_ticks(places[::step], [text.get_text() for text in texts[::step]])


def _break_or_turn(ax: Any, places: Sequence[float], texts: Sequence[Text]) -> None:
    across = ax.transData.transform([(place, 0) for place in places])[:, 0]
    room = float(np.min(np.abs(np.diff(across)), initial=ax.bbox.width)) - MARGIN
    names = [broken(text, room) for text in texts]
    ax.xaxis.set_ticks(places, names)
    ax.figure.draw_without_rendering()
    new = _ticks(ax.xaxis)[1]
    if not _crowded(new, 0):
        return
    line = max(text.get_fontsize() for text in new) * ax.figure.dpi / 72
    if room + MARGIN > 1.2 * line / np.sin(np.radians(40)):
        ax.xaxis.set_ticks(places, [" ".join(name.split()) for name in names], rotation=40, ha="right",
                           rotation_mode="anchor")  # fmt: skip


# ---- texts ----


def broken(text: Text, room: float) -> str:
    """Words of a text in lines that are no wider than `room` pixels, if its words are not; formulas stay whole."""
    words = " ".join(text.get_text().split())
    whole = re.sub(r"\$[^$]*\$", lambda formula: formula[0].replace(" ", "\0"), words)
    old = text.get_text()
    box = Text.get_window_extent(text)
    if max(box.width, 1) <= room:
        return old
    letters = max(len(line) for line in old.splitlines())
    fits: list[str] = []
    for width in range(min(len(whole), int(1.2 * letters * room / box.width) + 1), 5, -1):
        lines = textwrap.wrap(whole, width, break_long_words=False, break_on_hyphens=False)
        if fits and len(lines) > fits[-1].count("\n") + 1:
            break  # as few lines as possible, of even length
        text.set_text("\n".join(lines).replace("\0", " "))
        if fits or _width(text) <= room or width == 6:
            fits.append(text.get_text())
    text.set_text(old)
    return fits[-1] if fits else old


def break_long_texts(fig: Figure) -> None:
    """Break titles and names of axes that are longer than their place, which is as wide as the canvas if need be."""
    canvas = fig.bbox.width
    for text in fig.texts:
        if seen(text):
            text.set_text(broken(text, canvas - 2 * MARGIN))
    shift = any(
        text.get_text() and (text.get_position()[0] != 0 or _width(text) > canvas - ax.bbox.x0 - MARGIN)
        for ax in fig.axes
        for text in _titles(ax, "left")
    )
    for ax in fig.axes:
        panel = ax.get_tightbbox()
        for title in _titles(ax, "left") if shift else ():
            edge: Any = blended_transform_factory(fig.transFigure, ax.transAxes)
            title.set_transform(edge + cast("Any", ax).titleOffsetTrans)
            title.set_x(MARGIN / canvas)
        for title in _titles(ax, "left", "center", "right"):
            title.set_text(broken(title, canvas - 2 * MARGIN))
        name, middle = ax.xaxis.label, (ax.bbox.x0 + ax.bbox.x1) / 2
        if "\n" in name.get_text():
            name.set_text(" ".join(name.get_text().split()))  # lines that another width had made
        if seen(name) and _width(name) > 2 * min(middle, canvas - middle) - MARGIN:
            name.set(x=1.0, horizontalalignment="right")
            name.set_text(broken(name, ax.bbox.x1 - MARGIN))
        side = ax.yaxis.label
        if seen(side) and panel is not None and Text.get_window_extent(side).height > panel.height:
            side.set_rotation(0)
            lines = broken(side, max(ax.bbox.height, 60.0))
            side.set(rotation=90, text=lines)


def _titles(ax: Any, *places: str) -> list[Text]:
    """Titles of axes, which matplotlib gives by their words only."""
    words = {ax.get_title(loc=place) for place in places} - {""}
    return [text for text in ax.get_children() if isinstance(text, Text) and text.get_text() in words]


def _width(text: Text) -> float:
    return float(Text.get_window_extent(text).width)

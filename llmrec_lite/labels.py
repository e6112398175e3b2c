"""Legends and direct labels of a figure that was made narrow: moved aside, or collected below their panel.

A label in the color of a line, and a legend, may stand anywhere; on a phone they may not hide what they name.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import pairwise, product
from typing import Any

import numpy as np
from matplotlib.collections import LineCollection, PathCollection
from matplotlib.colors import same_color
from matplotlib.figure import Figure
from matplotlib.text import Text
from matplotlib.transforms import Bbox, BboxBase, ScaledTranslation, blended_transform_factory

from llmrec_lite.pictures import all_axes, overlap, seen, seen_texts

STEP = 2.0  # pixels between points of a line
FREE = 2  # points of lines that a label may cover
MARGIN = 4.0  # pixels


def grow(fig: Figure, ax: Any, inches: float) -> None:
    """Make a panel of a column taller, and the figure with it."""
    place = ax.get_subplotspec()
    width, height = fig.get_size_inches()
    if place is not None:
        column = place.get_gridspec()
        heights = list(column.get_height_ratios())
        heights[place.rowspan.start] += inches
        column.set_height_ratios(heights)
    fig.set_size_inches(width, height + inches)


# ---- what is drawn where ----


def ink(ax: Any) -> np.ndarray:
    """Points, (n, 2) in pixels, of lines, marks and bars of drawn axes."""
    found = [np.empty((0, 2))]
    for line in ax.lines:
        if line.get_visible():
            corners = line.get_transform().transform(line.get_xydata())
            if line.get_linestyle() not in ("None", "none", ""):
                found.append(_along(corners))
            if line.get_marker() not in ("None", "none", "", " ", None):
                found.append(_marks(corners, line.get_markersize() / 2))
    for drawn in ax.collections:
        if isinstance(drawn, PathCollection) and drawn.get_visible():
            centers = drawn.get_offset_transform().transform(np.ma.filled(drawn.get_offsets(), np.nan))
            found.append(_marks(centers, float(np.sqrt(np.max(drawn.get_sizes(), initial=0)) / 2)))
        elif isinstance(drawn, LineCollection) and drawn.get_visible():
            found += [_along(drawn.get_transform().transform(corners)) for corners in drawn.get_segments()]
    for patch in ax.patches:
        if patch.get_visible():
            box = patch.get_window_extent()
            across = np.arange(box.x0, box.x1 + STEP, STEP)[:500], np.arange(box.y0, box.y1 + STEP, STEP)[:500]
            found.append(np.array(list(product(*across))).reshape(-1, 2))
    points = np.concatenate(found)
    return points[np.isfinite(points).all(axis=1)]


def _marks(centers: np.ndarray, points: float) -> np.ndarray:
    """Points of round marks with a radius in points: their centers and their edges."""
    shape = (points * 100 / 72 + 1) * np.array([(0, 0), (1, 0), (0, 1), (-1, 0), (0, -1)])
    return (centers[:, None] + shape).reshape(-1, 2)


def _along(corners: np.ndarray) -> np.ndarray:
    """Points every few pixels along a line of corners, (n, 2)."""
    corners = corners[np.isfinite(corners).all(axis=1)]
    if len(corners) < 2 or len(corners) > 2000:
        return corners
    parts = [corners[:1]]
    for start, end in pairwise(corners):
        count = int(min(500, np.hypot(*(end - start)) // STEP + 1))
        parts.append(start + (end - start) * np.linspace(0, 1, count + 1)[1:, None])
    return np.concatenate(parts)


def _inside(points: np.ndarray, box: Bbox) -> int:
    return int(((points > (box.x0, box.y0)) & (points < (box.x1, box.y1))).all(axis=1).sum())


def covered(fig: Figure) -> dict[int, int]:
    """Points of lines under each label of a drawn figure, by the id of the label."""
    return {
        id(text): _inside(points, Text.get_window_extent(text))
        for ax in all_axes(fig)
        for points in [ink(ax)]
        for text in ax.texts
        if seen(text)
    }


# ---- legends ----


def move_legends(fig: Figure) -> None:
    """Put a legend below its panel where it would hide lines or leave the canvas; below the figure, in columns."""
    for ax in all_axes(fig):
        legend = ax.get_legend()
        if legend is None or not legend.get_visible():
            continue
        box = legend.get_window_extent()
        beside = not _holds(fig.bbox, box) or not _holds(ax.bbox.padded(2 * MARGIN), box)
        if beside or _inside(ink(ax), box) > FREE:
            legend_below(fig, ax, legend.legend_handles, [text.get_text() for text in legend.get_texts()])
    for legend in list(fig.legends):
        box = legend.get_window_extent()
        if box.width > fig.bbox.width - MARGIN:
            handles: list[Any] = list(legend.legend_handles)
            names = [text.get_text() for text in legend.get_texts()]
            legend.remove()
            for columns in range(len(names), 0, -1):
                new = fig.legend(handles, names, loc="outside lower center", ncols=columns, **_dense())
                if new.get_window_extent().width <= fig.bbox.width - MARGIN or columns == 1:
                    break
                new.remove()
            fig.draw_without_rendering()
            width, height = fig.get_size_inches()
            fig.set_size_inches(width, height + max(0.0, new.get_window_extent().height - box.height) / fig.dpi)


def _dense() -> dict[str, Any]:
    return {"fontsize": 9, "handlelength": 1.3, "columnspacing": 1.0, "handletextpad": 0.5, "labelspacing": 0.35}


def _holds(outer: BboxBase, inner: BboxBase) -> bool:
    return bool(
        inner.x0 >= outer.x0 - 1 and inner.x1 <= outer.x1 + 1 and inner.y0 >= outer.y0 - 1 and inner.y1 <= outer.y1 + 1
    )


def legend_below(fig: Figure, ax: Any, handles: Sequence[Any], names: Sequence[str]) -> None:
    """Legend below the numbers and the name of the x axis, as wide as the canvas; the panel grows by its height."""
    below = ax.xaxis.get_tightbbox()
    drop = max(0.0, ax.bbox.y0 - below.y0) if below is not None else 0.0
    edge = blended_transform_factory(fig.transFigure, ax.transAxes)
    shift = ScaledTranslation(MARGIN / fig.dpi, -(drop + 2 * MARGIN) / fig.dpi, fig.dpi_scale_trans)
    for columns in range(len(names), 0, -1):
        legend = ax.legend(
            handles, names, ncols=columns, loc="upper left", bbox_to_anchor=(0, 0), borderaxespad=0,
            bbox_transform=edge + shift, **_dense(),
        )  # fmt: skip
        if legend.get_window_extent().width <= fig.bbox.width - 2 * MARGIN:
            break
    grow(fig, ax, (legend.get_window_extent().height + 2 * MARGIN) / fig.dpi)
    fig.draw_without_rendering()


# ---- direct labels ----


def move_labels(fig: Figure, before: Mapping[int, int]) -> None:
    """Move labels that leave the canvas, or hide lines or texts, a little; where that fails, make a legend of them.

    Args:
        fig: drawn, narrow.
        before: what `covered` found in the wide figure: what a label covered there it may cover here.
    """
    for ax in all_axes(fig):
        if not ax.axison:
            continue  # a diagram, whose words stand where they belong
        mine = [text for text in ax.texts if seen(text)]
        squeezed = ax.bbox.width < 0.5 * fig.bbox.width
        if squeezed:
            for text in mine:
                if Text.get_window_extent(text).x1 > ax.bbox.x1 + 2 * MARGIN:
                    text.set_in_layout(False)
            fig.draw_without_rendering()
        points = ink(ax)
        boxes = {id(text): box for text, box in seen_texts(fig)}
        bad = [text for text in mine if _cost(fig, text, points, boxes) > FREE]
        lost = [text for text in bad if not _move(fig, ax, text, points, boxes)]
        failed = [text for text in lost if _cost(fig, text, points, boxes) > before.get(id(text), 0) + FREE]
        if failed:
            _as_legend(fig, ax, mine)


def _cost(fig: Figure, text: Text, points: np.ndarray, boxes: Mapping[int, Bbox]) -> float:
    """Points of lines below a label, and 100 for each text of `boxes` that it touches, or an edge that it crosses."""
    box = Text.get_window_extent(text)
    touched = sum(overlap(box.padded(MARGIN, 0), other) for one, other in boxes.items() if one != id(text))
    canvas = Bbox.from_extents(MARGIN, fig.bbox.y0, fig.bbox.x1 - 1, fig.bbox.y1)
    return _inside(points, box) + 100.0 * (touched + (not _holds(canvas, box)))


def _move(fig: Figure, ax: Any, text: Text, points: np.ndarray, boxes: dict[int, Bbox]) -> bool:
    """Whether a place without fault was found near a label's own; `boxes` then have it there."""
    transform, old = text.get_transform(), text.get_position()
    try:
        start = transform.transform(old)
    except (TypeError, ValueError):
        return False
    box = Text.get_window_extent(text)
    inward = [min(0.0, fig.bbox.x1 - MARGIN - box.x1), max(0.0, MARGIN - box.x0)]
    line = float(text.get_fontsize()) * fig.dpi / 72
    across = {0.0, *inward, *(sign * share * box.width for sign in (-1, 1) for share in (0.25, 0.5, 0.75, 1.0))}
    down = [sign * share * line for sign in (-1, 1) for share in (0.0, 0.4, 0.8, 1.2, 1.6, 2.0)]
    left = min(box.x0, ax.bbox.x0)  # over the axis is the last resort
    tries = sorted(
        product(across, down), key=lambda shift: (box.x0 + shift[0] < left, abs(shift[0]) * 0.7 + abs(shift[1]))
    )
    for shift in tries:
        text.set_position(tuple(transform.inverted().transform(start + np.array(shift))))
        if _cost(fig, text, points, boxes) == 0:
            boxes[id(text)] = Text.get_window_extent(text)
            text.set_in_layout(False)
            return True
    text.set_position(old)
    return False


def _as_legend(fig: Figure, ax: Any, texts: Sequence[Text]) -> None:
    """Make a legend below the panel of the labels that have the color of exactly one line."""
    handles, names = [], []
    drawn = [one for one in (*ax.lines, *ax.collections) if one.get_visible()]
    for text in texts:
        if same_color(text.get_color(), "black") or ax.get_legend() is not None:
            continue
        same = [one for one in drawn if _has_color(one, text.get_color())]
        alike = [one for one in texts if same_color(one.get_color(), text.get_color())]
        if same and len(alike) == 1:
            handles.append(same[0])
            names.append(" ".join(text.get_text().split()))
            text.set_visible(False)
    if handles:
        legend_below(fig, ax, handles, names)


def _has_color(artist: Any, color: Any) -> bool:
    own = artist.get_color() if hasattr(artist, "get_color") else artist.get_facecolor()
    try:
        return bool(same_color(own, color)) or (len(own) == 1 and bool(same_color(own[0], color)))
    except (ValueError, TypeError):
        return False

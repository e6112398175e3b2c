"""Figures as SVG in the font and the colors of the page, and checks that every text of a figure can be read.

Chapters call `llmrec_lite.plots.show`; this module draws for it.
"""

from __future__ import annotations

import hashlib
import io
import re
from itertools import combinations
from typing import Any

import matplotlib as mpl
import numpy as np
from matplotlib.artist import Artist
from matplotlib.axis import Axis
from matplotlib.collections import Collection
from matplotlib.figure import Figure
from matplotlib.image import AxesImage
from matplotlib.lines import Line2D
from matplotlib.text import Text
from matplotlib.transforms import Bbox

#: Colors that the page may replace by lighter twins at night: a CSS variable, with the color where there is none.
VARIABLES = {
    "#000000": "currentColor",
    "#ffffff": "var(--plot-paper, #ffffff)",
    "#e4e4e4": "var(--plot-grid, #e4e4e4)",
    "#0072b2": "var(--plot-blue, #0072b2)",
    "#e69f00": "var(--plot-orange, #e69f00)",
    "#009e73": "var(--plot-green, #009e73)",
    "#d55e00": "var(--plot-red, #d55e00)",
    "#56b4e9": "var(--plot-sky, #56b4e9)",
    "#cc79a7": "var(--plot-pink, #cc79a7)",
    "#6b6b6b": "var(--plot-gray, #6b6b6b)",
}
ROOT = "width:100%;height:auto;fill:currentColor;font-family:var(--book-sans,sans-serif);stroke-linejoin:round"
MAX_MARKS = 1500


class FigureWarning(UserWarning):
    """A text of a figure that cannot be read: cut off by the canvas, or printed over its neighbor."""


# ---- texts that cannot be read ----


def tick_labels(axis: Axis) -> list[Text]:
    """Labels of the ticks that are drawn: those within the limits of the axis."""
    low, high = sorted(axis.get_view_interval())
    slack = 1e-9 * max(abs(low), abs(high))
    ticks = [*axis.get_major_ticks(), *axis.get_minor_ticks()]
    drawn = [tick for tick in ticks if low - slack <= tick.get_loc() <= high + slack]
    return [label for tick in drawn for label in (tick.label1, tick.label2) if seen(label)]


def seen(text: Text) -> bool:
    """Whether a text has letters and is visible."""
    return text.get_visible() and bool(text.get_text().strip())


def all_axes(fig: Figure) -> list[Any]:
    """Visible axes of a figure, those inside of others too."""
    inner = [child for ax in fig.axes for child in ax.child_axes]
    return [ax for ax in (*fig.axes, *inner) if ax.get_visible()]


def seen_texts(fig: Figure) -> list[tuple[Text, Bbox]]:
    """All texts of a drawn figure with their boxes in pixels, those of undrawn ticks and hidden axes left out."""
    drawn, undrawn = [], set()
    for ax in all_axes(fig):
        for axis in (ax.xaxis, ax.yaxis):
            if ax.axison and axis.get_visible():
                drawn += tick_labels(axis)
            undrawn |= {id(text) for text in axis.findobj(Text)} - (
                {id(axis.label)} if ax.axison and axis.get_visible() else set()
            )
    hidden = {id(text) for ax in fig.axes if not ax.get_visible() for text in ax.findobj(Text)}
    drawn += [text for text in fig.findobj(Text) if id(text) not in undrawn | hidden and seen(text)]
    unique = {id(text): text for text in drawn}.values()
    # the box of an annotation would include its arrow, which may leave the canvas
    return [(text, Text.get_window_extent(text)) for text in unique]


def overlap(one: Bbox, other: Bbox, slack: float = 1.0) -> bool:
    """Whether two boxes share more than a seam of `slack` pixels."""
    width = min(one.x1, other.x1) - max(one.x0, other.x0)
    height = min(one.y1, other.y1) - max(one.y0, other.y0)
    return width > slack and height > slack


def text_faults(fig: Figure, strict: bool = False) -> list[str]:
    """Texts of a figure that a reader cannot read: cut off by the canvas, or tick labels over each other.

    Args:
        fig: drawn here once, so that all places are final.
        strict: also texts of any kind that lie over each other; on purpose some do.
    """
    fig.canvas.draw()
    canvas, texts = fig.bbox, seen_texts(fig)
    found = [
        f"cut off by the canvas: {text.get_text()!r}"
        for text, box in texts
        if box.x0 < canvas.x0 - 1 or box.y0 < canvas.y0 - 1 or box.x1 > canvas.x1 + 1 or box.y1 > canvas.y1 + 1
    ]
    boxes = {id(text): box for text, box in texts}
    groups = [tick_labels(axis) for ax in all_axes(fig) for axis in (ax.xaxis, ax.yaxis)]
    if strict:
        groups = [[text for text, _ in texts]]
    for group in groups:
        upright = [text for text in group if id(text) in boxes and text.get_rotation() % 90 == 0]
        found += [
            f"printed over each other: {one.get_text()!r} and {other.get_text()!r}"
            for one, other in combinations(upright, 2)
            if overlap(boxes[id(one)], boxes[id(other)])
        ]
    return found


# ---- SVG ----


def _marks(artist: Artist) -> int:
    if isinstance(artist, Line2D):
        points = np.shape(artist.get_xdata())[0]
        return points if artist.get_marker() not in ("None", "none", "", " ", None) else points // 4
    if isinstance(artist, Collection):
        return max(np.shape(artist.get_offsets())[0], len(artist.get_paths()))
    return 0 if isinstance(artist, AxesImage) else 1


def _rasterize(fig: Figure, most: int = MAX_MARKS) -> None:
    """Let clouds of marks become pictures inside the drawing: thousands of circles would weigh more."""
    artists = [artist for ax in all_axes(fig) for artist in (*ax.lines, *ax.collections, *ax.patches)]
    counts = {artist: _marks(artist) for artist in artists}
    if sum(counts.values()) > most:
        many = most // 10 if any(count > most // 10 for count in counts.values()) else 0
        for artist, count in counts.items():
            artist.set_rasterized(count > many)


def svg(fig: Figure, label: str) -> str:
    """Drawing of a figure as SVG to stand in a page, in the page's font and colors, on no background.

    Args:
        fig: with more than `MAX_MARKS` marks, its clouds of marks become pictures of double resolution.
        label: what a screen reader says.
    """
    _rasterize(fig)
    buffer = io.StringIO()
    with mpl.rc_context({"svg.fonttype": "none", "svg.hashsalt": "llmrec"}):
        fig.savefig(buffer, format="svg", transparent=True, dpi=200, metadata={"Date": None})
    return adapt(buffer.getvalue(), label)


def adapt(drawing: str, label: str) -> str:
    """SVG of matplotlib, made fit to stand inside a page: no style of its own, unique ids, the page's colors."""
    body = drawing[drawing.index("<svg") :]
    box = re.search(r'viewBox="[^"]*"', body)
    body = re.sub(r"<metadata>.*?</metadata>|<defs>\s*<style.*?</style>\s*</defs>", "", body, flags=re.S)
    body = body[body.index(">") + 1 : body.rindex("</svg>")]
    body = re.sub(r"<(?!/)[^>]+>", lambda tag: _adapt_tag(tag[0]), body)
    used = set(re.findall(r'(?:href="#|url\(#)([^")]+)', body))
    own = hashlib.sha256((label + body).encode()).hexdigest()[:8]
    body = re.sub(r' id="([^"]*)"', lambda m: f' id="{own}-{m[1]}"' if m[1] in used else "", body)
    body = re.sub(r'(href="#|url\(#)', rf"\g<1>{own}-", body)
    body = re.sub(r">\s*\n\s*<", "><", body)
    assert box is not None  # matplotlib always writes one
    label = label.replace("&", "&amp;").replace('"', "&quot;").replace("<", "&lt;")
    opening = f'<svg xmlns="http://www.w3.org/2000/svg" {box[0]} role="img" aria-label="{label}" style="{ROOT}">'
    return f"{opening}{body.strip()}</svg>"


def _adapt_tag(tag: str) -> str:
    """Tag of a drawing with the page's colors and font, and with no more digits than a screen shows."""
    if "base64," in tag:
        return tag.replace("xlink:href", "href")
    tag = re.sub(r"font-family: [^;\"]*;? ?", "", re.sub(r"\s+", " ", tag))
    tag = re.sub(r"font: (?:(italic|oblique) )?(?:(\w+) )?([\d.]+px) [^;\"]*", _font, tag)
    tag = re.sub(r' transform="rotate\(-?0 [^"]*"', "", tag).replace("xlink:href", "href")
    tag = re.sub(r"-?\d+\.\d{3,}", lambda number: f"{float(number[0]):.2f}".rstrip("0").rstrip("."), tag)
    return re.sub(r"#[0-9a-f]{6}\b", lambda color: VARIABLES.get(color[0], color[0]), tag)


def _font(found: re.Match[str]) -> str:
    style, weight, size = found.groups()
    parts = [f"font-style: {style}"] if style else []
    parts += [f"font-weight: {weight}"] if weight else []
    return "; ".join([*parts, f"font-size: {size}"])

"""Names beside points that hide neither each other nor, where there is room, other points."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg

Array = npt.NDArray[np.float64]

FONT_POINTS = 6.5
_DISTANCES = (3.5, 7.0, 12.0, 18.0, 26.0, 36.0, 50.0, 66.0)
"""How far a label may stand from its point, in points (1/72 in)."""
_N_DIRECTIONS = 16
_LINE_FROM = 5.0
_MARK = 2.0
"""Half the side of a mark, which no label may hide."""
_GAP = 1.0
_CELL = 3.0
_COST_OF_A_HIDDEN_CELL = 8.0
_COST_OF_A_CROSSING = 60.0
_SWEEPS = 6


@dataclass(frozen=True)
class Labels:
    """Names of points, the most important first, and all the points that they should not hide.

    `at` and `avoid` are [k, 2] and [n, 2], in data coordinates.
    """

    axes: Axes
    at: Array
    texts: Sequence[str]
    avoid: Array


@dataclass(frozen=True)
class _Box:
    """A rectangle, in points from the lower left corner of the figure."""

    left: float
    bottom: float
    right: float
    top: float

    def meets(self, other: _Box) -> bool:
        return (
            self.left < other.right and other.left < self.right and self.bottom < other.top and other.bottom < self.top
        )

    def holds(self, other: _Box) -> bool:
        return (
            self.left <= other.left
            and other.right <= self.right
            and self.bottom <= other.bottom
            and other.top <= self.top
        )


_Line = tuple[float, float, float, float]


@dataclass(frozen=True)
class _Place:
    """Where a label may stand: its box, the box's middle, how far its edge is from the point, and the line to it."""

    box: _Box
    x: float
    y: float
    distance: float
    line: _Line


class _Crowd:
    """How many cells of a grid over the axes hold points, for any rectangle."""

    def __init__(self, area: _Box, points: Array) -> None:
        self._area = area
        columns = max(1, math.ceil((area.right - area.left) / _CELL))
        rows = max(1, math.ceil((area.top - area.bottom) / _CELL))
        edges_x = area.left + _CELL * np.arange(columns + 1)
        edges_y = area.bottom + _CELL * np.arange(rows + 1)
        held = np.histogram2d(points[:, 0], points[:, 1], (edges_x, edges_y))[0] > 0
        self._sums = np.zeros((columns + 1, rows + 1))
        self._sums[1:, 1:] = held.cumsum(0).cumsum(1)

    def under(self, box: _Box) -> float:
        """Return the number of cells with points under a box."""
        low_x, high_x = self._cells(box.left - self._area.left, box.right - self._area.left, 0)
        low_y, high_y = self._cells(box.bottom - self._area.bottom, box.top - self._area.bottom, 1)
        sums = self._sums
        return float(sums[high_x, high_y] - sums[low_x, high_y] - sums[high_x, low_y] + sums[low_x, low_y])

    def _cells(self, low: float, high: float, axis: int) -> tuple[int, int]:
        last = self._sums.shape[axis] - 1
        return min(max(int(low // _CELL), 0), last), min(max(math.ceil(high / _CELL), 0), last)


def place_labels(labels: Labels) -> int:
    """Write the labels on their axes, each where it hides least; the layout of the figure must be final.

    Returns:
        How many found no room: these are left out.
    """
    axes = labels.axes
    figure = axes.get_figure(root=True)
    assert figure is not None
    points_per_pixel = 72.0 / figure.dpi
    window = axes.get_window_extent()
    area = _Box(*(float(edge) * points_per_pixel for edge in (window.x0, window.y0, window.x1, window.y1)))
    at = axes.transData.transform(labels.at.reshape(-1, 2)) * points_per_pixel
    crowd = _Crowd(area, axes.transData.transform(labels.avoid.reshape(-1, 2)) * points_per_pixel)
    places = _best_places(area, at, [_text_size(axes, text) for text in labels.texts], crowd)
    for index, place in places.items():
        _write(labels, index, place, at[index])
    return len(labels.texts) - len(places)


def _best_places(area: _Box, at: Array, sizes: Sequence[tuple[float, float]], crowd: _Crowd) -> dict[int, _Place]:
    """Return a place for every label that has room, each the best one beside the others'."""
    marks = [_Box(x - _MARK, y - _MARK, x + _MARK, y + _MARK) for x, y in at.tolist()]
    free = []
    for point, size in zip(at, sizes, strict=True):
        inside = [place for place in _places(point, size) if area.holds(place.box)]
        clear = [place for place in inside if not any(place.box.meets(mark) for mark in marks)]
        free.append([(place.distance + _COST_OF_A_HIDDEN_CELL * crowd.under(place.box), place) for place in clear])
    taken: dict[int, _Place] = {}
    for _ in range(_SWEEPS):
        before = dict(taken)
        for index, places in enumerate(free):
            others = [place for other, place in taken.items() if other != index]
            costs = (
                (cost + _COST_OF_A_CROSSING * sum(_disturbs(place, other) for other in others), number)
                for number, (cost, place) in enumerate(places)
                if not any(place.box.meets(other.box) for other in others)
            )
            best = min(costs, default=None)
            if best is not None:
                taken[index] = places[best[1]][1]
        if taken == before:
            break
    return taken


def _places(point: Array, size: tuple[float, float]) -> Iterable[_Place]:
    """Yield the places around a point: the side of the label that faces the point is so far from it."""
    width, height = size[0] + 2 * _GAP, size[1] + 2 * _GAP
    middle = float(point[0]), float(point[1])
    for distance in _DISTANCES:
        for k in range(_N_DIRECTIONS):
            angle = 2 * math.pi * k / _N_DIRECTIONS
            across, up = math.cos(angle), math.sin(angle)
            x = middle[0] + distance * across + width / 2 * np.clip(1.5 * across, -1, 1)
            y = middle[1] + distance * up + height / 2 * np.clip(1.5 * up, -1, 1)
            yield _Place(
                _Box(x - width / 2, y - height / 2, x + width / 2, y + height / 2), x, y, distance, (*middle, x, y)
            )


def _disturbs(place: _Place, other: _Place) -> bool:
    """Return whether the line of one label crosses the other's line or text."""
    return (
        _cross(place.line, other.line) or _runs_through(place.line, other.box) or _runs_through(other.line, place.box)
    )


def _runs_through(line: _Line, box: _Box) -> bool:
    rising = (box.left, box.bottom, box.right, box.top)
    falling = (box.left, box.top, box.right, box.bottom)
    return _cross(line, rising) or _cross(line, falling)


def _cross(first: _Line, second: _Line) -> bool:
    def side(line: _Line, x: float, y: float) -> float:
        return (line[2] - line[0]) * (y - line[1]) - (line[3] - line[1]) * (x - line[0])

    return (
        side(first, *second[:2]) * side(first, *second[2:]) < 0
        and side(second, *first[:2]) * side(second, *first[2:]) < 0
    )


def _text_size(axes: Axes, text: str) -> tuple[float, float]:
    """Return width and height of a label in points."""
    figure = axes.get_figure(root=True)
    assert figure is not None
    canvas = figure.canvas
    assert isinstance(canvas, FigureCanvasAgg)
    written = axes.text(0, 0, text, fontsize=FONT_POINTS)
    box = written.get_window_extent(canvas.get_renderer())  # type: ignore[no-untyped-call]
    written.remove()
    return float(box.width) * 72 / figure.dpi, float(box.height) * 72 / figure.dpi


def _write(labels: Labels, index: int, place: _Place, point: Array) -> None:
    x, y = labels.at[index]
    line = {"arrowstyle": "-", "linewidth": 0.4, "color": "#666666", "shrinkA": 0, "shrinkB": 1.5}
    labels.axes.annotate(
        labels.texts[index],
        (float(x), float(y)),
        xytext=(place.x - float(point[0]), place.y - float(point[1])),
        textcoords="offset points",
        ha="center",
        va="center",
        fontsize=FONT_POINTS,
        arrowprops=line if place.distance > _LINE_FROM else None,
        bbox={"facecolor": "white", "alpha": 0.75, "linewidth": 0, "pad": 0.4},
        annotation_clip=True,
    )

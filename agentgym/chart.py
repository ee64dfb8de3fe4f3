"""Curves as inline SVG: axes, stage boundaries, evaluation points. No script, no library, colours from CSS."""

from __future__ import annotations

import math
from bisect import bisect_right
from collections.abc import Sequence
from dataclasses import dataclass
from html import escape

WIDTH, HEIGHT = 400, 210
LEFT, RIGHT, TOP, BOTTOM = 46, 10, 20, 34  # margins
POINTS = 400  # at most this many are drawn: more are not seen
SMOOTHING = 20  # a smoothed point is the mean of a window of 1/SMOOTHING of the curve

Point = tuple[float, float]


@dataclass(frozen=True, slots=True)
class Mark:
    """An evaluation: a point with an interval (equal ends: none) and a text shown on hover."""

    x: float
    y: float
    low: float
    high: float
    label: str


@dataclass(frozen=True, slots=True)
class Chart:
    """One curve over steps. x_range is shared by a report's charts. stages: (first step, name). include: values
    that the y axis shows in any case."""

    title: str
    points: Sequence[Point]
    x_range: tuple[float, float]
    stages: Sequence[tuple[int, str]] = ()
    marks: Sequence[Mark] = ()
    include: Sequence[float] = ()

    def svg(self) -> str:
        """The chart as an <svg> element; empty when there is nothing finite to draw."""
        pieces = [thin(piece) for piece in self._pieces([p for p in self.points if math.isfinite(p[1])])]
        values = [y for piece in pieces for _, y in piece] + [v for m in self.marks for v in (m.low, m.high)]
        if not values:
            return ""
        ticks = nice_ticks(min([*values, *self.include]), max([*values, *self.include]))
        scale = _Scale(self.x_range, (ticks[0], ticks[-1]))
        parts = [_grid(scale, ticks), _stages(scale, self.stages)]
        for piece in pieces:
            parts += [_line(scale, piece, "raw"), _line(scale, smooth(piece), "curve")]
        parts += [_mark(scale, mark) for mark in self.marks]
        label = escape(f"{self.title} over training steps", quote=True)
        return f'<svg viewBox="0 0 {WIDTH} {HEIGHT}" role="img" aria-label="{label}">{"".join(parts)}</svg>'

    def _pieces(self, points: Sequence[Point]) -> list[list[Point]]:
        """The points of each stage: no curve runs from one into the next."""
        bounds = [float(step) for step, _ in self.stages[1:]]
        pieces: list[list[Point]] = [[] for _ in range(len(bounds) + 1)]
        for point in points:
            pieces[bisect_right(bounds, point[0])].append(point)
        return [piece for piece in pieces if piece]


@dataclass(frozen=True, slots=True)
class _Scale:
    """Data to picture coordinates."""

    xs: tuple[float, float]
    ys: tuple[float, float]

    def x(self, value: float) -> float:
        low, high = self.xs
        return round(LEFT + (value - low) / ((high - low) or 1) * (WIDTH - LEFT - RIGHT), 1)

    def y(self, value: float) -> float:
        low, high = self.ys
        return round(HEIGHT - BOTTOM - (value - low) / (high - low) * (HEIGHT - TOP - BOTTOM), 1)


def nice_ticks(low: float, high: float) -> list[float]:
    """3 to 7 round numbers, evenly spaced, that enclose [low, high]."""
    if high <= low:
        low, high = low - (abs(low) or 1) / 2, high + (abs(high) or 1) / 2
    rough = (high - low) / 4
    power = 10.0 ** math.floor(math.log10(rough))
    step = next(m * power for m in (1, 2, 2.5, 5, 10) if m * power >= rough * 0.999)
    first, last = math.floor(low / step + 1e-9), math.ceil(high / step - 1e-9)
    return [i * step for i in range(first, last + 1)]


def thin(points: Sequence[Point]) -> list[Point]:
    """At most POINTS points: means of neighbours."""
    size = math.ceil(len(points) / POINTS) or 1
    return [_mean(points[i : i + size]) for i in range(0, len(points), size)]


def smooth(points: Sequence[Point]) -> list[Point]:
    """The centred moving average."""
    half = max(1, len(points) // SMOOTHING // 2)
    return [(x, _mean(points[max(0, i - half) : i + half + 1])[1]) for i, (x, _) in enumerate(points)]


def _mean(points: Sequence[Point]) -> Point:
    return sum(x for x, _ in points) / len(points), sum(y for _, y in points) / len(points)


def _grid(scale: _Scale, ticks: Sequence[float]) -> str:
    parts = []
    for tick in ticks:
        y = scale.y(tick)
        parts.append(f'<line class="grid" x1="{LEFT}" x2="{WIDTH - RIGHT}" y1="{y}" y2="{y}"/>')
        parts.append(f'<text x="{LEFT - 6}" y="{y + 4}" text-anchor="end">{tick:.4g}</text>')
    low, high = scale.xs
    for step in [t for t in nice_ticks(low, high) if low <= t <= high and t == int(t)]:
        parts.append(f'<text x="{scale.x(step)}" y="{HEIGHT - 18}" text-anchor="middle">{step:g}</text>')
    parts.append(f'<text x="{WIDTH - RIGHT}" y="{HEIGHT - 4}" text-anchor="end" class="unit">step</text>')
    return "".join(parts)


def _stages(scale: _Scale, stages: Sequence[tuple[int, str]]) -> str:
    parts = []
    for index, (step, name) in enumerate(stages):
        x = scale.x(step - 0.5) if index else LEFT
        parts.append(f'<line class="stage" x1="{x}" x2="{x}" y1="{TOP - 12}" y2="{HEIGHT - BOTTOM}"/>')
        parts.append(f'<text class="stage-name" x="{x + 4}" y="{TOP - 8}">{escape(name)}</text>')
    return "".join(parts)


def _line(scale: _Scale, points: Sequence[Point], kind: str) -> str:
    if len(points) == 1:
        return _dot(scale, *points[0], f"{kind}-dot", "")
    path = " ".join(f"{scale.x(x)},{scale.y(y)}" for x, y in points)
    return f'<polyline class="{kind}" points="{path}"/>'


def _dot(scale: _Scale, x: float, y: float, kind: str, label: str) -> str:
    title = f"<title>{escape(label)}</title>" if label else ""
    return f'<circle class="{kind}" cx="{scale.x(x)}" cy="{scale.y(y)}" r="3.5">{title}</circle>'


def _mark(scale: _Scale, mark: Mark) -> str:
    x = scale.x(mark.x)
    bar = f'<line class="interval" x1="{x}" x2="{x}" y1="{scale.y(mark.low)}" y2="{scale.y(mark.high)}"/>'
    return bar + _dot(scale, mark.x, mark.y, "eval", mark.label)

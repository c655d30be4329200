"""Charts as inline SVG and bars; colours come from the page's style sheet, by class."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from snnc.report.histograms import MEMBRANE_EDGES
from snnc.report.markup import text

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from numpy.typing import NDArray

    from snnc.report.histograms import Distribution

WIDTH, HEIGHT, LEFT, RIGHT, TOP, BOTTOM = 360, 200, 52, 14, 10, 34
MOST_DOTS, MOST_TICKS = 32, 9
SMALL_WIDTH, SMALL_HEIGHT, SMALL_BASE = 220, 80, 20
MOST_BARS = 48


@dataclass(frozen=True, slots=True)
class Line:
    """One line of a chart: its name, its class (`snn`, `ann`, `second`), a value per time step."""

    name: str
    kind: str
    values: Sequence[float]


def line_chart(label: str, lines: Sequence[Line], show: Callable[[float], str], *, zero: bool = False) -> str:
    """Return lines over time steps 1 … T, with their names below."""
    steps = max(len(line.values) for line in lines)
    values = [value for line in lines for value in line.values if math.isfinite(value)]
    ticks = nice_ticks(min([0.0, *values] if zero else values), max(values))
    low, high = ticks[0], ticks[-1]

    def x(t: float) -> float:
        return LEFT + (WIDTH - LEFT - RIGHT) * ((t - 1) / (steps - 1) if steps > 1 else 0.5)

    def y(value: float) -> float:
        return HEIGHT - BOTTOM - (HEIGHT - TOP - BOTTOM) * (value - low) / (high - low)

    parts = [
        f'<line class="grid" x1="{LEFT}" x2="{WIDTH - RIGHT}" y1="{y(tick):.1f}" y2="{y(tick):.1f}"/>'
        f'<text class="tick y" x="{LEFT - 7}" y="{y(tick) + 3.5:.1f}">{text(show(tick))}</text>'
        for tick in ticks
    ]
    parts += [
        f'<text class="tick x" x="{x(t):.1f}" y="{HEIGHT - BOTTOM + 15}">{t}</text>'
        for t in step_ticks(steps)
    ]
    parts.append(
        f'<text class="tick x" x="{(LEFT + WIDTH - RIGHT) / 2:.0f}" y="{HEIGHT - 4}">time steps</text>'
    )
    parts += [polyline(line, x, y, show) for line in reversed(lines)]  # the first on top
    names = "".join(
        f'<li><span class="swatch line {line.kind}"></span>{text(line.name)}</li>' for line in lines
    )
    return (
        f'<figure><svg class="chart" role="img" aria-label="{text(label)}" viewBox="0 0 {WIDTH} {HEIGHT}">'
        f'{"".join(parts)}</svg><figcaption><ul class="legend">{names}</ul></figcaption></figure>'
    )


def polyline(
    line: Line, x: Callable[[float], float], y: Callable[[float], float], show: Callable[[float], str]
) -> str:
    """Return a line with a dot per step; what is the same at every step spans the whole chart."""
    points = [(t, value) for t, value in enumerate(line.values, 1) if math.isfinite(value)]
    if line.kind == "ann" and len(set(line.values)) == 1:
        level = y(points[0][1])
        return f'<line class="line ann" x1="{LEFT}" x2="{WIDTH - RIGHT}" y1="{level:.1f}" y2="{level:.1f}"/>'
    path = " ".join(f"{x(t):.1f},{y(value):.1f}" for t, value in points)
    drawn = f'<polyline class="line {line.kind}" points="{path}"/>'
    if len(points) <= MOST_DOTS:
        drawn += "".join(
            f'<circle class="dot {line.kind}" cx="{x(t):.1f}" cy="{y(value):.1f}" r="3.2">'
            f"<title>{text(line.name)}, t = {t}: {text(show(value))}</title></circle>"
            for t, value in points
        )
    return drawn


def nice_ticks(low: float, high: float) -> list[float]:
    """Return three to seven round numbers that hold both ends between them."""
    if high - low <= 1e-12 * max(abs(high), abs(low), 1.0):
        margin = abs(high) * 0.01 or 1.0
        low, high = low - margin if low else 0.0, high + margin
    raw = (high - low) / 4
    power = 10.0 ** math.floor(math.log10(raw))
    step = next(factor * power for factor in (1, 2, 2.5, 5, 10) if factor * power >= raw * 0.999)
    first, last = math.floor(low / step + 1e-9), math.ceil(high / step - 1e-9)
    return [index * step for index in range(first, last + 1)]


def step_ticks(steps: int) -> list[int]:
    """Return the time steps to name below a chart."""
    every = max(1, math.ceil(steps / MOST_TICKS))
    every = next(size for size in (1, 2, 4, 5, 8, 10, 16, 20, 32, 50, 64, 100, 10 * every) if size >= every)
    return [t for t in range(1, steps + 1) if t == 1 or t % every == 0]


# Histograms.


def payload_histogram(name: str, found: Distribution) -> str:
    """Return the payloads that are not 0, in up to 48 bars; how often nothing is sent stands in the text."""
    counts = found.payloads.astype(np.float64)
    counts[-found.lowest] = 0
    sent = np.flatnonzero(counts)
    if not len(sent):
        return small_chart(f"{name}: no spikes", np.zeros(1), "no spikes", "")
    low, high = min(sent[0] + found.lowest, 0), max(sent[-1] + found.lowest, 0)
    window = counts[low - found.lowest : high - found.lowest + 1]
    per_bar = math.ceil(len(window) / MOST_BARS)
    padded = np.pad(window, (0, -len(window) % per_bar)).reshape(-1, per_bar).sum(axis=1)
    label = f"{name}: payloads other than 0, from {low} to {high}"
    return small_chart(label, padded, str(low), str(high))


def membrane_histogram(name: str, found: Distribution) -> str:
    """Return the membranes after the last step, in quanta."""
    used = np.flatnonzero(found.membranes)
    if not len(used):
        return small_chart(f"{name}: no membranes", np.zeros(1), "none", "")
    first, last = used[0], used[-1]
    low, high = MEMBRANE_EDGES[first], MEMBRANE_EDGES[last + 1]
    label = f"{name}: membranes from {low:.2f} to {high:.2f} quanta"
    return small_chart(label, found.membranes[first : last + 1], f"{low:.2f}", f"{high:.2f}", "membrane")


def small_chart(
    label: str, counts: NDArray[np.int64] | NDArray[np.float64], low: str, high: str, kind: str = "payload"
) -> str:
    """Return bars side by side with the ends of their range below; the highest fills the chart."""
    base, width = SMALL_HEIGHT - SMALL_BASE, SMALL_WIDTH / len(counts)
    top = max(float(counts.max()), 1.0)
    bars = "".join(
        f'<rect x="{index * width:.1f}" y="{base - base * count / top:.1f}" '
        f'width="{max(width - 0.8, 0.6):.1f}" height="{base * count / top:.1f}"/>'
        for index, count in enumerate(counts.tolist())
        if count
    )
    return (
        f'<svg class="small {kind}" role="img" aria-label="{text(label)}" '
        f'viewBox="0 0 {SMALL_WIDTH} {SMALL_HEIGHT}">{bars}'
        f'<line class="axis" x1="0" x2="{SMALL_WIDTH}" y1="{base}" y2="{base}"/>'
        f'<text class="tick" x="0" y="{SMALL_HEIGHT - 3}">{text(low)}</text>'
        f'<text class="tick end" x="{SMALL_WIDTH}" y="{SMALL_HEIGHT - 3}">{text(high)}</text></svg>'
    )


# Bars.


@dataclass(frozen=True, slots=True)
class Bar:
    """One bar in parts (class and amount), with its name and its amount as text."""

    name: str
    parts: Sequence[tuple[str, float]]
    shown: str


def bar_chart(label: str, bars: Sequence[Bar], mark: float | None = None) -> str:
    """Return horizontal bars of one scale; `mark` draws a line through all of them at that amount."""
    most = max([sum(amount for _, amount in bar.parts) for bar in bars] + [mark or 0.0]) or 1.0
    line = "" if mark is None else f'<i class="mark" style="left:{100 * mark / most:.2f}%"></i>'
    rows = "".join(
        f'<div><span class="label">{text(bar.name)}</span>'
        f'<span class="track">{segments(bar, most)}{line}</span>'
        f'<span class="value">{text(bar.shown)}</span></div>'
        for bar in bars
    )
    return f'<div class="bars" role="img" aria-label="{text(label)}">{rows}</div>'


def segments(bar: Bar, most: float) -> str:
    """Return the parts of a bar, as wide as they are of the most any bar shows."""
    return "".join(
        f'<i class="{kind}" style="width:{100 * amount / most:.2f}%"></i>'
        for kind, amount in bar.parts
        if amount
    )

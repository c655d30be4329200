"""The placement as a picture: every core of every chip, coloured by layer, filled as far as it is."""

from __future__ import annotations

from typing import TYPE_CHECKING

from snnc.placement.chips import RESOURCES
from snnc.report.markup import text

if TYPE_CHECKING:
    from collections.abc import Iterator

    from snnc.placement.fit import Core, Placement

COLUMNS = 16  # cores side by side; that of a real chip's mesh is another one
CELL, GAP, MARGIN, HEAD, LINE = 26, 3, 16, 46, 19
MOST_CHIPS, CHIPS_ABREAST, NARROWEST = 16, 2, 600
GOLDEN_ANGLE = 137.508  # degrees between the hues of neighbouring layers
CAPTION = "an estimate from published limits"
NAMES = {
    "neurons": "neurons",
    "memory": "memory",
    "input_axons": "input axons",
    "output_axons": "output axons",
}
STYLE = """
.sheet { fill: #ffffff } text { fill: #1b1f27; font: 12px system-ui, -apple-system, "Segoe UI", sans-serif }
.title { font-size: 16px; font-weight: 600 } .soft { fill: #566072 } .number { text-anchor: end }
.cell { fill: #eceff4; stroke: #b9c1ce; stroke-width: .7 }
.free { fill: none; stroke: #d8dde6; stroke-width: .7 }
.label { font-size: 10px; text-anchor: middle; paint-order: stroke; stroke: #ffffff; stroke-width: 2.4px }
@media (prefers-color-scheme: dark) {
.sheet { fill: #14171d } text { fill: #e7eaf0 } .soft { fill: #a3adbd } .free { stroke: #363d4a }
.cell { fill: #232833; stroke: #4a5364 } .label { stroke: #14171d } }
"""


def draw(placement: Placement) -> str:
    """Return the picture as SVG that stands alone."""
    chips = drawn_chips(placement)
    abreast = min(CHIPS_ABREAST, chips)
    rows = -(-placement.chip.cores // COLUMNS)
    chip_width, chip_height = COLUMNS * (CELL + GAP) - GAP, rows * (CELL + GAP) + HEAD - 10
    width = max(abreast * (chip_width + MARGIN) + MARGIN, NARROWEST)
    grid_bottom = HEAD + 14 + -(-chips // abreast) * chip_height
    legend = legend_lines(placement)
    height = grid_bottom + (len(legend) + 1) * LINE + MARGIN
    parts = [
        f'<rect class="sheet" width="{width}" height="{height}"/>',
        f'<text class="title" x="{MARGIN}" y="26">{text(title(placement))}</text>',
        f'<text class="soft" x="{MARGIN}" y="44">{text(subtitle(placement, chips))}</text>',
    ]
    for number in range(chips):
        left = MARGIN + number % abreast * (chip_width + MARGIN)
        top = HEAD + 14 + number // abreast * chip_height
        parts.append(f'<g transform="translate({left} {top})">{draw_chip(placement, number)}</g>')
    parts += [
        f'<g transform="translate({MARGIN} {grid_bottom + (i + 1) * LINE})">{line}</g>'
        for i, line in enumerate(legend)
    ]
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" role="img" aria-label="{text(title(placement))}" '
        f'viewBox="0 0 {width} {height}" width="{width}" height="{height}">'
        f"<style>{STYLE}</style>{''.join(parts)}</svg>\n"
    )


def drawn_chips(placement: Placement) -> int:
    return max(1, min(MOST_CHIPS, -(-placement.core_count // placement.chip.cores)))


def title(placement: Placement) -> str:
    return f"{placement.core_count:,} cores of {placement.chip.title}"


def subtitle(placement: Placement, chips: int) -> str:
    needed = -(-placement.core_count // placement.chip.cores)
    rest = f"; the first {chips} of {needed:,} chips" if needed > chips else ""
    return f"Each core is filled as far as its scarcest resource is used; {CAPTION}{rest}"


def draw_chip(placement: Placement, number: int) -> str:
    """Return the cores of one chip, used ones first."""
    size = placement.chip.cores
    used = placement.cores[number * size : (number + 1) * size]
    order = {placed.layer: place for place, placed in enumerate(placement.layers)}
    cells = [f'<text class="soft" y="13">chip {number + 1}: {len(used)} of {size} cores</text>']
    for place in range(size):
        x, y = place % COLUMNS * (CELL + GAP), 20 + place // COLUMNS * (CELL + GAP)
        if place < len(used):
            cells.append(draw_core(placement, used[place], order[used[place].layer], x, y))
        else:
            cells.append(f'<rect class="free" x="{x}" y="{y}" width="{CELL}" height="{CELL}" rx="3"/>')
    return "".join(cells)


def draw_core(placement: Placement, core: Core, order: int, x: int, y: int) -> str:
    share = min(core.share(placement.limits), 1.0)
    filled = CELL * share
    used = ", ".join(f"{NAMES[name]} {core.used[name]:,}" for name in RESOURCES)
    hint = f"{core.layer.name}: {used}"
    return (
        f"<g><title>{text(hint)}</title>"
        f'<rect class="cell" x="{x}" y="{y}" width="{CELL}" height="{CELL}" rx="3"/>'
        f'<rect x="{x}" y="{y + CELL - filled:.1f}" width="{CELL}" height="{filled:.1f}" rx="3" '
        f'fill="{colour(order)}"/>'
        f'<text class="label" x="{x + CELL / 2:.0f}" y="{y + 17}">{order + 1}</text></g>'
    )


def colour(order: int) -> str:
    return f"hsl({order * GOLDEN_ANGLE % 360:.0f} 52% 58%)"


def legend_lines(placement: Placement) -> list[str]:
    """Return a line of titles and one per layer: its number and colour, name, size, cores, bottleneck."""
    titles = (
        '<text class="soft" x="52">layer</text><text class="soft number" x="320">count</text>'
        '<text class="soft number" x="375">cores</text>'
        '<text class="soft" x="390">bottleneck, fullest core</text>'
    )
    return [titles, *lines(placement)]


def lines(placement: Placement) -> Iterator[str]:
    for order, placed in enumerate(placement.layers):
        binding = placed.bottleneck(placement.limits)
        full = placed.fullest(placement.limits)[binding]
        said = f"{NAMES[binding]} {100 * full:.0f} %" if placed.cores else f"fits no core: {NAMES[binding]}"
        yield (
            f'<rect y="-11" width="14" height="14" rx="3" fill="{colour(order)}"/>'
            f'<text class="number" x="42">{order + 1}</text>'
            f'<text x="52">{text(shorten(placed.layer.name))}</text>'
            f'<text class="number" x="320">{placed.layer.neurons:,}</text>'
            f'<text class="number" x="375">{len(placed.cores):,}</text>'
            f'<text class="soft" x="390">{text(said)}</text>'
        )


def shorten(name: str) -> str:
    return name if len(name) <= 30 else "…" + name[-29:]

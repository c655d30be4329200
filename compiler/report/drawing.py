"""The network as a picture: boxes in layers, arrows between them."""

from __future__ import annotations

from typing import TYPE_CHECKING

from snnc.report.boxes import KINDS, Box, diagram
from snnc.report.layout import depths, lay_out
from snnc.report.markup import details, paragraph, scrolling, table, text

if TYPE_CHECKING:
    from collections.abc import Mapping

    from snnc.ir.graph import Graph, Node
    from snnc.report.boxes import Diagram
    from snnc.report.layout import Layout, Place

WIDTH, LINE, PADDING = 156.0, 15.0, 8.0
GAP, BEND, BETWEEN, MARGIN = 16.0, 10.0, 22.0, 10.0
LARGEST_DRAWING, MOST_BENDS = 1500, 20_000  # boxes; layers that arrows pass
ARROW_HEAD = (
    '<defs><marker id="tip" viewBox="0 0 6 6" refX="5.5" refY="3" markerWidth="6" markerHeight="6" '
    'orient="auto"><path class="tip" d="M0 0L6 3L0 6z"/></marker></defs>'
)


def network_picture(graph: Graph, rates: Mapping[Node, float]) -> str:
    """Return the drawing with its legend and, as a table, everything in it; `rates` are spikes per neuron."""
    found = diagram(graph)
    rows = [
        [text(box.title), text(KINDS[box.kind]), text(box.shape), *neuron_cells(box), text(box.names)]
        for box in found.boxes
    ]
    titles = ("layer", "kind", "shape", "neurons", "payloads", "stands for")
    listed = details("The same as a table", table("Layers of the network", titles, rows, words=3))
    if len(found.boxes) > LARGEST_DRAWING:
        note = f"{len(found.boxes):,} layers are too many to draw (at most {LARGEST_DRAWING:,})."
        return paragraph(note) + listed
    depth = depths(found.boxes, found.arrows)
    if sum(depth[target] - depth[source] - 1 for source, target in found.arrows) > MOST_BENDS:
        return paragraph("Too many arrows pass too many layers for a drawing that could be read.") + listed
    legend = "".join(
        f'<li><span class="swatch {kind}"></span>{text(name)}</li>' for kind, name in KINDS.items()
    )
    label = f"Network graph: {len(found.boxes)} layers from top to bottom; the table below lists them"
    picture = scrolling("Network graph", draw(found, label, rates), "graph")
    return f'<ul class="legend">{legend}</ul>{picture}{listed}'


def neuron_cells(box: Box) -> tuple[str, str]:
    return (f"{box.neurons:,}", text(box.codebook)) if box.neurons else ("", "")


def draw(found: Diagram, label: str, rates: Mapping[Node, float]) -> str:
    """Return the SVG."""
    layout = lay_out(found.boxes, found.arrows, WIDTH, GAP, BEND)
    rows = rows_of(layout)
    height = rows[-1][1] + MARGIN
    right = max((place.x + place.width / 2 for layer in layout.layers for place in layer), default=0.0)
    width = right + 2 * MARGIN
    arrows = "".join(f'<path d="{curve(route, rows)}"/>' for route in layout.routes)
    boxes = "".join(
        draw_box(box, layout.places[box], rows[layout.places[box].layer][0], rates) for box in found.boxes
    )
    return (
        f'<svg class="network" role="img" aria-label="{text(label)}" viewBox="0 0 {width:.0f} {height:.0f}" '
        f'width="{width:.0f}" height="{height:.0f}">{ARROW_HEAD}'
        f'<g class="arrows">{arrows}</g>{boxes}</svg>'
    )


def rows_of(layout: Layout) -> list[tuple[float, float]]:
    """Return the top and the bottom of every layer."""
    rows, top = [], MARGIN
    for layer in layout.layers:
        bottom = top + max(box_height(place.item) for place in layer)
        rows.append((top, bottom))
        top = bottom + BETWEEN
    return rows


def box_height(item: object) -> float:
    return 2 * PADDING + LINE * (3 if item.neurons else 2) if isinstance(item, Box) else 0.0


def curve(route: list[Place], rows: list[tuple[float, float]]) -> str:
    """Return the path of an arrow: down from the first box, through its bends, into the last."""
    start, *rest = route
    x, y = start.x + MARGIN, rows[start.layer][0] + box_height(start.item)
    path = f"M{x:.1f} {y:.1f}"
    for place in rest:
        to_x, (to_y, bottom) = place.x + MARGIN, rows[place.layer]
        leave = max(y, to_y - BETWEEN)  # below a low box the arrow first runs to the end of its layer
        half = (leave + to_y) / 2
        path += f"V{leave:.1f}C{x:.1f} {half:.1f} {to_x:.1f} {half:.1f} {to_x:.1f} {to_y:.1f}"
        x, y = to_x, to_y
        if place.item is None:
            y = bottom
            path += f"V{y:.1f}"
    return path


def draw_box(box: Box, place: Place, top: float, rates: Mapping[Node, float]) -> str:
    left, height = place.x - place.width / 2 + MARGIN, box_height(box)
    lines = [f'<text class="title" x="{PADDING:.0f}" y="{PADDING + 11:.0f}">{text(fit(box.title))}</text>']
    lines.append(f'<text x="{PADDING:.0f}" y="{PADDING + 11 + LINE:.0f}">{text(box.shape)}</text>')
    if box.neurons:
        shown = f"{box.neurons:,} neurons"
        y = PADDING + 11 + 2 * LINE
        lines.append(f'<text class="neurons" x="{PADDING:.0f}" y="{y:.0f}">{shown}</text>')
        rate = next((rates[node] for node in box.nodes if node in rates), None)
        if rate is not None:
            percentage = f"{100 * rate:.0f} %"
            lines.append(
                f'<text class="neurons rate" x="{WIDTH - PADDING:.0f}" y="{y:.0f}">{percentage}</text>'
            )
    hint = f"<title>{text(box.names or box.title)}</title>"
    return (
        f'<g class="box {box.kind}" transform="translate({left:.1f} {top:.1f})">{hint}'
        f'<rect width="{WIDTH:.0f}" height="{height:.0f}" rx="6"/>{"".join(lines)}</g>'
    )


def fit(title: str) -> str:
    """Return a title that fits its box."""
    return title if len(title) <= 22 else title[:21] + "…"

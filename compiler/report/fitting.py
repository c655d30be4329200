"""The section about the chip that an integer network was lowered for: where its layers would lie."""

from __future__ import annotations

import base64
from typing import TYPE_CHECKING

from snnc.cli.fit import TITLES, layer_row, verdict
from snnc.placement.chips import CHIPS, RESOURCES
from snnc.placement.fit import place
from snnc.placement.grouping import group
from snnc.placement.picture import draw, title
from snnc.report.markup import details, paragraph, scrolling, table, text

if TYPE_CHECKING:
    from snnc.report.measure import Report

CHIP = CHIPS["loihi2"]


def has_fit(report: Report) -> bool:
    return report.graph.computes_integers


def fit_section(report: Report) -> str:
    """Return the verdict for one chip, the picture, and its layers as a table."""
    found = place(group(report.graph), CHIP, CHIP.limits, shared=CHIP.shared_weights)
    said, *facts = verdict(found, 1)
    # An image, so that its style stays its own.
    picture = base64.b64encode(draw(found).encode()).decode()
    image = (
        f'<img alt="{text(title(found))}; the table lists them" src="data:image/svg+xml;base64,{picture}">'
    )
    titles = ("layer", "kind", "count", "cores", *(TITLES[name] for name in RESOURCES), "bottleneck")
    rows = [[text(cell) for cell in layer_row(placed, found.limits)] for placed in found.layers]
    remarks = "".join(f"<li>{text(fact)}</li>" for fact in facts)
    return (
        paragraph(f"{said[0].upper()}{said[1:]}.", "verdict")
        + f'<ul class="facts-list">{remarks}</ul>'
        + scrolling("Cores", image, "graph")
        + details("The layers as a table", table("Cores of every layer", titles, rows, words=2))
    )

"""The page: header, sections, style; one file that asks the network for nothing."""

from __future__ import annotations

from importlib import resources
from typing import TYPE_CHECKING

from snnc.cli.show import percent
from snnc.report import costs, fitting, sections
from snnc.report.markup import text

if TYPE_CHECKING:
    from collections.abc import Callable

    from snnc.report.measure import Report

SECTIONS: tuple[tuple[str, str, Callable[[Report], str]], ...] = (
    ("accuracy", "Accuracy over time", sections.accuracy_section),
    ("energy", "Energy", costs.energy_section),
    ("operations", "Operations", costs.operations_section),
    ("network", "Network", sections.graph_section),
    ("layers", "Layers", sections.layers_section),
    ("histograms", "Payloads and membranes", sections.histograms_section),
    ("thresholds", "Thresholds", sections.thresholds_section),
    ("record", "Record", sections.record_section),
)
FIT = ("fit", "Fit", fitting.fit_section)  # of an integer network, in front of the record
# Styles stand in the page; nothing else may be loaded and nothing run.
POLICY = "default-src 'none'; style-src 'unsafe-inline'; img-src data:"


def build_page(report: Report) -> str:
    """Return the page as HTML."""
    title = f"{report.network} · snnc report"
    style = resources.files("snnc.report").joinpath("page.css").read_text("utf-8")
    shown = (*SECTIONS[:-1], FIT, SECTIONS[-1]) if fitting.has_fit(report) else SECTIONS
    links = "".join(f'<li><a href="#{name}">{text(heading)}</a></li>' for name, heading, _ in shown)
    body = "".join(
        f'<section id="{name}" aria-labelledby="{name}-heading"><h2 id="{name}-heading">{text(heading)}</h2>'
        f"{write(report)}</section>"
        for name, heading, write in shown
    )
    return (
        '<!DOCTYPE html>\n<html lang="en"><head><meta charset="utf-8">'
        f'<meta http-equiv="Content-Security-Policy" content="{POLICY}">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        '<meta name="color-scheme" content="light dark">'
        f'<link rel="icon" href="data:,"><title>{text(title)}</title><style>{style}</style></head><body>'
        '<a class="skip" href="#content">Skip to the content</a>'
        f'{header(report)}<nav aria-label="Sections"><ul>{links}</ul></nav>'
        f'<main id="content" tabindex="-1">{body}</main>{footer(report)}</body></html>\n'
    )


def header(report: Report) -> str:
    """Return name, verdict and the main figures."""
    result = report.evaluation
    first, last = result.steps[0], result.steps[-1]
    show = sections.show_metric(report)
    neurons = sum(layer.error.neurons for layer in report.layers)
    metric = sections.METRICS[result.metric]
    early = (f"{show(first.value)} at t = 1; ", f"; {first.energy.ratio_fp32:.3f} at t = 1")
    said_early = early if last.t > 1 else ("", "")
    figures = [
        (f"{metric} at t = {last.t}", show(last.value), f"{said_early[0]}ANN: {show(result.ann)}"),
        ("agreement", percent(last.agreement), f"of {result.samples:,} samples, at t = {last.t}"),
        (f"energy at t = {last.t}", f"{last.energy.ratio_fp32:.3f}", f"of the ANN's, float32{said_early[1]}"),
        ("unit spikes", f"{last.unit_spikes_per_neuron:.3f}", "per neuron and time step"),
        ("neurons", f"{neurons:,}", f"in {len(report.layers)} layers"),
    ]
    tiles = "".join(
        f"<div><dt>{text(name)}</dt><dd><strong>{text(value)}</strong><span>{text(note)}</span></dd></div>"
        for name, value, note in figures
    )
    model = sections.recorded(report.graph.meta, "source").get("name", report.model)
    method = report.graph.meta.get("method", "unknown")
    said = " ".join(costs.verdict(report))
    return (
        f'<header><p class="kind">snnc report</p><h1>{text(report.network)}</h1>'
        f"<p>Spiking network compiled from {text(model)} (the ANN) by the method {text(method)}.</p>"
        f'<dl class="figures">{tiles}</dl><p class="verdict">{text(said)}</p></header>'
    )


def footer(report: Report) -> str:
    from snnc import __version__

    return f"<footer><p>Written by snnc {text(__version__)} from {text(report.network)}.</p></footer>"

"""The sections of the page, each a heading's worth of HTML."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import numpy as np

from snnc.cli.show import count, percent
from snnc.ir.text.codebooks import show_codebook
from snnc.report.charts import Line, line_chart, membrane_histogram, payload_histogram
from snnc.report.drawing import network_picture
from snnc.report.markup import bar_cell, breakable, definitions, details, paragraph, table, text

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from snnc.ir.graph import Output
    from snnc.report.measure import Layer, Report

MOST_CARDS = 12  # what comes after them opens on demand
NO_NEURONS = "The network has no neurons."
METRICS = {"accuracy": "accuracy", "cosine": "cosine similarity", "relative_error": "relative error"}


def show_metric(report: Report) -> Callable[[float], str]:
    """Return how to write the metric's values."""
    return percent if report.evaluation.metric == "accuracy" else "{:.4g}".format


def short_percent(share: float) -> str:
    return f"{100 * share:.4g} %"


def graph_section(report: Report) -> str:
    rates = {layer.node: layer.error.spike_rate for layer in report.layers}
    said = (
        "One time step, from top to bottom. Nodes that only move, scale or shift a stream are part of an "
        "arrow. Neurons stand in the box whose result they turn into spikes, with the share that spike."
    )
    return paragraph(said) + network_picture(report.graph, rates)


def accuracy_section(report: Report) -> str:
    """Metric and agreement over time, the outputs' error beside them."""
    result = report.evaluation
    name, steps = METRICS[result.metric], result.steps
    agreement = Line("agreement with the ANN", "second", [step.agreement for step in steps])
    charts = []
    if result.metric == "relative_error":
        charts.append(line_chart("Agreement with the ANN at every step", [agreement], short_percent))
    else:
        show = short_percent if result.metric == "accuracy" else "{:.4g}".format
        when = f" at t = {report.steps}" if result.stepped else ""
        lines = [
            Line(f"SNN, {name}", "snn", [step.value for step in steps]),
            Line(f"ANN: {show(result.ann)}{when}", "ann", [step.ann for step in steps]),
        ]
        lines += [agreement] if result.metric == "accuracy" else []
        charts.append(line_chart(f"{name} at every time step; the table has the numbers", lines, show))
    error = Line("relative error of the outputs", "snn", [step.relative_error for step in steps])
    charts.append(
        line_chart("Relative error of the outputs at every time step", [error], "{:.3g}".format, zero=True)
    )
    return f'<div class="charts">{"".join(charts)}</div>' + accuracy_table(report)


def accuracy_table(report: Report) -> str:
    result, show = report.evaluation, show_metric(report)
    plain = result.metric == "relative_error"
    # What the source answers may differ from step to step.
    series = not plain and len({step.ann for step in result.steps}) > 1
    metric = [] if plain else [METRICS[result.metric], *(["ANN"] if series else [])]
    titles = ["t", *metric, "agreement", "relative error", "unit spikes", "spike rate"]
    rows = [] if series else [["ANN", *([] if plain else [show(result.ann)]), "", "", "", ""]]
    rows += [
        [
            str(step.t),
            *([] if plain else [show(step.value), *([show(step.ann)] if series else [])]),
            percent(step.agreement),
            f"{step.relative_error:.4f}",
            f"{step.unit_spikes_per_neuron:.3f}",
            percent(step.spike_rate),
        ]
        for step in result.steps
    ]
    note = paragraph(
        "Unit spikes (signed binary digits of payloads) and spike rate are per neuron and time step."
    )
    return table("At every time step", titles, rows) + note


def layers_section(report: Report) -> str:
    """Rates and errors of all layers, in execution order, with bars."""
    if not report.layers:
        return paragraph(NO_NEURONS)
    errors = [layer.error.relative_error for layer in report.layers]
    finite = [error for error in errors if error is not None and math.isfinite(error)]
    most_error = max(finite, default=0.0) or 1.0
    most_units = max(layer.error.unit_spikes for layer in report.layers) or 1.0
    rows = [
        [
            breakable(layer.name),
            f"{layer.error.neurons:,}",
            bar_cell(percent(layer.error.spike_rate), layer.error.spike_rate),
            bar_cell(f"{layer.error.unit_spikes:.3f}", layer.error.unit_spikes / most_units),
            error_cell(layer, most_error),
        ]
        for layer in report.layers
    ]
    said = (
        f"On the first {count(report.layer_samples, 'sample')}, after {count(report.steps, 'time step')}. "
        "The error is that of the decoded spikes against the tensor of the ANN they stand for."
    )
    titles = ("layer", "neurons", "spike rate", "unit spikes", "relative error")
    return paragraph(said) + table("Spike rate and error per layer", titles, rows)


def error_cell(layer: Layer, most: float) -> str:
    error = layer.error.relative_error
    return (
        '<td class="num">no tensor</td>' if error is None else bar_cell(f"{error:.4f}", error / most, "error")
    )


def histograms_section(report: Report) -> str:
    """A card per layer: payloads sent, membranes left."""
    said = (
        "Payloads: what neurons send when they send anything, at all steps. Membranes: what is received and "
        f"not yet sent after step {report.steps}, in quanta from -2 to 2; within half of one where a neuron "
        "rounds to the nearest payload, far below 0 where a ReLU cuts off."
    )
    if not report.layers:
        return paragraph(NO_NEURONS)
    shown, others = report.layers[:MOST_CARDS], report.layers[MOST_CARDS:]
    more = details(f"{count(len(others), 'more layer')}", cards(others)) if others else ""
    return paragraph(said) + cards(shown) + more


def cards(layers: Sequence[Layer]) -> str:
    return f'<div class="cards">{"".join(map(card, layers))}</div>'


def card(layer: Layer) -> str:
    found = layer.distribution
    facts = f"silent {percent(found.share(0))}"
    if found.bounded:
        facts += f"; at the largest payload {percent(found.saturated)}"
    kept = max(1, int(found.membranes.sum()) + found.below + found.above)
    for side, beyond in (("below -2 quanta", found.below), ("above 2 quanta", found.above)):
        facts += f"; {side} {percent(beyond / kept)}" if beyond else ""
    return (
        f'<article class="card"><h3>{breakable(layer.name)}</h3><p class="facts">{text(facts)}</p>'
        f'<div class="pair"><figure>{payload_histogram(layer.name, found)}'
        f"<figcaption>payloads</figcaption></figure><figure>{membrane_histogram(layer.name, found)}"
        "<figcaption>membranes</figcaption></figure></div></article>"
    )


def thresholds_section(report: Report) -> str:
    """Codebook, quantum and unit of every neuron node."""
    titles = ("layer", "codebook", "thresholds", "per", "payload 1 stands for", "bounds", "first charge")
    if not report.layers:
        return paragraph(NO_NEURONS)
    said = (
        "A threshold (quantum) is in units of the neuron's input, smallest … median … largest channel; 1 "
        "where it is folded into weights. Payload 1 stands for that much of the ANN's tensor."
    )
    return paragraph(said) + table("Thresholds", titles, map(threshold_row, report.layers), words=2)


def threshold_row(layer: Layer) -> list[str]:
    node = layer.node
    assert node.graph is not None
    given = node.graph.resolve(node)
    if "codebook" not in given:
        return lif_row(layer, given)
    quantum, unit = given["quantum"], given["unit"]
    channels = max(size for array in (quantum, unit) if array is not None for size in (array.size, 1))
    low, high = given["low"], given["high"]
    bounds = f"{'-∞' if low is None else f'{low:g}'} … {'∞' if high is None else f'{high:g}'}"
    negative = "" if given["negative"] is None else f"; negative: times {spread(given['negative'])}"
    return [
        breakable(layer.name),
        text(show_codebook(given["codebook"])),
        text(spread(quantum) + negative),
        "network" if channels == 1 else f"{channels} channels",
        text("as is" if unit is None else spread(unit)),
        bounds if (low, high) != (None, None) else "none",
        f"{given['initial']:g}" if given["charge"] is None else spread(given["initial"] + given["charge"]),
    ]


def lif_row(layer: Layer, given: Mapping[str, Any]) -> list[str]:
    """Return a neuron of a network that was trained as a spiking one."""
    threshold, leak = given["threshold"], given["leak"]
    channels = max(array.size for array in (threshold, leak) if array is not None)
    kept = "" if leak is None else f"; leak {spread(leak)}"
    return [
        breakable(layer.name),
        text(f"lif, {given['reset']} reset"),
        text(spread(threshold) + kept),
        "network" if channels == 1 else f"{channels} channels",
        text("a spike"),
        "none",
        f"{given['initial']:g}",
    ]


def spread(array: np.ndarray) -> str:
    """Return the least, middle and largest number of an array; one if they are equal."""
    low, middle, high = np.quantile(array, [0, 0.5, 1])
    return f"{low:.4g}" if low == high else f"{low:.3g} … {middle:.3g} … {high:.3g}"


def record_section(report: Report) -> str:
    """Where the network comes from, as its file records it."""
    meta, result = report.graph.meta, report.evaluation
    source, calibration, target = (recorded(meta, key) for key in ("source", "calibration", "target"))
    pairs = [
        ("network", text(report.network)),
        ("source model", text(source.get("name", "not recorded"))),
        ("its SHA-256", f'<code class="name">{text(source.get("sha256", "not recorded"))}</code>'),
        ("compared with", text(report.model)),
        ("method", text(meta.get("method", "not recorded"))),
        ("calibration", text(describe_calibration(calibration))),
        ("evaluated on", text(f"{count(result.samples, 'sample')} of {report.data}{report.normalise}")),
        ("time steps", text(f"{report.steps} (recorded: {meta.get('steps', 'none')})")),
        ("coding", text(report.graph.coding)),
        ("answer", text(", ".join(describe_answer(output) for output in report.graph.outputs))),
    ]
    if target:
        pairs.append(("target", text(", ".join(f"{key} {value}" for key, value in target.items()))))
    pipeline = f'<code class="pipeline">{text(meta.get("pipeline", "not recorded"))}</code>'
    return definitions(pairs) + details("Pipeline of passes", pipeline)


def describe_answer(output: Output) -> str:
    return f"{output.decode} over time of {output.name}" if output.decode != "last" else f"{output.name} at t"


def recorded(meta: Mapping[str, object], key: str) -> Mapping[str, object]:
    """Return a part of a network's record; empty if there is none. Anyone may have written it."""
    found = meta.get(key)
    return found if isinstance(found, dict) else {}


def describe_calibration(record: Mapping[str, object]) -> str:
    if not record.get("samples"):
        return "none"
    return f"{record['samples']} samples of {record.get('data', 'unknown data')}"

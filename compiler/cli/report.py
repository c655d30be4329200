"""`snnc report`: everything about a network on one HTML page."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from snnc.cli.measure import warn_of_other_model
from snnc.cli.options import (
    FILE,
    DataOptions,
    check_writable,
    data_options,
    decode_option,
    example,
    metric_option,
    model_option,
    network_argument,
    quiet_option,
    recorded_shapes,
    shape_option,
    show_normalise,
    steps_option,
    steps_to_run,
    test_data_option,
)
from snnc.cli.progress import Activity
from snnc.cli.show import Notes, size
from snnc.ir.errors import OptionError

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from snnc.evaluation import Metric
    from snnc.ir.decode import Decode


@click.command(
    epilog=example(
        "snnc report net.sir --model model.onnx --data test.npz -o report.html",
        "snnc report net.sir --model model.onnx --data test.npz --limit 200 -T 8 -o report.html",
    ),
    short_help="All of it on one HTML page.",
)
@network_argument
@model_option
@test_data_option
@click.option("-o", "--output", required=True, type=FILE, metavar="FILE.html", help="The page to write.")
@steps_option
@decode_option
@metric_option
@data_options
@shape_option
@quiet_option
def report(
    *,
    network: Path,
    model: Path,
    data_file: Path,
    output: Path,
    steps: int | None,
    decode: Decode | None,
    metric: Metric | None,
    data: DataOptions,
    shapes: dict[str, Sequence[int | str]] | None,
    quiet: bool,
) -> None:
    """Write one self-contained HTML page about NET.sir: accuracy over time, energy and operations beside
    MODEL's, the network graph, spike rate and error of every layer, payloads, membranes, thresholds, record.

    The page loads nothing and runs no scripts. Layers are measured on the first 128 samples, everything else
    on all of them.
    """
    from snnc.api import load
    from snnc.ir.output import atomic_write
    from snnc.report.measure import measure_report
    from snnc.report.page import build_page

    if output.suffix not in (".html", ".htm"):
        raise OptionError(f"{output} is not a .html file", help=f"name it {output.stem}.html")
    check_writable(output, network, model, data_file)
    graph, notes = load(network), Notes(quiet)
    if decode is not None:
        graph.decode_outputs(decode)
    warn_of_other_model(graph, model, notes)
    dataset = data.load_for(graph, data_file, notes)
    normalise = show_normalise(dataset.normalise)
    with Activity("evaluating", quiet=quiet) as activity:
        measured = measure_report(
            graph,
            network,
            model,
            dataset,
            steps_to_run(graph, dataset, steps),
            normalise=f", {normalise}" if normalise else "",
            metric=metric,
            shapes=shapes or recorded_shapes(graph.meta),
            stage=activity.stage,
            progress=activity.update,
        )
        activity.stage("writing")
        page = build_page(measured).encode()
        with atomic_write(output) as file:
            file.write(page)
    if not quiet:
        notes.note(f"{output}: {size(len(page))}")

"""`snnc verify`: every neuron layer against the tensor it stands for."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from snnc.cli.measure import warn_of_other_model
from snnc.cli.options import (
    DataOptions,
    data_options,
    example,
    json_option,
    model_option,
    network_argument,
    quiet_option,
    steps_option,
    steps_to_run,
    test_data_option,
)
from snnc.cli.progress import Activity
from snnc.cli.show import Column, Notes, percent, print_json, print_table

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from snnc.verification import LayerError


@click.command(
    epilog=example("snnc verify net.sir --model model.onnx --data test.npz --limit 100 -T 4"),
    short_help="Error of every layer against the model.",
)
@network_argument
@model_option
@test_data_option
@steps_option
@data_options
@json_option
@quiet_option
def verify(
    *,
    network: Path,
    model: Path,
    data_file: Path,
    steps: int | None,
    data: DataOptions,
    as_json: bool,
    quiet: bool,
) -> None:
    """Compare every layer of neurons in NET.sir with the tensor of MODEL it stands for; the worst first.

    \b
    error         |decoded - tensor| / |tensor| after T steps
    rate          share of neurons and time steps with a spike
    unit spikes   signed binary digits of the payload, per neuron and time step
    """
    from snnc.api import load
    from snnc.verification import verify_layers

    graph, notes = load(network), Notes(quiet)
    warn_of_other_model(graph, model, notes)
    dataset = data.load_for(graph, data_file, notes)
    steps = steps_to_run(graph, dataset, steps)
    with Activity("verifying", quiet=quiet) as activity:
        layers = verify_layers(graph, model, dataset, steps, progress=activity.update)
    if as_json:
        print_json({"samples": dataset.count(graph), "steps": steps, "layers": describe_layers(layers)})
    else:
        show_layers(layers)


def describe_layers(layers: Sequence[LayerError]) -> list[dict[str, object]]:
    return [
        {
            "site": layer.site,
            "origin": list(layer.origin),
            "neurons": layer.neurons,
            "relative_error": layer.relative_error,
            "spike_rate": layer.spike_rate,
            "unit_spikes": layer.unit_spikes,
        }
        for layer in layers
    ]


def show_layers(layers: Sequence[LayerError]) -> None:
    columns = [
        Column("tensor"),
        Column("neurons", True),
        Column("error", True),
        Column("rate", True),
        Column("unit spikes", True),
    ]
    rows = [
        (
            layer.site or ", ".join(layer.origin),
            f"{layer.neurons:,}",
            "none" if layer.relative_error is None else f"{layer.relative_error:.4f}",
            percent(layer.spike_rate),
            f"{layer.unit_spikes:.3f}",
        )
        for layer in layers
    ]
    print_table(columns, rows)
    if any(layer.relative_error is None for layer in layers):
        click.echo("\nnone: the model has no tensor to compare with, because passes moved the neurons")

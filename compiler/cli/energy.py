"""`snnc energy`: operations and energy, of the spiking network and of its source."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from snnc.cli.eval import STEPPED
from snnc.cli.measure import measure
from snnc.cli.options import (
    DataOptions,
    data_options,
    example,
    json_option,
    model_option,
    network_argument,
    quiet_option,
    shape_option,
    steps_option,
    test_data_option,
)
from snnc.cli.show import Column, count, print_json, print_table, say, show_energy
from snnc.cli.traffic import memory_option, show_memory

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from snnc.evaluation import Evaluation


@click.command(
    epilog=example("snnc energy net.sir --model model.onnx --data test.npz --limit 100 -T 8"),
    short_help="Operations and energy against the model.",
)
@network_argument
@model_option
@test_data_option
@steps_option
@memory_option
@data_options
@shape_option
@json_option
@quiet_option
def energy(
    *,
    network: Path,
    model: Path,
    data_file: Path,
    steps: int | None,
    memory: bool,
    data: DataOptions,
    shapes: dict[str, Sequence[int | str]] | None,
    as_json: bool,
    quiet: bool,
) -> None:
    """Count the operations of NET.sir on data, after every time step, and price them beside MODEL's.

    \b
    AC, MAC        accumulates and multiply-accumulates per sample, up to step t
    special        special functions (exp, roots, divisions), not priced
    fp32, int8     energy of all priced operations at 45 nm (Horowitz 2014)
    synapses       energy of synapses alone, float32: what most papers print

    \b
    The second table shares out the operations: accumulates by the payload of the spike that causes them
    (1, above 1, below 0), multiplications of layers that read a real stream, of expectation nodes and others.
    """
    result = measure(
        network=network,
        model=model,
        data_file=data_file,
        data=data,
        steps=steps,
        metric=None,
        memory=memory,
        shapes=shapes,
        quiet=quiet,
    )
    if as_json:
        print_json(describe_energy(result))
    else:
        show_table(result)
        show_operations(result)
        if result.memory is not None:
            show_memory(result.memory)


def describe_energy(result: Evaluation) -> dict[str, object]:
    found: dict[str, object] = {
        "samples": result.samples,
        "steps": [
            {
                "t": step.t,
                "unit_spikes_per_neuron": step.unit_spikes_per_neuron,
                **step.energy.to_json(),
                "operations": step.operations.to_json(),
            }
            for step in result.steps
        ],
        "coverage": result.coverage.to_json(),
    }
    if result.memory is not None:
        found["memory"] = [{"t": step.t, **step.to_json()} for step in result.memory]
    return found


def show_table(result: Evaluation) -> None:
    titles = ("t", "AC", "MAC", "special", "fp32", "/ ANN fp32", "int8", "/ ANN int8", "synapses")
    ann = result.steps[-1].energy
    rows = [["ANN", "", "", "", show_energy(ann.ann_fp32_pj), "1", show_energy(ann.ann_int8_pj), "1", ""]]
    for step in result.steps:
        spent = step.energy
        int8_ratio = spent.snn_int8_pj / spent.ann_int8_pj if spent.ann_int8_pj else float("nan")
        rows.append(
            [
                str(step.t),
                f"{spent.accumulates:,.0f}",
                f"{spent.multiply_accumulates:,.0f}",
                f"{spent.special_functions:,.0f}",
                show_energy(spent.snn_pj),
                f"{spent.ratio_fp32:.3f}",
                show_energy(spent.snn_int8_pj),
                f"{int8_ratio:.3f}",
                show_energy(spent.snn_synapses_pj),
            ]
        )
    print_table([Column(title, True) for title in titles], rows)
    say()
    say(f"per sample, mean of {count(result.samples, 'sample')}")
    if result.stepped:
        say(STEPPED)
    say("not priced: " + ", ".join(result.steps[-1].energy.not_priced))


def show_operations(result: Evaluation) -> None:
    """Print what the operations of spikes and multiplications are, and the accumulates of neurons beside."""
    titles = ("t", "operations", "binary", "multi", "negative", "analog", "expectation", "other", "neurons")
    rows = []
    for step in result.steps:
        done = step.operations
        parts = (
            done.binary,
            done.multi,
            done.negative,
            done.analog_synapses,
            done.expectation,
            done.other_multiplications,
        )
        shares = [f"{100 * part / done.counted:.1f} %" if done.counted else "0 %" for part in parts]
        rows.append([str(step.t), f"{done.counted:,.0f}", *shares, f"{done.neurons:,.0f}"])
    say()
    print_table([Column(title, True) for title in titles], rows)
    say()
    for sentence in result.coverage.sentences():
        say(sentence)

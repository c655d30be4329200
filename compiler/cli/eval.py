"""`snnc eval`: the spiking network against its source, at every time step."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from snnc.cli.measure import measure
from snnc.cli.options import (
    FILE,
    DataOptions,
    backend_options,
    data_options,
    decode_option,
    example,
    json_option,
    metric_option,
    model_option,
    network_argument,
    quiet_option,
    shape_option,
    steps_option,
    test_data_option,
)
from snnc.cli.show import Column, count, percent, print_json, print_table, say, show_energy
from snnc.cli.traffic import memory_option, show_memory
from snnc.peak import peak_bytes

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

    from snnc.evaluation import Evaluation, Metric
    from snnc.ir.decode import Decode
    from snnc.operations import Operations


@click.command(
    "eval",
    epilog=example(
        "snnc eval net.sir --model model.onnx --data test.npz",
        "snnc eval net.sir --model model.onnx --data test.npz --scale 1/255 --limit 1000 -T 8 --json",
        "snnc eval integers.sir --model model.onnx --data test.npz --against net.sir",
    ),
    short_help="Accuracy, activity and energy against the model.",
)
@network_argument
@model_option
@test_data_option
@steps_option
@click.option(
    "--against",
    type=FILE,
    metavar="NET.sir",
    help="Another spiking network of the same model, evaluated on the same data beside this one: say, the "
    "one with real weights that an integer network came from.",
)
@decode_option
@metric_option
@memory_option
@backend_options("reference", "fast", "onnx", "torch")
@data_options
@shape_option
@click.option("-v", "--verbose", is_flag=True, help="Say how much memory it took.")
@json_option
@quiet_option
def eval_(
    *,
    network: Path,
    model: Path,
    data_file: Path,
    steps: int | None,
    against: Path | None,
    decode: Decode | None,
    metric: Metric | None,
    memory: bool,
    backend: str,
    device: str | None,
    compiled: bool,
    data: DataOptions,
    shapes: dict[str, Sequence[int | str]] | None,
    verbose: bool,
    as_json: bool,
    quiet: bool,
) -> None:
    """Run MODEL in onnxruntime and NET.sir in the simulator (or --backend), and compare.

    \b
    agreement     samples on which both name the same class
    error         relative error of the outputs, |snn - ann| / |ann|
    spikes        unit spikes per neuron and time step
    energy        estimate per sample, everything counted, at float32 prices
    / fp32        that energy over the ANN's in float32
    / int8        that energy over the ANN's quantised to int8 (snnc energy has both sides in int8)
    operations    accumulates that spikes cause, by payload: 1, above 1, below 0; and multiplications
    """

    def measured(file: Path, steps: int | None) -> Evaluation:
        return measure(
            network=file,
            model=model,
            data_file=data_file,
            data=data,
            steps=steps,
            decode=decode,
            metric=metric,
            memory=memory,
            backend=backend,
            device=device,
            compiled=compiled,
            shapes=shapes,
            quiet=quiet,
        )

    result = measured(network, steps)
    other = None if against is None else measured(against, len(result.steps))
    if as_json:
        taken = memory_taken(result) if verbose else {}
        print_json(result.to_json() | taken | ({} if other is None else {"against": other.to_json()}))
    else:
        show_evaluation(result, other)
        if result.memory is not None:
            show_memory(result.memory)
        if verbose:
            say(show_taken(result))


def memory_taken(result: Evaluation) -> dict[str, int | None]:
    return {"planned_bytes": result.planned_bytes, "peak_bytes": peak_bytes()}


def show_taken(result: Evaluation) -> str:
    """Say what the run took in this process's memory."""
    peak = peak_bytes()
    parts = [
        *([] if peak is None else [f"peak {peak / 2**20:.0f} MiB, with models, data and libraries"]),
        *(
            []
            if result.planned_bytes is None
            else [f"{result.planned_bytes / 2**20:.1f} MiB planned for streams, sums and membranes"]
        ),
    ]
    return "memory of this process: " + ("; ".join(parts) or "this system does not say")


STEPPED = "ANN: the model is one time step with states, run densely for as many steps (first row: for all)"


def show_evaluation(result: Evaluation, other: Evaluation | None = None) -> None:
    """Print the table; with another evaluation, its metric in a column of its own and what lies between."""
    show_value = percent if result.metric == "accuracy" else "{:.5f}".format
    print_table(*table(result, other, show_value))
    say()
    say(f"{count(result.samples, 'sample')} in {result.seconds:.1f} s")
    if result.stepped:
        say(STEPPED)
    say("not priced: " + ", ".join(result.steps[-1].energy.not_priced))
    say("operations: " + show_shares(result.steps[-1].operations))
    say("spikes: " + "; ".join(result.coverage.sentences()))
    for remark in losses(result):
        say(remark)
    if other is not None:
        say(difference(result, other))


def table(
    result: Evaluation, other: Evaluation | None, show_value: Callable[[float], str]
) -> tuple[list[Column], list[list[str]]]:
    """Return the columns and the rows: the source network, then every step."""
    last = result.steps[-1].energy
    # What the source answers may differ from step to step.
    series = len({step.ann for step in result.steps}) > 1
    columns = [
        Column("t", True),
        Column(result.metric.replace("_", " "), True),
        *([] if other is None else [Column("against", True)]),
        *([Column("ANN", True)] if series else []),
        Column("agreement", True),
        *([] if result.metric == "relative_error" else [Column("error", True)]),
        Column("spikes", True),
        Column("energy", True),
        Column("/ fp32", True),
        Column("/ int8", True),
    ]
    rows = [
        ["ANN", show_value(result.ann), *([] if other is None else [""]), *([""] if series else []), "",
         *([] if result.metric == "relative_error" else [""]), "", show_energy(last.ann_fp32_pj), "1", ""]
    ]  # fmt: skip
    for step in result.steps:
        error = [] if result.metric == "relative_error" else [f"{step.relative_error:.4f}"]
        energy = step.energy
        rows.append(
            [str(step.t), show_value(step.value),
             *([] if other is None else [show_value(other.steps[step.t - 1].value)]),
             *([show_value(step.ann)] if series else []),
             percent(step.agreement), *error,
             f"{step.unit_spikes_per_neuron:.3f}", show_energy(energy.snn_pj),
             f"{energy.ratio_fp32:.3f}", f"{energy.ratio_int8:.3f}"]
        )  # fmt: skip
    return columns, rows


def difference(result: Evaluation, other: Evaluation) -> str:
    """Say how far the metric of the network is from that of the other one after the last step."""
    ours, theirs = result.steps[-1].value, other.steps[-1].value
    if result.metric == "accuracy":
        return f"against the other network at t = {len(result.steps)}: {100 * (ours - theirs):+.2f} points"
    return f"against the other network at t = {len(result.steps)}: {ours - theirs:+.5f}"


def show_shares(operations: Operations) -> str:
    """Return the shares of a network's operations on one line."""
    titles = ("binary spikes", "multi-spikes", "negative spikes", "real multiplications")
    pairs = zip(operations.shares.values(), titles, strict=True)
    return ", ".join(f"{100 * share:.1f} % {title}" for share, title in pairs)


def losses(result: Evaluation) -> list[str]:
    """Say plainly where the spiking network needs more energy than the source network."""
    remarks = []
    for steps, name in (
        (result.costlier("fp32"), "in float32"),
        (result.costlier("int8"), "quantised to int8"),
    ):
        if steps:
            when = "at every t" if len(steps) == len(result.steps) else f"from t = {steps[0]} on"
            remarks.append(f"the spiking network needs MORE energy than the ANN {name} {when}")
    return remarks

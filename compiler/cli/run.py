"""`snnc run`: inputs in, decoded outputs at every time step out."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from snnc.cli.options import (
    FILE,
    DataOptions,
    backend_options,
    check_writable,
    data_options,
    decode_option,
    example,
    network_argument,
    quiet_option,
    steps_option,
    steps_to_run,
)
from snnc.cli.progress import Activity
from snnc.cli.show import Notes, count
from snnc.ir.errors import OptionError

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from pathlib import Path
    from typing import TypeAlias

    from snnc.backends.lava.session import Listener
    from snnc.backends.reference import Run
    from snnc.data import Dataset
    from snnc.ir.decode import Decode
    from snnc.ir.graph import Graph
    from snnc.ir.kernel_types import Array
    from snnc.simulation import Runner

    RunGroup: TypeAlias = Callable[[Mapping[str, Array]], Run]

FEWEST_SAMPLES = 64  # read and normalised at a time
MOST_SAMPLES = 4096  # in one run of a backend that takes long to start


@click.command(
    epilog=example(
        "snnc run net.sir --input x.npy -T 4 -o y.npy",
        "snnc run net.sir --input x.npz --scale 1/255 --record relu1 -o y.npz",
    ),
    short_help="Run a network on data.",
)
@network_argument
@click.option(
    "--input",
    "input_file",
    required=True,
    type=FILE,
    metavar="DATA",
    help="Samples: .npy, or .npz with x or one array per input.",
)
@click.option(
    "-o",
    "--output",
    required=True,
    type=FILE,
    metavar="FILE",
    help="The file to write: .npy for one output, .npz for outputs by name.",
)
@steps_option
@decode_option
@data_options
@click.option(
    "--record",
    multiple=True,
    metavar="NAME",
    help="Also write NAME.spikes and NAME.membranes of the neurons that stand for this node or tensor "
    "of the model. Repeat for more.",
)
@backend_options("reference", "fast", "onnx", "torch", "lava")
@click.option(
    "--lava-python",
    metavar="PYTHON",
    help="The Python that has Lava.  [default: SNNC_LAVA_PYTHON, this one, or .lava/bin/python]",
)
@click.option(
    "--time-limit",
    type=click.FloatRange(min=0),
    metavar="SECONDS",
    help="End a run in Lava that takes longer.",
)
@quiet_option
def run(
    *,
    network: Path,
    input_file: Path,
    output: Path,
    steps: int | None,
    decode: Decode | None,
    data: DataOptions,
    record: Sequence[str],
    backend: str,
    device: str | None,
    compiled: bool,
    lava_python: str | None,
    time_limit: float | None,
    quiet: bool,
) -> None:
    """Run NET.sir and write its decoded outputs after every step, [T, N, ...].

    The last one, at T, is the answer. Records are payloads and membranes at every step, [T, N, ...].
    """
    from snnc.api import load

    if record and backend != "reference":
        raise OptionError(
            f"--record needs the reference simulator, not {backend}", help="leave out --backend"
        )
    if backend == "lava" and (device is not None or compiled):
        raise OptionError(f"{'--compiled' if compiled else '--device'} is for --backend torch")
    if backend != "lava" and (lava_python or time_limit is not None):
        raise OptionError("--lava-python and --time-limit mean nothing without --backend lava")
    check_writable(output, input_file, network)
    graph, notes = load(network), Notes(quiet)
    if decode is not None:
        graph.decode_outputs(decode)
    refuse_suffix(output, graph, record)
    dataset = data.load_for(graph, input_file, notes)
    steps = steps_to_run(graph, dataset, steps)
    with Activity("running", quiet=quiet) as activity:
        if backend == "lava":
            from snnc.backends.lava.session import Listener

            listener = Listener(notes.note, activity.update)
            run_group, group = lava_runner(graph, steps, lava_python, time_limit, listener)
        else:
            from snnc.simulation import open_runner

            opened = open_runner(graph, backend, device, compiled=compiled)
            run_group, group = runner(opened, steps, record), opened.group
        arrays = simulate(run_group, group, graph, dataset, activity)
        write_arrays(output, arrays)
    if not quiet:
        shapes = ", ".join(f"{name} {list(array.shape)}" for name, array in arrays.items())
        notes.note(f"{output}: {count(steps, 'time step')}: {shapes}")


def refuse_suffix(output: Path, graph: Graph, record: Sequence[str]) -> None:
    """Refuse a file type that cannot hold what the run gives."""
    if output.suffix not in (".npy", ".npz"):
        raise OptionError(f"{output} is neither .npy nor .npz", help="these are the formats results come in")
    if output.suffix == ".npy" and (record or len(graph.outputs) > 1):
        what = "records" if record else f"the network's {len(graph.outputs)} outputs"
        raise OptionError(
            f"a .npy file cannot hold {what}", help=f"write {output.with_suffix('.npz')} instead"
        )


def runner(opened: Runner, steps: int, record: Sequence[str]) -> RunGroup:
    """Return what runs a group of samples."""
    from snnc.backends.reference import Simulator

    if not record:
        return lambda inputs: opened.run(inputs, steps)
    assert isinstance(opened, Simulator)
    return lambda inputs: opened.run(inputs, steps, record=record)


def lava_runner(
    graph: Graph,
    steps: int,
    python: str | None,
    time_limit: float | None,
    listener: Listener,
) -> tuple[RunGroup, int]:
    """Return what runs a group of samples in Lava: starting takes seconds, so all go together."""
    from snnc.backends.lava.session import TIME_LIMIT, LavaSimulator, find_lava_python

    limit = TIME_LIMIT if time_limit is None else time_limit
    simulator = LavaSimulator(graph, find_lava_python(python), time_limit=limit)
    return lambda inputs: simulator.run(inputs, steps, listener=listener), MOST_SAMPLES


def simulate(
    run: RunGroup, group: int, graph: Graph, dataset: Dataset, activity: Activity
) -> dict[str, Array]:
    """Return decoded outputs and records by name; only one group of samples is normalised at a time."""
    from snnc.backends.inputs import batch_size_of
    from snnc.ir.shapes import batch_axis

    # Outputs have a time axis in front of the network's own; records have their samples second.
    axes = {output.name: batch_axis(output.value.type.shape) for output in graph.outputs}
    parts: dict[str, list[Array]] = {}
    done, total = 0, dataset.count(graph)
    together = max(group, FEWEST_SAMPLES // (dataset.steps(graph) or 1))
    for inputs, _ in dataset.batches(graph, together):
        result = run(inputs)
        for name, array in result.outputs.items():
            parts.setdefault(name, []).append(array)
        for kind, records in (("spikes", result.spikes), ("membranes", result.membranes)):
            for name, array in records.items():
                parts.setdefault(f"{name}.{kind}", []).append(array)
        done += batch_size_of(graph, inputs)
        activity.update(done, total)
    return {name: join(arrays, axes.get(name, 0)) for name, arrays in parts.items()}


def join(arrays: Sequence[Array], axis: int | None) -> Array:
    """Join groups of samples along the axis behind time's; None: the array is the same for every group."""
    import numpy as np

    return arrays[0] if axis is None else np.concatenate(arrays, axis=axis + 1)


def write_arrays(path: Path, arrays: Mapping[str, Array]) -> None:
    """Write a .npy or .npz file, whole or not at all; equal arrays give equal bytes."""
    import numpy as np

    from snnc.ir.output import atomic_write, write_npz

    with atomic_write(path) as file:
        if path.suffix == ".npy":
            np.save(file, next(iter(arrays.values())), allow_pickle=False)
            return
        write_npz(file, arrays)

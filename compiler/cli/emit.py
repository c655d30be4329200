"""`snnc emit`: a network in the format of another runtime."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from snnc.cli import completion
from snnc.cli.options import (
    FILE,
    MAX_RECORDED_STEPS,
    check_writable,
    decode_option,
    example,
    network_argument,
    quiet_option,
    recorded_steps,
    timing_of,
    timing_options,
)
from snnc.cli.show import count, one_line, say
from snnc.emission import EmitOptions, Target, check_varying
from snnc.ir.errors import OptionError, OutputError

if TYPE_CHECKING:
    from pathlib import Path

    from snnc.emission import AnyTarget
    from snnc.ir.decode import Decode
    from snnc.ir.graph import Graph


@click.command(
    epilog=example(
        "snnc emit net.sir --backend onnx -o snn.onnx -T 4",
        "snnc emit net.sir --backend onnx -o snn.onnx -T 16 --varying frames",
        "snnc emit net.sir --backend nir -o net.nir",
        "snnc emit integers.sir --backend lava -o net_lava",
        "snnc emit net.sir --backend c --load my_backend.py -o net.c",
    ),
    short_help="Write a network for another runtime.",
)
@network_argument
@click.option(
    "--backend",
    required=True,
    metavar="NAME",
    shell_complete=completion.backends,
    help="onnx: T steps as a standard ONNX model. nir: the network in NIR. lava: integers as a folder of "
    "Lava processes. netx: for lava-dl.",
)
@click.option(
    "-o", "--output", required=True, type=FILE, metavar="FILE", help="The file to write; a folder for lava."
)
@click.option(
    "-T",
    "--steps",
    type=click.IntRange(min=1, max=MAX_RECORDED_STEPS),
    metavar="T",
    help="Time steps the model takes.  [default: as recorded in NET, else 4]",
)
@decode_option
@click.option(
    "--load",
    multiple=True,
    type=FILE,
    metavar="FILE.py",
    help="Run a Python file and offer the backends it defines. Repeat for more files.",
)
@click.option(
    "--varying",
    multiple=True,
    metavar="INPUT",
    help="This input varies in time: [T, N, ...]. Repeat for more. (onnx)",
)
@timing_options("nir")
@click.option(
    "--feedback",
    is_flag=True,
    default=None,
    help="Write a reset by subtraction as an integrator with a connection back. (nir)",
)
@click.option(
    "--stock",
    is_flag=True,
    help="Write processes that come with Lava only: hard resets, one threshold. (lava)",
)
@click.option(
    "--single",
    is_flag=True,
    help="Write what a host computes in single precision; spikes behind it may differ on edges. (onnx)",
)
@quiet_option
def emit(
    *,
    network: Path,
    backend: str,
    output: Path,
    steps: int | None,
    decode: Decode | None,
    load: tuple[Path, ...],
    varying: tuple[str, ...],
    stock: bool,
    single: bool,
    quiet: bool,
    **chosen: Any,
) -> None:
    """Write NET.sir as a model that another runtime runs without snnc.

    \b
    onnx          all T time steps in one standard ONNX model, for any batch size.
                  Inputs are NET's own; outputs are decoded after every step,
                  [T, N, ...]: the last one, at T, is the answer.
    nir           one graph of NIR's primitives, whose readers take the steps;
                  -T and --decode are recorded in its metadata.
    lava          a folder with a network of integers, for Python with lava-nc:
                  run.py, the network and its weights, the processes. -T and the
                  decoding are defaults there. It needs --target loihi2 networks.
    netx          a chain of layers as lava-dl's HDF5 file (.net), for its
                  netx.hdf5.Network. It needs h5py.

    Installed packages may offer more (entry points snnc.backends), and so may files given by --load.
    """
    from snnc.api import load as load_network
    from snnc.targets import find_target

    target = find_target(backend, load)
    refuse_idle(target, {"varying": varying, "stock": stock, "single": single, **chosen})
    graph = load_network(network)
    if decode is not None:
        graph.decode_outputs(decode)
    options = EmitOptions(
        steps or recorded_steps(graph.meta),
        check_varying(graph, varying),
        stock,
        timing_of(chosen["dt"], chosen["integration"]),
        bool(chosen["feedback"]),
        single,
    )
    check_place(target, graph, options, output, network)
    written = target.emit(graph, options, output)
    if not quiet:
        say(f"{one_line(str(output))}: {count(options.steps, 'time step')}, {written}")


def check_place(target: AnyTarget, graph: Graph, options: EmitOptions, output: Path, network: Path) -> None:
    """Refuse a place that cannot be written; if the network cannot be either, that is what to say first."""
    try:
        target.check(output)
        if isinstance(target, Target):
            check_writable(output, network)
    except (OptionError, OutputError):
        target.rehearse(graph, options)
        raise


def refuse_idle(target: AnyTarget, given: dict[str, Any]) -> None:
    """Refuse an option that the backend has no use for."""
    for name, value in given.items():
        if value and name not in target.options:
            raise OptionError(f"--{name} means nothing to --backend {target.name}", help="leave it out")

"""What `snnc emit` can write a network as: one target per backend."""

from __future__ import annotations

import io
import tempfile
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO, TypeAlias

from snnc.backends.nir.timing import Timing
from snnc.ir.errors import OptionError, did_you_mean
from snnc.ir.output import atomic_folder, atomic_write, check_folder_target

if TYPE_CHECKING:
    from snnc.ir.graph import Graph


@dataclass(frozen=True, slots=True)
class EmitOptions:
    """How many time steps to write, and which inputs vary in time.

    `stock`: with the processes that come with Lava only. `timing`: what a step is in NIR's continuous time;
    `feedback`: resets by subtraction become connections back there. `single`: what a host computes is in
    single precision.
    """

    steps: int
    varying: frozenset[str] = frozenset()
    stock: bool = False
    timing: Timing = field(default_factory=Timing)
    feedback: bool = False
    single: bool = False


Write: TypeAlias = Callable[["Graph", EmitOptions, BinaryIO], str]
WriteFolder: TypeAlias = Callable[["Graph", EmitOptions, Path], str]


@dataclass(frozen=True, slots=True)
class Target:
    """A backend that writes files, of snnc or of anybody: `write` fills an open file.

    It returns what it wrote, in a few words, or raises `BackendError` for what it cannot write. `options` are
    those of `snnc emit` that mean something to it, besides the general ones.
    """

    name: str
    suffix: str
    write: Write
    options: frozenset[str] = frozenset({"varying"})

    def check(self, output: Path) -> None:
        """Refuse a name that is not one of such a file."""
        if output.suffix != self.suffix:
            raise OptionError(
                f"{output} is not named {self.suffix}", help=f"name it {output.stem}{self.suffix}"
            )

    def rehearse(self, graph: Graph, options: EmitOptions) -> None:
        """Raise what keeps the network from being written, wherever to."""
        self.write(graph, options, io.BytesIO())

    def emit(self, graph: Graph, options: EmitOptions, output: Path) -> str:
        """Write the file, whole or not at all."""
        with atomic_write(output) as file:
            return self.write(graph, options, file)


@dataclass(frozen=True, slots=True)
class FolderTarget:
    """A backend that writes folders. `write` fills an empty one; `mark` is a file that is always in it."""

    name: str
    mark: str
    write: WriteFolder
    options: frozenset[str] = frozenset({"varying"})

    def check(self, output: Path) -> None:
        """Refuse a place where there is something else."""
        check_folder_target(output, self.mark)

    def rehearse(self, graph: Graph, options: EmitOptions) -> None:
        """Raise what keeps the network from being written, wherever to."""
        with tempfile.TemporaryDirectory(prefix="snnc-") as folder:
            self.write(graph, options, Path(folder))

    def emit(self, graph: Graph, options: EmitOptions, output: Path) -> str:
        """Write the folder, whole or not at all; one that an earlier call wrote is replaced."""
        with atomic_folder(output, self.mark) as folder:
            return self.write(graph, options, folder)


AnyTarget: TypeAlias = Target | FolderTarget


def write_onnx(graph: Graph, options: EmitOptions, file: BinaryIO) -> str:
    from snnc.backends.onnx.emit import OPSET
    from snnc.backends.onnx.spiking import emit_spiking

    emitted = emit_spiking(graph, options.steps, timed=options.varying, single=options.single)
    model = emitted.embedded()
    file.write(model.SerializeToString())
    return f"ONNX opset {OPSET}, {len(model.graph.node)} nodes"


def write_nir(graph: Graph, options: EmitOptions, file: BinaryIO) -> str:
    from snnc.backends.nir.emit import emit_nir, nir_bytes

    nir_graph = emit_nir(graph, options.timing, feedback=options.feedback, steps=options.steps)
    file.write(nir_bytes(nir_graph))
    return f"each {options.timing.dt:g} s, {len(nir_graph.nodes)} nodes"


def write_lava(graph: Graph, options: EmitOptions, folder: Path) -> str:
    from snnc.backends.lava.emit import write_lava as write

    return write(graph, options.steps, folder, stock=options.stock)


def write_netx(graph: Graph, options: EmitOptions, file: BinaryIO) -> str:
    from snnc.backends.lava.netx import write_netx as write

    return write(graph, options.steps, file)


TARGETS: dict[str, AnyTarget] = {
    "onnx": Target("onnx", ".onnx", write_onnx, frozenset({"varying", "single"})),
    "nir": Target("nir", ".nir", write_nir, frozenset({"dt", "integration", "feedback"})),
    "lava": FolderTarget("lava", "network.json", write_lava, frozenset({"stock"})),
    "netx": Target("netx", ".net", write_netx, frozenset()),
}


def check_varying(graph: Graph, names: tuple[str, ...]) -> frozenset[str]:
    """Return the names of inputs that vary in time; `OptionError` if the network has no such input."""
    known = {value.name or "": value for value in graph.inputs}
    for name in names:
        if name not in known:
            raise OptionError(f"the network has no input {name!r}", help=did_you_mean(name, known))
        if not known[name].type.is_real:
            raise OptionError(
                f"the input {name!r} holds {known[name].type.dtype}: integers never vary in time"
            )
    return frozenset(names)

"""What `snnc emit` can write a network as: one target per backend."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, BinaryIO, TypeAlias

from snnc.ir.errors import OptionError, did_you_mean

if TYPE_CHECKING:
    from snnc.ir.graph import Graph


@dataclass(frozen=True, slots=True)
class EmitOptions:
    """How many time steps to write, and which inputs vary in time."""

    steps: int
    varying: frozenset[str] = frozenset()


Write: TypeAlias = Callable[["Graph", EmitOptions, BinaryIO], str]


@dataclass(frozen=True, slots=True)
class Target:
    """A backend that writes files, of snnc or of anybody: `write` fills an open file.

    It returns what it wrote, in a few words, or raises `BackendError` for what it cannot write.
    """

    name: str
    suffix: str
    write: Write


def write_onnx(graph: Graph, options: EmitOptions, file: BinaryIO) -> str:
    from snnc.backends.onnx.emit import OPSET
    from snnc.backends.onnx.spiking import emit_spiking

    model = emit_spiking(graph, options.steps, timed=options.varying).embedded()
    file.write(model.SerializeToString())
    return f"ONNX opset {OPSET}, {len(model.graph.node)} nodes"


TARGETS = {target.name: target for target in (Target("onnx", ".onnx", write_onnx),)}


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

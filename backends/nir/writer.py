"""The NIR graph under construction, and what stands for each stream of the SIR graph."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from snnc.backends.nir.remedies import ONNX, REAL
from snnc.ir.errors import SnncError
from snnc.ir.op import TensorRef
from snnc.ir.shapes import Batch

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from collections.abc import Set as AbstractSet

    from snnc.backends.nir.timing import Timing
    from snnc.ir.graph import Graph, Node, Value
    from snnc.ir.kernel_types import Array


# What gives a network such an attribute.
LEAVE_OUT = {"exponent": REAL, "width": REAL, "level_axis": "leave out the pass expand-levels"}


class InexpressibleError(SnncError):
    """What NIR has no exact words for, and what would help. Collected by `emit`, never shown alone."""

    code = "backend"

    def __init__(self, message: str, *, help: str) -> None:
        super().__init__(message, help=help)
        self.remedy = help


@dataclass(frozen=True, slots=True)
class Emitter:
    """How an op is written, and the attributes that this takes into account: one beyond them is refused."""

    write: Callable[[Writer, Node], None]
    attributes: AbstractSet[str] = frozenset()

    def __call__(self, writer: Writer, node: Node) -> None:
        for name, value in node.attributes.items():
            declared = node.op.attributes[name]
            if name not in self.attributes and value != declared.default:
                raise InexpressibleError(f"NIR has no word for its {name}", help=LEAVE_OUT.get(name, ONNX))
            array = writer.graph.tensors[value.name] if isinstance(value, TensorRef) else None
            if array is not None and array.dtype != np.float32:
                raise InexpressibleError(
                    f"its {name} holds {array.dtype}; NIR's readers compute with real numbers",
                    help=REAL,
                )
        self.write(writer, node)


class Writer:
    """NIR's nodes and edges so far.

    A stream is the sum of what its `sources` send: several edges into a NIR node add up, so `add` needs no
    node. `feedback`: a reset by subtraction may be written as a connection back to the neuron.
    """

    def __init__(self, graph: Graph, nir: Any, timing: Timing, feedback: bool) -> None:
        self.graph = graph
        self.nir = nir
        self.timing = timing
        self.feedback = feedback
        self.nodes: dict[str, Any] = {}
        self.edges: list[tuple[str, str]] = []
        self.sources: dict[Value, tuple[str, ...]] = {}
        self._counts: Counter[str] = Counter()

    def add(self, kind: str, primitive: Any, feeds: Sequence[str], node: Node | None = None) -> str:
        """Add a primitive that reads all of `feeds`; return its name, `kind_1`, `kind_2`, …

        Names are words that every reader can make an attribute of.
        """
        self._counts[kind] += 1
        name = f"{kind}_{self._counts[kind]}"
        if node is not None and node.origin:
            primitive.metadata["origin"] = ", ".join(node.origin)
        self.nodes[name] = primitive
        self.edges += [(feed, name) for feed in feeds]
        return name

    def read(self, node: Node) -> tuple[str, ...]:
        """Return what stands for a node's only stream."""
        return self.sources[node.operands[0]]

    def put(self, node: Node, kind: str, primitive: Any) -> None:
        """Add the primitive that computes a node's result from its only stream."""
        self.sources[node.result] = (self.add(kind, primitive, self.read(node), node),)


def sample_shape(value: Value) -> tuple[int, ...]:
    """Return the shape of one sample; refuse a stream whose first axis is not the batch alone."""
    batch, *sizes = value.type.shape or (None,)
    if batch != Batch() or not all(isinstance(size, int) for size in sizes) or not sizes:
        raise InexpressibleError(
            f"it has the shape {value.type}; NIR knows no batch, so N must be the first axis and no other",
            help="export the model with samples along the first axis, and leave that one alone",
        )
    return tuple(size for size in sizes if isinstance(size, int))


def per_sample(parameter: Array, shape: tuple[int, ...]) -> Array:
    """Return a parameter [1, …] for every element of a sample."""
    return np.ascontiguousarray(np.broadcast_to(parameter, (1, *shape))[0])

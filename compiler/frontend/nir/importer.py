"""From a NIR graph to a SIR graph: every node exact, unused or rejected by name, and none forgotten."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any, cast

import numpy as np

from snnc.backends.nir.timing import Timing
from snnc.frontend.context import RejectedError
from snnc.frontend.nir import layers, neurons
from snnc.frontend.nir.context import NirNode
from snnc.frontend.nir.flatten import Flat, Subtracting, flatten, live
from snnc.frontend.nir.reader import is_nir_file, read_nir
from snnc.frontend.walk import Fate, Imported, NodeFate, remove_dead_nodes
from snnc.ir.decode import DECODES
from snnc.ir.errors import ModelError, SnncError
from snnc.ir.graph import Graph
from snnc.ir.limits import shape_problem
from snnc.ir.shapes import Batch
from snnc.ir.types import TensorType

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from snnc.backends.nir.timing import Integration
    from snnc.ir.decode import Decode
    from snnc.ir.graph import Value
    from snnc.ir.shapes import Shape

__all__ = ["import_nir", "is_nir_file"]

PRIMITIVES: dict[str, Callable[[NirNode], Value]] = {
    "Affine": layers.affine,
    "Linear": layers.linear,
    "Conv1d": layers.conv,
    "Conv2d": layers.conv,
    "AvgPool2d": layers.avg_pool,
    "SumPool2d": layers.sum_pool,
    "Flatten": layers.flatten,
    "Scale": layers.scale,
    "Delay": layers.delay,
    "IF": neurons.integrate_and_fire,
    "LIF": neurons.leaky_integrate_and_fire,
    "Threshold": neurons.threshold,
    "Subtracting": neurons.subtracting,
    **dict.fromkeys(neurons.NO_OP, neurons.without_op),
}

# What numpy raises where a node's fields do not fit each other.
_MISFITS = (ArithmeticError, AttributeError, LookupError, MemoryError, RuntimeError, TypeError, ValueError)


def import_nir(path: str | Path, *, dt: float | None = None, integration: str | None = None) -> Imported:
    """Return the graph of a NIR file and the fate of every node; rejected nodes leave the graph incomplete.

    `dt` None: what the file's metadata say, else 0.0001 s; `integration` None: likewise, else euler. The
    timing is in `graph.meta["nir"]`.
    """
    try:
        nir_graph = read_nir(path)
        timing, stated = timing_of(nir_graph.metadata, dt, integration)
        return Import(flatten(nir_graph), timing, stated).run()
    except ModelError as refusal:
        refusal.where = refusal.where or str(path)
        raise


def timing_of(metadata: Any, dt: float | None, integration: str | None) -> tuple[Timing, bool]:
    """Return how long a step takes and how it integrates, and whether anything says how long."""
    recorded = metadata if isinstance(metadata, dict) else {}
    stated = dt if dt is not None else recorded.get("dt")
    method = cast("Integration", integration or recorded.get("integration", "euler"))
    if stated is None:
        return Timing(integration=method), False
    try:
        return Timing(float(np.asarray(stated)), method), True
    except (TypeError, ValueError) as problem:
        if dt is not None and isinstance(problem, SnncError):
            raise
        raise ModelError(f"the file's metadata give no time step: dt is {stated!r}") from None


class Import:
    """One import. `values` holds what each NIR node became; None where it could not be imported."""

    def __init__(self, flat: Flat, timing: Timing, stated: bool) -> None:
        self.flat = flat
        self.timing = timing
        self.graph = Graph("main")
        self.graph.meta["nir"] = {**timing.describe(), "dt_stated": stated}
        kinds = {name: type(node).__name__ for name, node in flat.nodes.items()}
        self.outputs = [n for n, kind in kinds.items() if kind == "Output" and n not in flat.passing]
        self.kinds = kinds
        self.live = live(flat, dict.fromkeys(self.outputs))
        self.values: dict[str, Value | None] = {}
        self.names: set[str] = set()

    def run(self) -> Imported:
        if not self.outputs:
            raise ModelError("the graph has no Output")
        fates = tuple(fate for name in self.flat.ordered() for fate in self.fates_of(name))
        if not any(fate.fate is Fate.REJECTED for fate in fates):
            remove_dead_nodes(self.graph)
        return Imported(self.graph, None, fates)

    def fates_of(self, name: str) -> list[NodeFate]:
        fate, node = self.fate_of(name), self.flat.nodes[name]
        if not isinstance(node, Subtracting):
            return [fate]
        parts = [replace(fate, name=part, op_type=kind) for part, kind in node.absorbed]
        return [*parts, replace(fate, op_type="Threshold")]

    def fate_of(self, name: str) -> NodeFate:
        kind = self.kinds.get(name, "?")
        if name not in self.live and kind != "Input":
            return NodeFate(name, kind, Fate.UNUSED)
        sources = [source for source, target in self.flat.edges if target == name]
        self.values[name] = None
        try:
            if name in self.flat.recurrent:
                raise RejectedError(
                    "it is part of a cycle, and a SIR graph has none",
                    help="only a reset by subtraction, written as a connection back, can be taken in",
                )
            streams = [self.values.get(source) for source in sources]
            if any(stream is None for stream in streams):
                return NodeFate(name, kind, Fate.BLOCKED)
            self.values[name] = self.imported(name, kind, [s for s in streams if s is not None])
        except ModelError:
            raise
        except SnncError as refusal:
            return NodeFate(name, kind, Fate.REJECTED, refusal.message, refusal.help)
        except _MISFITS as misfit:
            return NodeFate(name, kind, Fate.REJECTED, f"its fields do not fit ({misfit})")
        return NodeFate(name, kind, Fate.IMPORTED)

    def imported(self, name: str, kind: str, streams: list[Value]) -> Value:
        node = self.flat.nodes[name]
        if kind == "Input" and name not in self.flat.passing:
            if streams:
                raise RejectedError("something feeds this input")
            return self.graph.add_input(self.shown(node, name), input_type(node))
        if not streams:
            raise RejectedError("nothing feeds it")
        x = self.total(name, streams)
        if kind == "Output" and name not in self.flat.passing:
            self.output(node, name, x)
            return x
        if kind in ("Input", "Output"):
            return x
        if kind not in PRIMITIVES:
            raise RejectedError("there is no such primitive in NIR 1.0")
        return PRIMITIVES[kind](NirNode(self.graph, name, node, x, self.timing))

    def total(self, name: str, streams: list[Value]) -> Value:
        """Several edges into a node add up."""
        x = streams[0]
        for other in streams[1:]:
            if other.type.shape != x.type.shape:
                raise RejectedError(f"it is fed {x.type} and {other.type}")
            x = self.graph.append("add", [x, other], origin=[name])
        return x

    def output(self, node: Any, name: str, x: Value) -> None:
        stated = getattr(node, "output_type", None) or {}
        shape = stated.get("output")
        if shape is not None and tuple(np.asarray(shape).reshape(-1).tolist()) != x.type.shape[1:]:
            raise RejectedError(f"it says the shape {np.asarray(shape).tolist()}, what it reads is {x.type}")
        how = text(node.metadata, "decode")
        decode: Decode = how if how in DECODES else "mean"
        self.graph.add_output(x, self.shown(node, name), decode)

    def shown(self, node: Any, name: str) -> str:
        """Return the name of an input or output: that in its metadata, if another has not got it."""
        wanted = text(node.metadata, "name") or name
        chosen = name if wanted in self.names else wanted
        self.names.add(chosen)
        return chosen


def text(metadata: Any, key: str) -> str | None:
    found = metadata.get(key) if isinstance(metadata, dict) else None
    return found if isinstance(found, str) else None


def input_type(node: Any) -> TensorType:
    """Return the type of an Input: its shape is that of one sample."""
    stated = (getattr(node, "input_type", None) or {}).get("input")
    sizes = [] if stated is None else np.asarray(stated).reshape(-1).tolist()
    if not sizes or not all(float(size) == int(size) and size >= 1 for size in sizes):
        raise RejectedError(f"it has no shape that could be known: {stated}")
    shape: Shape = (Batch(), *(int(size) for size in sizes))
    problem = shape_problem(shape)
    if problem:
        raise RejectedError(problem)
    return TensorType("f32", shape)

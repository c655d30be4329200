"""The walk over the ONNX nodes: every one is imported, folded, unused or rejected, and none is forgotten."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import Enum
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import onnx
from onnx import numpy_helper

from snnc.frontend.context import NodeContext, Rejected
from snnc.frontend.handlers import handlers
from snnc.frontend.loader import load_onnx
from snnc.frontend.signature import input_types
from snnc.ir.errors import ModelError, SnncError, UnsupportedOpError, did_you_mean
from snnc.ir.graph import Graph, Value

if TYPE_CHECKING:
    from collections.abc import Mapping

    from snnc.frontend.context import Entry
    from snnc.frontend.signature import Pins

DEFAULT_DOMAINS = ("", "ai.onnx")


class Fate(Enum):
    """What became of an ONNX node at import."""

    IMPORTED = "imported"
    UNUSED = "unused"
    REJECTED = "rejected"
    BLOCKED = "depends on rejected"


@dataclass(frozen=True, slots=True)
class NodeFate:
    """One ONNX node and what became of it; `reason` and `help` are given where it was rejected."""

    name: str
    op_type: str
    fate: Fate
    reason: str = ""
    help: str | None = None

    def __str__(self) -> str:
        remedy = f" (help: {self.help})" if self.help else ""
        return f'node "{self.name}" ({self.op_type}): {self.reason}{remedy}'


@dataclass(frozen=True, slots=True)
class Imported:
    """The graph (complete only if nothing is rejected) and the fate of every ONNX node, in order."""

    graph: Graph
    fates: tuple[NodeFate, ...]

    @property
    def rejected(self) -> tuple[NodeFate, ...]:
        return tuple(fate for fate in self.fates if fate.fate is Fate.REJECTED)


def import_onnx(source: str | Path | onnx.ModelProto, *, shapes: Pins | None = None) -> Graph:
    """Return the SIR graph of analog ops for a model; `UnsupportedOpError` lists every node that has none."""
    imported = import_model(source, shapes=shapes)
    rejected = imported.rejected
    if rejected:
        listed = "".join(f"\n  - {fate}" for fate in rejected)
        count = "1 node" if len(rejected) == 1 else f"{len(rejected)} nodes"
        raise UnsupportedOpError(f"{count} cannot be compiled:{listed}", where=_where(source))
    return imported.graph


def import_model(source: str | Path | onnx.ModelProto, *, shapes: Pins | None = None) -> Imported:
    """Return the graph and the fate of every node, without refusing a model for its rejected nodes."""
    model = source if isinstance(source, onnx.ModelProto) else load_onnx(source)
    return Importer(model, shapes or {}).run()


def _where(source: str | Path | onnx.ModelProto) -> str | None:
    return None if isinstance(source, onnx.ModelProto) else str(source)


class Importer:
    """One import. `entries` holds what each ONNX tensor became; a poisoned tensor is None."""

    def __init__(self, model: onnx.ModelProto, shapes: Pins) -> None:
        self.source = model.graph
        self.opset = next(
            (entry.version for entry in model.opset_import if entry.domain in DEFAULT_DOMAINS), 0
        )
        self.types = input_types(model.graph, shapes)
        self.graph = Graph(model.graph.name or "main")
        self.entries: dict[str, Entry | None] = {}
        self.names: set[str] = set()

    def run(self) -> Imported:
        for name, type_ in self.types.items():
            self.entries[name] = self.graph.add_input(name, type_)
        for tensor in self.source.initializer:
            self.entries[tensor.name] = numpy_helper.to_array(tensor)
        live = live_tensors(self.source)
        fates = tuple(self._import_node(node, live) for node in self.source.node)
        if not any(fate.fate is Fate.REJECTED for fate in fates):
            self._add_outputs()
            remove_dead_nodes(self.graph)
        return Imported(self.graph, fates)

    def _import_node(self, node: onnx.NodeProto, live: frozenset[str]) -> NodeFate:
        name = self._unique_name(node)
        if not any(output in live for output in node.output):
            self.entries.update(dict.fromkeys(filter(None, node.output)))
            return NodeFate(name, node.op_type, Fate.UNUSED)
        if any(self._read(node, tensor) is None for tensor in node.input if tensor):
            self.entries.update(dict.fromkeys(filter(None, node.output)))
            return NodeFate(name, node.op_type, Fate.BLOCKED)
        try:
            self._lower(node, name, live)
        except SnncError as refusal:
            self.entries.update(dict.fromkeys(filter(None, node.output)))
            return NodeFate(name, node.op_type, Fate.REJECTED, refusal.message, refusal.help)
        return NodeFate(name, node.op_type, Fate.IMPORTED)

    def _read(self, node: onnx.NodeProto, tensor: str) -> Entry | None:
        if tensor not in self.entries:
            raise ModelError(
                f"node {node.name!r} ({node.op_type}) reads {tensor!r}, which nothing before it gives"
            )
        return self.entries[tensor]

    def _unique_name(self, node: onnx.NodeProto) -> str:
        first = next(filter(None, node.output), "nothing")
        base = node.name or f"{node.op_type}_{first}"
        name, number = base, 1
        while name in self.names:
            number += 1
            name = f"{base}.{number}"
        self.names.add(name)
        return name

    def _lower(self, node: onnx.NodeProto, name: str, live: frozenset[str]) -> None:
        table = handlers()
        if node.domain not in DEFAULT_DOMAINS:
            raise Rejected(f"operator {node.op_type} of domain {node.domain!r} is not supported")
        if node.op_type not in table:
            raise Rejected(
                f"operator {node.op_type} is not supported", help=did_you_mean(node.op_type, table)
            )
        inputs = [self.entries[tensor] if tensor else None for tensor in node.input]
        context = NodeContext(self.graph, node, name, self.opset, inputs)
        result = table[node.op_type](context)
        results = [result] if isinstance(result, Value | np.ndarray) else list(result)
        for index, tensor in enumerate(node.output):
            if index >= len(results):
                if tensor in live:
                    raise Rejected(
                        f"its output {index} ({tensor!r}) is used, and only the first {len(results)} can be"
                    )
                continue
            entry = results[index]
            if isinstance(entry, Value) and entry.name is None:
                entry.name = tensor
            self.entries[tensor] = entry

    def _add_outputs(self) -> None:
        for info in self.source.output:
            if info.name not in self.entries:
                raise ModelError(f"nothing gives the graph output {info.name!r}")
            entry = self.entries[info.name]
            assert entry is not None
            if not isinstance(entry, Value):
                entry = self.graph.constant_value(entry, info.name)
            self.graph.add_output(entry, info.name)


def live_tensors(graph: onnx.GraphProto) -> frozenset[str]:
    """Return the tensors that an output of the graph depends on."""
    live = {info.name for info in graph.output}
    for node in reversed(graph.node):
        if any(output in live for output in node.output):
            live.update(read_tensors(node))
    live.discard("")
    return frozenset(live)


def read_tensors(node: onnx.NodeProto) -> set[str]:
    """Return what a node reads, including what its subgraphs capture from outside."""
    read = set(node.input)
    for attribute in node.attribute:
        subgraphs: Sequence[onnx.GraphProto] = [attribute.g, *attribute.graphs]
        for inner in (inner for graph in subgraphs for inner in graph.node):
            read |= read_tensors(inner)
    return read


def remove_dead_nodes(graph: Graph) -> None:
    """Erase the nodes whose results nothing reads, and the tensors only they used."""
    for node in reversed(list(graph)):
        if not node.result.users and not graph.is_output(node.result):
            graph.erase(node)
    graph.drop_unused_tensors()

"""The walk over the ONNX nodes: every one is imported, unused or rejected, and none is forgotten."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum
from functools import cache
from typing import TYPE_CHECKING

import numpy as np
import onnx

from snnc.frontend.budget import Budget
from snnc.frontend.context import NodeContext, RejectedError, to_supported
from snnc.frontend.handlers import CONTRIB_DOMAIN, contrib_handlers, handlers, spiking
from snnc.frontend.loader import DEFAULT_DOMAINS, NEWEST_OPSET
from snnc.frontend.metadata import decode_of
from snnc.frontend.weights import NonFinite
from snnc.ir.errors import ModelError, ShapeError, SnncError, did_you_mean
from snnc.ir.graph import Graph, Value
from snnc.ir.types import DTYPE_NAMES

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from snnc.frontend.batch import SymbolicBatch
    from snnc.frontend.context import Entry, Handler
    from snnc.frontend.loader import Source
    from snnc.ir.types import TensorType

# What numpy raises where a model's operands do not fit its operator.
_MISFITS = (ValueError, IndexError, KeyError, TypeError, ArithmeticError, MemoryError, RuntimeError)


class Fate(Enum):
    """What became of an ONNX node at import."""

    IMPORTED = "imported"
    UNUSED = "unused"
    REJECTED = "rejected"
    BLOCKED = "depends on rejected"


@dataclass(frozen=True, slots=True)
class NodeFate:
    """One ONNX node and what became of it; `reason` and `help` say why and what to do if it was rejected."""

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
    """The graph (incomplete if a node was rejected) and the fate of every node of the model, in order.

    `opset` is None for a model that is not ONNX.
    """

    graph: Graph
    opset: int | None
    fates: tuple[NodeFate, ...]

    @property
    def rejected(self) -> tuple[NodeFate, ...]:
        return tuple(fate for fate in self.fates if fate.fate is Fate.REJECTED)


class Walk:
    """One import. `entries` holds what each ONNX tensor became; None where its node could not be imported."""

    def __init__(self, source: Source, types: Mapping[str, TensorType], batch: SymbolicBatch | None) -> None:
        self.source = source
        self.batch = batch
        self.nodes = source.model.graph
        self.graph = Graph(self.nodes.name or "main")
        self.live = live_tensors(self.nodes)
        self.entries: dict[str, Entry | None] = {
            name: self.graph.add_input(name, type_) for name, type_ in types.items()
        }
        self.initializers = {tensor.name: tensor for tensor in self.nodes.initializer}
        self.sparse = {tensor.values.name for tensor in self.nodes.sparse_initializer}
        self.non_finite = NonFinite(self.nodes.node)
        self.budget = Budget()
        self.names: dict[str, int] = {}  # and the last number behind each
        self.versions = {entry.domain: entry.version for entry in source.model.opset_import}
        self.checker = onnx.checker.C.CheckerContext()
        self.checker.ir_version = source.model.ir_version
        self.checker.opset_imports = dict.fromkeys(DEFAULT_DOMAINS, source.opset)

    def run(self) -> Imported:
        fates = tuple(self._import_node(node) for node in self.nodes.node)
        self.non_finite.refuse()
        if not any(fate.fate is Fate.REJECTED for fate in fates):
            for info in self.nodes.output:
                self._add_output(info.name)
            remove_dead_nodes(self.graph)
        return Imported(self.graph, self.source.opset, fates)

    def _import_node(self, node: onnx.NodeProto) -> NodeFate:
        name = self._unique_name(node)
        self._declare_outputs(node)
        if not any(output in self.live for output in node.output):
            return NodeFate(name, node.op_type, Fate.UNUSED)
        try:
            handler = find_handler(node, self.source.opset, self.versions)
            self._check_schema(node)
            inputs = [self._read(tensor) if tensor else None for tensor in node.input]
            if any(tensor and entry is None for tensor, entry in zip(node.input, inputs, strict=True)):
                return NodeFate(name, node.op_type, Fate.BLOCKED)
            refuse_truths(node, self.source.opset, inputs)
            self._lower(node, name, handler, inputs)
        except ModelError:
            raise
        except SnncError as refusal:
            return NodeFate(name, node.op_type, Fate.REJECTED, refusal.message, refusal.help)
        except _MISFITS as misfit:
            reason = f"its operands or attributes do not fit ({misfit})"
            return NodeFate(name, node.op_type, Fate.REJECTED, reason)
        return NodeFate(name, node.op_type, Fate.IMPORTED)

    def _check_schema(self, node: onnx.NodeProto) -> None:
        """Refuse a node that has not the operands and attributes of its operator."""
        if node.domain not in DEFAULT_DOMAINS:
            return  # the checker knows the standard's operators only; the handler looks at its own
        if deprecated(node.op_type, self.source.opset):
            return  # the checker refuses it for that alone; GroupNormalization was, to be corrected later
        try:
            onnx.checker.check_node(node, self.checker)
        except onnx.checker.ValidationError as problem:
            raise RejectedError(f"it is not a valid ONNX node: {str(problem).splitlines()[0]}") from None

    def _unique_name(self, node: onnx.NodeProto) -> str:
        base = node.name or f"{node.op_type}_{next(filter(None, node.output), 'nothing')}"
        name = base
        while name in self.names:
            self.names[base] += 1
            name = f"{base}.{self.names[base]}"
        self.names[name] = 1
        return name

    def _declare_outputs(self, node: onnx.NodeProto) -> None:
        for tensor in filter(None, node.output):
            if tensor in self.entries or tensor in self.initializers:
                raise ModelError(
                    f"tensor {tensor!r} is given twice, the second time by a {node.op_type} node"
                )
            if tensor in node.input:
                raise ModelError(f"a {node.op_type} node reads its own result {tensor!r}")
            self.entries[tensor] = None

    def _read(self, tensor: str) -> Entry | None:
        """Return what a tensor became; weights are read when they are first needed."""
        if tensor not in self.entries:
            self.entries[tensor] = self._initializer(tensor)
        return self.entries[tensor]

    def _initializer(self, tensor: str) -> Entry:
        if tensor in self.sparse:
            raise RejectedError(f"its input {tensor!r} is a sparse tensor", help="export dense weights")
        if tensor not in self.initializers:
            raise ModelError(f"tensor {tensor!r} is read before anything gives it")
        array = self.source.reader.array(self.initializers[tensor])
        self.budget.read += array.nbytes
        self.non_finite.check(tensor, array)
        return array

    def _lower(
        self, node: onnx.NodeProto, name: str, handler: Handler, inputs: Sequence[Entry | None]
    ) -> None:
        if self.batch is not None:
            inputs = self.batch.generalise(self.graph, node, name, inputs)
        with np.errstate(all="ignore"):  # constants of no sense; what is not finite is refused later
            result = handler(
                NodeContext(self.graph, node, name, self.source.opset, inputs, budget=self.budget)
            )
        results = [result] if isinstance(result, Value | np.ndarray) else list(result)
        for index, tensor in enumerate(node.output):
            if index < len(results):
                self._bind(node, tensor, results[index])
            elif tensor in self.live:
                raise RejectedError(f"its output {tensor!r} is used; only the first {len(results)} can be")

    def _bind(self, node: onnx.NodeProto, tensor: str, entry: Entry) -> None:
        if isinstance(entry, Value):
            entry.name = entry.name or tensor
        else:
            entry = to_supported(entry)
            if node.op_type == "Constant":
                self.non_finite.check(tensor, entry)
        if tensor:
            self.entries[tensor] = entry

    def _add_output(self, name: str) -> None:
        entry = self._read(name)
        assert entry is not None
        if isinstance(entry, Value):
            self.graph.add_output(entry, name, decode_of(self.source.model))
        elif entry.dtype in DTYPE_NAMES:
            self.graph.add_output(self.graph.constant_value(entry, name), name)
        else:
            raise ShapeError(
                f"the output {name!r} is a shape that depends on the batch size, not data",
                help="remove this output from the model",
            )


def refuse_truths(node: onnx.NodeProto, opset: int, inputs: Sequence[Entry | None]) -> None:
    """Refuse truth values for an operator that computes with numbers; numpy takes some of them."""
    if node.domain not in DEFAULT_DOMAINS:
        return
    for place, entry in enumerate(inputs):
        if entry is not None and NodeContext.is_bool(entry) and not takes_truths(node.op_type, opset, place):
            raise RejectedError(f"its input {node.input[place]!r} holds truths; {node.op_type} takes numbers")


@cache
def takes_truths(op_type: str, opset: int, place: int) -> bool:
    """Tell whether the standard allows truth values for an operand."""
    try:
        operands = onnx.defs.get_schema(op_type, opset).inputs
    except onnx.defs.SchemaError:
        return True  # the handler was written for an operator that is newer
    return "tensor(bool)" in operands[min(place, len(operands) - 1)].types


def find_handler(node: onnx.NodeProto, opset: int, versions: Mapping[str, int]) -> Handler:
    """Return the handler of a node, or refuse the operator; `versions` are those of other domains."""
    if node.domain == spiking.DOMAIN:
        return find_spiking_handler(node, versions.get(node.domain, 0))
    if node.domain == CONTRIB_DOMAIN:
        return find_contrib_handler(node)
    if node.domain not in DEFAULT_DOMAINS:
        raise RejectedError(
            f"operators of domain {node.domain!r} are not supported",
            help=f"use those of the ONNX standard, of {spiking.DOMAIN} and some of {CONTRIB_DOMAIN}",
        )
    table = handlers()
    if node.op_type not in table:
        raise RejectedError(f"operator {node.op_type} is not supported", help=_advice(node.op_type, table))
    if not definition_known(node.op_type, opset):
        raise RejectedError(
            f"opset {opset} changed {node.op_type}; definitions up to opset {NEWEST_OPSET} are known",
            help=f"export the model with opset {NEWEST_OPSET}",
        )
    return table[node.op_type]


def find_spiking_handler(node: onnx.NodeProto, version: int) -> Handler:
    if version != spiking.VERSION:
        raise RejectedError(
            f"version {version} of domain {spiking.DOMAIN} is not known",
            help=f"export the model with version {spiking.VERSION}",
        )
    if node.op_type not in spiking.HANDLERS:
        raise RejectedError(
            f"domain {spiking.DOMAIN} has no operator {node.op_type}",
            help=did_you_mean(node.op_type, spiking.HANDLERS),
        )
    return spiking.HANDLERS[node.op_type]


def find_contrib_handler(node: onnx.NodeProto) -> Handler:
    table = contrib_handlers()
    if node.op_type in table:
        return table[node.op_type]
    known = did_you_mean(node.op_type, table)
    raise RejectedError(
        f"operator {node.op_type} of domain {CONTRIB_DOMAIN} is not supported",
        help=known
        if known.startswith("did you")
        else "snnc ops --onnx lists what is; optimise the model less",
    )


def _advice(op_type: str, table: Iterable[str]) -> str:
    if op_type in ("If", "Loop", "Scan"):
        return "control flow cannot become a network; export the model for fixed sizes so that it unrolls"
    if op_type in ("LSTM", "GRU", "RNN"):
        return "recurrent layers are not supported"
    suggestion = did_you_mean(op_type, table)
    return suggestion if suggestion.startswith("did you") else "snnc ops --onnx lists what is"


@cache
def deprecated(op_type: str, opset: int) -> bool:
    """Tell whether this opset's definition of an operator was withdrawn."""
    try:
        return bool(onnx.defs.get_schema(op_type, opset).deprecated)
    except onnx.defs.SchemaError:
        return False


@cache
def definition_known(op_type: str, opset: int) -> bool:
    """Tell whether an operator of a newer opset takes the same operands and attributes as the known one."""
    if opset <= NEWEST_OPSET:
        return True
    try:
        known = onnx.defs.get_schema(op_type, NEWEST_OPSET)
        given = onnx.defs.get_schema(op_type, opset)
    except onnx.defs.SchemaError:
        return True  # the handler was written for an operator that is newer as a whole, or is gone
    return _interface(known) == _interface(given)


def _interface(schema: onnx.defs.OpSchema) -> tuple[object, ...]:
    return (
        [(item.name, item.option) for item in (*schema.inputs, *schema.outputs)],
        sorted((name, str(item.default_value), item.required) for name, item in schema.attributes.items()),
    )


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
        for graph in (attribute.g, *attribute.graphs):
            read = read.union(*(read_tensors(inner) for inner in graph.node))
    return read


def remove_dead_nodes(graph: Graph) -> None:
    """Erase the nodes whose results nothing reads, and the tensors only they used."""
    outputs = {output.value for output in graph.outputs}
    for node in reversed(list(graph)):
        if not node.result.users and node.result not in outputs:
            graph.erase(node)
    graph.drop_unused_tensors()

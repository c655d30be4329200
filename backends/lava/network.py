"""The description of a partitioned network: what network.json and weights.npz hold."""

from __future__ import annotations

import dataclasses
import math
import re
from typing import TYPE_CHECKING, Any

import numpy as np

from snnc.backends.lava.refusals import MOST_PORTS, describe, is_whole
from snnc.ir.codebooks import Codebook, PowerOfTwo
from snnc.ir.errors import BackendError
from snnc.ir.ops.neuron import whole_start
from snnc.ir.shapes import Batch, batch_axis, concrete, fill_batch

if TYPE_CHECKING:
    from collections.abc import Sequence

    from snnc.backends.lava.partition import Partition, Piece
    from snnc.ir.graph import Graph, Node, Output, Value
    from snnc.ir.kernel_types import Array

FORMAT = 1


class Describer:
    """Writes a partition as plain data. `weights` collects the arrays; every shape is that of one sample."""

    def __init__(self, graph: Graph, partition: Partition) -> None:
        self.graph = graph
        self.partition = partition
        self.weights: dict[str, Array] = {}
        self.names: dict[Value, str] = {}
        for number, value in enumerate(partition.sources):
            self.names[value] = f"source{number}"
        for piece in partition.layers:
            self.names[piece.sends] = self._fresh(piece.nodes[-1])

    def network(self, steps: int) -> dict[str, Any]:
        """Return what network.json holds."""
        return {
            "format": FORMAT,
            "name": self.graph.name,
            "steps": steps,
            "inputs": [self.input(value) for value in self.graph.inputs],
            "front": self.front(),
            "layers": [self.layer(piece) for piece in self.partition.layers],
            "sinks": [
                {
                    "from": self.names[value],
                    "depth": self.partition.depths[value],
                    "shape": self.shape(value),
                }
                for value in self.partition.sinks
            ],
            "tail": self.tail(),
        }

    def _fresh(self, node: Node) -> str:
        """Return a name for a layer that is a file name and nobody else's."""
        site = node.attributes.get("site")
        given = str(site) if site else (node.origin[-1] if node.origin else node.full_name)
        base = re.sub(r"[^A-Za-z0-9_.-]", "_", given).strip(".") or "layer"
        name, number = base, 1
        while name in self.names.values():
            number += 1
            name = f"{base}.{number}"
        return name

    @staticmethod
    def shape(value: Value) -> list[int]:
        return list(concrete(value.type.shape, 1))

    def input(self, value: Value) -> dict[str, Any]:
        axis = batch_axis(value.type.shape)
        dim = None if axis is None else value.type.shape[axis]
        count = dim.coefficient if isinstance(dim, Batch) else 1
        return {"name": value.name, "shape": self.shape(value), "axis": axis, "coefficient": count}

    def front(self) -> dict[str, Any]:
        values = list(self.graph.inputs)
        program = self.program(self.partition.front, values, chip=False)
        sends = [
            {"name": self.names[value], "value": values.index(value), "dtype": dtype_of(value)}
            for value in self.partition.sources
        ]
        return {"program": program, "sends": sends}

    def layer(self, piece: Piece) -> dict[str, Any]:
        if len(piece.reads) > MOST_PORTS:
            raise BackendError(
                f"{describe(piece.nodes[-1])} reads {len(piece.reads)} streams; "
                f"a Lava process has {MOST_PORTS} ports at most"
            )
        values = list(piece.reads)
        return {
            "name": self.names[piece.sends],
            "kind": "chip" if piece.chip else "host",
            "depth": piece.depth,
            "inputs": [
                {
                    "from": self.names[value],
                    "delay": self.partition.delay(piece, value),
                    "shape": self.shape(value),
                }
                for value in piece.reads
            ],
            "shape": self.shape(piece.sends),
            "dtype": dtype_of(piece.sends),
            "operations": sum(map(operations, piece.nodes)),
            "program": self.program(piece.nodes, values, chip=piece.chip),
        }

    def tail(self) -> dict[str, Any]:
        values = list(self.partition.sinks)
        program = self.program(self.partition.tail, values, chip=False)
        return {
            "inputs": [self.names[value] for value in self.partition.sinks],
            "program": program,
            "outputs": [self.output(output, values) for output in self.graph.outputs],
        }

    def output(self, output: Output, values: Sequence[Value]) -> dict[str, Any]:
        return {
            "name": output.name,
            "value": values.index(output.value),
            "decode": output.decode,
            "axis": batch_axis(output.value.type.shape),
        }

    def program(self, nodes: Sequence[Node], values: list[Value], *, chip: bool) -> list[dict[str, Any]]:
        """Return the operations of the nodes; their results join `values`."""
        program = []
        for node in nodes:
            program.append(
                {
                    "op": node.op.name,
                    "expect": node.expect,
                    "operands": [values.index(operand) for operand in node.operands],
                    "moving": [i for i, v in enumerate(node.operands) if not self.is_constant(v)],
                    "shape": self.shape(node.result),
                    "attributes": self.attributes(node, chip=chip),
                }
            )
            values.append(node.result)
        return program

    def is_constant(self, value: Value) -> bool:
        return value.node is not None and value.node.op.name == "constant"

    def attributes(self, node: Node, *, chip: bool) -> dict[str, Any]:
        resolved = fill_batch(self.graph.resolve(node), 1)
        if chip and node.op.name == "neuron":
            resolved = {**resolved, "start": whole_start(resolved).astype(np.int32)}
            codebook = resolved["codebook"]
            if isinstance(codebook, PowerOfTwo):
                resolved["members"] = np.array(codebook.members, np.int32)
        return {name: self.plain(name, value, node) for name, value in resolved.items()}

    def plain(self, name: str, value: Any, node: Node) -> Any:
        """Return an attribute as JSON has it; arrays go to the weights."""
        if isinstance(value, np.ndarray):
            key = self.key(name, value, node)
            self.weights[key] = value
            return {"tensor": key}
        if isinstance(value, Codebook):
            return {"name": value.name, **dataclasses.asdict(value)}
        return list(value) if isinstance(value, tuple) else value

    def key(self, name: str, array: Array, node: Node) -> str:
        """Return the array's name: that of the graph's tensor, or the layer's for a computed one."""
        given = node.attributes.get(name)
        base = re.sub(r"[^A-Za-z0-9_.-]", "_", getattr(given, "name", f"{describe(node)}.{name}"))
        key, number = base, 1
        while key in self.weights and self.weights[key] is not array:
            number += 1
            key = f"{base}.{number}"
        return key


def dtype_of(value: Value) -> str:
    """Return what a stream is sent as."""
    return "int32" if is_whole(value.type) else "float64"


def operations(node: Node) -> int:
    """Return the multiplications that a synapse's step takes, all inputs counted."""
    weight = node.graph.resolve(node).get("weight") if node.graph is not None else None
    if weight is None or not node.op.synaptic:
        return 0
    outputs = math.prod(concrete(node.result.type.shape, 1))
    features = len(weight) if node.op.name != "conv_transpose" else weight.shape[1]
    return int(outputs * weight.size // max(features, 1))

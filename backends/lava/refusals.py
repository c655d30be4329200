"""What the Lava backend cannot express, said node by node before anything is written."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from snnc.backends.outputs import check_outputs
from snnc.ir.errors import BackendError
from snnc.ir.op import Role
from snnc.ir.ops.neuron import TAKES_BACK
from snnc.ir.types import SpikeType, TensorType

if TYPE_CHECKING:
    from snnc.ir.graph import Graph, Node
    from snnc.ir.types import Type

TO_INTEGERS = "compile with --target loihi2: weights, thresholds and currents become integers"
MOST_PORTS = 16  # runtime/processes/layer.py, MAX_PORTS


def is_whole(type_: Type) -> bool:
    """Tell whether a stream carries whole numbers that the chip computes with."""
    return isinstance(type_, SpikeType) or type_.dtype == "i32"


def describe(node: Node) -> str:
    return f"{node.full_name} {', '.join(node.origin) or node.result.name or ''}".rstrip()


def refuse_what_lava_lacks(graph: Graph) -> None:
    """Raise `BackendError` naming every node that is not for integer hardware."""
    if graph.coding != "rate":
        raise BackendError(
            f"the Lava backend runs networks in rate coding, not in {graph.coding} coding",
            help="compile with --coding rate",
        )
    check_outputs(graph)
    problems = [f"{describe(node)}: {why}" for node in graph if (why := problem(graph, node))]
    if problems:
        listed = "\n".join(f"  - {text}" for text in problems[:20])
        more = f"\n  and {len(problems) - 20} more" if len(problems) > 20 else ""
        raise BackendError(
            f"{len(problems)} nodes of the network cannot run in Lava:\n{listed}{more}", help=TO_INTEGERS
        )


def problem(graph: Graph, node: Node) -> str | None:
    """Return why a node cannot run, or None."""
    types = [operand.type for operand in node.operands]
    if any(isinstance(type_, SpikeType) and type_.scaled for type_ in (*types, node.result.type)):
        return "its spikes have a scale"
    attributes = graph.resolve(node)
    if node.op.synaptic and "weight" in attributes and attributes["weight"].dtype.kind == "f":
        return "it has real weights"
    if node.op.neuron:
        return neuron_problem(node, attributes)
    if is_whole(node.result.type):
        return None if computes_whole(node) else "it does not map integers to integers"
    return None  # a host node


def neuron_problem(node: Node, attributes: dict[str, Any]) -> str | None:
    if attributes.get("bounds") == "sum":
        return f"{TAKES_BACK}; compile with another method"
    reads, name = node.operands[0].type, "quantum" if node.op.name == "neuron" else "threshold"
    if isinstance(reads, TensorType) and reads.is_real:
        return None  # an encoder
    quantum = attributes[name]
    if quantum is None:
        return "it has no threshold yet"
    if quantum.dtype.kind == "f":
        return f"it has a real {name}"
    return None


def computes_whole(node: Node) -> bool:
    """Tell whether an op of whole numbers gives whole numbers."""
    if node.expect:
        return node.op.homogeneous
    return node.op.role in (Role.LINEAR, Role.MULTILINEAR, Role.STATEFUL) or node.op.homogeneous

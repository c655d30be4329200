"""The graph as boxes: what computes is drawn, what only moves or scales one stream is an arrow."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from snnc.energy import has_spikes
from snnc.ir.op import Role
from snnc.ir.shapes import per_sample
from snnc.operations import is_product

if TYPE_CHECKING:
    from snnc.ir.graph import Graph, Node, Value
    from snnc.ir.shapes import Shape

KINDS = {
    "ends": "input or output",
    "spikes": "reads spikes",
    "analog": "multiplies a real stream",
    "expect": "expectation node",
    "neurons": "neurons on their own",
    "other": "adds, pools or joins streams",
}


@dataclass(eq=False, slots=True)
class Box:
    """One box: `title` names the op, `shape` the result of one sample; neurons behind it belong to it."""

    kind: str
    title: str
    shape: str
    nodes: list[Node] = field(default_factory=list)
    neurons: int = 0
    codebook: str = ""

    @property
    def names(self) -> str:
        """Return the source nodes it stands for."""
        return ", ".join(dict.fromkeys(name for node in self.nodes for name in node.origin))


@dataclass(frozen=True, slots=True)
class Diagram:
    """Boxes in execution order and the arrows between them."""

    boxes: list[Box]
    arrows: list[tuple[Box, Box]]


def diagram(graph: Graph) -> Diagram:
    """Return the boxes of a graph."""
    made_by: dict[Value, Box | None] = {}
    boxes: list[Box] = []
    arrows: dict[tuple[Box, Box], None] = {}

    def draw(box: Box, operands: list[Value]) -> Box:
        boxes.append(box)
        arrows.update({(source, box): None for value in operands if (source := made_by[value]) is not None})
        return box

    for value in graph.inputs:
        made_by[value] = draw(Box("ends", f"input {value.name or ''}", show_sample(value.type.shape)), [])
    drawn_reads = count_reads(graph)
    for node in graph:
        streams = [operand for operand in node.operands if made_by[operand] is not None]
        source = made_by[streams[0]] if len(streams) == 1 else None
        if node.op.name == "constant" or not streams:
            made_by[node.result] = None
        elif hidden(node, len(streams)):
            made_by[node.result] = source
        elif (
            node.op.neuron
            and source is not None
            and drawn_reads[node.operands[0]] == 1
            and (source.kind != "ends" and not source.neurons)
        ):
            made_by[node.result] = add_neurons(source, node)
        else:
            made_by[node.result] = draw(box_of(node), streams)
    for output in graph.outputs:
        draw(Box("ends", f"output {output.name}", show_sample(output.value.type.shape)), [output.value])
    return Diagram(boxes, list(arrows))


def count_reads(graph: Graph) -> dict[Value, int]:
    """Return, per stream, how many readers the stream it is a moved copy of has, copies read through."""
    root: dict[Value, Value] = {value: value for value in graph.inputs}
    reads: dict[Value, int] = dict.fromkeys(graph.inputs, 0)
    for node in graph:
        streams = [value for value in node.operands if graph.constant(value) is None]
        if streams and hidden(node, len(streams)):
            root[node.result] = root[streams[0]]
            continue
        root[node.result] = node.result
        reads[node.result] = 0
        for value in streams:
            reads[root[value]] += 1
    for output in graph.outputs:
        reads[root[output.value]] += 1
    return {value: reads[origin] for value, origin in root.items()}


def hidden(node: Node, streams: int) -> bool:
    """Tell whether a node is drawn as part of an arrow: it moves, scales or shifts one stream."""
    if streams != 1 or node.expect or node.op.synaptic or node.op.fan_out is not None:
        return False
    moves = node.op.role is Role.LINEAR and node.op.cost == 0
    return moves or node.op.name in ("add", "sub", "mul", "div")


def add_neurons(box: Box, node: Node) -> Box:
    box.nodes.append(node)
    box.neurons = per_sample(node.operands[0].type.shape)
    box.codebook = str(getattr(node.result.type, "payload", ""))
    return box


def box_of(node: Node) -> Box:
    shape = show_sample(node.result.type.shape)
    if node.op.neuron:
        return add_neurons(Box("neurons", "neurons", shape), node)
    return Box(kind_of(node), title_of(node), shape, [node])


def kind_of(node: Node) -> str:
    if is_product(node) or node.op.synaptic:
        return "spikes" if has_spikes(node) else "analog"
    return "expect" if node.expect else "other"


def title_of(node: Node) -> str:
    """Return the op with what tells it from others of its kind: kernel, stride, groups."""
    if is_product(node):
        return f"{node.op.name} of streams"
    parts = [node.op.name.replace("_", " ")]
    kernel = node.attributes.get("kernel") or weight_window(node)
    if isinstance(kernel, tuple) and kernel:
        parts.append("×".join(str(size) for size in kernel))
    strides = node.attributes.get("strides")
    if isinstance(strides, tuple) and any(step != 1 for step in strides):
        parts.append(f"/{strides[0]}")
    group = node.attributes.get("group")
    if isinstance(group, int) and group > 1:
        parts.append(f"{group} groups")
    return " ".join(parts)


def weight_window(node: Node) -> tuple[int, ...]:
    """Return a convolution's kernel, read from its weight."""
    if node.op.name not in ("conv", "conv_transpose") or node.graph is None:
        return ()
    return tuple(node.graph.resolve(node)["weight"].shape[2:])


def show_sample(shape: Shape) -> str:
    """Return the shape of one sample: 64 × 8 × 8."""
    dims = [dim for dim in shape if isinstance(dim, int)]
    return " × ".join(map(str, dims)) or "1"

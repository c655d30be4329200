"""`normalise-thresholds`: neurons send plain integers; scales and quanta live in the weights."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np

from snnc.ir.shapes import Batch, concrete, fill_batch, static_dim
from snnc.ir.types import SpikeType
from snnc.passes.analysis import pools_spikes
from snnc.passes.base import Pass, PassContext, Preserves
from snnc.passes.fuse_batch_norm import scale_outputs
from snnc.passes.rewriter import Rewriter, rewrite

if TYPE_CHECKING:
    from snnc.ir.graph import Graph, Node, Value
    from snnc.ir.kernel_types import Array
    from snnc.ir.shapes import Shape
    from snnc.passes.rewriter import Pattern


@dataclass(frozen=True)
class NormaliseThresholds(Pass):
    """Fold every output scale into the following synapse, and every quantum into the preceding one.

    W' = W q_in / q_out, b' = b / q_out: ECMT's parallel parameter normalisation, derived by algebra (absent
    from its public code). A scale that meets no synapse stays behind as an explicit `mul`. fold_quanta=false
    leaves the quanta in the neurons. What negative payloads count relative to positive ones (`negative`) is
    no factor of the whole stream: it stays in the neuron.
    """

    name: ClassVar[str] = "normalise-thresholds"
    preserves: ClassVar[Preserves | None] = Preserves.ROUNDING
    fold_quanta: bool = True

    def run(self, graph: Graph, context: PassContext) -> bool:
        patterns: dict[str, tuple[Pattern, ...]] = {
            "linear": (into_synapse,),
            "conv": (into_synapse,),
            "conv_transpose": (into_synapse,),
            "matmul": (through_matmul,),
            "max_pool": (through_pooling,),
            "avg_pool": (through_pooling,),
            "reduce_mean": (through_reduction,),
            "reduce_sum": (through_reduction,),
            "mul": (merge_factors,),
        }
        patterns |= dict.fromkeys(MOVEMENT, (through_movement,))
        patterns["neuron"] = (release_scale, fold_quantum) if self.fold_quanta else (release_scale,)
        return rewrite(graph, patterns, context, self.name)


MOVEMENT = (
    "reshape", "transpose", "concat", "slice", "gather", "expand", "tile", "pad", "depth_to_space",
    "space_to_depth",
)  # fmt: skip


def release_scale(node: Node, rewriter: Rewriter) -> bool:
    """neuron{scale = s} -> mul(neuron{}, s)"""
    scale = rewriter.graph.resolve(node)["scale"]
    if scale is None:
        return False
    plain = rewriter.insert(node, "neuron", node.operands, {**node.attributes, "scale": None})
    assert plain.node is not None
    rewriter.graph.set_origin(plain.node, node.origin)
    value = rewriter.insert(node, "mul", [plain, rewriter.constant(node, scale, "scale")])
    rewriter.replace(node, value)
    return True


def fold_quantum(node: Node, rewriter: Rewriter) -> bool:
    """neuron{q}(linear{W, b}(x)) -> neuron{1}(linear{W/q, b/q}(x))"""
    graph = rewriter.graph
    given = graph.resolve(node)
    quantum, producer = given["quantum"], node.operands[0].node
    if quantum is None or (quantum == 1).all():
        return False
    if producer is None or producer.op.name not in ("linear", "conv", "conv_transpose"):
        return rewriter.decline(node, "no synapse directly before it takes its quantum")
    if len(producer.result.users) > 1 or graph.is_output(producer.result):
        return rewriter.decline(node, "the synapse before it is read elsewhere too")
    axis = len(node.result.type.shape) - 1 if producer.op.name == "linear" else 1
    factor = along(quantum, axis)
    if factor is None:
        return rewriter.decline(node, "its quantum varies along another axis than the synapse's outputs")
    synapse = graph.resolve(producer)
    outputs = static_dim(node.result.type.shape[axis], "the channel axis")
    inverse = np.broadcast_to(1 / factor.astype(np.float64), (outputs,))
    attributes: dict[str, Any] = {
        **producer.attributes, "weight": scale_outputs(producer, synapse, inverse).astype(np.float32)
    }  # fmt: skip
    if synapse["bias"] is not None:
        attributes["bias"] = (synapse["bias"] * inverse).astype(np.float32)
    current = rewriter.insert(producer, producer.op.name, producer.operands, attributes)
    assert current.node is not None
    graph.set_origin(current.node, producer.origin)
    bias = None if given["bias"] is None else (given["bias"] / quantum).astype(np.float32)
    unit = given["unit"]
    changes = {"quantum": np.ones([1] * quantum.ndim, np.float32), "bias": bias, "unit": unit}
    neuron = rewriter.insert(node, "neuron", [current], {**node.attributes, **changes})
    rewriter.replace(node, neuron)
    return True


def scaled_spikes(value: Value, graph: Graph) -> tuple[Value, Array] | None:
    """Return x and s if the value is mul(x, s) with spikes x and a constant s of full rank.

    Means of spikes, too, that synapses read as they are (insert-neurons{pooled=current}).
    """
    node = value.node
    if node is None or node.op.name != "mul" or node.expect:
        return None
    x, factor = node.operands
    constant = graph.constant(factor)
    if constant is None or constant.ndim != len(x.type.shape):
        return None
    return (x, constant) if isinstance(x.type, SpikeType) or is_pooled_current(x, node) else None


def is_pooled_current(x: Value, scaled: Node) -> bool:
    """Tell whether x pools spikes and only synapses read its scaled copy, directly or flattened."""
    readers = list(scaled.result.users)
    for reader in readers:
        if reader.op.name == "reshape":
            readers += reader.result.users
        elif not reader.op.synaptic:
            return False
    return pools_spikes(x)


def along(array: Array, axis: int) -> Array | None:
    """Return the array as a vector along one axis, or None if it varies along another."""
    others = [size for index, size in enumerate(array.shape) if index != axis]
    return array.reshape(-1) if all(size == 1 for size in others) else None


def into_synapse(node: Node, rewriter: Rewriter) -> bool:
    """linear{W}(mul(x, s)) -> linear{W s}(x), s along the input channels"""
    found = scaled_spikes(node.operands[0], rewriter.graph)
    if found is None:
        return False
    x, scale = found
    axis = len(x.type.shape) - 1 if node.op.name == "linear" else 1
    factor = along(scale, axis)
    if factor is None:
        return rewriter.decline(node, "the scale before it varies along another axis than its inputs")
    given = rewriter.graph.resolve(node)
    channels = static_dim(x.type.shape[axis], "the channel axis")
    weight = scale_inputs(node, given, np.broadcast_to(factor, (channels,)))
    value = rewriter.insert(node, node.op.name, [x], {**node.attributes, "weight": weight})
    rewriter.replace(node, value)
    return True


def scale_inputs(node: Node, attributes: dict[str, Any], factor: Array) -> Array:
    """Return a synapse's weight with every input channel multiplied by its factor, in C order.

    A file holds weights in C order; any other would be copied when it is saved.
    """
    weight: Array = attributes["weight"]
    kernel = [1] * (weight.ndim - 2)
    if node.op.name == "conv_transpose":
        return np.multiply(weight, factor.reshape(-1, 1, *kernel), order="C")
    group = attributes.get("group", 1)
    outputs, inputs = weight.shape[0], weight.shape[1]
    grouped = weight.reshape(group, outputs // group, *weight.shape[1:])
    scaled = np.multiply(grouped, factor.reshape(group, 1, inputs, *kernel), order="C")
    return np.asarray(scaled.reshape(weight.shape))


def through_matmul(node: Node, rewriter: Rewriter) -> bool:
    """matmul(mul(a, s), b) -> mul(matmul(a, b), s), s constant along the contracted axis"""
    for position, operand in enumerate(node.operands):
        found = scaled_spikes(operand, rewriter.graph)
        if found is None:
            continue
        x, scale = found
        rank = scale.ndim
        contracted = rank - 1 if position == 0 else rank - 2
        if rank < 2 or scale.shape[contracted] != 1:
            rewriter.decline(node, "a scale varies along the contracted axis")
            continue
        operands = list(node.operands)
        operands[position] = x
        product = rewriter.insert(node, "matmul", operands, node.attributes, expect=node.expect)
        assert product.node is not None
        rewriter.graph.set_origin(product.node, node.origin)
        full = scale.reshape([1] * (len(product.type.shape) - rank) + list(scale.shape))
        value = rewriter.insert(node, "mul", [product, rewriter.constant(node, full, "scale")])
        rewriter.replace(node, value)
        return True
    return False


def through_pooling(node: Node, rewriter: Rewriter) -> bool:
    """pool(mul(x, s)) -> mul(pool(x), s), s > 0 and the same at every position"""
    found = scaled_spikes(node.operands[0], rewriter.graph)
    if found is None:
        return False
    x, scale = found
    if any(size != 1 for size in scale.shape[2:]):
        return rewriter.decline(node, "the scale before it varies over positions")
    if node.op.homogeneous and (scale <= 0).any():
        return rewriter.decline(node, "the scale before it is not positive")
    return move_below(node, [x], scale, rewriter)


def through_reduction(node: Node, rewriter: Rewriter) -> bool:
    """reduce(mul(x, s)) -> mul(reduce(x), s), s constant along the reduced axes"""
    found = scaled_spikes(node.operands[0], rewriter.graph)
    if found is None:
        return False
    x, scale = found
    given = rewriter.graph.resolve(node)
    rank = scale.ndim
    axes = tuple(axis % rank for axis in given["axes"]) or tuple(range(rank))
    if any(scale.shape[axis] != 1 for axis in axes):
        return rewriter.decline(node, "the scale before it varies along the reduced axes")
    reduced = scale if given["keepdims"] else np.squeeze(scale, axes)
    return move_below(node, [x], reduced, rewriter)


def through_movement(node: Node, rewriter: Rewriter) -> bool:
    """move(mul(x, s)) -> mul(move(x), move(s)): the op's own kernel moves the scale"""
    found = [scaled_spikes(operand, rewriter.graph) for operand in node.operands]
    if all(item is None for item in found):
        return False
    operands, scales = [], []
    for operand, item in zip(node.operands, found, strict=True):
        x, scale = item if item is not None else (operand, None)
        if not (isinstance(x.type, SpikeType) or pools_spikes(x)):
            return rewriter.decline(node, "not every operand is spikes")
        shape = concrete(x.type.shape, 1)
        operands.append(x)
        scales.append(np.ones(shape, np.float32) if scale is None else np.broadcast_to(scale, shape))
    attributes = fill_batch(rewriter.graph.resolve(node), 1)
    if node.op.name == "pad":
        if attributes["mode"] == "constant" and attributes["value"] != 0:
            return rewriter.decline(node, "it pads with a value that is not a spike")
        attributes["mode"] = "edge"
    assert node.op.kernel is not None
    moved = compressed(np.asarray(node.op.kernel(*scales, **attributes)), node.result.type.shape)
    if moved is None:
        return rewriter.decline(node, "the scale would vary along the batch axis")
    return move_below(node, operands, moved, rewriter)


def compressed(scale: Array, shape: Shape) -> Array | None:
    """Shrink every axis the scale does not vary on to size 1; None if it varies with the sample."""
    for axis in range(scale.ndim):
        first = scale.take([0], axis=axis)
        if (scale == first).all():
            scale = first
        elif isinstance(shape[axis], Batch):
            return None
    return scale


def merge_factors(node: Node, rewriter: Rewriter) -> bool:
    """mul(mul(x, s), c) -> mul(x, s c) for spikes x and the product of spikes"""
    graph = rewriter.graph
    inner = node.operands[0].node
    outer_factor = graph.constant(node.operands[1])
    if inner is None or inner.op.name != "mul" or inner.expect or node.expect or outer_factor is None:
        return False
    factor = graph.constant(inner.operands[1])
    if factor is None:
        return False
    rank = len(node.result.type.shape)
    product = np.asarray(factor * outer_factor)
    product = product.reshape([1] * (rank - product.ndim) + list(product.shape))
    value = rewriter.insert(node, "mul", [inner.operands[0], rewriter.constant(node, product, "scale")])
    rewriter.replace(node, value)
    return True


def move_below(node: Node, operands: list[Value], scale: Array, rewriter: Rewriter) -> bool:
    """Apply the node to unscaled operands and multiply its result by the scale instead."""
    moved = rewriter.insert(node, node.op.name, operands, node.attributes, expect=node.expect)
    assert moved.node is not None
    rewriter.graph.set_origin(moved.node, node.origin)
    value = rewriter.insert(node, "mul", [moved, rewriter.constant(node, scale, "scale")])
    rewriter.replace(node, value)
    return True

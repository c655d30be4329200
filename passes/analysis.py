"""Questions passes ask about a graph: what varies in time, what is reached, which axes are channels."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np

from snnc.ir.errors import PassError
from snnc.ir.op import Role
from snnc.ir.shapes import Batch, concrete
from snnc.ir.types import SpikeType

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from snnc.ir.graph import Graph, Node, Value
    from snnc.ir.shapes import Shape


def spikes_already(graph: Graph) -> bool:
    """Tell whether the network was trained as a spiking one: its lif nodes mean what they say."""
    return any(node.op.name == "lif" for node in graph)


def answers_by_averages(graph: Graph) -> bool:
    """Tell whether every stream's decoded value follows from those in front of it, one neuron at least."""
    if graph.coding != "rate":
        return False
    neurons = [node for node in graph if node.op.role is Role.STATEFUL]
    alike = all(node.op.name == "neuron" and graph.resolve(node)["bounds"] == "sum" for node in neurons)
    static = static_values(graph)
    return bool(neurons) and alike and all(node.expect or passes_mean(node, static) for node in graph)


def refuse_spiking(graph: Graph, pass_name: str) -> None:
    """Refuse a network that was trained as a spiking one, where a pass speaks of decoded means only."""
    if spikes_already(graph):
        raise PassError(
            f"{pass_name} is for networks that do not spike; this one has lif neurons",
            help="compile it with --method direct, which keeps them",
        )


def static_values(graph: Graph) -> set[Value]:
    """Return the values that never vary in time.

    Integer and boolean inputs (token ids, masks) are presented unchanged at every step, constants too;
    so is every pure function of them. An embedding in reals ends this: it is the network's analog input.
    """
    static = {
        value for value in graph.inputs if not isinstance(value.type, SpikeType) and not value.type.is_real
    }
    for node in graph:
        analog = node.op.name == "embedding" and node.result.type.is_real
        pure = node.op.role is not Role.STATEFUL and not analog
        if pure and all(operand in static for operand in node.operands):
            static.add(node.result)
    return static


def passes_mean(node: Node, static: set[Value]) -> bool:
    """Tell whether the node maps mean streams to mean streams exactly, as it stands."""
    moving = [index for index, operand in enumerate(node.operands) if operand not in static]
    match node.op.role:
        case Role.LINEAR | Role.STATEFUL:
            return True
        case Role.MULTILINEAR:
            return len(moving) <= 1
        case Role.NUMERATOR:
            return moving in ([], [0])
    return all(index in node.op.branches for index in moving)


def analog_values(graph: Graph) -> set[Value]:
    """Return the values a graph input reaches through no synapse and no nonlinearity.

    A first layer fed by one of these reads the analog input itself and needs no neuron in front.
    """
    static = static_values(graph)
    analog = set(graph.inputs)
    for node in graph:
        plain = not node.op.synaptic and node.op.role is not Role.STATEFUL and passes_mean(node, static)
        if plain and all(operand in analog for operand in node.operands):
            analog.add(node.result)
    return analog


def reaches_synapse(graph: Graph) -> set[Value]:
    """Return the values that a synaptic op reads, directly or through other nodes."""
    reaching: set[Value] = set()
    for node in reversed(list(graph)):
        if node.op.synaptic or node.result in reaching:
            reaching.update(node.operands)
    return reaching


def pools_spikes(value: Value) -> bool:
    """Tell whether a stream is the mean of spikes over windows, as pooling leaves it."""
    while value.node is not None and value.node.op.name == "reshape":
        value = value.node.operands[0]
    pool = value.node
    return pool is not None and pool.op.name == "avg_pool" and isinstance(pool.operands[0].type, SpikeType)


def channel_axes(graph: Graph) -> dict[Value, frozenset[int]]:
    """Return, for every value, the axes that index channels (features) rather than positions.

    A threshold may differ along these. Convolutions make channels of axis 1, linear layers and embeddings
    of the last; other ops carry axes along.
    """
    axes: dict[Value, frozenset[int]] = {}
    for value in graph.inputs:
        rank = len(value.type.shape)
        # Images have channels on axis 1, vectors features on axis 1; a sequence does not say, ids have none.
        has_channels = value.type.is_real and rank in (2, 4, 5)
        axes[value] = frozenset({1}) if has_channels else frozenset()
    for node in graph:
        found = _node_axes(node, [axes[operand] for operand in node.operands], graph)
        # An axis of N alone holds samples; one of 4N still holds four channels per sample.
        axes[node.result] = frozenset(axis for axis in found if node.result.type.shape[axis] != Batch())
    return axes


def _node_axes(node: Node, operands: list[frozenset[int]], graph: Graph) -> frozenset[int]:
    rank = len(node.result.type.shape)
    match node.op.name:
        case "conv" | "conv_transpose":
            return frozenset({1})
        case "linear" | "embedding":
            return frozenset({rank - 1})
        case "constant":
            return frozenset()
        case "transpose":
            perm = node.attributes["perm"]
            assert isinstance(perm, tuple)
            return frozenset(axis for axis, source in enumerate(perm) if source in operands[0])
        case "reshape":
            return reshaped_axes(node.operands[0].type.shape, node.result.type.shape, operands[0])
        case "matmul":
            return _matmul_axes(node, operands)
    dropped = dropped_axes(node, graph)
    if dropped:
        remaining = [axis for axis in range(len(node.operands[0].type.shape)) if axis not in dropped]
        return frozenset(new for new, old in enumerate(remaining) if old in operands[0])
    kept: set[int] = set()
    for operand, found in zip(node.operands, operands, strict=True):
        offset = rank - len(operand.type.shape)
        if offset >= 0:
            kept.update(axis + offset for axis in found)
    return frozenset(axis for axis in kept if axis < rank)


def dropped_axes(node: Node, graph: Graph) -> set[int]:
    """Return the operand's axes that a gather of one index or a reduction takes away."""
    rank = len(node.operands[0].type.shape) if node.operands else 0
    if len(node.result.type.shape) >= rank:
        return set()
    given = graph.resolve(node)
    if node.op.name == "gather":
        return {given["axis"] % rank}
    return {axis % rank for axis in given.get("axes", ())}


def _matmul_axes(node: Node, operands: list[frozenset[int]]) -> frozenset[int]:
    rank = len(node.result.type.shape)
    kept: set[int] = set()
    for position, (operand, found) in enumerate(zip(node.operands, operands, strict=True)):
        size = len(operand.type.shape)
        contracted = size - 1 if position == 0 else size - 2
        kept.update(axis + rank - size for axis in found if axis != contracted)
    return frozenset(kept)


def reshape_groups(before: Shape, after: Shape) -> list[tuple[list[int], list[int]]]:
    """Return the smallest groups of axes of both shapes that hold the same elements, in order."""
    source, target = concrete(before, 1), concrete(after, 1)
    groups: list[tuple[list[int], list[int]]] = []
    i = j = 0
    while i < len(source) or j < len(target):
        left, right = [i] if i < len(source) else [], [j] if j < len(target) else []
        i, j = i + len(left), j + len(right)
        while math.prod(source[a] for a in left) != math.prod(target[a] for a in right):
            if math.prod(source[a] for a in left) < math.prod(target[a] for a in right):
                left.append(i)
                i += 1
            else:
                right.append(j)
                j += 1
        groups.append((left, right))
    return groups


def reshaped_axes(before: Shape, after: Shape, axes: frozenset[int]) -> frozenset[int]:
    """Return where channel axes are after a reshape: every axis made of one of them."""
    result: set[int] = set()
    for left, right in reshape_groups(before, after):
        if axes.intersection(left):
            result.update(right)
    return frozenset(result)


def threshold_chosen(node: Node) -> bool:
    """Tell whether a node is a neuron with the quantum of choose-thresholds, which still is its scale.

    A trained quantiser comes with a quantum of its own, and normalise-thresholds takes the scale away.
    """
    given = node.attributes
    quantum = given.get("quantum")
    return (
        node.op.name == "neuron"
        and quantum is not None
        and quantum == given.get("scale") == given.get("unit")
    )


def threshold_axes(graph: Graph) -> dict[Value, frozenset[int]]:
    """Return, per neuron output, the channel axes along which its quantum may differ at no cost.

    A scale folds into the weights that follow; the product of two streams can only take it out of the sum
    along axes it does not contract.
    """
    axes = channel_axes(graph)
    allowed = {}
    for node in graph:
        if node.op.name == "neuron":
            shape = node.result.type.shape
            found = frozenset(axis for axis in axes[node.operands[0]] if not isinstance(shape[axis], Batch))
            for user in node.result.users:
                if user.op.name == "matmul":
                    found -= contracted_axes(user, node.result)
            allowed[node.result] = found
    return allowed


def contracted_axes(matmul: Node, operand: Value) -> frozenset[int]:
    """Return the axes of an operand a matmul sums over."""
    rank = len(operand.type.shape)
    summed = set()
    if matmul.operands[0] is operand:
        summed.add(rank - 1)
    if matmul.operands[1] is operand:
        summed.add(rank - 2 if rank > 1 else 0)
    return frozenset(summed)


def channel_gain(value: Value, channels: tuple[int, ...], graph: Graph) -> NDArray[np.float64] | None:
    """Return ‖W_c‖ of the synapses that read each channel of a value, or None if none does so directly.

    Pooling, residual addition and flattening between value and synapse keep the channels apart.
    """
    count = math.prod(channels)
    squares, found = np.zeros(count), False
    for user in value.users:
        weight = input_squares(user, graph)
        if weight is not None and weight.size % count == 0:
            # Behind a flattening every channel feeds several inputs, next to each other.
            squares += weight.reshape(count, -1).sum(axis=1)
            found = True
        elif user.op.name in TRANSPARENT:
            further = channel_gain(user.result, channels, graph)
            if further is not None:
                squares += further**2
                found = True
    return np.sqrt(squares) if found and squares.any() else None


TRANSPARENT = ("max_pool", "avg_pool", "reduce_mean", "add", "reshape")


def input_squares(node: Node, graph: Graph) -> NDArray[np.float64] | None:
    """Return Σ W² per input channel of a synapse, or None if the node is not one."""
    if node.op.name not in ("linear", "conv", "conv_transpose"):
        return None
    given = graph.resolve(node)
    weight = given["weight"].astype(np.float64) ** 2
    if node.op.name == "conv_transpose":
        return np.asarray(weight.reshape(weight.shape[0], -1).sum(axis=1))
    group = given.get("group", 1)
    grouped = weight.reshape(group, weight.shape[0] // group, weight.shape[1], -1)
    return np.asarray(grouped.sum(axis=(1, 3)).reshape(-1))

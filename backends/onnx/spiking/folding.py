"""Which ops may take all time steps as one batch of T N samples.

Ops act on every sample by itself, so F of the joined steps is the joined F of the steps, as long as the
samples of one step stay together along the batch axis. Only ops that move elements can part them, or index
into the batch; each of these has its rule here.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, TypeAlias

from snnc.ir.shapes import Batch, batch_axis, element_count, normalise_axis

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from snnc.ir.graph import Node, Value
    from snnc.ir.shapes import Shape

    # Whether samples stay together, given the operand's shape and batch axis, the result's shape, attributes.
    Rule: TypeAlias = Callable[[Shape, int, Shape, Mapping[str, Any]], bool]


def can_fold(node: Node, moving: Sequence[Value], attributes: Mapping[str, Any]) -> bool:
    """Tell whether a node maps joined steps to joined steps, given the operands that vary in time."""
    shapes = [value.type.shape for value in moving]
    every = [*shapes, node.result.type.shape]
    if any(sum(isinstance(dim, Batch) for dim in shape) != 1 for shape in every):
        return False
    rule = RULES.get(node.op.name)
    return rule is None or all(
        rule(shape, axis, node.result.type.shape, attributes)
        for shape in shapes
        if (axis := batch_axis(shape)) is not None
    )


def other_axis(shape: Shape, batch: int, result: Shape, attributes: Mapping[str, Any]) -> bool:
    """The op works along another axis than the batch's."""
    return normalise_axis(attributes["axis"], len(shape)) != batch


def other_axes(shape: Shape, batch: int, result: Shape, attributes: Mapping[str, Any]) -> bool:
    return batch not in {normalise_axis(axis, len(shape)) for axis in attributes["axes"]}


def same_rows_in_front(shape: Shape, batch: int, result: Shape, attributes: Mapping[str, Any]) -> bool:
    """As many elements lie in front of the batch axis as before, so each step's stay neighbours."""
    target = batch_axis(result)
    assert target is not None
    return element_count(shape[:batch]) == element_count(result[:target]) and 0 not in (*shape, *result)


def one_copy(shape: Shape, batch: int, result: Shape, attributes: Mapping[str, Any]) -> bool:
    return bool(attributes["repeats"][batch] == 1)


def nothing_added(shape: Shape, batch: int, result: Shape, attributes: Mapping[str, Any]) -> bool:
    pads = attributes["pads"]
    return bool(pads[batch] == pads[batch + len(shape)] == 0)


def indexed_behind(shape: Shape, batch: int, result: Shape, attributes: Mapping[str, Any]) -> bool:
    return bool(batch < attributes["batch_dims"])


def same_size(shape: Shape, batch: int, result: Shape, attributes: Mapping[str, Any]) -> bool:
    return shape[batch] == result[batch]


RULES: dict[str, Rule] = {
    "reshape": same_rows_in_front,
    "tile": one_copy,
    "concat": other_axis,
    "slice": other_axes,
    "gather": other_axis,
    "take": other_axis,
    "gather_elements": other_axis,
    "gather_nd": indexed_behind,
    "cumsum": other_axis,
    "pad": nothing_added,
    "resize": same_size,
    "softmax": other_axis,
    "log_softmax": other_axis,
    "lp_norm": other_axis,
}

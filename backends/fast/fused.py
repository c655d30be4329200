"""Expectation nodes whose function is compiled together with its sums."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from snnc.backends.fast.kernels import functions

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from snnc.ir.graph import Graph, Node
    from snnc.ir.kernel_types import Array


def is_fused(graph: Graph, node: Node, moving: Sequence[int]) -> bool:
    """Tell whether there is a kernel: of a stream of single precision, along its last axis."""
    if not node.expect or list(moving) != [0] or node.operands[0].type.dtype != "f32":
        return False
    attributes, rank = graph.resolve(node), len(node.result.type.shape)
    match node.op.name:
        case "gelu":
            return bool(attributes["approximate"] == "none")
        case "softmax":
            return bool(attributes["axis"] % rank == rank - 1)
        case "layer_norm":
            parameters = attributes["gamma"], attributes["beta"]
            return attributes["axis"] % rank == rank - 1 and all(map(along_last_axis, parameters))
    return False


def along_last_axis(parameter: Array | None) -> bool:
    return parameter is None or parameter.size == (parameter.shape or (1,))[-1]


class FusedExpectation:
    """O(t) = t F(S(t)/t) - (t-1) F(S(t-1)/(t-1)) in one kernel."""

    membrane = None

    def __init__(
        self,
        node: Node,
        attributes: Mapping[str, Any],
        x: Array,
        result: Array,
        *,
        reads_totals: bool = False,
        sends_totals: bool = False,
    ) -> None:
        self._kernel: Callable[..., None] = getattr(functions, node.op.name)
        self._nothing = np.empty(0, np.float32)
        self._keeps = not reads_totals, not sends_totals
        self._kept: tuple[Array, Array] | None = None
        self._x, self._result = x.reshape(-1), result.reshape(-1)
        self._more: tuple[Any, ...] = ()
        if node.op.name != "gelu":
            rows = result.reshape(-1, result.shape[-1])
            self._more = rows, *affine(attributes, rows.shape[1])

    def step(self, t: int, last: bool) -> None:
        if self._kept is None and not (last and t == 1):
            total, previous = (np.empty_like(self._x) if one else self._nothing for one in self._keeps)
            self._kept = total, previous
        kept = (self._nothing, self._nothing) if self._kept is None else self._kept
        self._kernel(self._x, *kept, self._result, np.float32(t), t == 1, last, *self._more)


def affine(attributes: Mapping[str, Any], length: int) -> tuple[Any, ...]:
    """Return gamma, beta and epsilon of a layer norm, nothing of a softmax."""
    if "epsilon" not in attributes:
        return ()
    gamma, beta = (
        np.full(length, default if array is None else array.reshape(-1), np.float32)
        for array, default in ((attributes["gamma"], 1), (attributes["beta"], 0))
    )
    return gamma, beta, np.float32(attributes["epsilon"])

"""Bounds of whole numbers: what the elements of a stream may be at any step, whatever the inputs are.

Bounds are those of one sample (every sample has the same), element by element, in float64: they are exact
below 2^53, and what goes beyond has long left any width. The rules are exact for the operation alone;
operands are taken to be independent of each other and of earlier steps.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from snnc.ir.errors import PassError
from snnc.ir.ops import FAMILIES
from snnc.ir.shapes import concrete, fill_batch
from snnc.ir.types import SpikeType, TensorType
from snnc.passes.rewriter import describe

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from typing import Any

    from numpy.typing import NDArray

    from snnc.ir.graph import Graph, Node
    from snnc.ir.kernel_types import Array
    from snnc.ir.types import Type


@dataclass(frozen=True, slots=True)
class Interval:
    """lo <= x <= hi, element by element."""

    lo: NDArray[np.float64]
    hi: NDArray[np.float64]

    @classmethod
    def constant(cls, lo: float, hi: float, shape: tuple[int, ...]) -> Interval:
        return cls(np.broadcast_to(np.float64(lo), shape), np.broadcast_to(np.float64(hi), shape))

    @property
    def least(self) -> int:
        return int(self.lo.min(initial=np.inf)) if self.lo.size else 0

    @property
    def most(self) -> int:
        return int(self.hi.max(initial=-np.inf)) if self.hi.size else 0

    def hull(self, other: Interval) -> Interval:
        return Interval(np.minimum(self.lo, other.lo), np.maximum(self.hi, other.hi))

    def with_zero(self) -> Interval:
        return Interval(np.minimum(self.lo, 0), np.maximum(self.hi, 0))

    def plus(self, array: Array) -> Interval:
        return Interval(self.lo + array, self.hi + array)

    def times(self, other: Interval) -> Interval:
        corners = [x * y for x in (self.lo, self.hi) for y in (other.lo, other.hi)]
        lo, hi = corners[0], corners[0]
        for corner in corners[1:]:
            lo, hi = np.minimum(lo, corner), np.maximum(hi, corner)
        return Interval(lo, hi)

    def limited(self, lo: float, hi: float) -> Interval:
        return Interval(np.clip(self.lo, lo, hi), np.clip(self.hi, lo, hi))


def counts(type_: Type) -> bool:
    """Tell whether a stream is made of whole numbers that vary: spikes or currents."""
    return isinstance(type_, SpikeType) or (isinstance(type_, TensorType) and type_.dtype == "i32")


def payload_interval(type_: SpikeType) -> Interval:
    return Interval.constant(type_.payload.lo, type_.payload.hi, concrete(type_.shape, 1))


def synapse_sums(given: Mapping[str, Any], kernel: Callable[..., Array], x: Interval) -> Interval:
    """Bound 2^exponent Σ w x without bias: positive weights take one end of x, negative ones the other."""
    weight = given["weight"].astype(np.float64)
    plain = {**given, "bias": None}

    def weighed(chosen: Array, bound: Array) -> Array:
        return kernel(np.ascontiguousarray(bound), **{**plain, "weight": chosen})

    up, down = np.maximum(weight, 0), np.minimum(weight, 0)
    return Interval(weighed(up, x.lo) + weighed(down, x.hi), weighed(up, x.hi) + weighed(down, x.lo))


def with_bias(sums: Interval, given: Mapping[str, Any]) -> Interval:
    """Add the bias of a synapse: along axis 1 of a convolution, along the last one of a linear layer."""
    bias = given["bias"]
    if bias is None:
        return sums
    following = given["weight"].ndim - 2
    return sums.plus(bias.astype(np.float64).reshape(-1, *(1,) * following))


def result_interval(node: Node, graph: Graph, operands: Sequence[Interval]) -> Interval:
    """Bound the result of a pure op of whole numbers; `PassError` if there is no rule for it.

    A node in expectation form sends F(S(t)) - F(S(t-1)), S the sum of x until t. For an F that never falls,
    is homogeneous and convex (or concave) this lies between -F(-x) and F(x) (or between F(x) and -F(-x)).
    """
    given = fill_batch(graph.resolve(node), 1)
    name = node.op.name
    if node.op.kernel is not None and rises(node, given):
        result = applied(node.op.kernel, given, operands)
        if not node.expect:
            return result
        if len(operands) == 1:
            mirrored = applied(node.op.kernel, given, [Interval(-x.hi, -x.lo) for x in operands])
            return result.hull(Interval(-mirrored.hi, -mirrored.lo))
    elif name in RULES and not node.expect:
        return RULES[name](*operands)
    if isinstance(node.result.type, SpikeType):
        return payload_interval(node.result.type)
    raise PassError(
        f"there is no bound for {describe(node)} of whole numbers", help="run it on a host, on real numbers"
    )


def applied(kernel: Callable[..., Array], given: Mapping[str, Any], operands: Sequence[Interval]) -> Interval:
    lo = kernel(*(x.lo for x in operands), **given)
    return Interval(lo, kernel(*(x.hi for x in operands), **given))


RISING = frozenset({"add", "max", "min", "relu", "max_pool", "reduce_sum", "reduce_max", "reduce_min"})
MOVING = frozenset(op.name for op in FAMILIES["movement"].OPS)


def rises(node: Node, given: Mapping[str, Any]) -> bool:
    """Tell whether no element of the result falls where an operand rises."""
    if node.op.name == "resize":
        return bool(given["mode"] == "nearest")
    return node.op.name in RISING or node.op.name in MOVING


def difference(x: Interval, y: Interval) -> Interval:
    return Interval(x.lo - y.hi, x.hi - y.lo)


def negated(x: Interval) -> Interval:
    return Interval(-x.hi, -x.lo)


def product(x: Interval, y: Interval) -> Interval:
    return x.times(y)


def summed_products(x: Interval, y: Interval) -> Interval:
    """Bound Σ_k x[…,i,k] y[…,k,j], product by product."""
    rows, columns = x.lo.ndim == 1, y.lo.ndim == 1
    left = Interval(x.lo[None], x.hi[None]) if rows else x
    right = Interval(y.lo[:, None], y.hi[:, None]) if columns else y
    total = Interval(np.zeros(()), np.zeros(()))
    for k in range(left.lo.shape[-1]):
        one = Interval(left.lo[..., :, k, None], left.hi[..., :, k, None])
        other = Interval(right.lo[..., None, k, :], right.hi[..., None, k, :])
        term = one.times(other)
        total = Interval(total.lo + term.lo, total.hi + term.hi)
    axes = (*((-2,) if rows else ()), *((-1,) if columns else ()))
    return Interval(np.squeeze(total.lo, axes), np.squeeze(total.hi, axes)) if axes else total


RULES: Mapping[str, Callable[..., Interval]] = {
    "sub": difference,
    "neg": negated,
    "mul": product,
    "matmul": summed_products,
}

"""The ops in differential coding, one class each: streams carry changes, x(t) = t (r(t) - r(t-1)).

A value that never varies is presented at t = 1 and sends no change afterwards. Its buffer keeps it all the
same: every class below knows which of its operands vary (`moving`). At t = 1 each class does what its
namesake of rate coding does.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from snnc.backends.reference.state import ExpectState, NeuronState, PureState, State
from snnc.ir.codebooks import of_changes
from snnc.ir.errors import BackendError
from snnc.ir.op import Role

if TYPE_CHECKING:
    from collections.abc import Sequence

    from snnc.ir.graph import Node, Value
    from snnc.ir.kernel_types import Array
    from snnc.ir.op import Op


class DifferentialNeuronState(NeuronState):
    """Keeps v(t) = v(0) + t (r_x(t) - r_y(t)): what the decoded output still lacks, t times.

    m(1) = v(0) + x(1) + b, m(t) = v(0) + (v(t-1) - v(0)) t / (t-1) + x(t)
    k(t) = Q±(clip(m(t) / q, round(t (lo - ρ(t-1))), round(t (hi - ρ(t-1)))))
    ρ(t) = ρ(t-1) + k(t) / t, v(t) = m(t) - q k(t), y(t) = s k(t); v(0) = (initial + charge) q;
    ρ(0) = 0.

    Q± rounds like Q, onto the payloads lo … hi of the codebook and their negatives. ρ is the decoded output
    in quanta; the clip keeps it within lo … hi, to the nearest whole payload. With `negative`, r: m(t)/q and
    both bounds are divided by r where negative, and r k(t) takes the place of k(t) where k(t) < 0; Q± reaches
    as much further as r or 1/r is large, lest a value fall slower than it rose.
    """

    def __init__(self, attributes: dict[str, Any], where: str, *, moving: bool) -> None:
        super().__init__(attributes, where)
        self.lo, self.hi = self.codebook.payload.lo, self.codebook.payload.hi
        self.codebook = of_changes(self.codebook, self.negative)
        self.moving = moving
        self._decoded: Array = np.empty(0, np.float32)

    def step(self, t: int, operands: Sequence[Array], last: bool) -> Array:
        m = self._integrate_changes(t, operands[0])
        low, high = self._bounds(t)
        u = np.clip(self._in_payloads(m if self.normalised else m / self.quantum), low, high)
        k = self.codebook.quantise(u)
        sent = k if self.negative is None else np.where(k < 0, k * self.negative, k)
        if not last:
            self.membrane = m - (sent if self.normalised else self.quantum * sent)
            self._decoded = sent if t == 1 else self._decoded + sent / np.float32(t)
        if self.level_axis is not None:
            return np.asarray(self.codebook.to_lines(k, self.level_axis))
        return np.asarray(sent if self.scale is None else sent * self.scale)

    def _integrate_changes(self, t: int, x: Array) -> Array:
        if t == 1:
            m = x if self.start is None else self.start + x
            return m if self.bias is None else m + self.bias
        held = self.membrane if self.start is None else self.membrane - self.start
        held = held * np.float32(t / (t - 1))
        m = held + x if self.moving else held
        return np.asarray(m if self.start is None else m + self.start)

    def _bounds(self, t: int) -> tuple[Array | int, Array | int]:
        """Return the least and the largest payload that leave ρ(t) in lo … hi."""
        if t == 1:
            return self.lo, self.hi
        lo = self.lo if self.negative is None else self.lo * self.negative
        times = np.float32(t)
        low, high = (np.rint(self._in_payloads(times * (end - self._decoded))) for end in (lo, self.hi))
        return low, high

    def _in_payloads(self, quanta: Array) -> Array:
        return quanta if self.negative is None else np.where(quanta < 0, quanta / self.negative, quanta)


class DifferentialExpectState(ExpectState):
    """O(1) = F(x(1)), O(t) = t (F(r(t)) - F(r(t-1))) with r(t) = r(t-1) + x(t)/t for every operand.

    Then the decoded O after t steps is F(r(t)), whatever F is: products and homogeneous functions too.
    """

    def step(self, t: int, operands: Sequence[Array], last: bool) -> Array:
        if t == 1:
            return self._first(operands, last)
        values, times = list(operands), np.float32(t)
        for decoded, index in zip(self._sums, self.moving, strict=True):
            np.add(decoded, operands[index] / times, out=decoded)
            values[index] = decoded
        current = self._evaluate(values)
        result = np.subtract(current, self._previous, out=self._previous)
        self._previous = current
        return np.multiply(result, times, out=result)


class LinearState:
    """y(1) = F(x(1)), y(t) = F(x(t)) - F(0): constants count once.

    `constant` are the operands that do not vary and add a constant; others that do not vary (one factor of a
    product) enter F as they are.
    """

    def __init__(self, node: Node, attributes: dict[str, Any], constant: Sequence[int]) -> None:
        assert node.op.kernel is not None, f"{node.op.name} has no kernel"
        self.kernel = node.op.kernel
        self.attributes = attributes
        self.linear = node.op.linear_part(attributes)
        self.constant = tuple(constant)

    def step(self, t: int, operands: Sequence[Array], last: bool) -> Array:
        if t == 1:
            return np.asarray(self.kernel(*operands, **self.attributes))
        values = list(operands)
        for index in self.constant:
            values[index] = np.zeros_like(values[index])
        return np.asarray(self.kernel(*values, **self.linear))


def make_differential_state(node: Node, attributes: dict[str, Any], invariant: set[Value]) -> State:
    """Return the memory of a node, given its attributes for the number of samples at hand."""
    moving = [index for index, operand in enumerate(node.operands) if operand not in invariant]
    if node.op.name == "neuron":
        return DifferentialNeuronState(attributes, str(attributes["site"]), moving=bool(moving))
    if not moving:
        return PureState(node, attributes)
    if node.expect:
        return DifferentialExpectState(node, attributes, moving)
    if not passes_changes(node.op, moving):
        raise BackendError(
            f"{node.op.name} of changes is not the change of {node.op.name}",
            where=", ".join(node.origin) or None,
            help="run expectation-compensation first (snnc compile does)",
        )
    constant = [i for i, _ in enumerate(node.operands) if i not in moving and node.op.affine_in(i)]
    return LinearState(node, attributes, constant)


def passes_changes(op: Op, moving: Sequence[int]) -> bool:
    """Tell whether F maps changes to changes if only these operands vary."""
    match op.role:
        case Role.LINEAR:
            return True
        case Role.MULTILINEAR:
            return len(moving) == 1
        case Role.NUMERATOR:
            return list(moving) == [0]
    return all(index in op.branches for index in moving)

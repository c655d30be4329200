"""Expectation nodes, unrolled: F once on the means of all steps, then differences of neighbours."""

from __future__ import annotations

from typing import TYPE_CHECKING

from snnc.ir.op import Role

if TYPE_CHECKING:
    from collections.abc import Sequence

    from snnc.backends.onnx.builder import ModelBuilder
    from snnc.ir.graph import Node, Value


class Expectation:
    """O(t) = t F(S(t)/t) - (t-1) F(S(t-1)/(t-1)), S(t) = x(1) + … + x(t).

    A homogeneous F takes S(t) itself, if all its operands vary; a product of n streams takes S(t) and is
    divided by t^(n-1).
    """

    def __init__(self, model: ModelBuilder, node: Node, moving: int) -> None:
        self.model = model
        self.node = node
        self.degree = moving if node.op.role is Role.MULTILINEAR else None
        homogeneous = node.op.homogeneous and moving == len(node.operands)
        self.unscaled = homogeneous or self.degree is not None

    def means(self, operand: int, streams: Sequence[str]) -> list[str]:
        """Return what F is applied to at every step, given one operand's x(1) … x(T)."""
        sums = prefix_sums(self.model, streams)
        return sums if self.unscaled else means(self.model, sums, self.node.operands[operand])

    def differences(self, values: Sequence[str]) -> list[str]:
        """Return O(1) … O(T), given F at every step."""
        totals = [self._total(value, t) for t, value in enumerate(values, start=1)]
        return [
            totals[0],
            *(self.model.add("Sub", [totals[t], totals[t - 1]]) for t in range(1, len(totals))),
        ]

    def _total(self, value: str, t: int) -> str:
        """Return t F(S(t)/t)."""
        if t == 1 or (self.unscaled and self.degree in (None, 1)):
            return value
        if self.degree is not None:
            return self.model.add("Div", [value, self.model.scalar(t ** (self.degree - 1), self.node.result)])
        return self.model.add("Mul", [value, self.model.scalar(t, self.node.result)])


def prefix_sums(model: ModelBuilder, streams: Sequence[str]) -> list[str]:
    """Return S(1) … S(T)."""
    sums = [streams[0]]
    for x in streams[1:]:
        sums.append(model.add("Add", [sums[-1], x]))
    return sums


def means(model: ModelBuilder, sums: Sequence[str], like: Value) -> list[str]:
    """Return S(t)/t for every t; `like` has the element type."""
    return [
        s if t == 1 else model.add("Div", [s, model.scalar(t, like)]) for t, s in enumerate(sums, start=1)
    ]

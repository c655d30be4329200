"""Expectation nodes, unrolled: F once on the means of all steps."""

from __future__ import annotations

from typing import TYPE_CHECKING

from snnc.backends.onnx.emitters.normalisation import layer_norm
from snnc.ir.op import Role

if TYPE_CHECKING:
    from collections.abc import Sequence

    from snnc.backends.onnx.builder import Emitter, ModelBuilder
    from snnc.ir.graph import Node, Value


class Expectation:
    """t F(S(t)/t), what O(1) … O(t) add up to, S(t) = x(1) + … + x(t).

    A homogeneous F takes S(t) itself, if all its operands vary; a product of n streams takes S(t) and is
    divided by t^(n-1). `moving` are the operands that vary.
    """

    def __init__(self, model: ModelBuilder, node: Node, emitter: Emitter, moving: Sequence[int]) -> None:
        self.model = model
        self.node = node
        self.emitter = emitter
        self.moving = moving
        self.degree = len(moving) if node.op.role is Role.MULTILINEAR else None
        homogeneous = node.op.homogeneous and len(moving) == len(node.operands)
        self.unscaled = homogeneous or self.degree is not None

    def total(self, inputs: Sequence[str], t: int) -> str:
        """Return t F(S(t)/t), given S(t) of what varies, and what does not."""
        if t == 1 or self.unscaled:
            value = self.emitter(self.model, self.node, inputs)
            return self._scale(value, t ** (1 - (self.degree or 1)), self.node.result)
        if self.emitter is layer_norm:
            return layer_norm(self.model, self.node, inputs, times=t)
        means = list(inputs)
        for index in self.moving:
            means[index] = self._scale(inputs[index], 1 / t, self.node.operands[index])
        return self._scale(self.emitter(self.model, self.node, means), t, self.node.result)

    def _scale(self, value: str, factor: float, like: Value) -> str:
        return self.model.scale(value, factor, like)


def means(model: ModelBuilder, sums: Sequence[str], like: Value) -> list[str]:
    """Return S(t)/t for every t; `like` has the element type."""
    return [model.scale(s, 1 / t, like) for t, s in enumerate(sums, start=1)]

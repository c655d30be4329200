"""The ops in differential coding, as the reference's module of this name has them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch

from snnc.backends.torch.codebook import quantise
from snnc.backends.torch.kernels import KERNELS
from snnc.backends.torch.state import ExpectState, NeuronState
from snnc.ir.codebooks import of_changes

if TYPE_CHECKING:
    from collections.abc import Sequence

    from torch import Tensor

    from snnc.backends.torch.state import Clock
    from snnc.ir.graph import Node


class DifferentialNeuronState(NeuronState):
    """m(1) = v(0) + x(1) + b, m(t) = v(0) + (v(t-1) - v(0)) t / (t-1) + x(t)
    k(t) = Q±(clip(m(t) / q, round(t (lo - ρ(t-1))), round(t (hi - ρ(t-1)))))
    ρ(t) = ρ(t-1) + k(t) / t, v(t) = m(t) - q k(t), y(t) = s k(t)
    """

    def __init__(self, attributes: dict[str, Any], where: str, *, moving: bool) -> None:
        super().__init__(attributes, where)
        self.lo, self.hi = self.codebook.payload.lo, self.codebook.payload.hi
        negative = None if self.negative is None else self.negative.cpu().numpy()
        self.codebook = of_changes(self.codebook, negative)
        self.moving = moving
        self._decoded: Tensor

    def step(self, clock: Clock, operands: Sequence[Tensor]) -> Tensor:
        m = self._integrate_changes(clock, operands[0])
        u = self.in_payloads(m if self.normalised else m / self.quantum)
        if clock.t == 1:
            u = u.clamp(self.lo, self.hi)
        else:
            lo = self.lo if self.negative is None else self.lo * self.negative
            low, high = (
                torch.round(self.in_payloads(clock.time * (end - self._decoded))) for end in (lo, self.hi)
            )
            u = torch.minimum(torch.maximum(u, low), high)
        k = quantise(u, self.codebook)
        sent = self.worth(k)
        self.membrane = m - (sent if self.normalised else self.quantum * sent)
        self._decoded = sent if clock.t == 1 else self._decoded + sent / clock.time
        return self.output(k, sent)

    def _integrate_changes(self, clock: Clock, x: Tensor) -> Tensor:
        if clock.t == 1 or self.membrane is None:
            m = x if self.start is None else self.start + x
            return m if self.bias is None else m + self.bias
        held = self.membrane if self.start is None else self.membrane - self.start
        held = held * (clock.t / (clock.t - 1))
        m = held + x if self.moving else held
        return m if self.start is None else m + self.start


class DifferentialExpectState(ExpectState):
    """O(1) = F(x(1)), O(t) = t (F(r(t)) - F(r(t-1))) with r(t) = r(t-1) + x(t)/t for every operand."""

    def step(self, clock: Clock, operands: Sequence[Tensor]) -> Tensor:
        if clock.t == 1:
            return super().step(clock, operands)
        values = list(operands)
        self._sums = [
            decoded + operands[index] / clock.time
            for decoded, index in zip(self._sums, self.moving, strict=True)
        ]
        for decoded, index in zip(self._sums, self.moving, strict=True):
            values[index] = decoded
        current = self.kernel(*values, **self.attributes)
        result, self._previous = current - self._previous, current
        return result * clock.time


class LinearState:
    """y(1) = F(x(1)), y(t) = F(x(t)) - F(0): constants count once; `constant` are operands that add one."""

    def __init__(
        self, node: Node, attributes: dict[str, Any], linear: dict[str, Any], constant: Sequence[int]
    ) -> None:
        self.kernel = KERNELS[node.op.name]
        self.attributes, self.linear = attributes, linear
        self.constant = tuple(constant)

    def step(self, clock: Clock, operands: Sequence[Tensor]) -> Tensor:
        if clock.t == 1:
            return self.kernel(*operands, **self.attributes)
        values = list(operands)
        for index in self.constant:
            values[index] = torch.zeros_like(values[index])
        return self.kernel(*values, **self.linear)

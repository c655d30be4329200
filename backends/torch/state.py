"""The ops that remember, one class each, in the order of the reference's equations.

`step(clock, operands)` takes the operands of one step and returns the result. Step 1 starts a new run. The
step's number comes as a tensor on the device: PyTorch multiplies by the reciprocal of a Python number on a
GPU, which rounds twice.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

import torch

from snnc.backends.reference.state import membrane_limits
from snnc.backends.torch.codebook import quantise, to_lines
from snnc.backends.torch.kernels import KERNELS
from snnc.ir.errors import BackendError
from snnc.ir.op import Role

if TYPE_CHECKING:
    from collections.abc import Sequence

    from torch import Tensor

    from snnc.ir.graph import Node


@dataclass(frozen=True, slots=True)
class Clock:
    """The number of the step, and the same as a real number on the device."""

    t: int
    time: Tensor


class State(Protocol):
    """One node's memory during one run."""

    def step(self, clock: Clock, operands: Sequence[Tensor]) -> Tensor: ...


class NeuronState:
    """m(t) = v(t-1) + x(t) + b; k(t) = Q(m(t)/q); v(t) = m(t) - q k(t); y(t) = s k(t);
    v(0) = (initial + charge) q. See the reference's class of this name.
    """

    def __init__(self, attributes: dict[str, Any], where: str, *, whole: bool = False) -> None:
        if attributes["quantum"] is None:
            raise BackendError(
                "a neuron has no threshold yet",
                where=where,
                help="run choose-thresholds with calibration data first (snnc compile does)",
            )
        self.codebook = attributes["codebook"]
        self.quantum: Tensor = attributes["quantum"]
        self.normalised = bool((self.quantum == 1).all())
        self.bias: Tensor | None = attributes["bias"]
        self.scale: Tensor | None = attributes["scale"]
        self.negative: Tensor | None = attributes["negative"]
        self.level_axis: int | None = attributes["level_axis"]
        self.start = starting_membrane(attributes, whole=whole)
        self.reset: str = attributes["reset"]
        self.limits = membrane_limits(attributes["width"])
        self.membrane: Tensor | None = None

    def step(self, clock: Clock, operands: Sequence[Tensor]) -> Tensor:
        m = self._integrate(clock.t, operands[0])
        u = self.in_payloads(m if self.normalised else m / self.quantum)
        k = self._quantise(clock, u)
        sent = self.worth(k)
        self._reset(m, k, sent)
        return self.output(k, sent)

    def _quantise(self, clock: Clock, u: Tensor) -> Tensor:
        return quantise(u, self.codebook)

    def _integrate(self, t: int, x: Tensor) -> Tensor:
        """Return m(t), saturated."""
        before = self.start if t == 1 else self.membrane
        m = x if before is None else before + x
        m = m if self.bias is None else m + self.bias
        return m if self.limits is None else m.clamp(*self.limits)

    def _reset(self, m: Tensor, k: Tensor, sent: Tensor) -> None:
        """Set v(t)."""
        if self.reset == "restart":
            self.membrane = torch.zeros_like(m) if self.start is None else self.start.expand(m.shape)
        elif self.reset == "zero":
            self.membrane = m * (k == 0)
        else:
            self.membrane = m - (sent if self.normalised else self.quantum * sent)

    def in_payloads(self, quanta: Tensor) -> Tensor:
        return quanta if self.negative is None else torch.where(quanta < 0, quanta / self.negative, quanta)

    def worth(self, k: Tensor) -> Tensor:
        """Return payloads in quanta."""
        return k if self.negative is None else torch.where(k < 0, k * self.negative, k)

    def output(self, k: Tensor, sent: Tensor) -> Tensor:
        if self.level_axis is not None:
            return to_lines(k, self.codebook, self.level_axis)
        return sent if self.scale is None else sent * self.scale


class SumNeuronState(NeuronState):
    """K(t) = clip(Q(m(t)/q + K(t-1)), t lo, t hi), k(t) = K(t) - K(t-1). See the reference's class."""

    def __init__(self, attributes: dict[str, Any], where: str, *, whole: bool = False) -> None:
        super().__init__(attributes, where, whole=whole)
        self._total: Tensor | None = None

    def _quantise(self, clock: Clock, u: Tensor) -> Tensor:
        book, before = self.codebook, torch.zeros_like(u) if clock.t == 1 else self._total
        assert before is not None, "the first step comes first"
        received = u + before
        rounded = received.floor() if book.rounding == "floor" else received.round()
        self._total = rounded.clamp(clock.t * book.lo, clock.t * book.hi)
        return self._total - before


def starting_membrane(attributes: dict[str, Any], *, whole: bool = False) -> Tensor | None:
    """v(0) = (initial + charge) q, per channel; None if it is 0. Whole numbers are rounded, half to even."""
    quantum: Tensor = attributes["quantum"]
    charge: Tensor | None = attributes["charge"]
    if charge is None and not attributes["initial"]:
        return None
    if whole:
        quanta = attributes["initial"] if charge is None else attributes["initial"] + charge
        return torch.mul(quantum, quanta).round()
    if charge is not None:
        return torch.add(attributes["initial"] * quantum, charge * quantum)
    return torch.mul(quantum, attributes["initial"])


class LifState:
    """m(t) = leak v(t-1) + gain x(t) + bias; s(t) = 1 where m(t) >= threshold (strict: >), else 0.

    See the reference's class of this name.
    """

    def __init__(self, attributes: dict[str, Any], *, whole: bool = False) -> None:
        self.threshold: Tensor = attributes["threshold"]
        self.leak: Tensor | None = attributes["leak"]
        self.gain: Tensor | None = attributes["gain"]
        self.bias: Tensor | None = attributes["bias"]
        self.rest: Tensor | float = 0.0 if attributes["rest"] is None else attributes["rest"]
        self.reset: str = attributes["reset"]
        self.strict: bool = attributes["strict"]
        self.delayed: bool = attributes["delayed"]
        self.initial: float = attributes["initial"]
        self.whole = whole
        self.limits = membrane_limits(attributes["width"])
        self.membrane: Tensor | None = None

    def step(self, clock: Clock, operands: Sequence[Tensor]) -> Tensor:
        x = operands[0]
        v = torch.full_like(x, self.initial) if clock.t == 1 or self.membrane is None else self.membrane
        sent_before = self._fires(v) if self.delayed else None
        m = self._decay(v) + (x if self.gain is None else self.gain * x)
        m = m if self.bias is None else m + self.bias
        if sent_before is not None:
            m = self._reset(m, sent_before)
        if self.limits is not None:
            m = m.clamp(*self.limits)
        fired = self._fires(m)
        self.membrane = m if self.delayed else self._reset(m, fired)
        return fired.to(x.dtype)

    def _decay(self, v: Tensor) -> Tensor:
        if self.leak is None:
            return v
        left = v * self.leak
        return torch.trunc(left) if self.whole else left

    def _fires(self, m: Tensor) -> Tensor:
        return m > self.threshold if self.strict else m >= self.threshold

    def _reset(self, m: Tensor, fired: Tensor) -> Tensor:
        if self.reset == "soft":
            return m - self.threshold * fired
        return torch.where(fired, self.rest, m) if self.reset == "hard" else m


class ExpectState:
    """O(t) = t F(S(t)/t) - (t-1) F(S(t-1)/(t-1)), S(t) = x(1) + … + x(t); O(1) = F(x(1)).

    For a homogeneous F of streams that all vary that is F(S(t)) - F(S(t-1)); for a product of n streams
    F(S(t)) / t^(n-1) minus its predecessor. `moving` are the operands that vary in time; the others enter F
    as they are.
    """

    def __init__(self, node: Node, attributes: dict[str, Any], moving: Sequence[int]) -> None:
        self.kernel = KERNELS[node.op.name]
        self.attributes = attributes
        self.moving = tuple(moving)
        self.degree = len(self.moving) if node.op.role is Role.MULTILINEAR else None
        self.homogeneous = node.op.homogeneous and len(self.moving) == len(node.operands)
        self._sums: list[Tensor] = []
        self._previous: Tensor

    def step(self, clock: Clock, operands: Sequence[Tensor]) -> Tensor:
        moved = [operands[index] for index in self.moving]
        if clock.t == 1:
            self._sums = moved
            self._previous = self.kernel(*operands, **self.attributes)
            return self._previous
        self._sums = [total + x for total, x in zip(self._sums, moved, strict=True)]
        current = self._accumulated(clock, list(operands))
        result, self._previous = current - self._previous, current
        return result

    def _accumulated(self, clock: Clock, operands: list[Tensor]) -> Tensor:
        """Return t F(S(t)/t)."""
        scaled = self.degree is None and not self.homogeneous
        for total, index in zip(self._sums, self.moving, strict=True):
            operands[index] = total / clock.time if scaled else total
        value = self.kernel(*operands, **self.attributes)
        if scaled:
            return value * clock.time
        power = 0 if self.degree is None else self.degree - 1
        return value if power == 0 else value / clock.time**power


class DelayState:
    """y(t) = x(t - steps); y(t) = 0 for t <= steps."""

    def __init__(self, attributes: dict[str, Any]) -> None:
        self.steps: int = attributes["steps"]
        self._queue: list[Tensor] = []

    def step(self, clock: Clock, operands: Sequence[Tensor]) -> Tensor:
        if clock.t == 1:
            self._queue = []
        self._queue.append(operands[0])
        return self._queue.pop(0) if clock.t > self.steps else torch.zeros_like(operands[0])


class PureState:
    """y(t) = F(x(t)): no memory."""

    def __init__(self, node: Node, attributes: dict[str, Any]) -> None:
        self.kernel = KERNELS[node.op.name]
        self.attributes = attributes

    def step(self, clock: Clock, operands: Sequence[Tensor]) -> Tensor:
        return self.kernel(*operands, **self.attributes)


class HostState:
    """y = F(x) of a stream that never varies, by the op table's own kernel: once per run."""

    def __init__(self, node: Node, attributes: dict[str, Any]) -> None:
        assert node.op.kernel is not None, f"{node.op.name} has no kernel"
        self.kernel = node.op.kernel
        self.attributes = attributes

    def step(self, clock: Clock, operands: Sequence[Tensor]) -> Tensor:
        result = self.kernel(*(x.cpu().numpy() for x in operands), **self.attributes)
        return torch.as_tensor(result.copy()).to(clock.time.device)

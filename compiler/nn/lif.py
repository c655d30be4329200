"""The leaky integrate-and-fire neuron a spiking network is trained with."""

from __future__ import annotations

import math
from typing import Any, Literal, TypeAlias

import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable

from snnc.ir.errors import OptionError

Reset: TypeAlias = Literal["hard", "soft"]

RESETS = ("hard", "soft")


class LIF(nn.Module):
    """m(t) = leak v(t-1) + gain x(t);  s(t) = 1 if m(t) >= threshold else 0;  v(0) = 0.

    hard reset: v(t) = rest where s(t) = 1, else m(t);  soft reset: v(t) = m(t) - threshold s(t).

    With a membrane time constant tau, in time steps: leak = 1 - 1/tau, gain = 1/tau, or gain = 1 with
    decay_input=False. tau = inf without decay_input is the integrate-and-fire neuron, leak = gain = 1.
    Each line is computed in float32 in this order: product, product, sum, comparison.

    x and s have one shape, [steps · N, ..], time first; the membrane v is [N, ..] in the units of the
    threshold, and is kept from one call to the next until `reset_state`. A call advances `steps` time steps.

    The gradient of the step is the arctan surrogate (`surrogate_slope`, alpha sets its width); the reset
    takes no part in it. Source: Fang et al. (ICCV 2021) and SpikingJelly's documentation, whose LIFNode this
    is for rest 0 (there, the leak is towards v_reset, here it is towards 0).
    """

    v: Tensor | None

    def __init__(
        self,
        tau: float = 2.0,
        threshold: float = 1.0,
        *,
        reset: Reset = "hard",
        rest: float = 0.0,
        decay_input: bool = True,
        alpha: float = 2.0,
    ) -> None:
        super().__init__()
        if not tau >= 1:
            raise OptionError(f"a membrane cannot have the time constant {tau}", help="tau is 1 step or more")
        if math.isinf(tau) and decay_input:
            raise OptionError("with tau = inf no input would count", help="set decay_input=False")
        if not 0 < threshold < math.inf:
            raise OptionError(
                f"a neuron cannot have the threshold {threshold}", help="give a positive number"
            )
        if reset not in RESETS:
            raise OptionError(f"there is no reset {reset!r}", help="known: " + ", ".join(RESETS))
        if reset == "hard" and not rest < threshold:
            raise OptionError(f"rest {rest} is not below the threshold {threshold}")
        self.leak = 1 - 1 / tau
        self.gain = 1 / tau if decay_input else 1.0
        self.threshold, self.reset, self.rest, self.alpha = threshold, reset, rest, alpha
        self.v = None

    def forward(self, x: Tensor, steps: int = 1) -> Tensor:
        current = x.reshape(steps, -1, *x.shape[1:])
        v = torch.zeros_like(current[0]) if self.v is None else self.v
        spikes: Tensor
        spikes, self.v = Integrate.apply(current, v, self)  # type: ignore[no-untyped-call]  # torch's is untyped
        return spikes.reshape(x.shape)

    def after_reset(self, m: Tensor, s: Tensor) -> Tensor:
        """Return v(t); m(t) and s(t) have one shape."""
        if self.reset == "soft":
            return m - s * self.threshold
        if self.rest == 0:
            return m * (1 - s)  # several times as quick as a choice, and as exact
        return torch.where(s > 0, torch.full_like(m, self.rest), m)

    def reset_state(self) -> None:
        """Set the membrane to v(0) = 0."""
        self.v = None

    def extra_repr(self) -> str:
        return (
            f"leak={self.leak}, gain={self.gain}, threshold={self.threshold}, "
            f"reset={self.reset!r}, rest={self.rest}"
        )


class Integrate(torch.autograd.Function):
    """The neuron over steps x [T, N, ..] from v [N, ..]: (s [T, N, ..], v after the last step).

    Backward through time, with the reset taken as constant (hard: 1 - s passes, soft: everything):

        dm(t) = ds(t) slope(m(t) - threshold) + dv(t) (1 - s(t))
        dx(t) = gain dm(t),  dv(t-1) = leak dm(t)
    """

    @staticmethod
    def forward(ctx: Any, x: Tensor, v: Tensor, neuron: LIF) -> tuple[Tensor, Tensor]:
        membranes, spikes = x * neuron.gain, torch.empty_like(x)
        kept = torch.empty_like(v)
        for m, s in zip(membranes, spikes, strict=True):
            m.add_(torch.mul(v, neuron.leak, out=kept))
            torch.ge(m, neuron.threshold, out=s)
            v = neuron.after_reset(m, s)
        ctx.save_for_backward(membranes, spikes)
        ctx.neuron = neuron
        return spikes, v

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, ds: Tensor, dv: Tensor) -> tuple[Tensor, Tensor, None]:
        membranes, spikes = ctx.saved_tensors
        neuron: LIF = ctx.neuron
        dm = surrogate_slope(membranes - neuron.threshold, neuron.alpha).mul_(ds)
        for t in reversed(range(len(dm))):
            dm[t] += dv.addcmul(dv, spikes[t], value=-1) if neuron.reset == "hard" else dv
            dv = neuron.leak * dm[t]
        return dm.mul_(neuron.gain), dv, None


def surrogate_slope(u: Tensor, alpha: float = 2.0) -> Tensor:
    """Return the derivative that stands for the step's: that of arctan(π alpha u / 2) / π + 1/2.

    alpha/2 / (1 + (π alpha u / 2)²), with u = m - threshold; 1 at the threshold for alpha = 2.
    """
    return (u * (math.pi * alpha / 2)).square_().add_(1).reciprocal_().mul_(alpha / 2)


def neurons(module: nn.Module) -> dict[str, LIF]:
    """Return the LIF layers of a module by name, in the order they were registered."""
    return {name: part for name, part in module.named_modules() if isinstance(part, LIF)}


def reset_state(module: nn.Module) -> None:
    """Set the membranes of all LIF layers to v(0) = 0."""
    for part in neurons(module).values():
        part.reset_state()

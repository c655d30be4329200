"""From differential equations to one time step, and back.

NIR states its neurons in continuous time, tau dv/dt = (v_leak - v) + R I; a `lif` says what a step does,
m = leak v + gain x + bias. Over a step of dt seconds in which I does not change,

    m = v + a ((v_leak - v) + R I) = (1 - a) v + a R I + a v_leak

with a = dt / tau (Euler's method, which most tools take) or a = 1 - exp(-dt / tau) (exponential: exact).
Without a leak, dv/dt = R I, both are m = v + dt R I.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal, get_args

from snnc.ir.errors import OptionError, did_you_mean

if TYPE_CHECKING:
    from snnc.ir.kernel_types import Array

Integration = Literal["euler", "exponential"]
INTEGRATIONS: tuple[str, ...] = get_args(Integration)

# Seconds; what snnTorch and SpikingJelly take where nothing is said (their NIR modules).
DEFAULT_DT = 1e-4


@dataclass(frozen=True, slots=True)
class Timing:
    """The length of a time step in seconds, and the method that integrates over it."""

    dt: float = DEFAULT_DT
    integration: Integration = "euler"

    def __post_init__(self) -> None:
        if not (math.isfinite(self.dt) and self.dt > 0):
            raise OptionError(f"a time step cannot take {self.dt:g} s", help="give more than 0")
        if self.integration not in INTEGRATIONS:
            raise OptionError(
                f"there is no integration {self.integration!r}",
                help=did_you_mean(self.integration, INTEGRATIONS),
            )

    def decay(self, tau: Array) -> Array:
        """Return a, the share of the way to its rest that a membrane goes in one step; tau in seconds."""
        import numpy as np  # not above: the command line reads the defaults and starts without numpy

        return np.asarray(self.dt / tau if self.integration == "euler" else -np.expm1(-self.dt / tau))

    def tau(self, leak: Array) -> Array:
        """Return the time constant in seconds of a membrane that keeps `leak` of itself in one step."""
        import numpy as np

        return np.asarray(self.dt / (1 - leak) if self.integration == "euler" else -self.dt / np.log(leak))

    def describe(self) -> dict[str, float | str]:
        return {"dt": self.dt, "integration": self.integration}

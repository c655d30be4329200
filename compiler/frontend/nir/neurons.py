"""NIR's neurons as `lif`, one time step of their differential equations (see `snnc.backends.nir.timing`).

All fire above their threshold, not at it, and start where they are reset to.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NoReturn

import numpy as np

from snnc.frontend.context import RejectedError
from snnc.frontend.nir.context import compact, single

if TYPE_CHECKING:
    from snnc.frontend.nir.context import NirNode
    from snnc.ir.graph import Value
    from snnc.ir.kernel_types import Array

NO_OP = {
    "I": "an integrator that sends its membrane",
    "LI": "a leaky integrator that sends its membrane",
    "CubaLI": "a synaptic current, and an integrator that sends its membrane",
    "CubaLIF": "a synaptic current with a time constant of its own",
}


def integrate_and_fire(given: NirNode) -> Value:
    """dv/dt = R I: m = v + dt R x."""
    gain = given.timing.dt * given.parameter("r")
    return spiking(given, {"gain": (gain, 1)})


def leaky_integrate_and_fire(given: NirNode) -> Value:
    """tau dv/dt = (v_leak - v) + R I: m = (1 - a) v + a R x + a v_leak."""
    tau = given.parameter("tau")
    if (tau <= 0).any():
        raise RejectedError("its time constants must be positive")
    decay = given.timing.decay(tau)
    if (decay > 1).any():
        raise RejectedError(
            f"a time step of {given.timing.dt:g} s is longer than its time constant, {tau.min():g} s: "
            "Euler's method overshoots",
            help="give a shorter one with --dt, or --integration exponential",
        )
    return spiking(
        given,
        {
            "leak": (1 - decay, 1),
            "gain": (decay * given.parameter("r"), 1),
            "bias": (decay * given.parameter("v_leak"), 0),
        },
    )


def spiking(given: NirNode, numbers: dict[str, tuple[Array, float]]) -> Value:
    """Append the `lif`; a parameter that is what its absence means is left out."""
    rest = single(np.unique(given.parameter("v_reset")), "v_reset")
    if rest.size != 1:
        raise RejectedError(
            "its v_reset varies over neurons, and so would where their membranes start",
            help="NIR says no start; a lif here has one for all",
        )
    numbers = {**numbers, "rest": (rest.astype(np.float64), 0)}
    parameters = {
        name: single(np.asarray(array), name).reshape((-1,) + (1,) * (len(given.x.type.shape) - 1))
        if array.ndim < len(given.x.type.shape)
        else single(array, name)
        for name, (array, absent) in numbers.items()
        if (single(array, name) != absent).any()
    }
    return given.emit(
        "lif",
        threshold=single(given.parameter("v_threshold"), "v_threshold"),
        reset="hard",
        strict=True,
        initial=float(rest[0]) if rest[0] else None,
        site=given.name,
        **parameters,
    )


def threshold(given: NirNode) -> Value:
    """A neuron that forgets at once: m = 0 v + x."""
    leak = np.zeros((1,) * len(given.x.type.shape), np.float32)
    fires = single(given.parameter("threshold"), "threshold")
    return given.emit("lif", threshold=fires, leak=leak, reset="none", strict=True, site=given.name)


def subtracting(given: NirNode) -> Value:
    """I, Threshold and Scale in a circle: what is fed back when it fires is subtracted in the next step."""
    parts, dt = given.node, given.timing.dt
    gain = dt * compact(np.asarray(parts.integrator.r, np.float64), given.x, "r")
    fires = single(
        compact(np.asarray(parts.threshold.threshold, np.float64), given.x, "threshold"), "threshold"
    )
    back = compact(np.asarray(parts.feedback.scale, np.float64), given.x, "scale")
    subtracted = single(-gain * back, "scale")
    below = np.nextafter(subtracted, np.float32(-np.inf))
    strict = bool((fires == subtracted).all())
    if not strict and not (fires == below).all():
        raise RejectedError("what is subtracted from it when it fires is not its threshold")
    gain = single(gain, "gain")
    return given.emit(
        "lif",
        threshold=subtracted,
        gain=gain if (gain != 1).any() else None,
        reset="soft",
        strict=strict or None,
        site=given.name,
    )


def without_op(given: NirNode) -> NoReturn:
    what = NO_OP[type(given.node).__name__]
    raise RejectedError(f"it is {what}, for which there is no op", help="a LIF or IF in its place compiles")

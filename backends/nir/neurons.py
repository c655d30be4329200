"""Neurons: IF, LIF and Threshold, and an integrator with a connection back where a reset subtracts.

NIR fires where v > v_threshold. A neuron of ours that fires where m >= threshold gets the next smaller
float32 for its v_threshold: no float32 lies between, so both fire alike, and so does a reader with >=.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from snnc.backends.nir.writer import Emitter, InexpressibleError, Writer, per_sample, sample_shape
from snnc.ir.codebooks import Binary

if TYPE_CHECKING:
    from snnc.ir.graph import Node
    from snnc.ir.kernel_types import Array

TO_ZERO = "compile with --method if --reset zero, which NIR's IF is"
SUBTRACTS = "NIR's neurons reset to a value, this one by subtraction"


def below(threshold: Array) -> Array:
    """Return the largest float32 below each threshold: m >= threshold is m > below(threshold)."""
    return np.nextafter(threshold.astype(np.float32), np.float32(-np.inf))


def neuron(writer: Writer, node: Node) -> None:
    """A binary neuron: m = v + x, a spike where m / q >= 1, after which v is 0 (or m - q)."""
    given = writer.graph.resolve(node)
    refuse_neuron(given)
    shape = sample_shape(node.operands[0])
    quantum = per_sample(given["quantum"], shape)
    # A negative quantum mirrors the neuron: it integrates -x.
    threshold, sign = np.abs(quantum), np.sign(quantum)
    if given["reset"] == "restart":
        if (sign < 0).any():
            raise InexpressibleError("NIR's Threshold cannot be mirrored", help=TO_ZERO)
        writer.put(node, "threshold", writer.nir.Threshold(below(threshold)))
    elif given["reset"] == "zero":
        primitive = writer.nir.IF(
            r=sign / writer.timing.dt, v_threshold=below(threshold), v_reset=np.zeros(shape, np.float32)
        )
        writer.put(node, "if", primitive)
    else:
        subtracting(writer, node, sign.astype(np.float64), threshold, below(threshold))
    if given["scale"] is not None:
        scale = writer.nir.Scale(per_sample(given["scale"], shape))
        writer.sources[node.result] = (writer.add("scale", scale, writer.sources[node.result], node),)


def refuse_neuron(given: dict[str, Any]) -> None:
    """Refuse a neuron that is not binary or that begins with a charge."""
    if given["quantum"] is None:
        raise InexpressibleError("it has no threshold yet", help="run choose-thresholds (snnc compile does)")
    if not isinstance(given["codebook"], Binary):
        raise InexpressibleError(
            f"it sends payloads ({given['codebook'].name}), NIR's neurons send single spikes", help=TO_ZERO
        )
    if given["initial"] or (given["charge"] is not None and given["charge"].any()):
        raise InexpressibleError(
            "its membrane starts charged; NIR does not say where a membrane starts, readers take its reset",
            help="compile with --thresholds percentile or max",
        )
    if given["bias"] is not None and given["bias"].any():
        raise InexpressibleError(
            "it has a constant current of its own, NIR's IF has none",
            help="compile with --batch-norm weights",
        )


def lif(writer: Writer, node: Node) -> None:
    given, shape = writer.graph.resolve(node), sample_shape(node.operands[0])
    numbers = {
        name: per_sample(np.array(absent) if given[name] is None else given[name], shape).astype(np.float64)
        for name, absent in (("leak", 1), ("gain", 1), ("bias", 0), ("rest", 0))
    }
    threshold = per_sample(given["threshold"], shape).astype(np.float32)
    fires = threshold if given["strict"] else below(threshold)
    leak = numbers["leak"]
    plain = (leak == 0).all() and (numbers["gain"] == 1).all() and (numbers["bias"] == 0).all()
    if plain and not given["delayed"]:
        writer.put(node, "threshold", writer.nir.Threshold(fires))
    elif given["reset"] == "soft":
        if (leak != 1).any() or numbers["bias"].any() or given["initial"]:
            raise InexpressibleError(
                SUBTRACTS,
                help="train with a reset to a value; --feedback writes it without leak and bias only",
            )
        subtracting(writer, node, numbers["gain"], threshold, fires)
    else:
        refuse_lif(given, numbers)
        v_reset = numbers["rest"].astype(np.float32)
        if (leak == 1).all():
            primitive = writer.nir.IF(
                r=numbers["gain"] / writer.timing.dt, v_threshold=fires, v_reset=v_reset
            )
            writer.put(node, "if", primitive)
        else:
            writer.put(node, "lif", leaky(writer, numbers, fires, v_reset))


def refuse_lif(given: dict[str, Any], numbers: dict[str, Array]) -> None:
    """Refuse what neither IF nor LIF says."""
    leak = numbers["leak"]
    if given["reset"] == "none":
        raise InexpressibleError(
            "NIR's neurons reset when they fire, this one does not", help="train with a reset to a value"
        )
    if given["delayed"]:
        raise InexpressibleError(
            "NIR's neurons reset at once, this one in the following step",
            help="train with a reset that is not delayed (snnTorch: reset_delay=False)",
        )
    if (numbers["rest"] != np.float64(given["initial"])).any():
        raise InexpressibleError(
            "its membrane starts elsewhere than it is reset to; NIR does not say where a membrane starts, "
            "readers take its reset",
            help="let it start at its reset",
        )
    if (leak == 1).all() and numbers["bias"].any():
        raise InexpressibleError(
            "it has a constant current of its own, NIR's IF has none",
            help="let the layer in front add it as its bias",
        )
    if (leak != 1).any() and not ((leak >= 0) & (leak < 1)).all():
        raise InexpressibleError(
            "NIR's LIF keeps 0 to 1 of its membrane in a step, in every channel",
            help="train with such leaks, or all without a leak",
        )


def leaky(writer: Writer, numbers: dict[str, Array], fires: Array, v_reset: Array) -> Any:
    """m = leak v + gain x + bias as tau dv/dt = (v_leak - v) + R I."""
    leak, share = numbers["leak"], 1 - numbers["leak"]
    if writer.timing.integration == "exponential" and not leak.all():
        raise InexpressibleError(
            "a membrane that forgets all in one step has no time constant",
            help="emit with --integration euler",
        )
    tau = writer.timing.tau(leak)
    if ((1 - writer.timing.decay(tau)).astype(np.float32) != leak).any():
        other = "exponential" if writer.timing.integration == "euler" else "euler"
        raise InexpressibleError(
            "no time constant gives back its leak to the last bit", help=f"try --integration {other}"
        )
    return writer.nir.LIF(
        tau=tau,
        r=numbers["gain"] / share,
        v_leak=numbers["bias"] / share,
        v_threshold=fires,
        v_reset=v_reset,
    )


def subtracting(writer: Writer, node: Node, gain: Array, threshold: Array, fires: Array) -> None:
    """m(t) = v(t-1) + gain x(t), less threshold s(t-1): an integrator I, a Threshold, a Scale back to I."""
    if not writer.feedback:
        raise InexpressibleError(SUBTRACTS, help="compile with --reset zero, or emit with --feedback")
    integrator = writer.add("integrator", writer.nir.I(gain / writer.timing.dt), writer.read(node), node)
    spikes = writer.add("threshold", writer.nir.Threshold(fires), [integrator], node)
    back = writer.add("feedback", writer.nir.Scale(-threshold / gain), [spikes], node)
    writer.edges.append((back, integrator))
    writer.sources[node.result] = (spikes,)


# What a neuron stands for (unit, low, high, site) changes no spike, nor does a quantum of negative payloads.
# Bounds that hold for a sum are those of payloads, which are refused.
NEURONS: dict[str, Emitter] = {
    "neuron": Emitter(
        neuron,
        {"codebook", "quantum", "bias", "scale", "initial", "charge", "reset"}
        | {"unit", "low", "high", "site", "negative", "bounds"},
    ),
    "lif": Emitter(
        lif,
        {"threshold", "leak", "gain", "bias", "reset", "rest", "strict", "delayed", "initial", "site"},
    ),
}

"""Neurons and the other ops that keep state from one time step to the next.

Their kernels live in the simulators, because a kernel of the table is a pure function; the equations here
are the specification. Parameters broadcast against the operand with every axis present (1 where shared).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from snnc.ir.codebooks import Binary, MultiSpike, Payload, PowerOfTwo, Ternary
from snnc.ir.errors import TypeInferenceError
from snnc.ir.op import Attribute, Kind, Op, Role
from snnc.ir.shapes import Batch, Shape, show_shape, static_dim

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from typing import Any

    from snnc.ir.codebooks import Codebook
    from snnc.ir.kernel_types import Array
    from snnc.ir.types import TensorType, Type

# What becomes of the membrane after a step: payloads are subtracted, spikes clear it, it starts afresh.
RESETS = ("subtract", "zero", "restart")
# What lo and hi of a codebook are the bounds of: every payload, or t-fold the sum of the first t.
BOUNDS = ("step", "sum")
# Why a machine that keeps a membrane and no more has no such neurons.
TAKES_BACK = (
    "it takes back what it sent too early (bounds = sum), for which it would have to count what it sent"
)
# Currents of integer synapses; their sums, thresholds and membranes are exact in double precision.
INTEGRATED = ("i32",)
MOST_WIDTH = 32


def check_parameter(name: str, array: Array | None, shape: Shape, what: str = "neuron") -> None:
    """Refuse a per-channel parameter that does not broadcast against one sample of the operand."""
    if array is None:
        return
    fits = array.ndim == len(shape) and all(
        size == 1 or (size == dim and not isinstance(dim, Batch))
        for size, dim in zip(array.shape, shape, strict=True)
    )
    if not fits:
        raise TypeInferenceError(
            f"{what} {name} of shape {list(array.shape)} does not broadcast against {show_shape(shape)}"
        )


def check_integrates(
    x: TensorType, width: int | None, parameters: dict[str, Array | None], what: str
) -> None:
    """Refuse a stream that no membrane integrates, or parameters that are not in its numbers."""
    if x.dtype not in INTEGRATED and not x.is_real:
        raise TypeInferenceError(f"{what} integrates a real stream or {INTEGRATED[0]} currents, not {x}")
    if width is not None and (x.is_real or not 2 <= width <= MOST_WIDTH):
        raise TypeInferenceError(
            f"{what} of {x.dtype} cannot have width {width}: membranes of whole numbers have "
            f"2 to {MOST_WIDTH} bits"
        )
    for name, array in parameters.items():
        if array is not None and (array.dtype.kind == "f") != x.is_real:
            raise TypeInferenceError(f"{what} of {x.dtype} cannot have a {name} of {array.dtype}")


def whole_start(given: Mapping[str, Any]) -> Array:
    """Return v(0) of a neuron on whole numbers: (initial + charge) quantum, rounded, halves to even."""
    charge = given["charge"]
    quanta = given["initial"] + (0.0 if charge is None else charge.astype(np.float64))
    return np.asarray(np.rint(quanta * given["quantum"].astype(np.float64)))


def infer_neuron(
    x: TensorType,
    *,
    codebook: Codebook,
    quantum: Array | None,
    bias: Array | None,
    scale: Array | None,
    unit: Array | None,
    negative: Array | None,
    level_axis: int | None,
    initial: float,
    charge: Array | None,
    reset: str,
    bounds: str,
    width: int | None,
    low: float | None,
    high: float | None,
    site: str | None,
) -> TensorType:
    check_integrates(x, width, {"quantum": quantum, "bias": bias}, "a neuron")
    if bounds == "sum":
        check_bounds_sum(codebook, negative=negative, reset=reset)
    if not x.is_real and not (scale is None and negative is None):
        raise TypeInferenceError("a neuron of whole numbers has neither scale nor negative")
    parameters = {"quantum": quantum, "bias": bias, "scale": scale, "unit": unit, "negative": negative}
    for name, array in (parameters | {"charge": charge}).items():
        check_parameter(name, array, x.shape)
    if charge is not None and not np.isfinite(charge).all():
        raise TypeInferenceError("neuron charge must be finite in every channel")
    if quantum is not None and not (np.isfinite(quantum).all() and (quantum != 0).all()):
        raise TypeInferenceError("neuron quantum must be finite and not zero in every channel")
    if low is not None and high is not None and low >= high:
        raise TypeInferenceError(f"neuron low {low} is not below high {high}")
    if negative is not None and not (np.isfinite(negative).all() and (negative > 0).all()):
        raise TypeInferenceError("neuron negative must be finite and positive in every channel")
    if reset == "zero" and not isinstance(codebook, Binary | Ternary):
        raise TypeInferenceError(
            f"a neuron with codebook {codebook.name} cannot reset to zero: it would lose what rounding left",
            help="leave out reset, or use codebook binary or ternary",
        )
    if level_axis is None:
        return x
    if scale is not None:
        raise TypeInferenceError("a neuron with level_axis sends binary spikes: it cannot have a scale")
    return x.with_shape(lines_shape(x.shape, codebook, level_axis))


def check_bounds_sum(codebook: Codebook, *, negative: Array | None, reset: str) -> None:
    """Refuse a neuron whose sum of payloads would not be a function of all it received."""
    if not isinstance(codebook, MultiSpike) or codebook.rounding == "burst":
        raise TypeInferenceError(
            "a neuron with bounds = sum rounds what it received: its codebook is multi, nearest or floor",
            help="use codebook multi(lo, hi) or multi(lo, hi, floor)",
        )
    if negative is not None or reset != "subtract":
        raise TypeInferenceError("a neuron with bounds = sum has one quantum and resets by subtraction")


def lines_shape(shape: Shape, codebook: Codebook, axis: int) -> Shape:
    """Return the shape of a neuron's binary lines: along `axis`, one per payload, channel after channel."""
    if not isinstance(codebook, PowerOfTwo):
        raise TypeInferenceError(f"level_axis needs a power-of-two codebook, not {codebook.name}")
    if not 0 <= axis < len(shape) or isinstance(shape[axis], Batch):
        raise TypeInferenceError(f"neuron level_axis {axis} is no channel axis of {show_shape(shape)}")
    lines = static_dim(shape[axis], "the channel axis") * len(codebook.members)
    return (*shape[:axis], lines, *shape[axis + 1 :])


def differential_neuron(*, reset: str, bounds: str, **attributes: Any) -> str | None:
    if bounds == "sum":
        return "there every neuron's bounds hold for what it has sent in all; bounds = sum says so twice"
    return None if reset == "subtract" else f"a neuron with reset {reset} forgets what it has not sent"


def infer_lif(
    x: TensorType,
    *,
    threshold: Array,
    leak: Array | None,
    gain: Array | None,
    bias: Array | None,
    reset: str,
    rest: Array | None,
    strict: bool,
    delayed: bool,
    initial: float,
    width: int | None,
    site: str | None,
) -> TensorType:
    check_integrates(x, width, {"threshold": threshold, "bias": bias, "rest": rest}, "a lif neuron")
    parameters = {"threshold": threshold, "leak": leak, "gain": gain, "bias": bias, "rest": rest}
    for name, array in parameters.items():
        check_parameter(name, array, x.shape, "lif")
    if reset != "hard" and rest is not None:
        raise TypeInferenceError(f"a lif neuron has a rest where its reset is hard, not {reset}")
    return x


def binary_spikes(types: Sequence[Type], attributes: Mapping[str, Any]) -> Payload:
    return Payload(0, 1)


def infer_delay(x: TensorType, *, steps: int) -> TensorType:
    if steps < 1:
        raise TypeInferenceError(f"delay needs at least one step, got {steps}")
    return x


WIDTH = Attribute(Kind.INT, None, "bits of a membrane of whole numbers, where it saturates (absent: never)")

OPS = (
    Op(
        "neuron",
        "m(t) = v(t-1) + x(t) + bias; k(t) = Q(m(t) / quantum); v(t) = m(t) - quantum k(t); "
        "y(t) = scale k(t); v(0) = (initial + charge) quantum. With `negative`, r: below 0, m / quantum is "
        "divided by r in front of Q and k multiplied by r behind it. With `level_axis`: y(t) = 1 on the line "
        "of k(t), 0 on the others. With reset = zero: v(t) = 0 where k(t) != 0; with restart: v(t) = v(0). "
        "With bounds = sum, s(t) = k(1) + … + k(t), lo and hi the ends of K: "
        "s(t) = clip(Q(m(t) / quantum + s(t-1)), t lo, t hi), Q onto all whole numbers. "
        "On whole numbers v(0) is rounded, halves to even; with `width`, w: m(t) is at least -2^(w-1) and at "
        "most 2^(w-1) - 1. "
        "In differential coding: m(t) = v(0) + (v(t-1) - v(0)) t / (t-1) + x(t), bias at t = 1 only; "
        "rho(t) = rho(t-1) + k(t) / t; k(t) = Q±(clip(m(t) / quantum, round(t (lo - rho(t-1))), "
        "round(t (hi - rho(t-1))))), Q± onto K and its negatives, lo and hi the ends of K",
        ("x",),
        infer_neuron,
        None,
        Role.STATEFUL,
        {
            "codebook": Attribute(Kind.CODEBOOK, doc="allowed payloads K and the quantiser Q onto them"),
            "quantum": Attribute(Kind.TENSOR, None, "smallest threshold q per channel (negative: mirrored)"),
            "bias": Attribute(Kind.TENSOR, None, "constant current per channel"),
            "scale": Attribute(Kind.TENSOR, None, "value of payload 1 (absent: 1, the normalised neuron)"),
            "unit": Attribute(Kind.TENSOR, None, "what payload 1 decodes to in the source model's tensor"),
            "negative": Attribute(Kind.TENSOR, None, "quantum of negative payloads, relative to quantum (r)"),
            "level_axis": Attribute(Kind.INT, None, "axis that gets a binary line per channel and payload"),
            "initial": Attribute(Kind.FLOAT, 0.0, "initial membrane in quanta"),
            "charge": Attribute(Kind.TENSOR, None, "what each channel has besides, in quanta"),
            "reset": Attribute(Kind.STRING, "subtract", "what a spike does to v", RESETS),
            "bounds": Attribute(
                Kind.STRING, "step", "what the ends of K bound: k, or its sum per step", BOUNDS
            ),
            "width": WIDTH,
            "low": Attribute(Kind.FLOAT, None, "lower bound of the activation the neuron absorbed"),
            "high": Attribute(Kind.FLOAT, None, "upper bound of the activation the neuron absorbed"),
            "site": Attribute(Kind.STRING, None, "tensor of the source model the neuron stands for"),
        },
        expectation=False,
        differential=differential_neuron,
        neuron=True,
    ),
    Op(
        "lif",
        "m(t) = leak v(t-1) + gain x(t) + bias; s(t) = 1 where m(t) >= threshold (strict: >), else 0; "
        "hard reset: v(t) = rest where s(t) = 1, else m(t); soft: v(t) = m(t) - threshold s(t); "
        "none: v(t) = m(t); v(0) = initial. "
        "With `delayed`: v(t) = m(t), and the reset that s(t-1) causes comes with step t: "
        "hard: m(t) = rest where s(t-1) = 1; soft: threshold s(t-1) is subtracted from m(t), last. "
        "s(0) = [v(0) >= threshold] there. "
        "On whole numbers: trunc(leak v(t-1)); with `width`, w: m(t) is at least -2^(w-1) and at most "
        "2^(w-1) - 1",
        ("x",),
        infer_lif,
        None,
        Role.STATEFUL,
        {
            "threshold": Attribute(Kind.TENSOR, doc="the membrane at which it fires, per channel"),
            "leak": Attribute(
                Kind.TENSOR, None, "share of the membrane that is left a step later (absent: 1)"
            ),
            "gain": Attribute(Kind.TENSOR, None, "factor of the input (absent: 1)"),
            "bias": Attribute(Kind.TENSOR, None, "constant current (absent: 0)"),
            "reset": Attribute(
                Kind.STRING, "hard", "what a spike does to the membrane", ("hard", "soft", "none")
            ),
            "rest": Attribute(Kind.TENSOR, None, "membrane after a hard reset (absent: 0)"),
            "strict": Attribute(Kind.BOOL, False, "fires above the threshold only, not at it"),
            "delayed": Attribute(Kind.BOOL, False, "the reset takes effect in the following step"),
            "initial": Attribute(Kind.FLOAT, 0.0, "initial membrane"),
            "width": WIDTH,
            "site": Attribute(Kind.STRING, None, "tensor of the source model that holds its spikes"),
        },
        payload=binary_spikes,
        expectation=False,
        neuron=True,
    ),
    Op(
        "delay",
        "y(t) = x(t - steps); y(t) = 0 for t <= steps",
        ("x",),
        infer_delay,
        None,
        Role.STATEFUL,
        {"steps": Attribute(Kind.INT, 1, "how many time steps later the stream leaves")},
        expectation=False,
    ),
)

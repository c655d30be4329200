"""Random graphs with `lif` and `delay`, which no ONNX operator becomes: built of SIR ops.

Weights, thresholds and inputs are small multiples of powers of two and no factor has more digits than two, so
sums are exact in any order and every backend must send the same bits.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np
from hypothesis import strategies as st

from snnc.ir.codebooks import Binary, MultiSpike, PowerOfTwo, Ternary
from tests.generated.builder import SAMPLES
from tests.passes.build import Builder, N

if TYPE_CHECKING:
    from snnc.ir.codebooks import Codebook
    from snnc.ir.graph import Graph, Value
    from snnc.ir.kernel_types import Array

STEPS = 5
SHAPES = ((6,), (3, 4, 4))
CODEBOOKS: tuple[Codebook, ...] = (
    Binary(), Ternary(), MultiSpike(-7, 7), MultiSpike(0, 3), MultiSpike(-15, 15, "burst"), PowerOfTwo(3),
)  # fmt: skip


@dataclass(frozen=True)
class SpikingNetwork:
    """A graph, samples of its inputs (with `timed`, one for each of STEPS steps), and its ops, in order."""

    graph: Graph = field(repr=False)
    data: dict[str, Array] = field(repr=False)
    ops: tuple[str, ...]
    timed: bool


class Drawn:
    """A graph under construction, whose parameters come from `rng`."""

    def __init__(self, rng: np.random.Generator, shape: tuple[int, ...]) -> None:
        self.rng, self.b = rng, Builder(N, *shape)

    def eighths(self, *shape: int, low: int = -8, high: int = 8) -> Array:
        return (self.rng.integers(low, high + 1, shape) / 8).astype(np.float32)

    def per_channel(self, x: Value, low: int, high: int) -> Array:
        """Return a number for all or for each channel."""
        rank = len(x.type.shape)
        channels = x.type.shape[1] if self.rng.random() < 0.5 else 1
        assert isinstance(channels, int)
        return self.eighths(1, channels, *[1] * (rank - 2), low=low, high=high)

    def sometimes(self, **attributes: Any) -> dict[str, Any]:
        return {name: value for name, value in attributes.items() if self.rng.random() < 0.4}

    def lif(self, x: Value) -> Value:
        reset = str(self.rng.choice(["hard", "soft", "none"]))
        rest = self.sometimes(rest=self.per_channel(x, -4, 2)) if reset == "hard" else {}
        leak = self.per_channel(x, 1, 2) * np.float32(4)  # a half or a whole
        given = self.sometimes(
            leak=leak, gain=self.per_channel(x, 4, 12), bias=self.per_channel(x, -2, 4),
            initial=0.25, strict=True, delayed=True,
        )  # fmt: skip
        return self.b("lif", x, threshold=self.per_channel(x, 4, 12), reset=reset, **given, **rest)

    def delay(self, x: Value) -> Value:
        return self.b("delay", x, steps=int(self.rng.integers(1, STEPS + 2)))

    def neuron(self, x: Value) -> Value:
        quantum = self.rng.choice([0.25, 0.5, 1.0])
        codebook = CODEBOOKS[self.rng.integers(len(CODEBOOKS))]
        stored = np.full((1,) * len(x.type.shape), quantum, np.float32)
        return self.b("neuron", x, codebook=codebook, quantum=stored, scale=stored, unit=stored)

    def synapse(self, x: Value) -> Value:
        channels = x.type.shape[1]
        assert isinstance(channels, int)
        if len(x.type.shape) == 2:
            bias = self.sometimes(bias=self.eighths(6))
            return self.b("linear", x, weight=self.eighths(6, channels), **bias)
        weight, bias = self.eighths(3, channels, 3, 3, low=-4, high=4), self.sometimes(bias=self.eighths(3))
        return self.b("conv", x, weight=weight, strides=(1, 1), pads=(1, 1, 1, 1), **bias)

    def scaled(self, x: Value) -> Value:
        return self.b("add", self.b("mul", x, self.per_channel(x, 4, 12)), self.per_channel(x, -4, 4))

    def twice(self, x: Value) -> Value:
        return self.b("mul", x, 2.0)


KINDS = ("lif", "lif", "delay", "delay", "neuron", "synapse", "scaled", "twice")
JOINS = ("", "add", "sub")


@st.composite
def spiking_networks(draw: st.DrawFn) -> SpikingNetwork:
    """Draw a chain of up to eight ops with residual connections, a lif or delay and one to three outputs."""
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    shape = draw(st.sampled_from(SHAPES))
    drawn = Drawn(rng, shape)
    kinds = draw(st.lists(st.sampled_from(KINDS), min_size=1, max_size=7))
    kinds.insert(draw(st.integers(0, len(kinds))), draw(st.sampled_from(("lif", "delay"))))
    streams = [drawn.synapse(drawn.b.x)]
    for kind in kinds:
        x = getattr(drawn, kind)(draw(st.sampled_from(streams[-2:])))
        how = draw(st.sampled_from(JOINS))
        streams.append(drawn.b(how, x, draw(st.sampled_from(streams))) if how else x)
    last = drawn.synapse(streams[-1])
    others = draw(st.lists(st.sampled_from(streams), max_size=2, unique=True))
    outputs = {f"y{index}": value for index, value in enumerate([last, *others])}
    graph = drawn.b.outputs(**outputs)
    timed = draw(st.booleans())
    x = drawn.eighths(*([STEPS] if timed else []), SAMPLES, *shape, low=-12, high=12)
    return SpikingNetwork(graph, {"x": x}, tuple(kinds), timed)

"""The multi-threshold neuron of ECMT, step by step against a scalar one that knows only its levels."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from snnc.backends.reference import Simulator
from snnc.ir.codebooks import PowerOfTwo
from snnc.ir.errors import TypeInferenceError
from snnc.ir.types import SpikeType
from tests.passes.build import Builder, N

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from snnc.ir.graph import Graph
    from snnc.ir.kernel_types import Array

STEPS = 12
PROFILES = {
    "published-code": PowerOfTwo(8),
    "nearest-top": PowerOfTwo(8, True, "nearest", 0.75),
    "few levels": PowerOfTwo(3),
    "one side": PowerOfTwo(5, False),
    "one side, nearest": PowerOfTwo(5, False, "nearest", 0.75),
}


def published_code(m: float, base: float, levels: int) -> float:
    """The largest level at most half a base above |m|; silent where |m| < base / 2."""
    for k in reversed(range(levels)):
        if m >= base * 2**k - base / 2:
            return base * 2**k
    return 0.0


def nearest_top(m: float, base: float, levels: int) -> float:
    """The nearest of θ, θ/2, θ/4, …; silent where |m| < 3/4 of the smallest."""
    if m < 0.75 * base:
        return 0.0
    top = base * 2 ** (levels - 1)
    distances = [(abs(m - top / 2**i), i) for i in range(levels)]
    return top / 2 ** min(distances)[1]


def scalar_neuron(
    currents: Sequence[float], positive: float, negative: float, codebook: PowerOfTwo
) -> list[tuple[float, float]]:
    """Return (what is sent, membrane) after every step, one addition and comparison at a time."""
    fire: Callable[[float, float, int], float] = published_code if codebook.firing == "below" else nearest_top
    membrane, series = 0.0, []
    for current in currents:
        membrane += current
        if membrane >= 0:
            sent = fire(membrane, positive, codebook.levels)
        else:
            sent = -fire(-membrane, negative, codebook.levels) if codebook.signed else 0.0
        membrane -= sent
        series.append((sent, membrane))
    return series


class Recorder:
    """Keeps the neuron's output and membrane of every step."""

    def __init__(self) -> None:
        self.sent: list[Array] = []
        self.membranes: list[Array] = []

    def observe(self, node: Any, t: int, value: Array, membrane: Array | None) -> None:
        if node.op.name == "neuron":
            assert membrane is not None
            self.sent.append(value.copy())
            self.membranes.append(membrane.copy())


def vector(*numbers: float) -> Array:
    return np.array([numbers], np.float32)


def varying(codebook: PowerOfTwo, positive: Array, negative: Array, **attributes: Any) -> Graph:
    """A neuron fed by a stream that varies in time: what another neuron lets through of its input."""
    b = Builder(N, 3)
    pulses = b("neuron", b.x, codebook=PowerOfTwo(4), quantum=vector(1, 1, 1), name="source")
    current = b(
        "add", b("mul", pulses, b.constant(vector(0.75, 0.75, 0.75))), b.constant(vector(-0.25, 0.25, 0))
    )
    neuron = b(
        "neuron",
        current,
        codebook=codebook,
        quantum=positive,
        scale=positive,
        negative=negative / positive,
        name="neuron",
        **attributes,
    )
    return b.outputs(current=current, y=neuron)


def stepwise(decoded: Array) -> Array:
    """Return a stream from its running means."""
    t = np.arange(1, len(decoded) + 1).reshape(-1, 1, 1)
    return np.diff(decoded * t, axis=0, prepend=0)


@pytest.mark.parametrize("profile", PROFILES)
@settings(max_examples=25, deadline=None)
@given(
    seed=st.integers(0, 10_000),
    positive=st.lists(st.sampled_from([0.0625, 0.25, 0.5, 2.0]), min_size=3, max_size=3),
    negative=st.lists(st.sampled_from([0.03125, 0.25, 1.0, 4.0]), min_size=3, max_size=3),
)
def test_every_step_is_the_scalar_neuron_s(
    profile: str, seed: int, positive: list[float], negative: list[float]
) -> None:
    """Inputs and quanta are dyadic, so that sums are exact and ties at the edges of levels are met."""
    codebook = PROFILES[profile]
    graph = varying(codebook, vector(*positive), vector(*negative))
    x = (np.random.default_rng(seed).integers(-160, 161, (4, 3)) / 32).astype(np.float32)
    recorder = Recorder()
    run = Simulator(graph).run({"x": x}, STEPS, observers=[recorder])
    currents = stepwise(run.outputs["current"].astype(np.float64))
    sent, membranes = recorder.sent[1::2], recorder.membranes[1::2]
    for index in np.ndindex(4, 3):
        given_currents = [round(float(current[index]) * 128) / 128 for current in currents]
        p, q = positive[index[1]], negative[index[1]]
        for t, (spike, membrane) in enumerate(scalar_neuron(given_currents, p, q, codebook)):
            assert sent[t][index] == spike, (t, index)
            assert membranes[t][index] == membrane, (t, index)


def test_the_edges_of_the_levels() -> None:
    u = np.array([0.49, 0.5, 1.49, 1.5, 3.49, 3.5, 7.5, 99, -0.49, -0.5, -1.5, -99], np.float32)
    assert PowerOfTwo(4).quantise(u).tolist() == [0, 1, 1, 2, 2, 4, 8, 8, 0, -1, -2, -8]
    u = np.array([0.74, 0.75, 1.49, 1.5, 2.99, 3, 6, 99, -0.74, -0.75, -3, -99], np.float32)
    top = PowerOfTwo(4, True, "nearest", 0.75)
    assert top.quantise(u).tolist() == [0, 1, 1, 2, 2, 4, 8, 8, 0, -1, -4, -8]
    assert PowerOfTwo(4, True, "nearest", 0.5).quantise(np.array([0.49, 0.5, 0.8])).tolist() == [0, 1, 1]
    assert PowerOfTwo(4, False, "below", 2.0).quantise(np.array([-9, 1.9, 2, 4])).tolist() == [0, 0, 2, 4]


def test_a_mirrored_neuron_mirrors_its_sides() -> None:
    """A negative quantum turns the neuron over: the side `negative` widens is the other one."""
    quantum, ratio = vector(0.5, 1.0, 2.0), vector(4.0, 0.25, 1.0)
    x = np.linspace(-5, 5, 21, dtype=np.float32).reshape(7, 3)

    def outputs(sign: float) -> Array:
        b = Builder(N, 3)
        neuron = b("neuron", b.x, codebook=PowerOfTwo(4), quantum=sign * quantum, negative=ratio)
        return Simulator(b.outputs(y=neuron)).run({"x": sign * x}, 6).outputs["y"]

    np.testing.assert_array_equal(outputs(1.0), outputs(-1.0))


def test_uneven_sides_are_typed_as_scaled_spikes() -> None:
    b = Builder(N, 3)
    even = b("neuron", b.x, codebook=PowerOfTwo(4))
    uneven = b("neuron", b.x, codebook=PowerOfTwo(4), negative=vector(2, 2, 2))
    assert [str(value.type) for value in (even, uneven)] == [
        "spikes<-8..8 pow2, N x 3>",
        "spikes<-8..8 pow2 scaled, N x 3>",
    ]
    assert not isinstance(b("add", uneven, uneven).type, SpikeType)
    with pytest.raises(TypeInferenceError, match="negative must be finite and positive"):
        b("neuron", b.x, codebook=PowerOfTwo(4), negative=vector(1, 0, 1))


def test_lines_carry_one_payload_each() -> None:
    codebook, payload = PowerOfTwo(2), np.array([[0, 1, -2], [2, -1, 0]], np.float32)
    lines = codebook.to_lines(payload, 1)
    assert lines.tolist() == [
        [0, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 1],
        [0, 1, 0, 0, 0, 0, 1, 0, 0, 0, 0, 0],
    ]
    np.testing.assert_array_equal(codebook.from_lines(lines, 1), payload)
    images = codebook.quantise(np.random.default_rng(0).standard_normal((2, 3, 4, 5)))
    np.testing.assert_array_equal(codebook.from_lines(codebook.to_lines(images, 1), 1), images)


@pytest.mark.parametrize(
    ("attributes", "message"),
    [
        ({"scale": vector(1, 1, 1), "level_axis": 1}, "cannot have a scale"),
        ({"level_axis": 0}, "level_axis 0 is no channel axis of N x 3"),
        ({"level_axis": 2}, "level_axis 2 is no channel axis"),
    ],
)
def test_lines_that_cannot_be(attributes: dict[str, Any], message: str) -> None:
    b = Builder(N, 3)
    with pytest.raises(TypeInferenceError, match=message):
        b("neuron", b.x, codebook=PowerOfTwo(4), **attributes)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("codebook", PROFILES.values(), ids=PROFILES)
def test_one_step_to_the_last_bit(codebook: PowerOfTwo, dtype: type[np.floating[Any]]) -> None:
    """Around every edge between levels, and far outside them."""
    fire = published_code if codebook.firing == "below" else nearest_top
    edges = [edge for k in range(codebook.levels + 1) for edge in (2**k - 0.5, 0.75 * 2**k, 2.0**k)]
    around = [np.nextafter(dtype(edge), dtype(way)) for edge in edges for way in (0, np.inf)]
    u = np.array([0, 1e-30, 1e30, np.inf, *edges, *around], dtype)
    expected = [fire(min(float(value), 1e6), 1, codebook.levels) for value in u]
    assert codebook.quantise(u).tolist() == expected
    assert codebook.quantise(-u).tolist() == [-value if codebook.signed else 0 for value in expected]
    np.testing.assert_array_equal(codebook.quantise(buffer := u.copy(), out=buffer), expected)

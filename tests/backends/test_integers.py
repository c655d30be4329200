"""Networks of integers: the simulator against scalar neurons that compute with Python's own whole numbers."""

from __future__ import annotations

from fractions import Fraction
from typing import TYPE_CHECKING

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from snnc.backends.reference import Simulator
from snnc.ir.codebooks import Binary, MultiSpike, PowerOfTwo, Ternary
from snnc.ir.errors import PassError, SnncError
from snnc.ir.text.parser import parse_graph
from snnc.ir.text.printer import print_graph
from snnc.ir.verify import verify
from snnc.passes.manager import PassManager
from snnc.passes.simplify import Simplify

if TYPE_CHECKING:
    from collections.abc import Sequence

    from snnc.ir.codebooks import Codebook
    from snnc.ir.graph import Graph

CODEBOOKS: dict[str, Codebook] = {
    "binary": Binary(),
    "ternary": Ternary(),
    "multi(-7, 7)": MultiSpike(-7, 7),
    "multi(0, 15, floor)": MultiSpike(0, 15, "floor"),
    "multi(0, 511, burst)": MultiSpike(0, 511, "burst"),
    "multi(-100, 100, burst)": MultiSpike(-100, 100, "burst"),
    "pow2(5)": PowerOfTwo(5),
    "pow2(4, false, nearest, 0.75)": PowerOfTwo(4, False, "nearest", 0.75),
}
ENCODER = (
    '%0 = neuron(%x) {codebook = multi(-32767, 32767), quantum = @unit, reset = "restart"}'
    " : spikes<-32767..32767, N x 1>"
)
EXTREMES = (-(2**23), 2**23 - 1)


def select(codebook: Codebook, m: int, theta: int) -> int:
    """Return the payload of a membrane, by comparing fractions."""
    u = Fraction(m, theta)
    match codebook:
        case Binary():
            return int(u >= 1)
        case Ternary():
            return (u >= 1) - (u <= -1)
        case MultiSpike(rounding="nearest"):
            return round(min(max(u, Fraction(codebook.lo)), Fraction(codebook.hi)))
        case MultiSpike(rounding="floor"):
            return min(max(u.__floor__(), codebook.lo), codebook.hi)
        case MultiSpike():
            return burst(min(max(u, Fraction(codebook.lo)), Fraction(codebook.hi)))
        case PowerOfTwo():
            size = abs(u) if codebook.signed else u
            if size < Fraction(codebook.dead_zone):
                return 0
            edge = {
                "below": lambda level: level - Fraction(1, 2),
                "nearest": lambda level: Fraction(3, 4) * level,
            }
            levels = [2**j for j in range(codebook.levels)]
            fired = max([level for level in levels if size >= edge[codebook.firing](level)], default=1)
            return fired if u > 0 else -fired
    raise AssertionError(codebook)


def burst(u: Fraction) -> int:
    """Fire powers of two until less than 3/4 is left; what overshot is corrected beyond 3/4 only."""
    sign, left, sent = (-1 if u < 0 else 1), abs(u), 0
    while True:
        edges = [(2**j, Fraction(3, 4) * 2**j) for j in range(20)]
        up = [level for level, edge in edges if left >= edge]
        down = [-level for level, edge in edges if -left > edge]
        if not up and not down:
            return sign * sent
        level = max(up, default=0) + min(down, default=0)
        sent, left = sent + level, left - level


def scalar_neuron(
    currents: Sequence[int], codebook: Codebook, theta: int, bias: int, start: int, reset: str, width: int
) -> list[int]:
    """Return the payloads of one neuron."""
    v, sent = start, []
    for x in currents:
        m = min(max(v + x + bias, -(2 ** (width - 1))), 2 ** (width - 1) - 1)
        k = select(codebook, m, theta)
        v = {"subtract": m - theta * k, "zero": 0 if k else m, "restart": start}[reset]
        sent.append(k)
    return sent


def layer(
    weights: Sequence[int],
    codebook: str,
    theta: Sequence[int],
    *,
    bias: int = 0,
    initial: float = 0.0,
    reset: str = "subtract",
    width: int = 24,
    exponent: int = 0,
) -> Graph:
    """One neuron per weight, each driven by the one encoded input."""
    n = len(weights)
    inner = "" if exponent == 0 else f", exponent = {exponent}"
    graph = parse_graph(
        f"""sir 1
graph @layer(%x: tensor<f32, N x 1>) {{
  {ENCODER}
  %1 = linear(%0) {{weight = @w{inner}}} : tensor<i32, N x {n}>
  %2 = neuron(%1) {{codebook = {codebook}, quantum = @theta, bias = @bias, initial = {initial},
    reset = "{reset}", width = {width}, site = "k"}} : {spikes_of(codebook)}, N x {n}>
  return %2 as "k"
}}
tensor @unit : tensor<f32, 1 x 1> = [1.0]
tensor @w : tensor<i8, {n} x 1> = {list(weights)}
tensor @theta : tensor<i32, 1 x {n}> = {list(theta)}
tensor @bias : tensor<i32, 1 x {n}> = {[bias] * n}
"""
    )
    verify(graph)
    return graph


def spikes_of(codebook: str) -> str:
    return f"spikes<{CODEBOOKS[codebook].payload}"


@pytest.mark.parametrize("reset", ["subtract", "zero", "restart"])
@pytest.mark.parametrize("name", CODEBOOKS)
@settings(max_examples=25, deadline=None)
@given(data=st.data())
def test_every_neuron_computes_exactly_what_whole_numbers_do(
    name: str, reset: str, data: st.DataObject
) -> None:
    codebook = CODEBOOKS[name]
    if reset == "zero" and name not in ("binary", "ternary"):
        return  # refused: it would lose what rounding left
    weights = data.draw(st.lists(st.integers(-127, 127), min_size=3, max_size=3))
    theta = data.draw(st.lists(st.integers(1, 2**15), min_size=3, max_size=3))
    bias = data.draw(st.integers(-(2**16), 2**16))
    exponent = data.draw(st.integers(0, 7))
    inputs = data.draw(st.lists(st.integers(-32767, 32767), min_size=6, max_size=6))
    graph = layer(weights, name, theta, bias=bias, initial=1.0, reset=reset, exponent=exponent)
    x = np.array(inputs, np.float32).reshape(6, 1, 1)  # one value per step
    sent = Simulator(graph).run(x, 6, record=["k"]).spikes["k"][:, 0]
    for channel, (weight, theta_) in enumerate(zip(weights, theta, strict=True)):
        currents = [2**exponent * weight * value for value in inputs]
        expected = scalar_neuron(currents, codebook, theta_, bias, theta_, reset, 24)
        assert sent[:, channel].tolist() == expected


@pytest.mark.parametrize("theta", [1, 3, 2**15, 2**20 + 7])
@pytest.mark.parametrize("name", CODEBOOKS)
def test_membranes_saturate_at_their_width(name: str, theta: int) -> None:
    graph = layer([127, -127], name, [theta, theta], exponent=7)
    x = np.full((8, 1, 1), 32767, np.float32)
    run = Simulator(graph).run(x, 8, record=["k"])
    for channel, weight in enumerate((127, -127)):
        expected = scalar_neuron([weight * 2**7 * 32767] * 8, CODEBOOKS[name], theta, 0, 0, "subtract", 24)
        assert run.spikes["k"][:, 0, channel].tolist() == expected
    assert run.membranes["k"].min() >= EXTREMES[0]
    assert run.membranes["k"].max() <= EXTREMES[1]


def test_ties_and_edges_are_decided_on_rational_numbers() -> None:
    """A quotient rounded to single precision would fire where the membrane is one short of the threshold."""
    theta = 2**22 - 1
    graph = layer([1], "binary", [theta], bias=theta - 2, width=24)
    below = Simulator(graph).run(np.array([[1.0]], np.float32), 1, record=["k"]).spikes["k"]
    at = Simulator(graph).run(np.array([[2.0]], np.float32), 1, record=["k"]).spikes["k"]
    assert (below.item(), at.item()) == (0, 1)


@pytest.mark.parametrize(("theta", "start"), [(3, 2), (5, 2), (7, 4)])  # 1.5, 2.5, 3.5: halves to even
def test_a_starting_membrane_is_rounded_to_a_whole_number(theta: int, start: int) -> None:
    graph = layer([1], "binary", [theta], initial=0.5)
    sent = Simulator(graph).run(np.array([[1.0]], np.float32), 9, record=["k"]).spikes["k"][:, 0, 0]
    assert sent.tolist() == scalar_neuron([1] * 9, Binary(), theta, 0, start, "subtract", 24)


def scalar_lif(currents: Sequence[int], theta: int, decay: int, rest: int) -> list[int]:
    v, sent = 0, []
    for x in currents:
        m = abs(v) * decay // 4096 * (1 if v >= 0 else -1) + x
        m = min(max(m, EXTREMES[0]), EXTREMES[1])
        sent.append(int(m >= theta))
        v = rest if sent[-1] else m
    return sent


@settings(max_examples=50, deadline=None)
@given(
    inputs=st.lists(st.integers(-32767, 32767), min_size=8, max_size=8),
    theta=st.integers(1, 2**20),
    decay=st.integers(0, 4096),
    rest=st.integers(-100, 100),
)
def test_a_lif_neuron_rounds_its_decayed_membrane_towards_zero(
    inputs: list[int], theta: int, decay: int, rest: int
) -> None:
    graph = parse_graph(
        f"""sir 1
graph @lif(%x: tensor<f32, N x 1>) {{
  {ENCODER}
  %1 = linear(%0) {{weight = @w}} : tensor<i32, N x 1>
  %2 = lif(%1) {{threshold = @theta, leak = @leak, rest = @rest, width = 24, site = "k"}}
    : spikes<0..1, N x 1>
  return %2 as "k"
}}
tensor @unit : tensor<f32, 1 x 1> = [1.0]
tensor @w : tensor<i8, 1 x 1> = [3]
tensor @theta : tensor<i32, 1 x 1> = [{theta}]
tensor @rest : tensor<i32, 1 x 1> = [{rest}]
tensor @leak : tensor<f32, 1 x 1> = [{float(np.float32(decay / 4096))!r}]
"""
    )
    verify(graph)
    x = np.array(inputs, np.float32).reshape(8, 1, 1)
    sent = Simulator(graph).run(x, 8, record=["k"]).spikes["k"].ravel()
    assert sent.tolist() == scalar_lif([3 * value for value in inputs], theta, decay, rest)


def test_a_decoded_output_is_the_mean_of_whole_numbers_times_its_scale() -> None:
    graph = parse_graph(
        """sir 1
graph @outputs(%x: tensor<f32, N x 2>) {
  %0 = neuron(%x) {codebook = multi(-127, 127), quantum = @unit} : spikes<-127..127, N x 2>
  %1 = linear(%0) {weight = @w, bias = @b, exponent = 2} : tensor<i32, N x 3>
  %2 = dequantise(%1) {scale = @s} : tensor<f32, N x 3>
  return %2 as "y"
}
tensor @unit : tensor<f32, 1 x 1> = [0.5]
tensor @w : tensor<i8, 3 x 2> = [1, -2, 127, -127, 3, 0]
tensor @b : tensor<i32, 3> = [5, 0, -7]
tensor @s : tensor<f32, 3> = [0.5, 0.25, 1.0]
"""
    )
    x = np.array([[0.75, -2.0]], np.float32)  # 1.5 and -4 quanta: payloads 2 (halves to even), then 1
    y = Simulator(graph).run(x, 2).outputs["y"][:, 0]
    first = [0.5 * (4 * (2 + 8) + 5), 0.25 * 4 * (254 + 508), 4 * 6 - 7]
    second = [0.5 * (4 * (1 + 8) + 5), 0.25 * 4 * (127 + 508), 4 * 3 - 7]
    np.testing.assert_array_equal(y, [first, np.mean([first, second], axis=0)])


def test_integer_networks_print_and_parse() -> None:
    text = print_graph(layer([1, -2], "binary", [3, 4], exponent=3))
    assert "exponent = 3" in text
    assert "width = 24" in text
    assert print_graph(parse_graph(text)) == text


REFUSED = {
    "integer weights on reals": ("linear(%x) {weight = @w8}", "needs spikes"),
    "a real bias beside integer weights": ("linear(%k) {weight = @w8, bias = @real}", "bias of float32"),
    "an exponent of real weights": ("linear(%k) {weight = @w, exponent = 1}", "real ones none"),
    "an exponent too large": ("linear(%k) {weight = @w8, exponent = 16}", "from 0 to 15"),
    "a width of real membranes": (
        'neuron(%x) {codebook = binary, quantum = @q, width = 24}', "whole numbers have 2 to 32 bits"
    ),
    "a real threshold of integer currents": (
        'neuron(%i) {codebook = binary, quantum = @q}', "quantum of float32"
    ),
    "a scale of integer spikes": (
        'neuron(%i) {codebook = binary, quantum = @theta, scale = @q}', "neither scale nor negative"
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", REFUSED)
def test_what_mixes_reals_and_integers_is_refused(name: str) -> None:
    node, why = REFUSED[name]
    with pytest.raises(SnncError, match=why):
        parse_graph(
            f"""sir 1
graph @mixed(%x: tensor<f32, N x 1>) {{
  %k = neuron(%x) {{codebook = binary, quantum = @q}} : spikes<0..1, N x 1>
  %i = linear(%k) {{weight = @w8}} : tensor<i32, N x 1>
  %y = {node} : tensor<f32, N x 1>
  return %y as "y"
}}
tensor @q : tensor<f32, 1 x 1> = [1.0]
tensor @w : tensor<f32, 1 x 1> = [1.0]
tensor @w8 : tensor<i8, 1 x 1> = [1]
tensor @theta : tensor<i32, 1 x 1> = [1]
tensor @real : tensor<f32, 1> = [1.0]
"""
        )


def test_passes_for_real_weights_refuse_integers() -> None:
    graph = layer([1], "binary", [3])
    with pytest.raises(PassError, match="simplify is for networks of real weights"):
        PassManager([Simplify()]).run(graph)

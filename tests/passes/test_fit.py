"""Widths: bounds by hand, runs that never leave them, and what is refused."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from snnc.backends.reference import Simulator
from snnc.data import Normalise, load_data
from snnc.driver import Options, compile_model
from snnc.ir.codebooks import Binary, MultiSpike, PowerOfTwo, Ternary
from snnc.ir.errors import OptionError, PassError
from snnc.ir.verify import verify
from snnc.passes.fit import Fit
from snnc.passes.widths import Prover, Widths, bits_of, prove_widths
from tests.passes.build import Builder, N, applied

if TYPE_CHECKING:
    from snnc.ir.codebooks import Codebook
    from snnc.ir.graph import Graph, Node, Value
    from snnc.ir.kernel_types import Array

LARGEST = 2**23 - 1  # of 24 bits
DIGITS = Path(__file__).parents[2] / "examples" / "digits"


def i8(*values: Any) -> Array:
    return np.array(values, np.int8)


def i32(*values: int, rank: int = 2) -> Array:
    return np.array(values, np.int32).reshape(1, -1, *(1,) * (rank - 2))


def encoded(b: Builder, codebook: Codebook) -> Value:
    """The input as payloads, one per quantum, every step anew."""
    quantum = np.ones((1,) * len(b.x.type.shape), np.float32)
    return b("neuron", b.x, codebook=codebook, quantum=quantum, reset="restart", name="input")


def bounds(graph: Graph, widths: Widths | None = None) -> dict[str, tuple[list[float], list[float]]]:
    """Return the bounds of every node by origin."""
    found = Prover(graph, widths or Widths()).run()
    return {node.origin[0]: (x.lo.ravel().tolist(), x.hi.ravel().tolist()) for node, x in found}


# By hand.


def test_positive_and_negative_weights_meet_opposite_ends() -> None:
    b = Builder(N, 3)
    k = encoded(b, MultiSpike(-2, 7))
    graph = b.outputs(
        y=b("linear", k, weight=i8([1, -3, 0], [5, 5, 5]), bias=i32(10, -1)[0], exponent=2, name="y")
    )
    assert bounds(graph)["y"] == ([4 * (-2 - 21) + 10, 4 * -30 - 1], [4 * (7 + 6) + 10, 4 * 105 - 1])


def test_the_border_of_a_convolution_reads_zeros() -> None:
    b = Builder(N, 1, 1, 3)
    k = encoded(b, MultiSpike(0, 4))
    graph = b.outputs(y=b("conv", k, weight=i8([[[1, 10, 100]]]), pads=(0, 1, 0, 1), name="y"))
    assert bounds(graph)["y"] == ([0, 0, 0], [4 * 110, 4 * 111, 4 * 11])


RULES: dict[str, tuple[tuple[int, int], tuple[int, int], tuple[float, float]]] = {
    "add": ((-2, 7), (-1, 3), (-3, 10)),
    "sub": ((-2, 7), (-1, 3), (-5, 8)),
    "mul": ((-2, 7), (-1, 3), (-7, 21)),
    "max": ((-2, 7), (-1, 3), (-1, 7)),
}


@pytest.mark.parametrize("op", RULES)
def test_two_streams_of_spikes(op: str) -> None:
    (lo, hi), (least, most), wanted = RULES[op]
    b = Builder(N, 1)
    x, y = encoded(b, MultiSpike(lo, hi)), encoded(b, MultiSpike(least, most))
    graph = b.outputs(y=b(op, x, y, name="y"))
    graph.add_output(b("linear", x, weight=i8([1])), "integers")
    assert bounds(graph)["y"] == ([wanted[0]], [wanted[1]])


def test_a_product_of_matrices_of_spikes_is_summed_product_by_product() -> None:
    b = Builder(N, 2, 3)
    x = encoded(b, MultiSpike(-2, 7))
    y = b("transpose", encoded(b, MultiSpike(-1, 3)), perm=(0, 2, 1))
    graph = b.outputs(y=b("matmul", x, y, name="y"), z=b("linear", x, weight=i8([1, 1, 1])))
    assert bounds(graph)["y"] == ([3 * -7] * 4, [3 * 21] * 4)


def test_maxima_delays_and_pads() -> None:
    b = Builder(N, 1, 1, 4)
    k = encoded(b, MultiSpike(-2, 7))
    x = b("conv", k, weight=i8([[[1]]]), bias=i32(5)[0], name="x")
    graph = b.outputs(
        pooled=b("max_pool", x, kernel=(1, 2), strides=(1, 2), name="pooled"),
        changes=b("max_pool", x, kernel=(1, 2), strides=(1, 2), expect=True, name="changes"),
        late=b("delay", x, name="late"),
        wide=b("pad", x, pads=(0, 0, 0, 0, 0, 0, 0, 1), value=0.0, name="wide"),
        small=b("reduce_sum", x, axes=(3,), keepdims=False, name="small"),
    )
    found = bounds(graph)
    assert found["x"] == ([3] * 4, [12] * 4)
    assert found["pooled"] == found["changes"] == ([3, 3], [12, 12])
    assert found["late"] == ([0] * 4, [12] * 4)
    assert found["wide"] == ([3] * 4 + [0], [12] * 4 + [0])
    assert found["small"] == ([12], [48])


@pytest.mark.parametrize("number", [0, 1, -1, 127, 128, -128, -129, LARGEST, LARGEST + 1, -LARGEST - 2])
def test_bits_are_those_of_twos_complement(number: int) -> None:
    bits = bits_of(number, number)
    assert number == int.from_bytes(number.to_bytes(8, "little", signed=True), "little", signed=True)
    assert -(2 ** (bits - 1)) <= number < 2 ** (bits - 1)
    assert bits == 1 or not -(2 ** (bits - 2)) <= number < 2 ** (bits - 2)


# What fits and what does not, to the last unit.


def layer(extra: int, payload: int = 127, **neuron: Any) -> Graph:
    """One synapse of 2 x 127 and a neuron."""
    b = Builder(N, 2)
    x = b("linear", encoded(b, MultiSpike(0, payload)), weight=i8([127, 127]), bias=i32(extra)[0], name="sum")
    given = {"codebook": MultiSpike(0, 3), "quantum": i32(1000), "width": 24} | neuron
    return b.outputs(k=b("neuron", x, **given, name="out"))


def test_one_unit_too_many_is_caught_at_the_node_that_adds_it() -> None:
    most = LARGEST - 2 * 127 * 127
    assert prove_widths(layer(most)).holds
    with pytest.raises(PassError) as caught:
        applied(layer(most + 1), Fit())
    assert f'linear from "sum": sums 0 … {LARGEST + 1}, 25 bits of 24' in caught.value.message
    assert "out" not in caught.value.message
    assert "coarser by 1 bit " in str(caught.value.help)


def test_sums_of_synapses_before_a_neuron_count() -> None:
    b = Builder(N, 1)
    k = encoded(b, Binary())
    x = b("linear", k, weight=i8([127]), bias=i32(LARGEST - 127)[0], name="one")
    y = b("linear", k, weight=i8([1]), name="other")
    total = b("add", x, y, name="total")
    graph = b.outputs(k=b("neuron", total, codebook=Binary(), quantum=i32(5), width=24, name="out"))
    with pytest.raises(PassError, match=r'add from "total": sums 8388480 … 8388608, 25 bits of 24'):
        applied(graph, Fit())


def test_terms_may_come_in_any_order() -> None:
    """The bias would bring the sum back into 24 bits; the terms alone have left them."""
    b = Builder(N, 600)
    k = encoded(b, MultiSpike(0, 127))
    weight = np.full((1, 600), 127, np.int8)
    graph = b.outputs(y=b("linear", k, weight=weight, bias=i32(-(2**21))[0], name="sum"))
    assert prove_widths(graph, Widths(accumulator=25)).holds
    assert not prove_widths(graph).holds


WRONG: dict[str, tuple[dict[str, Any], str]] = {
    "no width": ({"width": None}, "a membrane of no width; there are 24"),
    "a wide membrane": ({"width": 25}, "a membrane of 25 bits; there are 24"),
    "a large threshold": ({"quantum": i32(2**23)}, "threshold 8388608 … 8388608, 25 bits of 24"),
    "a negative threshold": ({"quantum": i32(-5)}, "a threshold of -5, which must be positive"),
    "a large bias": ({"bias": i32(-(2**23) - 1)}, "bias -8388609 … -8388609, 25 bits of 24"),
    "a large start": ({"quantum": i32(2**22), "initial": 2.0}, "starting membrane 8388608"),
}


@pytest.mark.parametrize("name", WRONG)
def test_neurons_of_other_numbers_are_named(name: str) -> None:
    attributes, why = WRONG[name]
    with pytest.raises(PassError) as caught:
        applied(layer(0, **attributes), Fit())
    assert f'neuron from "out": {why}' in caught.value.message


def test_weights_exponents_and_payloads_of_other_machines_are_named() -> None:
    b = Builder(N, 1)
    k = encoded(b, MultiSpike(-127, 127))
    graph = b.outputs(y=b("linear", k, weight=i8([-128]), exponent=8, name="y"))
    with pytest.raises(PassError) as caught:
        applied(graph, Fit(payload=7))
    assert 'linear from "y": a weight of 128, at most 127' in caught.value.message
    assert 'linear from "y": exponent 8, at most 7' in caught.value.message
    assert 'neuron from "input": payloads -127 … 127, 8 bits of 7' in caught.value.message


def test_what_a_node_does_to_a_full_stream_is_told_apart() -> None:
    """A stream that left its width fills it from there on: 2^23 - 1 twice is one more problem."""
    b = Builder(N, 600)
    wide = b("linear", encoded(b, MultiSpike(0, 511)), weight=np.full((1, 600), 127, np.int8), name="wide")
    b.outputs(y=b("add", b("neg", wide, name="negative"), wide, name="both"))
    problems = prove_widths(b.graph).problems
    assert [line.split(":")[0] for line in problems] == ['linear from "wide"']


# Steps.


def test_the_sum_of_a_pooled_stream_fits_for_so_many_steps() -> None:
    b = Builder(N, 1, 2, 2)
    k = encoded(b, MultiSpike(0, 100))
    pooled = b("max_pool", k, kernel=(2, 2), expect=True, name="pool")
    graph = b.outputs(y=b("conv", pooled, weight=i8([[[1]]])))
    proof = prove_widths(graph)
    assert proof.holds
    assert proof.steps == LARGEST // 100
    applied(graph, Fit(steps=LARGEST // 100))
    with pytest.raises(
        PassError, match=r'pool from "pool": its sum over steps fits for 83886 of 83887 steps'
    ):
        applied(graph, Fit(steps=LARGEST // 100 + 1))


def test_notes_say_what_holds() -> None:
    b = Builder(N, 1, 2, 2)
    pooled = b("max_pool", encoded(b, MultiSpike(0, 100)), kernel=(2, 2), expect=True, name="pool")
    x = b("conv", pooled, weight=i8([[[10]]]), bias=i32(-9)[0], name="sum")
    graph = b.outputs(k=b("neuron", x, codebook=Binary(), quantum=i32(40, rank=4), width=24, name="out"))
    _, notes = applied(graph, Fit())
    assert [(note.node, note.reason) for note in notes] == [
        ('conv from "sum"', "nothing leaves its width for any input; nearest: sums -9 … 1000, 11 bits of 24"),
        ('expect.max_pool from "pool"', "its sum over steps keeps its width for 83886 steps"),
        ('neuron from "out"', "no membrane saturates before step 8821, where this one could"),
    ]
    assert prove_widths(graph).sentence() == (
        "widths: nothing leaves its width for any input in 83886 steps; "
        "no membrane saturates before step 8821"
    )


# Saturation.


CODEBOOKS: dict[str, Codebook] = {
    "binary": Binary(),
    "ternary": Ternary(),
    "nearest": MultiSpike(-3, 5),
    "floor": MultiSpike(0, 15, "floor"),
    "burst": MultiSpike(-100, 100, "burst"),
    "pow2": PowerOfTwo(4),
    "pow2 nearest": PowerOfTwo(3, False, "nearest", 0.8),
}


def driven(codebook: Codebook, current: int, **neuron: Any) -> Graph:
    """A neuron with a narrow membrane that every step brings `current` or nothing."""
    b = Builder(N, 1)
    x = b("linear", encoded(b, Binary()), weight=i8([current]), name="sum")
    given = {"codebook": codebook, "quantum": i32(11), "width": 12, "site": "k"} | neuron
    return b.outputs(k=b("neuron", x, **given, name="out"))


def saturates_at(graph: Graph, inputs: Array) -> int | None:
    """Return the first step at which a membrane without width is beyond that of 12 bits."""
    wide = graph.copy()
    node = next(node for node in wide if node.origin == ("out",))
    wide.set_attributes(node, width=32)
    # Before the payload leaves it: v(t) + quantum k(t).
    run = Simulator(wide).run(inputs, len(inputs), record=["k"])
    before = run.membranes["k"] + 11 * run.spikes["k"]
    beyond = ((before > 2047) | (before < -2048)).any(axis=(1, 2))
    return int(np.argmax(beyond)) + 1 if beyond.any() else None


@pytest.mark.parametrize("current", [-120, -7, 5, 30, 127])
@pytest.mark.parametrize("name", CODEBOOKS)
def test_no_membrane_saturates_before_the_step_that_is_named(name: str, current: int) -> None:
    graph = driven(CODEBOOKS[name], current)
    proof = prove_widths(graph)
    extreme, random = np.ones((600, 1, 1)), np.random.default_rng(0).integers(0, 2, (600, 1, 1))
    for inputs in (extreme, random):
        step = saturates_at(graph, inputs.astype(np.float32))
        if step is not None:
            assert proof.saturates is not None
            assert step >= proof.saturates
    worst = saturates_at(graph, extreme.astype(np.float32))
    if worst is not None and name not in ("burst", "pow2", "pow2 nearest"):
        assert proof.saturates is not None
        assert worst <= proof.saturates + 1  # what rounding leaves is less than a quantum


def test_a_neuron_that_sends_as_much_as_it_gets_never_saturates() -> None:
    assert prove_widths(driven(MultiSpike(0, 12), 127)).saturates is None
    assert prove_widths(driven(MultiSpike(0, 11), 127)).saturates is not None


def test_by_hand() -> None:
    """30 - 11 = 19 more in every step: 30 + 19 (t - 1) > 2047 from t = 108 on."""
    assert prove_widths(driven(Binary(), 30)).saturates == 108
    assert prove_widths(driven(Binary(), 30, reset="zero")).saturates is None
    assert prove_widths(driven(Ternary(), -30, reset="zero")).saturates is None
    assert prove_widths(driven(Binary(), -30, reset="zero")).saturates == 2048 // 30 + 1
    assert prove_widths(driven(Binary(), 30, reset="restart")).saturates is None
    assert prove_widths(driven(Binary(), 30, reset="restart", initial=184.0)).saturates == 1


def lif(current: int, **attributes: Any) -> Graph:
    b = Builder(N, 1)
    x = b("linear", encoded(b, Binary()), weight=i8([current]), name="sum")
    return b.outputs(k=b("lif", x, **{"threshold": i32(50), "width": 12} | attributes, name="out"))


def test_a_leak_bounds_the_membrane() -> None:
    half = np.full((1, 1), 0.5, np.float32)
    assert prove_widths(lif(-100)).saturates == 2048 // 100 + 1
    assert prove_widths(lif(100)).saturates is None
    assert prove_widths(lif(100, reset="soft")).saturates == 1 + (2047 - 100) // 50 + 1
    assert prove_widths(lif(100, reset="none")).saturates == 2047 // 100 + 1
    assert prove_widths(lif(-100, leak=half)).saturates is None
    assert prove_widths(lif(100, reset="none", leak=half)).saturates is None


@settings(max_examples=150, deadline=None)
@given(data=st.data())
def test_until_that_step_a_run_is_the_one_without_width(data: st.DataObject) -> None:
    """Neurons of every kind, driven at random or as hard as can be: membranes agree, step by step."""
    weight, bias = data.draw(st.integers(-127, 127)), data.draw(st.integers(-60, 60))
    given: dict[str, Any] = {"width": 10, "site": "k", "bias": i32(bias)}
    if data.draw(st.booleans()):
        whole = st.integers(-80, 80)
        reset = data.draw(st.sampled_from(["hard", "soft", "none"]))
        given |= {
            "reset": reset, "threshold": i32(data.draw(whole)), "delayed": data.draw(st.booleans()),
            "leak": np.array([[data.draw(st.integers(0, 64)) / 64]], np.float32),
            "initial": float(data.draw(whole)), "rest": i32(data.draw(whole)) if reset == "hard" else None,
        }  # fmt: skip
    else:
        codebook = CODEBOOKS[data.draw(st.sampled_from(sorted(CODEBOOKS)))]
        resets = ["subtract", "restart", *(["zero"] if isinstance(codebook, Binary | Ternary) else [])]
        given |= {
            "codebook": codebook, "quantum": i32(data.draw(st.integers(1, 40))),
            "reset": data.draw(st.sampled_from(resets)), "initial": float(data.draw(st.integers(-5, 5))),
        }  # fmt: skip
    b = Builder(N, 1)
    x = b("linear", encoded(b, MultiSpike(-3, 2)), weight=i8([weight]))
    graph = b.outputs(k=b("neuron" if "codebook" in given else "lif", x, **given, name="out"))
    wide = graph.copy()
    wide.set_attributes(next(node for node in wide if node.origin == ("out",)), width=32)
    inputs = data.draw(st.sampled_from([[2.0], [-3.0], [-3.0, 2.0], [-3.0, 0.0, 2.0, 2.0]]))
    x_ = np.random.default_rng(data.draw(st.integers(0, 99))).choice(inputs, (60, 1, 1)).astype(np.float32)
    found, wanted = (Simulator(one).run(x_, 60, record=["k"]).membranes["k"] for one in (graph, wide))
    proof = prove_widths(graph)
    steps = 60 if proof.saturates is None else proof.saturates - 1
    np.testing.assert_array_equal(found[:steps], wanted[:steps])


# Any input.


@st.composite
def networks(draw: st.DrawFn) -> Graph:
    """An encoder, one or two convolutions added, a neuron, a pool, a linear layer, a lif or neuron."""
    seed = draw(st.integers(0, 2**31))
    random = np.random.default_rng(seed)
    names = st.sampled_from(sorted(CODEBOOKS))

    def weight(*shape: int) -> Array:
        return random.integers(-127, 128, shape).astype(np.int8)

    b = Builder(N, 2, 4, 4)
    k = encoded(b, MultiSpike(-draw(st.integers(0, 20)), draw(st.integers(1, 127))))
    geometry = {"pads": (1, 1, 1, 1), "strides": (draw(st.integers(1, 2)),) * 2}
    x = b("conv", k, weight=weight(3, 2, 3, 3), bias=random.integers(-500, 500, 3).astype(np.int32),
          exponent=draw(st.integers(0, 7)), **geometry)  # fmt: skip
    if draw(st.booleans()):
        x = b(draw(st.sampled_from(["add", "sub"])), x, b("conv", k, weight=weight(3, 2, 3, 3), **geometry))
    if draw(st.booleans()):
        x = b("delay", x, steps=draw(st.integers(1, 2)))
    quantum = random.integers(1, 2**14, (1, 3, 1, 1)).astype(np.int32)
    k = b("neuron", x, codebook=CODEBOOKS[draw(names)], quantum=quantum, width=24, name="hidden")
    k = b("max_pool", k, kernel=(2, 2), strides=(2, 2), expect=draw(st.booleans()))
    k = b("reshape", k, shape=(N, int(np.prod(k.type.shape[1:]))))
    x = b("linear", k, weight=weight(4, k.type.shape[1]))
    if draw(st.booleans()):
        out = b("lif", x, threshold=i32(*random.integers(1, 2**12, 4)), width=24)
    else:
        out = b(
            "neuron", x, codebook=CODEBOOKS[draw(names)], quantum=i32(*random.integers(1, 2**12, 4)), width=24
        )
    gate = b("mul", out, out)
    return b.outputs(y=b("dequantise", b("linear", gate, weight=weight(2, 4)), scale=np.ones(1, np.float32)))


class Watch:
    """Holds what every node sends against its bounds."""

    def __init__(self, graph: Graph) -> None:
        self.bounds = dict(Prover(graph, Widths(accumulator=40)).run())
        self.seen = 0

    def observe(self, node: Node, t: int, value: Array, membrane: Array | None) -> None:
        bound = self.bounds.get(node)
        if bound is None:
            return
        assert (value >= bound.lo).all(), (node, t)
        assert (value <= bound.hi).all(), (node, t)
        self.seen += 1


@settings(max_examples=60, deadline=None)
@given(graph=networks(), seed=st.integers(0, 1000), extreme=st.booleans())
def test_no_input_leaves_the_bounds(graph: Graph, seed: int, extreme: bool) -> None:
    verify(graph)
    random = np.random.default_rng(seed)
    x = random.normal(0, 60, (5, 2, 2, 4, 4)) if not extreme else random.choice([-1e6, 1e6], (5, 2, 2, 4, 4))
    watch = Watch(graph)
    Simulator(graph).run(x.astype(np.float32), 5, observers=[watch])
    assert watch.seen >= 8 * 5


def test_bounds_are_reached() -> None:
    """The input that has the sign of a row's weights brings its sum to the very bound."""
    random = np.random.default_rng(3)
    weight = random.integers(-127, 128, (1, 2, 3, 3)).astype(np.int8)
    b = Builder(N, 2, 3, 3)
    sums = b("conv", encoded(b, MultiSpike(-9, 20)), weight=weight, exponent=3, name="sum")
    graph = b.outputs(y=b("dequantise", sums, scale=np.ones(1, np.float32)))
    (lo,), (hi,) = bounds(graph)["sum"]
    for sign, bound in ((1, hi), (-1, lo)):
        y = Simulator(graph).run(1e3 * np.sign(sign * weight.astype(np.float32)), 1).outputs["y"]
        assert y.item() == bound


# What is refused.


def test_real_weights_are_refused_by_name() -> None:
    b = Builder(N, 1)
    k = encoded(b, Binary())
    graph = b.outputs(y=b("linear", k, weight=np.ones((1, 1), np.float32), name="real"))
    graph.add_output(b("linear", k, weight=i8([1]), name="whole"), "z")
    with pytest.raises(PassError, match='real ones:\n  linear from "real"') as caught:
        applied(graph, Fit())
    assert "integerise" in str(caught.value.help)
    assert 'whole"' not in caught.value.message


def test_an_op_without_a_rule_is_refused() -> None:
    b = Builder(N, 2)
    x = b("linear", encoded(b, Binary()), weight=i8([1, 1]))
    graph = b.outputs(y=b("abs", x, name="size"))
    with pytest.raises(PassError, match='no bound for abs from "size"'):
        applied(graph, Fit())


@pytest.mark.parametrize("options", [{"payload": 1}, {"membrane": 33}, {"steps": -1}])
def test_bad_options(options: dict[str, int]) -> None:
    with pytest.raises(OptionError):
        Fit(**options)


# A network as it is compiled.


def test_a_lowered_network_fits_and_keeps_to_its_bounds() -> None:
    data = load_data(DIGITS / "digits_calibration.npz", normalise=Normalise(1 / 16))
    compilation = compile_model(DIGITS / "digits_vgg.onnx", data, Options(target="loihi2"))
    assert compilation.graph.meta["pipeline"].endswith(",fit")
    assert any(note.pass_name == "fit" for note in compilation.context.notes)
    watch = Watch(compilation.graph)
    (inputs, _), *_ = data.batches(compilation.graph, 8)
    Simulator(compilation.graph).run(inputs, 4, observers=[watch])
    assert watch.seen == 4 * 18

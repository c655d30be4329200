"""Small integer networks that use everything once: weights from -127 to 127, payloads of both signs."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from snnc.ir.codebooks import Binary, MultiSpike, PowerOfTwo, Ternary
from snnc.ir.graph import Graph
from snnc.ir.shapes import Batch
from snnc.ir.types import TensorType
from snnc.ir.verify import verify

if TYPE_CHECKING:
    from collections.abc import Sequence

    from snnc.ir.codebooks import Codebook
    from snnc.ir.graph import Value

CODEBOOKS: tuple[Codebook, ...] = (
    Binary(),
    Ternary(),
    MultiSpike(-7, 7),
    MultiSpike(0, 15, "floor"),
    MultiSpike(0, 511, "burst"),
    MultiSpike(-100, 100, "burst"),
    PowerOfTwo(5),
    PowerOfTwo(4, False, "nearest", 0.75),
)
PAYLOADS = MultiSpike(-127, 127)


class Builder:
    """Adds layers to a graph; arrays are drawn from `random`, extremes included."""

    def __init__(self, name: str, seed: int = 0) -> None:
        self.graph = Graph(name)
        self.random = np.random.default_rng(seed)

    def input(self, *shape: int, name: str = "x") -> Value:
        return self.graph.add_input(name, TensorType("f32", (Batch(), *shape)))

    def add(
        self, op: str, *operands: Value, expect: bool = False, name: str = "", **attributes: Any
    ) -> Value:
        given = {
            key: self.graph.add_tensor(f"{name or op}.{key}", value)
            if isinstance(value, np.ndarray)
            else value
            for key, value in attributes.items()
        }
        return self.graph.append(op, operands, given, expect=expect, origin=(name,) if name else ())

    def weights(self, *shape: int) -> Any:
        """Return int8 weights with both extremes among them."""
        weight = self.random.integers(-127, 128, shape)
        weight.flat[0], weight.flat[-1] = 127, -127
        return weight.astype(np.int8)

    def per_channel(self, value: Value, low: int, high: int, step: int = 1) -> Any:
        """Return integers that broadcast along the channels of a stream."""
        shape = value.type.shape
        axis = 1 if len(shape) > 2 else len(shape) - 1
        sizes = [1] * len(shape)
        sizes[axis] = int(shape[axis])  # type: ignore[call-overload]  # channels are a number
        return (step * self.random.integers(low, high, sizes)).astype(np.int32)

    def encode(self, x: Value, codebook: Codebook = PAYLOADS, quantum: float = 1 / 32) -> Value:
        array = np.full((1,) * len(x.type.shape), quantum, np.float32)
        return self.add("neuron", x, codebook=codebook, quantum=array, name=f"encode_{x.name or 'x'}")

    def synapse(
        self, op: str, x: Value, *shape: int, exponent: int = 0, bias: int = 0, **geometry: Any
    ) -> Value:
        extra: dict[str, Any] = {"exponent": exponent} if exponent else {}
        if bias:
            outputs = shape[0] if op != "conv_transpose" else shape[1] * geometry.get("group", 1)
            extra["bias"] = self.random.integers(-bias, bias + 1, outputs).astype(np.int32)
        return self.add(op, x, weight=self.weights(*shape), **extra, **geometry)

    def neuron(
        self, x: Value, name: str, codebook: Codebook = PAYLOADS, high: int = 6000, **more: Any
    ) -> Value:
        more.setdefault("width", 24)
        quantum = self.per_channel(x, 50, high, 2)
        return self.add("neuron", x, codebook=codebook, quantum=quantum, name=name, site=name, **more)

    def answer(self, value: Value, name: str = "y") -> None:
        """Make a stream an output; currents become real numbers first."""
        if isinstance(value.type, TensorType) and value.type.dtype == "i32":
            value = self.add("dequantise", value, scale=np.asarray(0.125, np.float32))
        self.graph.add_output(value, name)

    def done(self) -> Graph:
        verify(self.graph)
        return self.graph


def every_neuron() -> Graph:
    """Every codebook with every reset, biases and starting membranes; lif neurons; saturating membranes."""
    net = Builder("neurons")
    current = net.synapse("linear", net.encode(net.input(6)), 24, 6, exponent=4, bias=40000)
    last = current
    for number, codebook in enumerate(CODEBOOKS):
        resets = ["subtract", "restart"] + ["zero"] * isinstance(codebook, Binary | Ternary)
        for reset in resets:
            more: dict[str, Any] = {"initial": 0.5} if number % 2 else {}
            if number % 3 == 0:
                more["bias"] = net.per_channel(current, -30000, 30000)
            last = net.neuron(
                current, f"{codebook.name}{number}_{reset}", codebook, 2**17, reset=reset, **more
            )
    for name, more in lifs(net, current).items():
        net.add("lif", current, name=name, site=name, width=24, **more)
    add_saturating(net, current)
    net.answer(net.synapse("linear", last, 5, 24))
    return net.done()


def lifs(net: Builder, x: Value) -> dict[str, dict[str, Any]]:
    """Return every kind of lif neuron."""
    kinds: dict[str, dict[str, Any]] = {}
    for reset in ("hard", "soft", "none"):
        for strict in (False, True):
            for delayed in (False, True):
                kinds[f"lif_{reset}{'_strict' * strict}{'_delayed' * delayed}"] = {
                    "threshold": net.per_channel(x, 100, 2**17),
                    "leak": (net.random.integers(0, 4097, (1, 24)) / 4096).astype(np.float32),
                    "bias": net.per_channel(x, -500, 500),
                    "reset": reset,
                    "strict": strict,
                    "delayed": delayed,
                    **({"rest": net.per_channel(x, -300, 300)} if reset == "hard" else {}),
                }
    return kinds


def add_saturating(net: Builder, x: Value) -> None:
    """Add neurons whose membranes run into both ends: thresholds that are never met, and narrow widths."""
    for number, (quantum, width) in enumerate(((2**23 - 1, 24), (2**14 + 1, 16), (3, 8), (2**30, 32))):
        top = np.full((1, 24), quantum, np.int32)
        for codebook in (Ternary(), MultiSpike(-3, 3)):
            name = f"saturating{number}_{codebook.name}"
            net.add("neuron", x, codebook=codebook, quantum=top, name=name, site=name, width=width)


def every_synapse() -> Graph:
    """Convolutions of every geometry, transposed, depthwise, one- and three-dimensional; dense and sparse."""
    net = Builder("synapses")
    image = net.encode(net.input(4, 9, 10))
    layers = {
        "plain": net.synapse("conv", image, 5, 4, 3, 3),
        "strided": net.synapse("conv", image, 3, 4, 3, 2, strides=(2, 3), bias=9, exponent=3),
        "padded": net.synapse("conv", image, 3, 4, 3, 3, pads=(1, 0, 2, 1)),
        "dilated": net.synapse("conv", image, 3, 4, 2, 3, dilations=(3, 2), pads=(2, 2, 2, 2)),
        "grouped": net.synapse("conv", image, 6, 2, 3, 3, group=2, exponent=1),
        "depthwise": net.synapse("conv", image, 4, 1, 3, 3, group=4, pads=(1, 1, 1, 1), bias=99),
        "pointwise": net.synapse("conv", image, 4, 1, 1, 1, group=4, exponent=7),
        "transposed": net.synapse("conv_transpose", image, 4, 3, 3, 2, strides=(2, 3), bias=9),
        "transposed_grouped": net.synapse(
            "conv_transpose", image, 4, 2, 2, 3, strides=(3, 1), group=2, pads=(1, 0, 0, 1),
            output_padding=(1, 0), dilations=(2, 1),
        ),
    }  # fmt: skip
    for name, current in layers.items():
        net.neuron(current, name, MultiSpike(-15, 15))
    wide = net.neuron(net.synapse("conv", image, 150, 4, 1, 1, strides=(2, 2)), "wide", Ternary())
    many = net.neuron(net.synapse("conv", wide, 131, 150, 3, 3, pads=(1, 1, 1, 1), strides=(2, 2)), "many")
    line = net.add("reshape", image, shape=(Batch(), 4, 90))
    net.neuron(net.synapse("conv", line, 3, 4, 5, strides=(2,), pads=(2, 2)), "one_dimensional")
    solid = net.add("reshape", image, shape=(Batch(), 4, 3, 3, 10))
    net.neuron(net.synapse("conv", solid, 3, 4, 2, 2, 3), "three_dimensional", PowerOfTwo(6))
    flat = net.add("reshape", many, shape=(Batch(), 131 * 9))
    dense = net.neuron(net.synapse("linear", flat, 12, 131 * 9, bias=999), "dense")
    rows = net.add("reshape", dense, shape=(Batch(), 3, 4))
    sparse = net.weights(8, 4) * (net.random.random((8, 4)) < 0.1)
    net.neuron(net.add("linear", rows, weight=sparse.astype(np.int8)), "sparse")
    net.neuron(net.synapse("linear", rows, 7, 4, exponent=15), "rows", MultiSpike(-3, 3), 2**20)
    net.answer(net.synapse("linear", dense, 10, 12))
    return net.done()


def every_path() -> Graph:
    """Residuals of unequal depth, delays, pools, products, movement, several inputs and outputs."""
    net = Builder("paths")
    image, gate = net.encode(net.input(4, 8, 8)), net.encode(net.input(4, 8, 8, name="gate"), Ternary(), 1.5)
    first = net.neuron(net.synapse("conv", image, 4, 4, 3, 3, pads=(1, 1, 1, 1)), "first", MultiSpike(0, 15))
    second = net.neuron(net.synapse("conv", first, 4, 4, 3, 3, pads=(1, 1, 1, 1)), "second", MultiSpike(0, 7))
    skip = net.synapse("conv", image, 4, 1, 1, 1, group=4, exponent=2)
    deep = net.synapse("conv", second, 4, 4, 1, 1)
    residual = net.neuron(net.add("add", deep, skip), "residual", MultiSpike(-31, 31), initial=0.5)
    pooled = net.add("max_pool", residual, expect=True, name="pooled", kernel=(2, 2), strides=(2, 2))
    late = net.add("delay", pooled, name="late", steps=3)
    product = net.add("mul", first, gate)
    gated = net.neuron(net.synapse("conv", product, 4, 4, 2, 2, strides=(2, 2)), "gated", Ternary())
    both = net.add("concat", late, gated, axis=1)
    turned = net.add("transpose", both, perm=(0, 2, 3, 1))
    tokens = net.add("reshape", turned, shape=(Batch(), 16, 8))
    keys = net.neuron(net.synapse("linear", tokens, 6, 8), "keys", MultiSpike(-3, 3))
    queries = net.neuron(net.synapse("linear", tokens, 6, 8), "queries", Binary())
    scores = net.add("matmul", queries, net.add("transpose", keys, perm=(0, 2, 1)))
    attended = net.neuron(net.add("matmul", scores, keys), "attended", MultiSpike(-63, 63), 400)
    counted = net.add("reduce_sum", attended, axes=(1,), keepdims=False)
    alone = net.neuron(
        net.synapse("linear", counted, 6, 6), "alone", bias=net.per_channel(counted, 900, 4000), high=500
    )
    net.answer(net.synapse("linear", alone, 10, 6, bias=50))
    net.answer(net.add("slice", attended, axes=(1,), starts=(2,), ends=(9,), steps=(3,)), "some")
    return net.done()


def host_nodes() -> Graph:
    """Real nodes between parts of the chip: norm, softmax, GELU, maxima, a product, a residual stream."""
    net = Builder("host")
    tokens = net.encode(net.input(5, 8))
    a = net.neuron(net.synapse("linear", tokens, 8, 8), "a", MultiSpike(-31, 31))
    real = net.add("dequantise", net.synapse("linear", a, 8, 8), scale=np.asarray(1 / 4096, np.float32))
    norm = net.add(
        "layer_norm", real, expect=True, axis=-1, epsilon=1e-5,
        gamma=np.linspace(0.5, 2, 8, dtype=np.float32), beta=np.linspace(-1, 1, 8, dtype=np.float32),
    )  # fmt: skip
    q = net.neuron(net.synapse("linear", net.encode(norm), 8, 8), "q", MultiSpike(-7, 7))
    scale = np.asarray(1 / 300, np.float32)
    query = net.add("dequantise", net.synapse("linear", q, 8, 8), scale=scale)
    scores = net.add("matmul", query, net.add("transpose", query, perm=(0, 2, 1)), expect=True)
    shares = net.encode(net.add("softmax", scores, expect=True, axis=-1), quantum=1 / 64)
    mixed = net.add("matmul", net.add("dequantise", shares, scale=scale), real, expect=True)
    grown = net.add("gelu", net.add("add", mixed, real), expect=True)
    net.answer(net.synapse("linear", net.encode(grown, quantum=1 / 16), 3, 8, bias=5))
    largest = net.add("max_pool", real, expect=True, kernel=(2,), strides=(2,))
    net.answer(net.synapse("linear", net.encode(largest), 2, 4), "largest")
    return net.done()


def samples(graph: Graph, count: int, steps: int | None = None, seed: int = 1) -> dict[str, Any]:
    """Return real samples for every input; with `steps`, of the first input one per step."""
    random = np.random.default_rng(seed)
    arrays = {}
    for number, value in enumerate(graph.inputs):
        shape: Sequence[Any] = value.type.shape[1:]
        lead = (count,) if steps is None or number else (steps, count)
        arrays[value.name or ""] = random.normal(0, 1, (*lead, *shape)).astype(np.float32)
    return arrays

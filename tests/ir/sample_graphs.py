"""Graphs for the tests of the IR: hypothesis strategies, and a comparison that needs no printer."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from snnc.ir.codebooks import Binary, MultiSpike, Payload, PowerOfTwo, Ternary
from snnc.ir.decode import DECODES
from snnc.ir.errors import SnncError
from snnc.ir.graph import Graph
from snnc.ir.shapes import Batch
from snnc.ir.types import DTYPES, SpikeType, TensorType

if TYPE_CHECKING:
    from snnc.ir.graph import Value

names = st.text(max_size=8)
floats = st.floats()
singles = st.floats(width=32)
batches = st.builds(Batch, st.integers(1, 12))
shapes = st.lists(st.one_of(batches, st.integers(0, 3)), max_size=4).map(tuple)
payloads = st.builds(Payload, st.integers(-40, 0), st.integers(0, 40), st.booleans())
types = st.one_of(
    st.builds(TensorType, st.sampled_from(list(DTYPES)), shapes),
    st.builds(SpikeType, payloads, shapes),
)
dead_zones = st.floats(0.25, 1)
ROUNDINGS = ["nearest", "floor", "burst"]
codebooks = st.one_of(
    st.just(Binary()),
    st.just(Ternary()),
    st.builds(MultiSpike, st.integers(-99, -1), st.integers(0, 99), st.sampled_from(ROUNDINGS)),
    st.builds(
        PowerOfTwo, st.integers(1, 15), st.booleans(), st.sampled_from(["below", "nearest"]), dead_zones
    ),
)
tensors = st.sampled_from(list(DTYPES.values())).flatmap(
    lambda dtype: arrays.arrays(dtype, arrays.array_shapes(min_dims=0, min_side=0, max_dims=3, max_side=4))
)


@st.composite
def graphs(draw: st.DrawFn) -> Graph:
    """A graph that verifies, except for numbers that are not finite."""
    graph = Graph(draw(names))
    for name in draw(st.lists(names, min_size=1, max_size=3, unique=True)):
        graph.add_input(name, draw(types))
    values = list(graph.inputs)
    for _ in range(draw(st.integers(0, 10))):
        value = draw(nodes(graph, values))
        if value is not None:
            values.append(value)
    for name in draw(st.lists(names, max_size=3, unique=True)):
        graph.add_output(draw(st.sampled_from(values)), name, draw(st.sampled_from(list(DECODES))))
    return graph


@st.composite
def nodes(draw: st.DrawFn, graph: Graph, values: list[Value]) -> Value | None:
    """Append one node, or nothing where the op drawn does not fit the operands drawn."""
    x, y = draw(st.sampled_from(values)), draw(st.sampled_from(values))
    operands: dict[str, tuple[Value, ...]] = {
        "add": (x, y),
        "matmul": (x, y),
        "concat": (x, y),
        "constant": (),
    }
    attributes: dict[str, st.SearchStrategy[dict[str, Any]]] = {
        "softmax": st.fixed_dictionaries({"axis": st.integers(-2, 1)}),
        "gelu": st.fixed_dictionaries({"approximate": st.sampled_from(["none", "tanh"])}),
        "clip": st.fixed_dictionaries({"low": st.none() | floats, "high": st.none() | floats}),
        "concat": st.just({"axis": 0}),
        "reduce_sum": st.fixed_dictionaries({"axes": st.just((0,)), "keepdims": st.booleans()}),
        "reshape": st.just({"shape": (*x.type.shape, 1)}),
        "delay": st.fixed_dictionaries({"steps": st.integers(1, 3)}),
        "neuron": neuron_attributes(graph, x),
        "constant": st.builds(lambda name, array: {"value": graph.add_tensor(name, array)}, names, tensors),
    }
    op = draw(st.sampled_from(["relu", "add", "matmul", *attributes]))
    try:
        return graph.append(
            op,
            operands.get(op, (x,)),
            draw(attributes.get(op, st.just({}))),
            expect=op in ("relu", "softmax", "gelu", "matmul") and draw(st.booleans()),
            origin=draw(st.lists(names, max_size=2)),
            name=draw(st.none() | names),
        )
    except SnncError:
        return None


@st.composite
def neuron_attributes(draw: st.DrawFn, graph: Graph, x: Value) -> dict[str, Any]:
    shape = tuple(1 if isinstance(dim, Batch) else dim for dim in x.type.shape)
    attributes: dict[str, Any] = {"codebook": draw(codebooks), "initial": draw(floats)}
    if draw(st.booleans()):
        attributes["scale"] = graph.add_tensor(draw(names), np.full(shape, draw(singles), np.float32))
    if draw(st.booleans()):
        attributes["site"] = draw(names)
    if draw(st.booleans()):
        attributes["negative"] = graph.add_tensor(draw(names), np.full(shape, 0.5, np.float32))
    if draw(st.booleans()):
        attributes["charge"] = graph.add_tensor(draw(names), np.full(shape, draw(singles), np.float32))
    return attributes


def structure(graph: Graph) -> tuple[Any, ...]:
    """Everything a graph says, as plain comparable data."""
    index: dict[Value, Any] = {value: ("input", number) for number, value in enumerate(graph.inputs)}
    index.update((node.result, number) for number, node in enumerate(graph))
    return (
        graph.name,
        [(value.name, value.type) for value in graph.inputs],
        [
            (
                node.full_name,
                [index[operand] for operand in node.operands],
                sorted((name, repr(value)) for name, value in node.op.complete(node.attributes).items()),
                node.origin,
                node.result.name,
                node.result.type,
            )
            for node in graph
        ],
        [(index[output.value], output.name, output.decode) for output in graph.outputs],
        {name: _content(array) for name, array in graph.tensors.items()},
    )


def _content(array: np.ndarray[Any, Any]) -> tuple[Any, ...]:
    # NaNs are all alike in text; everything else must come back bit by bit.
    plain = np.where(np.isnan(array), np.nan, array).astype(array.dtype) if array.dtype.kind == "f" else array
    return array.dtype, array.shape, plain.tobytes()


def small_network() -> Graph:
    """conv -> neuron -> linear -> expect.softmax, with names, origins and every kind of tensor use."""
    graph = Graph("small")
    image = graph.add_input("input.1", TensorType("f32", (Batch(), 1, 4, 4)))
    weight = graph.add_tensor("conv.weight", np.arange(18, dtype=np.float32).reshape(2, 1, 3, 3) / 8)
    bias = graph.add_tensor("conv.bias", np.array([0.5, -0.25], np.float32))
    convolved = graph.append(
        "conv", [image], {"weight": weight, "bias": bias, "pads": (1, 1, 1, 1)}, origin=["conv1", "bn1"]
    )
    quantum = graph.add_tensor("quantum", np.array([0.1, 1.0], np.float32).reshape(1, 2, 1, 1))
    fired = graph.append(
        "neuron",
        [convolved],
        {"codebook": MultiSpike(0, 15), "quantum": quantum},
        origin=["relu"],
        name="relu/y",
    )
    flat = graph.append("reshape", [fired], {"shape": (Batch(), 32)})
    head = graph.add_tensor("head", np.ones((3, 32), np.float32))
    logits = graph.append("linear", [flat], {"weight": head}, origin=["fc"])
    probabilities = graph.append("softmax", [logits], expect=True, origin=["softmax"])
    graph.add_output(probabilities, "probabilities")
    return graph


def deep_graph(count: int) -> Graph:
    """A chain of `count` neurons and joints."""
    graph = Graph("deep")
    value = x = graph.add_input("x", TensorType("f32", (Batch(), 64, 8, 8)))
    for number in range(count // 2):
        fired = graph.append(
            "neuron", [value], {"codebook": MultiSpike(-7, 7), "initial": 0.5}, origin=[f"relu{number}"]
        )
        value = graph.append("add", [fired, x], origin=[f"add{number}"], name=f"/layer/{number}")
    graph.add_output(value, "y")
    return graph

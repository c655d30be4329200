"""What a network tends to with time, and how fast."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from snnc.backends.reference import Simulator
from snnc.ir.codebooks import PowerOfTwo
from tests.generated.measures import deviation

if TYPE_CHECKING:
    from collections.abc import Callable

    from snnc.ir.graph import Graph, Node, Value
    from snnc.ir.kernel_types import Array

EARLY, LONG = 8, 64
SLACK = (
    3.0  # how much larger T times the error may become than in the first steps, or than remainders make it
)
FLOOR = 1e-3  # below this, times the step, it is float32 that errs
JUMPS = {"floor", "ceil", "round", "sign", "thresholded_relu", "mod", "select", "fake_quantise"}
"""Functions with a step: however small the error of what they read, what they send may be far off."""


def jumps(graph: Graph) -> bool:
    """Tell whether a function that jumps reads what a neuron has touched."""
    touched: set[Value] = set()
    for node in graph:
        if node.op.neuron or any(operand in touched for operand in node.operands):
            touched.add(node.result)
            if node.op.name in JUMPS:
                return True
    return False


def assert_converges(graph: Graph, data: dict[str, Array]) -> dict[str, Array]:
    """Hold a graph to the limit of time; return what it tends to.

    The limit is the network in which every neuron sends min(max(x, lowest payload), highest payload), in
    quanta: clipping is what remains of spikes in many steps, saturated neurons included, in both codings. The
    error falls like 1/T. A neuron's decoded output is off by v(T)/T, and v is bounded where it is not
    clipped; what follows passes errors on in proportion, through as many layers as there are, unless it
    jumps. So T times the error stays within what the first steps had, or what all remainders together can
    make of it.
    """
    limit = clipped(graph)
    wanted = {name: array[0] for name, array in run(limit, data, 1).items()}
    remainders = [run(clipped(graph, remainder(seed)), data, 1) for seed in range(2)]
    for name, decoded in run(graph, data, LONG).items():
        errors = np.array([t * deviation(found, wanted[name]) for t, found in enumerate(decoded, 1)])
        possible = max(LONG * deviation(other[name][0], wanted[name]) for other in remainders)
        most = SLACK * max(errors[:EARLY].max(), possible, FLOOR)
        assert errors[LONG // 2 :].max() <= most, (name, errors[LONG // 2 :].max(), most)
    return wanted


def run(graph: Graph, data: dict[str, Array], steps: int) -> dict[str, Array]:
    return Simulator(graph, threads=1).run(data, steps).outputs


def clipped(graph: Graph, alter: Callable[[Graph, Node, Value], Value] | None = None) -> Graph:
    """Return the graph with y = s clip((x + b) / q, lo, hi) for every neuron, and what `alter` makes of it.

    With `negative`, r, the lower bound is r lo.
    """
    other = graph.copy()
    for node in list(other):
        if node.op.name != "neuron":
            continue
        given = other.resolve(node)
        value, payload = node.operands[0], given["codebook"].payload
        low = payload.lo if given["negative"] is None else payload.lo * given["negative"]
        gain = None if given["quantum"] is None else 1 / given["quantum"]
        steps = [("add", given["bias"]), ("mul", gain), ("max", low), ("min", payload.hi)]
        for op, number in steps:
            if number is not None:
                value = other.insert(
                    node, op, [value, constant(other, node, number)], expect=op in ("max", "min")
                )
        if alter is not None:
            value = alter(other, node, value)
        if given["scale"] is not None:
            value = other.insert(node, "mul", [value, constant(other, node, given["scale"])])
        other.replace_uses(node.result, value)
        other.erase(node)
    other.retype()
    return other


def constant(graph: Graph, node: Node, number: Any) -> Value:
    """Return a constant that broadcasts against what a node sends."""
    array = np.asarray(number, np.float32)
    return graph.constant_value(
        array.reshape((1,) * (len(node.result.type.shape) - array.ndim) + array.shape), "limit", node
    )


def remainder(seed: int) -> Callable[[Graph, Node, Value], Value]:
    """Return what adds, to every value in quanta, the ±1 that a membrane may still hold after LONG steps.

    A power of two may wait until as much again has come in: ±(1 + abs(value)).
    """
    rng = np.random.default_rng(seed)

    def add(graph: Graph, node: Node, value: Value) -> Value:
        _, *shape = node.result.type.shape
        signs = rng.choice([-1.0, 1.0], (1, *[size if isinstance(size, int) else 1 for size in shape])) / LONG
        if isinstance(graph.resolve(node)["codebook"], PowerOfTwo):
            value = graph.insert(node, "mul", [value, constant(graph, node, 1 + signs)])
        return graph.insert(node, "add", [value, constant(graph, node, signs)])

    return add

"""Build small graphs in a few words, run passes on them, and compare what they compute."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from snnc.backends.reference import Simulator
from snnc.ir.graph import Graph, Value
from snnc.ir.shapes import Batch
from snnc.ir.types import TensorType
from snnc.passes.base import PassContext
from snnc.passes.manager import PassManager
from snnc.passes.rewriter import rewrite
from tests.harness import run_analog

if TYPE_CHECKING:
    from collections.abc import Mapping

    from snnc.ir.graph import Node
    from snnc.ir.kernel_types import Array
    from snnc.ir.shapes import Dim
    from snnc.passes.base import Calibration, Note, Pass
    from snnc.passes.rewriter import PatternTable

N = Batch()


class Builder:
    """A graph under construction; numbers and arrays among operands become constants."""

    def __init__(self, *shape: Dim, dtype: str = "f32") -> None:
        self.graph = Graph("test")
        self.x = self.input("x", *shape, dtype=dtype)

    def input(self, name: str, *shape: Dim, dtype: str = "f32") -> Value:
        return self.graph.add_input(name, TensorType(dtype, shape))

    def __call__(
        self,
        op: str,
        *operands: Value | Array | float,
        name: str | None = None,
        expect: bool = False,
        **attributes: Any,
    ) -> Value:
        values = [item if isinstance(item, Value) else self.constant(item) for item in operands]
        stored = {
            key: self.graph.add_tensor(key, value) if isinstance(value, np.ndarray) else value
            for key, value in attributes.items()
        }
        origin = name or f"{op}{len(self.graph)}"
        return self.graph.append(op, values, stored, expect=expect, origin=[origin], name=f"{origin}_out")

    def constant(self, item: Array | float) -> Value:
        array = np.asarray(item)
        return self.graph.constant_value(array if array.dtype == bool else array.astype(np.float32), "c")

    def outputs(self, **values: Value) -> Graph:
        for name, value in values.items():
            self.graph.add_output(value, name)
        return self.graph


def applied(graph: Graph, *passes: Pass, calibration: Calibration | None = None) -> tuple[Graph, list[Note]]:
    """Return a copy of the graph after the passes (verified by the manager), and why they declined."""
    result, context = graph.copy(), PassContext(calibration)
    PassManager(passes, context).run(result)
    return result, context.notes


def ops(graph: Graph) -> list[str]:
    """Return the names of all nodes but constants, in order."""
    return [node.full_name for node in graph if node.op.name != "constant"]


def only(graph: Graph, op: str) -> Node:
    """Return the one node of that op."""
    (node,) = [node for node in graph if node.op.name == op]
    return node


def random_inputs(graph: Graph, samples: int = 3, seed: int = 0, spread: float = 1.0) -> dict[str, Array]:
    """Return normally distributed inputs (integers 0..3 where the graph takes integers)."""
    random = np.random.default_rng(seed)
    inputs: dict[str, Array] = {}
    for value in graph.inputs:
        shape = [dim.coefficient * samples if isinstance(dim, Batch) else dim for dim in value.type.shape]
        noise = spread * random.standard_normal(shape)
        inputs[value.name or ""] = (
            noise.astype(np.float32) if value.type.is_real else random.integers(0, 4, shape)
        )
    return inputs


def assert_same_function(before: Graph, after: Graph, rtol: float = 1e-5, atol: float = 1e-5) -> None:
    """Hold two analog graphs against each other on random inputs of several magnitudes."""
    for seed, spread in enumerate((1.0, 10.0, 0.01)):
        inputs = random_inputs(before, seed=seed, spread=spread)
        assert_close(run_analog(after, inputs), run_analog(before, inputs), rtol, atol)


def decoded(graph: Graph, inputs: Mapping[str, Array], steps: int) -> dict[str, Array]:
    """Return the decoded outputs after every step."""
    return Simulator(graph).run(inputs, steps).outputs


def assert_close(found: Mapping[str, Array], wanted: Mapping[str, Array], rtol: float, atol: float) -> None:
    assert list(found) == list(wanted)
    for name, array in wanted.items():
        np.testing.assert_allclose(found[name], array, rtol=rtol, atol=atol, err_msg=name)


def rewritten(graph: Graph, patterns: PatternTable) -> Graph:
    """Return a copy of the graph after rewriting by patterns."""
    result = graph.copy()
    rewrite(result, patterns, PassContext(), "test")
    result.retype()
    return result

"""`tie-residuals`: one quantum per channel along a residual stream, and halves that are rounded up."""

from __future__ import annotations

import numpy as np
import pytest

from snnc.ir.codebooks import MultiSpike
from snnc.ir.errors import OptionError
from snnc.ir.graph import Graph
from snnc.ir.shapes import Batch
from snnc.ir.types import TensorType
from snnc.passes.base import PassContext
from snnc.passes.tie_residuals import TieResiduals


def residual(first: list[float], last: list[float], *, padded: bool = False, lo: int = 0) -> Graph:
    """neuron -> (conv, or moved as it is) -> add -> neuron; thresholds per channel."""
    graph = Graph("residual")
    x = graph.add_input("x", TensorType("f32", (Batch(), len(first), 4, 4)))

    def neuron(value, quantum):  # type: ignore[no-untyped-def]
        array = np.array(quantum, np.float32).reshape(1, -1, 1, 1)
        name = graph.add_tensor("quantum", array)
        given = {"codebook": MultiSpike(lo, 255), "quantum": name, "scale": name, "unit": name}
        return graph.append("neuron", [value], given)

    k = neuron(x, first)
    weight = graph.add_tensor("weight", np.ones((len(last), len(first), 1, 1), np.float32))
    branch = graph.append("conv", [k], {"weight": weight})
    moved = graph.append("pad", [k], {"pads": (0, 1, 0, 0, 0, 1, 0, 0)}) if padded else k
    graph.add_output(neuron(graph.append("add", [branch, moved], {}), last), "y")
    return graph


def quanta(graph: Graph) -> list[list[float]]:
    TieResiduals().run(graph, PassContext())
    neurons = [node for node in graph if node.op.name == "neuron"]
    return [graph.resolve(node)["quantum"].ravel().tolist() for node in neurons]


def test_a_residual_stream_has_the_coarsest_of_its_quanta_for_half_the_payloads() -> None:
    graph = residual([1.0, 4.0], [2.0, 3.0])
    share = 255 / 127
    assert quanta(graph) == [pytest.approx([2 * share, 4 * share])] * 2
    for node in graph:
        if node.op.name == "neuron":
            given = graph.resolve(node)
            assert (given["codebook"], given["initial"]) == (MultiSpike(0, 127, "floor"), 0.5)
            assert given["scale"] is given["quantum"]
            assert given["unit"] is given["quantum"]


def test_channels_that_a_pad_adds_are_tied_to_nothing() -> None:
    share = 255 / 127
    first, last = quanta(residual([1.0, 4.0], [9.0, 2.0, 3.0, 8.0], padded=True))
    assert first == pytest.approx([2 * share, 4 * share])
    assert last == pytest.approx([9 * share, 2 * share, 4 * share, 8 * share])


def test_signed_neurons_keep_their_quanta_and_round_halves_up() -> None:
    graph = residual([1.0, 4.0], [2.0, 3.0], lo=-128)
    assert quanta(graph) == [[1.0, 4.0], [2.0, 3.0]]
    codebooks = [graph.resolve(node)["codebook"] for node in graph if node.op.name == "neuron"]
    assert codebooks == [MultiSpike(-128, 255, "floor")] * 2


def test_it_changes_nothing_twice() -> None:
    graph = residual([1.0], [2.0])
    assert TieResiduals().run(graph, PassContext())
    assert not TieResiduals().run(graph, PassContext())


def test_payloads_must_be_possible() -> None:
    with pytest.raises(OptionError, match="payloads cannot be at most 0"):
        TieResiduals(largest=0)

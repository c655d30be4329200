"""Laws of networks that are lowered to whole numbers."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from snnc.backends.onnx.spiking import OnnxSimulator
from snnc.calibration import DatasetCalibration
from snnc.data import Dataset
from snnc.ir.errors import PassError
from snnc.ir.text import parse_graph, print_graph
from snnc.passes.base import PassContext, Preserves
from snnc.passes.dce import Dce
from snnc.passes.fit import Fit
from snnc.passes.identity_neurons import IdentityNeurons
from snnc.passes.integerise import Integerise
from snnc.passes.manager import PassManager
from snnc.passes.merge_steps import MergeSteps
from snnc.passes.quantise_weights import QuantiseWeights
from tests.generated.limits import run
from tests.generated.measures import deviation, same_but_for_ties

if TYPE_CHECKING:
    from snnc.ir.graph import Graph
    from snnc.ir.kernel_types import Array
    from snnc.passes.base import Pass

LOWERING: tuple[Pass, ...] = (QuantiseWeights(), Dce(), Integerise(host_nodes=True), Dce(), Fit())
LOWERING_OF_SUMS: tuple[Pass, ...] = (
    QuantiseWeights(),
    Dce(),
    Integerise(width=30, host_nodes=True),
    Fit(accumulator=30, membrane=30),
    MergeSteps(steps=3),
)
WEIGHTS = 0.2  # of the largest output, without neurons: 8 bits, through all layers
STEPS = 3


def assert_integers_keep_their_bounds(graph: Graph, data: dict[str, Array], *, jumps: bool) -> None:
    """Lower a graph to integers: the weights' error is small, whole numbers compute the same.

    Without its neurons the network of rounded weights is off by WEIGHTS at most, unless a function in it
    `jumps`; with them, every pass behind quantise-weights changes nothing but ties, at every step. Nothing is
    found twice, and the text reads back. Neurons whose negative payloads have a quantum of their own (powers
    of two that end at two different bounds) have no whole-number form: such a graph is refused, by name.
    Those that take spikes back answer in one merged step what they answer after all.
    """
    context = PassContext(DatasetCalibration(Dataset(data)))
    graph = graph.copy()
    if any("negative" in node.attributes for node in graph):
        with pytest.raises(PassError, match="negative payloads have a quantum of their own"):
            PassManager(LOWERING, context).run(graph)
        return
    sums = any("bounds" in node.attributes for node in graph)
    for pass_ in LOWERING_OF_SUMS if sums else LOWERING:
        before = graph.copy()
        PassManager([pass_], context).run(graph)
        assert_nothing_is_left(pass_, graph, context)
        if pass_.preserves is Preserves.WEIGHTS:
            found, wanted = meaning(graph, data), meaning(before, data)
            for name, array in wanted.items():
                assert jumps or deviation(found[name], array) <= WEIGHTS, name
            continue
        if isinstance(pass_, MergeSteps):
            assert_steps_merge(before, data)
            continue
        found, wanted = run(graph, data, STEPS), run(before, data, STEPS)
        for name, array in wanted.items():
            assert same_but_for_ties(found[name], array), (pass_.name, name)
    assert graph.computes_integers
    text = print_graph(graph, inline_limit=None)
    assert print_graph(parse_graph(text), inline_limit=None) == text


def assert_steps_merge(graph: Graph, data: dict[str, Array]) -> None:
    """Hold one merged step to the answer after as many; and the ONNX backend, which merges them."""
    wanted = run(graph, data, STEPS)
    for t in range(1, STEPS + 1):
        merged = graph.copy()
        PassManager([MergeSteps(steps=t)]).run(merged)
        for name, array in run(merged, data, 1).items():
            assert same_but_for_ties(array, wanted[name][t - 1 : t]), (t, name)
    if graph.computes_integers:
        unrolled = OnnxSimulator(graph, threads=1, single=True).run(data, STEPS).outputs
        for name, array in wanted.items():
            assert same_but_for_ties(unrolled[name], array), name


def assert_nothing_is_left(pass_: Pass, graph: Graph, context: PassContext) -> None:
    """Hold a pass that ran on a graph to not changing it again."""
    again = graph.copy()
    (second,) = PassManager([pass_], context).run(again)
    assert not second.changed, f"{pass_.name} changes its own result"
    assert print_graph(again, inline_limit=None) == print_graph(graph, inline_limit=None)


def meaning(graph: Graph, data: dict[str, Array]) -> dict[str, Array]:
    copy = graph.copy()
    PassManager([IdentityNeurons()]).run(copy)
    return run(copy, data, 1)

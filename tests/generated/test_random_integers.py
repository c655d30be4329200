"""Random networks as integers: quantise-weights alone rounds, and neither pass finds anything twice."""

from __future__ import annotations

from typing import TYPE_CHECKING

from hypothesis import given

from snnc.backends.reference import Simulator
from snnc.calibration import DatasetCalibration
from snnc.data import Dataset
from snnc.ir.text import parse_graph, print_graph
from snnc.passes.base import PassContext
from snnc.passes.integerise import Integerise
from snnc.passes.manager import PassManager
from snnc.passes.quantise_weights import QuantiseWeights
from tests.generated.laws import compiled, same_but_for_ties
from tests.generated.networks import Network, networks
from tests.generated.test_random import some

if TYPE_CHECKING:
    import pytest

    from snnc.ir.graph import Graph
    from snnc.passes.base import Pass

STEPS = 3


def test_random_networks_become_integers_without_loss(pytestconfig: pytest.Config) -> None:
    @given(networks())
    def becomes_integers(network: Network) -> None:
        hold(network)

    some(pytestconfig, becomes_integers, share=0.4)()


def hold(network: Network) -> None:
    graph = compiled(network, "multi-spike")
    context = PassContext(DatasetCalibration(Dataset(network.data)))
    quantise, integerise = QuantiseWeights(), Integerise(host_nodes=True)
    whole = applied_once(quantise, graph, context)
    integers = applied_once(integerise, whole, context)
    text = print_graph(integers, inline_limit=None)
    assert print_graph(parse_graph(text), inline_limit=None) == text
    if network.quantises:
        return  # sums of levels lie on edges between levels, where double precision decides otherwise
    wanted, found = (Simulator(one, threads=1).run(network.data, STEPS).outputs for one in (whole, integers))
    for name, array in wanted.items():
        assert same_but_for_ties(found[name], array), name


def applied_once(pass_: Pass, graph: Graph, context: PassContext) -> Graph:
    """Return the graph after a pass that then has nothing left to do."""
    result = graph.copy()
    PassManager([pass_], context).run(result)
    before = print_graph(result, inline_limit=None)
    (second,) = PassManager([pass_], context).run(result)
    assert not second.changed, f"{pass_.name} changes its own result"
    assert print_graph(result, inline_limit=None) == before
    return result

"""Random graphs with `lif` and `delay` under the laws: every pass and backend keeps every step as it is."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pytest
from hypothesis import given

from snnc.calibration import DatasetCalibration
from snnc.data import Dataset
from snnc.ir.errors import PassError
from snnc.ir.text import print_graph
from snnc.methods import DIRECT, Settings
from snnc.passes.analysis import spikes_already
from snnc.passes.base import PassContext, Preserves
from snnc.passes.correct_charges import CorrectCharges
from snnc.passes.dce import Dce
from snnc.passes.expand_levels import ExpandLevels
from snnc.passes.expectation_compensation import ExpectationCompensation
from snnc.passes.fit import Fit
from snnc.passes.fold_pooling import FoldPooling
from snnc.passes.identity_neurons import IdentityNeurons
from snnc.passes.insert_neurons import InsertNeurons
from snnc.passes.integerise import Integerise
from snnc.passes.manager import PassManager
from snnc.passes.normalise_thresholds import NormaliseThresholds
from snnc.passes.quantise_weights import QuantiseWeights
from tests.generated.backends import run_elsewhere
from tests.generated.builder import SAMPLES
from tests.generated.integers import assert_nothing_is_left
from tests.generated.laws import assert_round_trips
from tests.generated.limits import run
from tests.generated.measures import deviation
from tests.generated.spiking import KINDS, STEPS, SpikingNetwork, spiking_networks
from tests.generated.test_random import some

if TYPE_CHECKING:
    from pathlib import Path

    from snnc.ir.graph import Graph
    from snnc.ir.kernel_types import Array
    from snnc.passes.base import Pass

EXACT = 2e-6  # of the largest output: currents are decoded to single precision
PASSES: tuple[Pass, ...] = (
    *DIRECT.pipeline(Settings()), FoldPooling(), NormaliseThresholds(), ExpandLevels(), Dce()
)  # fmt: skip


def assert_equal(found: dict[str, Array], wanted: dict[str, Array]) -> None:
    assert list(found) == list(wanted)
    for name, array in wanted.items():
        np.testing.assert_array_equal(found[name], array, err_msg=name)


def test_every_law(pytestconfig: pytest.Config, tmp_path: Path) -> None:
    seen: set[str] = set()
    integers: list[bool] = []

    @given(spiking_networks())
    def every_law(network: SpikingNetwork) -> None:
        seen.update(network.ops)
        assert_round_trips(network.graph, tmp_path)
        assert_passes_preserve_every_step(network)
        assert_samples_are_independent(network)
        assert_backends_send_the_same_bits(network.graph, network.data)
        integers.append(lowered(network))

    some(pytestconfig, every_law)()
    assert seen == set(KINDS)
    assert any(integers)


def assert_passes_preserve_every_step(network: SpikingNetwork) -> None:
    """No pass that runs changes a bit of what is sent, or finds anything twice.

    All numbers are exact here. Passes that rely on means refuse a graph with lif neurons, and leave it alone.
    """
    graph, wanted = network.graph.copy(), run(network.graph, network.data, STEPS)
    context = PassContext(DatasetCalibration(Dataset(steady(network))))
    for pass_ in PASSES:
        PassManager([pass_], context).run(graph)
        assert_nothing_is_left(pass_, graph, context)
        assert_equal(run(graph, network.data, STEPS), wanted)
    if not spikes_already(graph):  # what no output needs is gone
        return
    text = print_graph(graph, inline_limit=None)
    for pass_ in (InsertNeurons(), ExpectationCompensation(), CorrectCharges(), IdentityNeurons()):
        with pytest.raises(PassError, match="this one has lif neurons"):
            PassManager([pass_], context).run(graph)
        assert print_graph(graph, inline_limit=None) == text


def steady(network: SpikingNetwork) -> dict[str, Array]:
    """Return inputs that do not vary in time: calibration takes no others."""
    return {name: array.mean(axis=0) if network.timed else array for name, array in network.data.items()}


def assert_samples_are_independent(network: SpikingNetwork) -> None:
    """Neither their neighbours nor their order change a bit of what samples give."""
    together = run(network.graph, network.data, STEPS)
    order = np.random.default_rng(0).permutation(SAMPLES)
    assert_equal(
        run(network.graph, taken(network, order), STEPS), {k: a[:, order] for k, a in together.items()}
    )
    for sample in range(SAMPLES):
        alone = run(network.graph, taken(network, [sample]), STEPS)
        assert_equal(alone, {name: array[:, [sample]] for name, array in together.items()})


def taken(network: SpikingNetwork, samples: object) -> dict[str, Array]:
    return {n: a[:, samples] if network.timed else a[samples] for n, a in network.data.items()}


def assert_backends_send_the_same_bits(graph: Graph, data: dict[str, Array]) -> None:
    wanted = run(graph, data, STEPS)
    for found in run_elsewhere(graph, data, STEPS).values():
        assert_equal(found, wanted)


def lowered(network: SpikingNetwork) -> bool:
    """Lower a graph to integers, none left for a host: behind quantise-weights nothing changes.

    Return whether it is not refused: refused are graphs that need real numbers inside, and lif neurons that
    start alike but count in different units.
    """
    graph, context = network.graph.copy(), PassContext(DatasetCalibration(Dataset(steady(network))))
    PassManager(PASSES, context).run(graph)
    for pass_ in (QuantiseWeights(), Dce(), Integerise(), Dce(), Fit()):
        before = run(graph, network.data, STEPS)
        try:
            PassManager([pass_], context).run(graph)
        except PassError as error:
            reasons = ("an integer machine has no real numbers", "its channels start alike but count in")
            assert any(reason in error.message for reason in reasons)  # noqa: PT017 - any other is a failure
            return False
        assert_nothing_is_left(pass_, graph, context)
        if pass_.preserves is not Preserves.WEIGHTS:
            for name, array in run(graph, network.data, STEPS).items():
                assert deviation(array, before[name]) <= EXACT, (pass_.name, name)
    return True

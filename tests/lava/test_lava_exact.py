"""Lava sends what the reference simulator sends: every layer, every step, every payload."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.lava import networks
from tests.lava.harness import assert_equal, in_lava, reference, without_lava

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from snnc.ir.graph import Graph

NETWORKS = (networks.every_neuron, networks.every_synapse, networks.every_path, networks.host_nodes)
STEPS = 32


@pytest.mark.parametrize("network", NETWORKS, ids=lambda network: network.__name__)
def test_the_emitted_arithmetic_is_that_of_the_reference(
    network: Callable[[], Graph], tmp_path: Path
) -> None:
    graph = network()
    x = networks.samples(graph, 3)
    assert_equal(without_lava(graph, x, 9, tmp_path), reference(graph, x, 9))


@pytest.mark.parametrize("network", NETWORKS, ids=lambda network: network.__name__)
def test_lava_computes_what_the_reference_computes(
    network: Callable[[], Graph], lava_python: Path, thorough: bool, tmp_path: Path
) -> None:
    graph = network()
    x = networks.samples(graph, 20 if thorough else 4)
    assert_equal(in_lava(graph, x, STEPS, lava_python, tmp_path), reference(graph, x, STEPS))

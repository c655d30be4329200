"""Spikes of our simulator and of readers that are not ours, step for step (all of them: `make nir`)."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.nir_exchange.agreement import READS, WRITES, read_by, written_by
from tests.nir_exchange.environments import CLIENTS, needs

if TYPE_CHECKING:
    from pathlib import Path

# Sums in another order may put a membrane on the other side of its threshold once in a while; a mistake
# moves far more. On the grid every sum is exact, so not one spike may differ.
TOLERATED = {"grid": 0.0}
ALMOST_ALL = 1e-3

SAMPLES = 10


@pytest.mark.parametrize(
    ("client", "network"),
    [
        pytest.param(client, name, marks=needs(client))
        for client in CLIENTS
        for name in READS[client]
        if name in ("plain", "grid", "folded", "lif") and (client, name) != ("spikingjelly", "folded")
    ],
)
def test_a_reader_sends_the_same_spikes(client: str, network: str, tmp_path: Path) -> None:
    found = read_by(client, network, tmp_path, SAMPLES)
    assert found.spikes > 500
    assert found.differing <= TOLERATED.get(network, ALMOST_ALL) * found.compared


@pytest.mark.parametrize(
    "written", [pytest.param(name, marks=needs(name.partition("-")[0])) for name in WRITES]
)
def test_what_another_wrote_sends_the_same_spikes(written: str, tmp_path: Path) -> None:
    found = written_by(written, tmp_path)
    assert found.spikes > 100
    assert found.differing <= ALMOST_ALL * found.compared

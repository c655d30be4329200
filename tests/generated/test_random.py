"""Random networks under every law: a fixed few in every test run, as many as asked for with --networks N.

A failure names the network's blocks and, outside continuous integration, the line that repeats it.
"""

from __future__ import annotations

import os
import subprocess
import sys
from typing import TYPE_CHECKING, Any

import numpy as np
import onnx
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from snnc.ir.archive import save
from snnc.methods import METHODS
from tests.generated import laws
from tests.generated.networks import Network, networks
from tests.generated.spiking import SpikingNetwork, spiking_networks

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    import pytest

USUAL = 40  # networks of an ordinary test run

Ways = st.tuples(st.sampled_from(sorted(METHODS)), st.sampled_from(["rate", "differential"]))


def some(config: pytest.Config, test: Callable[..., None], share: float = 1.0) -> Callable[..., None]:
    """Return the test with as many examples as were asked for; without, a fixed few."""
    count = config.getoption("--networks")
    return settings(
        max_examples=round(share * (count or USUAL)),
        derandomize=count is None,
        database=None,
        deadline=None,
        suppress_health_check=list(HealthCheck),
    )(test)


def test_laws(pytestconfig: pytest.Config, tmp_path: Path) -> None:
    @given(networks(), Ways)
    def every_law(network: Network, way: Any) -> None:
        laws.hold(network, *way, tmp_path)

    some(pytestconfig, every_law)()


def test_the_networks_have_every_topology(pytestconfig: pytest.Config) -> None:
    """Several inputs and outputs, branches, merged streams, shared weights, products, and integers."""
    seen: set[str] = set()

    @given(networks())
    def look(network: Network) -> None:
        graph = network.model.graph
        weights = {tensor.name for tensor in graph.initializer}
        read = [name for node in graph.node for name in dict.fromkeys(node.input)]
        streams = [{name for name in node.input if name and name not in weights} for node in graph.node]
        seen.update(
            name
            for name, there in {
                "inputs": len(graph.input) > 1,
                "outputs": len(graph.output) > 1,
                "integers": any(item.type.tensor_type.elem_type == 7 for item in graph.input),
                "branches": any(read.count(name) > 1 for name in read if name not in weights),
                "merged": any(len(each) > 1 for each in streams),
                "shared weights": any(read.count(name) > 1 for name in weights),
                "quantisers": network.quantises,
            }.items()
            if there
        )

    some(pytestconfig, look)()
    assert seen == {
        "inputs", "outputs", "integers", "branches", "merged", "shared weights", "quantisers"
    }  # fmt: skip


COMPILE = """
import sys
from pathlib import Path

import numpy as np

from snnc.data import Dataset
from snnc.driver import Options, compile_model
from snnc.ir.archive import load, save
from snnc.ir.errors import PassError
from snnc.methods import DIRECT, METHODS, Settings
from snnc.passes.manager import PassManager

models, out = map(Path, sys.argv[1:])
for model in sorted(models.glob("*.onnx")):
    data = Dataset(dict(np.load(model.with_suffix(".npz"))))
    for method in METHODS:
        for coding in ("rate", "differential"):
            path = out / f"{model.stem}.{method}.{coding}.sir"
            try:
                graph = compile_model(model, data, Options(method, Settings(coding=coding))).graph
            except PassError as error:
                path.write_text(error.message)
            else:
                save(graph, path, graph.meta)
for model in sorted(models.glob("*.sir")):
    graph = load(model).graph
    PassManager(DIRECT.pipeline(Settings())).run(graph)
    save(graph, out / model.name)
"""


def test_files_do_not_depend_on_process_or_hash_seed(pytestconfig: pytest.Config, tmp_path: Path) -> None:
    """Byte for byte, every method in both codings: two processes whose sets of strings have other orders."""
    drawn: list[Network] = []
    spiking: list[SpikingNetwork] = []

    @given(networks(), spiking_networks())
    def collect(network: Network, spiking_network: SpikingNetwork) -> None:
        drawn.append(network)
        spiking.append(spiking_network)

    some(pytestconfig, collect, share=0.15)()
    models = tmp_path / "models"
    models.mkdir()
    for number, (network, spiking_network) in enumerate(zip(drawn, spiking, strict=True)):
        onnx.save(network.model, models / f"{number:04d}.onnx")
        np.savez(models / f"{number:04d}.npz", **network.data)
        save(spiking_network.graph, models / f"{number:04d}.sir")
    contents = []
    for seed in ("1", "98765"):
        out = tmp_path / seed
        out.mkdir()
        environment = {**os.environ, "PYTHONHASHSEED": seed, "OPENBLAS_NUM_THREADS": "1"}
        subprocess.run([sys.executable, "-c", COMPILE, models, out], check=True, env=environment)
        contents.append({path.name: path.read_bytes() for path in out.iterdir()})
    assert len(contents[0]) == (2 * len(METHODS) + 1) * len(drawn) > 0
    assert contents[0] == contents[1]

"""The pass of `examples/custom_pass` does what its page says, loaded from its file and installed."""

from __future__ import annotations

import os
import subprocess
import sys
import tomllib
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pytest
from click.testing import CliRunner

from snnc.backends.reference import Simulator
from snnc.cli import main
from snnc.ir.archive import load, save_text
from snnc.ir.text import parse_graph
from snnc.passes.base import PassContext
from snnc.passes.manager import PassManager
from snnc.passes.pipeline import parse_pipeline
from snnc.passes.registry import default_registry

if TYPE_CHECKING:
    from snnc.ir.graph import Graph
    from snnc.ir.kernel_types import Array
    from snnc.passes.base import Note
    from snnc.passes.registry import Registry

EXAMPLE = Path(__file__).resolve().parent.parent / "examples" / "custom_pass"
FILE = EXAMPLE / "round_thresholds.py"
NETWORK = """
sir 1
graph @residual(%x: tensor<f32, N x 3>) {
  %0 = linear(%x) {weight = @first}
  %1 = add(%0, %x)
  %2 = neuron(%1) {codebook = multi(-1023, 1023), quantum = @quantum, unit = @quantum, scale = @quantum}
  %3 = linear(%2) {weight = @second}
  return %3 as "y"
}
tensor @first : tensor<f32, 3 x 3> = [1.0, 0.0, 0.5, 0.0, 1.0, 0.0, -0.5, 0.0, 1.0]
tensor @second : tensor<f32, 2 x 3> = [1.0, -1.0, 0.5, 0.25, 1.0, 1.0]
tensor @quantum : tensor<f32, 1 x 3> = [0.03, 0.125, 0.2]
"""


@pytest.fixture(scope="module")
def registry() -> Registry:
    found = default_registry()
    assert found.load_file(FILE) == ["round-thresholds"]
    return found


def passed(text: str, pipeline: str, registry: Registry) -> tuple[Graph, list[bool], list[Note]]:
    """Return the graph after a pipeline, which passes changed it, and why they declined."""
    graph, context = parse_graph(text), PassContext()
    runs = PassManager(parse_pipeline(pipeline, registry), context).run(graph)
    return graph, [run.changed for run in runs], context.notes


def parameters(graph: Graph) -> dict[str, Array]:
    (neuron,) = [node for node in graph if node.op.name == "neuron"]
    return graph.resolve(neuron)


@pytest.mark.parametrize(
    ("to", "wanted"),
    [("nearest", [1 / 32, 1 / 8, 1 / 4]), ("down", [1 / 64, 1 / 8, 1 / 8]), ("up", [1 / 32, 1 / 8, 1 / 4])],
)
def test_every_quantum_becomes_a_power_of_two(to: str, wanted: list[float], registry: Registry) -> None:
    graph, changed, _ = passed(NETWORK, f"round-thresholds{{to={to}}}", registry)
    assert changed == [True]
    for name in ("quantum", "scale", "unit"):
        np.testing.assert_array_equal(parameters(graph)[name], [wanted])


def test_a_negative_quantum_stays_negative(registry: Registry) -> None:
    graph, _, _ = passed(NETWORK.replace("[0.03", "[-0.03"), "round-thresholds", registry)
    np.testing.assert_array_equal(parameters(graph)["quantum"], [[-1 / 32, 1 / 8, 1 / 4]])


@pytest.mark.parametrize("then", ["", ",normalise-thresholds,dce"])
def test_the_decoded_value_is_kept_up_to_rounding(then: str, registry: Registry) -> None:
    x = np.random.default_rng(0).standard_normal((50, 3)).astype(np.float32)
    decoded = [
        Simulator(passed(NETWORK, pipeline, registry)[0]).run(x, steps=64).outputs["y"][-1]
        for pipeline in ("dce", f"round-thresholds{then}")
    ]
    # Each neuron is off by at most half a quantum / 64, before and after; weights add up to 2.5 at most.
    assert np.abs(decoded[0] - decoded[1]).max() < 2 * 2.5 * 0.25 / 2 / 64


def test_a_second_run_changes_nothing(registry: Registry) -> None:
    assert passed(NETWORK, "round-thresholds,round-thresholds", registry)[1] == [True, False]


@pytest.mark.parametrize(
    ("before", "after", "reason"),
    [
        (", quantum = @quantum, unit = @quantum, scale = @quantum", "", "it has no threshold yet"),
        (
            "multi(-1023, 1023),",
            "multi(0, 30), high = 6.0,",
            "a payload must stand for its bound 6.0 exactly",
        ),
        (
            "multi(-1023, 1023),",
            "multi(-5, 99), low = -1.0,",
            "a payload must stand for its bound -1.0 exactly",
        ),
    ],
)
def test_it_says_why_it_leaves_a_neuron_alone(
    before: str, after: str, reason: str, registry: Registry
) -> None:
    assert before in NETWORK
    _, changed, (note,) = passed(NETWORK.replace(before, after), "round-thresholds", registry)
    assert changed == [False]
    assert note.reason.startswith(reason)


def test_it_runs_from_its_file(tmp_path: Path) -> None:
    source, result = tmp_path / "net.sir", tmp_path / "rounded.sir"
    save_text(parse_graph(NETWORK), source)
    arguments = ["opt", str(source), "--load", str(FILE), "-p", "round-thresholds{to=up}", "-o", str(result)]
    assert CliRunner().invoke(main, arguments).exit_code == 0
    network = load(result)
    assert network.meta["pipeline"] == "round-thresholds{to=up}"
    np.testing.assert_array_equal(parameters(network.graph)["quantum"], [[1 / 32, 1 / 8, 1 / 4]])


@pytest.fixture
def installed(tmp_path: Path) -> dict[str, str]:
    """An environment in which the package of pyproject.toml lies beside snnc, as pip would put it there."""
    project = tomllib.loads((EXAMPLE / "pyproject.toml").read_text())
    (module,) = project["tool"]["setuptools"]["py-modules"]
    name, version = project["project"]["name"], project["project"]["version"]
    (tmp_path / f"{module}.py").write_text((EXAMPLE / f"{module}.py").read_text())
    metadata = tmp_path / f"{name.replace('-', '_')}-{version}.dist-info"
    metadata.mkdir()
    (metadata / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n")
    lines = [
        f"[{group}]\n" + "".join(f"{key} = {value}\n" for key, value in points.items())
        for group, points in project["project"]["entry-points"].items()
    ]
    (metadata / "entry_points.txt").write_text("".join(lines))
    return {**os.environ, "PYTHONPATH": os.pathsep.join([str(tmp_path), *filter(None, sys.path)])}


def test_an_installed_package_needs_no_load(installed: dict[str, str]) -> None:
    command = [sys.executable, "-m", "snnc", "passes", "round-thresholds"]
    shown = subprocess.run(command, env=installed, check=True, capture_output=True, text=True).stdout
    assert "nearest | down | up" in shown


def test_installed_and_loaded_at_once_is_refused(installed: dict[str, str]) -> None:
    command = [sys.executable, "-m", "snnc", "passes", "--load", str(FILE)]
    refused = subprocess.run(command, env=installed, check=False, capture_output=True, text=True)
    assert refused.returncode == 1
    assert "pass 'round-thresholds' is defined twice" in refused.stderr

"""Whole trained networks in Lava, from ONNX on: every payload of every layer is the reference simulator's."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pytest
from click.testing import CliRunner

import snnc
from snnc.cli import main
from tests.conftest import SHARED
from tests.lava.harness import assert_equal, in_lava, reference

if TYPE_CHECKING:
    from snnc.ir.graph import Graph
    from snnc.ir.kernel_types import Array

EXAMPLES = Path(__file__).resolve().parents[2] / "examples"
MODELS = SHARED / "models"
STEPS = 32


@dataclass(frozen=True)
class Case:
    """A model, its data, how they are normalised, and on how many samples it is compared."""

    model: Path
    data: str
    samples: int
    scale: float = 1 / 16
    mean: tuple[float, ...] = ()
    std: tuple[float, ...] = ()
    options: tuple[str, ...] = ()

    def compile(self, folder: Path) -> Graph:
        arguments = ["compile", self.model, "-o", folder / "net.sir", "--target", "loihi2", "--quiet"]
        arguments += ["--calibration", f"{self.data}_calibration.npz", "--scale", repr(self.scale)]
        arguments += ["--limit", "128", *self.options]
        for name, numbers in (("--mean", self.mean), ("--std", self.std)):
            arguments += [name, ",".join(map(str, numbers))] if numbers else []
        result = CliRunner().invoke(main, list(map(str, arguments)), prog_name="snnc")
        assert result.exit_code == 0, result.output
        return snnc.load(folder / "net.sir")

    def inputs(self, graph: Graph, count: int) -> dict[str, Array]:
        x = np.load(f"{self.data}_test.npz")["x"][:count].astype(np.float32) * np.float32(self.scale)
        for numbers, how in ((self.mean, np.subtract), (self.std, np.divide)):
            if numbers:
                x = how(x, np.array(numbers, np.float32).reshape(-1, 1, 1))
        return {graph.inputs[0].name or "": x}


DIGITS = str(EXAMPLES / "digits" / "digits")
CIFAR = {"scale": 1 / 255, "mean": (0.485, 0.456, 0.406), "std": (0.229, 0.224, 0.225)}
CASES = {
    "digits_cnn": Case(EXAMPLES / "digits" / "digits_cnn.onnx", DIGITS, 20),
    "digits_saformer": Case(EXAMPLES / "saformer" / "digits_saformer.onnx", DIGITS, 20),
    "digits_vit": Case(EXAMPLES / "digits" / "digits_vit.onnx", DIGITS, 20, options=("--host-nodes",)),
    "cifar10_resnet20": Case(MODELS / "cifar10_resnet20.onnx", str(MODELS / "cifar10"), 3, **CIFAR),  # type: ignore[arg-type]  # floats and tuples
}


def compare(name: str, samples: int, steps: int, python: Path, folder: Path) -> None:
    graph = CASES[name].compile(folder)
    x = CASES[name].inputs(graph, samples)
    (folder / "record").mkdir()
    assert_equal(in_lava(graph, x, steps, python, folder / "record"), reference(graph, x, steps))


def test_a_network_with_residuals_and_pools_is_the_same_in_lava(lava_python: Path, tmp_path: Path) -> None:
    compare("digits_cnn", 2, 8, lava_python, tmp_path)


@pytest.mark.whole_network
@pytest.mark.timeout(900)
@pytest.mark.parametrize(
    "name", [pytest.param(n, marks=pytest.mark.shared) if n.startswith("cifar") else n for n in CASES]
)
def test_trained_networks_are_the_same_in_lava(name: str, lava_python: Path, tmp_path: Path) -> None:
    compare(name, CASES[name].samples, STEPS, lava_python, tmp_path)

"""Spiking time against ANN time: the reference simulator and onnxruntime on the same data and threads."""

from __future__ import annotations

import os
import statistics
import time
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

import snnc
from snnc.source_model import SourceModel

if TYPE_CHECKING:
    from collections.abc import Callable

REPOSITORY = Path(__file__).parent.parent
DIGITS = REPOSITORY / "examples" / "digits"
SHARED = Path(os.environ.get("SNNC_SHARED", REPOSITORY.parent / "shared")) / "models"

# A turn lasts at least this long: the other side's threads have gone to sleep by then.
TURN_SECONDS = 0.1


@dataclass(frozen=True, slots=True)
class Network:
    """A trained network, its calibration and test data."""

    name: str
    model: Path
    calibration: Path
    test: Path
    normalise: snnc.Normalise

    @property
    def missing(self) -> str | None:
        """Return why the network cannot be measured here, if so."""
        absent = [str(path) for path in (self.model, self.calibration, self.test) if not path.is_file()]
        return f"no {', '.join(absent)} (SNNC_SHARED names the folder)" if absent else None


NETWORKS = (
    Network(
        "digits CNN",
        DIGITS / "digits_cnn.onnx",
        DIGITS / "digits_calibration.npz",
        DIGITS / "digits_test.npz",
        snnc.Normalise(scale=1 / 16),
    ),
    Network(
        "ResNet-20",
        SHARED / "cifar10_resnet20.onnx",
        SHARED / "cifar10_calibration.npz",
        SHARED / "cifar10_test.npz",
        snnc.Normalise(scale=1 / 255, mean=(0.485, 0.456, 0.406), std=(0.229, 0.224, 0.225)),
    ),
    Network(
        "ViT",
        SHARED / "cifar10_vit.onnx",
        SHARED / "cifar10_calibration.npz",
        SHARED / "cifar10_test.npz",
        snnc.Normalise(scale=1 / 255, mean=(0.5,), std=(0.5,)),
    ),
)


@dataclass(frozen=True, slots=True)
class Speed:
    """Medians over the rounds; `ratio` is SNN time / (steps x ANN time), round by round."""

    network: str
    batch: int
    steps: int
    ann_ms: float
    snn_ms: float
    ratio: float
    lowest: float
    highest: float


def measure(
    network: Network, batches: tuple[int, ...], steps: tuple[int, ...], rounds: int, threads: int
) -> list[Speed]:
    """Compile a network and time it for every batch size and number of steps."""
    calibration = snnc.load_data(network.calibration, normalise=network.normalise)
    graph = snnc.compile(network.model, calibration=calibration)
    simulator, source = snnc.Simulator(graph, threads=threads), SourceModel(network.model, threads=threads)
    samples = snnc.load_data(network.test, normalise=network.normalise, limit=max(batches))
    results = []
    for batch in batches:
        inputs, _ = next(samples.batches(graph, batch))
        for t in steps:
            pairs = alternate(partial(source.run, inputs), partial(simulator.run, inputs, t), rounds)
            results.append(summarise(network.name, batch, t, pairs))
    return results


def alternate(
    first: Callable[[], object], second: Callable[[], object], rounds: int
) -> list[tuple[float, float]]:
    """Time two functions in turns (A B A B …); return the seconds of one call of each, per round."""
    return [(turn(first), turn(second)) for _ in range(rounds)]


def turn(function: Callable[[], object]) -> float:
    """Call a function again and again for a while, after one call to warm up; return the median seconds."""
    function()
    times: list[float] = []
    while sum(times) < TURN_SECONDS:
        start = time.perf_counter()
        function()
        times.append(time.perf_counter() - start)
    return statistics.median(times)


def summarise(network: str, batch: int, steps: int, pairs: list[tuple[float, float]]) -> Speed:
    ratios = [snn / (steps * ann) for ann, snn in pairs]
    ann, snn = np.median(np.array(pairs), axis=0) * 1e3
    return Speed(
        network, batch, steps, float(ann), float(snn), statistics.median(ratios), min(ratios), max(ratios)
    )

"""Spiking time against ANN time on the same data and threads, and the ONNX backend against the reference."""

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
from snnc.backends.fast import FastSimulator
from snnc.backends.onnx.runtime import RuntimeModel
from snnc.backends.onnx.spiking import OnnxSimulator, emit_spiking
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
    backend: str
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
    integers = snnc.compile(network.model, calibration=calibration, target="loihi2", host_nodes=True)
    source = SourceModel(network.model, threads=threads)
    backends = {
        "reference": snnc.Simulator(graph, threads=threads),
        "fast": FastSimulator(graph, threads=threads),
        "onnx": OnnxSimulator(graph, threads=threads),
        "onnx, integers": OnnxSimulator(integers, threads=threads),
    }
    samples = snnc.load_data(network.test, normalise=network.normalise, limit=max(batches))
    results = []
    for batch in batches:
        inputs, _ = next(samples.batches(graph, batch))
        for t in steps:
            for name, simulator in backends.items():
                pairs = alternate(partial(source.run, inputs), partial(simulator.run, inputs, t), rounds)
                results.append(summarise(network.name, name, batch, t, pairs))
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


def summarise(network: str, backend: str, batch: int, steps: int, pairs: list[tuple[float, float]]) -> Speed:
    ratios = [snn / (steps * ann) for ann, snn in pairs]
    ann, snn = np.median(np.array(pairs), axis=0) * 1e3
    return Speed(
        network,
        backend,
        batch,
        steps,
        float(ann),
        float(snn),
        statistics.median(ratios),
        min(ratios),
        max(ratios),
    )


@dataclass(frozen=True, slots=True)
class Agreement:
    """The ONNX backend against the reference: shares of equal payloads and classes, largest difference."""

    network: str
    steps: int
    payloads: float
    classes: float
    difference: float


def agree(network: Network, steps: tuple[int, ...], samples: int, threads: int) -> list[Agreement]:
    """Compare every payload of a compiled network, and its outputs, in both backends."""
    graph = snnc.compile(
        network.model, calibration=snnc.load_data(network.calibration, normalise=network.normalise)
    )
    data = snnc.load_data(network.test, normalise=network.normalise, limit=samples)
    inputs, _ = next(data.batches(graph, samples))
    neurons = [node for node in graph if node.op.neuron]
    names = [str(node.attributes["site"]) for node in neurons]
    results = []
    for t in steps:
        reference = snnc.Simulator(graph, threads=threads).run(inputs, t, record=names)
        emitted = emit_spiking(graph, t, sites=[node.result for node in neurons])
        model = RuntimeModel(emitted, "spiking", threads=threads, packed=True)
        payloads = model.run(emitted.sites, inputs)
        same = sum(int((k == reference.spikes[n]).sum()) for n, k in zip(names, payloads, strict=True))
        (found,), (wanted,) = model.run(emitted.outputs, inputs), reference.outputs.values()
        results.append(
            Agreement(
                network.name,
                t,
                same / sum(k.size for k in payloads),
                float((found[-1].argmax(axis=1) == wanted[-1].argmax(axis=1)).mean()),
                float(np.abs(found[-1] - wanted[-1]).max() / np.abs(wanted[-1]).max()),
            )
        )
    return results

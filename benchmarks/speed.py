"""Spiking time against ANN time on the same data and threads, and the ONNX backend against the reference."""

from __future__ import annotations

import statistics
import time
from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
from subjects import NETWORKS, Network, RandomNetwork

import snnc
from snnc.backends.fast import FastSimulator
from snnc.backends.onnx.runtime import RuntimeModel
from snnc.backends.onnx.spiking import OnnxSimulator, emit_spiking
from snnc.source_model import SourceModel

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    from snnc.ir.kernel_types import Array

__all__ = ["NETWORKS", "agree", "measure", "turn"]

# A turn lasts at least twice this long: the other side's threads have gone to sleep when it is timed.
TURN_SECONDS = 0.1
# Rounds of one row end when they have taken this long, but not before there are so many.
ROW_SECONDS, LEAST_ROUNDS = 5.0, 3


class Runner(Protocol):
    """What every backend's simulator is."""

    def run(self, inputs: Mapping[str, Array], steps: int) -> object: ...


@dataclass(frozen=True, slots=True)
class Backend:
    """One way to run compiled networks; `options`: how it has them compiled."""

    name: str
    simulator: Callable[..., Runner]
    options: Mapping[str, Any] = field(default_factory=dict)


BACKENDS = (
    Backend("reference", snnc.Simulator),
    Backend("fast", FastSimulator),
    Backend("onnx", OnnxSimulator),
    Backend("fast, signed-memory", FastSimulator, {"method": "signed-memory"}),
    Backend("onnx, signed-memory", OnnxSimulator, {"method": "signed-memory"}),
    Backend("onnx, int8", partial(OnnxSimulator, single=True), {"target": "int8", "host_nodes": True}),
    Backend(
        "onnx, int8, signed-memory",
        partial(OnnxSimulator, single=True),
        {"target": "int8", "host_nodes": True, "method": "signed-memory"},
    ),
)


@dataclass(frozen=True, slots=True)
class Speed:
    """Medians over the rounds; `ratio` is SNN time / (steps x ANN time), round by round.

    `opening` is what the first call with so many steps took longer: seconds; None for a later batch size.
    """

    network: str
    backend: str
    batch: int
    steps: int
    ann_ms: float
    snn_ms: float
    ratio: float
    lowest: float
    highest: float
    rounds: int
    opening: float | None


def measure(
    network: Network | RandomNetwork,
    graph: snnc.Graph,
    batches: tuple[int, ...],
    steps: tuple[int, ...],
    *,
    rounds: int,
    threads: int,
    say: Callable[[str], object] = print,
) -> list[Speed]:
    """Time a compiled network in every backend for every batch size and number of steps."""
    source = SourceModel(network.model, threads=threads)
    inputs = {batch: network.inputs(graph, batch) for batch in batches}
    results: list[Speed] = []
    for backend in BACKENDS:
        try:
            own = network.compiled(**backend.options) if backend.options else graph
            simulator = backend.simulator(own, threads=threads)
            for t in steps:
                opening: float | None = clock(partial(simulator.run, inputs[batches[0]], t))
                for batch in batches:
                    ann, snn = partial(source.run, inputs[batch]), partial(simulator.run, inputs[batch], t)
                    row = summarise(list(alternate(ann, snn, rounds)), t)
                    if opening is not None:
                        opening = max(0.0, opening - row["snn_ms"] / 1e3)
                    results.append(Speed(network.name, backend.name, batch, t, opening=opening, **row))
                    say(f"{network.name}, {backend.name}, batch {batch}, T = {t}: {row['ratio']:.2f}")
                    opening = None
        except snnc.SnncError as error:
            say(f"skipped {backend.name} for {network.name}: {error}")
    return results


def alternate(
    first: Callable[[], object], second: Callable[[], object], rounds: int
) -> Iterator[tuple[float, float]]:
    """Time two functions in turns (A B A B …); yield the seconds of one call of each, per round."""
    start = time.perf_counter()
    for count in range(rounds):
        if count >= LEAST_ROUNDS and time.perf_counter() - start > ROW_SECONDS:
            return
        yield turn(first), turn(second)


def clock(function: Callable[[], object]) -> float:
    """Return the seconds of one call."""
    start = time.perf_counter()
    function()
    return time.perf_counter() - start


def turn(function: Callable[[], object]) -> float:
    """Call a function for a while to warm up, and again; return the median seconds of a call."""
    repeated(function)
    return statistics.median(repeated(function))


def repeated(function: Callable[[], object]) -> list[float]:
    """Return the seconds of as many calls as last TURN_SECONDS."""
    times: list[float] = []
    while sum(times) < TURN_SECONDS:
        times.append(clock(function))
    return times


def summarise(pairs: list[tuple[float, float]], steps: int) -> dict[str, Any]:
    """Return what `Speed` says of the seconds of rounds."""
    ratios = [snn / (steps * ann) for ann, snn in pairs]
    ann, snn = np.median(np.array(pairs), axis=0) * 1e3
    return {
        "ann_ms": float(ann),
        "snn_ms": float(snn),
        "ratio": statistics.median(ratios),
        "lowest": min(ratios),
        "highest": max(ratios),
        "rounds": len(pairs),
    }


@dataclass(frozen=True, slots=True)
class Agreement:
    """The ONNX backend against the reference: shares of equal payloads and classes, largest difference."""

    network: str
    steps: int
    payloads: float
    classes: float
    difference: float


def agree(
    network: Network, graph: snnc.Graph, steps: tuple[int, ...], samples: int, threads: int
) -> list[Agreement]:
    """Compare every payload of a compiled network, and its outputs, in both backends."""
    inputs = network.inputs(graph, samples)
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

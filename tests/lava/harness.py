"""Compares an integer network in Lava, or stepped as Lava would without it, with the reference simulator."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import numpy as np

from snnc.backends.lava.emit import write_lava
from snnc.backends.lava.network import Describer
from snnc.backends.lava.partition import cut
from snnc.backends.lava.runtime import worker
from snnc.backends.lava.runtime.clock import Layer
from snnc.backends.lava.session import LavaSimulator
from snnc.backends.reference import Simulator

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from snnc.ir.graph import Graph, Node
    from snnc.ir.kernel_types import Array


class Streams:
    """What every node sends at every step."""

    def __init__(self) -> None:
        self.of: dict[Node, list[Array]] = {}

    def observe(self, node: Node, t: int, value: Array, membrane: Array | None) -> None:
        self.of.setdefault(node, []).append(value.copy())


def reference(graph: Graph, x: Mapping[str, Array], steps: int) -> tuple[dict[str, Array], dict[str, Array]]:
    """Return the decoded outputs and, per layer, what it sends, [N T, …]: sample after sample."""
    streams, simulator = Streams(), Simulator(graph, group=1)
    outputs = simulator.run(x, steps, observers=[streams]).outputs
    partition = cut(graph)
    names = Describer(graph, partition).names
    sent = {}
    for piece in partition.layers:
        node = piece.sends.node
        assert node is not None
        sent[names[piece.sends]] = np.stack(streams.of[node])
    return outputs, sent


def in_lava(
    graph: Graph, x: Mapping[str, Array], steps: int, python: Path, record: Path
) -> tuple[dict[str, Array], dict[str, Array]]:
    """Return the same from Lava."""
    outputs = LavaSimulator(graph, python, time_limit=300).run(x, steps, record=record).outputs
    return outputs, {file.stem: np.load(file) for file in record.glob("*.npy")}


def without_lava(
    graph: Graph, x: Mapping[str, Array], steps: int, folder: Path
) -> tuple[dict[str, Array], dict[str, Array]]:
    """Return the same from the folder's network, stepped here in Lava's order: send, then receive."""
    write_lava(graph, steps, folder)
    network = json.loads((folder / "network.json").read_text())
    weights = dict(np.load(folder / "weights.npz"))
    samples = worker.sample_count(network["inputs"], x)
    series = worker.play_front(network, weights, x, samples, steps)
    total = samples * steps + max(sink["depth"] for sink in network["sinks"])
    run = {"period": steps, "samples": samples, "record": "yes"}
    layers = [Layer(plan, weights, run) for plan in network["layers"]]
    taken: dict[str, list[Any]] = {sink["from"]: [] for sink in network["sinks"]}
    for now in range(total):
        sent = {name: array[now] if now < len(array) else 0 * array[0] for name, array in series.items()}
        sent |= {layer.name: layer.held for layer in layers}
        for sink in network["sinks"]:
            if now >= sink["depth"]:
                taken[sink["from"]].append(sent[sink["from"]])
        for layer, plan in zip(layers, network["layers"], strict=True):
            layer.advance(now + 1, [sent[port["from"]] for port in plan["inputs"]])
    streams = {name: np.stack(arrays)[: samples * steps] for name, arrays in taken.items()}
    outputs = worker.play_tail(network, weights, streams, samples, steps)
    return outputs, {layer.name: np.stack(layer.record or []) for layer in layers}


def assert_equal(
    found: tuple[dict[str, Array], dict[str, Array]], expected: tuple[dict[str, Array], dict[str, Array]]
) -> None:
    """Compare payload for payload, layer by layer in their order, then the outputs.

    Real streams of host nodes may differ in the last bit: the two Pythons need not add in the same order.
    """
    assert set(found[1]) == set(expected[1])
    for name, wanted in expected[1].items():
        got = found[1][name].reshape(wanted.shape)
        if got.dtype.kind == "f":
            np.testing.assert_allclose(got, wanted, rtol=1e-9, atol=1e-9, err_msg=name)
            continue
        wrong = np.argwhere(got != wanted)
        assert not len(wrong), (
            f"{name}: {len(wrong)} of {wanted.size} differ, the first at step {wrong[0][0] + 1}: "
            f"{got[tuple(wrong[0])]}, not {wanted[tuple(wrong[0])]}"
        )
    for name, wanted in expected[0].items():
        np.testing.assert_array_equal(found[0][name], wanted, err_msg=name)

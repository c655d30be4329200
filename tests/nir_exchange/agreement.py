"""The same NIR file in the reference simulator and in readers that are not ours, spike by spike.

python -m tests.nir_exchange.agreement         the table of docs/nir.md (make nir)
"""

from __future__ import annotations

import argparse
import tempfile
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

import snnc
from snnc.backends.nir.emit import emit_nir, nir_bytes
from snnc.ir.graph import Graph
from snnc.ir.shapes import Batch
from snnc.ir.types import TensorType
from tests.nir_exchange.environments import CLIENTS, REPOSITORY, missing, run_client, version, write_network

if TYPE_CHECKING:
    from collections.abc import Callable

    from snnc.ir.graph import Value
    from snnc.ir.kernel_types import Array

DIGITS = REPOSITORY / "examples" / "digits"
STEPS, SAMPLES = 16, 50

# Binary neurons that reset to zero; `pooled` says what stands between average pooling and the next layer.
PIPELINE = (
    "simplify,raise-patterns,{pooled},choose-thresholds{{rule=percentile,per=tensor}},"
    "normalise-thresholds,dce"
)
NEURONS = "insert-neurons{codebook=binary,reset=zero,pooled=current}"

# What each client is given: the rest it cannot read (docs/nir.md says why).
READS = {
    "spikingjelly": ("plain", "folded", "mlp", "grid", "lif", "lif-normalised"),
    "norse": ("folded", "mlp", "lif-normalised"),
    "snntorch": ("lif", "lif-normalised"),
}
# What each client writes, and the --dt that its file means.
WRITES = {"spikingjelly": 1e-4, "norse-if": 1.0, "norse-lif": 1e-3, "snntorch": 1e-4}


@dataclass(frozen=True, slots=True)
class Agreement:
    """Spikes of all neurons and steps that were compared, how many there were, and how many differ."""

    compared: int
    spikes: int
    differing: int


@cache
def digits() -> Array:
    with np.load(DIGITS / "digits_test.npz") as data:
        return np.asarray(data["x"][:SAMPLES].astype(np.float32) / 16)


def compiled(name: str, *first: str) -> Graph:
    """Return a digits network with neurons that reset to zero."""
    data = snnc.load_data(DIGITS / "digits_calibration.npz", normalise=snnc.Normalise(1 / 16))
    pipeline = PIPELINE.format(pooled=",".join((*first, NEURONS)))
    return snnc.compile(DIGITS / f"digits_{name}.onnx", data, pipeline=pipeline)


def grid() -> Graph:
    """Conv, IF, average pooling, dense, IF, with weights on a grid: sums are exact, thresholds are met."""
    random = np.random.default_rng(5)
    graph, x = started(1, 8, 8)
    x = graph.append("conv", [x], {
        "weight": graph.add_tensor("w1", on_grid(random, 6, 1, 3, 3)),
        "strides": (1, 1), "pads": (1, 1, 1, 1), "dilations": (1, 1),
    })  # fmt: skip
    x = spiking(graph, x, 0.5, 1, "first")
    x = graph.append("avg_pool", [x], {
        "kernel": (2, 2), "strides": (2, 2), "pads": (0, 0, 0, 0), "dilations": (1, 1)
    })  # fmt: skip
    x = graph.append("reshape", [x], {"shape": (Batch(), 96)})
    x = graph.append("linear", [x], {"weight": graph.add_tensor("w2", on_grid(random, 24, 96))})
    graph.add_output(spiking(graph, x, 0.5, 1, "second"), "y")
    return graph


def leaky(gain: float) -> Graph:
    """Dense and LIF, twice, that keep 3/4 of the membrane."""
    random = np.random.default_rng(6)
    graph, x = started(64)
    for name, size in (("first", 32), ("second", 16)):
        inputs = x.type.shape[-1]
        assert isinstance(inputs, int)
        weight = random.standard_normal((size, inputs)) / np.sqrt(inputs) / gain
        ref = graph.add_tensor(f"{name}.weight", weight.astype(np.float32))
        bias = graph.add_tensor(f"{name}.bias", np.full(size, 0.1 / gain, np.float32))
        x = spiking(
            graph, graph.append("linear", [x], {"weight": ref, "bias": bias}), 1, gain, name, leak=0.75
        )
    graph.add_output(x, "y")
    return graph


def started(*sizes: int) -> tuple[Graph, Value]:
    graph = Graph("main")
    return graph, graph.add_input("image", TensorType("f32", (Batch(), *sizes)))


def on_grid(random: np.random.Generator, *shape: int) -> Array:
    return (random.integers(-16, 20, shape) / 32).astype(np.float32)


def spiking(
    graph: Graph, x: Value, threshold: float, gain: float, name: str, leak: float | None = None
) -> Value:
    ones = np.ones((1,) * len(x.type.shape), np.float32)
    numbers = {"threshold": threshold, "gain": None if gain == 1 else gain, "leak": leak}
    given = {
        key: graph.add_tensor(f"{name}.{key}", ones * np.float32(number))
        for key, number in numbers.items()
        if number is not None
    }
    return graph.append("lif", [x], given, origin=[name])


NETWORKS: dict[str, tuple[str, Callable[[], Graph]]] = {
    "plain": ("digits_plain.onnx: AvgPool2d", lambda: compiled("plain")),
    "folded": ("digits_plain.onnx, pooling folded", lambda: compiled("plain", "fold-pooling")),
    "mlp": ("digits_mlp.onnx", lambda: compiled("mlp")),
    "grid": ("IF whose membranes meet their thresholds", grid),
    "lif": ("LIF, m = 3/4 v + x", lambda: leaky(1.0)),
    "lif-normalised": ("LIF, m = 3/4 v + 1/4 x", lambda: leaky(0.25)),
}


@cache
def network(name: str) -> Graph:
    return NETWORKS[name][1]()


def read_by(client: str, name: str, folder: Path, samples: int = SAMPLES) -> Agreement:
    """Compare every neuron of a network that we wrote, at every step, in a client and in our simulator."""
    graph = network(name)
    path = folder / f"{name}.nir"
    path.write_bytes(nir_bytes(emit_nir(graph)))
    x = digits()[:samples]
    x = x if len(graph.inputs[0].type.shape) == 4 else x.reshape(samples, -1)
    neurons = [node.origin[0] for node in graph if node.op.neuron]
    ours = snnc.Simulator(graph).run(x, STEPS, record=neurons).spikes
    theirs = run_client(client, path, x, STEPS)
    names = sorted(key for key in theirs if key.startswith(("if_", "lif_")))
    assert len(names) == len(neurons)
    pairs = [(ours[ours_], theirs[theirs_]) for ours_, theirs_ in zip(neurons, names, strict=True)]
    return compared(pairs)


def written_by(written: str, folder: Path) -> Agreement:
    """Compare the last layer of a network that a client wrote, at every step, in it and in our simulator."""
    path, x, theirs = write_network(written, folder, STEPS)
    graph = snnc.compile(path, dt=WRITES[written])
    last = [node for node in graph if node.op.neuron][-1].origin[0]
    return compared([(snnc.Simulator(graph).run(x, STEPS, record=[last]).spikes[last], theirs)])


def compared(pairs: list[tuple[Array, Array]]) -> Agreement:
    for ours, theirs in pairs:
        assert ours.shape == theirs.shape
    return Agreement(
        sum(ours.size for ours, _ in pairs),
        int(sum(ours.sum() for ours, _ in pairs)),
        int(sum((ours != theirs).sum() for ours, theirs in pairs)),
    )


HEAD = f"""# NIR: spikes in other readers

Written by `make nir`: each network in its reader and in the reference simulator, {STEPS} steps, every neuron
at every step. What we wrote runs on {SAMPLES} digits. Of what a client wrote, the last layer is compared, on
random images. [NIR](nir.md) says what the readers do.
"""


def page() -> str:
    """Return the page with the table; exit where a client is absent."""
    lines = [HEAD, row("client", "network", "compared", "spikes", "differing"), row(*["---"] * 5)]
    with tempfile.TemporaryDirectory() as folder:
        for client in CLIENTS:
            reason = missing(client)
            if reason is not None:
                raise SystemExit(reason)
            shown, path = f"{client} {version(client)}", Path(folder)
            for name in READS[client]:
                lines.append(line(f"{shown} reads", NETWORKS[name][0], read_by(client, name, path)))
            for written in WRITES:
                if written.partition("-")[0] == client:
                    lines.append(line(f"{shown} writes", f"`{written}`", written_by(written, path)))
    return "\n".join(lines) + "\n"


def line(client: str, what: str, found: Agreement) -> str:
    return row(client, what, f"{found.compared:,}", f"{found.spikes:,}", f"{found.differing:,}")


def row(*cells: str) -> str:
    return "| " + " | ".join(cells) + " |"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--write", type=Path, metavar="FILE", help="write the page instead of printing it")
    options = parser.parse_args()
    text = page()
    if options.write is None:
        print(text)
    else:
        options.write.write_text(text)


if __name__ == "__main__":
    main()

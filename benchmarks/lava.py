"""Time networks in Lava: snnc's processes beside Lava's own Conv, Dense and LIFReset.

    python benchmarks/lava.py [--lava-python PYTHON] [--write docs/loihi.md]

The same chain of convolutions and integrate-and-fire neurons is emitted both ways and run in turn. Time is
processor time of all processes together, which hardly depends on what else the machine does; a step's is the
median of a long run's less a short one's, so starting does not count. The table takes the place of the one
between the page's two marks.
"""

from __future__ import annotations

import argparse
import resource
import statistics
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from snnc.backends.lava.session import LavaSimulator, Listener, find_lava_python
from snnc.backends.reference import Simulator
from snnc.ir.codebooks import Binary, MultiSpike
from snnc.ir.graph import Graph
from snnc.ir.shapes import Batch
from snnc.ir.types import TensorType

if TYPE_CHECKING:
    from collections.abc import Sequence

    from snnc.ir.graph import Value

STEPS = 8
# Samples of the short and the long run; the long one outlasts by far what starting takes.
OURS, STOCK = (2, 66), (2, 18)
ROUNDS = 3
MARKS = ("<!-- lava times -->\n", "<!-- end of lava times -->\n")
HEAD = "| network | layers | processes | ms per step | Lava's processes | ms per step | ratio |\n"
# Input, then channels and stride of 3 x 3 convolutions, then ten outputs.
NETWORKS: dict[str, tuple[tuple[int, int, int], Sequence[tuple[int, int]]]] = {
    "8 x 8, 4 convolutions": ((1, 8, 8), ((16, 1), (16, 1), (32, 2), (32, 1))),
    "32 x 32, 7 convolutions": ((3, 32, 32), ((16, 1), (16, 1), (16, 1), (32, 2), (32, 1), (64, 2), (64, 1))),
}


def chain(image: tuple[int, int, int], layers: Sequence[tuple[int, int]]) -> Graph:
    """Return a chain for Lava's own processes as well: binary spikes, hard reset, one threshold per layer."""
    random = np.random.default_rng(0)
    graph = Graph("chain")

    def tensor(name: str, array: Any, dtype: Any) -> Any:
        return graph.add_tensor(name, np.asarray(array, dtype))

    x: Value = graph.add_input("x", TensorType("f32", (Batch(), *image)))
    unit = tensor("unit", np.full((1, 1, 1, 1), 1 / 16), np.float32)
    x = graph.append("neuron", (x,), {"codebook": MultiSpike(0, 15), "quantum": unit})
    for number, (channels, stride) in enumerate(layers):
        weight = random.integers(-7, 8, (channels, x.type.shape[1], 3, 3))
        geometry = {"strides": (stride, stride), "pads": (1, 1, 1, 1)}
        x = graph.append("conv", (x,), {"weight": tensor("w", weight, np.int8), **geometry})
        threshold = tensor("theta", np.full((1, 1, 1, 1), 20), np.int32)
        given = {
            "codebook": Binary(),
            "reset": "zero",
            "quantum": threshold,
            "width": 24,
            "site": f"{number}",
        }
        x = graph.append("neuron", (x,), given)
    features = int(np.prod([int(dim) for dim in x.type.shape[1:]]))  # type: ignore[call-overload]  # numbers
    x = graph.append("reshape", (x,), {"shape": (Batch(), features)})
    x = graph.append("linear", (x,), {"weight": tensor("w", random.integers(-7, 8, (10, features)), np.int8)})
    graph.add_output(graph.append("dequantise", (x,), {"scale": tensor("s", 1.0, np.float32)}), "y")
    return graph


def processor_time() -> float:
    """Return the seconds that all ended children and theirs have computed."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


class Runner:
    """One way to run a network, and how long that took."""

    def __init__(self, graph: Graph, python: Path, *, stock: bool) -> None:
        self.simulator = LavaSimulator(graph, python, stock_steps=STEPS if stock else None)
        self.samples = STOCK if stock else OURS
        self.taken: tuple[list[float], list[float]] = ([], [])  # short and long runs
        self.said = ""

    def time(self, x: Any, expected: Any) -> None:
        """Run both lengths once more; the answers must be right."""
        for samples, taken in zip(self.samples, self.taken, strict=True):
            before = processor_time()
            found = self.simulator.run(x[:samples], STEPS, listener=Listener(cost=self.hear)).outputs["y"]
            taken.append(processor_time() - before)
            np.testing.assert_array_equal(found, expected[:, :samples])

    def hear(self, text: str) -> None:
        self.said = text

    @property
    def processes(self) -> str:
        return self.said.split()[0]

    @property
    def milliseconds(self) -> float:
        """Return the time per step."""
        short, long = map(statistics.median, self.taken)
        return 1e3 * (long - short) / ((self.samples[1] - self.samples[0]) * STEPS)


def row(name: str, python: Path) -> str:
    """Return a network's line of the table."""
    image, layers = NETWORKS[name]
    graph = chain(image, layers)
    x = np.random.default_rng(1).random((max(OURS), *image)).astype(np.float32)
    expected = Simulator(graph).run(x, STEPS).outputs["y"]
    ours, own = Runner(graph, python, stock=False), Runner(graph, python, stock=True)
    for _ in range(ROUNDS):
        for runner in (ours, own):
            runner.time(x, expected)
        print(f"{name}: {ours.milliseconds:.2f} and {own.milliseconds:.2f} ms", file=sys.stderr)
    ratio = own.milliseconds / ours.milliseconds
    cells = [name, len(layers) + 1, ours.processes, f"{ours.milliseconds:.1f}"]
    cells += [own.processes, f"{own.milliseconds:.1f}", f"{ratio:.1f}"]
    return f"| {' | '.join(map(str, cells))} |\n"


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--lava-python", help="the Python that has Lava")
    parser.add_argument("--write", type=Path, metavar="PAGE", help="put the table on this page")
    options = parser.parse_args()
    python = find_lava_python(options.lava_python)
    table = HEAD + "|---|---|---|---|---|---|---|\n" + "".join(row(name, python) for name in NETWORKS)
    print(table, end="")
    if options.write:
        before, rest = options.write.read_text().split(MARKS[0])
        _, after = rest.split(MARKS[1])
        options.write.write_text(f"{before}{MARKS[0]}{table}{MARKS[1]}{after}")


if __name__ == "__main__":
    main()

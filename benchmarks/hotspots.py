"""Say what the time of every backend goes into, by operator.

    python benchmarks/hotspots.py [--batch 16] [--steps 4] [--write PAGE]

On one thread: onnxruntime's own profile of the ONNX backend; of the others the time between two calls of an
observer, which the reference simulator tells of every node, and the fast backend of the last node of every
stretch. Operators with less than a fiftieth of the time are added up.
"""

from __future__ import annotations

import argparse
import json
import os
import tempfile
import time
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import snnc
    from snnc.ir.graph import Node
    from snnc.ir.kernel_types import Array

SMALLEST = 0.02
RUNS = 5


class Stopwatch:
    """Adds up the seconds of every op between one node and the next."""

    def __init__(self) -> None:
        self.seconds: Counter[str] = Counter()
        self.last = time.perf_counter()

    def observe(self, node: Node, t: int, value: Array, membrane: Array | None) -> None:
        del t, value, membrane
        now = time.perf_counter()
        self.seconds[node.op.name] += now - self.last
        self.last = now


def observed(simulator: Any, inputs: dict[str, Array], steps: int) -> Counter[str]:
    """Return seconds by op of the graph."""
    simulator.run(inputs, steps, observers=[Stopwatch()])
    watch = Stopwatch()
    for _ in range(RUNS):
        watch.last = time.perf_counter()
        simulator.run(inputs, steps, observers=[watch])
    return watch.seconds


def onnx(graph: snnc.Graph, inputs: dict[str, Array], steps: int) -> Counter[str]:
    """Return seconds by ONNX operator; onnxruntime writes its profile when a session ends."""
    import onnxruntime

    from snnc.backends.onnx.spiking import OnnxSimulator

    plain = onnxruntime.SessionOptions
    with tempfile.TemporaryDirectory() as folder:

        def profiled() -> Any:
            options = plain()
            options.enable_profiling = True
            options.profile_file_prefix = f"{folder}/profile"
            return options

        onnxruntime.SessionOptions = profiled
        try:
            simulator = OnnxSimulator(graph, threads=1)
            for _ in range(RUNS):
                simulator.run(inputs, steps)
            del simulator
        finally:
            onnxruntime.SessionOptions = plain
        seconds: Counter[str] = Counter()
        for path in Path(folder).glob("*.json"):
            for event in json.loads(path.read_text()):
                if event.get("cat") == "Node" and event["name"].endswith("_kernel_time"):
                    seconds[event["args"]["op_name"]] += event["dur"] / 1e6
    return seconds


def row(seconds: Counter[str]) -> str:
    """Return shares of the time, largest first."""
    total = sum(seconds.values())
    large = {name: one / total for name, one in seconds.most_common() if one >= SMALLEST * total}
    parts = [f"{name} {100 * share:.0f}" for name, share in large.items()]
    return ", ".join([*parts, f"others {100 * (1 - sum(large.values())):.0f}"])


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--batch", type=int, default=16)
    parser.add_argument("--steps", type=int, default=4)
    parser.add_argument("--write", type=Path, metavar="PAGE", help="put the table on this page")
    options = parser.parse_args()
    os.environ["OPENBLAS_NUM_THREADS"] = "1"
    import subjects
    from page import markdown, put

    import snnc
    from snnc.backends.fast import FastSimulator

    rows = []
    for network in subjects.NETWORKS:
        if network.missing:
            print(f"skipped {network.name}: {network.missing}")
            continue
        graph = network.compiled()
        inputs = network.inputs(graph, options.batch)
        found = {
            "reference": observed(snnc.Simulator(graph, threads=1), inputs, options.steps),
            "fast": observed(FastSimulator(graph, threads=1), inputs, options.steps),
            "onnx": onnx(graph, inputs, options.steps),
        }
        rows += [[network.name, name, row(seconds)] for name, seconds in found.items()]
    table = markdown(["network", "backend", "per cent of the time"], rows)
    print(table)
    if options.write:
        put(options.write, {"hotspots": f"\n{table}\n"})


if __name__ == "__main__":
    main()

"""Measure what the machine can do, and how far the measured networks are from it.

    python benchmarks/limits.py [--figures build/bench.json] [--write PAGE]

The figures are those of `bench.py --json`. The limit of a network is the sum over its layers of the longer of
two times: its multiply-accumulates at the rate of the fastest matrix product, and its bytes (weights once,
input and output once per step, everything between two layers for nothing) at the rate of a copy of as many
bytes. A layer that reads constants counts one step.
"""

from __future__ import annotations

import argparse
import json
import os
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    import onnxruntime

    import snnc

SIDE = 1024  # of the matrices that are multiplied
# Bytes of arrays that are copied: what fits a core's second-level cache, the third level, neither.
SIZES = {"256 KiB": 2**18, "4 MiB": 2**22, "256 MiB": 2**28}
CHAIN = 200  # nodes
TRIES = 5  # the best counts: a limit is what the machine can do undisturbed
FIGURES = Path("build/bench.json")


@dataclass(frozen=True, slots=True)
class Layer:
    """What one layer does for one sample and step; `invariant`: once, however many steps."""

    multiply_accumulates: float
    inputs: int
    outputs: int
    weights: int
    invariant: bool


def layers(graph: snnc.Graph) -> list[Layer]:
    """Return all layers and products of streams of a compiled network."""
    from snnc.backends.reference.program import invariant_values
    from snnc.energy import synaptic_macs
    from snnc.ir.shapes import per_sample

    invariant = invariant_values(graph)
    return [
        Layer(
            synaptic_macs(node, graph),
            sum(per_sample(operand.type.shape) for operand in node.operands),
            per_sample(node.result.type.shape),
            graph.resolve(node)["weight"].size if "weight" in node.attributes else 0,
            node.result in invariant,
        )
        for node in graph
        if node.op.synaptic
    ]


@dataclass(frozen=True, slots=True)
class Machine:
    """Multiply-accumulates a second, seconds per node and per call, bytes a second by size of a copy."""

    single: float
    integer: float
    node: float
    call: float
    copy: dict[int, float]

    def milliseconds(self, layer: Layer, batch: int, steps: int, *, integers: bool) -> float:
        """Return the least time of a layer."""
        count = batch * (1 if layer.invariant else steps)
        computing = layer.multiply_accumulates * count / (self.integer if integers else self.single)
        moved = (1 if integers else 4) * (layer.weights + count * (layer.inputs + layer.outputs))
        return 1e3 * max(computing, moved / self.bandwidth(moved))

    def bandwidth(self, moved: int) -> float:
        return self.copy[min((size for size in self.copy if size >= moved), default=max(self.copy))]


def best(function: Callable[[], object]) -> float:
    from speed import turn

    return min(turn(function) for _ in range(TRIES))


def session(nodes: list[Any], constants: dict[str, Any], x: Any, threads: int) -> Callable[[], object]:
    """Return what runs the nodes from `x` to `y` in onnxruntime."""
    import numpy as np
    import onnxruntime
    from onnx import helper, numpy_helper

    kind = helper.np_dtype_to_tensor_dtype(x.dtype)
    output = 6 if x.dtype == np.uint8 else kind  # TensorProto.INT32
    graph = helper.make_graph(
        nodes,
        "probe",
        [helper.make_tensor_value_info("x", kind, x.shape)],
        [helper.make_tensor_value_info("y", output, None)],
        [numpy_helper.from_array(array, name) for name, array in constants.items()],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=9)
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    opened: onnxruntime.InferenceSession = onnxruntime.InferenceSession(
        model.SerializeToString(), options, ["CPUExecutionProvider"]
    )
    return partial(opened.run, None, {"x": x})


def products(threads: int) -> tuple[float, float, float]:
    """Return multiply-accumulates a second: floats in onnxruntime and in numpy, 8-bit integers."""
    import numpy as np
    from onnx import helper
    from threadpoolctl import threadpool_limits

    random = np.random.default_rng(0)
    a, b = random.standard_normal((2, SIDE, SIDE), np.float32)
    u = random.integers(0, 256, (SIDE, SIDE), np.uint8)
    s = random.integers(-127, 128, (SIDE, SIDE)).astype(np.int8)
    single = session([helper.make_node("MatMul", ["x", "w"], ["y"])], {"w": b}, a, threads)
    whole = session([helper.make_node("MatMulInteger", ["x", "w"], ["y"])], {"w": s}, u, threads)
    with threadpool_limits(threads, "blas"):
        times = best(single), best(partial(np.matmul, a, b)), best(whole)
    floats, blas, integers = (SIDE**3 / seconds for seconds in times)
    return floats, blas, integers


def bandwidths(threads: int) -> dict[str, dict[int, float]]:
    """Return bytes a second that are read, written and copied (both counted), by size of all arrays."""
    import numpy as np

    found: dict[str, dict[int, float]] = {"read": {}, "write": {}, "copy": {}}
    with ThreadPoolExecutor(threads) as pool:
        for size in SIZES.values():
            count = size // 8 // threads  # floats of one of a thread's two arrays
            pairs = [(np.ones(count, np.float32), np.ones(count, np.float32)) for _ in range(threads)]
            repeats = max(1, 2**24 // size)  # a task lasts longer than handing it out

            def run(work: Callable[[Any, Any], object], pairs: Any = pairs, repeats: int = repeats) -> None:
                def task(pair: tuple[Any, Any]) -> None:
                    for _ in range(repeats):
                        work(*pair)

                list(pool.map(task, pairs))

            seconds = {
                "read": best(partial(run, np.dot)),
                "write": best(partial(run, lambda a, b: (a.fill(0), b.fill(0)))),
                "copy": best(partial(run, np.copyto)),
            }
            for name, one in seconds.items():
                found[name][size] = repeats * size / one
    return found


def overheads(threads: int) -> tuple[float, float]:
    """Return the seconds of a node that does nothing to speak of, and of a call of one such node."""
    import numpy as np
    from onnx import helper

    def chain(count: int) -> Callable[[], object]:
        names = ["x", *(f"v{index}" for index in range(count - 1)), "y"]
        nodes = [helper.make_node("Sigmoid", [a], [b]) for a, b in pairwise(names)]
        return session(nodes, {}, np.zeros((1, 8), np.float32), threads)

    one, many = best(chain(1)), best(chain(CHAIN))
    return (many - one) / (CHAIN - 1), one


def abilities(threads: Sequence[int]) -> tuple[list[str], list[list[str]], Machine]:
    """Return titles and rows of what the machine can do, and the last column as a `Machine`."""
    columns: list[list[str]] = []
    for count in threads:
        floats, blas, integers = products(count)
        moved = bandwidths(count)
        node, call = overheads(count)
        columns.append(
            [f"{rate / 1e9:.0f} G/s" for rate in (floats, blas, integers)]
            + [f"{moved[kind][size] / 1e9:.0f} GB/s" for kind in moved for size in SIZES.values()]
            + [f"{1e6 * node:.1f} µs", f"{1e6 * call:.1f} µs"]
        )
        machine = Machine(max(floats, blas), integers, node, call, moved["copy"])
    names = [
        f"multiply-accumulates, float32, onnxruntime, {SIDE} x {SIDE}",
        "the same, numpy",
        "multiply-accumulates, uint8 x int8, `MatMulInteger`",
        *(f"memory, {kind}, {size}" for kind in moved for size in SIZES),
        "onnxruntime, one more node",
        "onnxruntime, a call of one node",
    ]
    titles = ["", *(f"{count} thread{'s' if count > 1 else ''}" for count in threads)]
    return titles, [list(row) for row in zip(names, *columns, strict=True)], machine


def limit_table(figures: dict[str, Any], machine: Machine) -> tuple[list[str], list[list[str]]]:
    """Return how many times the limit every measured row takes; integers have a limit of their own."""
    measured: dict[tuple[str, int, int], dict[str, float]] = {}
    for one in figures["speed"]:
        row = measured.setdefault((one["network"], one["batch"], one["steps"]), {})
        row[one["backend"]] = one["snn_ms"]
        row["ANN"] = min(row.get("ANN", one["ann_ms"]), one["ann_ms"])
    backends = list(dict.fromkeys(one["backend"] for one in figures["speed"]))
    rows = []
    for (network, batch, steps), times in sorted(measured.items(), key=lambda item: item[0][1:]):
        found = [Layer(**one) for one in figures["layers"][network]]
        ann, single, integer = (
            sum(machine.milliseconds(one, batch, t, integers=whole) for one in found)
            for t, whole in ((1, False), (steps, False), (steps, True))
        )
        work = sum(one.multiply_accumulates * batch * (1 if one.invariant else steps) for one in found)
        over = [times["ANN"] / ann]
        over += [times.get(name, 0) / (integer if "int8" in name else single) for name in backends]
        cells = [f"{work / 1e9:.3g}", f"{single:.3g}", f"{integer:.3g}"]
        rows.append([network, str(batch), str(steps), *cells, *(f"{x:.1f}" if x else "" for x in over)])
    order = list(figures["layers"])
    rows.sort(key=lambda row: order.index(row[0]))
    return ["network", "batch", "T", "10⁹ MAC", "limit ms", "int8 limit ms", "ANN", *backends], rows


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--figures", type=Path, default=FIGURES, help="what bench.py --json wrote")
    parser.add_argument("--write", type=Path, metavar="PAGE", help="put the tables on this page")
    options = parser.parse_args()
    figures = json.loads(options.figures.read_text()) if options.figures.is_file() else None
    threads = figures["threads"] if figures else 2
    os.environ["OPENBLAS_NUM_THREADS"] = str(threads)
    from page import markdown, put

    titles, rows, machine = abilities(sorted({1, threads}))
    tables = {"abilities": markdown(titles, rows)}
    if figures:
        tables["limits"] = markdown(*limit_table(figures, machine))
    else:
        print(f"no {options.figures}: only the machine is measured (bench.py --json writes it)")
    print(*tables.values(), sep="\n")
    if options.write:
        put(options.write, {name: f"\n{table}\n" for name, table in tables.items()})


if __name__ == "__main__":
    main()

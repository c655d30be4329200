"""How the cost of every pass, of import, text and files grows with the number of nodes.

    python benchmarks/growth.py [--nodes 1000 3000 10000] [--skip allocate-levels] [--json FILE]

Every pass runs on a network that gives it work (`towers.py`). The exponent is the slope of log(seconds)
against log(nodes): 1 is linear.
"""

from __future__ import annotations

import argparse
import gc
import json
import tempfile
import time
import warnings
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import towers
from page import markdown, put
from rich.console import Console
from rich.table import Table
from threadpoolctl import ThreadpoolController

from snnc.backends.onnx.emit import emit_analog
from snnc.backends.onnx.spiking.emit import emit_spiking
from snnc.backends.reference.program import Program
from snnc.calibration import DatasetCalibration
from snnc.frontend import import_onnx
from snnc.ir import archive
from snnc.ir.text import parse_graph, print_graph
from snnc.ir.verify import verify
from snnc.passes.base import PassContext
from snnc.passes.manager import PassManager
from snnc.passes.pipeline import parse_pipeline
from snnc.passes.registry import default_registry
from snnc.synthetic import synthetic_dataset

if TYPE_CHECKING:
    from collections.abc import Callable, Container, Iterator, Sequence

    from snnc.ir.graph import Graph
    from snnc.passes.base import Pass

    Stage = tuple[str, Callable[[], object]]

NODES = (1000, 3000, 10_000)
SAMPLES = 4

# Network, number of passes at the end that are measured, passes.
PIPELINES: tuple[tuple[str, int, str], ...] = (
    (
        "transformer",
        9,
        """simplify, raise-patterns, dce, insert-neurons, expectation-compensation, choose-thresholds,
        correct-charges, normalise-thresholds, identity-neurons""",
    ),
    ("convolutional", 4, "fuse-batch-norm, fold-pooling, set-coding{coding=differential}, insert-neurons"),
    ("quantised", 1, "raise-quantisers"),
    ("flattened", 1, "insert-neurons, neurons-before-reshapes"),
    ("flattened", 1, "insert-neurons, neurons-before-reshapes, choose-thresholds, fuse-factors"),
    ("residual", 1, "simplify, insert-neurons{rounding=nearest}, choose-thresholds{rule=max}, tie-residuals"),
    (
        "chain",
        1,
        """simplify, insert-neurons{levels=6,rounding=nearest,bounds=sum}, choose-thresholds{headroom=none},
        merge-steps""",
    ),
    ("chain", 1, "simplify, insert-neurons, choose-thresholds, allocate-levels{accumulates=100000}"),
    (
        "chain",
        1,
        """simplify, insert-neurons{codebook=pow2,levels=3}, choose-thresholds, normalise-thresholds,
        expand-levels""",
    ),
    (
        "chain",
        3,
        """simplify, insert-neurons, choose-thresholds, normalise-thresholds, quantise-weights, integerise,
        fit""",
    ),
)


def stages(nodes: int, folder: Path) -> Iterator[Stage]:
    """Yield what is measured, by name, each to be called before the next one is asked for."""
    yield from infrastructure(nodes, folder)
    for kind, measured, text in PIPELINES:
        graph = import_onnx(towers.tower(kind, nodes))
        passes = parse_pipeline(" ".join(text.split()), default_registry())
        context = PassContext(calibration=DatasetCalibration(synthetic_dataset(graph, SAMPLES)))
        for index, pass_ in enumerate(passes):
            run = runner(pass_, graph, context)
            if index < len(passes) - measured:
                run()
            else:
                yield pass_.name, run


def runner(pass_: Pass, graph: Graph, context: PassContext) -> Callable[[], object]:
    return lambda: PassManager([pass_], context).run(graph)


def infrastructure(nodes: int, folder: Path) -> Iterator[Stage]:
    """Yield what is not a pass: import, text, files, and what backends make of a spiking network."""
    model = towers.tower("transformer", nodes)
    yield "import", lambda: import_onnx(model)
    graph = import_onnx(model)
    context = PassContext(calibration=DatasetCalibration(synthetic_dataset(graph, SAMPLES)))
    yield "emit analog", lambda: emit_analog(graph)
    spiking = "simplify, insert-neurons, expectation-compensation, choose-thresholds, normalise-thresholds"
    PassManager(parse_pipeline(spiking, default_registry()), context).run(graph)
    text, path = print_graph(graph, inline_limit=None), folder / "net.sir"
    yield "print", lambda: print_graph(graph, inline_limit=None)
    yield "parse", lambda: parse_graph(text)
    yield "verify", lambda: verify(graph)
    yield "copy", graph.copy
    yield "save", lambda: archive.save(graph, path)
    yield "load", lambda: archive.load(path, check_weights=True)
    yield "emit spiking", lambda: emit_spiking(graph, 2)
    yield "simulator", lambda: Program(graph, 1)


def seconds(nodes: int, skip: Container[str] = ()) -> dict[str, float]:
    """Return the seconds of every stage, but for some, on networks of so many ONNX nodes."""
    found = {}
    with tempfile.TemporaryDirectory() as folder:
        for name, run in stages(nodes, Path(folder)):
            if name in skip:
                continue
            gc.collect()
            start = time.process_time()
            run()
            found[name] = time.process_time() - start
    return found


def exponent(nodes: Sequence[int], times: Sequence[float]) -> float:
    """Return the slope of log(seconds) against log(nodes)."""
    slope, _ = np.polyfit(np.log(nodes), np.log(np.maximum(times, 1e-6)), 1)
    return float(slope)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--nodes", type=int, nargs="+", default=NODES)
    parser.add_argument("--skip", nargs="+", default=(), metavar="STAGE", help="leave some out")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the figures too")
    parser.add_argument("--write", type=Path, metavar="PAGE", help="put the table on this page")
    options, console = parser.parse_args(), Console()
    warnings.simplefilter("ignore")
    # Other threads of BLAS would wait through many small products, and waiting is processor time.
    with ThreadpoolController().limit(limits=1, user_api="blas"):
        seconds(50)  # what every first call pays
        series = [seconds(nodes, options.skip) for nodes in options.nodes]
    table = Table(title="processor seconds by number of nodes")
    titles = ["", *(f"{nodes:,}" for nodes in options.nodes), "exponent"]
    for column in titles:
        table.add_column(column, justify="left" if not column else "right")
    found = {name: [one[name] for one in series] for name in series[0]}
    rows = [
        [name, *(f"{one:.2f}" for one in times), f"{exponent(options.nodes, times):.2f}"]
        for name, times in found.items()
    ]
    for row in rows:
        table.add_row(*row)
    console.print(table)
    if options.write:
        put(options.write, {"growth": f"\n{markdown(titles, rows)}\n"})
    if options.json:
        options.json.write_text(json.dumps({"nodes": options.nodes, "seconds": found}, indent=1) + "\n")


if __name__ == "__main__":
    main()

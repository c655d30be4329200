"""Writes an integer network as a folder that runs wherever Lava and numpy are."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from snnc.backends.lava.closure import ENTRY, PACKAGE, copied_modules
from snnc.backends.lava.network import Describer
from snnc.backends.lava.partition import cut
from snnc.backends.lava.refusals import refuse_what_lava_lacks
from snnc.backends.lava.stock import describe_stock
from snnc.ir.errors import BackendError
from snnc.ir.output import write_npz

if TYPE_CHECKING:
    from pathlib import Path

    from snnc.ir.graph import Graph
    from snnc.ir.kernel_types import Array

RUN = f'''"""Runs this network in Lava: python run.py --input x.npy -T 4 -o y.npz (see README.md)."""

import sys
from pathlib import Path

from {ENTRY.replace("snnc", PACKAGE, 1)} import main

if __name__ == "__main__":
    sys.exit(main(Path(__file__).resolve().parent, sys.argv[1:]))
'''

README = """# {name}

A spiking network of integers as Lava processes, written by snnc. It needs Python with lava-nc 0.10 and
numpy, not snnc:

    python3.10 -m venv lava && lava/bin/pip install lava-nc==0.10.0
    lava/bin/python run.py --input x.npy -T {steps} -o y.npz

`x.npy` holds samples [N, ...] (or [T, N, ...] where they vary in time), normalised as for training; `y.npz`
the decoded outputs after every step, [T, N, ...]. `--record FOLDER` also writes what every layer sends at
every step, NAME.npy [N T, ...]. On Python 3.11 and later install numpy, scipy, networkx and asteval first,
then lava-nc with `--no-deps --ignore-requires-python`.

- `network.json`: {said}, their connections, delays and programs
- `weights.npz`: weights, thresholds, biases
- `{package}/backends/lava/runtime`: the Lava processes and their arithmetic
- `{package}/ir`, `{package}/backends/reference`: modules of snnc as they are, for real-valued nodes
"""


def write_lava(graph: Graph, steps: int, folder: Path, *, stock: bool = False) -> str:
    """Fill an empty folder; return what was written, in a few words. Refusals are `BackendError`s.

    `stock`: with the processes that come with Lava instead of our own.
    """
    network, weights, said = describe_stock(graph, steps) if stock else describe_own(graph, steps)
    (folder / "network.json").write_text(json.dumps(network, indent=1) + "\n")
    with (folder / "weights.npz").open("wb") as file:
        write_npz(file, dict(sorted(weights.items())))
    for name, text in copied_modules().items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
    (folder / "run.py").write_text(RUN)
    (folder / "README.md").write_text(README.format(name=graph.name, steps=steps, said=said, package=PACKAGE))
    return said


def describe_own(graph: Graph, steps: int) -> tuple[dict[str, Any], dict[str, Array], str]:
    """Return network.json, the weights and a few words, for our own processes."""
    refuse_what_lava_lacks(graph)
    partition = cut(graph)
    if not any(layer.chip for layer in partition.layers):
        raise BackendError("the network has no layer of integers for Lava to run")
    describer = Describer(graph, partition)
    processes = len(partition.sources) + len(partition.layers) + len(partition.sinks)
    said = f"{len(partition.layers)} layers, {processes} Lava processes"
    return describer.network(steps), describer.weights, said

"""Networks in PyTorch, compiled by torch.compile and as they are: milliseconds of a run, seconds to compile.

    python benchmarks/compiled.py [--device cpu] [--short] [--write docs/torch-backend.md]

Milliseconds are processor time of one thread; on a GPU, time. Ratios are compiled over not compiled, the
median over alternating rounds and its spread. The seconds are those of the first compiled run, nothing
cached; then with what that left in the cache. The difference is between the outputs of both, relative.
"""

from __future__ import annotations

import argparse
import os
import statistics
import tempfile
import time
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import machine
import numpy as np
import torch
from page import markdown, put
from speed import clock
from subjects import NETWORKS

from snnc.backends.torch.simulator import TorchSimulator

if TYPE_CHECKING:
    from collections.abc import Callable

    from subjects import Network

    import snnc

BATCHES, STEPS, ROUNDS, CALLS = (1, 16), 4, 5, 6
TITLES = [
    "network",
    "batch",
    "ms",
    "ms, compiled",
    "ratio",
    "s to compile",
    "cached",
    "largest output difference",
]


def measure(network: Network, graph: snnc.Graph, batch: int, device: str) -> list[str]:
    """Return one row."""
    inputs = network.inputs(graph, batch)
    plain, compiled = (TorchSimulator(graph, device=device, compiled=one) for one in (False, True))
    torch.compiler.reset()
    with tempfile.TemporaryDirectory() as cache:
        os.environ["TORCHINDUCTOR_CACHE_DIR"] = cache
        seconds = clock(partial(compiled.run, inputs, STEPS))
        torch.compiler.reset()
        cached = clock(partial(TorchSimulator(graph, device=device, compiled=True).run, inputs, STEPS))
        now = time.process_time if device == "cpu" else time.perf_counter
        runs = [partial(one.run, inputs, STEPS) for one in (plain, compiled)]
        pairs = [[turn(run, now) for run in runs] for _ in range(ROUNDS)]
        (wanted,), (found,) = (one.run(inputs, STEPS).outputs.values() for one in (plain, compiled))
    ratios = [after / before for before, after in pairs]
    before, after = np.median(np.array(pairs), axis=0) * 1e3
    spread = f"{statistics.median(ratios):.2f} ({min(ratios):.2f}..{max(ratios):.2f})"
    difference = np.abs(found - wanted).max() / np.abs(wanted).max()
    times = [f"{before:.3g}", f"{after:.3g}", spread, f"{seconds:.0f}", f"{cached:.0f}"]
    return [network.name, str(batch), *times, f"{difference:.1e}" if difference else "0"]


def turn(run: Callable[[], object], now: Callable[[], float]) -> float:
    """Return the median seconds of some calls, the first one left out."""
    times = []
    for _ in range(CALLS):
        start = now()
        run()
        times.append(now() - start)
    return statistics.median(times[1:])


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--short", action="store_true", help="only the example network")
    parser.add_argument("--write", type=Path, metavar="PAGE", help="put the table on this page")
    options = parser.parse_args()
    torch.set_num_threads(1)
    described = f"{machine.describe(1)} PyTorch {torch.__version__}, {options.device}, T = {STEPS}."
    print(described)
    rows = []
    for network in NETWORKS[:1] if options.short else NETWORKS:
        if network.missing:
            print(f"skipped {network.name}: {network.missing}")
            continue
        graph = network.compiled()
        for batch in BATCHES:
            rows.append(measure(network, graph, batch, options.device))
            print(*rows[-1], sep=" | ", flush=True)
    if options.write:
        put(options.write, {"compiled": f"\n{described}\n\n{markdown(TITLES, rows)}\n"})


if __name__ == "__main__":
    main()

"""Time both backends against onnxruntime running the ANN, compare their payloads, time compiling at scale.

    python benchmarks/bench.py [--threads 2] [--short] [--openblas-kernels SkylakeX] [--json FILE]

Prints a ratio per network, backend, batch size and number of steps T: SNN time / (T x ANN time), the
median over alternating rounds and its spread; how many payloads are the same in both backends; then compile
time, load time and peak memory of a ViT-B/16 and a ViT-L/16.
"""

from __future__ import annotations

import argparse
import json
import os
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

from rich.console import Console
from rich.table import Table

if TYPE_CHECKING:
    from scale import Scale
    from speed import Agreement, Speed

BATCHES, STEPS = (1, 100), (1, 4)
ROUNDS, SHORT_ROUNDS = 7, 3
COMPARED = 20  # samples whose payloads are compared


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--threads", type=int, default=2, help="of OpenBLAS and of onnxruntime")
    parser.add_argument("--openblas-kernels", metavar="NAME", help="sets OPENBLAS_CORETYPE")
    parser.add_argument("--short", action="store_true", help="fewer rounds, no ViT")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the figures too")
    return parser.parse_args()


def main() -> None:
    options, console = arguments(), Console()
    # OpenBLAS reads these once, when numpy loads it.
    os.environ["OPENBLAS_NUM_THREADS"] = str(options.threads)
    if options.openblas_kernels:
        os.environ["OPENBLAS_CORETYPE"] = options.openblas_kernels
    import scale
    import speed
    import vit

    found: list[Speed] = []
    agreements: list[Agreement] = []
    for network in speed.NETWORKS:
        if network.missing:
            console.print(f"skipped {network.name}: {network.missing}")
            continue
        with console.status(f"measuring {network.name}"):
            rounds = SHORT_ROUNDS if options.short else ROUNDS
            found += speed.measure(network, BATCHES, STEPS, rounds, options.threads)
            agreements += speed.agree(network, STEPS, COMPARED, options.threads)
    console.print(speed_table(found, options.threads))
    console.print(agreement_table(agreements))
    large: list[Scale] = []
    for size in () if options.short else (vit.BASE, vit.LARGE):
        with console.status(f"compiling a {size.name}"):
            large.append(scale.measure(size))
    if large:
        console.print(scale_table(large))
    if options.json:
        record = {
            "threads": options.threads,
            "openblas_kernels": options.openblas_kernels,
            "speed": [asdict(one) for one in found],
            "agreement": [asdict(one) for one in agreements],
            "scale": [asdict(one) for one in large],
        }
        options.json.write_text(json.dumps(record, indent=1) + "\n")


def speed_table(found: list[Speed], threads: int) -> Table:
    table = Table(title=f"SNN time / (T x ANN time), {threads} thread(s)")
    for column in ("network", "backend", "batch", "T", "ratio", "spread", "ANN ms", "SNN ms"):
        table.add_column(column, justify="left" if column in ("network", "backend") else "right")
    for one in found:
        spread = f"{one.lowest:.2f}..{one.highest:.2f}"
        numbers = [f"{one.ratio:.2f}", spread, f"{one.ann_ms:.3f}", f"{one.snn_ms:.3f}"]
        table.add_row(one.network, one.backend, str(one.batch), str(one.steps), *numbers)
    return table


def agreement_table(found: list[Agreement]) -> Table:
    table = Table(title=f"the ONNX backend against the reference simulator, {COMPARED} samples")
    for column in ("network", "T", "same payloads", "same class", "largest output difference"):
        table.add_column(column, justify="left" if column == "network" else "right")
    for one in found:
        shares = [f"{100 * one.payloads:.3f} %", f"{100 * one.classes:.0f} %"]
        table.add_row(one.network, str(one.steps), *shares, f"{one.difference:.1e}")
    return table


def scale_table(found: list[Scale]) -> Table:
    table = Table(title="compiling without calibration data")
    for column in ("network", "peak / model", "model MiB", "peak MiB", "compile s", "processor s", "save s"):
        table.add_column(column, justify="left" if column == "network" else "right")
    for column in ("load s", "checked load s", "synthetic samples"):
        table.add_column(column, justify="right")
    for one in found:
        sizes = [f"{one.model_bytes / 2**20:.0f}", f"{one.peak_bytes / 2**20:.0f}"]
        seconds = [one.compile_seconds, one.processor_seconds, one.save_seconds]
        loads = [f"{one.load_seconds:.2f}", f"{one.checked_load_seconds:.2f}"]
        times = [f"{time:.1f}" for time in seconds]
        table.add_row(one.network, f"{one.ratio:.2f}", *sizes, *times, *loads, str(one.samples))
    return table


if __name__ == "__main__":
    main()

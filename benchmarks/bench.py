"""Time every backend against onnxruntime running the ANN, compare payloads, time compiling at scale.

    python benchmarks/bench.py [--threads 2] [--short] [--openblas-kernels NAME] [--json FILE] [--write PAGE]

A ratio per network, backend, batch size and number of steps T: SNN time / (T x ANN time), the median over
alternating rounds and its spread; seconds to open; how many payloads are the same in the ONNX backend and the
reference; then compile time, load time and peak memory of a ViT-B/16 and a ViT-L/16.
"""

from __future__ import annotations

import argparse
import json
import os
import tempfile
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from page import markdown, put
from rich.console import Console
from rich.table import Table

if TYPE_CHECKING:
    from collections.abc import Iterator

    from scale import Scale
    from speed import Agreement, Speed

STEPS = (1, 4)
ROUNDS, SHORT_ROUNDS = 7, 3
COMPARED = 20  # samples whose payloads are compared


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--threads", type=int, default=2, help="of OpenBLAS and of onnxruntime")
    parser.add_argument("--openblas-kernels", metavar="NAME", help="sets OPENBLAS_CORETYPE")
    parser.add_argument("--short", action="store_true", help="fewer rounds, trained networks only")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the figures too")
    parser.add_argument("--write", type=Path, metavar="PAGE", help="put the tables on this page")
    return parser.parse_args()


def main() -> None:
    options, console = arguments(), Console()
    # OpenBLAS reads these once, when numpy loads it.
    os.environ["OPENBLAS_NUM_THREADS"] = str(options.threads)
    if options.openblas_kernels:
        os.environ["OPENBLAS_CORETYPE"] = options.openblas_kernels
    import machine

    described = machine.describe(options.threads)
    console.print(described)
    with tempfile.TemporaryDirectory() as folder:
        found, agreements, layers = running(options, console, Path(folder))
    large = compiling(console) if not options.short else []
    tables = dict(all_tables(found, agreements, large))
    for name, (titles, rows) in tables.items():
        show(console, name, titles, rows)
    if options.json:
        record = {
            "machine": described,
            "threads": options.threads,
            "openblas_kernels": options.openblas_kernels,
            "layers": layers,
            "speed": [asdict(one) for one in found],
            "agreement": [asdict(one) for one in agreements],
            "scale": [asdict(one) for one in large],
        }
        options.json.parent.mkdir(parents=True, exist_ok=True)
        options.json.write_text(json.dumps(record, indent=1) + "\n")
    if options.write:
        pages = {name: "\n" + markdown(*table) + "\n" for name, table in tables.items()}
        put(options.write, {"machine": f"\n{described}\n\n", **pages})


def running(
    options: argparse.Namespace, console: Console, folder: Path
) -> tuple[list[Speed], list[Agreement], dict[str, Any]]:
    """Time all networks, compare the payloads of those that are trained, count what their layers do."""
    import limits
    import speed
    import subjects

    found: list[Speed] = []
    agreements: list[Agreement] = []
    layers: dict[str, Any] = {}
    rounds = SHORT_ROUNDS if options.short else ROUNDS
    untrained = () if options.short else subjects.random_networks(folder)
    for network in (*subjects.NETWORKS, *untrained):
        if network.missing:
            console.print(f"skipped {network.name}: {network.missing}")
            continue
        with console.status(f"measuring {network.name}"):
            graph = network.compiled()
            layers[network.name] = [asdict(one) for one in limits.layers(graph)]
            found += speed.measure(
                network,
                graph,
                network.batches,
                STEPS,
                rounds=rounds,
                threads=options.threads,
                say=console.print,
            )
            if isinstance(network, subjects.Network):
                agreements += speed.agree(network, graph, STEPS, COMPARED, options.threads)
    return found, agreements, layers


def compiling(console: Console) -> list[Scale]:
    import scale
    import vit

    large = []
    for size in (vit.BASE, vit.LARGE):
        with console.status(f"compiling a {size.name}"):
            large.append(scale.measure(size))
    return large


def all_tables(
    found: list[Speed], agreements: list[Agreement], large: list[Scale]
) -> Iterator[tuple[str, tuple[list[str], list[list[str]]]]]:
    """Yield every table that there are figures for: its name, its titles and its rows."""
    yield "ratios", ratio_table(found)
    yield "milliseconds", time_table(found)
    yield "seconds to open", opening_table(found)
    if agreements:
        yield "agreement", agreement_table(agreements)
    if large:
        yield "scale", scale_table(large)


def by_backend(found: list[Speed]) -> tuple[list[str], dict[tuple[str, int, int], dict[str, Speed]]]:
    """Return the names of all backends, and what each measured by network, batch and steps."""
    names = list(dict.fromkeys(one.backend for one in found))
    grouped: dict[tuple[str, int, int], dict[str, Speed]] = {}
    order = {name: place for place, name in enumerate(dict.fromkeys(one.network for one in found))}
    for one in sorted(found, key=lambda one: (order[one.network], one.batch, one.steps)):
        grouped.setdefault((one.network, one.batch, one.steps), {})[one.backend] = one
    return names, grouped


def ratio_table(found: list[Speed]) -> tuple[list[str], list[list[str]]]:
    names, grouped = by_backend(found)
    rows = []
    for (network, batch, steps), speeds in grouped.items():
        cells = [
            f"{one.ratio:.2f} ({one.lowest:.2f}..{one.highest:.2f})" if (one := speeds.get(name)) else ""
            for name in names
        ]
        rows.append([network, str(batch), str(steps), *cells])
    return ["network", "batch", "T", *names], rows


def time_table(found: list[Speed]) -> tuple[list[str], list[list[str]]]:
    names, grouped = by_backend(found)
    rows = []
    for (network, batch, steps), speeds in grouped.items():
        ann = min(one.ann_ms for one in speeds.values())
        cells = [f"{one.snn_ms:.3g}" if (one := speeds.get(name)) else "" for name in names]
        rows.append([network, str(batch), str(steps), f"{ann:.3g}", *cells])
    return ["network", "batch", "T", "ANN", *names], rows


def opening_table(found: list[Speed]) -> tuple[list[str], list[list[str]]]:
    names, grouped = by_backend([one for one in found if one.opening is not None])
    rows = []
    for (network, _, steps), speeds in grouped.items():
        cells = [f"{one.opening:.2f}" if (one := speeds.get(name)) else "" for name in names]
        rows.append([network, str(steps), *cells])
    return ["network", "T", *names], rows


def agreement_table(found: list[Agreement]) -> tuple[list[str], list[list[str]]]:
    rows = []
    for one in found:
        shares = [f"{100 * one.payloads:.3f} %", f"{100 * one.classes:.0f} %"]
        rows.append([one.network, str(one.steps), *shares, f"{one.difference:.1e}"])
    return ["network", "T", "same payloads", "same class", "largest output difference"], rows


def scale_table(found: list[Scale]) -> tuple[list[str], list[list[str]]]:
    rows = []
    for one in found:
        sizes = [f"{one.model_bytes / 2**20:.0f}", f"{one.peak_bytes / 2**20:.0f}"]
        seconds = [one.compile_seconds, one.processor_seconds, one.save_seconds]
        loads = [f"{one.load_seconds:.2f}", f"{one.checked_load_seconds:.2f}"]
        times = [f"{time:.1f}" for time in seconds]
        rows.append([one.network, f"{one.ratio:.2f}", *sizes, *times, *loads, str(one.samples)])
    titles = ["network", "peak / model", "model MiB", "peak MiB", "compile s", "processor s", "save s"]
    return [*titles, "load s", "checked load s", "synthetic samples"], rows


def show(console: Console, title: str, titles: list[str], rows: list[list[str]]) -> None:
    table = Table(title=title)
    for place, column in enumerate(titles):
        table.add_column(column, justify="left" if place == 0 else "right")
    for row in rows:
        table.add_row(*row)
    console.print(table)


if __name__ == "__main__":
    main()

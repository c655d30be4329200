"""Find the spike rate below which layers are faster event-driven than dense, and the rates networks have.

    python benchmarks/sparsity.py [--short] [--plot FILE.svg] [--write PAGE]

A layer gets payloads of which a share is 1 and the rest 0. Either side takes its fastest way, in turns, on
one thread; the break-even rate is where the ratio of the medians crosses 1. The rates that networks have are
counted in the reference simulator, by layer: the share of payloads that are not 0, over all steps and test
samples. Last, a network with a large linear layer in the fast backend, with and without the event unit.
"""

from __future__ import annotations

import argparse
import os
import statistics
import sys
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Sequence

    from events import Convolution, Linear

RATES = (0.001, 0.003, 0.01, 0.03, 0.1, 0.3, 1.0)
BATCHES, ROUNDS = (1, 16), 3
METHODS = ("multi-spike", "if", "qcfs", "ternary")
STEPS, SAMPLES = (1, 4, 16), 20
BARS = 12  # of the histogram of rates


@dataclass(frozen=True)
class Curve:
    """Event-driven time over dense time of one layer, a number per rate."""

    layer: str
    batch: int
    dense_us: float
    ratios: list[float]
    ways: list[str]

    @property
    def break_even(self) -> float | None:
        """Return the rate below which events win, between measured rates on logarithmic scales."""
        import numpy as np

        logs = np.log(self.ratios)
        winning = np.flatnonzero(logs < 0)
        if not len(winning):
            return None
        last = int(winning[-1])
        if last == len(RATES) - 1:
            return 1.0
        share = logs[last] / (logs[last] - logs[last + 1])
        low, high = np.log(RATES[last]), np.log(RATES[last + 1])
        return float(np.exp(low + share * (high - low)))


def measure(layer: Linear | Convolution, batch: int) -> Curve:
    """Time all ways of a layer at every rate."""
    import numpy as np
    from speed import turn

    random = np.random.default_rng(1)
    dense, events = layer.ways()
    ratios, fastest, dense_times = [], [], []
    for rate in RATES:
        x = (random.random(layer.shape(batch)) < rate).astype(np.float32)
        found: dict[str, list[float]] = {name: [] for name in dense | events}
        for _ in range(ROUNDS):
            for name, run in (dense | events).items():
                found[name].append(turn(partial(run, x)))
        medians = {name: statistics.median(times) for name, times in found.items()}
        best = min(events, key=medians.__getitem__)
        dense_times.append(min(medians[name] for name in dense))
        ratios.append(medians[best] / dense_times[-1])
        fastest.append(best)
    return Curve(layer.name, batch, 1e6 * statistics.median(dense_times), ratios, fastest)


@dataclass(frozen=True)
class Rates:
    """Shares of payloads that are not 0, a number per neuron node that a layer reads."""

    network: str
    method: str
    steps: int
    shares: list[float]


def network_rates(methods: Sequence[str], samples: int) -> list[Rates]:
    """Run trained networks and count; what a method refuses is said."""
    import subjects

    import snnc
    from snnc.energy import ActivityMeter
    from snnc.ir.shapes import per_sample

    found = []
    for network in (*subjects.NETWORKS, subjects.MNIST):
        if network.missing:
            print(f"skipped {network.name}: {network.missing}", file=sys.stderr)
            continue
        for method in methods:
            try:
                graph = snnc.compile(network.model, calibration=network.data(), method=method)
            except snnc.SnncError as error:
                print(f"skipped {network.name} by {method}: {error}", file=sys.stderr)
                continue
            inputs = network.inputs(graph, samples)
            for steps in STEPS:
                meter = ActivityMeter(graph, steps)
                snnc.Simulator(graph).run(inputs, steps, observers=[meter])
                shares = [
                    float(events) / (per_sample(node.result.type.shape) * samples * steps)
                    for node, (_, events) in meter.per_neuron_node.items()
                ]
                found.append(Rates(network.name, method, steps, shares))
    return found


@dataclass(frozen=True)
class Gain:
    """Time without events over time with them of a network in the fast backend, a number per round."""

    method: str
    batch: int
    steps: int
    milliseconds: float
    ratios: list[float]


def network_gains(methods: Sequence[str]) -> list[Gain]:
    """Time a network of one convolution and one large linear layer both ways, in turns."""
    import speed
    import subjects

    from snnc.backends.fast import FastSimulator, events

    network, least = subjects.MNIST, events.LEAST_WEIGHTS
    if network.missing:
        print(f"skipped {network.name}: {network.missing}", file=sys.stderr)
        return []
    found = []
    for method in methods:
        graph = network.compiled(method=method)
        for batch in BATCHES:
            inputs = network.inputs(graph, batch)
            for steps in STEPS:
                runs = []
                for limit in (sys.maxsize, least):
                    events.LEAST_WEIGHTS = limit
                    simulator = FastSimulator(graph, threads=1)
                    simulator.run(inputs, steps)  # opens what the limit lets it
                    runs.append(partial(simulator.run, inputs, steps))
                pairs = list(speed.alternate(*runs, ROUNDS))
                ratios = [dense / driven for dense, driven in pairs]
                driven_ms = 1e3 * statistics.median(driven for _, driven in pairs)
                found.append(Gain(method, batch, steps, driven_ms, ratios))
    return found


def gain_table(gains: list[Gain]) -> tuple[list[str], list[list[str]]]:
    rows = [
        [
            one.method,
            str(one.batch),
            str(one.steps),
            f"{statistics.median(one.ratios):.2f} ({min(one.ratios):.2f}..{max(one.ratios):.2f})",
            f"{one.milliseconds:.3g}",
        ]
        for one in gains
    ]
    return ["method", "batch", "T", "dense / events", "ms with events"], rows


def layer_table(curves: list[Curve]) -> tuple[list[str], list[list[str]]]:
    rows = []
    for one in curves:
        even = one.break_even
        cells = [one.layer, str(one.batch), f"{one.dense_us:.1f}"]
        cells.append("never" if even is None else f"{100 * even:.2g} %")
        rows.append([*cells, *(f"{ratio:.2f}" for ratio in one.ratios), one.ways[2]])
    titles = ["layer", "batch", "dense µs", "events win below", *(f"{100 * rate:g} %" for rate in RATES)]
    return [*titles, f"fastest at {100 * RATES[2]:g} %"], rows


def rate_table(rates: list[Rates]) -> tuple[list[str], list[list[str]]]:
    rows = []
    for one in rates:
        shares = [
            f"{100 * x:.2g} %" for x in (min(one.shares), statistics.median(one.shares), max(one.shares))
        ]
        rows.append([one.network, one.method, str(one.steps), *shares])
    return ["network", "method", "T", "least", "median layer", "most"], rows


def plot(curves: list[Curve], rates: list[Rates], path: Path) -> None:
    """Draw the ratios by rate for every batch size, and below them how many layers have which rate."""
    import matplotlib as mpl

    mpl.use("svg")
    mpl.rcParams["svg.hashsalt"] = "snnc"  # the same figure is the same file
    mpl.rcParams["svg.fonttype"] = "none"
    import matplotlib.pyplot as plt
    import numpy as np

    batches = sorted({one.batch for one in curves})
    figure, axes = plt.subplots(
        2, len(batches), figsize=(10, 6), sharex=True, height_ratios=[3, 1], layout="constrained"
    )
    for column, batch in enumerate(batches):
        upper: Any = axes[0][column]
        for one in (curve for curve in curves if curve.batch == batch):
            style = "-o" if one.layer.startswith("linear") else "--s"
            upper.plot(RATES, one.ratios, style, markersize=4, label=one.layer)
        upper.axhline(1, color="black", linewidth=1)
        upper.set(xscale="log", yscale="log", title=f"batch {batch}", ylabel="event-driven / dense time")
        upper.grid(alpha=0.3)
        lower: Any = axes[1][column]
        edges = np.geomspace(RATES[0], RATES[-1], BARS + 1)
        methods = list(dict.fromkeys(one.method for one in rates))
        shares = [
            np.clip([x for one in rates if one.method == method for x in one.shares], RATES[0], 1)
            for method in methods
        ]
        lower.hist(shares, edges, stacked=True, label=methods)
        lower.set(xlabel="share of payloads that are not 0", ylabel="layers")
    axes[0][0].legend(fontsize=7)
    axes[1][0].legend(fontsize=7)
    figure.savefig(path, metadata={"Date": None})
    plt.close(figure)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--short", action="store_true", help="two layers and one method")
    parser.add_argument("--plot", type=Path, metavar="FILE", help="draw it (matplotlib)")
    parser.add_argument("--write", type=Path, metavar="PAGE", help="put the tables on this page")
    options = parser.parse_args()
    os.environ["OPENBLAS_NUM_THREADS"] = "1"
    from events import Convolution, Linear
    from page import markdown, put

    layers = [
        *(Linear(*sizes) for sizes in ((128, 64), (384, 1536), (1024, 1024), (4096, 4096))),
        *(Convolution(*sizes) for sizes in ((16, 32), (32, 16), (64, 8))),
    ]
    curves = []
    for layer in layers[::4] if options.short else layers:
        for batch in BATCHES:
            curves.append(measure(layer, batch))
            print(*layer_table(curves[-1:])[1][0], sep=" | ", file=sys.stderr, flush=True)
    rates = network_rates(METHODS[:1] if options.short else METHODS, SAMPLES)
    gains = network_gains(METHODS[:1] if options.short else METHODS[:3])
    tables = {
        "sparsity": markdown(*layer_table(curves)),
        "rates": markdown(*rate_table(rates)),
        "gains": markdown(*gain_table(gains)),
    }
    print(*tables.values(), sep="\n")
    if options.plot:
        plot(curves, rates, options.plot)
    if options.write:
        put(options.write, {name: f"\n{table}\n" for name, table in tables.items()})


if __name__ == "__main__":
    main()

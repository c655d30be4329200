"""How long converted networks of SpikingJelly take beside ours: same network, data, T and threads, in turns.

    python benchmarks/alternatives/timing.py [--threads 2] [--rounds 5]

In the environment of `make alternatives`. A round is one turn of every contestant; a turn gives the median of
its calls after one call to warm up. SpikingJelly runs as its documentation says: `eval`, no gradients, either
step by step or all steps at once (`set_step_mode(network, "m")`); the faster of the two is what ours is
compared with.
"""

from __future__ import annotations

import argparse
import os
import statistics
import sys
import time
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from networks import Network
    from torch import Tensor, nn

TIMES, BATCHES, ROUNDS = (4, 16), (1, 100), 5
# A row's rounds end when they have taken this long, but not before there are three.
ROW_SECONDS, LEAST_ROUNDS = 20.0, 3
MODES = {"step by step": "s", "all steps at once": "m"}


@dataclass(frozen=True)
class Row:
    """Milliseconds of every contestant in every round."""

    network: str
    batch: int
    steps: int
    theirs: dict[str, list[float]]
    ours: dict[str, list[float]]

    @property
    def best(self) -> list[float]:
        """Return the rounds of SpikingJelly's faster way."""
        return min(self.theirs.values(), key=statistics.median)

    def faster(self, name: str) -> list[float]:
        """Return how many times as long SpikingJelly took, round by round."""
        return [theirs / ours for theirs, ours in zip(self.best, self.ours[name], strict=True)]


def converted(network: Network) -> nn.Module:
    """Return SpikingJelly's spiking network: the recipe of its CNN example."""
    from converters import CPU, loader, quiet
    from spikingjelly.activation_based import ann2snn

    recipe = ann2snn.RateCodingRecipe(dataloader=loader(network), mode="99.9%")
    with quiet():
        return ann2snn.Converter(recipe=recipe, device=CPU).convert(network.module()).eval()


def run_theirs(spiking: nn.Module, x: Tensor, steps: int, mode: str) -> Any:
    """Return the mean output over the steps of a network whose step mode is already set."""
    import torch
    from spikingjelly.activation_based import functional

    with torch.inference_mode():
        functional.reset_net(spiking)
        if mode == "m":
            return spiking(x.expand(steps, *x.shape)).mean(dim=0)
        total = spiking(x)
        for _ in range(steps - 1):
            total = total + spiking(x)
        return total / steps


def measure(network: Network, threads: int, rounds: int) -> Iterator[Row]:
    """Yield a row per batch and number of steps."""
    import speed
    from converters import compile_with
    from spikingjelly.activation_based import functional

    # Networks of integers are compiled for the number of steps.
    simulators = {
        steps: {
            backend.name: backend.simulator(
                compile_with(network, steps=steps, **backend.options), threads=threads
            )
            for backend in speed.BACKENDS
            if "target" not in backend.options or "method" in backend.options
        }
        for steps in TIMES
    }
    spiking = {name: converted(network) for name in MODES}
    for name, mode in MODES.items():
        functional.set_step_mode(spiking[name], mode)
    images, _ = network.images(network.test, max(BATCHES))
    for batch in BATCHES:
        x = images[:batch]
        for steps in TIMES:
            theirs = {
                name: partial(run_theirs, spiking[name], x, steps, mode) for name, mode in MODES.items()
            }
            ours = {name: partial(one.run, x.numpy(), steps) for name, one in simulators[steps].items()}
            found = in_turns(theirs | ours, rounds, speed.turn)
            yield Row(
                network.title,
                batch,
                steps,
                {name: found[name] for name in theirs},
                {name: found[name] for name in ours},
            )


def in_turns(
    contestants: dict[str, Callable[[], object]], rounds: int, turn: Callable[[Callable[[], object]], float]
) -> dict[str, list[float]]:
    """Return the milliseconds of every contestant, a number per round."""
    found: dict[str, list[float]] = {name: [] for name in contestants}
    start = time.perf_counter()
    for count in range(rounds):
        if count >= LEAST_ROUNDS and time.perf_counter() - start > ROW_SECONDS:
            break
        for name, run in contestants.items():
            found[name].append(1e3 * turn(run))
    return found


def table(rows: list[Row]) -> tuple[list[str], list[list[str]]]:
    """Return titles and cells: how many times as fast, then milliseconds."""
    ours = list(rows[0].ours)
    cells = []
    for row in rows:
        ratios = [
            f"{statistics.median(found):.1f} ({min(found):.1f}..{max(found):.1f})"
            for found in map(row.faster, ours)
        ]
        times = [f"{statistics.median(one):.3g}" for one in [*row.theirs.values(), *row.ours.values()]]
        cells.append([row.network, str(row.batch), str(row.steps), *ratios, *times])
    titles = [f"{name}: times as fast" for name in ours] + [f"SpikingJelly, {name}, ms" for name in MODES]
    return ["network", "batch", "T", *titles, *(f"{name}, ms" for name in ours)], cells


def prepare(threads: int) -> None:
    """Set the number of threads of every library, before any of them is loaded, and find our benchmark."""
    os.environ["OPENBLAS_NUM_THREADS"] = os.environ["OMP_NUM_THREADS"] = str(threads)
    sys.path.append(str(Path(__file__).resolve().parents[1]))
    import torch

    torch.set_num_threads(threads)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--threads", type=int, default=2, help="of PyTorch, onnxruntime and OpenBLAS")
    parser.add_argument("--rounds", type=int, default=ROUNDS)
    options = parser.parse_args()
    prepare(options.threads)
    import networks
    from page import markdown

    shared = os.environ.get("SNNC_SHARED")
    rows = []
    for network in [networks.CNN, *([networks.resnet(Path(shared) / "models")] if shared else [])]:
        for row in measure(network, options.threads, options.rounds):
            rows.append(row)
            print(*table([row])[1][0], sep=" | ", file=sys.stderr, flush=True)
    print(markdown(*table(rows)), end="")


if __name__ == "__main__":
    main()

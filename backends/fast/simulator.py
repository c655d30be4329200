"""Runs a network as the reference simulator does, fast, on a processor."""

from __future__ import annotations

import os
from concurrent.futures import ThreadPoolExecutor
from functools import cached_property
from typing import TYPE_CHECKING, TypeVar

from snnc.backends.fast.averages import AverageProgram, answers, takes_averages
from snnc.backends.fast.pool import Pool
from snnc.backends.fast.program import Code, Program
from snnc.backends.fast.stretch import shares_cores
from snnc.backends.fast.whole import WholeSimulator
from snnc.backends.inputs import (
    batch_size_of,
    check_run,
    even_group,
    largest_stream,
    split_batches,
    typical_stream,
)
from snnc.backends.outputs import check_outputs, join_batches
from snnc.backends.reference import Run

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from snnc.backends.reference.program import Observer
    from snnc.ir.graph import Graph
    from snnc.ir.kernel_types import Array

T = TypeVar("T")
# Samples are stepped in groups whose largest stream stays about this big: see benchmarks/README.md.
GROUP_BYTES = 2**21
# Steps of samples as one batch, without memory: this big in a stream of middle size, so that what one stretch
# writes the next one finds in a core's own cache (half and twice as much cost up to 3 % on 3 networks), but
# so many at least, to read the weights once for them.
BATCH_BYTES, LEAST_BATCH = 2**19, 4


class FastSimulator:
    """Runs a graph with onnxruntime for what has no memory and compiled kernels for what has.

    Inputs are as the reference simulator's. Samples run in equal groups of at most `group`, `threads` groups
    side by side (default: one per processor core); of groups that run alone, large stretches take as many
    threads. The weights are packed once for either, at the first run. Where answers follow from averages, a
    group is some steps of some samples.
    """

    def __init__(self, graph: Graph, *, group: int | None = None, threads: int | None = None) -> None:
        check_outputs(graph)
        self.graph = graph
        self.threads = threads or os.cpu_count() or 1
        self.group = group or default_group(graph)
        self._largest_batch = group or default_batch(graph)
        self._codes: dict[tuple[frozenset[str], bool, bool, int], Code] = {}
        self._programs, self._averages = Pool(Program), Pool(AverageProgram)
        self._whole = None
        if graph.computes_integers or graph.coding == "differential":
            self._whole = WholeSimulator(graph, group=group, threads=self.threads)
            self.group = self._whole.group

    def run(
        self,
        inputs: Array | Mapping[str, Array],
        steps: int,
        *,
        observers: Sequence[Observer] = (),
    ) -> Run:
        """Present the inputs for `steps` steps; return the decoded outputs after every step."""
        if self._whole is not None:
            return self._whole.run(inputs, steps, observers=observers)
        arrays, timed = check_run(self.graph, inputs, steps)
        if self._takes_averages and not (timed or observers):
            return self._run_averages(arrays, steps)
        threads = 1 if observers else self.threads
        samples = batch_size_of(self.graph, arrays)
        groups = self._groups(arrays, even_group(samples, self.group, threads))
        alone = min(threads, len(groups)) == 1
        code = self._code(timed, watched=bool(observers), alone=alone)

        def run_group(group: dict[str, Array]) -> list[Array]:
            with self._programs.borrowed(code, batch_size_of(self.graph, group)) as program:
                return program.run(group, steps, observers)

        return Run(join_batches(self.graph, self._map(run_group, groups, alone)))

    def _run_averages(self, arrays: dict[str, Array], steps: int) -> Run:
        samples, most = batch_size_of(self.graph, arrays), self._largest_batch
        size, several = even_parts(samples, steps, most, self.threads, split=self._large)
        times = [range(t, min(t + several, steps + 1)) for t in range(1, steps + 1, several)]
        parts = [(group, some) for group in self._groups(arrays, size) for some in times]
        alone = min(self.threads, len(parts)) == 1
        code = self._code(frozenset(), averages=True, alone=alone)

        def run_part(part: tuple[dict[str, Array], range]) -> list[Array]:
            group, some = part
            with self._averages.borrowed(code, batch_size_of(self.graph, group), len(some)) as program:
                return program.run(group, some)

        found = self._map(run_part, parts, alone)
        groups = [found[first : first + len(times)] for first in range(0, len(found), len(times))]
        return Run(join_batches(self.graph, [answers(code, group) for group in groups]))

    def _groups(self, arrays: dict[str, Array], size: int) -> list[dict[str, Array]]:
        fits = size >= batch_size_of(self.graph, arrays)
        return [arrays] if fits else list(split_batches(self.graph, arrays, size))

    def _map(self, run: Callable[[T], list[Array]], parts: Sequence[T], alone: bool) -> list[list[Array]]:
        return [run(part) for part in parts] if alone else list(self._workers.map(run, parts))

    @cached_property
    def _takes_averages(self) -> bool:
        return takes_averages(self.graph)

    @cached_property
    def _large(self) -> bool:
        """Tell whether any stretch could take several threads."""
        return shares_cores(self.graph, self.graph)

    @cached_property
    def _workers(self) -> ThreadPoolExecutor:
        """Threads that wait for the next run: starting them takes longer than a small network."""
        return ThreadPoolExecutor(self.threads)

    @property
    def planned_bytes(self) -> int | None:
        """Return the bytes of the streams, sums and membranes that are kept for the next run."""
        if self._whole is not None:
            return None
        return self._programs.planned_bytes + self._averages.planned_bytes

    def _code(
        self, timed: frozenset[str], *, watched: bool = False, averages: bool = False, alone: bool
    ) -> Code:
        threads = self.threads if alone and self._large else 1
        key = timed, watched, averages, threads
        if key not in self._codes:
            self._codes[key] = Code(self.graph, timed, watched=watched, averages=averages, threads=threads)
        return self._codes[key]


def even_parts(samples: int, steps: int, largest: int, threads: int, *, split: bool) -> tuple[int, int]:
    """Return how many samples and how many steps make a part, their product no larger than `largest`.

    All steps of a sample are one part if that is possible, for what never varies is computed for every part.
    With `split`, fewer samples than threads share their steps out.
    """
    size = even_group(samples, max(1, largest // steps), threads)
    pieces = -(-steps // max(1, largest // size))
    if split:
        groups = -(-samples // size)
        pieces = min(steps, max(pieces, -(-threads // groups)))
    return size, -(-steps // pieces)


def default_group(graph: Graph) -> int:
    """Return how many samples to step together."""
    return max(1, GROUP_BYTES // (4 * largest_stream(graph)))


def default_batch(graph: Graph) -> int:
    """Return how many steps of samples to compute together where none waits for another."""
    return max(LEAST_BATCH, BATCH_BYTES // (4 * typical_stream(graph)))

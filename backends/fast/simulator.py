"""Runs a network as the reference simulator does, fast, on a processor."""

from __future__ import annotations

import os
from concurrent.futures import ThreadPoolExecutor
from functools import cached_property
from threading import Lock
from typing import TYPE_CHECKING

from snnc.backends.fast.program import Code, Program
from snnc.backends.fast.stretch import shares_cores
from snnc.backends.fast.whole import WholeSimulator
from snnc.backends.inputs import batch_size_of, check_run, largest_stream, split_batches
from snnc.backends.outputs import check_outputs, join_batches
from snnc.backends.reference import Run

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from snnc.backends.reference.program import Observer
    from snnc.ir.graph import Graph
    from snnc.ir.kernel_types import Array

# Samples are stepped in groups whose largest stream stays about this big: see benchmarks/README.md.
GROUP_BYTES = 2**21


class FastSimulator:
    """Runs a graph with onnxruntime for what has no memory and compiled kernels for what has.

    Inputs are as the reference simulator's. Samples run in equal groups of at most `group`, `threads` groups
    side by side (default: one per processor core); of groups that run alone, large stretches take as many
    threads. The weights are packed once for either, at the first run.
    """

    def __init__(self, graph: Graph, *, group: int | None = None, threads: int | None = None) -> None:
        check_outputs(graph)
        self.graph = graph
        self.threads = threads or os.cpu_count() or 1
        self.group = group or default_group(graph)
        self._codes: dict[tuple[frozenset[str], bool, int], Code] = {}
        self._idle: dict[tuple[Code, int], list[Program]] = {}
        self._lock = Lock()
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
        threads = 1 if observers else self.threads
        samples = batch_size_of(self.graph, arrays)
        size = even_group(samples, self.group, threads)
        groups = [arrays] if size >= samples else list(split_batches(self.graph, arrays, size))
        alone = min(threads, len(groups)) == 1
        code = self._code(timed, bool(observers), self.threads if alone and self._large else 1)

        def run_group(group: dict[str, Array]) -> list[Array]:
            program = self._borrow(code, batch_size_of(self.graph, group))
            try:
                return program.run(group, steps, observers)
            finally:
                self._give_back(program)

        if alone:
            return Run(join_batches(self.graph, [run_group(group) for group in groups]))
        return Run(join_batches(self.graph, list(self._workers.map(run_group, groups))))

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
        return sum(program.planned_bytes for programs in self._idle.values() for program in programs)

    def _code(self, timed: frozenset[str], watched: bool, threads: int) -> Code:
        key = timed, watched, threads
        if key not in self._codes:
            self._codes[key] = Code(self.graph, timed, watched=watched, threads=threads)
        return self._codes[key]

    def _borrow(self, code: Code, batch: int) -> Program:
        """Return a program for groups of this size that nobody runs."""
        with self._lock:
            idle = self._idle.get((code, batch))
            if idle:
                return idle.pop()
        return Program(code, batch)

    def _give_back(self, program: Program) -> None:
        key = program.code, program.batch
        with self._lock:
            # A full group and the last, smaller one are worth keeping.
            if key not in self._idle and len(self._idle) >= 2:
                self._idle.clear()
            self._idle.setdefault(key, []).append(program)


def even_group(samples: int, largest: int, threads: int) -> int:
    """Return the size of equal groups, none larger than this, as many for every thread."""
    rounds = -(-samples // (largest * threads))
    return max(1, -(-samples // (rounds * threads)))


def default_group(graph: Graph) -> int:
    """Return how many samples to step together."""
    return max(1, GROUP_BYTES // (4 * largest_stream(graph)))

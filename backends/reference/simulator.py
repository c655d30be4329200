"""Steps a graph: all nodes once per time step, in execution order, with no delay between them."""

from __future__ import annotations

import os
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from functools import cache, cached_property
from threading import Lock
from typing import TYPE_CHECKING

import numpy as np
from threadpoolctl import ThreadpoolController

from snnc.backends.inputs import batch_size_of, check_run, even_group, mean_stream, split_batches
from snnc.backends.outputs import check_outputs, join_batches, join_groups
from snnc.backends.reference.program import Observer, Program
from snnc.ir.errors import OptionError, did_you_mean

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from snnc.ir.graph import Graph, Node
    from snnc.ir.kernel_types import Array

# Samples are stepped in groups whose streams are about this big on average, so that a layer's streams stay in
# cache from one op to the next. Measured: see benchmarks/README.md.
GROUP_BYTES = 2**19
# Another thread pays when its group's streams take this much on average.
THREAD_BYTES = 2**15


@dataclass(frozen=True, slots=True)
class Run:
    """What a run returns.

    `outputs`: per output name, the decoded value after each step, [T, N, …]. `spikes` and `membranes`: per
    recorded site, the payloads and membranes of each step, [T, N, …].
    """

    outputs: dict[str, Array]
    spikes: dict[str, Array] = field(default_factory=dict)
    membranes: dict[str, Array] = field(default_factory=dict)


@dataclass(slots=True)
class Recorder:
    """Keeps payloads and membranes of chosen neurons, step by step."""

    names: Mapping[Node, str]
    spikes: dict[str, list[Array]] = field(default_factory=dict)
    membranes: dict[str, list[Array]] = field(default_factory=dict)

    def observe(self, node: Node, t: int, value: Array, membrane: Array | None) -> None:
        name = self.names.get(node)
        if name is None:
            return
        self.spikes.setdefault(name, []).append(value.copy())
        if membrane is not None:
            self.membranes.setdefault(name, []).append(membrane.copy())


class Simulator:
    """Runs a graph on the CPU with numpy.

    Inputs are an array each, samples along the batch axis: presented anew at every step, or, with one axis
    more in front, one value per step. The samples run in equal groups of at most `group`, `threads` groups
    at a time (default: one per processor core), BLAS on one core each; a run that is watched takes one group
    after the other. The memory of a group serves the next ones.

    >>> from snnc.ir.text import parse_graph
    >>> graph = parse_graph('''sir 1
    ... graph @adder(%x: tensor<f32, N x 2>) {
    ...   %sum = add(%x, %x) : tensor<f32, N x 2>
    ...   return %sum as "sum"
    ... }
    ... ''')
    >>> Simulator(graph).run(np.array([[1, 2]], np.float32), steps=3).outputs["sum"].tolist()
    [[[2.0, 4.0]], [[2.0, 4.0]], [[2.0, 4.0]]]
    """

    def __init__(self, graph: Graph, *, group: int | None = None, threads: int | None = None) -> None:
        check_outputs(graph)
        self.graph = graph
        self.group = group or default_group(graph)
        self.threads = threads or os.cpu_count() or 1
        self._idle: dict[tuple[int, frozenset[str]], list[Program]] = {}
        self._lock = Lock()

    def run(
        self,
        inputs: Array | Mapping[str, Array],
        steps: int,
        *,
        record: Sequence[str] = (),
        observers: Sequence[Observer] = (),
        progress: Callable[[int], None] | None = None,
    ) -> Run:
        """Present the inputs for `steps` steps; return the decoded outputs after every step.

        Of inputs that vary in time the first `steps` values are taken; they must have as many. `record` names
        neurons by site or source node; `progress` is told how many samples are done.
        """
        arrays, timed = check_run(self.graph, inputs, steps)
        names = self._recorded(record)
        # Observers and progress bars are told one group at a time.
        threads = 1 if observers or progress is not None else self.threads
        groups = list(split_batches(self.graph, arrays, self._group_size(arrays, threads)))

        def run_group(group: dict[str, Array]) -> tuple[list[Array], Recorder]:
            recorder = Recorder(names)
            watching = [recorder, *observers] if names else list(observers)
            batch = batch_size_of(self.graph, group)
            program = self._borrow(batch, timed)
            decoded = program.run(group, steps, watching)
            self._give_back(batch, timed, program)
            if progress is not None:
                progress(batch)
            return decoded, recorder

        if len(groups) == 1 and not observers:
            return self._collect([run_group(groups[0])])
        # BLAS's own threads wait for each other in every one of the many small products: next to other busy
        # processes that took 17 times as long as one thread.
        with libraries().limit(limits=1, user_api="blas"):
            if threads == 1:
                return self._collect([run_group(group) for group in groups])
            return self._collect(list(self._workers.map(run_group, groups)))

    def _group_size(self, arrays: Mapping[str, Array], threads: int) -> int:
        """Return how many samples make each of the equal groups that keep the threads busy."""
        samples = batch_size_of(self.graph, arrays)
        worth = int(samples * 4 * self._mean_stream) // THREAD_BYTES
        return even_group(samples, self.group, max(1, min(threads, worth)))

    @cached_property
    def _mean_stream(self) -> float:
        return mean_stream(self.graph)

    @cached_property
    def _workers(self) -> ThreadPoolExecutor:
        """Threads that wait for the next run: starting them takes longer than a small network."""
        return ThreadPoolExecutor(self.threads)

    def _borrow(self, batch: int, timed: frozenset[str]) -> Program:
        """Return a program for groups of this size that nobody runs, with the memory of its last run."""
        with self._lock:
            idle = self._idle.get((batch, timed))
            if idle:
                return idle.pop()
        return self._make_program(batch, timed)

    def _make_program(self, batch: int, timed: frozenset[str]) -> Program:
        return Program(self.graph, batch, timed)

    def _give_back(self, batch: int, timed: frozenset[str], program: Program) -> None:
        with self._lock:
            # A full group and the last, smaller one are worth keeping.
            if (batch, timed) not in self._idle and len(self._idle) >= 2:
                self._idle.clear()
            self._idle.setdefault((batch, timed), []).append(program)

    def _recorded(self, record: Sequence[str]) -> dict[Node, str]:
        known: dict[str, Node] = {}
        for node in self.graph:
            if node.op.neuron:
                site = node.attributes.get("site")
                for name in (*node.origin, *([str(site)] if site else [])):
                    known[name] = node
        for name in record:
            if name not in known:
                raise OptionError(f"there is no neuron {name!r} to record", help=did_you_mean(name, known))
        return {known[name]: name for name in record}

    def _collect(self, runs: Sequence[tuple[list[Array], Recorder]]) -> Run:
        outputs = join_batches(self.graph, [decoded for decoded, _ in runs])
        recorders = [recorder for _, recorder in runs]
        spikes, membranes = {}, {}
        for node, name in recorders[0].names.items():
            spikes[name] = join_groups(node.result, [np.stack(one.spikes[name]) for one in recorders])
            if name in recorders[0].membranes:
                steps = [np.stack(one.membranes[name]) for one in recorders]
                membranes[name] = join_groups(node.result, steps)
        return Run(outputs, spikes, membranes)


@cache
def libraries() -> ThreadpoolController:
    """Return the handle on BLAS's threads; looking for the loaded libraries takes longer than a small run."""
    return ThreadpoolController()


def default_group(graph: Graph) -> int:
    """Return how many samples to step together: as many as keep most streams in cache."""
    return max(1, int(GROUP_BYTES / (4 * mean_stream(graph))))

"""Runs the unrolled model of a SIR graph in onnxruntime."""

from __future__ import annotations

import math
import os
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from itertools import pairwise
from typing import TYPE_CHECKING, TypeAlias

import numpy as np

from snnc.backends.inputs import batch_size_of, check_run, split_evenly, typical_stream
from snnc.backends.onnx.runtime import RuntimeModel
from snnc.backends.onnx.spiking.emit import emit_spiking, refuse_what_cannot_be_written
from snnc.backends.outputs import join_batches
from snnc.backends.reference import Run
from snnc.ir.types import SpikeType
from snnc.passes.analysis import answers_by_averages

if TYPE_CHECKING:
    from collections.abc import Sequence

    from snnc.backends.onnx.spiking.emit import SpikingModel
    from snnc.backends.reference.program import Observer
    from snnc.ir.graph import Graph, Node
    from snnc.ir.kernel_types import Array


Signature: TypeAlias = tuple[object, ...]


@dataclass(frozen=True, slots=True)
class Way:
    """How inputs are run: in how many chunks, for which results, by which model or models of some steps."""

    count: int
    names: tuple[str, ...]
    model: RuntimeModel
    others: tuple[RuntimeModel, ...] = ()


# A chunk of samples in a stream of middle size, all steps together: what a layer writes, the next one finds
# in a core's own cache.
CHUNK_BYTES = 2**20
# Steps that need not wait are shared out to the cores where a stream of middle size has so many elements in
# all; every core has weights of its own, so not where they take more bytes than this.
SHARED_ELEMENTS, SHARED_BYTES = 2**14, 2**26
# From so many elements in a stream of middle size on, images are worth a node per step.
BLOCK_ELEMENTS = 2**12
# Up to so many bytes of weights, and elements in a stream of middle size, to share a node takes longer.
TINY_BYTES, TINY_ELEMENTS = 2**19, 2**11
GROUP = 256  # samples to be given at once: enough to cut into chunks


class OnnxSimulator:
    """Runs a network as the reference simulator does, as one ONNX model per number of steps.

    `threads` bounds the processor cores (0: one per core). As many chunks of samples run side by side, each
    on one core; with fewer samples than cores, all cores share one chunk, or its steps where none needs the
    one before. `single`: real numbers of a network
    of integers are in single precision.
    """

    group = GROUP

    def __init__(self, graph: Graph, *, threads: int = 0, single: bool = False) -> None:
        refuse_what_cannot_be_written(graph, single=single)
        self.single = single
        self.graph = graph
        self.threads = threads or os.cpu_count() or 1
        self._models: dict[Signature, tuple[SpikingModel, RuntimeModel]] = {}
        self._spiking = [node for node in graph if isinstance(node.result.type, SpikeType)]
        self._known: dict[Signature, Way] = {}
        self._names = tuple(output.name for output in graph.outputs)
        self._typical = typical_stream(graph)
        last = any(output.decode == "last" for output in graph.outputs)
        self._weighs = sum(array.nbytes for array in graph.tensors.values())
        self._apart = self._weighs <= SHARED_BYTES and not last and answers_by_averages(graph)
        self._pool = ThreadPoolExecutor(self.threads)  # it starts no thread before it has work

    def run(
        self, inputs: Array | Mapping[str, Array], steps: int, *, observers: Sequence[Observer] = ()
    ) -> Run:
        """Present the inputs for `steps` steps; return the decoded outputs after every step.

        Observers are told the streams of spikes, and no membranes, when a chunk of samples is done.
        """
        key = signature(inputs, steps)
        way = None if observers else self._known.get(key)
        if way is not None:
            assert isinstance(inputs, dict), "nothing else has a signature"
            given: Mapping[str, Array] = inputs
        else:
            given, way = self._prepared(inputs, steps, watched=bool(observers))
            # What is like this is not looked at again: that took a third of a small network's time.
            if key and not observers and isinstance(inputs, Mapping) and same_arrays(inputs, given):
                self._known[key] = way
        if way.others:
            return self._all_steps(way, given)
        if way.count == 1 and not observers:
            return Run(dict(zip(self._names, way.model.run(way.names, given), strict=True)))
        chunks = split_evenly(self.graph, given, way.count)
        if not observers:
            return Run(
                join_batches(self.graph, list(self._pool.map(partial(way.model.run, way.names), chunks)))
            )
        parts = [self._told(way.model.run(way.names, chunk), observers, steps) for chunk in chunks]
        return Run(join_batches(self.graph, parts))

    def _prepared(
        self, inputs: Array | Mapping[str, Array], steps: int, *, watched: bool
    ) -> tuple[Mapping[str, Array], Way]:
        """Return the checked inputs and how to run them."""
        arrays, timed = check_run(self.graph, inputs, steps)
        given = {name: array[:steps] if name in timed else array for name, array in arrays.items()}
        samples = batch_size_of(self.graph, given)
        count = self._chunks(samples, steps)
        parts = 1 if timed or watched else self._parts(samples, steps)
        blocks = steps == 1 or samples // count * self._typical >= BLOCK_ELEMENTS
        if parts > 1:
            cuts = [part * steps // parts for part in range(parts + 1)]
            opened = [
                self._opened(
                    steps, timed, self.threads // parts, times=range(start + 1, stop + 1), blocks=blocks
                )
                for start, stop in pairwise(cuts)
            ]
            first, *others = (model for _, model in opened)
            return given, Way(1, opened[0][0].outputs, first, tuple(others))
        threads = 1 if (count > 1 and not watched) or self._tiny(samples) else self.threads
        emitted, model = self._opened(
            steps, timed, threads, watched=watched, many=samples > count, blocks=blocks
        )
        return given, Way(count, (*emitted.outputs, *emitted.sites), model)

    def _tiny(self, samples: int) -> bool:
        """Tell whether one core is faster than several, which have to wait for each other at every node."""
        return self._weighs <= TINY_BYTES and samples * self._typical <= TINY_ELEMENTS

    def _parts(self, samples: int, steps: int) -> int:
        """Return among how many models to share the steps of a few samples: 1, or one for every core."""
        if samples >= self.threads or samples * steps * self._typical < SHARED_ELEMENTS or not self._apart:
            return 1
        return min(self.threads, steps)

    def _all_steps(self, way: Way, given: Mapping[str, Array]) -> Run:
        """Run the models of some steps each side by side."""
        later = [self._pool.submit(model.run, way.names, given) for model in way.others]
        parts = [way.model.run(way.names, given), *(future.result() for future in later)]
        joined = (np.concatenate(arrays) for arrays in zip(*parts, strict=True))
        return Run(dict(zip(self._names, joined, strict=True)))

    def _chunks(self, samples: int, steps: int) -> int:
        """Return in how many chunks to run: small enough for the cache, and as many for every thread."""
        if samples < self.threads:
            return 1
        # Integers are written step by step.
        together = 1 if self.graph.computes_integers and self._apart else steps
        most = max(1, CHUNK_BYTES // (4 * self._typical * together))
        return min(samples, math.ceil(samples / (most * self.threads)) * self.threads)

    def _told(self, results: list[Array], observers: Sequence[Observer], steps: int) -> list[Array]:
        """Tell observers what a chunk of samples sent; return the outputs."""
        count = len(self.graph.outputs)
        tell(observers, dict(zip(self._spiking, results[count:], strict=False)), steps)
        return results[:count]

    def _opened(
        self,
        steps: int,
        timed: frozenset[str],
        threads: int,
        *,
        watched: bool = False,
        many: bool = False,
        times: Sequence[int] = (),
        blocks: bool = False,
    ) -> tuple[SpikingModel, RuntimeModel]:
        """Return a model of all steps or of `times`, and its session, for chunks of `many` samples or one."""
        key = steps, timed, threads, watched, many, times, blocks
        if key not in self._models:
            sites = [node.result for node in self._spiking] if watched else []
            emitted = emit_spiking(
                self.graph,
                steps,
                timed=timed,
                sites=sites,
                single=self.single,
                many=many,
                times=times,
                blocks=blocks,
            )
            model = RuntimeModel(
                emitted,
                "spiking",
                threads=threads,
                packed=True,
                integers=self.graph.computes_integers,
            )
            self._models[key] = emitted, model
        return self._models[key]


def signature(inputs: Array | Mapping[str, Array], steps: int) -> Signature:
    """Return what decides whether inputs fit; nothing for what is no dictionary of arrays.

    Written for speed: a small network takes 20 µs.
    """
    if not isinstance(inputs, dict):
        return ()
    key: Signature = (steps,)
    for name, array in inputs.items():
        if not isinstance(array, np.ndarray):
            return ()
        key += (name, array.shape, array.dtype)
    return key


def same_arrays(inputs: Mapping[str, Array], given: Mapping[str, Array]) -> bool:
    """Tell whether the inputs are taken as they are."""
    return inputs.keys() == given.keys() and all(given[name] is array for name, array in inputs.items())


def tell(observers: Sequence[Observer], streams: Mapping[Node, Array], steps: int) -> None:
    """Tell observers every stream [T, …], step by step in the order of execution."""
    for t in range(1, steps + 1):
        for node, stream in streams.items():
            for observer in observers:
                observer.observe(node, t, stream[t - 1], None)

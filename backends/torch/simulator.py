"""Runs a network as the reference simulator does, with PyTorch on a device."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING

import torch

from snnc.backends.inputs import batch_size_of, check_run, largest_stream, split_batches
from snnc.backends.outputs import check_outputs, join_batches
from snnc.backends.reference import Run
from snnc.backends.reference.program import invariant_values
from snnc.backends.torch.compiled import CompiledProgram
from snnc.backends.torch.program import Program, Weights, refuse_unknown
from snnc.ir.errors import BackendError

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from snnc.backends.reference.program import Observer
    from snnc.ir.graph import Graph
    from snnc.ir.kernel_types import Array

# A group's largest stream stays about this big; a GPU wants many samples at once.
GROUP_BYTES = {"cpu": 2**23, "cuda": 2**28}


class TorchSimulator:
    """Runs a graph with PyTorch on a device (`cpu`, `cuda`, `cuda:1`, …).

    Inputs are as the reference simulator's. The weights are copied to the device once; samples run in groups
    of at most `group`. `BackendError` names every node that this backend does not know.

    `compiled`: torch.compile makes one function of all steps, for as many samples as the first run's groups
    have. Later runs split theirs into groups of that size; a smaller last group runs as without it.
    """

    def __init__(
        self, graph: Graph, *, device: str | None = None, group: int | None = None, compiled: bool = False
    ) -> None:
        check_outputs(graph)
        refuse_unknown(graph, invariant_values(graph))
        self.graph = graph
        self.device = open_device(device or "cpu")
        self.group = group or default_group(graph, self.device)
        self.compiled = compiled
        self._weights = Weights(graph, self.device)
        self._programs: dict[frozenset[str], CompiledProgram] = {}

    def run(
        self,
        inputs: Array | Mapping[str, Array],
        steps: int,
        *,
        observers: Sequence[Observer] = (),
    ) -> Run:
        """Present the inputs for `steps` steps; return the decoded outputs after every step."""
        arrays, timed = check_run(self.graph, inputs, steps)
        if self.compiled:
            self.group = min(self.group, batch_size_of(self.graph, arrays))
        with torch.inference_mode(), full_precision():
            parts = [
                self._program(batch_size_of(self.graph, group), timed).run(group, steps, observers)
                for group in split_batches(self.graph, arrays, self.group)
            ]
        return Run(join_batches(self.graph, parts))

    def _program(self, batch: int, timed: frozenset[str]) -> Program:
        if not self.compiled or batch < self.group:
            return Program(self.graph, self._weights, batch, timed)
        if timed not in self._programs:
            self._programs[timed] = CompiledProgram(self.graph, self._weights, batch, timed)
        return self._programs[timed]


def devices() -> str:
    """Say which devices there are."""
    return (
        "this PyTorch can use cpu and cuda" if torch.cuda.is_available() else "this PyTorch can use cpu only"
    )


def open_device(name: str) -> torch.device:
    """Return a device; `BackendError` if this machine, or this PyTorch, does not have it."""
    try:
        device = torch.device(name)
        if device.type not in GROUP_BYTES:
            raise BackendError(f"there is no device {name!r} for networks", help=devices())
        torch.zeros(1, device=device)
    except (RuntimeError, AssertionError) as error:
        if isinstance(error, BackendError):
            raise
        reason = str(error).splitlines()[0]
        raise BackendError(f"the device {name!r} cannot be used: {reason}", help=devices()) from error
    return device


@contextmanager
def full_precision() -> Iterator[None]:
    """Let no GPU round factors to TensorFloat-32: payloads would differ."""
    matmul = torch.backends.cuda.matmul.allow_tf32
    torch.backends.cuda.matmul.allow_tf32 = False
    try:
        with torch.backends.cudnn.flags(enabled=True, allow_tf32=False):
            yield
    finally:
        torch.backends.cuda.matmul.allow_tf32 = matmul


def default_group(graph: Graph, device: torch.device) -> int:
    """Return how many samples to step together."""
    return max(1, GROUP_BYTES[device.type] // (4 * largest_stream(graph)))

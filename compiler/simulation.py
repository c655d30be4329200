"""What can run a network: the reference simulator, the fast one, onnxruntime or PyTorch."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal, Protocol, TypeAlias

from snnc.backends.reference import Run, Simulator
from snnc.ir.errors import MissingPackageError, OptionError, did_you_mean, how_to_install

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from snnc.backends.reference.program import Observer
    from snnc.ir.graph import Graph
    from snnc.ir.kernel_types import Array

Backend: TypeAlias = Literal["reference", "fast", "onnx", "torch"]
BACKENDS: tuple[Backend, ...] = ("reference", "fast", "onnx", "torch")


class Runner(Protocol):
    """Runs a network; `group` is how many samples it likes to run together."""

    @property
    def group(self) -> int: ...

    def run(
        self, inputs: Array | Mapping[str, Array], steps: int, *, observers: Sequence[Observer] = ()
    ) -> Run:
        """Return the decoded outputs after every step; observers see at least every stream of spikes."""


def open_runner(
    graph: Graph, backend: str = "reference", device: str | None = None, *, compiled: bool = False
) -> Runner:
    """Return what runs a graph; `device` and `compiled` are for the backend torch.

    `OptionError`: there is no such backend. `MissingPackageError`: it needs a package that is not installed.
    """
    if backend not in BACKENDS:
        raise OptionError(f"nothing called {backend!r} runs networks", help=did_you_mean(backend, BACKENDS))
    if device is not None and backend != "torch":
        raise OptionError(f"{backend} runs on the processor", help="a device is for the backend torch")
    if compiled and backend != "torch":
        raise OptionError(f"torch.compile does nothing for {backend}", help="it is for the backend torch")
    if backend == "onnx":
        from snnc.backends.onnx.spiking import OnnxSimulator

        return OnnxSimulator(graph)
    if backend == "fast":
        return open_fast(graph)
    if backend == "torch":
        return open_torch(graph, device, compiled)
    return Simulator(graph)


def open_fast(graph: Graph) -> Runner:
    try:
        from snnc.backends.fast import FastSimulator
    except ModuleNotFoundError as error:
        if error.name != "numba":
            raise
        raise MissingPackageError(
            "the backend fast needs numba, which is not installed", help=how_to_install("fast")
        ) from error
    return FastSimulator(graph)


def open_torch(graph: Graph, device: str | None, compiled: bool) -> Runner:
    try:
        from snnc.backends.torch.simulator import TorchSimulator
    except ModuleNotFoundError as error:
        if error.name != "torch":
            raise
        raise MissingPackageError(
            "the backend torch needs PyTorch, which is not installed", help=how_to_install("torch")
        ) from error
    return TorchSimulator(graph, device=device, compiled=compiled)

"""A program whose steps torch.compile makes one function."""

from __future__ import annotations

import warnings
from contextlib import contextmanager
from typing import TYPE_CHECKING

import torch
from torch.fx.experimental.proxy_tensor import make_fx

from snnc.backends.torch.program import Program, tell
from snnc.ir.errors import BackendError
from snnc.ir.types import SpikeType

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

    from torch import Tensor

    from snnc.backends.reference.program import Observer
    from snnc.backends.torch.program import Instruction, Weights
    from snnc.ir.graph import Graph, Value
    from snnc.ir.kernel_types import Array

    Function = Callable[..., Sequence[Tensor]]

# Payloads are the reference's only if neurons round as written: no fused multiply-adds, no approximate
# division. The last option is all that mode="reduce-overhead" sets: CUDA graphs, where there is a GPU.
OPTIONS: dict[str, str | int | bool | Callable[..., object]] = {
    "cpp.enable_floating_point_contract_flag": "off",
    "cpp.enable_unsafe_math_opt_flag": False,
    "emulate_precision_casts": True,
    "eager_numerics.division_rounding": True,
    "triton.cudagraphs": True,
}


class CompiledProgram(Program):
    """Computes what never varies as `Program` does, and all steps as one function of that.

    A function is compiled at the first run with its number of steps, with observers or without. Observers
    are told the streams of spikes when all steps are done.
    """

    def __init__(self, graph: Graph, weights: Weights, batch: int, timed: frozenset[str]) -> None:
        super().__init__(graph, weights, batch, timed)
        self._functions: dict[tuple[int, bool], Function] = {}

    def run(self, inputs: Mapping[str, Array], steps: int, observers: Sequence[Observer] = ()) -> list[Array]:
        times, streams = self.begin(inputs, steps, observers)
        spiking = [one for one in self.repeat if isinstance(one.node.result.type, SpikeType)]
        function = self._function(times, streams, watched=bool(observers))
        results = function(times, *streams.values())
        outputs, sent = results[: len(self.graph.outputs)], iter(results[len(self.graph.outputs) :])
        if observers:
            for t in range(1, steps + 1):
                for one in spiking:
                    tell(observers, one, t, next(sent))
        # The next run of a CUDA graph overwrites the results of this one.
        return [series.cpu().numpy() for series in outputs]

    def _function(self, times: Tensor, streams: Mapping[Value, Tensor], *, watched: bool) -> Function:
        """Return the function of the numbers of the steps and the streams that gives the decoded outputs.

        `watched`: and every stream of spikes after them, step by step.
        """
        key = len(times), watched
        if key not in self._functions:
            self._functions[key] = self._compile(times, streams, watched=watched)
        return self._functions[key]

    def _compile(self, times: Tensor, streams: Mapping[Value, Tensor], *, watched: bool) -> Function:
        # Tracing leaves its streams in the nodes' memory: this program's goes when it is done.
        program = Program(self.graph, self.weights, self.batch, self._timed)
        names = list(streams)

        def function(times: Tensor, *known: Tensor) -> list[Tensor]:
            sent: list[Tensor] = []

            def watch(one: Instruction, t: int, result: Tensor) -> None:
                if isinstance(one.node.result.type, SpikeType):
                    sent.append(result)

            given = dict(zip(names, known, strict=True))
            return [*program.finish(times, given, watch if watched else None), *sent]

        try:
            with no_foreign_advice():
                traced = make_fx(function)(times, *streams.values())
                compiled: Function = torch.compile(
                    traced.forward, fullgraph=True, dynamic=False, options=OPTIONS
                )
                compiled(times, *streams.values())
        except RuntimeError as error:
            raise BackendError(
                f"torch.compile failed: {reason_of(error)}",
                help="it needs a C++ compiler for a processor, Triton for a GPU; "
                "without --compiled (compiled=True) networks run as they are",
            ) from error
        return compiled


@contextmanager
def no_foreign_advice() -> Iterator[None]:
    """Hide what PyTorch says of its own modules, and that it would like to round to TensorFloat-32."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        warnings.filterwarnings("ignore", "TensorFloat32", UserWarning)
        yield


def reason_of(error: BaseException) -> str:
    """Return the first line of the error that the others come from."""
    while (cause := getattr(error, "inner_exception", None) or error.__cause__) is not None:
        error = cause
    return str(error).strip().partition("\n")[0]

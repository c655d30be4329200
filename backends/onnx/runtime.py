"""Opens and runs emitted models in onnxruntime."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import onnx
import onnxruntime
from onnxruntime.capi import onnxruntime_pybind11_state as runtime

from snnc.ir.errors import BackendError

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from snnc.backends.onnx.emit import EmittedModel
    from snnc.ir.kernel_types import Array

FATAL_ONLY = 4  # onnxruntime's log severity; its errors reach us as exceptions
# It moves a Pad with zeros into the MaxPool behind it, which pads with -∞ (onnxruntime 1.31).
UNSOUND_OPTIMISERS = ("Pad_Fusion",)

RUNTIME_ERRORS = (
    runtime.EPFail,
    runtime.Fail,
    runtime.InvalidArgument,
    runtime.InvalidGraph,
    runtime.NotImplemented,
    runtime.RuntimeException,
)


# Readers whose kernels take a weight as it lies in memory, constant or not.
_TAKE_INPUTS = frozenset({"MatMul", "Gemm", "Gather"})
FED_BYTES = 2**20


def fed_weights(emitted: EmittedModel) -> frozenset[str]:
    """Return the large weights that can be inputs: of initializers onnxruntime makes a copy for a while."""
    large = {name for name, array in emitted.weights.items() if array.nbytes >= FED_BYTES}
    for node in emitted.model.graph.node:
        if node.op_type not in _TAKE_INPUTS:
            large.difference_update(node.input)
    return frozenset(large)


def with_inputs(model: onnx.ModelProto, names: frozenset[str]) -> onnx.ModelProto:
    """Return the model with these of its initializers as inputs."""
    result = onnx.ModelProto()
    result.CopyFrom(model)
    declared = list(result.graph.initializer)
    del result.graph.initializer[:]
    result.graph.initializer.extend(one for one in declared if one.name not in names)
    result.graph.input.extend(
        onnx.helper.make_tensor_value_info(one.name, one.data_type, list(one.dims))
        for one in declared
        if one.name in names
    )
    return result


class RuntimeModel:
    """An emitted model, ready to run; the weights are read from the graph's own arrays.

    `what` names the model in errors; `threads` bounds the processor cores (0: as many as onnxruntime likes).
    `packed`: onnxruntime may keep copies of the weights in the order its kernels like best. Otherwise no
    large weight is copied, not even while the session is made. `integers`: it computes with whole numbers.
    `one_of_many`: its threads leave the cores to other sessions' between its runs, instead of waiting awake.
    """

    def __init__(
        self,
        emitted: EmittedModel,
        what: str,
        *,
        threads: int = 0,
        packed: bool,
        integers: bool = False,
        one_of_many: bool = False,
    ) -> None:
        self._what = what
        self._integers = integers
        self._one_of_many = one_of_many
        fed = frozenset() if packed else fed_weights(emitted)
        arrays = {name: np.ascontiguousarray(array) for name, array in emitted.weights.items()}
        self._fed = {name: arrays[name] for name in fed}
        # onnxruntime reads the arrays behind these while the session lives.
        self._weights = {
            name: onnxruntime.OrtValue.ortvalue_from_numpy(array)
            for name, array in arrays.items()
            if name not in fed
        }
        model = with_inputs(emitted.model, fed) if fed else emitted.model
        self._session = self._create(model, threads, packed=packed)

    def _create(self, model: onnx.ModelProto, threads: int, *, packed: bool) -> onnxruntime.InferenceSession:
        options = onnxruntime.SessionOptions()
        options.log_severity_level = FATAL_ONLY
        options.intra_op_num_threads = threads
        # Quantisers stay where the graph has them: integer kernels would round elsewhere. In networks of
        # integers all scales are 1, and nothing does.
        options.add_session_config_entry("session.disable_quant_qdq", "0" if self._integers else "1")
        options.add_session_config_entry("session.force_spinning_stop", "1" if self._one_of_many else "0")
        options.add_external_initializers(list(self._weights), list(self._weights.values()))
        if not packed:
            # Without these two onnxruntime keeps copies of its own of all weights.
            options.add_session_config_entry("session.disable_prepacking", "1")
            for name, value in self._weights.items():
                options.add_initializer(name, value)
        try:
            return onnxruntime.InferenceSession(
                model.SerializeToString(),
                options,
                providers=["CPUExecutionProvider"],
                disabled_optimizers=UNSOUND_OPTIMISERS,
            )
        except RUNTIME_ERRORS as error:
            raise BackendError(f"onnxruntime refuses the {self._what} model: {error}") from error

    def run(self, names: Sequence[str], inputs: Mapping[str, Array]) -> list[Array]:
        """Return the outputs of these names."""
        try:
            feeds = {**inputs, **self._fed} if self._fed else inputs
            results: list[Array] = self._session.run(names, feeds)
        except RUNTIME_ERRORS as error:
            raise BackendError(f"onnxruntime cannot run the {self._what} model: {error}") from error
        return results

    def bind(self, inputs: Mapping[str, Array], outputs: Mapping[str, Array]) -> Callable[[], None]:
        """Return a function that runs the model on these arrays, where they lie: contiguous, never moved."""
        session, binding = self._session, self._session.io_binding()
        for name, array in {**inputs, **self._fed}.items():
            binding.bind_ortvalue_input(name, onnxruntime.OrtValue.ortvalue_from_numpy(array))
        for name, array in outputs.items():
            binding.bind_ortvalue_output(name, onnxruntime.OrtValue.ortvalue_from_numpy(array))

        def run() -> None:
            try:
                session.run_with_iobinding(binding)
            except RUNTIME_ERRORS as error:
                raise BackendError(f"onnxruntime cannot run the {self._what} model: {error}") from error

        return run

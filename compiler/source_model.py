"""The source network, run as it was exported, in onnxruntime."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import onnx
import onnxruntime

from snnc.backends.onnx.runtime import FATAL_ONLY, RUNTIME_ERRORS, UNSOUND_OPTIMISERS
from snnc.frontend import load_onnx
from snnc.frontend.recurrent_state import SUFFIX, recurrent_states
from snnc.ir.errors import DataError, ModelError

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from snnc.ir.kernel_types import Array


class SourceModel:
    """An ONNX model in onnxruntime; `tensors` are intermediate tensors to return besides the outputs.

    A model exported with a fixed batch is run one batch of that size after the other, the last one filled up
    with copies of the last sample. Of a model that is one
    time step, `states` maps the inputs that are its states to the outputs that replace them.
    """

    def __init__(self, path: str | Path, tensors: Sequence[str] = (), *, threads: int = 0) -> None:
        self.path = str(path)
        source: str | bytes = self.path
        model = load_onnx(path)
        try:
            self.states = {state.input: state.output for state in recurrent_states(model)}
        except ModelError as error:
            error.where = self.path
            raise
        if tensors:
            known = {name for node in model.graph.node for name in node.output}
            outputs = {output.name for output in model.graph.output}
            extra = [name for name in tensors if name in known and name not in outputs]
            model.graph.output.extend(onnx.ValueInfoProto(name=name) for name in extra)
            source = model.SerializeToString()
        options = onnxruntime.SessionOptions()
        options.log_severity_level = FATAL_ONLY
        options.intra_op_num_threads = threads
        try:
            self._session = onnxruntime.InferenceSession(
                source,
                options,
                providers=["CPUExecutionProvider"],
                disabled_optimizers=UNSOUND_OPTIMISERS,
            )
        except RUNTIME_ERRORS as error:
            raise ModelError(f"onnxruntime refuses the model: {error}", where=self.path) from error
        self.outputs = [output.name for output in self._session.get_outputs()]
        self._inputs = self._session.get_inputs()

    def run(self, inputs: Mapping[str, Array]) -> dict[str, Array]:
        """Return all outputs (and asked-for tensors) of one batch, by name; states are among the inputs."""
        missing = [item.name for item in self._inputs if item.name not in inputs]
        if missing:
            raise DataError(
                f"the model has an input {missing[0]!r}, the network has none of that name",
                where=self.path,
                help="give the model that the network was compiled from; if this is the state of a single "
                f"time step, its next value must be the output {missing[0] + SUFFIX!r}",
            )
        feeds = {item.name: convert(inputs[item.name], item.type) for item in self._inputs}
        fixed = self._fixed_batch(feeds)
        try:
            if fixed is None:
                return dict(zip(self.outputs, self._session.run(None, feeds), strict=True))
            parts = [
                self._session.run(None, {name: rows(array, start, fixed) for name, array in feeds.items()})
                for start in range(0, len(next(iter(feeds.values()))), fixed)
            ]
        except RUNTIME_ERRORS as error:
            raise DataError(
                f"onnxruntime cannot run the model on these data: {error}", where=self.path
            ) from error
        joined = [np.concatenate(series) for series in zip(*parts, strict=True)]
        # Batch and heads may share an axis: of all rows there are, the same part is of real samples.
        count, filled = len(next(iter(feeds.values()))), fixed * len(parts)
        return {
            name: array[: len(array) * count // filled]
            for name, array in zip(self.outputs, joined, strict=True)
        }

    def zero_states(self, inputs: Mapping[str, Array]) -> dict[str, Array]:
        """Return the states before the first step, for one batch of the other inputs."""
        given = [item for item in self._inputs if item.name in inputs]
        sizes = {
            dim: size
            for item in given
            for dim, size in zip(item.shape, inputs[item.name].shape, strict=False)
            if isinstance(dim, str)
        }
        fixed = self._fixed_batch(inputs)
        batch = len(inputs[given[0].name]) if given else 1
        states = {}
        for item in self._inputs:
            if item.name not in self.states:
                continue
            shape = [sizes.get(dim, dim) if isinstance(dim, str) else dim for dim in item.shape]
            if shape and (shape[0] == fixed or not isinstance(shape[0], int)):
                shape[0] = batch
            if not all(isinstance(dim, int) for dim in shape):
                raise ModelError(
                    f"the size of the state {item.name!r} is not known: {item.shape}",
                    where=self.path,
                    help="export it with fixed sizes, the batch named as in the other inputs",
                )
            states[item.name] = convert(np.zeros(shape, np.float32), item.type)
        return states

    def _fixed_batch(self, feeds: Mapping[str, Array]) -> int | None:
        sizes = {item.shape[0] for item in self._inputs if item.shape}
        fixed = sizes.pop() if len(sizes) == 1 else None
        if not isinstance(fixed, int):
            return None
        count = len(next(iter(feeds.values())))
        return None if count == fixed else fixed


def rows(array: Array, start: int, count: int) -> Array:
    """Return so many samples from `start` on, the last one again where there are not enough."""
    there = array[start : start + count]
    return np.concatenate([there, np.repeat(there[-1:], count - len(there), axis=0)])


def convert(array: Array, wanted: str) -> Array:
    """Return the array in the element type onnxruntime names (`tensor(float16)`)."""
    kinds = {"float": "float32", "double": "float64"}
    name = wanted.removeprefix("tensor(").removesuffix(")")
    return array.astype(kinds.get(name, name), copy=False)

"""Layers that read spikes, dense and event-driven: y = x W and 3x3 convolutions, one thread.

Every way gets the same payloads and gives the same sums (tests/test_sparse_layers.py). Of event-driven ways,
finding the spikes is part of the time.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np
import onnxruntime
from onnx import TensorProto, helper, numpy_helper

if TYPE_CHECKING:
    from collections.abc import Callable

    Ways = dict[str, Callable[[Any], Any]]

try:
    import numba
except ImportError:  # an extra
    numba = None
try:
    from scipy import sparse
except ImportError:  # brought by the extra for development
    sparse = None

TAPS = 3  # of a convolution, either way


@dataclass(frozen=True, slots=True)
class Linear:
    """y[n, o] = sum_i x[n, i] W[i, o]"""

    inputs: int
    outputs: int

    @property
    def name(self) -> str:
        return f"linear {self.inputs} to {self.outputs}"

    def shape(self, batch: int) -> tuple[int, ...]:
        return batch, self.inputs

    def ways(self) -> tuple[Ways, Ways]:
        """Return the dense and the event-driven ways."""
        weight = np.random.default_rng(0).standard_normal((self.inputs, self.outputs), np.float32)
        dense: Ways = {
            "onnxruntime": session("MatMul", weight),
            "BLAS": partial(multiply, weight=weight),
        }
        events: Ways = {"rows, numpy": partial(rows, weight=weight)}
        if sparse is not None:
            events["CSR, scipy"] = partial(csr, weight=weight)
        if numba is not None:
            events["scatter, numba"] = partial(linear_scatter(), weight=weight)
        return dense, events


@dataclass(frozen=True, slots=True)
class Convolution:
    """3x3, stride 1, padded with zeros: [N, C, S, S] -> [N, C, S, S]."""

    channels: int
    size: int

    @property
    def name(self) -> str:
        return f"3x3, {self.channels} channels, {self.size} x {self.size}"

    def shape(self, batch: int) -> tuple[int, ...]:
        return batch, self.channels, self.size, self.size

    def ways(self) -> tuple[Ways, Ways]:
        """Return the dense and the event-driven ways."""
        c = self.channels
        weight = np.random.default_rng(0).standard_normal((c, c, TAPS, TAPS), np.float32)
        by_tap = np.ascontiguousarray(weight.transpose(1, 2, 3, 0))  # [in, ky, kx, out]
        events: Ways = {}
        if sparse is not None:
            events["CSR, scipy"] = partial(csr_columns, weight=by_tap)
        if numba is not None:
            events["scatter, numba"] = partial(convolution_scatter(), weight=by_tap)
        return {"onnxruntime": session("Conv", weight, pads=[1] * 4)}, events


def session(op: str, weight: Any, **attributes: Any) -> Callable[[Any], Any]:
    """Return one op with its weight in onnxruntime, on one thread."""
    graph = helper.make_graph(
        [helper.make_node(op, ["x", "w"], ["y"], **attributes)],
        op,
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, None)],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, None)],
        [numpy_helper.from_array(weight, "w")],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=9)
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    opened = onnxruntime.InferenceSession(model.SerializeToString(), options, ["CPUExecutionProvider"])
    return lambda x: opened.run(None, {"x": x})[0]


def multiply(x: Any, weight: Any) -> Any:
    return x @ weight


def rows(x: Any, weight: Any) -> Any:
    """Gather the rows of W that spikes drive, sample by sample, and multiply these only."""
    y = np.empty((len(x), weight.shape[1]), np.float32)
    for sample, sums in zip(x, y, strict=True):
        active = np.flatnonzero(sample)
        np.dot(sample[active], weight[active], out=sums)
    return y


def csr(x: Any, weight: Any) -> Any:
    return sparse.csr_matrix(x) @ weight


def csr_columns(x: Any, weight: Any) -> Any:
    """Make a sparse matrix of columns, an entry per spike and tap; return [N, S, S, out]."""
    batch, channels, size, _ = x.shape
    n, c, row, column = np.nonzero(x)
    values = x[n, c, row, column]
    places, features, entries = [], [], []
    for tap_row in range(TAPS):
        for tap_column in range(TAPS):
            y, z = row + 1 - tap_row, column + 1 - tap_column
            inside = (y >= 0) & (y < size) & (z >= 0) & (z < size)
            places.append(((n * size + y) * size + z)[inside])
            features.append(((c * TAPS + tap_row) * TAPS + tap_column)[inside])
            entries.append(values[inside])
    matrix = sparse.csr_matrix(
        (np.concatenate(entries), (np.concatenate(places), np.concatenate(features))),
        shape=(batch * size * size, channels * TAPS * TAPS),
    )
    return (matrix @ weight.reshape(channels * TAPS * TAPS, -1)).reshape(batch, size, size, -1)


def find_spikes() -> Callable[..., Any]:
    """Return the compiled loop that lists the places of spikes, without a branch."""

    def run(x: Any, places: Any) -> Any:
        count = 0
        for i in range(x.size):
            places[count] = i
            count += x[i] != 0
        return places[:count]

    return numba.njit(run)  # type: ignore[no-any-return]  # untyped


def linear_scatter() -> Callable[..., Any]:
    """Return the compiled loop that adds, for every spike, its row of W times its payload."""
    find = find_spikes()

    def run(x: Any, weight: Any) -> Any:
        y = np.zeros((x.shape[0], weight.shape[1]), np.float32)
        places = np.empty(x.shape[1] + 1, np.int64)
        for n in range(x.shape[0]):
            for i in find(x[n], places):
                k = x[n, i]
                for o in range(weight.shape[1]):
                    y[n, o] += k * weight[i, o]
        return y

    return numba.njit(run, fastmath=True)  # type: ignore[no-any-return]  # untyped


def convolution_scatter() -> Callable[..., Any]:
    """Return the compiled loop that adds every spike's taps to the sums around it: [N, S, S, out]."""
    find = find_spikes()

    def run(x: Any, weight: Any) -> Any:
        batch, _, size, _ = x.shape
        sums = np.zeros((batch, size + 2, size + 2, weight.shape[3]), np.float32)  # a border nobody reads
        places = np.empty(x[0].size + 1, np.int64)
        for n in range(batch):
            flat = x[n].ravel()
            for place in find(flat, places):
                k = flat[place]
                c, rest = divmod(place, size * size)
                row, column = divmod(rest, size)
                for tap_row in range(3):
                    for tap_column in range(3):
                        taps = weight[c, tap_row, tap_column]
                        into = sums[n, row + 2 - tap_row, column + 2 - tap_column]
                        for o in range(taps.size):
                            into[o] += k * taps[o]
        return sums[:, 1:-1, 1:-1]

    return numba.njit(run, fastmath=True)  # type: ignore[no-any-return]  # untyped

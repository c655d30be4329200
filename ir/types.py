"""Types say what travels on an edge: a real or integer tensor, or spikes with integer payloads."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, TypeAlias

import numpy as np

from snnc.ir.errors import TypeInferenceError
from snnc.ir.shapes import Shape, show_shape

if TYPE_CHECKING:
    from snnc.ir.codebooks import Payload
    from snnc.ir.kernel_types import Array

DTYPES: dict[str, np.dtype[np.generic]] = {
    "f32": np.dtype(np.float32),
    "f64": np.dtype(np.float64),
    "i8": np.dtype(np.int8),
    "i16": np.dtype(np.int16),
    "i32": np.dtype(np.int32),
    "i64": np.dtype(np.int64),
    "u8": np.dtype(np.uint8),
    "u16": np.dtype(np.uint16),
    "u32": np.dtype(np.uint32),
    "u64": np.dtype(np.uint64),
    "bool": np.dtype(np.bool_),
}
DTYPE_NAMES = {dtype: name for name, dtype in DTYPES.items()}
FLOATS = frozenset({"f32", "f64"})


@dataclass(frozen=True, slots=True)
class TensorType:
    """A stream of tensors, one per time step: `tensor<f32, N x 64 x 8 x 8>`."""

    dtype: str
    shape: Shape

    def __post_init__(self) -> None:
        if self.dtype not in DTYPES:
            raise TypeInferenceError(f"unknown element type {self.dtype!r}; known: {', '.join(DTYPES)}")

    @property
    def is_real(self) -> bool:
        """Tell whether the stream carries real numbers (not integers, booleans or spikes)."""
        return self.dtype in FLOATS

    def with_shape(self, shape: Shape) -> TensorType:
        return replace(self, shape=shape)

    def __str__(self) -> str:
        return f"tensor<{self.dtype}, {show_shape(self.shape)}>"


@dataclass(frozen=True, slots=True)
class SpikeType:
    """A stream of spikes with integer payloads: `spikes<-7..7, N x 64>`.

    The value of a spike is its payload times the emitting neuron's scale. `scaled` marks a stream whose
    scale is not 1 yet (before `normalise-thresholds`) or differs between positive and negative payloads
    (a neuron's `negative`); such streams may not be added payload by payload.
    """

    payload: Payload
    shape: Shape
    scaled: bool = False

    dtype = "f32"
    is_real = False

    def with_shape(self, shape: Shape) -> SpikeType:
        return replace(self, shape=shape)

    def __str__(self) -> str:
        scaled = " scaled" if self.scaled else ""
        return f"spikes<{self.payload}{scaled}, {show_shape(self.shape)}>"


Type: TypeAlias = TensorType | SpikeType


def dtype_name(array: Array) -> str:
    """Return the name of an array's element type; `TypeInferenceError` if the IR has none."""
    try:
        return DTYPE_NAMES[array.dtype]
    except KeyError:
        raise TypeInferenceError(f"arrays of {array.dtype} have no type in the IR") from None

"""Outputs of a run: whether a graph's can be decoded, and joined again from groups of samples."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from snnc.ir.decode import decode_problem
from snnc.ir.errors import BackendError
from snnc.ir.shapes import batch_axis

if TYPE_CHECKING:
    from collections.abc import Sequence

    from snnc.ir.errors import SnncError
    from snnc.ir.graph import Graph, Value
    from snnc.ir.kernel_types import Array


def check_outputs(graph: Graph, refusal: type[SnncError] = BackendError) -> None:
    """Refuse an output whose way of decoding gives no answer, with an error of this type."""
    for problem in filter(None, (decode_problem(graph, output) for output in graph.outputs)):
        raise refusal(problem, help="decode by mean or sum")


def join_batches(graph: Graph, parts: Sequence[Sequence[Array]]) -> dict[str, Array]:
    """Return per output name the decoded values [T, N, …] of all groups, given those of each group."""
    pairs = zip(graph.outputs, zip(*parts, strict=True), strict=True)
    return {output.name: join_groups(output.value, arrays) for output, arrays in pairs}


def join_groups(value: Value, arrays: Sequence[Array]) -> Array:
    """Return what a value is at every step [T, N, …] for all samples, given that for each group of them."""
    axis = batch_axis(value.type.shape)
    return arrays[0] if len(arrays) == 1 or axis is None else np.concatenate(arrays, axis=axis + 1)

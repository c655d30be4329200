"""Movement of elements as ONNX nodes."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from snnc.backends.onnx.emitters.simple import one_node
from snnc.ir.shapes import static_dim

if TYPE_CHECKING:
    from collections.abc import Sequence

    from snnc.backends.onnx.builder import Emitter, ModelBuilder
    from snnc.ir.graph import Node
    from snnc.ir.kernel_types import Array


def reshape(model: ModelBuilder, node: Node, inputs: Sequence[str]) -> str:
    return model.reshape(inputs[0], node.result.type.shape)


def expand(model: ModelBuilder, node: Node, inputs: Sequence[str]) -> str:
    """A dimension that x already has is written as 1: broadcasting keeps it, whatever the batch size."""
    target = node.result.type.shape
    source = node.operands[0].type.shape
    aligned = (1,) * (len(target) - len(source)) + source
    dims = tuple(1 if dim == old else dim for dim, old in zip(target, aligned, strict=True))
    return model.add("Expand", [inputs[0], model.dims(dims)])


def slice_(model: ModelBuilder, node: Node, inputs: Sequence[str]) -> str:
    attributes = model.graph.resolve(node)
    ranges = [model.ints(attributes[name]) for name in ("starts", "ends", "axes", "steps")]
    return model.add("Slice", [inputs[0], *ranges])


def gather(model: ModelBuilder, node: Node, inputs: Sequence[str]) -> str:
    attributes = model.graph.resolve(node)
    indices = model.constant(attributes["indices"].astype(np.int64), "indices")
    return model.add("Gather", [inputs[0], indices], axis=attributes["axis"])


def embedding(model: ModelBuilder, node: Node, inputs: Sequence[str]) -> str:
    return model.add("Gather", [model.tensor(node, "table"), inputs[0]], axis=0)


def tile(model: ModelBuilder, node: Node, inputs: Sequence[str]) -> str:
    return model.add("Tile", [inputs[0], model.ints(model.graph.resolve(node)["repeats"])])


def pad(model: ModelBuilder, node: Node, inputs: Sequence[str]) -> str:
    attributes = model.graph.resolve(node)
    operands = [inputs[0], model.ints(attributes["pads"])]
    if attributes["mode"] == "constant":
        operands.append(model.scalar(attributes["value"], node.operands[0]))
    return model.add("Pad", operands, mode=attributes["mode"])


def resize(model: ModelBuilder, node: Node, inputs: Sequence[str]) -> str:
    """Names only the axes that change, so the batch size needs no number."""
    attributes, shape = model.graph.resolve(node), node.operands[0].type.shape
    scales: Array | None = attributes["scales"]
    axes = [
        axis
        for axis, (dim, size) in enumerate(zip(shape, attributes["sizes"], strict=True))
        if dim != size or (scales is not None and scales[axis] != 1)
    ]
    if not axes:
        return inputs[0]
    if scales is None:
        target = ["", model.ints(static_dim(attributes["sizes"][axis], "a resized axis") for axis in axes)]
    else:
        target = [model.constant(scales[axes].astype(np.float32))]
    return model.add(
        "Resize",
        [inputs[0], "", *target],
        axes=axes,
        mode=attributes["mode"],
        coordinate_transformation_mode=attributes["coordinate"],
        nearest_mode=attributes["nearest"],
        cubic_coeff_a=attributes["cubic"] if attributes["mode"] == "cubic" else None,
    )


EMITTERS: dict[str, Emitter] = {
    "reshape": reshape,
    "transpose": one_node("Transpose", perm="perm"),
    "concat": one_node("Concat", axis="axis"),
    "slice": slice_,
    "gather": gather,
    "embedding": embedding,
    "expand": expand,
    "tile": tile,
    "pad": pad,
    "resize": resize,
    "depth_to_space": one_node("DepthToSpace", blocksize="block", mode="mode"),
    "space_to_depth": one_node("SpaceToDepth", blocksize="block"),
}

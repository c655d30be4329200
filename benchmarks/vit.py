"""Vision transformers of published sizes with random weights, written as ONNX weight by weight."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path
    from typing import BinaryIO

    from numpy.typing import NDArray

CLASSES = 1000
IMAGE, PATCH = 224, 16
TOKENS = (IMAGE // PATCH) ** 2 + 1
OPSET = 20
INLINE_BYTES = 1024  # what is larger is written beside the model


@dataclass(frozen=True, slots=True)
class Size:
    """The numbers a vision transformer is described by (Dosovitskiy et al. 2021, table 1)."""

    name: str
    blocks: int
    width: int
    heads: int
    hidden: int


SMALL = Size("ViT-S/16", 12, 384, 6, 1536)  # Touvron et al. 2021, table 1
BASE = Size("ViT-B/16", 12, 768, 12, 3072)
LARGE = Size("ViT-L/16", 24, 1024, 16, 4096)


class Builder:
    """Collects nodes and initializers; every method returns the name of the tensor it made.

    Weights go straight to `file`, which the model will find as `location`.
    """

    def __init__(self, size: Size, file: BinaryIO, location: str) -> None:
        self.size = size
        self.nodes: list[onnx.NodeProto] = []
        self.initializers: list[onnx.TensorProto] = []
        self._file, self._location = file, location
        self._random = np.random.default_rng(0)

    def constant(self, name: str, array: NDArray[np.generic]) -> str:
        if array.nbytes <= INLINE_BYTES:
            self.initializers.append(numpy_helper.from_array(array, name))
            return name
        tensor = TensorProto(
            name=name,
            dims=array.shape,
            data_type=helper.np_dtype_to_tensor_dtype(array.dtype),
            data_location=TensorProto.EXTERNAL,
        )
        place = {"location": self._location, "offset": self._file.tell(), "length": array.nbytes}
        for key, value in place.items():
            tensor.external_data.add(key=key, value=str(value))
        self._file.write(array.data)
        self.initializers.append(tensor)
        return name

    def weight(self, name: str, *shape: int, scale: float = 0.02) -> str:
        return self.constant(name, self._random.standard_normal(shape, np.float32) * np.float32(scale))

    def node(self, op: str, inputs: Sequence[str], name: str, **attributes: Any) -> str:
        self.nodes.append(helper.make_node(op, list(inputs), [name], name=name, **attributes))
        return name

    def linear(self, x: str, name: str, inputs: int, outputs: int) -> str:
        product = self.node("MatMul", [x, self.weight(f"{name}.weight", inputs, outputs)], f"{name}.matmul")
        return self.node("Add", [product, self.weight(f"{name}.bias", outputs)], f"{name}.add")

    def layer_norm(self, x: str, name: str) -> str:
        gamma = self.constant(f"{name}.gamma", np.ones(self.size.width, np.float32))
        beta = self.constant(f"{name}.beta", np.zeros(self.size.width, np.float32))
        return self.node("LayerNormalization", [x, gamma, beta], name, axis=-1, epsilon=1e-6)

    def heads(self, x: str, name: str, perm: Sequence[int]) -> str:
        split = self.node("Reshape", [x, "by_head"], f"{name}.split")
        return self.node("Transpose", [split], f"{name}.heads", perm=list(perm))

    def attention(self, x: str, name: str) -> str:
        q, k, v = (self.linear(x, f"{name}.{part}", self.size.width, self.size.width) for part in "qkv")
        q, v = (self.heads(part, part, (0, 2, 1, 3)) for part in (q, v))
        scores = self.node("MatMul", [q, self.heads(k, k, (0, 2, 3, 1))], f"{name}.scores")
        scaled = self.node("Mul", [scores, "scale"], f"{name}.scaled")
        weights = self.node("Softmax", [scaled], f"{name}.softmax", axis=-1)
        mixed = self.node("MatMul", [weights, v], f"{name}.mixed")
        joined = self.node("Transpose", [mixed], f"{name}.joined", perm=[0, 2, 1, 3])
        return self.linear(
            self.node("Reshape", [joined, "by_token"], f"{name}.tokens"),
            f"{name}.out",
            self.size.width,
            self.size.width,
        )

    def block(self, x: str, name: str) -> str:
        attended = self.attention(self.layer_norm(x, f"{name}.norm1"), f"{name}.attention")
        x = self.node("Add", [x, attended], f"{name}.residual1")
        hidden = self.linear(
            self.layer_norm(x, f"{name}.norm2"), f"{name}.fc1", self.size.width, self.size.hidden
        )
        active = self.node("Gelu", [hidden], f"{name}.gelu")
        return self.node(
            "Add",
            [x, self.linear(active, f"{name}.fc2", self.size.hidden, self.size.width)],
            f"{name}.residual2",
        )


def build(size: Size, file: BinaryIO, location: str) -> onnx.ModelProto:
    """Return the model; its weights are in the file, which it will find as `location`."""
    make, width = Builder(size, file, location), size.width
    make.constant("scale", np.array(1 / np.sqrt(width / size.heads), np.float32))
    make.constant("by_head", np.array([0, TOKENS, size.heads, width // size.heads]))
    make.constant("by_token", np.array([0, TOKENS, width]))
    make.constant("as_tokens", np.array([0, width, TOKENS - 1]))
    make.constant("first", np.array(0))
    kernel = make.weight("patch.weight", width, 3, PATCH, PATCH)
    patches = make.node(
        "Conv", ["image", kernel], "patch", strides=[PATCH, PATCH], kernel_shape=[PATCH, PATCH]
    )
    tokens = make.node("Reshape", [patches, "as_tokens"], "patch.flat")
    tokens = make.node("Transpose", [tokens], "patch.tokens", perm=[0, 2, 1])
    # One class token per image: the first token of each image, times 0, plus the token.
    start = make.constant("slice.start", np.array([0])), make.constant("slice.end", np.array([1]))
    axis = make.constant("slice.axis", np.array([1]))
    one = make.node("Slice", [tokens, *start, axis], "class.shape")
    zero = make.node("Mul", [one, make.constant("zero", np.array(0, np.float32))], "class.zero")
    token = make.node("Add", [zero, make.weight("class.token", 1, 1, width)], "class")
    x = make.node("Concat", [token, tokens], "sequence", axis=1)
    x = make.node("Add", [x, make.weight("position", 1, TOKENS, width)], "embedded")
    for index in range(size.blocks):
        x = make.block(x, f"block{index}")
    pooled = make.node("Gather", [make.layer_norm(x, "norm"), "first"], "pooled", axis=1)
    logits = make.linear(pooled, "head", width, CLASSES)
    graph = helper.make_graph(
        make.nodes,
        "vit",
        [helper.make_tensor_value_info("image", TensorProto.FLOAT, ["N", 3, IMAGE, IMAGE])],
        [helper.make_tensor_value_info(logits, TensorProto.FLOAT, ["N", CLASSES])],
        make.initializers,
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", OPSET)], ir_version=10)


def write(size: Size, path: Path) -> int:
    """Write the model and, beside it, its weights; return the bytes of both files."""
    weights = path.with_suffix(".weights")
    with weights.open("wb") as file:
        onnx.save(build(size, file, weights.name), path)
    return path.stat().st_size + weights.stat().st_size

"""A vision transformer of ViT-B/16's size with random weights, written as ONNX without torch."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from numpy.typing import NDArray

BLOCKS, WIDTH, HEADS, HIDDEN, CLASSES = 12, 768, 12, 3072, 1000
IMAGE, PATCH = 224, 16
TOKENS = (IMAGE // PATCH) ** 2 + 1
OPSET = 20


class Builder:
    """Collects nodes and initializers; every method returns the name of the tensor it made."""

    def __init__(self) -> None:
        self.nodes: list[onnx.NodeProto] = []
        self.initializers: list[onnx.TensorProto] = []
        self._random = np.random.default_rng(0)

    def constant(self, name: str, array: NDArray[np.generic]) -> str:
        self.initializers.append(numpy_helper.from_array(array, name))
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
        gamma = self.constant(f"{name}.gamma", np.ones(WIDTH, np.float32))
        beta = self.constant(f"{name}.beta", np.zeros(WIDTH, np.float32))
        return self.node("LayerNormalization", [x, gamma, beta], name, axis=-1, epsilon=1e-6)

    def heads(self, x: str, name: str, perm: Sequence[int]) -> str:
        split = self.node("Reshape", [x, "by_head"], f"{name}.split")
        return self.node("Transpose", [split], f"{name}.heads", perm=list(perm))

    def attention(self, x: str, name: str) -> str:
        q, k, v = (self.linear(x, f"{name}.{part}", WIDTH, WIDTH) for part in "qkv")
        q, v = (self.heads(part, part, (0, 2, 1, 3)) for part in (q, v))
        scores = self.node("MatMul", [q, self.heads(k, k, (0, 2, 3, 1))], f"{name}.scores")
        scaled = self.node("Mul", [scores, "scale"], f"{name}.scaled")
        weights = self.node("Softmax", [scaled], f"{name}.softmax", axis=-1)
        mixed = self.node("MatMul", [weights, v], f"{name}.mixed")
        joined = self.node("Transpose", [mixed], f"{name}.joined", perm=[0, 2, 1, 3])
        return self.linear(
            self.node("Reshape", [joined, "by_token"], f"{name}.tokens"), f"{name}.out", WIDTH, WIDTH
        )

    def block(self, x: str, name: str) -> str:
        attended = self.attention(self.layer_norm(x, f"{name}.norm1"), f"{name}.attention")
        x = self.node("Add", [x, attended], f"{name}.residual1")
        hidden = self.linear(self.layer_norm(x, f"{name}.norm2"), f"{name}.fc1", WIDTH, HIDDEN)
        active = self.node("Gelu", [hidden], f"{name}.gelu")
        return self.node("Add", [x, self.linear(active, f"{name}.fc2", HIDDEN, WIDTH)], f"{name}.residual2")


def build() -> onnx.ModelProto:
    """Return the model, 86 million parameters."""
    make = Builder()
    make.constant("scale", np.array(1 / np.sqrt(WIDTH / HEADS), np.float32))
    make.constant("by_head", np.array([0, TOKENS, HEADS, WIDTH // HEADS]))
    make.constant("by_token", np.array([0, TOKENS, WIDTH]))
    make.constant("as_tokens", np.array([0, WIDTH, TOKENS - 1]))
    make.constant("first", np.array(0))
    kernel = make.weight("patch.weight", WIDTH, 3, PATCH, PATCH)
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
    token = make.node("Add", [zero, make.weight("class.token", 1, 1, WIDTH)], "class")
    x = make.node("Concat", [token, tokens], "sequence", axis=1)
    x = make.node("Add", [x, make.weight("position", 1, TOKENS, WIDTH)], "embedded")
    for index in range(BLOCKS):
        x = make.block(x, f"block{index}")
    pooled = make.node("Gather", [make.layer_norm(x, "norm"), "first"], "pooled", axis=1)
    logits = make.linear(pooled, "head", WIDTH, CLASSES)
    graph = helper.make_graph(
        make.nodes,
        "vit_b_16",
        [helper.make_tensor_value_info("image", TensorProto.FLOAT, ["N", 3, IMAGE, IMAGE])],
        [helper.make_tensor_value_info(logits, TensorProto.FLOAT, ["N", CLASSES])],
        make.initializers,
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", OPSET)], ir_version=10)


def write(path: Path) -> int:
    """Write the model with its weights as external data; return the bytes of both files."""
    weights = path.with_suffix(".weights")
    onnx.save(build(), path, save_as_external_data=True, location=weights.name, size_threshold=1024)
    return path.stat().st_size + weights.stat().st_size

"""Networks of any number of nodes: blocks on top of each other, tiny in every other respect."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

WIDTH, TOKENS, SIDE = 4, 3, 4
OPSET = 20


class Tower:
    """Collects nodes and initializers; every method returns the name of the tensor it made."""

    def __init__(self) -> None:
        self.nodes: list[onnx.NodeProto] = []
        self.initializers: list[onnx.TensorProto] = []
        self._random = np.random.default_rng(0)

    def constant(self, array: Any) -> str:
        name = f"c{len(self.initializers)}"
        self.initializers.append(numpy_helper.from_array(np.asarray(array), name))
        return name

    def weight(self, *shape: int) -> str:
        return self.constant(0.3 * self._random.standard_normal(shape, np.float32))

    def __call__(self, op: str, *inputs: str, **attributes: Any) -> str:
        name = f"{op.lower()}{len(self.nodes)}"
        self.nodes.append(helper.make_node(op, inputs, [name], name=name, **attributes))
        return name

    def linear(self, x: str) -> str:
        return self("Add", self("MatMul", x, self.weight(WIDTH, WIDTH)), self.weight(WIDTH))

    def layer_norm(self, x: str) -> str:
        return self("LayerNormalization", x, self.constant(np.ones(WIDTH, np.float32)), axis=-1)


def transformer(b: Tower, x: str) -> str:
    """Attention of one head and a hidden layer, both residual: 14 nodes."""
    keys = b.linear(b.layer_norm(x))
    scores = b("Softmax", b("MatMul", keys, b("Transpose", keys, perm=[0, 2, 1])), axis=-1)
    x = b("Add", x, b("MatMul", scores, keys))
    return b("Add", x, b.linear(b("Gelu", b.linear(b.layer_norm(x)))))


def convolutional(b: Tower, x: str) -> str:
    """Convolution, batch norm, ReLU, pooling and a residual: 5 nodes."""
    ones, zeros = (b.constant(np.full(WIDTH, value, np.float32)) for value in (1, 0))
    y = b("Conv", x, b.weight(WIDTH, WIDTH, 3, 3), pads=[1] * 4, kernel_shape=[3, 3])
    y = b("Relu", b("BatchNormalization", y, ones, zeros, zeros, ones))
    y = b("AveragePool", y, kernel_shape=[3, 3], pads=[1] * 4, count_include_pad=1)
    return b("Add", x, y)


def residual(b: Tower, x: str) -> str:
    """A convolution added to spikes before a ReLU6, without which depth would overflow: 3 nodes."""
    y = b("Conv", x, b.weight(WIDTH, WIDTH, 1, 1), kernel_shape=[1, 1])
    bounds = (b.constant(np.float32(bound)) for bound in (0, 6))
    return b("Clip", b("Add", y, x), *bounds)


def chain(b: Tower, x: str) -> str:
    """A ReLU and a linear layer, all that a machine of integers knows: 3 nodes."""
    return b.linear(b("Relu", x))


def quantised(b: Tower, x: str) -> str:
    """A linear layer and a ReLU, quantised to unsigned bytes behind it: 5 nodes."""
    scale, zero = b.constant(np.float32(0.05)), b.constant(np.uint8(0))
    y = b("Relu", b.linear(x))
    return b("DequantizeLinear", b("QuantizeLinear", y, scale, zero), scale, zero)


def flattened(b: Tower, x: str) -> str:
    """A ReLU of twice a flattened image of one pixel, and a linear layer: 6 nodes."""
    y = b("Mul", x, b.constant(np.float32(2)))
    y = b.linear(b("Relu", b("Reshape", y, b.constant(np.array([-1, WIDTH])))))
    return b("Reshape", y, b.constant(np.array([-1, WIDTH, 1, 1])))


BLOCKS: dict[str, tuple[Callable[[Tower, str], str], Sequence[int]]] = {
    "transformer": (transformer, (TOKENS, WIDTH)),
    "convolutional": (convolutional, (WIDTH, SIDE, SIDE)),
    "residual": (residual, (WIDTH, SIDE, SIDE)),
    "chain": (chain, (WIDTH,)),
    "quantised": (quantised, (WIDTH,)),
    "flattened": (flattened, (WIDTH, 1, 1)),
}


def tower(kind: str, nodes: int) -> onnx.ModelProto:
    """Return a model of at least so many ONNX nodes."""
    block, shape = BLOCKS[kind]
    b, x = Tower(), "x"
    while len(b.nodes) < nodes:
        x = block(b, x)
    dims = ["N", *shape]
    graph = helper.make_graph(
        b.nodes,
        kind,
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, dims)],
        [helper.make_tensor_value_info(x, TensorProto.FLOAT, dims)],
        b.initializers,
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", OPSET)], ir_version=10)

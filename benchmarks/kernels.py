"""Four 3x3 convolutions of 8-bit integers with their neurons, by the means onnxruntime has for them."""

from __future__ import annotations

import statistics
from functools import partial
from itertools import pairwise
from typing import TYPE_CHECKING, Any

import numpy as np
import onnxruntime
from onnx import TensorProto, helper, numpy_helper
from speed import turn

if TYPE_CHECKING:
    from collections.abc import Sequence

    from onnx import NodeProto

LAYERS, ROUNDS, QUANTUM, PAYLOAD = 4, 5, 1777, 15
# Channels, height and width, batch: the first and last stage of ResNet-20, a layer of ResNet-18.
SHAPES = ((16, 32, 1), (16, 32, 100), (64, 8, 1), (64, 8, 100), (128, 28, 4))


def single(x: str, out: str) -> list[NodeProto]:
    sums = helper.make_node("Conv", [x, "w"], [f"{out}.sums"], pads=[1] * 4)
    return [sums, *neuron(f"{out}.sums", out)]


def integer(x: str, out: str, *, zero_point: bool) -> list[NodeProto]:
    """ConvInteger, and casts around the neuron."""
    operands = [x, "w", "", "zero"] if zero_point else [x, "w"]
    return [
        helper.make_node("ConvInteger", operands, [f"{out}.whole"], pads=[1] * 4),
        helper.make_node("Cast", [f"{out}.whole"], [f"{out}.sums"], to=TensorProto.FLOAT),
        *neuron(f"{out}.sums", f"{out}.k"),
        helper.make_node("Cast", [f"{out}.k"], [out], to=TensorProto.UINT8),
    ]


def rescaled(x: str, out: str) -> list[NodeProto]:
    """QLinearConv: 8 bits of round(sum * (1/q)), no membrane."""
    operands = [x, "one", "zero", "w", "one", "zero_w", "q", "zero"]
    return [helper.make_node("QLinearConv", operands, [out], pads=[1] * 4)]


def neuron(sums: str, out: str) -> list[NodeProto]:
    return [
        helper.make_node("Div", [sums, "q"], [f"{out}.u"]),
        helper.make_node("Clip", [f"{out}.u", "lo", "hi"], [f"{out}.clipped"]),
        helper.make_node("Round", [f"{out}.clipped"], [out]),
    ]


def session(write: Any, inputs: type, weight: Any) -> onnxruntime.InferenceSession:
    names = ["x", *(f"k{layer}" for layer in range(LAYERS))]
    nodes = [node for x, out in pairwise(names) for node in write(x, out)]
    constants = {
        "w": weight, "q": np.float32(QUANTUM), "lo": np.float32(0), "hi": np.float32(PAYLOAD),
        "zero": np.uint8(128 if weight.dtype == np.uint8 else 0), "zero_w": np.int8(0), "one": np.float32(1),
    }  # fmt: skip
    used = {name for node in nodes for name in node.input}
    kind = helper.np_dtype_to_tensor_dtype(np.dtype(inputs))
    graph = helper.make_graph(
        nodes,
        "layers",
        [helper.make_tensor_value_info("x", kind, None)],
        [helper.make_tensor_value_info(names[-1], kind, None)],
        [numpy_helper.from_array(np.asarray(a), n) for n, a in constants.items() if n in used],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=9)
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    return onnxruntime.InferenceSession(model.SerializeToString(), options, ["CPUExecutionProvider"])


def compare(channels: int, size: int, batch: int) -> tuple[float, dict[str, Sequence[float]]]:
    """Return the milliseconds of `Conv`, and the others' times over it, round by round."""
    random = np.random.default_rng(0)
    w = random.integers(-127, 128, (channels, channels, 3, 3)).astype(np.int8)
    k = random.integers(0, PAYLOAD + 1, (batch, channels, size, size)).astype(np.uint8)
    shifted = (w.astype(np.int16) + 128).astype(np.uint8)
    variants = {
        "Conv": (session(single, np.float32, w.astype(np.float32)), k.astype(np.float32)),
        "ConvInteger, int8": (session(partial(integer, zero_point=False), np.uint8, w), k),
        "ConvInteger, uint8": (session(partial(integer, zero_point=True), np.uint8, shifted), k),
        "QLinearConv": (session(rescaled, np.uint8, w), k),
    }
    rounds = [
        {name: turn(partial(model.run, None, {"x": x})) for name, (model, x) in variants.items()}
        for _ in range(ROUNDS)
    ]
    ratios = {name: [one[name] / one["Conv"] for one in rounds] for name in list(variants)[1:]}
    return 1e3 * statistics.median(one["Conv"] for one in rounds), ratios


def main() -> None:
    print(f"{LAYERS} layers, one thread; time over that of Conv: median (least..most) of {ROUNDS} rounds")
    for shape in SHAPES:
        milliseconds, ratios = compare(*shape)
        print(f"{shape[0]} channels, {shape[1]} x {shape[1]}, batch {shape[2]}: Conv {milliseconds:.2f} ms")
        for name, found in ratios.items():
            print(f"  {name:20}{statistics.median(found):6.2f} ({min(found):.2f}..{max(found):.2f})")


if __name__ == "__main__":
    main()

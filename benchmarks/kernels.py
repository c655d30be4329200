"""Four layers of 8-bit integers with their neurons, by the means onnxruntime has for them: one time step.

3x3 convolutions, then linear layers.
"""

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
# Inputs (and outputs), rows: small ones, those of a small transformer at batch 1 and 100, of ViT-S/16.
LINEAR = ((64, 1), (64, 100), (512, 1), (512, 100), (128, 65), (128, 6500), (384, 197))


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


def windows(x: str, out: str) -> list[NodeProto]:
    """MatMulInteger of what every output sees, the channels last."""
    views = [
        helper.make_node("Slice", [f"{out}.padded", f"from{i}{j}", f"to{i}{j}", "axes"], [f"{out}.{i}{j}"])
        for i in range(3)
        for j in range(3)
    ]
    return [
        helper.make_node("Transpose", [x], [f"{out}.last"], perm=[0, 2, 3, 1]),
        helper.make_node("Pad", [f"{out}.last", "around", "zero"], [f"{out}.padded"]),
        *views,
        helper.make_node("Concat", [view.output[0] for view in views], [f"{out}.seen"], axis=3),
        helper.make_node("MatMulInteger", [f"{out}.seen", "matrix"], [f"{out}.whole"]),
        helper.make_node("Cast", [f"{out}.whole"], [f"{out}.real"], to=TensorProto.FLOAT),
        helper.make_node("Transpose", [f"{out}.real"], [f"{out}.sums"], perm=[0, 3, 1, 2]),
        *neuron(f"{out}.sums", f"{out}.k"),
        helper.make_node("Cast", [f"{out}.k"], [out], to=TensorProto.UINT8),
    ]


def rescaled(x: str, out: str) -> list[NodeProto]:
    """QLinearConv: 8 bits of round(sum * (1/q)), no membrane."""
    operands = [x, "one", "zero", "w", "one", "zero_w", "q", "zero"]
    return [helper.make_node("QLinearConv", operands, [out], pads=[1] * 4)]


def gemm(x: str, out: str) -> list[NodeProto]:
    return [helper.make_node("Gemm", [x, "w"], [f"{out}.sums"]), *neuron(f"{out}.sums", out)]


def product(x: str, out: str) -> list[NodeProto]:
    """MatMulInteger; QuantizeLinear divides by 1, rounds and saturates."""
    return [
        helper.make_node("MatMulInteger", [x, "w"], [f"{out}.whole"]),
        helper.make_node("Cast", [f"{out}.whole"], [f"{out}.sums"], to=TensorProto.FLOAT),
        helper.make_node("Div", [f"{out}.sums", "q"], [f"{out}.u"]),
        helper.make_node("QuantizeLinear", [f"{out}.u", "one", "zero"], [out]),
    ]


def as_image(x: str, out: str) -> list[NodeProto]:
    """QLinearConv over an image one row high, whose pixels are the rows."""
    return [
        helper.make_node("Reshape", [x, "image"], [f"{out}.image"]),
        helper.make_node("Transpose", [f"{out}.image"], [f"{out}.x"], perm=[0, 3, 1, 2]),
        helper.make_node(
            "QLinearConv", [f"{out}.x", "one", "zero", "kernel", "one", "zero_w", "q", "zero"], [f"{out}.y"]
        ),
        helper.make_node("Transpose", [f"{out}.y"], [f"{out}.rows"], perm=[0, 2, 3, 1]),
        helper.make_node("Reshape", [f"{out}.rows", "rows"], [out]),
    ]


def neuron(sums: str, out: str) -> list[NodeProto]:
    return [
        helper.make_node("Div", [sums, "q"], [f"{out}.u"]),
        helper.make_node("Clip", [f"{out}.u", "lo", "hi"], [f"{out}.clipped"]),
        helper.make_node("Round", [f"{out}.clipped"], [out]),
    ]


def session(write: Any, inputs: type, weight: Any, size: int = 0) -> onnxruntime.InferenceSession:
    names = ["x", *(f"k{layer}" for layer in range(LAYERS))]
    nodes = [node for x, out in pairwise(names) for node in write(x, out)]
    constants = {
        "w": weight, "q": np.float32(QUANTUM), "lo": np.float32(0), "hi": np.float32(PAYLOAD),
        "zero": np.uint8(128 if weight.dtype == np.uint8 else 0), "zero_w": np.int8(0), "one": np.float32(1),
    }  # fmt: skip
    if weight.ndim == 4:
        constants |= {f"from{i}{j}": np.array([i, j]) for i in range(3) for j in range(3)}
        constants |= {f"to{i}{j}": np.array([size + i, size + j]) for i in range(3) for j in range(3)}
        constants |= {
            "axes": np.array([1, 2]), "around": np.array([0, 1, 1, 0, 0, 1, 1, 0]),
            "matrix": np.ascontiguousarray(weight.transpose(2, 3, 1, 0)).reshape(-1, len(weight)),
        }  # fmt: skip
    else:
        size = len(weight)
        constants |= {
            "kernel": np.ascontiguousarray(weight.T)[:, :, None, None],
            "image": np.array([1, 1, -1, size]), "rows": np.array([-1, size]),
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
        "MatMulInteger": (session(windows, np.uint8, w, size), k),
        "QLinearConv": (session(rescaled, np.uint8, w), k),
    }
    return in_turns(variants)


def compare_linear(size: int, rows: int) -> tuple[float, dict[str, Sequence[float]]]:
    """Return the milliseconds of `Gemm`, and the others' times over it, round by round."""
    random = np.random.default_rng(0)
    w = random.integers(-63, 64, (size, size)).astype(np.int8)
    k = random.integers(0, PAYLOAD + 1, (rows, size)).astype(np.uint8)
    return in_turns({
        "Gemm": (session(gemm, np.float32, w.astype(np.float32)), k.astype(np.float32)),
        "MatMulInteger": (session(product, np.uint8, w), k),
        "QLinearConv": (session(as_image, np.uint8, w), k),
    })  # fmt: skip


def in_turns(variants: dict[str, tuple[Any, Any]]) -> tuple[float, dict[str, Sequence[float]]]:
    """Return the milliseconds of the first variant, and the others' times over it, round by round."""
    rounds = [
        {name: turn(partial(model.run, None, {"x": x})) for name, (model, x) in variants.items()}
        for _ in range(ROUNDS)
    ]
    first, *others = variants
    ratios = {name: [one[name] / one[first] for one in rounds] for name in others}
    return 1e3 * statistics.median(one[first] for one in rounds), ratios


def show(title: str, milliseconds: float, ratios: dict[str, Sequence[float]]) -> None:
    print(f"{title} {milliseconds:.2f} ms")
    for name, found in ratios.items():
        print(f"  {name:20}{statistics.median(found):6.2f} ({min(found):.2f}..{max(found):.2f})")


def main() -> None:
    print(f"{LAYERS} layers, one thread; time over the first one's: median (least..most) of {ROUNDS} rounds")
    for channels, size, batch in SHAPES:
        show(f"{channels} channels, {size} x {size}, batch {batch}: Conv", *compare(channels, size, batch))
    for size, rows in LINEAR:
        show(f"{size} inputs, {rows} rows: Gemm", *compare_linear(size, rows))


if __name__ == "__main__":
    main()

"""Graphs in the style of other exporters: what they compute, spiking too, and what is left of them."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING, Any

import numpy as np
from onnx import helper

from snnc.backends.reference import Simulator
from snnc.driver import as_dataset, compile_model
from tests.harness import assert_matches_onnxruntime, onnx_model, run_onnxruntime

if TYPE_CHECKING:
    import onnx

    from snnc.ir.kernel_types import Array


def normal(seed: int, *shape: int) -> Array:
    return (np.random.default_rng(seed).normal(size=shape) / np.sqrt(np.prod(shape[1:]))).astype(np.float32)


def turned(x: str, y: str, *perm: int) -> onnx.NodeProto:
    return helper.make_node("Transpose", [x], [y], perm=perm)


def tensorflow_style() -> onnx.ModelProto:
    """Images N x H x W x C: every convolution between two transposes, padding and bias on their own."""
    nodes = [
        turned("image", "image_nchw", 0, 3, 1, 2),
        helper.make_node("Pad", ["image_nchw", "same"], ["padded"]),
        helper.make_node("Conv", ["padded", "w1"], ["c1"], strides=[2, 2], kernel_shape=[3, 3]),
        turned("c1", "c1_nhwc", 0, 2, 3, 1),
        helper.make_node("Add", ["c1_nhwc", "b1"], ["a1"]),
        helper.make_node("Clip", ["a1", "zero", "six"], ["r1"]),
        turned("r1", "r1_nchw", 0, 3, 1, 2),
        helper.make_node("Conv", ["r1_nchw", "w2"], ["c2"], group=8, auto_pad="SAME_UPPER"),
        turned("c2", "c2_nhwc", 0, 2, 3, 1),
        helper.make_node("Mul", ["c2_nhwc", "gain"], ["m2"]),
        helper.make_node("Sub", ["m2", "shift"], ["s2"]),
        helper.make_node("Relu", ["s2"], ["r2"]),
        helper.make_node("ReduceMean", ["r2"], ["pooled"], axes=[1, 2], keepdims=0),
        helper.make_node("MatMul", ["pooled", "w3"], ["m3"]),
        helper.make_node("Add", ["m3", "b3"], ["logits"]),
    ]
    constants = {
        "same": np.array([0, 0, 0, 0, 0, 0, 1, 1]), "w1": normal(1, 8, 3, 3, 3), "b1": normal(2, 8),
        "zero": np.float32(0), "six": np.float32(6), "w2": normal(3, 8, 1, 3, 3), "gain": 1 + normal(4, 8),
        "shift": normal(5, 8), "w3": normal(6, 8, 5), "b3": normal(7, 5),
    }  # fmt: skip
    return onnx_model(nodes, {"image": ("N", 8, 8, 3)}, ["logits"], constants, opset=13)


def paddle_style() -> onnx.ModelProto:
    """A squeeze-and-excitation block: shapes taken at run time, HardSigmoid, hard swish in parts."""
    nodes = [
        helper.make_node("Conv", ["image", "w1"], ["c1"], pads=[1, 1, 1, 1]),
        helper.make_node("BatchNormalization", ["c1", "g", "b", "m", "v"], ["n1"]),
        helper.make_node("Add", ["n1", "three"], ["n3"]),
        helper.make_node("Clip", ["n3", "zero", "six"], ["gate"]),
        helper.make_node("Mul", ["n1", "gate"], ["gated"]),
        helper.make_node("Div", ["gated", "six"], ["x"]),
        helper.make_node("GlobalAveragePool", ["x"], ["mean"]),
        helper.make_node("Conv", ["mean", "w2", "b2"], ["down"]),
        helper.make_node("Relu", ["down"], ["r"]),
        helper.make_node("Conv", ["r", "w3", "b3"], ["up"]),
        helper.make_node("HardSigmoid", ["up"], ["scale"], alpha=1 / 6, beta=0.5),
        helper.make_node("Mul", ["x", "scale"], ["excited"]),
        helper.make_node("Shape", ["excited"], ["shape"]),
        helper.make_node("Slice", ["shape", "first", "second", "first"], ["batch"]),
        helper.make_node("Concat", ["batch", "rest"], ["target"], axis=0),
        helper.make_node("Cast", ["target"], ["target64"], to=7),
        helper.make_node("Reshape", ["excited", "target64"], ["flat"]),
        helper.make_node("MatMul", ["flat", "w4"], ["m4"]),
        helper.make_node("Add", ["m4", "b4"], ["logits"]),
    ]
    constants: dict[str, Any] = {
        "w1": normal(1, 8, 3, 3, 3), "g": 1 + normal(2, 8), "b": normal(3, 8), "m": normal(4, 8),
        "v": np.full(8, 0.5, np.float32), "three": np.float32(3), "zero": np.float32(0), "six": np.float32(6),
        "w2": normal(5, 4, 8, 1, 1), "b2": normal(6, 4), "w3": normal(7, 8, 4, 1, 1), "b3": normal(8, 8),
        "first": np.array([0]), "second": np.array([1]), "rest": np.array([-1]),
        "w4": normal(9, 8 * 36, 5), "b4": normal(10, 5),
    }  # fmt: skip
    return onnx_model(nodes, {"image": ("N", 3, 6, 6)}, ["logits"], constants, opset=13)


def assert_compiles(model: onnx.ModelProto, x: Array) -> Counter[str]:
    """Hold import and spiking network against onnxruntime; return how often each op is left."""
    assert_matches_onnxruntime(model, {"image": x}, rtol=1e-4, atol=1e-5)
    graph = compile_model(model, as_dataset({"image": x})).graph
    found = Simulator(graph).run(x, 4).outputs["logits"]
    wanted = run_onnxruntime(model, {"image": x})["logits"]
    errors = [np.linalg.norm(step - wanted) / np.linalg.norm(wanted) for step in found]
    assert errors[0] < 0.08
    assert errors[-1] < 0.03
    return Counter(node.op.name for node in graph)


def test_tensorflow_style() -> None:
    x = np.random.default_rng(0).random((64, 8, 8, 3), dtype=np.float32)
    left = assert_compiles(tensorflow_style(), x)
    assert left["neuron"] == 3  # Relu6, Relu, and the image's own before the first convolution or the mean
    assert left["conv"] == 2
    assert not left["clip"] + left["relu"]


def test_paddle_style() -> None:
    x = np.random.default_rng(0).random((64, 3, 6, 6), dtype=np.float32)
    left = assert_compiles(paddle_style(), x)
    assert left["hard_swish"] == left["hard_sigmoid"] == 1
    assert left["conv"] == 3
    assert not left["batch_norm"] + left["clip"] + left["div"]

"""Operators that onnxruntime's optimisers write, against onnxruntime; models that they and others rewrote."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest
from onnx import helper

from snnc.frontend import import_onnx
from snnc.ir.errors import UnsupportedOpError
from tests.harness import assert_matches_onnxruntime, onnx_model

DIGITS = Path(__file__).parents[2] / "examples" / "digits"
INT32 = onnx.TensorProto.INT32
TOKENS, HIDDEN, HEADS = 5, 12, 3


def normal(seed: int, *shape: int) -> Any:
    return np.random.default_rng(seed).normal(size=shape).astype(np.float32)


def fused(op: str, inputs: list[str], outputs: list[str] | None = None, **attributes: Any) -> onnx.NodeProto:
    return helper.make_node(op, inputs, outputs or ["y"], domain="com.microsoft", **attributes)


def check(node: onnx.NodeProto, shapes: dict[str, tuple[int, ...]], /, **constants: Any) -> None:
    """Compare a node of streams [N, ..] and constants; integer constants stay such."""
    model = onnx_model(
        [node], {name: ("N", *shape) for name, shape in shapes.items()}, [*node.output], constants
    )
    arrays = {name: normal(index, 2, *shape) for index, (name, shape) in enumerate(shapes.items())}
    assert_matches_onnxruntime(model, arrays, rtol=1e-4, atol=2e-5)


@pytest.mark.parametrize(
    ("op", "bias"),
    [("Gelu", False), ("FastGelu", False), ("FastGelu", True), ("BiasGelu", True), ("QuickGelu", False)],
)
def test_gelus(op: str, bias: bool) -> None:
    node = fused(op, ["x", "b"] if bias else ["x"])
    check(node, {"x": (TOKENS, HIDDEN)}, **({"b": normal(9, HIDDEN)} if bias else {}))


@pytest.mark.parametrize("turned", [{}, {"transA": 1}, {"transB": 1}, {"transA": 1, "transB": 1}])
def test_fused_matmul(turned: dict[str, int]) -> None:
    a, b = (6, 4) if "transA" in turned else (4, 6), (5, 6) if "transB" in turned else (6, 5)
    node = fused("FusedMatMul", ["a", "b"], alpha=0.3, **turned)
    check(node, {"a": (2, *a), "b": (2, *b)})
    check(node, {"a": a}, b=normal(7, *b))


@pytest.mark.parametrize(
    ("activation", "parameters"),
    [("Relu", []), ("LeakyRelu", [0.2]), ("HardSigmoid", [0.3, 0.4]), ("Clip", [-0.5, 0.7]), ("Tanh", [])],
)
@pytest.mark.parametrize("added", [False, True])
def test_fused_conv(activation: str, parameters: list[float], added: bool) -> None:
    inputs, shapes = ["x", "w", "b"], {"x": (3, 6, 6)}
    if added:
        inputs, shapes = [*inputs, "z"], {**shapes, "z": (4, 6, 6)}
    node = fused("FusedConv", inputs, activation=activation, pads=[1, 1, 1, 1], kernel_shape=[3, 3])
    if parameters:
        node.attribute.append(helper.make_attribute("activation_params", parameters))
    check(node, shapes, w=normal(5, 4, 3, 3, 3), b=normal(6, 4))


def test_fused_gemm() -> None:
    node = fused(
        "FusedGemm", ["x", "w", "b"], activation="LeakyRelu", activation_alpha=0.1, transB=1, alpha=0.5
    )
    check(node, {"x": (6,)}, w=normal(1, 4, 6), b=normal(2, 4))


@pytest.mark.parametrize("bias", [False, True])
@pytest.mark.parametrize("outputs", [["y"], ["y", "", "", "sum"]])
def test_skip_layer_normalisation(bias: bool, outputs: list[str]) -> None:
    inputs = ["x", "skip", "g", "b", *(["c"] if bias else [])]
    constants = {"g": normal(1, HIDDEN), "b": normal(2, HIDDEN), **({"c": normal(3, HIDDEN)} if bias else {})}
    node = fused("SkipLayerNormalization", inputs, outputs, epsilon=1e-5)
    shape = (TOKENS, HIDDEN)
    model = onnx_model(
        [node], {"x": ("N", *shape), "skip": ("N", *shape)}, [name for name in outputs if name], constants
    )
    assert_matches_onnxruntime(
        model, {"x": normal(4, 2, *shape), "skip": normal(5, 2, *shape)}, rtol=1e-4, atol=1e-5
    )


def test_skip_rms_normalisation() -> None:
    node = fused("SkipSimplifiedLayerNormalization", ["x", "skip", "g"], epsilon=1e-5)
    check(node, {"x": (TOKENS, HIDDEN), "skip": (TOKENS, HIDDEN)}, g=normal(1, HIDDEN))


MASKS: dict[str, tuple[tuple[int, ...], Any]] = {
    "none": ((), None),
    "keys": ((TOKENS,), np.array([[1, 1, 1, 0, 0], [1, 1, 1, 1, 1]], np.int32)),
    "counts": ((), np.array([2, 5], np.int32)),
}


@pytest.mark.parametrize("mask", MASKS)
@pytest.mark.parametrize("causal", [0, 1])
def test_packed_attention(mask: str, causal: int) -> None:
    shape, values = MASKS[mask]
    inputs = ["x", "w", "b"] if values is None else ["x", "w", "b", "mask"]
    node = fused("Attention", inputs, num_heads=HEADS, unidirectional=causal)
    streams: dict[str, Any] = {"x": ("N", TOKENS, HIDDEN)}
    arrays = {"x": normal(3, 2, TOKENS, HIDDEN)}
    if values is not None:
        streams["mask"], arrays["mask"] = (INT32, ("N", *shape)), values
    weights = {"w": normal(1, HIDDEN, 3 * HIDDEN), "b": normal(2, 3 * HIDDEN)}
    model = onnx_model([node], streams, ["y"], weights)
    assert_matches_onnxruntime(model, arrays, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("bias", [False, True])
def test_multi_head_attention(bias: bool) -> None:
    node = fused("MultiHeadAttention", ["q", "k", "v", *(["b"] if bias else [])], num_heads=HEADS, scale=0.4)
    shapes = {"q": (TOKENS, HIDDEN), "k": (7, HIDDEN), "v": (7, HIDDEN)}
    check(node, shapes, **({"b": normal(8, 3 * HIDDEN)} if bias else {}))


def test_embedding_with_layer_normalisation() -> None:
    inputs = ["ids", "segments", "words", "positions", "kinds", "g", "b", "mask"]
    node = fused("EmbedLayerNormalization", inputs, ["y", "count"], epsilon=1e-5)
    tokens = (INT32, ("N", TOKENS))
    tables = {
        "words": normal(1, 30, HIDDEN),
        "positions": normal(2, 9, HIDDEN),
        "kinds": normal(3, 2, HIDDEN),
    }
    model = onnx_model(
        [node],
        {"ids": tokens, "segments": tokens, "mask": tokens},
        ["y", "count"],
        {**tables, "g": normal(4, HIDDEN), "b": normal(5, HIDDEN)},
    )
    rng = np.random.default_rng(0)
    arrays = {"ids": rng.integers(0, 30, (2, TOKENS)), "segments": rng.integers(0, 2, (2, TOKENS))}
    arrays["mask"] = MASKS["keys"][1]
    assert_matches_onnxruntime(
        model, {name: array.astype(np.int32) for name, array in arrays.items()}, rtol=1e-4, atol=1e-5
    )


@pytest.mark.parametrize(
    ("node", "reason"),
    [
        (fused("Attention", ["x", "w", "", "", "past"], num_heads=3), "past keys"),
        (fused("MultiHeadAttention", ["x"], num_heads=3), "packed in one tensor"),
        (fused("SkipLayerNormalization", ["x", "x", "g"], ["y", "mean"]), "the mean"),
        (fused("FusedConv", ["x", "w"], activation="Swish"), "its activation is 'Swish'"),
        (fused("FusedMatMul", ["x", "w"], transBatchA=1), "batch axis"),
        (fused("NhwcMaxPool", ["x"]), "NhwcMaxPool of domain com.microsoft is not supported"),
    ],
)
def test_refusals(node: onnx.NodeProto, reason: str) -> None:
    constants = {"w": normal(0, 12, 12, 1), "g": normal(0, 12), "past": normal(0, 1)}
    read = {name: array for name, array in constants.items() if name in node.input}
    model = onnx_model([node], {"x": ("N", 12, 12)}, [node.output[-1]], read)
    with pytest.raises(UnsupportedOpError, match=reason):
        import_onnx(model)


@pytest.mark.parametrize("name", ["digits_cnn", "digits_vit", "digits_vit_dynamo"])
def test_what_onnxruntime_optimised_is_what_it_was(name: str, tmp_path: Path) -> None:
    """FusedConv, FusedGemm, FusedMatMul, BiasGelu come out of the extended optimisations."""
    options = onnxruntime.SessionOptions()
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_ENABLE_EXTENDED
    options.optimized_model_filepath = str(tmp_path / "optimised.onnx")
    options.log_severity_level = 4
    onnxruntime.InferenceSession(DIGITS / f"{name}.onnx", options, providers=["CPUExecutionProvider"])
    model = onnx.load(tmp_path / "optimised.onnx")
    assert "com.microsoft" in {node.domain for node in model.graph.node}
    image = np.random.default_rng(0).random((3, 1, 8, 8), dtype=np.float32)
    assert_matches_onnxruntime(model, {"image": image}, rtol=1e-3, atol=1e-4)

"""Models exported with a fixed batch become networks for any batch, where that is sound."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import onnx
import pytest
from onnx import helper

from snnc.frontend import import_onnx
from snnc.ir.errors import UnsupportedOpError
from tests.harness import assert_matches_onnxruntime, onnx_model, run_analog, run_onnxruntime

if TYPE_CHECKING:
    from snnc.ir.kernel_types import Array

RNG = np.random.default_rng(0)


def node(op_type: str, inputs: str, outputs: str, **attributes: Any) -> onnx.NodeProto:
    return helper.make_node(op_type, inputs.split(), outputs.split(), **attributes)


def check(model: onnx.ModelProto, expected: str, axis: int = 0) -> None:
    """Hold the type of the first input against `expected`; with N, compare three samples with single runs."""
    graph = import_onnx(model)
    value = graph.inputs[0]
    assert str(value.type) == expected
    stated = [dim.dim_value for dim in model.graph.input[0].type.tensor_type.shape.dim]
    sample = RNG.standard_normal(stated).astype(np.float32)
    assert_matches_onnxruntime(model, {"x": sample}, shapes={"x": tuple(stated)})
    if "N" in expected:
        samples = RNG.standard_normal([3 if i == axis else d for i, d in enumerate(stated)]).astype(
            np.float32
        )
        found = run_analog(graph, {"x": samples})
        for index in range(3):
            single = run_onnxruntime(model, {"x": samples.take([index], axis)})
            for name, array in single.items():
                np.testing.assert_allclose(found[name][index : index + 1], array, rtol=1e-4, atol=1e-5)


def model(nodes: list[onnx.NodeProto], shape: tuple[int, ...], **constants: Array) -> onnx.ModelProto:
    return onnx_model(nodes, {"x": shape}, ["y"], constants)


class TestConstantsThatMeanTheBatch:
    @pytest.mark.parametrize(
        "target", [[1, 24], [1, -1], [-1, 24], [0, 24], [0, -1], [1, 4, 6], [1, 2, 3, 4]]
    )
    def test_reshape(self, target: list[int]) -> None:
        nodes = [node("Relu", "x", "a"), node("Reshape", "a t", "y")]
        check(model(nodes, (1, 2, 12), t=np.array(target)), "tensor<f32, N x 2 x 12>")

    def test_heads_are_split_from_and_merged_with_the_batch(self) -> None:
        nodes = [
            node("Reshape", "x split", "a"),  # N, 5, 8 -> N, 5, 2, 4
            node("Transpose", "a", "b", perm=[0, 2, 1, 3]),
            node("Reshape", "b merged", "c"),  # 2N, 5, 4
            node("Softmax", "c", "d", axis=-1),
            node("Reshape", "d apart", "e"),  # N, 2, 5, 4
            node("Transpose", "e", "f", perm=[0, 2, 1, 3]),
            node("Reshape", "f back", "y"),
        ]
        targets = {"split": [1, 5, 2, 4], "merged": [2, 5, 4], "apart": [1, 2, 5, 4], "back": [1, 5, 8]}
        constants = {name: np.array(target) for name, target in targets.items()}
        check(model(nodes, (1, 5, 8), **constants), "tensor<f32, N x 5 x 8>")

    def test_a_class_token_is_repeated(self) -> None:
        nodes = [node("Concat", "token x", "a", axis=1), node("Relu", "a", "y")]
        token = RNG.standard_normal((1, 1, 4)).astype(np.float32)
        check(model(nodes, (1, 3, 4), token=token), "tensor<f32, N x 3 x 4>")

    def test_expand(self) -> None:
        nodes = [node("Unsqueeze", "x two", "a"), node("Expand", "a s", "y")]
        constants = {"two": np.array([2]), "s": np.array([1, 3, 5])}
        check(model(nodes, (1, 3), **constants), "tensor<f32, N x 3>")

    def test_resize_by_sizes(self) -> None:
        resize = helper.make_node("Resize", ["x", "", "", "s"], ["y"], mode="nearest")
        check(model([resize], (1, 2, 3, 3), s=np.array([1, 2, 6, 6])), "tensor<f32, N x 2 x 3 x 3>")

    def test_tokens_first(self) -> None:
        nodes = [
            node("Reshape", "x flat", "a"),  # 5, N, 4 -> 5N, 4
            node("MatMul", "a w", "b"),
            node("Reshape", "b apart", "c"),  # 5, N, 4
            node("Softmax", "c", "d", axis=0),
            node("Transpose", "d", "y", perm=[1, 0, 2]),
        ]
        constants = {"flat": np.array([5, 4]), "apart": np.array([5, 1, 4]), "w": np.eye(4, dtype=np.float32)}
        check(model(nodes, (5, 1, 4), **constants), "tensor<f32, 5 x N x 4>", axis=1)

    def test_a_batch_of_several(self) -> None:
        nodes = [node("Reshape", "x t", "a"), node("Softmax", "a", "y")]
        graph = import_onnx(model(nodes, (4, 2, 3), t=np.array([4, 6])))
        assert [str(n.result.type) for n in graph] == ["tensor<f32, N x 6>", "tensor<f32, N x 6>"]


class TestModelsThatKeepTheirBatch:
    def test_a_sum_over_the_batch(self) -> None:
        check(model([node("ReduceSum", "x zero", "y")], (1, 3), zero=np.array([0])), "tensor<f32, 1 x 3>")

    def test_a_result_without_a_batch(self) -> None:
        check(model([node("Squeeze", "x zero", "y")], (1, 3), zero=np.array([0])), "tensor<f32, 1 x 3>")

    def test_samples_that_meet(self) -> None:
        # Transposed onto itself, every sample meets every other; with one sample nothing shows it.
        nodes = [node("Transpose", "x", "t", perm=[1, 0]), node("MatMul", "x t", "y")]
        check(model(nodes, (1, 3)), "tensor<f32, 1 x 3>")

    def test_a_batch_of_several_whose_samples_meet(self) -> None:
        nodes = [node("ReduceMean", "x", "m", axes=[0], keepdims=1), node("Sub", "x m", "y")]
        check(model(nodes, (4, 3)), "tensor<f32, 4 x 3>")

    def test_a_user_who_insists_is_told_why_not(self) -> None:
        refused = model([node("Squeeze", "x zero", "y")], (1, 3), zero=np.array([0]))
        with pytest.raises(UnsupportedOpError, match="Squeeze_y"):
            import_onnx(refused, shapes={"x": ("N", 3)})

"""The walk over the nodes: names, folding, outputs, and the fate of every node."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from snnc.frontend import import_onnx
from snnc.frontend.importer import import_model
from snnc.frontend.walk import Fate
from snnc.ir.errors import ModelError, ShapeError, UnsupportedOpError
from tests.harness import assert_matches_onnxruntime, onnx_model, run_analog

if TYPE_CHECKING:
    from pathlib import Path

X = np.linspace(-1, 1, 6, dtype=np.float32).reshape(2, 3)
LSTM = {"hidden_size": 3}


def node(op_type: str, inputs: str, outputs: str, name: str = "", **attributes: Any) -> onnx.NodeProto:
    return helper.make_node(op_type, inputs.split(), outputs.split(), name or None, **attributes)


def fates(model: onnx.ModelProto) -> list[tuple[str, Fate]]:
    return [(fate.name, fate.fate) for fate in import_model(model).fates]


class TestNames:
    def test_values_have_the_names_of_their_tensors_and_nodes_their_origin(self) -> None:
        nodes = [node("Relu", "x", "a", "first"), node("Sigmoid", "a", "y")]
        graph = import_onnx(onnx_model(nodes, {"x": ("N", 3)}, ["y"]))
        assert [(n.op.name, n.result.name, n.origin) for n in graph] == [
            ("relu", "a", ("first",)),
            ("sigmoid", "y", ("Sigmoid_y",)),
        ]
        assert [output.name for output in graph.outputs] == ["y"]

    def test_nodes_of_the_same_name_are_told_apart(self) -> None:
        nodes = [node("Relu", "x", "a", "act"), node("Tanh", "a", "b", "act"), node("Exp", "b", "y", "act")]
        model = onnx_model(nodes, {"x": ("N", 3)}, ["y"])
        assert [name for name, _ in fates(model)] == ["act", "act.2", "act.3"]


class TestOutputs:
    def test_an_input_may_be_an_output(self) -> None:
        model = onnx_model([node("Identity", "x", "y")], {"x": ("N", 3)}, ["y"])
        graph = assert_matches_onnxruntime(model, {"x": X})
        assert len(graph) == 0

    def test_a_constant_may_be_an_output(self) -> None:
        nodes = [node("Relu", "x", "y"), node("Add", "c c", "z")]
        model = onnx_model(nodes, {"x": ("N", 3)}, ["y", "z"], {"c": np.ones(2, np.float32)})
        assert_matches_onnxruntime(model, {"x": X})

    def test_a_weight_may_be_an_output(self) -> None:
        outputs = [helper.make_tensor_value_info(name, TensorProto.FLOAT, None) for name in ("y", "c")]
        model = onnx_model([node("Relu", "x", "y")], {"x": ("N", 3)}, outputs, {"c": np.ones(2, np.float32)})
        assert_matches_onnxruntime(model, {"x": X})

    def test_one_tensor_may_be_two_outputs(self) -> None:
        nodes = [node("Relu", "x", "y"), node("Identity", "y", "z")]
        assert_matches_onnxruntime(onnx_model(nodes, {"x": ("N", 3)}, ["y", "z"]), {"x": X})

    def test_a_shape_with_the_batch_is_no_output(self) -> None:
        model = onnx_model([node("Shape", "x", "y")], {"x": ("N", 3)}, ["y"])
        with pytest.raises(ShapeError, match="output 'y' is a shape that depends on the batch size"):
            import_onnx(model)


class TestFolding:
    def test_shape_computations_leave_nothing(self) -> None:
        nodes = [
            node("Shape", "x", "shape"),
            node("Gather", "shape zero", "batch", axis=0),
            node("Unsqueeze", "batch axis", "lead"),
            node("Concat", "lead rest", "target", axis=0),
            node("Reshape", "x target", "y"),
        ]
        constants = {
            "zero": np.array(0),
            "axis": np.array([0]),
            "rest": np.array([3, 4]),
        }
        model = onnx_model(nodes, {"x": ("N", 12)}, ["y"], constants)
        graph = assert_matches_onnxruntime(model, {"x": np.zeros((5, 12), np.float32)})
        assert [str(n.result.type) for n in graph] == ["tensor<f32, N x 3 x 4>"]
        assert graph.tensors == {}

    def test_unused_nodes_are_skipped_whatever_they_are(self) -> None:
        nodes = [node("Relu", "x", "y"), node("NotAnOperator", "x", "z"), node("Exp", "z", "w")]
        model = onnx_model(nodes, {"x": ("N", 3)}, ["y"])
        assert fates(model) == [
            ("Relu_y", Fate.IMPORTED),
            ("NotAnOperator_z", Fate.UNUSED),
            ("Exp_w", Fate.UNUSED),
        ]
        assert len(import_onnx(model)) == 1


class TestRejection:
    def model(self) -> onnx.ModelProto:
        nodes = [
            node("LSTM", "x w r", "a", "memory", **LSTM),
            node("Relu", "a", "b", "after"),
            node("Relu", "x", "c", "beside"),
            node("Rellu", "c", "d", "typo"),
            node("Add", "b d", "e", "join"),
            node("Einsum", "e", "y", "sum", equation="abc->ab"),
        ]
        weights = {"w": np.zeros((1, 12, 3), np.float32), "r": np.zeros((1, 12, 3), np.float32)}
        return onnx_model(nodes, {"x": (4, "N", 3)}, ["y"], weights)

    def test_all_rejected_nodes_are_listed_at_once(self, tmp_path: Path) -> None:
        path = tmp_path / "model.onnx"
        onnx.save(self.model(), path)
        with pytest.raises(UnsupportedOpError) as refusal:
            import_onnx(path)
        text = str(refusal.value)
        assert text.splitlines()[0].endswith("nodes cannot be compiled:")
        assert '- node "memory" (LSTM): operator LSTM is not supported (help: recurrent layers' in text
        assert '- node "typo" (Rellu): operator Rellu is not supported (help: did you mean ' in text
        assert "after" not in text
        assert "join" not in text
        assert refusal.value.where == str(path)

    def test_nodes_behind_a_rejected_one_are_not_its_fault(self) -> None:
        found = dict(fates(self.model()))
        assert found["memory"] is found["typo"] is Fate.REJECTED
        assert found["after"] is found["join"] is Fate.BLOCKED
        assert found["beside"] is Fate.IMPORTED

    @pytest.mark.parametrize(
        "op_type",
        ["Loop", "Scan", "GRU", "RNN", "SequenceAt", "OptionalGetElement", "StringConcat", "TfIdfVectorizer"],
    )
    def test_operators_that_are_no_network(self, op_type: str) -> None:
        model = onnx_model([node("Relu", "x", "a"), node("Relu", "a", "y", "n")], {"x": ("N", 3)}, ["y"])
        model.graph.node[1].op_type = op_type
        with pytest.raises(UnsupportedOpError, match=f'node "n" \\({op_type}\\): operator {op_type} is not'):
            import_onnx(model)

    def test_control_flow_and_what_it_captures(self) -> None:
        branch = helper.make_graph(
            [node("Neg", "captured", "z")], "branch", [], [helper.make_empty_tensor_value_info("z")]
        )
        nodes = [
            node("Relu", "x", "captured"),
            node("If", "condition", "y", "choice", then_branch=branch, else_branch=branch),
        ]
        inputs: dict[str, Any] = {"x": ("N", 3), "condition": (TensorProto.BOOL, ())}
        model = onnx_model(nodes, inputs, ["y"])
        assert fates(model) == [("Relu_captured", Fate.IMPORTED), ("choice", Fate.REJECTED)]
        with pytest.raises(UnsupportedOpError, match="control flow cannot become a network"):
            import_onnx(model)

    def test_shapes_that_do_not_fit(self) -> None:
        nodes = [node("Relu", "x", "r"), node("MatMul", "r w", "y", "wrong")]
        model = onnx_model(nodes, {"x": ("N", 3)}, [], {"w": np.ones((4, 2), np.float32)})
        model.graph.output.append(helper.make_empty_tensor_value_info("y"))
        with pytest.raises(UnsupportedOpError, match=r'node "wrong" \(MatMul\): .*N x 3'):
            import_onnx(model)

    @pytest.mark.parametrize(
        ("broken", "reason"),
        [
            (node("Relu", "x", "y", "n", slope=1.0), "not a valid ONNX node: .*slope"),
            (node("Relu", "x x", "y", "n"), "not a valid ONNX node"),
            (node("Transpose", "x", "y", "n", perm=[0, 5]), "perm"),
        ],
    )
    def test_nodes_that_are_not_valid(self, broken: onnx.NodeProto, reason: str) -> None:
        model = onnx_model([node("Exp", "a", "x")], {"a": ("N", 3)}, ["x"])
        model.graph.node.append(broken)
        model.graph.output[0].CopyFrom(helper.make_empty_tensor_value_info("y"))
        with pytest.raises(UnsupportedOpError, match=f'node "n" .*{reason}'):
            import_onnx(model)


class TestStructure:
    def test_a_tensor_given_twice(self) -> None:
        model = onnx_model([node("Relu", "x", "y")], {"x": ("N", 3)}, ["y"])
        model.graph.node.append(node("Exp", "x", "y"))
        with pytest.raises(ModelError, match="tensor 'y' is given twice, the second time by a Exp node"):
            import_onnx(model)

    def test_a_tensor_that_nothing_gives(self) -> None:
        model = onnx_model([node("Relu", "x", "y")], {"x": ("N", 3)}, ["y"])
        model.graph.node[0].input[0] = "nowhere"
        with pytest.raises(ModelError, match="tensor 'nowhere' is read before anything gives it"):
            import_onnx(model)

    def test_a_node_that_reads_itself(self) -> None:
        model = onnx_model([node("Relu", "x", "y")], {"x": ("N", 3)}, ["y"])
        model.graph.node[0].input[0] = "y"
        with pytest.raises(ModelError, match="reads its own result 'y'"):
            import_onnx(model)

    def test_a_sparse_weight_is_rejected(self) -> None:
        model = onnx_model([node("MatMul", "x w", "y", "n")], {"x": ("N", 3)}, [])
        model.graph.output.append(helper.make_empty_tensor_value_info("y"))
        values = numpy_helper.from_array(np.ones(1, np.float32), "w")
        indices = numpy_helper.from_array(np.zeros(1, np.int64), "i")
        model.graph.sparse_initializer.append(helper.make_sparse_tensor(values, indices, [3, 2]))
        with pytest.raises(UnsupportedOpError, match="input 'w' is a sparse tensor"):
            import_onnx(model)


@pytest.mark.parametrize("opset", range(13, 24))
def test_every_opset(opset: int) -> None:
    """The same small network in every operator set that is understood."""
    split: dict[str, Any] = {"num_outputs": 2} if opset >= 18 else {}
    axes: dict[str, Any] = {} if opset >= 18 else {"axes": [2, 3]}
    rng = np.random.default_rng(0)
    nodes = [
        node("Conv", "x w b", "a", pads=[1, 1, 1, 1]),
        node("BatchNormalization", "a scale shift mean variance", "n"),
        node("Clip", "n low high", "c"),
        node("MaxPool", "c", "p", kernel_shape=[2, 2], strides=[2, 2]),
        node("Split", "p", "s1 s2", axis=1, **split),
        node("Mul", "s1 s2", "m"),
        node("ReduceMean", "m axes" if opset >= 18 else "m", "r", keepdims=0, **axes),
        node("Unsqueeze", "r first", "u"),
        node("Squeeze", "u first", "q"),
        node("Gemm", "q fc fb", "g", transB=1),
        node("Softmax", "g", "y", axis=-1),
    ]
    shapes = {
        "w": (4, 3, 3, 3),
        "b": (4,),
        "scale": (4,),
        "shift": (4,),
        "mean": (4,),
        "fc": (5, 2),
        "fb": (5,),
    }
    constants = {name: rng.standard_normal(shape).astype(np.float32) for name, shape in shapes.items()}
    constants |= {
        "variance": np.full(4, 0.5, np.float32),
        "low": np.array(-1, np.float32),
        "high": np.array(2, np.float32),
    }
    constants |= {"first": np.array([1])}
    constants |= {"axes": np.array([2, 3])} if opset >= 18 else {}
    model = onnx_model(nodes, {"x": ("N", 3, 6, 6)}, ["y"], constants, opset)
    graph = assert_matches_onnxruntime(model, {"x": rng.standard_normal((2, 3, 6, 6)).astype(np.float32)})
    assert run_analog(graph, {"x": np.zeros((3, 3, 6, 6), np.float32)})["y"].shape == (3, 5)

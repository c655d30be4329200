"""Reading model files: what is refused, and how; where weights may lie."""

from __future__ import annotations

import mmap
import re
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from snnc.frontend import import_onnx, load_onnx
from snnc.frontend.tensors import REPEATED, TensorReader
from snnc.frontend.walk import definition_known
from snnc.ir.errors import ModelError, UnsupportedOpError
from tests.harness import assert_matches_onnxruntime, onnx_model, run_analog

if TYPE_CHECKING:
    from snnc.ir.kernel_types import Array

WEIGHT = np.arange(12, dtype=np.float32).reshape(3, 4)
X = np.ones((2, 3), np.float32)
SMAPS = Path("/proc/self/smaps")


def dense(weight: Array | TensorProto = WEIGHT, opset: int = 17) -> onnx.ModelProto:
    """y = x w"""
    model = onnx_model(
        [helper.make_node("MatMul", ["x", "w"], ["y"], name="dense")],
        {"x": ("N", 3)},
        {"y": ("N", 4)},
        opset=opset,
    )
    tensor = weight if isinstance(weight, TensorProto) else numpy_helper.from_array(weight, "w")
    model.graph.initializer.append(tensor)
    return model


def external(location: str, **entries: int) -> onnx.ModelProto:
    """`dense` with its weight in another file."""
    tensor = TensorProto(name="w", dims=WEIGHT.shape, data_type=TensorProto.FLOAT)
    tensor.data_location = TensorProto.EXTERNAL
    for key, value in {"location": location, **entries}.items():
        tensor.external_data.add(key=key, value=str(value))
    return dense(tensor)


def saved(model: onnx.ModelProto, folder: Path) -> Path:
    path = folder / "model.onnx"
    path.write_bytes(model.SerializeToString())
    return path


def resident_bytes(path: Path) -> int:
    """Return how many bytes of a mapped file this process holds in memory."""
    found = re.findall(rf"{re.escape(str(path))}\n(?:\w+: .*\n)*?Rss: +(\d+) kB", SMAPS.read_text())
    return 1024 * sum(map(int, found))


class TestFilesThatAreNoModel:
    def test_missing(self, tmp_path: Path) -> None:
        with pytest.raises(ModelError, match=r"there is no such model file\n  --> .*nothing.onnx"):
            import_onnx(tmp_path / "nothing.onnx")

    def test_folder(self, tmp_path: Path) -> None:
        with pytest.raises(ModelError, match="a folder, not an ONNX file"):
            import_onnx(tmp_path)

    @pytest.mark.parametrize(
        ("content", "message"),
        [
            (b"", "the file is empty"),
            (b"hello, I am a text", "not an ONNX model, or it is truncated"),
            (bytes(range(256)), "not an ONNX model, or it is truncated"),
            (b"sir 1\ngraph @main() {}", "a .sir network"),
            (b"PK\x03\x04" + bytes(30), "a zip archive"),
            (onnx.ModelProto(ir_version=8).SerializeToString(), "has no graph"),
        ],
        ids=["empty", "text", "bytes", "sir", "zip", "no-graph"],
    )
    def test_content(self, tmp_path: Path, content: bytes, message: str) -> None:
        path = tmp_path / "model.onnx"
        path.write_bytes(content)
        with pytest.raises(ModelError, match=message) as refusal:
            import_onnx(path)
        assert refusal.value.where == str(path)

    def test_truncated(self, tmp_path: Path) -> None:
        path = saved(dense(), tmp_path)
        whole = path.read_bytes()
        for length in range(1, len(whole), 7):
            path.write_bytes(whole[:length])
            with pytest.raises(ModelError):
                import_onnx(path)

    def test_a_model_without_outputs(self) -> None:
        model = dense()
        del model.graph.output[:]
        with pytest.raises(ModelError, match="no outputs"):
            import_onnx(model)


class TestOperatorSets:
    def test_too_old(self) -> None:
        with pytest.raises(ModelError, match="opset 12; the oldest supported is 13\n  help: export it again"):
            import_onnx(dense(opset=12))

    def test_newer_than_the_onnx_package(self) -> None:
        model = dense()
        model.opset_import[0].version = 999
        with pytest.raises(ModelError, match="opset 999; the installed onnx package knows up to"):
            import_onnx(model)

    def test_none(self) -> None:
        model = dense()
        del model.opset_import[:]
        with pytest.raises(ModelError, match="does not say which ONNX operator set"):
            import_onnx(model)

    def test_a_newer_opset_is_taken_where_the_operator_did_not_change(self) -> None:
        model = dense()
        model.opset_import[0].version = onnx.defs.onnx_opset_version()
        assert len(import_onnx(model)) > 0

    def test_what_a_newer_opset_changed_is_known_by_its_interface(self) -> None:
        assert definition_known("Relu", 25)
        assert definition_known("Reshape", 25)  # more element types, same operands and attributes
        assert not definition_known("Attention", 24)  # one more operand

    def test_another_domain_is_rejected_by_node(self) -> None:
        model = dense()
        model.opset_import.append(helper.make_opsetid("com.example", 1))
        model.graph.node[0].domain = "com.example"
        with pytest.raises(
            UnsupportedOpError, match=r'node "dense" .*domain .com.example. are not supported'
        ):
            import_onnx(model)


class TestWeights:
    def test_the_weight_is_a_view_of_the_file(self) -> None:
        graph = import_onnx(dense())
        (weight,) = [array for array in graph.tensors.values() if array.size == WEIGHT.size]
        assert weight.base is not None
        assert not weight.flags.writeable

    @pytest.mark.parametrize("dims", [(3, 5), (2, 4), (-1, 4), (2**40, 2**40)])
    def test_the_shape_must_fit_the_data(self, dims: tuple[int, int]) -> None:
        model = dense()
        model.graph.initializer[0].dims[:] = dims
        with pytest.raises(ModelError, match=r"tensor 'w' (needs|has the shape)"):
            import_onnx(model)

    def test_the_shape_must_fit_a_list_of_numbers(self) -> None:
        model = dense(helper.make_tensor("w", TensorProto.FLOAT, (3, 4), WEIGHT.ravel()))
        assert_matches_onnxruntime(model, {"x": X})
        model.graph.initializer[0].dims[:] = (3, 5)
        with pytest.raises(ModelError, match="tensor 'w' needs 15 elements and has 12"):
            import_onnx(model)

    def test_not_a_number_and_infinity_are_refused_by_name(self) -> None:
        weight = WEIGHT.copy()
        weight[1, 1] = np.nan
        with pytest.raises(ModelError, match=r"not finite:\n  - tensor 'w' holds NaN"):
            import_onnx(dense(weight))
        weight[1, 1] = np.inf
        with pytest.raises(ModelError, match="tensor 'w' holds infinity"):
            import_onnx(dense(weight))

    def test_large_weights_are_finite_even_if_their_sum_is_not(self) -> None:
        assert import_onnx(dense(np.full((3, 4), 3e38, np.float32)))

    def test_an_attention_mask_may_hold_infinity(self) -> None:
        mask = np.array([[0.0, -np.inf, 0.0]], np.float32)
        nodes = [helper.make_node("Add", ["x", "mask"], ["a"]), helper.make_node("Softmax", ["a"], ["y"])]
        assert_matches_onnxruntime(onnx_model(nodes, {"x": ("N", 3)}, ["y"], {"mask": mask}), {"x": X})

    @pytest.mark.parametrize("dtype", [np.float16, np.float64])
    def test_other_precisions_become_f32(self, dtype: type) -> None:
        elem = helper.np_dtype_to_tensor_dtype(np.dtype(dtype))
        model = onnx_model(
            [helper.make_node("MatMul", ["x", "w"], ["y"])],
            {"x": (elem, ("N", 3))},
            {"y": (elem, ("N", 4))},
            {"w": WEIGHT.astype(dtype)},
        )
        graph = assert_matches_onnxruntime(model, {"x": X.astype(dtype)}, rtol=1e-3)
        assert [str(value.type) for value in graph.inputs] == ["tensor<f32, N x 3>"]

    def test_text_is_rejected_where_it_is_read(self) -> None:
        model = dense(TensorProto(name="w", dims=[1], data_type=TensorProto.STRING, string_data=[b"label"]))
        with pytest.raises(UnsupportedOpError, match=r'node "dense".*tensor .w. holds STRING elements'):
            import_onnx(model)

    def test_an_initialiser_that_shadows_an_input_is_a_weight(self) -> None:
        model = dense()
        model.graph.input.append(helper.make_tensor_value_info("w", TensorProto.FLOAT, WEIGHT.shape))
        graph = import_onnx(model)
        assert [value.name for value in graph.inputs] == ["x"]


class TestExternalData:
    @pytest.mark.parametrize(("limit", "kind"), [(0, mmap.mmap), (2**30, bytes)])
    def test_is_mapped_where_it_is_large(
        self, tmp_path: Path, limit: int, kind: type, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr("snnc.frontend.tensors.MAPPED", limit)
        (tmp_path / "weights.bin").write_bytes(bytes(64) + WEIGHT.tobytes())
        path = saved(external("weights.bin", offset=64, length=WEIGHT.nbytes), tmp_path)
        graph = import_onnx(path)
        np.testing.assert_allclose(run_analog(graph, {"x": X})["y"], X @ WEIGHT)
        (weight,) = graph.tensors.values()
        base: Any = weight
        while isinstance(base, np.ndarray):
            base = base.base
        assert isinstance(base.obj if isinstance(base, memoryview) else base, kind)

    @pytest.mark.skipif(not SMAPS.exists(), reason="only Linux tells which pages are in memory")
    def test_mapped_pages_leave_memory_with_the_last_view_of_their_tensor(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr("snnc.frontend.tensors.MAPPED", 0)
        path = tmp_path / "weights.bin"
        weights = np.arange(2**20, dtype=np.float32).reshape(2, -1)
        path.write_bytes(bytes(64) + weights.tobytes())
        reader, (tensor,) = TensorReader(tmp_path), external(path.name, offset=64).graph.initializer
        tensor.dims[:] = weights.shape[1:]
        one = reader.array(tensor)
        tensor.name, tensor.external_data[1].value = "w2", str(64 + weights[0].nbytes)
        other = reader.array(tensor)
        assert one.sum() + other.sum() > 0  # reads every page
        view = one[5:]
        del one
        assert resident_bytes(path) > 1.9 * weights[0].nbytes
        del view
        assert resident_bytes(path) < 1.1 * weights[0].nbytes
        np.testing.assert_array_equal(other, weights[1])

    def test_the_same_bytes_over_and_over_are_refused(self, tmp_path: Path) -> None:
        """Each of them would be copied: a model of kilobytes would fill the memory from one file."""
        (tmp_path / "weights.bin").write_bytes(WEIGHT.tobytes())
        reader = TensorReader(tmp_path)
        (tensor,) = external("weights.bin").graph.initializer
        for number in range(REPEATED):
            tensor.name = f"w{number}"
            reader.array(tensor)
            reader.array(tensor)  # read twice, it counts once
        tensor.name = "too many"
        with pytest.raises(ModelError, match=r"'too many' and others claim .* bytes of a file that has"):
            reader.array(tensor)

    def test_a_folder_below_the_models_is_allowed(self, tmp_path: Path) -> None:
        (tmp_path / "data").mkdir()
        (tmp_path / "data" / "weights.bin").write_bytes(WEIGHT.tobytes())
        assert import_onnx(saved(external("data/weights.bin"), tmp_path))

    def test_load_onnx_takes_it_in(self, tmp_path: Path) -> None:
        (tmp_path / "weights.bin").write_bytes(WEIGHT.tobytes())
        model = load_onnx(saved(external("weights.bin"), tmp_path))
        np.testing.assert_array_equal(numpy_helper.to_array(model.graph.initializer[0]), WEIGHT)
        assert_matches_onnxruntime(model, {"x": X})

    @pytest.mark.parametrize(
        ("location", "message"),
        [
            ("/etc/passwd", "is no relative path"),
            ("C:\\weights.bin", "is no relative path"),
            ("\\\\server\\share", "is no relative path"),
            ("", "is no relative path"),
            ("a\0b", "is no relative path"),
            ("../weights.bin", "leaves the model's folder"),
            ("sub/../../weights.bin", "leaves the model's folder"),
            ("..\\weights.bin", "leaves the model's folder"),
            ("link.bin", "is a link that leaves the model's folder"),
            ("linked/weights.bin", "is a link that leaves the model's folder"),
            ("nothing.bin", "is missing"),
            (".", "is missing"),
        ],
    )
    def test_hostile_places(self, tmp_path: Path, location: str, message: str) -> None:
        folder, outside = tmp_path / "model", tmp_path / "outside"
        folder.mkdir()
        outside.mkdir()
        for place in (outside / "weights.bin", tmp_path / "weights.bin"):
            place.write_bytes(WEIGHT.tobytes())
        (folder / "link.bin").symlink_to(outside / "weights.bin")
        (folder / "linked").symlink_to(outside)
        path = saved(external(location), folder)
        for read in (import_onnx, load_onnx):
            with pytest.raises(ModelError, match=message):
                read(path)

    @pytest.mark.parametrize(
        "entries",
        [
            {"offset": 8},
            {"length": 40},
            {"length": 2**50},
            {"offset": -8},
            {"offset": 2**62},
            {"offset": "x"},
        ],
    )
    def test_sizes_are_held_against_the_file(self, tmp_path: Path, entries: dict[str, int]) -> None:
        (tmp_path / "weights.bin").write_bytes(WEIGHT.tobytes())
        with pytest.raises(ModelError, match="tensor 'w'"):
            import_onnx(saved(external("weights.bin", **entries), tmp_path))

    def test_a_model_in_memory_has_no_folder(self) -> None:
        with pytest.raises(ModelError, match="cannot be found from a model in memory"):
            import_onnx(external("weights.bin"))


def test_local_functions_are_inlined() -> None:
    function = helper.make_function(
        "local",
        "Twice",
        ["a"],
        ["b"],
        [helper.make_node("Add", ["a", "a"], ["b"])],
        [helper.make_opsetid("", 17)],
    )
    graph = helper.make_graph(
        [helper.make_node("Twice", ["x"], ["y"], domain="local")],
        "main",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["N", 3])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, ["N", 3])],
    )
    opsets = [helper.make_opsetid("", 17), helper.make_opsetid("local", 1)]
    model = helper.make_model(graph, functions=[function], opset_imports=opsets, ir_version=10)
    np.testing.assert_array_equal(run_analog(import_onnx(model), {"x": X})["y"], 2 * X)

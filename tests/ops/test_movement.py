"""Reshaping, joining, cutting, padding and resizing against onnxruntime, with a symbolic batch."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from onnx import TensorProto, helper

from snnc.frontend import import_onnx
from snnc.ir.codebooks import Payload
from snnc.ir.errors import ShapeError, SnncError, UnsupportedOpError
from snnc.ir.ops import get_op
from snnc.ir.shapes import Batch
from snnc.ir.types import SpikeType, TensorType
from tests.harness import assert_matches_onnxruntime, onnx_model

N = Batch()
FAR = 2**63 - 1
SIZES = st.lists(st.integers(1, 4), min_size=1, max_size=3)


def ints(*values: int) -> Any:
    return np.array(values, np.int64)


def counting(*shape: int) -> Any:
    return np.arange(np.prod(shape), dtype=np.float32).reshape(shape) - 3


def one_node(op: str, shape: tuple[Any, ...], arrays: dict[str, Any], opset: int = 17, **given: Any) -> Any:
    """Build a model of one node that reads `x`; an array that is None is an absent input."""
    present = {name: array for name, array in arrays.items() if array is not None}
    names = ["x", *(name if name in present else "" for name in arrays)]
    while not names[-1]:
        names.pop()
    node = helper.make_node(op, names, ["y"], name="node", **given)
    return onnx_model([node], {"x": shape}, ["y"], present, opset)


def check(op: str, sizes: tuple[int, ...], arrays: dict[str, Any], opset: int = 17, **given: Any) -> Any:
    """Compare one node on [N, *sizes] with onnxruntime at two batch sizes; return the graph."""
    model = one_node(op, ("N", *sizes), arrays, opset, **given)
    for batch in (1, 3):
        graph = assert_matches_onnxruntime(model, {"x": counting(batch, *sizes)})
    return graph


def ops_of(graph: Any) -> list[str]:
    return [node.full_name for node in graph]


def refusal(model: Any, **keywords: Any) -> str:
    with pytest.raises(UnsupportedOpError) as caught:
        import_onnx(model, **keywords)
    return str(caught.value)


# Shape and order.


@pytest.mark.parametrize(
    ("sizes", "target", "result"),
    [
        ((8, 4), (-1, 32), (N, 32)),
        ((8, 4), (0, 32), (N, 32)),
        ((8, 4), (0, 0, 2, 2), (N, 8, 2, 2)),
        ((8, 4), (-1, 4), (Batch(8), 4)),
        ((8, 4), (0, 2, -1), (N, 2, 16)),
        ((1,), (-1,), (N,)),
        ((8,), (1, -1, 8), (1, N, 8)),
        ((8, 4), (0, -1), (N, 32)),
    ],
)
def test_reshape(sizes: tuple[int, ...], target: tuple[int, ...], result: Any) -> None:
    graph = check("Reshape", sizes, {"shape": ints(*target)})
    assert graph.outputs[0].value.type.shape == result


def test_reshape_back_from_merged_batch() -> None:
    nodes = [
        helper.make_node("Reshape", ["x", "merged"], ["m"]),
        helper.make_node("Reshape", ["m", "split"], ["y"]),
    ]
    model = onnx_model(nodes, {"x": ("N", 8, 4)}, ["y"], {"merged": ints(-1, 4), "split": ints(-1, 2, 4, 4)})
    graph = assert_matches_onnxruntime(model, {"x": counting(2, 8, 4)})
    assert graph.outputs[0].value.type.shape == (N, 2, 4, 4)


@pytest.mark.parametrize(
    ("sizes", "target"),
    [((8, 4), (1, -1, 4)), ((8, 4), (1, 8, 4)), ((8, 4), (2, -1)), ((8, 4), (4, 8, -1)), ((4,), (1, -1))],
)
def test_reshape_with_a_batch_built_in_is_refused(sizes: tuple[int, ...], target: tuple[int, ...]) -> None:
    message = refusal(one_node("Reshape", ("N", *sizes), {"shape": ints(*target)}))
    assert "the model has a fixed batch size built in" in message
    assert "export the model with a dynamic batch axis" in message


@pytest.mark.parametrize(
    ("sizes", "target", "reason"),
    [
        ((8, 4), (-1, -1), "leaves more than one axis open"),
        ((8, 4), (0, 0, 0, 0), "copies an axis"),
        ((8, 4), (-1, 3), "does not fit"),
    ],
)
def test_unfit_reshape_is_refused(sizes: tuple[int, ...], target: tuple[int, ...], reason: str) -> None:
    node = helper.make_node("Reshape", ["x", "shape"], ["y"])
    graph = helper.make_graph(
        [node],
        "test",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["N", *sizes])],
        [helper.make_empty_tensor_value_info("y")],
        [helper.make_tensor("shape", TensorProto.INT64, [len(target)], target)],
    )
    assert reason in refusal(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)]))


def test_reshape_allows_zero() -> None:
    arrays = {"empty": np.zeros((0, 3), np.float32), "shape": ints(3, 0)}
    nodes = [
        helper.make_node("Reshape", ["empty", "shape"], ["e"], allowzero=1),
        helper.make_node("Concat", ["x", "e"], ["y"], axis=1),
    ]
    assert_matches_onnxruntime(onnx_model(nodes, {"x": (3, 2)}, ["y"], arrays), {"x": counting(3, 2)})


@pytest.mark.parametrize(
    ("sizes", "axis"), [((2, 3, 4), 1), ((2, 3, 4), 2), ((2, 3), -1), ((), 1), ((2,), 2)]
)
def test_flatten(sizes: tuple[int, ...], axis: int) -> None:
    check("Flatten", sizes, {}, axis=axis)


@settings(max_examples=20, deadline=None)
@given(SIZES, st.data())
def test_transpose(sizes: list[int], data: st.DataObject) -> None:
    perm = data.draw(st.permutations(range(len(sizes) + 1)))
    check("Transpose", tuple(sizes), {}, perm=perm)


def test_transpose_reverses_by_default() -> None:
    check("Transpose", (2, 3), {})


@pytest.mark.parametrize("axes", [(1,), (-1,), (1, -1)])
def test_squeeze(axes: tuple[int, ...]) -> None:
    check("Squeeze", (1, 3, 1), {"axes": ints(*axes)})


def test_squeeze_without_axes_keeps_the_batch() -> None:
    model = one_node("Squeeze", ("N", 1, 3, 1), {})
    graph = assert_matches_onnxruntime(model, {"x": counting(2, 1, 3, 1)})
    assert graph.outputs[0].value.type.shape == (N, 3)


@pytest.mark.parametrize("axes", [(0,), (-1,), (1, 4), (3, 1)])
def test_unsqueeze(axes: tuple[int, ...]) -> None:
    check("Unsqueeze", (3, 2), {"axes": ints(*axes)})


@pytest.mark.parametrize(
    ("sizes", "target"), [((1, 4), (1, 1, 4)), ((1, 4), (3, 1)), ((1, 4), (1,)), ((3, 1), (2, 1, 3, 4))]
)
def test_expand(sizes: tuple[int, ...], target: tuple[int, ...]) -> None:
    check("Expand", sizes, {"shape": ints(*target)})


@pytest.mark.parametrize("repeats", [(1, 2, 3), (1, 1, 1), (2, 1, 1)])
def test_tile(repeats: tuple[int, ...]) -> None:
    check("Tile", (2, 3), {"repeats": ints(*repeats)})


# Joining and cutting.


@settings(max_examples=20, deadline=None)
@given(SIZES, st.lists(st.integers(1, 3), min_size=1, max_size=3), st.data())
def test_concat(sizes: list[int], parts: list[int], data: st.DataObject) -> None:
    axis = data.draw(st.integers(-len(sizes), len(sizes)).filter(lambda axis: axis != 0))
    names = [f"x{index}" for index in range(len(parts))]
    shapes: dict[str, Any] = {}
    for name, part in zip(names, parts, strict=True):
        shape = [2, *sizes]
        shape[axis] = part
        assume(shape[0] == 2)
        shapes[name] = tuple(shape)
    node = helper.make_node("Concat", names, ["y"], axis=axis)
    model = onnx_model([node], {name: ("N", *shape[1:]) for name, shape in shapes.items()}, ["y"])
    assert_matches_onnxruntime(model, {name: counting(*shape) for name, shape in shapes.items()})


def test_concat_along_the_batch_adds_batches() -> None:
    model = onnx_model([helper.make_node("Concat", ["x", "x"], ["y"], axis=0)], {"x": ("N", 3)}, ["y"])
    graph = assert_matches_onnxruntime(model, {"x": counting(2, 3)})
    assert graph.outputs[0].value.type.shape == (Batch(2), 3)


BOUNDS = st.one_of(st.integers(-7, 7), st.sampled_from([FAR, -FAR, 2**31 - 1]))


STEPS = st.sampled_from([1, 2, 3, -1, -2, FAR])


@settings(max_examples=40, deadline=None)
@given(st.tuples(st.integers(1, 5), st.integers(1, 5)), st.tuples(BOUNDS, BOUNDS, STEPS), st.booleans())
def test_slice(sizes: tuple[int, int], window: tuple[int, int, int], both: bool) -> None:
    start, end, step = window
    arrays = {"starts": ints(start, 0), "ends": ints(end, FAR), "axes": ints(-1, 1), "steps": ints(step, 1)}
    if not both:
        arrays = {name: array[:1] for name, array in arrays.items()}
    check("Slice", sizes, arrays)


def test_slice_of_the_whole_batch_leaves_nothing() -> None:
    graph = check("Slice", (3,), {"starts": ints(0, 1), "ends": ints(FAR, FAR)})
    assert ops_of(graph) == ["slice"]


def test_slice_of_samples_is_refused() -> None:
    message = refusal(one_node("Slice", ("N", 3), {"starts": ints(0), "ends": ints(1), "axes": ints(0)}))
    assert "0:1:1 of axis 0 (N), which depends on the batch size" in message


@pytest.mark.parametrize(
    ("opset", "parts", "given"),
    [(13, (1, 4), {}), (17, None, {}), (18, None, {"num_outputs": 2}), (18, (2, 3), {}), (23, (5, 0), {})],
)
def test_split(opset: int, parts: tuple[int, ...] | None, given: dict[str, Any]) -> None:
    width = 6 if opset == 17 else 5
    arrays = {} if parts is None else {"parts": ints(*parts)}
    node = helper.make_node("Split", ["x", *arrays], ["a", "b"], axis=-1, **given)
    model = onnx_model([node], {"x": ("N", 2, width)}, ["a", "b"], arrays, opset)
    assert_matches_onnxruntime(model, {"x": counting(3, 2, width)})


@pytest.mark.parametrize("indices", [np.array(1), np.array([-1, 0]), np.array([[0, 2], [1, -3]], np.int32)])
@pytest.mark.parametrize("axis", [1, -1])
def test_gather(indices: Any, axis: int) -> None:
    graph = check("Gather", (3, 4), {"indices": indices}, axis=axis)
    assert ops_of(graph) == ["gather"]


def test_gather_of_a_sample_is_refused() -> None:
    message = refusal(one_node("Gather", ("N", 3), {"indices": np.array(0)}))
    assert "it picks samples: axis 0 is the batch" in message


@pytest.mark.parametrize("dtype", [np.int32, np.int64])
def test_embedding(dtype: Any) -> None:
    ids = (helper.np_dtype_to_tensor_dtype(np.dtype(dtype)), ("N", 5))
    node = helper.make_node("Gather", ["table", "x"], ["y"])
    model = onnx_model([node], {"x": ids}, ["y"], {"table": counting(7, 3)})
    graph = assert_matches_onnxruntime(model, {"x": np.array([[0, 6, 1, 1, 2], [3, 4, 5, 6, 0]], dtype)})
    assert ops_of(graph) == ["embedding"]


@pytest.mark.parametrize(
    ("op", "indices", "width"), [("ScatterElements", [[1, 0], [2, 3]], 2), ("ScatterND", [[1], [3]], 3)]
)
def test_scattering_over_constants_folds(op: str, indices: list[list[int]], width: int) -> None:
    arrays = {"d": counting(4, 3), "i": np.array(indices), "u": -counting(2, width)}
    nodes = [helper.make_node(op, ["d", "i", "u"], ["s"]), helper.make_node("Add", ["x", "s"], ["y"])]
    model = onnx_model(nodes, {"x": ("N", 4, 3)}, ["y"], arrays)
    graph = assert_matches_onnxruntime(model, {"x": counting(2, 4, 3)})
    assert ops_of(graph) == ["constant", "add"]


@pytest.mark.parametrize(
    ("op", "arrays", "reason"),
    [
        ("ScatterND", {"i": np.zeros((1, 1), np.int64), "u": counting(1, 3)}, "overwrites single elements"),
        ("ScatterElements", {"i": np.zeros((1, 1), np.int64), "u": counting(1, 1)}, "overwrites single"),
        ("OneHot", {"depth": np.array(3), "values": counting(2)}, "one-hot"),
    ],
)
def test_element_access_is_refused(op: str, arrays: dict[str, Any], reason: str) -> None:
    told = refusal(one_node(op, (2, 3), arrays))
    assert f'node "node" ({op})' in told
    assert reason in told


# Borders.

PADS = st.lists(st.integers(-1, 2), min_size=4, max_size=4)
MODES = st.sampled_from(["constant", "reflect", "edge", "wrap"])
VALUES = st.sampled_from([None, 0.0, -1.5])


@settings(max_examples=40, deadline=None)
@given(st.tuples(st.integers(3, 6), st.integers(3, 6)), PADS, MODES, VALUES, st.booleans())
def test_pad(sizes: tuple[int, int], pads: list[int], mode: str, value: float | None, partial: bool) -> None:
    assume(mode != "wrap" or min(pads) >= 0)
    # What is left after cropping must be longer than its reflection.
    assume(mode != "reflect" or all(min(sizes) + min(pads[i::2]) > max(pads[i::2]) for i in (0, 1)))
    arrays: dict[str, Any] = {"pads": ints(0, *pads[:2], 0, *pads[2:])}
    arrays["value"] = None if value is None else np.array(value, np.float32)
    if partial:
        arrays |= {"pads": ints(*pads), "axes": ints(1, -1)}
    check("Pad", sizes, arrays, 19, mode=mode)


@pytest.mark.parametrize(
    ("mode", "value", "payload"),
    [("constant", 0.0, Payload(0, 3)), ("constant", 1.0, None), ("edge", 0.0, Payload(1, 3))],
)
def test_pad_payload(mode: str, value: float, payload: Payload | None) -> None:
    attributes = {"pads": (0, 1, 0, 1), "mode": mode, "value": value}
    result = get_op("pad").infer_type([SpikeType(Payload(1, 3), (N, 4))], attributes)
    assert getattr(result, "payload", None) == payload


# Resizing.

INTERPOLATIONS = st.sampled_from(["nearest", "linear", "cubic"])
COORDINATES = st.sampled_from(["half_pixel", "pytorch_half_pixel", "asymmetric", "align_corners"])
ROUNDINGS = st.sampled_from(["round_prefer_floor", "round_prefer_ceil", "floor", "ceil"])


@settings(max_examples=40, deadline=None)
@given(st.tuples(st.integers(1, 5), st.integers(1, 5)), st.tuples(st.integers(1, 9), st.integers(1, 9)),
       INTERPOLATIONS, COORDINATES, ROUNDINGS)  # fmt: skip
def test_resize_to_sizes(
    before: tuple[int, int], after: tuple[int, int], mode: str, coordinate: str, rounding: str
) -> None:
    given: dict[str, Any] = {
        "mode": mode,
        "coordinate_transformation_mode": coordinate,
        "nearest_mode": rounding,
    }
    model = one_node(
        "Resize", (2, 1, *before), {"roi": None, "scales": None, "sizes": ints(2, 1, *after)}, **given
    )
    assert_matches_onnxruntime(model, {"x": counting(2, 1, *before)}, atol=1e-5)


@settings(max_examples=30, deadline=None)
@given(st.tuples(st.integers(1, 5), st.integers(1, 5)), st.lists(st.sampled_from([0.6, 1.0, 1.5, 2.0, 2.7]),
       min_size=2, max_size=2), INTERPOLATIONS, COORDINATES, ROUNDINGS)  # fmt: skip
def test_resize_by_scales(
    before: tuple[int, int], scales: list[float], mode: str, coordinate: str, rounding: str
) -> None:
    assume(all(int(np.float32(size) * np.float32(s)) for size, s in zip(before, scales, strict=True)))
    given: dict[str, Any] = {
        "mode": mode,
        "coordinate_transformation_mode": coordinate,
        "nearest_mode": rounding,
    }
    model = one_node(
        "Resize", (2, 2, *before), {"roi": None, "scales": np.array([1, 1, *scales], np.float32)}, **given
    )
    parts = [(size * scale) % 1 for size, scale in zip(before, scales, strict=True)]
    if coordinate == "align_corners" and any(0.01 < part < 0.99 for part in parts):
        with pytest.raises(UnsupportedOpError, match="on which runtimes disagree"):
            import_onnx(model)
        return
    assert_matches_onnxruntime(model, {"x": counting(2, 2, *before)}, atol=1e-5)


def test_corners_are_aligned_where_only_the_scale_is_rounded() -> None:
    scales = np.array([1, 1, 4 / 3, 5 / 3], np.float32)
    given = {"mode": "linear", "coordinate_transformation_mode": "align_corners"}
    check("Resize", (2, 3, 3), {"roi": None, "scales": scales}, 18, **given)


def test_resize_of_some_axes() -> None:
    check("Resize", (2, 3, 4), {"roi": None, "scales": np.array([2, 2], np.float32)}, 18, axes=[2, 3])


@pytest.mark.parametrize(
    ("given", "reason"),
    [
        ({"mode": "cubic", "exclude_outside": 1}, "leaves out what is outside"),
        ({"mode": "sinc"}, "sinc interpolation"),
        ({"mode": "linear", "antialias": 1}, "filters against aliasing"),
        ({"coordinate_transformation_mode": "tf_crop_and_resize"}, "tf_crop_and_resize"),
    ],
)
def test_resize_refusals(given: dict[str, Any], reason: str) -> None:
    arrays = {"roi": None, "scales": np.array([1, 1, 2, 2], np.float32)}
    assert reason in refusal(one_node("Resize", ("N", 1, 4, 4), arrays, 18, **given))


def test_resize_payload() -> None:
    attributes = {"sizes": (N, 1, 4), "coordinate": "asymmetric", "nearest": "floor", "scales": None}
    spikes = SpikeType(Payload(0, 3), (N, 1, 2))
    op = get_op("resize")
    assert op.infer_type([spikes], {**attributes, "mode": "nearest"}) == spikes.with_shape((N, 1, 4))
    assert op.infer_type([spikes], {**attributes, "mode": "linear"}) == TensorType("f32", (N, 1, 4))


@pytest.mark.parametrize("mode", ["DCR", "CRD"])
def test_depth_to_space(mode: str) -> None:
    check("DepthToSpace", (12, 2, 3), {}, blocksize=2, mode=mode)


def test_space_to_depth() -> None:
    check("SpaceToDepth", (3, 4, 6), {}, blocksize=2)


# Types.


@pytest.mark.parametrize(
    ("op", "shapes", "attributes"),
    [
        ("reshape", [(N, 8)], {"shape": (N, 7)}),
        ("transpose", [(N, 8)], {"perm": (0, 0)}),
        ("expand", [(N, 8)], {"shape": (N, 7)}),
        ("tile", [(N, 8)], {"repeats": (1,)}),
        ("concat", [(N, 8), (N, 8, 1)], {"axis": 1}),
        ("concat", [(N, 8), (1, 8)], {"axis": 1}),
        ("concat", [(N, 8), (1, 8)], {"axis": 0}),
        ("slice", [(N, 8)], {"axes": (0,), "starts": (0,), "ends": (1,), "steps": (1,)}),
        ("slice", [(N, 8)], {"axes": (1,), "starts": (0,), "ends": (1,), "steps": (0,)}),
        ("gather", [(N, 8)], {"axis": 1, "indices": ints(8)}),
        ("gather", [(N, 8)], {"axis": 0, "indices": ints(0)}),
        ("embedding", [(N, 8)], {"table": counting(3, 2)}),
        ("pad", [(N, 8)], {"pads": (0, 8, 0, 0), "mode": "reflect", "value": 0.0}),
        ("pad", [(N, 8)], {"pads": (1, 0, 0, 0), "mode": "constant", "value": 0.0}),
        ("depth_to_space", [(N, 6, 2, 2)], {"block": 2, "mode": "DCR"}),
        ("space_to_depth", [(N, 6, 2, 3)], {"block": 2}),
    ],
)
def test_unfit_operands_are_refused(op: str, shapes: list[Any], attributes: dict[str, Any]) -> None:
    with pytest.raises(SnncError):
        get_op(op).infer_type([TensorType("f32", shape) for shape in shapes], attributes)


def test_expand_to_the_batch() -> None:
    op = get_op("expand")
    assert op.infer_type([TensorType("f32", (1, 4))], {"shape": (N, 4)}).shape == (N, 4)
    with pytest.raises(ShapeError):
        op.infer_type([TensorType("f32", (2, 4))], {"shape": (N, 4)})

"""One small graph per op and way of using it: what an emitter of the op table has to get right."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

from snnc.ir.graph import Graph
from snnc.ir.ops import get_op
from snnc.ir.shapes import Batch
from snnc.ir.types import DTYPES, TensorType

if TYPE_CHECKING:
    from collections.abc import Mapping

    from snnc.ir.kernel_types import Array
    from snnc.ir.shapes import Dim

N = Batch()


@dataclass(frozen=True)
class Case:
    """An op, the types of its operands (`f32 N x 3 x 8`), its attributes, the range inputs are drawn from."""

    op: str
    operands: tuple[str, ...]
    attributes: Mapping[str, Any] = field(default_factory=dict)
    within: tuple[float, float] = (-3.0, 3.0)

    def __str__(self) -> str:
        given = [f"{name}={_show(value)}" for name, value in self.attributes.items()]
        return "-".join([self.op, *self.operands, *given]).replace(" ", "")

    def graph(self) -> Graph:
        graph = Graph(self.op)
        operands = [graph.add_input(f"x{i}", parse_type(text)) for i, text in enumerate(self.operands)]
        attributes = {
            name: graph.add_tensor(name, value) if isinstance(value, np.ndarray) else value
            for name, value in self.attributes.items()
        }
        # An input of an op that takes none only says what the batch size is.
        read = operands if get_op(self.op).operands else []
        graph.add_output(graph.append(self.op, read, attributes), "y")
        return graph


def _show(value: Any) -> str:
    return str(value.shape) if isinstance(value, np.ndarray) else str(value)


def case(op: str, *operands: str, within: tuple[float, float] = (-3.0, 3.0), **attributes: Any) -> Case:
    return Case(op, operands, attributes, within)


def parse_type(text: str) -> TensorType:
    dtype, *dims = text.replace(" x ", " ").split()
    return TensorType(dtype, tuple(parse_dim(dim) for dim in dims))


def parse_dim(text: str) -> Dim:
    return Batch(int(text[:-1] or 1)) if text.endswith("N") else int(text)


def draw(graph: Graph, batch: int, within: tuple[float, float] = (-3.0, 3.0)) -> dict[str, Array]:
    """Draw inputs for a graph."""
    generator = np.random.default_rng(batch)
    arrays = {}
    for value in graph.inputs:
        shape = [dim.coefficient * batch if isinstance(dim, Batch) else dim for dim in value.type.shape]
        dtype = DTYPES[value.type.dtype]
        low, high = (0, 2) if dtype == np.bool_ else within
        drawn = generator.uniform(low, high, shape)
        arrays[value.name or ""] = (drawn if dtype.kind == "f" else np.floor(drawn)).astype(dtype)
    return arrays


def real(*shape: int, low: float = -1.0, high: float = 1.0) -> Array:
    """Return reproducible weights."""
    return np.random.default_rng(shape).uniform(low, high, shape).astype(np.float32)


SYNAPSES = (
    case("conv", "f32 N x 4 x 9", weight=real(6, 2, 3), group=2, pads=(1, 2), dilations=(2,)),
    case("conv", "f32 N x 3 x 8 x 9", weight=real(5, 3, 3, 3), bias=real(5), strides=(2, 1)),
    case("conv", "f32 N x 3 x 8 x 8", weight=real(20, 3, 3, 3), bias=real(20), pads=(1, 1, 1, 1)),
    case("conv", "f32 N x 2 x 4 x 5 x 6", weight=real(3, 2, 2, 3, 1), pads=(0, 1, 0, 1, 0, 0)),
    case("conv_transpose", "f32 N x 4 x 5", weight=real(4, 3, 3), bias=real(6), group=2, strides=(2,)),
    case(
        "conv_transpose",
        "f32 N x 3 x 4 x 5",
        weight=real(3, 2, 3, 2),
        strides=(2, 3),
        pads=(1, 0, 0, 1),
        output_padding=(1, 1),
    ),
    case("conv_transpose", "f32 N x 2 x 3 x 3 x 3", weight=real(2, 2, 2, 2, 2), dilations=(1, 2, 1)),
    case("linear", "f32 N x 7", weight=real(5, 7), bias=real(5)),
    case("linear", "f32 N x 7", weight=real(64, 7)),
    case("linear", "f32 N x 3 x 7", weight=real(5, 7), bias=real(5)),
    case("linear", "f32 12N x 3 x 7", weight=real(64, 7)),
    case("matmul", "f32 N x 2 x 3 x 4", "f32 N x 2 x 4 x 5"),
    case("matmul", "f32 N x 3 x 4", "f32 4 x 5"),
)

POOLS = (
    case("max_pool", "f32 N x 2 x 9", kernel=(3,), strides=(2,), pads=(1, 1)),
    case("max_pool", "f32 N x 2 x 8 x 8", kernel=(3, 2), strides=(2, 2), pads=(1, 0, 1, 0), ceil=True),
    case("max_pool", "f32 N x 2 x 8 x 8", kernel=(2, 2), dilations=(2, 3)),
    case("max_pool", "f32 N x 2 x 4 x 4 x 4", kernel=(2, 2, 2), strides=(2, 2, 2)),
    case("avg_pool", "f32 N x 2 x 9", kernel=(3,), strides=(2,), pads=(1, 1), count_include_pad=True),
    case("avg_pool", "f32 N x 2 x 8 x 8", kernel=(3, 3), strides=(2, 2), pads=(1, 1, 1, 1)),
    case("avg_pool", "f32 N x 2 x 8 x 8", kernel=(3, 3), strides=(2, 2), ceil=True),
    case("avg_pool", "f32 N x 2 x 8 x 8", kernel=(2, 2), dilations=(2, 1)),
    case("avg_pool", "f32 N x 2 x 4 x 4 x 4", kernel=(2, 2, 2), strides=(2, 2, 2)),
)

REDUCTIONS = (
    *(
        case(op, "f32 N x 3 x 4 x 5", axes=axes, keepdims=keepdims, within=(0.5, 2))
        for op in (
            "reduce_mean",
            "reduce_sum",
            "reduce_max",
            "reduce_min",
            "reduce_l1",
            "reduce_l2",
            "reduce_prod",
            "reduce_sum_square",
            "reduce_log_sum_exp",
            "reduce_log_sum",
        )
        for axes, keepdims in (((2, -1), False), ((1,), True))
    ),
    case("reduce_sum", "f32 3 x 4", axes=(), keepdims=False),
    case("cumsum", "f32 N x 5 x 3", axis=1),
    case("cumsum", "f32 N x 5 x 3", axis=-1, exclusive=True, reverse=True),
)

UNARY = (
    *(
        case(op, "f32 N x 3 x 40")
        for op in (
            "relu",
            "leaky_relu",
            "sigmoid",
            "hard_sigmoid",
            "hard_swish",
            "tanh",
            "erf",
            "gelu",
            "silu",
            "mish",
            "elu",
            "selu",
            "celu",
            "softplus",
            "softsign",
            "thresholded_relu",
            "exp",
            "neg",
            "abs",
            "floor",
            "ceil",
            "sign",
            "sin",
            "atan",
            "cos",
        )
    ),
    *(case(op, "f32 N x 50", within=(0.1, 5)) for op in ("log", "sqrt", "reciprocal")),
    case("round", "f32 N x 3 x 40", within=(-9, 9)),
    case("prelu", "f32 N x 3 x 4 x 4", slope=real(3, 1, 1)),
    case("leaky_relu", "f32 N x 40", alpha=0.2),
    case("thresholded_relu", "f32 N x 40", alpha=0.5),
    case("hard_sigmoid", "f32 N x 40", alpha=0.3, beta=0.4),
    case("elu", "f32 N x 40", alpha=0.7),
    case("celu", "f32 N x 40", alpha=0.7),
    case("selu", "f32 N x 40", alpha=1.5, gamma=1.1),
    case("gelu", "f32 N x 40", approximate="tanh"),
    case("clip", "f32 N x 40", low=0.0, high=2.0),
    case("clip", "f32 N x 40", low=-1.0),
    case("clip", "f32 N x 40", high=1.0),
    case("clip", "f32 N x 40"),
    case("cast", "f32 N x 40", to="i64"),
    case("cast", "i32 N x 40", to="f32"),
)

BINARY = (
    *(case(op, "f32 N x 3 x 4", "f32 N x 1 x 4") for op in ("add", "sub", "mul", "min", "max")),
    case("add", "i64 N x 3", "i64 3"),
    case("div", "f32 N x 3 x 4", "f32 3 x 1", within=(0.5, 2)),
    case("div", "i64 N x 9", "i64 N x 9", within=(1, 9)),
    case("pow", "f32 N x 3 x 4", "f32 N x 3 x 4", within=(0.5, 2)),
    case("mod", "i64 N x 9", "i64 9", within=(-9, 0)),
    case("mod", "f32 N x 30", "f32 N x 30"),
    case("mod", "f32 N x 30", "f32 N x 30", truncated=True),
    case("where", "bool N x 3 x 4", "f32 N x 1 x 4", "f32 N x 3 x 4"),
    case("select", "f32 N x 3 x 4", "f32 N x 1 x 4", "f32 4", within=(0, 1)),
)

LOGIC = (
    *(
        case(op, "i64 N x 30", "i64 N x 30")
        for op in ("equal", "less", "less_equal", "greater", "greater_equal")
    ),
    case("less", "f32 N x 30", "f32 30"),
    *(case(op, "bool N x 30", "bool N x 30") for op in ("logical_and", "logical_or", "logical_xor")),
    case("logical_not", "bool N x 30"),
    case("is_nan", "f32 N x 30"),
)

NORMALISATIONS = (
    case(
        "batch_norm",
        "f32 N x 5 x 4 x 4",
        gamma=real(5),
        beta=real(5),
        mean=real(5),
        variance=real(5, low=0.5, high=2),
        epsilon=1e-3,
    ),
    case("layer_norm", "f32 N x 3 x 8", gamma=real(8), beta=real(8)),
    case("layer_norm", "f32 N x 3 x 8", axis=-2, epsilon=1e-2),
    case("layer_norm", "f32 N x 3 x 8", gamma=real(1, 3, 8), beta=real(1)),
    case("rms_norm", "f32 N x 3 x 8", gamma=real(8)),
    case("rms_norm", "f32 N x 3 x 8", axis=1, epsilon=1e-2),
    case("group_norm", "f32 N x 6 x 4 x 5", groups=2, gamma=real(6), beta=real(6)),
    case("group_norm", "f32 N x 6 x 9", groups=6),
    case("group_norm", "f32 N x 6", groups=2, gamma=real(6)),
    case("softmax", "f32 N x 3 x 8"),
    case("softmax", "f32 N x 3 x 8", axis=1),
    case("log_softmax", "f32 N x 3 x 8"),
    case("lp_norm", "f32 N x 3 x 8", axis=1, p=1),
    case("lp_norm", "f32 N x 3 x 8", axis=-1, p=2),
)

MOVEMENT = (
    case("reshape", "f32 N x 12 x 4", shape=(Batch(12), 2, 2)),
    case("reshape", "f32 12N x 4", shape=(N, 3, 4, 4)),
    case("reshape", "f32 N x 12", shape=(3, N, 4)),
    case("transpose", "f32 N x 3 x 4", perm=(1, 2, 0)),
    case("concat", "f32 N x 3 x 4", "f32 N x 2 x 4", "f32 N x 1 x 4", axis=1),
    case("slice", "f32 N x 9 x 8", axes=(1, 2), starts=(8, 2), ends=(-(2**31), 7), steps=(-2, 3)),
    case("slice", "f32 N x 9 x 8", axes=(-1,), starts=(1,), ends=(2**31,), steps=(1,)),
    case("gather", "f32 N x 9 x 8", axis=1, indices=np.array([[3, -1], [0, 3]])),
    case("gather", "f32 N x 9 x 8", axis=1, indices=np.array(4)),
    case("gather", "f32 N x 9", axis=-1, indices=np.array([1, 8], np.uint8)),
    case("embedding", "i64 N x 6", table=real(11, 30), within=(0, 11)),
    case("expand", "f32 N x 1 x 4", shape=(N, 3, 4)),
    case("tile", "f32 N x 2 x 3", repeats=(1, 2, 3)),
    case("pad", "f32 N x 2 x 5 x 5", pads=(0, 0, 1, 2, 0, 0, 0, 1), value=1.5),
    case("pad", "i64 N x 2 x 5", pads=(0, 1, 2, 0, 0, 1), value=3.0),
    *(
        case("pad", "f32 N x 2 x 5 x 5", pads=(0, 0, 1, 2, 0, 0, 0, 1), mode=mode)
        for mode in ("reflect", "edge", "wrap")
    ),
    case("resize", "f32 N x 2 x 4 x 5", sizes=(N, 2, 8, 10), coordinate="asymmetric", nearest="floor"),
    case("resize", "f32 N x 2 x 4 x 5", sizes=(N, 2, 7, 3)),
    case("resize", "f32 N x 2 x 4 x 5", sizes=(N, 2, 7, 5), mode="linear", coordinate="align_corners"),
    case("resize", "f32 N x 2 x 4 x 5", sizes=(N, 2, 1, 9), mode="linear", coordinate="pytorch_half_pixel"),
    case(
        "resize",
        "f32 N x 2 x 4 x 5",
        sizes=(N, 2, 9, 11),
        mode="linear",
        scales=np.array([1, 1, 2.3, 2.3], np.float32),
    ),
    case("resize", "f32 N x 2 x 7", sizes=(N, 2, 4), mode="linear"),
    case("resize", "f32 N x 2 x 4 x 5", sizes=(N, 2, 9, 3), mode="cubic"),
    case(
        "resize", "f32 N x 2 x 4 x 5", sizes=(N, 2, 7, 5), mode="cubic", cubic=-0.5, coordinate="asymmetric"
    ),
    case("resize", "f32 N x 2 x 3 x 4 x 5", sizes=(N, 2, 4, 5, 6), mode="linear"),
    case("resize", "f32 N x 2 x 7", sizes=(N, 2, 7)),
    *(case("depth_to_space", "f32 N x 8 x 3 x 2", block=2, mode=mode) for mode in ("DCR", "CRD")),
    case("space_to_depth", "f32 N x 2 x 4 x 6", block=2),
)

INDEXING = (
    case("range", "i64 N x 3", size=(N,), step=5),
    case("range", "i64 N x 3", size=(Batch(2),), start=7, step=-1),
    case("range", "i64 N x 3", size=(4,)),
    case("take", "f32 N x 5 x 2", "i64 N x 3", axis=1, within=(-5, 5)),
    case("take", "bool N x 5", "i32 3 x 1", axis=-1, within=(-5, 5)),
    case("take", "f32 6N", "i64 N x 2", axis=0, within=(-6, 6)),
    case("gather_elements", "f32 N x 5 x 4", "i64 N x 7 x 3", axis=1, within=(-5, 5)),
    case("gather_elements", "i64 N x 5", "i32 N x 2", axis=-1, within=(-5, 5)),
    case("gather_nd", "f32 4 x 5 x 2", "i64 N x 3 x 2", within=(-4, 4)),
    case("gather_nd", "bool 4 x 5", "i64 N x 3 x 2", within=(-4, 4)),
    case("gather_nd", "f32 N x 3 x 4 x 2", "i64 N x 3 x 6 x 1", batch_dims=2, within=(-4, 4)),
)

SCALES = np.array([0.1, 0.2, 0.3], np.float32)

QUANTISATION = (
    case("quantise", "f32 N x 3 x 9", scale=np.array(0.07, np.float32), zero_point=np.array(3, np.int8)),
    case("quantise", "f32 N x 3 x 9", scale=SCALES, zero_point=np.array([0, 9, 99], np.uint8), axis=1),
    case("dequantise", "i8 N x 3 x 9", scale=SCALES, zero_point=np.array([0, 9, 99], np.int8), axis=1),
    case("dequantise", "i32 N x 3 x 9", scale=SCALES, axis=1),
    case("dequantise", "i16 N x 3 x 9", scale=SCALES, zero_point=np.array([0, 9, 99], np.int16), axis=-2),
    case("quantise", "f32 N x 3 x 9", scale=SCALES, zero_point=np.array([0, 9, 99], np.uint16), axis=1),
    case("quantise", "f32 N x 9", scale=SCALES[:1].reshape(1, 1), zero_point=np.array([[9]], np.int8)),
    case("quantise", "f32 N x 3 x 9", scale=SCALES[:1], zero_point=np.array([9], np.int16)),
    case("fake_quantise", "f32 N x 3 x 9", scale=SCALES.reshape(1, 3, 1), lo=-7, hi=7),
    case("fake_quantise", "f32 N x 3 x 9", scale=SCALES.reshape(1, 3, 1), lo=-3, hi=12, rounding="floor"),
)

CASES = (
    *SYNAPSES,
    *POOLS,
    *REDUCTIONS,
    *UNARY,
    *BINARY,
    *LOGIC,
    *NORMALISATIONS,
    *MOVEMENT,
    *INDEXING,
    *QUANTISATION,
)

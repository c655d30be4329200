"""Networks that carry quantisers convert exactly: onnxruntime's static quantisation, QCFS, integers."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import onnx
import pytest
from onnx import helper
from onnxruntime.quantization import CalibrationDataReader, QuantFormat, QuantType, quantize_static
from onnxruntime.quantization.shape_inference import quant_pre_process

from snnc.backends.reference import Simulator
from snnc.driver import Options, compile_model
from snnc.ir.codebooks import Binary, MultiSpike
from snnc.ir.errors import PassError
from snnc.methods import Settings
from tests.exactness import assert_exact_at_the_first_step, relative_errors, run_source
from tests.harness import onnx_model

if TYPE_CHECKING:
    from collections.abc import Iterator

    from snnc.ir.kernel_types import Array

DIGITS = Path(__file__).parents[1] / "examples" / "digits"


def images(name: str, count: int) -> tuple[Array, Array]:
    with np.load(DIGITS / name) as data:
        return data["x"][:count].astype(np.float32) / 16, data["y"][:count]


class Reader(CalibrationDataReader):  # type: ignore[misc]  # onnxruntime has no types
    """Hands calibration images to onnxruntime."""

    def __init__(self) -> None:
        x, _ = images("digits_calibration.npz", 128)
        self.batches: Iterator[dict[str, Array]] = iter([{"image": x[i : i + 32]} for i in range(0, 128, 32)])

    def get_next(self) -> dict[str, Array] | None:
        return next(self.batches, None)


@pytest.fixture(scope="module")
def statically_quantised(tmp_path_factory: pytest.TempPathFactory) -> Any:
    """Return a function that quantises an example network as onnxruntime's documentation shows."""
    folder = tmp_path_factory.mktemp("quantised")

    def quantise(name: str, activations: str, form: QuantFormat = QuantFormat.QDQ) -> Path:
        path: Path = folder / f"{name}_{activations}_{form}.onnx"
        if not path.exists():
            prepared = folder / "prepared.onnx"
            quant_pre_process(DIGITS / f"{name}.onnx", prepared, skip_symbolic_shape=True)
            quantize_static(
                prepared,
                path,
                Reader(),
                quant_format=form,
                per_channel=True,
                activation_type=getattr(QuantType, activations),
                weight_type=QuantType.QInt8,
            )
        return path

    return quantise


@pytest.mark.parametrize(
    ("name", "activations", "fewest"),
    # The average pool of the CNN makes quarters of levels: nearly every sample has a value right on an edge.
    [("digits_cnn", "QUInt8", 0.0), ("digits_cnn", "QInt8", 0.0), ("digits_vit", "QUInt8", 0.9)],
)
def test_static_quantisation_is_exact(
    statically_quantised: Any, name: str, activations: str, fewest: float
) -> None:
    x, _ = images("digits_test.npz", 64)
    graph = assert_exact_at_the_first_step(statically_quantised(name, activations), x, fewest=fewest)
    real = [node for node in graph if node.op.synaptic and any(v.type.is_real for v in node.operands)]
    assert real == []


@pytest.mark.parametrize("name", ["digits_cnn", "digits_vit"])
def test_operators_on_integers_are_exact(statically_quantised: Any, name: str) -> None:
    """QOperator format: QLinearConv, QLinearAdd, QGemm and their kind, and pools of the levels themselves.

    Where no value is on the edge between two levels, outputs are equal.
    """
    x, _ = images("digits_test.npz", 64)
    model = statically_quantised(name, "QUInt8", QuantFormat.QOperator)
    graph = compile_model(model, None, Options(method="pmsm")).graph
    assert not any(node.op.name in ("quantise", "dequantise") for node in graph)
    found, wanted = Simulator(graph).run(x, 1).outputs["logits"][0], run_source(model, [], x)["logits"]
    assert (relative_errors(found, wanted) <= 1e-5).mean() >= 0.9
    assert (found.argmax(1) == wanted.argmax(1)).all()


@pytest.mark.parametrize("reset", [None, "subtract"])
def test_more_steps_are_no_worse(reset: Literal["subtract"] | None, statically_quantised: Any) -> None:
    x, y = images("digits_test.npz", 600)
    options = Options(method="pmsm", settings=Settings(reset=reset))
    graph = compile_model(statically_quantised("digits_cnn", "QUInt8"), None, options).graph
    outputs = Simulator(graph).run(x, 4).outputs["logits"]
    right = [(decoded.argmax(1) == y).mean() for decoded in outputs]
    assert min(right[1:]) >= right[0]
    assert right[0] >= 0.99


# Integers, so that nothing rounds.


def quantiser(x: str, y: str, quantum: float, low: int, high: int) -> list[onnx.NodeProto]:
    """q clip(floor(x / q + 1/2), low, high)"""
    names = [f"{y}_{step}" for step in ("div", "add", "floor", "clip")]
    return [
        helper.make_node("Div", [x, f"{quantum}"], [names[0]]),
        helper.make_node("Add", [names[0], "0.5"], [names[1]]),
        helper.make_node("Floor", [names[1]], [names[2]]),
        helper.make_node("Clip", [names[2], f"{low}", f"{high}"], [names[3]]),
        helper.make_node("Mul", [names[3], f"{quantum}"], [y]),
    ]


def integer_network(random: np.random.Generator) -> onnx.ModelProto:
    """A residual CNN whose weights, biases and quanta are small multiples of powers of two."""

    def dyadic(*shape: int) -> Array:
        return random.integers(-8, 9, shape).astype(np.float32) / 8

    weights = {
        "w1": dyadic(4, 1, 3, 3), "b1": dyadic(4), "w2": dyadic(4, 4, 3, 3), "b2": dyadic(4),
        "w3": dyadic(10, 64), "b3": dyadic(10),
    }  # fmt: skip
    scalars = {
        text: np.array(float(text), np.float32) for text in ("0.5", "0.25", "2.0", "-7", "8", "0", "15")
    }
    conv = {"kernel_shape": [3, 3], "pads": [1, 1, 1, 1]}
    nodes = [
        helper.make_node("Conv", ["image", "w1", "b1"], ["c1"], **conv),
        *quantiser("c1", "q1", 0.5, -7, 8),
        helper.make_node("Conv", ["q1", "w2", "b2"], ["c2"], **conv),
        helper.make_node("Add", ["c2", "q1"], ["sum"]),
        *quantiser("sum", "q2", 0.25, 0, 15),
        helper.make_node("AveragePool", ["q2"], ["pool"], kernel_shape=[2, 2], strides=[2, 2]),
        *quantiser("pool", "q3", 0.5, 0, 15),
        helper.make_node("Flatten", ["q3"], ["flat"]),
        helper.make_node("Gemm", ["flat", "w3", "b3"], ["logits"], transB=1),
    ]
    return onnx_model(nodes, {"image": ("N", 1, 8, 8)}, ["logits"], {**weights, **scalars})


@pytest.mark.parametrize("seed", range(5))
def test_in_integer_arithmetic_the_answer_is_the_same_bit_by_bit(seed: int, tmp_path: Path) -> None:
    """Halves included: the average pool makes many."""
    random = np.random.default_rng(seed)
    path = tmp_path / "integers.onnx"
    onnx.save(integer_network(random), path)
    x = random.integers(0, 17, (16, 1, 8, 8)).astype(np.float32) / 16
    graph = assert_exact_at_the_first_step(path, x, fewest=1.0)
    found = Simulator(graph).run(x, 1).outputs["logits"][0]
    np.testing.assert_array_equal(found, run_source(path, [], x)["logits"])


# Methods.


def test_pmsm_refuses_a_network_without_quantisers() -> None:
    with pytest.raises(PassError, match="carries no quantiser") as caught:
        compile_model(DIGITS / "digits_cnn.onnx", None, Options(method="pmsm"))
    assert "multi-spike" in (caught.value.help or "")


def qcfs_network(levels: int) -> onnx.ModelProto:
    """Linear, θ clip(floor(clip(x / θ, 0, 1) L + 1/2) / L, 0, 1) as QCFS's code has it, linear."""
    random = np.random.default_rng(1)
    arrays = {
        "w1": random.standard_normal((32, 16)).astype(np.float32) / 4,
        "w2": random.standard_normal((4, 32)).astype(np.float32) / 4,
        "theta": np.float32(1.5), "L": np.float32(levels), "half": np.float32(0.5),
        "zero": np.float32(0), "one": np.float32(1),
    }  # fmt: skip
    steps = [
        ("Gemm", ["x", "w1"], "h"), ("Div", ["h", "theta"], "u"), ("Clip", ["u", "zero", "one"], "c"),
        ("Mul", ["c", "L"], "m"), ("Add", ["m", "half"], "a"), ("Floor", ["a"], "f"),
        ("Div", ["f", "L"], "d"), ("Mul", ["d", "theta"], "act"), ("Gemm", ["act", "w2"], "y"),
    ]  # fmt: skip
    nodes = [
        helper.make_node(op, inputs, [output], **({"transB": 1} if op == "Gemm" else {}))
        for op, inputs, output in steps
    ]
    return onnx_model(nodes, {"x": ("N", 16)}, ["y"], arrays)


@pytest.mark.parametrize("levels", [1, 4, 8])
def test_qcfs_meets_its_quantiser_after_as_many_steps_as_it_has_levels(levels: int, tmp_path: Path) -> None:
    """Constant input into one hidden layer: after T = L steps the spike count is the code itself."""
    path = tmp_path / "qcfs.onnx"
    onnx.save(qcfs_network(levels), path)
    x = np.random.default_rng(2).standard_normal((50, 16)).astype(np.float32)
    compilation = compile_model(path, None, Options(method="qcfs"))
    assert compilation.context.warnings == []
    (neuron,) = [node for node in compilation.graph if node.op.name == "neuron"]
    assert (neuron.attributes["codebook"], neuron.attributes["initial"]) == (Binary(), 0.5)
    found = Simulator(compilation.graph).run(x, levels).outputs["y"][-1]
    np.testing.assert_allclose(found, run_source(path, [], x)["y"], rtol=1e-4, atol=1e-5)


def test_qcfs_networks_are_exact_in_one_step_as_pmsm(tmp_path: Path) -> None:
    path = tmp_path / "qcfs.onnx"
    onnx.save(qcfs_network(8), path)
    x = np.random.default_rng(2).standard_normal((50, 16)).astype(np.float32)
    graph = assert_exact_at_the_first_step(path, x, fewest=0.98)
    (neuron,) = [node for node in graph if node.op.name == "neuron"]
    assert neuron.attributes["codebook"] == MultiSpike(0, 8, "floor")

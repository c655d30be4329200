"""`import snnc`: the compiler as a library."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

import snnc
from tests.archives import read_npz

if TYPE_CHECKING:
    from pathlib import Path


def test_every_public_name_is_there() -> None:
    for name in snnc.__all__:
        assert getattr(snnc, name) is not None
        assert name in dir(snnc)
    with pytest.raises(AttributeError, match="has no attribute 'compyle'"):
        snnc.compyle  # noqa: B018  # reading it is the test


def test_compile_save_load_run(digits: Path, tmp_path: Path) -> None:
    data = snnc.load_data(digits / "digits_calibration.npz", normalise=snnc.Normalise(1 / 16), limit=32)
    graph = snnc.compile(digits / "digits_cnn.onnx", data, levels=4, thresholds="max", steps=2)
    snnc.save(graph, tmp_path / "net.sir")
    loaded = snnc.load(tmp_path / "net.sir")
    assert loaded.meta["steps"] == 2
    assert loaded.meta["calibration"]["samples"] == 32
    x = read_npz(digits / "digits_test.npz")["x"][:6] / np.float32(16)
    outputs = snnc.Simulator(graph).run(x, steps=2).outputs["logits"]
    assert outputs.shape == (2, 6, 10)
    np.testing.assert_array_equal(snnc.Simulator(loaded).run(x, steps=2).outputs["logits"], outputs)
    snnc.save(loaded, tmp_path / "again.sir")
    assert (tmp_path / "again.sir").read_bytes() == (tmp_path / "net.sir").read_bytes()


def test_calibration_in_every_form(digits: Path, tmp_path: Path) -> None:
    model, x = digits / "digits_cnn.onnx", read_npz(digits / "digits_calibration.npz")["x"][:8]
    np.save(tmp_path / "x.npy", x)
    forms = (x, {"image": x}, tmp_path / "x.npy", str(tmp_path / "x.npy"), snnc.Dataset({"x": x}))
    graphs = [snnc.compile(model, form) for form in forms]
    for graph in graphs[1:]:
        for name, array in graphs[0].tensors.items():
            np.testing.assert_array_equal(graph.tensors[name], array)


def test_compile_without_data_warns(digits: Path) -> None:
    with pytest.warns(UserWarning, match="no calibration data"):
        snnc.compile(digits / "digits_cnn.onnx", method="if")


def test_evaluate(digits: Path) -> None:
    def data(limit: int) -> snnc.Dataset:
        return snnc.load_data(digits / "digits_test.npz", normalise=snnc.Normalise(1 / 16), limit=limit)

    graph = snnc.compile(digits / "digits_cnn.onnx", data(32))
    result = snnc.evaluate(graph, digits / "digits_cnn.onnx", data(50), steps=2)
    assert (result.samples, result.metric, len(result.steps)) == (50, "accuracy", 2)


def test_check(digits: Path) -> None:
    report = snnc.check(digits / "digits_vit.onnx")
    assert report.compiles
    assert report.coverage == 100


def test_refusals_are_built_in_errors_too(digits: Path) -> None:
    with pytest.raises(snnc.SnncError, match="there is no method"):
        snnc.compile(digits / "digits_cnn.onnx", method="magic")
    with pytest.raises(ValueError, match="there is no such model file"):
        snnc.compile(digits / "none.onnx")


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"steps": 0}, "cannot take 0 time steps"),
        ({"thresholds": "least"}, "thresholds cannot be 'least'"),
        ({"per": "layer"}, "per cannot be 'layer'"),
        ({"batch_norm": "bias"}, "batch_norm cannot be 'bias'"),
    ],
)
def test_options_out_of_range_are_refused_before_any_work(options: dict[str, Any], message: str) -> None:
    with pytest.raises(snnc.SnncError, match=message) as caught:
        snnc.compile("none.onnx", **options)
    assert caught.value.exit_code == 2


@pytest.mark.parametrize("calibration", [3, [1, 2], {"image": "x.npy"}, np.float32(1)])
def test_what_is_not_data_is_refused(digits: Path, calibration: Any) -> None:
    with pytest.raises(snnc.SnncError, match="give a numpy array of samples"):
        snnc.compile(digits / "digits_cnn.onnx", calibration)

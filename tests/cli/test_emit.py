"""`snnc emit` writes networks that run without snnc; `snnc run --backend onnx` runs them with it."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import onnx
import pytest
from onnx import TensorProto

import snnc as library
from tests.harness import run_onnxruntime

if TYPE_CHECKING:
    from pathlib import Path

    from conftest import Snnc


def test_emit_writes_a_model_that_runs_without_snnc(
    snnc: Snnc, digits: Path, compiled: Path, out: Path
) -> None:
    model = out / "snn.onnx"
    said = snnc("emit", compiled / "cnn.sir", "--backend", "onnx", "-o", model, "-T", "3").stdout
    assert said.startswith(f"{model}: 3 time steps, ONNX opset 20, ")
    onnx.checker.check_model(model, full_check=True)
    x = np.load(digits / "digits_test.npz")["x"][:20].astype(np.float32) / 16
    (found,) = run_onnxruntime(onnx.load(model), {"image": x}).values()
    (wanted,) = library.Simulator(library.load(compiled / "cnn.sir")).run(x, 3).outputs.values()
    assert found.shape == (3, 20, 10)
    assert (found[-1].argmax(axis=1) == wanted[-1].argmax(axis=1)).mean() >= 0.9


def test_emit_takes_the_recorded_steps_and_may_say_nothing(snnc: Snnc, compiled: Path, out: Path) -> None:
    result = snnc("emit", compiled / "cnn.sir", "--backend", "onnx", "-o", out / "snn.onnx", "--quiet")
    assert result.stdout == ""
    (output,) = onnx.load(out / "snn.onnx").graph.output
    assert [dim.dim_param or dim.dim_value for dim in output.type.tensor_type.shape.dim] == [4, "N", 10]


def test_emit_takes_inputs_that_vary_in_time(snnc: Snnc, digits: Path, compiled: Path, out: Path) -> None:
    snnc(
        "emit",
        compiled / "cnn.sir",
        "--backend",
        "onnx",
        "-o",
        out / "snn.onnx",
        "-T",
        "2",
        "--varying",
        "image",
    )
    x = np.load(digits / "digits_test.npz")["x"][:20].astype(np.float32).reshape(2, 10, 1, 8, 8) / 16
    (found,) = run_onnxruntime(onnx.load(out / "snn.onnx"), {"image": x}).values()
    (wanted,) = library.Simulator(library.load(compiled / "cnn.sir")).run(x, 2).outputs.values()
    assert (found[-1].argmax(axis=1) == wanted[-1].argmax(axis=1)).mean() >= 0.9


def test_emit_decodes_as_it_is_told(snnc: Snnc, digits: Path, compiled: Path, out: Path) -> None:
    x = {"image": np.load(digits / "digits_test.npz")["x"][:5].astype(np.float32) / 16}
    for how in ("mean", "sum"):
        snnc(
            "emit",
            compiled / "cnn.sir",
            "--backend",
            "onnx",
            "-o",
            out / f"{how}.onnx",
            "-T",
            "2",
            "--decode",
            how,
        )
    mean, total = (
        next(iter(run_onnxruntime(onnx.load(out / f"{how}.onnx"), x).values())) for how in ("mean", "sum")
    )
    np.testing.assert_allclose(total[1], 2 * mean[1], rtol=1e-6)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("-o", "snn.sir"), "snn.sir is not named .onnx"),
        (("-o", "snn.onnx", "--varying", "imag"), "the network has no input 'imag'"),
    ],
)
def test_emit_refuses(
    snnc: Snnc,
    compiled: Path,
    out: Path,
    monkeypatch: pytest.MonkeyPatch,
    arguments: tuple[str, ...],
    message: str,
) -> None:
    monkeypatch.chdir(out)
    result = snnc("emit", compiled / "cnn.sir", "--backend", "onnx", *arguments, code=2)
    assert message in result.stderr
    assert list(out.iterdir()) == []


def test_a_refused_network_leaves_no_file(snnc: Snnc, digits: Path, out: Path) -> None:
    snnc("compile", digits / "digits_cnn.onnx", "-o", out / "n.sir", "--coding", "differential", "--quiet")
    result = snnc("emit", out / "n.sir", "--backend", "onnx", "-o", out / "snn.onnx", code=1)
    assert "writes networks in rate coding" in result.stderr
    assert [path.name for path in out.iterdir()] == ["n.sir"]


def test_run_in_onnxruntime_gives_the_simulators_outputs(
    snnc: Snnc, digits: Path, compiled: Path, out: Path
) -> None:
    given = ("--input", digits / "digits_test.npz", "--limit", "70", "-T", "2")
    for backend in ("reference", "onnx"):
        snnc("run", compiled / "cnn.sir", *given, "-o", out / f"{backend}.npy", "--backend", backend)
    found, wanted = np.load(out / "onnx.npy"), np.load(out / "reference.npy")
    assert found.shape == wanted.shape == (2, 70, 10)
    assert (found[-1].argmax(axis=1) == wanted[-1].argmax(axis=1)).mean() >= 0.95


def test_onnxruntime_records_no_neurons(snnc: Snnc, digits: Path, compiled: Path, out: Path) -> None:
    given = ("--input", digits / "digits_test.npz", "-o", out / "y.npz", "--record", "/1/Relu")
    result = snnc("run", compiled / "cnn.sir", *given, "--backend", "onnx", code=2)
    assert "--record needs the reference simulator" in result.stderr


@pytest.mark.parametrize("backend", ["netx", "lava", "nir"])
def test_what_is_wrong_with_the_network_comes_first(
    backend: str, snnc: Snnc, compiled: Path, out: Path
) -> None:
    """Another name for the file would not help."""
    pytest.importorskip({"netx": "h5py", "nir": "nir"}.get(backend, "numpy"))
    (out / "file.txt").touch()
    for place in (out / "file.txt", out / "none" / "net.nir"):
        said = snnc("emit", compiled / "cnn.sir", "--backend", backend, "-o", place, code=1).stderr
        assert said.startswith("error[backend]: ")
        assert "file.txt" not in said
    assert [path.name for path in out.iterdir()] == ["file.txt"]


def test_what_is_wrong_with_the_name_comes_next(snnc: Snnc, compiled: Path, out: Path) -> None:
    said = snnc("emit", compiled / "cnn.sir", "--backend", "onnx", "-o", out / "net.nir", code=2).stderr
    assert said == f"error[bad-option]: {out}/net.nir is not named .onnx\n  help: name it net.onnx\n"
    said = snnc("emit", out / "none.sir", "--backend", "onnx", "-o", out / "net.nir", code=1).stderr
    assert "none.sir" in said


def test_emit_has_a_host_in_single_precision_if_told(snnc: Snnc, digits: Path, out: Path) -> None:
    data = digits / "digits_calibration.npz"
    model = ("compile", digits / "digits_cnn.onnx", "-o", out / "bytes.sir", "--target", "int8")
    snnc(*model, "--calibration", data, "--scale", "1/16")
    for options, element in ((), TensorProto.DOUBLE), (("--single",), TensorProto.FLOAT):
        emitted = ("emit", out / "bytes.sir", "--backend", "onnx", "-o", out / "bytes.onnx", "-T", "1")
        snnc(*emitted, *options)
        (logits,) = onnx.load(out / "bytes.onnx").graph.output
        assert logits.type.tensor_type.elem_type == element

"""Commands on data with a time axis and on models that are one time step."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import numpy as np
import pytest
from onnx import helper, save_model

from snnc.data import frames_from_events
from snnc.ir import archive
from tests.cli.test_bad_input import refuse
from tests.harness import onnx_model
from tests.spiking_sources import CLASSES, INPUTS, event_frames, graph_of_it, one_step_model, outputs_of_it

if TYPE_CHECKING:
    from pathlib import Path

    from conftest import Snnc

STEPS, SAMPLES = 5, 20


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A folder with a spiking model of one step, the same network as .sir, and event frames with labels."""
    x = event_frames(STEPS, SAMPLES)
    save_model(one_step_model(), tmp_path / "model.onnx")
    archive.save(graph_of_it("sum"), tmp_path / "net.sir")
    np.savez(tmp_path / "events.npz", x=x, y=outputs_of_it(x).sum(axis=0).argmax(axis=1))
    return tmp_path


# run


def test_run_takes_as_many_steps_as_the_data_have(snnc: Snnc, folder: Path) -> None:
    result = snnc("run", folder / "net.sir", "--input", folder / "events.npz", "-o", folder / "y.npy")
    assert "5 time steps: y [5, 20, 3]" in result.stderr
    found, y = np.load(folder / "y.npy"), outputs_of_it(event_frames(STEPS, SAMPLES))
    np.testing.assert_allclose(found, y.cumsum(axis=0), atol=1e-6)


@pytest.mark.parametrize("decode", ["mean", "sum", "last"])
def test_run_decodes_as_it_is_told(snnc: Snnc, folder: Path, decode: str) -> None:
    snnc("run", folder / "net.sir", "--input", folder / "events.npz", "-o", folder / "y.npy", "-T", "3",
         "--decode", decode, "--limit", "4")  # fmt: skip
    y = outputs_of_it(event_frames(STEPS, SAMPLES))[:3, :4]
    wanted = {"mean": y.mean(axis=0), "sum": y.sum(axis=0), "last": y[-1]}[decode]
    np.testing.assert_allclose(np.load(folder / "y.npy")[-1], wanted, atol=1e-6)


def test_more_steps_than_the_data_have(snnc: Snnc, folder: Path) -> None:
    events = ["--model", folder / "model.onnx", "--data", folder / "events.npz", "-T", "6"]
    for command in ("eval", "verify", "energy"):
        refuse(snnc, command, folder / "net.sir", *events, code=2, says="than the data have: 5")
    command = ["run", folder / "net.sir", "--input", folder / "events.npz", "-o", folder / "y.npy", "-T", "6"]
    assert "give at most -T 5" in refuse(snnc, *command, code=2, says="-T 6 asks for more time steps")
    assert not (folder / "y.npy").exists()


def test_another_rank_names_both_shapes(snnc: Snnc, folder: Path) -> None:
    np.save(folder / "wrong.npy", np.zeros((1, STEPS, SAMPLES, INPUTS), np.float32))
    command = ["run", folder / "net.sir", "--input", folder / "wrong.npy", "-o", folder / "y.npy"]
    refuse(snnc, *command, code=1, says="takes N x 6, or T x N x 6 where it varies in time")


# eval, energy, verify


def test_eval_compares_with_the_stepped_model_at_every_step(snnc: Snnc, folder: Path) -> None:
    command = ["eval", folder / "net.sir", "--model", folder / "model.onnx", "--data", folder / "events.npz"]
    result = json.loads(snnc(*command, "--json").stdout)
    assert result["stepped"]
    assert result["ann"] == 1.0
    assert [step["t"] for step in result["steps"]] == list(range(1, STEPS + 1))
    assert all(step["agreement"] == 1 and step["relative_error"] == 0 for step in result["steps"])
    assert [step["ann"] for step in result["steps"]] == [step["value"] for step in result["steps"]]
    table = snnc(*command).stdout
    assert table.splitlines()[0].split()[:4] == ["t", "accuracy", "ANN", "agreement"]
    assert "ANN: the model is one time step with states, run densely for as many steps" in table


def test_energy_prices_the_dense_steps_of_the_model(snnc: Snnc, folder: Path) -> None:
    command = [
        "energy",
        folder / "net.sir",
        "--model",
        folder / "model.onnx",
        "--data",
        folder / "events.npz",
    ]
    steps = json.loads(snnc(*command, "--json").stdout)["steps"]
    assert steps[4]["ann_fp32_pj"] == pytest.approx(5 * steps[0]["ann_fp32_pj"])
    assert "run densely for as many steps" in snnc(*command).stdout


def test_verify_compares_spikes_with_those_of_the_model(snnc: Snnc, folder: Path) -> None:
    command = [
        "verify",
        folder / "net.sir",
        "--model",
        folder / "model.onnx",
        "--data",
        folder / "events.npz",
    ]
    result = json.loads(snnc(*command, "--json").stdout)
    assert result["steps"] == STEPS
    assert [(layer["site"], layer["relative_error"]) for layer in result["layers"]] == [("spikes", 0.0)]


# compile


@pytest.fixture
def function(tmp_path: Path) -> Path:
    """A model without states: softmax of a linear layer."""
    nodes = [
        helper.make_node("Gemm", ["x", "w"], ["scores"], transB=1),
        helper.make_node("Softmax", ["scores"], ["y"], name="attention"),
    ]
    weights = {"w": np.eye(CLASSES, INPUTS, dtype=np.float32)}
    model = onnx_model(nodes, {"x": ("N", INPUTS)}, {"y": ("N", CLASSES)}, weights)
    save_model(model, tmp_path / "function.onnx")
    return tmp_path / "function.onnx"


@pytest.mark.parametrize("decode", ["mean", "sum"])
def test_a_compiled_function_follows_the_running_mean(
    snnc: Snnc, folder: Path, function: Path, decode: str
) -> None:
    snnc("compile", function, "-o", folder / "f.sir", "--calibration", folder / "events.npz", "-q",
         "--decode", decode)  # fmt: skip
    assert [output.decode for output in archive.load(folder / "f.sir").graph.outputs] == [decode]
    command = ["eval", folder / "f.sir", "--model", function, "--data", folder / "events.npz", "--json"]
    result = json.loads(snnc(*command, "--metric", "relative_error").stdout)
    assert not result["stepped"]
    assert all(step["relative_error"] < 1e-5 for step in result["steps"])


def test_the_metadata_of_a_model_say_how_to_decode(snnc: Snnc, tmp_path: Path, function: Path) -> None:
    def outputs(value: str, *options: str) -> list[str]:
        nodes = [helper.make_node("Gemm", ["x", "w"], ["y"], transB=1)]
        weights = {"w": np.eye(CLASSES, INPUTS, dtype=np.float32)}
        model = onnx_model(nodes, {"x": ("N", INPUTS)}, {"y": ("N", CLASSES)}, weights)
        model.metadata_props.add(key="snnc.decode", value=value)
        save_model(model, tmp_path / "model.onnx")
        snnc("compile", tmp_path / "model.onnx", "-o", tmp_path / "net.sir", "-q", *options)
        return [output.decode for output in archive.load(tmp_path / "net.sir").graph.outputs]

    assert outputs("last") == ["last"]
    assert outputs("last", "--decode", "sum") == ["sum"]
    snnc("compile", function, "-o", tmp_path / "net.sir", "-q")
    assert [output.decode for output in archive.load(tmp_path / "net.sir").graph.outputs] == ["mean"]


def test_an_unknown_way_of_decoding(snnc: Snnc, tmp_path: Path) -> None:
    model = one_step_model()
    model.metadata_props.add(key="snnc.decode", value="median")
    save_model(model, tmp_path / "model.onnx")
    command = ["compile", tmp_path / "model.onnx", "-o", tmp_path / "net.sir"]
    refuse(snnc, *command, code=1, says="the model's snnc.decode is 'median'")


def test_the_last_step_of_a_softmax_is_no_answer(snnc: Snnc, tmp_path: Path, function: Path) -> None:
    command = ["compile", function, "-o", tmp_path / "net.sir", "--decode", "last", "-q"]
    refuse(snnc, *command, code=2, says="it depends on the expectation node expect.softmax from attention")
    assert not (tmp_path / "net.sir").exists()


# address events


def test_address_events_end_to_end(snnc: Snnc, tmp_path: Path) -> None:
    """From lists of events to the agreement of both networks at every step."""
    random, counts, frame = np.random.default_rng(8), np.array([40, 25, 60]), (2, 1, 3)
    events = np.stack([random.integers(0, high, counts.sum()) for high in (1000, 3, 1, 2)], axis=1)
    samples = np.split(events, counts.cumsum()[:-1])
    frames = np.stack([frames_from_events(part, 4, 1, 3) for part in samples], axis=1)
    answers = outputs_of_it(frames.reshape(4, 3, -1).astype(np.float32)).sum(axis=0).argmax(axis=1)
    np.savez(tmp_path / "events.npz", events=events, counts=counts, size=[1, 3], y=answers)
    save_model(one_step_model(frame=frame), tmp_path / "model.onnx")
    archive.save(graph_of_it("sum", frame), tmp_path / "net.sir")
    command = [
        "eval",
        tmp_path / "net.sir",
        "--model",
        tmp_path / "model.onnx",
        "--data",
        tmp_path / "events.npz",
    ]
    result = json.loads(snnc(*command, "--bins", "4", "--json").stdout)
    assert len(result["steps"]) == 4
    assert all(step["agreement"] == 1 and step["relative_error"] == 0 for step in result["steps"])
    assert result["steps"][-1]["value"] == 1
    assert "give --bins T" in refuse(snnc, *command, code=1, says="the file holds address events")


def test_bins_without_calibration_data(snnc: Snnc, tmp_path: Path) -> None:
    save_model(one_step_model(), tmp_path / "model.onnx")
    command = ["compile", tmp_path / "model.onnx", "-o", tmp_path / "net.sir", "--bins", "4"]
    refuse(snnc, *command, code=2, says="--bins are about --calibration", shows="Error: ")

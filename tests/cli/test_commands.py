"""Every subcommand does what its help says, on the digits networks."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import numpy as np
import pytest
from onnx import TensorProto, helper, save_model

import snnc as library
from snnc.cli import COMMANDS
from snnc.ir.text import parse_graph, print_graph
from tests.archives import read_npz
from tests.harness import onnx_model

if TYPE_CHECKING:
    from pathlib import Path

    from conftest import Snnc


def test_help_of_every_command_shows_an_example(snnc: Snnc) -> None:
    overview = snnc("--help").stdout
    for command in COMMANDS:
        assert f"\n  {command.name} " in overview
        page = snnc(str(command.name), "--help").stdout
        assert f"Examples:\n    snnc {command.name}" in page


def test_version(snnc: Snnc) -> None:
    assert snnc("--version").stdout == f"snnc {library.__version__}\n"


# check


def test_check_shows_the_fate_of_every_node(snnc: Snnc, digits: Path) -> None:
    lines = snnc("check", digits / "digits_cnn.onnx").stdout.splitlines()
    rows = [line.split() for line in lines]
    assert ["/1/Relu", "Relu", "neuron"] in rows
    assert ["/9/Gemm", "Gemm", "exact"] in rows
    assert "input image: tensor<f32, N x 1 x 8 x 8>" in lines
    assert lines[-1] == "coverage 100.0 %"


@pytest.mark.parametrize("model", ["digits_vit", "digits_vit_dynamo"])
def test_check_as_json(snnc: Snnc, digits: Path, model: str) -> None:
    report = json.loads(snnc("check", digits / f"{model}.onnx", "--json").stdout)
    fates = {node["outcome"] for node in report["nodes"]}
    assert report["compiles"]
    assert report["coverage"] == 100
    assert (
        {"neuron", "expectation", "exact"} <= fates <= {"neuron", "expectation", "exact", "folded", "unused"}
    )


# compile


def test_compile_says_in_two_lines_what_it_wrote(snnc: Snnc, digits: Path, out: Path) -> None:
    result = snnc(
        "compile", digits / "digits_cnn.onnx", "-o", out / "net.sir", "--calibration",
        digits / "digits_calibration.npz", "--scale", "1/16", "--limit", "20", "-T", "3",
    )  # fmt: skip
    first, second = result.stdout.splitlines()
    assert first.startswith(f"{out / 'net.sir'}: ")
    assert "4,800 neurons in 8 layers, 1 expectation node" in first
    assert "calibrated on 20 samples (digits_calibration.npz), 3 time steps by default" in second
    assert result.stderr == ""
    assert library.load(out / "net.sir").meta["calibration"]["normalise"]["scale"] == 1 / 16


def test_compile_without_data_warns(snnc: Snnc, digits: Path, out: Path) -> None:
    result = snnc("compile", digits / "digits_cnn.onnx", "-o", out / "net.sir")
    assert result.stderr.startswith("warning: no calibration data: ")
    quiet = snnc("compile", digits / "digits_cnn.onnx", "-o", out / "net.sir", "--quiet")
    assert (quiet.stdout, quiet.stderr) == ("", "")


def test_compiling_twice_gives_the_same_bytes(snnc: Snnc, digits: Path, out: Path) -> None:
    files = [out / "first.sir", out / "second.sir"]
    for file in files:
        snnc("compile", digits / "digits_vit.onnx", "-o", file, "--calibration",
             digits / "digits_calibration.npz", "--limit", "4", "-q")  # fmt: skip
    assert files[0].read_bytes() == files[1].read_bytes()


def test_compile_with_everything_set(snnc: Snnc, digits: Path, out: Path) -> None:
    result = snnc(
        "compile", digits / "digits_cnn.onnx", "-o", out / "net.sir", "--levels", "4", "--thresholds", "max",
        "--per", "tensor", "--batch-norm", "thresholds", "--dump-ir", out / "dump", "--json", "--explain",
    )  # fmt: skip
    report = json.loads(result.stdout)
    assert "insert-neurons{levels=4}" in report["pipeline"]
    assert "choose-thresholds{rule=max,per=tensor}" in report["pipeline"]
    assert "fuse-batch-norm{into=thresholds}" in report["pipeline"]
    assert report["bytes"] == (out / "net.sir").stat().st_size
    assert report["warnings"]
    assert report["notes"]
    dumped = sorted(path.name for path in (out / "dump").iterdir())
    assert dumped[:2] == ["00-input.sir", "01-raise-quantisers.sir"]
    assert len(dumped) == len(report["passes"]) + 1


def test_compile_by_rate_coding(snnc: Snnc, digits: Path, out: Path) -> None:
    snnc("compile", digits / "digits_cnn.onnx", "-o", out / "net.sir", "--method", "if", "-T", "32", "-q")
    text = snnc("print", out / "net.sir").stdout
    assert "codebook = binary" in text
    assert library.load(out / "net.sir").meta["steps"] == 32


def test_compile_shows_times_and_reasons(snnc: Snnc, digits: Path, out: Path) -> None:
    result = snnc("compile", digits / "digits_cnn.onnx", "-o", out / "net.sir", "-v", "--explain", "-q")
    assert [line.split()[0] for line in result.stdout.splitlines()[2:4]] == [
        "raise-quantisers",
        "simplify",
    ]
    assert 'neuron from "/2/Relu_1"' in result.stderr


def test_compile_only_some_passes(snnc: Snnc, digits: Path, out: Path) -> None:
    snnc("compile", digits / "digits_cnn.onnx", "-o", out / "net.sir", "-p", "simplify,fuse-batch-norm,dce")
    assert "neuron" not in snnc("print", out / "net.sir").stdout


# print, ops, passes


def test_print_is_the_canonical_text(snnc: Snnc, compiled: Path) -> None:
    network = library.load(compiled / "vit.sir")
    assert snnc("print", compiled / "vit.sir").stdout == print_graph(network)
    whole = snnc("print", compiled / "vit.sir", "--weights").stdout
    assert print_graph(parse_graph(whole), inline_limit=None) == whole


def test_ops(snnc: Snnc) -> None:
    assert "conv_transpose" in snnc("ops").stdout
    page = snnc("ops", "softmax").stdout
    assert "y = exp(x) / Σ exp(x) along axis" in page
    assert "axis" in page
    assert "expect.softmax" in page
    assert snnc("ops", "expect.softmax").stdout == page
    listed = json.loads(snnc("ops", "--json").stdout)
    assert {"conv", "neuron", "softmax"} <= {op["name"] for op in listed}
    attributes = json.loads(snnc("ops", "neuron", "--json").stdout)["attributes"]
    assert attributes[0] == {
        "name": "codebook", "kind": "codebook", "required": True, "default": None, "choices": [],
        "meaning": "allowed payloads K and the quantiser Q onto them",
    }  # fmt: skip


def test_onnx_operators(snnc: Snnc) -> None:
    assert {"Conv", "LayerNormalization", "Resize"} <= set(snnc("ops", "--onnx").stdout.split())
    assert "Gemm" in json.loads(snnc("ops", "--onnx", "--json").stdout)


def test_passes(snnc: Snnc) -> None:
    table = snnc("passes").stdout
    assert "rule=mse, percentile=99.9" in table
    page = snnc("passes", "choose-thresholds").stdout.splitlines()
    assert page[0] == "choose-thresholds"
    assert ["per", "channel", "|", "tensor", "channel"] in [line.split() for line in page]
    assert "It has no options." in snnc("passes", "dce").stdout
    described = json.loads(snnc("passes", "fuse-batch-norm", "--json").stdout)
    assert described["options"] == [{"name": "into", "type": "weights | thresholds", "default": "weights"}]


# opt

RENAME = '''
from dataclasses import dataclass
from typing import ClassVar

from snnc.passes import Pass


@dataclass(frozen=True)
class Rename(Pass):
    """Give the graph another name."""

    name: ClassVar[str] = "rename"
    to: str
    loud: bool = False

    def run(self, graph, context):
        graph.name = self.to.upper() if self.loud else self.to
        return True
'''


@pytest.fixture
def my_pass(tmp_path: Path) -> Path:
    path = tmp_path / "my_pass.py"
    path.write_text(RENAME)
    return path


def test_opt_prints_or_writes(snnc: Snnc, cnn: Path, out: Path, my_pass: Path) -> None:
    pipeline = ["-p", "rename{to=better,loud=true},dce", "--load", my_pass]
    assert snnc("opt", cnn, *pipeline).stdout.startswith("sir 1\ngraph @BETTER(")
    written = snnc("opt", cnn, *pipeline, "-o", out / "net.sir", "-v")
    assert written.stdout == ""
    assert "rename{to=better,loud=true}" in written.stderr
    network = library.load(out / "net.sir")
    assert network.name == "BETTER"
    assert network.meta["pipeline"].endswith(",dce,rename{to=better,loud=true},dce")


def test_opt_shows_loaded_passes(snnc: Snnc, my_pass: Path) -> None:
    assert "Give the graph another name." in snnc("passes", "--load", my_pass).stdout
    options = json.loads(snnc("passes", "rename", "--load", my_pass, "--json").stdout)["options"]
    assert options == [
        {"name": "to", "type": "str", "default": "required"},
        {"name": "loud", "type": "true | false", "default": "false"},
    ]


def test_opt_measures(snnc: Snnc, digits: Path, out: Path) -> None:
    """The passes of compile, run one after the other by hand, give the network that compile gives."""
    model, data = digits / "digits_cnn.onnx", digits / "digits_calibration.npz"
    calibration = ["--calibration", data, "--scale", "1/16", "--limit", "16"]
    snnc("compile", model, "-o", out / "whole.sir", *calibration)
    snnc("compile", model, "-o", out / "analog.sir", "-p", "simplify,raise-patterns,fuse-batch-norm,simplify")
    rest = "dce,insert-neurons,expectation-compensation,choose-thresholds,normalise-thresholds,dce"
    snnc("opt", out / "analog.sir", "-p", rest, "-o", out / "parts.sir", *calibration)
    whole, parts = library.load(out / "whole.sir"), library.load(out / "parts.sir")
    assert print_graph(whole) == print_graph(parts)
    assert whole.meta["calibration"] == parts.meta["calibration"]


# run


def test_run_gives_the_simulators_outputs(snnc: Snnc, digits: Path, compiled: Path, out: Path) -> None:
    result = snnc("run", compiled / "cnn.sir", "--input", digits / "digits_test.npz", "--limit", "70",
                  "-T", "2", "-o", out / "y.npy")  # fmt: skip
    assert "data are normalised as for calibration: --scale 0.0625" in result.stderr
    x = read_npz(digits / "digits_test.npz")["x"][:70] / np.float32(16)
    expected = library.Simulator(library.load(compiled / "cnn.sir")).run(x, steps=2)
    np.testing.assert_array_equal(np.load(out / "y.npy"), expected.outputs["logits"])
    assert sorted(path.name for path in out.iterdir()) == ["y.npy"]


def test_run_takes_normalised_data(snnc: Snnc, digits: Path, compiled: Path, out: Path) -> None:
    x = read_npz(digits / "digits_test.npz")["x"][:5]
    np.save(out / "raw.npy", x)
    np.save(out / "ready.npy", x / np.float32(16))
    snnc("run", compiled / "cnn.sir", "--input", out / "raw.npy", "-o", out / "a.npy", "-q")
    ready = snnc(
        "run", compiled / "cnn.sir", "--input", out / "ready.npy", "--scale", "1", "-o", out / "b.npy"
    )
    assert "as for calibration" not in ready.stderr
    assert np.load(out / "a.npy").shape == (4, 5, 10)
    assert (out / "a.npy").read_bytes() == (out / "b.npy").read_bytes()


def test_run_records_neurons(snnc: Snnc, digits: Path, compiled: Path, out: Path) -> None:
    snnc("run", compiled / "cnn.sir", "--input", digits / "digits_test.npz", "--limit", "3", "-T", "2",
         "--record", "/1/Relu", "--record", "/10/Relu", "-o", out / "y.npz", "-q")  # fmt: skip
    arrays = read_npz(out / "y.npz")
    assert {name: arrays[name].shape for name in arrays} == {
        "logits": (2, 3, 10),
        "/1/Relu.spikes": (2, 3, 16, 8, 8),
        "/10/Relu.spikes": (2, 3, 64),
        "/1/Relu.membranes": (2, 3, 16, 8, 8),
        "/10/Relu.membranes": (2, 3, 64),
    }
    assert (arrays["/1/Relu.spikes"] == np.rint(arrays["/1/Relu.spikes"])).all()


# eval, verify, energy


def test_eval(snnc: Snnc, digits: Path, compiled: Path) -> None:
    command = ["eval", compiled / "cnn.sir", "--model", digits / "digits_cnn.onnx", "--data",
               digits / "digits_test.npz", "--limit", "100", "-T", "2"]  # fmt: skip
    result = json.loads(snnc(*command, "--json").stdout)
    assert result.keys() == {"samples", "metric", "ann", "steps", "seconds", "coverage", "stepped"}
    assert (result["samples"], result["metric"]) == (100, "accuracy")
    assert [step["t"] for step in result["steps"]] == [1, 2]
    first = result["steps"][0]
    assert {"t", "value", "agreement", "relative_error", "unit_spikes_per_neuron", "energy"} <= first.keys()
    assert first["value"] >= 0.97
    wanted = {"ann_fp32_pj", "ann_int8_pj", "snn_pj", "ratio_fp32", "ratio_int8", "not_priced"}
    assert wanted <= first["energy"].keys()
    table = snnc(*command).stdout.splitlines()
    assert table[0].split() == [
        "t", "accuracy", "agreement", "error", "spikes", "energy", "/", "fp32", "/", "int8",
    ]  # fmt: skip
    assert table[3].split()[:3] == ["1", f"{100 * first['value']:.2f}", "%"]
    shares = result["steps"][1]["operations"]["shares"]
    assert f"{100 * shares['multi']:.1f} % multi-spikes, 0.0 % negative spikes, " in table[-3]
    assert table[-2] == "spikes: 7 of 8 synaptic layers read spikes"


def test_eval_says_when_the_spiking_network_loses(snnc: Snnc, digits: Path, compiled: Path) -> None:
    command = ["eval", compiled / "cnn.sir", "--model", digits / "digits_cnn.onnx", "--data",
               digits / "digits_test.npz", "--limit", "50"]  # fmt: skip
    long = snnc(*command, "-T", "8").stdout
    assert "MORE energy than the ANN in float32 from t = 6 on" in long
    assert "MORE energy than the ANN quantised to int8 at every t" in long
    assert "in float32" not in snnc(*command, "-T", "1").stdout


@pytest.mark.parametrize("metric", ["relative_error", "cosine"])
def test_eval_without_labels(snnc: Snnc, digits: Path, compiled: Path, out: Path, metric: str) -> None:
    np.save(out / "x.npy", read_npz(digits / "digits_test.npz")["x"][:10])
    command = ["eval", compiled / "vit.sir", "--model", digits / "digits_vit.onnx", "--data", out / "x.npy"]
    chosen = [] if metric == "relative_error" else ["--metric", metric]
    result = json.loads(snnc(*command, *chosen, "-T", "1", "--json").stdout)
    assert result["metric"] == metric
    assert snnc(*command, *chosen, "-T", "1").stdout.split()[1] == metric.partition("_")[0]


def test_energy_gives_the_figures_of_eval(snnc: Snnc, digits: Path, compiled: Path) -> None:
    command = [compiled / "vit.sir", "--model", digits / "digits_vit.onnx", "--data",
               digits / "digits_test.npz", "--limit", "8", "-T", "2"]  # fmt: skip
    evaluated = json.loads(snnc("eval", *command, "--json").stdout)
    priced = json.loads(snnc("energy", *command, "--json").stdout)
    for step, spent in zip(evaluated["steps"], priced["steps"], strict=True):
        assert {**step["energy"], "t": step["t"]}.items() <= spent.items()
        assert step["operations"] == spent["operations"]
    lines = snnc("energy", *command).stdout.splitlines()
    shares = lines[lines.index("") + 4 :]
    assert shares[0].split() == [
        "t", "operations", "binary", "multi", "negative", "analog", "expectation", "other", "neurons",
    ]  # fmt: skip
    assert [line.split()[0] for line in shares[2:4]] == ["1", "2"]
    assert lines[-1] == "q, k, v and softmax send spikes in 3 of 3 attentions"


def test_memory_is_said_on_demand(snnc: Snnc, digits: Path, compiled: Path) -> None:
    command = [compiled / "cnn.sir", "--model", digits / "digits_cnn.onnx", "--data",
               digits / "digits_test.npz", "--limit", "8", "-T", "2"]  # fmt: skip
    for name in ("eval", "energy"):
        assert "memory" not in json.loads(snnc(name, *command, "--json").stdout)
        found = json.loads(snnc(name, *command, "--memory", "--json").stdout)["memory"]
        assert [step["t"] for step in found] == [1, 2]
        said = snnc(name, *command, "--memory").stdout
        assert "both in float32, the spiking network moves MORE bytes than the ANN from t = 2 on" in said
        assert said.count("\nassumed: ") == 5


def test_verify_puts_the_worst_first(snnc: Snnc, digits: Path, compiled: Path) -> None:
    command = ["verify", compiled / "cnn.sir", "--model", digits / "digits_cnn.onnx", "--data",
               digits / "digits_test.npz", "--limit", "20", "-T", "1"]  # fmt: skip
    report = json.loads(snnc(*command, "--json").stdout)
    errors = [layer["relative_error"] for layer in report["layers"]]
    assert errors == sorted(errors, reverse=True)
    assert len(errors) == 8
    assert all(error < 0.1 for error in errors)
    assert snnc(*command).stdout.splitlines()[2].split()[0] == report["layers"][0]["site"]


def test_another_model_is_noticed(snnc: Snnc, digits: Path, compiled: Path) -> None:
    result = snnc("eval", compiled / "vit.sir", "--model", digits / "digits_vit_dynamo.onnx", "--data",
                  digits / "digits_test.npz", "--limit", "2", "-T", "1")  # fmt: skip
    assert "is not the file the network was compiled from (digits_vit.onnx)" in result.stderr


# Dimensions that a model leaves open.


@pytest.fixture
def tokens_model(out: Path) -> Path:
    """A classifier of token sequences of any length, with two outputs."""
    rng = np.random.default_rng(3)
    nodes = [
        helper.make_node("Gather", ["table", "tokens"], ["embedded"], name="embed"),
        helper.make_node("ReduceMean", ["embedded", "axis"], ["pooled"], name="pool", keepdims=0),
        helper.make_node("Relu", ["pooled"], ["active"], name="relu"),
        helper.make_node("Gemm", ["active", "weight"], ["scores"], name="classify"),
    ]
    weights = {
        "table": rng.standard_normal((20, 8)).astype(np.float32),
        "axis": np.array([1]),
        "weight": rng.standard_normal((8, 3)).astype(np.float32),
    }
    model = onnx_model(
        nodes, {"tokens": (TensorProto.INT64, ["batch", "length"])}, ["scores", "pooled"], weights, 18
    )
    save_model(model, out / "tokens.onnx")
    return out / "tokens.onnx"


def test_shapes_are_pinned_once(snnc: Snnc, tokens_model: Path, out: Path) -> None:
    refused = snnc("compile", tokens_model, "-o", out / "net.sir", code=1)
    assert "error[bad-shape]: " in refused.stderr
    assert "--shape tokens=N,<size>" in refused.stderr
    pin = ["--shape", "tokens=N,6"]
    assert "tokens: tensor<i64, N x 6>" in snnc("check", tokens_model, *pin).stdout
    snnc("compile", tokens_model, "-o", out / "net.sir", *pin, "-q")
    np.savez(out / "x.npz", tokens=np.arange(24).reshape(4, 6) % 20)
    result = snnc("eval", out / "net.sir", "--model", tokens_model, "--data", out / "x.npz", "--json")
    assert json.loads(result.stdout)["samples"] == 4


def test_outputs_are_named(snnc: Snnc, tokens_model: Path, out: Path) -> None:
    snnc("compile", tokens_model, "-o", out / "net.sir", "--shape", "tokens=N,6", "-q")
    np.save(out / "x.npy", np.arange(24).reshape(4, 6) % 20)
    refused = snnc("run", out / "net.sir", "--input", out / "x.npy", "-o", out / "y.npy", code=2)
    assert "a .npy file cannot hold the network's 2 outputs" in refused.stderr
    result = snnc("run", out / "net.sir", "--input", out / "x.npy", "-o", out / "y.npz")
    assert "scores [4, 4, 3], pooled [4, 4, 8]" in result.stderr
    assert list(read_npz(out / "y.npz")) == ["scores", "pooled"]


def test_what_was_not_calibrated_does_not_say_so(snnc: Snnc, digits: Path, out: Path) -> None:
    result = snnc("compile", digits / "digits_cnn.onnx", "-o", out / "analog.sir", "-p", "simplify")
    assert "not calibrated" in result.stdout
    assert "synthetic" not in result.stderr


def test_a_network_is_not_written_as_something_else(snnc: Snnc, digits: Path, out: Path) -> None:
    result = snnc("compile", digits / "digits_cnn.onnx", "-o", out / "net.onnx", code=2)
    assert "name it net.sir" in result.stderr
    assert not list(out.iterdir())


def test_verify_against_a_model_with_other_tensors(snnc: Snnc, digits: Path, compiled: Path) -> None:
    result = snnc(
        "verify", compiled / "cnn.sir", "--model", digits / "digits_vit.onnx",
        "--data", digits / "digits_test.npz", "--limit", "4", code=1,
    )  # fmt: skip
    assert "give the model the network was compiled from" in result.stderr

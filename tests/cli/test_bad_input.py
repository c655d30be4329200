"""Bad input: one clear error, exit code 1 or 2, no traceback, nothing half-written."""

from __future__ import annotations

import json
import zipfile
from typing import TYPE_CHECKING

import numpy as np
import pytest
from onnx import TensorProto, helper, save_model

from tests.harness import onnx_model

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from conftest import Snnc


def refuse(snnc: Snnc, *arguments: str | Path, code: int, says: str, shows: str = "error[") -> str:
    """Run a command that must fail with one message; return what it wrote to stderr."""
    result = snnc(*arguments, code=code)
    assert says in result.stderr
    assert sum(line.startswith(("error[", "Error: ")) for line in result.stderr.splitlines()) == 1
    assert shows in result.stderr
    assert "Traceback" not in result.stderr
    assert result.stdout == ""
    return result.stderr


def is_empty(folder: Path) -> bool:
    return not list(folder.iterdir())


# Models.


def truncated(model: Path, path: Path) -> None:
    path.write_bytes(model.read_bytes()[:20_000])


def corrupt(model: Path, path: Path) -> None:
    content = bytearray(model.read_bytes())
    content[:64] = bytes(64)
    path.write_bytes(content)


def empty(model: Path, path: Path) -> None:
    path.touch()


def text(model: Path, path: Path) -> None:
    path.write_text("hello\n")


@pytest.mark.parametrize("damage", [truncated, corrupt, empty, text])
@pytest.mark.parametrize("command", ["check", "compile"])
def test_damaged_model(
    snnc: Snnc, digits: Path, tmp_path: Path, out: Path, command: str, damage: Callable[[Path, Path], None]
) -> None:
    model = tmp_path / "model.onnx"
    damage(digits / "digits_cnn.onnx", model)
    output = ["-o", out / "net.sir"] if command == "compile" else []
    refuse(snnc, command, model, *output, code=1, says=f"--> {model}")
    assert is_empty(out)


def test_missing_model(snnc: Snnc, out: Path) -> None:
    refuse(
        snnc, "compile", out / "none.onnx", "-o", out / "net.sir", code=1, says="there is no such model file"
    )
    refuse(snnc, "check", out, code=1, says="this is a folder")
    assert is_empty(out)


def test_model_and_network_mixed_up(snnc: Snnc, digits: Path, cnn: Path, out: Path) -> None:
    refuse(snnc, "compile", cnn, "-o", out / "net.sir", code=1, says="a .sir network is compiled already")
    refuse(snnc, "print", digits / "digits_cnn.onnx", code=1, says="compile it: snnc compile")
    assert is_empty(out)


@pytest.fixture
def hopeless(tmp_path: Path) -> Path:
    """A model with an LSTM and a loop of names that a terminal would act on."""
    nodes = [
        helper.make_node("Relu", ["x"], ["a"], name="fine"),
        helper.make_node("Det", ["a"], ["b"], name="[bold]bad\x1b[31m"),
        helper.make_node("NonMaxSuppression", ["a", "a"], ["c"], name="also bad"),
        helper.make_node("Identity", ["b"], ["y"], name="last"),
        helper.make_node("Identity", ["c"], ["z"], name="very last"),
    ]
    outputs = {"y": ["N"], "z": (TensorProto.INT64, ["M", 3])}
    model = onnx_model(nodes, {"x": ["N", 4, 4]}, outputs)
    save_model(model, tmp_path / "hopeless.onnx")
    return tmp_path / "hopeless.onnx"


def test_operator_that_cannot_compile(snnc: Snnc, hopeless: Path, out: Path) -> None:
    error = refuse(
        snnc, "compile", hopeless, "-o", out / "net.sir", code=1, says="2 nodes cannot be compiled",
        shows="error[unsupported-op]: ",
    )  # fmt: skip
    assert "operator Det is not supported" in error
    assert "operator NonMaxSuppression is not supported" in error
    assert "\x1b" not in error
    assert "[bold]bad\\x1b[31m" in error
    assert is_empty(out)


def test_check_lists_what_cannot_compile(snnc: Snnc, hopeless: Path) -> None:
    result = snnc("check", hopeless, code=1)
    rows = [line.split() for line in result.stdout.splitlines()]
    assert "\x1b" not in result.stdout
    assert rows[3][:3] == ["[bold]bad\\x1b[31m", "Det", "rejected"]
    assert "operator Det is not supported" in result.stdout
    assert ["last", "Identity", "depends", "on", "rejected"] in rows
    assert result.stdout.splitlines()[-1] == "coverage 20.0 %; the model cannot be compiled as it is"
    report = json.loads(snnc("check", hopeless, "--json", code=1).stdout)
    assert not report["compiles"]
    assert report["counts"]["rejected"] == 2


def test_check_lists_what_passes_refuse(snnc: Snnc, tmp_path: Path, out: Path) -> None:
    """A whole number imports, but has no mean over time once neurons spike."""
    rng = np.random.default_rng(0)
    nodes = [
        helper.make_node("Gemm", ["x", "w"], ["a"], name="first"),
        helper.make_node("Relu", ["a"], ["b"], name="relu"),
        helper.make_node("Gemm", ["b", "w"], ["c"], name="second"),
        helper.make_node("Cast", ["c"], ["d"], name="truncate", to=TensorProto.INT64),
        helper.make_node("Cast", ["d"], ["y"], name="back", to=TensorProto.FLOAT),
    ]
    weights = {"w": rng.standard_normal((4, 4)).astype(np.float32)}
    save_model(onnx_model(nodes, {"x": ["N", 4]}, ["y"], weights), tmp_path / "model.onnx")
    result = snnc("check", tmp_path / "model.onnx", code=1)
    row = next(line for line in result.stdout.splitlines() if line.startswith("truncate"))
    assert "rejected" in row
    assert "from a stream that varies in time" in row
    assert "coverage 80.0 %" in result.stdout
    refuse(snnc, "compile", tmp_path / "model.onnx", "-o", out / "net.sir", code=1, says='"truncate"')
    assert is_empty(out)


# Networks.


def members(path: Path) -> dict[str, bytes]:
    with zipfile.ZipFile(path) as archive:
        return {name: archive.read(name) for name in archive.namelist()}


def write_zip(path: Path, contents: dict[str, bytes]) -> None:
    with zipfile.ZipFile(path, "w") as archive:
        for name, content in contents.items():
            archive.writestr(name, content)


def without_weights(contents: dict[str, bytes]) -> None:
    del contents["weights.safetensors"]


def with_extra(contents: dict[str, bytes]) -> None:
    contents["run_me.py"] = b"print('hello')"


def with_path(contents: dict[str, bytes]) -> None:
    contents["../../escaped"] = b"hello"


def oversized(contents: dict[str, bytes]) -> None:
    contents["meta.json"] = b" " * (16 * 2**20 + 1)


def with_code(contents: dict[str, bytes]) -> None:
    contents["graph.sir"] = contents["graph.sir"].replace(b"neuron(", b"import_os(")


def with_wrong_weights(contents: dict[str, bytes]) -> None:
    contents["weights.safetensors"] = contents["weights.safetensors"][:100]


@pytest.mark.parametrize(
    ("damage", "says"),
    [
        (without_weights, "the archive has no member weights.safetensors"),
        (with_extra, "the archive has the unexpected member 'run_me.py'"),
        (with_path, "the archive has the unexpected member '../../escaped'"),
        (oversized, "the member meta.json has 16777217 bytes, the limit is 16777216"),
        (with_code, "there is no op 'import_os'"),
        (with_wrong_weights, "the member has 100"),
    ],
)
def test_forged_network(
    snnc: Snnc, digits: Path, cnn: Path, out: Path, damage: Callable[[dict[str, bytes]], None], says: str
) -> None:
    contents = members(cnn)
    damage(contents)
    write_zip(cnn, contents)
    data = digits / "digits_test.npz"
    refuse(snnc, "run", cnn, "--input", data, "-o", out / "y.npy", code=1, says=says)
    refuse(snnc, "print", cnn, code=1, says=says)
    refuse(snnc, "opt", cnn, "-p", "dce", "-o", out / "net.sir", code=1, says=says)
    refuse(snnc, "eval", cnn, "--model", digits / "digits_cnn.onnx", "--data", data, code=1, says=says)
    assert is_empty(out)


@pytest.mark.parametrize("kept", [10, 1000, 100_000, -1])
def test_truncated_network(snnc: Snnc, cnn: Path, kept: int) -> None:
    cnn.write_bytes(cnn.read_bytes()[:kept])
    refuse(snnc, "print", cnn, code=1, says=f"--> {cnn}", shows="error[bad-file]: ")


def test_flipped_bit(snnc: Snnc, digits: Path, cnn: Path, out: Path) -> None:
    content = bytearray(cnn.read_bytes())
    content[len(content) // 2] ^= 1
    cnn.write_bytes(content)
    data = digits / "digits_test.npz"
    refuse(snnc, "run", cnn, "--input", data, "-o", out / "y.npy", code=1, says="its checksum does not fit")
    assert is_empty(out)


def test_text_with_a_mistake(snnc: Snnc, out: Path) -> None:
    path = out / "net.sir"
    path.write_text(
        "sir 1\ngraph @g(%x: tensor<f32, N x 4>) {\n  %0 = relu(%y) : tensor<f32, N x 4>\n  return %0\n}\n"
    )
    refuse(snnc, "print", path, code=1, says=f"{path}:3:")


def test_damaged_record(snnc: Snnc, digits: Path, cnn: Path, out: Path) -> None:
    contents = members(cnn)
    meta = json.loads(contents["meta.json"])
    contents["meta.json"] = json.dumps({**meta, "calibration": {"normalise": {"scale": "x"}}}).encode()
    write_zip(cnn, contents)
    command = ["run", cnn, "--input", digits / "digits_test.npz", "--limit", "1", "-o", out / "y.npy"]
    refuse(snnc, *command, code=1, says="the network's record of its calibration is damaged")
    snnc(*command, "--scale", "1/16")


# Data.

X = np.arange(3 * 64, dtype=np.float32).reshape(3, 1, 8, 8)


@pytest.mark.parametrize(
    ("array", "says"),
    [
        (np.where(X == 100, np.nan, X), "holds NaN or infinite values"),
        (np.where(X == 100, np.inf, X), "holds NaN or infinite values"),
        (X[:, :, :4], "the network takes N x 1 x 8 x 8"),
        (X[:, 0], "the network takes N x 1 x 8 x 8"),
        (X[:0], "the data hold no samples"),
        (np.float32(3), "is a single number"),
        (X.astype(np.complex64), "holds complex64, which is not numbers"),
        (np.array(["a", "b"]), "holds <U1, which is not numbers"),
        (np.array([{}], dtype=object), "holds Python objects, which are not read"),
        (np.where(X == 100, 1e300, X.astype(np.float64)), "holds NaN or infinite values"),
    ],
)
def test_data_that_do_not_fit(
    snnc: Snnc, digits: Path, cnn: Path, tmp_path: Path, out: Path, array: np.ndarray, says: str
) -> None:
    data = tmp_path / "x.npy"
    np.save(data, array)
    model = digits / "digits_cnn.onnx"
    refuse(snnc, "compile", model, "-o", out / "net.sir", "--calibration", data, code=1, says=says)
    refuse(snnc, "run", cnn, "--input", data, "-o", out / "y.npy", code=1, says=says)
    refuse(snnc, "eval", cnn, "--model", model, "--data", data, code=1, says=says)
    refuse(snnc, "verify", cnn, "--model", model, "--data", data, code=1, says=says)
    assert is_empty(out)


def test_floats_for_tokens(snnc: Snnc, tmp_path: Path, out: Path) -> None:
    table = np.ones((5, 4), np.float32)
    nodes = [
        helper.make_node("Gather", ["table", "tokens"], ["a"], name="embed"),
        helper.make_node("MatMul", ["a", "square"], ["y"], name="mix"),
    ]
    weights = {"table": table, "square": table[:4]}
    model = onnx_model(nodes, {"tokens": (TensorProto.INT64, ["N", 3])}, ["y"], weights)
    save_model(model, tmp_path / "model.onnx")
    np.save(tmp_path / "x.npy", np.ones((2, 3), np.float32))
    refuse(
        snnc, "compile", tmp_path / "model.onnx", "-o", out / "net.sir", "--calibration", tmp_path / "x.npy",
        code=1, says="input 'tokens' holds float32; the network takes i64",
    )  # fmt: skip
    assert is_empty(out)


@pytest.mark.parametrize(
    ("arrays", "says"),
    [
        ({"a": X, "b": X}, "no data for the input 'image'"),
        ({"y": np.zeros(3)}, "the file holds no input arrays"),
        ({"x": X, "y": np.zeros(2)}, "expected one label per sample [3]"),
    ],
)
def test_archives_that_do_not_fit(
    snnc: Snnc, digits: Path, cnn: Path, tmp_path: Path, arrays: dict[str, np.ndarray], says: str
) -> None:
    data = tmp_path / "data.npz"
    np.savez(data, **arrays)
    refuse(snnc, "eval", cnn, "--model", digits / "digits_cnn.onnx", "--data", data, code=1, says=says)


@pytest.mark.parametrize(
    ("name", "content", "says"),
    [
        ("data.npz", b"1, 2, 3\n", "the data file cannot be read"),
        ("data.npy", b"1, 2, 3\n", "the data file cannot be read"),
        ("data.csv", b"1, 2, 3\n", "data files are .npz or .npy"),
        ("none.npz", None, "there is no such data file"),
        ("data.npz", b"", "the file is empty"),
        ("data.npy", b"", "the file is empty"),
    ],
)
def test_files_that_are_no_data(
    snnc: Snnc, cnn: Path, tmp_path: Path, out: Path, name: str, content: bytes | None, says: str
) -> None:
    data = tmp_path / name
    if content is not None:
        data.write_bytes(content)
    error = refuse(snnc, "run", cnn, "--input", data, "-o", out / "y.npy", code=1, says=says)
    assert f"--> {data}" in error
    assert is_empty(out)


def test_folder_and_objects_are_no_data(snnc: Snnc, cnn: Path, tmp_path: Path, out: Path) -> None:
    command = ["run", cnn, "-o", out / "y.npy", "--input"]
    refuse(snnc, *command, tmp_path, code=1, says="this is a folder, not a data file")
    np.savez(tmp_path / "data.npz", x=np.array([{}], dtype=object))
    refuse(snnc, *command, tmp_path / "data.npz", code=1, says="array 'x' holds Python objects")


def test_accuracy_needs_labels(snnc: Snnc, digits: Path, cnn: Path, tmp_path: Path) -> None:
    np.save(tmp_path / "x.npy", X)
    refuse(
        snnc, "eval", cnn, "--model", digits / "digits_cnn.onnx", "--data", tmp_path / "x.npy", "--metric",
        "accuracy", code=1, says="accuracy needs labels",
    )  # fmt: skip


def test_model_of_another_network(
    snnc: Snnc, hopeless: Path, digits: Path, cnn: Path, tmp_path: Path
) -> None:
    nodes = [helper.make_node("Flatten", ["pixels"], ["y"], name="flatten")]
    save_model(onnx_model(nodes, {"pixels": ["N", 1, 8, 8]}, ["y"]), tmp_path / "other.onnx")
    command = [cnn, "--model", tmp_path / "other.onnx", "--data", digits / "digits_test.npz", "--limit", "2"]
    for name in ("eval", "verify", "energy"):
        refuse(snnc, name, *command, code=1, says="the model has an input 'pixels'")


# Outputs.


def test_output_is_refused_before_any_work(snnc: Snnc, tmp_path: Path, out: Path) -> None:
    """The model does not even exist: the output is looked at first."""
    model = tmp_path / "none.onnx"
    for output, says in ((out / "a" / "net.sir", "does not exist"), (out, "it is a folder")):
        refuse(snnc, "compile", model, "-o", output, code=1, says=says, shows="error[cannot-write]: ")
        refuse(snnc, "run", model, "--input", model, "-o", output, code=1, says=says)
        refuse(snnc, "opt", model, "-p", "dce", "-o", output, code=1, says=says)
    assert is_empty(out)


def test_inputs_are_not_overwritten(snnc: Snnc, digits: Path, cnn: Path, out: Path) -> None:
    data = out / "x.npy"
    np.save(data, X)
    before = data.read_bytes()
    refuse(snnc, "run", cnn, "--input", data, "-o", data, code=2, says="is an input of this command")
    model = digits / "digits_cnn.onnx"
    refuse(snnc, "compile", model, "-o", model, code=2, says="is an input of this command")
    assert data.read_bytes() == before


def test_a_failure_leaves_the_old_file(snnc: Snnc, digits: Path, out: Path) -> None:
    (out / "net.sir").write_text("precious")
    data = out / "x.npy"
    np.save(data, np.where(X == 100, np.nan, X))
    command = ["compile", digits / "digits_cnn.onnx", "-o", out / "net.sir", "--calibration", data]
    refuse(snnc, *command, code=1, says="NaN")
    assert (out / "net.sir").read_text() == "precious"
    assert sorted(path.name for path in out.iterdir()) == ["net.sir", "x.npy"]


@pytest.mark.parametrize("name", ["y.csv", "y"])
def test_formats_of_results(snnc: Snnc, digits: Path, cnn: Path, out: Path, name: str) -> None:
    data = digits / "digits_test.npz"
    refuse(snnc, "run", cnn, "--input", data, "-o", out / name, code=2, says="neither .npy nor .npz")
    command = ["run", cnn, "--input", data, "--limit", "1", "--record"]
    refuse(snnc, *command, "/1/Relu", "-o", out / "y.npy", code=2, says="a .npy file cannot hold records")
    refuse(snnc, *command, "/1/Rel", "-o", out / "y.npz", code=2, says="did you mean '/1/Relu'")
    assert is_empty(out)


# Options.


@pytest.mark.parametrize(
    ("options", "code", "says"),
    [
        (["-p", "dcee"], 2, "did you mean 'dce'?"),
        (["-p", "dce{fast=true}"], 2, "pass 'dce' has no option 'fast'"),
        (["-p", "choose-thresholds{rule=best}"], 2, "one of: mse, "),
        (["-p", "choose-thresholds{initial=much}"], 2, "give a number"),
        (["-p", "dce{"], 1, "pipeline:1:4"),
        (["-p", "dce", "--levels", "3"], 2, "--levels sets the method's passes"),
        (["--method", "multispike"], 2, "did you mean 'multi-spike'?"),
        (["--method", "if", "--levels", "3"], 2, "leave out --levels"),
        (["--levels", "40"], 2, "give 1 to 15 levels"),
        (["--load", "none.py"], 2, "--load offers passes for --pipeline"),
        (["--load", "none.py", "-p", "dce"], 2, "cannot load passes from none.py"),
        (["--scale", "1/16"], 2, "about --calibration, which is not given"),
        (["--limit", "0"], 2, "x>=1"),
        (["--thresholds", "best"], 2, "'best' is not one of"),
        (["--shape", "image"], 2, "'image' is not NAME=DIMS"),
        (["--shape", "image=N,x"], 2, "'x' in 'image=N,x' is neither N nor a positive integer"),
        (["--shape", "image=N,1,9,9"], 1, "has 9 where the model fixes 8"),
        (["--shape", "imag=N,1,8,8"], 1, "did you mean 'image'?"),
        (["--shap", "image=N"], 2, "No such option"),
    ],
)
def test_options_that_do_not_exist_or_fit(
    snnc: Snnc, digits: Path, out: Path, options: list[str], code: int, says: str
) -> None:
    command = ["compile", digits / "digits_cnn.onnx", "-o", out / "net.sir", *options]
    refuse(snnc, *command, code=code, says=says, shows="")
    assert is_empty(out)


@pytest.mark.parametrize(
    ("options", "code", "says"),
    [
        (["--scale", "much"], 2, "--scale 'much' cannot be read"),
        (["--scale", "1/0"], 2, "--scale '1/0' cannot be read"),
        (["--scale", "1,2"], 2, "--scale takes one number, not 2"),
        (["--scale", "1e999"], 2, "--scale '1e999' cannot be read"),
        (["--std", "0"], 2, "--std 0 is not positive throughout"),
        (["--mean", "1,2"], 1, "--mean has 2 values; input 'image' has 1 channels"),
    ],
)
def test_normalisation_that_is_none(
    snnc: Snnc, digits: Path, out: Path, options: list[str], code: int, says: str
) -> None:
    model, data = digits / "digits_cnn.onnx", digits / "digits_calibration.npz"
    command = ["compile", model, "-o", out / "net.sir", "--calibration", data, *options]
    refuse(snnc, *command, code=code, says=says)
    assert is_empty(out)


def test_names_that_do_not_exist(snnc: Snnc) -> None:
    refuse(snnc, "ops", "relux", code=2, says="did you mean 'relu'")
    refuse(snnc, "passes", "dead-code", code=2, says="there is no pass 'dead-code'")
    refuse(snnc, "ops", "relu", "--onnx", code=2, says="leave out NAME", shows="")
    refuse(snnc, "frobnicate", code=2, says="No such command", shows="")


# Custom passes.

HEAD = """
from dataclasses import dataclass
from typing import ClassVar
from snnc.passes import Pass

@dataclass(frozen=True)
class Mine(Pass):
    name: ClassVar[str] = "mine"
"""


@pytest.mark.parametrize(
    ("source", "code", "says"),
    [
        ("def f(:", 1, "failed while loading: SyntaxError"),
        ("import not_there", 1, "failed while loading: ModuleNotFoundError"),
        ("x = 1", 1, "defines no pass"),
        (HEAD.replace('    name: ClassVar[str] = "mine"', "    def run(self, g, c): ..."), 1, "has no name"),
        (HEAD.replace("mine", "dce") + "    def run(self, graph, context): ...", 1, "'dce' is defined twice"),
        (HEAD + "    size: int\n    def run(self, graph, context): ...", 2, "needs its option 'size'"),
        (HEAD + '    size: "Nat" = 1\n    def run(self, graph, context): ...', 1, "cannot be read"),
    ],
)
def test_files_without_sound_passes(
    snnc: Snnc, cnn: Path, tmp_path: Path, source: str, code: int, says: str
) -> None:
    path = tmp_path / "mine.py"
    path.write_text(source)
    refuse(snnc, "opt", cnn, "-p", "mine", "--load", path, code=code, says=says)


CRASH = HEAD + "    def run(self, graph, context): return 1 / 0"
BREAK = HEAD + "    def run(self, graph, context): return not graph.outputs.append(graph.outputs[0])"


@pytest.mark.parametrize(
    ("source", "says"), [(CRASH, "mine.py:9: ZeroDivisionError"), (BREAK, "broken graph")]
)
def test_a_crash_leaves_a_reproducer(
    snnc: Snnc, digits: Path, tmp_path: Path, out: Path, source: str, says: str
) -> None:
    path = tmp_path / "mine.py"
    path.write_text(source)
    command = ["compile", digits / "digits_cnn.onnx", "-o", out / "net.sir", "-p", "dce,mine", "--load", path]
    error = refuse(snnc, *command, code=1, says=says, shows="error[pass-failed]: ")
    assert f'reproduce with: snnc opt {out / "before-mine.sir"} -p "mine"' in error
    assert [path.name for path in out.iterdir()] == ["before-mine.sir"]
    refuse(snnc, "opt", out / "before-mine.sir", "-p", "mine", "--load", path, code=1, says=says)

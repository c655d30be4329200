"""Every example at the end of a help page runs as it stands, on files of the names it takes."""

from __future__ import annotations

import shlex
import shutil
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper

from snnc.cli import main
from tests.harness import onnx_model

if TYPE_CHECKING:
    from conftest import Snnc

MY_PASS = """
from dataclasses import dataclass
from typing import ClassVar
from snnc.passes import Pass

@dataclass(frozen=True)
class MyPass(Pass):
    \"\"\"Leave everything as it is.\"\"\"
    name: ClassVar[str] = "my-pass"

    def run(self, graph, context):
        return False
"""
MY_BACKEND = """
from snnc.emission import Target

def write(graph, options, file):
    file.write(b"/* a network */")
    return "one comment"

C = Target("c", ".c", write)
"""


def examples() -> list[str]:
    lines = [
        line.strip()
        for command in main.commands.values()
        for line in (command.epilog or "").splitlines()
        if line.startswith("  ")
    ]
    assert len(lines) > len(main.commands)
    return lines


@pytest.fixture(scope="module")
def prepared(snnc: Snnc, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a network of three layers, a lookup of words, data, and what is compiled of them."""
    folder = tmp_path_factory.mktemp("examples")
    rng = np.random.default_rng(0)
    sizes = {"w1": (8, 64), "w2": (64, 64), "w3": (64, 4)}
    weights = {name: rng.normal(size=size).astype(np.float32) for name, size in sizes.items()}
    layers = [
        helper.make_node("Gemm", ["frames", "w1"], ["h1"]),
        helper.make_node("Relu", ["h1"], ["r1"], name="relu1"),
        helper.make_node("Gemm", ["r1", "w2"], ["h2"]),
        helper.make_node("Relu", ["h2"], ["r2"], name="relu2"),
        helper.make_node("Gemm", ["r2", "w3"], ["logits"]),
    ]
    onnx.save(onnx_model(layers, {"frames": ("N", 8)}, ["logits"], weights), folder / "model.onnx")
    words = [helper.make_node("Gather", ["table", "input_ids"], ["y"])]
    ids = {"input_ids": (TensorProto.INT64, ("batch", "length"))}
    table = {"table": np.ones((50, 4), np.float32)}
    onnx.save(onnx_model(words, ids, {"y": ("batch", "length", 4)}, table), folder / "bert.onnx")
    x = rng.integers(0, 256, (24, 8)).astype(np.uint8)
    np.save(folder / "x.npy", x / np.float32(255))
    for name in ("images", "test", "x"):
        np.savez(folder / f"{name}.npz", x=x, y=rng.integers(0, 4, 24))
    (folder / "my_pass.py").write_text(MY_PASS)
    (folder / "my_backend.py").write_text(MY_BACKEND)
    data = ("--calibration", folder / "images.npz", "--scale", "1/255", "-q")
    compile_ = ("compile", folder / "model.onnx", *data, "-o")
    snnc(*compile_, folder / "integers.sir", "--target", "loihi2")
    snnc(*compile_, folder / "analog.sir", "-p", "simplify,raise-patterns")
    snnc(*compile_, folder / "net.sir", "--method", "if", "--reset", "zero", "--thresholds", "max")
    snnc("emit", folder / "net.sir", "--backend", "nir", "-o", folder / "net.nir")
    return folder


@pytest.mark.parametrize("line", examples())
def test_it_runs(
    line: str, prepared: Path, tmp_path: Path, snnc: Snnc, monkeypatch: pytest.MonkeyPatch
) -> None:
    if line.startswith("eval "):
        pytest.skip("for the start file of a shell: test_completion.py runs it there")
    shutil.copytree(prepared, tmp_path, dirs_exist_ok=True)
    monkeypatch.chdir(tmp_path)
    program, *words = shlex.split(line.partition(" | ")[0].partition(" > ")[0], comments=True)
    assert program == "snnc"
    snnc(*words)
    for flag in ("-o", "--picture"):
        if flag in words:
            assert Path(words[words.index(flag) + 1]).exists()

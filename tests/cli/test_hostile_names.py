"""Names come from files: whatever they hold, no terminal acts on it and no page takes it for markup."""

from __future__ import annotations

import re
import unicodedata
from typing import TYPE_CHECKING

import numpy as np
import pytest
from onnx import helper, save_model

from tests.harness import onnx_model

if TYPE_CHECKING:
    from pathlib import Path

    from conftest import Snnc

EVIL = (
    "\x1b]0;owned\x07\x1b[31m\x9b2J\r\b\u202e<script>alert(1)</script>"
    "'\"><img src=x onerror=alert(1)>[bold]{x}&amp;\n"
)


def acts_on_a_terminal(text: str) -> list[str]:
    """Return the control and formatting characters of a text, but for the ends of lines."""
    return [char for char in text if unicodedata.category(char) in ("Cc", "Cf") and char != "\n"]


@pytest.fixture
def evil_model(tmp_path: Path) -> Path:
    """A small network in which everything that has a name has an evil one."""
    rng = np.random.default_rng(0)
    names = {key: f"{EVIL}{key}" for key in ("x", "w", "v", "a", "b", "y")}
    nodes = [
        helper.make_node("MatMul", [names["x"], names["w"]], [names["a"]], name=f"{EVIL}first"),
        helper.make_node("Relu", [names["a"]], [names["b"]], name=f"{EVIL}relu"),
        helper.make_node("MatMul", [names["b"], names["v"]], [names["y"]], name=f"{EVIL}second"),
    ]
    weights = {names[key]: rng.standard_normal((4, 4)).astype(np.float32) for key in ("w", "v")}
    model = onnx_model(nodes, {names["x"]: ["N", 4]}, [names["y"]], weights)
    model.graph.name = model.producer_name = model.doc_string = EVIL
    model.metadata_props.add(key=EVIL, value=EVIL)
    save_model(model, tmp_path / "evil.onnx")
    np.savez(
        tmp_path / "data.npz", **{EVIL: rng.standard_normal((6, 4)).astype(np.float32)}, y=np.arange(6) % 4
    )
    return tmp_path / "evil.onnx"


@pytest.fixture
def evil(snnc: Snnc, evil_model: Path, out: Path) -> Path:
    """The network compiled, in a folder and a file with evil names."""
    folder = out / EVIL.replace("/", "-").replace("\n", "")
    folder.mkdir()
    path = folder / "net.sir"
    result = snnc(
        "compile", evil_model, "-o", path, "--calibration", evil_model.with_name("data.npz"), "--verbose",
        "--explain",
    )  # fmt: skip
    assert acts_on_a_terminal(result.stdout + result.stderr) == []
    return path


def test_tables_and_messages(snnc: Snnc, evil: Path, evil_model: Path) -> None:
    data = evil_model.with_name("data.npz")
    compared = ["--model", evil_model, "--data", data]
    commands = [
        ["check", evil_model],
        ["check", evil, "--spikes-only"],
        ["print", evil],
        ["print", evil, "--weights"],
        ["eval", evil, *compared],
        ["verify", evil, *compared],
        ["energy", evil, *compared],
        ["eval", evil, *compared, "--memory"],
        ["opt", evil, "-p", "simplify,dce", "-o", evil.with_name("again.sir"), "--verbose", "--explain"],
        ["run", evil, "--input", data, "-o", evil.with_name("y.npz")],
    ]
    for command in commands:
        result = snnc(*command)
        assert acts_on_a_terminal(result.stdout) == [], command
        assert acts_on_a_terminal(result.stderr) == [], command


def test_refusals(snnc: Snnc, evil: Path, evil_model: Path, tmp_path: Path) -> None:
    other = tmp_path / "other.npz"
    np.savez(other, **{f"{EVIL}1": np.zeros((2, 3)), f"{EVIL}2": np.zeros((2, 3))})
    missing = evil.with_name(f"{EVIL.replace('/', '-')}.onnx")
    commands = [
        ["run", evil, "--input", other, "-o", tmp_path / "y.npz"],
        ["run", evil, "--input", tmp_path / "data.npz", "-o", tmp_path / "y.npz", "--record", EVIL],
        ["check", missing],
        ["check", evil_model, "--shape", f"{EVIL}x=N,5"],
        ["print", missing],
        ["opt", evil, "-p", EVIL, "-o", tmp_path / "z.sir"],
        ["compile", evil_model, "-o", tmp_path / "z.sir", "--method", EVIL],
        ["compile", evil_model, "-o", tmp_path / "z.sir", "--calibration", other],
    ]
    for command in commands:
        assert acts_on_a_terminal(refused(snnc, command)) == [], command


def refused(snnc: Snnc, command: list[str | Path]) -> str:
    """Return what a refused command prints."""
    for code in (1, 2):
        try:
            result = snnc(*command, code=code)
        except AssertionError:
            continue
        return result.stdout + result.stderr
    raise AssertionError(f"{command} was not refused")


def test_the_report_is_text_only(snnc: Snnc, evil: Path, evil_model: Path) -> None:
    """No tag of a name reaches the page, and no attribute can be left."""
    page = evil.with_name("report.html")
    snnc("report", evil, "--model", evil_model, "--data", evil_model.with_name("data.npz"), "-o", page)
    html = page.read_text()
    assert acts_on_a_terminal(html) == []
    assert "&lt;script&gt;" in html
    for tag in re.findall(r"<[^>]*>", html):
        assert not tag.lower().startswith(("<script", "<img"))
        assert "onerror=" not in re.sub(r'"[^"]*"', "", tag)

"""The pass manager: verifies, times, dumps, and leaves a reproducer when a pass fails."""

from __future__ import annotations

import re
import shlex
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar

import numpy as np
import pytest

from snnc.ir.archive import load
from snnc.ir.errors import DataError, PassError, SnncError
from snnc.ir.shapes import Batch
from snnc.ir.text import print_graph
from snnc.ir.types import TensorType
from snnc.passes.base import Pass, PassContext
from snnc.passes.dce import Dce
from snnc.passes.manager import PassManager
from snnc.passes.pipeline import parse_pipeline
from snnc.passes.registry import Registry, default_registry
from snnc.passes.simplify import Simplify
from tests.passes.build import Builder, N, ops

if TYPE_CHECKING:
    from snnc.ir.graph import Graph


@dataclass(frozen=True)
class Crash(Pass):
    """Fail on the first node of an op."""

    name: ClassVar[str] = "crash"
    op: str = "relu"

    def run(self, graph: Graph, context: PassContext) -> bool:
        for node in graph:
            if node.op.name == self.op:
                return bool(1 // 0)
        return False


@dataclass(frozen=True)
class Break(Pass):
    """Leave a wrong type behind."""

    name: ClassVar[str] = "break"

    def run(self, graph: Graph, context: PassContext) -> bool:
        next(iter(graph)).result.type = TensorType("f32", (Batch(), 99))
        return False


@dataclass(frozen=True)
class Refuse(Pass):
    """Find fault with the user's data."""

    name: ClassVar[str] = "refuse"

    def run(self, graph: Graph, context: PassContext) -> bool:
        raise DataError("the data are wrong")


def network() -> Graph:
    b = Builder(N, 3)
    return b.outputs(y=b("relu", b("mul", b("linear", b.x, weight=np.eye(3, dtype=np.float32)), 2.0)))


def registry() -> Registry:
    found = default_registry()
    for pass_class in (Crash, Break, Refuse):
        found.add(pass_class)
    return found


def test_each_run_is_reported() -> None:
    graph = network()
    told: list[str] = []
    runs = PassManager([Simplify(), Dce()], on_pass=lambda pass_: told.append(pass_.name)).run(graph)
    assert told == ["simplify", "dce"]
    assert [(run.text, run.changed, run.nodes_before, run.nodes_after) for run in runs] == [
        ("simplify", True, 4, 2),
        ("dce", False, 2, 2),
    ]
    assert all(0 <= run.seconds < 10 for run in runs)


def test_graphs_are_dumped_before_and_after_every_pass(tmp_path: Path) -> None:
    folder = tmp_path / "made" / "dump"
    graph = network()
    before = print_graph(graph, inline_limit=None)
    PassManager([Simplify(), Dce()], dump_ir=folder).run(graph)
    assert sorted(path.name for path in folder.iterdir()) == ["00-input.sir", "01-simplify.sir", "02-dce.sir"]
    assert print_graph(load(folder / "00-input.sir").graph, inline_limit=None) == before
    assert print_graph(load(folder / "02-dce.sir").graph) == print_graph(graph)


def test_a_broken_graph_is_caught_after_the_pass_that_broke_it() -> None:
    with pytest.raises(PassError, match="pass 'break' left a broken graph") as caught:
        PassManager([Simplify(), Break(), Dce()]).run(network())
    assert "99" in str(caught.value)


def test_a_crash_names_pass_and_place() -> None:
    with pytest.raises(PassError, match=r"pass 'crash' crashed in .*test_manager\.py:\d+: ZeroDivisionError"):
        PassManager([Simplify(), Crash()]).run(network())


@pytest.mark.parametrize("text", ["crash", "crash{op=linear}", "break"])
def test_the_reproducer_reproduces(tmp_path: Path, text: str) -> None:
    """The printed command names the graph from before the pass, and the pass with its options."""
    (failing,) = parse_pipeline(text, registry())
    folder = tmp_path / "a folder"
    folder.mkdir()
    with pytest.raises(PassError) as caught:
        PassManager([Simplify(), failing], crash_dir=folder).run(network())
    command = re.search("reproduce with: (.*)", str(caught.value.help))
    assert command is not None
    program, subcommand, path, option, pipeline = shlex.split(command.group(1))
    assert (program, subcommand, option) == ("snnc", "opt", "-p")
    saved = load(Path(path)).graph
    assert ops(saved) == ["linear", "relu"]
    with pytest.raises(
        PassError, match=re.escape(caught.value.message.split(" crashed")[0].split(" left")[0])
    ):
        PassManager(parse_pipeline(pipeline, registry())).run(saved)


def test_a_refusal_of_the_users_input_is_no_crash(tmp_path: Path) -> None:
    with pytest.raises(SnncError, match="the data are wrong") as caught:
        PassManager([Refuse()], crash_dir=tmp_path).run(network())
    assert isinstance(caught.value, DataError)
    assert list(tmp_path.iterdir()) == []


def test_types_follow_a_pass_that_changes_the_graph() -> None:
    """A neuron's result becomes spikes; what reads it is typed again."""
    b = Builder(N, 3)
    weight = np.eye(3, dtype=np.float32)
    pooled = b("reshape", b("relu", b("linear", b.x, weight=weight)), shape=(N, 3))
    graph = b.outputs(y=b("linear", pooled, weight=weight))
    PassManager(parse_pipeline("insert-neurons{levels=2}", default_registry())).run(graph)
    assert [str(node.result.type) for node in graph if node.op.name == "reshape"] == ["spikes<0..3, N x 3>"]


def test_a_crash_is_reported_even_where_no_reproducer_can_be_written(tmp_path: Path) -> None:
    with pytest.raises(PassError, match="pass 'crash' crashed") as caught:
        PassManager([Crash()], crash_dir=tmp_path / "absent").run(network())
    assert "absent does not exist" in str(caught.value.help)
    assert list(tmp_path.iterdir()) == []


LOADED = """
from dataclasses import dataclass
from snnc.passes import Pass

@dataclass(frozen=True)
class Fail(Pass):
    name = "fail"

    def run(self, graph, context):
        raise RuntimeError("as always")
"""


def test_the_reproducer_of_a_loaded_pass_loads_it_again(tmp_path: Path) -> None:
    file = tmp_path / "my passes.py"
    file.write_text(LOADED)
    loaded = Registry()
    loaded.load_file(file)
    with pytest.raises(PassError, match="as always") as caught:
        PassManager(parse_pipeline("fail", loaded), crash_dir=tmp_path).run(network())
    command = shlex.split(str(caught.value.help).split("reproduce with: ")[1])
    assert command[-2:] == ["--load", str(file)]

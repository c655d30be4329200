"""Passes by name: built-in, from a file, from an installed package."""

from __future__ import annotations

from importlib.metadata import EntryPoint
from typing import TYPE_CHECKING

import pytest

from snnc.ir.errors import OptionError, PassError
from snnc.passes import registry as registry_module
from snnc.passes.builtin import BUILTIN
from snnc.passes.dce import Dce
from snnc.passes.pipeline import parse_pipeline
from snnc.passes.registry import ENTRY_POINT_GROUP, Registry, default_registry
from tests.passes.build import Builder, N, applied, ops

if TYPE_CHECKING:
    from pathlib import Path

MY_PASS = '''
from dataclasses import dataclass
from typing import ClassVar

from snnc.passes import Pass, PassContext, Rewriter, rewrite
from snnc.ir.graph import Graph, Node


@dataclass(frozen=True)
class DoubleNegation(Pass):
    """Replace neg(neg(x)) by x."""

    name: ClassVar[str] = "double-negation"
    verbose: bool = False

    def run(self, graph: Graph, context: PassContext) -> bool:
        return rewrite(graph, {"neg": (collapse,)}, context, self.name)


def collapse(node: Node, rewriter: Rewriter) -> bool:
    inner = node.operands[0].node
    if inner is None or inner.op.name != "neg":
        return rewriter.decline(node, "it negates no negation")
    rewriter.replace(node, inner.operands[0], absorbed=[inner])
    return True
'''


def write(folder: Path, text: str, name: str = "my_pass.py") -> Path:
    path = folder / name
    path.write_text(text)
    return path


def test_all_builtin_passes_are_there() -> None:
    assert list(default_registry().passes.values()) == list(BUILTIN)


def test_a_pass_from_a_file_works_in_a_pipeline(tmp_path: Path) -> None:
    registry = default_registry()
    assert registry.load_file(write(tmp_path, MY_PASS)) == ["double-negation"]
    pipeline = parse_pipeline("double-negation{verbose=true},dce", registry)
    b = Builder(N, 2)
    graph = b.outputs(y=b("relu", b("neg", b("neg", b.x))), z=b("neg", b.x))
    result, notes = applied(graph, *pipeline)
    assert ops(result) == ["relu", "neg"]
    assert {(note.pass_name, note.reason) for note in notes} == {
        ("double-negation", "it negates no negation")
    }


def test_one_file_may_hold_several_passes(tmp_path: Path) -> None:
    text = MY_PASS + MY_PASS.replace("DoubleNegation", "Other").replace("double-negation", "other")
    assert Registry().load_file(write(tmp_path, text)) == ["double-negation", "other"]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("x = 1\n", "defines no pass"),
        ("from snnc.passes.dce import Dce\n", "defines no pass"),
        ("def broken(:\n", "failed while loading: SyntaxError"),
        ("raise RuntimeError('no')\n", "failed while loading: RuntimeError: no"),
        ("import no_such_module\n", "failed while loading: ModuleNotFoundError"),
        (MY_PASS.replace('    name: ClassVar[str] = "double-negation"\n', ""), "has no name"),
        (MY_PASS.replace('"double-negation"', '"dce"'), "pass 'dce' is defined twice"),
    ],
)
def test_a_file_that_does_not_fit_is_refused(tmp_path: Path, text: str, message: str) -> None:
    with pytest.raises(PassError, match=message):
        default_registry().load_file(write(tmp_path, text))


@pytest.mark.parametrize("name", ["absent.py", "folder", "text.txt"])
def test_what_is_no_python_file_is_refused(tmp_path: Path, name: str) -> None:
    (tmp_path / "folder").mkdir()
    (tmp_path / "text.txt").write_text("hello")
    with pytest.raises(OptionError, match="cannot load passes from"):
        Registry().load_file(tmp_path / name)


def test_the_same_class_may_be_added_again() -> None:
    registry = Registry()
    registry.add(Dce)
    registry.add(Dce)
    assert registry.passes == {"dce": Dce}


def test_passes_of_installed_packages_are_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write(tmp_path, MY_PASS, "somebodys_passes.py")
    monkeypatch.syspath_prepend(tmp_path)
    offer(monkeypatch, "somebodys_passes:DoubleNegation")
    assert list(default_registry().passes)[-1] == "double-negation"


def test_an_entry_point_that_is_no_pass_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    offer(monkeypatch, "collections:OrderedDict")
    with pytest.raises(PassError, match=r"entry point 'theirs' \(collections:OrderedDict\) is not a pass"):
        default_registry()


def offer(monkeypatch: pytest.MonkeyPatch, value: str) -> None:
    """Let an installed package offer a pass."""
    points = [EntryPoint("theirs", value, ENTRY_POINT_GROUP)]
    monkeypatch.setattr(
        registry_module, "entry_points", lambda group: points if group == ENTRY_POINT_GROUP else []
    )

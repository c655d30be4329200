"""Runs passes in order: verifies after each, times them, dumps graphs, and leaves a reproducer on a crash."""

from __future__ import annotations

import shlex
import sys
import time
import traceback
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from snnc.ir.archive import save
from snnc.ir.errors import OutputError, PassError, SnncError, VerifyError
from snnc.ir.verify import verify
from snnc.passes.base import PassContext
from snnc.passes.pipeline import show_pass
from snnc.passes.registry import LOADED_MODULE

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

    from snnc.ir.graph import Graph
    from snnc.passes.base import Pass


@dataclass(frozen=True, slots=True)
class PassRun:
    """What one pass did: its text, whether it changed the graph, seconds, nodes before and after."""

    text: str
    changed: bool
    seconds: float
    nodes_before: int
    nodes_after: int


@dataclass(slots=True)
class PassManager:
    """Applies a pipeline to a graph in place.

    `dump_ir`: a folder that receives `00-input.sir`, `01-<pass>.sir`, …; `crash_dir`: where the graph from
    before a failing pass is written; `on_pass` is told each pass before it runs.
    """

    passes: Sequence[Pass]
    context: PassContext = field(default_factory=PassContext)
    dump_ir: Path | None = None
    crash_dir: Path | None = None
    on_pass: Callable[[Pass], None] | None = None

    def run(self, graph: Graph, *, before: int = 0) -> list[PassRun]:
        """Run every pass; return what each did. `PassError` if one crashes or breaks the graph.

        `before` passes have run on the graph already: dumps are numbered on.
        """
        runs = []
        if before == 0:
            self._dump(graph, 0, "input")
        for number, pass_ in enumerate(self.passes, start=before + 1):
            if self.on_pass is not None:
                self.on_pass(pass_)
            runs.append(self._run_one(pass_, graph))
            self._dump(graph, number, pass_.name)
        return runs

    def _run_one(self, pass_: Pass, graph: Graph) -> PassRun:
        before = graph.copy() if self.crash_dir is not None else None
        count, started = len(graph), time.perf_counter()
        if graph.computes_integers and not pass_.integers:
            raise PassError(
                f"{pass_.name} is for networks of real weights; this one computes with integers",
                help="run it before integerise",
            )
        try:
            changed = pass_.run(graph, self.context)
            if changed:
                graph.retype()
                graph.drop_unused_tensors()
            verify(graph)
        except VerifyError as error:
            raise self._crash(pass_, before, f"left a broken graph: {error}") from error
        except SnncError:
            raise
        except Exception as error:  # a third party's pass may fail in any way; the reproducer is the answer
            what = f"crashed in {place_of(error)}: {type(error).__name__}: {error}"
            raise self._crash(pass_, before, what) from error
        if before is not None:
            # A graph is a cycle of references: its weights must not wait for the garbage collector.
            before.tensors.clear()
        return PassRun(show_pass(pass_), changed, time.perf_counter() - started, count, len(graph))

    def _crash(self, pass_: Pass, before: Graph | None, what: str) -> PassError:
        text = show_pass(pass_)
        if before is None or self.crash_dir is None:
            return PassError(f"pass {text!r} {what}")
        path = self.crash_dir / f"before-{pass_.name}.sir"
        try:
            save(before, path)
        except OutputError as error:
            return PassError(f"pass {text!r} {what}", help=f"for a reproducer: {error.message}")
        command = f'snnc opt {shlex.quote(str(path))} -p "{text}"{load_option(pass_)}'
        return PassError(
            f"pass {text!r} {what}", help=f"the graph before it was saved; reproduce with: {command}"
        )

    def _dump(self, graph: Graph, number: int, name: str) -> None:
        if self.dump_ir is not None:
            self.dump_ir.mkdir(parents=True, exist_ok=True)
            save(graph, self.dump_ir / f"{number:02d}-{name}.sir")


def load_option(pass_: Pass) -> str:
    """Return the option that loads the file a pass comes from, if it is not an installed one."""
    module = type(pass_).__module__
    if not module.startswith(LOADED_MODULE):
        return ""
    return f" --load {shlex.quote(str(sys.modules[module].__file__))}"


def place_of(error: Exception) -> str:
    """Return the file and line an error comes from."""
    frame = traceback.extract_tb(error.__traceback__)[-1]
    return f"{frame.filename}:{frame.lineno}"

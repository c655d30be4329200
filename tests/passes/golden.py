"""Golden cases: `golden/<pass>/<case>.before.sir`, and what the pass makes of it in `<case>.after.sir`.

A `before` file starts with two comments: `# pass: <pipeline text>` and what the case shows. An `after` file
starts with whether the pass reported a change, and the reasons it gave for what it left alone.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from snnc.ir.text import parse_graph, print_graph
from snnc.passes.base import PassContext
from snnc.passes.manager import PassManager
from snnc.passes.pipeline import parse_pipeline
from snnc.passes.registry import default_registry
from tests.passes.calibration import RampCalibration

if TYPE_CHECKING:
    from snnc.ir.graph import Graph
    from snnc.passes.base import Pass

GOLDEN = Path(__file__).parent / "golden"
PASS = "# pass: "


@dataclass(frozen=True)
class Case:
    """One golden case."""

    before: Path

    def __str__(self) -> str:
        return f"{self.before.parent.name}/{self.before.name.removesuffix('.before.sir')}"

    @property
    def after(self) -> Path:
        return self.before.with_name(self.before.name.replace(".before.", ".after."))

    @property
    def header(self) -> list[str]:
        return self.before.read_text().splitlines()[:2]

    @property
    def pass_(self) -> Pass:
        (found,) = parse_pipeline(self.header[0].removeprefix(PASS), default_registry())
        return found

    def graph(self) -> Graph:
        return parse_graph(self.before.read_text(), name=self.before.name)

    def canonical_before(self) -> str:
        return "\n".join(self.header) + "\n" + print_graph(self.graph(), inline_limit=None)

    def run(self) -> str:
        """Run the pass as the manager does; return the text of the `after` file."""
        graph, context = self.graph(), PassContext(RampCalibration())
        (run,) = PassManager([self.pass_], context).run(graph)
        header = [f"# changed: {'yes' if run.changed else 'no'}"]
        header += [f"# declined: {note.node}: {note.reason}" for note in context.notes]
        return "\n".join(header) + "\n" + print_graph(graph, inline_limit=None)


def golden_cases() -> list[Case]:
    return [Case(path) for path in sorted(GOLDEN.glob("*/*.before.sir"))]

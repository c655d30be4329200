"""Every pass against whole expected outputs; pytest's `--update-golden` refreshes them."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from snnc.ir.text import parse_graph, print_graph
from snnc.passes.base import PassContext
from snnc.passes.builtin import BUILTIN
from snnc.passes.manager import PassManager
from tests.passes.calibration import RampCalibration
from tests.passes.golden import GOLDEN, Case, golden_cases

if TYPE_CHECKING:
    from snnc.passes.base import Pass

CASES = golden_cases()


@pytest.mark.parametrize("case", CASES, ids=str)
def test_the_pass_makes_after_of_before(case: Case, update_golden: bool) -> None:
    if update_golden:
        case.before.write_text(case.canonical_before())
        case.after.write_text(case.run())
    assert case.run() == case.after.read_text()


@pytest.mark.parametrize("case", CASES, ids=str)
def test_a_second_run_changes_nothing(case: Case) -> None:
    graph = parse_graph(case.after.read_text())
    before = print_graph(graph, inline_limit=None)
    (run,) = PassManager([case.pass_], PassContext(RampCalibration())).run(graph)
    assert print_graph(graph, inline_limit=None) == before
    assert not run.changed


@pytest.mark.parametrize("case", CASES, ids=str)
def test_a_report_of_no_change_is_honest(case: Case) -> None:
    header, before = case.after.read_text().splitlines()[0], case.canonical_before().splitlines()[2:]
    after = [line for line in case.after.read_text().splitlines() if not line.startswith("#")]
    assert header == f"# changed: {'yes' if after != before else 'no'}"


@pytest.mark.parametrize("case", CASES, ids=str)
def test_files_are_canonical_and_say_what_they_show(case: Case) -> None:
    assert case.before.read_text() == case.canonical_before()
    assert case.header[0] == f"# pass: {case.header[0].removeprefix('# pass: ')}"
    assert case.header[1].startswith("# ")
    assert case.pass_.name == case.before.parent.name


@pytest.mark.parametrize("pass_class", BUILTIN, ids=lambda pass_class: pass_class.name)
def test_every_pass_has_golden_cases(pass_class: type[Pass]) -> None:
    assert len([case for case in CASES if isinstance(case.pass_, pass_class)]) >= 2


def test_no_file_is_left_over() -> None:
    known = {path for case in CASES for path in (case.before, case.after)}
    assert sorted(path for path in GOLDEN.rglob("*") if path.is_file() and path not in known) == []

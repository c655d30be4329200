"""Every operator that is imported gives what ONNX publishes for it, or is refused with a reason."""

from __future__ import annotations

import onnx
import pytest

from snnc.frontend.handlers import importable
from tests.conformance.onnx_nodes import Outcome, Verdict, verdicts
from tests.conformance.table import PAGE, page


@pytest.fixture(scope="module")
def found() -> list[Verdict]:
    return list(verdicts())


def test_no_case_fails(found: list[Verdict]) -> None:
    failed = [f"{verdict.case}: {verdict.reason}" for verdict in found if verdict.outcome is Outcome.FAILED]
    assert not failed, "\n".join(failed)


def test_every_refusal_says_why(found: list[Verdict]) -> None:
    assert all(verdict.reason for verdict in found if verdict.outcome is Outcome.UNSUPPORTED)


def test_every_operator_that_is_imported_passes_some_case(found: list[Verdict]) -> None:
    passed = {v.operator for v in found if v.outcome not in (Outcome.UNSUPPORTED, Outcome.FAILED)}
    standard = {name for name in importable() if "." not in name}
    # Those of which every case overwrites elements of a stream; models use them on shapes.
    assert standard - passed == {"ScatterElements", "ScatterND"}


def test_the_committed_page_is_current(found: list[Verdict]) -> None:
    committed = PAGE.read_text()
    if f"onnx {onnx.__version__})" not in " ".join(committed.split()):
        pytest.skip(f"docs/conformance.md is for another version of onnx than {onnx.__version__}")
    assert page(found) == committed, "run make conformance"

"""`make conformance`: what becomes of ONNX's node tests, operator by operator (docs/conformance.md)."""

from __future__ import annotations

import argparse
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING

import onnx

from snnc.frontend.handlers import importable
from snnc.frontend.loader import NEWEST_OPSET, OLDEST_OPSET
from tests.conformance.onnx_nodes import PASSED, Outcome, Verdict, verdicts

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

PAGE = Path(__file__).parents[2] / "docs" / "conformance.md"

INTRODUCTION = """# Conformance

`make conformance` writes this page and CI checks that it is current. ONNX publishes small models for
every operator, with inputs and the outputs to expect (`onnx.backend.test`, here of onnx {version}). Each
is imported, and its graph is evaluated by the kernels of the op table, the analog meaning that every
conversion starts from.

A case passes *as published*; or with its later inputs *constant*, since weights, axes and shapes must be;
or by its *first output* alone. What the importer refuses is unsupported, for the reason that `snnc check`
would give. Nothing may fail in another way. The expansions of operators that are functions count as cases
of their operator. Models of opsets before {oldest} are converted with `onnx.version_converter`; where one
of a newer opset than {newest} is also valid in opset {newest}, it is read as that.

Errors up to 0.001 relative (the suite's own tolerance) and 0.00001 absolute pass; 0.004 and 0.002 where
the expected values are float16, 0.02 and 0.01 where they are bfloat16. Integers and truths must be equal.
"""


def page(found: Sequence[Verdict]) -> str:
    """Return docs/conformance.md for these verdicts."""
    known = set(importable())
    ours = [verdict for verdict in found if verdict.operator in known]
    others = [verdict for verdict in found if verdict.operator not in known]
    introduction = INTRODUCTION.format(version=onnx.__version__, oldest=OLDEST_OPSET, newest=NEWEST_OPSET)
    return "\n".join(
        [
            introduction,
            f"## Operators that are imported\n\n{summary(ours)}\n\n{table(ours)}\n",
            "## Operators that are not\n\nWhere cases of these pass, they are expansions.\n",
            f"{summary(others)}\n\n{table(others)}\n",
        ]
    )


def summary(found: Sequence[Verdict]) -> str:
    counts = Counter(verdict.outcome for verdict in found)
    passed = sum(counts[outcome] for outcome in PASSED)
    operators = len({verdict.operator for verdict in found})
    return (
        f"{len(found)} cases of {operators} operators: {passed} passed, "
        f"{counts[Outcome.UNSUPPORTED]} unsupported, {counts[Outcome.FAILED]} failed."
    )


def table(found: Iterable[Verdict]) -> str:
    """Return a row for every operator."""
    rows: dict[str, list[Verdict]] = {}
    for verdict in found:
        rows.setdefault(verdict.operator, []).append(verdict)
    head = [
        "| operator | cases | as published | constant operands | first output | unsupported | why |",
        "|---|---|---|---|---|---|---|",
    ]
    return "\n".join([*head, *(row(operator, rows[operator]) for operator in sorted(rows))])


def row(operator: str, found: Sequence[Verdict]) -> str:
    counts = Counter(verdict.outcome for verdict in found)
    failed = [f"FAILED {verdict.case}" for verdict in found if verdict.outcome is Outcome.FAILED]
    reasons = Counter(shown(verdict.reason) for verdict in found if verdict.outcome is Outcome.UNSUPPORTED)
    why = [*failed, *(f"{reason} ({count})" for reason, count in sorted(reasons.items()))]
    cells = [str(counts[outcome] or "") for outcome in (*PASSED, Outcome.UNSUPPORTED)]
    return f"| {operator} | {len(found)} | {' | '.join(cells)} | {'; '.join(why)} |"


def shown(reason: str) -> str:
    """Return a reason on one line, each part of it once."""
    parts = dict.fromkeys(" ".join(part.split()) for part in reason.split("; "))
    return "; ".join(parts).replace("|", "\\|")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--write", type=Path, help="write the page to this file as well")
    options = parser.parse_args()
    text = page(list(verdicts()))
    print(text)
    if options.write:
        options.write.write_text(text)


if __name__ == "__main__":
    main()

"""Work grows with the number of nodes, not with its square: lines of Python executed, counted, not timed."""

from __future__ import annotations

import sys
import warnings
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from snnc.passes.registry import default_registry

if TYPE_CHECKING:
    from collections.abc import Callable
    from types import FrameType
    from typing import Any

BENCHMARKS = Path(__file__).resolve().parents[1] / "benchmarks"
NODES = 112  # eight blocks of the transformer: no pattern reaches farther than that
LINEAR, QUADRATIC = 2.3, 3.5


def executed_lines(run: Callable[[], object]) -> int:
    """Return how many lines of Python ran, those of comprehensions once per element."""
    count = 0

    def trace(frame: FrameType, event: str, argument: object) -> Any:
        nonlocal count
        count += event == "line"
        return trace

    before = sys.gettrace()
    sys.settrace(trace)
    try:
        run()
    finally:
        sys.settrace(before)
    return count


@pytest.fixture(scope="module")
def growth() -> Any:
    sys.path.insert(0, str(BENCHMARKS))
    try:
        import growth

        return growth
    finally:
        sys.path.remove(str(BENCHMARKS))


def test_the_count_tells_linear_from_quadratic() -> None:
    def linear(n: int) -> object:
        return [2 * item for item in range(n)]

    def quadratic(n: int) -> object:
        return [item for item in range(n) for _ in range(n)]

    assert executed_lines(lambda: linear(400)) < LINEAR * executed_lines(lambda: linear(200))
    assert executed_lines(lambda: quadratic(80)) > QUADRATIC * executed_lines(lambda: quadratic(40))


def test_twice_the_nodes_cost_twice_the_work(growth: Any, tmp_path: Path) -> None:
    def measured(nodes: int) -> dict[str, int]:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return {name: executed_lines(run) for name, run in growth.stages(nodes, tmp_path)}

    for _, run in growth.stages(14, tmp_path):
        run()  # what every first call does: modules, the grammar
    once, twice = measured(NODES), measured(2 * NODES)
    assert once.keys() >= default_registry().passes.keys()
    ratios = {name: twice[name] / once[name] for name in once}
    assert {name: ratio for name, ratio in ratios.items() if ratio > LINEAR} == {}

"""Every operator the frontend imports, in a small network of its own, under every law."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from snnc.frontend import import_onnx
from snnc.frontend.handlers import importable
from snnc.ir.ops import op_table
from snnc.methods import METHODS
from snnc.passes.builtin import BUILTIN
from tests.generated import laws
from tests.generated.integers import LOWERING, LOWERING_OF_SUMS
from tests.generated.networks import BLOCKS, alone
from tests.generated.spiking import KINDS

if TYPE_CHECKING:
    from pathlib import Path

    from tests.generated.blocks import Block

WAYS: list[Any] = [(method, coding) for method in METHODS for coding in ("rate", "differential")]


def test_every_operator_and_every_op_is_generated() -> None:
    """No ONNX operator becomes delay, no method makes lif: test_random_spiking has graphs with these."""
    networks = [alone(block) for block in BLOCKS]
    assert set(importable()) == set().union(*(network.operators for network in networks))
    found = set()
    for network in networks:
        found |= {node.op.name for node in import_onnx(network.model)}
        found |= {node.op.name for node in laws.raised(network)}
        found |= {node.op.name for node in laws.compiled(network, "multi-spike")}
    assert set(op_table()) - found == {"lif", "delay"} < set(KINDS)


def test_names_are_unique() -> None:
    assert len({block.name for block in BLOCKS}) == len(BLOCKS)


def test_every_pass_states_its_bound_and_is_tested() -> None:
    assert [pass_.name for pass_ in BUILTIN if pass_.preserves is None] == []
    run = {type(pass_) for method, coding in WAYS for pass_ in laws.pipeline(method, coding)}
    assert set(BUILTIN) == run | {type(pass_) for pass_ in (*LOWERING, *LOWERING_OF_SUMS)}


@pytest.mark.parametrize(("place", "block"), list(enumerate(BLOCKS)), ids=str)
def test_laws(place: int, block: Block, tmp_path: Path) -> None:
    """The ways to compile take turns; the random networks mix them with all blocks."""
    network = alone(block)
    laws.hold(network, *WAYS[place % len(WAYS)], tmp_path)

"""Sources as ONNX initializers."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

    from snnc.backends.onnx.builder import Emitter, ModelBuilder
    from snnc.ir.graph import Node


def constant(model: ModelBuilder, node: Node, inputs: Sequence[str]) -> str:
    return model.tensor(node, "value")


EMITTERS: dict[str, Emitter] = {"constant": constant}

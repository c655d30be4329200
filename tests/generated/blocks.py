"""What a block is: a few ONNX nodes that turn a stream into another."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeAlias

from tests.generated.builder import Builder, Stream

Build: TypeAlias = Callable[[Builder, Stream], Stream]

VECTOR, TOKENS, IMAGE = 1, 2, 3
ANY = (VECTOR, TOKENS, IMAGE)


@dataclass(frozen=True, slots=True)
class Block:
    """Some nodes, and the ranks of streams (without the batch) they can read.

    `steep`: what it computes jumps or is infinitely steep somewhere, so small errors may become large ones.
    `quantises`: it carries a quantiser of its own, which becomes a neuron that computes it.
    """

    name: str
    build: Build
    ranks: tuple[int, ...] = ANY
    steep: bool = False
    quantises: bool = False
    opset: int | None = None

    def __str__(self) -> str:
        return self.name


def block(
    *ranks: int,
    steep: bool = False,
    quantises: bool = False,
    opset: int | None = None,
) -> Callable[[Build], Block]:
    """Make a block of the function that builds it."""

    def make(build: Build) -> Block:
        name = build.__name__.rstrip("_").replace("_", "-")
        return Block(name, build, ranks or ANY, steep, quantises, opset)

    return make

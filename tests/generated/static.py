"""Blocks that bring integers: token ids, masks, indices, tables of positions."""

from __future__ import annotations

from functools import partial

import numpy as np

from tests.generated.blocks import TOKENS, Block, block
from tests.generated.builder import VOCABULARY, Builder, Stream


def masked(b: Builder, x: Stream, mask: Stream) -> Stream:
    """Add a number where the mask holds."""
    return b.op("Add", x, b.op("Where", mask, b.constant(0.5, "f4"), b.constant(-0.25, "f4")), shape=x.shape)


def compared(b: Builder, x: Stream, *, operator: str) -> Stream:
    return masked(b, x, b.op(operator, b.ids(*x.shape), b.constant(5, "i8")))


COMPARISONS = tuple(
    Block(operator, partial(compared, operator=operator))
    for operator in ("Equal", "Less", "LessOrEqual", "Greater", "GreaterOrEqual")
)


def combined(b: Builder, x: Stream, *, operator: str) -> Stream:
    ids = b.ids(*x.shape)
    first, second = b.op("Less", ids, b.constant(7, "i8")), b.op("Greater", ids, b.constant(3, "i8"))
    return masked(b, x, b.op("Not", b.op(operator, first, second)))


LOGIC = tuple(Block(operator, partial(combined, operator=operator)) for operator in ("And", "Or", "Xor"))


@block(TOKENS)
def embedding(b: Builder, x: Stream) -> Stream:
    length, width = x.shape
    words = b.op("Gather", b.real(VOCABULARY, width), b.ids(length), shape=x.shape)
    return b.op("Add", x, words)


@block(TOKENS)
def parity(b: Builder, x: Stream) -> Stream:
    odd = b.op("Mod", b.ids(*x.shape), b.constant(2, "i8"))
    return b.op("Add", x, b.op("Cast", odd, to=1))


@block()
def guarded_mask(b: Builder, x: Stream) -> Stream:
    """0 / 0 where the mask is empty, and 0 in its place."""
    mask = b.op("Cast", b.op("Less", b.ids(*x.shape), b.constant(4, "i8")), to=1)
    share = b.op("Div", mask, mask)
    return b.op("Add", x, b.op("Where", b.op("IsNaN", share), b.constant(0, "f4"), share))


@block(TOKENS)
def pick_elements(b: Builder, x: Stream) -> Stream:
    places = b.op("Mod", b.ids(*x.shape), b.constant(x.shape[0], "i8"))
    return b.op("GatherElements", x, places, axis=1)


@block(TOKENS)
def pick_rows(b: Builder, x: Stream) -> Stream:
    """Rows of a constant table by the ids of every sample."""
    length, width = x.shape
    places = b.op("Unsqueeze", b.ids(length), b.ints(2), shape=(length, 1))
    return b.op("Add", x, b.op("GatherND", b.real(VOCABULARY, width), places, shape=x.shape))


@block(TOKENS)
def positions(b: Builder, x: Stream) -> Stream:
    """0, 1, 2, … up to the length that Shape says, as numbers."""
    length = b.op("Gather", b.op("Shape", x), b.constant(1, "i8"))
    numbers = b.op("Range", b.constant(0, "i8"), length, b.constant(1, "i8"))
    column = b.op("Unsqueeze", b.op("Cast", numbers, to=1), b.ints(1))
    return b.op("Add", x, b.op("Mul", column, b.constant(0.1, "f4")), shape=x.shape)


@block(TOKENS)
def scattered_table(b: Builder, x: Stream) -> Stream:
    """A table of which single elements are overwritten, some found by NonZero."""
    length, width = x.shape
    first = b.constant([[0]], "i8")
    table = b.op("ScatterElements", b.real(length, width), first, b.real(1, 1), shape=(), axis=1)
    diagonal = b.op("NonZero", b.constant(np.eye(length, width, dtype=np.float32)), shape=())
    places = b.op("Transpose", diagonal, perm=[1, 0])
    table = b.op("ScatterND", table, places, b.real(min(length, width)))
    return b.op("Add", x, table, shape=x.shape)


@block(TOKENS)
def pick_tokens(b: Builder, x: Stream) -> Stream:
    """The tokens that every sample's ids name, by their place in the batch and in the sample."""
    length, _ = x.shape
    count = b.op("Gather", b.op("Shape", x, shape=()), b.constant(0, "i8"))
    samples = b.op("Range", b.constant(0, "i8"), count, b.constant(1, "i8"))
    column = b.op("Expand", b.op("Unsqueeze", samples, b.ints(1, 2)), b.ints(1, length, 1))
    places = b.op("Unsqueeze", b.op("Mod", b.ids(length), b.constant(length, "i8")), b.ints(2))
    return b.op("GatherND", x, b.op("Concat", column, places, axis=2), shape=x.shape)


@block(TOKENS)
def look_up(b: Builder, x: Stream) -> Stream:
    """A column of a constant table for every id."""
    length, width = x.shape
    table = b.op("Gather", b.real(width, VOCABULARY), b.ids(length), axis=1)
    return b.op("Add", x, b.op("Transpose", table, perm=[1, 2, 0]), shape=x.shape)


@block()
def constant_node(b: Builder, x: Stream) -> Stream:
    number = b.op("Constant", value_float=0.25, shape=())
    return b.op("Add", x, number)


BLOCKS = (
    *COMPARISONS, *LOGIC, embedding, parity, guarded_mask, pick_elements, pick_rows, pick_tokens, look_up,
    positions, scattered_table, constant_node,
)  # fmt: skip

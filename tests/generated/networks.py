"""How blocks become networks: at random with hypothesis, or each block on its own."""

from __future__ import annotations

import zlib
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np
from hypothesis import strategies as st

from tests.generated import functions, fused, layers, moves, quantised, static
from tests.generated.blocks import IMAGE, TOKENS, VECTOR, Block
from tests.generated.builder import OPSET, Builder, Stream

if TYPE_CHECKING:
    from collections.abc import Sequence

    import onnx

    from snnc.ir.kernel_types import Array

FAMILIES = (functions, layers, moves, static, quantised, fused)
BLOCKS: tuple[Block, ...] = tuple(block for family in FAMILIES for block in family.BLOCKS)
SHAPES = {VECTOR: (6,), TOKENS: (4, 6), IMAGE: (2, 4, 6)}
LARGEST = 256  # elements of a stream


@dataclass(frozen=True)
class Network:
    """A model, samples of its inputs, and the blocks it consists of, in order."""

    model: onnx.ModelProto = field(repr=False)
    data: dict[str, Array] = field(repr=False)
    blocks: tuple[str, ...]
    steep: bool
    quantises: bool

    @property
    def operators(self) -> set[str]:
        return {
            f"{node.domain}.{node.op_type}" if node.domain else node.op_type for node in self.model.graph.node
        }


def network(b: Builder, outputs: Sequence[Stream], blocks: Sequence[Block]) -> Network:
    """Return what was built."""
    return Network(
        b.model(list(outputs)),
        b.data,
        tuple(block.name for block in blocks),
        any(block.steep for block in blocks),
        any(block.quantises for block in blocks),
    )


def synapse(b: Builder, x: Stream) -> Stream:
    """Add the plainest layer for a stream."""
    return (layers.convolution if len(x.shape) == IMAGE else layers.linear).build(b, x)


def alone(block: Block) -> Network:
    """Return the network in which one block stands between layers; what it reads varies in time."""
    b = Builder(np.random.default_rng(zlib.crc32(block.name.encode())), block.opset or OPSET)
    x = synapse(b, b.op("Relu", synapse(b, b.image(*SHAPES[block.ranks[-1]]))))
    y = block.build(b, x)
    return network(b, [synapse(b, y)], [block])


# At random.

RANDOM = [block for block in BLOCKS if block.opset is None]


@st.composite
def networks(draw: st.DrawFn, blocks: Sequence[Block] = RANDOM) -> Network:
    """Draw a network of one to three inputs, up to seven blocks and up to three outputs.

    Every block reads any earlier stream, so there are chains, branches and several readers; `joined` merges
    branches (residuals, gates, concatenation); weights of one shape are shared half of the time.
    """
    b = Builder(np.random.default_rng(draw(st.integers(0, 2**32 - 1))))
    ranks = draw(st.lists(st.sampled_from(list(SHAPES)), min_size=1, max_size=3))
    streams = [b.image(*SHAPES[rank]) for rank in ranks]
    used: list[Block] = []
    for _ in range(draw(st.integers(1, 7))):
        x = draw(st.sampled_from(streams[-3:]))
        if draw(st.booleans()):
            x = synapse(b, x)
        chosen = draw(st.sampled_from([block for block in blocks if len(x.shape) in block.ranks]))
        y = chosen.build(b, x)
        if y.size <= LARGEST:
            used.append(chosen)
            streams.append(joined(draw, b, y, streams))
    last = synapse(b, streams[-1])
    others = draw(st.lists(st.sampled_from(streams[len(ranks) :] or [last]), max_size=2, unique=True))
    return network(b, list(dict.fromkeys([last, *others])), used)


def joined(draw: st.DrawFn, b: Builder, x: Stream, streams: Sequence[Stream]) -> Stream:
    """Merge a stream with an earlier one of its shape, sometimes."""
    alike = [stream for stream in streams if stream.shape == x.shape]
    how = draw(st.sampled_from(["", "Add", "Sub", "Mul", "Max", "Concat"]))
    if not alike or not how:
        return x
    other = draw(st.sampled_from(alike))
    if how == "Concat":
        return b.op("Concat", x, other, shape=(2 * x.shape[0], *x.shape[1:]), axis=1)
    if how == "Mul":
        other = b.op("Tanh", other)
    return b.op(how, x, other)

"""The text of graphs: parsed, verified, and printed again."""

from __future__ import annotations

from typing import TYPE_CHECKING

from snnc.ir.archive import load
from snnc.ir.text import parse_graph, print_graph
from tests.fuzz.mutation import reworded
from tests.fuzz.target import FindingError, Target
from tests.ir.sample_graphs import small_network

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path
    from random import Random

WORDS = (
    "sir 1\n", "graph @g(", "tensor<f32, N x 2>", "spikes<-7..7, N x 2>", "spikes<0..15 pow2 scaled, 4>",
    "return ", " as ", " from ", " decode last", " coding differential", "{", "}", "[", "]", "(", ")", "<",
    "=", ",", ":", "%0", "%x", '%"\\u0000"', "@w", '@"w w"', '"', "\\", "#", "\n", "true", "inf", "nan", ">",
    "1e999", "N", "-N", "99999999999999999999N", "multi(-32767, 32767)", "binary", "ternary", "expect.",
    "power_of_two(4)", "relu(%x)", "conv(%x) {weight = @w}", "expand(%x) {shape = [N, 1099511627776]}",
    "tile(%x) {repeats = [9, 9]}", "pad(%x) {pads = [1, 1, 1, 1]}", "scalar", " x 0", " x 1099511627776",
    "neuron(%x) {codebook = binary, quantum = @q}", "tensor @q : tensor<f32, 1> = [1.0]",
    "constant() {value = @w}", "reshape(%x) {shape = [-1]}",
)  # fmt: skip


def feed(data: bytes, folder: Path) -> None:
    path = folder / "net.sir"
    path.write_bytes(data)
    graph = load(path, check_weights=True).graph
    text = print_graph(graph, inline_limit=None)
    if print_graph(parse_graph(text), inline_limit=None) != text:
        raise FindingError("the graph does not print, parse and print as the same text")


def seeds() -> Sequence[bytes]:
    whole = print_graph(small_network(), inline_limit=None).encode()
    tiny = (
        "sir 1\ngraph @g(%x: tensor<f32, N x 2>, %y: spikes<-1..1, N x 2>) coding differential {\n"
        '  %0 = add(%x, %x) : tensor<f32, N x 2> from "a" as "b"\n  return %0 as "z" decode last\n}\n'
        "tensor @w : tensor<i8, 2> = [1, -1]\n"
    )
    return [whole, tiny.encode()]


def mutate(data: bytes, rng: Random) -> bytes:
    return reworded(data, rng, WORDS)


TARGET = Target("sir-texts", feed, seeds, mutate)

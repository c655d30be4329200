"""The operators of domain ai.snnc, version 1: neurons and aggregation of networks that spike already.

LIF(x, v) -> (s, v_next), all [N, ..]; attributes leak, gain, threshold, rest, reset ("hard" or "soft"):
    m = leak v + gain x; s = 1 where m >= threshold, else 0; v_next = rest where s = 1, else m (hard),
    m - threshold s (soft)
SpikeAggregate(q) -> a; attribute heads: q [N, tokens, C] -> a [N, tokens, heads], the sum of each head's
    C / heads channels

Both are written in standard operators; `lift_states` makes the neuron of them.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np

from snnc.ir.shapes import static_dim

if TYPE_CHECKING:
    from snnc.frontend.context import Entry, Handler, NodeContext

DOMAIN = "ai.snnc"
VERSION = 1


def lif(ctx: NodeContext) -> tuple[Entry, Entry]:
    x, v = ctx.stream(0), ctx.stream(1)
    threshold = number(ctx, "threshold", 1.0)
    reset = ctx.attribute("reset", "hard")
    if reset not in ("hard", "soft"):
        ctx.reject(f"its reset is {reset!r}", "it can be 'hard' or 'soft'")
    kept = scaled(ctx, v, number(ctx, "leak", 1.0))
    m = ctx.emit("add", [kept, scaled(ctx, x, number(ctx, "gain", 1.0))])
    fires = ctx.emit("greater_equal", [m, threshold])
    spikes = ctx.emit("cast", [fires], {"to": "f32"})
    if reset == "soft":
        return spikes, ctx.emit("sub", [m, ctx.emit("mul", [spikes, threshold])])
    return spikes, ctx.emit("where", [fires, number(ctx, "rest", 0.0), m])


def number(ctx: NodeContext, name: str, default: float) -> Entry:
    value = ctx.attribute(name, default)
    if not isinstance(value, float) or not math.isfinite(value):
        ctx.reject(f"its {name} is {value!r}, not a finite number")
    return np.array(value, np.float32)


def scaled(ctx: NodeContext, entry: Entry, factor: Entry) -> Entry:
    return ctx.emit("mul", [entry, factor])


def spike_aggregate(ctx: NodeContext) -> Entry:
    q, heads = ctx.stream(0), ctx.attribute("heads")
    if len(q.type.shape) != 3:
        ctx.reject(f"it aggregates {q.type}", "its operand is [N, tokens, channels]")
    channels = static_dim(q.type.shape[2], "the channel axis")
    if not isinstance(heads, int) or heads < 1 or channels % heads:
        ctx.reject(f"{channels} channels cannot be shared by {heads!r} heads")
    split = ctx.emit("reshape", [q], {"shape": (*q.type.shape[:2], heads, channels // heads)})
    return ctx.emit("reduce_sum", [split], {"axes": (3,), "keepdims": False})


HANDLERS: dict[str, Handler] = {"LIF": lif, "SpikeAggregate": spike_aggregate}

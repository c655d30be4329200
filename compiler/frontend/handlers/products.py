"""Operators that are products of several tensors: Einsum and Attention, in terms of matmul."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np

from snnc.frontend.handlers.movement import reshaped
from snnc.frontend.handlers.synapse import scaled
from snnc.ir.graph import Value
from snnc.ir.shapes import element_count, show_shape, static_dim

if TYPE_CHECKING:
    from collections.abc import Sequence

    from snnc.frontend.context import Entry, Handler, NodeContext
    from snnc.ir.kernel_types import Array
    from snnc.ir.shapes import Dim

# What hides a position from softmax. Finite: exp of it is exactly 0, and its mean over time stays itself.
HIDDEN = np.float32(-1e9)


# Einsum.


def einsum(ctx: NodeContext) -> Entry:
    """Contract the operands from the left; each index is summed as soon as nothing else has it."""
    operands = [ctx.entry(index) for index in range(len(ctx.inputs))]
    terms, result = einsum_terms(ctx, [len(ctx.shape(operand)) for operand in operands])
    y, term = operands[0], terms[0]
    for index in range(1, len(operands)):
        wanted = set(result).union(*terms[index + 1 :])
        y, term = summed_alone(ctx, y, term, wanted | set(terms[index]))
        z, other = summed_alone(ctx, operands[index], terms[index], wanted | set(term))
        kept = "".join(dict.fromkeys(letter for letter in term + other if letter in wanted))
        y, term = einsum_matmul(ctx, (y, term), (z, other), kept), kept
    y, term = summed_alone(ctx, y, term, set(result))
    return arranged(ctx, y, term, list(result))


def einsum_terms(ctx: NodeContext, ranks: Sequence[int]) -> tuple[list[str], str]:
    """Return the indices of every operand and of the result, one letter each, those of '...' included."""
    equation = ctx.attribute("equation").replace(" ", "")
    left, arrow, result = equation.partition("->")
    terms = left.split(",")
    spare = [chr(code) for code in range(ord("A"), ord("z") + 1) if chr(code) not in equation]
    more = {
        rank - len(term.replace("...", "")) for term, rank in zip(terms, ranks, strict=True) if "." in term
    }
    if len(more) > 1 or min(more, default=0) < 0:
        ctx.reject(f"its equation {equation!r} has '...' for different numbers of axes")
    others = "".join(spare[: max(more, default=0)])
    if not arrow:
        once = sorted(index for index in set(left) - set(".,") if left.count(index) == 1)
        result = ("..." if more else "") + "".join(once)
    terms, result = [term.replace("...", others) for term in terms], result.replace("...", others)
    if any(len(set(term)) != len(term) for term in [*terms, result]):
        ctx.reject(f"its equation {equation!r} takes a diagonal", "an index may occur once in a tensor")
    return terms, result


def summed_alone(ctx: NodeContext, x: Entry, term: str, wanted: set[str]) -> tuple[Entry, str]:
    """Sum the axes of one operand that nothing else has."""
    index_sizes(ctx, term, x)
    axes = tuple(axis for axis, index in enumerate(term) if index not in wanted)
    if axes:
        x = ctx.emit("reduce_sum", [x], {"axes": axes, "keepdims": False})
    return x, "".join(index for index in term if index in wanted)


def einsum_matmul(
    ctx: NodeContext, first: tuple[Entry, str], second: tuple[Entry, str], result: str
) -> Entry:
    """Emit left[batch, rows, sum] @ right[batch, sum, columns], or a linear op where right is constant."""
    (a, left), (b, right) = first, second
    sizes = index_sizes(ctx, left, a) | index_sizes(ctx, right, b)
    batch = [index for index in left if index in right and index in result]
    summed = [index for index in left if index in right and index not in result]
    rows = [index for index in left if index not in right]
    columns = [index for index in right if index not in left]
    total, width = (element_count(tuple(sizes[i] for i in group)) for group in (summed, columns))
    lead = tuple(sizes[index] for index in batch)
    if not isinstance(b, Value) and not batch and isinstance(total, int):
        weight = arranged(ctx, b, right, [*columns, *summed])
        x = arranged(ctx, a, left, [*rows, *summed])
        x = reshaped(ctx, x, (*(sizes[index] for index in rows), total))
        matrix = np.asarray(weight).reshape(-1, total)
        y = ctx.emit("linear", [x], {"weight": matrix})
    elif not (summed or rows or columns):
        y = ctx.emit("mul", [arranged(ctx, a, left, batch), arranged(ctx, b, right, batch)])
    else:
        height = element_count(tuple(sizes[index] for index in rows))
        x = reshaped(ctx, arranged(ctx, a, left, [*batch, *rows, *summed]), (*lead, height, total))
        z = reshaped(ctx, arranged(ctx, b, right, [*batch, *summed, *columns]), (*lead, total, width))
        y = ctx.emit("matmul", [x, z])
    order = [*batch, *rows, *columns]
    y = reshaped(ctx, y, tuple(sizes[index] for index in order))
    return arranged(ctx, y, "".join(order), list(result))


def index_sizes(ctx: NodeContext, term: str, entry: Entry) -> dict[str, Dim]:
    shape = ctx.shape(entry)
    if len(shape) != len(term):
        ctx.reject(f"its term {term!r} does not fit {show_shape(shape)}")
    return dict(zip(term, shape, strict=True))


def arranged(ctx: NodeContext, entry: Entry, term: str, order: Sequence[str]) -> Entry:
    perm = tuple(term.index(index) for index in order)
    return entry if perm == tuple(range(len(perm))) else ctx.emit("transpose", [entry], {"perm": perm})


# Attention (opset 23).


def attention(ctx: NodeContext) -> Entry:
    if ctx.has(4) or ctx.has(5) or ctx.attribute("softcap", 0.0):
        ctx.reject("it uses a cache of past keys or a soft cap", "export the model without a key-value cache")
    if any(ctx.node.output[1:]):
        ctx.reject("it returns more than the attention itself")
    merged = len(ctx.shape(ctx.entry(0))) == 3
    query = heads(ctx, 0, "q_num_heads")
    key, value = heads(ctx, 1, "kv_num_heads"), heads(ctx, 2, "kv_num_heads")
    count, width = (static_dim(ctx.shape(query)[axis], f"query axis {axis}") for axis in (1, 3))
    key, value = shared_heads(ctx, key, count), shared_heads(ctx, value, count)
    scale = ctx.attribute("scale", 1 / math.sqrt(width))
    turned = ctx.emit("transpose", [key], {"perm": (0, 1, 3, 2)})
    scores = ctx.emit("matmul", [scaled(ctx, query, scale), turned])
    weights = ctx.emit("softmax", [masked(ctx, scores)], {"axis": -1})
    y = ctx.emit("matmul", [without_hidden_rows(ctx, weights), value])
    if not merged:
        return y
    batch, _, length, inner = ctx.shape(y)
    y = ctx.emit("transpose", [y], {"perm": (0, 2, 1, 3)})
    return ctx.emit("reshape", [y], {"shape": (batch, length, element_count((count, inner)))})


def heads(ctx: NodeContext, index: int, attribute: str) -> Entry:
    """Return an input as [batch, heads, length, width]."""
    x = ctx.entry(index)
    shape = ctx.shape(x)
    if len(shape) == 4:
        return x
    batch, length, hidden = shape
    count = ctx.attribute(attribute)
    width = static_dim(hidden, "the hidden size") // count
    x = ctx.emit("reshape", [x], {"shape": (batch, length, count, width)})
    return ctx.emit("transpose", [x], {"perm": (0, 2, 1, 3)})


def shared_heads(ctx: NodeContext, x: Entry, count: int) -> Entry:
    """Repeat each key or value head for its group of query heads."""
    own = static_dim(ctx.shape(x)[1], "the number of heads")
    if own == count:
        return x
    if count % own:
        ctx.reject(f"its {count} query heads do not share {own} key heads evenly")
    ctx.claim(count)
    return ctx.emit("gather", [x], {"axis": 1, "indices": np.repeat(np.arange(own), count // own)})


def masked(ctx: NodeContext, scores: Entry) -> Entry:
    """Add the causal mask and the given mask to scores [batch, heads, queries, keys]."""
    causal = causal_mask(ctx, scores)
    if causal is not None:
        scores = ctx.emit("add", [scores, np.where(causal, np.float32(0), HIDDEN)])
    if not ctx.has(3):
        return scores
    mask = ctx.entry(3)
    if ctx.dtype(mask) == "bool":
        mask = ctx.emit("where", [mask, np.zeros((), np.float32), np.asarray(HIDDEN)])
    return ctx.emit("add", [scores, mask])


def causal_mask(ctx: NodeContext, scores: Entry) -> Array | None:
    """Return which keys each query may see if the attention is causal: [queries, keys]."""
    if not ctx.attribute("is_causal", 0):
        return None
    queries, keys = (static_dim(dim, "the sequence length") for dim in ctx.shape(scores)[2:])
    ctx.claim(queries, keys, 2)  # truths, and the numbers they stand for
    return np.tril(np.ones((queries, keys), bool))


def without_hidden_rows(ctx: NodeContext, weights: Entry) -> Entry:
    """Put 0 in the rows of softmax whose keys are all hidden; only a mask of truths hides them so."""
    if not ctx.has(3) or ctx.dtype(ctx.entry(3)) != "bool":
        return weights
    seen, causal = ctx.entry(3), causal_mask(ctx, weights)
    if causal is not None:
        seen = ctx.emit("logical_and", [seen, causal])
    if not isinstance(seen, Value) and seen.any(axis=-1).all():
        return weights
    return ctx.emit("where", [seen, weights, np.zeros((), np.float32)])


HANDLERS: dict[str, Handler] = {
    "Einsum": einsum,
    "Attention": attention,
}

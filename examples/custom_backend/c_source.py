"""A backend of one's own: networks of linear layers and neurons as one C99 file without dependencies.

int32_t and float only; `void reset(void)`, then `void step(const float *x, float *y)` once per time step,
one sample. y receives the decoded output after the steps so far.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, BinaryIO

import numpy as np

from snnc.emission import EmitOptions, Target
from snnc.ir.codebooks import Binary, MultiSpike
from snnc.ir.errors import BackendError
from snnc.ir.shapes import per_sample

if TYPE_CHECKING:
    from collections.abc import Callable

    from snnc.ir.graph import Graph, Node, Value


@dataclass
class Source:
    """The C source so far: declarations, the body of `reset`, the body of `step`; buffers by value."""

    graph: Graph
    declarations: list[str] = field(default_factory=list)
    reset: list[str] = field(default_factory=list)
    step: list[str] = field(default_factory=list)
    buffers: dict[Value, str] = field(default_factory=dict)

    def buffer(self, value: Value) -> tuple[str, int]:
        """Return the name and size of a new array of floats for a value."""
        name, size = f"v{len(self.buffers)}", per_sample(value.type.shape)
        self.buffers[value] = name
        self.declarations.append(f"static float {name}[{size}];")
        return name, size

    def constant(self, array: np.ndarray, shape: tuple[int, ...]) -> str:
        """Return the name of a new constant array, broadcast to a shape."""
        name = f"c{len(self.declarations)}"
        values = np.broadcast_to(array, shape).astype(np.float32).ravel()
        numbers = ", ".join(float(value).hex() + "f" for value in values)
        self.declarations.append(f"static const float {name}[] = {{{numbers}}};")
        return name

    def loop(self, size: int, *body: str) -> None:
        self.step += [f"for (int i = 0; i < {size}; i++) {{", *(f"  {line}" for line in body), "}"]


def write_linear(node: Node, source: Source) -> None:
    """y[o] = bias[o] + Σ_i weight[o, i] x[i]"""
    given = source.graph.resolve(node)
    outputs, inputs = given["weight"].shape
    weight = source.constant(given["weight"], (outputs, inputs))
    x = source.buffers[node.operands[0]]
    y, size = source.buffer(node.result)
    if size != outputs:
        refuse(node, "it has more axes than [N, channels]", "flatten in front of it")
    start = "0" if given["bias"] is None else f"{source.constant(given['bias'], (outputs,))}[i]"
    source.loop(
        size,
        f"float sum = {start};",
        f"for (int j = 0; j < {inputs}; j++) sum += {weight}[i * {inputs} + j] * {x}[j];",
        f"{y}[i] = sum;",
    )


def write_neuron(node: Node, source: Source) -> None:
    """m = v + x + bias; k = Q(m / quantum); v = m - quantum k; y = scale k"""
    given = source.graph.resolve(node)
    for name in ("negative", "level_axis", "charge"):
        if given[name] is not None:
            refuse(node, f"it has {name}", "compile with --method multi-spike or if")
    if given["reset"] != "subtract":
        refuse(node, f"it resets by {given['reset']}", "compile with --reset subtract")
    if given["bounds"] != "step":
        refuse(node, f"its bounds hold for a {given['bounds']}", "compile with --method multi-spike or if")
    x, shape = source.buffers[node.operands[0]], tuple(node.result.type.shape[1:])
    y, size = source.buffer(node.result)
    one = np.ones((1, *(1 for _ in shape)), np.float32)
    quantum, scale, bias = (
        source.constant(default if given[name] is None else given[name], (1, *shape))
        for name, default in (("quantum", one), ("scale", one), ("bias", 0 * one))
    )
    source.declarations.append(f"static float m{y}[{size}];")
    source.reset.append(f"for (int i = 0; i < {size}; i++) m{y}[i] = {given['initial']}f * {quantum}[i];")
    source.loop(
        size,
        f"float m = m{y}[i] + {x}[i] + {bias}[i];",
        f"float k = {payload(node, given['codebook'], f'm / {quantum}[i]')};",
        f"m{y}[i] = m - {quantum}[i] * k;",
        f"{y}[i] = {scale}[i] * k;",
    )


def payload(node: Node, codebook: object, u: str) -> str:
    """Return Q(u) as a C expression."""
    match codebook:
        case Binary():
            return f"({u} >= 1 ? 1 : 0)"
        case MultiSpike(lo, hi, rounding) if rounding != "burst":
            rounded = f"{'rintf' if rounding == 'nearest' else 'floorf'}({u})"
            return f"fminf(fmaxf({rounded}, {lo}), {hi})"
        case _:
            refuse(
                node, f"it sends {codebook}", "compile with --method if, or insert-neurons{rounding=nearest}"
            )


def write_alias(node: Node, source: Source) -> None:
    """A row-major reshape moves nothing."""
    source.buffers[node.result] = source.buffers[node.operands[0]]


WRITERS: dict[str, Callable[[Node, Source], None]] = {
    "linear": write_linear,
    "neuron": write_neuron,
    "reshape": write_alias,
}


def write(graph: Graph, options: EmitOptions, file: BinaryIO) -> str:
    """Write the C source; `BackendError` names what it has no words for."""
    if graph.coding != "rate" or options.varying or len(graph.inputs) != 1 or len(graph.outputs) != 1:
        raise BackendError("the C backend writes networks in rate coding with one input and one output")
    source = Source(graph)
    x, size = source.buffer(graph.inputs[0])
    source.step.append(f"memcpy({x}, x, sizeof {x});")
    for node in graph:
        if node.expect or node.op.name not in WRITERS:
            refuse(node, "the C backend does not know this operation", f"it knows {', '.join(WRITERS)}")
        WRITERS[node.op.name](node, source)
    (output,) = graph.outputs
    if output.decode != "mean":
        raise BackendError(
            f"the C backend decodes means, not {output.decode}", help="emit with --decode mean"
        )
    write_output(source, output.value)
    file.write(text(source).encode())
    return f"C99, {size} inputs, {per_sample(output.value.type.shape)} outputs"


def write_output(source: Source, value: Value) -> None:
    """y = S(t) / t"""
    size = per_sample(value.type.shape)
    source.declarations += [f"static float total[{size}];", "static int t;"]
    source.reset += ["memset(total, 0, sizeof total);", "t = 0;"]
    source.step.append("t++;")
    source.loop(size, f"total[i] += {source.buffers[value]}[i];", "y[i] = total[i] / t;")


def text(source: Source) -> str:
    lines = ["#include <math.h>", "#include <string.h>", "", *source.declarations, ""]
    for head, body in (
        ("void reset(void)", source.reset),
        ("void step(const float *x, float *y)", source.step),
    ):
        lines += [f"{head} {{", *(f"  {line}" for line in body), "}", ""]
    return "\n".join(lines)


def refuse(node: Node, why: str, help: str) -> None:
    name = f"{node.full_name} from {', '.join(node.origin) or 'nothing'}"
    raise BackendError(f"{name} cannot be written in C: {why}", help=help)


TARGET = Target("c", ".c", write)

"""NIR by hand: one sample, one number at a time, written from NIR's equations and from nothing of ours.

Continuous time is taken in steps of dt by Euler's method; what a cycle needs of a node that has not run yet
in a step is what that node sent in the step before.
"""

from __future__ import annotations

from itertools import product
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Callable

    from snnc.ir.kernel_types import Array

F = np.float32


class Interpreter:
    """Steps a `nir.NIRGraph` with one input and one output; `sent` holds what every node sent last."""

    def __init__(self, graph: Any, dt: float) -> None:
        self.nodes, self.edges, self.dt = graph.nodes, graph.edges, dt
        self.order = execution_order(graph)
        self.sent: dict[str, Array] = {}
        self.membranes: dict[str, Array] = {}
        self.queues: dict[str, list[Array]] = {}

    def step(self, x: Array) -> Array:
        done: dict[str, Array] = {}
        for name in self.order:
            node, sources = self.nodes[name], [a for a, b in self.edges if b == name]
            kind = type(node).__name__
            if kind == "Input":
                done[name] = x
                continue
            fed = [done[s] if s in done else self.sent.get(s) for s in sources]
            total = sum((value for value in fed if value is not None), start=F(0))
            done[name] = total if kind == "Output" else COMPUTE[kind](self, name, node, np.asarray(total, F))
        self.sent = done
        (result,) = (done[name] for name, node in self.nodes.items() if type(node).__name__ == "Output")
        return result

    def membrane(self, name: str, start: Array) -> Array:
        if name not in self.membranes:
            self.membranes[name] = np.array(start, F)
        return self.membranes[name]


def execution_order(graph: Any) -> list[str]:
    """Return an order in which only what feeds an integrator back comes late."""
    order: list[str] = []
    while len(order) < len(graph.nodes):
        waiting = [name for name in graph.nodes if name not in order]
        ready = [name for name in waiting if all(a in order for a, b in graph.edges if b == name)] or [
            name for name in waiting if type(graph.nodes[name]).__name__ == "I"
        ]
        order.append(ready[0])
    return order


def fire(v: Array, threshold: Array, v_reset: Array) -> Array:
    """z = 1 where v > v_threshold, v = v_reset there; v is changed in place."""
    z = np.zeros_like(v)
    for i in np.ndindex(v.shape):
        if v[i] > threshold[i]:
            z[i], v[i] = 1, v_reset[i]
    return z


def integrate(self: Interpreter, name: str, node: Any, x: Array) -> Array:
    v = self.membrane(name, getattr(node, "v_reset", np.zeros_like(x)))
    for i in np.ndindex(x.shape):
        v[i] = v[i] + F(self.dt * node.r[i]) * x[i]
    return v.copy() if type(node).__name__ == "I" else fire(v, node.v_threshold, node.v_reset)


def leak(self: Interpreter, name: str, node: Any, x: Array) -> Array:
    """tau dv/dt = (v_leak - v) + R I."""
    v = self.membrane(name, node.v_reset)
    for i in np.ndindex(x.shape):
        share = self.dt / node.tau[i]
        current = F(share * node.r[i]) * x[i]
        v[i] = F(1 - share) * v[i] + current + F(share * node.v_leak[i])
    return fire(v, node.v_threshold, node.v_reset)


def threshold(self: Interpreter, name: str, node: Any, x: Array) -> Array:
    return np.array([F(v > t) for v, t in zip(x.flat, node.threshold.flat, strict=True)]).reshape(x.shape)


def delay(self: Interpreter, name: str, node: Any, x: Array) -> Array:
    queue = self.queues.setdefault(name, [np.zeros_like(x)] * round(node.delay.flat[0] / self.dt))
    queue.append(x)
    return queue.pop(0)


def affine(self: Interpreter, name: str, node: Any, x: Array) -> Array:
    rows, columns = node.weight.shape
    y = np.zeros(rows, F) if type(node).__name__ == "Linear" else node.bias.astype(F)
    for o in range(rows):
        y[o] += sum(node.weight[o, i] * x[i] for i in range(columns))
    return y


def at(x: Array, channel: int, position: tuple[int, ...]) -> float:
    inside = all(0 <= p < size for p, size in zip(position, x.shape[1:], strict=True))
    return float(x[(channel, *position)]) if inside else 0.0


def numbers(value: Any, rank: int) -> tuple[int, ...]:
    return tuple(int(n) for n in np.broadcast_to(np.asarray(value), rank))


def windows(x: Array, kernel: tuple[int, ...], node: Any, dilation: tuple[int, ...]) -> tuple[int, ...]:
    rank = len(kernel)
    stride, padding = numbers(node.stride, rank), numbers(node.padding, rank)
    return tuple(
        (x.shape[1 + a] + 2 * padding[a] - dilation[a] * (kernel[a] - 1) - 1) // stride[a] + 1
        for a in range(rank)
    )


def conv(self: Interpreter, name: str, node: Any, x: Array) -> Array:
    outputs, _, *kernel = node.weight.shape
    rank = len(kernel)
    stride, padding, dilation = (numbers(v, rank) for v in (node.stride, node.padding, node.dilation))
    sizes = windows(x, tuple(kernel), node, dilation)
    inner, per = node.weight.shape[1], outputs // node.groups
    y = np.zeros((outputs, *sizes), F)
    for o, *p in product(range(outputs), *map(range, sizes)):
        total = float(node.bias[o])
        for c, *k in product(range(inner), *map(range, kernel)):
            where = tuple(p[a] * stride[a] + k[a] * dilation[a] - padding[a] for a in range(rank))
            total += float(node.weight[(o, c, *k)]) * at(x, c + inner * (o // per), where)
        y[(o, *p)] = total
    return y


def pool(self: Interpreter, name: str, node: Any, x: Array) -> Array:
    kernel = numbers(node.kernel_size, 2)
    stride, padding = numbers(node.stride, 2), numbers(node.padding, 2)
    sizes = windows(x, kernel, node, (1, 1))
    y = np.zeros((len(x), *sizes), F)
    for c, *p in product(range(len(x)), *map(range, sizes)):
        taps = product(range(kernel[0]), range(kernel[1]))
        total = sum(at(x, c, tuple(p[a] * stride[a] + k[a] - padding[a] for a in (0, 1))) for k in taps)
        y[(c, *p)] = total / (kernel[0] * kernel[1] if type(node).__name__ == "AvgPool2d" else 1)
    return y


def flatten(self: Interpreter, name: str, node: Any, x: Array) -> Array:
    first, last = (int(axis) % x.ndim for axis in (node.start_dim, node.end_dim))
    return x.reshape(*x.shape[:first], -1, *x.shape[last + 1 :])


COMPUTE: dict[str, Callable[[Interpreter, str, Any, Array], Array]] = {
    "I": integrate,
    "IF": integrate,
    "LIF": leak,
    "Threshold": threshold,
    "Delay": delay,
    "Affine": affine,
    "Linear": affine,
    "Conv1d": conv,
    "Conv2d": conv,
    "AvgPool2d": pool,
    "SumPool2d": pool,
    "Flatten": flatten,
    "Scale": lambda self, name, node, x: x * node.scale.astype(F),
}

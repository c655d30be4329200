"""`raise-patterns`: decomposed activations and norms become the op they compute."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np

from snnc.ir.ops import get_op
from snnc.ir.shapes import Batch, concrete
from snnc.passes.base import Pass, PassContext, Preserves
from snnc.passes.masks import drop_nan_guard
from snnc.passes.rewriter import Rewriter, rewrite
from snnc.passes.truths import make_truths_real

if TYPE_CHECKING:
    from collections.abc import Iterator

    from snnc.ir.graph import Graph, Node, Value
    from snnc.ir.kernel_types import Array
    from snnc.passes.rewriter import Pattern

LEAST_FINITE = 0.9  # of a region's values on the probe data
LARGEST_REGION = 14  # nodes; tanh-GELU written out takes 9, layer norm 8
ELEMENTWISE = ("add", "sub", "mul", "div", "pow", "neg", "exp", "log", "sqrt", "reciprocal", "erf", "tanh",
               "sigmoid", "softplus", "relu", "clip", "hard_sigmoid", "abs")  # fmt: skip
AXISWISE = ("reduce_mean", "reduce_sum", "reduce_max", "reduce_l2")
ROOTS = ("mul", "div", "add", "sub", "reciprocal")


@dataclass(frozen=True)
class RaisePatterns(Pass):
    """Recognise GELU, SiLU, Mish, hard swish, layer norm, RMS norm and softmax however they were written out.

    A region of elementwise and reducing nodes that reads one stream and scalars is evaluated with the ops'
    own kernels on fixed probe data over several magnitudes, and compared with every known function; only
    agreement to 1e-5 everywhere counts. Comparisons of streams become functions of real numbers.
    """

    name: ClassVar[str] = "raise-patterns"
    preserves: ClassVar[Preserves | None] = Preserves.ROUNDING

    def run(self, graph: Graph, context: PassContext) -> bool:
        patterns: dict[str, tuple[Pattern, ...]] = dict.fromkeys(ROOTS, (raise_region,))
        patterns["mul"] = (raise_region, gain_into_norm)
        patterns["add"] = (raise_region, offset_into_norm)
        patterns["where"] = (drop_nan_guard,)
        changed = rewrite(graph, patterns, context, self.name)
        rewriter = Rewriter(graph, context, self.name)
        make_truths_real(graph, rewriter)
        return changed or rewriter.changed


# Regions recognised by what they compute.


def raise_region(node: Node, rewriter: Rewriter) -> bool:
    """Replace the region that ends in this node if it computes a known function of one stream."""
    for source, region in regions(node, rewriter.graph):
        found = recognise(source, region, rewriter.graph)
        if found is not None:
            name, attributes = found
            value = rewriter.insert(node, name, [source], attributes)
            rewriter.replace(node, value, absorbed=region[:-1])
            return True
    return False


def regions(root: Node, graph: Graph) -> Iterator[tuple[Value, list[Node]]]:
    """Yield (source, nodes in execution order) for every single-source region that ends in the root.

    The farthest source comes first: layer norm holds an RMS norm, softmax a softmax of what it shifted.
    """
    reachable = backward(root, graph)
    sources = dict.fromkeys(
        operand for node in reachable for operand in node.operands if graph.constant(operand) is None
    )
    for source in reversed(sources):
        region = cut_at(root, source, reachable, graph)
        if region is not None and len(region) > 1:
            yield source, region


def backward(root: Node, graph: Graph) -> dict[Node, None]:
    """Return the root and the elementwise or axis-wise nodes it computes from, nearest first."""
    seen: dict[Node, None] = {}
    queue = [root]
    while queue and len(seen) < LARGEST_REGION:
        node = queue.pop(0)
        if node in seen or not may_join(node, graph):
            continue
        seen[node] = None
        queue.extend(operand.node for operand in node.operands if operand.node is not None)
    return seen


def may_join(node: Node, graph: Graph) -> bool:
    if node.expect or node.op.name not in ELEMENTWISE + AXISWISE:
        return False
    if not graph.resolve(node).get("keepdims", True):
        return False
    constants = [graph.constant(operand) for operand in node.operands]
    return all(constant is None or constant.size == 1 for constant in constants)


def cut_at(root: Node, source: Value, reachable: dict[Node, None], graph: Graph) -> list[Node] | None:
    """Return the nodes between source and root if the root depends on nothing else, in execution order."""
    needed: dict[Node, None] = {}
    queue = [root]
    while queue:
        node = queue.pop()
        if node in needed:
            continue
        if node not in reachable:
            return None
        needed[node] = None
        for operand in node.operands:
            if operand is source or graph.constant(operand) is not None:
                continue
            if operand.node is None:
                return None
            queue.append(operand.node)
    # `reachable` runs from the root backwards by distance, so order by dependence instead.
    ordered: list[Node] = []
    pending = list(needed)
    while pending:
        ready = [
            node
            for node in pending
            if not any(op.node in pending and op is not source for op in node.operands)
        ]
        ordered += ready
        pending = [node for node in pending if node not in ready]
    return ordered


def recognise(source: Value, region: list[Node], graph: Graph) -> tuple[str, dict[str, Any]] | None:
    """Return the op and attributes whose kernel agrees with the region on the probe data, or None."""
    shape = concrete(source.type.shape, 2)
    if source.type != region[-1].result.type or not shape or np.prod(shape) == 0:
        return None
    if any(node.op.name in AXISWISE for node in region):
        axes = reduced_axes(region, len(shape), graph)
        probes, candidates = axis_probes(shape, axes), axis_candidates(region, axes, len(shape), graph)
    else:
        probes, candidates = [elementwise_probe()], elementwise_candidates()
    with np.errstate(all="ignore"):
        wanted = [evaluate(source, region, graph, probe) for probe in probes]
        if np.isfinite(wanted[0]).mean() < LEAST_FINITE:
            return None
        for name, attributes in candidates:
            if all(agree(name, attributes, p, w) for p, w in zip(probes, wanted, strict=True)):
                return name, attributes
    return None


def agree(name: str, attributes: dict[str, Any], probe: Array, wanted: Array) -> bool:
    """Compare an op with a region wherever the region did not overflow (exp(x) written out does)."""
    op = get_op(name)
    assert op.kernel is not None
    result = op.kernel(probe, **op.complete(attributes))
    finite = np.isfinite(wanted)
    return result.shape == wanted.shape and bool(
        np.allclose(result[finite], wanted[finite], rtol=1e-5, atol=2e-6)
    )


def evaluate(source: Value, region: list[Node], graph: Graph, probe: Array) -> Array:
    values: dict[Value, Array] = {source: probe}
    for node in region:
        operands = [
            values[operand] if operand in values else graph.constant(operand) for operand in node.operands
        ]
        assert node.op.kernel is not None
        values[node.result] = node.op.kernel(*operands, **graph.resolve(node))
    return values[region[-1].result]


def elementwise_probe() -> Array:
    """Return points that tell the known activations apart: dense around zero, and far tails."""
    tails = np.array([12, 30, 60, 100, 1e3, 1e4])
    return np.concatenate([np.linspace(-8, 8, 1601), -tails, tails]).astype(np.float32)


def reduced_axes(region: list[Node], rank: int, graph: Graph) -> set[int]:
    """Return the axes that the reductions of a region run over."""
    given = [graph.resolve(node)["axes"] for node in region if node.op.name in AXISWISE]
    return {axis % rank for axes in given for axis in (axes or range(rank))}


def axis_probes(shape: tuple[int, ...], reduced: set[int]) -> list[Array]:
    """Return random tensors at magnitudes where epsilons do and do not matter, and zeros."""
    random = np.random.default_rng(0)
    # Large maps add nothing; the reduced axes stay whole, because a mean may be written as sum / count.
    small = tuple(size if axis in reduced else min(size, 2) for axis, size in enumerate(shape))
    noise = random.standard_normal(small).astype(np.float32)
    return [noise + np.float32(0.5), *(noise * np.float32(size) for size in (1e-3, 20, 1e4, 0))]


def elementwise_candidates() -> list[tuple[str, dict[str, Any]]]:
    return [
        ("gelu", {"approximate": "none"}),
        ("gelu", {"approximate": "tanh"}),
        ("silu", {}),
        ("mish", {}),
        ("hard_swish", {}),
        ("hard_sigmoid", {"alpha": 1 / 6, "beta": 0.5}),
        ("sigmoid", {}),
        ("softplus", {}),
        ("tanh", {}),
        ("reciprocal", {}),
        ("neg", {}),
    ]


def axis_candidates(
    region: list[Node], axes: set[int], rank: int, graph: Graph
) -> list[tuple[str, dict[str, Any]]]:
    """Return norms and softmaxes over the axes the region reduces, with the epsilons it contains."""
    first = min(axes)
    found: list[tuple[str, dict[str, Any]]] = []
    if axes == set(range(first, rank)):
        for epsilon in epsilons(region, graph):
            found.append(("layer_norm", {"axis": first - rank, "epsilon": epsilon}))
            found.append(("rms_norm", {"axis": first - rank, "epsilon": epsilon}))
    if len(axes) == 1:
        found += [("softmax", {"axis": first}), ("log_softmax", {"axis": first})]
    return found


def epsilons(region: list[Node], graph: Graph) -> list[float]:
    """Return the small positive scalars of a region, and 0."""
    scalars = [graph.constant(operand) for node in region for operand in node.operands]
    values = {float(scalar.reshape(())) for scalar in scalars if scalar is not None}
    return [*sorted(value for value in values if 0 < value < 1e-1), 0.0]


# Patterns matched by structure.


def norm_before(node: Node, rewriter: Rewriter) -> tuple[Node, Array] | None:
    """Return the norm a constant per normalised element can merge into, and the constant in its shape."""
    norm = node.operands[0].node
    constant = rewriter.graph.constant(node.operands[1])
    if norm is None or norm.op.name not in ("layer_norm", "rms_norm") or constant is None or norm.expect:
        return None
    if len(norm.result.users) > 1 or rewriter.graph.is_output(norm.result):
        return None
    shape = norm.result.type.shape
    axis = norm.attributes.get("axis", -1)
    assert isinstance(axis, int)
    normalised = shape[axis:] if axis < 0 else shape[axis - len(shape) :]
    while constant.ndim > len(normalised) and constant.shape[0] == 1:
        constant = constant[0]
    widened = node.result.type != norm.result.type or constant.ndim > len(normalised)
    if widened or any(isinstance(dim, Batch) for dim in normalised):
        return None
    return norm, np.broadcast_to(constant, concrete(normalised, 1)).astype(np.float32)


def gain_into_norm(node: Node, rewriter: Rewriter) -> bool:
    """mul(norm(x), c) -> norm{gamma = c}(x)"""
    found = norm_before(node, rewriter)
    if found is None:
        return False
    norm, constant = found
    given = rewriter.graph.resolve(norm)
    if given.get("beta") is not None:
        return rewriter.decline(node, "the norm before it already adds an offset")
    gamma = constant if given["gamma"] is None else given["gamma"] * constant
    value = rewriter.insert(node, norm.op.name, norm.operands, {**norm.attributes, "gamma": gamma})
    rewriter.replace(node, value, absorbed=[norm])
    return True


def offset_into_norm(node: Node, rewriter: Rewriter) -> bool:
    """add(layer_norm(x), c) -> layer_norm{beta = c}(x)"""
    found = norm_before(node, rewriter)
    if found is None or found[0].op.name != "layer_norm":
        return False
    norm, constant = found
    beta = rewriter.graph.resolve(norm)["beta"]
    total = constant if beta is None else beta + constant
    value = rewriter.insert(node, "layer_norm", norm.operands, {**norm.attributes, "beta": total})
    rewriter.replace(node, value, absorbed=[norm])
    return True

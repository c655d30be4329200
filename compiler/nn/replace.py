"""Put quantisers into a torch module: in place of its activations, and in front of its synapses."""

from __future__ import annotations

import copy
import math
import operator
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal, TypeAlias

import torch
from torch import Tensor, fx, nn
from torch.nn import functional

from snnc.ir.errors import OptionError, UnsupportedOpError
from snnc.nn.quantiser import PolarityQuant

if TYPE_CHECKING:
    from collections.abc import Iterator

Per: TypeAlias = Literal["tensor", "channel"]
Relu: TypeAlias = Literal["polarity", "rectify"]

# What computes with weights, or multiplies two streams; the number of operands that carry streams.
LAYERS = (
    nn.Linear,
    nn.Conv1d,
    nn.Conv2d,
    nn.Conv3d,
    nn.ConvTranspose1d,
    nn.ConvTranspose2d,
    nn.ConvTranspose3d,
)
FUNCTIONS: dict[Any, int] = {
    functional.linear: 1, functional.conv1d: 1, functional.conv2d: 1, functional.conv3d: 1,
    functional.conv_transpose1d: 1, functional.conv_transpose2d: 1, functional.conv_transpose3d: 1,
    torch.matmul: 2, torch.bmm: 2, operator.matmul: 2, "matmul": 2, "bmm": 2, "__matmul__": 2,
}  # fmt: skip
RELUS = (nn.ReLU, functional.relu, functional.relu_, torch.relu, torch.relu_, "relu", "relu_")
# What moves values without computing with them: spikes stay spikes.
MOVEMENT = (
    nn.Flatten, nn.Unflatten, nn.Identity, nn.Dropout, nn.Dropout1d, nn.Dropout2d, nn.MaxPool1d, nn.MaxPool2d,
    functional.dropout, functional.max_pool2d, torch.max_pool2d, torch.flatten, torch.reshape,
    torch.transpose, torch.permute, torch.squeeze, torch.unsqueeze, torch.unbind, torch.chunk, torch.split,
    operator.getitem,
    "flatten", "reshape", "view", "transpose", "permute", "contiguous", "squeeze", "unsqueeze", "unbind",
    "chunk", "split", "expand", "t",
)  # fmt: skip


class QuantisedAttention(nn.Module):
    """softmax(Q Kᵀ scale + mask) V, with a quantiser on Q, K, V and the softmax's result.

    Q [.., n, d], K [.., m, d], V [.., m, e] -> [.., n, e]; every head shares the four thetas.
    """

    def __init__(self, negative: int, positive: int) -> None:
        super().__init__()
        self.query, self.key, self.value = (PolarityQuant(negative, positive) for _ in range(3))
        self.weights = PolarityQuant(negative, positive)

    def forward(  # noqa: PLR0917 -- the positions of torch's scaled_dot_product_attention
        self,
        query: Tensor,
        key: Tensor,
        value: Tensor,
        attn_mask: Tensor | None = None,
        dropout_p: float = 0.0,
        is_causal: bool = False,
        scale: float | None = None,
        enable_gqa: bool = False,
    ) -> Tensor:
        if is_causal or enable_gqa:
            raise UnsupportedOpError(
                "attention with is_causal or enable_gqa cannot be quantised",
                help="give a mask as attn_mask, or repeat the heads",
            )
        factor = 1 / math.sqrt(query.shape[-1]) if scale is None else scale
        scores = torch.matmul(self.query(query), self.key(key).transpose(-2, -1)) * factor
        if attn_mask is not None:
            if attn_mask.dtype == torch.bool:
                scores = scores.masked_fill(~attn_mask, -torch.inf)
            else:
                scores = scores + attn_mask
        weights = functional.dropout(torch.softmax(scores, -1), dropout_p, self.training)
        return torch.matmul(self.weights(weights), self.value(value))


def replace_activations(
    module: nn.Module, bits: int = 4, *, relu: Relu = "rectify", per: Per = "tensor", everywhere: bool = True
) -> fx.GraphModule:
    """Return a copy of a module whose synapses read quantised values of 2^bits levels.

    A ReLU becomes a quantiser: without negative levels (rectify: the ReLU's own values, quantised) or with
    levels on both sides of zero (polarity, as PMSM; that is another network, to be trained on). GELU and
    other smooth activations stay and get a quantiser behind them: what spikes is what the next synapse reads.
    So does whatever else feeds a linear layer, a convolution, a matrix product or attention (everywhere),
    except the network's input itself and what only moves values that are quantised already: then every
    value the spiking network sends is the trained one. everywhere=False leaves it at the activations.

    Quantisers have one theta per tensor, or one per channel of what feeds a layer with weights. Their levels
    hold nothing yet: `initialise` sets them from data.
    """
    if not 1 <= bits <= 15:
        raise OptionError(f"a quantiser cannot have 2^{bits} levels", help="give 1 to 15 bits")
    levels = 2**bits - 1
    try:
        traced = fx.symbolic_trace(copy.deepcopy(module))
    except (fx.proxy.TraceError, TypeError) as error:
        raise UnsupportedOpError(
            f"torch.fx cannot trace the module: {error}",
            help="its forward must not branch on values; or place PolarityQuant layers by hand",
        ) from error
    placing = Placing(traced, levels, relu, per)
    for node in list(traced.graph.nodes):
        placing.activation(node, everywhere)
    if everywhere:
        for node in list(traced.graph.nodes):
            placing.synapse(node)
    traced.graph.lint()
    traced.recompile()
    traced.train(module.training)
    return traced


@dataclass(slots=True)
class Placing:
    """Places quantisers in a traced module."""

    traced: fx.GraphModule
    levels: int
    relu: Relu
    per: Per
    placed: dict[fx.Node, fx.Node] = field(default_factory=dict)

    def activation(self, node: fx.Node, everywhere: bool) -> None:
        """Replace a ReLU; put a quantiser behind another activation if synapses do not get their own."""
        if kind(self.traced, node) in RELUS:
            negative = (self.levels + 1) // 2 if self.relu == "polarity" else 0
            axis = axis_for(self.traced, node) if self.per == "channel" else None
            part = PolarityQuant(negative, self.levels - negative, axis=axis, rectifier=True)
            source = next(node.all_input_nodes.__iter__())
            with self.traced.graph.inserting_after(node):
                new = self._call(part, source)
            node.replace_all_uses_with(new)
            self.traced.graph.erase_node(node)
        elif not everywhere and kind(self.traced, node) in (nn.GELU, functional.gelu):
            self._behind(node, axis_for(self.traced, node) if self.per == "channel" else None)

    def synapse(self, node: fx.Node) -> None:
        """Let a synapse read quantised values only."""
        what = kind(self.traced, node)
        if what is functional.scaled_dot_product_attention:
            self._attention(node)
            return
        if what is nn.MultiheadAttention:
            raise UnsupportedOpError(
                f"nn.MultiheadAttention {str(node.target)!r} hides its synapses",
                help="write it with linear layers and torch.nn.functional.scaled_dot_product_attention",
            )
        count = 1 if what in LAYERS else FUNCTIONS.get(what, 0)
        for source in dict.fromkeys(node.args[:count]):
            if isinstance(source, fx.Node) and not self._ready(source):
                layer_reads = count == 1 and self.per == "channel"
                axis = axis_of(what) if layer_reads else None
                node.replace_input_with(source, self._behind(source, axis, only_for=node))

    def _ready(self, source: fx.Node) -> bool:
        """Tell whether a value is quantised, a constant, or the network's input."""
        while True:
            what = kind(self.traced, source)
            if what is PolarityQuant or source.op in ("placeholder", "get_attr"):
                return True
            if what not in MOVEMENT:
                return False
            source = source.all_input_nodes[0]

    def _behind(self, source: fx.Node, axis: int | None, only_for: fx.Node | None = None) -> fx.Node:
        """Return the quantiser behind a value: the one it has, or a new one (for one reader, or for all)."""
        if source not in self.placed:
            negative = (self.levels + 1) // 2
            with self.traced.graph.inserting_after(source):
                new = self._call(PolarityQuant(negative, self.levels - negative, axis=axis), source)
            if only_for is None:
                source.replace_all_uses_with(new, delete_user_cb=lambda user: user is not new)
            self.placed[source] = new
        return self.placed[source]

    def _attention(self, node: fx.Node) -> None:
        negative = (self.levels + 1) // 2
        name = self._add(QuantisedAttention(negative, self.levels - negative), node.name)
        with self.traced.graph.inserting_after(node):
            new = self.traced.graph.call_module(name, node.args, node.kwargs)
        node.replace_all_uses_with(new)
        self.traced.graph.erase_node(node)

    def _call(self, part: PolarityQuant, source: fx.Node) -> fx.Node:
        return self.traced.graph.call_module(self._add(part, f"{source.name}_quant"), (source,))

    def _add(self, part: nn.Module, name: str) -> str:
        assert not hasattr(self.traced, name), name
        self.traced.add_submodule(name, part)
        return name


def kind(traced: fx.GraphModule, node: fx.Node) -> Any:
    """Return what a node calls: a module's class, a function, or the name of a method."""
    if node.op == "call_module":
        return type(traced.get_submodule(str(node.target)))
    return node.target if node.op in ("call_function", "call_method") else node.op


def axis_of(layer: Any) -> int:
    """Return the axis along which a layer's inputs are channels."""
    return -1 if layer in (nn.Linear, functional.linear) else 1


def axis_for(traced: fx.GraphModule, node: fx.Node) -> int | None:
    """Return the channel axis of the layer an activation follows or feeds; None if there is no telling."""
    for near in neighbours(node):
        what = kind(traced, near)
        if what in LAYERS or FUNCTIONS.get(what) == 1:
            return axis_of(what)
    return None


def neighbours(node: fx.Node) -> Iterator[fx.Node]:
    """Yield what a node reads, what reads it, and what that which it reads reads."""
    yield from node.all_input_nodes
    yield from node.users
    for source in node.all_input_nodes:
        yield from source.all_input_nodes

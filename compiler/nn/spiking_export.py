"""Write one time step of a spiking network as ONNX, its membranes as inputs and outputs."""

from __future__ import annotations

import copy
import warnings
from typing import TYPE_CHECKING, Any

import onnx
import torch
from torch import Tensor, nn
from torch.jit._trace import TracerWarning

from snnc.ir.errors import OptionError, UnsupportedOpError
from snnc.nn.lif import LIF, neurons, reset_state
from snnc.nn.saformer import DECODES, SpikeAggregate
from snnc.nn.spiking_functions import DOMAIN, OPSET, VERSION, functions

if TYPE_CHECKING:
    from pathlib import Path

DECODE_KEY = "snnc.decode"


def export_spiking_onnx(
    module: nn.Module,
    sample: Tensor,
    path: str | Path,
    *,
    input_name: str = "input",
    output_name: str = "output",
    decode: str | None = None,
) -> None:
    """Write one time step of a module in evaluation mode as ONNX: the loop over time is the caller's.

    A LIF becomes `ai.snnc::LIF`, the aggregation of SASA `ai.snnc::SpikeAggregate`; the file carries their
    definitions in standard operators, so that any runtime runs it. Each membrane is an input `<layer>.v`
    (float32, 0 at first) and an output `<layer>.v_next`, which the caller feeds back. `sample` is what the
    network reads in one step, [N, ..]; N stays free. How the outputs over time make an answer (mean, sum or
    last) is recorded as `snnc.decode`; default: the module's own, or the mean.

    A module's `advance` is taken for one step where there is one (SAFormer), else its forward.
    """
    decode = getattr(module, "decode", "mean") if decode is None else decode
    if decode not in DECODES:
        raise OptionError(f"there is no decode {decode!r}", help="known: " + ", ".join(DECODES))
    reset_state(module)
    stepped = copy.deepcopy(module).eval()
    shapes = state_shapes(stepped, sample)
    one = OneStep(stepped, list(shapes))
    states = [torch.zeros(shape) for shape in shapes.values()]
    inputs = [input_name, *(f"{name}.v" for name in shapes)]
    outputs = [output_name, *(f"{name}.v_next" for name in shapes)]
    with warnings.catch_warnings():
        # As for export_onnx: this exporter is older than dynamo's, and leaves no traces of this machine.
        warnings.filterwarnings("ignore", category=DeprecationWarning)
        warnings.filterwarnings("ignore", category=TracerWarning)
        torch.onnx.export(
            one,
            (sample, *states),
            str(path),
            dynamo=False,
            opset_version=OPSET,
            custom_opsets={DOMAIN: VERSION},
            input_names=inputs,
            output_names=outputs,
            dynamic_axes={name: {0: "N"} for name in (*inputs, *outputs)},
        )
    with torch.no_grad():
        answer = tuple(one(sample, *states)[0].shape)
    finish(path, decode, [answer, *shapes.values()])


def finish(path: str | Path, decode: str, shapes: list[tuple[int, ...]]) -> None:
    """Add to a file the operators' definitions, the decode and the outputs' shapes; check it."""
    model = onnx.load(path)
    model.functions.extend(functions())
    onnx.helper.set_model_props(model, {DECODE_KEY: decode})
    for value, (_, *fixed) in zip(model.graph.output, shapes, strict=True):
        value.CopyFrom(onnx.helper.make_tensor_value_info(value.name, onnx.TensorProto.FLOAT, ["N", *fixed]))
    for tensor in model.graph.initializer:
        tensor.name = own_name(tensor.name)
    for node in model.graph.node:
        node.input[:] = [own_name(name) for name in node.input]
        node.output[:] = [own_name(name) for name in node.output]
    onnx.checker.check_model(model, full_check=True)
    onnx.save(model, path)


def own_name(name: str) -> str:
    """Return a parameter's name in the user's module, not in what was wrapped around it."""
    return name.removeprefix("module.")


def state_shapes(module: nn.Module, sample: Tensor) -> dict[str, tuple[int, ...]]:
    """Return the shape of every membrane by the name of its layer, in the order in which they run."""
    shapes: dict[str, tuple[int, ...]] = {}

    def watch(name: str, part: LIF) -> None:
        def hook(_: nn.Module, given: tuple[Any, ...]) -> None:
            if name in shapes:
                raise UnsupportedOpError(
                    f"the neurons {name!r} run more than once in a step", help="give every place its own LIF"
                )
            shapes[name] = tuple(given[0].shape)

        handles.append(part.register_forward_pre_hook(hook))

    handles: list[Any] = []
    for name, part in neurons(module).items():
        watch(name, part)
    with torch.no_grad():
        one_step(module)(sample)
    for handle in handles:
        handle.remove()
    reset_state(module)
    return shapes


def one_step(module: nn.Module) -> Any:
    """Return what advances a module by one time step."""
    return getattr(module, "advance", module)


class OneStep(nn.Module):
    """(x, membranes) -> (y, membranes after the step)."""

    def __init__(self, module: nn.Module, names: list[str]) -> None:
        super().__init__()
        for name, part in list(module.named_modules()):
            if isinstance(part, LIF):
                module.set_submodule(name, WrittenLIF(part))
            elif isinstance(part, SpikeAggregate):
                module.set_submodule(name, WrittenAggregate(part.heads))
        self.module, self.names = module, names

    def forward(self, x: Tensor, *states: Tensor) -> tuple[Tensor, ...]:
        written: list[Any] = [self.module.get_submodule(name) for name in self.names]
        for part, state in zip(written, states, strict=True):
            part.v = state
        y = one_step(self.module)(x)
        return (y, *(part.v for part in written))


class WrittenLIF(nn.Module):
    """A LIF that appears in a traced graph as one node."""

    v: Tensor

    def __init__(self, neuron: LIF) -> None:
        super().__init__()
        self.neuron = neuron

    def forward(self, x: Tensor, steps: int = 1) -> Tensor:
        s: Tensor
        s, self.v = LIFNode.apply(x, self.v, self.neuron)  # type: ignore[no-untyped-call]  # torch's is untyped
        return s


class LIFNode(torch.autograd.Function):
    """One step of a LIF, traced as the node `ai.snnc::LIF`."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, v: Tensor, neuron: LIF) -> tuple[Tensor, Tensor]:
        m = neuron.leak * v + neuron.gain * x
        s = (m >= neuron.threshold).to(m.dtype)
        return s, neuron.after_reset(m, s)

    @staticmethod
    def symbolic(g: Any, x: Any, v: Any, neuron: LIF) -> Any:
        s, v_next = g.op(
            f"{DOMAIN}::LIF",
            x,
            v,
            leak_f=neuron.leak,
            gain_f=neuron.gain,
            threshold_f=neuron.threshold,
            reset_s=neuron.reset,
            rest_f=neuron.rest,
            outputs=2,
        )
        s.setType(v.type())
        v_next.setType(v.type())
        return s, v_next


class WrittenAggregate(SpikeAggregate):
    """An aggregation that appears in a traced graph as one node."""

    def forward(self, q: Tensor) -> Tensor:
        a: Tensor = AggregateNode.apply(q, self.heads)  # type: ignore[no-untyped-call]  # torch's is untyped
        return a


class AggregateNode(torch.autograd.Function):
    """The aggregation, traced as the node `ai.snnc::SpikeAggregate`."""

    @staticmethod
    def forward(ctx: Any, q: Tensor, heads: int) -> Tensor:
        return q.reshape(-1, q.shape[1], heads, q.shape[2] // heads).sum(-1)

    @staticmethod
    def symbolic(g: Any, q: Any, heads: int) -> Any:
        return g.op(f"{DOMAIN}::SpikeAggregate", q, heads_i=heads).setType(q.type().with_sizes([None] * 3))

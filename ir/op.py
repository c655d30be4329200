"""How an operation is declared: once, with everything the rest of the compiler asks about it.

An `Op` states its equation, operands and attributes, infers its result type, carries the numpy kernel
that *is* its meaning, and says how it behaves towards streams: whether the mean over time passes through
it (linear), whether its operands multiply weights (synaptic), what it costs. Parser, printer, verifier,
passes, simulators, `snnc ops` and the documentation read this one declaration.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from enum import Enum
from typing import TYPE_CHECKING, Any, Protocol, TypeAlias

import numpy as np

from snnc.ir.codebooks import ANY_PAYLOAD, Codebook, Payload, of_changes
from snnc.ir.errors import TypeInferenceError, did_you_mean
from snnc.ir.shapes import Batch, Dim, Shape, show_shape
from snnc.ir.types import SpikeType, TensorType, Type, dtype_name

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from snnc.ir.coding import Coding
    from snnc.ir.kernel_types import Array


@dataclass(frozen=True, slots=True)
class TensorRef:
    """A reference to a named tensor of the graph's tensor table: `@conv1.weight`."""

    name: str


AttributeValue: TypeAlias = (
    "int | float | bool | str | Batch | TensorRef | Codebook | tuple[AttributeValue, ...] | None"
)


class Kind(Enum):
    """What an attribute may hold."""

    INT = "int"
    FLOAT = "float"
    BOOL = "bool"
    STRING = "string"
    INTS = "ints"
    DIMS = "dims"  # integers or multiples of N
    TENSOR = "tensor"
    CODEBOOK = "codebook"

    def accepts(self, value: object) -> bool:
        match self:
            case Kind.INT:
                return isinstance(value, int) and not isinstance(value, bool)
            case Kind.FLOAT:
                return isinstance(value, float)
            case Kind.BOOL:
                return isinstance(value, bool)
            case Kind.STRING:
                return isinstance(value, str)
            case Kind.INTS:
                return isinstance(value, tuple) and all(Kind.INT.accepts(item) for item in value)
            case Kind.DIMS:
                return isinstance(value, tuple) and all(
                    isinstance(item, Batch) or Kind.INT.accepts(item) for item in value
                )
            case Kind.TENSOR:
                return isinstance(value, TensorRef)
            case Kind.CODEBOOK:
                return isinstance(value, Codebook)


class _Required:
    def __repr__(self) -> str:
        return "required"


REQUIRED = _Required()


@dataclass(frozen=True, slots=True)
class Attribute:
    """One attribute of an op: its kind, its default (`REQUIRED` if none, None if optional), its meaning."""

    kind: Kind
    default: AttributeValue | _Required = REQUIRED
    doc: str = ""
    choices: tuple[str, ...] = ()

    @property
    def required(self) -> bool:
        return isinstance(self.default, _Required)


class Role(Enum):
    """How an op treats streams.

    `LINEAR`: jointly affine in all operands, so the decoded (mean) value passes through exactly.
    `MULTILINEAR`: linear in each operand alone; a product as soon as two operands vary in time.
    `NUMERATOR`: linear in the first operand while the others are constant.
    `NONLINEAR`: none of these; compiles to an expectation node.
    `STATEFUL`: keeps state across time steps (neuron, delay).
    """

    LINEAR = "linear"
    MULTILINEAR = "multilinear"
    NUMERATOR = "numerator"
    NONLINEAR = "nonlinear"
    STATEFUL = "stateful"


class Kernel(Protocol):
    """`kernel(*operands, **attributes) -> result`, tensors as arrays; never writes to its arguments."""

    def __call__(self, *operands: Any, **attributes: Any) -> Array: ...


class Infer(Protocol):
    """`infer(*operand types, **attributes) -> TensorType`; spikes arrive as tensor types: i32 where they
    meet whole numbers (integer weights or thresholds, an i32 operand), f32 elsewhere."""

    def __call__(self, *types: Any, **attributes: Any) -> TensorType: ...


PayloadRule: TypeAlias = "Callable[[Sequence[Type], Mapping[str, Any]], Payload | None]"


@dataclass(frozen=True, slots=True)
class Op:
    """The declaration of an operation. See the module docstring.

    `operands` names the operands; a last name ending in `*` takes any number (at least one).
    `homogeneous`: F(c x) = c F(x) for every c > 0, so its expectation node needs no division.
    `payload`: the payload range of the result when operands are spikes; None means the result is real.
    `fan_out(shape, result_shape, **attributes)`: for an op with synapses (or windows), how many each element
    of the first operand drives (shapes for one sample); broadcastable to the first one.
    `cost`: multiply-accumulates per output element of an op that is not synaptic (energy estimates).
    `constant_term`: the attributes that a jointly affine F adds whatever its operands are; `branches`: for an
    op that is not linear, the operands it is affine in while the others are constant.
    `differential(**attributes)`: for an op that keeps state, why it cannot work in differential coding, or
    None; without this rule it cannot.
    `special`: special functions (exp, sqrt, division, …) per output element, counted and never priced.
    `neuron`: it integrates a membrane and sends spikes. `additive`: its cost is additions, without a product.
    """

    name: str
    equation: str
    operands: tuple[str, ...]
    infer: Infer
    kernel: Kernel | None
    role: Role
    attributes: Mapping[str, Attribute] = field(default_factory=dict)
    homogeneous: bool = False
    synaptic: bool = False
    payload: PayloadRule | None = None
    fan_out: Callable[..., Array] | None = None
    cost: float = 0.0
    special: float = 0.0
    expectation: bool = True
    constant_term: tuple[str, ...] = ()
    branches: tuple[int, ...] = ()
    differential: Callable[..., str | None] | None = None
    neuron: bool = False
    additive: bool = False

    @property
    def variadic(self) -> bool:
        return bool(self.operands) and self.operands[-1].endswith("*")

    def check_operand_count(self, count: int) -> None:
        expected = len(self.operands)
        fits = count >= expected if self.variadic else count == expected
        if not fits:
            wanted = f"at least {expected}" if self.variadic else str(expected)
            raise TypeInferenceError(f"{self.name} takes {wanted} operands, not {count}")

    def complete(self, attributes: Mapping[str, AttributeValue]) -> dict[str, AttributeValue]:
        """Return the attributes with defaults filled in, in declared order; refuse unknown or wrong ones."""
        problems = self.attribute_problems(attributes)
        if problems:
            raise TypeInferenceError("; ".join(problems))
        return {
            name: attributes.get(name, None if isinstance(declared.default, _Required) else declared.default)
            for name, declared in self.attributes.items()
        }

    def attribute_problems(self, attributes: Mapping[str, AttributeValue]) -> list[str]:
        """Return what is wrong with the given attributes: each one on its own, then those missing."""
        problems = [self.attribute_problem(name, value) for name, value in attributes.items()]
        missing = [
            f"{self.name} needs the attribute {name!r} ({declared.kind.value})"
            for name, declared in self.attributes.items()
            if declared.required and name not in attributes
        ]
        return [problem for problem in problems if problem] + missing

    def attribute_problem(self, name: str, value: AttributeValue) -> str | None:
        """Return why the op cannot take this attribute, or None."""
        if name not in self.attributes:
            hint = did_you_mean(name, self.attributes) if self.attributes else "it has none"
            return f"{self.name} has no attribute {name!r}; {hint}"
        declared = self.attributes[name]
        if value is None and declared.default is None:
            return None
        if not declared.kind.accepts(value):
            return f"{self.name}.{name} must be {declared.kind.value}, not {value!r}"
        if declared.choices and value not in declared.choices:
            return f"{self.name}.{name} is {value!r}; it must be one of {', '.join(declared.choices)}"
        return None

    def affine_in(self, operand: int) -> bool:
        """Tell whether an operand that is constant adds a constant to the result."""
        return self.role is Role.LINEAR or operand in self.branches

    def linear_part(self, attributes: Mapping[str, Any]) -> dict[str, Any]:
        """Return the attributes of x -> F(x) - F(0), for an F affine in all operands."""
        without = {
            name: None if self.attributes[name].default is None else _zero_like(attributes[name])
            for name in self.constant_term
        }
        return {**attributes, **without}

    def infer_type(
        self, types: Sequence[Type], attributes: Mapping[str, Any], coding: Coding = "rate"
    ) -> Type:
        """Return the result type: the declared rule on tensors, then spikes where payloads survive.

        Changes of spikes are spikes again only behind a linear op.
        """
        if coding == "rate":
            return self._infer_rate(types, attributes)
        if computes_integers(self, attributes):
            raise TypeInferenceError(
                f"{self.name} cannot work on whole numbers in differential coding: a change is weighted by t",
                help="compile with --coding rate",
            )
        result = self._infer_rate(types, self.in_differential_coding(attributes))
        keeps = self.role is not Role.NONLINEAR or self.branches
        return result if keeps else _as_tensor(result)

    def in_differential_coding(self, attributes: Mapping[str, Any]) -> dict[str, Any]:
        """Return the attributes with mirrored codebooks; refuse an op that cannot work on changes."""
        if self.role is Role.STATEFUL:
            reason = "it keeps state" if self.differential is None else self.differential(**attributes)
            if reason is not None:
                raise TypeInferenceError(
                    f"{self.name} cannot work in differential coding: {reason}",
                    help="leave out --coding differential (or set-coding)",
                )
        return {
            name: of_changes(value, attributes.get("negative")) if isinstance(value, Codebook) else value
            for name, value in attributes.items()
        }

    def _infer_rate(self, types: Sequence[Type], attributes: Mapping[str, Any]) -> Type:
        self.check_operand_count(len(types))
        result = self.infer(*self._as_operands(types, attributes), **attributes)
        if self.payload is None:
            return self.stateful_type(types, attributes, result)
        if self.neuron:
            sent = self.payload(types, attributes)
            assert sent is not None, f"{self.name} sends spikes whatever it reads"
            return SpikeType(sent, result.shape)
        spikes = [type_ for type_ in types if isinstance(type_, SpikeType)]
        if not spikes:
            return result
        payload = self.payload(types, attributes)
        if payload is None:
            return result
        return SpikeType(payload, result.shape, any(type_.scaled for type_ in spikes))

    def _as_operands(self, types: Sequence[Type], attributes: Mapping[str, Any]) -> list[TensorType]:
        """Return the types with spikes as i32 where they meet whole numbers, as f32 elsewhere."""
        beside = any(isinstance(type_, TensorType) and type_.dtype == "i32" for type_ in types)
        dtype = "i32" if beside or computes_integers(self, attributes) else "f32"
        return [TensorType(dtype, type_.shape) if isinstance(type_, SpikeType) else type_ for type_ in types]

    def infer_expected(
        self, types: Sequence[Type], attributes: Mapping[str, Any], coding: Coding = "rate"
    ) -> Type:
        """Return the type of `expect.<op>`: real, except for a homogeneous op of spikes in rate coding.

        Then O(t) = F(S(t)) - F(S(t-1)) is an integer between F(x) and -F(-x), because each such F is convex
        or concave. It is none if positive and negative spikes may have different scales.
        """
        result = self._infer_rate(types, attributes)
        if not isinstance(result, SpikeType) or coding == "differential":
            return _as_tensor(result)
        if result.scaled and result.payload.lo < 0:
            return TensorType("f32", result.shape)
        mirrored = self._infer_rate([_mirrored(type_) for type_ in types], attributes)
        if not self.homogeneous or not isinstance(mirrored, SpikeType):
            return TensorType("f32", result.shape)
        lo = min(result.payload.lo, -mirrored.payload.hi)
        hi = max(result.payload.hi, -mirrored.payload.lo)
        return SpikeType(Payload(lo, hi), result.shape, result.scaled)

    def stateful_type(self, types: Sequence[Type], attributes: Mapping[str, Any], result: TensorType) -> Type:
        codebook = attributes.get("codebook")
        if codebook is None:
            if self.role is Role.STATEFUL and types and isinstance(types[0], SpikeType):
                return types[0].with_shape(result.shape)
            return result
        if attributes.get("level_axis") is not None:
            return SpikeType(Payload(0, 1), result.shape)
        scaled = attributes.get("scale") is not None or attributes.get("negative") is not None
        takes_back = attributes.get("bounds") == "sum"
        return SpikeType(ANY_PAYLOAD if takes_back else codebook.payload, result.shape, scaled)


def computes_integers(op: Op, attributes: Mapping[str, Any]) -> bool:
    """Tell whether a synapse has integer weights or a neuron an integer threshold (attributes resolved)."""
    if not (op.synaptic or op.neuron):
        return False
    given = (attributes.get(name) for name in ("weight", "quantum", "threshold"))
    return any(isinstance(array, np.ndarray) and array.dtype.kind == "i" for array in given)


def _mirrored(type_: Type) -> Type:
    """Return the type of the negated stream."""
    if not isinstance(type_, SpikeType):
        return type_
    payload = type_.payload
    return replace(type_, payload=Payload(-payload.hi, -payload.lo, payload.powers_of_two))


def _zero_like(value: Any) -> Any:
    return np.zeros_like(value) if isinstance(value, np.ndarray) else type(value)(0)


def _as_tensor(type_: Type) -> TensorType:
    return TensorType("f32", type_.shape) if isinstance(type_, SpikeType) else type_


# Payload rules shared by many ops.


def payload_kept(types: Sequence[Type], attributes: Mapping[str, Any]) -> Payload | None:
    """Movement of one stream: the payload stays as it is."""
    first = types[0]
    return first.payload if isinstance(first, SpikeType) else None


def payload_hull(types: Sequence[Type], attributes: Mapping[str, Any]) -> Payload | None:
    """Several streams side by side: spikes if every one is; each element keeps its own scale."""
    result: Payload | None = None
    for type_ in types:
        if not isinstance(type_, SpikeType):
            return None
        result = type_.payload if result is None else result.hull(type_.payload)
    return result


def payload_extreme(types: Sequence[Type], attributes: Mapping[str, Any]) -> Payload | None:
    """Elementwise minimum or maximum: spikes if every operand is, with scale 1."""
    if any(isinstance(type_, SpikeType) and type_.scaled for type_ in types):
        return None
    return payload_hull(types, attributes)


def payload_sum(types: Sequence[Type], attributes: Mapping[str, Any]) -> Payload | None:
    """Sum of streams: spikes if every one is, with scale 1."""
    result: Payload | None = None
    for type_ in types:
        if not isinstance(type_, SpikeType) or type_.scaled:
            return None
        result = type_.payload if result is None else result.plus(type_.payload)
    return result


# Type rules shared by many ops.


def same_type(x: TensorType, **attributes: Any) -> TensorType:
    """The result has the type of its one operand."""
    return x


def require_rank(x: TensorType, least: int, what: str) -> None:
    """Refuse an operand with fewer axes than the op needs."""
    if len(x.shape) < least:
        raise TypeInferenceError(f"{what} needs at least {least} axes, got {show_shape(x.shape)}")


def same_dtype(*types: TensorType) -> str:
    """Return the one element type of all operands, or refuse."""
    dtypes = {type_.dtype for type_ in types}
    if len(dtypes) != 1:
        raise TypeInferenceError(f"operands mix element types {', '.join(sorted(dtypes))}")
    return dtypes.pop()


def tensor_type(array: Array | np.generic, shape: Shape | None = None) -> TensorType:
    """Return the type of a constant array."""
    array = np.asarray(array)
    dims: tuple[Dim, ...] = tuple(array.shape) if shape is None else shape
    return TensorType(dtype_name(array), dims)

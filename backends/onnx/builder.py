"""Builds the nodes, constants and weights of an ONNX model while emitters walk a SIR graph."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, TypeAlias, TypeVar

import numpy as np
import onnx
from onnx import helper, numpy_helper

from snnc.ir.errors import BackendError
from snnc.ir.op import TensorRef
from snnc.ir.shapes import Batch, batch_axis
from snnc.ir.types import DTYPES

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Iterator

    from snnc.ir.graph import Graph, Node, Value
    from snnc.ir.kernel_types import Array
    from snnc.ir.shapes import Dim, Shape
    from snnc.ir.types import Type

T = TypeVar("T")

# Shape vectors and scalars stay inside the model, where onnxruntime's shape inference reads them.
INLINE_ELEMENTS = 256
SHARED_ELEMENTS = 2**14  # larger constants are not compared with each other


class ModelBuilder:
    """The ONNX graph being written: its nodes in order, its small constants and its weights.

    `weights` are arrays of the SIR graph, by reference; their initializers carry no data. The inputs in
    `timed` have a further axis in front, time. With a `precision`, f32 and i32 constants are written in it.
    """

    def __init__(self, graph: Graph, reserved: Iterable[str], timed: frozenset[str] = frozenset()) -> None:
        self.graph = graph
        self.timed = timed
        self.nodes: list[onnx.NodeProto] = []
        self.initializers: list[onnx.TensorProto] = []
        self.declared: list[onnx.ValueInfoProto] = []
        self.weights: dict[str, Array] = {}
        self.precision: np.dtype[Any] | None = None
        self._taken = set(reserved)
        self._numbers: dict[str, int] = {}
        self._scope = ""
        self._constants: dict[tuple[str, tuple[int, ...], bytes], str] = {}
        self._tensors: dict[tuple[str, bool, np.dtype[Any] | None], str] = {}
        self._casts: dict[tuple[str, np.dtype[Any]], str] = {}
        self._nodes: dict[tuple[str, ...], str] = {}
        self._batch_size = ""
        self._compares = False  # large constants, too
        self._scaled: dict[str, tuple[str, Array]] = {}
        self._reshaped: dict[str, str] = {}
        self._step = 0
        self._latest: dict[str, int] = {}  # the last time step that a result depends on

    def enter(self, node: Node) -> None:
        """Name what follows after the source model's node that this node stands for."""
        self._scope = node.origin[0] if node.origin else node.op.name

    def leave(self) -> None:
        """Name what follows after no node of the source model."""
        self._scope = self.graph.name

    @contextmanager
    def writing(self, graph: Graph) -> Iterator[None]:
        """Write another graph with the same inputs meanwhile, and large constants that are equal once."""
        before = self.graph, self._tensors, self._compares
        self.graph, self._tensors, self._compares = graph, {}, True
        yield
        self.graph, self._tensors, self._compares = before

    @contextmanager
    def computing(self, precision: np.dtype[Any] | None) -> Iterator[None]:
        """Write constants in this precision (None: as they are) meanwhile."""
        before, self.precision = self.precision, precision
        yield
        self.precision = before

    def at_steps(self, items: Iterable[T]) -> Iterator[tuple[int, T]]:
        """Enumerate what there is for every time step, from 1; nodes written meanwhile belong to the step."""
        for t, item in enumerate(items, start=1):
            self._step = t
            yield t, item
        self._step = 0

    @property
    def real(self) -> int:
        """Return ONNX's element type of real numbers."""
        return helper.np_dtype_to_tensor_dtype(self.precision or np.dtype(np.float32))

    def unique(self, hint: str) -> str:
        """Return a name like the hint that nothing in the model bears yet."""
        name, number = hint, self._numbers.get(hint, 1)
        while name in self._taken:
            number += 1
            name = f"{hint}.{number}"
        self._taken.add(name)
        self._numbers[hint] = number
        return name

    # Nodes.

    def add(self, op: str, inputs: Sequence[str], **attributes: Any) -> str:
        """Add an ONNX node (attributes that are None or empty are left out); return its output's name."""
        output = self.unique(f"{self._scope}:{op}")
        given = {key: value for key, value in attributes.items() if value is not None and value != ()}
        self._append(helper.make_node(op, inputs, [output], output, **given))
        return output

    def _append(self, node: onnx.NodeProto) -> None:
        latest = max([self._step, *(self._latest.get(name, 0) for name in node.input)])
        self._latest.update(dict.fromkeys(node.output, latest))
        self.nodes.append(node)

    def once(self, op: str, inputs: Sequence[str]) -> str:
        """Return the output of a node without attributes; every such node is written once."""
        key = (op, *inputs)
        if key not in self._nodes:
            self._nodes[key] = self.add(op, inputs)
        return self._nodes[key]

    def split(self, value: str, axis: int, parts: int) -> tuple[str, ...]:
        """Cut into equal parts along an axis; return their names."""
        outputs = [self.unique(f"{self._scope}:Split") for _ in range(parts)]
        node = helper.make_node("Split", [value], outputs, outputs[0], axis=axis, num_outputs=parts)
        self._append(node)
        return tuple(outputs)

    def scale(self, value: str, factor: Array | float, like: Value) -> str:
        """Multiply by constants; what was multiplied already is multiplied by the product, once.

        `like` has the element type.
        """
        origin, before = self._scaled.get(value, (value, np.ones(())))
        product = np.asarray(before * np.asarray(factor, np.float64))
        if product.ndim == 0 and product == 1:
            return origin
        # Dividing by 3 is exact where multiplying by a third is not.
        divides = product.ndim == 0 and 0 < product < 1 and product == 1 / np.rint(1 / product)
        constant = np.rint(1 / product) if divides else product
        name = self.constant(constant.astype(self.precision or DTYPES[like.type.dtype]))
        result = self.add("Div" if divides else "Mul", [origin, name])
        self._scaled[result] = origin, product
        return result

    def cast(self, value: str, dtype: np.dtype[Any]) -> str:
        """Return the value in another element type; every cast is written once."""
        if (value, dtype) not in self._casts:
            to = helper.np_dtype_to_tensor_dtype(dtype)
            self._casts[value, dtype] = self.add("Cast", [value], to=to)
        return self._casts[value, dtype]

    def declare(self, name: str, type: Type) -> None:
        """State the shape of a result where runtimes cannot infer it."""
        self.declared.append(value_info(name, type))

    def rename(self, value: str, name: str) -> None:
        """Offer a value under a further name."""
        self._append(helper.make_node("Identity", [value], [name], f"{name}:Identity"))

    def finish(self, results: Collection[str]) -> None:
        """Keep the nodes and constants that these results need, the first time step's in front.

        onnxruntime starts from what was written last and goes back along the newest operand first. In this
        order it runs all steps of one layer, whose weights and membranes are in the cache, before the next.
        """
        needed, kept = set(results), []
        for node in reversed(self.nodes):
            if needed.intersection(node.output):
                needed.update(node.input)
                kept.append(node)
        kept.reverse()
        self.nodes = sorted(kept, key=lambda node: self._latest[node.output[0]])
        # onnxruntime refuses the array of a weight that no node of the model reads.
        self.initializers = [one for one in self.initializers if one.name in needed]
        self.weights = {name: array for name, array in self.weights.items() if name in needed}

    # Constants and weights.

    def constant(self, array: Array, hint: str = "constant") -> str:
        """Return the name of an initializer that holds the array; equal small arrays share one."""
        array = self._precise(np.asarray(array))
        large = array.size > SHARED_ELEMENTS
        if large and not self._compares:
            return self._weight(array, hint)
        data = array.tobytes()
        key = (array.dtype.str, array.shape, hashlib.sha256(data).digest() if large else data)
        if key not in self._constants:
            self._constants[key] = self._new_constant(array, hint)
        return self._constants[key]

    def _precise(self, array: Array) -> Array:
        convertible = array.dtype in (np.float32, np.int32)
        return array.astype(self.precision) if self.precision is not None and convertible else array

    def _new_constant(self, array: Array, hint: str) -> str:
        if array.size > INLINE_ELEMENTS:
            return self._weight(array, hint)
        name = self.unique(hint)
        self.initializers.append(numpy_helper.from_array(array, name))
        return name

    def _weight(self, array: Array, hint: str) -> str:
        name = self.unique(hint)
        declared = onnx.TensorProto(
            name=name,
            dims=array.shape,
            data_type=helper.np_dtype_to_tensor_dtype(array.dtype),
            data_location=onnx.TensorProto.EXTERNAL,
        )
        declared.external_data.add(key="location", value="weights")
        self.initializers.append(declared)
        self.weights[name] = array
        return name

    def ints(self, values: Iterable[int]) -> str:
        """Return the name of an int64 vector."""
        return self.constant(np.array(list(values), np.int64))

    def scalar(self, value: float, like: Value) -> str:
        """Return the name of a scalar with the element type of a value."""
        dtype = DTYPES[like.type.dtype]
        return (
            self.number(value)
            if dtype == np.float32 or self.precision
            else self.constant(np.array(value, dtype))
        )

    def number(self, value: float) -> str:
        """Return the name of a real scalar."""
        return self.constant(np.asarray(value, self.precision or np.float32))

    def tensor(self, node: Node, attribute: str) -> str:
        """Return the name of the initializer for a tensor attribute; empty where it is absent."""
        if attribute not in node.attributes:
            return ""
        return self._initializer(self._reference(node, attribute), transposed=False)

    def multiple(self, node: Node, attribute: str, times: int) -> str:
        """Return the name of so many times a tensor attribute; empty where it is absent."""
        if times == 1 or attribute not in node.attributes:
            return self.tensor(node, attribute)
        name = self._reference(node, attribute)
        return self.constant(times * self.graph.tensors[name], name)

    def matrix(self, node: Node, attribute: str) -> tuple[str, bool]:
        """Return the name of the initializer for W or Wᵀ, whichever lies row by row, and whether it is Wᵀ.

        The other one would have to be copied, and the weights may be most of the memory.
        """
        name = self._reference(node, attribute)
        flags = self.graph.tensors[name].flags
        transposed = flags.f_contiguous and not flags.c_contiguous
        return self._initializer(name, transposed=transposed), transposed

    def _reference(self, node: Node, attribute: str) -> str:
        reference = node.attributes[attribute]
        assert isinstance(reference, TensorRef), f"{node.op.name}.{attribute} is not a tensor"
        return reference.name

    def _initializer(self, name: str, *, transposed: bool) -> str:
        key = (name, transposed, self.precision)
        if key not in self._tensors:
            array = self.graph.tensors[name]
            self._tensors[key] = self.constant(array.T if transposed else array, name)
        return self._tensors[key]

    # Shapes.

    def reshape(self, x: str, shape: Shape) -> str:
        """Reshape to a shape with at most one multiple of the batch size, for which -1 can stand.

        What was reshaped already is reshaped once, from the shape it had.
        """
        x = self._reshaped.get(x, x)
        if 0 in shape:  # -1 is ambiguous then, and 0 would mean the old dimension
            return self.add("Reshape", [x, self.dims(shape)], allowzero=1)
        dims = self.ints(-1 if isinstance(dim, Batch) else dim for dim in shape)
        result = self.add("Reshape", [x, dims])
        self._reshaped[result] = x
        return result

    def before_reshape(self, x: str) -> str:
        """Return what was reshaped to x, or x."""
        return self._reshaped.get(x, x)

    def rows(self, x: str, count: int) -> str:
        """Reshape to so many rows."""
        x = self._reshaped.get(x, x)
        result = self.add("Reshape", [x, self.ints([count, -1])])
        self._reshaped[result] = x
        return result

    def in_rows(self, x: str, count: int, shape: Shape) -> str:
        """Reshape samples of a shape whose batch axis is in front to so many rows of samples."""
        x = self._reshaped.get(x, x)
        dims = [count, -1, *(dim for dim in shape[1:] if not isinstance(dim, Batch))]
        result = self.add("Reshape", [x, self.ints(dims)])
        self._reshaped[result] = x
        return result

    def dims(self, shape: Shape) -> str:
        """Return the name of an int64 vector with these dimensions, the batch size filled in at run time."""
        static = [dim for dim in shape if not isinstance(dim, Batch)]
        if len(static) == len(shape):
            return self.ints(static)
        return self.add("Concat", [self._dim(dim) for dim in shape], axis=0)

    def _dim(self, dim: Dim) -> str:
        if not isinstance(dim, Batch):
            return self.ints([dim])
        size = self.batch_size()
        return size if dim.coefficient == 1 else self.add("Mul", [size, self.ints([dim.coefficient])])

    def batch_size(self) -> str:
        """Return the name of an int64 vector of one element, N, read from an input's shape."""
        if not self._batch_size:
            self._batch_size = self._read_batch_size()
        return self._batch_size

    def _read_batch_size(self) -> str:
        for value in self.graph.inputs:
            axis = batch_axis(value.type.shape)
            if axis is None:
                continue
            dim = value.type.shape[axis]
            assert isinstance(dim, Batch)
            axis += value.name in self.timed
            size = self.add("Shape", [value.name or ""], start=axis, end=axis + 1)
            return size if dim.coefficient == 1 else self.add("Div", [size, self.ints([dim.coefficient])])
        raise BackendError(
            f"graph {self.graph.name!r} uses the batch size N, but none of its inputs has it",
            help="give one input a batch axis, or make the shapes static",
        )


Emitter: TypeAlias = Callable[[ModelBuilder, "Node", Sequence[str]], str]


def value_info(name: str, type: Type, dtype: np.dtype[Any] | None = None) -> onnx.ValueInfoProto:
    """Return the declaration of an ONNX input or output; `N` and its multiples stay symbolic."""
    element = helper.np_dtype_to_tensor_dtype(dtype or DTYPES[type.dtype])
    dims = [str(dim) if isinstance(dim, Batch) else dim for dim in type.shape]
    return helper.make_tensor_value_info(name, element, dims)

"""The ops that remember, unrolled: neuron, lif and delay, in the order of the reference's equations."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from onnx import TensorProto, numpy_helper

from snnc.backends.onnx.emitters.neuron import below_zero
from snnc.backends.onnx.spiking.codebook import bounded, in_table, quantise, table_parts, table_rows, to_lines
from snnc.backends.onnx.spiking.streams import differences, prefix_sums
from snnc.backends.reference.program import doubled
from snnc.backends.reference.state import membrane_limits, starting_membrane
from snnc.ir.op import computes_integers
from snnc.ir.types import DTYPES

if TYPE_CHECKING:
    from collections.abc import Sequence

    from snnc.backends.onnx.builder import ModelBuilder
    from snnc.ir.graph import Node


class Neuron:
    """m(t) = v(t-1) + x(t) + b; k(t) = Q(m(t)/q); v(t) = m(t) - q k(t); y(t) = s k(t).

    v(0) = (initial + charge) q, rounded on whole numbers. With `width`, m(t) saturates.
    """

    def __init__(self, model: ModelBuilder, node: Node, *, saturates: bool = True) -> None:
        self.model = model
        self.node = node
        self.attributes = resolved(model, node)
        whole = computes_integers(node.op, model.graph.resolve(node))
        self.start = starting_membrane(self.attributes, whole=whole)
        self.limits = membrane_limits(self.attributes["width"]) if saturates else None
        self.current, self.shape = node.operands[0].type.shape, node.result.type.shape
        self.parameters = {name: model.tensor(node, name) for name in ("scale", "negative")}
        quantum = self.attributes["quantum"]
        self.quantum = "" if (quantum == 1).all() else model.tensor(node, "quantum")

        scale = self.attributes["scale"]
        self.sends_charge = scale is not None and np.array_equal(scale, quantum)  # y(t) = q k(t)
        parts, plain = table_parts(self.attributes["codebook"]), not self.parameters["negative"]
        # The membrane is the place in the table; 0 if it is not.
        self.parts = parts if parts and plain and (quantum == parts).all() else 0
        self.rows = 0  # what it reads has its own shape

    def by_rows(self) -> int:
        """Read currents as rows of a table, whose number is returned; 0 where channels differ."""
        start = self.start is None or self.start.size == 1
        alike = self.sends_charge and start and self.attributes["bias"] is None
        self.rows = table_rows(self.current) if self.parts and alike and self.limits is None else 0
        return self.rows

    @property
    def forgets(self) -> bool:
        """Every step starts from v(0)."""
        return bool(self.attributes["reset"] == "restart")

    def step(self, currents: Sequence[str]) -> list[str]:
        """Return y(1) … y(T), given x(1) … x(T)."""
        sent, membrane = [], ""
        for t, x in self.model.at_steps(currents):
            m = self.charge(x) if t == 1 else self._integrate(membrane, x)
            payload, value = self._fire(m)
            sent.append(self._output(payload, value))
            if t < len(currents):
                membrane = self._reset(m, payload, value, sent[-1])
        return sent

    @property
    def adds_up(self) -> bool:
        """It can be given what its currents add up to: m(t) = v(0) + X(t) + t b - q (k(1) + … + k(t-1))."""
        return self.attributes["reset"] == "subtract" and self.limits is None

    def step_sums(self, sums: Sequence[str]) -> tuple[list[str], list[str]]:
        """Return y(1) … y(T) and what the reset has taken away after every step, given X(1) … X(T)."""
        sent: list[str] = []
        taken: list[str] = []
        for t, x in self.model.at_steps(sums):
            m = self._started(self._with_bias(x, t))
            if taken:
                m = self.model.add("Sub", [m, taken[-1]])
            payload, value = self._fire(m)
            sent.append(self._output(payload, value))
            charge = self._charge_of(value, sent[-1])
            taken.append(self.model.add("Add", [taken[-1], charge]) if taken else charge)
        return sent, taken

    @property
    def sends_what_it_loses(self) -> bool:
        """y(t) is what the reset takes away."""
        plain = not self.quantum and not self.parameters["scale"] and self.attributes["level_axis"] is None
        return self.sends_charge or plain

    def once(self, x: str) -> str:
        """Return y of a step that starts from v(0)."""
        return self._output(*self._fire(self.charge(x)))

    def charge(self, x: str) -> str:
        """Return m(1)."""
        return self._biased(self._started(x))

    def _started(self, x: str) -> str:
        """Return x + v(0)."""
        if self.start is None:
            return x
        start = self.start.reshape(1, 1) if self.rows else self.start
        return self.model.add(
            "Add", [x, self.model.constant(start.astype(self.model.precision or np.float32))]
        )

    def _integrate(self, membrane: str, x: str) -> str:
        return self._biased(self.model.add("Add", [membrane, x]))

    def _biased(self, m: str) -> str:
        """Return m + b, saturated."""
        return saturated(self.model, self._with_bias(m, 1), self.limits)

    def _with_bias(self, m: str, times: int) -> str:
        bias = self.model.multiple(self.node, "bias", times)
        return self.model.add("Add", [m, bias]) if bias else m

    def _fire(self, m: str) -> tuple[str, str]:
        """Return k(t), and with `negative` what it is worth in quanta; q k(t) where that is what is sent."""
        if self.parts:
            payload = self._look_up(m)
            return payload, payload
        u, ratio = (
            self.model.add("Div", [m, self.quantum]) if self.quantum else m,
            self.parameters["negative"],
        )
        if ratio:
            u = below_zero(self.model, "Div", u, ratio)
        payload = quantise(self.model, u, self.attributes["codebook"], self.current)
        return payload, below_zero(self.model, "Mul", payload, ratio) if ratio else payload

    def _look_up(self, m: str) -> str:
        """Return k(t), or what it takes from the membrane if that is what is sent."""
        model, codebook, worth = (
            self.model,
            self.attributes["codebook"],
            self.parts if self.sends_charge else 1,
        )
        place = bounded(model, m, codebook, self.parts)
        if self.rows:
            return in_table(model, place, codebook, self.rows, self.parts, worth=worth)
        rows = table_rows(self.current)
        payload = in_table(model, model.rows(place, rows), codebook, rows, self.parts, worth=worth)
        return model.reshape(payload, self.current)

    def _reset(self, m: str, payload: str, value: str, sent: str) -> str:
        """Return v(t)."""
        model = self.model
        if self.attributes["reset"] == "zero":
            silent = model.add("Equal", [payload, model.number(0)])
            return model.add("Where", [silent, m, model.number(0)])
        return model.add("Sub", [m, self._charge_of(value, sent)])

    def _charge_of(self, value: str, sent: str) -> str:
        """Return q k(t)."""
        if self.sends_charge:
            return sent
        return self.model.add("Mul", [self.quantum, value]) if self.quantum else value

    def _output(self, payload: str, value: str) -> str:
        axis, scale = self.attributes["level_axis"], self.parameters["scale"]
        if axis is not None:
            lines = to_lines(self.model, payload, self.attributes["codebook"], axis, len(self.shape))
            return self.model.reshape(lines, self.shape)
        included = self.parts and self.sends_charge
        return self.model.add("Mul", [value, scale]) if scale and not included else value


class SumNeuron(Neuron):
    """K(t) = clip(Q(S(t)/q), t lo, t hi), S(t) = v(0) + X(t) + t b; k(t) = K(t) - K(t-1); y(t) = s k(t)."""

    def step(self, currents: Sequence[str]) -> list[str]:
        """Return y(1) … y(T), given x(1) … x(T)."""
        return self.step_sums(prefix_sums(self.model, currents))[0]

    def step_sums(self, sums: Sequence[str]) -> tuple[list[str], list[str]]:
        """Return y(1) … y(T) and q K(1) … q K(T), given X(1) … X(T)."""
        received = [self._started(self._with_bias(x, t)) for t, x in self.model.at_steps(sums)]
        sent = [self._sent(s, t) for t, s in self.model.at_steps(received)]
        payloads = differences(self.model, sent)
        return [self._output(k, k) for k in payloads], [self._charge_of(k, self._output(k, k)) for k in sent]

    def _sent(self, received: str, t: int) -> str:
        """Return K(t), given S(t)."""
        u = self.model.add("Div", [received, self.quantum]) if self.quantum else received
        return self._rounded(self._clipped(u, t))

    def _clipped(self, u: str, t: int) -> str:
        book = self.attributes["codebook"]
        return self.model.add("Clip", [u, *(self.model.number(t * end) for end in (book.lo, book.hi))])

    def _rounded(self, u: str) -> str:
        return self.model.add("Floor" if self.attributes["codebook"].rounding == "floor" else "Round", [u])

    def averages(self, r: str, steps: Sequence[int], rows: int) -> str:
        """Return s K(t)/t for these steps t, given the decoded currents of one step after the other in `rows`
        rows: one for each step, or one that all have in common.
        """
        model, book = self.model, self.attributes["codebook"]
        # t u lies between t lo and t hi where u lies between lo and hi; a layer in front takes that in.
        plain = not self.quantum and self.start is None
        u = self._with_bias(r, 1)
        m = self._times(bounded(model, u, book, 1) if plain else u, steps, rows)
        if self.start is not None:
            quanta = (self.start / self.attributes["quantum"]).astype(np.float32)
            m = model.add("Add", [model.reshape(m, self.current), model.constant(quanta)])
        times = model.constant(np.array(steps, np.float32).reshape(-1, 1))
        sent = model.add("Div", [model.rows(self._rounded(m), len(steps)), times])
        decoded = model.reshape(sent, self.current)
        decoded = decoded if plain else bounded(model, decoded, book, 1)
        return self._output(decoded, decoded)

    def average(self, r: str, t: int) -> str:
        """Return s K(t)/t, given the decoded currents r(t)."""
        model, factor = self.model, t / self.attributes["quantum"].astype(np.float64)
        u = self._with_bias(r, 1)
        if (factor != 1).any():
            u = model.add("Mul", [u, model.constant(factor.astype(np.float32))])
        if self.start is not None:
            u = model.add(
                "Add", [u, model.constant((self.start / self.attributes["quantum"]).astype(np.float32))]
            )
        sent = self._rounded(self._clipped(u, t))
        decoded = sent if t == 1 else model.add("Div", [sent, model.number(t)])
        return self._output(decoded, decoded)

    def _times(self, u: str, steps: Sequence[int], rows: int) -> str:
        """Return t u/q, given u of one step after the other in so many rows."""
        model, quantum = self.model, self.attributes["quantum"].astype(np.float64)
        if quantum.size == 1:
            factor = np.array(steps).reshape(-1, 1) / quantum.reshape(())
            return model.add("Mul", [model.rows(u, rows), model.constant(factor.astype(np.float32))])
        factor = np.array(steps).reshape(-1, *(1,) * quantum.ndim) / quantum
        parts = model.in_rows(u, rows, self.current)
        return model.add("Mul", [parts, model.constant(factor.astype(np.float32))])


class Lif:
    """m(t) = leak v(t-1) + gain x(t) + bias; s(t) = [m(t) >= threshold]; reset as the attributes say.

    On whole numbers: trunc(leak v(t-1)); with `width`, m(t) saturates.
    """

    def __init__(self, model: ModelBuilder, node: Node) -> None:
        self.model = model
        self.attributes = resolved(model, node)
        self.limits = membrane_limits(self.attributes["width"])
        self.whole = computes_integers(node.op, model.graph.resolve(node))
        names = ("threshold", "leak", "gain", "bias", "rest")
        self.parameters = {name: model.tensor(node, name) for name in names}

    def step(self, currents: Sequence[str]) -> list[str]:
        """Return s(1) … s(T), given x(1) … x(T)."""
        initial, delayed, sent = self.attributes["initial"], self.attributes["delayed"], []
        start = self.model.constant(np.asarray(initial, np.float32))
        membrane = start if initial or delayed else ""
        for t, x in enumerate(currents, start=1):
            due = self._fires(membrane) if delayed else ""
            m = self._integrate(membrane, x)
            if delayed:
                m = self._reset(m, due)
            m = saturated(self.model, m, self.limits)
            fired = self._fires(m)
            sent.append(self.model.add("Cast", [fired], to=self.model.real))
            if t < len(currents):
                membrane = m if delayed else self._reset(m, fired)
        return sent

    def _fires(self, m: str) -> str:
        comparison = "Greater" if self.attributes["strict"] else "GreaterOrEqual"
        return self.model.add(comparison, [m, self.parameters["threshold"]])

    def _integrate(self, v: str, x: str) -> str:
        """Return m(t) without what a delayed reset does; no v is v(0) = 0."""
        model, given = self.model, self.parameters
        m = model.add("Mul", [given["gain"], x]) if given["gain"] else x
        if v:
            m = model.add("Add", [self._decayed(v), m])
        return model.add("Add", [m, given["bias"]]) if given["bias"] else m

    def _decayed(self, v: str) -> str:
        model, leak = self.model, self.parameters["leak"]
        left = model.add("Mul", [v, leak]) if leak else v
        if not (leak and self.whole):
            return left
        return model.add("Cast", [model.add("Cast", [left], to=TensorProto.INT64)], to=model.real)

    def _reset(self, m: str, fired: str) -> str:
        model, given = self.model, self.parameters
        match self.attributes["reset"]:
            case "hard":
                return model.add("Where", [fired, given["rest"] or model.number(0), m])
            case "soft":
                return model.add("Where", [fired, model.add("Sub", [m, given["threshold"]]), m])
        return m


def resolved(model: ModelBuilder, node: Node) -> dict[str, Any]:
    """Return a node's attributes, in double precision where the model computes in it."""
    given: dict[str, Any] = model.graph.resolve(node)
    return doubled(given, True) if model.precision == np.float64 else given


def saturated(model: ModelBuilder, m: str, limits: tuple[float, float] | None) -> str:
    return m if limits is None else model.add("Clip", [m, *(model.number(limit) for limit in limits)])


def delay(model: ModelBuilder, node: Node, streams: Sequence[str]) -> list[str]:
    """Return y(t) = x(t - steps), 0 for t <= steps."""
    steps: int = model.graph.resolve(node)["steps"]
    dtype = model.precision or DTYPES[node.operands[0].type.dtype]
    zero = numpy_helper.from_array(np.zeros(1, dtype))
    zeros = model.add("ConstantOfShape", [model.add("Shape", [streams[0]])], value=zero)
    return [streams[t - steps] if t >= steps else zeros for t in range(len(streams))]

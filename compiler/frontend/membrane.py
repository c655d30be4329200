"""Recognises a leaky integrate-and-fire neuron in the formulas of its step, however it was written.

What is looked for, with v the state and x the one stream it integrates:

    m = leak v + gain x + bias, s = [m >= threshold] or [m > threshold], and the state's next value is one of
    - m - threshold s                       soft reset
    - rest where s = 1, else m              hard reset
    - m                                   no reset
    - m, where the reset due to the last step has been made before: with r = [v >= threshold] (or >), m is
      leak v + gain x + bias - threshold r  (soft, delayed), rest where r = 1 (hard, delayed), or
      leak rest + gain x + bias where r = 1 (which is the hard reset, seen a step later)
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np

from snnc.frontend.cases import equal, single

if TYPE_CHECKING:
    from snnc.frontend.cases import Affine, Cases, Number
    from snnc.frontend.formulas import Comparison, Formulas
    from snnc.ir.graph import Value

EXPECTED = (
    "a plain LIF has one state v: m = leak v + gain x + bias, spikes where m reaches a threshold, and if it "
    "is reset then by subtracting the threshold or to a constant"
)


class MismatchError(Exception):
    """Why a state's step is no LIF neuron; never shown alone."""


@dataclass(frozen=True, slots=True)
class Membrane:
    """The neuron: its parameters, the streams it integrates (their sum), the comparison that is its spike."""

    inputs: tuple[Value, ...]
    leak: Number
    gain: Number
    bias: Number
    threshold: Number
    spike: int
    strict: bool
    reset: str
    rest: Number
    delayed: bool = False


def recognise(formulas: Formulas, successor: Value) -> Membrane:
    """Return the neuron whose state's next value this is; `MismatchError` says what it is not."""
    cases = formulas.of.get(successor)
    if successor not in formulas.of:
        raise MismatchError("its next value does not depend on it")
    if cases is None:
        raise MismatchError(
            "its next value is not computed from it by sums, constant factors and comparisons"
        )
    if not cases.comparisons:
        return never_reset(formulas, cases)
    if len(cases.comparisons) > 1:
        raise MismatchError(f"its next value depends on {len(cases.comparisons)} comparisons, not on one")
    number = cases.comparisons[0]
    comparison, m = formulas.comparisons[number], cases.silent
    subject = comparison.subject
    if subject.comparisons:
        raise MismatchError("what is compared with the threshold depends on another comparison")
    if not m.terms:
        raise MismatchError("its membrane is not a sum of it, by a positive factor, and an input")
    of_last_step = set(subject.silent.terms) == {formulas.v}
    if of_last_step and len(m.terms) > 1:
        return delayed_reset(formulas, cases, comparison)
    threshold = threshold_of(subject, single(m))
    if threshold is None:
        raise MismatchError("what is compared with the threshold is not the membrane that is reset")
    membrane = replace(unreset(formulas, m), threshold=threshold, spike=number, strict=comparison.strict)
    return with_reset(membrane, m, cases.table[(True,)])


def unreset(formulas: Formulas, m: Affine) -> Membrane:
    """Return m = leak v + gain x + bias, the rest of the neuron still to be filled in."""
    inputs = tuple(value for value in m.terms if value is not formulas.v)
    if not inputs:
        raise MismatchError("it integrates nothing")
    gain = m.terms[inputs[0]]
    if not all(equal(m.terms[value], gain) for value in inputs):
        raise MismatchError(f"it weighs the {len(inputs)} streams it integrates differently")
    leak = m.terms.get(formulas.v, np.zeros(()))
    if not (leak >= 0).all():
        raise MismatchError("its leak is negative")
    zero = np.zeros(())
    return Membrane(inputs, leak, gain, m.constant, zero, 0, strict=False, reset="hard", rest=zero)


def threshold_of(subject: Cases, membrane: Cases) -> Number | None:
    """Return the constant θ for which the subject of a comparison is k (m - θ), k > 0, in every case."""
    compared = subject.silent.terms
    shared = [value for value, factor in membrane.silent.terms.items() if factor.all() and value in compared]
    if subject.comparisons != membrane.comparisons or not shared:
        return None
    k = compared[shared[0]] / membrane.silent.terms[shared[0]]
    if not (k > 0).all():
        return None
    distances = []
    for outcome, m in membrane.table.items():
        row = subject.table[outcome]
        same = row.terms.keys() == m.terms.keys()
        if not same or not all(close(row.terms[value], k * factor) for value, factor in m.terms.items()):
            return None
        distances.append(single_precision(m.constant - row.constant / k))
    return distances[0] if all(equal(distances[0], other) for other in distances) else None


def with_reset(membrane: Membrane, m: Affine, after: Affine) -> Membrane:
    """Add the reset: `after` is the state's next value where it spiked."""
    if after.is_constant:
        return replace(membrane, rest=single_precision(after.constant))
    step = m.plus(after, -1.0)
    if not step.is_constant:
        raise MismatchError("its reset neither subtracts a constant nor sets one")
    if not equal(single_precision(step.constant), membrane.threshold):
        raise MismatchError("its reset subtracts something else than the threshold")
    return replace(membrane, reset="soft")


def never_reset(formulas: Formulas, cases: Cases) -> Membrane:
    """The state is m(t), and spikes are all that the threshold makes."""
    m = cases.silent
    if not m.terms:
        raise MismatchError("its membrane is not a sum of it, by a positive factor, and an input")
    for number, comparison in enumerate(formulas.comparisons):
        threshold = threshold_of(comparison.subject, cases)
        if threshold is not None:
            membrane = replace(unreset(formulas, m), threshold=threshold, reset="none")
            return replace(membrane, spike=number, strict=comparison.strict)
    raise MismatchError("no threshold is compared with it")


def delayed_reset(formulas: Formulas, cases: Cases, comparison: Comparison) -> Membrane:
    """The state is m(t) itself, and r = [v >= threshold] is the reset that the last step left to be made."""
    v, last = formulas.v, comparison.subject.silent
    m, after = cases.silent, cases.table[(True,)]
    membrane = replace(unreset(formulas, m), strict=comparison.strict, delayed=True)
    membrane = replace(membrane, threshold=single_precision(-last.constant / last.terms[v]))
    membrane = replace(membrane, spike=spike_of(formulas, cases, membrane))
    gone = m.plus(after, -1.0)
    if gone.terms.keys() == {v} and close(gone.terms[v], membrane.leak):
        # Only the old membrane is replaced: the hard reset, made where it is next needed.
        rest = single_precision(-gone.constant / membrane.leak)
        return replace(membrane, rest=rest, delayed=False)
    return with_reset(membrane, m, after)


def spike_of(formulas: Formulas, m: Cases, membrane: Membrane) -> int:
    """Return the comparison of m with the threshold that the reset will be due to."""
    for number, comparison in enumerate(formulas.comparisons):
        threshold = threshold_of(comparison.subject, m)
        same_kind = comparison.strict == membrane.strict
        if same_kind and threshold is not None and equal(threshold, membrane.threshold):
            return number
    raise MismatchError("its spikes and its reset are not due to the same threshold")


def close(x: Number, y: Number) -> bool:
    """Tell whether coefficients are equal but for rounding in double precision."""
    return bool(np.allclose(x, y, rtol=1e-12, atol=0))


def single_precision(x: Number) -> Number:
    """Return a parameter as float32 holds it: double precision only kept the formulas from rounding."""
    return x.astype(np.float32).astype(np.float64) + 0.0

"""Formulas of a neuron's step: affine in the streams, one for each outcome of the comparisons it makes.

A reset is written in many ways: `Where(m >= 1, 0, m)`, `m * (1 - s)`, `m - m * s`. Worked out case by case,
for s = 0 and for s = 1, they are all the same two formulas, and these are what is matched.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import product
from typing import TYPE_CHECKING, TypeAlias

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from numpy.typing import NDArray

    from snnc.ir.graph import Value

    Number: TypeAlias = NDArray[np.float64]

MOST_COMPARISONS = 4
"""What a step of one neuron compares; more cases than 2^4 are not worked out."""

ONE: Number = np.ones(())


@dataclass(frozen=True, slots=True)
class Affine:
    """Σ coefficient · stream + constant, coefficients per channel (they broadcast against the streams)."""

    terms: Mapping[Value, Number]
    constant: Number

    @property
    def is_constant(self) -> bool:
        return not self.terms

    def plus(self, other: Affine, factor: float = 1.0) -> Affine:
        """Return self + factor · other."""
        terms = dict(self.terms)
        for value, coefficient in other.terms.items():
            total = terms.get(value, 0.0) + factor * coefficient
            terms[value] = total
            if not total.any():
                del terms[value]
        return Affine(terms, self.constant + factor * other.constant)

    def times(self, factor: Number) -> Affine:
        scaled = {value: coefficient * factor for value, coefficient in self.terms.items()}
        return Affine({value: c for value, c in scaled.items() if c.any()}, self.constant * factor)

    def same(self, other: Affine) -> bool:
        return self.terms.keys() == other.terms.keys() and all(
            equal(mine, theirs)
            for mine, theirs in [
                (self.constant, other.constant),
                *((coefficient, other.terms[value]) for value, coefficient in self.terms.items()),
            ]
        )


def equal(x: Number, y: Number) -> bool:
    """Tell whether two coefficients are equal wherever they meet."""
    try:
        return bool(np.equal(x, y).all())
    except ValueError:
        return False


def known(array: object) -> Affine:
    return Affine({}, np.asarray(array, np.float64))


@dataclass(frozen=True, slots=True)
class Cases:
    """One formula per outcome of some comparisons, named by their numbers, in ascending order."""

    comparisons: tuple[int, ...]
    table: Mapping[tuple[bool, ...], Affine]

    def row(self, outcomes: Mapping[int, bool]) -> Affine:
        return self.table[tuple(outcomes[number] for number in self.comparisons)]

    @property
    def rows(self) -> list[Affine]:
        return list(self.table.values())

    @property
    def silent(self) -> Affine:
        """Return the formula where no comparison holds."""
        return self.table[(False,) * len(self.comparisons)]

    def same(self, other: Cases) -> bool:
        return self.comparisons == other.comparisons and all(
            row.same(other.table[outcome]) for outcome, row in self.table.items()
        )

    def is_indicator(self, comparison: int) -> bool:
        """Tell whether it is 1 where the comparison holds, else 0."""
        return self.comparisons == (comparison,) and all(
            row.is_constant and bool((row.constant == outcome).all())
            for (outcome,), row in self.table.items()
        )


def single(formula: Affine) -> Cases:
    return Cases((), {(): formula})


def indicator(comparison: int) -> Cases:
    return Cases((comparison,), {(False,): known(0), (True,): known(1)})


def combine(operands: Sequence[Cases], function: Callable[[Sequence[Affine]], Affine | None]) -> Cases | None:
    """Return a function of some operands, case by case; None where it has no formula or has too many."""
    numbers = sorted({number for operand in operands for number in operand.comparisons})
    if len(numbers) > MOST_COMPARISONS:
        return None
    table: dict[tuple[bool, ...], Affine] = {}
    for outcome in product((False, True), repeat=len(numbers)):
        outcomes = dict(zip(numbers, outcome, strict=True))
        row = function([operand.row(outcomes) for operand in operands])
        if row is None:
            return None
        table[outcome] = row
    return without_idle(Cases(tuple(numbers), table))


def without_idle(cases: Cases) -> Cases:
    """Leave out the comparisons that make no difference."""
    for place in range(len(cases.comparisons)):
        if all(
            row.same(cases.table[(*outcome[:place], not outcome[place], *outcome[place + 1 :])])
            for outcome, row in cases.table.items()
        ):
            kept = {
                (*outcome[:place], *outcome[place + 1 :]): row
                for outcome, row in cases.table.items()
                if not outcome[place]
            }
            return without_idle(Cases((*cases.comparisons[:place], *cases.comparisons[place + 1 :]), kept))
    return cases

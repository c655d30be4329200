"""Works out, for one state of a step, the formula of every value that is computed of it by elements."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeAlias

import numpy as np

from snnc.frontend.cases import Affine, Cases, combine, indicator, known, single

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from snnc.ir.graph import Graph, Node, Value

    Rule: TypeAlias = "Callable[[Formulas, Node, Sequence[Cases]], Cases | None]"


@dataclass(frozen=True, slots=True)
class Comparison:
    """subject >= 0, or subject > 0 if strict; the state's coefficient in the subject is positive."""

    subject: Cases
    strict: bool


class Formulas:
    """The formulas of all values that depend on the state `v`; None for one that has none.

    Streams that do not depend on it are the variables. `comparisons` are those met on the way.
    """

    def __init__(self, graph: Graph, v: Value) -> None:
        self.graph, self.v = graph, v
        self.comparisons: list[Comparison] = []
        self.of: dict[Value, Cases | None] = {v: single(Affine({v: np.ones(())}, np.zeros(())))}
        self._constants: dict[Value, Cases] = {}
        for node in graph:
            if any(operand in self.of for operand in node.operands):
                self.of[node.result] = self._formula(node)
            elif node.op.name in RULES and all(self._constant(operand) for operand in node.operands):
                # What is computed of constants for as many samples as there are.
                found = self._formula(node)
                if found is not None:
                    self._constants[node.result] = found

    def _constant(self, value: Value) -> Cases | None:
        array = None if value in self._constants else self.graph.constant(value)
        if array is not None:
            self._constants[value] = single(known(array))
        return self._constants.get(value)

    def _formula(self, node: Node) -> Cases | None:
        rule = RULES.get(node.op.name)
        operands = [self._operand(operand) for operand in node.operands]
        given = [operand for operand in operands if operand is not None]
        return None if rule is None or len(given) < len(operands) else rule(self, node, given)

    def _operand(self, value: Value) -> Cases | None:
        if value in self.of:
            return self.of[value]
        return self._constant(value) or single(Affine({value: np.ones(())}, np.zeros(())))

    def compare(self, subject: Cases | None, *, strict: bool) -> Cases | None:
        """Return [subject >= 0], strict: [subject > 0]."""
        if subject is None:
            return None
        if all(row.is_constant for row in subject.rows):
            compare = np.greater if strict else np.greater_equal
            return combine([subject], lambda rows: known(compare(rows[0].constant, 0)))
        first = subject.silent.terms.get(self.v, next(iter(subject.silent.terms.values()), np.zeros(())))
        if (first < 0).all():
            # [-u >= 0] = 1 - [u > 0]
            holds = self.compare(negated(subject), strict=not strict)
            return None if holds is None else combine([holds], lambda rows: known(1).plus(rows[0], -1))
        if not (first > 0).all():
            return None
        for number, other in enumerate(self.comparisons):
            if other.strict == strict and other.subject.same(subject):
                return indicator(number)
        self.comparisons.append(Comparison(subject, strict))
        return indicator(len(self.comparisons) - 1)


def negated(cases: Cases) -> Cases:
    minus = np.full((), -1.0)
    return Cases(cases.comparisons, {outcome: row.times(minus) for outcome, row in cases.table.items()})


def sum_of(first: float, second: float) -> Rule:
    """first x + second y"""

    def rule(formulas: Formulas, node: Node, operands: Sequence[Cases]) -> Cases | None:
        weigh = np.full((), first)
        return combine(operands, lambda rows: rows[0].times(weigh).plus(rows[1], second))

    return rule


def multiply(formulas: Formulas, node: Node, operands: Sequence[Cases]) -> Cases | None:
    """x y, where in every case one of them is constant"""

    def row(rows: Sequence[Affine]) -> Affine | None:
        x, y = rows if rows[1].is_constant else (rows[1], rows[0])
        return x.times(y.constant) if y.is_constant else None

    return combine(operands, row)


def divide(formulas: Formulas, node: Node, operands: Sequence[Cases]) -> Cases | None:
    """x / y, where y is constant"""

    def row(rows: Sequence[Affine]) -> Affine | None:
        x, y = rows
        return x.times(1 / y.constant) if y.is_constant and y.constant.all() else None

    return combine(operands, row)


def comparison(first: float, *, strict: bool) -> Rule:
    """[first (x - y) >= 0], strict: > 0"""
    difference = sum_of(first, -first)

    def rule(formulas: Formulas, node: Node, operands: Sequence[Cases]) -> Cases | None:
        return formulas.compare(difference(formulas, node, operands), strict=strict)

    return rule


def sign(formulas: Formulas, node: Node, operands: Sequence[Cases]) -> Cases | None:
    """1 where x > 0; else 0 where x >= 0, -1 where it is not"""
    above = formulas.compare(operands[0], strict=True)
    reached = formulas.compare(operands[0], strict=False)
    if above is None or reached is None:
        return None
    return combine(
        [above, reached], lambda rows: known(np.where(rows[0].constant > 0, 1, rows[1].constant - 1))
    )


def choose(formulas: Formulas, node: Node, operands: Sequence[Cases]) -> Cases | None:
    """x where the condition holds, else y"""

    def row(rows: Sequence[Affine]) -> Affine | None:
        condition, x, y = rows
        if not condition.is_constant:
            return None
        if condition.constant.all():
            return x
        return None if condition.constant.any() else y

    return combine(operands, row)


def invert(formulas: Formulas, node: Node, operands: Sequence[Cases]) -> Cases | None:
    """not x, as 1 - x"""
    return combine(operands, lambda rows: known(1).plus(rows[0], -1))


def negate(formulas: Formulas, node: Node, operands: Sequence[Cases]) -> Cases | None:
    return negated(operands[0])


def keep(formulas: Formulas, node: Node, operands: Sequence[Cases]) -> Cases | None:
    """The same real numbers; of truth values, 0 and 1"""
    return operands[0] if node.result.type.is_real else None


def rectify(formulas: Formulas, node: Node, operands: Sequence[Cases]) -> Cases | None:
    """max(x, 0) of what is constant in every case (a sign)"""
    return combine(
        operands, lambda rows: known(np.maximum(rows[0].constant, 0)) if rows[0].is_constant else None
    )


RULES: Mapping[str, Rule] = {
    "add": sum_of(1, 1),
    "sub": sum_of(1, -1),
    "mul": multiply,
    "div": divide,
    "neg": negate,
    "cast": keep,
    "expand": keep,
    "where": choose,
    "greater": comparison(1, strict=True),
    "greater_equal": comparison(1, strict=False),
    "less": comparison(-1, strict=True),
    "less_equal": comparison(-1, strict=False),
    "logical_not": invert,
    "sign": sign,
    "relu": rectify,
}

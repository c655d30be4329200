"""The op reference: every op of the table, family by family."""

from __future__ import annotations

from typing import TYPE_CHECKING

from snnc.cli.ops import describe_op, show_default, traits
from snnc.ir.ops import FAMILIES
from snnc.reference import markup
from snnc.reference.markup import code, fenced, table, text

if TYPE_CHECKING:
    from collections.abc import Iterator

    from snnc.ir.op import Op

INTRODUCTION = """\
Every operation of the `.sir` language, as the op table declares it. `snnc ops NAME` prints the
same, `snnc ops --json` for programs. Equations are in the notation of [semantics](../semantics.md);
x(t) is an operand at step t, and an op without t means the same at every step. `expect.NAME` is the
op wrapped as an [expectation node](../semantics.md#expectation-nodes). The role says how the mean
over time passes through:

- *linear*: affine in all operands together;
- *multilinear*: linear in each operand alone, exact while one of them varies;
- *numerator*: linear in its first operand;
- *nonlinear*: it needs an expectation node;
- *stateful*: it remembers earlier steps."""


def page() -> str:
    return markup.page("Operations", INTRODUCTION, [overview(), *sections()])


def overview() -> str:
    """Return the ops of each family, with links."""
    rows = [
        [text(family), " ".join(f"[{code(op.name)}](#{op.name})" for op in module.OPS)]
        for family, module in FAMILIES.items()
    ]
    return table(["family", "ops"], rows)


def sections() -> Iterator[str]:
    for family, module in FAMILIES.items():
        yield f"## {family.capitalize()}"
        yield from map(section, module.OPS)


def section(op: Op) -> str:
    """Return heading, signature, equation, attributes and traits of one op."""
    equation = op.equation.replace("; ", "\n").replace(". ", "\n")
    parts = [f"### {op.name}", fenced(f"{op.name}({', '.join(op.operands)})\n\n{equation}")]
    attributes = describe_op(op)["attributes"]
    if attributes:
        rows = [
            [
                code(attribute["name"]),
                " \\| ".join(map(code, attribute["choices"])) or attribute["kind"],
                "required" if attribute["required"] else code(show_default(attribute)),
                text(attribute["meaning"]),
            ]
            for attribute in attributes
        ]
        parts.append(table(["attribute", "kind", "default", "meaning"], rows))
    parts.append("\n".join(f"- {text(trait)}" for trait in traits(op)))
    return "\n\n".join(parts)

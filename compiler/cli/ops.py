"""`snnc ops`: the op table, and the ONNX operators that lead to it."""

from __future__ import annotations

import textwrap
from typing import TYPE_CHECKING, Any

import click

from snnc.cli import completion
from snnc.cli.options import example, json_option
from snnc.cli.show import Column, print_json, print_table
from snnc.ir.errors import OptionError, did_you_mean

if TYPE_CHECKING:
    from snnc.ir.op import Op


@click.command(
    epilog=example("snnc ops", "snnc ops neuron", "snnc ops --onnx"),
    short_help="The operations of the .sir language.",
)
@click.argument("name", required=False, shell_complete=completion.op_names)
@click.option("--onnx", is_flag=True, help="List the ONNX operators that can be imported instead.")
@json_option
def ops(name: str | None, onnx: bool, as_json: bool) -> None:
    """List all operations, or say everything about the one called NAME."""
    if onnx and name is not None:
        raise click.UsageError("--onnx lists operators; leave out NAME.")
    if onnx:
        show_onnx(as_json)
    elif name is not None:
        show_op(name, as_json)
    else:
        show_table(as_json)


def show_table(as_json: bool) -> None:
    from snnc.ir.ops import FAMILIES, op_table

    families = {op.name: family for family, module in FAMILIES.items() for op in module.OPS}
    table = op_table()
    if as_json:
        print_json([{**describe_op(op), "family": families[op.name]} for op in table.values()])
        return
    columns = [Column("op"), Column("family"), Column("role"), Column("equation")]
    print_table(columns, [(op.name, families[op.name], op.role.value, op.equation) for op in table.values()])


def show_op(name: str, as_json: bool) -> None:
    from snnc.ir.ops import op_table

    table = op_table()
    bare = name.removeprefix("expect.")
    if bare not in table:
        raise OptionError(f"there is no op {name!r}", help=did_you_mean(bare, table))
    op = table[bare]
    if as_json:
        print_json(describe_op(op))
        return
    click.echo(f"{op.name}({', '.join(op.operands)})\n")
    click.echo(textwrap.indent(textwrap.fill(op.equation, 96, break_long_words=False), "  ") + "\n")
    if op.attributes:
        rows = [
            (attribute["name"], attribute["kind"], show_default(attribute), attribute["meaning"])
            for attribute in describe_op(op)["attributes"]
        ]
        print_table([Column("attribute"), Column("kind"), Column("default"), Column("meaning")], rows)
        click.echo()
    click.echo("\n".join(textwrap.fill(line, 100, subsequent_indent="  ") for line in traits(op)))


def show_default(attribute: dict[str, Any]) -> str:
    if attribute["required"]:
        return "required"
    default = attribute["default"]
    return "none" if default is None else str(default).lower() if isinstance(default, bool) else str(default)


def describe_op(op: Op) -> dict[str, Any]:
    """Return the declaration of an op as plain data."""
    return {
        "name": op.name,
        "equation": op.equation,
        "operands": list(op.operands),
        "role": op.role.value,
        "expectation": op.expectation,
        "homogeneous": op.homogeneous,
        "synaptic": op.synaptic,
        "keeps_spikes": op.payload is not None,
        "cost": op.cost,
        "special": op.special,
        "attributes": [
            {
                "name": name,
                "kind": attribute.kind.value,
                "required": attribute.required,
                "default": None if attribute.required else attribute.default,
                "choices": list(attribute.choices),
                "meaning": attribute.doc,
            }
            for name, attribute in op.attributes.items()
        ],
    }


def traits(op: Op) -> list[str]:
    """Return how the op treats streams, in sentences."""
    from snnc.ir.op import Role

    meanings = {
        Role.LINEAR: "linear: means over time pass through it exactly",
        Role.MULTILINEAR: "multilinear: exact while one operand varies in time, "
        f"expect.{op.name} where several do",
        Role.NUMERATOR: f"linear in its first operand; expect.{op.name} where another one varies in time",
        Role.NONLINEAR: f"nonlinear: expect.{op.name} wherever an operand varies in time",
        Role.STATEFUL: "stateful: it remembers earlier time steps",
    }
    lines = [meanings[op.role]]
    if op.synaptic:
        lines.append("synaptic: spikes that reach it cost accumulates, real streams multiply-accumulates")
    if op.homogeneous:
        lines.append("homogeneous: F(c x) = c F(x) for c > 0, so its expectation node needs no division")
    if op.neuron:
        lines.append("a neuron: it sends spikes, whatever it reads")
    elif op.payload is not None:
        lines.append("keeps spikes: the result of spikes can be spikes")
    if op.cost or op.special:
        lines.append(
            f"costs {op.cost:g} multiply-accumulates and {op.special:g} special functions per output element"
        )
    return lines


def show_onnx(as_json: bool) -> None:
    from snnc.frontend.handlers import importable

    names = importable()
    if as_json:
        print_json(names)
    else:
        click.echo("\n".join(names))

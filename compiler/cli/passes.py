"""`snnc passes`: the passes there are, and their options."""

from __future__ import annotations

import dataclasses
import inspect
import typing
from typing import TYPE_CHECKING, Any

import click

from snnc.cli import completion
from snnc.cli.options import example, json_option, load_option, registry_with
from snnc.cli.show import Column, plain, print_json, print_table

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from snnc.passes.base import Pass


BOUNDS = {
    "exact": "Decoded values stay exactly as they are.",
    "rounding": "Decoded values stay as they are, up to the rounding of float32.",
    "quantisation": "Decoded values change by what neurons round, and by nothing else.",
    "weights": "Decoded values change by what weights, thresholds and inputs are rounded to.",
    "not stated": "It does not state how closely decoded values are preserved.",
}


@click.command(
    epilog=example("snnc passes", "snnc passes choose-thresholds", "snnc passes --load my_pass.py"),
    short_help="The passes and their options.",
)
@click.argument("name", required=False, shell_complete=completion.pass_names)
@load_option
@json_option
def passes(name: str | None, load: Sequence[Path], as_json: bool) -> None:
    """List all passes, or say everything about the one called NAME.

    Passes are given to snnc opt and snnc compile as "name,name{option=value,option=value}".
    """
    registry = registry_with(load)
    if name is not None:
        pass_class = registry.get(name)
        if as_json:
            print_json(describe_pass(pass_class))
        else:
            show_pass(pass_class)
    elif as_json:
        print_json([describe_pass(pass_class) for pass_class in registry.passes.values()])
    else:
        rows = [
            (
                pass_class.name,
                summary(pass_class),
                preserves(pass_class),
                ", ".join(map(show_option, options_of(pass_class))),
            )
            for pass_class in registry.passes.values()
        ]
        print_table([Column("pass"), Column("what it does"), Column("preserves"), Column("options")], rows)


def show_pass(pass_class: type[Pass]) -> None:
    click.echo(f"{pass_class.name}\n")
    click.echo(plain(inspect.getdoc(pass_class) or "") + "\n")
    click.echo(BOUNDS[preserves(pass_class)] + "\n")
    options = options_of(pass_class)
    if not options:
        click.echo("It has no options.")
        return
    rows = [(option["name"], option["type"], option["default"]) for option in options]
    print_table([Column("option"), Column("type"), Column("default")], rows)


def describe_pass(pass_class: type[Pass]) -> dict[str, Any]:
    return {
        "name": pass_class.name,
        "summary": summary(pass_class),
        "preserves": preserves(pass_class),
        "options": options_of(pass_class),
    }


def preserves(pass_class: type[Pass]) -> str:
    """Return how closely a pass says it preserves decoded values."""
    return "not stated" if pass_class.preserves is None else pass_class.preserves.value


def summary(pass_class: type[Pass]) -> str:
    """Return the first line of the docstring."""
    return (inspect.getdoc(pass_class) or "").partition("\n")[0]


def options_of(pass_class: type[Pass]) -> list[dict[str, str]]:
    """Return name, type and default of every option, as a pipeline writes them."""
    from snnc.passes.pipeline import option_types

    types = option_types(pass_class)
    return [
        {
            "name": field.name,
            "type": show_type(types[field.name]),
            "default": "required" if field.default is dataclasses.MISSING else show_value(field.default),
        }
        for field in dataclasses.fields(pass_class)
    ]


def show_option(option: dict[str, str]) -> str:
    return f"{option['name']}={option['default']}"


def show_type(wanted: Any) -> str:
    """Return an option's type: `int`, `mse | max | percentile`, `float | none`."""
    if wanted is type(None):
        return "none"
    if wanted is bool:
        return "true | false"
    parts = typing.get_args(wanted)
    if not parts:
        return str(wanted.__name__)
    return " | ".join(part if isinstance(part, str) else show_type(part) for part in parts)


def show_value(value: object) -> str:
    if value is None:
        return "none"
    return str(value).lower() if isinstance(value, bool) else str(value)

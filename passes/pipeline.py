"""Pipelines as text: `fuse-batch-norm{into=thresholds},dce` and back."""

from __future__ import annotations

import dataclasses
import types
import typing
from typing import TYPE_CHECKING, Any, Literal

from lark import Lark, Token, Transformer
from lark.exceptions import UnexpectedInput

from snnc.ir.errors import OptionError, ParseError, PassError, closest, did_you_mean

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from snnc.passes.base import Pass
    from snnc.passes.registry import Registry

ARTICLES = {int: "an integer", float: "a number", str: "text"}

GRAMMAR = r"""
    start: [step ("," step)*]
    step: NAME ["{" [option ("," option)*] "}"]
    option: NAME "=" VALUE
    NAME: /[A-Za-z_][A-Za-z0-9_-]*/
    VALUE: /[^,{}=\s]+/
    %ignore /\s+/
"""


class _Steps(Transformer[Token, list[tuple[str, dict[str, str]]]]):
    def start(self, steps: list[Any]) -> list[Any]:
        return [step for step in steps if step is not None]

    def step(self, parts: list[Any]) -> tuple[str, dict[str, str]]:
        name, *options = parts
        given = [option for option in options if option is not None]
        return str(name), dict(given)

    def option(self, parts: list[Token]) -> tuple[str, str]:
        return str(parts[0]).replace("-", "_"), str(parts[1])


def parse_pipeline(text: str, registry: Registry) -> list[Pass]:
    """Return the passes a pipeline names, with their options; `ParseError` or `OptionError` otherwise."""
    parser = Lark(GRAMMAR, parser="lalr", lexer="contextual")
    try:
        steps = _Steps().transform(parser.parse(text))
    except UnexpectedInput as error:
        raise ParseError(
            "the pipeline cannot be read here",
            where=f"pipeline:{error.line}:{error.column}: {text}",
            help='write passes as "name,name{option=value,option=value}"',
        ) from error
    return [build_pass(registry.get(name), options) for name, options in steps]


def build_pass(pass_class: type[Pass], options: Mapping[str, str]) -> Pass:
    """Return the pass with options given as text, converted to the types of its fields."""
    fields = option_types(pass_class)
    values: dict[str, Any] = {}
    for key, text in options.items():
        if key not in fields:
            hint = did_you_mean(key, fields) if fields else "it has no options"
            raise OptionError(f"pass {pass_class.name!r} has no option {key!r}", help=hint)
        values[key] = convert(text, fields[key], f"{pass_class.name}{{{key}}}")
    for field in dataclasses.fields(pass_class):
        required = field.default is dataclasses.MISSING and field.default_factory is dataclasses.MISSING
        if required and field.name not in values:
            raise OptionError(
                f"pass {pass_class.name!r} needs its option {field.name!r}",
                help=f"write {pass_class.name}{{{field.name}=…}}",
            )
    return pass_class(**values)


def option_types(pass_class: type[Pass]) -> dict[str, Any]:
    """Return the type of every option of a pass."""
    try:
        hints = typing.get_type_hints(pass_class)
    except NameError as error:
        raise PassError(
            f"the options of pass {pass_class.name!r} cannot be read: {error}",
            help="import the types of its options at run time, not only for type checking",
        ) from error
    return {field.name: hints[field.name] for field in dataclasses.fields(pass_class)}


def convert(text: str, wanted: Any, what: str) -> Any:
    """Convert an option's text to a bool, int, float, str, literal or optional of these."""
    if typing.get_origin(wanted) is Literal:
        choices = typing.get_args(wanted)
        if text in choices:
            return text
        known = "one of: " + ", ".join(map(str, choices))
        raise OptionError(f"{what} cannot be {text!r}", help=closest(text, choices) or known)
    if isinstance(wanted, types.UnionType):
        inner = [option for option in typing.get_args(wanted) if option is not type(None)]
        return None if text == "none" else convert(text, inner[0], what)
    if wanted is bool:
        if text in ("true", "false"):
            return text == "true"
        raise OptionError(f"{what} cannot be {text!r}", help="one of: true, false")
    try:
        return wanted(text)
    except ValueError as error:
        raise OptionError(
            f"{what} cannot be {text!r}", help=f"give {ARTICLES.get(wanted, wanted.__name__)}"
        ) from error


def show_pass(pass_: Pass) -> str:
    """Return a pass as pipeline text, leaving out options at their defaults."""
    shown = []
    for field in dataclasses.fields(pass_):
        value = getattr(pass_, field.name)
        if value != field.default:
            text = "none" if value is None else str(value).lower() if isinstance(value, bool) else str(value)
            shown.append(f"{field.name}={text}")
    return pass_.name + ("{" + ",".join(shown) + "}" if shown else "")


def show_pipeline(passes: Sequence[Pass]) -> str:
    """Return a pipeline as text that `parse_pipeline` reads back."""
    return ",".join(show_pass(pass_) for pass_ in passes)

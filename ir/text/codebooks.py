"""The text of codebooks, driven by their fields: `binary`, `multi(-7, 7)`, `multi(0, 15, floor)`."""

from __future__ import annotations

from dataclasses import MISSING, fields
from typing import TYPE_CHECKING, Any, Literal, get_args, get_origin, get_type_hints

from snnc.ir.codebooks import CODEBOOKS
from snnc.ir.errors import ParseError, did_you_mean

if TYPE_CHECKING:
    from collections.abc import Sequence

    from snnc.ir.codebooks import Codebook


def show_codebook(codebook: Codebook) -> str:
    """Return the text of a codebook; trailing arguments equal to their defaults are left out."""
    declared = fields(codebook)
    values = [getattr(codebook, field.name) for field in declared]
    while values and values[-1] == declared[len(values) - 1].default:
        values.pop()
    arguments = ", ".join(map(_show_argument, values))
    return f"{codebook.name}({arguments})" if arguments else codebook.name


def _show_argument(value: object) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    return value if isinstance(value, str) else repr(value)


def make_codebook(name: str, arguments: Sequence[Any]) -> Codebook:
    """Return the codebook of that name with its fields in declared order; `ParseError` if it cannot be."""
    if name not in CODEBOOKS:
        raise ParseError(f"there is no codebook {name!r}", help=did_you_mean(name, CODEBOOKS))
    cls = CODEBOOKS[name]
    declared = fields(cls)
    least = sum(field.default is MISSING for field in declared)
    if not least <= len(arguments) <= len(declared):
        takes = str(least) if least == len(declared) else f"{least} to {len(declared)}"
        raise ParseError(f"{name} takes {takes} arguments, not {len(arguments)}", help=_signature(name))
    hints = get_type_hints(cls)
    for field, argument in zip(declared, arguments, strict=False):
        if not _fits(argument, hints[field.name]):
            raise ParseError(f"{name}: {field.name} cannot be {argument!r}", help=_signature(name))
    try:
        return cls(*arguments)
    except ValueError as error:
        raise ParseError(str(error)) from error


def _fits(argument: object, hint: Any) -> bool:
    if get_origin(hint) is Literal:
        return argument in get_args(hint)
    return type(argument) is hint


def _signature(name: str) -> str:
    return f"it is written {name}({', '.join(field.name for field in fields(CODEBOOKS[name]))})"

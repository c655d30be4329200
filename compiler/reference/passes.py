"""The pass reference: the built-in passes, in the order in which they usually run."""

from __future__ import annotations

import inspect
from typing import TYPE_CHECKING

from snnc.cli.passes import BOUNDS, options_of, preserves, summary
from snnc.passes.builtin import BUILTIN
from snnc.reference import markup
from snnc.reference.markup import code, paragraphs, table, text

if TYPE_CHECKING:
    from snnc.passes.base import Pass

INTRODUCTION = """The built-in passes, from the front of a pipeline to its end. `snnc passes NAME` prints the
same, your own passes included ([writing a pass](../writing-a-pass.md)). A pipeline is written
`name,name{option=value,option=value}`, for `snnc opt -p` and `snnc compile -p`; the pipelines that
methods run are in the [method reference](methods.md)."""


def page() -> str:
    return markup.page("Passes", INTRODUCTION, [overview(), *map(section, BUILTIN)])


def overview() -> str:
    rows = [[f"[{code(item.name)}](#{item.name})", text(summary(item))] for item in BUILTIN]
    return table(["pass", "what it does"], rows)


def section(pass_class: type[Pass]) -> str:
    """Return what a pass does, and its options."""
    bound = BOUNDS[preserves(pass_class)]
    parts = [f"## {pass_class.name}", paragraphs(inspect.getdoc(pass_class) or ""), bound]
    rows = [
        [code(option["name"]), code(option["type"]), code(option["default"])]
        for option in options_of(pass_class)
    ]
    parts.append(table(["option", "type", "default"], rows) if rows else "It has no options.")
    return "\n\n".join(parts)

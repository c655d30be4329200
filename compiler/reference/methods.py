"""The method reference: what every method is and which passes it runs."""

from __future__ import annotations

from typing import TYPE_CHECKING

from snnc.methods import DEFAULT, DIRECT, METHODS
from snnc.methods.base import Settings
from snnc.passes.pipeline import show_pass
from snnc.reference import markup
from snnc.reference.markup import fenced, text

if TYPE_CHECKING:
    from collections.abc import Iterator

    from snnc.methods.base import Method
    from snnc.methods.direct import DirectMethod

INTRODUCTION = """What `snnc compile --method NAME` can be, where each comes from, and the passes it runs
at default settings and T=4 ([pass reference](passes.md)). [Methods](../methods.md) explains them."""


def page() -> str:
    return markup.page("Methods", INTRODUCTION, map(section, methods()))


def methods() -> Iterator[Method | DirectMethod]:
    yield DEFAULT
    yield from (method for method in METHODS.values() if method is not DEFAULT)
    yield DIRECT


def section(method: Method | DirectMethod) -> str:
    """Return summary, source and pipeline of one method."""
    passes = ",\n".join(map(show_pass, method.pipeline(Settings())))
    return "\n\n".join(
        [
            f"## {method.name}",
            f"{text(method.summary)}.",
            f"Source: {text(method.source)}.",
            fenced(passes),
        ]
    )

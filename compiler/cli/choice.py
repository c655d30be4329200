"""Names to choose from on the command line: a refusal asks which of them was meant."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from snnc.ir.errors import closest

if TYPE_CHECKING:
    from collections.abc import Iterable


class Choice(click.Choice[str]):
    """One of some names; a refusal says which of them is meant."""

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> str:
        try:
            return super().convert(value, param, ctx)
        except click.BadParameter as error:
            question = question_after(str(value), map(str, self.choices))
            raise click.BadParameter(error.message + question, ctx, param) from error


def question_after(name: str, known: Iterable[str]) -> str:
    """Return a sentence to follow another one: which of the known names are meant; empty if none is close."""
    question = closest(name, known)
    return f" D{question[1:]}" if question else ""

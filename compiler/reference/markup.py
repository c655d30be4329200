"""Markdown in pieces. Text enters a page through `text`, so that no sign in it is taken for markup."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

GENERATED = "<!-- Written by `make reference` from the code; edit that instead. -->"
_MARKS = re.compile(r"([\\*_<>\[\]|#])")


def text(content: str) -> str:
    """Return text as Markdown that shows it as it is; what stands between backticks stays code."""
    parts = content.split("`")
    return "`".join(part if index % 2 else _MARKS.sub(r"\\\1", part) for index, part in enumerate(parts))


def code(content: str) -> str:
    """Return code for a line or a cell: a bar would end the cell."""
    return f"`{content}`".replace("|", "\\|")


def fenced(content: str, language: str = "text") -> str:
    return f"```{language}\n{content}\n```"


def paragraphs(content: str) -> str:
    """Return the paragraphs of a docstring, each on lines of its own."""
    return "\n\n".join(text(" ".join(part.split())) for part in content.split("\n\n"))


def table(titles: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """Return a table; cells are Markdown already."""
    lines = [titles, ["---"] * len(titles), *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def page(title: str, introduction: str, sections: Iterable[str]) -> str:
    return "\n\n".join([f"# {title}", GENERATED, introduction, *sections]) + "\n"

"""Puts measured tables on a page of documentation, each between two marks of its name."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path


def markdown(titles: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Return a table as Markdown."""
    return "".join(f"| {' | '.join(row)} |\n" for row in [titles, ["---"] * len(titles), *rows])


def put(page: Path, parts: Mapping[str, str]) -> None:
    """Replace what stands between `<!-- NAME -->` and `<!-- end of NAME -->` on a page, for every name.

    Nothing is written where a mark is absent: ValueError.
    """
    text = page.read_text()
    for name, part in parts.items():
        opening, closing = f"<!-- {name} -->\n", f"<!-- end of {name} -->\n"
        before, found, rest = text.partition(opening)
        _, ended, after = rest.partition(closing)
        if not found or not ended:
            raise ValueError(f"{page} has no place for {name}: no {opening.strip()} … {closing.strip()}")
        text = f"{before}{opening}{part}{closing}{after}"
    page.write_text(text)

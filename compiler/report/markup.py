"""HTML in pieces. Names come from files nobody vouches for: text is escaped wherever it enters the page."""

from __future__ import annotations

import html
from typing import TYPE_CHECKING

from snnc.cli.show import one_line

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

# Plain text that becomes part of the page must pass through one of these two.


def text(content: object) -> str:
    """Return text for the page: markup escaped, and so is what does not print."""
    return html.escape(one_line(str(content)), quote=True)


def breakable(name: str) -> str:
    """Return a name as code that may wrap behind slashes and underscores."""
    shown = text(name)
    for mark in ("/", "_"):
        shown = shown.replace(mark, mark + "<wbr>")
    return f'<code class="name">{shown}</code>'


def details(summary: str, content: str, *, opened: bool = False) -> str:
    """Return a part that opens on demand; both are HTML."""
    return f"<details{' open' if opened else ''}><summary>{summary}</summary>{content}</details>"


def scrolling(label: str, content: str, kind: str = "") -> str:
    """Return a box of its own that scrolls, by keyboard too; the page never does sideways."""
    return f'<div class="scroll {kind}" role="region" aria-label="{text(label)}" tabindex="0">{content}</div>'


def table(caption: str, titles: Sequence[str], rows: Iterable[Sequence[str]], *, words: int = 1) -> str:
    """Return a table in a scrolling box; cells are HTML, the first `words` columns words, the others numbers.

    The first cell heads its row. A cell that begins with `<td` is taken as it is.
    """
    head = "".join(
        f'<th scope="col"{"" if index < words else NUMBER}>{text(title)}</th>'
        for index, title in enumerate(titles)
    )
    body = "".join(f"<tr>{table_row(row, words)}</tr>" for row in rows)
    content = f"<caption>{text(caption)}</caption><thead><tr>{head}</tr></thead><tbody>{body}</tbody>"
    return scrolling(caption, f"<table>{content}</table>")


NUMBER = ' class="num"'


def table_row(row: Sequence[str], words: int) -> str:
    cells = [f'<th scope="row"{"" if words else NUMBER}>{row[0]}</th>']
    for index, cell in enumerate(row[1:], 1):
        cells.append(cell if cell.startswith("<td") else f"<td{'' if index < words else NUMBER}>{cell}</td>")
    return "".join(cells)


def bar_cell(shown: str, share: float, kind: str = "") -> str:
    """Return a number with a bar under it; `share` of the column's width, 0 to 1."""
    width = min(max(share, 0.0), 1.0)
    return f'<td class="num bar {kind}" style="--share:{100 * width:.2f}%">{text(shown)}</td>'


def definitions(pairs: Iterable[tuple[str, str]]) -> str:
    """Return a list of terms (text) and what they are (HTML)."""
    items = "".join(f"<div><dt>{text(term)}</dt><dd>{meaning}</dd></div>" for term, meaning in pairs)
    return f"<dl>{items}</dl>"


def paragraph(content: str, kind: str = "") -> str:
    return f'<p class="{kind}">{text(content)}</p>' if kind else f"<p>{text(content)}</p>"

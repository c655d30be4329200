"""Report pages to look at, and a reader that knows whether a page is well-formed."""

from __future__ import annotations

from html.parser import HTMLParser
from pathlib import Path
from typing import TYPE_CHECKING

from click.testing import CliRunner

from snnc.cli import main

if TYPE_CHECKING:
    from collections.abc import Sequence

DIGITS = Path(__file__).resolve().parents[2] / "examples" / "digits"
VOID = {"meta", "link", "br", "wbr", "img", "input", "hr"}


def run_snnc(*arguments: str | Path, code: int = 0) -> str:
    """Run a command and return what it says about its work."""
    result = CliRunner().invoke(main, list(map(str, arguments)), prog_name="snnc")
    if result.exception is not None and not isinstance(result.exception, SystemExit):
        raise result.exception
    assert result.exit_code == code, result.output
    return result.stderr


def write_report(folder: Path, name: str, *more: str, compile_options: Sequence[str] = ()) -> Path:
    """Compile a digits network into the folder, report on 40 images and return the page."""
    model, network, page = DIGITS / f"digits_{name}.onnx", folder / f"{name}.sir", folder / f"{name}.html"
    calibration = ("--calibration", DIGITS / "digits_calibration.npz", "--scale", "1/16", "--limit", "48")
    run_snnc("compile", model, "-o", network, *calibration, *compile_options, "-q")
    test = ("--model", model, "--data", DIGITS / "digits_test.npz", "--limit", "40")
    run_snnc("report", network, *test, "-o", page, "-q", *more)
    return page


class Page(HTMLParser):
    """Reads a page; `elements` are (tag, attributes), `words` the text outside of style sheets."""

    def __init__(self, source: str) -> None:
        super().__init__(convert_charrefs=True)
        self.elements: list[tuple[str, dict[str, str]]] = []
        self.words: list[str] = []
        self._open: list[str] = []
        self.feed(source)
        self.close()
        assert self._open == [], f"never closed: {self._open}"

    def handle_starttag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, {name: value or "" for name, value in attributes}))
        if tag not in VOID:
            self._open.append(tag)

    def handle_startendtag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, {name: value or "" for name, value in attributes}))

    def handle_endtag(self, tag: str) -> None:
        assert self._open, f"</{tag}> closes nothing"
        assert self._open[-1] == tag, f"</{tag}> closes <{self._open[-1]}>"
        self._open.pop()

    def handle_data(self, data: str) -> None:
        if "style" not in self._open and data.strip():
            self.words.append(data)

    @property
    def text(self) -> str:
        return " ".join("".join(f"{word} " for word in self.words).split())

    def all(self, tag: str) -> list[dict[str, str]]:
        return [attributes for name, attributes in self.elements if name == tag]

"""What reaches the terminal: escaped names, tables that fit, bars only where someone watches."""

from __future__ import annotations

import io
import sys
import time

import pytest

from snnc.cli.options import parse_dim, show_number
from snnc.cli.progress import Activity
from snnc.cli.show import Column, Notes, count, one_line, plain, print_json, print_table, show_error, size

COLUMNS = [Column("name"), Column("value", number=True)]


class Terminal(io.StringIO):
    """A stream that claims to be a terminal."""

    def isatty(self) -> bool:
        return True


def on_terminal(monkeypatch: pytest.MonkeyPatch) -> Terminal:
    """Put a terminal of 40 columns on stdout and stderr; a fixture would come too early for pytest's own."""
    stream = Terminal()
    for name, value in {"COLUMNS": "40", "TERM": "xterm-256color"}.items():
        monkeypatch.setenv(name, value)
    for name in ("NO_COLOR", "FORCE_COLOR"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(sys, "stdout", stream)
    monkeypatch.setattr(sys, "stderr", stream)
    return stream


@pytest.mark.parametrize(
    ("name", "shown"),
    [
        ("conv1", "conv1"),
        ("größe/Ω", "größe/Ω"),
        ("red \x1b[31m", "red \\x1b[31m"),
        ("left\u202eright", "left\\u202eright"),
        ("nul\x00", "nul\\x00"),
        ("lone \ud800", "lone \\ud800"),
        ("[bold]x[/bold]", "[bold]x[/bold]"),
    ],
)
def test_names_cannot_act_on_the_terminal(name: str, shown: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert plain(name) == shown
    print_table(COLUMNS, [(name, "1")])
    show_error(f"error[test]: {name}")
    Notes().warning(name)
    captured = capsys.readouterr()
    assert captured.out.splitlines()[2].split("   ")[0] == shown
    assert captured.err == f"error[test]: {shown}\nwarning: {shown}\n"


def test_lines_in_names() -> None:
    assert plain("a\nb") == "a\nb"
    assert one_line("a\nb") == "a\\nb"


def test_tables_in_a_pipe_keep_everything(capsys: pytest.CaptureFixture[str]) -> None:
    long = "x" * 3000
    print_table(COLUMNS, [(long, "1"), ("short", "22")])
    lines = capsys.readouterr().out.splitlines()
    assert lines[2].split() == [long, "1"]
    assert lines[3].split() == ["short", "22"]
    assert all(line == line.rstrip() for line in lines)


def test_tables_on_a_terminal_fold(monkeypatch: pytest.MonkeyPatch) -> None:
    terminal = on_terminal(monkeypatch)
    print_table(COLUMNS, [("x" * 100, "1")])
    lines = terminal.getvalue().splitlines()
    assert sum(line.count("x") for line in lines) == 100
    assert all(len(line) <= 40 for line in lines[1:])


def test_colour_only_where_it_is_wanted(monkeypatch: pytest.MonkeyPatch) -> None:
    terminal = on_terminal(monkeypatch)
    show_error("error[test]: bad")
    assert "\x1b[" in terminal.getvalue()
    terminal.truncate(0)
    monkeypatch.setenv("NO_COLOR", "1")
    show_error("error[test]: bad")
    Notes().note("fine")
    assert "\x1b[3" not in terminal.getvalue()
    assert "\x1b[91" not in terminal.getvalue()


def test_long_messages_are_not_wrapped(monkeypatch: pytest.MonkeyPatch) -> None:
    terminal = on_terminal(monkeypatch)
    show_error("error[test]: " + "word " * 50)
    assert len(terminal.getvalue().splitlines()) == 1


def test_bar_appears_after_a_moment(monkeypatch: pytest.MonkeyPatch) -> None:
    terminal = on_terminal(monkeypatch)
    monkeypatch.setattr("snnc.cli.progress.PATIENCE", 0.0)
    with Activity("reading") as activity:
        activity.stage("[working]")
        activity.update(3, 17)
        time.sleep(0.3)
    assert "[working]" in terminal.getvalue()
    assert " 3/17" in terminal.getvalue()


@pytest.mark.parametrize("quiet", [False, True])
def test_no_bar_for_quick_or_quiet_work(monkeypatch: pytest.MonkeyPatch, quiet: bool) -> None:
    terminal = on_terminal(monkeypatch)
    monkeypatch.setattr("snnc.cli.progress.PATIENCE", 0.0 if quiet else 60.0)
    with Activity("working", quiet=quiet) as activity:
        activity.update(1, 2)
        time.sleep(0.05)
    assert terminal.getvalue() == ""


def test_no_bar_without_a_terminal(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("snnc.cli.progress.PATIENCE", 0.0)
    with Activity("working") as activity:
        activity.update(1, 2)
        time.sleep(0.05)
    assert capsys.readouterr().err == ""


def test_json_has_no_nan(capsys: pytest.CaptureFixture[str]) -> None:
    print_json({"ratio": float("nan"), "list": [1.5, float("inf")], "tuple": (None, "x")})
    assert "".join(capsys.readouterr().out.split()) == '{"ratio":null,"list":[1.5,null],"tuple":[null,"x"]}'


def test_figures_for_people() -> None:
    assert (count(1, "node"), count(1024, "node")) == ("1 node", "1,024 nodes")
    assert [size(n) for n in (999, 1000, 1_234_567, 5 * 10**12)] == ["999 B", "1.0 kB", "1.2 MB", "5000.0 GB"]
    assert [show_number(x) for x in (1 / 255, 1 / 16, 0.485, 2.0, 255.0)] == [
        "1/255", "0.0625", "0.485", "2", "255",
    ]  # fmt: skip
    assert [parse_dim(dim, "x") for dim in ("N", "128")] == ["N", 128]

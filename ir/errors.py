"""Every way snnc can refuse its user's input. One error says what is wrong, where, and what to do."""

from __future__ import annotations

import difflib
from typing import TYPE_CHECKING, ClassVar

if TYPE_CHECKING:
    from collections.abc import Iterable

ABOUT_AS_CLOSE = 0.1  # of difflib's likeness, 0 to 1: two names that differ by less are as likely meant


class SnncError(Exception):
    """The base of all refusals.

    `code` names the kind of error, `where` the place (a file, a node, a line and column), `help` the
    remedy. `exit_code` is what the command line returns: 1 for the user's problem, 2 for wrong usage.
    """

    code: ClassVar[str] = "error"
    exit_code: ClassVar[int] = 1

    def __init__(self, message: str, *, where: str | None = None, help: str | None = None) -> None:
        super().__init__(message)
        self.message = message
        self.where = where
        self.help = help

    def __str__(self) -> str:
        parts = [self.message]
        if self.where:
            parts.append(f"  --> {self.where}")
        if self.help:
            parts.append(f"  help: {self.help}")
        return "\n".join(parts)

    def report(self) -> str:
        """Return the error as the command line shows it."""
        return f"error[{self.code}]: {self}"


class ModelError(SnncError, ValueError):
    """The ONNX model cannot be read."""

    code = "bad-model"


class UnsupportedOpError(SnncError, ValueError):
    """Nodes of the model cannot be compiled."""

    code = "unsupported-op"


class ShapeError(SnncError, ValueError):
    """A dimension other than the batch is unknown, or shapes do not fit."""

    code = "bad-shape"


class TypeInferenceError(SnncError, TypeError):
    """An operation's operands or attributes do not fit its declaration."""

    code = "bad-type"


class VerifyError(SnncError, ValueError):
    """A graph breaks the rules of the IR; `problems` lists all of them."""

    code = "invalid-graph"

    def __init__(self, message: str, problems: Iterable[str] = (), *, where: str | None = None) -> None:
        self.problems = tuple(problems)
        listed = "".join(f"\n  - {problem}" for problem in self.problems)
        super().__init__(message + listed, where=where)


class ParseError(SnncError, ValueError):
    """Text is not in the `.sir` or pipeline language."""

    code = "syntax"


class ArchiveError(SnncError, ValueError):
    """A `.sir` file is damaged or not what it claims to be."""

    code = "bad-file"


class DataError(SnncError, ValueError):
    """Calibration, evaluation or input data do not fit the network."""

    code = "bad-data"


class PassError(SnncError, RuntimeError):
    """A pass could not do its work."""

    code = "pass-failed"


class BackendError(SnncError, RuntimeError):
    """A backend cannot run or emit the graph."""

    code = "backend"


class MissingPackageError(SnncError, ImportError):
    """An optional package that the user's request needs is not installed; `how_to_install` is its help."""

    code = "missing-package"

    def __str__(self) -> str:
        return SnncError.__str__(self)


class OutputError(SnncError, OSError):
    """A result cannot be written."""

    code = "cannot-write"

    def __str__(self) -> str:
        return SnncError.__str__(self)


class OptionError(SnncError, ValueError):
    """A name or option that does not exist, or a value it cannot take."""

    code = "bad-option"
    exit_code = 2


def nearest(name: str, known: Iterable[str]) -> list[str]:
    """Return the known names most like one, best first: those about as close as the best, three at most."""
    close = difflib.get_close_matches(name, sorted(known), n=3)
    likeness = [difflib.SequenceMatcher(None, one, name).ratio() for one in close]
    return [one for one, ratio in zip(close, likeness, strict=True) if ratio > likeness[0] - ABOUT_AS_CLOSE]


def closest(name: str, known: Iterable[str]) -> str | None:
    """Return a question with the known names closest to one, or None if none is close."""
    close = nearest(name, known)
    return "did you mean " + " or ".join(map(repr, close)) + "?" if close else None


def did_you_mean(name: str, known: Iterable[str]) -> str:
    """Return a help sentence with the closest known names, or the whole list when none is close."""
    options = sorted(known)
    return closest(name, options) or "known: " + ", ".join(options)


def how_to_install(extra: str | None) -> str:
    """Return what installs snnc's optional packages of this name, or, without one, what it always needs."""
    bracket = f"[{extra}]" if extra else ""
    return f'pip install -e ".{bracket}" in a clone of snnc; pip install "snnc{bracket}" if it is installed'

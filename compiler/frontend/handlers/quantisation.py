"""Handlers of the quantisation family."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from snnc.frontend.context import Handler

HANDLERS: dict[str, Handler] = {}

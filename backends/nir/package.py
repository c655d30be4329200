"""The optional package `nir`, which defines the format."""

from __future__ import annotations

from typing import Any

from snnc.ir.errors import MissingPackageError, how_to_install


def nir_package() -> Any:
    """Return the module `nir`; `MissingPackageError` if it is not installed."""
    try:
        import nir
    except ImportError as error:
        raise MissingPackageError(
            f"NIR files need the package nir: {error}", help=how_to_install("nir")
        ) from error
    return nir

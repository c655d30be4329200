"""Rounds weights to integers so that what a layer computes changes least, not the weights themselves."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from snnc.ir.kernel_types import Array

# Added to every variance, relative to their mean, as GPTQ does: what few samples never showed is uncertain.
DAMPING = 0.01


def round_weights(rows: Array, covariance: Array | None, limit: int) -> NDArray[np.int64]:
    """Return integers ŵ [O, K] for the weights w [O, K] of O outputs in units, each at most `limit` in size.

    Without covariance every weight goes to the nearest integer, halves to even. With C [K, K], that of the
    inputs, each row (approximately) minimises the variance of the error at its output, (w - ŵ)ᵀ C (w - ŵ),
    by the error feedback of GPTQ (Frantar et al. 2022, arXiv 2210.17323); where that is worse than the
    nearest integers, these stay.
    """
    rows = np.asarray(rows, np.float64)
    nearest = np.clip(np.rint(rows), -limit, limit)
    if covariance is None:
        return nearest.astype(np.int64)
    covariance = np.asarray(covariance, np.float64)
    rounded = error_feedback(rows, covariance, limit)
    better = output_error(rows - rounded, covariance) < output_error(rows - nearest, covariance)
    return np.where(better[:, None], rounded, nearest).astype(np.int64)


def error_feedback(rows: Array, covariance: Array, limit: int) -> Array:
    """Round the weights one after the other, those of the largest variance first; later ones make up for it.

    With C = M Mᵀ, M upper triangular in that order, and e_j = w_j - ŵ_j for the earlier ones, it is
    w_i + Σ_{j<i} e_j M_ji / M_ii that is rounded. This is Babai's nearest plane, which GPTQ equals (Chen et
    al. 2025, arXiv 2507.18553), and needs no inverse.
    """
    variance = np.diagonal(covariance)
    order = np.argsort(-variance, kind="stable")
    damped = covariance + np.diag(np.full(len(variance), DAMPING * (variance.mean() or 1.0)))
    # The lower factor of the reversed matrix is the upper one, reversed.
    upper = np.linalg.cholesky(damped[order][:, order][::-1, ::-1])[::-1, ::-1]
    errors, rounded = np.empty(rows.T.shape), np.empty(rows.shape)
    for place, index in enumerate(order):
        feedback = upper[:place, place] @ errors[:place] / upper[place, place]
        rounded[:, index] = np.clip(np.rint(rows[:, index] + feedback), -limit, limit)
        errors[place] = rows[:, index] - rounded[:, index]
    return rounded


def output_error(errors: Array, covariance: Array) -> Array:
    """Return the variance that errors e [O, K] of the weights cause at every output, eᵀ C e."""
    return np.asarray(((errors @ covariance) * errors).sum(axis=1))


def bias_correction(errors: Array, mean: Array) -> Array:
    """Return what to add to every output's bias so that errors w - ŵ [O, K] leave its mean as it is.

    `mean` [K]: that of the inputs.
    """
    return np.asarray(errors @ mean)

"""Compute one head of attention with NumPy alone, for comparison with `modeling/attention.py`."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[np.floating[Any]]


def softmax(scores: Array) -> Array:
    """Return exp(scores) divided by its sum over the last axis; the maximum is subtracted first, against overflow."""
    exponentials = np.exp(scores - scores.max(axis=-1, keepdims=True))
    return exponentials / exponentials.sum(axis=-1, keepdims=True)


def attention(
    query: Array, key: Array, value: Array, visible: npt.NDArray[np.bool_] | None = None
) -> tuple[Array, Array]:
    """Compute equation 1, softmax(QK^T / sqrt(d_k)) V.

    Args:
        query: `[T, K]`; key, value: `[S, K]`.
        visible: `[T, S]`, True where a query may attend to a key; None if everywhere.

    Returns:
        The output `[T, K]` and the weights `[T, S]`.
    """
    scores = query @ key.T / np.sqrt(query.shape[-1])  # [T, S]
    if visible is not None:
        scores = np.where(visible, scores, -np.inf)
    weights = softmax(scores)
    return weights @ value, weights

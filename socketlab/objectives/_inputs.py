"""What every objective asks of its inputs: shapes, known names and at least float32."""

from collections.abc import Iterable

import torch
from torch import Tensor


def full_precision(values: Tensor) -> Tensor:
    """Return ``values`` in float32, or unchanged where they are float64.

    The sums below run over thousands of values: half precision would round them to three digits.
    """
    return values if values.dtype == torch.float64 else values.to(torch.float32)


def require_matrix(name: str, values: Tensor, axes: str) -> None:
    """Raise ValueError unless ``values`` has two dimensions, neither of them empty."""
    if values.ndim != 2 or values.numel() == 0:
        raise ValueError(
            f"{name} must have shape {axes} with at least one row and column, "
            f"found {tuple(values.shape)}"
        )


def require_same_shape(first_name: str, first: Tensor, second_name: str, second: Tensor) -> None:
    """Raise ValueError unless both tensors have the same shape."""
    if first.shape != second.shape:
        raise ValueError(
            f"{first_name} and {second_name} must have the same shape, "
            f"found {tuple(first.shape)} and {tuple(second.shape)}"
        )


def require_known(name: str, value: str, known: Iterable[str]) -> None:
    """Raise ValueError unless ``value`` is one of the ``known`` names."""
    names = tuple(known)
    if value not in names:
        raise ValueError(f"Unknown {name} {value!r}. Known: {', '.join(names)}.")

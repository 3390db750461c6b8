"""Small features with partners, and their unit rows by a loop, for all tests of measures."""

from collections.abc import Callable

import numpy as np
import numpy.typing as npt
import pytest

Array = npt.NDArray[np.float64]


@pytest.fixture
def unit() -> Callable[[Array], Array]:
    """Rows of length one."""
    return lambda rows: np.stack([row / np.sqrt(np.dot(row, row)) for row in rows])


@pytest.fixture
def small() -> Callable[..., tuple[Array, Array]]:
    """x and y [n, d], rows are partners that lie near each other, off the origin."""

    def make(seed: int = 0, n: int = 14, d: int = 5) -> tuple[Array, Array]:
        draw = np.random.default_rng(seed)
        x = draw.standard_normal((n, d)) + 0.3
        return x, 2 * x + 0.8 * draw.standard_normal((n, d)) + 0.2

    return make

"""Widgets are tested as if they were in a notebook; headless is said so where it is meant."""

import sys

import pytest

from socketlab.widgets import live

MODULE = sys.modules[live.__module__]  # the package's `live` is the function of that name


@pytest.fixture(autouse=True)
def kernel(monkeypatch: pytest.MonkeyPatch) -> None:
    """There is a Jupyter kernel."""
    monkeypatch.setattr(MODULE, "in_kernel", lambda: True)

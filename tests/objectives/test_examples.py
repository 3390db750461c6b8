"""The examples in the docstrings run, and every public loss term has them."""

import doctest
import inspect
from importlib import import_module

import pytest

from socketlab import objectives

MODULES = [
    "early_learning",
    "information",
    "neighbours",
    "normalisation",
    "pairing",
    "pseudo_labels",
    "translation",
    "weighting",
]


@pytest.mark.parametrize("name", MODULES)
def test_examples_print_what_they_say(name: str) -> None:
    result = doctest.testmod(import_module(f"socketlab.objectives.{name}"))
    assert result.attempted > 0
    assert result.failed == 0


FUNCTIONS = [name for name in objectives.__all__ if inspect.isfunction(getattr(objectives, name))]


@pytest.mark.parametrize("name", FUNCTIONS)
def test_every_function_has_an_example_and_a_source(name: str) -> None:
    documentation = inspect.getdoc(getattr(objectives, name)) or ""
    for part in (">>>", "Source:", "Returns:", "Raises:"):
        assert part in documentation

"""The templates of what a run says in pages: where they lie, and how strict they are."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined


def environment(filters: Mapping[str, Any], **options: Any) -> Environment:
    """The surroundings of a template: these filters, and an unknown name is an error.

    Args:
        filters: functions by name, beside those of Jinja.
        options: of Jinja's `Environment`, such as `autoescape`.
    """
    made = Environment(
        loader=FileSystemLoader(Path(__file__).parent),
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        **options,
    )
    made.filters |= filters
    return made

"""The pages of reports: every text in them is escaped, and what a template lacks is an error."""

import functools
from typing import Any

from jinja2 import Environment

from socketlab.runs.report_values import (
    command,
    duration,
    marked,
    mebibytes,
    moment,
    percent,
    plain,
    points,
)
from socketlab.runs.templates import environment


def page(template: str, **values: Any) -> bytes:
    """The page that a template makes of these values, in UTF-8.

    Raises:
        jinja2.UndefinedError: for a name that the template uses and nobody gave.
    """
    html = _environment().get_template(template).render(**values)
    return html.encode("utf-8", errors="backslashreplace")


@functools.cache
def _environment() -> Environment:
    filters = {
        "command": command,
        "moment": moment,
        "percent": percent,
        "points": points,
        "mebibytes": mebibytes,
        "duration": duration,
        "marked": marked,
        "plain": plain,
    }
    return environment(filters, autoescape=True)

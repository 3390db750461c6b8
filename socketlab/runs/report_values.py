"""Values as a report writes them: shares, points, times, memory, and what else a run holds."""

import shlex
from collections.abc import Mapping
from datetime import datetime
from typing import Any, Final

DASH: Final = "\N{EN DASH}"

Record = Mapping[str, Any]


def percent(share: Any) -> str:
    """A share as per cent with one decimal; a dash for what is not a number."""
    number = finite(share)
    return DASH if number is None else f"{100 * number:.1f} %"


def measured(value: Any) -> str:
    """A measure with three digits behind the point, fewer where there are many before it."""
    number = finite(value)
    if number is None:
        return DASH
    return f"{number:.{3 if abs(number) < 10 else 1 if abs(number) < 100 else 0}f}"


def points(gained: float | None) -> str:
    """Points gained, with their sign."""
    if gained is None:
        return DASH
    return f"{gained:+z.1f}".replace("-", "\N{MINUS SIGN}")


def mebibytes(memory: float | None) -> str:
    """Memory in MiB; a dash for none."""
    return f"{memory:.0f} MiB" if memory else DASH


def duration(seconds: Any) -> str:
    """Seconds in the largest units that tell: 8.2 s, 2 min 10 s, 3 h 05 min."""
    number = finite(seconds)
    if number is None:
        return DASH
    if number < 60:
        return f"{number:.1f} s"
    whole = round(number)
    if whole < 3600:
        return f"{whole // 60} min {whole % 60:02d} s"
    return f"{whole // 3600} h {whole % 3600 // 60:02d} min"


def moment(value: Any) -> str:
    """A moment in ISO form as date, time and offset; anything else as it is."""
    try:
        return datetime.fromisoformat(str(value)).strftime("%Y-%m-%d %H:%M:%S %Z").strip()
    except ValueError:
        return plain(value)


def plain(value: Any) -> str:
    """A value as one writes it: text as it is, lists with commas, numbers short, None as a dash."""
    if value is None:
        return DASH
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, float):
        return f"{value:.6g}"
    if isinstance(value, list | tuple):
        return ", ".join(plain(part) for part in value) or "none"
    if isinstance(value, Mapping):
        return ", ".join(f"{key} {plain(part)}" for key, part in value.items()) or "none"
    return str(value)


def marked(method: str, steered: Any) -> str:
    """The method of a row, and that its training was steered by hand, where it was."""
    return f"{method} (steered)" if finite(steered) else method


def command(words: Any) -> str:
    """A command as one types it: a text as it is, a list of words quoted for the shell."""
    return shlex.join(map(str, words)) if isinstance(words, list | tuple) else plain(words)


def flatten(tree: Record, above: str = "") -> list[tuple[str, str]]:
    """A nested configuration as (dotted key, value), in its order."""
    rows: list[tuple[str, str]] = []
    for key, value in tree.items():
        name = f"{above}.{key}" if above else str(key)
        if isinstance(value, Mapping) and value:
            rows += flatten(value, name)
        else:
            rows.append((name, plain(value)))
    return rows


def records(value: Any) -> list[Record]:
    """The objects of a list; nothing where there is no list."""
    return [row for row in value if isinstance(row, dict)] if isinstance(value, list) else []


def mapping(value: Any) -> Record:
    """The value where it is an object, else an empty one."""
    return value if isinstance(value, dict) else {}


def finite(value: Any) -> float | None:
    """The value as a finite number, or None."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    return float(value) if abs(value) < float("inf") else None

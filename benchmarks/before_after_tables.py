"""The tables of versions that did the same work by turns: how much faster, and how far apart."""

import platform
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

import numpy as np
import pandas as pd
from before_after_versions import write_json
from quality import RESULTS, markdown

from socketlab.data.whole_files import replace_file

PAGE = RESULTS / "before_after.md"
RESAMPLES = 2000
LEAST_TERM = 1e-3  # a term that is nearly zero has no relative difference worth the name
Settings = dict[str, Any]


@dataclass(frozen=True)
class Case:
    """What is compared.

    Attributes:
        name: in the table.
        kind: in `before_after_cases.KINDS`.
        settings: for every version.
        new: settings that only newer versions know; the older ones do without.
    """

    name: str
    kind: str
    settings: Settings
    new: Settings = field(default_factory=dict)


@dataclass
class Found:
    """What one version did in one case.

    Attributes:
        seconds, processor: of one run, by round: on the clock, and of all cores.
        terms: loss terms of the first steps.
        known: whether the version knows what is new in the case.
        error: why it could not do it.
    """

    version: str
    seconds: list[float] = field(default_factory=list)
    processor: list[float] = field(default_factory=list)
    terms: list[dict[str, float]] = field(default_factory=list)
    known: bool = True
    error: str = ""


Measured = Sequence[tuple[Case, list[Found]]]


def ratio(before: Sequence[float], after: Sequence[float]) -> tuple[float, float, float]:
    """How many times as fast `after` is: the median over pairs of rounds, and its 95 % interval.

    The interval is that of a bootstrap of the pairs.
    """
    pairs = np.asarray(before) / np.asarray(after)
    drawn = np.random.default_rng(0).integers(0, len(pairs), (RESAMPLES, len(pairs)))
    low, high = np.quantile(np.median(pairs[drawn], axis=1), (0.025, 0.975))
    return float(np.median(pairs)), float(low), float(high)


def difference(first: Sequence[Settings], second: Sequence[Settings]) -> float:
    """Largest relative difference of the loss terms of two versions; infinite for other terms.

    |a - b| / max(|a|, |b|, 0.001)
    """
    largest = 0.0
    for one, other in zip(first, second, strict=True):
        if one.keys() != other.keys():
            return float("inf")
        for name, a in one.items():
            b = other[name]
            largest = max(largest, abs(a - b) / max(abs(a), abs(b), LEAST_TERM))
    return largest


def number(value: float) -> str:
    """Milliseconds of some seconds, with three digits or so."""
    milliseconds = 1000 * value
    digits = 0 if milliseconds >= 100 else 1 if milliseconds >= 10 else 3
    return f"{milliseconds:,.{digits}f}"


def as_fast(before: Found, after: Found, kind: str = "seconds") -> str:
    """`ratio` in words; nothing where either could not do it."""
    pairs = (getattr(before, kind), getattr(after, kind))
    if not all(pairs):
        return ""
    middle, low, high = ratio(*pairs)
    return f"{middle:.2f} [{low:.2f}, {high:.2f}]"


def row(name: str, found: Sequence[Found]) -> Settings:
    """A row of the table: each version's time, and how many times as fast it is as the first."""
    cells: Settings = {"case": name}
    for each in found:
        cells[f"{each.version}, ms"] = "cannot"
        if each.seconds:
            low, middle, high = map(number, np.quantile(each.seconds, (0.25, 0.5, 0.75)))
            cells[f"{each.version}, ms"] = f"{middle} [{low}, {high}]"
    for place, each in enumerate(found[1:], 1):
        who = "" if len(found) == 2 else f"{each.version}: "
        cells[f"{who}times as fast"] = as_fast(found[0], each)
        cells[f"{who}by time of cores"] = as_fast(found[0], each, "processor")
        if place > 1:
            cells[f"{who}as the one before"] = as_fast(found[place - 1], each)
    return cells


def sameness(name: str, found: Sequence[Found]) -> list[Settings]:
    """A row for each version that does the same as the first: how far its loss terms are off."""
    first = found[0]
    return [
        {
            "case": name,
            "version": each.version,
            "first step": f"{difference(first.terms[:1], each.terms[:1]):.1e}",
            "first three steps": f"{difference(first.terms, each.terms):.1e}",
        }
        for each in found[1:]
        if first.terms and each.terms and each.known == first.known
    ]


def page(measured: Measured, about: Settings) -> str:
    """The tables of all cases that at least one version could do."""
    done = [(case, found) for case, found in measured if any(each.seconds for each in found)]
    left_out = [case.name for case, found in measured if not any(each.seconds for each in found)]
    rows = [row(case.name, found) for case, found in done]
    same = [line for case, found in done for line in sameness(case.name, found)]
    cannot = [
        f"- {case.name}: {each.error}" for case, found in measured for each in found if each.error
    ]
    without = [f"No version knows what is new in: {'; '.join(left_out)}.", ""] if left_out else []
    return "\n".join(
        [
            "# Before and after",
            "",
            "Milliseconds of one run, median and quartiles over rounds. The versions do the same",
            "work by turns, each in a process of its own that waits while another one works; how",
            "many times as fast is the median over the pairs of rounds, with its 95 % interval",
            "(bootstrap), by the clock and by the time of all cores. Where the two differ, the",
            "machine had other work. Where a case names something that the first version does not",
            "know, that one does without it.",
            "",
            markdown(pd.DataFrame(rows).fillna("")),
            "",
            *cannot,
            *without,
            "## The same numbers",
            "",
            "Largest relative difference of a loss term to that of the first version, with the",
            "same weights, pixels and seeds. In float32 it is rounding, in bfloat16 that of eight",
            "binary digits; each step passes it on, enlarged, to the next.",
            "",
            markdown(pd.DataFrame(same)) if same else "Nothing was compared.",
            "",
            f"{about['rounds']} rounds of {about['seconds']} s at least, after one to warm up. "
            f"{about['device']}, {about['dtype']}, torch {about['torch']}, Python "
            f"{platform.python_version()}, {about['threads']} threads, load {about['load']:.1f} at "
            "the start. Versions: "
            + ", ".join(f"{name} ({content})" for name, content in about["versions"].items())
            + ". Made by `benchmarks/before_after.py`.",
            "",
        ]
    )


def write(measured: Measured, about: Settings) -> None:
    """Leave the page, and as JSON all that was measured."""
    found = [asdict(case) | {"found": list(map(asdict, each))} for case, each in measured]
    write_json(PAGE.with_suffix(".json"), about | {"cases": found})
    replace_file(PAGE, page(measured, about).encode())

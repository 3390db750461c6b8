"""What a person says of a folder before a manifest is drafted, and what is asked meanwhile."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

Ask = Callable[[str, str], str | None]
"""Hears a question and what is assumed; gives the answer, None where nobody can answer."""


@dataclass(frozen=True)
class Answers:
    """What a person says beforehand; what is None is asked, or assumed and said so.

    `scale` is metres of one step of depth; `modality` is of files whose names do not say it.
    """

    name: str
    sensor: str = "cam"
    modality: str | None = None
    scale: float | None = None
    task_relevant: tuple[str, ...] | None = None
    pairs_from: str | None = None


@dataclass
class Open:
    """A draft while it is made: `assumed` by place in the manifest, `notes` of what was seen."""

    answers: Answers
    ask: Ask
    notes: list[str]
    assumed: dict[str, str] = field(default_factory=dict)

    def decide(
        self, place: str, option: str, given: Any, question: str, assumed: str, why: str = ""
    ) -> str:
        """What was given as an option, else answered, else `assumed`, which is written down."""
        if given is not None:
            return str(given)
        answer = self.ask(question, assumed)
        if answer is not None:
            return answer
        because = f", {why}" if why else ""
        self.assumed[place] = (
            f"assumed, for files do not show it: {assumed}{because}. {option} says otherwise."
        )
        return assumed

"""What a report of several runs says besides its numbers: how they ended, and where they ran."""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from socketlab.runs.many_report_rows import relative
from socketlab.runs.many_report_runs import Member, Selection
from socketlab.runs.report_values import plain
from socketlab.runs.run_status import TROUBLE

KINDS: Final[Mapping[str, str]] = {
    "data": "prepares images",
    "source": "trains a source model",
    "translator": "trains a translator",
    "run": "",
}


@dataclass(frozen=True)
class Failure:
    """Why runs are not done: one reason, and all runs that have it."""

    state: str
    reason: str
    runs: tuple[str, ...]
    parts: tuple[str, ...]

    @property
    def count(self) -> int:
        """How many runs."""
        return len(self.runs)


@dataclass(frozen=True)
class Fact:
    """Something of the surroundings, and which runs have which value of it."""

    name: str
    values: tuple[tuple[str, int], ...]

    @property
    def differs(self) -> bool:
        """Whether the runs have not all the same."""
        return len(self.values) > 1

    @property
    def words(self) -> str:
        """The value; several with the number of their runs."""
        if not self.differs:
            return self.values[0][0]
        return ", ".join(f"{value} ({count})" for value, count in self.values)


def counts(members: Iterable[Member]) -> dict[str, int]:
    """How many runs are in each state, `done` first."""
    found = Counter(str(member.status.state) for member in members)
    return dict(sorted(found.items(), key=lambda item: (item[0] != "done", -item[1])))


def sentence(selection: Selection, targets: Sequence[str], methods: Sequence[str]) -> str:
    """What the runs are, in one sentence."""
    members = selection.members
    kind = "A sweep of" if selection.sweep is not None else "A report of"
    asked = sum(member.status.kind == "run" for member in members)
    before = len(members) - asked
    text = f"{kind} {asked} run{'s' if asked != 1 else ''}"
    if before:
        text += f" and {before} that they need"
    if methods:
        text += f": {_listed(methods)} on {_listed(targets)}"
    if selection.sweep is not None and selection.sweep.engine:
        text += f", executed by {selection.sweep.engine}"
    return f"{text}."


def _listed(words: Sequence[str], most: int = 8) -> str:
    shown = ", ".join(words[:most])
    return f"{shown} and {len(words) - most} more" if len(words) > most else shown


def failures(members: Iterable[Member]) -> list[Failure]:
    """Every reason why a run is not done and nobody is at work on it, with all its runs."""
    found: dict[tuple[str, str], list[Member]] = {}
    for member in members:
        if member.status.state in TROUBLE:
            reason = member.status.reason or "no reason is recorded"
            found.setdefault((member.status.state, reason), []).append(member)
    return [
        Failure(
            state,
            reason,
            tuple(member.name for member in some),
            tuple(dict.fromkeys(part for member in some for part in _parts(member))),
        )
        for (state, reason), some in found.items()
    ]


def _parts(member: Member) -> list[str]:
    """The notebooks that went wrong, and how earlier attempts ended."""
    notebooks = [
        f"in {name}" for name, part in member.record.notebooks.items() if part.status == "failed"
    ]
    return notebooks or [f"in {one.notebook}" for one in member.record.tries[-1:] if one.notebook]


def continued(members: Iterable[Member]) -> list[tuple[str, int, str]]:
    """The runs that are done and took more than one attempt: how many, and how others ended."""
    found = []
    for member in members:
        tries = member.record.tries
        if member.status.state == "done" and len(tries) > 1:
            ends = Counter(one.ended or "broken off" for one in tries[:-1])
            words = ", ".join(f"{end} ({n} x)" if n > 1 else end for end, n in ends.items())
            found.append((member.name, len(tries), words))
    return found


def surroundings(members: Iterable[Member]) -> list[Fact]:
    """Devices, machines and versions, each with the number of runs that had them."""
    begun = [member for member in members if member.record.versions or member.record.device]
    rows: dict[str, Counter[str]] = {}
    for member in begun:
        device = member.record.device
        known = {
            "device": device.get("name", ""),
            "kind of device": device.get("kind", ""),
            "number format": device.get("dtype", ""),
            "machine": member.status.host,
            **member.record.versions,
        }
        for name, value in known.items():
            if value:
                rows.setdefault(name, Counter())[value] += 1
    return [Fact(name, tuple(found.most_common())) for name, found in rows.items()]


def locks(members: Iterable[Member]) -> tuple[dict[str, str], list[Fact]]:
    """The packages of most runs with their versions, and those that differ between the runs."""
    kept = [member.record.packages for member in members if member.record.packages]
    if not kept:
        return {}, []
    usual = Counter(tuple(sorted(packages.items())) for packages in kept).most_common(1)[0][0]
    names = sorted({name for packages in kept for name in packages})
    found = []
    for name in names:
        values = Counter(packages.get(name, "not installed") for packages in kept)
        if len(values) > 1:
            found.append(Fact(name, tuple(values.most_common())))
    return dict(usual), found


def made_once(members: Iterable[Member]) -> tuple[int, int]:
    """How many stages were taken from another run, and how many different ones these are."""
    taken = [
        (name, part.fingerprint)
        for member in members
        for name, part in member.record.stages.items()
        if part.taken_from and part.taken_from != member.folder.name
    ]
    return len(taken), len(set(taken))


def link(member: Member, folder: Path, name: str = "report.html") -> str:
    """The address of a run's own file, seen from `folder`; empty where there is none in it."""
    file = member.folder / name
    inside = file.is_file() and member.folder.resolve().is_relative_to(folder.resolve())
    return f"./{relative(file, folder)}" if inside else ""


def own_pictures(member: Member, folder: Path) -> list[tuple[str, str]]:
    """Title and address of every picture that a run has kept, seen from `folder`."""
    found = []
    for listed in member.record.figures:
        address = link(member, folder, listed.file) if _is_plain(listed.file) else ""
        if address:
            found.append((plain(listed.title), address))
    return found


def _is_plain(file: str) -> bool:
    """Whether it is a path inside the run's folder."""
    return "\0" not in file and ".." not in Path(file).parts and not Path(file).is_absolute()

"""Why a repetition may have given other numbers: what about machine and versions is another one."""

from collections.abc import Mapping, Sequence
from typing import Final

from socketlab.runs.entries import Record
from socketlab.runs.repeat_differences import StageCheck

NOT_RECORDED: Final = "not recorded"
Environment = Mapping[str, tuple[str, str]]
"""By name: what it was, and what it is."""
_DEVICE: Final = ("kind", "name", "dtype")
_CPU: Final = ("cpu", "instructions")
_CUDA: Final = ("cuda", "cudnn", "driver", "tf32")
_PACKAGES: Final = (
    "torch", "torchvision", "timm", "numpy", "socketlab", "triton", "scikit-learn", "python",
)  # fmt: skip


def environment_differences(then: Record, now: Record) -> dict[str, tuple[str, str]]:
    """What of host, device, versions and packages is another one.

    What the record of an older run does not hold is `not recorded`; of packages it may hold none.
    """
    pairs = (
        ({"host": _host(then)}, {"host": _host(now)}),
        (then.device, now.device),
        (then.versions, now.versions),
        (then.packages, now.packages) if then.packages else ({}, {}),
    )
    found: dict[str, tuple[str, str]] = {}
    for before, after in pairs:
        for name in {**before, **after}:
            one, other = before.get(name, NOT_RECORDED), after.get(name, NOT_RECORDED)
            if one != other and name != "reason":
                found.setdefault(name, (one, other))
    return found


def likely_reason(
    checks: Sequence[StageCheck], environment: Environment, now: Record, notes: Sequence[str]
) -> str:
    """The most likely reason for the first difference, in a sentence; nothing where all is equal.

    Args:
        checks: of all stages, in the order of the run.
        environment: what is another one, see `environment_differences`.
        now: the record of the repetition.
        notes: what could not be made again.
    """
    first = next((check for check in checks if not check.equal), None)
    if first is None:
        return ""
    if first.missing:
        return f"{first.stage} was not made: {first.missing}."
    for note in notes:
        if first.stage in note:
            return f"{note}."
    if first.changed:
        return f"{first.stage} was made of something else: {first.changed}."
    for names, words in (
        (_DEVICE, "Another device or number format"),
        (("threads",), "Another number of threads, which adds in another order"),
        (("deterministic",), "Other algorithms"),
        (_PACKAGES, "Other versions"),
        (_CPU, "Another CPU, for which the libraries have other instructions"),
        (_CUDA, "Another CUDA"),
    ):
        found = [name for name in names if name in environment]
        if found:
            return f"{words}: {', '.join(told(name, environment[name]) for name in found)}."
    if now.device.get("kind") == "cuda" and now.device.get("deterministic") != "yes":
        return (
            "On CUDA sums are made in whatever order threads end, unless a run is deterministic. "
            "Make both so: socketlab run ... -p deterministic true, and repeat that run."
        )
    return (
        "Nothing that is recorded differs. It may be the program itself, images that were changed "
        "in place, or the hardware: repeat once more, to see whether the difference is the same."
    )


def told(name: str, values: tuple[str, str]) -> str:
    """`torch 2.14.0 -> 2.15.0`."""
    return f"{name} {values[0]} -> {values[1]}"


def _host(record: Record) -> str:
    return record.tries[-1].host if record.tries else NOT_RECORDED

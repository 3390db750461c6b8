"""Which classes and splits of a drafted manifest play which part."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

from socketlab.data.drafting.answers import Open
from socketlab.data.drafting.looking import LookError
from socketlab.data.schema import UNLABELLED

Counts = dict[str, dict[str, dict[str, int]]]
"""Images by domain, class and split."""

PAIRS = "pairs"
"""The class of pairs that nobody has named: task-irrelevant, whatever they show."""
UNKNOWN_CLASSES = ("class_1", "class_2")
MOST_IMAGES = 0.75


def classes_of(
    alone: Sequence[str], paired: Sequence[str], counts: Counts, made: Open
) -> dict[str, list[str]]:
    """`task_relevant` and `task_irrelevant`.

    `alone` are the classes of images of one modality (a source camera's, or labelled target
    images), `paired` those of pairs. Asked where pairs of all classes lie together, and where no
    folder and no table names a class.
    """
    given = made.answers.task_relevant
    place, option = "classes.task_relevant", "--task-relevant"
    everything = list(dict.fromkeys([*alone, *paired]))
    if given is not None:
        relevant = list(given)
    elif alone:
        relevant = list(alone)
    elif PAIRS in paired and len(paired) > 1:
        relevant = [name for name in paired if name != PAIRS]
    elif set(paired) - {PAIRS}:
        sizes = {
            name: max(sum(by_class.get(name, {}).values()) for by_class in counts.values())
            for name in paired
        }
        question = (
            "Which classes are to be recognised? The pairs of the others teach the method. "
            + ", ".join(f"{name} {count}" for name, count in sizes.items())
        )
        why = f"the largest classes, with {MOST_IMAGES:.0%} of all images"
        largest = ", ".join(_largest(sizes))
        relevant = _names(made.decide(place, option, None, question, largest, why))
        unknown = [name for name in relevant if name not in everything]
        if unknown:
            raise LookError(f"Unknown classes {unknown}. Found: {', '.join(everything)}.")
    else:
        question = "No image has a class. The classes of your source model, in its order"
        why = "for the source model's own classes, in its order"
        assumed = ", ".join(UNKNOWN_CLASSES)
        relevant = _names(made.decide(place, option, None, question, assumed, why))
    if not relevant:
        raise LookError(f"{option} names no class. Give names with commas between them.")
    irrelevant = [name for name in everything if name not in relevant]
    return {"task_relevant": relevant, "task_irrelevant": irrelevant}


def protocols_of(
    classes: dict[str, list[str]],
    counts: Counts,
    target: str,
    *,
    several_sensors: bool,
    pairs_from: str | None,
) -> dict[str, Any]:
    """Protocols for the move to domain `target`: with a test split, and as the papers do.

    Splits called test or val are scored on, the others adapted on; without any, the same images
    are both, and without a labelled target image nothing is scored.
    """
    relevant = classes["task_relevant"]
    labelled = _splits(counts, [target], relevant)
    here = _splits(counts, [target], [*relevant, UNLABELLED])
    rgb = [name for name in counts if name.endswith("/rgb")]
    source = _splits(counts, rgb, relevant)
    held_out = next(([name] for name in ("test", "val") if name in labelled), [])
    seen = [name for name in here if name not in ("test", "val")]
    every = sorted({s for by in counts.values() for c in by.values() for s in c}, reverse=True)
    common: dict[str, Any] = {
        "source_splits": [name for name in source if name not in ("test", "val")]
        or source
        or here
        or every
    }
    pairs: dict[str, Any] = {}
    if pairs_from is not None:
        pairs = {"pairs_from": pairs_from, "task_irrelevant": []}
    elif classes["task_irrelevant"]:
        pairs = {"pair_splits": _splits(counts, counts, classes["task_irrelevant"])}
        if several_sensors:
            pairs["pair_sensors"] = "all"
    found: dict[str, Any] = {}
    if held_out and seen:
        found["held_out"] = {
            "description": f"Adapt on {target} of other splits than are scored.",
            **common,
            "adapt_splits": seen,
            "score_splits": held_out,
            **pairs,
        }
    if labelled:
        unlabelled = _splits(counts, [target], [UNLABELLED])
        scored = held_out or labelled
        found["transductive"] = {
            "description": f"Adapt on and score on the same images of {target}.",
            **common,
            "adapt_splits": [*scored, *(name for name in unlabelled if name not in scored)],
            "score_splits": scored,
            **pairs,
        }
    if not found:
        tested = next((name for name in ("test", "val") if name in source), None)
        found["unlabelled"] = {
            "description": f"Adapt on {target}; no image of it is named, so none is scored.",
            **common,
            "adapt_splits": here or every,
            "score_splits": [tested] if tested else here or every,
            **pairs,
        }
    return found


def _splits(counts: Counts, domains: Iterable[str], classes: Iterable[str]) -> list[str]:
    """The splits in which these domains hold images of these classes: train before test."""
    wanted = set(classes)
    return sorted(
        {
            split
            for domain in domains
            for name, by_split in counts[domain].items()
            if name in wanted
            for split in by_split
        },
        reverse=True,
    )


def _largest(sizes: dict[str, int]) -> list[str]:
    """The largest classes with most of the images: two at least, and not all of them."""
    chosen: list[str] = []
    ranked = sorted(sizes, key=lambda name: (-sizes[name], name))
    for name in ranked[: max(2, len(ranked) - 1)]:
        if len(chosen) >= 2 and sum(sizes[c] for c in chosen) >= MOST_IMAGES * sum(sizes.values()):
            break
        chosen.append(name)
    return chosen


def _names(text: str) -> list[str]:
    return [name.strip() for name in text.split(",") if name.strip()]

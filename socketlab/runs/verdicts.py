"""A comparison in words: which differences are more than noise, and which runs collapsed."""

from collections.abc import Iterable

import pandas as pd

from socketlab.runs.paired import REFERENCES, Answers, Difference, differences
from socketlab.runs.report_lines import seed_notes

_PLACE = ["protocol", "source", "target"]


def verdicts(rows: pd.DataFrame, answers: Answers) -> list[str]:
    """Plain sentences: who is better, who is worse, what is inside the noise, what collapsed.

    `rows` is a row per result and `answers` gives the answers of a stage, as `comparison_frame`
    takes them. All of it is about the last epoch.
    """
    last = rows[rows["chosen_by"] == "last"]
    found = {reference: differences(last, answers, reference) for reference in REFERENCES}
    every = [difference for held in found.values() for difference in held.values()]
    several = last["source"].nunique() > 1
    sentences = _how_to_read(every) if every else []
    for place, group in last.groupby(_PLACE, sort=False):
        protocol, source, target = (str(name) for name in place)
        way = f"{source} → {target}" if several else target
        for reference, held in found.items():
            here = {
                method: held[protocol, source, target, method]
                for method in group["method"].unique()
                if (protocol, source, target, method) in held
            }
            if here:
                sentences.append(f"{way}, {protocol}, against {reference}: {_sides(here)}.")
    return sentences + _collapses(last)


def _how_to_read(every: list[Difference]) -> list[str]:
    """What inside the noise means, and how far it can be trusted."""
    seeds = min(difference.seeds for difference in every)
    over = "over images" if seeds == 1 else "over seeds and images"
    text = (
        "A difference in balanced accuracy is inside the noise when its 95 % interval, "
        f"{over}, holds 0."
    )
    if seeds == 1:
        text += " Where there is one seed, the interval does not say what another seed would give."
    elif seeds < 5:
        text += f" With {seeds} seeds that differ much, the interval is rather too narrow."
    chance = "Of twenty differences that are none, about one stands outside its interval by chance."
    return [text, chance]


def _sides(held: dict[str, Difference]) -> str:
    """`better are socket (+22.3) and shot (+4.0); inside the noise is tent (+0.3)`."""
    ranked = dict(sorted(held.items(), key=lambda item: -item[1].points))
    parts = []
    for words, side in (
        ("better", {m: d for m, d in ranked.items() if d.low > 0}),
        ("inside the noise", {m: d for m, d in ranked.items() if d.inside_noise}),
        ("worse", {m: d for m, d in ranked.items() if d.high < 0}),
    ):
        if side:
            named = [f"{method} ({d.points:+z.1f})" for method, d in side.items()]
            parts.append(f"{words} {'is' if len(side) == 1 else 'are'} {_listed(named)}")
    return "; ".join(parts)


def _listed(words: Iterable[str]) -> str:
    *most, final = words
    return f"{', '.join(most)} and {final}" if most else final


def _collapses(last: pd.DataFrame) -> list[str]:
    """A sentence per method and target where a run collapsed; else one that says none did."""
    collapsed = last[last["note"] != ""]
    if collapsed.empty:
        return ["No run collapsed: each uses at least half of the classes."]
    return [
        f"Collapsed: {method} on {target}, {protocol}: {table_notes(group)}."
        for (method, target, protocol), group in collapsed.groupby(
            ["method", "target", "protocol"], sort=False
        )
    ]


def table_notes(rows: pd.DataFrame) -> str:
    """The notes of a method's rows, each with its seeds."""
    ordered = rows.sort_values("seed")
    return seed_notes(
        {"seed": seed, "note": note}
        for seed, note in zip(ordered["seed"], ordered["note"], strict=True)
    )

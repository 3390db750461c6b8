"""Runs and sweeps as a table for the terminal, as wide and as high as that is. Loads no torch."""

from collections.abc import Sequence
from typing import Final

from rich import box
from rich.console import Group as Stack
from rich.console import RenderableType
from rich.table import Column, Table
from rich.text import Text

from socketlab.runs.run_status import IN_NOTEBOOK, TROUBLE, RunStatus, State
from socketlab.runs.sweep_status import Group, headline

WIDE: Final = 110  # columns of a terminal that has room for everything
MOST_REASONS: Final = 6  # where the height is limited
_ABOUT_A_GROUP: Final = 7  # lines: what, bar, states, blank, head, rule, blank
_LOOKS: Final[dict[State, tuple[str, str]]] = {
    "running": ("●", "cyan"),
    "failed": ("✗", "bold red"),
    "stopped": ("■", "yellow"),
    "interrupted": ("!", "bold magenta"),
    "damaged": ("?", "bold red"),
    "waiting": ("·", "dim"),
    "done": ("✓", "green"),
}


def table_of(found: Sequence[Group], width: int, height: int | None = None) -> RenderableType:
    """All groups below each other; with a `height`, the runs that are done come last and may miss.

    At work first, then what went wrong, then what waits. Reasons stand below, in one line each.
    """
    parts: list[RenderableType] = []
    for group in found:
        rows = None
        if height is not None:
            share = height // len(found)
            reasons = min(MOST_REASONS, len(_troubled(group)))
            rows = max(3, share - _ABOUT_A_GROUP - (reasons + 2 if reasons else 0) - 1)
        parts += [*_head(group, width), Text(""), _runs(group, width, rows), Text("")]
        parts += _reasons(group, height)
    return Stack(*parts) if parts else Text("Nothing to show yet.", style="dim")


def _head(group: Group, width: int) -> list[RenderableType]:
    text = Text(headline(group), style="bold", no_wrap=True, overflow="ellipsis")
    bar, legend = Text(no_wrap=True), Text()
    cells, total, before, drawn = min(width, 100), len(group.runs), 0, 0
    for state in ("done", "running", *TROUBLE, "waiting"):
        count, (sign, style) = group.counts[state], _LOOKS[state]
        before += count
        upto = round(cells * before / total)
        bar.append(("─" if state == "waiting" else "━") * (upto - drawn), style=style)
        drawn = upto
        if count:
            legend.append(f"{sign} {count} {state}   ", style=style)
    bar.append("\n").append(legend)
    lines: list[RenderableType] = [text, bar] if total > 1 else [text]
    if group.command and not group.at_work and group.counts["done"] < total:
        again = f"Nobody is at work on it. Go on with: {group.command}"
        lines.append(Text(again, style="yellow"))
    return lines


def _runs(group: Group, width: int, rows: int | None) -> Table:
    wide = width >= WIDE
    columns = [
        Column("run", no_wrap=True, overflow="ellipsis", max_width=max(16, width // 3)),
        Column("status", no_wrap=True),
        Column("at work on" if wide else "stage", ratio=1, no_wrap=True, overflow="ellipsis"),
        _number("epoch"),
        *([_number("steps")] if wide else []),
        _number("accuracy" if wide else "acc."),
        *([_number("source_only")] if wide else []),
        *([Column("device", no_wrap=True, overflow="ellipsis", max_width=20)] if wide else []),
        _number("taken"),
        _number("left"),
    ]
    table = Table(*columns, box=box.SIMPLE_HEAD, show_edge=False, expand=True, header_style="bold")
    order = list(_LOOKS)
    ordered = sorted(group.runs, key=lambda run: order.index(run.state))
    shown = ordered if rows is None or len(ordered) <= rows else ordered[: rows - 1]
    for run in shown:
        table.add_row(*_cells(run, wide), style="dim" if run.state == "waiting" else "")
    if len(shown) < len(ordered):
        rest = Group("", tuple(ordered[len(shown) :])).counts
        more = ", ".join(f"{count} {state}" for state, count in rest.items())
        table.add_row(Text(f"and {more}", style="dim"))
    return table


def _number(name: str) -> Column:
    return Column(name, justify="right", no_wrap=True)


def _cells(run: RunStatus, wide: bool) -> list[Text]:
    sign, style = _LOOKS[run.state]
    state = "notebook?" if run.reason == IN_NOTEBOOK else run.state
    begun = run.steps > 0
    cells = [
        Text(run.run),
        Text(f"{sign} {state}", style=style),
        Text(_work(run, wide)),
        Text(f"{run.epoch}/{run.epochs}" if begun else ""),
        Text(f"{run.step / run.steps:.0%}" if begun else "", style="dim"),
        Text(_share(run.accuracy)),
        Text(_share(run.source_only), style="dim"),
        Text(" ".join([run.device.partition(" (")[0], run.host]).strip(), style="dim"),
        Text(_clock(run.seconds) if run.seconds else ""),
        Text(_clock(run.left) if run.state == "running" and run.left is not None else ""),
    ]
    return cells if wide else [cells[place] for place in (0, 1, 2, 3, 5, 8, 9)]


def _work(run: RunStatus, wide: bool) -> str:
    if wide:
        return " ".join([run.notebook.partition("_")[0], run.stage]) if run.stage else run.notebook
    return run.stage.partition("-to-")[0] or run.notebook


def _reasons(group: Group, height: int | None) -> list[RenderableType]:
    troubled = _troubled(group)
    shown = troubled if height is None else troubled[:MOST_REASONS]
    lines: list[RenderableType] = []
    for run in shown:
        text = Text(no_wrap=True, overflow="ellipsis")
        text.append(f"{_LOOKS[run.state][0]} {run.run}: ", style=_LOOKS[run.state][1])
        lines.append(text.append(run.reason or "no reason is recorded"))
    if len(shown) < len(troubled):
        lines.append(Text(f"and {len(troubled) - len(shown)} more", style="dim"))
    return [*lines, Text("")] if lines else []


def _troubled(group: Group) -> list[RunStatus]:
    return [run for run in group.runs if run.state in TROUBLE]


def _share(share: float | None) -> str:
    return "" if share is None else f"{share:.1%}"


def _clock(seconds: float) -> str:
    """0:07, 12:30, 3:05:00."""
    minutes, second = divmod(round(seconds), 60)
    hours, minute = divmod(minutes, 60)
    return f"{hours}:{minute:02d}:{second:02d}" if hours else f"{minute}:{second:02d}"

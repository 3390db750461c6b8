"""The page of speed.py: tables of all rows that were measured, in words what they are."""

import re
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from statistics import median
from typing import Any

from speed_figures import growth_figure, steps_figure
from speed_tables import sections, summary

from socketlab.data.whole_files import replace_file
from socketlab.figures import to_png

Row = Mapping[str, Any]

GOALS = {"step": 1.10, "epoch": 1.25}
"""Most that SOCKET's step and whole epoch may take on a CPU, in bare steps (ResNet-18, 112 px)."""
GOAL_ON_GPU = 0.85
"""Least share of a SOCKET step that is bare on a GPU (ResNet-50, 224 px, bfloat16)."""

HEAD = """\
# How fast training is

A training cannot be faster than the network that it trains. So every step is compared with its
**bare** forward and backward: the same network (torch's own layers, train mode, weights in
channels_last), the same batches that the method puts through it, one number as the loss, and
nothing learnt. Both take turns in one process, so that whatever else the machine does hits both.

- **share**: bare / step, the median over the turns, in brackets the quartiles. 100 % cannot be had
  but by chance: somebody has to make the batches, ask the teacher and move the weights.
- **images/s**: images that go through the trained network in a second. SOCKET and its kin put two
  batches through it, target images and TI pairs; SHOT and its kin one.
- **teacher**, **gathering**, **optimiser**: the frozen network's forward, cutting batches out of
  the stored integers, and the update, each by itself, as a share of the step. **rest**: statistics,
  losses and the loop; what is over.
- **first step**: from calling `fit` to the end of the first step, with all that is prepared before.
- **memory**: the peak of setting up and two steps, in MiB; of a CPU's process with all its
  libraries, of a GPU's tensors. **estimated**: as a run says it beforehand.
- **of the rate**: operations of the matrix products in bare and teacher, over the step's time, as a
  share of the rate at which the device multiplies large square matrices of the same format.

Images are random integers, networks are untrained, and there are 10 classes: neither changes what
a step costs. Batches are of 32 target images, and of 32 pairs, unless said.
"""


def write(kept: Mapping[str, Any], folder: Path, pictures: Path) -> None:
    """The page in `folder` and its figures in `pictures`, of all rows in `kept`."""
    if not kept["rows"]:
        print("Nothing is measured yet that could be written.")
        return
    folder.mkdir(parents=True, exist_ok=True)
    pictures.mkdir(parents=True, exist_ok=True)
    parts = [HEAD]
    rows = list(kept["rows"].values())
    where = "" if folder == pictures else "../images/"
    for name, about in kept["machines"].items():
        here = [row for row in rows if row["machine"] == name]
        done = [row for row in here if "failed" not in row]
        if not here:
            continue
        slug = re.sub(r"\W+", "_", name.lower())
        parts += [_about(name, about, here), *goals(done, about["device"])]
        figures = {f"speed_steps_{slug}": steps_figure(done), **growth_figure(done, slug)}
        for stem, figure in figures.items():
            if figure is not None:
                replace_file(pictures / f"{stem}.png", to_png(figure))
                parts.append(f"![{stem.replace('_', ' ')}]({where}{stem}.png)\n")
        parts += sections(here)
    parts.append(
        "Made by `make bench` (`benchmarks/speed.py`); every number by turns is in speed.json."
    )
    replace_file(folder / "speed.md", ("\n".join(parts) + "\n").encode())
    print(folder / "speed.md")


def _about(name: str, about: Row, rows: Sequence[Row]) -> str:
    dates = sorted({row["measured"] for row in rows})
    load = median(row["load"] for row in rows)
    when = dates[0] if len(dates) == 1 else f"{dates[0]} to {dates[-1]}"
    quiet = load <= 0.5 * about["cores"]
    return (
        f"## {name}\n\n{about['processor']}; cores {about['cores']}, threads "
        f"{about['threads']}, torch {about['torch']}, "
        f"Python {about['python']}. Measured {when}. Load average when rows began: median "
        f"{load:.1f}{'' if quiet else '; **the machine had other work: compare shares only**'}, of "
        f"which this program itself is up to {about['threads']}.\n"
    )


def goals(rows: Iterable[Row], device: str) -> list[str]:
    """Whether the goals are met, a line each; nothing of what was not measured."""
    lines = []
    for row in rows:
        case, kind = row["case"], row["kind"]
        if kind not in GOALS or case["dtype"] != "auto" or not case["method"].startswith("socket"):
            continue
        if case["method"] == "socket_translated":
            continue
        found, goal = summary(row), GOALS[kind]
        what = f"{case['method']}, {case['network']} at {case['crop']} px, {case['batch']} + "
        what += f"{case['batch']}, {kind}{'' if case['compiler'] == 'off' else ', compiled'}"
        if device == "cpu" and (case["network"], case["crop"]) == ("resnet18", 112):
            met = found["times"] <= goal
            lines.append(
                f"| {what} | at most {goal:.2f} x bare | {found['times']:.2f} x | {_met(met)} |"
            )
        elif device == "cuda" and kind == "step" and case["network"] == "resnet50":
            met = found["share"] >= GOAL_ON_GPU
            wanted = f"at least {GOAL_ON_GPU:.0%} bare"
            lines.append(f"| {what} | {wanted} | {found['share']:.0%} | {_met(met)} |")
    head = ["### Goals\n\n| what | goal | found | |\n| --- | --- | --- | --- |"]
    return [*head, *lines, ""] if lines else []


def _met(met: bool) -> str:
    return "met" if met else "**not met**"

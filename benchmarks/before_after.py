"""Versions of the package against each other, in one run: how fast they are, and how good.

`python benchmarks/before_after.py` takes the first version and the working tree, and lets them do
the same work by turns, A, B, B, A, ..., so that a busy machine slows both. `--before`, `--after`
and `--revisions` name others: with several the effect of each is seen. `--quality` trains instead,
and compares accuracies (`before_after_quality.py`). `--write` leaves docs/results/before_after.md
and .json, or before_after_quality.md.
"""

import argparse
import os
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from before_after_quality import PAGE as QUALITY_PAGE
from before_after_quality import compare_quality
from before_after_tables import Case, Found, Measured, Settings, page, row, write
from before_after_versions import WORKING_TREE, VersionError, Worker, working
from quality import HERE

from socketlab.data.whole_files import replace_file

FIRST_VERSION = "6cd44cb"


def cases() -> list[Case]:
    """All of them."""
    usual: Settings = {"backbone": "resnet18", "size": 128, "crop": 112, "batch": 32}
    socket, bank = usual | {"method": "socket"}, {"samples": 100_000, "width": 256, "batch": 32}
    small = usual | {"backbone": "resnet_small", "size": 72, "crop": 64}
    mobile = socket | {"backbone": "mobilenet_v2", "size": 144, "crop": 128}
    # L_IM from the first step on, as in most of a training.
    painting = {"method": "translated", "options": {"information_start": 0.0}}
    fixed, together = {"pair_crops": "fixed"}, {"one_pass": True, "pair_statistics": "moving"}
    step = "step, resnet18 112 px, 32"
    return [
        Case(f"socket {step} + 32", "training", socket),
        Case(f"socket {step} + 32, float32", "training", socket | {"dtype": "float32"}),
        Case("socket step, mobilenet_v2 128 px, 32 + 32", "training", mobile),
        Case("socket step, resnet_small 64 px, 32 + 32", "training", socket | small),
        Case(f"socket {step} + 32, fixed crops", "training", socket, {"options": fixed}),
        Case(f"socket {step} + 32, one pass", "training", socket, {"options": together}),
        Case(
            f"socket {step} + 32, compiled",
            "training",
            socket,
            {"precision": {"compiler": "default"}},
        ),
        Case(f"shot {step}", "training", usual | {"method": "shot"}),
        Case(f"aad {step}", "training", usual | {"method": "aad"}),
        Case(f"source {step}", "training", usual | {"method": "source"}),
        Case("translated step, resnet_small 64 px, 32 + 32", "training", small | painting),
        Case("socket epoch with scoring, 512 images", "training", socket | {"epochs": True}),
        Case("prediction of 512 images, resnet18 112 px", "prediction", usual),
        Case("batch of 32 pairs gathered, 112 px", "gathering", usual),
        Case("batch drawn from 100,000", "drawing", bank),
        Case("5 neighbours of 32 in 100,000 x 256", "neighbours", bank),
        Case("pseudo-labels, 100,000 x 256, 100 classes", "labelling", bank | {"classes": 100}),
        Case("optimiser step, resnet18", "optimising", usual),
    ]


def measure(case: Case, workers: Sequence[Worker], rounds: int, seconds: float) -> list[Found]:
    """One case by all versions: made ready, warmed up, then by turns for `rounds` rounds.

    A round of a version lasts `seconds` at least. A version that cannot do it says why.
    """
    found = {worker: Found(worker.name) for worker in workers}

    def ask(worker: Worker, command: str, **about: Any) -> Settings:
        if found[worker].error:
            return {}
        try:
            return worker.ask(command, **about)
        except VersionError as error:
            found[worker] = Found(worker.name, error=str(error))
            return {}

    for worker in workers:
        said = ask(worker, "asked", settings=case.settings, new=case.new)
        found[worker].known = said.get("known", False)
    if not any(each.known for each in found.values()):
        return list(found.values())
    for worker in workers:
        said = ask(worker, "prepare", kind=case.kind, settings=case.settings, new=case.new)
        found[worker].terms = said.get("terms", [])
    for turn in range(-1, rounds):
        for worker in workers if turn % 2 else reversed(workers):
            said = ask(worker, "repeat", seconds=seconds)
            if turn >= 0 and said:
                found[worker].seconds.append(said["seconds"])
                found[worker].processor.append(said["processor"])
    for worker in workers:
        ask(worker, "forget")
    return list(found.values())


def compare_speed(
    workers: Sequence[Worker], asked: Sequence[Case], rounds: int, seconds: float, device: str
) -> tuple[Measured, Settings]:
    """All cases, and what they ran on; a row is printed as soon as it is known."""
    about: Settings = {"rounds": rounds, "seconds": seconds, "load": os.getloadavg()[0]}
    about |= workers[0].ask("describe", device=device)
    about["versions"] = {worker.name: worker.content for worker in workers}
    measured = []
    with tempfile.TemporaryDirectory() as folder:
        for case in asked:
            placed = replace(case, settings=case.settings | {"device": device, "folder": folder})
            found = measure(placed, workers, rounds, seconds)
            measured.append((case, found))
            print(" | ".join(row(case.name, found).values()), flush=True)
            for each in found:
                if each.error:
                    print(f"  {each.error}", flush=True)
    return measured, about


def main() -> int:
    """Compare what was asked for; the exit status says whether that could be done."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--before", default=FIRST_VERSION, metavar="REVISION")
    parser.add_argument("--after", default=WORKING_TREE, metavar="REVISION", help="default: .")
    parser.add_argument("--revisions", nargs="+", metavar="REVISION", help="several, in order")
    parser.add_argument("--cases", default="", metavar="WORD", help="those whose names hold it")
    parser.add_argument("--rounds", type=int, default=8)
    parser.add_argument("--seconds", type=float, default=1.0, help="a round of a version, at least")
    parser.add_argument("--device", default="auto", choices=("auto", "cpu", "cuda"))
    parser.add_argument("--quality", action="store_true", help="accuracies; resumes")
    parser.add_argument("--write", action="store_true", help="write into docs/results")
    given = parser.parse_args()
    revisions = given.revisions or [given.before, given.after]
    asked = [case for case in cases() if given.cases in case.name]
    if len(revisions) < 2 or not asked or given.rounds < 1:
        parser.error("two revisions, one case and one round are the least to compare")
    with tempfile.TemporaryDirectory() as place:
        try:
            with working(revisions, HERE, Path(place)) as workers:
                if given.quality:
                    text = compare_quality(workers)
                    if given.write:
                        replace_file(QUALITY_PAGE, text.encode())
                else:
                    about = (given.rounds, given.seconds, given.device)
                    found = compare_speed(workers, asked, *about)
                    text = page(*found)
                    if given.write:
                        write(*found)
        except VersionError as error:
            print(error, file=sys.stderr)
            return 1
    print(text)
    return 0


if __name__ == "__main__":
    raise SystemExit(main())

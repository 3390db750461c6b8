"""Accuracies of versions of the package, trained from the same source models with the same seeds.

`python benchmarks/before_after.py --quality` runs it; it resumes where it was interrupted. What is
kept lies in runs/before_after, by the content of a version, so that another working tree is new.
"""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pandas as pd
from before_after_transfers import write_views
from before_after_versions import Worker, write_json
from quality import HERE, RESULTS, markdown

from socketlab.data.acquiring.acquire import AcquireError
from socketlab.data.opening import open_views
from socketlab.data.store import prepare
from socketlab.runs.checks import source_options
from socketlab.runs.comparison import spread
from socketlab.runs.parameters import validate
from socketlab.runs.places import at_home
from socketlab.runs.shared_parameters import Parameters
from socketlab.runs.stages import digest

PAGE = RESULTS / "before_after_quality.md"
KEPT = HERE / "runs" / "before_after"
SEEDS = (0, 1, 2)
Row = dict[str, Any]

# As the quality tables (notebooks/params/quality_*.yaml), but fewer epochs and smaller pictures.
BUDGET: Row = {"epochs": 2, "backbone_factor": 0.3}
PLACES: dict[str, tuple[Row, dict[str, Row]]] = {
    "scenes": (
        {"data": "scenes", "scenes_seed": 2, "size": 64, "source_options": {"epochs": 10}},
        {"shot": BUDGET, "socket": BUDGET | {"pair_weight": 0.1}},
    ),
    "nyuv2_scenes_224": (
        {
            "data": "nyuv2_scenes_224",
            "size": 96,
            "protocol": "transductive",
            "source": "kv1/rgb",
            "target": "kv1/depth",
            "backbone": "mobilenet_v2",
            "weights": "../shared/weights/mobilenet_v2_imagenet.safetensors",
            "source_options": {"epochs": 6},
        },
        {"shot": {"epochs": 3}, "socket": {"epochs": 3, "pair_weight": 0.25}},
    ),
}
METHODS: dict[str, tuple[str, Row]] = {
    "source_only": ("source_only", {}),
    "adabn": ("adabn", {}),
    "shot": ("shot", {}),
    "socket": ("socket", {}),
    "socket, fixed crops": ("socket", {"pair_crops": "fixed"}),
    "socket, one pass": ("socket", {"one_pass": True, "pair_statistics": "moving"}),
}
"""By name in the table: the method, and what of its options is new."""


def parameters_of(place: str) -> Parameters:
    """The parameters of a place, as a notebook would have them."""
    found = validate("05_transfer", PLACES[place][0] | {"run": f"before_after_{place}"})
    assert isinstance(found, Parameters)
    return found


def prepared(place: str, given: Parameters) -> Path:
    """A file with all that the transfers of a place look at, made by the working tree.

    Raises `AcquireError` where the images are not on this machine.
    """
    root = at_home(given.root) if given.root else None
    data = at_home(given.data_dir)
    store = prepare(given.manifest, root=root, size=given.size, data_dir=data, say=print)
    file = KEPT / f"{place} {given.protocol} {store.folder.name}.pt"
    if not file.exists():
        about: Row = {"protocol": given.protocol, "source": given.source}
        write_views(open_views(store, target=given.target, **about), file)
    return file


class Kept:
    """What has been trained, in a file: an answer by what was asked of which version."""

    def __init__(self, file: Path) -> None:
        self.file = file
        self.answers: dict[str, Row] = json.loads(file.read_text()) if file.exists() else {}

    def ask(self, worker: Worker, command: str, **about: Any) -> Row:
        """The answer that was kept, or the version's, which is kept then."""
        key = f"{worker.content} {command} {json.dumps(about, sort_keys=True)}"
        if key not in self.answers:
            self.answers[key] = worker.ask(command, **about)
            write_json(self.file, self.answers)
        return self.answers[key]


def rows_of(place: str, workers: Sequence[Worker], kept: Kept) -> list[Row]:
    """A row per version, method and seed, of a place whose images are there.

    The first version trains the source models, which all versions then adapt.

    Raises:
        AcquireError: where they are not.
    """
    given, rows = parameters_of(place), []
    file = prepared(place, given)
    options = source_options(given, given.source).model_dump(exclude_unset=True)
    for seed in SEEDS:
        model = KEPT / f"{file.stem} {digest(options)} seed{seed} {workers[0].content}.pt"
        about: Row = {"views": str(file), "model": str(model), "crop": given.crop_pixels}
        about["seed"] = seed
        if not model.exists():
            said = workers[0].ask("train_source", options=options, **about)
            print(f"{place} seed {seed}, source: {said}", flush=True)
        for name, (method, new) in METHODS.items():
            about |= {"backbone": given.backbone, "method": method, "new": new}
            about["options"] = PLACES[place][1].get(method, {})
            for worker in workers:
                said = kept.ask(worker, "transfer", **about)
                if said["known"]:
                    about_it = {"method": name, "of": method, "seed": seed}
                    scores = {key: value for key, value in said.items() if key != "known"}
                    rows.append(about_it | {"version": worker.name} | scores)
                    print(f"{place} {rows[-1]}", flush=True)
    return rows


def table(rows: pd.DataFrame, first: str) -> pd.DataFrame:
    """Mean ± deviation over seeds by version and method, and the differences by seed.

    A method with new options is held against the first version's without them.
    """
    lines = []
    reference = rows[rows["version"] == first].set_index(["method", "seed"])
    for (method, version), part in rows.groupby(["method", "version"], sort=False):
        line: Row = {"method": method, "version": version, "seeds": len(part)}
        for column in ("accuracy", "balanced_accuracy"):
            line[column.replace("_", " ")] = spread(100 * part[column])
        line["seconds"] = f"{part['seconds'].mean():.1f}"
        line |= {"difference by seed": "", "mean": "", "within the spread": ""}
        if version != first:
            base = reference.loc[part["of"].iloc[0]].loc[part["seed"]]
            apart = 100 * (part["balanced_accuracy"].to_numpy() - base["balanced_accuracy"])
            line["difference by seed"] = ", ".join(f"{value:+.1f}" for value in apart)
            line["mean"] = f"{apart.mean():+.1f}"
            deviation = 100 * base["balanced_accuracy"].std()
            line["within the spread"] = "yes" if abs(apart.mean()) <= deviation else "no"
        lines.append(line)
    return pd.DataFrame(lines)


def compare_quality(workers: Sequence[Worker]) -> str:
    """Train what is missing of every place whose images are here; returns the page."""
    kept = Kept(KEPT / "quality.json")
    lines = [
        "# As good as before?",
        "",
        "Accuracies in percent, mean ± standard deviation over seeds, of the last epoch. All",
        f"versions adapt the same source models, which `{workers[0].name}` trained, with the same",
        "seeds. Differences are in points of balanced accuracy to that version, seed by seed, and",
        "of a method with something new to that version's without. **Within the spread**: the mean",
        "difference is no larger than that version's own standard deviation over seeds. Trainings",
        "are shorter than those of the quality tables. Seconds are those of a training without",
        "scoring.",
        "",
    ]
    for place, (settings, options) in PLACES.items():
        try:
            rows = pd.DataFrame(rows_of(place, workers, kept))
        except AcquireError as error:
            print(f"{place} is left out: {error}")
            continue
        shown = json.dumps({k: v for k, v in settings.items() if k != "data"} | options)
        lines += [f"## {place}", "", markdown(table(rows, workers[0].name)), "", f"`{shown}`", ""]
    contents = ", ".join(f"{worker.name} ({worker.content})" for worker in workers)
    said = workers[0].ask("describe")
    lines += [
        f"{said['device']}, {said['dtype']}, torch {said['torch']}. Versions: {contents}. Made by",
        "`benchmarks/before_after.py --quality`.",
        "",
    ]
    return "\n".join(lines)

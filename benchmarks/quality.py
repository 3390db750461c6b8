"""The quality tables: every method on several seeds, on scenes and on real photographs.

`make bench-quality` runs them, `make bench-released` SOCKET switch by switch to the released one,
`make bench-translators` the translators and their ablations.
It resumes where it was interrupted, passes over what is done, and leaves pages, their rows and
figures in docs/results/, also of what is done so far. `python benchmarks/quality.py --page-only`
writes them again and trains nothing.
"""

import argparse
import json
import math
import sys
from collections.abc import Hashable, Sequence
from pathlib import Path
from typing import Any

import pandas as pd
from selection import HOW_TO_READ, epoch_rows, selection_tables
from translations import translator_part

from socketlab.data.whole_files import replace_file
from socketlab.figures import comparison_bars, per_class, to_png
from socketlab.runs.comparison import (
    answers_of,
    choice_frame,
    comparison_frame,
    recall_frame,
    spread,
)
from socketlab.runs.paired import Answers
from socketlab.runs.parameters import Compare
from socketlab.runs.planning import Planned, plan, read_parameter_file
from socketlab.runs.record import Record, Run
from socketlab.runs.running import run_all
from socketlab.runs.verdicts import verdicts

HERE = Path(__file__).resolve().parent.parent
RESULTS = HERE / "docs" / "results"
QUALITY = ("quality_scenes", "quality_nyuv2")
RELEASED = "socket_as_released"
TRANSLATORS = (
    "translator_scenes",
    "translator_nyuv2",
    "translator_terms",
    "translator_zoo",
    "translator_adversary",
    "tgkt_terms",
)
CASES: dict[str, tuple[str, dict[str, Any]]] = {
    **{name: (name, {}) for name in (*QUALITY, RELEASED, *TRANSLATORS)},
    f"{RELEASED}_nyuv2": (
        RELEASED,
        {
            "run": f"{RELEASED}_nyuv2",
            "data": "nyuv2_scenes_224",
            "scenes_seed": None,
            "size": 64,
            "protocol": "transductive",
            "source": "kv1/rgb",
            "target": "kv1/depth",
            "backbone": "mobilenet_v2",
            "weights": "../shared/weights/mobilenet_v2_imagenet.safetensors",
            "source_options": {"epochs": 10},
            "options.socket": {"epochs": 6, "pair_weight": 0.25},
            "seeds": [0],
        },
    ),
}
"""By name: a file in notebooks/params, and what is another than there."""

UPPER = (
    "Methods named `oracle` are upper references: they see labels, or pairs of the classes to",
    "recognise, that no method may see; under `transductive` those of the scored images.",
)
INFERRED = (
    "`translated` is the source model on what a translator (TGMB) paints, `tgkt` what was taught",
    "from that; the terms are the paper's, everything else is inferred, no number is the paper's.",
    "What a variant's name stands for is in the parameter file.",
)
AS_RELEASED = (
    "`socket` is ours; the others are ours with what their name says as in the released program,",
    "`as_released` with all of it ([explained](../reproduction.md)).",
)


def main() -> int:
    """Run what is asked for; the exit status says whether all of it was done."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("names", nargs="*", help=f"of {', '.join(CASES)}; default: the first two")
    parser.add_argument("--page-only", action="store_true", help="train nothing")
    asked = parser.parse_args()
    unknown = [name for name in asked.names if name not in CASES]
    if unknown:
        parser.error(f"unknown case {unknown[0]!r}; known: {', '.join(CASES)}")
    failures = 0
    for name in asked.names or QUALITY:
        try:
            make(name, page_only=asked.page_only)
        except Exception as error:  # the other tables can still be made
            print(f"{name}: {type(error).__name__}: {error}", file=sys.stderr)
            failures += 1
    return 1 if failures else 0


def make(name: str, *, page_only: bool = False) -> None:
    """Train what is missing, and write the pages of all that is done, however that ended."""
    file, changed = CASES[name]
    path = HERE / "notebooks" / "params" / f"{file}.yaml"
    planned = plan([], read_parameter_file(path), changed)
    try:
        if not page_only:
            run_all(planned, command=f"python benchmarks/quality.py {name}")
    finally:
        run = Run(planned[0].parameters.folder)
        write(name, planned, run, RESULTS)
        # Variants of one method are too much alike to ask which of them a score would choose.
        if not variants(planned):
            write_selection(f"selection_{name.removeprefix('quality_')}", planned, run, RESULTS)


def write(name: str, planned: list[Planned], run: Run, folder: Path) -> None:
    """The page as Markdown, its rows as parquet (one per run and choice), its figures as PNG."""
    record, answers = run.read(), answers_of(run)
    rows = frame(record)
    transfers = rows[rows["method"] != "source"] if len(rows) else rows
    if transfers.empty:
        print(f"{name}: nothing is done yet that could be written")
        return
    manifest = planned[0].parameters.manifest
    classes = {
        protocol: manifest.protocol(protocol).task_relevant
        for protocol in transfers["protocol"].unique()
    }
    last = transfers[transfers["chosen_by"] == "last"]
    pictures = {
        name: comparison_bars(last, metric="balanced_accuracy"),
        f"{name}_per_class": per_class(recall_frame(last, answers, classes)),
    }
    lines, more = translator_part(name, rows, comparisons(planned), run)
    folder.mkdir(parents=True, exist_ok=True)
    replace_file(folder / f"{name}.parquet", rows.to_parquet(index=False))
    for stem, figure in (pictures | more).items():
        replace_file(folder / f"{stem}.png", to_png(figure))
    text = page(name, planned, rows, record, answers, lines)
    replace_file(folder / f"{name}.md", text.encode())
    print(f"{name}: {folder / name}.md, .png, _per_class.png and .parquet")


def frame(record: Record) -> pd.DataFrame:
    """A row per result; of what a method says of itself, PSNR and SSIM of translators."""
    rows = [row.model_dump(exclude={"scores", "measures"}) for row in record.results]
    measures = [row.measures for row in record.results]
    pictures = {name: [m.get(name, math.nan) for m in measures] for name in ("psnr", "ssim")}
    return pd.DataFrame(rows).assign(**pictures)


def page(
    name: str,
    planned: list[Planned],
    rows: pd.DataFrame,
    record: Record,
    answers: Answers,
    more: Sequence[str] = (),
) -> str:
    """The tables of a data set in Markdown, with all that is needed to make them again."""
    transfers = rows[rows["method"] != "source"]
    versions = ", ".join(f"{package} {version}" for package, version in record.versions.items())
    lines = [
        f"# {name}",
        "",
        *unfinished(planned, rows, record),
        *source_models(rows),
        "",
        "All of the last epoch. Mean ± standard deviation over seeds, in percent. Differences are",
        "in points of balanced accuracy on the same images, with a 95 % bootstrap interval over",
        "seeds and images. Time is that of one training with its scoring, memory its peak.",
        *about(name),
        "",
    ]
    table = comparison_frame(transfers, answers)
    places: list[Hashable] = list(range(table.index.nlevels - 1))
    for place, part in table.groupby(level=places, sort=False):
        shown = part.droplevel(places).reset_index()
        if name.startswith(RELEASED):
            shown = shown.rename(columns={"method": "what is as released"})
        if not shown["note"].any():
            shown = shown.drop(columns="note")
        lines += [f"## {', '.join(map(str, place))}", "", markdown(shown), ""]
    lines += ["## In words", "", *(f"- {text}" for text in verdicts(transfers, answers)), ""]
    lines += [
        f"![balanced accuracy by method]({name}.png)",
        "",
        f"![recall by class and method]({name}_per_class.png)",
        "",
    ]
    lines += more
    choose_by = next(p.choose_by for p in comparisons(planned))
    choices = choice_frame(transfers, choose_by)
    if len(choices) and not variants(planned):
        lines += [
            "## The epoch chosen without labels",
            "",
            f"Balanced accuracy of the last epoch, of the one that `{choose_by}` chooses without a",
            "target label, and of the best one, which only labels find (`oracle`); and the points",
            "that the first two lose to it.",
            "",
            markdown(choices.reset_index()),
            "",
        ]
    file, changed = CASES[name]
    other = ", ".join(f"{key}: {json.dumps(value)}" for key, value in changed.items())
    lines += [
        f"Parameters: `notebooks/params/{file}.yaml`{f' with `{other}`' if other else ''}. "
        f"Device: {record.device.get('name')}, {record.device.get('dtype')}. {versions}.",
        "",
    ]
    return "\n".join(lines)


def about(name: str) -> Sequence[str]:
    """What the names of a page's methods mean."""
    if name.startswith(RELEASED):
        return AS_RELEASED
    return INFERRED if name in TRANSLATORS else UPPER


def comparisons(planned: list[Planned]) -> list[Compare]:
    """The parameters of the comparisons among the notebooks."""
    return [item.parameters for item in planned if isinstance(item.parameters, Compare)]


def variants(planned: list[Planned]) -> set[str]:
    """The names under which a method is compared with options of its own."""
    return {name for p in comparisons(planned) for name in p.variants}


def unfinished(planned: list[Planned], rows: pd.DataFrame, record: Record) -> list[str]:
    """What is missing yet, in words; nothing where all trainings are there."""
    asked = sum(
        math.prod(
            len(names)
            for names in (p.seeds, p.protocols or [p.protocol], p.targets or [p.target], p.methods)
        )
        for p in comparisons(planned)
    )
    done = rows.loc[rows["method"] != "source", "stage"].nunique()
    if done >= asked:
        return []
    why = f": {record.reason}" if record.reason else ""
    return [f"**Not complete: {done} of {asked} trainings. The run is {record.status}{why}.**", ""]


def source_models(rows: pd.DataFrame) -> list[str]:
    """A line per source domain: how well its models do on their own camera."""
    return [
        f"Source model on {target}: {spread(part['accuracy'] * 100)} % over seeds "
        f"{sorted(part['seed'])}, n = {part['n'].iloc[0]}.  "
        for target, part in rows[rows["method"] == "source"].groupby("target", sort=False)
    ]


def write_selection(name: str, planned: list[Planned], run: Run, folder: Path) -> None:
    """How far label-free scores can be believed: a page, and a row per run and epoch as parquet."""
    record = run.read()
    rows = epoch_rows(record, run.metrics(), planned[0].parameters.data)
    if rows.empty:
        print(f"{name}: nothing is done yet that could be written")
        return
    missing = unfinished(planned, pd.DataFrame(record.model_dump()["results"]), record)
    lines = ["# Choosing without labels", "", *missing, HOW_TO_READ]
    for title, table in selection_tables(rows).items():
        lines += [f"## {title}", "", markdown(table), ""]
    lines += [f"All values by run and epoch: `{name}.parquet`.", ""]
    folder.mkdir(parents=True, exist_ok=True)
    replace_file(folder / f"{name}.parquet", rows.to_parquet(index=False))
    replace_file(folder / f"{name}.md", "\n".join(lines).encode())
    print(f"{name}: {folder / name}.md and .parquet")


def markdown(table: pd.DataFrame) -> str:
    """A frame as a Markdown table."""
    rows = [list(table.columns), ["---"] * len(table.columns), *table.astype(str).to_numpy()]
    return "\n".join("| " + " | ".join(map(str, row)) + " |" for row in rows)


if __name__ == "__main__":
    raise SystemExit(main())

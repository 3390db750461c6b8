"""The quality table: three seeds of every method, on scenes and on real photographs.

`make bench-quality` runs it. It resumes where it was interrupted, passes over what is done, and
leaves rows, a table and a figure per data set in docs/results/.
"""

import sys
from pathlib import Path

import pandas as pd

from socketlab.figures import comparison_bars, to_png
from socketlab.runs.comparison import comparison_frame
from socketlab.runs.files import replace_file
from socketlab.runs.notebooks import run_all
from socketlab.runs.planning import Planned, plan, read_parameter_file
from socketlab.runs.record import Record, Run

HERE = Path(__file__).resolve().parent.parent
RESULTS = HERE / "docs" / "results"
NAMES = ("quality_scenes", "quality_nyuv2")


def main() -> int:
    """Run what is asked for (all by default); the exit status says whether all of it was done."""
    failures = 0
    for name in sys.argv[1:] or NAMES:
        file = HERE / "notebooks" / "params" / f"{name}.yaml"
        try:
            planned = plan([], read_parameter_file(file), {})
            run_all(planned, command=f"make bench-quality ({name})")
        except Exception as error:  # the other table can still be made
            print(f"{name}: {type(error).__name__}: {error}", file=sys.stderr)
            failures += 1
            continue
        write(name, planned)
    return 1 if failures else 0


def write(name: str, planned: list[Planned]) -> None:
    """Rows as parquet, the table as Markdown, the bars as PNG."""
    run = Run(planned[0].parameters.folder)
    record = run.read()
    rows = pd.DataFrame([row.model_dump(exclude={"scores"}) for row in record.results])
    rows["seconds"] = [record.stages[stage].seconds for stage in rows["stage"]]
    RESULTS.mkdir(parents=True, exist_ok=True)
    replace_file(RESULTS / f"{name}.parquet", rows.to_parquet(index=False))
    transfers = rows[rows["method"] != "source"]
    figure = comparison_bars(transfers.drop(columns="seconds"), metric="balanced_accuracy")
    replace_file(RESULTS / f"{name}.png", to_png(figure))
    replace_file(RESULTS / f"{name}.md", page(name, rows, record).encode())
    print(f"{name}: {RESULTS / name}.md, .png and .parquet")


def page(name: str, rows: pd.DataFrame, record: Record) -> str:
    """The table of a data set, with all that is needed to make it again."""
    table = comparison_frame(rows[rows["method"] != "source"]).reset_index()
    source = rows[rows["method"] == "source"]
    mean, deviation = source["accuracy"].mean() * 100, source["accuracy"].std() * 100
    seconds = rows.groupby("method")["seconds"].mean().round().astype(int).to_dict()
    versions = ", ".join(f"{k} {v}" for k, v in record.versions.items())
    lines = [
        f"# {name}",
        "",
        f"Source model on {source['target'].iloc[0]}: {mean:.1f} ± {deviation:.1f} % over seeds "
        f"{sorted(source['seed'])}, n = {source['n'].iloc[0]}.",
        "",
        "Mean ± standard deviation over seeds, in percent, of the last epoch; `gain` is over",
        "source_only of the same seed, in points. `oracle_labels` is an upper reference: it sees",
        "labels that no method may see, under `transductive` those of the scored images.",
        "",
        markdown(table),
        "",
        f"![balanced accuracy by method]({name}.png)",
        "",
        f"Parameters: `notebooks/params/{name}.yaml`. Device: {record.device['name']}, "
        f"{record.device['dtype']}. Seconds per training: {seconds}. {versions}.",
        "",
    ]
    return "\n".join(lines)


def markdown(table: pd.DataFrame) -> str:
    """A frame as a Markdown table."""
    rows = [list(table.columns), ["---"] * len(table.columns), *table.astype(str).to_numpy()]
    return "\n".join("| " + " | ".join(map(str, row)) + " |" for row in rows)


if __name__ == "__main__":
    raise SystemExit(main())

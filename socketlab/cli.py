"""The command line: `socketlab data ...`, `socketlab run ...`, `socketlab report ...`."""

import shlex
import sys
from pathlib import Path
from typing import Annotated, NoReturn

import typer
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from rich.table import Column, Table
from rich.text import Text

from socketlab.data import describe, known_manifests, load_manifest

app = typer.Typer(
    help="Move what an RGB classifier knows to a depth or infrared camera, without the RGB data.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
)
data_app = typer.Typer(help="Data sets: list, describe, prepare.", no_args_is_help=True)
app.add_typer(data_app, name="data")
console = Console()


def main() -> None:
    """Run the command line; an error that a person can mend is one line, not a traceback."""
    sys.argv[1:] = join_parameters(sys.argv[1:])
    try:
        app()
    except (ValueError, FileNotFoundError) as error:
        fail(str(error))


def fail(message: str) -> NoReturn:
    """Print an error and exit with status 1."""
    text = Text.assemble(("Error:", "bold red"), " ", message)  # brackets in it are no markup
    Console(stderr=True).print(text, highlight=False, soft_wrap=True)
    raise SystemExit(1)


@data_app.command("list")
def data_list() -> None:
    """The data sets that have a manifest."""
    table = Table(Column("name", no_wrap=True), "domains", "classes (TR + TI)", "images", "title")
    for name in known_manifests():
        manifest = load_manifest(name)
        classes = manifest.classes
        images = sum(row.images for row in describe(manifest))
        counts = f"{len(classes.task_relevant)} + {len(classes.task_irrelevant)}"
        table.add_row(name, " ".join(manifest.domains), counts, str(images), manifest.title)
    console.print(table)


@data_app.command("info")
def data_info(name: Annotated[str, typer.Argument(help="name or path of a manifest")]) -> None:
    """What a manifest says: source, terms, protocols, and counts per class and split."""
    manifest = load_manifest(name)
    for key in ("title", "citation", "licence", "terms", "homepage"):
        console.print(f"[bold]{key}[/]: {getattr(manifest, key)}", highlight=False)
    for title, protocol in manifest.protocols.items():
        console.print(f"[bold]protocol {title}[/]: {protocol.description}", highlight=False)
    rows = describe(manifest)
    splits = sorted({row.split for row in rows})
    table = Table("domain", "class", "role", *splits)
    keys = dict.fromkeys((row.domain, row.class_name, row.role) for row in rows)
    for domain, class_name, role in keys:
        mine = [row for row in rows if (row.domain, row.class_name) == (domain, class_name)]
        found = {row.split: row.images for row in mine}
        words = "TR" if role == "task_relevant" else "TI"
        table.add_row(domain, class_name, words, *(str(found.get(s, "")) for s in splits))
    console.print(table)


@data_app.command("prepare")
def data_prepare(
    name: Annotated[str, typer.Argument(help="name or path of a manifest")],
    root: Annotated[Path | None, typer.Option(help="folder of the raw images")] = None,
    size: Annotated[
        int | None, typer.Option(min=8, max=1024, help="pixels, square; default: the manifest's")
    ] = None,
    data_dir: Annotated[Path, typer.Option(help="where prepared images are kept")] = Path("data"),
) -> None:
    """Decode (or render) every image once into memory-mapped arrays."""
    manifest = load_manifest(name)
    from socketlab.data.store import prepare

    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn())
    with Progress(*columns, TimeRemainingColumn(), console=console) as progress:
        task = progress.add_task(name, total=None)

        def show(done: int, total: int) -> None:
            progress.update(task, completed=done, total=total)

        def say(line: str) -> None:
            progress.console.print(line, highlight=False, soft_wrap=True)

        pixels = size or manifest.layout.size
        prepare(manifest, root=root, size=pixels, data_dir=data_dir, say=say, progress=show)


@app.command()
def run(
    notebooks: Annotated[list[str] | None, typer.Argument(help="names or numbers")] = None,
    params: Annotated[str | None, typer.Option(help="a YAML file of parameters")] = None,
    parameter: Annotated[
        list[str] | None,
        typer.Option("-p", metavar="NAME VALUE", help="a parameter; a.b reaches into a mapping"),
    ] = None,
    name: Annotated[str | None, typer.Option("--run", help="name of the run")] = None,
    again: Annotated[bool, typer.Option("--again", help="also notebooks that are done")] = False,
) -> None:
    """Run notebooks through papermill into one run folder, and write its report.

    Without names: the steps of the parameter file, or all notebooks in order. A notebook that is
    done with the same parameters is passed over; one that was interrupted continues.
    """
    from socketlab.runs.planning import parameter_file, parse_given, plan

    given = parse_given(parameter or [])
    if name is not None:
        given["run"] = name
    planned = plan(notebooks or [], parameter_file(params), given)
    from socketlab.runs.notebooks import NotebookFailed, run_all
    from socketlab.runs.report import write_report

    folders = [item.parameters.folder for item in planned]
    failure = ""
    try:
        run_all(planned, again=again, command=shlex.join(["socketlab", *sys.argv[1:]]))
    except NotebookFailed as error:
        failure = str(error)
    for folder in dict.fromkeys(folders):
        if (folder / "run.json").is_file():
            write_report(folder)
            summary(folder)
    if failure:
        fail(failure)


def summary(folder: Path) -> None:
    """Print a run's results of the last epochs, the time taken and where its report is.

    Other choices of an epoch, also the one by labels, are in the report. Beside a method
    stands how many changes were made to its training by hand, where there were any.
    """
    from socketlab.runs.record import Run

    record = Run(folder).read()
    columns = (Column(name, no_wrap=True) for name in ("method", "domain", "protocol"))
    table = Table(*columns, "seed", "accuracy", "balanced accuracy", "n")
    last = [row for row in record.results if row.chosen_by == "last"]
    collapsed = any(row.note for row in last)
    if collapsed:
        table.add_column("note")
    for row in last:
        scores = f"{row.accuracy:.1%}", f"{row.balanced_accuracy:.1%}"
        note = [row.note] if collapsed else []
        method = f"{row.method} (steered: {row.steered})" if row.steered else row.method
        place = method, row.target, row.protocol, str(row.seed)
        table.add_row(*place, *scores, str(row.n), *note)
    console.print(table)
    minutes, seconds = divmod(round(record.seconds), 60)
    console.print(f"Status: {record.status}. Time: {minutes} min {seconds} s.", highlight=False)
    console.print(f"Report: {folder / 'report.html'}", highlight=False, soft_wrap=True)


@app.command()
def report(folder: Annotated[Path, typer.Argument(help="a run's folder")]) -> None:
    """Write the report of a run anew."""
    from socketlab.runs.report import write_report

    console.print(str(write_report(folder)), highlight=False, soft_wrap=True)


@app.command()
def page(
    params: Annotated[
        str, typer.Option(help="the run to show, as a YAML file of parameters")
    ] = "notebooks/params/demo.yaml",
    parameter: Annotated[
        list[str] | None, typer.Option("-p", metavar="NAME VALUE", help="a parameter")
    ] = None,
    ip: Annotated[str, typer.Option(help="where it listens")] = "127.0.0.1",
    port: Annotated[int, typer.Option(min=0, max=65535, help="0: any free one")] = 0,
    expose: Annotated[
        bool, typer.Option("--expose", help="allow an address that other machines can reach")
    ] = False,
) -> None:
    """Serve the demo page to whoever has the address with its token: explorer and live transfer.

    What it shows is made first, where it is not there yet.
    """
    from socketlab.runs import page as pages
    from socketlab.runs.notebooks import NotebookFailed
    from socketlab.runs.places import home
    from socketlab.runs.planning import parse_given

    pages.check_address(ip, expose)
    steps = pages.needed(params, parse_given(parameter or []))

    def say(line: str) -> None:
        console.print(line, highlight=False, soft_wrap=True, markup=False)

    try:
        pages.prepare(steps, say, command=shlex.join(["socketlab", *sys.argv[1:]]))
    except NotebookFailed as error:
        fail(str(error))
    if expose:
        say(f"Warning: {pages.EXPOSED}.")
    say("Open this address; Ctrl+C ends it:")
    told = pages.environment(steps[-1], pages.new_token())
    pages.serve(home() / "pages" / "demo.ipynb", told, ip=ip, port=port, say=say)


def join_parameters(arguments: list[str]) -> list[str]:
    """Make one word of each `-p NAME VALUE`, which is how papermill's users write it."""
    joined: list[str] = []
    rest = iter(arguments)
    for word in rest:
        if word != "-p":
            joined.append(word)
            continue
        name = next(rest, "")
        value = "" if "=" in name else "=" + next(rest, "")
        joined += ["-p", name + value]
    return joined


if __name__ == "__main__":
    main()

"""`socketlab data ...`: which data sets there are, what is in them, and how they are prepared."""

from pathlib import Path
from typing import Annotated

import typer
from rich.table import Column, Table

from socketlab.cli.terminal import console, progress_bar, say
from socketlab.data import describe, known_manifests, load_manifest

data_app = typer.Typer(help="Data sets: list, describe, prepare.", no_args_is_help=True)


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

    with progress_bar(name) as show:
        pixels = size or manifest.layout.size
        prepare(manifest, root=root, size=pixels, data_dir=data_dir, say=say, progress=show)

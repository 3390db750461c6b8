"""`socketlab data ...`: which data sets there are, what is in them, and how they are prepared."""

from pathlib import Path
from typing import Annotated

import typer
from rich.filesize import decimal
from rich.table import Table
from rich.text import Text

from socketlab.cli.data_init import data_init
from socketlab.cli.data_tables import archive_table, here, list_table
from socketlab.cli.terminal import can_ask, console, progress_bar, say
from socketlab.data import Manifest, describe, known_manifests, load_manifest
from socketlab.data.acquiring.archives import free_space
from socketlab.data.acquiring.locating import find_root, how_by_hand, needed_space, pieces_of
from socketlab.data.layout_schema import ScenesLayout

data_app = typer.Typer(help="Data sets: list, describe, get, init, prepare.", no_args_is_help=True)

data_app.command("init")(data_init)

DataDir = Annotated[Path, typer.Option(help="where files and prepared images are kept")]


@data_app.command("list")
def data_list(data_dir: DataDir = Path("data")) -> None:
    """The data sets that have a manifest, and what of each is on this machine."""
    console.print(list_table(known_manifests(), data_dir, console.width))


@data_app.command("get")
def data_get(
    name: Annotated[str, typer.Argument(help="name or path of a manifest")],
    archive: Annotated[
        list[Path] | None, typer.Option(help="a published file that is already here; repeatable")
    ] = None,
    accept_terms: Annotated[
        bool, typer.Option("--accept-terms", help="download without asking")
    ] = False,
    data_dir: DataDir = Path("data"),
) -> None:
    """Get a data set's files: find, or download, verify and unpack its archives.

    Shows sizes and terms and asks first. An archive that is already on disk is used where it is.
    """
    manifest = load_manifest(name)
    if isinstance(manifest.layout, ScenesLayout):
        say(f"{manifest.name} is drawn, not downloaded.")
    else:
        from socketlab.data.acquiring.acquire import acquire

        given = archive or []
        if manifest.archives and find_root(manifest, data_dir) is None:
            _agree(manifest, given, accept_terms, data_dir)
        folder = acquire(
            manifest,
            data_dir=data_dir,
            archives=given,
            say=say,
            bars=lambda title: progress_bar(title, of_bytes=True),
        )
        say(f"The files of {manifest.name} are in {folder}")
    where = "" if data_dir == Path("data") else f" --data-dir {data_dir}"
    say(f"Next: socketlab data prepare {name}{where}")


def _agree(manifest: Manifest, given: list[Path], accepted: bool, data_dir: Path) -> None:
    """Show terms and sizes, and have a person agree wherever something is to be downloaded."""
    _show(manifest, ("title", "citation", "licence", "terms", "homepage"))
    pieces = pieces_of(manifest, data_dir, given)
    console.print(archive_table(pieces))
    while by_hand := [piece for piece in pieces if piece.archive.manual and not piece.present]:
        if not can_ask():
            break  # acquire says what to do
        for piece in by_hand:
            say(how_by_hand(manifest, piece))
        typer.confirm("Is it there?", default=True, abort=True)
        pieces = pieces_of(manifest, data_dir, given)
    coming = [piece for piece in pieces if not piece.present and not piece.archive.manual]
    if not coming:
        return
    unknown = [piece.archive.filename for piece in coming if piece.size is None]
    known = sum(piece.size - piece.arrived for piece in coming if piece.size is not None)
    parts = [decimal(known)] if known else []
    parts += [f"{', '.join(unknown)}, whose size nobody states"] if unknown else []
    takes = ""
    if known:
        least = "more than" if unknown else "about"
        takes = f" With everything unpacked this takes {least} {decimal(needed_space(pieces))}."
    say(f"To download: {', and '.join(parts)}.{takes}")
    say(f"Free in {data_dir}: {decimal(free_space(data_dir))}.")
    if accepted:
        return
    if not can_ask():
        raise ValueError(
            f"{manifest.name}: nobody can be asked here whether the terms above are accepted. "
            "Read them, then run again with --accept-terms."
        )
    typer.confirm("Download under these terms?", abort=True)


def _show(manifest: Manifest, keys: tuple[str, ...]) -> None:
    for key in keys:
        _line(key, str(getattr(manifest, key)))


def _line(key: str, text: str) -> None:
    """Print a key and what it stands for, in which brackets are no markup."""
    console.print(Text.assemble((key, "bold"), ": ", text), highlight=False)


@data_app.command("info")
def data_info(
    name: Annotated[str, typer.Argument(help="name or path of a manifest")],
    data_dir: DataDir = Path("data"),
) -> None:
    """What a manifest says: source, terms, archives, protocols, and counts per class and split."""
    manifest = load_manifest(name)
    _show(manifest, ("title", "citation", "licence", "terms", "homepage"))
    if manifest.archives:
        console.print(archive_table(pieces_of(manifest, data_dir, ask=False)))
    say(f"On this machine: {here(manifest, data_dir)}")
    for title, protocol in manifest.protocols.items():
        _line(f"protocol {title}", protocol.description)
    rows = describe(manifest)
    if not rows:
        say("Nobody has published how many images of which class there are.")
        return
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
    data_dir: DataDir = Path("data"),
) -> None:
    """Decode (or render) every image once into memory-mapped arrays."""
    manifest = load_manifest(name)
    from socketlab.data.store import prepare

    with progress_bar(name) as show:
        pixels = size or manifest.layout.size
        prepare(manifest, root=root, size=pixels, data_dir=data_dir, say=say, progress=show)

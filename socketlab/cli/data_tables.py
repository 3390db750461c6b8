"""Tables of `socketlab data ...`: the data sets, and the archives of one."""

from collections.abc import Iterable
from pathlib import Path

from rich import box
from rich.filesize import decimal
from rich.markup import escape
from rich.table import Column, Table

from socketlab.data import Manifest, ManifestError, load_manifest
from socketlab.data.acquiring.locating import Piece, find_root
from socketlab.data.layout_schema import ScenesLayout
from socketlab.data.schema import NOT_STATED, sensor_of

WIDE = 120
"""Columns of a terminal from which on images are counted per domain."""


def list_table(names: Iterable[str], data_dir: Path, width: int) -> Table:
    """A row per data set; on a terminal of `WIDE` columns also its title and images per domain.

    A manifest that cannot be read says so in its row, and the others are shown.
    """
    wide = width >= WIDE
    domains = Column("images per camera" if wide else "cameras", ratio=2 if wide else None)
    columns = [Column("name", no_wrap=True), domains, Column("TR + TI", no_wrap=True)]
    columns += [Column("images", justify="right"), Column("here", min_width=12)]
    table = Table(*columns, box=box.SIMPLE_HEAD, pad_edge=False)
    if wide:
        table.add_column("title", ratio=3)
    for name in names:
        try:
            manifest = load_manifest(name)
        except ManifestError as error:
            first = str(error).splitlines()[0].rpartition(f"{name}.yaml: ")[2]
            table.add_row(name, f"[red]not readable[/]: {escape(first)}")
            continue
        images = sum(_images(manifest).values())
        cells = [name, "\n".join(_cameras(manifest, wide)), _classes(manifest)]
        cells += [str(images) if images else "unknown", here(manifest, data_dir)]
        table.add_row(*cells, *([escape(manifest.title)] if wide else []))
    return table


def archive_table(pieces: Iterable[Piece]) -> Table:
    """A row per archive: its size, how it is verified, where it comes from and whether it is here.

    One that is here has the path instead of the address.
    """
    columns = [Column("archive", no_wrap=True), Column("size", justify="right", no_wrap=True)]
    columns += [Column("checksum"), Column("from", overflow="fold")]
    table = Table(*columns, box=box.SIMPLE_HEAD, pad_edge=False)
    for piece in pieces:
        size = NOT_STATED if piece.size is None else decimal(piece.size)
        place = piece.archive.url + (" (by hand)" if piece.archive.manual else "")
        if piece.present:
            place = str(piece.path)
        elif piece.arrived:
            place += f" ({decimal(piece.arrived)} have arrived)"
        kind = piece.archive.checksum.partition(":")[0]
        table.add_row(piece.archive.filename, size, kind, escape(place))
    return table


def here(manifest: Manifest, data_dir: Path) -> str:
    """What of a data set is on this machine: prepared sizes in pixels, its files, or nothing."""
    stores = (data_dir / manifest.name).glob("*-*/store.json")
    sizes = sorted({int(path.parent.name.partition("-")[0]) for path in stores})
    if sizes:
        return f"prepared: {', '.join(map(str, sizes))} px"
    if isinstance(manifest.layout, ScenesLayout):
        return "built in"
    return "files" if find_root(manifest, data_dir) else "no"


def _cameras(manifest: Manifest, counted: bool) -> list[str]:
    """A line per camera, or per group of cameras with the same modalities."""
    images = _images(manifest)
    groups: dict[str, list[str]] = {}
    for sensor in manifest.sensors:
        words = [
            domain.modality + (f" {images[name]}" if counted and images[name] else "")
            for name, domain in manifest.domains.items()
            if sensor_of(name) == sensor
        ]
        groups.setdefault(", ".join(words), []).append(sensor)
    return [f"{' '.join(sensors)}: {words}" for words, sensors in groups.items()]


def _images(manifest: Manifest) -> dict[str, int]:
    return {
        domain: sum(sum(counts.values()) for counts in manifest.expected.get(domain, {}).values())
        for domain in manifest.domains
    }


def _classes(manifest: Manifest) -> str:
    classes = manifest.classes
    return f"{len(classes.task_relevant)} + {len(classes.task_irrelevant)}"

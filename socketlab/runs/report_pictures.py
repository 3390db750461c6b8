"""The pictures of a report: read from a run's folder or drawn, and put into the page itself."""

import base64
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from socketlab.runs.report_values import Record, plain

_PNG_START: Final = b"\x89PNG\r\n\x1a\n"
_UNLISTED: Final = "Not listed in run.json"


@dataclass(frozen=True)
class Picture:
    """A figure ready to be shown: its picture as base64, or why it cannot be shown."""

    file: str
    title: str
    caption: str
    notebook: str
    data: str | None
    problem: str


def run_pictures(folder: Path, listed: list[Record]) -> list[Picture]:
    """The listed figures, then the PNG files of `figures/` that nobody listed."""
    pictures = []
    seen = set()
    for entry in listed:
        file = plain(entry.get("file"))
        path = _inside(folder, file)
        if path is not None:
            seen.add(path)
        data, problem = _inline(path, file)
        pictures.append(
            Picture(
                file,
                plain(entry.get("title") or file),
                plain(entry.get("caption") or ""),
                plain(entry.get("notebook") or "Figures"),
                data,
                problem,
            )
        )
    for path in sorted((folder / "figures").glob("*.png")):
        if path.resolve() not in seen:
            data, problem = _inline(path, path.name)
            pictures.append(Picture(path.name, path.stem, "", _UNLISTED, data, problem))
    return pictures


def _inside(folder: Path, file: str) -> Path | None:
    """The picture's path, relative to the run or to its `figures`; None outside the run."""
    root = folder.resolve()
    try:
        candidates = [(root / file).resolve(), (root / "figures" / file).resolve()]
        inside = [path for path in candidates if path.is_relative_to(root)]
        return next((path for path in inside if path.is_file()), inside[-1] if inside else None)
    except (OSError, ValueError):  # a name that no file system takes
        return None


def _inline(path: Path | None, file: str) -> tuple[str | None, str]:
    if path is None:
        return None, f"{file} is no file of this run's folder and is not shown."
    if not path.is_file():
        return None, f"{file} is missing. Run its notebook again to draw it."
    content = path.read_bytes()
    if not content.startswith(_PNG_START):
        return None, f"{file} is not a PNG picture. Run its notebook again to draw it."
    return base64.b64encode(content).decode("ascii"), ""


def by_notebook(pictures: list[Picture]) -> dict[str, list[Picture]]:
    """The pictures by the notebook that drew them, in their order."""
    groups: dict[str, list[Picture]] = {}
    for picture in pictures:
        groups.setdefault(picture.notebook, []).append(picture)
    return groups


def drawn(png: bytes, title: str, caption: str) -> Picture:
    """A picture that was drawn for the report itself."""
    return Picture("", title, caption, "", base64.b64encode(png).decode("ascii"), "")

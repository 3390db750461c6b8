"""Which folder somebody means by the name of a run or of a sweep. Loads no torch."""

from pathlib import Path
from typing import Final

from socketlab.data.schema import UnknownName
from socketlab.runs.places import at_home
from socketlab.runs.sweeps.record import is_sweep

RUNS_FOLDER: Final = "runs"


def is_run(folder: Path) -> bool:
    """Whether that is the folder of a run."""
    return (folder / "run.json").is_file()


def find_folder(name: str | Path) -> Path:
    """The run or sweep in that folder, or of that name under runs/; `sweep/run` is one of its runs.

    Raises:
        ValueError: where neither is there, with those that are.
    """
    for folder in (Path(name).expanduser(), at_home(RUNS_FOLDER) / str(name)):
        if is_run(folder) or is_sweep(folder):
            return folder
    known = [*known_runs(), *(f.name for f in known_folders() if is_sweep(f))]
    raise ValueError(f"{UnknownName('run or sweep', name, known)} Or give the path of its folder.")


def name_of(folder: Path) -> str:
    """The words by which `find_folder` finds a run or sweep: from runs/ on, or its whole path."""
    folder = folder.resolve()
    inside = at_home(RUNS_FOLDER).resolve()
    return str(folder.relative_to(inside) if folder.is_relative_to(inside) else folder)


def known_folders() -> list[Path]:
    """Every run and sweep that lies in runs/ itself, by name."""
    inside = sorted(at_home(RUNS_FOLDER).glob("*/"))
    return [folder for folder in inside if is_sweep(folder) or is_run(folder)]


def known_runs() -> list[str]:
    """The name of every run under runs/; those of a sweep as `sweep/run`."""
    found = []
    for folder in known_folders():
        if is_sweep(folder):
            found += [f"{folder.name}/{file.parent.name}" for file in folder.glob("*/run.json")]
        else:
            found.append(folder.name)
    return sorted(found)

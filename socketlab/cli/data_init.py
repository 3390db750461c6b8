"""`socketlab data init`: look at a folder of one's own images and write its manifest."""

import re
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from socketlab.cli.terminal import can_ask, say
from socketlab.data import known_manifests, load_manifest
from socketlab.data.manifest import MANIFEST_FOLDER
from socketlab.data.whole_files import replace_file

if TYPE_CHECKING:
    from socketlab.data.drafting.draft import Draft
    from socketlab.data.drafting.looking import Found


def data_init(
    folder: Annotated[Path, typer.Argument(help="folder of the images, of any depth")],
    name: Annotated[
        str | None, typer.Option(help="name of the data set; default: the folder's")
    ] = None,
    output: Annotated[
        Path | None, typer.Option(help="file to write; default: data_manifests/NAME.yaml")
    ] = None,
    sensor: Annotated[str, typer.Option(help="name of the camera")] = "cam",
    modality: Annotated[
        str | None, typer.Option(help="depth or nir, of files whose names do not say it")
    ] = None,
    scale: Annotated[
        float | None, typer.Option(min=1e-9, help="metres of one step of depth")
    ] = None,
    task_relevant: Annotated[
        str | None, typer.Option(help="classes to recognise, commas between them")
    ] = None,
    folders: Annotated[
        Literal["classes", "recordings"] | None,
        typer.Option(help="what folders of images stand for, where names do not say it"),
    ] = None,
    pairs_from: Annotated[
        str | None, typer.Option(help="another data set, whose pairs are used")
    ] = None,
    force: Annotated[bool, typer.Option("--force", help="write over what is there")] = False,
) -> None:
    """Look at a folder of images and write the manifest that describes it.

    Finds pairs, classes, splits, bit depth and range. What files do not show is asked for; where
    nobody can be asked it is assumed, and said so here and in the file.
    """
    called = name or re.sub(r"[^a-z0-9]+", "_", folder.resolve().name.lower()).strip("_")
    path = output or Path(MANIFEST_FOLDER) / f"{called}.yaml"
    _check_free(called, path, output is None, force)
    if pairs_from is not None:
        load_manifest(pairs_from)
    from socketlab.data.drafting.answers import Answers
    from socketlab.data.drafting.draft import draft
    from socketlab.data.drafting.looking import look
    from socketlab.data.drafting.writing import manifest_text

    found = look(folder, folders)
    _show(found)
    relevant = None
    if task_relevant is not None:
        relevant = tuple(each.strip() for each in task_relevant.split(",") if each.strip())
    answers = Answers(called, sensor, modality, scale, relevant, pairs_from)
    made = draft(found, answers, _ask)
    for note in made.notes:
        say(note)
    for place, sentence in made.assumed.items():
        say(f"{place}: {sentence}")
    path.parent.mkdir(parents=True, exist_ok=True)
    replace_file(path, manifest_text(made, str(folder)).encode())
    load_manifest(path)
    say(f"Wrote {path}")
    _show_next(made, called if output is None else str(path))


def _check_free(called: str, path: Path, by_name: bool, force: bool) -> None:
    if not re.fullmatch(r"[a-z0-9][a-z0-9_]*", called):
        raise ValueError(
            f"Name {called!r} must be of small letters, digits and _, and begin with one of the "
            "first two. Give another with --name."
        )
    if path.exists() and not force:
        raise ValueError(f"{path} is there already. Give --force to write over it, or --name.")
    if by_name and not path.exists() and called in known_manifests():
        raise ValueError(f"{called!r} is the name of another data set. Give one with --name.")


def _ask(question: str, assumed: str) -> str | None:
    if not can_ask():
        return None
    answer: str = typer.prompt(question, default=assumed)
    return answer


def _show(found: "Found") -> None:
    for part in found.parts:
        split = f" (split {part.split})" if part.split else ""
        table = f", with the table {part.table}" if part.table else ""
        say(f"Found in {part.folder}{split}{table}:")
        for pattern in part.patterns:
            look = pattern.looks[0]
            what = pattern.modality or "one channel"
            say(
                f"  {pattern.pattern}: {len(pattern.keys)} images, {what}, {look.bits} bits, "
                f"{look.width} x {look.height}"
            )


def _show_next(made: "Draft", called: str) -> None:
    """The commands that go on from here."""
    manifest = made.manifest
    protocol = next(iter(manifest.protocols))
    size = min(manifest.layout.size, 128)
    say("Read it through, correct what is wrong, then:")
    say(f"  socketlab data prepare {called} --size {size}")
    words = f"-p data {called} -p size {size} -p protocol {protocol} -p target {made.target}"
    labelled = made.source is not None and any(
        name in manifest.expected[made.source] for name in manifest.classes.task_relevant
    )
    run = f"socketlab run 02 05 --run {manifest.name}"
    if labelled:
        say(f"  {run} {words} -p source {made.source} -p backbone mobilenet_v2 -p weights imagenet")
        return
    pairs_from = manifest.protocol(protocol).pairs_from
    cameras = load_manifest(pairs_from).domains if pairs_from else {}
    colour = [name for name, domain in cameras.items() if domain.modality == "rgb"]
    say(
        f"  {run} {words} -p source {made.source or next(iter(colour), 'SENSOR/rgb')} "
        "-p source_model FILE"
    )
    say("No colour image has a class, so bring a source model: docs/own_data.md says how.")
    if made.source is None and not colour:
        say(
            "There is no colour image at all. Begin anew with --pairs-from and the name of a data "
            "set with pairs; SENSOR is then one of its sensors."
        )

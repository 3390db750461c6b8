"""Where things are: the project's folder, paths that a person wrote, manifests."""

from pathlib import Path

from socketlab.data import Manifest, load_manifest


def home() -> Path:
    """The project's folder: the working folder or the nearest above it that holds `notebooks`."""
    for folder in (Path.cwd(), *Path.cwd().parents):
        if (folder / "notebooks").is_dir() and (folder / "data_manifests").is_dir():
            return folder
    return Path.cwd()


def at_home(path: str) -> Path:
    """A path that a person wrote: relative ones start at `home`, in Jupyter and headless alike."""
    return home() / Path(path).expanduser()


def manifest_of(data: str, scenes_seed: int | None = None) -> Manifest:
    """The manifest of that name, or in that file; a relative path starts at `home`.

    Raises:
        ValueError: for a `scenes_seed` where nothing is rendered.
    """
    manifest = load_manifest(at_home(data) if data.endswith((".yaml", ".yml")) else data)
    if scenes_seed is None:
        return manifest
    if manifest.layout.kind != "scenes":
        raise ValueError(
            f"scenes_seed {scenes_seed} asks for another rendering, and {manifest.name!r} is not "
            "rendered. Leave it out."
        )
    layout = manifest.layout.model_copy(update={"seed": scenes_seed})
    return manifest.model_copy(update={"layout": layout})

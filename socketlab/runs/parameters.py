"""The parameters of each notebook: what can be set, within which bounds; loads no torch.

A misspelt name or an ill-typed value stops here, in a second, with the list of known ones.
"""

import ast
import difflib
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal, Self

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from socketlab.data import Manifest, load_manifest
from socketlab.methods import check_method
from socketlab.models.names import check_backbone

Name = Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]*$")]
DomainName = str


class ParameterError(ValueError):
    """A parameter that a notebook does not have, or a value it cannot have."""


class Parameters(BaseModel):
    """What every notebook of one experiment shares."""

    model_config = ConfigDict(extra="forbid", frozen=True)
    notebook: ClassVar[str]

    run: Name = Field("first", description="name of the run; its folder is runs_dir/run")
    data: str = Field("scenes", description="name of a manifest, or the path of one")
    root: str | None = Field(None, description="folder of the raw images, if not where looked for")
    size: int = Field(64, ge=8, le=1024, description="prepared size in pixels")
    crop: int | None = Field(None, ge=8, description="input of the network; default 7/8 of size")
    protocol: str = Field("held_out", description="what is adapted on and scored on")
    source: DomainName = Field("a/rgb", description="domain that the source model is trained on")
    target: DomainName = Field("a/depth", description="domain to move to")
    encoding: Literal["replicate", "inverse"] = Field("replicate", description="depth to grey")
    backbone: str = "resnet_small"
    weights: str = Field("none", description="none, imagenet, or a safetensors file")
    source_options: dict[str, Any] = Field({}, description="of the source model's training")
    seed: int = Field(0, ge=0)
    device: Literal["auto", "cpu", "cuda", "mps"] = "auto"
    dtype: Literal["auto", "float32", "bfloat16"] = "auto"
    data_dir: str = Field("data", description="where prepared images are kept")
    runs_dir: str = Field("runs", description="where runs are kept")

    @model_validator(mode="after")
    def _names_exist(self) -> Self:
        manifest = manifest_of(self.data)
        manifest.protocol(self.protocol)
        manifest.domain(self.source)
        manifest.domain(self.target)
        if manifest.domain(self.source).modality != "rgb":
            known = [n for n, d in manifest.domains.items() if d.modality == "rgb"]
            raise ValueError(f"source {self.source!r} is not rgb. Known: {', '.join(known)}.")
        if self.source == self.target:
            raise ValueError(f"source and target are both {self.source!r}; name two domains.")
        if self.crop is not None and self.crop > self.size:
            raise ValueError(f"crop {self.crop} is larger than size {self.size}.")
        check_backbone(self.backbone)
        return self

    @property
    def crop_pixels(self) -> int:
        """The crop asked for, or 7/8 of the prepared size, as 224 is of 256."""
        return self.crop if self.crop is not None else self.size * 7 // 8

    @property
    def folder(self) -> Path:
        """The run's folder."""
        return at_home(self.runs_dir) / self.run


class PrepareData(Parameters):
    """01: what the cameras see."""

    notebook = "01_prepare_data"
    examples: int = Field(6, ge=1, le=12, description="pairs shown side by side")


class TrainSource(Parameters):
    """02: the RGB classifier."""

    notebook = "02_train_source"


class WithMethods(Parameters):
    """What the notebooks that adapt a model share."""

    options: dict[str, dict[str, Any]] = Field(
        {}, description="what differs from a method's defaults, by method"
    )

    @model_validator(mode="after")
    def _methods_exist(self) -> Self:
        for name in self.asked_methods():
            check_method(name)
        return self

    def asked_methods(self) -> list[str]:
        """All methods that are named."""
        return list(self.options)


class WithMethod(WithMethods):
    """What the notebooks about one transfer share."""

    method: str = Field("socket", description="a registered method")

    def asked_methods(self) -> list[str]:
        """The one method, and those that have options."""
        return [self.method, *self.options]


class ModalityGap(WithMethod):
    """03: one feature space, two modalities; `method` is whose target model is 'after'."""

    notebook = "03_modality_gap"
    points: int = Field(3000, ge=100, le=50_000, description="points in one map at most")


class TransferParameters(WithMethod):
    """05: adapt the source model to the new modality."""

    notebook = "05_transfer"


class Compare(WithMethods):
    """06: every method asked for, on the same data, seeds and backbone."""

    notebook = "06_compare"
    methods: list[str] = Field(["source_only", "socket"], min_length=1)
    targets: list[DomainName] = Field([], description="default: only `target`")
    protocols: list[str] = Field([], description="default: only `protocol`")
    seeds: list[int] = Field([0], min_length=1)

    def asked_methods(self) -> list[str]:
        """All that are compared, and those that have options."""
        return [*self.methods, *self.options]

    @model_validator(mode="after")
    def _lists_exist(self) -> Self:
        manifest = manifest_of(self.data)
        for target in self.targets:
            manifest.domain(target)
        for protocol in self.protocols:
            manifest.protocol(protocol)
        return self


NOTEBOOKS: dict[str, type[Parameters]] = {
    model.notebook: model
    for model in (PrepareData, TrainSource, ModalityGap, TransferParameters, Compare)
}


def home() -> Path:
    """The project's folder: the working folder or the nearest above it that holds `notebooks`."""
    for folder in (Path.cwd(), *Path.cwd().parents):
        if (folder / "notebooks").is_dir() and (folder / "data_manifests").is_dir():
            return folder
    return Path.cwd()


def at_home(path: str) -> Path:
    """A path that a person wrote: relative ones start at `home`, in Jupyter and headless alike."""
    return home() / Path(path).expanduser()


def manifest_of(data: str) -> Manifest:
    """The manifest of that name, or in that file; a relative path starts at `home`."""
    return load_manifest(at_home(data) if data.endswith((".yaml", ".yml")) else data)


def notebook_name(text: str) -> str:
    """The full name of a notebook that was called by it, by its number or by its file.

    Raises:
        ParameterError: with the known names.
    """
    wanted = Path(text).name.removesuffix(".ipynb")
    found = [name for name in NOTEBOOKS if name == wanted or name.split("_")[0] == wanted]
    if not found:
        raise ParameterError(f"Unknown notebook {text!r}. Known: {', '.join(NOTEBOOKS)}.")
    return found[0]


def validate(notebook: str, values: Mapping[str, Any]) -> Parameters:
    """The parameters of a notebook, checked.

    Raises:
        ParameterError: naming each wrong parameter, the value found and the known ones.
    """
    model = NOTEBOOKS[notebook_name(notebook)]
    try:
        return model.model_validate(dict(values))
    except ValidationError as error:
        lines = [_sentence(model, dict(found)) for found in error.errors()]
        raise ParameterError("\n".join(lines)) from None


def from_notebook(notebook: str, namespace: Mapping[str, Any]) -> Parameters:
    """The parameters that cell 2 of a notebook (and papermill, in a cell below it) has set.

    Every name that a cell above the one that calls this assigns is a parameter, so that a
    misspelt one that papermill injected is found too; what later cells assign is none of it.
    """
    known = NOTEBOOKS[notebook_name(notebook)].model_fields
    assigned = set(known) | _assigned_above([str(cell) for cell in namespace.get("In", [])])
    values = {
        name: value
        for name, value in namespace.items()
        if name in assigned and not name.startswith("_")
    }
    return validate(notebook, values)


def _assigned_above(cells: list[str]) -> set[str]:
    names: set[str] = set()
    for cell in cells:
        if from_notebook.__name__ in cell:
            break
        try:
            body = ast.parse(cell).body
        except SyntaxError:  # a cell with shell or magic commands
            continue
        for statement in body:
            if isinstance(statement, ast.Assign):
                names |= {t.id for t in statement.targets if isinstance(t, ast.Name)}
            elif isinstance(statement, ast.AnnAssign) and isinstance(statement.target, ast.Name):
                names.add(statement.target.id)
    return names


def _sentence(model: type[Parameters], found: dict[str, Any]) -> str:
    where = ".".join(str(part) for part in found["loc"])
    known = list(model.model_fields)
    if found["type"] == "extra_forbidden":
        near = difflib.get_close_matches(where, known, 1)
        hint = f" Did you mean {near[0]!r}?" if near else ""
        return f"{model.notebook} has no parameter {where!r}.{hint} It has: {', '.join(known)}."
    message = str(found["msg"]).removeprefix("Value error, ")
    if not where:
        return f"{model.notebook}: {message}"
    return f"{model.notebook}: {where} = {found['input']!r}: {message}."


def read_yaml(text: str, where: str) -> Any:
    """Plain YAML values: 3, true, [a, b], {x: 1}, text. Nothing in it can run code.

    Raises:
        ParameterError: naming `where` the text is from, if it is anything else.
    """
    try:
        return yaml.safe_load(text)
    except yaml.YAMLError as error:
        raise ParameterError(f"{where} is not plain YAML: {error}") from error

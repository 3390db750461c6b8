"""The parameters of each notebook: what can be set, within which bounds; loads no torch.

A misspelt name or an ill-typed value stops here, in a second, with the list of known ones.
"""

import ast
import difflib
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal, Self

import yaml
from pydantic import Field, ValidationError, model_validator

from socketlab.data.encoding_names import check_encoding
from socketlab.gap.scores import check_score
from socketlab.methods import REGISTRY, check_method
from socketlab.runs.encoder_parameters import TwoEncoders
from socketlab.runs.entries import Changes
from socketlab.runs.shared_parameters import DomainName, Name, Parameters, RunParameters


class ParameterError(ValueError):
    """A parameter that a notebook does not have, or a value it cannot have."""


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
    variants: dict[Name, str] = Field(
        {}, description="another name for a method, which then has options of its own"
    )
    choose_by: str = Field(
        "information_maximisation", description="label-free score that chooses an epoch"
    )

    @model_validator(mode="after")
    def _methods_exist(self) -> Self:
        for name, method in self.variants.items():
            check_method(method)
            if name in REGISTRY:
                raise ValueError(f"variants: {name!r} is a method already; call it otherwise.")
        for name in self.asked_methods():
            check_method(self.method_of(name))
        check_score(self.choose_by)
        return self

    def method_of(self, name: str) -> str:
        """As above."""
        return self.variants.get(name, name)

    def options_of(self, name: str) -> dict[str, Any]:
        """As above."""
        method = self.method_of(name)
        return self.options.get(method, {}) | self.options.get(name, {})

    def asked_methods(self) -> list[str]:
        """As above."""
        return [*self.used_methods(), *self.options]


class WithMethod(WithMethods):
    """What the notebooks about one transfer share."""

    method: str = Field("socket", description="a registered method")

    def used_methods(self) -> list[str]:
        """The one method."""
        return [self.method]


class ModalityGap(WithMethod):
    """03: one feature space, two modalities; `method` is whose target model is 'after'."""

    notebook = "03_modality_gap"
    points: int = Field(3000, ge=100, le=50_000, description="points in one map at most")
    projection: Literal["umap", "pacmap", "tsne", "pca"] = Field(
        "umap", description="how the map is made; pacmap and tsne need the extra `maps`"
    )
    fast: bool = Field(False, description="UMAP on all cores, which nobody can repeat exactly")
    layers: list[str] = Field([], description="default: stages of the encoder and bottleneck")
    layer_images: int = Field(600, ge=2, description="images that layers are compared on")


class TrainTranslator(WithMethods):
    """04: a network that paints the new camera's images as colour."""

    notebook = "04_train_translator"
    translator: str = Field("translated", description="`translated`, or a variant of it")
    changes: Changes = Field([])

    def used_methods(self) -> list[str]:
        """The one that trains it."""
        return [self.translator]

    @model_validator(mode="after")
    def _trains_one(self) -> Self:
        if self.method_of(self.translator) != "translated":
            raise ValueError(
                f"translator {self.translator!r} trains none. Give 'translated' or a variant of it."
            )
        return self


class TransferParameters(WithMethod):
    """05: adapt the source model to the new modality."""

    notebook = "05_transfer"
    film: int = Field(
        300, ge=0, le=5000, description="pairs of each kind whose features every epoch keeps"
    )
    changes: Changes = Field([])


class Compare(WithMethods):
    """06: every method asked for, on the same data, seeds and backbone."""

    notebook = "06_compare"
    methods: list[str] = Field(
        ["source_only", "socket"], min_length=1, description="what is compared"
    )
    targets: list[DomainName] = Field([], description="default: only `target`")
    protocols: list[str] = Field([], description="default: only `protocol`")
    seeds: list[int] = Field([0], min_length=1, description="a repetition for each")

    def used_methods(self) -> list[str]:
        """All that are compared."""
        return list(self.methods)

    @model_validator(mode="after")
    def _lists_exist(self) -> Self:
        manifest = self.manifest
        for target in self.targets:
            check_encoding(self.encoding, target, manifest.domain(target))
        for protocol in self.protocols:
            manifest.protocol(protocol)
        return self


NOTEBOOKS: dict[str, type[RunParameters]] = {
    model.notebook: model
    for model in (
        PrepareData,
        TrainSource,
        ModalityGap,
        TrainTranslator,
        TransferParameters,
        Compare,
        TwoEncoders,
    )
}


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


def validate(notebook: str, values: Mapping[str, Any]) -> RunParameters:
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


def from_notebook(notebook: str, namespace: Mapping[str, Any]) -> RunParameters:
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


def _sentence(model: type[RunParameters], found: dict[str, Any]) -> str:
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

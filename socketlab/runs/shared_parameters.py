"""The parameters that all notebooks share, and those of one experiment; loads no torch."""

from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator

from socketlab.data import Manifest
from socketlab.data.encoding_names import Encoding, check_encoding
from socketlab.data.overlaps import check_overlap
from socketlab.models.names import check_backbone
from socketlab.models.own_model_spec import OwnModel, read_own_model
from socketlab.runs.places import at_home, manifest_of

Name = Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]*$")]
DomainName = str


class RunParameters(BaseModel):
    """What every notebook has: its run, its data set, and where both lie."""

    model_config = ConfigDict(extra="forbid", frozen=True)
    notebook: ClassVar[str]

    run: Name = Field("first", description="name of the run; its folder is runs_dir/run")
    data: str = Field("scenes", description="name of a manifest, or the path of one")
    root: str | None = Field(None, description="folder of the raw images, if not where looked for")
    scenes_seed: int | None = Field(None, ge=0, description="another rendering of `scenes`")
    seed: int = Field(
        0, ge=0, description="what all random numbers begin with; another is another repetition"
    )
    device: Literal["auto", "cpu", "cuda", "mps"] = Field(
        "auto", description="auto takes a GPU where there is one"
    )
    dtype: Literal["auto", "float32", "bfloat16"] = Field(
        "auto", description="auto takes bfloat16 where the device is made for it"
    )
    compile: Literal["auto", "off", "default", "graphs"] = Field(
        "auto", description="networks while they train; auto compiles them on a GPU"
    )
    devices: Annotated[int, Field(ge=1)] | Literal["auto"] = Field(
        1, description="how many of them one training shares; auto: all GPUs"
    )
    deterministic: bool = Field(
        False, description="only algorithms that give the same numbers every time; slower on a GPU"
    )
    tensorboard: bool = Field(
        False, description="also write the curves for TensorBoard; needs the extra `tensorboard`"
    )
    shared: str | None = Field(
        None, description="folder of finished stages that several runs share; a sweep sets it"
    )
    data_dir: str = Field("data", description="where prepared images are kept")
    runs_dir: str = Field("runs", description="where runs are kept")

    @property
    def manifest(self) -> Manifest:
        """What the data set says of itself, with the rendering that was asked for."""
        return manifest_of(self.data, self.scenes_seed)

    @property
    def contents(self) -> tuple[str, ...]:
        """Digests of the files that are named: with another content it is other work."""
        return (self.manifest.digest(),)

    @property
    def folder(self) -> Path:
        """The run's folder."""
        return at_home(self.runs_dir) / self.run


class Parameters(RunParameters):
    """What every notebook of one experiment shares."""

    size: int = Field(64, ge=8, le=1024, description="prepared size in pixels")
    crop: int | None = Field(None, ge=8, description="input of the network; default 7/8 of size")
    protocol: str = Field("held_out", description="what is adapted on and scored on")
    source: DomainName = Field("a/rgb", description="domain that the source model is trained on")
    sources: list[DomainName] = Field([], description="several of them; default: only `source`")
    target: DomainName = Field("a/depth", description="domain to move to")
    encoding: Encoding = Field("replicate", description="how depth or nir is shown to the network")
    backbone: str = Field(
        "resnet_small", description="network of the encoder; also every name of timm"
    )
    weights: str = Field("none", description="none, imagenet, or a safetensors file")
    source_model: str | None = Field(
        None, description="file that describes an own source model; then none is trained"
    )
    source_options: dict[str, Any] = Field({}, description="of the source model's training")
    options_by_source: dict[DomainName, dict[str, Any]] = Field(
        {}, description="what differs for one source domain, e.g. its backbone"
    )

    @model_validator(mode="after")
    def _names_exist(self) -> Self:
        manifest = self.manifest
        pairs = self.pair_manifest(self.protocol)
        if pairs is not None:
            check_overlap(manifest, pairs)
        check_encoding(self.encoding, self.target, manifest.domain(self.target))
        for source in self.source_domains:
            elsewhere = pairs is not None and source not in manifest.domains
            if pairs is not None and elsewhere and self.source_model is None:
                raise ValueError(
                    f"source {source!r} is no domain of data set {manifest.name!r}, so nothing can "
                    "be trained on it. Give source_model, or another source. "
                    f"Known: {', '.join(manifest.domains)}."
                )
            camera = (pairs if pairs is not None and elsewhere else manifest).domain(source)
            if camera.modality != "rgb":
                known = [n for n, d in manifest.domains.items() if d.modality == "rgb"]
                raise ValueError(f"source {source!r} is not rgb. Known: {', '.join(known)}.")
            if source == self.target:
                raise ValueError(f"source and target are both {source!r}; name two domains.")
        for source in self.options_by_source:
            if source not in self.source_domains:
                sources = ", ".join(self.source_domains)
                raise ValueError(f"options_by_source: {source!r} is no source. Sources: {sources}.")
        if len(set(self.sources)) < len(self.sources):
            raise ValueError(f"sources {self.sources} names a domain twice.")
        if self.crop is not None and self.crop > self.size:
            raise ValueError(f"crop {self.crop} is larger than size {self.size}.")
        check_backbone(self.backbone)
        self._check_own_model()
        return self

    def _check_own_model(self) -> None:
        own = self.own_model
        if own is None:
            return
        if len(self.source_domains) > 1:
            raise ValueError(
                f"source_model is one model, and sources are {list(self.source_domains)}. Name one "
                "`source`, or leave source_model out."
            )
        own.rows(self.manifest.protocol(self.protocol).task_relevant)
        if own.trained_on is not None:
            check_overlap(self.manifest, own.trained_on)

    @property
    def own_model(self) -> OwnModel | None:
        """What the file `source_model` says; None where a source model is trained."""
        return None if self.source_model is None else read_own_model(at_home(self.source_model))

    @property
    def contents(self) -> tuple[str, ...]:
        """Those of the manifest, of an own model, and of the data set that pairs come from."""
        pairs, own = self.pair_manifest(self.protocol), self.own_model
        found = [pairs.digest()] if pairs is not None else []
        return (*super().contents, *found, *([own.fingerprint()] if own is not None else []))

    def pair_manifest(self, protocol: str) -> Manifest | None:
        """The data set that a protocol takes its TI pairs from; None where it is its own."""
        name = self.manifest.protocol(protocol).pairs_from
        return None if name is None else manifest_of(name)

    @property
    def source_domains(self) -> tuple[str, ...]:
        """The domains that source models are trained on, one model each."""
        return tuple(self.sources) or (self.source,)

    def used_methods(self) -> list[str]:
        """The methods that will be run, variants among them."""
        return []

    def asked_methods(self) -> list[str]:
        """Those, and all that have options."""
        return self.used_methods()

    def method_of(self, name: str) -> str:
        """The registered method of a name, which may be a variant's."""
        return name

    def options_of(self, name: str) -> dict[str, Any]:
        """The options of a method, or of a variant: its method's and on top its own."""
        return {}

    @property
    def crop_pixels(self) -> int:
        """The crop asked for, or 7/8 of the prepared size, as 224 is of 256."""
        return self.crop if self.crop is not None else self.size * 7 // 8

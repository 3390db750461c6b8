"""What a manifest says of its files: one model per layout. Imports no torch."""

from __future__ import annotations

from typing import Annotated, Literal, Self

from pydantic import ConfigDict, Field, field_validator, model_validator

from socketlab.data.domain_schema import Frozen

PLACES = ("{class}", "{set}", "{id}")


class ScenesLayout(Frozen):
    """Rendered scenes: nothing to download. `counts` holds images per class, by role and split."""

    kind: Literal["scenes"]
    seed: int
    size: Annotated[int, Field(gt=0)]
    counts: dict[
        Literal["task_relevant", "task_irrelevant"], dict[str, Annotated[int, Field(ge=0)]]
    ]


class FolderPart(Frozen):
    """Files of one kind: pairs in a folder per class, unlabelled images of one modality, ...

    Attributes:
        folder: where the patterns start: below the data set's root, or anywhere (absolute, ~).
        patterns: per domain, a file's path in the folder. `{id}` stands once for what differs from
            image to image, `{class}` for a folder named as a class, `{set}` for a folder that is
            part of the id; none of them holds a `/`. Files of one sensor that agree in all three
            are partners.
        class_name: the class of all files, where no pattern holds `{class}` (in YAML: `class`);
            `unlabelled` where nobody has named them.
        split: the split of all files, where there is no table.
        table: a CSV file in the folder with columns id, class and split.
        test_share: where above 0, this share of each class is the split `test` and the rest is
            `train`: a fixed draw by the ids (`splitting.drawn_splits`).
        partners: whether every file must have one in each other domain of its sensor here.
    """

    model_config = ConfigDict(extra="forbid", frozen=True, populate_by_name=True)

    folder: str = "."
    patterns: Annotated[dict[str, str], Field(min_length=1)]
    class_name: str | None = Field(None, alias="class")
    split: str = "all"
    table: str | None = None
    test_share: Annotated[float, Field(ge=0, lt=1)] = 0.0
    partners: Literal["required", "optional"] = "required"

    @field_validator("patterns")
    @classmethod
    def _one_id_each(cls, patterns: dict[str, str]) -> dict[str, str]:
        for domain, pattern in patterns.items():
            if pattern.count("{id}") != 1:
                raise ValueError(f"pattern {pattern!r} of {domain} must hold {{id}} exactly once")
            for place in ("{class}", "{set}"):
                if pattern.count(place) > 1:
                    raise ValueError(f"pattern {pattern!r} of {domain} holds {place} twice")
        return patterns

    @model_validator(mode="after")
    def _class_from_one_place(self) -> Self:
        for domain, pattern in self.patterns.items():
            if ("{class}" in pattern) == (self.class_name is not None):
                raise ValueError(
                    f"pattern {pattern!r} of {domain}: say the class once, as {{class}} in the "
                    "pattern or as class beside it"
                )
        return self

    @model_validator(mode="after")
    def _split_from_one_place(self) -> Self:
        if self.test_share > 0 and (self.table is not None or self.split != "all"):
            other = "table" if self.table is not None else "split"
            raise ValueError(f"test_share and {other} both say the split; keep one of them")
        return self

    @property
    def splits(self) -> tuple[str, ...]:
        """The splits of this part's files, without those that only a table names."""
        if self.table is not None and self.class_name is None:
            return ()
        return ("test", "train") if self.test_share > 0 else (self.split,)


class PairedFoldersLayout(Frozen):
    """Image files in folders: a data set of one's own, or any other that is laid out so."""

    kind: Literal["paired_folders"]
    size: Annotated[int, Field(gt=0)]
    parts: Annotated[tuple[FolderPart, ...], Field(min_length=1)]


class SunRgbdLayout(Frozen):
    """The folder SUNRGBD of the official archive.

    `depth`: with holes as recorded, or filled by the authors (bfx). `test_share`: about how much
    of each sensor is the split `test`; whole recordings, so that no room is in both.
    """

    kind: Literal["sunrgbd"]
    size: Annotated[int, Field(gt=0)]
    depth: Literal["depth", "depth_bfx"] = "depth_bfx"
    test_share: Annotated[float, Field(ge=0, lt=1)] = 0.3


class NyuDepthLayout(Frozen):
    """nyu_depth_v2_labeled.mat and splits.mat; `depth`: filled, or as recorded with holes."""

    kind: Literal["nyu_depth_v2"]
    size: Annotated[int, Field(gt=0)]
    depth: Literal["depths", "rawDepths"] = "depths"


Layout = Annotated[
    ScenesLayout | PairedFoldersLayout | SunRgbdLayout | NyuDepthLayout,
    Field(discriminator="kind"),
]

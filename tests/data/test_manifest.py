from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

from socketlab.data.manifest import (
    Manifest,
    ManifestError,
    UnknownName,
    describe,
    known_manifests,
    load_manifest,
)


def total(manifest: Manifest, domain: str, classes: tuple[str, ...], splits: set[str]) -> int:
    return sum(
        row.images
        for row in describe(manifest)
        if row.domain == domain and row.class_name in classes and row.split in splits
    )


def test_nyu_manifest_has_the_published_split() -> None:
    manifest = load_manifest("nyuv2_scenes_224")
    relevant, irrelevant = manifest.classes.task_relevant, manifest.classes.task_irrelevant
    for domain in ("kv1/rgb", "kv1/depth"):
        assert total(manifest, domain, manifest.class_names, {"train"}) == 795
        assert total(manifest, domain, manifest.class_names, {"test"}) == 654
        assert total(manifest, domain, relevant, {"train"}) == 590
        assert total(manifest, domain, relevant, {"test"}) == 555
        assert total(manifest, domain, irrelevant, {"train", "test"}) == 304
    assert len(relevant) == 6 and len(irrelevant) == 21


def test_protocols_select_what_their_names_say() -> None:
    for name in ("nyuv2_scenes_224", "scenes"):
        manifest = load_manifest(name)
        held_out, transductive = manifest.protocol("held_out"), manifest.protocol("transductive")
        assert not set(held_out.adapt_splits) & set(held_out.score_splits)
        assert transductive.adapt_splits == transductive.score_splits
        assert held_out.task_relevant == manifest.classes.task_relevant
        assert total(
            manifest,
            next(iter(manifest.domains)),
            held_out.task_irrelevant,
            set(held_out.pair_splits),
        )


def test_scenes_manifest_is_what_the_renderer_draws() -> None:
    from socketlab.data.rendering import scenes

    manifest = load_manifest("scenes")
    assert set(manifest.classes.task_relevant) == set(scenes.TASK_RELEVANT)
    assert set(manifest.classes.task_irrelevant) == set(scenes.TASK_IRRELEVANT)
    assert set(manifest.sensors) == set(scenes.SENSORS)
    assert {row.images for row in describe(manifest) if row.role == "task_irrelevant"} == {200}
    assert {
        (row.split, row.images) for row in describe(manifest) if row.role == "task_relevant"
    } == {("train", 250), ("test", 100)}


def test_manifests_load_without_torch() -> None:
    code = (
        "import sys; from socketlab.data import load_manifest, describe;"
        "describe(load_manifest('scenes')); sys.exit('torch' in sys.modules)"
    )
    project = Path(__file__).resolve().parents[2]
    assert subprocess.run([sys.executable, "-c", code], cwd=project, check=False).returncode == 0


def test_unknown_name_lists_the_known_ones() -> None:
    assert {"scenes", "nyuv2_scenes_224"} <= set(known_manifests())
    with pytest.raises(UnknownName, match=r"Unknown data set 'scense'.*scenes.*Did you mean"):
        load_manifest("scense")


def test_working_folder_comes_first(
    small: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "data_manifests"
    folder.mkdir()
    (folder / "small.yaml").write_text(yaml.safe_dump(small.raw))
    (folder / "other.yaml").write_text(yaml.safe_dump(small.raw))
    monkeypatch.chdir(tmp_path)
    assert load_manifest("small").title == "Small"
    assert {"small", "other", "scenes"} <= set(known_manifests())
    with pytest.raises(ManifestError, match=r"other\.yaml: name: found 'small'"):
        load_manifest("other")


def put(raw: Any, key: str, value: Any) -> None:
    *path, last = key.split(".")
    for part in path:
        raw = raw[int(part) if isinstance(raw, list) else part]
    raw[last] = value


PART, SAYS_PART = "layout.parts.0.", r"layout\.paired_folders\.parts\.0"
ARCHIVE = {"url": "https://example.org/a.zip", "filename": "a.zip", "checksum": "md5:12"}


@pytest.mark.parametrize(
    ("key", "value", "message"),
    [
        ("domains.cam/depth.modality", "deph", r"domains\.cam/depth\.modality: .*'rgb', 'depth'"),
        ("domains.cam/depth.bits", 12, r"domains\.cam/depth\.bits: .*8 or 16 \(found 12\)"),
        ("domains.cam/depth.metres", 1, r"domains\.cam/depth\.metres: Extra inputs"),
        ("domains.cam/depth.range", [8, 0.5], r"domains\.cam/depth: range \[8\.0, 0\.5\]"),
        ("domains.cam/depth.unit", "feet", r"domains\.cam/depth: unit 'feet'.*'metre'"),
        ("domains.cam/rgb.bits", 16, r"domains\.cam/rgb: rgb domains hold 8 bits"),
        ("domains.cam/rgb.invalid", 0, r"domains\.cam/rgb: rgb domains have no invalid"),
        ("layout.kind", "folders", r"layout: .*'scenes', 'paired_folders'"),
        (PART + "patterns.cam/rgb", "{class}/a.png", SAYS_PART + r"\.patterns: .*\{id\} exactly"),
        (PART + "patterns.cam/rgb", "{set}/{set}/{id}", SAYS_PART + r"\.patterns: .*\{set\} twice"),
        (PART + "patterns.cam/rgb", "{id}.png", SAYS_PART + r": .*say the class once"),
        (PART + "class", "bed", SAYS_PART + r": .*say the class once"),
        (PART + "test_share", 0.5, SAYS_PART + r": test_share and table both say the split"),
        (
            PART + "patterns.cam/nir",
            "{class}/{id}",
            r"layout\.parts\.patterns and domains.*cam/nir",
        ),
        ("name", "Not a name", r"name: String should match.*found 'Not a name'"),
        ("titel", "x", r"titel: Extra inputs are not permitted \(found 'x'\)"),
        ("archives", [ARCHIVE], r"archives\.0\.checksum: .*found 'md5:12'"),
        ("classes.task_relevant", ["bed", "bed"], r"classes: a class is listed twice"),
        (
            "protocols.held_out.adapt_splits",
            ["trian"],
            r"protocols\.held_out\.adapt_splits: Unknown split 'trian'",
        ),
        (
            "protocols.held_out.task_relevant",
            ["cot"],
            r"protocols\.held_out\.task_relevant: Unknown class",
        ),
        (
            "protocols.held_out.task_irrelevant",
            ["bed"],
            r"protocols\.held_out: both task relevant and irrelevant",
        ),
        ("expected.cam/nir", {}, r"expected and domains must name the same.*cam/nir"),
        ("expected.cam/rgb", {"cot": {"train": 1}}, r"expected\.cam/rgb: Unknown class 'cot'"),
        ("expected.cam/rgb.bed.train", -1, r"expected\.cam/rgb\.bed\.train: .*found -1"),
    ],
)
def test_schema_errors_name_file_and_key(small: Any, key: str, value: Any, message: str) -> None:
    put(small.raw, key, value)
    with pytest.raises(ManifestError, match=r"small\.yaml: " + message):
        _ = small.manifest


def test_a_missing_key_and_a_wrong_domain_name(small: Any) -> None:
    domain = small.raw["domains"].pop("cam/depth")
    small.raw["domains"]["depth"] = domain
    with pytest.raises(ManifestError, match=r"small\.yaml: domains: 'depth' must be named"):
        _ = small.manifest
    del small.raw["layout"], small.raw["classes"]
    with pytest.raises(ManifestError) as caught:
        _ = small.manifest
    assert "small.yaml: layout: Field required" in str(caught.value)
    assert "small.yaml: classes: Field required" in str(caught.value)


def test_every_shipped_manifest_says_where_it_comes_from() -> None:
    for name in known_manifests():
        manifest = load_manifest(name)
        for key in ("title", "citation", "licence", "terms", "homepage"):
            assert getattr(manifest, key) != "not stated", f"{name}: {key}"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("name: a\nname: b\n", r"x\.yaml: not readable as YAML: (?s:.)*'name' is written twice"),
        ("name: [a\n", r"x\.yaml: not readable as YAML"),
        ("- a\n", r"x\.yaml: Input should be .*dictionary"),
    ],
)
def test_files_that_are_no_manifest(tmp_path: Path, text: str, message: str) -> None:
    path = tmp_path / "x.yaml"
    path.write_text(text)
    with pytest.raises(ManifestError, match=message):
        load_manifest(path)


def test_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(ManifestError, match=r"gone\.yaml: no such file"):
        load_manifest(str(tmp_path / "gone.yaml"))


def test_protocols_inherit_the_classes_unless_they_say_otherwise(small: Any) -> None:
    small.raw["protocols"]["held_out"]["task_relevant"] = ["bed"]
    manifest = small.manifest
    assert manifest.protocol("held_out").task_relevant == ("bed",)
    assert manifest.protocol("held_out").task_irrelevant == ("gate",)
    assert manifest.protocol("without_pairs").task_relevant == ("sofa", "bed")
    with pytest.raises(UnknownName, match=r"protocol of data set 'small' 'heldout'.*held_out"):
        manifest.protocol("heldout")
    with pytest.raises(UnknownName, match=r"domain of data set 'small' 'cam/nir'.*cam/depth"):
        manifest.domain("cam/nir")


def test_digest_follows_the_content(small: Any) -> None:
    before = small.manifest.digest()
    assert small.manifest.digest() == before
    small.raw["domains"]["cam/depth"]["range"] = [0.5, 9.0]
    assert small.manifest.digest() != before


def test_describe_has_a_row_per_domain_class_and_split(
    scenes_manifest: Callable[..., Manifest],
) -> None:
    rows = describe(scenes_manifest())
    assert len(rows) == 6 * (2 + 2 + 1)
    assert [(row.class_name, row.role, row.split, row.images) for row in rows[:5]] == [
        ("mug", "task_relevant", "test", 1),
        ("mug", "task_relevant", "train", 2),
        ("chair", "task_relevant", "test", 1),
        ("chair", "task_relevant", "train", 2),
        ("ball", "task_irrelevant", "train", 2),
    ]

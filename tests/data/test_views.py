from __future__ import annotations

import shutil
from collections.abc import Callable
from dataclasses import fields, is_dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from socketlab.data.manifest import Manifest, UnknownName
from socketlab.data.opening import open_views
from socketlab.data.schema import UNLABELLED
from socketlab.data.store import Store, prepare
from socketlab.data.views import (
    Evaluation,
    ImagePairs,
    Images,
    TargetImages,
    Views,
)


@pytest.fixture
def store(small: Any) -> Store:
    return prepare(small.manifest, root=small.root, size=6, data_dir=small.data_dir)


def views(store: Store, protocol: str = "held_out") -> Views:
    return open_views(store, protocol=protocol, source="cam/rgb", target="cam/depth")


def classes_of(store: Store, images: Images) -> list[str]:
    return list(store.samples.set_index("id").loc[list(images.ids), "class"])


def test_each_view_holds_its_split_and_its_domain(store: Store) -> None:
    opened = views(store)
    assert opened.source.images.ids == ("cam/rgb/00", "cam/rgb/01", "cam/rgb/03")
    assert opened.source_evaluation.images.ids == ("cam/rgb/02", "cam/rgb/04")
    assert opened.target.images.ids == ("cam/depth/00", "cam/depth/01", "cam/depth/03")
    assert opened.evaluation.images.ids == ("cam/depth/02", "cam/depth/04")
    assert opened.target_labels.images.ids == opened.target.images.ids
    assert opened.source.domain == "cam/rgb" and opened.evaluation.domain == "cam/depth"
    assert opened.target.images.format.modality == "depth"
    for part in (opened.source, opened.target, opened.evaluation):
        rows = store.samples.set_index("id").loc[list(part.images.ids), "row"].to_numpy()
        expected = np.asarray(store.array(part.domain))[rows]
        np.testing.assert_array_equal(part.images.raw.numpy(), expected)


def test_labels_index_the_protocols_classes(store: Store) -> None:
    opened = views(store)
    assert opened.source.classes == ("sofa", "bed")
    parts = (
        opened.source,
        opened.source_evaluation,
        opened.evaluation,
        opened.target_labels,
    )
    for part in parts:
        assert part.labels.dtype == torch.int64
        named = [part.classes[label] for label in part.labels.tolist()]
        assert named == classes_of(store, part.images)
    assert opened.source.labels.tolist() == [1, 1, 0]


def test_pairs_are_partners(store: Store) -> None:
    opened = views(store)
    assert opened.pairs is not None and opened.evaluation_pairs is not None
    assert opened.pairs.pair_ids == ("cam/05", "cam/06")  # both splits of the class gate
    assert opened.evaluation_pairs.pair_ids == ("cam/02", "cam/04")
    for pairs in (opened.pairs, opened.evaluation_pairs):
        by_id = store.samples.set_index("id")["pair_id"]
        assert tuple(by_id.loc[list(pairs.source.ids)]) == pairs.pair_ids
        assert tuple(by_id.loc[list(pairs.target.ids)]) == pairs.pair_ids
        assert len(pairs) == len(pairs.source) == len(pairs.target) == 2


def test_unlabelled_types_cannot_show_a_label(store: Store) -> None:
    opened = views(store)
    labels = {"labels", "classes", "class", "class_name", "class_names", "samples"}
    for view in (TargetImages, ImagePairs, Images):
        assert is_dataclass(view)
        assert not labels & {field.name for field in fields(view)}
        assert not labels & set(dir(view))
    assert "labels" in {field.name for field in fields(Evaluation)}  # the check can fail
    shown = [*opened.target.images.ids]
    assert opened.pairs is not None
    shown += [*opened.pairs.pair_ids, *opened.pairs.source.ids, *opened.pairs.target.ids]
    for text in shown:
        assert not any(name in text for name in store.manifest.class_names)
    with pytest.raises(AttributeError):
        opened.target.labels = torch.zeros(3)  # type: ignore[attr-defined]


def test_target_view_does_not_depend_on_target_labels(small: Any, tmp_path: Path) -> None:
    def target(data_dir: Path) -> TargetImages:
        store = prepare(small.manifest, root=small.root, size=6, data_dir=data_dir)
        return views(store).target

    before = target(tmp_path / "before")
    # 00 (bed, train) and 03 (sofa, train) change their classes
    for modality in ("rgb", "depth"):
        small.file(f"bed/00_{modality}.png").rename(small.file(f"sofa/00_{modality}.png"))
        small.file(f"sofa/03_{modality}.png").rename(small.file(f"bed/03_{modality}.png"))
    lines = small.table()
    swapped = {"00,bed,train": "00,sofa,train", "03,sofa,train": "03,bed,train"}
    small.write_table([swapped.get(line, line) for line in lines])
    after = target(tmp_path / "after")
    assert before.images.ids == after.images.ids
    assert torch.equal(before.images.raw.to(torch.int32), after.images.raw.to(torch.int32))


def test_no_pairs_is_none(store: Store) -> None:
    opened = views(store, "without_pairs")
    assert opened.pairs is None
    assert opened.target.images.ids == opened.evaluation.images.ids  # transductive


def test_unknown_names_and_impossible_choices(store: Store) -> None:
    with pytest.raises(UnknownName, match=r"protocol of data set 'small' 'heldout'.*held_out"):
        views(store, "heldout")
    with pytest.raises(UnknownName, match=r"'cam/nir'.*cam/depth, cam/rgb"):
        open_views(store, protocol="held_out", source="cam/rgb", target="cam/nir")
    with pytest.raises(ValueError, match=r"Source and target are both 'cam/rgb'"):
        open_views(store, protocol="held_out", source="cam/rgb", target="cam/rgb")


def test_an_empty_view_names_protocol_domain_and_splits(store: Store) -> None:
    protocol = store.manifest.protocol("held_out").model_copy(
        update={"task_relevant": ("gate",), "score_splits": ("none",)}
    )
    manifest = store.manifest.model_copy(update={"protocols": {"empty": protocol}})
    broken = Store(manifest, store.folder, store.size, store.samples)
    with pytest.raises(ValueError, match=r"'empty' of data set 'small' selects no image of cam/"):
        views(broken, "empty")


def test_images_know_their_length_and_move(store: Store) -> None:
    images = views(store).target.images
    assert len(images) == 3
    moved = images.to("meta")
    assert moved.raw.device.type == "meta" and moved.ids == images.ids
    with pytest.raises(ValueError, match=r"3 images but 1 ids"):
        Images(images.raw, images.format, ("one",))


def test_pairs_across_sensors(scenes_manifest: Callable[..., Manifest], tmp_path: Path) -> None:
    manifest = scenes_manifest()
    store = prepare(manifest, root=None, size=8, data_dir=tmp_path)
    opened = open_views(store, protocol="held_out", source="a/rgb", target="b/depth")
    assert opened.pairs is not None
    assert {name.split("/")[0] for name in opened.pairs.pair_ids} == {"b"}
    assert len(opened.pairs) == 2
    rules = manifest.protocol("held_out").model_copy(update={"pair_sensors": "all"})
    changed = manifest.model_copy(update={"protocols": {"held_out": rules}})
    every = Store(changed, store.folder, store.size, store.samples)
    wide = open_views(every, protocol="held_out", source="a/rgb", target="b/depth")
    assert wide.pairs is not None and len(wide.pairs) == 4
    assert set(opened.pairs.pair_ids) < set(wide.pairs.pair_ids)
    by_id = store.samples.set_index("id")["pair_id"]
    for half in (wide.pairs.source, wide.pairs.target):
        assert tuple(by_id.loc[list(half.ids)]) == wide.pairs.pair_ids


def test_labelled_images_by_row_and_by_id_keep_their_labels(store: Store) -> None:
    whole = views(store).evaluation
    part = whole.rows(torch.tensor([1, 0]))
    assert type(part) is Evaluation
    assert part.images.ids == (whole.images.ids[1], whole.images.ids[0])
    assert part.labels.tolist() == whole.labels[[1, 0]].tolist()
    assert torch.equal(part.images.raw[1], whole.images.raw[0])
    known = store.samples.set_index("id")["class"]
    ids = whole.images.ids[::-1]
    assert whole.names_of(ids) == known[list(ids)].tolist()
    assert whole.by_id() == {n: whole.classes.index(known[n]) for n in whole.images.ids}


def renamed(store: Store, ids: list[str], name: str) -> Store:
    """The same images, of which some are of another class."""
    samples = store.samples.copy()
    samples.loc[samples["id"].isin(ids), "class"] = name
    return Store(store.manifest, store.folder, store.size, samples)


def test_unlabelled_images_are_adapted_on_and_never_scored(store: Store) -> None:
    some = renamed(store, ["cam/depth/00", "cam/depth/02"], UNLABELLED)
    opened = views(some)
    assert opened.target.images.ids == ("cam/depth/00", "cam/depth/01", "cam/depth/03")
    assert opened.evaluation.images.ids == ("cam/depth/04",)
    assert opened.target_labels.images.ids == ("cam/depth/01", "cam/depth/03")
    assert opened.source.images.ids == views(store).source.images.ids


def test_without_a_labelled_target_image_nothing_is_scored(store: Store) -> None:
    ids = [f"cam/depth/{number:02}" for number in range(5)]
    opened = views(renamed(store, ids, UNLABELLED))
    assert opened.target.images.ids == ("cam/depth/00", "cam/depth/01", "cam/depth/03")
    for part in (opened.evaluation, opened.target_labels):
        assert type(part) is Evaluation and part.classes == ("sofa", "bed")
        assert part.images.raw.shape == (0, 6, 6) and part.images.raw.dtype == torch.uint16
        assert part.labels.shape == (0,) and part.labels.dtype == torch.int64
    assert opened.target_pairs is None and opened.evaluation_pairs is None
    # images of another split cannot make up for those that are missing
    with pytest.raises(ValueError, match=r"selects no image of cam/depth \(splits test\)"):
        views(renamed(store, ["cam/depth/02", "cam/depth/04"], UNLABELLED))


def test_a_missing_source_is_an_error_only_when_it_is_asked_for(store: Store) -> None:
    ids = [f"cam/rgb/{number:02}" for number in range(5)]
    opened = views(renamed(store, ids, UNLABELLED))
    assert len(opened.target.images) == 3 and opened.pairs is not None
    assert opened.source_evaluation.images.raw.shape == (0, 6, 6, 3)
    with pytest.raises(ValueError, match=r"selects no image of cam/rgb \(splits train\)"):
        _ = opened.source


@pytest.fixture
def elsewhere(store: Store) -> Store:
    """The images of `store` as another data set, by a camera of another range and name."""
    manifest = store.manifest
    domains = {
        name.replace("cam", "other"): domain.model_copy(
            update={"range": (0.1, 4.0)} if domain.modality == "depth" else {}
        )
        for name, domain in manifest.domains.items()
    }
    samples = store.samples.replace({"cam/": "other/"}, regex=True)
    other = manifest.model_copy(update={"name": "other", "domains": domains})
    folder = store.folder.parent / "other"
    folder.mkdir()
    for modality in ("rgb", "depth"):
        shutil.copy(store.folder / f"cam_{modality}.npy", folder / f"other_{modality}.npy")
    return Store(other, folder, store.size, samples)


def with_pairs_from(store: Store, name: str | None) -> Store:
    rules = store.manifest.protocol("held_out").model_copy(update={"pairs_from": name})
    manifest = store.manifest.model_copy(update={"protocols": {"held_out": rules}})
    return Store(manifest, store.folder, store.size, store.samples)


def test_pairs_of_another_data_set_keep_their_own_range(store: Store, elsewhere: Store) -> None:
    given: dict[str, Any] = {"protocol": "held_out", "target": "cam/depth"}
    here = with_pairs_from(store, "other")
    opened = open_views(here, source="cam/rgb", pair_store=elsewhere, **given)
    assert opened.pairs is not None
    assert opened.pairs.pair_ids == ("other/05", "other/06")  # both splits of its class gate
    assert opened.pairs.target.format.high == 4000.0
    assert opened.target.images.format.high == 8000.0
    own = views(store).pairs
    assert own is not None and torch.equal(opened.pairs.source.raw, own.source.raw)
    # a source that only the pairs have is good for a model that was brought
    brought = open_views(here, source="other/rgb", pair_store=elsewhere, **given)
    assert brought.pairs is not None and brought.pairs.pair_ids == opened.pairs.pair_ids
    assert brought.source_evaluation.images.raw.shape == (0, 6, 6, 3)
    with pytest.raises(ValueError, match=r"selects no image of other/rgb"):
        _ = brought.source


def test_what_does_not_fit_the_pairs_of_another_data_set(store: Store, elsewhere: Store) -> None:
    given: dict[str, Any] = {"protocol": "held_out", "source": "cam/rgb", "target": "cam/depth"}
    here = with_pairs_from(store, "other")
    with pytest.raises(ValueError, match=r"TI pairs from 'other', but pair_store holds 'nothing'"):
        open_views(here, **given)
    with pytest.raises(ValueError, match=r"from 'its own data set', but pair_store holds 'other'"):
        open_views(store, pair_store=elsewhere, **given)
    larger = Store(elsewhere.manifest, elsewhere.folder, 12, elsewhere.samples)
    with pytest.raises(ValueError, match=r"'other' are prepared at 12 px, .* 'small' at 6 px"):
        open_views(here, pair_store=larger, **given)
    bare = elsewhere.manifest.classes.model_copy(update={"task_irrelevant": ()})
    manifest = elsewhere.manifest.model_copy(update={"classes": bare})
    without = Store(manifest, elsewhere.folder, elsewhere.size, elsewhere.samples)
    with pytest.raises(ValueError, match=r"'other' \(pairs_from\) has no task-irrelevant pair"):
        _ = open_views(here, pair_store=without, **given).pairs
    shared = elsewhere.manifest.model_copy(update={"overlaps": {"small": "all of them"}})
    same = Store(shared, elsewhere.folder, elsewhere.size, elsewhere.samples)
    with pytest.raises(ValueError, match=r"'small' and 'other' share images"):
        open_views(here, pair_store=same, **given)

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from socketlab.data.layouts.records import PreparationError
from socketlab.data.layouts.scenes import list_samples
from socketlab.data.manifest import Manifest
from socketlab.data.rendering import scenes
from socketlab.data.store import prepare

Build = Callable[..., Manifest]


def test_counts_and_partners(scenes_manifest: Build) -> None:
    samples = list_samples(scenes_manifest(), None)
    assert Counter((s.domain, s.class_name, s.split) for s in samples)["b/nir", "mug", "train"] == 2
    assert len(samples) == 6 * 8 and len({s.id for s in samples}) == len(samples)
    assert set(Counter(s.pair_id for s in samples).values()) == {3}
    for sample in samples:
        assert not any(name in sample.id + sample.pair_id for name in ("mug", "chair", "ball"))


def test_the_store_holds_what_the_renderer_draws(scenes_manifest: Build, tmp_path: Path) -> None:
    heard: list[tuple[int, int]] = []
    store = prepare(
        scenes_manifest(),
        root=None,
        size=8,
        data_dir=tmp_path,
        progress=lambda done, total: heard.append((done, total)),
    )
    assert heard[-1] == (48, 48)
    for sensor in ("a", "b"):
        for class_name in ("ball", "chair"):
            drawn = scenes.render([class_name], [1], sensor=sensor, seed=0, size=8)
            for modality in ("rgb", "depth", "nir"):
                domain, path = f"{sensor}/{modality}", f"{sensor}/{class_name}/1"
                table = store.samples
                rows = table["row"][(table["domain"] == domain) & (table["path"] == path)]
                (stored,) = store.array(domain)[rows.to_numpy()]
                np.testing.assert_array_equal(stored, getattr(drawn, modality)[0])


def test_what_the_renderer_does_not_know_is_listed(scenes_manifest: Build) -> None:
    manifest = scenes_manifest()
    classes = manifest.classes.model_copy(update={"task_relevant": ("mug", "teapot", "chiar")})
    with pytest.raises(PreparationError) as caught:
        list_samples(manifest.model_copy(update={"classes": classes}), None)
    assert len(caught.value.problems) == 2
    assert "Unknown scene class 'teapot'" in caught.value.problems[0]
    assert "Did you mean 'chair'" in caught.value.problems[1]

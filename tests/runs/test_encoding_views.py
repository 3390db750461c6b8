"""The encoding of a run: what is refused at once, what its results depend on, what is shown."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import yaml

from socketlab.data.encoded import encoded_array
from socketlab.data.encoding_names import ENCODINGS
from socketlab.data.modality import to_unit
from socketlab.methods import ThreeChannels
from socketlab.runs.encoding_views import encoding_rows
from socketlab.runs.experiment import Experiment
from socketlab.runs.parameters import ParameterError, validate
from socketlab.runs.pictures import images_for_figures, painted_image
from socketlab.runs.stages import transfer_fingerprint

Values = dict[str, Any]


@pytest.fixture
def values(tiny_scenes: Path, tiny_data: Path, tmp_path: Path) -> Values:
    """Parameters of a run on tiny scenes whose depth camera is known."""
    raw = yaml.safe_load(tiny_scenes.read_text())
    camera = {"fx": 68.6, "fy": 68.6, "cx": 31.5, "cy": 31.5, "width": 64, "height": 64}
    raw["domains"]["a/depth"]["intrinsics"] = camera
    (tmp_path / "scenes.yaml").write_text(yaml.safe_dump(raw))
    return {
        "run": "encodings",
        "data": str(tmp_path / "scenes.yaml"),
        "size": 32,
        "source_options": {"epochs": 1, "batch_size": 8},
        "device": "cpu",
        "dtype": "float32",
        "data_dir": str(tiny_data),
        "runs_dir": str(tmp_path),
    }


@pytest.fixture
def without_camera(values: Values, tmp_path: Path) -> Values:
    """The same where the manifest does not know the camera."""
    raw = yaml.safe_load((tmp_path / "scenes.yaml").read_text())
    del raw["domains"]["a/depth"]["intrinsics"]
    (tmp_path / "blind.yaml").write_text(yaml.safe_dump(raw))
    return values | {"data": str(tmp_path / "blind.yaml")}


def test_what_cannot_be_stops_before_anything_is_loaded(
    values: Values, without_camera: Values
) -> None:
    with pytest.raises(ParameterError, match=r"'a/depth' needs the camera's intrinsics"):
        validate("05_transfer", without_camera | {"encoding": "hha"})
    with pytest.raises(ParameterError, match=r"'a/nir' needs depth"):
        validate("05_transfer", values | {"encoding": "inverse", "target": "a/nir"})
    several = {"encoding": "hha", "targets": ["a/depth", "a/nir"]}
    with pytest.raises(ParameterError, match=r"'a/nir' needs depth"):
        validate("06_compare", values | several)
    with pytest.raises(ParameterError, match=r"encoding = 'hah'"):
        validate("05_transfer", values | {"encoding": "hah"})


@pytest.mark.parametrize("method", ["tgkt", "socket_translated"])
def test_what_paints_is_refused_before_it_trains(values: Values, method: str) -> None:
    given = validate("05_transfer", values | {"encoding": "colormap", "method": method})
    with pytest.raises(ThreeChannels, match=f"'{method}' paints one channel"):
        Experiment(given)  # type: ignore[arg-type]


@pytest.mark.parametrize("encoding", ["colormap", "hha"])
def test_an_experiment_sees_three_channels(values: Values, encoding: str) -> None:
    options = {"socket": {"epochs": 1, "batch_size": 8}}
    given = validate("05_transfer", values | {"encoding": encoding, "options": options})
    experiment = Experiment(given)  # type: ignore[arg-type]
    shapes: set[tuple[int, ...]] = set()

    def watched(_: Any, inputs: tuple[torch.Tensor, ...]) -> None:
        shapes.update(tuple(tensor.shape[1:]) for tensor in inputs[:1])

    hook = torch.nn.modules.module.register_module_forward_pre_hook(watched)
    try:
        for steps in (experiment.train_source(), experiment.transfer(experiment.trip())):
            for _ in steps:
                pass
    finally:
        hook.remove()
    assert (3, 28, 28) in shapes and (1, 28, 28) not in shapes
    rows = {row.method for row in experiment.run.read().results}
    assert {"source_only", "socket"} <= rows


def test_a_camera_decides_only_what_is_made_of_it(values: Values, without_camera: Values) -> None:
    def fingerprint(given: Values) -> str:
        checked = validate("05_transfer", given)
        assert checked.notebook == "05_transfer"
        experiment = Experiment(checked)  # type: ignore[arg-type]
        return transfer_fingerprint(experiment.parameters, experiment.trip(), [("a", "b")])

    assert fingerprint(values) == fingerprint(without_camera)
    found = {fingerprint(values | {"encoding": encoding}) for encoding in ENCODINGS}
    assert len(found) == len(ENCODINGS)
    path = Path(values["data"])
    before = fingerprint(values | {"encoding": "hha"})
    path.write_text(path.read_text().replace("fx: 68.6", "fx: 70.6"))
    assert fingerprint(values | {"encoding": "hha"}) != before


def test_making_hha_is_announced_once(values: Values, capsys: pytest.CaptureFixture[str]) -> None:
    raw = yaml.safe_load(Path(values["data"]).read_text())
    raw["domains"]["a/depth"]["intrinsics"]["cx"] = 30.25  # nobody else's array
    Path(values["data"]).write_text(yaml.safe_dump(raw))
    given = validate("05_transfer", values | {"encoding": "hha"})
    for expected in (1, 0):
        views = Experiment(given).views()  # type: ignore[arg-type]
        assert views.target.images.format.made == "hha"
        assert capsys.readouterr().out.count("Making hha of") == expected


def test_figures_show_the_bytes_of_hha(values: Values) -> None:
    given = validate("05_transfer", values | {"encoding": "hha"})
    images = Experiment(given).views().target.images  # type: ignore[arg-type]
    (shown,) = images_for_figures(images, [3])
    np.testing.assert_array_equal(shown, images.raw[3])
    np.testing.assert_array_equal(painted_image(images, 3), images.raw[3])


def test_the_rows_of_the_figure(values: Values) -> None:
    experiment = Experiment(validate("01_prepare_data", values))  # type: ignore[arg-type]
    rows, titles, notes = encoding_rows(experiment, 3)
    rules = experiment.manifest.protocol("held_out")
    assert titles[0] == rules.task_relevant[0] and len(rows) == len(titles) == 3 and notes == []
    depth = [f"depth {encoding}" for encoding in ENCODINGS]
    assert list(rows[0])[:5] == ["RGB", *depth]
    store = experiment.store
    samples = store.samples[store.samples["domain"] == "a/depth"].sort_values("id")
    first = samples[samples["class"] == titles[0]].iloc[0]
    made = encoded_array(store, "a/depth", "hha")[0][first["row"]]
    np.testing.assert_array_equal(rows[0]["depth hha"], made)
    stored = torch.from_numpy(np.array(store.array("a/depth")[first["row"]])[None])
    fmt = experiment.views().target.images.format
    unit = to_unit(stored, fmt, "inverse")[0, 0]
    np.testing.assert_array_equal(rows[0]["depth inverse"], (unit * 255).round().byte())
    partner = store.samples[
        (store.samples["domain"] == "a/rgb") & (store.samples["pair_id"] == first["pair_id"])
    ].iloc[0]
    np.testing.assert_array_equal(rows[0]["RGB"], store.array("a/rgb")[partner["row"]])


def test_a_note_says_what_is_missing(without_camera: Values) -> None:
    experiment = Experiment(validate("01_prepare_data", without_camera))  # type: ignore[arg-type]
    rows, _, notes = encoding_rows(experiment, 2)
    assert all("depth hha" not in row and "depth colormap" in row for row in rows)
    (note,) = notes
    assert "'a/depth' needs the camera's intrinsics" in note

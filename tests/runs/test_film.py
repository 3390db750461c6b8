"""The film of a transfer: what is kept of every epoch, what a resume does, and who may see it."""

import io
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from socketlab.runs.experiment import Experiment
from socketlab.runs.film_views import film_frames, film_map, film_numbers_frame, film_view
from socketlab.runs.parameters import validate
from socketlab.training.inference import predict
from socketlab.training.steps import Controls, Step

EPOCHS = 2
EACH = 7

Make = Callable[..., Experiment]


@pytest.fixture
def make(tmp_path: Path, tiny_scenes: Path, tiny_data: Path) -> Make:
    """An experiment with a source model, in `tmp_path`."""

    def build(
        method: str = "socket", film: int = EACH, run: str = "tiny", **options: Any
    ) -> Experiment:
        values: dict[str, Any] = {
            "run": run,
            "data": str(tiny_scenes),
            "size": 32,
            "source_options": {"epochs": 1, "batch_size": 8},
            "method": method,
            "options": {method: {"epochs": EPOCHS, "batch_size": 8} | options},
            "device": "cpu",
            "dtype": "float32",
            "data_dir": str(tiny_data),
            "runs_dir": str(tmp_path),
        }
        experiment = Experiment(validate("05_transfer", values | {"film": film}))
        finish(experiment.train_source())
        return experiment

    return build


def finish(steps: Iterator[Step]) -> list[Step]:
    return list(steps)


def test_every_epoch_is_kept_and_the_last_is_the_target_model(make: Make) -> None:
    experiment = make()
    trip = experiment.trip()
    finish(experiment.transfer(trip))
    reel = experiment.film(trip).reel()
    assert reel.epochs == (0, 1, 2)
    views, crop = experiment.views(trip.target, trip.protocol), experiment.parameters.crop_pixels
    target_model = experiment.target_model(trip)
    assert target_model is not None
    for name, pairs in (("TI", views.pairs), ("TR", views.evaluation_pairs)):
        assert pairs is not None
        rows = torch.from_numpy(reel.rows[name])
        assert len(rows) == EACH == len(set(rows.tolist()))
        chosen = pairs.rows(rows)
        source_model = experiment.source_model()
        rgb = predict(source_model, chosen.source, crop, experiment.precision).features
        np.testing.assert_allclose(reel.at(name, 2).rgb, rgb, atol=1e-5)
        for epoch, model in ((0, source_model), (2, target_model)):
            seen = predict(model, chosen.target, crop, experiment.precision).features
            np.testing.assert_allclose(reel.at(name, epoch).other, seen, atol=1e-5)
        assert not np.allclose(reel.other[name][0], reel.other[name][1])


def test_labels_are_those_the_epoch_learnt_from(
    make: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    experiment = make()
    trip = experiment.trip()
    from socketlab.methods.shot import Shot

    used: list[torch.Tensor] = []
    begin = Shot.begin_epoch

    def spied(self: Shot, epoch: int) -> None:
        begin(self, epoch)
        used.append(self.labels.clone())

    monkeypatch.setattr(Shot, "begin_epoch", spied)
    finish(experiment.transfer(trip))
    views = experiment.views(trip.target, trip.protocol)
    truth = dict(
        zip(views.target_labels.images.ids, views.target_labels.labels.tolist(), strict=True)
    )
    history = experiment.film(trip).labels(truth)
    assert history.ids == views.target.images.ids
    assert history.truth is not None
    assert history.truth.tolist() == views.target_labels.labels.tolist()
    # Before training there are none, and the source model's answers stand there.
    np.testing.assert_array_equal(history.pseudo_labels[0], history.answers[0])
    # Not those of the rehearsal that finds out how much memory this needs.
    of_all = [labels for labels in used if len(labels) == len(views.target.images)]
    assert len(of_all) > 1
    for epoch, labels in enumerate(of_all, start=1):
        np.testing.assert_array_equal(history.pseudo_labels[epoch], labels)
    model = experiment.target_model(trip)
    assert model is not None
    crop = experiment.parameters.crop_pixels
    outputs = predict(model, views.target.images, crop, experiment.precision)
    confidence, answers = outputs.probabilities.max(1)
    np.testing.assert_array_equal(history.answers[-1], answers)
    np.testing.assert_allclose(history.confidence[-1], confidence, atol=1e-5)


def test_a_method_without_pseudo_labels_shows_its_answers(make: Make) -> None:
    experiment = make("distillation")
    trip = experiment.trip()
    finish(experiment.transfer(trip))
    history = experiment.film(trip).labels()
    assert history.truth is None
    np.testing.assert_array_equal(history.pseudo_labels, history.answers)


def test_filming_changes_nothing_of_the_training(make: Make) -> None:
    weights = []
    for film in (EACH, 0):
        experiment = make(film=film, run=f"film{film}")
        trip = experiment.trip()
        finish(experiment.transfer(trip))
        model = experiment.target_model(trip)
        assert model is not None
        weights.append(model.state_dict())
        assert bool(experiment.film(trip).epochs) is (film > 0)
    assert all(torch.equal(weights[0][name], weights[1][name]) for name in weights[0])


def test_a_resume_goes_on_with_the_same_sample(make: Make) -> None:
    experiment = make()
    trip = experiment.trip()
    steps = experiment.transfer(trip)
    while next(steps).epoch < 1:
        pass
    next(steps)  # the state of epoch 1 is saved
    steps.close()  # type: ignore[attr-defined]
    first = experiment.film(trip).reel()
    finish(experiment.transfer(trip))
    both = experiment.film(trip).reel()
    assert (first.epochs, both.epochs) == ((0, 1), (0, 1, 2))
    np.testing.assert_array_equal(first.other["TR"], both.other["TR"][:2])
    np.testing.assert_array_equal(first.rows["TI"], both.rows["TI"])


def test_a_stop_keeps_the_broken_off_epoch_and_going_on_replaces_it(make: Make) -> None:
    experiment = make()
    trip, controls = experiment.trip(), Controls()
    for step in experiment.transfer(trip, controls):
        if step.kind == "step" and step.step == 5:
            controls.stop()
    film = experiment.film(trip)
    assert film.epochs == [0, 1, 2]
    broken = film.reel().other["TR"][2]
    finish(experiment.transfer(trip))
    assert film.epochs == [0, 1, 2]
    assert not np.array_equal(broken, film.reel().other["TR"][2])


def test_other_options_are_another_film_and_the_old_one_goes(make: Make, tmp_path: Path) -> None:
    for weight in (0.1, 0.2):
        experiment = make(pair_weight=weight)
        trip = experiment.trip()
        assert experiment.film(trip).epochs == []
        finish(experiment.transfer(trip))
        assert experiment.film(trip).epochs == [0, 1, 2]
    kept = list((tmp_path / "tiny" / "film" / trip.stage).iterdir())
    assert len(kept) == 1


def test_without_a_film_it_says_how_to_get_one(
    make: Make, capsys: pytest.CaptureFixture[str]
) -> None:
    experiment = make(film=0)
    trip = experiment.trip()
    finish(experiment.transfer(trip))
    with pytest.raises(FileNotFoundError, match=r"film: 300"):
        experiment.film(trip).reel()
    capsys.readouterr()
    assert film_view(experiment, trip) is None
    assert "film: 300" in capsys.readouterr().out


def test_frames_share_one_map_and_numbers_have_every_epoch(make: Make) -> None:
    experiment = make()
    trip = experiment.trip()
    finish(experiment.transfer(trip))
    reel = experiment.film(trip).reel()
    projection = film_map(experiment, reel, "TR", method="pca")
    assert set(projection.coordinates) == {"rgb", "0", "1", "2"}
    frames = film_frames(experiment, trip, reel, projection)
    assert list(frames) == [0, 1, 2]
    views = experiment.views(trip.target, trip.protocol)
    pairs = views.evaluation_pairs
    assert pairs is not None
    truth = dict(zip(views.evaluation.images.ids, views.evaluation.labels.tolist(), strict=True))
    by_class = frames[1][1]
    assert by_class.labels is not None
    expected = [
        views.evaluation.classes[truth[pairs.target.ids[row]]] for row in reel.rows["TR"].tolist()
    ]
    assert by_class.labels["depth"].tolist() == expected
    np.testing.assert_array_equal(by_class.coordinates["depth"], projection.coordinates["1"])
    numbers = film_numbers_frame(experiment, trip, reel, bootstrap=20)
    counts = numbers.groupby(["set", "measure"])["epoch"].apply(list)
    assert all(epochs == [0, 1, 2] for epochs in counts)
    assert ("TI", "RMG") in counts and ("TR", "accuracy") in counts
    metrics = experiment.run.metrics()
    mine = metrics[(metrics["stage"] == trip.stage) & (metrics["name"] == "accuracy")]
    accuracy = numbers[numbers["measure"] == "accuracy"]["value"]
    assert accuracy.tolist() == mine.sort_values("epoch")["value"].tolist()
    pairs_at = reel.at("TI", 1)
    unit = [torch.nn.functional.normalize(half.double(), dim=1).mean(0) for half in
            (pairs_at.rgb, pairs_at.other)]  # fmt: skip
    found = numbers.query("set == 'TI' and epoch == 1 and measure == 'centroid gap'")["value"]
    assert float(found.iloc[0]) == pytest.approx(float((unit[0] - unit[1]).norm()), abs=1e-6)
    view = film_view(experiment, trip, method="pca")
    assert view is not None and view.epochs == [0, 1, 2]
    with Image.open(io.BytesIO(view.png())) as picture:
        assert getattr(picture, "n_frames", 1) == 3

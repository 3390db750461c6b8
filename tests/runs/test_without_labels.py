"""A camera whose images nobody has labelled: adapted on, kept and shown without an accuracy."""

import json
import math
from pathlib import Path

import pytest
from rich.console import Console

from socketlab.cli import runs as cli_runs
from socketlab.figures import changed_examples, confusion
from socketlab.models.checkpoint import load_card
from socketlab.runs.comparison import compare
from socketlab.runs.experiment import Experiment
from socketlab.runs.film_views import film_view
from socketlab.runs.gap_views import gap_features, gap_rows
from socketlab.runs.keeping import load_answers, model_file
from socketlab.runs.layer_views import replaced_frame
from socketlab.runs.parameters import validate
from socketlab.runs.pictures import changed_answers
from socketlab.runs.report import write_report
from socketlab.widgets.live import describe


@pytest.fixture(scope="module")
def values(own_camera: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, object]:
    return {
        "run": "unlabelled",
        "data": str(own_camera),
        "root": str(own_camera.parent),
        "size": 32,
        "protocol": "transductive",
        "source": "cam/rgb",
        "target": "cam/depth",
        "source_options": {"epochs": 1, "batch_size": 4},
        "options": {"socket": {"epochs": 2, "batch_size": 4}},
        "device": "cpu",
        "dtype": "float32",
        "data_dir": str(tmp_path_factory.mktemp("own_data")),
        "runs_dir": str(tmp_path_factory.mktemp("own_runs")),
    }


@pytest.fixture(scope="module")
def unlabelled(values: dict[str, object]) -> Experiment:
    experiment = Experiment(validate("05_transfer", values | {"film": 6}))
    for steps in (experiment.train_source(), experiment.transfer(experiment.trip())):
        for _ in steps:
            pass
    return experiment


def test_a_transfer_without_labels_is_kept_with_its_label_free_scores(
    unlabelled: Experiment,
) -> None:
    trip = unlabelled.trip()
    assert unlabelled.target_model(trip) is not None
    rows = {(row.method, row.chosen_by): row for row in unlabelled.run.read().results}
    assert set(rows) == {
        ("source", "last"),
        ("source_only", "last"),
        ("socket", "last"),
        ("socket", "information_maximisation"),  # and none by the labels that nobody has
    }
    assert rows["source", "last"].accuracy is not None
    for key in (("source_only", "last"), ("socket", "last")):
        assert rows[key].accuracy is None and rows[key].balanced_accuracy is None
        assert rows[key].n == 0
        assert math.isfinite(rows[key].scores["information_maximisation"])
        assert sum(rows[key].predicted) == 10
    assert load_card(model_file(unlabelled.run, trip.stage)).scores == {}
    assert load_answers(unlabelled.run, trip.stage).empty
    assert "accuracy" not in set(unlabelled.run.metrics(trip.stage)["name"])
    # JSON knows no NaN: whoever reads the record elsewhere must be able to.
    json.loads((unlabelled.run.folder / "run.json").read_text(), parse_constant=_refuse)


def _refuse(constant: str) -> None:
    raise AssertionError(f"{constant} in run.json")


def test_views_of_a_transfer_without_labels_say_so(unlabelled: Experiment) -> None:
    trip = unlabelled.trip()
    model = unlabelled.target_model(trip)
    assert model is not None
    score = unlabelled.score(model, trip)
    assert score.n == 0 and score.accuracies == {}
    assert unlabelled.references(trip) == {}
    found = gap_features(unlabelled, trip)
    assert found.main == "TI"
    assert set(gap_rows(found.features("before"), score.accuracy)) == {"TI"}
    assert "No image of cam/depth has a label" in replaced_frame(unlabelled, trip).attrs["reason"]
    assert film_view(unlabelled, trip) is None
    history = unlabelled.film(trip).labels(
        unlabelled.views(trip.target, trip.protocol).target_labels.by_id()
    )
    assert history.truth is None and len(history) == 10
    confusion({"after": score.confusion.numpy()}, model.classes)
    changed_examples(**changed_answers(unlabelled, trip, score, score))


def test_lines_of_steps_without_labels_have_no_accuracy(values: dict[str, object]) -> None:
    experiment = Experiment(validate("05_transfer", values | {"run": "lines"}))
    for _ in experiment.train_source():
        pass
    lines = [describe(s) for s in experiment.transfer(experiment.trip()) if s.kind == "epoch"]
    assert len(lines) == 2
    assert not any("accuracy" in line or "nan" in line for line in lines)


def test_terminal_and_report_say_that_nothing_has_a_label(
    unlabelled: Experiment, monkeypatch: pytest.MonkeyPatch
) -> None:
    console = Console(width=200, record=True)
    monkeypatch.setattr(cli_runs, "console", console)
    cli_runs.summary(unlabelled.run.folder)
    (line,) = [found for found in console.export_text().splitlines() if " socket " in found]
    assert line.count("no labels") == 2
    page = write_report(unlabelled.run.folder).read_text()
    assert "nan" not in page.lower().replace("finance", "")
    assert "Accuracy" in page


def test_a_comparison_needs_labels_and_says_so_before_it_trains(
    values: dict[str, object],
) -> None:
    given = {name: value for name, value in values.items() if name != "film"}
    experiment = Experiment(validate("06_compare", given | {"run": "compared"}))
    with pytest.raises(ValueError, match=r"scores no image of cam/depth.*label-free"):
        next(compare(experiment))
    assert experiment.run.read().stages == {}

"""An experiment on a tiny data set: what is kept, what is done anew, and what a stop leaves."""

import json
import math
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
import torch

from socketlab.models.checkpoint import CheckpointError, load_card, load_classifier, save_classifier
from socketlab.models.classifier import Classifier
from socketlab.runs.experiment import Experiment
from socketlab.runs.keeping import load_answers, model_file
from socketlab.runs.parameters import validate
from socketlab.runs.record import PART_VARIABLE, Result
from socketlab.training.steps import Controls, Step
from socketlab.training.term_record import NonFiniteLoss
from socketlab.widgets.live import describe

SOURCE = "source-a.rgb-seed0"
SOURCE_ONLY = "source_only-to-a.depth-held_out-seed0"
SOCKET = "socket-to-a.depth-held_out-seed0"
SCORE = "information_maximisation"
EPOCHS = 3
STEPS = 4  # 36 target images in batches of 8

Make = Callable[..., Experiment]


@pytest.fixture
def make(tmp_path: Path, tiny_scenes: Path, tiny_data: Path) -> Make:
    """An experiment with these parameters changed, in `tmp_path`."""
    return lambda **changes: build(tmp_path, tiny_scenes, tiny_data, **changes)


def build(runs: Path, scenes: Path, data: Path, **changes: Any) -> Experiment:
    values: dict[str, Any] = {
        "run": "tiny",
        "data": str(scenes),
        "size": 32,
        "source_options": {"epochs": 2, "batch_size": 8},
        "options": {"socket": {"epochs": EPOCHS, "batch_size": 8}},
        "device": "cpu",
        "dtype": "float32",
        "data_dir": str(data),
        "runs_dir": str(runs),
    }
    return Experiment(validate("05_transfer", values | changes))


def last(steps: Iterator[Step]) -> Step | None:
    found = None
    for step in steps:
        found = step
    return found


@pytest.fixture(scope="module")
def finished(
    tmp_path_factory: pytest.TempPathFactory, tiny_scenes: Path, tiny_data: Path
) -> Experiment:
    """A run with a source model and a transfer; tests that change it work on a copy."""
    torch.set_num_threads(1)
    experiment = build(tmp_path_factory.mktemp("finished"), tiny_scenes, tiny_data)
    last(experiment.train_source())
    last(experiment.transfer(experiment.trip()))
    return experiment


@pytest.fixture
def copied(finished: Experiment, make: Make, tmp_path: Path) -> Make:
    """As `make`, on a copy of the finished run."""
    shutil.copytree(finished.run.folder, tmp_path / "tiny")
    return make


@pytest.fixture
def with_source(copied: Make, tmp_path: Path) -> Make:
    """As `copied`, but only the source model has been trained."""
    file = tmp_path / "tiny" / "run.json"
    record = json.loads(file.read_text())
    record["stages"] = {SOURCE: record["stages"][SOURCE]}
    record["results"] = [row for row in record["results"] if row["stage"] == SOURCE]
    file.write_text(json.dumps(record))
    metrics = pd.read_parquet(tmp_path / "tiny" / "metrics.parquet")
    metrics[metrics["stage"] == SOURCE].to_parquet(tmp_path / "tiny" / "metrics.parquet")
    for path in (tmp_path / "tiny" / "models").glob("socket-*"):
        path.unlink()
    return copied


def rows(experiment: Experiment, chosen_by: str = "last") -> dict[str, Result]:
    found = experiment.run.read().results
    return {row.stage: row for row in found if row.chosen_by == chosen_by}


def lasting(row: Result) -> dict[str, Any]:
    """A row without what differs from one time to the next."""
    return row.model_dump(exclude={"seconds", "peak_memory", "expected_memory"})


def same_weights(first: Classifier, second: Classifier) -> bool:
    one, two = first.state_dict(), second.state_dict()
    assert one.keys() == two.keys()
    return all(torch.equal(one[name], two[name]) for name in one)


def kept(experiment: Experiment, stage: str = SOCKET) -> Classifier:
    return load_classifier(model_file(experiment.run, stage))[0]


def chosen(experiment: Experiment) -> Classifier:
    return load_classifier(model_file(experiment.run, SOCKET, chosen=True))[0]


def metrics(experiment: Experiment, stage: str = SOCKET) -> pd.DataFrame:
    return experiment.run.metrics(stage).reset_index(drop=True)


def test_a_transfer_leaves_a_row_for_each_stage(finished: Experiment) -> None:
    found = rows(finished)
    assert list(found) == [SOURCE, SOURCE_ONLY, SOCKET]
    assert [row.method for row in found.values()] == ["source", "source_only", "socket"]
    assert [row.target for row in found.values()] == ["a/rgb", "a/depth", "a/depth"]
    assert {row.n for row in found.values()} == {24}  # 6 classes x 4 test images
    assert {row.protocol for row in found.values()} == {"held_out"}
    stages = finished.run.read().stages
    assert {part.status for part in stages.values()} == {"done"}
    assert list(stages) == [SOURCE, SOURCE_ONLY, SOCKET]


def test_the_row_is_the_score_of_the_model_that_is_kept(finished: Experiment) -> None:
    trip = finished.trip()
    labels = finished.views().evaluation.labels
    for stage, model in ((SOCKET, kept(finished)), (SOURCE_ONLY, finished.source_model())):
        answers = finished.score(model, trip).answers
        right = (answers == labels).double()
        each = [right[labels == name].mean() for name in set(labels.tolist())]
        assert rows(finished)[stage].accuracy == pytest.approx(float(right.mean()), abs=1e-6)
        assert rows(finished)[stage].balanced_accuracy == pytest.approx(
            float(torch.stack(each).mean()), abs=1e-6
        )


def test_the_row_has_the_scores_and_accuracy_of_the_last_epoch(finished: Experiment) -> None:
    for stage, epoch in ((SOURCE_ONLY, 0), (SOCKET, EPOCHS)):
        table = metrics(finished, stage)
        final = table[table["epoch"] == epoch].set_index("name")["value"]
        row = rows(finished)[stage]
        assert row.accuracy == final["accuracy"]
        wanted = {str(n).removeprefix("score/"): v for n, v in final.items() if "score/" in str(n)}
        assert row.scores == wanted
        assert wanted


def test_the_models_are_kept_with_cards(finished: Experiment) -> None:
    for stage, domain, method in ((SOURCE, "a/rgb", "source"), (SOCKET, "a/depth", "socket")):
        card = load_card(model_file(finished.run, stage))
        assert (card.domain, card.method) == (domain, method)
        assert card.scores["accuracy"] == rows(finished)[stage].accuracy
        assert card.configuration["options"]["epochs"] == (2 if method == "source" else EPOCHS)
    assert not same_weights(kept(finished), kept(finished, SOURCE))
    assert sorted(p.name for p in (finished.run.folder / "models").glob("*.safetensors")) == [
        f"{SOCKET}.chosen.safetensors",
        f"{SOCKET}.safetensors",
        f"{SOURCE}.safetensors",
    ]


def test_an_epoch_is_chosen_without_labels_and_by_an_oracle(finished: Experiment) -> None:
    table = metrics(finished).pivot(index="epoch", columns="name", values="value").loc[1:]
    by_score, by_oracle = rows(finished, SCORE), rows(finished, "oracle")
    assert list(by_score) == list(by_oracle) == [SOCKET]
    assert by_score[SOCKET].epoch == table[f"score/{SCORE}"].idxmin()
    assert by_oracle[SOCKET].epoch == table["balanced_accuracy"].idxmax()
    for row in (by_score[SOCKET], by_oracle[SOCKET]):
        assert row.balanced_accuracy == table["balanced_accuracy"][row.epoch]
        assert row.scores["entropy"] == table["score/entropy"][row.epoch]
    score = finished.score(chosen(finished), finished.trip())
    assert score.accuracy == by_score[SOCKET].accuracy
    card = load_card(model_file(finished.run, SOCKET, chosen=True))
    assert card.configuration["chosen_by"] == SCORE


def test_another_score_chooses_another_epoch(with_source: Make) -> None:
    """`pair_distance` falls from epoch to epoch, so that the last one is chosen."""
    experiment = with_source(choose_by="pair_distance")
    last(experiment.transfer(experiment.trip()))
    found = experiment.run.read().results
    assert [row.chosen_by for row in found if row.stage == SOCKET] == [
        "last",
        "pair_distance",
        "oracle",
    ]
    table = metrics(experiment).pivot(index="epoch", columns="name", values="value").loc[1:]
    chosen_row = rows(experiment, "pair_distance")[SOCKET]
    assert chosen_row.epoch == table["score/pair_distance"].idxmin()


def test_rows_say_what_a_training_costs_and_where_its_answers_fall(finished: Experiment) -> None:
    row = rows(finished)[SOCKET]
    model = kept(finished)
    heads = sum(p.numel() for p in model.head.parameters())
    assert row.parameters == sum(p.numel() for p in model.parameters()) - heads
    assert rows(finished)[SOURCE_ONLY].parameters == 0
    assert row.seconds > 0 and row.peak_memory > 50
    assert sum(row.predicted) == 36 and len(row.predicted) == 6
    table = metrics(finished)
    entropy = table[(table["name"] == "predicted_entropy") & (table["epoch"] == EPOCHS)]["value"]
    shares = [count / 36 for count in row.predicted if count]
    assert float(entropy.iloc[0]) == pytest.approx(-sum(p * math.log(p) for p in shares))


def test_a_collapse_is_in_the_record(with_source: Make) -> None:
    """A source model that answers everything with one class."""
    experiment = with_source()
    file = model_file(experiment.run, SOURCE)
    model, card = load_classifier(file)
    with torch.no_grad():
        model.members[0].head.bias[2] = 100
    save_classifier(model, file, card)
    (step,) = experiment.transfer(experiment.trip("source_only"))
    row = rows(experiment)[SOURCE_ONLY]
    assert row.note == step.look.note == "answers fall on 1 of 6 classes"
    assert row.predicted == [0, 0, 36, 0, 0, 0]
    assert "collapsed: answers fall on 1 of 6 classes" in describe(step)


def test_answers_are_kept_image_by_image(finished: Experiment) -> None:
    evaluation = finished.views().evaluation
    for stage in (SOURCE_ONLY, SOCKET):
        table = load_answers(finished.run, stage)
        assert tuple(table["id"]) == evaluation.images.ids
        assert table["truth"].tolist() == evaluation.labels.tolist()
        right = (table["truth"] == table["answer"]).mean()
        assert right == pytest.approx(rows(finished)[stage].accuracy)
    with pytest.raises(FileNotFoundError, match="'shot' has not been scored yet"):
        load_answers(finished.run, "shot")


def test_metrics_have_every_epoch_once(finished: Experiment) -> None:
    for stage, epochs in ((SOURCE, 2), (SOURCE_ONLY, 0), (SOCKET, EPOCHS)):
        table = metrics(finished, stage)
        accuracy = table[table["name"] == "accuracy"]
        assert list(accuracy["epoch"]) == list(range(epochs + 1))
        assert not table.duplicated(["epoch", "name"]).any()
        assert table["value"].notna().all()
    assert list(metrics(finished)["step"].unique()) == [0, STEPS, 2 * STEPS, 3 * STEPS]


def test_no_training_state_is_left_when_all_is_done(finished: Experiment) -> None:
    assert list((finished.run.folder / "state").glob("*.pt*")) == []


def test_a_second_time_there_is_nothing_to_do(
    copied: Make, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    models = tmp_path / "tiny" / "models"
    before = {path.name: path.stat().st_mtime_ns for path in models.iterdir()}
    experiment = copied()
    assert list(experiment.train_source()) == []
    assert list(experiment.transfer(experiment.trip())) == []
    assert capsys.readouterr().out.splitlines()[-3:] == [
        f"{SOURCE}: done",
        f"{SOURCE_ONLY}: done",
        f"{SOCKET}: done",
    ]
    assert {path.name: path.stat().st_mtime_ns for path in models.iterdir()} == before


def test_a_changed_option_trains_anew_and_replaces_the_row(copied: Make) -> None:
    experiment = copied(options={"socket": {"epochs": 1, "batch_size": 8, "pair_weight": 0.9}})
    before = kept(experiment)
    assert experiment.target_model(experiment.trip()) is None
    step = last(experiment.transfer(experiment.trip()))
    assert step is not None
    assert (step.kind, step.epochs) == ("epoch", 1)
    assert not same_weights(kept(experiment), before)
    # With one epoch there is nothing to choose, and nothing is left of what was chosen before.
    assert [row.stage for row in experiment.run.read().results] == [SOURCE, SOURCE_ONLY, SOCKET]
    assert set(metrics(experiment)["epoch"]) == {0, 1}
    assert not model_file(experiment.run, SOCKET, chosen=True).exists()
    assert load_card(model_file(experiment.run, SOCKET)).configuration["options"]["epochs"] == 1


def test_a_changed_source_option_trains_all_anew(copied: Make) -> None:
    experiment = copied(source_options={"epochs": 1, "batch_size": 8})
    with pytest.raises(CheckpointError, match="02_train_source"):
        experiment.source_model()
    assert experiment.target_model(experiment.trip()) is None
    assert last(experiment.train_source()) is not None


@pytest.mark.parametrize(
    "changes", [{"seed": 1}, {"crop": 24}, {"source": "b/rgb"}, {"backbone": "resnet18"}]
)
def test_another_source_model_is_not_taken_for_this_one(
    copied: Make, changes: dict[str, Any]
) -> None:
    with pytest.raises(CheckpointError, match="Run 02_train_source"):
        copied(**changes).source_model()


def test_without_a_source_model_the_way_out_is_named(make: Make) -> None:
    experiment = make()
    with pytest.raises(CheckpointError, match=f"'tiny' has no source model '{SOURCE}'.*Run 02_tra"):
        experiment.source_model()
    with pytest.raises(CheckpointError, match="Run 02_train_source"):
        last(experiment.transfer(experiment.trip()))


def test_a_model_that_was_removed_is_made_again(copied: Make) -> None:
    experiment = copied()
    before = kept(experiment)
    model_file(experiment.run, SOCKET).unlink()
    last(experiment.transfer(experiment.trip()))
    assert same_weights(kept(experiment), before)


@pytest.mark.parametrize("after", [2, STEPS, STEPS + 2], ids=["first", "boundary", "second"])
def test_a_stop_keeps_a_model_and_the_next_run_ends_as_if_undisturbed(
    with_source: Make, finished: Experiment, after: int
) -> None:
    experiment, controls = with_source(), Controls()
    for step in experiment.transfer(experiment.trip(), controls):
        if step.step == after:
            controls.stop()
    assert step.kind == "stopped"
    record = experiment.run.read()
    assert record.stages[SOCKET].status == "stopped"
    assert f"step {after} of {EPOCHS * STEPS}" in record.stages[SOCKET].reason
    assert (record.status, record.reason) == ("stopped", record.stages[SOCKET].reason)
    model = kept(experiment)
    score = experiment.score(model, experiment.trip())
    assert rows(experiment)[SOCKET].accuracy == score.accuracy
    assert not same_weights(model, kept(finished))
    usable = experiment.target_model(experiment.trip())
    assert usable is not None and same_weights(usable, model)

    again = with_source()
    steps = list(again.transfer(again.trip()))
    whole = after // STEPS
    assert [step.epoch for step in steps if step.kind == "epoch"] == list(range(whole + 1, 4))
    assert again.run.is_done(SOCKET, again.run.read().stages[SOCKET].fingerprint)
    assert same_weights(kept(again), kept(finished))
    for chosen_by in ("last", SCORE, "oracle"):
        found, wanted = (rows(one, chosen_by)[SOCKET] for one in (again, finished))
        assert lasting(found) == lasting(wanted)
    assert same_weights(chosen(again), chosen(finished))
    pd.testing.assert_frame_equal(metrics(again), metrics(finished), check_exact=True)
    assert list((again.run.folder / "state").glob("*.pt*")) == []


def test_a_training_that_was_broken_off_ends_as_if_undisturbed(
    make: Make, finished: Experiment
) -> None:
    experiment = make()
    steps = experiment.train_source()
    for step in steps:
        if step.step == STEPS + 1:
            break
    steps.close()  # type: ignore[attr-defined]
    part = experiment.run.read().stages[SOURCE]
    assert (part.status, part.reason) == ("stopped", "interrupted")
    again = make()
    assert [step.epoch for step in again.train_source() if step.kind == "epoch"] == [2]
    assert same_weights(kept(again, SOURCE), kept(finished, SOURCE))
    pd.testing.assert_frame_equal(
        metrics(again, SOURCE), metrics(finished, SOURCE), check_exact=True
    )


def test_a_loss_that_is_not_a_number_stops_and_says_where(with_source: Make) -> None:
    options = {"epochs": 2, "batch_size": 8, "learning_rate": 1e30}
    experiment = with_source(options={"socket": options})
    with pytest.raises(NonFiniteLoss, match=r"Epoch 1, step 2: .*= nan"):
        last(experiment.transfer(experiment.trip()))
    record = experiment.run.read()
    part = record.stages[SOCKET]
    assert part.status == record.status == "stopped"
    assert "Epoch 1, step 2" in part.reason
    assert "information_maximisation = nan" in part.reason or "pairs = nan" in part.reason
    assert record.reason == part.reason
    assert SOCKET not in rows(experiment)
    assert not model_file(experiment.run, SOCKET).exists()
    assert set(metrics(experiment)["epoch"]) == {0}


def test_options_that_no_method_has_stop_before_the_run_is_made(make: Make, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"epoch = 3 .*pair_weight"):
        make(options={"socket": {"epoch": 3}})
    with pytest.raises(ValueError, match=r"epoch = 3 .*label_smoothing"):
        make(source_options={"epoch": 3})
    assert not (tmp_path / "tiny").exists()


def test_the_run_is_done_when_all_its_notebooks_are(
    copied: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(PART_VARIABLE, "05_transfer-a.depth")
    first = copied()
    assert first.part == "05_transfer-a.depth"
    monkeypatch.setenv(PART_VARIABLE, "03_modality_gap")
    second = copied()
    assert "05_transfer" in second.finish()
    assert second.run.read().status == "running"
    monkeypatch.delenv(PART_VARIABLE)
    copied().finish()
    assert "The run is done" in first.finish()
    record = first.run.read()
    assert record.status == "done"
    assert set(record.notebooks) == {"05_transfer", "05_transfer-a.depth", "03_modality_gap"}
    copied()
    assert first.run.read().status == "running"


def test_the_record_has_the_whole_configuration(finished: Experiment) -> None:
    record = finished.run.read()
    found = record.configuration["05_transfer"]
    assert found == finished.parameters.model_dump(mode="json")
    assert record.seeds == [0]
    assert (record.device["kind"], record.device["dtype"]) == ("cpu", "float32")
    assert record.device["reason"]


def test_references_are_the_rows_of_the_same_case(finished: Experiment) -> None:
    wanted = {"source_only": rows(finished)[SOURCE_ONLY].accuracy}
    assert finished.references(finished.trip()) == wanted
    assert finished.references(finished.trip(seed=1)) == {}
    rows_before = finished.run.read().results
    made_up = [
        rows(finished)[SOURCE_ONLY].model_copy(update={"method": "oracle_labels"} | changes)
        for changes in ({"accuracy": 0.7}, {"accuracy": 0.9, "chosen_by": "oracle"})
    ]
    finished.run.put_results(SOURCE_ONLY, [rows(finished)[SOURCE_ONLY], *made_up])
    assert finished.references(finished.trip()) == wanted | {"oracle_labels": 0.7}
    finished.run.change(lambda record: record.results.__setitem__(slice(None), rows_before))
    assert finished.references(finished.trip(target="a/nir")) == {}


def stopped_source(make: Make) -> Experiment:
    """A run whose source model was stopped by hand in its second epoch."""
    experiment, controls = make(), Controls()
    for step in experiment.train_source(controls=controls):
        if step.kind == "epoch":
            controls.stop()
    assert experiment.run.read().stages[SOURCE].status == "stopped"
    return experiment


def test_a_stopped_source_model_can_be_used_and_what_it_led_to_is_done_anew(
    make: Make, finished: Experiment
) -> None:
    experiment = stopped_source(make)
    last(experiment.transfer(experiment.trip()))
    from_half = rows(experiment)
    last(experiment.train_source())
    assert last(experiment.transfer(experiment.trip())) is not None, "it was taken for done"
    whole, undisturbed = rows(experiment), rows(finished)
    assert from_half[SOCKET].accuracy != undisturbed[SOCKET].accuracy
    for stage in (SOURCE, SOURCE_ONLY, SOCKET):
        assert lasting(whole[stage]) == lasting(undisturbed[stage])


def test_a_notebook_that_ends_after_a_stop_does_not_make_the_run_done(make: Make) -> None:
    experiment = stopped_source(make)
    assert SOURCE in experiment.finish()
    record = experiment.run.read()
    assert record.status == "stopped" and SOURCE in record.reason
    last(experiment.train_source())
    assert experiment.finish() == "The run is done."
    assert experiment.run.read().status == "done"

"""Changes made by hand while it trains: written down, made again, and never passed over."""

import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
import torch
from torch import Tensor

from socketlab import cli
from socketlab.methods import REGISTRY
from socketlab.methods.socket import Socket
from socketlab.models.checkpoint import load_card, load_classifier
from socketlab.models.mixture import AnyClassifier
from socketlab.runs.comparison import comparison_frame, results_frame
from socketlab.runs.experiment import Experiment
from socketlab.runs.keeping import model_file, saved_model_file
from socketlab.runs.parameters import validate
from socketlab.runs.planning import parse_given, plan
from socketlab.runs.record import Result
from socketlab.runs.shared_parameters import Parameters
from socketlab.runs.steering import check_changes
from socketlab.training.steps import Controls, Step

SOCKET = "socket-to-a.depth-held_out-seed0"
EPOCHS, STEPS = 3, 4  # 36 target images in batches of 8
BY_HAND: dict[int, tuple[str, float]] = {
    3: ("weight/pairs", 0.9),
    6: ("learning_rate_factor", 0.25),
    9: ("weight/pairs", 0.0),
}
CHANGES = [{"step": at, "name": name, "value": value} for at, (name, value) in BY_HAND.items()]

Make = Callable[..., Experiment]


def experiment_parameters(notebook: str, values: dict[str, Any]) -> Parameters:
    found = validate(notebook, values)
    assert isinstance(found, Parameters)
    return found


def build(runs: Path, scenes: Path, data: Path, notebook: str = "05", **changes: Any) -> Experiment:
    values: dict[str, Any] = {
        "run": "tiny",
        "data": str(scenes),
        "size": 32,
        "source_options": {"epochs": 1, "batch_size": 8},
        "options": {"socket": {"epochs": EPOCHS, "batch_size": 8}},
        "device": "cpu",
        "dtype": "float32",
        "data_dir": str(data),
        "runs_dir": str(runs),
    }
    values |= {"film": 0} if notebook == "05" else {}
    return Experiment(experiment_parameters(notebook, values | changes))


@pytest.fixture(scope="module")
def with_source(
    tmp_path_factory: pytest.TempPathFactory, tiny_scenes: Path, tiny_data: Path
) -> Path:
    """The folder of a run that has its source model and nothing else."""
    torch.set_num_threads(1)
    experiment = build(tmp_path_factory.mktemp("steering"), tiny_scenes, tiny_data)
    finish(experiment.train_source())
    return experiment.run.folder


@pytest.fixture(scope="module")
def plain(
    with_source: Path, tmp_path_factory: pytest.TempPathFactory, tiny_scenes: Path, tiny_data: Path
) -> Experiment:
    """The transfer that nobody has touched."""
    folder = tmp_path_factory.mktemp("plain")
    shutil.copytree(with_source, folder / "tiny")
    experiment = build(folder, tiny_scenes, tiny_data)
    finish(experiment.transfer(experiment.trip()))
    return experiment


@pytest.fixture
def make(with_source: Path, tmp_path: Path, tiny_scenes: Path, tiny_data: Path) -> Make:
    """An experiment in a copy of that run, by the run's name."""

    def made(run: str = "tiny", **changes: Any) -> Experiment:
        if not (tmp_path / run).exists():
            shutil.copytree(with_source, tmp_path / run)
        return build(tmp_path, tiny_scenes, tiny_data, run=run, **changes)

    return made


def finish(steps: Iterator[Step]) -> list[Step]:
    return list(steps)


def steer(experiment: Experiment, hand: dict[int, tuple[str, float]] = BY_HAND) -> list[Step]:
    """Train, and change at these steps what a person might."""
    controls, taken = Controls(), []
    for step in experiment.transfer(experiment.trip(), controls):
        taken.append(step)
        if step.kind == "step" and step.step in hand:
            name, value = hand[step.step]
            if name == "stop":
                controls.stop()
            elif name == "learning_rate_factor":
                controls.set_learning_rate_factor(value)
            else:
                controls.set_weight(name.removeprefix("weight/"), value)
    return taken


def recorded(experiment: Experiment) -> list[dict[str, Any]]:
    return [changed.model_dump() for changed in experiment.run.read().changes.get(SOCKET, [])]


def row(experiment: Experiment, chosen_by: str = "last") -> Result:
    found = experiment.run.read().results
    (only,) = [row for row in found if (row.stage, row.chosen_by) == (SOCKET, chosen_by)]
    return only


def kept(experiment: Experiment) -> AnyClassifier:
    return load_classifier(model_file(experiment.run, SOCKET))[0]


def same_weights(first: AnyClassifier, second: AnyClassifier) -> bool:
    one, two = first.state_dict(), second.state_dict()
    return one.keys() == two.keys() and all(torch.equal(one[name], two[name]) for name in one)


def metrics(experiment: Experiment) -> pd.DataFrame:
    return experiment.run.metrics(SOCKET).reset_index(drop=True)


def test_a_change_is_in_the_record_before_the_next_step_and_in_every_row(make: Make) -> None:
    experiment, controls = make(), Controls()
    seen: dict[int, list[dict[str, Any]]] = {}
    for step in experiment.transfer(experiment.trip(), controls):
        if step.kind == "step":
            seen[step.step] = recorded(experiment)
        if step.kind == "step" and step.step == 3:
            controls.set_weight("pairs", 0.9)
    assert seen[3] == []
    assert seen[4] == seen[12] == CHANGES[:1]
    assert {row(experiment, name).steered for name in ("last", "oracle")} == {1}
    part = experiment.run.read().stages[SOCKET]
    again = make()
    assert finish(again.transfer(again.trip())) == [], "the same configuration, so it is done"
    assert again.run.is_done(SOCKET, part.fingerprint)


def test_what_was_steered_by_hand_can_be_replayed_bit_by_bit(make: Make, plain: Experiment) -> None:
    by_hand, replayed = make("hand"), make("again", changes=CHANGES)
    steer(by_hand)
    finish(replayed.transfer(replayed.trip()))
    assert recorded(by_hand) == recorded(replayed) == CHANGES
    assert same_weights(kept(replayed), kept(by_hand))
    assert not same_weights(kept(plain), kept(by_hand))
    pd.testing.assert_frame_equal(metrics(replayed), metrics(by_hand), check_exact=True)
    assert [row(one).steered for one in (by_hand, plain, replayed)] == [3, 0, 0]
    fingerprints = [one.run.read().stages[SOCKET].fingerprint for one in (by_hand, plain, replayed)]
    assert fingerprints[0] == fingerprints[1] != fingerprints[2]


def test_what_is_changed_beside_a_replay_is_by_hand(make: Make) -> None:
    experiment = make(changes=CHANGES)
    steer(experiment, {7: ("weight/pseudo_labels", 0.0)})
    assert [changed["step"] for changed in recorded(experiment)] == [3, 6, 7, 9]
    assert row(experiment).steered == 1


@pytest.mark.parametrize("replays", [False, True])
def test_a_steered_training_that_was_stopped_ends_as_if_undisturbed(
    make: Make, replays: bool
) -> None:
    """What was changed in the epoch that was broken off is not, for that epoch is done again."""
    changes = CHANGES if replays else []
    early = {at: what for at, what in BY_HAND.items() if at < 8}
    whole, stopped = make("whole", changes=changes), make("stopped", changes=changes)
    steer(whole, {} if replays else early)
    broken_off = {8: ("weight/pseudo_labels", 0.0), 10: ("stop", 1.0)}
    steer(stopped, broken_off if replays else early | broken_off)
    assert stopped.run.read().stages[SOCKET].status == "stopped"
    late = [{"step": 8, "name": "weight/pseudo_labels", "value": 0.0}]
    assert [c for c in recorded(stopped) if c not in CHANGES] == late
    assert row(stopped).steered == (1 if replays else 3)
    again = make("stopped", changes=changes)
    taken = finish(again.transfer(again.trip()))
    assert taken[0].step == 2 * STEPS + 1
    assert recorded(again) == recorded(whole) == (CHANGES if replays else CHANGES[:2])
    assert row(again).steered == row(whole).steered == (0 if replays else 2)
    assert same_weights(kept(again), kept(whole))
    pd.testing.assert_frame_equal(metrics(again), metrics(whole), check_exact=True)


def test_another_training_of_a_stage_forgets_the_changes_of_the_first(make: Make) -> None:
    steer(make())
    experiment = make(options={"socket": {"epochs": 1, "batch_size": 8}})
    finish(experiment.transfer(experiment.trip()))
    assert recorded(experiment) == [] and row(experiment).steered == 0


def test_a_saved_model_changes_nothing_and_says_what_it_is(make: Make, plain: Experiment) -> None:
    saving, controls = make(), Controls()
    for step in saving.transfer(saving.trip(), controls):
        if step.kind == "step" and step.step == 6:
            controls.save()
        if step.kind == "saved":
            file = saved_model_file(saving.run, SOCKET, 6)
            assert file.is_file(), "before the next step"
    model, card = load_classifier(file)
    about = card.configuration
    assert (about["step"], about["chosen_by"], card.scores) == (6, "hand", {})
    assert "not settled" in about["normalisation_statistics"]
    last = load_card(model_file(saving.run, SOCKET)).configuration
    assert about["fingerprint"] == last["fingerprint"]
    assert not same_weights(model, kept(saving))
    assert same_weights(kept(saving), kept(plain))
    pd.testing.assert_frame_equal(metrics(saving), metrics(plain), check_exact=True)
    assert row(saving).steered == 0


def test_an_interrupt_in_the_middle_of_a_step_leaves_a_run_that_resumes(
    make: Make, plain: Experiment, monkeypatch: pytest.MonkeyPatch
) -> None:
    experiment = make()
    losses = Socket.losses

    def interrupted(self: Socket, step: int) -> dict[str, Tensor]:
        found = losses(self, step)
        if step == 6:
            raise KeyboardInterrupt
        return found

    with monkeypatch.context() as patch:
        patch.setattr(Socket, "losses", interrupted)
        with pytest.raises(KeyboardInterrupt):
            finish(experiment.transfer(experiment.trip()))
    record = experiment.run.read()
    assert (record.stages[SOCKET].status, record.stages[SOCKET].reason) == (
        "stopped",
        "interrupted",
    )
    assert (record.status, record.reason) == ("stopped", "interrupted")
    again = make()
    assert finish(again.transfer(again.trip()))[0].step == STEPS + 1
    assert same_weights(kept(again), kept(plain))
    pd.testing.assert_frame_equal(metrics(again), metrics(plain), check_exact=True)


PROGRAM = """
import signal, sys, torch
from contextlib import closing
from pathlib import Path
from socketlab.runs.experiment import Experiment
from socketlab.runs.parameters import validate
torch.set_num_threads(1)
# Whoever starts the tests in the background hands down that interrupts are ignored.
signal.signal(signal.SIGINT, signal.default_int_handler)
experiment = Experiment(validate("05", eval(sys.argv[1])))
with closing(experiment.transfer(experiment.trip())) as steps:
    for step in steps:
        print(step.kind, flush=True)
"""


def test_a_process_that_is_interrupted_leaves_a_run_that_resumes(make: Make) -> None:
    options = {"socket": {"epochs": 10_000, "batch_size": 8}}  # no machine is through by then
    experiment = make(options=options)
    given = repr(experiment.parameters.model_dump(mode="json"))
    words = [sys.executable, "-c", PROGRAM, given]
    environment = os.environ | {"PYTHONPATH": str(Path(cli.__file__).parents[1])}
    with subprocess.Popen(
        words, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environment
    ) as process:
        assert process.stdout is not None and process.stderr is not None
        epochs = 0
        for line in process.stdout:
            epochs += line.strip() == "epoch"
            if epochs == 2:
                process.send_signal(signal.SIGINT)
                break
        _, error = process.communicate(timeout=60)
    assert process.returncode != 0 and "KeyboardInterrupt" in error
    part = experiment.run.read().stages[SOCKET]
    assert (part.status, part.reason) == ("stopped", "interrupted"), error
    controls = Controls()
    steps = experiment.transfer(experiment.trip(), controls)
    assert next(steps).step > STEPS, "it begins anew"
    steps.close()  # type: ignore[attr-defined]


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ([{"step": 3, "name": "pairs", "value": 1}], ["changes.0.name = 'pairs'", "weight/<term>"]),
        ([{"step": 3, "name": "weight/", "value": 1}], ["changes.0.name = 'weight/'"]),
        ([{"step": -1, "name": "weight/pairs", "value": 1}], ["changes.0.step = -1"]),
        ([{"step": True, "name": "weight/pairs", "value": 1}], ["changes.0.step = True"]),
        ([{"step": 3, "name": "weight/pairs", "value": -0.5}], ["changes.0.value = -0.5"]),
        ([{"step": 3, "name": "weight/pairs", "value": float("nan")}], ["changes.0.value = nan"]),
        ([{"step": 3, "name": "weight/pairs", "value": float("inf")}], ["changes.0.value = inf"]),
        ([{"step": 3, "name": "weight/pairs"}], ["changes.0.value", "required"]),
        ([*CHANGES, {**CHANGES[0], "value": 3.0}], ["step 3 sets 'weight/pairs' twice"]),
    ],
)
@pytest.mark.parametrize("notebook", ["04", "05"])
def test_wrong_changes_are_named_at_once(notebook: str, changes: Any, words: list[str]) -> None:
    with pytest.raises(ValueError) as found:
        validate(notebook, {"changes": changes})
    assert all(word in str(found.value) for word in words)


@pytest.mark.parametrize("notebook", ["01", "02", "03", "06", "07"])
def test_only_those_who_train_one_transfer_take_changes(notebook: str) -> None:
    with pytest.raises(ValueError, match="no parameter 'changes'"):
        validate(notebook, {"changes": []})


def test_an_unknown_term_is_named_before_the_run_is_made(
    tmp_path: Path, tiny_scenes: Path, tiny_data: Path
) -> None:
    changes = [{"step": 3, "name": "weight/pair", "value": 1.0}]
    with pytest.raises(ValueError, match=r"'socket' has no loss term 'pair' .*Known: .*pairs"):
        build(tmp_path, tiny_scenes, tiny_data, changes=changes)
    assert not (tmp_path / "tiny").exists()


@pytest.mark.parametrize("method", REGISTRY)
def test_the_terms_of_every_method_are_known_without_its_images(method: str) -> None:
    rate = {"step": 3, "name": "learning_rate_factor", "value": 0.5}
    check_changes(experiment_parameters("05", {"method": method, "changes": [rate]}))
    wrong = {"step": 3, "name": "weight/luck", "value": 0.5}
    with pytest.raises(ValueError, match=f"'{method}' has no loss term 'luck'"):
        check_changes(experiment_parameters("05", {"method": method, "changes": [wrong]}))


def test_a_step_that_is_none_is_named_before_it_is_trained(make: Make) -> None:
    experiment = make(changes=[{"step": 12, "name": "weight/pairs", "value": 1.0}])
    with pytest.raises(ValueError, match=r"no step 12 .* has 12 steps"):
        finish(experiment.transfer(experiment.trip()))
    assert len(metrics(experiment)) == 0
    assert experiment.run.read().stages[SOCKET].status == "failed"


def test_changes_come_from_the_command_line_to_one_method(make: Make, plain: Experiment) -> None:
    given = parse_given(["changes=[{step: 3, name: weight/pairs, value: 0.5}]"])
    (planned,) = plan(["05"], {"method": "shot"}, given)
    (changed,) = planned.parameters.model_dump()["changes"]
    assert changed == {"step": 3, "name": "weight/pairs", "value": 0.5}
    replayed = make(changes=CHANGES)
    for method, same in (("socket", False), ("source_only", True)):
        prints = [one._fingerprint(one.trip(method)) for one in (plain, replayed)]
        assert (prints[0] == prints[1]) is same


def test_changes_of_a_translator_are_made(make: Make) -> None:
    change = {"step": 2, "name": "weight/absolute", "value": 2.0}
    options = {"translated": {"epochs": 1, "batch_size": 4}}
    experiment = make(notebook="04", options=options, changes=[change])
    trip = experiment.trip("translated")
    taken = finish(experiment.transfer(trip))
    assert experiment.run.read().changes[trip.stage][0].model_dump() == change
    with_term = [step.step for step in taken if step.kind == "step" and "absolute" in step.terms]
    assert with_term[0] == 3


def test_a_source_model_can_be_steered_too(
    tmp_path: Path, tiny_scenes: Path, tiny_data: Path
) -> None:
    experiment, controls = build(tmp_path, tiny_scenes, tiny_data), Controls()
    for step in experiment.train_source(controls=controls):
        if step.kind == "step" and step.step == 1:
            controls.set_learning_rate_factor(0.5)
    record = experiment.run.read()
    assert [row.steered for row in record.results] == [1]
    ((changed,),) = record.changes.values()
    assert (changed.step, changed.name) == (1, "learning_rate_factor")


def test_a_steered_row_stands_apart_in_a_comparison_and_in_the_terminal(
    make: Make, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    steer(make())
    options = {"socket": {"epochs": EPOCHS, "batch_size": 8}}
    comparing = make(notebook="06", methods=["source_only", "socket"], options=options)
    rows = results_frame(comparing)
    assert set(rows["method"]) == {"source_only", "socket (steered)"}
    later = rows.assign(seed=1, method=rows["method"].str.removesuffix(" (steered)"))
    truth = pd.DataFrame({"id": ["a", "b"], "truth": [0, 1], "answer": [0, 0]})
    table = comparison_frame(pd.concat([rows, later]), lambda stage: truth)
    assert set(table.index.get_level_values("method")) == {
        "source_only",
        "socket",
        "socket (steered)",
    }
    assert table.xs("socket (steered)", level="method")["against socket [95 %]"].item() == ""
    monkeypatch.setattr(cli.console, "width", 200, raising=False)
    cli.summary(comparing.run.folder)
    shown = capsys.readouterr().out
    assert "socket (steered: 3) " in shown and shown.count("(steered") == 1


def test_a_steered_oracle_is_no_reference(make: Make) -> None:
    experiment = make()
    finish(experiment.transfer(experiment.trip("source_only")))
    (found,) = [r for r in experiment.run.read().results if r.method == "source_only"]
    for steered in (0, 2):
        oracle = found.model_copy(update={"method": "oracle_labels", "steered": steered})
        experiment.run.put_results("o", [oracle.model_copy(update={"stage": "o"})])
        names = set(experiment.references(experiment.trip()))
        assert names == {"source_only"} | ({"oracle_labels"} if not steered else set())

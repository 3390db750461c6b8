import dataclasses
import math
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from socketlab.models.classifier import Classifier
from socketlab.training.batches import derive
from socketlab.training.controls import Preempted, preemption
from socketlab.training.inference import Known, Score, score
from socketlab.training.loop import run_task
from socketlab.training.state import StateFile
from socketlab.training.steps import Change, Controls, Step
from socketlab.training.term_record import CHECK_EVERY, NonFiniteLoss

MakeTask = Callable[..., Any]


def evaluate(model: Classifier, known: Known | None = None) -> Score:
    logits = model.head.get_parameter("bias").detach().repeat(4, 1)
    return score(logits, torch.tensor([0, 1, 2, 0]))


def weights(task: Any) -> dict[str, Tensor]:
    return {name: value.clone() for name, value in task.model.state_dict().items()}


def same(first: dict[str, Tensor], second: dict[str, Tensor]) -> bool:
    return first.keys() == second.keys() and all(torch.equal(first[k], second[k]) for k in first)


def following(steps: Iterator[Step], kind: str) -> Step:
    return next(step for step in steps if step.kind == kind)


def test_kinds_and_counts(make_task: MakeTask) -> None:
    task = make_task()
    steps = list(run_task(task, evaluate=evaluate))
    epoch = ["step", "step", "step", "epoch"]
    assert [step.kind for step in steps] == ["start", *epoch, *epoch]
    assert [step.step for step in steps] == [0, 1, 2, 3, 3, 4, 5, 6, 6]
    assert [step.epoch for step in steps] == [0, 0, 0, 0, 1, 1, 1, 1, 2]
    assert {(step.epochs, step.steps) for step in steps} == {(2, 6)}
    for step in steps:
        whole = step.kind in ("start", "epoch")
        assert (step.evaluation is not None) == whole
        assert bool(step.look.scores) == whole
        assert bool(step.terms) == (step.kind != "start")
    seconds = [step.seconds for step in steps]
    assert seconds == sorted(seconds) and seconds[0] >= 0


def test_the_order_of_what_a_task_is_asked(make_task: MakeTask) -> None:
    task = make_task(epochs=2, steps=1)
    for _ in run_task(task):
        pass
    first, second = (["losses 0", "second 0"], ["losses 1", "second 1"])
    assert task.events == ["begin 0", *first, "settle", "begin 1", *second, "settle"]


def test_without_an_epoch_there_is_a_start_and_nothing_is_trained(make_task: MakeTask) -> None:
    task = make_task(epochs=0)
    before = weights(task)
    steps = list(run_task(task, evaluate=evaluate))
    assert [step.kind for step in steps] == ["start"]
    assert same(weights(task), before)


def test_without_a_scorer_nothing_is_scored(make_task: MakeTask) -> None:
    assert all(step.evaluation is None for step in run_task(make_task()))


def test_steps_are_frozen(make_task: MakeTask) -> None:
    step = next(run_task(make_task()))
    with pytest.raises(dataclasses.FrozenInstanceError):
        step.epoch = 3  # type: ignore[misc]


def test_learning_rates_decay(make_task: MakeTask) -> None:
    for step in run_task(make_task()):
        done = max(step.step - 1, 0) / 6
        decay = 1 / (1 + 10 * done) ** 0.75
        assert step.learning_rates == pytest.approx(
            {"backbone": 0.002 * decay, "bottleneck": 0.02 * decay}
        )


def test_terms_are_unweighted_and_an_epoch_has_their_means(make_task: MakeTask) -> None:
    steps = list(run_task(make_task()))
    for step in steps[1:4]:
        assert set(step.terms) == {"first", "second", "total"}
        total = float(step.terms["first"]) + 0.5 * float(step.terms["second"])
        assert float(step.terms["total"]) == pytest.approx(total, rel=1e-6)
        assert not any(value.requires_grad for value in step.terms.values())
    for name, value in steps[4].terms.items():
        mean = sum(float(step.terms[name]) for step in steps[1:4]) / 3
        assert float(value) == pytest.approx(mean, rel=1e-6)


def test_a_step_descends_the_weighted_sum(make_task: MakeTask) -> None:
    """One step of plain gradient descent, done by hand."""
    options = {"momentum": 0.0, "nesterov": False, "weight_decay": 0.0}
    task, other = make_task(), make_task()
    for group in task.optimiser.param_groups:
        group.update(options)
    following(run_task(task), "step")
    next(run_task(other))  # train mode
    torch.manual_seed(derive(other.seed, "epoch", 0))
    terms = other.losses(0)
    (terms["first"] + 0.5 * terms["second"]).backward()
    bias, stem = "bottleneck.0.bias", "encoder.stages.0.weight"
    for name, rate in ((bias, 0.02), (stem, 0.002)):
        parameter = other.model.get_parameter(name)
        expected = parameter - rate * parameter.grad
        torch.testing.assert_close(task.model.get_parameter(name), expected)
        assert not torch.equal(parameter, task.model.get_parameter(name))


def test_pause_holds_the_counter_and_the_result(make_task: MakeTask) -> None:
    undisturbed, task, controls = make_task(), make_task(), Controls()
    for _ in run_task(undisturbed):
        pass
    steps = run_task(task, controls=controls)
    following(steps, "step")
    controls.pause()
    assert controls.paused
    held, before = [next(steps) for _ in range(4)], weights(task)
    assert {(step.kind, step.step, step.epoch) for step in held} == {("paused", 1, 0)}
    assert same(weights(task), before)
    controls.resume()
    rest = list(steps)
    assert [step.step for step in rest] == [2, 3, 3, 4, 5, 6, 6]
    assert same(weights(task), weights(undisturbed))


@pytest.mark.parametrize("paused", [False, True])
def test_stop_ends_with_what_was_learnt(make_task: MakeTask, paused: bool) -> None:
    task, controls = make_task(), Controls()
    steps = run_task(task, controls=controls, evaluate=evaluate)
    following(steps, "step")
    following(steps, "step")
    before = weights(task)
    if paused:
        controls.pause()
        assert next(steps).kind == "paused"
    controls.stop()
    rest = list(steps)
    assert [(step.kind, step.step, step.epoch) for step in rest] == [("stopped", 2, 0)]
    assert rest[0].evaluation is not None and rest[0].look.scores
    assert task.events[-1] == "settle"
    assert same(weights(task), before)


def test_a_changed_weight_takes_effect_at_the_next_step(make_task: MakeTask) -> None:
    task, controls = make_task(), Controls()
    steps = run_task(task, controls=controls)
    following(steps, "step")
    controls.set_weight("first", 5)
    step = following(steps, "step")
    assert step.changes == (Change(1, "weight/first", 5.0),)
    total = 5 * float(step.terms["first"]) + 0.5 * float(step.terms["second"])
    assert float(step.terms["total"]) == pytest.approx(total, rel=1e-6)
    controls.weights = {"second": 0.0}
    step = following(steps, "step")
    assert step.changes == (Change(2, "weight/second", 0.0),)
    assert set(step.terms) == {"first", "total"}
    assert "second 2" not in task.events and "second 1" in task.events
    epoch = following(steps, "epoch")
    assert set(epoch.terms) == {"first", "second", "total"}


def test_the_learning_rate_factor_takes_effect_at_the_next_step(make_task: MakeTask) -> None:
    controls = Controls()
    steps = run_task(make_task(), controls=controls)
    following(steps, "step")
    controls.set_learning_rate_factor(0.25)
    assert controls.learning_rate_factor == 0.25
    step = following(steps, "step")
    assert step.learning_rates["bottleneck"] == pytest.approx(0.25 * 0.02 * (1 + 10 / 6) ** -0.75)
    assert step.changes == (Change(1, "learning_rate_factor", 0.25),)
    assert following(steps, "step").changes == ()


def test_a_step_without_terms_changes_no_weight(make_task: MakeTask) -> None:
    task = make_task()
    task.losses = lambda step: {}
    before = weights(task)
    steps = list(run_task(task))
    assert same(weights(task), before)
    assert float(steps[-1].terms["total"]) == 0


@pytest.mark.parametrize("value", [math.nan, math.inf])
def test_a_term_that_is_not_finite(make_task: MakeTask, tmp_path: Path, value: float) -> None:
    task = make_task()
    task.spoilt = {4: value}
    state = StateFile(tmp_path / "state.pt", "fingerprint")
    with pytest.raises(NonFiniteLoss) as caught:
        for step in run_task(task, state=state):
            if step.kind == "epoch":
                good = weights(task)
    message = str(caught.value)
    assert f"Epoch 2, step 5: first = {value}" in message
    assert "second" not in message.partition("The model")[0]
    assert "after epoch 1" in message and "learning rate" in message
    saved = state.load()
    assert saved is not None and saved["epoch"] == 1
    assert same(saved["model"], good)


def test_a_term_that_is_not_finite_is_noticed_within_a_long_epoch(make_task: MakeTask) -> None:
    task = make_task(epochs=1, steps=CHECK_EVERY + 5)
    task.spoilt = {2: math.nan}
    taken = 0
    with pytest.raises(NonFiniteLoss, match="Epoch 1, step 3: first = nan"):
        for step in run_task(task):
            taken = step.step
    assert taken == CHECK_EVERY - 1


@pytest.mark.parametrize("ended", ["after the epoch was said", "within the next epoch"])
@pytest.mark.parametrize("epochs_before", [1, 2])
def test_a_resumed_training_is_the_uninterrupted_one(
    make_task: MakeTask, tmp_path: Path, epochs_before: int, ended: str
) -> None:
    whole = make_task(epochs=3)
    expected = list(run_task(whole, evaluate=evaluate))
    state = StateFile(tmp_path / "state.pt", "fingerprint")
    killed = run_task(make_task(epochs=3), state=state)
    for _ in range(epochs_before):
        following(killed, "epoch")
    if ended == "within the next epoch":
        next(killed)
        next(killed)
    killed.close()  # type: ignore[attr-defined]
    saved = state.load()
    done = saved["epoch"] if saved is not None else 0
    assert done == epochs_before - (ended == "after the epoch was said")

    torch.manual_seed(77)
    resumed = make_task(epochs=3)
    with torch.no_grad():
        for parameter in resumed.model.parameters():
            parameter.add_(1)
        if saved is None:
            resumed = make_task(epochs=3)
    steps = list(run_task(resumed, evaluate=evaluate, state=state))
    rest = expected[1 + 4 * done :] if done else expected
    assert [(s.kind, s.epoch, s.step) for s in steps] == [(s.kind, s.epoch, s.step) for s in rest]
    for found, wanted in zip(steps, rest, strict=True):
        assert {k: float(v) for k, v in found.terms.items()} == {
            k: float(v) for k, v in wanted.terms.items()
        }
        assert found.look == wanted.look and found.learning_rates == wanted.learning_rates
    assert same(weights(resumed), weights(whole))


def test_a_finished_training_has_nothing_to_do(make_task: MakeTask, tmp_path: Path) -> None:
    state, whole, again = StateFile(tmp_path / "state.pt", "f"), make_task(), make_task()
    for _ in run_task(whole, state=state):
        pass
    assert list(run_task(again, state=state)) == []
    assert same(weights(again), weights(whole))


def test_changed_weights_are_kept_in_the_state(make_task: MakeTask, tmp_path: Path) -> None:
    state, controls = StateFile(tmp_path / "state.pt", "f"), Controls()
    controls.set_weight("first", 3)
    steps = run_task(make_task(), controls=controls, state=state)
    following(steps, "epoch")
    next(steps)
    resumed = make_task()
    following(run_task(resumed, state=state), "step")
    assert resumed.weights == {"first": 3.0, "second": 0.5}


def test_the_terms_are_known_when_it_begins_and_follow_what_is_in_force(
    make_task: MakeTask,
) -> None:
    controls = Controls()
    assert controls.terms == {}
    steps = run_task(make_task(), controls=controls)
    assert next(steps).kind == "start"
    assert controls.terms == {"first": 1.0, "second": 0.5}
    controls.set_weight("second", 2)
    assert controls.terms["second"] == 0.5, "not before a step has used it"
    following(steps, "step")
    assert controls.terms == {"first": 1.0, "second": 2.0}


STEERED = {2: ("weight/second", 2.0), 4: ("learning_rate_factor", 0.25), 7: ("weight/first", 0.0)}


def steer(steps: Iterator[Step], controls: Controls) -> list[Step]:
    """Take all steps, and between them make the changes of `STEERED` by hand."""
    taken = []
    for step in steps:
        taken.append(step)
        if step.kind == "step" and step.step in STEERED:
            name, value = STEERED[step.step]
            if name == "learning_rate_factor":
                controls.set_learning_rate_factor(value)
            else:
                controls.set_weight(name.removeprefix("weight/"), value)
    return taken


def steered(make_task: MakeTask) -> tuple[Any, list[Step]]:
    task, controls = make_task(epochs=3), Controls()
    return task, steer(run_task(task, controls=controls, evaluate=evaluate), controls)


def test_what_was_changed_by_hand_can_be_replayed(make_task: MakeTask) -> None:
    by_hand, taken = steered(make_task)
    changes = [change for step in taken for change in step.changes]
    assert changes == [Change(at, *STEERED[at]) for at in STEERED]
    replayed, plain, controls = make_task(epochs=3), make_task(epochs=3), Controls()
    controls.replay(reversed(changes))
    again = list(run_task(replayed, controls=controls, evaluate=evaluate))
    assert same(weights(replayed), weights(by_hand))
    assert [step.changes for step in again] == [step.changes for step in taken]
    for _ in run_task(plain):
        pass
    assert not same(weights(plain), weights(by_hand))


@pytest.mark.parametrize("epochs_before", [1, 2])
@pytest.mark.parametrize("replays", [False, True])
def test_a_resumed_steered_training_is_the_uninterrupted_one(
    make_task: MakeTask, tmp_path: Path, epochs_before: int, replays: bool
) -> None:
    """Where it replays the later changes are made again, else by hand; the earlier are kept."""
    whole, taken = steered(make_task)
    changes = [change for step in taken for change in step.changes]
    state, controls = StateFile(tmp_path / "state.pt", "f"), Controls()
    killed = run_task(make_task(epochs=3), controls=controls, state=state)
    for step in killed:
        if step.step == 3 * epochs_before + 1 and step.kind == "step":
            break
        steer(iter([step]), controls)
    killed.close()  # type: ignore[attr-defined]
    resumed, controls = make_task(epochs=3), Controls()
    if replays:
        controls.replay(changes)
        rest = list(run_task(resumed, controls=controls, state=state))
    else:
        rest = steer(run_task(resumed, controls=controls, state=state), controls)
    assert rest[0].step == 3 * epochs_before + 1
    assert same(weights(resumed), weights(whole))
    assert controls.learning_rate_factor == 0.25
    wanted = [change for change in changes if change.step >= 3 * epochs_before]
    assert [change for step in rest for change in step.changes] == wanted


def test_an_older_state_has_no_learning_rate_factor(make_task: MakeTask, tmp_path: Path) -> None:
    state = StateFile(tmp_path / "state.pt", "f")
    steps = run_task(make_task(), state=state)
    following(steps, "epoch")
    next(steps)
    saved = state.load()
    assert saved is not None
    del saved["learning_rate_factor"]
    state.save({name: value for name, value in saved.items() if name != "fingerprint"})
    resumed = following(run_task(make_task(), state=state), "step")
    assert resumed.learning_rates["bottleneck"] == pytest.approx(0.02 * 6**-0.75)


def test_a_change_that_cannot_be_made_is_refused_before_anything_is_trained(
    make_task: MakeTask,
) -> None:
    for change, words in (
        (Change(0, "weight/third", 1.0), r"no loss term 'third'. Known: first, second"),
        (Change(0, "third", 1.0), "'third' is neither weight/<term> nor learning_rate_factor"),
        (Change(6, "weight/first", 1.0), r"no step 6 .*'weight/first'.* has 6 steps"),
        (Change(-1, "weight/first", 1.0), "no step -1"),
    ):
        task, controls = make_task(), Controls()
        before = weights(task)
        controls.replay([change])
        with pytest.raises(ValueError, match=words):
            next(run_task(task, controls=controls))
        assert task.events == [] and same(weights(task), before)
    controls = Controls()
    controls.set_weight("third", 1)
    with pytest.raises(ValueError, match="no loss term 'third'"):
        next(run_task(make_task(), controls=controls))


def test_saving_changes_nothing_and_is_said_once(make_task: MakeTask) -> None:
    undisturbed, task, controls = make_task(), make_task(), Controls()
    expected = list(run_task(undisturbed, evaluate=evaluate))
    taken = []
    for step in run_task(task, controls=controls, evaluate=evaluate):
        taken.append(step)
        if step.kind == "step" and step.step in (2, 3):
            controls.save()
    saved = [(s.epoch, s.step, s.evaluation, s.terms) for s in taken if s.kind == "saved"]
    assert saved == [(0, 2, None, {}), (1, 3, None, {})]
    assert [s.step for s in taken if s.kind != "saved"] == [s.step for s in expected]
    assert task.events == undisturbed.events
    assert same(weights(task), weights(undisturbed))


def test_a_model_can_be_saved_while_it_is_paused_and_before_it_stops(make_task: MakeTask) -> None:
    controls = Controls()
    steps = run_task(make_task(), controls=controls)
    following(steps, "step")
    controls.pause()
    assert next(steps).kind == "paused"
    controls.save()
    assert [next(steps).kind for _ in range(3)] == ["saved", "paused", "paused"]
    controls.save()
    controls.stop()
    assert [step.kind for step in steps] == ["saved", "stopped"]


def test_an_interrupt_in_the_middle_of_a_step_can_be_resumed(
    make_task: MakeTask, tmp_path: Path
) -> None:
    whole, state = make_task(), StateFile(tmp_path / "state.pt", "f")
    for _ in run_task(whole):
        pass
    task = make_task()
    losses = task.losses

    def interrupted(step: int) -> dict[str, Tensor]:
        found: dict[str, Tensor] = losses(step)
        if step == 4:
            raise KeyboardInterrupt
        return found

    task.losses = interrupted
    with pytest.raises(KeyboardInterrupt):
        for _ in run_task(task, state=state):
            pass
    resumed = make_task()
    assert following(run_task(resumed, state=state), "step").step == 4
    for _ in run_task(resumed := make_task(), state=state):
        pass
    assert same(weights(resumed), weights(whole))


# --- preempted ----------------------------------------------------------------------------------


def preempted(task: Any, state: StateFile | None, last: int, **about: Any) -> list[Step]:
    """The steps until `last`, after which the training is asked to end."""
    controls, taken = about.pop("controls", None) or Controls(), list[Step]()
    with pytest.raises(Preempted, match="SIGTERM: preempted; run again to go on"):
        for step in run_task(task, controls=controls, state=state, **about):
            taken.append(step)
            if (step.kind, step.step) == ("step", last) or last == 0:
                controls.preempt()
    return taken


@pytest.mark.parametrize("last", range(7))
def test_a_preempted_training_goes_on_from_its_step(
    make_task: MakeTask, tmp_path: Path, last: int
) -> None:
    """Before the first step, within an epoch, and after the last one of it; dropout draws on."""
    whole, state = make_task(), StateFile(tmp_path / "state.pt", "f")
    expected = list(run_task(whole, evaluate=evaluate))
    taken = preempted(make_task(), state, last, evaluate=evaluate)
    torch.manual_seed(77)
    resumed = make_task()
    steps = list(run_task(resumed, evaluate=evaluate, state=state))
    if last == 0:
        assert [s.kind for s in taken] == ["start"]
        taken = []  # nothing was learnt, so there is nothing to go on from
    kinds = [(s.kind, s.epoch, s.step) for s in expected]
    assert [(s.kind, s.epoch, s.step) for s in taken + steps] == kinds
    for found, wanted in zip(taken + steps, expected, strict=True):
        assert {k: float(v) for k, v in found.terms.items()} == {
            k: float(v) for k, v in wanted.terms.items()
        }
        assert found.look == wanted.look and found.learning_rates == wanted.learning_rates
    assert same(weights(resumed), weights(whole))
    assert [path.name for path in tmp_path.iterdir() if "within" in path.name] == []


@pytest.mark.parametrize("damage", ["torn", "zeros", "empty", "gone"])
def test_a_damaged_state_within_an_epoch_costs_that_epoch_alone(
    make_task: MakeTask, tmp_path: Path, damage: str
) -> None:
    whole, state = make_task(), StateFile(tmp_path / "state.pt", "f")
    for _ in run_task(whole):
        pass
    preempted(make_task(), state, 5)
    file = tmp_path / "state.pt.within"
    content = file.read_bytes()
    if damage == "gone":
        file.unlink()
    else:
        file.write_bytes({"torn": content[:-9], "zeros": bytes(len(content)), "empty": b""}[damage])
    resumed = make_task()
    steps = list(run_task(resumed, state=state))
    assert (steps[0].kind, steps[0].step) == ("step", 4)
    assert same(weights(resumed), weights(whole))


def test_what_was_changed_by_hand_is_in_force_after_a_preemption(
    make_task: MakeTask, tmp_path: Path
) -> None:
    controls, state = Controls(), StateFile(tmp_path / "state.pt", "f")
    controls.replay([Change(1, "weight/first", 3.0), Change(1, "learning_rate_factor", 0.5)])
    preempted(make_task(), state, 2, controls=controls)
    resumed, again = make_task(), Controls()
    again.replay([Change(1, "weight/first", 3.0), Change(1, "learning_rate_factor", 0.5)])
    step = next(run_task(resumed, controls=again, state=state))
    assert step.step == 3 and step.changes == ()
    assert resumed.weights == {"first": 3.0, "second": 0.5} == again.terms
    assert step.learning_rates["bottleneck"] == pytest.approx(0.5 * 0.02 * (1 + 20 / 6) ** -0.75)


def test_a_term_that_is_not_finite_is_never_saved_within_an_epoch(
    make_task: MakeTask, tmp_path: Path
) -> None:
    task, state, controls = make_task(), StateFile(tmp_path / "state.pt", "f"), Controls()
    task.spoilt = {1: math.nan}
    steps = run_task(task, controls=controls, state=state)
    following(steps, "step"), following(steps, "step")
    controls.preempt()
    with pytest.raises(NonFiniteLoss, match="Epoch 1, step 2: first = nan"):
        next(steps)
    assert list(tmp_path.iterdir()) == []


def test_all_trainings_of_a_process_are_preempted_and_none_begins(make_task: MakeTask) -> None:
    suspended = run_task(make_task())
    next(suspended)
    assert preemption.trainings == 1
    preemption.ask()
    try:
        for steps in (suspended, run_task(make_task())):
            with pytest.raises(Preempted):
                next(steps)
    finally:
        preemption.forget()
    assert preemption.trainings == 0


def test_a_paused_training_is_preempted(make_task: MakeTask) -> None:
    controls = Controls()
    steps = run_task(make_task(), controls=controls)
    following(steps, "step")
    controls.pause()
    assert next(steps).kind == "paused"
    controls.preempt()
    with pytest.raises(Preempted):
        next(steps)

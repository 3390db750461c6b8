"""Two processes give the weights that one gives, and begin and end together."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import psutil
import pytest
import torch
from torch import Tensor

from socketlab.data.modality import PixelFormat
from socketlab.data.views import Evaluation, ImagePairs, Images, SourceImages, TargetImages, Views
from socketlab.methods import build_method
from socketlab.methods.source import Source, SourceOptions
from socketlab.models.classifier import Classifier
from socketlab.training.controls import LEARNING_RATE_FACTOR, Change, Controls, Preempted
from socketlab.training.followers import FollowerLost
from socketlab.training.inference import scorer
from socketlab.training.precision import Precision
from socketlab.training.recipe import Recipe
from socketlab.training.state import StateFile
from socketlab.training.steps import Step

CLASSES = ("bed", "desk", "sofa")
ONE = Precision(torch.device("cpu"), torch.float32, "a test")
TWO = replace(ONE, devices=2)
# 2 epochs of 3 steps of 4 images; the rounding of sums in another order is all that may differ.
CLOSE = {"rtol": 1e-4, "atol": 1e-5}


def images(kind: str, count: int, seed: int) -> Images:
    random = torch.Generator().manual_seed(seed)
    shape = (count, 16, 16, 3) if kind == "rgb" else (count, 16, 16)
    brightness = torch.rand((count,) + (1,) * (len(shape) - 1), generator=random)
    raw = torch.rand(shape, generator=random) * brightness * 255
    ids = tuple(f"{kind}-{seed}-{row}" for row in range(count))
    form = PixelFormat("rgb", 0, 255, None) if kind == "rgb" else PixelFormat("nir", 0, 255, None)
    return Images(raw.to(torch.uint8), form, ids)


def labels(count: int) -> Tensor:
    return torch.randint(0, 3, (count,), generator=torch.Generator().manual_seed(count))


def source_images() -> SourceImages:
    return SourceImages(images("rgb", 15, 1), labels(15), CLASSES, "a/rgb")


def views() -> Views:
    pairs = ImagePairs(images("rgb", 8, 3), images("nir", 8, 4), tuple("abcdefgh"))
    return Views(target=TargetImages(images("nir", 13, 2), "b/nir"), pairs=pairs)


@pytest.fixture(scope="module")
def source_model() -> Classifier:
    torch.manual_seed(7)
    model = Classifier("resnet_small", CLASSES, bottleneck=8).train()
    with torch.no_grad():
        for _ in range(5):
            model(torch.rand(16, 3, 14, 14) * torch.rand(16, 1, 1, 1))
    return model.eval()


def begun(
    name: str, model: Classifier, precision: Precision, **options: Any
) -> tuple[Any, Iterator[Step]]:
    """A method, and its steps from here on."""
    given, about = views(), {name: options.pop(name, None) for name in ("controls", "state")}
    chosen = {"epochs": 2, "batch_size": 4} | options
    method = build_method(name, chosen, given, crop=14, seed=3, precision=precision)
    seen = Evaluation(images("nir", 9, 7), labels(9), CLASSES, "b/nir")
    evaluate = scorer(seen, 14, ONE)
    return method, method.fit([model], given.target, given.pairs, evaluate=evaluate, **about)


def assert_same(found: Any, wanted: Any, before: Classifier | None = None) -> None:
    """The same weights, running statistics, memory and optimiser; and they have moved."""
    for name, value in wanted.model.state_dict().items():
        torch.testing.assert_close(found.model.state_dict()[name], value, **CLOSE, msg=name)
    assert found.memory.keys() == wanted.memory.keys()
    for name, value in wanted.memory.items():
        torch.testing.assert_close(found.memory[name], value, **CLOSE, msg=name)
    for one, other in zip(momenta(found), momenta(wanted), strict=True):
        torch.testing.assert_close(one, other, rtol=1e-2, atol=1e-4)
    if before is not None:
        weight = wanted.model.state_dict()["encoder.stages.0.weight"]
        assert (weight - before.state_dict()["encoder.stages.0.weight"]).abs().max() > 1e-3


def momenta(method: Any) -> list[Tensor]:
    kept = method.optimiser.state_dict()["state"].values()
    return [value for of_one in kept for value in of_one.values() if isinstance(value, Tensor)]


def assert_said_the_same(found: list[Step], wanted: list[Step]) -> None:
    assert [(s.kind, s.epoch, s.step) for s in found] == [(s.kind, s.epoch, s.step) for s in wanted]
    for one, other in zip(found, wanted, strict=True):
        assert one.changes == other.changes and one.look.predicted == other.look.predicted
        assert one.terms.keys() == other.terms.keys()
        for name, term in other.terms.items():
            torch.testing.assert_close(one.terms[name], term, rtol=1e-3, atol=1e-4, msg=name)


@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("socket", {"statistics_gate": True, "one_pass": True, "pair_statistics": "moving"}),
        ("socket", {"pair_crops": "fixed"}),
        (
            "translated",
            {"adversary": "patches", "statistics_weight": 0.1, "perceptual_weight": 0.1}
            | {"learning_rate": 1e-3},
        ),
    ],
)
def test_two_processes_give_the_weights_of_one(
    source_model: Classifier, name: str, options: dict[str, Any]
) -> None:
    made = []
    for precision in (ONE, TWO):
        controls = Controls()
        controls.replay([Change(2, LEARNING_RATE_FACTOR, 0.5), Change(4, "weight/pairs", 0.0)])
        about = {"controls": controls} if name == "socket" else {}
        method, steps = begun(name, source_model, precision, **options, **about)
        made.append((method, list(steps)))
    (one, said_by_one), (two, said_by_two) = made
    assert_same(two, one)
    assert_said_the_same(said_by_two, said_by_one)
    measures = [steps[-1].look.measures for steps in (said_by_two, said_by_one)]
    assert measures[0] == pytest.approx(measures[1], rel=1e-3)


def test_a_source_model_is_trained_by_two_processes_as_by_one() -> None:
    about: dict[str, Any] = {"learning_rate": 1e-3, "colour_jitter": 0.3}
    options = SourceOptions(epochs=2, batch_size=4, bottleneck=8, **about)
    made = []
    for precision in (ONE, TWO):
        source = Source(options, crop=14, seed=3, precision=precision)
        made.append((source, list(source.fit(source_images()))))
    assert_same(made[1][0], made[0][0])
    assert_said_the_same(made[1][1], made[0][1])


def test_stopped_after_a_step_the_model_is_that_of_one_process_and_the_others_end(
    source_model: Classifier,
) -> None:
    made = []
    for precision in (ONE, TWO):
        controls = Controls()
        method, steps = begun("shot", source_model, precision, controls=controls)
        said = [next(steps) for _ in range(3)]  # the start and two steps
        followers = [] if precision is ONE else [*method.team.followers]
        controls.stop()
        made.append((method, said + list(steps)))
        assert all(not process.is_alive() for process in followers)
    assert len(followers) == 1
    assert_same(made[1][0], made[0][0], source_model)
    assert_said_the_same(made[1][1], made[0][1])
    assert made[1][1][-1].kind == "stopped" and made[1][0].team is None


def test_what_two_processes_began_one_goes_on_with(
    source_model: Classifier, tmp_path: Path
) -> None:
    state = StateFile(tmp_path / "state.pt", "aad")
    method, steps = begun("aad", source_model, TWO, state=state, neighbours=2)
    epochs = 0
    for step in steps:
        epochs += step.kind == "epoch"
        if epochs == 1 and step.kind == "step":  # the epoch before is saved now
            break
    (follower,) = method.team.followers
    steps.close()  # type: ignore[attr-defined]
    assert not follower.is_alive()
    resumed, rest = begun("aad", source_model, ONE, state=state, neighbours=2)
    said = list(rest)
    assert said[0].epoch == 1 and said[0].kind == "step"
    whole, steps = begun("aad", source_model, ONE, neighbours=2)
    list(steps)
    assert_same(resumed, whole)


def test_a_process_that_is_killed_is_named(source_model: Classifier) -> None:
    method, steps = begun("shot_im", source_model, TWO)
    next(steps), next(steps)
    (follower,) = method.team.followers
    assert follower.pid is not None
    os.kill(follower.pid, signal.SIGKILL)
    began = time.monotonic()
    with pytest.raises(FollowerLost, match=r"Process 1 of 2 .* lost: .* exit code -9.*run again"):
        list(steps)
    assert time.monotonic() - began < 60  # it does not wait for one that never comes
    assert method.team is None


@pytest.mark.faults
def test_preempted_within_an_epoch_both_end_and_two_go_on_from_that_step(
    source_model: Classifier, tmp_path: Path
) -> None:
    state, controls = StateFile(tmp_path / "state.pt", "shot"), Controls()
    method, steps = begun("shot", source_model, TWO, state=state, controls=controls)
    said = [next(steps) for _ in range(3)]  # the start and two steps
    (follower,) = method.team.followers
    assert follower.pid is not None
    os.kill(follower.pid, signal.SIGTERM)  # as a machine does that asks all its processes
    said.append(next(steps))
    said.append(next(steps))  # the end of the first epoch
    said.append(next(steps))
    controls.preempt()
    with pytest.raises(Preempted):
        next(steps)
    assert not follower.is_alive() and method.team is None
    within = state.load_within(1)
    assert within is not None and within["step"] == 4
    first, second = (found["cpu"] for found in within["random"])
    assert not torch.equal(first, second), "each process draws numbers of its own"
    resumed, rest = begun("shot", source_model, TWO, state=state)
    said += list(rest)
    whole, steps = begun("shot", source_model, TWO)
    assert_said_the_same(said, list(steps))
    for name, value in whole.model.state_dict().items():
        assert torch.equal(resumed.model.state_dict()[name], value), name


LEADER = """
import importlib.util, os, signal, sys
spec = importlib.util.spec_from_file_location("training", sys.argv[1])
training = importlib.util.module_from_spec(spec)
spec.loader.exec_module(training)
model = training.Classifier("resnet_small", training.CLASSES, bottleneck=8).eval()
method, steps = training.begun("shot_im", model, training.TWO)
next(steps), next(steps)
print(method.team.followers[0].pid, flush=True)
os.kill(os.getpid(), signal.SIGKILL)
"""


@pytest.mark.faults
def test_a_kernel_that_is_killed_leaves_no_process_behind() -> None:
    command = [sys.executable, "-c", LEADER, __file__]
    killed = subprocess.run(command, capture_output=True, text=True, timeout=300)
    assert killed.returncode == -signal.SIGKILL, killed.stderr
    follower, until = int(killed.stdout), time.monotonic() + 20
    while psutil.pid_exists(follower) and time.monotonic() < until:
        time.sleep(0.05)
    assert not psutil.pid_exists(follower)


def test_a_process_that_cannot_prepare_says_why(
    source_model: Classifier, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Recipe, "write", lambda _self, _folder: None)
    _, steps = begun("shot_im", source_model, TWO)
    with pytest.raises(FollowerLost, match=r"Process 1 of 2 .* lost: TypeError: .*source_models"):
        next(steps)


def test_a_batch_that_cannot_be_shared_is_refused(source_model: Classifier) -> None:
    _, steps = begun("shot_im", source_model, TWO, batch_size=5)
    with pytest.raises(ValueError, match=r"5 images .* 2 devices. Set batch_size: 4 or 6"):
        next(steps)


def test_where_nothing_is_trained_no_process_is_started(
    source_model: Classifier, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Recipe, "write", lambda _self, _folder: pytest.fail("it was started"))
    _, steps = begun("adabn", source_model, TWO, epochs=1)
    assert [step.kind for step in steps] == ["start", "epoch"]

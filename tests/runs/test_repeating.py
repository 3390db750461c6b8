"""Runs that are repeated: what is planned, what is found to differ, and what is made of folders."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
import torch

from socketlab.models.checkpoint import describe_classifier, save_classifier
from socketlab.models.classifier import Classifier
from socketlab.runs import repeating
from socketlab.runs.entries import Changed, Part, Record, Result, Try
from socketlab.runs.keeping import answers_file, model_file
from socketlab.runs.notebooks import NotebookFailed
from socketlab.runs.parameters import ParameterError, validate
from socketlab.runs.planning import Planned
from socketlab.runs.record import Run
from socketlab.runs.repeat_differences import compare_runs
from socketlab.runs.repeat_plan import RepeatError, plan_repeat
from socketlab.runs.repeat_reasons import environment_differences, likely_reason
from socketlab.runs.repeating import Repeated, repeat, total
from socketlab.runs.running import run_all
from socketlab.runs.sweeps.record import Job, SweepRecord, write_sweep

SOURCE, STAGE = "source-a.rgb-seed0", "socket-to-a.depth-held_out-seed0"
Change = Callable[[Path], None]


def row(stage: str, **values: Any) -> Result:
    about = {"protocol": "held_out", "source": "a/rgb", "target": "a/depth", "seed": 0}
    about |= {"accuracy": 0.5, "balanced_accuracy": 0.5, "chosen_by": "last", "n": 4}
    return Result.model_validate({"method": "socket", "stage": stage, **about, **values})


def make_run(folder: Path, *parts: tuple[str, dict[str, Any]], **about: Any) -> Path:
    """A run of two stages that is done, as it would lie there."""
    run = Run(folder)
    given = parts or (("02_train_source", {}), ("05_transfer", {}))
    network = Classifier("resnet_small", ("bed", "sofa"), bottleneck=4)
    card = describe_classifier(
        network,
        domain="a/depth",
        crop=14,
        size=16,
        method="socket",
        configuration={"seed": 0, "options": {"epochs": 2}, "fingerprint": "f"},
        scores={},
    )
    for stage in (SOURCE, STAGE):
        for epoch in (0, 1, 2):
            run.add_metrics(stage, epoch, epoch * 3, {"loss/total": 1.25 - epoch, "nan": torch.nan})
        save_classifier(network, model_file(run, stage), card)
        answers = pd.DataFrame(
            {"id": ["x", "y"], "truth": [0, 1], "answer": [1, 1], "confidence": [0.5, 0.75]}
        )
        answers_file(run, stage).parent.mkdir(exist_ok=True)
        answers.to_parquet(answers_file(run, stage), index=False)

    def change(record: Record) -> None:
        record.status, record.command = "done", "socketlab run 05"
        record.device = {"kind": "cpu", "name": "cpu", "threads": "1", "deterministic": "no"}
        record.stages = {stage: Part(status="done", fingerprint="f") for stage in (SOURCE, STAGE)}
        record.results = [row(SOURCE), row(STAGE), row(STAGE, chosen_by="oracle", epoch=1)]
        for part, values in given:
            known = {"run": folder.name, "runs_dir": str(folder.parent), **values}
            parameters = validate(part.split("-")[0], known)
            record.configuration[part] = parameters.model_dump(mode="json")
            record.notebooks[part] = Part(status="done")
        for name, value in about.items():
            setattr(record, name, value)

    run.change(change)
    return folder


def write(folder: Path, **about: Any) -> None:
    def change(record: Record) -> None:
        for name, value in about.items():
            setattr(record, name, value)

    Run(folder).change(change)


# --- what is planned ----------------------------------------------------------------------------


def planned_of(folder: Path, **given: Any) -> Sequence[Planned]:
    return plan_repeat(Run(folder).read(), folder.parent / "x.repeat", given).planned


def test_the_parameters_are_those_of_the_record(tmp_path: Path) -> None:
    values = {"shared": "elsewhere", "tensorboard": True, "source_options": {"epochs": 7}}
    parts = (("02_train_source", values), ("05_transfer-tent", values | {"method": "tent"}))
    folder = make_run(tmp_path / "x", *parts)
    plan = plan_repeat(Run(folder).read(), tmp_path / "x.repeat", {"deterministic": True})
    assert [(item.notebook, item.part) for item in plan.planned] == [
        ("02_train_source", "02_train_source"),
        ("05_transfer", "05_transfer-tent"),
    ]
    assert plan.threads == "1" and not plan.notes
    for item in plan.planned:
        parameters = item.parameters.model_dump()
        assert item.parameters.folder == tmp_path / "x.repeat"
        assert parameters["shared"] is None and not parameters["tensorboard"]
        assert parameters["source_options"] == {"epochs": 7} and parameters["deterministic"]
    assert plan.planned[1].parameters.model_dump()["method"] == "tent"


def test_what_another_run_has_made_is_made_first(tmp_path: Path) -> None:
    """Once for the same source model, again for another one, and not where it is found shared."""
    parts: tuple[tuple[str, dict[str, Any]], ...] = (
        ("05_transfer", {"source_options": {"epochs": 3}}),
        ("03_modality_gap", {"source_options": {"epochs": 3}, "points": 100}),
        ("05_transfer-1", {"source_options": {"epochs": 3}, "seed": 1}),
        ("06_compare", {"source_options": {"epochs": 3}, "seeds": [2]}),
        ("05_transfer-2", {"source_options": {"epochs": 3}, "seed": 2}),
    )
    folder = make_run(tmp_path / "x", *parts)
    names = [item.part for item in planned_of(folder)]
    own = [part for part, _ in parts]
    assert names == ["02_train_source", *own[:2], "02_train_source-2", *own[2:]]
    first, second = (i.parameters for i in planned_of(folder) if i.notebook == "02_train_source")
    assert (first.seed, second.seed) == (0, 1)
    assert first.model_dump()["source_options"] == {"epochs": 3}
    record = Run(folder).read()
    plan = plan_repeat(record, tmp_path / "x.repeat", {}, str(tmp_path / "shared"))
    assert [item.part for item in plan.planned] == own
    assert plan.planned[0].parameters.shared == str(tmp_path / "shared")


def test_changes_made_by_hand_become_parameters(tmp_path: Path) -> None:
    by_hand = [Changed(step=2, name="learning_rate_factor", value=0.5)]
    folder = make_run(tmp_path / "x", changes={STAGE: by_hand})
    plan = plan_repeat(Run(folder).read(), tmp_path / "x.repeat", {})
    assert plan.planned[-1].parameters.model_dump()["changes"] == [by_hand[0].model_dump()]
    assert not plan.notes


@pytest.mark.parametrize("again", [True, False])
def test_changes_that_nobody_can_make_again_are_said(tmp_path: Path, again: bool) -> None:
    """Of a training that no parameter reaches, or of one that a later notebook asks for, too."""
    by_hand = [Changed(step=2, name="weight/pairs", value=0.5)]
    parts: list[tuple[str, dict[str, Any]]] = [("02_train_source", {}), ("05_transfer", {})]
    parts += [("06_compare", {"methods": ["socket"]})] * again
    steered = STAGE if again else SOURCE
    folder = make_run(tmp_path / "x", *parts, changes={steered: by_hand})
    plan = plan_repeat(Run(folder).read(), tmp_path / "x.repeat", {})
    assert plan.planned[1].parameters.model_dump()["changes"] == []
    (note,) = plan.notes
    assert steered in note and "cannot be made again" in note


def test_changes_that_the_parameters_asked_for_are_none_by_hand(tmp_path: Path) -> None:
    asked = Changed(step=2, name="learning_rate_factor", value=0.5)
    parts: tuple[tuple[str, dict[str, Any]], ...] = (
        ("02_train_source", {}),
        ("05_transfer", {"changes": [asked.model_dump()]}),
    )
    folder = make_run(tmp_path / "x", *parts, changes={STAGE: [asked]})
    plan = plan_repeat(Run(folder).read(), tmp_path / "x.repeat", {})
    assert not plan.notes
    assert plan.planned[-1].parameters.model_dump()["changes"] == [asked.model_dump()]


def test_what_cannot_be_repeated_says_what_to_do(tmp_path: Path) -> None:
    folder = make_run(tmp_path / "x")
    write(folder, status="stopped", reason="by hand")
    with pytest.raises(RepeatError, match=r"is stopped \(by hand\).*Finish it.*socketlab run 05"):
        planned_of(folder)
    write(folder, status="done", configuration={})
    with pytest.raises(RepeatError, match="not recorded the parameters of 02_train_source, 05_tr"):
        planned_of(folder)
    with pytest.raises(ParameterError, match="'seed': it would be another experiment"):
        repeat(folder, {"seed": 1}, say=print)


# --- what differs -------------------------------------------------------------------------------


def change_number(folder: Path) -> None:
    run = Run(folder)
    numbers = run.metrics()
    last = (numbers["stage"] == STAGE) & (numbers["name"] == "loss/total")
    numbers.loc[last & (numbers["epoch"] == 2), "value"] += 0.5
    numbers.loc[last & (numbers["epoch"] == 1), "value"] += 2**-52
    numbers.to_parquet(folder / "metrics.parquet", index=False)


def drop_number(folder: Path) -> None:
    numbers = Run(folder).metrics()
    gone = (numbers["stage"] == STAGE) & (numbers["epoch"] == 1) & (numbers["name"] == "nan")
    numbers[~gone].to_parquet(folder / "metrics.parquet", index=False)


def change_weights(folder: Path) -> None:
    run = Run(folder)
    torch.manual_seed(1)
    other = Classifier("resnet_small", ("bed", "sofa"), bottleneck=4)
    about: dict[str, Any] = {"configuration": {"fingerprint": "f"}, "scores": {}, "method": "s"}
    card = describe_classifier(other, domain="a/depth", crop=14, size=16, **about)
    save_classifier(other, model_file(run, STAGE), card)


def change_answers(folder: Path) -> None:
    file = answers_file(Run(folder), STAGE)
    found = pd.read_parquet(file)
    found.loc[0, ["answer", "confidence"]] = (0, 0.625)
    found.to_parquet(file, index=False)


def change_row(folder: Path) -> None:
    write(folder, results=[row(SOURCE), row(STAGE), row(STAGE, chosen_by="oracle", epoch=2)])


def damage(folder: Path) -> None:
    model_file(Run(folder), STAGE).write_bytes(b"torn")


def forget(folder: Path) -> None:
    write(folder, stages={SOURCE: Part(status="done", fingerprint="f")})


DIFFERENCES: dict[str, tuple[Change, dict[str, Any]]] = {
    "number": (change_number, {"different": 2, "epoch": 1, "largest": "0.5 of loss/total, -0.75"}),
    "dropped": (drop_number, {"different": 1, "epoch": 1, "largest": "nan is there in one"}),
    "weights": (change_weights, {"weights": "differ by up to"}),
    "answers": (change_answers, {"answers": "1 of 2 differ, confidence by up to 0.12"}),
    "row": (change_row, {"different": 1, "largest": "epoch chosen by oracle: 1 before, 2 now"}),
    "damaged": (damage, {"weights": "damaged"}),
    "missing": (forget, {"missing": "has not made it"}),
}


def twin(tmp_path: Path, change: Change | None = None) -> tuple[Path, Path]:
    """A run, and its copy with a change."""
    first = make_run(tmp_path / "x")
    second = Path(shutil.copytree(first, tmp_path / "y"))
    if change is not None:
        change(second)
    return first, second


def test_equal_runs_are_equal_whatever_the_clock_says(tmp_path: Path) -> None:
    def slower(folder: Path) -> None:
        spent = {"seconds": 9.0, "peak_memory": 7.0, "expected_memory": 5.0, "steered": 1}
        found = [row(SOURCE), row(STAGE), row(STAGE, chosen_by="oracle", epoch=1)]
        write(folder, results=[each.model_copy(update=spent) for each in found])

    checks = compare_runs(*twin(tmp_path, slower))
    assert [check.stage for check in checks] == [SOURCE, STAGE]
    for check in checks:
        assert check.equal and check.different == 0 and check.epoch is None
        assert (check.weights, check.answers, check.changed) == ("equal", "equal", "")
        assert check.numbers > 6


@pytest.mark.parametrize("name", DIFFERENCES)
def test_each_difference_is_found_where_it_is(tmp_path: Path, name: str) -> None:
    change, expected = DIFFERENCES[name]
    source, found = compare_runs(*twin(tmp_path, change))
    assert source.equal and not found.equal
    for attribute, value in expected.items():
        text = getattr(found, attribute)
        assert value in text if isinstance(value, str) else text == value


def test_another_configuration_is_named(tmp_path: Path) -> None:
    def other(folder: Path) -> None:
        change_number(folder)
        file = model_file(Run(folder), STAGE).with_suffix(".json")
        card = json.loads(file.read_text())
        card["configuration"]["options"] = {"epochs": 3}
        file.write_text(json.dumps(card))
        stages = Run(folder).read().stages
        write(folder, stages=stages | {STAGE: Part(status="done", fingerprint="g")})

    first, second = twin(tmp_path, other)
    checks = compare_runs(first, second)
    assert checks[1].changed == "epochs was 2, is 3"
    now = Run(second).read()
    assert "made of something else: epochs was 2" in likely_reason(checks, {}, now, [])
    # Changes by hand that became parameters are part of the fingerprint, and no reason.
    write(first, changes={STAGE: [Changed(step=2, name="learning_rate_factor", value=0.5)]})
    assert not compare_runs(first, second)[1].changed


def test_the_reason_is_what_differs_most(tmp_path: Path) -> None:
    first, second = twin(tmp_path, change_number)
    then, now = Run(first).read(), Run(second).read()
    checks = compare_runs(first, second)

    def reason(**changed: Any) -> str:
        other = now.model_copy(update=changed)
        return likely_reason(checks, environment_differences(then, other), other, [])

    versions, device = now.versions | {"torch": "9"}, now.device
    assert reason().startswith("Nothing that is recorded differs")
    assert f"Other versions: torch {then.versions['torch']} -> 9" in reason(versions=versions)
    threads = device | {"threads": "2"}
    assert "threads 1 -> 2" in reason(versions=versions, device=threads)
    cuda = {"kind": "cuda", "name": "cuda"}
    assert "kind cpu -> cuda" in reason(device=threads | cuda)
    then.device |= cuda
    assert "-p deterministic true" in reason(device=device | cuda)
    assert "Other algorithms" in reason(device=device | cuda | {"deterministic": "yes"})
    then.device |= {"deterministic": "yes"}
    assert "Nothing that" in reason(device=device | cuda | {"deterministic": "yes"})
    note = f"1 change(s) made by hand to {STAGE} cannot be made again"
    assert likely_reason(checks, {}, now, [note]) == f"{note}."
    assert not likely_reason(compare_runs(first, first), {}, now, [])


def test_the_environment_is_compared_as_far_as_it_was_recorded(tmp_path: Path) -> None:
    then = Run(make_run(tmp_path / "x")).read()
    now = then.model_copy(deep=True)
    now.tries = [Try(began="", host="b", pid=1)]
    now.packages = {**now.packages, "numpy": "9", "extra": "1"}
    now.device |= {"reason": "another", "cpu": "new"}
    found = environment_differences(then, now)
    assert found["host"] == ("not recorded", "b") and found["cpu"] == ("not recorded", "new")
    assert found["numpy"][1] == "9" and found["extra"] == ("not recorded", "1")
    assert "reason" not in found
    then.packages = {}
    assert "extra" not in environment_differences(then, now)


# --- what is done -------------------------------------------------------------------------------


class Notebooks:
    """In the place of `run_all`: each run it is asked for is a copy of the one it repeats."""

    def __init__(self, change: Change | None = None) -> None:
        self.change, self.asked = change, list[tuple[Path, dict[str, str]]]()
        self.shared, self.fails = set[str | None](), ""

    def __call__(
        self, planned: Sequence[Planned], *, command: str, environment: dict[str, str], warm: bool
    ) -> list[Path]:
        folder = planned[0].parameters.folder
        self.asked.append((folder, environment))
        self.shared |= {item.parameters.shared for item in planned}
        if self.fails:
            raise NotebookFailed(self.fails)
        first = folder.with_name(folder.name.removesuffix(".repeat"))
        if not first.exists():
            first = folder.parent.with_name(folder.parent.name.removesuffix(".repeat")) / first.name
        shutil.copytree(first, folder, dirs_exist_ok=True)
        if self.change is not None:
            self.change(folder)
        return [folder]


@pytest.fixture
def notebooks(monkeypatch: pytest.MonkeyPatch) -> Notebooks:
    found = Notebooks()
    monkeypatch.setattr(repeating, "run_all", found)
    return found


def files_of(folder: Path) -> dict[str, bytes]:
    found = [f for f in folder.rglob("*") if f.is_file() and not f.name.endswith(".lock")]
    return {str(file.relative_to(folder)): file.read_bytes() for file in found}


def test_an_equal_repetition_leaves_nothing_unless_it_is_kept(
    tmp_path: Path, notebooks: Notebooks
) -> None:
    folder = make_run(tmp_path / "x")
    before, place = files_of(folder), tmp_path / "x.repeat"
    (found,) = repeat(folder, {}, say=print)
    assert found.equal and not found.reason and len(found.checks) == 2
    assert not place.exists() and files_of(folder) == before
    assert notebooks.asked == [(place, {"OMP_NUM_THREADS": "1", "MKL_NUM_THREADS": "1"})]
    repeat(folder, {}, say=print, keep=True)
    assert place.is_dir()


def test_a_repetition_that_differs_is_kept_and_the_next_begins_anew(
    tmp_path: Path, notebooks: Notebooks
) -> None:
    folder, place = make_run(tmp_path / "x"), tmp_path / "x.repeat"
    notebooks.change = change_number
    (found,) = repeat(folder, {}, say=print)
    assert not found.equal and found.reason and place.is_dir()
    (place / "left.txt").write_text("of the first")
    notebooks.change = None
    assert repeat(folder, {}, say=print, keep=True)[0].equal
    assert not (place / "left.txt").exists()


def test_an_interrupted_repetition_goes_on_unless_it_was_another_one(
    tmp_path: Path, notebooks: Notebooks
) -> None:
    folder, place = make_run(tmp_path / "x"), tmp_path / "x.repeat"

    def stop(folder: Path) -> None:
        write(folder, status="stopped")
        (folder / "left.txt").write_text("of the first")
        raise KeyboardInterrupt

    def begin(given: dict[str, Any]) -> None:
        notebooks.change = stop
        with pytest.raises(KeyboardInterrupt):
            repeat(folder, given, say=print)
        notebooks.change = None

    begin({})
    repeat(folder, {}, say=print, keep=True)
    assert (place / "left.txt").exists()
    begin({"dtype": "float32"})
    repeat(folder, {}, say=print, keep=True)
    assert not (place / "left.txt").exists()


def test_a_folder_that_is_no_repetition_is_left_alone(tmp_path: Path, notebooks: Notebooks) -> None:
    folder, other = make_run(tmp_path / "x"), make_run(tmp_path / "x.repeat")
    before = files_of(other)
    with pytest.raises(RepeatError, match=r"x\.repeat is there and is no repetition.*remove it"):
        repeat(folder, {}, say=print)
    assert files_of(other) == before and not notebooks.asked


def test_a_notebook_that_fails_is_a_difference_with_its_reason(
    tmp_path: Path, notebooks: Notebooks
) -> None:
    notebooks.fails = "05_transfer: no memory"
    (found,) = repeat(make_run(tmp_path / "x"), {}, say=print)
    assert not found.equal and found.failed == "05_transfer: no memory"


def test_a_sweep_is_repeated_run_by_run(tmp_path: Path, notebooks: Notebooks) -> None:
    """Those that are done; they share among themselves, and nothing with the sweep itself."""
    sweep = tmp_path / "night"
    names = ("source", "one", "failed", "never")
    jobs = [Job(name=name, steps=[]) for name in names]
    write_sweep(sweep, SweepRecord(name="night", created="today", jobs=jobs))
    for name in names[:3]:
        make_run(sweep / name)
    write(sweep / "failed", status="failed", reason="no memory")
    found = repeat(sweep, {}, say=print, keep=True)
    place = tmp_path / "night.repeat"
    assert [folder for folder, _ in notebooks.asked] == [place / "source", place / "one"]
    assert [one.run for one in found] == list(names) and total(found) == (2, 2)
    assert [one.skipped for one in found] == [False, False, True, True]
    assert "no memory" in found[2].failed and "never begun" in found[3].failed
    assert notebooks.shared == {str(place / "shared")}
    for name in names[:2]:
        write(sweep / name, status="failed", reason="")
    with pytest.raises(RepeatError, match="No run of this sweep is done"):
        repeat(sweep, {}, say=print)


def test_a_run_that_was_passed_over_is_no_difference() -> None:
    assert Repeated("x", skipped=True, failed="never begun").equal
    assert not Repeated("x", failed="broken").equal


@pytest.mark.faults
def test_a_true_run_gives_the_same_numbers_again(
    tmp_path: Path, tiny_scenes: Path, tiny_data: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Notebooks in kernels of their own; with two threads in the place of one it is noticed."""
    given = {
        "run": "true",
        "runs_dir": str(tmp_path),
        "data": str(tiny_scenes),
        "data_dir": str(tiny_data),
        "size": 32,
        "device": "cpu",
        "dtype": "float32",
        "source_options": {"epochs": 1, "batch_size": 8},
    }
    planned = [
        Planned(name, validate(name, given | more), name)
        for name, more in (
            ("02_train_source", {}),
            ("05_transfer", {"options": {"socket": {"epochs": 2, "batch_size": 4}}}),
        )
    ]
    run_all(planned, environment={"OMP_NUM_THREADS": "1"})
    monkeypatch.setenv("OMP_NUM_THREADS", "2")
    (found,) = repeat(tmp_path / "true", {}, say=print)
    assert found.equal, found
    device = Run(tmp_path / "true").read().device
    assert (device["threads"], device["deterministic"]) == ("1", "no")
    write(tmp_path / "true", device=device | {"threads": "2"})
    (found,) = repeat(tmp_path / "true", {}, say=print)
    assert not found.equal and found.checks[0].epoch == 1

"""Stages that several runs share: trained once, found by what decided them."""

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
import torch

from socketlab.runs.experiment import Experiment
from socketlab.runs.gap_views import gap_features
from socketlab.runs.keeping import answers_file, model_file
from socketlab.runs.parameters import validate
from socketlab.runs.record import Run
from socketlab.runs.shared_stages import SharedStages
from socketlab.training.precision import choose_precision

Make = Callable[..., Experiment]
SOURCE = "source-a.rgb-seed0"


@pytest.fixture(scope="module")
def make(tmp_path_factory: pytest.TempPathFactory, tiny_scenes: Path, tiny_data: Path) -> Make:
    runs = tmp_path_factory.mktemp("sharing")

    def made(run: str, **values: Any) -> Experiment:
        given = {
            "run": run,
            "data": str(tiny_scenes),
            "size": 32,
            "method": "tgkt",
            "film": 0,
            "source_options": {"epochs": 2, "batch_size": 8},
            "options": {n: {"epochs": 1, "batch_size": 8} for n in ("tgkt", "translated")},
            "device": "cpu",
            "dtype": "float32",
            "data_dir": str(tiny_data),
            "runs_dir": str(runs),
            "shared": str(runs / "shared"),
        }
        return Experiment(validate("05_transfer", given | values))

    return made


def done(experiment: Experiment) -> Experiment:
    for steps in (experiment.train_source(), experiment.transfer(experiment.trip())):
        for _ in steps:
            pass
    return experiment


@pytest.fixture(scope="module")
def first(make: Make) -> Experiment:
    return done(make("first"))


def rows(run: Run, stage: str) -> list[dict[str, Any]]:
    return [row.model_dump() for row in run.read().results if row.stage == stage]


def test_another_run_trains_only_its_own(
    first: Experiment, make: Make, capsys: pytest.CaptureFixture[str]
) -> None:
    second = done(make("second", method="adabn"))
    said = capsys.readouterr().out
    assert f"{SOURCE}: taken from first" in said
    assert "source_only-to-a.depth-held_out-seed0: taken from first" in said
    stages = second.run.read().stages
    assert stages[SOURCE].taken_from == "first"
    assert stages["adabn-to-a.depth-held_out-seed0"].taken_from == ""
    assert stages[SOURCE].status == "done"


def test_what_is_taken_is_whole(first: Experiment, make: Make) -> None:
    third = done(
        make(
            "third",
            options={"tgkt": {"epochs": 1, "batch_size": 12}}
            | {"translated": {"epochs": 1, "batch_size": 8}},
        )
    )
    shared = [name for name, part in third.run.read().stages.items() if part.taken_from]
    assert sorted(shared) == [
        SOURCE,
        "source_only-to-a.depth-held_out-seed0",
        "translated-to-a.depth-held_out-seed0",
    ]
    for stage in shared:
        assert rows(third.run, stage) == rows(first.run, stage)
        pd.testing.assert_frame_equal(
            third.run.metrics(stage).reset_index(drop=True),
            first.run.metrics(stage).reset_index(drop=True),
        )
        pd.testing.assert_frame_equal(
            pd.read_parquet(answers_file(third.run, stage)),
            pd.read_parquet(answers_file(first.run, stage)),
        )
    one, other = (each.source_model().state_dict() for each in (first, third))
    assert all(torch.equal(one[name], other[name]) for name in one)
    assert (third.run.folder / "previews" / "translated-to-a.depth-held_out-seed0").is_dir()


def test_a_transfer_is_nobody_elses(first: Experiment, make: Make) -> None:
    same = done(make("same"))
    assert same.run.read().stages["tgkt-to-a.depth-held_out-seed0"].taken_from == ""


def test_with_other_options_it_is_made_anew(first: Experiment, make: Make) -> None:
    other = make("other", source_options={"epochs": 1, "batch_size": 8})
    for _ in other.train_source():
        pass
    assert other.run.read().stages[SOURCE].taken_from == ""


def test_without_a_shared_folder_nothing_is_shared(first: Experiment, make: Make) -> None:
    alone = make("alone", shared=None, source_options={"epochs": 2, "batch_size": 8})
    for _ in alone.train_source():
        pass
    assert alone.run.read().stages[SOURCE].taken_from == ""


def test_another_device_or_format_shares_nothing(first: Experiment, tmp_path: Path) -> None:
    folder = first.parameters.folder.parent / "shared"
    fingerprint = first.source_fingerprint(0, "a/rgb")
    run = Run(tmp_path / "run")
    other = SharedStages(folder, choose_precision("cpu", "bfloat16"))
    assert not other.take(run, SOURCE, fingerprint)
    assert SharedStages(folder, choose_precision("cpu", "float32")).take(run, SOURCE, fingerprint)


def test_a_damaged_stage_is_made_again(
    first: Experiment, make: Make, capsys: pytest.CaptureFixture[str]
) -> None:
    fresh = make("before_damage", source_options={"epochs": 1, "batch_size": 16})
    for _ in fresh.train_source():
        pass
    folder = first.parameters.folder.parent / "shared"
    fingerprint = fresh.source_fingerprint(0, "a/rgb")
    (place,) = folder.glob(f"{SOURCE}-{fingerprint}-*")
    weights = place / "models" / f"{SOURCE}.safetensors"
    content = bytearray(weights.read_bytes())
    content[-1] ^= 1
    weights.unlink()  # the run's own file is another name of the same one
    weights.write_bytes(bytes(content))
    after = make("after_damage", source_options={"epochs": 1, "batch_size": 16})
    for _ in after.train_source():
        pass
    assert "is damaged and is made again" in capsys.readouterr().out
    assert after.run.read().stages[SOURCE].taken_from == ""
    assert model_file(fresh.run, SOURCE).read_bytes() == model_file(after.run, SOURCE).read_bytes()


def test_a_damaged_model_of_a_run_is_taken_or_made_again(
    first: Experiment, make: Make, capsys: pytest.CaptureFixture[str]
) -> None:
    run = done(make("spoilt", method="adabn")).run
    file = model_file(run, SOURCE)
    whole = file.read_bytes()
    file.unlink()
    file.write_bytes(whole[:-10])
    done(make("spoilt", method="adabn"))
    assert f"{SOURCE} is made again" in capsys.readouterr().out
    assert file.read_bytes() == whole


def test_what_was_broken_off_is_not_shared(make: Make) -> None:
    broken = make("broken", source_options={"epochs": 3, "batch_size": 8})
    steps = broken.train_source()
    next(steps)
    steps.close()
    folder = broken.parameters.folder.parent / "shared"
    assert not list(folder.glob(f"source*{broken.source_fingerprint(0, 'a/rgb')}*"))
    for _ in broken.train_source():
        pass
    assert broken.run.read().stages[SOURCE].status == "done"


TRAIN = """
import json, sys, torch
from socketlab.runs.experiment import Experiment
from socketlab.runs.parameters import validate
torch.set_num_threads(1)
experiment = Experiment(validate("05_transfer", json.loads(sys.argv[1])))
list(experiment.train_source())
print("taken from", experiment.run.read().stages["source-a.rgb-seed0"].taken_from or "nobody")
"""


def test_two_at_once_train_it_once(make: Make) -> None:
    values = make("pattern").parameters.model_dump(mode="json")
    values["source_options"] = {"epochs": 2, "batch_size": 12}
    workers = [
        subprocess.Popen(
            [sys.executable, "-c", TRAIN, json.dumps(values | {"run": name})],
            stdout=subprocess.PIPE,
            text=True,
        )
        for name in ("left", "right")
    ]
    said = [worker.communicate(timeout=120)[0].splitlines()[-1] for worker in workers]
    assert said in (
        ["taken from nobody", "taken from left"],
        ["taken from right", "taken from nobody"],
    )


def test_features_of_pairs_are_computed_once(
    first: Experiment, make: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    trip = first.trip()
    once = gap_features(first, trip)
    kept = sorted((first.parameters.folder.parent / "shared" / "features").iterdir())
    assert len(kept) == 4  # before and after, of TI and TR pairs
    second = done(make("second", method="adabn"))

    def never(*_: object) -> None:
        raise AssertionError("computed again")

    monkeypatch.setattr("socketlab.runs.experiment.pair_outputs", never)
    again = gap_features(second, second.trip("source_only"))
    for name, before in once.features("before").items():
        assert torch.equal(before.rgb, again.features("before")[name].rgb)
        assert torch.equal(before.other, again.features("before")[name].other)
    with pytest.raises(AssertionError, match="computed again"):
        gap_features(second, second.trip("adabn"))

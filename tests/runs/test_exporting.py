"""From a run to a folder that goes to work, and what is refused or told on the way."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
import torch
from torch import Tensor

from socketlab.models.deployed import load_deployed
from socketlab.models.deployment import read_deployment
from socketlab.models.export import ExportError
from socketlab.runs import exporting, folders
from socketlab.runs.experiment import Experiment
from socketlab.runs.exporting import export_run, told
from socketlab.runs.finding import choose_stage, find_run
from socketlab.runs.keeping import answers_file, model_file
from socketlab.runs.record import Run

STAGE = "socket-to-a.depth-held_out-seed0"
SOURCE = "source-a.rgb-seed0"


@pytest.fixture
def run(adapted: Experiment, tmp_path: Path) -> Run:
    """A copy of a run, to be changed: source model, source_only and SOCKET on 24 scored images."""
    for part in ("models", "answers"):
        shutil.copytree(adapted.run.folder / part, tmp_path / "mine" / part)
    shutil.copy(adapted.run.folder / "run.json", tmp_path / "mine")
    return Run(tmp_path / "mine")


def test_the_one_transfer_of_a_run_becomes_a_folder(run: Run) -> None:
    heard: list[str] = []
    done = export_run(run.folder, "safetensors", say=heard.append)
    assert done.folder == run.folder / "exports" / f"{STAGE}-safetensors"
    names = sorted(path.name for path in done.folder.iterdir())
    assert names == ["MODEL_CARD.md", "deploy.json", "model.json", "model.safetensors"]
    about = done.about
    assert read_deployment(done.folder) == about
    assert (about.run, about.stage, about.chosen_by) == ("mine", STAGE, "last")
    assert about.classes == ("bottle", "chair", "lamp", "mug", "table", "vase")
    assert about.domain.range == (0.3, 6.0)
    assert (about.size, about.crop, about.channels, about.opset) == (32, 28, 1, None)
    assert about.check.images == 24  # all that the protocol scores
    assert about.check.of == "a/depth images (split test)"
    assert about.check.largest_difference == 0
    kept = about.check.run_answers
    assert kept is not None
    assert (kept.images, kept.same, kept.same_in_format, kept.format) == (24, 24, 24, "float32")
    row = next(r for r in run.read().results if (r.stage, r.chosen_by) == (STAGE, "last"))
    assert row.accuracy is not None
    assert kept.right == kept.run_right == round(row.accuracy * 24)
    assert about.usual is not None
    assert 0 < about.usual.mean[0] < about.usual.mean[1] < 1
    assert 0 < about.usual.empty < 0.5
    assert {path.stat().st_mode & 0o777 for path in done.folder.iterdir()} == {0o644}
    assert heard[-1] == "The run's own answers to 24 of them: all the same."
    loaded = load_deployed(done.folder)
    assert loaded.logits(torch.rand(2, 1, 28, 28)).shape == (2, 6)


def test_the_model_of_the_chosen_epoch_has_no_answers_to_be_held_against(run: Run) -> None:
    done = export_run(run.folder, "safetensors", chosen=True)
    assert done.folder.name == f"{STAGE}.chosen-safetensors"
    assert done.about.chosen_by == "information_maximisation"
    assert done.about.check.run_answers is None
    assert done.about.check.images == 24
    model_file(run, STAGE, chosen=True).unlink()
    with pytest.raises(ExportError, match=r"only the last one's model\. Leave out --chosen"):
        export_run(run.folder, "safetensors", chosen=True)


def test_a_source_model_takes_colour_and_is_checked_on_its_own_domain(run: Run) -> None:
    about = export_run(run.folder, "pt2", stage=SOURCE).about
    assert (about.domain_name, about.channels, about.encoding) == ("a/rgb", 3, "replicate")
    assert about.check.of == "a/rgb images (split test)"
    assert about.check.run_answers is not None
    assert about.check.run_answers.same == 24


def test_the_runs_encoding_is_of_depth_and_not_of_colour(run: Run) -> None:
    for stage in (SOURCE, STAGE):
        file = model_file(run, stage).with_suffix(".json")
        raw = json.loads(file.read_text())
        raw["configuration"]["encoding"] = "inverse"
        file.write_text(json.dumps(raw))
    assert export_run(run.folder, "safetensors", stage=SOURCE).about.encoding == "replicate"
    assert export_run(run.folder, "safetensors", stage=STAGE).about.encoding == "inverse"


def test_without_its_prepared_images_the_check_is_on_noise_and_says_so(
    run: Run, tmp_path: Path
) -> None:
    raw = json.loads((run.folder / "run.json").read_text())
    for given in raw["configuration"].values():
        given["data_dir"] = str(tmp_path / "nothing")
    (run.folder / "run.json").write_text(json.dumps(raw))
    heard: list[str] = []
    about = export_run(run.folder, "safetensors", say=heard.append).about
    assert "is not prepared at 32 px" in heard[0]
    assert heard[0].endswith("The check is on random images instead.")
    assert about.check.images == 100
    assert about.check.of == "random images"
    assert about.check.run_answers is None
    assert about.usual is None


Damage = Callable[[Tensor], Tensor]


@pytest.mark.parametrize("damage", [lambda x: x + 1.0, lambda x: -x])
def test_nothing_is_left_where_the_export_is_another_model(
    run: Run, monkeypatch: pytest.MonkeyPatch, damage: Damage
) -> None:
    original = exporting.load_network

    def damaged(*about: Any) -> Any:
        device, network = original(*about)
        return device, lambda images: damage(network(images))

    monkeypatch.setattr(exporting, "load_network", damaged)
    with pytest.raises(ExportError, match="is not the original"):
        export_run(run.folder, "safetensors")
    assert list((run.folder / "exports").iterdir()) == []


def test_an_earlier_export_is_replaced_and_nothing_else(run: Run, tmp_path: Path) -> None:
    output = tmp_path / "out"
    output.mkdir()
    (output / "thesis.tex").write_text("mine")
    with pytest.raises(ExportError, match=r"out is there and is no exported model"):
        export_run(run.folder, "safetensors", output=output)
    assert (output / "thesis.tex").read_text() == "mine"
    (output / "thesis.tex").unlink()
    assert export_run(run.folder, "safetensors", output=output).folder == output
    (output / "model.onnx").write_text("old")
    export_run(run.folder, "pt2", output=output)
    names = sorted(path.name for path in output.iterdir())
    assert names == ["MODEL_CARD.md", "deploy.json", "model.pt2"]


def test_other_answers_than_the_runs_are_told_with_what_is_right(run: Run) -> None:
    file = answers_file(run, STAGE)
    answers = pd.read_parquet(file)
    answers["answer"] = (answers["answer"] + 1) % 6
    answers.to_parquet(file)
    about = export_run(run.folder, "safetensors").about
    kept = about.check.run_answers
    assert kept is not None
    assert (kept.same, kept.same_in_format) == (0, 0)
    assert kept.run_right == int((answers["answer"] == answers["truth"]).sum())
    said = told(about)[-1]
    assert said.startswith("The run's own answers to 24 of them: 0 the same.")
    assert "In float32 too only 0 are the same now: the manifest or the images" in said


def test_a_run_in_bfloat16_is_asked_in_bfloat16_too(
    adapted: Experiment, run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    raw = json.loads((run.folder / "run.json").read_text())
    raw["device"]["dtype"] = "bfloat16"
    (run.folder / "run.json").write_text(json.dumps(raw))
    seen: list[bool] = []
    monkeypatch.setattr(
        "socketlab.runs.run_answers._answers",
        lambda model, batches, precision: (
            seen.append(precision.dtype == torch.bfloat16) or [0] * 24
        ),
    )
    about = export_run(run.folder, "safetensors").about
    assert seen == [True]
    assert about.check.run_answers is not None
    assert about.check.run_answers.same == 24
    assert about.check.run_answers.same_in_format < 24


def test_of_several_transfers_one_must_be_named(run: Run) -> None:
    other = "adabn-to-a.depth-held_out-seed0"
    for ending in ("safetensors", "json"):
        file = model_file(run, STAGE).with_suffix(f".{ending}")
        shutil.copy(file, file.with_name(f"{other}.{ending}"))
    row = next(row for row in run.read().results if row.stage == STAGE)
    run.put_results(other, [row.model_copy(update={"stage": other, "balanced_accuracy": None})])
    with pytest.raises(
        ExportError, match=r"holds 2 transfers\. Name one of these with --stage:"
    ) as e:
        choose_stage(run, None, False)
    lines = str(e.value).splitlines()[1:]
    assert [line.split()[0] for line in lines] == [SOURCE, STAGE, other]
    assert "(balanced accuracy " in lines[1] and "n = 24)" in lines[1]
    assert "accuracy" not in lines[2]
    assert choose_stage(run, other, False).file == model_file(run, other)


def test_what_is_not_there_is_said(
    run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(ExportError, match=r"Nothing was adapted there.*--stage:\n  source-a"):
        choose_stage(run, "source_only-to-a.depth-held_out-seed0", False)
    with pytest.raises(ExportError, match=r"has no model 'socket'\. Name one"):
        choose_stage(run, "socket", False)
    shutil.rmtree(run.folder / "models")
    with pytest.raises(ExportError, match=r"no transfers\. It has no model at all\. Run 05_"):
        choose_stage(run, None, False)
    monkeypatch.setattr(folders, "at_home", lambda path: tmp_path)
    assert find_run("mine").folder == tmp_path / "mine"
    with pytest.raises(
        ValueError, match=r"Unknown run or sweep 'min'. Known: mine. Did you mean 'mine'"
    ):
        find_run("min")


def test_a_run_that_only_trained_a_source_model_exports_that(run: Run) -> None:
    for file in (run.folder / "models").glob("socket*"):
        file.unlink()
    assert choose_stage(run, None, False).stage == SOURCE


def test_the_difference_is_told_with_its_tolerance(run: Run) -> None:
    about = export_run(run.folder, "safetensors").about
    changed = about.check.model_copy(update={"largest_difference": 4.5e-5})
    line = told(about.model_copy(update={"check": changed}))[0]
    assert line == (
        "Checked on 24 a/depth images (split test): largest difference of a logit 5e-05 "
        "(tolerance 0.001), every answer the same"
    )

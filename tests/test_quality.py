"""The page of the quality table: it is written from what is done, also of an interrupted run."""

import importlib
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pandas as pd
import pytest

from socketlab.data import load_manifest
from socketlab.runs.keeping import answers_file
from socketlab.runs.planning import Planned, plan, read_parameter_file
from socketlab.runs.record import Result, Run

CLASSES = load_manifest("scenes").protocol("held_out").task_relevant
NOTE = "answers fall on 1 of 6 classes"


@pytest.fixture
def quality(root: Path, monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    """The script, which is in no package and imports what lies beside it."""
    monkeypatch.syspath_prepend(root / "benchmarks")
    return importlib.import_module("quality")


@pytest.fixture
def planned(tmp_path: Path) -> list[Planned]:
    """A comparison of three methods on two seeds, of which two seeds of two are done below."""
    methods = ["source_only", "socket", "shot"]
    step = {"notebook": "06_compare", "methods": methods, "seeds": [0, 1]}
    return plan([], {"run": "q", "data": "scenes", "runs_dir": str(tmp_path), "steps": [step]}, {})


def add(run: Run, method: str, seed: int, right: int, **changes: Any) -> None:
    """A training that gets so many of ten images of each class right."""
    truth = np.repeat(np.arange(len(CLASSES)), 10)
    good = np.arange(len(truth)) % 10 < right
    answer = np.where(good, truth, (truth + 1) % len(CLASSES))
    stage = f"{method}-seed{seed}"
    answers = pd.DataFrame({"id": np.arange(len(truth)), "truth": truth, "answer": answer})
    answers["confidence"] = 0.75
    file = answers_file(run, stage)
    file.parent.mkdir(exist_ok=True)
    answers.to_parquet(file)
    values: dict[str, Any] = {
        "method": method,
        "protocol": "held_out",
        "source": "a/rgb",
        "target": "a/depth",
        "seed": seed,
        "accuracy": right / 10,
        "balanced_accuracy": right / 10,
        "chosen_by": "last",
        "n": len(truth),
        "stage": stage,
        "seconds": 30.0,
    }
    row = Result(**(values | changes))
    others = [other for other in run.read().results if other.chosen_by != row.chosen_by]
    run.put_results(row.stage, [*(other for other in others if other.stage == row.stage), row])


def fill(run: Run) -> None:
    for seed in (0, 1):
        add(run, "source", seed, 9, target="a/rgb")
        add(run, "source_only", seed, 3)
        add(run, "socket", seed, 6, note=NOTE if seed else "")
        for chosen_by, right in (("information_maximisation", 7), ("oracle", 8)):
            add(run, "socket", seed, 6, chosen_by=chosen_by, balanced_accuracy=right / 10)


def test_an_interrupted_run_leaves_a_page_of_what_is_done(
    quality: ModuleType,
    planned: list[Planned],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    fill(Run(planned[0].parameters.folder))
    monkeypatch.setattr(quality, "RESULTS", tmp_path / "results")
    monkeypatch.setattr(quality, "plan", lambda *_: planned)
    monkeypatch.setattr(quality, "read_parameter_file", lambda _: {})

    def interrupted(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(quality, "run_all", interrupted)
    with pytest.raises(KeyboardInterrupt):
        quality.make("quality_scenes")
    assert "selection_scenes: nothing is done yet" in capsys.readouterr().out
    names = sorted(path.name for path in (tmp_path / "results").iterdir())
    stem = "quality_scenes"
    assert names == [f"{stem}.md", f"{stem}.parquet", f"{stem}.png", f"{stem}_per_class.png"]
    text = (tmp_path / "results" / f"{stem}.md").read_text()
    assert "**Not complete: 4 of 6 trainings. The run is running.**" in text
    assert "Source model on a/rgb: 90.0 ± 0.0 % over seeds [0, 1], n = 60." in text
    assert "## held_out, a/depth\n" in text
    assert "| socket | 2 | 60.0 ± 0.0 | 60.0 ± 0.0 | +30.0 [+" in text
    assert f"{NOTE} (seed 1) |" in text
    assert "against source_only: better is socket (+30.0)." in text
    chosen = "| held_out | a/depth | socket | 2 | 60.0 ± 0.0 | 70.0 ± 0.0 | 80.0 ± 0.0 | 20.0"
    assert chosen in text
    assert "trained parameters" in text
    rows = pd.read_parquet(tmp_path / "results" / f"{stem}.parquet")
    assert len(rows) == 10
    assert not rows.duplicated(["stage", "chosen_by"]).any()


def test_a_finished_run_is_not_called_incomplete_and_a_new_one_writes_nothing(
    quality: ModuleType,
    planned: list[Planned],
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    run = Run(planned[0].parameters.folder)
    quality.write("quality_scenes", planned, run, tmp_path / "r")
    assert "nothing is done yet" in capsys.readouterr().out
    assert not (tmp_path / "r").exists()
    fill(run)
    for seed in (0, 1):
        add(run, "shot", seed, 4)
    quality.write("quality_scenes", planned, run, tmp_path / "r")
    text = (tmp_path / "r" / "quality_scenes.md").read_text()
    assert "Not complete" not in text
    assert "Parameters: `notebooks/params/quality_scenes.yaml`. Device" in text


def test_every_case_is_one_that_can_be_run(quality: ModuleType) -> None:
    for name, (file, changed) in quality.CASES.items():
        path = quality.HERE / "notebooks" / "params" / f"{file}.yaml"
        found = [item.parameters for item in plan([], read_parameter_file(path), changed)]
        assert {parameters.run for parameters in found} == {name}
    (real,) = found  # of the last case: the released program's on real pairs
    assert (real.data, real.scenes_seed, real.size) == ("nyuv2_scenes_224", None, 64)
    assert (real.protocol, real.source, real.target) == ("transductive", "kv1/rgb", "kv1/depth")
    assert (real.backbone, real.source_options) == ("mobilenet_v2", {"epochs": 10})
    assert real.options["socket"] == {"epochs": 6, "pair_weight": 0.25}
    assert real.options["pair_weight_half"] == {"pair_weight": 0.5}
    assert real.seeds == [0]
    assert len(real.methods) == 15


def test_an_unknown_case_is_refused_before_anything_is_run(
    quality: ModuleType, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    made: list[str] = []
    monkeypatch.setattr(quality, "make", lambda name, *, page_only: made.append(name))
    monkeypatch.setattr("sys.argv", ["quality.py", "quality_scenes", "qualty"])
    with pytest.raises(SystemExit) as left:
        quality.main()
    assert left.value.code == 2
    assert "unknown case 'qualty'; known: quality_scenes, quality_nyuv2" in capsys.readouterr().err
    assert made == []
    monkeypatch.setattr("sys.argv", ["quality.py", "--page-only"])
    assert quality.main() == 0
    assert made == ["quality_scenes", "quality_nyuv2"]


def test_variants_have_a_table_and_no_choice_of_epoch(
    quality: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file, changed = quality.CASES["socket_as_released_nyuv2"]
    changed = changed | {"runs_dir": str(tmp_path), "data": "scenes", "protocol": "held_out"}
    changed |= {"source": "a/rgb", "target": "a/depth"}
    monkeypatch.setitem(quality.CASES, "socket_as_released_nyuv2", (file, changed))
    monkeypatch.setattr(quality, "RESULTS", tmp_path / "results")
    run = Run(tmp_path / "socket_as_released_nyuv2")
    fill(run)
    add(run, "cached_crops", 0, 4)
    history(run, "socket-seed0", [0.2, 0.6], entropy=[1.0, 0.5])
    quality.make("socket_as_released_nyuv2", page_only=True)
    text = (tmp_path / "results" / "socket_as_released_nyuv2.md").read_text()
    assert "| what is as released | seeds |" in text
    row = next(line for line in text.split("\n") if line.startswith("| cached_crops | 1 | 40.0"))
    assert "-20.0 [" in row  # against socket
    assert "against socket: " in text
    assert "chosen without labels" not in text
    assert "upper references" not in text
    assert "notebooks/params/socket_as_released.yaml` with `run:" in text
    assert '"epochs": 6, "pair_weight": 0.25}' in text
    assert not list((tmp_path / "results").glob("selection*"))


def history(run: Run, stage: str, accuracy: list[float], **scores: list[float]) -> None:
    """The metrics of a training: a value per epoch, from epoch 0 on."""
    for epoch, value in enumerate(accuracy):
        values = {f"score/{name}": each[epoch] for name, each in scores.items()}
        other = {"accuracy": 0.99, "loss/total": 1.0}  # neither is what the page is about
        run.add_metrics(stage, epoch, epoch, {"balanced_accuracy": value, **values, **other})


@pytest.fixture
def judged(planned: list[Planned]) -> Run:
    """A group of three methods and an upper reference: entropy is right over runs, not over epochs.

    Last epochs: source_only 0.30, shot 0.50, socket 0.60. Best epochs: shot 0.80, socket 0.70.
    """
    run = Run(planned[0].parameters.folder)
    for method in ("source_only", "shot", "socket", "oracle_labels"):
        add(run, method, 0, 5)
        add(run, method, 0, 5, chosen_by="oracle")  # the same training once more
    history(run, "source_only-seed0", [0.3], entropy=[0.9], nuclear_norm=[0.5])
    shot = {"entropy": [0.9, 0.8, 0.7], "nuclear_norm": [0.5, 0.9, 0.8]}
    history(run, "shot-seed0", [0.3, 0.8, 0.5], **shot)
    socket = {"entropy": [0.9, 0.6, 0.5], "nuclear_norm": [0.5, 0.7, 0.6]}
    history(run, "socket-seed0", [0.3, 0.7, 0.6], **socket)
    history(run, "oracle_labels-seed0", [0.3, 0.95], entropy=[0.9, 2.0], nuclear_norm=[0.5, 0.1])
    history(run, "nrc-seed0", [0.3, 0.9], entropy=[0.9, 2.0], nuclear_norm=[0.5, 0.1])  # unfinished
    return run


def test_label_free_scores_are_judged_beside_no_score_at_all(
    quality: ModuleType, planned: list[Planned], judged: Run, tmp_path: Path
) -> None:
    quality.write_selection("selection_scenes", planned, judged, tmp_path)
    text = (tmp_path / "selection_scenes.md").read_text()
    assert "+1 means that the score is right" in text
    assert "Not complete: 4 of 6 trainings" in text
    titles = [line for line in text.split("\n") if line.startswith("## ")]
    assert titles == ["## scenes", "## a/depth, held_out"]
    rows = [
        "| entropy | +1.00 | 0.0 | 1 | 3 | -1.00 | 20.0 | 2 |",
        "| nuclear_norm | +0.50 | 10.0 | 1 | 3 | +1.00 | 0.0 | 2 |",
        "| last epoch |  |  |  |  |  | 20.0 |  |",
        "| a method at random |  | 13.3 |  |  |  |  |  |",
    ]
    for part in text.split("## ")[1:]:
        assert [line for line in part.split("\n") if line.startswith("| ")][2:] == rows
    kept = pd.read_parquet(tmp_path / "selection_scenes.parquet")
    assert set(kept["method"]) == {"source_only", "shot", "socket", "oracle_labels"}
    last = kept[(kept["method"] == "shot") & (kept["epoch"] == 2)].iloc[0]
    assert (last["accuracy"], last["entropy"], last["data"]) == (0.5, 0.7, "scenes")


def test_groups_weigh_alike_and_a_lone_training_is_no_group(
    quality: ModuleType, planned: list[Planned], judged: Run, tmp_path: Path
) -> None:
    # Seed 1 loses 20 / 2 points at random; a target with one training has nothing to choose from.
    add(judged, "shot", 1, 5)
    add(judged, "socket", 1, 5)
    history(judged, "shot-seed1", [0.3, 0.4], entropy=[0.9, 0.8], nuclear_norm=[0.5, 0.6])
    history(judged, "socket-seed1", [0.3, 0.6], entropy=[0.9, 0.9], nuclear_norm=[0.5, 0.5])
    add(judged, "shot", 2, 5, target="a/nir")
    history(judged, "shot-seed2", [0.3, 0.1], entropy=[0.9, 0.8], nuclear_norm=[0.5, 0.6])
    quality.write_selection("selection_scenes", planned, judged, tmp_path)
    whole, depth, nir = (tmp_path / "selection_scenes.md").read_text().split("## ")[1:]
    random = (40 / 3 + 10) / 2
    for part in (whole, depth):
        assert f"| a method at random |  | {random:.1f} |" in part
        assert "| last epoch |  |  |  |  |  | 20.0 |" in part  # none has an epoch 2 in seed 1
        assert "| entropy | +0.00 | 10.0 | 2 | 5 | -1.00 | 20.0 | 2 |" in part
    assert "| entropy |  |  | 0 | 0 |  |  | 0 |" in nir
    assert "at random" not in nir


def test_a_page_of_translators_has_their_pictures(quality: ModuleType, tmp_path: Path) -> None:
    """PSNR and SSIM of what trains a translator, and of nothing else; three figures a target."""
    path = Path(quality.HERE) / "notebooks" / "params" / "translator_scenes.yaml"
    values = read_parameter_file(path) | {"runs_dir": str(tmp_path)}
    mine = plan([], values, {})
    run = Run(mine[0].parameters.folder)
    for method, right in (("source_only", 2), ("replicate", 2), ("translated", 8), ("tgkt", 7)):
        seen = {"replicate": 10.5, "translated": 15.25}.get(method)
        measures = {} if seen is None else {"psnr": seen, "ssim": 0.345}
        add(run, method, 0, right, measures=measures, parameters=7, seconds=3.0, peak_memory=9.0)
    for epoch, psnr in enumerate((10.5, 14.0, 15.25)):
        seen_at = {"accuracy": 0.2 + epoch / 5, "measure/psnr": psnr}
        run.add_metrics("translated-seed0", epoch, epoch, seen_at)
    quality.write("translator_scenes", mine, run, tmp_path / "results")
    text = (tmp_path / "results" / "translator_scenes.md").read_text()
    assert "| a/depth | replicate | 10.5 | 0.34 | 20.0 |" in text
    assert "| a/depth | translated | 15.2 | 0.34 | 80.0 |" in text
    assert "| a/depth | tgkt |" not in text and "everything else is inferred" in text
    rows = pd.read_parquet(tmp_path / "results" / "translator_scenes.parquet")
    assert rows.set_index("method")["psnr"].dropna().to_dict() == {
        "replicate": 10.5,
        "translated": 15.25,
    }
    for kind in ("psnr", "reliability", "cost"):
        name = f"translator_scenes_{kind}_a_depth_held_out.png"
        assert f"]({name})" in text and (tmp_path / "results" / name).stat().st_size > 5000

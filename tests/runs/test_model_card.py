"""What a model card says, and what it must not leave out."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from socketlab.data import load_manifest
from socketlab.models.checkpoint import load_card
from socketlab.models.deployment import Deployment
from socketlab.runs.entries import Changed, Result
from socketlab.runs.experiment import Experiment
from socketlab.runs.exporting import export_run
from socketlab.runs.keeping import answers_file, model_file
from socketlab.runs.model_card import render_card
from socketlab.runs.model_card_scores import largest_class, row_of, sampling_error, score_lines
from socketlab.runs.record import Run

STAGE = "socket-to-a.depth-held_out-seed0"
CLASSES = ("bottle", "chair", "lamp", "mug", "table", "vase")


@pytest.fixture(scope="module")
def exported(adapted: Experiment, tmp_path_factory: pytest.TempPathFactory) -> Deployment:
    output = tmp_path_factory.mktemp("exported") / "model"
    return export_run(adapted.run.folder, "safetensors", output=output).about


@pytest.fixture
def run(adapted: Experiment, tmp_path: Path) -> Run:
    """A copy of the run, to be changed."""
    for part in ("models", "answers"):
        shutil.copytree(adapted.run.folder / part, tmp_path / "mine" / part)
    shutil.copy(adapted.run.folder / "run.json", tmp_path / "mine")
    return Run(tmp_path / "mine")


@pytest.fixture
def text(run: Run, exported: Deployment, tiny_scenes: Path) -> Callable[..., str]:
    """The card, with what deploy.json says, the run or the model's card changed."""

    def render(card: dict[str, Any] | None = None, **changes: Any) -> str:
        about = exported.model_copy(update=changes)
        kept = load_card(model_file(run, STAGE)).model_copy(update=card or {})
        return render_card(run, load_manifest(tiny_scenes), kept, about)

    return render


def change_rows(run: Run, **values: Any) -> None:
    """Give every row of the stage other values."""
    rows = [row.model_copy(update=values) for row in run.read().results if row.stage == STAGE]
    run.put_results(STAGE, rows)


def add_row(run: Run, **values: Any) -> None:
    row = row_of(run.read(), STAGE, "last")
    assert row is not None
    run.put_results(str(values["stage"]), [row.model_copy(update=values)])


def section(card: str, title: str) -> str:
    return card.split(f"\n{title}\n")[1].split("\n## ")[0]


def test_all_parts_are_there_in_order(text: Callable[..., str]) -> None:
    card = text()
    titles = [line for line in card.splitlines() if line.startswith("## ")]
    assert [title.removeprefix("## ") for title in titles] == [
        "How to use it",
        "What it must not be used for",
        "Scores",
        "Data",
        "Protocol",
        "Method",
        "How it was checked",
        "Versions",
    ]
    assert "\n\n\n" not in card
    assert "None" not in card
    assert card.endswith("\n")


def test_it_says_what_the_model_is_and_takes(
    text: Callable[..., str], exported: Deployment
) -> None:
    card = text()
    assert card.startswith("# Model card: 6 classes from depth images (scenes, a/depth)\n")
    assert "says which of 6 classes it shows: bottle, chair, lamp, mug, table, vase." in card
    assert "saw no label of a depth image" in card
    assert exported.sha256 in card
    assert "float32 [batch, 1, 28, 28] in [0, 1], any batch size" in card
    assert "16 bits; metre = stored integer x 0.001; 0 means no reading." in card
    assert "Clip to 0.3 to 6 metre and scale to [0, 1] by the encoding `replicate`" in card
    assert "socketlab predict MODEL" in card
    assert 'load_classifier(Path("model.safetensors"))' in card
    onnx = text(format="onnx", opset=18)
    assert "| Format | onnx, opset 18 |" in onnx
    assert "onnxruntime.InferenceSession" in onnx
    assert "torch.export.load" in text(format="pt2")


def test_it_says_what_the_model_is_not_for(text: Callable[..., str]) -> None:
    said = section(text(), "## What it must not be used for")
    assert "Images of another sensor" in said
    assert "none of the 6 classes" in said
    assert "safety" in said
    assert "data set's terms:** none (licence: that of this project)" in said
    assert 'Tasks where 16.7 % would do:** that is what always answering "bottle"' in said


def test_scores_stand_beside_source_only_and_the_largest_class(
    run: Run, text: Callable[..., str]
) -> None:
    own, floor = (
        row_of(run.read(), stage, "last")
        for stage in (STAGE, "source_only-to-a.depth-held_out-seed0")
    )
    assert own is not None and floor is not None
    assert own.accuracy is not None and floor.accuracy is not None
    said = section(text(), "## Scores")
    assert f"| this model (`socket`) | 0 | {own.accuracy:.1%}".replace("%", " %") in said
    assert f"| `source_only` | 0 | {floor.accuracy:.1%}".replace("%", " %") in said
    assert '| always "bottle" | | 16.7 % | 16.7 % | 24 |' in said
    assert "There is one seed" in said
    error = sampling_error(own)
    assert error == pytest.approx(196 * (own.accuracy * (1 - own.accuracy) / 24) ** 0.5)
    assert f"± {error:.1f} points" in said
    assert "number format" not in said and "bfloat16" not in said


def test_several_seeds_have_a_spread_and_what_was_steered_is_not_among_them(run: Run) -> None:
    change_rows(run, accuracy=0.5, balanced_accuracy=0.4)
    for seed, share, steered in ((1, 0.7, 0), (2, 0.9, 3)):
        place = {"stage": f"other{seed}", "seed": seed, "steered": steered}
        add_row(run, **place, accuracy=share, balanced_accuracy=share)
    record = run.read()
    row = row_of(record, STAGE, "last")
    assert row is not None
    first, second = score_lines(record, row)[:2]
    assert (first.name, first.seeds, first.accuracy) == ("this model (`socket`)", "0", "50.0 %")
    assert (second.name, second.seeds) == ("`socket` over the seeds", "0, 1")
    assert second.accuracy == "60.0 ± 14.1 %"
    assert second.balanced_accuracy == "55.0 ± 21.2 %"


def test_with_several_seeds_nobody_says_there_is_one(run: Run, text: Callable[..., str]) -> None:
    add_row(run, stage="other", seed=1)
    assert "There is one seed" not in text()


def test_without_labels_nobody_knows_how_accurate_it_is(run: Run, text: Callable[..., str]) -> None:
    change_rows(run, accuracy=None, balanced_accuracy=None, n=0)
    file = answers_file(run, STAGE)
    pd.read_parquet(file).iloc[:0].to_parquet(file)
    said = section(text(), "## Scores")
    assert "No scored image has a label, so nobody knows how accurate" in said
    assert "this model" not in said.split("###")[0].replace("this model is", "")
    assert "### By class" not in said
    assert "| information_maximisation |" in said


def test_recall_is_of_the_runs_own_answers(run: Run, text: Callable[..., str]) -> None:
    file = answers_file(run, STAGE)
    answers = pd.read_parquet(file).sort_values("truth", kind="stable")
    answers["answer"] = answers["truth"]
    answers.iloc[:3, answers.columns.get_loc("answer")] = [1, 1, 5]  # type: ignore[index]
    answers.to_parquet(file)
    said = section(text(), "## Scores")
    assert "| bottle | 4 | 25.0 % | chair (2) |" in said
    assert "| vase | 4 | 100.0 % |  |" in said
    chosen = section(text(chosen_by="information_maximisation"), "## Scores")
    assert "### By class" not in chosen
    assert "Recall by class is kept for the last epoch's model alone" in chosen


def test_label_free_scores_say_which_way_is_better(text: Callable[..., str]) -> None:
    said = section(text(), "## Scores").split("### Without labels")[1]
    cells = [line.strip("| ").split(" | ") for line in said.splitlines() if line.startswith("|")]
    ways = {cell[0]: cell[-1] for cell in cells}
    assert ways["entropy"] == "lower"
    assert ways["pair_retrieval"] == "higher"


def test_what_was_done_by_hand_or_is_inferred_is_said(run: Run, text: Callable[..., str]) -> None:
    before = text()
    assert "Steered" not in before and "Inferred" not in before and "Warning" not in before
    change_rows(run, steered=1, note="answers fall on 2 of 6 classes", advice="less")

    def change(record: Any) -> None:
        record.changes[STAGE] = [Changed(step=3, name="weight/pairs", value=0.5)]

    run.change(change)
    configuration = load_card(model_file(run, STAGE)).configuration
    card = text(card={"configuration": {**configuration, "inferred": "all weights"}})
    assert "**Steered by hand:** 1 change while it trained" in card
    assert "- Changed at step 3: `weight/pairs` to 0.5." in card
    assert "**Inferred**, for the paper's own is not public: all weights." in card
    assert "**Warning:** answers fall on 2 of 6 classes." in card
    assert "- Advice of the training: less." in card


def test_the_protocol_in_words(run: Run, text: Callable[..., str]) -> None:
    said = section(text(), "## Protocol")
    assert said.strip().startswith("`held_out`: Adapt on the train split of the target domain")
    assert "- Adapted on: 36 images of a/depth (train), without their labels." in said
    assert "of the same sensor, train, showing other classes: arch, ball," in said
    assert "- Scored on: 24 images (test)." in said
    assert "Transductive" not in said
    configuration = load_card(model_file(run, STAGE)).configuration
    changed = {"configuration": {**configuration, "protocol": "transductive"}}
    assert "**Transductive:** it was adapted on images that it is scored on" in text(card=changed)


def test_the_method_and_its_source(text: Callable[..., str]) -> None:
    said = section(text(), "## Method")
    assert "socket: SHOT's terms, TI pairs" in said
    assert "Options that differ from the defaults: `batch_size` 8, `epochs` 2." in said
    assert "Source model of `a/rgb`: backbone resnet_small, weights none" in said
    assert "of 24 images of its own domain right." in said
    assert "- `pair_weight`: 0.5" in said


def test_no_path_of_this_machine_is_handed_on(run: Run, text: Callable[..., str]) -> None:
    file = model_file(run, "source-a.rgb-seed0").with_suffix(".json")
    raw = json.loads(file.read_text())
    raw["configuration"]["options"]["weights"] = "/mnt/disk/imagenet.safetensors"
    file.write_text(json.dumps(raw))
    card = text()
    assert "weights imagenet.safetensors" in card
    assert "/mnt" not in card


def test_an_upper_reference_and_a_source_model_say_so(text: Callable[..., str]) -> None:
    oracle = text(card={"method": "oracle_labels"})
    assert "**It is an upper reference, not a result:**" in oracle
    assert "with their labels." in oracle
    source = text(card={"method": "source"})
    assert "It is a source model: trained on labelled images, and moved nowhere." in source
    assert "Adapted on" not in source


def test_a_run_in_another_number_format_says_whose_scores_these_are(
    run: Run, text: Callable[..., str]
) -> None:
    def change(record: Any) -> None:
        record.device["dtype"] = "bfloat16"

    run.change(change)
    assert "**These scores are of bfloat16, in which the run computed.**" in text()


def test_the_largest_class_is_of_the_scored_images(tiny_scenes: Path) -> None:
    manifest = load_manifest(tiny_scenes)
    rules = manifest.protocol("held_out")
    counts = {name: {"train": 9, "test": 2} for name in CLASSES} | {"lamp": {"test": 10}}
    changed = manifest.model_copy(update={"expected": {"a/depth": counts}})
    assert largest_class(changed, rules, "a/depth") == ("lamp", 0.5)
    assert largest_class(changed, rules, "a/nir") is None


def test_no_sampling_error_without_a_score() -> None:
    row = Result(
        method="socket",
        protocol="p",
        source="s",
        target="t",
        seed=0,
        accuracy=None,
        balanced_accuracy=None,
        chosen_by="last",
        n=0,
        stage=STAGE,
    )
    assert sampling_error(row) is None
    assert sampling_error(None) is None

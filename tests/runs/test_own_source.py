"""A run that starts from somebody else's network: nothing is trained, all methods go on from it."""

import json
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
import torchvision
import yaml
from torch import nn

from socketlab.data.manifest import load_manifest
from socketlab.gap.layer_statistics import statistics_gap
from socketlab.gap.layers import layer_features, layer_names
from socketlab.methods import REGISTRY
from socketlab.models.checkpoint import CheckpointError, load_card, load_classifier
from socketlab.models.classifier import Classifier
from socketlab.models.own_model_spec import OwnModelError
from socketlab.runs.experiment import Experiment
from socketlab.runs.keeping import model_file
from socketlab.runs.parameters import ParameterError, validate
from socketlab.runs.planning import plan
from socketlab.runs.record import Run
from socketlab.runs.running import run_all

Make = Callable[..., Experiment]
STAGE = "source-a.rgb-seed0"
SOURCE_ONLY = "source_only-to-a.depth-held_out-seed0"
SOCKET = "socket-to-a.depth-held_out-seed0"


@pytest.fixture(scope="module")
def classes(tiny_scenes: Path) -> tuple[str, ...]:
    """Outputs of the own models: those of the task backwards, between two that nobody needs."""
    task = load_manifest(tiny_scenes).protocol("held_out").task_relevant
    return ("attic", *reversed(task), "cellar")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory, classes: tuple[str, ...]) -> Path:
    """Files of own models: weights.yaml, graph.yaml and script.yaml."""
    folder = tmp_path_factory.mktemp("own")
    torch.manual_seed(0)
    network = torchvision.models.resnet18(num_classes=len(classes))
    torch.save(network.state_dict(), folder / "weights.pth")
    small = nn.Sequential(
        nn.Conv2d(3, 8, 3, stride=2),
        nn.BatchNorm2d(8),
        nn.ReLU(),
        nn.AdaptiveAvgPool2d(1),
        nn.Flatten(),
        nn.Linear(8, len(classes)),
    ).eval()
    example = (torch.rand(2, 3, 28, 28),)
    dynamic = ({0: torch.export.Dim("batch", min=1)},)
    exported = torch.export.export(small, example, dynamic_shapes=dynamic)
    torch.export.save(exported, folder / "graph.pt2")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # torch advises against it; people have such files
        torch.jit.script(small).save(str(folder / "script.pt"))  # type: ignore[no-untyped-call]
    kinds: dict[str, dict[str, Any]] = {
        "weights": {"network": "resnet18", "weights": "weights.pth"},
        "graph": {"network": "graph.pt2", "feature_layer": "5"},
        "script": {"network": "script.pt", "feature_layer": "5"},
    }
    for name, about in kinds.items():
        said = {"classes": list(classes), "mean": [0.5] * 3, "deviation": [0.25] * 3}
        size = {"size": 32, "crop": 28}
        (folder / f"{name}.yaml").write_text(yaml.safe_dump({**about, **said, **size}))
    return folder


@pytest.fixture
def values(folder: Path, tmp_path: Path, tiny_scenes: Path, tiny_data: Path) -> dict[str, Any]:
    """Parameters of a small run."""
    return {
        "run": "tiny",
        "data": str(tiny_scenes),
        "size": 32,
        "source_model": str(folder / "weights.yaml"),
        "options": {method: {"batch_size": 8} for method in REGISTRY},
        "device": "cpu",
        "dtype": "float32",
        "data_dir": str(tiny_data),
        "runs_dir": str(tmp_path / "runs"),
    }


@pytest.fixture
def make(values: dict[str, Any], folder: Path) -> Make:
    """An experiment with an own model of this kind and these parameters changed."""

    def build(kind: str = "weights", **changes: Any) -> Experiment:
        file = str(folder / f"{kind}.yaml")
        parameters: Any = validate("05_transfer", values | {"source_model": file} | changes)
        return Experiment(parameters)

    return build


def transferred(experiment: Experiment) -> Classifier:
    for steps in (experiment.train_source(), experiment.transfer(experiment.trip())):
        for _ in steps:
            pass
    file = model_file(experiment.run, experiment.trip().stage)
    loaded = load_classifier(file)[0]
    assert isinstance(loaded, Classifier)
    return loaded


def test_it_is_scored_and_kept_and_not_trained(
    make: Make, folder: Path, classes: tuple[str, ...], capsys: pytest.CaptureFixture[str]
) -> None:
    experiment = make(method="shot")
    steps = list(experiment.train_source())
    assert [step.kind for step in steps] == ["start"] and steps[0].evaluation is not None
    (row,) = experiment.run.read().results
    assert (row.method, row.stage, row.epoch, row.parameters) == ("source", STAGE, 0, 0)
    assert row.accuracy == steps[0].evaluation.accuracy and row.n > 0
    said = capsys.readouterr().out
    assert "512 features; 20 normalisation layers, 20 of them BatchNorm" in said
    assert "not used: attic, cellar." in said and "was made for" not in said

    network = torchvision.models.resnet18(num_classes=len(classes))
    network.load_state_dict(torch.load(folder / "weights.pth", weights_only=True))
    images = torch.rand(3, 3, 28, 28)
    rows = [classes.index(name) for name in experiment.source_model().classes]
    with torch.no_grad():
        expected = network.eval()((images - 0.5) / 0.25)[:, rows]
        assert torch.allclose(experiment.source_model()(images), expected, atol=1e-5)
    card = load_card(model_file(experiment.run, STAGE))
    assert card.configuration["options"]["network"] == "resnet18"
    assert card.configuration["options"]["weights"] == "weights.pth"
    assert list(experiment.train_source()) == []
    assert "done" in capsys.readouterr().out


def test_other_weights_are_another_stage(make: Make, folder: Path, tmp_path: Path) -> None:
    list(make(method="shot").train_source())
    assert make(method="shot").source_model().classes
    said = yaml.safe_load((folder / "weights.yaml").read_text())
    held = torch.load(folder / "weights.pth", weights_only=True)
    torch.save({name: value * 1.01 for name, value in held.items()}, tmp_path / "weights.pth")
    (tmp_path / "weights.yaml").write_text(yaml.safe_dump(said))
    other = make(method="shot", source_model=str(tmp_path / "weights.yaml"))
    with pytest.raises(CheckpointError, match="has no source model"):
        other.source_models()
    trained = make(method="shot", source_model=None)
    with pytest.raises(CheckpointError, match="has no source model"):
        trained.source_models()


@pytest.mark.parametrize("method", [m for m in REGISTRY if m != "source_only"])
def test_every_method_goes_on_from_it(make: Make, method: str) -> None:
    options = {name: {"batch_size": 8} for name in REGISTRY}
    for name, given in options.items():
        if name not in ("source_only", "adabn"):
            given["epochs"] = 1
    experiment = make("graph", method=method, options=options)
    model = transferred(experiment)
    source = experiment.source_model().members[0]
    # the identity and the head stay as they were; the rest has moved, or the statistics have
    assert torch.equal(model.head.weight, source.head.weight)  # type: ignore[arg-type]
    held = model.state_dict() | {}
    before = source.state_dict()
    moved = [name for name in held if name not in before or not held[name].equal(before[name])]
    assert moved, method
    scored = {row.method for row in experiment.run.read().results}
    assert {"source", "source_only", method} <= scored


def test_what_a_script_can_do_and_what_it_cannot(make: Make) -> None:
    for method, reason in {
        "socket": r"'socket' compares the statistics .*statistics_weight: 0",
        "adabn": "'adabn' estimates BatchNorm statistics anew",
        "tent": "'tent' trains the scales of normalisation layers",
    }.items():
        with pytest.raises(OwnModelError, match=reason) as found:
            make("script", method=method)
        assert "Methods that work as they are: source_only, shot_im, shot, " in str(found.value)
        assert "the same network from torch.export" in str(found.value)
    early = {"translated": {"adversary": "early"}}
    with pytest.raises(OwnModelError, match="'translated' looks at the first convolution"):
        make("script", method="tgkt", options=early)
    options = {"socket": {"statistics_weight": 0, "epochs": 1, "batch_size": 8}}
    model = transferred(make("script", method="socket", options=options))
    name = "encoder.program.1.running_mean"
    assert torch.equal(model.state_dict()[name], torch.zeros(8))  # the source's, for ever


def test_the_gap_knows_its_layers_and_films_are_kept(make: Make) -> None:
    options: dict[str, dict[str, Any]] = {"socket": {"epochs": 1, "batch_size": 8}}
    for kind, layers in {
        "graph": ("program.1", "bottleneck"),
        "script": ("features", "bottleneck"),
    }.items():
        given = {"socket": {**options["socket"], "statistics_weight": float(kind == "graph")}}
        experiment = make(kind, options=given, film=4, run=kind)
        model = transferred(experiment)
        assert layer_names(model) == layers
        images = experiment.views().evaluation.images
        about = experiment.parameters.crop_pixels, experiment.precision
        found = layer_features(model, images, layers, *about)
        assert {len(found[name]) for name in layers} == {len(images)}
        assert experiment.film(experiment.trip()).epochs == [0, 1]
        pairs = experiment.views().pairs
        assert pairs is not None
        crop = experiment.parameters.crop_pixels
        halves = (pairs.source, pairs.target)
        gap = statistics_gap(experiment.source_model(), model, *halves, crop, experiment.precision)
        assert len(gap) == (3 if kind == "graph" else 0)


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"source_model": "gone.yaml"}, r"'.*gone\.yaml' cannot be read"),
        ({"sources": ["a/rgb", "b/rgb"]}, "source_model is one model"),
    ],
)
def test_parameters_that_cannot_be(
    changed: dict[str, Any], message: str, values: dict[str, Any]
) -> None:
    with pytest.raises(ParameterError, match=message):
        validate("05_transfer", values | changed)


def test_a_class_without_an_output_stops_within_a_second(
    values: dict[str, Any], folder: Path, tmp_path: Path
) -> None:
    said = yaml.safe_load((folder / "weights.yaml").read_text())
    missing = said["classes"].pop(1)
    (tmp_path / "weights.pth").touch()
    (tmp_path / "own.yaml").write_text(yaml.safe_dump(said))
    with pytest.raises(ParameterError, match=f"no output for '{missing}'"):
        validate("05_transfer", values | {"source_model": str(tmp_path / "own.yaml")})


def test_a_model_that_was_trained_on_the_test_images_is_refused(
    values: dict[str, Any], folder: Path, tmp_path: Path, tiny_scenes: Path
) -> None:
    raw = yaml.safe_load(tiny_scenes.read_text())
    raw["overlaps"] = {"rooms": "the same rooms, drawn again"}
    (tmp_path / "data.yaml").write_text(yaml.safe_dump(raw))
    said = yaml.safe_load((folder / "weights.yaml").read_text())
    (tmp_path / "weights.pth").touch()
    (tmp_path / "own.yaml").write_text(yaml.safe_dump(said | {"trained_on": "rooms"}))
    changed = {"data": str(tmp_path / "data.yaml"), "source_model": str(tmp_path / "own.yaml")}
    with pytest.raises(ParameterError, match=r"share images.*the same rooms, drawn again"):
        validate("05_transfer", values | changed)
    validate("05_transfer", values | {"source_model": changed["source_model"]})


def test_the_notebooks_run_to_their_end(
    values: dict[str, Any], root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shared = values | {
        "options": {"socket": {"epochs": 1, "batch_size": 8}},
        "steps": ["02_train_source", {"notebook": "05_transfer", "film": 4}],
    }
    monkeypatch.chdir(root)
    (folder,) = run_all(plan([], shared, {}), warm=True)
    record = Run(folder).read()
    assert record.status == "done"
    assert set(record.stages) == {STAGE, SOURCE_ONLY, SOCKET}
    assert {part.status for part in record.stages.values()} == {"done"}
    member = load_card(folder / "models" / f"{SOCKET}.safetensors").members[0]
    assert member.own is not None and member.own.feature_layer == "fc"
    configuration = record.configuration["02_train_source"]
    assert configuration["source_model"] == values["source_model"]


def test_a_source_model_of_another_run_is_taken_as_it_is(
    adapted: Experiment, tmp_path: Path
) -> None:
    file = model_file(adapted.run, STAGE)
    values = adapted.parameters.model_dump(mode="json")
    changed = {"run": "again", "runs_dir": str(tmp_path), "source_model": str(file), "film": 0}
    again = Experiment(validate("05_transfer", values | changed))
    assert [step.kind for step in again.train_source()] == ["start"]
    images = torch.rand(2, 3, 28, 28)
    assert torch.equal(again.source_model()(images), adapted.source_model()(images))
    kinds = [step.kind for step in again.transfer(again.trip())]
    assert kinds.count("epoch") == 2
    rows = [
        {
            row.stage: row.accuracy
            for row in experiment.run.read().results
            if row.chosen_by == "last"
        }
        for experiment in (adapted, again)
    ]
    assert rows[0] == rows[1]


def test_a_source_model_of_a_data_set_with_the_same_images_is_refused(
    adapted: Experiment, tmp_path: Path
) -> None:
    old = model_file(adapted.run, STAGE)
    file = tmp_path / "model.safetensors"
    file.write_bytes(old.read_bytes())
    card = json.loads(old.with_suffix(".json").read_text())
    manifest = load_manifest("nyu_depth_v2")
    card["classes"] = list(manifest.protocol("held_out").task_relevant)
    card["configuration"]["data"] = "sunrgbd"
    file.with_suffix(".json").write_text(json.dumps(card))
    asked = {"data": "nyu_depth_v2", "source": "kv1/rgb", "target": "kv1/depth"}
    with pytest.raises(ParameterError, match="sunrgbd"):
        validate("05_transfer", asked | {"source_model": str(file)})

"""Whose translator a method sees through, and one from a file that was made for something else."""

import re
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from socketlab.models.checkpoint import (
    CheckpointError,
    card_path,
    describe_classifier,
    load_classifier,
    save_classifier,
)
from socketlab.models.classifier import Classifier
from socketlab.models.translator import Translator, build_translator
from socketlab.runs.checks import check_methods
from socketlab.runs.experiment import Experiment
from socketlab.runs.keeping import model_file
from socketlab.runs.parameters import validate
from socketlab.runs.shared_parameters import Parameters
from socketlab.runs.translators import (
    Input,
    WrongTranslator,
    load_translator,
    translator_file,
    translator_name,
)
from socketlab.training.steps import Controls

VARIANTS = {"painted": "translated", "gated": "socket", "mine": "tgkt"}


def compare(**options: dict[str, Any]) -> Parameters:
    given = {"methods": ["tgkt"], "variants": VARIANTS, "options": options}
    return validate("06_compare", given)


@pytest.mark.parametrize(
    ("name", "options", "wanted"),
    [
        ("tgkt", {}, "translated"),
        ("socket_translated", {}, "translated"),
        ("mine", {}, "translated"),
        ("tgkt", {"tgkt": {"translator": "painted"}}, "painted"),
        ("mine", {"tgkt": {"translator": "painted"}}, "painted"),
        ("mine", {"tgkt": {"translator": "painted"}, "mine": {"translator": "translated"}}, None),
        ("mine", {"mine": {"translator": "models/t.safetensors"}}, "models/t.safetensors"),
        ("tgkt", {"mine": {"translator": "painted"}}, "translated"),
    ],
)
def test_whose_translator(name: str, options: dict[str, Any], wanted: str | None) -> None:
    assert translator_name(compare(**options), name) == (wanted or "translated")


@pytest.mark.parametrize("name", ["socket", "gated", "source_only", "translated", "painted"])
def test_a_method_that_needs_none_has_none(name: str) -> None:
    """Also where its options have one, which then is the network that it trains."""
    options = {"translated": {"translator": "colormap"}}
    assert translator_name(compare(**options), name) is None


@pytest.mark.parametrize("asked", ["socket", "gated", "mine", "tgkt", "pointwise", "t.pt", ""])
def test_what_trains_no_translator_is_refused(asked: str) -> None:
    parameters = compare(mine={"translator": asked})
    for check in (lambda p: translator_name(p, "mine"), check_methods):
        with pytest.raises(WrongTranslator) as caught:
            check(parameters)
        for word in ("'mine'", repr(asked), "trains none", "'translated'", ".safetensors"):
            assert word in str(caught.value)


def test_a_file_that_is_not_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    missing = str(tmp_path / "missing.safetensors")
    parameters = compare(tgkt={"translator": missing})
    assert translator_name(parameters, "tgkt") == missing
    for check in (lambda: translator_file(missing), lambda: check_methods(parameters)):
        with pytest.raises(WrongTranslator) as caught:
            check()
        assert repr(missing) in str(caught.value) and "'translated'" in str(caught.value)
    (tmp_path / "notebooks").mkdir()
    (tmp_path / "data_manifests").mkdir()
    (tmp_path / "there.safetensors").touch()
    monkeypatch.chdir(tmp_path / "notebooks")
    assert translator_file("there.safetensors") == tmp_path / "there.safetensors"


@pytest.fixture
def source() -> Classifier:
    return Classifier("resnet_small", ("bed", "desk"), bottleneck=8).eval()


@pytest.fixture
def kept(source: Classifier, tmp_path: Path) -> tuple[Translator, Path]:
    """A translator of a/depth at 28 pixels, and where it was saved with its source model."""
    model, path = source.frozen(), tmp_path / "painted.safetensors"
    translator = build_translator("pointwise").train()
    translator(torch.rand(4, 1, 14, 14))
    model.translate_with(translator)
    about: dict[str, Any] = {"method": "translated", "configuration": {}, "scores": {}}
    about["configuration"] = {"encoding": "inverse"}
    card = describe_classifier(model, domain="a/depth", crop=28, size=32, **about)
    save_classifier(model, path, card)
    return translator.eval(), path


@pytest.mark.parametrize("target", ["a/depth", "b/depth"])
def test_a_translator_that_fits(
    target: str, kept: tuple[Translator, Path], source: Classifier
) -> None:
    """Another camera of the same modality may use it."""
    translator, path = kept
    found = load_translator(path, Input(target, 32, 28, "inverse"), source)
    assert found.name == "pointwise" and not found.training
    grey = torch.rand(3, 1, 20, 20)
    assert torch.equal(found(grey), translator(grey))


FITS = Input("a/depth", 32, 28, "inverse")


def refused(path: Path, wanted: Input, source: Classifier) -> str:
    with pytest.raises(WrongTranslator) as caught:
        load_translator(path, wanted, source)
    message = str(caught.value)
    assert repr(str(path)) in message
    assert "Train one with these parameters (translator: translated)" in message
    return message


def test_another_modality(kept: tuple[Translator, Path], source: Classifier) -> None:
    for target in ("a/nir", "b/nir"):
        message = refused(kept[1], replace(FITS, domain=target), source)
        assert f"was trained on a/depth, and the target is {target}." in message


def test_another_size(kept: tuple[Translator, Path], source: Classifier) -> None:
    message = refused(kept[1], replace(FITS, crop=56), source)
    assert "was trained at 28 of 32 pixels, and the input has 56 of 32." in message
    message = refused(kept[1], replace(FITS, size=64), source)
    assert "was trained at 28 of 32 pixels, and the input has 28 of 64." in message


def test_another_encoding(kept: tuple[Translator, Path], source: Classifier) -> None:
    message = refused(kept[1], replace(FITS, encoding="replicate"), source)
    assert "was trained on encoding 'inverse', and the input has 'replicate'." in message


def test_a_model_of_another_method(kept: tuple[Translator, Path], source: Classifier) -> None:
    """A socket model looks through `replicate`, which nobody has trained."""
    about: dict[str, Any] = {"method": "socket", "configuration": {}, "scores": {}}
    card = describe_classifier(source, domain="a/depth", crop=28, size=32, **about)
    save_classifier(source, kept[1], card)
    assert "is of method 'socket', which trains none." in refused(kept[1], FITS, source)


def test_a_data_set_that_shares_images(source: Classifier, tmp_path: Path) -> None:
    """The card says what the translator was trained on; where it says nothing, nothing is known."""
    paths: dict[str | None, Path] = {}
    source.translate_with(build_translator("pointwise").eval())
    for data in ("nyuv2_scenes_224", None):
        path = tmp_path / f"{data}.safetensors"
        configuration = {"encoding": "inverse"} | ({"data": data} if data else {})
        about: dict[str, Any] = {"configuration": configuration, "scores": {}}
        card = describe_classifier(
            source, domain="kv1/depth", crop=28, size=32, method="translated", **about
        )
        save_classifier(source, path, card)
        paths[data] = path
    wanted = replace(FITS, domain="kv2/depth")
    with pytest.raises(WrongTranslator) as caught:
        load_translator(paths["nyuv2_scenes_224"], wanted, source, data="sunrgbd")
    message = str(caught.value)
    assert message.startswith(f"The translator {str(paths['nyuv2_scenes_224'])!r} cannot be used: ")
    assert "'nyuv2_scenes_224' and 'sunrgbd' share images" in message
    for data in ("nyuv2_scenes_224", "scenes", None):
        assert load_translator(paths["nyuv2_scenes_224"], wanted, source, data=data)
    assert load_translator(paths[None], wanted, source, data="sunrgbd")


@pytest.mark.parametrize("which", ["mean", "deviation"])
def test_another_normalisation(
    which: str, kept: tuple[Translator, Path], source: Classifier
) -> None:
    source.get_buffer(which)[0, 1] = 0.5
    message = refused(kept[1], FITS, source).split("was trained for")[1]
    theirs = [0.485, 0.456, 0.406, 0.229, 0.224, 0.225]
    ours = list(theirs)
    ours[1 if which == "mean" else 4] = 0.5
    found = [float(number) for number in re.findall(r"0\.\d+", message)]
    assert found == [*theirs, *ours]


def test_a_damaged_file(kept: tuple[Translator, Path], source: Classifier) -> None:
    _, path = kept
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    path.write_bytes(content)
    with pytest.raises(CheckpointError, match=r"painted.safetensors' has sha256 .* damaged"):
        load_translator(path, FITS, source)
    card_path(path).unlink()
    with pytest.raises(CheckpointError, match=r"'painted.json' is missing"):
        load_translator(path, FITS, source)


SOURCE = "source-a.rgb-seed0"
SOURCE_ONLY = "source_only-to-a.depth-held_out-seed0"
TRANSLATED = "translated-to-a.depth-held_out-seed0"
TGKT = "tgkt-to-a.depth-held_out-seed0"
OPTIONS: dict[str, dict[str, Any]] = {
    "translated": {"epochs": 1, "batch_size": 8, "translator": "pointwise"},
    "tgkt": {"epochs": 1, "batch_size": 8},
}

Make = Callable[..., Experiment]


def build(runs: Path, scenes: Path, data: Path, **changes: Any) -> Experiment:
    values: dict[str, Any] = {
        "run": "tiny",
        "data": str(scenes),
        "size": 32,
        "method": "tgkt",
        "source_options": {"epochs": 1, "batch_size": 8},
        "options": OPTIONS,
        "device": "cpu",
        "dtype": "float32",
        "data_dir": str(data),
        "runs_dir": str(runs),
    }
    return Experiment(validate("05_transfer", values | changes))


def kept_model(experiment: Experiment, stage: str = TGKT) -> dict[str, Tensor]:
    return dict(load_classifier(model_file(experiment.run, stage))[0].state_dict())


def same(first: dict[str, Tensor], second: dict[str, Tensor]) -> bool:
    return first.keys() == second.keys() and all(torch.equal(first[k], second[k]) for k in first)


@pytest.fixture(scope="module")
def finished(
    tmp_path_factory: pytest.TempPathFactory, tiny_scenes: Path, tiny_data: Path
) -> Experiment:
    """A run of which only `tgkt` was asked for; tests that change it work on a copy."""
    torch.set_num_threads(1)
    experiment = build(tmp_path_factory.mktemp("finished"), tiny_scenes, tiny_data)
    list(experiment.train_source())
    list(experiment.transfer(experiment.trip()))
    return experiment


@pytest.fixture
def copied(finished: Experiment, tmp_path: Path, tiny_scenes: Path, tiny_data: Path) -> Make:
    """An experiment with these parameters changed, on a copy of the finished run."""
    shutil.copytree(finished.run.folder, tmp_path / "tiny")
    return lambda **changes: build(tmp_path, tiny_scenes, tiny_data, **changes)


def test_a_translator_is_trained_before_the_method_that_needs_it(finished: Experiment) -> None:
    for name in ("tgkt", "translated", "socket", "source_only"):
        only = finished.trip(name)
        assert finished.trainings(only) == [only]  # the translator of `tgkt` is there
    assert list(finished.run.read().stages) == [SOURCE, SOURCE_ONLY, TRANSLATED, TGKT]
    painter, target = (
        finished.target_model(finished.trip(name)) for name in ("translated", "tgkt")
    )
    assert painter is not None and painter.members[0].translator.name == "pointwise"
    assert target is not None and target.members[0].translator.name == "replicate"
    assert finished.previews(finished.trip("translated")).epochs == [0, 1]
    measures = {row.stage: row.measures for row in finished.run.read().results}
    assert {"psnr", "ssim", "discriminator_accuracy"} <= set(measures[TRANSLATED])
    assert measures[TGKT] == {}


def test_what_is_done_is_not_done_again(copied: Make) -> None:
    experiment = copied()
    files = list((experiment.run.folder / "models").iterdir())
    before = {path.name: path.stat().st_mtime_ns for path in files}
    assert list(experiment.transfer(experiment.trip())) == []
    model_file(experiment.run, TGKT).unlink()
    weights = kept_model(experiment, TRANSLATED)
    assert list(experiment.transfer(experiment.trip())) != []
    assert same(kept_model(experiment, TRANSLATED), weights)
    after = {path.name: path.stat().st_mtime_ns for path in files}
    changed = {name for name in before if before[name] != after[name]}
    assert changed == {f"{TGKT}.safetensors", f"{TGKT}.json"}


def test_another_translator_makes_another_target_model(copied: Make) -> None:
    """Its very weights decide."""
    experiment = copied(options=OPTIONS | {"translated": OPTIONS["translated"] | {"l1_weight": 1}})
    trip, painter, before = experiment.trip(), experiment.trip("translated"), kept_model(experiment)
    assert experiment.trainings(trip) == [painter, trip]
    list(experiment.transfer(painter))
    assert experiment.trainings(trip) == [trip]
    assert experiment.target_model(trip) is None
    assert list(experiment.transfer(trip)) != []
    assert not same(kept_model(experiment), before)


def test_a_translator_that_was_stopped_is_there(copied: Make) -> None:
    """What was learnt is used; finished later, it is another one."""
    options = OPTIONS | {"half": {"learning_rate": 0.1}, "tgkt": {"translator": "half"}}
    experiment = copied(options=options, variants={"half": "translated"})
    trip, painter, controls = experiment.trip(), experiment.trip("half"), Controls()
    assert experiment.trainings(trip) == [painter, trip]
    for step in experiment.transfer(painter, controls):
        if step.step == 2:
            controls.stop()
    assert step.kind == "stopped"
    assert experiment.trainings(trip) == [trip]


def test_a_variant_s_translator(copied: Make) -> None:
    given = {
        "variants": {"jet": "translated"},
        "options": OPTIONS
        | {"jet": {"translator": "colormap"}, "tgkt": OPTIONS["tgkt"] | {"translator": "jet"}},
    }
    experiment = copied(**given)
    before = kept_model(experiment)
    stage = "jet-to-a.depth-held_out-seed0"
    assert [one.stage for one in experiment.trainings(experiment.trip())] == [stage, TGKT]
    list(experiment.transfer(experiment.trip()))
    made = experiment.target_model(experiment.trip("jet"))
    assert made is not None and made.members[0].translator.name == "colormap"
    assert not same(kept_model(experiment), before)
    assert experiment.run.read().stages[stage].status == "done"


def test_a_translator_of_another_run_is_used_from_its_file(
    finished: Experiment, copied: Make
) -> None:
    """It teaches what it taught there, and this run trains none."""
    file = model_file(finished.run, TRANSLATED)
    options = OPTIONS | {"tgkt": OPTIONS["tgkt"] | {"translator": str(file)}}
    experiment = copied(options=options)
    model_file(experiment.run, TRANSLATED).unlink()
    trip = experiment.trip()
    assert experiment.target_model(trip) is None
    assert experiment.trainings(trip) == [trip]
    assert list(experiment.transfer(trip)) != []
    assert same(kept_model(experiment), kept_model(finished))
    assert not model_file(experiment.run, TRANSLATED).exists()


def test_a_file_for_another_camera_stops_before_the_training(copied: Make) -> None:
    experiment = copied()
    file = model_file(experiment.run, TRANSLATED)
    options = {"tgkt": OPTIONS["tgkt"] | {"translator": str(file)}}
    other = copied(options=options, target="a/nir")
    with pytest.raises(WrongTranslator, match=r"trained on a/depth, and the target is a/nir"):
        list(other.transfer(other.trip()))
    assert not [stage for stage in other.run.read().stages if stage.startswith("tgkt-to-a.nir")]

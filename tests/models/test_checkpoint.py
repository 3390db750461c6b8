import hashlib
import json
import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from socketlab.models.checkpoint import (
    Card,
    CheckpointError,
    card_path,
    describe_classifier,
    load_card,
    load_classifier,
    save_classifier,
)
from socketlab.models.classifier import Classifier
from socketlab.models.mixture import Mixture
from socketlab.models.translator import build_translator

Build = Callable[..., Classifier]
ABOUT: dict[str, Any] = {
    "domain": "kv1/depth",
    "crop": 14,
    "size": 16,
    "method": "shot",
    "configuration": {"seed": 3, "name": "Küche"},
    "scores": {"accuracy": 0.5},
}


@pytest.fixture
def kept(build: Build, tmp_path: Path) -> tuple[Classifier, Path]:
    """A classifier with constants of its own, and where it was saved."""
    model = build(mean=(0.1, 0.2, 0.3), deviation=(0.3, 0.2, 0.1))
    path = tmp_path / "models" / "target.safetensors"
    assert save_classifier(model, path, describe_classifier(model, **ABOUT)) == path
    return model, path


def change_card(path: Path, **changes: object) -> None:
    card = json.loads(card_path(path).read_text("utf-8"))
    known = ("backbone", "bottleneck", "translator")
    inner = {name: changes.pop(name) for name in known if name in changes}
    card["members"][0] |= inner
    card_path(path).write_text(json.dumps(card | changes), "utf-8")


def test_the_same_logits_come_back(kept: tuple[Classifier, Path]) -> None:
    model, path = kept
    images = torch.rand(5, 3, 14, 14)
    loaded, card = load_classifier(path)
    assert isinstance(loaded, Classifier) and not loaded.training
    assert loaded.classes == model.classes and loaded.backbone == model.backbone
    assert torch.equal(loaded(images), model(images))
    assert torch.equal(loaded.mean, model.mean) and torch.equal(loaded.deviation, model.deviation)
    assert load_card(path) == card
    for name, value in ABOUT.items():
        assert getattr(card, name) == value
    (member,) = card.members
    assert member.bottleneck == 8 and card.mixing == ()
    assert member.mean == pytest.approx((0.1, 0.2, 0.3))
    assert card.sha256 == hashlib.sha256(path.read_bytes()).hexdigest()


@pytest.mark.parametrize("name", ["colormap", "pointwise", "residual"])
def test_a_translator_comes_back_with_its_classifier(
    name: str, build: Build, tmp_path: Path
) -> None:
    model, path = build(), tmp_path / "painter.safetensors"
    translator = build_translator(name).train()
    translator(torch.rand(6, 1, 14, 14))
    with torch.no_grad():
        for parameter in translator.parameters():
            parameter.add_(0.1)
    model.translate_with(translator)
    model.eval()
    save_classifier(model, path, describe_classifier(model, **ABOUT))
    loaded, card = load_classifier(path)
    assert card.members[0].translator == loaded.members[0].translator.name == name
    assert not any(part.training for part in loaded.modules())
    for channels in (1, 3):
        images = torch.rand(5, channels, 14, 14)
        assert torch.equal(loaded(images), model(images))
    grey = torch.rand(5, 1, 14, 14)
    assert torch.equal(loaded.members[0].translator(grey), translator(grey))


def test_each_member_of_a_mixture_has_its_translator(build: Build, tmp_path: Path) -> None:
    members, path = [build(), build(translator="pointwise")], tmp_path / "mixture.safetensors"
    model = Mixture(members).eval()
    save_classifier(model, path, describe_classifier(model, **ABOUT))
    loaded, card = load_classifier(path)
    assert [member.translator for member in card.members] == ["replicate", "pointwise"]
    grey = torch.rand(4, 1, 14, 14)
    assert torch.equal(loaded(grey), model(grey))


def test_a_card_from_before_there_were_translators(kept: tuple[Classifier, Path]) -> None:
    model, path = kept
    card = json.loads(card_path(path).read_text("utf-8"))
    assert card["members"][0].pop("translator") == "replicate"
    card_path(path).write_text(json.dumps(card), "utf-8")
    loaded, _ = load_classifier(path)
    grey = torch.rand(4, 1, 14, 14)
    assert torch.equal(loaded(grey), model(grey))


def test_only_weights_and_card_are_left(kept: tuple[Classifier, Path]) -> None:
    model, path = kept
    save_classifier(model, path, describe_classifier(model, **ABOUT))  # replaces
    assert sorted(p.name for p in path.parent.iterdir()) == ["target.json", "target.safetensors"]


def test_saving_leaves_the_model_alone(build: Build, tmp_path: Path) -> None:
    model = build().train()
    before = {name: value.clone() for name, value in model.state_dict().items()}
    save_classifier(model, tmp_path / "m.safetensors", describe_classifier(model, **ABOUT))
    assert model.training
    assert all(torch.equal(before[k], v) for k, v in model.state_dict().items())


def test_no_pickle_is_written_or_read(
    kept: tuple[Classifier, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise AssertionError("a pickle was used")

    model, path = kept
    for module, name in ((pickle, "load"), (pickle, "loads"), (pickle, "dump"), (torch, "load")):
        monkeypatch.setattr(module, name, refuse)
    monkeypatch.setattr(torch, "save", refuse)
    monkeypatch.setattr(pickle, "Unpickler", refuse)
    save_classifier(model, path, describe_classifier(model, **ABOUT))
    load_classifier(path)


@pytest.mark.parametrize("position", [0, 200, -1])
def test_a_changed_byte(kept: tuple[Classifier, Path], position: int) -> None:
    _, path = kept
    content = bytearray(path.read_bytes())
    content[position] ^= 1
    path.write_bytes(content)
    with pytest.raises(CheckpointError, match=r"target.safetensors' has sha256 .* damaged"):
        load_classifier(path)


def test_torn_weights(kept: tuple[Classifier, Path]) -> None:
    _, path = kept
    path.write_bytes(path.read_bytes()[:-100])
    with pytest.raises(CheckpointError, match=r"target.safetensors'.*damaged"):
        load_classifier(path)


def test_weights_that_are_no_safetensors_though_the_card_agrees(
    kept: tuple[Classifier, Path],
) -> None:
    _, path = kept
    path.write_bytes(b"\xff" * 64)
    change_card(path, sha256=hashlib.sha256(path.read_bytes()).hexdigest())
    with pytest.raises(CheckpointError, match=r"target.safetensors' does not fit its card"):
        load_classifier(path)


@pytest.mark.parametrize("content", [b"", b'{"backbone": "resnet_sm', b"\xff\xfe\x00", b"[]"])
def test_a_torn_card(kept: tuple[Classifier, Path], content: bytes) -> None:
    _, path = kept
    card_path(path).write_bytes(content)
    for load in (load_card, load_classifier):
        with pytest.raises(CheckpointError, match=r"card '.*target.json' is not valid"):
            load(path)


def test_a_missing_card_or_weights(kept: tuple[Classifier, Path]) -> None:
    _, path = kept
    card = card_path(path).read_bytes()
    card_path(path).unlink()
    with pytest.raises(CheckpointError, match=r"target.safetensors'.*'target.json' is missing"):
        load_classifier(path)
    card_path(path).write_bytes(card)
    path.unlink()
    with pytest.raises(CheckpointError, match=r"No weights at '.*target.safetensors'"):
        load_classifier(path)


@pytest.mark.parametrize(
    "wrong",
    [
        {"bottleneck": 16},
        {"backbone": "resnet18"},
        {"backbone": "rsnt"},
        {"classes": ["bed", "a"]},
        {"translator": "pointwise"},
        {"translator": "painter"},
    ],
)
def test_a_card_of_another_network(kept: tuple[Classifier, Path], wrong: dict[str, object]) -> None:
    _, path = kept
    change_card(path, **wrong)
    with pytest.raises(CheckpointError, match=r"target.safetensors' does not fit its card"):
        load_classifier(path)


def test_the_card_of_another_model(
    kept: tuple[Classifier, Path], build: Build, tmp_path: Path
) -> None:
    """Weights and card torn by a crash between the two renames."""
    _, path = kept
    other = build()
    save_classifier(other, tmp_path / "o.safetensors", describe_classifier(other, **ABOUT))
    path.write_bytes((tmp_path / "o.safetensors").read_bytes())
    with pytest.raises(CheckpointError, match=r"target.safetensors'.*card says"):
        load_classifier(path)


def test_a_card_says_all_it_must_and_no_more(kept: tuple[Classifier, Path]) -> None:
    _, path = kept
    change_card(path, colour="blue")
    with pytest.raises(CheckpointError, match="colour"):
        load_card(path)
    with pytest.raises(ValueError, match="domain"):
        Card.model_validate({"backbone": "resnet18"})

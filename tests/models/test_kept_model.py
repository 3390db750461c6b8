"""A model that a run has kept, as the source model of another run, with the same logits."""

import json
from pathlib import Path

import pytest
import torch

from socketlab.models.checkpoint import describe_classifier, save_classifier
from socketlab.models.classifier import Classifier
from socketlab.models.kept_model import own_classifier
from socketlab.models.mixture import Mixture
from socketlab.models.own_model_spec import OwnModelError, read_own_model

CLASSES = ("mug", "lamp", "chair")


def kept(folder: Path, members: int = 1) -> tuple[Classifier | Mixture, Path]:
    torch.manual_seed(0)
    models = [Classifier("resnet_small", CLASSES, bottleneck=16).eval() for _ in range(members)]
    model = models[0] if members == 1 else Mixture(models).eval()
    about = {"domain": "cam/rgb", "crop": 28, "size": 32, "method": "source", "scores": {}}
    card = describe_classifier(model, **about, configuration={"data": "scenes"})
    return model, save_classifier(model, folder / "model.safetensors", card)


def test_its_card_says_all_that_is_needed(tmp_path: Path) -> None:
    model, file = kept(tmp_path)
    own = read_own_model(file)
    assert (own.classes, own.size, own.crop_pixels) == (CLASSES, 32, 28)
    assert own.trained_on == "scenes"
    images = torch.rand(2, 3, 28, 28)
    found = own_classifier(own, CLASSES, crop=28)
    assert torch.equal(found(images), model(images))


@pytest.mark.parametrize("classes", [("chair", "mug"), ("lamp", "chair", "mug")])
def test_outputs_are_chosen_by_name(tmp_path: Path, classes: tuple[str, ...]) -> None:
    model, file = kept(tmp_path)
    images = torch.rand(2, 3, 28, 28)
    found = own_classifier(read_own_model(file), classes, crop=28)
    assert found.classes == classes
    rows = [CLASSES.index(name) for name in classes]
    torch.testing.assert_close(found(images), model(images)[:, rows])
    assert torch.equal(found.features(images), model.features(images))


def test_a_class_that_it_does_not_know_is_named(tmp_path: Path) -> None:
    own = read_own_model(kept(tmp_path)[1])
    with pytest.raises(OwnModelError, match=r"no output for 'sofa'.*mug, lamp, chair"):
        own_classifier(own, ("mug", "sofa"), crop=28)


def test_what_is_torn_or_mixed_is_refused(tmp_path: Path) -> None:
    _, file = kept(tmp_path)
    own = read_own_model(file)
    file.write_bytes(file.read_bytes()[:-1])
    with pytest.raises(OwnModelError, match="damaged or was changed"):
        own_classifier(own, CLASSES, crop=28)
    card = json.loads(file.with_suffix(".json").read_text())
    del card["classes"]
    file.with_suffix(".json").write_text(json.dumps(card))
    with pytest.raises(OwnModelError, match=r"card 'model\.json' is missing, damaged"):
        read_own_model(file)
    file.with_suffix(".json").unlink()
    with pytest.raises(OwnModelError, match="with the card beside it"):
        read_own_model(file)
    with pytest.raises(OwnModelError, match="mixture"):
        read_own_model(kept(tmp_path, members=2)[1])

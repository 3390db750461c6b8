"""Networks that somebody else has trained: wrapped, with the same scores, or it is said why."""

import copy
import io
import warnings
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import timm
import torch
import torchvision
import yaml
from safetensors.torch import save_file
from torch import Tensor, nn

from socketlab.models.checkpoint import (
    CheckpointError,
    card_path,
    describe_classifier,
    load_classifier,
    save_classifier,
)
from socketlab.models.classifier import Classifier
from socketlab.models.encoders import build_encoder
from socketlab.models.own_model import build_own_model, keep_program, program_file
from socketlab.models.own_model_checks import reach_of
from socketlab.models.own_model_spec import OwnModelError, read_own_model
from socketlab.training.optimiser import SgdOptions, build_sgd
from socketlab.training.statistics import every_batch_norm, reestimate_statistics

OUTPUTS = ("kitchen", "bed", "desk", "sofa", "hall")
TASK = ("sofa", "bed", "desk")
ROWS = [3, 1, 2]
MEAN, DEVIATION = (0.4, 0.5, 0.6), (0.2, 0.25, 0.3)
Describe = Callable[..., Path]


class Small(nn.Module):
    """A few layers with everything that matters: BatchNorm, dropout, a linear layer at the end."""

    def __init__(self, bias: bool = True, last: nn.Module | None = None) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, 4, 3, stride=2)
        self.norm = nn.BatchNorm2d(4)
        self.hidden = nn.Linear(4, 6)
        self.shape = nn.LayerNorm(6)
        self.drop = nn.Dropout(0.5)
        self.head = nn.Linear(6, len(OUTPUTS), bias=bias)
        self.last = last or nn.Identity()

    def forward(self, x: Tensor) -> Tensor:
        pooled = self.norm(self.conv(x)).relu().mean((2, 3))
        scores: Tensor = self.last(self.head(self.drop(self.shape(self.hidden(pooled)))))
        return scores


def moved(network: nn.Module, size: int = 32) -> nn.Module:
    """With running statistics that are not those of a new network, in eval mode."""
    with torch.no_grad():
        network.train()(torch.randn(4, 3, size, size))
    return network.eval()


def scripted(network: nn.Module, file: Path, traced: bool = False) -> Path:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # torch advises against it; people have such files
        if traced:
            made = torch.jit.trace(network, torch.rand(2, 3, 32, 32))  # type: ignore[no-untyped-call]
        else:
            made = torch.jit.script(network)
        made.save(str(file))
    return file


def exported(network: nn.Module, file: Path, batch: int | None = None, size: int = 32) -> Path:
    dynamic = ({0: torch.export.Dim("batch", min=1)},) if batch is None else None
    example = (torch.rand(batch or 2, 3, size, size),)
    torch.export.save(torch.export.export(network, example, dynamic_shapes=dynamic), file)
    return file


@pytest.fixture
def describe(tmp_path: Path) -> Describe:
    """The file that describes an own model, with these keys."""

    def write(**about: Any) -> Path:
        said = {
            "classes": list(OUTPUTS),
            "mean": list(MEAN),
            "deviation": list(DEVIATION),
            "size": 40,
            "crop": 32,
        }
        file = tmp_path / "own.yaml"
        said = {key: value for key, value in (said | about).items() if value is not None}
        file.write_text(yaml.safe_dump(said))
        return file

    return write


def expected_scores(network: nn.Module, images: Tensor) -> Tensor:
    mean, deviation = (torch.tensor(x).view(1, 3, 1, 1) for x in (MEAN, DEVIATION))
    with torch.no_grad():
        scores: Tensor = network((images - mean) / deviation)
    return scores[:, ROWS]


def build(file: Path, crop: int = 32) -> Classifier:
    return build_own_model(read_own_model(file), TASK, crop=crop)


def check_same(model: Classifier, network: nn.Module) -> None:
    """The same scores, features before the last layer, and all that adapting needs."""
    images = torch.rand(3, 3, 32, 32)
    expected = expected_scores(network.eval(), images)
    with torch.no_grad():
        features, logits = model.outputs(images)
    torch.testing.assert_close(logits, expected, rtol=1e-5, atol=1e-5)
    assert model.classes == TASK and features.shape == (3, model.width)
    assert isinstance(model.bottleneck, nn.Identity) and not model.training
    student = model.student().train()
    assert not any(p.requires_grad for p in student.head.parameters())
    optimiser = build_sgd(student, SgdOptions(learning_rate=0.1))
    student(images).square().mean().backward()
    optimiser.step()
    frozen = model.frozen()
    with torch.no_grad():
        torch.testing.assert_close(frozen(images), expected, rtol=1e-5, atol=1e-5)
        assert not torch.allclose(student.eval()(images), expected, atol=1e-4)
    assert not any(p.requires_grad for p in frozen.parameters())
    gray = torch.rand(2, 1, 32, 32)
    assert torch.allclose(model(gray), model(gray.expand(-1, 3, -1, -1)))


def check_kept(model: Classifier, folder: Path) -> Classifier:
    """Saved, and loaded in its place with other weights than the file's."""
    student = model.student()
    with torch.no_grad():
        for parameter in student.encoder.parameters():
            if parameter.requires_grad:
                parameter.mul_(1.1)
    about: dict[str, Any] = {"domain": "a/rgb", "crop": 32, "size": 40, "method": "shot"}
    card = describe_classifier(student, **about, configuration={}, scores={})
    file = save_classifier(student, folder / "kept" / "model.safetensors", card)
    loaded, read = load_classifier(file)
    images = torch.rand(2, 3, 32, 32)
    assert isinstance(loaded, Classifier) and read.members[0].own == model.own
    with torch.no_grad():
        assert torch.equal(loaded(images), student.eval()(images))
        assert not torch.allclose(loaded(images), model(images), atol=1e-4)
    encoder = build_encoder(str(file))
    assert encoder.width == model.width and encoder(images).shape == (2, model.width)
    return loaded


@pytest.mark.parametrize("name", ["resnet18", "torchvision/mobilenet_v2"])
def test_networks_of_torchvision(name: str, describe: Describe, tmp_path: Path) -> None:
    made = torchvision.models.get_model(name.split("/")[-1], num_classes=len(OUTPUTS))
    network = moved(made)
    torch.save({"epoch": 3, "state_dict": {f"module.{k}": v for k, v in made.state_dict().items()}},
               tmp_path / "own.pth")  # fmt: skip
    model = build(describe(network=name, weights="own.pth"))
    check_same(model, network)
    assert reach_of(model).statistics == len(every_batch_norm(network))
    check_kept(model, tmp_path)


def test_a_vit_of_timm_that_was_compiled(describe: Describe, tmp_path: Path) -> None:
    name = "test_vit"
    network = timm.create_model(name, num_classes=len(OUTPUTS), dynamic_img_size=True).eval()
    held = {f"_orig_mod.{key}": value.clone() for key, value in network.state_dict().items()}
    save_file(held, tmp_path / "own.safetensors")
    model = build(describe(network=f"timm/{name}", weights="own.safetensors"))
    check_same(model, network)
    reach = reach_of(model)
    assert reach.normalisation and not reach.statistics and not reach.sealed
    check_kept(model, tmp_path)


@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("kind", ["scripted", "traced", "exported"])
def test_programs(kind: str, bias: bool, describe: Describe, tmp_path: Path) -> None:
    network = moved(Small(bias))
    if kind == "exported":
        file = exported(network, tmp_path / "own.pt2")
    else:
        file = scripted(network, tmp_path / "own.pt", traced=kind == "traced")
    model = build(describe(network=file.name, feature_layer="head"))
    check_same(model, network)
    assert model.width == 6 and (model.head.bias is not None) == bias
    loaded = check_kept(model, tmp_path)
    kept = [file for file in (tmp_path / "kept").iterdir() if file.suffix in (".pt", ".pt2")]
    assert [file.read_bytes() for file in kept] == [file.read_bytes()]
    copied = copy.deepcopy(loaded.student())
    assert {n for n, p in copied.named_parameters() if p.requires_grad} == {
        n for n, p in loaded.student().named_parameters() if p.requires_grad
    }


def test_an_exported_program_has_normalisation_layers_again(
    describe: Describe, tmp_path: Path
) -> None:
    network = moved(Small())
    exported(network, tmp_path / "own.pt2")
    model = build(describe(network="own.pt2", feature_layer="head"))
    assert (reach_of(model).normalisation, reach_of(model).statistics) == (2, 1)
    (norm,) = every_batch_norm(model)
    images = torch.rand(6, 3, 32, 32)
    reestimate_statistics(model, [images])
    assert norm.momentum == pytest.approx(0.1)
    seen = model.encoder.program.conv  # type: ignore[union-attr]
    assert seen is not None
    mean, deviation = (torch.tensor(x).view(1, 3, 1, 1) for x in (MEAN, DEVIATION))
    with torch.no_grad():
        given = network.conv((images - mean) / deviation)  # type: ignore[operator]
    torch.testing.assert_close(norm.running_mean, given.mean((0, 2, 3)), rtol=1e-4, atol=1e-5)


def test_a_script_keeps_its_statistics_and_its_last_layer_is_held(
    describe: Describe, tmp_path: Path
) -> None:
    scripted(moved(Small()), tmp_path / "own.pt")
    model = build(describe(network="own.pt", feature_layer="head"))
    reach = reach_of(model)
    assert reach.sealed and not reach.normalisation and not reach.statistics
    student = model.student().train()
    before = {name: value.clone() for name, value in student.state_dict().items()}
    optimiser = build_sgd(student, SgdOptions(learning_rate=0.1))
    student(torch.rand(4, 3, 32, 32)).square().mean().backward()
    optimiser.step()
    after = student.state_dict()
    changed = {
        name.rpartition("program.")[2] for name in after if not after[name].equal(before[name])
    }
    assert "conv.weight" in changed and "norm.weight" in changed
    assert not {"norm.running_mean", "head.weight", "head.bias"} & changed
    assert torch.equal(after["encoder.program.head.weight"], torch.eye(6))


@pytest.mark.parametrize(
    ("last", "message"),
    [
        (nn.Softmax(1), "gives probabilities .* comes a softmax. Save it without"),
        (nn.LogSoftmax(1), "logarithms of probabilities"),
        (nn.Sigmoid(), "not those of its layer 'head' alone"),
        (nn.Linear(5, 5), "not those of its layer 'head' alone"),
        (nn.Unflatten(1, (5, 1)), r"gives \(2, 5, 1\) of two images, and not class scores"),
    ],
)
def test_outputs_that_are_no_class_scores(
    last: nn.Module, message: str, describe: Describe, tmp_path: Path
) -> None:
    exported(moved(Small(last=last)), tmp_path / "own.pt2")
    with pytest.raises(OwnModelError, match=message):
        build(describe(network="own.pt2", feature_layer="head"))


def test_the_last_layer_must_be_named(describe: Describe, tmp_path: Path) -> None:
    exported(moved(Small()), tmp_path / "own.pt2")
    with pytest.raises(OwnModelError, match=r"Set feature_layer.* its linear layers: hidden, head"):
        build(describe(network="own.pt2"))
    with pytest.raises(OwnModelError, match=r"'norm' is no linear layer .* layers: hidden, head"):
        build(describe(network="own.pt2", feature_layer="norm"))
    with pytest.raises(OwnModelError, match="not those of its layer 'hidden' alone"):
        build(describe(network="own.pt2", feature_layer="hidden"))


def test_a_frozen_script_has_no_layers(describe: Describe, tmp_path: Path) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.jit.freeze(torch.jit.script(moved(Small()))).save(str(tmp_path / "own.pt"))
    with pytest.raises(OwnModelError, match=r"no linear layer .* without torch\.jit\.freeze"):
        build(describe(network="own.pt", feature_layer="head"))


def test_sizes_and_batches_that_a_program_does_not_take(describe: Describe, tmp_path: Path) -> None:
    network = moved(Small())
    exported(network, tmp_path / "own.pt2")
    about = describe(network="own.pt2", feature_layer="head")
    with pytest.raises(OwnModelError, match=r"only images of 32 x 32 .* crop: 32, and size: 40"):
        build(about, crop=24)
    exported(network, tmp_path / "own.pt2", batch=1)
    with pytest.raises(OwnModelError, match=r"one image at a time .*dynamic_shapes="):
        build(about)
    exported(network, tmp_path / "own.pt2", batch=3)
    with pytest.raises(OwnModelError, match=r"does not take images \[2, 3, 32, 32\]"):
        build(about)


def test_programs_in_train_mode(describe: Describe, tmp_path: Path) -> None:
    exported(Small().train(), tmp_path / "own.pt2")
    about = describe(network="own.pt2", feature_layer="head")
    with pytest.raises(OwnModelError, match=r"exported in train mode. Call model\.eval\(\)"):
        build(about)
    network = Small()
    network.drop = nn.Dropout(0.0)
    scripted(network.train(), tmp_path / "own.pt", traced=True)
    with pytest.raises(OwnModelError, match="other scores when another image is beside it"):
        build(describe(network="own.pt", feature_layer="head"))


def test_pickles_in_a_program_are_not_read(describe: Describe, tmp_path: Path) -> None:
    exported(moved(Small()), tmp_path / "own.pt2")
    about = describe(network="own.pt2", feature_layer="head")
    with zipfile.ZipFile(tmp_path / "own.pt2", "a") as archive:
        archive.writestr("own/data/constants/opaque_obj_0", b"cos\nsystem\n")
    with pytest.raises(OwnModelError, match="holds Python objects"):
        build(about)
    (tmp_path / "own.pt2").write_bytes(b"no archive")
    with pytest.raises(OwnModelError, match=r"is no torch\.export program that"):
        build(about)


class Runs:
    """Would make a file when it is unpickled."""

    def __init__(self, file: Path) -> None:
        self.file = file

    def __reduce__(self) -> tuple[Any, tuple[Path]]:
        return Path.touch, (self.file,)


def test_code_among_the_example_inputs_is_not_run(describe: Describe, tmp_path: Path) -> None:
    """Torch's loader falls back on reading them with pickle; ours does not let it."""
    whole = zipfile.ZipFile(exported(moved(Small()), tmp_path / "whole.pt2"))
    ran, changed = tmp_path / "ran", io.BytesIO()
    torch.save((Runs(ran),), changed)
    with whole, zipfile.ZipFile(tmp_path / "own.pt2", "w") as archive:
        for name in whole.namelist():
            inputs = "sample_inputs" in name
            archive.writestr(name, changed.getvalue() if inputs else whole.read(name))
        assert any("sample_inputs" in name for name in whole.namelist())
    with pytest.raises(OwnModelError, match="that this torch can load"):
        build(describe(network="own.pt2", feature_layer="head"))
    assert not ran.exists()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.export.load(tmp_path / "own.pt2")
    assert ran.exists()  # so it was there to be run


def test_weights_that_do_not_fit(describe: Describe, tmp_path: Path) -> None:
    held = torchvision.models.resnet18(num_classes=4).state_dict()
    held["extra"] = held.pop("conv1.weight")
    torch.save(held, tmp_path / "own.pth")
    about = describe(network="resnet18", weights="own.pth")
    with pytest.raises(
        OwnModelError,
        match=r"missing conv1.weight; unknown extra; of another shape fc.bias \(4,\) instead of "
        r"\(5,\), fc.weight \(4, 512\) instead of \(5, 512\)",
    ):
        build(about)


def test_weights_are_tensors_and_nothing_else(describe: Describe, tmp_path: Path) -> None:
    torch.save(Small(), tmp_path / "own.pth")
    about = describe(network="resnet18", weights="own.pth")
    with pytest.raises(OwnModelError, match=r"cannot be read as tensors .*model\.state_dict\(\)"):
        build(about)
    scripted(Small().eval(), tmp_path / "own.pth")
    with pytest.raises(OwnModelError, match="TorchScript program is given as `network`"):
        build(about)
    (tmp_path / "own.pth").write_bytes(b"")
    with pytest.raises(OwnModelError, match="cannot be read as tensors"):
        build(about)


def test_names_that_nobody_has(describe: Describe, tmp_path: Path) -> None:
    (tmp_path / "own.pth").touch()
    with pytest.raises(OwnModelError, match="Unknown backbone 'resnet19'"):
        build(describe(network="resnet19", weights="own.pth"))
    with pytest.raises(OwnModelError, match="torchvision has no network for images called 'vit'"):
        build(describe(network="torchvision/vit", weights="own.pth"))


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"network": "gone.pt2"}, "there is no file .*gone.pt2"),
        ({"network": "resnet18"}, "has no weights; give weights: FILE"),
        ({"network": "resnet18", "weights": "own.bin"}, "weights 'own.bin' end in none of"),
        ({"network": "own.pt2", "weights": "own.pth"}, "holds its weights; leave out weights"),
        ({"network": "own.pt2", "classes": ["bed", "bed"]}, "bed is listed twice"),
        ({"network": "own.pt2", "mean": None}, "mean is missing"),
        ({"network": "own.pt2", "crop": 64}, "crop 64 is larger than size 40"),
        ({"network": "own.pt2", "deviation": [0, 1, 1]}, "deviation.0 = 0: .*greater than 0"),
        ({"network": "own.pt2", "std": [1, 1, 1]}, "std = .*Extra inputs.* Keys: network, weights"),
    ],
)
def test_descriptions_that_cannot_be(
    changed: dict[str, Any], message: str, describe: Describe, tmp_path: Path
) -> None:
    (tmp_path / "own.pt2").touch()
    with pytest.raises(OwnModelError, match=message):
        read_own_model(describe(**changed))


def test_files_that_describe_nothing(tmp_path: Path) -> None:
    with pytest.raises(OwnModelError, match=r"cannot be read .* Give the path of a YAML file"):
        read_own_model(tmp_path / "gone.yaml")
    (tmp_path / "own.yaml").write_text("[1, 2]")
    with pytest.raises(OwnModelError, match="holds no `key: value` lines"):
        read_own_model(tmp_path / "own.yaml")
    (tmp_path / "own.yaml").write_text("{")
    with pytest.raises(OwnModelError, match="is no YAML or JSON"):
        read_own_model(tmp_path / "own.yaml")


def test_classes_and_notes(describe: Describe, tmp_path: Path) -> None:
    (tmp_path / "own.pt2").write_bytes(b"x")
    own = read_own_model(describe(network="own.pt2", interpolation="bicubic"))
    assert own.rows(TASK) == ROWS
    with pytest.raises(OwnModelError, match=r"no output for 'beds' \(meant by 'bed'\?\)\. Its"):
        own.rows(("beds", "sofa"))
    unused, size, filtered = own.notes(TASK, 64, 56)
    assert "Of 5 outputs, 3 are used; not used: kitchen, hall." in unused
    assert "made for size 40 and crop 32" in size and "bicubic" in filtered
    assert read_own_model(describe(network="own.pt2")).notes(OUTPUTS, 40, 32) == []


def test_the_fingerprint_is_of_what_is_said_and_of_the_file(
    describe: Describe, tmp_path: Path
) -> None:
    (tmp_path / "own.pt2").write_bytes(b"x")
    first = read_own_model(describe(network="own.pt2")).fingerprint()
    assert read_own_model(describe(network="own.pt2")).fingerprint() == first
    assert read_own_model(describe(network="own.pt2", size=48)).fingerprint() != first
    (tmp_path / "own.pt2").write_bytes(b"y")
    assert read_own_model(describe(network="own.pt2")).fingerprint() != first


def test_a_kept_program_that_is_missing_or_changed(describe: Describe, tmp_path: Path) -> None:
    exported(moved(Small()), tmp_path / "own.pt2")
    model = build(describe(network="own.pt2", feature_layer="head"))
    check_kept(model, tmp_path)
    file = tmp_path / "kept" / "model.safetensors"
    assert model.own is not None
    program = program_file(file.parent, model.own)
    assert card_path(file).is_file() and program.is_file()
    exported(moved(Small()), program)
    with pytest.raises(CheckpointError, match=r"program .* has sha256 .* damaged or was changed"):
        load_classifier(file)
    program.unlink()
    with pytest.raises(CheckpointError, match=r"program .* is missing in .* belongs beside"):
        load_classifier(file)
    keep_program(model, file.parent)
    assert load_classifier(file)[0].classes == TASK

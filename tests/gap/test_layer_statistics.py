"""Statistics by layer against numbers computed one by one, and what replacing a layer's does."""

import copy
from collections.abc import Callable
from typing import Any, cast

import numpy as np
import pandas as pd
import pytest
import torch
from torch import Tensor, nn

from socketlab.data.modality import PixelFormat
from socketlab.data.views import Evaluation, Images
from socketlab.gap import layer_statistics
from socketlab.gap.layer_statistics import replaced_statistics, statistics_gap
from socketlab.models.classifier import Classifier
from socketlab.models.mixture import AnyClassifier, Mixture
from socketlab.models.translator import build_translator
from socketlab.training.inference import Score, predict, score, scorer
from socketlab.training.precision import Precision
from socketlab.training.statistics import reestimate_statistics

CPU = Precision(torch.device("cpu"), torch.float32, "a test")
CLASSES = ("bed", "desk", "sofa")
CROP = 6
NUMBERS = ["mean_gap", "variance_gap", "mean_distance", "variance_distance"]


@pytest.fixture(autouse=True)
def small_batches(monkeypatch: pytest.MonkeyPatch) -> None:
    """Several batches of unequal size: statistics must be those of all images together."""
    monkeypatch.setattr(layer_statistics, "BATCH", 5)


def images(count: int = 12, kind: str = "rgb", high: int = 256) -> Images:
    shape = (count, 8, 8, 3) if kind == "rgb" else (count, 8, 8)
    raw = (torch.rand(shape) ** 2 * high).to(torch.uint8)
    pixels = PixelFormat(kind, 0, 255, None)  # type: ignore[arg-type]
    return Images(raw, pixels, tuple(map(str, range(count))))


class Three(nn.Module):
    """Three normalisation layers, of which the second is never called, and one after them."""

    def __init__(self, kind: Callable[[int], nn.Module] = nn.BatchNorm2d) -> None:
        super().__init__()
        self.first, self.unused, self.last = kind(3), kind(4), kind(5)
        self.lift = nn.Conv2d(3, 5, 3)

    def inputs(self, x: Tensor) -> list[Tensor]:
        """What the first and the last layer are given, channels first."""
        return [x, self.lift(self.normed(self.first, x))]

    def normed(self, layer: nn.Module, x: Tensor) -> Tensor:
        if isinstance(layer, nn.LayerNorm):
            x = x.permute(0, 2, 3, 1)
            return cast(Tensor, layer(x)).permute(0, 3, 1, 2)
        return cast(Tensor, layer(x))

    def forward(self, x: Tensor) -> Tensor:
        return self.normed(self.last, self.inputs(x)[1]).mean((2, 3))


def classifier(kind: Callable[[int], nn.Module] = nn.BatchNorm2d) -> Classifier:
    """A classifier with running statistics that are neither 0 and 1 nor those of a test's images.

    The encoder alone is small: two layers of 3 and 5 channels.
    """
    model = Classifier("resnet_small", CLASSES, bottleneck=4)
    model.encoder, model.bottleneck[0] = Three(kind), nn.Linear(5, 4)
    with torch.no_grad():
        for _ in range(5):
            model.train()(torch.rand(9, 3, CROP, CROP))
    return model.eval()


def encoder(model: AnyClassifier) -> Three:
    return cast(Three, cast(Classifier, model).encoder)


def seen(model: Classifier, given: Images) -> Tensor:
    inside = given.raw[:, 1:-1, 1:-1].float() / 255
    unit = inside.permute(0, 3, 1, 2) if inside.ndim == 4 else inside[:, None].expand(-1, 3, -1, -1)
    return (unit - model.mean) / model.deviation


def moments(model: Classifier, given: Images) -> dict[str, tuple[list[float], list[float]]]:
    """Mean and biased variance per channel, by a sum over the values one by one in float64."""
    net = encoder(model)
    with torch.no_grad():
        first, last = net.inputs(seen(model, given))
        bottleneck = model.bottleneck[0](net(seen(model, given)))
    found = {}
    for name, x in (("first", first), ("last", last), ("bottleneck.1", bottleneck)):
        channels = [x[:, c].double().flatten().tolist() for c in range(x.shape[1])]
        means = [sum(values) / len(values) for values in channels]
        spreads = [
            sum((value - mean) ** 2 for value in values) / len(values)
            for values, mean in zip(channels, means, strict=True)
        ]
        found[name] = means, spreads
    return found


def running(model: Classifier) -> dict[str, tuple[list[float], list[float]]]:
    layers = {"bottleneck.1": model.bottleneck[1]}
    layers |= {name: getattr(encoder(model), name) for name in ("first", "last")}
    return {
        name: (
            layer.get_buffer("running_mean").tolist(),
            layer.get_buffer("running_var").tolist(),
        )
        for name, layer in layers.items()
    }


def by_hand(
    found: tuple[list[float], list[float]], reference: tuple[list[float], list[float]]
) -> list[float]:
    mean = sum((a - b) ** 2 for a, b in zip(found[0], reference[0], strict=True)) ** 0.5
    variance = sum((a - b) ** 2 for a, b in zip(found[1], reference[1], strict=True)) ** 0.5
    deviation = sum(reference[1]) ** 0.5
    size = sum(value**2 for value in reference[1]) ** 0.5
    return [mean / deviation, variance / size, mean, variance]


def row(frame: pd.DataFrame, **about: object) -> Any:
    chosen = frame
    for name, value in about.items():
        chosen = chosen[chosen[name] == value]
    assert len(chosen) == 1, about
    return chosen.iloc[0]


def test_gaps_are_those_of_all_images_to_the_running_statistics() -> None:
    source, target = classifier(), classifier()
    rgb, nir = images(), images(9, "nir", 90)
    frame = statistics_gap(source, target, rgb, nir, CROP, CPU)
    names = ["first", "last", "bottleneck.1"]
    assert frame["layer"].tolist() == names * 3
    assert frame["position"].tolist() == [1, 2, 3] * 3
    assert frame["channels"].tolist() == [3, 5, 4] * 3
    assert frame["note"].eq("").all() and "reason" not in frame.attrs
    own = running(source)
    for moment, found in (
        ("source", moments(source, rgb)),
        ("before", moments(source, nir)),
        ("after", moments(target, nir)),
    ):
        for name in names:
            numbers = row(frame, layer=name, moment=moment)[NUMBERS].to_list()
            assert numbers == pytest.approx(by_hand(found[name], own[name]), rel=1e-4), (
                moment,
                name,
            )


def test_without_a_target_model_there_is_no_after() -> None:
    frame = statistics_gap(classifier(), None, images(), images(), CROP, CPU)
    assert frame["moment"].unique().tolist() == ["source", "before"]


@pytest.mark.parametrize("kind", [nn.LayerNorm, lambda c: nn.GroupNorm(1, c)])
def test_layers_that_keep_nothing_are_compared_with_their_own_on_rgb(
    kind: Callable[[int], nn.Module],
) -> None:
    source, target = classifier(kind), classifier(kind)
    rgb, nir = images(), images(9, "nir", 90)
    frame = statistics_gap(source, target, rgb, nir, CROP, CPU)
    reference = moments(source, rgb)
    for name in ("first", "last"):
        own = row(frame, layer=name, moment="source")
        assert own["note"] == "the reference itself"
        assert own[NUMBERS].to_list() == [0, 0, 0, 0]
        for moment, model in (("before", source), ("after", target)):
            found = row(frame, layer=name, moment=moment)
            wanted = by_hand(moments(model, nir)[name], reference[name])
            assert found[NUMBERS].to_list() == pytest.approx(wanted, rel=1e-4)
            assert found["note"] == ""
    bottleneck = row(frame, layer="bottleneck.1", moment="source")
    wanted = by_hand(reference["bottleneck.1"], (
        source.bottleneck[1].get_buffer("running_mean").tolist(),
        source.bottleneck[1].get_buffer("running_var").tolist(),
    ))  # fmt: skip
    assert bottleneck[NUMBERS].to_list() == pytest.approx(wanted, rel=1e-4)


def test_depth_goes_in_as_it_is_encoded_and_rgb_as_it_is() -> None:
    raw = torch.randint(500, 60000, (6, 8, 8), dtype=torch.int32).to(torch.uint16)
    depth = Images(raw, PixelFormat("depth", 500, 60000, 0), tuple("012345"))
    model, rgb = classifier(), images()
    plain = statistics_gap(model, None, rgb, depth, CROP, CPU)
    other = statistics_gap(model, None, rgb, depth, CROP, CPU, "inverse")
    same = plain["mean_gap"] == other["mean_gap"]
    assert same[plain["moment"] == "source"].all() and not same[plain["moment"] == "before"].any()


def test_a_diverged_target_model_leaves_the_other_rows() -> None:
    source, target = classifier(), classifier()
    with torch.no_grad():
        encoder(target).lift.weight[0, 0, 0, 0] = torch.nan
    frame = statistics_gap(source, target, images(), images(), CROP, CPU)
    sound = (frame["moment"] != "after") | (frame["layer"] == "first")
    assert frame.loc[sound, NUMBERS].notna().all(axis=None)
    assert frame.loc[~sound, NUMBERS].isna().all(axis=None)
    assert frame.loc[~sound, "note"].str.contains("the model has diverged").all()
    assert len(frame[~sound]) == 2


def test_a_source_model_without_sound_statistics_is_named() -> None:
    model = classifier()
    encoder(model).first.get_buffer("running_mean")[1] = torch.inf
    encoder(model).last.get_buffer("running_var").zero_()
    frame = statistics_gap(model, model, images(), images(), CROP, CPU)
    notes = frame[frame["layer"] == "first"]["note"]
    assert notes.eq("the source model's statistics are not finite").all()
    model = classifier()
    encoder(model).last.get_buffer("running_var").zero_()
    found = row(
        statistics_gap(model, None, images(), images(), CROP, CPU), layer="last", moment="before"
    )
    assert found["note"] == "the source model's variance is zero"
    assert np.isnan(found["mean_gap"]) and np.isfinite(found["mean_distance"])


def test_models_of_other_layers_and_mixtures_are_refused() -> None:
    source, wider = classifier(), classifier()
    wider.bottleneck = nn.Sequential(nn.Linear(5, 7), nn.BatchNorm1d(7))
    wider.head = nn.Linear(7, 3)
    with pytest.raises(ValueError, match=r"'bottleneck\.1' has 4 channels .* and 7 in the target"):
        statistics_gap(source, wider, images(), images(), CROP, CPU)
    other = Classifier("resnet_small", CLASSES, bottleneck=4)
    with pytest.raises(ValueError, match=r"'first' has 3 channels .* and no in the target"):
        statistics_gap(source, other, images(), images(), CROP, CPU)
    mixture = Mixture([source, classifier()])
    with pytest.raises(ValueError, match=r"model\.members\[0\]"):
        statistics_gap(mixture, None, images(), images(), CROP, CPU)
    with pytest.raises(ValueError, match=r"model\.members\[0\]"):
        replaced_statistics(mixture, images(), scorer(labelled(source), CROP, CPU), CROP, CPU)


def labelled(model: Classifier, given: Images | None = None) -> Evaluation:
    """Images with the labels that the model itself gives to RGB ones."""
    rgb = images(30)
    answers = predict(model, rgb, CROP, CPU).logits.argmax(1)
    return Evaluation(given or rgb, answers, CLASSES, "a/rgb")


Watched = list[dict[str, Tensor]]


def watched(scored: Callable[[AnyClassifier], Score]) -> tuple[Watched, Any]:
    """A scorer, and the weights and buffers of each model that it was given."""
    states: Watched = []

    def run(model: AnyClassifier) -> Score:
        states.append({name: value.clone() for name, value in model.state_dict().items()})
        return scored(model)

    return states, run


def changed(before: dict[str, Tensor], after: dict[str, Tensor]) -> set[str]:
    """Modules of which anything differs."""
    return {
        name.rpartition(".")[0]
        for name, value in before.items()
        if not torch.equal(value, after[name])
    }


LAYERS = ["encoder.first", "encoder.last", "bottleneck.1"]


def test_one_layer_at_a_time_gets_the_statistics_of_the_untouched_model() -> None:
    model, given = classifier(), images(12, "nir", 90)
    before = {name: value.clone() for name, value in model.state_dict().items()}
    states, run = watched(scorer(labelled(model), CROP, CPU))
    frame = replaced_statistics(model, given, run, CROP, CPU)
    names = ["none", "first", "last", "bottleneck.1", "all"]
    assert frame["layer"].tolist() == names
    assert frame["position"].tolist() == [0, 1, 2, 3, 4]
    assert frame["channels"].tolist() == [0, 3, 5, 4, 12]
    assert frame["images"].tolist() == [0, 12, 12, 12, 12]
    assert frame["scored"].tolist() == [30] * 5
    assert [changed(before, state) for state in states[:4]] == [set(), *({n} for n in LAYERS)]
    wanted = moments(model, given)
    for state, layer, name in zip(states[1:4], LAYERS, names[1:4], strict=True):
        for part, numbers in zip(("running_mean", "running_var"), wanted[name], strict=True):
            found = state[f"{layer}.{part}"]
            torch.testing.assert_close(found, torch.tensor(numbers), rtol=1e-4, atol=1e-6)
    assert {*LAYERS} <= changed(before, states[4])
    assert changed(before, model.state_dict()) == set()


def test_all_is_adaptive_batch_normalisation() -> None:
    """Estimated anew, each on what the layers before it give: one batch tells it exactly."""
    model, given = classifier(), images(4, "nir", 90)
    states, run = watched(scorer(labelled(model), CROP, CPU))
    replaced_statistics(model, given, run, CROP, CPU)
    adapted = copy.deepcopy(model)
    pixels = (given.raw[:, 1:-1, 1:-1].float() / 255)[:, None].expand(-1, 3, -1, -1)
    reestimate_statistics(adapted, [pixels])
    for layer in LAYERS:
        for part in ("running_mean", "running_var"):
            wanted = adapted.get_submodule(layer).get_buffer(part)
            torch.testing.assert_close(states[4][f"{layer}.{part}"], wanted, rtol=1e-4, atol=1e-6)
    alone = states[2]["encoder.last.running_mean"]
    assert not torch.allclose(states[4]["encoder.last.running_mean"], alone, rtol=1e-3)


def test_the_layer_that_carries_the_gap_brings_the_accuracy_back() -> None:
    """Darker images are told by their first layer alone; its statistics make them as before."""
    model, rgb = classifier(), images(40)
    rgb = Images(rgb.raw // 4 * 4, rgb.format, rgb.ids)
    dark = Images(rgb.raw // 4, rgb.format, rgb.ids)
    reestimate_statistics(model, [(rgb.raw[:, 1:-1, 1:-1].float() / 255).permute(0, 3, 1, 2)])
    answers = predict(model, rgb, CROP, CPU).logits.argmax(1)
    assert len(set(answers.tolist())) > 1
    run = scorer(Evaluation(dark, answers, CLASSES, "a/rgb"), CROP, CPU)
    frame = replaced_statistics(model, dark, run, CROP, CPU).set_index("layer")
    untouched = score(predict(model, dark, CROP, CPU).logits, answers)
    accuracy, balanced = (frame[name].astype(float) for name in ("accuracy", "balanced_accuracy"))
    assert accuracy["none"] == untouched.accuracy < 0.9
    assert balanced["none"] == untouched.balanced_accuracy
    assert accuracy["first"] > 0.95 and balanced["first"] > 0.9


def test_the_model_is_left_as_it_was_bit_by_bit() -> None:
    """Buffers, weights, modes, momenta; also where the scoring ends in an error."""
    model = classifier()
    model.train()
    model.bottleneck.eval()
    modes = [module.training for module in model.modules()]
    before = {name: value.clone() for name, value in model.state_dict().items()}
    tensors = [id(buffer) for buffer in model.buffers()]
    run = scorer(labelled(model), CROP, CPU)
    calls = 0

    def failing(network: AnyClassifier) -> Score:
        nonlocal calls
        calls += 1
        if calls == stop:
            raise KeyError("the scorer")
        return run(network)

    for stop in (2, 5, 6):
        calls = 0
        if stop == 6:
            replaced_statistics(model, images(), failing, CROP, CPU)
        else:
            with pytest.raises(KeyError, match="the scorer"):
                replaced_statistics(model, images(), failing, CROP, CPU)
        assert changed(before, model.state_dict()) == set()
        assert [module.training for module in model.modules()] == modes
        assert [id(buffer) for buffer in model.buffers()] == tensors
        assert encoder(model).first.momentum == 0.1
    statistics_gap(model, model, images(), images(), CROP, CPU)
    assert changed(before, model.state_dict()) == set()
    assert [module.training for module in model.modules()] == modes


def test_so_many_images_are_drawn_with_the_seed() -> None:
    model, given = classifier(), images(30, "nir")
    run = scorer(labelled(model), CROP, CPU)
    means = []
    for seed in (0, 0, 1):
        states, watch = watched(run)
        frame = replaced_statistics(
            model, given, watch, CROP, CPU, most_images=6, seed=seed
        )  # fmt: skip
        assert frame["images"].tolist() == [0, 6, 6, 6, 6]
        means.append(states[1]["encoder.first.running_mean"])
    assert torch.equal(means[0], means[1]) and not torch.equal(means[0], means[2])
    every = replaced_statistics(model, given, run, CROP, CPU, most_images=99)
    assert every["images"].tolist() == [0, 30, 30, 30, 30]
    for few, found in ((1, 1), (0, 0), (-3, -3)):
        with pytest.raises(ValueError, match=f"Statistics of {found} of 30 images"):
            replaced_statistics(model, given, run, CROP, CPU, most_images=few)


def test_a_last_batch_of_one_image_is_no_error() -> None:
    """Six images in batches of at most five: three and three."""
    model = classifier()
    sizes: list[int] = []
    handle = model.encoder.register_forward_hook(lambda _, inputs, __: sizes.append(len(inputs[0])))
    statistics_gap(model, None, images(6), images(11), CROP, CPU)
    handle.remove()
    assert sizes == [3, 3, 4, 4, 3]
    frame = replaced_statistics(model, images(6), scorer(labelled(model), CROP, CPU), CROP, CPU)
    assert frame["accuracy"].notna().all()


def test_a_diverged_model_gives_rows_that_say_so() -> None:
    model = classifier()
    run = scorer(labelled(model), CROP, CPU)
    with torch.no_grad():
        encoder(model).lift.weight[0, 0, 0, 0] = torch.nan
    states, watch = watched(run)
    frame = replaced_statistics(model, images(), watch, CROP, CPU).set_index("layer")
    assert frame["accuracy"].isna().all() and frame["balanced_accuracy"].isna().all()
    for name in ("none", "first", "all"):
        assert frame.loc[name, "note"] == "the answers are not finite"
    for name in ("last", "bottleneck.1"):
        assert frame.loc[name, "note"] == "the statistics to put in are not finite"
    assert len(states) == 3 and frame["scored"].tolist() == [30, 30, 0, 0, 30]


def test_without_batch_norm_there_is_a_reason_and_no_row() -> None:
    model = classifier(nn.LayerNorm)
    model.bottleneck[1] = nn.Identity()
    states, run = watched(scorer(labelled(model), CROP, CPU))
    frame = replaced_statistics(model, images(), run, CROP, CPU)
    assert frame.empty and not states
    assert [*frame.columns] == [
        *(
            "layer",
            "position",
            "channels",
            "images",
            "scored",
            "accuracy",
            "balanced_accuracy",
            "note",
        )
    ]
    assert "'resnet_small' classifier has no BatchNorm" in frame.attrs["reason"]
    model.encoder = nn.Sequential(nn.Conv2d(3, 5, 3), nn.AdaptiveAvgPool2d(1), nn.Flatten())
    gaps = statistics_gap(model, model, images(), images(), CROP, CPU)
    assert gaps.empty and "no normalisation layer" in gaps.attrs["reason"]
    assert [*gaps.columns] == ["layer", "position", "channels", "moment", *NUMBERS, "note"]


def test_of_a_network_of_layer_norms_the_bottleneck_alone_is_replaced() -> None:
    """At the place that it has in the other table."""
    model = classifier(nn.LayerNorm)
    run = scorer(labelled(model), CROP, CPU)
    frame = replaced_statistics(model, images(), run, CROP, CPU)
    assert frame["layer"].tolist() == ["none", "bottleneck.1", "all"]
    assert frame["position"].tolist() == [0, 3, 4]
    assert frame["channels"].tolist() == [0, 4, 4]
    gaps = statistics_gap(model, None, images(), images(), CROP, CPU)
    assert row(gaps, layer="bottleneck.1", moment="before")["position"] == 3


def test_a_batch_norm_of_rows_in_the_encoder_counts_too() -> None:
    """adabn estimates it anew, and its inputs are images' rows and no maps."""
    model = classifier()
    model.encoder = nn.Sequential(model.encoder, nn.BatchNorm1d(5)).eval()
    names = ["0.first", "0.last", "1", "bottleneck.1"]
    gaps = statistics_gap(model, None, images(), images(), CROP, CPU)
    assert gaps[gaps["moment"] == "before"]["layer"].tolist() == names
    frame = replaced_statistics(model, images(), scorer(labelled(model), CROP, CPU), CROP, CPU)
    assert frame["layer"].tolist() == ["none", *names, "all"]


def test_layers_of_real_networks_have_their_library_s_names() -> None:
    """Also in the wrapper of a network made for one size; a translator's are left out."""
    model = Classifier("resnet_small", CLASSES, bottleneck=4)
    model.translate_with(build_translator("pointwise"))
    frame = statistics_gap(model, None, images(3), images(3, "nir"), CROP, CPU)
    layers = frame[frame["moment"] == "before"]["layer"].tolist()
    assert len(layers) == 13 and layers[0] == "stages.1" and layers[-1] == "bottleneck.1"
    vit = Classifier("vit_tiny_patch16_224", CLASSES, bottleneck=4)
    rgb = Images(torch.zeros(2, 16, 16, 3, dtype=torch.uint8), images().format, ("0", "1"))
    frame = statistics_gap(vit, None, rgb, rgb, 16, CPU)
    layers = frame[frame["moment"] == "source"]["layer"].tolist()
    assert layers[:2] == ["blocks.0.norm1", "blocks.0.norm2"] and len(layers) == 26


def test_half_precision_gives_nearly_the_same() -> None:
    half = Precision(torch.device("cpu"), torch.bfloat16, "a test")
    model, rgb, nir = classifier(), images(), images(9, "nir", 90)
    exact = statistics_gap(model, None, rgb, nir, CROP, CPU)
    found = statistics_gap(model, None, rgb, nir, CROP, half)
    np.testing.assert_allclose(found["mean_gap"], exact["mean_gap"], rtol=0.1, atol=0.02)
    assert (found["mean_gap"] != exact["mean_gap"]).any()

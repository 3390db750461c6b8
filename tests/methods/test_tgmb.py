"""Each term of TGMB by its definition, what each weight costs, and which pairs are seen when."""

import copy
import math
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from socketlab.data.views import Images, Views
from socketlab.methods import check_options
from socketlab.methods.tgmb import split_pairs
from socketlab.models.classifier import Classifier
from socketlab.training.steps import Controls

Begin = Callable[..., Any]
ByHand = Callable[..., float]
NOTHING = {
    "reconstruction_weight": 0,
    "l1_weight": 0,
    "perceptual_weight": 0,
    "adversarial_weight": 0,
    "information_weight": 0,
    "statistics_weight": 0,
}
EVERYTHING = {name: 0.5 for name in NOTHING}
PLACES = ("features", "early", "patches")


def only(option: str, value: float = 0.5, **more: Any) -> dict[str, Any]:
    # Not `residual`, which starts as grey.
    return {"translator": "pointwise"} | NOTHING | {option: value} | more


def painted(training: Any, step: int) -> tuple[Tensor, Tensor, Tensor]:
    """Of the step that comes next: RGB halves, T(m) and T(x), from one batch in train mode."""
    method = training.method
    translator = copy.deepcopy(method.translator).train()
    rgb, other = method.pair_batch(step)
    _, images = method.target_batch(step)
    both = translator(torch.cat([other, images]))
    return rgb, both[: len(other)], both[len(other) :]


def numbers(x: Tensor) -> list[float]:
    found: list[float] = x.detach().double().flatten().tolist()
    return found


def test_reconstruction_and_absolute_error_by_hand(views: Views, begin: Begin) -> None:
    training = begin("translated", views, **only("reconstruction_weight", l1_weight=0.25))
    training.until("start")
    for step in range(3):
        rgb, other = training.method.pair_batch(step)
        pictures = copy.deepcopy(training.method.translator).train()(other)
        errors = [a - b for a, b in zip(numbers(pictures), numbers(rgb), strict=True)]
        square = sum(error * error for error in errors) / len(errors)
        absolute = sum(abs(error) for error in errors) / len(errors)
        terms = training.until("step").terms
        assert set(terms) == {"reconstruction", "absolute", "total"}
        assert float(terms["reconstruction"]) == pytest.approx(square, rel=1e-5)
        assert float(terms["absolute"]) == pytest.approx(absolute, rel=1e-5)
        assert float(terms["total"]) == pytest.approx(0.5 * square + 0.25 * absolute, rel=1e-5)


def test_the_perceptual_term_by_hand(views: Views, begin: Begin, source_model: Classifier) -> None:
    training = begin("translated", views, **only("perceptual_weight", learning_rate=0.05))
    training.until("step", 2)
    rgb, other = training.method.pair_batch(2)
    pictures = copy.deepcopy(training.method.translator).train()(other)
    with torch.no_grad():
        found, wanted = (numbers(source_model.features(x)) for x in (pictures, rgb))
    expected = sum((a - b) ** 2 for a, b in zip(found, wanted, strict=True)) / len(found)
    terms = training.until("step").terms
    assert set(terms) == {"perceptual", "total"}
    assert float(terms["perceptual"]) == pytest.approx(expected, rel=1e-4)
    assert float(terms["total"]) == pytest.approx(0.5 * expected, rel=1e-4)


def seen_at(place: str, source: Classifier, pictures: Tensor) -> Tensor:
    """What the discriminator of a place looks at."""
    if place == "patches":
        return pictures
    if place == "features":
        return source.features(pictures)
    first = next(m for m in source.encoder.modules() if isinstance(m, nn.Conv2d))
    found: Tensor = first((pictures - source.mean) / source.deviation)
    return found


def domain_loss(logits: Tensor, pairs: int) -> Tensor:
    """Mean of -log p(domain) over a domain's samples and patches, then over the two domains."""
    p = logits.double().exp() / logits.double().exp().sum(1, keepdim=True)
    return -(p[:pairs, 0].log().mean() + p[pairs:, 1].log().mean()) / 2


@pytest.mark.parametrize("place", PLACES)
def test_the_adversarial_term_and_its_gradients_by_hand(
    place: str, views: Views, begin: Begin, source_model: Classifier
) -> None:
    """What reaches the discriminator descends, what reaches the translator ascends, by the ramp."""
    options = only("adversarial_weight", 0.7, adversary=place, learning_rate=0.01)
    training = begin("translated", views, **options)
    training.until("step", 2)
    method = training.method
    networks = copy.deepcopy((method.translator, method.adversary.network))
    translator, discriminator = networks
    _, other = method.pair_batch(2)
    _, images = method.target_batch(2)
    both = translator.train()(torch.cat([other, images]))
    # As one batch: the encoder is in eval mode, so that neither half sees the other.
    logits = discriminator(seen_at(place, source_model, both))
    expected = domain_loss(logits, len(other))
    expected.backward()  # type: ignore[no-untyped-call]

    found = training.until("step").terms
    assert set(found) == {"adversarial", "total"}
    assert float(found["adversarial"]) == pytest.approx(expected.item(), rel=1e-4)
    ramp = 2 / (1 + math.exp(-10 * 2 / 6)) - 1
    for network, copied, factor in (
        (method.translator, translator, -0.7 * ramp),
        (method.adversary.network, discriminator, 0.7),
    ):
        largest = max(float(p.grad.abs().max()) for p in copied.parameters())
        assert largest > 0
        for name, parameter in network.named_parameters():
            wanted = factor * copied.get_parameter(name).grad
            torch.testing.assert_close(parameter.grad, wanted, rtol=1e-3, atol=1e-5 * largest)


def test_the_discriminator_s_accuracy_is_that_of_the_epoch(views: Views, begin: Begin) -> None:
    options = only("adversarial_weight", adversary="features", learning_rate=0.01)
    training = begin("translated", views, **options)
    assert "discriminator_accuracy" not in training.until("start").look.measures
    seen: list[Tensor] = []
    training.method.adversary.network.register_forward_hook(
        lambda _network, _inputs, logits: seen.append(logits.detach())
    )
    for _ in range(2):
        seen.clear()
        look = training.until("epoch").look
        right = [
            (int((x[:4, 0] >= x[:4, 1]).sum()) / 4 + int((x[4:, 1] > x[4:, 0]).sum()) / 4) / 2
            for x in seen
        ]
        assert len(right) == 3
        assert look.measures["discriminator_accuracy"] == pytest.approx(sum(right) / 3, abs=1e-6)


@pytest.mark.parametrize("prior", [None, (0.5, 0.3, 0.2)])
@pytest.mark.parametrize("momentum", [0.0, 0.9])
def test_information_maximisation_by_hand(
    prior: tuple[float, ...] | None,
    momentum: float,
    views: Views,
    begin: Begin,
    source_model: Classifier,
) -> None:
    """From half of the training on: the mean answer begins uniform and runs from there."""
    options = only("information_weight", information_start=0.5, learning_rate=0.05)
    given = options | {"information_momentum": momentum, "class_prior": prior}
    training = begin("translated", views, **given)
    training.until("start")
    mean, guard = [1 / 3] * 3, 1e-5

    def entropy(p: list[float]) -> float:
        return -sum(x * math.log(x + guard) for x in p)

    for step in range(6):
        with torch.no_grad():
            logits = source_model(painted(training, step)[2]).double()
        found = training.until("step").terms
        if step < 3:
            assert set(found) == {"total"}
            continue
        answers = [[math.exp(x) for x in row] for row in logits.tolist()]
        answers = [[x / sum(row) for x in row] for row in answers]
        batch = [sum(column) / len(answers) for column in zip(*answers, strict=True)]
        mean = [momentum * m + (1 - momentum) * b for m, b in zip(mean, batch, strict=True)]
        expected = sum(entropy(row) for row in answers) / len(answers) - entropy(mean)
        if prior is not None:
            expected -= sum(m * math.log(3 * pi) for m, pi in zip(mean, prior, strict=True))
        assert float(found["information_maximisation"]) == pytest.approx(expected, abs=1e-4)
        assert numbers(training.method.memory["mean_answer"]) == pytest.approx(mean, abs=1e-5)


def test_the_distance_of_statistics_by_hand(
    views: Views, begin: Begin, source_model: Classifier, statistics_by_hand: ByHand
) -> None:
    """Of the pictures of TR images, in every BatchNorm2d, to the source model's running ones."""
    training = begin("translated", views, **only("statistics_weight", learning_rate=0.05))
    training.until("step", 2)
    layers = [m for m in source_model.encoder.modules() if isinstance(m, nn.BatchNorm2d)]
    inputs: list[Tensor] = []
    handles = [x.register_forward_pre_hook(lambda _, args: inputs.append(args[0])) for x in layers]
    with torch.no_grad():
        source_model.features(painted(training, 2)[2])
    for handle in handles:
        handle.remove()
    found = training.until("step").terms
    assert set(found) == {"statistics", "total"}
    assert float(found["statistics"]) == pytest.approx(statistics_by_hand(layers, inputs), rel=1e-3)


def test_all_terms_together(views: Views, begin: Begin) -> None:
    names = ("reconstruction", "absolute", "perceptual", "adversarial", "statistics")
    weights = dict(zip(("reconstruction_weight", "l1_weight"), (0.9, 0.2), strict=True))
    options = EVERYTHING | weights | {"translator": "pointwise", "information_start": 0}
    terms = begin("translated", views, **options).until("step").terms
    assert set(terms) == {*names, "information_maximisation", "total"}
    half = sum(float(terms[n]) for n in (*names[2:], "information_maximisation")) / 2
    total = half + 0.9 * float(terms["reconstruction"]) + 0.2 * float(terms["absolute"])
    assert float(terms["total"]) == pytest.approx(total, rel=1e-5)


@pytest.mark.parametrize(
    ("options", "passes", "draws"),
    [
        pytest.param(NOTHING, 0, 0, id="nothing"),
        pytest.param(only("reconstruction_weight", l1_weight=1), 0, 0, id="pixels"),
        pytest.param(only("perceptual_weight"), 2, 0, id="perceptual"),
        pytest.param(only("adversarial_weight", adversary="features"), 2, 1, id="features"),
        pytest.param(only("adversarial_weight", adversary="early"), 2, 1, id="early"),
        pytest.param(only("adversarial_weight", adversary="patches"), 0, 1, id="patches"),
        pytest.param(only("information_weight", information_start=0), 1, 1, id="information"),
        pytest.param(only("information_weight", information_start=1), 0, 0, id="warm-up"),
        pytest.param(only("statistics_weight"), 1, 1, id="statistics"),
        pytest.param(EVERYTHING | {"information_start": 0}, 3, 1, id="all share their passes"),
    ],
)
def test_what_has_no_weight_costs_nothing(
    options: dict[str, Any], passes: int, draws: int, views: Views, begin: Begin
) -> None:
    """Passes through the source model, and batches of TR images drawn, in one step."""
    training = begin("translated", views, epochs=1, **options)
    training.until("start")
    method, counted = training.method, {"passes": 0, "draws": 0}

    def pass_through(*_: object) -> None:
        counted["passes"] += 1

    draw = method.target_batch

    def drawn(step: int) -> Any:
        counted["draws"] += 1
        return draw(step)

    method.teacher.encoder.register_forward_hook(pass_through)
    method.target_batch = drawn
    training.until("step")
    assert counted == {"passes": passes, "draws": draws}
    adversarial = options["adversarial_weight"] > 0
    assert (method.adversary is not None) is adversarial
    groups = [group["name"] for group in method.optimiser.param_groups]
    assert groups == ["translator", *["discriminator"] * adversarial]
    assert hasattr(method, "reference") is (options["statistics_weight"] > 0)


@pytest.mark.parametrize("place", PLACES)
def test_a_weight_lowered_to_zero_while_it_trains(place: str, views: Views, begin: Begin) -> None:
    controls = Controls()
    options = only("reconstruction_weight", adversarial_weight=0.1, adversary=place)
    training = begin("translated", views, controls=controls, **options)
    assert set(training.until("step").terms) == {"reconstruction", "adversarial", "total"}
    controls.weights = {"adversarial": 0.0}
    assert set(training.until("step").terms) == {"reconstruction", "total"}
    training.finish()


@pytest.mark.parametrize("option", ["absolute", "perceptual", "information_maximisation"])
def test_a_weight_raised_from_zero_while_it_trains(option: str, views: Views, begin: Begin) -> None:
    controls = Controls()
    options = NOTHING | {"information_start": 0}
    training = begin("translated", views, controls=controls, **options)
    assert set(training.until("step").terms) == {"total"}
    controls.weights = {option: 0.5}
    assert set(training.until("step").terms) == {option, "total"}


def test_a_term_that_was_not_prepared_cannot_be_raised(views: Views, begin: Begin) -> None:
    controls = Controls()
    training = begin("translated", views, controls=controls, adversarial_weight=0)
    training.until("step")
    controls.weights = {"adversarial": 0.1}
    with pytest.raises(ValueError, match=r"no loss term 'adversarial'. Known: reconstruction"):
        training.until("step")


def test_the_source_model_stays_as_it_is(
    views: Views, begin: Begin, source_model: Classifier
) -> None:
    """Bit by bit, in eval mode at every pass, and out of the optimiser's reach."""
    before = {name: value.clone() for name, value in source_model.state_dict().items()}
    options = EVERYTHING | {"information_start": 0, "learning_rate": 0.05}
    training = begin("translated", views, **options)
    training.until("start")
    method, modes = training.method, []
    for module in (method.teacher, method.student):
        for part in module.modules():
            if part not in set(method.translator.modules()) and part is not method.student:
                part.register_forward_hook(lambda m, *_: modes.append(m.training))
    start = {name: value.clone() for name, value in method.translator.named_parameters()}
    training.finish()
    assert modes and not any(modes)
    kept = {k: v for k, v in training.weights.items() if not k.startswith("translator.")}
    for found in (kept, dict(method.teacher.state_dict()), dict(source_model.state_dict())):
        assert found.keys() == before.keys()
        assert all(torch.equal(found[name], before[name]) for name in before)
    assert not any(torch.equal(start[k], v) for k, v in method.translator.named_parameters())
    learnt = [p for group in method.optimiser.param_groups for p in group["params"]]
    networks = (method.translator, method.adversary.network)
    assert {id(p) for p in learnt} == {id(p) for n in networks for p in n.parameters()}


def test_pairs_and_target_images_go_through_the_translator_in_one_batch(
    views: Views, begin: Begin
) -> None:
    training = begin("translated", views, information_start=0)
    training.until("start")
    method, batches = training.method, []
    handle = method.translator.register_forward_pre_hook(
        lambda network, args: batches.append((network.training, args[0]))
    )
    training.until("step", 3)
    handle.remove()
    assert [mode for mode, _ in batches] == [True] * 3
    for step, (_, found) in enumerate(batches):
        wanted = torch.cat([method.pair_batch(step)[1], method.target_batch(step)[1]])
        assert torch.equal(found, wanted)


def numbered_pairs(views: Views, count: int = 10) -> Views:
    """As many TI pairs, of which every pixel tells the row: red is 25 times it, depth 6,000."""
    assert views.pairs is not None
    rows = torch.arange(count, dtype=torch.int32)
    rgb = (rows * 25).to(torch.uint8).view(count, 1, 1, 1).expand(count, 16, 16, 3).contiguous()
    depth = (rows * 6000 + 1000).to(torch.uint16).view(count, 1, 1).expand(count, 16, 16)
    ids = tuple(f"pair-{row}" for row in range(count))
    halves = {
        "source": Images(rgb, views.pairs.source.format, ids),
        "target": Images(depth.contiguous(), views.pairs.target.format, ids),
    }
    return views.replaced(pairs=replace(views.pairs, pair_ids=ids, **halves))


@pytest.mark.parametrize("translator", ["pointwise", "replicate"])
def test_pairs_that_are_kept_out_are_measured_and_never_learnt_from(
    translator: str, views: Views, begin: Begin
) -> None:
    options = {"translator": translator, "validation": 0.3, "epochs": 4}
    training = begin("translated", numbered_pairs(views), **options)
    training.until("start")
    method, drawn = training.method, []
    pair_batch = method.pair_batch

    def drawing(step: int) -> Any:
        rgb, other = pair_batch(step)
        drawn.extend((rgb[:, 0, 0, 0] * 255 / 25).round().int().tolist())
        return rgb, other

    method.pair_batch = drawing
    training.finish()
    held_out = method.held_out.tolist()
    assert len(set(held_out)) == 3
    if translator != "replicate":
        assert sorted(set(drawn)) == sorted(set(range(10)) - set(held_out))
        assert sorted(drawn[:7]) == sorted(set(drawn))  # swept without replacement
    psnr, model = [], method.translator.eval()
    for row in held_out:
        grey = torch.full((1, 1, 14, 14), (row * 6000 + 1000 - 500) / 59500)
        with torch.no_grad():
            error = model(grey) - row * 25 / 255
        psnr.append(-10 * math.log10(sum(x * x for x in numbers(error)) / error.numel()))
    found = training.taken[-1].look.measures
    assert found["psnr"] == pytest.approx(sum(psnr) / 3, rel=1e-4)
    assert -1 <= found["ssim"] <= 1


def test_which_pairs_are_kept_out_is_drawn_by_the_seed() -> None:
    for count, share, wanted in ((10, 0.3, 3), (5, 0.01, 1), (64, 0.1, 6), (25, 0.1, 2)):
        held_out, rest = split_pairs(count, share, 3)
        assert len(held_out) == wanted
        assert sorted([*held_out.tolist(), *rest.tolist()]) == list(range(count))
    first, again, other = (split_pairs(40, 0.2, seed)[0] for seed in (3, 3, 4))
    assert torch.equal(first, again) and not torch.equal(first, other)


def jet(grey: Tensor) -> Tensor:
    channels = [(1.5 - (4 * grey - c).abs()).clamp(0, 1) for c in (3, 2, 1)]
    return torch.cat(channels, dim=1)


@pytest.mark.parametrize("name", ["replicate", "colormap"])
def test_a_control_has_nothing_to_train_and_is_scored(
    name: str, views: Views, begin: Begin, source_model: Classifier
) -> None:
    training = begin("translated", views, translator=name, **EVERYTHING).finish()
    (step,) = training.taken
    assert (step.kind, step.epochs, step.steps) == ("start", 0, 0)
    assert training.method.adversary is None
    raw = views.evaluation.images.raw[:, 1:15, 1:15].to(torch.int32).float()
    grey = ((raw.clamp(500, 60000) - 500) / 59500).masked_fill(raw == 0, 0)[:, None]
    pictures = grey.repeat(1, 3, 1, 1) if name == "replicate" else jet(grey)
    with torch.no_grad():
        confidence = source_model(pictures).softmax(1).max(1).values
    torch.testing.assert_close(step.evaluation.confidence, confidence, rtol=1e-4, atol=1e-5)
    assert {"psnr", "ssim"} <= set(step.look.measures)


def test_a_control_needs_no_whole_batch_of_pairs(views: Views, begin: Begin) -> None:
    few = numbered_pairs(views, 2)
    begin("translated", few, translator="colormap").finish()
    with pytest.raises(ValueError, match="learns from 4 TI pairs at a time; of 2, 1 are kept out"):
        begin("translated", few, translator="pointwise").finish()


def test_pictures_become_better(views: Views, begin: Begin) -> None:
    """Where red is depth, green its opposite and blue always half."""
    assert views.pairs is not None
    depth = torch.randint(500, 60000, (12, 4, 4)).repeat_interleave(4, 1).repeat_interleave(4, 2)
    red = ((depth - 500) / 59500 * 255).round()
    rgb = torch.stack([red, 255 - red, torch.full_like(red, 128)], dim=3).to(torch.uint8)
    ids = tuple(f"pair-{row}" for row in range(12))
    pairs = replace(
        views.pairs,
        source=Images(rgb, views.pairs.source.format, ids),
        target=Images(depth.to(torch.uint16), views.pairs.target.format, ids),
        pair_ids=ids,
    )
    images = views.target.images
    more = replace(images, raw=torch.cat([images.raw.to(torch.int32)] * 5), ids=images.ids * 5)
    target = replace(views.target, images=replace(more, raw=more.raw.to(torch.uint16)))
    options = only("reconstruction_weight", 1, learning_rate=0.03, batch_size=2)
    steps = (
        begin("translated", views.replaced(pairs=pairs, target=target), **options).finish().taken
    )
    psnr = [step.look.measures["psnr"] for step in steps if step.kind in ("start", "epoch")]
    assert len(psnr) == 3
    assert psnr[-1] > psnr[0] + 6


def test_too_few_pairs_for_a_batch(views: Views, begin: Begin) -> None:
    few = numbered_pairs(views, 4)
    message = (
        "'translated' learns from 4 TI pairs at a time; of 4, 1 are kept out and 3 are left. "
        "Lower batch_size to that, or lower validation."
    )
    with pytest.raises(ValueError, match=message):
        begin("translated", few).finish()
    assert begin("translated", few, batch_size=3).finish().taken[-1].kind == "epoch"


def test_a_class_prior_for_other_classes(views: Views, begin: Begin) -> None:
    with pytest.raises(
        ValueError, match=r"class_prior has 2 shares for 3 classes: bed, desk, sofa\. Give one"
    ):
        begin("translated", views, class_prior=(0.5, 0.5)).finish()


@pytest.mark.parametrize(
    ("given", "rate"),
    [
        ({}, 1e-3),
        ({"translator": "pointwise"}, 1e-3),
        ({"translator": "unet"}, 2e-4),
        ({"translator": "unet", "learning_rate": 0.01}, 0.01),
        ({"learning_rate": 0.02}, 0.02),
    ],
)
def test_the_learning_rate_of_each_translator(given: dict[str, Any], rate: float) -> None:
    options = check_options("translated", given)
    assert options.learning_rate == rate
    assert options.epochs == 20


def test_adam_has_the_options_that_were_given(views: Views, begin: Begin) -> None:
    given = {"learning_rate": 0.02, "momentum": 0.5, "weight_decay": 0.01}
    training = begin("translated", views, **given)
    training.until("start")
    optimiser = training.method.optimiser
    assert isinstance(optimiser, torch.optim.Adam)
    for group in optimiser.param_groups:
        assert (group["base"], group["betas"], group["weight_decay"]) == (0.02, (0.5, 0.999), 0.01)


def test_what_a_state_has_to_keep(views: Views, begin: Begin) -> None:
    """The very tensors that are trained: a resume writes into them."""
    training = begin("translated", views)
    training.until("start")
    method = training.method
    network = dict(method.adversary.network.named_parameters())
    learnt = {f"adversary.{name}" for name in network}
    assert set(method.memory) == {"mean_answer", "adversary.tally", *learnt}
    for name, parameter in network.items():
        assert method.memory[f"adversary.{name}"] is parameter
    without = begin("translated", views, adversarial_weight=0)
    without.until("start")
    assert set(without.method.memory) == {"mean_answer"}

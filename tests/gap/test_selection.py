"""Label-free scores against naive float64 loops, the hook of the loop, and the choice of an epoch.

The loops below are written from the formulas and share no code with what they check.
"""

import copy
import inspect
import math
from collections.abc import Callable
from typing import Any

import pandas as pd
import pytest
import torch
from torch import Tensor

from socketlab.data.modality import PixelFormat
from socketlab.data.views import ImagePairs, Images
from socketlab.gap import selection
from socketlab.gap.metrics import pair_gap
from socketlab.gap.neighbours import retrieval
from socketlab.gap.scores import CHOICES, SCORES, UnknownScore
from socketlab.gap.selection import (
    choose_epoch,
    label_free_scorer,
    nuclear_norm,
    pair_distance,
    pair_retrieval,
    soft_neighbourhood_density,
)
from socketlab.models.classifier import Classifier
from socketlab.models.mixture import Mixture
from socketlab.objectives import information_maximisation, mean_entropy
from socketlab.objectives.chunks import BUDGET_BYTES
from socketlab.training.inference import Outputs, predict
from socketlab.training.precision import Precision

Score = Callable[..., Tensor]
PRECISION = Precision(torch.device("cpu"), torch.float32, "a test")
CROP = 14


def random_matrix(rows: int, columns: int, seed: int = 0) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(rows, columns, generator=generator, dtype=torch.float64)


def random_probabilities(rows: int, classes: int, seed: int = 0) -> Tensor:
    return (2 * random_matrix(rows, classes, seed)).softmax(dim=1)


def halves(rows: int = 40, columns: int = 6, noise: float = 0.6) -> tuple[Tensor, Tensor]:
    rgb = random_matrix(rows, columns, 1)
    return rgb, 3 * rgb + 3 * noise * random_matrix(rows, columns, 2)


def unit(row: list[float]) -> list[float]:
    length = math.sqrt(sum(value**2 for value in row))
    return [value / length for value in row]


def cosine(first: list[float], second: list[float]) -> float:
    return sum(a * b for a, b in zip(unit(first), unit(second), strict=True))


def naive_density(outputs: Tensor, temperature: float) -> float:
    rows = outputs.tolist()
    total = 0.0
    for i, row in enumerate(rows):
        powers = [
            math.exp(cosine(row, other) / temperature) for j, other in enumerate(rows) if j != i
        ]
        shares = [power / sum(powers) for power in powers]
        total -= sum(share * math.log(share) for share in shares if share > 0)
    return total / len(rows)


def naive_nuclear_norm(probabilities: Tensor) -> float:
    """Through the eigenvalues of P'P, whose roots are the singular values of P."""
    n, k = probabilities.shape
    gram = [
        [sum(probabilities[i, a].item() * probabilities[i, b].item() for i in range(n))
         for b in range(k)]
        for a in range(k)
    ]  # fmt: skip
    eigenvalues = torch.linalg.eigvalsh(torch.tensor(gram, dtype=torch.float64)).tolist()
    return sum(math.sqrt(max(value, 0)) for value in eigenvalues) / math.sqrt(n * min(n, k))


def naive_retrieval(rgb: Tensor, other: Tensor) -> float:
    x, y = rgb.tolist(), other.tolist()
    found = 0
    for i in range(len(x)):
        own = cosine(y[i], x[i])
        found += all(cosine(y[i], x[j]) < own for j in range(len(x)) if j != i)
    return found / len(x)


def naive_distance(rgb: Tensor, other: Tensor) -> float:
    pairs = list(zip(rgb.tolist(), other.tolist(), strict=True))
    return sum(
        sum((a - b) ** 2 for a, b in zip(unit(x), unit(y), strict=True)) for x, y in pairs
    ) / len(pairs)


@pytest.mark.parametrize("shape", [(2, 3), (9, 4), (31, 7)])
@pytest.mark.parametrize("temperature", [0.05, 0.5])
def test_density_is_the_written_out_sum(shape: tuple[int, int], temperature: float) -> None:
    probabilities = random_probabilities(*shape)
    expected = naive_density(probabilities, temperature)
    found = soft_neighbourhood_density(probabilities, temperature)
    assert found.item() == pytest.approx(expected, abs=1e-9)
    if temperature == 0.05:
        assert soft_neighbourhood_density(probabilities).item() == found.item()
    features = random_matrix(*shape)
    found = soft_neighbourhood_density(features, temperature)
    assert found.item() == pytest.approx(naive_density(features, temperature), abs=1e-9)


def test_density_in_chunks_is_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    probabilities = random_probabilities(23, 5)
    whole = soft_neighbourhood_density(probabilities).item()
    for values in (1, 3 * 23, 10 * 23 + 5):
        monkeypatch.setitem(BUDGET_BYTES, "cpu", 4 * values * 8)
        assert soft_neighbourhood_density(probabilities).item() == pytest.approx(whole, abs=1e-12)


def test_density_knows_its_range() -> None:
    clusters = torch.eye(4).repeat_interleave(5, dim=0)
    # Five alike in each class: four neighbours at cosine 1, the others at e^-20 of them.
    assert soft_neighbourhood_density(clusters).item() == pytest.approx(math.log(4), abs=1e-5)
    assert soft_neighbourhood_density(torch.eye(4)).item() == pytest.approx(math.log(3), abs=1e-5)
    assert soft_neighbourhood_density(torch.eye(4)[:2]).item() == pytest.approx(0, abs=1e-6)


@pytest.mark.parametrize("shape", [(1, 3), (6, 6), (4, 9), (40, 5)])
def test_nuclear_norm_is_the_written_out_sum(shape: tuple[int, int]) -> None:
    probabilities = random_probabilities(*shape)
    # The roots of eigenvalues that should be 0 are only good to the root of float64's rounding.
    expected = naive_nuclear_norm(probabilities)
    assert nuclear_norm(probabilities).item() == pytest.approx(expected, abs=1e-6)


def test_nuclear_norm_knows_its_range_whatever_the_number_of_samples() -> None:
    for repeats in (1, 7, 50):
        perfect = torch.eye(4).repeat(repeats, 1)
        assert nuclear_norm(perfect).item() == pytest.approx(1, abs=1e-5)
    one_class = torch.eye(4)[[2]].repeat(30, 1)
    assert nuclear_norm(one_class).item() == pytest.approx(1 / 2, abs=1e-5)
    uniform = torch.full((30, 4), 1 / 4)
    assert nuclear_norm(uniform).item() == pytest.approx(1 / 4, abs=1e-5)
    assert nuclear_norm(torch.eye(4)[:2]).item() == pytest.approx(1, abs=1e-5)


@pytest.mark.parametrize("noise", [0.1, 0.6, 2.0])
def test_retrieval_is_the_written_out_search(noise: float, monkeypatch: pytest.MonkeyPatch) -> None:
    rgb, other = halves(noise=noise)
    expected = naive_retrieval(rgb, other)
    assert pair_retrieval(rgb, other).item() == pytest.approx(expected, abs=1e-6)
    # The other half asks and RGB answers, as the gap's own measure has it.
    assert retrieval(rgb, other).y_to_x.recall_at_1 == pytest.approx(expected)
    monkeypatch.setitem(BUDGET_BYTES, "cpu", 4 * 7 * len(rgb) * 4)
    assert pair_retrieval(rgb, other).item() == pytest.approx(expected, abs=1e-6)


def test_retrieval_asks_for_the_rgb_partner() -> None:
    def directions(*degrees: float) -> Tensor:
        angles = torch.tensor(degrees).deg2rad()
        return torch.stack([angles.cos(), angles.sin()], dim=1)

    rgb, other = directions(0, 40), directions(5, 15)
    # At 15 degrees the RGB image at 0 is nearer than the partner at 40; RGB would find both.
    assert pair_retrieval(rgb, other).item() == 0.5
    assert pair_retrieval(other, rgb).item() == 1


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_collapsed_features_find_no_partner(dtype: torch.dtype) -> None:
    one = random_matrix(1, 256).to(dtype)
    scales = 1 + random_matrix(50, 1).abs().to(dtype)
    assert pair_retrieval(one * scales, one * scales.flip(0)).item() == 0
    assert pair_retrieval(random_matrix(50, 256).to(dtype), one * scales).item() <= 1 / 50
    assert pair_retrieval(torch.zeros(5, 3), torch.zeros(5, 3)).item() == 0


def test_distance_is_the_written_out_sum() -> None:
    rgb, other = halves()
    expected = naive_distance(rgb, other)
    assert pair_distance(rgb, other).item() == pytest.approx(expected, abs=1e-9)
    assert pair_distance(rgb, other).item() == pytest.approx(pair_gap(rgb, other).total, abs=1e-9)
    assert pair_distance(rgb, 5 * rgb).item() == pytest.approx(0, abs=1e-12)
    assert pair_distance(rgb, -rgb).item() == pytest.approx(4, abs=1e-12)


def on_target(logits: Tensor) -> dict[str, float]:
    scores = label_free_scorer(tiny_classifier(), None, CROP, PRECISION)
    return scores(tiny_classifier(), Outputs(torch.zeros(len(logits), 1), logits))


def test_a_collapse_deceives_entropy_and_density_but_not_the_others() -> None:
    logits = 30 * torch.eye(6).repeat(20, 1)
    perfect = on_target(logits)
    collapsed = on_target(30 * torch.eye(6)[[3]].repeat(120, 1))
    unsure = on_target(torch.zeros(120, 6))
    best = {"entropy": 0.0, "information_maximisation": -math.log(6), "nuclear_norm": 1.0}
    assert {name: perfect[name] for name in best} == pytest.approx(best, abs=1e-4)
    assert collapsed["entropy"] == pytest.approx(perfect["entropy"], abs=1e-4)
    assert collapsed["neighbourhood_density"] > perfect["neighbourhood_density"] + 1
    assert collapsed["information_maximisation"] == pytest.approx(0, abs=1e-4)
    assert collapsed["nuclear_norm"] == pytest.approx(1 / math.sqrt(6), abs=1e-4)
    for name in ("entropy", "information_maximisation", "nuclear_norm"):
        assert SCORES[name] * perfect[name] > SCORES[name] * unsure[name] - 1e-4
    assert perfect["nuclear_norm"] > collapsed["nuclear_norm"] > unsure["nuclear_norm"]


@pytest.mark.parametrize("score", [soft_neighbourhood_density, nuclear_norm])
def test_scores_of_predictions_keep_precision_and_carry_no_gradient(score: Score) -> None:
    exact = random_probabilities(30, 5)
    value = score(exact.float().requires_grad_())
    assert value.dtype == torch.float32
    assert not value.requires_grad
    assert value.item() == pytest.approx(score(exact).item(), abs=1e-4)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert score(exact.float()).item() == value.item()
    assert score(exact.bfloat16()).dtype == torch.float32


@pytest.mark.parametrize("score", [pair_retrieval, pair_distance])
def test_scores_of_pairs_keep_precision_and_carry_no_gradient(score: Score) -> None:
    rgb, other = halves()
    value = score(rgb.float().requires_grad_(), other.float())
    assert value.dtype == torch.float32
    assert not value.requires_grad
    assert value.item() == pytest.approx(score(rgb, other).item(), abs=1e-5)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert score(rgb.float(), other.float()).item() == value.item()


def test_nothing_finite_ends_no_training() -> None:
    broken = random_probabilities(6, 3)
    broken[2, 1] = torch.nan
    assert math.isnan(soft_neighbourhood_density(broken).item())
    assert math.isnan(nuclear_norm(broken).item())
    assert math.isnan(pair_distance(broken, random_probabilities(6, 3)).item())
    assert pair_retrieval(torch.full((4, 3), torch.nan), torch.rand(4, 3)).item() == 0


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: soft_neighbourhood_density(torch.ones(1, 3)), r"\(1, 3\).*2 or more rows"),
        (lambda: soft_neighbourhood_density(torch.ones(3)), r"outputs has shape \(3,\)"),
        (lambda: soft_neighbourhood_density(torch.ones(3, 2), 0.0), "positive, found 0.0"),
        (lambda: nuclear_norm(torch.ones(0, 3)), r"probabilities has shape \(0, 3\)"),
        (lambda: nuclear_norm(torch.ones(3, 0)), r"probabilities has shape \(3, 0\)"),
        (lambda: pair_retrieval(torch.ones(3, 2), torch.ones(3, 4)), r"\(3, 2\).*\(3, 4\)"),
        (lambda: pair_distance(torch.ones(3, 2), torch.ones(4, 2)), r"\(3, 2\).*\(4, 2\)"),
        (lambda: pair_distance(torch.ones(3), torch.ones(3)), r"rgb_features has shape \(3,\)"),
    ],
)
def test_wrong_shapes_are_refused(call: Callable[[], Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        call()


def tiny_classifier(seed: int = 0) -> Classifier:
    torch.manual_seed(seed)
    model = Classifier("resnet_small", ("bed", "desk", "sofa"), bottleneck=8).train()
    with torch.no_grad():
        model(torch.rand(8, 3, CROP, CROP))
    return model.eval()


def tiny_images(kind: str, count: int, seed: int) -> Images:
    generator = torch.Generator().manual_seed(seed)
    ids = tuple(f"{kind}-{row}" for row in range(count))
    if kind == "rgb":
        raw = torch.randint(256, (count, 16, 16, 3), generator=generator).to(torch.uint8)
        return Images(raw, PixelFormat("rgb", 0, 255, None), ids)
    raw = torch.randint(65536, (count, 16, 16), generator=generator).to(torch.uint16)
    return Images(raw, PixelFormat("depth", 500, 60000, 0), ids)


def tiny_pairs(count: int = 9) -> ImagePairs:
    names = tuple(f"pair-{row}" for row in range(count))
    return ImagePairs(tiny_images("rgb", count, 1), tiny_images("depth", count, 2), names)


def answers(model: Classifier | Mixture) -> Outputs:
    return predict(model, tiny_images("depth", 12, 3), CROP, PRECISION)


def test_the_hook_gives_every_score_of_the_right_features() -> None:
    source, model, pairs = tiny_classifier(0), tiny_classifier(1), tiny_pairs()
    outputs = answers(model)
    found = label_free_scorer(source, pairs, CROP, PRECISION, "inverse")(model, outputs)
    rgb = predict(source, pairs.source, CROP, PRECISION).features
    other = predict(model, pairs.target, CROP, PRECISION, encoding="inverse").features
    expected = {
        "entropy": mean_entropy(outputs.logits),
        "information_maximisation": information_maximisation(outputs.logits),
        "neighbourhood_density": soft_neighbourhood_density(outputs.logits.softmax(1)),
        "nuclear_norm": nuclear_norm(outputs.logits.softmax(1)),
        "pair_retrieval": pair_retrieval(rgb, other),
        "pair_distance": pair_distance(rgb, other),
    }
    assert found == {name: value.item() for name, value in expected.items()}
    assert list(found) == list(SCORES)
    assert {type(value) for value in found.values()} == {float}


@pytest.mark.parametrize("pairs", [None, tiny_pairs(0)], ids=["none", "empty"])
def test_without_pairs_only_the_scores_of_predictions(pairs: ImagePairs | None) -> None:
    model = tiny_classifier()
    found = label_free_scorer(model, pairs, CROP, PRECISION)(model, answers(model))
    assert list(found) == [name for name in SCORES if not name.startswith("pair_")]


def test_the_hook_repeats_itself_and_leaves_all_as_it_was() -> None:
    source, model = tiny_classifier(0).train(), tiny_classifier(1).train()
    model.head.eval()
    outputs = answers(model)
    weights = [copy.deepcopy(network.state_dict()) for network in (source, model)]
    modes = [module.training for network in (source, model) for module in network.modules()]
    trained = [p.requires_grad for network in (source, model) for p in network.parameters()]
    state = torch.get_rng_state()
    scorer = label_free_scorer(source, tiny_pairs(), CROP, PRECISION, most_pairs=5)
    first, second = scorer(model, outputs), scorer(model, outputs)
    assert first == second
    assert torch.equal(torch.get_rng_state(), state)
    assert [m.training for n in (source, model) for m in n.modules()] == modes
    assert [p.requires_grad for n in (source, model) for p in n.parameters()] == trained
    for network, before in zip((source, model), weights, strict=True):
        after = network.state_dict()
        assert all(torch.equal(value, after[name]) for name, value in before.items())


def test_rgb_features_are_those_of_the_source_model_at_the_beginning(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    looked_at = []

    def watched(model: Classifier, images: Images, *rest: Any, **about: Any) -> Outputs:
        looked_at.append(images.format.modality)
        return predict(model, images, *rest, **about)

    monkeypatch.setattr(selection, "predict", watched)
    source = tiny_classifier(0)
    scorer = label_free_scorer(source, tiny_pairs(), CROP, PRECISION)
    model = copy.deepcopy(source)
    before = scorer(model, answers(model))
    with torch.no_grad():  # what would happen if the source model were trained on
        source.bottleneck[0].weight.neg_()
    assert scorer(model, answers(model)) == before
    assert looked_at == ["rgb", "depth", "depth"]


def test_a_subset_of_pairs_is_random_fixed_by_the_seed_and_keeps_partners(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    seen: list[tuple[str, ...]] = []

    def watched(model: Classifier, images: Images, *rest: Any, **about: Any) -> Outputs:
        whole = tiny_images(images.ids[0].split("-")[0], 30, 1 if len(seen) % 2 == 0 else 2)
        rows = torch.tensor([int(name.split("-")[1]) for name in images.ids])
        assert torch.equal(images.raw.int(), whole.raw.int()[rows])
        seen.append(images.ids)
        return predict(model, images, *rest, **about)

    monkeypatch.setattr(selection, "predict", watched)
    model, pairs = tiny_classifier(), tiny_pairs(30)
    outputs = answers(model)
    for about in ({"seed": 0}, {"seed": 0}, {"seed": 1}):
        label_free_scorer(model, pairs, CROP, PRECISION, most_pairs=6, **about)(model, outputs)
    label_free_scorer(model, pairs, CROP, PRECISION)(model, outputs)
    numbers = [[name.split("-")[1] for name in ids] for ids in seen]
    for rgb, depth in zip(numbers[0::2], numbers[1::2], strict=True):
        assert rgb == depth
    drawn = numbers[0::2]
    assert [len(rows) for rows in drawn] == [6, 6, 6, 30]
    assert len(set(drawn[0])) == 6
    assert drawn[0] == drawn[1] != drawn[2]
    assert drawn[0] != drawn[3][:6]


def test_several_source_models_are_scored_as_one() -> None:
    source = Mixture([tiny_classifier(0), tiny_classifier(1)]).eval()
    found = label_free_scorer(source, tiny_pairs(), CROP, PRECISION)(source, answers(source))
    assert list(found) == list(SCORES)
    assert all(math.isfinite(value) for value in found.values())


def test_no_pair_at_most_is_refused() -> None:
    with pytest.raises(ValueError, match="at least 1, found 0"):
        label_free_scorer(tiny_classifier(), tiny_pairs(), CROP, PRECISION, most_pairs=0)


def test_no_label_can_enter() -> None:
    named = inspect.signature(label_free_scorer).parameters.values()
    assert {parameter.name: parameter.annotation for parameter in named} == {
        "source_model": selection.AnyClassifier,
        "pairs": ImagePairs | None,
        "crop": int,
        "precision": Precision,
        "encoding": selection.Encoding,
        "most_pairs": int,
        "seed": int,
    }
    hook = label_free_scorer(tiny_classifier(), None, CROP, PRECISION)
    taken = [parameter.annotation for parameter in inspect.signature(hook).parameters.values()]
    assert taken == [selection.AnyClassifier, Outputs]
    # A hook that asked the pairs for a label would meet `Forbidden`.
    with pytest.raises(AttributeError, match="never a label"):
        tiny_pairs().labels  # noqa: B018


def history(**metrics: list[float]) -> pd.DataFrame:
    """Values of epoch 0, 1, ... by name; `__` stands for the slash; epochs in falling order."""
    rows = [
        (epoch, name.replace("__", "/"), value)
        for name, values in metrics.items()
        for epoch, value in enumerate(values)
    ]
    return pd.DataFrame(rows[::-1], columns=["epoch", "name", "value"])


def test_the_best_epoch_goes_by_the_sign_of_the_score() -> None:
    values = [9.0, 2.0, 5.0, 1.0, 3.0]
    for name, sign in SCORES.items():
        chosen = choose_epoch(history(**{f"score__{name}": values}), name)
        assert chosen == (2 if sign > 0 else 3), name


def test_last_and_oracle() -> None:
    run = history(balanced_accuracy=[0.9, 0.3, 0.7, 0.6], score__entropy=[1, 2, 3, 4])
    assert choose_epoch(run, "last") == 3
    assert choose_epoch(run, "oracle") == 2


def test_the_first_of_equal_epochs_is_taken() -> None:
    assert choose_epoch(history(score__pair_retrieval=[1, 0.5, 1, 1, 0.2]), "pair_retrieval") == 2
    assert choose_epoch(history(score__entropy=[0, 0.5, 0.1, 0.1]), "entropy") == 2


def test_epoch_zero_is_taken_only_where_it_is_alone() -> None:
    assert choose_epoch(history(score__entropy=[0.0, 0.3, 0.2]), "entropy") == 2
    for choice in CHOICES:
        assert choose_epoch(history(score__entropy=[0.0]), choice) == 0


def test_values_that_are_not_finite_are_passed_over() -> None:
    nan, inf = math.nan, math.inf
    run = history(score__nuclear_norm=[1, nan, 0.2, 0.4, inf], score__entropy=[1, nan, inf, -inf])
    assert choose_epoch(run, "nuclear_norm") == 3
    with pytest.raises(ValueError, match=r"'score/entropy' has no finite value from epoch 1 to 4"):
        choose_epoch(run, "entropy")


def test_another_prefix() -> None:
    run = history(after__entropy=[3, 2, 1, 4], score__entropy=[3, 1, 2, 4])
    assert choose_epoch(run, "entropy", "after/") == 2


def test_what_cannot_be_chosen_by_is_told_what_can() -> None:
    run = history(balanced_accuracy=[0.1, 0.2], score__entropy=[1, 2], loss__total=[1, 2])
    with pytest.raises(UnknownScore, match="'density'"):
        choose_epoch(run, "density")
    with pytest.raises(ValueError, match=r"no 'score/pair_distance'.* by: last, entropy, oracle\."):
        choose_epoch(run, "pair_distance")
    without = run[run["name"] != "balanced_accuracy"]
    with pytest.raises(ValueError, match=r"no 'balanced_accuracy'.* by: last, entropy\."):
        choose_epoch(without, "oracle")
    with pytest.raises(ValueError, match="Several values of 'score/entropy' for one epoch"):
        choose_epoch(pd.concat([run, run]), "entropy")
    with pytest.raises(ValueError, match="0 rows"):
        choose_epoch(run[:0], "last")
    with pytest.raises(ValueError, match=r"columns \['epoch', 'name'\]"):
        choose_epoch(run.drop(columns="value"), "entropy")

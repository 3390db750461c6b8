import copy
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from socketlab.data.modality import PixelFormat
from socketlab.data.views import Evaluation, Images, SourceImages
from socketlab.methods import UnknownOption, source
from socketlab.methods.source import Source, SourceOptions, check_source_options
from socketlab.models.classifier import Classifier
from socketlab.training.batches import take
from socketlab.training.inference import Scorer, scorer
from socketlab.training.precision import Precision
from socketlab.training.state import StateFile
from socketlab.training.steps import Step

PRECISION = Precision(torch.device("cpu"), torch.float32, "a test")
CLASSES = ("bed", "desk", "sofa")


@pytest.fixture
def toy() -> SourceImages:
    """60 noisy images whose class is the brightest of the three colours."""
    random = torch.Generator().manual_seed(0)
    labels = torch.randint(0, 3, (60,), generator=random)
    raw = torch.randint(0, 128, (60, 16, 16, 3), generator=random)
    raw[torch.arange(60), :, :, labels] += 100
    ids = tuple(f"image-{row}" for row in range(60))
    images = Images(raw.to(torch.uint8), PixelFormat("rgb", 0, 255, None), ids)
    return SourceImages(images, labels, CLASSES, "kv1/rgb")


def begin(
    toy: SourceImages, seed: int = 0, state: StateFile | None = None, **options: Any
) -> tuple[Source, Iterator[Step]]:
    given = {"epochs": 2, "batch_size": 16, "bottleneck": 8} | options
    task = Source(check_source_options(given), crop=14, seed=seed, precision=PRECISION)
    return task, task.fit(toy, state=state)


def trained(toy: SourceImages, **about: Any) -> dict[str, Tensor]:
    task, steps = begin(toy, **about)
    for _ in steps:
        pass
    return {name: value.clone() for name, value in task.model.state_dict().items()}


def same(first: dict[str, Tensor], second: dict[str, Tensor]) -> bool:
    return first.keys() == second.keys() and all(torch.equal(first[k], second[k]) for k in first)


def test_it_learns_a_separable_problem(toy: SourceImages) -> None:
    task, steps = begin(toy, epochs=8, validation=0.3, learning_rate=0.03, backbone_factor=1.0)
    last = list(steps)[-1]
    assert last.evaluation is not None and last.evaluation.n == 18
    assert last.evaluation.accuracy > 0.9
    assert task.model.classes == CLASSES


class Watched:
    """What the training is scored on, and which rows it takes to learn from."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.held_out: list[Evaluation] = []
        self.learnt: set[int] = set()

        def watched_scorer(evaluation: Evaluation, *about: Any) -> Scorer:
            self.held_out.append(evaluation)
            return scorer(evaluation, *about)

        def watched_take(images: Images, index: Tensor, *about: Any) -> Tensor:
            self.learnt |= set(index.tolist())
            return take(images, index, *about)

        monkeypatch.setattr(source, "scorer", watched_scorer)
        monkeypatch.setattr(source, "take", watched_take)


@pytest.mark.parametrize(("validation", "held_out"), [(0.1, 6), (0.3, 18), (0.001, 1)])
def test_the_validation_part_is_never_learnt_from(
    validation: float,
    held_out: int,
    toy: SourceImages,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    watched = Watched(monkeypatch)
    trained(toy, validation=validation, epochs=3, batch_size=7)
    rows = [int(name.removeprefix("image-")) for name in watched.held_out[0].images.ids]
    assert len(set(rows)) == held_out
    assert watched.learnt == set(range(60)) - set(rows)
    kept = watched.held_out[0]
    assert torch.equal(kept.labels, toy.labels[rows])
    assert torch.equal(kept.images.raw, toy.images.raw[rows])
    assert rows != sorted(rows) or held_out == 1  # drawn, not the first ones


def test_the_split_is_fixed_by_the_seed(toy: SourceImages, monkeypatch: pytest.MonkeyPatch) -> None:
    watched = Watched(monkeypatch)
    for seed in (0, 0, 1):
        torch.manual_seed(len(watched.held_out))
        next(begin(toy, seed=seed)[1])
    first, again, other = (evaluation.images.ids for evaluation in watched.held_out)
    assert first == again
    assert set(first) != set(other)


def test_the_seed_decides(toy: SourceImages) -> None:
    first = trained(toy)
    torch.manual_seed(1234)
    assert same(first, trained(toy))
    assert not same(first, trained(toy, seed=1))


def test_a_killed_training_goes_on_as_if_nothing_had_happened(
    toy: SourceImages, tmp_path: Path
) -> None:
    state = StateFile(tmp_path / "state.pt", "fingerprint")
    _, steps = begin(toy, state=state, epochs=3)
    while next(steps).kind != "epoch":
        pass
    next(steps)
    steps.close()  # type: ignore[attr-defined]
    torch.manual_seed(99)
    assert same(trained(toy, state=state, epochs=3), trained(toy, epochs=3))


@pytest.mark.parametrize("smoothing", [0.0, 0.1])
def test_the_term_by_hand(smoothing: float, toy: SourceImages) -> None:
    task, steps = begin(toy, label_smoothing=smoothing)
    next(steps)
    model: Classifier = copy.deepcopy(task.model)
    seen: list[Tensor] = []
    model.encoder.register_forward_pre_hook(lambda _, args: seen.append(args[0]))
    task.model, kept = model, task.model
    torch.manual_seed(0)
    first = task.losses(0)["cross_entropy"].detach()
    # Which images these were is read from the network's input: their brightest colour.
    shown = seen[0] * model.deviation + model.mean
    labels = shown.mean((2, 3)).argmax(1)
    logits = copy.deepcopy(kept).train()(shown).detach().double()
    logarithms = logits - logits.exp().sum(1, keepdim=True).log()
    wanted = torch.eye(3)[labels] * (1 - smoothing) + smoothing / 3
    expected = -(wanted * logarithms).sum(1).mean()
    assert float(first) == pytest.approx(float(expected), rel=1e-3)


def test_the_whole_network_is_trained(toy: SourceImages) -> None:
    task, steps = begin(toy)
    next(steps)
    before = {name: p.detach().clone() for name, p in task.model.named_parameters()}
    for _ in steps:
        pass
    for name, parameter in task.model.named_parameters():
        assert not torch.equal(parameter, before[name]), name


def test_normalisation_measured_on_the_source_images(toy: SourceImages) -> None:
    task, steps = begin(toy, normalisation="source_statistics")
    next(steps)
    pixels = toy.images.raw.double() / 255
    expected = pixels.flatten(0, 2).mean(0)
    torch.testing.assert_close(task.model.mean.flatten().double(), expected, rtol=1e-4, atol=1e-5)
    deviation = pixels.flatten(0, 2).std(0)
    found = task.model.deviation.flatten().double()
    torch.testing.assert_close(found, deviation, rtol=1e-4, atol=1e-5)


def test_another_scorer_takes_the_place_of_the_validation_part(toy: SourceImages) -> None:
    task = Source(SourceOptions(epochs=1, bottleneck=8), crop=14, seed=0, precision=PRECISION)
    other = Evaluation(toy.images, toy.labels, toy.classes, toy.domain)
    steps = list(task.fit(toy, evaluate=scorer(other, 14, PRECISION)))
    assert steps[0].evaluation is not None and steps[0].evaluation.n == 60


def test_too_few_images(toy: SourceImages) -> None:
    two = Images(toy.images.raw[:2], toy.images.format, toy.images.ids[:2])
    few = SourceImages(two, toy.labels[:2], CLASSES, "kv1/rgb")
    with pytest.raises(ValueError, match="at least three images, found 2"):
        next(begin(few)[1])


@pytest.mark.parametrize(
    ("option", "value"),
    [("epoch", 3), ("epochs", 0), ("normalisation", "none"), ("validation", 1.0)],
)
def test_a_bad_option_is_named_with_the_known_ones(option: str, value: object) -> None:
    with pytest.raises(UnknownOption) as caught:
        check_source_options({option: value})
    message = str(caught.value)
    assert f"The source model cannot take {option} = {value!r}" in message
    assert message.endswith(f"Its options: {', '.join(SourceOptions.model_fields)}.")


def test_the_defaults_are_those_of_the_released_program() -> None:
    found = SourceOptions()
    assert (found.epochs, found.batch_size, found.validation) == (20, 32, 0.1)
    assert (found.label_smoothing, found.bottleneck) == (0.1, 256)

"""Previews of a translator: which epochs are kept, what is in them, and what a resume does."""

import io
import pickle
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from socketlab.data.modality import PixelFormat
from socketlab.data.views import ImagePairs, Images
from socketlab.models.classifier import Classifier
from socketlab.models.translator import Translator
from socketlab.runs.previews import Previews
from socketlab.runs.record import Run
from socketlab.training.precision import Precision
from socketlab.training.steps import Step

CLASSES = ("bed", "desk", "sofa", "lamp")
STAGE = "translated-to-kv2.depth"


class Shade(Translator):
    """Red is the image times a number, green the number, blue nothing."""

    name = "shade"

    def __init__(self) -> None:
        super().__init__()
        self.number = torch.nn.Parameter(torch.tensor(0.0))

    def paint(self, images: torch.Tensor) -> torch.Tensor:
        """As above."""
        assert not self.training
        red = images * self.number
        return torch.cat([red, self.number.expand_as(red), 0 * red], dim=1)


def images(kind: str, count: int, seed: int) -> Images:
    random = torch.Generator().manual_seed(seed)
    shape = (count, 16, 16, 3) if kind == "rgb" else (count, 16, 16)
    raw = torch.randint(0, 256, shape, generator=random, dtype=torch.uint8)
    ids = tuple(f"{kind}-{row}" for row in range(count))
    return Images(raw, PixelFormat("rgb" if kind == "rgb" else "nir", 0, 255, None), ids)


@pytest.fixture
def task() -> Any:
    """What previews ask of a training: its images, which pairs are kept out, its networks."""
    torch.manual_seed(2)
    source = Classifier("resnet_small", CLASSES, bottleneck=8).frozen()
    student = source.student()
    shade = Shade()
    student.translate_with(shade)
    return SimpleNamespace(
        target=images("nir", 9, 1),
        pairs=ImagePairs(images("rgb", 8, 2), images("nir", 8, 3), tuple("abcdefgh")),
        held_out=torch.tensor([6, 1, 4]),
        crop=14,
        seed=3,
        encoding="replicate",
        teacher=source,
        student=student.train(),
        translator=shade,
        precision=Precision(torch.device("cpu"), torch.float32, "a test"),
    )


@pytest.fixture
def previews(tmp_path: Path) -> Previews:
    return Previews(Run(tmp_path / "run"), STAGE)


def training(
    task: Any, epochs: int = 20, first: int = 0, stop: int | None = None
) -> Iterator[Step]:
    """Two steps an epoch; after epoch e the translator's number is e / 20."""
    about: dict[str, Any] = {"epochs": epochs, "steps": 2 * epochs}
    if first == 0:
        yield Step("start", 0, step=0, **about)
    for epoch in range(first, epochs):
        for step in range(2 * epoch, 2 * epoch + 2):
            with torch.no_grad():
                task.translator.number.fill_((step + 1) / 40)
            if stop == step:
                yield Step("stopped", epoch, step=step, **about)
                return
            yield Step("step", epoch, step=step + 1, **about)
        yield Step("epoch", epoch + 1, step=2 * epoch + 2, **about)


def watch(previews: Previews, task: Any, *given: Any, **about: Any) -> list[Step]:
    how = {name: about.pop(name) for name in ("each", "most") if name in about}
    return list(previews.recorded(training(task, *given, **about), task, **how))


def shown(previews: Previews, epoch: int) -> float:
    """The translator's number when it painted the previews of an epoch: all of their green."""
    greens = {one.picture[..., 1].mean() for one in previews.at(epoch)}
    return float(sum(greens) / len(greens))


def test_every_step_is_handed_on(previews: Previews, task: Any) -> None:
    found = [(s.kind, s.epoch, s.step) for s in watch(previews, task, 3)]
    assert found == [(s.kind, s.epoch, s.step) for s in training(task, 3)]


@pytest.mark.parametrize(
    ("epochs", "most", "kept"),
    [
        (20, 8, [0, 3, 6, 9, 11, 14, 17, 20]),
        (20, 2, [0, 20]),
        (7, 8, [0, 1, 2, 3, 4, 5, 6, 7]),
        (3, 8, [0, 1, 2, 3]),
        (0, 8, [0]),
    ],
)
def test_epochs_are_kept_evenly_with_the_first_and_the_last(
    epochs: int, most: int, kept: list[int], previews: Previews, task: Any
) -> None:
    watch(previews, task, epochs, most=most)
    assert previews.epochs == kept
    for epoch in kept:
        assert shown(previews, epoch) == pytest.approx(epoch / 20, abs=0.003)


def test_what_is_shown_of_each_image(previews: Previews, task: Any) -> None:
    """TI pairs that were kept out, then TR images; by hand from their integers."""
    watch(previews, task, 20, each=2, most=2)
    found = previews.at(20)
    assert [one.name for one in found] == ["TI pair"] * 2 + ["TR image"] * 2
    assert {one.modality for one in found} == {"nir"}
    rows = [6, 1]
    inputs = [task.pairs.target.raw[row, 1:15, 1:15].numpy() for row in rows]
    for one, grey, row in zip(found, inputs, rows, strict=False):
        np.testing.assert_allclose(one.input, grey / 255, atol=1e-6)
        assert one.truth is not None
        np.testing.assert_allclose(one.truth, task.pairs.source.raw[row, 1:15, 1:15] / 255)
        np.testing.assert_allclose(one.picture[..., 0], grey / 255, atol=0.003)
        assert np.all(one.picture[..., 1] == 1) and np.all(one.picture[..., 2] == 0)
    target = [(task.target.raw[row, 1:15, 1:15] / 255).numpy() for row in range(9)]
    drawn = [
        row
        for one in found[2:]
        for row in range(9)
        if one.truth is None and np.allclose(one.input, target[row], atol=1e-6)
    ]
    assert len(set(drawn)) == 2
    with torch.no_grad():
        for one in found:
            grey = torch.from_numpy(one.input).float()[None, None]
            picture = torch.cat([grey, torch.ones_like(grey), 0 * grey], dim=1)
            raw = grey.repeat(1, 3, 1, 1)
            for answers, seen in ((one.before, raw), (one.now, picture)):
                p = task.teacher(seen).softmax(1)[0]
                top = p.argsort(descending=True)[:3].tolist()
                assert list(answers) == [CLASSES[k] for k in top]
                assert list(answers.values()) == pytest.approx(p[top].tolist(), abs=1e-4)
    assert task.student.training and task.translator.training


def test_the_same_images_at_every_epoch_drawn_by_the_seed_alone(
    previews: Previews, task: Any, tmp_path: Path
) -> None:
    watch(previews, task, 3)
    inputs = [np.stack([one.input for one in previews.at(epoch)]) for epoch in range(4)]
    assert all(np.array_equal(inputs[0], other) for other in inputs)
    assert len(inputs[0]) == 3 + 6  # as many pairs as there are
    torch.manual_seed(77)
    for seed, equal in ((3, True), (4, False)):
        task.seed = seed
        other = Previews(Run(tmp_path / str(seed)), STAGE)
        watch(other, task, 1)
        again = np.stack([one.input for one in other.at(0)])
        assert np.array_equal(inputs[0], again) is equal


def test_a_resumed_training_goes_on_with_its_previews(previews: Previews, task: Any) -> None:
    steps = previews.recorded(training(task, 20), task)
    while next(steps).epoch < 7:
        pass
    steps.close()  # type: ignore[attr-defined]
    assert previews.epochs == [0, 3, 6]
    before = [one.input for one in previews.at(3)]
    watch(previews, task, 20, first=7)
    assert previews.epochs == [0, 3, 6, 9, 11, 14, 17, 20]
    assert all(np.array_equal(a, b.input) for a, b in zip(before, previews.at(20), strict=True))
    assert shown(previews, 3) == pytest.approx(3 / 20, abs=0.003)


def test_a_stop_keeps_what_was_painted_last(previews: Previews, task: Any) -> None:
    """Its broken-off epoch counts as the next one, as in the metrics."""
    watch(previews, task, 20, stop=6)
    assert previews.epochs == [0, 3, 4]
    assert shown(previews, 4) == pytest.approx(7 / 40, abs=0.003)


@pytest.mark.parametrize("stop", [6, 10])
def test_a_broken_off_epoch_does_not_outlive_a_resume(
    stop: int, previews: Previews, task: Any
) -> None:
    """Half an epoch's pictures must not stand for the whole one's, in the slider and the film."""
    watch(previews, task, 20, stop=stop)
    watch(previews, task, 20, first=stop // 2)
    for epoch in previews.epochs:
        assert shown(previews, epoch) == pytest.approx(epoch / 20, abs=0.003)
    assert previews.epochs == [0, 3, 6, 9, 11, 14, 17, 20]


def test_a_new_training_replaces_the_previews_of_another(previews: Previews, task: Any) -> None:
    watch(previews, task, 20)
    task.held_out = torch.tensor([0, 2])
    watch(previews, task, 2)
    assert previews.epochs == [0, 1, 2]
    assert len(previews.at(2)) == 2 + 6


def test_stages_are_kept_apart(previews: Previews, task: Any, tmp_path: Path) -> None:
    other = Previews(Run(tmp_path / "run"), "another")
    watch(previews, task, 2)
    assert other.epochs == []
    watch(other, task, 1)
    assert (previews.epochs, other.epochs) == ([0, 1, 2], [0, 1])


def test_an_epoch_that_was_not_kept_is_named(previews: Previews, task: Any) -> None:
    watch(previews, task, 20, most=3)
    with pytest.raises(FileNotFoundError, match=rf"Epoch 5 of '{STAGE}' .* Kept: \[0, 10, 20\]"):
        previews.at(5)


def test_no_pickle_is_written_or_read(
    previews: Previews, task: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise AssertionError("a pickle was used")

    for name in ("load", "loads", "dump", "dumps", "Unpickler", "Pickler"):
        monkeypatch.setattr(pickle, name, refuse)
    watch(previews, task, 1)
    previews.at(1)


def test_nothing_but_whole_files_is_left(previews: Previews, task: Any, tmp_path: Path) -> None:
    watch(previews, task, 1)
    files = sorted(p.name for p in (tmp_path / "run" / "previews" / STAGE).iterdir())
    assert files == ["0000.npz", "0001.npz", "fixed.npz"]


def test_a_film_has_a_frame_for_every_epoch_kept(previews: Previews, task: Any) -> None:
    watch(previews, task, 2, each=1)
    film = Image.open(io.BytesIO(previews.film()))
    assert film.format == "PNG"
    assert getattr(film, "n_frames", 1) == 3
    words = " ".join(text.get_text() for text in previews.sheet(1).texts)
    assert f"{STAGE}, epoch 1" in words.replace("\n", " ")

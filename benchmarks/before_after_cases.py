"""What is timed of a version, on pixels that are made up.

Only what old and new versions of the package have alike is used, and always in the same way, so
that two versions do the same work; a setting that an old one does not know is left out, and said.
"""

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import interpolate, normalize

from socketlab.data.modality import PixelFormat
from socketlab.data.views import (
    Evaluation,
    ImagePairs,
    Images,
    SourceImages,
    TargetImages,
    Views,
)
from socketlab.methods import UnknownOption, build_method, check_options
from socketlab.methods.source import Source, check_source_options
from socketlab.models.classifier import Classifier
from socketlab.objectives import nearest, pseudo_labels
from socketlab.training.batches import random_window, shuffled_batch, take_pairs
from socketlab.training.inference import predict, scorer
from socketlab.training.optimiser import SgdOptions, build_sgd
from socketlab.training.precision import Precision, choose_precision
from socketlab.training.statistics import reestimate_statistics

CLASSES = tuple(f"class {number}" for number in range(10))
FORMATS = {"rgb": PixelFormat("rgb", 0, 255, None), "depth": PixelFormat("depth", 0, 65535, 0)}
COMPARED_STEPS = 3
ENDLESS = 10_000  # epochs: nobody waits for the last one
Settings = dict[str, Any]


@dataclass
class Case:
    """Something to be timed.

    Attributes:
        run: does it once; False where this time is not to be counted.
        close: when nothing more is wanted.
        terms: the loss terms of the first steps, where there are any.
    """

    run: Callable[[], bool]
    close: Callable[[], None] = lambda: None
    terms: list[dict[str, float]] = field(default_factory=list)


def precision_of(settings: Settings) -> Precision:
    """Device and number format, with what else a version's `Precision` holds."""
    chosen = choose_precision(settings.get("device", "auto"), settings.get("dtype", "auto"))
    return replace(chosen, **settings.get("precision", {}))


def made_up(kind: str, settings: Settings, seed: int) -> Images:
    """Smooth pictures, each with a brightness of its own: `images` of `size` pixels."""
    count, size = settings.get("images", 512), settings["size"]
    draw = torch.Generator().manual_seed(seed)
    coarse = torch.rand(count, 3 if kind == "rgb" else 1, 8, 8, generator=draw)
    coarse *= torch.rand(count, 1, 1, 1, generator=draw)
    unit = interpolate(coarse, size=(size, size), mode="bilinear").permute(0, 2, 3, 1)
    ids = tuple(f"{kind}-{seed}-{row}" for row in range(count))
    if kind == "rgb":
        return Images((unit * 255).to(torch.uint8).contiguous(), FORMATS[kind], ids)
    raw = (unit[..., 0] * 65535).to(torch.int32).to(torch.uint16)
    return Images(raw.contiguous(), FORMATS[kind], ids)


def labels_of(images: Images) -> Tensor:
    """Random labels of `CLASSES`."""
    draw = torch.Generator().manual_seed(7)
    return torch.randint(0, len(CLASSES), (len(images),), generator=draw)


def source_model(settings: Settings) -> Classifier:
    """A classifier that was not trained, whose statistics are those of RGB pictures.

    The version that needs it first makes it and leaves it in `folder` for the others.
    """
    file = Path(settings["folder"]) / f"{settings['backbone']} {settings['crop']}.pt"
    torch.manual_seed(0)
    model = Classifier(settings["backbone"], CLASSES)
    if not file.exists():
        draw = torch.Generator().manual_seed(1)
        shape = (64, 3, settings["crop"], settings["crop"])
        pictures = [torch.rand(shape, generator=draw) for _ in range(2)]
        reestimate_statistics(model, pictures)
        torch.save(model.state_dict(), file)
    model.load_state_dict(torch.load(file, weights_only=True))
    return model.eval().to(precision_of(settings).device)


def training(settings: Settings) -> Case:
    """The steps of a method, or with `epochs` whole epochs with scoring of the same images."""
    name, whole, crop = settings["method"], settings.get("epochs", False), settings["crop"]
    precision = precision_of(settings)
    about: Settings = {"crop": crop, "seed": 3, "precision": precision}
    given = {"epochs": ENDLESS, "batch_size": settings["batch"]} | settings.get("options", {})
    rgb = made_up("rgb", settings, 1)
    if name == "source":
        options = check_source_options({"backbone": settings["backbone"]} | given)
        images = SourceImages(rgb, labels_of(rgb), CLASSES, "a/rgb")
        steps = Source(options, **about).fit(images)
    else:
        depth, partner = made_up("depth", settings, 2), made_up("depth", settings, 4)
        pairs = ImagePairs(rgb, partner, tuple(map(str, range(len(rgb)))))
        labelled = Evaluation(replace(depth), labels_of(depth), CLASSES, "a/depth")
        steps = build_method(name, given, Views(), **about).fit(
            source_model(settings),
            TargetImages(depth, "a/depth"),
            pairs,
            evaluate=scorer(labelled, crop, precision) if whole else None,
        )
    last = ""

    def step() -> bool:
        nonlocal last
        before, last = last, next(steps).kind
        return before == last == "step"  # others predict, score or refresh pseudo-labels

    def epoch() -> bool:
        while next(steps).kind != "epoch":
            pass
        return True

    terms: list[dict[str, float]] = []
    if whole:
        next(steps)  # the start, with its scoring
        return Case(epoch, steps.close)  # type: ignore[attr-defined]
    while len(terms) < COMPARED_STEPS:
        seen = next(steps)
        last = seen.kind
        if last == "step":
            terms.append({name: float(value) for name, value in seen.terms.items()})
    return Case(step, steps.close, terms)  # type: ignore[attr-defined]


def prediction(settings: Settings) -> Case:
    """Features and logits of `images`."""
    model, precision = source_model(settings), precision_of(settings)
    images = made_up("depth", settings, 2).to(precision.device)
    return Case(lambda: bool(len(predict(model, images, settings["crop"], precision).logits)))


def gathering(settings: Settings) -> Case:
    """Both halves of a batch of pairs, cropped and mirrored."""
    halves = made_up("rgb", settings, 1), made_up("depth", settings, 4)
    pairs = ImagePairs(*halves, tuple(map(str, range(len(halves[0])))))
    pairs = pairs.to(precision_of(settings).device)
    batch, size = settings["batch"], settings["size"]
    index = shuffled_batch(len(pairs), batch, 0, "pairs", 0)
    window = random_window(batch, size, settings["crop"], 0, "pairs", 0)
    return Case(lambda: bool(len(take_pairs(pairs, index, window))))


def drawing(settings: Settings) -> Case:
    """Which samples are in the next batch."""
    step = iter(range(10**9))

    def draw() -> bool:
        return bool(
            len(shuffled_batch(settings["samples"], settings["batch"], 0, "target", next(step)))
        )

    return Case(draw)


def unit_rows(settings: Settings) -> Tensor:
    """Unit features [samples, width] on the device."""
    draw = torch.Generator().manual_seed(0)
    rows = torch.randn(settings["samples"], settings["width"], generator=draw)
    return normalize(rows, dim=1).to(precision_of(settings).device)


def neighbours(settings: Settings) -> Case:
    """Five neighbours of each sample of a batch."""
    bank = unit_rows(settings)
    own = torch.arange(settings["batch"], device=bank.device)
    return Case(lambda: bool(len(nearest(bank[own], bank, 5, own))))


def labelling(settings: Settings) -> Case:
    """Pseudo-labels of all samples."""
    features = unit_rows(settings)
    probabilities = (8 * features[:, : settings["classes"]]).softmax(1)
    return Case(lambda: bool(len(pseudo_labels(features, probabilities).labels)))


def optimising(settings: Settings) -> Case:
    """A step of the optimiser, with gradients that are there already."""
    student = source_model(settings).student()
    optimiser = build_sgd(student, SgdOptions())
    for parameter in student.parameters():
        parameter.grad = torch.full_like(parameter, 1e-4) if parameter.requires_grad else None
    return Case(lambda: optimiser.step() is None)


KINDS: dict[str, Callable[[Settings], Case]] = {
    "training": training,
    "prediction": prediction,
    "gathering": gathering,
    "drawing": drawing,
    "neighbours": neighbours,
    "labelling": labelling,
    "optimising": optimising,
}


def knows(settings: Settings, new: Settings) -> bool:
    """Whether the version has what is new: `options` of a method, fields of `precision`."""
    try:
        precision_of(settings | {"precision": new.get("precision", {})})
        if new.get("options"):
            check_options(settings["method"], new["options"])
    except (TypeError, UnknownOption):
        return False
    return True


def case_of(kind: str, settings: Settings, new: Settings) -> Case:
    """A case by its kind; what is `new` is used where the version knows all of it, else nothing."""
    if knows(settings, new):
        settings = settings | {part: settings.get(part, {}) | new[part] for part in new}
    return KINDS[kind](settings)

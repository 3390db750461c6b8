import warnings
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from sklearn.metrics import accuracy_score, balanced_accuracy_score, confusion_matrix

from socketlab.data.views import Evaluation, Images
from socketlab.models.classifier import Classifier
from socketlab.models.modes import evaluating
from socketlab.training import inference
from socketlab.training.inference import Known, Outputs, predict, score, scorer
from socketlab.training.precision import Precision

MakeImages = Callable[..., Images]
MakeModel = Callable[[], Classifier]


@pytest.mark.parametrize("present", [(0, 1, 2, 3, 4), (0, 2, 4), (1,)])
def test_scores_are_those_of_scikit_learn(present: tuple[int, ...]) -> None:
    random = np.random.default_rng(0)
    labels = torch.tensor(random.choice(present, 60, p=None))
    logits = torch.tensor(random.normal(size=(60, 5)), dtype=torch.float32)
    logits[torch.arange(60), labels] += 1
    found, answers = score(logits, labels), logits.argmax(1)
    assert found.n == 60
    assert torch.equal(found.answers, answers)
    assert found.accuracy == pytest.approx(accuracy_score(labels, answers))
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "y_pred contains classes not in y_true")
        warnings.filterwarnings("ignore", "A single label was found")
        balanced = balanced_accuracy_score(labels, answers)
    assert found.balanced_accuracy == pytest.approx(balanced, rel=1e-5)
    expected = confusion_matrix(labels, answers, labels=range(5))
    assert found.confusion.tolist() == expected.tolist()
    exponentials = np.exp(logits.double().numpy())
    confidence = exponentials.max(1) / exponentials.sum(1)
    np.testing.assert_allclose(found.confidence, confidence, rtol=1e-5)


def test_predictions_are_those_of_the_centre_crops_one_by_one(
    make_model: MakeModel, make_images: MakeImages, precision: Precision
) -> None:
    model, images = make_model(), make_images("rgb")
    model.train()(torch.rand(4, 3, 14, 14))
    outputs = predict(model, images, 14, precision)
    assert outputs.features.shape == (7, 8) and outputs.logits.shape == (7, 3)
    model.eval()
    for row in range(7):
        image = images.raw[row, 1:15, 1:15].permute(2, 0, 1)[None].float() / 255
        with torch.no_grad():
            features = model.features(image)[0]
            torch.testing.assert_close(outputs.features[row], features, rtol=1e-4, atol=1e-5)
            logits = model(image)[0]
        torch.testing.assert_close(outputs.logits[row], logits, rtol=1e-4, atol=1e-5)
        exponentials = logits.exp()
        torch.testing.assert_close(outputs.probabilities[row], exponentials / exponentials.sum())


def test_the_batch_size_does_not_matter(
    make_model: MakeModel, make_images: MakeImages, precision: Precision
) -> None:
    model, images = make_model().train(), make_images("depth")
    whole = predict(model, images, 14, precision)
    for batch_size in (1, 3, 7):
        parts = predict(model, images, 14, precision, batch_size=batch_size)
        torch.testing.assert_close(parts.features, whole.features, rtol=1e-4, atol=1e-5)
        torch.testing.assert_close(parts.logits, whole.logits, rtol=1e-4, atol=1e-5)


def test_the_encoding_reaches_the_images(
    make_model: MakeModel, make_images: MakeImages, precision: Precision
) -> None:
    model, images = make_model(), make_images("depth")
    replicated = predict(model, images, 14, precision).logits
    assert not torch.allclose(
        predict(model, images, 14, precision, encoding="inverse").logits, replicated
    )


@pytest.mark.parametrize("training", [True, False])
def test_predicting_leaves_mode_and_weights_alone(
    training: bool, make_model: MakeModel, make_images: MakeImages, precision: Precision
) -> None:
    model = make_model().train(training)
    model.bottleneck.train(not training)
    modes = [module.training for module in model.modules()]
    before = {name: value.clone() for name, value in model.state_dict().items()}
    outputs = predict(model, make_images("rgb"), 14, precision)
    assert not outputs.logits.requires_grad
    assert [module.training for module in model.modules()] == modes
    assert all(torch.equal(before[k], v) for k, v in model.state_dict().items())
    assert all(p.requires_grad and p.grad is None for p in model.parameters())


def test_the_mode_comes_back_after_an_error(make_model: MakeModel) -> None:
    model = make_model().train()
    with pytest.raises(KeyError), evaluating(model):
        assert not model.training and not torch.is_grad_enabled()
        raise KeyError
    assert model.training and model.encoder.training and torch.is_grad_enabled()


def test_the_scorer_scores_its_own_images(
    make_model: MakeModel, make_images: MakeImages, precision: Precision
) -> None:
    model, images = make_model(), make_images("rgb", count=20)
    logits = predict(model, images, 14, precision).logits
    labels = logits.argmax(1)
    labels[:5] = (labels[:5] + 1) % 3
    evaluate = scorer(Evaluation(images, labels, model.classes, "kv1/rgb"), 14, precision)
    found = evaluate(model)
    assert found.accuracy == pytest.approx(0.75)
    assert torch.equal(found.answers, logits.argmax(1))


def test_what_is_known_is_not_asked_again(
    make_model: MakeModel,
    make_images: MakeImages,
    precision: Precision,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    model, images = make_model(), make_images("rgb", count=20)
    labels = torch.arange(20) % 3
    evaluate = scorer(Evaluation(images, labels, model.classes, "kv1/rgb"), 14, precision)
    looked_at: list[tuple[str, ...]] = []

    def counted(given: Classifier, chosen: Images, *about: Any, **more: Any) -> Outputs:
        looked_at.append(chosen.ids)
        return predict(given, chosen, *about, **more)

    monkeypatch.setattr(inference, "predict", counted)
    alone = evaluate(model)
    # The images 19, 17 ... 5 in this order, and one that is not scored.
    rows = torch.arange(19, 4, -2)
    some = predict(model, images.rows(rows), 14, precision)
    other = torch.full((1, 3), 9.0)
    outputs = Outputs(torch.zeros(9, 8), torch.cat([other, some.logits]))
    known = Known(("another", *(images.ids[row] for row in rows)), (14, "replicate"), outputs)
    found = evaluate(model, known)
    unknown = tuple(name for name in images.ids if name not in known.ids)
    everything = Known(images.ids, (14, "replicate"), predict(model, images, 14, precision))
    whole = evaluate(model, everything)
    assert looked_at == [images.ids, unknown] and len(unknown) == 12
    for score_ in (found, whole):
        assert torch.equal(score_.answers, alone.answers)
        assert score_.accuracy == alone.accuracy
        torch.testing.assert_close(score_.confidence, alone.confidence)
    for shown in ((12, "replicate"), (14, "inverse")):
        evaluate(model, Known(images.ids, shown, everything.outputs))  # type: ignore[arg-type]
        assert looked_at[-1] == images.ids
    assert len(looked_at) == 4


def test_the_scores_are_of_what_is_known(
    make_model: MakeModel, make_images: MakeImages, precision: Precision
) -> None:
    model, images = make_model(), make_images("rgb", count=6)
    labels = torch.tensor([0, 1, 2, 0, 1, 2])
    evaluate = scorer(Evaluation(images, labels, model.classes, "kv1/rgb"), 14, precision)
    right = torch.eye(3)[labels] * 5
    known = Known(images.ids, (14, "replicate"), Outputs(torch.zeros(6, 8), right))
    assert evaluate(model, known).accuracy == 1.0

"""Several source domains in one experiment."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from socketlab.methods.options import SeveralSources
from socketlab.models.checkpoint import load_card, load_classifier
from socketlab.models.mixture import Mixture
from socketlab.runs.experiment import Experiment
from socketlab.runs.keeping import model_file
from socketlab.runs.parameters import ParameterError, validate

Make = Callable[..., Experiment]


@pytest.fixture
def make(tmp_path: Path, tiny_scenes: Path, tiny_data: Path) -> Make:
    """An experiment from the RGB of both sensors, with these parameters changed."""
    values: dict[str, Any] = {
        "run": "tiny",
        "data": str(tiny_scenes),
        "size": 32,
        "sources": ["a/rgb", "b/rgb"],
        "source_options": {"epochs": 1, "batch_size": 8},
        "options": {"socket": {"epochs": 2, "batch_size": 8}},
        "device": "cpu",
        "dtype": "float32",
        "data_dir": str(tiny_data),
        "runs_dir": str(tmp_path),
    }
    return lambda **changes: Experiment(validate("05_transfer", values | changes))


def test_from_two_sources_to_one_target(make: Make) -> None:
    experiment = make()
    for source in experiment.parameters.source_domains:
        list(experiment.train_source(source=source))
    trip = experiment.trip()
    assert trip.stage == "socket-from-a.rgb+b.rgb-to-a.depth-held_out-seed0"
    steps = list(experiment.transfer(trip))
    found = {(row.method, row.chosen_by): row for row in experiment.run.read().results}
    row = found["socket", "last"]
    assert row.source == found["source_only", "last"].source == "a/rgb + b/rgb"
    assert row.mixing == list(steps[-1].look.mixing)
    assert sum(row.mixing) == pytest.approx(1) and row.mixing != [0.5, 0.5]
    assert found["source_only", "last"].mixing == [0.5, 0.5]

    model, card = load_classifier(model_file(experiment.run, trip.stage))
    assert isinstance(model, Mixture)
    assert card.mixing == pytest.approx(row.mixing)
    assert card.configuration["sources"] == ["a/rgb", "b/rgb"]
    assert experiment.score(model, trip).accuracy == row.accuracy
    mixed = experiment.source_model()
    assert experiment.score(mixed, trip).accuracy == found["source_only", "last"].accuracy
    mixing = experiment.run.metrics(trip.stage).query("name == 'mixing/0'")
    assert list(mixing["epoch"]) == [0, 1, 2]
    assert list(experiment.transfer(trip)) == []  # it is done
    assert load_card(model_file(experiment.run, "source-b.rgb-seed0")).domain == "b/rgb"


def test_sources_with_different_backbones(make: Make) -> None:
    own = {"b/rgb": {"backbone": "resnet18", "bottleneck": 32}}
    experiment = make(options_by_source=own, options={"socket": {"epochs": 1, "batch_size": 16}})
    for source in experiment.parameters.source_domains:
        list(experiment.train_source(source=source))
    list(experiment.transfer(experiment.trip()))
    members = load_card(model_file(experiment.run, experiment.trip().stage)).members
    assert [member.backbone for member in members] == ["resnet_small", "resnet18"]
    assert [member.bottleneck for member in members] == [256, 32]
    with pytest.raises(ParameterError, match=r"'a/nir' is no source\. Sources: a/rgb, b/rgb"):
        make(options_by_source={"a/nir": {}})


def test_a_method_for_one_source_stops_before_anything_is_trained(make: Make) -> None:
    with pytest.raises(SeveralSources, match=r"'shot' moves one source model, found \['a/rgb', "):
        make(method="shot")


@pytest.mark.parametrize(
    ("sources", "message"),
    [
        (["a/rgb", "a/rgb"], "names a domain twice"),
        (["a/rgb", "b/nir"], "source 'b/nir' is not rgb"),
        (["a/rgb", "c/rgb"], "'c/rgb'"),
    ],
)
def test_sources_that_cannot_be(make: Make, sources: list[str], message: str) -> None:
    with pytest.raises(ParameterError, match=message):
        make(sources=sources)

"""What notebook 07 can be given: encoders, domains or patterns, each checked before anything."""

from typing import Any

import pytest

from socketlab.runs.encoder_parameters import TwoEncoders
from socketlab.runs.parameters import ParameterError, validate
from socketlab.runs.planning import parse_given, plan

FOLDER = {"pairs": "anywhere", "first": "{id}_rgb.jpg", "second": "nir/{id}.png"}


@pytest.mark.parametrize(
    ("values", "words"),
    [
        ({"first_encoder": "resnet81"}, ["'resnet81'", "resnet18", "NAME:imagenet"]),
        ({"second_encoder": "resnet18:x"}, ["weights 'x'", "'resnet18:x'"]),
        ({"first": "{id}_rgb.jpg"}, ["no folder is given", "`pairs`", "a/rgb", "b/nir"]),
        ({"first": "a/rbg"}, ["'a/rbg'", "a/rgb"]),
        ({"second": "a/rgb"}, ["'a/rgb' and 'a/rgb' hold no pairs"]),
        ({"second": "b/depth"}, ["'a/rgb' and 'b/depth' hold no pairs", "one sensor"]),
        ({"pairs": "x"}, ["first is 'a/rgb'", "'{id}_rgb.jpg'"]),
        (FOLDER | {"second": "{id}_rgb.jpg"}, ["both '{id}_rgb.jpg'"]),
        (FOLDER | {"first": "*_{id}.jpg"}, ["first is '*_{id}.jpg'"]),
        ({"align": "rotate"}, ["align", "'procrustes'"]),
        ({"size": 4}, ["size = 4"]),
        ({"method": "socket"}, ["07_two_encoders has no parameter 'method'", "second_encoder"]),
    ],
)
def test_every_wrong_value_is_named(values: dict[str, Any], words: list[str]) -> None:
    with pytest.raises(ParameterError) as caught:
        validate("07", values)
    for word in words:
        assert word in str(caught.value)


def test_domains_of_a_data_set_or_patterns_of_a_folder() -> None:
    for values in ({}, {"first": "b/nir", "second": "b/depth"}, FOLDER):
        found = validate("07", values)
        assert isinstance(found, TwoEncoders)
        for name, value in values.items():
            assert getattr(found, name) == value


def test_a_pattern_on_the_command_line_is_no_mapping() -> None:
    given = parse_given(["first={id}_rgb.jpg", "second=nir/{id}.png", "size=32"])
    assert given == {"first": "{id}_rgb.jpg", "second": "nir/{id}.png", "size": 32}
    (planned,) = plan(["07"], {}, given | {"pairs": "anywhere"})
    assert isinstance(planned.parameters, TwoEncoders)
    assert planned.parameters.first == "{id}_rgb.jpg"

"""The text that names an encoder: every form of it, and what a wrong one is told."""

import pytest

from socketlab.models.encoder_names import EncoderName, UnknownEncoder, read_encoder


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("resnet_small", EncoderName("resnet_small", "none")),
        ("resnet18:untrained", EncoderName("resnet18", "none")),
        ("resnet18:imagenet", EncoderName("resnet18", "imagenet")),
        ("convnext_atto:pretrained", EncoderName("convnext_atto", "imagenet")),
        (
            "vit_small_patch16_224.augreg_in21k",
            EncoderName("vit_small_patch16_224.augreg_in21k", "none"),
        ),
        ("mobilenet_v2:a/b.safetensors", EncoderName("mobilenet_v2", "a/b.safetensors")),
        (
            "runs/first/models/x.safetensors",
            EncoderName(checkpoint="runs/first/models/x.safetensors"),
        ),
    ],
)
def test_every_way_to_write_one(text: str, expected: EncoderName) -> None:
    assert read_encoder(text) == expected


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", ["Unknown text in encoder ''", "NAME:imagenet"]),
        (":imagenet", ["Unknown text", "':imagenet'"]),
        ("resnet18:imagnet", ["weights 'imagnet' in encoder 'resnet18:imagnet'", "NAME:imagenet"]),
        ("resnet18:weights.pth", ["weights 'weights.pth'", "FILE.safetensors"]),
        ("resnet81", ["Unknown backbone 'resnet81'", "resnet18", "NAME:untrained"]),
    ],
)
def test_what_is_wrong_is_said_with_the_ways_to_write_one(text: str, words: list[str]) -> None:
    with pytest.raises(UnknownEncoder) as caught:
        read_encoder(text)
    for word in words:
        assert word in str(caught.value)

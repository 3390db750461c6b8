"""Two encoders at work on pairs: of the data set, of a folder, rotated, and what cannot be done."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from socketlab.data.modality import PixelFormat
from socketlab.data.views import Images
from socketlab.gap.procrustes import align
from socketlab.models.encoders import build_encoder
from socketlab.runs.encoder_parameters import TwoEncoders
from socketlab.runs.parameters import validate
from socketlab.runs.two_encoders import EncodedPairs, EncoderSession, encode
from socketlab.training.precision import choose_precision

PATTERNS = {"first": "{id}_rgb.png", "second": "nir/{id}.png"}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Twelve pairs of noise; the second half is the first's green, grey."""
    random = np.random.default_rng(0)
    (tmp_path / "pairs" / "nir").mkdir(parents=True)
    for row in range(12):
        colour = random.integers(0, 256, (16, 16, 3), dtype=np.uint8)
        Image.fromarray(colour).save(tmp_path / "pairs" / f"{row:02}_rgb.png")
        Image.fromarray(colour[..., 1]).save(tmp_path / "pairs" / "nir" / f"{row:02}.png")
    return tmp_path / "pairs"


@pytest.fixture
def session(folder: Path, tmp_path: Path) -> Any:
    """Opens a session on the folder, or as its arguments say."""

    def start(**values: Any) -> EncoderSession:
        given: dict[str, Any] = {"pairs": str(folder), **PATTERNS, "size": 16}
        given |= {"runs_dir": str(tmp_path / "runs"), "device": "cpu", "dtype": "float32"}
        found = validate("07", given | values)
        assert isinstance(found, TwoEncoders)
        return EncoderSession(found)

    return start


def test_each_half_goes_through_its_encoder(session: Any, folder: Path) -> None:
    experiment = session(second_encoder="test_resnet")
    found = experiment.encode()
    assert (found.first.shape, found.second.shape) == ((12, 256), (12, 96))
    assert found.names == ("resnet small", "test resnet")
    assert not found.aligned
    row = 7
    colour = np.asarray(Image.open(folder / f"{row:02}_rgb.png"))
    grey = np.asarray(Image.open(folder / "nir" / f"{row:02}.png"))
    first, second = build_encoder("resnet_small", size=16), build_encoder("test_resnet", size=16)
    image = torch.from_numpy(colour.copy()).permute(2, 0, 1)[None] / 255
    torch.testing.assert_close(found.first[row], first(image)[0])
    repeated = torch.from_numpy(grey.copy())[None, None].expand(1, 3, 16, 16) / 255
    torch.testing.assert_close(found.second[row], second(repeated)[0])


def test_the_same_text_is_one_network_and_the_sides_are_called_by_their_images(
    session: Any,
) -> None:
    experiment = session()
    assert experiment.encoders[0] is experiment.encoders[1]
    assert experiment.names == ("rgb", "nir")
    assert session(first="{id}_rgb.png", second="{id}.png").names == ("first", "second")


def test_pairs_of_the_data_set_share_a_scene(
    session: Any, tiny_scenes: Path, tiny_data: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    values = {"data": str(tiny_scenes), "data_dir": str(tiny_data), "size": 32, "most_pairs": 40}
    experiment = session(pairs=None, first="a/nir", second="a/depth", **values)
    pairs = experiment.pairs
    assert len(set(pairs.pair_ids)) == len(pairs) == 40
    assert pairs.source.format.modality == "nir"
    assert pairs.target.format.modality == "depth"
    assert [name.removeprefix("a/nir/") for name in pairs.source.ids] == [
        name.removeprefix("a/depth/") for name in pairs.target.ids
    ]
    assert experiment.names == ("nir", "depth")
    assert "40 of 108 pairs" in capsys.readouterr().out
    again = session(pairs=None, first="a/nir", second="a/depth", **values).pairs
    assert again.pair_ids == pairs.pair_ids
    other = session(pairs=None, first="a/nir", second="a/depth", seed=1, **values).pairs
    assert other.pair_ids != pairs.pair_ids


def test_what_was_left_out_is_printed(
    session: Any, folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (folder / "03_rgb.png").write_text("text")
    (folder / "alone_rgb.png").write_text("text")
    assert len(session().pairs) == 11
    out = capsys.readouterr().out
    assert "11 pairs at 16 pixels." in out
    assert "03_rgb.png (" in out
    assert "no partner: 1 files" in out


def test_rotated_is_the_held_out_half_of_the_same_pairs(session: Any) -> None:
    experiment = session(align="procrustes", second_encoder="test_resnet")
    found = experiment.encode()
    made = experiment.aligned(found)
    assert made.aligned
    assert len(made.rows) == len(made.first) == len(made.second) == 6
    assert made.first.shape == made.second.shape
    expected = align(found.first, found.second, seed=0)
    assert made.rows.tolist() == expected.rows.tolist()
    torch.testing.assert_close(made.second, expected.y)
    assert "fitted on 6 pairs" in made.note
    assert session(align="none").aligned(found) is found


def test_what_cannot_be_rotated_goes_on_as_it_is(session: Any) -> None:
    experiment = session(align="procrustes")
    found = EncodedPairs(torch.rand(6, 3), torch.ones(6, 3), np.arange(6), ("a", "b"))
    made = experiment.aligned(found)
    assert made.first is found.first
    assert made.second is found.second
    assert not made.aligned
    assert made.note.startswith("Not aligned: y is constant")


def test_a_session_with_a_wrong_encoder_leaves_no_run(session: Any, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"missing\.safetensors"):
        session(first_encoder="missing.safetensors")
    assert not (tmp_path / "runs").exists()


def test_features_do_not_depend_on_the_batch() -> None:
    raw = torch.randint(0, 256, (7, 16, 16, 3), dtype=torch.uint8)
    images = Images(raw, PixelFormat("rgb", 0, 255, None), tuple("abcdefg"))
    encoder, precision = build_encoder("resnet_small", size=16), choose_precision("cpu", "float32")
    whole = encode(encoder, images, precision)
    assert whole.dtype == torch.float32
    torch.testing.assert_close(encode(encoder, images, precision, batch_size=2), whole)

"""A folder of pairs: one scale for wide pictures, what is left out is said."""

from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest
import torch
from PIL import Image

from socketlab.data.modality import to_unit
from socketlab.data.pair_folder import PairFolderError, read_pairs

DEPTH = {f"{row}": 1000.0 * (row + 1) for row in range(6)}


def _save(path: Path, array: npt.NDArray[np.generic]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(array).save(path)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Six pairs: the red of pair k is 10 k, its depth 1000 (k + 1) with a corner of no reading."""
    for name, depth in DEPTH.items():
        colour = np.full((10, 8, 3), [10 * int(name), 0, 7], np.uint8)
        _save(tmp_path / "rooms" / f"{name}_rgb.png", colour)
        wide = np.full((10, 8), depth, np.uint16)
        wide[5:, 4:] = 0
        _save(tmp_path / "rooms" / f"{name}_depth.png", wide)
    return tmp_path


def _read(
    folder: Path, **about: int
) -> tuple[npt.NDArray[np.uint8], torch.Tensor, tuple[str, ...]]:
    found = read_pairs(folder, "{id}_rgb.png", "{id}_depth.png", size=4, **about)
    pairs = found.pairs
    unit = to_unit(pairs.target.raw, pairs.target.format)
    assert len(pairs) == len(pairs.source) == len(pairs.target)
    return pairs.source.raw.numpy(), unit, found.notes


def test_rows_are_partners_in_the_order_of_their_ids(folder: Path) -> None:
    found = read_pairs(folder, "{id}_rgb.png", "{id}_depth.png", size=4)
    assert found.pairs.pair_ids == tuple(f"rooms/{name}" for name in DEPTH)
    assert found.pairs.source.raw.shape == (6, 4, 4, 3)
    assert found.pairs.source.raw[:, 0, 0].tolist() == [[10 * row, 0, 7] for row in range(6)]


def test_sixteen_bits_have_one_scale_for_the_whole_folder(folder: Path) -> None:
    """Not all white, not each picture for itself, and no reading is not near."""
    _, unit, notes = _read(folder)
    # 1st and 99th percentile of 12 values each of 1000 to 6000, zeros left out
    values = np.repeat([*DEPTH.values()], 12)
    low, high = np.percentile(values, [1, 99])
    expected = np.clip((np.array([*DEPTH.values()]) - low) / (high - low), 0, 1)
    np.testing.assert_allclose(unit[:, 0, 0, 0], expected, atol=1e-4)
    assert unit.shape == (6, 1, 4, 4)
    assert not unit[:, 0, 2:, 2:].any()
    (note,) = notes
    assert note.startswith(f"second: more than 8 bits, shown from {low:g} (1st percentile) to ")
    assert f"{high:g} (99th)" in note


def test_values_may_be_below_zero_and_zero_is_still_no_reading(tmp_path: Path) -> None:
    """Degrees of frost: -20 to 20, one side of each picture without a reading."""
    for name, degrees in enumerate((-20, 5, 20)):
        picture = np.full((4, 4), degrees, np.float32)
        picture[:, 2:] = 0
        Image.fromarray(picture).save(tmp_path / f"{name}_t.tiff")
        _save(tmp_path / f"{name}_rgb.png", np.zeros((4, 4, 3), np.uint8))
    found = read_pairs(tmp_path, "{id}_rgb.png", "{id}_t.tiff", size=4)
    unit = to_unit(found.pairs.target.raw, found.pairs.target.format)[:, 0]
    np.testing.assert_allclose(unit[:, 0, 0], [0, 25 / 40, 1], atol=1e-3)
    assert not unit[:, :, 2:].any()


def test_grey_stays_grey_unless_the_half_has_colour(tmp_path: Path) -> None:
    for name in "ab":
        _save(tmp_path / "x" / f"{name}.png", np.full((4, 4), 30, np.uint8))
        _save(tmp_path / "y" / f"{name}.png", np.full((4, 4), 50, np.uint8))
    _save(tmp_path / "y" / "b.png", np.full((4, 4, 3), [1, 2, 3], np.uint8))
    pairs = read_pairs(tmp_path, "x/{id}.png", "y/{id}.png", size=4).pairs
    assert (pairs.source.raw.shape, pairs.target.raw.shape) == ((2, 4, 4), (2, 4, 4, 3))
    assert pairs.target.raw[:, 0, 0].tolist() == [[50, 50, 50], [1, 2, 3]]
    assert float(to_unit(pairs.source.raw, pairs.source.format).max()) == pytest.approx(30 / 255)


def test_a_sample_is_the_seeds_and_is_said(folder: Path) -> None:
    red, _, notes = _read(folder, most=3, seed=1)
    assert "A sample of 3 of 6 pairs." in notes
    np.testing.assert_array_equal(red, _read(folder, most=3, seed=1)[0])
    assert any(not np.array_equal(red, _read(folder, most=3, seed=seed)[0]) for seed in (2, 3, 4))
    assert len(_read(folder, most=6)[0]) == 6


def test_files_that_cannot_be_read_are_named_and_their_pairs_left_out(folder: Path) -> None:
    (folder / "rooms" / "1_rgb.png").write_text("text")
    whole = (folder / "rooms" / "4_depth.png").read_bytes()
    (folder / "rooms" / "4_depth.png").write_bytes(whole[:60])
    (folder / "rooms" / "9_rgb.png").write_text("alone")
    red, unit, notes = _read(folder)
    assert red[:, 0, 0, 0].tolist() == [0, 20, 30, 50]
    assert (np.diff(unit[:, 0, 0, 0].numpy()) > 0).all()
    (left_out,) = (note for note in notes if "cannot be read" in note)
    assert left_out.startswith("2 of 6 pairs are left out, for 2 files cannot be read: rooms/1_rgb")
    assert "rooms/4_depth.png (" in left_out
    assert "Left out, for they have no partner: 1 files like {id}_rgb.png." in notes


def test_many_bad_files_are_counted_and_few_named(folder: Path) -> None:
    for name in range(6):
        (folder / "rooms" / f"{name}_depth.png").write_text("text")
    with pytest.raises(PairFolderError, match=r"None of 6 pairs.*rooms/4_depth.png.*; \.\.\."):
        _read(folder)


def test_values_that_are_all_the_same_are_no_division_by_zero(folder: Path) -> None:
    for name in DEPTH:
        _save(folder / "rooms" / f"{name}_depth.png", np.full((4, 4), 9, np.uint16))
    assert _read(folder)[1].unique().tolist() == [0]
    _save(folder / "rooms" / "0_depth.png", np.zeros((4, 4), np.uint16))
    assert _read(folder)[1].isfinite().all()


def test_a_half_of_two_sorts_has_no_one_scale(folder: Path) -> None:
    _save(folder / "rooms" / "3_depth.png", np.full((4, 4), 9, np.uint8))
    with pytest.raises(
        PairFolderError, match=r"second: 5 files hold more.*rooms/0_depth.*1 hold 8"
    ):
        _read(folder)


def test_one_pattern_for_both_halves_is_refused(folder: Path) -> None:
    with pytest.raises(PairFolderError, match=r"both '\{id\}_rgb\.png'"):
        read_pairs(folder, "{id}_rgb.png", "{id}_rgb.png", size=4)

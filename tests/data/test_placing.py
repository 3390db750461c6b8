"""Images stay where they fit; the reason is said where they do not."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from socketlab.data import placing
from socketlab.data.modality import PixelFormat
from socketlab.data.placing import chosen, joined, mapped, placed
from socketlab.data.streaming import Streamed
from socketlab.data.views import Images

ROWS = np.array([3, 0, 7, 19])
META = torch.device("meta")


@pytest.fixture
def array(tmp_path: Path) -> Any:
    """20 images of 72 bytes in a file."""
    values = np.random.default_rng(0).integers(0, 65536, (20, 6, 6)).astype(np.uint16)
    np.save(tmp_path / "depth.npy", values)
    return np.load(tmp_path / "depth.npy", mmap_mode="r")


@pytest.fixture
def free(monkeypatch: pytest.MonkeyPatch) -> Callable[[int | None], None]:
    """Say how many bytes are free everywhere."""

    def say(size: int | None) -> None:
        monkeypatch.setattr(placing, "free_memory", lambda device: size)

    return say


def values(raw: Tensor | Streamed) -> list[Any]:
    whole = raw.loaded(torch.device("cpu")) if isinstance(raw, Streamed) else raw
    return list(whole.int().tolist())


@pytest.mark.parametrize(
    ("size", "streams"), [(2 * 288, False), (2 * 288 - 1, True), (None, False)]
)
def test_half_of_the_free_memory_may_be_images(
    array: Any, free: Callable[[int | None], None], size: int | None, streams: bool
) -> None:
    free(size)
    raw = mapped(array, ROWS)
    assert isinstance(raw, Streamed) is streams
    assert values(raw) == np.array(array)[ROWS].astype(int).tolist()


def test_images_say_where_they_are(array: Any, free: Callable[[int | None], None]) -> None:
    ids, about = tuple("abcd"), PixelFormat("depth", 500, 8000, 0)
    free(None)
    assert Images(mapped(array, ROWS), about, ids).where == "4 images (0 MiB) on cpu"
    free(300)
    images = Images(mapped(array, ROWS), about, ids)
    assert images.where == (
        "4 images (0 MiB) streamed to cpu: more than 50% of the 0 MiB of free memory"
    )
    # another device: the same of its memory
    assert images.to(META).where.endswith(
        "to meta: more than 50% of the 0 MiB of free memory of meta"
    )


def test_a_tensor_goes_to_a_device_where_it_fits(
    array: Any, free: Callable[[int | None], None]
) -> None:
    raw = torch.from_numpy(np.array(array))
    assert placed(raw, "cpu") is raw
    free(2 * array.nbytes)
    assert isinstance(placed(raw, META), Tensor)
    free(2 * array.nbytes - 1)
    found = placed(raw, META)
    assert isinstance(found, Streamed) and found.device == META
    assert values(found) == values(raw)
    assert placed(raw, "cpu") is raw


def test_a_file_goes_to_a_device_where_it_fits(
    array: Any, free: Callable[[int | None], None]
) -> None:
    free(1)
    raw = mapped(array, ROWS)
    assert placed(raw, "cpu") is raw
    found = placed(raw, META)
    assert isinstance(found, Streamed) and found.device == META
    assert values(found) == values(raw)
    free(None)
    assert isinstance(placed(raw, META), Tensor)


def test_some_of_them(array: Any, free: Callable[[int | None], None]) -> None:
    free(1)
    raw, whole = mapped(array, ROWS), torch.from_numpy(np.array(array)[ROWS])
    index = torch.tensor([2, 2, 0])
    for size, streams in ((1, True), (10**6, False)):
        free(size)
        part = chosen(raw, index)
        assert isinstance(part, Streamed) is streams
        assert values(part) == values(chosen(whole, index)) == [values(whole)[k] for k in (2, 2, 0)]


def test_sets_one_after_the_other(array: Any, free: Callable[[int | None], None]) -> None:
    tensor = torch.from_numpy(np.array(array)[:2])
    assert joined([tensor]) is tensor
    free(1)
    streams = mapped(array, ROWS)
    wanted = [*values(tensor), *values(streams), *values(tensor)]
    assert isinstance(joined([tensor, streams, tensor]), Streamed)
    assert values(joined([tensor, streams, tensor])) == wanted
    assert values(joined([tensor, tensor])) == 2 * values(tensor)

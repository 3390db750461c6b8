import hashlib
import io
import os
import pickle
from pathlib import Path
from typing import Any

import pytest
import torch

from socketlab.training.state import StateError, StateFile


@pytest.fixture
def file(tmp_path: Path) -> StateFile:
    return StateFile(tmp_path / "state" / "shot.pt", "fingerprint")


def numbers(epoch: int) -> dict[str, Any]:
    weights = torch.arange(300, dtype=torch.float32) + 1000 * epoch
    return {"epoch": epoch, "model": {"w": weights}, "weights": {"pairs": 0.5}}


def names(file: StateFile) -> list[str]:
    return sorted(path.name for path in file.path.parent.iterdir())


def test_what_was_saved_comes_back(file: StateFile) -> None:
    assert file.load() is None
    file.save(numbers(1))
    found = file.load()
    assert found is not None
    assert found["epoch"] == 1 and found["weights"] == {"pairs": 0.5}
    assert torch.equal(found["model"]["w"], numbers(1)["model"]["w"])


def test_the_last_two_states_are_kept_and_nothing_else(file: StateFile) -> None:
    for epoch in (1, 2, 3):
        file.save(numbers(epoch))
    assert names(file) == ["shot.pt", "shot.pt.previous"]
    found = file.load()
    assert found is not None and found["epoch"] == 3
    file.path.unlink()  # as after a crash between the two renames
    found = file.load()
    assert found is not None and found["epoch"] == 2
    file.remove()
    assert names(file) == [] and file.load() is None
    file.remove()


def test_every_torn_file_is_passed_over(file: StateFile) -> None:
    file.save(numbers(1))
    file.save(numbers(2))
    whole = file.path.read_bytes()
    for length in [*range(0, len(whole), 101), len(whole) - 1]:
        file.path.write_bytes(whole[:length])
        found = file.load()
        assert found is not None and found["epoch"] == 1, length


def test_every_changed_byte_is_noticed(file: StateFile) -> None:
    """torch.load itself gives other numbers where a byte of a tensor was changed."""
    file.save(numbers(1))
    file.save(numbers(2))
    whole = file.path.read_bytes()
    for position in range(0, len(whole), 61):
        changed = bytearray(whole)
        changed[position] ^= 0xFF
        file.path.write_bytes(changed)
        found = file.load()
        assert found is not None and found["epoch"] == 1, position


def test_two_damaged_files_are_no_state(file: StateFile) -> None:
    file.save(numbers(1))
    file.save(numbers(2))
    for name in names(file):
        (file.path.parent / name).write_bytes(os.urandom(200))
    assert file.load() is None


def test_a_file_of_zeros_is_passed_over(file: StateFile) -> None:
    file.save(numbers(1))
    file.save(numbers(2))
    file.path.write_bytes(bytes(file.path.stat().st_size))
    found = file.load()
    assert found is not None and found["epoch"] == 1


def test_how_far_an_epoch_has_come_is_kept_beside_its_beginning(file: StateFile) -> None:
    assert file.load_within(0) is None
    file.save(numbers(1))
    file.save_within(numbers(1) | {"step": 5})
    assert names(file) == ["shot.pt", "shot.pt.within"]
    found = file.load_within(1)
    assert found is not None and found["step"] == 5
    assert file.load_within(0) is None and file.load_within(2) is None, "of another epoch"
    with pytest.raises(StateError, match=r"shot.pt.within' belongs"):
        StateFile(file.path, "another").load_within(1)
    file.save(numbers(2))
    assert file.load_within(1) is None and names(file) == ["shot.pt", "shot.pt.previous"]
    file.save_within(numbers(2))
    file.remove()
    assert names(file) == []


def test_a_full_disk_leaves_the_state_before(
    file: StateFile, monkeypatch: pytest.MonkeyPatch
) -> None:
    file.save(numbers(1))
    file.save(numbers(2))

    def full(_: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    for save in (file.save, file.save_within):
        with pytest.raises(OSError, match="No space left on device"):
            save(numbers(3))
    found = file.load()
    assert found is not None and found["epoch"] == 2
    assert names(file) == ["shot.pt", "shot.pt.previous"]


def test_a_state_after_a_damaged_one_is_good(file: StateFile) -> None:
    file.save(numbers(1))
    file.path.write_bytes(b"torn")
    file.save(numbers(2))
    found = file.load()
    assert found is not None and found["epoch"] == 2


def test_a_save_that_fails_leaves_the_state_before(file: StateFile) -> None:
    file.save(numbers(1))
    with pytest.raises((AttributeError, pickle.PicklingError)):
        file.save({"epoch": 2, "cannot": lambda: None})
    found = file.load()
    assert found is not None and found["epoch"] == 1
    assert names(file) == ["shot.pt"]


def test_the_state_of_another_training_is_refused(file: StateFile) -> None:
    file.save(numbers(1))
    other = StateFile(file.path, "another")
    with pytest.raises(StateError, match=r"shot.pt' belongs to a training with other parameters"):
        other.load()
    file.path.rename(file.path.with_name("shot.pt.previous"))
    with pytest.raises(StateError, match=r"shot.pt.previous' belongs"):
        other.load()


class Malicious:
    """Unpickling this makes a folder."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def __reduce__(self) -> tuple[Any, tuple[str]]:
        return os.mkdir, (str(self.folder),)


@pytest.mark.parametrize("form", ["saved", "plain pickle", "old torch format"])
def test_a_pickle_is_never_executed(file: StateFile, tmp_path: Path, form: str) -> None:
    folder = tmp_path / "made-by-the-pickle"
    file.save(numbers(1))
    if form == "saved":
        file.save({"epoch": 2, "model": Malicious(folder)})
    else:
        content = io.BytesIO()
        state = {"fingerprint": "fingerprint", "epoch": 2, "model": Malicious(folder)}
        if form == "plain pickle":
            pickle.dump(state, content, protocol=2)
        else:
            torch.save(state, content, _use_new_zipfile_serialization=False)
        file.save(numbers(2))
        digest = hashlib.sha256(content.getvalue()).digest()
        file.path.write_bytes(digest + content.getvalue())
    found = file.load()
    assert not folder.exists()
    assert found is not None and found["epoch"] == 1
    # Only now is it shown that the file would have done it.
    payload = file.path.read_bytes()[len(hashlib.sha256().digest()) :]
    if form != "plain pickle":
        torch.load(io.BytesIO(payload), weights_only=False)
    else:
        pickle.loads(payload)
    assert folder.exists()

"""How many devices there are, and who computes which rows of a batch."""

import os
import pickle
import threading
from types import SimpleNamespace
from typing import Any

import pytest
import torch

from socketlab.training.followers import Followers, Place
from socketlab.training.precision import choose_precision
from socketlab.training.team import Team, check_divisible


def team_of(rank: int, devices: int) -> Team:
    """One that talks to nobody."""
    team = Team.__new__(Team)
    team.place = Place(rank, devices, None)  # type: ignore[arg-type]
    return team


def test_parts_are_in_order_and_make_up_the_batch() -> None:
    batch = list(range(12))
    assert [row for rank in range(3) for row in batch[team_of(rank, 3).part(12)]] == batch
    with pytest.raises(ValueError, match=r"batch of 7 images .* among 3 devices"):
        team_of(0, 3).part(7)


@pytest.mark.parametrize(
    ("batch", "devices", "advice"), [(7, 2, "6 or 8,"), (3, 4, "4,"), (33, 8, "32 or 40,")]
)
def test_a_batch_that_cannot_be_shared_is_refused_with_what_fits(
    batch: int, devices: int, advice: str
) -> None:
    check_divisible(batch // devices * devices, devices)
    with pytest.raises(ValueError, match=f"batch_size: {advice}"):
        check_divisible(batch, devices)


def test_two_batches_that_each_process_saw_as_one_are_told_apart() -> None:
    first, second = torch.arange(4), torch.arange(100, 102)
    seen = torch.cat([first[:2], second[:1], first[2:], second[1:]])
    found = team_of(1, 2).divided(seen, 4)
    assert torch.equal(found[0], first) and torch.equal(found[1], second)
    rows = torch.stack([seen, -seen], dim=1)
    assert torch.equal(team_of(0, 2).divided(rows, 4)[1], torch.stack([second, -second], dim=1))


def test_one_device_unless_more_are_asked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    assert choose_precision("cpu").devices == choose_precision("cpu", devices="auto").devices == 1
    several = choose_precision("cpu", "float32", "default", devices=3)
    assert several.devices == 3 and several.compiler == "off"
    assert several.name == "3 x cpu" and "several devices" in several.reason
    assert pickle.loads(pickle.dumps(several)) == several
    with pytest.raises(ValueError, match="devices must be 1 or more, or auto, found 0"):
        choose_precision("cpu", devices=0)


def test_cuda_devices_are_counted(monkeypatch: pytest.MonkeyPatch) -> None:
    names: dict[str, Any] = {"is_available": lambda: True, "device_count": lambda: 4}
    for name, answer in names.items():
        monkeypatch.setattr(torch.cuda, name, answer)
    monkeypatch.setattr(torch.cuda, "get_device_properties", lambda *_: SimpleNamespace(major=9))
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda *_: "a GPU")
    given = ("cuda", "float32", "off")
    assert choose_precision(*given, devices="auto").devices == 4  # type: ignore[arg-type]
    found = choose_precision(*given, devices=2)  # type: ignore[arg-type]
    assert found.devices == 2 and found.name == "2 x cuda (a GPU)"
    with pytest.raises(ValueError, match=r"devices: 5, .* has 4 CUDA devices. Set devices: 4"):
        choose_precision(*given, devices=5)  # type: ignore[arg-type]


@pytest.mark.parametrize("told", [False, True])
def test_a_thread_acts_when_a_process_ends_that_was_not_told_to(told: bool) -> None:
    ended, ends = os.pipe()
    followers = Followers.__new__(Followers)
    followers.processes = [SimpleNamespace(sentinel=ended)]  # type: ignore[list-item]
    followers._ending, acted = threading.Event(), threading.Event()
    before = {*threading.enumerate()}
    followers.when_lost(acted.set)
    (watching,) = {*threading.enumerate()} - before
    assert watching.is_alive() and not acted.is_set()
    if told:
        followers._ending.set()
    os.close(ends)
    watching.join(20)
    assert acted.is_set() is not told
    os.close(ended)

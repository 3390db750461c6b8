"""One thread, and the built-in data with few images per class, prepared once for all tests."""

import os

# Before any numerical library is loaded, here and in the processes that tests start.
os.environ["OMP_NUM_THREADS"] = "1"
os.environ["OMP_WAIT_POLICY"] = "PASSIVE"

from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
import yaml

ROOT = Path(__file__).resolve().parents[1]


@pytest.fixture(autouse=True)
def one_thread() -> Iterator[None]:
    """The same sums in the same order on every machine, and a seed to begin with."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    torch.manual_seed(0)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="session")
def root() -> Path:
    """The project's folder."""
    return ROOT


@pytest.fixture(scope="session")
def tiny_scenes(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A manifest like that of `scenes`, but with 6 + 4 TR images and 4 TI images per class."""
    raw = yaml.safe_load((ROOT / "data_manifests" / "scenes.yaml").read_text())
    roles = {"task_relevant": {"train": 6, "test": 4}, "task_irrelevant": {"train": 4}}
    raw["layout"]["counts"] = roles
    counts = {name: roles[role] for role in roles for name in raw["classes"][role]}
    raw["expected"] = dict.fromkeys(raw["domains"], counts)
    path = tmp_path_factory.mktemp("manifest") / "tiny_scenes.yaml"
    path.write_text(yaml.safe_dump(raw, sort_keys=False))
    return path


@pytest.fixture(scope="session")
def tiny_data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where the tiny data set is prepared, by whoever needs it first."""
    return tmp_path_factory.mktemp("data")

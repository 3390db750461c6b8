"""Every operation of every method, against those that refuse or are unpredictable on CUDA."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode

from socketlab.methods import REGISTRY
from socketlab.runs.experiment import Experiment
from socketlab.runs.parameters import Compare, validate

# As torch's documentation of use_deterministic_algorithms lists them, by the names underneath.
REFUSED = {
    "avg_pool3d_backward",
    "_adaptive_avg_pool2d_backward",
    "_adaptive_avg_pool3d_backward",
    "adaptive_max_pool2d_backward",
    "fractional_max_pool2d_backward",
    "fractional_max_pool3d_backward",
    "max_unpool2d",
    "max_unpool3d",
    "upsample_linear1d_backward",
    "upsample_bicubic2d_backward",
    "_upsample_bilinear2d_aa_backward",
    "_upsample_bicubic2d_aa_backward",
    "upsample_trilinear3d_backward",
    "reflection_pad1d_backward",
    "reflection_pad2d_backward",
    "reflection_pad3d_backward",
    "nll_loss2d_forward",
    "_ctc_loss_backward",
    "put",
    "put_",
    "histc",
    "median.dim",
    "nanmedian.dim",
    "grid_sampler_2d_backward",
    "grid_sampler_3d_backward",
    "scatter_reduce",
    "index_reduce",
    "kthvalue",
}
# Of the translator `residual`; on CUDA torch computes it by other operations in this mode.
REPLACED = "upsample_bilinear2d_backward"


class Listing(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Writes down the name of every operation, forward and backward."""

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.seen = set[str]()

    def __torch_dispatch__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Any = None
    ) -> Any:
        name = str(func).removeprefix("aten.")
        self.seen |= {name, name.split(".")[0]}
        if name.startswith("bincount") and (len(args) > 1 and args[1] is not None):
            self.seen.add("bincount with weights")
        return func(*args, **(kwargs or {}))


@pytest.fixture(scope="module")
def listed(
    tmp_path_factory: pytest.TempPathFactory, tiny_scenes: Path, tiny_data: Path
) -> Callable[[str], set[str]]:
    """The operations of a method's training of one epoch, in deterministic mode."""
    runs = tmp_path_factory.mktemp("listed")
    epoch = {"epochs": 1, "batch_size": 4}
    variants = {"painted": "translated"}
    untrained = ("source_only", "adabn")
    given = {
        "run": "listed",
        "data": str(tiny_scenes),
        "size": 32,
        "source_options": {"epochs": 1, "batch_size": 8},
        "methods": [*REGISTRY, *variants],
        "variants": variants,
        "options": {
            **{name: epoch for name in REGISTRY if name not in untrained},
            "painted": epoch | {"translator": "unet"},
        },
        "device": "cpu",
        "dtype": "float32",
        "deterministic": True,
        "data_dir": str(tiny_data),
        "runs_dir": str(runs),
    }
    parameters = validate("06_compare", given)
    assert isinstance(parameters, Compare)
    experiment = Experiment(parameters)

    def train(method: str) -> set[str]:
        with Listing() as listing:
            steps = (
                experiment.train_source()
                if method == "source"
                else experiment.transfer(experiment.trip(method))
            )
            for _ in steps:
                assert torch.are_deterministic_algorithms_enabled()
        seen: set[str] = listing.seen
        return seen

    train("source")
    return train


@pytest.fixture(autouse=True)
def as_before() -> Any:
    """The mode belongs to the process: it ends with the test."""
    yield
    torch.use_deterministic_algorithms(False)
    torch.backends.cudnn.deterministic = False


@pytest.mark.faults
@pytest.mark.parametrize("method", [*REGISTRY, "painted"])
def test_no_method_holds_what_cuda_refuses(listed: Callable[[str], set[str]], method: str) -> None:
    seen = listed(method)
    assert "convolution" in seen and not seen & (REFUSED | {"bincount with weights"})
    if method == "translated":
        assert REPLACED in seen  # operations of a backward pass are listed, too

"""What is done besides training: preparing, features, the numbers and the map of the gap."""

import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from speed_cases import Case, made_up, source_models
from speed_steps import clock

from socketlab.training.inference import predict

ROUNDS = 3
MATRIX = {"cpu": 2048, "cuda": 8192}
"""Rows and columns of the matrices that are multiplied for the rate of the device."""


def measure_part(part: str, case: Case, amount: int) -> dict[str, Any]:
    """Seconds of one of `PARTS`, several times, for so many images, pairs or points."""
    return {"part": part, "amount": amount} | PARTS[part](case, amount)


def repeated(work: Callable[[], object], device: torch.device) -> list[float]:
    """Seconds of `work`, `ROUNDS` times, after once that does not count."""
    work()
    return [clock(work, device) for _ in range(ROUNDS)]


def matrix_products(case: Case, amount: int) -> dict[str, Any]:
    """`amount` products of two square matrices; `operations` are those of all of them."""
    precision, size = case.precision(), MATRIX[case.device]
    factors = torch.randn(2, size, size, device=precision.device, dtype=precision.dtype)

    def work() -> None:
        for _ in range(amount):
            torch.mm(factors[0], factors[1])

    seconds = repeated(work, precision.device)
    return {"seconds": {"all": seconds}, "operations": 2 * size**3 * amount, "unit": "products"}


def features(case: Case, amount: int) -> dict[str, Any]:
    """Features and logits of images."""
    precision = case.precision()
    (model,) = source_models(case)
    model.eval().to(precision.device)
    images = made_up("depth", amount, case.stored).to(precision.device)
    seconds = repeated(lambda: predict(model, images, case.crop, precision), precision.device)
    return {"seconds": {"all": seconds}, "unit": "images"}


def gap_numbers(case: Case, amount: int, *, sample: int | None = 1000) -> dict[str, Any]:
    """The table of the gap with its defaults: five measures, three seeds, 200 resamples."""
    from socketlab.gap import calibration_case, gap_table

    device = case.precision().device
    x, y = (
        torch.from_numpy(side).float().to(device)
        for side in calibration_case("pairs + small noise", amount, 256)
    )
    seconds = [clock(lambda: gap_table(x, y, sample=sample), device) for _ in range(ROUNDS)]
    return {"seconds": {"all": seconds}, "unit": "pairs"}


def all_gap_numbers(case: Case, amount: int) -> dict[str, Any]:
    """The same of all pairs, without a sample."""
    return gap_numbers(case, amount, sample=None)


def joint_map(case: Case, amount: int) -> dict[str, Any]:
    """The recommended map (PCA to 50, then UMAP): its start in a new process, then fits."""
    from gap_maps import clouds

    from socketlab.gap import project

    fits = [project(clouds(amount, seed=seed), most=amount) for seed in range(ROUNDS)]
    start = [fits[0].start_seconds]
    return {"seconds": {"all": [fit.seconds for fit in fits], "start": start}, "unit": "points"}


def preparing(case: Case, amount: int) -> dict[str, Any]:
    """Preparing made-up pairs of 640 x 480 for the first time; two images each."""
    from preparing import make_pairs

    from socketlab.data.store import prepare

    seconds = []
    with tempfile.TemporaryDirectory() as temporary:
        place = Path(temporary)
        manifest = make_pairs(place / "raw", amount // 2)
        for turn in range(ROUNDS):
            start = time.perf_counter()
            prepare(manifest, root=place / "raw", size=case.crop, data_dir=place / str(turn))
            seconds.append(time.perf_counter() - start)
    return {"seconds": {"all": seconds}, "unit": "images"}


PARTS: dict[str, Callable[[Case, int], dict[str, Any]]] = {
    "matrix products": matrix_products,
    "preparing": preparing,
    "features": features,
    "gap numbers": gap_numbers,
    "gap numbers of all pairs": all_gap_numbers,
    "map": joint_map,
}

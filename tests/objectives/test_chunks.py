"""Slices within a budget, and no tensor beyond it in anything that compares all samples."""

from collections.abc import Callable
from itertools import pairwise
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor
from torch.nn.functional import normalize
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from socketlab.gap import distributions, measures, metrics, neighbours, selection, separability
from socketlab.gap.audit import LabelHistory, audit_frame
from socketlab.gap.measures import MEASURES
from socketlab.gap.pairs import unit_pairs
from socketlab.gap.procrustes import align
from socketlab.gap.table import gap_table
from socketlab.objectives import joint_confidence, nearest, pseudo_labels
from socketlab.objectives.chunks import BUDGET_BYTES, chunks

ROWS, COLUMNS, CLASSES = 2000, 8, 6
BUDGET = 2**19
"""An n x n matrix of n = 2000 would be 30 times as large, in float32."""


class Largest(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Remembers the size of the largest tensor that any operation gives."""

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.size, self.what = 0, ""

    def __torch_dispatch__(
        self, func: Any, types: Any, args: Any = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        given = func(*args, **(kwargs or {}))
        for found in tree_leaves(given):
            if isinstance(found, Tensor) and found.numel() * found.element_size() > self.size:
                self.size = found.numel() * found.element_size()
                self.what = f"{func} {tuple(found.shape)}"
        return given


def halves(rows: int = ROWS) -> tuple[Tensor, Tensor]:
    draw = torch.Generator().manual_seed(0)
    x = torch.randn(rows, COLUMNS, generator=draw)
    return x, x + 0.5 * torch.randn(rows, COLUMNS, generator=draw)


def claims(rows: int = ROWS) -> Tensor:
    draw = torch.Generator().manual_seed(1)
    return torch.randn(rows, CLASSES, generator=draw).softmax(dim=1)


def audited() -> object:
    x, p = halves()[0].numpy(), claims().numpy()
    answers = p.argmax(axis=1)[None]
    classes = tuple(map(str, range(CLASSES)))
    ids = tuple(map(str, range(ROWS)))
    history = LabelHistory(ids, classes, (1,), answers, answers, p.max(axis=1)[None])
    return audit_frame(history, x, p)


EVERYTHING: dict[str, Callable[[], object]] = {
    "nearest": lambda: nearest(halves()[0], halves()[1], 5, torch.arange(ROWS)),
    "pseudo_labels": lambda: pseudo_labels(halves()[0], claims()),
    "joint_confidence": lambda: joint_confidence(halves()[0], claims(), claims().argmax(dim=1)),
    "soft_neighbourhood_density": lambda: selection.soft_neighbourhood_density(claims()),
    "nuclear_norm": lambda: selection.nuclear_norm(claims()),
    "pair_retrieval": lambda: selection.pair_retrieval(*halves()),
    "pair_distance": lambda: selection.pair_distance(*halves()),
    "centroid_gap": lambda: metrics.centroid_gap(*halves()),
    "pair_gap": lambda: metrics.pair_gap(*halves()),
    "relative_modality_gap": lambda: metrics.relative_modality_gap(*halves()),
    "linear_cka": lambda: metrics.linear_cka(*halves()),
    "mmd": lambda: distributions.mmd(*halves(), permutations=2),
    "mmd of unequal numbers": lambda: distributions.mmd(
        halves()[0], halves()[1][:-1], permutations=2
    ),
    "frechet_distance": lambda: distributions.frechet_distance(*halves()),
    "uniformity": lambda: distributions.uniformity(halves()[0]),
    "partner_ranks": lambda: neighbours.partner_ranks(*halves()),
    "retrieval": lambda: neighbours.retrieval(*halves()),
    "neighbour_mixing": lambda: neighbours.neighbour_mixing(*halves()),
    "mutual_neighbours": lambda: neighbours.mutual_neighbours(*halves()),
    "modality_guesses": lambda: separability.modality_guesses(*halves()),
    "align": lambda: align(*halves()),
    "audit_frame": audited,
} | {
    f"gap_table, {name}": lambda name=name: gap_table(
        *halves(), seeds=(0,), sample=None, bootstrap=20, measures=[name]
    )
    for name in MEASURES
}


@pytest.mark.parametrize("name", EVERYTHING)
def test_no_tensor_is_larger_than_the_budget(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(BUDGET_BYTES, "cpu", BUDGET)
    # The width of the kernel is that of a fixed number of rows, however many there are; labels
    # are 2 n for each of 200 relabellings.
    monkeypatch.setattr(distributions, "BANDWIDTH_ROWS", 50)
    monkeypatch.setattr(measures, "PERMUTATIONS", 5)
    with Largest() as largest:
        EVERYTHING[name]()
    assert 0 < largest.size <= BUDGET, largest.what


def test_neighbours_in_a_bank_of_a_hundred_thousand_stay_within_the_budget() -> None:
    bank = normalize(halves(100_000)[0], dim=1)
    own = torch.arange(0, 100_000, 312)[:320]
    with Largest() as largest:
        nearest(bank[own], bank, 5, own)
    assert BUDGET_BYTES["cpu"] / 2 < largest.size <= BUDGET_BYTES["cpu"], largest.what


@pytest.mark.parametrize(
    ("rows", "values", "dtype", "tensors", "size"),
    [
        (10, 5, torch.float32, 1, 3),  # 64 bytes are 16 values, of 5 each
        (10, 5, torch.bfloat16, 1, 3),  # computed in float32
        (10, 5, torch.float64, 1, 1),
        (10, 2, torch.float32, 2, 4),
        (10, 1000, torch.float32, 1, 1),  # a row alone is too large, and is one chunk
        (10, 1, torch.float32, 1, 16),
        (0, 5, torch.float32, 1, 3),
    ],
)
def test_chunks_cover_every_row_once(
    rows: int,
    values: int,
    dtype: torch.dtype,
    tensors: int,
    size: int,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setitem(BUDGET_BYTES, "cpu", 64)
    found = [*chunks(rows, values, torch.empty(0, dtype=dtype), tensors)]
    assert [k for part in found for k in range(part.start, part.stop)] == [*range(rows)]
    assert all(part.stop - part.start == size for part, _ in pairwise(found))
    assert all(0 < part.stop - part.start <= size for part in found)


def test_a_gpu_gets_larger_chunks_and_an_unknown_device_those_of_a_cpu() -> None:
    class Elsewhere:
        def __init__(self, kind: str) -> None:
            self.device = torch.device(kind)

        def element_size(self) -> int:
            return 4

    sizes = {
        kind: next(chunks(2**40, 1, Elsewhere(kind))).stop  # type: ignore[arg-type]
        for kind in ("cpu", "cuda", "mps")
    }
    assert sizes == {"cpu": 2**22, "cuda": 2**25, "mps": 2**22}


@pytest.fixture(params=["whole", "row by row", "a few rows"])
def budget(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    small = {"whole": 2**26, "row by row": 1, "a few rows": 4 * 7 * 40 * 4}
    monkeypatch.setitem(BUDGET_BYTES, "cpu", small[request.param])


@pytest.mark.usefixtures("budget")
def test_objectives_in_chunks_are_those_of_the_whole() -> None:
    """Against the formulas written with all samples at once, in float64."""
    x, p = halves(40)[0].double(), claims(40).double()
    unit = normalize(x, dim=1)
    own = torch.arange(40)
    similarity = (unit @ unit.T).fill_diagonal_(-torch.inf)
    assert torch.equal(nearest(unit, unit, 7, own), similarity.topk(7, dim=1).indices)

    f = normalize(torch.cat([x, torch.ones(40, 1)], dim=1), dim=1)
    centres = normalize((p.T @ f) / p.sum(dim=0)[:, None], dim=1)
    first = (f @ centres.T).argmax(dim=1)
    hard = torch.eye(CLASSES, dtype=torch.float64)[first]
    centres = normalize((hard.T @ f) / hard.sum(dim=0).clamp(min=1)[:, None], dim=1)
    cosines = (f @ centres.T).masked_fill(hard.sum(dim=0) == 0, -torch.inf)
    found = pseudo_labels(x, p, rounds=2)
    assert torch.equal(found.labels, cosines.argmax(dim=1))
    torch.testing.assert_close(found.similarity, cosines, rtol=0, atol=1e-12)
    parts = [part for _, part in found.similarities()]
    assert torch.equal(torch.cat(parts), found.similarity)

    joint = []
    for weights in p.T:
        mean = weights @ f / weights.sum()
        centred = f - mean
        covariance = centred.T @ (weights[:, None] * centred) / weights.sum()
        law = torch.distributions.MultivariateNormal(
            mean, covariance + 1e-6 * torch.eye(COLUMNS + 1, dtype=torch.float64)
        )
        density: Tensor = law.log_prob(f)  # type: ignore[no-untyped-call]
        joint.append(weights.sum().log() + density)
    table, labels = torch.stack(joint, dim=1), found.labels[:, None]
    others = table.scatter(1, labels, -torch.inf).amax(dim=1)
    gaps = (table.gather(1, labels)[:, 0] - others).clamp(min=0)
    expected = gaps / gaps.max() * p.gather(1, labels)[:, 0]
    weights = joint_confidence(x, p, found.labels)
    torch.testing.assert_close(weights, expected, rtol=1e-8, atol=1e-10)
    assert np.count_nonzero(weights.numpy()) > 10


@pytest.mark.usefixtures("budget")
def test_measures_in_chunks_are_those_of_the_whole() -> None:
    """Against all couples at once."""
    x, y = halves(40)
    u, v = unit_pairs(x, y)
    cosine = u @ v.T
    ranks = (cosine >= cosine.diagonal()[:, None]).sum(dim=1)
    assert neighbours.partner_ranks(x, y).tolist() == ranks.tolist()
    assert selection.pair_retrieval(y, x).item() == pytest.approx(
        float((ranks == 1).double().mean())
    )

    apart = torch.cdist(u, u)[~torch.eye(40, dtype=torch.bool)]
    expected = (-2 * apart.square()).exp().mean().log()
    assert distributions.uniformity(x) == pytest.approx(float(expected), rel=1e-9)

    rows = torch.cat([u, v])
    far = torch.cdist(rows, rows)
    width = float(np.median(far[tuple(torch.triu_indices(80, 80, offset=1))].numpy()))
    kernel = (-far.square() / (2 * width**2)).exp()
    within = kernel.clone().fill_diagonal_(0) / (40 * 39)
    total = within[:40, :40].sum() + within[40:, 40:].sum() - 2 * kernel[:40, 40:].mean()
    assert distributions.mmd(x, y, permutations=3).squared == pytest.approx(float(total), rel=1e-8)

    level = (u @ u.T).fill_diagonal_(-torch.inf) / 0.05
    expected = torch.special.entr(level.softmax(dim=1)).sum() / 40
    found = selection.soft_neighbourhood_density(x.double())
    assert found.item() == pytest.approx(float(expected), rel=1e-9)

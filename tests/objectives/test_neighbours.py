"""Neighbours and the objectives over them against loops over samples in float64."""

import math

import pytest
import torch
from torch import Tensor
from torch.nn.functional import normalize

from socketlab.objectives import (
    attracting_dispersing,
    dispersion_weight,
    nearest,
    neighbourhood_reciprocity,
)

Rows = list[list[float]]


def unit_rows(rows: int, dimensions: int) -> Tensor:
    generator = torch.Generator().manual_seed(rows + dimensions)
    return normalize(torch.randn(rows, dimensions, generator=generator), dim=1)


def predictions(*shape: int) -> Tensor:
    generator = torch.Generator().manual_seed(sum(shape))
    return (2 * torch.randn(*shape, generator=generator)).softmax(dim=-1)


def dot(first: list[float], second: list[float]) -> float:
    return sum(a * b for a, b in zip(first, second, strict=True))


def naive_nearest(query: list[float], bank: Rows, k: int, own: int) -> list[int]:
    others = [j for j in range(len(bank)) if j != own]
    return sorted(others, key=lambda j: -dot(query, bank[j]))[:k]


@pytest.mark.parametrize("k", [1, 4, 29])
def test_nearest_are_those_of_the_loop(k: int) -> None:
    bank = unit_rows(30, 6)
    own = torch.tensor([3, 0, 29, 17])
    queries = normalize(bank[own] + 0.2 * unit_rows(4, 6), dim=1)
    found = nearest(queries, bank, k, own)
    rows, wanted = queries.double().tolist(), bank.double().tolist()
    expected = [
        naive_nearest(query, wanted, k, i) for query, i in zip(rows, own.tolist(), strict=True)
    ]
    assert found.tolist() == expected


def test_the_sample_itself_is_left_out_and_not_the_most_similar_row() -> None:
    """A batch's row may be further from its bank's row than from another sample's."""
    bank = torch.tensor([[1.0, 0.0], [0.0, 1.0], [0.6, 0.8]])
    assert nearest(bank[:1], bank, 2, torch.tensor([1])).tolist() == [[0, 2]]


@pytest.mark.parametrize("autocast", [True, False])
def test_neighbours_of_half_precision_are_found_in_float32(autocast: bool) -> None:
    """Rows a thousandth apart, which a product in bfloat16 would not tell apart."""
    angles = 0.001 * torch.arange(40).float()
    bank = torch.stack([angles.cos(), angles.sin()], dim=1).double()
    queries = bank[[0]]
    if autocast:
        bank, queries = bank.float(), queries.float()
    with torch.autocast("cpu", dtype=torch.bfloat16, enabled=autocast):
        found = nearest(queries, bank, 39, torch.tensor([0]))
    # The first ten lie closer together than float32 can tell.
    assert found[0, 10:].tolist() == list(range(11, 40))


def test_nearest_names_wrong_inputs() -> None:
    bank = unit_rows(5, 3)
    own = torch.tensor([0])
    with pytest.raises(ValueError, match=r"between 1 and 4, the other rows .*, found 5"):
        nearest(bank[:1], bank, 5, own)
    with pytest.raises(ValueError, match=r"found 0"):
        nearest(bank[:1], bank, 0, own)
    with pytest.raises(ValueError, match=r"do not fit, found \(1, 3\), \(5, 2\) and \(1,\)"):
        nearest(bank[:1], bank[:, :2], 1, own)
    with pytest.raises(ValueError, match=r"do not fit, found \(2, 3\), \(5, 3\) and \(1,\)"):
        nearest(bank[:2], bank, 1, own)
    with pytest.raises(ValueError, match=r"bank must have shape \[N, D\].*found \(3,\)"):
        nearest(bank[:1], bank[0], 1, own)


def naive_attracting_dispersing(p: Rows, s: list[Rows], dispersion: float) -> float:
    total = 0.0
    for i, row in enumerate(p):
        total -= sum(dot(row, neighbour) for neighbour in s[i])
        total += dispersion * sum(dot(row, other) for m, other in enumerate(p) if m != i)
    return total / len(p)


@pytest.mark.parametrize("dispersion", [0.0, 0.3, 1.0])
@pytest.mark.parametrize("shape", [(1, 1, 2), (4, 5, 3), (32, 5, 17)])
def test_attracting_dispersing_is_that_of_the_loop(
    shape: tuple[int, int, int], dispersion: float
) -> None:
    p, s = predictions(shape[0], shape[2]), predictions(*shape)
    found = attracting_dispersing(p, s, dispersion)
    expected = naive_attracting_dispersing(p.double().tolist(), s.double().tolist(), dispersion)
    assert found.shape == ()
    assert found.item() == pytest.approx(expected, rel=1e-5, abs=1e-6)


def test_gradients_of_attracting_dispersing() -> None:
    """Both sides of the batch's products are moved, the neighbours are not."""
    p = predictions(4, 3).double().requires_grad_()
    s = predictions(4, 2, 3).double().requires_grad_()
    assert torch.autograd.gradcheck(lambda p: attracting_dispersing(p, s.detach(), 0.7), (p,))
    torch.autograd.backward(attracting_dispersing(p, s, 0.7))
    assert s.grad is None


def test_dispersion_fades() -> None:
    assert dispersion_weight(0) == 1
    assert dispersion_weight(0.25, 2.0) == pytest.approx(1 / 3.5**2)
    assert dispersion_weight(1) == pytest.approx(11**-5)
    assert dispersion_weight(1, 0) == 1
    with pytest.raises(ValueError, match=r"progress must lie in \[0, 1\], found 1.5"):
        dispersion_weight(1.5)
    with pytest.raises(ValueError, match=r"beta must not be negative, found -1"):
        dispersion_weight(0.5, -1)


def neighbourhood(n: int, batch: int, k: int, m: int) -> tuple[Tensor, Tensor, Tensor]:
    """Own rows, neighbours and their neighbours, of which some are reciprocal and some not."""
    bank = unit_rows(n, 4)
    own = torch.arange(n).flip(0)[:batch]
    neighbours = nearest(bank[own], bank, k, own)
    flat = neighbours.flatten()
    return own, neighbours, nearest(bank[flat], bank, m, flat).view(batch, k, m)


def naive_reciprocity(
    p: Rows,
    bank: Rows,
    own: list[int],
    neighbours: list[list[int]],
    expanded: list[list[list[int]]],
    r: float,
) -> dict[str, float]:
    terms = {"neighbours": 0.0, "expanded": 0.0, "itself": 0.0}
    for i, row in enumerate(p):
        for j, further in zip(neighbours[i], expanded[i], strict=True):
            affinity = 1.0 if own[i] in further else r
            terms["neighbours"] -= affinity * dot(row, bank[j])
            for m in further:
                terms["expanded"] -= r * dot(row, bank[m])
        terms["itself"] -= dot(row, bank[own[i]])
    return {name: value / len(p) for name, value in terms.items()}


@pytest.mark.parametrize("r", [0.0, 0.1, 1.0])
@pytest.mark.parametrize("sizes", [(5, 1, 1, 1), (12, 4, 3, 2), (60, 32, 5, 5)])
def test_reciprocity_is_that_of_the_loop(sizes: tuple[int, int, int, int], r: float) -> None:
    own, neighbours, expanded = neighbourhood(*sizes)
    p, bank = predictions(sizes[1], 7), predictions(sizes[0], 7)
    found = neighbourhood_reciprocity(p, bank, own, neighbours, expanded, r)
    expected = naive_reciprocity(
        p.double().tolist(),
        bank.double().tolist(),
        own.tolist(),
        neighbours.tolist(),
        expanded.tolist(),
        r,
    )
    assert found.keys() == expected.keys()
    for name, value in expected.items():
        assert found[name].shape == ()
        assert found[name].item() == pytest.approx(value, rel=1e-5, abs=1e-7), name


def test_some_neighbours_are_reciprocal_and_some_are_not() -> None:
    """Otherwise the test above would not tell the two weights apart."""
    own, _, expanded = neighbourhood(60, 32, 5, 5)
    reciprocal = (expanded == own[:, None, None]).any(dim=2)
    assert 0.1 < reciprocal.float().mean() < 0.9


def test_gradients_of_reciprocity() -> None:
    own, neighbours, expanded = neighbourhood(12, 4, 3, 2)
    p = predictions(4, 3).double().requires_grad_()
    bank = predictions(12, 3).double().requires_grad_()

    def total(p: Tensor) -> Tensor:
        terms = neighbourhood_reciprocity(p, bank, own, neighbours, expanded)
        return torch.stack([*terms.values()]).sum()

    torch.autograd.backward(total(p))
    assert bank.grad is None
    bank = bank.detach()
    assert torch.autograd.gradcheck(total, (p,))


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_precision_is_computed_in_float32(dtype: torch.dtype) -> None:
    own, neighbours, expanded = neighbourhood(60, 32, 5, 5)
    p, bank = predictions(32, 7).to(dtype), predictions(60, 7).to(dtype)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        found = neighbourhood_reciprocity(p, bank, own, neighbours, expanded)
        found["pair"] = attracting_dispersing(p, bank[neighbours], 0.5)
    expected = neighbourhood_reciprocity(p.float(), bank.float(), own, neighbours, expanded)
    expected["pair"] = attracting_dispersing(p.float(), bank.float()[neighbours], 0.5)
    for name, value in expected.items():
        assert found[name].dtype == torch.float32
        assert torch.equal(found[name], value), name


def test_wrong_inputs_are_named() -> None:
    own, neighbours, expanded = neighbourhood(12, 4, 3, 2)
    p, bank = predictions(4, 3), predictions(12, 3)
    with pytest.raises(ValueError, match=r"must have shape \[4, k, 3\], found \(4, 2, 5\)"):
        attracting_dispersing(p, predictions(4, 2, 5), 1.0)
    with pytest.raises(ValueError, match=r"must have shape \[4, k, 3\], found \(4, 3\)"):
        attracting_dispersing(p, p, 1.0)
    for wrong in (
        (p[:3], bank, own, neighbours, expanded),
        (p, bank[:, :2], own, neighbours, expanded),
        (p, bank, own[:3], neighbours, expanded),
        (p, bank, own, neighbours[:, :2], expanded),
        (p, bank, own, neighbours, expanded[:, :, 0]),
    ):
        with pytest.raises(ValueError, match=r"expanded \[B, k, M\] do not fit, found \("):
            neighbourhood_reciprocity(*wrong)
    for r in (-0.1, 1.1, math.nan):
        with pytest.raises(ValueError, match=f"non_reciprocal must lie in .*, found {r}"):
            neighbourhood_reciprocity(p, bank, own, neighbours, expanded, r)

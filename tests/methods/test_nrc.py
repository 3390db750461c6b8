import copy
import math
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch

from socketlab.data.views import Views
from socketlab.methods import UnknownOption, check_options

Begin = Callable[..., Any]


def nearest_by_hand(query: Any, bank: Any, k: int, own: int) -> list[int]:
    others = [j for j in range(len(bank)) if j != own]
    return sorted(others, key=lambda j: -float(query @ bank[j]))[:k]


@pytest.mark.parametrize("non_reciprocal", [0.1, 0.6])
def test_the_terms_of_a_step_by_their_definition(
    non_reciprocal: float, views: Views, begin: Begin
) -> None:
    options = {"neighbours": 3, "expanded_neighbours": 2, "non_reciprocal": non_reciprocal}
    training = begin("nrc", views, **options)
    training.until("epoch")
    training.until("step")
    method = training.method
    student = copy.deepcopy(method.student)
    index, images = method.target_batch(4)
    with torch.no_grad():
        found, logits = student.outputs(images)
    unit = found.double().numpy()
    unit /= np.linalg.norm(unit, axis=1, keepdims=True)
    p = np.exp(logits.double().numpy())
    p /= p.sum(1, keepdims=True)
    features = method.memory["features"].double().numpy().copy()
    scores = method.memory["probabilities"].double().numpy().copy()
    rows = index.tolist()
    features[rows], scores[rows] = unit, p  # before neighbours are looked for

    expected = dict.fromkeys(("neighbours", "expanded", "itself"), 0.0)
    affinities = []
    for i, own in enumerate(rows):
        for j in nearest_by_hand(unit[i], features, 3, own):
            further = nearest_by_hand(features[j], features, 2, j)
            affinities.append(1.0 if own in further else non_reciprocal)
            expected["neighbours"] -= affinities[-1] * p[i] @ scores[j] / 4
            expected["expanded"] -= sum(non_reciprocal * p[i] @ scores[m] for m in further) / 4
        expected["itself"] -= p[i] @ scores[own] / 4
    mean = p.mean(0)
    expected["diversity"] = math.log(3) + (mean * np.log(mean + 1e-5)).sum()
    assert len(set(affinities)) == 2  # both kinds of neighbours are there

    terms = {name: float(value) for name, value in training.until("step").terms.items()}
    assert terms.pop("total") == pytest.approx(sum(expected.values()), rel=1e-4)
    assert terms.keys() == expected.keys()
    for name, value in expected.items():
        assert terms[name] == pytest.approx(value, rel=1e-4, abs=1e-5), name


def test_expanded_neighbours_need_images_too(views: Views, begin: Begin) -> None:
    expected = "'nrc' with 13 neighbours of each image needs at least 14 target images, found 13"
    with pytest.raises(ValueError, match=expected):
        begin("nrc", views, neighbours=2, expanded_neighbours=13).until("start")


def test_options_of_neighbours() -> None:
    found = check_options("nrc", {}).model_dump()
    assert (found["neighbours"], found["expanded_neighbours"]) == (5, 5)
    assert found["non_reciprocal"] == 0.1
    assert check_options("aad", {}).model_dump()["beta"] == 5.0
    for name, option, value in (
        ("nrc", "neighbours", 0),
        ("nrc", "expanded_neighbours", 0),
        ("nrc", "non_reciprocal", 1.5),
        ("aad", "neighbours", 0),
        ("aad", "beta", -1),
        ("aad", "non_reciprocal", 0.1),
    ):
        with pytest.raises(UnknownOption, match=f"'{name}' cannot take {option} = {value}"):
            check_options(name, {option: value})
